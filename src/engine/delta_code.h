/*
 * delta_code.h: the prefix code of delta lists (specification 01, sections 3.2 and 3.3).
 *
 * A list is a bit stream of entries sorted by key.  A plain entry is a value of value_bits, a base
 * code c of code_bits and, when c >= short_count, z zero bits and a one bit:
 *
 *     delta = c              c <  short_count
 *     delta = c + z * step   c >= short_count
 *
 * A collision entry is a value, code_bits zero bits, and the 128 bits of a name.  An entry with
 * delta 0 is a collision entry exactly when it is not the first of its list.
 */
#ifndef UDS_DELTA_CODE_H
#define UDS_DELTA_CODE_H

#include "bits.h"
#include "record.h"

#define UDS_DELTA_CODE_BITS_MAX 25
#define UDS_DELTA_NAME_BITS     128
#define UDS_DELTA_LIST_BITS_MAX 65535

typedef struct uds_delta_code
{
	uint32_t value_bits;  /* W, at most 25 */
	uint32_t code_bits;   /* L, shortest code, at most 25 */
	uint32_t step;        /* I */
	uint32_t short_count; /* B = 2^L - I */
} uds_delta_code;

/* Constants for a mean delta; UDS_ERR_ARGUMENT when mean is 0 or a width exceeds 25 bits. */
UDS_MUST_CHECK static inline uds_status
uds_delta_code_init(uds_delta_code *code, uint32_t mean_delta, uint32_t value_bits)
{
	uint64_t step = (UINT64_C(836158) * mean_delta + 603160) / 1206321;
	uint32_t code_bits = 64 - (uint32_t) __builtin_clzll(step + 1);

	if (mean_delta == 0 || code_bits > UDS_DELTA_CODE_BITS_MAX || value_bits > 25)
		return UDS_ERR_ARGUMENT;
	code->value_bits = value_bits;
	code->code_bits = code_bits;
	code->step = (uint32_t) step;
	code->short_count = (uint32_t) ((UINT64_C(1) << code_bits) - step);
	return UDS_OK;
}

/* Bits of the code of a delta, the value not included. */
static inline uint32_t
uds_delta_code_length(const uds_delta_code *code, uint32_t delta)
{
	if (delta < code->short_count)
		return code->code_bits;
	return code->code_bits + 1 + (delta - code->short_count) / code->step;
}

/* Bits of a plain entry. */
static inline uint32_t
uds_delta_code_entry_bits(const uds_delta_code *code, uint32_t delta)
{
	return code->value_bits + uds_delta_code_length(code, delta);
}

static inline uint32_t
uds_delta_code_collision_bits(const uds_delta_code *code)
{
	return code->value_bits + code->code_bits + UDS_DELTA_NAME_BITS;
}

/*
 * Write a plain entry of uds_delta_code_entry_bits() bits at a bit offset.  What was there before
 * does not matter.  Returns the offset behind it.
 */
static inline uint64_t
uds_delta_code_write_entry(const uds_delta_code *code, uint8_t *bytes, uint64_t offset,
                           uint32_t delta, uint32_t value)
{
	uint32_t base = delta;
	uint32_t zeros;

	uds_bits_set(bytes, offset, code->value_bits, value);
	offset += code->value_bits;
	if (delta < code->short_count)
	{
		uds_bits_set(bytes, offset, code->code_bits, base);
		return offset + code->code_bits;
	}
	zeros = (delta - code->short_count) / code->step;
	base = code->short_count + (delta - code->short_count) % code->step;
	uds_bits_set(bytes, offset, code->code_bits, base);
	offset += code->code_bits;
	uds_bits_clear(bytes, offset, zeros);
	offset += zeros;
	uds_bits_set(bytes, offset, 1, 1);
	return offset + 1;
}

/* Write a collision entry of uds_delta_code_collision_bits() bits; returns the offset behind it. */
static inline uint64_t
uds_delta_code_write_collision(const uds_delta_code *code, uint8_t *bytes, uint64_t offset,
                               uint32_t value, const uds_name *name)
{
	uds_bits_set(bytes, offset, code->value_bits, value);
	offset += code->value_bits;
	uds_bits_set(bytes, offset, code->code_bits, 0);
	offset += code->code_bits;
	uds_bits_move(bytes, offset, name->bytes, 0, UDS_DELTA_NAME_BITS);
	return offset + UDS_DELTA_NAME_BITS;
}

#endif
