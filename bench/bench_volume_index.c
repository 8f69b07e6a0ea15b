/*
 * bench_volume_index.c: time, memory and pauses of the two structures of the volume index.
 *
 *   bench_volume_index [structure [memory_mb [runs [windows [pages]]]]]
 *
 *   structure   buckets, lists or both (both)
 *   memory_mb   uds.memory whose geometry is used, dense, one zone (256)
 *   runs        complete runs; the table shows their medians (1)
 *   windows     windows posted after the first one, before anything else is measured (1)
 *   pages       small or huge: transparent huge pages for the structure (small)
 *
 * "single" lets each request wait until all loads of the one before have ended.  "batch" handles
 * groups of 32 with prefetches some names ahead.  Names are made
 * outside the measured time.  A post is a get and a put, a move is a get and a move.  Means are of
 * the time of the CPU, pauses are of the clock, so that these show what else the machine does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../src/engine/geometry.h"
#include "../src/engine/index_buckets.h"
#include "../src/engine/index_lists.h"

#define BATCH       32
#define AHEAD       8       /* prefetch so many names before they are executed */
#define AHEAD_SIDE  3       /* the second stage */
#define BLOCK       4096    /* names made at a time */
#define QUERIES_MAX 4000000 /* of each kind */
#define TIMED_MAX   8000000
#define PAUSE_MAX   (1 << 21) /* ns: longer ones count as the last class */
#define RUNS_MAX    15

/* ---- the structures ------------------------------------------------------------------------ */

typedef struct structure
{
	const char *name;
	size_t (*size)(const uds_index_parameters *parameters);
	uds_status (*init)(void *index, const uds_index_parameters *parameters);
	void (*prefetch)(const void *index, const uds_name *name);
	void (*prefetch_side)(const void *index, const uds_name *name); /* or NULL */
	uds_status (*get)(void *index, const uds_name *name, uds_index_entry *entry);
	uds_status (*put)(void *index, uds_index_entry *entry, uint64_t chapter);
	uds_status (*move)(void *index, uds_index_entry *entry, uint64_t chapter);
	uds_status (*set_window)(void *index, uint32_t zone, uint64_t oldest, uint64_t newest);
	void (*counters)(const void *index, uint32_t zone, uds_index_counters *counters);
} structure;

#define DEFINE_STRUCTURE(s)                                                                        \
	static uds_status s##_init(void *index, const uds_index_parameters *parameters)                \
	{                                                                                              \
		return uds_index_##s##_init(index, parameters);                                            \
	}                                                                                              \
	static void s##_prefetch(const void *index, const uds_name *name)                              \
	{                                                                                              \
		uds_index_##s##_prefetch(index, name);                                                     \
	}                                                                                              \
	static uds_status s##_get(void *index, const uds_name *name, uds_index_entry *entry)           \
	{                                                                                              \
		return uds_index_##s##_get(index, name, entry);                                            \
	}                                                                                              \
	static uds_status s##_put(void *index, uds_index_entry *entry, uint64_t chapter)               \
	{                                                                                              \
		return uds_index_##s##_put(index, entry, chapter);                                         \
	}                                                                                              \
	static uds_status s##_move(void *index, uds_index_entry *entry, uint64_t chapter)              \
	{                                                                                              \
		return uds_index_##s##_move(index, entry, chapter);                                        \
	}                                                                                              \
	static uds_status s##_set_window(void *index, uint32_t zone, uint64_t oldest, uint64_t newest) \
	{                                                                                              \
		return uds_index_##s##_set_window(index, zone, oldest, newest);                            \
	}                                                                                              \
	static void s##_counters(const void *index, uint32_t zone, uds_index_counters *counters)       \
	{                                                                                              \
		uds_index_##s##_counters(index, zone, counters);                                           \
	}

DEFINE_STRUCTURE(buckets)
DEFINE_STRUCTURE(lists)

static void
buckets_prefetch_side(const void *index, const uds_name *name)
{
	uds_index_buckets_prefetch_side(index, name);
}

static const structure structures[] = { { "buckets",
	                                      uds_index_buckets_size,
	                                      buckets_init,
	                                      buckets_prefetch,
	                                      buckets_prefetch_side,
	                                      buckets_get,
	                                      buckets_put,
	                                      buckets_move,
	                                      buckets_set_window,
	                                      buckets_counters },
	                                    { "lists",
	                                      uds_index_lists_size,
	                                      lists_init,
	                                      lists_prefetch,
	                                      NULL,
	                                      lists_get,
	                                      lists_put,
	                                      lists_move,
	                                      lists_set_window,
	                                      lists_counters } };

/* ---- helpers ------------------------------------------------------------------------------- */

static void
fail(const char *what)
{
	fprintf(stderr, "bench_volume_index: %s\n", what);
	exit(1);
}

static void
require(uds_status status, const char *what)
{
	if (status != UDS_OK && status != UDS_OVERFLOW)
	{
		fprintf(stderr, "bench_volume_index: %s: status %d\n", what, (int) status);
		exit(1);
	}
}

static uint64_t
read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static uint64_t
now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static uint64_t
mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Let what follows wait for all loads before. */
static inline void
wait_for_loads(void)
{
#if defined(__SSE2__)
	__builtin_ia32_lfence();
#else
	__sync_synchronize();
#endif
}

/*
 * Mean time of a read of one line, at random, of memory of some bytes, when each waits for the one
 * before: what the machine is able to do at all, now.
 */
static double
read_latency(const volatile unsigned char *memory, size_t bytes)
{
	enum
	{
		READS = 1000000
	};
	uint64_t x = 1;
	uint64_t start = read_clock(CLOCK_THREAD_CPUTIME_ID);

	for (uint32_t i = 0; i < READS; i++)
		x = mix(x + memory[x % bytes]);
	return (double) (read_clock(CLOCK_THREAD_CPUTIME_ID) - start) / READS;
}

static uds_name
make_name(uint64_t counter)
{
	uint64_t halves[2] = { mix(counter), mix(counter ^ UINT64_C(0x5851f42d4c957f2d)) };
	uds_name name;

	memcpy(name.bytes, halves, sizeof(halves));
	return name;
}

/* ---- one run ------------------------------------------------------------------------------- */

typedef enum mode
{
	SINGLE = 0,
	IN_BATCHES = 1
} mode;

typedef enum work
{
	WORK_POST,
	WORK_QUERY,
	WORK_MOVE
} work;

/* Mean times in ns. */
enum
{
	FILL_1,
	FILL_2,
	FILL_3,
	FILL_4,
	STEADY,
	UNKNOWN,
	KNOWN,
	MOVE,
	ROWS
};

static const char *const row_names[ROWS] = { "post while filling, first quarter",
	                                         "post while filling, second quarter",
	                                         "post while filling, third quarter",
	                                         "post while filling, last quarter",
	                                         "post, window full",
	                                         "query of an unknown name",
	                                         "query of a known name",
	                                         "move to the newest chapter" };

typedef struct measure
{
	uint64_t ns;
	uint64_t count;
} measure;

typedef struct result
{
	double ns[ROWS][2];
	double p999;
	double longest_post;
	double longest_window;
	double read_ns;
	double bytes_per_record;
	double used_per_record;
	double unknown_per_hit;
	double lost;
	double overflows;
	double collisions;
	double rebalances;
} result;

typedef struct bench
{
	const structure *s;
	void *index;
	uint64_t records_per_chapter;
	uint64_t chapters;
	uint64_t newest;
	uint64_t posted; /* names 0..posted - 1 */
	uint64_t longest_window;
	uint64_t hits;
	uds_name names[BLOCK];
	uint32_t pauses[PAUSE_MAX + 1];
} bench;

/* Open the next chapter. */
static void
open_chapter(bench *b)
{
	uint64_t start = now();
	uint64_t oldest;

	b->newest++;
	oldest = b->newest < b->chapters ? 0 : b->newest - b->chapters + 1;
	require(b->s->set_window(b->index, 0, oldest, b->newest), "set_window");
	b->longest_window = UDS_MAX(b->longest_window, now() - start);
}

static inline void
run_one(bench *b, const uds_name *name, work work, uds_index_entry *entry)
{
	require(b->s->get(b->index, name, entry), "get");
	if (work == WORK_POST)
		require(b->s->put(b->index, entry, b->newest), "put");
	else if (work == WORK_MOVE && entry->kind != UDS_ENTRY_NONE)
		require(b->s->move(b->index, entry, b->newest), "move");
	b->hits += entry->kind != UDS_ENTRY_NONE;
}

/*
 * Run names one after the other, with prefetches some names ahead: all of a batch at once would be
 * more lines than a core waits for at a time, and it drops what is too much.
 */
static void
run_batch(bench *b, const uds_name *names, uint64_t count, work work)
{
	uds_index_entry entry;

	for (uint64_t i = 0; i < UDS_MIN(AHEAD, count); i++)
		b->s->prefetch(b->index, names + i);
	for (uint64_t i = 0; i < count; i++)
	{
		if (i + AHEAD < count)
			b->s->prefetch(b->index, names + i + AHEAD);
		if (i + AHEAD_SIDE < count && b->s->prefetch_side != NULL)
			b->s->prefetch_side(b->index, names + i + AHEAD_SIDE);
		run_one(b, names + i, work, &entry);
	}
}

/* Run count prepared names (BLOCK at most) and add the time to *sum. */
static void
run_block(bench *b, uint64_t count, work work, mode mode, measure *sum)
{
	uds_index_entry entry = { .chapter = 0 };
	uint64_t start = read_clock(CLOCK_THREAD_CPUTIME_ID);

	if (mode == SINGLE)
	{
		for (uint64_t i = 0; i < count; i++)
		{
			run_one(b, b->names + i, work, &entry);
			wait_for_loads();
		}
	}
	else
	{
		for (uint64_t i = 0; i < count; i += BATCH)
			run_batch(b, b->names + i, UDS_MIN(BATCH, count - i), work);
	}
	sum->ns += read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
	sum->count += count;
}

/* Post the names of a chapter that was just opened. */
static void
post_chapter(bench *b, mode mode, measure *sum)
{
	for (uint64_t done = 0; done < b->records_per_chapter;)
	{
		uint64_t count = UDS_MIN(BLOCK, b->records_per_chapter - done);

		for (uint64_t i = 0; i < count; i++)
			b->names[i] = make_name(b->posted++);
		run_block(b, count, WORK_POST, mode, sum);
		done += count;
	}
}

static void
measure_fill(bench *b, result *r, uint64_t windows)
{
	measure sums[STEADY + 1][2];

	memset(sums, 0, sizeof(sums));
	for (uint64_t i = 0; i < b->chapters * (1 + windows); i++)
	{
		uint64_t row = UDS_MIN(4 * i / b->chapters, STEADY);

		if (i > 0)
			open_chapter(b);
		post_chapter(b, i % 2 ? IN_BATCHES : SINGLE, &sums[row][i % 2]);
	}
	for (int row = FILL_1; row <= STEADY; row++)
	{
		for (int mode = SINGLE; mode <= IN_BATCHES; mode++)
			r->ns[row][mode] =
				(double) sums[row][mode].ns / (double) UDS_MAX(sums[row][mode].count, 1);
	}
}

/* A name of the window, chosen at random by i. */
static uds_name
known_name(const bench *b, uint64_t i)
{
	uint64_t window = UDS_MIN(b->records_per_chapter * b->chapters * 3 / 4, b->posted);

	return make_name(b->posted - 1 - mix(i) % window);
}

static void
measure_queries(bench *b, result *r, int row, mode mode, uint64_t *salt)
{
	measure sum = { 0, 0 };
	work work = row == MOVE ? WORK_MOVE : WORK_QUERY;
	uint64_t queries;

	/* So few that moves do not push the names out of the window. */
	queries = UDS_MIN(QUERIES_MAX, b->records_per_chapter * b->chapters / 16);
	b->hits = 0;
	for (uint64_t done = 0; done < queries; done += BLOCK)
	{
		for (uint64_t i = 0; i < BLOCK; i++)
		{
			*salt += 1;
			b->names[i] =
				row == UNKNOWN ? make_name((UINT64_C(1) << 48) + *salt) : known_name(b, *salt);
		}
		/* Moves fill chapters. */
		if (row == MOVE && done / b->records_per_chapter != (done + BLOCK) / b->records_per_chapter)
			open_chapter(b);
		run_block(b, BLOCK, work, mode, &sum);
	}
	r->ns[row][mode] = (double) sum.ns / (double) sum.count;
	if (row == UNKNOWN)
		r->unknown_per_hit = (double) sum.count / (double) UDS_MAX(b->hits, 1);
	else if (b->hits < sum.count / 1000 * 998)
		fprintf(stderr,
		        "%s: %s: only %llu of %llu found\n",
		        b->s->name,
		        row_names[row],
		        (unsigned long long) b->hits,
		        (unsigned long long) sum.count);
}

/* Time each of many posts in the full window. */
static void
measure_pauses(bench *b, result *r)
{
	uint64_t longest = 0;
	uint64_t seen = 0;
	uint64_t class = PAUSE_MAX;
	uint64_t posts = UDS_MIN(TIMED_MAX, b->records_per_chapter * b->chapters / 8);

	memset(b->pauses, 0, sizeof(b->pauses));
	for (uint64_t i = 0; i < posts; i++)
	{
		uds_name name = make_name(b->posted++);
		uds_index_entry entry;
		uint64_t start;
		uint64_t ns;

		if (i % b->records_per_chapter == 0)
			open_chapter(b);
		start = now();
		run_one(b, &name, WORK_POST, &entry);
		ns = now() - start;
		longest = UDS_MAX(longest, ns);
		b->pauses[UDS_MIN(ns, PAUSE_MAX)]++;
	}
	while (class > 0 && seen + b->pauses[class] <= posts / 1000)
		seen += b->pauses[class --];
	r->p999 = (double) class;
	r->longest_post = (double) longest;
}

static void
run(const structure *s, const uds_index_parameters *parameters, uint64_t windows, bool is_huge,
    result *r)
{
	size_t bytes = s->size(parameters);
	size_t mapped = UDS_ALIGN(bytes, (size_t) 1 << 21);
	bench *b = calloc(1, sizeof(*b));
	double records = (double) parameters->records_per_chapter * parameters->chapters;
	uds_index_counters counters;
	uint64_t salt = 0;

	if (bytes == 0 || b == NULL)
		fail("no such geometry, or no memory");
	b->s = s;
	b->records_per_chapter = parameters->records_per_chapter;
	b->chapters = parameters->chapters;
	b->index = aligned_alloc((size_t) 1 << 21, mapped);
	if (b->index == NULL)
		fail("no memory");
	if (madvise(b->index, mapped, is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0)
		fprintf(stderr, "madvise failed: page size is the system's choice\n");
	memset(b->index, 0, bytes);
	require(s->init(b->index, parameters), "init");

	measure_fill(b, r, windows);
	s->counters(b->index, 0, &counters);
	r->bytes_per_record = (double) bytes / records;
	r->used_per_record = (double) counters.bytes_used / (double) counters.records;
	r->lost = (double) counters.lost;
	r->overflows = (double) counters.overflows;
	r->collisions = (double) counters.collisions;
	r->rebalances = (double) counters.rebalances;
	r->read_ns = read_latency(b->index, bytes);
	for (int mode = SINGLE; mode <= IN_BATCHES; mode++)
	{
		measure_queries(b, r, UNKNOWN, mode, &salt);
		measure_queries(b, r, KNOWN, mode, &salt);
	}
	measure_pauses(b, r);
	for (int mode = SINGLE; mode <= IN_BATCHES; mode++)
		measure_queries(b, r, MOVE, mode, &salt);
	r->longest_window = (double) b->longest_window;
	free(b->index);
	free(b);
}

/* ---- report -------------------------------------------------------------------------------- */

static int
compare_doubles(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return a < b ? -1 : a > b;
}

/* Medians, number by number: a result is nothing but doubles. */
static result
median(const result *results, uint32_t runs)
{
	result middle;

	for (size_t i = 0; i < sizeof(result) / sizeof(double); i++)
	{
		double values[RUNS_MAX];

		for (uint32_t k = 0; k < runs; k++)
			memcpy(&values[k], (const double *) (const void *) &results[k] + i, sizeof(double));
		qsort(values, runs, sizeof(double), compare_doubles);
		memcpy((double *) (void *) &middle + i, &values[runs / 2], sizeof(double));
	}
	return middle;
}

static void
print_cpu(void)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
	{
		if (strncmp(line, "model name", 10) == 0)
		{
			printf("CPU:%s", strchr(line, ':') + 1);
			break;
		}
	}
	if (file != NULL)
		fclose(file);
}

static void
print_result(const structure *s, const result *r)
{
	printf("\n| %s | single | batch of %d |\n| --- | --- | --- |\n", s->name, BATCH);
	for (int row = 0; row < ROWS; row++)
		printf("| %s | %.0f ns | %.0f ns |\n", row_names[row], r->ns[row][0], r->ns[row][1]);
	printf("| (one dependent read of one byte of that memory) | %.0f ns | |\n", r->read_ns);
	printf("| bytes a record: memory / used by entries | %.3f | %.3f |\n",
	       r->bytes_per_record,
	       r->used_per_record);
	printf("| post, timed one by one: 99.9 %% / longest | %.0f ns | %.0f ns |\n",
	       r->p999,
	       r->longest_post);
	printf("| longest set_window | %.0f ns | |\n", r->longest_window);
	printf("| names lost / overflowed, after all windows | %.0f | %.0f |\n", r->lost, r->overflows);
	printf("| exact entries / rebalances | %.0f | %.0f |\n", r->collisions, r->rebalances);
	printf("| unknown names for one false hit | %.0f | |\n", r->unknown_per_hit);
	fflush(stdout);
}

static void
bench_structure(const structure *s, const uds_index_parameters *parameters, uint32_t runs,
                uint64_t windows, bool is_huge)
{
	static result results[RUNS_MAX];
	result middle;

	for (uint32_t i = 0; i < runs; i++)
		run(s, parameters, windows, is_huge, &results[i]);
	middle = median(results, runs);
	print_result(s, &middle);
}

int
main(int argc, char **argv)
{
	const char *choice = argc > 1 ? argv[1] : "both";
	uint32_t memory_mb = argc > 2 ? (uint32_t) strtoul(argv[2], NULL, 10) : 256;
	uint32_t runs = argc > 3 ? (uint32_t) strtoul(argv[3], NULL, 10) : 1;
	uint64_t windows = argc > 4 ? strtoul(argv[4], NULL, 10) : 1;
	bool is_huge = argc > 5 && strcmp(argv[5], "huge") == 0;
	uds_geometry_parameters geometry_parameters;
	uds_index_parameters parameters;
	uds_geometry geometry;
	bool is_known = false;

	if (runs == 0 || runs > RUNS_MAX || windows == 0)
		fail("runs has to be 1..15, windows 1 or more");
	require(uds_geometry_parameters_for_memory(&geometry_parameters, memory_mb, false), "memory");
	require(uds_geometry_init(&geometry, &geometry_parameters), "geometry");
	parameters = (uds_index_parameters){ .records_per_chapter = geometry.records_per_chapter,
		                                 .chapters = geometry_parameters.chapters,
		                                 .zone_count = 1,
		                                 .mean_delta = UDS_VOLUME_INDEX_MEAN_DELTA,
		                                 .is_zeroed = true };
	print_cpu();
	printf("Compiler: gcc %s\n", __VERSION__);
	printf("Size: %u MB, %u chapters of %u records, %.1f M records; %u run(s), %llu window(s) "
	       "after the first; %s pages\n",
	       memory_mb,
	       parameters.chapters,
	       geometry.records_per_chapter,
	       (double) geometry.records_per_chapter * parameters.chapters / 1e6,
	       runs,
	       (unsigned long long) windows,
	       is_huge ? "huge" : "small");
	for (size_t i = 0; i < sizeof(structures) / sizeof(structures[0]); i++)
	{
		if (strcmp(choice, "both") != 0 && strcmp(choice, structures[i].name) != 0)
			continue;
		is_known = true;
		bench_structure(&structures[i], &parameters, runs, windows, is_huge);
	}
	if (!is_known)
		fail("structure has to be buckets, lists or both");
	return 0;
}
