/*
 * test_sparse_cache.c: loaded chapter indexes lead to every record of their chapters, a zone that
 * is inside a snapshot searches good pages whatever is loaded meanwhile, loads fail, expire, wait
 * and go on as the header says, and nobody who waits for one is forgotten; with many threads too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/engine/sparse_cache.h"
#include "../support/files.h"
#include "../support/generate.h"
#include "../support/port_posix.h"

#define CHAPTERS   40
#define FIRST      UINT64_C(207) /* the chapter that the tests call 0 */
#define NONCE      UINT64_C(0x5eed5eed5eed5eed)
#define GENERATION 3
#define CAPACITY   4
#define THRESHOLD  2
#define ZONES      4
#define OBSERVER   (ZONES - 1) /* a zone that only looks what is there */
#define READER     (UDS_WORKER_ZONE + UDS_ZONES_MAX)
#define VERSIONS   8           /* snapshots that the cache keeps */
#define FAILURES   8           /* failed loads that it remembers */
#define SHARED     UINT64_C(7) /* counter of a name that every chapter has */
#define ALL        UINT64_MAX

/* The chapters of a volume, as far as they matter here. */
typedef struct book
{
	uds_geometry geometry;
	uint8_t *pages; /* index pages of all chapters */
} book;

enum
{
	ONE_PAGE,
	SEVERAL_PAGES,
	BOOKS
};

static book books[BOOKS];

typedef struct fixture
{
	posix_host host;
	const book *book;
	uds_port port; /* of a reader */
	uds_volume volume;
	uds_chapter_slot slots[CHAPTERS];
	_Atomic uint64_t nonce;
	_Atomic uint64_t bad_pages;
	uds_error error;
	uds_sparse_cache *cache;
	size_t cache_bytes;
	uint32_t capacity;
	uint64_t oldest; /* of the window, at the readers' */
	uds_sparse_view views[ZONES];
	void (*hook)(struct fixture *fixture); /* called at the next read */
	uint32_t depth;                        /* of a hook's own */
	bool reads_fail;
} fixture;

/* ---- chapters --------------------------------------------------------------------------------- */

static uint32_t
records_of(const book *book)
{
	return book->geometry.records_per_chapter;
}

/*
 * Record i of chapter number.  Each chapter has the shared name on another page than its
 * neighbours.  In one chapter of three most names lie in the first lists, in another in the last
 * ones, so their index pages hold unequal numbers of lists.
 */
static uds_name
name_of(const book *book, uint64_t number, uint32_t i)
{
	const uds_geometry *geometry = &book->geometry;
	uint32_t shared_page = (uint32_t) (number % geometry->parameters.record_pages);
	uds_name name = uds_generate_counter_name((number + 1) * 1000000 + i);
	uint64_t field = uds_name_chapter_field(&name);
	uint64_t list = uds_geometry_chapter_list(geometry, field) / 4;

	if (i == shared_page * UDS_RECORDS_PER_PAGE)
		return uds_generate_counter_name(SHARED);
	if (number % 3 == 0 || i % 3 == 0)
		return name;
	if (number % 3 == 2)
		list = geometry->lists_per_chapter - 1 - list;
	uds_generate_set_chapter_field(&name,
	                               list << geometry->chapter_address_bits |
	                                   uds_geometry_chapter_address(geometry, field));
	return name;
}

static uint8_t *
index_page(const book *book, uint64_t number, uint32_t page)
{
	return book->pages +
	       (number * book->geometry.index_pages + page) * book->geometry.parameters.page_bytes;
}

static uint64_t
volume_page(const book *book, uint64_t number, uint32_t page)
{
	uint32_t physical = uds_geometry_physical_chapter(&book->geometry, FIRST + number);

	return uds_geometry_chapter_page(&book->geometry, physical) + page;
}

static void
build_chapter(book *book, uint64_t number, uds_record *records, uds_record_ref *refs, void *scratch)
{
	const uds_geometry *geometry = &book->geometry;
	uint16_t last_lists[16];
	uint32_t dropped;

	assert_true(geometry->index_pages <= 16);
	for (uint32_t i = 0; i < records_of(book); i++)
	{
		records[i].name = name_of(book, number, i);
		refs[i] = (uds_record_ref){ .record = &records[i] };
	}
	assert_int_equal(uds_chapter_index_build(scratch,
	                                         geometry,
	                                         refs,
	                                         records_of(book),
	                                         NONCE,
	                                         FIRST + number,
	                                         index_page(book, number, 0),
	                                         last_lists,
	                                         &dropped),
	                 UDS_OK);
	assert_int_equal(dropped, 0);
	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		uds_page_identity identity = { .nonce = NONCE,
			                           .physical_page = volume_page(book, number, i),
			                           .chapter = FIRST + number,
			                           .generation = GENERATION };

		uds_chapter_index_seal_page(index_page(book, number, i), geometry, &identity);
	}
}

static void
build_book(book *book, uint32_t record_pages)
{
	uds_geometry_parameters parameters = { .page_bytes = UDS_PAGE_BYTES,
		                                   .index_page_bytes = UDS_INDEX_PAGE_BYTES,
		                                   .records_per_page = UDS_RECORDS_PER_PAGE,
		                                   .record_pages = record_pages,
		                                   .extra_pages = UDS_SEAL_PAGES,
		                                   .chapters = CHAPTERS,
		                                   .sparse_chapters = CHAPTERS - 2 };
	uds_record *records;
	uds_record_ref *refs;
	void *scratch;

	assert_int_equal(uds_geometry_init(&book->geometry, &parameters), UDS_OK);
	records = calloc(records_of(book), sizeof(*records));
	refs = calloc(records_of(book), sizeof(*refs));
	scratch = malloc(uds_chapter_index_size(&book->geometry));
	book->pages = malloc((size_t) CHAPTERS * book->geometry.index_pages * UDS_PAGE_BYTES);
	for (uint64_t number = 0; number < CHAPTERS; number++)
		build_chapter(book, number, records, refs, scratch);
	free(records);
	free(refs);
	free(scratch);
}

static int
build_books(void **state)
{
	(void) state;
	build_book(&books[ONE_PAGE], 2);
	build_book(&books[SEVERAL_PAGES], 24);
	assert_int_equal(books[ONE_PAGE].geometry.index_pages, 1);
	assert_true(books[SEVERAL_PAGES].geometry.index_pages > 2);
	return 0;
}

static int
free_books(void **state)
{
	(void) state;
	for (uint32_t i = 0; i < BOOKS; i++)
		free(books[i].pages);
	return 0;
}

/* Where the index of a chapter leads to, by a search of all its pages. */
static uds_status
reference(const book *book, uint64_t number, const uds_name *name, uint32_t *record_page)
{
	for (uint32_t i = 0; i < book->geometry.index_pages; i++)
	{
		uds_status status = uds_chapter_index_search(index_page(book, number, i),
		                                             &book->geometry,
		                                             name,
		                                             record_page);

		if (status != UDS_NOT_FOUND)
			return status;
	}
	return UDS_NOT_FOUND;
}

/* A name to which one chapter leads and no other one; number CHAPTERS: none at all. */
static uds_name
name_only_in(const book *book, uint64_t number)
{
	for (uint32_t i = 1;; i++)
	{
		uds_name name = name_of(book, number, i);
		uint32_t leading = 0;
		uint32_t page;

		for (uint64_t other = 0; other < CHAPTERS; other++)
			leading += reference(book, other, &name, &page) == UDS_OK;
		if (leading == (number < CHAPTERS ? 1u : 0u))
			return name;
	}
}

/* ---- set up ------------------------------------------------------------------------------------- */

static int
on_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	(void) name;
	if (strcmp(operation, "read") != 0)
		return 0;
	if (fixture->hook != NULL)
	{
		void (*hook)(struct fixture *) = fixture->hook;

		fixture->hook = NULL;
		hook(fixture);
	}
	return fixture->reads_fail ? EIO : 0;
}

static uds_volume
make_volume(fixture *fixture, uds_port *port)
{
	uds_volume volume = {
		.port = port,
		.geometry = &fixture->book->geometry,
		.slots = fixture->slots,
		.nonce = &fixture->nonce,
		.bad_pages = &fixture->bad_pages,
	};

	assert_int_equal(uds_volume_open(&volume, UDS_FILE_READ, &fixture->error), UDS_OK);
	return volume;
}

static void
write_volume(fixture *fixture)
{
	const book *book = fixture->book;
	uint8_t *data = calloc(1, book->geometry.bytes_per_volume);

	for (uint64_t number = 0; number < CHAPTERS; number++)
		memcpy(data + volume_page(book, number, 0) * UDS_PAGE_BYTES,
		       index_page(book, number, 0),
		       (size_t) book->geometry.index_pages * UDS_PAGE_BYTES);
	files_write(fixture->host.directory, UDS_VOLUME_FILE, data, book->geometry.bytes_per_volume);
	free(data);
	for (uint64_t number = 0; number < CHAPTERS; number++)
	{
		uds_chapter_slot *slot =
			&fixture->slots[uds_geometry_physical_chapter(&book->geometry, FIRST + number)];

		atomic_store(&slot->generation, GENERATION);
		atomic_store(&slot->chapter, FIRST + number);
	}
}

/* A new cache in the place of the one there was. */
static void
make_cache(fixture *fixture, uint32_t capacity, uint32_t threshold)
{
	free(fixture->cache);
	fixture->cache_bytes = uds_sparse_cache_size(&fixture->book->geometry, capacity);
	fixture->cache = aligned_alloc(UDS_CACHE_LINE, fixture->cache_bytes);
	memset(fixture->cache, 0xa5, fixture->cache_bytes);
	uds_sparse_cache_init(fixture->cache, &fixture->book->geometry, capacity, ZONES, threshold);
	fixture->capacity = capacity;
	memset(fixture->views, 0, sizeof(fixture->views));
}

static fixture *
make_fixture(const book *book)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	char *directory = files_make_directory();

	posix_host_init(&fixture->host, directory);
	free(directory);
	fixture->host.is_quiet = true;
	fixture->book = book;
	atomic_store(&fixture->nonce, NONCE);
	fixture->port = posix_port(&fixture->host, READER);
	write_volume(fixture);
	fixture->volume = make_volume(fixture, &fixture->port);
	fixture->host.fault = on_operation;
	fixture->host.fault_context = fixture;
	fixture->oldest = FIRST;
	make_cache(fixture, CAPACITY, THRESHOLD);
	return fixture;
}

static int
setup(void **state)
{
	*state = make_fixture(&books[SEVERAL_PAGES]);
	return 0;
}

static void
free_fixture(fixture *fixture)
{
	uds_volume_close(&fixture->volume);
	posix_remove_directory(fixture->host.directory);
	posix_host_destroy(&fixture->host);
	free(fixture->cache);
	free(fixture);
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	free_fixture(fixture);
	return 0;
}

/* ---- steps -------------------------------------------------------------------------------------- */

static uds_status
request(fixture *fixture, uint64_t number)
{
	return uds_sparse_cache_request(fixture->cache, FIRST + number, fixture->oldest);
}

static uds_status
load(fixture *fixture)
{
	return uds_sparse_cache_load(fixture->cache, &fixture->volume, fixture->oldest);
}

/* Ask for a chapter that is not there, and load it. */
static void
fetch(fixture *fixture, uint64_t number)
{
	assert_int_equal(request(fixture, number), UDS_DUPLICATE);
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
}

static void
fetch_range(fixture *fixture, uint64_t first, uint64_t end)
{
	for (uint64_t number = first; number < end; number++)
		fetch(fixture, number);
}

static uds_sparse_view *
enter(fixture *fixture, uint32_t zone)
{
	uds_sparse_cache_enter(fixture->cache, zone, &fixture->views[zone]);
	return &fixture->views[zone];
}

static bool
leave(fixture *fixture, uint32_t zone)
{
	return uds_sparse_cache_leave(fixture->cache, zone, &fixture->views[zone]);
}

/* Search all chapters, inside a snapshot of the zone's own when it is outside. */
static uds_status
search(fixture *fixture, uint32_t zone, const uds_name *name, uint64_t *number)
{
	uds_sparse_view *view = &fixture->views[zone];
	bool was_outside = view->version == 0;
	uint64_t chapter = 0;
	uint32_t page;
	uds_status status;

	if (was_outside)
		enter(fixture, zone);
	status =
		uds_sparse_cache_search(fixture->cache, view, name, ALL, fixture->oldest, &chapter, &page);
	if (was_outside)
		(void) leave(fixture, zone);
	*number = chapter - FIRST;
	return status;
}

/* Search for a name that no chapter has. */
static void
search_in_vain(fixture *fixture, uint32_t zone, uint32_t times)
{
	uds_name name = name_only_in(fixture->book, CHAPTERS);
	uint64_t number;

	for (uint32_t i = 0; i < times; i++)
		assert_int_equal(search(fixture, zone, &name, &number), UDS_NOT_FOUND);
}

/* Is a name found that only this chapter has? */
static bool
leads_to(fixture *fixture, uint32_t zone, uint64_t number)
{
	uds_name name = name_only_in(fixture->book, number);
	uint64_t found;

	return search(fixture, zone, &name, &found) == UDS_OK && found == number;
}

static bool
was_woken(fixture *fixture, uint32_t zone)
{
	posix_worker *worker = &fixture->host.workers[UDS_WORKER_ZONE + zone];
	bool is_woken;

	pthread_mutex_lock(&worker->mutex);
	is_woken = worker->is_woken;
	worker->is_woken = false;
	pthread_mutex_unlock(&worker->mutex);
	return is_woken;
}

static uds_sparse_statistics
statistics(fixture *fixture)
{
	uds_sparse_statistics statistics;

	uds_sparse_cache_statistics(fixture->cache, &statistics);
	return statistics;
}

static void
expect_statistics(fixture *fixture, uint64_t loads, uint64_t failures, uint64_t expired,
                  uint64_t drops)
{
	uds_sparse_statistics found = statistics(fixture);

	assert_int_equal(found.loads, loads);
	assert_int_equal(found.failures, failures);
	assert_int_equal(found.expired, expired);
	assert_int_equal(found.drops, drops);
}

static void
expect_chapters(fixture *fixture, const uint64_t *numbers, uint32_t count)
{
	const uds_sparse_view *view = enter(fixture, OBSERVER);

	assert_int_equal(view->count, count);
	assert_int_equal(statistics(fixture).chapters, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(view->chapters[i], FIRST + numbers[i]);
	assert_false(leave(fixture, OBSERVER));
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
}

/* The chapters of the present snapshot, newest first. */
#define EXPECT_CHAPTERS(fixture, ...)                  \
	expect_chapters(fixture,                           \
	                (const uint64_t[]){ __VA_ARGS__ }, \
	                sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

/* Misses of a zone that is inside, for the chapters of its view. */
static void
expect_misses(fixture *fixture, uint32_t zone, const uint32_t *misses, uint32_t count)
{
	const uds_sparse_view *view = enter(fixture, zone);

	assert_int_equal(view->count, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(view->misses[view->entries[i]], misses[i]);
	(void) leave(fixture, zone);
}

#define EXPECT_MISSES(fixture, zone, ...)            \
	expect_misses(fixture,                           \
	              zone,                              \
	              (const uint32_t[]){ __VA_ARGS__ }, \
	              sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

static void
damage(fixture *fixture, uint64_t number, uint32_t page)
{
	files_flip_bit(fixture->host.directory,
	               UDS_VOLUME_FILE,
	               volume_page(fixture->book, number, page) * UDS_PAGE_BYTES + 1000,
	               3);
}

/* ---- search --------------------------------------------------------------------------------------- */

static void
sizes_are_told_for_possible_caches_only(void **state)
{
	fixture *fixture = *state;
	const uds_geometry *geometry = &fixture->book->geometry;
	size_t entry_bytes = uds_sparse_cache_size(geometry, 2) - uds_sparse_cache_size(geometry, 1);

	assert_int_equal(uds_sparse_cache_size(geometry, 0), 0);
	assert_int_equal(uds_sparse_cache_size(geometry, UDS_SPARSE_CHAPTERS_MAX + 1), 0);
	assert_true(entry_bytes >= geometry->index_pages * UDS_PAGE_BYTES);
	for (uint32_t chapters = 1; chapters <= UDS_SPARSE_CHAPTERS_MAX; chapters++)
	{
		size_t bytes = uds_sparse_cache_size(geometry, chapters);

		assert_true(bytes > (chapters + UDS_SPARSE_SPARES) * entry_bytes);
		assert_int_equal(bytes % UDS_CACHE_LINE, 0);
	}
}

static void
expect_all_records(fixture *fixture, uint64_t number)
{
	const book *book = fixture->book;
	uds_sparse_view *view = enter(fixture, 0);

	for (uint32_t i = 0; i < records_of(book); i++)
	{
		uds_name name = name_of(book, number, i);
		uint32_t page = UINT32_MAX;

		assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache,
		                                                 view,
		                                                 &name,
		                                                 FIRST + number,
		                                                 &page),
		                 UDS_OK);
		assert_int_equal(page, i / UDS_RECORDS_PER_PAGE);
	}
	(void) leave(fixture, 0);
}

static void
every_record_of_a_loaded_chapter_is_found(void **state)
{
	for (uint32_t i = 0; i < BOOKS; i++)
	{
		fixture *fixture = make_fixture(&books[i]);

		fetch_range(fixture, 10, 14);
		for (uint64_t number = 10; number < 14; number++)
			expect_all_records(fixture, number);
		assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
		free_fixture(fixture);
	}
	(void) state;
}

/* The largest cache holds as many chapters as it says. */
static void
caches_of_all_sizes_work(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 7, UDS_SPARSE_CHAPTERS_MAX };
	fixture *fixture = *state;

	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		make_cache(fixture, sizes[i], THRESHOLD);
		fetch_range(fixture, 0, CHAPTERS);
		assert_int_equal(statistics(fixture).chapters, sizes[i]);
		for (uint64_t number = CHAPTERS - sizes[i]; number < CHAPTERS; number++)
			expect_all_records(fixture, number);
		assert_int_equal(request(fixture, CHAPTERS - sizes[i] - 1), UDS_DUPLICATE);
	}
}

static void
the_newest_chapter_answers_first(void **state)
{
	fixture *fixture = *state;
	uds_name name = uds_generate_counter_name(SHARED);
	uint64_t below = ALL;
	uds_sparse_view *view;
	uint64_t chapter;
	uint32_t page;

	fetch(fixture, 12);
	fetch(fixture, 3);
	fetch(fixture, 30);
	fetch(fixture, 7);
	view = enter(fixture, 0);
	for (uint32_t i = 0; i < 4; i++)
	{
		static const uint64_t expected[] = { 30, 12, 7, 3 };

		assert_int_equal(uds_sparse_cache_search(fixture->cache,
		                                         view,
		                                         &name,
		                                         below,
		                                         FIRST,
		                                         &chapter,
		                                         &page),
		                 UDS_OK);
		assert_int_equal(chapter, FIRST + expected[i]);
		assert_int_equal(page, expected[i] % fixture->book->geometry.parameters.record_pages);
		below = chapter;
	}
	assert_int_equal(uds_sparse_cache_search(fixture->cache,
	                                         view,
	                                         &name,
	                                         below,
	                                         FIRST,
	                                         &chapter,
	                                         &page),
	                 UDS_NOT_FOUND);
	/* Bounds that lie between chapters, and what has expired. */
	assert_int_equal(uds_sparse_cache_search(fixture->cache,
	                                         view,
	                                         &name,
	                                         FIRST + 29,
	                                         0,
	                                         &chapter,
	                                         &page),
	                 UDS_OK);
	assert_int_equal(chapter, FIRST + 12);
	assert_int_equal(uds_sparse_cache_search(fixture->cache,
	                                         view,
	                                         &name,
	                                         FIRST + 12,
	                                         FIRST + 8,
	                                         &chapter,
	                                         &page),
	                 UDS_NOT_FOUND);
	(void) leave(fixture, 0);
}

static void
only_chapters_of_the_view_can_be_searched(void **state)
{
	fixture *fixture = *state;
	uds_name name = uds_generate_counter_name(SHARED);
	uds_name unknown = name_only_in(fixture->book, CHAPTERS);
	uds_sparse_view *view;
	uint32_t page;

	fetch(fixture, 5);
	view = enter(fixture, 0);
	fetch(fixture, 6);
	assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache, view, &name, FIRST + 6, &page),
	                 UDS_ERR_STATE);
	assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache, view, &name, FIRST + 5, &page),
	                 UDS_OK);
	assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache,
	                                                 view,
	                                                 &unknown,
	                                                 FIRST + 5,
	                                                 &page),
	                 UDS_NOT_FOUND);
	(void) leave(fixture, 0);
	view = enter(fixture, 0);
	assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache, view, &name, FIRST + 6, &page),
	                 UDS_OK);
	(void) leave(fixture, 0);
}

/* The place of an index page in the memory of the cache. */
static uint8_t *
find_loaded_page(fixture *fixture, uint64_t number, uint32_t page)
{
	const uint8_t *expected = index_page(fixture->book, number, page);
	uint8_t *memory = (uint8_t *) fixture->cache;

	for (size_t at = 0; at + UDS_PAGE_BYTES <= fixture->cache_bytes; at += UDS_CACHE_LINE)
	{
		if (memcmp(memory + at, expected, UDS_PAGE_BYTES) == 0)
			return memory + at;
	}
	fail_msg("page is not in the cache");
	return NULL;
}

static void
pages_that_make_no_sense_lead_nowhere(void **state)
{
	fixture *fixture = *state;
	uint8_t *pages[16];
	uds_random random;

	fetch(fixture, 9);
	fetch(fixture, 8);
	for (uint32_t i = 0; i < fixture->book->geometry.index_pages; i++)
	{
		pages[i] = find_loaded_page(fixture, 9, i);
		/* Behind the header: offsets that point anywhere. */
		memset(pages[i] + 20, 0xff, 500);
	}
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_ERR_CORRUPT);
	assert_false(leads_to(fixture, 0, 9));
	EXPECT_MISSES(fixture, 0, 1, 1);
	assert_true(leads_to(fixture, 0, 8));
	EXPECT_MISSES(fixture, 0, 2, 1);
	uds_random_init(&random, uds_random_seed(5));
	print_message("seed %llu\n", (unsigned long long) random.seed);
	for (uint32_t i = 0; i < 2000; i++)
	{
		uds_name name = uds_random_name(&random);
		uint32_t page;

		uds_random_bytes(&random, pages[i % 3] + uds_random_below(&random, 4000), 16);
		uds_sparse_cache_hit(fixture->cache, FIRST + 9);
		enter(fixture, 0);
		if (uds_sparse_cache_search_chapter(fixture->cache,
		                                    &fixture->views[0],
		                                    &name,
		                                    FIRST + 9,
		                                    &page) == UDS_OK)
			assert_true(page < fixture->book->geometry.parameters.record_pages);
		(void) leave(fixture, 0);
	}
	make_cache(fixture, CAPACITY, THRESHOLD);
}

static void
check_notices_pages_of_another_chapter(void **state)
{
	fixture *fixture = *state;

	fetch(fixture, 9);
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	memcpy(find_loaded_page(fixture, 9, 1), index_page(fixture->book, 8, 1), UDS_PAGE_BYTES);
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_ERR_CORRUPT);
	make_cache(fixture, CAPACITY, THRESHOLD);
}

/* ---- replacement and skipping ---------------------------------------------------------------------- */

/*
 * Vector TV-6 of specification 02, adapted: chapters are searched from the newest to the oldest,
 * the one to go is found by its last use, what has expired cannot be asked for, and a load that
 * fails leaves everything as it is.
 */
static void
vector_tv6(void **state)
{
	fixture *fixture = *state;
	uds_name name;
	uint64_t number;
	uint32_t page;

	expect_chapters(fixture, NULL, 0);
	fetch_range(fixture, 10, 14);
	EXPECT_CHAPTERS(fixture, 13, 12, 11, 10);
	assert_int_equal(request(fixture, 11), UDS_OK);
	fetch(fixture, 14);
	EXPECT_CHAPTERS(fixture, 14, 13, 12, 11); /* 10 was used least recently */
	assert_true(leads_to(fixture, 0, 12));
	uds_sparse_cache_hit(fixture->cache, FIRST + 12);
	EXPECT_MISSES(fixture, 0, 1, 1, 0, 0);
	search_in_vain(fixture, 0, 1);
	EXPECT_MISSES(fixture, 0, 2, 2, 1, 1);
	search_in_vain(fixture, 0, 1);
	EXPECT_MISSES(fixture, 0, 3, 3, 2, 2); /* 14 and 13 are skipped */
	search_in_vain(fixture, 0, 1);
	EXPECT_MISSES(fixture, 0, 3, 3, 3, 3); /* 12 and 11, too */
	assert_int_equal(request(fixture, 13), UDS_OK);
	assert_true(leads_to(fixture, 0, 13));
	assert_false(leads_to(fixture, 0, 12));
	fetch(fixture, 15);
	EXPECT_CHAPTERS(fixture, 15, 14, 13, 12); /* of those skipped, 11 was used least recently */
	fixture->oldest = FIRST + 14;
	assert_false(leads_to(fixture, 0, 13));
	/* A search for one chapter does not ask whether that has expired. */
	name = name_only_in(fixture->book, 13);
	assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache,
	                                                 enter(fixture, 0),
	                                                 &name,
	                                                 FIRST + 13,
	                                                 &page),
	                 UDS_OK);
	(void) leave(fixture, 0);
	fetch(fixture, 16);
	EXPECT_CHAPTERS(fixture, 16, 15, 14); /* the expired ones are gone */
	assert_int_equal(request(fixture, 12), UDS_NOT_FOUND);
	damage(fixture, 17, 0);
	fetch(fixture, 17);
	EXPECT_CHAPTERS(fixture, 16, 15, 14);
	fetch(fixture, 18);
	EXPECT_CHAPTERS(fixture, 18, 16, 15, 14);
	make_cache(fixture, CAPACITY, THRESHOLD);
	expect_chapters(fixture, NULL, 0);
	fetch(fixture, 19);
	EXPECT_CHAPTERS(fixture, 19);
	name = name_only_in(fixture->book, 19);
	assert_int_equal(search(fixture, 0, &name, &number), UDS_OK);
	assert_int_equal(number, 19);
}

static void
a_zone_skips_what_it_searches_in_vain_until_it_is_used(void **state)
{
	fixture *fixture = *state;

	fetch_range(fixture, 0, 3);
	search_in_vain(fixture, 0, THRESHOLD);
	assert_true(leads_to(fixture, 0, 2));
	search_in_vain(fixture, 0, 1);
	/* One more: now it is. */
	for (uint64_t number = 0; number < 3; number++)
		assert_false(leads_to(fixture, 0, number));
	/* Each zone counts for itself. */
	for (uint64_t number = 0; number < 3; number++)
		assert_true(leads_to(fixture, 1, number));
	uds_sparse_cache_hit(fixture->cache, FIRST + 1);
	assert_int_equal(request(fixture, 0), UDS_OK);
	assert_false(leads_to(fixture, 0, 2));
	assert_true(leads_to(fixture, 0, 1));
	assert_true(leads_to(fixture, 0, 0));
	/* A hit in a chapter that is not there is no harm. */
	uds_sparse_cache_hit(fixture->cache, FIRST + 30);
	uds_sparse_cache_hit(fixture->cache, UDS_NO_CHAPTER);
	assert_false(leads_to(fixture, 0, 2));
}

static void
a_use_ends_skipping_inside_a_snapshot(void **state)
{
	fixture *fixture = *state;

	fetch(fixture, 4);
	enter(fixture, 0);
	search_in_vain(fixture, 0, THRESHOLD + 1);
	assert_false(leads_to(fixture, 0, 4));
	uds_sparse_cache_hit(fixture->cache, FIRST + 4);
	assert_true(leads_to(fixture, 0, 4));
	search_in_vain(fixture, 0, THRESHOLD + 1);
	assert_false(leads_to(fixture, 0, 4));
	(void) leave(fixture, 0);
}

/* A search for one chapter neither asks whether it is skipped nor counts. */
static void
a_search_for_one_chapter_counts_nothing(void **state)
{
	fixture *fixture = *state;
	uds_name unknown = name_only_in(fixture->book, CHAPTERS);
	uds_name name = name_only_in(fixture->book, 4);
	uds_sparse_view *view;
	uint32_t page;

	fetch(fixture, 4);
	view = enter(fixture, 0);
	for (uint32_t i = 0; i < 10 * THRESHOLD; i++)
		assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache,
		                                                 view,
		                                                 &unknown,
		                                                 FIRST + 4,
		                                                 &page),
		                 UDS_NOT_FOUND);
	assert_true(leads_to(fixture, 0, 4));
	search_in_vain(fixture, 0, THRESHOLD + 1);
	assert_false(leads_to(fixture, 0, 4));
	assert_int_equal(uds_sparse_cache_search_chapter(fixture->cache, view, &name, FIRST + 4, &page),
	                 UDS_OK);
	assert_false(leads_to(fixture, 0, 4));
	(void) leave(fixture, 0);
}

/* The misses of a chapter do not pass to the one that takes its entry, nor to itself when it is
 * loaded again. */
static void
misses_end_with_the_chapter(void **state)
{
	fixture *fixture = *state;

	make_cache(fixture, 1, THRESHOLD);
	for (uint32_t i = 0; i < 4 * UDS_SPARSE_SPARES; i++)
	{
		fetch(fixture, i % 2);
		assert_true(leads_to(fixture, 0, i % 2));
		search_in_vain(fixture, 0, THRESHOLD + 1);
		assert_false(leads_to(fixture, 0, i % 2));
	}
}

static void
skipped_chapters_go_before_old_ones(void **state)
{
	fixture *fixture = *state;

	fetch_range(fixture, 0, 4);
	/* A search of the two newest ones only. */
	fixture->oldest = FIRST + 2;
	search_in_vain(fixture, 2, THRESHOLD + 1);
	fixture->oldest = FIRST;
	fetch(fixture, 10);
	EXPECT_CHAPTERS(fixture, 10, 3, 1, 0);
	fetch(fixture, 11);
	EXPECT_CHAPTERS(fixture, 11, 10, 1, 0);
	/* None is skipped any more. */
	fetch(fixture, 12);
	EXPECT_CHAPTERS(fixture, 12, 11, 10, 1);
}

static void
expired_chapters_go_first(void **state)
{
	fixture *fixture = *state;

	fetch_range(fixture, 0, 4);
	uds_sparse_cache_hit(fixture->cache, FIRST + 0);
	search_in_vain(fixture, 0, THRESHOLD + 1);
	uds_sparse_cache_hit(fixture->cache, FIRST + 1);
	fixture->oldest = FIRST + 2;
	fetch(fixture, 20);
	EXPECT_CHAPTERS(fixture, 20, 3, 2);
	assert_int_equal(request(fixture, 1), UDS_NOT_FOUND);
	expect_statistics(fixture, 5, 0, 0, 0);
}

/* ---- loads ------------------------------------------------------------------------------------------ */

static void
a_chapter_is_loaded_once_for_all_who_ask(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	assert_int_equal(request(fixture, 7), UDS_DUPLICATE);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(request(fixture, 7), UDS_PENDING);
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	assert_int_equal(request(fixture, 7), UDS_OK);
	expect_statistics(fixture, 1, 0, 0, 0);
}

static void
loads_are_performed_in_their_order(void **state)
{
	static const uint64_t numbers[] = { 5, 30, 2, 17 };
	fixture *fixture = *state;

	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(request(fixture, numbers[i]), UDS_DUPLICATE);
	for (uint32_t i = 0; i < 4; i++)
	{
		assert_int_equal(request(fixture, numbers[i]), UDS_PENDING);
		assert_int_equal(load(fixture), UDS_OK);
		assert_int_equal(request(fixture, numbers[i]), UDS_OK);
	}
	EXPECT_CHAPTERS(fixture, 30, 17, 5, 2);
}

static void
a_full_queue_drops_requests(void **state)
{
	fixture *fixture = *state;

	for (uint64_t number = 0; number < UDS_SPARSE_LOADS_MAX; number++)
		assert_int_equal(request(fixture, number), UDS_DUPLICATE);
	assert_int_equal(request(fixture, UDS_SPARSE_LOADS_MAX), UDS_OVERFLOW);
	assert_int_equal(request(fixture, UDS_SPARSE_LOADS_MAX), UDS_OVERFLOW);
	assert_int_equal(request(fixture, 3), UDS_PENDING);
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(request(fixture, UDS_SPARSE_LOADS_MAX), UDS_DUPLICATE);
	assert_int_equal(request(fixture, UDS_SPARSE_LOADS_MAX + 1), UDS_OVERFLOW);
	for (uint32_t i = 0; i < UDS_SPARSE_LOADS_MAX; i++)
		assert_int_equal(load(fixture), UDS_OK);
	EXPECT_CHAPTERS(fixture, 16, 15, 14, 13);
	expect_statistics(fixture, UDS_SPARSE_LOADS_MAX + 1, 0, 0, 3);
}

static void
what_has_expired_is_not_loaded(void **state)
{
	fixture *fixture = *state;
	uint64_t ticket;

	for (uint64_t number = 0; number < 4; number++)
		assert_int_equal(request(fixture, number), UDS_DUPLICATE);
	ticket = uds_sparse_cache_pending(fixture->cache);
	fixture->oldest = FIRST + 2;
	fixture->reads_fail = true;
	assert_true(uds_sparse_cache_wait(fixture->cache, 0, ticket - 2));
	assert_int_equal(load(fixture), UDS_OK);
	assert_true(was_woken(fixture, 0));
	assert_int_equal(load(fixture), UDS_OK);
	assert_true(uds_sparse_cache_is_done(fixture->cache, ticket - 2));
	assert_int_equal(request(fixture, 1), UDS_NOT_FOUND);
	expect_statistics(fixture, 0, 0, 2, 0);
	fixture->reads_fail = false;
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(load(fixture), UDS_OK);
	EXPECT_CHAPTERS(fixture, 3, 2);
	/* It is not remembered as one that failed. */
	assert_int_equal(uds_sparse_cache_request(fixture->cache, FIRST + 1, 0), UDS_DUPLICATE);
	assert_int_equal(uds_sparse_cache_request(fixture->cache, UDS_NO_CHAPTER, 0), UDS_NOT_FOUND);
}

/* Nobody needs an entry to find out that a chapter has expired. */
static void
expired_loads_end_without_an_entry(void **state)
{
	fixture *fixture = *state;

	make_cache(fixture, 1, THRESHOLD);
	fetch(fixture, 10);
	enter(fixture, 0);
	fetch_range(fixture, 11, 13);
	assert_int_equal(request(fixture, 5), UDS_DUPLICATE);
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	fixture->oldest = FIRST + 6;
	assert_int_equal(load(fixture), UDS_OK);
	expect_statistics(fixture, 3, 0, 1, 0);
	assert_true(leave(fixture, 0));
}

/* Fail to load a chapter, and to have it loaded again. */
static void
expect_failure(fixture *fixture, uint64_t number)
{
	uint64_t before = statistics(fixture).failures;

	fetch(fixture, number);
	assert_int_equal(statistics(fixture).failures, before + 1);
	assert_int_equal(request(fixture, number), UDS_NOT_FOUND);
	assert_int_equal(uds_sparse_cache_pending(fixture->cache), 0);
	EXPECT_CHAPTERS(fixture, 31, 30);
}

static void
expire_in_the_middle(fixture *fixture)
{
	uint32_t physical = uds_geometry_physical_chapter(&fixture->book->geometry, FIRST + 20);

	atomic_store(&fixture->slots[physical].chapter, UDS_NO_CHAPTER);
	damage(fixture, 20, 0);
}

static void
loads_that_fail_are_counted_and_remembered(void **state)
{
	fixture *fixture = *state;
	uint32_t physical = uds_geometry_physical_chapter(&fixture->book->geometry, FIRST + 10);

	fetch_range(fixture, 30, 32);
	/* Each page of a chapter can be the damaged one. */
	for (uint32_t page = 0; page < 3; page++)
	{
		damage(fixture, page, page);
		expect_failure(fixture, page);
	}
	assert_int_equal(atomic_load(&fixture->bad_pages), 3);
	assert_int_equal(atomic_load(&fixture->host.warnings), 3);
	/* A chapter that is not there, or goes while it is read, is not damage. */
	atomic_store(&fixture->slots[physical].chapter, FIRST + 10 + CHAPTERS);
	expect_failure(fixture, 10);
	fixture->hook = expire_in_the_middle;
	expect_failure(fixture, 20);
	assert_null(fixture->hook);
	assert_int_equal(atomic_load(&fixture->bad_pages), 3);
	fixture->reads_fail = true;
	expect_failure(fixture, 5);
	fixture->reads_fail = false;
	uds_volume_close(&fixture->volume);
	files_rename(fixture->host.directory, UDS_VOLUME_FILE, "aside");
	expect_failure(fixture, 6);
	files_rename(fixture->host.directory, "aside", UDS_VOLUME_FILE);
	assert_int_equal(atomic_load(&fixture->bad_pages), 5);
	/* The file ends in the middle of the pages. */
	files_resize(fixture->host.directory,
	             UDS_VOLUME_FILE,
	             volume_page(fixture->book, 32, 1) * UDS_PAGE_BYTES + 10);
	expect_failure(fixture, 32);
	expect_statistics(fixture, 2, 8, 0, 0);
	/* No entry was lost. */
	write_volume(fixture);
	fetch_range(fixture, 21, 29);
	EXPECT_CHAPTERS(fixture, 28, 27, 26, 25);
}

static void
the_last_failures_only_are_remembered(void **state)
{
	fixture *fixture = *state;

	fixture->reads_fail = true;
	for (uint64_t number = 0; number < FAILURES; number++)
		fetch(fixture, number);
	for (uint64_t number = 0; number < FAILURES; number++)
		assert_int_equal(request(fixture, number), UDS_NOT_FOUND);
	fetch(fixture, FAILURES);
	fixture->reads_fail = false;
	for (uint64_t number = 1; number <= FAILURES; number++)
		assert_int_equal(request(fixture, number), UDS_NOT_FOUND);
	/* The first one is tried again, with success this time. */
	fetch(fixture, 0);
	EXPECT_CHAPTERS(fixture, 0);
	expect_statistics(fixture, 1, FAILURES + 1, 0, 0);
}

static void
a_stopped_load_waits_again(void **state)
{
	fixture *fixture = *state;
	uint64_t tickets[2];

	for (uint32_t i = 0; i < 2; i++)
	{
		assert_int_equal(request(fixture, i), UDS_DUPLICATE);
		tickets[i] = uds_sparse_cache_pending(fixture->cache);
	}
	assert_true(uds_sparse_cache_wait(fixture->cache, 1, tickets[0]));
	posix_host_stop(&fixture->host, READER);
	/* More often than there are entries. */
	for (uint32_t i = 0; i < 2 * UDS_SPARSE_ENTRIES_MAX; i++)
		assert_int_equal(load(fixture), UDS_STOPPED);
	assert_int_equal(request(fixture, 0), UDS_PENDING);
	assert_false(was_woken(fixture, 1));
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	posix_host_clear_stop(&fixture->host, READER);
	assert_int_equal(load(fixture), UDS_OK);
	assert_true(was_woken(fixture, 1));
	assert_true(uds_sparse_cache_is_done(fixture->cache, tickets[0]));
	assert_false(uds_sparse_cache_is_done(fixture->cache, tickets[1]));
	EXPECT_CHAPTERS(fixture, 0);
	assert_int_equal(load(fixture), UDS_OK);
	expect_statistics(fixture, 2, 0, 0, 0);
}

/* ---- tickets ---------------------------------------------------------------------------------------- */

static void
who_waits_for_a_load_is_woken_when_it_has_ended(void **state)
{
	fixture *fixture = *state;
	uint64_t tickets[3];

	assert_int_equal(uds_sparse_cache_pending(fixture->cache), 0);
	assert_true(uds_sparse_cache_is_done(fixture->cache, 0));
	assert_false(uds_sparse_cache_wait(fixture->cache, 0, 0));
	damage(fixture, 1, 0);
	for (uint32_t i = 0; i < 3; i++)
	{
		assert_int_equal(request(fixture, i), UDS_DUPLICATE);
		tickets[i] = uds_sparse_cache_pending(fixture->cache);
		assert_true(i == 0 || tickets[i] > tickets[i - 1]);
		assert_false(uds_sparse_cache_is_done(fixture->cache, tickets[i]));
		assert_true(uds_sparse_cache_wait(fixture->cache, i, tickets[i]));
	}
	/* The second one fails: that is an end, too. */
	for (uint32_t i = 0; i < 3; i++)
	{
		assert_int_equal(uds_sparse_cache_pending(fixture->cache), tickets[2]);
		assert_int_equal(load(fixture), UDS_OK);
		assert_true(uds_sparse_cache_is_done(fixture->cache, tickets[i]));
		assert_false(uds_sparse_cache_wait(fixture->cache, i, tickets[i]));
		for (uint32_t zone = i; zone < 3; zone++)
		{
			assert_true(was_woken(fixture, zone));
			assert_int_equal(uds_sparse_cache_wait(fixture->cache, zone, tickets[zone]), zone > i);
		}
		assert_false(was_woken(fixture, OBSERVER));
	}
	assert_int_equal(uds_sparse_cache_pending(fixture->cache), 0);
}

/* A wait that comes too late does not take the bit of an earlier one away. */
static void
an_older_ticket_does_not_end_the_wait_for_a_newer_one(void **state)
{
	fixture *fixture = *state;
	uint64_t ticket;

	fetch(fixture, 0);
	assert_int_equal(request(fixture, 1), UDS_DUPLICATE);
	ticket = uds_sparse_cache_pending(fixture->cache);
	assert_true(uds_sparse_cache_wait(fixture->cache, 2, ticket));
	assert_false(uds_sparse_cache_wait(fixture->cache, 2, ticket - 1));
	assert_int_equal(load(fixture), UDS_OK);
	assert_true(was_woken(fixture, 2));
}

/* A second reader, while the first one reads. */
static void
load_meanwhile(fixture *fixture)
{
	uint64_t newest = uds_sparse_cache_pending(fixture->cache);

	assert_int_equal(request(fixture, 0), UDS_PENDING);
	assert_true(uds_sparse_cache_wait(fixture->cache, 0, newest - 1));
	assert_true(uds_sparse_cache_wait(fixture->cache, 1, newest));
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(request(fixture, 1), UDS_OK);
	/* The older load is still under way: nobody's ticket is done. */
	assert_false(uds_sparse_cache_is_done(fixture->cache, newest - 1));
	assert_int_equal(uds_sparse_cache_pending(fixture->cache), newest);
	assert_true(leads_to(fixture, 0, 1));
	assert_false(leads_to(fixture, 0, 0));
}

static void
loads_that_overtake_do_not_end_older_tickets(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(request(fixture, 0), UDS_DUPLICATE);
	assert_int_equal(request(fixture, 1), UDS_DUPLICATE);
	fixture->hook = load_meanwhile;
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(uds_sparse_cache_pending(fixture->cache), 0);
	assert_true(was_woken(fixture, 0));
	assert_true(was_woken(fixture, 1));
	EXPECT_CHAPTERS(fixture, 1, 0);
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

static void
a_zone_keeps_its_snapshot_while_chapters_are_replaced(void **state)
{
	fixture *fixture = *state;
	uds_sparse_view *view;

	make_cache(fixture, CAPACITY, 100);
	fetch_range(fixture, 0, 4);
	view = enter(fixture, 0);
	/* As many as there are spare entries; then nothing can be loaded before the zone leaves. */
	fetch_range(fixture, 10, 10 + UDS_SPARSE_SPARES);
	assert_int_equal(request(fixture, 20), UDS_DUPLICATE);
	assert_int_equal(request(fixture, 21), UDS_DUPLICATE);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(load(fixture), UDS_NOT_FOUND);
	assert_int_equal(request(fixture, 20), UDS_PENDING);
	for (uint64_t number = 0; number < 4; number++)
	{
		assert_int_equal(view->chapters[number], FIRST + 3 - number);
		assert_true(leads_to(fixture, 0, number));
	}
	assert_false(leads_to(fixture, 0, 10));
	assert_true(leave(fixture, 0));
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(load(fixture), UDS_OK);
	EXPECT_CHAPTERS(fixture, 21, 20, 11, 10);
	assert_true(leads_to(fixture, 0, 20));
}

static void
leaving_tells_of_a_starved_load_once(void **state)
{
	fixture *fixture = *state;

	make_cache(fixture, 1, THRESHOLD);
	fetch(fixture, 0);
	enter(fixture, 0);
	assert_false(leave(fixture, 0));
	enter(fixture, 0);
	enter(fixture, 1);
	fetch_range(fixture, 1, 1 + UDS_SPARSE_SPARES);
	assert_int_equal(request(fixture, 5), UDS_DUPLICATE);
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	/* A zone that is inside a later snapshot is not in the way, and has nothing to tell. */
	enter(fixture, 2);
	assert_false(leave(fixture, 2));
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	assert_false(leave(fixture, 0));
	assert_false(
		uds_sparse_cache_is_done(fixture->cache, uds_sparse_cache_pending(fixture->cache)));
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	enter(fixture, 0);
	assert_true(leave(fixture, 1));
	/* Zone 0 is inside again, but in a snapshot that does not need them. */
	assert_int_equal(load(fixture), UDS_OK);
	assert_false(leave(fixture, 0));
	EXPECT_CHAPTERS(fixture, 5);
}

/* There are entries enough, but the place of the next snapshot is not free. */
static void
loads_wait_for_a_zone_in_a_very_old_snapshot(void **state)
{
	fixture *fixture = *state;
	uds_sparse_view *view;

	make_cache(fixture, 20, 100);
	fetch_range(fixture, 0, 3);
	view = enter(fixture, 1);
	fetch_range(fixture, 3, 3 + VERSIONS - 1);
	assert_int_equal(request(fixture, 30), UDS_DUPLICATE);
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	assert_int_equal(view->count, 3);
	for (uint64_t number = 0; number < 3; number++)
		assert_true(leads_to(fixture, 1, number));
	assert_true(leave(fixture, 1));
	assert_int_equal(load(fixture), UDS_OK);
	assert_int_equal(statistics(fixture).chapters, 3 + VERSIONS);
}

/* Readers one inside the other, until one finds nothing that it could do. */
static void
load_one_more(fixture *fixture)
{
	uds_status status;

	fixture->depth++;
	fixture->hook = load_one_more;
	status = load(fixture);
	fixture->hook = NULL;
	if (status != UDS_NOT_FOUND)
		assert_int_equal(status, UDS_OK);
}

static void
many_readers_load_at_a_time(void **state)
{
	fixture *fixture = *state;

	make_cache(fixture, 20, THRESHOLD);
	for (uint64_t number = 0; number < 12; number++)
		assert_int_equal(request(fixture, number), UDS_DUPLICATE);
	/* A zone sees none of them; its snapshot stays whole. */
	enter(fixture, 0);
	load_one_more(fixture);
	assert_int_equal(fixture->depth, VERSIONS);
	assert_int_equal(statistics(fixture).loads, VERSIONS - 1);
	assert_int_equal(fixture->views[0].count, 0);
	assert_int_equal(load(fixture), UDS_NOT_FOUND);
	assert_true(leave(fixture, 0));
	fixture->depth = 0;
	load_one_more(fixture);
	/* The rest, and one more call that finds no load. */
	assert_int_equal(fixture->depth, 12 - (VERSIONS - 1) + 1);
	EXPECT_CHAPTERS(fixture, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

static void
readers_share_the_spare_entries(void **state)
{
	fixture *fixture = *state;

	fetch_range(fixture, 0, CAPACITY);
	for (uint64_t number = 10; number < 15; number++)
		assert_int_equal(request(fixture, number), UDS_DUPLICATE);
	load_one_more(fixture);
	assert_int_equal(fixture->depth, UDS_SPARSE_SPARES + 1);
	expect_statistics(fixture, CAPACITY + UDS_SPARSE_SPARES, 0, 0, 0);
	/* What the first ones give back is what the others did not find. */
	while (load(fixture) == UDS_OK)
		;
	assert_int_equal(uds_sparse_cache_pending(fixture->cache), 0);
	expect_statistics(fixture, CAPACITY + 5, 0, 0, 0);
}

/* ---- a model ------------------------------------------------------------------------------------------ */

#define STEPS        3000 /* also the loads that a model can count */
#define MODEL_WINDOW 30

typedef struct model_snapshot
{
	uint32_t count;
	uint64_t chapters[UDS_SPARSE_CHAPTERS_MAX]; /* newest first */
	uint32_t loads[UDS_SPARSE_CHAPTERS_MAX];    /* which load they came with */
} model_snapshot;

typedef struct model_zone
{
	uint64_t version; /* 0 = outside */
	model_snapshot view;
	uint32_t uses[STEPS]; /* of a load, when misses began */
	uint32_t misses[STEPS];
	bool waits;
	bool is_woken;
} model_zone;

/* The cache as the header tells it, with chapters in sorted arrays and loads by their number. */
typedef struct model
{
	uint32_t capacity;
	uint32_t threshold;
	uint64_t version;
	model_snapshot present;
	uint64_t clock;
	uint64_t last_used[STEPS];
	uint32_t uses[STEPS];
	uint32_t skipped_at[STEPS];
	uint64_t retired[UDS_SPARSE_ENTRIES_MAX]; /* first versions without what is not free yet */
	uint32_t retired_count;
	uint64_t queue[UDS_SPARSE_LOADS_MAX];
	uint32_t queued;
	uint64_t last_sequence;
	uint64_t failed[FAILURES];
	uint32_t next_failed;
	uint64_t starved; /* zones inside must have this version, so that a load can begin; 0 = none */
	uds_sparse_statistics statistics;
	model_zone zones[ZONES];
} model;

static uint32_t
model_find(const model *model, uint64_t chapter)
{
	uint32_t i = 0;

	while (i < model->present.count && model->present.chapters[i] != chapter)
		i++;
	return i;
}

static void
model_use(model *model, uint64_t chapter)
{
	uint32_t i = model_find(model, chapter);

	if (i == model->present.count)
		return;
	model->uses[model->present.loads[i]]++;
	model->last_used[model->present.loads[i]] = ++model->clock;
}

static uds_status
model_request(model *model, uint64_t chapter, uint64_t oldest)
{
	if (chapter < oldest)
		return UDS_NOT_FOUND;
	if (model_find(model, chapter) < model->present.count)
	{
		model_use(model, chapter);
		return UDS_OK;
	}
	for (uint32_t i = 0; i < FAILURES; i++)
	{
		if (model->failed[i] == chapter)
			return UDS_NOT_FOUND;
	}
	for (uint32_t i = 0; i < model->queued; i++)
	{
		if (model->queue[i] == chapter)
			return UDS_PENDING;
	}
	if (model->queued == UDS_SPARSE_LOADS_MAX)
	{
		model->statistics.drops++;
		return UDS_OVERFLOW;
	}
	model->queue[model->queued++] = chapter;
	model->last_sequence++;
	return UDS_DUPLICATE;
}

static bool
model_is_done(const model *model, uint64_t ticket)
{
	return ticket + model->queued <= model->last_sequence;
}

static void
model_drop(model *model, uint32_t i)
{
	model_snapshot *present = &model->present;

	model->retired[model->retired_count++] = model->version;
	present->count--;
	for (; i < present->count; i++)
	{
		present->chapters[i] = present->chapters[i + 1];
		present->loads[i] = present->loads[i + 1];
	}
}

/* The chapter that has to go: the first in the order of (not skipped, last use). */
static uint32_t
model_victim(const model *model)
{
	uint32_t victim = 0;

	for (uint32_t i = 1; i < model->present.count; i++)
	{
		uint32_t a = model->present.loads[i];
		uint32_t b = model->present.loads[victim];
		bool a_skipped = model->skipped_at[a] == model->uses[a];
		bool b_skipped = model->skipped_at[b] == model->uses[b];

		if (a_skipped != b_skipped ? a_skipped : model->last_used[a] < model->last_used[b])
			victim = i;
	}
	return victim;
}

static void
model_publish(model *model, uint64_t chapter, uint64_t oldest)
{
	model_snapshot *present = &model->present;
	uint32_t place;

	model->version++;
	while (present->count > 0 && present->chapters[present->count - 1] < oldest)
		model_drop(model, present->count - 1);
	if (present->count == model->capacity)
		model_drop(model, model_victim(model));
	for (place = present->count; place > 0 && present->chapters[place - 1] < chapter; place--)
	{
		present->chapters[place] = present->chapters[place - 1];
		present->loads[place] = present->loads[place - 1];
	}
	present->chapters[place] = chapter;
	present->loads[place] = (uint32_t) model->statistics.loads++;
	present->count++;
	model_use(model, chapter);
}

/* Oldest version that a zone is inside; UINT64_MAX: none is. */
static uint64_t
model_entered(const model *model)
{
	uint64_t entered = UINT64_MAX;

	for (uint32_t i = 0; i < ZONES; i++)
	{
		if (model->zones[i].version != 0 && model->zones[i].version < entered)
			entered = model->zones[i].version;
	}
	return entered;
}

/* The version that zones inside must have, so that a load can begin that cannot now. */
static uint64_t
model_needed(const model *model)
{
	uint64_t place = model->version + 1 < VERSIONS ? 1 : model->version + 2 - VERSIONS;
	uint64_t retired = UINT64_MAX;

	if (model->present.count + model->retired_count < model->capacity + UDS_SPARSE_SPARES)
		return place;
	for (uint32_t i = 0; i < model->retired_count; i++)
		retired = UDS_MIN(retired, model->retired[i]);
	return UDS_MAX(place, retired);
}

/* May a load begin: is there an entry, and room for a snapshot? */
static bool
model_has_room(model *model)
{
	uint64_t entered = model_entered(model);
	uint32_t kept = 0;

	for (uint32_t i = 0; i < model->retired_count; i++)
	{
		if (model->retired[i] > entered)
			model->retired[kept++] = model->retired[i];
	}
	model->retired_count = kept;
	return model->present.count + kept < model->capacity + UDS_SPARSE_SPARES &&
	       (entered == UINT64_MAX || model->version + 1 - entered < VERSIONS);
}

/* Which chapters of the volume cannot be loaded. */
static bool
is_damaged(uint64_t number)
{
	return number % 3 == 1;
}

static bool
is_missing(uint64_t number)
{
	return number % 11 == 5;
}

static uds_status
model_load(model *model, uint64_t oldest, bool is_stopped)
{
	uint64_t chapter = model->queue[0];

	if (model->queued == 0)
		return UDS_NOT_FOUND;
	if (chapter < oldest)
		model->statistics.expired++;
	else if (!model_has_room(model))
	{
		model->starved = model_needed(model);
		return UDS_NOT_FOUND;
	}
	else if (is_missing(chapter - FIRST) || (!is_stopped && is_damaged(chapter - FIRST)))
	{
		model->statistics.failures++;
		model->failed[model->next_failed++ % FAILURES] = chapter;
	}
	else if (is_stopped)
		return UDS_STOPPED;
	else
	{
		model_publish(model, chapter, oldest);
		model->failed[model->next_failed++ % FAILURES] = UDS_NO_CHAPTER;
	}
	model->queued--;
	memmove(model->queue, model->queue + 1, model->queued * sizeof(model->queue[0]));
	for (uint32_t i = 0; i < ZONES; i++)
	{
		model->zones[i].is_woken |= model->zones[i].waits;
		model->zones[i].waits = false;
	}
	return UDS_OK;
}

static uds_status
model_search(model *model, const book *book, uint32_t number, const uds_name *name, uint64_t below,
             uint64_t oldest, uint64_t *chapter, uint32_t *page)
{
	model_zone *zone = &model->zones[number];

	for (uint32_t i = 0; i < zone->view.count; i++)
	{
		uint32_t load = zone->view.loads[i];

		if (zone->view.chapters[i] >= below || zone->view.chapters[i] < oldest)
			continue;
		if (zone->uses[load] != model->uses[load])
		{
			zone->uses[load] = model->uses[load];
			zone->misses[load] = 0;
		}
		if (zone->misses[load] > model->threshold)
			continue;
		*chapter = zone->view.chapters[i];
		if (reference(book, *chapter - FIRST, name, page) == UDS_OK)
			return UDS_OK;
		if (++zone->misses[load] > model->threshold)
			model->skipped_at[load] = zone->uses[load];
	}
	return UDS_NOT_FOUND;
}

static void
compare_views(const uds_sparse_view *view, const model_snapshot *snapshot)
{
	assert_int_equal(view->count, snapshot->count);
	for (uint32_t i = 0; i < view->count; i++)
		assert_int_equal(view->chapters[i], snapshot->chapters[i]);
}

/* Look for a name in all chapters that may have it, as a zone does that finds wrong records. */
static void
compare_search(fixture *fixture, model *model, uint32_t zone, const uds_name *name)
{
	uint64_t below = ALL;
	uds_status expected;

	do
	{
		uint64_t chapters[2];
		uint32_t pages[2];

		expected = model_search(model,
		                        fixture->book,
		                        zone,
		                        name,
		                        below,
		                        fixture->oldest,
		                        &chapters[0],
		                        &pages[0]);
		assert_int_equal(uds_sparse_cache_search(fixture->cache,
		                                         &fixture->views[zone],
		                                         name,
		                                         below,
		                                         fixture->oldest,
		                                         &chapters[1],
		                                         &pages[1]),
		                 expected);
		if (expected == UDS_OK)
		{
			assert_int_equal(chapters[1], chapters[0]);
			assert_int_equal(pages[1], pages[0]);
			below = chapters[0];
		}
	} while (expected == UDS_OK);
}

static uds_name
random_name(const book *book, uds_random *random, uint64_t number)
{
	switch (uds_random_below(random, 4))
	{
		case 0:
			return uds_random_name(random);
		case 1:
			return uds_generate_counter_name(SHARED);
		default:
			return name_of(book, number, (uint32_t) uds_random_below(random, records_of(book)));
	}
}

/* What a zone does. */
static void
zone_step(fixture *fixture, model *model, uds_random *random)
{
	uint32_t number = (uint32_t) uds_random_below(random, ZONES);
	model_zone *zone = &model->zones[number];
	uint64_t chapter = fixture->oldest + uds_random_below(random, MODEL_WINDOW);
	uds_name name = random_name(fixture->book, random, chapter - FIRST);

	if (zone->version == 0)
	{
		compare_views(enter(fixture, number), &model->present);
		zone->version = model->version;
		zone->view = model->present;
	}
	else if (uds_random_one_in(random, 3))
	{
		bool is_told;

		zone->version = 0;
		is_told = model->starved != 0 && model_entered(model) >= model->starved;
		assert_int_equal(leave(fixture, number), is_told);
		if (is_told)
			model->starved = 0;
		zone->view.count = 0;
	}
	else if (uds_random_one_in(random, 4))
	{
		uds_sparse_cache_hit(fixture->cache, chapter);
		model_use(model, chapter);
	}
	else
		compare_search(fixture, model, number, &name);
}

static void
ticket_step(fixture *fixture, model *model, uds_random *random)
{
	uint32_t zone = (uint32_t) uds_random_below(random, ZONES);
	uint64_t ticket = uds_random_range(random, model->last_sequence / 2, model->last_sequence);
	bool is_done = model_is_done(model, ticket);

	assert_int_equal(uds_sparse_cache_is_done(fixture->cache, ticket), is_done);
	assert_int_equal(uds_sparse_cache_pending(fixture->cache),
	                 model->queued > 0 ? model->last_sequence : 0);
	if (model->zones[zone].version != 0)
		return;
	assert_int_equal(uds_sparse_cache_wait(fixture->cache, zone, ticket), !is_done);
	model->zones[zone].waits |= !is_done;
}

/* What a reader does; its window may be an older one. */
static void
load_step(fixture *fixture, model *model, uds_random *random)
{
	uint64_t oldest = fixture->oldest - uds_random_below(random, 2);
	bool is_stopped = uds_random_one_in(random, 10);

	if (is_stopped)
		posix_host_stop(&fixture->host, READER);
	assert_int_equal(uds_sparse_cache_load(fixture->cache, &fixture->volume, oldest),
	                 model_load(model, oldest, is_stopped));
	posix_host_clear_stop(&fixture->host, READER);
}

static void
run_model(fixture *fixture, model *model, uds_random *random)
{
	for (uint32_t step = 0; step < STEPS; step++)
	{
		uint64_t draw = uds_random_below(random, 16);
		uint64_t chapter = fixture->oldest + uds_random_below(random, MODEL_WINDOW + 1) - 1;

		if (draw < 5)
			assert_int_equal(uds_sparse_cache_request(fixture->cache, chapter, fixture->oldest),
			                 model_request(model, chapter, fixture->oldest));
		else if (draw < 8 && (step / 200 % 3 > 0 || uds_random_one_in(random, 10)))
			load_step(fixture, model, random);
		else if (draw < 9)
			ticket_step(fixture, model, random);
		else
			zone_step(fixture, model, random);
		if (uds_random_one_in(random, STEPS / 10) &&
		    fixture->oldest < FIRST + CHAPTERS - MODEL_WINDOW)
			fixture->oldest++;
		for (uint32_t zone = 0; zone < ZONES; zone++)
		{
			assert_int_equal(was_woken(fixture, zone), model->zones[zone].is_woken);
			model->zones[zone].is_woken = false;
		}
		if (step % 100 == 0)
			assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	}
	expect_statistics(fixture,
	                  model->statistics.loads,
	                  model->statistics.failures,
	                  model->statistics.expired,
	                  model->statistics.drops);
	assert_int_equal(statistics(fixture).chapters, model->present.count);
}

static void
random_operations_agree_with_the_model(void **state)
{
	static const uint32_t capacities[] = { 1, 2, 4, 7, 12 };
	fixture *fixture = *state;
	model *model = malloc(sizeof(*model));
	uint64_t seed = uds_random_seed(6);
	uint32_t loads = 0;
	uint32_t failures = 0;
	uint32_t expired = 0;
	uint32_t drops = 0;
	uds_random random;

	print_message("seed %llu\n", (unsigned long long) seed);
	uds_random_init(&random, seed);
	for (uint64_t number = 0; number < CHAPTERS; number++)
	{
		uint32_t physical = uds_geometry_physical_chapter(&fixture->book->geometry, FIRST + number);

		if (is_damaged(number))
			damage(fixture, number, (uint32_t) number % 3);
		if (is_missing(number))
			atomic_store(&fixture->slots[physical].chapter, UDS_NO_CHAPTER);
	}
	for (uint32_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++)
	{
		make_cache(fixture, capacities[i], 5);
		fixture->oldest = FIRST + 1;
		memset(model, 0, sizeof(*model));
		model->capacity = capacities[i];
		model->threshold = 5;
		model->version = 1;
		memset(model->skipped_at, 0xff, sizeof(model->skipped_at));
		memset(model->failed, 0xff, sizeof(model->failed));
		run_model(fixture, model, &random);
		loads += model->statistics.loads;
		failures += model->statistics.failures;
		expired += model->statistics.expired;
		drops += model->statistics.drops;
	}
	free(model);
	print_message("%u loads, %u failures, %u expired, %u drops\n", loads, failures, expired, drops);
	/* The runs have seen everything. */
	assert_true(loads > STEPS / 10 && failures > 0 && expired > 0 && drops > 0);
}

/* ---- threads ------------------------------------------------------------------------------------------- */

#define SEARCHERS     3
#define LOADERS       3
#define LOADS         300
#define STRESS_WINDOW 24
#define WAIT_SECONDS  20

typedef struct stress
{
	fixture *fixture;
	uds_sparse_cache *cache;
	_Atomic uint64_t oldest;
	_Atomic bool must_end;
	_Atomic uint64_t queued; /* requests that have queued a load */
	_Atomic uint64_t dropped;
	_Atomic uint64_t wrong;
	_Atomic uint64_t lost_wakes;
	_Atomic uint64_t searches;
	_Atomic uint64_t waits;
	_Atomic uint32_t round; /* of two threads that begin each round together */
	_Atomic uint32_t finished;
} stress;

typedef struct stress_thread
{
	stress *stress;
	uint32_t number;
	pthread_t thread;
} stress_thread;

/* Wait until a worker is woken; false when that takes too long. */
static bool
wait_for_wake(stress *stress, uds_worker_id id)
{
	posix_worker *worker = &stress->fixture->host.workers[id];
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
	if (!is_woken)
	{
		atomic_fetch_add(&stress->lost_wakes, 1);
		atomic_store(&stress->must_end, true);
	}
	return is_woken;
}

/* Any one of them: who is woken goes on until there is nothing to do. */
static void
wake_a_reader(uds_port *port, uds_random *random)
{
	uds_port_wake(port, READER + 1 + (uint32_t) uds_random_below(random, LOADERS));
}

/* Search for some names inside a snapshot; the number of wrong answers. */
static uint32_t
search_some(stress *stress, uds_sparse_view *view, uds_random *random)
{
	const book *book = stress->fixture->book;
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < 16 && view->count > 0; i++)
	{
		uint64_t chapter = view->chapters[uds_random_below(random, view->count)];
		uint32_t record = (uint32_t) uds_random_below(random, records_of(book));
		uds_name name = name_of(book, chapter - FIRST, record);
		uint32_t expected;
		uint32_t page;

		if (uds_sparse_cache_search_chapter(stress->cache, view, &name, chapter, &page) != UDS_OK ||
		    page != record / UDS_RECORDS_PER_PAGE)
			wrong++;
		if (i % 4 == 0)
			name = uds_random_name(random);
		if (uds_sparse_cache_search(stress->cache, view, &name, ALL, 0, &chapter, &page) != UDS_OK)
			continue;
		if (reference(book, chapter - FIRST, &name, &expected) != UDS_OK || page != expected)
			wrong++;
		if (i % 4 == 1)
			uds_sparse_cache_hit(stress->cache, chapter);
	}
	return wrong;
}

static void *
searcher_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_port port = posix_port(&stress->fixture->host, UDS_WORKER_ZONE + self->number);
	uds_sparse_view view = { 0 };
	uds_random random;

	uds_random_init(&random, self->number + 1);
	while (!atomic_load(&stress->must_end))
	{
		uint64_t ticket;

		uds_sparse_cache_enter(stress->cache, self->number, &view);
		atomic_fetch_add(&stress->wrong, search_some(stress, &view, &random));
		atomic_fetch_add(&stress->searches, view.count > 0);
		if (uds_sparse_cache_leave(stress->cache, self->number, &view))
			wake_a_reader(&port, &random);
		if (!uds_random_one_in(&random, 4))
			continue;
		ticket = uds_sparse_cache_pending(stress->cache);
		while (uds_sparse_cache_wait(stress->cache, self->number, ticket))
		{
			atomic_fetch_add(&stress->waits, 1);
			if (!wait_for_wake(stress, UDS_WORKER_ZONE + self->number))
				return NULL;
		}
		if (!uds_sparse_cache_is_done(stress->cache, ticket))
			atomic_fetch_add(&stress->wrong, 1);
	}
	return NULL;
}

static void *
loader_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_worker_id worker = READER + 1 + self->number;
	uds_port port = posix_port(&stress->fixture->host, worker);
	uds_volume volume = make_volume(stress->fixture, &port);

	for (;;)
	{
		while (uds_sparse_cache_load(stress->cache, &volume, atomic_load(&stress->oldest)) ==
		       UDS_OK)
			;
		if (atomic_load(&stress->lost_wakes) > 0 ||
		    (atomic_load(&stress->must_end) && uds_sparse_cache_pending(stress->cache) == 0))
			break;
		if (!wait_for_wake(stress, worker))
			break;
	}
	/* The others may wait for a load that this one has ended. */
	for (uint32_t i = 0; i < LOADERS; i++)
		uds_port_wake(&port, READER + 1 + i);
	uds_volume_close(&volume);
	return NULL;
}

/* Ask for a chapter; true when it is being loaded. */
static bool
ask(stress *stress, uint64_t chapter, uds_port *port, uds_random *random)
{
	switch (uds_sparse_cache_request(stress->cache, chapter, atomic_load(&stress->oldest)))
	{
		case UDS_DUPLICATE:
			atomic_fetch_add(&stress->queued, 1);
			wake_a_reader(port, random);
			return true;
		case UDS_PENDING:
			return true;
		case UDS_OVERFLOW:
			atomic_fetch_add(&stress->dropped, 1);
			return false;
		default:
			return false;
	}
}

/* Ask for chapters until enough of them have been loaded. */
static void *
requester_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_port port = posix_port(&stress->fixture->host, READER);
	uds_sparse_statistics statistics = { 0 };
	uds_random random;

	uds_random_init(&random, 77);
	while (statistics.loads < LOADS && !atomic_load(&stress->must_end))
	{
		uint64_t oldest = FIRST + statistics.loads * (CHAPTERS - STRESS_WINDOW) / LOADS;
		uint64_t chapter = oldest + uds_random_below(&random, STRESS_WINDOW);
		bool is_eager = uds_random_one_in(&random, 4);

		atomic_store(&stress->oldest, oldest);
		/* Who asks all the time asks at the moment when the load ends, too. */
		for (uint32_t i = 1;
		     ask(stress, chapter, &port, &random) && is_eager && !atomic_load(&stress->must_end);
		     i++)
		{
			if (i % 64 == 0)
				sched_yield();
		}
		uds_sparse_cache_statistics(stress->cache, &statistics);
		sched_yield();
	}
	atomic_store(&stress->must_end, true);
	for (uint32_t i = 0; i < LOADERS; i++)
		uds_port_wake(&port, READER + 1 + i);
	return NULL;
}

static void
threads_find_what_their_snapshots_hold(void **state)
{
	fixture *fixture = *state;
	stress stress = { .fixture = fixture, .oldest = FIRST };
	stress_thread threads[SEARCHERS + LOADERS + 1];
	uds_sparse_statistics found;
	uint32_t count = 0;

	make_cache(fixture, 3, 50);
	stress.cache = fixture->cache;
	for (uint64_t number = 0; number < CHAPTERS; number += 4)
		damage(fixture, number, (uint32_t) number % 3);
	for (uint32_t i = 0; i < SEARCHERS + LOADERS + 1; i++)
	{
		bool is_searcher = i < SEARCHERS;
		bool is_loader = !is_searcher && i < SEARCHERS + LOADERS;

		threads[i] = (stress_thread){ .stress = &stress, .number = is_loader ? i - SEARCHERS : i };
		count += pthread_create(&threads[i].thread,
		                        NULL,
		                        is_searcher ? searcher_main
		                        : is_loader ? loader_main
		                                    : requester_main,
		                        &threads[i]) == 0;
	}
	assert_int_equal(count, SEARCHERS + LOADERS + 1);
	for (uint32_t i = 0; i < count; i++)
		pthread_join(threads[i].thread, NULL);
	assert_int_equal(atomic_load(&stress.lost_wakes), 0);
	assert_int_equal(atomic_load(&stress.wrong), 0);
	assert_true(atomic_load(&stress.searches) > 0);
	assert_true(atomic_load(&stress.waits) > 0);
	found = statistics(fixture);
	assert_true(found.loads >= LOADS);
	assert_int_equal(found.loads + found.failures + found.expired, atomic_load(&stress.queued));
	assert_int_equal(found.drops, atomic_load(&stress.dropped));
	assert_int_equal(atomic_load(&fixture->bad_pages), found.failures);
	assert_int_equal(uds_sparse_cache_pending(fixture->cache), 0);
}

#define ROUNDS 20000

static void
spin(uds_random *random, uint32_t most)
{
	uint32_t count = (uint32_t) uds_random_below(random, most);

	for (volatile uint32_t i = 0; i < count; i++)
		;
}

static void *
waiter_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_random random;

	uds_random_init(&random, 4);
	for (uint32_t round = 1; round <= ROUNDS && !atomic_load(&stress->must_end); round++)
	{
		uint64_t ticket;

		while (atomic_load(&stress->round) < round)
			sched_yield();
		ticket = uds_sparse_cache_pending(stress->cache);
		spin(&random, 4000);
		if (uds_sparse_cache_wait(stress->cache, 0, ticket))
			(void) wait_for_wake(stress, UDS_WORKER_ZONE);
		atomic_store(&stress->finished, round);
	}
	return NULL;
}

static void
a_zone_may_begin_to_wait_when_a_load_ends(void **state)
{
	fixture *fixture = make_fixture(&books[ONE_PAGE]);
	stress stress = { .fixture = fixture, .cache = fixture->cache };
	stress_thread zone = { .stress = &stress };

	(void) state;
	assert_int_equal(pthread_create(&zone.thread, NULL, waiter_main, &zone), 0);
	for (uint32_t round = 1; round <= ROUNDS && !atomic_load(&stress.must_end); round++)
	{
		/* A wake that came for nothing must not hide that one is lost. */
		(void) was_woken(fixture, 0);
		assert_int_equal(request(fixture, round % CHAPTERS), UDS_DUPLICATE);
		atomic_store(&stress.round, round);
		assert_int_equal(load(fixture), UDS_OK);
		while (atomic_load(&stress.finished) < round && !atomic_load(&stress.must_end))
			sched_yield();
	}
	pthread_join(zone.thread, NULL);
	assert_int_equal(atomic_load(&stress.lost_wakes), 0);
	expect_statistics(fixture, ROUNDS, 0, 0, 0);
	free_fixture(fixture);
}

/*
 * ---- stalls -------------------------------------------------------------------------------------
 *
 * A signal stops a thread wherever it is, for as long as it takes to load many chapters, or to leave
 * the snapshot that it found in its way.  So that it is stopped where that matters, a thread does
 * again and again what it is about to do, and goes on with that as soon as it has been stopped.
 */

#define STALLS 1500
#define AGAIN  2000 /* tries, at most */

static _Atomic uint32_t stalls_wanted; /* grows with each signal */
static _Atomic uint32_t stalls_begun;
static _Atomic uint32_t stalls_ended;

static void
stand_still(int signal_number)
{
	uint32_t number = atomic_load(&stalls_wanted);

	(void) signal_number;
	atomic_store(&stalls_begun, number);
	while (atomic_load(&stalls_ended) < number)
		sched_yield();
}

static void
mask_stalls(int how)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(how, &signals, NULL);
}

/* Wait as wait_for_wake does, but not stopped with the mutex of the worker in hand. */
static bool
wait_unstopped(stress *stress, uds_worker_id id)
{
	bool is_woken;

	mask_stalls(SIG_BLOCK);
	is_woken = wait_for_wake(stress, id);
	mask_stalls(SIG_UNBLOCK);
	return is_woken;
}

static void
stress_init(stress *stress, fixture *fixture, uint32_t capacity)
{
	struct sigaction action = { .sa_handler = stand_still };

	make_cache(fixture, capacity, 50);
	*stress = (struct stress){ .fixture = fixture, .cache = fixture->cache };
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
}

/* Ask a thread to stand still, at a random moment from now. */
static void
begin_stall(pthread_t thread, uds_random *random)
{
	spin(random, 3000);
	atomic_fetch_add(&stalls_wanted, 1);
	pthread_kill(thread, SIGUSR1);
}

static bool
has_begun_stall(void)
{
	return atomic_load(&stalls_begun) == atomic_load(&stalls_wanted);
}

static void
end_stall(void)
{
	atomic_store(&stalls_ended, atomic_load(&stalls_wanted));
}

static void *
slow_searcher_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_sparse_view view = { 0 };
	uds_random random;

	uds_random_init(&random, 3);
	while (!atomic_load(&stress->must_end))
	{
		uint32_t seen = atomic_load(&stalls_begun);

		for (uint32_t i = 0; i < AGAIN; i++)
		{
			uds_sparse_cache_enter(stress->cache, 0, &view);
			if (atomic_load(&stalls_begun) != seen)
				break;
			(void) uds_sparse_cache_leave(stress->cache, 0, &view);
		}
		if (view.version == 0)
			continue;
		atomic_fetch_add(&stress->wrong, search_some(stress, &view, &random));
		(void) uds_sparse_cache_leave(stress->cache, 0, &view);
	}
	return NULL;
}

static void
a_zone_may_stop_where_it_enters(void **state)
{
	fixture *fixture = make_fixture(&books[ONE_PAGE]);
	stress stress;
	stress_thread zone = { .stress = &stress };
	uint64_t number = 0;
	uds_random random;

	(void) state;
	stress_init(&stress, fixture, 2);
	uds_random_init(&random, uds_random_seed(7));
	assert_int_equal(pthread_create(&zone.thread, NULL, slow_searcher_main, &zone), 0);
	for (uint32_t i = 0; i < STALLS; i++)
	{
		begin_stall(zone.thread, &random);
		while (!has_begun_stall())
			sched_yield();
		for (uint32_t j = 0; j < VERSIONS + 2; j++)
		{
			(void) request(fixture, number++ % CHAPTERS);
			if (load(fixture) != UDS_OK)
				break;
		}
		end_stall();
	}
	atomic_store(&stress.must_end, true);
	pthread_join(zone.thread, NULL);
	assert_int_equal(atomic_load(&stress.wrong), 0);
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	free_fixture(fixture);
}

static void *
slow_reader_main(void *argument)
{
	stress_thread *self = argument;
	stress *stress = self->stress;
	uds_port port = posix_port(&stress->fixture->host, READER + 1);
	uds_volume volume = make_volume(stress->fixture, &port);
	uds_sparse_view view = { 0 };
	uint32_t seen = atomic_load(&stalls_begun);
	uint32_t tries = 0;

	for (;;)
	{
		while (uds_sparse_cache_load(stress->cache, &volume, FIRST) == UDS_OK)
			;
		if (tries++ < AGAIN && atomic_load(&stalls_begun) == seen)
		{
			/* As a zone, it takes the mark of its own load, and has to try again then. */
			uds_sparse_cache_enter(stress->cache, 1, &view);
			if (uds_sparse_cache_leave(stress->cache, 1, &view))
				continue;
		}
		if (atomic_load(&stress->must_end) || !wait_unstopped(stress, READER + 1))
			break;
		seen = atomic_load(&stalls_begun);
		tries = 0;
	}
	uds_volume_close(&volume);
	return NULL;
}

static void
a_reader_may_stop_where_it_finds_no_entry(void **state)
{
	fixture *fixture = make_fixture(&books[ONE_PAGE]);
	stress stress;
	stress_thread reader = { .stress = &stress };
	uint64_t number = 0;
	uds_random random;

	(void) state;
	stress_init(&stress, fixture, 1);
	uds_random_init(&random, uds_random_seed(9));
	assert_int_equal(pthread_create(&reader.thread, NULL, slow_reader_main, &reader), 0);
	for (uint32_t i = 0; i < STALLS && !atomic_load(&stress.must_end); i++)
	{
		bool is_told;

		enter(fixture, 0);
		/* One more than there are entries for while the zone is inside. */
		for (uint32_t j = 0; j <= UDS_SPARSE_SPARES; j++)
			(void) request(fixture, number++ % CHAPTERS);
		uds_port_wake(&fixture->port, READER + 1);
		begin_stall(reader.thread, &random);
		/* It may sleep already, and be stopped when it is woken. */
		for (uint32_t j = 0; !has_begun_stall(); j++)
		{
			if (j > AGAIN)
				uds_port_wake(&fixture->port, READER + 1);
			sched_yield();
		}
		is_told = leave(fixture, 0);
		end_stall();
		if (is_told)
			uds_port_wake(&fixture->port, READER + 1);
		while (uds_sparse_cache_pending(fixture->cache) != 0 && !atomic_load(&stress.must_end))
			sched_yield();
	}
	atomic_store(&stress.must_end, true);
	uds_port_wake(&fixture->port, READER + 1);
	pthread_join(reader.thread, NULL);
	assert_int_equal(atomic_load(&stress.lost_wakes), 0);
	assert_int_equal(uds_sparse_cache_check(fixture->cache), UDS_OK);
	expect_statistics(fixture, (uint64_t) STALLS * (UDS_SPARSE_SPARES + 1), 0, 0, 0);
	free_fixture(fixture);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(sizes_are_told_for_possible_caches_only),
		cmocka_unit_test(every_record_of_a_loaded_chapter_is_found),
		CASE(caches_of_all_sizes_work),
		CASE(the_newest_chapter_answers_first),
		CASE(only_chapters_of_the_view_can_be_searched),
		CASE(pages_that_make_no_sense_lead_nowhere),
		CASE(check_notices_pages_of_another_chapter),
		CASE(vector_tv6),
		CASE(a_zone_skips_what_it_searches_in_vain_until_it_is_used),
		CASE(a_use_ends_skipping_inside_a_snapshot),
		CASE(a_search_for_one_chapter_counts_nothing),
		CASE(misses_end_with_the_chapter),
		CASE(skipped_chapters_go_before_old_ones),
		CASE(expired_chapters_go_first),
		CASE(a_chapter_is_loaded_once_for_all_who_ask),
		CASE(loads_are_performed_in_their_order),
		CASE(a_full_queue_drops_requests),
		CASE(what_has_expired_is_not_loaded),
		CASE(expired_loads_end_without_an_entry),
		CASE(loads_that_fail_are_counted_and_remembered),
		CASE(the_last_failures_only_are_remembered),
		CASE(a_stopped_load_waits_again),
		CASE(who_waits_for_a_load_is_woken_when_it_has_ended),
		CASE(an_older_ticket_does_not_end_the_wait_for_a_newer_one),
		CASE(loads_that_overtake_do_not_end_older_tickets),
		CASE(a_zone_keeps_its_snapshot_while_chapters_are_replaced),
		CASE(leaving_tells_of_a_starved_load_once),
		CASE(loads_wait_for_a_zone_in_a_very_old_snapshot),
		CASE(many_readers_load_at_a_time),
		CASE(readers_share_the_spare_entries),
		CASE(random_operations_agree_with_the_model),
		CASE(threads_find_what_their_snapshots_hold),
		cmocka_unit_test(a_zone_may_begin_to_wait_when_a_load_ends),
		cmocka_unit_test(a_zone_may_stop_where_it_enters),
		cmocka_unit_test(a_reader_may_stop_where_it_finds_no_entry),
	};

	return cmocka_run_group_tests(tests, build_books, free_books);
}
