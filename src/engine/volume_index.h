/*
 * volume_index.h: the map from names to chapters, over one of two structures.
 *
 * An index has one sub-index when it is dense.  A sparse one has two, hooks and non-hooks (spec 01
 * section 5.1); calls choose the sub-index of a name, so a second one changes nothing for callers.
 *
 * Each zone's slice is touched by one worker at a time: the holder of the zone (zone.h).
 */
#ifndef UDS_VOLUME_INDEX_H
#define UDS_VOLUME_INDEX_H

#include "geometry.h"
#include "index_buckets.h"
#include "index_entry.h"
#include "index_lists.h"

typedef enum uds_index_structure
{
	UDS_STRUCTURE_BUCKETS = 0,
	UDS_STRUCTURE_LISTS = 1
} uds_index_structure;

#define UDS_SUB_INDEXES_MAX 2

/* In the shared block; pointers lead into the block. */
typedef struct uds_volume_index
{
	uds_index_structure structure;         /* const */
	uint32_t zone_count;                   /* const */
	uint32_t part_count;                   /* const after load: parts of the save that was loaded */
	uint64_t part_start[UDS_ZONES_MAX];    /* const after load: first position of a part */
	uint64_t part_boundary[UDS_ZONES_MAX]; /* const after load: its boundary */
	union
	{
		uds_index_buckets *buckets;
		uds_index_lists *lists;
	} dense; /* const */
} uds_volume_index;

/* Bytes of the memory behind a volume index, 0 when the parameters do not fit. */
size_t uds_volume_index_size(const uds_geometry *geometry, uds_index_structure structure,
                             uint32_t zone_count);

/*
 * Lay out an empty index in memory of that size, 64-byte aligned.  is_zeroed: the memory holds
 * zeros.
 */
UDS_MUST_CHECK uds_status uds_volume_index_init(uds_volume_index *index, void *memory,
                                                const uds_geometry *geometry,
                                                uds_index_structure structure, uint32_t zone_count,
                                                bool is_zeroed);

/* The calls of index_entry.h for the sub-index of a name. */
static inline uint32_t
uds_volume_index_zone(const uds_volume_index *index, const uds_name *name)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_zone(index->dense.buckets, name);
	return uds_index_lists_zone(index->dense.lists, name);
}

static inline void
uds_volume_index_prefetch(const uds_volume_index *index, const uds_name *name)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		uds_index_buckets_prefetch(index->dense.buckets, name);
	else
		uds_index_lists_prefetch(index->dense.lists, name);
}

/* Second stage: what lies beside the lines of the first one, which have arrived meanwhile. */
static inline void
uds_volume_index_prefetch_beside(const uds_volume_index *index, const uds_name *name)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		uds_index_buckets_prefetch_side(index->dense.buckets, name);
}

UDS_MUST_CHECK static inline uds_status
uds_volume_index_get(uds_volume_index *index, const uds_name *name, uds_index_entry *entry)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_get(index->dense.buckets, name, entry);
	return uds_index_lists_get(index->dense.lists, name, entry);
}

UDS_MUST_CHECK static inline uds_status
uds_volume_index_put(uds_volume_index *index, uds_index_entry *entry, uint64_t chapter)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_put(index->dense.buckets, entry, chapter);
	return uds_index_lists_put(index->dense.lists, entry, chapter);
}

UDS_MUST_CHECK static inline uds_status
uds_volume_index_move(uds_volume_index *index, uds_index_entry *entry, uint64_t chapter)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_move(index->dense.buckets, entry, chapter);
	return uds_index_lists_move(index->dense.lists, entry, chapter);
}

UDS_MUST_CHECK uds_status uds_volume_index_set_window(uds_volume_index *index, uint32_t zone,
                                                      uint64_t oldest, uint64_t newest);

/* Sums over the sub-indexes of a zone. */
void uds_volume_index_counters(const uds_volume_index *index, uint32_t zone,
                               uds_index_counters *counters);

/* Save the part of one zone: everything in chapters below boundary is complete in it. */
UDS_MUST_CHECK uds_status uds_volume_index_save(const uds_volume_index *index, uint32_t zone,
                                                uint64_t boundary, uds_stream *stream);

/*
 * Load the next part, saved with any zone count, into an index that was just laid out.  Parts come
 * in the order of their zones.  After a failure the index can be used, but parts loaded before may
 * be there or not: lay it out again before the next load.
 */
UDS_MUST_CHECK uds_status uds_volume_index_load(uds_volume_index *index, uds_stream *stream);

/* Boundary of the loaded part a name lies in; 0 when nothing was loaded. */
uint64_t uds_volume_index_boundary(const uds_volume_index *index, const uds_name *name);

UDS_MUST_CHECK uds_status uds_volume_index_check(const uds_volume_index *index, uint32_t zone);

#endif
