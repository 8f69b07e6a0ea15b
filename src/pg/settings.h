/*
 * settings.h: the settings of the extension.
 */
#ifndef UDSPG_SETTINGS_H
#define UDSPG_SETTINGS_H

#include "postgres.h"

#define UDSPG_DIRECTORY_DEFAULT "uds"

#define UDSPG_MAX_SESSIONS_DEFAULT (-1) /* MaxBackends */
#define UDSPG_MAX_SESSIONS_MIN     (-1)
#define UDSPG_MAX_SESSIONS_MAX     0x3FFFF

#define UDSPG_MEMORY_DEFAULT 64 /* MB; the limits are the engine's */

#define UDSPG_PAGE_CACHE_DEFAULT (16 * 1024) /* kB */
#define UDSPG_PAGE_CACHE_MIN     64
#define UDSPG_PAGE_CACHE_MAX     (1024 * 1024 * 1024)

#define UDSPG_QUEUE_SIZE_DEFAULT 64 /* kB */
#define UDSPG_QUEUE_SIZE_MIN     8
#define UDSPG_QUEUE_SIZE_MAX     (16 * 1024)

#define UDSPG_READ_WORKERS_DEFAULT 1 /* the upper limit is the engine's */
#define UDSPG_READ_WORKERS_MIN     1

#define UDSPG_SHUTDOWN_TIMEOUT_DEFAULT 30 /* s */
#define UDSPG_SHUTDOWN_TIMEOUT_MIN     0
#define UDSPG_SHUTDOWN_TIMEOUT_MAX     (24 * 60 * 60)

#define UDSPG_SPIN_TIME_DEFAULT 0.020 /* ms */
#define UDSPG_SPIN_TIME_MIN     0.0
#define UDSPG_SPIN_TIME_MAX     1.0

#define UDSPG_WAIT_TIMEOUT_DEFAULT 0 /* ms; for ever */
#define UDSPG_WAIT_TIMEOUT_MIN     0

#define UDSPG_ZONES_DEFAULT 1 /* the limits are the engine's */
#define UDSPG_ZONES_MIN     1

extern bool udspg_accept_stale;
extern char *udspg_directory;
extern int udspg_index_structure; /* uds_index_structure */
extern int udspg_max_sessions;
extern int udspg_memory;     /* MB */
extern int udspg_page_cache; /* kB */
extern int udspg_queue_size; /* kB, of a session in one direction */
extern int udspg_read_workers;
extern int udspg_shutdown_timeout; /* s */
extern bool udspg_sparse;
extern double udspg_spin_time; /* ms */
extern int udspg_wait_timeout; /* ms, 0 = none */
extern int udspg_zones;

/* Do they ask for a triage worker?  A sparse index with several zones has one. */
static inline bool
udspg_settings_want_triage(void)
{
	return udspg_sparse && udspg_zones > 1;
}

/* Define them all.  Only from _PG_init, while shared_preload_libraries are processed. */
extern void udspg_settings_define(void);

#endif
