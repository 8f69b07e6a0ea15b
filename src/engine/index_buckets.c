/*
 * index_buckets.c: a sub-index of the volume index in age-ordered buckets.
 *
 * A name with volume field V lies in bucket V x buckets >> 64, at the address that is the low 18
 * bits of V.  Zones are ranges of buckets.
 *
 * An entry is appended to its bucket (bucket.h).  Before, expired entries are dropped from the old
 * end, and when the bucket is still full, its oldest entry goes to the side table (bucket_side.h).
 * So all side entries of a bucket are older than everything in it: the first entry that expires in
 * the bucket proves that its side entries have expired too, and the flag that it has some is
 * cleared.  A name whose address is taken has an exact entry (bucket_exact.h); the flag of its
 * bucket is set while the table holds an entry of the bucket, valid or not.
 *
 * Memory, expiry and sweep are in bucket_zones.c, saved parts in bucket_parts.c.
 */
#include "index_buckets.h"

#include "bucket_parts.h"
#include "bucket_zones.h"

#define EXACT_BYTES 24 /* of an entry, as counted */

/* entry->place[0]: where the entry is; entry->place[1] is its slot there. */
enum
{
	PLACE_BUCKET = 1,
	PLACE_SIDE = 2,
	PLACE_EXACT = 3
};

size_t
uds_index_buckets_size(const uds_index_parameters *parameters)
{
	return uds_bucket_zones_size(parameters);
}

uds_status
uds_index_buckets_init(uds_index_buckets *index, const uds_index_parameters *parameters)
{
	return uds_bucket_zones_init(index, parameters);
}

uint32_t
uds_index_buckets_zone(const uds_index_buckets *index, const uds_name *name)
{
	return uds_bucket_zones_zone(index, uds_bucket_zones_number(index, name));
}

uint64_t
uds_index_buckets_position(const uds_index_buckets *index, const uds_name *name)
{
	return uds_bucket_zones_number(index, name);
}

uint64_t
uds_index_buckets_zone_start(const uds_index_buckets *index, uint32_t zone)
{
	return index->zones[zone].first_bucket;
}

uds_status
uds_index_buckets_set_window(uds_index_buckets *index, uint32_t zone, uint64_t oldest,
                             uint64_t newest)
{
	return uds_bucket_zones_set_window(index, zone, oldest, newest);
}

uint64_t
uds_index_buckets_oldest(const uds_index_buckets *index, uint32_t zone)
{
	return index->zones[zone].oldest;
}

uds_status
uds_index_buckets_save(const uds_index_buckets *index, uint32_t zone, uds_stream *stream)
{
	return uds_bucket_parts_save(index, zone, stream);
}

uds_status
uds_index_buckets_load(uds_index_buckets *index, uds_stream *stream)
{
	return uds_bucket_parts_load(index, stream);
}

/* ---- prefetching ------------------------------------------------------------------------ */

/*
 * A function that only prefetches has no effect in the compiler's eyes: where it sees the body it
 * drops the call.
 */
#define KEEP_CALL() __asm__ volatile("")

void
uds_index_buckets_prefetch(const uds_index_buckets *index, const uds_name *name)
{
	const uint8_t *bytes = index->buckets[uds_bucket_zones_number(index, name)].bytes;

	__builtin_prefetch(bytes);
	__builtin_prefetch(bytes + UDS_CACHE_LINE);
	__builtin_prefetch(bytes + 2 * UDS_CACHE_LINE);
	KEEP_CALL();
}

void
uds_index_buckets_prefetch_side(const uds_index_buckets *index, const uds_name *name)
{
	uint64_t number = uds_bucket_zones_number(index, name);
	const uds_bucket_zone *zone = index->zones + uds_bucket_zones_zone(index, number);
	const uds_bucket *bucket = index->buckets + number;
	uint32_t header = uds_bucket_header(bucket);
	uint32_t address = (uint32_t) uds_name_volume_field(name) & UDS_BUCKET_ADDRESS_MASK;

	number -= zone->first_bucket;
	if ((header & UDS_BUCKET_HAS_SIDE) != 0)
		__builtin_prefetch(uds_bucket_side_home(&zone->side, number, address));
	if ((header & UDS_BUCKET_HAS_EXACT) != 0)
		__builtin_prefetch(uds_bucket_exact_home(&zone->exact, number + zone->first_bucket));
	/* A put would evict the oldest entry. */
	if (uds_bucket_count(header) == index->shape.slots && uds_bucket_is_ring(&index->shape, header))
	{
		uds_bucket_entry oldest =
			uds_bucket_oldest(&index->shape, bucket, uds_bucket_zones_epoch(index, zone));

		if (oldest.chapter >= zone->oldest)
			__builtin_prefetch(uds_bucket_side_home(&zone->side, number, oldest.address));
	}
	KEEP_CALL();
}

/* ---- search ----------------------------------------------------------------------------- */

/*
 * Find the newest plain entry of an address in a bucket: UDS_OK with slot and chapter,
 * UDS_NOT_FOUND or UDS_ERR_CORRUPT.
 */
static uds_status
search_bucket(const uds_index_buckets *index, const uds_bucket_target *at, uint32_t header,
              uint32_t *slot, uint64_t *chapter)
{
	const uds_bucket_shape *shape = &index->shape;
	uint64_t lanes = uds_bucket_match(at->bucket, at->address) & uds_bucket_occupied(shape, header);
	uds_status status = UDS_NOT_FOUND;

	for (; UDS_UNLIKELY(lanes != 0); lanes &= lanes - 1)
	{
		uint32_t lane = (uint32_t) __builtin_ctzll(lanes);
		uint64_t found;

		if ((uds_bucket_aux(shape, at->bucket, lane) & 3) != at->address >> 16)
			continue;
		if (!uds_bucket_chapter(shape,
		                        at->bucket,
		                        lane,
		                        uds_bucket_zones_epoch(index, at->zone),
		                        &found) ||
		    found > at->zone->newest)
			return UDS_ERR_CORRUPT;
		if (found < at->zone->oldest || (status == UDS_OK && found < *chapter))
			continue;
		*slot = lane;
		*chapter = found;
		status = UDS_OK;
	}
	return status;
}

uds_status
uds_index_buckets_get(uds_index_buckets *index, const uds_name *name, uds_index_entry *entry)
{
	uds_bucket_target at = uds_bucket_zones_target(index, name);
	uint32_t header = uds_bucket_header(at.bucket);
	uint32_t slot;
	uds_status status;

	entry->name = *name;
	entry->kind = UDS_ENTRY_NONE;
	entry->chapter = 0;
	entry->zone = (uint32_t) (at.zone - index->zones);
	if (UDS_UNLIKELY(!uds_bucket_is_ring(&index->shape, header)))
		return UDS_ERR_CORRUPT;
	if (UDS_UNLIKELY((header & UDS_BUCKET_HAS_EXACT) != 0))
	{
		entry->place[0] = PLACE_EXACT;
		entry->place[1] =
			uds_bucket_exact_find(&at.zone->exact, name, at.zone->oldest, &entry->chapter);
		if (entry->place[1] != UDS_BUCKET_EXACT_NONE)
		{
			entry->kind = UDS_ENTRY_EXACT;
			return UDS_OK;
		}
	}
	status = search_bucket(index, &at, header, &slot, &entry->chapter);
	if (status == UDS_OK)
	{
		entry->place[0] = PLACE_BUCKET;
		entry->place[1] = slot;
		entry->kind = UDS_ENTRY_HINT;
		return UDS_OK;
	}
	if (status == UDS_NOT_FOUND && (header & UDS_BUCKET_HAS_SIDE) != 0)
	{
		entry->place[0] = PLACE_SIDE;
		entry->place[1] = uds_bucket_side_find(&at.zone->side,
		                                       uds_bucket_zones_local(&at),
		                                       at.address,
		                                       at.zone->oldest,
		                                       at.zone->newest,
		                                       &entry->chapter);
		if (entry->place[1] != UDS_BUCKET_SIDE_NONE)
			entry->kind = UDS_ENTRY_HINT;
	}
	return status == UDS_NOT_FOUND ? UDS_OK : status;
}

/* Is the entry of a HINT or EXACT handle still where the handle says? */
static bool
is_in_place(const uds_index_buckets *index, const uds_bucket_target *at,
            const uds_index_entry *entry)
{
	uint64_t slot = entry->place[1];
	uint32_t header = uds_bucket_header(at->bucket);
	uint64_t chapter;

	if (entry->chapter < at->zone->oldest)
		return false;
	switch (entry->place[0])
	{
		case PLACE_BUCKET:
			return entry->kind == UDS_ENTRY_HINT && uds_bucket_is_ring(&index->shape, header) &&
			       slot < index->shape.slots &&
			       (uds_bucket_occupied(&index->shape, header) >> slot & 1) != 0 &&
			       uds_bucket_fingerprint(at->bucket, (uint32_t) slot) ==
			           (at->address & UINT16_MAX) &&
			       (uds_bucket_aux(&index->shape, at->bucket, (uint32_t) slot) & 3) ==
			           at->address >> 16 &&
			       uds_bucket_chapter(&index->shape,
			                          at->bucket,
			                          (uint32_t) slot,
			                          uds_bucket_zones_epoch(index, at->zone),
			                          &chapter) &&
			       chapter == entry->chapter;
		case PLACE_SIDE:
			return entry->kind == UDS_ENTRY_HINT &&
			       uds_bucket_side_holds(&at->zone->side,
			                             slot,
			                             &(uds_bucket_side_entry){ .bucket =
			                                                           uds_bucket_zones_local(at),
			                                                       .address = at->address,
			                                                       .chapter = entry->chapter });
		case PLACE_EXACT:
			return entry->kind == UDS_ENTRY_EXACT &&
			       slot < uds_bucket_exact_slots(&at->zone->exact) &&
			       uds_bucket_exact_is_used(&at->zone->exact, slot) &&
			       uds_name_equals(uds_bucket_exact_name(&at->zone->exact, slot), &entry->name) &&
			       *uds_bucket_exact_chapter(&at->zone->exact, slot) == entry->chapter;
		default:
			return false;
	}
}

/* ---- changes ---------------------------------------------------------------------------- */

/* Move the oldest entry of a full bucket to the side table, or give it up. */
static void
evict_oldest(const uds_index_buckets *index, const uds_bucket_target *at)
{
	uds_bucket_zone *zone = at->zone;
	uds_bucket_entry oldest =
		uds_bucket_oldest(&index->shape, at->bucket, uds_bucket_zones_epoch(index, zone));
	uds_bucket_side_entry entry = { .bucket = uds_bucket_zones_local(at),
		                            .address = oldest.address,
		                            .chapter = oldest.chapter };

	uds_bucket_pop(&index->shape, at->bucket);
	zone->ring_records--;
	if (uds_bucket_side_insert(&zone->side, &entry, zone->oldest, zone->newest, &zone->expired))
	{
		zone->evictions++;
		uds_bucket_set_header(at->bucket, uds_bucket_header(at->bucket) | UDS_BUCKET_HAS_SIDE);
	}
	else
		zone->lost++;
}

/* Make a plain entry of the newest chapter; entry becomes its handle. */
static uds_status
append_plain(const uds_index_buckets *index, const uds_bucket_target *at, uds_index_entry *entry)
{
	uint32_t slot;

	if (uds_bucket_count(uds_bucket_header(at->bucket)) == index->shape.slots)
		evict_oldest(index, at);
	slot = uds_bucket_append(&index->shape, at->bucket, at->address, at->zone->newest);
	if (UDS_UNLIKELY(slot == UDS_BUCKET_SLOTS_MAX))
		return UDS_ERR_CORRUPT;
	at->zone->ring_records++;
	entry->kind = UDS_ENTRY_HINT;
	entry->chapter = at->zone->newest;
	entry->place[0] = PLACE_BUCKET;
	entry->place[1] = slot;
	return UDS_OK;
}

/* Make an exact entry beside the plain one of another name. */
static uds_status
put_exact(const uds_index_buckets *index, const uds_bucket_target *at, uds_index_entry *entry)
{
	uds_bucket_exact *exact = &at->zone->exact;
	uint64_t slot = uds_bucket_exact_free_slot(exact, &entry->name);

	if (slot == UDS_BUCKET_EXACT_NONE)
	{
		slot = uds_bucket_exact_expired_slot(exact, &entry->name, at->zone->oldest);
		if (slot == UDS_BUCKET_EXACT_NONE)
		{
			at->zone->overflows++;
			return UDS_OVERFLOW;
		}
		uds_bucket_zones_drop_exact(index, at->zone, slot);
		at->zone->expired++;
	}
	uds_bucket_exact_insert(exact, slot, &entry->name, at->zone->newest);
	uds_bucket_set_header(at->bucket, uds_bucket_header(at->bucket) | UDS_BUCKET_HAS_EXACT);
	entry->kind = UDS_ENTRY_EXACT;
	entry->chapter = at->zone->newest;
	entry->place[0] = PLACE_EXACT;
	entry->place[1] = slot;
	return UDS_OK;
}

uds_status
uds_index_buckets_put(uds_index_buckets *index, uds_index_entry *entry, uint64_t chapter)
{
	uds_bucket_target at = uds_bucket_zones_target(index, &entry->name);
	uds_status status;

	if (chapter != at.zone->newest)
		return UDS_ERR_ARGUMENT;
	if (entry->kind == UDS_ENTRY_EXACT)
		return UDS_DUPLICATE;
	/* The sweep may come to the bucket at hand: only then is it read. */
	status = uds_bucket_zones_after_post(index, at.zone);
	if (status == UDS_OK)
		status = uds_bucket_zones_expire(index, at.zone, at.bucket);
	if (status != UDS_OK)
		return status;
	if (entry->kind == UDS_ENTRY_HINT)
		return put_exact(index, &at, entry);
	return append_plain(index, &at, entry);
}

/* Take a plain entry that is in place out of its bucket or the side table. */
static void
take_plain(const uds_index_buckets *index, const uds_bucket_target *at,
           const uds_index_entry *entry)
{
	if (entry->place[0] == PLACE_BUCKET)
	{
		uds_bucket_remove(&index->shape, at->bucket, (uint32_t) entry->place[1]);
		at->zone->ring_records--;
	}
	else
		uds_bucket_side_remove(&at->zone->side, entry->place[1]);
}

uds_status
uds_index_buckets_move(uds_index_buckets *index, uds_index_entry *entry, uint64_t chapter)
{
	uds_bucket_target at = uds_bucket_zones_target(index, &entry->name);
	uds_status status;

	if (entry->kind == UDS_ENTRY_NONE)
		return UDS_ERR_BAD_STATE;
	if (chapter != at.zone->newest)
		return UDS_ERR_ARGUMENT;
	if (!is_in_place(index, &at, entry))
		return UDS_ERR_BAD_STATE;
	if (entry->chapter == chapter)
		return UDS_OK;
	status = uds_bucket_zones_after_post(index, at.zone);
	if (status == UDS_OK)
		status = uds_bucket_zones_expire(index, at.zone, at.bucket);
	if (status != UDS_OK)
		return status;
	if (entry->kind == UDS_ENTRY_EXACT)
	{
		*uds_bucket_exact_chapter(&at.zone->exact, entry->place[1]) = chapter;
		entry->chapter = chapter;
		return UDS_OK;
	}
	take_plain(index, &at, entry);
	return append_plain(index, &at, entry);
}

uds_status
uds_index_buckets_remove(uds_index_buckets *index, uds_index_entry *entry)
{
	uds_bucket_target at = uds_bucket_zones_target(index, &entry->name);

	if (entry->kind == UDS_ENTRY_NONE || !is_in_place(index, &at, entry))
		return UDS_ERR_BAD_STATE;
	if (entry->kind == UDS_ENTRY_EXACT)
		uds_bucket_zones_drop_exact(index, at.zone, entry->place[1]);
	else
		take_plain(index, &at, entry);
	at.zone->discards++;
	entry->kind = UDS_ENTRY_NONE;
	return UDS_OK;
}

void
uds_index_buckets_counters(const uds_index_buckets *index, uint32_t zone_number,
                           uds_index_counters *counters)
{
	const uds_bucket_zone *zone = index->zones + zone_number;

	*counters = (uds_index_counters){
		.records = zone->ring_records + zone->side.used + zone->exact.used,
		.collisions = zone->exact.used,
		.discards = zone->discards,
		.expired = zone->expired,
		.lost = zone->lost,
		.overflows = zone->overflows,
		.rebalances = zone->evictions,
		.bytes_used = zone->ring_records * UDS_BUCKET_BYTES / index->shape.slots +
		              zone->side.used * sizeof(uint64_t) + zone->exact.used * EXACT_BYTES
	};
}

/* ---- check ------------------------------------------------------------------------------ */

/* Order, range and uniqueness of the entries of a bucket. */
static bool
is_bucket_valid(const uds_index_buckets *index, const uds_bucket_zone *zone, uint64_t number)
{
	const uds_bucket_shape *shape = &index->shape;
	const uds_bucket *bucket = index->buckets + number;
	uint32_t header = uds_bucket_header(bucket);
	uint64_t last = 0;

	if (!uds_bucket_is_sound(shape, bucket, zone->newest) ||
	    ((header & UDS_BUCKET_HAS_EXACT) != 0) != uds_bucket_exact_has(&zone->exact, number))
		return false;
	for (uint32_t age = 0; age < uds_bucket_count(header); age++)
	{
		uint32_t slot = uds_bucket_slot(shape, uds_bucket_head(header), age);
		uint32_t aux = uds_bucket_aux(shape, bucket, slot);
		uint64_t lanes = uds_bucket_match(bucket, uds_bucket_fingerprint(bucket, slot)) &
		                 uds_bucket_occupied(shape, header);
		uint64_t chapter;

		if (!uds_bucket_chapter(shape,
		                        bucket,
		                        slot,
		                        uds_bucket_zones_epoch(index, zone),
		                        &chapter) ||
		    chapter < last || chapter > zone->newest)
			return false;
		last = chapter;
		for (; lanes != 0; lanes &= lanes - 1)
		{
			uint32_t lane = (uint32_t) __builtin_ctzll(lanes);

			if (lane != slot && (uds_bucket_aux(shape, bucket, lane) & 3) == (aux & 3))
				return false;
		}
	}
	return true;
}

/* Valid side entries: their bucket is flagged, and nothing in it is older. */
static bool
is_side_valid(const uds_index_buckets *index, const uds_bucket_zone *zone)
{
	uds_bucket_side_entry entry;

	if (uds_bucket_side_check(&zone->side) != UDS_OK)
		return false;
	for (uint64_t slot = 0; slot < uds_bucket_side_slots(&zone->side); slot++)
	{
		const uds_bucket *bucket;
		uint32_t header;

		if (!uds_bucket_side_entry_at(&zone->side, slot, zone->newest, &entry) ||
		    entry.chapter < zone->oldest)
			continue;
		if (entry.bucket >= zone->bucket_count || entry.chapter > zone->newest)
			return false;
		bucket = index->buckets + zone->first_bucket + entry.bucket;
		header = uds_bucket_header(bucket);
		if ((header & UDS_BUCKET_HAS_SIDE) == 0 ||
		    (uds_bucket_count(header) > 0 &&
		     uds_bucket_oldest(&index->shape, bucket, uds_bucket_zones_epoch(index, zone)).chapter <
		         entry.chapter))
			return false;
	}
	return true;
}

/* Exact entries: in their zone, and their bucket is flagged. */
static bool
is_exact_valid(const uds_index_buckets *index, const uds_bucket_zone *zone)
{
	if (uds_bucket_exact_check(&zone->exact) != UDS_OK)
		return false;
	for (uint64_t slot = 0; slot < uds_bucket_exact_slots(&zone->exact); slot++)
	{
		uint64_t number;

		if (!uds_bucket_exact_is_used(&zone->exact, slot))
			continue;
		number = uds_bucket_zones_number(index, uds_bucket_exact_name(&zone->exact, slot));
		if (number - zone->first_bucket >= zone->bucket_count ||
		    *uds_bucket_exact_chapter(&zone->exact, slot) > zone->newest)
			return false;
	}
	return true;
}

uds_status
uds_index_buckets_check(const uds_index_buckets *index, uint32_t zone_number)
{
	const uds_bucket_zone *zone;
	uint64_t records = 0;

	if (zone_number >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	zone = index->zones + zone_number;
	for (uint64_t i = 0; i < zone->bucket_count; i++)
	{
		uint64_t number = zone->first_bucket + i;

		if (!is_bucket_valid(index, zone, number))
			return UDS_ERR_CORRUPT;
		records += uds_bucket_count(uds_bucket_header(index->buckets + number));
	}
	if (records != zone->ring_records || !is_side_valid(index, zone) ||
	    !is_exact_valid(index, zone))
		return UDS_ERR_CORRUPT;
	return UDS_OK;
}
