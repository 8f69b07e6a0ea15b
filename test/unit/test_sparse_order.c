/*
 * test_sparse_order.c: names that are posted together lie together, hooks and others, also when
 * sparse chapters are loaded for some of them and a chapter closes meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/engine/block.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"

#define FILLED 20 /* chapters; the next one is open */
#define USED   200
#define ROOM   (SPARSE_RECORDS - USED) /* for the batch, in the open chapter */
#define NEW    50
#define OLD    100
#define BATCH  (NEW + OLD + NEW)

/* New names, names of a sparse chapter, new names. */
static uint64_t
number_of(uint32_t place)
{
	if (place >= NEW && place < NEW + OLD)
		return 3 * SPARSE_RECORDS + place - NEW;
	return 200000 + place;
}

/* Chapter that the volume index names. */
static uint64_t
chapter_of(engine *engine, uint64_t number)
{
	uds_name name = uds_generate_counter_name(number);
	uds_index_entry entry;

	assert_int_equal(uds_volume_index_get(&engine->index->volume_index, &name, &entry), UDS_OK);
	assert_true(entry.kind != UDS_ENTRY_NONE);
	return entry.chapter;
}

static void
hooks_do_not_overtake_their_neighbours(void **state)
{
	(void) state;
	for (int structure = 0; structure < 2; structure++)
	{
		uds_config config = sparse_config(1, (uds_index_structure) structure);
		uds_request requests[BATCH];
		uint32_t found = 0;
		engine engine;

		engine_init(&engine, &config);
		/* No request waits for a record page. */
		engine.host.memory = POSIX_MEMORY_FULL;
		engine_must_open(&engine);
		sparse_fill(&engine, FILLED);
		assert_int_equal(sparse_post(&engine, 100000, USED), 0);
		for (uint32_t i = 0; i < BATCH; i++)
			requests[i] = (uds_request){ .name = uds_generate_counter_name(number_of(i)),
				                         .operation = UDS_POST };
		assert_int_equal(engine_run(&engine, requests, BATCH), UDS_OK);
		for (uint32_t i = 0; i < BATCH; i++)
			found += requests[i].found;
		assert_int_equal(found, OLD);
		assert_int_equal(engine_statistics(&engine).sparse_loads, 1);
		for (uint32_t i = 0; i < BATCH; i++)
			assert_int_equal(chapter_of(&engine, number_of(i)), i < ROOM ? FILLED : FILLED + 1);
		engine_destroy(&engine);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hooks_do_not_overtake_their_neighbours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
