/*
 * bucket_side.h: the side table of a zone of buckets, for entries that a full bucket gave up.
 *
 * Each entry is one 8-byte word in a line of one cache line.  Entries of expired chapters do not
 * exist for a search and are replaced or swept away.  Buckets are numbered from 0 within the zone.
 * Nothing here can fail but an insert into a table that is too full.
 */
#ifndef UDS_BUCKET_SIDE_H
#define UDS_BUCKET_SIDE_H

#include "status.h"

#define UDS_BUCKET_SIDE_LINE_ENTRIES 7
#define UDS_BUCKET_SIDE_LINES_MIN    24
#define UDS_BUCKET_SIDE_NONE         UINT64_MAX

typedef struct uds_bucket_side_line
{
	_Alignas(UDS_CACHE_LINE) uint64_t passed; /* entries that found this line full */
	uint64_t entries[UDS_BUCKET_SIDE_LINE_ENTRIES];
} uds_bucket_side_line;

_Static_assert(sizeof(uds_bucket_side_line) == UDS_CACHE_LINE, "one line");

typedef struct uds_bucket_side
{
	uds_bucket_side_line *lines; /* const: zeros at first */
	uint64_t line_count;         /* const: UDS_BUCKET_SIDE_LINES_MIN or more */
	uint64_t limit;              /* const: no entry is added above it */
	uint64_t used;               /* entries, expired ones not yet removed included */
	uint64_t sweep_line;
} uds_bucket_side;

/* An entry as it was inserted. */
typedef struct uds_bucket_side_entry
{
	uint64_t bucket;
	uint32_t address;
	uint64_t chapter;
} uds_bucket_side_entry;

/*
 * An empty table over line_count zeroed lines, which has to be at least 1/128 of the number of
 * buckets; it takes up to 80 % of its slots.
 */
void uds_bucket_side_init(uds_bucket_side *side, uds_bucket_side_line *lines, uint64_t line_count);

/* The line where the search for an entry begins, for prefetching. */
const void *uds_bucket_side_home(const uds_bucket_side *side, uint64_t bucket, uint32_t address);

/* Slot and chapter of a valid entry, of chapter oldest..newest; UDS_BUCKET_SIDE_NONE if none. */
uint64_t uds_bucket_side_find(const uds_bucket_side *side, uint64_t bucket, uint32_t address,
                              uint64_t oldest, uint64_t newest, uint64_t *chapter);

/* Is the entry of a bucket and address, with this chapter, in a slot? */
bool uds_bucket_side_holds(const uds_bucket_side *side, uint64_t slot,
                           const uds_bucket_side_entry *entry);

/*
 * Add an entry, which may take the slot of one below oldest: *expired grows by one then.  False
 * when no slot is free in the lines that are searched, or when the table is full.
 */
UDS_MUST_CHECK bool uds_bucket_side_insert(uds_bucket_side *side,
                                           const uds_bucket_side_entry *entry, uint64_t oldest,
                                           uint64_t newest, uint64_t *expired);

/* Remove the entry of an occupied slot. */
void uds_bucket_side_remove(uds_bucket_side *side, uint64_t slot);

/* Remove what is below oldest from the next lines of the round.  Returns the number removed. */
uint64_t uds_bucket_side_sweep(uds_bucket_side *side, uint64_t lines, uint64_t oldest,
                               uint64_t newest);

/* Decode slot 0..uds_bucket_side_slots - 1; false if it is free. */
UDS_MUST_CHECK bool uds_bucket_side_entry_at(const uds_bucket_side *side, uint64_t slot,
                                             uint64_t newest, uds_bucket_side_entry *entry);

static inline uint64_t
uds_bucket_side_slots(const uds_bucket_side *side)
{
	return side->line_count * UDS_BUCKET_SIDE_LINE_ENTRIES;
}

/* Number of entries and counters of passed entries agree: UDS_OK or UDS_ERR_CORRUPT. */
UDS_MUST_CHECK uds_status uds_bucket_side_check(const uds_bucket_side *side);

#endif
