/*
 * worker.c: registration, start, signals, sleep and exit of the workers.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/pidfile.h"

#include "compat.h"
#include "port_pg.h"
#include "settings.h"
#include "shared.h"
#include "worker.h"

#define UDSPG_WORKER_RESTART_SECONDS 1

/* The postmaster's, in the data directory, where every server process is. */
#define UDSPG_WORKER_PID_FILE "postmaster.pid"

volatile sig_atomic_t udspg_worker_stop_requested = false;

static uds_worker_id worker_id;
static void (*worker_detach)(void);

/* ---- registration --------------------------------------------------------------------------- */

static void
udspg_worker_register(const char *name, const char *function, int number)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "uds", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = UDSPG_WORKER_RESTART_SECONDS;
	worker.bgw_main_arg = Int32GetDatum(number);
	RegisterBackgroundWorker(&worker);
}

static void
udspg_worker_register_numbered(const char *kind, const char *function, int count)
{
	for (int number = 0; number < count; number++)
	{
		char name[BGW_MAXLEN];

		snprintf(name, sizeof(name), "uds %s %d", kind, number);
		udspg_worker_register(name, function, number);
	}
}

void
udspg_worker_register_all(void)
{
	/* The writer comes first: it tells when there is no room for the others. */
	udspg_worker_register("uds chapter writer", "udspg_writer_worker_main", 0);
	udspg_worker_register_numbered("zone", "udspg_zone_worker_main", udspg_zones);
	udspg_worker_register_numbered("reader", "udspg_reader_worker_main", udspg_read_workers);
	if (udspg_settings_want_triage())
		udspg_worker_register("uds triage", "udspg_triage_worker_main", 0);
}

/* ---- start and exit --------------------------------------------------------------------------- */

static void
udspg_worker_handle_sigterm(SIGNAL_ARGS)
{
	int saved_errno = errno;

	udspg_worker_stop_requested = true;
	SetLatch(MyLatch);
	errno = saved_errno;
}

/* before_shmem_exit: LWLocks and latches still work. */
static void
udspg_worker_at_exit(int code, Datum argument)
{
	udspg_worker_cell *cell = &udspg_shared_header->workers[worker_id];

	/* An error may have left one held, and detaching may need it. */
	LWLockReleaseAll();
	worker_detach();
	pg_atomic_write_u32(&cell->proc, 0);
	pg_atomic_write_u32(&cell->pid, 0);
	ConditionVariableBroadcast(&udspg_shared_header->changed);
	/* The writer counts the workers while it starts, and waits for them while it stops. */
	udspg_shared_wake(UDS_WORKER_WRITER);
}

void
udspg_worker_start(uds_worker_id worker, void (*detach)(void))
{
	udspg_worker_cell *cell;

	pqsignal(SIGTERM, udspg_worker_handle_sigterm);
	pqsignal(SIGINT, SIG_IGN);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	/* Without a block there is nothing to do before the next start of the server. */
	if (udspg_index() == NULL)
		proc_exit(0);

	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	worker_id = worker;
	worker_detach = detach;
	cell = &udspg_shared_header->workers[worker];
	before_shmem_exit(udspg_worker_at_exit, (Datum) 0);
	pg_atomic_fetch_add_u32(&cell->starts, 1);
	pg_atomic_write_u32(&cell->pid, (uint32) MyProcPid);
	pg_atomic_write_u32(&cell->proc, udspg_compat_proc_number() + 1);
	/* From here on nobody's wake-up is lost: what came before is looked at after this. */
	pg_memory_barrier();
	udspg_shared_wake(UDS_WORKER_WRITER);
}

/* ---- in the loop -------------------------------------------------------------------------------- */

void
udspg_worker_process_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (catchupInterruptPending)
		ProcessCatchupInterrupt();
}

void
udspg_worker_sleep(long timeout_ms)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (udspg_port_has_reset_latch)
	{
		udspg_port_has_reset_latch = false;
		return;
	}
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	(void) WaitLatch(MyLatch, events, timeout_ms, udspg_compat_wait_event(UDSPG_WAIT_WORKER_IDLE));
	ResetLatch(MyLatch);
}

bool
udspg_worker_sleep_idle(void)
{
	/* To say so takes a hundredth of the time of a real sleep, but more than none at all. */
	bool is_idle = !udspg_port_has_reset_latch && !MyLatch->is_set;

	if (is_idle)
		udspg_worker_report_activity(NULL);
	udspg_worker_sleep(-1);
	return is_idle;
}

void
udspg_worker_report_activity(const char *activity)
{
	if (activity == NULL)
		pgstat_report_activity(STATE_IDLE, "");
	else
		pgstat_report_activity(STATE_RUNNING, activity);
}

bool
udspg_worker_server_is_stopping(void)
{
	char text[2048];
	const char *line = text;
	ssize_t length;
	int fd = BasicOpenFile(UDSPG_WORKER_PID_FILE, O_RDONLY | PG_BINARY);

	/* Without the file the data directory is gone: then there is nothing to save, either. */
	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';

	for (int number = 1; number < LOCK_FILE_LINE_PM_STATUS; number++)
	{
		line = strchr(line, '\n');
		if (line == NULL)
			return false;
		line++;
	}
	return strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}
