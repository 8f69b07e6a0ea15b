/*
 * bench_sparse.c: what a sparse index finds of the duplicates that an exact oracle and a dense
 * index with ten times the memory find, on streams with locality.
 *
 *   bench_sparse [options]
 *
 *   -m MB        uds.memory of the sparse index (8)
 *   -d path      directory of the volume (/tmp/uds-bench-sparse)
 *   -x which     backups, runs or both (both)
 *   -t path      backups: directory tree (/usr)
 *   -b blocks    of the tree, at most (600000)
 *   -g count     generations after the first one (6)
 *   -f percent   of the files that change from one generation to the next (2)
 *   -u names     new ones between two generations (the dense part of the window)
 *   -n posts     runs: of each row (500000)
 *   -p percent   of the names in runs that repeat earlier ones (50)
 *   -c list      chapters of the sparse cache, for example 4,7,16: a table each (7)
 *   -B posts     of a batch, 1..1024 (256)
 *   -R readers   threads that read pages and load chapters; 0: the zone does (0)
 *   -e seed      of the streams (1)
 *
 * The dense index has the same chapters, so the same window: it takes ten times the memory.
 *
 * One zone, one thread that submits batches of posts and executes them, one that writes
 * chapters.  Shares are exact; posts per second are of a single run.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "locality.h"
#include "threads.h"

#define PAGE_CACHE_BYTES (16u << 20)
#define CACHES_MAX       8
/* A hook posted so many batches ago should still have its chapter in the cache. */
#define RECENT_BATCHES 16

typedef struct options
{
	uint32_t memory_mb;
	const char *directory;
	bool wants_backups;
	bool wants_runs;
	locality_backups backups;
	uint32_t posts;
	double duplicates;
	uint32_t caches[CACHES_MAX];
	uint32_t cache_count;
	uint32_t batch;
	uint32_t reader_count;
	uint64_t seed;
} options;

/* A phase of a stream, in one index. */
typedef struct tally
{
	uint32_t posts;
	uint32_t duplicates; /* found by the oracle */
	uint32_t sparse;     /* of them: in sparse chapters */
	uint32_t found;
	uint32_t extra; /* of them: not by the oracle; at the edge of the window */
	uint32_t wrong; /* metadata of another name, or of a later post */
	uint32_t newer; /* metadata of a post that was a duplicate itself, but was not found */
	uint32_t lost_hooks;
	uint32_t lost_unannounced; /* no hook of its chapter has come recently */
	uint32_t lost_after;       /* such a hook came in an earlier batch */
	uint32_t lost_beside;      /* such a hook is in the same batch */
	uint64_t loads;
	uint64_t nanoseconds;
} tally;

typedef struct bench
{
	threads threads;
	uds_config config;
	const locality_stream *stream;
	const uint32_t *places; /* the oracle's */
	uint32_t batch;         /* number of the present one, from 1 on */
	uint32_t *hook_batches; /* of each chapter: batch of its last hook, 0 = none */
	tally tallies[LOCALITY_PHASES_MAX];
	uint64_t wrong; /* answers, in all indexes */
} bench;

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * UINT64_C(1000000000) + (uint64_t) now.tv_nsec;
}

/* ---- posts ---------------------------------------------------------------------------------------- */

/* The metadata of a post: its key and its position. */
typedef struct label
{
	uint64_t key;
	uint64_t position;
} label;

_Static_assert(sizeof(label) == UDS_METADATA_BYTES, "fills the metadata");

static bool
is_hook(const uds_request *request)
{
	return uds_geometry_is_hook(UDS_SAMPLE_RATE, uds_name_sampling_field(&request->name));
}

/* Why was a duplicate not found?  Only hooks and chapters tell, as the oracle knows them. */
static void
count_loss(const bench *b, tally *t, const uds_request *request, uint32_t place)
{
	uint32_t hook_batch = b->hook_batches[place & ~ORACLE_REGION_MASK];

	if (is_hook(request))
		t->lost_hooks++;
	else if (hook_batch == b->batch)
		t->lost_beside++;
	else if (hook_batch != 0 && hook_batch + RECENT_BATCHES >= b->batch)
		t->lost_after++;
	else
		t->lost_unannounced++;
}

static void
count_result(const bench *b, tally *t, const uds_request *request, uint32_t position)
{
	uint32_t place = b->places[position];
	label found;

	t->posts++;
	t->duplicates += place != ORACLE_NEW;
	t->sparse += (place & ORACLE_REGION_MASK) == ORACLE_SPARSE;
	t->found += request->found;
	if (!request->found)
	{
		if (place != ORACLE_NEW)
			count_loss(b, t, request, place);
		return;
	}
	t->extra += place == ORACLE_NEW;
	memcpy(&found, request->found_metadata.bytes, sizeof(found));
	if (found.key != b->stream->keys[position] || found.position >= position ||
	    b->stream->keys[found.position] != found.key)
		t->wrong++;
	else
		t->newer += b->places[found.position] != ORACLE_NEW;
}

static void
post_batch(bench *b, tally *t, uint32_t first, uint32_t count)
{
	static uds_request requests[UDS_BATCH_MAX];
	uint64_t begin;

	b->batch++;
	memset(requests, 0, count * sizeof(uds_request));
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t place = b->places[first + i];
		label own = { b->stream->keys[first + i], first + i };

		requests[i].name = locality_name(own.key);
		requests[i].operation = UDS_POST;
		memcpy(requests[i].metadata.bytes, &own, sizeof(own));
		if ((place & ORACLE_REGION_MASK) == ORACLE_SPARSE && is_hook(&requests[i]))
			b->hook_batches[place & ~ORACLE_REGION_MASK] = b->batch;
	}
	begin = now_ns();
	threads_execute(&b->threads, requests, count);
	t->nanoseconds += now_ns() - begin;
	for (uint32_t i = 0; i < count; i++)
	{
		if (requests[i].status != UDS_OK)
			abort();
		count_result(b, t, &requests[i], first + i);
	}
}

/* Post the stream to an empty index; fills b->tallies. */
static void
post_stream(bench *b, const options *o)
{
	uds_statistics statistics;
	uint64_t loads = 0;
	uint32_t first = 0;

	memset(b->tallies, 0, sizeof(b->tallies));
	b->batch = 0;
	b->hook_batches = calloc((size_t) b->stream->count + 1, sizeof(uint32_t));
	threads_open(&b->threads, &b->config, o->directory);
	for (uint32_t phase = 0; phase < b->stream->phase_count; phase++)
	{
		tally *t = &b->tallies[phase];

		while (first < b->stream->phases[phase].end)
		{
			uint32_t count = UDS_MIN(b->stream->phases[phase].end - first, o->batch);

			post_batch(b, t, first, count);
			first += count;
		}
		uds_index_statistics(b->threads.index, &statistics);
		t->loads = statistics.sparse_loads - loads;
		loads = statistics.sparse_loads;
	}
	if (statistics.overflows + statistics.entries_lost + statistics.bad_pages > 0)
		printf("%llu overflows, %llu entries lost, %llu bad pages\n",
		       (unsigned long long) statistics.overflows,
		       (unsigned long long) statistics.entries_lost,
		       (unsigned long long) statistics.bad_pages);
	threads_close(&b->threads);
	free(b->hook_batches);
}

/* ---- tables --------------------------------------------------------------------------------------- */

/* The sparse index of that memory, or a dense one of the same chapters. */
static void
configure(uds_config *config, uint32_t memory_mb, bool is_sparse)
{
	uds_error error;

	if (uds_config_init(config,
	                    memory_mb,
	                    UDS_STRUCTURE_BUCKETS,
	                    true,
	                    1,
	                    PAGE_CACHE_BYTES,
	                    &error) != UDS_OK)
	{
		fprintf(stderr, "configuration: %s\n", error.message);
		exit(1);
	}
	if (is_sparse)
		return;
	config->geometry.sparse_chapters = 0;
	config->geometry.sample_rate = 0;
}

static void
print_memory(uint32_t memory_mb)
{
	const uint32_t others[] = { 4, 8, 16, 64, 256, 1024, 4096 };

	printf("| uds.memory | window, records | memory, MB | B/record | caches, MB |\n"
	       "|---|--:|--:|--:|--:|\n");
	for (uint32_t i = 0; i < 1 + sizeof(others) / sizeof(others[0]); i++)
	{
		uds_config config;
		uds_sizes sizes;

		configure(&config, i == 0 ? memory_mb : others[i - 1], i > 0);
		if (uds_config_sizes(&config, &sizes) != UDS_OK)
			abort();
		printf("| %s %uMB | %llu | %.1f | %.3f | %.1f |\n",
		       i > 0 ? "sparse," : "dense, chapters of",
		       config.memory_mb,
		       (unsigned long long) sizes.window,
		       (double) sizes.index_memory / (1 << 20),
		       (double) sizes.index_memory / (double) sizes.window,
		       (double) sizes.cache_memory / (1 << 20));
	}
}

/* A share in percent, or a dash when there is nothing to share. */
static const char *
percent(uint32_t part, uint32_t whole)
{
	static char texts[8][16];
	static uint32_t next;
	char *text = texts[next++ % 8];

	if (whole == 0)
		return "-";
	snprintf(text, sizeof(texts[0]), "%.2f", 100.0 * part / whole);
	return text;
}

static double
millions_per_second(const tally *t)
{
	return t->nanoseconds == 0 ? 0 : 1e3 * t->posts / (double) t->nanoseconds;
}

/* Duplicates found, but not those at the edge of the window. */
static uint32_t
found_of(const tally *t)
{
	return t->found - t->extra;
}

static void
print_found(const char *label, const tally *dense, const tally *sparse)
{
	printf("| %s | %u | %u | %s | %s | %s | %s | %llu | %.2f | %.2f |\n",
	       label,
	       sparse->posts,
	       sparse->duplicates,
	       percent(sparse->sparse, sparse->duplicates),
	       percent(found_of(dense), dense->duplicates),
	       percent(found_of(sparse), sparse->duplicates),
	       percent(found_of(sparse), found_of(dense)),
	       (unsigned long long) sparse->loads,
	       millions_per_second(dense),
	       millions_per_second(sparse));
}

static void
print_lost(const char *label, const tally *dense, const tally *sparse)
{
	printf("| %s | %u | %u | %u | %u | %u | %u | %u |\n",
	       label,
	       sparse->lost_unannounced,
	       sparse->lost_after,
	       sparse->lost_beside,
	       sparse->lost_hooks,
	       dense->extra + sparse->extra,
	       sparse->newer,
	       dense->wrong + sparse->wrong);
}

static void
add_tally(tally *sum, const tally *t)
{
	sum->posts += t->posts;
	sum->duplicates += t->duplicates;
	sum->sparse += t->sparse;
	sum->found += t->found;
	sum->extra += t->extra;
	sum->wrong += t->wrong;
	sum->newer += t->newer;
	sum->lost_hooks += t->lost_hooks;
	sum->lost_unannounced += t->lost_unannounced;
	sum->lost_after += t->lost_after;
	sum->lost_beside += t->lost_beside;
	sum->loads += t->loads;
	sum->nanoseconds += t->nanoseconds;
}

typedef void (*print_row)(const char *label, const tally *dense, const tally *sparse);

static void
print_rows(const bench *b, const tally *dense, bool has_sum, print_row print)
{
	tally sums[2] = { { 0 }, { 0 } };

	for (uint32_t i = 0; i < b->stream->phase_count; i++)
	{
		const char *label = b->stream->phases[i].label;

		if (label[0] == '\0')
			continue;
		print(label, &dense[i], &b->tallies[i]);
		/* The first phase is what the others repeat. */
		if (i > 0)
		{
			add_tally(&sums[0], &dense[i]);
			add_tally(&sums[1], &b->tallies[i]);
		}
	}
	if (has_sum)
		print("all but the first", &sums[0], &sums[1]);
}

static void
print_tables(const bench *b, const tally *dense, const char *what, const char *phase, bool has_sum)
{
	printf("\n%s; %u chapters cached\n\n", what, b->config.sparse_cache_chapters);
	printf("| %s | posts | duplicates | in sparse chapters, %% | found by dense, %% "
	       "| found by sparse, %% | sparse of dense, %% | loads | dense, M posts/s "
	       "| sparse, M posts/s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
	       phase);
	print_rows(b, dense, has_sum, print_found);
	printf("\n| %s | lost: no hook | hook in an earlier batch | hook in the batch | hooks "
	       "| found beyond the oracle | later metadata | wrong metadata |\n"
	       "|---|--:|--:|--:|--:|--:|--:|--:|\n",
	       phase);
	print_rows(b, dense, has_sum, print_lost);
	fflush(stdout);
}

/* Post a stream to both kinds of index. */
static void
compare(bench *b, const options *o, const locality_stream *stream, const char *what,
        const char *phase, bool has_sum)
{
	tally *dense = malloc(sizeof(b->tallies));
	uds_geometry geometry;
	uint32_t *places;

	configure(&b->config, o->memory_mb, true);
	if (uds_geometry_init(&geometry, &b->config.geometry) != UDS_OK)
		abort();
	places = locality_ask_oracle(stream,
	                             geometry.records_per_chapter,
	                             geometry.parameters.chapters,
	                             geometry.dense_chapters);
	b->stream = stream;
	b->places = places;
	configure(&b->config, o->memory_mb, false);
	post_stream(b, o);
	memcpy(dense, b->tallies, sizeof(b->tallies));
	configure(&b->config, o->memory_mb, true);
	b->config.reader_count = o->reader_count;
	for (uint32_t i = 0; i < UDS_MAX(o->cache_count, 1u); i++)
	{
		if (o->cache_count > 0)
			b->config.sparse_cache_chapters = o->caches[i];
		post_stream(b, o);
		print_tables(b, dense, what, phase, has_sum);
		for (uint32_t j = 0; j < stream->phase_count; j++)
			b->wrong += dense[j].wrong + b->tallies[j].wrong;
	}
	free(places);
	free(dense);
}

/* ---- streams --------------------------------------------------------------------------------------- */

static void
compare_backups(bench *b, options *o, uint64_t dense_records)
{
	locality_stream stream;
	uint32_t files;
	uint32_t blocks;
	char what[160];

	if (o->backups.between == UINT64_MAX)
		o->backups.between = dense_records;
	o->backups.seed = o->seed;
	locality_init(&stream);
	if (!locality_append_backups(&stream, &o->backups, &files, &blocks))
		printf("\nThere is nothing to read in %s.\n", o->backups.tree);
	else
	{
		snprintf(what,
		         sizeof(what),
		         "backups: %u blocks of %u files, %.1f %% of them change, %llu new names between",
		         blocks,
		         files,
		         o->backups.changed * 100,
		         (unsigned long long) o->backups.between);
		compare(b, o, &stream, what, "generation", true);
	}
	locality_free(&stream);
}

static void
compare_runs(bench *b, const options *o, uint64_t window)
{
	/* Longer runs come first: shorter ones leave what they repeat in pieces. */
	static const struct
	{
		const char *label;
		double length;
		double isolated;
		uint32_t sources;
	} rows[] = {
		{ "8192", 8192, 0, 1 },
		{ "8192, 8 streams", 8192, 0, 8 },
		{ "1024", 1024, 0, 1 },
		{ "1024, 4 streams", 1024, 0, 4 },
		{ "1024, 8 streams", 1024, 0, 8 },
		{ "1024, 16 streams", 1024, 0, 16 },
		{ "1024, 32 streams", 1024, 0, 32 },
		{ "128", 128, 0, 1 },
		{ "128, 8 streams", 128, 0, 8 },
		{ "1024, a tenth of the duplicates alone", 1024, 0.1, 1 },
		{ "128, a tenth of the duplicates alone", 128, 0.1, 1 },
		{ "32", 32, 0, 1 },
		{ "8", 8, 0, 1 },
		{ "1: all alone", 1, 0, 1 },
	};
	locality_stream stream;
	char text[128];

	locality_init(&stream);
	locality_append_new(&stream, window);
	locality_end_phase(&stream, "new names");
	for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		locality_runs runs = {
			.count = o->posts,
			.duplicates = o->duplicates,
			.mean_length = rows[i].length,
			.isolated = rows[i].isolated,
			.sources = rows[i].sources,
			.reach = (uint32_t) (window / 20 * 19),
			.seed = o->seed + i,
		};

		locality_append_runs(&stream, &runs);
		locality_end_phase(&stream, rows[i].label);
	}
	snprintf(text,
	         sizeof(text),
	         "runs: %.0f %% of the names repeat earlier ones",
	         o->duplicates * 100);
	compare(b, o, &stream, text, "mean length", false);
	locality_free(&stream);
}

/* ---- options ---------------------------------------------------------------------------------------- */

static int
usage(const char *program)
{
	fprintf(
		stderr,
		"usage: %s [-m MB] [-d directory] [-x backups|runs|both] [-t tree] [-b blocks]\n"
		"       [-g generations] [-f percent changed] [-u names between] [-n posts]\n"
		"       [-p percent repeated] [-c cached chapters,...] [-B batch] [-R readers]\n       [-e seed]\n",
		program);
	return 2;
}

static void
parse_caches(options *o, const char *text)
{
	char *end;

	for (o->cache_count = 0; *text != '\0' && o->cache_count < CACHES_MAX; text = end)
	{
		o->caches[o->cache_count++] = (uint32_t) strtoul(text, &end, 10);
		end += *end == ',';
		if (end == text)
			return;
	}
}

static bool
parse(options *o, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "m:d:x:t:b:g:f:u:n:p:c:B:R:e:")) != -1)
	{
		switch (option)
		{
			case 'm':
				o->memory_mb = (uint32_t) atoi(optarg);
				break;
			case 'd':
				o->directory = optarg;
				break;
			case 'x':
				o->wants_backups = strcmp(optarg, "runs") != 0;
				o->wants_runs = strcmp(optarg, "backups") != 0;
				break;
			case 't':
				o->backups.tree = optarg;
				break;
			case 'b':
				o->backups.blocks_max = (uint32_t) strtoul(optarg, NULL, 10);
				break;
			case 'g':
				/* Each generation after the first one takes two phases. */
				o->backups.generations =
					UDS_MIN((uint32_t) atoi(optarg), (LOCALITY_PHASES_MAX - 1) / 2u);
				break;
			case 'f':
				o->backups.changed = atof(optarg) / 100;
				break;
			case 'u':
				o->backups.between = strtoull(optarg, NULL, 10);
				break;
			case 'n':
				o->posts = (uint32_t) strtoul(optarg, NULL, 10);
				break;
			case 'p':
				o->duplicates = UDS_MIN(UDS_MAX(atof(optarg) / 100, 0.01), 0.99);
				break;
			case 'c':
				parse_caches(o, optarg);
				break;
			case 'B':
				o->batch = (uint32_t) UDS_MIN(UDS_MAX(atoi(optarg), 1), UDS_BATCH_MAX);
				break;
			case 'R':
				o->reader_count = UDS_MIN((uint32_t) atoi(optarg), (uint32_t) UDS_READERS_MAX);
				break;
			case 'e':
				o->seed = strtoull(optarg, NULL, 10);
				break;
			default:
				return false;
		}
	}
	return optind == argc;
}

int
main(int argc, char **argv)
{
	static bench b;
	options o = {
		.memory_mb = 8,
		.directory = "/tmp/uds-bench-sparse",
		.wants_backups = true,
		.wants_runs = true,
		.backups = { .tree = "/usr",
		             .blocks_max = 600000,
		             .generations = 6,
		             .changed = 0.02,
		             .between = UINT64_MAX },
		.posts = 500000,
		.duplicates = 0.5,
		.batch = 256,
		.seed = 1,
	};
	uds_geometry geometry;

	if (!parse(&o, argc, argv))
		return usage(argv[0]);
	configure(&b.config, o.memory_mb, true);
	if (uds_geometry_init(&geometry, &b.config.geometry) != UDS_OK)
		abort();
	printf(
		"uds.memory = %uMB, %u chapters of %u records, %u of them sparse, batches of %u, %u readers, "
		"seed %llu\n\n",
		o.memory_mb,
		geometry.parameters.chapters,
		geometry.records_per_chapter,
		geometry.parameters.sparse_chapters,
		o.batch,
		o.reader_count,
		(unsigned long long) o.seed);
	print_memory(o.memory_mb);
	if (o.wants_backups)
		compare_backups(&b, &o, (uint64_t) geometry.dense_chapters * geometry.records_per_chapter);
	if (o.wants_runs)
		compare_runs(&b, &o, geometry.records_per_volume);
	return b.wrong > 0 ? 1 : 0;
}
