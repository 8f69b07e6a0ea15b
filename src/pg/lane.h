/*
 * lane.h: a worker's end of a lane.
 *
 * A lane is a way from the sessions to one worker: a channel for each slot, and a bitmap of the
 * slots whose channel needs the worker.  Lanes 0..zone_count - 1 lead to the zones, the next
 * one, if there is one, to the triage worker.  What is the same for all of them is here (channels,
 * messages, replies, polling, leaving); what a worker does with requests is in a table of its
 * functions.
 */
#ifndef UDSPG_LANE_H
#define UDSPG_LANE_H

#include "postgres.h"

#include "../engine/index.h"

/*
 * What a worker does with requests.  Each function calls the engine, with interrupts held; only
 * are_own, attach and execute may throw.  All but detach are called between attach and detach.
 */
typedef struct udspg_lane_work
{
	/* Become the worker.  port: of this process, for its life. */
	void (*attach)(uds_port *port);

	/* End of the worker, however it comes to that; also without an attach.  Never waits. */
	void (*detach)(void);

	/* Do requests belong here?  Those of a message that brings others are not executed. */
	bool (*are_own)(const uds_request *requests, uint32 count);

	/* Begin a turn: may requests be executed in it? */
	bool (*turn)(void);

	/*
	 * Execute requests of one message.
	 *
	 * requests  [in,out]  each gets its result, or is parked and then belongs to the engine, at its
	 *                     address, until advance gives it back
	 * parked    [out]     number of parked ones; 0 at the call
	 *
	 * False: none can be executed in this turn; the same ones come again in a later one.
	 */
	bool (*execute)(uds_request *requests, uint32 count, uint32 *parked);

	/*
	 * Go on with parked requests, once in each turn that executes; true when there may be more to do
	 * at once.  NULL: requests are never parked.
	 *
	 * finished  [out]  list (by next) of requests that are answered now; NULL at the call
	 */
	bool (*advance)(uds_request **finished);

	/* Number of parked requests.  NULL: as above. */
	uint32 (*parked)(void);
} udspg_lane_work;

/* The main function of the worker of a lane: from its start to its exit.  Does not return. */
extern void udspg_lane_run(uint32 number, const udspg_lane_work *work);

#endif
