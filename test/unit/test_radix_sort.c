/*
 * test_radix_sort.c: keys come out ordered by the chosen bits, all of them, and in their old order
 * where these bits agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/radix_sort.h"
#include "../support/generate.h"

static uint64_t
selected_bits(uint64_t key, uint32_t first_bit, uint32_t bit_count)
{
	if (bit_count == 0)
		return 0;
	return key >> first_bit & (UINT64_MAX >> (64 - bit_count));
}

/* Sort a copy by insertion, which is stable, and compare. */
static void
check_sort(const uint64_t *input, uint32_t count, uint32_t first_bit, uint32_t bit_count)
{
	uint64_t *expected = calloc(count + 1, sizeof(uint64_t));
	uint64_t *keys = calloc(count + 1, sizeof(uint64_t));
	uint64_t *spare = calloc(count + 1, sizeof(uint64_t));

	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t bits = selected_bits(input[i], first_bit, bit_count);
		uint32_t place = i;

		for (; place > 0 && selected_bits(expected[place - 1], first_bit, bit_count) > bits;
		     place--)
			expected[place] = expected[place - 1];
		expected[place] = input[i];
		keys[i] = input[i];
	}
	keys[count] = spare[count] = 0x5a5a5a5a5a5a5a5a;
	uds_radix_sort_keys(keys, spare, count, first_bit, bit_count);
	assert_memory_equal(keys, expected, count * sizeof(uint64_t));
	assert_int_equal(keys[count], 0x5a5a5a5a5a5a5a5a);
	assert_int_equal(spare[count], 0x5a5a5a5a5a5a5a5a);
	free(expected);
	free(keys);
	free(spare);
}

static void
check_text(const char *text, const char *expected)
{
	uint32_t count = (uint32_t) strlen(text);
	uint64_t keys[64];
	uint64_t spare[64];

	for (uint32_t i = 0; i < count; i++)
		keys[i] = (uint64_t) (unsigned char) text[i];
	uds_radix_sort_keys(keys, spare, count, 0, 8);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(keys[i], (unsigned char) expected[i]);
}

static void
nothing_and_one_key_stay(void **state)
{
	uint64_t key = 77;
	uint64_t spare = 0;

	(void) state;
	uds_radix_sort_keys(&key, &spare, 0, 0, 64);
	assert_int_equal(key, 77);
	uds_radix_sort_keys(&key, &spare, 1, 0, 64);
	assert_int_equal(key, 77);
}

static void
no_bits_keep_the_order(void **state)
{
	const uint64_t keys[] = { 3, 1, 2, UINT64_MAX, 0 };

	(void) state;
	check_sort(keys, 5, 0, 0);
	check_sort(keys, 5, 63, 0);
}

static void
identical_keys_stay(void **state)
{
	uint64_t keys[1000];

	(void) state;
	for (uint32_t i = 0; i < 1000; i++)
		keys[i] = UINT64_C(0xdeadbeefcafe);
	check_sort(keys, 1000, 0, 64);
}

static void
letters_and_digits_are_sorted(void **state)
{
	(void) state;
	check_text("ETAOINSHRLDU", "ADEHILNORSTU");
	check_text("121321432154321654321765432187654321987654321",
	           "111111111222222223333333444444555556666777889");
}

static void
ascending_and_descending_keys_are_sorted_and_sorted_again(void **state)
{
	static const uint32_t counts[] = { 8, 65536 };

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		uint32_t count = counts[i];
		uint64_t *keys = calloc(count, sizeof(uint64_t));
		uint64_t *spare = calloc(count, sizeof(uint64_t));

		for (int turn = 0; turn < 3; turn++)
		{
			for (uint32_t k = 0; k < count; k++)
				keys[k] = turn == 1 ? count - 1 - k : k;
			uds_radix_sort_keys(keys, spare, count, 0, 16);
			if (turn == 2)
				uds_radix_sort_keys(keys, spare, count, 0, 16);
			for (uint32_t k = 0; k < count; k++)
				assert_int_equal(keys[k], k);
		}
		free(keys);
		free(spare);
	}
}

static void
many_random_keys_become_an_ordered_permutation(void **state)
{
	const uint32_t count = 65536;
	uint64_t seed = uds_random_seed(5);
	uint64_t *keys = calloc(count, sizeof(uint64_t));
	uint64_t *spare = calloc(count, sizeof(uint64_t));
	uint64_t sum = 0;
	uint64_t mix = 0;
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t i = 0; i < count; i++)
	{
		keys[i] = uds_random_next(&random);
		sum += keys[i];
		mix ^= keys[i] * 0x9e3779b97f4a7c15;
	}
	uds_radix_sort_keys(keys, spare, count, 0, 64);
	for (uint32_t i = 0; i < count; i++)
	{
		assert_true(i == 0 || keys[i - 1] <= keys[i]);
		sum -= keys[i];
		mix ^= keys[i] * 0x9e3779b97f4a7c15;
	}
	assert_int_equal(sum, 0);
	assert_int_equal(mix, 0);
	free(keys);
	free(spare);
}

static void
any_range_of_bits_is_sorted_stably(void **state)
{
	uint64_t seed = uds_random_seed(6);
	uint64_t keys[600];
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t first_bit = 0; first_bit < 64; first_bit++)
	{
		for (uint32_t bit_count = 0; bit_count <= 64 - first_bit; bit_count++)
		{
			uint32_t count = (uint32_t) uds_random_below(&random, bit_count % 8 == 0 ? 600 : 40);

			for (uint32_t i = 0; i < count; i++)
				keys[i] = uds_random_next(&random);
			check_sort(keys, count, first_bit, bit_count);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_and_one_key_stay),
		cmocka_unit_test(no_bits_keep_the_order),
		cmocka_unit_test(identical_keys_stay),
		cmocka_unit_test(letters_and_digits_are_sorted),
		cmocka_unit_test(ascending_and_descending_keys_are_sorted_and_sorted_again),
		cmocka_unit_test(many_random_keys_become_an_ordered_permutation),
		cmocka_unit_test(any_range_of_bits_is_sorted_stably),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
