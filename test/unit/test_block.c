/*
 * test_block.c: the shared block has the size it says, gives away each position of a chapter once,
 * assigns every name to one zone, and tells its state and reason to anybody at any time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/generate.h"

typedef struct fixture
{
	posix_host host;
	uds_port port;
	uds_config config;
	uds_index *index;
	size_t bytes;
} fixture;

/* A block of this configuration, laid out, with chapter newest open. */
static void
begin(fixture *fixture, const uds_config *config, uint64_t newest)
{
	memset(fixture, 0, sizeof(*fixture));
	posix_host_init(&fixture->host, "/nonexistent");
	fixture->host.is_quiet = true;
	fixture->port = posix_port(&fixture->host, UDS_WORKER_WRITER);
	fixture->config = *config;
	fixture->bytes = uds_index_size(config);
	assert_true(fixture->bytes > 0);
	fixture->index = aligned_alloc(UDS_CACHE_LINE, fixture->bytes);
	memset(fixture->index, 0, fixture->bytes);
	assert_int_equal(uds_block_lay_out(fixture->index, &fixture->port, config, true), UDS_OK);
	assert_int_equal(uds_block_begin_chapter(fixture->index, newest), UDS_OK);
}

static void
end(fixture *fixture)
{
	free(fixture->index);
	posix_host_destroy(&fixture->host);
}

/* ---- sizes ------------------------------------------------------------------------------------ */

static void
settings_become_a_configuration(void **state)
{
	static const struct
	{
		uint32_t memory_mb;
		uint64_t window;
		uint64_t chapters;
		uint64_t records;
	} expected[] = {
		{ 4, 1040384, 128, 8128 },
		{ 64, 16646144, 1024, 16256 },
		{ 256, 66584576, 1024, 65024 },
		{ 1024, 266338304, 1024, 260096 },
	};

	(void) state;
	for (uint32_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
	{
		for (uds_index_structure structure = 0; structure < 2; structure++)
		{
			uds_config config;
			uds_sizes sizes;
			uds_error error;

			assert_int_equal(uds_config_init(&config,
			                                 expected[i].memory_mb,
			                                 structure,
			                                 false,
			                                 1,
			                                 16 << 20,
			                                 &error),
			                 UDS_OK);
			assert_int_equal(uds_config_sizes(&config, &sizes), UDS_OK);
			assert_int_equal(sizes.window, expected[i].window);
			assert_int_equal(sizes.chapters, expected[i].chapters);
			assert_int_equal(sizes.records_per_chapter, expected[i].records);
			assert_int_equal(sizes.index_memory + sizes.cache_memory, uds_index_size(&config));
			assert_int_equal(uds_index_size(&config) % UDS_CACHE_LINE, 0);
			assert_true(sizes.cache_memory >= 16 << 20);
			assert_true(sizes.cache_memory < 17 << 20);
			/* The promise of the design; small windows pay for the chapters in memory. */
			if (expected[i].memory_mb >= 256)
				assert_true(sizes.index_memory < sizes.window * 39 / 10);
			assert_true(sizes.volume_bytes < sizes.window * 363 / 10);
			assert_true(sizes.checkpoint_bytes < sizes.index_memory);
		}
	}
}

/* The promise of sparse indexes: everything but the page cache, by record of the window. */
static void
sparse_indexes_take_less_than_half_a_byte_a_record(void **state)
{
	static const uint32_t sizes_mb[] = { 64, 256, 1024 };

	(void) state;
	for (uint32_t i = 0; i < 3; i++)
	{
		uds_config config;
		uds_sizes sizes;
		uds_error error;
		double bytes;

		assert_int_equal(uds_config_init(&config,
		                                 sizes_mb[i],
		                                 UDS_STRUCTURE_BUCKETS,
		                                 true,
		                                 1,
		                                 16 << 20,
		                                 &error),
		                 UDS_OK);
		assert_int_equal(uds_config_sizes(&config, &sizes), UDS_OK);
		assert_int_equal(sizes.chapters, 10240);
		assert_int_equal(sizes.window, UINT64_C(10240) * sizes.records_per_chapter);
		bytes = (double) sizes.index_memory / (double) sizes.window;
		print_message("%4u MB sparse: %.3f bytes a record\n", sizes_mb[i], bytes);
		assert_true(bytes < 0.45);
	}
}

/* A reduced volume finds the room that its settings were given. */
static void
reduced_indexes_take_the_same_room(void **state)
{
	(void) state;
	for (uint32_t memory = UDS_MEMORY_MB_MIN; memory <= 4096; memory += 1 + memory / 3)
	{
		for (uint32_t variant = 0; variant < 16; variant++)
		{
			uint32_t zones = (uint32_t[]){ 1, 2, 5, 16 }[variant / 4];
			uds_config config;
			uds_config reduced;
			uds_sizes sizes[2];
			uds_error error;
			uds_status status = uds_config_init(&config,
			                                    memory,
			                                    variant % 2,
			                                    variant / 2 % 2 != 0,
			                                    zones,
			                                    1 << 20,
			                                    &error);

			/* Few records do not make many zones. */
			if (status != UDS_OK && memory < 64)
				continue;
			assert_int_equal(status, UDS_OK);
			reduced = config;
			(void) uds_geometry_reduce(&reduced.geometry, 1000 + memory);
			assert_true(uds_index_size(&config) > 0);
			assert_int_equal(uds_index_size(&reduced), uds_index_size(&config));
			assert_int_equal(uds_config_sizes(&config, &sizes[0]), UDS_OK);
			assert_int_equal(uds_config_sizes(&reduced, &sizes[1]), UDS_OK);
			assert_int_equal(sizes[1].chapters, sizes[0].chapters - 1);
			assert_int_equal(sizes[1].window, sizes[0].window - sizes[0].records_per_chapter);
			assert_int_equal(sizes[1].index_memory, sizes[0].index_memory);
			assert_int_equal(sizes[1].checkpoint_bytes, sizes[0].checkpoint_bytes);
			assert_true(sizes[1].volume_bytes < sizes[0].volume_bytes);
		}
	}
}

/* Laid out for one geometry and the other, it has its parts where they were. */
static void
a_conversion_leaves_all_parts_in_their_places(void **state)
{
	uds_config config = engine_config(8, 16, 3, UDS_STRUCTURE_BUCKETS);
	uds_config reduced = config;
	uds_geometry geometry;
	uds_index before;
	fixture fixture;

	(void) state;
	(void) uds_geometry_reduce(&reduced.geometry, 21);
	for (int first = 0; first < 2; first++)
	{
		begin(&fixture, first == 0 ? &config : &reduced, 30);
		before = *fixture.index;
		for (int i = 0; i < 4; i++)
		{
			bool is_reduced = i % 2 == first;

			assert_int_equal(uds_block_lay_out(fixture.index,
			                                   &fixture.port,
			                                   is_reduced ? &reduced : &config,
			                                   false),
			                 UDS_OK);
			assert_int_equal(uds_block_begin_chapter(fixture.index, 30), UDS_OK);
			uds_block_geometry(fixture.index, &geometry);
			assert_int_equal(geometry.parameters.is_reduced, is_reduced);
			assert_int_equal(geometry.parameters.chapters, is_reduced ? 15 : 16);
			assert_int_equal(geometry.parameters.remapped_virtual, is_reduced ? 16 : 0);
			assert_int_equal(geometry.parameters.remapped_physical, is_reduced ? 4 : 0);
			assert_int_equal(fixture.index->geometry.parameters.chapters, is_reduced ? 15 : 16);
			assert_int_equal(fixture.index->config.geometry.chapters, 16);
			assert_ptr_equal(fixture.index->slots, before.slots);
			assert_ptr_equal(fixture.index->page_map, before.page_map);
			assert_ptr_equal(fixture.index->page_cache, before.page_cache);
			assert_ptr_equal(fixture.index->zones[2].shares[3], before.zones[2].shares[3]);
			assert_int_equal(fixture.index->block_bytes, fixture.bytes);
		}
		end(&fixture);
	}
}

/* Before the first layout there is no geometry. */
static void
nothing_is_known_of_an_unused_block(void **state)
{
	uds_config config = engine_config(8, 16, 1, UDS_STRUCTURE_BUCKETS);
	uds_index *index = aligned_alloc(UDS_CACHE_LINE, UDS_ALIGN(sizeof(*index), UDS_CACHE_LINE));
	uds_geometry geometry;

	(void) state;
	memset(index, 0, sizeof(*index));
	uds_block_geometry(index, &geometry);
	assert_int_equal(geometry.pages_per_chapter, 0);
	uds_index_configuration(index, &config);
	assert_int_equal(config.geometry.chapters, 16);
	free(index);
}

static void
chapters_in_memory_are_dense(void **state)
{
	uds_config config = engine_config(8, 16, 1, UDS_STRUCTURE_BUCKETS);
	uds_sizes sizes;

	(void) state;
	config.geometry.sample_rate = 4;
	config.geometry.sparse_chapters = 16 - UDS_CHAPTER_BUFFERS - 1;
	assert_true(uds_index_size(&config) > 0);
	assert_int_equal(uds_config_sizes(&config, &sizes), UDS_OK);
	config.geometry.sparse_chapters++;
	assert_int_equal(uds_index_size(&config), 0);
	assert_int_equal(uds_config_sizes(&config, &sizes), UDS_ERR_ARGUMENT);
	/* Sparse without a sample rate. */
	config.geometry.sparse_chapters = 8;
	config.geometry.sample_rate = 0;
	assert_int_equal(uds_index_size(&config), 0);
}

static void
settings_out_of_range_are_refused(void **state)
{
	uds_config config;
	uds_sizes sizes;
	uds_error error;

	(void) state;
	assert_int_equal(uds_config_init(&config, 3, 0, false, 1, 0, &error), UDS_ERR_ARGUMENT);
	assert_non_null(strstr(error.message, "3 MB"));
	assert_int_equal(uds_config_init(&config, UDS_MEMORY_MB_MAX + 1, 0, false, 1, 0, &error),
	                 UDS_ERR_ARGUMENT);
	assert_int_equal(uds_config_init(&config, 4, 0, false, 0, 0, &error), UDS_ERR_ARGUMENT);
	assert_int_equal(uds_config_init(&config, 4, 0, false, UDS_ZONES_MAX + 1, 0, &error),
	                 UDS_ERR_ARGUMENT);
	/* 8128 records a chapter are enough for 16 zones, but not with 500 records for each of 17. */
	assert_int_equal(uds_config_init(&config, 4, 0, false, UDS_ZONES_MAX, 0, &error), UDS_OK);
	config = engine_config(1, 1, 1, UDS_STRUCTURE_BUCKETS);
	assert_int_equal(uds_index_size(&config), 0);
	assert_int_equal(uds_config_sizes(&config, &sizes), UDS_ERR_ARGUMENT);
	config = engine_config(1, 8, 0, UDS_STRUCTURE_BUCKETS);
	assert_int_equal(uds_index_size(&config), 0);
	config = engine_config(1, 8, UDS_ZONES_MAX + 1, UDS_STRUCTURE_BUCKETS);
	assert_int_equal(uds_index_size(&config), 0);
}

static void
a_larger_cache_makes_a_larger_block(void **state)
{
	uds_config config = engine_config(2, 8, 1, UDS_STRUCTURE_BUCKETS);
	size_t least;

	(void) state;
	config.page_cache_bytes = 0;
	least = uds_index_size(&config);
	config.page_cache_bytes = UDS_PAGE_CACHE_PAGES_MIN * UDS_PAGE_BYTES;
	assert_int_equal(uds_index_size(&config), least);
	config.page_cache_bytes += 100 * UDS_PAGE_BYTES;
	assert_true(uds_index_size(&config) >= least + 100 * UDS_PAGE_BYTES);
}

/* ---- shares and claims ------------------------------------------------------------------------ */

static void
shares_take_what_uniform_names_need(void **state)
{
	static const uint32_t record_pages[] = { 1, 4, 64, 2048 };

	(void) state;
	for (uint32_t i = 0; i < 4; i++)
	{
		uds_config config = engine_config(record_pages[i], 8, 1, UDS_STRUCTURE_BUCKETS);
		uds_geometry geometry;

		assert_int_equal(uds_geometry_init(&geometry, &config.geometry), UDS_OK);
		for (uint32_t zones = 1; zones <= UDS_ZONES_MAX; zones++)
		{
			uint32_t capacity = uds_block_share_capacity(&geometry, zones);

			assert_true(capacity <= geometry.records_per_chapter);
			assert_true((uint64_t) capacity * zones >= geometry.records_per_chapter);
			if (zones == 1)
				assert_int_equal(capacity, geometry.records_per_chapter);
			else if (record_pages[i] == 2048)
				assert_true(capacity < geometry.records_per_chapter / zones * 9 / 8 + 300);
		}
	}
}

static void
one_zone_claims_the_whole_chapter(void **state)
{
	uds_config config = engine_config(3, 8, 1, UDS_STRUCTURE_BUCKETS);
	fixture fixture;

	(void) state;
	begin(&fixture, &config, 7);
	assert_int_equal(uds_block_claim(fixture.index, 7), 3 * UDS_RECORDS_PER_PAGE);
	assert_int_equal(uds_block_claim(fixture.index, 7), 0);
	/* The next chapter has its own positions. */
	assert_int_equal(uds_block_claim(fixture.index, 8), 3 * UDS_RECORDS_PER_PAGE);
	assert_int_equal(uds_block_claim(fixture.index, 7), 0);
	end(&fixture);
}

#define CLAIMERS       4
#define CLAIM_CHAPTERS 200

typedef struct claimer
{
	fixture *fixture;
	pthread_t thread;
	pthread_barrier_t *barrier;
	uint32_t granted[CLAIM_CHAPTERS];
} claimer;

static void *
claimer_main(void *argument)
{
	claimer *claimer = argument;

	for (uint32_t chapter = 0; chapter < CLAIM_CHAPTERS; chapter++)
	{
		uint32_t granted;

		/* Zones are at most three chapters apart. */
		if (chapter % (UDS_CHAPTER_BUFFERS - 1) == 0)
			pthread_barrier_wait(claimer->barrier);
		while ((granted = uds_block_claim(claimer->fixture->index, chapter)) > 0)
			claimer->granted[chapter] += granted;
	}
	return NULL;
}

static void
zones_claim_each_position_once(void **state)
{
	uds_config config = engine_config(16, 8, CLAIMERS, UDS_STRUCTURE_BUCKETS);
	claimer *claimers = calloc(CLAIMERS, sizeof(*claimers));
	pthread_barrier_t barrier;
	fixture fixture;

	(void) state;
	begin(&fixture, &config, 0);
	pthread_barrier_init(&barrier, NULL, CLAIMERS);
	for (uint32_t i = 0; i < CLAIMERS; i++)
	{
		claimers[i].fixture = &fixture;
		claimers[i].barrier = &barrier;
		assert_int_equal(pthread_create(&claimers[i].thread, NULL, claimer_main, &claimers[i]), 0);
	}
	for (uint32_t i = 0; i < CLAIMERS; i++)
		pthread_join(claimers[i].thread, NULL);
	for (uint32_t chapter = 0; chapter < CLAIM_CHAPTERS; chapter++)
	{
		uint32_t total = 0;

		for (uint32_t i = 0; i < CLAIMERS; i++)
			total += claimers[i].granted[chapter];
		assert_int_equal(total, 16 * UDS_RECORDS_PER_PAGE);
	}
	pthread_barrier_destroy(&barrier);
	end(&fixture);
	free(claimers);
}

/* ---- zones ------------------------------------------------------------------------------------ */

static void
every_name_has_its_zone_of(uds_index_structure structure, uint32_t sample_rate)
{
	for (uint32_t zones = 1; zones <= UDS_ZONES_MAX; zones++)
	{
		uds_config config = engine_config(64, 128, zones, structure);
		uint32_t counts[UDS_ZONES_MAX] = { 0 };
		fixture fixture;

		config.geometry.sample_rate = sample_rate;
		config.geometry.sparse_chapters = sample_rate == 0 ? 0 : 113;
		begin(&fixture, &config, 0);
		for (uint32_t i = 0; i < 8000; i++)
		{
			uds_name name = uds_generate_counter_name(i);
			uint32_t zone = uds_index_zone_of(fixture.index, &name);

			assert_true(zone < zones);
			assert_int_equal(zone, uds_volume_index_zone(&fixture.index->volume_index, &name));
			counts[zone]++;
		}
		/* Nearly the same number of names each. */
		for (uint32_t i = 0; i < zones; i++)
			assert_in_range(counts[i], 8000 / zones * 7 / 10, 8000 / zones * 13 / 10);
		/* On both sides of each limit, of hooks and of other names. */
		for (uint32_t i = 0; i < 2 * zones; i++)
		{
			uint32_t is_hook = sample_rate == 0 ? 0 : i % 2;
			uint32_t sampling = is_hook ? 2 * sample_rate : 2 * sample_rate + 1;
			uint32_t zone = i / 2;
			uint64_t limit = fixture.index->zone_limits[is_hook][zone];
			uds_name name = uds_generate_name(limit, 0, sampling);

			assert_int_equal(uds_index_zone_of(fixture.index, &name), zone);
			assert_int_equal(uds_volume_index_zone(&fixture.index->volume_index, &name), zone);
			name = uds_generate_name(limit - 1, UINT64_MAX, sampling);
			assert_int_equal(uds_index_zone_of(fixture.index, &name),
			                 zone > 0 ? zone - 1 : zones - 1);
			assert_int_equal(uds_index_zone_of(fixture.index, &name),
			                 uds_volume_index_zone(&fixture.index->volume_index, &name));
		}
		end(&fixture);
	}
}

static void
every_name_has_its_zone(void **state)
{
	(void) state;
	every_name_has_its_zone_of(UDS_STRUCTURE_BUCKETS, 0);
	every_name_has_its_zone_of(UDS_STRUCTURE_LISTS, 0);
	every_name_has_its_zone_of(UDS_STRUCTURE_BUCKETS, 4);
	every_name_has_its_zone_of(UDS_STRUCTURE_LISTS, 4);
}

/* ---- life of the block ------------------------------------------------------------------------ */

static void
a_zero_block_says_that_nothing_is_there(void **state)
{
	uds_config config = engine_config(2, 8, 2, UDS_STRUCTURE_BUCKETS);
	size_t bytes = uds_index_size(&config);
	uds_index *index = aligned_alloc(UDS_CACHE_LINE, bytes);
	uds_statistics statistics;
	uds_statistics none = { 0 };
	uds_zone_statistics zone;
	uds_zone_statistics no_zone = { 0 };
	char reason[64] = "x";
	uint8_t key[16];

	(void) state;
	memset(index, 0, bytes);
	assert_int_equal(uds_index_state(index), UDS_STATE_NONE);
	uds_index_reason(index, reason, sizeof(reason));
	assert_string_equal(reason, "");
	assert_int_equal(uds_index_name_key(index, key), UDS_ERR_STATE);
	uds_index_statistics(index, &statistics);
	assert_memory_equal(&statistics, &none, sizeof(none));
	uds_index_zone_statistics(index, 1, &zone);
	assert_memory_equal(&zone, &no_zone, sizeof(no_zone));
	uds_index_reset_statistics(index);
	free(index);
}

static void
a_second_layout_forgets_the_first(void **state)
{
	uds_config config = engine_config(2, 8, 2, UDS_STRUCTURE_BUCKETS);
	uds_name name = uds_generate_counter_name(3);
	uds_index_entry entry;
	uds_zone_statistics zone;
	fixture fixture;
	uint64_t epoch;

	(void) state;
	begin(&fixture, &config, 5);
	epoch = atomic_load(&fixture.index->epoch);
	assert_true(epoch > 0);
	assert_int_equal(uds_volume_index_get(&fixture.index->volume_index, &name, &entry), UDS_OK);
	assert_int_equal(uds_volume_index_put(&fixture.index->volume_index, &entry, 5), UDS_OK);
	uds_index_zone_statistics(fixture.index, 0, &zone);
	assert_int_equal(zone.newest_chapter, 5);
	assert_int_equal(uds_block_lay_out(fixture.index, &fixture.port, &config, false), UDS_OK);
	assert_true(atomic_load(&fixture.index->epoch) > epoch);
	assert_int_equal(uds_volume_index_get(&fixture.index->volume_index, &name, &entry), UDS_OK);
	assert_int_equal(entry.kind, UDS_ENTRY_NONE);
	uds_index_zone_statistics(fixture.index, 0, &zone);
	assert_int_equal(zone.newest_chapter, 0);
	assert_int_equal(uds_block_begin_chapter(fixture.index, 2), UDS_OK);
	end(&fixture);
}

/* ---- state and reason ------------------------------------------------------------------------- */

static void
reasons_are_cut_and_cleared(void **state)
{
	uds_config config = engine_config(1, 8, 1, UDS_STRUCTURE_BUCKETS);
	char long_reason[2000];
	char reason[2000];
	fixture fixture;

	(void) state;
	begin(&fixture, &config, 0);
	memset(long_reason, 'r', sizeof(long_reason));
	long_reason[sizeof(long_reason) - 1] = '\0';
	uds_block_set_state(fixture.index, UDS_STATE_OFFLINE, long_reason);
	assert_int_equal(uds_index_state(fixture.index), UDS_STATE_OFFLINE);
	memset(reason, 'x', sizeof(reason));
	uds_index_reason(fixture.index, reason, sizeof(reason));
	assert_int_equal(strlen(reason), UDS_REASON_WORDS * 8 - 1);
	/* Into a small buffer, and into none. */
	memset(reason, 'x', sizeof(reason));
	uds_index_reason(fixture.index, reason, 5);
	assert_string_equal(reason, "rrrr");
	assert_int_equal(reason[5], 'x');
	reason[0] = 'y';
	uds_index_reason(fixture.index, reason, 0);
	assert_int_equal(reason[0], 'y');
	uds_block_set_state(fixture.index, UDS_STATE_ONLINE, NULL);
	uds_index_reason(fixture.index, reason, sizeof(reason));
	assert_string_equal(reason, "");
	end(&fixture);
}

/* One that died while it was writing the reason stops neither readers nor its successor. */
static void
a_dead_writer_of_the_reason_is_survived(void **state)
{
	uds_config config = engine_config(1, 8, 1, UDS_STRUCTURE_BUCKETS);
	char reason[512];
	fixture fixture;

	(void) state;
	begin(&fixture, &config, 0);
	uds_block_set_state(fixture.index, UDS_STATE_OFFLINE, "first");
	atomic_fetch_or(&fixture.index->reason_sequence, 1);
	uds_index_reason(fixture.index, reason, sizeof(reason));
	assert_string_equal(reason, "first");
	uds_block_set_state(fixture.index, UDS_STATE_FAILED, "second");
	assert_int_equal(atomic_load(&fixture.index->reason_sequence) % 2, 0);
	uds_index_reason(fixture.index, reason, sizeof(reason));
	assert_string_equal(reason, "second");
	assert_int_equal(uds_index_state(fixture.index), UDS_STATE_FAILED);
	end(&fixture);
}

static void
a_failure_is_logged_and_wakes_the_writer(void **state)
{
	uds_config config = engine_config(1, 8, 1, UDS_STRUCTURE_BUCKETS);
	char reason[512];
	fixture fixture;

	(void) state;
	begin(&fixture, &config, 0);
	uds_block_fail(fixture.index, &fixture.port, "why");
	assert_int_equal(uds_index_state(fixture.index), UDS_STATE_FAILED);
	uds_index_reason(fixture.index, reason, sizeof(reason));
	assert_string_equal(reason, "why");
	assert_int_equal(atomic_load(&fixture.host.warnings), 1);
	assert_true(fixture.host.workers[UDS_WORKER_WRITER].is_woken);
	end(&fixture);
}

#define READERS      2
#define WRITERS      2
#define REASON_BYTES 200

typedef struct reason_thread
{
	fixture *fixture;
	pthread_t thread;
	uint32_t number;
	_Atomic uint32_t *running;
	uint64_t reads;
	uint64_t torn;
	uint64_t foreign;
} reason_thread;

static void *
reason_writer(void *argument)
{
	reason_thread *self = argument;

	for (uint32_t i = 0; i < 4000; i++)
	{
		char reason[REASON_BYTES + 1];

		memset(reason, 'a' + (int) ((i + self->number * 13) % 26), REASON_BYTES);
		reason[REASON_BYTES] = '\0';
		uds_block_set_state(self->fixture->index, UDS_STATE_OFFLINE, reason);
	}
	atomic_fetch_sub(self->running, 1);
	return NULL;
}

static void *
reason_reader(void *argument)
{
	reason_thread *self = argument;

	while (atomic_load(self->running) > 0)
	{
		char reason[512];

		uds_index_reason(self->fixture->index, reason, sizeof(reason));
		self->reads++;
		if (strlen(reason) != REASON_BYTES)
			self->foreign++;
		for (uint32_t i = 1; i < strlen(reason); i++)
		{
			if (reason[i] < 'a' || reason[i] > 'z')
				self->foreign++;
			if (reason[i] != reason[0])
			{
				self->torn++;
				break;
			}
		}
	}
	return NULL;
}

/*
 * Readers get one reason or the other.  They give up after many attempts, when a writer was
 * stopped half way, and take what is there: that may happen, but hardly ever.
 */
static void
reasons_are_read_as_a_whole(void **state)
{
	uds_config config = engine_config(1, 8, 1, UDS_STRUCTURE_BUCKETS);
	reason_thread threads[READERS + WRITERS];
	_Atomic uint32_t running = WRITERS;
	char first[REASON_BYTES + 1];
	uint64_t reads = 0;
	uint64_t torn = 0;
	fixture fixture;

	(void) state;
	begin(&fixture, &config, 0);
	memset(first, 'z', REASON_BYTES);
	first[REASON_BYTES] = '\0';
	uds_block_set_state(fixture.index, UDS_STATE_OFFLINE, first);
	for (uint32_t i = 0; i < READERS + WRITERS; i++)
	{
		threads[i] = (reason_thread){ .fixture = &fixture, .number = i, .running = &running };
		assert_int_equal(pthread_create(&threads[i].thread,
		                                NULL,
		                                i < READERS ? reason_reader : reason_writer,
		                                &threads[i]),
		                 0);
	}
	for (uint32_t i = 0; i < READERS + WRITERS; i++)
		pthread_join(threads[i].thread, NULL);
	for (uint32_t i = 0; i < READERS; i++)
	{
		assert_int_equal(threads[i].foreign, 0);
		reads += threads[i].reads;
		torn += threads[i].torn;
	}
	assert_true(torn <= 20 + reads / 20);
	assert_int_equal(atomic_load(&fixture.index->reason_sequence) % 2, 0);
	end(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_become_a_configuration),
		cmocka_unit_test(sparse_indexes_take_less_than_half_a_byte_a_record),
		cmocka_unit_test(reduced_indexes_take_the_same_room),
		cmocka_unit_test(a_conversion_leaves_all_parts_in_their_places),
		cmocka_unit_test(nothing_is_known_of_an_unused_block),
		cmocka_unit_test(chapters_in_memory_are_dense),
		cmocka_unit_test(settings_out_of_range_are_refused),
		cmocka_unit_test(a_larger_cache_makes_a_larger_block),
		cmocka_unit_test(shares_take_what_uniform_names_need),
		cmocka_unit_test(one_zone_claims_the_whole_chapter),
		cmocka_unit_test(zones_claim_each_position_once),
		cmocka_unit_test(every_name_has_its_zone),
		cmocka_unit_test(a_zero_block_says_that_nothing_is_there),
		cmocka_unit_test(a_second_layout_forgets_the_first),
		cmocka_unit_test(reasons_are_cut_and_cleared),
		cmocka_unit_test(a_dead_writer_of_the_reason_is_survived),
		cmocka_unit_test(a_failure_is_logged_and_wakes_the_writer),
		cmocka_unit_test(reasons_are_read_as_a_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
