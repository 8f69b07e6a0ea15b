/*
 * bucket_zones.h: the memory of an index of buckets: its layout, its zones, their expiry and sweep.
 *
 * What index_buckets and bucket_parts share.  Functions are for the thread that has the zone.
 */
#ifndef UDS_BUCKET_ZONES_H
#define UDS_BUCKET_ZONES_H

#include "bucket.h"
#include "bucket_exact.h"
#include "bucket_side.h"
#include "index_buckets.h"

#define UDS_BUCKET_ZONES_POSTS_PER_SWEEP 8

typedef struct uds_bucket_zone
{
	_Alignas(UDS_CACHE_LINE) uint64_t oldest; /* owner, as all that follows */
	uint64_t newest;
	uint64_t first_bucket; /* const */
	uint64_t bucket_count; /* const */
	uint64_t ring_records; /* entries in buckets */
	uint64_t posts;
	uint64_t sweep_bucket; /* next of the round, counted from first_bucket */
	uint64_t swept;        /* buckets swept since newest was set */
	uint64_t discards;
	uint64_t expired;
	uint64_t lost;
	uint64_t overflows;
	uint64_t evictions;
	uds_bucket_side side;
	uds_bucket_exact exact;
} uds_bucket_zone;

struct uds_index_buckets
{
	uds_index_parameters parameters; /* const */
	uds_bucket_shape shape;          /* const */
	uint64_t bucket_count;           /* const */
	uint64_t zone_buckets;           /* const: of each zone but the last */
	uint64_t side_lines;             /* const: of each zone */
	uint64_t exact_lines;            /* const: of each zone */
	uint64_t sweep_chapters;         /* const: chapters of the slowest round */
	uds_bucket *buckets;             /* const: inside the block */
	uint64_t parts;                  /* loaded so far */
	uds_bucket_zone zones[UDS_ZONES_MAX];
};

/* What a name stands for. */
typedef struct uds_bucket_target
{
	uds_bucket_zone *zone;
	uds_bucket *bucket;
	uint64_t number; /* of the bucket */
	uint32_t address;
} uds_bucket_target;

/* As uds_index_buckets_size and uds_index_buckets_init. */
size_t uds_bucket_zones_size(const uds_index_parameters *parameters);
UDS_MUST_CHECK uds_status uds_bucket_zones_init(uds_index_buckets *index,
                                                const uds_index_parameters *parameters);

/*
 * Drop the entries of a bucket that are below the window, and the flag of its side entries when
 * there were any.  UDS_ERR_CORRUPT when head or count are impossible.
 */
UDS_MUST_CHECK uds_status uds_bucket_zones_expire(const uds_index_buckets *index,
                                                  uds_bucket_zone *zone, uds_bucket *bucket);

/* Remove an exact entry, and the flag of its bucket when it was the last one. */
void uds_bucket_zones_drop_exact(const uds_index_buckets *index, uds_bucket_zone *zone,
                                 uint64_t slot);

/* Sweep the next bucket and lines of the tables.  Valid entries stay in their places. */
UDS_MUST_CHECK uds_status uds_bucket_zones_sweep(const uds_index_buckets *index,
                                                 uds_bucket_zone *zone);

/* As uds_index_buckets_set_window. */
UDS_MUST_CHECK uds_status uds_bucket_zones_set_window(uds_index_buckets *index,
                                                      uint32_t zone_number, uint64_t oldest,
                                                      uint64_t newest);

/* Bucket of a name. */
static inline uint64_t
uds_bucket_zones_number(const uds_index_buckets *index, const uds_name *name)
{
	return uds_bucket_exact_bucket(name, index->bucket_count);
}

/* Zone of a bucket; both numbers fit 32 bits, and that division is faster. */
static inline uint32_t
uds_bucket_zones_zone(const uds_index_buckets *index, uint64_t number)
{
	if (index->parameters.zone_count == 1)
		return 0;
	return (uint32_t) number / (uint32_t) index->zone_buckets;
}

/* Everything about a name. */
static inline uds_bucket_target
uds_bucket_zones_target(uds_index_buckets *index, const uds_name *name)
{
	uint64_t number = uds_bucket_zones_number(index, name);

	return (uds_bucket_target){ .zone = index->zones + uds_bucket_zones_zone(index, number),
		                        .bucket = index->buckets + number,
		                        .number = number,
		                        .address = (uint32_t) uds_name_volume_field(name) &
		                                   UDS_BUCKET_ADDRESS_MASK };
}

/* Epoch of the newest chapter. */
static inline uint64_t
uds_bucket_zones_epoch(const uds_index_buckets *index, const uds_bucket_zone *zone)
{
	return zone->newest >> index->shape.step_bits;
}

/* Number of a target's bucket in its zone. */
static inline uint64_t
uds_bucket_zones_local(const uds_bucket_target *at)
{
	return at->number - at->zone->first_bucket;
}

/* The part of the sweep that belongs to a post. */
UDS_MUST_CHECK static inline uds_status
uds_bucket_zones_after_post(const uds_index_buckets *index, uds_bucket_zone *zone)
{
	zone->posts++;
	if (UDS_LIKELY(zone->posts % UDS_BUCKET_ZONES_POSTS_PER_SWEEP != 0))
		return UDS_OK;
	return uds_bucket_zones_sweep(index, zone);
}

#endif
