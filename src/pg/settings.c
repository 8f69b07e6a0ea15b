/*
 * settings.c: definitions of the settings, in alphabetical order.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "settings.h"

#include "../engine/index.h"

bool udspg_accept_stale = false;
char *udspg_directory;
int udspg_index_structure = UDS_STRUCTURE_BUCKETS;
int udspg_max_sessions = UDSPG_MAX_SESSIONS_DEFAULT;
int udspg_memory = UDSPG_MEMORY_DEFAULT;
int udspg_page_cache = UDSPG_PAGE_CACHE_DEFAULT;
int udspg_queue_size = UDSPG_QUEUE_SIZE_DEFAULT;
int udspg_read_workers = UDSPG_READ_WORKERS_DEFAULT;
int udspg_shutdown_timeout = UDSPG_SHUTDOWN_TIMEOUT_DEFAULT;
bool udspg_sparse = false;
double udspg_spin_time = UDSPG_SPIN_TIME_DEFAULT;
int udspg_wait_timeout = UDSPG_WAIT_TIMEOUT_DEFAULT;
int udspg_zones = UDSPG_ZONES_DEFAULT;

static const struct config_enum_entry structure_options[] = {
	{ "buckets", UDS_STRUCTURE_BUCKETS, false },
	{ "lists", UDS_STRUCTURE_LISTS, false },
	{ NULL, 0, false },
};

static bool
udspg_settings_check_directory(char **value, void **extra, GucSource source)
{
	if (**value == '\0')
	{
		GUC_check_errdetail("The name of the directory is empty.");
		return false;
	}
	if (strlen(*value) >= MAXPGPATH / 2)
	{
		GUC_check_errdetail("The name of the directory is longer than %d bytes.",
		                    MAXPGPATH / 2 - 1);
		return false;
	}
	return true;
}

static bool
udspg_settings_check_max_sessions(int *value, void **extra, GucSource source)
{
	if (*value == 0)
	{
		GUC_check_errdetail(
			"It is -1 for as many as there can be server processes, or at least 1.");
		return false;
	}
	return true;
}

void
udspg_settings_define(void)
{
	DefineCustomBoolVariable(
		"uds.accept_stale",
		"Opens files of an index that may lack something, or are another server's.",
		"A copy of another time, files that pg_upgrade has left behind, and files that cannot be "
		"read as a whole are opened only if it is on.",
		&udspg_accept_stale,
		false,
		PGC_SIGHUP,
		0,
		NULL,
		NULL,
		NULL);
	DefineCustomStringVariable("uds.directory",
	                           "Sets the directory of the index files.",
	                           "A relative name counts from the data directory.",
	                           &udspg_directory,
	                           UDSPG_DIRECTORY_DEFAULT,
	                           PGC_POSTMASTER,
	                           GUC_SUPERUSER_ONLY,
	                           udspg_settings_check_directory,
	                           NULL,
	                           NULL);
	DefineCustomEnumVariable("uds.index",
	                         "Selects the structure of the volume index.",
	                         "\"buckets\" is fast, \"lists\" needs 7 % less memory.",
	                         &udspg_index_structure,
	                         UDS_STRUCTURE_BUCKETS,
	                         structure_options,
	                         PGC_POSTMASTER,
	                         0,
	                         NULL,
	                         NULL,
	                         NULL);
	DefineCustomIntVariable("uds.max_sessions",
	                        "Sets how many sessions can use the index at the same time.",
	                        "-1 means as many as there can be server processes.  Each takes two "
	                        "queues of uds.queue_size.",
	                        &udspg_max_sessions,
	                        UDSPG_MAX_SESSIONS_DEFAULT,
	                        UDSPG_MAX_SESSIONS_MIN,
	                        UDSPG_MAX_SESSIONS_MAX,
	                        PGC_POSTMASTER,
	                        0,
	                        udspg_settings_check_max_sessions,
	                        NULL,
	                        NULL);
	DefineCustomIntVariable("uds.memory",
	                        "Sets the memory of the volume index.",
	                        "It decides how many fingerprints are remembered.",
	                        &udspg_memory,
	                        UDSPG_MEMORY_DEFAULT,
	                        UDS_MEMORY_MB_MIN,
	                        UDS_MEMORY_MB_MAX,
	                        PGC_POSTMASTER,
	                        GUC_UNIT_MB,
	                        NULL,
	                        NULL,
	                        NULL);
	DefineCustomIntVariable("uds.page_cache",
	                        "Sets the memory for cached pages of the volume.",
	                        "A larger one saves reads for fingerprints that are asked for again.",
	                        &udspg_page_cache,
	                        UDSPG_PAGE_CACHE_DEFAULT,
	                        UDSPG_PAGE_CACHE_MIN,
	                        UDSPG_PAGE_CACHE_MAX,
	                        PGC_POSTMASTER,
	                        GUC_UNIT_KB,
	                        NULL,
	                        NULL,
	                        NULL);
	DefineCustomIntVariable(
		"uds.queue_size",
		"Sets the size of the queues of a session, in each direction.",
		"It is divided by the number of zones; a zone's queue has at least 8kB.",
		&udspg_queue_size,
		UDSPG_QUEUE_SIZE_DEFAULT,
		UDSPG_QUEUE_SIZE_MIN,
		UDSPG_QUEUE_SIZE_MAX,
		PGC_POSTMASTER,
		GUC_UNIT_KB,
		NULL,
		NULL,
		NULL);
	DefineCustomIntVariable("uds.read_workers",
	                        "Sets the number of workers that read pages of the volume.",
	                        "Each needs one of max_worker_processes.  More of them have more "
	                        "reads under way at a time.",
	                        &udspg_read_workers,
	                        UDSPG_READ_WORKERS_DEFAULT,
	                        UDSPG_READ_WORKERS_MIN,
	                        UDS_READERS_MAX,
	                        PGC_POSTMASTER,
	                        0,
	                        NULL,
	                        NULL,
	                        NULL);
	DefineCustomIntVariable(
		"uds.shutdown_timeout",
		"Sets the longest time to save the index when the server stops.",
		"An index that is not saved in time recovers at the next start.  0 means "
		"not to save it.",
		&udspg_shutdown_timeout,
		UDSPG_SHUTDOWN_TIMEOUT_DEFAULT,
		UDSPG_SHUTDOWN_TIMEOUT_MIN,
		UDSPG_SHUTDOWN_TIMEOUT_MAX,
		PGC_SIGHUP,
		GUC_UNIT_S,
		NULL,
		NULL,
		NULL);
	DefineCustomBoolVariable(
		"uds.sparse",
		"Remembers ten times the window in the same memory.",
		"Of old fingerprints only one in 32 is in memory; it leads to those that "
		"were posted with it.  With several zones one more worker is needed.",
		&udspg_sparse,
		false,
		PGC_POSTMASTER,
		0,
		NULL,
		NULL,
		NULL);
	DefineCustomRealVariable("uds.spin_time",
	                         "Sets the longest time to poll before a process sleeps.",
	                         "0 means never to poll.  A longer time costs CPU.",
	                         &udspg_spin_time,
	                         UDSPG_SPIN_TIME_DEFAULT,
	                         UDSPG_SPIN_TIME_MIN,
	                         UDSPG_SPIN_TIME_MAX,
	                         PGC_SIGHUP,
	                         GUC_UNIT_MS,
	                         NULL,
	                         NULL,
	                         NULL);
	DefineCustomIntVariable("uds.wait_timeout",
	                        "Sets the longest time to wait for an answer of the index.",
	                        "After it the statement fails.  0 means to wait for ever.",
	                        &udspg_wait_timeout,
	                        UDSPG_WAIT_TIMEOUT_DEFAULT,
	                        UDSPG_WAIT_TIMEOUT_MIN,
	                        INT_MAX,
	                        PGC_USERSET,
	                        GUC_UNIT_MS,
	                        NULL,
	                        NULL,
	                        NULL);
	DefineCustomIntVariable("uds.zones",
	                        "Sets the number of zone workers.",
	                        "Each needs one of max_worker_processes.",
	                        &udspg_zones,
	                        UDSPG_ZONES_DEFAULT,
	                        UDSPG_ZONES_MIN,
	                        UDS_ZONES_MAX,
	                        PGC_POSTMASTER,
	                        0,
	                        NULL,
	                        NULL,
	                        NULL);
	MarkGUCPrefixReserved("uds");
}
