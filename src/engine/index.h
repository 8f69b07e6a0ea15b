/*
 * index.h: the index as its host sees it.
 *
 * One block of memory, shared by all workers, holds the whole index (uds_index).  The host creates
 * it (uds_index_size), one chapter writer opens it, zone workers execute requests, anybody reads
 * statistics.
 *
 *   host                       engine
 *   ----                       ------
 *   writer worker              uds_writer_open .. uds_writer_work .. uds_writer_close | _detach
 *   zone worker z              uds_zone_attach .. { uds_zone_turn, uds_zone_execute,
 *                              uds_zone_advance } .. uds_zone_detach
 *   reader n                   uds_reader_attach .. uds_reader_work .. uds_reader_detach
 *   triage                     uds_triage_attach .. uds_triage_execute .. uds_triage_detach
 *   anybody                    uds_index_state, uds_index_zone_of, uds_index_statistics
 *
 * The block must be zero before its first use; zero is the state UDS_STATE_NONE.  Calls of one
 * worker come from one process or thread at a time.
 */
#ifndef UDS_INDEX_H
#define UDS_INDEX_H

#include "geometry.h"
#include "port.h"
#include "request.h"
#include "volume_index.h"

/* ---- configuration -------------------------------------------------------------------------- */

typedef struct uds_config
{
	uint32_t memory_mb; /* uds.memory; decides nothing, but is named in messages */
	uds_geometry_parameters geometry;
	uds_index_structure structure;
	uint32_t zone_count;       /* 1..UDS_ZONES_MAX */
	uint32_t reader_count;     /* 0..UDS_READERS_MAX; while none is there, zones read themselves */
	uint64_t page_cache_bytes; /* rounded down to pages, at least UDS_PAGE_CACHE_PAGES_MIN */
	uint32_t sparse_cache_chapters; /* of a sparse index: 1..UDS_SPARSE_CHAPTERS_MAX */
} uds_config;

#define UDS_PAGE_CACHE_PAGES_MIN 16
#define UDS_READERS_MAX          16

_Static_assert(UDS_WORKER_READER == UDS_WORKER_ZONE + UDS_ZONES_MAX, "ids do not overlap");
_Static_assert(UDS_WORKER_TRIAGE == UDS_WORKER_READER + UDS_READERS_MAX, "ids do not overlap");

/* Configuration of the product for the settings of that name, without readers. */
UDS_MUST_CHECK uds_status uds_config_init(uds_config *config, uint32_t memory_mb,
                                          uds_index_structure structure, bool is_sparse,
                                          uint32_t zone_count, uint64_t page_cache_bytes,
                                          uds_error *error);

/* What a configuration costs: for uds_settings_check() and statistics.  Bytes and records. */
typedef struct uds_sizes
{
	uint64_t window; /* records */
	uint64_t chapters;
	uint64_t records_per_chapter;
	uint64_t index_memory; /* of the block, without the page cache */
	uint64_t cache_memory;
	uint64_t volume_bytes;
	uint64_t checkpoint_bytes; /* of one checkpoint file, when full */
} uds_sizes;

UDS_MUST_CHECK uds_status uds_config_sizes(const uds_config *config, uds_sizes *sizes);

/* ---- the block ------------------------------------------------------------------------------ */

typedef struct uds_index uds_index;

/* Bytes of the block, a multiple of 64; 0 when the configuration is not valid. */
size_t uds_index_size(const uds_config *config);

typedef enum uds_state
{
	UDS_STATE_NONE = 0, /* no writer has opened it yet */
	UDS_STATE_RECOVERING = 1,
	UDS_STATE_ONLINE = 2,
	UDS_STATE_SUSPENDED = 3,
	UDS_STATE_READ_ONLY = 4,
	UDS_STATE_OFFLINE = 5,
	UDS_STATE_FAILED = 6 /* an invariant was broken; the writer rebuilds */
} uds_state;

/* Any process, any time. */
uds_state uds_index_state(const uds_index *index);

/* Why it is in that state; empty when there is nothing to say. */
void uds_index_reason(uds_index *index, char *reason, size_t bytes);

/* Requests are executed in this state (others wait or fail). */
static inline bool
uds_state_executes(uds_state state)
{
	return state == UDS_STATE_ONLINE || state == UDS_STATE_READ_ONLY;
}

/*
 * Zone of a name, 0..zone_count - 1.  Only while the state is not NONE; the same for the life of
 * the block.
 */
uint32_t uds_index_zone_of(const uds_index *index, const uds_name *name);

/*
 * Does a name have to be shown to the triage worker, before requests are sent to zones?  Only in a
 * sparse index with several zones.  When: as uds_index_zone_of.
 */
bool uds_index_needs_triage(const uds_index *index, const uds_name *name);

/* Key of names (DESIGN section 8), 16 bytes: constant once the state has left NONE/RECOVERING for
 * the first time.  UDS_ERR_STATE before. */
UDS_MUST_CHECK uds_status uds_index_name_key(const uds_index *index, uint8_t key[16]);

/*
 * Take over into a configuration of the settings what the files have of their own: their geometry,
 * which may be reduced.  Without effect before the block was laid out.  Any process, any time.
 */
void uds_index_configuration(const uds_index *index, uds_config *config);

/* ---- statistics ------------------------------------------------------------------------------ */

/* What the writer is doing that takes time. */
typedef enum uds_phase
{
	UDS_PHASE_NONE = 0,
	UDS_PHASE_SEALS = 1,     /* reads the seals of all chapters; counts chapters */
	UDS_PHASE_LOADING = 2,   /* loads a save; counts bytes */
	UDS_PHASE_REPLAYING = 3, /* reads chapters that are not in the save; counts chapters */
	UDS_PHASE_SAVING = 4,    /* writes a save; counts bytes */
	UDS_PHASE_MOVING = 5,    /* copies the files and reads the copies; counts bytes of both */
	UDS_PHASE_CONVERTING = 6 /* makes the volume of another geometry; counts chapters */
} uds_phase;

typedef struct uds_statistics
{
	uds_state state;
	/* volume index, sums over zones */
	uint64_t entries_indexed, collisions, entries_discarded, entries_expired, entries_lost;
	uint64_t overflows; /* names not stored, chapter index drops included */
	uint64_t index_bytes_used;
	/* requests */
	uint64_t requests;
	uint64_t posts_found, posts_not_found;
	uint64_t in_memory_posts_found, dense_posts_found, sparse_posts_found;
	uint64_t updates_found, updates_not_found;
	uint64_t queries_found, queries_not_found;
	uint64_t deletions_found, deletions_not_found;
	uint64_t tombstones; /* in the chapters of the window */
	/* window */
	uint64_t window_size, oldest_chapter, newest_chapter;
	uint64_t chapters_written;
	/* sizes; of the volume file without the place that a reduced one does not use */
	uint64_t index_memory, cache_memory, volume_bytes;
	/* page cache */
	uint64_t cache_hits, cache_misses, page_reads, bad_pages;
	/* sparse cache: chapters in it now; loads, loads given up, loads that were not queued */
	uint64_t sparse_chapters, sparse_loads, sparse_failures, sparse_drops;
	/* life */
	int64_t last_checkpoint; /* wall clock, microseconds since 1970; 0 = never */
	int64_t opened_at;
	uint64_t recovery_duration_ns, recovery_chapters; /* of the last open */
	uint64_t dropped_chapters; /* by the last open: not in this host's past, or damaged */
	uint64_t generation;
	uds_phase phase;
	uint64_t progress_done, progress_total; /* of the phase; the total is an estimate */
} uds_statistics;

/* Any process, any time, also when the state is NONE (zeros then).  Not a snapshot. */
void uds_index_statistics(uds_index *index, uds_statistics *statistics);

/*
 * Zero the counters of requests, cache, overflows, discards, expiries and rebalances, and the
 * longest pauses.
 */
void uds_index_reset_statistics(uds_index *index);

typedef struct uds_zone_statistics
{
	uint64_t requests, parked, records; /* records: entries in the volume index */
	uint64_t newest_chapter, open_records, open_capacity;
	uint64_t rebalances, longest_pause_ns;
	bool is_full;
} uds_zone_statistics;

void uds_index_zone_statistics(uds_index *index, uint32_t zone, uds_zone_statistics *statistics);

/* ---- the volume -------------------------------------------------------------------------------- */

/* A chapter on the volume. */
typedef struct uds_chapter_info
{
	uint64_t chapter;
	uint32_t generation;
	uint32_t records; /* tombstones included */
	uint32_t tombstones;
	bool is_sparse;
} uds_chapter_info;

/* What lies in a physical chapter (0 .. sizes.chapters - 1); false: nothing.  Any process, any time. */
bool uds_index_chapter(const uds_index *index, uint32_t physical_chapter, uds_chapter_info *info);

/* Something that is wrong with a chapter of the window. */
typedef struct uds_problem
{
	uint64_t chapter;
	uint32_t physical_chapter;
	uint32_t page; /* in the chapter; 0 for the chapter as a whole */
	char text[UDS_ERROR_TEXT_BYTES];
} uds_problem;

/* One process's pass over the chapters that are written when it begins. */
typedef struct uds_verifier uds_verifier;

/* Only while the block is laid out: the state was online once. */
size_t uds_verifier_size(const uds_index *index);

/*
 * Begin.  memory: uds_verifier_size() bytes, 64-byte aligned, of the caller until close.  Any
 * process; works beside everything else and changes nothing.
 * UDS_OK, UDS_ERR_STATE (never opened, being recovered, offline), UDS_ERR_CORRUPT (no volume),
 * UDS_ERR_IO.
 */
UDS_MUST_CHECK uds_status uds_verifier_open(void *memory, uds_index *index, uds_port *port,
                                            uds_verifier **verifier, uds_error *error);

/*
 * Check one chapter, the oldest first.
 *
 * problems  [out]  up to max of what is wrong with it
 * count     [out]  how much is wrong; may be more than max
 *
 * UDS_OK         one more was checked, or has expired meanwhile
 * UDS_NOT_FOUND  it was the last one before
 * UDS_PENDING    the index was recovered or reset meanwhile, or is going to be: begin anew
 * UDS_STOPPED    the host asked to stop
 */
UDS_MUST_CHECK uds_status uds_verifier_next(uds_verifier *verifier, uds_problem *problems,
                                            uint32_t max, uint32_t *count);

/* Chapters that are still to be checked. */
uint64_t uds_verifier_left(const uds_verifier *verifier);
void uds_verifier_close(uds_verifier *verifier);

/* ---- zone worker ----------------------------------------------------------------------------- */

/* Process-local part of a zone worker: parked requests, open files. */
typedef struct uds_zone_worker uds_zone_worker;

size_t uds_zone_worker_size(void);

/*
 * Become the worker of a zone.  memory: uds_zone_worker_size() bytes, 16-byte aligned, of the
 * caller until detach.  Works in every state; the zone itself is taken by uds_zone_turn.
 *
 * UDS_ERR_INTERNAL  a predecessor died inside the engine: the index is marked failed, the writer
 *                   rebuilds; the worker is attached nevertheless
 */
UDS_MUST_CHECK uds_status uds_zone_attach(void *memory, uds_index *index, uds_port *port,
                                          uint32_t zone, uds_zone_worker **worker,
                                          uds_error *error);

/*
 * To be called at the start of each turn of the worker's loop.
 *
 * UDS_OK       the zone is this worker's: execute and advance may be called
 * UDS_PENDING  the writer has the zone, or the index does not execute requests now: wait to be
 *              woken (UDS_WORKER_ZONE + zone), then call again.  Parked requests stay parked.
 */
UDS_MUST_CHECK uds_status uds_zone_turn(uds_zone_worker *worker);

/*
 * Execute requests of this zone in order, as far as no page has to be read.
 *
 * requests  [in,out] count items, all of this zone; each gets its result, or is parked and then
 *                    belongs to the zone, at its address, until it is handed back by
 *                    uds_zone_advance
 * count              1..UDS_BATCH_MAX items
 * parked    [out]    number of parked items, 0..count; parked items have status UDS_PENDING
 *
 * Caller: the worker, after uds_zone_turn has returned UDS_OK.  Allocates nothing, never blocks.
 *
 * UDS_OK            every item has its result or is parked
 * UDS_ERR_ARGUMENT  count is out of range; nothing was executed
 * UDS_ERR_INTERNAL  an invariant is broken, the index is marked failed; items not answered are
 *                   parked and go on after the rebuild
 */
UDS_MUST_CHECK uds_status uds_zone_execute(uds_zone_worker *worker, uds_request *requests,
                                           uint32_t count, uint32_t *parked);

/*
 * Go on with parked work, a bounded piece: read pages, execute requests that waited for them or
 * for room, close the chapter when another zone asked for it.  To be called once in every turn.
 *
 * finished  [out]  list (by next) of requests that are answered now and belong to the caller again
 *
 * UDS_OK            something was done: call again soon
 * UDS_PENDING       requests are parked, but nothing can be done before this worker is woken
 * UDS_NOT_FOUND     nothing is parked
 * UDS_ERR_INTERNAL  as above
 */
UDS_MUST_CHECK uds_status uds_zone_advance(uds_zone_worker *worker, uds_request **finished);

/* Number of parked requests. */
uint32_t uds_zone_parked(const uds_zone_worker *worker);

/*
 * Give up the zone and close files.  Requests that are still parked are lost; a worker that is
 * asked to stop goes on with turn and advance until none is.  Never waits, never fails: fit for an
 * exit callback.
 */
void uds_zone_detach(uds_zone_worker *worker);

/* ---- reader ---------------------------------------------------------------------------------- */

/* Process-local part of a reader: open files. */
typedef struct uds_reader uds_reader;

size_t uds_reader_size(void);

/*
 * Become reader number (< config.reader_count).  memory: uds_reader_size() bytes, 16-byte aligned,
 * of the caller until detach.  Works in every state.
 *
 * UDS_ERR_INTERNAL  a predecessor died inside the engine: the index is marked failed, the writer
 *                   rebuilds; the reader is attached nevertheless
 */
UDS_MUST_CHECK uds_status uds_reader_attach(void *memory, uds_index *index, uds_port *port,
                                            uint32_t number, uds_reader **reader, uds_error *error);

/*
 * Perform some of the reads that are queued.
 *
 * UDS_OK         something was done: call again
 * UDS_NOT_FOUND  nothing is queued: wait to be woken (UDS_WORKER_READER + number)
 * UDS_PENDING    the writer has the index, or it does not execute requests now: the same
 * UDS_STOPPED    this worker is to stop; what it had begun is left to others
 */
UDS_MUST_CHECK uds_status uds_reader_work(uds_reader *reader);

/* End of this reader: close files.  Never waits, never fails: fit for an exit callback. */
void uds_reader_detach(uds_reader *reader);

/* ---- triage ---------------------------------------------------------------------------------- */

/* Process-local part of the triage worker. */
typedef struct uds_triage uds_triage;

size_t uds_triage_size(void);

/* Become the triage worker of a sparse index: as uds_reader_attach. */
UDS_MUST_CHECK uds_status uds_triage_attach(void *memory, uds_index *index, uds_port *port,
                                            uds_triage **triage, uds_error *error);

/*
 * Look at names of a batch, before their requests are sent to their zones: ask for the sparse
 * chapters that their neighbours may be in.  Names that need no triage do no harm.
 *
 * count  0..UDS_BATCH_MAX
 *
 * UDS_OK            done
 * UDS_PENDING       the writer has the index, or it does not execute requests now: wait to be woken
 *                   (UDS_WORKER_TRIAGE), then call again
 * UDS_ERR_ARGUMENT  count is out of range
 * UDS_ERR_INTERNAL  an invariant is broken, the index is marked failed
 */
UDS_MUST_CHECK uds_status uds_triage_execute(uds_triage *triage, const uds_name *names,
                                             uint32_t count);

/* End of the triage worker.  Never waits, never fails: fit for an exit callback. */
void uds_triage_detach(uds_triage *triage);

/* ---- chapter writer -------------------------------------------------------------------------- */

typedef struct uds_writer uds_writer;

size_t uds_writer_size(void);

/*
 * Open the index: lock the files, recover or create them, lay out the block, put the index
 * online.  A block that a predecessor left online is taken over as it is.
 *
 * block    uds_index_size(config) bytes, 64-byte aligned, zero before its first use
 * memory   uds_writer_size() bytes, 16-byte aligned, of the caller until close or detach
 *
 * UDS_OK           the index executes requests (state online or read only)
 * UDS_STOPPED      the host asked to stop; call again with a new writer, it starts over
 * any error        the state is offline, its reason is the error's text; no file was changed
 *                  beyond what is needed to try again.  *writer is set nevertheless: the caller
 *                  may call uds_writer_reset, or detach and open again.
 */
UDS_MUST_CHECK uds_status uds_writer_open(void *memory, uds_index *block, uds_port *port,
                                          const uds_config *config, uds_writer **writer,
                                          uds_error *error);

/*
 * Do one piece of the writer's work: write a chapter that all zones have closed; rebuild an index
 * that is marked failed.
 *
 * UDS_OK         something was done: call again
 * UDS_NOT_FOUND  nothing to do before the worker is woken (UDS_WORKER_WRITER)
 * UDS_STOPPED    the host asked to stop
 * any error      could not be done; the state (read only, offline) and its reason say why
 */
UDS_MUST_CHECK uds_status uds_writer_work(uds_writer *writer, uds_error *error);

/*
 * Save the index: zones pause at a request boundary, everything is written and synced, they go on.
 * Tries again to write when the index is read only.
 *
 * UDS_OK, UDS_STOPPED, UDS_ERR_STATE (not online), UDS_ERR_IO, UDS_ERR_NO_SPACE: the earlier save
 * is still valid.
 */
UDS_MUST_CHECK uds_status uds_writer_checkpoint(uds_writer *writer, uds_error *error);

/*
 * Stop executing requests until uds_writer_resume; they wait.
 *
 * save  also write everything and mark the files clean: until the index is resumed they are complete
 *       and may be copied
 *
 * An index that recovers or has failed is suspended, too, and recovers when it is resumed: a host
 * that wants a recovery interrupted has its should_stop() return true, and calls this after
 * uds_writer_open has returned UDS_STOPPED.  A suspended index is saved if it was not yet.
 *
 * UDS_OK         the state is suspended
 * UDS_STOPPED    the host asked to stop; the state is as before
 * UDS_ERR_STATE  it is offline
 * others         it could not be saved; the state is as before, or read only
 */
UDS_MUST_CHECK uds_status uds_writer_suspend(uds_writer *writer, bool save, uds_error *error);

/*
 * Go on: with a suspended index, or a recovery that was interrupted; try again to write what made
 * the index read only; open again what is offline.  An index in another state goes on anyway.
 *
 * UDS_OK, UDS_STOPPED, or why it cannot go on (the state is as before, or offline).
 */
UDS_MUST_CHECK uds_status uds_writer_resume(uds_writer *writer, uds_error *error);

/*
 * Build the index in memory again from the volume alone, after writing what is in memory, be it in
 * a chapter that is not full.  Requests wait.
 *
 * UDS_OK (at once for an index that is being recovered anyway), UDS_STOPPED, UDS_ERR_STATE
 * (suspended or offline), others: chapters could not be written (the state is read only), or the
 * files not be read (offline).
 */
UDS_MUST_CHECK uds_status uds_writer_rebuild(uds_writer *writer, uds_error *error);

/*
 * Give up the place of one chapter of a suspended index: write everything that is in memory, be it in
 * a chapter that is not full, and convert the volume to one chapter fewer.  At most the chapters that
 * the smaller window does not hold are lost: one, or two if the open one was not empty.
 *
 * UDS_OK         reduced; the index stays suspended, and is built again when it is resumed
 * UDS_STOPPED    the host asked to stop; nothing has changed but what was written
 * UDS_ERR_STATE  it is not suspended or not in memory, is reduced already, or has too few chapters
 * others         it could not be read or written: it stays suspended as it was, or, where control
 *                could not be replaced, is opened again from its files when it is resumed
 */
UDS_MUST_CHECK uds_status uds_writer_reduce(uds_writer *writer, uds_error *error);

/*
 * Move the files to another directory, which is absent or empty, and go on there; requests wait
 * meanwhile.  What is in memory is saved before, or, where that is not possible, afterwards in the
 * new place; so an index that is read only for want of room is online again.  A suspended index
 * stays suspended.  Control and lock file stay behind, and say where the files are.
 *
 * UDS_OK            the files are in the new place; what went wrong after that was logged
 * UDS_STOPPED       the host asked to stop
 * UDS_ERR_ARGUMENT  the name is empty or longer than UDS_DIRECTORY_NAME_MAX
 * UDS_ERR_STATE     offline, failed, being recovered, or suspended in its recovery
 * UDS_ERR_IN_USE, UDS_ERR_IO, UDS_ERR_NO_SPACE, UDS_ERR_CORRUPT (the copy is not what was copied)
 *
 * Unless it is UDS_OK the index is where it was, in the state it was in (or read only, if a chapter
 * could not be written), and the new place is as before; or it is offline, when the disks fail so
 * that no control file can be trusted.
 */
UDS_MUST_CHECK uds_status uds_writer_move(uds_writer *writer, const char *directory,
                                          uds_error *error);

/*
 * Make the files that do not fit the configuration (memory, sparse, structure of the volume index)
 * anew from the records in them, the newest last: what the window has room for is kept, and the
 * name key.  The old files count until the new ones are complete; both are there meanwhile.  State:
 * recovering.
 *
 * scratch, bytes  memory for the time of the call: UDS_CONVERT_BYTES
 *
 * UDS_OK         the index is online; at once for files that fit
 * UDS_STOPPED    the host asked to stop; the old files count, and are to be opened again
 * others         why not; the state is offline.  The old files count, unless putting the new ones
 *                in their place is what has failed: the next open tells
 */
UDS_MUST_CHECK uds_status uds_writer_convert(uds_writer *writer, void *scratch, size_t bytes,
                                             uds_error *error);

#define UDS_CONVERT_BYTES ((size_t) 2 << 20)

/* Forget everything: new files with a new nonce and the same name key; requests go on after it.
 * They have the geometry of the configuration. */
UDS_MUST_CHECK uds_status uds_writer_reset(uds_writer *writer, uds_error *error);

/*
 * Have all zones left?  True when no zone worker holds its zone: at a stop of the server the
 * writer goes on with uds_writer_work until then, or until its time is up, and then closes.
 */
bool uds_writer_zones_have_left(const uds_writer *writer);

/*
 * End of the index: take the zones, write what is closed, save and mark the files clean; close
 * them.  On failure the files stay "running": the next open recovers.  The state becomes NONE.
 */
UDS_MUST_CHECK uds_status uds_writer_close(uds_writer *writer, bool save, uds_error *error);

/* End of this worker only: close files, change nothing.  Fit for an exit callback. */
void uds_writer_detach(uds_writer *writer);

#endif
