/*
 * test_reduce.c: a volume that was converted to one chapter fewer has everything that its window
 * holds, then and while the window moves over the place of the chapter that was moved, with saves,
 * crashes and rebuilds in between; a conversion that fails or is interrupted leaves one of both
 * volumes, complete.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../src/engine/block.h"
#include "../../src/engine/checkpoint.h"
#include "../../src/engine/zone.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define CHAPTERS    10
#define SPARSE      4
#define SAMPLE_RATE 2
#define NAMES       4096
#define NEW_NAMES   16 /* of a chapter; beside them some changes and deletions */

/* What is known of a name. */
typedef struct known
{
	uint64_t low, high; /* its newest record, or tombstone, is in one of these chapters */
	uint32_t version;   /* 0: never stored */
	bool is_deleted;
	bool was_changed; /* there are older records */
} known;

typedef struct scene
{
	engine engine;
	uds_random random;
	uint32_t count; /* of names that were stored */
	known names[NAMES];
	/* faults */
	uint32_t operations; /* so far */
	uint32_t failing;    /* number of the operation, from 1, that fails; 0: none */
	bool fails_for_good; /* and all after it */
	const char *failing_kind;
} scene;

/* Structure, and whether it is sparse. */
typedef struct kind
{
	uds_index_structure structure;
	bool is_sparse;
} kind;

static const kind kinds[] = { { UDS_STRUCTURE_BUCKETS, false },
	                          { UDS_STRUCTURE_LISTS, false },
	                          { UDS_STRUCTURE_BUCKETS, true },
	                          { UDS_STRUCTURE_LISTS, true } };

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- the scene ---------------------------------------------------------------------------------- */

static int
fail_operation(void *context, const char *operation, const char *name)
{
	scene *scene = context;

	(void) name;
	scene->operations++;
	if (scene->failing_kind != NULL && strcmp(scene->failing_kind, operation) == 0)
		return EIO;
	if (scene->failing == 0)
		return 0;
	return scene->operations == scene->failing ||
	               (scene->fails_for_good && scene->operations > scene->failing)
	           ? EIO
	           : 0;
}

static void
no_faults(scene *scene)
{
	scene->failing = 0;
	scene->fails_for_good = false;
	scene->failing_kind = NULL;
	scene->operations = 0;
}

static scene *
begin(kind kind, uint32_t chapters, uint32_t zone_count, uint64_t seed)
{
	scene *scene = calloc(1, sizeof(*scene));
	uds_config config = engine_config(1, chapters, zone_count, kind.structure);

	if (kind.is_sparse)
	{
		config.geometry.sparse_chapters = SPARSE;
		config.geometry.sample_rate = SAMPLE_RATE;
	}
	uds_random_init(&scene->random, uds_random_seed(seed));
	engine_init(&scene->engine, &config);
	scene->engine.host.fault = fail_operation;
	scene->engine.host.fault_context = scene;
	engine_must_open(&scene->engine);
	return scene;
}

static void
end(scene *scene)
{
	no_faults(scene);
	engine_destroy(&scene->engine);
	free(scene);
}

static uint64_t
newest_of(scene *scene)
{
	return engine_statistics(&scene->engine).newest_chapter;
}

static bool
is_hook(const scene *scene, const uds_name *name)
{
	return uds_geometry_is_hook(scene->engine.config.geometry.sample_rate,
	                            uds_name_sampling_field(name));
}

/* Does the volume index lead to the newest record of a name for certain, or not any more? */
static bool
is_within(const scene *scene, uint32_t number, uint64_t newest, bool *is_beyond)
{
	const uds_geometry *geometry = &scene->engine.index->geometry;
	const known *known = &scene->names[number];
	uds_name name = uds_generate_counter_name(number);
	uint64_t oldest = uds_geometry_oldest(geometry, newest);
	bool is_sampled = geometry->parameters.sparse_chapters > 0 && !is_hook(scene, &name);

	*is_beyond = known->version == 0 || known->high < oldest;
	return known->version != 0 && known->low >= oldest &&
	       (!is_sampled || known->low + geometry->dense_chapters > newest);
}

/* Store a new version of a name, or delete it. */
static void
store(scene *scene, uint32_t number, uds_operation operation)
{
	known *known = &scene->names[number];
	uds_name name = uds_generate_counter_name(number);
	const uds_zone *zone =
		&scene->engine.index->zones[uds_index_zone_of(scene->engine.index, &name)];
	uds_metadata metadata = uds_generate_metadata(number, known->version + 1);
	uint64_t before = atomic_load(&zone->newest);
	uds_request request = engine_request(&scene->engine, operation, &name, &metadata);

	if (operation == UDS_POST)
		assert_false(request.found);
	else
		assert_int_equal(request.found, !known->is_deleted);
	if (operation == UDS_DELETE && !request.found)
		return;
	known->was_changed = known->version > 0;
	known->version++;
	known->low = before;
	known->high = atomic_load(&zone->newest);
	known->is_deleted = operation == UDS_DELETE;
}

static void
post_new(scene *scene, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		assert_true(scene->count < NAMES);
		store(scene, scene->count++, UDS_POST);
	}
}

/* Change and delete names that the index leads to. */
static void
change_some(scene *scene)
{
	uint64_t newest = newest_of(scene);

	for (int i = 0; i < 4 && scene->count > 0; i++)
	{
		uint32_t number = (uint32_t) uds_random_below(&scene->random, scene->count);
		bool is_beyond;

		if (is_within(scene, number, newest, &is_beyond))
			store(scene, number, i % 2 == 0 ? UDS_UPDATE : UDS_DELETE);
	}
}

/* Close the open chapter of all zones, full or not. */
static void
close_chapter(scene *scene)
{
	engine *engine = &scene->engine;

	engine_settle(engine);
	for (uint32_t i = 0; i < engine->config.zone_count; i++)
		assert_int_equal(uds_zone_close_chapter(engine->index, &engine->writer_port, i), UDS_OK);
	engine_settle(engine);
}

static void
write_chapter(scene *scene)
{
	post_new(scene, NEW_NAMES);
	change_some(scene);
	close_chapter(scene);
}

static void
write_chapters(scene *scene, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		write_chapter(scene);
}

/* Is each name found or not as it must be? */
static void
check_names(scene *scene)
{
	uint64_t newest = newest_of(scene);

	for (uint32_t i = 0; i < scene->count; i++)
	{
		const known *known = &scene->names[i];
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, known->version);
		uds_request request = engine_request(&scene->engine, UDS_PEEK, &name, NULL);
		bool is_beyond;
		bool must_find = is_within(scene, i, newest, &is_beyond) && !known->is_deleted;
		bool must_miss = is_beyond || (known->is_deleted && !known->was_changed);

		if (is_within(scene, i, newest, &is_beyond) && known->is_deleted)
			must_miss = true;
		if (request.found ? must_miss : must_find)
			fail_msg("seed %lu: name %u of chapter %lu to %lu is %s, newest %lu, oldest %lu",
			         (unsigned long) scene->random.seed,
			         i,
			         (unsigned long) known->low,
			         (unsigned long) known->high,
			         request.found ? "found" : "not found",
			         (unsigned long) newest,
			         (unsigned long) uds_geometry_oldest(&scene->engine.index->geometry, newest));
		if (must_find)
			assert_memory_equal(&request.found_metadata, &metadata, sizeof(metadata));
	}
}

/* Problems that the verifier finds, other than of a chapter (UDS_NO_CHAPTER: none). */
static uint32_t
count_problems(scene *scene, uint64_t except)
{
	engine *engine = &scene->engine;
	uds_port port = posix_port(&engine->host, UDS_WORKER_COUNT);
	void *memory = aligned_alloc(UDS_CACHE_LINE, uds_verifier_size(engine->index));
	uds_problem problems[64];
	uds_verifier *verifier;
	uds_error error;
	uint32_t total = 0;
	uint32_t count;

	assert_int_equal(uds_verifier_open(memory, engine->index, &port, &verifier, &error), UDS_OK);
	while (uds_verifier_next(verifier, problems, 64, &count) == UDS_OK)
	{
		for (uint32_t i = 0; i < UDS_MIN(count, 64u); i++)
			total += problems[i].chapter != except;
	}
	uds_verifier_close(verifier);
	free(memory);
	return total;
}

static void
check(scene *scene)
{
	uds_statistics statistics = engine_statistics(&scene->engine);
	const uds_geometry *geometry = &scene->engine.index->geometry;

	assert_int_equal(statistics.state, UDS_STATE_ONLINE);
	assert_int_equal(statistics.oldest_chapter,
	                 uds_geometry_oldest(geometry, statistics.newest_chapter));
	check_names(scene);
	assert_int_equal(count_problems(scene, UDS_NO_CHAPTER), 0);
}

static bool
is_reduced(scene *scene)
{
	uds_config config = scene->engine.config;

	uds_index_configuration(scene->engine.index, &config);
	assert_int_equal(engine_statistics(&scene->engine).window_size,
	                 config.geometry.chapters * (uint64_t) UDS_RECORDS_PER_PAGE);
	assert_int_equal(config.geometry.chapters,
	                 scene->engine.config.geometry.chapters - (config.geometry.is_reduced ? 1 : 0));
	return config.geometry.is_reduced;
}

/* Suspend, reduce, resume. */
static void
reduce(scene *scene, bool save)
{
	assert_int_equal(engine_suspend(&scene->engine, save), UDS_OK);
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	assert_int_equal(uds_index_state(scene->engine.index), UDS_STATE_SUSPENDED);
	assert_false(is_reduced(scene));
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	assert_true(is_reduced(scene));
}

static void
reopen(scene *scene, uint32_t zone_count)
{
	assert_int_equal(engine_close(&scene->engine), UDS_OK);
	scene->engine.config.zone_count = zone_count;
	engine_must_open(&scene->engine);
	assert_int_equal(engine_statistics(&scene->engine).recovery_chapters, 0);
}

/* A crash with nothing in memory that is not on the volume. */
static void
crash(scene *scene)
{
	engine_settle(&scene->engine);
	engine_crash(&scene->engine);
	engine_must_open(&scene->engine);
}

/* ---- what stays ---------------------------------------------------------------------------------- */

/* Move the window on, chapter by chapter, with an end and a new start after each. */
static void
move_on(scene *scene, uint32_t chapters)
{
	for (uint32_t i = 0; i < chapters; i++)
	{
		write_chapter(scene);
		switch (i % 4)
		{
			case 0:
				reopen(scene, scene->engine.config.zone_count);
				break;
			case 1:
				crash(scene);
				break;
			case 2:
				assert_int_equal(engine_rebuild(&scene->engine), UDS_OK);
				break;
			default:
				break;
		}
		assert_true(is_reduced(scene));
		check(scene);
	}
}

static void
reduce_and_move_on(kind kind, uint32_t zone_count, uint32_t filled, bool has_open,
                   uint32_t chapters)
{
	scene *scene = begin(kind, CHAPTERS, zone_count, 7 + filled);
	uint64_t newest;

	write_chapters(scene, filled);
	if (has_open)
		post_new(scene, 5);
	newest = newest_of(scene);
	reduce(scene, filled % 2 == 0);
	assert_int_equal(newest_of(scene), newest + (has_open ? 1 : 0));
	check(scene);
	move_on(scene, chapters);
	end(scene);
}

static void
everything_in_the_window_is_found(void **state)
{
	static const uint32_t filled[] = {
		0, 1, 2, CHAPTERS - 2, CHAPTERS - 1, CHAPTERS, CHAPTERS + 1, CHAPTERS + 2, 2 * CHAPTERS + 5,
	};

	(void) state;
	for (uint32_t k = 0; k < KINDS; k++)
	{
		for (uint32_t zones = 1; zones <= 3; zones += 2)
		{
			for (uint32_t i = 0; i < sizeof(filled) / sizeof(filled[0]); i++)
				reduce_and_move_on(kinds[k], zones, filled[i], i % 2 == 1, CHAPTERS);
		}
	}
}

/* The open chapter in each place. */
static void
any_chapter_can_be_the_open_one(void **state)
{
	(void) state;
	for (uint32_t filled = CHAPTERS; filled < 2 * CHAPTERS; filled++)
	{
		for (int has_open = 0; has_open < 2; has_open++)
			reduce_and_move_on(kinds[filled % KINDS], 1, filled, has_open != 0, 6);
	}
}

static void
several_windows_pass_over_the_moved_chapter(void **state)
{
	(void) state;
	for (uint32_t k = 0; k < KINDS; k++)
		reduce_and_move_on(kinds[k], 1, CHAPTERS + 4, false, 5 * CHAPTERS);
}

static void
zones_may_change_after_it(void **state)
{
	(void) state;
	for (uint32_t k = 0; k < KINDS; k++)
	{
		scene *scene = begin(kinds[k], CHAPTERS, 3, 40 + k);

		write_chapters(scene, CHAPTERS + 4);
		reduce(scene, true);
		for (uint32_t i = 0; i < 2 * CHAPTERS; i++)
		{
			write_chapter(scene);
			/* Between one number of zones and another nobody knows which chapter a zone had. */
			close_chapter(scene);
			reopen(scene, 1 + (i + 1) % 3);
			check(scene);
		}
		end(scene);
	}
}

/* Chapters that are closed because they are full, and what waits in memory to be written. */
static void
full_chapters_are_converted(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 50);

	(void) state;
	post_new(scene, 13 * UDS_RECORDS_PER_PAGE);
	scene->engine.must_not_write = true;
	post_new(scene, 2 * UDS_RECORDS_PER_PAGE + 60);
	assert_int_equal(engine_suspend(&scene->engine, false), UDS_OK);
	scene->engine.must_not_write = false;
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	assert_int_equal(newest_of(scene), 16);
	check(scene);
	post_new(scene, 12 * UDS_RECORDS_PER_PAGE);
	engine_settle(&scene->engine);
	check(scene);
	end(scene);
}

static void
the_window_gets_one_chapter_shorter(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 60);
	uds_statistics before;
	uds_statistics after;

	(void) state;
	write_chapters(scene, 2 * CHAPTERS + 3);
	before = engine_statistics(&scene->engine);
	reduce(scene, true);
	after = engine_statistics(&scene->engine);
	assert_int_equal(after.newest_chapter, before.newest_chapter);
	assert_int_equal(after.oldest_chapter, before.oldest_chapter + 1);
	assert_int_equal(after.recovery_chapters, CHAPTERS - 2);
	assert_int_equal(after.dropped_chapters, 0);
	assert_int_equal(after.index_memory, before.index_memory);
	assert_int_equal(before.volume_bytes - after.volume_bytes,
	                 scene->engine.index->geometry.pages_per_chapter * UDS_PAGE_BYTES);
	assert_int_equal(after.volume_bytes, scene->engine.index->geometry.bytes_per_volume);
	end(scene);
}

/* ---- places --------------------------------------------------------------------------------------- */

static uint64_t
blocks_of(scene *scene)
{
	char path[600];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", scene->engine.host.directory, UDS_VOLUME_FILE);
	assert_int_equal(stat(path, &status), 0);
	return (uint64_t) status.st_blocks * 512;
}

/* Offset of a page of a physical chapter in the file, as the index is now. */
static size_t
offset_of(scene *scene, uint32_t place, uint32_t page)
{
	return (size_t) (uds_geometry_chapter_page(&scene->engine.index->geometry, place) + page) *
	       UDS_PAGE_BYTES;
}

static uint32_t
seal_page(scene *scene)
{
	return scene->engine.index->geometry.pages_per_chapter - 1;
}

static void
damage(scene *scene, uint32_t place, uint32_t page)
{
	files_flip_bit(scene->engine.host.directory,
	               UDS_VOLUME_FILE,
	               offset_of(scene, place, page) + 50,
	               3);
}

static void
the_place_is_given_back(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 70);
	uint64_t before;
	uint64_t bytes = scene->engine.index->geometry.pages_per_chapter * UDS_PAGE_BYTES;

	(void) state;
	write_chapters(scene, CHAPTERS + 3);
	assert_int_equal(engine_suspend(&scene->engine, true), UDS_OK);
	before = blocks_of(scene);
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	assert_int_equal(before - blocks_of(scene), bytes);
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	write_chapters(scene, 2 * CHAPTERS);
	check(scene);
	assert_int_equal(before - blocks_of(scene), bytes);
	end(scene);
}

static void
a_file_system_that_gives_nothing_back_is_told_of(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 71);
	uint64_t before;

	(void) state;
	write_chapters(scene, CHAPTERS + 3);
	scene->failing_kind = "punch";
	before = blocks_of(scene);
	atomic_store(&scene->engine.host.warnings, 0);
	reduce(scene, false);
	assert_int_equal(atomic_load(&scene->engine.host.warnings), 1);
	assert_int_equal(blocks_of(scene), before);
	check(scene);
	/* It is tried again whenever the files are opened. */
	scene->failing_kind = NULL;
	assert_int_equal(engine_close(&scene->engine), UDS_OK);
	engine_must_open(&scene->engine);
	assert_true(blocks_of(scene) < before);
	check(scene);
	move_on(scene, CHAPTERS);
	end(scene);
}

/* ---- refusals ---------------------------------------------------------------------------------------- */

static void
only_a_suspended_index_in_memory_is_reduced(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 80);
	engine *engine = &scene->engine;

	(void) state;
	write_chapters(scene, CHAPTERS + 4);
	assert_int_equal(engine_reduce(engine), UDS_ERR_STATE);
	assert_string_equal(engine->error.message, "index is not suspended");
	assert_string_equal(engine->error.detail, "It is online.");
	for (uint32_t i = 0; i < 2; i++)
	{
		uds_state other = i == 0 ? UDS_STATE_READ_ONLY : UDS_STATE_FAILED;

		uds_block_set_state(engine->index, other, "as if");
		assert_int_equal(uds_writer_reduce(engine->writer, &engine->error), UDS_ERR_STATE);
		assert_int_equal(uds_index_state(engine->index), other);
	}
	uds_block_set_state(engine->index, UDS_STATE_ONLINE, NULL);
	check(scene);
	/* suspended in the middle of a recovery */
	engine_crash(engine);
	posix_host_stop(&engine->host, UDS_WORKER_WRITER);
	assert_int_equal(engine_open(engine), UDS_STOPPED);
	posix_host_clear_stop(&engine->host, UDS_WORKER_WRITER);
	assert_int_equal(engine_reduce(engine), UDS_ERR_STATE);
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	assert_int_equal(engine_reduce(engine), UDS_ERR_STATE);
	assert_string_equal(engine->error.message, "index is suspended without being in memory");
	assert_int_equal(engine_resume(engine), UDS_OK);
	check(scene);
	/* offline */
	engine_crash(engine);
	files_flip_bit(engine->host.directory, UDS_CONTROL_FILE, 100, 3);
	assert_int_equal(engine_open(engine), UDS_ERR_CORRUPT);
	assert_int_equal(engine_reduce(engine), UDS_ERR_STATE);
	files_flip_bit(engine->host.directory, UDS_CONTROL_FILE, 100, 3);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_false(is_reduced(scene));
	check(scene);
	end(scene);
}

static void
it_is_reduced_once(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 81);
	engine *engine = &scene->engine;

	(void) state;
	write_chapters(scene, CHAPTERS + 4);
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	assert_int_equal(engine_reduce(engine), UDS_OK);
	assert_int_equal(engine_reduce(engine), UDS_ERR_STATE);
	assert_string_equal(engine->error.detail,
	                    "It is suspended: it was reduced and is to be built again.");
	assert_int_equal(engine_resume(engine), UDS_OK);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(engine_suspend(engine, true), UDS_OK);
		assert_int_equal(engine_reduce(engine), UDS_ERR_STATE);
		assert_string_equal(engine->error.message, "index is reduced already");
		assert_int_equal(engine_resume(engine), UDS_OK);
		check(scene);
		reopen(scene, 1);
	}
	end(scene);
}

static void
some_chapters_must_be_left(void **state)
{
	scene *scene = begin(kinds[0], 2, 1, 82);

	(void) state;
	write_chapters(scene, 3);
	assert_int_equal(engine_suspend(&scene->engine, false), UDS_OK);
	assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_STATE);
	assert_string_equal(scene->engine.error.message,
	                    "index has too few chapters to be reduced (2, 0 of them sparse)");
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	check(scene);
	end(scene);
	/* The dense part must hold the chapters in memory. */
	scene = begin(kinds[2], SPARSE + UDS_CHAPTER_BUFFERS + 1, 1, 83);
	write_chapters(scene, 3);
	assert_int_equal(engine_suspend(&scene->engine, true), UDS_OK);
	assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_STATE);
	assert_string_equal(scene->engine.error.message,
	                    "index has too few chapters to be reduced (9, 4 of them sparse)");
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	assert_false(is_reduced(scene));
	check(scene);
	end(scene);
	for (uint32_t chapters = 3; chapters <= 5; chapters++)
	{
		for (uint32_t filled = 0; filled < 3 * chapters; filled++)
		{
			scene = begin(kinds[filled % 2], chapters, 1, 84);
			write_chapters(scene, filled);
			reduce(scene, true);
			check(scene);
			move_on(scene, 2 * chapters);
			end(scene);
		}
	}
}

/* ---- failures ------------------------------------------------------------------------------------------ */

/* A scene with something in memory, suspended. */
static scene *
begin_suspended(kind kind, uint32_t filled, bool save)
{
	scene *scene = begin(kind, CHAPTERS, 1, 90 + filled);

	write_chapters(scene, filled);
	post_new(scene, 3);
	engine_settle(&scene->engine);
	assert_int_equal(engine_suspend(&scene->engine, save), UDS_OK);
	no_faults(scene);
	return scene;
}

/*
 * Each operation of a conversion fails, once or for good.  The index stays suspended; it goes on with
 * everything, as it was or reduced, also after a crash.
 */
static void
a_conversion_that_fails_changes_nothing(void **state)
{
	uint32_t failures = 0;
	uint32_t successes = 0;

	(void) state;
	for (uint32_t variant = 0; variant < 8; variant++)
	{
		bool is_done = false;

		for (uint32_t failing = 1; !is_done; failing++)
		{
			scene *scene = begin_suspended(kinds[0], CHAPTERS + 4, (variant & 1) != 0);
			bool may_be_either;
			uds_status status;

			scene->failing = failing;
			scene->fails_for_good = (variant & 2) != 0;
			status = engine_reduce(&scene->engine);
			is_done = scene->operations < failing;
			no_faults(scene);
			/* Control is in place though its directory could not be synced. */
			may_be_either =
				status != UDS_OK && strstr(scene->engine.error.message, "could not sync") != NULL;
			assert_int_equal(uds_index_state(scene->engine.index), UDS_STATE_SUSPENDED);
			if (status == UDS_OK)
				successes++;
			else
			{
				assert_int_equal(status, UDS_ERR_IO);
				failures++;
			}
			if ((variant & 4) != 0 && status != UDS_OK)
			{
				/* What was in memory only is lost, if it could not be written. */
				uint64_t written;

				engine_crash(&scene->engine);
				engine_must_open(&scene->engine);
				written = engine_statistics(&scene->engine).newest_chapter;
				for (uint32_t i = 0; i < scene->count; i++)
				{
					if (scene->names[i].low >= written && (variant & 1) == 0)
						scene->count = i;
				}
			}
			else
				assert_int_equal(engine_resume(&scene->engine), UDS_OK);
			assert_true(is_reduced(scene) == (status == UDS_OK) || may_be_either);
			check(scene);
			write_chapters(scene, 3);
			crash(scene);
			check(scene);
			end(scene);
		}
	}
	assert_true(failures > 8 * 5);
	/* The last one of each, and those that the header and the place have spoilt. */
	assert_true(successes > 8);
}

static uds_control_state
control_state(scene *scene)
{
	uds_control control;
	uds_error error;

	assert_int_equal(uds_control_read(&scene->engine.writer_port, &control, &error), UDS_OK);
	return (uds_control_state) control.state;
}

/* The files of a saved suspension are complete; those of one that begins to convert are not. */
static void
files_are_not_called_complete_while_it_writes(void **state)
{
	scene *scene = begin_suspended(kinds[0], CHAPTERS + 4, true);

	(void) state;
	assert_int_equal(control_state(scene), UDS_CONTROL_CLEAN);
	no_faults(scene);
	/* behind the four of control */
	scene->failing = 5;
	scene->fails_for_good = true;
	assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_IO);
	assert_non_null(strstr(scene->engine.error.message, UDS_VOLUME_FILE));
	no_faults(scene);
	assert_int_equal(control_state(scene), UDS_CONTROL_RUNNING);
	assert_int_equal(engine_suspend(&scene->engine, true), UDS_OK);
	assert_int_equal(control_state(scene), UDS_CONTROL_CLEAN);
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	assert_int_equal(control_state(scene), UDS_CONTROL_RUNNING);
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	check(scene);
	end(scene);
}

static void
a_conversion_that_is_stopped_can_be_repeated(void **state)
{
	scene *scene = begin_suspended(kinds[0], CHAPTERS + 4, true);

	(void) state;
	posix_host_stop(&scene->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(engine_reduce(&scene->engine), UDS_STOPPED);
	assert_int_equal(uds_index_state(scene->engine.index), UDS_STATE_SUSPENDED);
	posix_host_clear_stop(&scene->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	check(scene);
	end(scene);
}

/* The new control file is in place, but nobody was told so. */
static void
a_commit_that_seems_to_fail_counts(void **state)
{
	(void) state;
	for (int next = 0; next < 3; next++)
	{
		scene *scene = begin_suspended(kinds[0], CHAPTERS + 4, false);
		const char *directory = scene->engine.host.directory;
		uint8_t *control;
		size_t bytes;

		scene->failing_kind = "rename";
		assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_IO);
		assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_STATE);
		assert_string_equal(scene->engine.error.detail,
		                    "It is suspended: its files are to be opened again.");
		no_faults(scene);
		control = files_read(directory, UDS_CONTROL_NEW_FILE, &bytes);
		files_write(directory, UDS_CONTROL_FILE, control, bytes);
		free(control);
		if (next == 0)
			crash(scene);
		else if (next == 1)
			assert_int_equal(engine_resume(&scene->engine), UDS_OK);
		else
		{
			uds_block_report_death(scene->engine.index, &scene->engine.writer_port, "for a test");
			engine_settle(&scene->engine);
		}
		assert_true(is_reduced(scene));
		check(scene);
		move_on(scene, CHAPTERS);
		end(scene);
	}
}

static void
a_crash_after_it_loses_nothing(void **state)
{
	(void) state;
	for (uint32_t filled = 0; filled < CHAPTERS + 6; filled++)
	{
		scene *scene = begin_suspended(kinds[filled % KINDS], filled, filled % 2 == 0);

		assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
		if (filled % 3 == 0)
			assert_int_equal(engine_close(&scene->engine), UDS_OK);
		else
			engine_crash(&scene->engine);
		engine_must_open(&scene->engine);
		assert_true(is_reduced(scene));
		check(scene);
		move_on(scene, 3);
		end(scene);
	}
}

/* The copy of the moved chapter is no chapter of the volume as it was. */
static void
a_copy_without_commit_is_not_seen(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 110);

	(void) state;
	write_chapters(scene, CHAPTERS + 4);
	assert_int_equal(engine_suspend(&scene->engine, false), UDS_OK);
	scene->failing_kind = "rename";
	assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_IO);
	no_faults(scene);
	engine_crash(&scene->engine);
	atomic_store(&scene->engine.host.warnings, 0);
	engine_must_open(&scene->engine);
	assert_int_equal(atomic_load(&scene->engine.host.warnings), 0);
	assert_int_equal(engine_statistics(&scene->engine).dropped_chapters, 0);
	assert_false(is_reduced(scene));
	check(scene);
	write_chapters(scene, 2 * CHAPTERS);
	crash(scene);
	check(scene);
	end(scene);
}

/* What was made of a damaged save is made anew, of the volume as it is. */
static void
a_damaged_save_is_met(void **state)
{
	(void) state;
	for (uint32_t k = 0; k < KINDS; k++)
	{
		scene *scene = begin(kinds[k], CHAPTERS, 1, 115);

		write_chapters(scene, CHAPTERS + 4);
		reduce(scene, true);
		write_chapters(scene, 2);
		for (int i = 0; i < 2; i++)
		{
			assert_int_equal(engine_checkpoint(&scene->engine), UDS_OK);
			engine_crash(&scene->engine);
			for (uint32_t save = 0; save < 2; save++)
			{
				const char *name = uds_checkpoint_file_name(save);
				const char *directory = scene->engine.host.directory;

				/* in the last piece: all before it has been loaded by then */
				if (files_exists(directory, name))
					files_flip_bit(directory, name, files_size(directory, name) - 30, 1);
			}
			engine_must_open(&scene->engine);
			assert_true(is_reduced(scene));
			check(scene);
			write_chapters(scene, 3);
			check(scene);
		}
		end(scene);
	}
}

/* ---- writers ---------------------------------------------------------------------------------------------- */

/* Another writer, on the same block. */
static void
replace_writer(scene *scene)
{
	engine *engine = &scene->engine;

	uds_writer_detach(engine->writer);
	assert_int_equal(uds_writer_open(engine->writer_memory,
	                                 engine->index,
	                                 &engine->writer_port,
	                                 &engine->config,
	                                 &engine->writer,
	                                 &engine->error),
	                 UDS_OK);
}

static void
another_writer_goes_on(void **state)
{
	scene *scene = begin_suspended(kinds[0], CHAPTERS + 4, true);

	(void) state;
	replace_writer(scene);
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	replace_writer(scene);
	assert_int_equal(uds_index_state(scene->engine.index), UDS_STATE_SUSPENDED);
	assert_int_equal(engine_resume(&scene->engine), UDS_OK);
	assert_true(is_reduced(scene));
	check(scene);
	for (int i = 0; i < CHAPTERS; i++)
	{
		replace_writer(scene);
		write_chapter(scene);
		check(scene);
	}
	crash(scene);
	check(scene);
	end(scene);
}

/* Control is of another volume than the block. */
static void
a_writer_that_finds_other_files_does_not_go_on(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 118);
	engine *engine = &scene->engine;
	uds_control control;
	uds_error error;

	(void) state;
	write_chapters(scene, CHAPTERS + 4);
	reduce(scene, true);
	assert_int_equal(uds_control_read(&engine->writer_port, &control, &error), UDS_OK);
	control.remapped_physical++;
	assert_int_equal(uds_control_write(&engine->writer_port, &control, &error), UDS_OK);
	uds_writer_detach(engine->writer);
	assert_int_equal(uds_writer_open(engine->writer_memory,
	                                 engine->index,
	                                 &engine->writer_port,
	                                 &engine->config,
	                                 &engine->writer,
	                                 &engine->error),
	                 UDS_ERR_MISMATCH);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
	control.remapped_physical--;
	assert_int_equal(uds_control_write(&engine->writer_port, &control, &error), UDS_OK);
	assert_int_equal(engine_resume(engine), UDS_OK);
	check(scene);
	end(scene);
}

/* A worker dies while the index in memory is not that of the files any more. */
static void
a_failure_while_it_waits_to_be_built_is_met(void **state)
{
	scene *scene = begin_suspended(kinds[0], CHAPTERS + 4, true);

	(void) state;
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	uds_block_report_death(scene->engine.index, &scene->engine.writer_port, "for a test");
	engine_settle(&scene->engine);
	assert_int_equal(uds_index_state(scene->engine.index), UDS_STATE_ONLINE);
	assert_true(is_reduced(scene));
	check(scene);
	uds_block_report_death(scene->engine.index, &scene->engine.writer_port, "for a test");
	engine_settle(&scene->engine);
	assert_true(is_reduced(scene));
	check(scene);
	end(scene);
}

static void
a_reset_gives_the_chapter_back(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 120);

	(void) state;
	for (int round = 0; round < 3; round++)
	{
		assert_false(is_reduced(scene));
		write_chapters(scene, CHAPTERS + 2 + round);
		check(scene);
		reduce(scene, round == 0);
		check(scene);
		write_chapters(scene, 3 * round);
		check(scene);
		/* As it is, or while it waits to be built. */
		if (round == 1)
			assert_int_equal(engine_suspend(&scene->engine, true), UDS_OK);
		assert_int_equal(engine_reset(&scene->engine), UDS_OK);
		assert_int_equal(newest_of(scene), 0);
		scene->count = 0;
		memset(scene->names, 0, sizeof(scene->names));
		if (round == 1)
			reopen(scene, 1);
	}
	write_chapters(scene, CHAPTERS + 4);
	assert_int_equal(engine_suspend(&scene->engine, true), UDS_OK);
	assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
	assert_int_equal(engine_reset(&scene->engine), UDS_OK);
	assert_false(is_reduced(scene));
	end(scene);
}

/* ---- other settings ---------------------------------------------------------------------------------- */

/* Reduced files that do not fit are converted like others, into files that are whole. */
static void
reduced_files_can_be_converted(void **state)
{
	(void) state;
	for (uint32_t filled = CHAPTERS + 1; filled < 3 * CHAPTERS; filled += 3)
	{
		scene *scene = begin(kinds[0], CHAPTERS, 1, 125);
		engine *engine = &scene->engine;
		uint64_t oldest;

		/* Names that were changed lie in one chapter less afterwards. */
		write_chapters(scene, filled);
		reduce(scene, true);
		write_chapters(scene, filled % 8);
		oldest = engine_statistics(engine).oldest_chapter;
		assert_int_equal(engine_close(engine), UDS_OK);
		engine->config.geometry.record_pages = 2;
		engine->config.structure = UDS_STRUCTURE_LISTS;
		assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
		assert_int_equal(engine_convert(engine), UDS_OK);
		assert_false(engine->index->geometry.parameters.is_reduced);
		assert_int_equal(engine->index->geometry.parameters.chapters, CHAPTERS);
		/* All of it fits into a few chapters. */
		for (uint32_t i = 0; i < scene->count; i++)
		{
			known *known = &scene->names[i];

			if (known->low < oldest)
				known->version = 0;
			known->low = known->high = 0;
		}
		check_names(scene);
		assert_int_equal(count_problems(scene, UDS_NO_CHAPTER), 0);
		assert_int_equal(engine_suspend(engine, true), UDS_OK);
		assert_int_equal(engine_reduce(engine), UDS_OK);
		assert_int_equal(engine_resume(engine), UDS_OK);
		assert_int_equal(engine->index->geometry.parameters.chapters, CHAPTERS - 1);
		check_names(scene);
		end(scene);
	}
}

/* They fit the settings that they were reduced with: a conversion opens them as they are. */
static void
reduced_files_fit_their_settings(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 126);
	engine *engine = &scene->engine;

	(void) state;
	write_chapters(scene, CHAPTERS + 4);
	reduce(scene, true);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_true(is_reduced(scene));
	engine_crash(engine);
	files_flip_bit(engine->host.directory, UDS_CONTROL_FILE, 100, 3);
	assert_int_equal(engine_open(engine), UDS_ERR_CORRUPT);
	files_flip_bit(engine->host.directory, UDS_CONTROL_FILE, 100, 3);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_true(is_reduced(scene));
	check(scene);
	move_on(scene, CHAPTERS);
	end(scene);
}

/* ---- damage ------------------------------------------------------------------------------------- */

/* With 14 chapters, chapter 10 moves from the first place to the fifth. */
#define MOVED 10

/* The names of a chapter are gone; none was changed or deleted there, or since. */
static void
forget_chapter(scene *scene, uint64_t chapter)
{
	for (uint32_t i = 0; i < scene->count; i++)
	{
		if (scene->names[i].low == chapter)
			scene->names[i].version = 0;
	}
}

/* Chapters of new names. */
static void
post_chapters(scene *scene, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		post_new(scene, NEW_NAMES);
		close_chapter(scene);
	}
}

/* The window moves over the chapter that is damaged. */
static void
outlive_damage(scene *scene)
{
	check_names(scene);
	for (uint32_t i = 0; i < CHAPTERS; i++)
	{
		write_chapter(scene);
		crash(scene);
		check_names(scene);
	}
	move_on(scene, CHAPTERS);
}

static void
a_damaged_page_stays_damaged(void **state)
{
	(void) state;
	for (uint32_t page = 0; page < 2; page++)
	{
		for (uint32_t chapters = MOVED + 2; chapters < MOVED + 9; chapters += 3)
		{
			scene *scene = begin(kinds[0], CHAPTERS, 1, 130);

			assert_int_equal(scene->engine.index->geometry.index_pages, 1);
			post_chapters(scene, chapters);
			damage(scene, 0, page);
			atomic_store(&scene->engine.host.warnings, 0);
			reduce(scene, false);
			/* of the conversion, and of the recovery */
			assert_int_equal(atomic_load(&scene->engine.host.warnings), 2);
			assert_int_equal(count_problems(scene, UDS_NO_CHAPTER), 1);
			assert_int_equal(count_problems(scene, MOVED), 0);
			assert_int_equal(newest_of(scene), chapters);
			forget_chapter(scene, MOVED);
			outlive_damage(scene);
			end(scene);
		}
	}
}

/* What cannot be read now may be read tomorrow. */
static void
an_unreadable_chapter_is_not_moved(void **state)
{
	(void) state;
	/* the seal, then the pages */
	for (uint32_t failing = 1; failing <= 2; failing++)
	{
		scene *scene = begin(kinds[0], CHAPTERS, 1, 131);

		post_chapters(scene, MOVED + 4);
		assert_int_equal(engine_suspend(&scene->engine, false), UDS_OK);
		no_faults(scene);
		scene->failing = failing;
		assert_int_equal(engine_reduce(&scene->engine), UDS_ERR_IO);
		assert_non_null(strstr(scene->engine.error.message, "could not read"));
		no_faults(scene);
		assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
		assert_int_equal(engine_resume(&scene->engine), UDS_OK);
		check(scene);
		end(scene);
	}
}

/* A seal that is damaged, missing, or of another chapter. */
static void
a_chapter_without_seal_is_lost(void **state)
{
	(void) state;
	for (uint32_t variant = 0; variant < 3; variant++)
	{
		scene *scene = begin(kinds[0], CHAPTERS, 1, 132);

		post_chapters(scene, MOVED + 4);
		if (variant == 0)
			damage(scene, 0, seal_page(scene));
		else if (variant == 1)
			files_fill(scene->engine.host.directory,
			           UDS_VOLUME_FILE,
			           offset_of(scene, 0, seal_page(scene)),
			           UDS_PAGE_BYTES,
			           0);
		else
			atomic_fetch_add(&scene->engine.index->slots[0].generation, 1);
		assert_int_equal(engine_suspend(&scene->engine, true), UDS_OK);
		atomic_store(&scene->engine.host.warnings, 0);
		assert_int_equal(engine_reduce(&scene->engine), UDS_OK);
		assert_int_equal(atomic_load(&scene->engine.host.warnings), 1);
		assert_int_equal(engine_resume(&scene->engine), UDS_OK);
		assert_int_equal(newest_of(scene), MOVED + 4);
		assert_int_equal(count_problems(scene, MOVED), 0);
		assert_int_equal(count_problems(scene, UDS_NO_CHAPTER), 1);
		forget_chapter(scene, MOVED);
		outlive_damage(scene);
		end(scene);
	}
}

/* It was found missing when the index was opened: nothing is to be moved. */
static void
a_chapter_that_is_missing_is_not_moved(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 133);

	(void) state;
	post_chapters(scene, MOVED + 4);
	damage(scene, 0, seal_page(scene));
	crash(scene);
	forget_chapter(scene, MOVED);
	check_names(scene);
	reduce(scene, true);
	assert_int_equal(newest_of(scene), MOVED + 4);
	outlive_damage(scene);
	end(scene);
}

/* The newest chapter is verified as a whole when the index is opened: it is gone, and its number is
 * used again. */
static void
a_damaged_newest_chapter_is_dropped(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 134);

	(void) state;
	post_chapters(scene, MOVED + 1);
	damage(scene, 0, 1);
	reduce(scene, false);
	assert_int_equal(newest_of(scene), MOVED);
	forget_chapter(scene, MOVED);
	outlive_damage(scene);
	end(scene);
}

/* The open chapter is one that the moved one was before, or is the moved one, or older. */
static void
newest_chapters_may_be_lost_after_it(void **state)
{
	(void) state;
	for (uint32_t lost = 1; lost <= 5; lost++)
	{
		scene *scene = begin(kinds[0], CHAPTERS, 1, 135);
		uint64_t newest;

		post_chapters(scene, MOVED + 4);
		reduce(scene, false);
		/* 13, 12, 11 are in the places 2, 1, 0, and 10 is in place 3; 9 is in place 8. */
		for (uint32_t i = 0; i < lost; i++)
		{
			uint32_t place =
				uds_geometry_physical_chapter(&scene->engine.index->geometry, MOVED + 3 - i);

			files_fill(scene->engine.host.directory,
			           UDS_VOLUME_FILE,
			           offset_of(scene, place, 0),
			           (size_t) scene->engine.index->geometry.pages_per_chapter * UDS_PAGE_BYTES,
			           0);
			forget_chapter(scene, MOVED + 3 - i);
		}
		assert_int_equal(engine_rebuild(&scene->engine), UDS_OK);
		newest = newest_of(scene);
		assert_int_equal(newest, MOVED + 4 - lost);
		/* Chapter 5, which the conversion has cost, is back; those before were overwritten. */
		for (uint64_t chapter = 0; chapter < 5; chapter++)
			forget_chapter(scene, chapter);
		check_names(scene);
		for (uint32_t i = 0; i < CHAPTERS + 5; i++)
		{
			write_chapter(scene);
			crash(scene);
			check_names(scene);
		}
		check(scene);
		end(scene);
	}
}

/* The server goes back to a point in time before the conversion. */
static void
chapters_of_an_undone_time_are_dropped(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 136);
	posix_host *host = &scene->engine.host;
	uint64_t history;

	(void) state;
	post_chapters(scene, 3);
	/* The new time is shorter than what is undone. */
	history = atomic_fetch_add(&host->history, 1000);
	post_chapters(scene, 5);
	reduce(scene, true);
	post_chapters(scene, 1);
	engine_crash(&scene->engine);
	atomic_store(&host->history, history);
	engine_must_open(&scene->engine);
	assert_true(is_reduced(scene));
	assert_int_equal(newest_of(scene), 3);
	for (uint64_t chapter = 3; chapter < 9; chapter++)
		forget_chapter(scene, chapter);
	scene->count = 9 * NEW_NAMES;
	check_names(scene);
	for (uint32_t i = 0; i < 2 * CHAPTERS; i++)
	{
		write_chapter(scene);
		reopen(scene, 1);
		check_names(scene);
	}
	check(scene);
	end(scene);
}

/* ---- layouts of specification 02, section 7.3 ----------------------------------------------------- */

/*
 * 9 chapters, chapter 10 moved to place 3: the window that is recovered from what lies where.  The
 * chapters in damaged places are expired, or those that follow the newest one.
 */
static void
windows_are_recovered_from_any_layout(void **state)
{
	static const struct
	{
		uint64_t newest;     /* open chapter */
		uint64_t oldest;     /* of the window */
		uint32_t damaged[3]; /* places + 1, until 0 */
		uint64_t lost[2];    /* chapters of the window in them */
	} rows[] = {
		{ 14, 6, { 0 }, { 0 } },          /* 11 12 13 10 5 6 7 8 9 */
		{ 17, 9, { 8 }, { 0 } },          /* 11 12 13 10 14 15 16 B 9 */
		{ 16, 8, { 7, 8, 9 }, { 8, 9 } }, /* 11 12 13 10 14 15 B B B */
		{ 19, 12, { 1, 2 }, { 12, 0 } },  /* B B 13 10 14 15 16 17 18 */
		{ 19, 12, { 0 }, { 0 } },         /* 11 12 13 10 14 15 16 17 18 */
		{ 23, 15, { 5 }, { 0 } },         /* 19 20 21 22 B 15 16 17 18 */
	};

	(void) state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		scene *scene = begin(kinds[i % 2], CHAPTERS, 1, 140 + i);
		uds_statistics statistics;

		post_chapters(scene, MOVED + 4);
		reduce(scene, true);
		assert_int_equal(scene->engine.index->geometry.parameters.remapped_virtual, 10);
		assert_int_equal(scene->engine.index->geometry.parameters.remapped_physical, 3);
		post_chapters(scene, (uint32_t) rows[i].newest - MOVED - 4);
		for (uint32_t j = 0; j < 3 && rows[i].damaged[j] != 0; j++)
			damage(scene, rows[i].damaged[j] - 1, seal_page(scene));
		for (uint32_t j = 0; j < 2 && rows[i].lost[j] != 0; j++)
			forget_chapter(scene, rows[i].lost[j]);
		assert_int_equal(engine_rebuild(&scene->engine), UDS_OK);
		statistics = engine_statistics(&scene->engine);
		assert_int_equal(statistics.newest_chapter, rows[i].newest);
		assert_int_equal(statistics.oldest_chapter, rows[i].oldest);
		check_names(scene);
		outlive_damage(scene);
		end(scene);
	}
}

/* ---- hostile files ---------------------------------------------------------------------------------- */

static void
impossible_geometries_are_refused(void **state)
{
	static const struct
	{
		uint32_t is_reduced;
		int32_t chapters; /* beyond those of the settings */
		uint64_t remapped_virtual, remapped_physical;
		uds_status status;
	} rows[] = {
		{ 1, -1, 10, CHAPTERS - 2, UDS_ERR_CORRUPT },
		{ 1, -1, 10, UINT64_MAX, UDS_ERR_CORRUPT },
		{ 1, -1, UINT64_MAX, 3, UDS_ERR_CORRUPT },
		{ 1, -1, UINT64_C(1) << 39, 3, UDS_ERR_CORRUPT },
		{ 1, 0, 10, 3, UDS_ERR_MISMATCH },
		{ 1, -2, 10, 3, UDS_ERR_MISMATCH },
		{ 2, -1, 10, 3, UDS_ERR_MISMATCH },
		{ 0, -1, 10, 3, UDS_ERR_MISMATCH },
		{ 0, 0, 10, 3, UDS_ERR_MISMATCH },
		{ 0, 0, 0, 3, UDS_ERR_MISMATCH },
	};
	scene *scene = begin(kinds[0], CHAPTERS, 1, 150);
	uds_control good;
	uds_error error;

	(void) state;
	write_chapters(scene, 5);
	assert_int_equal(engine_close(&scene->engine), UDS_OK);
	assert_int_equal(uds_control_read(&scene->engine.writer_port, &good, &error), UDS_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		uds_control control = good;

		control.is_reduced = rows[i].is_reduced;
		control.chapters = (uint32_t) (CHAPTERS + rows[i].chapters);
		control.remapped_virtual = rows[i].remapped_virtual;
		control.remapped_physical = rows[i].remapped_physical;
		assert_int_equal(uds_control_write(&scene->engine.writer_port, &control, &error), UDS_OK);
		assert_int_equal(engine_open(&scene->engine), rows[i].status);
		engine_crash(&scene->engine);
	}
	/* One that is possible, but wrong: chapters are not where they are looked for. */
	for (uint64_t i = 0; i < 40; i++)
	{
		uds_control control = good;

		control.is_reduced = 1;
		control.chapters = CHAPTERS - 1;
		control.remapped_virtual = i;
		control.remapped_physical = i % (CHAPTERS - 2);
		assert_int_equal(uds_control_write(&scene->engine.writer_port, &control, &error), UDS_OK);
		engine_must_open(&scene->engine);
		scene->count = 0;
		memset(scene->names, 0, sizeof(scene->names));
		assert_int_equal(engine_reset(&scene->engine), UDS_OK);
		assert_false(is_reduced(scene));
		write_chapters(scene, 5);
		assert_int_equal(engine_close(&scene->engine), UDS_OK);
		assert_int_equal(uds_control_read(&scene->engine.writer_port, &good, &error), UDS_OK);
	}
	engine_must_open(&scene->engine);
	check(scene);
	end(scene);
}

/* ---- others look ---------------------------------------------------------------------------------------- */

typedef struct watcher
{
	uds_index *index;
	_Atomic bool must_end;
	_Atomic uint32_t looks;
} watcher;

static void *
watch(void *argument)
{
	watcher *watcher = argument;

	while (!atomic_load(&watcher->must_end))
	{
		uds_config config = engine_config(1, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
		uds_statistics statistics;
		uds_chapter_info info;

		uds_index_statistics(watcher->index, &statistics);
		assert_true(statistics.window_size == CHAPTERS * UDS_RECORDS_PER_PAGE ||
		            statistics.window_size == (CHAPTERS - 1) * UDS_RECORDS_PER_PAGE);
		uds_index_configuration(watcher->index, &config);
		assert_true(config.geometry.chapters == CHAPTERS - (config.geometry.is_reduced ? 1 : 0));
		for (uint32_t i = 0; i <= CHAPTERS; i++)
			(void) uds_index_chapter(watcher->index, i, &info);
		atomic_fetch_add(&watcher->looks, 1);
	}
	return NULL;
}

static void
others_look_at_it_meanwhile(void **state)
{
	scene *scene = begin(kinds[0], CHAPTERS, 1, 160);
	watcher watcher = { .index = scene->engine.index };
	pthread_t thread;

	(void) state;
	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
	for (uint32_t i = 0; i < 20; i++)
	{
		uint32_t looks = atomic_load(&watcher.looks);

		write_chapters(scene, i);
		reduce(scene, false);
		while (atomic_load(&watcher.looks) == looks)
			;
		write_chapters(scene, 3);
		check(scene);
		assert_int_equal(engine_reset(&scene->engine), UDS_OK);
		scene->count = 0;
		memset(scene->names, 0, sizeof(scene->names));
	}
	atomic_store(&watcher.must_end, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	end(scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_in_the_window_is_found),
		cmocka_unit_test(any_chapter_can_be_the_open_one),
		cmocka_unit_test(several_windows_pass_over_the_moved_chapter),
		cmocka_unit_test(zones_may_change_after_it),
		cmocka_unit_test(full_chapters_are_converted),
		cmocka_unit_test(the_window_gets_one_chapter_shorter),
		cmocka_unit_test(the_place_is_given_back),
		cmocka_unit_test(a_file_system_that_gives_nothing_back_is_told_of),
		cmocka_unit_test(only_a_suspended_index_in_memory_is_reduced),
		cmocka_unit_test(it_is_reduced_once),
		cmocka_unit_test(some_chapters_must_be_left),
		cmocka_unit_test(a_conversion_that_fails_changes_nothing),
		cmocka_unit_test(files_are_not_called_complete_while_it_writes),
		cmocka_unit_test(a_conversion_that_is_stopped_can_be_repeated),
		cmocka_unit_test(a_commit_that_seems_to_fail_counts),
		cmocka_unit_test(a_crash_after_it_loses_nothing),
		cmocka_unit_test(a_copy_without_commit_is_not_seen),
		cmocka_unit_test(a_damaged_save_is_met),
		cmocka_unit_test(another_writer_goes_on),
		cmocka_unit_test(a_writer_that_finds_other_files_does_not_go_on),
		cmocka_unit_test(a_failure_while_it_waits_to_be_built_is_met),
		cmocka_unit_test(a_reset_gives_the_chapter_back),
		cmocka_unit_test(reduced_files_can_be_converted),
		cmocka_unit_test(reduced_files_fit_their_settings),
		cmocka_unit_test(a_damaged_page_stays_damaged),
		cmocka_unit_test(an_unreadable_chapter_is_not_moved),
		cmocka_unit_test(a_chapter_without_seal_is_lost),
		cmocka_unit_test(a_chapter_that_is_missing_is_not_moved),
		cmocka_unit_test(a_damaged_newest_chapter_is_dropped),
		cmocka_unit_test(newest_chapters_may_be_lost_after_it),
		cmocka_unit_test(chapters_of_an_undone_time_are_dropped),
		cmocka_unit_test(windows_are_recovered_from_any_layout),
		cmocka_unit_test(impossible_geometries_are_refused),
		cmocka_unit_test(others_look_at_it_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
