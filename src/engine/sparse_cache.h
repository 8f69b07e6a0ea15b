/*
 * sparse_cache.h: cached chapter indexes of sparse chapters (specification 02, section 6, without
 * its barriers).
 *
 * A sparse index knows only the hooks of old chapters.  A hook that is found in such a chapter says
 * that its neighbours may be there, too: the index pages of that chapter are loaded, and names that
 * the volume index does not know are searched in all chapters loaded so, newest first.
 *
 * Membership.  The chapters that can be searched are a snapshot: an immutable list of entries,
 * newest chapter first.  A load fills an entry that is in no snapshot anybody uses and then
 * publishes the next snapshot.  A zone enters the present snapshot before a batch and leaves it
 * after; nobody waits for anybody.  An entry that has dropped out is filled again once all zones
 * have left the snapshots that it was in.
 *
 * Loads are asked for by zones or the triage worker and performed by whoever calls
 * uds_sparse_cache_load.  They are optional: one that fails, or finds the queue full, is counted
 * and costs duplicates, never a request.  Requests that would find nothing wait for the loads that
 * are under way (uds_sparse_cache_pending), so that a hook is as good as in a cache that blocks.
 *
 * Replacement.  A load drops all expired chapters.  When the others leave no room it replaces the
 * least recently used one of those that a zone skips, or, when none is skipped, of all.  A chapter
 * is used when it has just been loaded, when a record was found in it and when it is asked for
 * again.  A zone skips a chapter that it has searched in vain more than skip_threshold times in
 * succession, until any zone uses it again.
 */
#ifndef UDS_SPARSE_CACHE_H
#define UDS_SPARSE_CACHE_H

#include "chapter_index.h"
#include "index_entry.h"
#include "volume.h"

#pragma GCC visibility push(hidden)

/* Chapters that can be searched at a time, at most. */
#define UDS_SPARSE_CHAPTERS_MAX 32
/* Entries beyond them, to be filled while all others are searched. */
#define UDS_SPARSE_SPARES      2
#define UDS_SPARSE_ENTRIES_MAX (UDS_SPARSE_CHAPTERS_MAX + UDS_SPARSE_SPARES)
/* Loads that can wait or be under way. */
#define UDS_SPARSE_LOADS_MAX 16

/* In the shared block; pointers lead into the block. */
typedef struct uds_sparse_cache uds_sparse_cache;

/* Bytes for a cache of 1..UDS_SPARSE_CHAPTERS_MAX chapters, a multiple of 64; 0 for others. */
size_t uds_sparse_cache_size(const uds_geometry *geometry, uint32_t chapters);

/*
 * Lay out an empty cache in memory of that size, 64-byte aligned.
 *
 * geometry        const while the cache is used, in the block
 * zone_count      1..UDS_ZONES_MAX
 * skip_threshold  searches in vain, of one zone; the original's is 20000 / zones
 *
 * Nobody else uses the cache meanwhile, but for statistics.  Views of a cache that was there before
 * are to be zeroed.
 */
void uds_sparse_cache_init(uds_sparse_cache *cache, const uds_geometry *geometry, uint32_t chapters,
                           uint32_t zone_count, uint32_t skip_threshold);

/* ---- membership: zones and triage --------------------------------------------------------------- */

/*
 * Ask for a chapter.  Takes a lock only to queue a load.
 *
 * oldest  of the window, at the caller's
 *
 * UDS_OK         it is there, for views that are entered from now on; it counts as used
 * UDS_PENDING    its load is queued or under way, or has just ended
 * UDS_DUPLICATE  the same, and this call has queued it: a reader is to be woken
 * UDS_OVERFLOW   too many loads wait: dropped, counted
 * UDS_NOT_FOUND  the chapter is older than the window, or could not be loaded not long ago: it is
 *                tried again after 8 other loads
 */
UDS_MUST_CHECK uds_status uds_sparse_cache_request(uds_sparse_cache *cache, uint64_t chapter,
                                                   uint64_t oldest);

/*
 * Ticket for all loads that are queued or under way now; 0 when there is none.  It covers those
 * that this worker was told of by uds_sparse_cache_request.
 */
uint64_t uds_sparse_cache_pending(const uds_sparse_cache *cache);

/*
 * Have all loads up to a ticket ended?  True for 0.  What they have loaded is there for views that
 * are entered from now on.
 */
bool uds_sparse_cache_is_done(const uds_sparse_cache *cache, uint64_t ticket);

/*
 * Have a zone woken, once, when loads up to a ticket have ended; false when they have already (it
 * may be woken all the same).  The wake may come for other loads, too: who finds its ticket not
 * done then calls this again.  Not inside a snapshot: a load may wait for the zone to leave it.
 */
bool uds_sparse_cache_wait(uds_sparse_cache *cache, uint32_t zone, uint64_t ticket);

/* ---- search: zones -------------------------------------------------------------------------------- */

/* A zone's view of the cache.  Process-local; all zero at first. */
typedef struct uds_sparse_view
{
	uint64_t version; /* of the snapshot that is entered; 0 = none */
	uint32_t count;   /* chapters of the snapshot, newest first */
	uint64_t chapters[UDS_SPARSE_CHAPTERS_MAX];
	uint32_t entries[UDS_SPARSE_CHAPTERS_MAX]; /* their entries */
	/* These two survive from one snapshot to the next. */
	uint32_t uses[UDS_SPARSE_ENTRIES_MAX];   /* of an entry, when misses began to be counted */
	uint32_t misses[UDS_SPARSE_ENTRIES_MAX]; /* of an entry, in succession */
} uds_sparse_view;

/*
 * Enter the present snapshot.  Caller: the worker of the zone, outside of any snapshot; every enter
 * has its leave, soon: loads run out of entries while a zone stays inside.
 */
void uds_sparse_cache_enter(uds_sparse_cache *cache, uint32_t zone, uds_sparse_view *view);

/* Is an entered version still the present one?  Looked at after loads have ended, it is not. */
bool uds_sparse_cache_is_present(const uds_sparse_cache *cache, uint64_t version);

/*
 * Leave it.  True when a load waits for an entry, and no other zone is in its way any more: a reader
 * is to be woken, who calls uds_sparse_cache_load.
 */
bool uds_sparse_cache_leave(uds_sparse_cache *cache, uint32_t zone, uds_sparse_view *view);

/*
 * Search for a name in the chapters of an entered view, from the newest to the oldest.
 *
 * below        only chapters below it (UINT64_MAX: all); to go on after a wrong match
 * oldest       only chapters from it on
 * chapter      [out] with UDS_OK: where the name may be
 * record_page  [out] with UDS_OK: on which record page of it; another name may be there instead
 *
 * UDS_OK or UDS_NOT_FOUND.  Chapters that are skipped are not searched; each searched one without a
 * match counts a miss.  An index page that makes no sense counts as one without a match.  A match
 * alone is not a use: see uds_sparse_cache_hit.
 */
UDS_MUST_CHECK uds_status uds_sparse_cache_search(uds_sparse_cache *cache, uds_sparse_view *view,
                                                  const uds_name *name, uint64_t below,
                                                  uint64_t oldest, uint64_t *chapter,
                                                  uint32_t *record_page);

/*
 * Search for a name in one chapter, whether it is skipped or expired or not; counts nothing.
 * UDS_OK, UDS_NOT_FOUND (not in this chapter), UDS_ERR_STATE (the chapter is not in the view).
 */
UDS_MUST_CHECK uds_status uds_sparse_cache_search_chapter(uds_sparse_cache *cache,
                                                          uds_sparse_view *view,
                                                          const uds_name *name, uint64_t chapter,
                                                          uint32_t *record_page);

/* A record was found in a chapter: it counts as used, and no zone skips it. */
void uds_sparse_cache_hit(uds_sparse_cache *cache, uint64_t chapter);

/* ---- loads: readers -------------------------------------------------------------------------------- */

/*
 * Perform the queued load that was asked for first, wake the zones that wait for loads.  Several
 * callers load different chapters at a time.  A reader calls this when it starts and when it is
 * woken, again and again until there is nothing to do: an entry that one load gives back may be
 * what another reader's load did not find.
 *
 * volume  its port wakes zones; when it cannot be opened, loads fail
 * oldest  of the window: older chapters are not loaded, and those that are there are dropped
 *
 * UDS_OK         one was performed or has failed (its pages are damaged or cannot be read), or was
 *                dropped since its chapter has expired; counted in each case
 * UDS_NOT_FOUND  there is none, or no entry can be filled now: then uds_sparse_cache_leave says when
 *                a reader is to be woken
 * UDS_STOPPED    the host asked to stop: the load waits again, in its former place
 */
UDS_MUST_CHECK uds_status uds_sparse_cache_load(uds_sparse_cache *cache, uds_volume *volume,
                                                uint64_t oldest);

/* ---- statistics -------------------------------------------------------------------------------------- */

typedef struct uds_sparse_statistics
{
	uint64_t chapters; /* that can be searched now */
	uint64_t loads;    /* performed with success */
	uint64_t failures; /* loads whose chapter could not be read */
	uint64_t expired;  /* loads that came too late: the chapter had left the window */
	uint64_t drops;    /* requests that found the queue full */
} uds_sparse_statistics;

/* Any process, any time. */
void uds_sparse_cache_statistics(const uds_sparse_cache *cache, uds_sparse_statistics *statistics);

/* Walk the whole cache and check every invariant, while nobody uses it: UDS_OK or UDS_ERR_CORRUPT. */
UDS_MUST_CHECK uds_status uds_sparse_cache_check(const uds_sparse_cache *cache);

#pragma GCC visibility pop

#endif
