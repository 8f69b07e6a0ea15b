/*
 * test_crc32c.c: the checksum is CRC-32C, whatever instructions compute it and however the bytes
 * are divided.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/crc32c.h"
#include "../support/generate.h"

#define BYTES_MAX 20000

static void
known_vectors(void **state)
{
	uint8_t bytes[32];

	(void) state;
	assert_int_equal(uds_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(uds_crc32c_portable(0, "123456789", 9), 0xe3069283);
	assert_int_equal(uds_crc32c(0, "", 0), 0);
	/* RFC 3720, B.4 */
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(uds_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(uds_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	assert_int_equal(uds_crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
}

static void
all_lengths_and_places_agree_with_the_portable_one(void **state)
{
	uint8_t *bytes = malloc(BYTES_MAX + 8);
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(1));
	uds_random_bytes(&random, bytes, BYTES_MAX + 8);
	for (int i = 0; i < 3000; i++)
	{
		size_t start = uds_random_below(&random, 8);
		size_t count = uds_random_below(&random, uds_random_one_in(&random, 4) ? BYTES_MAX : 5000);
		uint32_t crc = (uint32_t) uds_random_next(&random);

		if (uds_crc32c(crc, bytes + start, count) != uds_crc32c_portable(crc, bytes + start, count))
			fail_msg("seed %llu: %zu bytes", (unsigned long long) random.seed, count);
	}
	free(bytes);
}

static void
a_checksum_can_be_continued(void **state)
{
	uint8_t *bytes = malloc(BYTES_MAX);
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(2));
	uds_random_bytes(&random, bytes, BYTES_MAX);
	for (int i = 0; i < 300; i++)
	{
		size_t count = uds_random_below(&random, BYTES_MAX);
		size_t part = uds_random_below(&random, count + 1);
		uint32_t crc = uds_crc32c(0, bytes, part);

		assert_int_equal(uds_crc32c(crc, bytes + part, count - part), uds_crc32c(0, bytes, count));
	}
	free(bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_vectors),
		cmocka_unit_test(all_lengths_and_places_agree_with_the_portable_one),
		cmocka_unit_test(a_checksum_can_be_continued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
