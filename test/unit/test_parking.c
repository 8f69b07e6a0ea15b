/*
 * test_parking.c: requests that cannot go on wait, in order, give back what they hold, and are
 * answered: when a page is read, when there is room again, when their chapter expires meanwhile,
 * when the index fails and is rebuilt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

#define RECORDS UDS_RECORDS_PER_PAGE /* of a chapter with one record page */

static uds_config
small_config(uint32_t chapters, uds_index_structure structure)
{
	uds_config config = engine_config(1, chapters, 1, structure);

	config.page_cache_bytes = 0; /* the least: 16 pages */
	return config;
}

static uds_request
make_request(uds_operation operation, const uds_name *name, uint64_t version)
{
	return (uds_request){ .name = *name,
		                  .operation = (uint8_t) operation,
		                  .metadata = uds_generate_metadata(7, version) };
}

static void
post_counters(engine *engine, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		uds_name name = uds_generate_counter_name(first + i);
		uds_metadata metadata = uds_generate_metadata(first + i, 0);

		(void) engine_request(engine, UDS_POST, &name, &metadata);
	}
}

/* Name number i of a pair that shares all fields of the indexes and differs in the rest. */
static uds_name
twin(uint32_t pair, uint32_t i)
{
	uds_name name = uds_generate_counter_name(UINT64_C(1) << 40 | pair);

	uds_generate_set_sampling_field(&name, i);
	return name;
}

/* Put the first of each pair into a chapter of its own, and all these chapters on the volume. */
static void
write_twins(engine *engine, uint32_t pairs)
{
	for (uint32_t pair = 0; pair < pairs; pair++)
	{
		uds_name name = twin(pair, 1);
		uds_metadata metadata = uds_generate_metadata(7, 1);

		(void) engine_request(engine, UDS_POST, &name, &metadata);
		post_counters(engine, (uint64_t) pair * RECORDS, RECORDS - 1);
	}
	post_counters(engine, (uint64_t) pairs * RECORDS, UDS_CHAPTER_BUFFERS * RECORDS);
	engine_settle(engine);
}

/*
 * Two names with one address wait for the same page; the first takes the entry away to the open
 * chapter, so the second has no use for the page any more.
 */
static void
pages_are_given_back_when_the_entry_moves_away_of(uds_index_structure structure)
{
	uds_config config = small_config(64, structure);
	engine engine;

	engine_init(&engine, &config);
	engine_must_open(&engine);
	write_twins(&engine, 48);
	for (uint32_t pair = 0; pair < 48; pair++)
	{
		uds_name names[2] = { twin(pair, 1), twin(pair, 2) };
		uds_request batch[2] = { make_request(UDS_POST, &names[0], 2),
			                     make_request(UDS_POST, &names[1], 3) };
		uds_metadata stored = uds_generate_metadata(7, 1);

		assert_int_equal(engine_run(&engine, batch, 2), UDS_OK);
		assert_true(batch[0].found);
		assert_memory_equal(&batch[0].found_metadata, &stored, sizeof(stored));
		assert_false(batch[1].found);
	}
	for (uint32_t pair = 0; pair < 48; pair++)
	{
		uds_name name = twin(pair, 2);
		uds_metadata stored = uds_generate_metadata(7, 3);
		uds_request peek = engine_request(&engine, UDS_PEEK, &name, NULL);

		assert_true(peek.found);
		assert_memory_equal(&peek.found_metadata, &stored, sizeof(stored));
	}
	engine_destroy(&engine);
}

static void
pages_are_given_back_when_the_entry_moves_away(void **state)
{
	(void) state;
	pages_are_given_back_when_the_entry_moves_away_of(UDS_STRUCTURE_BUCKETS);
	pages_are_given_back_when_the_entry_moves_away_of(UDS_STRUCTURE_LISTS);
}

/* Requests of one batch for one name behave as if each had waited for the one before. */
static void
requests_for_one_name_keep_their_order(void **state)
{
	static const struct
	{
		uds_operation operation;
		bool found;
		uint64_t version; /* found */
	} script[] = {
		{ UDS_PEEK, true, 1 },    { UDS_UPDATE, true, 1 },  { UDS_QUERY, true, 11 },
		{ UDS_DELETE, true, 11 }, { UDS_PEEK, false, 0 },   { UDS_DELETE, false, 0 },
		{ UDS_POST, false, 0 },   { UDS_POST, true, 16 },   { UDS_UPDATE, true, 16 },
		{ UDS_PEEK, true, 18 },   { UDS_DELETE, true, 18 }, { UDS_QUERY, false, 0 },
	};
	enum
	{
		STEPS = sizeof(script) / sizeof(script[0]),
		PAIRS = 20
	};
	uds_config config = small_config(64, UDS_STRUCTURE_BUCKETS);
	uds_request *batch = calloc(STEPS * PAIRS, sizeof(*batch));
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	write_twins(&engine, PAIRS);
	/* More names than the cache has pages, interleaved. */
	for (uint32_t step = 0; step < STEPS; step++)
	{
		for (uint32_t pair = 0; pair < PAIRS; pair++)
		{
			uds_name name = twin(pair, 1);

			batch[step * PAIRS + pair] = make_request(script[step].operation, &name, 10 + step);
		}
	}
	assert_int_equal(engine_run(&engine, batch, STEPS * PAIRS), UDS_OK);
	for (uint32_t i = 0; i < STEPS * PAIRS; i++)
	{
		uint32_t step = i / PAIRS;
		uds_metadata expected = uds_generate_metadata(7, script[step].version);

		assert_int_equal(batch[i].found, script[step].found);
		if (script[step].found)
			assert_memory_equal(&batch[i].found_metadata, &expected, sizeof(expected));
	}
	engine_destroy(&engine);
	free(batch);
}

/* Execute requests without going on with parked ones; returns how many were parked. */
static uint32_t
execute_only(engine *engine, uds_request *requests, uint32_t count)
{
	uint32_t parked;

	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(engine->zones[0], requests, count, &parked), UDS_OK);
	return parked;
}

static void
a_chapter_that_expires_before_its_page_is_read_is_a_miss(void **state)
{
	uds_config config = small_config(8, UDS_STRUCTURE_BUCKETS);
	uds_operation operations[3] = { UDS_PEEK, UDS_QUERY, UDS_POST };
	uds_request waiting[3];
	uds_name after = uds_generate_counter_name(1000000);
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	write_twins(&engine, 3);
	for (uint32_t i = 0; i < 3; i++)
	{
		uds_name name = twin(i, 1);

		waiting[i] = make_request(operations[i], &name, 2);
	}
	assert_int_equal(execute_only(&engine, waiting, 3), 3);
	/* Nobody reads pages while eight chapters go by. */
	for (uint32_t i = 0; i < 9 * RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(2000000 + i);
		uds_request request = make_request(UDS_POST, &name, 0);

		assert_int_equal(execute_only(&engine, &request, 1), 0);
		assert_int_equal(request.status, UDS_OK);
		while (uds_writer_work(engine.writer, &engine.error) == UDS_OK)
			;
	}
	engine_settle(&engine);
	for (uint32_t i = 0; i < 3; i++)
	{
		assert_int_equal(waiting[i].status, UDS_OK);
		assert_false(waiting[i].found);
	}
	assert_int_equal(uds_zone_parked(engine.zones[0]), 0);
	assert_int_equal(engine_statistics(&engine).bad_pages, 0);
	/* The post was stored as new. */
	assert_true(engine_request(&engine, UDS_PEEK, &waiting[2].name, NULL).found);
	assert_false(engine_request(&engine, UDS_POST, &after, NULL).found);
	assert_true(engine_request(&engine, UDS_POST, &after, NULL).found);
	engine_destroy(&engine);
}

/* While the writer is three chapters behind, what stores waits and what does not is answered. */
static void
a_full_zone_answers_what_stores_nothing(void **state)
{
	uds_config config = small_config(16, UDS_STRUCTURE_BUCKETS);
	uint32_t room = UDS_CHAPTER_BUFFERS * RECORDS;
	uds_request stored[2];
	uds_request *waiting = calloc(RECORDS, sizeof(*waiting));
	uds_zone_statistics statistics;
	uds_name first = uds_generate_counter_name(0);
	uds_name unknown = uds_generate_counter_name(99999);
	uds_request peek = make_request(UDS_PEEK, &first, 0);
	uds_request query = make_request(UDS_QUERY, &unknown, 0);
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	engine.must_not_write = true;
	post_counters(&engine, 0, room);
	for (uint32_t i = 0; i < RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(room + i);

		waiting[i] = make_request(UDS_POST, &name, i);
	}
	assert_int_equal(execute_only(&engine, waiting, RECORDS), RECORDS);
	/* For the name of a parked request: behind it, although it stores nothing. */
	stored[0] = make_request(UDS_PEEK, &waiting[5].name, 0);
	assert_int_equal(execute_only(&engine, stored, 1), 1);
	assert_int_equal(execute_only(&engine, &peek, 1), 0);
	assert_true(peek.found);
	assert_int_equal(execute_only(&engine, &query, 1), 0);
	assert_false(query.found);
	uds_index_zone_statistics(engine.index, 0, &statistics);
	assert_true(statistics.is_full);
	assert_int_equal(statistics.parked, RECORDS + 1);
	/* One chapter is written, and the chapter's worth of requests goes on. */
	engine.must_not_write = false;
	engine_settle(&engine);
	for (uint32_t i = 0; i < RECORDS; i++)
	{
		assert_int_equal(waiting[i].status, UDS_OK);
		assert_false(waiting[i].found);
	}
	assert_true(stored[0].found);
	uds_index_zone_statistics(engine.index, 0, &statistics);
	assert_false(statistics.is_full);
	assert_int_equal(statistics.parked, 0);
	engine_destroy(&engine);
	free(waiting);
}

/* Parked requests survive a rebuild of the block under them, in their order. */
static void
parked_requests_go_on_after_a_rebuild(void **state)
{
	uds_config config = small_config(16, UDS_STRUCTURE_BUCKETS);
	uds_request waiting[24];
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	write_twins(&engine, 8);
	for (uint32_t i = 0; i < 24; i++)
	{
		uds_name name = twin(i % 8, 1);

		waiting[i] = make_request(i < 8 ? UDS_QUERY : i < 16 ? UDS_UPDATE : UDS_POST, &name, i);
	}
	assert_int_equal(execute_only(&engine, waiting, 24), 24);
	uds_block_fail(engine.index, &engine.writer_port, "test");
	assert_int_equal(uds_zone_turn(engine.zones[0]), UDS_PENDING);
	assert_int_equal(uds_zone_parked(engine.zones[0]), 24);
	engine_settle(&engine);
	assert_int_equal(uds_index_state(engine.index), UDS_STATE_ONLINE);
	for (uint32_t i = 0; i < 24; i++)
	{
		uds_metadata expected = uds_generate_metadata(7, i < 16 ? 1 : i - 8);

		assert_int_equal(waiting[i].status, UDS_OK);
		assert_true(waiting[i].found);
		assert_memory_equal(&waiting[i].found_metadata, &expected, sizeof(expected));
	}
	engine_destroy(&engine);
}

/* A worker that goes away with requests parked has left pins behind: its successor has it rebuilt. */
static void
a_worker_that_dies_with_parked_requests_has_the_index_rebuilt(void **state)
{
	uds_config config = small_config(16, UDS_STRUCTURE_BUCKETS);
	uds_name name = twin(0, 1);
	uds_request waiting = make_request(UDS_QUERY, &name, 0);
	uds_error error;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	write_twins(&engine, 4);
	assert_int_equal(execute_only(&engine, &waiting, 1), 1);
	uds_zone_detach(engine.zones[0]);
	assert_int_equal(uds_zone_attach(engine.zone_memory[0],
	                                 engine.index,
	                                 &engine.zone_ports[0],
	                                 0,
	                                 &engine.zones[0],
	                                 &error),
	                 UDS_ERR_INTERNAL);
	assert_int_equal(uds_index_state(engine.index), UDS_STATE_FAILED);
	engine_settle(&engine);
	assert_int_equal(uds_index_state(engine.index), UDS_STATE_ONLINE);
	assert_true(engine_request(&engine, UDS_QUERY, &name, NULL).found);
	engine_destroy(&engine);
}

static void
batches_of_a_wrong_size_are_refused(void **state)
{
	uds_config config = small_config(16, UDS_STRUCTURE_BUCKETS);
	uds_name name = twin(0, 1);
	uds_request request = make_request(UDS_POST, &name, 0);
	uint32_t parked;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	/* Not the holder of the zone yet. */
	assert_int_equal(uds_zone_execute(engine.zones[0], &request, 1, &parked), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_zone_turn(engine.zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(engine.zones[0], &request, 0, &parked), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_zone_execute(engine.zones[0], &request, UDS_BATCH_MAX + 1, &parked),
	                 UDS_ERR_ARGUMENT);
	request.operation = UDS_UNDO;
	assert_int_equal(uds_zone_execute(engine.zones[0], &request, 1, &parked), UDS_OK);
	assert_int_equal(request.status, UDS_ERR_ARGUMENT);
	request.operation = 200;
	assert_int_equal(uds_zone_execute(engine.zones[0], &request, 1, &parked), UDS_OK);
	assert_int_equal(request.status, UDS_ERR_ARGUMENT);
	engine_destroy(&engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_given_back_when_the_entry_moves_away),
		cmocka_unit_test(requests_for_one_name_keep_their_order),
		cmocka_unit_test(a_chapter_that_expires_before_its_page_is_read_is_a_miss),
		cmocka_unit_test(a_full_zone_answers_what_stores_nothing),
		cmocka_unit_test(parked_requests_go_on_after_a_rebuild),
		cmocka_unit_test(a_worker_that_dies_with_parked_requests_has_the_index_rebuilt),
		cmocka_unit_test(batches_of_a_wrong_size_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
