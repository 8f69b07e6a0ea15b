/*
 * page_map.c: which list of a chapter index lies on which index page.
 *
 * Saved form: magic (8 bytes), chapters, boundaries, lists and 0 (u32 each), then all rows.
 */
#include "page_map.h"

#include <string.h>

#define SAVE_MAGIC    "UDSMAP01"
#define SAVE_ROW_PART 1024 /* entries that are moved at a time */

typedef struct page_map_save_header
{
	char magic[8];
	uint32_t chapters;
	uint32_t boundaries;
	uint32_t lists;
	uint32_t reserved;
} page_map_save_header;

_Static_assert(sizeof(page_map_save_header) == 24, "saved as raw bytes");
_Static_assert(sizeof(_Atomic uint16_t) == 2, "rows are an array of u16");

static inline uint64_t
entry_count(const uds_page_map *map)
{
	return (uint64_t) map->chapters * map->boundaries;
}

static inline uint32_t
read_entry(const uds_page_map *map, uint64_t entry)
{
	return atomic_load_explicit(&map->rows[entry], memory_order_relaxed);
}

static inline void
write_entry(uds_page_map *map, uint64_t entry, uint16_t last_list)
{
	atomic_store_explicit(&map->rows[entry], last_list, memory_order_relaxed);
}

static void
clear_rows(uds_page_map *map)
{
	for (uint64_t entry = 0; entry < entry_count(map); entry++)
		write_entry(map, entry, 0);
}

size_t
uds_page_map_size(const uds_geometry *geometry)
{
	size_t entries = (size_t) geometry->parameters.chapters * (geometry->index_pages - 1);

	return UDS_ALIGN(sizeof(uds_page_map) + entries * sizeof(uint16_t), UDS_CACHE_LINE);
}

void
uds_page_map_init(uds_page_map *map, const uds_geometry *geometry)
{
	map->chapters = geometry->parameters.chapters;
	map->boundaries = geometry->index_pages - 1;
	map->lists = geometry->lists_per_chapter;
	map->reserved = 0;
	clear_rows(map);
}

void
uds_page_map_update(uds_page_map *map, uint32_t physical_chapter, uint32_t page, uint16_t last_list)
{
	UDS_ASSERT(physical_chapter < map->chapters && page <= map->boundaries &&
	           last_list < map->lists);
	if (page < map->boundaries)
		write_entry(map, (uint64_t) physical_chapter * map->boundaries + page, last_list);
}

uint32_t
uds_page_map_find(const uds_page_map *map, uint32_t physical_chapter, uint32_t list)
{
	uint64_t row = (uint64_t) physical_chapter * map->boundaries;
	uint32_t low = 0;
	uint32_t high = map->boundaries;

	UDS_ASSERT(physical_chapter < map->chapters);
	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (read_entry(map, row + middle) < list)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void
uds_page_map_bounds(const uds_page_map *map, uint32_t physical_chapter, uint32_t page,
                    uint32_t *lowest, uint32_t *highest)
{
	uint64_t row = (uint64_t) physical_chapter * map->boundaries;

	UDS_ASSERT(physical_chapter < map->chapters && page <= map->boundaries);
	*lowest = page == 0 ? 0 : read_entry(map, row + page - 1) + 1;
	*highest = page == map->boundaries ? map->lists - 1 : read_entry(map, row + page);
}

uds_status
uds_page_map_save(const uds_page_map *map, uds_stream *stream)
{
	uint64_t entries = entry_count(map);
	page_map_save_header header = {
		.chapters = map->chapters,
		.boundaries = map->boundaries,
		.lists = map->lists,
	};
	uds_status status;

	memcpy(header.magic, SAVE_MAGIC, sizeof(header.magic));
	status = uds_stream_write(stream, &header, sizeof(header));
	for (uint64_t done = 0; done < entries && status == UDS_OK; done += SAVE_ROW_PART)
	{
		uint16_t part[SAVE_ROW_PART];
		uint32_t count = (uint32_t) UDS_MIN(entries - done, (uint64_t) SAVE_ROW_PART);

		for (uint32_t i = 0; i < count; i++)
			part[i] = (uint16_t) read_entry(map, done + i);
		status = uds_stream_write(stream, part, count * sizeof(part[0]));
	}
	return status;
}

/* Read and check all rows. */
static uds_status
load_rows(uds_page_map *map, uds_stream *stream)
{
	uint64_t entries = entry_count(map);
	uint16_t previous = 0;

	for (uint64_t done = 0; done < entries; done += SAVE_ROW_PART)
	{
		uint16_t part[SAVE_ROW_PART];
		uint32_t count = (uint32_t) UDS_MIN(entries - done, (uint64_t) SAVE_ROW_PART);
		uds_status status = uds_stream_read(stream, part, count * sizeof(part[0]));

		if (status != UDS_OK)
			return status;
		for (uint32_t i = 0; i < count; i++)
		{
			if ((done + i) % map->boundaries == 0)
				previous = 0;
			if (part[i] < previous || part[i] >= map->lists)
				return UDS_ERR_CORRUPT;
			previous = part[i];
			write_entry(map, done + i, part[i]);
		}
	}
	return UDS_OK;
}

uds_status
uds_page_map_load(uds_page_map *map, uds_stream *stream)
{
	page_map_save_header header;
	uds_status status = uds_stream_read(stream, &header, sizeof(header));

	if (status == UDS_OK &&
	    (memcmp(header.magic, SAVE_MAGIC, sizeof(header.magic)) != 0 ||
	     header.chapters != map->chapters || header.boundaries != map->boundaries ||
	     header.lists != map->lists || header.reserved != 0))
		status = UDS_ERR_CORRUPT;
	if (status == UDS_OK)
		status = load_rows(map, stream);
	if (status != UDS_OK)
		clear_rows(map);
	return status;
}
