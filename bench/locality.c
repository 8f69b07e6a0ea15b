/*
 * locality.c: see locality.h.
 */
#define _GNU_SOURCE
#include "locality.h"

#include <fcntl.h>
#include <fts.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test/support/generate.h"

#define BLOCK_BYTES 4096
#define READ_BYTES  (256 * BLOCK_BYTES)
/* Keys of new names have this bit, keys of blocks of files do not. */
#define NEW_BIT (UINT64_C(1) << 63)

static void *
must(void *memory)
{
	if (memory == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return memory;
}

/* ---- streams ------------------------------------------------------------------------------------ */

void
locality_init(locality_stream *stream)
{
	memset(stream, 0, sizeof(*stream));
	stream->next_new = NEW_BIT;
}

void
locality_free(locality_stream *stream)
{
	free(stream->keys);
	locality_init(stream);
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uds_name
locality_name(uint64_t key)
{
	uint64_t words[2] = { mix(key + UINT64_C(0x9e3779b97f4a7c15)),
		                  mix(key + UINT64_C(0x6fdea34f66e20a19)) };
	uds_name name;

	memcpy(name.bytes, words, sizeof(words));
	return name;
}

static void
append(locality_stream *stream, uint64_t key)
{
	if (stream->count == stream->capacity)
	{
		stream->capacity = stream->capacity == 0 ? 1u << 20 : stream->capacity * 2;
		stream->keys = must(realloc(stream->keys, stream->capacity * sizeof(uint64_t)));
	}
	stream->keys[stream->count++] = key;
}

static void
append_new(locality_stream *stream)
{
	append(stream, stream->next_new++);
}

void
locality_append_new(locality_stream *stream, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		append_new(stream);
}

void
locality_end_phase(locality_stream *stream, const char *label)
{
	locality_phase *phase = &stream->phases[stream->phase_count];

	if (stream->phase_count == LOCALITY_PHASES_MAX)
	{
		fprintf(stderr, "too many phases\n");
		exit(1);
	}
	snprintf(phase->label, sizeof(phase->label), "%s", label);
	phase->end = stream->count;
	stream->phase_count++;
}

/* ---- backups of a directory tree --------------------------------------------------------------- */

typedef struct tree_file
{
	uint64_t *keys;
	uint32_t count;
} tree_file;

/* The files of a generation, in their order. */
typedef struct tree
{
	tree_file *files;
	uint32_t count;
	uint32_t capacity;
	uint32_t blocks;
} tree;

static void
add_file(tree *tree, tree_file file)
{
	if (tree->count == tree->capacity)
	{
		tree->capacity = tree->capacity == 0 ? 1024 : tree->capacity * 2;
		tree->files = must(realloc(tree->files, tree->capacity * sizeof(tree_file)));
	}
	tree->files[tree->count++] = file;
	tree->blocks += file.count;
}

/* Cut a file into blocks; a file that cannot be read, or is empty, has none. */
static tree_file
read_file(const char *path, uint32_t blocks_max)
{
	static uint8_t buffer[READ_BYTES];
	tree_file file = { NULL, 0 };
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t bytes = sizeof(buffer);
	bool is_at_end = descriptor < 0;

	while (!is_at_end && file.count < blocks_max)
	{
		size_t filled = 0;

		while (filled < bytes && !is_at_end)
		{
			ssize_t n = read(descriptor, buffer + filled, bytes - filled);

			is_at_end = n <= 0;
			filled += n > 0 ? (size_t) n : 0;
		}
		if (filled > 0)
			file.keys =
				must(realloc(file.keys, (file.count + bytes / BLOCK_BYTES) * sizeof(uint64_t)));
		for (size_t at = 0; at < filled && file.count < blocks_max; at += BLOCK_BYTES)
		{
			size_t size = filled - at < BLOCK_BYTES ? filled - at : BLOCK_BYTES;
			uint64_t hash[2];

			uds_generate_murmur3(buffer + at, size, UDS_GENERATE_SEED, (uint8_t *) hash);
			/* 0 stands for nothing in the oracle. */
			hash[0] = (hash[0] & ~NEW_BIT) == 0 ? 1 : hash[0] & ~NEW_BIT;
			file.keys[file.count++] = hash[0];
		}
	}
	if (descriptor >= 0)
		close(descriptor);
	return file;
}

static int
compare_names(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void
read_tree(tree *tree, const char *path, uint32_t blocks_max)
{
	char *paths[2] = { (char *) path, NULL };
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, compare_names);
	FTSENT *entry;

	while (walk != NULL && tree->blocks < blocks_max && (entry = fts_read(walk)) != NULL)
	{
		if (entry->fts_info == FTS_F && S_ISREG(entry->fts_statp->st_mode))
		{
			tree_file file = read_file(entry->fts_accpath, blocks_max - tree->blocks);

			if (file.count > 0)
				add_file(tree, file);
			else
				free(file.keys);
		}
	}
	if (walk != NULL)
		fts_close(walk);
}

static tree_file
new_file(locality_stream *stream, uint32_t count)
{
	tree_file file = { must(malloc(count * sizeof(uint64_t))), count };

	for (uint32_t i = 0; i < count; i++)
		file.keys[i] = stream->next_new++;
	return file;
}

/* Give a file other blocks in some places. */
static void
change_blocks(locality_stream *stream, const tree_file *file, uds_random *random)
{
	uint32_t places = 1 + (uint32_t) uds_random_below(random, 3);
	uint32_t length = file->count / (10 * places) + 1;

	for (uint32_t i = 0; i < places; i++)
	{
		uint32_t first = (uint32_t) uds_random_below(random, file->count);

		for (uint32_t j = first; j < file->count && j < first + length; j++)
			file->keys[j] = stream->next_new++;
	}
}

/* Move a file to another place in the order. */
static void
move_file(tree *tree, uint32_t from, uint32_t to)
{
	tree_file file = tree->files[from];

	if (from < to)
		memmove(&tree->files[from], &tree->files[from + 1], (to - from) * sizeof(tree_file));
	else
		memmove(&tree->files[to + 1], &tree->files[to], (from - to) * sizeof(tree_file));
	tree->files[to] = file;
}

static void
change_tree(locality_stream *stream, tree *tree, double changed, uds_random *random)
{
	uint32_t changes = (uint32_t) (tree->count * changed + 0.5);

	for (uint32_t i = 0; i < changes && tree->count > 0; i++)
	{
		uint32_t number = (uint32_t) uds_random_below(random, tree->count);
		tree_file *file = &tree->files[number];

		switch (uds_random_below(random, 10))
		{
			case 0:
				move_file(tree, number, tree->count - 1);
				tree->count--;
				free(tree->files[tree->count].keys);
				break;
			case 1:
				free(file->keys);
				*file = new_file(stream, file->count);
				break;
			case 2:
				move_file(tree, number, (uint32_t) uds_random_below(random, tree->count));
				break;
			default:
				change_blocks(stream, file, random);
		}
	}
}

bool
locality_append_backups(locality_stream *stream, const locality_backups *backups, uint32_t *files,
                        uint32_t *blocks)
{
	tree tree = { NULL, 0, 0, 0 };
	uds_random random;

	uds_random_init(&random, backups->seed);
	read_tree(&tree, backups->tree, backups->blocks_max);
	*files = tree.count;
	*blocks = tree.blocks;
	for (uint32_t generation = 0; generation <= backups->generations; generation++)
	{
		char label[64];

		if (generation > 0)
		{
			locality_append_new(stream, backups->between);
			locality_end_phase(stream, "");
			change_tree(stream, &tree, backups->changed, &random);
		}
		for (uint32_t i = 0; i < tree.count; i++)
		{
			for (uint32_t j = 0; j < tree.files[i].count; j++)
				append(stream, tree.files[i].keys[j]);
		}
		snprintf(label, sizeof(label), "%u", generation);
		locality_end_phase(stream, label);
	}
	for (uint32_t i = 0; i < tree.count; i++)
		free(tree.files[i].keys);
	free(tree.files);
	return *blocks > 0;
}

/* ---- synthetic runs ------------------------------------------------------------------------------ */

typedef struct run_source
{
	uint64_t left; /* keys of the present run */
	uint32_t next; /* of a run of duplicates: position of the next one */
	bool is_repeating;
} run_source;

static double
uniform(uds_random *random)
{
	/* 0 < u <= 1 */
	return (double) ((uds_random_next(random) >> 11) + 1) / 9007199254740992.0;
}

/* Geometric length from 1 on. */
static uint64_t
geometric(uds_random *random, double mean)
{
	if (mean <= 1)
		return 1;
	return 1 + (uint64_t) (log(uniform(random)) / log1p(-1 / mean));
}

/* Position of an earlier key. */
static uint32_t
earlier(const locality_stream *stream, const locality_runs *runs, uds_random *random)
{
	uint32_t reach = runs->reach < stream->count ? runs->reach : stream->count;

	return stream->count - reach + (uint32_t) uds_random_below(random, reach);
}

static void
begin_run(const locality_stream *stream, const locality_runs *runs, run_source *source,
          uds_random *random)
{
	double new_length = runs->mean_length * (1 - runs->duplicates) / runs->duplicates;

	source->is_repeating = !source->is_repeating;
	source->left = geometric(random, source->is_repeating ? runs->mean_length : new_length);
	source->next = earlier(stream, runs, random);
}

void
locality_append_runs(locality_stream *stream, const locality_runs *runs)
{
	run_source sources[LOCALITY_SOURCES_MAX] = { { 0, 0, false } };
	/* Chance that a name in a run of new ones is an isolated duplicate instead. */
	double isolated =
		runs->isolated * runs->duplicates / ((1 - runs->isolated) * (1 - runs->duplicates));
	uint32_t end = stream->count + runs->count;
	uds_random random;

	uds_random_init(&random, runs->seed);
	while (stream->count < end)
	{
		uint32_t turn = stream->count / LOCALITY_TURN % runs->sources;
		run_source *source = &sources[turn];

		while (source->left == 0 || (source->is_repeating && source->next == stream->count))
			begin_run(stream, runs, source, &random);
		source->left--;
		if (source->is_repeating)
			append(stream, stream->keys[source->next++]);
		else if (uniform(&random) <= isolated)
			append(stream, stream->keys[earlier(stream, runs, &random)]);
		else
			append_new(stream);
	}
}

/* ---- oracle -------------------------------------------------------------------------------------- */

typedef struct oracle_entry
{
	uint64_t key;  /* 0 = unused */
	uint32_t slot; /* of its newest record: they are counted from the first one on */
} oracle_entry;

typedef struct oracle
{
	oracle_entry *entries;
	uint64_t mask;
	uint64_t used;
} oracle;

static oracle_entry *
find_entry(const oracle *oracle, uint64_t key)
{
	uint64_t i = mix(key) & oracle->mask;

	while (oracle->entries[i].key != key && oracle->entries[i].key != 0)
		i = (i + 1) & oracle->mask;
	return &oracle->entries[i];
}

/* Make a table of twice the size of what is still in the window. */
static void
rebuild_table(oracle *oracle, uint32_t oldest_slot)
{
	struct oracle old = *oracle;
	uint64_t valid = 0;
	uint64_t size = 1u << 16;

	for (uint64_t i = 0; old.entries != NULL && i <= old.mask; i++)
		valid += old.entries[i].key != 0 && old.entries[i].slot >= oldest_slot;
	while (size < 3 * valid)
		size *= 2;
	*oracle = (struct oracle){ must(calloc(size, sizeof(oracle_entry))), size - 1, valid };
	for (uint64_t i = 0; old.entries != NULL && i <= old.mask; i++)
	{
		if (old.entries[i].key != 0 && old.entries[i].slot >= oldest_slot)
			*find_entry(oracle, old.entries[i].key) = old.entries[i];
	}
	free(old.entries);
}

uint32_t *
locality_ask_oracle(const locality_stream *stream, uint32_t records_per_chapter, uint32_t chapters,
                    uint32_t dense_chapters)
{
	uint32_t *places = must(malloc(((size_t) stream->count + 1) * sizeof(uint32_t)));
	oracle oracle = { NULL, 0, 0 };
	uint32_t next_slot = 0;

	rebuild_table(&oracle, 0);
	for (uint32_t i = 0; i < stream->count; i++)
	{
		uint32_t newest = next_slot / records_per_chapter;
		uint32_t oldest = newest >= chapters ? newest - chapters + 1 : 0;
		oracle_entry *entry = find_entry(&oracle, stream->keys[i]);
		uint32_t chapter = entry->slot / records_per_chapter;

		if (entry->key == 0 || chapter < oldest)
			places[i] = ORACLE_NEW;
		else if (chapter == newest)
			places[i] = ORACLE_OPEN | chapter;
		else
			places[i] =
				(chapter + dense_chapters <= newest ? ORACLE_SPARSE : ORACLE_DENSE) | chapter;
		if ((places[i] & ORACLE_REGION_MASK) == ORACLE_OPEN)
			continue;
		oracle.used += entry->key == 0;
		*entry = (oracle_entry){ stream->keys[i], next_slot++ };
		if (oracle.used > oracle.mask / 4 * 3)
			rebuild_table(&oracle, oldest * records_per_chapter);
	}
	free(oracle.entries);
	return places;
}
