/*
 * statistics.c: what uds_stats, uds_zones and uds_sessions show.
 *
 * They answer in every state, without waiting: numbers are read from shared memory one by one, not
 * as a snapshot, and are NULL while there is no block that could hold them.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "funcapi.h"

#include "result_row.h"
#include "session.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(udspg_stats);
PG_FUNCTION_INFO_V1(udspg_zone_stats);
PG_FUNCTION_INFO_V1(udspg_session_stats);
PG_FUNCTION_INFO_V1(udspg_stats_reset);

/* Microseconds since 1970, 0 = never, to PostgreSQL's time. */
static TimestampTz
from_wall_clock(int64 microseconds)
{
	if (microseconds == 0)
		return 0;
	return microseconds - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
put_counters(udspg_result_row *row, const uds_statistics *statistics, bool is_known)
{
	const uint64 counters[] = {
		statistics->entries_indexed,
		statistics->tombstones,
		statistics->collisions,
		statistics->entries_discarded + statistics->entries_lost + statistics->entries_expired,
		statistics->entries_expired,
		statistics->overflows,
		statistics->posts_found,
		statistics->posts_not_found,
		statistics->in_memory_posts_found,
		statistics->dense_posts_found,
		statistics->sparse_posts_found,
		statistics->updates_found,
		statistics->updates_not_found,
		statistics->queries_found,
		statistics->queries_not_found,
		statistics->deletions_found,
		statistics->deletions_not_found,
		statistics->requests,
	};

	for (int i = 0; i < lengthof(counters); i++)
		udspg_result_row_put_count(row, counters[i], is_known);
}

/* uds_stats() returns one row */
Datum
udspg_stats(PG_FUNCTION_ARGS)
{
	udspg_result_row row = { .count = 0 };
	uds_statistics statistics = { 0 };
	char reason[UDS_ERROR_TEXT_BYTES];
	TimestampTz stats_reset;
	TimeLineID timeline = RecoveryInProgress() ? 0 : GetWALInsertionTimeLine();
	TupleDesc descriptor;
	uds_index *index;
	uds_state state;
	bool is_known;

	udspg_require_loaded();
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected result type of uds_stats");
	index = udspg_index();
	is_known = index != NULL;
	if (is_known)
		uds_index_statistics(index, &statistics);
	state = udspg_state(reason);

	udspg_result_row_put_text(&row, udspg_state_name(state));
	udspg_result_row_put_text(&row, reason);
	put_counters(&row, &statistics, is_known);
	udspg_result_row_put_count(&row, statistics.window_size, is_known);
	udspg_result_row_put_count(&row, statistics.oldest_chapter, is_known);
	udspg_result_row_put_count(&row, statistics.newest_chapter, is_known);
	udspg_result_row_put_count(&row, statistics.index_memory, is_known);
	udspg_result_row_put_count(&row, statistics.cache_memory, is_known);
	udspg_result_row_put_count(&row, udspg_queue_memory(), is_known);
	udspg_result_row_put_count(&row, statistics.volume_bytes, is_known);
	udspg_result_row_put_count(&row, statistics.cache_hits, is_known);
	udspg_result_row_put_count(&row, statistics.cache_misses, is_known);
	udspg_result_row_put_count(&row, statistics.page_reads, is_known);
	udspg_result_row_put_count(&row, statistics.bad_pages, is_known);
	udspg_result_row_put_count(&row, statistics.dropped_chapters, is_known);
	udspg_result_row_put_count(&row, statistics.sparse_chapters, is_known);
	udspg_result_row_put_count(&row, statistics.sparse_loads, is_known);
	udspg_result_row_put_count(&row, statistics.sparse_failures, is_known);
	udspg_result_row_put_count(&row, statistics.sparse_drops, is_known);
	udspg_result_row_put_time(&row, from_wall_clock(statistics.last_checkpoint));
	udspg_result_row_put_time(&row, from_wall_clock(statistics.opened_at));
	udspg_result_row_put_count(&row, statistics.generation, is_known);
	udspg_result_row_put(&row, Int32GetDatum((int32) timeline), timeline == 0);
	udspg_result_row_put_time(&row, udspg_shared_header->started_at);
	stats_reset = (TimestampTz) pg_atomic_read_u64(&udspg_shared_header->stats_reset);
	udspg_result_row_put_time(&row, stats_reset);

	udspg_result_row_check(&row, descriptor);
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), row.values, row.nulls)));
}

/* uds_zones() returns a row per zone */
Datum
udspg_zone_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const uds_config *config;
	uds_index *index;
	bool is_known;

	udspg_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	config = udspg_config();
	if (config == NULL)
		return (Datum) 0;
	index = udspg_index();
	is_known = index != NULL && uds_index_state(index) != UDS_STATE_NONE;

	for (uint32 zone = 0; zone < config->zone_count; zone++)
	{
		udspg_result_row row = { .count = 0 };
		uds_zone_statistics statistics = { 0 };
		int pid = udspg_worker_pid(UDS_WORKER_ZONE + zone);
		Interval pause = { 0 };

		if (is_known)
			uds_index_zone_statistics(index, zone, &statistics);
		pause.time = (TimeOffset) (statistics.longest_pause_ns / 1000);
		udspg_result_row_put(&row, Int32GetDatum((int32) zone), false);
		udspg_result_row_put(&row, Int32GetDatum(pid), pid == 0);
		udspg_result_row_put_count(&row, statistics.records, is_known);
		udspg_result_row_put_count(&row, statistics.newest_chapter, is_known);
		udspg_result_row_put_count(&row, statistics.open_records, is_known);
		udspg_result_row_put_count(&row, statistics.open_capacity, is_known);
		udspg_result_row_put(&row, BoolGetDatum(statistics.is_full), !is_known);
		udspg_result_row_put_count(&row, statistics.requests, is_known);
		udspg_result_row_put_count(&row, statistics.parked, is_known);
		udspg_result_row_put_count(&row, statistics.rebalances, is_known);
		udspg_result_row_put(&row, IntervalPGetDatum(&pause), !is_known);

		udspg_result_row_check(&row, result->setDesc);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
	return (Datum) 0;
}

/* uds_sessions() returns a row per session slot that is claimed */
Datum
udspg_session_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	udspg_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	for (uint32 slot = 0; slot < udspg_slot_count(); slot++)
	{
		udspg_result_row row = { .count = 0 };
		udspg_slot_info info;

		udspg_slot_describe(slot, &info);
		if (info.pid == 0)
			continue;
		udspg_result_row_put(&row, Int32GetDatum((int32) slot), false);
		udspg_result_row_put(&row, Int32GetDatum(info.pid), false);
		udspg_result_row_put_count(&row, info.in_flight, true);
		udspg_result_row_put_count(&row, info.requests, true);
		udspg_result_row_put_count(&row, info.waits, true);

		udspg_result_row_check(&row, result->setDesc);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
	return (Datum) 0;
}

/* uds_stats_reset() returns void */
Datum
udspg_stats_reset(PG_FUNCTION_ARGS)
{
	uds_index *index;

	udspg_require_loaded();
	index = udspg_index();
	if (index != NULL && uds_index_state(index) != UDS_STATE_NONE)
		uds_index_reset_statistics(index);
	pg_atomic_write_u64(&udspg_shared_header->stats_reset, (uint64) GetCurrentTimestamp());
	PG_RETURN_VOID();
}
