/*
 * test_verify.c: a pass over the volume finds nothing wrong with what was written, and names the
 * chapter and the page of whatever was damaged since.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define RECORD_PAGES 12
#define CHAPTERS     8
#define WRITTEN      10 /* the first ones have expired */
#define RECORDS      (RECORD_PAGES * UDS_RECORDS_PER_PAGE)
#define PROBLEMS     16

typedef struct fixture
{
	engine engine;
	uds_geometry geometry;
	uds_port port;
	void *memory;
	uds_problem problems[PROBLEMS];
	uint32_t count; /* of problems, all together */
	bool must_fail; /* reads of the volume */
} fixture;

static int
fail_reads(void *context, const char *operation, const char *name)
{
	const fixture *fixture = context;

	return fixture->must_fail && strcmp(operation, "read") == 0 &&
	               strcmp(name, UDS_VOLUME_FILE) == 0
	           ? EIO
	           : 0;
}

static void
post(engine *engine, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		(void) engine_request(engine, UDS_POST, &name, NULL);
	}
	engine_settle(engine);
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(RECORD_PAGES, CHAPTERS, 2, UDS_STRUCTURE_BUCKETS);
	uds_name name = uds_generate_counter_name(WRITTEN * RECORDS - 10);

	assert_int_equal(uds_geometry_init(&fixture->geometry, &config.geometry), UDS_OK);
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	fixture->engine.host.is_quiet = true;
	fixture->engine.host.fault = fail_reads;
	fixture->engine.host.fault_context = fixture;
	fixture->port = posix_port(&fixture->engine.host, UDS_WORKER_TRIAGE);
	post(&fixture->engine, 0, WRITTEN * RECORDS);
	(void) engine_request(&fixture->engine, UDS_DELETE, &name, NULL);
	post(&fixture->engine, WRITTEN * RECORDS, RECORDS);
	fixture->memory = aligned_alloc(UDS_CACHE_LINE, uds_verifier_size(fixture->engine.index));
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	fixture->must_fail = false;
	engine_destroy(&fixture->engine);
	free(fixture->memory);
	free(fixture);
	return 0;
}

static uds_verifier *
open_verifier(fixture *fixture)
{
	uds_verifier *verifier;
	uds_error error = { 0 };

	assert_int_equal(uds_verifier_open(fixture->memory,
	                                   fixture->engine.index,
	                                   &fixture->port,
	                                   &verifier,
	                                   &error),
	                 UDS_OK);
	return verifier;
}

/* A whole pass: how many chapters were checked. */
static uint32_t
verify(fixture *fixture)
{
	uds_verifier *verifier = open_verifier(fixture);
	uint32_t chapters = 0;
	uint32_t count;

	fixture->count = 0;
	while (uds_verifier_next(verifier,
	                         fixture->problems + UDS_MIN(fixture->count, (uint32_t) PROBLEMS),
	                         PROBLEMS - UDS_MIN(fixture->count, (uint32_t) PROBLEMS),
	                         &count) == UDS_OK)
	{
		chapters++;
		fixture->count += count;
	}
	assert_int_equal(uds_verifier_left(verifier), 0);
	uds_verifier_close(verifier);
	return chapters;
}

static size_t
offset_of(fixture *fixture, uint64_t chapter, uint32_t page)
{
	uint32_t physical = uds_geometry_physical_chapter(&fixture->geometry, chapter);

	return (size_t) (uds_geometry_chapter_page(&fixture->geometry, physical) + page) *
	       UDS_PAGE_BYTES;
}

static uint64_t
newest_written(fixture *fixture)
{
	return engine_statistics(&fixture->engine).newest_chapter - 1;
}

/* ---- sound ---------------------------------------------------------------------------------------- */

static void
sound_chapters_have_no_problems(void **state)
{
	fixture *fixture = *state;
	uds_chapter_info info;
	uint32_t tombstones = 0;

	assert_int_equal(verify(fixture), CHAPTERS - 1);
	assert_int_equal(fixture->count, 0);
	for (uint32_t i = 0; i < CHAPTERS; i++)
	{
		if (!uds_index_chapter(fixture->engine.index, i, &info))
			continue;
		assert_int_equal(uds_geometry_physical_chapter(&fixture->geometry, info.chapter), i);
		assert_in_range(info.records, RECORDS - 64, RECORDS);
		assert_false(info.is_sparse);
		tombstones += info.tombstones;
	}
	assert_int_equal(tombstones, 1);
	assert_false(uds_index_chapter(fixture->engine.index, CHAPTERS, &info));
}

static void
an_index_that_was_never_opened_cannot_be_verified(void **state)
{
	fixture *fixture = *state;
	uds_index *block = calloc(1, sizeof(*block));
	uds_chapter_info info;
	uds_verifier *verifier;
	uds_error error = { 0 };
	void *memory = aligned_alloc(UDS_CACHE_LINE, uds_verifier_size(block));

	assert_int_equal(uds_verifier_open(memory, block, &fixture->port, &verifier, &error),
	                 UDS_ERR_STATE);
	assert_false(uds_index_chapter(block, 0, &info));
	free(memory);
	free(block);
}

/* ---- damaged --------------------------------------------------------------------------------------- */

static void
damaged_pages_are_named(void **state)
{
	fixture *fixture = *state;
	uint64_t chapter = newest_written(fixture) - 2;
	uint32_t pages = fixture->geometry.index_pages + RECORD_PAGES;

	for (uint32_t page = 0; page < pages; page++)
	{
		files_flip_bit(fixture->engine.host.directory,
		               UDS_VOLUME_FILE,
		               offset_of(fixture, chapter, page) + 100,
		               2);
		assert_int_equal(verify(fixture), CHAPTERS - 1);
		assert_int_equal(fixture->count, 1);
		assert_int_equal(fixture->problems[0].chapter, chapter);
		assert_int_equal(fixture->problems[0].physical_chapter,
		                 uds_geometry_physical_chapter(&fixture->geometry, chapter));
		assert_int_equal(fixture->problems[0].page, page);
		assert_string_equal(fixture->problems[0].text,
		                    page < fixture->geometry.index_pages ? "index page is damaged"
		                                                         : "record page is damaged");
		files_flip_bit(fixture->engine.host.directory,
		               UDS_VOLUME_FILE,
		               offset_of(fixture, chapter, page) + 100,
		               2);
	}
	assert_int_equal(verify(fixture), CHAPTERS - 1);
	assert_int_equal(fixture->count, 0);
	/* To look does not count as damage that requests have met. */
	assert_int_equal(engine_statistics(&fixture->engine).bad_pages, 0);
}

static void
a_bad_seal_is_a_problem(void **state)
{
	fixture *fixture = *state;
	uint64_t chapter = newest_written(fixture) - 1;
	uint32_t seal = fixture->geometry.pages_per_chapter - 1;
	const char *directory = fixture->engine.host.directory;

	files_flip_bit(directory, UDS_VOLUME_FILE, offset_of(fixture, chapter, seal) + 33, 1);
	verify(fixture);
	assert_int_equal(fixture->count, 1);
	assert_int_equal(fixture->problems[0].page, seal);
	files_fill(directory, UDS_VOLUME_FILE, offset_of(fixture, chapter, seal), UDS_PAGE_BYTES, 0);
	verify(fixture);
	assert_int_equal(fixture->count, 1);
	assert_string_equal(fixture->problems[0].text, "seal is missing");
}

/* A chapter of another generation in its place, each page of it sound. */
static void
a_chapter_of_another_time_is_a_problem(void **state)
{
	fixture *fixture = *state;
	uint64_t chapter = newest_written(fixture) - 1;
	uint32_t physical = uds_geometry_physical_chapter(&fixture->geometry, chapter);

	atomic_fetch_add(&fixture->engine.index->slots[physical].generation, 1);
	verify(fixture);
	assert_int_equal(fixture->count, 1);
	assert_string_equal(fixture->problems[0].text, "seal is missing");
}

static void
reads_that_fail_are_problems(void **state)
{
	fixture *fixture = *state;
	uds_verifier *verifier = open_verifier(fixture);
	uint32_t count;

	fixture->must_fail = true;
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count), UDS_OK);
	assert_int_equal(count, 1);
	assert_non_null(strstr(fixture->problems[0].text, "could not read"));
	fixture->must_fail = false;
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count), UDS_OK);
	assert_int_equal(count, 0);
	uds_verifier_close(verifier);
}

static void
a_short_volume_is_a_problem_of_each_chapter_behind_its_end(void **state)
{
	fixture *fixture = *state;

	files_resize(fixture->engine.host.directory, UDS_VOLUME_FILE, UDS_PAGE_BYTES);
	assert_int_equal(verify(fixture), CHAPTERS - 1);
	assert_int_equal(fixture->count, CHAPTERS - 1);
	assert_string_equal(fixture->problems[0].text, "seal is missing");
	files_remove(fixture->engine.host.directory, UDS_VOLUME_FILE);
	{
		uds_verifier *verifier;
		uds_error error = { 0 };

		assert_int_equal(uds_verifier_open(fixture->memory,
		                                   fixture->engine.index,
		                                   &fixture->port,
		                                   &verifier,
		                                   &error),
		                 UDS_ERR_CORRUPT);
	}
}

static void
missing_chapters_and_wrong_page_maps_are_problems(void **state)
{
	fixture *fixture = *state;
	uint64_t chapter = newest_written(fixture) - 2;
	uint32_t physical = uds_geometry_physical_chapter(&fixture->geometry, chapter);
	uds_index *index = fixture->engine.index;

	assert_true(fixture->geometry.index_pages > 1);
	uds_page_map_update(index->page_map, physical, 0, 0);
	verify(fixture);
	assert_true(fixture->count >= 1);
	assert_int_equal(fixture->problems[0].chapter, chapter);
	assert_non_null(strstr(fixture->problems[0].text, "page map leads elsewhere"));
	atomic_store(&index->slots[physical].chapter, UDS_NO_CHAPTER);
	verify(fixture);
	assert_int_equal(fixture->count, 1);
	assert_string_equal(fixture->problems[0].text, "chapter is missing");
}

static void
more_problems_than_there_is_room_for_are_counted(void **state)
{
	fixture *fixture = *state;
	uds_verifier *verifier = open_verifier(fixture);
	uint64_t chapter = newest_written(fixture) - (CHAPTERS - 2);
	uint32_t pages = fixture->geometry.index_pages + RECORD_PAGES;
	uint32_t count;

	files_fill(fixture->engine.host.directory,
	           UDS_VOLUME_FILE,
	           offset_of(fixture, chapter, 0),
	           (size_t) pages * UDS_PAGE_BYTES,
	           0x5a);
	fixture->problems[2].chapter = 12345;
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, 2, &count), UDS_OK);
	assert_int_equal(count, pages);
	assert_int_equal(fixture->problems[1].page, 1);
	assert_int_equal(fixture->problems[2].chapter, 12345);
	uds_verifier_close(verifier);
}

/* ---- meanwhile -------------------------------------------------------------------------------------- */

static void
chapters_that_expire_meanwhile_are_left_out(void **state)
{
	fixture *fixture = *state;
	uds_verifier *verifier = open_verifier(fixture);
	uint32_t count;

	post(&fixture->engine, 100000, 4 * RECORDS);
	for (uint32_t i = 0; i < CHAPTERS - 1; i++)
	{
		assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count), UDS_OK);
		assert_int_equal(count, 0);
	}
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count),
	                 UDS_NOT_FOUND);
	uds_verifier_close(verifier);
}

static void
a_pass_ends_with_the_index_it_began_with(void **state)
{
	fixture *fixture = *state;
	uds_verifier *verifier = open_verifier(fixture);
	uint32_t count;

	assert_int_equal(engine_reset(&fixture->engine), UDS_OK);
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count), UDS_PENDING);
	assert_int_equal(count, 0);
	uds_verifier_close(verifier);
}

/* What a verifier finds while the files are made anew. */
typedef struct meanwhile
{
	fixture *fixture;
	uds_verifier *verifier;
	uint32_t looks;
} meanwhile;

static int
look_meanwhile(void *context, const char *operation, const char *name)
{
	meanwhile *meanwhile = context;
	fixture *fixture = meanwhile->fixture;
	uint32_t count;

	if (strcmp(operation, "sync") != 0 || strcmp(name, UDS_VOLUME_FILE) != 0)
		return 0;
	meanwhile->looks++;
	assert_int_equal(uds_verifier_next(meanwhile->verifier, fixture->problems, PROBLEMS, &count),
	                 UDS_PENDING);
	assert_int_equal(count, 0);
	uds_verifier_close(meanwhile->verifier);
	assert_int_equal(uds_verifier_open(meanwhile->verifier,
	                                   fixture->engine.index,
	                                   &fixture->port,
	                                   &meanwhile->verifier,
	                                   &fixture->engine.error),
	                 UDS_ERR_STATE);
	return 0;
}

/* It may have failed in the middle of a recovery. */
static void
an_index_that_has_failed_is_not_verified(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_verifier *verifier;
	uint32_t count;

	verifier = open_verifier(fixture);
	uds_block_set_state(engine->index, UDS_STATE_FAILED, "as if a worker had died");
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count), UDS_PENDING);
	uds_verifier_close(verifier);
	assert_int_equal(uds_verifier_open(verifier,
	                                   engine->index,
	                                   &fixture->port,
	                                   &verifier,
	                                   &engine->error),
	                 UDS_ERR_STATE);
}

/* The slots still name chapters that the file does not hold any more. */
static void
files_that_are_being_replaced_are_no_damage(void **state)
{
	fixture *fixture = *state;
	meanwhile meanwhile = { .fixture = fixture, .verifier = open_verifier(fixture) };

	fixture->engine.host.fault = look_meanwhile;
	fixture->engine.host.fault_context = &meanwhile;
	assert_int_equal(engine_reset(&fixture->engine), UDS_OK);
	fixture->engine.host.fault = NULL;
	assert_int_equal(meanwhile.looks, 1);
}

static void
a_pass_stops_when_the_host_asks(void **state)
{
	fixture *fixture = *state;
	uds_verifier *verifier = open_verifier(fixture);
	uint32_t count;

	posix_host_stop(&fixture->engine.host, UDS_WORKER_TRIAGE);
	assert_int_equal(uds_verifier_next(verifier, fixture->problems, PROBLEMS, &count), UDS_STOPPED);
	uds_verifier_close(verifier);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(sound_chapters_have_no_problems),
		CASE(an_index_that_was_never_opened_cannot_be_verified),
		CASE(damaged_pages_are_named),
		CASE(a_bad_seal_is_a_problem),
		CASE(a_chapter_of_another_time_is_a_problem),
		CASE(reads_that_fail_are_problems),
		CASE(a_short_volume_is_a_problem_of_each_chapter_behind_its_end),
		CASE(missing_chapters_and_wrong_page_maps_are_problems),
		CASE(more_problems_than_there_is_room_for_are_counted),
		CASE(chapters_that_expire_meanwhile_are_left_out),
		CASE(a_pass_ends_with_the_index_it_began_with),
		CASE(an_index_that_has_failed_is_not_verified),
		CASE(files_that_are_being_replaced_are_no_damage),
		CASE(a_pass_stops_when_the_host_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
