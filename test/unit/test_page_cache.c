/*
 * test_page_cache.c: the cache delivers pages as they are on the volume, reads one page once for
 * all who ask for it, keeps what is used and what is pinned, and wakes everybody who waits for a
 * page or for a place; with many threads too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define RECORD_PAGES 2
#define CHAPTERS     64
#define SLOTS        16
#define WAIT_SECONDS 20

/* An index with a volume full of chapters, and a cache of the test's own. */
typedef struct fixture
{
	engine engine;
	uds_geometry geometry;
	uds_volume volume;
	uds_error error;
	uds_page_cache *cache;
	uint8_t *file; /* the volume */
	uint32_t chapters;
	uint32_t pages; /* of a chapter that can be asked for */
} fixture;

static uds_page_cache *
make_cache(uint32_t slots)
{
	size_t bytes = uds_page_cache_size(slots, UDS_PAGE_BYTES);
	uds_page_cache *cache = aligned_alloc(UDS_CACHE_LINE, bytes);

	assert_int_equal(bytes % UDS_CACHE_LINE, 0);
	uds_page_cache_init(cache, slots, UDS_PAGE_BYTES, 0);
	return cache;
}

static uds_volume
make_volume(fixture *fixture, uds_port *port)
{
	uds_volume volume = {
		.port = port,
		.geometry = &fixture->geometry,
		.slots = fixture->engine.index->slots,
		.nonce = &fixture->engine.index->nonce,
		.bad_pages = &fixture->engine.index->bad_pages,
	};

	assert_int_equal(uds_volume_open(&volume, UDS_FILE_READ, &fixture->error), UDS_OK);
	return volume;
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(RECORD_PAGES, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
	uint32_t records = RECORD_PAGES * UDS_RECORDS_PER_PAGE;
	uds_request *requests = calloc(records, sizeof(*requests));
	size_t bytes;

	assert_int_equal(uds_geometry_init(&fixture->geometry, &config.geometry), UDS_OK);
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	fixture->chapters = CHAPTERS - 1;
	for (uint32_t chapter = 0; chapter < fixture->chapters; chapter++)
	{
		for (uint32_t i = 0; i < records; i++)
		{
			requests[i].name = uds_generate_counter_name(chapter * records + i);
			requests[i].operation = UDS_POST;
			requests[i].metadata = uds_generate_metadata(i, chapter);
		}
		assert_int_equal(engine_run(&fixture->engine, requests, records), UDS_OK);
	}
	free(requests);
	engine_settle(&fixture->engine);
	fixture->pages = fixture->geometry.index_pages + RECORD_PAGES;
	fixture->volume = make_volume(fixture, &fixture->engine.writer_port);
	fixture->cache = make_cache(SLOTS);
	fixture->file = files_read(fixture->engine.host.directory, UDS_VOLUME_FILE, &bytes);
	for (uint32_t i = 0; i < POSIX_WORKERS_MAX; i++)
		fixture->engine.host.workers[i].is_woken = false;
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	uds_volume_close(&fixture->volume);
	engine_destroy(&fixture->engine);
	free(fixture->cache);
	free(fixture->file);
	free(fixture);
	return 0;
}

static size_t
offset_of(fixture *fixture, uint64_t chapter, uint32_t page)
{
	return (size_t) (uds_geometry_chapter_page(&fixture->geometry, (uint32_t) chapter) + page) *
	       UDS_PAGE_BYTES;
}

static bool
is_right(fixture *fixture, uint64_t chapter, uint32_t page, const uint8_t *data)
{
	return memcmp(data, fixture->file + offset_of(fixture, chapter, page), UDS_PAGE_BYTES) == 0;
}

/* Was a zone woken since the last time? */
static bool
was_woken(fixture *fixture, uint32_t zone)
{
	posix_worker *worker = &fixture->engine.host.workers[UDS_WORKER_ZONE + zone];
	bool is_woken;

	pthread_mutex_lock(&worker->mutex);
	is_woken = worker->is_woken;
	worker->is_woken = false;
	pthread_mutex_unlock(&worker->mutex);
	return is_woken;
}

static uds_status
get(fixture *fixture, uint64_t chapter, uint32_t page, uint32_t zone, uint32_t *slot,
    const uint8_t **data)
{
	uds_page found;
	uds_status status = uds_page_cache_get(fixture->cache, NULL, chapter, page, zone, &found);

	*slot = found.slot;
	*data = found.data;
	return status;
}

static void
release(fixture *fixture, uint32_t slot)
{
	uds_page_cache_release(fixture->cache, fixture->volume.port, slot);
}

static uds_status
serve(fixture *fixture)
{
	return uds_page_cache_serve(fixture->cache, &fixture->volume);
}

/* Page number i of the volume's, whatever chapter it is in. */
static uds_status
get_number(fixture *fixture, uint32_t i, uint32_t zone, uint32_t *slot, const uint8_t **data)
{
	return get(fixture, i / fixture->pages, i % fixture->pages, zone, slot, data);
}

/* Have a page in the cache, not pinned, for one zone or another; true when it was there. */
static bool
touch(fixture *fixture, uint32_t i)
{
	const uint8_t *data;
	uint32_t slot;
	uds_status status = get_number(fixture, i, i % UDS_ZONES_MAX, &slot, &data);

	if (status == UDS_PENDING)
		assert_int_equal(serve(fixture), UDS_OK);
	else
		assert_int_equal(status, UDS_OK);
	assert_int_equal(uds_page_cache_poll(fixture->cache, slot, &data), UDS_OK);
	assert_true(is_right(fixture, i / fixture->pages, i % fixture->pages, data));
	release(fixture, slot);
	return status == UDS_OK;
}

static void
pages_come_as_they_are_on_the_volume(void **state)
{
	fixture *fixture = *state;
	uint32_t count = fixture->chapters * fixture->pages;
	uint32_t at = 0;
	uds_random random;

	for (uint32_t i = 0; i < count; i++)
		assert_false(touch(fixture, i));
	/* A walk: half of the steps forward, a quarter back, a quarter nowhere. */
	uds_random_init(&random, uds_random_seed(1));
	for (uint32_t i = 0; i < 4000; i++)
	{
		uint64_t draw = uds_random_below(&random, 4);

		at = (at + (draw < 2 ? 1 : draw == 2 ? count - 1 : 0)) % count;
		(void) touch(fixture, at);
	}
	assert_true(uds_page_cache_reads(fixture->cache) < count + 4000);
	assert_int_equal(serve(fixture), UDS_NOT_FOUND);
}

static void
used_pages_stay_and_unused_ones_go(void **state)
{
	fixture *fixture = *state;

	for (uint32_t i = 0; i < SLOTS; i++)
		assert_false(touch(fixture, i));
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_true(touch(fixture, i));
	assert_int_equal(uds_page_cache_reads(fixture->cache), SLOTS);
	/* All have been used: a round clears the marks and the first one goes. */
	assert_false(touch(fixture, 100));
	for (uint32_t i = 2; i < SLOTS; i += 2)
		assert_true(touch(fixture, i));
	/* The odd ones go now. */
	for (uint32_t i = 0; i < SLOTS / 2; i++)
		assert_false(touch(fixture, 150 + i));
	for (uint32_t i = 2; i < SLOTS; i += 2)
		assert_true(touch(fixture, i));
	for (uint32_t i = 1; i < SLOTS; i += 2)
		assert_false(touch(fixture, i));
}

static void
many_requests_for_a_page_cause_one_read(void **state)
{
	fixture *fixture = *state;
	uint32_t slots[200];
	const uint8_t *data;

	for (uint32_t i = 0; i < 200; i++)
	{
		assert_int_equal(get_number(fixture, 7, i % UDS_ZONES_MAX, &slots[i], &data), UDS_PENDING);
		assert_int_equal(slots[i], slots[0]);
		assert_int_equal(uds_page_cache_poll(fixture->cache, slots[i], &data), UDS_PENDING);
	}
	assert_int_equal(uds_page_cache_queued(fixture->cache), 1);
	assert_int_equal(serve(fixture), UDS_OK);
	assert_int_equal(uds_page_cache_queued(fixture->cache), 0);
	assert_int_equal(serve(fixture), UDS_NOT_FOUND);
	assert_int_equal(uds_page_cache_reads(fixture->cache), 1);
	for (uint32_t zone = 0; zone < UDS_ZONES_MAX; zone++)
		assert_true(was_woken(fixture, zone));
	for (uint32_t i = 0; i < 200; i++)
	{
		assert_int_equal(uds_page_cache_poll(fixture->cache, slots[i], &data), UDS_OK);
		assert_true(is_right(fixture, 7 / fixture->pages, 7 % fixture->pages, data));
		release(fixture, slots[i]);
	}
	assert_true(touch(fixture, 7));
}

static void
reads_are_performed_in_their_order(void **state)
{
	fixture *fixture = *state;
	uint32_t slots[SLOTS];
	uint32_t done = 0;
	const uint8_t *data;

	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(get_number(fixture, i, 0, &slots[i], &data), UDS_PENDING);
	while (done < SLOTS)
	{
		uint32_t before = done;

		assert_int_equal(uds_page_cache_poll(fixture->cache, slots[done], &data), UDS_PENDING);
		assert_int_equal(serve(fixture), UDS_OK);
		while (done < SLOTS && uds_page_cache_poll(fixture->cache, slots[done], &data) == UDS_OK)
		{
			assert_true(is_right(fixture, done / fixture->pages, done % fixture->pages, data));
			done++;
		}
		assert_true(done > before);
		for (uint32_t i = done; i < SLOTS; i++)
			assert_int_equal(uds_page_cache_poll(fixture->cache, slots[i], &data), UDS_PENDING);
	}
	assert_int_equal(serve(fixture), UDS_NOT_FOUND);
}

/* With the system's memory asked first, nothing is queued, and a bad page is told at once. */
static void
pages_that_the_system_has_in_memory_are_read_at_once(void **state)
{
	fixture *fixture = *state;
	uds_page page;

	fixture->engine.host.memory = POSIX_MEMORY_FULL;
	for (uint32_t i = 0; i < 2; i++)
	{
		assert_int_equal(uds_page_cache_get(fixture->cache, &fixture->volume, 5, 1, 0, &page),
		                 UDS_OK);
		assert_int_equal(page.was_there, i == 1);
		assert_true(is_right(fixture, 5, 1, page.data));
		release(fixture, page.slot);
	}
	assert_int_equal(uds_page_cache_get(fixture->cache, &fixture->volume, CHAPTERS, 0, 0, &page),
	                 UDS_NOT_FOUND);
	assert_int_equal(page.slot, UDS_PAGE_SLOT_NONE);
	assert_int_equal(serve(fixture), UDS_NOT_FOUND);
	assert_int_equal(uds_page_cache_reads(fixture->cache), 2);
}

static void
pinned_pages_stay_and_who_finds_no_place_is_woken(void **state)
{
	fixture *fixture = *state;
	uint32_t slots[SLOTS];
	uint32_t slot;
	const uint8_t *data;
	const uint8_t *pinned;

	for (uint32_t i = 0; i < SLOTS; i++)
	{
		assert_int_equal(get_number(fixture, i, 0, &slots[i], &data), UDS_PENDING);
		assert_int_equal(serve(fixture), UDS_OK);
	}
	assert_int_equal(uds_page_cache_poll(fixture->cache, slots[3], &pinned), UDS_OK);
	assert_int_equal(get_number(fixture, 50, 3, &slot, &data), UDS_OVERFLOW);
	assert_int_equal(slot, UDS_PAGE_SLOT_NONE);
	assert_int_equal(get_number(fixture, 51, 5, &slot, &data), UDS_OVERFLOW);
	assert_false(was_woken(fixture, 3));
	/* Those that are there can be had. */
	assert_int_equal(get_number(fixture, 3, 5, &slot, &data), UDS_OK);
	assert_ptr_equal(data, pinned);
	assert_true(is_right(fixture, 3 / fixture->pages, 3 % fixture->pages, data));
	/* Two pins: the first one given back frees nothing, but wakes. */
	release(fixture, slot);
	assert_true(was_woken(fixture, 3));
	assert_true(was_woken(fixture, 5));
	assert_int_equal(get_number(fixture, 50, 3, &slot, &data), UDS_OVERFLOW);
	release(fixture, slots[9]);
	assert_true(was_woken(fixture, 3));
	assert_false(was_woken(fixture, 5));
	assert_int_equal(get_number(fixture, 50, 3, &slot, &data), UDS_PENDING);
	assert_int_equal(slot, slots[9]);
	assert_int_equal(serve(fixture), UDS_OK);
	assert_int_equal(uds_page_cache_poll(fixture->cache, slot, &data), UDS_OK);
	assert_true(is_right(fixture, 50 / fixture->pages, 50 % fixture->pages, data));
	assert_true(is_right(fixture, 3 / fixture->pages, 3 % fixture->pages, pinned));
}

/* A request gives up its page before it is read; the read is what makes the slot free. */
static void
an_abandoned_read_frees_its_slot_for_who_waits(void **state)
{
	fixture *fixture = *state;
	uint32_t slots[SLOTS];
	uint32_t slot;
	const uint8_t *data;

	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(get_number(fixture, i, 0, &slots[i], &data), UDS_PENDING);
	release(fixture, slots[0]);
	assert_int_equal(get_number(fixture, 50, 4, &slot, &data), UDS_OVERFLOW);
	assert_int_equal(serve(fixture), UDS_OK);
	assert_true(was_woken(fixture, 4));
	assert_int_equal(get_number(fixture, 50, 4, &slot, &data), UDS_PENDING);
	assert_int_equal(slot, slots[0]);
}

static void
a_bad_page_is_told_to_all_and_can_be_read_again(void **state)
{
	fixture *fixture = *state;
	const char *directory = fixture->engine.host.directory;
	size_t byte = offset_of(fixture, 2, 1) + 50;
	uint32_t slots[2];
	uint32_t slot;
	const uint8_t *data;

	files_flip_bit(directory, UDS_VOLUME_FILE, byte, 3);
	assert_int_equal(get(fixture, 2, 1, 0, &slots[0], &data), UDS_PENDING);
	assert_int_equal(get(fixture, 2, 1, 1, &slots[1], &data), UDS_PENDING);
	assert_int_equal(serve(fixture), UDS_OK);
	assert_true(was_woken(fixture, 0));
	assert_true(was_woken(fixture, 1));
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(uds_page_cache_poll(fixture->cache, slots[i], &data), UDS_NOT_FOUND);
	assert_int_equal(get(fixture, 2, 1, 2, &slot, &data), UDS_NOT_FOUND);
	assert_int_equal(slot, UDS_PAGE_SLOT_NONE);
	release(fixture, slots[0]);
	release(fixture, slots[1]);
	assert_int_equal(get(fixture, 2, 1, 2, &slot, &data), UDS_NOT_FOUND);
	/* Nobody holds it any more: it is read again. */
	files_flip_bit(directory, UDS_VOLUME_FILE, byte, 3);
	assert_int_equal(get(fixture, 2, 1, 2, &slot, &data), UDS_PENDING);
	assert_int_equal(serve(fixture), UDS_OK);
	assert_int_equal(uds_page_cache_poll(fixture->cache, slot, &data), UDS_OK);
	assert_true(is_right(fixture, 2, 1, data));
	assert_int_equal(atomic_load(&fixture->engine.index->bad_pages), 1);
}

/* Bad pages are the first to go, and do not fill the cache. */
static void
bad_pages_leave_the_cache(void **state)
{
	fixture *fixture = *state;
	uint32_t slot;
	const uint8_t *data;

	files_resize(fixture->engine.host.directory, UDS_VOLUME_FILE, offset_of(fixture, 8, 0));
	for (uint32_t i = 0; i < 100; i++)
	{
		assert_int_equal(get_number(fixture, 8 * fixture->pages + i, 0, &slot, &data), UDS_PENDING);
		assert_int_equal(serve(fixture), UDS_OK);
		assert_int_equal(uds_page_cache_poll(fixture->cache, slot, &data), UDS_NOT_FOUND);
		release(fixture, slot);
	}
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_false(touch(fixture, i));
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_true(touch(fixture, i));
}

static void
a_page_of_an_expired_chapter_is_not_found(void **state)
{
	fixture *fixture = *state;
	uint32_t slot;
	const uint8_t *data;

	assert_int_equal(get(fixture, 5, 0, 0, &slot, &data), UDS_PENDING);
	atomic_store(&fixture->engine.index->slots[5].chapter, 5 + CHAPTERS);
	assert_int_equal(serve(fixture), UDS_OK);
	assert_int_equal(uds_page_cache_poll(fixture->cache, slot, &data), UDS_NOT_FOUND);
	assert_int_equal(atomic_load(&fixture->engine.index->bad_pages), 0);
}

/* A cache of any size holds as many pages as it says, whatever its shards. */
static void
caches_of_all_sizes_work(void **state)
{
	static const uint32_t sizes[] = { 16, 17, 31, 32, 33, 100, 255, 1024 };
	fixture *fixture = *state;

	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		uint64_t reads;

		free(fixture->cache);
		fixture->cache = make_cache(sizes[i]);
		for (uint32_t round = 0; round < 3; round++)
		{
			for (uint32_t page = 0; page < fixture->chapters * fixture->pages; page++)
				(void) touch(fixture, page);
		}
		reads = uds_page_cache_reads(fixture->cache);
		if (sizes[i] == 1024)
			assert_int_equal(reads, fixture->chapters * fixture->pages);
		else if (sizes[i] < 64)
			assert_true(reads > 2 * fixture->chapters * fixture->pages);
	}
}

/* ---- threads ---------------------------------------------------------------------------------- */

#define ZONES   4
#define SERVERS 2
#define PENDING 8 /* pages that a zone waits for at once */
#define LOOKUPS 10000

typedef struct stress
{
	fixture *fixture;
	uds_page_cache *cache;
	_Atomic uint32_t running; /* zones */
	_Atomic uint64_t wrong;
	_Atomic uint64_t lost_wakes;
	_Atomic uint64_t done;
} stress;

typedef struct stress_thread
{
	stress *stress;
	uint32_t number;
	pthread_t thread;
} stress_thread;

typedef struct lookup
{
	uint64_t chapter;
	uint32_t page;
	uint32_t slot;
	bool is_active;
} lookup;

/* Wait until a zone is woken; false when that takes too long. */
static bool
wait_for_wake(posix_host *host, uint32_t zone)
{
	posix_worker *worker = &host->workers[UDS_WORKER_ZONE + zone];
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

/* Go on with a lookup; true when it is finished. */
static bool
go_on(stress *stress, lookup *lookup, uint32_t zone, uds_volume *volume, bool *has_progress)
{
	const uint8_t *data;
	uds_status status;

	if (lookup->slot != UDS_PAGE_SLOT_NONE)
		status = uds_page_cache_poll(stress->cache, lookup->slot, &data);
	else
	{
		uds_page found;

		status =
			uds_page_cache_get(stress->cache, volume, lookup->chapter, lookup->page, zone, &found);
		lookup->slot = found.slot;
		data = found.data;
		if (status == UDS_PENDING)
			*has_progress = true;
	}
	if (status == UDS_PENDING || status == UDS_OVERFLOW)
		return false;
	if (status != UDS_OK || !is_right(stress->fixture, lookup->chapter, lookup->page, data))
		atomic_fetch_add(&stress->wrong, 1);
	if (lookup->slot != UDS_PAGE_SLOT_NONE)
		uds_page_cache_release(stress->cache, volume->port, lookup->slot);
	return true;
}

static void *
zone_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	fixture *fixture = stress->fixture;
	uds_port port = posix_port(&fixture->engine.host, UDS_WORKER_ZONE + self->number);
	uds_volume volume = make_volume(fixture, &port);
	lookup lookups[PENDING] = { 0 };
	uint32_t started = 0;
	uint32_t finished = 0;
	uds_random random;

	uds_random_init(&random, self->number + 1);
	while (finished < LOOKUPS)
	{
		bool has_progress = false;

		for (uint32_t i = 0; i < PENDING; i++)
		{
			if (!lookups[i].is_active && started < LOOKUPS)
			{
				lookups[i] = (lookup){ .chapter = uds_random_below(&random, 12),
					                   .page = (uint32_t) uds_random_below(&random, fixture->pages),
					                   .slot = UDS_PAGE_SLOT_NONE,
					                   .is_active = true };
				started++;
			}
			if (lookups[i].is_active &&
			    go_on(stress, &lookups[i], self->number, &volume, &has_progress))
			{
				lookups[i].is_active = false;
				finished++;
				has_progress = true;
			}
			/* Some give up their page before it is there. */
			if (lookups[i].is_active && lookups[i].slot != UDS_PAGE_SLOT_NONE &&
			    uds_random_one_in(&random, 50))
			{
				uds_page_cache_release(stress->cache, &port, lookups[i].slot);
				lookups[i].slot = UDS_PAGE_SLOT_NONE;
				has_progress = true;
			}
		}
		/* Half of the zones serve, as zone workers do; the others trust in who does. */
		if (self->number % 2 == 0 && uds_page_cache_serve(stress->cache, &volume) == UDS_OK)
			has_progress = true;
		if (!has_progress && !wait_for_wake(&fixture->engine.host, self->number))
		{
			atomic_fetch_add(&stress->lost_wakes, 1);
			break;
		}
	}
	atomic_fetch_add(&stress->done, finished);
	uds_volume_close(&volume);
	atomic_fetch_sub(&stress->running, 1);
	return NULL;
}

static void *
server_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_port port = posix_port(&stress->fixture->engine.host, UDS_WORKER_WRITER);
	uds_volume volume = make_volume(stress->fixture, &port);

	while (atomic_load(&stress->running) > 0)
	{
		if (uds_page_cache_serve(stress->cache, &volume) != UDS_OK)
			sched_yield();
	}
	uds_volume_close(&volume);
	return NULL;
}

/* More lookups are under way than the cache has slots: everybody is served nevertheless. */
static void
run_stress(fixture *fixture)
{
	stress stress = { .fixture = fixture, .cache = fixture->cache, .running = ZONES };
	stress_thread threads[ZONES + SERVERS];

	for (uint32_t i = 0; i < ZONES + SERVERS; i++)
	{
		threads[i] = (stress_thread){ .stress = &stress, .number = i };
		assert_int_equal(pthread_create(&threads[i].thread,
		                                NULL,
		                                i < ZONES ? zone_main : server_main,
		                                &threads[i]),
		                 0);
	}
	for (uint32_t i = 0; i < ZONES + SERVERS; i++)
		pthread_join(threads[i].thread, NULL);
	assert_int_equal(atomic_load(&stress.lost_wakes), 0);
	assert_int_equal(atomic_load(&stress.wrong), 0);
	assert_int_equal(atomic_load(&stress.done), ZONES * LOOKUPS);
	assert_int_equal(atomic_load(&fixture->engine.index->bad_pages), 0);
}

static void
threads_get_right_pages_and_no_wake_is_lost(void **state)
{
	run_stress(*state);
}

static void
the_same_while_the_system_has_pages_in_memory(void **state)
{
	fixture *fixture = *state;

	fixture->engine.host.memory = POSIX_MEMORY_FULL;
	run_stress(fixture);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(pages_come_as_they_are_on_the_volume),
		CASE(used_pages_stay_and_unused_ones_go),
		CASE(many_requests_for_a_page_cause_one_read),
		CASE(reads_are_performed_in_their_order),
		CASE(pages_that_the_system_has_in_memory_are_read_at_once),
		CASE(pinned_pages_stay_and_who_finds_no_place_is_woken),
		CASE(an_abandoned_read_frees_its_slot_for_who_waits),
		CASE(a_bad_page_is_told_to_all_and_can_be_read_again),
		CASE(bad_pages_leave_the_cache),
		CASE(a_page_of_an_expired_chapter_is_not_found),
		CASE(caches_of_all_sizes_work),
		CASE(threads_get_right_pages_and_no_wake_is_lost),
		CASE(the_same_while_the_system_has_pages_in_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
