/*
 * test_reader.c: readers perform the reads that zones queue, whoever of them comes and goes, in any
 * order, and requests for one name still take effect in theirs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

#define RECORD_PAGES 2
#define CHAPTERS     64
#define READERS      3
#define FILLED       12 /* chapters with names before a test */
#define WAITS_MAX    200
#define WAIT_MS      100

typedef struct reader_thread
{
	struct fixture *fixture;
	uint32_t number;
	pthread_t thread;
} reader_thread;

typedef struct fixture
{
	engine engine;
	uint32_t records; /* of a chapter */
	uds_port ports[READERS];
	void *memory[READERS];
	uds_reader *readers[READERS];
	reader_thread threads[READERS];
	_Atomic bool must_end;
	_Atomic uint64_t random; /* of the delays */
} fixture;

static uds_name
name_of(uint64_t number)
{
	return uds_generate_counter_name(number);
}

static void
fill(fixture *fixture)
{
	uds_request *requests = calloc(fixture->records, sizeof(*requests));

	for (uint32_t chapter = 0; chapter < FILLED; chapter++)
	{
		for (uint32_t i = 0; i < fixture->records; i++)
		{
			requests[i] = (uds_request){
				.name = name_of(chapter * fixture->records + i),
				.operation = UDS_POST,
				.metadata = uds_generate_metadata(chapter * fixture->records + i, 1),
			};
		}
		assert_int_equal(engine_run(&fixture->engine, requests, fixture->records), UDS_OK);
	}
	engine_settle(&fixture->engine);
	free(requests);
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(RECORD_PAGES, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);

	config.reader_count = READERS;
	config.page_cache_bytes = 0;
	fixture->records = RECORD_PAGES * UDS_RECORDS_PER_PAGE;
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	fill(fixture);
	for (uint32_t i = 0; i < READERS; i++)
	{
		fixture->memory[i] = calloc(1, uds_reader_size());
		fixture->ports[i] = posix_port(&fixture->engine.host, UDS_WORKER_READER + i);
	}
	*state = fixture;
	return 0;
}

static void
attach(fixture *fixture, uint32_t number)
{
	assert_int_equal(uds_reader_attach(fixture->memory[number],
	                                   fixture->engine.index,
	                                   &fixture->ports[number],
	                                   number,
	                                   &fixture->readers[number],
	                                   &fixture->engine.error),
	                 UDS_OK);
}

static void
detach(fixture *fixture, uint32_t number)
{
	uds_reader_detach(fixture->readers[number]);
	fixture->readers[number] = NULL;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	for (uint32_t i = 0; i < READERS; i++)
	{
		if (fixture->readers[i] != NULL)
			detach(fixture, i);
		free(fixture->memory[i]);
	}
	engine_destroy(&fixture->engine);
	free(fixture);
	return 0;
}

/* Execute a query of a name in a chapter that is read from the volume; it parks. */
static void
start_peek(fixture *fixture, uds_request *request, uint64_t number)
{
	uint32_t parked;

	*request = (uds_request){ .name = name_of(number), .operation = UDS_PEEK };
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(fixture->engine.zones[0], request, 1, &parked), UDS_OK);
	assert_int_equal(parked, 1);
}

static uds_status
advance(fixture *fixture, uds_request **finished)
{
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_OK);
	return uds_zone_advance(fixture->engine.zones[0], finished);
}

/* The two reads that a parked request needs, by one reader. */
static void
serve_request(fixture *fixture, uint32_t reader, const uds_request *request)
{
	uds_request *finished;

	assert_int_equal(uds_reader_work(fixture->readers[reader]), UDS_OK);
	assert_int_equal(advance(fixture, &finished), UDS_OK);
	assert_null(finished);
	assert_int_equal(uds_reader_work(fixture->readers[reader]), UDS_OK);
	assert_int_equal(advance(fixture, &finished), UDS_OK);
	assert_ptr_equal(finished, request);
	assert_true(finished->found);
}

static bool
is_woken(fixture *fixture, uds_worker_id worker)
{
	posix_worker *cell = &fixture->engine.host.workers[worker];
	bool was_woken = cell->is_woken;

	cell->is_woken = false;
	return was_woken;
}

static void
a_zone_leaves_reads_to_the_readers_that_are_there(void **state)
{
	fixture *fixture = *state;
	uds_request request;
	uds_request *finished;

	attach(fixture, 1);
	start_peek(fixture, &request, 3);
	assert_int_equal(advance(fixture, &finished), UDS_PENDING);
	serve_request(fixture, 1, &request);
	assert_int_equal(uds_reader_work(fixture->readers[1]), UDS_NOT_FOUND);
}

static void
zones_read_themselves_when_the_last_reader_has_gone(void **state)
{
	fixture *fixture = *state;
	uds_request request;
	uds_request *finished;

	attach(fixture, 0);
	attach(fixture, 2);
	start_peek(fixture, &request, 3);
	detach(fixture, 2);
	assert_int_equal(advance(fixture, &finished), UDS_PENDING);
	(void) is_woken(fixture, UDS_WORKER_ZONE);
	detach(fixture, 0);
	assert_true(is_woken(fixture, UDS_WORKER_ZONE));
	assert_int_equal(advance(fixture, &finished), UDS_OK);
	while (finished == NULL)
		assert_int_equal(advance(fixture, &finished), UDS_OK);
	assert_true(finished->found);
}

static void
a_queued_read_wakes_one_idle_reader(void **state)
{
	fixture *fixture = *state;
	uds_request requests[3];

	for (uint32_t i = 0; i < READERS; i++)
	{
		attach(fixture, i);
		assert_int_equal(uds_reader_work(fixture->readers[i]), UDS_NOT_FOUND);
		(void) is_woken(fixture, UDS_WORKER_READER + i);
	}
	/* Names of different chapters, so that each needs a page of its own. */
	for (uint32_t i = 0; i < READERS; i++)
	{
		uint32_t woken = 0;

		start_peek(fixture, &requests[i], (uint64_t) i * fixture->records);
		for (uint32_t j = 0; j < READERS; j++)
			woken += is_woken(fixture, UDS_WORKER_READER + j);
		assert_int_equal(woken, 1);
	}
	for (uint32_t i = 0; i < READERS; i++)
		assert_int_equal(uds_reader_work(fixture->readers[i]), UDS_OK);
}

static void
a_reader_that_leaves_passes_its_wake_up_on(void **state)
{
	fixture *fixture = *state;
	uds_request request;

	for (uint32_t i = 0; i < 2; i++)
	{
		attach(fixture, i);
		assert_int_equal(uds_reader_work(fixture->readers[i]), UDS_NOT_FOUND);
	}
	(void) is_woken(fixture, UDS_WORKER_READER + 1);
	start_peek(fixture, &request, 3);
	assert_true(is_woken(fixture, UDS_WORKER_READER));
	assert_false(is_woken(fixture, UDS_WORKER_READER + 1));
	detach(fixture, 0);
	assert_true(is_woken(fixture, UDS_WORKER_READER + 1));
	serve_request(fixture, 1, &request);
}

static void
the_writer_waits_for_a_reader_that_is_inside(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;

	attach(fixture, 0);
	assert_true(uds_block_enter(index, &fixture->ports[0], 0));
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_STOPPED);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	uds_block_leave(index, &fixture->ports[0], 0);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
}

static void
a_reader_stays_out_while_the_writer_has_the_index(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;

	attach(fixture, 0);
	atomic_store(&index->zones_wanted, 1);
	(void) is_woken(fixture, UDS_WORKER_WRITER);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_PENDING);
	/* The writer may just have seen it inside. */
	assert_true(is_woken(fixture, UDS_WORKER_WRITER));
	atomic_store(&index->zones_wanted, 0);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_NOT_FOUND);
}

static void
a_reader_goes_on_with_the_files_of_a_reset(void **state)
{
	fixture *fixture = *state;
	uds_request request;
	uds_statistics statistics;

	attach(fixture, 0);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_NOT_FOUND);
	assert_int_equal(engine_reset(&fixture->engine), UDS_OK);
	assert_true(is_woken(fixture, UDS_WORKER_READER));
	detach(fixture, 0);
	fill(fixture);
	attach(fixture, 0);
	start_peek(fixture, &request, 3);
	serve_request(fixture, 0, &request);
	statistics = engine_statistics(&fixture->engine);
	assert_int_equal(statistics.bad_pages, 0);
}

static void
a_reader_that_died_inside_makes_the_index_failed(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;
	uds_request request;
	char reason[256];

	attach(fixture, 0);
	assert_true(uds_block_enter(index, &fixture->ports[0], 0));
	fixture->engine.host.is_quiet = true;
	assert_int_equal(uds_reader_attach(fixture->memory[0],
	                                   index,
	                                   &fixture->ports[0],
	                                   0,
	                                   &fixture->readers[0],
	                                   &fixture->engine.error),
	                 UDS_ERR_INTERNAL);
	assert_int_equal(uds_index_state(index), UDS_STATE_FAILED);
	uds_index_reason(index, reason, sizeof(reason));
	assert_string_equal(reason, "reader 0 died inside a read");
	/* Zones let go, and the writer rebuilds. */
	assert_int_equal(uds_zone_turn(fixture->engine.zones[0]), UDS_PENDING);
	engine_settle(&fixture->engine);
	assert_int_equal(uds_index_state(index), UDS_STATE_ONLINE);
	start_peek(fixture, &request, 3);
	serve_request(fixture, 0, &request);
}

static int
fail_reads(void *context, const char *operation, const char *name)
{
	(void) context;
	return strcmp(operation, "read") == 0 && strcmp(name, UDS_VOLUME_FILE) == 0 ? EIO : 0;
}

static void
a_failed_read_is_not_found_and_counted(void **state)
{
	fixture *fixture = *state;
	uds_request request;
	uds_request *finished;

	attach(fixture, 0);
	fixture->engine.host.is_quiet = true;
	fixture->engine.host.fault = fail_reads;
	start_peek(fixture, &request, 3);
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_OK);
	assert_int_equal(advance(fixture, &finished), UDS_OK);
	assert_ptr_equal(finished, &request);
	assert_int_equal(request.status, UDS_OK);
	assert_false(request.found);
	assert_int_equal(engine_statistics(&fixture->engine).bad_pages, 1);
	assert_int_equal(uds_index_state(fixture->engine.index), UDS_STATE_ONLINE);
	/* Nothing is disabled: another name of the same chapter is read. */
	fixture->engine.host.fault = NULL;
	assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_NOT_FOUND);
	request = engine_request(&fixture->engine, UDS_PEEK, &request.name, NULL);
	start_peek(fixture, &request, 3);
	serve_request(fixture, 0, &request);
}

/* ---- order -------------------------------------------------------------------------------------- */

/* Reads take differently long, so that they end in any order. */
static int
delay_reads(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;
	uint64_t turns;

	(void) name;
	if (strcmp(operation, "read") != 0)
		return 0;
	turns = atomic_fetch_add(&fixture->random, UINT64_C(0x9e3779b97f4a7c15));
	for (turns = (turns ^ turns >> 31) % 64; turns > 0; turns--)
		sched_yield();
	return 0;
}

static void *
reader_main(void *argument)
{
	reader_thread *self = argument;
	fixture *fixture = self->fixture;

	while (!atomic_load(&fixture->must_end))
	{
		if (uds_reader_work(fixture->readers[self->number]) != UDS_OK &&
		    uds_port_wait(&fixture->ports[self->number], WAIT_MS) != UDS_OK)
			break;
	}
	return NULL;
}

/*
 * The page that a request waits for has come before the zone goes on with it: a later request for
 * the name, which would find all pages in the cache now, does not pass it.
 */
static void
a_later_request_waits_though_its_pages_are_there(void **state)
{
	fixture *fixture = *state;
	uds_zone_worker *zone = fixture->engine.zones[0];
	uds_request requests[3];
	uds_request *finished;
	uds_metadata metadata;
	uint32_t parked;

	attach(fixture, 0);
	/* Names on the two record pages of a chapter, and on its index page. */
	start_peek(fixture, &requests[0], 200);
	serve_request(fixture, 0, &requests[0]);
	for (uint32_t i = 0; i < 3; i++)
	{
		requests[i] = (uds_request){ .name = name_of(3),
			                         .operation = i == 2 ? UDS_QUERY : UDS_UPDATE,
			                         .metadata = uds_generate_metadata(3, 2 + i) };
		assert_int_equal(uds_zone_execute(zone, &requests[i], 1, &parked), UDS_OK);
		if (i == 0)
		{
			assert_int_equal(parked, 1);
			assert_int_equal(uds_reader_work(fixture->readers[0]), UDS_OK);
		}
	}
	while (uds_zone_parked(zone) > 0)
		assert_int_equal(advance(fixture, &finished), UDS_OK);
	for (uint32_t i = 0; i < 3; i++)
	{
		metadata = uds_generate_metadata(3, 1 + i);
		assert_true(requests[i].found);
		assert_memory_equal(&requests[i].found_metadata, &metadata, sizeof(metadata));
	}
}

/* Execute requests, waiting for the readers: false when nothing moves any more. */
static bool
run(fixture *fixture, uds_request *requests, uint32_t count)
{
	engine *engine = &fixture->engine;
	uint32_t parked;
	uint32_t answered;
	uint32_t waits = 0;

	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_OK);
	assert_int_equal(uds_zone_execute(engine->zones[0], requests, count, &parked), UDS_OK);
	answered = count - parked;
	while (answered < count)
	{
		uds_request *finished;
		uds_status status = advance(fixture, &finished);

		for (; finished != NULL; finished = finished->next)
			answered++;
		if (uds_writer_work(engine->writer, &engine->error) == UDS_OK || status == UDS_OK)
			waits = 0;
		else if (status == UDS_PENDING &&
		         (++waits > WAITS_MAX || uds_port_wait(&engine->zone_ports[0], WAIT_MS) != UDS_OK))
			return false;
	}
	return true;
}

#define NAMES 1500
#define GROUP 16 /* names that a batch asks for, several times each */
#define BATCH 96

static void
requests_for_a_name_keep_their_order_whatever_order_reads_end_in(void **state)
{
	fixture *fixture = *state;
	uds_metadata model[NAMES];
	uds_metadata expected[BATCH];
	uds_request requests[BATCH];
	uint32_t numbers[BATCH];
	uds_random random;

	fixture->engine.host.fault = delay_reads;
	fixture->engine.host.fault_context = fixture;
	uds_random_init(&random, 5);
	for (uint32_t i = 0; i < NAMES; i++)
		model[i] = uds_generate_metadata(i * 2, 1);
	for (uint32_t i = 0; i < READERS; i++)
	{
		attach(fixture, i);
		fixture->threads[i] = (reader_thread){ .fixture = fixture, .number = i };
		assert_int_equal(pthread_create(&fixture->threads[i].thread,
		                                NULL,
		                                reader_main,
		                                &fixture->threads[i]),
		                 0);
	}
	for (uint32_t round = 0; round < 150; round++)
	{
		uint32_t group = (uint32_t) uds_random_below(&random, NAMES - GROUP);

		for (uint32_t i = 0; i < BATCH; i++)
		{
			numbers[i] = group + (uint32_t) uds_random_below(&random, GROUP);
			requests[i] = (uds_request){
				.name = name_of((uint64_t) numbers[i] * 2),
				.operation = uds_random_one_in(&random, 3) ? UDS_UPDATE : UDS_QUERY,
				.metadata = uds_generate_metadata(round * BATCH + i, 2),
			};
			/* Names move on: fill the chapters behind them now and then. */
			if (uds_random_one_in(&random, 2))
			{
				requests[i].operation = UDS_POST;
				requests[i].name = name_of(1000000 + round * BATCH + i);
				numbers[i] = NAMES;
				continue;
			}
			expected[i] = model[numbers[i]];
			if (requests[i].operation == UDS_UPDATE)
				model[numbers[i]] = requests[i].metadata;
		}
		assert_true(run(fixture, requests, BATCH));
		for (uint32_t i = 0; i < BATCH; i++)
		{
			if (numbers[i] == NAMES)
				continue;
			assert_true(requests[i].found);
			assert_memory_equal(&requests[i].found_metadata, &expected[i], sizeof(expected[i]));
		}
	}
	atomic_store(&fixture->must_end, true);
	for (uint32_t i = 0; i < READERS; i++)
	{
		uds_port_wake(&fixture->ports[i], UDS_WORKER_READER + i);
		pthread_join(fixture->threads[i].thread, NULL);
	}
	assert_true(engine_statistics(&fixture->engine).page_reads > 100);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_zone_leaves_reads_to_the_readers_that_are_there),
		CASE(zones_read_themselves_when_the_last_reader_has_gone),
		CASE(a_queued_read_wakes_one_idle_reader),
		CASE(a_reader_that_leaves_passes_its_wake_up_on),
		CASE(the_writer_waits_for_a_reader_that_is_inside),
		CASE(a_reader_stays_out_while_the_writer_has_the_index),
		CASE(a_reader_goes_on_with_the_files_of_a_reset),
		CASE(a_reader_that_died_inside_makes_the_index_failed),
		CASE(a_failed_read_is_not_found_and_counted),
		CASE(a_later_request_waits_though_its_pages_are_there),
		CASE(requests_for_a_name_keep_their_order_whatever_order_reads_end_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
