/*
 * test_writer.c: a save or an end that waits for a worker, which turns out to have died inside the
 * engine, is not made from the memory that it left behind; the index is rebuilt from the files, also
 * when they cannot be written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/files.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"

#define FILLED 3 /* chapters */

typedef enum action
{
	ACTION_CHECKPOINT,
	ACTION_SUSPEND,
	ACTION_REBUILD,
	ACTION_CLOSE
} action;

typedef struct fixture
{
	engine engine;
	action action; /* of the writer */
	void *dead_memory;
	uds_zone_worker *dead; /* its files are closed at the end */
	uds_status status;
	uds_error error;
} fixture;

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = sparse_config(1, UDS_STRUCTURE_BUCKETS);

	config.reader_count = 1;
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	sparse_fill(&fixture->engine, FILLED);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	if (fixture->dead != NULL)
		uds_zone_detach(fixture->dead);
	free(fixture->dead_memory);
	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

/* ---- workers that have died ---------------------------------------------------------------------- */

/* Begin as the successor of a worker that died. */
typedef uds_status (*attach_function)(fixture *fixture);

static uds_status
attach_zone(fixture *fixture)
{
	engine *engine = &fixture->engine;

	fixture->dead_memory = engine->zone_memory[0];
	fixture->dead = engine->zones[0];
	engine->zone_memory[0] = calloc(1, uds_zone_worker_size());
	return uds_zone_attach(engine->zone_memory[0],
	                       engine->index,
	                       &engine->zone_ports[0],
	                       0,
	                       &engine->zones[0],
	                       &engine->error);
}

static uds_status
attach_reader(fixture *fixture)
{
	uds_port port = posix_port(&fixture->engine.host, UDS_WORKER_READER);
	void *memory = calloc(1, uds_reader_size());
	uds_reader *reader;
	uds_status status =
		uds_reader_attach(memory, fixture->engine.index, &port, 0, &reader, &fixture->engine.error);

	uds_reader_detach(reader);
	free(memory);
	return status;
}

static uds_status
attach_triage(fixture *fixture)
{
	uds_port port = posix_port(&fixture->engine.host, UDS_WORKER_TRIAGE);
	void *memory = calloc(1, uds_triage_size());
	uds_triage *triage;
	uds_status status =
		uds_triage_attach(memory, fixture->engine.index, &port, &triage, &fixture->engine.error);

	uds_triage_detach(triage);
	free(memory);
	return status;
}

/* ---- the writer ---------------------------------------------------------------------------------- */

static void *
writer_main(void *argument)
{
	fixture *fixture = argument;
	uds_writer *writer = fixture->engine.writer;

	switch (fixture->action)
	{
		case ACTION_CHECKPOINT:
			fixture->status = uds_writer_checkpoint(writer, &fixture->error);
			break;
		case ACTION_SUSPEND:
			fixture->status = uds_writer_suspend(writer, true, &fixture->error);
			break;
		case ACTION_REBUILD:
			fixture->status = uds_writer_rebuild(writer, &fixture->error);
			break;
		case ACTION_CLOSE:
			fixture->status = uds_writer_close(writer, true, &fixture->error);
			break;
	}
	return NULL;
}

/* Have the writer wait for a dead worker until its successor is there. */
static void
replace_dead_worker(fixture *fixture, attach_function attach)
{
	uds_index *index = fixture->engine.index;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, writer_main, fixture), 0);
	while (atomic_load(&index->zones_wanted) == 0)
		sched_yield();
	assert_int_equal(attach(fixture), UDS_ERR_INTERNAL);
	pthread_join(thread, NULL);
	assert_int_equal(fixture->status, UDS_ERR_STATE);
	assert_false(files_exists(fixture->engine.host.directory, "checkpoint.0"));
}

static void
assert_rebuilt(fixture *fixture)
{
	engine *engine = &fixture->engine;

	assert_int_equal(uds_index_state(engine->index), UDS_STATE_FAILED);
	assert_int_equal(uds_writer_work(engine->writer, &engine->error), UDS_OK);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_ONLINE);
	assert_true(sparse_request(engine, UDS_PEEK, 5).found);
}

static void
no_save_is_made_after_a_zone_died(void **state)
{
	fixture *fixture = *state;

	/* The zone is its worker's, who does not come back. */
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_OK);
	atomic_store(&fixture->engine.index->zones[0].inside, 1);
	replace_dead_worker(fixture, attach_zone);
	assert_rebuilt(fixture);
}

static void
no_save_is_made_after_a_reader_died(void **state)
{
	fixture *fixture = *state;

	uds_zone_detach(fixture->engine.zones[0]);
	atomic_store(&fixture->engine.index->guests[0].is_inside, 1);
	replace_dead_worker(fixture, attach_reader);
	assert_rebuilt(fixture);
}

static void
no_save_is_made_after_the_triage_worker_died(void **state)
{
	fixture *fixture = *state;

	uds_zone_detach(fixture->engine.zones[0]);
	atomic_store(&fixture->engine.index->guests[UDS_GUEST_TRIAGE].is_inside, 1);
	replace_dead_worker(fixture, attach_triage);
	assert_rebuilt(fixture);
}

static void
no_index_is_suspended_after_a_reader_died(void **state)
{
	fixture *fixture = *state;

	fixture->action = ACTION_SUSPEND;
	uds_zone_detach(fixture->engine.zones[0]);
	atomic_store(&fixture->engine.index->guests[0].is_inside, 1);
	replace_dead_worker(fixture, attach_reader);
	assert_rebuilt(fixture);
}

/* What is in memory would be written at first. */
static void
no_memory_is_written_after_a_zone_died(void **state)
{
	fixture *fixture = *state;
	uint64_t chapters = engine_statistics(&fixture->engine).chapters_written;

	(void) sparse_post(&fixture->engine, FILLED * SPARSE_RECORDS, 10);
	fixture->action = ACTION_REBUILD;
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_OK);
	atomic_store(&fixture->engine.index->zones[0].inside, 1);
	replace_dead_worker(fixture, attach_zone);
	assert_int_equal(engine_statistics(&fixture->engine).chapters_written, chapters);
	assert_rebuilt(fixture);
}

static void
files_are_not_clean_after_a_worker_died(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	fixture->action = ACTION_CLOSE;
	uds_zone_detach(engine->zones[0]);
	atomic_store(&engine->index->guests[0].is_inside, 1);
	replace_dead_worker(fixture, attach_reader);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_NONE);
	engine_crash(engine);
	/* What was on the volume is there. */
	engine_must_open(engine);
	assert_true(sparse_request(engine, UDS_PEEK, 5).found);
	assert_true(engine_statistics(engine).recovery_chapters > 0);
}

/* What is only in the save, the open chapter, would be gone without it. */
static void
a_save_is_trusted_however_many_workers_died(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	(void) sparse_post(engine, FILLED * SPARSE_RECORDS, 10);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	for (uint32_t i = 0; i < 3; i++)
	{
		atomic_store(&engine->index->guests[0].is_inside, 1);
		assert_int_equal(attach_reader(fixture), UDS_ERR_INTERNAL);
		assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
		assert_rebuilt(fixture);
		assert_true(sparse_request(engine, UDS_PEEK, FILLED * SPARSE_RECORDS + 5).found);
	}
}

static int
fail_reads_of_control(void *context, const char *operation, const char *name)
{
	(void) context;
	return strcmp(operation, "read") == 0 && strcmp(name, UDS_CONTROL_FILE) == 0 ? EIO : 0;
}

/* A writer that could not open the files must not write what it takes for their control file. */
static void
files_that_were_not_opened_survive_a_dead_worker(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t nonce = atomic_load(&engine->index->nonce);

	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	uds_writer_detach(engine->writer);
	engine->host.fault = fail_reads_of_control;
	assert_int_equal(uds_writer_open(engine->writer_memory,
	                                 engine->index,
	                                 &engine->writer_port,
	                                 &engine->config,
	                                 &engine->writer,
	                                 &engine->error),
	                 UDS_ERR_IO);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
	atomic_store(&engine->index->guests[0].is_inside, 1);
	assert_int_equal(attach_reader(fixture), UDS_ERR_INTERNAL);
	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
	assert_int_equal(uds_writer_work(engine->writer, &engine->error), UDS_ERR_IO);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
	engine->host.fault = NULL;
	assert_int_equal(uds_writer_resume(engine->writer, &engine->error), UDS_OK);
	assert_int_equal(atomic_load(&engine->index->nonce), nonce);
	assert_true(sparse_request(engine, UDS_PEEK, 5).found);
}

/* A zone finds something broken while the writer cannot write. */
static int
fail_writes(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	(void) name;
	if (strcmp(operation, "write") != 0)
		return 0;
	uds_block_fail(fixture->engine.index, &fixture->engine.zone_ports[0], "a test says so");
	return EIO;
}

static void
a_failed_index_is_not_made_read_only(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	engine->must_not_write = true;
	(void) sparse_post(engine, FILLED * SPARSE_RECORDS, SPARSE_RECORDS);
	engine->host.fault = fail_writes;
	engine->host.fault_context = fixture;
	assert_int_equal(uds_writer_work(engine->writer, &engine->error), UDS_ERR_IO);
	engine->host.fault = NULL;
	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
	assert_rebuilt(fixture);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(no_save_is_made_after_a_zone_died),
		CASE(no_save_is_made_after_a_reader_died),
		CASE(no_save_is_made_after_the_triage_worker_died),
		CASE(no_index_is_suspended_after_a_reader_died),
		CASE(no_memory_is_written_after_a_zone_died),
		CASE(files_are_not_clean_after_a_worker_died),
		CASE(a_save_is_trusted_however_many_workers_died),
		CASE(files_that_were_not_opened_survive_a_dead_worker),
		CASE(a_failed_index_is_not_made_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
