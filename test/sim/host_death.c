/*
 * host_death.c: workers of the simulated server that die where they are.
 *
 * Only those that hold no mutex die: whoever dies with one takes the whole server with it.  Some run
 * their exit callback, which detaches; the others leave everything as it is.
 */
#include "host.h"

/* Requests that a dead zone worker had taken: nobody knows what has become of them. */
static void
lose_requests(host_zone *zone)
{
	host *host = zone->host;

	for (size_t i = 0; i < host->request_count; i++)
	{
		host_request *request = host->requests[i];

		if (request->zone != zone->number || request->state != HOST_EXECUTING)
			continue;
		reference_interrupted(host->reference,
		                      request->name,
		                      request->operation,
		                      request->version,
		                      request->newest_before,
		                      host_zone_newest(zone));
		request->state = HOST_ANSWERED;
		request->engine = NULL;
		host->totals.lost_requests++;
		if (--host->clients[request->client].unanswered == 0)
			sim_wake(host->sim, HOST_CLIENT + request->client);
	}
}

static bool
kill_zone(host *host, bool detaches)
{
	host_zone *zone = &host->zones[uds_random_below(host->random, host->config.zone_count)];

	if (!sim_kill(host->sim, zone->port.worker, !detaches))
		return false;
	zone->has_died = zone->has_died || zone->worker != NULL;
	if (!detaches)
		zone->worker = NULL;
	lose_requests(zone);
	host_spawn_zone(zone);
	return true;
}

/* A reader that is inside the index, if there is one; else any. */
static host_reader *
choose_reader(host *host)
{
	uint32_t count = host->config.reader_count;
	uint32_t first = (uint32_t) uds_random_below(host->random, count);

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t number = (first + i) % count;

		if (atomic_load(&host->index->guests[number].is_inside) != 0)
			return &host->readers[number];
	}
	return &host->readers[first];
}

static bool
kill_reader(host *host, bool detaches)
{
	host_reader *reader = choose_reader(host);

	if (host->config.reader_count == 0 || !sim_kill(host->sim, reader->port.worker, !detaches))
		return false;
	reader->has_died = reader->has_died || reader->reader != NULL;
	if (!detaches)
		reader->reader = NULL;
	host_spawn_reader(reader);
	return true;
}

static bool
kill_triage(host *host, bool detaches)
{
	host_triage *triage = &host->triage;

	if (!host_has_triage(host) || !sim_kill(host->sim, triage->port.worker, !detaches))
		return false;
	triage->has_died = triage->has_died || triage->triage != NULL;
	if (!detaches)
		triage->triage = NULL;
	host_spawn_triage(triage);
	return true;
}

static bool
kill_writer(host *host, bool detaches)
{
	if (!sim_kill(host->sim, UDS_WORKER_WRITER, !detaches))
		return false;
	if (!detaches)
		host->writer = NULL;
	host->is_resetting = false;
	host->is_rebuilding = false;
	host->has_writer_died = true;
	host_spawn_writer(host);
	return true;
}

void
host_death_at_random(host *host)
{
	bool detaches = uds_random_one_in(host->random, 2);
	bool has_died = false;

	switch (uds_random_below(host->random, 4))
	{
		case 0:
			has_died = kill_zone(host, detaches);
			break;
		case 1:
			has_died = kill_reader(host, detaches);
			break;
		case 2:
			has_died = kill_triage(host, detaches);
			break;
		default:
			has_died = kill_writer(host, detaches);
			break;
	}
	host->deaths += has_died;
	host->totals.deaths += has_died;
}
