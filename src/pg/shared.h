/*
 * shared.h: the shared memory of the extension.
 *
 * One piece of main shared memory:
 *
 *   udspg_shared (fixed header) | work bitmaps | session slots | channels | rings | engine block
 *
 * When the block does not fit this machine, or the settings are wrong, there is only the header,
 * and it says why.  Everything but the header starts as zeros.
 */
#ifndef UDSPG_SHARED_H
#define UDSPG_SHARED_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "../engine/index.h"
#include "channel.h"
#include "command.h"

/* The block and the queues may take this part of the physical memory. */
#define UDSPG_MEMORY_PERCENT_MAX 75

/* Numbers of workers are uds_worker_id. */
#define UDSPG_WORKERS_MAX UDS_WORKER_COUNT

/* The zones' and that of the triage worker. */
#define UDSPG_LANES_MAX (UDS_ZONES_MAX + 1)

/* A worker as others see it. */
typedef struct udspg_worker_cell
{
	pg_atomic_uint32 pid;        /* atomic: 0 = not running; by the worker itself */
	pg_atomic_uint32 proc;       /* atomic: its number among the PGPROCs + 1, 0 = not running */
	pg_atomic_uint32 is_leaving; /* atomic: a worker of a lane that takes no more requests; set by
	                              * it, cleared by its successor */
	pg_atomic_uint32 starts;     /* atomic: how often it was started since the server's start */
	pg_atomic_uint32 crowd;      /* atomic: a worker of a lane's, sessions that its latest messages
	                              * are from */
} udspg_worker_cell;

/* Results of the latest commands are kept so that a caller finds its own. */
#define UDSPG_COMMAND_RESULTS 8

typedef struct udspg_command_cell
{
	/* lock: udspg_shared.lock, for all */
	uint64 requested; /* number of the latest command */
	uint64 finished;  /* number of the latest command that has ended */
	udspg_command_kind kind;
	char argument[MAXPGPATH]; /* of the latest command; empty: none */
	struct
	{
		uds_status status;
		uds_error error;
	} results[UDSPG_COMMAND_RESULTS]; /* of command n at n % UDSPG_COMMAND_RESULTS */

	pg_atomic_uint32 interrupts; /* atomic: the latest command interrupts a recovery */
	pg_atomic_uint64 cancelled; /* atomic: number of the latest command that is to be interrupted */
	ConditionVariable ended;    /* broadcast when finished grows */
} udspg_command_cell;

/* How far a session is that verifies the volume: for uds_progress. */
typedef struct udspg_watch
{
	pg_atomic_uint32 pid;   /* atomic: 0 = free; by the session */
	pg_atomic_uint64 done;  /* atomic: statistics */
	pg_atomic_uint64 total; /* atomic: statistics */
} udspg_watch;

#define UDSPG_WATCHES 4 /* more sessions are not shown */

/* One session; its channels are udspg_shared_channel(slot, lane). */
typedef struct udspg_slot
{
	pg_atomic_uint32 pid; /* atomic: 0 = free; claimed under udspg_shared.lock */
	uint64 next_batch_id; /* owner: the session; never goes back */

	/* atomic: relaxed, statistics only; of the present session */
	pg_atomic_uint32 in_flight; /* requests sent and not answered */
	pg_atomic_uint64 requests;
	pg_atomic_uint64 waits; /* times it slept for an answer */
} udspg_slot;

typedef struct udspg_shared
{
	/* const after the start of the server */
	LWLock *lock;   /* claims of slots, the command cell, texts */
	int tranche_id; /* of this lock and of those in the block */
	bool has_block;
	uint32 slot_count;
	uint32 zone_count;
	uint32 lane_count;   /* zones, and one with a triage worker: see lane.h */
	uint32 bitmap_words; /* per lane */
	Size ring_bytes;     /* of one direction of a channel */
	uint32 batch_max;    /* items of a message */
	Size queue_bytes;    /* of slots, channels and rings, all together */
	Size block_bytes;
	int cpu_count;          /* that this server may run on */
	TimestampTz started_at; /* when this memory was created: counters begin then */
	uds_config config;      /* undefined when it is wrong */
	bool config_is_valid;
	pg_atomic_uint64 *work; /* of lane 0, then of the others */
	udspg_slot *slots;
	udspg_channel *channels; /* [slot][lane] */
	char *rings;             /* [slot][lane][request, reply] */
	uds_index *block;        /* NULL when there is none */

	/* Why the index is offline though the block does not say so; empty = it is not. */
	pg_atomic_uint32 is_offline;       /* atomic: release after the texts */
	char reason[UDS_ERROR_TEXT_BYTES]; /* lock */
	char hint[UDS_ERROR_TEXT_BYTES];   /* lock: for the reason here or in the block */

	pg_atomic_uint64 writer_missed_since; /* atomic: TimestampTz of the first look in vain */
	pg_atomic_uint64 stats_reset;         /* atomic: TimestampTz of the latest uds_stats_reset(),
	                                       * 0 = none since started_at */

	/* Processes of this extension that could use a CPU now: see poll.h. */
	pg_attribute_aligned(PG_CACHE_LINE_SIZE) pg_atomic_uint32 runnable;

	/* Broadcast when the state of the index or of a worker has changed. */
	pg_attribute_aligned(PG_CACHE_LINE_SIZE) ConditionVariable changed;

	udspg_worker_cell workers[UDSPG_WORKERS_MAX];
	udspg_command_cell command;
	udspg_watch watches[UDSPG_WATCHES];
} udspg_shared;

/* NULL unless the library was preloaded. */
extern udspg_shared *udspg_shared_header;

/* Install the hooks.  From _PG_init only. */
extern void udspg_shared_install(void);

/* ---- for functions and views: any backend, any state ---------------------------------------- */

/* The engine's block, or NULL when there is none (then udspg_state says why). */
extern uds_index *udspg_index(void);

/* The configuration that the settings give, or NULL when they are wrong. */
extern const uds_config *udspg_config(void);

/*
 * State of the index as a user sees it, also without block or workers, or on a standby.
 * reason, hint: UDS_ERROR_TEXT_BYTES bytes each, or NULL; empty when there is nothing to say.
 */
extern uds_state udspg_state_explain(char *reason, char *hint);

static inline uds_state
udspg_state(char *reason)
{
	return udspg_state_explain(reason, NULL);
}

/* Word for a state: "recovering", "online", ... */
extern const char *udspg_state_name(uds_state state);

/* Process id of a worker, 0 when it does not run. */
extern int udspg_worker_pid(uds_worker_id worker);

/* Workers that the settings ask for, and how many of them run. */
extern int udspg_workers_wanted(void);
extern int udspg_workers_running(void);

/* Bytes of slots, channels and rings. */
extern Size udspg_queue_memory(void);

/* Session slots, used or not. */
extern uint32 udspg_slot_count(void);

typedef struct udspg_slot_info
{
	int pid; /* 0 = free */
	uint32 in_flight;
	uint64 requests;
	uint64 waits;
} udspg_slot_info;

extern void udspg_slot_describe(uint32 number, udspg_slot_info *info);

/* ---- for the rest of the glue ------------------------------------------------------------------ */

extern udspg_slot *udspg_shared_slot(uint32 slot);
extern udspg_channel *udspg_shared_channel(uint32 slot, uint32 lane);
extern void *udspg_shared_ring(uint32 slot, uint32 lane, bool is_reply);

/* Is there a triage worker, and which lane leads to it? */
extern bool udspg_shared_has_triage(void);
extern uint32 udspg_shared_triage_lane(void);

/* The worker that a lane leads to. */
extern uds_worker_id udspg_shared_lane_worker(uint32 lane);

/* Bitmap of the slots whose channel needs the worker of this lane. */
extern pg_atomic_uint64 *udspg_shared_work(uint32 lane);

/* Wake a worker if it runs.  Never blocks, never throws. */
extern void udspg_shared_wake(uds_worker_id worker);

/* Go offline with a reason that the block does not know, or back (reason NULL). */
extern void udspg_shared_set_offline(const char *reason, const char *hint);

/* Keep the hint that belongs to the reason in the block; NULL for none. */
extern void udspg_shared_set_hint(const char *hint);

#endif
