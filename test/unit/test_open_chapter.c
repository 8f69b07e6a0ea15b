/*
 * test_open_chapter.c: a share finds every name that was put, keeps its slots, and refuses what
 * does not fit; deleted names keep their slot and can come back into it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/open_chapter.h"
#include "../support/generate.h"

static uds_open_chapter *
make_share(uint32_t capacity)
{
	uds_open_chapter *share = aligned_alloc(UDS_CACHE_LINE, uds_open_chapter_size(capacity));

	memset(share, 0xee, uds_open_chapter_size(capacity));
	uds_open_chapter_init(share, capacity);
	return share;
}

static void
check_found(const uds_open_chapter *share, const uds_name *name, uint32_t expected_slot)
{
	uint32_t slot = UINT32_MAX;

	assert_int_equal(uds_open_chapter_search(share, name, &slot), UDS_OK);
	assert_int_equal(slot, expected_slot);
	assert_memory_equal(&uds_open_chapter_record(share, slot)->name, name, sizeof(*name));
}

static void
check_absent(const uds_open_chapter *share, const uds_name *name)
{
	uint32_t slot = 4711;

	assert_int_equal(uds_open_chapter_search(share, name, &slot), UDS_NOT_FOUND);
	assert_int_equal(slot, 4711);
}

/* ---- sizes -------------------------------------------------------------------------------------- */

static void
size_is_about_40_bytes_a_record(void **state)
{
	(void) state;
	assert_int_equal(uds_open_chapter_size(0), 0);
	assert_int_equal(uds_open_chapter_size(UDS_OPEN_CHAPTER_CAPACITY_MAX + 1), 0);
	for (uint32_t capacity = 1; capacity <= UDS_OPEN_CHAPTER_CAPACITY_MAX; capacity = 3 * capacity)
	{
		size_t bytes = uds_open_chapter_size(capacity);

		assert_int_equal(bytes % UDS_CACHE_LINE, 0);
		assert_true(bytes >= (size_t) capacity * 40);
		assert_true(bytes <= (size_t) capacity * 49 + 512);
	}
	assert_true(uds_open_chapter_size(65024) < 65024 * 41);
	assert_true(uds_open_chapter_size(260096) < 260096 * 41);
}

static void
largest_share_can_be_filled(void **state)
{
	uint32_t capacity = UDS_OPEN_CHAPTER_CAPACITY_MAX;
	uds_open_chapter *share = make_share(capacity);
	uds_metadata metadata = uds_generate_metadata(0, 0);

	(void) state;
	for (uint32_t i = 0; i < capacity; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		assert_int_equal(uds_open_chapter_put(share, &name, &metadata, false), UDS_OK);
	}
	for (uint32_t i = 0; i < capacity; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uint32_t slot;

		assert_int_equal(uds_open_chapter_search(share, &name, &slot), UDS_OK);
		assert_int_equal(slot, i);
	}
	free(share);
}

/* ---- behaviour ------------------------------------------------------------------------------------ */

static void
empty_share_holds_no_name(void **state)
{
	static const uds_name zero;
	uds_open_chapter *share = make_share(100);

	(void) state;
	assert_true(uds_open_chapter_number(share) == UDS_NO_CHAPTER);
	for (int turn = 0; turn < 3; turn++)
	{
		check_absent(share, &zero);
		for (uint32_t i = 0; i < 1000; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			uds_open_chapter_prefetch(share, &name);
			check_absent(share, &name);
		}
		assert_int_equal(uds_open_chapter_count(share), 0);
		uds_open_chapter_reset(share, 17);
		assert_int_equal(uds_open_chapter_number(share), 17);
	}
	free(share);
}

static void
full_share_refuses_another_record(void **state)
{
	static const uint32_t capacities[] = { 1, 2, 3, 5, 63, 64, 65, 1000 };

	(void) state;
	for (int c = 0; c < 8; c++)
	{
		uint32_t capacity = capacities[c];
		uds_open_chapter *share = make_share(capacity);
		uds_name extra = uds_generate_counter_name(capacity);
		uds_metadata metadata = uds_generate_metadata(1, 1);

		for (uint32_t i = 0; i < capacity; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			check_absent(share, &name);
			assert_int_equal(uds_open_chapter_put(share, &name, &metadata, false), UDS_OK);
			assert_int_equal(uds_open_chapter_count(share), i + 1);
			check_found(share, &name, i);
		}
		assert_int_equal(uds_open_chapter_put(share, &extra, &metadata, true), UDS_OVERFLOW);
		assert_int_equal(uds_open_chapter_count(share), capacity);
		assert_int_equal(uds_open_chapter_tombstones(share), 0);
		check_absent(share, &extra);
		for (uint32_t i = 0; i < capacity; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			check_found(share, &name, i);
		}
		free(share);
	}
}

/* Deletes and later posts of a name cost no slot. */
static void
deleted_name_keeps_its_slot_and_comes_back(void **state)
{
	uds_open_chapter *share = make_share(4);
	uds_metadata old = uds_generate_metadata(1, 0);
	uds_metadata new = uds_generate_metadata(1, 1);
	uds_name names[4];

	(void) state;
	uds_open_chapter_reset(share, 5);
	for (uint32_t i = 0; i < 4; i++)
		names[i] = uds_generate_counter_name(i);
	assert_int_equal(uds_open_chapter_put(share, &names[0], &old, false), UDS_OK);
	assert_int_equal(uds_open_chapter_put(share, &names[1], &old, false), UDS_OK);

	uds_open_chapter_set(share, 1, &old, true);
	check_found(share, &names[1], 1);
	assert_true(uds_open_chapter_is_tombstone(share, 1));
	assert_false(uds_open_chapter_is_tombstone(share, 0));
	assert_int_equal(uds_open_chapter_count(share), 2);
	assert_int_equal(uds_open_chapter_tombstones(share), 1);
	uds_open_chapter_set(share, 1, &old, true);
	assert_int_equal(uds_open_chapter_tombstones(share), 1);

	uds_open_chapter_set(share, 1, &new, false);
	check_found(share, &names[1], 1);
	assert_false(uds_open_chapter_is_tombstone(share, 1));
	assert_memory_equal(&uds_open_chapter_record(share, 1)->metadata, &new, sizeof(new));
	assert_memory_equal(&uds_open_chapter_record(share, 0)->metadata, &old, sizeof(old));
	assert_int_equal(uds_open_chapter_count(share), 2);
	assert_int_equal(uds_open_chapter_tombstones(share), 0);

	assert_int_equal(uds_open_chapter_put(share, &names[2], &old, true), UDS_OK);
	assert_int_equal(uds_open_chapter_put(share, &names[3], &old, false), UDS_OK);
	assert_true(uds_open_chapter_is_tombstone(share, 2));
	assert_int_equal(uds_open_chapter_tombstones(share), 1);

	uds_open_chapter_reset(share, 6);
	assert_int_equal(uds_open_chapter_tombstones(share), 0);
	assert_int_equal(uds_open_chapter_put(share, &names[3], &old, false), UDS_OK);
	assert_int_equal(uds_open_chapter_put(share, &names[2], &old, false), UDS_OK);
	assert_int_equal(uds_open_chapter_put(share, &names[1], &old, false), UDS_OK);
	assert_false(uds_open_chapter_is_tombstone(share, 2));
	check_absent(share, &names[0]);
	free(share);
}

/* ---- names that meet in the table --------------------------------------------------------------- */

static void
names_of_one_cell_fill_a_small_share(void **state)
{
	uds_open_chapter *share = make_share(5);
	uds_metadata metadata = uds_generate_metadata(0, 0);
	uds_name names[6];
	uint64_t counter = 0;

	(void) state;
	for (uint32_t i = 0; i < 6; i++)
	{
		do
			names[i] = uds_generate_counter_name(counter++);
		while (uds_name_hash(&names[i]) % 16 != 15);
	}
	for (uint32_t i = 0; i < 5; i++)
	{
		assert_int_equal(uds_open_chapter_put(share, &names[i], &metadata, false), UDS_OK);
		for (uint32_t j = 0; j < 6; j++)
		{
			if (j <= i)
				check_found(share, &names[j], j);
			else
				check_absent(share, &names[j]);
		}
	}
	assert_int_equal(uds_open_chapter_put(share, &names[5], &metadata, false), UDS_OVERFLOW);
	free(share);
}

/* Another name with the hash of a name, for any second half: uds_name_hash can be undone. */
static uds_name
name_of_same_hash(const uds_name *name, uint64_t second_half)
{
	uint64_t multiplier = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t inverse = multiplier;
	uint64_t x[2];
	uint64_t mixed;
	uds_name other;

	for (int i = 0; i < 6; i++)
		inverse *= 2 - multiplier * inverse;
	memcpy(x, name->bytes, sizeof(x));
	x[0] = (x[0] ^ (x[1] >> 32 | x[1] << 32)) * multiplier;
	mixed = x[0] ^ x[0] >> 29 ^ x[1] ^ second_half;
	mixed ^= mixed >> 29 ^ mixed >> 58;
	x[0] = mixed * inverse ^ (second_half >> 32 | second_half << 32);
	x[1] = second_half;
	memcpy(other.bytes, x, sizeof(x));
	return other;
}

static void
names_of_one_hash_are_kept_apart(void **state)
{
	uds_open_chapter *share = make_share(300);
	uds_name name = uds_generate_counter_name(0);
	uds_metadata metadata = uds_generate_metadata(0, 0);

	(void) state;
	for (uint32_t i = 0; i < 300; i++)
	{
		uds_name other = name_of_same_hash(&name, i);

		assert_true(uds_name_hash(&other) == uds_name_hash(&name));
		check_absent(share, &other);
		assert_int_equal(uds_open_chapter_put(share, &other, &metadata, false), UDS_OK);
	}
	for (uint32_t i = 0; i < 300; i++)
	{
		uds_name other = name_of_same_hash(&name, i);

		check_found(share, &other, i);
	}
	check_absent(share, &name);
	free(share);
}

/* Names of the kinds of specification 01, section 9. */
static uds_name
biased_name(uds_random *random, uint32_t kind)
{
	uds_name name = uds_random_name(random);

	switch (kind)
	{
		case 0:
			uds_generate_set_sampling_field(&name, 0);
			break;
		case 1:
			uds_generate_set_sampling_field(&name, 0xffff);
			break;
		case 2:
			uds_generate_set_chapter_field(&name, 0);
			break;
		case 3:
			uds_generate_set_volume_field(&name, 0);
			break;
		case 4:
			for (uint32_t i = 4; i < UDS_NAME_BYTES; i++)
				name.bytes[i] = name.bytes[i - 4];
			break;
		default:
			memset(name.bytes, 0x7f, 12); /* 4 bytes that differ */
			break;
	}
	return name;
}

/* Longest run of used cells, with the hash and the half-full table that a share has. */
static void
biased_names_make_no_long_chains(void **state)
{
	const uint32_t cells = 1u << 17;
	uint64_t seed = uds_random_seed(12);
	uint8_t *used = malloc(cells);
	uds_random random;

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint32_t kind = 0; kind < 6; kind++)
	{
		uint64_t probes = 0;
		uint32_t longest = 0;

		memset(used, 0, cells);
		for (uint32_t i = 0; i < cells / 2; i++)
		{
			uds_name name = biased_name(&random, kind);
			uint32_t place = (uint32_t) uds_name_hash(&name) % cells;
			uint32_t length = 1;

			for (; used[place] != 0; length++)
				place = (place + 1) % cells;
			used[place] = 1;
			probes += length;
			longest = UDS_MAX(longest, length);
		}
		/* 1.5 on average for random numbers. */
		assert_true(probes < cells / 2 * 2);
		assert_true(longest < 300);
	}
	free(used);
}

/* ---- against a plain model ------------------------------------------------------------------------- */

typedef struct model
{
	uds_record records[500];
	bool is_tombstone[500];
	uint32_t count;
	uint32_t tombstones;
} model;

static void
random_operation(uds_open_chapter *share, model *m, uds_random *random, uint32_t capacity,
                 uint64_t range, uint32_t kind)
{
	uds_name name = uds_generate_counter_name(uds_random_below(random, range));
	uds_metadata metadata = uds_random_metadata(random);
	bool is_tombstone = uds_random_one_in(random, 3);
	uint32_t slot = UINT32_MAX;
	uint32_t place = 0;
	uds_status status;

	if (kind < 6)
		uds_generate_set_chapter_field(&name, 0);
	while (place < m->count && !uds_name_equals(&m->records[place].name, &name))
		place++;
	status = uds_open_chapter_search(share, &name, &slot);
	if (place == m->count)
	{
		assert_int_equal(status, UDS_NOT_FOUND);
		status = uds_open_chapter_put(share, &name, &metadata, is_tombstone);
		assert_int_equal(status, m->count < capacity ? UDS_OK : UDS_OVERFLOW);
		if (status == UDS_OVERFLOW)
			return;
		m->records[m->count++].name = name;
		m->is_tombstone[place] = false;
	}
	else
	{
		assert_int_equal(status, UDS_OK);
		assert_int_equal(slot, place);
		uds_open_chapter_set(share, slot, &metadata, is_tombstone);
	}
	m->tombstones += (uint32_t) is_tombstone - (uint32_t) m->is_tombstone[place];
	m->records[place].metadata = metadata;
	m->is_tombstone[place] = is_tombstone;
}

static void
check_model(const uds_open_chapter *share, const model *m)
{
	assert_int_equal(uds_open_chapter_count(share), m->count);
	assert_int_equal(uds_open_chapter_tombstones(share), m->tombstones);
	for (uint32_t i = 0; i < m->count; i++)
	{
		check_found(share, &m->records[i].name, i);
		assert_memory_equal(uds_open_chapter_record(share, i), &m->records[i], sizeof(uds_record));
		assert_int_equal(uds_open_chapter_is_tombstone(share, i), m->is_tombstone[i]);
	}
}

static void
random_operations_equal_the_model(void **state)
{
	uint64_t seed = uds_random_seed(13);
	model *m = malloc(sizeof(*m));

	(void) state;
	print_message("seed %llu\n", (unsigned long long) seed);
	for (uint32_t round = 0; round < 60; round++)
	{
		uint32_t capacity;
		uds_open_chapter *share;
		uds_random random;

		uds_random_init(&random, seed + round);
		capacity = (uint32_t) uds_random_range(&random, 1, 500);
		share = make_share(capacity);
		for (uint32_t chapter = 0; chapter < 3; chapter++)
		{
			uint64_t range = uds_random_range(&random, 1, 2 * capacity);

			memset(m, 0, sizeof(*m));
			uds_open_chapter_reset(share, chapter);
			for (uint32_t i = 0; i < 3 * capacity; i++)
				random_operation(share, m, &random, capacity, range, round % 12);
			check_model(share, m);
		}
		free(share);
	}
	free(m);
}

/* ---- publication ------------------------------------------------------------------------------------- */

#define PUBLISHED 20000

static void *
fill_share(void *argument)
{
	uds_open_chapter *share = argument;

	for (uint32_t i = 0; i < PUBLISHED; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 0);

		if (uds_open_chapter_put(share, &name, &metadata, i % 3 == 0) != UDS_OK)
			return NULL;
	}
	return share;
}

static void
records_below_the_count_are_complete(void **state)
{
	uds_open_chapter *share = make_share(PUBLISHED);
	uint32_t seen = 0;
	void *result;
	pthread_t writer;

	(void) state;
	assert_int_equal(pthread_create(&writer, NULL, fill_share, share), 0);
	while (seen < PUBLISHED)
	{
		uint32_t count = uds_open_chapter_count(share);

		for (; seen < count; seen++)
		{
			uds_name name = uds_generate_counter_name(seen);
			uds_metadata metadata = uds_generate_metadata(seen, 0);
			const uds_record *record = uds_open_chapter_record(share, seen);

			assert_memory_equal(&record->name, &name, sizeof(name));
			assert_memory_equal(&record->metadata, &metadata, sizeof(metadata));
			assert_int_equal(uds_open_chapter_is_tombstone(share, seen), seen % 3 == 0);
		}
	}
	assert_int_equal(pthread_join(writer, &result), 0);
	assert_ptr_equal(result, share);
	free(share);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_is_about_40_bytes_a_record),
		cmocka_unit_test(largest_share_can_be_filled),
		cmocka_unit_test(empty_share_holds_no_name),
		cmocka_unit_test(full_share_refuses_another_record),
		cmocka_unit_test(deleted_name_keeps_its_slot_and_comes_back),
		cmocka_unit_test(names_of_one_cell_fill_a_small_share),
		cmocka_unit_test(names_of_one_hash_are_kept_apart),
		cmocka_unit_test(biased_names_make_no_long_chains),
		cmocka_unit_test(random_operations_equal_the_model),
		cmocka_unit_test(records_below_the_count_are_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
