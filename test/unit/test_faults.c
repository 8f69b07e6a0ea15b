/*
 * test_faults.c: writes, syncs and renames that fail are met as documented: tried again, read only
 * with a reason, offline with a reason; nothing that was said to be durable is lost, at whatever
 * point the disk fails.  Files that are in use, or do not fit, are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define RECORD_PAGES    1
#define CHAPTERS        16
#define FILE_NAME_BYTES 64
#define RECORDS         (RECORD_PAGES * UDS_RECORDS_PER_PAGE)

/* Which operations fail. */
typedef struct plan
{
	const char *operation; /* NULL: all that change something */
	const char *name;      /* of the file; NULL: all */
	uint32_t skip;         /* that many succeed before */
	uint32_t count;        /* that many fail; UINT32_MAX: all from then on */
	int number;            /* errno; 0: none fails */
	uint32_t seen;         /* operations that fit */
	uint32_t failed;
} plan;

typedef struct fixture
{
	engine engine;
	plan plan;
} fixture;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	plan *plan = context;

	if (plan->operation == NULL ? strcmp(operation, "read") == 0
	                            : strcmp(operation, plan->operation) != 0)
		return 0;
	if (plan->name != NULL && strcmp(name, plan->name) != 0)
		return 0;
	plan->seen++;
	if (plan->number == 0 || plan->seen <= plan->skip || plan->failed >= plan->count)
		return 0;
	plan->failed++;
	return plan->number;
}

static void
plan_faults(fixture *fixture, const char *operation, const char *name, uint32_t skip,
            uint32_t count, int number)
{
	fixture->plan = (plan){
		.operation = operation, .name = name, .skip = skip, .count = count, .number = number
	};
}

static void
end_faults(fixture *fixture)
{
	fixture->plan.number = 0;
}

static uds_config
make_config(void)
{
	return engine_config(RECORD_PAGES, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = make_config();

	engine_init(&fixture->engine, &config);
	fixture->engine.host.fault = fail_operation;
	fixture->engine.host.fault_context = &fixture->plan;
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

/* Execute a request whatever it is answered with. */
static uds_request
try_request(engine *engine, uds_operation operation, uint64_t number)
{
	uds_request request = { .name = uds_generate_counter_name(number),
		                    .operation = (uint8_t) operation,
		                    .metadata = uds_generate_metadata(number, 0) };

	request.status = UDS_ERR_STATE;
	(void) engine_run(engine, &request, 1);
	return request;
}

static void
post(engine *engine, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(try_request(engine, UDS_POST, first + i).status, UDS_OK);
	engine_settle(engine);
}

/* Peek at names; each that is found has its metadata.  Returns how many were found. */
static uint32_t
count_found(engine *engine, uint64_t first, uint32_t count)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uds_request peek = try_request(engine, UDS_PEEK, first + i);
		uds_metadata metadata = uds_generate_metadata(first + i, 0);

		assert_int_equal(peek.status, UDS_OK);
		if (peek.found)
			assert_memory_equal(&peek.found_metadata, &metadata, sizeof(metadata));
		found += peek.found;
	}
	return found;
}

static void
must_be(engine *engine, uds_state expected, const char *text)
{
	char reason[512];

	assert_int_equal(uds_index_state(engine->index), expected);
	uds_index_reason(engine->index, reason, sizeof(reason));
	if (text == NULL)
		assert_string_equal(reason, "");
	else if (strstr(reason, text) == NULL)
		fail_msg("reason \"%s\" lacks \"%s\"", reason, text);
}

/* ---- chapters --------------------------------------------------------------------------------- */

static void
a_chapter_is_written_again_completely(void **state)
{
	static const char *const operations[] = { "write", "sync" };
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	engine_must_open(engine);
	for (uint32_t i = 0; i < 2; i++)
	{
		plan_faults(fixture, operations[i], UDS_VOLUME_FILE, 0, 1, EIO);
		post(engine, i * RECORDS, RECORDS);
		assert_int_equal(fixture->plan.failed, 1);
		/* The second attempt writes as well as it syncs. */
		assert_int_equal(fixture->plan.seen, 2);
		must_be(engine, UDS_STATE_ONLINE, NULL);
		assert_int_equal(engine_statistics(engine).chapters_written, i + 1);
		assert_int_equal(atomic_load(&engine->host.warnings), i + 1);
	}
	/* A failed sync is not just synced again. */
	plan_faults(fixture, "sync", UDS_VOLUME_FILE, 0, 1, EIO);
	post(engine, 2 * RECORDS, RECORDS - 1);
	fixture->plan.operation = NULL;
	fixture->plan.number = 0;
	fixture->plan.seen = 0;
	post(engine, 3 * RECORDS - 1, 1);
	assert_int_equal(fixture->plan.seen, 2);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
}

static void
after_the_second_failure_the_index_is_read_only(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_request request;

	engine_must_open(engine);
	post(engine, 0, 6 * RECORDS);
	plan_faults(fixture, "sync", UDS_VOLUME_FILE, 0, UINT32_MAX, EIO);
	/* A chapter that is closed and not written yet, and some records in the open one. */
	engine->must_not_write = true;
	post(engine, 100000, RECORDS);
	post(engine, 200000, 3);
	must_be(engine, UDS_STATE_ONLINE, NULL);
	engine->must_not_write = false;
	engine_settle(engine);
	must_be(engine, UDS_STATE_READ_ONLY, "chapter 6 could not be written");
	assert_int_equal(fixture->plan.failed, 2);

	/* What answers, answers. */
	assert_int_equal(count_found(engine, 0, 6 * RECORDS), 6 * RECORDS);
	assert_int_equal(count_found(engine, 100000, RECORDS), RECORDS);
	request = try_request(engine, UDS_QUERY, 5);
	assert_int_equal(request.status, UDS_OK);
	assert_true(request.found);
	request = try_request(engine, UDS_POST, 6);
	assert_int_equal(request.status, UDS_OK);
	assert_true(request.found);
	request = try_request(engine, UDS_QUERY, 300000);
	assert_int_equal(request.status, UDS_OK);
	assert_false(request.found);
	assert_int_equal(try_request(engine, UDS_DELETE, 300000).status, UDS_OK);
	/* What stores, fails, in a closed chapter and in the open one. */
	assert_int_equal(try_request(engine, UDS_POST, 300000).status, UDS_ERR_READ_ONLY);
	assert_int_equal(try_request(engine, UDS_UPDATE, 300000).status, UDS_ERR_READ_ONLY);
	assert_int_equal(try_request(engine, UDS_UPDATE, 7).status, UDS_ERR_READ_ONLY);
	assert_int_equal(try_request(engine, UDS_DELETE, 7).status, UDS_ERR_READ_ONLY);
	assert_int_equal(try_request(engine, UDS_UPDATE, 200002).status, UDS_ERR_READ_ONLY);
	assert_int_equal(try_request(engine, UDS_DELETE, 200002).status, UDS_ERR_READ_ONLY);
	assert_int_equal(count_found(engine, 7, 1), 1);
	assert_int_equal(count_found(engine, 300000, 1), 0);

	/* It tries again when it is told to. */
	assert_int_equal(engine_checkpoint(engine), UDS_ERR_IO);
	must_be(engine, UDS_STATE_READ_ONLY, "chapter 6 could not be written");
	end_faults(fixture);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	must_be(engine, UDS_STATE_ONLINE, NULL);
	post(engine, 300000, RECORDS);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 6 * RECORDS), 6 * RECORDS);
	assert_int_equal(count_found(engine, 100000, RECORDS), RECORDS);
	assert_int_equal(count_found(engine, 200000, 3), 3);
}

/* Requests that wait for room when the disk gives up are answered. */
static void
requests_that_wait_for_room_learn_of_it(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_request waiting[10];
	uint32_t parked;

	engine_must_open(engine);
	engine->must_not_write = true;
	post(engine, 0, UDS_CHAPTER_BUFFERS * RECORDS);
	for (uint32_t i = 0; i < 10; i++)
		waiting[i] =
			(uds_request){ .name = uds_generate_counter_name(50000 + i), .operation = UDS_POST };
	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(engine->zones[0], waiting, 10, &parked), UDS_OK);
	assert_int_equal(parked, 10);
	plan_faults(fixture, "write", UDS_VOLUME_FILE, 0, UINT32_MAX, ENOSPC);
	engine->must_not_write = false;
	engine_settle(engine);
	/* Now the zone is awake. */
	engine_settle(engine);
	must_be(engine, UDS_STATE_READ_ONLY, "No space left on device");
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(waiting[i].status, UDS_ERR_READ_ONLY);
	assert_int_equal(uds_zone_parked(engine->zones[0]), 0);
	assert_int_equal(engine_checkpoint(engine), UDS_ERR_NO_SPACE);
	assert_int_equal(engine->error.system_errno, ENOSPC);
	end_faults(fixture);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	post(engine, 50000, 10);
	assert_int_equal(count_found(engine, 0, UDS_CHAPTER_BUFFERS * RECORDS),
	                 UDS_CHAPTER_BUFFERS * RECORDS);
}

static void
a_crash_while_read_only_loses_only_what_was_not_written(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	engine_must_open(engine);
	post(engine, 0, 6 * RECORDS);
	plan_faults(fixture, NULL, UDS_VOLUME_FILE, 0, UINT32_MAX, EIO);
	for (uint32_t i = 0; i < RECORDS; i++)
		(void) try_request(engine, UDS_POST, 100000 + i);
	engine_settle(engine);
	must_be(engine, UDS_STATE_READ_ONLY, "chapter 6");
	assert_int_equal(engine_close(engine), UDS_ERR_IO);
	end_faults(fixture);
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 6 * RECORDS), 6 * RECORDS);
	assert_int_equal(count_found(engine, 100000, RECORDS), 0);
	post(engine, 100000, RECORDS);
}

/* ---- saves ------------------------------------------------------------------------------------ */

static void
a_failed_save_leaves_the_earlier_one(void **state)
{
	static const char *const operations[] = { "write", "sync", "rename" };
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint32_t saved = 0;

	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS + 50);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	saved = 3 * RECORDS + 50;
	for (uint32_t i = 0; i < 5; i++)
	{
		int64_t last = engine_statistics(engine).last_checkpoint;

		post(engine, 10000 + i * 10, 10);
		plan_faults(fixture,
		            operations[i % 3],
		            i < 2 ? (i == 0 ? "checkpoint.1" : "checkpoint.1") : NULL,
		            i == 3 ? 1 : 0,
		            UINT32_MAX,
		            i == 4 ? ENOSPC : EIO);
		assert_int_equal(engine_checkpoint(engine), i == 4 ? UDS_ERR_NO_SPACE : UDS_ERR_IO);
		/* It goes on as before. */
		must_be(engine, UDS_STATE_ONLINE, NULL);
		assert_int_equal(engine_statistics(engine).last_checkpoint, last);
		end_faults(fixture);
		assert_int_equal(count_found(engine, 10000, 10 * (i + 1)), 10 * (i + 1));
	}
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, saved), saved);
	/* From the save, not from the volume. */
	assert_int_equal(engine_statistics(engine).recovery_chapters, 0);
	assert_int_equal(atomic_load(&engine->host.warnings), 0);
}

/* Note the file of the first operation that changes something. */
static int
note_first(void *context, const char *operation, const char *name)
{
	char *first = context;

	if (first[0] == '\0' && strcmp(operation, "read") != 0)
		snprintf(first, FILE_NAME_BYTES, "%s", name);
	return 0;
}

/*
 * The control file that a successor finds may be what a failed write left behind, not durable: the
 * save that an older one names must not be overwritten before it is.
 */
static void
a_successor_makes_control_durable_before_it_saves(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	char first[FILE_NAME_BYTES] = "";

	engine_must_open(engine);
	post(engine, 0, 10);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	uds_writer_detach(engine->writer);
	assert_int_equal(uds_writer_open(engine->writer_memory,
	                                 engine->index,
	                                 &engine->writer_port,
	                                 &engine->config,
	                                 &engine->writer,
	                                 &engine->error),
	                 UDS_OK);
	engine->host.fault = note_first;
	engine->host.fault_context = first;
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	assert_string_equal(first, UDS_CONTROL_NEW_FILE);
	engine->host.fault = fail_operation;
	engine->host.fault_context = &fixture->plan;
}

static void
a_failed_save_at_close_is_told_and_recovered_from(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	static const char *const names[] = { "checkpoint.0", UDS_CONTROL_NEW_FILE };

	engine_must_open(engine);
	for (uint32_t i = 0; i < 2; i++)
	{
		post(engine, i * 1000, 3 * RECORDS);
		plan_faults(fixture, "sync", names[i], 0, UINT32_MAX, EIO);
		assert_int_equal(engine_close(engine), UDS_ERR_IO);
		assert_int_equal(engine->error.system_errno, EIO);
		end_faults(fixture);
		engine_must_open(engine);
		assert_int_equal(count_found(engine, i * 1000, 3 * RECORDS), 3 * RECORDS);
	}
}

/* ---- control ---------------------------------------------------------------------------------- */

static void
a_control_file_that_cannot_be_written_keeps_the_index_offline(void **state)
{
	static const char *const operations[] = { "write", "sync", "rename" };
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	/* At creation, then at each open. */
	for (uint32_t i = 0; i < 6; i++)
	{
		const char *name = i % 3 == 2 ? UDS_CONTROL_FILE : UDS_CONTROL_NEW_FILE;

		plan_faults(fixture, operations[i % 3], name, 0, UINT32_MAX, EIO);
		assert_int_equal(engine_open(engine), UDS_ERR_IO);
		must_be(engine, UDS_STATE_OFFLINE, "Input/output error");
		assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
		engine_crash(engine);
		end_faults(fixture);
		if (i >= 2)
		{
			engine_must_open(engine);
			if (i == 2)
				post(engine, 0, 2 * RECORDS + 9);
			assert_int_equal(count_found(engine, 0, 2 * RECORDS + 9), 2 * RECORDS + 9);
			assert_int_equal(engine_close(engine), UDS_OK);
		}
	}
}

static void
a_reset_that_fails_is_tried_again(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint32_t operations;
	uint32_t found = 0;
	uint8_t key[2][UDS_NAME_KEY_BYTES];

	engine_must_open(engine);
	assert_int_equal(uds_index_name_key(engine->index, key[0]), UDS_OK);
	plan_faults(fixture, NULL, NULL, 0, 0, 0);
	assert_int_equal(engine_reset(engine), UDS_OK);
	operations = fixture->plan.seen;
	assert_true(operations >= 8);
	for (uint32_t i = 0; i < operations; i++)
	{
		post(engine, 0, 2 * RECORDS);
		plan_faults(fixture, NULL, NULL, i, UINT32_MAX, EIO);
		assert_int_equal(engine_reset(engine), UDS_ERR_IO);
		must_be(engine, UDS_STATE_OFFLINE, "Input/output error");
		end_faults(fixture);
		if (i % 2 == 0)
			assert_int_equal(engine_reset(engine), UDS_OK);
		else
		{
			/* Without a second attempt: either nothing was forgotten, or everything. */
			engine_crash(engine);
			engine_must_open(engine);
			found = count_found(engine, 0, 2 * RECORDS);
			assert_true(found == 0 || found == 2 * RECORDS);
			assert_int_equal(engine_reset(engine), UDS_OK);
		}
		must_be(engine, UDS_STATE_ONLINE, NULL);
		assert_int_equal(count_found(engine, 0, 2 * RECORDS), 0);
		assert_int_equal(uds_index_name_key(engine->index, key[1]), UDS_OK);
		assert_memory_equal(key[0], key[1], UDS_NAME_KEY_BYTES);
	}
}

/* ---- every point ------------------------------------------------------------------------------ */

#define LIFE_NAMES 2048

/* What the host was told. */
typedef struct promise
{
	uint32_t posted;
	bool is_stored[LIFE_NAMES];  /* answered, and nothing was lost since */
	bool is_durable[LIFE_NAMES]; /* in a save that has succeeded */
} promise;

static void
step_post(engine *engine, promise *promise, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++, promise->posted++)
		promise->is_stored[promise->posted] =
			try_request(engine, UDS_POST, promise->posted).status == UDS_OK;
	engine_settle(engine);
}

/* After a save all that was stored is durable. */
static void
note_save(promise *promise, uds_status status)
{
	if (status == UDS_OK)
		memcpy(promise->is_durable, promise->is_stored, sizeof(promise->is_durable));
}

/* A life with everything in it. */
static void
live(fixture *fixture, promise *promise)
{
	engine *engine = &fixture->engine;

	memset(promise, 0, sizeof(*promise));
	for (uint32_t i = 0; i < 2; i++)
	{
		if (engine_open(engine) != UDS_OK)
		{
			assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
			engine_crash(engine);
			continue;
		}
		step_post(engine, promise, RECORDS + 30);
		note_save(promise, engine_checkpoint(engine));
		step_post(engine, promise, RECORDS);
		note_save(promise, engine_checkpoint(engine));
		step_post(engine, promise, 2 * RECORDS);
		note_save(promise, engine_close(engine));
		/* What was not saved may be lost. */
		memcpy(promise->is_stored, promise->is_durable, sizeof(promise->is_stored));
	}
}

/* The disk fails at every point, once or for good. */
static void
nothing_promised_is_lost_wherever_the_disk_fails(void **state)
{
	fixture *undisturbed;
	promise promise;
	uint32_t total;

	(void) state;
	setup((void **) &undisturbed);
	live(undisturbed, &promise);
	assert_true(promise.is_durable[promise.posted - 1]);
	total = undisturbed->plan.seen;
	teardown((void **) &undisturbed);
	assert_true(total > 50);
	for (uint32_t is_final = 0; is_final < 2; is_final++)
	{
		for (uint32_t point = 0; point < total; point++)
		{
			fixture *fixture;

			setup((void **) &fixture);
			plan_faults(fixture,
			            NULL,
			            NULL,
			            point,
			            is_final ? UINT32_MAX : 1,
			            point % 2 == 0 ? EIO : ENOSPC);
			live(fixture, &promise);
			end_faults(fixture);
			if (engine_open(&fixture->engine) != UDS_OK)
				fail_msg("fault %u%s: does not open: %s",
				         point,
				         is_final ? " and all after it" : "",
				         fixture->engine.error.message);
			for (uint32_t i = 0; i < LIFE_NAMES; i++)
			{
				if (count_found(&fixture->engine, i, 1) == 0 && promise.is_durable[i])
					fail_msg("fault %u%s: name %u, which was saved, is lost",
					         point,
					         is_final ? " and all after it" : "",
					         i);
			}
			post(&fixture->engine, 1000000, RECORDS);
			teardown((void **) &fixture);
		}
	}
}

/* ---- reads ------------------------------------------------------------------------------------ */

/* Names that were posted and changed, saved and not saved, in a volume that has to be replayed. */
static void
make_files_to_read(engine *engine, bool has_save)
{
	engine_must_open(engine);
	post(engine, 0, 2 * RECORDS);
	for (uint32_t i = 0; i < RECORDS; i++)
		assert_true(try_request(engine, UDS_QUERY, 2 * i).found);
	engine_settle(engine);
	if (has_save)
		assert_int_equal(engine_checkpoint(engine), UDS_OK);
	post(engine, 2 * RECORDS, 2 * RECORDS);
	for (uint32_t i = 0; i < RECORDS; i++)
		assert_true(try_request(engine, UDS_QUERY, 3 * i).found);
	engine_settle(engine);
	engine_crash(engine);
}

/* The status of an open one of whose reads fails. */
static uds_status
open_with_failing_read(fixture *fixture, uint32_t point)
{
	uds_status status;

	plan_faults(fixture, "read", NULL, point, 1, EIO);
	status = engine_open(&fixture->engine);
	end_faults(fixture);
	return status;
}

/* Each read of an open fails in turn: it is offline, and opens later with everything. */
static void
fail_reads_in_turn(fixture *fixture, bool has_save)
{
	engine *engine = &fixture->engine;
	char *copy = files_make_directory();
	uint32_t opened = 0;
	uint32_t known;
	uint32_t total;

	make_files_to_read(engine, has_save);
	files_copy_all(engine->host.directory, copy);
	plan_faults(fixture, "read", NULL, 0, 0, 0);
	engine_must_open(engine);
	total = fixture->plan.seen;
	known = count_found(engine, 0, 4 * RECORDS);
	assert_true(known >= 3 * RECORDS && total > 20);
	engine_crash(engine);
	for (uint32_t point = 0; point < total; point++)
	{
		files_copy_all(copy, engine->host.directory);
		assert_int_equal(open_with_failing_read(fixture, point), UDS_ERR_IO);
		must_be(engine, UDS_STATE_OFFLINE, "could not");
		assert_int_equal(engine->error.system_errno, EIO);
		assert_non_null(strstr(engine->error.hint, "uds_resume()"));
		assert_int_equal(engine_resume(engine), UDS_OK);
		assert_int_equal(count_found(engine, 0, 4 * RECORDS), known);
		engine_crash(engine);

		/* A host that would rather do without what cannot be read gets the rest. */
		files_copy_all(copy, engine->host.directory);
		engine->host.accepts_stale = true;
		if (open_with_failing_read(fixture, point) == UDS_OK)
		{
			opened++;
			(void) count_found(engine, 0, 4 * RECORDS);
		}
		engine->host.accepts_stale = false;
		engine_crash(engine);
	}
	/* Control and the header of the volume are not done without. */
	assert_true(opened > total / 2);
	posix_remove_directory(copy);
	free(copy);
}

static void
failing_reads_at_open_lose_nothing(void **state)
{
	(void) state;
	for (int has_save = 0; has_save < 2; has_save++)
	{
		fixture *fixture;

		setup((void **) &fixture);
		fail_reads_in_turn(fixture, has_save != 0);
		teardown((void **) &fixture);
	}
}

/* ---- files that are not ours ------------------------------------------------------------------ */

static void
files_in_use_are_left_alone(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config config = make_config();
	struct engine other;
	char own[sizeof(other.host.directory)];

	engine_must_open(engine);
	post(engine, 0, 2 * RECORDS);
	engine_init(&other, &config);
	snprintf(own, sizeof(own), "%s", other.host.directory);
	snprintf(other.host.directory, sizeof(own), "%s", engine->host.directory);
	atomic_store(&other.host.history, 100000);
	assert_int_equal(engine_open(&other), UDS_ERR_IN_USE);
	must_be(&other, UDS_STATE_OFFLINE, "in use by another server");
	assert_int_equal(engine_reset(&other), UDS_ERR_STATE);
	engine_crash(&other);
	/* The first one has not noticed anything. */
	post(engine, 2 * RECORDS, 2 * RECORDS);
	assert_int_equal(count_found(engine, 0, 4 * RECORDS), 4 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(&other);
	assert_int_equal(count_found(&other, 0, 4 * RECORDS), 4 * RECORDS);
	engine_crash(&other);
	snprintf(other.host.directory, sizeof(own), "%s", own);
	engine_destroy(&other);
}

static void
a_copy_of_another_time_is_opened_when_it_is_accepted(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	char reason[256];

	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine->host.timeline++;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
	uds_index_reason(engine->index, reason, sizeof(reason));
	assert_non_null(strstr(reason, "copy of another time"));
	assert_non_null(strstr(engine->error.hint, "uds.accept_stale"));
	/* Told so, it opens; from then on the files are of this time. */
	engine->host.accepts_stale = true;
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine->host.accepts_stale = false;
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
	/* Files that were used beyond the break are no copy from before it, although control is. */
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(engine);
	{
		uint64_t point = atomic_load(&engine->host.history);

		/* Far enough for what the opening itself adds. */
		atomic_store(&engine->host.history, point + 1000);
		post(engine, 3 * RECORDS, 3 * RECORDS);
		engine_crash(engine);
		engine->host.timeline++;
		atomic_store(&engine->host.history, point);
	}
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
	assert_int_equal(count_found(engine, 3 * RECORDS, 3 * RECORDS), 0);
	/* What is not in the past at all is another case: it is dropped, and the rest opens. */
	assert_int_equal(engine_close(engine), UDS_OK);
	engine->host.timeline = 1;
	atomic_store(&engine->host.history, 1);
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 0);
}

static void
files_that_do_not_fit_are_refused_with_both_values(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);

	engine->config.structure = UDS_STRUCTURE_LISTS;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	must_be(engine, UDS_STATE_OFFLINE, "index \"buckets\"; settings");
	must_be(engine, UDS_STATE_OFFLINE, "index \"lists\".)");
	engine_crash(engine);

	engine->config = make_config();
	engine->config.geometry.chapters = 32;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	must_be(engine, UDS_STATE_OFFLINE, "16 chapters");
	must_be(engine, UDS_STATE_OFFLINE, "32 chapters");
	engine_crash(engine);

	engine->config = make_config();
	engine->config.geometry.record_pages = 2;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	engine_crash(engine);

	engine->config = make_config();
	engine->host.system_identifier = 78;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	must_be(engine, UDS_STATE_OFFLINE, "files belong to another server");
	assert_non_null(strstr(engine->error.hint, "uds_reset()"));
	must_be(engine, UDS_STATE_OFFLINE, "77");
	must_be(engine, UDS_STATE_OFFLINE, "78");
	engine_crash(engine);

	/* Nothing of it has changed the files. */
	engine->host.system_identifier = 77;
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
}

static void
files_with_other_hooks_are_refused(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	engine->config.geometry.sparse_chapters = 8;
	engine->config.geometry.sample_rate = 4;
	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine->config.geometry.sample_rate = 2;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	must_be(engine, UDS_STATE_OFFLINE, "in 4 is a hook in the files, one in 2 with");
	engine_crash(engine);
	engine->config = make_config();
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	must_be(engine, UDS_STATE_OFFLINE, "16 chapters (8 sparse)");
	engine_crash(engine);
	engine->config.geometry.sparse_chapters = 8;
	engine->config.geometry.sample_rate = 4;
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
}

static void
a_reset_makes_files_that_fit(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint8_t key[2][UDS_NAME_KEY_BYTES];

	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS);
	assert_int_equal(uds_index_name_key(engine->index, key[0]), UDS_OK);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine->config.structure = UDS_STRUCTURE_LISTS;
	engine->config.geometry.chapters = 32;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_int_equal(engine_reset(engine), UDS_OK);
	must_be(engine, UDS_STATE_ONLINE, NULL);
	assert_int_equal(uds_index_name_key(engine->index, key[1]), UDS_OK);
	assert_memory_equal(key[0], key[1], UDS_NAME_KEY_BYTES);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 0);
	post(engine, 0, 20 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(engine);
	assert_int_equal(count_found(engine, 0, 20 * RECORDS), 20 * RECORDS);
}

static void
files_that_were_moved_are_refused(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_port port = posix_port(&engine->host, UDS_WORKER_WRITER);
	uds_control control;
	uds_error error;

	engine_must_open(engine);
	assert_int_equal(engine_close(engine), UDS_OK);
	assert_int_equal(uds_control_read(&port, &control, &error), UDS_OK);
	assert_int_equal(control.state, UDS_CONTROL_CLEAN);
	control.state = UDS_CONTROL_MOVED;
	assert_int_equal(uds_control_write(&port, &control, &error), UDS_OK);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	must_be(engine, UDS_STATE_OFFLINE, "moved");
	engine_crash(engine);
	/* States and saves that do not exist. */
	for (uint32_t i = 0; i < 3; i++)
	{
		control.state = i == 0 ? 0 : i == 1 ? UDS_CONTROL_REPLACING + 1 : UDS_CONTROL_CLEAN;
		control.valid_save = i == 2 ? 2 : 0;
		assert_int_equal(uds_control_write(&port, &control, &error), UDS_OK);
		assert_int_equal(engine_open(engine), UDS_ERR_CORRUPT);
		must_be(engine, UDS_STATE_OFFLINE, "makes no sense");
		engine_crash(engine);
	}
}

/* A stop that comes while the index opens ends that; the next attempt starts over. */
static void
a_stop_during_open_is_obeyed(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS);
	engine_crash(engine);
	posix_host_stop(&engine->host, UDS_WORKER_WRITER);
	assert_int_equal(engine_open(engine), UDS_STOPPED);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_RECOVERING);
	uds_writer_detach(engine->writer);
	posix_host_clear_stop(&engine->host, UDS_WORKER_WRITER);
	/* On the same block. */
	assert_int_equal(uds_writer_open(engine->writer_memory,
	                                 engine->index,
	                                 &engine->writer_port,
	                                 &engine->config,
	                                 &engine->writer,
	                                 &engine->error),
	                 UDS_OK);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
}

/* Mark the index failed, as a broken invariant does, and let the writer rebuild it. */
static void
fail_and_rebuild(engine *engine)
{
	uds_block_fail(engine->index, &engine->writer_port, "a test says so");
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_FAILED);
	engine_settle(engine);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_ONLINE);
}

static void
an_index_that_fails_again_is_rebuilt_without_the_save(void **state)
{
	engine *engine = &((fixture *) *state)->engine;

	engine_must_open(engine);
	post(engine, 0, 3 * RECORDS);
	engine_settle(engine);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	fail_and_rebuild(engine);
	assert_int_equal(engine_statistics(engine).recovery_chapters, 0);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
	fail_and_rebuild(engine);
	assert_int_equal(engine_statistics(engine).recovery_chapters, 3);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
	/* A newer save is trusted again. */
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	fail_and_rebuild(engine);
	assert_int_equal(engine_statistics(engine).recovery_chapters, 0);
	assert_int_equal(count_found(engine, 0, 3 * RECORDS), 3 * RECORDS);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_chapter_is_written_again_completely),
		CASE(after_the_second_failure_the_index_is_read_only),
		CASE(requests_that_wait_for_room_learn_of_it),
		CASE(a_crash_while_read_only_loses_only_what_was_not_written),
		CASE(a_failed_save_leaves_the_earlier_one),
		CASE(a_successor_makes_control_durable_before_it_saves),
		CASE(a_failed_save_at_close_is_told_and_recovered_from),
		CASE(a_control_file_that_cannot_be_written_keeps_the_index_offline),
		CASE(a_reset_that_fails_is_tried_again),
		cmocka_unit_test(nothing_promised_is_lost_wherever_the_disk_fails),
		cmocka_unit_test(failing_reads_at_open_lose_nothing),
		CASE(files_in_use_are_left_alone),
		CASE(a_copy_of_another_time_is_opened_when_it_is_accepted),
		CASE(files_that_do_not_fit_are_refused_with_both_values),
		CASE(files_with_other_hooks_are_refused),
		CASE(a_reset_makes_files_that_fit),
		CASE(files_that_were_moved_are_refused),
		CASE(a_stop_during_open_is_obeyed),
		CASE(an_index_that_fails_again_is_rebuilt_without_the_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
