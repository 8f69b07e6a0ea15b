/*
 * threads.c: see threads.h.
 */
#define _GNU_SOURCE
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static void
fatal(const char *what, const uds_error *error)
{
	fprintf(stderr, "%s: %s\n", what, error->message);
	exit(1);
}

static void *
must(void *memory)
{
	if (memory == NULL || memory == MAP_FAILED)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return memory;
}

static void
start_thread(pthread_t *thread, void *(*main)(void *), void *argument)
{
	if (pthread_create(thread, NULL, main, argument) != 0)
		abort();
}

/* ---- workers ------------------------------------------------------------------------------------ */

static void *
writer_main(void *argument)
{
	threads *threads = argument;
	uds_error error;

	for (;;)
	{
		uds_status status = uds_writer_work(threads->writer, &error);

		if (status == UDS_NOT_FOUND)
			status = uds_port_wait(&threads->writer_port, 100);
		if (status == UDS_STOPPED)
			return NULL;
		if (uds_status_is_error(status))
			fatal("writer", &error);
	}
}

static void *
reader_main(void *argument)
{
	threads_reader *reader = argument;

	while (!uds_port_should_stop(&reader->port))
	{
		if (uds_reader_work(reader->reader) != UDS_OK)
			(void) !uds_port_wait(&reader->port, 100);
	}
	return NULL;
}

static void
start_reader(threads *threads, uint32_t number)
{
	threads_reader *reader = &threads->readers[number];
	uds_error error;

	reader->port = posix_port(&threads->host, UDS_WORKER_READER + number);
	reader->memory = must(calloc(1, uds_reader_size()));
	if (uds_reader_attach(reader->memory,
	                      threads->index,
	                      &reader->port,
	                      number,
	                      &reader->reader,
	                      &error) != UDS_OK)
		fatal("reader", &error);
	start_thread(&reader->thread, reader_main, reader);
}

static void
stop_reader(threads *threads, uint32_t number)
{
	threads_reader *reader = &threads->readers[number];

	posix_host_stop(&threads->host, UDS_WORKER_READER + number);
	pthread_join(reader->thread, NULL);
	uds_reader_detach(reader->reader);
	free(reader->memory);
}

/* ---- index -------------------------------------------------------------------------------------- */

void
threads_open(threads *threads, const uds_config *config, const char *directory)
{
	uds_error error;

	posix_remove_directory(directory);
	posix_host_init(&threads->host, directory);
	threads->host.is_quiet = true;
	threads->host.memory = POSIX_MEMORY_SYSTEM;
	threads->config = *config;
	threads->writer_port = posix_port(&threads->host, UDS_WORKER_WRITER);
	threads->zone_port = posix_port(&threads->host, UDS_WORKER_ZONE);
	threads->index = must(mmap(NULL,
	                           uds_index_size(config),
	                           PROT_READ | PROT_WRITE,
	                           MAP_PRIVATE | MAP_ANONYMOUS,
	                           -1,
	                           0));
	threads->writer_memory = must(calloc(1, uds_writer_size()));
	threads->zone_memory = must(calloc(1, uds_zone_worker_size()));
	if (uds_writer_open(threads->writer_memory,
	                    threads->index,
	                    &threads->writer_port,
	                    config,
	                    &threads->writer,
	                    &error) != UDS_OK)
		fatal("open", &error);
	if (uds_zone_attach(threads->zone_memory,
	                    threads->index,
	                    &threads->zone_port,
	                    0,
	                    &threads->zone,
	                    &error) != UDS_OK)
		fatal("zone", &error);
	start_thread(&threads->writer_thread, writer_main, threads);
	for (uint32_t i = 0; i < config->reader_count; i++)
		start_reader(threads, i);
}

void
threads_close(threads *threads)
{
	uds_zone_detach(threads->zone);
	for (uint32_t i = 0; i < threads->config.reader_count; i++)
		stop_reader(threads, i);
	posix_host_stop(&threads->host, UDS_WORKER_WRITER);
	pthread_join(threads->writer_thread, NULL);
	uds_writer_detach(threads->writer);
	munmap(threads->index, uds_index_size(&threads->config));
	free(threads->writer_memory);
	free(threads->zone_memory);
	posix_remove_directory(threads->host.directory);
	posix_host_destroy(&threads->host);
}

/* Wait for the writer or a reader. */
static void
pause_zone(threads *threads)
{
	if (uds_port_wait(&threads->zone_port, 10) != UDS_OK)
		abort();
}

void
threads_execute(threads *threads, uds_request *requests, uint32_t count)
{
	uds_request *finished;
	uint32_t parked;

	while (uds_zone_turn(threads->zone) != UDS_OK)
		pause_zone(threads);
	if (uds_zone_execute(threads->zone, requests, count, &parked) != UDS_OK)
		abort();
	while (uds_zone_parked(threads->zone) > 0)
	{
		uds_status status = uds_zone_turn(threads->zone);

		if (status == UDS_OK)
			status = uds_zone_advance(threads->zone, &finished);
		if (status == UDS_PENDING)
			pause_zone(threads);
	}
}
