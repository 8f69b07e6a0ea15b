/*
 * test_delta_code.c: the prefix code of delta lists has the constants, the lengths and the bytes
 * of specification 01, sections 3.2 and 3.3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../../src/engine/delta_code.h"
#include "../support/generate.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
constants_of_mean_deltas(void **state)
{
	static const struct
	{
		uint32_t mean;
		uint32_t step;
		uint32_t code_bits;
		uint32_t short_count;
	} rows[] = {
		{ 1, 1, 2, 3 },
		{ 2, 1, 2, 3 },
		{ 3, 2, 2, 2 },
		{ 4, 3, 3, 5 },
		{ 10, 7, 4, 9 },
		{ 100, 69, 7, 59 },
		{ 256, 177, 8, 79 },
		{ 327, 227, 8, 29 },
		{ 1024, 710, 10, 314 },
		{ 2730, 1892, 11, 156 },
		{ 4080, 2828, 12, 1268 },
		{ 4096, 2839, 12, 1257 },
		{ 16384, 11357, 14, 5027 },
		{ 65536, 45426, 16, 20110 },
		{ 1048576, 726817, 20, 321759 },
		{ 32000000, 22180710, 25, 11373722 },
	};
	uds_delta_code code = { 0 };

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		assert_int_equal(uds_delta_code_init(&code, rows[i].mean, 10), UDS_OK);
		assert_int_equal(code.step, rows[i].step);
		assert_int_equal(code.code_bits, rows[i].code_bits);
		assert_int_equal(code.short_count, rows[i].short_count);
		assert_int_equal(code.value_bits, 10);
		assert_int_equal(uds_delta_code_collision_bits(&code), 10 + rows[i].code_bits + 128);
	}
}

static void
parameters_out_of_range_are_refused(void **state)
{
	uds_delta_code code = { 0 };

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 0, 8), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_delta_code_init(&code, 1024, 26), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_delta_code_init(&code, 1024, 25), UDS_OK);
	assert_int_equal(uds_delta_code_init(&code, 1024, 0), UDS_OK);
	assert_int_equal(uds_delta_code_init(&code, UINT32_MAX, 8), UDS_ERR_ARGUMENT);
	/* the largest mean of 25 bits: 2^25 - 2 = step */
	assert_int_equal(uds_delta_code_init(&code, 48408810, 8), UDS_OK);
	assert_int_equal(code.code_bits, 25);
	assert_int_equal(uds_delta_code_init(&code, 48408811, 8), UDS_ERR_ARGUMENT);
}

static void
code_lengths(void **state)
{
	static const struct
	{
		uint32_t mean;
		uint32_t delta;
		uint32_t bits;
	} rows[] = {
		{ 1024, 0, 10 },         { 1024, 1, 10 },         { 1024, 313, 10 },
		{ 1024, 314, 11 },       { 1024, 1023, 11 },      { 1024, 1024, 12 },
		{ 1024, 1733, 12 },      { 1024, 1734, 13 },      { 1024, 2443, 13 },
		{ 1024, 2444, 14 },      { 1024, 3153, 14 },      { 1024, 3154, 15 },
		{ 1024, 3863, 15 },      { 1024, 3864, 16 },      { 1024, 4573, 16 },
		{ 1024, 4574, 17 },      { 1024, 5283, 17 },      { 1024, 5284, 18 },
		{ 1024, 5993, 18 },      { 1024, 5994, 19 },      { 1024, 6703, 19 },
		{ 1024, 6704, 20 },      { 1024, 2097151, 2964 }, { 4080, 0, 12 },
		{ 4080, 1267, 12 },      { 4080, 1268, 13 },      { 4080, 4095, 13 },
		{ 4080, 4096, 14 },      { 4080, 6923, 14 },      { 4080, 6924, 15 },
		{ 4080, 65535, 35 },     { 4080, 1048575, 383 },  { 65536, 0, 16 },
		{ 65536, 20109, 16 },    { 65536, 20110, 17 },    { 65536, 65535, 17 },
		{ 65536, 65536, 18 },    { 65536, 110961, 18 },   { 65536, 110962, 19 },
		{ 65536, 4194303, 108 },
	};
	uds_delta_code code = { 0 };

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		assert_int_equal(uds_delta_code_init(&code, rows[i].mean, 4), UDS_OK);
		assert_int_equal(uds_delta_code_length(&code, rows[i].delta), rows[i].bits);
		assert_int_equal(uds_delta_code_entry_bits(&code, rows[i].delta), rows[i].bits + 4);
	}
}

static void
entry_bytes(void **state)
{
	static const struct
	{
		uint32_t key;
		uint32_t bits;
		uint8_t bytes[3];
	} rows[] = {
		{ 0, 14, { 0x0a, 0x00 } },          { 1, 14, { 0x1a, 0x00 } },
		{ 313, 14, { 0x9a, 0x13 } },        { 314, 15, { 0xaa, 0x53 } },
		{ 1023, 15, { 0xfa, 0x7f } },       { 1024, 16, { 0xaa, 0x93 } },
		{ 1734, 17, { 0xaa, 0x13, 0x01 } }, { 6704, 24, { 0xaa, 0x13, 0x80 } },
	};
	uds_delta_code code = { 0 };
	uint8_t bytes[32];

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 1024, 4), UDS_OK);
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		/* what the memory held before does not matter */
		for (int fill = 0; fill <= 0xff; fill += 0xff)
		{
			uint32_t bits = rows[i].bits;

			memset(bytes, fill, sizeof(bytes));
			assert_int_equal(uds_delta_code_write_entry(&code, bytes, 0, rows[i].key, 0xA), bits);
			for (uint32_t bit = bits; bit < 8 * sizeof(bytes); bit++)
				assert_int_equal(bytes[bit / 8] >> (bit % 8) & 1, fill & 1);
			uds_bits_clear(bytes, bits, 8 * sizeof(bytes) - bits);
			assert_memory_equal(bytes, rows[i].bytes, 3);
		}
	}
}

static void
collision_entry_holds_the_name(void **state)
{
	uds_name name = uds_generate_counter_name(0);
	uds_delta_code code = { 0 };
	uint8_t bytes[48];
	uint8_t back[16];

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 256, 8), UDS_OK);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(uds_delta_code_write_collision(&code, bytes, 5, 0x33, &name), 5 + 144);
	assert_int_equal(uds_bits_get(bytes, 0, 5), 0x1f);
	assert_int_equal(uds_bits_get(bytes, 5, 8), 0x33);
	assert_int_equal(uds_bits_get(bytes, 13, 8), 0);
	memset(back, 0, sizeof(back));
	uds_bits_move(back, 0, bytes, 21, 128);
	assert_memory_equal(back, name.bytes, 16);
	assert_int_equal(uds_bits_get(bytes, 149, 50), (UINT64_C(1) << 50) - 1);
	/* at a byte boundary the name is there as it is */
	uds_delta_code_write_collision(&code, bytes, 0, 0x33, &name);
	assert_memory_equal(bytes + 2, name.bytes, 16);
}

/* Decode as section 3.3 says, bit by bit. */
static uint32_t
decode(const uds_delta_code *code, const uint8_t *bytes, uint64_t offset, uint64_t *end)
{
	uint32_t base = (uint32_t) uds_bits_get(bytes, offset + code->value_bits, code->code_bits);
	uint32_t zeros = 0;

	offset += code->value_bits + code->code_bits;
	if (base >= code->short_count)
	{
		while (uds_bits_get(bytes, offset++, 1) == 0)
			zeros++;
	}
	*end = offset;
	return base + zeros * code->step;
}

static void
entries_are_read_back_for_random_codes(void **state)
{
	uds_random random;
	uint8_t bytes[1024];

	(void) state;
	uds_random_init(&random, uds_random_seed(11));
	for (int round = 0; round < 20000; round++)
	{
		uint32_t mean = 1 + (uint32_t) (uds_random_next(&random) >> (40 + random.state[0] % 24));
		uint32_t value_bits = (uint32_t) uds_random_below(&random, 26);
		uint32_t delta =
			(uint32_t) uds_random_below(&random,
		                                UDS_MIN(1000 * (uint64_t) mean, UINT64_C(1) << 32));
		uint32_t value = (uint32_t) uds_random_next(&random) & ((1u << value_bits) - 1);
		uint64_t offset = uds_random_below(&random, 64);
		uint64_t end;
		uds_delta_code code = { 0 };

		assert_int_equal(uds_delta_code_init(&code, mean, value_bits), UDS_OK);
		memset(bytes, round & 1 ? 0xff : 0, sizeof(bytes));
		end = uds_delta_code_write_entry(&code, bytes, offset, delta, value);
		if (end - offset != uds_delta_code_entry_bits(&code, delta) ||
		    uds_bits_get(bytes, offset, value_bits) != value ||
		    decode(&code, bytes, offset, &end) != delta ||
		    end - offset != uds_delta_code_entry_bits(&code, delta))
			fail_msg("mean %u delta %u seed %lu", mean, delta, (unsigned long) random.seed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(constants_of_mean_deltas),
		cmocka_unit_test(parameters_out_of_range_are_refused),
		cmocka_unit_test(code_lengths),
		cmocka_unit_test(entry_bytes),
		cmocka_unit_test(collision_entry_holds_the_name),
		cmocka_unit_test(entries_are_read_back_for_random_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
