/*
 * test_volume_index.c: both structures behind the interface of the volume index hold their names in
 * the right zones, and come back from the parts of a save with any other number of zones, each name
 * with the boundary of its part.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/volume_index.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

#define NAMES    12000
#define CHAPTERS 16

static const uint32_t zone_counts[] = { 1, 2, 3, 5, 16 };
#define ZONE_COUNTS (sizeof(zone_counts) / sizeof(zone_counts[0]))

/* An index in memory of its own. */
typedef struct holder
{
	uds_volume_index index;
	void *memory;
} holder;

static uds_geometry
make_geometry(void)
{
	uds_config config = engine_config(8, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
	uds_geometry geometry;

	assert_int_equal(uds_geometry_init(&geometry, &config.geometry), UDS_OK);
	return geometry;
}

static void
hold(holder *holder, uds_index_structure structure, uint32_t zone_count)
{
	uds_geometry geometry = make_geometry();
	size_t bytes = uds_volume_index_size(&geometry, structure, zone_count);

	assert_true(bytes > 0);
	assert_int_equal(bytes % UDS_CACHE_LINE, 0);
	holder->memory = aligned_alloc(UDS_CACHE_LINE, bytes);
	memset(holder->memory, 0x5a, bytes);
	assert_int_equal(uds_volume_index_init(&holder->index,
	                                       holder->memory,
	                                       &geometry,
	                                       structure,
	                                       zone_count,
	                                       false),
	                 UDS_OK);
}

static void
let_go(holder *holder)
{
	free(holder->memory);
}

static void
set_windows(uds_volume_index *index, uint64_t oldest, uint64_t newest)
{
	for (uint32_t i = 0; i < index->zone_count; i++)
		assert_int_equal(uds_volume_index_set_window(index, i, oldest, newest), UDS_OK);
}

/* Chapter of name number i: the names fill one chapter after the other. */
static uint64_t
chapter_of(uint32_t i)
{
	return i / 1000;
}

/* Put all names; every third is moved to the newest chapter. */
static void
fill(uds_volume_index *index)
{
	uds_index_entry entry;

	for (uint32_t i = 0; i < NAMES; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		set_windows(index, 0, chapter_of(i));
		uds_volume_index_prefetch(index, &name);
		assert_int_equal(uds_volume_index_get(index, &name, &entry), UDS_OK);
		assert_int_equal(uds_volume_index_put(index, &entry, chapter_of(i)), UDS_OK);
	}
	for (uint32_t i = 0; i < NAMES; i += 3)
	{
		uds_name name = uds_generate_counter_name(i);

		assert_int_equal(uds_volume_index_get(index, &name, &entry), UDS_OK);
		assert_int_not_equal(entry.kind, UDS_ENTRY_NONE);
		assert_int_equal(uds_volume_index_move(index, &entry, chapter_of(NAMES - 1)), UDS_OK);
	}
}

/* Every name leads to its chapter, but those that share their address with another one. */
static void
check_contents(uds_volume_index *index, uint64_t oldest)
{
	uint32_t other = 0;
	uint64_t records = 0;

	for (uint32_t i = 0; i < NAMES; i++)
	{
		uint64_t chapter = i % 3 == 0 ? chapter_of(NAMES - 1) : chapter_of(i);
		uds_name name = uds_generate_counter_name(i);
		uds_index_entry entry;

		assert_int_equal(uds_volume_index_get(index, &name, &entry), UDS_OK);
		if (chapter < oldest)
			other += entry.kind != UDS_ENTRY_NONE;
		else if (entry.kind == UDS_ENTRY_NONE || entry.chapter != chapter)
			other++;
		assert_true(entry.kind == UDS_ENTRY_NONE || entry.chapter >= oldest);
	}
	assert_true(other < NAMES / 200);
	for (uint32_t zone = 0; zone < index->zone_count; zone++)
	{
		uds_index_counters counters;

		uds_volume_index_counters(index, zone, &counters);
		assert_int_equal(uds_volume_index_check(index, zone), UDS_OK);
		assert_int_equal(counters.lost, 0);
		assert_int_equal(counters.overflows, 0);
		records += counters.records;
	}
	if (oldest == 0)
		assert_int_equal(records, NAMES);
}

static void
sizes_and_parameters_are_checked(void **state)
{
	uds_geometry geometry = make_geometry();

	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		assert_int_equal(uds_volume_index_size(&geometry, structure, 0), 0);
		assert_int_equal(uds_volume_index_size(&geometry, structure, UDS_ZONES_MAX + 1), 0);
		assert_true(uds_volume_index_size(&geometry, structure, UDS_ZONES_MAX) >=
		            uds_volume_index_size(&geometry, structure, 1));
	}
}

static void
names_lead_to_their_chapters(void **state)
{
	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		for (uint32_t i = 0; i < ZONE_COUNTS; i++)
		{
			holder holder;

			hold(&holder, structure, zone_counts[i]);
			fill(&holder.index);
			check_contents(&holder.index, 0);
			set_windows(&holder.index, 6, 12);
			check_contents(&holder.index, 6);
			let_go(&holder);
		}
	}
}

static void
misuse_is_refused(void **state)
{
	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		uds_name name = uds_generate_counter_name(1);
		uds_index_entry entry;
		holder holder;

		hold(&holder, structure, 2);
		set_windows(&holder.index, 0, 3);
		assert_int_equal(uds_volume_index_get(&holder.index, &name, &entry), UDS_OK);
		assert_int_equal(entry.kind, UDS_ENTRY_NONE);
		assert_int_equal(uds_volume_index_move(&holder.index, &entry, 3), UDS_ERR_BAD_STATE);
		assert_int_equal(uds_volume_index_put(&holder.index, &entry, 2), UDS_ERR_ARGUMENT);
		assert_int_equal(uds_volume_index_put(&holder.index, &entry, 3), UDS_OK);
		/* Windows do not go back, and are not longer than the index. */
		assert_int_equal(uds_volume_index_set_window(&holder.index, 0, 0, 2), UDS_ERR_ARGUMENT);
		assert_int_equal(uds_volume_index_set_window(&holder.index, 0, 0, CHAPTERS),
		                 UDS_ERR_ARGUMENT);
		assert_int_equal(uds_volume_index_set_window(&holder.index, 0, 1, CHAPTERS), UDS_OK);
		let_go(&holder);
	}
}

/* Save all parts, each with a boundary of its own. */
static void
save_parts(const uds_volume_index *index, uds_memory_stream *stream)
{
	for (uint32_t zone = 0; zone < index->zone_count; zone++)
		assert_int_equal(uds_volume_index_save(index, zone, 100 + zone, &stream->stream), UDS_OK);
}

static uds_status
load_parts(uds_volume_index *index, uint32_t parts, uds_memory_stream *stream)
{
	uds_status status = UDS_OK;

	for (uint32_t part = 0; part < parts && status == UDS_OK; part++)
		status = uds_volume_index_load(index, &stream->stream);
	return status;
}

static void
parts_are_loaded_with_any_number_of_zones_of(uds_index_structure structure, uint32_t from)
{
	uds_memory_stream stream;
	holder saved;

	hold(&saved, structure, zone_counts[from]);
	fill(&saved.index);
	uds_memory_stream_init(&stream);
	save_parts(&saved.index, &stream);
	for (uint32_t to = 0; to < ZONE_COUNTS; to++)
	{
		uds_name name = uds_generate_counter_name(0);
		holder loaded;

		hold(&loaded, structure, zone_counts[to]);
		assert_int_equal(uds_volume_index_boundary(&loaded.index, &name), 0);
		uds_memory_stream_rewind(&stream);
		assert_int_equal(load_parts(&loaded.index, zone_counts[from], &stream), UDS_OK);
		assert_int_equal(stream.position, stream.bytes);
		check_contents(&loaded.index, 0);
		for (uint32_t i = 0; i < NAMES; i += 11)
		{
			name = uds_generate_counter_name(i);
			assert_int_equal(uds_volume_index_boundary(&loaded.index, &name),
			                 100 + uds_volume_index_zone(&saved.index, &name));
		}
		/* It goes on where the saved one stood. */
		set_windows(&loaded.index, 6, 13);
		check_contents(&loaded.index, 6);
		let_go(&loaded);
	}
	uds_memory_stream_free(&stream);
	let_go(&saved);
}

static void
parts_are_loaded_with_any_number_of_zones(void **state)
{
	(void) state;
	for (uint32_t from = 0; from < ZONE_COUNTS; from++)
	{
		parts_are_loaded_with_any_number_of_zones_of(UDS_STRUCTURE_BUCKETS, from);
		parts_are_loaded_with_any_number_of_zones_of(UDS_STRUCTURE_LISTS, from);
	}
}

static void
parts_in_a_wrong_order_are_refused(void **state)
{
	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		uds_memory_stream stream;
		holder saved;
		holder loaded;

		hold(&saved, structure, 3);
		fill(&saved.index);
		uds_memory_stream_init(&stream);
		/* The first part is not the first. */
		assert_int_equal(uds_volume_index_save(&saved.index, 1, 9, &stream.stream), UDS_OK);
		hold(&loaded, structure, 2);
		assert_int_equal(load_parts(&loaded.index, 1, &stream), UDS_ERR_CORRUPT);
		let_go(&loaded);
		/* One comes twice, or after its successor. */
		for (uint32_t second = 0; second < 2; second++)
		{
			uds_memory_stream_clear(&stream);
			assert_int_equal(uds_volume_index_save(&saved.index, 0, 9, &stream.stream), UDS_OK);
			assert_int_equal(uds_volume_index_save(&saved.index, 2, 9, &stream.stream), UDS_OK);
			assert_int_equal(uds_volume_index_save(&saved.index,
			                                       second == 0 ? 2 : 1,
			                                       9,
			                                       &stream.stream),
			                 UDS_OK);
			uds_memory_stream_rewind(&stream);
			hold(&loaded, structure, 2);
			assert_int_equal(load_parts(&loaded.index, 2, &stream), UDS_OK);
			assert_int_equal(uds_volume_index_load(&loaded.index, &stream.stream), UDS_ERR_CORRUPT);
			let_go(&loaded);
		}
		uds_memory_stream_free(&stream);
		let_go(&saved);
	}
}

/* A part that breaks off leaves an index that is empty and can be used, or was not touched. */
static void
short_parts_are_refused(void **state)
{
	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		uds_memory_stream stream;
		holder saved;
		holder loaded;

		hold(&saved, structure, 1);
		fill(&saved.index);
		uds_memory_stream_init(&stream);
		save_parts(&saved.index, &stream);
		hold(&loaded, structure, 2);
		for (size_t limit = 0; limit < stream.bytes; limit += stream.bytes / 60 + 1)
		{
			uds_name name = uds_generate_counter_name(5);

			uds_memory_stream_rewind(&stream);
			stream.limit = limit;
			assert_int_equal(load_parts(&loaded.index, 1, &stream), UDS_ERR_CORRUPT);
			assert_int_equal(uds_volume_index_boundary(&loaded.index, &name), 0);
			for (uint32_t zone = 0; zone < 2; zone++)
			{
				uds_index_counters counters;

				assert_int_equal(uds_volume_index_check(&loaded.index, zone), UDS_OK);
				uds_volume_index_counters(&loaded.index, zone, &counters);
				assert_int_equal(counters.records, 0);
			}
		}
		stream.limit = SIZE_MAX;
		uds_memory_stream_rewind(&stream);
		assert_int_equal(load_parts(&loaded.index, 1, &stream), UDS_OK);
		check_contents(&loaded.index, 0);
		uds_memory_stream_free(&stream);
		let_go(&loaded);
		let_go(&saved);
	}
}

/* Bits of a part flip: it is refused, or loads as something that can be used. */
static void
damaged_parts_break_nothing(void **state)
{
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(17));
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		uds_memory_stream stream;
		uds_memory_stream damaged;
		holder saved;

		hold(&saved, structure, 1);
		fill(&saved.index);
		uds_memory_stream_init(&stream);
		uds_memory_stream_init(&damaged);
		save_parts(&saved.index, &stream);
		for (uint32_t i = 0; i < 60; i++)
		{
			holder loaded;
			uint32_t flips = (uint32_t) uds_random_range(&random, 1, 6);
			/* Half of them at the beginning, where the header is. */
			size_t bytes = i % 2 == 0 ? 200 : stream.bytes;

			uds_memory_stream_clear(&damaged);
			assert_int_equal(uds_stream_write(&damaged.stream, stream.data, stream.bytes), UDS_OK);
			for (uint32_t j = 0; j < flips; j++)
				damaged.data[uds_random_below(&random, bytes)] ^=
					(uint8_t) (1u << uds_random_below(&random, 8));
			uds_memory_stream_rewind(&damaged);
			hold(&loaded, structure, 1 + i % 3);
			if (load_parts(&loaded.index, 1, &damaged) == UDS_OK)
			{
				for (uint32_t name_number = 0; name_number < NAMES; name_number += 5)
				{
					uds_name name = uds_generate_counter_name(name_number);
					uds_index_entry entry;

					if (uds_volume_index_get(&loaded.index, &name, &entry) == UDS_OK)
						assert_in_range(entry.kind, UDS_ENTRY_NONE, UDS_ENTRY_EXACT);
				}
			}
			for (uint32_t zone = 0; zone < loaded.index.zone_count; zone++)
			{
				if (uds_volume_index_check(&loaded.index, zone) != UDS_OK)
					fail_msg("seed %llu: a damaged part was taken",
					         (unsigned long long) random.seed);
			}
			let_go(&loaded);
		}
		uds_memory_stream_free(&stream);
		uds_memory_stream_free(&damaged);
		let_go(&saved);
	}
}

static void
errors_of_the_stream_are_passed_on(void **state)
{
	(void) state;
	for (uds_index_structure structure = 0; structure < 2; structure++)
	{
		uds_memory_stream stream;
		holder saved;

		hold(&saved, structure, 1);
		fill(&saved.index);
		uds_memory_stream_init(&stream);
		stream.write_limit = 10;
		assert_int_equal(uds_volume_index_save(&saved.index, 0, 1, &stream.stream),
		                 UDS_ERR_NO_SPACE);
		stream.write_limit = 5000;
		assert_int_equal(uds_volume_index_save(&saved.index, 0, 1, &stream.stream),
		                 UDS_ERR_NO_SPACE);
		check_contents(&saved.index, 0);
		uds_memory_stream_free(&stream);
		let_go(&saved);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_and_parameters_are_checked),
		cmocka_unit_test(names_lead_to_their_chapters),
		cmocka_unit_test(misuse_is_refused),
		cmocka_unit_test(parts_are_loaded_with_any_number_of_zones),
		cmocka_unit_test(parts_in_a_wrong_order_are_refused),
		cmocka_unit_test(short_parts_are_refused),
		cmocka_unit_test(damaged_parts_break_nothing),
		cmocka_unit_test(errors_of_the_stream_are_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
