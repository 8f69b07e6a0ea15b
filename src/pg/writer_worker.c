/*
 * writer_worker.c: the chapter writer.
 *
 * It waits for the other workers, opens the index, writes chapters, runs control commands, and
 * saves the index when the server stops.  Asked to stop alone, it only goes away: its successor
 * takes the block over as it is.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "command.h"
#include "port_pg.h"
#include "report.h"
#include "settings.h"
#include "shared.h"
#include "worker.h"

/* The other workers start within this time, or their registration was refused. */
#define UDSPG_WRITER_GATHER_MS 10000

/* While zones leave, looks in between whether they have. */
#define UDSPG_WRITER_LEAVE_LOOK_MS 10

static struct
{
	uds_port port;
	uds_writer *writer; /* NULL before it is open and after it is closed */
	void *memory;
	char failure[UDS_ERROR_TEXT_BYTES]; /* the last one of uds_writer_work, to tell it once */
} writer;

static void
udspg_writer_worker_detach(void)
{
	if (writer.writer != NULL)
		uds_writer_detach(writer.writer);
	writer.writer = NULL;
}

/* Tell sessions that wait for a state of the index. */
static void
udspg_writer_worker_announce(void)
{
	ConditionVariableBroadcast(&udspg_shared_header->changed);
}

/* Stop at a point where nothing was begun. */
static void
udspg_writer_worker_check_stop(void)
{
	udspg_worker_process_interrupts();
	if (udspg_worker_stop_requested)
		proc_exit(1);
}

/* ---- start -------------------------------------------------------------------------------------- */

/* Wait for the other workers; without them the index is offline until they come. */
static void
udspg_writer_worker_gather(void)
{
	int wanted = udspg_workers_wanted();
	TimestampTz start = GetCurrentTimestamp();
	bool is_offline = false;
	int running;

	udspg_worker_report_activity("waiting for the other workers");
	while ((running = udspg_workers_running()) < wanted)
	{
		long left =
			UDSPG_WRITER_GATHER_MS - TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());

		udspg_writer_worker_check_stop();
		if (!is_offline && left <= 0)
		{
			char reason[UDS_ERROR_TEXT_BYTES];
			char hint[UDS_ERROR_TEXT_BYTES];

			snprintf(reason,
			         sizeof(reason),
			         "%d of %d workers started, raise max_worker_processes to %d",
			         running,
			         wanted,
			         max_worker_processes + wanted - running);
			snprintf(hint,
			         sizeof(hint),
			         "The chapter writer%s and each of \"uds.zones\" and \"uds.read_workers\" need "
			         "one, beside those of other extensions.",
			         udspg_settings_want_triage()
			             ? ", the triage worker of \"uds.sparse\" with several zones,"
			             : "");
			udspg_shared_set_offline(reason, hint);
			ereport(WARNING,
			        errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			        errmsg("uds is offline: %s", reason),
			        errhint("%s", hint));
			is_offline = true;
		}
		udspg_worker_sleep(is_offline ? -1 : Max(left, 1));
	}
	/* Also when a predecessor has said so. */
	if (pg_atomic_read_u32(&udspg_shared_header->is_offline) != 0)
		udspg_shared_set_offline(NULL, NULL);
}

/* Open the index, or take it over from a predecessor; perhaps a command interrupts that. */
static void
udspg_writer_worker_open(void)
{
	uds_error error;
	uds_status status;

	if (writer.writer != NULL)
		uds_writer_detach(writer.writer);

	memset(&error, 0, sizeof(error));
	udspg_worker_report_activity("recovering");
	HOLD_INTERRUPTS();
	status = uds_writer_open(writer.memory,
	                         udspg_index(),
	                         &writer.port,
	                         udspg_config(),
	                         &writer.writer,
	                         &error);
	RESUME_INTERRUPTS();
	if (status == UDS_STOPPED)
		return;
	udspg_shared_set_hint(uds_status_is_error(status) ? error.hint : NULL);
	udspg_writer_worker_announce();
	if (uds_status_is_error(status))
		udspg_report(WARNING, status, &error);
}

/* Was the recovery interrupted?  Outside of the engine, the index recovers no more. */
static bool
udspg_writer_worker_is_unopened(void)
{
	uds_state state = uds_index_state(udspg_index());

	return state == UDS_STATE_NONE || state == UDS_STATE_RECOVERING;
}

/* ---- loop --------------------------------------------------------------------------------------- */

/* Convert the files, with memory for the time that it takes. */
static uds_status
udspg_writer_worker_convert(uds_error *error)
{
	void *scratch =
		MemoryContextAllocExtended(TopMemoryContext, UDS_CONVERT_BYTES, MCXT_ALLOC_NO_OOM);
	uds_status status;

	if (scratch == NULL)
		return uds_error_set(error, UDS_ERR_IO, ENOMEM, "out of memory");
	status = uds_writer_convert(writer.writer, scratch, UDS_CONVERT_BYTES, error);
	pfree(scratch);
	return status;
}

/* Run the command that waits, if any; true when one has ended. */
static bool
udspg_writer_worker_run_command(void)
{
	udspg_command_kind kind;
	uint64 number;
	char argument[MAXPGPATH];
	uds_error error;
	uds_status status = UDS_ERR_INTERNAL;

	if (!udspg_command_peek(&kind, &number))
		return false;

	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	writer.port.obeys_commands = false;
	writer.port.command = number;
	switch (kind)
	{
		case UDSPG_COMMAND_CHECKPOINT:
			udspg_worker_report_activity("saving the index");
			status = uds_writer_checkpoint(writer.writer, &error);
			break;
		case UDSPG_COMMAND_RESET:
			udspg_worker_report_activity("resetting the index");
			status = uds_writer_reset(writer.writer, &error);
			break;
		case UDSPG_COMMAND_SUSPEND:
		case UDSPG_COMMAND_HOLD:
			udspg_worker_report_activity("suspending the index");
			status = uds_writer_suspend(writer.writer, kind == UDSPG_COMMAND_SUSPEND, &error);
			break;
		case UDSPG_COMMAND_RESUME:
			udspg_worker_report_activity("resuming the index");
			status = uds_writer_resume(writer.writer, &error);
			break;
		case UDSPG_COMMAND_REBUILD:
			udspg_worker_report_activity("rebuilding the index");
			status = uds_writer_rebuild(writer.writer, &error);
			break;
		case UDSPG_COMMAND_REDUCE:
			udspg_worker_report_activity("reducing the index");
			status = uds_writer_reduce(writer.writer, &error);
			break;
		case UDSPG_COMMAND_MOVE:
			udspg_worker_report_activity("moving the files");
			udspg_command_argument(argument);
			status = uds_writer_move(writer.writer, argument, &error);
			break;
		case UDSPG_COMMAND_CONVERT:
			udspg_worker_report_activity("converting the files");
			status = udspg_writer_worker_convert(&error);
			break;
	}
	writer.port.obeys_commands = true;
	writer.port.command = 0;
	RESUME_INTERRUPTS();
	udspg_writer_worker_announce();
	if (status == UDS_STOPPED && !udspg_worker_stop_requested && udspg_command_is_cancelled(number))
		status = uds_error_set(&error, UDS_ERR_STATE, 0, "the command was interrupted");
	if (status == UDS_STOPPED)
		return false; /* it waits for the successor, or goes down with the server */
	if (status == UDS_OK)
		udspg_shared_set_hint(NULL);
	udspg_command_finish(number, status, &error);
	return true;
}

/* Do a piece of the writer's own work; true when there may be more to do at once. */
static bool
udspg_writer_worker_do_work(void)
{
	uds_error error;
	uds_status status;
	uds_state before = uds_index_state(udspg_index());

	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	status = uds_writer_work(writer.writer, &error);
	RESUME_INTERRUPTS();
	if (uds_index_state(udspg_index()) != before)
		udspg_writer_worker_announce();
	if (uds_status_is_error(status) && strcmp(writer.failure, error.message) != 0)
	{
		strlcpy(writer.failure, error.message, sizeof(writer.failure));
		udspg_shared_set_hint(error.hint);
		udspg_report(WARNING, status, &error);
	}
	else if (status == UDS_OK)
		writer.failure[0] = '\0';
	return status == UDS_OK;
}

/* ---- stop --------------------------------------------------------------------------------------- */

/*
 * The server stops: go on writing until the zones have left, then save and close, all within
 * uds.shutdown_timeout.  What is not saved in time is recovered at the next start.
 */
static void
udspg_writer_worker_save_at_stop(void)
{
	uds_error error;
	uds_status status;

	memset(&error, 0, sizeof(error));
	udspg_port_set_deadline(&writer.port, udspg_shutdown_timeout);
	udspg_worker_report_activity("waiting for the zones to leave");
	while (!uds_writer_zones_have_left(writer.writer) && !udspg_port_deadline_is_over(&writer.port))
	{
		udspg_worker_process_interrupts();
		if (!udspg_writer_worker_do_work())
			udspg_worker_sleep(UDSPG_WRITER_LEAVE_LOOK_MS);
	}

	udspg_worker_report_activity("saving the index");
	HOLD_INTERRUPTS();
	status = uds_writer_close(writer.writer, udspg_shutdown_timeout > 0, &error);
	writer.writer = NULL;
	RESUME_INTERRUPTS();
	if (status == UDS_STOPPED)
		ereport(LOG,
		        errmsg("uds was not saved within \"uds.shutdown_timeout\""),
		        errdetail("It recovers at the next start."));
	else if (uds_status_is_error(status))
		udspg_report(WARNING, status, &error);
}

/* Does not return. */
static void
udspg_writer_worker_stop(void)
{
	uds_state state = uds_index_state(udspg_index());

	/* A suspended index may not have been saved; the engine knows. */
	if (udspg_worker_server_is_stopping() && writer.writer != NULL &&
	    (uds_state_executes(state) || state == UDS_STATE_SUSPENDED))
		udspg_writer_worker_save_at_stop();
	proc_exit(1);
}

void
udspg_writer_worker_main(Datum argument)
{
	udspg_worker_start(UDS_WORKER_WRITER, udspg_writer_worker_detach);
	udspg_port_init(&writer.port, UDS_WORKER_WRITER);
	writer.memory = MemoryContextAlloc(TopMemoryContext, uds_writer_size() + 16);
	writer.memory = (void *) TYPEALIGN(16, writer.memory);

	/* A block that a predecessor has left online goes on, whether a zone worker is away or not. */
	if (uds_index_state(udspg_index()) == UDS_STATE_NONE)
		udspg_writer_worker_gather();
	writer.port.obeys_commands = true;
	udspg_writer_worker_open();

	for (;;)
	{
		udspg_worker_process_interrupts();
		if (udspg_worker_stop_requested)
			udspg_writer_worker_stop();
		/* A command has interrupted it: that command comes first. */
		if (udspg_writer_worker_is_unopened() && !udspg_writer_worker_run_command())
		{
			udspg_writer_worker_open();
			continue;
		}
		if (udspg_writer_worker_do_work() || udspg_writer_worker_run_command())
			continue;
		udspg_worker_report_activity(NULL);
		udspg_worker_sleep(-1);
		udspg_worker_report_activity("writing chapters");
	}
}
