/*
 * test_search.c: a search misses no sparse chapter that was asked for before it, whenever its load
 * ends, goes on where it stopped or from the beginning where that is stale, and always ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/search.h"
#include "../../src/engine/triage.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"

#define FILLED 20 /* chapters: 0..12 are sparse then */

/* The zone is not used by its own worker: tests search in its place. */
typedef struct fixture
{
	engine engine;
	uds_index *index;
	uds_port port; /* of a reader */
	uds_volume volume;
	uds_searcher searcher;
} fixture;

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = sparse_config(1, UDS_STRUCTURE_BUCKETS);

	config.reader_count = 1;
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	fixture->index = fixture->engine.index;
	fixture->port = posix_port(&fixture->engine.host, UDS_WORKER_READER);
	uds_block_open_volume(fixture->index, &fixture->port, &fixture->volume, "reader", 0);
	fixture->searcher.index = fixture->index;
	fixture->searcher.zone = &fixture->index->zones[0];
	fixture->searcher.port = &fixture->engine.zone_ports[0];
	uds_block_open_volume(fixture->index,
	                      &fixture->engine.zone_ports[0],
	                      &fixture->searcher.volume,
	                      "zone",
	                      0);
	/* Somebody reads, so that zones do not. */
	atomic_store(&fixture->index->readers_present, 1);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	uds_volume_close(&fixture->volume);
	uds_volume_close(&fixture->searcher.volume);
	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

/* A search for a name by its number, from its beginning. */
static uds_request
make_request(uint64_t number)
{
	uds_request request = { .name = uds_generate_counter_name(number), .operation = UDS_PEEK };

	uds_search_begin(&request);
	return request;
}

static uds_status
run(fixture *fixture, uds_request *request, uds_hit *hit)
{
	uds_index_entry entry;

	assert_int_equal(uds_volume_index_get(&fixture->index->volume_index, &request->name, &entry),
	                 UDS_OK);
	return uds_search_run(&fixture->searcher, request, &entry, hit);
}

/* Ask for the chapter of a hook. */
static void
ask(fixture *fixture, uint64_t chapter)
{
	uds_name name = uds_generate_counter_name(sparse_hook(chapter, 0));

	assert_int_equal(uds_triage_ask(fixture->index, &fixture->engine.zone_ports[0], &name), UDS_OK);
}

/* Do pieces of a reader's work until there is none. */
static void
serve_all(fixture *fixture)
{
	while (uds_block_serve(fixture->index, &fixture->volume) == UDS_OK)
		;
}

static bool
is_woken(fixture *fixture)
{
	posix_worker *cell = &fixture->engine.host.workers[UDS_WORKER_ZONE];
	bool was_woken = cell->is_woken;

	cell->is_woken = false;
	return was_woken;
}

static void
assert_found(const uds_hit *hit, uint64_t number)
{
	uds_metadata expected = uds_generate_metadata(number, 1);

	assert_int_equal(hit->kind, UDS_HIT_RECORD);
	assert_int_equal(hit->region, UDS_REGION_SPARSE);
	assert_memory_equal(&hit->metadata, &expected, sizeof(expected));
}

/* Everything is read at once. */
static void
keep_pages_in_memory(fixture *fixture)
{
	fixture->engine.host.memory = POSIX_MEMORY_FULL;
}

static void
a_name_waits_for_loads_that_were_asked_for_before(void **state)
{
	fixture *fixture = *state;
	uint64_t number = sparse_other(2, 0);
	uds_request request = make_request(number);
	uds_hit hit;

	sparse_fill(&fixture->engine, FILLED);
	keep_pages_in_memory(fixture);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_OK);
	assert_int_equal(hit.kind, UDS_HIT_NONE);
	request = make_request(number);
	ask(fixture, 2);
	assert_int_equal(run(fixture, &request, &hit), UDS_PENDING);
	assert_int_equal(request.stage, UDS_SEARCH_LOADS);
	assert_true(uds_search_is_stuck(&fixture->searcher, &request));
	uds_search_leave(&fixture->searcher);
	(void) is_woken(fixture);
	serve_all(fixture);
	assert_true(is_woken(fixture));
	uds_search_enter(&fixture->searcher);
	assert_false(uds_search_is_stuck(&fixture->searcher, &request));
	assert_int_equal(run(fixture, &request, &hit), UDS_OK);
	assert_found(&hit, number);
	uds_search_leave(&fixture->searcher);
}

static void
a_wake_up_for_another_load_is_not_the_last(void **state)
{
	fixture *fixture = *state;
	uds_request request = make_request(sparse_other(3, 0));
	uds_hit hit;

	sparse_fill(&fixture->engine, FILLED);
	keep_pages_in_memory(fixture);
	ask(fixture, 2);
	ask(fixture, 3);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_PENDING);
	uds_search_leave(&fixture->searcher);
	(void) is_woken(fixture);
	assert_int_equal(uds_block_serve(fixture->index, &fixture->volume), UDS_OK);
	assert_true(is_woken(fixture));
	/* Chapter 3 is still to come. */
	assert_true(uds_search_is_stuck(&fixture->searcher, &request));
	assert_int_equal(uds_block_serve(fixture->index, &fixture->volume), UDS_OK);
	assert_true(is_woken(fixture));
	assert_false(uds_search_is_stuck(&fixture->searcher, &request));
}

static void
a_load_that_ends_after_the_zone_has_entered_is_not_missed(void **state)
{
	fixture *fixture = *state;
	uint64_t number = sparse_other(2, 0);
	uds_request request = make_request(number);
	uds_hit hit;

	sparse_fill(&fixture->engine, FILLED);
	keep_pages_in_memory(fixture);
	uds_search_enter(&fixture->searcher);
	ask(fixture, 2);
	serve_all(fixture);
	assert_int_equal(uds_sparse_cache_pending(fixture->index->sparse_cache), 0);
	assert_int_equal(run(fixture, &request, &hit), UDS_OK);
	assert_found(&hit, number);
	uds_search_leave(&fixture->searcher);
}

/* ---- names that collide in a chapter index ------------------------------------------------------- */

/* A name that is no hook, and leads to the record page of another name in a chapter of that. */
static uds_name
twin_of(uint64_t number)
{
	uds_name name = uds_generate_counter_name(number);

	return uds_generate_name(UINT64_C(0x123456789abcdef0), uds_name_chapter_field(&name), 1);
}

/* Fill all chapters, and store one more name in one of them. */
static void
fill_with(fixture *fixture, const uds_name *name, uint32_t chapter)
{
	uds_metadata metadata = uds_generate_metadata(0, 9);
	uds_request request;

	sparse_fill(&fixture->engine, chapter);
	request = engine_request(&fixture->engine, UDS_POST, name, &metadata);
	assert_false(request.found);
	assert_int_equal(sparse_post(&fixture->engine,
	                             (uint64_t) chapter * SPARSE_RECORDS,
	                             (FILLED - chapter) * SPARSE_RECORDS),
	                 0);
}

static void
assert_twin_found(const uds_hit *hit)
{
	uds_metadata expected = uds_generate_metadata(0, 9);

	assert_int_equal(hit->kind, UDS_HIT_RECORD);
	assert_memory_equal(&hit->metadata, &expected, sizeof(expected));
}

/* Go on with a search whenever its page has been read. */
static void
finish(fixture *fixture, uds_request *request, uds_hit *hit)
{
	while (run(fixture, request, hit) == UDS_PENDING)
	{
		assert_true(request->stage != UDS_SEARCH_LOADS);
		uds_search_leave(&fixture->searcher);
		serve_all(fixture);
		uds_search_enter(&fixture->searcher);
	}
}

static void
a_wrong_match_leads_on_to_the_next_chapter(void **state)
{
	fixture *fixture = *state;
	uds_name name = twin_of(sparse_other(3, 9));
	uds_request request = { .name = name, .operation = UDS_PEEK };
	uds_hit hit;

	fill_with(fixture, &name, 2);
	ask(fixture, 2);
	ask(fixture, 3);
	serve_all(fixture);
	uds_search_begin(&request);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_PENDING);
	assert_int_equal(request.stage, UDS_SEARCH_SPARSE_PAGE);
	assert_int_equal(request.chapter, 3);
	finish(fixture, &request, &hit);
	assert_twin_found(&hit);
	assert_int_equal(request.chapter, 2);
	uds_search_leave(&fixture->searcher);
}

/* The search waits for a page of chapter 2, to go on below it, when chapter 3 comes. */
static void
a_chapter_that_comes_while_a_page_is_read_is_searched(void **state)
{
	fixture *fixture = *state;
	uds_name name = twin_of(sparse_other(2, 9));
	uds_request request = { .name = name, .operation = UDS_PEEK };
	uds_hit hit;

	fill_with(fixture, &name, 3);
	ask(fixture, 2);
	serve_all(fixture);
	uds_search_begin(&request);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_PENDING);
	assert_int_equal(request.chapter, 2);
	ask(fixture, 3);
	uds_search_leave(&fixture->searcher);
	serve_all(fixture);
	uds_search_enter(&fixture->searcher);
	finish(fixture, &request, &hit);
	assert_twin_found(&hit);
	assert_int_equal(request.chapter, 3);
	uds_search_leave(&fixture->searcher);
}

/* ---- what changes while a request is parked ------------------------------------------------------ */

static void
a_chapter_that_expires_while_its_page_is_read_is_not_found(void **state)
{
	fixture *fixture = *state;
	uds_request request;
	uds_hit hit;

	sparse_fill(&fixture->engine, FILLED);
	request = make_request(sparse_other(2, 0));
	ask(fixture, 2);
	serve_all(fixture);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_PENDING);
	uds_search_leave(&fixture->searcher);
	serve_all(fixture);
	assert_false(uds_search_is_stuck(&fixture->searcher, &request));
	/* Chapter 26 takes its place when it is written, two chapters later. */
	(void) sparse_post(&fixture->engine,
	                   FILLED * SPARSE_RECORDS,
	                   (SPARSE_CHAPTERS + 2 - FILLED) * SPARSE_RECORDS);
	assert_int_equal(atomic_load(&fixture->searcher.zone->newest), SPARSE_CHAPTERS + 2);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_OK);
	assert_int_equal(hit.kind, UDS_HIT_NONE);
	assert_int_equal(request.page_slot, UDS_PAGE_SLOT_NONE);
	uds_search_leave(&fixture->searcher);
}

/* Another name at the same address moves its entry, the hint of this one, to the open chapter. */
static void
a_hint_that_moves_while_a_sparse_page_is_read_is_followed(void **state)
{
	fixture *fixture = *state;
	uint64_t number = sparse_other(2, 0);
	uds_request request = make_request(number);
	uds_index_entry entry = { .kind = UDS_ENTRY_HINT, .chapter = FILLED - 6 };
	uds_hit hit;

	sparse_fill(&fixture->engine, FILLED);
	ask(fixture, 2);
	serve_all(fixture);
	keep_pages_in_memory(fixture);
	uds_search_enter(&fixture->searcher);
	fixture->engine.host.memory = POSIX_MEMORY_EMPTY;
	entry.name = request.name;
	while (uds_search_run(&fixture->searcher, &request, &entry, &hit) == UDS_PENDING &&
	       request.stage != UDS_SEARCH_SPARSE_PAGE)
		serve_all(fixture);
	assert_int_equal(request.stage, UDS_SEARCH_SPARSE_PAGE);
	assert_int_equal(request.missed, FILLED - 6);
	/* The page that it waited for is given back, and found again later. */
	entry.chapter = FILLED;
	assert_int_equal(uds_search_run(&fixture->searcher, &request, &entry, &hit), UDS_PENDING);
	assert_int_equal(request.missed, FILLED);
	serve_all(fixture);
	assert_int_equal(uds_search_run(&fixture->searcher, &request, &entry, &hit), UDS_OK);
	assert_found(&hit, number);
	assert_true(hit.is_unindexed);
	uds_search_leave(&fixture->searcher);
}

/* ---- a worker that is to stop -------------------------------------------------------------------- */

static void
nobody_waits_for_loads_that_nobody_performs(void **state)
{
	fixture *fixture = *state;
	uds_request request = make_request(sparse_other(2, 0));
	uds_hit hit;

	sparse_fill(&fixture->engine, FILLED);
	ask(fixture, 2);
	uds_search_enter(&fixture->searcher);
	assert_int_equal(run(fixture, &request, &hit), UDS_PENDING);
	posix_host_stop(&fixture->engine.host, UDS_WORKER_ZONE);
	/* A reader is still there. */
	assert_true(uds_search_is_stuck(&fixture->searcher, &request));
	atomic_store(&fixture->index->readers_present, 0);
	assert_false(uds_search_is_stuck(&fixture->searcher, &request));
	assert_int_equal(run(fixture, &request, &hit), UDS_OK);
	assert_int_equal(hit.kind, UDS_HIT_NONE);
	uds_search_leave(&fixture->searcher);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_ZONE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_name_waits_for_loads_that_were_asked_for_before),
		CASE(a_wake_up_for_another_load_is_not_the_last),
		CASE(a_load_that_ends_after_the_zone_has_entered_is_not_missed),
		CASE(a_wrong_match_leads_on_to_the_next_chapter),
		CASE(a_chapter_that_comes_while_a_page_is_read_is_searched),
		CASE(a_chapter_that_expires_while_its_page_is_read_is_not_found),
		CASE(a_hint_that_moves_while_a_sparse_page_is_read_is_followed),
		CASE(nobody_waits_for_loads_that_nobody_performs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
