/*
 * test_zones.c: with a writer thread, a thread for each zone and several clients, every answer is
 * right: what is in the window is found with its newest metadata, what is deleted, expired or
 * reset is not; while saves, resets and restarts of workers go on, and over changes of the number
 * of zones.  No wake-up is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define CLIENTS      3
#define NAMES        3000 /* of each client */
#define BATCH        24
#define WAIT_SECONDS 20 /* a worker that sleeps that long beside work was not woken */

typedef struct client client;
typedef struct fleet fleet;

/* Requests of one client for one zone. */
typedef struct batch
{
	uds_request requests[BATCH];
	uint32_t count;
	client *client;
	struct batch *next;
} batch;

typedef struct zone_thread
{
	fleet *fleet;
	uint32_t number;
	uds_port port;
	pthread_t thread;
	pthread_mutex_t mutex;
	batch *first; /* lock: mutex */
	batch *last;  /* lock: mutex */
	_Atomic bool must_restart;
	_Atomic bool must_end;
	uint32_t restarts;
} zone_thread;

typedef enum command
{
	COMMAND_NONE,
	COMMAND_CHECKPOINT,
	COMMAND_RESET,
	COMMAND_RESTART,
	COMMAND_END
} command;

/* A server: one writer, zones. */
struct fleet
{
	posix_host host;
	uds_config config;
	uds_index *index;
	uds_port writer_port;
	void *writer_memory;
	uds_writer *writer;
	pthread_t writer_thread;
	zone_thread zones[UDS_ZONES_MAX];
	_Atomic uint32_t command;
	_Atomic uint64_t commands_done;
	_Atomic uint64_t resets_begun;
	_Atomic uint64_t resets_ended;
	_Atomic uint64_t lost_wakes;
	_Atomic uint64_t errors; /* calls of the engine that failed */
	pthread_t watcher_thread;
	_Atomic bool must_end; /* the watcher */
};

/* ---- workers ---------------------------------------------------------------------------------- */

/* Wait until a worker is woken; false when that takes too long. */
static bool
wait_for_wake(posix_host *host, uds_worker_id id)
{
	posix_worker *worker = &host->workers[id];
	struct timespec limit;
	bool is_woken;
	int result = 0;

	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += WAIT_SECONDS;
	pthread_mutex_lock(&worker->mutex);
	while (!worker->is_woken && result == 0)
		result = pthread_cond_timedwait(&worker->condition, &worker->mutex, &limit);
	is_woken = worker->is_woken;
	worker->is_woken = false;
	pthread_mutex_unlock(&worker->mutex);
	return is_woken;
}

static void client_answer(client *client, uint32_t count);

static batch *
pop_batch(zone_thread *zone)
{
	batch *batch;

	pthread_mutex_lock(&zone->mutex);
	batch = zone->first;
	if (batch != NULL)
		zone->first = batch->next;
	pthread_mutex_unlock(&zone->mutex);
	return batch;
}

static void
push_batch(zone_thread *zone, batch *batch)
{
	pthread_mutex_lock(&zone->mutex);
	batch->next = NULL;
	if (zone->first == NULL)
		zone->first = batch;
	else
		zone->last->next = batch;
	zone->last = batch;
	pthread_mutex_unlock(&zone->mutex);
	uds_port_wake(&zone->port, zone->port.worker);
}

static void
check_status(fleet *fleet, uds_status status)
{
	if (uds_status_is_error(status))
		atomic_fetch_add(&fleet->errors, 1);
}

static uds_zone_worker *
attach(zone_thread *zone, void *memory)
{
	uds_zone_worker *worker;
	uds_error error;

	check_status(zone->fleet,
	             uds_zone_attach(memory,
	                             zone->fleet->index,
	                             &zone->port,
	                             zone->number,
	                             &worker,
	                             &error));
	return worker;
}

static uint64_t
newest_of(fleet *fleet, uint32_t zone)
{
	uds_zone_statistics statistics;

	uds_index_zone_statistics(fleet->index, zone, &statistics);
	return statistics.newest_chapter;
}

/* Execute a batch and go on with parked requests; true when anything was done. */
static bool
zone_turn(zone_thread *zone, uds_zone_worker *worker, batch *batch)
{
	uint64_t newest = newest_of(zone->fleet, zone->number);
	uds_request *finished;
	uds_status status;
	bool has_progress = false;

	if (batch != NULL)
	{
		uint32_t parked;

		check_status(zone->fleet, uds_zone_execute(worker, batch->requests, batch->count, &parked));
		client_answer(batch->client, batch->count - parked);
		has_progress = true;
	}
	status = uds_zone_advance(worker, &finished);
	check_status(zone->fleet, status);
	while (finished != NULL)
	{
		uds_request *next = finished->next;

		has_progress = true;
		client_answer(finished->owner, 1);
		finished = next;
	}
	/* To close a chapter because another zone asked for it is something, too. */
	return has_progress || status == UDS_OK || newest_of(zone->fleet, zone->number) != newest;
}

static void *
zone_main(void *argument)
{
	zone_thread *zone = argument;
	void *memory = calloc(1, uds_zone_worker_size());
	uds_zone_worker *worker = attach(zone, memory);
	bool has_slept = false;

	for (;;)
	{
		bool is_leaving = atomic_load(&zone->must_restart) || atomic_load(&zone->must_end);
		bool has_progress = false;

		if (uds_zone_turn(worker) == UDS_OK)
			has_progress = zone_turn(zone, worker, is_leaving ? NULL : pop_batch(zone));
		if (is_leaving && uds_zone_parked(worker) == 0)
		{
			uds_zone_detach(worker);
			if (atomic_load(&zone->must_end))
				break;
			atomic_store(&zone->must_restart, false);
			zone->restarts++;
			/* Nothing of the predecessor's own memory is left. */
			memset(memory, 0xee, uds_zone_worker_size());
			worker = attach(zone, memory);
			continue;
		}
		if (has_progress && has_slept)
			atomic_fetch_add(&zone->fleet->lost_wakes, 1);
		has_slept = !has_progress && !wait_for_wake(&zone->fleet->host, zone->port.worker);
	}
	free(memory);
	return NULL;
}

static void
open_writer(fleet *fleet)
{
	uds_error error;
	uds_status status = uds_writer_open(fleet->writer_memory,
	                                    fleet->index,
	                                    &fleet->writer_port,
	                                    &fleet->config,
	                                    &fleet->writer,
	                                    &error);

	if (status != UDS_OK)
	{
		fprintf(stderr, "index did not open: %s\n", error.message);
		abort();
	}
}

static void
run_command(fleet *fleet, command command)
{
	uds_error error;

	switch (command)
	{
		case COMMAND_CHECKPOINT:
			check_status(fleet, uds_writer_checkpoint(fleet->writer, &error));
			break;
		case COMMAND_RESET:
			atomic_fetch_add(&fleet->resets_begun, 1);
			check_status(fleet, uds_writer_reset(fleet->writer, &error));
			atomic_fetch_add(&fleet->resets_ended, 1);
			break;
		case COMMAND_RESTART:
			uds_writer_detach(fleet->writer);
			memset(fleet->writer_memory, 0xee, uds_writer_size());
			open_writer(fleet);
			break;
		case COMMAND_NONE:
		case COMMAND_END:
			break;
	}
	atomic_fetch_add(&fleet->commands_done, 1);
}

static void *
writer_main(void *argument)
{
	fleet *fleet = argument;
	bool has_slept = false;
	command command = COMMAND_NONE;

	while (command != COMMAND_END)
	{
		uds_error error;
		uds_status status = uds_writer_work(fleet->writer, &error);

		check_status(fleet, status);
		if (status == UDS_OK && has_slept)
			atomic_fetch_add(&fleet->lost_wakes, 1);
		has_slept = false;
		command = atomic_exchange(&fleet->command, COMMAND_NONE);
		if (command != COMMAND_NONE)
			run_command(fleet, command);
		else if (status == UDS_NOT_FOUND)
			has_slept = !wait_for_wake(&fleet->host, UDS_WORKER_WRITER);
	}
	return NULL;
}

static void
sleep_ms(uint32_t milliseconds)
{
	struct timespec time = { .tv_nsec = milliseconds * 1000000L };

	nanosleep(&time, NULL);
}

/* Somebody who looks at everything, at any time. */
static void *
watcher_main(void *argument)
{
	fleet *fleet = argument;

	while (!atomic_load(&fleet->must_end))
	{
		uds_statistics statistics;
		uds_zone_statistics zone;
		char reason[512];
		uint8_t key[16];

		uds_index_statistics(fleet->index, &statistics);
		if (statistics.state == UDS_STATE_ONLINE && uds_index_name_key(fleet->index, key) != UDS_OK)
			atomic_fetch_add(&fleet->errors, 1);
		uds_index_reason(fleet->index, reason, sizeof(reason));
		/* Nothing goes wrong, so there is never a reason. */
		if (reason[0] != '\0')
			atomic_fetch_add(&fleet->errors, 1);
		for (uint32_t i = 0; i < UDS_ZONES_MAX; i++)
			uds_index_zone_statistics(fleet->index, i, &zone);
		sleep_ms(1);
	}
	return NULL;
}

/* Have the writer do something, and wait until it is done. */
static void
command_writer(fleet *fleet, command command)
{
	uint64_t before = atomic_load(&fleet->commands_done);

	atomic_store(&fleet->command, command);
	uds_port_wake(&fleet->writer_port, UDS_WORKER_WRITER);
	while (atomic_load(&fleet->commands_done) == before)
		sleep_ms(1);
}

/* ---- fleet ------------------------------------------------------------------------------------ */

static void
fleet_init(fleet *fleet, uds_index_structure structure)
{
	char *directory = files_make_directory();

	memset(fleet, 0, sizeof(*fleet));
	posix_host_init(&fleet->host, directory);
	free(directory);
	fleet->host.is_quiet = true;
	fleet->config = engine_config(4, 16, 1, structure);
	/* The least, so that requests wait for pages and for places. */
	fleet->config.page_cache_bytes = 0;
	fleet->writer_port = posix_port(&fleet->host, UDS_WORKER_WRITER);
}

static void
fleet_destroy(fleet *fleet)
{
	posix_remove_directory(fleet->host.directory);
	posix_host_destroy(&fleet->host);
}

static void
fleet_start(fleet *fleet, uint32_t zone_count)
{
	size_t bytes;

	fleet->config.zone_count = zone_count;
	bytes = uds_index_size(&fleet->config);
	assert_true(bytes > 0);
	fleet->index = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(fleet->index, MAP_FAILED);
	fleet->writer_memory = calloc(1, uds_writer_size());
	open_writer(fleet);
	assert_int_equal(pthread_create(&fleet->writer_thread, NULL, writer_main, fleet), 0);
	atomic_store(&fleet->must_end, false);
	assert_int_equal(pthread_create(&fleet->watcher_thread, NULL, watcher_main, fleet), 0);
	for (uint32_t i = 0; i < zone_count; i++)
	{
		zone_thread *zone = &fleet->zones[i];

		memset(zone, 0, sizeof(*zone));
		zone->fleet = fleet;
		zone->number = i;
		zone->port = posix_port(&fleet->host, UDS_WORKER_ZONE + i);
		pthread_mutex_init(&zone->mutex, NULL);
		assert_int_equal(pthread_create(&zone->thread, NULL, zone_main, zone), 0);
	}
}

/* An orderly end: the zones first, then the writer, with a save. */
static void
fleet_stop(fleet *fleet)
{
	uds_error error;
	uds_statistics statistics;

	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
	{
		atomic_store(&fleet->zones[i].must_end, true);
		uds_port_wake(&fleet->writer_port, UDS_WORKER_ZONE + i);
	}
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
	{
		pthread_join(fleet->zones[i].thread, NULL);
		pthread_mutex_destroy(&fleet->zones[i].mutex);
	}
	command_writer(fleet, COMMAND_END);
	pthread_join(fleet->writer_thread, NULL);
	atomic_store(&fleet->must_end, true);
	pthread_join(fleet->watcher_thread, NULL);
	assert_true(uds_writer_zones_have_left(fleet->writer));
	uds_index_statistics(fleet->index, &statistics);
	assert_int_equal(statistics.state, UDS_STATE_ONLINE);
	assert_int_equal(statistics.entries_lost, 0);
	assert_int_equal(statistics.overflows, 0);
	assert_int_equal(statistics.bad_pages, 0);
	assert_int_equal(uds_writer_close(fleet->writer, true, &error), UDS_OK);
	assert_int_equal(uds_index_state(fleet->index), UDS_STATE_NONE);
	munmap(fleet->index, uds_index_size(&fleet->config));
	free(fleet->writer_memory);
	assert_int_equal(atomic_load(&fleet->errors), 0);
	assert_int_equal(atomic_load(&fleet->lost_wakes), 0);
	assert_int_equal(atomic_load(&fleet->host.warnings), 0);
}

/* ---- clients ---------------------------------------------------------------------------------- */

/* What a client knows of a name. */
typedef struct name_state
{
	bool is_stored; /* and not deleted */
	uds_metadata metadata;
	uint64_t lowest;       /* its chapter is not below */
	uint64_t highest;      /* nor above */
	uint64_t resets_ended; /* before it was stored */
	uint64_t resets_begun; /* after that */
} name_state;

struct client
{
	fleet *fleet;
	uint32_t number;
	pthread_t thread;
	uds_random random;
	uint32_t rounds;
	bool is_peeking;   /* at every name once, instead of working */
	bool is_one_sided; /* leaves out the names of all zones but the first */
	name_state names[NAMES];
	uint64_t version;
	/* of the round */
	batch batches[UDS_ZONES_MAX];
	uint64_t before[UDS_ZONES_MAX]; /* newest chapter of each zone */
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	uint32_t left; /* lock: mutex; requests without answer */
	/* results */
	uint64_t wrong;
	uint64_t found;
	uint64_t wanted;   /* answers that had to be found */
	uint64_t unwanted; /* answers that had to be a miss */
	char complaint[200];
};

static void
client_answer(client *client, uint32_t count)
{
	pthread_mutex_lock(&client->mutex);
	client->left -= count;
	if (client->left == 0)
		pthread_cond_signal(&client->condition);
	pthread_mutex_unlock(&client->mutex);
}

static uds_operation
draw_operation(uds_random *random)
{
	static const uds_operation operations[8] = { UDS_POST,   UDS_POST,  UDS_POST, UDS_UPDATE,
		                                         UDS_DELETE, UDS_QUERY, UDS_PEEK, UDS_PEEK };

	return operations[uds_random_below(random, 8)];
}

/* Put together the requests of a round: distinct names, all operations. */
static void
make_round(client *client, uint32_t round)
{
	uint32_t first =
		client->is_peeking ? round * BATCH : (uint32_t) uds_random_below(&client->random, NAMES);

	for (uint32_t i = 0; i < client->fleet->config.zone_count; i++)
		client->batches[i].count = 0;
	client->left = 0;
	for (uint32_t i = 0; i < BATCH; i++)
	{
		uint32_t number = client->is_peeking ? first + i : (first + i * 31) % NAMES;
		uint64_t counter = (uint64_t) client->number << 32 | number;
		uds_name name = uds_generate_counter_name(counter);
		batch *batch = &client->batches[uds_index_zone_of(client->fleet->index, &name)];

		if (number >= NAMES)
			break;
		if (client->is_one_sided && batch != &client->batches[0])
			continue;
		batch->client = client;
		batch->requests[batch->count++] = (uds_request){
			.name = name,
			.operation = client->is_peeking ? UDS_PEEK : draw_operation(&client->random),
			.metadata = uds_generate_metadata(counter, client->version++),
			.tag = number,
			.owner = client,
			.status = UDS_PENDING,
		};
		client->left++;
	}
}

static void
complain(client *client, const uds_request *request, const name_state *name, const char *text)
{
	if (client->wrong++ == 0)
		snprintf(client->complaint,
		         sizeof(client->complaint),
		         "seed %llu, client %u, name %u, operation %u, status %u, chapters %llu..%llu: %s",
		         (unsigned long long) client->random.seed,
		         client->number,
		         request->tag,
		         request->operation,
		         request->status,
		         (unsigned long long) name->lowest,
		         (unsigned long long) name->highest,
		         text);
}

/* Compare an answer with what is known, and learn from it. */
static void
check_answer(client *client, const uds_request *request, uint64_t before, uint64_t after,
             uint64_t resets_ended, uint64_t resets_begun)
{
	uint32_t chapters = client->fleet->config.geometry.chapters;
	name_state *name = &client->names[request->tag];
	bool is_certain = name->is_stored && resets_begun == name->resets_ended;
	bool must_be_found = is_certain && name->lowest + chapters > after;
	bool must_be_missed = !name->is_stored || resets_ended > name->resets_begun ||
	                      (is_certain && name->highest + chapters <= before);

	client->wanted += must_be_found;
	client->unwanted += must_be_missed;
	client->found += request->found;
	if (request->status != UDS_OK)
		complain(client, request, name, "failed");
	else if (request->found && must_be_missed)
		complain(client, request, name, "found, but deleted, expired or never stored");
	else if (!request->found && must_be_found)
		complain(client, request, name, "not found");
	else if (request->found &&
	         memcmp(&request->found_metadata, &name->metadata, sizeof(name->metadata)) != 0)
		complain(client, request, name, "wrong metadata");
	if (request->operation == UDS_UPDATE || (request->operation == UDS_POST && !request->found))
		name->metadata = request->metadata;
	else if (!request->found || request->operation == UDS_DELETE)
	{
		name->is_stored = false;
		return;
	}
	else if (request->operation == UDS_PEEK)
		return;
	name->is_stored = true;
	name->lowest = before;
	name->highest = after;
	name->resets_ended = resets_ended;
	name->resets_begun = resets_begun;
}

static void
run_round(client *client, uint32_t round)
{
	fleet *fleet = client->fleet;
	uint64_t resets_ended = atomic_load(&fleet->resets_ended);
	uint64_t resets_begun;
	uint64_t after[UDS_ZONES_MAX];

	make_round(client, round);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
		client->before[i] = newest_of(fleet, i);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
	{
		if (client->batches[i].count > 0)
			push_batch(&fleet->zones[i], &client->batches[i]);
	}
	pthread_mutex_lock(&client->mutex);
	while (client->left > 0)
		pthread_cond_wait(&client->condition, &client->mutex);
	pthread_mutex_unlock(&client->mutex);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
		after[i] = newest_of(fleet, i);
	resets_begun = atomic_load(&fleet->resets_begun);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
	{
		for (uint32_t j = 0; j < client->batches[i].count; j++)
			check_answer(client,
			             &client->batches[i].requests[j],
			             client->before[i],
			             after[i],
			             resets_ended,
			             resets_begun);
	}
}

static void *
client_main(void *argument)
{
	client *client = argument;

	for (uint32_t i = 0; i < client->rounds; i++)
		run_round(client, i);
	return NULL;
}

static client *
make_clients(fleet *fleet, uint64_t seed)
{
	client *clients = calloc(CLIENTS, sizeof(*clients));

	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		clients[i].fleet = fleet;
		clients[i].number = i;
		uds_random_init(&clients[i].random, uds_random_seed(seed) + i);
		pthread_mutex_init(&clients[i].mutex, NULL);
		pthread_cond_init(&clients[i].condition, NULL);
	}
	return clients;
}

static void
free_clients(client *clients)
{
	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		pthread_mutex_destroy(&clients[i].mutex);
		pthread_cond_destroy(&clients[i].condition);
	}
	free(clients);
}

static void
start_clients(client *clients, uint32_t rounds, bool are_peeking)
{
	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		clients[i].rounds = are_peeking ? (NAMES + BATCH - 1) / BATCH : rounds;
		clients[i].is_peeking = are_peeking;
		assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
	}
}

static void
join_clients(client *clients)
{
	for (uint32_t i = 0; i < CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		if (clients[i].wrong > 0)
			fail_msg("%llu wrong answers: %s",
			         (unsigned long long) clients[i].wrong,
			         clients[i].complaint);
	}
}

/* ---- cases ------------------------------------------------------------------------------------ */

#define ROUNDS 320

/* Work with one number of zones after the other, on the same files. */
static void
answers_are_right_of(uds_index_structure structure, uint64_t seed)
{
	static const uint32_t zone_counts[] = { 1, 2, 3, 5, 2, 1 };
	fleet fleet;
	client *clients;
	uint64_t wanted = 0;
	uint64_t unwanted = 0;

	fleet_init(&fleet, structure);
	clients = make_clients(&fleet, seed);
	for (uint32_t i = 0; i < sizeof(zone_counts) / sizeof(zone_counts[0]); i++)
	{
		uds_statistics statistics;

		fleet_start(&fleet, zone_counts[i]);
		/* What was known before the restart still holds. */
		start_clients(clients, 0, true);
		join_clients(clients);
		start_clients(clients, ROUNDS, false);
		join_clients(clients);
		uds_index_statistics(fleet.index, &statistics);
		assert_true(statistics.newest_chapter > 16 * (i + 1));
		assert_true(statistics.page_reads > 100);
		fleet_stop(&fleet);
	}
	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		wanted += clients[i].wanted;
		unwanted += clients[i].unwanted;
	}
	assert_true(wanted > 10000);
	assert_true(unwanted > 10000);
	free_clients(clients);
	fleet_destroy(&fleet);
}

static void
answers_are_right_with_any_number_of_zones(void **state)
{
	(void) state;
	answers_are_right_of(UDS_STRUCTURE_BUCKETS, 100);
	answers_are_right_of(UDS_STRUCTURE_LISTS, 200);
}

typedef enum disturbance
{
	DISTURB_SAVES,
	DISTURB_RESTARTS,
	DISTURB_RESETS
} disturbance;

static void
disturb(fleet *fleet, disturbance kind, uint32_t step)
{
	zone_thread *zone = &fleet->zones[step % fleet->config.zone_count];

	switch (kind)
	{
		case DISTURB_SAVES:
			command_writer(fleet, COMMAND_CHECKPOINT);
			break;
		case DISTURB_RESTARTS:
			if (step % 3 == 0)
				command_writer(fleet, COMMAND_RESTART);
			if (step % 7 == 0)
				command_writer(fleet, COMMAND_CHECKPOINT);
			atomic_store(&zone->must_restart, true);
			uds_port_wake(&fleet->writer_port, zone->port.worker);
			break;
		case DISTURB_RESETS:
			command_writer(fleet, step % 2 == 0 ? COMMAND_RESET : COMMAND_CHECKPOINT);
			break;
	}
}

static void
run_disturbed(uint32_t zone_count, uds_index_structure structure, disturbance kind, uint64_t seed)
{
	fleet fleet;
	client *clients;
	uint64_t wanted = 0;
	uint64_t unwanted = 0;

	fleet_init(&fleet, structure);
	clients = make_clients(&fleet, seed);
	fleet_start(&fleet, zone_count);
	for (uint32_t step = 0; step < 6; step++)
	{
		start_clients(clients, ROUNDS / 2, false);
		for (uint32_t i = 0; i < 8; i++)
		{
			disturb(&fleet, kind, step * 8 + i);
			sleep_ms(2);
		}
		join_clients(clients);
		start_clients(clients, 0, true);
		join_clients(clients);
	}
	if (kind == DISTURB_RESTARTS)
		assert_true(fleet.zones[0].restarts > 0);
	fleet_stop(&fleet);
	/* And all is there after an end. */
	fleet_start(&fleet, zone_count);
	start_clients(clients, 0, true);
	join_clients(clients);
	fleet_stop(&fleet);
	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		wanted += clients[i].wanted;
		unwanted += clients[i].unwanted;
	}
	assert_true(wanted > 1000);
	assert_true(unwanted > 1000);
	free_clients(clients);
	fleet_destroy(&fleet);
}

static void
saves_disturb_no_request(void **state)
{
	(void) state;
	run_disturbed(1, UDS_STRUCTURE_LISTS, DISTURB_SAVES, 300);
	run_disturbed(3, UDS_STRUCTURE_BUCKETS, DISTURB_SAVES, 310);
}

static void
restarts_of_workers_lose_nothing(void **state)
{
	(void) state;
	run_disturbed(1, UDS_STRUCTURE_BUCKETS, DISTURB_RESTARTS, 400);
	run_disturbed(3, UDS_STRUCTURE_BUCKETS, DISTURB_RESTARTS, 410);
	run_disturbed(2, UDS_STRUCTURE_LISTS, DISTURB_RESTARTS, 420);
}

static void
resets_forget_everything_and_nothing_else(void **state)
{
	(void) state;
	run_disturbed(1, UDS_STRUCTURE_LISTS, DISTURB_RESETS, 500);
	run_disturbed(3, UDS_STRUCTURE_BUCKETS, DISTURB_RESETS, 510);
}

/*
 * Requests for one zone only: the others, which sleep, are woken to close their chapters, or the
 * one that works would be full for ever.
 */
static void
idle_zones_close_when_another_asks(void **state)
{
	fleet fleet;
	client *clients;
	uds_statistics statistics;

	(void) state;
	fleet_init(&fleet, UDS_STRUCTURE_BUCKETS);
	clients = make_clients(&fleet, 600);
	for (uint32_t i = 0; i < CLIENTS; i++)
		clients[i].is_one_sided = true;
	fleet_start(&fleet, 3);
	start_clients(clients, 2 * ROUNDS, false);
	join_clients(clients);
	uds_index_statistics(fleet.index, &statistics);
	assert_true(statistics.newest_chapter > 8);
	fleet_stop(&fleet);
	free_clients(clients);
	fleet_destroy(&fleet);
}

/* ---- reopening, in one thread ----------------------------------------------------------------- */

static void
post_counters(engine *engine, uint32_t first, uint32_t count)
{
	uds_request *requests = calloc(count, sizeof(*requests));

	for (uint32_t i = 0; i < count; i++)
		requests[i] = (uds_request){ .name = uds_generate_counter_name(first + i),
			                         .operation = UDS_POST,
			                         .metadata = uds_generate_metadata(first + i, 0) };
	assert_int_equal(engine_run(engine, requests, count), UDS_OK);
	free(requests);
}

static void
check_counters(engine *engine, uint32_t count, bool except_tenth)
{
	for (uint32_t i = 0; i < count; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 0);
		uds_request peek = engine_request(engine, UDS_PEEK, &name, NULL);

		assert_int_equal(peek.found, !(except_tenth && i % 10 == 0));
		if (peek.found)
			assert_memory_equal(&peek.found_metadata, &metadata, sizeof(metadata));
	}
}

static void
reopen_pair(uint32_t from, uint32_t to, uds_index_structure structure, bool is_crash)
{
	uds_config config = engine_config(8, 8, from, structure);
	engine engine;

	engine_init(&engine, &config);
	engine_must_open(&engine);
	/* Two chapters and a half, some of it deleted in the open chapter and before. */
	post_counters(&engine, 0, 2500);
	for (uint32_t i = 0; i < 2500; i += 10)
	{
		uds_name name = uds_generate_counter_name(i);

		(void) engine_request(&engine, UDS_DELETE, &name, NULL);
	}
	if (is_crash)
	{
		assert_int_equal(engine_checkpoint(&engine), UDS_OK);
		engine_crash(&engine);
	}
	else
		assert_int_equal(engine_close(&engine), UDS_OK);
	engine.config.zone_count = to;
	engine_must_open(&engine);
	check_counters(&engine, 2500, true);
	/* It goes on, and comes back. */
	post_counters(&engine, 2500, 1000);
	assert_int_equal(engine_close(&engine), UDS_OK);
	engine.config.zone_count = from;
	engine_must_open(&engine);
	check_counters(&engine, 2500, true);
	assert_int_equal(atomic_load(&engine.host.warnings), 0);
	engine_destroy(&engine);
}

static void
reopening_with_other_zones_loses_nothing(void **state)
{
	static const uint32_t zone_counts[] = { 1, 2, 3, 5, 16 };

	(void) state;
	for (uint32_t i = 0; i < 5; i++)
	{
		for (uint32_t j = 0; j < 5; j++)
		{
			reopen_pair(zone_counts[i], zone_counts[j], UDS_STRUCTURE_BUCKETS, (i + j) % 2 == 0);
			reopen_pair(zone_counts[i], zone_counts[j], UDS_STRUCTURE_LISTS, (i + j) % 2 != 0);
		}
	}
}

/*
 * Names of one zone only: its share is full long before the chapter is, and the other zones close
 * chapters without a record.  With other zones the open chapter may not fit into the shares.
 */
static void
one_zone_may_get_everything(void **state)
{
	uds_config config = engine_config(8, 16, 2, UDS_STRUCTURE_BUCKETS);
	engine engine;
	uint32_t stored = 0;
	uint32_t found = 0;

	(void) state;
	engine_init(&engine, &config);
	engine_must_open(&engine);
	for (uint32_t i = 0; stored < 4000; i++)
	{
		uds_name name = uds_generate_counter_name(i);

		if (uds_index_zone_of(engine.index, &name) != 0)
			continue;
		assert_false(engine_request(&engine, UDS_POST, &name, NULL).found);
		stored++;
	}
	engine_settle(&engine);
	for (uint32_t zone = 0; zone < 2; zone++)
	{
		uds_zone_statistics statistics;

		uds_index_zone_statistics(engine.index, zone, &statistics);
		assert_int_equal(statistics.newest_chapter, engine_statistics(&engine).newest_chapter);
	}
	for (uint32_t zone_count = 1; zone_count <= 16; zone_count *= 4)
	{
		assert_int_equal(engine_close(&engine), UDS_OK);
		engine.config.zone_count = zone_count;
		engine_must_open(&engine);
		found = 0;
		for (uint32_t i = 0; i < 9000; i++)
		{
			uds_name name = uds_generate_counter_name(i);

			found += engine_request(&engine, UDS_PEEK, &name, NULL).found;
		}
		assert_int_equal(found, stored);
	}
	engine_destroy(&engine);
}

/* A name of zone 0 of four. */
static uds_name
name_of_first_quarter(uint32_t number)
{
	uds_name name = uds_generate_counter_name(number);

	uds_generate_set_volume_field(&name, uds_name_volume_field(&name) / 5);
	return name;
}

/*
 * One zone has filled the open chapter with names that belong to one of four: what does not fit into
 * the share of that zone is written with the rest, as a chapter.
 */
static void
a_surplus_of_the_open_chapter_is_written(void **state)
{
	static const uds_index_structure structures[] = { UDS_STRUCTURE_BUCKETS, UDS_STRUCTURE_LISTS };

	(void) state;
	for (uint32_t i = 0; i < 2; i++)
	{
		uds_config config = engine_config(8, 16, 1, structures[i]);
		uint32_t count = 900;
		uds_zone_statistics statistics;
		uds_metadata metadata;
		engine engine;

		engine_init(&engine, &config);
		engine_must_open(&engine);
		assert_true(count < 8 * UDS_RECORDS_PER_PAGE);
		for (uint32_t j = 0; j < count; j++)
		{
			uds_name name = name_of_first_quarter(j);

			metadata = uds_generate_metadata(j, 0);
			assert_false(engine_request(&engine, UDS_POST, &name, &metadata).found);
		}
		assert_int_equal(engine_statistics(&engine).newest_chapter, 0);
		assert_int_equal(engine_close(&engine), UDS_OK);
		engine.config.zone_count = 4;
		engine_must_open(&engine);
		uds_index_zone_statistics(engine.index, 0, &statistics);
		assert_true(statistics.open_capacity < count);
		assert_int_equal(engine_statistics(&engine).newest_chapter, 1);
		for (uint32_t j = 0; j < count; j++)
		{
			uds_name name = name_of_first_quarter(j);
			uds_request peek = engine_request(&engine, UDS_PEEK, &name, NULL);

			metadata = uds_generate_metadata(j, 0);
			assert_int_equal(uds_index_zone_of(engine.index, &name), 0);
			assert_true(peek.found);
			assert_memory_equal(&peek.found_metadata, &metadata, sizeof(metadata));
		}
		assert_int_equal(atomic_load(&engine.host.warnings), 0);
		engine_destroy(&engine);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_right_with_any_number_of_zones),
		cmocka_unit_test(saves_disturb_no_request),
		cmocka_unit_test(restarts_of_workers_lose_nothing),
		cmocka_unit_test(resets_forget_everything_and_nothing_else),
		cmocka_unit_test(idle_zones_close_when_another_asks),
		cmocka_unit_test(reopening_with_other_zones_loses_nothing),
		cmocka_unit_test(one_zone_may_get_everything),
		cmocka_unit_test(a_surplus_of_the_open_chapter_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
