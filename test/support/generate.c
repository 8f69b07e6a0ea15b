/*
 * generate.c: names, random numbers and a byte stream in memory for unit tests.
 */
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
rotate_left(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

/* ---- random numbers ------------------------------------------------------------------------ */

void
uds_random_init(uds_random *random, uint64_t seed)
{
	uint64_t x = seed;

	random->seed = seed;
	for (int i = 0; i < 4; i++)
	{
		/* splitmix64: never leaves all four words zero */
		uint64_t z = (x += UINT64_C(0x9e3779b97f4a7c15));

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		random->state[i] = z ^ (z >> 31);
	}
}

uint64_t
uds_random_seed(uint64_t fallback)
{
	const char *text = getenv("UDS_TEST_SEED");

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : fallback;
}

uint64_t
uds_random_next(uds_random *random)
{
	uint64_t *s = random->state;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t
uds_random_below(uds_random *random, uint64_t bound)
{
	/* multiply and take the high half; the bias of bound / 2^64 does not matter here */
	return (uint64_t) ((unsigned __int128) uds_random_next(random) * bound >> 64);
}

uint64_t
uds_random_range(uds_random *random, uint64_t low, uint64_t high)
{
	if (high - low == UINT64_MAX)
		return uds_random_next(random);
	return low + uds_random_below(random, high - low + 1);
}

bool
uds_random_one_in(uds_random *random, uint64_t n)
{
	return n != 0 && uds_random_below(random, n) == 0;
}

void
uds_random_bytes(uds_random *random, void *bytes, size_t count)
{
	uint8_t *to = bytes;

	while (count > 0)
	{
		uint64_t word = uds_random_next(random);
		size_t part = count < sizeof(word) ? count : sizeof(word);

		memcpy(to, &word, part);
		to += part;
		count -= part;
	}
}

uds_name
uds_random_name(uds_random *random)
{
	uds_name name;

	uds_random_bytes(random, name.bytes, sizeof(name.bytes));
	return name;
}

uds_metadata
uds_random_metadata(uds_random *random)
{
	uds_metadata metadata;

	uds_random_bytes(random, metadata.bytes, sizeof(metadata.bytes));
	return metadata;
}

uds_record
uds_random_record(uds_random *random)
{
	uds_record record;

	record.name = uds_random_name(random);
	record.metadata = uds_random_metadata(random);
	return record;
}

void
uds_random_shuffle(uds_random *random, void *items, size_t count, size_t item_bytes)
{
	uint8_t *base = items;
	uint8_t spare[256];

	for (size_t i = count; i > 1; i--)
	{
		size_t j = (size_t) uds_random_below(random, i);
		uint8_t *a = base + (i - 1) * item_bytes;
		uint8_t *b = base + j * item_bytes;

		if (a == b)
			continue;
		memcpy(spare, a, item_bytes);
		memcpy(a, b, item_bytes);
		memcpy(b, spare, item_bytes);
	}
}

/* ---- names and metadata -------------------------------------------------------------------- */

#define MURMUR_C1 UINT64_C(0x87c37b91114253d5)
#define MURMUR_C2 UINT64_C(0x4cf5ad432745937f)

static uint64_t
murmur_mix_1(uint64_t k)
{
	return rotate_left(k * MURMUR_C1, 31) * MURMUR_C2;
}

static uint64_t
murmur_mix_2(uint64_t k)
{
	return rotate_left(k * MURMUR_C2, 33) * MURMUR_C1;
}

static uint64_t
murmur_finish(uint64_t k)
{
	k = (k ^ (k >> 33)) * UINT64_C(0xff51afd7ed558ccd);
	k = (k ^ (k >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
	return k ^ (k >> 33);
}

void
uds_generate_murmur3(const void *data, size_t bytes, uint32_t seed, uint8_t hash[16])
{
	const uint8_t *from = data;
	uint64_t h1 = seed;
	uint64_t h2 = seed;
	uint64_t k[2];
	size_t rest = bytes;

	for (; rest >= 16; rest -= 16, from += 16)
	{
		memcpy(k, from, 16);
		h1 = (rotate_left(h1 ^ murmur_mix_1(k[0]), 27) + h2) * 5 + 0x52dce729;
		h2 = (rotate_left(h2 ^ murmur_mix_2(k[1]), 31) + h1) * 5 + 0x38495ab5;
	}
	memset(k, 0, sizeof(k));
	memcpy(k, from, rest);
	if (rest > 8)
		h2 ^= murmur_mix_2(k[1]);
	if (rest > 0)
		h1 ^= murmur_mix_1(k[0]);
	h1 ^= bytes;
	h2 ^= bytes;
	h1 += h2;
	h2 += h1;
	h1 = murmur_finish(h1);
	h2 = murmur_finish(h2);
	h1 += h2;
	h2 += h1;
	memcpy(hash, &h1, 8);
	memcpy(hash + 8, &h2, 8);
}

uds_name
uds_generate_counter_name(uint64_t counter)
{
	uds_name name;

	uds_generate_murmur3(&counter, sizeof(counter), UDS_GENERATE_SEED, name.bytes);
	return name;
}

uds_metadata
uds_generate_metadata(uint64_t counter, uint64_t version)
{
	uds_metadata metadata;

	memcpy(metadata.bytes, &counter, sizeof(counter));
	memcpy(metadata.bytes + 8, &version, sizeof(version));
	return metadata;
}

static void
store_big_endian(uint8_t *to, uint64_t value, size_t bytes)
{
	for (size_t i = bytes; i-- > 0; value >>= 8)
		to[i] = (uint8_t) value;
}

void
uds_generate_set_volume_field(uds_name *name, uint64_t field)
{
	store_big_endian(name->bytes, field, 8);
}

void
uds_generate_set_chapter_field(uds_name *name, uint64_t field)
{
	store_big_endian(name->bytes + 8, field, 6);
}

void
uds_generate_set_sampling_field(uds_name *name, uint32_t field)
{
	store_big_endian(name->bytes + 14, field, 2);
}

uds_name
uds_generate_name(uint64_t volume_field, uint64_t chapter_field, uint32_t sampling_field)
{
	uds_name name;

	uds_generate_set_volume_field(&name, volume_field);
	uds_generate_set_chapter_field(&name, chapter_field);
	uds_generate_set_sampling_field(&name, sampling_field);
	return name;
}

/* ---- a stream in memory -------------------------------------------------------------------- */

static uds_status
memory_write(uds_stream *stream, const void *data, size_t bytes)
{
	uds_memory_stream *memory = (uds_memory_stream *) stream;

	if (memory->bytes + bytes > memory->write_limit)
		return UDS_ERR_NO_SPACE;
	if (memory->bytes + bytes > memory->capacity)
	{
		size_t capacity = 2 * memory->capacity + bytes + 4096;
		uint8_t *grown = realloc(memory->data, capacity);

		if (grown == NULL)
		{
			fprintf(stderr, "out of memory for a stream of %zu bytes\n", capacity);
			abort();
		}
		memory->data = grown;
		memory->capacity = capacity;
	}
	if (bytes > 0)
		memcpy(memory->data + memory->bytes, data, bytes);
	memory->bytes += bytes;
	return UDS_OK;
}

static uds_status
memory_read(uds_stream *stream, void *data, size_t bytes)
{
	uds_memory_stream *memory = (uds_memory_stream *) stream;
	size_t end = memory->bytes < memory->limit ? memory->bytes : memory->limit;

	if (memory->position > end || bytes > end - memory->position)
		return UDS_ERR_CORRUPT;
	if (bytes > 0)
		memcpy(data, memory->data + memory->position, bytes);
	memory->position += bytes;
	return UDS_OK;
}

void
uds_memory_stream_init(uds_memory_stream *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->stream.write = memory_write;
	memory->stream.read = memory_read;
	memory->limit = SIZE_MAX;
	memory->write_limit = SIZE_MAX;
}

void
uds_memory_stream_rewind(uds_memory_stream *memory)
{
	memory->position = 0;
}

void
uds_memory_stream_clear(uds_memory_stream *memory)
{
	memory->bytes = 0;
	memory->position = 0;
}

void
uds_memory_stream_free(uds_memory_stream *memory)
{
	free(memory->data);
	memset(memory, 0, sizeof(*memory));
}
