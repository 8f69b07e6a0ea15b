/*
 * test_geometry.c: derived sizes and chapter arithmetic have the values of specification 01,
 * section 2, specification 02, section 0, and the product's own table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/engine/geometry.h"
#include "../../src/engine/record.h"
#include "../support/generate.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Geometry of the original: whole pages, 32 bytes a record, no seal. */
static uds_geometry
original(uint32_t page_bytes, uint32_t record_pages, uint32_t chapters, uint32_t sparse)
{
	uds_geometry_parameters parameters = { .page_bytes = page_bytes,
		                                   .index_page_bytes = page_bytes,
		                                   .records_per_page = page_bytes / 32,
		                                   .record_pages = record_pages,
		                                   .chapters = chapters,
		                                   .sparse_chapters = sparse };
	uds_geometry geometry;

	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	return geometry;
}

static uds_geometry
reduced(uint32_t chapters, uint64_t remapped_virtual, uint64_t remapped_physical)
{
	uds_geometry_parameters parameters = { .page_bytes = 4096,
		                                   .index_page_bytes = 4096,
		                                   .records_per_page = 128,
		                                   .record_pages = 16,
		                                   .chapters = chapters,
		                                   .is_reduced = true,
		                                   .remapped_virtual = remapped_virtual,
		                                   .remapped_physical = remapped_physical };
	uds_geometry geometry;

	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	return geometry;
}

static void
bits_is_the_length_of_a_number(void **state)
{
	static const uint32_t rows[][2] = { { 0, 1 },   { 1, 1 },     { 2, 2 },    { 3, 2 },
		                                { 4, 3 },   { 7, 3 },     { 8, 4 },    { 255, 8 },
		                                { 256, 9 }, { 1023, 10 }, { 1024, 11 } };

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(uds_geometry_bits(rows[i][0]), rows[i][1]);
	assert_int_equal(uds_geometry_bits(UINT64_MAX), 64);
}

/* Section 2.3, the worked geometries. */
static void
original_geometries(void **state)
{
	static const struct
	{
		uint32_t record_pages;
		uint32_t chapters;
		uint32_t sparse;
		uint32_t records;
		uint32_t payload_bits;
		uint32_t list_bits;
		uint32_t index_pages;
		uint32_t pages;
		uint64_t volume_records;
		uint64_t volume_bytes;
	} rows[] = {
		{ 64, 1024, 0, 65536, 6, 10, 6, 70, 67108864, 2348843008 },
		{ 128, 1024, 0, 131072, 7, 11, 13, 141, 134217728, 4731207680 },
		{ 192, 1024, 0, 196608, 8, 12, 20, 212, 201326592, 7113572352 },
		{ 256, 1024, 0, 262144, 8, 12, 26, 282, 268435456, 9462382592 },
		{ 256, 2048, 0, 262144, 8, 12, 26, 282, 536870912, 18924732416 },
		{ 256, 10240, 0, 262144, 8, 12, 26, 282, 2684354560, 94623531008 },
		{ 64, 10240, 9728, 65536, 6, 10, 6, 70, 671088640, 23488135168 },
		{ 256, 10240, 9728, 262144, 8, 12, 26, 282, 2684354560, 94623531008 },
		{ 256, 163840, 155648, 262144, 8, 12, 26, 282, 42949672960, 1513976004608 },
		{ 64, 1023, 0, 65536, 6, 10, 6, 70, 67043328, 2346549248 },
		{ 256, 1023, 0, 262144, 8, 12, 26, 282, 268173312, 9453142016 },
		{ 64, 10239, 9728, 65536, 6, 10, 6, 70, 671023104, 23485841408 },
		{ 32, 4, 0, 32768, 5, 9, 3, 35, 131072, 4620288 },
	};

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		uds_geometry geometry =
			original(32768, rows[i].record_pages, rows[i].chapters, rows[i].sparse);
		uds_geometry_parameters parameters = geometry.parameters;

		parameters.is_reduced = parameters.chapters % 2 == 1;
		assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
		assert_int_equal(geometry.records_per_chapter, rows[i].records);
		assert_int_equal(geometry.chapter_payload_bits, rows[i].payload_bits);
		assert_int_equal(geometry.chapter_list_bits, rows[i].list_bits);
		assert_int_equal(geometry.lists_per_chapter, 1u << rows[i].list_bits);
		assert_int_equal(geometry.chapter_address_bits, 22);
		assert_int_equal(geometry.chapter_mean_delta, 65536);
		assert_int_equal(geometry.index_pages, rows[i].index_pages);
		assert_int_equal(geometry.pages_per_chapter, rows[i].pages);
		assert_int_equal(geometry.pages_per_volume, (uint64_t) rows[i].pages * rows[i].chapters);
		assert_int_equal(geometry.records_per_volume, rows[i].volume_records);
		assert_int_equal(geometry.bytes_per_volume, rows[i].volume_bytes);
		assert_int_equal(geometry.dense_chapters + geometry.parameters.sparse_chapters,
		                 rows[i].chapters);
		assert_int_equal(geometry.pages_per_chapter, geometry.index_pages + rows[i].record_pages);
		assert_int_equal(geometry.bytes_per_volume, 32768 * (geometry.pages_per_volume + 1));
	}
}

/* Section 2.3, the small geometries: 10 chapters. */
static void
small_geometries(void **state)
{
	static const uint32_t rows[][8] = {
		/* page, record pages, records, list bits, lists, address, payload, index pages */
		{ 1024, 1, 32, 0, 1, 21, 1, 1 },         { 1024, 2, 64, 0, 1, 22, 1, 1 },
		{ 4096, 4, 512, 3, 8, 22, 2, 1 },        { 4096, 16, 2048, 5, 32, 22, 4, 2 },
		{ 8192, 8, 2048, 5, 32, 22, 3, 1 },      { 32768, 16, 16384, 8, 256, 22, 4, 2 },
		{ 4096, 256, 32768, 9, 512, 22, 8, 28 },
	};

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		uds_geometry geometry = original(rows[i][0], rows[i][1], 10, 0);

		assert_int_equal(geometry.records_per_chapter, rows[i][2]);
		assert_int_equal(geometry.chapter_list_bits, rows[i][3]);
		assert_int_equal(geometry.lists_per_chapter, rows[i][4]);
		assert_int_equal(geometry.chapter_address_bits, rows[i][5]);
		assert_int_equal(geometry.chapter_payload_bits, rows[i][6]);
		assert_int_equal(geometry.index_pages, rows[i][7]);
	}
}

/* DESIGN section 9. */
static void
product_geometries(void **state)
{
	static const uint32_t rows[][5] = {
		/* memory, record pages, chapters, records, index pages */
		{ 4, 64, 128, 8128, 7 },
		{ 64, 128, 1024, 16256, 14 },
		{ 256, 512, 1024, 65024, 57 },
		{ 1024, 2048, 1024, 260096, 244 },
	};
	uds_geometry_parameters parameters;
	uds_geometry geometry;

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		for (int sparse = 0; sparse < 2; sparse++)
		{
			uint32_t chapters = rows[i][2] * (sparse ? 10 : 1);

			assert_int_equal(uds_geometry_parameters_for_memory(&parameters, rows[i][0], sparse),
			                 UDS_OK);
			assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
			assert_int_equal(geometry.parameters.record_pages, rows[i][1]);
			assert_int_equal(geometry.parameters.chapters, chapters);
			assert_int_equal(geometry.records_per_chapter, rows[i][3]);
			assert_int_equal(geometry.index_pages, rows[i][4]);
			assert_int_equal(geometry.parameters.sparse_chapters,
			                 sparse ? chapters / 20 * 19 + chapters % 20 * 19 / 20 : 0);
			assert_int_equal(geometry.parameters.sample_rate, sparse ? 32 : 0);
			/* index and record pages, and the seal */
			assert_int_equal(geometry.pages_per_chapter, rows[i][4] + rows[i][1] + 1);
			assert_int_equal(geometry.bytes_per_volume,
			                 4096 * (1 + (uint64_t) geometry.pages_per_chapter * chapters));
		}
	}
	/* the goal of section 10 */
	assert_int_equal(uds_geometry_parameters_for_memory(&parameters, 256, false), UDS_OK);
	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	assert_true((double) geometry.bytes_per_volume / (double) geometry.records_per_volume < 36.2);
}

static void
every_memory_size_has_a_geometry(void **state)
{
	uds_geometry_parameters parameters;
	uds_geometry geometry;

	(void) state;
	for (uint32_t memory = UDS_MEMORY_MB_MIN; memory <= UDS_MEMORY_MB_MAX; memory += 1 + memory / 7)
	{
		assert_int_equal(uds_geometry_parameters_for_memory(&parameters, memory, memory % 2),
		                 UDS_OK);
		assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
		assert_true(geometry.index_pages < parameters.record_pages);
		assert_true(geometry.records_per_volume <=
		            (uint64_t) memory * (memory % 2 ? 10 : 1) * 2048 * 127);
	}
	assert_int_equal(uds_geometry_parameters_for_memory(&parameters, UDS_MEMORY_MB_MAX, true),
	                 UDS_OK);
	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	assert_int_equal(parameters.chapters, 1024u * 1024 * 10);
	assert_int_equal(parameters.sparse_chapters, 1024u * 1024 * 19 / 2);
	assert_int_equal(uds_geometry_parameters_for_memory(&parameters, 3, false), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_geometry_parameters_for_memory(&parameters, UDS_MEMORY_MB_MAX + 1, false),
	                 UDS_ERR_ARGUMENT);
	assert_int_equal(uds_geometry_parameters_for_memory(&parameters, 0, false), UDS_ERR_ARGUMENT);
}

static void
parameters_out_of_range_are_refused(void **state)
{
	uds_geometry_parameters good = { .page_bytes = 4096,
		                             .index_page_bytes = 4092,
		                             .records_per_page = 127,
		                             .record_pages = 64,
		                             .extra_pages = 1,
		                             .chapters = 128 };
	uds_geometry_parameters bad;
	uds_geometry geometry;

	(void) state;
#define ASSERT_REFUSED(field, value)                                            \
	do                                                                          \
	{                                                                           \
		bad = good;                                                             \
		bad.field = (value);                                                    \
		assert_int_equal(uds_geometry_init(&geometry, &bad), UDS_ERR_ARGUMENT); \
	} while (0)
	assert_int_equal(uds_geometry_init(&geometry, &good), UDS_OK);
	ASSERT_REFUSED(page_bytes, 1023);
	ASSERT_REFUSED(page_bytes, 65537);
	ASSERT_REFUSED(page_bytes, 0);
	ASSERT_REFUSED(index_page_bytes, 4097);
	ASSERT_REFUSED(index_page_bytes, 0);
	/* not even one average list */
	ASSERT_REFUSED(index_page_bytes, 64);
	ASSERT_REFUSED(records_per_page, 0);
	ASSERT_REFUSED(records_per_page, 129);
	ASSERT_REFUSED(record_pages, 0);
	ASSERT_REFUSED(record_pages, 32769);
	ASSERT_REFUSED(record_pages, UINT32_MAX);
	/* more lists than 16 bits can number: 2^22 records */
	ASSERT_REFUSED(record_pages, 32768);
	ASSERT_REFUSED(extra_pages, 2);
	ASSERT_REFUSED(chapters, 0);
	ASSERT_REFUSED(chapters, 1);
	ASSERT_REFUSED(chapters, UINT32_MAX);
	ASSERT_REFUSED(sparse_chapters, 128);
	/* a dense index has no hooks */
	ASSERT_REFUSED(sample_rate, 32);
	good.is_reduced = true;
	good.remapped_physical = 126;
	good.remapped_virtual = (UINT64_C(1) << 39) - 1;
	assert_int_equal(uds_geometry_init(&geometry, &good), UDS_OK);
	/* its place and that of the last chapter of a round */
	ASSERT_REFUSED(remapped_physical, 127);
	ASSERT_REFUSED(remapped_physical, 128);
	ASSERT_REFUSED(remapped_physical, UINT64_MAX);
	ASSERT_REFUSED(remapped_virtual, UINT64_C(1) << 39);
	ASSERT_REFUSED(remapped_virtual, UINT64_MAX);
	ASSERT_REFUSED(chapters, 126);
	good.chapters = 2;
	good.remapped_physical = 0;
	assert_int_equal(uds_geometry_init(&geometry, &good), UDS_OK);
	ASSERT_REFUSED(remapped_physical, 1);
#undef ASSERT_REFUSED
}

/* TV-0a. */
static void
pages_of_chapters(void **state)
{
	uds_geometry geometry = original(32768, 64, 1024, 0);
	uds_geometry_parameters parameters;

	(void) state;
	assert_int_equal(uds_geometry_chapter_page(&geometry, 5) + 10, 361);
	assert_int_equal(10 - geometry.index_pages, 4);
	assert_int_equal(uds_geometry_chapter_page(&geometry, 0), 1);
	assert_int_equal(geometry.bytes_per_volume, UINT64_C(32768) * 71681);
	assert_int_equal(uds_geometry_chapter_page(&geometry, 1024), geometry.pages_per_volume + 1);
	assert_int_equal(uds_geometry_unused_bytes(&geometry), 0);
	/* pages are numbered in 64 bits */
	assert_int_equal(uds_geometry_parameters_for_memory(&parameters, UDS_MEMORY_MB_MAX, true),
	                 UDS_OK);
	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	assert_true(uds_geometry_chapter_page(&geometry, parameters.chapters - 1) > UINT32_MAX);
	assert_int_equal(uds_geometry_chapter_page(&geometry, parameters.chapters),
	                 geometry.pages_per_volume + 1);
}

/* Pages stay where they are when the first place is given up. */
static void
pages_of_chapters_of_a_reduced_volume(void **state)
{
	uds_geometry whole = original(32768, 64, 1024, 0);
	uds_geometry_parameters parameters = whole.parameters;
	uds_geometry geometry;

	(void) state;
	(void) uds_geometry_reduce(&parameters, 5000);
	assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
	for (uint32_t place = 0; place < parameters.chapters; place++)
		assert_int_equal(uds_geometry_chapter_page(&geometry, place),
		                 uds_geometry_chapter_page(&whole, place + 1));
	assert_int_equal(geometry.bytes_per_volume + uds_geometry_unused_bytes(&geometry),
	                 whole.bytes_per_volume);
	for (int i = 0; i < 2; i++)
	{
		parameters = uds_geometry_whole(&parameters);
		assert_int_equal(parameters.chapters, 1024);
		assert_false(parameters.is_reduced);
		assert_int_equal(parameters.remapped_virtual, 0);
		assert_int_equal(parameters.remapped_physical, 0);
		assert_int_equal(parameters.record_pages, 64);
	}
}

/* The names and fields of section 1. */
static void
fields_of_names(void **state)
{
	static const struct
	{
		uint8_t bytes[16];
		uint64_t volume;
		uint64_t chapter;
		uint32_t sampling;
		uint32_t address;
		uint32_t lists[3]; /* 256, 512 MB, 1 GB */
	} rows[] = {
		{ { 0x00,
		    0x11,
		    0x22,
		    0x33,
		    0x44,
		    0x55,
		    0x66,
		    0x77,
		    0x88,
		    0x99,
		    0xaa,
		    0xbb,
		    0xcc,
		    0xdd,
		    0xee,
		    0xff },
		  0x0011223344556677,
		  0x8899aabbccdd,
		  0xeeff,
		  3919069,
		  { 682, 1706, 1706 } },
		{ { 0x6f,
		    0xfe,
		    0xfd,
		    0x64,
		    0x49,
		    0x66,
		    0x2b,
		    0xab,
		    0xc8,
		    0xb3,
		    0xe1,
		    0xe2,
		    0xaa,
		    0x46,
		    0x8c,
		    0xee },
		  0x6ffefd6449662bab,
		  0xc8b3e1e2aa46,
		  0x8cee,
		  2271814,
		  { 903, 1927, 3975 } },
		{ { 0xb3,
		    0xc7,
		    0xc5,
		    0xf7,
		    0x46,
		    0x11,
		    0x82,
		    0x17,
		    0x2c,
		    0xf1,
		    0x86,
		    0x1e,
		    0xd9,
		    0x48,
		    0x13,
		    0x42 },
		  0xb3c7c5f746118217,
		  0x2cf1861ed948,
		  0x1342,
		  2021704,
		  { 536, 1560, 1560 } },
	};
	static const uint32_t record_pages[3] = { 64, 128, 256 };

	(void) state;
	for (size_t i = 0; i < COUNT(rows); i++)
	{
		uds_name name;
		uds_name built = uds_generate_name(rows[i].volume, rows[i].chapter, rows[i].sampling);

		memcpy(name.bytes, rows[i].bytes, sizeof(name.bytes));
		assert_true(uds_name_equals(&name, &built));
		assert_int_equal(uds_name_volume_field(&name), rows[i].volume);
		assert_int_equal(uds_name_chapter_field(&name), rows[i].chapter);
		assert_int_equal(uds_name_sampling_field(&name), rows[i].sampling);
		for (size_t j = 0; j < 3; j++)
		{
			uds_geometry geometry = original(32768, record_pages[j], 1024, 0);

			assert_int_equal(uds_geometry_chapter_address(&geometry, rows[i].chapter),
			                 rows[i].address);
			assert_int_equal(uds_geometry_chapter_list(&geometry, rows[i].chapter),
			                 rows[i].lists[j]);
		}
		if (i > 0)
		{
			built = uds_generate_counter_name(i - 1);
			assert_true(uds_name_equals(&name, &built));
		}
		/* one field set leaves the others */
		uds_generate_set_chapter_field(&built, 1);
		assert_int_equal(uds_name_volume_field(&built), rows[i].volume);
		assert_int_equal(uds_name_sampling_field(&built), rows[i].sampling);
		assert_int_equal(uds_name_chapter_field(&built), 1);
	}
}

static void
chapters_of_a_plain_volume(void **state)
{
	uds_geometry geometry = original(4096, 16, 10, 0);

	(void) state;
	for (uint64_t v = 0; v < 100; v++)
	{
		assert_int_equal(uds_geometry_physical_chapter(&geometry, v), v % 10);
		assert_int_equal(uds_geometry_expire(&geometry, v), v >= 10);
		assert_int_equal(uds_geometry_oldest(&geometry, v), v < 10 ? 0 : v - 9);
	}
	assert_int_equal(uds_geometry_physical_chapter(&geometry, UINT64_MAX), 5);
}

/* That a volume was converted is a flag: an odd number of chapters means nothing. */
static void
odd_numbers_of_chapters_are_plain(void **state)
{
	(void) state;
	for (uint32_t chapters = 3; chapters < 40; chapters += 2)
	{
		uds_geometry geometry = original(4096, 16, chapters, 0);
		uds_geometry converted = reduced(chapters + 1, 20, 2);

		for (uint64_t v = 0; v < 200; v++)
		{
			assert_int_equal(uds_geometry_physical_chapter(&geometry, v), v % chapters);
			assert_int_equal(uds_geometry_expire(&geometry, v), v >= chapters);
		}
		assert_int_equal(uds_geometry_physical_chapter(&converted, 20), 2);
		assert_int_equal(uds_geometry_physical_chapter(&converted, 21), 0);
	}
}

/* N = 9, rv = 20, rp = 4. */
static void
chapters_of_a_converted_volume(void **state)
{
	static const uint32_t slots[] = { 1, 2, 3, 4, 5, 6, 7, 8, 4, 0, 1, 2, 3, 5,
		                              6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0 };
	uds_geometry geometry = reduced(9, 20, 4);
	uint64_t oldest = 17;

	(void) state;
	for (uint64_t v = 12; v <= 38; v++)
		assert_int_equal(uds_geometry_physical_chapter(&geometry, v), slots[v - 12]);
	/* Of 8..11 any answer will do: these go on with the period, where the original gives 0. */
	for (uint64_t v = 0; v <= 11; v++)
		assert_int_equal(uds_geometry_physical_chapter(&geometry, v), (v + 9 - 11 % 9) % 9);
	for (uint64_t newest = 0; newest <= 34; newest++)
	{
		uint32_t expected = newest < 9 ? 0 : newest == 29 ? 2 : newest == 33 ? 0 : 1;

		assert_int_equal(uds_geometry_expire(&geometry, newest), expected);
	}
	for (uint64_t newest = 26; newest <= 60; newest++)
	{
		oldest += uds_geometry_expire(&geometry, newest);
		assert_int_equal(newest - oldest + 1, newest >= 29 && newest <= 32 ? 8 : 9);
		assert_int_equal(uds_geometry_oldest(&geometry, newest), oldest);
	}
	assert_int_equal(uds_geometry_oldest(&geometry, 25), 17);
	assert_int_equal(uds_geometry_oldest(&geometry, 29), 22);
	assert_int_equal(uds_geometry_oldest(&geometry, 32), 25);
	assert_int_equal(uds_geometry_oldest(&geometry, 33), 25);
	assert_int_equal(uds_geometry_oldest(&geometry, 8), 0);
}

/* TV-0b: C = 9, rv = 10, rp = 3. */
static void
chapters_of_another_converted_volume(void **state)
{
	static const uint32_t slots[] = { 4, 5, 6, 7, 8, 3, 0, 1, 2, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4 };
	static const uint32_t expired[] = { 1, 2, 1, 1, 0, 1 };
	uds_geometry geometry = reduced(9, 10, 3);

	(void) state;
	for (uint64_t v = 5; v <= 23; v++)
		assert_int_equal(uds_geometry_physical_chapter(&geometry, v), slots[v - 5]);
	for (uint64_t newest = 18; newest <= 23; newest++)
	{
		assert_int_equal(uds_geometry_expire(&geometry, newest), expired[newest - 18]);
		assert_int_equal(uds_geometry_oldest(&geometry, newest) -
		                     uds_geometry_oldest(&geometry, newest - 1),
		                 expired[newest - 18]);
	}
}

/* Created reduced, never converted: as a plain volume. */
static void
chapters_of_a_volume_created_reduced(void **state)
{
	uds_geometry geometry = reduced(9, 0, 0);

	(void) state;
	for (uint64_t v = 0; v < 100; v++)
	{
		assert_int_equal(uds_geometry_physical_chapter(&geometry, v), v % 9);
		assert_int_equal(uds_geometry_expire(&geometry, v), v >= 9);
		assert_int_equal(uds_geometry_oldest(&geometry, v), v < 9 ? 0 : v - 8);
	}
}

/*
 * Play the open chapter of a reduced volume forward: oldest and expire agree, and no two chapters
 * of the window share a place.
 */
static void
play(const uds_geometry *geometry, uint64_t newest, uint64_t end)
{
	uint32_t chapters = geometry->parameters.chapters;
	uint64_t *owner = calloc(chapters, sizeof(*owner));
	uint64_t oldest = uds_geometry_oldest(geometry, newest);

	for (;; oldest += uds_geometry_expire(geometry, newest))
	{
		/* Before the conversion the window may be shorter. */
		if (newest <=
		    geometry->parameters.remapped_virtual + geometry->parameters.remapped_physical)
		{
			assert_true(uds_geometry_oldest(geometry, newest) + 1 >= oldest);
			oldest = uds_geometry_oldest(geometry, newest);
		}
		else
			assert_true(newest < chapters || newest - oldest + 2 >= chapters);
		assert_int_equal(uds_geometry_oldest(geometry, newest), oldest);
		assert_true(newest - oldest < chapters);
		memset(owner, 0, chapters * sizeof(*owner));
		for (uint64_t v = oldest; v <= newest; v++)
		{
			uint32_t place = uds_geometry_physical_chapter(geometry, v);

			if (place >= chapters || owner[place] != 0)
				fail_msg("%u chapters, moved %lu to %lu: chapter %lu has place %u, newest %lu",
				         chapters,
				         (unsigned long) geometry->parameters.remapped_virtual,
				         (unsigned long) geometry->parameters.remapped_physical,
				         (unsigned long) v,
				         place,
				         (unsigned long) newest);
			owner[place] = v + 1;
		}
		if (newest++ == end)
			break;
	}
	free(owner);
}

/*
 * Every conversion of small volumes: what stays in the window stays on its pages, but for the chapter
 * that moves, which takes a place that held nothing of the old window.
 */
static void
conversions_leave_chapters_where_they_are(void **state)
{
	(void) state;
	for (uint32_t chapters = 3; chapters <= 12; chapters++)
	{
		uds_geometry whole = original(4096, 16, chapters, 0);

		for (uint64_t newest = 0; newest <= 5 * chapters; newest++)
		{
			uds_geometry_parameters parameters = whole.parameters;
			bool must_move = uds_geometry_reduce(&parameters, newest);
			uint64_t moved = parameters.remapped_virtual;
			uds_geometry geometry;
			uint64_t oldest;

			assert_int_equal(uds_geometry_init(&geometry, &parameters), UDS_OK);
			assert_int_equal(parameters.chapters, chapters - 1);
			oldest = uds_geometry_oldest(&geometry, newest);
			assert_int_equal(oldest, newest >= chapters - 1 ? newest - chapters + 2 : 0);
			assert_int_equal(must_move,
			                 newest % chapters != 0 && newest % chapters != chapters - 1);
			for (uint64_t v = oldest; v < newest; v++)
			{
				uint32_t before = uds_geometry_physical_chapter(&whole, v);
				uint32_t after = uds_geometry_physical_chapter(&geometry, v);

				assert_true(before != 0 || (must_move && v == moved));
				assert_int_equal(after + 1, v == moved && must_move ? newest % chapters : before);
			}
			assert_true(!must_move || (moved >= oldest && moved < newest &&
			                           uds_geometry_physical_chapter(&whole, moved) == 0));
			play(&geometry, newest, newest + 5 * chapters);
			/* All chapters may be lost. */
			play(&geometry, 0, newest);
		}
	}
}

/* The same for the vectors, and for all places a chapter can be moved to. */
static void
windows_of_reduced_volumes_fit(void **state)
{
	uds_geometry vectors[2] = { reduced(9, 20, 4), reduced(9, 10, 3) };

	(void) state;
	play(&vectors[0], 25, 100);
	play(&vectors[1], 14, 100);
	for (uint32_t chapters = 2; chapters <= 11; chapters++)
	{
		for (uint64_t moved = 0; moved <= 3 * chapters; moved++)
		{
			for (uint64_t place = 0; place == 0 || place + 1 < chapters; place++)
			{
				uds_geometry geometry = reduced(chapters, moved, place);

				play(&geometry, 0, moved + 6 * chapters);
			}
		}
	}
}

static void
live_chapters_of_converted_volumes_never_share_a_place(void **state)
{
	uint64_t *owner = calloc(400, sizeof(*owner));
	uds_random random;

	(void) state;
	uds_random_init(&random, uds_random_seed(91));
	for (int round = 0; round < 200; round++)
	{
		uint32_t n = 5 + 2 * (uint32_t) uds_random_below(&random, 40);
		uint64_t rv = n + uds_random_below(&random, 1000);
		uint64_t rp = uds_random_range(&random, 1, n - 2);
		uint64_t newest = rv + rp + 1;
		uint64_t oldest = newest - n + 1;
		uds_geometry geometry = reduced(n, rv, rp);

		for (uint64_t end = newest + 5 * n; newest < end;)
		{
			memset(owner, 0, 400 * sizeof(*owner));
			for (uint64_t v = oldest; v <= newest; v++)
			{
				uint32_t slot = uds_geometry_physical_chapter(&geometry, v);

				if (slot >= n || owner[slot] != 0)
					fail_msg("chapter %lu slot %u of %u seed %lu",
					         (unsigned long) v,
					         slot,
					         n,
					         (unsigned long) random.seed);
				owner[slot] = v + 1;
			}
			newest++;
			oldest += uds_geometry_expire(&geometry, newest);
			assert_true(newest - oldest + 1 <= n);
			assert_true(newest - oldest + 1 >= n - 1);
		}
	}
	free(owner);
}

/* Section 2.5: all windows of a volume of 10 chapters, dense and with 5 sparse. */
static void
sparse_chapters_are_the_oldest(void **state)
{
	(void) state;
	for (uint32_t sparse = 0; sparse <= 5; sparse += 5)
	{
		uds_geometry geometry = original(4096, 16, 10, sparse);

		for (uint64_t oldest = 0; oldest < 10; oldest++)
		{
			for (uint64_t newest = oldest; newest < 10; newest++)
			{
				bool has_sparse = sparse == 5 && newest - oldest >= 5;

				assert_int_equal(uds_geometry_has_sparse(&geometry, oldest, newest), has_sparse);
				for (uint64_t v = oldest; v <= newest; v++)
					assert_int_equal(uds_geometry_is_sparse(&geometry, oldest, newest, v),
					                 has_sparse && newest - v >= 5);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_is_the_length_of_a_number),
		cmocka_unit_test(original_geometries),
		cmocka_unit_test(small_geometries),
		cmocka_unit_test(product_geometries),
		cmocka_unit_test(every_memory_size_has_a_geometry),
		cmocka_unit_test(parameters_out_of_range_are_refused),
		cmocka_unit_test(pages_of_chapters),
		cmocka_unit_test(pages_of_chapters_of_a_reduced_volume),
		cmocka_unit_test(fields_of_names),
		cmocka_unit_test(chapters_of_a_plain_volume),
		cmocka_unit_test(odd_numbers_of_chapters_are_plain),
		cmocka_unit_test(chapters_of_a_converted_volume),
		cmocka_unit_test(chapters_of_another_converted_volume),
		cmocka_unit_test(chapters_of_a_volume_created_reduced),
		cmocka_unit_test(conversions_leave_chapters_where_they_are),
		cmocka_unit_test(windows_of_reduced_volumes_fit),
		cmocka_unit_test(live_chapters_of_converted_volumes_never_share_a_place),
		cmocka_unit_test(sparse_chapters_are_the_oldest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
