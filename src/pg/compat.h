/*
 * compat.h: differences between PostgreSQL versions.  The only place that asks for a version.
 */
#ifndef UDSPG_COMPAT_H
#define UDSPG_COMPAT_H

#include "postgres.h"

#include "storage/proc.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "uds needs PostgreSQL 15 or later"
#endif

/* Number of this process in ProcGlobal->allProcs. */
static inline uint32
udspg_compat_proc_number(void)
{
#if PG_VERSION_NUM >= 170000
	return (uint32) MyProcNumber;
#else
	return (uint32) MyProc->pgprocno;
#endif
}

/* Waits that show in pg_stat_activity; they have names of their own from PostgreSQL 17 on. */
typedef enum udspg_wait
{
	UDSPG_WAIT_WORKER_IDLE = 0, /* a worker has nothing to do */
	UDSPG_WAIT_WORKER_WORK = 1, /* a worker waits for another one */
	UDSPG_WAIT_ANSWER = 2,      /* a session waits for its answers */
	UDSPG_WAIT_READY = 3,       /* a session waits for the index to be ready */
	UDSPG_WAIT_COMMAND = 4      /* a session waits for a control command */
} udspg_wait;

#define UDSPG_WAIT_COUNT 5

static inline uint32
udspg_compat_wait_event(udspg_wait wait)
{
#if PG_VERSION_NUM >= 170000
	static const char *const names[UDSPG_WAIT_COUNT] = {
		"UdsWorkerIdle", "UdsWorkerWork", "UdsAnswer", "UdsReady", "UdsCommand"
	};
	static uint32 events[UDSPG_WAIT_COUNT];

	if (events[wait] == 0)
		events[wait] = WaitEventExtensionNew(names[wait]);
	return events[wait];
#else
	(void) wait;
	return PG_WAIT_EXTENSION;
#endif
}

#endif
