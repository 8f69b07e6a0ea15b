/*
 * bits.h: bit fields and bit moves in byte arrays.
 *
 * Bit i of a stream is bit (i mod 8), least significant first, of byte i / 8.  A field of w bits
 * at bit offset o holds its least significant bit at o.  Fields are read and written with one
 * unaligned 64-bit access, so 8 bytes from the field's first byte on must be readable (and, for
 * writes, writable: they are written back unchanged).
 */
#ifndef UDS_BITS_H
#define UDS_BITS_H

#include <string.h>

#include "status.h"

#define UDS_BITS_FIELD_MAX 57 /* widest field of one access */

static inline uint64_t
uds_bits_load(const uint8_t *bytes, uint64_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset / 8, sizeof(word));
	return word >> (offset % 8);
}

/* Field of width bits, 0..UDS_BITS_FIELD_MAX. */
static inline uint64_t
uds_bits_get(const uint8_t *bytes, uint64_t offset, uint32_t width)
{
	return uds_bits_load(bytes, offset) & ((UINT64_C(1) << width) - 1);
}

/* Set a field of width bits, 0..UDS_BITS_FIELD_MAX, to the low bits of value. */
static inline void
uds_bits_set(uint8_t *bytes, uint64_t offset, uint32_t width, uint64_t value)
{
	uint64_t word;
	uint64_t mask = ((UINT64_C(1) << width) - 1) << (offset % 8);

	memcpy(&word, bytes + offset / 8, sizeof(word));
	word = (word & ~mask) | (value << (offset % 8) & mask);
	memcpy(bytes + offset / 8, &word, sizeof(word));
}

/*
 * Copy count bits from one place to another of the same or another array, as if through a
 * temporary.  No bit outside the destination changes, and no byte that holds neither a source nor
 * a destination bit is touched.
 */
void uds_bits_move(uint8_t *to, uint64_t to_offset, const uint8_t *from, uint64_t from_offset,
                   uint64_t count);

/* Clear count bits, touching no byte outside them. */
void uds_bits_clear(uint8_t *bytes, uint64_t offset, uint64_t count);

#endif
