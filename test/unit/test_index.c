/*
 * test_index.c: a whole dense index answers like a plain map with a window, over several wraps of
 * the volume, saves, orderly ends and crashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/engine_host.h"
#include "../support/generate.h"
#include "../support/model.h"

#define BATCH_MAX 64

typedef struct run
{
	engine engine;
	model model;
	uds_random random;
	uds_geometry geometry;
	uint32_t name_count;
	uint32_t batch; /* requests at once; with 1, chapters and regions are exactly the model's */
	uint64_t version;
	uint64_t checked;
} run;

static void
run_init(run *run, const uds_config *config, uint32_t name_count, uint64_t seed)
{
	memset(run, 0, sizeof(*run));
	engine_init(&run->engine, config);
	assert_int_equal(uds_geometry_init(&run->geometry, &config->geometry), UDS_OK);
	run->name_count = name_count;
	run->batch = 1;
	model_init(&run->model, name_count, &run->geometry);
	uds_random_init(&run->random, uds_random_seed(seed));
	engine_must_open(&run->engine);
}

static void
run_destroy(run *run)
{
	engine_destroy(&run->engine);
	model_destroy(&run->model);
}

/* Draw an operation: mostly posts. */
static uds_operation
draw_operation(uds_random *random)
{
	static const uds_operation operations[16] = {
		UDS_POST,   UDS_POST,   UDS_POST,  UDS_POST,  UDS_POST, UDS_POST, UDS_POST,   UDS_POST,
		UDS_UPDATE, UDS_UPDATE, UDS_QUERY, UDS_QUERY, UDS_PEEK, UDS_PEEK, UDS_DELETE, UDS_PEEK,
	};

	return operations[uds_random_below(random, 16)];
}

/*
 * Execute random requests in batches and compare every answer.  Within a batch a request may
 * overtake one for another name that waits for a page, so chapters may end a little earlier or
 * later than the model's.
 */
static void
run_random(run *run, uint64_t requests)
{
	for (uint64_t done = 0; done < requests; done += run->batch)
	{
		uds_request batch[BATCH_MAX];
		uint32_t names[BATCH_MAX];

		memset(batch, 0, sizeof(batch));
		for (uint32_t i = 0; i < run->batch; i++)
		{
			names[i] = (uint32_t) uds_random_below(&run->random, run->name_count);
			batch[i].name = uds_generate_counter_name(names[i]);
			batch[i].operation = (uint8_t) draw_operation(&run->random);
			batch[i].metadata = uds_generate_metadata(names[i], run->version + i);
		}
		run->version += run->batch;
		if (engine_run(&run->engine, batch, run->batch) != UDS_OK)
			fail_msg("seed %llu: engine failed", (unsigned long long) run->random.seed);
		for (uint32_t i = 0; i < run->batch; i++)
		{
			bool found;
			uds_region region;
			uds_metadata metadata;

			model_execute(&run->model,
			              names[i],
			              (uds_operation) batch[i].operation,
			              &batch[i].metadata,
			              &found,
			              &region,
			              &metadata);
			if (batch[i].found != found || (run->batch == 1 && batch[i].region != region) ||
			    (found && memcmp(&metadata, &batch[i].found_metadata, sizeof(metadata)) != 0))
				fail_msg("seed %llu, request %llu, operation %d on name %u: found %d region %d, "
				         "expected found %d region %d",
				         (unsigned long long) run->random.seed,
				         (unsigned long long) (done + i),
				         batch[i].operation,
				         names[i],
				         batch[i].found,
				         batch[i].region,
				         found,
				         region);
			run->checked++;
		}
	}
}

static void
check_structures(run *run)
{
	uds_statistics statistics = engine_statistics(&run->engine);

	assert_int_equal(statistics.entries_lost, 0);
	assert_int_equal(statistics.overflows, 0);
	assert_int_equal(statistics.bad_pages, 0);
	assert_int_equal(statistics.newest_chapter, run->model.newest);
}

static void
wraps_of(uds_index_structure structure, uint32_t record_pages, uint32_t chapters, uint64_t seed)
{
	uds_config config = engine_config(record_pages, chapters, 1, structure);
	uint32_t window = record_pages * UDS_RECORDS_PER_PAGE * chapters;
	run run;

	run_init(&run, &config, window + window / 2, seed);
	run_random(&run, 8 * (uint64_t) window);
	check_structures(&run);
	assert_true(run.model.newest > 3 * chapters);
	run_destroy(&run);
}

static void
buckets_answer_like_the_model_over_wraps(void **state)
{
	(void) state;
	wraps_of(UDS_STRUCTURE_BUCKETS, 1, 8, 1);
	wraps_of(UDS_STRUCTURE_BUCKETS, 2, 16, 2);
	wraps_of(UDS_STRUCTURE_BUCKETS, 8, 5, 3);
}

static void
lists_answer_like_the_model_over_wraps(void **state)
{
	(void) state;
	wraps_of(UDS_STRUCTURE_LISTS, 1, 8, 4);
	wraps_of(UDS_STRUCTURE_LISTS, 2, 16, 5);
	wraps_of(UDS_STRUCTURE_LISTS, 8, 5, 6);
}

static void
batches_answer_like_single_requests(void **state)
{
	uds_config config = engine_config(2, 32, 1, UDS_STRUCTURE_BUCKETS);
	run run;

	(void) state;
	/* A window that nothing leaves, so that a chapter more or less does not matter. */
	run_init(&run, &config, 3000, 7);
	run.batch = BATCH_MAX;
	run_random(&run, 9000);
	assert_true(engine_statistics(&run.engine).page_reads > 30);
	assert_true(engine_statistics(&run.engine).newest_chapter < 32);
	run_destroy(&run);
}

static void
reopening_loses_nothing_of(uds_index_structure structure, uint64_t seed)
{
	uds_config config = engine_config(2, 8, 1, structure);
	run run;

	run_init(&run, &config, 3000, seed);
	for (int i = 0; i < 20; i++)
	{
		run_random(&run, uds_random_below(&run.random, 2000));
		assert_int_equal(engine_close(&run.engine), UDS_OK);
		engine_must_open(&run.engine);
	}
	check_structures(&run);
	run_destroy(&run);
}

static void
reopening_loses_nothing(void **state)
{
	(void) state;
	reopening_loses_nothing_of(UDS_STRUCTURE_BUCKETS, 11);
	reopening_loses_nothing_of(UDS_STRUCTURE_LISTS, 12);
}

static void
saves_go_on_while_requests_do(void **state)
{
	uds_config config = engine_config(2, 8, 1, UDS_STRUCTURE_BUCKETS);
	run run;

	(void) state;
	run_init(&run, &config, 3000, 13);
	for (int i = 0; i < 20; i++)
	{
		run_random(&run, uds_random_below(&run.random, 1000));
		assert_int_equal(engine_checkpoint(&run.engine), UDS_OK);
	}
	check_structures(&run);
	/* A crash right after a save loses nothing either. */
	engine_crash(&run.engine);
	engine_must_open(&run.engine);
	run_random(&run, 1000);
	check_structures(&run);
	run_destroy(&run);
}

/*
 * After a crash the chapters that were sealed, and the last save, are there: their records are
 * found with the metadata they had, unless a later version was lost with the open chapter.
 */
static void
crash_of(uds_index_structure structure, bool with_saves, uint64_t seed)
{
	uds_config config = engine_config(2, 8, 1, structure);
	run run;
	model saved; /* as of the last save */
	uint64_t sealed;
	uint64_t wanted = 0;

	run_init(&run, &config, 6000, seed);
	model_init(&saved, run.name_count, &run.geometry);
	for (int round = 0; round < 10; round++)
	{
		bool has_save = with_saves && uds_random_one_in(&run.random, 2);

		run_random(&run, uds_random_below(&run.random, 6000));
		if (has_save)
			assert_int_equal(engine_checkpoint(&run.engine), UDS_OK);
		model_copy(&saved, &run.model);
		if (!has_save || uds_random_one_in(&run.random, 2))
			run_random(&run, uds_random_below(&run.random, 1000));
		engine_settle(&run.engine);
		engine_crash(&run.engine);
		engine_must_open(&run.engine);
		sealed = run.model.newest;
		for (uint32_t i = 0; i < run.name_count; i++)
		{
			model_entry *entry = &run.model.entries[i];
			model_entry *old = &saved.entries[i];
			uds_name name = uds_generate_counter_name(i);
			uds_request peek = engine_request(&run.engine, UDS_PEEK, &name, NULL);
			bool is_durable = entry->chapter != UDS_NO_CHAPTER && entry->chapter < sealed;

			/* What was saved in the open chapter, and not touched since. */
			if (has_save && saved.newest == sealed && entry->chapter == sealed &&
			    old->chapter == sealed &&
			    memcmp(&old->metadata, &entry->metadata, sizeof(entry->metadata)) == 0 &&
			    old->is_tombstone == entry->is_tombstone)
				is_durable = true;
			if (is_durable && entry->chapter >= model_oldest(&run.model))
			{
				wanted++;
				assert_int_equal(peek.found, !entry->is_tombstone);
				if (peek.found)
					assert_memory_equal(&peek.found_metadata,
					                    &entry->metadata,
					                    sizeof(entry->metadata));
			}
			else if (peek.found && entry->chapter != UDS_NO_CHAPTER)
			{
				/* An older version, or one that was saved: written for this name at least. */
				assert_true(entry->chapter == sealed || entry->chapter >= model_oldest(&run.model));
			}
			/* From here on the model says what the index said. */
			if (!is_durable)
			{
				entry->chapter = UDS_NO_CHAPTER;
				if (peek.found || entry->is_tombstone)
					(void) engine_request(&run.engine, UDS_DELETE, &name, NULL);
			}
		}
		/* Begin the next round with equal states. */
		assert_int_equal(engine_reset(&run.engine), UDS_OK);
		for (uint32_t i = 0; i < run.name_count; i++)
			run.model.entries[i].chapter = UDS_NO_CHAPTER;
		run.model.newest = 0;
		run.model.fill = 0;
	}
	assert_true(wanted > 1000);
	model_destroy(&saved);
	run_destroy(&run);
}

static void
crash_keeps_what_was_sealed_or_saved(void **state)
{
	(void) state;
	crash_of(UDS_STRUCTURE_BUCKETS, false, 21);
	crash_of(UDS_STRUCTURE_BUCKETS, true, 22);
	crash_of(UDS_STRUCTURE_LISTS, true, 23);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_answer_like_the_model_over_wraps),
		cmocka_unit_test(lists_answer_like_the_model_over_wraps),
		cmocka_unit_test(batches_answer_like_single_requests),
		cmocka_unit_test(reopening_loses_nothing),
		cmocka_unit_test(saves_go_on_while_requests_do),
		cmocka_unit_test(crash_keeps_what_was_sealed_or_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
