/*
 * test_triage.c: the triage worker asks for the sparse chapters of the hooks that it is shown, in
 * all zones, and for nothing else; it stays out while the writer has the index.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../../src/engine/bucket_zones.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"

#define ZONES  3
#define FILLED 20 /* chapters: 0..12 are sparse then */

typedef struct fixture
{
	engine engine;
	uds_port port;
	void *memory;
	uds_triage *triage;
	uds_name names[UDS_BATCH_MAX];
} fixture;

static uds_status
attach(fixture *fixture)
{
	return uds_triage_attach(fixture->memory,
	                         fixture->engine.index,
	                         &fixture->port,
	                         &fixture->triage,
	                         &fixture->engine.error);
}

static void
begin(fixture *fixture, const uds_config *config)
{
	engine_init(&fixture->engine, config);
	engine_must_open(&fixture->engine);
	fixture->port = posix_port(&fixture->engine.host, UDS_WORKER_TRIAGE);
	fixture->memory = calloc(1, uds_triage_size());
	assert_int_equal(attach(fixture), UDS_OK);
}

static void
end(fixture *fixture)
{
	uds_triage_detach(fixture->triage);
	free(fixture->memory);
	engine_destroy(&fixture->engine);
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = sparse_config(ZONES, UDS_STRUCTURE_BUCKETS);

	config.reader_count = 1;
	begin(fixture, &config);
	sparse_fill(&fixture->engine, FILLED);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	end(fixture);
	free(fixture);
	return 0;
}

/* Show the names of a range of numbers. */
static uds_status
show(fixture *fixture, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fixture->names[i] = uds_generate_counter_name(first + i);
	return uds_triage_execute(fixture->triage, fixture->names, count);
}

static bool
is_loading(fixture *fixture)
{
	return uds_sparse_cache_pending(fixture->engine.index->sparse_cache) != 0;
}

static bool
is_woken(fixture *fixture, uds_worker_id worker)
{
	posix_worker *cell = &fixture->engine.host.workers[worker];
	bool was_woken = cell->is_woken;

	cell->is_woken = false;
	return was_woken;
}

static void
hooks_of_sparse_chapters_are_asked_for(void **state)
{
	fixture *fixture = *state;
	uint64_t hook = sparse_hook(2, 20);
	uds_port port = posix_port(&fixture->engine.host, UDS_WORKER_READER);
	void *memory = calloc(1, uds_reader_size());
	uds_reader *reader;

	assert_int_equal(uds_reader_attach(memory,
	                                   fixture->engine.index,
	                                   &port,
	                                   0,
	                                   &reader,
	                                   &fixture->engine.error),
	                 UDS_OK);
	assert_int_equal(uds_reader_work(reader), UDS_NOT_FOUND);
	(void) is_woken(fixture, UDS_WORKER_READER);
	assert_int_equal(show(fixture, hook, 1), UDS_OK);
	assert_true(is_woken(fixture, UDS_WORKER_READER));
	assert_int_equal(uds_reader_work(reader), UDS_OK);
	assert_int_equal(uds_reader_work(reader), UDS_NOT_FOUND);
	assert_int_equal(engine_statistics(&fixture->engine).sparse_chapters, 1);
	/* It is there: nobody has to do anything. */
	assert_int_equal(show(fixture, hook, 1), UDS_OK);
	assert_false(is_woken(fixture, UDS_WORKER_READER));
	assert_false(is_loading(fixture));
	uds_reader_detach(reader);
	free(memory);
}

/* The neighbours, in whatever zone, wait for what triage has asked for. */
static void
neighbours_in_all_zones_are_found_after_triage(void **state)
{
	fixture *fixture = *state;
	uint64_t first = 2 * SPARSE_RECORDS + 60;
	uint32_t zones_found = 0;

	assert_int_equal(show(fixture, first, 100), UDS_OK);
	assert_true(is_loading(fixture));
	for (uint64_t number = first; number < first + 100; number++)
	{
		uds_name name = uds_generate_counter_name(number);
		uds_request request = sparse_request(&fixture->engine, UDS_PEEK, number);

		assert_true(request.found);
		assert_int_equal(request.region, UDS_REGION_SPARSE);
		zones_found |= 1u << uds_index_zone_of(fixture->engine.index, &name);
	}
	assert_int_equal(zones_found, (1u << ZONES) - 1);
	/* Several zones do not fill their chapters to the last record: they lie in two at the most. */
	assert_in_range(engine_statistics(&fixture->engine).sparse_loads, 1, 2);
}

static void
other_names_ask_for_nothing(void **state)
{
	fixture *fixture = *state;

	/* Of a dense chapter, of the open one, unknown ones, and those that are no hooks. */
	assert_int_equal(show(fixture, 15 * SPARSE_RECORDS, 100), UDS_OK);
	assert_int_equal(show(fixture, (FILLED - 1) * SPARSE_RECORDS, 100), UDS_OK);
	assert_int_equal(show(fixture, 1000000, 100), UDS_OK);
	assert_int_equal(show(fixture, sparse_other(2, 0), 1), UDS_OK);
	assert_int_equal(show(fixture, 2 * SPARSE_RECORDS, 0), UDS_OK);
	assert_false(is_loading(fixture));
}

static void
names_that_need_triage_are_hooks_of_several_zones(void **state)
{
	fixture *fixture = *state;
	uds_name hook = uds_generate_counter_name(sparse_hook(2, 0));
	uds_name other = uds_generate_counter_name(sparse_other(2, 0));
	uds_config config = sparse_config(1, UDS_STRUCTURE_BUCKETS);
	engine single;

	assert_true(uds_index_needs_triage(fixture->engine.index, &hook));
	assert_false(uds_index_needs_triage(fixture->engine.index, &other));
	engine_init(&single, &config);
	engine_must_open(&single);
	assert_false(uds_index_needs_triage(single.index, &hook));
	assert_int_equal(engine_close(&single), UDS_OK);
	config.geometry.sparse_chapters = 0;
	config.geometry.sample_rate = 0;
	config.zone_count = 2;
	single.config = config;
	posix_remove_directory(single.host.directory);
	engine_must_open(&single);
	assert_false(uds_index_needs_triage(single.index, &hook));
	engine_destroy(&single);
}

static void
a_dense_index_has_nothing_to_ask_for(void **state)
{
	uds_config config = engine_config(SPARSE_RECORD_PAGES, SPARSE_CHAPTERS, 2, UDS_STRUCTURE_LISTS);
	fixture *fixture = calloc(1, sizeof(*fixture));

	(void) state;
	begin(fixture, &config);
	assert_int_equal(show(fixture, 0, 100), UDS_OK);
	end(fixture);
	free(fixture);
}

static void
too_many_names_are_refused(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(show(fixture, 2 * SPARSE_RECORDS, UDS_BATCH_MAX), UDS_OK);
	assert_int_equal(uds_triage_execute(fixture->triage, fixture->names, UDS_BATCH_MAX + 1),
	                 UDS_ERR_ARGUMENT);
}

static void
triage_stays_out_while_the_writer_has_the_index(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;
	uint64_t hook = sparse_hook(2, 20);

	atomic_store(&index->zones_wanted, 1);
	(void) is_woken(fixture, UDS_WORKER_WRITER);
	assert_int_equal(show(fixture, hook, 1), UDS_PENDING);
	/* The writer may just have seen it inside. */
	assert_true(is_woken(fixture, UDS_WORKER_WRITER));
	assert_false(is_loading(fixture));
	(void) is_woken(fixture, UDS_WORKER_TRIAGE);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	assert_true(is_woken(fixture, UDS_WORKER_TRIAGE));
	assert_int_equal(show(fixture, hook, 1), UDS_OK);
	assert_true(is_loading(fixture));
}

static void
the_writer_waits_for_a_triage_worker_that_is_inside(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;

	assert_true(uds_block_enter(index, &fixture->port, UDS_GUEST_TRIAGE));
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_STOPPED);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	uds_block_leave(index, &fixture->port, UDS_GUEST_TRIAGE);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
}

static void
assert_reason(fixture *fixture, const char *expected)
{
	char reason[256];

	assert_int_equal(uds_index_state(fixture->engine.index), UDS_STATE_FAILED);
	uds_index_reason(fixture->engine.index, reason, sizeof(reason));
	assert_string_equal(reason, expected);
}

static void
assert_rebuilt(fixture *fixture)
{
	assert_int_equal(show(fixture, sparse_hook(2, 20), 1), UDS_PENDING);
	(void) is_woken(fixture, UDS_WORKER_TRIAGE);
	engine_settle(&fixture->engine);
	assert_int_equal(uds_index_state(fixture->engine.index), UDS_STATE_ONLINE);
	assert_true(is_woken(fixture, UDS_WORKER_TRIAGE));
	assert_int_equal(show(fixture, sparse_hook(2, 20), 1), UDS_OK);
	assert_true(is_loading(fixture));
}

static void
a_triage_worker_that_died_inside_makes_the_index_failed(void **state)
{
	fixture *fixture = *state;

	fixture->engine.host.is_quiet = true;
	assert_true(uds_block_enter(fixture->engine.index, &fixture->port, UDS_GUEST_TRIAGE));
	assert_int_equal(attach(fixture), UDS_ERR_INTERNAL);
	assert_reason(fixture, "the triage worker died inside the index");
	assert_rebuilt(fixture);
}

static void
a_volume_index_that_makes_no_sense_makes_the_index_failed(void **state)
{
	fixture *fixture = *state;
	uds_index_buckets *buckets =
		fixture->engine.index->volume_index.subs[UDS_SUB_INDEX_HOOKS].buckets;
	uds_name name = uds_generate_counter_name(sparse_hook(2, 20));

	fixture->engine.host.is_quiet = true;
	memset(&buckets->buckets[uds_bucket_zones_number(buckets, &name)], 0xff, sizeof(uds_bucket));
	assert_int_equal(show(fixture, sparse_hook(2, 20), 1), UDS_ERR_INTERNAL);
	assert_reason(fixture, "the volume index makes no sense to the triage worker");
	assert_int_equal(atomic_load(&fixture->engine.index->guests[UDS_GUEST_TRIAGE].is_inside), 0);
	assert_rebuilt(fixture);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(hooks_of_sparse_chapters_are_asked_for),
		CASE(neighbours_in_all_zones_are_found_after_triage),
		CASE(other_names_ask_for_nothing),
		CASE(names_that_need_triage_are_hooks_of_several_zones),
		cmocka_unit_test(a_dense_index_has_nothing_to_ask_for),
		CASE(too_many_names_are_refused),
		CASE(triage_stays_out_while_the_writer_has_the_index),
		CASE(the_writer_waits_for_a_triage_worker_that_is_inside),
		CASE(a_triage_worker_that_died_inside_makes_the_index_failed),
		CASE(a_volume_index_that_makes_no_sense_makes_the_index_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
