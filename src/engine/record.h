/*
 * record.h: names, metadata and records; the fields of a name.
 *
 * A name is 16 bytes, uniformly distributed.  Disjoint byte ranges feed different structures, so
 * that these are statistically independent (specification 01, section 1).  Fields are read big
 * endian.
 */
#ifndef UDS_RECORD_H
#define UDS_RECORD_H

#include <string.h>

#include "status.h"

#define UDS_NAME_BYTES     16
#define UDS_METADATA_BYTES 16
#define UDS_RECORD_BYTES   32

typedef struct uds_name
{
	uint8_t bytes[UDS_NAME_BYTES];
} uds_name;

typedef struct uds_metadata
{
	uint8_t bytes[UDS_METADATA_BYTES];
} uds_metadata;

typedef struct uds_record
{
	uds_name name;
	uds_metadata metadata;
} uds_record;

_Static_assert(sizeof(uds_record) == UDS_RECORD_BYTES, "stored as raw bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files and pages are little endian");

/* Volume index field: bytes 0..7, 64 bits.  Volume index list or bucket, address and zone. */
static inline uint64_t
uds_name_volume_field(const uds_name *name)
{
	uint64_t raw;

	memcpy(&raw, name->bytes, sizeof(raw));
	return __builtin_bswap64(raw);
}

/* Chapter index field: bytes 8..13, 48 bits.  Chapter index list and address. */
static inline uint64_t
uds_name_chapter_field(const uds_name *name)
{
	uint64_t raw;

	memcpy(&raw, name->bytes + 8, sizeof(raw));
	return __builtin_bswap64(raw) >> 16;
}

/* Sampling field: bytes 14..15, 16 bits.  Hook or not, in a sparse index. */
static inline uint32_t
uds_name_sampling_field(const uds_name *name)
{
	return (uint32_t) name->bytes[14] << 8 | name->bytes[15];
}

static inline bool
uds_name_equals(const uds_name *a, const uds_name *b)
{
	uint64_t x[2];
	uint64_t y[2];

	memcpy(x, a->bytes, sizeof(x));
	memcpy(y, b->bytes, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

/* Hash of a whole name, for tables in memory: differs when any field differs. */
static inline uint64_t
uds_name_hash(const uds_name *name)
{
	uint64_t x[2];

	memcpy(x, name->bytes, sizeof(x));
	x[0] = (x[0] ^ (x[1] >> 32 | x[1] << 32)) * UINT64_C(0x9e3779b97f4a7c15);
	x[0] = (x[0] ^ (x[0] >> 29) ^ x[1]) * UINT64_C(0xbf58476d1ce4e5b9);
	return x[0] ^ (x[0] >> 32);
}

#endif
