/*
 * test_checkpoint.c: a save file gives back its sections in their order, and nothing but an error
 * when it is truncated, damaged, of another save, or read in another order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/checkpoint.h"
#include "../support/files.h"
#include "../support/generate.h"
#include "../support/port_posix.h"

#define BUFFER_BYTES 4096
#define FRAME_DATA   (BUFFER_BYTES - sizeof(uds_frame))
#define NONCE        UINT64_C(0xabcdef0123456789)
#define SAVE_NUMBER  41

typedef struct section
{
	uds_section kind;
	uint16_t index;
	size_t bytes;
} section;

/* Empty ones, one of exactly a frame, one of several frames. */
static const section sections[] = {
	{ UDS_SECTION_HEADER, 0, 32 },      { UDS_SECTION_VOLUME_INDEX, 0, 2 * FRAME_DATA + 100 },
	{ UDS_SECTION_VOLUME_INDEX, 1, 0 }, { UDS_SECTION_PAGE_MAP, 0, FRAME_DATA },
	{ UDS_SECTION_OPEN_CHAPTER, 0, 0 }, { UDS_SECTION_OPEN_CHAPTER, 1, 77 },
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

typedef struct fixture
{
	posix_host host;
	uds_port port;
	uds_error error;
	uint8_t buffer[BUFFER_BYTES];
	uint8_t *content;      /* of all sections, one behind the other */
	const char *operation; /* that fails */
	int number;            /* errno it fails with */
	int skip;              /* times it succeeds before */
} fixture;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	(void) name;
	if (fixture->operation == NULL || strcmp(operation, fixture->operation) != 0)
		return 0;
	return fixture->skip-- > 0 ? 0 : fixture->number;
}

static size_t
content_bytes(void)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < SECTIONS; i++)
		bytes += sections[i].bytes;
	return bytes;
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	char *directory = files_make_directory();
	uds_random random;

	posix_host_init(&fixture->host, directory);
	free(directory);
	fixture->host.is_quiet = true;
	fixture->host.fault = fail_operation;
	fixture->host.fault_context = fixture;
	fixture->port = posix_port(&fixture->host, UDS_WORKER_WRITER);
	fixture->content = malloc(content_bytes());
	uds_random_init(&random, 5);
	uds_random_bytes(&random, fixture->content, content_bytes());
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	posix_remove_directory(fixture->host.directory);
	posix_host_destroy(&fixture->host);
	free(fixture->content);
	free(fixture);
	return 0;
}

static uds_status
create(fixture *fixture, uds_checkpoint *checkpoint, uint32_t save, uint64_t save_number)
{
	return uds_checkpoint_create(checkpoint,
	                             &fixture->port,
	                             save,
	                             NONCE,
	                             save_number,
	                             fixture->buffer,
	                             BUFFER_BYTES,
	                             &fixture->error);
}

static uds_status
open_save(fixture *fixture, uds_checkpoint *checkpoint, uint64_t nonce, uint64_t save_number)
{
	return uds_checkpoint_open(checkpoint,
	                           &fixture->port,
	                           0,
	                           nonce,
	                           save_number,
	                           fixture->buffer,
	                           BUFFER_BYTES,
	                           &fixture->error);
}

/* Write all sections in pieces of all sizes. */
static uds_status
write_save(fixture *fixture, uint32_t save, uint64_t save_number)
{
	const uint8_t *data = fixture->content;
	uds_checkpoint checkpoint;
	uds_status status = create(fixture, &checkpoint, save, save_number);
	size_t piece = 1;

	for (uint32_t i = 0; i < SECTIONS && status == UDS_OK; i++)
	{
		status = uds_checkpoint_begin(&checkpoint, sections[i].kind, sections[i].index);
		for (size_t done = 0; done < sections[i].bytes && status == UDS_OK;
		     piece = piece % 997 + 13)
		{
			size_t bytes = UDS_MIN(piece, sections[i].bytes - done);

			status = uds_stream_write(&checkpoint.stream, data, bytes);
			data += bytes;
			done += bytes;
		}
	}
	if (status == UDS_OK)
		return uds_checkpoint_finish(&checkpoint);
	uds_checkpoint_abandon(&checkpoint);
	return status;
}

/* Read all sections; what was read must be right as far as it goes. */
static uds_status
read_save(fixture *fixture, uint64_t nonce, uint64_t save_number)
{
	const uint8_t *expected = fixture->content;
	uds_checkpoint checkpoint;
	uds_status status = open_save(fixture, &checkpoint, nonce, save_number);
	uint8_t data[701];

	if (status != UDS_OK)
		return status;
	for (uint32_t i = 0; i < SECTIONS && status == UDS_OK; i++)
	{
		status = uds_checkpoint_begin(&checkpoint, sections[i].kind, sections[i].index);
		for (size_t done = 0; done < sections[i].bytes && status == UDS_OK;)
		{
			size_t bytes = UDS_MIN(sizeof(data), sections[i].bytes - done);

			status = uds_stream_read(&checkpoint.stream, data, bytes);
			if (status == UDS_OK)
				assert_memory_equal(data, expected, bytes);
			expected += bytes;
			done += bytes;
		}
	}
	if (status == UDS_OK)
		return uds_checkpoint_finish(&checkpoint);
	uds_checkpoint_abandon(&checkpoint);
	return status;
}

static void
sections_come_back_in_their_order(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_OK);
	/* A shorter save over a longer one leaves nothing of it. */
	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER + 1), UDS_OK);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER + 1), UDS_OK);
	assert_string_equal(uds_checkpoint_file_name(0), "checkpoint.0");
	assert_string_equal(uds_checkpoint_file_name(1), "checkpoint.1");
}

static void
a_missing_file_is_not_found(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_NOT_FOUND);
	assert_int_equal(write_save(fixture, 1, SAVE_NUMBER), UDS_OK);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_NOT_FOUND);
}

static void
another_save_is_refused(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER + 1), UDS_ERR_CORRUPT);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER - 1), UDS_ERR_CORRUPT);
	assert_int_equal(read_save(fixture, NONCE + 1, SAVE_NUMBER), UDS_ERR_CORRUPT);
}

static void
every_truncation_is_an_error(void **state)
{
	fixture *fixture = *state;
	const char *name = uds_checkpoint_file_name(0);
	size_t bytes;

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	bytes = files_size(fixture->host.directory, name);
	while (bytes-- > 0)
	{
		files_resize(fixture->host.directory, name, bytes);
		assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_ERR_CORRUPT);
	}
}

static void
every_damaged_byte_is_an_error(void **state)
{
	fixture *fixture = *state;
	const char *name = uds_checkpoint_file_name(0);
	size_t bytes;

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	bytes = files_size(fixture->host.directory, name);
	for (size_t i = 0; i < bytes; i++)
	{
		uint32_t bit = (uint32_t) (i * 5 + i / 8) % 8;

		files_flip_bit(fixture->host.directory, name, i, bit);
		assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_ERR_CORRUPT);
		files_flip_bit(fixture->host.directory, name, i, bit);
	}
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_OK);
}

/* The two full frames of a section change places, the same frame stands twice. */
static void
frames_in_another_order_are_an_error(void **state)
{
	fixture *fixture = *state;
	const char *name = uds_checkpoint_file_name(0);
	size_t first = sizeof(uds_frame) + 32;
	uint8_t *data;
	size_t bytes;

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	data = files_read(fixture->host.directory, name, &bytes);
	files_overwrite(fixture->host.directory,
	                name,
	                first,
	                data + first + BUFFER_BYTES,
	                BUFFER_BYTES);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_ERR_CORRUPT);
	files_overwrite(fixture->host.directory,
	                name,
	                first + BUFFER_BYTES,
	                data + first,
	                BUFFER_BYTES);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_ERR_CORRUPT);
	files_overwrite(fixture->host.directory, name, first, data + first, 2 * BUFFER_BYTES);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_OK);
	free(data);
}

static void
sections_are_read_in_the_order_they_were_written(void **state)
{
	fixture *fixture = *state;
	uds_checkpoint checkpoint;
	uint8_t data[64];

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	/* Another kind. */
	assert_int_equal(open_save(fixture, &checkpoint, NONCE, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_PAGE_MAP, 0), UDS_ERR_CORRUPT);
	uds_checkpoint_abandon(&checkpoint);
	/* Another index. */
	assert_int_equal(open_save(fixture, &checkpoint, NONCE, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_HEADER, 1), UDS_ERR_CORRUPT);
	uds_checkpoint_abandon(&checkpoint);
	/* The end, too early. */
	assert_int_equal(open_save(fixture, &checkpoint, NONCE, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_finish(&checkpoint), UDS_ERR_CORRUPT);
	/* Data left over. */
	assert_int_equal(open_save(fixture, &checkpoint, NONCE, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_HEADER, 0), UDS_OK);
	assert_int_equal(uds_stream_read(&checkpoint.stream, data, 31), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_VOLUME_INDEX, 0),
	                 UDS_ERR_CORRUPT);
	uds_checkpoint_abandon(&checkpoint);
	/* More than a section has. */
	assert_int_equal(open_save(fixture, &checkpoint, NONCE, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_HEADER, 0), UDS_OK);
	assert_int_equal(uds_stream_read(&checkpoint.stream, data, 33), UDS_ERR_CORRUPT);
	uds_checkpoint_abandon(&checkpoint);
}

static void
a_save_without_end_does_not_exist(void **state)
{
	fixture *fixture = *state;
	uds_checkpoint checkpoint;
	uint8_t data[32];

	assert_int_equal(create(fixture, &checkpoint, 0, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_HEADER, 0), UDS_OK);
	assert_int_equal(uds_stream_write(&checkpoint.stream, fixture->content, 32), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_PAGE_MAP, 0), UDS_OK);
	uds_checkpoint_abandon(&checkpoint);
	assert_int_equal(open_save(fixture, &checkpoint, NONCE, SAVE_NUMBER), UDS_OK);
	assert_int_equal(uds_checkpoint_begin(&checkpoint, UDS_SECTION_HEADER, 0), UDS_OK);
	assert_int_equal(uds_stream_read(&checkpoint.stream, data, 32), UDS_OK);
	assert_int_equal(uds_checkpoint_finish(&checkpoint), UDS_ERR_CORRUPT);
}

static void
failing_writes_and_syncs_are_told(void **state)
{
	fixture *fixture = *state;

	for (int skip = 0; skip < 4; skip++)
	{
		fixture->operation = "write";
		fixture->skip = skip;
		fixture->number = skip % 2 == 0 ? EIO : ENOSPC;
		assert_int_equal(write_save(fixture, 0, SAVE_NUMBER),
		                 skip % 2 == 0 ? UDS_ERR_IO : UDS_ERR_NO_SPACE);
		fixture->operation = NULL;
		assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_ERR_CORRUPT);
	}
	/* Of the file, of the directory. */
	for (int skip = 0; skip < 2; skip++)
	{
		fixture->operation = "sync";
		fixture->skip = skip;
		fixture->number = EIO;
		assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_ERR_IO);
	}
	fixture->operation = NULL;
	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	fixture->operation = "read";
	fixture->skip = 5;
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_ERR_IO);
}

static void
a_stop_ends_saving_and_loading(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(write_save(fixture, 0, SAVE_NUMBER), UDS_OK);
	posix_host_stop(&fixture->host, UDS_WORKER_WRITER);
	assert_int_equal(write_save(fixture, 1, SAVE_NUMBER), UDS_STOPPED);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_STOPPED);
	posix_host_clear_stop(&fixture->host, UDS_WORKER_WRITER);
	assert_int_equal(read_save(fixture, NONCE, SAVE_NUMBER), UDS_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sections_come_back_in_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_missing_file_is_not_found, setup, teardown),
		cmocka_unit_test_setup_teardown(another_save_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(every_truncation_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(every_damaged_byte_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_in_another_order_are_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(sections_are_read_in_the_order_they_were_written,
		                                setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_save_without_end_does_not_exist, setup, teardown),
		cmocka_unit_test_setup_teardown(failing_writes_and_syncs_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stop_ends_saving_and_loading, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
