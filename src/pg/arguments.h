/*
 * arguments.h: what SQL hands to the functions, checked and turned into requests, and back.
 */
#ifndef UDSPG_ARGUMENTS_H
#define UDSPG_ARGUMENTS_H

#include "postgres.h"

#include "session.h"

/* Lengths of a digest, in bytes. */
#define UDSPG_DIGEST_MIN 16
#define UDSPG_DIGEST_MAX 64

/* Position of a value that is not the element of an array. */
#define UDSPG_NO_ELEMENT 0

/*
 * Throw invalid_parameter_value unless digest (a detoasted bytea, short headers allowed) has
 * 16..64 bytes, or metadata at most 16.  element is its position in the array, from 1, for the
 * message, or UDSPG_NO_ELEMENT.
 */
extern void udspg_arguments_check_digest(const bytea *digest, int element);
extern void udspg_arguments_check_metadata(const bytea *metadata, int element);

/*
 * Make item a request.  digest and metadata have been checked; metadata may be NULL, which means
 * 16 zero bytes, like the bytes that a shorter one lacks.
 */
extern void udspg_arguments_set_item(udspg_item *item, uds_operation operation, const bytea *digest,
                                     const bytea *metadata);

/*
 * The operation that a value of the SQL type uds_operation means.  Throws invalid_parameter_value
 * for a label that somebody has added to the type.
 */
extern uds_operation udspg_arguments_operation(Oid value);

/* The values of the SQL type uds_region, by uds_region of the engine. */
#define UDSPG_REGION_COUNT 4

typedef struct udspg_regions
{
	Oid values[UDSPG_REGION_COUNT];
} udspg_regions;

/* Look them up; type is the OID of uds_region.  Throws when one has been renamed. */
extern void udspg_arguments_find_regions(Oid type, udspg_regions *regions);

/* The value for a region of a reply; elog for one that the engine does not have. */
static inline Datum
udspg_arguments_region_datum(const udspg_regions *regions, uint8 region)
{
	if (unlikely(region >= UDSPG_REGION_COUNT))
		elog(ERROR, "unexpected region %u in a reply", region);
	return ObjectIdGetDatum(regions->values[region]);
}

/* Metadata as a bytea of 16 bytes, in memory of the caller: fit for arrays and tuples. */
typedef struct udspg_metadata_value
{
	char header[VARHDRSZ] pg_attribute_aligned(4);
	char bytes[UDS_METADATA_BYTES];
} udspg_metadata_value;

static inline Datum
udspg_arguments_metadata_datum(udspg_metadata_value *value, const uds_metadata *metadata)
{
	SET_VARSIZE(value, sizeof(*value));
	memcpy(value->bytes, metadata->bytes, UDS_METADATA_BYTES);
	return PointerGetDatum(value);
}

#endif
