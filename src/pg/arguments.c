/*
 * arguments.c: what SQL hands to the functions, checked and turned into requests, and back.
 *
 * Enum values are known by their labels: their OIDs differ between databases, and the types may
 * lie in any schema.  The system cache keeps the rows, so a look-up costs a hash probe.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "utils/syscache.h"

#include "arguments.h"

/* Labels by uds_operation and uds_region. */
static const char *const operation_labels[] = { "post", "update", "query", "peek", "delete" };
static const char *const region_labels[] = { "none", "open", "dense", "sparse" };

StaticAssertDecl(lengthof(operation_labels) == UDS_OPERATION_COUNT, "a label per operation");
StaticAssertDecl(lengthof(region_labels) == UDSPG_REGION_COUNT, "a label per region");
StaticAssertDecl(UDS_REGION_SPARSE == UDSPG_REGION_COUNT - 1, "regions are counted from 0");
StaticAssertDecl(sizeof(udspg_metadata_value) == VARHDRSZ + UDS_METADATA_BYTES, "a varlena");

static int
length_detail(int length, int element)
{
	if (element == UDSPG_NO_ELEMENT)
		return errdetail_plural("It is %d byte long.", "It is %d bytes long.", length, length);
	return errdetail_plural("Element %d is %d byte long.",
	                        "Element %d is %d bytes long.",
	                        length,
	                        element,
	                        length);
}

void
udspg_arguments_check_digest(const bytea *digest, int element)
{
	int length = VARSIZE_ANY_EXHDR(digest);

	if (unlikely(length < UDSPG_DIGEST_MIN || length > UDSPG_DIGEST_MAX))
		ereport(ERROR,
		        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("digest must be %d to %d bytes long", UDSPG_DIGEST_MIN, UDSPG_DIGEST_MAX),
		        length_detail(length, element),
		        errhint("Use for example sha256(data)."));
}

void
udspg_arguments_check_metadata(const bytea *metadata, int element)
{
	int length = VARSIZE_ANY_EXHDR(metadata);

	if (unlikely(length > UDS_METADATA_BYTES))
		ereport(ERROR,
		        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("metadata must be at most %d bytes long", UDS_METADATA_BYTES),
		        length_detail(length, element),
		        errhint("Keep longer data in a table and use its key as metadata."));
}

void
udspg_arguments_set_item(udspg_item *item, uds_operation operation, const bytea *digest,
                         const bytea *metadata)
{
	Size length = 0;

	udspg_name_from_digest(VARDATA_ANY(digest), VARSIZE_ANY_EXHDR(digest), &item->name);
	if (metadata != NULL)
	{
		length = VARSIZE_ANY_EXHDR(metadata);
		Assert(length <= UDS_METADATA_BYTES);
		memcpy(item->metadata.bytes, VARDATA_ANY(metadata), length);
	}
	memset(item->metadata.bytes + length, 0, UDS_METADATA_BYTES - length);
	item->operation = operation;
	item->found = false;
	item->region = UDS_REGION_NONE;
	item->status = UDS_OK;
}

uds_operation
udspg_arguments_operation(Oid value)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	NameData label;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
		        errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
		        errmsg("invalid internal value for enum: %u", value));
	label = ((Form_pg_enum) GETSTRUCT(tuple))->enumlabel;
	ReleaseSysCache(tuple);

	for (int i = 0; i < UDS_OPERATION_COUNT; i++)
	{
		if (strcmp(NameStr(label), operation_labels[i]) == 0)
			return i;
	}
	ereport(ERROR,
	        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	        errmsg("unknown operation \"%s\"", NameStr(label)),
	        errhint("Operations are post, update, query, peek and delete."));
}

void
udspg_arguments_find_regions(Oid type, udspg_regions *regions)
{
	for (int i = 0; i < UDSPG_REGION_COUNT; i++)
	{
		HeapTuple tuple = SearchSysCache2(ENUMTYPOIDNAME,
		                                  ObjectIdGetDatum(type),
		                                  CStringGetDatum(region_labels[i]));

		if (!HeapTupleIsValid(tuple))
			ereport(ERROR,
			        errcode(ERRCODE_UNDEFINED_OBJECT),
			        errmsg("type uds_region has no value \"%s\"", region_labels[i]),
			        errhint("Create the extension \"uds\" again."));
		regions->values[i] = ((Form_pg_enum) GETSTRUCT(tuple))->oid;
		ReleaseSysCache(tuple);
	}
}
