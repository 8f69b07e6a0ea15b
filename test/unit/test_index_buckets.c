/*
 * test_index_buckets.c: proves that age-ordered buckets answer as a plain map with a window does,
 * whatever the window, the zones, the fill and the jumps of the window are, and that saved parts
 * load into any number of zones and cannot lead out of memory when they are damaged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "../../src/engine/bucket_zones.h"
#include "../support/generate.h"

#define ADDRESS_SPACE (UINT64_C(1) << UDS_BUCKET_ADDRESS_BITS)

/* ---- helpers ------------------------------------------------------------------------------- */

static uds_index_parameters
make_parameters(uint64_t records_per_chapter, uint32_t chapters, uint32_t zones)
{
	return (uds_index_parameters){ .records_per_chapter = records_per_chapter,
		                           .chapters = chapters,
		                           .zone_count = zones,
		                           .mean_delta = UDS_VOLUME_INDEX_MEAN_DELTA };
}

static uds_index_buckets *
make_index(uint64_t records_per_chapter, uint32_t chapters, uint32_t zones)
{
	uds_index_parameters parameters = make_parameters(records_per_chapter, chapters, zones);
	size_t bytes = uds_index_buckets_size(&parameters);
	uds_index_buckets *index;

	assert_true(bytes > 0 && bytes % UDS_CACHE_LINE == 0);
	index = aligned_alloc(UDS_CACHE_LINE, bytes);
	assert_non_null(index);
	memset(index, 0xa5, bytes);
	assert_int_equal(uds_index_buckets_init(index, &parameters), UDS_OK);
	return index;
}

static void
set_windows(uds_index_buckets *index, uint32_t zones, uint64_t oldest, uint64_t newest)
{
	for (uint32_t zone = 0; zone < zones; zone++)
		assert_int_equal(uds_index_buckets_set_window(index, zone, oldest, newest), UDS_OK);
}

static void
check_zones(const uds_index_buckets *index, uint32_t zones)
{
	for (uint32_t zone = 0; zone < zones; zone++)
		assert_int_equal(uds_index_buckets_check(index, zone), UDS_OK);
}

static uds_index_counters
count_zones(const uds_index_buckets *index, uint32_t zones)
{
	uds_index_counters sum = { 0 };

	for (uint32_t zone = 0; zone < zones; zone++)
	{
		uds_index_counters one;

		uds_index_buckets_counters(index, zone, &one);
		sum.records += one.records;
		sum.collisions += one.collisions;
		sum.discards += one.discards;
		sum.expired += one.expired;
		sum.lost += one.lost;
		sum.overflows += one.overflows;
		sum.rebalances += one.rebalances;
		sum.bytes_used += one.bytes_used;
	}
	return sum;
}

static uds_index_entry
get(uds_index_buckets *index, const uds_name *name)
{
	uds_index_entry entry;

	assert_int_equal(uds_index_buckets_get(index, name, &entry), UDS_OK);
	assert_int_equal(entry.zone, uds_index_buckets_zone(index, name));
	assert_true(uds_name_equals(&entry.name, name));
	return entry;
}

static void
expect(uds_index_buckets *index, const uds_name *name, uds_entry_kind kind, uint64_t chapter)
{
	uds_index_entry entry = get(index, name);

	assert_int_equal(entry.kind, kind);
	if (kind != UDS_ENTRY_NONE)
		assert_int_equal(entry.chapter, chapter);
}

static void
put_new(uds_index_buckets *index, const uds_name *name, uint64_t chapter)
{
	uds_index_entry entry = get(index, name);

	assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	assert_int_equal(uds_index_buckets_put(index, &entry, chapter), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_HINT);
	assert_int_equal(entry.chapter, chapter);
}

/* A name in a bucket of bucket_count, at an address; serial makes it unique. */
static uds_name
name_in_bucket(uint64_t bucket, uint64_t bucket_count, uint32_t address, uint64_t serial)
{
	/* The middle of the bucket's range, far enough from its ends to set the low bits freely. */
	uint64_t width = UINT64_MAX / bucket_count;
	uint64_t field = width * bucket + width / 2;

	return uds_generate_name((field & ~(ADDRESS_SPACE - 1)) | address, serial, 0);
}

/* ---- one bucket ---------------------------------------------------------------------------- */

static void
shapes_fit_the_bucket(void **state)
{
	static const struct
	{
		uint32_t chapters;
		uint32_t slots;
		uint32_t step_bits;
	} known[] = { { 2, 63, 0 },
		          { 64, 63, 0 },
		          { 128, 63, 1 },
		          { 512, 63, 3 },
		          { 1024, 63, 4 },
		          { 10240, 53, 8 },
		          { UINT32_C(1) << 20, 43, 14 } };

	(void) state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		uds_bucket_shape shape;

		uds_bucket_shape_init(&shape, known[i].chapters);
		assert_int_equal(shape.slots, known[i].slots);
		assert_int_equal(shape.step_bits, known[i].step_bits);
	}
	for (uint32_t chapters = 2; chapters <= UINT32_C(1) << 20; chapters += 1 + chapters / 50)
	{
		uds_bucket_shape shape;
		uint32_t end;

		uds_bucket_shape_init(&shape, chapters);
		end = shape.aux_start + shape.slots * shape.aux_bits;
		assert_true(shape.slots >= 40 && shape.slots <= UDS_BUCKET_SLOTS_MAX);
		assert_true(end <= 8 * UDS_BUCKET_HEADER + UDS_BUCKET_HEADER_SHIFT);
		assert_true(shape.span + shape.slots <= UDS_BUCKET_VECTOR_BITS);
		/* The oldest chapter of the last epoch and the newest one of the window. */
		assert_true(((uint64_t) shape.span << shape.step_bits) + 1 >= chapters);
	}
}

static void
select_finds_every_one(void **state)
{
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(7));
	for (int round = 0; round < 20000; round++)
	{
		uint64_t low = uds_random_next(&random) & uds_random_next(&random);
		uint64_t high = uds_random_next(&random) | uds_random_next(&random);
		uds_bucket_vector vector;
		uint32_t rank = 0;

		if (round % 5 == 0)
			low = round % 2 ? 0 : UINT64_MAX;
		if (round % 7 == 0)
			high = round % 2 ? 0 : UINT64_MAX;
		vector = (uds_bucket_vector) high << 64 | low;
		for (uint32_t i = 0; i < UDS_BUCKET_VECTOR_BITS; i++)
		{
			if ((vector >> i & 1) == 0)
				continue;
			assert_int_equal(uds_bucket_select(vector, rank), i);
			rank++;
		}
		assert_int_equal(uds_bucket_ones(vector), rank);
		assert_int_equal(uds_bucket_select(vector, rank), UDS_BUCKET_VECTOR_BITS);
	}
}

/* The entries of a bucket as an array, oldest first. */
typedef struct plain_bucket
{
	uint32_t count;
	uds_bucket_entry entries[64];
} plain_bucket;

static void
compare_bucket(const uds_bucket_shape *shape, const uds_bucket *bucket, const plain_bucket *plain,
               uint64_t newest)
{
	uint32_t header = uds_bucket_header(bucket);
	uint32_t head = uds_bucket_head(header);

	assert_true(uds_bucket_is_sound(shape, bucket, newest));
	assert_int_equal(uds_bucket_count(header), plain->count);
	assert_int_equal(__builtin_popcountll(uds_bucket_occupied(shape, header)), plain->count);
	for (uint32_t age = 0; age < plain->count; age++)
	{
		uint32_t slot = uds_bucket_slot(shape, head, age);
		uint32_t address = plain->entries[age].address;
		uint64_t chapter;

		assert_true(uds_bucket_match(bucket, address & UINT16_MAX) >> slot & 1);
		assert_int_equal(uds_bucket_age(shape, head, slot), age);
		assert_int_equal(uds_bucket_fingerprint(bucket, slot), address & UINT16_MAX);
		assert_int_equal(uds_bucket_aux(shape, bucket, slot) & 3, address >> 16);
		assert_true(uds_bucket_chapter(shape, bucket, slot, newest >> shape->step_bits, &chapter));
		assert_int_equal(chapter, plain->entries[age].chapter);
	}
}

static void
bucket_follows_a_plain_array(void **state)
{
	static const uint32_t windows[] = { 2, 5, 63, 64, 100, 128, 512, 1000, 1024, 10240, 1 << 20 };
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(11));
	for (size_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++)
	{
		uds_bucket_shape shape;
		uds_bucket bucket;
		plain_bucket plain = { 0 };
		uint64_t newest = windows[w] * UINT64_C(3);

		uds_bucket_shape_init(&shape, windows[w]);
		memset(&bucket, 0, sizeof(bucket));
		for (int step = 0; step < 20000; step++)
		{
			uint32_t flags = UDS_BUCKET_HAS_SIDE | UDS_BUCKET_HAS_EXACT;
			uint32_t drop;

			newest += uds_random_below(&random, 2 + windows[w] / 40);
			while (plain.count > 0 &&
			       (newest - plain.entries[0].chapter >= windows[w] || plain.count == shape.slots))
			{
				uds_bucket_entry oldest =
					uds_bucket_oldest(&shape, &bucket, newest >> shape.step_bits);

				assert_int_equal(oldest.address, plain.entries[0].address);
				assert_int_equal(oldest.chapter, plain.entries[0].chapter);
				uds_bucket_pop(&shape, &bucket);
				plain.count--;
				memmove(plain.entries, plain.entries + 1, plain.count * sizeof(oldest));
			}
			if (plain.count > 0 && uds_random_one_in(&random, 3))
			{
				uint32_t head = uds_bucket_head(uds_bucket_header(&bucket));

				drop = (uint32_t) uds_random_below(&random, plain.count);
				uds_bucket_remove(&shape, &bucket, uds_bucket_slot(&shape, head, drop));
				plain.count--;
				memmove(plain.entries + drop,
				        plain.entries + drop + 1,
				        (plain.count - drop) * sizeof(plain.entries[0]));
			}
			else
			{
				uint32_t address = (uint32_t) uds_random_below(&random, ADDRESS_SPACE);

				assert_true(uds_bucket_append(&shape, &bucket, address, newest) < shape.slots);
				plain.entries[plain.count].address = address;
				plain.entries[plain.count].chapter = newest;
				plain.count++;
			}
			if (step == 100)
				uds_bucket_set_header(&bucket, uds_bucket_header(&bucket) | flags);
			if (step > 100)
				assert_int_equal(uds_bucket_header(&bucket) & flags, flags);
			compare_bucket(&shape, &bucket, &plain, newest);
		}
	}
}

/* ---- statuses ------------------------------------------------------------------------------ */

static void
parameters_out_of_range_have_no_size(void **state)
{
	uds_index_parameters good = make_parameters(1024, 1024, 1);
	uds_index_parameters bad[] = { good, good, good, good, good, good, good, good };

	(void) state;
	assert_true(uds_index_buckets_size(&good) > 0);
	bad[0].records_per_chapter = 0;
	bad[1].chapters = 1;
	bad[2].chapters = (UINT32_C(1) << 20) + 1;
	bad[3].zone_count = 0;
	bad[4].zone_count = UDS_ZONES_MAX + 1;
	bad[5].mean_delta = 0;
	bad[6].records_per_chapter = UINT64_MAX / 2;
	bad[7].records_per_chapter = UINT64_C(1) << 30; /* 2^40 records: more than 2^32 buckets */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		_Alignas(UDS_CACHE_LINE) static unsigned char memory[1 << 16];

		assert_int_equal(uds_index_buckets_size(&bad[i]), 0);
		assert_int_equal(uds_index_buckets_init((uds_index_buckets *) (void *) memory, &bad[i]),
		                 UDS_ERR_ARGUMENT);
	}
}

static void
memory_of_a_record_is_as_promised(void **state)
{
	uds_index_parameters parameters = make_parameters(65024, 1024, 1);
	double bytes = (double) uds_index_buckets_size(&parameters) / (65024.0 * 1024);

	(void) state;
	assert_true(bytes > 3.4 && bytes < 3.63);
	parameters.zone_count = 16;
	bytes = (double) uds_index_buckets_size(&parameters) / (65024.0 * 1024);
	assert_true(bytes < 3.63);
}

static void
calls_refuse_what_the_contract_forbids(void **state)
{
	uds_index_buckets *index = make_index(100, 10, 1);
	uds_name name = uds_generate_counter_name(1);
	uds_index_entry entry = get(index, &name);
	uds_index_entry stale;

	(void) state;
	assert_int_equal(uds_index_buckets_set_window(index, 1, 0, 5), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_buckets_set_window(index, 0, 0, 10), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_buckets_set_window(index, 0, 6, 5), UDS_ERR_ARGUMENT);
	set_windows(index, 1, 2, 5);
	assert_int_equal(uds_index_buckets_set_window(index, 0, 1, 5), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_buckets_set_window(index, 0, 2, 4), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_buckets_check(index, 1), UDS_ERR_ARGUMENT);

	assert_int_equal(uds_index_buckets_move(index, &entry, 5), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_index_buckets_remove(index, &entry), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_index_buckets_put(index, &entry, 4), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_buckets_put(index, &entry, 6), UDS_ERR_ARGUMENT);
	assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	assert_int_equal(uds_index_buckets_put(index, &entry, 5), UDS_OK);
	set_windows(index, 1, 2, 6);
	assert_int_equal(uds_index_buckets_move(index, &entry, 5), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_index_buckets_move(index, &entry, 6), UDS_OK);
	assert_int_equal(entry.chapter, 6);

	/* An exact entry beside it. */
	assert_int_equal(uds_index_buckets_put(index, &entry, 6), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_EXACT);
	assert_int_equal(uds_index_buckets_put(index, &entry, 6), UDS_DUPLICATE);
	assert_int_equal(uds_index_buckets_remove(index, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	expect(index, &name, UDS_ENTRY_HINT, 6);

	/* Handles whose entry is gone or out of the window. */
	entry = get(index, &name);
	stale = entry;
	assert_int_equal(uds_index_buckets_remove(index, &entry), UDS_OK);
	assert_int_equal(uds_index_buckets_remove(index, &stale), UDS_ERR_BAD_STATE);
	put_new(index, &name, 6);
	stale = get(index, &name);
	set_windows(index, 1, 7, 7);
	assert_int_equal(uds_index_buckets_move(index, &stale, 7), UDS_ERR_BAD_STATE);
	stale.place[0] = 99;
	assert_int_equal(uds_index_buckets_remove(index, &stale), UDS_ERR_BAD_STATE);
	assert_int_equal(count_zones(index, 1).discards, 2);
	check_zones(index, 1);
	free(index);
}

static void
zones_are_ranges_of_positions(void **state)
{
	static const uint32_t zones[] = { 1, 2, 3, 5, 15, 16 };
	uds_index_buckets *one = make_index(100, 1024, 1);

	(void) state;
	for (size_t z = 0; z < sizeof(zones) / sizeof(zones[0]); z++)
	{
		uds_index_buckets *index = make_index(100, 1024, zones[z]);

		assert_int_equal(uds_index_buckets_zone_start(index, 0), 0);
		for (uint64_t i = 0; i < 20000; i++)
		{
			uds_name name = uds_generate_counter_name(i);
			uint64_t position = uds_index_buckets_position(index, &name);
			uint32_t zone = uds_index_buckets_zone(index, &name);

			assert_int_equal(position, uds_index_buckets_position(one, &name));
			assert_true(zone < zones[z]);
			assert_true(position >= uds_index_buckets_zone_start(index, zone));
			if (zone + 1 < zones[z])
				assert_true(position < uds_index_buckets_zone_start(index, zone + 1));
		}
		free(index);
	}
	free(one);
}

/* ---- full buckets -------------------------------------------------------------------------- */

/* Buckets of the smallest index. */
#define SMALL_BUCKETS 256

static void
full_bucket_gives_its_oldest_to_the_side_table(void **state)
{
	enum
	{
		NAMES = 2000,
		CHAPTERS = 128
	};
	uds_index_buckets *index = make_index(1, CHAPTERS, 1);
	uds_index_counters counters;
	uint64_t found = 0;
	uint64_t first_found = UINT64_MAX;

	(void) state;
	/* Twenty names a chapter, all in one bucket. */
	for (uint32_t i = 0; i < NAMES; i++)
	{
		uds_name name = name_in_bucket(77, SMALL_BUCKETS, i * 131 % ADDRESS_SPACE, i);

		assert_int_equal(uds_index_buckets_position(index, &name), 77);
		if (i % 20 == 0)
			set_windows(index, 1, 0, i / 20);
		put_new(index, &name, i / 20);
		expect(index, &name, UDS_ENTRY_HINT, i / 20);
	}
	check_zones(index, 1);
	counters = count_zones(index, 1);
	assert_true(counters.lost > 0);
	assert_true(uds_bucket_header(index->buckets + 77) & UDS_BUCKET_HAS_SIDE);
	assert_true(index->zones[0].side.used <= index->zones[0].side.limit);
	assert_true(index->zones[0].side.used * 5 <= uds_bucket_side_slots(&index->zones[0].side) * 4);
	assert_int_equal(counters.records + counters.lost, NAMES);
	assert_int_equal(counters.overflows, 0);
	assert_int_equal(counters.rebalances, NAMES - 63 - counters.lost);
	for (uint32_t i = 0; i < NAMES; i++)
	{
		uds_name name = name_in_bucket(77, SMALL_BUCKETS, i * 131 % ADDRESS_SPACE, i);
		uds_index_entry entry = get(index, &name);

		if (entry.kind == UDS_ENTRY_NONE)
			continue;
		assert_int_equal(entry.chapter, i / 20);
		if (first_found == UINT64_MAX)
			first_found = i;
		found++;
	}
	assert_int_equal(found, counters.records);
	assert_int_equal(first_found, 0);

	/* Moves out of the side table. */
	for (uint32_t i = 0; i < 50; i++)
	{
		uds_name name = name_in_bucket(77, SMALL_BUCKETS, i * 131 % ADDRESS_SPACE, i);
		uds_index_entry entry = get(index, &name);

		assert_int_equal(entry.kind, UDS_ENTRY_HINT);
		assert_int_equal(uds_index_buckets_move(index, &entry, NAMES / 20 - 1), UDS_OK);
		expect(index, &name, UDS_ENTRY_HINT, NAMES / 20 - 1);
	}
	check_zones(index, 1);

	/* One expiry in the bucket proves the side entries expired: nothing of them is left. */
	set_windows(index, 1, NAMES / 20 - 1, NAMES / 20 - 1);
	for (uint32_t i = 50; i < NAMES - 20; i++)
	{
		uds_name name = name_in_bucket(77, SMALL_BUCKETS, i * 131 % ADDRESS_SPACE, i);

		expect(index, &name, UDS_ENTRY_NONE, 0);
	}
	for (uint64_t c = NAMES / 20; c < NAMES / 20 + 300; c++)
		set_windows(index, 1, c, c);
	assert_int_equal(count_zones(index, 1).records, 0);
	assert_int_equal(count_zones(index, 1).bytes_used, 0);
	assert_false(uds_bucket_header(index->buckets + 77) & UDS_BUCKET_HAS_SIDE);
	check_zones(index, 1);
	free(index);
}

static void
equal_volume_fields_become_exact_until_they_overflow(void **state)
{
	enum
	{
		NAMES = 100
	};
	uds_index_buckets *index = make_index(10, 16, 1);
	uint32_t exact = 0;

	(void) state;
	set_windows(index, 1, 0, 3);
	for (uint32_t i = 0; i < NAMES; i++)
	{
		uds_name name = uds_generate_name(UINT64_C(0x0123456789abcdef), i, i);
		uds_index_entry entry = get(index, &name);
		uds_status status;

		assert_int_equal(entry.kind, i == 0 ? UDS_ENTRY_NONE : UDS_ENTRY_HINT);
		status = uds_index_buckets_put(index, &entry, 3);
		if (i > 0 && status == UDS_OK)
			exact++;
		else if (i > 0)
		{
			assert_int_equal(status, UDS_OVERFLOW);
			assert_int_equal(entry.kind, UDS_ENTRY_HINT);
		}
	}
	assert_int_equal(exact, 40);
	assert_int_equal(count_zones(index, 1).overflows, NAMES - 1 - exact);
	assert_int_equal(count_zones(index, 1).collisions, exact);
	assert_int_equal(count_zones(index, 1).records, exact + 1);
	check_zones(index, 1);

	/* The plain entry goes: exact ones stay, the others are unknown. */
	for (uint32_t i = 0; i < NAMES; i++)
	{
		uds_name name = uds_generate_name(UINT64_C(0x0123456789abcdef), i, i);
		uds_index_entry entry = get(index, &name);

		if (i == 0)
			assert_int_equal(uds_index_buckets_remove(index, &entry), UDS_OK);
		else if (i <= exact)
			assert_int_equal(entry.kind, UDS_ENTRY_EXACT);
		else
			assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	}

	/* Half of the exact ones move on, the rest expires, and makes room. */
	set_windows(index, 1, 3, 18);
	for (uint32_t i = 1; i <= exact; i += 2)
	{
		uds_name name = uds_generate_name(UINT64_C(0x0123456789abcdef), i, i);
		uds_index_entry entry = get(index, &name);

		assert_int_equal(uds_index_buckets_move(index, &entry, 18), UDS_OK);
	}
	set_windows(index, 1, 4, 19);
	for (uint32_t i = 1; i <= exact; i++)
	{
		uds_name name = uds_generate_name(UINT64_C(0x0123456789abcdef), i, i);

		expect(index, &name, i % 2 ? UDS_ENTRY_EXACT : UDS_ENTRY_NONE, 18);
	}
	for (uint32_t i = 200; i < 200 + exact / 2 + 1; i++)
	{
		uds_name name = uds_generate_name(UINT64_C(0x0123456789abcdef), i, i);
		uds_index_entry entry = get(index, &name);

		assert_int_equal(uds_index_buckets_put(index, &entry, 19), UDS_OK);
	}
	check_zones(index, 1);
	for (uint64_t c = 40; c < 100; c++)
		set_windows(index, 1, c, c);
	assert_int_equal(count_zones(index, 1).records, 0);
	check_zones(index, 1);
	free(index);
}

static void
exact_entry_outlives_its_plain_neighbour(void **state)
{
	uds_index_buckets *index = make_index(10, 16, 1);
	uds_name plain = uds_generate_name(42, 1, 0);
	uds_name exact = uds_generate_name(42, 2, 0);
	uds_name third = uds_generate_name(42, 3, 0);
	uds_index_entry entry;

	(void) state;
	put_new(index, &plain, 0);
	set_windows(index, 1, 0, 5);
	entry = get(index, &exact);
	assert_int_equal(entry.kind, UDS_ENTRY_HINT);
	assert_int_equal(entry.chapter, 0);
	assert_int_equal(uds_index_buckets_put(index, &entry, 5), UDS_OK);
	expect(index, &exact, UDS_ENTRY_EXACT, 5);
	expect(index, &plain, UDS_ENTRY_HINT, 0);
	set_windows(index, 1, 1, 16);
	expect(index, &exact, UDS_ENTRY_EXACT, 5);
	expect(index, &plain, UDS_ENTRY_NONE, 0);
	put_new(index, &third, 16);
	expect(index, &exact, UDS_ENTRY_EXACT, 5);
	expect(index, &plain, UDS_ENTRY_HINT, 16);
	set_windows(index, 1, 6, 21);
	expect(index, &exact, UDS_ENTRY_HINT, 16);
	check_zones(index, 1);
	free(index);
}

/* ---- windows and sweep --------------------------------------------------------------------- */

static void
epochs_are_not_misread_without_posts(void **state)
{
	static const uint32_t windows[] = { 2, 4, 7, 63, 128, 512, 1000, 1024, 10240 };

	(void) state;
	for (size_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++)
	{
		uint32_t chapters = windows[w];
		uds_index_buckets *index = make_index(4, chapters, 3);
		uint64_t rounds = UDS_MIN(chapters * UINT64_C(200), 300000);

		for (uint64_t i = 0; i < 600; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			put_new(index, &name, 0);
		}
		for (uint64_t c = 1; c < rounds; c++)
		{
			uds_name name = uds_generate_counter_name(c % 600);

			set_windows(index, 3, c < chapters ? 0 : c - chapters + 1, c);
			expect(index, &name, c < chapters ? UDS_ENTRY_HINT : UDS_ENTRY_NONE, 0);
		}
		assert_int_equal(count_zones(index, 3).records, 0);
		assert_int_equal(count_zones(index, 3).expired, 600);
		check_zones(index, 3);
		free(index);
	}
}

static void
window_may_jump_any_distance(void **state)
{
	static const uint64_t jumps[] = { 1,
		                              2,
		                              100,
		                              127,
		                              128,
		                              129,
		                              1000,
		                              16384,
		                              65536,
		                              1 << 20,
		                              UINT64_C(1) << 33,
		                              (UINT64_C(1) << 33) + 1 };

	(void) state;
	for (uint32_t chapters = 4; chapters <= 1024; chapters *= 4)
	{
		uds_index_buckets *index = make_index(64, chapters, 2);
		uint64_t newest = 0;

		for (uint64_t round = 0; round < 200; round++)
		{
			uint64_t jump = jumps[round % (sizeof(jumps) / sizeof(jumps[0]))];

			/* As many posts as sweep some buckets, or all, or none. */
			for (uint64_t i = 0; i < round * 37 % 1300; i++)
			{
				uds_name name = uds_generate_counter_name(round * 2000 + i);
				uds_index_entry entry = get(index, &name);

				assert_int_equal(uds_index_buckets_put(index, &entry, newest), UDS_OK);
			}
			newest += jump;
			set_windows(index, 2, newest < chapters ? 0 : newest - chapters + 1, newest);
			for (uint64_t i = 0; i < round * 37 % 1300; i++)
			{
				uds_name name = uds_generate_counter_name(round * 2000 + i);
				uds_index_entry entry = get(index, &name);

				assert_int_equal(entry.kind != UDS_ENTRY_NONE, jump < chapters);
				if (jump < chapters)
					assert_int_equal(entry.chapter, newest - jump);
			}
			check_zones(index, 2);
		}
		free(index);
	}
}

static void
sweep_may_hit_the_bucket_at_hand(void **state)
{
	enum
	{
		CHAPTERS = 4,
		POSTS = 60000
	};
	uds_index_buckets *index = make_index(1, CHAPTERS, 1);
	uint64_t chapter = 0;

	(void) state;
	/* The post that sweeps a bucket is into that bucket, which has expired entries by then. */
	for (uint64_t i = 1; i <= POSTS; i++)
	{
		uint64_t bucket = (i / 8 - (i % 8 == 0)) % SMALL_BUCKETS;
		uds_name name = name_in_bucket(bucket, SMALL_BUCKETS, (uint32_t) (i % ADDRESS_SPACE), i);

		put_new(index, &name, chapter);
		expect(index, &name, UDS_ENTRY_HINT, chapter);
		if (i % 97 == 0)
		{
			chapter++;
			set_windows(index, 1, chapter < CHAPTERS ? 0 : chapter - CHAPTERS + 1, chapter);
		}
	}
	check_zones(index, 1);
	assert_int_equal(count_zones(index, 1).lost, 0);
	assert_int_equal(count_zones(index, 1).records + count_zones(index, 1).expired, POSTS);
	free(index);
}

static void
unknown_names_are_rarely_found(void **state)
{
	enum
	{
		CHAPTERS = 128,
		RECORDS = 1000,
		QUERIES = 400000
	};
	uds_index_buckets *index = make_index(RECORDS, CHAPTERS, 1);
	uint64_t hits = 0;

	(void) state;
	for (uint64_t i = 0; i < (uint64_t) RECORDS * CHAPTERS; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_index_entry entry;

		if (i % RECORDS == 0)
			set_windows(index, 1, 0, i / RECORDS);
		entry = get(index, &name);
		assert_int_equal(uds_index_buckets_put(index, &entry, i / RECORDS), UDS_OK);
	}
	for (uint64_t i = 0; i < QUERIES; i++)
	{
		uds_name name = uds_generate_counter_name((UINT64_C(1) << 40) + i);

		hits += get(index, &name).kind == UDS_ENTRY_HINT;
	}
	/* 56 of 2^18: 85 expected, 9 the standard deviation. */
	assert_true(hits > 40 && hits < 130);
	assert_int_equal(count_zones(index, 1).lost, 0);
	assert_int_equal(count_zones(index, 1).overflows, 0);
	free(index);
}

/* ---- the model ----------------------------------------------------------------------------- */

#define MODEL_NAMES   30000
#define MODEL_ABSENT  UINT64_MAX
#define MODEL_RECORDS 14000 /* in the window: 256 buckets of 56 */

typedef struct model
{
	uds_random random;
	uint32_t chapters;
	uint32_t zones;
	uint64_t oldest;
	uint64_t newest;
	uint64_t records; /* that the index is made for: full buckets but for 7 slots */
	uint64_t credit;  /* for the next chapter */
	uint64_t rarity;  /* of exact entries: 1 is more than fit */
	uds_index_buckets *index;
	uds_name names[MODEL_NAMES];
	uint32_t keys[MODEL_NAMES];  /* names of the same bucket and address have the same one */
	uint64_t plain[MODEL_NAMES]; /* chapter, by key */
	uint64_t exact[MODEL_NAMES]; /* chapter, by name */
} model;

static const model *sorted_model;

static int
compare_places(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *) left;
	uint32_t b = *(const uint32_t *) right;
	const uds_name *x = sorted_model->names + a;
	const uds_name *y = sorted_model->names + b;
	uint64_t p = uds_index_buckets_position(sorted_model->index, x);
	uint64_t q = uds_index_buckets_position(sorted_model->index, y);

	if (p == q)
	{
		p = uds_name_volume_field(x) % ADDRESS_SPACE;
		q = uds_name_volume_field(y) % ADDRESS_SPACE;
	}
	return p < q ? -1 : p > q;
}

static model *
make_model(uint64_t seed, uint32_t chapters, uint32_t zones, uint64_t rarity)
{
	model *m = malloc(sizeof(*m));
	uint32_t *order = malloc(sizeof(*order) * MODEL_NAMES);
	uint32_t key = 0;
	uds_bucket_shape shape;

	assert_non_null(m);
	assert_non_null(order);
	uds_random_init(&m->random, uds_random_seed(seed));
	m->chapters = chapters;
	m->zones = zones;
	m->oldest = 0;
	m->newest = 0;
	m->credit = 0;
	m->rarity = rarity;
	uds_bucket_shape_init(&shape, chapters);
	m->records = SMALL_BUCKETS * (shape.slots - 7);
	m->index = make_index(UDS_MAX(MODEL_RECORDS / chapters, 1), chapters, zones);
	for (uint32_t i = 0; i < MODEL_NAMES; i++)
	{
		m->names[i] = uds_random_name(&m->random);
		/* Some share their place with another. */
		if (i > 0 && uds_random_one_in(&m->random, 20 * rarity))
			uds_generate_set_volume_field(&m->names[i],
			                              uds_name_volume_field(
											  &m->names[uds_random_below(&m->random, i)]));
		m->plain[i] = MODEL_ABSENT;
		m->exact[i] = MODEL_ABSENT;
		order[i] = i;
	}
	sorted_model = m;
	qsort(order, MODEL_NAMES, sizeof(*order), compare_places);
	for (uint32_t i = 0; i < MODEL_NAMES; i++)
	{
		if (i > 0 && compare_places(&order[i - 1], &order[i]) != 0)
			key++;
		m->keys[order[i]] = key;
	}
	free(order);
	return m;
}

static void
free_model(model *m)
{
	free(m->index);
	free(m);
}

static bool
is_valid(const model *m, uint64_t chapter)
{
	return chapter != MODEL_ABSENT && chapter >= m->oldest;
}

#define model_check(m, condition)                                                  \
	do                                                                             \
	{                                                                              \
		if (!(condition))                                                          \
			fail_msg("%s: UDS_TEST_SEED=%llu, %u chapters, %u zones, newest %llu", \
			         #condition,                                                   \
			         (unsigned long long) (m)->random.seed,                        \
			         (m)->chapters,                                                \
			         (m)->zones,                                                   \
			         (unsigned long long) (m)->newest);                            \
	} while (0)

static uds_index_entry
model_get(model *m, uint32_t i)
{
	uds_index_entry entry = get(m->index, &m->names[i]);
	uint64_t plain = m->plain[m->keys[i]];

	if (is_valid(m, m->exact[i]))
	{
		model_check(m, entry.kind == UDS_ENTRY_EXACT);
		model_check(m, entry.chapter == m->exact[i]);
	}
	else if (is_valid(m, plain))
	{
		model_check(m, entry.kind == UDS_ENTRY_HINT);
		model_check(m, entry.chapter == plain);
	}
	else
		model_check(m, entry.kind == UDS_ENTRY_NONE);
	return entry;
}

static void
model_put(model *m, uint32_t i, uds_index_entry *entry)
{
	uds_entry_kind kind = entry->kind;
	uds_status status = uds_index_buckets_put(m->index, entry, m->newest);

	if (kind == UDS_ENTRY_EXACT)
	{
		model_check(m, status == UDS_DUPLICATE);
		return;
	}
	if (status == UDS_OVERFLOW)
	{
		model_check(m, kind == UDS_ENTRY_HINT);
		return;
	}
	model_check(m, status == UDS_OK);
	if (kind == UDS_ENTRY_NONE)
		m->plain[m->keys[i]] = m->newest;
	else
		m->exact[i] = m->newest;
}

/* One request for a name: look, then do something that fits what was found. */
static void
model_step(model *m)
{
	uint32_t i = (uint32_t) uds_random_below(&m->random, MODEL_NAMES);
	uds_index_entry entry = model_get(m, i);
	uint64_t *chapter = entry.kind == UDS_ENTRY_EXACT ? &m->exact[i] : &m->plain[m->keys[i]];
	uint64_t choice = uds_random_below(&m->random, 16);

	if (entry.kind == UDS_ENTRY_NONE)
	{
		model_put(m, i, &entry);
		if (choice > 0)
			return;
		/* The handle is good for the new entry. */
		chapter = &m->plain[m->keys[i]];
	}
	if (choice < 2)
	{
		model_check(m, uds_index_buckets_remove(m->index, &entry) == UDS_OK);
		*chapter = MODEL_ABSENT;
	}
	else if (choice < 8)
	{
		model_check(m, uds_index_buckets_move(m->index, &entry, m->newest) == UDS_OK);
		*chapter = m->newest;
	}
	else if (choice == 8 && uds_random_one_in(&m->random, m->rarity))
		model_put(m, i, &entry);
	model_get(m, i);
}

/* After each step: open the next chapter when this one is full. */
static void
model_advance(model *m)
{
	uint64_t step = 1;

	/* Names repeat, so 7/5 of the records of a full window are about as many as fit. */
	m->credit += m->chapters * UINT64_C(5);
	if (m->credit < m->records * 7)
		return;
	m->credit -= m->records * 7;
	if (uds_random_one_in(&m->random, UDS_MAX(40, m->chapters / 2)))
		step += uds_random_below(&m->random, m->chapters / 8 + 2);
	if (uds_random_one_in(&m->random, UDS_MAX(3000, m->chapters * UINT64_C(8))))
		step += uds_random_below(&m->random, m->chapters * UINT64_C(300));
	m->newest += step;
	if (m->newest >= m->chapters)
		m->oldest = UDS_MAX(m->oldest, m->newest - m->chapters + 1);
	if (uds_random_one_in(&m->random, UDS_MAX(100, m->chapters)))
		m->oldest += uds_random_below(&m->random, (m->newest - m->oldest) / 4 + 1);
	set_windows(m->index, m->zones, m->oldest, m->newest);
}

/* Save all zones, load them into an index with another zone count, which takes its place. */
static void
model_reload(model *m, uint32_t zones)
{
	uint64_t per_chapter = UDS_MAX(MODEL_RECORDS / m->chapters, 1);
	uds_index_buckets *loaded = make_index(per_chapter, m->chapters, zones);
	uds_memory_stream memory;

	for (uint32_t zone = 0; zone < m->zones; zone++)
	{
		uds_memory_stream_init(&memory);
		model_check(m, uds_index_buckets_save(m->index, zone, &memory.stream) == UDS_OK);
		uds_memory_stream_rewind(&memory);
		model_check(m, uds_index_buckets_load(loaded, &memory.stream) == UDS_OK);
		model_check(m, memory.position == memory.bytes);
		uds_memory_stream_free(&memory);
	}
	free(m->index);
	m->index = loaded;
	m->zones = zones;
	for (uint32_t zone = 0; zone < zones; zone++)
		model_check(m, uds_index_buckets_check(m->index, zone) == UDS_OK);
	model_check(m, count_zones(m->index, zones).lost == 0);
	for (uint32_t i = 0; i < MODEL_NAMES; i++)
		model_get(m, i);
}

static void
run_model(uint64_t seed, uint32_t chapters, uint32_t zones)
{
	/* More exact entries than the table takes: some puts are refused. */
	model *m = make_model(seed, chapters, zones, 1);
	uint64_t steps = 5 * m->records;

	for (uint64_t i = 0; i < steps; i++)
	{
		model_step(m);
		model_advance(m);
		if (i % (steps / 4) == 0)
		{
			for (uint32_t zone = 0; zone < zones; zone++)
				model_check(m, uds_index_buckets_check(m->index, zone) == UDS_OK);
		}
	}
	for (uint32_t i = 0; i < MODEL_NAMES; i++)
		model_get(m, i);
	for (uint32_t zone = 0; zone < zones; zone++)
		model_check(m, uds_index_buckets_check(m->index, zone) == UDS_OK);
	model_check(m, count_zones(m->index, zones).lost == 0);
	model_check(m, count_zones(m->index, zones).rebalances > 0);
	model_check(m, count_zones(m->index, zones).collisions > 0);
	model_check(m, zones > 1 || count_zones(m->index, zones).overflows > 0);
	free_model(m);
}

static void
answers_equal_a_plain_map(void **state)
{
	static const uint32_t windows[] = { 4, 13, 64, 128, 512, 1024, 10240 };
	static const uint32_t zones[] = { 1, 2, 3, 5, 16 };

	(void) state;
	for (uint32_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++)
		run_model(100 + w, windows[w], zones[w % 5]);
	for (uint32_t z = 0; z < sizeof(zones) / sizeof(zones[0]); z++)
		run_model(200 + z, 1024, zones[z]);
}

/* ---- saved parts --------------------------------------------------------------------------- */

static void
parts_load_into_every_zone_count(void **state)
{
	/* Every pair of neighbours, and every zone count with itself. */
	static const uint32_t zones[] = { 1, 1, 2, 2, 3, 3,  5, 5, 16, 16, 1, 3,  1,
		                              5, 1, 2, 5, 2, 16, 2, 3, 16, 3,  5, 16, 1 };
	model *m = make_model(300, 128, 1, 16);

	(void) state;
	for (uint32_t z = 0; z < sizeof(zones) / sizeof(zones[0]); z++)
	{
		uint64_t steps = z == 0 ? 4 * MODEL_RECORDS : 3000;
		uds_index_counters before;
		uds_index_counters after;

		for (uint64_t i = 0; i < steps; i++)
		{
			model_step(m);
			model_advance(m);
		}
		before = count_zones(m->index, m->zones);
		model_check(m, before.lost == 0);
		model_reload(m, zones[z]);
		after = count_zones(m->index, m->zones);
		/* What has expired is dropped, and only that. */
		model_check(m, after.records <= before.records);
		before = after;
		model_reload(m, zones[z]);
		after = count_zones(m->index, m->zones);
		model_check(m, after.records == before.records);
		model_check(m, after.collisions == before.collisions);
		model_check(m, after.bytes_used == before.bytes_used);
	}
	free_model(m);
}

#define DAMAGE_RECORDS  1
#define DAMAGE_CHAPTERS 20

/* A part whose entries, plain, side and exact, are in the first buckets. */
static void
make_part(uds_memory_stream *memory)
{
	uds_index_buckets *index = make_index(DAMAGE_RECORDS, DAMAGE_CHAPTERS, 1);

	for (uint32_t i = 0; i < 200; i++)
	{
		uds_name name = name_in_bucket(i % 7 == 0 ? 1 : 0, SMALL_BUCKETS, i * 77, i);
		uds_name twin = name_in_bucket(i % 7 == 0 ? 1 : 0, SMALL_BUCKETS, i * 77, i + 1000);
		uint64_t newest = i / 5;

		if (i % 5 == 0)
			set_windows(index,
			            1,
			            newest < DAMAGE_CHAPTERS ? 0 : newest - DAMAGE_CHAPTERS + 1,
			            newest);
		put_new(index, &name, newest);
		if (i % 9 == 0)
		{
			uds_index_entry entry = get(index, &twin);

			assert_int_equal(uds_index_buckets_put(index, &entry, newest), UDS_OK);
		}
	}
	uds_memory_stream_init(memory);
	assert_int_equal(uds_index_buckets_save(index, 0, &memory->stream), UDS_OK);
	free(index);
}

/* Use an index whose memory may make no sense: statuses do not matter, memory does. */
static void
use_index(uds_index_buckets *index, uint32_t zones)
{
	for (uint32_t i = 0; i < 40; i++)
	{
		uds_name name = name_in_bucket(i & 1, SMALL_BUCKETS, (199 - i) * 77, i);
		uds_index_entry entry;
		uds_status status;

		uds_index_buckets_prefetch_side(index, &name);
		status = uds_index_buckets_get(index, &name, &entry);
		if (status == UDS_OK && entry.kind == UDS_ENTRY_HINT && i % 3 == 0)
			status = uds_index_buckets_remove(index, &entry);
		else if (status == UDS_OK && entry.kind != UDS_ENTRY_NONE)
			status = uds_index_buckets_move(index, &entry, entry.chapter);
		else if (status == UDS_OK)
			status = uds_index_buckets_put(index, &entry, 39);
		assert_true(status == UDS_OK || status == UDS_ERR_CORRUPT || status == UDS_ERR_ARGUMENT ||
		            status == UDS_ERR_BAD_STATE || status == UDS_OVERFLOW);
	}
	for (uint32_t zone = 0; zone < zones; zone++)
	{
		uds_status status = uds_index_buckets_check(index, zone);

		assert_true(status == UDS_OK || status == UDS_ERR_CORRUPT);
		status = uds_index_buckets_set_window(index, zone, 40, 41);
		assert_true(status == UDS_OK || status == UDS_ERR_CORRUPT || status == UDS_ERR_ARGUMENT);
	}
}

static void
damaged_parts_stay_inside_memory(void **state)
{
	uds_index_parameters parameters = make_parameters(DAMAGE_RECORDS, DAMAGE_CHAPTERS, 2);
	uds_memory_stream memory;
	uds_index_buckets *index = make_index(DAMAGE_RECORDS, DAMAGE_CHAPTERS, 2);
	uint64_t refused = 0;
	uds_random random;
	size_t step;

	(void) state;
	uds_random_init(&random, uds_random_seed(17));
	make_part(&memory);
	for (size_t at = 0; at < memory.bytes; at += step)
	{
		uint8_t good = memory.data[at];
		bool is_empty_bucket = at > 88 + 8 * 192 && at < 88 + (SMALL_BUCKETS - 1) * 192;
		uds_status status;

		step = is_empty_bucket ? 7 : 1;
		memory.data[at] ^= (uint8_t) uds_random_range(&random, 1, 255);
		uds_memory_stream_rewind(&memory);
		status = uds_index_buckets_load(index, &memory.stream);
		assert_true(status == UDS_OK || status == UDS_ERR_CORRUPT);
		if (status == UDS_ERR_CORRUPT)
		{
			refused++;
			assert_int_equal(count_zones(index, 2).records, 0);
			check_zones(index, 2);
		}
		else
			use_index(index, 2);
		assert_int_equal(uds_index_buckets_init(index, &parameters), UDS_OK);
		memory.data[at] = good;
	}
	assert_true(refused > 100);
	/* Undamaged, it still loads. */
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_index_buckets_load(index, &memory.stream), UDS_OK);
	check_zones(index, 2);
	use_index(index, 2);
	uds_memory_stream_free(&memory);
	free(index);
}

/* Load a part with one bucket changed. */
static uds_status
load_changed(uds_memory_stream *memory, const uds_bucket *bucket)
{
	uds_index_buckets *index = make_index(DAMAGE_RECORDS, DAMAGE_CHAPTERS, 2);
	uint8_t *place = memory->data + 88;
	uds_bucket good;
	uds_status status;

	memcpy(&good, place, sizeof(good));
	memcpy(place, bucket, sizeof(*bucket));
	uds_memory_stream_rewind(memory);
	status = uds_index_buckets_load(index, &memory->stream);
	memcpy(place, &good, sizeof(good));
	free(index);
	return status;
}

static void
impossible_parts_are_refused(void **state)
{
	uds_memory_stream memory;
	uds_bucket_shape shape;
	uds_bucket good;
	uds_bucket bad;
	uint32_t header;
	uint32_t count;
	uint32_t gap;

	(void) state;
	make_part(&memory);
	uds_bucket_shape_init(&shape, DAMAGE_CHAPTERS);
	memcpy(&good, memory.data + 88, sizeof(good));
	header = uds_bucket_header(&good);
	count = uds_bucket_count(header);
	gap = uds_bucket_trailing_zeros(~uds_bucket_get_vector(&good));
	assert_int_equal(count, shape.slots);
	/* Below the last entry, so that only the lowest bit is wrong when its one is put there. */
	assert_true(uds_bucket_get_vector(&good) >> gap != 0);
	assert_int_equal(load_changed(&memory, &good), UDS_OK);

	/* One count, one head, one set bit, or a vector that does not begin with an entry. */
	bad = good;
	uds_bucket_set_header(&bad, header - (1 << 6));
	assert_int_equal(load_changed(&memory, &bad), UDS_ERR_CORRUPT);
	bad = good;
	uds_bucket_set_header(&bad, header | 63);
	assert_int_equal(load_changed(&memory, &bad), UDS_ERR_CORRUPT);
	bad = good;
	uds_bucket_set_header(&bad, header | UDS_BUCKET_SPARE);
	assert_int_equal(load_changed(&memory, &bad), UDS_ERR_CORRUPT);
	bad = good;
	uds_bucket_set_vector(&bad, uds_bucket_get_vector(&good) | (uds_bucket_vector) 1 << 127);
	assert_int_equal(load_changed(&memory, &bad), UDS_ERR_CORRUPT);
	bad = good;
	uds_bucket_set_vector(&bad, (uds_bucket_get_vector(&good) | (uds_bucket_vector) 1 << gap) - 1);
	assert_int_equal(load_changed(&memory, &bad), UDS_ERR_CORRUPT);
	/* A later base puts the last entry above the newest chapter. */
	bad = good;
	uds_bucket_set_header(&bad,
	                      uds_bucket_make_header(header,
	                                             uds_bucket_head(header),
	                                             count,
	                                             uds_bucket_epoch(header) + 5));
	assert_int_equal(load_changed(&memory, &bad), UDS_ERR_CORRUPT);

	/* Both marks. */
	memory.data[memory.bytes - 1] ^= 1;
	assert_int_equal(load_changed(&memory, &good), UDS_ERR_CORRUPT);
	memory.data[memory.bytes - 1] ^= 1;
	memory.data[0] ^= 1;
	assert_int_equal(load_changed(&memory, &good), UDS_ERR_CORRUPT);
	uds_memory_stream_free(&memory);
}

static void
memory_that_makes_no_sense_is_noticed(void **state)
{
	uds_index_buckets *index = make_index(10, 1024, 1);
	uds_name name = uds_generate_counter_name(9);
	uds_bucket *bucket = index->buckets + uds_index_buckets_position(index, &name);
	uds_index_entry entry;

	(void) state;
	set_windows(index, 1, 0, 100);
	put_new(index, &name, 100);
	entry = get(index, &name);
	/* No bit for the entry. */
	uds_bucket_set_vector(bucket, 0);
	assert_int_equal(uds_index_buckets_get(index, &name, &entry), UDS_ERR_CORRUPT);
	assert_int_equal(uds_index_buckets_check(index, 0), UDS_ERR_CORRUPT);
	/* A chapter above the newest one. */
	uds_bucket_set_vector(bucket, (uds_bucket_vector) 1 << 90);
	assert_int_equal(uds_index_buckets_get(index, &name, &entry), UDS_ERR_CORRUPT);
	/* A head that is no slot. */
	uds_bucket_set_header(bucket, uds_bucket_header(bucket) | 63);
	assert_int_equal(uds_index_buckets_get(index, &name, &entry), UDS_ERR_CORRUPT);
	entry.kind = UDS_ENTRY_NONE;
	assert_int_equal(uds_index_buckets_put(index, &entry, 100), UDS_ERR_CORRUPT);
	assert_int_equal(uds_index_buckets_check(index, 0), UDS_ERR_CORRUPT);
	uds_index_buckets_prefetch_side(index, &name);
	free(index);
}

static void
short_parts_leave_an_empty_index(void **state)
{
	uds_memory_stream memory;
	uds_index_buckets *index = make_index(DAMAGE_RECORDS, DAMAGE_CHAPTERS, 3);
	uds_name name = uds_generate_counter_name(5);

	(void) state;
	make_part(&memory);
	for (size_t limit = 0; limit < memory.bytes; limit += 1 + limit / 20)
	{
		uds_memory_stream_rewind(&memory);
		memory.limit = limit;
		assert_int_equal(uds_index_buckets_load(index, &memory.stream), UDS_ERR_CORRUPT);
		assert_int_equal(count_zones(index, 3).records, 0);
		put_new(index, &name, 0);
	}
	uds_memory_stream_free(&memory);
	free(index);
}

/* Save into a stream that takes so many bytes. */
static void
assert_save_is_refused(const uds_index_buckets *index, uds_memory_stream *stream, size_t limit)
{
	uds_memory_stream_clear(stream);
	stream->write_limit = limit;
	assert_int_equal(uds_index_buckets_save(index, 0, &stream->stream), UDS_ERR_NO_SPACE);
}

static void
failed_writes_are_reported(void **state)
{
	uds_memory_stream memory;
	uds_memory_stream small;
	uds_index_buckets *index = make_index(DAMAGE_RECORDS, DAMAGE_CHAPTERS, 1);

	(void) state;
	make_part(&memory);
	uds_memory_stream_rewind(&memory);
	assert_int_equal(uds_index_buckets_load(index, &memory.stream), UDS_OK);
	uds_memory_stream_init(&small);
	for (size_t limit = 0; limit < memory.bytes; limit += 1 + limit / 8)
		assert_save_is_refused(index, &small, limit);
	/* Nothing but the end of the part is missing. */
	for (size_t limit = memory.bytes - 8; limit < memory.bytes; limit++)
		assert_save_is_refused(index, &small, limit);
	assert_int_equal(uds_index_buckets_save(index, 1, &small.stream), UDS_ERR_ARGUMENT);
	uds_memory_stream_free(&small);
	uds_memory_stream_free(&memory);
	free(index);
}

static uds_status
load_saved(uds_index_buckets *to, const uds_index_buckets *from, uint32_t zone)
{
	uds_memory_stream memory;
	uds_status status;

	uds_memory_stream_init(&memory);
	assert_int_equal(uds_index_buckets_save(from, zone, &memory.stream), UDS_OK);
	uds_memory_stream_rewind(&memory);
	status = uds_index_buckets_load(to, &memory.stream);
	uds_memory_stream_free(&memory);
	return status;
}

static void
parts_have_to_fit_each_other(void **state)
{
	uds_index_buckets *from = make_index(10, 20, 2);
	uds_index_buckets *to = make_index(10, 20, 3);
	uds_index_buckets *other = make_index(11, 20, 3);
	uds_name name = uds_generate_counter_name(3);
	uint32_t zone = uds_index_buckets_zone(from, &name);

	(void) state;
	set_windows(from, 2, 1, 10);
	put_new(from, &name, 10);
	/* Another geometry. */
	assert_int_equal(load_saved(other, from, 0), UDS_ERR_CORRUPT);
	/* The same part twice. */
	assert_int_equal(load_saved(to, from, zone), UDS_OK);
	expect(to, &name, UDS_ENTRY_HINT, 10);
	assert_int_equal(load_saved(to, from, zone), UDS_ERR_CORRUPT);
	expect(to, &name, UDS_ENTRY_NONE, 0);
	/* Another newest chapter. */
	assert_int_equal(load_saved(to, from, 0), UDS_OK);
	assert_int_equal(uds_index_buckets_set_window(from, 1, 1, 11), UDS_OK);
	assert_int_equal(load_saved(to, from, 1), UDS_ERR_CORRUPT);
	/* Another oldest chapter: the higher one holds. */
	assert_int_equal(uds_index_buckets_set_window(from, 0, 4, 11), UDS_OK);
	assert_int_equal(load_saved(to, from, 0), UDS_OK);
	assert_int_equal(load_saved(to, from, 1), UDS_OK);
	for (uint32_t i = 0; i < 3; i++)
	{
		assert_int_equal(uds_index_buckets_set_window(to, i, 3, 11), UDS_ERR_ARGUMENT);
		assert_int_equal(uds_index_buckets_set_window(to, i, 4, 11), UDS_OK);
	}
	expect(to, &name, UDS_ENTRY_HINT, 10);
	free(from);
	free(to);
	free(other);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define THREADS       3
#define THREAD_POSTS  40000
#define THREAD_WINDOW 16

typedef struct worker
{
	uds_index_buckets *index;
	uint32_t zone;
	uint64_t wrong;
} worker;

static void *
run_zone(void *argument)
{
	worker *w = argument;
	uint64_t chapter = 0;

	for (uint64_t i = 0; i < THREAD_POSTS; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_index_entry entry;

		if (i % 1000 == 999)
		{
			chapter++;
			w->wrong +=
				uds_index_buckets_set_window(w->index,
			                                 w->zone,
			                                 chapter < THREAD_WINDOW ? 0
			                                                         : chapter - THREAD_WINDOW + 1,
			                                 chapter) != UDS_OK;
		}
		if (uds_index_buckets_zone(w->index, &name) != w->zone)
			continue;
		uds_index_buckets_prefetch(w->index, &name);
		w->wrong += uds_index_buckets_get(w->index, &name, &entry) != UDS_OK;
		w->wrong += uds_index_buckets_put(w->index, &entry, chapter) != UDS_OK;
		w->wrong += uds_index_buckets_get(w->index, &name, &entry) != UDS_OK;
		w->wrong += entry.kind == UDS_ENTRY_NONE || entry.chapter != chapter;
	}
	return NULL;
}

static void
zones_do_not_touch_each_other(void **state)
{
	uds_index_buckets *index = make_index(1000, THREAD_WINDOW, THREADS);
	pthread_t threads[THREADS];
	worker workers[THREADS];

	(void) state;
	for (uint32_t i = 0; i < THREADS; i++)
	{
		workers[i] = (worker){ .index = index, .zone = i };
		assert_int_equal(pthread_create(&threads[i], NULL, run_zone, &workers[i]), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++)
	{
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(workers[i].wrong, 0);
	}
	check_zones(index, THREADS);
	free(index);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes_fit_the_bucket),
		cmocka_unit_test(select_finds_every_one),
		cmocka_unit_test(bucket_follows_a_plain_array),
		cmocka_unit_test(parameters_out_of_range_have_no_size),
		cmocka_unit_test(memory_of_a_record_is_as_promised),
		cmocka_unit_test(calls_refuse_what_the_contract_forbids),
		cmocka_unit_test(zones_are_ranges_of_positions),
		cmocka_unit_test(full_bucket_gives_its_oldest_to_the_side_table),
		cmocka_unit_test(equal_volume_fields_become_exact_until_they_overflow),
		cmocka_unit_test(exact_entry_outlives_its_plain_neighbour),
		cmocka_unit_test(epochs_are_not_misread_without_posts),
		cmocka_unit_test(window_may_jump_any_distance),
		cmocka_unit_test(sweep_may_hit_the_bucket_at_hand),
		cmocka_unit_test(unknown_names_are_rarely_found),
		cmocka_unit_test(answers_equal_a_plain_map),
		cmocka_unit_test(parts_load_into_every_zone_count),
		cmocka_unit_test(damaged_parts_stay_inside_memory),
		cmocka_unit_test(impossible_parts_are_refused),
		cmocka_unit_test(memory_that_makes_no_sense_is_noticed),
		cmocka_unit_test(short_parts_leave_an_empty_index),
		cmocka_unit_test(failed_writes_are_reported),
		cmocka_unit_test(parts_have_to_fit_each_other),
		cmocka_unit_test(zones_do_not_touch_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
