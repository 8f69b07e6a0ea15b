/*
 * generate.h: what unit tests share: names, random numbers, a byte stream in memory.
 */
#ifndef UDS_TEST_GENERATE_H
#define UDS_TEST_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../src/engine/record.h"
#include "../../src/engine/stream.h"

/* ---- random numbers ------------------------------------------------------------------------ */

/* xoshiro256**; the same seed gives the same numbers everywhere.  Not for threads to share. */
typedef struct uds_random
{
	uint64_t state[4];
	uint64_t seed; /* what it began with: tests print it when they fail */
} uds_random;

void uds_random_init(uds_random *random, uint64_t seed);

/* Seed for a model test: the environment variable UDS_TEST_SEED when it is set, else fallback. */
uint64_t uds_random_seed(uint64_t fallback);

/* 64 uniform bits. */
uint64_t uds_random_next(uds_random *random);

/* Uniform in 0..bound - 1; bound 0 gives 0. */
uint64_t uds_random_below(uds_random *random, uint64_t bound);

/* Uniform in low..high, both included. */
uint64_t uds_random_range(uds_random *random, uint64_t low, uint64_t high);

/* True once in n times on average; n 0 is never. */
bool uds_random_one_in(uds_random *random, uint64_t n);

void uds_random_bytes(uds_random *random, void *bytes, size_t count);
uds_name uds_random_name(uds_random *random);
uds_metadata uds_random_metadata(uds_random *random);
uds_record uds_random_record(uds_random *random);

/* Shuffle count items of item_bytes (1..256) each. */
void uds_random_shuffle(uds_random *random, void *items, size_t count, size_t item_bytes);

/* ---- names and metadata -------------------------------------------------------------------- */

/*
 * MurmurHash3-x64-128 of bytes: 16 bytes, low half first.  seed starts both halves.
 */
void uds_generate_murmur3(const void *data, size_t bytes, uint32_t seed, uint8_t hash[16]);

#define UDS_GENERATE_SEED 0x62ea60beu

/* Counter names of specification 01, section 1: the hash of the 8-byte little-endian counter. */
uds_name uds_generate_counter_name(uint64_t counter);

/* Metadata that differs for every (counter, version). */
uds_metadata uds_generate_metadata(uint64_t counter, uint64_t version);

/* A name with chosen fields: 64, 48 and 16 bits; further bits are ignored. */
uds_name uds_generate_name(uint64_t volume_field, uint64_t chapter_field, uint32_t sampling_field);

/* Set one field of a name and leave the others as they are. */
void uds_generate_set_volume_field(uds_name *name, uint64_t field);
void uds_generate_set_chapter_field(uds_name *name, uint64_t field);
void uds_generate_set_sampling_field(uds_name *name, uint32_t field);

/* ---- a stream in memory -------------------------------------------------------------------- */

/*
 * A uds_stream over a growing buffer: write to it, rewind, read from it.  Give &memory->stream to
 * the engine.  Set limit to make it shorter than it is: reads behind it are UDS_ERR_CORRUPT, as
 * for a stream that ends.  Set write_limit to make it refuse: writes beyond it are
 * UDS_ERR_NO_SPACE.
 */
typedef struct uds_memory_stream
{
	uds_stream stream; /* first: the engine's view */
	uint8_t *data;
	size_t bytes;       /* written so far */
	size_t capacity;    /* allocated */
	size_t position;    /* of the next read */
	size_t limit;       /* end for reads; SIZE_MAX at first */
	size_t write_limit; /* end for writes; SIZE_MAX at first */
} uds_memory_stream;

void uds_memory_stream_init(uds_memory_stream *memory);
/* Read from the beginning again. */
void uds_memory_stream_rewind(uds_memory_stream *memory);
/* Forget what was written; keeps the limits. */
void uds_memory_stream_clear(uds_memory_stream *memory);
void uds_memory_stream_free(uds_memory_stream *memory);

#endif
