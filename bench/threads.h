/*
 * threads.h: an index with its workers as threads of one process: one zone, which the caller works
 * for, a chapter writer and readers.
 */
#ifndef UDS_BENCH_THREADS_H
#define UDS_BENCH_THREADS_H

#include <pthread.h>

#include "../src/engine/index.h"
#include "../test/support/port_posix.h"

typedef struct threads_reader
{
	void *memory;
	uds_reader *reader;
	uds_port port;
	pthread_t thread;
} threads_reader;

typedef struct threads
{
	posix_host host;
	uds_config config;
	uds_index *index; /* the block */
	void *writer_memory;
	uds_writer *writer;
	uds_port writer_port;
	pthread_t writer_thread;
	void *zone_memory;
	uds_zone_worker *zone;
	uds_port zone_port;
	threads_reader readers[UDS_READERS_MAX];
} threads;

/* Open an empty index in a directory; what is in it is removed.  Exits when that fails. */
void threads_open(threads *threads, const uds_config *config, const char *directory);
/* Stop all threads and remove the directory. */
void threads_close(threads *threads);

/* Execute a batch of 1..UDS_BATCH_MAX requests until all are answered. */
void threads_execute(threads *threads, uds_request *requests, uint32_t count);

#endif
