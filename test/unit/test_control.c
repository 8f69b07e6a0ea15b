/*
 * test_control.c: a control file comes back as it was written, is refused when any byte of it is
 * damaged or missing, and is replaced as a whole or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/engine/control.h"
#include "../support/files.h"
#include "../support/port_posix.h"

typedef struct fixture
{
	posix_host host;
	uds_port port;
	uds_error error;
	const char *operation; /* that fails */
	int number;            /* errno it fails with */
} fixture;

static int
fail_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	(void) name;
	return fixture->operation != NULL && strcmp(operation, fixture->operation) == 0
	           ? fixture->number
	           : 0;
}

static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	char *directory = files_make_directory();

	posix_host_init(&fixture->host, directory);
	free(directory);
	fixture->host.is_quiet = true;
	fixture->host.fault = fail_operation;
	fixture->host.fault_context = fixture;
	fixture->port = posix_port(&fixture->host, UDS_WORKER_WRITER);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	posix_remove_directory(fixture->host.directory);
	posix_host_destroy(&fixture->host);
	free(fixture);
	return 0;
}

static uds_control
make_control(uint64_t generation)
{
	return (uds_control){
		.nonce = UINT64_C(0x1122334455667788),
		.name_key = "0123456789abcde",
		.system_identifier = 77,
		.generation = generation,
		.state = UDS_CONTROL_RUNNING,
		.valid_save = 1,
		.save_number = 12,
		.save_time = -5,
		.memory_mb = 64,
		.chapters = 1024,
		.remapped_physical = UINT64_MAX,
	};
}

static void
write_control(fixture *fixture, uint64_t generation)
{
	uds_control control = make_control(generation);

	assert_int_equal(uds_control_write(&fixture->port, &control, &fixture->error), UDS_OK);
}

static void
a_file_that_is_not_there_is_not_found(void **state)
{
	fixture *fixture = *state;
	uds_control control;

	assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_NOT_FOUND);
}

static void
what_was_written_comes_back(void **state)
{
	fixture *fixture = *state;
	uds_control written = make_control(3);
	uds_control read;

	assert_int_equal(uds_control_write(&fixture->port, &written, &fixture->error), UDS_OK);
	assert_int_equal(uds_control_read(&fixture->port, &read, &fixture->error), UDS_OK);
	assert_memory_equal(&read, &written, sizeof(read));
	assert_true(uds_port_stamp_is_past(&fixture->port, &read.stamp));
	assert_int_equal(read.generation, 3);
	assert_int_equal(files_size(fixture->host.directory, UDS_CONTROL_FILE), UDS_CONTROL_BYTES);
	assert_false(files_exists(fixture->host.directory, UDS_CONTROL_NEW_FILE));
}

static void
every_damaged_bit_is_noticed(void **state)
{
	fixture *fixture = *state;
	uds_control control;

	write_control(fixture, 1);
	for (uint32_t bit = 0; bit < 8 * UDS_CONTROL_BYTES; bit++)
	{
		files_flip_bit(fixture->host.directory, UDS_CONTROL_FILE, bit / 8, bit % 8);
		assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error),
		                 UDS_ERR_CORRUPT);
		files_flip_bit(fixture->host.directory, UDS_CONTROL_FILE, bit / 8, bit % 8);
	}
	assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_OK);
}

static void
every_truncation_is_noticed(void **state)
{
	fixture *fixture = *state;
	uds_control control;

	write_control(fixture, 1);
	for (uint32_t bytes = UDS_CONTROL_BYTES; bytes-- > 0;)
	{
		files_resize(fixture->host.directory, UDS_CONTROL_FILE, bytes);
		assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error),
		                 UDS_ERR_CORRUPT);
	}
}

static void
another_format_version_is_a_mismatch(void **state)
{
	fixture *fixture = *state;
	uds_control control = make_control(1);

	assert_int_equal(uds_control_write(&fixture->port, &control, &fixture->error), UDS_OK);
	control.format_version = UDS_FORMAT_VERSION + 1;
	control.crc = 0;
	control.crc = uds_port_crc32c(0, &control, sizeof(control));
	files_write(fixture->host.directory, UDS_CONTROL_FILE, &control, sizeof(control));
	assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_ERR_MISMATCH);
	assert_non_null(strstr(fixture->error.message, "version"));
}

static void
a_failed_write_leaves_the_former_version(void **state)
{
	static const char *const operations[] = { "write", "sync", "rename" };
	fixture *fixture = *state;
	uds_control control;

	write_control(fixture, 1);
	for (uint32_t i = 0; i < 3; i++)
	{
		fixture->operation = operations[i];
		for (uint32_t j = 0; j < 2; j++)
		{
			fixture->number = j == 0 ? EIO : ENOSPC;
			control = make_control(99);
			assert_int_equal(uds_control_write(&fixture->port, &control, &fixture->error),
			                 j == 0 ? UDS_ERR_IO : UDS_ERR_NO_SPACE);
			assert_int_equal(fixture->error.system_errno, fixture->number);
			fixture->operation = NULL;
			assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_OK);
			assert_int_equal(control.generation, 1 + i);
			fixture->operation = operations[i];
		}
		/* What a failed write left does not disturb the next one. */
		fixture->operation = NULL;
		write_control(fixture, 2 + i);
	}
}

static void
half_a_new_file_is_ignored(void **state)
{
	fixture *fixture = *state;
	uds_control control;

	write_control(fixture, 1);
	files_write(fixture->host.directory, UDS_CONTROL_NEW_FILE, "garbage", 7);
	assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_OK);
	write_control(fixture, 2);
	assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_OK);
	assert_int_equal(control.generation, 2);
}

static void
a_read_error_is_told_from_damage(void **state)
{
	fixture *fixture = *state;
	uds_control control;

	write_control(fixture, 1);
	fixture->operation = "read";
	fixture->number = EIO;
	assert_int_equal(uds_control_read(&fixture->port, &control, &fixture->error), UDS_ERR_IO);
	assert_int_equal(fixture->error.system_errno, EIO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_file_that_is_not_there_is_not_found, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_written_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(every_damaged_bit_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(every_truncation_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(another_format_version_is_a_mismatch, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_former_version, setup, teardown),
		cmocka_unit_test_setup_teardown(half_a_new_file_is_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(a_read_error_is_told_from_damage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
