/*
 * test_sparse_loads.c: requests that wait for loads of sparse chapters are answered, and right,
 * whoever performs the loads, comes, goes or takes the index meanwhile, and whatever fails.
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
#include "../support/files.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"

#define FILLED  20 /* chapters: 0..12 are sparse then */
#define READERS 2
#define BATCH   48

typedef struct fixture
{
	engine engine;
	uds_port ports[READERS];
	void *memory[READERS];
	uds_reader *readers[READERS];
	uds_request requests[BATCH];
	_Atomic bool must_end;
	_Atomic uint64_t random; /* of the delays */
} fixture;

static void
begin(fixture *fixture, uint32_t zones)
{
	uds_config config = sparse_config(zones, UDS_STRUCTURE_BUCKETS);

	config.reader_count = READERS;
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	sparse_fill(&fixture->engine, FILLED);
	for (uint32_t i = 0; i < READERS; i++)
	{
		fixture->memory[i] = calloc(1, uds_reader_size());
		fixture->ports[i] = posix_port(&fixture->engine.host, UDS_WORKER_READER + i);
	}
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));

	begin(fixture, 1);
	*state = fixture;
	return 0;
}

static int
setup_two_zones(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));

	begin(fixture, 2);
	*state = fixture;
	return 0;
}

static void
attach(fixture *fixture, uint32_t number)
{
	assert_int_equal(uds_reader_attach(fixture->memory[number],
	                                   fixture->engine.index,
	                                   &fixture->ports[number],
	                                   number,
	                                   &fixture->readers[number],
	                                   &fixture->engine.error),
	                 UDS_OK);
}

static void
detach(fixture *fixture, uint32_t number)
{
	uds_reader_detach(fixture->readers[number]);
	fixture->readers[number] = NULL;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	for (uint32_t i = 0; i < READERS; i++)
	{
		if (fixture->readers[i] != NULL)
			detach(fixture, i);
		free(fixture->memory[i]);
	}
	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

static uds_sparse_cache *
cache_of(fixture *fixture)
{
	return fixture->engine.index->sparse_cache;
}

static uint64_t
loads_of(fixture *fixture)
{
	return engine_statistics(&fixture->engine).sparse_loads;
}

static bool
is_woken(fixture *fixture, uds_worker_id worker)
{
	posix_worker *cell = &fixture->engine.host.workers[worker];
	bool was_woken = cell->is_woken;

	cell->is_woken = false;
	return was_woken;
}

/* Execute a peek of the nth name that is no hook, of each of some chapters, with their hooks. */
static void
start_peeks(fixture *fixture, uint64_t chapter, uint32_t chapters)
{
	uds_zone_worker *zone = fixture->engine.zones[0];
	uint32_t parked;

	for (uint32_t i = 0; i < chapters; i++)
	{
		fixture->requests[2 * i] = (uds_request){
			.name = uds_generate_counter_name(sparse_hook(chapter + i, 0)),
			.operation = UDS_PEEK,
		};
		fixture->requests[2 * i + 1] = (uds_request){
			.name = uds_generate_counter_name(sparse_other(chapter + i, 0)),
			.operation = UDS_PEEK,
		};
	}
	assert_int_equal(uds_zone_turn(zone), UDS_OK);
	assert_int_equal(uds_zone_execute(zone, fixture->requests, 2 * chapters, &parked), UDS_OK);
}

/* Let the zone go on until it has nothing to do. */
static void
advance(fixture *fixture)
{
	uds_zone_worker *zone = fixture->engine.zones[0];
	uds_request *finished;

	if (uds_zone_turn(zone) != UDS_OK)
		return;
	while (uds_zone_advance(zone, &finished) == UDS_OK)
		;
}

/* Let a reader and the zone go on until nothing moves. */
static void
serve(fixture *fixture, uint32_t reader)
{
	do
		advance(fixture);
	while (uds_reader_work(fixture->readers[reader]) == UDS_OK);
	advance(fixture);
}

static void
assert_answered(fixture *fixture, uint32_t chapters, bool are_found)
{
	assert_int_equal(uds_zone_parked(fixture->engine.zones[0]), 0);
	for (uint32_t i = 0; i < 2 * chapters; i++)
	{
		assert_int_equal(fixture->requests[i].status, UDS_OK);
		if (i % 2 != 0)
			assert_int_equal(fixture->requests[i].found, are_found);
		if (fixture->requests[i].found)
			assert_int_equal(fixture->requests[i].region, UDS_REGION_SPARSE);
	}
}

/* ---- readers -------------------------------------------------------------------------------------- */

static void
readers_perform_the_loads_of_requests_that_wait(void **state)
{
	fixture *fixture = *state;

	attach(fixture, 0);
	/* As many as the cache holds. */
	start_peeks(fixture, 2, 3);
	advance(fixture);
	assert_int_equal(loads_of(fixture), 0);
	assert_true(uds_zone_parked(fixture->engine.zones[0]) >= 3);
	serve(fixture, 0);
	assert_answered(fixture, 3, true);
	assert_int_equal(loads_of(fixture), 3);
	assert_int_equal(uds_sparse_cache_check(cache_of(fixture)), UDS_OK);
}

/* Loads keep nobody waiting who does without them, in whatever chapter the name is found. */
static void
who_needs_no_load_is_answered_at_once(void **state)
{
	fixture *fixture = *state;
	uds_zone_worker *zone = fixture->engine.zones[0];

	attach(fixture, 0);
	start_peeks(fixture, 2, 3);
	advance(fixture);
	assert_true(uds_zone_parked(zone) >= 3);
	/* Pages of dense chapters need no reader. */
	fixture->engine.host.memory = POSIX_MEMORY_FULL;
	for (uint64_t chapter = 13; chapter < FILLED; chapter++)
	{
		static const uds_operation operations[] = { UDS_PEEK, UDS_POST, UDS_UPDATE, UDS_DELETE };

		for (uint32_t i = 0; i < 4; i++)
		{
			uds_request request = { .name = uds_generate_counter_name(sparse_other(chapter, i)),
				                    .operation = (uint8_t) operations[i] };
			uint32_t parked;

			assert_int_equal(uds_zone_execute(zone, &request, 1, &parked), UDS_OK);
			assert_int_equal(parked, 0);
			assert_int_equal(request.status, UDS_OK);
			assert_true(request.found);
			assert_true(request.region != UDS_REGION_SPARSE);
		}
	}
	assert_int_equal(loads_of(fixture), 0);
	assert_true(uds_zone_parked(zone) >= 3);
	serve(fixture, 0);
	assert_answered(fixture, 3, true);
}

static void
zones_load_themselves_without_readers(void **state)
{
	fixture *fixture = *state;

	start_peeks(fixture, 2, 3);
	advance(fixture);
	assert_answered(fixture, 3, true);
	assert_int_equal(loads_of(fixture), 3);
}

static void
zones_load_when_the_last_reader_has_gone(void **state)
{
	fixture *fixture = *state;

	attach(fixture, 0);
	attach(fixture, 1);
	start_peeks(fixture, 2, 2);
	advance(fixture);
	detach(fixture, 1);
	advance(fixture);
	assert_int_equal(loads_of(fixture), 0);
	(void) is_woken(fixture, UDS_WORKER_ZONE);
	detach(fixture, 0);
	assert_true(is_woken(fixture, UDS_WORKER_ZONE));
	advance(fixture);
	assert_answered(fixture, 2, true);
}

static void
a_load_wakes_an_idle_reader_and_its_end_the_zone(void **state)
{
	fixture *fixture = *state;

	fixture->engine.host.memory = POSIX_MEMORY_FULL;
	attach(fixture, 0);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_NOT_FOUND);
	(void) is_woken(fixture, UDS_WORKER_READER);
	start_peeks(fixture, 2, 1);
	assert_true(is_woken(fixture, UDS_WORKER_READER));
	advance(fixture);
	/* The hook and its neighbour. */
	assert_int_equal(uds_zone_parked(fixture->engine.zones[0]), 2);
	(void) is_woken(fixture, UDS_WORKER_ZONE);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_OK);
	assert_true(is_woken(fixture, UDS_WORKER_ZONE));
	advance(fixture);
	assert_answered(fixture, 1, true);
}

/* The loads of one request end one by one, and the zone sleeps in between. */
static void
a_zone_that_sleeps_between_two_loads_is_woken_for_both(void **state)
{
	fixture *fixture = *state;

	fixture->engine.host.memory = POSIX_MEMORY_FULL;
	attach(fixture, 0);
	start_peeks(fixture, 2, 3);
	while (uds_zone_parked(fixture->engine.zones[0]) > 0)
	{
		advance(fixture);
		(void) is_woken(fixture, UDS_WORKER_ZONE);
		assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_OK);
		assert_true(is_woken(fixture, UDS_WORKER_ZONE));
		advance(fixture);
	}
	assert_int_equal(loads_of(fixture), 3);
	assert_answered(fixture, 3, true);
}

static void
a_reader_that_stops_leaves_its_load_to_another(void **state)
{
	fixture *fixture = *state;

	fixture->engine.host.memory = POSIX_MEMORY_FULL;
	for (uint32_t i = 0; i < 2; i++)
	{
		attach(fixture, i);
		assert_int_equal(uds_reader_work(fixture->readers[i]), UDS_NOT_FOUND);
	}
	(void) is_woken(fixture, UDS_WORKER_READER + 1);
	start_peeks(fixture, 2, 1);
	assert_true(is_woken(fixture, UDS_WORKER_READER));
	assert_false(is_woken(fixture, UDS_WORKER_READER + 1));
	posix_host_stop(&fixture->engine.host, UDS_WORKER_READER);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_STOPPED);
	detach(fixture, 0);
	assert_true(is_woken(fixture, UDS_WORKER_READER + 1));
	assert_int_equal(uds_reader_work(fixture->readers[1]), UDS_OK);
	advance(fixture);
	assert_answered(fixture, 1, true);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_READER);
}

/* Page reads, new ones all the time, do not keep a load waiting for ever. */
static void
loads_are_not_starved_by_page_reads(void **state)
{
	fixture *fixture = *state;
	uds_page_cache *cache = fixture->engine.index->page_cache;
	uint32_t works = 0;

	attach(fixture, 0);
	start_peeks(fixture, 2, 1);
	for (uint64_t page = 0; loads_of(fixture) == 0; page++)
	{
		uds_page found;

		/* There is always one more page that nobody has asked for. */
		assert_int_equal(uds_page_cache_get(cache,
		                                    NULL,
		                                    8 + page % 8,
		                                    (uint32_t) (page / 8 % 3),
		                                    0,
		                                    &found),
		                 UDS_PENDING);
		uds_page_cache_release(cache, &fixture->ports[0], found.slot);
		assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_OK);
		assert_true(++works < 20);
	}
	serve(fixture, 0);
	assert_answered(fixture, 1, true);
}

/* ---- failures ------------------------------------------------------------------------------------- */

static int
fail_reads(void *context, const char *operation, const char *name)
{
	(void) context;
	return strcmp(operation, "read") == 0 && strcmp(name, UDS_VOLUME_FILE) == 0 ? EIO : 0;
}

static void
a_load_that_cannot_read_fails_no_request(void **state)
{
	fixture *fixture = *state;
	uds_statistics statistics;

	fixture->engine.host.is_quiet = true;
	fixture->engine.host.fault = fail_reads;
	for (uint32_t reader = 0; reader < 2; reader++)
	{
		/* First by the zone itself. */
		if (reader > 0)
			attach(fixture, 0);
		start_peeks(fixture, 2 + 2 * reader, 2);
		if (reader > 0)
			serve(fixture, 0);
		advance(fixture);
		assert_answered(fixture, 2, false);
		statistics = engine_statistics(&fixture->engine);
		assert_int_equal(statistics.sparse_failures, 2 * (reader + 1));
		assert_int_equal(statistics.sparse_loads, 0);
		assert_int_equal(statistics.sparse_chapters, 0);
	}
	assert_int_equal(uds_index_state(fixture->engine.index), UDS_STATE_ONLINE);
	assert_int_equal(uds_sparse_cache_check(cache_of(fixture)), UDS_OK);
	/* Others are loaded. */
	fixture->engine.host.fault = NULL;
	start_peeks(fixture, 6, 2);
	serve(fixture, 0);
	assert_answered(fixture, 2, true);
}

static void
a_damaged_index_page_costs_its_chapter_only(void **state)
{
	fixture *fixture = *state;
	const uds_geometry *geometry = &fixture->engine.index->geometry;
	uint64_t page = uds_geometry_chapter_page(geometry, 3);

	fixture->engine.host.is_quiet = true;
	files_flip_bit(fixture->engine.host.directory,
	               UDS_VOLUME_FILE,
	               page * geometry->parameters.page_bytes + 1000,
	               3);
	start_peeks(fixture, 2, 3);
	advance(fixture);
	assert_int_equal(uds_zone_parked(fixture->engine.zones[0]), 0);
	/* Hook and other name of chapter 3 are the third and fourth. */
	for (uint32_t i = 0; i < 6; i++)
	{
		assert_int_equal(fixture->requests[i].status, UDS_OK);
		assert_int_equal(fixture->requests[i].found, i / 2 != 1);
	}
	assert_int_equal(engine_statistics(&fixture->engine).sparse_failures, 1);
	assert_int_equal(engine_statistics(&fixture->engine).sparse_loads, 2);
	assert_true(engine_statistics(&fixture->engine).bad_pages >= 1);
	assert_int_equal(uds_index_state(fixture->engine.index), UDS_STATE_ONLINE);
}

/* ---- the writer takes the index -------------------------------------------------------------------- */

static void
a_save_disturbs_no_load(void **state)
{
	fixture *fixture = *state;

	attach(fixture, 0);
	start_peeks(fixture, 2, 2);
	advance(fixture);
	/* The zone lets go when it is asked to, with its requests; here by hand. */
	atomic_store(&fixture->engine.index->zones_wanted, 1);
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_PENDING);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_PENDING);
	assert_int_equal(uds_writer_checkpoint(fixture->engine.writer, &fixture->engine.error), UDS_OK);
	assert_true(is_woken(fixture, UDS_WORKER_ZONE));
	assert_true(is_woken(fixture, UDS_WORKER_READER));
	serve(fixture, 0);
	assert_answered(fixture, 2, true);
	assert_int_equal(loads_of(fixture), 2);
}

static void
requests_that_wait_go_on_after_a_rebuild(void **state)
{
	fixture *fixture = *state;

	attach(fixture, 0);
	start_peeks(fixture, 2, 2);
	advance(fixture);
	assert_true(uds_sparse_cache_pending(cache_of(fixture)) != 0);
	fixture->engine.host.is_quiet = true;
	uds_block_fail(fixture->engine.index, &fixture->engine.zone_ports[0], "a test says so");
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_PENDING);
	assert_int_equal(uds_writer_work(fixture->engine.writer, &fixture->engine.error), UDS_OK);
	assert_int_equal(uds_index_state(fixture->engine.index), UDS_STATE_ONLINE);
	/* The loads are forgotten: hooks are found, the others are asked for by nobody. */
	assert_int_equal(uds_sparse_cache_pending(cache_of(fixture)), 0);
	serve(fixture, 0);
	assert_answered(fixture, 2, false);
	assert_true(fixture->requests[0].found);
	assert_true(fixture->requests[2].found);
	/* And again, as new. */
	start_peeks(fixture, 2, 2);
	serve(fixture, 0);
	assert_answered(fixture, 2, true);
	assert_int_equal(loads_of(fixture), 2);
}

static void
requests_that_wait_find_nothing_after_a_reset(void **state)
{
	fixture *fixture = *state;

	attach(fixture, 0);
	start_peeks(fixture, 2, 2);
	advance(fixture);
	atomic_store(&fixture->engine.index->zones_wanted, 1);
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_PENDING);
	assert_int_equal(uds_writer_reset(fixture->engine.writer, &fixture->engine.error), UDS_OK);
	serve(fixture, 0);
	for (uint32_t i = 0; i < 4; i++)
	{
		assert_int_equal(fixture->requests[i].status, UDS_OK);
		assert_false(fixture->requests[i].found);
	}
	assert_int_equal(engine_statistics(&fixture->engine).bad_pages, 0);
	/* The index is used again, with the same names in the same chapters. */
	detach(fixture, 0);
	sparse_fill(&fixture->engine, FILLED);
	start_peeks(fixture, 2, 2);
	advance(fixture);
	assert_answered(fixture, 2, true);
}

/* ---- zones that stop ------------------------------------------------------------------------------- */

static void
a_zone_that_is_to_stop_answers_all_without_readers(void **state)
{
	fixture *fixture = *state;

	attach(fixture, 0);
	start_peeks(fixture, 2, 2);
	advance(fixture);
	assert_true(uds_zone_parked(fixture->engine.zones[0]) > 0);
	posix_host_stop(&fixture->engine.host, UDS_WORKER_ZONE);
	detach(fixture, 0);
	advance(fixture);
	assert_answered(fixture, 2, false);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_ZONE);
}

/* Zone 1 sleeps and waits for a load that zone 0 does not perform since it is to stop. */
static void
a_zone_that_is_to_stop_leaves_loads_to_the_others(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(uds_sparse_cache_request(cache_of(fixture), 2, 0), UDS_DUPLICATE);
	posix_host_stop(&fixture->engine.host, UDS_WORKER_ZONE);
	(void) is_woken(fixture, UDS_WORKER_ZONE + 1);
	advance(fixture);
	assert_int_equal(loads_of(fixture), 0);
	assert_true(is_woken(fixture, UDS_WORKER_ZONE + 1));
	engine_settle(&fixture->engine);
	assert_int_equal(loads_of(fixture), 1);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_ZONE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(readers_perform_the_loads_of_requests_that_wait),
		CASE(who_needs_no_load_is_answered_at_once),
		CASE(zones_load_themselves_without_readers),
		CASE(zones_load_when_the_last_reader_has_gone),
		CASE(a_load_wakes_an_idle_reader_and_its_end_the_zone),
		CASE(a_zone_that_sleeps_between_two_loads_is_woken_for_both),
		CASE(a_reader_that_stops_leaves_its_load_to_another),
		CASE(loads_are_not_starved_by_page_reads),
		CASE(a_load_that_cannot_read_fails_no_request),
		CASE(a_damaged_index_page_costs_its_chapter_only),
		CASE(a_save_disturbs_no_load),
		CASE(requests_that_wait_go_on_after_a_rebuild),
		CASE(requests_that_wait_find_nothing_after_a_reset),
		CASE(a_zone_that_is_to_stop_answers_all_without_readers),
		cmocka_unit_test_setup_teardown(a_zone_that_is_to_stop_leaves_loads_to_the_others,
		                                setup_two_zones,
		                                teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
