/*
 * radix_sort.h: sorting of 64-bit keys by some of their bits.
 */
#ifndef UDS_RADIX_SORT_H
#define UDS_RADIX_SORT_H

#include "status.h"

#pragma GCC visibility push(hidden)

/*
 * Sort keys ascending by the bits first_bit .. first_bit + bit_count - 1 of each.  Stable: keys
 * that agree in these bits keep their order, so whatever the other bits carry moves along.
 *
 * keys       [in,out] count keys
 * spare      [out]    room for count keys, disjoint from keys; its contents are lost
 * count               any, 0 included
 * first_bit           0..63
 * bit_count           0..64 - first_bit; 0 leaves the order as it is
 *
 * Time is proportional to count and to bit_count, whatever the keys are.  Uses about 8 kB of
 * stack.
 */
void uds_radix_sort_keys(uint64_t *keys, uint64_t *spare, uint32_t count, uint32_t first_bit,
                         uint32_t bit_count);

#pragma GCC visibility pop

#endif
