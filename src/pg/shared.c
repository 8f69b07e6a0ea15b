/*
 * shared.c: request, layout and start of the shared memory, and what everybody may read there.
 *
 * The size is known in shmem_request_hook, where MaxBackends is.  The postmaster initialises what
 * comes before the rings; rings are initialised by the session that offers them, the block by the
 * chapter writer.  A crash of a backend gives a new segment: everything starts over.
 */
#include "postgres.h"

#include <sched.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "message.h"
#include "settings.h"
#include "shared.h"

#define UDSPG_TRANCHE_NAME "uds"

/* A lane's ring has at least this size. */
#define UDSPG_RING_BYTES_MIN (8 * 1024)

/* More than the header of an shm_mq takes from its ring. */
#define UDSPG_RING_OVERHEAD 128

/* Without a chapter writer for this long, it will not come. */
#define UDSPG_WRITER_PATIENCE_MS 10000

udspg_shared *udspg_shared_header = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* What the request hook has decided, for the startup hook, which may run again after a crash. */
static struct
{
	Size total_bytes;
	Size prefix_bytes; /* what the postmaster initialises */
	Size work_offset;
	Size slots_offset;
	Size channels_offset;
	Size rings_offset;
	Size block_offset;
	udspg_shared header; /* const fields of it */
} plan;

/* Give up the block: only the header remains, and it says why. */
static void pg_attribute_printf(2, 3)
	udspg_shared_plan_offline(const char *hint, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(plan.header.reason, sizeof(plan.header.reason), format, arguments);
	va_end(arguments);
	strlcpy(plan.header.hint, hint, sizeof(plan.header.hint));
	plan.header.has_block = false;
	plan.prefix_bytes = plan.total_bytes = sizeof(udspg_shared);
}

/* Place bytes at the end of the plan, on a cache line of their own. */
static Size
udspg_shared_plan_add(Size bytes)
{
	Size offset = CACHELINEALIGN(plan.total_bytes);

	plan.total_bytes = add_size(offset, bytes);
	return offset;
}

static void
udspg_shared_plan_queues(void)
{
	udspg_shared *header = &plan.header;
	Size channels;
	Size quarter;
	Size start = plan.total_bytes;

	header->zone_count = header->config.zone_count;
	header->lane_count = header->zone_count + (udspg_settings_want_triage() ? 1 : 0);
	header->slot_count = udspg_max_sessions < 0 ? MaxBackends : udspg_max_sessions;
	header->bitmap_words = (header->slot_count + 63) / 64;
	/* Bitmaps of different lanes do not share a cache line. */
	header->bitmap_words = TYPEALIGN(PG_CACHE_LINE_SIZE / sizeof(uint64), header->bitmap_words);
	header->ring_bytes =
		TYPEALIGN_DOWN(PG_CACHE_LINE_SIZE, (Size) udspg_queue_size * 1024 / header->zone_count);
	header->ring_bytes = Max(header->ring_bytes, UDSPG_RING_BYTES_MIN);

	/* A message, with its length word, takes at most a quarter of its ring (DESIGN section 4). */
	quarter = (header->ring_bytes - UDSPG_RING_OVERHEAD) / 4;
	header->batch_max =
		(quarter - sizeof(Size) - sizeof(udspg_message_header)) / sizeof(udspg_request_item);
	header->batch_max = Min(header->batch_max, UDS_BATCH_MAX);

	channels = mul_size(header->slot_count, header->lane_count);
	plan.work_offset = udspg_shared_plan_add(
		mul_size(header->lane_count, header->bitmap_words * sizeof(pg_atomic_uint64)));
	plan.slots_offset = udspg_shared_plan_add(mul_size(header->slot_count, sizeof(udspg_slot)));
	plan.channels_offset = udspg_shared_plan_add(mul_size(channels, sizeof(udspg_channel)));
	plan.prefix_bytes = plan.total_bytes;
	plan.rings_offset = udspg_shared_plan_add(mul_size(channels, 2 * header->ring_bytes));
	header->queue_bytes = plan.total_bytes - start;
}

static void
udspg_shared_plan_block(void)
{
	udspg_shared *header = &plan.header;
	uds_error error;
	uds_status status;
	Size physical = (Size) sysconf(_SC_PHYS_PAGES) * (Size) sysconf(_SC_PAGESIZE);

	memset(&plan, 0, sizeof(plan));
	plan.prefix_bytes = plan.total_bytes = sizeof(udspg_shared);

	memset(&error, 0, sizeof(error));
	status = uds_config_init(&header->config,
	                         udspg_memory,
	                         (uds_index_structure) udspg_index_structure,
	                         udspg_sparse,
	                         udspg_zones,
	                         (uint64) udspg_page_cache * 1024,
	                         &error);
	header->config.reader_count = udspg_read_workers;
	header->block_bytes = status == UDS_OK ? uds_index_size(&header->config) : 0;
	header->config_is_valid = header->block_bytes != 0;
	if (!header->config_is_valid)
	{
		if (error.message[0] == '\0')
			snprintf(error.message,
			         sizeof(error.message),
			         "uds.memory = %d MB is too much for uds.index = %s with %d zones%s",
			         udspg_memory,
			         udspg_index_structure == UDS_STRUCTURE_LISTS ? "lists" : "buckets",
			         udspg_zones,
			         udspg_sparse ? " and uds.sparse" : "");
		udspg_shared_plan_offline(error.hint, "%s", error.message);
		return;
	}
	if (!IsPostmasterEnvironment || IsBinaryUpgrade)
	{
		udspg_shared_plan_offline("", "no workers run in single-user mode and in a binary upgrade");
		return;
	}

	udspg_shared_plan_queues();
	plan.block_offset = udspg_shared_plan_add(header->block_bytes);
	header->has_block = true;
	if (plan.total_bytes / 100 > physical / UDSPG_MEMORY_PERCENT_MAX)
		udspg_shared_plan_offline("Lower \"uds.memory\", or \"uds.page_cache\", \"uds.queue_size\" "
		                          "and \"uds.max_sessions\".",
		                          "the index needs %zu MB of shared memory, the machine has %zu MB",
		                          plan.total_bytes / (1024 * 1024),
		                          physical / (1024 * 1024));
}

static void
udspg_shared_request(void)
{
	if (prev_shmem_request_hook != NULL)
		prev_shmem_request_hook();

	udspg_shared_plan_block();
	RequestAddinShmemSpace(plan.total_bytes);
	RequestNamedLWLockTranche(UDSPG_TRANCHE_NAME, 1);
}

static int
udspg_shared_cpu_count(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return CPU_COUNT(&set);
	return Max(1, (int) sysconf(_SC_NPROCESSORS_ONLN));
}

static void
udspg_shared_initialize(udspg_shared *header)
{
	char *base = (char *) header;
	LWLockPadded *locks = GetNamedLWLockTranche(UDSPG_TRANCHE_NAME);

	memset(base, 0, plan.prefix_bytes);
	*header = plan.header;
	header->lock = &locks[0].lock;
	header->tranche_id = locks[0].lock.tranche;
	header->cpu_count = udspg_shared_cpu_count();
	pg_atomic_init_u32(&header->is_offline, header->has_block ? 0 : 1);
	pg_atomic_init_u64(&header->writer_missed_since, 0);
	pg_atomic_init_u64(&header->stats_reset, 0);
	header->started_at = GetCurrentTimestamp();
	pg_atomic_init_u32(&header->runnable, 0);
	ConditionVariableInit(&header->changed);
	pg_atomic_init_u32(&header->command.interrupts, 0);
	pg_atomic_init_u64(&header->command.cancelled, 0);
	ConditionVariableInit(&header->command.ended);
	if (!header->has_block)
	{
		ereport(WARNING,
		        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("uds is offline: %s", header->reason),
		        header->hint[0] != '\0' ? errhint("%s", header->hint) : 0);
		return;
	}
	header->work = (pg_atomic_uint64 *) (base + plan.work_offset);
	header->slots = (udspg_slot *) (base + plan.slots_offset);
	header->channels = (udspg_channel *) (base + plan.channels_offset);
	header->rings = base + plan.rings_offset;
	header->block = (uds_index *) (base + plan.block_offset);
}

static void
udspg_shared_startup(void)
{
	bool found;

	if (prev_shmem_startup_hook != NULL)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	udspg_shared_header = ShmemInitStruct("uds", plan.total_bytes, &found);
	if (!found)
		udspg_shared_initialize(udspg_shared_header);
	LWLockRelease(AddinShmemInitLock);
}

void
udspg_shared_install(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = udspg_shared_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = udspg_shared_startup;
}

/* ---- for functions and views ---------------------------------------------------------------- */

uds_index *
udspg_index(void)
{
	return udspg_shared_header == NULL ? NULL : udspg_shared_header->block;
}

const uds_config *
udspg_config(void)
{
	if (udspg_shared_header == NULL || !udspg_shared_header->config_is_valid)
		return NULL;
	return &udspg_shared_header->config;
}

/* Has the chapter writer been missed for so long that it will not come? */
static bool
udspg_shared_writer_is_missing(void)
{
	udspg_shared *header = udspg_shared_header;
	TimestampTz now = GetCurrentTimestamp();
	uint64 since = 0;

	if (pg_atomic_read_u32(&header->workers[UDS_WORKER_WRITER].starts) != 0)
		return false;
	if (pg_atomic_compare_exchange_u64(&header->writer_missed_since, &since, (uint64) now))
		return false;
	return TimestampDifferenceExceeds((TimestampTz) since, now, UDSPG_WRITER_PATIENCE_MS);
}

uds_state
udspg_state_explain(char *reason, char *hint)
{
	udspg_shared *header = udspg_shared_header;
	char own_reason[UDS_ERROR_TEXT_BYTES] = "";
	char own_hint[UDS_ERROR_TEXT_BYTES] = "";
	uds_state state = UDS_STATE_OFFLINE;

	if (header == NULL)
		strlcpy(own_reason, "not loaded via shared_preload_libraries", sizeof(own_reason));
	else if (RecoveryInProgress())
	{
		strlcpy(own_reason, "hot standby", sizeof(own_reason));
		strlcpy(own_hint,
		        "Ask the primary. This server opens its own files when it is promoted.",
		        sizeof(own_hint));
	}
	else if (pg_atomic_read_u32(&header->is_offline) != 0)
	{
		LWLockAcquire(header->lock, LW_SHARED);
		strlcpy(own_reason, header->reason, sizeof(own_reason));
		strlcpy(own_hint, header->hint, sizeof(own_hint));
		LWLockRelease(header->lock);
	}
	else
	{
		state = uds_index_state(header->block);
		if (state != UDS_STATE_NONE)
		{
			uds_index_reason(header->block, own_reason, sizeof(own_reason));
			LWLockAcquire(header->lock, LW_SHARED);
			if (own_reason[0] != '\0')
				strlcpy(own_hint, header->hint, sizeof(own_hint));
			LWLockRelease(header->lock);
		}
		else if (udspg_shared_writer_is_missing())
		{
			state = UDS_STATE_OFFLINE;
			strlcpy(own_reason, "the chapter writer was not started", sizeof(own_reason));
			snprintf(own_hint,
			         sizeof(own_hint),
			         "Raise \"max_worker_processes\" by at least %d.",
			         udspg_workers_wanted());
		}
		else
		{
			state = UDS_STATE_RECOVERING;
			strlcpy(own_reason, "the chapter writer is starting", sizeof(own_reason));
		}
	}

	if (reason != NULL)
		strlcpy(reason, own_reason, UDS_ERROR_TEXT_BYTES);
	if (hint != NULL)
		strlcpy(hint, own_hint, UDS_ERROR_TEXT_BYTES);
	return state;
}

const char *
udspg_state_name(uds_state state)
{
	switch (state)
	{
		case UDS_STATE_NONE:
		case UDS_STATE_RECOVERING:
			return "recovering";
		case UDS_STATE_ONLINE:
			return "online";
		case UDS_STATE_SUSPENDED:
			return "suspended";
		case UDS_STATE_READ_ONLY:
			return "read only";
		case UDS_STATE_OFFLINE:
			return "offline";
		case UDS_STATE_FAILED:
			return "failed";
	}
	return "unknown";
}

int
udspg_worker_pid(uds_worker_id worker)
{
	if (udspg_shared_header == NULL || worker >= UDSPG_WORKERS_MAX)
		return 0;
	return (int) pg_atomic_read_u32(&udspg_shared_header->workers[worker].pid);
}

int
udspg_workers_wanted(void)
{
	return 1 + udspg_zones + udspg_read_workers + (udspg_settings_want_triage() ? 1 : 0);
}

int
udspg_workers_running(void)
{
	int running = 0;

	for (uds_worker_id worker = 0; worker < UDSPG_WORKERS_MAX; worker++)
		if (udspg_worker_pid(worker) != 0)
			running++;
	return running;
}

Size
udspg_queue_memory(void)
{
	return udspg_shared_header == NULL ? 0 : udspg_shared_header->queue_bytes;
}

uint32
udspg_slot_count(void)
{
	if (udspg_index() == NULL)
		return 0;
	return udspg_shared_header->slot_count;
}

void
udspg_slot_describe(uint32 number, udspg_slot_info *info)
{
	udspg_slot *slot = udspg_shared_slot(number);

	info->pid = (int) pg_atomic_read_u32(&slot->pid);
	pg_read_barrier();
	info->in_flight = pg_atomic_read_u32(&slot->in_flight);
	info->requests = pg_atomic_read_u64(&slot->requests);
	info->waits = pg_atomic_read_u64(&slot->waits);
}

/* ---- for the rest of the glue --------------------------------------------------------------- */

udspg_slot *
udspg_shared_slot(uint32 slot)
{
	Assert(slot < udspg_shared_header->slot_count);
	return &udspg_shared_header->slots[slot];
}

udspg_channel *
udspg_shared_channel(uint32 slot, uint32 lane)
{
	Assert(slot < udspg_shared_header->slot_count && lane < udspg_shared_header->lane_count);
	return &udspg_shared_header->channels[(Size) slot * udspg_shared_header->lane_count + lane];
}

void *
udspg_shared_ring(uint32 slot, uint32 lane, bool is_reply)
{
	Size number = ((Size) slot * udspg_shared_header->lane_count + lane) * 2 + (is_reply ? 1 : 0);

	return udspg_shared_header->rings + number * udspg_shared_header->ring_bytes;
}

bool
udspg_shared_has_triage(void)
{
	return udspg_shared_header->lane_count > udspg_shared_header->zone_count;
}

uint32
udspg_shared_triage_lane(void)
{
	return udspg_shared_header->zone_count;
}

uds_worker_id
udspg_shared_lane_worker(uint32 lane)
{
	return lane < udspg_shared_header->zone_count ? UDS_WORKER_ZONE + lane : UDS_WORKER_TRIAGE;
}

pg_atomic_uint64 *
udspg_shared_work(uint32 lane)
{
	return udspg_shared_header->work + (Size) lane * udspg_shared_header->bitmap_words;
}

void
udspg_shared_wake(uds_worker_id worker)
{
	uint32 proc;

	/* What the worker is woken for is visible to one that registers after this look. */
	pg_memory_barrier();
	proc = pg_atomic_read_u32(&udspg_shared_header->workers[worker].proc);

	/* A latch of a process that has gone is some other process's by now: it looks and sleeps. */
	if (proc != 0)
		SetLatch(&ProcGlobal->allProcs[proc - 1].procLatch);
}

void
udspg_shared_set_offline(const char *reason, const char *hint)
{
	udspg_shared *header = udspg_shared_header;

	LWLockAcquire(header->lock, LW_EXCLUSIVE);
	strlcpy(header->reason, reason != NULL ? reason : "", sizeof(header->reason));
	strlcpy(header->hint, hint != NULL ? hint : "", sizeof(header->hint));
	pg_atomic_write_u32(&header->is_offline, reason != NULL ? 1 : 0);
	LWLockRelease(header->lock);
	ConditionVariableBroadcast(&header->changed);
}

void
udspg_shared_set_hint(const char *hint)
{
	udspg_shared *header = udspg_shared_header;

	LWLockAcquire(header->lock, LW_EXCLUSIVE);
	strlcpy(header->hint, hint != NULL ? hint : "", sizeof(header->hint));
	LWLockRelease(header->lock);
}
