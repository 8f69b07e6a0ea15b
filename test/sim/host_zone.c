/*
 * host_zone.c: zone workers of the simulated server.
 *
 * Requests lie in one queue a zone, in shared memory as it were: a zone worker that restarts goes
 * on with it.  The order of the queue is the order in which requests for one name take effect, so
 * the reference is asked in that order.
 */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

#define EXECUTE_MAX 48 /* requests of one uds_zone_execute */

/* Requests that a zone has given to the engine at once. */
typedef struct batch
{
	host_zone *zone;
	uint32_t count;
	host_request *origins[EXECUTE_MAX];
	uds_request requests[EXECUTE_MAX];
} batch;

uint64_t
host_zone_newest(const host_zone *zone)
{
	return atomic_load_explicit(&zone->host->index->zones[zone->number].newest,
	                            memory_order_relaxed);
}

static void
fail_answer(host *host, const host_request *origin, const reference_answer *answer,
            const char *problem)
{
	const reference_name *name = &host->reference->names[origin->name];
	char versions[600] = "";
	uint64_t value[2];

	memcpy(value, answer->metadata.bytes, sizeof(value));
	for (uint32_t i = 0; i < name->count && i < 10; i++)
		snprintf(versions + strlen(versions),
		         sizeof(versions) - strlen(versions),
		         " %llu in %llu..%llu",
		         (unsigned long long) name->versions[i].version,
		         (unsigned long long) name->versions[i].low,
		         (unsigned long long) name->versions[i].high);
	sim_fail(host->sim,
	         "%s of name %u: %s\n    status %d, found %d (version %llu) in region %d, open chapter "
	         "%llu..%llu of %u, zone %u of %u, %lu durable\n    the reference has%s%s",
	         host_operation_name(answer->operation),
	         origin->name,
	         problem,
	         answer->status,
	         answer->found,
	         answer->found ? (unsigned long long) value[0] : 0,
	         answer->region,
	         (unsigned long long) answer->newest_before,
	         (unsigned long long) answer->newest_after,
	         host->reference->chapters,
	         origin->zone,
	         host->config.zone_count,
	         (unsigned long) host->reference->durable_below,
	         versions,
	         name->is_certain ? ", the last of them" : ", any of them");
}

static void
show_answer(const host *host, const reference_answer *answer)
{
	const reference_name *name = &host->reference->names[answer->name];
	uint64_t value[2];

	memcpy(value, answer->metadata.bytes, sizeof(value));
	printf("%llu: operation %d, version %llu: status %d, found %d (%llu) in %d, open chapter "
	       "%llu..%llu; %u versions, last %llu in %llu..%llu\n",
	       (unsigned long long) host->sim->points,
	       answer->operation,
	       (unsigned long long) answer->version,
	       answer->status,
	       answer->found,
	       (unsigned long long) value[0],
	       answer->region,
	       (unsigned long long) answer->newest_before,
	       (unsigned long long) answer->newest_after,
	       name->count,
	       (unsigned long long) name->versions[name->count - 1].version,
	       (unsigned long long) name->versions[name->count - 1].low,
	       (unsigned long long) name->versions[name->count - 1].high);
}

/* The volume index has given up entries, or taken none, for want of room. */
static bool
has_forgotten(const host_zone *zone)
{
	const uds_zone_counters *counters = &zone->host->index->zones[zone->number].counters;

	return atomic_load_explicit(&counters->lost, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&counters->overflows, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&zone->host->index->unindexed_records, memory_order_relaxed) != 0;
}

/* Each request is answered once, those for one name in their order, all from good pages. */
static void
check_order(host *host, const host_request *request)
{
	if (host->sim->read_faults == 0 &&
	    atomic_load_explicit(&host->index->bad_pages, memory_order_relaxed) != 0)
		sim_fail(host->sim, "a page of a durable chapter is bad, or was overwritten too early");
	if (request->state != HOST_EXECUTING)
		sim_fail(host->sim, "a request for name %u is answered twice", request->name);
	if (request->version <= host->last_answered[request->name])
		sim_fail(host->sim, "requests for name %u are answered out of order", request->name);
	host->last_answered[request->name] = request->version;
}

static void
count_answer(host *host, const reference_answer *answer)
{
	host_totals *totals = &host->totals;

	totals->answered++;
	totals->found += answer->found;
	totals->read_only_answers += answer->status == UDS_ERR_READ_ONLY;
	if (!answer->found || answer->region != UDS_REGION_SPARSE)
		return;
	if (host->reference->names[answer->name].is_hook)
		totals->found_sparse++;
	else
		totals->found_beside++;
}

/* A request has come back from the engine. */
static void
take_answer(host_zone *zone, const uds_request *request)
{
	host *host = zone->host;
	host_request *origin = request->owner;
	reference_answer answer = {
		.name = origin->name,
		.operation = origin->operation,
		.version = origin->version,
		.status = (uds_status) request->status,
		.found = request->found != 0,
		.region = (uds_region) request->region,
		.metadata = request->found_metadata,
		.newest_before = origin->newest_before,
		.newest_after = host_zone_newest(zone),
		.may_be_read_only = host_state(host) == UDS_STATE_READ_ONLY ||
		                    host->read_only_marks != origin->read_only_marks,
	};
	const char *problem;

	check_order(host, origin);
	origin->state = HOST_ANSWERED;
	origin->engine = NULL;
	host_note_durable(host);
	if (answer.newest_after < answer.newest_before)
		answer.newest_before = 0; /* the request has waited while the index was laid out again */
	if (host->sim->read_faults > 0 || has_forgotten(zone))
		host->reference->is_relaxed = true;
	if (origin->name == host->shown_name)
		show_answer(host, &answer);
	problem = reference_check(host->reference, &answer);
	if (problem != NULL)
		fail_answer(host, origin, &answer, problem);
	count_answer(host, &answer);
	sim_progress(host->sim);
	if (--host->clients[origin->client].unanswered == 0)
		sim_wake(host->sim, HOST_CLIENT + origin->client);
}

/* Give the first requests of the queue to the engine. */
static void
execute_batch(host_zone *zone)
{
	host *host = zone->host;
	uint32_t limit = (uint32_t) uds_random_range(host->random, 1, EXECUTE_MAX);
	batch *batch = host_allocate(host, sizeof(*batch));
	uint32_t parked;
	uint32_t unanswered = 0;
	uds_status status;

	while (batch->count < limit && zone->first != NULL)
	{
		host_request *origin = zone->first;
		uds_request *request = &batch->requests[batch->count];

		zone->first = origin->next;
		origin->state = HOST_EXECUTING;
		origin->engine = request;
		origin->newest_before = host_zone_newest(zone);
		/* Marks that are one behind differ from any later ones. */
		origin->read_only_marks =
			host->read_only_marks - (host_state(host) == UDS_STATE_READ_ONLY ? 1 : 0);
		batch->origins[batch->count++] = origin;
		request->name = host->reference->names[origin->name].name;
		request->metadata = reference_metadata(origin->name, origin->version);
		request->operation = (uint8_t) origin->operation;
		request->owner = origin;
	}
	status = uds_zone_execute(zone->worker, batch->requests, batch->count, &parked);
	if (status != UDS_OK)
		sim_fail(host->sim, "zone %u: execute returns %d", zone->number, status);
	for (uint32_t i = 0; i < batch->count; i++)
	{
		if (batch->requests[i].status == UDS_PENDING)
			unanswered++;
		else
			take_answer(zone, &batch->requests[i]);
	}
	if (unanswered != parked)
		sim_fail(host->sim, "zone %u: %u parked, it says %u", zone->number, unanswered, parked);
}

/* One turn of the worker's loop; false: nothing to do before it is woken. */
static bool
take_turn(host_zone *zone, bool is_stopping)
{
	uds_request *finished;
	bool has_progress = false;
	uds_status status = uds_zone_turn(zone->worker);

	if (status != UDS_OK)
		return false;
	if (zone->first != NULL && !is_stopping)
	{
		execute_batch(zone);
		has_progress = true;
	}
	status = uds_zone_advance(zone->worker, &finished);
	while (finished != NULL)
	{
		uds_request *next = finished->next;

		take_answer(zone, finished);
		finished = next;
		has_progress = true;
	}
	if (uds_status_is_error(status))
		sim_fail(zone->host->sim, "zone %u: advance returns %d", zone->number, status);
	return has_progress || status == UDS_OK;
}

/*
 * Has a worker that is to stop nothing left to do?  The writer may have closed the index while this
 * zone was not held for a moment: then nobody executes what is parked, and it has done nothing.
 */
static bool
may_leave(const host_zone *zone)
{
	return uds_zone_parked(zone->worker) == 0 || zone->host->is_overdue ||
	       (zone->host->is_stopping && host_state(zone->host) == UDS_STATE_NONE);
}

/* One worker of the zone, from attach to detach. */
static void
run_zone_worker(host_zone *zone)
{
	host *host = zone->host;
	uds_error error;
	uds_status status = uds_zone_attach(zone->memory,
	                                    host->index,
	                                    &zone->port,
	                                    zone->number,
	                                    &zone->worker,
	                                    &error);

	if (status != UDS_OK && !(status == UDS_ERR_INTERNAL && zone->has_died))
		sim_fail(host->sim, "zone %u: attach returns %d", zone->number, status);
	zone->has_died = false;
	for (;;)
	{
		bool is_stopping = sim_must_stop(host->sim, zone->port.worker);

		zone->port.is_leaving = is_stopping;
		if (is_stopping && may_leave(zone))
			break;
		if (!take_turn(zone, is_stopping))
			sim_wait(host->sim, "zone idle");
	}
	uds_zone_detach(zone->worker);
	zone->worker = NULL;
}

void
host_zone_main(void *argument)
{
	host_zone *zone = argument;
	host *host = zone->host;

	/* The exit callback of a predecessor that has died. */
	if (zone->worker != NULL)
	{
		uds_zone_detach(zone->worker);
		zone->worker = NULL;
		sim_close_files(host->sim, zone->port.worker);
	}
	for (;;)
	{
		run_zone_worker(zone);
		if (host->is_stopping)
			break;
		sim_set_stop(host->sim, zone->port.worker, false);
		host->totals.restarts++;
		sim_sleep(host->sim, uds_random_below(host->random, 5000000));
	}
	sim_wake(host->sim, UDS_WORKER_WRITER);
}
