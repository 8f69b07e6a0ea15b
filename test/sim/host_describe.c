/*
 * host_describe.c: who waits for what, for the text of a failure.
 */
#include "../../src/engine/search.h"
#include "host.h"

#define REQUESTS_TOLD 6 /* of each zone */

static const char *
state_name(uds_state state)
{
	switch (state)
	{
		case UDS_STATE_NONE:
			return "none";
		case UDS_STATE_RECOVERING:
			return "recovering";
		case UDS_STATE_ONLINE:
			return "online";
		case UDS_STATE_SUSPENDED:
			return "suspended";
		case UDS_STATE_READ_ONLY:
			return "read only";
		case UDS_STATE_OFFLINE:
			return "offline";
		case UDS_STATE_FAILED:
			return "failed";
	}
	return "?";
}

const char *
host_operation_name(uds_operation operation)
{
	static const char *const names[] = { "post", "update", "query", "peek", "delete", "undo" };

	return names[operation];
}

static void
describe_sparse_cache(const host *host)
{
	const uds_sparse_cache *cache = host->index->sparse_cache;
	uint64_t ticket = uds_sparse_cache_pending(cache);
	uds_sparse_statistics statistics;

	uds_sparse_cache_statistics(cache, &statistics);
	sim_tell(
		host->sim,
		"    sparse cache: %llu chapters, %llu loads, %llu given up, %llu not queued; last load "
		"that is not done: %llu\n",
		(unsigned long long) statistics.chapters,
		(unsigned long long) statistics.loads,
		(unsigned long long) statistics.failures,
		(unsigned long long) statistics.drops,
		(unsigned long long) ticket);
}

static void
describe_index(const host *host)
{
	uds_index *index = host->index;
	char reason[512];

	uds_index_reason(index, reason, sizeof(reason));
	sim_tell(host->sim,
	         "    index is %s, epoch %llu, generation %llu, zones %s, writer %s\n",
	         state_name(host_state(host)),
	         (unsigned long long) atomic_load(&index->epoch),
	         (unsigned long long) atomic_load(&index->generation),
	         atomic_load(&index->zones_wanted) != 0 ? "wanted by the writer" : "not wanted",
	         atomic_load(&index->writer_inside) != 0 ? "inside" : "not inside");
	if (reason[0] != '\0')
		sim_tell(host->sim, "    reason: %s\n", reason);
	if (atomic_load(&index->epoch) == 0)
		return;
	sim_tell(host->sim,
	         "    chapters below %llu written, below %llu to be closed; %u reads queued, readers "
	         "present %#x\n",
	         (unsigned long long) atomic_load(&index->chapters_written),
	         (unsigned long long) atomic_load(&index->close_wanted),
	         uds_page_cache_queued(index->page_cache),
	         atomic_load(&index->readers_present));
	if (index->sparse_cache != NULL)
		describe_sparse_cache(host);
}

static void
describe_faults(const sim *sim)
{
	static const char *const full[] = { "not full", "full for new blocks", "full" };

	sim_tell(
		(struct sim *) sim,
		"    faults, one in so many: open %u, read %u, write %u, sync %u, directory %u; disk is "
		"%s\n",
		sim->faults.open,
		sim->faults.read,
		sim->faults.write,
		sim->faults.sync,
		sim->faults.directory,
		full[sim->faults.full]);
}

/* What has become of the page that a request waits for. */
static const char *
page_state(const host *host, const uds_request *engine)
{
	const uint8_t *data;

	if (engine->page_slot == UDS_PAGE_SLOT_NONE)
		return "no slot";
	switch (uds_page_cache_poll(host->index->page_cache, engine->page_slot, &data))
	{
		case UDS_OK:
			return "has been read";
		case UDS_NOT_FOUND:
			return "could not be read";
		default:
			return "has not been read";
	}
}

static void
describe_request(const host *host, const host_request *request)
{
	const uds_request *engine = request->engine;

	sim_tell(host->sim,
	         "      %s of name %u by client %u, version %llu, since chapter %llu: stage %u",
	         host_operation_name(request->operation),
	         request->name,
	         request->client,
	         (unsigned long long) request->version,
	         (unsigned long long) request->newest_before,
	         engine->stage);
	if (engine->stage == UDS_SEARCH_LOADS)
		sim_tell(host->sim, ", load %llu", (unsigned long long) engine->ticket);
	else if (engine->stage != UDS_SEARCH_START)
		sim_tell(host->sim,
		         ", chapter %llu, record page %d, slot %d: %s",
		         (unsigned long long) engine->chapter,
		         engine->stage == UDS_SEARCH_INDEX_PAGE ? -1 : (int) engine->record_page,
		         (int) engine->page_slot,
		         page_state(host, engine));
	sim_tell(host->sim, engine->next_same != NULL ? ", others behind it\n" : "\n");
}

static void
describe_zone(const host *host, const host_zone *zone)
{
	static const char *const owners[] = { "nobody", "its worker", "the writer" };
	const uds_zone *shared = &host->index->zones[zone->number];
	uint32_t queued = 0;
	uint32_t told = 0;

	for (const host_request *request = zone->first; request != NULL; request = request->next)
		queued++;
	sim_tell(host->sim,
	         "    zone %u: owned by %s, %s, open chapter %llu%s; %u parked, %u more queued, worker "
	         "%s\n",
	         zone->number,
	         owners[atomic_load(&shared->owner)],
	         atomic_load(&shared->inside) != 0 ? "inside" : "not inside",
	         (unsigned long long) atomic_load(&shared->newest),
	         atomic_load(&shared->is_full) != 0 ? ", full" : "",
	         zone->worker == NULL ? 0 : uds_zone_parked(zone->worker),
	         queued,
	         zone->worker == NULL ? "away" : "attached");
	for (size_t i = 0; i < host->request_count && told < REQUESTS_TOLD; i++)
	{
		const host_request *request = host->requests[i];

		if (request->zone != zone->number || request->state != HOST_EXECUTING)
			continue;
		describe_request(host, request);
		told++;
	}
}

void
host_describe(void *context)
{
	const host *host = context;

	if (host->index == NULL)
		return;
	describe_index(host);
	describe_faults(host->sim);
	for (uint32_t i = 0; i < host->config.zone_count; i++)
		describe_zone(host, &host->zones[i]);
	for (uint32_t i = 0; i < host->config.reader_count; i++)
		sim_tell(host->sim,
		         "    reader %u: %s, %s\n",
		         i,
		         host->readers[i].reader == NULL ? "away" : "attached",
		         atomic_load(&host->index->guests[i].is_inside) != 0 ? "inside" : "not inside");
	if (host_has_triage(host))
		sim_tell(host->sim,
		         "    triage: %s, %s, %s\n",
		         host->triage.triage == NULL ? "away" : "attached",
		         atomic_load(&host->index->guests[UDS_GUEST_TRIAGE].is_inside) != 0 ? "inside"
		                                                                            : "not inside",
		         host->triage.first == NULL ? "nothing to do" : "somebody waits");
	for (uint32_t i = 0; i < host->client_count; i++)
		sim_tell(host->sim, "    client %u: %u unanswered\n", i, host->clients[i].unanswered);
}
