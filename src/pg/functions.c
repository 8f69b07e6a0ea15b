/*
 * functions.c: the SQL functions for one fingerprint, and those that run the index.
 *
 * A function that stores metadata is not strict, because NULL metadata means 16 zero bytes; a NULL
 * digest gives NULL in all of them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"

#include "arguments.h"
#include "command.h"
#include "session.h"

PG_FUNCTION_INFO_V1(udspg_post);
PG_FUNCTION_INFO_V1(udspg_resolve);
PG_FUNCTION_INFO_V1(udspg_update);
PG_FUNCTION_INFO_V1(udspg_query);
PG_FUNCTION_INFO_V1(udspg_peek);
PG_FUNCTION_INFO_V1(udspg_delete);
PG_FUNCTION_INFO_V1(udspg_request);
PG_FUNCTION_INFO_V1(udspg_checkpoint);
PG_FUNCTION_INFO_V1(udspg_flush);
PG_FUNCTION_INFO_V1(udspg_reset);

/* Execute one request; metadata may be NULL. */
static void
execute(udspg_item *item, uds_operation operation, const bytea *digest, const bytea *metadata)
{
	udspg_require_loaded();
	udspg_arguments_check_digest(digest, UDSPG_NO_ELEMENT);
	if (metadata != NULL)
		udspg_arguments_check_metadata(metadata, UDSPG_NO_ELEMENT);
	udspg_arguments_set_item(item, operation, digest, metadata);
	udspg_session_execute(item, 1);
}

/* Argument n as metadata, or NULL. */
#define METADATA_ARGUMENT(n) (PG_ARGISNULL(n) ? NULL : PG_GETARG_BYTEA_PP(n))

static bytea *
copy_metadata(const uds_metadata *metadata)
{
	udspg_metadata_value *value = palloc(sizeof(*value));

	udspg_arguments_metadata_datum(value, metadata);
	return (bytea *) value;
}

/* uds_post(digest bytea, metadata bytea) returns boolean */
Datum
udspg_post(PG_FUNCTION_ARGS)
{
	udspg_item item;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	execute(&item, UDS_POST, PG_GETARG_BYTEA_PP(0), METADATA_ARGUMENT(1));
	PG_RETURN_BOOL(item.found);
}

/* uds_resolve(digest bytea, metadata bytea) returns bytea */
Datum
udspg_resolve(PG_FUNCTION_ARGS)
{
	udspg_item item;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	execute(&item, UDS_POST, PG_GETARG_BYTEA_PP(0), METADATA_ARGUMENT(1));
	PG_RETURN_BYTEA_P(copy_metadata(item.found ? &item.found_metadata : &item.metadata));
}

/* uds_update(digest bytea, metadata bytea) returns boolean */
Datum
udspg_update(PG_FUNCTION_ARGS)
{
	udspg_item item;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	execute(&item, UDS_UPDATE, PG_GETARG_BYTEA_PP(0), METADATA_ARGUMENT(1));
	PG_RETURN_BOOL(item.found);
}

/* uds_query(digest bytea) returns bytea */
Datum
udspg_query(PG_FUNCTION_ARGS)
{
	udspg_item item;

	execute(&item, UDS_QUERY, PG_GETARG_BYTEA_PP(0), NULL);
	if (!item.found)
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(copy_metadata(&item.found_metadata));
}

/* uds_peek(digest bytea) returns bytea */
Datum
udspg_peek(PG_FUNCTION_ARGS)
{
	udspg_item item;

	execute(&item, UDS_PEEK, PG_GETARG_BYTEA_PP(0), NULL);
	if (!item.found)
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(copy_metadata(&item.found_metadata));
}

/* uds_delete(digest bytea) returns boolean */
Datum
udspg_delete(PG_FUNCTION_ARGS)
{
	udspg_item item;

	execute(&item, UDS_DELETE, PG_GETARG_BYTEA_PP(0), NULL);
	PG_RETURN_BOOL(item.found);
}

/* What uds_request() has to know about its result, once per query. */
typedef struct request_result
{
	TupleDesc descriptor;
	udspg_regions regions;
} request_result;

static request_result *
find_request_result(FunctionCallInfo fcinfo)
{
	request_result *result = fcinfo->flinfo->fn_extra;
	MemoryContext previous;
	TupleDesc descriptor;

	if (result != NULL)
		return result;
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE ||
	    descriptor->natts != 3)
		elog(ERROR, "unexpected result type of uds_request");

	previous = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	result = palloc(sizeof(*result));
	result->descriptor = BlessTupleDesc(CreateTupleDescCopy(descriptor));
	udspg_arguments_find_regions(TupleDescAttr(descriptor, 2)->atttypid, &result->regions);
	fcinfo->flinfo->fn_extra = result;
	MemoryContextSwitchTo(previous);
	return result;
}

/*
 * uds_request(op uds_operation, digest bytea, metadata bytea,
 *             OUT found boolean, OUT metadata bytea, OUT region uds_region)
 */
Datum
udspg_request(PG_FUNCTION_ARGS)
{
	request_result *result;
	udspg_metadata_value metadata;
	udspg_item item;
	Datum values[3];
	bool nulls[3] = { false, false, false };

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	result = find_request_result(fcinfo);
	execute(&item,
	        udspg_arguments_operation(PG_GETARG_OID(0)),
	        PG_GETARG_BYTEA_PP(1),
	        METADATA_ARGUMENT(2));

	values[0] = BoolGetDatum(item.found);
	values[1] = udspg_arguments_metadata_datum(&metadata, &item.found_metadata);
	nulls[1] = !item.found;
	values[2] = udspg_arguments_region_datum(&result->regions, item.region);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result->descriptor, values, nulls)));
}

/* uds_checkpoint() returns void */
Datum
udspg_checkpoint(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(UDSPG_COMMAND_CHECKPOINT);
	PG_RETURN_VOID();
}

/* uds_flush() returns void: there is no journal, so nothing to wait for */
Datum
udspg_flush(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	PG_RETURN_VOID();
}

/* uds_reset() returns void */
Datum
udspg_reset(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(UDSPG_COMMAND_RESET);
	PG_RETURN_VOID();
}
