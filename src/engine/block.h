/*
 * block.h: the shared block of an index, as the engine's own modules see it.
 *
 *   uds_index (this struct) | volume index | page map | chapter slots | shares of the zones
 *   (UDS_CHAPTER_BUFFERS each) | scratch memory of the chapter writer | page cache | sparse cache
 *
 * The head (state, reason, owners, counters) is valid from the first moment, when all is zero; the
 * rest is laid out by the chapter writer (uds_block_lay_out), again for each recovery.  Pointers
 * lead into the block.
 *
 * Ownership.  A zone belongs to nobody, to its worker or to the writer (uds_zone.owner); only the
 * owner touches the fields marked "zone", the zone's slice of the volume index and its shares.
 * The writer asks for all zones by zones_wanted and takes each when its worker has let go; that is
 * how saves, resets and rebuilds get an index that stands still, at a request boundary.
 *
 * Chapters.  Chapter n is open in a zone while zone.newest = n, closed in it when newest > n.  A
 * zone keeps the last UDS_CHAPTER_BUFFERS chapters in memory, so the writer may be three chapters
 * behind, and records of young chapters are found without the volume.  The writer publishes
 * chapters_written = n + 1 when chapter n is durable.
 */
#ifndef UDS_BLOCK_H
#define UDS_BLOCK_H

#include "chapter_index.h"
#include "control.h"
#include "index.h"
#include "open_chapter.h"
#include "page_cache.h"
#include "page_map.h"
#include "record_page.h"
#include "sparse_cache.h"
#include "volume.h"

#pragma GCC visibility push(hidden)

#define UDS_CHAPTER_BUFFERS 4 /* one open and three closed chapters; a power of two */

/* Positions of a chapter that a zone claims at once when there are several zones. */
#define UDS_CLAIM_RUN 32

typedef enum uds_owner
{
	UDS_OWNER_NONE = 0,
	UDS_OWNER_WORKER = 1,
	UDS_OWNER_WRITER = 2
} uds_owner;

/* Counters of requests: one writer each (the zone), read by anybody, relaxed. */
typedef struct uds_zone_counters
{
	_Atomic uint64_t requests;
	_Atomic uint64_t posts_found, posts_not_found;
	_Atomic uint64_t in_memory_posts_found, dense_posts_found, sparse_posts_found;
	_Atomic uint64_t updates_found, updates_not_found;
	_Atomic uint64_t queries_found, queries_not_found;
	_Atomic uint64_t deletions_found, deletions_not_found;
	_Atomic uint64_t cache_hits, cache_misses;
	/* copies of the volume index's own counters */
	_Atomic uint64_t entries, collisions, discards, expired, lost, overflows, rebalances;
	_Atomic uint64_t bytes_used;
} uds_zone_counters;

#define UDS_ZONE_COUNTER_COUNT (sizeof(uds_zone_counters) / sizeof(_Atomic uint64_t))

typedef struct uds_zone
{
	_Alignas(UDS_CACHE_LINE) _Atomic uint32_t owner; /* atomic: uds_owner; acquire to take, release
													  * to let go */
	_Atomic uint32_t inside;                         /* atomic: the worker is inside the engine */
	_Atomic uint32_t is_full;                        /* atomic: relaxed, statistics */
	_Atomic uint32_t parked; /* atomic: relaxed, statistics; of the worker that holds the zone */
	_Atomic uint64_t longest_pause_ns; /* atomic: relaxed, statistics */
	_Atomic uint64_t newest; /* atomic: number of the open chapter; release by the zone when it has
								* closed the one before, acquire by the writer */
	uds_port_mutex hook_mutex; /* of a sparse index: whoever changes its hooks, or reads those of a
	                            * zone that is not its own, holds it */
	uint32_t granted;          /* zone: positions of the open chapter that it may still fill */
	uint32_t share_capacity;   /* const */
	uds_open_chapter *shares[UDS_CHAPTER_BUFFERS]; /* const: chapter n is in n mod 4 */
	_Alignas(UDS_CACHE_LINE) uds_zone_counters counters;
} uds_zone;

/*
 * A worker that uses the block beside the zones: a reader or the triage worker.  It enters for a
 * bounded time; the writer, which lays out the block and stops the zones, waits until it has left.
 */
typedef struct uds_guest
{
	_Alignas(UDS_CACHE_LINE) _Atomic uint32_t is_inside; /* atomic: seqcst, with zones_wanted */
} uds_guest;

/* Readers, then the triage worker. */
#define UDS_GUEST_TRIAGE UDS_READERS_MAX
#define UDS_GUESTS_MAX   (UDS_READERS_MAX + 1)

/* What a suspended index goes on with: lifecycle.c. */
typedef enum uds_suspension
{
	UDS_SUSPENSION_NONE = 0,
	UDS_SUSPENSION_HELD = 1,
	UDS_SUSPENSION_SAVED = 2,
	UDS_SUSPENSION_RECOVERY = 3
} uds_suspension;

#define UDS_REASON_WORDS 64

struct uds_index
{
	/* head */
	_Atomic uint32_t state;           /* atomic: uds_state */
	_Atomic uint32_t reason_sequence; /* atomic: odd while the reason is being written */
	_Atomic uint64_t reason[UDS_REASON_WORDS];
	_Atomic uint32_t zones_wanted;  /* atomic: the writer wants all zones */
	_Atomic uint32_t is_suspect;    /* atomic: it failed for a broken invariant; to the writer */
	_Atomic uint32_t writer_inside; /* atomic: the writer is changing the block */
	_Atomic uint32_t suspension;    /* atomic: uds_suspension; by the writer */
	_Atomic uint64_t epoch;         /* atomic: grows when the block is laid out; 0 = never */
	_Atomic uint32_t has_name_key;  /* atomic: release after name_key */
	uint8_t name_key[UDS_NAME_KEY_BYTES]; /* const once published by has_name_key */
	_Atomic uint64_t moves; /* atomic: grows when the files are to be opened anew; release after
	                         * the host knows, acquire before a file is opened */
	_Atomic uint64_t nonce; /* atomic: relaxed; changes with reset, while zones stand still */
	_Atomic uint64_t generation; /* atomic: relaxed */

	/* atomic: relaxed, statistics */
	_Atomic uint64_t bad_pages, dropped_chapters, unindexed_records, chapters_written_count;
	_Atomic int64_t last_checkpoint, opened_at;
	_Atomic uint64_t recovery_duration_ns, recovery_chapters, progress_done, progress_total;
	_Atomic uint32_t phase; /* uds_phase */
	_Atomic uint64_t volume_bytes;
	_Atomic uint64_t zone_baseline[UDS_ZONES_MAX][UDS_ZONE_COUNTER_COUNT];
	_Atomic uint64_t bad_pages_baseline, reads_baseline;

	/* laid out by the writer */
	uds_config
		config; /* const; with the geometry of before a conversion, for which there is room */
	/* writer, and zones and guests inside; a layout may change it, so others ask
	 * uds_block_geometry() */
	uds_geometry geometry;
	/* atomic: relaxed; of a reduced geometry the physical number + 1, or 0, and the virtual one */
	_Atomic uint64_t remapped_place, remapped_chapter;
	size_t block_bytes, cache_bytes;
	uint32_t cache_pages;
	/* Least volume index field of the names of each zone, in each sub-index.  Kept apart from the
	 * volume index, so that backends can ask for a zone while the writer lays out the block again. */
	uint64_t zone_limits[UDS_SUB_INDEXES_MAX][UDS_ZONES_MAX];

	/* chapters */
	_Atomic uint64_t close_wanted;     /* atomic: chapters below it are to be closed by all zones */
	_Atomic uint64_t chapters_written; /* atomic: chapters below it are on the volume, or lost;
										* release by the writer */
	_Atomic uint64_t claims[UDS_CHAPTER_BUFFERS]; /* atomic: chapter << 24 | positions claimed */

	uds_volume_index volume_index;
	uds_page_map *page_map;
	uds_chapter_slot *slots;
	uds_page_cache *page_cache;
	uds_sparse_cache *sparse_cache; /* NULL: the index is dense */
	/* the writer's own */
	uds_record_ref *writer_refs; /* records_per_chapter */
	void *writer_scratch;        /* of the chapter index build */
	uint8_t *writer_image;       /* pages_per_chapter pages, or UDS_IMAGE_BYTES_MIN */
	size_t image_bytes;
	uint16_t *writer_last_lists; /* index_pages */

	_Atomic uint32_t readers_present; /* atomic: bit for each reader that is attached */
	_Atomic uint32_t pieces;          /* atomic: relaxed; calls of uds_block_serve */
	uds_guest guests[UDS_GUESTS_MAX];
	uds_zone zones[UDS_ZONES_MAX];
};

#define UDS_IMAGE_BYTES_MIN  (256 * 1024)
#define UDS_CLAIM_COUNT_BITS 24

/* Slots of the share of one zone. */
uint32_t uds_block_share_capacity(const uds_geometry *geometry, uint32_t zone_count);

/*
 * Lay out everything behind the head for config: empty volume index, page map, slots, shares, page
 * cache.  Sets epoch.  Caller: the writer, alone.  is_zeroed: the memory holds zeros.
 * UDS_OK, UDS_STOPPED (while old contents were cleared), UDS_ERR_ARGUMENT.
 */
UDS_MUST_CHECK uds_status uds_block_lay_out(uds_index *index, uds_port *port,
                                            const uds_config *config, bool is_zeroed);

/* Geometry of the block as it is laid out now; zeros before the first time.  Any process, any time. */
void uds_block_geometry(const uds_index *index, uds_geometry *geometry);

/* Begin with chapter newest open in every zone, all before it written or lost. */
UDS_MUST_CHECK uds_status uds_block_begin_chapter(uds_index *index, uint64_t newest);

/* Set state and reason (NULL: none).  Caller: the writer; a zone only for UDS_STATE_FAILED. */
void uds_block_set_state(uds_index *index, uds_state state, const char *reason);

/* Tell what the writer is doing, for those who watch; progress_done begins at 0. */
void uds_block_set_phase(uds_index *index, uds_phase phase, uint64_t total);

/* Copy the counters of the volume index to where anybody may read them.  Caller: the zone's owner. */
void uds_block_publish_counters(uds_index *index, uint32_t zone);

/* Mark the index failed, log it, wake the writer: an invariant is broken. */
void uds_block_fail(uds_index *index, uds_port *port, const char *reason);

/* The same: a worker died inside.  That says nothing about the save that the index came from. */
void uds_block_report_death(uds_index *index, uds_port *port, const char *reason);

/*
 * Open the volume for reading, for the block as it is laid out now, where the files are now; what
 * was open is closed.  A volume that cannot be opened is logged; its pages cannot be read until it
 * can.  Returns index->moves of that moment: when it is another one, the volume is to be opened
 * again.
 *
 * volume  a worker's own: all zero, or from this call
 * worker  what it is called in the log, with its number
 */
uint64_t uds_block_open_volume(uds_index *index, uds_port *port, uds_volume *volume,
                               const char *worker, uint32_t number);

/*
 * Do a piece of what zones have queued: page reads, or the load of a sparse chapter.  Caller: a
 * reader inside, or a zone while no reader is there.  volume: open, the caller's.
 * UDS_OK, UDS_NOT_FOUND (nothing can be done now), UDS_STOPPED.
 */
UDS_MUST_CHECK uds_status uds_block_serve(uds_index *index, uds_volume *volume);

/* Is a chapter of the window sparse while newest is the open one? */
static inline bool
uds_block_is_sparse(const uds_index *index, uint64_t newest, uint64_t chapter)
{
	return index->sparse_cache != NULL && chapter + index->geometry.dense_chapters <= newest;
}

/*
 * Enter the index as a guest: false when the writer has it or it does not execute requests; the
 * guest is woken when that changes.  Every successful call has its leave.
 */
bool uds_block_enter(uds_index *index, uds_port *port, uint32_t guest);
void uds_block_leave(uds_index *index, uds_port *port, uint32_t guest);

/*
 * Positions in the open chapter n for a zone: claims up to a run.  Returns how many it got; 0 when
 * the chapter has none left.
 */
uint32_t uds_block_claim(uds_index *index, uint64_t chapter);

#pragma GCC visibility pop

#endif
