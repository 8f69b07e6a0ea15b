/*
 * index_entry.h: what the two structures of the volume index (index_lists, index_buckets) share:
 * their parameters, the handle of an entry, counters.
 *
 * Contract of both structures, with <s> = lists or buckets.  A structure is one sub-index (spec 01
 * section 5.1): a map from names to the chapter that may hold the record, in zone_count slices,
 * each touched by one thread at a time.  It lies in memory of the caller and holds no pointer that
 * leads out of it.
 *
 *   size_t uds_index_<s>_size(const uds_index_parameters *parameters)
 *       Bytes needed, a multiple of 64; 0 when the parameters are out of range.
 *   uds_status uds_index_<s>_init(uds_index_<s> *index, const uds_index_parameters *parameters)
 *       Lay out an empty index in memory of that size, 64-byte aligned.  Writes what has to be
 *       written: 240 MB of buckets need not be touched when the memory is known to be zero
 *       (is_zeroed).  Window [0, 0].
 *   uint32_t uds_index_<s>_zone(const uds_index_<s> *index, const uds_name *name)
 *       The zone of a name: a pure function of name and parameters.
 *   uint64_t uds_index_<s>_position(const uds_index_<s> *index, const uds_name *name)
 *   uint64_t uds_index_<s>_zone_start(const uds_index_<s> *index, uint32_t zone)
 *       Position (bucket or list number) of a name, 0..2^32-1; first position of a zone.  The same
 *       for every zone count.
 *   void uds_index_<s>_prefetch(const uds_index_<s> *index, const uds_name *name)
 *       Ask for the cache lines that a get of this name touches first.
 *   uds_status uds_index_<s>_get(uds_index_<s> *index, const uds_name *name,
 *                                uds_index_entry *entry)
 *       Find the entry of a name: EXACT when an entry with the full name is there, else HINT when
 *       one with its address is, else NONE.  Entries whose chapter is below the window do not
 *       exist; no chapter outside the window is ever returned.  UDS_OK or UDS_ERR_CORRUPT (the
 *       structure's memory makes no sense; nothing was changed).
 *   uds_status uds_index_<s>_put(uds_index_<s> *index, uds_index_entry *entry, uint64_t chapter)
 *       Insert the name of an entry of kind NONE (a hint) or HINT (an exact entry beside it).
 *       chapter must be the newest of the window, else UDS_ERR_ARGUMENT.  An EXACT entry is
 *       UDS_DUPLICATE.  No room: UDS_OVERFLOW, counted, the entry stays as it was.  On UDS_OK the
 *       entry is HINT or EXACT with that chapter.
 *   uds_status uds_index_<s>_move(uds_index_<s> *index, uds_index_entry *entry, uint64_t chapter)
 *       Set the chapter of a HINT or EXACT entry; chapter as in put.  NONE: UDS_ERR_BAD_STATE.
 *   uds_status uds_index_<s>_remove(uds_index_<s> *index, uds_index_entry *entry)
 *       Remove a HINT or EXACT entry (it becomes NONE).  NONE: UDS_ERR_BAD_STATE.
 *   uds_status uds_index_<s>_set_window(uds_index_<s> *index, uint32_t zone, uint64_t oldest,
 *                                       uint64_t newest)
 *       Set the valid chapters of a zone; newest - oldest < parameters.chapters.  Neither bound
 *       ever moves back, else UDS_ERR_ARGUMENT.  Bounded work (no walk over the zone).
 *   uint64_t uds_index_<s>_oldest(const uds_index_<s> *index, uint32_t zone)
 *       Lower bound of that window: what was set last or, when that is higher, came with a loaded
 *       part.
 *   void uds_index_<s>_counters(const uds_index_<s> *index, uint32_t zone,
 *                               uds_index_counters *counters)
 *   uds_status uds_index_<s>_save(const uds_index_<s> *index, uint32_t zone, uds_stream *stream)
 *       Write the part of one zone, its range of positions and its window included.
 *   uds_status uds_index_<s>_load(uds_index_<s> *index, uds_stream *stream)
 *       Read one part, saved with any zone count, into an index that has no entries at its
 *       positions.  Windows: every zone's oldest becomes the maximum of what the parts say, newest
 *       must be the same in all parts that are loaded.  UDS_ERR_CORRUPT, or the error of the
 *       stream: the index is empty (re-initialised) and usable.
 *   uds_status uds_index_<s>_check(const uds_index_<s> *index, uint32_t zone)
 *       Walk the whole zone and check every invariant: UDS_OK or UDS_ERR_CORRUPT.
 *
 * Handles: an entry is good until anything of its list or bucket is changed through another one.
 */
#ifndef UDS_INDEX_ENTRY_H
#define UDS_INDEX_ENTRY_H

#include "record.h"
#include "stream.h"

#define UDS_ZONES_MAX 16

/* Mean distance of two addresses of the volume index: with it a name that is not stored finds an
 * entry of another name once in about 4096 times (spec 01 section 5.2). */
#define UDS_VOLUME_INDEX_MEAN_DELTA 4096

typedef struct uds_index_parameters
{
	uint64_t records_per_chapter; /* of the names that this sub-index holds */
	uint32_t chapters;            /* length of the window, in chapters, 2..2^20 */
	uint32_t zone_count;          /* 1..UDS_ZONES_MAX */
	uint32_t mean_delta;          /* UDS_VOLUME_INDEX_MEAN_DELTA but in tests */
	bool is_zeroed;               /* the memory given to init holds zeros */
} uds_index_parameters;

typedef enum uds_entry_kind
{
	UDS_ENTRY_NONE = 0,
	UDS_ENTRY_HINT = 1,
	UDS_ENTRY_EXACT = 2
} uds_entry_kind;

/* Handle of a name in the volume index; the caller's memory, filled by get. */
typedef struct uds_index_entry
{
	uds_name name;
	uint64_t chapter; /* of a HINT or EXACT entry */
	uds_entry_kind kind;
	uint32_t zone;
	uint64_t place[6]; /* private to the structure */
} uds_index_entry;

typedef struct uds_index_counters
{
	uint64_t records;       /* entries, exact ones and expired ones not yet removed included */
	uint64_t collisions;    /* exact entries among them */
	uint64_t discards;      /* entries removed by callers */
	uint64_t expired;       /* entries dropped because their chapter left the window */
	uint64_t lost;          /* valid entries given up for want of space */
	uint64_t overflows;     /* puts refused */
	uint64_t rebalances;    /* moves of neighbours to make space */
	uint64_t early_flushes; /* chapters given up early */
	uint64_t bytes_used;    /* of the memory, by entries */
} uds_index_counters;

#endif
