/*
 * triage_worker.c: the triage worker of a sparse index with several zones: what it does with the
 * requests of its lane.
 *
 * Sessions show it the hooks among the names of a piece, as peeks, before they send the piece to
 * the zones; it asks for the sparse chapters that the neighbours of the hooks may be in.  An answer
 * says that this has been done and nothing else.  Advice it is, all of it: a session whose request
 * is lost here goes on without.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "lane.h"
#include "report.h"
#include "shared.h"
#include "worker.h"

static uds_triage *triage; /* NULL before and after it is attached */

static void
udspg_triage_worker_attach(uds_port *port)
{
	char *memory = MemoryContextAlloc(TopMemoryContext, uds_triage_size() + 16);
	uds_error error;
	uds_status status;

	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	status =
		uds_triage_attach((void *) TYPEALIGN(16, memory), udspg_index(), port, &triage, &error);
	RESUME_INTERRUPTS();
	/* With UDS_ERR_INTERNAL it is attached nevertheless, and the writer rebuilds. */
	if (uds_status_is_error(status))
		udspg_report(triage != NULL ? WARNING : ERROR, status, &error);
}

static void
udspg_triage_worker_detach(void)
{
	if (triage != NULL)
		uds_triage_detach(triage);
	triage = NULL;
}

static bool
udspg_triage_worker_are_own(const uds_request *requests, uint32 count)
{
	for (uint32 i = 0; i < count; i++)
		if (requests[i].operation != UDS_PEEK ||
		    !uds_index_needs_triage(udspg_index(), &requests[i].name))
			return false;
	return true;
}

static bool
udspg_triage_worker_turn(void)
{
	return uds_state_executes(uds_index_state(udspg_index()));
}

static bool
udspg_triage_worker_execute(uds_request *requests, uint32 count, uint32 *parked)
{
	static uds_name names[UDS_BATCH_MAX];
	uds_status status;

	for (uint32 i = 0; i < count; i++)
		names[i] = requests[i].name;
	HOLD_INTERRUPTS();
	status = uds_triage_execute(triage, names, count);
	RESUME_INTERRUPTS();
	if (status == UDS_PENDING)
		return false; /* the writer wakes this worker when it gives the index back */
	if (status == UDS_ERR_ARGUMENT)
		elog(ERROR, "uds triage refused a batch of %u names", count);

	/* After an internal error, too: the index is marked failed, and the zones wait. */
	for (uint32 i = 0; i < count; i++)
	{
		requests[i].status = UDS_OK;
		requests[i].found = false;
		requests[i].region = UDS_REGION_NONE;
	}
	return true;
}

void
udspg_triage_worker_main(Datum argument)
{
	static const udspg_lane_work work = {
		.attach = udspg_triage_worker_attach,
		.detach = udspg_triage_worker_detach,
		.are_own = udspg_triage_worker_are_own,
		.turn = udspg_triage_worker_turn,
		.execute = udspg_triage_worker_execute,
	};

	udspg_lane_run(udspg_shared_triage_lane(), &work);
}
