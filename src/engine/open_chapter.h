/*
 * open_chapter.h: the share of one zone in a chapter that is being filled, or closed and not yet on
 * the volume.
 *
 * Records take slots 0, 1, 2, ... and never leave them.  A deleted name keeps its slot, marked as a
 * tombstone; a later post of it turns the slot into a record again.  A hash table over the names
 * finds the slots.
 *
 * A share lies in memory of the caller and holds no pointer.  Its owner, the zone, is the only one
 * that calls init, reset, search, put, set and prefetch.  The others may be called by anybody:
 * slots below a count that was read have been written completely, but the owner may still set them,
 * until it has closed the chapter and told so.
 */
#ifndef UDS_OPEN_CHAPTER_H
#define UDS_OPEN_CHAPTER_H

#include <stdatomic.h>

#include "record.h"

#pragma GCC visibility push(hidden)

#define UDS_OPEN_CHAPTER_CAPACITY_MAX (1u << 20)

typedef struct uds_open_chapter
{
	uint32_t capacity;        /* const: slots */
	uint32_t cell_count;      /* const: cells of the hash table, a power of two >= 2 * capacity */
	_Atomic uint64_t chapter; /* atomic: relaxed; virtual chapter; stored by the owner */
	_Atomic uint32_t tombstones; /* atomic: relaxed; slots that are tombstones */

	/* atomic: release by the owner once the slot is written, acquire by others before they read
	 * slots below it */
	_Alignas(UDS_CACHE_LINE) _Atomic uint32_t count;

	/* Records, then tombstone bits (a u64 for 64 slots; atomic: relaxed), then cells. */
	_Alignas(UDS_CACHE_LINE) unsigned char memory[];
} uds_open_chapter;

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "used across processes");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "used across processes");

/*
 * Bytes needed for capacity slots (1..UDS_OPEN_CHAPTER_CAPACITY_MAX, else 0), a multiple of 64:
 * 32 + 1/8 a slot and 4 a cell, that is 8 to 16 a slot.
 */
size_t uds_open_chapter_size(uint32_t capacity);

/* Lay out a share in memory of that size, 64-byte aligned: empty, of chapter UDS_NO_CHAPTER. */
void uds_open_chapter_init(uds_open_chapter *share, uint32_t capacity);

/* Empty the share and give it to a chapter.  Nobody else may be reading it. */
void uds_open_chapter_reset(uds_open_chapter *share, uint64_t chapter);

/* Ask for the cache line that a search of this name touches first. */
void uds_open_chapter_prefetch(const uds_open_chapter *share, const uds_name *name);

/*
 * Find the slot of a name, tombstones included.
 * UDS_OK and *slot, or UDS_NOT_FOUND and *slot untouched.
 */
UDS_MUST_CHECK uds_status uds_open_chapter_search(const uds_open_chapter *share,
                                                  const uds_name *name, uint32_t *slot);

/*
 * Append a record.  Its name must not be there yet (search says UDS_NOT_FOUND).
 * UDS_OK: it has the slot count - 1.  UDS_OVERFLOW: the share is full; nothing was stored.
 */
UDS_MUST_CHECK uds_status uds_open_chapter_put(uds_open_chapter *share, const uds_name *name,
                                               const uds_metadata *metadata, bool is_tombstone);

/* Overwrite metadata and kind of a slot < count in place. */
void uds_open_chapter_set(uds_open_chapter *share, uint32_t slot, const uds_metadata *metadata,
                          bool is_tombstone);

/* Record and kind of a slot < count.  The pointer is good until the share is reset. */
const uds_record *uds_open_chapter_record(const uds_open_chapter *share, uint32_t slot);
bool uds_open_chapter_is_tombstone(const uds_open_chapter *share, uint32_t slot);

/* Slots in use, tombstones included; tombstones among them. */
uint32_t uds_open_chapter_count(const uds_open_chapter *share);
uint32_t uds_open_chapter_tombstones(const uds_open_chapter *share);

/* Virtual chapter, or UDS_NO_CHAPTER. */
uint64_t uds_open_chapter_number(const uds_open_chapter *share);

#pragma GCC visibility pop

#endif
