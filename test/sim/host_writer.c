/*
 * host_writer.c: the chapter writer of the simulated server.
 */
#include "host.h"

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
	else if (!host->is_resetting && !host->is_rebuilding &&
	         host_state(host) == UDS_STATE_RECOVERING)
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
		if (status != UDS_NOT_FOUND && !host_is_excused(host, status, injected))
			sim_fail(sim, "writer's work returns %d: %s", status, error.message);
		if (host_state(host) == UDS_STATE_OFFLINE)
			return;
		if (host_state(host) == UDS_STATE_READ_ONLY && sim->time_ns >= host->retry_at)
			host->command = HOST_CHECKPOINT;
		if (host->command != HOST_NO_COMMAND)
		{
			host_command command = host->command;

			host->command = HOST_NO_COMMAND;
			host_command_run(host, command);
			continue;
		}
		if (host_state(host) == UDS_STATE_SUSPENDED && sim->time_ns >= host->resume_at)
			host_command_resume(host);
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

void
host_writer_main(void *argument)
{
	host *host = argument;
	sim *sim = host->sim;

	/* The exit callback of a predecessor that has died. */
	if (host->has_writer_died && host->writer != NULL)
	{
		uds_writer_detach(host->writer);
		sim_close_files(sim, UDS_WORKER_WRITER);
	}
	host->has_writer_died = false;
	for (;;)
	{
		uint64_t injected = sim->injected;
		uds_error error;
		uds_status status = uds_writer_open(host->writer_memory,
		                                    host->index,
		                                    &host->writer_port,
		                                    &host->config,
		                                    &host->writer,
		                                    &error);

		if (status == UDS_OK)
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
		else if (!host_is_excused(host, status, injected))
			sim_fail(sim, "open returns %d: %s (%s)", status, error.message, error.detail);
		uds_writer_detach(host->writer);
		sim_sleep(sim, uds_random_below(host->random, 20000000));
		sim_set_stop(sim, UDS_WORKER_WRITER, false);
		host->totals.restarts++;
	}
}
