/*
 * host.c: see host.h.
 *
 * Requests lie in one queue a zone, in shared memory as it were: a zone worker that restarts goes
 * on with it.  The order of the queue is the order in which requests for one name take effect, so
 * the reference is asked in that order.
 */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>

#define EXECUTE_MAX 48 /* requests of one uds_zone_execute */

/* Requests that a zone has given to the engine at once. */
typedef struct batch
{
	host_zone *zone;
	uint32_t count;
	host_request *origins[EXECUTE_MAX];
	uds_request requests[EXECUTE_MAX];
} batch;

static void *
allocate(host *host, size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (host->allocation_count == host->allocation_capacity)
	{
		host->allocation_capacity = host->allocation_capacity * 2 + 64;
		host->allocations = realloc(host->allocations, host->allocation_capacity * sizeof(void *));
	}
	host->allocations[host->allocation_count++] = memory;
	return memory;
}

static uds_state
state_of(const host *host)
{
	return (uds_state) atomic_load_explicit(&host->index->state, memory_order_relaxed);
}

/* Chapters that the engine has published are durable. */
static void
note_durable(host *host)
{
	uint64_t written;

	if (!uds_state_executes(state_of(host)))
		return;
	written = atomic_load_explicit(&host->index->chapters_written, memory_order_relaxed);
	if (written > host->reference->durable_below)
		host->reference->durable_below = written;
}

static uint64_t
newest_of(const host_zone *zone)
{
	return atomic_load_explicit(&zone->host->index->zones[zone->number].newest,
	                            memory_order_relaxed);
}

/* ---- zones -------------------------------------------------------------------------------------- */

static void
fail_answer(host *host, const host_request *origin, const reference_answer *answer,
            const char *problem)
{
	static const char *const operations[] = { "post", "update", "query", "peek", "delete", "undo" };
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
	         operations[answer->operation],
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
		.newest_after = newest_of(zone),
		.may_be_read_only = state_of(host) == UDS_STATE_READ_ONLY ||
		                    host->read_only_marks != origin->read_only_marks,
	};
	const char *problem;

	if (host->sim->read_faults == 0 &&
	    atomic_load_explicit(&host->index->bad_pages, memory_order_relaxed) != 0)
		sim_fail(host->sim, "a page of a durable chapter is bad, or was overwritten too early");
	if (origin->state != HOST_EXECUTING)
		sim_fail(host->sim, "a request for name %u is answered twice", origin->name);
	if (origin->version <= host->last_answered[origin->name])
		sim_fail(host->sim, "requests for name %u are answered out of order", origin->name);
	host->last_answered[origin->name] = origin->version;
	origin->state = HOST_ANSWERED;
	note_durable(host);
	if (answer.newest_after < answer.newest_before)
		answer.newest_before = 0; /* the request has waited while the index was laid out again */
	if (host->sim->read_faults > 0 || has_forgotten(zone))
		host->reference->is_relaxed = true;
	if (origin->name == host->shown_name)
		show_answer(host, &answer);
	problem = reference_check(host->reference, &answer);
	if (problem != NULL)
		fail_answer(host, origin, &answer, problem);
	host->answered++;
	host->found += answer.found;
	host->read_only_answers += answer.status == UDS_ERR_READ_ONLY;
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
	batch *batch = allocate(host, sizeof(*batch));
	uint32_t parked;
	uint32_t unanswered = 0;
	uds_status status;

	while (batch->count < limit && zone->first != NULL)
	{
		host_request *origin = zone->first;
		uds_request *request = &batch->requests[batch->count];

		zone->first = origin->next;
		origin->state = HOST_EXECUTING;
		origin->newest_before = newest_of(zone);
		/* Marks that are one behind differ from any later ones. */
		origin->read_only_marks =
			host->read_only_marks - (state_of(host) == UDS_STATE_READ_ONLY ? 1 : 0);
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

	if (status != UDS_OK)
		sim_fail(host->sim, "zone %u: attach returns %d", zone->number, status);
	for (;;)
	{
		bool is_stopping = sim_must_stop(host->sim, zone->port.worker);

		if (is_stopping && uds_zone_parked(zone->worker) == 0)
			break;
		if (!take_turn(zone, is_stopping))
			sim_wait(host->sim, "zone idle");
	}
	uds_zone_detach(zone->worker);
	zone->worker = NULL;
}

static void
zone_main(void *argument)
{
	host_zone *zone = argument;
	host *host = zone->host;

	for (;;)
	{
		run_zone_worker(zone);
		if (host->is_stopping)
			break;
		sim_set_stop(host->sim, zone->port.worker, false);
		host->restarts++;
		sim_sleep(host->sim, uds_random_below(host->random, 5000000));
	}
	sim_wake(host->sim, UDS_WORKER_WRITER);
}

/* ---- writer ------------------------------------------------------------------------------------- */

/* A save or control file is about to be replaced: zones stand still when it is a save. */
static void
watch_files(void *context, const char *file)
{
	host *host = context;

	if (strncmp(file, "checkpoint", 10) == 0)
		host->save_sequence = host->reference->sequence;
	if (host->is_resetting && host->reset_sequence == 0 && strcmp(file, UDS_CONTROL_FILE) == 0)
	{
		reference_begin_reset(host->reference);
		host->reset_sequence = host->reference->sequence;
	}
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

	if (state_of(host) == UDS_STATE_READ_ONLY)
		host->read_only_marks++;
	if (status == UDS_OK)
	{
		host->checkpoints++;
		note_durable(host);
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
	else if (!uds_state_executes(state_of(host)))
		reference_crashed(host->reference); /* it is opened again, from files of before or after */
	if (status != UDS_OK && !is_excused(host, status, injected))
		sim_fail(host->sim, "reset returns %d: %s", status, error.message);
	host->resets += status == UDS_OK;
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
		note_durable(host);
		if (state_of(host) == UDS_STATE_READ_ONLY)
			host->read_only_marks++;
		if (status == UDS_OK)
		{
			sim_progress(sim);
			continue;
		}
		if (status != UDS_NOT_FOUND && !is_excused(host, status, injected))
			sim_fail(sim, "writer's work returns %d: %s", status, error.message);
		if (state_of(host) == UDS_STATE_OFFLINE)
			return;
		if (state_of(host) == UDS_STATE_READ_ONLY && sim->time_ns >= host->retry_at)
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
		if (state_of(host) == UDS_STATE_READ_ONLY || host->is_stopping)
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

static void
writer_main(void *argument)
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
			host->recoveries++;
			sim_progress(sim);
			note_durable(host);
			serve_writer(host);
			if (host->is_stopping && uds_writer_zones_have_left(host->writer) &&
			    !sim_must_stop(sim, UDS_WORKER_WRITER) && uds_state_executes(state_of(host)))
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
		host->restarts++;
	}
}

/* ---- clients ------------------------------------------------------------------------------------ */

static uds_operation
draw_operation(host *host)
{
	uint32_t total = 0;
	uint32_t drawn;
	uint32_t i = 0;

	for (uint32_t j = 0; j < UDS_OPERATION_COUNT; j++)
		total += host->plan.shares[j];
	drawn = (uint32_t) uds_random_below(host->random, total);
	for (; drawn >= host->plan.shares[i]; i++)
		drawn -= host->plan.shares[i];
	return (uds_operation) i;
}

static void
send_request(host_client *client, uint32_t name, uds_operation operation)
{
	host *host = client->host;
	host_request *request = allocate(host, sizeof(*request));
	uint32_t number = uds_index_zone_of(host->index, &host->reference->names[name].name);
	host_zone *zone = &host->zones[number];

	request->name = name;
	request->operation = operation;
	request->version = ++host->next_version;
	request->client = client->number;
	request->zone = number;
	client->unanswered++;
	if (zone->first == NULL)
		zone->first = request;
	else
		zone->last->next = request;
	zone->last = request;
	if (host->request_count == host->request_capacity)
	{
		host->request_capacity = host->request_capacity * 2 + 256;
		host->requests = realloc(host->requests, host->request_capacity * sizeof(host_request *));
	}
	host->requests[host->request_count++] = request;
	sim_wake(host->sim, UDS_WORKER_ZONE + number);
	sim_point(host->sim, "send");
}

static void
wait_for_answers(host_client *client)
{
	while (client->unanswered > 0)
		sim_wait(client->host->sim, "client: answers");
}

static void
send_random(host_client *client)
{
	host *host = client->host;
	uint32_t count = (uint32_t) uds_random_range(host->random, 1, host->plan.batch_max);

	count = UDS_MIN(count, host->requests_left);
	host->requests_left -= count;
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t names =
			uds_random_one_in(host->random, 4) ? host->plan.hot_names : host->reference->name_count;

		send_request(client,
		             (uint32_t) uds_random_below(host->random, names),
		             draw_operation(host));
	}
}

/* Peek at every name. */
static void
send_peeks(host_client *client)
{
	host *host = client->host;

	for (uint32_t i = 0; i < host->reference->name_count; i++)
	{
		send_request(client, i, UDS_PEEK);
		if (i % 128 == 127)
			wait_for_answers(client);
	}
	wait_for_answers(client);
}

static void
client_main(void *argument)
{
	host_client *client = argument;
	host *host = client->host;

	while (atomic_load_explicit(&host->index->epoch, memory_order_acquire) == 0)
		sim_sleep(host->sim, 1000000);
	if (client->is_checker)
		send_peeks(client);
	while (!client->is_checker && host->requests_left > 0)
	{
		send_random(client);
		wait_for_answers(client);
		if (uds_random_one_in(host->random, 16))
			sim_sleep(host->sim, uds_random_below(host->random, 3000000));
	}
	if (--host->clients_left == 0)
		sim_wake(host->sim, HOST_SUPERVISOR);
}

/* ---- supervisor and trouble --------------------------------------------------------------------- */

static void
supervisor_main(void *argument)
{
	host *host = argument;

	while (host->clients_left > 0)
		sim_wait(host->sim, "supervisor: clients");
	host->is_stopping = true;
	for (uint32_t i = 0; i < host->config.zone_count; i++)
		sim_set_stop(host->sim, UDS_WORKER_ZONE + i, true);
	sim_wake(host->sim, UDS_WORKER_WRITER);
}

static void
make_trouble(host *host)
{
	sim *sim = host->sim;

	switch (uds_random_below(host->random, 8))
	{
		case 0:
		case 1:
		case 2:
			if (host->command == HOST_NO_COMMAND)
				host->command = HOST_CHECKPOINT;
			sim_wake(sim, UDS_WORKER_WRITER);
			break;
		case 3:
			sim_set_stop(sim,
			             UDS_WORKER_ZONE +
			                 (uint32_t) uds_random_below(host->random, host->config.zone_count),
			             true);
			break;
		case 4:
			sim_set_stop(sim, UDS_WORKER_WRITER, true);
			break;
		case 5:
		case 6:
			sim->faults = host->plan.faults;
			sim->faults.is_full = host->plan.faults.is_full && uds_random_one_in(host->random, 2);
			break;
		default:
			memset(&sim->faults, 0, sizeof(sim->faults));
			if (host->plan.has_resets && uds_random_one_in(host->random, 2))
				host->command = HOST_RESET;
			sim_wake(sim, UDS_WORKER_WRITER);
			break;
	}
}

static void
trouble_main(void *argument)
{
	host *host = argument;

	while (host->clients_left > 0)
	{
		sim_sleep(host->sim,
		          uds_random_below(host->random,
		                           uds_random_one_in(host->random, 4) ? 10 * host->plan.trouble_ns
		                                                              : host->plan.trouble_ns));
		if (host->clients_left > 0 && host->plan.has_trouble)
			make_trouble(host);
	}
	memset(&host->sim->faults, 0, sizeof(host->sim->faults));
}

/* ---- lives -------------------------------------------------------------------------------------- */

static void
begin_zone(host *host, uint32_t number)
{
	host_zone *zone = &host->zones[number];
	char name[16];

	memset(zone, 0, sizeof(*zone));
	zone->host = host;
	zone->number = number;
	zone->port = (uds_port){ .sim = host->sim, .worker = UDS_WORKER_ZONE + number };
	zone->memory = allocate(host, uds_zone_worker_size());
	snprintf(name, sizeof(name), "zone %u", number);
	sim_spawn(host->sim, name, zone->port.worker, zone_main, zone);
}

static void
begin_client(host *host, uint32_t number, bool is_checker)
{
	host_client *client = &host->clients[number];
	char name[16];

	memset(client, 0, sizeof(*client));
	client->host = host;
	client->number = number;
	client->is_checker = is_checker;
	snprintf(name, sizeof(name), is_checker ? "checker" : "client %u", number);
	sim_spawn(host->sim, name, HOST_CLIENT + number, client_main, client);
}

void
host_begin(host *host)
{
	size_t bytes = uds_index_size(&host->config);

	host->block_memory = aligned_alloc(UDS_CACHE_LINE, bytes);
	memset(host->block_memory, 0, bytes);
	host->index = host->block_memory;
	host->writer_memory = allocate(host, uds_writer_size());
	host->writer_port = (uds_port){ .sim = host->sim, .worker = UDS_WORKER_WRITER };
	host->writer = NULL;
	host->command = HOST_NO_COMMAND;
	host->retry_at = 0;
	host->is_stopping = false;
	host->is_closed = false;
	host->is_saved = false;
	host->is_resetting = false;
	host->requests_left = host->plan.requests;
	host->clients_left = host->plan.clients + (host->plan.has_checker ? 1 : 0);
	host->reference->durable_below = 0;
	host->sim->watch = watch_files;
	host->sim->watch_context = host;
	memset(&host->sim->faults, 0, sizeof(host->sim->faults));
	sim_spawn(host->sim, "writer", UDS_WORKER_WRITER, writer_main, host);
	for (uint32_t i = 0; i < host->config.zone_count; i++)
		begin_zone(host, i);
	for (uint32_t i = 0; i < host->clients_left; i++)
		begin_client(host, i, i == host->plan.clients);
	sim_spawn(host->sim, "supervisor", HOST_SUPERVISOR, supervisor_main, host);
	sim_spawn(host->sim, "trouble", HOST_TROUBLE, trouble_main, host);
}

/* Tell the reference of requests that were under way. */
static void
interrupt_requests(host *host)
{
	for (size_t i = 0; i < host->request_count; i++)
	{
		const host_request *request = host->requests[i];

		if (request->state == HOST_EXECUTING)
			reference_interrupted(host->reference,
			                      request->name,
			                      request->operation,
			                      request->version,
			                      request->newest_before,
			                      newest_of(&host->zones[request->zone]));
	}
}

void
host_end(host *host, bool is_crash)
{
	note_durable(host);
	if (!is_crash && host->is_saved)
		reference_saved(host->reference, host->reference->sequence);
	else
	{
		reference_crashed(host->reference);
		interrupt_requests(host);
	}
	for (size_t i = 0; i < host->allocation_count; i++)
		free(host->allocations[i]);
	host->allocation_count = 0;
	host->request_count = 0;
	free(host->block_memory);
	host->block_memory = NULL;
	host->index = NULL;
}
