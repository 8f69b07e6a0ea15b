/*
 * sparse_host.c: a small sparse index, filled with names whose chapters are known.
 */
#include "sparse_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generate.h"

uds_config
sparse_config(uint32_t zone_count, uds_index_structure structure)
{
	uds_config config = engine_config(SPARSE_RECORD_PAGES, SPARSE_CHAPTERS, zone_count, structure);

	config.geometry.sparse_chapters = SPARSE_CHAPTERS - SPARSE_DENSE;
	config.geometry.sample_rate = SPARSE_RATE;
	return config;
}

bool
sparse_is_hook(const uds_name *name)
{
	return uds_name_sampling_field(name) % SPARSE_RATE == 0;
}

static uint64_t
find_name(uint64_t chapter, uint32_t nth, bool is_hook)
{
	for (uint64_t number = chapter * SPARSE_RECORDS; number < (chapter + 1) * SPARSE_RECORDS;
	     number++)
	{
		uds_name name = uds_generate_counter_name(number);

		if (sparse_is_hook(&name) == is_hook && nth-- == 0)
			return number;
	}
	fprintf(stderr, "a chapter has fewer such names\n");
	abort();
}

uint64_t
sparse_hook(uint64_t chapter, uint32_t nth)
{
	return find_name(chapter, nth, true);
}

uint64_t
sparse_other(uint64_t chapter, uint32_t nth)
{
	return find_name(chapter, nth, false);
}

uint32_t
sparse_post(engine *engine, uint64_t first, uint32_t count)
{
	uds_request *requests = calloc(count, sizeof(*requests));
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++)
		requests[i] = (uds_request){ .name = uds_generate_counter_name(first + i),
			                         .operation = UDS_POST,
			                         .metadata = uds_generate_metadata(first + i, 1) };
	if (engine_run(engine, requests, count) != UDS_OK)
	{
		fprintf(stderr, "posts failed\n");
		abort();
	}
	for (uint32_t i = 0; i < count; i++)
	{
		if (requests[i].found && memcmp(&requests[i].found_metadata,
		                                &requests[i].metadata,
		                                sizeof(requests[i].metadata)) != 0)
		{
			fprintf(stderr, "wrong metadata\n");
			abort();
		}
		found += requests[i].found;
	}
	free(requests);
	engine_settle(engine);
	return found;
}

void
sparse_fill(engine *engine, uint32_t chapters)
{
	if (sparse_post(engine, 0, chapters * SPARSE_RECORDS) != 0)
	{
		fprintf(stderr, "a name was found that had not been posted\n");
		abort();
	}
}

uds_request
sparse_request(engine *engine, uds_operation operation, uint64_t number)
{
	uds_name name = uds_generate_counter_name(number);
	uds_metadata metadata = uds_generate_metadata(number, 1);

	return engine_request(engine, operation, &name, &metadata);
}
