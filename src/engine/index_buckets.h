/*
 * index_buckets.h: a sub-index of the volume index in age-ordered buckets.
 *
 * The contract of all functions is the comment at the top of index_entry.h.  What this structure
 * adds to it:
 *
 * - A name and another one collide when they share bucket and address (18 bits).  A bucket never
 *   holds two valid plain entries with one address.  get answers EXACT when the full name is among
 *   the exact entries, whatever plain entry there is; else HINT for the plain entry.  An exact
 *   entry stays exact when the plain entry beside it is removed, moved or expires.
 * - get changes nothing.  It may run beside other gets of the zone, but not beside changes.
 * - A handle is also void when the window of its zone was moved past its chapter: move and remove
 *   then return UDS_ERR_BAD_STATE, as for any handle whose entry is no longer in its place, and
 *   change nothing.  A handle of kind NONE that is void must not be put: get it again.
 * - When a bucket and the side table are full, a put gives up the oldest entry of the bucket and
 *   counts it in lost.  Only a put of an exact entry can be UDS_OVERFLOW.
 * - counters: rebalances counts entries moved to the side table; bytes_used is 192 bytes for a
 *   bucket's worth of entries, 8 for a side entry and 24 for an exact one; early_flushes is 0.
 *   Counters of events start from 0 after a load.  A load drops what has expired.
 * - Calls that change something may also return UDS_ERR_CORRUPT, when the memory makes no sense.
 */
#ifndef UDS_INDEX_BUCKETS_H
#define UDS_INDEX_BUCKETS_H

#include "index_entry.h"

typedef struct uds_index_buckets uds_index_buckets;

size_t uds_index_buckets_size(const uds_index_parameters *parameters);
UDS_MUST_CHECK uds_status uds_index_buckets_init(uds_index_buckets *index,
                                                 const uds_index_parameters *parameters);

uint32_t uds_index_buckets_zone(const uds_index_buckets *index, const uds_name *name);
uint64_t uds_index_buckets_position(const uds_index_buckets *index, const uds_name *name);
uint64_t uds_index_buckets_zone_start(const uds_index_buckets *index, uint32_t zone);

void uds_index_buckets_prefetch(const uds_index_buckets *index, const uds_name *name);

/*
 * Second stage of prefetching: ask for the lines beside the bucket that a get or put of this name
 * touches (about every fourth name has one, when the window is full).  It reads the bucket, so
 * call it when the lines that uds_index_buckets_prefetch asked for have arrived.  The zone must
 * not be changed by another thread meanwhile.
 *
 * In a batch, before name i is executed: prefetch name i + 8, prefetch_side name i + 3.  A core
 * waits for few lines at a time, and drops what is prefetched beyond: all names of a batch at once
 * take twice as long.
 */
void uds_index_buckets_prefetch_side(const uds_index_buckets *index, const uds_name *name);

UDS_MUST_CHECK uds_status uds_index_buckets_get(uds_index_buckets *index, const uds_name *name,
                                                uds_index_entry *entry);
UDS_MUST_CHECK uds_status uds_index_buckets_put(uds_index_buckets *index, uds_index_entry *entry,
                                                uint64_t chapter);
UDS_MUST_CHECK uds_status uds_index_buckets_move(uds_index_buckets *index, uds_index_entry *entry,
                                                 uint64_t chapter);
UDS_MUST_CHECK uds_status uds_index_buckets_remove(uds_index_buckets *index,
                                                   uds_index_entry *entry);

/* The work grows with the chapters that newest advances by; it is one round over the zone at most,
 * and nothing while the zone has no entries. */
UDS_MUST_CHECK uds_status uds_index_buckets_set_window(uds_index_buckets *index, uint32_t zone,
                                                       uint64_t oldest, uint64_t newest);

uint64_t uds_index_buckets_oldest(const uds_index_buckets *index, uint32_t zone);

void uds_index_buckets_counters(const uds_index_buckets *index, uint32_t zone,
                                uds_index_counters *counters);
UDS_MUST_CHECK uds_status uds_index_buckets_save(const uds_index_buckets *index, uint32_t zone,
                                                 uds_stream *stream);
UDS_MUST_CHECK uds_status uds_index_buckets_load(uds_index_buckets *index, uds_stream *stream);
UDS_MUST_CHECK uds_status uds_index_buckets_check(const uds_index_buckets *index, uint32_t zone);

#endif
