/*
 * test_sparse_semantics.c: what each operation does to records in sparse chapters, what hides
 * what, and which names are found, forgotten and found again (specification 02, sections 1.6 and
 * 6.7).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"

#define FILLED 20 /* chapters: 0..12 are sparse then */

static int
setup(void **state)
{
	engine *engine = calloc(1, sizeof(*engine));
	uds_config config = sparse_config(1, UDS_STRUCTURE_BUCKETS);

	engine_init(engine, &config);
	engine_must_open(engine);
	*state = engine;
	return 0;
}

static int
teardown(void **state)
{
	engine_destroy(*state);
	free(*state);
	return 0;
}

/* Forget the pages and chapters that are cached. */
static void
empty_caches(engine *engine)
{
	assert_int_equal(engine_close(engine), UDS_OK);
	engine_must_open(engine);
}

/* Have a chapter cached: its hooks are asked for. */
static void
load_chapter(engine *engine, uint64_t chapter)
{
	assert_int_equal(sparse_request(engine, UDS_PEEK, sparse_hook(chapter, 3)).region,
	                 UDS_REGION_SPARSE);
}

static void
assert_found(const uds_request *request, uds_region region, uint64_t number, uint64_t version)
{
	uds_metadata expected = uds_generate_metadata(number, version);

	assert_int_equal(request->status, UDS_OK);
	assert_true(request->found);
	assert_int_equal(request->region, region);
	assert_memory_equal(&request->found_metadata, &expected, sizeof(expected));
}

static void
assert_not_found(const uds_request *request)
{
	assert_int_equal(request->status, UDS_OK);
	assert_false(request->found);
	assert_int_equal(request->region, UDS_REGION_NONE);
}

static uds_request
execute(engine *engine, uds_operation operation, const uds_name *name, uint64_t number,
        uint64_t version)
{
	uds_metadata metadata = uds_generate_metadata(number, version);

	return engine_request(engine, operation, name, &metadata);
}

/* ---- 6.7: four names ------------------------------------------------------------------------------- */

typedef struct sequence
{
	engine engine;
	uds_name names[5]; /* 1..4; hooks are 2 and 4 */
	uint64_t fillers;
} sequence;

static void
begin_sequence(sequence *sequence, uds_index_structure structure)
{
	uds_config config = engine_config(1, 10, 1, structure);

	config.geometry.sparse_chapters = 5;
	config.geometry.sample_rate = 2;
	engine_init(&sequence->engine, &config);
	engine_must_open(&sequence->engine);
	for (uint32_t i = 1; i <= 4; i++)
		sequence->names[i] = uds_generate_name((uint64_t) i << 60, (uint64_t) i << 40, i);
	sequence->fillers = 0;
}

/* Post names that nobody knows until a chapter is the open one. */
static void
fill_until(sequence *sequence, uint64_t newest)
{
	while (engine_statistics(&sequence->engine).newest_chapter < newest)
	{
		uds_name name = uds_generate_counter_name(sequence->fillers++);
		uds_request request = execute(&sequence->engine, UDS_POST, &name, 0, 0);

		assert_not_found(&request);
		engine_settle(&sequence->engine);
	}
}

static uds_request
query(sequence *sequence, uds_operation operation, uint32_t number)
{
	return execute(&sequence->engine, operation, &sequence->names[number], number, 2);
}

/* Does the volume index lead to a name?  Unlike a request, this asks for no chapter. */
static bool
is_indexed(sequence *sequence, uint32_t number)
{
	uds_index_entry entry;

	assert_int_equal(uds_volume_index_get(&sequence->engine.index->volume_index,
	                                      &sequence->names[number],
	                                      &entry),
	                 UDS_OK);
	return entry.kind != UDS_ENTRY_NONE;
}

static void
names_are_forgotten_and_found_again_in_their_turn(void **state)
{
	(void) state;
	for (int structure = 0; structure < 2; structure++)
	{
		sequence sequence;
		uds_request request;

		begin_sequence(&sequence, (uds_index_structure) structure);
		for (uint32_t i = 1; i <= 4; i++)
		{
			request = execute(&sequence.engine, UDS_POST, &sequence.names[i], i, 1);
			assert_not_found(&request);
		}
		fill_until(&sequence, 1);
		for (uint32_t i = 1; i <= 2; i++)
		{
			request = query(&sequence, UDS_QUERY, i);
			assert_found(&request, UDS_REGION_DENSE, i, 1);
		}
		/* Chapter 0 is sparse. */
		fill_until(&sequence, 5);
		request = query(&sequence, UDS_PEEK, 3);
		assert_not_found(&request);
		assert_false(is_indexed(&sequence, 3));
		assert_true(is_indexed(&sequence, 4));
		request = query(&sequence, UDS_PEEK, 1);
		assert_found(&request, UDS_REGION_DENSE, 1, 1);
		/* Chapter 1 is sparse. */
		fill_until(&sequence, 6);
		request = query(&sequence, UDS_PEEK, 1);
		assert_not_found(&request);
		request = query(&sequence, UDS_PEEK, 2);
		assert_found(&request, UDS_REGION_SPARSE, 2, 1);
		request = query(&sequence, UDS_PEEK, 1);
		assert_found(&request, UDS_REGION_SPARSE, 1, 1);
		request = query(&sequence, UDS_PEEK, 3);
		assert_not_found(&request);
		request = query(&sequence, UDS_PEEK, 4);
		assert_found(&request, UDS_REGION_SPARSE, 4, 1);
		request = query(&sequence, UDS_QUERY, 3);
		assert_found(&request, UDS_REGION_SPARSE, 3, 1);
		request = query(&sequence, UDS_QUERY, 3);
		assert_found(&request, UDS_REGION_OPEN, 3, 1);
		/* Chapter 0 is the oldest, then gone; then chapter 1. */
		fill_until(&sequence, 9);
		request = query(&sequence, UDS_PEEK, 4);
		assert_found(&request, UDS_REGION_SPARSE, 4, 1);
		fill_until(&sequence, 10);
		request = query(&sequence, UDS_PEEK, 4);
		assert_not_found(&request);
		request = query(&sequence, UDS_PEEK, 2);
		assert_found(&request, UDS_REGION_SPARSE, 2, 1);
		request = query(&sequence, UDS_PEEK, 1);
		assert_found(&request, UDS_REGION_SPARSE, 1, 1);
		request = query(&sequence, UDS_PEEK, 3);
		assert_found(&request, UDS_REGION_DENSE, 3, 1);
		/* The chapter that 3 was moved to is sparse. */
		fill_until(&sequence, 11);
		for (uint32_t i = 1; i <= 4; i++)
		{
			request = query(&sequence, UDS_PEEK, i);
			assert_not_found(&request);
		}
		engine_destroy(&sequence.engine);
	}
}

/* ---- 6.7: whole chapters --------------------------------------------------------------------------- */

static void
all_names_of_cached_chapters_are_found(void **state)
{
	(void) state;
	for (int structure = 0; structure < 2; structure++)
	{
		uds_config config = sparse_config(1, (uds_index_structure) structure);
		engine engine;

		config.sparse_cache_chapters = 7;
		engine_init(&engine, &config);
		engine_must_open(&engine);
		sparse_fill(&engine, FILLED);
		for (uint32_t i = 0; i < 20; i++)
		{
			uds_request request = sparse_request(&engine, UDS_PEEK, sparse_other(4 + i % 7, i));

			assert_not_found(&request);
		}
		for (uint64_t number = 4 * SPARSE_RECORDS; number < 11 * SPARSE_RECORDS; number++)
		{
			uds_name name = uds_generate_counter_name(number);

			if (sparse_is_hook(&name))
				assert_true(sparse_request(&engine, UDS_PEEK, number).found);
		}
		for (uint64_t number = 4 * SPARSE_RECORDS; number < 11 * SPARSE_RECORDS; number++)
		{
			uds_request request = sparse_request(&engine, UDS_PEEK, number);

			assert_found(&request, UDS_REGION_SPARSE, number, 1);
		}
		assert_int_equal(engine_statistics(&engine).sparse_loads, 7);
		assert_int_equal(engine_statistics(&engine).sparse_chapters, 7);
		engine_destroy(&engine);
	}
}

/* Names one by one: those before the first hook of their chapter are all that is lost. */
static void
a_stream_loses_names_before_its_hooks_only(void **state)
{
	engine *engine = *state;
	uint64_t lost = 0;
	uint64_t expected = 0;

	sparse_fill(engine, FILLED);
	empty_caches(engine);
	for (uint64_t chapter = 5; chapter < 11; chapter++)
	{
		expected += sparse_hook(chapter, 0) - chapter * SPARSE_RECORDS;
		for (uint64_t i = 0; i < SPARSE_RECORDS; i++)
		{
			uint64_t number = chapter * SPARSE_RECORDS + i;
			uds_request request = sparse_request(engine, UDS_POST, number);

			if (request.found)
				assert_found(&request, UDS_REGION_SPARSE, number, 1);
			else
				assert_true(number < sparse_hook(chapter, 0));
			lost += !request.found;
		}
	}
	assert_int_equal(lost, expected);
}

/* In batches their hooks are asked for before anything is searched. */
static void
a_stream_in_batches_loses_nothing(void **state)
{
	(void) state;
	for (uint32_t zones = 1; zones <= 3; zones++)
	{
		for (int structure = 0; structure < 2; structure++)
		{
			uds_config config = sparse_config(zones, (uds_index_structure) structure);
			uds_port port;
			void *memory = calloc(1, uds_triage_size());
			uds_triage *triage;
			engine engine;
			uint64_t found = 0;

			engine_init(&engine, &config);
			engine_must_open(&engine);
			sparse_fill(&engine, FILLED);
			empty_caches(&engine);
			port = posix_port(&engine.host, UDS_WORKER_TRIAGE);
			assert_int_equal(uds_triage_attach(memory, engine.index, &port, &triage, &engine.error),
			                 UDS_OK);
			for (uint64_t first = 5 * SPARSE_RECORDS; first < 9 * SPARSE_RECORDS; first += 127)
			{
				uds_name names[127];

				for (uint32_t i = 0; i < 127; i++)
					names[i] = uds_generate_counter_name(first + i);
				assert_int_equal(uds_triage_execute(triage, names, 127), UDS_OK);
				found += sparse_post(&engine, first, 127);
			}
			uds_triage_detach(triage);
			free(memory);
			/* A batch may begin with the last names of a chapter whose hooks lie before it. */
			assert_true(found > 4 * SPARSE_RECORDS * 99 / 100);
			assert_int_equal(engine_statistics(&engine).sparse_drops, 0);
			engine_destroy(&engine);
		}
	}
}

/* ---- requests for one name ------------------------------------------------------------------------- */

/* TV-1a */
static void
two_posts_wait_for_one_page(void **state)
{
	engine *engine = *state;
	uds_name name = uds_generate_counter_name(sparse_other(2, 0));
	uds_request requests[2];
	uds_request *finished = NULL;
	uds_statistics statistics;
	uint32_t parked;

	sparse_fill(engine, FILLED);
	/* A hook on the other record page. */
	assert_true(sparse_request(engine, UDS_PEEK, sparse_hook(2, 60)).found);
	uds_index_reset_statistics(engine->index);
	for (uint32_t i = 0; i < 2; i++)
		requests[i] = (uds_request){ .name = name,
			                         .operation = UDS_POST,
			                         .metadata = uds_generate_metadata(0, 5 + i) };
	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(engine->zones[0], requests, 2, &parked), UDS_OK);
	assert_int_equal(parked, 2);
	while (finished == NULL)
		assert_int_equal(uds_zone_advance(engine->zones[0], &finished), UDS_OK);
	assert_ptr_equal(finished, &requests[0]);
	assert_ptr_equal(finished->next, &requests[1]);
	assert_found(&requests[0], UDS_REGION_SPARSE, sparse_other(2, 0), 1);
	assert_found(&requests[1], UDS_REGION_OPEN, sparse_other(2, 0), 1);
	statistics = engine_statistics(engine);
	assert_int_equal(statistics.posts_found, 2);
	assert_int_equal(statistics.sparse_posts_found, 1);
	assert_int_equal(statistics.in_memory_posts_found, 1);
}

/* Several operations on one name in one batch, which wait for a load and a page of it. */
static void
operations_wait_for_a_load_in_their_order(void **state)
{
	static const uds_operation operations[8] = { UDS_PEEK,   UDS_UPDATE, UDS_DELETE, UDS_QUERY,
		                                         UDS_UPDATE, UDS_PEEK,   UDS_DELETE, UDS_POST };
	static const int versions[8] = { 1, 1, 3, -1, -1, 6, 6, -1 };
	engine *engine = *state;
	uint64_t number = sparse_other(2, 0);
	uds_request requests[9];

	sparse_fill(engine, FILLED);
	requests[0] = (uds_request){ .name = uds_generate_counter_name(sparse_hook(2, 0)),
		                         .operation = UDS_PEEK };
	for (uint32_t i = 0; i < 8; i++)
		requests[i + 1] = (uds_request){ .name = uds_generate_counter_name(number),
			                             .operation = operations[i],
			                             .metadata = uds_generate_metadata(number, 2 + i) };
	assert_int_equal(engine_run(engine, requests, 9), UDS_OK);
	for (uint32_t i = 0; i < 8; i++)
	{
		if (versions[i] < 0)
			assert_not_found(&requests[i + 1]);
		else
			assert_found(&requests[i + 1],
			             i < 2 ? UDS_REGION_SPARSE : UDS_REGION_OPEN,
			             number,
			             (uint64_t) versions[i]);
	}
}

/* ---- single operations ----------------------------------------------------------------------------- */

static void
a_deleted_name_stays_deleted(void **state)
{
	engine *engine = *state;
	uint64_t number = sparse_other(10, 0);
	uds_request request;

	sparse_fill(engine, FILLED);
	/* Nobody has looked into its chapter: it is unknown, and nothing is written. */
	request = sparse_request(engine, UDS_DELETE, number);
	assert_not_found(&request);
	load_chapter(engine, 10);
	request = sparse_request(engine, UDS_DELETE, number);
	assert_found(&request, UDS_REGION_SPARSE, number, 1);
	for (uint32_t i = 0; i < 3; i++)
	{
		request = sparse_request(engine, UDS_PEEK, number);
		assert_not_found(&request);
		request = sparse_request(engine, UDS_QUERY, number);
		assert_not_found(&request);
		request = sparse_request(engine, UDS_DELETE, number);
		assert_not_found(&request);
		/* The chapter is searched again, from files and after some chapters. */
		if (i == 0)
			empty_caches(engine);
		else
			(void) sparse_post(engine, FILLED * SPARSE_RECORDS, 3 * SPARSE_RECORDS);
		load_chapter(engine, 10);
	}
	request = sparse_request(engine, UDS_POST, number);
	assert_not_found(&request);
	request = sparse_request(engine, UDS_POST, number);
	assert_true(request.found);
}

/* The tombstone is in chapter 20, the record in chapter 10, and both are sparse. */
static void
a_tombstone_hides_older_records_when_its_chapter_is_cached(void **state)
{
	engine *engine = *state;
	uint64_t number = sparse_other(10, 0);
	uds_request request;

	sparse_fill(engine, FILLED);
	load_chapter(engine, 10);
	request = sparse_request(engine, UDS_DELETE, number);
	assert_true(request.found);
	(void) sparse_post(engine, FILLED * SPARSE_RECORDS, (SPARSE_DENSE + 1) * SPARSE_RECORDS);
	empty_caches(engine);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_not_found(&request);
	/* Best effort: the chapter of the tombstone is not known to matter. */
	load_chapter(engine, 10);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_found(&request, UDS_REGION_SPARSE, number, 1);
	load_chapter(engine, FILLED);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_not_found(&request);
	request = sparse_request(engine, UDS_DELETE, number);
	assert_not_found(&request);
	/* It is new. */
	request = sparse_request(engine, UDS_POST, number);
	assert_not_found(&request);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_int_equal(request.region, UDS_REGION_OPEN);
}

static void
an_update_replaces_what_an_old_chapter_has(void **state)
{
	engine *engine = *state;
	uint64_t number = sparse_other(10, 0);
	uds_name name = uds_generate_counter_name(number);
	uds_request request;

	sparse_fill(engine, FILLED);
	load_chapter(engine, 10);
	request = execute(engine, UDS_UPDATE, &name, number, 2);
	assert_found(&request, UDS_REGION_SPARSE, number, 1);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_found(&request, UDS_REGION_OPEN, number, 2);
	/* The newer version is found first where both are cached. */
	(void) sparse_post(engine, FILLED * SPARSE_RECORDS, (SPARSE_DENSE + 1) * SPARSE_RECORDS);
	load_chapter(engine, 10);
	load_chapter(engine, FILLED);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_found(&request, UDS_REGION_SPARSE, number, 2);
}

static void
a_peek_moves_nothing_and_a_query_does(void **state)
{
	engine *engine = *state;
	uint64_t number = sparse_other(10, 0);
	uds_request request;

	sparse_fill(engine, FILLED);
	load_chapter(engine, 10);
	for (uint32_t i = 0; i < 2; i++)
	{
		request = sparse_request(engine, UDS_PEEK, number);
		assert_found(&request, UDS_REGION_SPARSE, number, 1);
	}
	request = sparse_request(engine, UDS_QUERY, number);
	assert_found(&request, UDS_REGION_SPARSE, number, 1);
	request = sparse_request(engine, UDS_PEEK, number);
	assert_found(&request, UDS_REGION_OPEN, number, 1);
}

/* ---- other names' entries -------------------------------------------------------------------------- */

/*
 * Chapter of the other name: chapter 10 is sparse before it is open, or the entry of the name would
 * still be there; and it is on the volume, and dense, when the last chapter is full.
 */
#define FALSE_HINT_CHAPTER 19
#define FALSE_HINT_FILLED  24

/*
 * A name of chapter 10 at the address of another name of chapter 19: the volume index leads to that
 * one.  With has_same_page the index of chapter 19 leads to its record page, too.
 */
static void
check_false_hint(engine *engine, bool has_same_page, bool is_cached, uds_operation operation)
{
	uint64_t other = sparse_other(FALSE_HINT_CHAPTER, 7);
	uds_name other_name = uds_generate_counter_name(other);
	uds_name name =
		uds_generate_name(uds_name_volume_field(&other_name),
	                      has_same_page ? uds_name_chapter_field(&other_name) : 0x123456789abc,
	                      uds_name_sampling_field(&other_name) ^ 0x4000);
	uds_request request;
	uds_index_entry entry;

	assert_int_equal(sparse_post(engine, 0, 10 * SPARSE_RECORDS), 0);
	request = execute(engine, UDS_POST, &name, 0, 77);
	assert_not_found(&request);
	assert_int_equal(sparse_post(engine,
	                             10 * SPARSE_RECORDS,
	                             (FALSE_HINT_FILLED - 10) * SPARSE_RECORDS),
	                 0);
	assert_int_equal(uds_volume_index_get(&engine->index->volume_index, &name, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_HINT);
	assert_int_equal(entry.chapter, FALSE_HINT_CHAPTER);
	load_chapter(engine, 10);
	if (is_cached)
	{
		request = sparse_request(engine, UDS_PEEK, other);
		assert_found(&request, UDS_REGION_DENSE, other, 1);
		request = execute(engine, UDS_PEEK, &name, 0, 78);
		assert_found(&request, UDS_REGION_SPARSE, 0, 77);
	}
	request = execute(engine, operation, &name, 0, 78);
	assert_found(&request, UDS_REGION_SPARSE, 0, 77);
	/* The other name is where it was. */
	request = sparse_request(engine, UDS_PEEK, other);
	assert_found(&request, UDS_REGION_DENSE, other, 1);
	request = execute(engine, UDS_PEEK, &name, 0, 78);
	if (operation == UDS_DELETE)
		assert_not_found(&request);
	else
		assert_found(&request,
		             operation == UDS_PEEK ? UDS_REGION_SPARSE : UDS_REGION_OPEN,
		             0,
		             operation == UDS_UPDATE ? 78 : 77);
}

static void
a_false_hint_leads_on_to_the_cached_chapters(void **state)
{
	(void) state;
	for (uint32_t i = 0; i < 2 * 4 * UDS_OPERATION_COUNT; i++)
	{
		uds_config config = sparse_config(1, (uds_index_structure) (i % 2));
		engine engine;

		engine_init(&engine, &config);
		engine_must_open(&engine);
		check_false_hint(&engine,
		                 i / 2 % 2 != 0,
		                 i / 4 % 2 != 0,
		                 (uds_operation) (i / 8 % UDS_OPERATION_COUNT));
		engine_destroy(&engine);
	}
}

/* Two names with one chapter index field, in two cached chapters. */
static void
a_wrong_match_leads_on_to_the_next_chapter(void **state)
{
	engine *engine = *state;
	uds_name twin = uds_generate_counter_name(sparse_other(11, 0));
	uds_name name = uds_generate_name(0x123456789abcdef0, uds_name_chapter_field(&twin), 1);
	uds_request request;

	assert_int_equal(sparse_post(engine, 0, 10 * SPARSE_RECORDS), 0);
	request = execute(engine, UDS_POST, &name, 0, 77);
	assert_not_found(&request);
	assert_int_equal(sparse_post(engine, 10 * SPARSE_RECORDS, (FILLED - 10) * SPARSE_RECORDS), 0);
	load_chapter(engine, 10);
	load_chapter(engine, 11);
	request = execute(engine, UDS_PEEK, &name, 0, 78);
	assert_found(&request, UDS_REGION_SPARSE, 0, 77);
	request = sparse_request(engine, UDS_PEEK, sparse_other(11, 0));
	assert_found(&request, UDS_REGION_SPARSE, sparse_other(11, 0), 1);
	request = execute(engine, UDS_DELETE, &name, 0, 78);
	assert_found(&request, UDS_REGION_SPARSE, 0, 77);
	request = sparse_request(engine, UDS_PEEK, sparse_other(11, 0));
	assert_found(&request, UDS_REGION_SPARSE, sparse_other(11, 0), 1);
	request = execute(engine, UDS_PEEK, &name, 0, 78);
	assert_not_found(&request);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_forgotten_and_found_again_in_their_turn),
		cmocka_unit_test(all_names_of_cached_chapters_are_found),
		CASE(a_stream_loses_names_before_its_hooks_only),
		cmocka_unit_test(a_stream_in_batches_loses_nothing),
		CASE(two_posts_wait_for_one_page),
		CASE(operations_wait_for_a_load_in_their_order),
		CASE(a_deleted_name_stays_deleted),
		CASE(a_tombstone_hides_older_records_when_its_chapter_is_cached),
		CASE(an_update_replaces_what_an_old_chapter_has),
		CASE(a_peek_moves_nothing_and_a_query_does),
		cmocka_unit_test(a_false_hint_leads_on_to_the_cached_chapters),
		CASE(a_wrong_match_leads_on_to_the_next_chapter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
