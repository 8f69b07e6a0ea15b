/*
 * page_cache.h: cached pages of the volume, with queued and coalesced reads.
 *
 * A page is known by its virtual chapter and its number in it.  Chapters are written once and
 * their numbers never come back, so a cached page never becomes wrong and nothing has to be
 * invalidated; pages of expired chapters are not asked for any more and leave by replacement.
 *
 * Who asks for a page that is not there gets it at once when the system has it in memory; else a
 * slot with the read queued, which stays pinned until the read is done and used: no page is lost
 * between its arrival and its use, so a request that waits always makes progress, and all who ask
 * for one page wait for one read.  A slot is queued once at the most, so the queue never fills up.
 * A queued read is performed by whoever calls uds_page_cache_serve: the readers.
 *
 * Slots are divided into shards by a hash of the page; each has a mutex, chains to find a slot,
 * and a CLOCK for replacement, which every use by any zone marks.  No lock is taken inside another,
 * and none is held during a read.
 */
#ifndef UDS_PAGE_CACHE_H
#define UDS_PAGE_CACHE_H

#include "volume.h"

#pragma GCC visibility push(hidden)

#define UDS_PAGE_SLOT_NONE UINT32_MAX

/* In the shared block. */
typedef struct uds_page_cache uds_page_cache;

/* Bytes for a cache of a number of pages (>= 16), a multiple of 64. */
size_t uds_page_cache_size(uint32_t pages, uint32_t page_bytes);

/* readers: how many may serve it, <= 32; they are the workers UDS_WORKER_READER + 0, 1, ... */
void uds_page_cache_init(uds_page_cache *cache, uint32_t pages, uint32_t page_bytes,
                         uint32_t readers);

/* A page that was asked for. */
typedef struct uds_page
{
	uint32_t slot;       /* pinned, to be given back with uds_page_cache_release; or none */
	bool was_there;      /* with UDS_OK: in the cache, nothing was read */
	const uint8_t *data; /* with UDS_OK: page_bytes bytes, readable while the slot is pinned */
} uds_page;

/*
 * Ask for a page.
 *
 * volume  the caller's, to read what the system has in memory, and to wake a reader; NULL: all
 *         reads are queued, and nobody is woken for them
 * zone    is woken when a read that this call has queued or joined is done
 * result  [out] slot is none when the status is UDS_OVERFLOW or UDS_NOT_FOUND
 *
 * UDS_OK         the page is there
 * UDS_PENDING    the read is queued or under way: see uds_page_cache_poll
 * UDS_NOT_FOUND  the read of this page has just failed
 * UDS_OVERFLOW   all slots are in use by others: ask again; the zone is woken when one is given back
 */
UDS_MUST_CHECK uds_status uds_page_cache_get(uds_page_cache *cache, uds_volume *volume,
                                             uint64_t chapter, uint32_t page, uint32_t zone,
                                             uds_page *result);

/*
 * Look at a pinned slot: UDS_OK and data, UDS_PENDING, or UDS_NOT_FOUND (the read has failed; the
 * slot is still pinned).
 */
UDS_MUST_CHECK uds_status uds_page_cache_poll(uds_page_cache *cache, uint32_t slot,
                                              const uint8_t **data);

/* Give back a pinned slot, and wake the zones that found none. */
void uds_page_cache_release(uds_page_cache *cache, uds_port *port, uint32_t slot);

/*
 * Perform queued reads, of several callers a fair part of the queue each, and wake the zones that
 * wait for them.
 * UDS_OK, or UDS_NOT_FOUND when the queue is empty.
 */
UDS_MUST_CHECK uds_status uds_page_cache_serve(uds_page_cache *cache, uds_volume *volume);

/*
 * A reader without work says so, then looks for work once more, and sleeps; it is woken when there
 * is some.  uds_page_cache_wake_reader wakes one that has said so, if there is any.
 */
void uds_page_cache_set_idle(uds_page_cache *cache, uint32_t reader, bool is_idle);
void uds_page_cache_wake_reader(uds_page_cache *cache, uds_port *port);

/* Reads performed so far, and reads that wait in the queue now.  Any process, any time. */
uint64_t uds_page_cache_reads(const uds_page_cache *cache);
uint32_t uds_page_cache_queued(const uds_page_cache *cache);

#pragma GCC visibility pop

#endif
