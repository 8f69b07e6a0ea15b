/*
 * test_properties.c: what a whole index promises whatever the names are: biased names make it
 * forgetful, never wrong; counters are exact; requests do what their types say, before and after
 * the chapter is closed, the index is reopened or rebuilt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

/* ---- biased names ----------------------------------------------------------------------------- */

typedef enum bias
{
	BIAS_NONE,
	BIAS_SAMPLING_ZERO,
	BIAS_SAMPLING_ONES,
	BIAS_CHAPTER_FIELD,
	BIAS_VOLUME_FIELD,
	BIAS_REPEATED,
	BIAS_SMALL,
	BIAS_COUNT
} bias;

/* One thread: there is nothing for ThreadSanitizer to find, and it takes its time. */
#ifdef __SANITIZE_THREAD__
#define BIASED_NAMES 5000
#else
#define BIASED_NAMES 40000
#endif

static uds_name
biased_name(bias kind, uint32_t i)
{
	uds_name name = uds_generate_counter_name(i);
	uint32_t word;

	switch (kind)
	{
		case BIAS_SAMPLING_ZERO:
			uds_generate_set_sampling_field(&name, 0);
			break;
		case BIAS_SAMPLING_ONES:
			uds_generate_set_sampling_field(&name, 0xffff);
			break;
		case BIAS_CHAPTER_FIELD:
			uds_generate_set_chapter_field(&name, 0);
			break;
		case BIAS_VOLUME_FIELD:
			uds_generate_set_volume_field(&name, 0);
			break;
		case BIAS_REPEATED:
			for (int j = 0; j < 16; j += 4)
				memcpy(name.bytes + j, name.bytes, 4);
			break;
		case BIAS_SMALL:
			word = i;
			for (int j = 0; j < 16; j += 4)
				memcpy(name.bytes + j, &word, 4);
			break;
		case BIAS_NONE:
		case BIAS_COUNT:
			break;
	}
	return name;
}

/* Update all names in batches; whatever is found must be what was last stored. */
static uint32_t
update_all(engine *engine, bias kind, uint64_t version)
{
	enum
	{
		BATCH = 500
	};
	uds_request *batch = calloc(BATCH, sizeof(*batch));
	uint32_t found = 0;

	for (uint32_t first = 0; first < BIASED_NAMES; first += BATCH)
	{
		for (uint32_t i = 0; i < BATCH; i++)
			batch[i] = (uds_request){ .name = biased_name(kind, first + i),
				                      .operation = UDS_UPDATE,
				                      .metadata = uds_generate_metadata(first + i, version) };
		if (engine_run(engine, batch, BATCH) != UDS_OK)
			fail_msg("bias %d: a request failed", kind);
		for (uint32_t i = 0; i < BATCH; i++)
		{
			uds_metadata expected = uds_generate_metadata(first + i, version - 1);

			if (!batch[i].found)
				continue;
			if (version == 0 || memcmp(&batch[i].found_metadata, &expected, sizeof(expected)) != 0)
				fail_msg("bias %d: name %u has wrong metadata", kind, first + i);
			found++;
		}
	}
	free(batch);
	return found;
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

/* End without a save, forget the saves there are: only the volume is left. */
static void
rebuild(engine *engine)
{
	engine_settle(engine);
	engine_crash(engine);
	for (uint32_t save = 0; save < 2; save++)
	{
		const char *name = save == 0 ? "checkpoint.0" : "checkpoint.1";

		if (files_exists(engine->host.directory, name))
			files_remove(engine->host.directory, name);
	}
	engine_must_open(engine);
}

static void
biased_names_are_never_wrong_of(bias kind, uint32_t zone_count, uds_index_structure structure)
{
	uds_config config = engine_config(16, 80, zone_count, structure);
	uds_geometry geometry;
	engine engine;
	uint32_t found;

	assert_int_equal(uds_geometry_init(&geometry, &config.geometry), UDS_OK);
	config.page_cache_bytes = 1024 * UDS_PAGE_BYTES;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	assert_int_equal(update_all(&engine, kind, 0), 0);
	post_counters(&engine, UINT64_C(1) << 40, 2 * geometry.records_per_chapter);
	found = update_all(&engine, kind, 1);
	if (kind == BIAS_NONE || kind == BIAS_SAMPLING_ZERO || kind == BIAS_SAMPLING_ONES)
		assert_int_equal(found, BIASED_NAMES);
	rebuild(&engine);
	/*
	 * A name whose newest version is gone with the open chapter may have its older one back, so
	 * the versions start over: nothing of this round is in the open chapter before.
	 */
	post_counters(&engine, UINT64_C(1) << 41, geometry.records_per_chapter);
	for (uint32_t i = 0; i < BIASED_NAMES; i += 7)
	{
		uds_name name = biased_name(kind, i);
		uds_request peek = engine_request(&engine, UDS_PEEK, &name, NULL);
		uds_metadata versions[2] = { uds_generate_metadata(i, 0), uds_generate_metadata(i, 1) };

		if (peek.found && memcmp(&peek.found_metadata, &versions[0], sizeof(versions[0])) != 0 &&
		    memcmp(&peek.found_metadata, &versions[1], sizeof(versions[1])) != 0)
			fail_msg("bias %d: name %u has wrong metadata after a rebuild", kind, i);
	}
	assert_int_equal(uds_index_state(engine.index), UDS_STATE_ONLINE);
	assert_int_equal(engine_statistics(&engine).bad_pages, 0);
	engine_destroy(&engine);
}

static void
biased_names_are_never_wrong(void **state)
{
	(void) state;
	for (bias kind = BIAS_NONE; kind < BIAS_COUNT; kind++)
	{
		biased_names_are_never_wrong_of(kind, kind % 2 == 0 ? 1 : 3, UDS_STRUCTURE_BUCKETS);
		biased_names_are_never_wrong_of(kind, kind % 2 == 0 ? 3 : 1, UDS_STRUCTURE_LISTS);
	}
}

/* All names in one bucket or list: the volume index refuses some, and says so. */
static void
names_of_one_place_overflow_of(uds_index_structure structure)
{
	uds_config config = engine_config(64, 64, 1, structure);
	engine engine;
	uint32_t posted = 0;
	uint32_t found = 0;

	engine_init(&engine, &config);
	engine_must_open(&engine);
	while (engine_statistics(&engine).overflows == 0)
	{
		uds_request request = { .name = biased_name(BIAS_VOLUME_FIELD, posted),
			                    .operation = UDS_POST,
			                    .metadata = uds_generate_metadata(posted, 0) };

		posted++;
		assert_true(posted < 1000000);
		assert_int_equal(engine_run(&engine, &request, 1), UDS_OK);
		assert_false(request.found);
	}
	/* It is the last one that was refused. */
	for (uint32_t i = 0; i < posted; i++)
	{
		uds_name name = biased_name(BIAS_VOLUME_FIELD, i);
		uds_metadata metadata = uds_generate_metadata(i, 0);
		uds_request peek = engine_request(&engine, UDS_PEEK, &name, NULL);

		if (peek.found)
			assert_memory_equal(&peek.found_metadata, &metadata, sizeof(metadata));
		found += peek.found;
	}
	assert_true(found >= posted - 1 - engine_statistics(&engine).entries_lost);
	assert_true(found < posted);
	post_counters(&engine, UINT64_C(1) << 40, 1000);
	engine_destroy(&engine);
}

static void
names_of_one_place_overflow(void **state)
{
	(void) state;
	names_of_one_place_overflow_of(UDS_STRUCTURE_BUCKETS);
	names_of_one_place_overflow_of(UDS_STRUCTURE_LISTS);
}

/* All names in one list of the chapter index: chapters are closed, what has no room is counted. */
static void
names_of_one_chapter_list_close_chapters(void **state)
{
	uds_config config = engine_config(24, 16, 1, UDS_STRUCTURE_BUCKETS);
	uint32_t count = 24 * UDS_RECORDS_PER_PAGE;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint32_t round = 0; round < 2; round++)
	{
		uint32_t found = 0;

		for (uint32_t i = 0; i < count; i++)
		{
			uds_name name = biased_name(BIAS_CHAPTER_FIELD, round * count + i);
			uds_metadata metadata = uds_generate_metadata(i, round);

			assert_false(engine_request(&engine, UDS_POST, &name, &metadata).found);
		}
		engine_settle(&engine);
		assert_int_equal(engine_statistics(&engine).chapters_written, round * 6 + 1);
		/* Out of memory, onto the volume. */
		post_counters(&engine, (uint64_t) (round + 1) << 40, 5 * count);
		engine_settle(&engine);
		for (uint32_t i = 0; i < count; i++)
		{
			uds_name name = biased_name(BIAS_CHAPTER_FIELD, round * count + i);
			uds_metadata metadata = uds_generate_metadata(i, round);
			uds_request peek = engine_request(&engine, UDS_PEEK, &name, NULL);

			if (peek.found)
				assert_memory_equal(&peek.found_metadata, &metadata, sizeof(metadata));
			found += peek.found;
		}
		/* Those that the chapter index leads to, and only those. */
		assert_true(found > 100);
		assert_int_equal(engine_statistics(&engine).overflows, (round + 1) * (count - found));
	}
	engine_destroy(&engine);
}

/*
 * Newer versions and tombstones that a chapter index had to drop: they are not found, and the older
 * versions that they hide are not found in their stead, neither before nor after a rebuild.  What
 * nothing leads to gets no entry in the volume index.
 */
static void
dropped_records_hide_older_ones_of(uds_index_structure structure)
{
	enum
	{
		OLD = 40 /* names of the crowded list whose first versions are indexed */
	};
	uds_config config = engine_config(24, 16, 1, structure);
	uint32_t count = 24 * UDS_RECORDS_PER_PAGE;
	uint64_t entries[2];
	engine engine;

	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint32_t i = 0; i < OLD; i++)
	{
		uds_name name = biased_name(BIAS_CHAPTER_FIELD, i);
		uds_metadata metadata = uds_generate_metadata(i, 0);

		assert_false(engine_request(&engine, UDS_POST, &name, &metadata).found);
	}
	post_counters(&engine, UINT64_C(1) << 40, 6 * count);
	engine_settle(&engine);
	assert_int_equal(engine_statistics(&engine).overflows, 0);
	/* The open chapter has OLD records already.  Names on one address are kept as they come. */
	for (uint32_t i = OLD; i < count - OLD; i++)
	{
		uds_name name = biased_name(BIAS_CHAPTER_FIELD, i);

		assert_false(engine_request(&engine, UDS_POST, &name, NULL).found);
	}
	for (uint32_t i = 0; i < OLD; i++)
	{
		uds_name name = biased_name(BIAS_CHAPTER_FIELD, i);
		uds_metadata metadata = uds_generate_metadata(i, 1);

		assert_true(
			engine_request(&engine, i % 2 == 0 ? UDS_UPDATE : UDS_DELETE, &name, &metadata).found);
	}
	post_counters(&engine, UINT64_C(2) << 40, 6 * count);
	engine_settle(&engine);
	assert_true(engine_statistics(&engine).overflows > count / 4);
	for (uint32_t round = 0; round < 2; round++)
	{
		entries[round] = engine_statistics(&engine).entries_indexed;
		for (uint32_t i = 0; i < OLD; i++)
		{
			uds_name name = biased_name(BIAS_CHAPTER_FIELD, i);

			if (engine_request(&engine, UDS_PEEK, &name, NULL).found)
				fail_msg("round %u: name %u is found", round, i);
		}
		if (round == 0)
			rebuild(&engine);
	}
	assert_true(entries[1] < entries[0] - count / 8);
	engine_destroy(&engine);
}

static void
dropped_records_hide_older_ones(void **state)
{
	(void) state;
	dropped_records_hide_older_ones_of(UDS_STRUCTURE_BUCKETS);
	dropped_records_hide_older_ones_of(UDS_STRUCTURE_LISTS);
}

/* ---- sequences -------------------------------------------------------------------------------- */

#define GROUPS 23

typedef enum interlude
{
	INTERLUDE_NONE,
	INTERLUDE_REOPEN,
	INTERLUDE_SAVE,
	INTERLUDE_COUNT
} interlude;

typedef struct sequence
{
	engine engine;
	uint32_t group_size;
	interlude interlude;
	uds_random random;
	uint64_t posts[2]; /* not found, found */
	uint64_t queries[2];
} sequence;

/* Requests for the first groups, each name once, in a random order. */
static void
run_section(sequence *sequence, uds_operation operation, uint32_t groups, uint32_t known,
            uint64_t version)
{
	uint32_t count = groups * sequence->group_size;
	uds_request *requests = calloc(count, sizeof(*requests));
	uint64_t *counters = operation == UDS_POST ? sequence->posts : sequence->queries;
	uds_statistics statistics;

	for (uint32_t i = 0; i < count; i++)
		requests[i] = (uds_request){ .name = uds_generate_counter_name(i),
			                         .operation = (uint8_t) operation,
			                         .metadata = uds_generate_metadata(i, version),
			                         .tag = i };
	uds_random_shuffle(&sequence->random, requests, count, sizeof(*requests));
	assert_int_equal(engine_run(&sequence->engine, requests, count), UDS_OK);
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t group = requests[i].tag / sequence->group_size;
		/* Of the section in which its group was posted first. */
		uds_metadata expected = uds_generate_metadata(requests[i].tag,
		                                              group < 13   ? 0
		                                              : group < 17 ? 1
		                                                           : 2);

		assert_int_equal(requests[i].found, group < known);
		if (requests[i].found)
			assert_memory_equal(&requests[i].found_metadata, &expected, sizeof(expected));
		counters[requests[i].found]++;
	}
	free(requests);
	statistics = engine_statistics(&sequence->engine);
	assert_int_equal(statistics.posts_not_found, sequence->posts[0]);
	assert_int_equal(statistics.posts_found, sequence->posts[1]);
	assert_int_equal(statistics.queries_not_found, sequence->queries[0]);
	assert_int_equal(statistics.queries_found, sequence->queries[1]);
	assert_int_equal(statistics.requests,
	                 sequence->posts[0] + sequence->posts[1] + sequence->queries[0] +
	                     sequence->queries[1]);
	assert_int_equal(statistics.in_memory_posts_found + statistics.dense_posts_found,
	                 sequence->posts[1]);
	assert_int_equal(statistics.overflows + statistics.entries_lost, 0);
	if (sequence->interlude == INTERLUDE_REOPEN)
	{
		assert_int_equal(engine_close(&sequence->engine), UDS_OK);
		engine_must_open(&sequence->engine);
		/* Counters begin anew. */
		memset(sequence->posts, 0, sizeof(sequence->posts));
		memset(sequence->queries, 0, sizeof(sequence->queries));
	}
	else if (sequence->interlude == INTERLUDE_SAVE)
		assert_int_equal(engine_checkpoint(&sequence->engine), UDS_OK);
}

static void
run_sequence(uint32_t zone_count, uds_index_structure structure, bool is_long, interlude interlude)
{
	uds_config config = engine_config(4, 64, zone_count, structure);
	sequence *sequence = calloc(1, sizeof(*sequence));
	uint32_t records = 4 * UDS_RECORDS_PER_PAGE;

	sequence->group_size = is_long ? records / 2 : records / 32;
	sequence->interlude = interlude;
	uds_random_init(&sequence->random, uds_random_seed(3));
	engine_init(&sequence->engine, &config);
	engine_must_open(&sequence->engine);
	run_section(sequence, UDS_POST, 13, 0, 0);
	run_section(sequence, UDS_QUERY, GROUPS, 13, 0);
	run_section(sequence, UDS_POST, 17, 13, 1);
	run_section(sequence, UDS_PEEK, GROUPS, 17, 0);
	run_section(sequence, UDS_POST, 19, 17, 2);
	run_section(sequence, UDS_QUERY, GROUPS, 19, 0);
	run_section(sequence, UDS_PEEK, GROUPS, 19, 0);
	if (is_long)
		assert_true(engine_statistics(&sequence->engine).newest_chapter > 10);
	else
		assert_int_equal(engine_statistics(&sequence->engine).newest_chapter, 0);
	engine_destroy(&sequence->engine);
	free(sequence);
}

static void
sequences_are_counted_exactly(void **state)
{
	(void) state;
	for (interlude interlude = INTERLUDE_NONE; interlude < INTERLUDE_COUNT; interlude++)
	{
		for (int is_long = 0; is_long < 2; is_long++)
		{
			run_sequence(1, UDS_STRUCTURE_BUCKETS, is_long, interlude);
			run_sequence(1, UDS_STRUCTURE_LISTS, is_long, interlude);
			run_sequence(3, UDS_STRUCTURE_BUCKETS, is_long, interlude);
		}
	}
}

static void *
sequence_thread(void *argument)
{
	(void) argument;
	run_sequence(1, UDS_STRUCTURE_BUCKETS, true, INTERLUDE_REOPEN);
	return NULL;
}

static void
two_indexes_do_not_disturb_each_other(void **state)
{
	pthread_t thread;

	(void) state;
	assert_int_equal(pthread_create(&thread, NULL, sequence_thread, NULL), 0);
	run_sequence(1, UDS_STRUCTURE_LISTS, true, INTERLUDE_NONE);
	pthread_join(thread, NULL);
}

static void
a_script_on_one_name_is_counted(void **state)
{
	static const uds_operation script[8] = { UDS_POST,  UDS_POST,   UDS_QUERY, UDS_UPDATE,
		                                     UDS_QUERY, UDS_DELETE, UDS_QUERY, UDS_DELETE };
	static const bool found[8] = { false, true, true, true, true, true, false, false };
	uds_config config = engine_config(1, 16, 1, UDS_STRUCTURE_BUCKETS);
	uds_name name = uds_generate_counter_name(5);
	uds_statistics statistics;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint32_t i = 0; i < 8; i++)
	{
		uds_metadata metadata = uds_generate_metadata(5, i);
		uds_metadata expected = uds_generate_metadata(5, i < 4 ? 0 : 3);
		uds_request request = engine_request(&engine, script[i], &name, &metadata);

		assert_int_equal(request.found, found[i]);
		if (found[i])
			assert_memory_equal(&request.found_metadata, &expected, sizeof(expected));
	}
	statistics = engine_statistics(&engine);
	assert_int_equal(statistics.requests, 8);
	assert_int_equal(statistics.posts_found, 1);
	assert_int_equal(statistics.posts_not_found, 1);
	assert_int_equal(statistics.in_memory_posts_found, 1);
	assert_int_equal(statistics.queries_found, 2);
	assert_int_equal(statistics.queries_not_found, 1);
	assert_int_equal(statistics.updates_found, 1);
	assert_int_equal(statistics.updates_not_found, 0);
	assert_int_equal(statistics.deletions_found, 1);
	assert_int_equal(statistics.deletions_not_found, 1);
	/* A delete is a write: the tombstone is indexed. */
	assert_int_equal(statistics.entries_indexed, 1);
	assert_int_equal(statistics.tombstones, 1);
	assert_int_equal(statistics.collisions, 0);
	assert_int_equal(statistics.entries_discarded, 0);
	uds_index_reset_statistics(engine.index);
	statistics = engine_statistics(&engine);
	assert_int_equal(statistics.requests, 0);
	assert_int_equal(statistics.entries_indexed, 1);
	engine_destroy(&engine);
}

static void
new_names_and_repeats_are_counted(void **state)
{
	uds_config config = engine_config(1, 16, 1, UDS_STRUCTURE_LISTS);
	uds_statistics statistics;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	post_counters(&engine, 0, 101);
	post_counters(&engine, 20, 53);
	statistics = engine_statistics(&engine);
	assert_int_equal(statistics.entries_indexed, 101);
	assert_int_equal(statistics.posts_found, 53);
	assert_int_equal(statistics.posts_not_found, 101);
	engine_destroy(&engine);
}

static void
what_zones_count_begins_anew_after_a_reset(void **state)
{
	enum
	{
		ZONES = 2
	};
	uds_config config = engine_config(8, 16, ZONES, UDS_STRUCTURE_BUCKETS);
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	post_counters(&engine, 0, 20000);
	for (uint32_t i = 0; i < ZONES; i++)
	{
		uds_zone_statistics zone;

		/* The writer asks for the zone, and gives it back. */
		atomic_store(&engine.index->zones_wanted, 1);
		assert_int_equal(uds_zone_turn(engine.zones[i]), UDS_PENDING);
		atomic_store(&engine.index->zones_wanted, 0);
		assert_int_equal(uds_zone_turn(engine.zones[i]), UDS_OK);
		uds_index_zone_statistics(engine.index, i, &zone);
		assert_true(zone.requests > 1000);
		assert_true(zone.rebalances > 0);
		assert_true(zone.longest_pause_ns > 0);
	}
	uds_index_reset_statistics(engine.index);
	for (uint32_t i = 0; i < ZONES; i++)
	{
		uds_zone_statistics zone;

		uds_index_zone_statistics(engine.index, i, &zone);
		assert_int_equal(zone.requests, 0);
		assert_int_equal(zone.rebalances, 0);
		assert_int_equal(zone.longest_pause_ns, 0);
		assert_true(zone.records > 1000);
	}
	/* What was counted before the volume index was laid out anew is not subtracted from it. */
	uds_block_fail(engine.index, &engine.writer_port, "a test says so");
	engine_settle(&engine);
	post_counters(&engine, 30000, 1000);
	for (uint32_t i = 0; i < ZONES; i++)
	{
		uds_zone_statistics zone;

		uds_index_zone_statistics(engine.index, i, &zone);
		assert_in_range(zone.requests, 300, 700);
		assert_true(zone.rebalances < 1000000);
	}
	engine_destroy(&engine);
}

/* ---- what request types do -------------------------------------------------------------------- */

#define RECORDS UDS_RECORDS_PER_PAGE /* of a chapter with one record page */

/* Fill chapters until a name of now is on the volume only. */
static void
push_out(engine *engine, uint64_t *filler)
{
	post_counters(engine, *filler, 6 * RECORDS);
	*filler += 6 * RECORDS;
	engine_settle(engine);
}

static uds_request
request_number(engine *engine, uds_operation operation, uint64_t number, uint64_t version)
{
	uds_name name = uds_generate_counter_name(number);
	uds_metadata metadata = uds_generate_metadata(number, version);

	return engine_request(engine, operation, &name, &metadata);
}

static void
expect(engine *engine, uint64_t number, bool is_found, uint64_t version)
{
	uds_request peek = request_number(engine, UDS_PEEK, number, 0);
	uds_metadata expected = uds_generate_metadata(number, version);

	assert_int_equal(peek.found, is_found);
	if (is_found)
		assert_memory_equal(&peek.found_metadata, &expected, sizeof(expected));
}

/* A query keeps a name in the window for ever; a peek does not. */
static void
a_query_keeps_a_name_and_a_peek_does_not(void **state)
{
	uds_config config = engine_config(1, 16, 1, UDS_STRUCTURE_BUCKETS);
	uint64_t filler = UINT64_C(1) << 40;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	(void) request_number(&engine, UDS_POST, 1, 1);
	(void) request_number(&engine, UDS_POST, 2, 1);
	(void) request_number(&engine, UDS_POST, 3, 1);
	for (uint32_t i = 0; i < 5; i++)
	{
		push_out(&engine, &filler);
		assert_int_equal(request_number(&engine, UDS_QUERY, 1, 9).region, UDS_REGION_DENSE);
		assert_int_equal(request_number(&engine, UDS_QUERY, 1, 9).region, UDS_REGION_OPEN);
		assert_int_equal(request_number(&engine, UDS_POST, 3, 9).region, UDS_REGION_DENSE);
		assert_int_equal(request_number(&engine, UDS_POST, 3, 9).region, UDS_REGION_OPEN);
		assert_int_equal(request_number(&engine, UDS_PEEK, 2, 9).found, i < 2);
	}
	expect(&engine, 1, true, 1);
	expect(&engine, 2, false, 0);
	expect(&engine, 3, true, 1);
	engine_destroy(&engine);
}

static void
updates_and_posts_of_unknown_and_known_names(void **state)
{
	uds_config config = engine_config(1, 64, 1, UDS_STRUCTURE_BUCKETS);
	uint64_t filler = UINT64_C(1) << 40;
	uds_metadata expected = uds_generate_metadata(1, 1);
	uds_request request;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint32_t i = 0; i < 2; i++)
	{
		/* In the open chapter, then with the older version on the volume. */
		assert_false(request_number(&engine, UDS_UPDATE, 10 + i, 4).found);
		if (i == 1)
			push_out(&engine, &filler);
		request = request_number(&engine, UDS_POST, 10 + i, 5);
		assert_true(request.found);
		expect(&engine, 10 + i, true, 4);
		if (i == 1)
			push_out(&engine, &filler);
		assert_true(request_number(&engine, UDS_UPDATE, 10 + i, 6).found);
		expect(&engine, 10 + i, true, 6);
	}
	(void) request_number(&engine, UDS_POST, 1, 1);
	request = request_number(&engine, UDS_POST, 1, 2);
	assert_true(request.found);
	assert_memory_equal(&request.found_metadata, &expected, sizeof(expected));
	/* What the caller gave is as it was. */
	expected = uds_generate_metadata(1, 2);
	assert_memory_equal(&request.metadata, &expected, sizeof(expected));
	assert_false(request_number(&engine, UDS_DELETE, 77, 0).found);
	assert_false(request_number(&engine, UDS_QUERY, 77, 0).found);
	engine_destroy(&engine);
}

/*
 * Deletes hold, wherever the record and the tombstone are, through the close of the chapter, a
 * reopening and a rebuild from the volume; other names are not touched.
 */
static void
a_deleted_name_stays_deleted_of(uds_index_structure structure)
{
	uds_config config = engine_config(1, 64, 1, structure);
	uint64_t filler = UINT64_C(1) << 40;
	engine engine;

	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint64_t i = 0; i < 20; i++)
		(void) request_number(&engine, UDS_POST, i, 1);
	/* In the open chapter: one that stays, one that comes back, one that is updated before. */
	assert_true(request_number(&engine, UDS_DELETE, 0, 0).found);
	assert_false(request_number(&engine, UDS_DELETE, 0, 0).found);
	assert_true(request_number(&engine, UDS_DELETE, 1, 0).found);
	assert_false(request_number(&engine, UDS_POST, 1, 2).found);
	(void) request_number(&engine, UDS_UPDATE, 2, 3);
	assert_true(request_number(&engine, UDS_DELETE, 2, 0).found);
	push_out(&engine, &filler);
	/* On the volume: the older versions must not answer again. */
	assert_true(request_number(&engine, UDS_DELETE, 3, 0).found);
	(void) request_number(&engine, UDS_UPDATE, 4, 2);
	(void) request_number(&engine, UDS_UPDATE, 5, 2);
	push_out(&engine, &filler);
	assert_true(request_number(&engine, UDS_DELETE, 4, 0).found);
	assert_true(request_number(&engine, UDS_DELETE, 5, 0).found);
	assert_false(request_number(&engine, UDS_UPDATE, 5, 7).found);
	push_out(&engine, &filler);
	for (int round = 0; round < 4; round++)
	{
		expect(&engine, 0, false, 0);
		expect(&engine, 1, true, 2);
		expect(&engine, 2, false, 0);
		expect(&engine, 3, false, 0);
		expect(&engine, 4, false, 0);
		expect(&engine, 5, true, 7);
		for (uint64_t i = 6; i < 20; i++)
			expect(&engine, i, true, 1);
		if (round == 0)
		{
			assert_int_equal(engine_close(&engine), UDS_OK);
			engine_must_open(&engine);
		}
		else if (round == 1)
			rebuild(&engine);
		else if (round == 2)
			push_out(&engine, &filler);
	}
	engine_destroy(&engine);
}

static void
a_deleted_name_stays_deleted(void **state)
{
	(void) state;
	a_deleted_name_stays_deleted_of(UDS_STRUCTURE_BUCKETS);
	a_deleted_name_stays_deleted_of(UDS_STRUCTURE_LISTS);
}

/*
 * Names that share an address in the volume index and a list and address in the chapter index:
 * only the whole name tells them apart, through all the ways they can be stored and rebuilt.
 */
static void
twins_are_told_apart(void **state)
{
	enum
	{
		TWINS = 6,
		VERSIONS = 4
	};
	uds_config config = engine_config(1, 128, 1, UDS_STRUCTURE_BUCKETS);
	uint64_t filler = UINT64_C(1) << 40;
	engine engine;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint32_t version = 0; version < VERSIONS; version++)
	{
		for (uint32_t i = 0; i < TWINS; i++)
		{
			uds_name name = uds_generate_name(42, 43, i);
			uds_metadata metadata = uds_generate_metadata(i, version);

			/* Each is stored anew in every other round, so they lie in different chapters. */
			if (version > 0 && (i + version) % 2 == 0)
				continue;
			assert_int_equal(engine_request(&engine, UDS_UPDATE, &name, &metadata).found,
			                 version > 1 || (version == 1 && i < TWINS));
			if (i % 3 == 0)
				push_out(&engine, &filler);
		}
		push_out(&engine, &filler);
		if (version == 2)
			rebuild(&engine);
		for (uint32_t i = 0; i < TWINS; i++)
		{
			uds_name name = uds_generate_name(42, 43, i);
			uint32_t last = version == 0 || (i + version) % 2 != 0 ? version : version - 1;
			uds_metadata metadata = uds_generate_metadata(i, last);
			uds_request peek = engine_request(&engine, UDS_PEEK, &name, NULL);

			assert_true(peek.found);
			assert_memory_equal(&peek.found_metadata, &metadata, sizeof(metadata));
		}
	}
	engine_destroy(&engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(biased_names_are_never_wrong),
		cmocka_unit_test(names_of_one_place_overflow),
		cmocka_unit_test(names_of_one_chapter_list_close_chapters),
		cmocka_unit_test(dropped_records_hide_older_ones),
		cmocka_unit_test(sequences_are_counted_exactly),
		cmocka_unit_test(two_indexes_do_not_disturb_each_other),
		cmocka_unit_test(a_script_on_one_name_is_counted),
		cmocka_unit_test(new_names_and_repeats_are_counted),
		cmocka_unit_test(what_zones_count_begins_anew_after_a_reset),
		cmocka_unit_test(a_query_keeps_a_name_and_a_peek_does_not),
		cmocka_unit_test(updates_and_posts_of_unknown_and_known_names),
		cmocka_unit_test(a_deleted_name_stays_deleted),
		cmocka_unit_test(twins_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
