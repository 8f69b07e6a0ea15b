/*
 * host_client.c: clients of the simulated server.
 */
#include <stdlib.h>

#include "host.h"

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
	host_request *request = host_allocate(host, sizeof(*request));
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

/* Until all are there; or the server stops, and those that no zone has begun with never come. */
static void
wait_for_answers(host_client *client)
{
	while (client->unanswered > 0 && !client->host->is_stopping)
		sim_wait(client->host->sim, "client: answers");
}

/*
 * Show names to the triage worker, when one of them is for it; sometimes a session forgets.
 * False: the server stops.
 */
static bool
show_names(host_client *client, const uint32_t *names, uint32_t count)
{
	host *host = client->host;
	uds_name *shown;
	uint32_t shown_count = 0;

	if (!host_has_triage(host) || uds_random_one_in(host->random, 8))
		return true;
	shown = host_allocate(host, count * sizeof(*shown));
	for (uint32_t i = 0; i < count; i++)
	{
		const uds_name *name = &host->reference->names[names[i]].name;

		if (uds_index_needs_triage(host->index, name))
			shown[shown_count++] = *name;
	}
	return shown_count == 0 || host_triage_look(host, client->number, shown, shown_count);
}

/* Names of a batch: some at random, or some in a row. */
static void
draw_names(host *host, uint32_t *names, uint32_t count)
{
	uint32_t name_count = host->reference->name_count;
	bool is_stream = uds_random_one_in(host->random, host->plan.streams);
	uint32_t first = (uint32_t) uds_random_below(host->random, name_count);

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t range = uds_random_one_in(host->random, 4) ? host->plan.hot_names : name_count;

		names[i] =
			is_stream ? (first + i) % name_count : (uint32_t) uds_random_below(host->random, range);
	}
}

static void
send_random(host_client *client)
{
	host *host = client->host;
	uint32_t count = (uint32_t) uds_random_range(host->random, 1, host->plan.batch_max);
	uint32_t names[HOST_BATCH_MAX];

	count = UDS_MIN(count, host->requests_left);
	host->requests_left -= count;
	draw_names(host, names, count);
	if (!show_names(client, names, count))
		return;
	for (uint32_t i = 0; i < count; i++)
		send_request(client, names[i], draw_operation(host));
}

/* Peek at every name. */
static void
send_peeks(host_client *client)
{
	host *host = client->host;

	for (uint32_t i = 0; i < host->reference->name_count && !host->is_stopping; i++)
	{
		send_request(client, i, UDS_PEEK);
		if (i % 128 == 127)
			wait_for_answers(client);
	}
	wait_for_answers(client);
}

void
host_client_main(void *argument)
{
	host_client *client = argument;
	host *host = client->host;

	while (atomic_load_explicit(&host->index->epoch, memory_order_acquire) == 0 &&
	       !host->is_stopping)
		sim_sleep(host->sim, 1000000);
	if (client->is_checker)
		send_peeks(client);
	while (!client->is_checker && host->requests_left > 0 && !host->is_stopping)
	{
		send_random(client);
		wait_for_answers(client);
		if (uds_random_one_in(host->random, 16))
			sim_sleep(host->sim, uds_random_below(host->random, 3000000));
	}
	if (--host->clients_left == 0)
		sim_wake(host->sim, HOST_SUPERVISOR);
}
