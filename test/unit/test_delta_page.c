/*
 * test_delta_page.c: lists come back from a page as they were encoded, a page has the layout of
 * the vectors, and no bytes whatever make a reader fail or look outside the page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/delta_page.h"
#include "../support/generate.h"

#define NONCE       UINT64_C(0x0123456789abcdef)
#define CHAPTER     UINT64_C(0x65537)
#define ENTRIES_MAX 40
#define LISTS_MAX   200

/* A list as the test knows it: keys ascend; a repeated key is a collision entry. */
typedef struct model_entry
{
	uint32_t key;
	uint32_t value;
	uds_name name;
} model_entry;

typedef struct model_list
{
	uint32_t count;
	model_entry entries[ENTRIES_MAX];
} model_list;

static bool
is_collision(const model_list *list, uint32_t i)
{
	return i > 0 && list->entries[i].key == list->entries[i - 1].key;
}

static uint32_t
entry_bits(const uds_delta_code *code, const model_list *list, uint32_t i)
{
	uint32_t previous = i == 0 ? 0 : list->entries[i - 1].key;

	if (is_collision(list, i))
		return uds_delta_code_collision_bits(code);
	return uds_delta_code_entry_bits(code, list->entries[i].key - previous);
}

/* Pack lists from first on, as many as fit; returns their number. */
static uint32_t
pack(uint8_t *page, uint32_t page_bytes, const uds_delta_code *code, const model_list *lists,
     uint32_t list_count, uint32_t first)
{
	uint16_t list_bits[LISTS_MAX];
	uds_delta_page_header header = { .nonce = NONCE,
		                             .chapter = CHAPTER,
		                             .first_list = (uint16_t) first };
	uint64_t offset;

	for (uint32_t list = first; list < list_count; list++)
	{
		list_bits[list] = 0;
		for (uint32_t i = 0; i < lists[list].count; i++)
			list_bits[list] = (uint16_t) (list_bits[list] + entry_bits(code, &lists[list], i));
	}
	header.list_count =
		(uint16_t) uds_delta_page_fit(page_bytes, list_bits + first, list_count - first);
	offset = uds_delta_page_begin(page, page_bytes, &header, list_bits + first);
	for (uint32_t list = first; list < first + header.list_count; list++)
	{
		for (uint32_t i = 0; i < lists[list].count; i++)
		{
			const model_entry *entry = &lists[list].entries[i];

			if (is_collision(&lists[list], i))
				offset =
					uds_delta_code_write_collision(code, page, offset, entry->value, &entry->name);
			else
				offset = uds_delta_code_write_entry(code,
				                                    page,
				                                    offset,
				                                    entry->key - (i == 0 ? 0 : entry[-1].key),
				                                    entry->value);
		}
	}
	return header.list_count;
}

static void
check_list(const uint8_t *page, uint32_t page_bytes, const uds_delta_code *code, uint32_t number,
           const model_list *list)
{
	uds_delta_page_cursor cursor;

	assert_int_equal(uds_delta_page_begin_list(page, page_bytes, number, &cursor), UDS_OK);
	for (uint32_t i = 0; i < list->count; i++)
	{
		assert_int_equal(uds_delta_page_next(code, &cursor), UDS_OK);
		assert_int_equal(cursor.key, list->entries[i].key);
		assert_int_equal(cursor.value, list->entries[i].value);
		assert_int_equal(cursor.entry_bits, entry_bits(code, list, i));
		assert_int_equal(cursor.is_collision, is_collision(list, i));
		if (cursor.is_collision)
			assert_memory_equal(&cursor.name, &list->entries[i].name, sizeof(uds_name));
	}
	assert_int_equal(cursor.offset, cursor.end);
	assert_int_equal(uds_delta_page_next(code, &cursor), UDS_NOT_FOUND);
	assert_int_equal(uds_delta_page_next(code, &cursor), UDS_NOT_FOUND);
}

static uint32_t
find(const uint8_t *page, uint32_t page_bytes, const uds_delta_code *code, uint32_t list,
     uint32_t key, const uds_name *name)
{
	uint32_t value = UINT32_MAX;
	uds_status status = uds_delta_page_find(page, page_bytes, code, list, key, name, &value);

	assert_int_equal(status, value == UINT32_MAX ? UDS_NOT_FOUND : UDS_OK);
	return value;
}

/* Every key and name is found, keys between them are not. */
static void
check_finds(const uint8_t *page, uint32_t page_bytes, const uds_delta_code *code, uint32_t number,
            const model_list *list)
{
	uds_name stranger = uds_generate_counter_name(UINT64_MAX);
	uint32_t plain = 0;

	for (uint32_t i = 0; i < list->count; i++)
	{
		const model_entry *entry = &list->entries[i];

		if (!is_collision(list, i))
		{
			plain = entry->value;
			if (i == 0 ? entry->key > 0 : entry->key > entry[-1].key + 1)
				assert_int_equal(find(page, page_bytes, code, number, entry->key - 1, &stranger),
				                 UINT32_MAX);
		}
		assert_int_equal(find(page, page_bytes, code, number, entry->key, &stranger), plain);
		assert_int_equal(find(page, page_bytes, code, number, entry->key, &entry->name),
		                 entry->value);
	}
	assert_int_equal(find(page, page_bytes, code, number, UINT32_MAX, &stranger), UINT32_MAX);
}

/* ---- the vectors --------------------------------------------------------------------------------- */

static void
make_vector_lists(model_list *lists)
{
	memset(lists, 0, 8 * sizeof(*lists));
	lists[0] = (model_list){ 2, { { .key = 0, .value = 1 }, { .key = 400, .value = 2 } } };
	lists[1] = (model_list){ 2, { { .key = 77, .value = 3 }, { .key = 77, .value = 4 } } };
	for (uint32_t i = 0; i < UDS_NAME_BYTES; i++)
		lists[1].entries[1].name.bytes[i] = (uint8_t) (0x40 + i);
	lists[3] = (model_list){
		3, { { .key = 0, .value = 5 }, { .key = 1, .value = 6 }, { .key = 2, .value = 7 } }
	};
	lists[5] = (model_list){ 2, { { .key = 1000, .value = 8 }, { .key = 1001, .value = 9 } } };
	lists[7] = (model_list){ 1, { { .key = 255, .value = 10 } } };
}

static const uint8_t vector_pages[3][64] = {
	{ 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0x37, 0x55, 0x06, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0xec, 0x00, 0x50, 0x08, 0x80, 0x69,
	  0x00, 0x4c, 0x03, 0x10, 0x00, 0x08, 0xdf, 0x0e, 0x4d, 0x04, 0x00, 0x50, 0x90,
	  0xd0, 0x10, 0x51, 0x91, 0xd1, 0x11, 0x52, 0x92, 0xd2, 0x12, 0x53, 0x93, 0xd3,
	  0x13, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	{ 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0x37, 0x55, 0x06, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x03, 0x00, 0x05, 0x00, 0x12, 0x01, 0xe0, 0x09, 0x00, 0x4f,
	  0x00, 0xbc, 0x02, 0xe0, 0x15, 0x80, 0xb6, 0x00, 0x14, 0x00, 0x46, 0xc0, 0x11,
	  0x80, 0xcc, 0x81, 0x49, 0x80, 0xf2, 0x1f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	{ 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0x37, 0x55, 0x06, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0xb3, 0x00, 0x00, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }
};

static void
pages_equal_the_vectors(void **state)
{
	static const uint32_t packed[] = { 3, 5, 0 };
	model_list lists[8];
	uds_delta_code code;
	uint32_t first = 0;

	(void) state;
	make_vector_lists(lists);
	assert_int_equal(uds_delta_code_init(&code, 256, 6), UDS_OK);
	for (int p = 0; p < 3; p++)
	{
		uds_delta_page_header header;
		uint8_t page[64];

		memset(page, 0xa5, sizeof(page));
		assert_int_equal(pack(page, 64, &code, lists, 8, first), packed[p]);
		assert_memory_equal(page, vector_pages[p], 64);
		assert_int_equal(uds_delta_page_open(page, 64, NONCE, &header), UDS_OK);
		assert_int_equal(header.chapter, CHAPTER);
		assert_int_equal(header.first_list, first);
		assert_int_equal(header.list_count, packed[p]);
		for (uint32_t list = first; list < first + packed[p]; list++)
		{
			check_list(page, 64, &code, list, &lists[list]);
			check_finds(page, 64, &code, list, &lists[list]);
		}
		first += packed[p];
	}
}

static void
room_of_a_page_is_as_specified(void **state)
{
	uint16_t list_bits[3] = { 0, 65535, 65535 };

	(void) state;
	assert_int_equal(uds_delta_page_list_bits_max(32768), 65535);
	assert_int_equal(uds_delta_page_list_bits_max(4092), 8 * 4092 - 179 - 56 - 19);
	assert_int_equal(uds_delta_page_list_bits_max(32), 2);
	assert_int_equal(uds_delta_page_lists_max(4092), (8 * 4092 - 179 - 56) / 19);
	assert_int_equal(uds_delta_page_fit(32768, list_bits, 3), 3);
	assert_int_equal(uds_delta_page_fit(32768, list_bits, 0), 0);

	/* 4092 bytes: 32501 bits. */
	list_bits[0] = 32501 - 19;
	assert_int_equal(uds_delta_page_fit(4092, list_bits, 1), 1);
	list_bits[0]++;
	assert_int_equal(uds_delta_page_fit(4092, list_bits, 1), 0);
	list_bits[0] = 1000;
	list_bits[1] = 32501 - 19 - 1000 - 19;
	assert_int_equal(uds_delta_page_fit(4092, list_bits, 2), 2);
	list_bits[1]++;
	assert_int_equal(uds_delta_page_fit(4092, list_bits, 2), 1);
}

/* ---- against a plain model ------------------------------------------------------------------------ */

static void
random_lists(uds_random *random, model_list *lists, uint32_t list_count, uint32_t mean,
             uint32_t value_bits)
{
	for (uint32_t l = 0; l < list_count; l++)
	{
		uint32_t key = 0;

		lists[l].count = (uint32_t) uds_random_below(random, ENTRIES_MAX);
		for (uint32_t i = 0; i < lists[l].count; i++)
		{
			/* Small, usual and very large deltas; some keys repeat. */
			if (i == 0)
				key = (uint32_t) uds_random_below(random, 2) * mean;
			else if (!uds_random_one_in(random, 12))
				key += 1 + (uint32_t) uds_random_below(random,
				                                       uds_random_one_in(random, 15) ? 150 * mean
				                                                                     : 2 * mean);
			lists[l].entries[i].key = key;
			lists[l].entries[i].value =
				(uint32_t) uds_random_below(random, UINT64_C(1) << value_bits);
			lists[l].entries[i].name = uds_random_name(random);
		}
	}
}

static void
random_lists_come_back(void **state)
{
	static const uint32_t means[] = { 1, 10, 256, 4096, 65536 };
	static const uint32_t widths[] = { 0, 1, 6, 11, 25 };
	uint64_t seed = uds_random_seed(21);
	model_list *lists = calloc(LISTS_MAX, sizeof(*lists));
	uint8_t *page = malloc(UDS_DELTA_PAGE_BYTES_MAX);

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	for (uint32_t round = 0; round < 50; round++)
	{
		uint32_t page_bytes;
		uds_delta_code code;
		uds_random random;

		uds_random_init(&random, seed + round);
		assert_int_equal(uds_delta_code_init(&code, means[round % 5], widths[round / 5 % 5]),
		                 UDS_OK);
		random_lists(&random, lists, LISTS_MAX, means[round % 5], code.value_bits);
		page_bytes = (uint32_t) uds_random_range(&random, 3000, 9000);
		for (uint32_t first = 0; first < LISTS_MAX;)
		{
			uds_delta_page_header header;
			uint32_t packed;

			memset(page, (int) round, page_bytes);
			packed = pack(page, page_bytes, &code, lists, LISTS_MAX, first);
			if (packed == 0)
				break; /* the next list is longer than a page */
			assert_int_equal(uds_delta_page_open(page, page_bytes, NONCE, &header), UDS_OK);
			for (uint32_t list = first; list < first + packed; list++)
			{
				check_list(page, page_bytes, &code, list, &lists[list]);
				check_finds(page, page_bytes, &code, list, &lists[list]);
			}
			first += packed;
		}
	}
	free(page);
	free(lists);
}

static void
list_that_is_not_on_the_page_is_not_found(void **state)
{
	uds_delta_page_cursor cursor;
	uds_name name = uds_generate_counter_name(0);
	uds_delta_code code;
	uint32_t value;

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 256, 6), UDS_OK);
	for (uint32_t list = 0; list < 12; list++)
	{
		bool is_there = list >= 3 && list < 8;

		assert_int_equal(uds_delta_page_begin_list(vector_pages[1], 64, list, &cursor),
		                 is_there ? UDS_OK : UDS_NOT_FOUND);
		assert_int_equal(uds_delta_page_begin_list(vector_pages[2], 64, list, &cursor),
		                 UDS_NOT_FOUND);
		assert_int_equal(uds_delta_page_find(vector_pages[0],
		                                     64,
		                                     &code,
		                                     3 + list,
		                                     0,
		                                     &name,
		                                     &value),
		                 UDS_NOT_FOUND);
	}
	assert_int_equal(uds_delta_page_begin_list(vector_pages[1], 64, UINT32_MAX, &cursor),
	                 UDS_NOT_FOUND);
}

/* ---- damaged frames --------------------------------------------------------------------------------- */

static void
expect_open(const uint8_t *page, uint32_t page_bytes, uds_status expected)
{
	uds_delta_page_header header = { .nonce = 1 };

	assert_int_equal(uds_delta_page_open(page, page_bytes, NONCE, &header), expected);
	if (expected != UDS_OK)
		assert_int_equal(header.nonce, 1);
}

static void
set_offset(uint8_t *page, uint32_t i, uint32_t offset)
{
	uds_bits_set(page, 160 + 19 * i, 19, offset);
}

static void
every_byte_of_the_frame_counts(void **state)
{
	uint8_t page[64];

	(void) state;
	memcpy(page, vector_pages[0], 64);
	for (uint32_t i = 0; i < 64; i++)
	{
		bool is_nonce = i < 8;
		bool is_list_count = i == 18 || i == 19;
		bool is_guard = i >= 57;

		for (uint32_t bit = 0; bit < 8; bit++)
		{
			page[i] ^= (uint8_t) (1u << bit);
			if (is_nonce || is_list_count || is_guard)
				expect_open(page, 64, UDS_ERR_CORRUPT);
			page[i] ^= (uint8_t) (1u << bit);
		}
	}
	expect_open(page, 64, UDS_OK);
}

static void
big_endian_header_is_refused(void **state)
{
	uint8_t page[64];

	(void) state;
	memcpy(page, vector_pages[0], 64);
	for (uint32_t i = 0; i < 4; i++)
	{
		uint8_t byte = page[i];

		page[i] = page[7 - i];
		page[7 - i] = byte;
	}
	page[18] = 0;
	page[19] = 3;
	expect_open(page, 64, UDS_ERR_CORRUPT);
}

static void
offsets_out_of_order_or_range_are_refused(void **state)
{
	uint8_t page[64];

	(void) state;
	memcpy(page, vector_pages[0], 64);
	set_offset(page, 1, 422); /* offsets 236, 266, 422, 422 */
	set_offset(page, 2, 266);
	expect_open(page, 64, UDS_ERR_CORRUPT);

	memcpy(page, vector_pages[0], 64);
	set_offset(page, 0, 235);
	expect_open(page, 64, UDS_ERR_CORRUPT);
	set_offset(page, 0, 237);
	expect_open(page, 64, UDS_ERR_CORRUPT);

	memcpy(page, vector_pages[0], 64);
	set_offset(page, 3, 8 * 57);
	expect_open(page, 64, UDS_OK);
	set_offset(page, 3, 8 * 57 + 1);
	expect_open(page, 64, UDS_ERR_CORRUPT);
}

static void
list_longer_than_65535_bits_is_refused(void **state)
{
	uint8_t *page = malloc(32768);
	uint16_t list_bits[2] = { 65535, 65535 };
	uds_delta_page_header header = { .nonce = NONCE, .chapter = CHAPTER, .list_count = 2 };
	uint32_t first = uds_delta_page_begin(page, 32768, &header, list_bits);

	(void) state;
	expect_open(page, 32768, UDS_OK);
	set_offset(page, 1, first + 65536);
	expect_open(page, 32768, UDS_ERR_CORRUPT);
	set_offset(page, 1, first + 65535);
	set_offset(page, 2, first + 2 * 65535 + 1);
	expect_open(page, 32768, UDS_ERR_CORRUPT);
	free(page);
}

/* The most lists whose table fits, and more: nothing behind the page is read. */
static void
check_largest_table(uint32_t page_bytes)
{
	static const uint16_t list_bits[UDS_DELTA_PAGE_BYTES_MAX]; /* all empty */
	uint32_t most = uds_delta_page_lists_max(page_bytes);
	uds_delta_page_header header = { .nonce = NONCE, .list_count = (uint16_t) most };
	uint8_t *page = malloc(page_bytes); /* of its own, so that a read beyond it shows */

	uds_delta_page_begin(page, page_bytes, &header, list_bits);
	expect_open(page, page_bytes, UDS_OK);
	for (uint32_t count = most + 1; count <= UINT16_MAX; count += count < most + 8 ? 1 : 997)
	{
		uint32_t first = 160 + 19 * (count + 1);
		uds_delta_page_cursor cursor;

		header.list_count = (uint16_t) count;
		memcpy(page + 18, &header.list_count, 2);
		/* As good as such a table can be. */
		for (uint32_t i = 0; i <= most && first < 1u << 19; i++)
			set_offset(page, i, first);
		expect_open(page, page_bytes, UDS_ERR_CORRUPT);
		assert_int_equal(uds_delta_page_begin_list(page, page_bytes, count - 1, &cursor),
		                 UDS_ERR_CORRUPT);
	}
	free(page);
}

static void
table_that_does_not_fit_is_refused(void **state)
{
	(void) state;
	for (uint32_t page_bytes = UDS_DELTA_PAGE_BYTES_MIN; page_bytes < 300; page_bytes++)
		check_largest_table(page_bytes);
	check_largest_table(UDS_DELTA_PAGE_BYTES_MAX);
}

/* A page without lists, the first list being number 0: there is no list before it. */
static void
page_without_lists_holds_no_list(void **state)
{
	uds_delta_page_header header = { .nonce = NONCE };
	uds_delta_page_cursor cursor;
	uds_name name = uds_generate_counter_name(0);
	uint8_t page[64];
	uds_delta_code code;
	uint32_t value;

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 256, 6), UDS_OK);
	uds_delta_page_begin(page, 64, &header, NULL);
	expect_open(page, 64, UDS_OK);
	for (uint64_t list = 0; list <= UINT32_MAX; list = 3 * list + 1)
	{
		assert_int_equal(uds_delta_page_begin_list(page, 64, (uint32_t) list, &cursor),
		                 UDS_NOT_FOUND);
		assert_int_equal(uds_delta_page_find(page, 64, &code, (uint32_t) list, 0, &name, &value),
		                 UDS_NOT_FOUND);
	}
}

static void
page_size_out_of_range_is_refused(void **state)
{
	uint8_t page[32] = { 0 };

	(void) state;
	expect_open(page, 31, UDS_ERR_CORRUPT);
	expect_open(page, 0, UDS_ERR_CORRUPT);
	expect_open(page, UDS_DELTA_PAGE_BYTES_MAX + 1, UDS_ERR_CORRUPT);
}

/* ---- damaged lists ------------------------------------------------------------------------------------ */

static void
list_of_equal_bits_ends_in_corruption(void **state)
{
	uint16_t list_bits[1] = { 125 };
	uds_delta_page_header header = { .nonce = NONCE, .chapter = CHAPTER, .list_count = 1 };
	uds_delta_page_cursor cursor;
	uds_delta_code code;
	uint8_t page[64];
	uint32_t entries = 0;
	uint32_t value;
	uds_name name = uds_generate_counter_name(0);

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 256, 6), UDS_OK);
	uds_delta_page_begin(page, 64, &header, list_bits);
	/* All zeros: a plain entry with key 0, then a collision entry that is cut off. */
	assert_int_equal(uds_delta_page_begin_list(page, 64, 0, &cursor), UDS_OK);
	assert_int_equal(uds_delta_page_next(&code, &cursor), UDS_OK);
	assert_int_equal(uds_delta_page_next(&code, &cursor), UDS_ERR_CORRUPT);
	assert_int_equal(uds_delta_page_find(page, 64, &code, 0, 5, &name, &value), UDS_ERR_CORRUPT);

	for (uint32_t bit = cursor.end - 125; bit < cursor.end; bit++)
		uds_bits_set(page, bit, 1, 1);
	assert_int_equal(uds_delta_page_begin_list(page, 64, 0, &cursor), UDS_OK);
	while (uds_delta_page_next(&code, &cursor) == UDS_OK)
		entries++;
	assert_int_equal(entries, 8);
	assert_int_equal(uds_delta_page_next(&code, &cursor), UDS_ERR_CORRUPT);
	assert_int_equal(uds_delta_page_find(page, 64, &code, 0, UINT32_MAX, &name, &value),
	                 UDS_ERR_CORRUPT);
}

/* A code whose zeros run up to the end of the list, at every length. */
static void
endless_zeros_are_corrupt(void **state)
{
	uint8_t *page = malloc(4092);
	uds_delta_code code;
	uds_name name = uds_generate_counter_name(0);

	(void) state;
	assert_int_equal(uds_delta_code_init(&code, 65536, 9), UDS_OK);
	for (uint32_t length = 25; length <= 32482; length += length < 200 ? 1 : 397)
	{
		uint16_t list_bits[1] = { (uint16_t) length };
		uds_delta_page_header header = { .nonce = NONCE, .list_count = 1 };
		uint32_t offset = uds_delta_page_begin(page, 4092, &header, list_bits);
		uds_delta_page_cursor cursor;
		uint32_t value;

		uds_bits_set(page, offset + 9, 16, 0xffff);
		assert_int_equal(uds_delta_page_begin_list(page, 4092, 0, &cursor), UDS_OK);
		assert_int_equal(uds_delta_page_next(&code, &cursor), UDS_ERR_CORRUPT);
		assert_int_equal(uds_delta_page_find(page, 4092, &code, 0, UINT32_MAX, &name, &value),
		                 UDS_ERR_CORRUPT);
		if (length == 25)
			continue;
		/* With its one bit at the very end it is an entry. */
		uds_bits_set(page, offset + length - 1, 1, 1);
		assert_int_equal(uds_delta_page_begin_list(page, 4092, 0, &cursor), UDS_OK);
		assert_int_equal(uds_delta_page_next(&code, &cursor), UDS_OK);
		assert_int_equal(cursor.key, 0xffff + (uint64_t) (length - 26) * code.step);
		assert_int_equal(uds_delta_page_next(&code, &cursor), UDS_NOT_FOUND);
	}
	free(page);
}

static void
random_bytes_are_read_without_harm(void **state)
{
	uint64_t seed = uds_random_seed(22);
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t round = 0; round < 20000; round++)
	{
		uint32_t page_bytes = (uint32_t) uds_random_range(&random, 32, 300);
		uint8_t *page = malloc(page_bytes);
		uds_name name = uds_random_name(&random);
		uds_delta_page_header header;
		uds_delta_code code;

		assert_int_equal(uds_delta_code_init(&code,
		                                     1u << uds_random_below(&random, 25),
		                                     (uint32_t) uds_random_below(&random, 26)),
		                 UDS_OK);
		uds_random_bytes(&random, page, page_bytes);
		memset(page + 16, 0, 4);
		page[18] = (uint8_t) uds_random_below(&random, page_bytes / 4);
		for (uint32_t i = 0; i <= page[18] && 160 + 19 * i < 8 * page_bytes - 64; i++)
			if (round % 2 == 0)
				set_offset(page, i, (uint32_t) uds_random_below(&random, 8 * page_bytes));
		(void) uds_delta_page_read_header(page);
		expect_open(page, page_bytes, UDS_ERR_CORRUPT);
		memcpy(page, &(uint64_t){ NONCE }, 8);
		assert_true(uds_delta_page_open(page, page_bytes, NONCE, &header) != UDS_NOT_FOUND);
		for (uint32_t list = 0; list < page[18]; list++)
		{
			uds_delta_page_cursor cursor;
			uint32_t value;
			uds_status status = uds_delta_page_begin_list(page, page_bytes, list, &cursor);

			while (status == UDS_OK)
				status = uds_delta_page_next(&code, &cursor);
			assert_true(status == UDS_NOT_FOUND || status == UDS_ERR_CORRUPT);
			status = uds_delta_page_find(page,
			                             page_bytes,
			                             &code,
			                             list,
			                             (uint32_t) uds_random_next(&random),
			                             &name,
			                             &value);
			assert_true(status == UDS_OK || status == UDS_NOT_FOUND || status == UDS_ERR_CORRUPT);
		}
		free(page);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_equal_the_vectors),
		cmocka_unit_test(room_of_a_page_is_as_specified),
		cmocka_unit_test(random_lists_come_back),
		cmocka_unit_test(list_that_is_not_on_the_page_is_not_found),
		cmocka_unit_test(every_byte_of_the_frame_counts),
		cmocka_unit_test(big_endian_header_is_refused),
		cmocka_unit_test(offsets_out_of_order_or_range_are_refused),
		cmocka_unit_test(list_longer_than_65535_bits_is_refused),
		cmocka_unit_test(table_that_does_not_fit_is_refused),
		cmocka_unit_test(page_without_lists_holds_no_list),
		cmocka_unit_test(page_size_out_of_range_is_refused),
		cmocka_unit_test(list_of_equal_bits_ends_in_corruption),
		cmocka_unit_test(endless_zeros_are_corrupt),
		cmocka_unit_test(random_bytes_are_read_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
