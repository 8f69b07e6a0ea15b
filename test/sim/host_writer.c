/*
 * host_writer.c: the chapter writer of the simulated server.
 */
#include "host.h"

/* Is the index recovered from its files?  It may fail once more meanwhile. */
static bool
is_recovering(const host *host)
{
	return host_state(host) == UDS_STATE_RECOVERING || host_state(host) == UDS_STATE_FAILED;
}

/*
 * A save or control file is about to be replaced.  Zones stand still when it is a save, and while
 * the index is recovered: from here on it has what the files say.
 */
void
host_writer_watch(void *context, const char *file)
{
	host *host = context;

	if (strncmp(file, "checkpoint", 10) == 0)
		host->save_sequence = host->reference->sequence;
	if (strcmp(file, UDS_CONTROL_FILE) != 0)
		return;
	if (host->is_resetting && host->reset_sequence == 0)
	{
		reference_begin_reset(host->reference);
		host->reset_sequence = host->reference->sequence;
	}
	else if (!host->is_resetting && !host->is_rebuilding && is_recovering(host))
		reference_crashed(host->reference);
}

/* The writer's loop; returns when the worker is to stop, or to begin anew. */
static void
serve_writer(host *host)
{
	sim *sim = host->sim;
	uds_error error;

	while (!sim_must_stop(sim, UDS_WORKER_WRITER))
	{
		uint64_t injected = sim->injected;
		uds_status status;

		if (host->is_stopping && uds_writer_zones_have_left(host->writer))
			return;
		status = uds_writer_work(host->writer, &error);
		host_note_durable(host);
		if (host_state(host) == UDS_STATE_READ_ONLY)
			host->read_only_marks++;
		if (status == UDS_OK)
		{
			sim_progress(sim);
			continue;
		}
		/* What it was woken for may be the stop. */
		if (status == UDS_STOPPED)
			continue;
		if (status != UDS_NOT_FOUND && !host_is_excused(host, status, injected))
			sim_fail(sim, "writer's work returns %d: %s", status, error.message);
		if (host_state(host) == UDS_STATE_OFFLINE)
			return;
		if (host_state(host) == UDS_STATE_READ_ONLY && sim->time_ns >= host->retry_at)
			host->command = uds_random_one_in(host->random, 2) ? HOST_CHECKPOINT : HOST_RESUME;
		if (host->command != HOST_NO_COMMAND)
		{
			host_command command = host->command;

			host->command = HOST_NO_COMMAND;
			host_command_run(host, command);
			continue;
		}
		if (host_state(host) == UDS_STATE_SUSPENDED && sim->time_ns >= host->resume_at)
			host_command_run(host,
			                 host->plan.has_reductions && uds_random_one_in(host->random, 2)
			                     ? HOST_REDUCE
			                     : HOST_RESUME);
		else if (host_state(host) == UDS_STATE_READ_ONLY ||
		         host_state(host) == UDS_STATE_SUSPENDED || host->is_stopping)
			(void) !uds_port_wait(&host->writer_port, 10);
		else
			sim_wait(sim, "writer idle");
	}
}

/*
 * The server stops, all zones have left: save.  A suspended index may be saved already, or have
 * nothing to save.
 */
static void
close_index(host *host)
{
	uint32_t suspension = host_state(host) == UDS_STATE_SUSPENDED
	                          ? atomic_load(&host->index->suspension)
	                          : UDS_SUSPENSION_NONE;
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status = uds_writer_close(host->writer, host->plan.must_save, &error);

	if (status != UDS_OK && !host_is_excused(host, status, injected))
		sim_fail(host->sim, "close returns %d: %s", status, error.message);
	host->is_closed = true;
	host->is_saved = status == UDS_OK && suspension != UDS_SUSPENSION_RECOVERY &&
	                 (host->plan.must_save || suspension == UDS_SUSPENSION_SAVED);
}

/* Can the index be closed in order? */
static bool
may_close(const host *host)
{
	return host->is_stopping && uds_writer_zones_have_left(host->writer) &&
	       !sim_must_stop(host->sim, UDS_WORKER_WRITER) &&
	       (uds_state_executes(host_state(host)) || host_state(host) == UDS_STATE_SUSPENDED);
}

/* The server was told of the wrong directory: tell it of the other one. */
static uds_status
open_elsewhere(host *host, uds_error *error)
{
	host->sim->place = host->sim->place == host->from ? host->to : host->from;
	host->totals.refused_places++;
	uds_writer_detach(host->writer);
	return uds_writer_open(host->writer_memory,
	                       host->index,
	                       &host->writer_port,
	                       &host->config,
	                       &host->writer,
	                       error);
}

/* The files are in one directory: would the other one open, too? */
static void
check_other_place(host *host)
{
	uint32_t place = host->sim->place == host->from ? host->to : host->from;
	uds_control here;
	uds_control other;

	if (host->from == host->to || !host_read_control(host, place, &other) ||
	    !host_read_control(host, host->sim->place, &here) || here.nonce != other.nonce)
		return;
	/* Control here may say "moved" as long as it cannot be written. */
	if ((here.state == UDS_CONTROL_MOVED && other.state != UDS_CONTROL_ARRIVING) ||
	    here.state == UDS_CONTROL_ARRIVING ||
	    (other.state != UDS_CONTROL_ARRIVING && other.state != UDS_CONTROL_MOVED &&
	     other.elsewhere[0] == '\0'))
		sim_fail(host->sim,
		         "control %u has state %u and the name \"%s\" beside state %u in %u",
		         place,
		         other.state,
		         other.elsewhere,
		         here.state,
		         host->sim->place);
}

/*
 * Open the index.  A recovery that was to stop may be suspended instead, and what is offline may be
 * opened again by the same writer.
 */
static uds_status
open_index(host *host)
{
	sim *sim = host->sim;
	uint64_t injected = sim->injected;
	uds_error error;
	uds_status status = uds_writer_open(host->writer_memory,
	                                    host->index,
	                                    &host->writer_port,
	                                    &host->config,
	                                    &host->writer,
	                                    &error);

	if (status == UDS_STOPPED && uds_random_one_in(host->random, 4))
	{
		sim_set_stop(sim, UDS_WORKER_WRITER, false);
		status = uds_writer_suspend(host->writer, uds_random_one_in(host->random, 2), &error);
		host->totals.suspensions += status == UDS_OK;
	}
	else if (uds_status_is_error(status) && uds_random_one_in(host->random, 4))
	{
		sim_sleep(sim, uds_random_below(host->random, 20000000));
		status = uds_writer_resume(host->writer, &error);
	}
	if (status == UDS_ERR_MISMATCH && host->from != host->to)
		status = open_elsewhere(host, &error);
	if (status == UDS_OK && host_state(host) != UDS_STATE_SUSPENDED)
		check_other_place(host);
	if (status != UDS_OK && !host_is_excused(host, status, injected))
		sim_fail(sim, "open returns %d: %s (%s)", status, error.message, error.detail);
	return status;
}

void
host_writer_main(void *argument)
{
	host *host = argument;
	sim *sim = host->sim;

	if (host->has_writer_died)
	{
		/* The exit callback. */
		if (host->writer != NULL)
			uds_writer_detach(host->writer);
		sim_close_files(sim, UDS_WORKER_WRITER);
		host->has_writer_died = false;
	}
	for (;;)
	{
		if (open_index(host) == UDS_OK)
		{
			host->totals.recoveries++;
			sim_progress(sim);
			host_note_durable(host);
			serve_writer(host);
			if (may_close(host))
			{
				close_index(host);
				return;
			}
		}
		uds_writer_detach(host->writer);
		if (host->is_overdue)
			return;
		sim_sleep(sim, uds_random_below(host->random, 20000000));
		sim_set_stop(sim, UDS_WORKER_WRITER, false);
		host->totals.restarts++;
	}
}
