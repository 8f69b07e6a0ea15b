/*
 * host_command.c: the commands that the writer of the simulated server is given.
 */
#include "host.h"

#include <stdio.h>

#define MOVES_MAX 16 /* of a run */

bool
host_is_excused(const host *host, uds_status status, uint64_t injected_before)
{
	if (status == UDS_STOPPED)
		return true;
	if (status == UDS_ERR_IO || status == UDS_ERR_NO_SPACE)
		return host->sim->injected != injected_before;
	/* The index may have failed. */
	return host->deaths > 0 && (status == UDS_ERR_STATE || status == UDS_ERR_INTERNAL);
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
	else if (!host_is_excused(host, status, injected) &&
	         !(status == UDS_ERR_STATE && host_state(host) == UDS_STATE_SUSPENDED))
		sim_fail(host->sim, "checkpoint returns %d: %s", status, error.message);
	host->retry_at = host->sim->time_ns + uds_random_below(host->random, 1000000000);
}

/*
 * Move the files.  The former place and what is left of one that was not reached stay, so that the
 * server may be told of them when it starts.
 */
static void
run_move(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_control before = { 0 };
	uds_control after = { 0 };
	char name[16];
	uds_error error;
	uds_status status;

	if (host->places == MOVES_MAX)
		return;
	(void) host_read_control(host, host->sim->place, &before);
	host->from = host->sim->place;
	host->to = ++host->places;
	snprintf(name, sizeof(name), "%u", host->to);
	status = uds_writer_move(host->writer, name, &error);
	if (host_state(host) == UDS_STATE_READ_ONLY)
		host->read_only_marks++;
	if (status == UDS_OK)
	{
		host->totals.moves++;
		host_note_durable(host);
		if (host_read_control(host, host->sim->place, &after) &&
		    after.save_number > before.save_number)
			reference_saved(host->reference, host->save_sequence);
		sim_progress(host->sim);
	}
	else if (!host_is_excused(host, status, injected) &&
	         !(status == UDS_ERR_STATE && host_state(host) == UDS_STATE_SUSPENDED))
		sim_fail(host->sim, "move returns %d: %s", status, error.message);
	host->retry_at = host->sim->time_ns + uds_random_below(host->random, 1000000000);
}

static void
run_reset(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status;

	/* What is in another directory belongs to an index that is no more. */
	host->from = host->to = host->sim->place;
	host->is_resetting = true;
	host->reset_sequence = 0;
	status = uds_writer_reset(host->writer, &error);
	host->is_resetting = false;
	if (status == UDS_OK)
		reference_end_reset(host->reference, host->reset_sequence);
	if (status != UDS_OK && !host_is_excused(host, status, injected))
		sim_fail(host->sim, "reset returns %d: %s", status, error.message);
	host->totals.resets += status == UDS_OK;
}

/* Nothing is lost when it succeeds; when not, the index is opened again from its files. */
static void
run_rebuild(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status;

	host->is_rebuilding = true;
	status = uds_writer_rebuild(host->writer, &error);
	host->is_rebuilding = false;
	if (host_state(host) == UDS_STATE_READ_ONLY)
		host->read_only_marks++;
	if (status == UDS_OK)
	{
		host->totals.rebuilds++;
		host_note_durable(host);
		sim_progress(host->sim);
	}
	else if (!host_is_excused(host, status, injected) &&
	         !(status == UDS_ERR_STATE && host_state(host) == UDS_STATE_SUSPENDED))
		sim_fail(host->sim, "rebuild returns %d: %s", status, error.message);
}

static void
run_suspend(host *host, bool save)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status = uds_writer_suspend(host->writer, save, &error);

	if (host_state(host) == UDS_STATE_READ_ONLY)
		host->read_only_marks++;
	if (status == UDS_OK)
	{
		host->totals.suspensions++;
		if (atomic_load(&host->index->suspension) == UDS_SUSPENSION_SAVED)
			reference_saved(host->reference, host->save_sequence);
		host->resume_at = host->sim->time_ns + uds_random_below(host->random, 20000000);
	}
	else if (!host_is_excused(host, status, injected))
		sim_fail(host->sim, "suspend returns %d: %s", status, error.message);
}

/* Convert a suspended index: it stays suspended, whatever happens. */
static void
run_reduce(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status;

	if (!host->was_reduced)
		reference_reduced(host->reference);
	host->was_reduced = true;
	status = uds_writer_reduce(host->writer, &error);
	if (status == UDS_OK)
		host->totals.reductions++;
	else if (!host_is_excused(host, status, injected) && status != UDS_ERR_STATE)
		sim_fail(host->sim, "reduce returns %d: %s", status, error.message);
	/* Unless it was not in memory. */
	if (host_state(host) == UDS_STATE_SUSPENDED && status != UDS_ERR_STATE &&
	    atomic_load(&host->index->suspension) == UDS_SUSPENSION_RECOVERY)
		host->is_written = true;
}

/* Go on with an index that is suspended or read only. */
static void
run_resume(host *host)
{
	uint64_t injected = host->sim->injected;
	uds_error error;
	uds_status status;

	host->is_rebuilding = host->is_written && host_state(host) == UDS_STATE_SUSPENDED;
	host->is_written = false;
	status = uds_writer_resume(host->writer, &error);
	host->is_rebuilding = false;
	if (status == UDS_OK)
		sim_progress(host->sim);
	else if (!host_is_excused(host, status, injected) &&
	         !(status == UDS_ERR_MISMATCH && host->from != host->to))
		sim_fail(host->sim, "resume returns %d: %s", status, error.message);
	if (host_state(host) == UDS_STATE_READ_ONLY)
		host->read_only_marks++;
	host->retry_at = host->sim->time_ns + uds_random_below(host->random, 1000000000);
	host->resume_at = host->sim->time_ns + uds_random_below(host->random, 5000000);
}

void
host_command_run(host *host, host_command command)
{
	switch (command)
	{
		case HOST_NO_COMMAND:
			break;
		case HOST_CHECKPOINT:
			run_checkpoint(host);
			break;
		case HOST_RESET:
			run_reset(host);
			break;
		case HOST_REBUILD:
			run_rebuild(host);
			break;
		case HOST_SUSPEND:
		case HOST_SUSPEND_SAVED:
			run_suspend(host, command == HOST_SUSPEND_SAVED);
			break;
		case HOST_REDUCE:
			run_reduce(host);
			break;
		case HOST_RESUME:
			run_resume(host);
			break;
		case HOST_MOVE:
			run_move(host);
			break;
	}
}
