/*
 * test_bits.c: bit fields hold what was put in, and bit moves are copies through a temporary
 * that touch nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/bits.h"
#include "../support/generate.h"

static int
get_bit(const uint8_t *bytes, uint64_t offset)
{
	return bytes[offset / 8] >> (offset % 8) & 1;
}

static void
put_bit(uint8_t *bytes, uint64_t offset, int bit)
{
	bytes[offset / 8] =
		(uint8_t) ((bytes[offset / 8] & ~(1u << (offset % 8))) | (unsigned) bit << (offset % 8));
}

/* The definition: out of a copy, bit by bit. */
static void
reference_move(uint8_t *to, uint64_t to_offset, const uint8_t *from, uint64_t from_offset,
               uint64_t count, uint8_t *scratch)
{
	for (uint64_t i = 0; i < count; i++)
		scratch[i] = (uint8_t) get_bit(from, from_offset + i);
	for (uint64_t i = 0; i < count; i++)
		put_bit(to, to_offset + i, scratch[i]);
}

static void
field_layout_is_least_significant_bit_first(void **state)
{
	uint8_t bytes[24] = { 0 };

	(void) state;
	uds_bits_set(bytes, 3, 4, 0xA);
	assert_int_equal(bytes[0], 0x50);
	uds_bits_set(bytes, 7, 10, 0x201);
	assert_int_equal(bytes[0], 0xd0);
	assert_int_equal(bytes[1], 0x00);
	assert_int_equal(bytes[2], 0x01);
	assert_int_equal(uds_bits_get(bytes, 7, 10), 0x201);
	assert_int_equal(uds_bits_get(bytes, 3, 4), 0xA);
	assert_int_equal(uds_bits_get(bytes, 3, 0), 0);
}

static void
fields_of_every_width_and_phase_keep_their_neighbours(void **state)
{
	uds_random random;
	uint8_t before[32];
	uint8_t after[32];
	uint8_t expected[32];

	(void) state;
	uds_random_init(&random, uds_random_seed(1));
	for (uint32_t width = 0; width <= UDS_BITS_FIELD_MAX; width++)
	{
		for (uint32_t offset = 0; offset < 64; offset++)
		{
			uint64_t value = uds_random_next(&random);

			uds_random_bytes(&random, before, sizeof(before));
			memcpy(after, before, sizeof(after));
			memcpy(expected, before, sizeof(expected));
			uds_bits_set(after, offset, width, value);
			for (uint32_t i = 0; i < width; i++)
				put_bit(expected, offset + i, value >> i & 1);
			assert_memory_equal(after, expected, sizeof(after));
			assert_true(uds_bits_get(after, offset, width) ==
			            (value & ((UINT64_C(1) << width) - 1)));
			assert_true((uds_bits_load(after, offset) & ((UINT64_C(1) << width) - 1)) ==
			            uds_bits_get(after, offset, width));
		}
	}
}

/* Spec 01 section 3: sizes 1..192, phases 10..41 on both sides, in one array. */
static void
overlapping_moves_of_all_sizes_and_phases(void **state)
{
	uds_random random;
	uint8_t original[40];
	uint8_t moved[40];
	uint8_t expected[40];
	uint8_t scratch[192];

	(void) state;
	uds_random_init(&random, uds_random_seed(2));
	for (uint64_t count = 0; count <= 192; count++)
	{
		uds_random_bytes(&random, original, sizeof(original));
		for (uint64_t from = 10; from < 42; from++)
		{
			for (uint64_t to = 10; to < 42; to++)
			{
				memcpy(moved, original, sizeof(moved));
				memcpy(expected, original, sizeof(expected));
				uds_bits_move(moved, to, moved, from, count);
				reference_move(expected, to, expected, from, count, scratch);
				if (memcmp(moved, expected, sizeof(moved)) != 0)
					fail_msg("count %lu from %lu to %lu seed %lu",
					         (unsigned long) count,
					         (unsigned long) from,
					         (unsigned long) to,
					         (unsigned long) random.seed);
			}
		}
	}
}

static void
long_moves_over_any_distance(void **state)
{
	enum
	{
		BYTES = 1200
	};
	uds_random random;
	uint8_t *moved = malloc(BYTES);
	uint8_t *expected = malloc(BYTES);
	uint8_t *scratch = malloc(BYTES * 8);

	(void) state;
	uds_random_init(&random, uds_random_seed(3));
	for (int round = 0; round < 3000; round++)
	{
		uint64_t count = uds_random_below(&random, BYTES * 4);
		uint64_t from = uds_random_below(&random, BYTES * 8 - count);
		uint64_t to = uds_random_one_in(&random, 2)
		                  ? uds_random_below(&random, BYTES * 8 - count)
		                  : UDS_MIN(from + uds_random_below(&random, 70), BYTES * 8 - count);

		uds_random_bytes(&random, moved, BYTES);
		memcpy(expected, moved, BYTES);
		uds_bits_move(moved, to, moved, from, count);
		reference_move(expected, to, expected, from, count, scratch);
		if (memcmp(moved, expected, BYTES) != 0)
			fail_msg("round %d seed %lu", round, (unsigned long) random.seed);
	}
	free(moved);
	free(expected);
	free(scratch);
}

/* In memory of exactly the size of source and destination: the sanitizer sees any other access. */
static void
moves_and_clears_touch_only_their_bytes(void **state)
{
	uds_random random;
	uint8_t scratch[200];

	(void) state;
	uds_random_init(&random, uds_random_seed(4));
	for (uint64_t count = 0; count <= 200; count++)
	{
		for (uint64_t phases = 0; phases < 64; phases++)
		{
			uint64_t from_phase = phases / 8;
			uint64_t to_phase = phases % 8;
			size_t from_bytes = (from_phase + count + 7) / 8;
			size_t to_bytes = (to_phase + count + 7) / 8;
			uint8_t *from = malloc(from_bytes + (from_bytes == 0));
			uint8_t *to = malloc(to_bytes + (to_bytes == 0));
			uint8_t expected[32];

			uds_random_bytes(&random, from, from_bytes);
			uds_random_bytes(&random, to, to_bytes);
			memcpy(expected, to, to_bytes);
			reference_move(expected, to_phase, from, from_phase, count, scratch);
			uds_bits_move(to, to_phase, from, from_phase, count);
			assert_memory_equal(to, expected, to_bytes);

			uds_random_bytes(&random, to, to_bytes);
			memcpy(expected, to, to_bytes);
			for (uint64_t i = 0; i < count; i++)
				put_bit(expected, to_phase + i, 0);
			uds_bits_clear(to, to_phase, count);
			assert_memory_equal(to, expected, to_bytes);
			free(from);
			free(to);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(field_layout_is_least_significant_bit_first),
		cmocka_unit_test(fields_of_every_width_and_phase_keep_their_neighbours),
		cmocka_unit_test(overlapping_moves_of_all_sizes_and_phases),
		cmocka_unit_test(long_moves_over_any_distance),
		cmocka_unit_test(moves_and_clears_touch_only_their_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
