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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hook_brings_its_neighbours_back),
		cmocka_unit_test(a_stream_that_is_posted_again_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
