/*
 * port_posix.h: host of the engine with POSIX threads, for unit tests and benchmarks.
 *
 * One posix_host is one "server": a directory, workers that can be woken, a stop flag each, a
 * history (stamps).  One uds_port stands for one thread.
 */
#ifndef UDS_PORT_POSIX_H
#define UDS_PORT_POSIX_H

#include <pthread.h>
#include <stdatomic.h>

#include "port.h"

#define POSIX_WORKERS_MAX 48

typedef struct posix_worker
{
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	bool is_woken;
	_Atomic bool must_stop;
} posix_worker;

/* What uds_port_file_read_cached finds in the system's memory. */
typedef enum posix_memory
{
	POSIX_MEMORY_EMPTY = 0,
	POSIX_MEMORY_FULL,  /* all files, on any file system */
	POSIX_MEMORY_SYSTEM /* what is really there, if the file system can tell */
} posix_memory;

typedef struct posix_host posix_host;

/* directory is NULL: that of the host. */
struct uds_port
{
	posix_host *host;
	uds_worker_id worker;
	const char *directory;
};

#define POSIX_NAME_BYTES 512

struct posix_host
{
	char directory[POSIX_NAME_BYTES];
	pthread_mutex_t mutex;        /* for the next one */
	char moved[POSIX_NAME_BYTES]; /* where the files are instead; empty: they were not moved */
	uds_port other;               /* of uds_port_directory_open */
	char other_directory[POSIX_NAME_BYTES];
	bool has_other;
	posix_worker workers[POSIX_WORKERS_MAX];
	_Atomic uint64_t history; /* position of the stamps: grows with every stamp taken */
	uint64_t timeline;
	bool accepts_stale;  /* files of an earlier timeline are opened */
	int64_t clock_shift; /* of the wall clock, microseconds */
	uint64_t system_identifier;
	int random_seed; /* != 0: uds_port_random is reproducible */
	_Atomic uint64_t random_state;
	bool is_quiet; /* no log lines */
	posix_memory memory;
	_Atomic uint32_t warnings;
	/*
	 * Called before each read, write, sync (of a file, or of the "directory" by itself), rename, remove,
	 * truncate, punch and, whatever it is for, "sync directory"; a non-zero errno makes it fail.
	 * Names of files in another directory than that above begin with "there/"; there, it is also
	 * called before each open, lock, list and "create directory".
	 */
	int (*fault)(void *context, const char *operation, const char *name);
	void *fault_context;
};

/* Set up a host in a directory that exists or can be created. */
void posix_host_init(posix_host *host, const char *directory);
void posix_host_destroy(posix_host *host);
/* Make a port for the thread of a worker. */
uds_port posix_port(posix_host *host, uds_worker_id worker);
/* Set the stop flag of a worker and wake it. */
void posix_host_stop(posix_host *host, uds_worker_id worker);
void posix_host_clear_stop(posix_host *host, uds_worker_id worker);
/* Where the files are now: of the host, until it moves them again. */
void posix_host_directory(posix_host *host, char name[POSIX_NAME_BYTES]);
/* Remove the directory of the index with everything in it. */
void posix_remove_directory(const char *directory);

#endif
