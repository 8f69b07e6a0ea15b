/*
 * test_identity.c: files of another server are refused, or taken over with everything that is in
 * them when that is accepted; what was taken over stays past, what is written afterwards is judged by
 * its stamps, and what was dropped once never comes back.
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
#include "../../src/engine/checkpoint.h"
#include "../../src/engine/control.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define CHAPTERS 32
#define RECORDS  UDS_RECORDS_PER_PAGE

typedef struct fixture
{
	engine engine;
	const char *failing; /* operation on the new control file that fails; NULL: none */
} fixture;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	return fixture->failing != NULL && strcmp(operation, fixture->failing) == 0 &&
	               strcmp(name, UDS_CONTROL_NEW_FILE) == 0
	           ? EIO
	           : 0;
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
	/* Far enough that another server's history can be shorter. */
	atomic_store(&fixture->engine.host.history, 100000);
	engine_must_open(&fixture->engine);
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

static bool
is_known(engine *engine, uint64_t number)
{
	uds_name name = uds_generate_counter_name(number);
	uds_metadata metadata = uds_generate_metadata(number, 1);
	uds_request request = engine_request(engine, UDS_PEEK, &name, NULL);

	if (request.found)
		assert_memory_equal(&request.found_metadata, &metadata, sizeof(metadata));
	return request.found;
}

static uint32_t
count_known(engine *engine, uint64_t first, uint64_t count)
{
	uint32_t known = 0;

	for (uint64_t i = first; i < first + count; i++)
		known += is_known(engine, i);
	return known;
}

/* Another server from now on, whose history is as long as said. */
static void
change_server(engine *engine, uint64_t history)
{
	engine->host.system_identifier++;
	atomic_store(&engine->host.history, history);
}

static uds_control
read_control(engine *engine)
{
	uds_control control;
	uds_error error;

	assert_int_equal(uds_control_read(&engine->writer_port, &control, &error), UDS_OK);
	return control;
}

/* The present point of the history; what follows lies further away than what an open adds to it. */
static uint64_t
take_point(engine *engine)
{
	return atomic_fetch_add(&engine->host.history, 1000);
}

/* Let files of another server be taken over once. */
static void
take_over(engine *engine)
{
	engine->host.accepts_stale = true;
	engine_must_open(engine);
	engine->host.accepts_stale = false;
}

/* ---- files of another server ---------------------------------------------------------------- */

static void
files_of_another_server_are_refused_with_both_identifiers(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	char identifier[32];
	char reason[512];

	post(engine, 0, RECORDS + 10);
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 200000);
	for (int try = 0; try < 2; try++)
	{
		if (try == 0)
			assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
		else
			assert_int_equal(engine_resume(engine), UDS_ERR_MISMATCH);
		assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
		uds_index_reason(engine->index, reason, sizeof(reason));
		assert_non_null(strstr(reason, "files belong to another server"));
		for (int i = 0; i < 2; i++)
		{
			snprintf(identifier,
			         sizeof(identifier),
			         "%llu",
			         (unsigned long long) (engine->host.system_identifier - (uint64_t) i));
			assert_non_null(strstr(reason, identifier));
		}
		assert_non_null(strstr(engine->error.hint, "uds.accept_stale"));
		assert_non_null(strstr(engine->error.hint, "uds_resume()"));
		assert_non_null(strstr(engine->error.hint, "uds_reset()"));
	}
	/* They have not been touched. */
	engine_crash(engine);
	engine->host.system_identifier--;
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).recovery_chapters, 0);
	assert_int_equal(count_known(engine, 0, RECORDS + 10), RECORDS + 10);
}

/* Stamps of the other history may seem past or not: neither counts. */
static void
accepted_files_are_taken_over_with_everything(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	static const uint64_t histories[] = { 1, 300000 };
	uint64_t posted = 0;

	for (int i = 0; i < 2; i++)
	{
		post(engine, posted, 3 * RECORDS + 10);
		posted += 3 * RECORDS + 10;
		assert_int_equal(engine_close(engine), UDS_OK);
		change_server(engine, histories[i]);
		engine->host.timeline = i == 0 ? 3 : 1;
		assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
		engine->host.accepts_stale = true;
		assert_int_equal(engine_resume(engine), UDS_OK);
		engine->host.accepts_stale = false;
		assert_int_equal(count_known(engine, 0, posted), posted);
		assert_int_equal(engine_statistics(engine).dropped_chapters, 0);
		assert_int_equal(read_control(engine).system_identifier, engine->host.system_identifier);
		assert_int_equal(read_control(engine).trusted_generation,
		                 read_control(engine).generation - 1);
	}
	/* Also when they were not closed in order. */
	post(engine, posted, 2 * RECORDS);
	engine_crash(engine);
	change_server(engine, 1);
	take_over(engine);
	assert_int_equal(count_known(engine, 0, posted), posted);
	assert_true(is_known(engine, posted));
}

static void
what_was_taken_over_stays_past(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t posted = 4 * RECORDS + 10;

	post(engine, 0, posted);
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	take_over(engine);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, 0, posted), posted);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, 0, posted), posted);
	/* Neither does it need a save. */
	engine_crash(engine);
	for (uint32_t save = 0; save < 2; save++)
		if (files_exists(engine->host.directory, uds_checkpoint_file_name(save)))
			files_remove(engine->host.directory, uds_checkpoint_file_name(save));
	engine_must_open(engine);
	assert_int_equal(count_known(engine, 0, 4 * RECORDS), 4 * RECORDS);
	assert_int_equal(engine_statistics(engine).dropped_chapters, 0);
}

static void
chapters_written_afterwards_are_judged_by_their_stamps(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t old = 3 * RECORDS;
	uint64_t point;

	post(engine, 0, old);
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	take_over(engine);
	post(engine, old, 2 * RECORDS);
	point = take_point(engine);
	post(engine, old + 2 * RECORDS, 2 * RECORDS);
	engine_crash(engine);
	atomic_store(&engine->host.history, point);
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).dropped_chapters, 2);
	assert_int_equal(count_known(engine, 0, old + 2 * RECORDS), old + 2 * RECORDS);
	assert_int_equal(count_known(engine, old + 2 * RECORDS, 2 * RECORDS), 0);
	/* Back to before the files were taken over: what was there then. */
	engine_crash(engine);
	atomic_store(&engine->host.history, 1);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, 0, old), old);
	assert_int_equal(count_known(engine, old, 4 * RECORDS), 0);
}

/* The save of the other server is past as its chapters are; one that was made since is not. */
static void
saves_made_afterwards_are_judged_by_control(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	for (int is_saved = 0; is_saved < 2; is_saved++)
	{
		uint64_t first = (uint64_t) is_saved * 1000;

		post(engine, first, 10);
		assert_int_equal(engine_close(engine), UDS_OK);
		change_server(engine, 1);
		take_over(engine);
		post(engine, first + 10, 10);
		if (is_saved)
			assert_int_equal(engine_checkpoint(engine), UDS_OK);
		engine_crash(engine);
		atomic_store(&engine->host.history, 1);
		engine_must_open(engine);
		assert_int_equal(count_known(engine, first, 10), is_saved ? 0 : 10);
		assert_int_equal(count_known(engine, first + 10, 10), 0);
	}
}

static void
a_take_over_that_fails_leaves_the_files_to_the_other_server(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	static const char *const operations[] = { "write", "sync" };

	post(engine, 0, RECORDS + 10);
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	for (int i = 0; i < 2; i++)
	{
		fixture->failing = operations[i];
		engine->host.accepts_stale = true;
		assert_int_equal(engine_open(engine), UDS_ERR_IO);
		fixture->failing = NULL;
		engine->host.accepts_stale = false;
		assert_int_equal(engine_resume(engine), UDS_ERR_MISMATCH);
		engine_crash(engine);
	}
	engine->host.system_identifier--;
	atomic_store(&engine->host.history, 200000);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, 0, RECORDS + 10), RECORDS + 10);
}

static void
a_reset_forgets_the_trust(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	post(engine, 0, 3 * RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	take_over(engine);
	assert_int_not_equal(read_control(engine).trusted_generation, 0);
	assert_int_equal(engine_reset(engine), UDS_OK);
	assert_int_equal(read_control(engine).trusted_generation, 0);
	assert_int_equal(count_known(engine, 0, 3 * RECORDS), 0);
	/* Refused files are reset as well. */
	post(engine, 0, RECORDS);
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_int_equal(engine_reset(engine), UDS_OK);
	assert_int_equal(count_known(engine, 0, RECORDS), 0);
	assert_int_equal(read_control(engine).system_identifier, engine->host.system_identifier);
}

/* Other settings, or a control file that makes no sense, are told before anything is taken over. */
static void
files_that_do_not_fit_are_not_taken_over(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_control control;
	uds_error error;

	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	engine->host.accepts_stale = true;
	engine->config = engine_config(1, 2 * CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_string_equal(engine->error.message, "files do not fit the settings");
	assert_int_equal(read_control(engine).system_identifier, engine->host.system_identifier - 1);
	engine_crash(engine);
	engine->config = engine_config(1, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
	for (int i = 0; i < 2; i++)
	{
		control = read_control(engine);
		control.trusted_generation = i == 0 ? control.generation + 1 : 0;
		control.undone_generation = i == 1 ? control.generation + 1 : 0;
		assert_int_equal(uds_control_write(&engine->writer_port, &control, &error), UDS_OK);
		assert_int_equal(engine_open(engine), UDS_ERR_CORRUPT);
		assert_string_equal(engine->error.message, "control file makes no sense");
		engine_crash(engine);
	}
}

/* ---- conversions ---------------------------------------------------------------------------- */

/* Close, and open with another number of chapters; files may be another server's. */
static void
convert(engine *engine, bool is_foreign)
{
	uint32_t chapters = engine->config.geometry.chapters == CHAPTERS ? 2 * CHAPTERS : CHAPTERS;

	engine->config = engine_config(1, chapters, 1, UDS_STRUCTURE_BUCKETS);
	engine->host.accepts_stale = is_foreign;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_int_equal(engine_convert(engine), UDS_OK);
	engine->host.accepts_stale = false;
}

/* Chapters of the other server are trusted in the new volume, and no others are. */
static void
converted_files_keep_the_trust(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t old = 3 * RECORDS + 10;
	uint64_t point;

	for (int is_at_once = 0; is_at_once < 2; is_at_once++)
	{
		uint64_t first = (uint64_t) is_at_once * 100000;

		atomic_store(&engine->host.history, 100000);
		post(engine, first, old);
		assert_int_equal(engine_close(engine), UDS_OK);
		change_server(engine, 1);
		if (is_at_once)
			convert(engine, true);
		else
			take_over(engine);
		post(engine, first + old, 2 * RECORDS);
		point = take_point(engine);
		post(engine, first + old + 2 * RECORDS, 2 * RECORDS);
		assert_int_equal(engine_close(engine), UDS_OK);
		convert(engine, false);
		assert_int_equal(count_known(engine, first, old + 4 * RECORDS), old + 4 * RECORDS);
		engine_crash(engine);
		atomic_store(&engine->host.history, point);
		engine_must_open(engine);
		/* A chapter of both times is judged by its newer part. */
		assert_int_equal(count_known(engine, first, 3 * RECORDS), 3 * RECORDS);
		assert_int_equal(count_known(engine, first + old + 3 * RECORDS, RECORDS), 0);
		assert_int_equal(engine_reset(engine), UDS_OK);
	}
}

/* What is undone is not taken along, and the new numbers do not count as undone. */
static void
conversions_leave_out_what_is_undone(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t point;

	post(engine, 0, 2 * RECORDS);
	point = take_point(engine);
	post(engine, 2 * RECORDS, 4 * RECORDS);
	engine_crash(engine);
	atomic_store(&engine->host.history, point);
	engine_must_open(engine);
	atomic_store(&engine->host.history, point + 100000);
	assert_int_equal(engine_close(engine), UDS_OK);
	convert(engine, false);
	assert_int_equal(count_known(engine, 0, 2 * RECORDS), 2 * RECORDS);
	assert_int_equal(count_known(engine, 2 * RECORDS, 4 * RECORDS), 0);
	post(engine, 10 * RECORDS, 6 * RECORDS);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, 0, 2 * RECORDS), 2 * RECORDS);
	assert_int_equal(count_known(engine, 10 * RECORDS, 6 * RECORDS), 6 * RECORDS);
}

/* ---- what was dropped once ------------------------------------------------------------------ */

/* The history grows past the stamps of chapters that were undone, and they still lie in the file. */
static void
undone_chapters_do_not_come_back(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t point;

	post(engine, 0, 2 * RECORDS);
	point = take_point(engine);
	post(engine, 2 * RECORDS, 4 * RECORDS);
	engine_crash(engine);
	atomic_store(&engine->host.history, point);
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).dropped_chapters, 4);
	/* One of them is overwritten. */
	post(engine, 10 * RECORDS, RECORDS);
	atomic_store(&engine->host.history, point + 100000);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).dropped_chapters, 3);
	assert_int_equal(count_known(engine, 2 * RECORDS, 4 * RECORDS), 0);
	assert_int_equal(count_known(engine, 0, 2 * RECORDS), 2 * RECORDS);
	assert_int_equal(count_known(engine, 10 * RECORDS, RECORDS), RECORDS);
	/* Another server that trusts what this one has left does not get them, either. */
	assert_int_equal(engine_close(engine), UDS_OK);
	change_server(engine, 1);
	take_over(engine);
	assert_int_equal(count_known(engine, 2 * RECORDS, 4 * RECORDS), 0);
	assert_int_equal(count_known(engine, 0, 2 * RECORDS), 2 * RECORDS);
	/* The numbers are used again, and those chapters count. */
	post(engine, 20 * RECORDS, 4 * RECORDS);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).dropped_chapters, 0);
	assert_int_equal(count_known(engine, 20 * RECORDS, 4 * RECORDS), 4 * RECORDS);
	assert_int_equal(count_known(engine, 10 * RECORDS, RECORDS), RECORDS);
}

/* That such chapters lie in a file does not say that the file is of the present. */
static void
a_copy_of_another_time_may_hold_undone_chapters(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t point;

	post(engine, 0, 2 * RECORDS);
	point = take_point(engine);
	post(engine, 2 * RECORDS, 4 * RECORDS);
	engine_crash(engine);
	atomic_store(&engine->host.history, point);
	engine->host.timeline++;
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).dropped_chapters, 4);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine->host.timeline++;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_string_equal(engine->error.message, "files are a copy of another time");
	engine->host.accepts_stale = true;
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(count_known(engine, 0, 2 * RECORDS), 2 * RECORDS);
	assert_int_equal(count_known(engine, 2 * RECORDS, 4 * RECORDS), 0);
}

/* ---- at random ------------------------------------------------------------------------------ */

#define RANDOM_NAMES (20 * RECORDS) /* fewer than the window holds */
#define RANDOM_STEPS 40

/* What a plain model knows of each name. */
typedef struct known
{
	uint64_t posted_at[RANDOM_NAMES]; /* position in the history of the server that posted it */
	uint32_t server[RANDOM_NAMES];
	bool is_there[RANDOM_NAMES];
	bool is_saved[RANDOM_NAMES];
	uint32_t posted;
} known;

static void
step_post(engine *engine, known *known, uds_random *random, uint32_t server)
{
	uint32_t count = (uint32_t) uds_random_below(random, RECORDS);

	for (; count > 0 && known->posted < RANDOM_NAMES; count--)
	{
		known->posted_at[known->posted] = atomic_load(&engine->host.history);
		known->server[known->posted] = server;
		known->is_there[known->posted] = true;
		known->is_saved[known->posted] = false;
		post(engine, known->posted++, 1);
	}
}

static void
note_save(known *known)
{
	memcpy(known->is_saved, known->is_there, sizeof(known->is_saved));
}

/*
 * Compare: what must be there is, what is not there any more never comes back, and what is lost is
 * forgotten by the model.
 */
static void
check(engine *engine, known *known, const bool *must_be_there, uint64_t seed, const char *step)
{
	for (uint32_t i = 0; i < known->posted; i++)
	{
		bool is_there = is_known(engine, i);

		if (is_there && !known->is_there[i])
			fail_msg("seed %llu, %s: name %u is known again", (unsigned long long) seed, step, i);
		if (!is_there && must_be_there[i])
			fail_msg("seed %llu, %s: name %u is lost", (unsigned long long) seed, step, i);
		known->is_there[i] = is_there;
		known->is_saved[i] = known->is_saved[i] && is_there;
	}
}

/* The host goes back to an earlier point of its history: what was posted since is undone. */
static void
step_back(engine *engine, known *known, uds_random *random, uint32_t server)
{
	uint64_t now = atomic_load(&engine->host.history);
	uint64_t point = now - uds_random_below(random, UDS_MIN(now, UINT64_C(30)));

	engine_crash(engine);
	atomic_store(&engine->host.history, point);
	engine_must_open(engine);
	for (uint32_t i = 0; i < known->posted; i++)
	{
		/* Opening has taken one stamp before it judged. */
		if (known->server[i] == server && known->posted_at[i] > point)
			known->is_there[i] = false;
	}
}

static void
live(engine *engine, uint64_t seed)
{
	static const bool nothing[RANDOM_NAMES];
	known *known = calloc(1, sizeof(*known));
	uds_random random;
	uint32_t server = 0;

	uds_random_init(&random, seed);
	for (uint32_t step = 0; step < RANDOM_STEPS; step++)
	{
		switch (uds_random_below(&random, 10))
		{
			case 0:
				assert_int_equal(engine_checkpoint(engine), UDS_OK);
				note_save(known);
				break;
			case 1:
				assert_int_equal(engine_close(engine), UDS_OK);
				engine_must_open(engine);
				check(engine, known, known->is_there, seed, "restart");
				note_save(known);
				break;
			case 2:
				engine_crash(engine);
				engine_must_open(engine);
				check(engine, known, known->is_saved, seed, "crash");
				break;
			case 3:
				step_back(engine, known, &random, server);
				check(engine, known, nothing, seed, "way back");
				break;
			case 4:
				assert_int_equal(engine_close(engine), UDS_OK);
				server++;
				change_server(engine, uds_random_range(&random, 1, 1000));
				take_over(engine);
				check(engine, known, known->is_there, seed, "another server");
				note_save(known);
				break;
			case 5:
				assert_int_equal(engine_close(engine), UDS_OK);
				convert(engine, false);
				check(engine, known, known->is_there, seed, "conversion");
				note_save(known);
				break;
			case 6:
				/* Other work of the host. */
				atomic_fetch_add(&engine->host.history, uds_random_below(&random, 50));
				break;
			default:
				step_post(engine, known, &random, server);
				break;
		}
	}
	free(known);
}

static void
random_histories_lose_and_regain_nothing(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 60; seed++)
	{
		fixture *fixture;

		setup((void **) &fixture);
		live(&fixture->engine, seed);
		teardown((void **) &fixture);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(files_of_another_server_are_refused_with_both_identifiers),
		CASE(accepted_files_are_taken_over_with_everything),
		CASE(what_was_taken_over_stays_past),
		CASE(chapters_written_afterwards_are_judged_by_their_stamps),
		CASE(saves_made_afterwards_are_judged_by_control),
		CASE(a_take_over_that_fails_leaves_the_files_to_the_other_server),
		CASE(a_reset_forgets_the_trust),
		CASE(files_that_do_not_fit_are_not_taken_over),
		CASE(converted_files_keep_the_trust),
		CASE(conversions_leave_out_what_is_undone),
		CASE(undone_chapters_do_not_come_back),
		CASE(a_copy_of_another_time_may_hold_undone_chapters),
		cmocka_unit_test(random_histories_lose_and_regain_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
