/*
 * host_triage.c: the triage worker of the simulated server.
 *
 * Clients show it the names of a batch, and send the batch when it has looked at them.
 */
#include "host.h"

/* Look at what a client waits for; false: nothing can be done before the worker is woken. */
static bool
serve_client(host_triage *triage)
{
	host *host = triage->host;
	host_look *look = triage->first;
	uds_status status;

	if (look == NULL)
		return false;
	status = uds_triage_execute(triage->triage, look->names, look->count);
	if (status == UDS_PENDING)
		return false;
	if (status != UDS_OK)
		sim_fail(host->sim, "triage: execute returns %d", status);
	triage->first = look->next;
	look->is_done = true;
	host->totals.triaged += look->count;
	sim_wake(host->sim, HOST_CLIENT + look->client);
	return true;
}

/* One worker, from attach to detach. */
static void
run_triage(host_triage *triage)
{
	host *host = triage->host;
	uds_error error;
	uds_status status =
		uds_triage_attach(triage->memory, host->index, &triage->port, &triage->triage, &error);

	if (status != UDS_OK && !(status == UDS_ERR_INTERNAL && triage->has_died))
		sim_fail(host->sim, "triage: attach returns %d", status);
	triage->has_died = false;
	while (!sim_must_stop(host->sim, triage->port.worker))
	{
		if (!serve_client(triage))
			sim_wait(host->sim, triage->first == NULL ? "triage idle" : "triage: index is taken");
	}
	uds_triage_detach(triage->triage);
	triage->triage = NULL;
}

void
host_triage_main(void *argument)
{
	host_triage *triage = argument;
	host *host = triage->host;

	/* The exit callback of a predecessor that has died. */
	if (triage->triage != NULL)
	{
		uds_triage_detach(triage->triage);
		triage->triage = NULL;
		sim_close_files(host->sim, triage->port.worker);
	}
	while (!host->is_stopping)
	{
		run_triage(triage);
		if (host->is_stopping)
			break;
		sim_set_stop(host->sim, triage->port.worker, false);
		host->totals.restarts++;
		sim_sleep(host->sim, uds_random_below(host->random, host->reader_absence_ns));
	}
}

bool
host_triage_look(host *host, uint32_t client, const uds_name *names, uint32_t count)
{
	host_triage *triage = &host->triage;
	host_look *look = host_allocate(host, sizeof(*look));
	host_look **link = &triage->first;

	look->names = names;
	look->count = count;
	look->client = client;
	while (*link != NULL)
		link = &(*link)->next;
	*link = look;
	sim_wake(host->sim, UDS_WORKER_TRIAGE);
	while (!look->is_done && !host->is_stopping)
		sim_wait(host->sim, "client: triage");
	return look->is_done;
}
