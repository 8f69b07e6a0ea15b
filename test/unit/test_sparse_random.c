/*
 * test_sparse_random.c: zones, readers, triage and writer of a sparse index take turns in random
 * order, and every request is answered with what the model allows: never with wrong metadata, in
 * its order among those for its name, exactly where the volume index leads to the record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/generate.h"
#include "../support/sparse_host.h"
#include "../support/sparse_model.h"

#define NAMES     9000
#define READERS   2
#define BATCH     40
#define BATCHES   64 /* that are out at a time */
#define STEPS     8000
#define IDLE_MAX  5000 /* turns without an answer before a run is stuck */
#define HOT_NAMES 50   /* requests for them come again and again */

typedef struct batch
{
	uds_request requests[BATCH];
	uint64_t before[BATCH]; /* newest chapter when it was sent */
	uint32_t left;          /* without answer; 0: unused */
} batch;

typedef struct run
{
	engine engine;
	uds_random random;
	uds_port reader_ports[READERS];
	void *reader_memory[READERS];
	uds_reader *readers[READERS];
	uds_port triage_port;
	void *triage_memory;
	uds_triage *triage;
	sparse_name names[NAMES];
	uint64_t last_sent[NAMES];     /* sequence of the last request for a name */
	uint64_t last_answered[NAMES]; /* the same, answered */
	uint64_t sequence;
	uint32_t front; /* streams begin here or before */
	batch batches[BATCHES];
	sparse_tally tally;
	uint64_t answered;
	uint64_t version;
} run;

static uint64_t
newest_of(const run *run, uint32_t zone)
{
	return atomic_load(&run->engine.index->zones[zone].newest);
}

static uint32_t
zone_of(const run *run, const uds_name *name)
{
	return uds_index_zone_of(run->engine.index, name);
}

/* ---- answers -------------------------------------------------------------------------------------- */

static void
take_answer(run *run, batch *batch, uds_request *request)
{
	uint32_t number = request->tag;
	bool is_hook = sparse_is_hook(&request->name);
	uint64_t sequence;
	sparse_moment moment = {
		.before = batch->before[request - batch->requests],
		.after = newest_of(run, zone_of(run, &request->name)),
		.chapters = is_hook ? SPARSE_CHAPTERS : SPARSE_DENSE,
		.window = SPARSE_CHAPTERS,
	};
	const char *problem;

	memcpy(&sequence, request->metadata.bytes + 8, sizeof(sequence));
	problem = sparse_model_check(&run->names[number], request, &moment, &run->tally);
	if (problem == NULL && sequence <= run->last_answered[number])
		problem = "answered out of order";
	if (problem != NULL)
		fail_msg("seed %llu, name %u (%s), operation %u, chapters %llu..%llu: %s",
		         (unsigned long long) run->random.seed,
		         number,
		         is_hook ? "hook" : "other",
		         request->operation,
		         (unsigned long long) moment.before,
		         (unsigned long long) moment.after,
		         problem);
	run->last_answered[number] = sequence;
	run->answered++;
	batch->left--;
}

/* ---- turns ---------------------------------------------------------------------------------------- */

static uds_operation
draw_operation(uds_random *random)
{
	static const uds_operation operations[16] = { UDS_POST,  UDS_POST,  UDS_POST,   UDS_POST,
		                                          UDS_POST,  UDS_POST,  UDS_POST,   UDS_QUERY,
		                                          UDS_QUERY, UDS_QUERY, UDS_UPDATE, UDS_DELETE,
		                                          UDS_PEEK,  UDS_PEEK,  UDS_PEEK,   UDS_PEEK };

	return operations[uds_random_below(random, 16)];
}

/* Number of the next name of a stream. */
static uint32_t
draw_name(run *run, uint32_t stream, uint32_t position)
{
	if (uds_random_one_in(&run->random, 10))
		return (uint32_t) uds_random_below(&run->random, HOT_NAMES);
	return (stream + position) % NAMES;
}

/* Send a piece of a stream: to triage at first, then to the zones. */
static void
send_batch(run *run)
{
	uint32_t zones = run->engine.config.zone_count;
	uint32_t count = (uint32_t) uds_random_range(&run->random, 1, BATCH);
	uint32_t stream = run->front;
	uds_name names[BATCH];
	batch *batch = NULL;
	uint32_t sent = 0;

	for (uint32_t i = 0; i < BATCHES && batch == NULL; i++)
	{
		if (run->batches[i].left == 0)
			batch = &run->batches[i];
	}
	if (batch == NULL)
		return;
	/* New names at the front, or again what has been there. */
	if (uds_random_one_in(&run->random, 2))
		run->front = (run->front + count) % NAMES;
	else
		stream = (uint32_t) uds_random_below(&run->random, NAMES);
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t number = draw_name(run, stream, i);
		uds_request *request = &batch->requests[i];

		*request = (uds_request){ .name = uds_generate_counter_name(number),
			                      .operation = (uint8_t) draw_operation(&run->random),
			                      .tag = number,
			                      .owner = batch,
			                      .metadata = uds_generate_metadata(number, ++run->sequence) };
		names[i] = request->name;
		batch->before[i] = newest_of(run, zone_of(run, &request->name));
	}
	if (zones > 1 && !uds_random_one_in(&run->random, 8) &&
	    uds_triage_execute(run->triage, names, count) != UDS_OK)
		fail_msg("triage failed");
	batch->left = count;
	/* A zone's requests lie side by side, in their order. */
	for (uint32_t zone = 0; zone < zones; zone++)
	{
		uint32_t parked;
		uint32_t first = sent;

		for (uint32_t i = first; i < count; i++)
		{
			uds_request request = batch->requests[i];
			uint64_t before = batch->before[i];

			if (zone_of(run, &request.name) != zone)
				continue;
			memmove(&batch->requests[sent + 1],
			        &batch->requests[sent],
			        (i - sent) * sizeof(request));
			memmove(&batch->before[sent + 1], &batch->before[sent], (i - sent) * sizeof(before));
			batch->requests[sent] = request;
			batch->before[sent++] = before;
		}
		if (sent == first)
			continue;
		assert_int_equal(uds_zone_turn(run->engine.zones[zone]), UDS_OK);
		assert_int_equal(uds_zone_execute(run->engine.zones[zone],
		                                  &batch->requests[first],
		                                  sent - first,
		                                  &parked),
		                 UDS_OK);
		for (uint32_t i = first; i < sent; i++)
		{
			if (batch->requests[i].status != UDS_PENDING)
				take_answer(run, batch, &batch->requests[i]);
		}
	}
}

static void
advance_zone(run *run, uint32_t zone)
{
	uds_request *finished;

	if (uds_zone_turn(run->engine.zones[zone]) != UDS_OK)
		return;
	assert_false(uds_status_is_error(uds_zone_advance(run->engine.zones[zone], &finished)));
	while (finished != NULL)
	{
		uds_request *next = finished->next;

		take_answer(run, finished->owner, finished);
		finished = next;
	}
}

static void
attach_reader(run *run, uint32_t number)
{
	assert_int_equal(uds_reader_attach(run->reader_memory[number],
	                                   run->engine.index,
	                                   &run->reader_ports[number],
	                                   number,
	                                   &run->readers[number],
	                                   &run->engine.error),
	                 UDS_OK);
}

/* A reader comes or goes. */
static void
toggle_reader(run *run, uint32_t number)
{
	if (run->readers[number] == NULL)
	{
		attach_reader(run, number);
		return;
	}
	uds_reader_detach(run->readers[number]);
	run->readers[number] = NULL;
}

static void
checkpoint(run *run)
{
	uds_index *index = run->engine.index;

	/* What the zones do when they are woken. */
	atomic_store(&index->zones_wanted, 1);
	for (uint32_t i = 0; i < run->engine.config.zone_count; i++)
		assert_int_equal(uds_zone_turn(run->engine.zones[i]), UDS_PENDING);
	assert_int_equal(uds_writer_checkpoint(run->engine.writer, &run->engine.error), UDS_OK);
}

static void
take_turn(run *run, bool may_send)
{
	uint32_t choice = (uint32_t) uds_random_below(&run->random, 1000);
	uint32_t reader = (uint32_t) uds_random_below(&run->random, READERS);

	if (choice < 250)
	{
		if (may_send)
			send_batch(run);
	}
	else if (choice < 600)
		advance_zone(run, (uint32_t) uds_random_below(&run->random, run->engine.config.zone_count));
	else if (choice < 850)
	{
		if (run->readers[reader] != NULL)
			assert_false(uds_status_is_error(uds_reader_work(run->readers[reader])));
	}
	else if (choice < 990)
		assert_false(uds_status_is_error(uds_writer_work(run->engine.writer, &run->engine.error)));
	else if (choice < 992)
		toggle_reader(run, reader);
	else if (choice < 993)
		checkpoint(run);
	else if (choice < 996)
		run->engine.host.memory =
			uds_random_one_in(&run->random, 2) ? POSIX_MEMORY_FULL : POSIX_MEMORY_EMPTY;
}

static uint64_t
count_left(const run *run)
{
	uint64_t left = 0;

	for (uint32_t i = 0; i < BATCHES; i++)
		left += run->batches[i].left;
	return left;
}

/* Without new requests all that are out are answered. */
static void
finish(run *run)
{
	uint32_t idle = 0;

	while (count_left(run) > 0)
	{
		uint64_t before = run->answered;

		take_turn(run, false);
		idle = run->answered == before ? idle + 1 : 0;
		if (idle > IDLE_MAX)
			fail_msg("seed %llu: %llu requests are not answered",
			         (unsigned long long) run->random.seed,
			         (unsigned long long) count_left(run));
	}
	for (uint32_t i = 0; i < run->engine.config.zone_count; i++)
		assert_int_equal(uds_zone_parked(run->engine.zones[i]), 0);
}

static void
begin(run *run, uint32_t zones, uds_index_structure structure, uint64_t seed)
{
	uds_config config = sparse_config(zones, structure);

	uds_random_init(&run->random, uds_random_seed(seed));
	config.reader_count = READERS;
	config.page_cache_bytes = 0;
	engine_init(&run->engine, &config);
	engine_must_open(&run->engine);
	for (uint32_t i = 0; i < READERS; i++)
	{
		run->reader_ports[i] = posix_port(&run->engine.host, UDS_WORKER_READER + i);
		run->reader_memory[i] = calloc(1, uds_reader_size());
		attach_reader(run, i);
	}
	run->triage_port = posix_port(&run->engine.host, UDS_WORKER_TRIAGE);
	run->triage_memory = calloc(1, uds_triage_size());
	assert_int_equal(uds_triage_attach(run->triage_memory,
	                                   run->engine.index,
	                                   &run->triage_port,
	                                   &run->triage,
	                                   &run->engine.error),
	                 UDS_OK);
}

static void
end(run *run)
{
	uds_statistics statistics = engine_statistics(&run->engine);

	assert_int_equal(uds_index_state(run->engine.index), UDS_STATE_ONLINE);
	assert_int_equal(statistics.entries_lost, 0);
	assert_int_equal(statistics.overflows, 0);
	assert_int_equal(statistics.bad_pages, 0);
	assert_int_equal(statistics.sparse_failures, 0);
	assert_true(statistics.sparse_loads > 20);
	assert_true(statistics.newest_chapter > 2 * SPARSE_CHAPTERS);
	assert_int_equal(uds_sparse_cache_check(run->engine.index->sparse_cache), UDS_OK);
	assert_true(run->tally.wanted > 4000);
	assert_true(run->tally.lucky > 100);
	for (uint32_t i = 0; i < READERS; i++)
	{
		if (run->readers[i] != NULL)
			uds_reader_detach(run->readers[i]);
		free(run->reader_memory[i]);
	}
	uds_triage_detach(run->triage);
	free(run->triage_memory);
	engine_destroy(&run->engine);
}

static void
answers_are_right_whoever_goes_on_when(void **state)
{
	(void) state;
	for (uint32_t i = 0; i < 6; i++)
	{
		run *run = calloc(1, sizeof(*run));

		begin(run, i % 3 + 1, (uds_index_structure) (i / 3), 7000 + i);
		for (uint32_t step = 0; step < STEPS; step++)
			take_turn(run, true);
		finish(run);
		end(run);
		free(run);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_right_whoever_goes_on_when),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
