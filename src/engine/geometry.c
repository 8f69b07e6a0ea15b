/*
 * geometry.c: derived sizes and chapter arithmetic.
 */
#include "geometry.h"

#include <string.h>

/* Width of a list offset in the header of a delta page (spec 01 section 4.1). */
#define OFFSET_BITS          19
#define DELTA_PAGE_HEADER    20
#define CHAPTER_MEAN_DELTA   65536
#define CHAPTER_MINIMUM_CODE 16 /* shortest code of that mean delta */

/* Chapter numbers have 40 bits. */
#define REMAPPED_VIRTUAL_MAX ((UINT64_C(1) << 39) - 1)

/*
 * Pages that hold the lists of a full chapter.  Addresses are divided as for the next power of two
 * of records, for which the code is made; with fewer, deltas and codes are longer, by up to 1.46
 * bits each for half as many.  The specification knows powers of two only.
 */
static uint32_t
derive_index_pages(const uds_geometry *geometry)
{
	uint64_t records = geometry->records_per_chapter;
	uint64_t power = UINT64_C(1) << uds_geometry_bits(records - 1);
	uint64_t index_bits = records * (geometry->chapter_payload_bits + CHAPTER_MINIMUM_CODE + 1) +
	                      records / 2 + (records > 1 ? (power - records) * 3 / 2 : 0);
	uint64_t per_list = index_bits / geometry->lists_per_chapter;
	uint64_t needed = index_bits + (uint64_t) geometry->lists_per_chapter * OFFSET_BITS;
	uint64_t page_bits = ((uint64_t) geometry->parameters.index_page_bytes - DELTA_PAGE_HEADER) * 8;
	uint64_t usable;

	if (page_bits <= OFFSET_BITS + per_list)
		return 0;
	usable = page_bits - (OFFSET_BITS + per_list);
	return (uint32_t) ((needed + usable - 1) / usable);
}

static bool
parameters_are_valid(const uds_geometry_parameters *p)
{
	if (p->page_bytes < 1024 || p->page_bytes > 65536 || p->index_page_bytes > p->page_bytes ||
	    p->index_page_bytes < 64)
		return false;
	if (p->records_per_page == 0 || p->records_per_page > p->page_bytes / 32)
		return false;
	if (p->record_pages == 0 || p->record_pages > 32768 || p->extra_pages > 1)
		return false;
	if (p->chapters < 2 || p->chapters > (1u << 30) || p->sparse_chapters >= p->chapters)
		return false;
	if (p->sparse_chapters == 0 && p->sample_rate != 0)
		return false;
	/* The last place would be shared by the chapter behind the moved one and that of the next round. */
	return !p->is_reduced ||
	       (p->remapped_virtual <= REMAPPED_VIRTUAL_MAX &&
	        (p->remapped_physical == 0 || p->remapped_physical < p->chapters - 1));
}

uds_status
uds_geometry_init(uds_geometry *geometry, const uds_geometry_parameters *parameters)
{
	uint32_t records;

	memset(geometry, 0, sizeof(*geometry));
	if (!parameters_are_valid(parameters))
		return UDS_ERR_ARGUMENT;
	geometry->parameters = *parameters;
	records = parameters->records_per_page * parameters->record_pages;
	geometry->records_per_chapter = records;
	geometry->dense_chapters = parameters->chapters - parameters->sparse_chapters;
	geometry->records_per_volume = (uint64_t) records * parameters->chapters;
	geometry->chapter_mean_delta = CHAPTER_MEAN_DELTA;
	geometry->chapter_payload_bits = uds_geometry_bits(parameters->record_pages - 1);
	geometry->chapter_list_bits = uds_geometry_bits((records - 1) | 63) - 6;
	geometry->lists_per_chapter = 1u << geometry->chapter_list_bits;
	geometry->chapter_address_bits =
		16 - geometry->chapter_list_bits + uds_geometry_bits(records - 1);
	geometry->index_pages = derive_index_pages(geometry);
	if (geometry->index_pages == 0 || geometry->lists_per_chapter > UINT16_MAX ||
	    geometry->chapter_address_bits > 31)
		return UDS_ERR_ARGUMENT;
	geometry->pages_per_chapter =
		geometry->index_pages + parameters->record_pages + parameters->extra_pages;
	geometry->pages_per_volume = (uint64_t) geometry->pages_per_chapter * parameters->chapters;
	geometry->bytes_per_volume = (geometry->pages_per_volume + 1) * parameters->page_bytes;
	return UDS_OK;
}

uds_status
uds_geometry_parameters_for_memory(uds_geometry_parameters *parameters, uint32_t memory_mb,
                                   bool is_sparse)
{
	memset(parameters, 0, sizeof(*parameters));
	if (memory_mb < UDS_MEMORY_MB_MIN || memory_mb > UDS_MEMORY_MB_MAX)
		return UDS_ERR_ARGUMENT;
	parameters->page_bytes = UDS_PAGE_BYTES;
	parameters->index_page_bytes = UDS_INDEX_PAGE_BYTES;
	parameters->records_per_page = UDS_RECORDS_PER_PAGE;
	parameters->extra_pages = UDS_SEAL_PAGES;
	parameters->record_pages = UDS_MIN(UDS_MAX(2 * memory_mb, 64u), 2048u);
	parameters->chapters = (uint32_t) (UINT64_C(2048) * memory_mb / parameters->record_pages);
	if (is_sparse)
	{
		parameters->sparse_chapters = (uint32_t) ((uint64_t) parameters->chapters * 19 / 2);
		parameters->sample_rate = UDS_SAMPLE_RATE;
		parameters->chapters *= 10;
	}
	return UDS_OK;
}

/*
 * The old place p = newest mod (N + 1), N chapters being left.  Places go down by one, so with
 * remapped_physical = 0 it is enough to say which chapter has, or would have, the new first place:
 * nothing has to be moved when p = 0 (what lies in the first place has expired) or p = N (the chapter
 * there is the one that expires with the smaller window).
 */
bool
uds_geometry_reduce(uds_geometry_parameters *parameters, uint64_t newest)
{
	uint32_t place = (uint32_t) (newest % parameters->chapters);
	uint32_t chapters = parameters->chapters - 1;

	UDS_ASSERT(!parameters->is_reduced && newest <= REMAPPED_VIRTUAL_MAX);
	parameters->chapters = chapters;
	parameters->is_reduced = true;
	parameters->remapped_physical = 0;
	if (place == 0)
		parameters->remapped_virtual = newest > 0 ? newest - chapters : 0;
	else if (place == chapters)
		parameters->remapped_virtual = newest - chapters + 1;
	else
	{
		parameters->remapped_virtual = newest - place;
		parameters->remapped_physical = place - 1;
		return true;
	}
	return false;
}

uds_geometry_parameters
uds_geometry_whole(const uds_geometry_parameters *parameters)
{
	uds_geometry_parameters whole = *parameters;

	if (whole.is_reduced)
		whole.chapters++;
	whole.is_reduced = false;
	whole.remapped_virtual = 0;
	whole.remapped_physical = 0;
	return whole;
}

uint32_t
uds_geometry_physical_chapter(const uds_geometry *geometry, uint64_t virtual_chapter)
{
	const uds_geometry_parameters *p = &geometry->parameters;
	uint64_t distance;

	if (!p->is_reduced)
		return (uint32_t) (virtual_chapter % p->chapters);
	if (virtual_chapter == p->remapped_virtual)
		return (uint32_t) p->remapped_physical;
	if (virtual_chapter > p->remapped_virtual)
	{
		distance = virtual_chapter - p->remapped_virtual;
		if (distance > p->remapped_physical)
			return (uint32_t) (distance % p->chapters);
		return (uint32_t) (distance - 1);
	}
	distance = p->remapped_virtual - virtual_chapter;
	distance %= p->chapters;
	return distance > 0 ? (uint32_t) (p->chapters - distance) : 0;
}

uint32_t
uds_geometry_expire(const uds_geometry *geometry, uint64_t newest)
{
	const uds_geometry_parameters *p = &geometry->parameters;
	uint64_t oldest;

	if (newest < p->chapters)
		return 0;
	if (!p->is_reduced || p->remapped_physical == 0)
		return 1;
	oldest = newest - p->chapters;
	if (oldest == p->remapped_virtual)
		return 2;
	if (oldest == p->remapped_virtual + p->remapped_physical)
		return 0;
	return 1;
}

uint64_t
uds_geometry_oldest(const uds_geometry *geometry, uint64_t newest)
{
	const uds_geometry_parameters *p = &geometry->parameters;
	uint64_t oldest = newest >= p->chapters ? newest - p->chapters + 1 : 0;
	uint64_t ahead;

	if (!p->is_reduced || p->remapped_physical == 0 || newest < p->remapped_virtual)
		return oldest;
	/* At the moved chapter, and up to where the open one was at the conversion: it has taken the place
	 * of an older one, so that one and all before it have left. */
	ahead = newest - p->remapped_virtual;
	if (ahead <= p->remapped_physical)
		return UDS_MAX(oldest,
		               p->remapped_virtual + p->remapped_physical + 1 >= p->chapters
		                   ? p->remapped_virtual + p->remapped_physical + 1 - p->chapters
		                   : 0);
	/* With the moved chapter the one behind it leaves, whose place the open chapter takes. */
	if (ahead >= p->chapters && ahead < p->chapters + p->remapped_physical)
		oldest++;
	return oldest;
}

bool
uds_geometry_has_sparse(const uds_geometry *geometry, uint64_t oldest, uint64_t newest)
{
	return geometry->parameters.sparse_chapters > 0 &&
	       newest - oldest + 1 > geometry->dense_chapters;
}

bool
uds_geometry_is_sparse(const uds_geometry *geometry, uint64_t oldest, uint64_t newest,
                       uint64_t chapter)
{
	return uds_geometry_has_sparse(geometry, oldest, newest) &&
	       chapter + geometry->dense_chapters <= newest;
}
