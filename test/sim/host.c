/*
 * host.c: see host.h.
 */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>

#define ABSENCE_NS      5000000ull /* of a worker that restarts, mostly less */
#define LONG_ABSENCE_NS 300000000ull
#define STOP_NS         20000000000ull /* that a stop takes, at most */

void *
host_allocate(host *host, size_t bytes)
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

uds_state
host_state(const host *host)
{
	return (uds_state) atomic_load_explicit(&host->index->state, memory_order_relaxed);
}

bool
host_has_triage(const host *host)
{
	return host->config.geometry.sparse_chapters > 0 && host->config.zone_count > 1;
}

void
host_note_durable(host *host)
{
	uint64_t written;

	if (!uds_state_executes(host_state(host)))
		return;
	written = atomic_load_explicit(&host->index->chapters_written, memory_order_relaxed);
	if (written > host->reference->durable_below)
		host->reference->durable_below = written;
}

bool
host_read_control(const host *host, uint32_t place, uds_control *control)
{
	char name[SIM_FILE_NAME_BYTES];
	sim_inode *inode;
	uint32_t crc;

	snprintf(name, sizeof(name), "%u/%s", place, UDS_CONTROL_FILE);
	inode = sim_disk_find(host->sim->disk, name);
	if (inode == NULL || sim_inode_read(inode, control, sizeof(*control), 0) != sizeof(*control))
		return false;
	crc = control->crc;
	control->crc = 0;
	control->crc = uds_port_crc32c(0, control, sizeof(*control));
	return control->crc == crc;
}

/* ---- stop --------------------------------------------------------------------------------------- */

static void
stop_workers(host *host)
{
	host->is_stopping = true;
	for (uint32_t i = 0; i < host->config.zone_count; i++)
		sim_set_stop(host->sim, UDS_WORKER_ZONE + i, true);
	for (uint32_t i = 0; i < host->config.reader_count; i++)
		sim_set_stop(host->sim, UDS_WORKER_READER + i, true);
	sim_set_stop(host->sim, UDS_WORKER_TRIAGE, true);
	for (uint32_t i = 0; i < host->client_count; i++)
		sim_wake(host->sim, HOST_CLIENT + i);
	sim_wake(host->sim, UDS_WORKER_WRITER);
}

/* Stop the server when all clients are done, or before. */
static void
supervisor_main(void *argument)
{
	host *host = argument;

	if (host->plan.stop_ns != 0)
	{
		sim_sleep(host->sim, host->plan.stop_ns);
		host->totals.early_stops += host->clients_left > 0;
	}
	while (host->clients_left > 0 && host->plan.stop_ns == 0)
		sim_wait(host->sim, "supervisor: clients");
	stop_workers(host);
	/* Successors of workers that die now were not asked to stop; the others give up some time. */
	if (!host->plan.has_deaths)
		return;
	sim_sleep(host->sim, STOP_NS);
	host->is_overdue = !host->is_closed;
	stop_workers(host);
	if (host->is_overdue)
		sim_set_stop(host->sim, UDS_WORKER_WRITER, true);
}

/* ---- trouble ------------------------------------------------------------------------------------ */

/* Leave faults that anything gets through with some tries, or none. */
static void
soften_faults(host *host)
{
	sim_faults *faults = &host->sim->faults;

	if (!host->plan.has_late_faults)
	{
		memset(faults, 0, sizeof(*faults));
		return;
	}
	faults->full = SIM_NOT_FULL;
	faults->open = faults->open == 0 ? 0 : UDS_MAX(faults->open, 16u);
	faults->read = faults->read == 0 ? 0 : UDS_MAX(faults->read, 16u);
	faults->write = faults->write == 0 ? 0 : UDS_MAX(faults->write, 16u);
	faults->sync = faults->sync == 0 ? 0 : UDS_MAX(faults->sync, 8u);
	faults->directory = faults->directory == 0 ? 0 : UDS_MAX(faults->directory, 16u);
}

static void
begin_faults(host *host)
{
	sim_faults *faults = &host->sim->faults;

	*faults = host->plan.faults;
	if (!uds_random_one_in(host->random, 2))
		faults->full = SIM_NOT_FULL;
}

static void
stop_zone(host *host)
{
	uint32_t zone = (uint32_t) uds_random_below(host->random, host->config.zone_count);

	sim_set_stop(host->sim, UDS_WORKER_ZONE + zone, true);
}

/* Stop one reader, or all of them for a time. */
static void
stop_readers(host *host)
{
	uint32_t count = host->config.reader_count;
	uint32_t first = (uint32_t) uds_random_below(host->random, count);

	host->reader_absence_ns = uds_random_one_in(host->random, 8) ? LONG_ABSENCE_NS : ABSENCE_NS;
	for (uint32_t i = 0; i < count; i++)
	{
		sim_set_stop(host->sim, UDS_WORKER_READER + (first + i) % count, true);
		if (i == 0 && uds_random_one_in(host->random, 2))
			return;
	}
}

static void
command_writer(host *host, host_command command)
{
	if (host->command == HOST_NO_COMMAND)
		host->command = command;
	sim_wake(host->sim, UDS_WORKER_WRITER);
}

/* Give the writer something to do. */
static void
command_at_random(host *host)
{
	switch (uds_random_below(host->random, 9))
	{
		case 0:
			command_writer(host, HOST_REBUILD);
			break;
		case 7:
		case 8:
			command_writer(host, HOST_MOVE);
			break;
		case 1:
			command_writer(host, HOST_SUSPEND);
			break;
		case 2:
			command_writer(host, HOST_SUSPEND_SAVED);
			break;
		case 3:
		case 4:
			if (host->plan.has_resets &&
			    host_zone_newest(&host->zones[0]) >= host->plan.reset_chapter)
			{
				command_writer(host, HOST_RESET);
				break;
			}
			/* fall through */
		default:
			command_writer(host, HOST_CHECKPOINT);
			break;
	}
}

static void
make_trouble(host *host)
{
	switch (uds_random_below(host->random, 12))
	{
		case 0:
		case 1:
		case 2:
		case 3:
			command_at_random(host);
			break;
		case 4:
			stop_zone(host);
			break;
		case 5:
			sim_set_stop(host->sim, UDS_WORKER_WRITER, true);
			break;
		case 6:
		case 7:
			begin_faults(host);
			break;
		case 8:
			if (host->config.reader_count > 0)
				stop_readers(host);
			break;
		case 9:
			sim_set_stop(host->sim, UDS_WORKER_TRIAGE, true);
			break;
		case 10:
			if (host->plan.has_deaths)
				host_death_at_random(host);
			break;
		default:
			memset(&host->sim->faults, 0, sizeof(host->sim->faults));
			break;
	}
}

static void
trouble_main(void *argument)
{
	host *host = argument;
	uint64_t answered = 0;

	for (uint32_t left = host->plan.troubles; left > 0 && !host->is_stopping;)
	{
		uint64_t longest =
			uds_random_one_in(host->random, 4) ? 10 * host->plan.trouble_ns : host->plan.trouble_ns;

		sim_sleep(host->sim, uds_random_below(host->random, longest));
		if (host->clients_left == 0)
			break;
		if (host->plan.is_patient && answered == host->totals.answered)
		{
			memset(&host->sim->faults, 0, sizeof(host->sim->faults));
			continue;
		}
		answered = host->totals.answered;
		make_trouble(host);
		left--;
	}
	soften_faults(host);
}

/* ---- lives -------------------------------------------------------------------------------------- */

static void
begin_zone(host *host, uint32_t number)
{
	host_zone *zone = &host->zones[number];

	memset(zone, 0, sizeof(*zone));
	zone->host = host;
	zone->number = number;
	zone->port = (uds_port){ .sim = host->sim, .worker = UDS_WORKER_ZONE + number };
	zone->memory = host_allocate(host, uds_zone_worker_size());
	host_spawn_zone(zone);
}

void
host_spawn_zone(host_zone *zone)
{
	char name[24];

	zone->port.is_leaving = false;
	snprintf(name, sizeof(name), "zone %u", zone->number);
	sim_spawn(zone->host->sim, name, zone->port.worker, host_zone_main, zone);
}

static void
begin_reader(host *host, uint32_t number)
{
	host_reader *reader = &host->readers[number];

	memset(reader, 0, sizeof(*reader));
	reader->host = host;
	reader->number = number;
	reader->port = (uds_port){ .sim = host->sim, .worker = UDS_WORKER_READER + number };
	reader->memory = host_allocate(host, uds_reader_size());
	host_spawn_reader(reader);
}

void
host_spawn_reader(host_reader *reader)
{
	char name[24];

	snprintf(name, sizeof(name), "reader %u", reader->number);
	sim_spawn(reader->host->sim, name, reader->port.worker, host_reader_main, reader);
}

static void
begin_triage(host *host)
{
	host_triage *triage = &host->triage;

	memset(triage, 0, sizeof(*triage));
	triage->host = host;
	triage->port = (uds_port){ .sim = host->sim, .worker = UDS_WORKER_TRIAGE };
	triage->memory = host_allocate(host, uds_triage_size());
	host_spawn_triage(triage);
}

void
host_spawn_triage(host_triage *triage)
{
	sim_spawn(triage->host->sim, "triage", triage->port.worker, host_triage_main, triage);
}

void
host_spawn_writer(host *host)
{
	sim_spawn(host->sim, "writer", UDS_WORKER_WRITER, host_writer_main, host);
}

static void
begin_client(host *host, uint32_t number, bool is_checker)
{
	host_client *client = &host->clients[number];
	char name[24];

	memset(client, 0, sizeof(*client));
	client->host = host;
	client->number = number;
	client->is_checker = is_checker;
	snprintf(name, sizeof(name), is_checker ? "checker" : "client %u", number);
	sim_spawn(host->sim, name, HOST_CLIENT + number, host_client_main, client);
}

/* What the server is told of its files, be it right or not. */
static void
choose_place(host *host)
{
	uint32_t place = uds_random_one_in(host->random, 2) ? host->from : host->to;
	uds_control control;

	host->sim->place = host_read_control(host, place, &control) ? place : host->from;
}

/* Memory and state of a new life. */
static void
prepare(host *host)
{
	size_t bytes = uds_index_size(&host->config);

	host->block_memory = aligned_alloc(UDS_CACHE_LINE, bytes);
	memset(host->block_memory, 0, bytes);
	host->index = host->block_memory;
	host->writer_memory = host_allocate(host, uds_writer_size());
	host->writer_port = (uds_port){ .sim = host->sim, .worker = UDS_WORKER_WRITER };
	host->writer = NULL;
	host->command = HOST_NO_COMMAND;
	host->retry_at = 0;
	host->resume_at = 0;
	host->is_stopping = false;
	host->is_overdue = false;
	host->is_closed = false;
	host->is_saved = false;
	host->is_resetting = false;
	host->is_rebuilding = false;
	host->is_written = false;
	host->has_writer_died = false;
	host->deaths = 0;
	host->reader_absence_ns = uds_random_one_in(host->random, 4) ? LONG_ABSENCE_NS : ABSENCE_NS;
	host->requests_left = host->plan.requests;
	host->client_count = host->plan.clients + (host->plan.has_checker ? 1 : 0);
	host->clients_left = host->client_count;
	host->reference->durable_below = 0;
	host->sim->watch = host_writer_watch;
	host->sim->describe = host_describe;
	host->sim->context = host;
	memset(&host->sim->faults, 0, sizeof(host->sim->faults));
	choose_place(host);
}

void
host_begin(host *host)
{
	prepare(host);
	host_spawn_writer(host);
	for (uint32_t i = 0; i < host->config.zone_count; i++)
		begin_zone(host, i);
	for (uint32_t i = 0; i < host->config.reader_count; i++)
		begin_reader(host, i);
	if (host_has_triage(host))
		begin_triage(host);
	for (uint32_t i = 0; i < host->client_count; i++)
		begin_client(host, i, i == host->plan.clients);
	sim_spawn(host->sim, "supervisor", HOST_SUPERVISOR, supervisor_main, host);
	if (host->plan.has_verifier)
		sim_spawn(host->sim, "verifier", HOST_VERIFIER, host_verifier_main, host);
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
			                      host_zone_newest(&host->zones[request->zone]));
	}
}

static void
count_reads(host *host)
{
	uds_statistics statistics;

	uds_index_statistics(host->index, &statistics);
	host->totals.reads += statistics.page_reads;
	host->totals.loads += statistics.sparse_loads;
	host->totals.failed_loads += statistics.sparse_failures;
	host->totals.dropped_loads += statistics.sparse_drops;
}

void
host_end(host *host, bool is_crash)
{
	host_note_durable(host);
	count_reads(host);
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
