/*
 * test_volume.c: chapters come back from the volume page by page as they were written; what is
 * damaged, misplaced, of another index, too short or expired is told from what is good.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/block.h"
#include "../../src/engine/chapter_writer.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define RECORD_PAGES 4
#define CHAPTERS     8
#define WRITTEN      6 /* chapters on the volume at first */
#define RECORDS      (RECORD_PAGES * UDS_RECORDS_PER_PAGE)

/* An index that has written some chapters, and the test's own view of its volume. */
typedef struct fixture
{
	engine engine;
	uds_geometry geometry;
	uds_volume volume;
	uint8_t key[UDS_NAME_KEY_BYTES];
	uds_error error;
	uint8_t *image;
	const char *operation;      /* that fails */
	uds_chapter_slot *expiring; /* slot that loses its chapter at the next read */
} fixture;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	(void) name;
	if (fixture->expiring != NULL && strcmp(operation, "read") == 0)
	{
		atomic_store(&fixture->expiring->chapter, UDS_NO_CHAPTER);
		fixture->expiring = NULL;
	}
	return fixture->operation != NULL && strcmp(operation, fixture->operation) == 0 ? EIO : 0;
}

static void
post(fixture *fixture, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		uds_name name = uds_generate_counter_name(first + i);
		uds_metadata metadata = uds_generate_metadata(first + i, 0);

		(void) engine_request(&fixture->engine, UDS_POST, &name, &metadata);
	}
	engine_settle(&fixture->engine);
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(RECORD_PAGES, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);
	uds_index *index;

	assert_int_equal(uds_geometry_init(&fixture->geometry, &config.geometry), UDS_OK);
	engine_init(&fixture->engine, &config);
	engine_must_open(&fixture->engine);
	index = fixture->engine.index;
	post(fixture, 0, WRITTEN * RECORDS);
	assert_int_equal(uds_index_name_key(index, fixture->key), UDS_OK);
	fixture->volume = (uds_volume){
		.port = &fixture->engine.writer_port,
		.geometry = &fixture->geometry,
		.slots = index->slots,
		.nonce = &index->nonce,
		.bad_pages = &index->bad_pages,
	};
	assert_int_equal(uds_volume_open(&fixture->volume, UDS_FILE_WRITE, &fixture->error), UDS_OK);
	fixture->image = malloc((size_t) fixture->geometry.pages_per_chapter * UDS_PAGE_BYTES);
	fixture->engine.host.fault = fail_operation;
	fixture->engine.host.fault_context = fixture;
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	uds_volume_close(&fixture->volume);
	engine_destroy(&fixture->engine);
	free(fixture->image);
	free(fixture);
	return 0;
}

static const char *
directory_of(fixture *fixture)
{
	return fixture->engine.host.directory;
}

static size_t
offset_of(fixture *fixture, uint32_t physical, uint32_t page)
{
	return (size_t) (uds_geometry_chapter_page(&fixture->geometry, physical) + page) *
	       UDS_PAGE_BYTES;
}

static uint32_t
seal_page(fixture *fixture)
{
	return fixture->geometry.pages_per_chapter - 1;
}

static uint64_t
bad_pages(fixture *fixture)
{
	return atomic_load(&fixture->engine.index->bad_pages);
}

static void
chapters_lie_one_behind_the_other(void **state)
{
	fixture *fixture = *state;
	const uds_geometry *geometry = &fixture->geometry;

	assert_int_equal(uds_geometry_chapter_page(geometry, 0), 1);
	assert_int_equal(geometry->pages_per_chapter, geometry->index_pages + RECORD_PAGES + 1);
	for (uint32_t i = 0; i + 1 < CHAPTERS; i++)
		assert_int_equal(offset_of(fixture, i + 1, 0),
		                 offset_of(fixture, i, seal_page(fixture)) + UDS_PAGE_BYTES);
	assert_int_equal(offset_of(fixture, CHAPTERS, 0), geometry->bytes_per_volume);
	/* The file grows with the chapters. */
	assert_int_equal(files_size(directory_of(fixture), UDS_VOLUME_FILE),
	                 offset_of(fixture, WRITTEN, 0));
	post(fixture, 100000, (CHAPTERS + 3) * RECORDS);
	assert_int_equal(files_size(directory_of(fixture), UDS_VOLUME_FILE),
	                 geometry->bytes_per_volume);
	assert_int_equal(engine_statistics(&fixture->engine).volume_bytes, geometry->bytes_per_volume);
}

static void
every_record_is_found_through_the_pages(void **state)
{
	fixture *fixture = *state;
	const uds_geometry *geometry = &fixture->geometry;
	uint8_t page[UDS_PAGE_BYTES];

	for (uint32_t i = 0; i < WRITTEN * RECORDS; i++)
	{
		uint64_t chapter = i / RECORDS;
		uds_name name = uds_generate_counter_name(i);
		uds_metadata expected = uds_generate_metadata(i, 0);
		uds_metadata metadata;
		bool is_tombstone;
		uint32_t record_page;
		uint32_t list = uds_geometry_chapter_list(geometry, uds_name_chapter_field(&name));
		uint32_t index_page =
			uds_page_map_find(fixture->engine.index->page_map, (uint32_t) chapter, list);

		assert_int_equal(uds_volume_read_page(&fixture->volume, chapter, index_page, page), UDS_OK);
		assert_int_equal(uds_chapter_index_search(page, geometry, &name, &record_page), UDS_OK);
		assert_int_equal(record_page, i % RECORDS / UDS_RECORDS_PER_PAGE);
		assert_int_equal(uds_volume_read_page(&fixture->volume,
		                                      chapter,
		                                      geometry->index_pages + record_page,
		                                      page),
		                 UDS_OK);
		assert_int_equal(uds_record_page_search(page, &name, &metadata, &is_tombstone), UDS_OK);
		assert_memory_equal(&metadata, &expected, sizeof(expected));
		assert_false(is_tombstone);
	}
	assert_int_equal(bad_pages(fixture), 0);
}

static void
the_header_fits_one_index_only(void **state)
{
	fixture *fixture = *state;
	_Atomic uint64_t other_nonce = 1;
	uint8_t other_key[UDS_NAME_KEY_BYTES] = { 1 };
	uds_volume *volume = &fixture->volume;

	assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error), UDS_OK);
	assert_int_equal(uds_volume_check_header(volume, other_key, &fixture->error), UDS_ERR_CORRUPT);
	volume->nonce = &other_nonce;
	assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error),
	                 UDS_ERR_CORRUPT);
	volume->nonce = &fixture->engine.index->nonce;
	volume->geometry = &fixture->engine.index->geometry;
	assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error), UDS_OK);
}

static void
every_damaged_byte_of_the_header_is_noticed(void **state)
{
	fixture *fixture = *state;
	const char *directory = directory_of(fixture);
	uds_volume *volume = &fixture->volume;

	for (uint32_t i = 0; i < 1024; i++)
	{
		files_flip_bit(directory, UDS_VOLUME_FILE, i, i % 8);
		assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error),
		                 UDS_ERR_CORRUPT);
		files_flip_bit(directory, UDS_VOLUME_FILE, i, i % 8);
	}
	files_resize(directory, UDS_VOLUME_FILE, 1023);
	assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error),
	                 UDS_ERR_CORRUPT);
	assert_int_equal(uds_volume_write_header(volume, fixture->key, &fixture->error), UDS_OK);
	assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error), UDS_OK);
	fixture->operation = "read";
	assert_int_equal(uds_volume_check_header(volume, fixture->key, &fixture->error), UDS_ERR_IO);
	fixture->operation = "write";
	assert_int_equal(uds_volume_write_header(volume, fixture->key, &fixture->error), UDS_ERR_IO);
}

static void
seals_tell_what_lies_where(void **state)
{
	fixture *fixture = *state;

	for (uint32_t i = 0; i < CHAPTERS; i++)
	{
		uds_seal seal;
		uds_status status = uds_volume_read_seal(&fixture->volume, i, &seal, &fixture->error);

		assert_int_equal(status, i < WRITTEN ? UDS_OK : UDS_NOT_FOUND);
		if (status != UDS_OK)
			continue;
		assert_int_equal(seal.chapter, i);
		assert_int_equal(seal.records, RECORDS);
		assert_int_equal(seal.tombstones, 0);
		assert_int_equal(seal.unindexed, 0);
		assert_int_equal(seal.generation, 1);
		assert_true(uds_port_stamp_is_past(&fixture->engine.writer_port, &seal.stamp));
	}
	fixture->operation = "read";
	assert_int_equal(uds_volume_read_seal(&fixture->volume, 0, &(uds_seal){ 0 }, &fixture->error),
	                 UDS_ERR_IO);
}

static void
every_damaged_byte_of_a_seal_is_noticed(void **state)
{
	fixture *fixture = *state;
	size_t offset = offset_of(fixture, 2, seal_page(fixture));
	uds_seal seal;

	for (uint32_t i = 0; i < UDS_PAGE_BYTES; i++)
	{
		bool is_identity = i < offsetof(uds_seal, format_version) ||
		                   (i >= offsetof(uds_seal, nonce) && i < offsetof(uds_seal, chapter));
		uint32_t bit = (i * 3) % 8;

		files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, offset + i, bit);
		/* Without magic and nonce it is not this index's at all. */
		assert_int_equal(uds_volume_read_seal(&fixture->volume, 2, &seal, &fixture->error),
		                 is_identity ? UDS_NOT_FOUND : UDS_ERR_CORRUPT);
		files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, offset + i, bit);
	}
	assert_int_equal(uds_volume_read_seal(&fixture->volume, 2, &seal, &fixture->error), UDS_OK);
	/* The file ends before it, or in it. */
	files_resize(directory_of(fixture), UDS_VOLUME_FILE, offset + UDS_PAGE_BYTES - 1);
	assert_int_equal(uds_volume_read_seal(&fixture->volume, 2, &seal, &fixture->error),
	                 UDS_NOT_FOUND);
}

static void
seals_in_a_wrong_place_are_refused(void **state)
{
	fixture *fixture = *state;
	size_t from = offset_of(fixture, 1, seal_page(fixture));
	size_t to = offset_of(fixture, 2, seal_page(fixture));
	_Atomic uint64_t other_nonce = 1;
	uds_seal seal;
	size_t bytes;
	uint8_t *data = files_read(directory_of(fixture), UDS_VOLUME_FILE, &bytes);

	files_overwrite(directory_of(fixture), UDS_VOLUME_FILE, to, data + from, UDS_PAGE_BYTES);
	assert_int_equal(uds_volume_read_seal(&fixture->volume, 2, &seal, &fixture->error),
	                 UDS_ERR_CORRUPT);
	free(data);
	fixture->volume.nonce = &other_nonce;
	assert_int_equal(uds_volume_read_seal(&fixture->volume, 0, &seal, &fixture->error),
	                 UDS_NOT_FOUND);
}

static void
every_damaged_byte_of_a_page_is_noticed_and_counted(void **state)
{
	fixture *fixture = *state;
	uint32_t pages[2] = { 0, fixture->geometry.index_pages + 1 };
	uint8_t page[UDS_PAGE_BYTES];
	uint64_t expected = 0;

	for (uint32_t i = 0; i < 2; i++)
	{
		size_t offset = offset_of(fixture, 3, pages[i]);

		for (uint32_t byte = 0; byte < UDS_PAGE_BYTES; byte++)
		{
			uint32_t bit = (byte * 3) % 8;

			files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, offset + byte, bit);
			assert_int_equal(uds_volume_read_page(&fixture->volume, 3, pages[i], page),
			                 UDS_ERR_CORRUPT);
			files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, offset + byte, bit);
			assert_int_equal(bad_pages(fixture), ++expected);
		}
		assert_int_equal(uds_volume_read_page(&fixture->volume, 3, pages[i], page), UDS_OK);
	}
	/* Told once for the chapter. */
	assert_int_equal(atomic_load(&fixture->engine.host.warnings), 1);
}

static void
pages_in_a_wrong_place_are_refused(void **state)
{
	fixture *fixture = *state;
	uint32_t first = fixture->geometry.index_pages;
	uint8_t page[UDS_PAGE_BYTES];
	size_t bytes;
	uint8_t *data = files_read(directory_of(fixture), UDS_VOLUME_FILE, &bytes);

	/* Another page of the chapter; the same page of another chapter. */
	files_overwrite(directory_of(fixture),
	                UDS_VOLUME_FILE,
	                offset_of(fixture, 1, first),
	                data + offset_of(fixture, 1, first + 1),
	                UDS_PAGE_BYTES);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 1, first, page), UDS_ERR_CORRUPT);
	files_overwrite(directory_of(fixture),
	                UDS_VOLUME_FILE,
	                offset_of(fixture, 2, 0),
	                data + offset_of(fixture, 1, 0),
	                UDS_PAGE_BYTES);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 2, 0, page), UDS_ERR_CORRUPT);
	/* A page of an earlier start of the index. */
	atomic_store(&fixture->volume.slots[3].generation, 2);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 3, 0, page), UDS_ERR_CORRUPT);
	free(data);
}

static void
expired_chapters_are_not_damage(void **state)
{
	fixture *fixture = *state;
	uint8_t page[UDS_PAGE_BYTES];

	assert_int_equal(uds_volume_read_page(&fixture->volume, CHAPTERS, 0, page), UDS_NOT_FOUND);
	assert_int_equal(uds_volume_read_page(&fixture->volume, WRITTEN, 0, page), UDS_NOT_FOUND);
	/* It expires, and its pages are overwritten, while it is read. */
	files_fill(directory_of(fixture), UDS_VOLUME_FILE, offset_of(fixture, 4, 0), 4096, 0x55);
	fixture->expiring = &fixture->volume.slots[4];
	assert_int_equal(uds_volume_read_page(&fixture->volume, 4, 0, page), UDS_NOT_FOUND);
	assert_null(fixture->expiring);
	assert_int_equal(bad_pages(fixture), 0);
	assert_int_equal(atomic_load(&fixture->engine.host.warnings), 0);
}

static void
short_files_and_read_errors_are_counted(void **state)
{
	fixture *fixture = *state;
	uint8_t page[UDS_PAGE_BYTES];

	files_resize(directory_of(fixture), UDS_VOLUME_FILE, offset_of(fixture, 5, 0) + 100);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 5, 0, page), UDS_ERR_CORRUPT);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 5, 1, page), UDS_ERR_CORRUPT);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 4, 0, page), UDS_OK);
	fixture->operation = "read";
	assert_int_equal(uds_volume_read_page(&fixture->volume, 4, 0, page), UDS_ERR_IO);
	fixture->operation = NULL;
	uds_volume_close(&fixture->volume);
	files_remove(directory_of(fixture), UDS_VOLUME_FILE);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 3, 0, page), UDS_ERR_IO);
	assert_int_equal(bad_pages(fixture), 4);
	/* Once for each of three chapters. */
	assert_int_equal(atomic_load(&fixture->engine.host.warnings), 3);
}

static void
index_pages_come_all_at_once(void **state)
{
	fixture *fixture = *state;
	uint32_t pages = fixture->geometry.index_pages;
	size_t bytes;
	uint8_t *data = files_read(directory_of(fixture), UDS_VOLUME_FILE, &bytes);
	uint64_t expected = 0;

	for (uint32_t i = 0; i < WRITTEN; i++)
	{
		memset(fixture->image, 0xff, (size_t) (pages + 1) * UDS_PAGE_BYTES);
		assert_int_equal(uds_volume_read_index_pages(&fixture->volume, i, fixture->image), UDS_OK);
		assert_memory_equal(fixture->image,
		                    data + offset_of(fixture, i, 0),
		                    pages * UDS_PAGE_BYTES);
		/* And nothing else. */
		assert_int_equal(fixture->image[pages * UDS_PAGE_BYTES], 0xff);
	}
	for (uint32_t page = 0; page < pages; page++)
	{
		for (uint32_t byte = 0; byte < UDS_PAGE_BYTES; byte += 5)
		{
			size_t place = offset_of(fixture, 2, page) + byte;

			files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, place, byte % 8);
			assert_int_equal(uds_volume_read_index_pages(&fixture->volume, 2, fixture->image),
			                 UDS_ERR_CORRUPT);
			files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, place, byte % 8);
			assert_int_equal(bad_pages(fixture), ++expected);
		}
	}
	assert_int_equal(atomic_load(&fixture->engine.host.warnings), 1);
	assert_int_equal(uds_volume_read_index_pages(&fixture->volume, 2, fixture->image), UDS_OK);
	free(data);
}

static void
index_pages_that_cannot_be_read_are_told(void **state)
{
	fixture *fixture = *state;
	uds_volume *volume = &fixture->volume;

	assert_int_equal(uds_volume_read_index_pages(volume, CHAPTERS, fixture->image), UDS_NOT_FOUND);
	assert_int_equal(uds_volume_read_index_pages(volume, WRITTEN, fixture->image), UDS_NOT_FOUND);
	files_fill(directory_of(fixture), UDS_VOLUME_FILE, offset_of(fixture, 1, 0), 4096, 0x55);
	fixture->expiring = &volume->slots[1];
	assert_int_equal(uds_volume_read_index_pages(volume, 1, fixture->image), UDS_NOT_FOUND);
	assert_null(fixture->expiring);
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(uds_volume_read_index_pages(volume, 2, fixture->image), UDS_STOPPED);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(bad_pages(fixture), 0);
	assert_int_equal(atomic_load(&fixture->engine.host.warnings), 0);
	files_resize(directory_of(fixture), UDS_VOLUME_FILE, offset_of(fixture, 4, 0) + 100);
	assert_int_equal(uds_volume_read_index_pages(volume, 4, fixture->image), UDS_ERR_CORRUPT);
	assert_int_equal(uds_volume_read_index_pages(volume, 5, fixture->image), UDS_ERR_CORRUPT);
	fixture->operation = "read";
	assert_int_equal(uds_volume_read_index_pages(volume, 3, fixture->image), UDS_ERR_IO);
	fixture->operation = NULL;
	uds_volume_close(volume);
	files_remove(directory_of(fixture), UDS_VOLUME_FILE);
	assert_int_equal(uds_volume_read_index_pages(volume, 2, fixture->image), UDS_ERR_IO);
	assert_int_equal(bad_pages(fixture), 4);
	assert_int_equal(atomic_load(&fixture->engine.host.warnings), 4);
}

/* Each page is good by itself, but lists are missing between or behind them. */
static void
index_pages_hold_each_list_once(void **state)
{
	fixture *fixture = *state;
	const uds_geometry *geometry = &fixture->geometry;
	uint32_t lists = geometry->lists_per_chapter;
	uint16_t *list_bits = calloc(lists, sizeof(*list_bits));

	assert_int_equal(geometry->index_pages, 1);
	for (uint32_t i = 0; i < 3; i++)
	{
		uds_page_identity identity = uds_volume_page_identity(&fixture->volume, 3, 1, 0);
		uds_delta_page_header header = { .nonce = identity.nonce,
			                             .chapter = 3,
			                             .first_list = (uint16_t) (i == 1),
			                             .list_count = (uint16_t) (lists - (i > 0)) };

		memset(fixture->image, 0, UDS_PAGE_BYTES);
		(void) uds_delta_page_begin(fixture->image, UDS_INDEX_PAGE_BYTES, &header, list_bits);
		uds_chapter_index_seal_page(fixture->image, geometry, &identity);
		files_overwrite(directory_of(fixture),
		                UDS_VOLUME_FILE,
		                offset_of(fixture, 3, 0),
		                fixture->image,
		                UDS_PAGE_BYTES);
		assert_int_equal(uds_volume_verify_page(&fixture->volume, fixture->image, 3, 1, 0), UDS_OK);
		assert_int_equal(uds_volume_read_index_pages(&fixture->volume, 3, fixture->image),
		                 i == 0 ? UDS_OK : UDS_ERR_CORRUPT);
	}
	assert_int_equal(bad_pages(fixture), 2);
	free(list_bits);
}

static uds_status
verify(fixture *fixture, uint32_t physical)
{
	uds_seal seal;

	assert_int_equal(uds_volume_read_seal(&fixture->volume, physical, &seal, &fixture->error),
	                 UDS_OK);
	return uds_volume_verify_chapter(&fixture->volume, &seal, fixture->image, &fixture->error);
}

static void
a_chapter_is_verified_as_a_whole(void **state)
{
	fixture *fixture = *state;

	for (uint32_t i = 0; i < WRITTEN; i++)
		assert_int_equal(verify(fixture, i), UDS_OK);
	for (uint32_t page = 0; page < seal_page(fixture); page++)
	{
		size_t byte = offset_of(fixture, 1, page) + 100 * page + 40;

		files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, byte, 1);
		assert_int_equal(verify(fixture, 1), UDS_ERR_CORRUPT);
		files_flip_bit(directory_of(fixture), UDS_VOLUME_FILE, byte, 1);
	}
	assert_int_equal(verify(fixture, 1), UDS_OK);
	fixture->operation = "read";
	assert_int_equal(uds_volume_verify_chapter(&fixture->volume,
	                                           &(uds_seal){ .chapter = 1 },
	                                           fixture->image,
	                                           &fixture->error),
	                 UDS_ERR_IO);
	fixture->operation = NULL;
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(verify(fixture, 1), UDS_STOPPED);
}

/*
 * Two attempts to write one chapter, with the same number and generation: the pages of each are
 * good by themselves, only the seal tells that they do not belong together.
 */
static void
a_seal_fits_its_own_pages_only(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;
	uint64_t chapter = WRITTEN - 1;
	uint32_t count = uds_chapter_writer_collect(index, chapter);
	size_t offset = offset_of(fixture, (uint32_t) chapter, seal_page(fixture));
	size_t bytes;
	uint8_t *data;

	assert_int_equal(count, RECORDS);
	data = files_read(directory_of(fixture), UDS_VOLUME_FILE, &bytes);
	assert_int_equal(uds_chapter_writer_write(index,
	                                          &fixture->volume,
	                                          chapter,
	                                          count - 1,
	                                          uds_port_stamp(fixture->volume.port),
	                                          &fixture->error),
	                 UDS_OK);
	assert_int_equal(verify(fixture, (uint32_t) chapter), UDS_OK);
	files_overwrite(directory_of(fixture), UDS_VOLUME_FILE, offset, data + offset, UDS_PAGE_BYTES);
	assert_int_equal(verify(fixture, (uint32_t) chapter), UDS_ERR_CORRUPT);
	assert_non_null(strstr(fixture->error.message, "does not fit"));
	free(data);
}

static void
what_lies_behind_the_end_reads_as_zeros(void **state)
{
	fixture *fixture = *state;
	uint32_t pages = fixture->geometry.pages_per_chapter;
	size_t bytes = (size_t) pages * UDS_PAGE_BYTES;

	memset(fixture->image, 0xff, bytes);
	files_resize(directory_of(fixture), UDS_VOLUME_FILE, offset_of(fixture, 3, 1) + 10);
	assert_int_equal(uds_volume_read_pages(&fixture->volume,
	                                       3,
	                                       0,
	                                       pages,
	                                       fixture->image,
	                                       &fixture->error),
	                 UDS_OK);
	for (size_t i = UDS_PAGE_BYTES + 10; i < bytes; i++)
		assert_int_equal(fixture->image[i], 0);
	assert_int_equal(uds_volume_verify_page(&fixture->volume, fixture->image, 3, 1, 0), UDS_OK);
	assert_int_equal(uds_volume_verify_page(&fixture->volume,
	                                        fixture->image + UDS_PAGE_BYTES,
	                                        3,
	                                        1,
	                                        1),
	                 UDS_ERR_CORRUPT);
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(uds_volume_read_pages(&fixture->volume,
	                                       3,
	                                       0,
	                                       pages,
	                                       fixture->image,
	                                       &fixture->error),
	                 UDS_STOPPED);
}

static void
failing_writes_and_syncs_are_told(void **state)
{
	fixture *fixture = *state;
	uds_index *index = fixture->engine.index;
	uint64_t chapter = WRITTEN - 1;
	uint32_t count = uds_chapter_writer_collect(index, chapter);
	static const char *const operations[] = { "write", "sync" };

	for (uint32_t i = 0; i < 2; i++)
	{
		fixture->operation = operations[i];
		assert_int_equal(uds_chapter_writer_write(index,
		                                          &fixture->volume,
		                                          chapter,
		                                          count,
		                                          uds_port_stamp(fixture->volume.port),
		                                          &fixture->error),
		                 UDS_ERR_IO);
		/* Nothing is said to be there any more. */
		assert_int_equal(atomic_load(&index->slots[chapter].chapter), UDS_NO_CHAPTER);
	}
	fixture->operation = NULL;
	posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(uds_chapter_writer_write(index,
	                                          &fixture->volume,
	                                          chapter,
	                                          count,
	                                          uds_port_stamp(fixture->volume.port),
	                                          &fixture->error),
	                 UDS_STOPPED);
	posix_host_clear_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	assert_int_equal(uds_chapter_writer_write(index,
	                                          &fixture->volume,
	                                          chapter,
	                                          count,
	                                          uds_port_stamp(fixture->volume.port),
	                                          &fixture->error),
	                 UDS_OK);
	assert_int_equal(verify(fixture, (uint32_t) chapter), UDS_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* A worker that could not open the volume is not without it for ever. */
static void
a_volume_is_opened_when_it_can_be(void **state)
{
	fixture *fixture = *state;
	_Alignas(UDS_CACHE_LINE) uint8_t page[UDS_PAGE_BYTES];

	uds_volume_close(&fixture->volume);
	files_rename(directory_of(fixture), UDS_VOLUME_FILE, "aside");
	assert_int_equal(uds_volume_open(&fixture->volume, UDS_FILE_READ, &fixture->error),
	                 UDS_NOT_FOUND);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 1, 0, page), UDS_ERR_IO);
	assert_int_equal(uds_volume_read_cached_page(&fixture->volume, 1, 0, page), UDS_PENDING);
	assert_int_equal(uds_volume_read_index_pages(&fixture->volume, 1, fixture->image), UDS_ERR_IO);
	files_rename(directory_of(fixture), "aside", UDS_VOLUME_FILE);
	assert_int_equal(uds_volume_read_index_pages(&fixture->volume, 1, fixture->image), UDS_OK);
	uds_volume_close(&fixture->volume);
	assert_int_equal(uds_volume_read_page(&fixture->volume, 1, 0, page), UDS_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(chapters_lie_one_behind_the_other),
		CASE(every_record_is_found_through_the_pages),
		CASE(the_header_fits_one_index_only),
		CASE(every_damaged_byte_of_the_header_is_noticed),
		CASE(seals_tell_what_lies_where),
		CASE(every_damaged_byte_of_a_seal_is_noticed),
		CASE(seals_in_a_wrong_place_are_refused),
		CASE(every_damaged_byte_of_a_page_is_noticed_and_counted),
		CASE(pages_in_a_wrong_place_are_refused),
		CASE(expired_chapters_are_not_damage),
		CASE(short_files_and_read_errors_are_counted),
		CASE(index_pages_come_all_at_once),
		CASE(index_pages_that_cannot_be_read_are_told),
		CASE(index_pages_hold_each_list_once),
		CASE(a_chapter_is_verified_as_a_whole),
		CASE(a_seal_fits_its_own_pages_only),
		CASE(what_lies_behind_the_end_reads_as_zeros),
		CASE(failing_writes_and_syncs_are_told),
		CASE(a_volume_is_opened_when_it_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
