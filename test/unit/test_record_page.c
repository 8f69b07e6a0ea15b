/*
 * test_record_page.c: a page holds its records as a search tree in which every name is found, and
 * a page that was changed, or is another one, does not verify.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/port.h"
#include "../../src/engine/record_page.h"
#include "../support/generate.h"

static const uds_page_identity identity = { .nonce = UINT64_C(0x0123456789abcdef),
	                                        .physical_page = 4711,
	                                        .chapter = 0x65537,
	                                        .generation = 9 };

/* Records of a page with their refs; every fifth is a tombstone. */
typedef struct page_input
{
	uds_record records[UDS_RECORDS_PER_PAGE];
	uds_record_ref refs[UDS_RECORDS_PER_PAGE];
} page_input;

static void
fill_input(page_input *input, uint64_t first_counter)
{
	for (uint32_t i = 0; i < UDS_RECORDS_PER_PAGE; i++)
	{
		input->records[i].name = uds_generate_counter_name(first_counter + i);
		input->records[i].metadata = uds_generate_metadata(first_counter + i, 0);
		input->refs[i] = (uds_record_ref){ &input->records[i], i % 5 == 2 };
	}
}

/* Every record is found with its data, and the page's order is that of a search tree. */
static void
check_page(const uint8_t *page, const page_input *input, uint32_t count)
{
	uint16_t positions[UDS_RECORDS_PER_PAGE];

	assert_int_equal(uds_record_page_verify(page, 3, &identity), UDS_OK);
	assert_int_equal(uds_record_page_count(page), count);
	for (uint32_t i = 0; i < count; i++)
	{
		uds_metadata metadata;
		bool is_tombstone = i % 5 != 2;

		assert_int_equal(uds_record_page_search(page,
		                                        &input->records[i].name,
		                                        &metadata,
		                                        &is_tombstone),
		                 UDS_OK);
		assert_memory_equal(&metadata, &input->records[i].metadata, UDS_METADATA_BYTES);
		assert_int_equal(is_tombstone, i % 5 == 2);
	}
	uds_record_page_order(positions, count);
	for (uint32_t rank = 1; rank < count; rank++)
		assert_true(memcmp(uds_record_page_record(page, positions[rank - 1]),
		                   uds_record_page_record(page, positions[rank]),
		                   UDS_NAME_BYTES) < 0);
}

/* ---- order ------------------------------------------------------------------------------------ */

static void
check_order(uint32_t count, const uint16_t *ranks)
{
	uint16_t positions[16];

	uds_record_page_order(positions, count);
	for (uint32_t position = 0; position < count; position++)
		assert_int_equal(positions[ranks[position]], position);
}

static void
small_trees_have_the_order_of_the_vectors(void **state)
{
	(void) state;
	check_order(1, (const uint16_t[]){ 0 });
	check_order(4, (const uint16_t[]){ 2, 1, 3, 0 });
	check_order(6, (const uint16_t[]){ 3, 1, 5, 0, 2, 4 });
	check_order(7, (const uint16_t[]){ 3, 1, 5, 0, 2, 4, 6 });
	check_order(10, (const uint16_t[]){ 6, 3, 8, 1, 5, 7, 9, 0, 2, 4 });
	check_order(12, (const uint16_t[]){ 7, 3, 10, 1, 5, 9, 11, 0, 2, 4, 6, 8 });
}

static void
tree_of_1024_has_the_order_of_the_vector(void **state)
{
	static const uint16_t ranks[] = { 512, 256, 768, 128, 384, 640, 896, 64, 192, 320 };
	uint16_t positions[1024];

	(void) state;
	uds_record_page_order(positions, 1024);
	for (uint32_t position = 0; position < 10; position++)
		assert_int_equal(positions[ranks[position]], position);
	assert_int_equal(positions[0], 1023);
	assert_int_equal(positions[1], 511);
	assert_int_equal(positions[1023], 1022);
}

/* Visit a tree in order; the ranks must come one after the other. */
static uint32_t
visit(const uint16_t *positions, uint32_t count, uint32_t node, uint32_t rank)
{
	if (node >= count)
		return rank;
	rank = visit(positions, count, 2 * node + 1, rank);
	assert_int_equal(positions[rank], node);
	return visit(positions, count, 2 * node + 2, rank + 1);
}

static void
trees_of_every_size_are_in_order(void **state)
{
	uint16_t positions[1100];

	(void) state;
	for (uint32_t count = 0; count <= 1100; count++)
	{
		uds_record_page_order(positions, count);
		assert_int_equal(visit(positions, count, 0, 0), count);
	}
}

/* ---- encoding and searching -------------------------------------------------------------------- */

static void
page_layout_is_fixed(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	uds_record records[4];
	uds_record_ref refs[4];
	uint32_t crc;

	(void) state;
	memset(page, 0xee, sizeof(page));
	for (uint32_t i = 0; i < 4; i++)
	{
		memset(&records[i].name, (int) (0x40 - 0x10 * i), UDS_NAME_BYTES);
		memset(&records[i].metadata, (int) (0xa0 + i), UDS_METADATA_BYTES);
		refs[i] = (uds_record_ref){ &records[i], i == 0 };
	}
	uds_record_page_encode(page, refs, 4, 0x0102, &identity);
	assert_memory_equal(page + 4, "\x04\x00\x02\x01\x37\x55\x06\x00\x00\x00\x00\x00", 12);
	/* Ranks 2 1 3 0 by position: the largest name, the tombstone, is record 2. */
	assert_memory_equal(page + 16, "\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_memory_equal(page + 32, &records[1], 32);
	assert_memory_equal(page + 64, &records[2], 32);
	assert_memory_equal(page + 96, &records[0], 32);
	assert_memory_equal(page + 128, &records[3], 32);
	for (uint32_t i = 160; i < UDS_PAGE_BYTES; i++)
		assert_int_equal(page[i], 0);
	memcpy(&crc, page, sizeof(crc));
	assert_int_equal(crc, uds_port_crc32c(uds_page_seed(&identity), page + 4, 4092));
	assert_int_equal(uds_record_page_verify(page, 0x0102, &identity), UDS_OK);
}

static void
pages_of_every_count_give_back_their_records(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	page_input input;

	(void) state;
	for (uint32_t count = 0; count <= UDS_RECORDS_PER_PAGE; count++)
	{
		fill_input(&input, 1000 * count);
		uds_record_page_encode(page, input.refs, count, 3, &identity);
		check_page(page, &input, count);
	}
}

static void
unknown_names_are_not_found(void **state)
{
	static const uds_name zero;
	uint8_t page[UDS_PAGE_BYTES];
	page_input input;

	(void) state;
	fill_input(&input, 0);
	for (uint32_t count = 0; count <= UDS_RECORDS_PER_PAGE; count++)
	{
		uds_record_page_encode(page, input.refs, count, 3, &identity);
		assert_int_equal(uds_record_page_search(page, &zero, NULL, NULL), UDS_NOT_FOUND);
		for (uint32_t i = 0; i < 300; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			assert_int_equal(uds_record_page_search(page, &name, NULL, NULL),
			                 i < count ? UDS_OK : UDS_NOT_FOUND);
		}
	}
}

static void
zero_name_can_be_stored(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	page_input input;

	(void) state;
	fill_input(&input, 0);
	memset(&input.records[77].name, 0, UDS_NAME_BYTES);
	uds_record_page_encode(page, input.refs, UDS_RECORDS_PER_PAGE, 3, &identity);
	check_page(page, &input, UDS_RECORDS_PER_PAGE);
}

/* Names that agree in their first bytes take another way through the sort. */
static void
biased_names_are_sorted(void **state)
{
	uint64_t seed = uds_random_seed(99);
	uint8_t page[UDS_PAGE_BYTES];
	page_input input;
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t round = 0; round < 400; round++)
	{
		uint32_t count = (uint32_t) uds_random_range(&random, 1, UDS_RECORDS_PER_PAGE);
		uint32_t constant = round % 16; /* constant bytes at the front */

		fill_input(&input, round * 1000);
		for (uint32_t i = 0; i < count; i++)
		{
			memset(&input.records[i].name, 0xc5, constant);
			/* Keep them distinct. */
			input.records[i].name.bytes[15] = (uint8_t) i;
			if (round % 2 == 1 && constant < 8)
				memset(input.records[i].name.bytes + constant, i % 3 == 0 ? 0 : 0xff, 8 - constant);
		}
		uds_random_shuffle(&random, input.records, count, sizeof(uds_record));
		uds_record_page_encode(page, input.refs, count, 3, &identity);
		check_page(page, &input, count);
	}
}

static void
input_order_does_not_matter(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	uint8_t other[UDS_PAGE_BYTES];
	page_input input;
	uds_random random;

	(void) state;
	fill_input(&input, 0);
	uds_record_page_encode(page, input.refs, 100, 3, &identity);
	uds_random_init(&random, 1);
	for (uint32_t round = 0; round < 20; round++)
	{
		uds_random_shuffle(&random, input.refs, 100, sizeof(uds_record_ref));
		uds_record_page_encode(other, input.refs, 100, 3, &identity);
		assert_memory_equal(page, other, UDS_PAGE_BYTES);
	}
}

static void
tombstones_are_told_by_record(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	uint32_t tombstones = 0;
	page_input input;

	(void) state;
	fill_input(&input, 0);
	uds_record_page_encode(page, input.refs, UDS_RECORDS_PER_PAGE, 3, &identity);
	for (uint32_t i = 0; i < uds_record_page_count(page); i++)
	{
		const uds_record *record = uds_record_page_record(page, i);
		bool is_tombstone;

		assert_int_equal(uds_record_page_search(page, &record->name, NULL, &is_tombstone), UDS_OK);
		assert_int_equal(uds_record_page_is_tombstone(page, i), is_tombstone);
		tombstones += is_tombstone;
	}
	assert_int_equal(tombstones, 25);
}

/* ---- damage -------------------------------------------------------------------------------------- */

static void
page_with_any_flipped_bit_is_refused(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	page_input input;

	(void) state;
	fill_input(&input, 0);
	uds_record_page_encode(page, input.refs, 90, 3, &identity);
	for (uint32_t bit = 0; bit < 8 * UDS_PAGE_BYTES; bit++)
	{
		page[bit / 8] ^= (uint8_t) (1u << (bit % 8));
		assert_int_equal(uds_record_page_verify(page, 3, &identity), UDS_ERR_CORRUPT);
		page[bit / 8] ^= (uint8_t) (1u << (bit % 8));
	}
	assert_int_equal(uds_record_page_verify(page, 3, &identity), UDS_OK);
}

static void
page_of_another_identity_is_refused(void **state)
{
	uint8_t page[UDS_PAGE_BYTES];
	page_input input;

	(void) state;
	fill_input(&input, 0);
	uds_record_page_encode(page, input.refs, 90, 3, &identity);
	assert_int_equal(uds_record_page_verify(page, 4, &identity), UDS_ERR_CORRUPT);
	for (int field = 0; field < 4; field++)
	{
		uds_page_identity other = identity;

		other.nonce += field == 0;
		other.physical_page += field == 1;
		other.chapter += field == 2;
		other.generation += field == 3;
		assert_int_equal(uds_record_page_verify(page, 3, &other), UDS_ERR_CORRUPT);
	}
	memset(page, 0, sizeof(page));
	assert_int_equal(uds_record_page_verify(page, 0, &identity), UDS_ERR_CORRUPT);
}

/* A count that does not fit is refused even under a right checksum. */
static void
count_beyond_the_page_is_corrupt(void **state)
{
	uint8_t *page = malloc(UDS_PAGE_BYTES); /* of its own, so that a read beyond it shows */
	uds_name name = uds_generate_counter_name(1);
	page_input input;

	(void) state;
	fill_input(&input, 1000);
	uds_record_page_encode(page, input.refs, UDS_RECORDS_PER_PAGE, 3, &identity);
	for (uint32_t count = UDS_RECORDS_PER_PAGE; count <= UINT16_MAX; count += 16)
	{
		uint16_t record_count = (uint16_t) count;
		uint32_t crc;
		uds_status expected = count > UDS_RECORDS_PER_PAGE ? UDS_ERR_CORRUPT : UDS_OK;

		memcpy(page + 4, &record_count, sizeof(record_count));
		crc = uds_port_crc32c(uds_page_seed(&identity), page + 4, UDS_PAGE_BYTES - 4);
		memcpy(page, &crc, sizeof(crc));
		assert_int_equal(uds_record_page_verify(page, 3, &identity), expected);
		assert_int_equal(uds_record_page_search(page, &name, NULL, NULL),
		                 expected == UDS_OK ? UDS_NOT_FOUND : UDS_ERR_CORRUPT);
		assert_int_equal(uds_record_page_count(page), UDS_RECORDS_PER_PAGE);
	}
	free(page);
}

static void
random_bytes_are_read_without_harm(void **state)
{
	uint64_t seed = uds_random_seed(11);
	uint8_t *page = malloc(UDS_PAGE_BYTES);
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t round = 0; round < 300; round++)
	{
		bool is_plausible;

		uds_random_bytes(&random, page, UDS_PAGE_BYTES);
		if (round % 2 == 0)
			page[5] = 0;
		is_plausible = page[5] == 0 && page[4] <= UDS_RECORDS_PER_PAGE;
		assert_int_equal(uds_record_page_verify(page, 3, &identity), UDS_ERR_CORRUPT);
		for (uint32_t i = 0; i < 100; i++)
		{
			uds_name name = uds_random_name(&random);
			uds_status status = uds_record_page_search(page, &name, NULL, NULL);

			assert_int_equal(status, is_plausible ? UDS_NOT_FOUND : UDS_ERR_CORRUPT);
		}
	}
	free(page);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_trees_have_the_order_of_the_vectors),
		cmocka_unit_test(tree_of_1024_has_the_order_of_the_vector),
		cmocka_unit_test(trees_of_every_size_are_in_order),
		cmocka_unit_test(page_layout_is_fixed),
		cmocka_unit_test(pages_of_every_count_give_back_their_records),
		cmocka_unit_test(unknown_names_are_not_found),
		cmocka_unit_test(zero_name_can_be_stored),
		cmocka_unit_test(biased_names_are_sorted),
		cmocka_unit_test(input_order_does_not_matter),
		cmocka_unit_test(tombstones_are_told_by_record),
		cmocka_unit_test(page_with_any_flipped_bit_is_refused),
		cmocka_unit_test(page_of_another_identity_is_refused),
		cmocka_unit_test(count_beyond_the_page_is_corrupt),
		cmocka_unit_test(random_bytes_are_read_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
