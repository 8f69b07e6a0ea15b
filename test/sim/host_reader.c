/*
 * host_reader.c: readers of the simulated server.
 *
 * A reader without work waits without a timeout: a wake-up that is lost is a hang that is found.
 */
#include "host.h"

/* One worker, from attach to detach. */
static void
run_reader(host_reader *reader)
{
	host *host = reader->host;
	uds_error error;
	uds_status status = uds_reader_attach(reader->memory,
	                                      host->index,
	                                      &reader->port,
	                                      reader->number,
	                                      &reader->reader,
	                                      &error);

	if (status != UDS_OK && !(status == UDS_ERR_INTERNAL && reader->has_died))
		sim_fail(host->sim, "reader %u: attach returns %d", reader->number, status);
	reader->has_died = false;
	while (!sim_must_stop(host->sim, reader->port.worker))
	{
		status = uds_reader_work(reader->reader);
		if (status == UDS_OK)
			continue;
		if (status == UDS_STOPPED && sim_must_stop(host->sim, reader->port.worker))
			break;
		if (status != UDS_NOT_FOUND && status != UDS_PENDING)
			sim_fail(host->sim, "reader %u: work returns %d", reader->number, status);
		sim_wait(host->sim, status == UDS_PENDING ? "reader: index is taken" : "reader idle");
	}
	uds_reader_detach(reader->reader);
	reader->reader = NULL;
}

void
host_reader_main(void *argument)
{
	host_reader *reader = argument;
	host *host = reader->host;

	/* The exit callback of a predecessor that has died. */
	if (reader->reader != NULL)
	{
		uds_reader_detach(reader->reader);
		reader->reader = NULL;
		sim_close_files(host->sim, reader->port.worker);
	}
	/* It may be late, too. */
	sim_sleep(host->sim, uds_random_below(host->random, host->reader_absence_ns));
	while (!host->is_stopping)
	{
		run_reader(reader);
		if (host->is_stopping)
			break;
		sim_set_stop(host->sim, reader->port.worker, false);
		host->totals.reader_restarts++;
		sim_sleep(host->sim, uds_random_below(host->random, host->reader_absence_ns));
	}
}
