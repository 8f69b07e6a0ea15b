/*
 * test_delta_index.c: mutable delta lists hold what a sorted multimap holds, have the bytes of
 * specification 01, section 3, find room in bounded steps, and never leave their memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/delta_index.h"
#include "../support/generate.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uds_delta_index *
make_index(uint32_t lists, uint32_t mean, uint32_t value_bits, uint64_t bytes, int fill)
{
	uds_delta_parameters parameters = { .lists = lists,
		                                .mean_delta = mean,
		                                .value_bits = value_bits,
		                                .list_bytes = bytes,
		                                .is_zeroed = fill == 0 };
	size_t size = uds_delta_index_size(&parameters);
	uds_delta_index *index;

	assert_true(size > 0 && size % 64 == 0);
	index = aligned_alloc(64, size);
	assert_non_null(index);
	memset(index, fill, size);
	assert_int_equal(uds_delta_index_init(index, &parameters), UDS_OK);
	return index;
}

/* Name n of the vectors: the bytes 16 n, 16 n + 1, ... */
static uds_name
vector_name(uint32_t n)
{
	uds_name name;

	for (uint32_t i = 0; i < UDS_NAME_BYTES; i++)
		name.bytes[i] = (uint8_t) (16 * n + i);
	return name;
}

static uds_status
put(uds_delta_index *index, uint32_t list, uint32_t key, uint32_t value, const uds_name *name)
{
	uds_delta_cursor cursor;

	assert_int_equal(uds_delta_index_find(index, list, key, name, &cursor), UDS_OK);
	if (cursor.is_end || cursor.key != key)
		name = NULL;
	return uds_delta_index_put(index, &cursor, key, value, name);
}

static void
assert_checks(const uds_delta_index *index, uint64_t records, uint64_t collisions)
{
	uint64_t r = 0;
	uint64_t c = 0;

	assert_int_equal(uds_delta_blocks_check(&index->blocks), UDS_OK);
	for (uint32_t list = 0; list < index->blocks.lists; list++)
	{
		uint32_t list_records;
		uint32_t list_collisions;

		assert_int_equal(uds_delta_index_check_list(index,
		                                            list,
		                                            32,
		                                            0,
		                                            UINT32_MAX,
		                                            &list_records,
		                                            &list_collisions),
		                 UDS_OK);
		r += list_records;
		c += list_collisions;
	}
	assert_int_equal(r, records);
	assert_int_equal(c, collisions);
	assert_int_equal(index->records, records);
	assert_int_equal(index->collisions, collisions);
}

static void
parameters_out_of_range_have_no_size(void **state)
{
	uds_delta_parameters good = {
		.lists = 4, .mean_delta = 256, .value_bits = 8, .list_bytes = 65536
	};
	uds_delta_parameters bad;
	uds_delta_index index;

	(void) state;
	assert_true(uds_delta_index_size(&good) >= 65536);
	bad = good;
	bad.lists = 0;
	assert_int_equal(uds_delta_index_size(&bad), 0);
	bad = good;
	bad.mean_delta = 0;
	assert_int_equal(uds_delta_index_size(&bad), 0);
	bad = good;
	bad.value_bits = 26;
	assert_int_equal(uds_delta_index_size(&bad), 0);
	bad.value_bits = 0;
	assert_int_equal(uds_delta_index_size(&bad), 0);
	bad = good;
	bad.list_bytes = UINT64_MAX;
	assert_int_equal(uds_delta_index_size(&bad), 0);
	assert_int_equal(uds_delta_index_init(&index, &bad), UDS_ERR_ARGUMENT);
}

static void
empty_list_and_single_entry(void **state)
{
	uds_delta_index *index = make_index(1024, 1024, 10, 1 << 20, 0);
	uds_delta_cursor cursor;
	uds_name name = vector_name(1);

	(void) state;
	for (uint32_t key = 0; key < 3; key++)
	{
		assert_int_equal(uds_delta_index_find(index, 7, key, &name, &cursor), UDS_OK);
		assert_true(cursor.is_end);
		assert_false(cursor.is_collision);
	}
	assert_int_equal(uds_delta_index_set_value(index, &cursor, 1), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_delta_index_next(index, &cursor), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_delta_index_put(index, &cursor, 1, 1024, NULL), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_delta_index_put(index, &cursor, 1, 9, &name), UDS_ERR_ARGUMENT);
	assert_int_equal(put(index, 7, 1, 9, NULL), UDS_OK);
	assert_int_equal(uds_delta_index_find(index, 7, 0, NULL, &cursor), UDS_OK);
	assert_int_equal(cursor.key, 1);
	assert_int_equal(uds_delta_index_find(index, 7, 2, NULL, &cursor), UDS_OK);
	assert_true(cursor.is_end);
	assert_int_equal(uds_delta_index_find(index, 7, 1, &name, &cursor), UDS_OK);
	assert_false(cursor.is_end);
	assert_false(cursor.is_collision);
	assert_int_equal(cursor.value, 9);
	assert_int_equal(uds_delta_index_name(index, &cursor, &name), UDS_ERR_BAD_STATE);
	assert_int_equal(uds_delta_index_put(index, &cursor, 1, 9, NULL), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_delta_index_set_value(index, &cursor, 1023), UDS_OK);
	assert_int_equal(uds_delta_index_set_value(index, &cursor, 1024), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_delta_index_find(index, 7, 1, NULL, &cursor), UDS_OK);
	assert_int_equal(cursor.value, 1023);
	assert_checks(index, 1, 0);
	assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_OK);
	assert_true(cursor.is_end);
	assert_checks(index, 0, 0);
	assert_int_equal(index->discards, 1);
	assert_int_equal(uds_delta_index_begin(index, 1024, &cursor), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_delta_index_find(index, 1024, 0, NULL, &cursor), UDS_ERR_ARGUMENT);
	free(index);
}

/* Code lengths of 3.2 in memory full of zeros and of ones. */
static void
single_entries_have_the_length_of_their_code(void **state)
{
	static const struct
	{
		uint32_t mean;
		uint32_t key;
		uint32_t bits;
	} rows[] = {
		{ 1024, 0, 14 },        { 1024, 313, 14 },       { 1024, 314, 15 },
		{ 1024, 1734, 17 },     { 1024, 6704, 24 },      { 1024, 2097151, 2968 },
		{ 4080, 1048575, 387 }, { 65536, 4194303, 112 }, { 1, 4095, 4099 },
	};
	uds_delta_cursor cursor;

	(void) state;
	for (size_t i = 0; i < 2 * COUNT(rows); i++)
	{
		uds_delta_index *index = make_index(1, rows[i / 2].mean, 4, 8192, i % 2 ? 0xff : 0);

		assert_int_equal(put(index, 0, rows[i / 2].key, 0xA, NULL), UDS_OK);
		assert_int_equal(uds_delta_index_list_bits(index, 0), rows[i / 2].bits);
		assert_int_equal(uds_delta_index_find(index, 0, rows[i / 2].key, NULL, &cursor), UDS_OK);
		assert_int_equal(cursor.key, rows[i / 2].key);
		assert_int_equal(cursor.value, 0xA);
		assert_int_equal(cursor.bits, rows[i / 2].bits);
		assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_OK);
		assert_checks(index, 0, 0);
		free(index);
	}
}

static void
assert_list(const uds_delta_index *index, uint32_t bits, const char *hex)
{
	uint8_t expected[64] = { 0 };
	uint8_t bytes[64] = { 0 };
	uint32_t count = 0;

	for (const char *at = hex; *at != '\0'; at++)
	{
		char digits[3] = { at[0], at[1], '\0' };

		if (*at == ' ')
			continue;
		if (*at == 'N')
		{
			/* N3: the 16 bytes of name 3 */
			uds_name name = vector_name((uint32_t) (at[1] - '0'));

			memcpy(expected + count, name.bytes, sizeof(name.bytes));
			count += 16;
		}
		else
			expected[count++] = (uint8_t) strtoul(digits, NULL, 16);
		at++;
	}
	assert_int_equal(uds_delta_index_list_bits(index, 0), bits);
	assert_int_equal(count, (bits + 7) / 8);
	assert_int_equal(uds_delta_index_copy_out(index, 0, bytes), UDS_OK);
	assert_memory_equal(bytes, expected, sizeof(bytes));
}

static void
remove_key(uds_delta_index *index, uint32_t key, const uds_name *name)
{
	uds_delta_cursor cursor;

	assert_int_equal(uds_delta_index_find(index, 0, key, name, &cursor), UDS_OK);
	assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_OK);
}

/*
 * The table of section 3.8: sizes and bytes.  Its columns "start" and "saved" belong to another
 * layout of the memory.
 */
static void
bytes_of_a_list_through_puts_and_removals(void **state)
{
	uds_delta_index *index = make_index(1, 256, 8, 65536, 0xff);
	uds_name name_1 = vector_name(1);
	uds_name name_3 = vector_name(3);
	uds_name name_6 = vector_name(6);
	uds_name name_7 = vector_name(7);

	(void) state;
	assert_list(index, 0, "");
	assert_int_equal(put(index, 0, 5, 0x11, NULL), UDS_OK);
	assert_list(index, 16, "11 05");
	assert_int_equal(put(index, 0, 300, 0x22, NULL), UDS_OK);
	assert_list(index, 34, "11 05 22 76 02");
	assert_int_equal(put(index, 0, 5, 0x33, &name_3), UDS_OK);
	assert_list(index, 178, "11 05 33 00 N3 22 76 02");
	assert_int_equal(put(index, 0, 0, 0x44, NULL), UDS_OK);
	assert_list(index, 194, "44 00 11 05 33 00 N3 22 76 02");
	assert_int_equal(put(index, 0, 299, 0x55, NULL), UDS_OK);
	assert_list(index, 210, "44 00 11 05 33 00 N3 55 75 8a 04 00");
	assert_int_equal(put(index, 0, 0, 0x66, &name_6), UDS_OK);
	assert_list(index, 354, "44 00 66 00 N6 11 05 33 00 N3 55 75 8a 04 00");
	assert_int_equal(put(index, 0, 5, 0x77, &name_7), UDS_OK);
	assert_list(index, 498, "44 00 66 00 N6 11 05 77 00 N7 33 00 N3 55 75 8a 04 00");
	assert_checks(index, 7 + 0, 3);
	remove_key(index, 5, &name_1);
	assert_list(index, 354, "44 00 66 00 N6 77 05 33 00 N3 55 75 8a 04 00");
	assert_checks(index, 6, 2);
	remove_key(index, 0, &name_6);
	assert_list(index, 210, "44 00 77 05 33 00 N3 55 75 8a 04 00");
	remove_key(index, 300, NULL);
	assert_list(index, 194, "44 00 77 05 33 00 N3 55 75 02");
	assert_checks(index, 4, 1);
	assert_int_equal(index->discards, 3);
	free(index);
}

/* The lists of the vector of section 3.10, whose sizes it names. */
static void
sizes_of_the_lists_of_a_saved_index(void **state)
{
	static const struct
	{
		uint32_t list;
		uint32_t key;
		uint32_t value;
	} rows[] = { { 0, 0, 1 }, { 0, 400, 2 }, { 1, 77, 3 },   { 1, 77, 4 },   { 3, 0, 5 },
		         { 3, 1, 6 }, { 3, 2, 7 },   { 5, 1000, 8 }, { 5, 1001, 9 }, { 7, 255, 10 } };
	static const uint32_t sizes[8] = { 0x1e, 0x9c, 0, 0x2a, 0, 0x22, 0, 0x0f };
	uds_delta_index *index = make_index(8, 256, 6, 65536, 0);
	uds_name name = vector_name(4);

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(put(index, rows[i].list, rows[i].key, rows[i].value, &name), UDS_OK);
	for (uint32_t list = 0; list < 8; list++)
		assert_int_equal(uds_delta_index_list_bits(index, list), sizes[list]);
	assert_checks(index, 10, 1);
	free(index);
}

/* Each key four times, in three orders: 16 records, 12 collisions; removed as inserted. */
static void
collisions_in_every_order(void **state)
{
	static const uint32_t keys[4] = { 0, 0x8000, 0x7fff, 0xffff };

	(void) state;
	for (int order = 0; order < 3; order++)
	{
		uds_delta_index *index = make_index(1, 1024, 10, 1 << 16, 0);
		uds_delta_cursor cursor;

		for (uint32_t i = 0; i < 16; i++)
		{
			uint32_t key = keys[order == 0 ? i / 4 : order == 1 ? i % 4 : 3 - i % 4];
			uds_name name = uds_generate_counter_name(i);

			assert_int_equal(put(index, 0, key, i, &name), UDS_OK);
			assert_int_equal(uds_delta_index_find(index, 0, key, &name, &cursor), UDS_OK);
			assert_int_equal(cursor.value, i);
			if (cursor.is_collision)
				assert_int_equal(uds_delta_index_put(index, &cursor, key, i, &name), UDS_DUPLICATE);
		}
		assert_checks(index, 16, 12);
		for (uint32_t i = 0; i < 16; i++)
		{
			uint32_t key = keys[order == 0 ? i / 4 : order == 1 ? i % 4 : 3 - i % 4];
			uds_name name = uds_generate_counter_name(i);

			assert_int_equal(uds_delta_index_find(index, 0, key, &name, &cursor), UDS_OK);
			assert_int_equal(cursor.key, key);
			assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_OK);
		}
		assert_checks(index, 0, 0);
		assert_int_equal(index->discards, 16);
		free(index);
	}
}

/* 4095 entries of 16 bits fill a list; a removed one makes room again. */
static void
list_limit_is_65535_bits(void **state)
{
	uds_delta_index *index = make_index(1, 256, 8, 60000, 0);
	uds_delta_cursor cursor;

	(void) state;
	for (uint32_t i = 1; i <= 4095; i++)
		assert_int_equal(put(index, 0, i, i & 0xff, NULL), UDS_OK);
	assert_int_equal(uds_delta_index_list_bits(index, 0), 65520);
	assert_int_equal(put(index, 0, 4096, 1, NULL), UDS_OVERFLOW);
	assert_int_equal(index->overflows, 1);
	assert_checks(index, 4095, 0);
	for (uint32_t i = 1; i <= 4095; i++)
	{
		assert_int_equal(uds_delta_index_find(index, 0, i, NULL, &cursor), UDS_OK);
		assert_int_equal(cursor.key, i);
		assert_int_equal(cursor.value, i & 0xff);
	}
	for (uint32_t i = 1; i <= 4095; i += 2)
	{
		assert_int_equal(uds_delta_index_find(index, 0, i, NULL, &cursor), UDS_OK);
		assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_OK);
		assert_int_equal(cursor.is_end, i == 4095);
	}
	assert_int_equal(put(index, 0, 4096, 1, NULL), UDS_OK);
	assert_int_equal(index->overflows, 1);
	assert_checks(index, 2048, 0);
	free(index);
	/* 4369 entries of 15 bits make 65535 bits; a code of more bits than a list is no code */
	index = make_index(1, 256, 7, 60000, 0);
	for (uint32_t i = 0; i < 4369; i++)
		assert_int_equal(put(index, 0, i, 1, NULL), UDS_OK);
	assert_int_equal(uds_delta_index_list_bits(index, 0), 65535);
	assert_checks(index, 4369, 0);
	assert_int_equal(put(index, 0, UINT32_MAX, 1, NULL), UDS_OVERFLOW);
	assert_int_equal(index->overflows, 1);
	free(index);
}

/* A full memory refuses, counts, stays intact, and takes entries again once some are gone. */
static void
full_memory_is_an_overflow(void **state)
{
	uds_delta_index *index = make_index(1024, 1024, 10, 128 << 10, 0xff);
	uds_random random;
	uint64_t stored = 0;
	uint32_t refused = 0;
	uds_delta_cursor cursor;

	(void) state;
	uds_random_init(&random, uds_random_seed(21));
	while (refused < 100)
	{
		uint32_t list = (uint32_t) uds_random_below(&random, 1024);
		uint32_t key = (uint32_t) uds_random_below(&random, 1 << 16);
		uds_name name = uds_random_name(&random);
		uds_status status = put(index, list, key, 5, &name);

		assert_true(status == UDS_OK || status == UDS_OVERFLOW);
		stored += status == UDS_OK;
		refused += status == UDS_OVERFLOW;
	}
	assert_int_equal(index->overflows, 100);
	assert_int_equal(index->records, stored);
	assert_checks(index, stored, index->collisions);
	assert_true(index->blocks.used_bytes > uds_delta_blocks_capacity(&index->blocks) / 100 * 97);
	assert_true(index->blocks.used_bytes <= uds_delta_blocks_capacity(&index->blocks));
	for (uint32_t list = 0; list < 1024; list++)
	{
		assert_int_equal(uds_delta_index_find(index, list, 0, NULL, &cursor), UDS_OK);
		if (!cursor.is_end)
			assert_int_equal(uds_delta_index_remove(index, &cursor), UDS_OK);
	}
	for (uint32_t i = 0; i < 200; i++)
		assert_int_equal(put(index, i * 5, 70000 + i, 5, NULL), UDS_OK);
	uds_delta_index_reset(index);
	assert_checks(index, 0, 0);
	assert_int_equal(put(index, 1023, 1, 1, NULL), UDS_OK);
	assert_checks(index, 1, 0);
	free(index);
}

/* ---- against a plain model ------------------------------------------------------------------ */

typedef struct model_entry
{
	uint32_t key;
	uint32_t value;
	uds_name name;
	bool is_collision;
} model_entry;

#define MODEL_LISTS   70
#define MODEL_ENTRIES 400

/* A list as an array in order. */
typedef struct model_list
{
	model_entry entries[MODEL_ENTRIES];
	uint32_t count;
} model_list;

static void
model_insert(model_list *list, uint32_t at, const model_entry *entry)
{
	assert_true(list->count < MODEL_ENTRIES);
	memmove(list->entries + at + 1,
	        list->entries + at,
	        (list->count - at) * sizeof(list->entries[0]));
	list->entries[at] = *entry;
	list->count++;
}

static void
model_remove(model_list *list, uint32_t at)
{
	bool was_plain = !list->entries[at].is_collision;

	list->count--;
	memmove(list->entries + at,
	        list->entries + at + 1,
	        (list->count - at) * sizeof(list->entries[0]));
	if (was_plain && at < list->count)
		list->entries[at].is_collision = false;
}

/* Where find stands. */
static uint32_t
model_find(const model_list *list, uint32_t key, const uds_name *name)
{
	uint32_t at = 0;

	while (at < list->count && list->entries[at].key < key)
		at++;
	if (at < list->count && list->entries[at].key == key)
	{
		for (uint32_t i = at + 1; i < list->count && list->entries[i].is_collision; i++)
		{
			if (uds_name_equals(&list->entries[i].name, name))
				return i;
		}
	}
	return at;
}

static bool
list_equals_model(const uds_delta_index *index, uint32_t number, const model_list *list)
{
	uds_delta_cursor cursor;
	uds_name name;

	if (uds_delta_index_begin(index, number, &cursor) != UDS_OK)
		return false;
	for (uint32_t i = 0; i < list->count; i++)
	{
		const model_entry *entry = &list->entries[i];

		if (uds_delta_index_next(index, &cursor) != UDS_OK || cursor.is_end ||
		    cursor.key != entry->key || cursor.value != entry->value ||
		    cursor.is_collision != entry->is_collision)
			return false;
		if (entry->is_collision && (uds_delta_index_name(index, &cursor, &name) != UDS_OK ||
		                            !uds_name_equals(&name, &entry->name)))
			return false;
	}
	return uds_delta_index_next(index, &cursor) == UDS_OK && cursor.is_end;
}

static uint32_t
model_expire(model_list *list, const uds_delta_expiry *expiry, uint32_t mask)
{
	uint32_t lowest = UINT32_MAX;

	for (uint32_t i = 0; i < list->count;)
	{
		uint32_t relative = (list->entries[i].value - expiry->base) & mask;

		if (relative < expiry->limit)
			model_remove(list, i);
		else
		{
			lowest = UDS_MIN(lowest, relative);
			i++;
		}
	}
	return lowest;
}

/* Does the cursor stand where the model stands? */
static bool
cursor_equals_model(const uds_delta_cursor *cursor, const model_list *list, uint32_t at)
{
	if (at == list->count)
		return cursor->is_end;
	return !cursor->is_end && cursor->key == list->entries[at].key &&
	       cursor->value == list->entries[at].value &&
	       cursor->is_collision == list->entries[at].is_collision;
}

static uint64_t
model_records(const model_list *lists, uint64_t *collisions)
{
	uint64_t records = 0;

	*collisions = 0;
	for (uint32_t i = 0; i < MODEL_LISTS; i++)
	{
		records += lists[i].count;
		for (uint32_t j = 0; j < lists[i].count; j++)
			*collisions += lists[i].entries[j].is_collision;
	}
	return records;
}

static bool
model_step(uds_delta_index *index, model_list *lists, uds_random *random, uint32_t keys)
{
	uint32_t mask = (1u << index->code.value_bits) - 1;
	uint32_t number = (uint32_t) uds_random_below(random, MODEL_LISTS);
	model_list *list = &lists[number];
	model_entry entry = { .key = (uint32_t) uds_random_below(random, keys),
		                  .value = (uint32_t) uds_random_next(random) & mask,
		                  .name = uds_generate_counter_name(uds_random_below(random, 8)) };
	uint32_t at = model_find(list, entry.key, &entry.name);
	bool has_key = at < list->count && list->entries[at].key == entry.key;
	uds_delta_expiry expiry = { 0 };
	uds_delta_cursor cursor;
	uds_status status;

	if (uds_random_one_in(random, 8))
	{
		uint32_t before = list->count;

		expiry.base = (uint32_t) uds_random_next(random) & mask;
		expiry.limit = uds_random_one_in(random, 20)
		                   ? (uint32_t) uds_random_below(random, mask + 2)
		                   : (uint32_t) uds_random_below(random, mask / 8 + 1);
		status = uds_delta_index_expire(index, number, entry.key, &entry.name, &expiry, &cursor);
		if (model_expire(list, &expiry, mask) != expiry.lowest ||
		    expiry.dropped != before - list->count)
			return false;
		at = model_find(list, entry.key, &entry.name);
		return status == UDS_OK && cursor_equals_model(&cursor, list, at) &&
		       list_equals_model(index, number, list);
	}
	status = uds_delta_index_find(index, number, entry.key, &entry.name, &cursor);
	if (status != UDS_OK || !cursor_equals_model(&cursor, list, at))
		return false;
	switch (uds_random_below(random, 4))
	{
		case 0:
			status = uds_delta_index_remove(index, &cursor);
			if (at == list->count)
				return status == UDS_ERR_BAD_STATE;
			model_remove(list, at);
			return status == UDS_OK && cursor_equals_model(&cursor, list, at);
		case 1:
			status = uds_delta_index_set_value(index, &cursor, entry.value);
			if (at == list->count)
				return status == UDS_ERR_BAD_STATE;
			list->entries[at].value = entry.value;
			return status == UDS_OK;
		default:
			status = uds_delta_index_put(index,
			                             &cursor,
			                             entry.key,
			                             entry.value,
			                             has_key ? &entry.name : NULL);
			if (has_key && list->entries[at].is_collision)
				return status == UDS_DUPLICATE;
			if (status == UDS_OVERFLOW)
				return true;
			entry.is_collision = has_key;
			at += has_key;
			model_insert(list, at, &entry);
			return status == UDS_OK && cursor_equals_model(&cursor, list, at);
	}
}

static void
random_operations_equal_a_sorted_multimap(void **state)
{
	static const struct
	{
		uint32_t mean;
		uint32_t keys;
		uint32_t value_bits;
		uint64_t bytes;
	} rows[] = { { 10, 100, 4, 200000 },        { 1024, 1 << 16, 10, 100000 },
		         { 1, 2000, 1, 200000 },        { 4080, 1 << 18, 10, 40000 },
		         { 65536, 1 << 28, 25, 60000 }, { 3, 7, 8, 100000 } };
	model_list *lists = calloc(MODEL_LISTS, sizeof(*lists));
	uint64_t collisions;
	uint64_t records;
	uds_random random;

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		uds_delta_index *index = make_index(MODEL_LISTS,
		                                    rows[i].mean,
		                                    rows[i].value_bits,
		                                    rows[i].bytes,
		                                    i % 2 ? 0xff : 0);

		uds_random_init(&random, uds_random_seed(31 + i));
		memset(lists, 0, MODEL_LISTS * sizeof(*lists));
		for (int step = 0; step < 20000; step++)
		{
			if (!model_step(index, lists, &random, rows[i].keys))
				fail_msg("row %zu step %d seed %lu", i, step, (unsigned long) random.seed);
		}
		for (uint32_t list = 0; list < MODEL_LISTS; list++)
		{
			if (!list_equals_model(index, list, &lists[list]))
				fail_msg("row %zu list %u seed %lu", i, list, (unsigned long) random.seed);
		}
		records = model_records(lists, &collisions);
		assert_checks(index, records, collisions);
		free(index);
	}
	free(lists);
}

/* More cuts in one list than a walk remembers at once. */
static void
any_number_of_entries_expires_at_once(void **state)
{
	(void) state;
	for (uint32_t run = 1; run <= 3; run++)
	{
		uds_delta_index *index = make_index(1, 16, 4, 8000, 0);
		uds_delta_expiry expiry = { .base = 14, .limit = 3, .early = 2, .dropped = 5 };
		uds_delta_cursor cursor;

		/* values 14, 15, 0 expire, the last of them early; 1 stays */
		for (uint32_t i = 0; i < 900; i++)
			assert_int_equal(put(index, 0, i * 20, i / run % 2 ? 1 : (14 + i % 3) & 15, NULL),
			                 UDS_OK);
		assert_int_equal(uds_delta_index_expire(index, 0, 10001, NULL, &expiry, &cursor), UDS_OK);
		assert_int_equal(expiry.dropped, 5 + 450);
		assert_int_equal(expiry.dropped_early, 150);
		assert_int_equal(expiry.lowest, 3);
		assert_checks(index, 450, 0);
		assert_true(cursor.key > 10001 && cursor.key <= 10001 + 20 * run);
		assert_int_equal(cursor.value, 1);
		for (uint32_t i = 0; i < 900; i++)
		{
			assert_int_equal(uds_delta_index_find(index, 0, i * 20, NULL, &cursor), UDS_OK);
			assert_int_equal(!cursor.is_end && cursor.key == i * 20, i / run % 2);
		}
		free(index);
	}
}

/* All lists of many blocks grow and shrink at random, at a filling that makes blocks borrow. */
static void
contents_survive_borrowing_between_blocks(void **state)
{
	enum
	{
		LISTS = 4000,
		CAPACITY = 1 << 20
	};
	uds_delta_index *index = make_index(LISTS, 4096, 10, CAPACITY, 0xff);
	uint8_t *expected = calloc(LISTS, 8192);
	uint8_t *bytes = malloc(8192);
	uint32_t *sizes = calloc(LISTS, sizeof(*sizes));
	uint32_t overflows = 0;
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(41));
	for (int step = 0; step < 60000; step++)
	{
		/* lists in one half are longer than in the other, and both halves change places */
		uint32_t list = (uint32_t) uds_random_below(&random, LISTS);
		bool is_long = (list < LISTS / 2) == (step < 30000);
		uint32_t bits = (uint32_t) uds_random_below(&random, is_long ? 6400 : 1400);
		uint32_t kept = UDS_MIN(bits, sizes[list]);
		uds_status status;
		uint8_t *data;

		if (uds_random_one_in(&random, 1000))
			bits = (uint32_t) uds_random_range(&random, 40000, 65535);
		status = uds_delta_blocks_resize(&index->blocks, list, bits);
		if (status == UDS_OVERFLOW)
		{
			overflows++;
			continue;
		}
		assert_int_equal(status, UDS_OK);
		sizes[list] = bits;
		if (bits == 0)
			continue;
		data = uds_delta_blocks_data(&index->blocks, list);
		assert_non_null(data);
		kept = UDS_MIN(kept, bits);
		assert_memory_equal(data, expected + list * 8192, kept / 8);
		uds_random_bytes(&random, bytes, (bits + 7) / 8);
		memcpy(data, bytes, (bits + 7) / 8);
		memcpy(expected + list * 8192, bytes, (bits + 7) / 8);
	}
	assert_int_equal(uds_delta_blocks_check(&index->blocks), UDS_OK);
	for (uint32_t list = 0; list < LISTS; list++)
	{
		assert_int_equal(uds_delta_index_list_bits(index, list), sizes[list]);
		if (sizes[list] > 0)
			assert_memory_equal(uds_delta_blocks_data(&index->blocks, list),
			                    expected + list * 8192,
			                    (sizes[list] + 7) / 8);
	}
	assert_true(overflows > 0);
	assert_true(index->blocks.rebalances > 100);
	free(expected);
	free(bytes);
	free(sizes);
	free(index);
}

/*
 * A list that grows when there is no room left beside it takes some of its neighbours': blocks
 * farther away than UDS_DELTA_BORROW_MAX stay as they are, to the end, when none is left.
 */
static void
a_growing_list_moves_its_neighbourhood_only(void **state)
{
	enum
	{
		BLOCKS = 400,
		TARGET = BLOCKS / 2,
		LISTS = BLOCKS * UDS_DELTA_BLOCK_LISTS,
		LIST_BYTES = 100,
		GAP_BYTES = 12
	};
	uds_delta_index *index = make_index(LISTS, 4096, 10, LISTS * (LIST_BYTES + GAP_BYTES), 0);
	uds_delta_blocks *blocks = &index->blocks;
	size_t bytes = uds_delta_blocks_capacity(blocks) + BLOCKS * UDS_DELTA_BLOCK_HEADER;
	uint8_t *memory = uds_delta_blocks_memory(blocks, 0);
	uint8_t *before = malloc(bytes);
	uint32_t starts[BLOCKS + 1];
	uint32_t farthest = 0;
	uint64_t grown = 0;

	(void) state;
	for (uint32_t list = 0; list < LISTS; list++)
		assert_int_equal(uds_delta_blocks_resize(blocks, list, 8 * LIST_BYTES), UDS_OK);
	memcpy(before, memory, bytes);
	memcpy(starts, blocks->starts, sizeof(starts));
	/* One after the other to the full length, in the block in the middle. */
	for (;; grown += 500)
	{
		uint32_t list = TARGET * UDS_DELTA_BLOCK_LISTS + (uint32_t) (grown / 64000);
		uint32_t bits = 8 * LIST_BYTES + (uint32_t) (grown % 64000);

		if (uds_delta_blocks_resize(blocks, list, bits) == UDS_OVERFLOW)
			break;
	}
	for (uint32_t b = 0; b < BLOCKS; b++)
	{
		size_t offset = (size_t) starts[b] * UDS_DELTA_BLOCK_UNIT;
		size_t size = (size_t) (starts[b + 1] - starts[b]) * UDS_DELTA_BLOCK_UNIT;

		if (starts[b] != blocks->starts[b] || starts[b + 1] != blocks->starts[b + 1] ||
		    memcmp(before + offset, memory + offset, size) != 0)
			farthest = UDS_MAX(farthest, b < TARGET ? TARGET - b : b - TARGET);
	}
	assert_true(grown > 100000);
	assert_in_range(farthest, UDS_DELTA_BORROW_MAX / 4, UDS_DELTA_BORROW_MAX);
	assert_int_equal(uds_delta_blocks_check(blocks), UDS_OK);
	free(before);
	free(index);
}

static void
lists_are_copied_out_and_in(void **state)
{
	uds_delta_index *from = make_index(40, 327, 10, 65536, 0xff);
	uds_delta_index *to = make_index(40, 327, 10, 65536, 0);
	uint8_t bytes[8192];
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(51));
	for (int i = 0; i < 300; i++)
	{
		uds_name name = uds_random_name(&random);

		assert_int_equal(put(from,
		                     (uint32_t) uds_random_below(&random, 32),
		                     (uint32_t) uds_random_below(&random, 1024),
		                     (uint32_t) uds_random_below(&random, 1000),
		                     &name),
		                 UDS_OK);
	}
	for (uint32_t list = 0; list < 40; list++)
	{
		uint32_t bits = uds_delta_index_list_bits(from, list);

		memset(bytes, 0xff, sizeof(bytes));
		assert_int_equal(uds_delta_index_copy_out(from, list, bytes), UDS_OK);
		if (bits % 8 != 0)
			assert_int_equal(bytes[bits / 8] >> (bits % 8), 0);
		assert_int_equal(uds_delta_index_copy_in(to, list, bytes, bits, 10, 0, 999), UDS_OK);
		if (bits == 0)
			continue;
		/* not twice, not with keys or values out of range, not cut short */
		assert_int_equal(uds_delta_index_copy_in(to, list, bytes, bits, 10, 0, 999),
		                 UDS_ERR_CORRUPT);
		assert_int_equal(uds_delta_index_copy_in(to, 39, bytes, bits - 1, 10, 0, 999),
		                 UDS_ERR_CORRUPT);
		assert_int_equal(uds_delta_index_copy_in(to, 39, bytes, bits, 2, 0, 999), UDS_ERR_CORRUPT);
		assert_int_equal(uds_delta_index_copy_in(to, 39, bytes, bits, 10, 0, 3), UDS_ERR_CORRUPT);
		assert_int_equal(uds_delta_index_list_bits(to, 39), 0);
	}
	assert_int_equal(uds_delta_index_copy_in(to, 39, bytes, 65536, 10, 0, 999), UDS_ERR_CORRUPT);
	assert_int_equal(uds_delta_index_copy_in(to, 40, bytes, 14, 10, 0, 999), UDS_ERR_CORRUPT);
	assert_checks(to, from->records, from->collisions);
	free(from);
	free(to);
}

/* Whatever is in the memory of the lists, every call ends with a status, inside the memory. */
static void
damaged_memory_is_noticed_or_harmless(void **state)
{
	uds_delta_parameters parameters = {
		.lists = 64, .mean_delta = 100, .value_bits = 10, .list_bytes = 16384
	};
	size_t size = uds_delta_index_size(&parameters);
	uds_delta_index *index = make_index(64, 100, 10, 16384, 0);
	uint8_t *copy = malloc(size);
	uint32_t corrupt = 0;
	uds_random random;
	uds_delta_cursor cursor;

	(void) state;
	uds_random_init(&random, uds_random_seed(61));
	for (int i = 0; i < 3000; i++)
	{
		uds_name name = uds_random_name(&random);

		assert_int_equal(put(index,
		                     (uint32_t) uds_random_below(&random, 64),
		                     (uint32_t) uds_random_below(&random, 6400),
		                     1,
		                     &name),
		                 UDS_OK);
	}
	memcpy(copy, index, size);
	for (int round = 0; round < 3000; round++)
	{
		uint8_t *memory =
			(uint8_t *) index + offsetof(uds_delta_index, blocks) + index->blocks.memory_offset;
		size_t bytes = index->blocks.units * UDS_DELTA_BLOCK_UNIT;

		memcpy(index, copy, size);
		for (int i = 0; i < 20; i++)
		{
			/* every second hit into the descriptors of the first block */
			size_t at = (size_t) uds_random_below(&random, i % 2 ? 192 : bytes);

			memory[at] = (uint8_t) uds_random_next(&random);
		}
		for (uint32_t list = 0; list < 64; list++)
		{
			uds_name name = uds_random_name(&random);
			uint32_t key = (uint32_t) uds_random_below(&random, 6400);
			uds_delta_expiry expiry = { .base = 0, .limit = round % 4 };
			uds_status status =
				round % 2 ? uds_delta_index_find(index, list, key, &name, &cursor)
						  : uds_delta_index_expire(index, list, key, &name, &expiry, &cursor);

			corrupt += status == UDS_ERR_CORRUPT;
			if (status != UDS_OK)
				continue;
			if (!cursor.is_end && cursor.key == key)
				status = uds_delta_index_put(index, &cursor, key, 3, &name);
			else
				status = uds_delta_index_put(index, &cursor, key, 3, NULL);
			if (status == UDS_OK && list % 2)
				status = uds_delta_index_remove(index, &cursor);
			corrupt += status == UDS_ERR_CORRUPT;
		}
		corrupt += uds_delta_blocks_check(&index->blocks) == UDS_ERR_CORRUPT;
	}
	assert_true(corrupt > 1000);
	free(copy);
	free(index);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_out_of_range_have_no_size),
		cmocka_unit_test(empty_list_and_single_entry),
		cmocka_unit_test(single_entries_have_the_length_of_their_code),
		cmocka_unit_test(bytes_of_a_list_through_puts_and_removals),
		cmocka_unit_test(sizes_of_the_lists_of_a_saved_index),
		cmocka_unit_test(collisions_in_every_order),
		cmocka_unit_test(list_limit_is_65535_bits),
		cmocka_unit_test(full_memory_is_an_overflow),
		cmocka_unit_test(random_operations_equal_a_sorted_multimap),
		cmocka_unit_test(any_number_of_entries_expires_at_once),
		cmocka_unit_test(contents_survive_borrowing_between_blocks),
		cmocka_unit_test(a_growing_list_moves_its_neighbourhood_only),
		cmocka_unit_test(lists_are_copied_out_and_in),
		cmocka_unit_test(damaged_memory_is_noticed_or_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
