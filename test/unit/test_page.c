/*
 * test_page.c: the seed of a page's checksum depends on every bit of its identity, in a fixed
 * layout.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../../src/engine/page.h"
#include "../../src/engine/port.h"

static void
seed_is_the_crc_of_28_little_endian_bytes(void **state)
{
	static const uint8_t bytes[28] = {
		0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, /* nonce */
		0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* physical page */
		0x37, 0x55, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, /* chapter */
		0x0d, 0x0c, 0x0b, 0x0a                          /* generation */
	};
	uds_page_identity identity = { .nonce = UINT64_C(0x0123456789abcdef),
		                           .physical_page = UINT64_C(0x0102030405060708),
		                           .chapter = 0x65537,
		                           .generation = 0x0a0b0c0d };

	(void) state;
	assert_int_equal(uds_page_seed(&identity), uds_port_crc32c(0, bytes, sizeof(bytes)));
}

static void
every_bit_of_the_identity_changes_the_seed(void **state)
{
	uds_page_identity identity = { .nonce = 1, .physical_page = 2, .chapter = 3, .generation = 4 };
	uint32_t seed = uds_page_seed(&identity);

	(void) state;
	for (uint32_t bit = 0; bit < 64; bit++)
	{
		uds_page_identity nonce = identity;
		uds_page_identity physical_page = identity;
		uds_page_identity chapter = identity;
		uds_page_identity generation = identity;

		nonce.nonce ^= UINT64_C(1) << bit;
		physical_page.physical_page ^= UINT64_C(1) << bit;
		chapter.chapter ^= UINT64_C(1) << bit;
		generation.generation ^= 1u << (bit % 32);
		assert_int_not_equal(uds_page_seed(&nonce), seed);
		assert_int_not_equal(uds_page_seed(&physical_page), seed);
		assert_int_not_equal(uds_page_seed(&chapter), seed);
		assert_int_not_equal(uds_page_seed(&generation), seed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seed_is_the_crc_of_28_little_endian_bytes),
		cmocka_unit_test(every_bit_of_the_identity_changes_the_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
