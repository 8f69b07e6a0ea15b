/*
 * reader_worker.c: a worker that reads pages of the volume for the zones.
 *
 * It may stop at any time between two pieces of the read queue: what is queued waits for another
 * reader or for its successor, and while there is none, the zones read for themselves.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "port_pg.h"
#include "report.h"
#include "shared.h"
#include "worker.h"

static struct
{
	uint32 number;
	uds_port port;
	uds_reader *reader; /* NULL before and after it is attached */
} reader;

static void
udspg_reader_worker_detach(void)
{
	if (reader.reader != NULL)
		uds_reader_detach(reader.reader);
	reader.reader = NULL;
}

static void
udspg_reader_worker_attach(void)
{
	char *memory = MemoryContextAlloc(TopMemoryContext, uds_reader_size() + 16);
	uds_error error;
	uds_status status;

	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	status = uds_reader_attach((void *) TYPEALIGN(16, memory),
	                           udspg_index(),
	                           &reader.port,
	                           reader.number,
	                           &reader.reader,
	                           &error);
	RESUME_INTERRUPTS();
	/* With UDS_ERR_INTERNAL it is attached nevertheless, and the writer rebuilds. */
	if (uds_status_is_error(status))
		udspg_report(reader.reader != NULL ? WARNING : ERROR, status, &error);
}

void
udspg_reader_worker_main(Datum argument)
{
	bool is_idle = true;

	reader.number = (uint32) DatumGetInt32(argument);
	udspg_worker_start(UDS_WORKER_READER + reader.number, udspg_reader_worker_detach);
	udspg_port_init(&reader.port, UDS_WORKER_READER + reader.number);
	udspg_reader_worker_attach();

	for (;;)
	{
		uds_status status;

		udspg_worker_process_interrupts();
		if (udspg_worker_stop_requested)
			proc_exit(1);
		if (is_idle)
			udspg_worker_report_activity("reading pages");
		is_idle = false;
		HOLD_INTERRUPTS();
		status = uds_reader_work(reader.reader);
		RESUME_INTERRUPTS();
		if (status != UDS_OK)
			is_idle = udspg_worker_sleep_idle();
	}
}
