/*
 * volume_index.h: the map from names to chapters, over one of two structures.
 *
 * A dense index has one sub-index, for all names and chapters.  A sparse one has two (spec 01
 * section 5.1): hooks, one name in sample_rate, which cover all chapters, and non-hooks, which
 * cover the dense chapters.  Calls choose the sub-index of a name, so a second one changes nothing
 * for callers.
 *
 * Threads.  Each zone's slice is touched by one worker at a time: the holder of the zone (zone.h).
 * With a mutex of the zone, another worker may look up hooks meanwhile: whoever calls get, put or
 * move for a hook, set_window, counters, check or save holds it during the call.  Then:
 *
 * - A handle that the holder of the zone has got stays good while others only get; it is void when
 *   the holder changes its list or bucket through another handle, as ever.  A get of buckets
 *   changes nothing.  A get of lists may drop expired entries of its list and count them, but not
 *   where a get with the present window has been before.
 * - Calls for non-hooks need no mutex: the sub-indexes share nothing that changes.
 * - init and load are for the writer, while nobody else uses the index.
 * - zone, is_hook and boundary read constants.  So does prefetch, for hooks, by anybody: where a
 *   list lies changes, so lists of hooks are not asked for.  prefetch_beside is for the holder of
 *   the zone.
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
#define UDS_SUB_INDEX_HOOKS 1 /* number of that sub-index; 0 are all other names */

typedef union uds_sub_index
{
	uds_index_buckets *buckets;
	uds_index_lists *lists;
} uds_sub_index;

/* In the shared block; pointers lead into the block. */
typedef struct uds_volume_index
{
	uds_index_structure structure;           /* const */
	uint32_t sample_rate;                    /* const: 0 in a dense index */
	uds_sub_index subs[UDS_SUB_INDEXES_MAX]; /* const */
	uint32_t zone_count;                     /* const */
	uint32_t sub_count;                      /* const: 1, or 2 when sparse */
	uint32_t dense_chapters;                 /* const */
	uint32_t part_count; /* const after load: parts of the save that was loaded */
	uint64_t part_start[UDS_SUB_INDEXES_MAX][UDS_ZONES_MAX]; /* const after load: first position
	                                                          * of a part */
	uint64_t part_boundary[UDS_ZONES_MAX];                   /* const after load: its boundary */
	uds_index_parameters parameters[UDS_SUB_INDEXES_MAX];    /* const */
} uds_volume_index;

/*
 * Bytes of the memory behind a volume index, 0 when the parameters do not fit: among them a sparse
 * geometry whose sample rate is not 2..65536, or leaves a chapter without hooks.
 */
size_t uds_volume_index_size(const uds_geometry *geometry, uds_index_structure structure,
                             uint32_t zone_count);

/*
 * Lay out an empty index in memory of that size, 64-byte aligned.  is_zeroed: the memory holds
 * zeros.  UDS_ERR_ARGUMENT where the size is 0.
 */
UDS_MUST_CHECK uds_status uds_volume_index_init(uds_volume_index *index, void *memory,
                                                const uds_geometry *geometry,
                                                uds_index_structure structure, uint32_t zone_count,
                                                bool is_zeroed);

/* Does a name stay indexed when its chapter is sparse?  Never in a dense index. */
static inline bool
uds_volume_index_is_hook(const uds_volume_index *index, const uds_name *name)
{
	return uds_geometry_is_hook(index->sample_rate, uds_name_sampling_field(name));
}

static inline uds_sub_index
uds_volume_index_sub(const uds_volume_index *index, const uds_name *name)
{
	return index->subs[uds_volume_index_is_hook(index, name)];
}

/* The calls of index_entry.h for the sub-index of a name. */
static inline uint32_t
uds_volume_index_zone(const uds_volume_index *index, const uds_name *name)
{
	uds_sub_index sub = uds_volume_index_sub(index, name);

	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_zone(sub.buckets, name);
	return uds_index_lists_zone(sub.lists, name);
}

static inline void
uds_volume_index_prefetch(const uds_volume_index *index, const uds_name *name)
{
	uds_sub_index sub = uds_volume_index_sub(index, name);

	if (index->structure == UDS_STRUCTURE_BUCKETS)
		uds_index_buckets_prefetch(sub.buckets, name);
	else if (!uds_volume_index_is_hook(index, name))
		uds_index_lists_prefetch(sub.lists, name);
}

/* Second stage: what lies beside the lines of the first one, which have arrived meanwhile. */
static inline void
uds_volume_index_prefetch_beside(const uds_volume_index *index, const uds_name *name)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		uds_index_buckets_prefetch_side(uds_volume_index_sub(index, name).buckets, name);
}

UDS_MUST_CHECK static inline uds_status
uds_volume_index_get(uds_volume_index *index, const uds_name *name, uds_index_entry *entry)
{
	uds_sub_index sub = uds_volume_index_sub(index, name);

	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_get(sub.buckets, name, entry);
	return uds_index_lists_get(sub.lists, name, entry);
}

UDS_MUST_CHECK static inline uds_status
uds_volume_index_put(uds_volume_index *index, uds_index_entry *entry, uint64_t chapter)
{
	uds_sub_index sub = uds_volume_index_sub(index, &entry->name);

	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_put(sub.buckets, entry, chapter);
	return uds_index_lists_put(sub.lists, entry, chapter);
}

UDS_MUST_CHECK static inline uds_status
uds_volume_index_move(uds_volume_index *index, uds_index_entry *entry, uint64_t chapter)
{
	uds_sub_index sub = uds_volume_index_sub(index, &entry->name);

	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_move(sub.buckets, entry, chapter);
	return uds_index_lists_move(sub.lists, entry, chapter);
}

/*
 * Set the valid chapters of a zone: [oldest, newest] for hooks and in a dense index; for non-hooks
 * the newest dense_chapters of them.  An oldest that would move back, behind what was set before or
 * came with a loaded part, does not: the window then begins where it did.
 *
 * UDS_ERR_ARGUMENT  there is no such zone, newest would move back, or the window is longer than the
 *                   index; nothing has changed
 * UDS_ERR_CORRUPT   the memory makes no sense
 */
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
 * in the order of their zones.
 *
 * UDS_ERR_CORRUPT  it is not the next part of such an index: also one of a dense index for a sparse
 *                  one and the reverse, or of other numbers of hooks
 * others           of the stream
 *
 * After a failure the index is empty, parts loaded before included, and can be used.
 */
UDS_MUST_CHECK uds_status uds_volume_index_load(uds_volume_index *index, uds_stream *stream);

/* Boundary of the loaded part a name lies in; 0 when nothing was loaded. */
uint64_t uds_volume_index_boundary(const uds_volume_index *index, const uds_name *name);

UDS_MUST_CHECK uds_status uds_volume_index_check(const uds_volume_index *index, uint32_t zone);

#endif
