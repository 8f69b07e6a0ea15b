/*
 * test_chapter_index.c: an index built at once equals one that was filled record by record, leads
 * to the page of every record but the dropped ones, and pages from elsewhere are refused or read
 * without harm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/chapter_index.h"
#include "../support/generate.h"

#define NONCE   UINT64_C(0x0123456789abcdef)
#define CHAPTER UINT64_C(0x65537)

/* A chapter with everything that a build needs and gives. */
typedef struct chapter
{
	uds_geometry geometry;
	uint32_t count;
	uds_record *records;
	uds_record_ref *refs;
	void *scratch;
	uint8_t *pages;
	uint16_t *last_lists;
	uint32_t dropped;
} chapter;

/* Pages of the original: 32 kB, no checksum. */
static uds_geometry_parameters
original_parameters(uint32_t record_pages)
{
	return (uds_geometry_parameters){ .page_bytes = 32768,
		                              .index_page_bytes = 32768,
		                              .records_per_page = 1024,
		                              .record_pages = record_pages,
		                              .chapters = 1024 };
}

/* Pages of the product. */
static uds_geometry_parameters
product_parameters(uint32_t record_pages)
{
	return (uds_geometry_parameters){ .page_bytes = UDS_PAGE_BYTES,
		                              .index_page_bytes = UDS_INDEX_PAGE_BYTES,
		                              .records_per_page = UDS_RECORDS_PER_PAGE,
		                              .record_pages = record_pages,
		                              .extra_pages = UDS_SEAL_PAGES,
		                              .chapters = 1024 };
}

/* A full chapter of counter names; every 16th record is a tombstone. */
static void
chapter_init(chapter *c, uds_geometry_parameters parameters)
{
	assert_int_equal(uds_geometry_init(&c->geometry, &parameters), UDS_OK);
	c->count = c->geometry.records_per_chapter;
	c->records = calloc(c->count, sizeof(*c->records));
	c->refs = calloc(c->count, sizeof(*c->refs));
	c->scratch = malloc(uds_chapter_index_size(&c->geometry));
	c->pages = malloc((size_t) c->geometry.index_pages * parameters.page_bytes);
	c->last_lists = calloc(c->geometry.index_pages, sizeof(*c->last_lists));
	for (uint32_t i = 0; i < c->count; i++)
	{
		c->records[i].name = uds_generate_counter_name(i);
		c->refs[i] = (uds_record_ref){ .record = &c->records[i], .is_tombstone = i % 16 == 0 };
	}
}

static void
chapter_free(chapter *c)
{
	free(c->records);
	free(c->refs);
	free(c->scratch);
	free(c->pages);
	free(c->last_lists);
}

static uint8_t *
page_of(const chapter *c, uint32_t i)
{
	return c->pages + (size_t) i * c->geometry.parameters.page_bytes;
}

static uds_page_identity
identity_of(uint32_t i)
{
	return (uds_page_identity){
		.nonce = NONCE, .physical_page = 100 + i, .chapter = CHAPTER, .generation = 3
	};
}

static void
chapter_build(chapter *c)
{
	assert_int_equal(uds_chapter_index_build(c->scratch,
	                                         &c->geometry,
	                                         c->refs,
	                                         c->count,
	                                         NONCE,
	                                         CHAPTER,
	                                         c->pages,
	                                         c->last_lists,
	                                         &c->dropped),
	                 UDS_OK);
	for (uint32_t i = 0; i < c->geometry.index_pages; i++)
	{
		uds_page_identity identity = identity_of(i);

		uds_chapter_index_seal_page(page_of(c, i), &c->geometry, &identity);
	}
}

/* What the entries of all pages add up to; also checks that the pages fit each other. */
typedef struct totals
{
	uint64_t bits;
	uint32_t longest;
	uint32_t entries;
	uint32_t collisions;
} totals;

static totals
check_pages(const chapter *c)
{
	totals sum = { 0 };
	uint32_t next_list = 0;

	for (uint32_t i = 0; i < c->geometry.index_pages; i++)
	{
		uds_page_identity identity = identity_of(i);
		uint32_t first;
		uint32_t count;
		uint32_t entries;
		uint32_t collisions;

		assert_int_equal(uds_chapter_index_verify_page(page_of(c, i), &c->geometry, &identity),
		                 UDS_OK);
		assert_int_equal(uds_chapter_index_walk(page_of(c, i), &c->geometry, &entries, &collisions),
		                 UDS_OK);
		uds_chapter_index_bounds(page_of(c, i), &first, &count);
		assert_int_equal(first, next_list);
		next_list += count;
		assert_int_equal(c->last_lists[i], next_list - 1);
		for (uint32_t list = first; list < next_list; list++)
		{
			uds_delta_page_cursor cursor;

			assert_int_equal(uds_delta_page_begin_list(page_of(c, i),
			                                           c->geometry.parameters.index_page_bytes,
			                                           list,
			                                           &cursor),
			                 UDS_OK);
			sum.bits += cursor.end - cursor.offset;
			sum.longest = UDS_MAX(sum.longest, cursor.end - cursor.offset);
		}
		sum.entries += entries;
		sum.collisions += collisions;
	}
	assert_int_equal(next_list, c->geometry.lists_per_chapter);
	assert_int_equal(sum.entries + c->dropped, c->count);
	return sum;
}

static uint32_t
index_page_of(const chapter *c, const uds_name *name)
{
	uint32_t list = uds_geometry_chapter_list(&c->geometry, uds_name_chapter_field(name));
	uint32_t i = 0;

	while (c->last_lists[i] < list)
		i++;
	return i;
}

/* Records whose search leads to their page. */
static uint32_t
count_found(const chapter *c)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < c->count; i++)
	{
		const uds_name *name = &c->records[i].name;
		uint32_t record_page = UINT32_MAX;
		uds_status status = uds_chapter_index_search(page_of(c, index_page_of(c, name)),
		                                             &c->geometry,
		                                             name,
		                                             &record_page);

		assert_true(status == UDS_OK || status == UDS_NOT_FOUND);
		if (status == UDS_OK)
			assert_true(record_page < c->geometry.parameters.record_pages);
		found += status == UDS_OK && record_page == i / c->geometry.parameters.records_per_page;
	}
	return found;
}

/* ---- the vectors of the original ------------------------------------------------------------ */

typedef struct vector
{
	uint32_t record_pages;
	uint32_t total_bits;
	uint32_t longest;
	uint32_t collisions;
	uint16_t lists[26];
} vector;

static const vector vectors[] = {
	{ 64, 1536946, 2034, 1, { 173, 173, 172, 173, 173, 160 } },
	{ 128, 3204339, 2255, 1, { 167, 164, 165, 165, 166, 166, 163, 167, 166, 166, 162, 161, 70 } },
	{ 192, 5096075, 1896, 3, { 208, 204, 210, 209, 207, 207, 207, 207, 206, 207,
	                           210, 205, 209, 206, 207, 206, 205, 207, 206, 163 } },
	{ 256, 6671773, 2373, 6, { 158, 158, 157, 161, 158, 162, 157, 160, 159, 158, 159, 157, 159,
	                           162, 159, 158, 160, 156, 160, 155, 160, 158, 160, 155, 157, 133 } },
};

static void
full_chapters_of_counter_names_equal_the_vectors(void **state)
{
	(void) state;
	for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++)
	{
		chapter c;
		totals sum;

		chapter_init(&c, original_parameters(vectors[v].record_pages));
		chapter_build(&c);
		assert_int_equal(c.dropped, 0);
		sum = check_pages(&c);
		assert_int_equal(sum.bits, vectors[v].total_bits);
		assert_int_equal(sum.longest, vectors[v].longest);
		assert_int_equal(sum.collisions, vectors[v].collisions);
		for (uint32_t i = 0; i < c.geometry.index_pages; i++)
		{
			uint32_t first;
			uint32_t count;

			uds_chapter_index_bounds(page_of(&c, i), &first, &count);
			assert_int_equal(count, vectors[v].lists[i]);
		}
		assert_int_equal(count_found(&c), c.count);
		chapter_free(&c);
	}
}

static void
names_on_one_list_are_kept_as_far_as_the_list_goes(void **state)
{
	chapter c;
	totals sum;

	(void) state;
	chapter_init(&c, original_parameters(64));
	for (uint32_t i = 0; i < c.count; i++)
	{
		uint64_t field = uds_name_chapter_field(&c.records[i].name);

		uds_generate_set_chapter_field(&c.records[i].name,
		                               uds_geometry_chapter_address(&c.geometry, field));
	}
	chapter_build(&c);
	assert_int_equal(c.dropped, 62558);
	sum = check_pages(&c);
	assert_int_equal(sum.entries, 2978);
	assert_int_equal(sum.bits, 65516);
	assert_true(count_found(&c) >= 2978);
	chapter_free(&c);
}

static void
names_on_one_address_are_kept_as_far_as_the_list_goes(void **state)
{
	chapter c;
	totals sum;

	(void) state;
	chapter_init(&c, original_parameters(64));
	c.count = 1000;
	for (uint32_t i = 0; i < c.count; i++)
		uds_generate_set_chapter_field(&c.records[i].name, 5);
	chapter_build(&c);
	sum = check_pages(&c);
	assert_int_equal(sum.entries, 437);
	assert_int_equal(sum.collisions, 436);
	assert_int_equal(sum.bits, 65422);
	/* A name that is not in the list leads to the page of the first record. */
	assert_int_equal(count_found(&c), 1000);
	chapter_free(&c);
}

static void
lists_that_do_not_fit_on_the_last_page_are_dropped(void **state)
{
	static const uint32_t record_pages[] = { 64, 256 };
	static const uint32_t kept[] = { 10326, 7237 };

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		chapter c;

		chapter_init(&c, original_parameters(record_pages[i]));
		c.geometry.index_pages = 1;
		chapter_build(&c);
		assert_int_equal(check_pages(&c).entries, kept[i]);
		assert_int_equal(c.dropped, c.count - kept[i]);
		chapter_free(&c);
	}
}

/* ---- the product's pages --------------------------------------------------------------------- */

static void
every_record_is_found_through_checked_pages(void **state)
{
	static const uint32_t record_pages[] = { 64, 128, 512, 2048 };

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		chapter c;

		chapter_init(&c, product_parameters(record_pages[i]));
		chapter_build(&c);
		assert_int_equal(c.dropped, 0);
		check_pages(&c);
		assert_int_equal(count_found(&c), c.count);
		chapter_free(&c);
	}
}

static void
unknown_names_are_rarely_found(void **state)
{
	chapter c;
	uint32_t hits = 0;

	(void) state;
	chapter_init(&c, product_parameters(128));
	chapter_build(&c);
	for (uint32_t i = 0; i < 100000; i++)
	{
		uds_name name = uds_generate_counter_name(1000000 + i);
		uint32_t record_page;

		hits += uds_chapter_index_search(page_of(&c, index_page_of(&c, &name)),
		                                 &c.geometry,
		                                 &name,
		                                 &record_page) == UDS_OK;
	}
	/* 64 entries of 2^22 addresses: 1.5 expected. */
	assert_true(hits <= 12);
	chapter_free(&c);
}

static void
empty_chapter_has_valid_pages(void **state)
{
	chapter c;
	uint32_t record_page;

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		uint32_t first;
		uint32_t count;

		chapter_init(&c, i == 0 ? original_parameters(64) : product_parameters(128));
		c.count = 0;
		chapter_build(&c);
		assert_int_equal(check_pages(&c).bits, 0);
		uds_chapter_index_bounds(page_of(&c, c.geometry.index_pages - 1), &first, &count);
		assert_int_equal(first, c.geometry.lists_per_chapter);
		assert_int_equal(count, 0);
		assert_int_equal(uds_chapter_index_search(page_of(&c, 0),
		                                          &c.geometry,
		                                          &c.records[0].name,
		                                          &record_page),
		                 UDS_NOT_FOUND);
		chapter_free(&c);
	}
}

static void
name_whose_list_is_on_another_page_is_not_found(void **state)
{
	chapter c;
	uint32_t record_page;

	(void) state;
	chapter_init(&c, product_parameters(128));
	chapter_build(&c);
	for (uint32_t i = 0; i < c.geometry.index_pages; i++)
	{
		uds_status status =
			uds_chapter_index_search(page_of(&c, i), &c.geometry, &c.records[7].name, &record_page);

		assert_int_equal(status,
		                 i == index_page_of(&c, &c.records[7].name) ? UDS_OK : UDS_NOT_FOUND);
	}
	chapter_free(&c);
}

static void
bad_arguments_are_refused(void **state)
{
	chapter c;

	(void) state;
	chapter_init(&c, product_parameters(2048));
	assert_int_equal(uds_chapter_index_build(c.scratch,
	                                         &c.geometry,
	                                         c.refs,
	                                         c.count + 1,
	                                         NONCE,
	                                         CHAPTER,
	                                         c.pages,
	                                         c.last_lists,
	                                         &c.dropped),
	                 UDS_ERR_ARGUMENT);
	/* 4096 lists take three pages even when they are empty. */
	c.geometry.index_pages = 2;
	assert_int_equal(uds_chapter_index_build(c.scratch,
	                                         &c.geometry,
	                                         c.refs,
	                                         0,
	                                         NONCE,
	                                         CHAPTER,
	                                         c.pages,
	                                         c.last_lists,
	                                         &c.dropped),
	                 UDS_ERR_ARGUMENT);
	chapter_free(&c);
}

static void
lists_never_exceed_what_a_page_holds(void **state)
{
	chapter c;
	totals sum;

	(void) state;
	chapter_init(&c, product_parameters(512));
	for (uint32_t i = 0; i < c.count; i++)
	{
		uint64_t field = uds_name_chapter_field(&c.records[i].name);
		uint64_t list = i % 3 == 0 ? 0 : 1023;

		uds_generate_set_chapter_field(&c.records[i].name,
		                               list << c.geometry.chapter_address_bits |
		                                   uds_geometry_chapter_address(&c.geometry, field));
	}
	chapter_build(&c);
	sum = check_pages(&c);
	assert_true(c.dropped > 0);
	assert_true(sum.longest <= uds_delta_page_list_bits_max(UDS_INDEX_PAGE_BYTES));
	assert_true(sum.longest + 32 > uds_delta_page_list_bits_max(UDS_INDEX_PAGE_BYTES));
	chapter_free(&c);
}

/* Entries of 22 bits and ten of 23 fill a page to the last bit. */
static void
list_can_fill_a_page_to_the_last_bit(void **state)
{
	const uint32_t fitting = 1476;
	uint64_t address = 0;
	chapter c;
	totals sum;

	(void) state;
	chapter_init(&c, product_parameters(64));
	assert_int_equal(uds_delta_page_list_bits_max(UDS_INDEX_PAGE_BYTES), 22 * fitting + 10);
	for (c.count = 0; c.count < fitting + 1; c.count++)
	{
		uds_generate_set_chapter_field(&c.records[c.count].name, address);
		address += c.count % 100 == 0 && c.count < 1000 ? 20110 : 1;
	}
	chapter_build(&c);
	sum = check_pages(&c);
	assert_int_equal(c.dropped, 1);
	assert_int_equal(sum.bits, 22 * fitting + 10);
	assert_int_equal(count_found(&c), fitting);
	chapter_free(&c);
}

/*
 * A long list behind every short one leaves most of each page empty; the last page could not hold
 * the offsets of all the lists that remain.
 */
static void
wasted_pages_leave_room_for_all_lists(void **state)
{
	chapter c;
	uint32_t long_lists;

	(void) state;
	chapter_init(&c, product_parameters(2048));
	long_lists = c.geometry.index_pages - 1;
	for (uint32_t i = 0; i < c.count; i++)
	{
		uint64_t field = uds_name_chapter_field(&c.records[i].name);

		uds_generate_set_chapter_field(&c.records[i].name,
		                               (uint64_t) (i % long_lists)
		                                       << c.geometry.chapter_address_bits |
		                                   uds_geometry_chapter_address(&c.geometry, field));
	}
	chapter_build(&c);
	check_pages(&c);
	assert_true(c.dropped > 0);
	assert_true(count_found(&c) >= c.count - c.dropped);
	chapter_free(&c);
}

/* ---- against a plain model ----------------------------------------------------------------- */

/* One list as an array that records are put into one after the other. */
typedef struct model_entry
{
	uint32_t address;
	uint32_t record;
} model_entry;

typedef struct model_list
{
	model_entry entries[4096];
	uint32_t count;
} model_list;

static uint64_t
model_bits(const model_list *list, const uds_delta_code *code)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < list->count; i++)
	{
		uint32_t previous = i == 0 ? 0 : list->entries[i - 1].address;

		if (i > 0 && list->entries[i].address == previous)
			bits += uds_delta_code_collision_bits(code);
		else
			bits += uds_delta_code_entry_bits(code, list->entries[i].address - previous);
	}
	return bits;
}

/* Put behind a plain entry of the same address, else in order; undone when it gets too long. */
static void
model_put(model_list *list, const uds_delta_code *code, uint32_t address, uint32_t record)
{
	uint32_t place = 0;

	while (place < list->count && list->entries[place].address < address)
		place++;
	if (place < list->count && list->entries[place].address == address)
		place++;
	memmove(&list->entries[place + 1],
	        &list->entries[place],
	        (list->count - place) * sizeof(model_entry));
	list->entries[place] = (model_entry){ .address = address, .record = record };
	list->count++;
	if (model_bits(list, code) <= uds_delta_page_list_bits_max(UDS_INDEX_PAGE_BYTES))
		return;
	list->count--;
	memmove(&list->entries[place],
	        &list->entries[place + 1],
	        (list->count - place) * sizeof(model_entry));
}

/* Compare a list with the model; returns its entries, 0 also when it was dropped as a whole. */
static uint32_t
compare_list(const chapter *c, uint32_t number, const model_list *list, const uds_delta_code *code)
{
	uint32_t page = 0;
	uds_delta_page_cursor cursor;

	while (c->last_lists[page] < number)
		page++;
	assert_int_equal(uds_delta_page_begin_list(page_of(c, page),
	                                           UDS_INDEX_PAGE_BYTES,
	                                           number,
	                                           &cursor),
	                 UDS_OK);
	if (cursor.offset == cursor.end)
		return 0;
	assert_int_equal(cursor.end - cursor.offset, model_bits(list, code));
	for (uint32_t i = 0; i < list->count; i++)
	{
		const model_entry *entry = &list->entries[i];
		bool is_collision = i > 0 && list->entries[i - 1].address == entry->address;

		assert_int_equal(uds_delta_page_next(code, &cursor), UDS_OK);
		assert_int_equal(cursor.key, entry->address);
		assert_int_equal(cursor.value, entry->record / UDS_RECORDS_PER_PAGE);
		assert_int_equal(cursor.is_collision, is_collision);
		if (is_collision)
			assert_memory_equal(&cursor.name, &c->records[entry->record].name, UDS_NAME_BYTES);
	}
	assert_int_equal(uds_delta_page_next(code, &cursor), UDS_NOT_FOUND);
	return list->count;
}

static void
biased_names_give_the_lists_of_single_puts(void **state)
{
	uint64_t seed = uds_random_seed(20261);
	model_list *lists = calloc(64, sizeof(*lists));
	uint32_t thinned = 0; /* rounds in which lists were too long, but all were packed */
	uint32_t emptied = 0; /* rounds in which whole lists were dropped */
	uds_delta_code code;
	chapter c;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	chapter_init(&c, product_parameters(64));
	assert_int_equal(uds_delta_code_init(&code, 65536, c.geometry.chapter_payload_bits), UDS_OK);
	for (uint32_t round = 0; round < 12; round++)
	{
		uds_random random;
		/* Few lists and few addresses: many collisions, lists that overflow. */
		uint32_t list_count = 1 + round * 5;
		uint32_t address_count = round % 3 == 0 ? 300 : 1u << (7 * (round % 3));
		uint32_t kept = 0;
		uint32_t packed = 0;
		totals sum;

		uds_random_init(&random, seed + round);
		memset(lists, 0, 64 * sizeof(*lists));
		c.count = (uint32_t) uds_random_range(&random, 1000, 4000);
		for (uint32_t i = 0; i < c.count; i++)
		{
			uint32_t list = (uint32_t) uds_random_below(&random, list_count);
			uint32_t address = (uint32_t) uds_random_below(&random, address_count);

			c.records[i].name = uds_random_name(&random);
			uds_generate_set_chapter_field(&c.records[i].name,
			                               (uint64_t) list << c.geometry.chapter_address_bits |
			                                   address);
			model_put(&lists[list], &code, address, i);
		}
		chapter_build(&c);
		sum = check_pages(&c);
		for (uint32_t list = 0; list < list_count; list++)
		{
			packed += compare_list(&c, list, &lists[list], &code);
			kept += lists[list].count;
		}
		assert_int_equal(sum.entries, packed);
		thinned += packed == kept && kept < c.count;
		emptied += packed < kept;
	}
	assert_true(thinned > 0 && emptied > 0);
	free(lists);
	chapter_free(&c);
}

/* ---- damage ------------------------------------------------------------------------------------ */

static void
page_with_any_flipped_bit_is_refused(void **state)
{
	uds_page_identity identity = identity_of(2);
	chapter c;

	(void) state;
	chapter_init(&c, product_parameters(64));
	chapter_build(&c);
	for (uint32_t bit = 0; bit < 8 * UDS_PAGE_BYTES; bit++)
	{
		page_of(&c, 2)[bit / 8] ^= (uint8_t) (1u << (bit % 8));
		assert_int_equal(uds_chapter_index_verify_page(page_of(&c, 2), &c.geometry, &identity),
		                 UDS_ERR_CORRUPT);
		page_of(&c, 2)[bit / 8] ^= (uint8_t) (1u << (bit % 8));
	}
	assert_int_equal(uds_chapter_index_verify_page(page_of(&c, 2), &c.geometry, &identity), UDS_OK);
	chapter_free(&c);
}

static void
page_of_another_identity_is_refused(void **state)
{
	chapter c;

	(void) state;
	chapter_init(&c, product_parameters(64));
	chapter_build(&c);
	for (int field = 0; field < 4; field++)
	{
		uds_page_identity identity = identity_of(2);

		identity.nonce += field == 0;
		identity.physical_page += field == 1;
		identity.chapter += field == 2;
		identity.generation += field == 3;
		assert_int_equal(uds_chapter_index_verify_page(page_of(&c, 2), &c.geometry, &identity),
		                 UDS_ERR_CORRUPT);
	}
	chapter_free(&c);

	/* Without a checksum nonce, chapter and list numbers still count. */
	chapter_init(&c, original_parameters(64));
	chapter_build(&c);
	for (int field = 0; field < 3; field++)
	{
		uds_page_identity identity = identity_of(2);

		identity.nonce += field == 0;
		identity.chapter += field == 1;
		if (field == 2)
			page_of(&c, 2)[17] = 4; /* first list 1024 + ... */
		assert_int_equal(uds_chapter_index_verify_page(page_of(&c, 2), &c.geometry, &identity),
		                 UDS_ERR_CORRUPT);
	}
	chapter_free(&c);
}

static void
record_page_out_of_range_is_corrupt(void **state)
{
	chapter c;
	uds_geometry fewer;
	uint32_t corrupt = 0;

	(void) state;
	chapter_init(&c, original_parameters(192));
	chapter_build(&c);
	fewer = c.geometry;
	fewer.parameters.record_pages = 191;
	for (uint32_t i = 0; i < c.geometry.index_pages; i++)
		assert_int_equal(uds_chapter_index_walk(page_of(&c, i), &fewer, NULL, NULL),
		                 UDS_ERR_CORRUPT);
	for (uint32_t i = 0; i < c.count; i++)
	{
		uint32_t record_page;

		corrupt += uds_chapter_index_search(page_of(&c, index_page_of(&c, &c.records[i].name)),
		                                    &fewer,
		                                    &c.records[i].name,
		                                    &record_page) == UDS_ERR_CORRUPT;
	}
	assert_int_equal(corrupt, 1024);
	chapter_free(&c);
}

static void
address_out_of_range_is_corrupt(void **state)
{
	(void) state;
	for (uint32_t beyond = 0; beyond < 2; beyond++)
	{
		uds_delta_page_header header = { .nonce = NONCE, .chapter = CHAPTER, .list_count = 1 };
		uint32_t address = (1u << 22) - 1 + beyond;
		uds_delta_code code;
		uint16_t list_bits;
		uint64_t offset;
		chapter c;

		chapter_init(&c, product_parameters(64));
		assert_int_equal(c.geometry.chapter_address_bits, 22);
		assert_int_equal(uds_delta_code_init(&code, 65536, 6), UDS_OK);
		list_bits = (uint16_t) uds_delta_code_entry_bits(&code, address);
		offset = uds_delta_page_begin(c.pages, UDS_INDEX_PAGE_BYTES, &header, &list_bits);
		uds_delta_code_write_entry(&code, c.pages, offset, address, 1);
		assert_int_equal(uds_chapter_index_walk(c.pages, &c.geometry, NULL, NULL),
		                 beyond ? UDS_ERR_CORRUPT : UDS_OK);
		chapter_free(&c);
	}
}

/* A collision entry whose name belongs to another list shows in a walk. */
static void
name_in_a_foreign_list_is_corrupt(void **state)
{
	chapter c;
	uint32_t page;

	(void) state;
	chapter_init(&c, original_parameters(64));
	c.count = 2;
	uds_generate_set_chapter_field(&c.records[0].name, 5);
	uds_generate_set_chapter_field(&c.records[1].name, 5);
	chapter_build(&c);
	assert_int_equal(check_pages(&c).collisions, 1);
	page = index_page_of(&c, &c.records[0].name);
	for (uint32_t bit = 0; bit < 128; bit++)
	{
		uds_delta_page_cursor cursor;
		uint32_t place;
		/* List and address are the low 32 bits of the field: bytes 10 to 13. */
		bool is_address = bit >= 80 && bit < 112;

		assert_int_equal(uds_delta_page_begin_list(page_of(&c, page), 32768, 0, &cursor), UDS_OK);
		place = cursor.offset + 22 + 22 + bit;
		page_of(&c, page)[place / 8] ^= (uint8_t) (1u << (place % 8));
		assert_int_equal(uds_chapter_index_walk(page_of(&c, page), &c.geometry, NULL, NULL),
		                 is_address ? UDS_ERR_CORRUPT : UDS_OK);
		page_of(&c, page)[place / 8] ^= (uint8_t) (1u << (place % 8));
	}
	chapter_free(&c);
}

/* Any answer about a random page will do, but it must be one of those that are documented. */
static void
touch(uds_status status)
{
	assert_true(status == UDS_OK || status == UDS_NOT_FOUND || status == UDS_ERR_CORRUPT);
}

static void
random_pages_with_a_valid_frame_are_read_without_harm(void **state)
{
	uint64_t seed = uds_random_seed(7);
	uds_random random;
	uint32_t rejected = 0;
	chapter c;
	uint8_t *page = malloc(UDS_PAGE_BYTES); /* of its own, so that a read beyond it shows */

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	chapter_init(&c, product_parameters(64));
	chapter_build(&c);
	for (uint32_t round = 0; round < 1000; round++)
	{
		uint32_t lists = (uint32_t) uds_random_range(&random, 1, 1400);
		uint32_t start = (160 + 19 * (lists + 1)) / 8 + 1;
		uint16_t *list_bits = calloc(lists, sizeof(*list_bits));
		uint32_t room = 8 * 4085 - 160 - 19 * (lists + 1);
		uint32_t first = (uint32_t) uds_random_below(&random, 3);
		uds_delta_page_header header = { .nonce = NONCE,
			                             .chapter = CHAPTER,
			                             .first_list = (uint16_t) first,
			                             .list_count = (uint16_t) lists };

		for (uint32_t i = 0; i < lists; i++)
		{
			list_bits[i] = (uint16_t) uds_random_below(&random, 2 * room / (lists - i) + 1);
			list_bits[i] = (uint16_t) UDS_MIN((uint32_t) list_bits[i], room);
			room -= list_bits[i];
		}
		uds_delta_page_begin(page, UDS_INDEX_PAGE_BYTES, &header, list_bits);
		uds_random_bytes(&random, page + start, 4085 - start);
		rejected +=
			uds_chapter_index_walk(page, &c.geometry, NULL, NULL) == UDS_ERR_CORRUPT ? 1 : 0;
		for (uint32_t i = 0; i < 200; i++)
		{
			uint32_t record_page;
			uds_name name = uds_random_name(&random);

			touch(uds_chapter_index_search(page, &c.geometry, &name, &record_page));
		}
		/* The frame damaged as well. */
		uds_random_bytes(&random, page + 16, 200);
		for (uint32_t i = 0; i < 50; i++)
		{
			uint32_t record_page;
			uds_name name = uds_random_name(&random);

			touch(uds_chapter_index_search(page, &c.geometry, &name, &record_page));
			touch(uds_chapter_index_walk(page, &c.geometry, NULL, NULL));
		}
		free(list_bits);
	}
	assert_true(rejected > 990);
	free(page);
	chapter_free(&c);
}

/* Whatever uds.memory is: most give a number of records that is far from a power of two. */
static void
full_chapters_of_uniform_names_drop_none(void **state)
{
	static const uint32_t memories[] = { 4,   40,  64,  65,  75,  80,  96,
		                                 127, 130, 160, 200, 260, 300, 511 };

	(void) state;
	for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++)
	{
		uds_geometry_parameters parameters;
		chapter c;

		assert_int_equal(uds_geometry_parameters_for_memory(&parameters, memories[i], false),
		                 UDS_OK);
		chapter_init(&c, parameters);
		chapter_build(&c);
		if (c.dropped != 0)
			fail_msg("%u MB: %u of %u names dropped", memories[i], c.dropped, c.count);
		chapter_free(&c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_chapters_of_counter_names_equal_the_vectors),
		cmocka_unit_test(names_on_one_list_are_kept_as_far_as_the_list_goes),
		cmocka_unit_test(names_on_one_address_are_kept_as_far_as_the_list_goes),
		cmocka_unit_test(lists_that_do_not_fit_on_the_last_page_are_dropped),
		cmocka_unit_test(every_record_is_found_through_checked_pages),
		cmocka_unit_test(unknown_names_are_rarely_found),
		cmocka_unit_test(empty_chapter_has_valid_pages),
		cmocka_unit_test(name_whose_list_is_on_another_page_is_not_found),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(lists_never_exceed_what_a_page_holds),
		cmocka_unit_test(list_can_fill_a_page_to_the_last_bit),
		cmocka_unit_test(wasted_pages_leave_room_for_all_lists),
		cmocka_unit_test(biased_names_give_the_lists_of_single_puts),
		cmocka_unit_test(page_with_any_flipped_bit_is_refused),
		cmocka_unit_test(page_of_another_identity_is_refused),
		cmocka_unit_test(record_page_out_of_range_is_corrupt),
		cmocka_unit_test(address_out_of_range_is_corrupt),
		cmocka_unit_test(name_in_a_foreign_list_is_corrupt),
		cmocka_unit_test(random_pages_with_a_valid_frame_are_read_without_harm),
		cmocka_unit_test(full_chapters_of_uniform_names_drop_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
