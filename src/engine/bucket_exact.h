/*
 * bucket_exact.h: the exact entries of a zone of buckets: full names with their chapters.
 *
 * All entries of a bucket are searched from the same line on, so that a bucket can be asked
 * whether it has any.  Buckets are global numbers here.  Entries of expired chapters do not exist
 * for a search; they stay in the table until they are swept or replaced.
 */
#ifndef UDS_BUCKET_EXACT_H
#define UDS_BUCKET_EXACT_H

#include "record.h"

#define UDS_BUCKET_EXACT_LINE_ENTRIES 5
#define UDS_BUCKET_EXACT_LINES_MIN    16
#define UDS_BUCKET_EXACT_NONE         UINT64_MAX

typedef struct uds_bucket_exact_line
{
	_Alignas(UDS_CACHE_LINE) uds_name names[UDS_BUCKET_EXACT_LINE_ENTRIES];
	uint64_t chapters[UDS_BUCKET_EXACT_LINE_ENTRIES];
	uint8_t passed;   /* entries that found this line full */
	uint8_t occupied; /* bit i: entry i is used */
} uds_bucket_exact_line;

_Static_assert(sizeof(uds_bucket_exact_line) == 2 * UDS_CACHE_LINE, "two lines");

typedef struct uds_bucket_exact
{
	uds_bucket_exact_line *lines; /* const: zeros at first */
	uint64_t line_count;          /* const: UDS_BUCKET_EXACT_LINES_MIN or more */
	uint64_t bucket_count;        /* const: of all zones */
	uint64_t used;                /* entries, expired ones not yet removed included */
	uint64_t sweep_line;
} uds_bucket_exact;

/* Bucket of a name among bucket_count. */
static inline uint64_t
uds_bucket_exact_bucket(const uds_name *name, uint64_t bucket_count)
{
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t) ((wide) uds_name_volume_field(name) * bucket_count >> 64);
}

/* An empty table over line_count zeroed lines. */
void uds_bucket_exact_init(uds_bucket_exact *exact, uds_bucket_exact_line *lines,
                           uint64_t line_count, uint64_t bucket_count);

/* The line where the search for the entries of a bucket begins, for prefetching. */
const void *uds_bucket_exact_home(const uds_bucket_exact *exact, uint64_t bucket);

/* Slot and chapter of a name, of chapter oldest or later; UDS_BUCKET_EXACT_NONE if none. */
uint64_t uds_bucket_exact_find(const uds_bucket_exact *exact, const uds_name *name, uint64_t oldest,
                               uint64_t *chapter);

/* A free slot for a name, or UDS_BUCKET_EXACT_NONE when the lines that are searched are full. */
uint64_t uds_bucket_exact_free_slot(const uds_bucket_exact *exact, const uds_name *name);

/*
 * A slot whose entry is below oldest in the lines that are searched for a name, or
 * UDS_BUCKET_EXACT_NONE.  The caller removes that entry to have a free slot.
 */
uint64_t uds_bucket_exact_expired_slot(const uds_bucket_exact *exact, const uds_name *name,
                                       uint64_t oldest);

/* Store a name, which is not in the table, in a slot that free_slot returned. */
void uds_bucket_exact_insert(uds_bucket_exact *exact, uint64_t slot, const uds_name *name,
                             uint64_t chapter);

/* Remove the entry of an occupied slot. */
void uds_bucket_exact_remove(uds_bucket_exact *exact, uint64_t slot);

/* Is there an entry of this bucket, valid or not? */
bool uds_bucket_exact_has(const uds_bucket_exact *exact, uint64_t bucket);

/* Number of entries and counters of passed entries agree: UDS_OK or UDS_ERR_CORRUPT. */
UDS_MUST_CHECK uds_status uds_bucket_exact_check(const uds_bucket_exact *exact);

static inline uint64_t
uds_bucket_exact_slots(const uds_bucket_exact *exact)
{
	return exact->line_count * UDS_BUCKET_EXACT_LINE_ENTRIES;
}

static inline bool
uds_bucket_exact_is_used(const uds_bucket_exact *exact, uint64_t slot)
{
	return exact->lines[slot / UDS_BUCKET_EXACT_LINE_ENTRIES].occupied >>
	           (slot % UDS_BUCKET_EXACT_LINE_ENTRIES) &
	       1;
}

/* Name and chapter of an occupied slot. */
static inline const uds_name *
uds_bucket_exact_name(const uds_bucket_exact *exact, uint64_t slot)
{
	return exact->lines[slot / UDS_BUCKET_EXACT_LINE_ENTRIES].names +
	       slot % UDS_BUCKET_EXACT_LINE_ENTRIES;
}

static inline uint64_t *
uds_bucket_exact_chapter(const uds_bucket_exact *exact, uint64_t slot)
{
	return exact->lines[slot / UDS_BUCKET_EXACT_LINE_ENTRIES].chapters +
	       slot % UDS_BUCKET_EXACT_LINE_ENTRIES;
}

#endif
