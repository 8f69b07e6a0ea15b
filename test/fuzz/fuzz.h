/*
 * fuzz.h: what fuzz targets share: reading the input, and requirements.
 */
#ifndef UDS_FUZZ_H
#define UDS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What has to hold for every input. */
#define FUZZ_REQUIRE(x) ((x) ? (void) 0 : fuzz_fail(#x, __FILE__, __LINE__))

static inline void
fuzz_fail(const char *expression, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, expression);
	abort();
}

/* The rest of the input; behind its end there are zeros. */
typedef struct fuzz_input
{
	const uint8_t *data;
	size_t bytes;
} fuzz_input;

static inline void
fuzz_take(fuzz_input *input, void *to, size_t bytes)
{
	size_t part = bytes < input->bytes ? bytes : input->bytes;

	memset(to, 0, bytes);
	if (part > 0)
		memcpy(to, input->data, part);
	input->data += part;
	input->bytes -= part;
}

static inline uint8_t
fuzz_take_u8(fuzz_input *input)
{
	uint8_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint16_t
fuzz_take_u16(fuzz_input *input)
{
	uint16_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint64_t
fuzz_take_u64(fuzz_input *input)
{
	uint64_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

/* A number of 64 bits, often one at which something overflows. */
static inline uint64_t
fuzz_take_number(fuzz_input *input)
{
	uint8_t kind = fuzz_take_u8(input);
	uint64_t power = UINT64_C(1) << (kind & 63);

	switch (kind >> 6)
	{
		case 0:
			return power;
		case 1:
			return power - 1;
		case 2:
			return 0 - power;
		default:
			return fuzz_take_u64(input);
	}
}

/* Change some bytes of an object in place: as long as there is input, at most changes times. */
static inline void
fuzz_change(fuzz_input *input, void *object, size_t bytes, uint32_t changes)
{
	uint8_t *target = object;

	for (uint32_t i = 0; i < changes && input->bytes > 0; i++)
	{
		size_t offset = fuzz_take_u16(input) % bytes;
		uint8_t width = fuzz_take_u8(input);
		uint64_t value = fuzz_take_number(input);
		size_t part = (size_t) 1 << (width & 3);

		if ((width & 4) != 0)
			offset -= offset % part;
		memcpy(target + offset, &value, part < bytes - offset ? part : bytes - offset);
	}
}

#endif
