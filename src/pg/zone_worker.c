/*
 * zone_worker.c: the worker of a zone: what it does with the requests of its lane.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "lane.h"
#include "report.h"
#include "shared.h"
#include "worker.h"

static struct
{
	uint32 number;
	uds_zone_worker *worker; /* NULL before and after it is attached */
} zone;

static void
udspg_zone_worker_attach(uds_port *port)
{
	char *memory = MemoryContextAlloc(TopMemoryContext, uds_zone_worker_size() + 16);
	uds_error error;
	uds_status status;

	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	status = uds_zone_attach((void *) TYPEALIGN(16, memory),
	                         udspg_index(),
	                         port,
	                         zone.number,
	                         &zone.worker,
	                         &error);
	RESUME_INTERRUPTS();
	/* With UDS_ERR_INTERNAL it is attached nevertheless, and the writer rebuilds. */
	if (uds_status_is_error(status))
		udspg_report(zone.worker != NULL ? WARNING : ERROR, status, &error);
}

static void
udspg_zone_worker_detach(void)
{
	if (zone.worker != NULL)
		uds_zone_detach(zone.worker);
	zone.worker = NULL;
}

static bool
udspg_zone_worker_are_own(const uds_request *requests, uint32 count)
{
	if (udspg_shared_header->zone_count == 1)
		return true;
	for (uint32 i = 0; i < count; i++)
		if (uds_index_zone_of(udspg_index(), &requests[i].name) != zone.number)
			return false;
	return true;
}

/* Is the zone ours in this turn? */
static bool
udspg_zone_worker_turn(void)
{
	uds_status status;

	HOLD_INTERRUPTS();
	status = uds_zone_turn(zone.worker);
	RESUME_INTERRUPTS();
	return status == UDS_OK;
}

static bool
udspg_zone_worker_execute(uds_request *requests, uint32 count, uint32 *parked)
{
	uds_status status;

	HOLD_INTERRUPTS();
	status = uds_zone_execute(zone.worker, requests, count, parked);
	RESUME_INTERRUPTS();
	if (status == UDS_ERR_ARGUMENT)
		elog(ERROR, "uds zone %u refused a batch of %u requests", zone.number, count);
	/* After an internal error the index is marked failed: parked requests go on afterwards. */
	return true;
}

static bool
udspg_zone_worker_advance(uds_request **finished)
{
	uds_status status;

	HOLD_INTERRUPTS();
	status = uds_zone_advance(zone.worker, finished);
	RESUME_INTERRUPTS();
	return status == UDS_OK;
}

static uint32
udspg_zone_worker_parked(void)
{
	return uds_zone_parked(zone.worker);
}

void
udspg_zone_worker_main(Datum argument)
{
	static const udspg_lane_work work = {
		.attach = udspg_zone_worker_attach,
		.detach = udspg_zone_worker_detach,
		.are_own = udspg_zone_worker_are_own,
		.turn = udspg_zone_worker_turn,
		.execute = udspg_zone_worker_execute,
		.advance = udspg_zone_worker_advance,
		.parked = udspg_zone_worker_parked,
	};

	zone.number = (uint32) DatumGetInt32(argument);
	udspg_lane_run(zone.number, &work);
}
