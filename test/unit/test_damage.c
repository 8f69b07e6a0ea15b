/*
 * test_damage.c: whatever happens to its files, an index opens and answers right or says "not
 * found", or is offline and says why; each kind of damage is met as the design's table says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define RECORD_PAGES 2
#define CHAPTERS     8
#define RECORDS      (RECORD_PAGES * UDS_RECORDS_PER_PAGE)
#define NAMES        1500 /* stored in the golden index; as many more never are */
#define STRANGERS    300
#ifdef __SANITIZE_THREAD__
#define SEEDS 100 /* one thread: nothing to be found */
#else
#define SEEDS 600
#endif

/*
 * Files of an index that was stopped hard: two saves, a chapter sealed since, an open chapter in
 * the newer save.  Names have up to three versions, some are deleted.
 */
typedef struct golden
{
	uds_config config;
	char *directory;
	uint64_t history;         /* of the host when it was stopped */
	uint32_t versions[NAMES]; /* stored so far: 0 .. versions - 1 */
	bool is_deleted[NAMES];
	uint64_t found; /* names found in undamaged files */
} golden;

static void
store_version(engine *engine, golden *golden, uint32_t name_number, uds_operation operation)
{
	uds_name name = uds_generate_counter_name(name_number);
	uds_metadata metadata = uds_generate_metadata(name_number, golden->versions[name_number]);
	uds_request answer = engine_request(engine, operation, &name, &metadata);

	if (operation == UDS_UPDATE || (operation == UDS_POST && !answer.found))
	{
		golden->versions[name_number]++;
		golden->is_deleted[name_number] = false;
	}
	else if (operation == UDS_DELETE)
		golden->is_deleted[name_number] = true;
}

/* Peek at all names; every answer must be right.  Returns how many were found. */
static uint64_t
check_answers(engine *engine, const golden *golden, uint64_t seed)
{
	uint64_t found = 0;

	for (uint32_t i = 0; i < NAMES + STRANGERS; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_request peek = engine_request(engine, UDS_PEEK, &name, NULL);
		uint32_t versions = i < NAMES ? golden->versions[i] : 0;
		bool is_right = !peek.found;

		for (uint32_t version = 0; version < versions && !is_right; version++)
		{
			uds_metadata metadata = uds_generate_metadata(i, version);

			is_right = memcmp(&metadata, &peek.found_metadata, sizeof(metadata)) == 0;
		}
		if (!is_right)
			fail_msg("seed %llu: name %u has metadata that was never stored for it",
			         (unsigned long long) seed,
			         i);
		found += peek.found;
	}
	return found;
}

/* Take the files of an engine as they are, without their lock. */
static void
take_files(golden *golden, engine *engine)
{
	golden->directory = files_make_directory();
	files_copy_all(engine->host.directory, golden->directory);
	golden->history = atomic_load(&engine->host.history);
}

static golden *
make_golden(uint32_t zone_count, uds_index_structure structure)
{
	golden *golden = calloc(1, sizeof(*golden));
	engine engine;
	uds_random random;

	golden->config = engine_config(RECORD_PAGES, CHAPTERS, zone_count, structure);
	golden->config.page_cache_bytes = 0;
	uds_random_init(&random, 99);
	engine_init(&engine, &golden->config);
	engine_must_open(&engine);
	for (uint32_t i = 0; i < NAMES; i++)
	{
		store_version(&engine, golden, i, UDS_POST);
		if (i % 3 == 0)
			store_version(&engine,
			              golden,
			              (uint32_t) uds_random_below(&random, i + 1),
			              i % 4 == 0 ? UDS_DELETE : UDS_UPDATE);
		if (i == 800 || i == 1100)
			assert_int_equal(engine_checkpoint(&engine), UDS_OK);
	}
	engine_settle(&engine);
	engine_crash(&engine);
	take_files(golden, &engine);
	engine_destroy(&engine);
	return golden;
}

static void
free_golden(golden *golden)
{
	posix_remove_directory(golden->directory);
	free(golden->directory);
	free(golden);
}

/* An engine over a copy of the golden files, not opened. */
static void
begin(engine *engine, const golden *golden)
{
	engine_init(engine, &golden->config);
	files_copy_all(golden->directory, engine->host.directory);
	atomic_store(&engine->host.history, golden->history);
}

/* Opening must fail with this status and leave the index offline, with a reason. */
static void
must_be_offline(engine *engine, uds_status expected, const char *text)
{
	char reason[512];

	assert_int_equal(engine_open(engine), expected);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
	uds_index_reason(engine->index, reason, sizeof(reason));
	if (strstr(reason, text) == NULL)
		fail_msg("reason \"%s\" lacks \"%s\"", reason, text);
	/* Nothing is executed, nothing breaks. */
	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
	assert_int_equal(engine_checkpoint(engine), UDS_ERR_STATE);
	assert_int_equal(strncmp(engine->error.detail, "It is offline: ", 15), 0);
	if (strstr(engine->error.detail, text) == NULL)
		fail_msg("detail \"%s\" lacks \"%s\"", engine->error.detail, text);
	engine_crash(engine);
}

static uint64_t
open_and_check(engine *engine, const golden *golden)
{
	engine_must_open(engine);
	return check_answers(engine, golden, 0);
}

/* Store something new and find it again. */
static void
check_service(engine *engine, uint64_t seed)
{
	for (uint32_t i = 0; i < 2 * RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(UINT64_C(1) << 32 | i);
		uds_metadata metadata = uds_generate_metadata(i, seed);

		assert_false(engine_request(engine, UDS_POST, &name, &metadata).found);
	}
	for (uint32_t i = 0; i < 2 * RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(UINT64_C(1) << 32 | i);
		uds_metadata metadata = uds_generate_metadata(i, seed);
		uds_request peek = engine_request(engine, UDS_PEEK, &name, NULL);

		if (!peek.found || memcmp(&peek.found_metadata, &metadata, sizeof(metadata)) != 0)
			fail_msg("seed %llu: a new name is not found", (unsigned long long) seed);
	}
}

static int
setup(void **state)
{
	golden *golden = make_golden(1, UDS_STRUCTURE_BUCKETS);
	engine engine;

	begin(&engine, golden);
	golden->found = open_and_check(&engine, golden);
	assert_true(golden->found > NAMES / 2);
	assert_int_equal(engine_statistics(&engine).bad_pages, 0);
	assert_int_equal(atomic_load(&engine.host.warnings), 0);
	engine_destroy(&engine);
	*state = golden;
	return 0;
}

static int
teardown(void **state)
{
	free_golden(*state);
	return 0;
}

static size_t
offset_of(const golden *golden, uint32_t physical, uint32_t page)
{
	uds_geometry geometry;

	assert_int_equal(uds_geometry_init(&geometry, &golden->config.geometry), UDS_OK);
	return (size_t) (uds_geometry_chapter_page(&geometry, physical) + page) * UDS_PAGE_BYTES;
}

static uint32_t
pages_per_chapter(const golden *golden)
{
	return (uint32_t) ((offset_of(golden, 1, 0) - offset_of(golden, 0, 0)) / UDS_PAGE_BYTES);
}

/* ---- the table of the design ------------------------------------------------------------------ */

static void
a_missing_control_file_is_not_made_anew(void **state)
{
	golden *golden = *state;
	engine engine;

	begin(&engine, golden);
	files_remove(engine.host.directory, UDS_CONTROL_FILE);
	must_be_offline(&engine, UDS_ERR_CORRUPT, "control file is missing beside a volume");
	assert_false(files_exists(engine.host.directory, UDS_CONTROL_FILE));
	/* Put back, all is there. */
	begin(&engine, golden);
	assert_int_equal(open_and_check(&engine, golden), golden->found);
	engine_destroy(&engine);
}

static void
a_damaged_control_file_is_left_as_it_is(void **state)
{
	golden *golden = *state;
	engine engine;
	size_t bytes;
	size_t bytes_after;
	uint8_t *before;
	uint8_t *after;

	for (uint32_t i = 0; i < 3; i++)
	{
		begin(&engine, golden);
		if (i == 0)
			files_flip_bit(engine.host.directory, UDS_CONTROL_FILE, 60, 1);
		else
			files_resize(engine.host.directory, UDS_CONTROL_FILE, i == 1 ? 0 : 511);
		before = files_read(engine.host.directory, UDS_CONTROL_FILE, &bytes);
		must_be_offline(&engine,
		                UDS_ERR_CORRUPT,
		                i == 0 ? "control file is damaged" : "control file is too short");
		after = files_read(engine.host.directory, UDS_CONTROL_FILE, &bytes_after);
		assert_int_equal(bytes, bytes_after);
		assert_memory_equal(before, after, bytes);
		free(before);
		free(after);
		engine_destroy(&engine);
	}
}

static void
a_damaged_volume_header_is_written_anew(void **state)
{
	golden *golden = *state;
	size_t bytes;
	uint8_t *before = files_read(golden->directory, UDS_VOLUME_FILE, &bytes);

	for (uint32_t i = 0; i < 3; i++)
	{
		engine engine;
		uint8_t *after;
		size_t bytes_after;

		begin(&engine, golden);
		if (i < 2)
			files_flip_bit(engine.host.directory, UDS_VOLUME_FILE, i == 0 ? 3 : 1000, 2);
		else
			files_fill(engine.host.directory, UDS_VOLUME_FILE, 0, UDS_PAGE_BYTES, 0);
		assert_int_equal(open_and_check(&engine, golden), golden->found);
		assert_int_equal(atomic_load(&engine.host.warnings), 1);
		after = files_read(engine.host.directory, UDS_VOLUME_FILE, &bytes_after);
		assert_memory_equal(before, after, UDS_PAGE_BYTES);
		free(after);
		engine_destroy(&engine);
	}
	free(before);
}

static void
a_missing_volume_is_not_made_anew(void **state)
{
	golden *golden = *state;
	engine engine;

	begin(&engine, golden);
	files_remove(engine.host.directory, UDS_VOLUME_FILE);
	must_be_offline(&engine, UDS_ERR_CORRUPT, "volume is missing");
	assert_false(files_exists(engine.host.directory, UDS_VOLUME_FILE));
	engine_destroy(&engine);
}

static void
without_control_and_volume_there_is_a_new_index(void **state)
{
	golden *golden = *state;
	engine engine;

	begin(&engine, golden);
	files_remove(engine.host.directory, UDS_VOLUME_FILE);
	files_remove(engine.host.directory, UDS_CONTROL_FILE);
	/* The saves that are left belong to an index that is not there any more. */
	assert_int_equal(open_and_check(&engine, golden), 0);
	check_service(&engine, 0);
	engine_destroy(&engine);
}

static void
a_truncated_volume_loses_what_was_cut_off(void **state)
{
	golden *golden = *state;
	engine engine;
	uint64_t found;

	begin(&engine, golden);
	files_resize(engine.host.directory, UDS_VOLUME_FILE, offset_of(golden, 3, 1));
	found = open_and_check(&engine, golden);
	assert_true(found > 0);
	assert_true(found < golden->found);
	check_service(&engine, 1);
	engine_destroy(&engine);
	begin(&engine, golden);
	files_resize(engine.host.directory, UDS_VOLUME_FILE, 0);
	(void) open_and_check(&engine, golden);
	check_service(&engine, 1);
	engine_destroy(&engine);
}

/* Pages that turn bad under a running index: misses, counted, told once a chapter. */
static void
bad_pages_are_misses_and_counted(void **state)
{
	golden *golden = *state;
	engine engine;
	uds_statistics statistics;

	begin(&engine, golden);
	assert_int_equal(open_and_check(&engine, golden), golden->found);
	engine_crash(&engine);
	engine_must_open(&engine);
	for (uint32_t page = 0; page + 1 < pages_per_chapter(golden); page++)
	{
		files_fill(engine.host.directory,
		           UDS_VOLUME_FILE,
		           offset_of(golden, 3, page),
		           UDS_PAGE_BYTES,
		           0);
		files_flip_bit(engine.host.directory, UDS_VOLUME_FILE, offset_of(golden, 2, page) + 100, 5);
	}
	assert_true(check_answers(&engine, golden, 0) < golden->found);
	statistics = engine_statistics(&engine);
	assert_true(statistics.bad_pages > 0);
	assert_int_equal(statistics.state, UDS_STATE_ONLINE);
	assert_int_equal(atomic_load(&engine.host.warnings), 2);
	uds_index_reset_statistics(engine.index);
	assert_int_equal(engine_statistics(&engine).bad_pages, 0);
	check_service(&engine, 2);
	engine_destroy(&engine);
}

static void
a_bad_seal_loses_its_chapter_and_is_told(void **state)
{
	golden *golden = *state;
	engine engine;
	uint64_t found;

	begin(&engine, golden);
	files_flip_bit(engine.host.directory,
	               UDS_VOLUME_FILE,
	               offset_of(golden, 3, pages_per_chapter(golden) - 1) + 30,
	               0);
	found = open_and_check(&engine, golden);
	assert_true(found < golden->found);
	assert_true(found >= golden->found - RECORDS);
	assert_int_equal(engine_statistics(&engine).dropped_chapters, 1);
	assert_true(atomic_load(&engine.host.warnings) > 0);
	check_service(&engine, 3);
	engine_destroy(&engine);
}

/* A page of the newest chapter that did not arrive: the chapter does not exist, and is told. */
static void
a_torn_newest_chapter_is_dropped(void **state)
{
	golden *golden = *state;
	uint64_t newest;
	engine engine;

	begin(&engine, golden);
	(void) open_and_check(&engine, golden);
	newest = engine_statistics(&engine).newest_chapter - 1;
	engine_destroy(&engine);
	for (uint32_t page = 0; page + 1 < pages_per_chapter(golden); page++)
	{
		begin(&engine, golden);
		files_fill(engine.host.directory,
		           UDS_VOLUME_FILE,
		           offset_of(golden, (uint32_t) newest, page),
		           UDS_PAGE_BYTES,
		           0);
		assert_true(open_and_check(&engine, golden) >= golden->found - RECORDS);
		assert_int_equal(engine_statistics(&engine).newest_chapter, newest);
		assert_int_equal(engine_statistics(&engine).dropped_chapters, 1);
		assert_true(atomic_load(&engine.host.warnings) > 0);
		check_service(&engine, 5);
		engine_destroy(&engine);
	}
}

/* A page that is bad when the index is built from the volume alone: the other pages count. */
static void
a_bad_page_costs_its_own_records_in_a_rebuild(void **state)
{
	golden *golden = *state;
	uint32_t pages = pages_per_chapter(golden);
	engine engine;
	uint64_t found;

	for (uint32_t page = 0; page + 1 < pages; page++)
	{
		begin(&engine, golden);
		files_remove(engine.host.directory, "checkpoint.0");
		files_remove(engine.host.directory, "checkpoint.1");
		found = open_and_check(&engine, golden);
		engine_destroy(&engine);
		begin(&engine, golden);
		files_remove(engine.host.directory, "checkpoint.0");
		files_remove(engine.host.directory, "checkpoint.1");
		files_flip_bit(engine.host.directory, UDS_VOLUME_FILE, offset_of(golden, 2, page) + 50, 3);
		if (page + 1 + RECORD_PAGES >= pages)
			assert_true(open_and_check(&engine, golden) >= found - UDS_RECORDS_PER_PAGE);
		else
			assert_true(open_and_check(&engine, golden) >= found - RECORDS);
		assert_int_equal(engine_statistics(&engine).dropped_chapters, 0);
		assert_true(atomic_load(&engine.host.warnings) > 0);
		engine_destroy(&engine);
	}
}

/* Chapters full of names numbered from 0 on, one page each, and no save. */
static golden *
make_full_chapters(uint32_t chapters, uint64_t filled)
{
	golden *golden = calloc(1, sizeof(*golden));
	engine engine;

	golden->config = engine_config(1, chapters, 1, UDS_STRUCTURE_BUCKETS);
	engine_init(&engine, &golden->config);
	engine_must_open(&engine);
	for (uint64_t i = 0; i < filled * UDS_RECORDS_PER_PAGE; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		assert_false(engine_request(&engine, UDS_POST, &name, NULL).found);
	}
	engine_settle(&engine);
	engine_crash(&engine);
	take_files(golden, &engine);
	engine_destroy(&engine);
	return golden;
}

/* Make the seal of a chapter one that is damaged, or none at all. */
static void
spoil_seal(engine *engine, const golden *golden, uint64_t chapter, bool is_erased)
{
	size_t offset = offset_of(golden,
	                          (uint32_t) (chapter % golden->config.geometry.chapters),
	                          pages_per_chapter(golden) - 1);

	if (is_erased)
		files_fill(engine->host.directory, UDS_VOLUME_FILE, offset, UDS_PAGE_BYTES, 0);
	else
		files_flip_bit(engine->host.directory, UDS_VOLUME_FILE, offset + 40, 1);
}

/*
 * Open with the good ones of the last count chapters (bits of good): they are found.  The chapter
 * before them, if there was one, still lies where the open one will.
 */
static void
open_with_seals(const golden *golden, uint64_t filled, uint32_t count, uint64_t good)
{
	uint64_t first = filled - count;
	uint64_t newest = first;
	engine engine;

	begin(&engine, golden);
	for (uint64_t chapter = first; chapter < filled; chapter++)
	{
		if ((good >> (chapter - first) & 1) == 0)
			spoil_seal(&engine, golden, chapter, (good + chapter) % 2 == 0);
		else
			newest = chapter + 1;
	}
	engine_must_open(&engine);
	assert_int_equal(engine_statistics(&engine).newest_chapter, newest);
	for (uint64_t chapter = first; chapter < filled; chapter++)
	{
		for (uint64_t i = 0; i < UDS_RECORDS_PER_PAGE; i += UDS_RECORDS_PER_PAGE / 2)
		{
			uds_name name = uds_generate_counter_name(chapter * UDS_RECORDS_PER_PAGE + i);

			if (engine_request(&engine, UDS_PEEK, &name, NULL).found !=
			    (good >> (chapter - first) & 1))
				fail_msg("%llx: chapter %llu",
				         (unsigned long long) good,
				         (unsigned long long) chapter);
		}
	}
	engine_destroy(&engine);
}

/* No search for the end of the volume, which one bad chapter could mislead. */
static void
whichever_seals_are_bad_the_others_count(void **state)
{
	static const uint64_t filled[] = { 6, 14 }; /* of 8 chapters: part of them, or all again */
	golden *golden;

	(void) state;
	for (uint32_t i = 0; i < 2; i++)
	{
		uint32_t count = (uint32_t) UDS_MIN(filled[i], UINT64_C(7));

		golden = make_full_chapters(8, filled[i]);
		for (uint64_t good = 0; good < UINT64_C(1) << count; good++)
			open_with_seals(golden, filled[i], count, good);
		free_golden(golden);
	}
	/* However many are bad one after the other. */
	golden = make_full_chapters(128, 127);
	for (uint32_t chapter = 0; chapter < 127; chapter += 63)
	{
		engine engine;
		uds_name name = uds_generate_counter_name(chapter * UDS_RECORDS_PER_PAGE);

		begin(&engine, golden);
		for (uint32_t i = 0; i < 127; i++)
		{
			if (i != chapter)
				spoil_seal(&engine, golden, i, i % 2 == 0);
		}
		engine_must_open(&engine);
		assert_int_equal(engine_statistics(&engine).newest_chapter, chapter + 1);
		assert_true(engine_request(&engine, UDS_PEEK, &name, NULL).found);
		engine_destroy(&engine);
	}
	free_golden(golden);
}

/* The save that control names is bad: the one before is used, and the chapters since. */
static void
a_bad_save_is_replaced_by_the_other_one(void **state)
{
	golden *golden = *state;
	engine engine;
	uds_control control;
	uds_error error;
	uds_port port;
	const char *name;
	uint64_t found;
	uint64_t replayed;

	begin(&engine, golden);
	port = posix_port(&engine.host, UDS_WORKER_WRITER);
	assert_int_equal(uds_control_read(&port, &control, &error), UDS_OK);
	assert_int_equal(control.save_number, 2);
	name = control.valid_save == 0 ? "checkpoint.0" : "checkpoint.1";
	files_flip_bit(engine.host.directory, name, files_size(engine.host.directory, name) / 2, 0);
	found = open_and_check(&engine, golden);
	replayed = engine_statistics(&engine).recovery_chapters;
	/* All that is lost is the open chapter, which both have only a part of. */
	assert_true(found >= golden->found - RECORDS);
	assert_true(replayed > 0);
	assert_true(replayed < 5);
	assert_int_equal(atomic_load(&engine.host.warnings), 1);
	engine_destroy(&engine);

	/* No file at all: the same. */
	begin(&engine, golden);
	files_remove(engine.host.directory, name);
	assert_int_equal(open_and_check(&engine, golden), found);
	engine_destroy(&engine);
}

static void
without_saves_the_volume_is_enough(void **state)
{
	golden *golden = *state;
	engine engine;

	for (uint32_t i = 0; i < 2; i++)
	{
		begin(&engine, golden);
		for (uint32_t save = 0; save < 2; save++)
		{
			const char *name = save == 0 ? "checkpoint.0" : "checkpoint.1";

			if (i == 0)
				files_remove(engine.host.directory, name);
			else
				files_resize(engine.host.directory,
				             name,
				             files_size(engine.host.directory, name) - 1);
		}
		assert_true(open_and_check(&engine, golden) >= golden->found - RECORDS);
		assert_int_equal(engine_statistics(&engine).recovery_chapters,
		                 engine_statistics(&engine).newest_chapter);
		check_service(&engine, 4);
		engine_destroy(&engine);
	}
}

/* Chapters that this server has never written, of a copy that was moved on elsewhere. */
static void
chapters_of_another_time_are_dropped(void **state)
{
	golden *golden = *state;
	engine engine;
	uint64_t found;

	begin(&engine, golden);
	atomic_store(&engine.host.history, 4);
	found = open_and_check(&engine, golden);
	assert_true(found < golden->found);
	assert_true(engine_statistics(&engine).dropped_chapters > 0);
	engine_destroy(&engine);
}

/* ---- at random -------------------------------------------------------------------------------- */

static void
damage_bits(const char *directory, const char *name, uds_random *random)
{
	size_t bytes = files_size(directory, name);
	uint32_t count = (uint32_t) uds_random_range(random, 1, 8);

	for (uint32_t i = 0; i < count && bytes > 0; i++)
		files_flip_bit(directory,
		               name,
		               uds_random_below(random, bytes),
		               (uint32_t) uds_random_below(random, 8));
}

static void
damage_length(const char *directory, const char *name, uds_random *random)
{
	size_t bytes = files_size(directory, name);

	files_resize(directory, name, uds_random_below(random, bytes + bytes / 4 + 2));
}

/* Zeros, ones, random bytes, or another page of the same file. */
static void
damage_page(const char *directory, const char *name, uds_random *random)
{
	size_t pages = files_size(directory, name) / UDS_PAGE_BYTES + 1;
	size_t offset = uds_random_below(random, pages) * UDS_PAGE_BYTES;
	uint8_t page[UDS_PAGE_BYTES];
	size_t bytes;
	uint8_t *data;
	size_t from;

	switch (uds_random_below(random, 4))
	{
		case 0:
			files_fill(directory, name, offset, UDS_PAGE_BYTES, 0);
			break;
		case 1:
			files_fill(directory, name, offset, UDS_PAGE_BYTES, 0xff);
			break;
		case 2:
			uds_random_bytes(random, page, sizeof(page));
			files_overwrite(directory, name, offset, page, sizeof(page));
			break;
		default:
			data = files_read(directory, name, &bytes);
			from = uds_random_below(random, pages) * UDS_PAGE_BYTES;
			if (from + UDS_PAGE_BYTES <= bytes)
				files_overwrite(directory, name, offset, data + from, UDS_PAGE_BYTES);
			free(data);
			break;
	}
}

static void
damage(const char *directory, uds_random *random)
{
	static const char *const names[] = { UDS_VOLUME_FILE, UDS_VOLUME_FILE, UDS_VOLUME_FILE,
		                                 "checkpoint.0",  "checkpoint.1",  UDS_CONTROL_FILE };
	uint32_t count = (uint32_t) uds_random_range(random, 1, 4);

	for (uint32_t i = 0; i < count; i++)
	{
		const char *name = names[uds_random_below(random, 6)];

		/* A bad control file ends the story: not too often. */
		if (strcmp(name, UDS_CONTROL_FILE) == 0 && !uds_random_one_in(random, 4))
			continue;
		if (!files_exists(directory, name))
			continue;
		switch (uds_random_below(random, 8))
		{
			case 0:
				damage_length(directory, name, random);
				break;
			case 1:
				if (uds_random_one_in(random, 4))
				{
					files_remove(directory, name);
					break;
				}
				/* fall through */
			case 2:
			case 3:
			case 4:
				damage_page(directory, name, random);
				break;
			default:
				damage_bits(directory, name, random);
				break;
		}
	}
}

/* Returns false when the index was offline. */
static bool
run_seed(const golden *golden, uint64_t seed)
{
	engine engine;
	uds_random random;
	uds_status status;
	bool is_early;

	uds_random_init(&random, seed);
	is_early = !uds_random_one_in(&random, 4);
	begin(&engine, golden);
	if (is_early)
		damage(engine.host.directory, &random);
	status = engine_open(&engine);
	if (status != UDS_OK)
	{
		char reason[512];

		uds_index_reason(engine.index, reason, sizeof(reason));
		if (uds_index_state(engine.index) != UDS_STATE_OFFLINE || reason[0] == '\0' ||
		    (status != UDS_ERR_CORRUPT && status != UDS_ERR_MISMATCH))
			fail_msg("seed %llu: status %d, state %d, reason \"%s\"",
			         (unsigned long long) seed,
			         status,
			         uds_index_state(engine.index),
			         reason);
		/* The way out. */
		assert_int_equal(engine_reset(&engine), UDS_OK);
		assert_int_equal(check_answers(&engine, golden, seed), 0);
		check_service(&engine, seed);
		engine_destroy(&engine);
		return false;
	}
	if (!is_early)
		damage(engine.host.directory, &random);
	(void) check_answers(&engine, golden, seed);
	check_service(&engine, seed);
	if (uds_random_one_in(&random, 2))
		engine_crash(&engine);
	else
		(void) engine_close(&engine);
	/* What was lost stays lost, what was right stays right. */
	status = engine_open(&engine);
	if (status == UDS_OK)
		(void) check_answers(&engine, golden, seed);
	else if (is_early)
		fail_msg("seed %llu: does not open again: %s",
		         (unsigned long long) seed,
		         engine.error.message);
	engine_destroy(&engine);
	return true;
}

static void
random_damage_is_never_answered_wrong_of(uint32_t zone_count, uds_index_structure structure,
                                         uint64_t first)
{
	golden *golden = make_golden(zone_count, structure);
	uint64_t only = uds_random_seed(0);
	uint32_t opened = 0;

	for (uint64_t seed = first; seed < first + SEEDS / 4; seed++)
		opened += run_seed(golden, only != 0 ? only : seed);
	/* Most damage is survived. */
	if (only == 0)
		assert_true(opened > SEEDS / 8);
	free_golden(golden);
}

static void
random_damage_is_never_answered_wrong(void **state)
{
	(void) state;
	random_damage_is_never_answered_wrong_of(1, UDS_STRUCTURE_BUCKETS, 1000);
	random_damage_is_never_answered_wrong_of(3, UDS_STRUCTURE_BUCKETS, 2000);
	random_damage_is_never_answered_wrong_of(1, UDS_STRUCTURE_LISTS, 3000);
	random_damage_is_never_answered_wrong_of(3, UDS_STRUCTURE_LISTS, 4000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_missing_control_file_is_not_made_anew),
		CASE(a_damaged_control_file_is_left_as_it_is),
		CASE(a_damaged_volume_header_is_written_anew),
		CASE(a_missing_volume_is_not_made_anew),
		CASE(without_control_and_volume_there_is_a_new_index),
		CASE(a_truncated_volume_loses_what_was_cut_off),
		CASE(bad_pages_are_misses_and_counted),
		CASE(a_bad_seal_loses_its_chapter_and_is_told),
		CASE(a_torn_newest_chapter_is_dropped),
		CASE(a_bad_page_costs_its_own_records_in_a_rebuild),
		cmocka_unit_test(whichever_seals_are_bad_the_others_count),
		CASE(a_bad_save_is_replaced_by_the_other_one),
		CASE(without_saves_the_volume_is_enough),
		CASE(chapters_of_another_time_are_dropped),
		cmocka_unit_test(random_damage_is_never_answered_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
