/*
 * test_index_structures.c: proves that the two structures of the volume index give the same answers
 * to the same requests, and that these are the right ones: a name is found in the chapter it was
 * last stored in as long as that is in the window, and not at all otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/index_buckets.h"
#include "../../src/engine/index_lists.h"
#include "../support/generate.h"

#define NAMES  40000
#define ABSENT UINT64_MAX

/* ---- the structures behind one table ------------------------------------------------------- */

typedef struct structure
{
	const char *name;
	size_t (*size)(const uds_index_parameters *parameters);
	uds_status (*init)(void *index, const uds_index_parameters *parameters);
	uds_status (*get)(void *index, const uds_name *name, uds_index_entry *entry);
	uds_status (*put)(void *index, uds_index_entry *entry, uint64_t chapter);
	uds_status (*move)(void *index, uds_index_entry *entry, uint64_t chapter);
	uds_status (*remove)(void *index, uds_index_entry *entry);
	uds_status (*set_window)(void *index, uint32_t zone, uint64_t oldest, uint64_t newest);
	void (*counters)(const void *index, uint32_t zone, uds_index_counters *counters);
	uds_status (*save)(const void *index, uint32_t zone, uds_stream *stream);
	uds_status (*load)(void *index, uds_stream *stream);
	uds_status (*check)(const void *index, uint32_t zone);
} structure;

#define DEFINE_STRUCTURE(s)                                                                        \
	static uds_status s##_init(void *index, const uds_index_parameters *parameters)                \
	{                                                                                              \
		return uds_index_##s##_init(index, parameters);                                            \
	}                                                                                              \
	static uds_status s##_get(void *index, const uds_name *name, uds_index_entry *entry)           \
	{                                                                                              \
		return uds_index_##s##_get(index, name, entry);                                            \
	}                                                                                              \
	static uds_status s##_put(void *index, uds_index_entry *entry, uint64_t chapter)               \
	{                                                                                              \
		return uds_index_##s##_put(index, entry, chapter);                                         \
	}                                                                                              \
	static uds_status s##_move(void *index, uds_index_entry *entry, uint64_t chapter)              \
	{                                                                                              \
		return uds_index_##s##_move(index, entry, chapter);                                        \
	}                                                                                              \
	static uds_status s##_remove(void *index, uds_index_entry *entry)                              \
	{                                                                                              \
		return uds_index_##s##_remove(index, entry);                                               \
	}                                                                                              \
	static uds_status s##_set_window(void *index, uint32_t zone, uint64_t oldest, uint64_t newest) \
	{                                                                                              \
		return uds_index_##s##_set_window(index, zone, oldest, newest);                            \
	}                                                                                              \
	static void s##_counters(const void *index, uint32_t zone, uds_index_counters *counters)       \
	{                                                                                              \
		uds_index_##s##_counters(index, zone, counters);                                           \
	}                                                                                              \
	static uds_status s##_save(const void *index, uint32_t zone, uds_stream *stream)               \
	{                                                                                              \
		return uds_index_##s##_save(index, zone, stream);                                          \
	}                                                                                              \
	static uds_status s##_load(void *index, uds_stream *stream)                                    \
	{                                                                                              \
		return uds_index_##s##_load(index, stream);                                                \
	}                                                                                              \
	static uds_status s##_check(const void *index, uint32_t zone)                                  \
	{                                                                                              \
		return uds_index_##s##_check(index, zone);                                                 \
	}                                                                                              \
	static const structure s##_structure = {                                                       \
		#s,         uds_index_##s##_size, s##_init,     s##_get,  s##_put,  s##_move,              \
		s##_remove, s##_set_window,       s##_counters, s##_save, s##_load, s##_check              \
	};

DEFINE_STRUCTURE(buckets)
DEFINE_STRUCTURE(lists)

/* One index and what it was asked to keep. */
typedef struct side
{
	const structure *s;
	void *index;
	uds_index_parameters parameters;
} side;

/* The requests and the truth about them. */
typedef struct world
{
	uds_random random;
	uint64_t oldest;
	uint64_t newest;
	side sides[2];
	uds_name names[NAMES];
	uint64_t chapters[NAMES]; /* where a name was last stored */
} world;

#define world_check(w, condition)                                        \
	do                                                                   \
	{                                                                    \
		if (!(condition))                                                \
			fail_msg("%s: UDS_TEST_SEED=%llu, %u chapters, newest %llu", \
			         #condition,                                         \
			         (unsigned long long) (w)->random.seed,              \
			         (w)->sides[0].parameters.chapters,                  \
			         (unsigned long long) (w)->newest);                  \
	} while (0)

static void *
make_index(const structure *s, const uds_index_parameters *parameters)
{
	size_t bytes = s->size(parameters);
	void *index;

	assert_true(bytes > 0);
	index = aligned_alloc(UDS_CACHE_LINE, UDS_ALIGN(bytes, UDS_CACHE_LINE));
	assert_non_null(index);
	assert_int_equal(s->init(index, parameters), UDS_OK);
	return index;
}

static world *
make_world(uint64_t seed, uint64_t records_per_chapter, uint32_t chapters, uint32_t zones[2])
{
	static const structure *const both[2] = { &buckets_structure, &lists_structure };
	world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	uds_random_init(&w->random, uds_random_seed(seed));
	for (uint32_t i = 0; i < 2; i++)
	{
		w->sides[i].s = both[i];
		w->sides[i].parameters =
			(uds_index_parameters){ .records_per_chapter = records_per_chapter,
			                        .chapters = chapters,
			                        .zone_count = zones[i],
			                        .mean_delta = UDS_VOLUME_INDEX_MEAN_DELTA };
		w->sides[i].index = make_index(both[i], &w->sides[i].parameters);
	}
	for (uint32_t i = 0; i < NAMES; i++)
	{
		w->names[i] = uds_random_name(&w->random);
		w->chapters[i] = ABSENT;
		/* Some differ only in fields that these structures do not look at. */
		if (i > 0 && uds_random_one_in(&w->random, 500))
			uds_generate_set_volume_field(&w->names[i],
			                              uds_name_volume_field(
											  &w->names[uds_random_below(&w->random, i)]));
	}
	return w;
}

static void
free_world(world *w)
{
	free(w->sides[0].index);
	free(w->sides[1].index);
	free(w);
}

/* Ask a structure, and believe it only when the chapter that it names has the record. */
static bool
ask(world *w, side *at, uint32_t i, uds_index_entry *entry)
{
	world_check(w, at->s->get(at->index, &w->names[i], entry) == UDS_OK);
	if (entry->kind == UDS_ENTRY_NONE)
		return false;
	world_check(w, entry->chapter >= w->oldest && entry->chapter <= w->newest);
	return entry->chapter == w->chapters[i];
}

/* The same request to both: 0..7 store, 8..13 look, 14 and 15 forget. */
static void
request(world *w)
{
	uint32_t i = (uint32_t) uds_random_below(&w->random, NAMES);
	uint64_t choice = uds_random_below(&w->random, 16);
	bool is_known = w->chapters[i] != ABSENT && w->chapters[i] >= w->oldest;

	for (uint32_t k = 0; k < 2; k++)
	{
		side *at = &w->sides[k];
		uds_index_entry entry;
		bool is_found = ask(w, at, i, &entry);

		world_check(w, is_found == is_known);
		if (choice < 8 && is_found)
			world_check(w, at->s->move(at->index, &entry, w->newest) == UDS_OK);
		else if (choice < 8 && entry.kind == UDS_ENTRY_EXACT)
			world_check(w, at->s->move(at->index, &entry, w->newest) == UDS_OK);
		else if (choice < 8)
			world_check(w, at->s->put(at->index, &entry, w->newest) == UDS_OK);
		else if (choice > 13 && is_found)
			world_check(w, at->s->remove(at->index, &entry) == UDS_OK);
	}
	if (choice < 8)
		w->chapters[i] = w->newest;
	else if (choice > 13)
		w->chapters[i] = ABSENT;
}

static void
set_window(world *w, uint64_t oldest, uint64_t newest)
{
	w->oldest = oldest;
	w->newest = newest;
	for (uint32_t k = 0; k < 2; k++)
	{
		for (uint32_t zone = 0; zone < w->sides[k].parameters.zone_count; zone++)
			world_check(w,
			            w->sides[k].s->set_window(w->sides[k].index, zone, oldest, newest) ==
			                UDS_OK);
	}
}

/* Nothing was given up, so the answers have to be right without exception. */
static void
check_world(world *w)
{
	for (uint32_t k = 0; k < 2; k++)
	{
		for (uint32_t zone = 0; zone < w->sides[k].parameters.zone_count; zone++)
		{
			uds_index_counters counters;

			world_check(w, w->sides[k].s->check(w->sides[k].index, zone) == UDS_OK);
			w->sides[k].s->counters(w->sides[k].index, zone, &counters);
			world_check(w, counters.lost == 0);
			world_check(w, counters.overflows == 0);
			world_check(w, counters.early_flushes == 0);
		}
	}
	for (uint32_t i = 0; i < NAMES; i++)
	{
		bool is_known = w->chapters[i] != ABSENT && w->chapters[i] >= w->oldest;
		uds_index_entry entry;

		for (uint32_t k = 0; k < 2; k++)
			world_check(w, ask(w, &w->sides[k], i, &entry) == is_known);
	}
}

/* Save a structure and load it into one with another number of zones. */
static void
reload(world *w, side *at, uint32_t zones)
{
	uds_index_parameters parameters = at->parameters;
	uds_memory_stream memory;
	void *loaded;

	parameters.zone_count = zones;
	loaded = make_index(at->s, &parameters);
	for (uint32_t zone = 0; zone < at->parameters.zone_count; zone++)
	{
		uds_memory_stream_init(&memory);
		world_check(w, at->s->save(at->index, zone, &memory.stream) == UDS_OK);
		uds_memory_stream_rewind(&memory);
		world_check(w, at->s->load(loaded, &memory.stream) == UDS_OK);
		uds_memory_stream_free(&memory);
	}
	free(at->index);
	at->index = loaded;
	at->parameters = parameters;
}

/* Three windows of requests, with jumps, early expiry and restarts. */
static void
run_world(uint64_t seed, uint64_t records_per_chapter, uint32_t chapters, uint32_t zones[2])
{
	world *w = make_world(seed, records_per_chapter, chapters, zones);
	uint64_t requests = records_per_chapter * 2; /* half of them store */

	for (uint64_t chapter = 0; chapter < 3 * chapters; chapter++)
	{
		uint64_t newest = w->newest + (chapter > 0);
		uint64_t oldest;

		if (uds_random_one_in(&w->random, chapters))
			newest += uds_random_below(&w->random, chapters / 3 + 2);
		oldest = newest < chapters ? 0 : newest - chapters + 1;
		oldest = UDS_MAX(oldest, w->oldest);
		if (uds_random_one_in(&w->random, chapters))
			oldest += uds_random_below(&w->random, (newest - oldest) / 3 + 1);
		set_window(w, oldest, newest);
		for (uint64_t i = 0; i < requests; i++)
			request(w);
		if (uds_random_one_in(&w->random, chapters))
		{
			check_world(w);
			reload(w, &w->sides[0], 1 + (uint32_t) uds_random_below(&w->random, UDS_ZONES_MAX));
			reload(w, &w->sides[1], 1 + (uint32_t) uds_random_below(&w->random, UDS_ZONES_MAX));
			check_world(w);
		}
	}
	check_world(w);
	free_world(w);
}

static void
structures_agree_in_short_windows(void **state)
{
	(void) state;
	run_world(1, 1500, 8, (uint32_t[]){ 1, 1 });
	run_world(2, 400, 33, (uint32_t[]){ 3, 2 });
}

static void
structures_agree_in_dense_windows(void **state)
{
	(void) state;
	run_world(3, 110, 128, (uint32_t[]){ 2, 3 });
	run_world(4, 27, 512, (uint32_t[]){ 5, 1 });
	run_world(5, 14, 1024, (uint32_t[]){ 1, 16 });
}

static void
structures_agree_in_long_windows(void **state)
{
	(void) state;
	run_world(6, 2, 10240, (uint32_t[]){ 3, 5 });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structures_agree_in_short_windows),
		cmocka_unit_test(structures_agree_in_dense_windows),
		cmocka_unit_test(structures_agree_in_long_windows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
