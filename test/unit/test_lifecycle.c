/*
 * test_lifecycle.c: each of suspend, resume and rebuild in each state of the index does what its
 * header says; a suspended index keeps everything, its files can be copied, and a successor of the
 * writer finds it suspended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define CHAPTERS 16
#define RECORDS  UDS_RECORDS_PER_PAGE
#define NAMES    (5 * RECORDS + 40) /* the last ones are in the open chapter */

typedef struct fixture
{
	engine engine;
	const char *failing; /* operation on the volume that fails; NULL: none */
	const char *file;    /* NULL: the volume */
	uint32_t phases;     /* bit for each phase that an operation was seen in */
	bool has_passed;     /* more was done than there was to do */
} fixture;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	if (fixture->engine.index != NULL)
	{
		uds_statistics statistics = engine_statistics(&fixture->engine);

		fixture->phases |= 1u << statistics.phase;
		if (statistics.progress_done > statistics.progress_total)
			fixture->has_passed = true;
	}
	return fixture->failing != NULL && strcmp(operation, fixture->failing) == 0 &&
	               strcmp(name, fixture->file != NULL ? fixture->file : UDS_VOLUME_FILE) == 0
	           ? EIO
	           : 0;
}

static void
post(engine *engine, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);

		assert_false(engine_request(engine, UDS_POST, &name, &metadata).found);
	}
	engine_settle(engine);
}

static uint32_t
count_known(engine *engine, uint64_t count)
{
	uint32_t known = 0;

	for (uint64_t i = 0; i < count; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);
		uds_request request = engine_request(engine, UDS_PEEK, &name, NULL);

		if (!request.found)
			continue;
		known++;
		assert_memory_equal(&request.found_metadata, &metadata, sizeof(metadata));
	}
	return known;
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(1, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);

	engine_init(&fixture->engine, &config);
	fixture->engine.host.is_quiet = true;
	fixture->engine.host.fault = fail_operation;
	fixture->engine.host.fault_context = fixture;
	engine_must_open(&fixture->engine);
	post(&fixture->engine, 0, NAMES);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	fixture->failing = NULL;
	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

static uds_state
state_of(fixture *fixture)
{
	return uds_index_state(fixture->engine.index);
}

static uds_control_state
control_state(fixture *fixture)
{
	uds_control control;
	uds_error error;

	assert_int_equal(uds_control_read(&fixture->engine.writer_port, &control, &error), UDS_OK);
	return (uds_control_state) control.state;
}

/* ---- suspend and resume ------------------------------------------------------------------------- */

static void
suspended_requests_wait_and_go_on(void **state)
{
	fixture *fixture = *state;
	uds_request request = { .name = uds_generate_counter_name(3), .operation = UDS_PEEK };
	uds_zone_worker *zone;

	for (int save = 0; save < 2; save++)
	{
		assert_int_equal(engine_suspend(&fixture->engine, save != 0), UDS_OK);
		assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
		zone = fixture->engine.zones[0];
		assert_int_equal(uds_zone_turn(zone), UDS_PENDING);
		assert_int_equal(engine_run(&fixture->engine, &request, 1), UDS_PENDING);
		assert_int_equal(control_state(fixture), save ? UDS_CONTROL_CLEAN : UDS_CONTROL_RUNNING);
		assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
		assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
		assert_int_equal(control_state(fixture), UDS_CONTROL_RUNNING);
		assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	}
}

/* Requests that wait for a page keep their place over it. */
static void
parked_requests_survive_a_suspension(void **state)
{
	fixture *fixture = *state;
	uds_zone_worker *zone = fixture->engine.zones[0];
	uds_request request = { .name = uds_generate_counter_name(3), .operation = UDS_PEEK };
	uds_request *finished = NULL;
	uint32_t parked;

	assert_int_equal(uds_zone_turn(zone), UDS_OK);
	assert_int_equal(uds_zone_execute(zone, &request, 1, &parked), UDS_OK);
	assert_int_equal(parked, 1);
	/* The zone lets go as its worker does. */
	atomic_store(&fixture->engine.index->zones_wanted, 1);
	assert_int_equal(uds_zone_turn(zone), UDS_PENDING);
	assert_int_equal(uds_writer_suspend(fixture->engine.writer, true, &fixture->engine.error),
	                 UDS_OK);
	assert_int_equal(uds_zone_turn(zone), UDS_PENDING);
	assert_int_equal(uds_zone_advance(zone, &finished), UDS_PENDING);
	assert_int_equal(uds_writer_resume(fixture->engine.writer, &fixture->engine.error), UDS_OK);
	assert_int_equal(uds_zone_turn(zone), UDS_OK);
	while (finished == NULL)
		assert_int_equal(uds_zone_advance(zone, &finished), UDS_OK);
	assert_true(finished->found);
}

static void
files_of_a_saved_suspension_are_complete(void **state)
{
	fixture *fixture = *state;
	engine copy;

	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	engine_init(&copy, &fixture->engine.config);
	copy.host.is_quiet = true;
	files_copy_all(fixture->engine.host.directory, copy.host.directory);
	atomic_store(&copy.host.history, atomic_load(&fixture->engine.host.history));
	engine_must_open(&copy);
	assert_int_equal(count_known(&copy, NAMES), NAMES);
	assert_int_equal(engine_statistics(&copy).recovery_chapters, 0);
	engine_destroy(&copy);
}

static void
a_suspension_can_be_saved_later(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(engine_suspend(&fixture->engine, false), UDS_OK);
	assert_int_equal(engine_suspend(&fixture->engine, false), UDS_OK);
	assert_int_equal(control_state(fixture), UDS_CONTROL_RUNNING);
	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	assert_int_equal(control_state(fixture), UDS_CONTROL_CLEAN);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(engine_suspend(&fixture->engine, false), UDS_OK);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_int_equal(control_state(fixture), UDS_CONTROL_CLEAN);
}

static void
a_stop_saves_what_is_suspended(void **state)
{
	fixture *fixture = *state;

	for (int save = 0; save < 2; save++)
	{
		assert_int_equal(engine_suspend(&fixture->engine, save != 0), UDS_OK);
		assert_int_equal(engine_close(&fixture->engine), UDS_OK);
		engine_must_open(&fixture->engine);
		assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
		assert_int_equal(engine_statistics(&fixture->engine).recovery_chapters, 0);
		assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	}
}

static void
a_crash_while_suspended_loses_only_what_was_not_saved(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	engine_crash(&fixture->engine);
	engine_must_open(&fixture->engine);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	assert_int_equal(engine_suspend(&fixture->engine, false), UDS_OK);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	post(&fixture->engine, NAMES, 2 * RECORDS);
	assert_int_equal(engine_suspend(&fixture->engine, false), UDS_OK);
	engine_crash(&fixture->engine);
	engine_must_open(&fixture->engine);
	assert_in_range(count_known(&fixture->engine, NAMES + 2 * RECORDS),
	                NAMES + RECORDS,
	                NAMES + 2 * RECORDS);
}

/* Another writer, on the same block. */
static uds_status
replace_writer(fixture *fixture)
{
	engine *engine = &fixture->engine;

	uds_writer_detach(engine->writer);
	return uds_writer_open(engine->writer_memory,
	                       engine->index,
	                       &engine->writer_port,
	                       &engine->config,
	                       &engine->writer,
	                       &engine->error);
}

static void
a_new_writer_finds_the_index_suspended(void **state)
{
	fixture *fixture = *state;

	for (int save = 0; save < 2; save++)
	{
		assert_int_equal(engine_suspend(&fixture->engine, save != 0), UDS_OK);
		assert_int_equal(replace_writer(fixture), UDS_OK);
		assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
		assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_PENDING);
		assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
		assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	}
}

/* Files that say "clean" are not written before they say "running". */
static void
a_suspension_goes_on_until_control_is_written(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	fixture->failing = "sync";
	fixture->file = UDS_CONTROL_NEW_FILE;
	assert_int_equal(engine_resume(&fixture->engine), UDS_ERR_IO);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_PENDING);
	fixture->failing = NULL;
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(control_state(fixture), UDS_CONTROL_RUNNING);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

/* The writer's successor knows the index in memory by its files: others are refused. */
static void
files_that_were_replaced_are_refused(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	char *own = files_make_directory();
	struct engine other;
	char reason[256];

	files_copy_all(engine->host.directory, own);
	engine_init(&other, &engine->config);
	engine_must_open(&other);
	uds_writer_detach(engine->writer);
	files_copy_all(other.host.directory, engine->host.directory);
	assert_int_equal(uds_writer_open(engine->writer_memory,
	                                 engine->index,
	                                 &engine->writer_port,
	                                 &engine->config,
	                                 &engine->writer,
	                                 &engine->error),
	                 UDS_ERR_MISMATCH);
	assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);
	uds_index_reason(engine->index, reason, sizeof(reason));
	assert_string_equal(reason, "files were replaced while in use");
	/* Its own files again: they are opened like any, what was sealed is there. */
	files_copy_all(own, engine->host.directory);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(count_known(engine, NAMES), 5 * RECORDS);
	engine_destroy(&other);
	posix_remove_directory(own);
	free(own);
}

/* Put other files in the place of those of the index, as an administrator does. */
static void
replace_files(engine *engine, const char *from)
{
	posix_remove_directory(engine->host.directory);
	assert_int_equal(mkdir(engine->host.directory, 0700), 0);
	files_copy_all(from, engine->host.directory);
}

/* Resuming opens what lies under the names of the files then, not what did when it was suspended. */
static void
files_that_were_replaced_while_suspended_are_opened(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	char *older = files_make_directory();
	char *newer = files_make_directory();
	uint64_t epoch;
	struct engine other;

	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	files_copy_all(engine->host.directory, older);
	assert_int_equal(engine_resume(engine), UDS_OK);
	post(engine, NAMES, 2 * RECORDS);

	/* The same files, but others for the system: the index in memory goes on with them. */
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	files_copy_all(engine->host.directory, newer);
	replace_files(engine, newer);
	epoch = atomic_load(&engine->index->epoch);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(atomic_load(&engine->index->epoch), epoch);
	post(engine, NAMES + 2 * RECORDS, 3 * RECORDS);
	assert_int_equal(count_known(engine, NAMES + 5 * RECORDS), NAMES + 5 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, NAMES + 5 * RECORDS), NAMES + 5 * RECORDS);

	/* Older ones, and then no volume. */
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	replace_files(engine, older);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(count_known(engine, NAMES + 5 * RECORDS), NAMES);
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	files_remove(engine->host.directory, UDS_VOLUME_FILE);
	assert_int_equal(engine_resume(engine), UDS_ERR_CORRUPT);
	assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);

	/* Another index's: its names have another key. */
	engine_init(&other, &engine->config);
	engine_must_open(&other);
	assert_int_equal(engine_close(&other), UDS_OK);
	replace_files(engine, newer);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	replace_files(engine, other.host.directory);
	assert_int_equal(engine_resume(engine), UDS_ERR_MISMATCH);
	assert_string_equal(engine->error.message, "files are those of another index");
	replace_files(engine, newer);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(count_known(engine, NAMES + 2 * RECORDS), NAMES + 2 * RECORDS);

	posix_remove_directory(other.host.directory);
	posix_host_destroy(&other.host);
	posix_remove_directory(older);
	posix_remove_directory(newer);
	free(older);
	free(newer);
}

static void
a_suspension_that_cannot_be_saved_fails(void **state)
{
	fixture *fixture = *state;

	post(&fixture->engine, NAMES, 20);
	fixture->engine.must_not_write = true;
	for (uint64_t i = NAMES + 20; i < NAMES + 20 + 2 * RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);

		(void) engine_request(&fixture->engine, UDS_POST, &name, &metadata);
	}
	fixture->failing = "write";
	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_ERR_IO);
	assert_int_equal(state_of(fixture), UDS_STATE_READ_ONLY);
	/* Without a save nothing has to be written. */
	assert_int_equal(engine_suspend(&fixture->engine, false), UDS_OK);
	fixture->failing = NULL;
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(&fixture->engine, NAMES + 20 + 2 * RECORDS),
	                 NAMES + 20 + 2 * RECORDS);
}

/* ---- recovery ------------------------------------------------------------------------------------- */

static void
an_interrupted_recovery_starts_over_when_resumed(void **state)
{
	fixture *fixture = *state;

	engine_crash(&fixture->engine);
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(engine_open(&fixture->engine), UDS_STOPPED);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_ERR_STATE);
	assert_int_equal(replace_writer(fixture), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_true(count_known(&fixture->engine, NAMES) >= 5 * RECORDS);
}

static void
a_failed_index_can_be_suspended(void **state)
{
	fixture *fixture = *state;

	uds_block_fail(fixture->engine.index, &fixture->engine.writer_port, "for a test");
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_OK);
	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_true(count_known(&fixture->engine, NAMES) >= 5 * RECORDS);
}

static void
an_offline_index_is_opened_again_by_resume(void **state)
{
	fixture *fixture = *state;
	size_t bytes;
	uint8_t *control;

	engine_close(&fixture->engine);
	control = files_read(fixture->engine.host.directory, UDS_CONTROL_FILE, &bytes);
	files_flip_bit(fixture->engine.host.directory, UDS_CONTROL_FILE, 100, 3);
	assert_int_equal(engine_open(&fixture->engine), UDS_ERR_CORRUPT);
	assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);
	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_ERR_STATE);
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_ERR_STATE);
	assert_int_equal(engine_resume(&fixture->engine), UDS_ERR_CORRUPT);
	assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);
	files_write(fixture->engine.host.directory, UDS_CONTROL_FILE, control, bytes);
	free(control);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

static void
a_reset_ends_a_suspension(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	assert_int_equal(engine_reset(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(&fixture->engine, NAMES), 0);
	assert_int_equal(engine_suspend(&fixture->engine, true), UDS_OK);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
}

static void
resume_tries_again_what_could_not_be_written(void **state)
{
	fixture *fixture = *state;

	fixture->failing = "sync";
	fixture->engine.must_not_write = true;
	post(&fixture->engine, NAMES, RECORDS);
	fixture->engine.must_not_write = false;
	engine_settle(&fixture->engine);
	assert_int_equal(state_of(fixture), UDS_STATE_READ_ONLY);
	assert_int_equal(engine_resume(&fixture->engine), UDS_ERR_IO);
	assert_int_equal(state_of(fixture), UDS_STATE_READ_ONLY);
	fixture->failing = NULL;
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(engine_resume(&fixture->engine), UDS_OK);
	assert_int_equal(count_known(&fixture->engine, NAMES + RECORDS), NAMES + RECORDS);
}

/* ---- rebuild ------------------------------------------------------------------------------------- */

static void
a_rebuild_keeps_everything(void **state)
{
	fixture *fixture = *state;
	uint64_t newest = engine_statistics(&fixture->engine).newest_chapter;
	uint64_t entries = engine_statistics(&fixture->engine).entries_indexed;

	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	/* Of records, not of the rest of a page that is not full. */
	assert_int_equal(engine_statistics(&fixture->engine).entries_indexed, entries);
	assert_int_equal(engine_statistics(&fixture->engine).recovery_chapters, newest + 1);
	assert_int_equal(engine_statistics(&fixture->engine).newest_chapter, newest + 1);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	/* The open chapter is empty: it is not written again. */
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_OK);
	assert_int_equal(engine_statistics(&fixture->engine).newest_chapter, newest + 1);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

static void
a_rebuild_that_cannot_write_changes_nothing(void **state)
{
	fixture *fixture = *state;

	fixture->failing = "write";
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_ERR_IO);
	assert_int_equal(state_of(fixture), UDS_STATE_READ_ONLY);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	fixture->failing = NULL;
	assert_int_equal(engine_rebuild(&fixture->engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

static void
progress_tells_what_is_done(void **state)
{
	fixture *fixture = *state;

	fixture->phases = 0;
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	assert_true((fixture->phases & 1u << UDS_PHASE_SAVING) != 0);
	assert_int_equal(engine_statistics(&fixture->engine).phase, UDS_PHASE_NONE);
	post(&fixture->engine, NAMES, 2 * RECORDS);
	engine_crash(&fixture->engine);
	fixture->phases = 0;
	engine_must_open(&fixture->engine);
	assert_true((fixture->phases & 1u << UDS_PHASE_SEALS) != 0);
	assert_true((fixture->phases & 1u << UDS_PHASE_LOADING) != 0);
	assert_true((fixture->phases & 1u << UDS_PHASE_REPLAYING) != 0);
	assert_int_equal(engine_statistics(&fixture->engine).phase, UDS_PHASE_NONE);
	assert_false(fixture->has_passed);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(suspended_requests_wait_and_go_on),
		CASE(parked_requests_survive_a_suspension),
		CASE(files_of_a_saved_suspension_are_complete),
		CASE(a_suspension_can_be_saved_later),
		CASE(a_stop_saves_what_is_suspended),
		CASE(a_crash_while_suspended_loses_only_what_was_not_saved),
		CASE(a_new_writer_finds_the_index_suspended),
		CASE(a_suspension_goes_on_until_control_is_written),
		CASE(files_that_were_replaced_are_refused),
		CASE(files_that_were_replaced_while_suspended_are_opened),
		CASE(a_suspension_that_cannot_be_saved_fails),
		CASE(an_interrupted_recovery_starts_over_when_resumed),
		CASE(a_failed_index_can_be_suspended),
		CASE(an_offline_index_is_opened_again_by_resume),
		CASE(a_reset_ends_a_suspension),
		CASE(resume_tries_again_what_could_not_be_written),
		CASE(a_rebuild_keeps_everything),
		CASE(a_rebuild_that_cannot_write_changes_nothing),
		CASE(progress_tells_what_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
