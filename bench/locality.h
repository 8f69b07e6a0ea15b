/*
 * locality.h: streams of names whose duplicates come in runs, and an exact oracle for them.
 *
 * A stream is a list of 64-bit keys in phases; equal keys are equal names.  It is made once, from a
 * seed, and posted to every index that is compared.
 */
#ifndef UDS_BENCH_LOCALITY_H
#define UDS_BENCH_LOCALITY_H

#include "../src/engine/record.h"

#define LOCALITY_PHASES_MAX 64

typedef struct locality_phase
{
	char label[64];
	uint32_t end; /* position behind its last key */
} locality_phase;

typedef struct locality_stream
{
	uint64_t *keys;
	uint32_t count;
	uint32_t capacity;
	uint32_t phase_count;
	uint64_t next_new; /* keys from here on have not been used */
	locality_phase phases[LOCALITY_PHASES_MAX];
} locality_stream;

void locality_init(locality_stream *stream);
void locality_free(locality_stream *stream);

/* Name of a key: a bijective mix to 128 bits. */
uds_name locality_name(uint64_t key);

/* Append count new keys. */
void locality_append_new(locality_stream *stream, uint64_t count);

/* What has been appended since the last phase is one.  The label is copied. */
void locality_end_phase(locality_stream *stream, const char *label);

/* ---- backups of a directory tree --------------------------------------------------------------- */

typedef struct locality_backups
{
	const char *tree;     /* its regular files, in the order of their names, in blocks of 4 kB */
	uint32_t blocks_max;  /* the rest of the tree is left out */
	uint32_t generations; /* after the first one */
	double changed;       /* share of the files that differ from the generation before */
	uint64_t between;     /* new keys behind each generation */
	uint64_t seed;
} locality_backups;

/*
 * Append all generations, a phase each; what lies between them are phases with an empty label.
 * Of the files that change, seven in ten get other blocks in one to three places (a tenth of the
 * file together), one in ten each is deleted, is replaced by a new file and moves elsewhere.
 *
 * files, blocks  [out] of the first generation; false when there are none
 */
bool locality_append_backups(locality_stream *stream, const locality_backups *backups,
                             uint32_t *files, uint32_t *blocks);

/* ---- synthetic runs ------------------------------------------------------------------------------ */

typedef struct locality_runs
{
	uint32_t count;     /* keys of the phase */
	double duplicates;  /* share of keys in runs that repeat an earlier stretch */
	double mean_length; /* of these runs, geometric; 1 = single names */
	double isolated;    /* share of the duplicates that are single names elsewhere in addition */
	uint32_t sources;   /* streams that take turns, LOCALITY_TURN names each */
	uint32_t reach;     /* stretches begin at most so many keys back */
	uint64_t seed;
} locality_runs;

#define LOCALITY_SOURCES_MAX 64
#define LOCALITY_TURN        64

/* Append keys: runs of duplicates and runs of new keys in turn.  Ends no phase. */
void locality_append_runs(locality_stream *stream, const locality_runs *runs);

/* ---- oracle -------------------------------------------------------------------------------------- */

/* Where the record of a name lies before the post; the lower bits are its chapter. */
#define ORACLE_NEW         0u
#define ORACLE_OPEN        (1u << 30)
#define ORACLE_DENSE       (2u << 30)
#define ORACLE_SPARSE      (3u << 30)
#define ORACLE_REGION_MASK (3u << 30)

/*
 * Post a stream to a window that forgets nothing too early: chapters of so many records, a hit
 * moves its record to the open chapter.
 *
 * places  [out] of each key; free it
 */
uint32_t *locality_ask_oracle(const locality_stream *stream, uint32_t records_per_chapter,
                              uint32_t chapters, uint32_t dense_chapters);

#endif
