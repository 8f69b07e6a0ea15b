/*
 * test_sparse_zones.c: a sparse index with a thread for each zone, for the writer, the triage worker
 * and two readers: every request is answered with what the model allows, while saves go on, workers
 * come and go, and the files move; when the index is reset or fails, no answer has the metadata of
 * another name.  No wake-up is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../../src/engine/block.h"
#include "../support/files.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"
#include "../support/sparse_model.h"

#define CLIENTS      3
#define NAMES        3000 /* of each client */
#define BATCH        32
#define READERS      2
#define ZONES_MAX    4
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

/* A worker of the index and its thread. */
typedef struct worker
{
	fleet *fleet;
	uint32_t number; /* among those of its kind */
	uds_port port;
	pthread_t thread;
	_Atomic bool must_restart;
	_Atomic bool must_end;
	_Atomic uint32_t restarts;
	/* of a zone */
	pthread_mutex_t mutex;
	batch *first; /* lock: mutex */
	batch *last;  /* lock: mutex */
} worker;

typedef enum command
{
	COMMAND_NONE,
	COMMAND_CHECKPOINT,
	COMMAND_RESET,
	COMMAND_FAIL,
	COMMAND_MOVE,
	COMMAND_END
} command;

struct fleet
{
	posix_host host;
	uds_config config;
	uds_index *index;
	void *writer_memory;
	uds_writer *writer;
	worker writer_worker;
	worker zones[ZONES_MAX];
	worker readers[READERS];
	worker triage;
	client *clients;
	_Atomic uint32_t command;
	_Atomic uint64_t commands_done;
	_Atomic uint32_t moves;
	_Atomic uint64_t lost_wakes;
	_Atomic uint64_t errors; /* calls of the engine that failed */
	_Atomic uint64_t random; /* of the delays */
};

struct client
{
	fleet *fleet;
	uint32_t number;
	pthread_t thread;
	uds_random random;
	uint32_t rounds;
	bool is_relaxed; /* the index forgets at times: only metadata are checked */
	uint32_t front;  /* streams of new names begin here */
	uint64_t version;
	sparse_name names[NAMES];
	sparse_tally tally;
	batch batches[ZONES_MAX];
	uint64_t before[ZONES_MAX]; /* newest chapter of each zone */
	uds_name shown[BATCH];      /* to triage */
	_Atomic uint32_t to_show;   /* 0: triage has seen them */
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	uint32_t left; /* lock: mutex; requests without answer, or 1 while triage looks */
	uint64_t wrong;
	char complaint[200];
};

/* ---- waiting -------------------------------------------------------------------------------------- */

/* Wait until a worker is woken; false when that takes too long. */
static bool
wait_for_wake(posix_host *host, uds_worker_id id)
{
	posix_worker *cell = &host->workers[id];
	struct timespec limit;
	bool is_woken;
	int result = 0;

	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += WAIT_SECONDS;
	pthread_mutex_lock(&cell->mutex);
	while (!cell->is_woken && result == 0)
		result = pthread_cond_timedwait(&cell->condition, &cell->mutex, &limit);
	is_woken = cell->is_woken;
	cell->is_woken = false;
	pthread_mutex_unlock(&cell->mutex);
	return is_woken;
}

/* Between two turns: sleep without work.  A worker that has work after it was not woken is told of. */
static void
rest(worker *worker, bool has_progress, bool *has_slept)
{
	if (has_progress && *has_slept)
		atomic_fetch_add(&worker->fleet->lost_wakes, 1);
	*has_slept = !has_progress && !wait_for_wake(&worker->fleet->host, worker->port.worker);
}

static void
sleep_ms(uint32_t milliseconds)
{
	struct timespec time = { .tv_nsec = milliseconds * 1000000L };

	nanosleep(&time, NULL);
}

static void
check_status(fleet *fleet, uds_status status)
{
	if (uds_status_is_error(status))
		atomic_fetch_add(&fleet->errors, 1);
}

static bool
must_leave(const worker *worker)
{
	return atomic_load(&worker->must_restart) || atomic_load(&worker->must_end);
}

/* A worker has detached: is that its end? */
static bool
is_end(worker *worker)
{
	if (atomic_load(&worker->must_end))
		return true;
	atomic_store(&worker->must_restart, false);
	atomic_fetch_add(&worker->restarts, 1);
	return false;
}

/* Reads take differently long, so that they end in any order. */
static int
delay_reads(void *context, const char *operation, const char *name)
{
	fleet *fleet = context;
	uint64_t turns;

	(void) name;
	if (strcmp(operation, "read") != 0)
		return 0;
	turns = atomic_fetch_add(&fleet->random, UINT64_C(0x9e3779b97f4a7c15));
	for (turns = (turns ^ turns >> 31) % 16; turns > 0; turns--)
		sched_yield();
	return 0;
}

/* ---- zones ---------------------------------------------------------------------------------------- */

static void
client_answer(client *client, uint32_t count)
{
	pthread_mutex_lock(&client->mutex);
	client->left -= count;
	if (client->left == 0)
		pthread_cond_signal(&client->condition);
	pthread_mutex_unlock(&client->mutex);
}

static batch *
pop_batch(worker *zone)
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
push_batch(worker *zone, batch *batch)
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

static uint64_t
newest_of(fleet *fleet, uint32_t zone)
{
	return atomic_load(&fleet->index->zones[zone].newest);
}

/* Execute a batch and go on with parked requests; true when anything was done. */
static bool
zone_turn(worker *zone, uds_zone_worker *worker, batch *batch)
{
	uint64_t newest = newest_of(zone->fleet, zone->number);
	uds_request *finished;
	uds_status status;
	bool has_progress = false;

	if (batch != NULL)
	{
		client *client = batch->client;
		uint32_t count = batch->count;
		uint32_t parked;

		check_status(zone->fleet, uds_zone_execute(worker, batch->requests, count, &parked));
		client_answer(client, count - parked);
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
	return has_progress || status == UDS_OK || newest_of(zone->fleet, zone->number) != newest;
}

static void *
zone_main(void *argument)
{
	worker *zone = argument;
	void *memory = calloc(1, uds_zone_worker_size());
	bool has_slept = false;
	uds_zone_worker *worker;
	uds_error error;

	do
	{
		check_status(zone->fleet,
		             uds_zone_attach(memory,
		                             zone->fleet->index,
		                             &zone->port,
		                             zone->number,
		                             &worker,
		                             &error));
		while (!must_leave(zone) || uds_zone_parked(worker) > 0)
		{
			bool has_progress = false;

			if (uds_zone_turn(worker) == UDS_OK)
				has_progress = zone_turn(zone, worker, must_leave(zone) ? NULL : pop_batch(zone));
			rest(zone, has_progress, &has_slept);
		}
		uds_zone_detach(worker);
		/* Batches that came meanwhile have woken the worker that left. */
		uds_port_wake(&zone->port, zone->port.worker);
	} while (!is_end(zone));
	free(memory);
	return NULL;
}

/* ---- readers, triage, writer ----------------------------------------------------------------------- */

static void *
reader_main(void *argument)
{
	worker *self = argument;
	void *memory = calloc(1, uds_reader_size());
	bool has_slept = false;
	uds_reader *reader;
	uds_error error;

	do
	{
		check_status(self->fleet,
		             uds_reader_attach(memory,
		                               self->fleet->index,
		                               &self->port,
		                               self->number,
		                               &reader,
		                               &error));
		while (!must_leave(self))
		{
			uds_status status = uds_reader_work(reader);

			check_status(self->fleet, status);
			rest(self, status == UDS_OK, &has_slept);
		}
		uds_reader_detach(reader);
		if (!atomic_load(&self->must_end))
			sleep_ms(1);
	} while (!is_end(self));
	free(memory);
	return NULL;
}

/* Show triage what a client wants it to see; true when there was something. */
static bool
triage_turn(worker *self, uds_triage *triage)
{
	bool has_progress = false;

	for (uint32_t i = 0; i < CLIENTS && self->fleet->clients != NULL; i++)
	{
		client *client = &self->fleet->clients[i];
		uint32_t count = atomic_load(&client->to_show);
		uds_status status;

		if (count == 0)
			continue;
		status = uds_triage_execute(triage, client->shown, count);
		check_status(self->fleet, status);
		if (status == UDS_PENDING)
			return false;
		atomic_store(&client->to_show, 0);
		client_answer(client, 1);
		has_progress = true;
	}
	return has_progress;
}

static void *
triage_main(void *argument)
{
	worker *self = argument;
	void *memory = calloc(1, uds_triage_size());
	bool has_slept = false;
	uds_triage *triage;
	uds_error error;

	do
	{
		check_status(self->fleet,
		             uds_triage_attach(memory, self->fleet->index, &self->port, &triage, &error));
		while (!must_leave(self))
			rest(self, triage_turn(self, triage), &has_slept);
		uds_triage_detach(triage);
	} while (!is_end(self));
	free(memory);
	return NULL;
}

/* To a new directory; the former one is removed, as an administrator would. */
static void
move_files(fleet *fleet)
{
	uint32_t number = atomic_fetch_add(&fleet->moves, 1);
	char former[POSIX_NAME_BYTES];
	char name[POSIX_NAME_BYTES + 16];
	uds_error error;

	posix_host_directory(&fleet->host, former);
	snprintf(name, sizeof(name), "%s.%u", fleet->host.directory, number);
	check_status(fleet, uds_writer_move(fleet->writer, name, &error));
	posix_remove_directory(former);
}

static void
run_command(fleet *fleet, command command)
{
	uds_error error;
	uds_status status;

	switch (command)
	{
		case COMMAND_CHECKPOINT:
			status = uds_writer_checkpoint(fleet->writer, &error);
			if (status != UDS_ERR_STATE)
				check_status(fleet, status);
			break;
		case COMMAND_RESET:
			check_status(fleet, uds_writer_reset(fleet->writer, &error));
			break;
		case COMMAND_FAIL:
			uds_block_fail(fleet->index, &fleet->writer_worker.port, "a test says so");
			break;
		case COMMAND_MOVE:
			move_files(fleet);
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
	worker *self = argument;
	fleet *fleet = self->fleet;
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

/* Have the writer do something, and wait until it is done. */
static void
command_writer(fleet *fleet, command command)
{
	uint64_t before = atomic_load(&fleet->commands_done);

	atomic_store(&fleet->command, command);
	uds_port_wake(&fleet->writer_worker.port, UDS_WORKER_WRITER);
	while (atomic_load(&fleet->commands_done) == before)
		sleep_ms(1);
}

/* ---- fleet ---------------------------------------------------------------------------------------- */

static void
start_worker(fleet *fleet, worker *worker, uint32_t number, uds_worker_id id,
             void *(*main)(void *) )
{
	memset(worker, 0, sizeof(*worker));
	worker->fleet = fleet;
	worker->number = number;
	worker->port = posix_port(&fleet->host, id);
	pthread_mutex_init(&worker->mutex, NULL);
	assert_int_equal(pthread_create(&worker->thread, NULL, main, worker), 0);
}

static void
end_worker(worker *worker)
{
	atomic_store(&worker->must_end, true);
	uds_port_wake(&worker->port, worker->port.worker);
	pthread_join(worker->thread, NULL);
	pthread_mutex_destroy(&worker->mutex);
}

static void
fleet_start(fleet *fleet, uint32_t zone_count, uds_index_structure structure)
{
	char *directory = files_make_directory();
	uds_port port;
	uds_error error;

	memset(fleet, 0, sizeof(*fleet));
	posix_host_init(&fleet->host, directory);
	free(directory);
	fleet->host.is_quiet = true;
	fleet->host.fault = delay_reads;
	fleet->host.fault_context = fleet;
	fleet->config = sparse_config(zone_count, structure);
	fleet->config.reader_count = READERS;
	/* The least, so that requests wait for pages and for places. */
	fleet->config.page_cache_bytes = 0;
	fleet->index = mmap(NULL,
	                    uds_index_size(&fleet->config),
	                    PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS,
	                    -1,
	                    0);
	assert_ptr_not_equal(fleet->index, MAP_FAILED);
	fleet->writer_memory = calloc(1, uds_writer_size());
	port = posix_port(&fleet->host, UDS_WORKER_WRITER);
	fleet->writer_worker.port = port;
	assert_int_equal(uds_writer_open(fleet->writer_memory,
	                                 fleet->index,
	                                 &fleet->writer_worker.port,
	                                 &fleet->config,
	                                 &fleet->writer,
	                                 &error),
	                 UDS_OK);
}

static void
fleet_run(fleet *fleet, client *clients)
{
	fleet->clients = clients;
	start_worker(fleet, &fleet->writer_worker, 0, UDS_WORKER_WRITER, writer_main);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
		start_worker(fleet, &fleet->zones[i], i, UDS_WORKER_ZONE + i, zone_main);
	for (uint32_t i = 0; i < READERS; i++)
		start_worker(fleet, &fleet->readers[i], i, UDS_WORKER_READER + i, reader_main);
	start_worker(fleet, &fleet->triage, 0, UDS_WORKER_TRIAGE, triage_main);
}

static void
fleet_stop(fleet *fleet)
{
	char directory[POSIX_NAME_BYTES];

	uds_error error;

	end_worker(&fleet->triage);
	for (uint32_t i = 0; i < READERS; i++)
		end_worker(&fleet->readers[i]);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
		end_worker(&fleet->zones[i]);
	command_writer(fleet, COMMAND_END);
	pthread_join(fleet->writer_worker.thread, NULL);
	assert_int_equal(uds_index_state(fleet->index), UDS_STATE_ONLINE);
	assert_int_equal(uds_sparse_cache_check(fleet->index->sparse_cache), UDS_OK);
	assert_int_equal(uds_writer_close(fleet->writer, true, &error), UDS_OK);
	munmap(fleet->index, uds_index_size(&fleet->config));
	free(fleet->writer_memory);
	posix_host_directory(&fleet->host, directory);
	posix_remove_directory(directory);
	posix_host_destroy(&fleet->host);
	assert_int_equal(atomic_load(&fleet->errors), 0);
	assert_int_equal(atomic_load(&fleet->lost_wakes), 0);
}

/* ---- clients -------------------------------------------------------------------------------------- */

static uds_operation
draw_operation(uds_random *random)
{
	static const uds_operation operations[16] = { UDS_POST,   UDS_POST,  UDS_POST,  UDS_POST,
		                                          UDS_POST,   UDS_POST,  UDS_POST,  UDS_QUERY,
		                                          UDS_QUERY,  UDS_QUERY, UDS_QUERY, UDS_UPDATE,
		                                          UDS_DELETE, UDS_PEEK,  UDS_PEEK,  UDS_PEEK };

	return operations[uds_random_below(random, 16)];
}

/*
 * Put together the requests of a round: a piece of a stream, new or of earlier rounds.  True when
 * some names were handed to the triage worker, which answers once.
 */
static bool
make_round(client *client)
{
	fleet *fleet = client->fleet;
	uint32_t stream = client->front;
	/* Now and then several requests for each name, which take effect in their order. */
	uint32_t names = uds_random_one_in(&client->random, 3) ? BATCH / 4 : BATCH;
	uint32_t shown = 0;

	if (uds_random_one_in(&client->random, 2))
		stream = (uint32_t) uds_random_below(&client->random, NAMES);
	else
		client->front = (client->front + BATCH) % NAMES;
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
		client->batches[i].count = 0;
	for (uint32_t i = 0; i < BATCH; i++)
	{
		uint32_t number = (stream + i % names) % NAMES;
		uint64_t counter = (uint64_t) client->number << 32 | number;
		uds_name name = uds_generate_counter_name(counter);
		batch *batch = &client->batches[uds_index_zone_of(fleet->index, &name)];

		batch->client = client;
		batch->requests[batch->count++] = (uds_request){
			.name = name,
			.operation = draw_operation(&client->random),
			.metadata = uds_generate_metadata(counter, ++client->version),
			.tag = number,
			.owner = client,
			.status = UDS_PENDING,
		};
		if (uds_index_needs_triage(fleet->index, &name))
			client->shown[shown++] = name;
	}
	client->left = shown > 0 ? 1 : 0;
	atomic_store(&client->to_show, shown);
	return shown > 0;
}

static void
wait_for_answers(client *client)
{
	pthread_mutex_lock(&client->mutex);
	while (client->left > 0)
		pthread_cond_wait(&client->condition, &client->mutex);
	pthread_mutex_unlock(&client->mutex);
}

static void
check_answer(client *client, const uds_request *request, uint64_t before, uint64_t after)
{
	bool is_hook = sparse_is_hook(&request->name);
	const char *problem = NULL;
	sparse_moment moment = { .before = before,
		                     .after = after,
		                     .chapters = is_hook ? SPARSE_CHAPTERS : SPARSE_DENSE,
		                     .window = SPARSE_CHAPTERS };

	if (!client->is_relaxed)
		problem =
			sparse_model_check(&client->names[request->tag], request, &moment, &client->tally);
	else if (request->status != UDS_OK)
		problem = "failed";
	else if (request->found &&
	         memcmp(&request->found_metadata, &request->metadata, sizeof(uint64_t)) != 0)
		problem = "found the metadata of another name";
	if (problem != NULL && client->wrong++ == 0)
		snprintf(client->complaint,
		         sizeof(client->complaint),
		         "seed %llu, client %u, name %u (%s), operation %u, chapters %llu..%llu: %s",
		         (unsigned long long) client->random.seed,
		         client->number,
		         request->tag,
		         is_hook ? "hook" : "other",
		         request->operation,
		         (unsigned long long) before,
		         (unsigned long long) after,
		         problem);
}

static void
run_round(client *client)
{
	fleet *fleet = client->fleet;

	/* The worker may have looked at them already: what counts is its answer. */
	if (make_round(client))
	{
		uds_port_wake(&fleet->triage.port, UDS_WORKER_TRIAGE);
		wait_for_answers(client);
	}
	client->left = BATCH;
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
		client->before[i] = newest_of(fleet, i);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
	{
		if (client->batches[i].count > 0)
			push_batch(&fleet->zones[i], &client->batches[i]);
	}
	wait_for_answers(client);
	for (uint32_t i = 0; i < fleet->config.zone_count; i++)
	{
		uint64_t after = newest_of(fleet, i);

		for (uint32_t j = 0; j < client->batches[i].count; j++)
			check_answer(client, &client->batches[i].requests[j], client->before[i], after);
	}
}

static void *
client_main(void *argument)
{
	client *client = argument;

	for (uint32_t i = 0; i < client->rounds; i++)
		run_round(client);
	return NULL;
}

static client *
make_clients(fleet *fleet, uint64_t seed, uint32_t rounds, bool are_relaxed)
{
	client *clients = calloc(CLIENTS, sizeof(*clients));

	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		clients[i].fleet = fleet;
		clients[i].number = i;
		clients[i].rounds = rounds;
		clients[i].is_relaxed = are_relaxed;
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
start_clients(client *clients)
{
	for (uint32_t i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
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

/* ---- cases ---------------------------------------------------------------------------------------- */

static void
restart(worker *worker)
{
	atomic_store(&worker->must_restart, true);
	uds_port_wake(&worker->port, worker->port.worker);
}

typedef enum disturbance
{
	DISTURB_NOTHING,
	DISTURB_WORKERS,
	DISTURB_INDEX,
	DISTURB_PLACE
} disturbance;

/* Have the files moved, and verify them meanwhile. */
static void
move_and_verify(fleet *fleet)
{
	uds_port port = posix_port(&fleet->host, UDS_WORKER_COUNT);
	uint64_t before = atomic_load(&fleet->commands_done);
	void *memory = aligned_alloc(UDS_CACHE_LINE, uds_verifier_size(fleet->index));
	uds_verifier *verifier;
	uds_problem problems[4];
	uds_status status;
	uint32_t count;
	uds_error error;

	atomic_store(&fleet->command, COMMAND_MOVE);
	uds_port_wake(&fleet->writer_worker.port, UDS_WORKER_WRITER);
	assert_int_equal(uds_verifier_open(memory, fleet->index, &port, &verifier, &error), UDS_OK);
	while ((status = uds_verifier_next(verifier, problems, 4, &count)) == UDS_OK)
	{
		if (count > 0)
			fail_msg("chapter %llu: %s",
			         (unsigned long long) problems[0].chapter,
			         problems[0].text);
	}
	assert_int_equal(status, UDS_NOT_FOUND);
	uds_verifier_close(verifier);
	free(memory);
	while (atomic_load(&fleet->commands_done) == before)
		sleep_ms(1);
}

static void
disturb(fleet *fleet, disturbance kind, uint32_t step)
{
	switch (kind)
	{
		case DISTURB_NOTHING:
			break;
		case DISTURB_WORKERS:
			if (step % 8 == 0)
				command_writer(fleet, COMMAND_CHECKPOINT);
			else if (step % 2 == 0)
				restart(&fleet->zones[step / 2 % fleet->config.zone_count]);
			else
				restart(&fleet->readers[step / 2 % READERS]);
			if (step % 5 == 0)
				restart(&fleet->triage);
			break;
		case DISTURB_INDEX:
			command_writer(fleet, step % 3 == 0 ? COMMAND_RESET : COMMAND_FAIL);
			break;
		case DISTURB_PLACE:
			move_and_verify(fleet);
			break;
	}
}

static bool
has_ended(fleet *fleet, uint64_t requests)
{
	uds_statistics statistics;

	uds_index_statistics(fleet->index, &statistics);
	return statistics.requests >= requests;
}

static void
run(uint32_t zones, uds_index_structure structure, disturbance kind, uint32_t rounds, uint64_t seed)
{
	uint64_t requests = (uint64_t) CLIENTS * rounds * BATCH;
	fleet fleet;
	client *clients = make_clients(&fleet, seed, rounds, kind == DISTURB_INDEX);
	uds_statistics statistics;
	uint64_t wanted = 0;
	uint64_t lucky = 0;

	fleet_start(&fleet, zones, structure);
	fleet_run(&fleet, clients);
	start_clients(clients);
	for (uint32_t step = 0; kind != DISTURB_NOTHING && step < 60 && !has_ended(&fleet, requests);
	     step++)
	{
		sleep_ms(kind == DISTURB_INDEX ? 15 : 3);
		disturb(&fleet, kind, step);
	}
	join_clients(clients);
	uds_index_statistics(fleet.index, &statistics);
	fleet_stop(&fleet);
	for (uint32_t i = 0; i < CLIENTS; i++)
	{
		wanted += clients[i].tally.wanted;
		lucky += clients[i].tally.lucky;
	}
	free_clients(clients);
	if (kind == DISTURB_INDEX)
		return;
	assert_int_equal(statistics.requests, requests);
	assert_int_equal(statistics.entries_lost, 0);
	assert_int_equal(statistics.overflows, 0);
	assert_int_equal(statistics.bad_pages, 0);
	assert_int_equal(statistics.sparse_failures, 0);
	assert_true(statistics.newest_chapter > SPARSE_CHAPTERS + SPARSE_DENSE);
	assert_true(statistics.sparse_loads > 10);
	assert_true(wanted > 2000);
	assert_true(lucky > 50);
}

static void
answers_are_right_with_any_number_of_zones(void **state)
{
	(void) state;
	for (uint32_t zones = 1; zones <= ZONES_MAX; zones *= 2)
	{
		run(zones, UDS_STRUCTURE_BUCKETS, DISTURB_NOTHING, 350, 100 + zones);
		run(zones, UDS_STRUCTURE_LISTS, DISTURB_NOTHING, 350, 200 + zones);
	}
}

static void
answers_are_right_while_workers_come_and_go(void **state)
{
	(void) state;
	run(1, UDS_STRUCTURE_LISTS, DISTURB_WORKERS, 350, 301);
	run(2, UDS_STRUCTURE_BUCKETS, DISTURB_WORKERS, 350, 302);
	run(4, UDS_STRUCTURE_LISTS, DISTURB_WORKERS, 350, 304);
}

static void
answers_are_right_while_the_files_move(void **state)
{
	(void) state;
	run(1, UDS_STRUCTURE_BUCKETS, DISTURB_PLACE, 350, 351);
	run(3, UDS_STRUCTURE_LISTS, DISTURB_PLACE, 350, 353);
}

static void
requests_end_whatever_happens_to_the_index(void **state)
{
	(void) state;
	run(1, UDS_STRUCTURE_BUCKETS, DISTURB_INDEX, 350, 401);
	run(3, UDS_STRUCTURE_LISTS, DISTURB_INDEX, 350, 403);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_right_with_any_number_of_zones),
		cmocka_unit_test(answers_are_right_while_workers_come_and_go),
		cmocka_unit_test(answers_are_right_while_the_files_move),
		cmocka_unit_test(requests_end_whatever_happens_to_the_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
