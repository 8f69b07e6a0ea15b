/*
 * functions_many.c: the SQL functions for arrays of fingerprints.
 *
 * All elements are checked before the first request is sent.  Then the arrays are worked through
 * in pieces, so that the memory for requests is bounded whatever the length: a piece is far larger
 * than what the session has in flight at a time, so the gap between two of them costs nothing that
 * can be measured.  Results replace the digests of their piece in the deconstructed array; NULL
 * elements are not sent and stay NULL.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/tuplestore.h"

#include "arguments.h"
#include "session.h"

#define PIECE_MAX 8192

PG_FUNCTION_INFO_V1(udspg_post_many);
PG_FUNCTION_INFO_V1(udspg_resolve_many);
PG_FUNCTION_INFO_V1(udspg_update_many);
PG_FUNCTION_INFO_V1(udspg_query_many);
PG_FUNCTION_INFO_V1(udspg_peek_many);
PG_FUNCTION_INFO_V1(udspg_delete_many);
PG_FUNCTION_INFO_V1(udspg_request_many);

/* A call of one of these functions. */
typedef struct many_call
{
	uds_operation operation;
	int count;            /* elements of the arrays */
	Datum *digests;       /* replaced by results */
	bool *digest_nulls;   /* become those of the results */
	Datum *metadata;      /* NULL: all zero */
	bool *metadata_nulls; /* as above */
	int first;            /* of the piece in work; the piece ends before end */
	int end;
	udspg_item *items; /* results of the piece, without its NULL elements */
} many_call;

/* Take a bytea[] apart.  name is that of the argument. */
static int
deconstruct(ArrayType *array, const char *name, Datum **values, bool **nulls)
{
	int count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
		        errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
		        errmsg("%s must be a one-dimensional array", name),
		        errdetail("It has %d dimensions.", ARR_NDIM(array)));
	deconstruct_array(array, BYTEAOID, -1, false, TYPALIGN_INT, values, nulls, &count);
	return count;
}

static void
check_elements(const many_call *call)
{
	for (int i = 0; i < call->count; i++)
	{
		if (call->digest_nulls[i])
			continue;
		udspg_arguments_check_digest((bytea *) DatumGetPointer(call->digests[i]), i + 1);
		if (call->metadata != NULL && !call->metadata_nulls[i])
			udspg_arguments_check_metadata((bytea *) DatumGetPointer(call->metadata[i]), i + 1);
	}
}

/* metadata may be NULL. */
static void
start_call(many_call *call, uds_operation operation, ArrayType *digests, ArrayType *metadata)
{
	udspg_require_loaded();
	call->operation = operation;
	call->count = deconstruct(digests, "digests", &call->digests, &call->digest_nulls);
	call->metadata = NULL;
	call->metadata_nulls = NULL;
	if (metadata != NULL)
	{
		int count = deconstruct(metadata, "metadata", &call->metadata, &call->metadata_nulls);

		if (count != call->count)
			ereport(ERROR,
			        errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			        errmsg("digests and metadata must have the same number of elements"),
			        errdetail("Array \"digests\" is of length %d, array \"metadata\" of length %d.",
			                  call->count,
			                  count));
	}
	check_elements(call);
	call->first = 0;
	call->end = 0;
	call->items = palloc(Max(1, Min(call->count, PIECE_MAX)) * sizeof(udspg_item));
}

/* Execute the next piece; false when there is none. */
static bool
next_piece(many_call *call)
{
	udspg_item *item = call->items;

	if (call->end == call->count)
		return false;
	CHECK_FOR_INTERRUPTS();
	call->first = call->end;
	call->end = call->first + Min(call->count - call->first, PIECE_MAX);
	for (int i = call->first; i < call->end; i++)
	{
		const bytea *metadata = NULL;

		if (call->digest_nulls[i])
			continue;
		if (call->metadata != NULL && !call->metadata_nulls[i])
			metadata = (bytea *) DatumGetPointer(call->metadata[i]);
		udspg_arguments_set_item(item++,
		                         call->operation,
		                         (bytea *) DatumGetPointer(call->digests[i]),
		                         metadata);
	}
	udspg_session_execute(call->items, item - call->items);
	return true;
}

static Datum
make_array(many_call *call, Oid type, int length, bool by_value, char align)
{
	int bound = 1;

	if (call->count == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(construct_md_array(call->digests,
	                                          call->digest_nulls,
	                                          1,
	                                          &call->count,
	                                          &bound,
	                                          type,
	                                          length,
	                                          by_value,
	                                          align));
}

/* Was each of them found? */
static Datum
return_found(many_call *call)
{
	while (next_piece(call))
	{
		const udspg_item *item = call->items;

		for (int i = call->first; i < call->end; i++)
		{
			if (!call->digest_nulls[i])
				call->digests[i] = BoolGetDatum((item++)->found);
		}
	}
	return make_array(call, BOOLOID, sizeof(bool), true, TYPALIGN_CHAR);
}

/* Metadata that was found; else the caller's (is_own) or NULL. */
static Datum
return_metadata(many_call *call, bool is_own)
{
	while (next_piece(call))
	{
		const udspg_item *item = call->items;
		udspg_metadata_value *value;

		/* construct_md_array() reads them when all pieces are done. */
		value = palloc((call->end - call->first) * sizeof(*value));
		for (int i = call->first; i < call->end; i++)
		{
			if (call->digest_nulls[i])
				continue;
			if (item->found || is_own)
				call->digests[i] =
					udspg_arguments_metadata_datum(value++,
				                                   item->found ? &item->found_metadata
				                                               : &item->metadata);
			else
				call->digest_nulls[i] = true;
			item++;
		}
	}
	return make_array(call, BYTEAOID, -1, false, TYPALIGN_INT);
}

/* Argument n as an array, or NULL. */
#define ARRAY_ARGUMENT(n) (PG_ARGISNULL(n) ? NULL : PG_GETARG_ARRAYTYPE_P(n))

/* uds_post_many(digests bytea[], metadata bytea[]) returns boolean[] */
Datum
udspg_post_many(PG_FUNCTION_ARGS)
{
	many_call call;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	start_call(&call, UDS_POST, PG_GETARG_ARRAYTYPE_P(0), ARRAY_ARGUMENT(1));
	return return_found(&call);
}

/* uds_resolve_many(digests bytea[], metadata bytea[]) returns bytea[] */
Datum
udspg_resolve_many(PG_FUNCTION_ARGS)
{
	many_call call;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	start_call(&call, UDS_POST, PG_GETARG_ARRAYTYPE_P(0), ARRAY_ARGUMENT(1));
	return return_metadata(&call, true);
}

/* uds_update_many(digests bytea[], metadata bytea[]) returns boolean[] */
Datum
udspg_update_many(PG_FUNCTION_ARGS)
{
	many_call call;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	start_call(&call, UDS_UPDATE, PG_GETARG_ARRAYTYPE_P(0), ARRAY_ARGUMENT(1));
	return return_found(&call);
}

/* uds_query_many(digests bytea[]) returns bytea[] */
Datum
udspg_query_many(PG_FUNCTION_ARGS)
{
	many_call call;

	start_call(&call, UDS_QUERY, PG_GETARG_ARRAYTYPE_P(0), NULL);
	return return_metadata(&call, false);
}

/* uds_peek_many(digests bytea[]) returns bytea[] */
Datum
udspg_peek_many(PG_FUNCTION_ARGS)
{
	many_call call;

	start_call(&call, UDS_PEEK, PG_GETARG_ARRAYTYPE_P(0), NULL);
	return return_metadata(&call, false);
}

/* uds_delete_many(digests bytea[]) returns boolean[] */
Datum
udspg_delete_many(PG_FUNCTION_ARGS)
{
	many_call call;

	start_call(&call, UDS_DELETE, PG_GETARG_ARRAYTYPE_P(0), NULL);
	return return_found(&call);
}

/* Columns of uds_request_many(). */
enum
{
	MANY_ORDINALITY,
	MANY_FOUND,
	MANY_METADATA,
	MANY_REGION,
	MANY_COLUMNS
};

/* Add the rows of a piece to the result. */
static void
put_rows(const many_call *call, const udspg_regions *regions, ReturnSetInfo *result)
{
	const udspg_item *item = call->items;

	for (int i = call->first; i < call->end; i++)
	{
		Datum values[MANY_COLUMNS] = { 0 };
		bool nulls[MANY_COLUMNS] = { false, true, true, true };
		udspg_metadata_value metadata;

		values[MANY_ORDINALITY] = Int64GetDatum(i + 1);
		if (!call->digest_nulls[i])
		{
			values[MANY_FOUND] = BoolGetDatum(item->found);
			values[MANY_REGION] = udspg_arguments_region_datum(regions, item->region);
			nulls[MANY_FOUND] = nulls[MANY_REGION] = false;
			if (item->found)
			{
				values[MANY_METADATA] =
					udspg_arguments_metadata_datum(&metadata, &item->found_metadata);
				nulls[MANY_METADATA] = false;
			}
			item++;
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * uds_request_many(op uds_operation, digests bytea[], metadata bytea[])
 * returns table (ordinality bigint, found boolean, metadata bytea, region uds_region)
 */
Datum
udspg_request_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	udspg_regions regions;
	many_call call;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	if (result->setDesc->natts != MANY_COLUMNS)
		elog(ERROR, "unexpected result type of uds_request_many");
	udspg_arguments_find_regions(TupleDescAttr(result->setDesc, MANY_REGION)->atttypid, &regions);
	start_call(&call,
	           udspg_arguments_operation(PG_GETARG_OID(0)),
	           PG_GETARG_ARRAYTYPE_P(1),
	           ARRAY_ARGUMENT(2));
	while (next_piece(&call))
		put_rows(&call, &regions, result);
	return (Datum) 0;
}
