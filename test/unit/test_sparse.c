/*
 * test_sparse.c: an index whose old chapters are known by their hooks only finds the names beside a
 * hook that it meets, forgets what the window has left, and never gives wrong metadata.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

#define CHAPTERS    24
#define DENSE       8
#define SAMPLE_RATE 4

typedef struct fixture
{
	engine engine;
	uint32_t records; /* of a chapter */
} fixture;

static void
begin(fixture *fixture, uint32_t zones, uds_index_structure structure)
{
	uds_config config = engine_config(2, CHAPTERS, zones, structure);

	config.geometry.sparse_chapters = CHAPTERS - DENSE;
	config.geometry.sample_rate = SAMPLE_RATE;
	config.reader_count = 1;
	fixture->records = 2 * UDS_RECORDS_PER_PAGE;
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
}

static uds_name
name_of(uint64_t number)
{
	return uds_generate_counter_name(number);
}

static bool
is_hook(const uds_name *name)
{
	return uds_name_sampling_field(name) % SAMPLE_RATE == 0;
}

/* Post names first .. first + count - 1 in one stream; returns how many were found. */
static uint32_t
post(fixture *fixture, uint64_t first, uint32_t count)
{
	uds_request *requests = calloc(count, sizeof(*requests));
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++)
		requests[i] = (uds_request){ .name = name_of(first + i),
			                         .operation = UDS_POST,
			                         .metadata = uds_generate_metadata(first + i, 1) };
	assert_int_equal(engine_run(&fixture->engine, requests, count), UDS_OK);
	for (uint32_t i = 0; i < count; i++)
	{
		uds_metadata expected = uds_generate_metadata(first + i, 1);

		if (!requests[i].found)
			continue;
		found++;
		assert_memory_equal(&requests[i].found_metadata, &expected, sizeof(expected));
	}
	free(requests);
	engine_settle(&fixture->engine);
	return found;
}

static uds_request
peek(fixture *fixture, uint64_t number)
{
	uds_name name = name_of(number);

	return engine_request(&fixture->engine, UDS_PEEK, &name, NULL);
}

static void
a_hook_brings_its_neighbours_back(void **state)
{
	(void) state;
	for (int structure = 0; structure < 2; structure++)
	{
		for (uint32_t zones = 1; zones <= 3; zones++)
		{
			fixture fixture;
			uint32_t found = 0;
			uint64_t hook = 5000;
			uds_name name;

			begin(&fixture, zones, (uds_index_structure) structure);
			assert_int_equal(post(&fixture, 0, 20 * fixture.records), 0);
			/* Chapter 2 is sparse: of its names the hooks are found, and then the others. */
			for (uint64_t i = 2 * fixture.records; i < 3 * fixture.records; i++)
			{
				name = name_of(i);
				if (is_hook(&name))
					hook = i;
				else if (hook == 5000)
					assert_false(peek(&fixture, i).found);
			}
			assert_int_equal(peek(&fixture, hook).region, UDS_REGION_SPARSE);
			for (uint64_t i = 2 * fixture.records; i < 3 * fixture.records; i++)
			{
				uds_request request = peek(&fixture, i);

				found += request.found;
				if (request.found)
					assert_int_equal(request.region, UDS_REGION_SPARSE);
			}
			assert_true(found > fixture.records * 9 / 10);
			assert_int_equal(engine_statistics(&fixture.engine).sparse_failures, 0);
			engine_destroy(&fixture.engine);
		}
	}
}

static void
a_stream_that_is_posted_again_is_found(void **state)
{
	fixture fixture;
	uds_statistics statistics;
	uint32_t found;

	(void) state;
	begin(&fixture, 1, UDS_STRUCTURE_BUCKETS);
	assert_int_equal(post(&fixture, 0, 20 * fixture.records), 0);
	found = post(&fixture, 1 * fixture.records, 3 * fixture.records);
	assert_true(found > 3 * fixture.records * 9 / 10);
	statistics = engine_statistics(&fixture.engine);
	assert_int_equal(statistics.sparse_posts_found, found);
	assert_true(statistics.sparse_loads >= 3);
	/* They are in the open chapters now. */
	assert_int_equal(post(&fixture, 1 * fixture.records, 3 * fixture.records), 3 * fixture.records);
	engine_destroy(&fixture.engine);
}

/* First name of a chapter that is a hook. */
static uint64_t
hook_of(const fixture *fixture, uint64_t chapter)
{
	uint64_t number = chapter * fixture->records;
	uds_name name = name_of(number);

	while (!is_hook(&name))
		name = name_of(++number);
	return number;
}

/* Let a zone do what it can now; the number of requests that are still parked. */
static uint32_t
run_zone(uds_zone_worker *zone)
{
	uds_request *finished;

	assert_int_equal(uds_zone_turn(zone), UDS_OK);
	while (uds_zone_advance(zone, &finished) == UDS_OK)
		;
	return uds_zone_parked(zone);
}

/* A zone that sleeps after each wake-up misses none of the loads that its requests wait for. */
static void
a_request_that_waits_for_several_loads_is_woken_for_the_last(void **state)
{
	fixture fixture;
	uds_port port;
	uds_reader *reader;
	void *memory = calloc(1, uds_reader_size());
	bool *is_woken = &fixture.engine.host.workers[UDS_WORKER_ZONE].is_woken;
	uds_request requests[3] = { 0 };
	uint32_t parked;

	(void) state;
	begin(&fixture, 1, UDS_STRUCTURE_BUCKETS);
	assert_int_equal(post(&fixture, 0, 20 * fixture.records), 0);
	port = posix_port(&fixture.engine.host, UDS_WORKER_READER);
	assert_int_equal(uds_reader_attach(memory,
	                                   fixture.engine.index,
	                                   &port,
	                                   0,
	                                   &reader,
	                                   &fixture.engine.error),
	                 UDS_OK);
	for (uint32_t i = 0; i < 3; i++)
	{
		requests[i].operation = UDS_PEEK;
		requests[i].name = name_of(i < 2 ? hook_of(&fixture, i + 1) : 1000000);
	}
	uds_generate_set_sampling_field(&requests[2].name, 1);
	assert_int_equal(uds_zone_turn(fixture.engine.zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(fixture.engine.zones[0], requests, 3, &parked), UDS_OK);
	assert_int_equal(requests[2].status, UDS_PENDING);
	while (run_zone(fixture.engine.zones[0]) > 0)
	{
		*is_woken = false;
		while (!*is_woken && uds_reader_work(reader) == UDS_OK)
			;
		assert_true(*is_woken);
	}
	assert_int_equal(engine_statistics(&fixture.engine).sparse_loads, 2);
	assert_true(requests[0].found && requests[1].found && !requests[2].found);
	uds_reader_detach(reader);
	free(memory);
	engine_destroy(&fixture.engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hook_brings_its_neighbours_back),
		cmocka_unit_test(a_stream_that_is_posted_again_is_found),
		cmocka_unit_test(a_request_that_waits_for_several_loads_is_woken_for_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
