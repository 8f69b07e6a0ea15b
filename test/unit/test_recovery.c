/*
 * test_recovery.c: recovery and saves write in an order that no crash in between can turn into a
 * loss: what is believed is made durable first, and the last good save is never written over.  A
 * sparse index knows the same names after a crash as before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

/* What the host is asked for, in order: "write volume;sync volume;..." */
typedef struct record_of_operations
{
	char text[16384];
	const char *failing; /* operation that fails once, or NULL */
	uds_index *index;    /* when it is set, reads of the volume in its replay are counted */
	uint32_t replay_reads;
	bool fails_replay; /* the first of them fails */
} record_of_operations;

typedef struct scene
{
	engine engine;
	record_of_operations record;
} scene;

static int
note_operation(void *context, const char *operation, const char *name)
{
	record_of_operations *record = context;
	char text[64];
	size_t used = strlen(record->text);

	snprintf(text, sizeof(text), "%s %s;", operation, name);
	if (record->index != NULL && strcmp(text, "read volume;") == 0 &&
	    atomic_load(&record->index->phase) == UDS_PHASE_REPLAYING)
		return record->replay_reads++ == 0 && record->fails_replay ? EIO : 0;
	snprintf(record->text + used, sizeof(record->text) - used, "%s", text);
	if (record->failing == NULL || strcmp(record->failing, text) != 0)
		return 0;
	record->failing = NULL;
	return EIO;
}

static void
scene_init(scene *scene)
{
	uds_config config = engine_config(1, 16, 1, UDS_STRUCTURE_BUCKETS);

	memset(scene, 0, sizeof(*scene));
	engine_init(&scene->engine, &config);
	engine_must_open(&scene->engine);
	scene->engine.host.fault = note_operation;
	scene->engine.host.fault_context = &scene->record;
}

static void
post(scene *scene, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);

		assert_false(engine_request(&scene->engine, UDS_POST, &name, &metadata).found);
	}
	engine_settle(&scene->engine);
}

static bool
is_there(scene *scene, uint64_t number)
{
	uds_name name = uds_generate_counter_name(number);

	return engine_request(&scene->engine, UDS_PEEK, &name, NULL).found;
}

/* Where an operation comes in the record, first; a large number when it does not. */
static size_t
place_of(const scene *scene, const char *operation)
{
	const char *found = strstr(scene->record.text, operation);

	return found == NULL ? SIZE_MAX : (size_t) (found - scene->record.text);
}

static void
reopen_after_crash(scene *scene)
{
	engine_crash(&scene->engine);
	scene->record.text[0] = '\0';
	engine_must_open(&scene->engine);
}

/*
 * The chapter may only be in the system's memory: its sync was still to come, or has failed and
 * would succeed now without writing anything.
 */
static void
newest_chapter_is_written_again_after_a_crash(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 2 * UDS_RECORDS_PER_PAGE);
	reopen_after_crash(&scene);
	assert_true(place_of(&scene, "write volume;") < place_of(&scene, "sync volume;"));
	assert_true(place_of(&scene, "sync volume;") < place_of(&scene, "write checkpoint"));
	assert_true(is_there(&scene, 0));
	assert_true(is_there(&scene, 2 * UDS_RECORDS_PER_PAGE - 1));
	engine_destroy(&scene.engine);
}

static void
recovery_fails_when_the_newest_chapter_cannot_be_made_durable(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 2 * UDS_RECORDS_PER_PAGE);
	engine_crash(&scene.engine);
	scene.record.failing = "sync volume;";
	assert_int_equal(engine_open(&scene.engine), UDS_ERR_IO);
	assert_int_equal(uds_index_state(scene.engine.index), UDS_STATE_OFFLINE);
	reopen_after_crash(&scene);
	assert_true(is_there(&scene, 0));
	engine_destroy(&scene.engine);
}

static void
nothing_is_written_again_after_an_orderly_end(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 2 * UDS_RECORDS_PER_PAGE);
	assert_int_equal(engine_close(&scene.engine), UDS_OK);
	scene.record.text[0] = '\0';
	engine_must_open(&scene.engine);
	assert_true(place_of(&scene, "write volume;") == SIZE_MAX);
	assert_true(is_there(&scene, 0));
	engine_destroy(&scene.engine);
}

/* After a failed write the control file may name either save, so neither may be written over. */
static void
save_after_a_failed_control_write_begins_with_control(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 10);
	scene.record.failing = "rename control;";
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_ERR_IO);
	scene.record.text[0] = '\0';
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	assert_true(place_of(&scene, "rename control;") < place_of(&scene, "write checkpoint"));
	reopen_after_crash(&scene);
	assert_true(is_there(&scene, 9));
	engine_destroy(&scene.engine);
}

static void
save_after_a_failed_control_write_fails_with_it(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 10);
	scene.record.failing = "rename control;";
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_ERR_IO);
	scene.record.text[0] = '\0';
	scene.record.failing = "sync control.new;";
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_ERR_IO);
	assert_true(place_of(&scene, "write checkpoint") == SIZE_MAX);
	engine_destroy(&scene.engine);
}

static void
damage_file(const scene *scene, const char *name)
{
	char path[640];
	int descriptor;

	snprintf(path, sizeof(path), "%s/%s", scene->engine.host.directory, name);
	descriptor = open(path, O_WRONLY);
	assert_true(descriptor >= 0);
	assert_int_equal(pwrite(descriptor, "damage", 6, 100), 6);
	close(descriptor);
}

/* Save, and after that damage the save in checkpoint.0, and crash. */
static void
save_and_lose_it(scene *scene)
{
	scene->record.text[0] = '\0';
	assert_int_equal(engine_checkpoint(&scene->engine), UDS_OK);
	assert_true(place_of(scene, "write checkpoint.0;") != SIZE_MAX);
	engine_crash(&scene->engine);
	damage_file(scene, "checkpoint.0");
	engine_must_open(&scene->engine);
}

/* A save that is not believed does not stand in for a later one, either. */
static void
save_of_another_time_is_never_used(void **state)
{
	scene scene;
	uint64_t point;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 10);
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	point = scene.engine.host.history;
	post(&scene, 10, 10);
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	assert_true(place_of(&scene, "write checkpoint.1;") != SIZE_MAX);
	engine_crash(&scene.engine);
	/* The host has gone back to that point, and goes on from there. */
	scene.engine.host.history = point;
	engine_must_open(&scene.engine);
	assert_false(is_there(&scene, 15));
	post(&scene, 20, 10);
	save_and_lose_it(&scene);
	assert_false(is_there(&scene, 15));
	engine_destroy(&scene.engine);
}

static void
save_of_an_index_that_failed_is_never_used(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 2 * UDS_RECORDS_PER_PAGE);
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	assert_true(place_of(&scene, "write checkpoint.1;") != SIZE_MAX);
	for (int i = 0; i < 2; i++)
	{
		uds_block_fail(scene.engine.index, &scene.engine.writer_port, "a test says so");
		engine_settle(&scene.engine);
	}
	assert_int_equal(engine_statistics(&scene.engine).recovery_chapters, 2);
	save_and_lose_it(&scene);
	assert_int_equal(engine_statistics(&scene.engine).recovery_chapters, 2);
	assert_true(is_there(&scene, 0));
	engine_destroy(&scene.engine);
}

/* Where the newest save is damaged, the one before is the only one: the next goes over the bad. */
static void
save_that_was_loaded_instead_of_a_damaged_one_is_kept(void **state)
{
	scene scene;
	const char *bad = "checkpoint.1";

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 10);
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	scene.record.text[0] = '\0';
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	if (place_of(&scene, "write checkpoint.0;") != SIZE_MAX)
		bad = "checkpoint.0";
	engine_crash(&scene.engine);
	damage_file(&scene, bad);
	engine_must_open(&scene.engine);
	assert_true(is_there(&scene, 9));
	/* A save that fails half way, and a crash. */
	scene.record.failing =
		strcmp(bad, "checkpoint.0") == 0 ? "sync checkpoint.0;" : "sync checkpoint.1;";
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_ERR_IO);
	damage_file(&scene, bad);
	reopen_after_crash(&scene);
	assert_true(is_there(&scene, 9));
	engine_destroy(&scene.engine);
}

/* ---- replay ------------------------------------------------------------------------------------- */

/* Build the index from the volume alone, with the reads of the replay counted. */
static void
rebuild(scene *scene)
{
	scene->record.index = scene->engine.index;
	scene->record.replay_reads = 0;
	assert_int_equal(engine_rebuild(&scene->engine), UDS_OK);
	scene->record.index = NULL;
}

/*
 * A chapter that cannot be read ends the replay; when it can be read, everything is there.  If its loss
 * is accepted it is passed over, and a later rebuild has it.
 */
static void
chapter_that_cannot_be_read_is_passed_over_when_accepted(void **state)
{
	scene scene;
	uint32_t found = 0;

	(void) state;
	scene_init(&scene);
	post(&scene, 0, 5 * UDS_RECORDS_PER_PAGE);
	scene.record.index = scene.engine.index;
	scene.record.fails_replay = true;
	assert_int_equal(engine_rebuild(&scene.engine), UDS_ERR_IO);
	assert_int_equal(uds_index_state(scene.engine.index), UDS_STATE_OFFLINE);
	scene.record.fails_replay = false;
	assert_int_equal(engine_resume(&scene.engine), UDS_OK);
	for (uint64_t i = 0; i < 5 * UDS_RECORDS_PER_PAGE; i++)
		assert_true(is_there(&scene, i));
	scene.record.fails_replay = true;
	scene.engine.host.accepts_stale = true;
	rebuild(&scene);
	scene.engine.host.accepts_stale = false;
	for (uint64_t i = 0; i < 5 * UDS_RECORDS_PER_PAGE; i++)
		found += is_there(&scene, i);
	assert_int_equal(found, 4 * UDS_RECORDS_PER_PAGE);
	assert_true(atomic_load(&scene.engine.host.warnings) > 0);
	assert_int_equal(engine_statistics(&scene.engine).recovery_chapters, 4);
	scene.record.fails_replay = false;
	rebuild(&scene);
	for (uint64_t i = 0; i < 5 * UDS_RECORDS_PER_PAGE; i++)
		assert_true(is_there(&scene, i));
	engine_destroy(&scene.engine);
}

/* In pieces of many pages, and not through the page cache, which is not for so much. */
static void
chapters_are_replayed_from_large_reads(void **state)
{
	uds_config config = engine_config(100, 8, 1, UDS_STRUCTURE_BUCKETS);
	uint64_t reads;
	uds_geometry geometry;
	scene scene;

	(void) state;
	assert_int_equal(uds_geometry_init(&geometry, &config.geometry), UDS_OK);
	assert_true(geometry.pages_per_chapter > 100);
	memset(&scene, 0, sizeof(scene));
	engine_init(&scene.engine, &config);
	engine_must_open(&scene.engine);
	scene.engine.host.fault = note_operation;
	scene.engine.host.fault_context = &scene.record;
	post(&scene, 0, 3 * geometry.records_per_chapter);
	reads = engine_statistics(&scene.engine).page_reads;
	rebuild(&scene);
	assert_int_equal(engine_statistics(&scene.engine).recovery_chapters, 3);
	assert_in_range(scene.record.replay_reads, 3, 3 * (geometry.pages_per_chapter / 32));
	assert_int_equal(engine_statistics(&scene.engine).page_reads, reads);
	engine_destroy(&scene.engine);
}

/* The save is chosen by its number: a clock that is set back, or stands still, changes nothing. */
static void
saves_are_chosen_by_number(void **state)
{
	scene scene;

	(void) state;
	scene_init(&scene);
	for (uint64_t i = 0; i < 4; i++)
	{
		post(&scene, 10 * i, 10);
		scene.engine.host.clock_shift -= INT64_C(3600000000);
		assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
		reopen_after_crash(&scene);
		for (uint64_t j = 0; j < 10 * (i + 1); j++)
			assert_true(is_there(&scene, j));
	}
	engine_destroy(&scene.engine);
}

/* ---- sparse indexes ----------------------------------------------------------------------------- */

#define SPARSE_CHAPTERS 24
#define SPARSE_DENSE    6
#define SPARSE_NAMES    (30 * UDS_RECORDS_PER_PAGE) /* they fill 30 chapters, or more */

static void
sparse_scene_init(scene *scene, uds_index_structure structure, uint32_t zones)
{
	uds_config config = engine_config(1, SPARSE_CHAPTERS, zones, structure);

	config.geometry.sparse_chapters = SPARSE_CHAPTERS - SPARSE_DENSE;
	config.geometry.sample_rate = 4;
	memset(scene, 0, sizeof(*scene));
	engine_init(&scene->engine, &config);
	engine_must_open(&scene->engine);
}

static bool
is_hook(scene *scene, uint64_t number)
{
	uds_name name = uds_generate_counter_name(number);

	return uds_volume_index_is_hook(&scene->engine.index->volume_index, &name);
}

/* Does the volume index lead to a name?  The sparse cache may find others, too. */
static bool
is_indexed(scene *scene, uint64_t number)
{
	uds_volume_index *index = &scene->engine.index->volume_index;
	uds_name name = uds_generate_counter_name(number);
	uds_index_entry entry;

	assert_int_equal(uds_volume_index_get(index, &name, &entry), UDS_OK);
	return entry.kind != UDS_ENTRY_NONE;
}

/* Which of the names are there? */
static void
list_names(scene *scene, bool found[SPARSE_NAMES])
{
	for (uint32_t i = 0; i < SPARSE_NAMES; i++)
		found[i] = is_there(scene, i);
}

/* What the volume index counts, of all zones. */
static uds_index_counters
count_entries(const scene *scene)
{
	uds_index_counters sum = { 0 };

	for (uint32_t zone = 0; zone < scene->engine.config.zone_count; zone++)
	{
		uds_index_counters counters;

		assert_int_equal(uds_volume_index_check(&scene->engine.index->volume_index, zone), UDS_OK);
		uds_volume_index_counters(&scene->engine.index->volume_index, zone, &counters);
		sum.records += counters.records;
		sum.collisions += counters.collisions;
		sum.expired += counters.expired;
		sum.lost += counters.lost;
	}
	return sum;
}

/* saved_after: so many names are posted before a save; 0 = there is none. */
static void
sparse_index_knows_the_same_after_a_crash_of(uds_index_structure structure, uint32_t zones,
                                             uint32_t saved_after)
{
	static bool before[SPARSE_NAMES];
	static bool after[SPARSE_NAMES];
	uint32_t hooks = 0;
	uint32_t others = 0;
	uds_index_counters counters;
	scene scene;

	sparse_scene_init(&scene, structure, zones);
	post(&scene, 0, saved_after);
	if (saved_after > 0)
		assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	post(&scene, saved_after, SPARSE_NAMES - saved_after);
	list_names(&scene, before);
	reopen_after_crash(&scene);
	counters = count_entries(&scene);
	list_names(&scene, after);
	/* Zones leave gaps in chapters, and the last one is lost with what is in it. */
	assert_memory_equal(before, after, (SPARSE_NAMES - UDS_RECORDS_PER_PAGE) * sizeof(before[0]));
	for (uint32_t i = 0; i < SPARSE_NAMES; i++)
	{
		hooks += is_indexed(&scene, i) && is_hook(&scene, i);
		others += is_indexed(&scene, i) && !is_hook(&scene, i);
	}
	assert_in_range(hooks, 400, SPARSE_CHAPTERS * UDS_RECORDS_PER_PAGE / 3);
	assert_in_range(others, 200, SPARSE_DENSE * UDS_RECORDS_PER_PAGE * 4 / 5);
	assert_int_equal(counters.lost, 0);
	if (saved_after == 0)
	{
		/* Nothing was replayed that is not needed. */
		assert_int_equal(counters.expired, 0);
		assert_int_equal(counters.records, hooks + others);
	}
	engine_destroy(&scene.engine);
}

static void
sparse_index_knows_the_same_after_a_crash(void **state)
{
	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		for (uint32_t zones = 1; zones <= 3; zones++)
		{
			sparse_index_knows_the_same_after_a_crash_of(structure, zones, 0);
			sparse_index_knows_the_same_after_a_crash_of(structure, zones, 1000);
			sparse_index_knows_the_same_after_a_crash_of(structure, zones, SPARSE_NAMES - 200);
		}
	}
}

static void
sparse_index_knows_the_same_after_an_orderly_end(void **state)
{
	static bool before[SPARSE_NAMES];
	static bool after[SPARSE_NAMES];

	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		scene scene;

		sparse_scene_init(&scene, structure, 1);
		post(&scene, 0, SPARSE_NAMES - 50);
		list_names(&scene, before);
		for (uint32_t zones = 1; zones <= 4; zones++)
		{
			assert_int_equal(engine_close(&scene.engine), UDS_OK);
			scene.engine.config.zone_count = zones;
			engine_must_open(&scene.engine);
			list_names(&scene, after);
			assert_memory_equal(before, after, sizeof(before));
			assert_int_equal(count_entries(&scene).lost, 0);
		}
		engine_destroy(&scene.engine);
	}
}

/* An older version of a hook lies in a sparse chapter: replay looks there to know it. */
static void
replay_moves_hooks_of_sparse_chapters(void **state)
{
	uint32_t moved = 0;
	scene scene;

	(void) state;
	sparse_scene_init(&scene, UDS_STRUCTURE_BUCKETS, 1);
	post(&scene, 0, 20 * UDS_RECORDS_PER_PAGE);
	assert_int_equal(engine_checkpoint(&scene.engine), UDS_OK);
	for (uint32_t i = 0; i < 3 * UDS_RECORDS_PER_PAGE; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 2);

		assert_int_equal(is_indexed(&scene, i), is_hook(&scene, i));
		if (!is_hook(&scene, i))
			continue;
		assert_true(engine_request(&scene.engine, UDS_UPDATE, &name, &metadata).found);
		moved++;
	}
	assert_in_range(moved, 60, UDS_RECORDS_PER_PAGE);
	/* Their chapter is sealed. */
	post(&scene, SPARSE_NAMES, 2 * UDS_RECORDS_PER_PAGE);
	reopen_after_crash(&scene);
	/* A name that replay did not know for its own would have an exact entry. */
	assert_int_equal(count_entries(&scene).collisions, 0);
	for (uint32_t i = 0; i < 3 * UDS_RECORDS_PER_PAGE; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 2);
		uds_request request = engine_request(&scene.engine, UDS_PEEK, &name, NULL);

		assert_true(request.found || !is_hook(&scene, i));
		metadata = uds_generate_metadata(i, is_hook(&scene, i) ? 2 : 1);
		if (request.found)
			assert_memory_equal(&request.found_metadata, &metadata, sizeof(metadata));
	}
	engine_destroy(&scene.engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newest_chapter_is_written_again_after_a_crash),
		cmocka_unit_test(recovery_fails_when_the_newest_chapter_cannot_be_made_durable),
		cmocka_unit_test(nothing_is_written_again_after_an_orderly_end),
		cmocka_unit_test(save_after_a_failed_control_write_begins_with_control),
		cmocka_unit_test(save_after_a_failed_control_write_fails_with_it),
		cmocka_unit_test(save_of_another_time_is_never_used),
		cmocka_unit_test(save_of_an_index_that_failed_is_never_used),
		cmocka_unit_test(save_that_was_loaded_instead_of_a_damaged_one_is_kept),
		cmocka_unit_test(chapter_that_cannot_be_read_is_passed_over_when_accepted),
		cmocka_unit_test(chapters_are_replayed_from_large_reads),
		cmocka_unit_test(saves_are_chosen_by_number),
		cmocka_unit_test(sparse_index_knows_the_same_after_a_crash),
		cmocka_unit_test(sparse_index_knows_the_same_after_an_orderly_end),
		cmocka_unit_test(replay_moves_hooks_of_sparse_chapters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
