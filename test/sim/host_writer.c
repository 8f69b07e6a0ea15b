/*
 * host_writer.c: the chapter writer of the simulated server, and the commands it is given.
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
	else if (!host->is_resetting && host_state(host) == UDS_STATE_RECOVERING)
		reference_crashed(host->reference);
}

/* May a call fail with this status, given the faults until now? */
static bool
is_excused(const host *host, uds_status status, uint64_t injected_before)
{
	return status == UDS_STOPPED || ((status == UDS_ERR_IO || status == UDS_ERR_NO_SPACE) &&
	                                 host->sim->injected != injected_before);
}

static void
run_checkpoint(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status = uds_writer_checkpoint(host->writer, &error);

	if (host_state(host) == UDS_STATE_READ_ONLY)
		host->read_only_marks++;
	if (status == UDS_OK)
	{
		host->totals.checkpoints++;
		host_note_durable(host);
		reference_saved(host->reference, host->save_sequence);
		sim_progress(host->sim);
	}
	else if (!is_excused(host, status, injected))
		sim_fail(host->sim, "checkpoint returns %d: %s", status, error.message);
	host->retry_at = host->sim->time_ns + uds_random_below(host->random, 1000000000);
}

static void
run_reset(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status;

	host->is_resetting = true;
	host->reset_sequence = 0;
	status = uds_writer_reset(host->writer, &error);
	host->is_resetting = false;
	if (status == UDS_OK)
		reference_end_reset(host->reference, host->reset_sequence);
	if (status != UDS_OK && !is_excused(host, status, injected))
		sim_fail(host->sim, "reset returns %d: %s", status, error.message);
	host->totals.resets += status == UDS_OK;
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
		if (status != UDS_NOT_FOUND && !is_excused(host, status, injected))
			sim_fail(sim, "writer's work returns %d: %s", status, error.message);
		if (host_state(host) == UDS_STATE_OFFLINE)
			return;
		if (host_state(host) == UDS_STATE_READ_ONLY && sim->time_ns >= host->retry_at)
			host->command = HOST_CHECKPOINT;
		if (host->command != HOST_NO_COMMAND)
		{
			host_command command = host->command;

			host->command = HOST_NO_COMMAND;
			if (command == HOST_CHECKPOINT)
				run_checkpoint(host);
			else
				run_reset(host);
			continue;
		}
		if (host_state(host) == UDS_STATE_READ_ONLY || host->is_stopping)
			(void) !uds_port_wait(&host->writer_port, 10);
		else
			sim_wait(sim, "writer idle");
	}
}

/* The server stops, all zones have left: save. */
static void
close_index(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status = uds_writer_close(host->writer, host->plan.must_save, &error);

	if (status != UDS_OK && !is_excused(host, status, injected))
		sim_fail(host->sim, "close returns %d: %s", status, error.message);
	host->is_closed = true;
	host->is_saved = status == UDS_OK && host->plan.must_save;
}

void
host_writer_main(void *argument)
{
	host *host = argument;
	sim *sim = host->sim;

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
			if (host->is_stopping && uds_writer_zones_have_left(host->writer) &&
			    !sim_must_stop(sim, UDS_WORKER_WRITER) && uds_state_executes(host_state(host)))
			{
				close_index(host);
				return;
			}
		}
		else if (!is_excused(host, status, injected))
			sim_fail(sim, "open returns %d: %s (%s)", status, error.message, error.detail);
		uds_writer_detach(host->writer);
		sim_sleep(sim, uds_random_below(host->random, 20000000));
		sim_set_stop(sim, UDS_WORKER_WRITER, false);
		host->totals.restarts++;
	}
}
