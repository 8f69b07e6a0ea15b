/*
 * chapter_index.c: the delta index of a closed chapter.
 *
 * A build sorts one 64-bit key a record:
 *
 *     | 0 | list | address | order |
 *
 * List and address are the low bits of the chapter index field of the name, as many as the geometry
 * says; order is the number of the record.  Records of one address become a plain entry, the first
 * of them, and behind it collision entries, the newest first.
 *
 * Scratch: keys (u64 a record), spare keys for the sort (u64 a record), start of each list among
 * the keys (u32, one more than lists), bits of each list (u16).
 *
 * Two limits make a record get lost.  A list may have as many bits as an empty page holds; records
 * that would make it longer are left out, in the order in which they would have been put.  And when
 * the pages cannot take all lists, whole lists are emptied until they can.
 */
#include "chapter_index.h"

#include "port.h"
#include "radix_sort.h"

#define CRC_BYTES  4
#define MEAN_DELTA 65536

/* What the steps of a build share. */
typedef struct chapter_index_build
{
	const uds_geometry *geometry;
	const uds_record_ref *records;
	uint64_t *keys;
	uint64_t *spare;
	uint32_t *starts;    /* starts[list] .. starts[list + 1] - 1: keys of a list */
	uint16_t *list_bits; /* encoded sizes */
	uds_delta_code code;
	uint32_t order_bits;
	uint32_t list_bits_max;
	uint32_t dropped;
} chapter_index_build;

static inline void
init_code(uds_delta_code *code, const uds_geometry *geometry)
{
	/* Cannot fail: a page number has at most 16 bits. */
	uds_status status = uds_delta_code_init(code, MEAN_DELTA, geometry->chapter_payload_bits);

	UDS_ASSERT(status == UDS_OK);
	(void) status;
}

/* List and address of a name: list << address_bits | address. */
static inline uint64_t
list_and_address(const uds_geometry *geometry, const uds_name *name)
{
	uint32_t width = geometry->chapter_list_bits + geometry->chapter_address_bits;

	return uds_name_chapter_field(name) & ((UINT64_C(1) << width) - 1);
}

static inline uint32_t
key_list(const chapter_index_build *build, uint64_t key)
{
	return (uint32_t) (key >> (build->order_bits + build->geometry->chapter_address_bits));
}

static inline uint32_t
key_address(const chapter_index_build *build, uint64_t key)
{
	uint32_t address_bits = build->geometry->chapter_address_bits;

	return (uint32_t) (key >> build->order_bits & ((UINT64_C(1) << address_bits) - 1));
}

static inline uint32_t
key_order(const chapter_index_build *build, uint64_t key)
{
	return (uint32_t) (key & ((UINT64_C(1) << build->order_bits) - 1));
}

static inline bool
has_crc(const uds_geometry *geometry)
{
	return geometry->parameters.page_bytes >= geometry->parameters.index_page_bytes + CRC_BYTES;
}

size_t
uds_chapter_index_size(const uds_geometry *geometry)
{
	size_t lists = geometry->lists_per_chapter;

	return UDS_ALIGN(2 * sizeof(uint64_t) * geometry->records_per_chapter +
	                     sizeof(uint32_t) * (lists + 1) + sizeof(uint16_t) * lists,
	                 UDS_CACHE_LINE);
}

static void
sort_keys(chapter_index_build *build, uint32_t count)
{
	const uds_geometry *geometry = build->geometry;

	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t field = list_and_address(geometry, &build->records[i].record->name);

		build->keys[i] = field << build->order_bits | i;
	}
	uds_radix_sort_keys(build->keys,
	                    build->spare,
	                    count,
	                    build->order_bits,
	                    geometry->chapter_list_bits + geometry->chapter_address_bits);
}

/* Encoded size of the keys first .. end - 1 of one list. */
static uint64_t
measure_list(const chapter_index_build *build, uint32_t first, uint32_t end)
{
	uint32_t previous = 0;
	uint64_t bits = 0;

	for (uint32_t i = first; i < end; i++)
	{
		uint32_t address = key_address(build, build->keys[i]);

		if (i > first && address == previous)
			bits += uds_delta_code_collision_bits(&build->code);
		else
			bits += uds_delta_code_entry_bits(&build->code, address - previous);
		previous = address;
	}
	return bits;
}

/* Bits by which a list of sorted keys grows when a key is inserted at a place. */
static uint32_t
measure_growth(const chapter_index_build *build, const uint64_t *kept, uint32_t kept_count,
               uint32_t place, uint64_t key)
{
	const uds_delta_code *code = &build->code;
	uint32_t address = key_address(build, key);
	uint32_t previous = place > 0 ? key_address(build, kept[place - 1]) : 0;
	uint32_t next;

	if (place > 0 && previous == address)
		return uds_delta_code_collision_bits(code);
	if (place == kept_count)
		return uds_delta_code_entry_bits(code, address - previous);
	next = key_address(build, kept[place]);
	return uds_delta_code_entry_bits(code, address - previous) +
	       uds_delta_code_length(code, next - address) -
	       uds_delta_code_length(code, next - previous);
}

/*
 * Take over the keys of a list that is too long one by one, in the order of their records, as long
 * as they fit; spare holds the sorted keys that are kept.  Returns the size of what is left, which
 * begins at keys[first]; *kept_count is its number of keys.
 */
static uint32_t
thin_list(chapter_index_build *build, uint32_t first, uint32_t end, uint32_t *kept_count)
{
	uint64_t *kept = build->spare;
	uint32_t count = 0;
	uint32_t bits = 0;

	uds_radix_sort_keys(build->keys + first, build->spare, end - first, 0, build->order_bits);
	for (uint32_t i = first; i < end; i++)
	{
		uint64_t key = build->keys[i];
		uint32_t place = 0;
		uint32_t high = count;
		uint32_t growth;

		while (place < high)
		{
			uint32_t middle = (place + high) / 2;

			if (kept[middle] < key)
				place = middle + 1;
			else
				high = middle;
		}
		growth = measure_growth(build, kept, count, place, key);
		if (bits + growth > build->list_bits_max)
			continue;
		memmove(&kept[place + 1], &kept[place], (count - place) * sizeof(kept[0]));
		kept[place] = key;
		count++;
		bits += growth;
	}
	memcpy(build->keys + first, kept, count * sizeof(kept[0]));
	build->dropped += end - first - count;
	*kept_count = count;
	return bits;
}

/* Find the lists among the sorted keys and size them; close the gaps that thinned lists leave. */
static void
divide_lists(chapter_index_build *build, uint32_t count)
{
	uint32_t lists = build->geometry->lists_per_chapter;
	uint32_t read = 0;
	uint32_t write = 0;

	for (uint32_t list = 0; list < lists; list++)
	{
		uint32_t end = read;
		uint32_t kept;
		uint64_t bits;

		while (end < count && key_list(build, build->keys[end]) == list)
			end++;
		kept = end - read;
		bits = measure_list(build, read, end);
		if (UDS_UNLIKELY(bits > build->list_bits_max))
			bits = thin_list(build, read, end, &kept);
		if (write != read)
			memmove(build->keys + write, build->keys + read, kept * sizeof(build->keys[0]));
		build->starts[list] = write;
		build->list_bits[list] = (uint16_t) bits;
		write += kept;
		read = end;
	}
	build->starts[lists] = write;
}

/* Empty one list to make room: the one behind those that fit, or the nearest before it. */
static void
drop_list(chapter_index_build *build, uint32_t first, uint32_t fitting)
{
	uint32_t victim = first + fitting;

	while (build->list_bits[victim] == 0 && victim > first)
		victim--;
	UDS_ASSERT(build->list_bits[victim] > 0);
	build->dropped += build->starts[victim + 1] - build->starts[victim];
	build->list_bits[victim] = 0;
}

/*
 * Number of lists from first on that go to a page which pages_left others follow.  It takes what
 * fits, but at least so many that the following pages could take the rest if that were empty; the
 * last page takes all.  Lists are emptied until this holds.
 */
static uint32_t
pack_page(chapter_index_build *build, uint32_t first, uint32_t pages_left)
{
	uint32_t page_bytes = build->geometry->parameters.index_page_bytes;
	uint32_t remaining = build->geometry->lists_per_chapter - first;
	uint64_t later = (uint64_t) pages_left * uds_delta_page_lists_max(page_bytes);

	for (;;)
	{
		uint32_t fitting = uds_delta_page_fit(page_bytes, build->list_bits + first, remaining);

		if (fitting + later >= remaining)
			return fitting;
		drop_list(build, first, fitting);
	}
}

/* Encode a plain entry into zeroed space; as uds_delta_code_write_entry, in one access mostly. */
static inline uint64_t
write_entry(const uds_delta_code *code, uint8_t *page, uint64_t offset, uint32_t delta,
            uint32_t value)
{
	uint32_t bits = code->value_bits + code->code_bits;
	uint64_t field = value;
	uint64_t word;

	if (delta < code->short_count)
		field |= (uint64_t) delta << code->value_bits;
	else
	{
		uint32_t zeros = (delta - code->short_count) / code->step;

		if (UDS_UNLIKELY(bits + zeros + 1 > UDS_BITS_FIELD_MAX))
			return uds_delta_code_write_entry(code, page, offset, delta, value);
		field |= (uint64_t) (delta - zeros * code->step) << code->value_bits;
		field |= UINT64_C(1) << (bits + zeros);
		bits += zeros + 1;
	}
	memcpy(&word, page + offset / 8, sizeof(word));
	word |= field << (offset % 8);
	memcpy(page + offset / 8, &word, sizeof(word));
	return offset + bits;
}

/* Encode the keys of a list at an offset of a page; returns the offset behind it. */
static uint64_t
write_list(const chapter_index_build *build, uint32_t list, uint8_t *page, uint64_t offset)
{
	const uint64_t *keys = build->keys;
	uint32_t records_per_page = build->geometry->parameters.records_per_page;
	uint32_t end = build->starts[list + 1];
	uint32_t previous = 0;
	uint32_t next;

	for (uint32_t i = build->starts[list]; i < end; i = next)
	{
		uint32_t address = key_address(build, keys[i]);
		uint32_t order = key_order(build, keys[i]);

		offset =
			write_entry(&build->code, page, offset, address - previous, order / records_per_page);
		previous = address;
		for (next = i + 1; next < end && key_address(build, keys[next]) == address;)
			next++;
		for (uint32_t j = next - 1; j > i; j--)
		{
			order = key_order(build, keys[j]);
			offset = uds_delta_code_write_collision(&build->code,
			                                        page,
			                                        offset,
			                                        order / records_per_page,
			                                        &build->records[order].record->name);
		}
	}
	return offset;
}

static void
write_page(const chapter_index_build *build, const uds_delta_page_header *header, uint8_t *page)
{
	const uds_geometry_parameters *parameters = &build->geometry->parameters;
	uint32_t end = (uint32_t) header->first_list + header->list_count;
	uint64_t offset = uds_delta_page_begin(page,
	                                       parameters->index_page_bytes,
	                                       header,
	                                       build->list_bits + header->first_list);

	for (uint32_t list = header->first_list; list < end; list++)
	{
		uint64_t start = offset;

		if (build->list_bits[list] > 0)
			offset = write_list(build, list, page, offset);
		UDS_ASSERT(offset - start == build->list_bits[list]);
		(void) start;
	}
	memset(page + parameters->index_page_bytes,
	       0,
	       parameters->page_bytes - parameters->index_page_bytes);
}

uds_status
uds_chapter_index_build(void *scratch, const uds_geometry *geometry, const uds_record_ref *records,
                        uint32_t count, uint64_t nonce, uint64_t chapter, uint8_t *pages,
                        uint16_t *last_lists, uint32_t *dropped)
{
	uint32_t first = 0;
	chapter_index_build build = {
		.geometry = geometry,
		.records = records,
		.keys = scratch,
		.order_bits = uds_geometry_bits(geometry->records_per_chapter - 1),
		.list_bits_max = uds_delta_page_list_bits_max(geometry->parameters.index_page_bytes),
	};

	if (count > geometry->records_per_chapter ||
	    geometry->lists_per_chapter >
	        (uint64_t) geometry->index_pages *
	            uds_delta_page_lists_max(geometry->parameters.index_page_bytes))
		return UDS_ERR_ARGUMENT;
	build.spare = build.keys + geometry->records_per_chapter;
	build.starts = (uint32_t *) (build.spare + geometry->records_per_chapter);
	build.list_bits = (uint16_t *) (build.starts + geometry->lists_per_chapter + 1);
	init_code(&build.code, geometry);
	sort_keys(&build, count);
	divide_lists(&build, count);
	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		uds_delta_page_header header = {
			.nonce = nonce,
			.chapter = chapter,
			.first_list = (uint16_t) first,
		};

		header.list_count = (uint16_t) pack_page(&build, first, geometry->index_pages - 1 - i);
		write_page(&build, &header, pages + (size_t) i * geometry->parameters.page_bytes);
		first += header.list_count;
		/* The first page takes at least one list, since none is longer than an empty page. */
		last_lists[i] = (uint16_t) (first - 1);
	}
	*dropped = build.dropped;
	return UDS_OK;
}

static uint32_t
page_crc(const uint8_t *page, const uds_geometry *geometry, const uds_page_identity *identity)
{
	return uds_port_crc32c(uds_page_seed(identity),
	                       page,
	                       geometry->parameters.page_bytes - CRC_BYTES);
}

void
uds_chapter_index_seal_page(uint8_t *page, const uds_geometry *geometry,
                            const uds_page_identity *identity)
{
	uint32_t crc;

	if (!has_crc(geometry))
		return;
	crc = page_crc(page, geometry, identity);
	memcpy(page + geometry->parameters.page_bytes - CRC_BYTES, &crc, sizeof(crc));
}

uds_status
uds_chapter_index_verify_page(const uint8_t *page, const uds_geometry *geometry,
                              const uds_page_identity *identity)
{
	const uds_geometry_parameters *parameters = &geometry->parameters;
	uds_delta_page_header header;
	uds_status status;

	if (has_crc(geometry))
	{
		uint32_t crc;

		memcpy(&crc, page + parameters->page_bytes - CRC_BYTES, sizeof(crc));
		if (crc != page_crc(page, geometry, identity))
			return UDS_ERR_CORRUPT;
	}
	status = uds_delta_page_open(page, parameters->index_page_bytes, identity->nonce, &header);
	if (status != UDS_OK)
		return status;
	if (header.chapter != identity->chapter ||
	    (uint32_t) header.first_list + header.list_count > geometry->lists_per_chapter)
		return UDS_ERR_CORRUPT;
	return UDS_OK;
}

void
uds_chapter_index_bounds(const uint8_t *page, uint32_t *first_list, uint32_t *list_count)
{
	uds_delta_page_header header = uds_delta_page_read_header(page);

	*first_list = header.first_list;
	*list_count = header.list_count;
}

uds_status
uds_chapter_index_search(const uint8_t *page, const uds_geometry *geometry, const uds_name *name,
                         uint32_t *record_page)
{
	uint64_t field = uds_name_chapter_field(name);
	uint32_t value = 0;
	uds_delta_code code;
	uds_status status;

	init_code(&code, geometry);
	status = uds_delta_page_find(page,
	                             geometry->parameters.index_page_bytes,
	                             &code,
	                             uds_geometry_chapter_list(geometry, field),
	                             uds_geometry_chapter_address(geometry, field),
	                             name,
	                             &value);
	if (status != UDS_OK)
		return status;
	if (value >= geometry->parameters.record_pages)
		return UDS_ERR_CORRUPT;
	*record_page = value;
	return UDS_OK;
}

/* Is the current entry of a list one that a build writes? */
static bool
entry_is_valid(const uds_geometry *geometry, uint32_t list, const uds_delta_page_cursor *cursor)
{
	uint64_t field = (uint64_t) list << geometry->chapter_address_bits | cursor->key;

	if (cursor->key >> geometry->chapter_address_bits != 0 ||
	    cursor->value >= geometry->parameters.record_pages)
		return false;
	return !cursor->is_collision || list_and_address(geometry, &cursor->name) == field;
}

uds_status
uds_chapter_index_walk(const uint8_t *page, const uds_geometry *geometry, uint32_t *entries,
                       uint32_t *collisions)
{
	uds_delta_page_header header = uds_delta_page_read_header(page);
	uint32_t end = (uint32_t) header.first_list + header.list_count;
	uint32_t entry_count = 0;
	uint32_t collision_count = 0;
	uds_delta_code code;

	init_code(&code, geometry);
	for (uint32_t list = header.first_list; list < end; list++)
	{
		uds_delta_page_cursor cursor;
		uds_status status =
			uds_delta_page_begin_list(page, geometry->parameters.index_page_bytes, list, &cursor);

		while (status == UDS_OK)
		{
			status = uds_delta_page_next(&code, &cursor);
			if (status == UDS_OK && !entry_is_valid(geometry, list, &cursor))
				return UDS_ERR_CORRUPT;
			entry_count += status == UDS_OK;
			collision_count += status == UDS_OK && cursor.is_collision;
		}
		if (status != UDS_NOT_FOUND)
			return status;
	}
	if (entries != NULL)
		*entries = entry_count;
	if (collisions != NULL)
		*collisions = collision_count;
	return UDS_OK;
}
