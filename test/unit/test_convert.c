/*
 * test_convert.c: files that do not fit the configuration are converted with everything that the new
 * window has room for, the newest versions; whatever fails on the way, and wherever it ends, one of
 * the two configurations finds everything that was there.
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

#define RECORDS   UDS_RECORDS_PER_PAGE
#define NAMES_MAX 12000

typedef enum end
{
	CLOSED, /* in order */
	SAVED,  /* crashed, some time after a save */
	CRASHED /* crashed without one */
} end;

typedef struct fixture
{
	engine engine;
	/* The fault: operation number fails, or it and all after it. */
	uint32_t operations;
	uint32_t failing;
	bool is_crash;
	bool is_stop;
} fixture;

/* What an index says about a name. */
typedef struct answer
{
	bool is_known;
	uds_metadata metadata;
} answer;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;
	uint32_t number = ++fixture->operations;

	(void) operation;
	(void) name;
	if (fixture->failing == 0 || number < fixture->failing)
		return 0;
	if (fixture->is_stop)
	{
		posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
		return 0;
	}
	return number == fixture->failing || fixture->is_crash ? EIO : 0;
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(1, 16, 1, UDS_STRUCTURE_BUCKETS);

	engine_init(&fixture->engine, &config);
	fixture->engine.host.is_quiet = true;
	fixture->engine.host.fault = fail_operation;
	fixture->engine.host.fault_context = fixture;
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	fixture->failing = 0;
	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

static uds_config
dense_config(uint32_t record_pages, uint32_t chapters, uint32_t zone_count)
{
	return engine_config(record_pages, chapters, zone_count, UDS_STRUCTURE_BUCKETS);
}

static uds_config
sparse_config(uint32_t record_pages, uint32_t chapters, uint32_t zone_count)
{
	uds_config config = dense_config(record_pages, chapters, zone_count);

	config.geometry.sparse_chapters = chapters * 3 / 4;
	config.geometry.sample_rate = 4;
	return config;
}

/* ---- contents ----------------------------------------------------------------------------------- */

static void
request(engine *engine, uds_operation operation, uint64_t counter, uint32_t version)
{
	uds_name name = uds_generate_counter_name(counter);
	uds_metadata metadata = uds_generate_metadata(counter, version);

	(void) engine_request(engine, operation, &name, &metadata);
}

/* Post names, and now and then update or delete an earlier one. */
static void
fill(engine *engine, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
	{
		request(engine, UDS_POST, i, 1);
		if (i % 10 == 5)
			request(engine, UDS_UPDATE, i - i % 100, 2);
		if (i % 10 == 7)
			request(engine, UDS_DELETE, i / 2, 0);
	}
	engine_settle(engine);
}

static void
finish(engine *engine, end end, uint64_t count)
{
	if (end == SAVED)
	{
		assert_int_equal(engine_checkpoint(engine), UDS_OK);
		for (uint64_t i = count; i < count + 2 * RECORDS; i++)
			request(engine, UDS_POST, i, 1);
		engine_settle(engine);
	}
	if (end == CLOSED)
		assert_int_equal(engine_close(engine), UDS_OK);
	else
		engine_crash(engine);
}

static void
ask(engine *engine, answer *answers)
{
	for (uint64_t i = 0; i < NAMES_MAX; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_request request = engine_request(engine, UDS_PEEK, &name, NULL);

		answers[i].is_known = request.found;
		answers[i].metadata = request.found_metadata;
	}
}

/* Compare with what was known: more never is, and how much less. */
static uint32_t
count_lost(engine *engine, const answer *before)
{
	answer *after = calloc(NAMES_MAX, sizeof(*after));
	uint32_t lost = 0;

	ask(engine, after);
	for (uint64_t i = 0; i < NAMES_MAX; i++)
	{
		if (after[i].is_known)
		{
			assert_true(before[i].is_known);
			assert_memory_equal(&after[i].metadata, &before[i].metadata, sizeof(uds_metadata));
		}
		else if (before[i].is_known)
			lost++;
	}
	free(after);
	return lost;
}

static uint32_t
count_known(const answer *answers)
{
	uint32_t known = 0;

	for (uint64_t i = 0; i < NAMES_MAX; i++)
		known += answers[i].is_known;
	return known;
}

/*
 * Make files with count names and more, let them end in a way, and ask what they know; afterwards
 * the index is closed or has crashed again without having changed anything that counts.
 */
static void
make_files(fixture *fixture, const uds_config *config, end end, uint64_t count, answer *answers)
{
	engine *engine = &fixture->engine;

	engine->config = *config;
	engine_must_open(engine);
	fill(engine, count);
	finish(engine, end, count);
	engine_must_open(engine);
	ask(engine, answers);
	if (end == CLOSED)
		assert_int_equal(engine_close(engine), UDS_OK);
	else
		engine_crash(engine);
}

/* Open with a configuration that the files do not fit. */
static void
open_unfit(fixture *fixture, const uds_config *config)
{
	engine *engine = &fixture->engine;

	engine->config = *config;
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_non_null(strstr(engine->error.message, "files do not fit the settings"));
	assert_non_null(strstr(engine->error.hint, "uds_convert()"));
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
}

/* ---- what is kept ------------------------------------------------------------------------------- */

/* Convert from one configuration to another: how many names are lost. */
static uint32_t
convert(fixture *fixture, const uds_config *from, const uds_config *to, end end, uint64_t count)
{
	engine *engine = &fixture->engine;
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	uint32_t lost;

	make_files(fixture, from, end, count, answers);
	open_unfit(fixture, to);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_ONLINE);
	lost = count_lost(engine, answers);
	assert_false(files_exists(engine->host.directory, UDS_VOLUME_NEW_FILE));

	/* Once more is nothing, and what it made stays. */
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(engine);
	assert_int_equal(count_lost(engine, answers), lost);
	for (uint64_t i = NAMES_MAX; i < NAMES_MAX + RECORDS; i++)
		request(engine, UDS_POST, i, 1);
	engine_crash(engine);
	posix_remove_directory(engine->host.directory);
	free(answers);
	return lost;
}

static void
a_larger_window_keeps_everything(void **state)
{
	static const uint64_t counts[] = { 0, 20, 5 * RECORDS + 40, 40 * RECORDS + 17 };
	uds_config from = dense_config(2, 16, 1);
	uds_config to[] = {
		dense_config(1, 64, 1),
		dense_config(2, 32, 3),
		dense_config(4, 16, 2),
		dense_config(5, 64, 1),
	};

	for (uint32_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
	{
		for (uint32_t j = 0; j < 4; j++)
		{
			for (int end = CLOSED; end <= CRASHED; end++)
				assert_int_equal(convert(*state, &from, &to[i], (enum end) end, counts[j]), 0);
		}
	}
}

static void
another_structure_keeps_everything(void **state)
{
	uds_config from = dense_config(2, 16, 1);
	uds_config to = from;

	to.structure = UDS_STRUCTURE_LISTS;
	for (int end = CLOSED; end <= CRASHED; end++)
	{
		/* A volume that is full loses the chapter that the new open one takes the place of. */
		assert_int_equal(convert(*state, &from, &to, (enum end) end, 10 * RECORDS), 0);
		assert_int_equal(convert(*state, &to, &from, (enum end) end, 10 * RECORDS), 0);
	}
}

static void
a_smaller_window_keeps_the_newest(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config from = dense_config(2, 32, 2);
	uds_config to = dense_config(1, 16, 1);
	uint64_t room = 15 * RECORDS;
	uint64_t count = 30 * RECORDS;
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	uint32_t kept;

	make_files(fixture, &from, CLOSED, count, answers);
	open_unfit(fixture, &to);
	assert_int_equal(engine_convert(engine), UDS_OK);
	kept = count_known(answers) - count_lost(engine, answers);
	assert_true(kept > room / 2 && kept <= room);
	/* A fifth of what was written are updates and tombstones. */
	for (uint64_t i = count - room * 2 / 3; i < count; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		if (answers[i].is_known)
			assert_true(engine_request(engine, UDS_PEEK, &name, NULL).found);
	}
	assert_int_equal(engine_statistics(engine).newest_chapter, 16);
	free(answers);
}

/* Names that are only posted are all found: in sparse chapters those that are hooks. */
static void
post_and_convert(fixture *fixture, const uds_config *from, const uds_config *to, end end)
{
	engine *engine = &fixture->engine;
	uint64_t count = 20 * RECORDS;
	uint64_t sure =
		end == CRASHED ? count - 2 * RECORDS : count; /* chapters that are surely written */
	uint64_t dense = to->geometry.chapters - to->geometry.sparse_chapters;

	engine->config = *from;
	engine_must_open(engine);
	for (uint64_t i = 0; i < count; i++)
		request(engine, UDS_POST, i, 1);
	engine_settle(engine);
	finish(engine, end, count);
	open_unfit(fixture, to);
	assert_int_equal(engine_convert(engine), UDS_OK);
	for (uint64_t i = 0; i < sure; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);
		uds_request found;

		if (to->geometry.sample_rate != 0 && i + (dense - 3) * RECORDS < count &&
		    uds_name_sampling_field(&name) % to->geometry.sample_rate != 0)
			continue;
		found = engine_request(engine, UDS_PEEK, &name, NULL);
		assert_true(found.found);
		assert_memory_equal(&found.found_metadata, &metadata, sizeof(metadata));
	}
	engine_crash(engine);
	posix_remove_directory(engine->host.directory);
}

static void
sparse_becomes_dense_and_dense_sparse(void **state)
{
	uds_config dense = dense_config(1, 64, 2);
	uds_config sparse = sparse_config(1, 32, 1);
	uds_config large = sparse_config(2, 64, 3);

	for (int end = CLOSED; end <= CRASHED; end++)
	{
		post_and_convert(*state, &sparse, &dense, (enum end) end);
		post_and_convert(*state, &dense, &sparse, (enum end) end);
		post_and_convert(*state, &sparse, &large, (enum end) end);
	}
}

static void
a_damaged_page_costs_its_records_only(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config from = dense_config(2, 16, 1);
	uds_config to = dense_config(2, 32, 1);
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	uds_geometry geometry;
	size_t offset;

	assert_int_equal(uds_geometry_init(&geometry, &from.geometry), UDS_OK);
	engine->config = from;
	engine_must_open(engine);
	for (uint64_t i = 0; i < 6 * RECORDS; i++)
		request(engine, UDS_POST, i, 1);
	engine_settle(engine);
	ask(engine, answers);
	assert_int_equal(engine_close(engine), UDS_OK);
	offset = (uds_geometry_chapter_page(&geometry, 1) + geometry.index_pages) * UDS_PAGE_BYTES;
	files_flip_bit(engine->host.directory, UDS_VOLUME_FILE, offset + 500, 3);
	open_unfit(fixture, &to);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_in_range(count_lost(engine, answers), 1, RECORDS);
	free(answers);
}

/* ---- what is refused ---------------------------------------------------------------------------- */

static void
what_cannot_be_converted_is_told(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config from = dense_config(2, 16, 1);
	uds_config to = dense_config(1, 64, 1);
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	char scratch[64];
	uds_error error;

	make_files(fixture, &from, CLOSED, 1000, answers);
	open_unfit(fixture, &to);
	assert_int_equal(uds_writer_convert(engine->writer, scratch, sizeof(scratch), &error),
	                 UDS_ERR_ARGUMENT);
	engine->host.system_identifier++;
	assert_int_equal(engine_convert(engine), UDS_ERR_MISMATCH);
	assert_non_null(strstr(engine->error.message, "another server"));
	engine->host.system_identifier--;
	files_resize(engine->host.directory, UDS_CONTROL_FILE, 100);
	assert_int_equal(engine_convert(engine), UDS_ERR_CORRUPT);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
	files_remove(engine->host.directory, UDS_CONTROL_FILE);
	assert_int_equal(engine_convert(engine), UDS_ERR_CORRUPT);
	assert_non_null(strstr(engine->error.message, "missing beside a volume"));
	engine_crash(engine);

	/* The volume is missing. */
	posix_remove_directory(engine->host.directory);
	make_files(fixture, &from, CLOSED, 1000, answers);
	files_remove(engine->host.directory, UDS_VOLUME_FILE);
	open_unfit(fixture, &to);
	assert_int_equal(engine_convert(engine), UDS_ERR_CORRUPT);
	assert_non_null(strstr(engine->error.message, "volume is missing"));
	free(answers);
}

/* Files of an index that is open fit. */
static void
an_index_that_is_open_is_left_alone(void **state)
{
	static const uds_state others[] = { UDS_STATE_READ_ONLY,
		                                UDS_STATE_FAILED,
		                                UDS_STATE_RECOVERING };
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	void *scratch = malloc(UDS_CONVERT_BYTES);
	uds_control before;
	uds_control after;
	uds_error error;

	engine_must_open(engine);
	fill(engine, 5 * RECORDS);
	ask(engine, answers);
	assert_int_equal(uds_control_read(&engine->writer_port, &before, &error), UDS_OK);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_ONLINE);
	assert_int_equal(engine_suspend(engine, false), UDS_OK);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_int_equal(uds_index_state(engine->index), UDS_STATE_SUSPENDED);
	assert_int_equal(engine_resume(engine), UDS_OK);
	for (uint32_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		uds_block_set_state(engine->index, others[i], "as if");
		assert_int_equal(uds_writer_convert(engine->writer, scratch, UDS_CONVERT_BYTES, &error),
		                 UDS_OK);
		assert_int_equal(uds_index_state(engine->index), others[i]);
	}
	uds_block_set_state(engine->index, UDS_STATE_ONLINE, NULL);
	free(scratch);
	assert_int_equal(uds_control_read(&engine->writer_port, &after, &error), UDS_OK);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(count_lost(engine, answers), 0);
	free(answers);
}

/* ---- interruptions ------------------------------------------------------------------------------ */

typedef enum fault
{
	FAILS, /* one operation fails, then the conversion is tried again */
	DIES,  /* nothing works from one operation on, then both configurations are tried */
	STOPS  /* the host asks to stop, then the same */
} fault;

/* One of the configurations must open, and know everything. */
static void
one_opens(fixture *fixture, const uds_config *from, const uds_config *to, const answer *answers)
{
	engine *engine = &fixture->engine;

	engine->config = *from;
	if (engine_open(engine) == UDS_OK)
	{
		assert_int_equal(count_lost(engine, answers), 0);
		assert_false(files_exists(engine->host.directory, UDS_VOLUME_NEW_FILE));
		return;
	}
	engine_crash(engine);
	engine->config = *to;
	assert_int_equal(engine_open(engine), UDS_OK);
	assert_int_equal(count_lost(engine, answers), 0);
}

static void
interrupt(fixture *fixture, fault fault, end end)
{
	engine *engine = &fixture->engine;
	uds_config from = dense_config(2, 16, 1);
	uds_config to = dense_config(1, 64, 1);
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	char *kept = files_make_directory();
	uint32_t broken = 0;
	uds_status status;

	make_files(fixture, &from, end, 3 * RECORDS, answers);
	files_copy_all(engine->host.directory, kept);
	do
	{
		files_copy_all(kept, engine->host.directory);
		open_unfit(fixture, &to);
		fixture->operations = 0;
		fixture->failing = ++broken;
		fixture->is_crash = fault == DIES;
		fixture->is_stop = fault == STOPS;
		status = engine_convert(engine);
		fixture->failing = 0;
		posix_host_clear_stop(&engine->host, UDS_WORKER_WRITER);
		if (fault == FAILS && status != UDS_OK)
		{
			assert_int_equal(uds_index_state(engine->index), UDS_STATE_OFFLINE);
			assert_int_equal(engine_convert(engine), UDS_OK);
			assert_int_equal(count_lost(engine, answers), 0);
			engine_crash(engine);
		}
		else
		{
			engine_crash(engine);
			one_opens(fixture, &from, &to, answers);
			engine_crash(engine);
		}
	} while (status != UDS_OK || fixture->operations >= broken);
	/* Every step was reached. */
	assert_true(broken > 20);
	posix_remove_directory(kept);
	free(kept);
	free(answers);
}

static void
a_failed_operation_can_be_tried_again(void **state)
{
	interrupt(*state, FAILS, CLOSED);
	posix_remove_directory(((fixture *) *state)->engine.host.directory);
	interrupt(*state, FAILS, SAVED);
}

static void
an_end_at_any_point_loses_nothing(void **state)
{
	interrupt(*state, DIES, CLOSED);
	posix_remove_directory(((fixture *) *state)->engine.host.directory);
	interrupt(*state, DIES, CRASHED);
}

static void
a_stop_at_any_point_loses_nothing(void **state)
{
	interrupt(*state, STOPS, CLOSED);
}

/* Completed only in control, and then the settings change again. */
static void
settings_that_change_again_are_converted_to(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config from = dense_config(2, 16, 1);
	uds_config to = dense_config(1, 64, 1);
	uds_config last = dense_config(4, 16, 2);
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	uint32_t operation = 0;
	uds_control control;
	uds_error error;

	make_files(fixture, &from, CLOSED, 5 * RECORDS, answers);
	do
	{
		open_unfit(fixture, &to);
		fixture->operations = 0;
		fixture->failing = ++operation;
		fixture->is_crash = true;
		assert_int_not_equal(engine_convert(engine), UDS_OK);
		fixture->failing = 0;
		engine_crash(engine);
		assert_int_equal(uds_control_read(&engine->writer_port, &control, &error), UDS_OK);
	} while (control.state != UDS_CONTROL_REPLACING);
	assert_true(files_exists(engine->host.directory, UDS_VOLUME_NEW_FILE));
	open_unfit(fixture, &last);
	assert_int_equal(engine_convert(engine), UDS_OK);
	assert_int_equal(count_lost(engine, answers), 0);
	free(answers);
}

static void
a_converted_volume_that_is_missing_is_told(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config config = dense_config(2, 16, 1);
	answer *answers = calloc(NAMES_MAX, sizeof(*answers));
	uds_control control;
	uds_error error;

	make_files(fixture, &config, CLOSED, 1000, answers);
	assert_int_equal(uds_control_read(&engine->writer_port, &control, &error), UDS_OK);
	control.nonce++;
	control.state = UDS_CONTROL_REPLACING;
	assert_int_equal(uds_control_write(&engine->writer_port, &control, &error), UDS_OK);
	assert_int_equal(engine_open(engine), UDS_ERR_CORRUPT);
	assert_non_null(strstr(engine->error.message, "the converted volume is missing"));
	free(answers);
}

/* ---- time ----------------------------------------------------------------------------------------- */

static void
history_still_judges_converted_chapters(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_config from = dense_config(1, 16, 1);
	uds_config to = dense_config(1, 64, 1);
	uint64_t half;

	engine->config = from;
	engine_must_open(engine);
	for (uint64_t i = 0; i < 5 * RECORDS; i++)
		request(engine, UDS_POST, i, 1);
	engine_settle(engine);
	half = atomic_fetch_add(&engine->host.history, 1000);
	for (uint64_t i = 5 * RECORDS; i < 10 * RECORDS; i++)
		request(engine, UDS_POST, i, 1);
	engine_settle(engine);
	engine_crash(engine);
	open_unfit(fixture, &to);
	assert_int_equal(engine_convert(engine), UDS_OK);
	engine_crash(engine);

	/* The host goes back to where half of it had been stored. */
	atomic_store(&engine->host.history, half);
	assert_int_equal(engine_open(engine), UDS_OK);
	for (uint64_t i = 0; i < 10 * RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		assert_int_equal(engine_request(engine, UDS_PEEK, &name, NULL).found, i < 5 * RECORDS);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_larger_window_keeps_everything),
		CASE(another_structure_keeps_everything),
		CASE(a_smaller_window_keeps_the_newest),
		CASE(sparse_becomes_dense_and_dense_sparse),
		CASE(a_damaged_page_costs_its_records_only),
		CASE(what_cannot_be_converted_is_told),
		CASE(an_index_that_is_open_is_left_alone),
		CASE(a_failed_operation_can_be_tried_again),
		CASE(an_end_at_any_point_loses_nothing),
		CASE(a_stop_at_any_point_loses_nothing),
		CASE(settings_that_change_again_are_converted_to),
		CASE(a_converted_volume_that_is_missing_is_told),
		CASE(history_still_judges_converted_chapters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
