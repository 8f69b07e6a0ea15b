/*
 * index_lists.c: the volume index in delta lists.
 *
 * With V the volume index field of a name, its list is (V x lists) >> 64, so zones are ranges of
 * one global numbering, and its key the low address bits of V.  Lists have 64 entries on average.
 * The value of an entry is its chapter modulo 2^chapter_bits.
 *
 * Expiry.  The mark of a list is a lower bound of the chapters in it, in units of 2^mark_shift
 * chapters modulo 65536.  An operation that meets a list whose bound lies below the window walks
 * it once, drops what has expired and makes the bound exact.  So a list that takes a new entry
 * holds only chapters of the window, all entries of a list lie within one period of the value from
 * its bound on, and no entry is ever misread.  Lists that nobody asks for are met by a sweep: one
 * per SWEEP_PUTS puts to free their memory, and with every new chapter as many as let it come
 * round in SWEEP_UNITS units, before marks become ambiguous.
 *
 * When the lists fill their memory, chapters are given up early: the window of the zone (low) then
 * begins above what the caller asked for (oldest), and never moves back.
 *
 * A saved part, all little endian:
 *
 *     part_header                                       80 bytes
 *     for every UDS_DELTA_BLOCK_LISTS lists from the first of the part on, the last group shorter:
 *         per list     u16 bits, u16 mark
 *         per list     (bits + 7) / 8 bytes of list; bits behind its end are zero
 *     u64 PART_END
 */
#include "index_lists.h"

#include <string.h>

#include "delta_index.h"
#include "geometry.h"

#define LIST_ENTRIES   64
#define LISTS_MIN      256 /* UDS_ZONES_MAX squared: every zone gets some */
#define CHAPTERS_MAX   (1u << 20)
#define MEAN_DELTA_MAX 48408810 /* of the code */
#define SWEEP_PUTS     16
#define SWEEP_UNITS    16384
#define MARK_UNITS_MAX 16384                        /* window in units of marks */
#define PART_MAGIC     UINT64_C(0x3130534c49534455) /* "UDSILS01" */
#define PART_END       UINT64_C(0x444e45534c534455) /* "UDSLSEND" */

/* One zone; its delta index follows.  Owner of everything: the zone's thread. */
typedef struct lists_zone
{
	uint64_t oldest; /* the window that the caller asked for */
	uint64_t newest;
	uint64_t low; /* entries below it do not exist; oldest <= low <= newest */
	uint64_t expired;
	uint64_t lost;
	uint64_t overflows;
	uint64_t early_flushes;
	uint64_t puts;
	uint32_t sweep_list; /* next one to be swept */
	uint32_t lists;
} lists_zone;

struct uds_index_lists
{
	uds_index_parameters parameters;
	uint64_t zone_bytes;    /* of memory, from one zone to the next */
	uint64_t full_bytes;    /* of lists in a zone, from which on chapters are given up */
	uint64_t chapter_bytes; /* of lists in a zone, for one chapter */
	uint64_t loaded_newest; /* of the parts loaded so far */
	uint32_t list_count;
	uint32_t zone_lists; /* of every zone but the last */
	uint32_t address_bits;
	uint32_t chapter_bits;
	uint32_t mark_shift;
	uint32_t mean_delta; /* of the code */
	bool is_loaded;
};

typedef struct part_header
{
	uint64_t magic;
	uint64_t records_per_chapter;
	uint32_t chapters;
	uint32_t mean_delta;
	uint32_t list_count;
	uint32_t first_list;
	uint32_t lists;
	uint32_t reserved; /* 0 */
	uint64_t oldest;
	uint64_t newest;
	uint64_t records;
	uint64_t collisions;
	uint64_t used_bytes;
} part_header;

typedef struct saved_list
{
	uint16_t bits;
	uint16_t mark;
} saved_list;

_Static_assert(sizeof(part_header) == 80, "written as raw bytes");
_Static_assert(sizeof(saved_list) == 4, "written as raw bytes");

/* What an entry keeps in its place. */
typedef struct entry_place
{
	uds_delta_cursor cursor;
	uint64_t low; /* of the zone when it was found */
} entry_place;

_Static_assert(sizeof(entry_place) <= sizeof(((uds_index_entry *) 0)->place), "fits");

/* ---- sizes and places ------------------------------------------------------------------------ */

#define ZONE_HEADER  UDS_ALIGN(sizeof(lists_zone), UDS_CACHE_LINE)
#define INDEX_HEADER UDS_ALIGN(sizeof(uds_index_lists), UDS_CACHE_LINE)

static lists_zone *
zone_of(const uds_index_lists *index, uint32_t zone)
{
	return (lists_zone *) ((uintptr_t) index + INDEX_HEADER + zone * index->zone_bytes);
}

static uds_delta_index *
delta_of(const lists_zone *zone)
{
	return (uds_delta_index *) ((uintptr_t) zone + ZONE_HEADER);
}

/* Fill everything that follows from the parameters; false when they are out of range. */
static bool
derive(uds_index_lists *index, const uds_index_parameters *parameters, uds_delta_parameters *delta)
{
	uint64_t records = parameters->records_per_chapter;
	uint64_t chapters = parameters->chapters;
	uint64_t entries;
	uint64_t lists;
	uint64_t list_bits;
	uds_delta_code code = { 0 };

	memset(index, 0, sizeof(*index));
	if (chapters < 2 || chapters > CHAPTERS_MAX || parameters->zone_count == 0 ||
	    parameters->zone_count > UDS_ZONES_MAX || parameters->mean_delta == 0 || records == 0 ||
	    records > ((uint64_t) UINT32_MAX * LIST_ENTRIES) / chapters)
		return false;
	index->parameters = *parameters;
	lists = UDS_MAX(records * chapters / LIST_ENTRIES, (uint64_t) LISTS_MIN);
	index->list_count = (uint32_t) lists;
	index->zone_lists = (uint32_t) ((lists + parameters->zone_count - 1) / parameters->zone_count);
	index->address_bits = uds_geometry_bits((uint64_t) parameters->mean_delta * LIST_ENTRIES - 1);
	while (chapters >> index->mark_shift > MARK_UNITS_MAX)
		index->mark_shift++;
	/* all chapters of a window fit into a period that begins at a bound rounded down */
	index->chapter_bits = uds_geometry_bits(chapters - 2 + (UINT64_C(1) << index->mark_shift));
	if (index->address_bits > 31)
		return false;
	/* a window, and expired entries that nobody has met yet */
	entries = records * (chapters + UDS_MAX(chapters / LIST_ENTRIES, UINT64_C(2)));
	index->mean_delta = (uint32_t) UDS_MIN(UDS_MAX((lists << index->address_bits) / entries, 1u),
	                                       (uint64_t) MEAN_DELTA_MAX);
	if (uds_delta_code_init(&code, index->mean_delta, index->chapter_bits) != UDS_OK)
		return false;
	list_bits = (entries * 2 * (code.value_bits + code.code_bits + 1) + entries) / 2;
	delta->lists = index->zone_lists;
	delta->mean_delta = index->mean_delta;
	delta->value_bits = index->chapter_bits;
	delta->list_bytes =
		list_bits / 8 * 109 / 100 / parameters->zone_count + index->zone_lists + 4096;
	delta->is_zeroed = parameters->is_zeroed;
	index->full_bytes = delta->list_bytes / 100 * 97;
	index->chapter_bytes = list_bits / 8 / chapters / parameters->zone_count + 1;
	index->zone_bytes = uds_delta_index_size(delta);
	if (index->zone_bytes == 0)
		return false;
	index->zone_bytes += ZONE_HEADER;
	return true;
}

size_t
uds_index_lists_size(const uds_index_parameters *parameters)
{
	uds_index_lists index;
	uds_delta_parameters delta;

	if (!derive(&index, parameters, &delta))
		return 0;
	return INDEX_HEADER + index.zone_bytes * parameters->zone_count;
}

uint64_t
uds_index_lists_zone_start(const uds_index_lists *index, uint32_t zone)
{
	return UDS_MIN((uint64_t) zone * index->zone_lists, index->list_count);
}

uds_status
uds_index_lists_init(uds_index_lists *index, const uds_index_parameters *parameters)
{
	uds_index_parameters given = *parameters;
	uds_delta_parameters delta;
	uds_status status;

	if (!derive(index, &given, &delta))
		return UDS_ERR_ARGUMENT;
	for (uint32_t z = 0; z < given.zone_count; z++)
	{
		lists_zone *zone = zone_of(index, z);

		memset(zone, 0, sizeof(*zone));
		zone->lists = (uint32_t) (uds_index_lists_zone_start(index, z + 1) -
		                          uds_index_lists_zone_start(index, z));
		delta.lists = zone->lists;
		status = uds_delta_index_init(delta_of(zone), &delta);
		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

uint64_t
uds_index_lists_position(const uds_index_lists *index, const uds_name *name)
{
	return (uint64_t) ((unsigned __int128) uds_name_volume_field(name) * index->list_count >> 64);
}

uint32_t
uds_index_lists_zone(const uds_index_lists *index, const uds_name *name)
{
	return (uint32_t) uds_index_lists_position(index, name) / index->zone_lists;
}

/* Key of a name in its list. */
static uint32_t
key_of(const uds_index_lists *index, const uds_name *name)
{
	return (uint32_t) (uds_name_volume_field(name) & ((UINT64_C(1) << index->address_bits) - 1));
}

void
uds_index_lists_prefetch(const uds_index_lists *index, const uds_name *name)
{
	uint32_t list = (uint32_t) uds_index_lists_position(index, name);
	uint32_t zone = list / index->zone_lists;

	uds_delta_index_prefetch(delta_of(zone_of(index, zone)), list - zone * index->zone_lists);
}

/* ---- expiry ---------------------------------------------------------------------------------- */

/* Bound of a mark: the latest chapter that it may stand for, seen from newest. */
static uint64_t
bound_of(const uds_index_lists *index, uint64_t newest, uint16_t mark)
{
	uint64_t unit = newest >> index->mark_shift;
	uint64_t distance = (uint16_t) (unit - mark);

	return (unit - UDS_MIN(distance, unit)) << index->mark_shift;
}

static uint16_t
mark_of(const uds_index_lists *index, uint64_t chapter)
{
	return (uint16_t) (chapter >> index->mark_shift);
}

/* Drop the expired entries of a list that is not empty, and find a key in it. */
static uds_status
expire_list(const uds_index_lists *index, lists_zone *zone, uint32_t list, uint64_t bound,
            uint32_t key, const uds_name *name, uds_delta_cursor *cursor)
{
	uint64_t period = UINT64_C(1) << index->chapter_bits;
	uint64_t limit = UDS_MIN(zone->low - bound, period);
	uds_delta_index *delta = delta_of(zone);
	uds_delta_expiry expiry = { 0 };
	uds_status status;

	expiry.base = (uint32_t) (bound & (period - 1));
	expiry.limit = (uint32_t) limit;
	expiry.early = zone->oldest > bound ? (uint32_t) UDS_MIN(zone->oldest - bound, limit) : 0;
	status = uds_delta_index_expire(delta, list, key, name, &expiry, cursor);
	zone->expired += expiry.dropped - expiry.dropped_early;
	zone->lost += expiry.dropped_early;
	if (status != UDS_OK)
		return status;
	bound = expiry.lowest == UINT32_MAX ? zone->newest : bound + expiry.lowest;
	*uds_delta_index_mark(delta, list) = mark_of(index, UDS_MIN(bound, zone->newest));
	return UDS_OK;
}

/* Drop what has expired in the next lists of a zone, but for one list. */
static uds_status
sweep(const uds_index_lists *index, lists_zone *zone, uint64_t count, uint32_t except)
{
	uds_delta_index *delta = delta_of(zone);
	uds_delta_cursor cursor;

	for (uint64_t i = 0; i < count; i++)
	{
		uint32_t list = zone->sweep_list;
		uint64_t bound;
		uds_status status;

		zone->sweep_list = list + 1 < zone->lists ? list + 1 : 0;
		if (list == except || uds_delta_index_list_bits(delta, list) == 0)
			continue;
		bound = bound_of(index, zone->newest, *uds_delta_index_mark(delta, list));
		if (bound >= zone->low)
			continue;
		status = expire_list(index, zone, list, bound, 0, NULL, &cursor);
		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

/*
 * Give up chapters when the lists fill their memory.  It comes back only as lists are met, so one
 * chapter more than is opened has to do, and some more when it is very short.
 */
static void
give_up_chapters(const uds_index_lists *index, lists_zone *zone)
{
	uint64_t used = delta_of(zone)->blocks.used_bytes;
	uint64_t low = zone->low;

	if (used <= index->full_bytes)
		return;
	low += 2 + (used - index->full_bytes) / (8 * index->chapter_bytes);
	low = UDS_MIN(low, zone->newest);
	zone->early_flushes += low - zone->low;
	zone->low = low;
}

uds_status
uds_index_lists_set_window(uds_index_lists *index, uint32_t zone_number, uint64_t oldest,
                           uint64_t newest)
{
	lists_zone *zone;
	uds_delta_index *delta;
	uint64_t opened;
	uint64_t discards;

	if (zone_number >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	zone = zone_of(index, zone_number);
	delta = delta_of(zone);
	if (oldest > newest || newest - oldest >= index->parameters.chapters ||
	    newest == UDS_NO_CHAPTER || oldest < zone->oldest || newest < zone->newest)
		return UDS_ERR_ARGUMENT;
	opened = newest - zone->newest;
	if (oldest > zone->newest && delta->records > 0)
	{
		discards = delta->discards;
		zone->expired += delta->records;
		uds_delta_index_reset(delta);
		delta->discards = discards;
	}
	zone->oldest = oldest;
	zone->newest = newest;
	zone->low = UDS_MAX(zone->low, oldest);
	if (opened == 0 || delta->records == 0)
		return UDS_OK;
	give_up_chapters(index, zone);
	return sweep(index,
	             zone,
	             UDS_MIN(opened * ((zone->lists >> index->mark_shift) / SWEEP_UNITS + 1),
	                     zone->lists),
	             UINT32_MAX);
}

uint64_t
uds_index_lists_oldest(const uds_index_lists *index, uint32_t zone)
{
	return zone_of(index, zone)->oldest;
}

/* ---- entries --------------------------------------------------------------------------------- */

uds_status
uds_index_lists_get(uds_index_lists *index, const uds_name *name, uds_index_entry *entry)
{
	uint32_t number = (uint32_t) uds_index_lists_position(index, name);
	uint32_t key = key_of(index, name);
	uint32_t mask = (1u << index->chapter_bits) - 1;
	entry_place place;
	lists_zone *zone;
	uds_delta_index *delta;
	uint32_t list;
	uint64_t bound;
	uds_status status;

	entry->name = *name;
	entry->kind = UDS_ENTRY_NONE;
	entry->chapter = UDS_NO_CHAPTER;
	entry->zone = number / index->zone_lists;
	zone = zone_of(index, entry->zone);
	delta = delta_of(zone);
	list = number - entry->zone * index->zone_lists;
	bound = bound_of(index, zone->newest, *uds_delta_index_mark(delta, list));
	if (bound >= zone->low || uds_delta_index_list_bits(delta, list) == 0)
		status = uds_delta_index_find(delta, list, key, name, &place.cursor);
	else
		status = expire_list(index, zone, list, bound, key, name, &place.cursor);
	if (status != UDS_OK)
		return status == UDS_ERR_ARGUMENT ? UDS_ERR_CORRUPT : status;
	place.low = zone->low;
	memcpy(entry->place, &place, sizeof(place));
	if (place.cursor.is_end || place.cursor.key != key)
		return UDS_OK;
	entry->chapter = zone->low + ((place.cursor.value - zone->low) & mask);
	if (entry->chapter > zone->newest)
		return UDS_ERR_CORRUPT;
	entry->kind = place.cursor.is_collision ? UDS_ENTRY_EXACT : UDS_ENTRY_HINT;
	return UDS_OK;
}

/*
 * Take an entry into hand to change it: look it up again when the window has moved since, because
 * a sweep may have been there.  place and delta get what belongs to it.
 */
static uds_status
take_entry(uds_index_lists *index, uds_index_entry *entry, entry_place *place, lists_zone **zone)
{
	uds_name name = entry->name;
	uds_status status;

	if (entry->zone >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	*zone = zone_of(index, entry->zone);
	memcpy(place, entry->place, sizeof(*place));
	if (place->low == (*zone)->low)
		return UDS_OK;
	status = uds_index_lists_get(index, &name, entry);
	memcpy(place, entry->place, sizeof(*place));
	return status;
}

/* A put did not fit: free what has expired around it.  Does it make sense to try again? */
static uds_status
make_room(const uds_index_lists *index, lists_zone *zone, uint32_t list, bool *has_gained)
{
	uint64_t gone = zone->expired + zone->lost;
	uint32_t next = zone->sweep_list;
	uint32_t first = list - list % UDS_DELTA_BLOCK_LISTS;
	uds_status status;

	zone->sweep_list = first;
	status = sweep(index, zone, UDS_MIN(UDS_DELTA_BLOCK_LISTS, zone->lists - first), list);
	zone->sweep_list = next;
	*has_gained = zone->expired + zone->lost != gone;
	return status;
}

uds_status
uds_index_lists_put(uds_index_lists *index, uds_index_entry *entry, uint64_t chapter)
{
	entry_place place;
	lists_zone *zone;
	uds_delta_index *delta;
	const uds_name *name;
	uint32_t value = (uint32_t) chapter & ((1u << index->chapter_bits) - 1);
	bool is_first;
	bool has_gained;
	uds_status status;

	if (entry->kind == UDS_ENTRY_EXACT)
		return UDS_DUPLICATE;
	status = take_entry(index, entry, &place, &zone);
	if (status != UDS_OK)
		return status;
	if (chapter != zone->newest)
		return UDS_ERR_ARGUMENT;
	delta = delta_of(zone);
	name = entry->kind == UDS_ENTRY_NONE ? NULL : &entry->name;
	is_first = uds_delta_index_list_bits(delta, place.cursor.list) == 0;
	status = uds_delta_index_put(delta, &place.cursor, key_of(index, &entry->name), value, name);
	if (status == UDS_OVERFLOW)
	{
		status = make_room(index, zone, place.cursor.list, &has_gained);
		if (status != UDS_OK)
			return status;
		status = UDS_OVERFLOW;
		if (has_gained)
			status =
				uds_delta_index_put(delta, &place.cursor, key_of(index, &entry->name), value, name);
		zone->overflows += status == UDS_OVERFLOW;
	}
	if (status != UDS_OK)
		return status;
	if (is_first)
		*uds_delta_index_mark(delta, place.cursor.list) = mark_of(index, chapter);
	memcpy(entry->place, &place, sizeof(place));
	entry->chapter = chapter;
	entry->kind = name == NULL ? UDS_ENTRY_HINT : UDS_ENTRY_EXACT;
	if (++zone->puts % SWEEP_PUTS == 0)
		return sweep(index, zone, 1, place.cursor.list);
	return UDS_OK;
}

uds_status
uds_index_lists_move(uds_index_lists *index, uds_index_entry *entry, uint64_t chapter)
{
	uint32_t value = (uint32_t) chapter & ((1u << index->chapter_bits) - 1);
	entry_place place;
	lists_zone *zone;
	uds_status status;

	if (entry->kind == UDS_ENTRY_NONE)
		return UDS_ERR_BAD_STATE;
	status = take_entry(index, entry, &place, &zone);
	if (status != UDS_OK)
		return status;
	if (chapter != zone->newest)
		return UDS_ERR_ARGUMENT;
	if (entry->kind == UDS_ENTRY_NONE)
		return uds_index_lists_put(index, entry, chapter);
	status = uds_delta_index_set_value(delta_of(zone), &place.cursor, value);
	if (status != UDS_OK)
		return status;
	memcpy(entry->place, &place, sizeof(place));
	entry->chapter = chapter;
	return UDS_OK;
}

uds_status
uds_index_lists_remove(uds_index_lists *index, uds_index_entry *entry)
{
	entry_place place;
	lists_zone *zone;
	uds_status status;

	if (entry->kind == UDS_ENTRY_NONE)
		return UDS_ERR_BAD_STATE;
	status = take_entry(index, entry, &place, &zone);
	if (status != UDS_OK || entry->kind == UDS_ENTRY_NONE)
		return status;
	status = uds_delta_index_remove(delta_of(zone), &place.cursor);
	if (status != UDS_OK)
		return status;
	memcpy(entry->place, &place, sizeof(place));
	entry->kind = UDS_ENTRY_NONE;
	entry->chapter = UDS_NO_CHAPTER;
	return UDS_OK;
}

void
uds_index_lists_counters(const uds_index_lists *index, uint32_t zone_number,
                         uds_index_counters *counters)
{
	const lists_zone *zone = zone_of(index, zone_number);
	const uds_delta_index *delta = delta_of(zone);

	counters->records = delta->records;
	counters->collisions = delta->collisions;
	counters->discards = delta->discards;
	counters->expired = zone->expired;
	counters->lost = zone->lost;
	counters->overflows = zone->overflows;
	counters->rebalances = delta->blocks.rebalances;
	counters->early_flushes = zone->early_flushes;
	counters->bytes_used = delta->blocks.used_bytes;
}

uds_status
uds_index_lists_check(const uds_index_lists *index, uint32_t zone_number)
{
	const lists_zone *zone;
	uds_delta_index *delta;
	uint64_t records = 0;
	uint64_t collisions = 0;
	uds_status status;

	if (zone_number >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	zone = zone_of(index, zone_number);
	delta = delta_of(zone);
	if (zone->oldest > zone->low || zone->low > zone->newest || zone->sweep_list >= zone->lists)
		return UDS_ERR_CORRUPT;
	status = uds_delta_blocks_check(&delta->blocks);
	for (uint32_t list = 0; status == UDS_OK && list < zone->lists; list++)
	{
		uint64_t bound = bound_of(index, zone->newest, *uds_delta_index_mark(delta, list));
		uint32_t list_records;
		uint32_t list_collisions;

		status = uds_delta_index_check_list(delta,
		                                    list,
		                                    index->address_bits,
		                                    (uint32_t) bound & ((1u << index->chapter_bits) - 1),
		                                    (uint32_t) UDS_MIN(zone->newest - bound, UINT32_MAX),
		                                    &list_records,
		                                    &list_collisions);
		records += list_records;
		collisions += list_collisions;
	}
	if (status == UDS_OK && (records != delta->records || collisions != delta->collisions))
		status = UDS_ERR_CORRUPT;
	return status;
}

/* ---- save and load --------------------------------------------------------------------------- */

/* Bytes of a buffer that holds any list and is worth a write. */
#define BUFFER_BYTES (4 * 8192)

static uds_status
save_group(const uds_delta_index *delta, uint32_t first, uint32_t count, uds_stream *stream)
{
	uint8_t buffer[BUFFER_BYTES];
	saved_list saved[UDS_DELTA_BLOCK_LISTS] = { 0 };
	uint32_t used = 0;
	uds_status status;

	for (uint32_t i = 0; i < count; i++)
	{
		const uds_delta_list *list = uds_delta_blocks_list(&delta->blocks, first + i);

		saved[i].bits = list->bits;
		saved[i].mark = list->bits > 0 ? list->mark : 0;
	}
	status = uds_stream_write(stream, saved, count * sizeof(saved[0]));
	for (uint32_t i = 0; status == UDS_OK && i < count; i++)
	{
		uint32_t bytes = uds_delta_blocks_bytes(saved[i].bits);

		if (used + bytes > sizeof(buffer))
		{
			status = uds_stream_write(stream, buffer, used);
			used = 0;
			if (status != UDS_OK)
				return status;
		}
		status = uds_delta_index_copy_out(delta, first + i, buffer + used);
		used += bytes;
	}
	if (status == UDS_OK && used > 0)
		status = uds_stream_write(stream, buffer, used);
	return status;
}

uds_status
uds_index_lists_save(const uds_index_lists *index, uint32_t zone_number, uds_stream *stream)
{
	const lists_zone *zone;
	const uds_delta_index *delta;
	uint64_t end = PART_END;
	part_header header = { 0 };
	uds_status status;

	if (zone_number >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	zone = zone_of(index, zone_number);
	delta = delta_of(zone);
	header.magic = PART_MAGIC;
	header.records_per_chapter = index->parameters.records_per_chapter;
	header.chapters = index->parameters.chapters;
	header.mean_delta = index->parameters.mean_delta;
	header.list_count = index->list_count;
	header.first_list = (uint32_t) uds_index_lists_zone_start(index, zone_number);
	header.lists = zone->lists;
	header.oldest = zone->low;
	header.newest = zone->newest;
	header.records = delta->records;
	header.collisions = delta->collisions;
	header.used_bytes = delta->blocks.used_bytes;
	status = uds_stream_write(stream, &header, sizeof(header));
	for (uint32_t list = 0; status == UDS_OK && list < zone->lists; list += UDS_DELTA_BLOCK_LISTS)
		status =
			save_group(delta, list, UDS_MIN(zone->lists - list, UDS_DELTA_BLOCK_LISTS), stream);
	return status == UDS_OK ? uds_stream_write(stream, &end, sizeof(end)) : status;
}

/* Does a part belong to this index, and make sense? */
static bool
header_is_sound(const uds_index_lists *index, const part_header *header)
{
	if (header->magic != PART_MAGIC || header->reserved != 0 ||
	    header->records_per_chapter != index->parameters.records_per_chapter ||
	    header->chapters != index->parameters.chapters ||
	    header->mean_delta != index->parameters.mean_delta ||
	    header->list_count != index->list_count)
		return false;
	if (header->lists == 0 || header->lists > index->list_count ||
	    header->first_list > index->list_count - header->lists)
		return false;
	if (header->newest == UDS_NO_CHAPTER || header->oldest > header->newest ||
	    header->newest - header->oldest >= index->parameters.chapters)
		return false;
	return header->collisions <= header->records &&
	       (!index->is_loaded || header->newest == index->loaded_newest);
}

/* Take the window of a part for all zones. */
static uds_status
load_window(uds_index_lists *index, const part_header *header)
{
	for (uint32_t z = 0; z < index->parameters.zone_count; z++)
	{
		lists_zone *zone = zone_of(index, z);

		if (zone->newest > header->newest || zone->oldest > header->newest)
			return UDS_ERR_CORRUPT;
		zone->newest = header->newest;
		zone->oldest = UDS_MAX(zone->oldest, header->oldest);
		zone->low = UDS_MAX(zone->low, zone->oldest);
	}
	index->is_loaded = true;
	index->loaded_newest = header->newest;
	return UDS_OK;
}

/* Take one list, not empty, of a part. */
static uds_status
load_list(uds_index_lists *index, uint32_t number, const saved_list *saved, const uint8_t *bytes,
          part_header *left)
{
	uint64_t bound = bound_of(index, left->newest, saved->mark);
	uint32_t mask = (1u << index->chapter_bits) - 1;
	lists_zone *zone = zone_of(index, number / index->zone_lists);
	uds_delta_index *delta = delta_of(zone);
	uint32_t list = number % index->zone_lists;
	uint64_t records = delta->records;
	uint64_t collisions = delta->collisions;
	uds_delta_cursor cursor;
	uds_status status;

	if (saved->bits % 8 != 0 && bytes[saved->bits / 8] >> saved->bits % 8 != 0)
		return UDS_ERR_CORRUPT;
	status = uds_delta_index_copy_in(delta,
	                                 list,
	                                 bytes,
	                                 saved->bits,
	                                 index->address_bits,
	                                 (uint32_t) bound & mask,
	                                 (uint32_t) UDS_MIN(left->newest - bound, UINT32_MAX));
	if (status != UDS_OK)
		return status;
	left->records -= delta->records - records;
	left->collisions -= delta->collisions - collisions;
	left->used_bytes -= uds_delta_blocks_bytes(saved->bits);
	*uds_delta_index_mark(delta, list) = saved->mark;
	/* so that marks never become ambiguous, however often an index is saved and loaded */
	if (bound < zone->low)
		return expire_list(index, zone, list, bound, 0, NULL, &cursor);
	return UDS_OK;
}

/* Read one part; after an error the index is in disorder. */
static uds_status
load_part(uds_index_lists *index, uds_stream *stream)
{
	uint8_t buffer[UDS_DELTA_LIST_BITS_MAX / 8 + 1];
	saved_list saved[UDS_DELTA_BLOCK_LISTS];
	part_header header;
	uint64_t end;
	uds_status status = uds_stream_read(stream, &header, sizeof(header));

	if (status != UDS_OK)
		return status;
	if (!header_is_sound(index, &header))
		return UDS_ERR_CORRUPT;
	status = load_window(index, &header);
	for (uint32_t list = 0; list < header.lists; list += UDS_DELTA_BLOCK_LISTS)
	{
		uint32_t count = UDS_MIN(header.lists - list, UDS_DELTA_BLOCK_LISTS);

		if (status == UDS_OK)
			status = uds_stream_read(stream, saved, count * sizeof(saved[0]));
		for (uint32_t i = 0; status == UDS_OK && i < count; i++)
		{
			if (saved[i].bits == 0)
				continue;
			status = uds_stream_read(stream, buffer, uds_delta_blocks_bytes(saved[i].bits));
			if (status == UDS_OK)
				status = load_list(index, header.first_list + list + i, &saved[i], buffer, &header);
		}
		if (status != UDS_OK)
			return status;
	}
	status = uds_stream_read(stream, &end, sizeof(end));
	if (status == UDS_OK && (end != PART_END || header.records != 0 || header.collisions != 0 ||
	                         header.used_bytes != 0))
		status = UDS_ERR_CORRUPT;
	return status;
}

uds_status
uds_index_lists_load(uds_index_lists *index, uds_stream *stream)
{
	uds_index_parameters parameters = index->parameters;
	uds_status status = load_part(index, stream);

	if (status == UDS_OK)
		return UDS_OK;
	parameters.is_zeroed = false;
	if (uds_index_lists_init(index, &parameters) != UDS_OK)
		return UDS_ERR_INTERNAL;
	return status;
}
