/*
 * settings_check.c: uds_settings_check(), the sizes that the settings give.
 *
 * Most of it is arithmetic on the configuration, so it answers also when the index is offline
 * because the settings do not fit: then it shows what does not.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "utils/builtins.h"

#include "directory.h"
#include "result_row.h"
#include "session.h"
#include "settings.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(udspg_settings_check);

/* Files of the index; a save is written beside the one before it. */
static const char *const index_files[] = { "control", "volume", "checkpoint.0", "checkpoint.1" };
#define CHECKPOINT_FILES 2

/* What this server has; 0 = could not be found out. */
typedef struct server_room
{
	uint64 memory;       /* physical */
	uint64 memory_limit; /* of shared memory for the index */
	uint64 disk;         /* free where the files are, and what the files take already */
	uint64 disk_used;    /* by the files now */
} server_room;

/* What a configuration needs. */
typedef struct needs
{
	uds_sizes sizes;
	uint64 memory;
	uint64 disk;
} needs;

/* Does a need fit?  Unknown counts as yes. */
static bool
fits(uint64 need, uint64 room)
{
	return room == 0 || need <= room;
}

/* Free bytes of the file system that holds path, or will hold it; 0 when unknown. */
static uint64
free_disk(const char *path)
{
	char parent[MAXPGPATH];
	struct statvfs info;

	strlcpy(parent, path, sizeof(parent));
	while (statvfs(parent, &info) != 0)
	{
		if (errno != ENOENT || strcmp(parent, ".") == 0 || strcmp(parent, "/") == 0)
			return 0;
		get_parent_directory(parent);
		if (parent[0] == '\0')
			strlcpy(parent, ".", sizeof(parent));
	}
	return (uint64) info.f_bavail * info.f_frsize;
}

static uint64
used_disk(const char *directory)
{
	uint64 bytes = 0;

	for (int i = 0; i < lengthof(index_files); i++)
	{
		char path[MAXPGPATH];
		struct stat info;

		snprintf(path, sizeof(path), "%s/%s", directory, index_files[i]);
		if (stat(path, &info) == 0)
			bytes += (uint64) info.st_blocks * 512;
	}
	return bytes;
}

static void
find_room(server_room *room)
{
	char directory[MAXPGPATH];

	udspg_directory_get(directory);
	room->memory = (uint64) sysconf(_SC_PHYS_PAGES) * (uint64) sysconf(_SC_PAGESIZE);
	room->memory_limit = room->memory / 100 * UDSPG_MEMORY_PERCENT_MAX;
	room->disk_used = used_disk(directory);
	room->disk = free_disk(directory);
	if (room->disk != 0)
		room->disk += room->disk_used;
}

static bool
find_needs(const uds_config *config, needs *needs)
{
	if (uds_config_sizes(config, &needs->sizes) != UDS_OK)
		return false;
	needs->memory = needs->sizes.index_memory + needs->sizes.cache_memory + udspg_queue_memory();
	needs->disk = needs->sizes.volume_bytes + CHECKPOINT_FILES * needs->sizes.checkpoint_bytes;
	return true;
}

/* The configuration in force: that of the settings, with what the files have of their own. */
static bool
find_config(uds_config *config)
{
	const uds_config *settings = udspg_config();

	if (settings == NULL)
		return false;
	*config = *settings;
	if (udspg_index() != NULL)
		uds_index_configuration(udspg_index(), config);
	return true;
}

/* Does the configuration with this uds.memory, and all else as it is, fit? */
static bool
memory_fits(uint32 memory, const server_room *room, const char **limit)
{
	uds_config config;
	needs needs;

	*limit = "geometry";
	if (uds_config_init(&config,
	                    memory,
	                    udspg_index_structure,
	                    udspg_sparse,
	                    udspg_zones,
	                    (uint64) udspg_page_cache * 1024,
	                    NULL) != UDS_OK ||
	    !find_needs(&config, &needs))
		return false;
	*limit = fits(needs.memory, room->memory_limit) ? "disk_space" : "shared_memory";
	return fits(needs.memory, room->memory_limit) && fits(needs.disk, room->disk);
}

/* The largest uds.memory, in MB, that fits; 0 = none.  limit: what forbids a larger one. */
static uint32
find_largest_memory(const server_room *room, const char **limit)
{
	uint32 good = UDS_MEMORY_MB_MIN - 1;
	uint32 bad = UDS_MEMORY_MB_MAX + 1;
	const char *unfit = "uds.memory";

	*limit = unfit;
	while (bad - good > 1)
	{
		uint32 memory = good + (bad - good) / 2;

		if (memory_fits(memory, room, &unfit))
			good = memory;
		else
		{
			bad = memory;
			*limit = unfit;
		}
	}
	return good >= UDS_MEMORY_MB_MIN ? good : 0;
}

static const char *
pretty(uint64 bytes)
{
	return TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum((int64) bytes)));
}

/* Add a row; only bytes have a readable size. */
static void
put_item(ReturnSetInfo *result, const char *item, uint64 value, const char *unit, bool is_fitting,
         const char *note)
{
	udspg_result_row row = { .count = 0 };

	udspg_result_row_put_text(&row, item);
	udspg_result_row_put_count(&row, value, true);
	udspg_result_row_put_text(&row, unit);
	udspg_result_row_put_text(&row, strcmp(unit, "bytes") == 0 ? pretty(value) : NULL);
	udspg_result_row_put(&row, BoolGetDatum(is_fitting), false);
	udspg_result_row_put_text(&row, note);
	udspg_result_row_check(&row, result->setDesc);
	tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
}

static void
put_memory(ReturnSetInfo *result, const uds_config *config, const needs *needs,
           const server_room *room)
{
	const uds_sizes *sizes = &needs->sizes;
	uint32 sparse_chapters = config->geometry.sparse_chapters;

	put_item(result,
	         "window",
	         sizes->window,
	         "records",
	         true,
	         psprintf(UINT64_FORMAT " chapters of " UINT64_FORMAT " records%s",
	                  sizes->chapters,
	                  sizes->records_per_chapter,
	                  sparse_chapters > 0 ? psprintf(", %u of them sparse", sparse_chapters) : ""));
	put_item(result,
	         "index_memory",
	         sizes->index_memory,
	         "bytes",
	         true,
	         psprintf("%.2f bytes a record", (double) sizes->index_memory / sizes->window));
	put_item(result, "cache_memory", sizes->cache_memory, "bytes", true, "uds.page_cache");
	put_item(result,
	         "queue_memory",
	         udspg_queue_memory(),
	         "bytes",
	         true,
	         psprintf("%u session slots", udspg_shared_header->slot_count));
	put_item(result,
	         "shared_memory",
	         needs->memory,
	         "bytes",
	         fits(needs->memory, room->memory_limit),
	         psprintf("index, cache and queues; at most %d %% of the physical memory, %s",
	                  UDSPG_MEMORY_PERCENT_MAX,
	                  room->memory_limit == 0 ? "unknown" : pretty(room->memory_limit)));
}

static void
put_disk(ReturnSetInfo *result, const needs *needs, const server_room *room)
{
	uint64 checkpoint_bytes = needs->sizes.checkpoint_bytes;

	put_item(result,
	         "volume_file",
	         needs->sizes.volume_bytes,
	         "bytes",
	         true,
	         psprintf("%.2f bytes a record, when the window is full",
	                  (double) needs->sizes.volume_bytes / needs->sizes.window));
	put_item(result,
	         "checkpoint_files",
	         CHECKPOINT_FILES * checkpoint_bytes,
	         "bytes",
	         true,
	         psprintf("%d of %s", CHECKPOINT_FILES, pretty(checkpoint_bytes)));
	put_item(result,
	         "disk_space",
	         needs->disk,
	         "bytes",
	         fits(needs->disk, room->disk),
	         psprintf("all files; %s used now, %s free",
	                  pretty(room->disk_used),
	                  room->disk == 0 ? "unknown" : pretty(room->disk - room->disk_used)));
}

static void
put_workers(ReturnSetInfo *result)
{
	int needed = udspg_workers_wanted();
	int running = udspg_workers_running();
	int slots = udspg_shared_header->slot_count;
	bool should_run = udspg_index() != NULL && !RecoveryInProgress();

	put_item(result,
	         "workers",
	         needed,
	         "processes",
	         running == needed || (!should_run && needed <= max_worker_processes),
	         psprintf("chapter writer, zones (%d)%s and readers (%d); %d run now; "
	                  "max_worker_processes = %d",
	                  udspg_zones,
	                  udspg_settings_want_triage() ? ", triage" : "",
	                  udspg_read_workers,
	                  running,
	                  max_worker_processes));
	put_item(result,
	         "session_slots",
	         slots,
	         "sessions",
	         slots >= MaxBackends,
	         psprintf("the server runs up to %d backends; one without a slot gets an error",
	                  MaxBackends));
}

/* uds_settings_check() returns table (item, value, unit, size, fits, note) */
Datum
udspg_settings_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *limit;
	uint32 largest;
	uds_config config;
	server_room room;
	needs needs;

	udspg_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	find_room(&room);
	if (find_config(&config) && find_needs(&config, &needs))
	{
		put_memory(result, &config, &needs, &room);
		put_disk(result, &needs, &room);
	}
	put_workers(result);
	largest = find_largest_memory(&room, &limit);
	put_item(result,
	         "largest_memory",
	         (uint64) largest * 1024 * 1024,
	         "bytes",
	         largest >= (uint32) udspg_memory,
	         psprintf("largest uds.memory with the other settings as they are; limited by %s",
	                  limit));
	return (Datum) 0;
}
