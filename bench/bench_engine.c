/*
 * bench_engine.c: speed and size of the engine, without PostgreSQL: one zone, one thread that
 * submits and executes requests, one that writes chapters.
 *
 *   bench_engine [-s buckets|lists] [-m MB] [-w windows] [-d directory] [-r runs]
 *
 * Names are made before the clock starts.  Figures are medians of the runs within one process;
 * posts over whole windows are single runs, because each takes as long as all others together.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../src/engine/index.h"
#include "../test/support/generate.h"
#include "../test/support/port_posix.h"

#define BATCH    256
#define STREAM   (4u << 20) /* requests of one figure */
#define RUNS_MAX 15

typedef struct bench
{
	posix_host host;
	uds_config config;
	uds_index *index;
	uds_port writer_port;
	uds_port zone_port;
	void *writer_memory;
	void *zone_memory;
	uds_writer *writer;
	uds_zone_worker *zone;
	pthread_t writer_thread;
	uint64_t next_name; /* names below it have been posted */
	uint64_t found;
	uds_request *requests;
} bench;

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * UINT64_C(1000000000) + (uint64_t) now.tv_nsec;
}

/* A name for a number: a bijective mix, fast enough to stay out of the way. */
static uds_name
name_of(uint64_t number)
{
	uint64_t words[2];
	uds_name name;

	number += UINT64_C(0x9e3779b97f4a7c15);
	for (int i = 0; i < 2; i++)
	{
		uint64_t x = number + (uint64_t) i * UINT64_C(0xd1b54a32d192ed03);

		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
		words[i] = x ^ x >> 31;
	}
	memcpy(name.bytes, words, sizeof(words));
	return name;
}

static void
fatal(const char *what, const uds_error *error)
{
	fprintf(stderr, "%s: %s\n", what, error->message);
	exit(1);
}

static void *
writer_main(void *argument)
{
	bench *b = argument;
	uds_error error;

	for (;;)
	{
		uds_status status = uds_writer_work(b->writer, &error);

		if (status == UDS_NOT_FOUND)
			status = uds_port_wait(&b->writer_port, 100);
		if (status == UDS_STOPPED)
			return NULL;
		if (uds_status_is_error(status))
			fatal("writer", &error);
	}
}

static void
start_writer_thread(bench *b)
{
	posix_host_clear_stop(&b->host, UDS_WORKER_WRITER);
	if (pthread_create(&b->writer_thread, NULL, writer_main, b) != 0)
		abort();
}

static void
stop_writer_thread(bench *b)
{
	posix_host_stop(&b->host, UDS_WORKER_WRITER);
	pthread_join(b->writer_thread, NULL);
	posix_host_clear_stop(&b->host, UDS_WORKER_WRITER);
}

/* Open a fresh block; returns seconds. */
static double
open_index(bench *b)
{
	size_t bytes = uds_index_size(&b->config);
	uds_error error;
	uint64_t begin = now_ns();

	b->index = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (uds_writer_open(b->writer_memory,
	                    b->index,
	                    &b->writer_port,
	                    &b->config,
	                    &b->writer,
	                    &error) != UDS_OK)
		fatal("open", &error);
	if (uds_zone_attach(b->zone_memory, b->index, &b->zone_port, 0, &b->zone, &error) != UDS_OK)
		fatal("attach", &error);
	start_writer_thread(b);
	return (double) (now_ns() - begin) / 1e9;
}

/* Close with a save (returns its seconds) or drop everything in memory. */
static double
close_index(bench *b, bool save)
{
	uds_error error;
	uint64_t begin;

	uds_zone_detach(b->zone);
	stop_writer_thread(b);
	begin = now_ns();
	if (!save)
		uds_writer_detach(b->writer);
	else if (uds_writer_close(b->writer, true, &error) != UDS_OK)
		fatal("close", &error);
	munmap(b->index, uds_index_size(&b->config));
	return (double) (now_ns() - begin) / 1e9;
}

/* Wait for the writer. */
static void
pause_zone(bench *b)
{
	if (uds_port_wait(&b->zone_port, 10) != UDS_OK)
		abort();
}

/* Execute the requests prepared in b->requests, BATCH at a time; returns nanoseconds each. */
static double
execute(bench *b, uint32_t count)
{
	uint64_t begin = now_ns();

	for (uint32_t i = 0; i < count; i += BATCH)
	{
		uint32_t size = UDS_MIN(count - i, (uint32_t) BATCH);
		uds_request *finished;
		uint32_t parked;
		uds_status status;

		while (uds_zone_turn(b->zone) != UDS_OK)
			pause_zone(b);
		if (uds_zone_execute(b->zone, b->requests + i, size, &parked) != UDS_OK)
			abort();
		while (uds_zone_parked(b->zone) > 0)
		{
			if (uds_zone_turn(b->zone) != UDS_OK)
				status = UDS_PENDING;
			else
				status = uds_zone_advance(b->zone, &finished);
			if (status == UDS_PENDING)
				pause_zone(b);
		}
	}
	return (double) (now_ns() - begin) / count;
}

static void
prepare(bench *b, uint32_t i, uint64_t number, uds_operation operation)
{
	memset(&b->requests[i], 0, sizeof(b->requests[i]));
	b->requests[i].name = name_of(number);
	b->requests[i].operation = (uint8_t) operation;
	memcpy(b->requests[i].metadata.bytes, &number, sizeof(number));
}

static uint32_t
count_found(const bench *b, uint32_t count)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++)
		found += b->requests[i].found;
	return found;
}

/* Post count new names in pieces of STREAM; returns nanoseconds each. */
static double
post_new(bench *b, uint64_t count)
{
	double total = 0;

	for (uint64_t done = 0; done < count;)
	{
		uint32_t piece = (uint32_t) UDS_MIN(count - done, (uint64_t) STREAM);

		for (uint32_t i = 0; i < piece; i++)
			prepare(b, i, b->next_name + i, UDS_POST);
		total += execute(b, piece) * piece;
		b->found += count_found(b, piece);
		b->next_name += piece;
		done += piece;
	}
	return total / (double) count;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
median(double *values, int count)
{
	qsort(values, (size_t) count, sizeof(double), compare);
	return values[count / 2];
}

static void
row(const char *what, double value, const char *unit)
{
	printf("| %-58s | %10.3f %-5s |\n", what, value, unit);
	fflush(stdout);
}

/* Queries: of unknown names, of the last closed chapter, of random known names. */
static void
bench_queries(bench *b, const uds_sizes *sizes, int runs)
{
	double unknown[RUNS_MAX], last[RUNS_MAX], known[RUNS_MAX];
	uds_random random;
	uint32_t in_chapter = (uint32_t) sizes->records_per_chapter;
	uint32_t known_count = STREAM / 8;
	uint64_t window = sizes->window - 8 * sizes->records_per_chapter;

	uds_random_init(&random, 7);
	for (int run = 0; run < runs; run++)
	{
		uint64_t newest = b->next_name - b->next_name % in_chapter;

		for (uint32_t i = 0; i < STREAM; i++)
			prepare(b, i, (UINT64_C(1) << 60) + uds_random_next(&random) % (1u << 30), UDS_PEEK);
		unknown[run] = execute(b, STREAM);
		if (count_found(b, STREAM) != 0)
			abort();
		for (uint32_t i = 0; i < in_chapter; i++)
			prepare(b, i, newest - in_chapter + uds_random_below(&random, in_chapter), UDS_PEEK);
		last[run] = execute(b, in_chapter);
		if (count_found(b, in_chapter) != in_chapter)
			printf("only %u of %u names of the last chapter found\n",
			       count_found(b, in_chapter),
			       in_chapter);
		for (uint32_t i = 0; i < known_count; i++)
			prepare(b, i, b->next_name - 1 - uds_random_below(&random, window), UDS_PEEK);
		known[run] = execute(b, known_count);
		if (count_found(b, known_count) != known_count)
			printf("only %u of %u known names found\n", count_found(b, known_count), known_count);
	}
	row("query of an unknown name", median(unknown, runs) / 1000, "us");
	row("query in the last closed chapter", median(last, runs) / 1000, "us");
	row("query of a random known name (file in OS cache)", median(known, runs) / 1000, "us");
}

static void
bench_posts(bench *b, const uds_sizes *sizes, int runs, int windows)
{
	double steady[RUNS_MAX];
	uint64_t done = 0;
	double value = post_new(b, STREAM);

	row("post, new name, filling, first 4 M", value / 1000, "us");
	done = STREAM;
	if (sizes->window > 2 * (uint64_t) STREAM)
	{
		value = post_new(b, sizes->window - 2 * (uint64_t) STREAM);
		row("post, new name, filling, between", value / 1000, "us");
		value = post_new(b, STREAM);
		row("post, new name, filling, last 4 M", value / 1000, "us");
		done = sizes->window;
	}
	/* Past the window before the steady state is measured. */
	value = post_new(b, sizes->window);
	row("post, new name, second window", value / 1000, "us");
	for (int run = 0; run < runs; run++)
		steady[run] = post_new(b, STREAM);
	row("post, new name, window full (steady state)", median(steady, runs) / 1000, "us");
	for (int i = 2; i < windows; i++)
	{
		char what[64];

		snprintf(what, sizeof(what), "posts per second, window %d", i + 1);
		value = post_new(b, sizes->window);
		row(what, 1e3 / value, "M/s");
	}
	(void) done;
}

int
main(int argc, char **argv)
{
	static bench b;
	uds_index_structure structure = UDS_STRUCTURE_BUCKETS;
	const char *directory = "/tmp/uds-bench";
	uint32_t memory_mb = 256;
	int windows = 3;
	int runs = 5;
	int option;
	double save, load, rebuild;
	uds_sizes sizes;
	uds_statistics statistics;
	uds_error error;

	while ((option = getopt(argc, argv, "s:m:w:d:r:")) != -1)
	{
		switch (option)
		{
			case 's':
				structure =
					strcmp(optarg, "lists") == 0 ? UDS_STRUCTURE_LISTS : UDS_STRUCTURE_BUCKETS;
				break;
			case 'm':
				memory_mb = (uint32_t) atoi(optarg);
				break;
			case 'w':
				windows = atoi(optarg);
				break;
			case 'd':
				directory = optarg;
				break;
			case 'r':
				runs = UDS_MIN(UDS_MAX(atoi(optarg), 1), RUNS_MAX);
				break;
			default:
				fprintf(stderr,
				        "usage: %s [-s buckets|lists] [-m MB] [-w windows] [-d directory] "
				        "[-r runs]\n",
				        argv[0]);
				return 2;
		}
	}
	posix_remove_directory(directory);
	posix_host_init(&b.host, directory);
	b.host.is_quiet = true;
	b.host.memory = POSIX_MEMORY_SYSTEM;
	if (uds_config_init(&b.config, memory_mb, structure, false, 1, 16 << 20, &error) != UDS_OK ||
	    uds_config_sizes(&b.config, &sizes) != UDS_OK)
		fatal("configuration", &error);
	b.writer_port = posix_port(&b.host, UDS_WORKER_WRITER);
	b.zone_port = posix_port(&b.host, UDS_WORKER_ZONE);
	b.writer_memory = calloc(1, uds_writer_size());
	b.zone_memory = calloc(1, uds_zone_worker_size());
	b.requests = calloc(STREAM, sizeof(uds_request));
	printf("engine: uds.memory = %uMB, uds.index = %s, one zone, batches of %d, page cache 16MB, "
	       "window %llu records\n\n",
	       memory_mb,
	       structure == UDS_STRUCTURE_LISTS ? "lists" : "buckets",
	       BATCH,
	       (unsigned long long) sizes.window);
	printf("| %-58s | %-16s |\n|---|---|\n", "figure", "median");
	(void) open_index(&b);
	bench_posts(&b, &sizes, runs, windows);
	bench_queries(&b, &sizes, runs);
	uds_index_statistics(b.index, &statistics);
	row("memory per record of the window",
	    (double) statistics.index_memory / (double) sizes.window,
	    "B");
	row("volume per record of the window",
	    (double) statistics.volume_bytes / (double) sizes.window,
	    "B");
	save = close_index(&b, true);
	row("save at the end", save, "s");
	load = open_index(&b);
	row("open with a save", load, "s");
	(void) close_index(&b, false);
	{
		char path[512];

		/* Without the saves every chapter is replayed. */
		snprintf(path, sizeof(path), "%s/checkpoint.0", directory);
		(void) unlink(path);
		snprintf(path, sizeof(path), "%s/checkpoint.1", directory);
		(void) unlink(path);
	}
	rebuild = open_index(&b);
	uds_index_statistics(b.index, &statistics);
	row("open without a save, every chapter replayed", rebuild, "s");
	row("  per record",
	    rebuild * 1e6 /
	        ((double) statistics.recovery_chapters * (double) sizes.records_per_chapter),
	    "us");
	printf("\nnames found that were posted as new: %llu; entries lost %llu, overflows %llu, "
	       "bad pages %llu\n",
	       (unsigned long long) b.found,
	       (unsigned long long) statistics.entries_lost,
	       (unsigned long long) statistics.overflows,
	       (unsigned long long) statistics.bad_pages);
	(void) close_index(&b, false);
	posix_remove_directory(directory);
	return 0;
}
