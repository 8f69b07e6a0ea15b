/*
 * radix_sort.c: sorting of 64-bit keys by some of their bits.
 *
 * One stable distribution pass per digit, from the least significant one on.  Digits have at most
 * 11 bits, so that the table of a pass stays in the first-level cache, and all about the same
 * width.
 */
#include "radix_sort.h"

#include <string.h>

#define DIGIT_BITS_MAX 11

/* Distribute keys to sorted by one digit. */
static void
sort_by_digit(const uint64_t *keys, uint64_t *sorted, uint32_t count, uint32_t first_bit,
              uint32_t digit_bits)
{
	uint32_t places[1u << DIGIT_BITS_MAX];
	uint32_t digits = 1u << digit_bits;
	uint32_t mask = digits - 1;
	uint32_t place = 0;

	memset(places, 0, digits * sizeof(places[0]));
	for (uint32_t i = 0; i < count; i++)
		places[(uint32_t) (keys[i] >> first_bit) & mask]++;
	for (uint32_t digit = 0; digit < digits; digit++)
	{
		uint32_t digit_count = places[digit];

		places[digit] = place;
		place += digit_count;
	}
	for (uint32_t i = 0; i < count; i++)
		sorted[places[(uint32_t) (keys[i] >> first_bit) & mask]++] = keys[i];
}

void
uds_radix_sort_keys(uint64_t *keys, uint64_t *spare, uint32_t count, uint32_t first_bit,
                    uint32_t bit_count)
{
	uint32_t passes = (bit_count + DIGIT_BITS_MAX - 1) / DIGIT_BITS_MAX;
	uint64_t *from = keys;
	uint64_t *to = spare;

	UDS_ASSERT(first_bit + bit_count <= 64);
	for (; passes > 0; passes--)
	{
		uint32_t digit_bits = (bit_count + passes - 1) / passes;
		uint64_t *swap = from;

		sort_by_digit(from, to, count, first_bit, digit_bits);
		first_bit += digit_bits;
		bit_count -= digit_bits;
		from = to;
		to = swap;
	}
	if (from != keys)
		memcpy(keys, from, count * sizeof(keys[0]));
}
