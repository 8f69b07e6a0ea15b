/*
 * test_move.c: the files of an index move to another directory, in each state that allows it, and
 * nothing is lost; whatever fails on the way, and whenever it ends, the index goes on in one of both
 * directories with all it has saved, and the other one says why it is refused.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/engine/block.h"
#include "../support/engine_host.h"
#include "../support/files.h"
#include "../support/generate.h"

#define CHAPTERS 16
#define RECORDS  UDS_RECORDS_PER_PAGE
#define NAMES    (5 * RECORDS + 40) /* the last ones are in the open chapter */

#define ALWAYS UINT32_MAX

/* Which operations fail, and what else happens. */
typedef struct plan
{
	const char *operation; /* NULL: all */
	const char *place;     /* beginning of the name; NULL: both, "": here, "there/": there */
	const char *name;      /* of the file in its directory; NULL: all */
	uint32_t skip;         /* that many go well before */
	uint32_t count;        /* that many fail */
	int number;            /* errno; 0: none fails */
	uint32_t seen;         /* operations that fit */
	uint32_t failed;
	uint32_t stop_at;    /* ask the writer to stop before this one; 0: not */
	uint32_t picture_at; /* keep a picture of both directories before this one; 0: not */
} plan;

typedef struct fixture
{
	engine engine;
	plan plan;
	char here[POSIX_NAME_BYTES];
	char there[POSIX_NAME_BYTES];
	char pictures[2][POSIX_NAME_BYTES]; /* of both */
	bool had_there;                     /* there was a directory there in the picture */
	uint32_t phases;                    /* bit for each phase that an operation was seen in */
	bool has_passed;                    /* more was done than there was to do */
} fixture;

static bool
is_there(const char *directory)
{
	struct stat status;

	return stat(directory, &status) == 0;
}

static void
take_picture(fixture *fixture)
{
	files_copy_all(fixture->here, fixture->pictures[0]);
	fixture->had_there = is_there(fixture->there);
	if (fixture->had_there)
		files_copy_all(fixture->there, fixture->pictures[1]);
}

static void
note_progress(fixture *fixture)
{
	uds_statistics statistics;

	if (fixture->engine.index == NULL)
		return;
	statistics = engine_statistics(&fixture->engine);
	fixture->phases |= 1u << statistics.phase;
	if (statistics.progress_done > statistics.progress_total)
		fixture->has_passed = true;
}

static int
on_operation(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;
	plan *plan = &fixture->plan;
	bool is_copy = strncmp(name, "there/", 6) == 0;

	note_progress(fixture);
	if (plan->operation != NULL && strcmp(operation, plan->operation) != 0)
		return 0;
	if (plan->place != NULL && is_copy != (plan->place[0] != '\0'))
		return 0;
	if (plan->name != NULL && strcmp(is_copy ? name + 6 : name, plan->name) != 0)
		return 0;
	plan->seen++;
	if (plan->seen == plan->stop_at)
		posix_host_stop(&fixture->engine.host, UDS_WORKER_WRITER);
	if (plan->seen == plan->picture_at)
		take_picture(fixture);
	if (plan->number == 0 || plan->seen <= plan->skip || plan->failed >= plan->count)
		return 0;
	plan->failed++;
	return plan->number;
}

static void
post(engine *engine, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);

		assert_false(engine_request(engine, UDS_POST, &name, &metadata).found);
	}
	engine_settle(engine);
}

static uint32_t
count_known(engine *engine, uint64_t count)
{
	uint32_t known = 0;

	for (uint64_t i = 0; i < count; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);
		uds_request request = engine_request(engine, UDS_PEEK, &name, NULL);

		if (!request.found)
			continue;
		known++;
		assert_memory_equal(&request.found_metadata, &metadata, sizeof(metadata));
	}
	return known;
}

/* A fixture whose index is open, holds NAMES names, and has saved them all. */
static int
setup(void **state)
{
	fixture *fixture = calloc(1, sizeof(*fixture));
	uds_config config = engine_config(1, CHAPTERS, 1, UDS_STRUCTURE_BUCKETS);

	engine_init(&fixture->engine, &config);
	fixture->engine.host.fault = on_operation;
	fixture->engine.host.fault_context = fixture;
	snprintf(fixture->here, sizeof(fixture->here), "%s", fixture->engine.host.directory);
	snprintf(fixture->there, sizeof(fixture->there), "%.480s.there", fixture->here);
	for (int i = 0; i < 2; i++)
	{
		char *directory = files_make_directory();

		snprintf(fixture->pictures[i], sizeof(fixture->pictures[i]), "%s", directory);
		free(directory);
	}
	engine_must_open(&fixture->engine);
	post(&fixture->engine, 0, NAMES);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	fixture *fixture = *state;

	memset(&fixture->plan, 0, sizeof(fixture->plan));
	engine_destroy(&fixture->engine);
	posix_remove_directory(fixture->here);
	posix_remove_directory(fixture->there);
	for (int i = 0; i < 2; i++)
		posix_remove_directory(fixture->pictures[i]);
	free(fixture);
	return 0;
}

/* Let a server begin with the files in a directory. */
static void
set_directory(fixture *fixture, const char *directory)
{
	fixture->engine.host.moved[0] = '\0';
	snprintf(fixture->engine.host.directory, POSIX_NAME_BYTES, "%s", directory);
}

static uds_state
state_of(fixture *fixture)
{
	return uds_index_state(fixture->engine.index);
}

static uds_control
control_of(const char *directory)
{
	size_t bytes;
	uint8_t *data = files_read(directory, UDS_CONTROL_FILE, &bytes);
	uds_control control;

	assert_int_equal(bytes, sizeof(control));
	memcpy(&control, data, bytes);
	free(data);
	return control;
}

static uds_status
move_there(fixture *fixture)
{
	return engine_move(&fixture->engine, fixture->there);
}

static void
must_move(fixture *fixture)
{
	assert_int_equal(move_there(fixture), UDS_OK);
}

/* Nothing but what says where the files are. */
static void
must_be_left(const char *directory, const char *elsewhere)
{
	uds_control control = control_of(directory);

	assert_int_equal(control.state, UDS_CONTROL_MOVED);
	assert_string_equal(control.elsewhere, elsewhere);
	assert_true(files_exists(directory, UDS_LOCK_FILE));
	assert_false(files_exists(directory, UDS_VOLUME_FILE));
	assert_false(files_exists(directory, "checkpoint.0"));
	assert_false(files_exists(directory, "checkpoint.1"));
}

/* ---- states ------------------------------------------------------------------------------------- */

static void
an_online_index_goes_on_in_the_new_place(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t generation = engine_statistics(engine).generation;

	post(engine, NAMES, 20);
	must_move(fixture);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	must_be_left(fixture->here, fixture->there);
	assert_int_equal(control_of(fixture->there).state, UDS_CONTROL_RUNNING);
	assert_string_equal(control_of(fixture->there).elsewhere, fixture->here);
	assert_true(files_exists(fixture->there, UDS_LOCK_FILE));
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);
	assert_int_equal(engine_statistics(engine).generation, generation);
	post(engine, NAMES + 20, 2 * RECORDS);
	assert_int_equal(count_known(engine, NAMES + 20 + 2 * RECORDS), NAMES + 20 + 2 * RECORDS);
	assert_false(files_exists(fixture->here, UDS_VOLUME_FILE));
	/* What was posted before the move is saved there. */
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);
	assert_int_equal(control_of(fixture->there).elsewhere[0], '\0');
	assert_int_equal(engine_close(engine), UDS_OK);
	set_directory(fixture, fixture->there);
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).recovery_chapters, 0);
	assert_true(count_known(engine, NAMES + 20 + 2 * RECORDS) >= NAMES + 20);
}

/* Requests that wait for a page keep their place over it. */
static void
parked_requests_survive_a_move(void **state)
{
	fixture *fixture = *state;
	uds_zone_worker *zone = fixture->engine.zones[0];
	uds_request request = { .name = uds_generate_counter_name(3), .operation = UDS_PEEK };
	uds_request *finished = NULL;
	uint32_t parked;

	assert_int_equal(uds_zone_turn(zone), UDS_OK);
	assert_int_equal(uds_zone_execute(zone, &request, 1, &parked), UDS_OK);
	assert_int_equal(parked, 1);
	/* The zone lets go as its worker does. */
	atomic_store(&fixture->engine.index->zones_wanted, 1);
	assert_int_equal(uds_zone_turn(zone), UDS_PENDING);
	assert_int_equal(uds_writer_move(fixture->engine.writer,
	                                 fixture->there,
	                                 &fixture->engine.error),
	                 UDS_OK);
	assert_int_equal(uds_zone_turn(zone), UDS_OK);
	while (finished == NULL)
		assert_int_equal(uds_zone_advance(zone, &finished), UDS_OK);
	assert_true(finished->found);
}

/* Another writer, on the same block. */
static uds_status
replace_writer(fixture *fixture)
{
	engine *engine = &fixture->engine;

	uds_writer_detach(engine->writer);
	return uds_writer_open(engine->writer_memory,
	                       engine->index,
	                       &engine->writer_port,
	                       &engine->config,
	                       &engine->writer,
	                       &engine->error);
}

static void
a_suspended_index_stays_suspended(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	for (int round = 0; round < 3; round++)
	{
		bool save = round > 0;
		const char *from = round == 1 ? fixture->there : fixture->here;
		const char *to = round == 1 ? fixture->here : fixture->there;
		uint64_t epoch = atomic_load(&engine->index->epoch);

		assert_int_equal(engine_suspend(engine, save), UDS_OK);
		assert_int_equal(engine_move(engine, to), UDS_OK);
		assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
		assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
		assert_int_equal(control_of(to).state, save ? UDS_CONTROL_CLEAN : UDS_CONTROL_RUNNING);
		must_be_left(from, to);
		/* So does a successor of the writer find it. */
		if (round < 2)
			assert_int_equal(replace_writer(fixture), UDS_OK);
		assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
		/* It goes on with what is in memory. */
		assert_int_equal(engine_resume(engine), UDS_OK);
		assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
		assert_int_equal(atomic_load(&engine->index->epoch), epoch);
		assert_int_equal(count_known(engine, NAMES), NAMES);
		post(engine, NAMES + (uint64_t) round * RECORDS, RECORDS);
		/* The next one goes back. */
		files_remove(from, UDS_CONTROL_FILE);
		files_remove(from, UDS_LOCK_FILE);
	}
	assert_int_equal(count_known(engine, NAMES + 3 * RECORDS), NAMES + 3 * RECORDS);
}

/* A suspended and saved index is complete in the new place, whatever happens then. */
static void
a_saved_suspension_is_complete_after_the_move(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	post(engine, NAMES, 20);
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	must_move(fixture);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(engine_statistics(engine).recovery_chapters, 0);
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);
}

static void
an_index_without_files_in_use_is_not_moved(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;

	uds_block_fail(engine->index, &engine->writer_port, "for a test");
	assert_int_equal(move_there(fixture), UDS_ERR_STATE);
	assert_string_equal(engine->error.detail, "It is failed: for a test.");
	engine_crash(engine);

	/* Recovering, and suspended in its recovery. */
	posix_host_stop(&engine->host, UDS_WORKER_WRITER);
	assert_int_equal(engine_open(engine), UDS_STOPPED);
	posix_host_clear_stop(&engine->host, UDS_WORKER_WRITER);
	assert_int_equal(move_there(fixture), UDS_ERR_STATE);
	assert_string_equal(engine->error.detail, "It is recovering.");
	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	assert_int_equal(move_there(fixture), UDS_ERR_STATE);
	assert_non_null(strstr(engine->error.detail, "its recovery is to start over"));
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(engine_close(engine), UDS_OK);

	files_flip_bit(fixture->here, UDS_CONTROL_FILE, 100, 3);
	assert_int_equal(engine_open(engine), UDS_ERR_CORRUPT);
	assert_int_equal(move_there(fixture), UDS_ERR_STATE);
	assert_string_equal(engine->error.message, "index is not online");
	assert_non_null(strstr(engine->error.detail, "It is offline: control file is damaged"));
	assert_false(is_there(fixture->there));
}

/* Fill the chapters that are kept in memory, while none of them can be written. */
static void
make_read_only(fixture *fixture, int number)
{
	engine *engine = &fixture->engine;

	fixture->plan = (plan){ .place = "", .operation = "write", .count = ALWAYS, .number = number };
	for (uint64_t i = NAMES; i < NAMES + 2 * RECORDS; i++)
	{
		uds_name name = uds_generate_counter_name(i);
		uds_metadata metadata = uds_generate_metadata(i, 1);
		uds_request request = { .name = name, .operation = UDS_POST, .metadata = metadata };

		if (uds_index_state(engine->index) == UDS_STATE_ONLINE)
			assert_int_equal(engine_run(engine, &request, 1), UDS_OK);
	}
	engine_settle(engine);
	assert_int_equal(state_of(fixture), UDS_STATE_READ_ONLY);
}

/* What the disk did not take is in memory: it is written in the new place. */
static void
a_read_only_index_is_online_after_it(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint32_t known;

	make_read_only(fixture, EIO);
	known = count_known(engine, NAMES + 2 * RECORDS);
	assert_true(known > NAMES);
	/* Nothing can be written here but control. */
	fixture->plan.name = UDS_VOLUME_FILE;
	must_move(fixture);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	must_be_left(fixture->here, fixture->there);
	assert_int_equal(count_known(engine, NAMES + 2 * RECORDS), known);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, NAMES + 2 * RECORDS), known);
	post(engine, NAMES + 2 * RECORDS, 2 * RECORDS);
}

/* The disk has no room: not even for control, before the save that does not count is removed. */
typedef struct full_disk
{
	fixture *fixture;
	bool is_full;
} full_disk;

static int
on_full_disk(void *context, const char *operation, const char *name)
{
	full_disk *disk = context;
	const char *unused =
		control_of(disk->fixture->here).valid_save == 0 ? "checkpoint.1" : "checkpoint.0";

	if (strcmp(operation, "write") != 0 || strncmp(name, "there/", 6) == 0 || !disk->is_full)
		return 0;
	if (strcmp(name, UDS_CONTROL_NEW_FILE) == 0 && !files_exists(disk->fixture->here, unused))
		return 0;
	return ENOSPC;
}

static void
an_index_moves_off_a_full_disk(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	full_disk disk = { .fixture = fixture, .is_full = true };
	uint32_t known;

	make_read_only(fixture, ENOSPC);
	known = count_known(engine, NAMES + 2 * RECORDS);
	engine->host.fault = on_full_disk;
	engine->host.fault_context = &disk;
	assert_int_equal(engine_checkpoint(engine), UDS_ERR_NO_SPACE);
	must_move(fixture);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(engine, NAMES + 2 * RECORDS), known);
	engine->host.fault = on_operation;
	engine->host.fault_context = fixture;
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, NAMES + 2 * RECORDS), known);
}

/* Online, but the save finds no room: the same, and chapters that could be written are. */
static void
a_save_without_room_is_made_in_the_new_place(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint64_t number = control_of(fixture->here).save_number;

	post(engine, NAMES, 20);
	fixture->plan = (plan){
		.place = "", .operation = "write", .name = "checkpoint.1", .count = ALWAYS, .number = ENOSPC
	};
	if (control_of(fixture->here).valid_save == 1)
		fixture->plan.name = "checkpoint.0";
	must_move(fixture);
	fixture->plan.number = 0;
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_true(fixture->plan.failed > 0);
	assert_int_equal(control_of(fixture->there).save_number, number + 1);
	engine_crash(engine);
	engine_must_open(engine);
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);
}

/* A suspended index with chapters that cannot be written stays suspended, and keeps them. */
static void
a_suspended_index_moves_off_a_bad_disk(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint32_t known;

	make_read_only(fixture, EIO);
	known = count_known(engine, NAMES + 2 * RECORDS);
	assert_int_equal(engine_suspend(engine, false), UDS_OK);
	fixture->plan.name = UDS_VOLUME_FILE;
	/* A move that fails as a whole changes nothing. */
	fixture->plan.place = NULL;
	assert_int_equal(move_there(fixture), UDS_ERR_IO);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_false(is_there(fixture->there));
	fixture->plan.place = "";
	must_move(fixture);
	assert_int_equal(state_of(fixture), UDS_STATE_SUSPENDED);
	assert_int_equal(engine_resume(engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(engine, NAMES + 2 * RECORDS), known);
}

/* ---- names and places --------------------------------------------------------------------------- */

static void
names_that_cannot_be_kept_are_refused(void **state)
{
	fixture *fixture = *state;
	char name[UDS_DIRECTORY_NAME_MAX + 2];

	assert_int_equal(engine_move(&fixture->engine, ""), UDS_ERR_ARGUMENT);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(engine_move(&fixture->engine, name), UDS_ERR_ARGUMENT);
	/* The longest one is. */
	name[sizeof(name) - 2] = '\0';
	memcpy(name, fixture->there, strlen(fixture->there));
	assert_int_equal(engine_move(&fixture->engine, name), UDS_OK);
	assert_string_equal(control_of(fixture->here).elsewhere, name);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	assert_int_equal(engine_close(&fixture->engine), UDS_OK);
	set_directory(fixture, fixture->here);
	assert_int_equal(engine_open(&fixture->engine), UDS_ERR_MISMATCH);
	assert_non_null(strstr(fixture->engine.error.message, name));
	assert_non_null(strstr(fixture->engine.error.hint, name));
	posix_remove_directory(name);
}

static void
a_directory_that_is_not_empty_is_left_alone(void **state)
{
	fixture *fixture = *state;

	assert_int_equal(mkdir(fixture->there, 0700), 0);
	files_write(fixture->there, "somebody", "else's", 6);
	assert_int_equal(move_there(fixture), UDS_ERR_IO);
	assert_int_equal(fixture->engine.error.system_errno, ENOTEMPTY);
	assert_non_null(strstr(fixture->engine.error.hint, "absent or empty"));
	assert_false(files_exists(fixture->there, UDS_LOCK_FILE));
	/* Also the one where the files are. */
	assert_int_equal(engine_move(&fixture->engine, fixture->here), UDS_ERR_IO);
	assert_int_equal(fixture->engine.error.system_errno, ENOTEMPTY);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
	files_remove(fixture->there, "somebody");
	must_move(fixture);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

static void
a_place_that_cannot_be_used_is_told(void **state)
{
	fixture *fixture = *state;
	char name[POSIX_NAME_BYTES + 16];

	snprintf(name, sizeof(name), "%s/below", fixture->there);
	assert_int_equal(engine_move(&fixture->engine, name), UDS_ERR_IO);
	assert_int_equal(fixture->engine.error.system_errno, ENOENT);
	snprintf(name, sizeof(name), "%s/%s", fixture->here, UDS_VOLUME_FILE);
	assert_int_equal(engine_move(&fixture->engine, name), UDS_ERR_IO);
	assert_int_equal(fixture->engine.error.system_errno, ENOTDIR);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

/* Somebody else begins to use the directory after the first look at it. */
typedef struct rival
{
	fixture *fixture;
	bool has_left; /* with its files, but without its lock */
	int descriptor;
} rival;

static int
use_directory_first(void *context, const char *operation, const char *name)
{
	rival *rival = context;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[POSIX_NAME_BYTES + 16];

	(void) name;
	if (strcmp(operation, "lock") != 0)
		return 0;
	if (rival->has_left)
	{
		files_write(rival->fixture->there, UDS_VOLUME_FILE, "theirs", 6);
		return 0;
	}
	snprintf(path, sizeof(path), "%s/%s", rival->fixture->there, UDS_LOCK_FILE);
	rival->descriptor = open(path, O_RDWR);
	assert_int_equal(fcntl(rival->descriptor, F_OFD_SETLK, &lock), 0);
	return 0;
}

static void
a_directory_that_others_use_is_left_alone(void **state)
{
	fixture *fixture = *state;
	rival rival = { .fixture = fixture };

	fixture->engine.host.fault = use_directory_first;
	fixture->engine.host.fault_context = &rival;
	assert_int_equal(move_there(fixture), UDS_ERR_IN_USE);
	assert_true(files_exists(fixture->there, UDS_LOCK_FILE));
	assert_int_equal(close(rival.descriptor), 0);
	posix_remove_directory(fixture->there);
	rival.has_left = true;
	assert_int_equal(move_there(fixture), UDS_ERR_IO);
	assert_int_equal(fixture->engine.error.system_errno, ENOTEMPTY);
	assert_int_equal(files_size(fixture->there, UDS_VOLUME_FILE), 6);
	fixture->engine.host.fault = on_operation;
	fixture->engine.host.fault_context = fixture;
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

static void
both_places_are_refused_to_others(void **state)
{
	fixture *fixture = *state;
	uds_config config = fixture->engine.config;
	engine other;
	char own[POSIX_NAME_BYTES];

	must_move(fixture);
	engine_init(&other, &config);
	snprintf(own, sizeof(own), "%s", other.host.directory);
	snprintf(other.host.directory, sizeof(own), "%s", fixture->there);
	atomic_store(&other.host.history, 100000);
	assert_int_equal(engine_open(&other), UDS_ERR_IN_USE);
	engine_crash(&other);
	snprintf(other.host.directory, sizeof(own), "%s", fixture->here);
	assert_int_equal(engine_open(&other), UDS_ERR_MISMATCH);
	assert_non_null(strstr(other.error.message, "files were moved to"));
	engine_crash(&other);
	snprintf(other.host.directory, sizeof(own), "%s", own);
	engine_destroy(&other);
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

/* ---- what control says ---------------------------------------------------------------------------- */

static void
write_control(fixture *fixture, const char *directory, uds_control *control)
{
	control->crc = 0;
	control->crc = uds_port_crc32c(0, control, sizeof(*control));
	files_write(directory, UDS_CONTROL_FILE, control, sizeof(*control));
	(void) fixture;
}

static void
moved_files_are_refused_with_their_place(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	char expected[POSIX_NAME_BYTES + 64];

	must_move(fixture);
	assert_int_equal(engine_close(engine), UDS_OK);
	set_directory(fixture, fixture->here);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
		assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);
		snprintf(expected, sizeof(expected), "files were moved to \"%s\"", fixture->there);
		assert_string_equal(engine->error.message, expected);
		snprintf(expected, sizeof(expected), "Set \"uds.directory\" to \"%s\".", fixture->there);
		assert_string_equal(engine->error.hint, expected);
		assert_int_equal(engine_resume(engine), UDS_ERR_MISMATCH);
		engine_crash(engine);
		/* The same when nobody can tell what is there. */
		files_flip_bit(fixture->there, UDS_CONTROL_FILE, 100, 3);
	}
	files_remove(fixture->there, UDS_CONTROL_FILE);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	/* Who wants the place back forgets. */
	assert_int_equal(engine_reset(engine), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(control_of(fixture->here).elsewhere[0], '\0');
}

/* Control here says "moved" and there "arriving": the next start goes on here. */
static void
a_move_that_was_not_completed_is_taken_back(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_control arriving;
	uds_control moved;
	char expected[POSIX_NAME_BYTES + 64];

	assert_int_equal(engine_close(engine), UDS_OK);
	assert_int_equal(mkdir(fixture->there, 0700), 0);
	files_copy_all(fixture->here, fixture->there);
	arriving = control_of(fixture->here);
	moved = arriving;
	arriving.state = UDS_CONTROL_ARRIVING;
	uds_control_set_elsewhere(&arriving, fixture->here);
	write_control(fixture, fixture->there, &arriving);
	moved.state = UDS_CONTROL_MOVED;
	uds_control_set_elsewhere(&moved, fixture->there);
	write_control(fixture, fixture->here, &moved);

	set_directory(fixture, fixture->there);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	assert_string_equal(engine->error.message,
	                    "files are the copy of a move that was not completed");
	snprintf(expected, sizeof(expected), "Set \"uds.directory\" to \"%s\".", fixture->here);
	assert_string_equal(engine->error.hint, expected);
	engine_crash(engine);

	/* A copy of something else does not count. */
	set_directory(fixture, fixture->here);
	arriving.nonce ^= 1;
	write_control(fixture, fixture->there, &arriving);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	engine_crash(engine);
	arriving.nonce ^= 1;
	write_control(fixture, fixture->there, &arriving);

	engine_must_open(engine);
	assert_int_equal(count_known(engine, NAMES), NAMES);
	assert_int_equal(control_of(fixture->here).state, UDS_CONTROL_RUNNING);
	assert_int_equal(control_of(fixture->here).elsewhere[0], '\0');
	assert_int_equal(engine_close(engine), UDS_OK);
	/* The copy is refused as before. */
	set_directory(fixture, fixture->there);
	assert_int_equal(engine_open(engine), UDS_ERR_MISMATCH);
	engine_crash(engine);
	set_directory(fixture, fixture->here);
	engine_must_open(engine);
}

/* The writer ends between two steps of a move, and leaves the block in order. */
static void
a_successor_finds_where_the_files_are(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_control here = control_of(fixture->here);
	uds_control there = here;
	uds_error error;

	post(engine, NAMES, 20);
	assert_int_equal(mkdir(fixture->there, 0700), 0);
	files_copy_all(fixture->here, fixture->there);
	here.state = UDS_CONTROL_MOVED;
	uds_control_set_elsewhere(&here, fixture->there);
	write_control(fixture, fixture->here, &here);
	there.state = UDS_CONTROL_ARRIVING;
	uds_control_set_elsewhere(&there, fixture->here);
	write_control(fixture, fixture->there, &there);

	/* The copy does not count yet; control cannot be written at once. */
	fixture->plan = (plan){ .operation = "write", .count = 1, .number = EIO };
	assert_int_equal(replace_writer(fixture), UDS_OK);
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_int_equal(control_of(fixture->here).state, UDS_CONTROL_MOVED);
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);
	assert_int_equal(replace_writer(fixture), UDS_OK);
	assert_int_equal(control_of(fixture->here).state, UDS_CONTROL_RUNNING);
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);

	/* It counts, and the host knows: so do those that read. */
	write_control(fixture, fixture->here, &here);
	there.state = UDS_CONTROL_RUNNING;
	write_control(fixture, fixture->there, &there);
	snprintf(engine->host.moved, sizeof(engine->host.moved), "%s", fixture->there);
	atomic_store(&engine->index->zones_wanted, 1);
	assert_int_equal(uds_zone_turn(engine->zones[0]), UDS_PENDING);
	assert_int_equal(replace_writer(fixture), UDS_OK);
	post(engine, NAMES + 20, 6 * RECORDS);
	assert_int_equal(count_known(engine, NAMES + 20 + 6 * RECORDS), NAMES + 20 + 6 * RECORDS);
	assert_int_equal(engine_statistics(engine).bad_pages, 0);

	/* It counts, and the host does not know. */
	engine->host.moved[0] = '\0';
	assert_int_equal(replace_writer(fixture), UDS_ERR_MISMATCH);
	assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);
	set_directory(fixture, fixture->there);
	/* It takes the zone this time. */
	uds_zone_detach(engine->zones[0]);
	assert_int_equal(replace_writer(fixture), UDS_OK);
	assert_int_equal(uds_zone_attach(engine->zone_memory[0],
	                                 engine->index,
	                                 &engine->zone_ports[0],
	                                 0,
	                                 &engine->zones[0],
	                                 &error),
	                 UDS_OK);
	assert_int_equal(count_known(engine, NAMES), NAMES);
}

/* The copy counts for itself, but the files have stayed: no control file there could be trusted. */
static void
a_copy_whose_origin_went_on_is_refused(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_control arrived;

	assert_int_equal(engine_suspend(engine, true), UDS_OK);
	must_move(fixture);
	engine_crash(engine);
	arrived = control_of(fixture->there);
	assert_string_equal(arrived.elsewhere, fixture->here);
	set_directory(fixture, fixture->there);
	for (int i = 0; i < 4; i++)
	{
		uds_control origin = control_of(fixture->here);

		origin.state = UDS_CONTROL_RUNNING;
		uds_control_set_elsewhere(&origin, NULL);
		if (i == 1) /* another index by now */
			origin.nonce ^= 1;
		if (i < 2)
			write_control(fixture, fixture->here, &origin);
		else if (i == 2) /* a copy by hand of what has arrived */
			files_copy_all(fixture->there, fixture->here);
		else
			files_remove(fixture->here, UDS_CONTROL_FILE);
		assert_int_equal(engine_open(engine), i == 0 ? UDS_ERR_MISMATCH : UDS_OK);
		if (i == 0)
			assert_non_null(strstr(engine->error.message, "not completed"));
		else
			assert_int_equal(count_known(engine, NAMES), NAMES);
		engine_crash(engine);
		write_control(fixture, fixture->there, &arrived);
		origin.nonce = arrived.nonce;
		write_control(fixture, fixture->here, &origin);
	}
}

static void
odd_places_in_control_do_no_harm(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_control control;

	assert_int_equal(engine_close(engine), UDS_OK);
	for (int i = 0; i < 5; i++)
	{
		uds_status expected = UDS_ERR_MISMATCH;

		control = control_of(fixture->here);
		control.state = i == 4 ? UDS_CONTROL_ARRIVING : UDS_CONTROL_MOVED;
		memset(control.elsewhere, 0, sizeof(control.elsewhere));
		if (i == 0) /* has no end */
		{
			memset(control.elsewhere, '/', sizeof(control.elsewhere));
			expected = UDS_ERR_CORRUPT;
		}
		else if (i == 1) /* itself */
			uds_control_set_elsewhere(&control, fixture->here);
		else if (i == 2) /* the longest, and none at all */
			memset(control.elsewhere, 1, sizeof(control.elsewhere) - 1);
		write_control(fixture, fixture->here, &control);
		assert_int_equal(engine_open(engine), expected);
		assert_int_equal(state_of(fixture), UDS_STATE_OFFLINE);
		assert_true(engine->error.message[0] != '\0');
		engine_crash(engine);
	}
	/* A name that does not fit is not kept. */
	memset(control.elsewhere, 'x', sizeof(control.elsewhere));
	control.elsewhere[0] = '\0';
	{
		char name[UDS_CONTROL_NAME_BYTES + 1];

		memset(name, 'y', sizeof(name));
		name[UDS_CONTROL_NAME_BYTES] = '\0';
		uds_control_set_elsewhere(&control, name);
	}
	for (size_t i = 0; i < sizeof(control.elsewhere); i++)
		assert_int_equal(control.elsewhere[i], 0);
}

/* ---- failures and ends ---------------------------------------------------------------------------- */

/* Which of both directories opens?  Exactly one, with all that was saved. */
static const char *
find_the_one(fixture *fixture, uint32_t names)
{
	const char *const directories[] = { fixture->here, fixture->there };
	const char *found = NULL;

	for (int i = 0; i < 2; i++)
	{
		uds_status status;

		if (!is_there(directories[i]) || !files_exists(directories[i], UDS_CONTROL_FILE))
			continue;
		set_directory(fixture, directories[i]);
		status = engine_open(&fixture->engine);
		if (status == UDS_OK)
		{
			assert_null(found);
			found = directories[i];
			assert_int_equal(count_known(&fixture->engine, names), names);
		}
		else
		{
			assert_int_equal(status, UDS_ERR_MISMATCH);
			assert_true(strstr(fixture->engine.error.message, "moved") != NULL ||
			            strstr(fixture->engine.error.message, "not completed") != NULL);
		}
		engine_crash(&fixture->engine);
	}
	assert_non_null(found);
	return found;
}

/* Begin again as after setup. */
static void
restore(fixture *fixture, const char *golden)
{
	engine_crash(&fixture->engine);
	posix_remove_directory(fixture->there);
	files_copy_all(golden, fixture->here);
	set_directory(fixture, fixture->here);
	memset(&fixture->plan, 0, sizeof(fixture->plan));
	engine_must_open(&fixture->engine);
	post(&fixture->engine, NAMES, 20);
	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
}

/* Operations of a move that goes well. */
static uint32_t
count_operations(fixture *fixture)
{
	fixture->plan = (plan){ 0 };
	must_move(fixture);
	return fixture->plan.seen;
}

static void
one_directory_opens_whenever_it_ends(void **state)
{
	fixture *fixture = *state;
	char *golden = files_make_directory();
	uint32_t total;
	uint32_t here = 0;
	uint32_t there = 0;

	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	engine_crash(&fixture->engine);
	files_copy_all(fixture->here, golden);
	restore(fixture, golden);
	total = count_operations(fixture);
	assert_true(total > 30);
	for (uint32_t point = 1; point <= total; point++)
	{
		restore(fixture, golden);
		fixture->plan = (plan){ .picture_at = point };
		must_move(fixture);
		assert_true(fixture->plan.seen >= point);
		engine_crash(&fixture->engine);
		posix_remove_directory(fixture->there);
		files_copy_all(fixture->pictures[0], fixture->here);
		if (fixture->had_there)
		{
			assert_int_equal(mkdir(fixture->there, 0700), 0);
			files_copy_all(fixture->pictures[1], fixture->there);
		}
		memset(&fixture->plan, 0, sizeof(fixture->plan));
		if (find_the_one(fixture, NAMES + 20) == fixture->here)
			here++;
		else
			there++;
	}
	assert_true(here > 20);
	assert_true(there > 2);
	posix_remove_directory(golden);
	free(golden);
}

/* The index goes on, here or there; what it says is true. */
static void
check_what_failed(fixture *fixture, uds_status status)
{
	engine *engine = &fixture->engine;
	char directory[POSIX_NAME_BYTES];

	posix_host_directory(&engine->host, directory);
	fixture->plan.number = 0;
	if (state_of(fixture) == UDS_STATE_OFFLINE)
	{
		/* No control file could be trusted: the next start finds out. */
		assert_true(uds_status_is_error(status));
		return;
	}
	if (status == UDS_OK)
		assert_string_equal(directory, fixture->there);
	else
	{
		assert_true(status == UDS_ERR_IO || status == UDS_ERR_NO_SPACE);
		assert_int_equal(engine->error.system_errno, ENOSPC);
		assert_string_equal(directory, fixture->here);
	}
	assert_int_equal(count_known(engine, NAMES + 20), NAMES + 20);
	if (state_of(fixture) != UDS_STATE_ONLINE)
	{
		assert_int_equal(state_of(fixture), UDS_STATE_READ_ONLY);
		assert_int_equal(engine_resume(engine), UDS_OK);
	}
	post(engine, NAMES + 20, RECORDS);
	assert_int_equal(engine_checkpoint(engine), UDS_OK);
	assert_int_equal(count_known(engine, NAMES + 20 + RECORDS), NAMES + 20 + RECORDS);
}

static void
fail_at_each_operation(fixture *fixture, const char *golden, const char *place, uint32_t count,
                       uint32_t total)
{
	for (uint32_t point = 0; point < total; point++)
	{
		uds_status status;
		uint32_t names;

		restore(fixture, golden);
		fixture->plan = (plan){ .place = place, .skip = point, .count = count, .number = ENOSPC };
		status = move_there(fixture);
		if (fixture->plan.failed == 0)
			return;
		/* A crash right then. */
		take_picture(fixture);
		check_what_failed(fixture, status);
		names = state_of(fixture) == UDS_STATE_OFFLINE ? NAMES + 20 : NAMES + 20 + RECORDS;
		engine_crash(&fixture->engine);
		(void) find_the_one(fixture, names);
		posix_remove_directory(fixture->there);
		files_copy_all(fixture->pictures[0], fixture->here);
		if (fixture->had_there)
		{
			assert_int_equal(mkdir(fixture->there, 0700), 0);
			files_copy_all(fixture->pictures[1], fixture->there);
		}
		(void) find_the_one(fixture, NAMES + 20);
	}
	fail_msg("each operation was reached");
}

static void
nothing_is_lost_whatever_fails(void **state)
{
	fixture *fixture = *state;
	char *golden = files_make_directory();

	assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	engine_crash(&fixture->engine);
	files_copy_all(fixture->here, golden);
	for (int i = 0; i < 3; i++)
	{
		static const char *const places[] = { NULL, "", "there/" };

		fail_at_each_operation(fixture, golden, places[i], 1, 500);
		fail_at_each_operation(fixture, golden, places[i], 2, 500);
		fail_at_each_operation(fixture, golden, places[i], ALWAYS, 500);
	}
	posix_remove_directory(golden);
	free(golden);
}

/* A move that fails before anything counts leaves no trace. */
static void
a_failed_move_cleans_up(void **state)
{
	static const struct
	{
		const char *operation;
		const char *name;
	} faults[] = {
		{ "list", NULL },
		{ "create directory", NULL },
		{ "open", UDS_LOCK_FILE },
		{ "lock", UDS_LOCK_FILE },
		{ "open", UDS_VOLUME_FILE },
		{ "write", UDS_VOLUME_FILE },
		{ "sync", UDS_VOLUME_FILE },
		{ "read", UDS_VOLUME_FILE },
		{ "open", "checkpoint.0" },
		{ "sync directory", NULL },
		{ "open", UDS_CONTROL_NEW_FILE },
		{ "write", UDS_CONTROL_NEW_FILE },
		{ "sync", UDS_CONTROL_NEW_FILE },
		{ "rename", UDS_CONTROL_FILE },
	};
	fixture *fixture = *state;

	/* The next save is the first one of the two. */
	while (control_of(fixture->here).valid_save != 1)
		assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	for (size_t i = 0; i < 2 * sizeof(faults) / sizeof(faults[0]); i++)
	{
		bool is_empty = i % 2 == 0;

		if (is_empty)
			assert_int_equal(mkdir(fixture->there, 0700), 0);
		fixture->plan = (plan){ .operation = faults[i / 2].operation,
			                    .place = "there/",
			                    .name = faults[i / 2].name,
			                    .count = 1,
			                    .number = EIO };
		if (is_empty && strcmp(faults[i / 2].operation, "create directory") == 0)
			fixture->plan.operation = "list";
		assert_int_equal(move_there(fixture), UDS_ERR_IO);
		assert_int_equal(fixture->engine.error.system_errno, EIO);
		assert_int_equal(fixture->plan.failed, 1);
		assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
		assert_int_equal(is_there(fixture->there), is_empty);
		if (is_empty)
			assert_int_equal(rmdir(fixture->there), 0);
		while (control_of(fixture->here).valid_save != 1)
			assert_int_equal(engine_checkpoint(&fixture->engine), UDS_OK);
	}
}

/* The medium gives back something else than it was given. */
static int
spoil_copy(void *context, const char *operation, const char *name)
{
	fixture *fixture = context;

	if (strcmp(operation, "read") == 0 && strcmp(name, "there/volume") == 0)
		files_flip_bit(fixture->there, UDS_VOLUME_FILE, 5000, 3);
	return 0;
}

static void
a_copy_that_reads_differently_does_not_count(void **state)
{
	fixture *fixture = *state;

	fixture->engine.host.fault = spoil_copy;
	assert_int_equal(move_there(fixture), UDS_ERR_CORRUPT);
	assert_non_null(strstr(fixture->engine.error.message, "copy of file \"volume\""));
	fixture->engine.host.fault = on_operation;
	assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
	assert_false(is_there(fixture->there));
	assert_int_equal(count_known(&fixture->engine, NAMES), NAMES);
}

static void
a_stop_is_obeyed_and_leaves_no_trace(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uint32_t stopped = 0;
	uds_status status;

	for (uint32_t point = 1;; point++)
	{
		fixture->plan = (plan){ .stop_at = point };
		status = move_there(fixture);
		posix_host_clear_stop(&engine->host, UDS_WORKER_WRITER);
		assert_int_equal(state_of(fixture), UDS_STATE_ONLINE);
		if (status == UDS_OK)
			break;
		stopped++;
		assert_int_equal(status, UDS_STOPPED);
		assert_false(is_there(fixture->there));
		assert_int_equal(control_of(fixture->here).state, UDS_CONTROL_RUNNING);
		assert_int_equal(engine_statistics(engine).phase, UDS_PHASE_NONE);
	}
	assert_true(stopped > 20);
	must_be_left(fixture->here, fixture->there);
	assert_int_equal(count_known(engine, NAMES), NAMES);
}

static void
progress_tells_what_is_done(void **state)
{
	fixture *fixture = *state;

	fixture->phases = 0;
	must_move(fixture);
	assert_true((fixture->phases & 1u << UDS_PHASE_MOVING) != 0);
	assert_int_equal(engine_statistics(&fixture->engine).phase, UDS_PHASE_NONE);
	assert_false(fixture->has_passed);
}

/* ---- those who read ------------------------------------------------------------------------------- */

static void
a_verification_goes_on_in_the_new_place(void **state)
{
	fixture *fixture = *state;
	engine *engine = &fixture->engine;
	uds_port port = posix_port(&engine->host, UDS_WORKER_COUNT);
	void *memory = aligned_alloc(UDS_CACHE_LINE, uds_verifier_size(engine->index));
	uds_verifier *verifier;
	uds_problem problem;
	uint32_t problems = 0;
	uint32_t count;

	assert_int_equal(uds_verifier_open(memory, engine->index, &port, &verifier, &engine->error),
	                 UDS_OK);
	assert_int_equal(uds_verifier_next(verifier, &problem, 1, &count), UDS_OK);
	assert_int_equal(count, 0);
	must_move(fixture);
	/* Only there, in the fourth chapter. */
	files_flip_bit(fixture->there,
	               UDS_VOLUME_FILE,
	               (1 + 3 * engine->index->geometry.pages_per_chapter) * UDS_PAGE_BYTES + 100,
	               2);
	while (uds_verifier_next(verifier, &problem, 1, &count) == UDS_OK)
	{
		problems += count > 0;
		assert_true(count == 0 || problem.chapter == 3);
	}
	assert_int_equal(problems, 1);
	uds_verifier_close(verifier);
	/* One that finds no volume says so. */
	assert_int_equal(uds_verifier_open(memory, engine->index, &port, &verifier, &engine->error),
	                 UDS_OK);
	atomic_fetch_add(&engine->index->moves, 1);
	files_remove(fixture->there, UDS_VOLUME_FILE);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(uds_verifier_next(verifier, &problem, 1, &count), UDS_OK);
		assert_int_equal(count, 1);
		assert_string_equal(problem.text, "volume is missing");
	}
	uds_verifier_close(verifier);
	free(memory);
}

/* ---- random operations ---------------------------------------------------------------------------- */

/*
 * Moves between other operations, faults included.  Names are posted in order; those that were
 * saved, which every operation here does when it succeeds, are there for ever.
 */
static void
run_random(fixture *fixture, uint64_t seed)
{
	engine *engine = &fixture->engine;
	uds_random random;
	uint64_t posted = NAMES;
	uint64_t saved = NAMES;

	uds_random_init(&random, seed);
	for (uint32_t step = 0; step < 60; step++)
	{
		uint64_t kind = uds_random_below(&random, 8);
		char present[POSIX_NAME_BYTES];
		uds_status status;

		posix_host_directory(&engine->host, present);
		if (kind < 3)
		{
			bool is_here = strcmp(present, fixture->here) == 0;
			const char *target = is_here ? fixture->there : fixture->here;

			posix_remove_directory(target);
			if (kind == 2)
				fixture->plan = (plan){ .skip = (uint32_t) uds_random_below(&random, 80),
					                    .count = (uint32_t) uds_random_range(&random, 1, 3),
					                    .number = EIO };
			status = engine_move(engine, target);
			fixture->plan = (plan){ 0 };
			if (state_of(fixture) == UDS_STATE_READ_ONLY)
				assert_int_equal(engine_resume(engine), UDS_OK);
			if (state_of(fixture) == UDS_STATE_OFFLINE)
				break;
			assert_true(kind == 2 || status == UDS_OK);
			/* One that fails may not have saved. */
			if (status == UDS_OK && kind < 2)
				saved = posted;
		}
		else if (kind == 3)
		{
			uint64_t count = uds_random_below(&random, 2 * RECORDS);

			/* Some may be known: after a crash those that were not saved are posted again. */
			for (; count > 0; count--)
			{
				uds_name name = uds_generate_counter_name(posted);
				uds_metadata metadata = uds_generate_metadata(posted++, 1);

				(void) engine_request(engine, UDS_POST, &name, &metadata);
			}
			engine_settle(engine);
		}
		else if (kind == 4)
		{
			assert_int_equal(engine_checkpoint(engine), UDS_OK);
			saved = posted;
		}
		else if (kind == 5)
		{
			assert_int_equal(engine_suspend(engine, uds_random_one_in(&random, 2)), UDS_OK);
			assert_int_equal(engine_resume(engine), UDS_OK);
		}
		else if (kind == 6)
		{
			assert_int_equal(engine_close(engine), UDS_OK);
			engine_must_open(engine);
			saved = posted;
		}
		else
		{
			engine_crash(engine);
			engine_must_open(engine);
			posted = saved;
		}
		if (saved > 9 * RECORDS)
			break;
		assert_int_equal(count_known(engine, saved), saved);
	}
}

static void
random_operations_lose_nothing(void **state)
{
	fixture *fixture = *state;
	char *golden = files_make_directory();

	engine_crash(&fixture->engine);
	files_copy_all(fixture->here, golden);
	for (uint64_t seed = 1; seed <= 12; seed++)
	{
		engine_crash(&fixture->engine);
		posix_remove_directory(fixture->there);
		posix_remove_directory(fixture->here);
		assert_int_equal(mkdir(fixture->here, 0700), 0);
		files_copy_all(golden, fixture->here);
		set_directory(fixture, fixture->here);
		engine_must_open(&fixture->engine);
		print_message("seed %llu\n", (unsigned long long) seed);
		run_random(fixture, seed);
	}
	posix_remove_directory(golden);
	free(golden);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_online_index_goes_on_in_the_new_place),
		CASE(parked_requests_survive_a_move),
		CASE(a_suspended_index_stays_suspended),
		CASE(a_saved_suspension_is_complete_after_the_move),
		CASE(an_index_without_files_in_use_is_not_moved),
		CASE(a_read_only_index_is_online_after_it),
		CASE(an_index_moves_off_a_full_disk),
		CASE(a_save_without_room_is_made_in_the_new_place),
		CASE(a_suspended_index_moves_off_a_bad_disk),
		CASE(names_that_cannot_be_kept_are_refused),
		CASE(a_directory_that_is_not_empty_is_left_alone),
		CASE(a_place_that_cannot_be_used_is_told),
		CASE(a_directory_that_others_use_is_left_alone),
		CASE(both_places_are_refused_to_others),
		CASE(moved_files_are_refused_with_their_place),
		CASE(a_move_that_was_not_completed_is_taken_back),
		CASE(a_successor_finds_where_the_files_are),
		CASE(a_copy_whose_origin_went_on_is_refused),
		CASE(odd_places_in_control_do_no_harm),
		CASE(one_directory_opens_whenever_it_ends),
		CASE(nothing_is_lost_whatever_fails),
		CASE(a_failed_move_cleans_up),
		CASE(a_copy_that_reads_differently_does_not_count),
		CASE(a_stop_is_obeyed_and_leaves_no_trace),
		CASE(progress_tells_what_is_done),
		CASE(a_verification_goes_on_in_the_new_place),
		CASE(random_operations_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
