/*
 * report.c: from the engine's statuses to PostgreSQL's errors.
 */
#include "postgres.h"

#include "report.h"
#include "shared.h"

/* errcode() of a status; called between errstart and errfinish, with errno as it was. */
static int
udspg_report_errcode(uds_status status)
{
	switch (status)
	{
		case UDS_OVERFLOW:
			return errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED);
		case UDS_STOPPED:
			return errcode(ERRCODE_ADMIN_SHUTDOWN);
		case UDS_ERR_ARGUMENT:
		case UDS_ERR_BAD_STATE:
			return errcode(ERRCODE_INVALID_PARAMETER_VALUE);
		case UDS_ERR_STATE:
		case UDS_ERR_READ_ONLY:
		case UDS_ERR_IN_USE:
		case UDS_ERR_MISMATCH:
			return errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
		case UDS_ERR_CORRUPT:
			return errcode(ERRCODE_INDEX_CORRUPTED);
		case UDS_ERR_IO:
		case UDS_ERR_NO_SPACE:
			return errcode_for_file_access();
		default:
			return errcode(ERRCODE_INTERNAL_ERROR);
	}
}

/* What a status says when the engine has not said more. */
static const char *
udspg_report_text(uds_status status)
{
	switch (status)
	{
		case UDS_OVERFLOW:
			return "uds has no room for this fingerprint";
		case UDS_STOPPED:
			return "uds is stopping";
		case UDS_ERR_ARGUMENT:
		case UDS_ERR_BAD_STATE:
			return "uds was called with an argument out of range";
		case UDS_ERR_STATE:
			return "uds cannot do this in its present state";
		case UDS_ERR_READ_ONLY:
			return "uds is read only";
		case UDS_ERR_IN_USE:
			return "another server uses the files of uds";
		case UDS_ERR_MISMATCH:
			return "files and settings of uds do not fit each other";
		case UDS_ERR_CORRUPT:
			return "stored data of uds cannot be used";
		case UDS_ERR_IO:
			return "uds could not access a file";
		case UDS_ERR_NO_SPACE:
			return "uds could not write a file: no space left on device";
		default:
			return "uds found an internal inconsistency";
	}
}

void
udspg_report(int elevel, uds_status status, const uds_error *error)
{
	bool has_story = error != NULL && error->message[0] != '\0';

	errno = error != NULL ? error->system_errno : 0;
	ereport(elevel,
	        udspg_report_errcode(status),
	        errmsg_internal("%s", has_story ? error->message : udspg_report_text(status)),
	        has_story && error->detail[0] != '\0' ? errdetail_internal("%s", error->detail) : 0,
	        has_story && error->hint[0] != '\0' ? errhint("%s", error->hint) : 0);
}

void
udspg_report_state(uds_state state)
{
	char reason[UDS_ERROR_TEXT_BYTES];
	char hint[UDS_ERROR_TEXT_BYTES];

	(void) udspg_state_explain(reason, hint);
	ereport(ERROR,
	        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
	        reason[0] != '\0' ? errmsg("uds is %s: %s", udspg_state_name(state), reason)
	                          : errmsg("uds is %s", udspg_state_name(state)),
	        hint[0] != '\0' ? errhint("%s", hint) : 0);
	pg_unreachable();
}
