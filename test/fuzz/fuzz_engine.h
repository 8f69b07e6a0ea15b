/*
 * fuzz_engine.h: a small index whose files are made once, and opened after each change of them.
 */
#ifndef UDS_FUZZ_ENGINE_H
#define UDS_FUZZ_ENGINE_H

#include "fuzz.h"

#include <unistd.h>

#include "../../src/engine/control.h"

#include "engine_host.h"
#include "files.h"
#include "generate.h"

/* Chapters of two record pages; the window has wrapped, and the open chapter has records. */
#define FUZZ_RECORD_PAGES 2
#define FUZZ_CHAPTERS     8
#define FUZZ_NAMES        (10 * FUZZ_RECORD_PAGES * UDS_RECORDS_PER_PAGE + 100)

typedef struct fuzz_file
{
	const char *name;
	uint8_t *data;
	size_t bytes;
} fuzz_file;

typedef struct fuzz_index
{
	engine engine;
	fuzz_file control;
	fuzz_file volume;
	fuzz_file save;
} fuzz_index;

static inline void
fuzz_file_read(fuzz_file *file, const char *directory, const char *name)
{
	file->name = name;
	file->data = files_read(directory, name, &file->bytes);
}

static inline void
fuzz_file_write(const fuzz_file *file, const char *directory)
{
	files_write(directory, file->name, file->data, file->bytes);
}

static inline uds_request
fuzz_request(uds_operation operation, uint64_t number)
{
	return (uds_request){
		.name = uds_generate_counter_name(number),
		.metadata = uds_generate_metadata(number, 1),
		.operation = (uint8_t) operation,
	};
}

/* Directories that go away at the end, unless the end is a finding. */
#define FUZZ_INDEXES_MAX 4
static const char *fuzz_directories[FUZZ_INDEXES_MAX];

static inline void
fuzz_remove_directories(void)
{
	for (int i = 0; i < FUZZ_INDEXES_MAX && fuzz_directories[i] != NULL; i++)
		posix_remove_directory(fuzz_directories[i]);
}

/* Make the files of an index: names 0 .. FUZZ_NAMES - 1, every tenth of the last ones deleted. */
static inline void
fuzz_index_init(fuzz_index *index, uds_index_structure structure, uint32_t zone_count)
{
	uds_config config = engine_config(FUZZ_RECORD_PAGES, FUZZ_CHAPTERS, zone_count, structure);
	uds_control control;

	/* Memory is the faster disk. */
	engine_init(&index->engine, &config);
	if (access("/dev/shm", W_OK) == 0)
	{
		char directory[] = "/dev/shm/uds-fuzz-XXXXXX";

		posix_remove_directory(index->engine.host.directory);
		FUZZ_REQUIRE(mkdtemp(directory) != NULL);
		strcpy(index->engine.host.directory, directory);
	}
	if (fuzz_directories[0] == NULL)
		FUZZ_REQUIRE(atexit(fuzz_remove_directories) == 0);
	for (int i = 0; i < FUZZ_INDEXES_MAX; i++)
	{
		if (fuzz_directories[i] != NULL)
			continue;
		fuzz_directories[i] = index->engine.host.directory;
		break;
	}
	engine_must_open(&index->engine);
	for (uint64_t i = 0; i < FUZZ_NAMES; i++)
	{
		uds_request request = fuzz_request(UDS_POST, i);

		FUZZ_REQUIRE(engine_run(&index->engine, &request, 1) == UDS_OK);
	}
	for (uint64_t i = FUZZ_NAMES - 600; i < FUZZ_NAMES; i += 10)
	{
		uds_request request = fuzz_request(UDS_DELETE, i);

		FUZZ_REQUIRE(engine_run(&index->engine, &request, 1) == UDS_OK);
	}
	FUZZ_REQUIRE(engine_close(&index->engine) == UDS_OK);
	fuzz_file_read(&index->control, index->engine.host.directory, UDS_CONTROL_FILE);
	fuzz_file_read(&index->volume, index->engine.host.directory, UDS_VOLUME_FILE);
	memcpy(&control, index->control.data, sizeof(control));
	fuzz_file_read(&index->save,
	               index->engine.host.directory,
	               control.valid_save == 0 ? "checkpoint.0" : "checkpoint.1");
}

/* Put the files back as they were made; the other save is not there. */
static inline void
fuzz_index_restore(fuzz_index *index)
{
	const char *directory = index->engine.host.directory;

	fuzz_file_write(&index->control, directory);
	fuzz_file_write(&index->volume, directory);
	fuzz_file_write(&index->save, directory);
	(void) unlink(index->save.name[sizeof("checkpoint.") - 1] == '0' ? "checkpoint.1"
	                                                                 : "checkpoint.0");
}

/*
 * Let every worker do a turn until the request is answered, but not for ever: an index that fails
 * again and again is one answer, too.
 */
static inline bool
fuzz_index_run(fuzz_index *index, uds_request *request)
{
	engine *engine = &index->engine;
	uint32_t zone = uds_index_zone_of(engine->index, &request->name);
	bool is_sent = false;

	for (int turn = 0; turn < 100; turn++)
	{
		uds_request *finished = NULL;
		uint32_t parked = 0;

		for (uint32_t i = 0; i < engine->config.zone_count; i++)
		{
			if (uds_zone_turn(engine->zones[i]) != UDS_OK)
				continue;
			if (i == zone && !is_sent)
			{
				uds_status status = uds_zone_execute(engine->zones[i], request, 1, &parked);

				FUZZ_REQUIRE(status == UDS_OK || status == UDS_ERR_INTERNAL);
				is_sent = true;
				if (parked == 0)
					return true;
			}
			(void) !uds_zone_advance(engine->zones[i], &finished);
			if (finished != NULL)
				return true;
		}
		(void) !uds_writer_work(engine->writer, &engine->error);
	}
	return false;
}

/* Do what is found carry the metadata it was posted with?  Then fill a chapter. */
static inline void
fuzz_index_use(fuzz_index *index, bool metadata_is_sure)
{
	for (uint64_t i = 0; i < FUZZ_NAMES + 50; i += 29)
	{
		uds_request request = fuzz_request(i % 3 == 0 ? UDS_POST : UDS_PEEK, i);
		uds_metadata metadata = request.metadata;

		if (!fuzz_index_run(index, &request))
			return;
		if (metadata_is_sure && request.found)
			FUZZ_REQUIRE(memcmp(&request.found_metadata, &metadata, sizeof(metadata)) == 0);
	}
	for (uint64_t i = 0; i < FUZZ_RECORD_PAGES * UDS_RECORDS_PER_PAGE + 20; i++)
	{
		uds_request request = fuzz_request(UDS_UPDATE, FUZZ_NAMES + i);

		if (!fuzz_index_run(index, &request))
			return;
	}
}

#endif
