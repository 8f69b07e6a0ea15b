/*
 * test_page_map.c: every list of every chapter leads to the page that holds it, also after a save
 * and a load, and a damaged save is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/page_map.h"
#include "../support/generate.h"

#define SAVE_HEADER_BYTES 24

static uds_geometry
make_geometry(uint32_t record_pages, uint32_t chapters)
{
	uds_geometry_parameters parameters = { .page_bytes = UDS_PAGE_BYTES,
		                                   .index_page_bytes = UDS_INDEX_PAGE_BYTES,
		                                   .records_per_page = UDS_RECORDS_PER_PAGE,
		                                   .record_pages = record_pages,
		                                   .extra_pages = UDS_SEAL_PAGES,
		                                   .chapters = chapters };
	uds_geometry geometry;

	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	return geometry;
}

static uds_page_map *
make_map(const uds_geometry *geometry)
{
	uds_page_map *map = aligned_alloc(UDS_CACHE_LINE, uds_page_map_size(geometry));

	memset(map, 0xee, uds_page_map_size(geometry));
	uds_page_map_init(map, geometry);
	return map;
}

/*
 * Random last lists of a chapter: mean lists a page, 10 % up or down; some pages without lists.
 * The last page ends with the last list, whatever comes before.
 */
static void
random_row(uds_random *random, const uds_geometry *geometry, uint16_t *row)
{
	uint32_t mean = geometry->lists_per_chapter / geometry->index_pages;
	uint32_t next = 0;

	for (uint32_t page = 0; page < geometry->index_pages; page++)
	{
		if (page == 0 || !uds_random_one_in(random, 10))
			next += (uint32_t) uds_random_range(random, mean - mean / 10, mean + mean / 10);
		next = UDS_MIN(next, geometry->lists_per_chapter);
		row[page] = (uint16_t) (next - 1);
	}
	row[geometry->index_pages - 1] = (uint16_t) (geometry->lists_per_chapter - 1);
}

static void
write_row(uds_page_map *map, const uds_geometry *geometry, uint32_t chapter, const uint16_t *row)
{
	for (uint32_t page = 0; page < geometry->index_pages; page++)
		uds_page_map_update(map, chapter, page, row[page]);
}

/* find and bounds of one chapter against the row that was written, found by linear search. */
static void
check_row(const uds_page_map *map, const uds_geometry *geometry, uint32_t chapter,
          const uint16_t *row)
{
	uint32_t page = 0;

	for (uint32_t list = 0; list < geometry->lists_per_chapter; list++)
	{
		uint32_t lowest;
		uint32_t highest;

		while (row[page] < list)
			page++;
		assert_int_equal(uds_page_map_find(map, chapter, list), page);
		uds_page_map_bounds(map, chapter, page, &lowest, &highest);
		assert_true(lowest <= list && list <= highest);
	}
	for (page = 0; page < geometry->index_pages; page++)
	{
		uint32_t lowest;
		uint32_t highest;

		uds_page_map_bounds(map, chapter, page, &lowest, &highest);
		assert_int_equal(lowest, page == 0 ? 0 : row[page - 1] + 1);
		assert_int_equal(highest, row[page]);
	}
}

static void
neighbours_do_not_disturb_a_chapter(void **state)
{
	uint64_t seed = uds_random_seed(3);
	uds_geometry geometry = make_geometry(512, 64);
	uds_page_map *map = make_map(&geometry);
	uint16_t rows[3][64];
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t i = 0; i < 3; i++)
	{
		random_row(&random, &geometry, rows[i]);
		write_row(map, &geometry, 11 + i, rows[i]);
	}
	check_row(map, &geometry, 12, rows[1]);
	free(map);
}

static void
all_chapters_survive_save_and_load(void **state)
{
	uint64_t seed = uds_random_seed(4);
	uds_geometry geometry = make_geometry(128, 1024);
	uds_page_map *map = make_map(&geometry);
	uds_page_map *loaded = make_map(&geometry);
	uint16_t(*rows)[64] = calloc(1024, sizeof(*rows));
	uds_memory_stream memory;
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t chapter = 0; chapter < 1024; chapter++)
	{
		random_row(&random, &geometry, rows[chapter]);
		write_row(map, &geometry, chapter, rows[chapter]);
	}
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_page_map_save(map, &memory.stream), UDS_OK);
	assert_int_equal(memory.bytes, SAVE_HEADER_BYTES + 2 * 1024 * (geometry.index_pages - 1));
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_page_map_load(loaded, &memory.stream), UDS_OK);
	for (uint32_t chapter = 0; chapter < 1024; chapter++)
		check_row(loaded, &geometry, chapter, rows[chapter]);
	uds_memory_stream_free(&memory);
	free(rows);
	free(loaded);
	free(map);
}

/* A chapter never written: all lists but the first seem to lie on the last page. */
static void
empty_map_answers_within_range(void **state)
{
	uds_geometry geometry = make_geometry(128, 16);
	uds_page_map *map = make_map(&geometry);

	(void) state;
	for (uint32_t chapter = 0; chapter < 16; chapter++)
	{
		assert_int_equal(uds_page_map_find(map, chapter, 0), 0);
		for (uint32_t list = 1; list < geometry.lists_per_chapter; list++)
			assert_int_equal(uds_page_map_find(map, chapter, list), geometry.index_pages - 1);
	}
	free(map);
}

static void
chapter_with_one_index_page_has_no_entries(void **state)
{
	uds_geometry geometry = make_geometry(8, 16);
	uds_page_map *map = make_map(&geometry);
	uds_memory_stream memory;
	uint32_t lowest;
	uint32_t highest;

	(void) state;
	assert_int_equal(geometry.index_pages, 1);
	uds_page_map_update(map, 3, 0, (uint16_t) (geometry.lists_per_chapter - 1));
	assert_int_equal(uds_page_map_find(map, 3, geometry.lists_per_chapter - 1), 0);
	uds_page_map_bounds(map, 3, 0, &lowest, &highest);
	assert_int_equal(lowest, 0);
	assert_int_equal(highest, geometry.lists_per_chapter - 1);
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_page_map_save(map, &memory.stream), UDS_OK);
	assert_int_equal(memory.bytes, SAVE_HEADER_BYTES);
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_page_map_load(map, &memory.stream), UDS_OK);
	uds_memory_stream_free(&memory);
	free(map);
}

static void
last_page_is_not_stored(void **state)
{
	uds_geometry geometry = make_geometry(128, 4);
	uds_page_map *map = make_map(&geometry);

	(void) state;
	uds_page_map_update(map, 1, geometry.index_pages - 1, 77);
	for (uint32_t chapter = 0; chapter < 4; chapter++)
		assert_int_equal(uds_page_map_find(map, chapter, 1), geometry.index_pages - 1);
	free(map);
}

/* ---- damage and failures ------------------------------------------------------------------------- */

/* Load, expect a failure, and see that all rows are zero afterwards. */
static void
check_refused(uds_page_map *map, const uds_geometry *geometry, uds_memory_stream *memory)
{
	for (uint32_t chapter = 0; chapter < geometry->parameters.chapters; chapter++)
		for (uint32_t page = 0; page + 1 < geometry->index_pages; page++)
			uds_page_map_update(map, chapter, page, 5);
	uds_memory_stream_rewind(memory);
	assert_int_equal(uds_page_map_load(map, &memory->stream), UDS_ERR_CORRUPT);
	for (uint32_t chapter = 0; chapter < geometry->parameters.chapters; chapter++)
		assert_int_equal(uds_page_map_find(map, chapter, 1), geometry->index_pages - 1);
}

static void
short_stream_is_corrupt(void **state)
{
	uds_geometry geometry = make_geometry(128, 16);
	uds_page_map *map = make_map(&geometry);
	uds_memory_stream memory;

	(void) state;
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_page_map_save(map, &memory.stream), UDS_OK);
	for (size_t bytes = 0; bytes < memory.bytes; bytes++)
	{
		memory.limit = bytes;
		check_refused(map, &geometry, &memory);
	}
	uds_memory_stream_free(&memory);
	free(map);
}

static void
damaged_header_is_corrupt(void **state)
{
	uds_geometry geometry = make_geometry(128, 16);
	uds_page_map *map = make_map(&geometry);
	uds_memory_stream memory;

	(void) state;
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_page_map_save(map, &memory.stream), UDS_OK);
	for (uint32_t bit = 0; bit < 8 * SAVE_HEADER_BYTES; bit++)
	{
		memory.data[bit / 8] ^= (uint8_t) (1u << (bit % 8));
		check_refused(map, &geometry, &memory);
		memory.data[bit / 8] ^= (uint8_t) (1u << (bit % 8));
	}
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_page_map_load(map, &memory.stream), UDS_OK);
	uds_memory_stream_free(&memory);
	free(map);
}

static void
rows_out_of_order_or_range_are_corrupt(void **state)
{
	uds_geometry geometry = make_geometry(512, 64);
	uds_page_map *map = make_map(&geometry);
	uint32_t boundaries = geometry.index_pages - 1;
	uint16_t row[64];
	uds_memory_stream memory;
	uds_random random;

	(void) state;
	uds_random_init(&random, 8);
	for (uint32_t chapter = 0; chapter < 64; chapter++)
	{
		random_row(&random, &geometry, row);
		write_row(map, &geometry, chapter, row);
	}
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_page_map_save(map, &memory.stream), UDS_OK);
	for (uint32_t entry = 0; entry < 64 * boundaries; entry += 5)
	{
		uint16_t *saved = (uint16_t *) (memory.data + SAVE_HEADER_BYTES) + entry;
		uint16_t good = *saved;

		*saved = (uint16_t) geometry.lists_per_chapter;
		check_refused(map, &geometry, &memory);
		if (entry % boundaries != 0)
		{
			*saved = (uint16_t) (saved[-1] - 1);
			check_refused(map, &geometry, &memory);
		}
		*saved = good;
	}
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_page_map_load(map, &memory.stream), UDS_OK);
	uds_memory_stream_free(&memory);
	free(map);
}

static void
failed_writes_are_passed_on(void **state)
{
	uds_geometry geometry = make_geometry(128, 1024);
	uds_page_map *map = make_map(&geometry);
	uds_memory_stream memory;

	(void) state;
	uds_memory_stream_init(&memory);
	for (size_t limit = 0; limit < 2 * 1024 * 13; limit += 1000)
	{
		uds_memory_stream_clear(&memory);
		memory.write_limit = limit;
		assert_int_equal(uds_page_map_save(map, &memory.stream), UDS_ERR_NO_SPACE);
	}
	uds_memory_stream_free(&memory);
	free(map);
}

/* ---- concurrent update ----------------------------------------------------------------------------- */

typedef struct shared_map
{
	const uds_geometry *geometry;
	uds_page_map *map;
	_Atomic bool is_done;
} shared_map;

static void *
update_rows(void *argument)
{
	shared_map *shared = argument;
	uint16_t row[64];
	uds_random random;

	uds_random_init(&random, 1);
	for (uint32_t round = 0; round < 2000; round++)
	{
		random_row(&random, shared->geometry, row);
		write_row(shared->map, shared->geometry, 1, row);
	}
	atomic_store_explicit(&shared->is_done, true, memory_order_release);
	return NULL;
}

static void
readers_of_a_row_in_change_stay_within_range(void **state)
{
	uds_geometry geometry = make_geometry(512, 4);
	uds_page_map *map = make_map(&geometry);
	shared_map shared = { .geometry = &geometry, .map = map };
	uds_random random;
	uint16_t row[64];
	pthread_t writer;

	(void) state;
	uds_random_init(&random, 2);
	random_row(&random, &geometry, row);
	write_row(map, &geometry, 2, row);
	assert_int_equal(pthread_create(&writer, NULL, update_rows, &shared), 0);
	do
	{
		for (uint32_t list = 0; list < geometry.lists_per_chapter; list++)
			assert_true(uds_page_map_find(map, 1, list) < geometry.index_pages);
		check_row(map, &geometry, 2, row);
	} while (!atomic_load_explicit(&shared.is_done, memory_order_acquire));
	assert_int_equal(pthread_join(writer, NULL), 0);
	free(map);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_do_not_disturb_a_chapter),
		cmocka_unit_test(all_chapters_survive_save_and_load),
		cmocka_unit_test(empty_map_answers_within_range),
		cmocka_unit_test(chapter_with_one_index_page_has_no_entries),
		cmocka_unit_test(last_page_is_not_stored),
		cmocka_unit_test(short_stream_is_corrupt),
		cmocka_unit_test(damaged_header_is_corrupt),
		cmocka_unit_test(rows_out_of_order_or_range_are_corrupt),
		cmocka_unit_test(failed_writes_are_passed_on),
		cmocka_unit_test(readers_of_a_row_in_change_stay_within_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
