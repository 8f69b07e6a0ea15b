/*
 * command.c: the command cell.
 *
 * A caller waits until no command is under way, writes its own with the next number, wakes the
 * writer and waits until that number has ended.  Nobody owns the cell meanwhile: a caller that
 * goes away leaves its command running, or asks for its end, and results stay long enough for those
 * who still wait.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"

#include "compat.h"
#include "report.h"
#include "session.h"
#include "shared.h"

#define UDSPG_COMMAND_LOOK_MS 1000 /* looks in between whether there still is a writer */

/* Write a command if none is under way. */
static bool
udspg_command_write(udspg_command_kind kind, const char *argument, uint64 *number)
{
	udspg_command_cell *cell = &udspg_shared_header->command;
	bool is_free;

	LWLockAcquire(udspg_shared_header->lock, LW_EXCLUSIVE);
	is_free = cell->requested == cell->finished;
	if (is_free)
	{
		cell->kind = kind;
		strlcpy(cell->argument, argument, sizeof(cell->argument));
		*number = ++cell->requested;
		if (kind == UDSPG_COMMAND_SUSPEND || kind == UDSPG_COMMAND_HOLD)
			pg_atomic_write_u32(&cell->interrupts, 1);
	}
	LWLockRelease(udspg_shared_header->lock);
	if (is_free)
		udspg_shared_wake(UDS_WORKER_WRITER);
	return is_free;
}

/* The result of a command, when it has ended. */
static bool
udspg_command_read(uint64 number, uds_status *status, uds_error *error)
{
	udspg_command_cell *cell = &udspg_shared_header->command;
	bool has_ended;

	LWLockAcquire(udspg_shared_header->lock, LW_SHARED);
	has_ended = cell->finished >= number;
	if (cell->finished >= number + UDSPG_COMMAND_RESULTS)
		*status = uds_error_set(error, UDS_ERR_INTERNAL, 0, "the result of the command is lost");
	else if (has_ended)
	{
		*status = cell->results[number % UDSPG_COMMAND_RESULTS].status;
		*error = cell->results[number % UDSPG_COMMAND_RESULTS].error;
	}
	LWLockRelease(udspg_shared_header->lock);
	return has_ended;
}

/* Sleep until some command has ended.  Without a writer to come there is nothing to wait for. */
static void
udspg_command_sleep(void)
{
	bool is_over = ConditionVariableTimedSleep(&udspg_shared_header->command.ended,
	                                           UDSPG_COMMAND_LOOK_MS,
	                                           udspg_compat_wait_event(UDSPG_WAIT_COMMAND));

	if (is_over && udspg_worker_pid(UDS_WORKER_WRITER) == 0 &&
	    udspg_state(NULL) == UDS_STATE_OFFLINE)
		udspg_report_state(UDS_STATE_OFFLINE);
}

/* Is a command interrupted when its caller goes away?  Those that take long, and can be undone. */
static bool
udspg_command_is_interruptible(udspg_command_kind kind)
{
	return kind == UDSPG_COMMAND_CONVERT || kind == UDSPG_COMMAND_MOVE;
}

/* Wait for the end of a command. */
static void
udspg_command_wait(udspg_command_kind kind, uint64 number, uds_status *status, uds_error *error)
{
	PG_TRY();
	{
		while (!udspg_command_read(number, status, error))
			udspg_command_sleep();
	}
	PG_CATCH();
	{
		if (udspg_command_is_interruptible(kind))
			pg_atomic_write_u64(&udspg_shared_header->command.cancelled, number);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
udspg_command_run(udspg_command_kind kind)
{
	udspg_command_run_with(kind, "");
}

void
udspg_command_run_with(udspg_command_kind kind, const char *argument)
{
	uint64 number = 0;
	uds_status status = UDS_OK;
	uds_error error;

	udspg_require_loaded();
	if (udspg_index() == NULL || pg_atomic_read_u32(&udspg_shared_header->is_offline) != 0 ||
	    udspg_worker_pid(UDS_WORKER_WRITER) == 0)
	{
		if (udspg_state(NULL) == UDS_STATE_OFFLINE)
			udspg_report_state(UDS_STATE_OFFLINE);
	}

	memset(&error, 0, sizeof(error));
	ConditionVariablePrepareToSleep(&udspg_shared_header->command.ended);
	while (!udspg_command_write(kind, argument, &number))
		udspg_command_sleep();
	udspg_command_wait(kind, number, &status, &error);
	ConditionVariableCancelSleep();

	if (uds_status_is_error(status))
		udspg_report(ERROR, status, &error);
}

bool
udspg_command_interrupts(void)
{
	return pg_atomic_read_u32(&udspg_shared_header->command.interrupts) != 0;
}

bool
udspg_command_is_cancelled(uint64 number)
{
	return pg_atomic_read_u64(&udspg_shared_header->command.cancelled) == number;
}

bool
udspg_command_peek(udspg_command_kind *kind, uint64 *number)
{
	udspg_command_cell *cell = &udspg_shared_header->command;
	bool is_waiting;

	LWLockAcquire(udspg_shared_header->lock, LW_SHARED);
	is_waiting = cell->requested != cell->finished;
	*kind = cell->kind;
	*number = cell->requested;
	LWLockRelease(udspg_shared_header->lock);
	return is_waiting;
}

void
udspg_command_argument(char argument[MAXPGPATH])
{
	LWLockAcquire(udspg_shared_header->lock, LW_SHARED);
	strlcpy(argument, udspg_shared_header->command.argument, MAXPGPATH);
	LWLockRelease(udspg_shared_header->lock);
}

void
udspg_command_finish(uint64 number, uds_status status, const uds_error *error)
{
	udspg_command_cell *cell = &udspg_shared_header->command;

	LWLockAcquire(udspg_shared_header->lock, LW_EXCLUSIVE);
	cell->results[number % UDSPG_COMMAND_RESULTS].status = status;
	cell->results[number % UDSPG_COMMAND_RESULTS].error = *error;
	cell->finished = number;
	pg_atomic_write_u32(&cell->interrupts, 0);
	LWLockRelease(udspg_shared_header->lock);
	ConditionVariableBroadcast(&cell->ended);
}
