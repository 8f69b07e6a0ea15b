/*
 * functions_admin.c: SQL functions that run the index: suspend, resume, rebuild, reduce, convert, move,
 * verify.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "command.h"
#include "port_pg.h"
#include "report.h"
#include "result_row.h"
#include "session.h"
#include "settings.h"
#include "shared.h"

/* Problems of one chapter that are shown. */
#define UDSPG_PROBLEMS_MAX 64

PG_FUNCTION_INFO_V1(udspg_suspend);
PG_FUNCTION_INFO_V1(udspg_resume);
PG_FUNCTION_INFO_V1(udspg_rebuild);
PG_FUNCTION_INFO_V1(udspg_reduce);
PG_FUNCTION_INFO_V1(udspg_convert);
PG_FUNCTION_INFO_V1(udspg_move);
PG_FUNCTION_INFO_V1(udspg_verify);
PG_FUNCTION_INFO_V1(udspg_chapters);
PG_FUNCTION_INFO_V1(udspg_progress);

/* uds_suspend(save boolean) returns void */
Datum
udspg_suspend(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(PG_GETARG_BOOL(0) ? UDSPG_COMMAND_SUSPEND : UDSPG_COMMAND_HOLD);
	PG_RETURN_VOID();
}

/* uds_resume() returns void */
Datum
udspg_resume(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(UDSPG_COMMAND_RESUME);
	PG_RETURN_VOID();
}

/* uds_rebuild() returns void */
Datum
udspg_rebuild(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(UDSPG_COMMAND_REBUILD);
	PG_RETURN_VOID();
}

/* uds_reduce() returns void */
Datum
udspg_reduce(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(UDSPG_COMMAND_REDUCE);
	PG_RETURN_VOID();
}

/* uds_convert() returns void */
Datum
udspg_convert(PG_FUNCTION_ARGS)
{
	udspg_require_loaded();
	udspg_command_run(UDSPG_COMMAND_CONVERT);
	PG_RETURN_VOID();
}

/* ---- move --------------------------------------------------------------------------------------- */

/* Tell what the next start of the server needs. */
static void
udspg_functions_admin_tell_setting(const char *directory)
{
	char setting[MAXPGPATH];

	strlcpy(setting, udspg_directory, sizeof(setting));
	canonicalize_path(setting);
	if (strcmp(setting, directory) != 0)
		ereport(WARNING,
		        errmsg("the server was started with \"uds.directory\" = \"%s\"", udspg_directory),
		        errhint("Set \"uds.directory\" to \"%s\" before its next start.", directory));
}

/* uds_move(directory text) returns void */
Datum
udspg_move(PG_FUNCTION_ARGS)
{
	char *directory = text_to_cstring(PG_GETARG_TEXT_PP(0));

	udspg_require_loaded();
	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
		        errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		        errmsg("must be superuser or have privileges of the pg_write_server_files role to "
		               "move files of the server"));
	canonicalize_path(directory);
	if (directory[0] == '\0')
		ereport(ERROR,
		        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		        errmsg("name of the directory is empty"));
	if (strlen(directory) > UDS_DIRECTORY_NAME_MAX)
		ereport(ERROR,
		        errcode(ERRCODE_NAME_TOO_LONG),
		        errmsg("name of the directory is longer than %d bytes", UDS_DIRECTORY_NAME_MAX));
	udspg_command_run_with(UDSPG_COMMAND_MOVE, directory);
	udspg_functions_admin_tell_setting(directory);
	PG_RETURN_VOID();
}

/* ---- verification ------------------------------------------------------------------------------- */

/* The block, once it has been laid out; throws before. */
static uds_index *
udspg_functions_admin_index(void)
{
	uds_index *index = udspg_index();

	if (index == NULL || uds_index_state(index) == UDS_STATE_NONE)
		udspg_report_state(udspg_state(NULL));
	return index;
}

static void
udspg_functions_admin_put_problem(ReturnSetInfo *result, const uds_problem *problem)
{
	udspg_result_row row = { .count = 0 };

	udspg_result_row_put_count(&row, problem->chapter, true);
	udspg_result_row_put(&row, Int32GetDatum((int32) problem->physical_chapter), false);
	udspg_result_row_put(&row, Int32GetDatum((int32) problem->page), false);
	udspg_result_row_put_text(&row, problem->text);
	udspg_result_row_check(&row, result->setDesc);
	tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
}

/* Check the next chapter and put what is wrong with it; false after the last one. */
static bool
udspg_functions_admin_verify_next(uds_verifier *verifier, uds_problem *problems,
                                  ReturnSetInfo *result)
{
	uint32 count;
	uds_status status;

	HOLD_INTERRUPTS();
	status = uds_verifier_next(verifier, problems, UDSPG_PROBLEMS_MAX, &count);
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	if (status == UDS_NOT_FOUND)
		return false;
	if (status != UDS_OK)
		ereport(ERROR,
		        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("the index was recovered or reset while it was verified"),
		        errhint("Call uds_verify() again."));
	for (uint32 i = 0; i < Min(count, UDSPG_PROBLEMS_MAX); i++)
		udspg_functions_admin_put_problem(result, &problems[i]);
	if (count > UDSPG_PROBLEMS_MAX)
	{
		uds_problem more = problems[0];

		more.page = 0;
		snprintf(more.text, sizeof(more.text), "%u more problems", count - UDSPG_PROBLEMS_MAX);
		udspg_functions_admin_put_problem(result, &more);
	}
	return true;
}

/* A place where others see how far this session is; NULL when there is none. */
static udspg_watch *
udspg_functions_admin_claim_watch(uint64 total)
{
	for (int i = 0; i < UDSPG_WATCHES; i++)
	{
		udspg_watch *watch = &udspg_shared_header->watches[i];
		uint32 expected = (uint32) pg_atomic_read_u32(&watch->pid);

		/* One whose process was killed stays claimed until the server starts anew. */
		if (expected != 0 ||
		    !pg_atomic_compare_exchange_u32(&watch->pid, &expected, (uint32) MyProcPid))
			continue;
		pg_atomic_write_u64(&watch->done, 0);
		pg_atomic_write_u64(&watch->total, total);
		return watch;
	}
	return NULL;
}

/* uds_verify() returns table (chapter, place, page, problem) */
Datum
udspg_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uds_index *index;
	uds_verifier *verifier = NULL;
	uds_problem *problems;
	uds_port port;
	uds_error error;
	uds_status status;
	udspg_watch *watch;
	uint64 total;
	char *memory;

	udspg_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	index = udspg_functions_admin_index();
	problems = palloc(UDSPG_PROBLEMS_MAX * sizeof(uds_problem));
	memory = palloc_extended(uds_verifier_size(index) + UDS_CACHE_LINE, MCXT_ALLOC_HUGE);
	udspg_port_init(&port, UDS_WORKER_COUNT);
	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	status = uds_verifier_open((void *) TYPEALIGN(UDS_CACHE_LINE, memory),
	                           index,
	                           &port,
	                           &verifier,
	                           &error);
	RESUME_INTERRUPTS();
	if (status != UDS_OK)
		udspg_report(ERROR, status, &error);
	total = uds_verifier_left(verifier);
	watch = udspg_functions_admin_claim_watch(total);
	PG_TRY();
	{
		while (udspg_functions_admin_verify_next(verifier, problems, result))
			if (watch != NULL)
				pg_atomic_write_u64(&watch->done, total - uds_verifier_left(verifier));
	}
	PG_FINALLY();
	{
		if (watch != NULL)
			pg_atomic_write_u32(&watch->pid, 0);
		uds_verifier_close(verifier);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* uds_chapters() returns a row per chapter on the volume */
Datum
udspg_chapters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const uds_config *config;
	uds_index *index;

	udspg_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	config = udspg_config();
	index = udspg_index();
	if (config == NULL || index == NULL)
		return (Datum) 0;
	for (uint32 place = 0; place < config->geometry.chapters; place++)
	{
		udspg_result_row row = { .count = 0 };
		uds_chapter_info info;

		if (!uds_index_chapter(index, place, &info))
			continue;
		udspg_result_row_put_count(&row, info.chapter, true);
		udspg_result_row_put(&row, Int32GetDatum((int32) place), false);
		udspg_result_row_put_count(&row, info.generation, true);
		udspg_result_row_put_count(&row, info.records, true);
		udspg_result_row_put_count(&row, info.tombstones, true);
		udspg_result_row_put(&row, BoolGetDatum(info.is_sparse), false);
		udspg_result_row_check(&row, result->setDesc);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
	return (Datum) 0;
}

/* ---- progress ----------------------------------------------------------------------------------- */

static void
udspg_functions_admin_put_progress(ReturnSetInfo *result, int pid, const char *phase,
                                   const char *unit, uint64 done, uint64 total)
{
	udspg_result_row row = { .count = 0 };

	udspg_result_row_put(&row, Int32GetDatum(pid), pid == 0);
	udspg_result_row_put_text(&row, phase);
	udspg_result_row_put_text(&row, unit);
	/* Totals are estimates, and both are read one by one. */
	udspg_result_row_put_count(&row, done, true);
	udspg_result_row_put_count(&row, Max(done, total), true);
	udspg_result_row_check(&row, result->setDesc);
	tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
}

/* uds_progress() returns a row for all that takes time now */
Datum
udspg_progress(PG_FUNCTION_ARGS)
{
	static const struct
	{
		const char *phase;
		const char *unit;
	} phases[] = {
		[UDS_PHASE_SEALS] = { "reading seals", "chapters" },
		[UDS_PHASE_LOADING] = { "loading the save", "bytes" },
		[UDS_PHASE_REPLAYING] = { "replaying chapters", "chapters" },
		[UDS_PHASE_SAVING] = { "saving the index", "bytes" },
		[UDS_PHASE_MOVING] = { "moving files", "bytes" },
		[UDS_PHASE_CONVERTING] = { "converting chapters", "chapters" },
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uds_index *index;

	udspg_require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	index = udspg_index();
	if (index != NULL)
	{
		uds_statistics statistics;

		uds_index_statistics(index, &statistics);
		if (statistics.phase > UDS_PHASE_NONE && statistics.phase < lengthof(phases) &&
		    phases[statistics.phase].phase != NULL)
			udspg_functions_admin_put_progress(result,
			                                   udspg_worker_pid(UDS_WORKER_WRITER),
			                                   phases[statistics.phase].phase,
			                                   phases[statistics.phase].unit,
			                                   statistics.progress_done,
			                                   statistics.progress_total);
	}
	for (int i = 0; i < UDSPG_WATCHES; i++)
	{
		udspg_watch *watch = &udspg_shared_header->watches[i];
		int pid = (int) pg_atomic_read_u32(&watch->pid);

		if (pid != 0)
			udspg_functions_admin_put_progress(result,
			                                   pid,
			                                   "verifying chapters",
			                                   "chapters",
			                                   pg_atomic_read_u64(&watch->done),
			                                   pg_atomic_read_u64(&watch->total));
	}
	return (Datum) 0;
}
