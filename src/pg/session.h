/*
 * session.h: a backend's ends of its lanes.
 *
 * A session slot is claimed at first use and freed at exit.  Requests of one call are distributed
 * over the channels of the zones and take effect, for one name, in their order.
 */
#ifndef UDSPG_SESSION_H
#define UDSPG_SESSION_H

#include "postgres.h"

#include "../engine/index.h"

/* One fingerprint of a call. */
typedef struct udspg_item
{
	uds_name name;
	uds_metadata metadata;       /* in: to be stored */
	uds_metadata found_metadata; /* out: defined when found */
	uint8 operation;             /* in: uds_operation */
	uint8 found;                 /* out */
	uint8 region;                /* out: uds_region */
	uint8 status; /* out: uds_status of this request, UDS_OK unless an ERROR is due */
} udspg_item;

/*
 * Execute count items (0 is allowed) and fill in their results.  Checks that the index is loaded
 * and answers, waits where it has to (recovery, suspended, full zones) with CHECK_FOR_INTERRUPTS
 * and uds.wait_timeout.  Throws ERROR when the index is offline, a worker went away with a request
 * unanswered, an item could not be stored (read only), or on cancel.  All items are executed or
 * the ERROR says which part may have been.
 */
extern void udspg_session_execute(udspg_item *items, int count);

/*
 * Wait until the index executes requests, as udspg_session_execute does.  Throws ERROR when it is
 * offline or uds.wait_timeout is over.
 */
extern void udspg_session_wait_until_ready(void);

/*
 * Turn a digest of this database into its name (DESIGN section 8).  Throws
 * invalid_parameter_value for a length outside 16..64.
 */
extern void udspg_name_from_digest(const char *digest, int length, uds_name *name);

/* Throws object_not_in_prerequisite_state unless the library was preloaded. */
extern void udspg_require_loaded(void);

#endif
