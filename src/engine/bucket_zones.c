/*
 * bucket_zones.c: the memory of an index of buckets.
 *
 * Memory: the index with its zones; the buckets of all zones; for each zone its side table, then
 * its exact table.
 *
 * Buckets know the epoch of their oldest entry mod 128 only, so each has to be looked at before the
 * newest chapter is 128 epochs ahead of it.  A sweep goes round the zone: one bucket in 8 posts,
 * and, whatever the number of posts is, so many a chapter that a round takes no more than half the
 * chapters there are.  It reclaims side and exact entries on its way.
 */
#include "bucket_zones.h"

#define BUCKETS_MIN      256 /* 16 x 16: so many zones always get some */
#define BUCKETS_MAX      (UINT64_C(1) << 32)
#define FREE_SLOTS       7    /* of a bucket, on average, when the window is full */
#define SIDE_SHARE       50   /* one slot of the side table for so many records */
#define SIDE_SLOTS_EXTRA 224  /* small zones vary more */
#define EXACT_SHARE      2560 /* one slot of the exact table for so many records */
#define CHAPTERS_MAX     (UINT32_C(1) << 20)
#define POSTS_PER_EXACT  64 /* sweeps of an exact line */

/* Fill the constants of an index but its pointers; bytes needed, 0 if out of range. */
static size_t
lay_out(uds_index_buckets *index, const uds_index_parameters *parameters)
{
	uint64_t records;
	uint64_t spread;
	uint64_t slots;
	uint32_t fill;

	memset(index, 0, sizeof(*index));
	if (parameters->records_per_chapter == 0 || parameters->chapters < 2 ||
	    parameters->chapters > CHAPTERS_MAX || parameters->zone_count == 0 ||
	    parameters->zone_count > UDS_ZONES_MAX || parameters->mean_delta == 0 ||
	    __builtin_mul_overflow(parameters->records_per_chapter, parameters->chapters, &records) ||
	    __builtin_mul_overflow(records, parameters->mean_delta, &spread))
		return 0;
	index->parameters = *parameters;
	uds_bucket_shape_init(&index->shape, parameters->chapters);
	fill = index->shape.slots - FREE_SLOTS;
	index->bucket_count = records / fill + 1;
	/* buckets x 2^18 addresses for records entries: a mean distance of mean_delta. */
	index->bucket_count = UDS_MAX(index->bucket_count, (spread >> UDS_BUCKET_ADDRESS_BITS) + 1);
	index->bucket_count = UDS_MAX(index->bucket_count, BUCKETS_MIN);
	if (index->bucket_count > BUCKETS_MAX)
		return 0;
	index->zone_buckets =
		(index->bucket_count + parameters->zone_count - 1) / parameters->zone_count;
	slots = index->zone_buckets * fill / SIDE_SHARE + SIDE_SLOTS_EXTRA;
	index->side_lines = slots / UDS_BUCKET_SIDE_LINE_ENTRIES + 1;
	slots = index->zone_buckets * fill / EXACT_SHARE;
	index->exact_lines = slots / UDS_BUCKET_EXACT_LINE_ENTRIES + UDS_BUCKET_EXACT_LINES_MIN;
	/* Half of what the epochs that a bucket can tell apart leave beside those of the window. */
	index->sweep_chapters = (uint64_t) (UDS_BUCKET_EPOCHS - 2 - index->shape.span)
	                        << index->shape.step_bits;
	index->sweep_chapters /= 2;
	return sizeof(*index) + index->bucket_count * sizeof(uds_bucket) +
	       parameters->zone_count * (index->side_lines * sizeof(uds_bucket_side_line) +
	                                 index->exact_lines * sizeof(uds_bucket_exact_line));
}

size_t
uds_bucket_zones_size(const uds_index_parameters *parameters)
{
	uds_index_buckets index;

	return lay_out(&index, parameters);
}

uds_status
uds_bucket_zones_init(uds_index_buckets *index, const uds_index_parameters *parameters)
{
	bool is_zeroed = parameters->is_zeroed;
	unsigned char *next = (unsigned char *) (index + 1);
	uds_index_buckets empty;
	size_t bytes = lay_out(&empty, parameters);

	if (bytes == 0)
		return UDS_ERR_ARGUMENT;
	*index = empty; /* parameters may have been a part of it */
	if (!is_zeroed)
		memset(next, 0, bytes - sizeof(*index));
	index->buckets = (uds_bucket *) (void *) next;
	next += index->bucket_count * sizeof(uds_bucket);
	for (uint32_t i = 0; i < empty.parameters.zone_count; i++)
	{
		uds_bucket_zone *at = index->zones + i;

		at->first_bucket = i * index->zone_buckets;
		at->bucket_count = UDS_MIN(index->zone_buckets, index->bucket_count - at->first_bucket);
		uds_bucket_side_init(&at->side, (uds_bucket_side_line *) (void *) next, index->side_lines);
		next += index->side_lines * sizeof(uds_bucket_side_line);
		uds_bucket_exact_init(&at->exact,
		                      (uds_bucket_exact_line *) (void *) next,
		                      index->exact_lines,
		                      index->bucket_count);
		next += index->exact_lines * sizeof(uds_bucket_exact_line);
	}
	return UDS_OK;
}

uds_status
uds_bucket_zones_expire(const uds_index_buckets *index, uds_bucket_zone *zone, uds_bucket *bucket)
{
	const uds_bucket_shape *shape = &index->shape;
	uint32_t header = uds_bucket_header(bucket);
	uint32_t left = uds_bucket_count(header);
	uint32_t dropped = 0;

	if (UDS_UNLIKELY(!uds_bucket_is_ring(shape, header)))
		return UDS_ERR_CORRUPT;
	while (left > 0 &&
	       uds_bucket_oldest(shape, bucket, uds_bucket_zones_epoch(index, zone)).chapter <
	           zone->oldest)
	{
		uds_bucket_pop(shape, bucket);
		left--;
		dropped++;
	}
	if (dropped > 0)
	{
		zone->expired += dropped;
		zone->ring_records -= dropped;
		/* Its side entries are older, so they have expired too. */
		uds_bucket_set_header(bucket, uds_bucket_header(bucket) & ~UDS_BUCKET_HAS_SIDE);
	}
	return UDS_OK;
}

void
uds_bucket_zones_drop_exact(const uds_index_buckets *index, uds_bucket_zone *zone, uint64_t slot)
{
	uint64_t number = uds_bucket_zones_number(index, uds_bucket_exact_name(&zone->exact, slot));
	uds_bucket *bucket = index->buckets + number;

	uds_bucket_exact_remove(&zone->exact, slot);
	if (!uds_bucket_exact_has(&zone->exact, number))
		uds_bucket_set_header(bucket, uds_bucket_header(bucket) & ~UDS_BUCKET_HAS_EXACT);
}

static void
sweep_exact(const uds_index_buckets *index, uds_bucket_zone *zone, uint64_t lines)
{
	uds_bucket_exact *exact = &zone->exact;

	if (exact->used == 0)
		return;
	for (lines = UDS_MIN(lines, exact->line_count); lines > 0; lines--)
	{
		uint64_t slot = exact->sweep_line * UDS_BUCKET_EXACT_LINE_ENTRIES;

		for (uint32_t i = 0; i < UDS_BUCKET_EXACT_LINE_ENTRIES; i++, slot++)
		{
			if (!uds_bucket_exact_is_used(exact, slot) ||
			    *uds_bucket_exact_chapter(exact, slot) >= zone->oldest)
				continue;
			uds_bucket_zones_drop_exact(index, zone, slot);
			zone->expired++;
		}
		exact->sweep_line = exact->sweep_line + 1 == exact->line_count ? 0 : exact->sweep_line + 1;
	}
}

static uds_status
sweep_buckets(const uds_index_buckets *index, uds_bucket_zone *zone, uint64_t count)
{
	uds_bucket *first = index->buckets + zone->first_bucket;

	for (uint64_t i = 0; i < count; i++)
	{
		uds_status status = uds_bucket_zones_expire(index, zone, first + zone->sweep_bucket);

		if (status != UDS_OK)
			return status;
		if (++zone->sweep_bucket == zone->bucket_count)
			zone->sweep_bucket = 0;
	}
	zone->swept += count;
	/* The first lines of the next bucket, for the next time. */
	__builtin_prefetch(first[zone->sweep_bucket].bytes + UDS_BUCKET_HEADER);
	__builtin_prefetch(first[zone->sweep_bucket].bytes);
	return UDS_OK;
}

uds_status
uds_bucket_zones_sweep(const uds_index_buckets *index, uds_bucket_zone *zone)
{
	zone->expired += uds_bucket_side_sweep(&zone->side, 1, zone->oldest, zone->newest);
	if (zone->posts % POSTS_PER_EXACT == 0)
		sweep_exact(index, zone, 1);
	return sweep_buckets(index, zone, 1);
}

uds_status
uds_bucket_zones_set_window(uds_index_buckets *index, uint32_t zone_number, uint64_t oldest,
                            uint64_t newest)
{
	uds_bucket_zone *zone;
	uint64_t advance;
	uint64_t quota;
	uint64_t todo;

	if (zone_number >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	zone = index->zones + zone_number;
	if (oldest > newest || newest - oldest >= index->parameters.chapters || oldest < zone->oldest ||
	    newest < zone->newest || newest == UDS_NO_CHAPTER)
		return UDS_ERR_ARGUMENT;
	advance = newest - zone->newest;
	zone->oldest = oldest;
	if (advance == 0)
		return UDS_OK;

	/*
	 * Buckets are read with the old newest chapter: that is the one they are unambiguous for.  What
	 * posts have swept counts, but for a leap: no bucket is left out then.
	 */
	quota = (zone->bucket_count + index->sweep_chapters - 1) / index->sweep_chapters;
	todo = zone->bucket_count;
	if (advance < index->sweep_chapters)
		todo = UDS_MIN(advance * quota - UDS_MIN(zone->swept, quota), todo);
	if (zone->ring_records > 0)
	{
		uds_status status = sweep_buckets(index, zone, todo);

		if (status != UDS_OK)
			return status;
	}
	zone->expired += uds_bucket_side_sweep(&zone->side, advance, oldest, zone->newest);
	sweep_exact(index, zone, advance);
	zone->newest = newest;
	zone->swept = 0;
	return UDS_OK;
}
