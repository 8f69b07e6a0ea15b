/*
 * test_index_lists.c: the volume index in delta lists answers as a map from names to chapters with
 * a window does, expires without misreading, gives up chapters before it runs out of memory, and
 * saves and loads over any number of zones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/index_lists.h"
#include "../support/generate.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uds_index_lists *
make_index(uint64_t records, uint32_t chapters, uint32_t zones, int fill)
{
	uds_index_parameters parameters = { .records_per_chapter = records,
		                                .chapters = chapters,
		                                .zone_count = zones,
		                                .mean_delta = UDS_VOLUME_INDEX_MEAN_DELTA,
		                                .is_zeroed = fill == 0 };
	size_t size = uds_index_lists_size(&parameters);
	uds_index_lists *index;

	assert_true(size > 0 && size % 64 == 0);
	index = aligned_alloc(64, size);
	assert_non_null(index);
	memset(index, fill, size);
	assert_int_equal(uds_index_lists_init(index, &parameters), UDS_OK);
	return index;
}

static uds_index_counters
sum_counters(const uds_index_lists *index, uint32_t zones)
{
	uds_index_counters sum = { 0 };

	for (uint32_t z = 0; z < zones; z++)
	{
		uds_index_counters one;

		uds_index_lists_counters(index, z, &one);
		sum.records += one.records;
		sum.collisions += one.collisions;
		sum.discards += one.discards;
		sum.expired += one.expired;
		sum.lost += one.lost;
		sum.overflows += one.overflows;
		sum.rebalances += one.rebalances;
		sum.early_flushes += one.early_flushes;
		sum.bytes_used += one.bytes_used;
	}
	return sum;
}

static void
assert_checks(const uds_index_lists *index, uint32_t zones)
{
	for (uint32_t z = 0; z < zones; z++)
		assert_int_equal(uds_index_lists_check(index, z), UDS_OK);
}

/* Open a chapter in all zones. */
static void
open_chapter(uds_index_lists *index, uint32_t zones, uint32_t chapters, uint64_t newest)
{
	uint64_t oldest = newest >= chapters ? newest - chapters + 1 : 0;

	for (uint32_t z = 0; z < zones; z++)
		assert_int_equal(uds_index_lists_set_window(index, z, oldest, newest), UDS_OK);
}

/* Chapter of a name, or UDS_NO_CHAPTER. */
static uint64_t
find(uds_index_lists *index, const uds_name *name)
{
	uds_index_entry entry;

	assert_int_equal(uds_index_lists_get(index, name, &entry), UDS_OK);
	return entry.kind == UDS_ENTRY_NONE ? UDS_NO_CHAPTER : entry.chapter;
}

static void
add(uds_index_lists *index, const uds_name *name, uint64_t chapter)
{
	uds_index_entry entry;

	assert_int_equal(uds_index_lists_get(index, name, &entry), UDS_OK);
	assert_int_equal(uds_index_lists_put(index, &entry, chapter), UDS_OK);
	assert_int_equal(entry.chapter, chapter);
}

/* Names on list 0 with a chosen key; salt makes them differ. */
static uds_name
name_of(uint64_t key, uint64_t salt)
{
	return uds_generate_name(key, salt, 0);
}

static void
parameters_have_ranges(void **state)
{
	uds_index_parameters good = {
		.records_per_chapter = 65024, .chapters = 1024, .zone_count = 1, .mean_delta = 4096
	};
	uds_index_parameters bad = good;
	uds_index_lists *index;
	uint64_t records = good.records_per_chapter * good.chapters;

	(void) state;
	/* the goal of DESIGN section 10, and what delta lists cannot do without */
	assert_true(uds_index_lists_size(&good) < 3.5 * (double) records);
	assert_true(uds_index_lists_size(&good) > 3.1 * (double) records);
	for (bad.zone_count = 1; bad.zone_count <= UDS_ZONES_MAX; bad.zone_count++)
		assert_true(uds_index_lists_size(&bad) < 3.5 * (double) records);
	assert_int_equal(uds_index_lists_size(&bad), 0);
	bad.zone_count = 0;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	bad = good;
	bad.chapters = 1;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	bad.chapters = (1u << 20) + 1;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	bad.chapters = 1u << 20;
	bad.records_per_chapter = 1000;
	assert_true(uds_index_lists_size(&bad) > 0);
	bad = good;
	bad.records_per_chapter = 0;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	bad.records_per_chapter = UINT64_MAX;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	bad = good;
	bad.mean_delta = 0;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	/* 31 bits of address are 2^25 x 64 */
	bad.mean_delta = (1u << 25) + 1;
	assert_int_equal(uds_index_lists_size(&bad), 0);
	index = aligned_alloc(64, 4096);
	assert_non_null(index);
	assert_int_equal(uds_index_lists_init(index, &bad), UDS_ERR_ARGUMENT);
	free(index);
}

static void
new_index_is_empty(void **state)
{
	uds_index_lists *index = make_index(1024, 16, 3, 0xff);
	uds_index_counters counters = sum_counters(index, 3);
	uds_index_counters zero = { 0 };

	(void) state;
	assert_memory_equal(&counters, &zero, sizeof(zero));
	for (uint64_t i = 0; i < 1000; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		uds_index_lists_prefetch(index, &name);
		assert_int_equal(find(index, &name), UDS_NO_CHAPTER);
	}
	counters = sum_counters(index, 3);
	assert_memory_equal(&counters, &zero, sizeof(zero));
	assert_checks(index, 3);
	free(index);
}

static void
entry_is_put_moved_and_removed(void **state)
{
	uds_index_lists *index = make_index(1024, 16, 1, 0);
	uds_name name = name_of(7, 1);
	uds_name other = name_of(7, 2);
	uds_index_entry entry;
	uds_index_entry exact;

	(void) state;
	assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	assert_int_equal(uds_index_lists_move(index, &entry, 0), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_index_lists_remove(index, &entry), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_index_lists_put(index, &entry, 1), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_put(index, &entry, 0), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_HINT);
	/* the other name is taken for the first one, until it has an entry of its own */
	assert_int_equal(uds_index_lists_get(index, &other, &exact), UDS_OK);
	assert_int_equal(exact.kind, UDS_ENTRY_HINT);
	open_chapter(index, 1, 16, 3);
	assert_int_equal(uds_index_lists_put(index, &exact, 2), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_put(index, &exact, 3), UDS_OK);
	assert_int_equal(exact.kind, UDS_ENTRY_EXACT);
	assert_int_equal(uds_index_lists_put(index, &exact, 3), UDS_DUPLICATE);
	assert_int_equal(find(index, &name), 0);
	assert_int_equal(find(index, &other), 3);
	assert_int_equal(uds_index_lists_get(index, &other, &exact), UDS_OK);
	assert_int_equal(exact.kind, UDS_ENTRY_EXACT);
	open_chapter(index, 1, 16, 4);
	assert_int_equal(uds_index_lists_move(index, &exact, 3), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_move(index, &exact, 4), UDS_OK);
	assert_int_equal(find(index, &other), 4);
	/* without its base the exact entry becomes a hint for all names of its address */
	assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
	assert_int_equal(uds_index_lists_remove(index, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_HINT);
	assert_int_equal(entry.chapter, 4);
	assert_int_equal(uds_index_lists_remove(index, &entry), UDS_OK);
	assert_int_equal(sum_counters(index, 1).discards, 2);
	assert_int_equal(sum_counters(index, 1).records, 0);
	assert_int_equal(sum_counters(index, 1).bytes_used, 0);
	assert_checks(index, 1);
	free(index);
}

static void
windows_never_move_back(void **state)
{
	uds_index_lists *index = make_index(1024, 16, 2, 0);

	(void) state;
	assert_int_equal(uds_index_lists_set_window(index, 2, 0, 0), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 1, 0), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 0, 16), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 0, UDS_NO_CHAPTER), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 5, 20), UDS_OK);
	assert_int_equal(uds_index_lists_set_window(index, 0, 5, 20), UDS_OK);
	assert_int_equal(uds_index_lists_set_window(index, 0, 4, 19), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 5, 19), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 4, 20), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(index, 0, 20, 20), UDS_OK);
	assert_int_equal(uds_index_lists_set_window(index, 1, 0, 0), UDS_OK);
	assert_int_equal(uds_index_lists_check(index, 2), UDS_ERR_ARGUMENT);
	free(index);
}

/*
 * The walk of specification 01, section 5.5.  Its columns result, records, collisions and discards
 * (here: expired) hold as seen after a get; bounds and bits depend on the layout of the original.
 */
static void
expiry_walk_of_the_specification(void **state)
{
	enum
	{
		H = 8
	};
	static const struct
	{
		uint64_t open;
		char get;
		uint64_t chapter;
		bool is_put;
		uint64_t records;
		uint64_t collisions;
		uint64_t expired;
	} rows[] = {
		{ 0, 'A', UDS_NO_CHAPTER, true, 1, 0, 0 },
		{ 1, 'B', UDS_NO_CHAPTER, true, 2, 0, 0 },
		{ 2, 'D', 1, true, 3, 1, 0 },
		{ 3, 'C', UDS_NO_CHAPTER, true, 4, 1, 0 },
		{ 7, 'A', 0, false, 4, 1, 0 },
		{ 8, 'A', UDS_NO_CHAPTER, false, 3, 1, 1 },
		{ 9, 'D', 2, false, 2, 0, 2 },
		{ 9, 'B', 2, false, 2, 0, 2 },
		{ 10, 'E', UDS_NO_CHAPTER, false, 1, 0, 3 },
		{ 12, 'C', UDS_NO_CHAPTER, false, 0, 0, 4 },
		{ 12, 'E', UDS_NO_CHAPTER, true, 1, 0, 4 },
		{ 13, 'E', 12, false, 1, 0, 4 },
		{ 40, 'E', UDS_NO_CHAPTER, false, 0, 0, 5 },
	};
	uds_index_lists *index = make_index(16, H, 1, 0);
	uds_name names[5] = {
		name_of(10, 1), name_of(20, 2), name_of(30, 3), name_of(20, 4), name_of(5, 5)
	};
	uds_index_entry entry;

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		const uds_name *name = &names[rows[i].get - 'A'];
		uds_index_counters counters;

		open_chapter(index, 1, H, rows[i].open);
		assert_int_equal(uds_index_lists_get(index, name, &entry), UDS_OK);
		assert_int_equal(entry.chapter, rows[i].chapter);
		assert_int_not_equal(entry.kind, UDS_ENTRY_EXACT);
		if (rows[i].is_put)
			assert_int_equal(uds_index_lists_put(index, &entry, rows[i].open), UDS_OK);
		counters = sum_counters(index, 1);
		assert_int_equal(counters.records, rows[i].records);
		assert_int_equal(counters.collisions, rows[i].collisions);
		assert_int_equal(counters.expired, rows[i].expired);
		assert_checks(index, 1);
	}
	assert_int_equal(uds_index_lists_put(index, &entry, 32), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_put(index, &entry, 41), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_remove(index, &entry), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_index_lists_move(index, &entry, 40), UDS_ERR_BAD_STATE);
	free(index);
}

/* Odd and even windows: a name stays findable for exactly as many chapters as the window has. */
static void
name_is_found_for_exactly_one_window(void **state)
{
	static const uint32_t windows[] = { 2, 3, 5, 8, 9, 1024 };

	(void) state;
	for (size_t i = 0; i < COUNT(windows); i++)
	{
		uint32_t chapters = windows[i];
		uds_index_lists *index = make_index(16, chapters, 1, 0xff);
		uds_name name = name_of(10, 1);

		for (uint64_t round = 0; round < 3; round++)
		{
			open_chapter(index, 1, chapters, round * chapters);
			assert_int_equal(find(index, &name), UDS_NO_CHAPTER);
			add(index, &name, round * chapters);
			open_chapter(index, 1, chapters, (round + 1) * chapters - 1);
			assert_int_equal(find(index, &name), round * chapters);
		}
		assert_int_equal(sum_counters(index, 1).expired, 2);
		free(index);
	}
}

/* One name moved through every chapter of three windows. */
static void
chapter_of_an_entry_follows_its_moves(void **state)
{
	uds_index_lists *index = make_index(16, 1024, 1, 0);
	uds_name name = name_of(10, 1);
	uds_index_entry entry;

	(void) state;
	add(index, &name, 0);
	for (uint64_t chapter = 1; chapter < 3072; chapter++)
	{
		open_chapter(index, 1, 1024, chapter);
		assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
		assert_int_equal(entry.chapter, chapter - 1);
		assert_int_equal(uds_index_lists_move(index, &entry, chapter), UDS_OK);
		assert_int_equal(entry.chapter, chapter);
	}
	assert_int_equal(sum_counters(index, 1).records, 1);
	free(index);
}

/* Three names in all orders of address; the second one expires, the third comes afterwards. */
static void
neighbours_of_an_expired_entry_stay(void **state)
{
	static const uint64_t orders[6][3] = { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 },
		                                   { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 } };

	(void) state;
	for (int i = 0; i < 6; i++)
	{
		uds_index_lists *index = make_index(16, 8, 1, 0);
		uds_name first = name_of(orders[i][0] * 1000, 1);
		uds_name second = name_of(orders[i][1] * 1000, 2);
		uds_name third = name_of(orders[i][2] * 1000, 3);
		uds_index_entry entry;

		add(index, &first, 0);
		add(index, &second, 0);
		open_chapter(index, 1, 8, 7);
		assert_int_equal(uds_index_lists_get(index, &first, &entry), UDS_OK);
		assert_int_equal(uds_index_lists_move(index, &entry, 7), UDS_OK);
		open_chapter(index, 1, 8, 8);
		add(index, &third, 8);
		assert_int_equal(find(index, &first), 7);
		assert_int_equal(find(index, &second), UDS_NO_CHAPTER);
		assert_int_equal(find(index, &third), 8);
		assert_int_equal(sum_counters(index, 1).records, 2);
		free(index);
	}
}

/*
 * A handle whose window has moved before it is used: what expired is gone, and nothing is written
 * into a place that a sweep has changed.
 */
static void
handle_survives_a_moving_window(void **state)
{
	uds_index_lists *index = make_index(16, 8, 1, 0);
	uds_name names[3] = { name_of(10, 1), name_of(20, 2), name_of(20, 3) };
	uds_index_entry entries[3];

	(void) state;
	add(index, &names[0], 0);
	add(index, &names[1], 0);
	open_chapter(index, 1, 8, 5);
	for (int i = 0; i < 3; i++)
		assert_int_equal(uds_index_lists_get(index, &names[i], &entries[i]), UDS_OK);
	assert_int_equal(entries[2].kind, UDS_ENTRY_HINT);
	open_chapter(index, 1, 8, 8);
	/* a hint that is gone is put anew */
	assert_int_equal(uds_index_lists_move(index, &entries[1], 8), UDS_OK);
	assert_int_equal(entries[1].kind, UDS_ENTRY_HINT);
	assert_int_equal(uds_index_lists_put(index, &entries[2], 8), UDS_OK);
	assert_int_equal(entries[2].kind, UDS_ENTRY_EXACT);
	assert_int_equal(uds_index_lists_remove(index, &entries[0]), UDS_OK);
	assert_int_equal(entries[0].kind, UDS_ENTRY_NONE);
	assert_int_equal(find(index, &names[0]), UDS_NO_CHAPTER);
	assert_int_equal(find(index, &names[1]), 8);
	assert_int_equal(sum_counters(index, 1).records, 2);
	assert_checks(index, 1);
	free(index);
}

/*
 * Entries of lists that nobody asks for are not misread when values and marks have wrapped around
 * meanwhile; short and long windows (several chapters a mark), small and large steps.
 */
static void
idle_lists_are_never_misread(void **state)
{
	static const struct
	{
		uint32_t chapters;
		uint64_t step;
		uint64_t last; /* little more than one period of the marks */
	} rows[] = {
		{ 8, 1, 65539 },          { 8, 7, 65541 },          { 8, 65541, 65541 },
		{ 1024, 1, 65636 },       { 1024, 1000, 66000 },    { 16384, 16000, 80000 },
		{ 32768, 32000, 160000 }, { 40000, 39999, 279993 }, { 1u << 20, 1u << 19, 9u << 19 },
	};

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		uds_index_lists *index = make_index(1, rows[i].chapters, 1, 0);
		/* on the first list, on the last list, and one that is asked for */
		uds_name idle[2] = { name_of(10, 1), name_of(UINT64_MAX - 5, 2) };
		uds_name busy = name_of(UINT64_C(1) << 63, 3);

		add(index, &idle[0], 0);
		add(index, &idle[1], 0);
		for (uint64_t chapter = 0; chapter <= rows[i].last; chapter += rows[i].step)
		{
			uds_index_entry entry;

			open_chapter(index, 1, rows[i].chapters, chapter);
			assert_int_equal(uds_index_lists_get(index, &busy, &entry), UDS_OK);
			if (entry.kind == UDS_ENTRY_NONE)
				assert_int_equal(uds_index_lists_put(index, &entry, chapter), UDS_OK);
			else
				assert_int_equal(uds_index_lists_move(index, &entry, chapter), UDS_OK);
		}
		assert_int_equal(uds_index_lists_check(index, 0), UDS_OK);
		assert_int_equal(find(index, &idle[0]), UDS_NO_CHAPTER);
		assert_int_equal(find(index, &idle[1]), UDS_NO_CHAPTER);
		assert_int_equal(find(index, &busy), rows[i].last);
		assert_int_equal(sum_counters(index, 1).records, 1);
		free(index);
	}
}

/* A bound that is rounded down to a unit of marks leaves room for a whole window above it. */
static void
long_window_fits_above_a_rounded_bound(void **state)
{
	enum
	{
		H = 32768
	};
	uds_index_lists *index = make_index(1, H, 1, 0);
	uds_name old = name_of(10, 1);
	uds_name new = name_of(20, 2);

	(void) state;
	open_chapter(index, 1, H, 1);
	add(index, &old, 1);
	open_chapter(index, 1, H, H);
	add(index, &new, H);
	assert_int_equal(find(index, &new), H);
	assert_int_equal(find(index, &old), 1);
	assert_int_equal(sum_counters(index, 1).expired, 0);
	open_chapter(index, 1, H, H + 1);
	assert_int_equal(find(index, &new), H);
	assert_int_equal(find(index, &old), UDS_NO_CHAPTER);
	free(index);
}

/* Puts elsewhere free the memory of expired entries that nobody asks for. */
static void
expired_entries_are_swept_by_puts(void **state)
{
	enum
	{
		R = 1000,
		H = 8
	};
	uds_index_lists *index = make_index(R, H, 1, 0);
	uds_name name = name_of(10, 1);

	(void) state;
	for (uint64_t i = 0; i < R; i++)
	{
		uds_name other = uds_generate_counter_name(i);

		add(index, &other, 0);
	}
	open_chapter(index, 1, H, H - 1);
	open_chapter(index, 1, H, H);
	assert_true(sum_counters(index, 1).records > R / 2);
	for (int i = 0; i < 16 * 256; i++)
	{
		uds_index_entry entry;

		assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
		assert_int_equal(uds_index_lists_put(index, &entry, H), UDS_OK);
		assert_int_equal(uds_index_lists_remove(index, &entry), UDS_OK);
	}
	assert_int_equal(sum_counters(index, 1).records, 0);
	assert_int_equal(sum_counters(index, 1).bytes_used, 0);
	assert_int_equal(sum_counters(index, 1).expired, R);
	free(index);
}

/* A put that finds no memory frees what has expired around it. */
static void
full_memory_is_freed_by_expiry(void **state)
{
	uds_index_lists *index = make_index(16, 8, 1, 0);
	uds_name name = uds_generate_name(UINT64_C(31) << 56 | 5, 0, 0);
	uint64_t refused = 0;
	uds_index_entry entry;

	(void) state;
	assert_int_equal(uds_index_lists_position(index, &name), 31);
	for (uint64_t i = 0; refused < 1000; i++)
	{
		/* lists 0..30 of one block */
		uds_name other = uds_generate_name(i % 31 << 56 | (i * 7919 & 0xffffff), i, 0);
		uds_status status;

		assert_int_equal(uds_index_lists_get(index, &other, &entry), UDS_OK);
		status = uds_index_lists_put(index, &entry, 0);
		assert_true(status == UDS_OK || status == UDS_OVERFLOW || status == UDS_DUPLICATE);
		refused += status == UDS_OVERFLOW;
	}
	assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
	assert_int_equal(uds_index_lists_put(index, &entry, 0), UDS_OVERFLOW);
	assert_int_equal(sum_counters(index, 1).overflows, refused + 1);
	assert_int_equal(uds_index_lists_set_window(index, 0, 0, 5), UDS_OK);
	assert_int_equal(uds_index_lists_set_window(index, 0, 5, 5), UDS_OK);
	add(index, &name, 5);
	assert_int_equal(find(index, &name), 5);
	assert_int_equal(sum_counters(index, 1).overflows, refused + 1);
	assert_checks(index, 1);
	free(index);
}

/* Uniform names through three windows: found while valid, then not; memory stays bounded. */
static void
window_rolls_over_uniform_names(void **state)
{
	enum
	{
		R = 500,
		H = 64,
		ZONES = 3
	};
	uds_index_lists *index = make_index(R, H, ZONES, 0xff);
	uint64_t wrong = 0;
	uint64_t puts = 0;
	uds_index_counters counters;

	(void) state;
	for (uint64_t chapter = 0; chapter < 4 * H; chapter++)
	{
		open_chapter(index, ZONES, H, chapter);
		for (uint64_t i = 0; i < R; i++, puts++)
		{
			uds_name name = uds_generate_counter_name(chapter * R + i);

			add(index, &name, chapter);
		}
		for (uint64_t i = 0; i < 20; i++)
		{
			uint64_t age = i * 4;
			uds_name name = uds_generate_counter_name((chapter - age) * R + i);

			if (age > chapter)
				continue;
			if (age < H)
				assert_int_equal(find(index, &name), chapter - age);
			else
				wrong += find(index, &name) != UDS_NO_CHAPTER;
		}
	}
	/* false hits: one of 4096 */
	assert_true(wrong <= 5);
	counters = sum_counters(index, ZONES);
	assert_in_range(counters.records, R * H, R * H * 105 / 100);
	assert_int_equal(counters.records + counters.expired, puts);
	assert_int_equal(counters.overflows + counters.lost + counters.early_flushes, 0);
	assert_true(counters.rebalances > 0);
	assert_checks(index, ZONES);
	free(index);
}

/* More names than fit: chapters are given up early, the newest stay, and nothing overflows. */
static void
chapters_are_given_up_when_memory_runs_short(void **state)
{
	enum
	{
		R = 1024,
		H = 128
	};
	uds_index_lists *index = make_index(R, H, 1, 0);
	uint64_t puts = 0;
	uds_index_counters counters;
	uint64_t chapter;

	(void) state;
	for (chapter = 0; chapter < 5 * H; chapter++)
	{
		/* two windows as announced, then an eighth more */
		uint64_t records = chapter < 2 * H ? R : R + R / 8;

		open_chapter(index, 1, H, chapter);
		for (uint64_t i = 0; i < records; i++, puts++)
		{
			uds_name name = uds_generate_counter_name(chapter * 2 * R + i);

			add(index, &name, chapter);
		}
		if (chapter == 2 * H - 1)
		{
			counters = sum_counters(index, 1);
			assert_int_equal(counters.early_flushes, 0);
			assert_int_equal(counters.lost, 0);
		}
		for (uint64_t age = 0; age <= chapter && age < H * 3 / 4; age += 10)
		{
			uds_name name = uds_generate_counter_name((chapter - age) * 2 * R + age);

			assert_int_equal(find(index, &name), chapter - age);
		}
	}
	counters = sum_counters(index, 1);
	assert_int_equal(counters.overflows, 0);
	assert_true(counters.early_flushes > 0);
	assert_true(counters.lost > 0);
	assert_int_equal(counters.records + counters.expired + counters.lost, puts);
	assert_checks(index, 1);
	free(index);
}

/* Far more names than fit, all in the newest chapters: no more can be given up than there are. */
static void
the_newest_chapter_is_never_given_up(void **state)
{
	enum
	{
		R = 1024,
		H = 64
	};
	uds_index_lists *index = make_index(R, H, 1, 0);
	uint64_t refused = 0;

	(void) state;
	for (uint64_t chapter = 0; chapter < 6; chapter++)
	{
		open_chapter(index, 1, H, chapter);
		assert_checks(index, 1);
		for (uint64_t i = 0; i < (uint64_t) R * H * 5 / 4; i++)
		{
			uds_name name = uds_generate_counter_name(chapter * 2 * R * H + i);
			uds_index_entry entry;
			uds_status status;

			assert_int_equal(uds_index_lists_get(index, &name, &entry), UDS_OK);
			status = uds_index_lists_put(index, &entry, chapter);
			assert_true(status == UDS_OK || status == UDS_OVERFLOW);
			refused += status == UDS_OVERFLOW;
			if (status == UDS_OK && i % 1000 == 0)
				assert_int_equal(find(index, &name), chapter);
		}
	}
	assert_true(refused > 0);
	assert_int_equal(sum_counters(index, 1).overflows, refused);
	assert_in_range(sum_counters(index, 1).early_flushes, 1, 5);
	assert_checks(index, 1);
	free(index);
}

/* Biased names fill one list: refused, counted, and nobody else is affected. */
static void
full_list_refuses_and_recovers(void **state)
{
	uds_index_lists *index = make_index(4096, 16, 1, 0);
	uint64_t stored = 0;
	uint64_t refused = 0;
	uds_index_entry entry;

	(void) state;
	for (uint64_t i = 0; i < 3000; i++)
	{
		uds_name biased = name_of(i % 3 * 50, i);
		uds_name other = uds_generate_counter_name(i);
		uds_status status;

		assert_int_equal(uds_index_lists_get(index, &biased, &entry), UDS_OK);
		status = uds_index_lists_put(index, &entry, 0);
		assert_true(status == UDS_OK || status == UDS_OVERFLOW);
		stored += status == UDS_OK;
		refused += status == UDS_OVERFLOW;
		if (status == UDS_OVERFLOW)
			assert_int_equal(entry.kind, UDS_ENTRY_HINT);
		if (uds_index_lists_position(index, &other) == 0)
			continue;
		add(index, &other, 0);
		stored++;
	}
	assert_true(refused > 2000);
	assert_int_equal(sum_counters(index, 1).overflows, refused);
	assert_int_equal(sum_counters(index, 1).records, stored);
	for (uint64_t i = 0; i < 3000; i++)
	{
		uds_name other = uds_generate_counter_name(i);

		if (uds_index_lists_position(index, &other) != 0)
			assert_int_equal(find(index, &other), 0);
	}
	assert_checks(index, 1);
	open_chapter(index, 1, 16, 16);
	for (uint64_t i = 0; i < 300; i++)
	{
		uds_name biased = name_of(50, i);

		add(index, &biased, 16);
	}
	assert_checks(index, 1);
	free(index);
}

/* ---- against a plain model ------------------------------------------------------------------ */

/* Entries of one address: the first is plain, the others exact, newest first. */
typedef struct model_entry
{
	uds_name name;
	uint64_t chapter;
} model_entry;

#define MODEL_ADDRESSES 60
#define MODEL_NAMES     6 /* per address */

typedef struct model
{
	model_entry entries[MODEL_ADDRESSES][MODEL_NAMES + 1];
	uint32_t counts[MODEL_ADDRESSES];
	uint64_t oldest;
	uint64_t newest;
	uint32_t chapters;
	uint32_t zones;
} model;

static uds_name
model_name(uint32_t address, uint32_t number)
{
	/* 20 lists all over the index, 3 keys each */
	uint64_t field = UINT64_C(0x0ccccccccccc0000) * (address / 3) + address % 3 * 700;

	return uds_generate_name(field, number, number * 77);
}

static void
model_cut(model *model, uint32_t address, uint32_t at)
{
	model_entry *entries = model->entries[address];

	model->counts[address]--;
	memmove(entries + at, entries + at + 1, (model->counts[address] - at) * sizeof(*entries));
}

static void
model_expire(model *model)
{
	for (uint32_t address = 0; address < MODEL_ADDRESSES; address++)
	{
		for (uint32_t at = 0; at < model->counts[address];)
		{
			if (model->entries[address][at].chapter < model->oldest)
				model_cut(model, address, at);
			else
				at++;
		}
	}
}

static uds_entry_kind
model_find(const model *model, uint32_t address, const uds_name *name, uint32_t *at)
{
	*at = 0;
	for (uint32_t i = 1; i < model->counts[address]; i++)
	{
		if (uds_name_equals(&model->entries[address][i].name, name))
		{
			*at = i;
			return UDS_ENTRY_EXACT;
		}
	}
	return model->counts[address] > 0 ? UDS_ENTRY_HINT : UDS_ENTRY_NONE;
}

/* Get, compare, change in both. */
static bool
model_step(uds_index_lists *index, model *model, uds_random *random)
{
	uint32_t address = (uint32_t) uds_random_below(random, MODEL_ADDRESSES);
	uds_name name = model_name(address, (uint32_t) uds_random_below(random, MODEL_NAMES));
	model_entry *entries = model->entries[address];
	uint32_t at;
	uds_entry_kind kind = model_find(model, address, &name, &at);
	uds_index_entry entry;
	uds_status status = uds_index_lists_get(index, &name, &entry);

	if (status != UDS_OK || entry.kind != kind || !uds_name_equals(&entry.name, &name) ||
	    entry.zone != uds_index_lists_zone(index, &name) ||
	    entry.chapter != (kind == UDS_ENTRY_NONE ? UDS_NO_CHAPTER : entries[at].chapter))
		return false;
	switch (uds_random_below(random, 6))
	{
		case 0:
			status = uds_index_lists_remove(index, &entry);
			if (kind == UDS_ENTRY_NONE)
				return status == UDS_ERR_BAD_STATE;
			model_cut(model, address, at);
			return status == UDS_OK && entry.kind == UDS_ENTRY_NONE;
		case 1:
		case 2:
			status = uds_index_lists_move(index, &entry, model->newest);
			if (kind == UDS_ENTRY_NONE)
				return status == UDS_ERR_BAD_STATE;
			entries[at].chapter = model->newest;
			return status == UDS_OK && entry.chapter == model->newest;
		case 3:
			return true;
		default:
			status = uds_index_lists_put(index, &entry, model->newest);
			if (kind == UDS_ENTRY_EXACT)
				return status == UDS_DUPLICATE;
			at = kind == UDS_ENTRY_HINT;
			memmove(entries + at + 1,
			        entries + at,
			        (model->counts[address] - at) * sizeof(*entries));
			entries[at] = (model_entry){ name, model->newest };
			model->counts[address]++;
			return status == UDS_OK &&
			       entry.kind == (kind == UDS_ENTRY_NONE ? UDS_ENTRY_HINT : UDS_ENTRY_EXACT);
	}
}

/* Save all zones and load them into an index of another zone count, in any order of parts. */
static uds_index_lists *
change_zones(uds_index_lists *index, uint64_t records, uint32_t chapters, uint32_t zones,
             uint32_t new_zones, uds_random *random)
{
	uds_index_lists *loaded = make_index(records, chapters, new_zones, 0xff);
	uds_index_counters before = sum_counters(index, zones);
	uds_index_counters after;
	uint32_t order[UDS_ZONES_MAX];

	for (uint32_t z = 0; z < zones; z++)
		order[z] = z;
	uds_random_shuffle(random, order, zones, sizeof(order[0]));
	for (uint32_t i = 0; i < zones; i++)
	{
		uds_memory_stream memory;

		uds_memory_stream_init(&memory);
		assert_int_equal(uds_index_lists_save(index, order[i], &memory.stream), UDS_OK);
		assert_int_equal(uds_index_lists_load(loaded, &memory.stream), UDS_OK);
		assert_int_equal(memory.position, memory.bytes);
		uds_memory_stream_free(&memory);
	}
	assert_checks(loaded, new_zones);
	after = sum_counters(loaded, new_zones);
	assert_int_equal(before.records, after.records + after.expired + after.lost);
	assert_true(after.bytes_used <= before.bytes_used);
	if (after.expired + after.lost == 0)
	{
		assert_int_equal(after.collisions, before.collisions);
		assert_int_equal(after.bytes_used, before.bytes_used);
	}
	free(index);
	return loaded;
}

static void
random_operations_equal_a_map_with_a_window(void **state)
{
	static const uint32_t windows[] = { 2, 5, 8, 100, 1000, 20000 };
	model *model = malloc(sizeof(*model));
	uds_random random;

	(void) state;
	for (size_t i = 0; i < COUNT(windows); i++)
	{
		uds_index_lists *index;

		uds_random_init(&random, uds_random_seed(71 + i));
		memset(model, 0, sizeof(*model));
		model->chapters = windows[i];
		model->zones = 1 + i % 4;
		index = make_index(50, model->chapters, model->zones, 0xff);
		for (int step = 0; step < 30000; step++)
		{
			if (uds_random_one_in(&random, 30))
			{
				uint64_t jump =
					uds_random_one_in(&random, 50) ? 3 * model->chapters : model->chapters / 4 + 2;

				model->newest += uds_random_below(&random, jump);
				if (model->newest >= model->chapters)
					model->oldest = UDS_MAX(model->oldest, model->newest - model->chapters + 1);
				if (uds_random_one_in(&random, 20))
					model->oldest = uds_random_range(&random, model->oldest, model->newest);
				model_expire(model);
				for (uint32_t z = 0; z < model->zones; z++)
					assert_int_equal(uds_index_lists_set_window(index,
					                                            z,
					                                            model->oldest,
					                                            model->newest),
					                 UDS_OK);
			}
			if (uds_random_one_in(&random, 3000))
			{
				uint32_t zones = 1 + (uint32_t) uds_random_below(&random, UDS_ZONES_MAX);

				index = change_zones(index, 50, model->chapters, model->zones, zones, &random);
				model->zones = zones;
			}
			if (!model_step(index, model, &random))
				fail_msg("window %u step %d seed %lu",
				         windows[i],
				         step,
				         (unsigned long) random.seed);
		}
		assert_checks(index, model->zones);
		free(index);
	}
	free(model);
}

/* ---- threads -------------------------------------------------------------------------------- */

#define THREAD_ZONES    3
#define THREAD_CHAPTERS 24
#define THREAD_RECORDS  400

typedef struct zone_thread
{
	uds_index_lists *index;
	uint32_t zone;
	uint64_t failures;
	uint64_t puts;
} zone_thread;

/* Put all names of one zone, chapter by chapter, and look for those of the window. */
static void *
run_zone(void *argument)
{
	zone_thread *thread = argument;
	uds_index_entry entry;

	for (uint64_t chapter = 0; chapter < THREAD_CHAPTERS; chapter++)
	{
		uint64_t oldest = chapter >= 8 ? chapter - 7 : 0;

		thread->failures +=
			uds_index_lists_set_window(thread->index, thread->zone, oldest, chapter) != UDS_OK;
		for (uint64_t i = oldest * THREAD_RECORDS; i < (chapter + 1) * THREAD_RECORDS; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			if (uds_index_lists_zone(thread->index, &name) != thread->zone)
				continue;
			thread->failures += uds_index_lists_get(thread->index, &name, &entry) != UDS_OK;
			if (i / THREAD_RECORDS < chapter)
			{
				thread->failures += entry.chapter != i / THREAD_RECORDS;
				continue;
			}
			thread->failures += uds_index_lists_put(thread->index, &entry, chapter) != UDS_OK;
			thread->puts++;
		}
	}
	return NULL;
}

static void
zones_run_side_by_side(void **state)
{
	uds_index_lists *index = make_index(THREAD_RECORDS, 8, THREAD_ZONES, 0xff);
	zone_thread threads[THREAD_ZONES] = { 0 };
	pthread_t handles[THREAD_ZONES];
	uint64_t puts = 0;

	(void) state;
	for (uint32_t z = 0; z < THREAD_ZONES; z++)
	{
		threads[z] = (zone_thread){ .index = index, .zone = z };
		assert_int_equal(pthread_create(&handles[z], NULL, run_zone, &threads[z]), 0);
	}
	for (uint32_t z = 0; z < THREAD_ZONES; z++)
	{
		assert_int_equal(pthread_join(handles[z], NULL), 0);
		assert_int_equal(threads[z].failures, 0);
		puts += threads[z].puts;
	}
	assert_int_equal(puts, THREAD_CHAPTERS * THREAD_RECORDS);
	assert_int_equal(sum_counters(index, THREAD_ZONES).records +
	                     sum_counters(index, THREAD_ZONES).expired,
	                 puts);
	assert_checks(index, THREAD_ZONES);
	free(index);
}

/* ---- save and load -------------------------------------------------------------------------- */

static void
positions_do_not_depend_on_zones(void **state)
{
	uds_index_lists *one = make_index(1000, 100, 1, 0);

	(void) state;
	for (uint32_t zones = 2; zones <= UDS_ZONES_MAX; zones++)
	{
		uds_index_lists *many = make_index(1000, 100, zones, 0);
		uint32_t hits[UDS_ZONES_MAX] = { 0 };

		for (uint64_t i = 0; i < 4000; i++)
		{
			uds_name name = uds_generate_counter_name(i);
			uint64_t position = uds_index_lists_position(many, &name);
			uint32_t zone = uds_index_lists_zone(many, &name);

			assert_int_equal(position, uds_index_lists_position(one, &name));
			assert_true(zone < zones);
			assert_true(position >= uds_index_lists_zone_start(many, zone));
			assert_true(zone + 1 == zones || position < uds_index_lists_zone_start(many, zone + 1));
			hits[zone]++;
		}
		for (uint32_t zone = 0; zone < zones; zone++)
			assert_in_range(hits[zone], 4000 / zones / 2, 4000 / zones * 2);
		free(many);
	}
	free(one);
}

static void
full_index_is_saved_and_loaded_over_zone_counts(void **state)
{
	enum
	{
		R = 300,
		H = 20
	};

	(void) state;
	for (uint32_t from = 1; from <= 4; from++)
	{
		for (uint32_t to = 1; to <= 4; to++)
		{
			uds_index_lists *index = make_index(R, H, from, 0);
			uds_random random;

			uds_random_init(&random, uds_random_seed(from * 8 + to));
			for (uint64_t chapter = 0; chapter < H + H / 2; chapter++)
			{
				open_chapter(index, from, H, chapter);
				for (uint64_t i = 0; i < R; i++)
				{
					uds_name name = uds_generate_counter_name(chapter * R + i);

					add(index, &name, chapter);
				}
			}
			index = change_zones(index, R, H, from, to, &random);
			for (uint64_t i = 0; i < R * (H + H / 2); i++)
			{
				uds_name name = uds_generate_counter_name(i);

				if (i / R >= H / 2)
					assert_int_equal(find(index, &name), i / R);
			}
			/* and it goes on */
			open_chapter(index, to, H, H + H / 2);
			for (uint64_t i = 0; i < R; i++)
			{
				uds_name name = uds_generate_counter_name(1000000 + i);

				add(index, &name, H + H / 2);
			}
			assert_checks(index, to);
			free(index);
		}
	}
}

/* Zones with different windows: all get the highest oldest chapter; newest must be one. */
static void
windows_of_parts_are_united(void **state)
{
	uds_index_lists *index = make_index(100, 16, 2, 0);
	uds_index_lists *loaded = make_index(100, 16, 1, 0);
	uds_name low = name_of(5, 1);
	uds_name high = name_of(UINT64_MAX - 5, 2);
	uds_memory_stream parts[2];

	(void) state;
	add(index, &low, 0);
	open_chapter(index, 2, 16, 3);
	add(index, &high, 3);
	assert_int_equal(uds_index_lists_set_window(index, 0, 0, 9), UDS_OK);
	assert_int_equal(uds_index_lists_set_window(index, 1, 2, 9), UDS_OK);
	for (uint32_t z = 0; z < 2; z++)
	{
		uds_memory_stream_init(&parts[z]);
		assert_int_equal(uds_index_lists_save(index, z, &parts[z].stream), UDS_OK);
	}
	assert_int_equal(uds_index_lists_load(loaded, &parts[0].stream), UDS_OK);
	assert_int_equal(find(loaded, &low), 0);
	assert_int_equal(uds_index_lists_load(loaded, &parts[1].stream), UDS_OK);
	assert_int_equal(find(loaded, &low), UDS_NO_CHAPTER);
	assert_int_equal(find(loaded, &high), 3);
	assert_int_equal(uds_index_lists_set_window(loaded, 0, 1, 9), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_lists_set_window(loaded, 0, 2, 9), UDS_OK);
	/* in the other order: what the united window excludes is dropped on the way in */
	free(loaded);
	loaded = make_index(100, 16, 3, 0);
	for (uint32_t z = 2; z-- > 0;)
	{
		uds_memory_stream_rewind(&parts[z]);
		assert_int_equal(uds_index_lists_load(loaded, &parts[z].stream), UDS_OK);
	}
	assert_int_equal(sum_counters(loaded, 3).records, 1);
	assert_int_equal(sum_counters(loaded, 3).expired, 1);
	free(loaded);
	loaded = make_index(100, 16, 1, 0);
	uds_memory_stream_rewind(&parts[1]);
	assert_int_equal(uds_index_lists_load(loaded, &parts[1].stream), UDS_OK);
	/* the same part twice */
	uds_memory_stream_rewind(&parts[1]);
	assert_int_equal(uds_index_lists_load(loaded, &parts[1].stream), UDS_ERR_CORRUPT);
	assert_int_equal(sum_counters(loaded, 1).records, 0);
	/* parts of different times */
	uds_memory_stream_rewind(&parts[0]);
	assert_int_equal(uds_index_lists_load(loaded, &parts[0].stream), UDS_OK);
	assert_int_equal(uds_index_lists_set_window(index, 1, 2, 10), UDS_OK);
	uds_memory_stream_clear(&parts[1]);
	assert_int_equal(uds_index_lists_save(index, 1, &parts[1].stream), UDS_OK);
	assert_int_equal(uds_index_lists_load(loaded, &parts[1].stream), UDS_ERR_CORRUPT);
	/* a part below the window of the index */
	open_chapter(loaded, 1, 16, 20);
	uds_memory_stream_rewind(&parts[1]);
	assert_int_equal(uds_index_lists_load(loaded, &parts[1].stream), UDS_ERR_CORRUPT);
	add(loaded, &low, 0);
	assert_int_equal(find(loaded, &low), 0);
	uds_memory_stream_free(&parts[0]);
	uds_memory_stream_free(&parts[1]);
	free(index);
	free(loaded);
}

static uds_index_lists *
make_small_save(uds_memory_stream *memory)
{
	uds_index_lists *index = make_index(100, 8, 1, 0);

	for (uint64_t chapter = 0; chapter < 8; chapter++)
	{
		open_chapter(index, 1, 8, chapter);
		for (uint64_t i = 0; i < 20; i++)
		{
			uds_name name = uds_generate_counter_name(chapter * 100 + i);

			add(index, &name, chapter);
		}
	}
	for (uint64_t salt = 0; salt < 4; salt++)
	{
		uds_name name = name_of(700, salt);

		add(index, &name, 7);
	}
	uds_memory_stream_init(memory);
	assert_int_equal(uds_index_lists_save(index, 0, &memory->stream), UDS_OK);
	return index;
}

/* The head of the format, fixed for ever: a part of 160 + 4 records begins like this. */
static void
saved_bytes_have_the_documented_layout(void **state)
{
	static const uint8_t head[56] = {
		0x55, 0x44, 0x53, 0x49, 0x4c, 0x53, 0x30, 0x31, /* magic */
		100,  0,    0,    0,    0,    0,    0,    0,    /* records a chapter */
		8,    0,    0,    0,    0,    0x10, 0,    0,    /* chapters, mean delta */
		0,    1,    0,    0,    0,    0,    0,    0,    /* lists of the index, first list */
		0,    1,    0,    0,    0,    0,    0,    0,    /* lists, reserved */
		0,    0,    0,    0,    0,    0,    0,    0,    /* oldest */
		7,    0,    0,    0,    0,    0,    0,    0,    /* newest */
	};
	uds_memory_stream memory;
	uds_index_lists *index = make_small_save(&memory);
	uds_index_counters counters = sum_counters(index, 1);
	uint64_t numbers[3];
	uint16_t first[2];

	(void) state;
	assert_memory_equal(memory.data, head, sizeof(head));
	memcpy(numbers, memory.data + 56, sizeof(numbers));
	assert_int_equal(numbers[0], 164);
	assert_int_equal(numbers[1], 3);
	assert_int_equal(numbers[2], counters.bytes_used);
	/* list 0: one name of chapter 7 and three exact ones beside it, perhaps more */
	memcpy(first, memory.data + 80, sizeof(first));
	assert_true(first[0] > 3 * 128);
	assert_true(first[1] <= 7);
	assert_int_equal(memory.bytes, 80 + 256 * 4 + counters.bytes_used + 8);
	assert_memory_equal(memory.data + memory.bytes - 8, "UDSLSEND", 8);
	uds_memory_stream_free(&memory);
	free(index);
}

static void
short_and_refused_streams_are_errors(void **state)
{
	uds_memory_stream memory;
	uds_index_lists *index = make_small_save(&memory);
	uds_index_lists *loaded = make_index(100, 8, 2, 0);
	uds_name name = uds_generate_counter_name(0);
	size_t bytes = memory.bytes;

	(void) state;
	for (size_t limit = 0; limit < bytes; limit++)
	{
		memory.limit = limit;
		uds_memory_stream_rewind(&memory);
		assert_int_equal(uds_index_lists_load(loaded, &memory.stream), UDS_ERR_CORRUPT);
		assert_int_equal(sum_counters(loaded, 2).records, 0);
	}
	assert_checks(loaded, 2);
	memory.limit = SIZE_MAX;
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_index_lists_load(loaded, &memory.stream), UDS_OK);
	assert_int_equal(find(loaded, &name), 0);
	for (size_t limit = 0; limit < bytes; limit += limit + 21 < bytes ? 13 : 1)
	{
		uds_memory_stream_clear(&memory);
		memory.write_limit = limit;
		assert_int_equal(uds_index_lists_save(index, 0, &memory.stream), UDS_ERR_NO_SPACE);
	}
	assert_int_equal(uds_index_lists_save(index, 1, &memory.stream), UDS_ERR_ARGUMENT);
	uds_memory_stream_free(&memory);
	free(index);
	free(loaded);
}

/*
 * Names that crowd in one zone of four: their lists have room in the memory of one zone for all, but
 * not in that of the one zone.  The load fails and leaves an empty index.
 */
static void
part_that_does_not_fit_into_a_zone_is_refused(void **state)
{
	enum
	{
		R = 1000,
		H = 16
	};
	uds_index_lists *index = make_index(R, H, 1, 0);
	uds_index_lists *four = make_index(R, H, 4, 0);
	uds_name name = uds_generate_counter_name(0);
	uint64_t stored = 0;
	uds_memory_stream memory;

	(void) state;
	for (uint64_t i = 0; i < (uint64_t) R * H * 3 / 4; i++)
	{
		uds_name crowded = uds_generate_counter_name(i);
		uds_index_entry entry;
		uds_status status;

		uds_generate_set_volume_field(&crowded, uds_name_volume_field(&crowded) / 4);
		assert_int_equal(uds_index_lists_get(index, &crowded, &entry), UDS_OK);
		status = uds_index_lists_put(index, &entry, 0);
		assert_true(status == UDS_OK || status == UDS_OVERFLOW);
		stored += status == UDS_OK;
	}
	assert_true(stored > R * H / 2);
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_index_lists_save(index, 0, &memory.stream), UDS_OK);
	assert_int_equal(uds_index_lists_load(four, &memory.stream), UDS_ERR_CORRUPT);
	assert_int_equal(sum_counters(four, 4).records, 0);
	assert_checks(four, 4);
	open_chapter(four, 4, H, 0);
	add(four, &name, 0);
	/* One zone has room for them. */
	free(four);
	four = make_index(R, H, 1, 0xff);
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_index_lists_load(four, &memory.stream), UDS_OK);
	assert_int_equal(sum_counters(four, 1).records, stored);
	uds_memory_stream_free(&memory);
	free(index);
	free(four);
}

/* Put a name of list 0; false when the list has no room for it. */
static bool
try_add(uds_index_lists *index, const uds_name *name)
{
	uds_index_entry entry;
	uds_status status;

	assert_int_equal(uds_index_lists_position(index, name), 0);
	assert_int_equal(uds_index_lists_get(index, name, &entry), UDS_OK);
	status = uds_index_lists_put(index, &entry, 0);
	assert_true(status == UDS_OK || status == UDS_OVERFLOW);
	return status == UDS_OK;
}

/* The longest list there can be comes back from a save. */
static void
longest_list_is_saved_and_loaded(void **state)
{
	uds_index_lists *index = make_index(4096, 16, 1, 0);
	uds_index_lists *loaded = make_index(4096, 16, 3, 0xff);
	uint64_t key = 250000;
	uint64_t stored = 0;
	uds_name name;
	uds_memory_stream memory;
	uint16_t bits;

	(void) state;
	/* Exact entries, then plain ones, until a last one with a long code fills the list. */
	while (sum_counters(index, 1).bytes_used * 8 < 65535 - 60)
	{
		name = stored < 430 ? name_of(7, stored) : name_of(8 * stored, 0);
		assert_true(try_add(index, &name));
		stored++;
	}
	name = name_of(key, 0);
	while (!try_add(index, &name))
	{
		key -= 500;
		name = name_of(key, 0);
	}
	stored++;
	uds_memory_stream_init(&memory);
	assert_int_equal(uds_index_lists_save(index, 0, &memory.stream), UDS_OK);
	memcpy(&bits, memory.data + 80, sizeof(bits));
	assert_true(bits >= 65529);
	assert_int_equal(uds_index_lists_load(loaded, &memory.stream), UDS_OK);
	assert_int_equal(sum_counters(loaded, 3).records, stored);
	assert_int_equal(find(loaded, &name), 0);
	for (uint64_t i = 0; i < 430; i++)
	{
		name = name_of(7, i);
		assert_int_equal(find(loaded, &name), 0);
	}
	assert_checks(loaded, 3);
	uds_memory_stream_free(&memory);
	free(index);
	free(loaded);
}

/* Any damaged byte: an empty index, or one whose entries decode inside the window. */
static void
damaged_streams_are_refused_or_harmless(void **state)
{
	uds_memory_stream memory;
	uds_index_lists *index = make_small_save(&memory);
	uds_index_lists *loaded = make_index(100, 8, 2, 0);
	uint32_t refused = 0;
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(81));
	for (size_t round = 0; round < 4 * memory.bytes; round++)
	{
		size_t at = round % memory.bytes;
		uint8_t before = memory.data[at];
		uds_index_parameters parameters = {
			.records_per_chapter = 100, .chapters = 8, .zone_count = 2, .mean_delta = 4096
		};
		uds_status status;

		memory.data[at] ^=
			round < memory.bytes ? 1u << round % 8 : (uint8_t) uds_random_range(&random, 1, 255);
		uds_memory_stream_rewind(&memory);
		status = uds_index_lists_load(loaded, &memory.stream);
		memory.data[at] = before;
		assert_true(status == UDS_OK || status == UDS_ERR_CORRUPT);
		refused += status != UDS_OK;
		/* in the header, only the oldest chapter may be another one */
		if (at < 40 || (at > 47 && at < 80))
			assert_int_equal(status, UDS_ERR_CORRUPT);
		assert_checks(loaded, 2);
		if (status != UDS_OK)
		{
			assert_int_equal(sum_counters(loaded, 2).records, 0);
			continue;
		}
		for (uint64_t i = 0; i < 20; i++)
		{
			uds_name name = uds_generate_counter_name(uds_random_below(&random, 800));
			uint64_t chapter = find(loaded, &name);

			assert_true(chapter <= 7 || chapter == UDS_NO_CHAPTER);
		}
		assert_int_equal(uds_index_lists_init(loaded, &parameters), UDS_OK);
	}
	assert_true(refused > memory.bytes);
	uds_memory_stream_free(&memory);
	free(index);
	free(loaded);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_have_ranges),
		cmocka_unit_test(new_index_is_empty),
		cmocka_unit_test(entry_is_put_moved_and_removed),
		cmocka_unit_test(windows_never_move_back),
		cmocka_unit_test(expiry_walk_of_the_specification),
		cmocka_unit_test(name_is_found_for_exactly_one_window),
		cmocka_unit_test(chapter_of_an_entry_follows_its_moves),
		cmocka_unit_test(neighbours_of_an_expired_entry_stay),
		cmocka_unit_test(handle_survives_a_moving_window),
		cmocka_unit_test(idle_lists_are_never_misread),
		cmocka_unit_test(long_window_fits_above_a_rounded_bound),
		cmocka_unit_test(expired_entries_are_swept_by_puts),
		cmocka_unit_test(full_memory_is_freed_by_expiry),
		cmocka_unit_test(window_rolls_over_uniform_names),
		cmocka_unit_test(chapters_are_given_up_when_memory_runs_short),
		cmocka_unit_test(the_newest_chapter_is_never_given_up),
		cmocka_unit_test(full_list_refuses_and_recovers),
		cmocka_unit_test(random_operations_equal_a_map_with_a_window),
		cmocka_unit_test(zones_run_side_by_side),
		cmocka_unit_test(positions_do_not_depend_on_zones),
		cmocka_unit_test(full_index_is_saved_and_loaded_over_zone_counts),
		cmocka_unit_test(windows_of_parts_are_united),
		cmocka_unit_test(saved_bytes_have_the_documented_layout),
		cmocka_unit_test(short_and_refused_streams_are_errors),
		cmocka_unit_test(part_that_does_not_fit_into_a_zone_is_refused),
		cmocka_unit_test(longest_list_is_saved_and_loaded),
		cmocka_unit_test(damaged_streams_are_refused_or_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
