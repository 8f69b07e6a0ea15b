/*
 * port_pg.h: the engine's port in a PostgreSQL process.
 */
#ifndef UDSPG_PORT_PG_H
#define UDSPG_PORT_PG_H

#include "postgres.h"

#include "../engine/port.h"

/* One object for each worker process. */
struct uds_port
{
	uds_worker_id worker;
	bool has_deadline;     /* it stops at the deadline, and not when it is asked to */
	bool obeys_commands;   /* it also stops for a command that interrupts */
	uint64 command;        /* it also stops when this command is cancelled; 0: runs none */
	const char *directory; /* NULL: where the files of the index are */
	uint64 deadline_ns;
};

/*
 * The engine has waited on the latch and reset it.  What it was set for may not be the engine's
 * business: a worker looks at everything once more before it sleeps.
 */
extern bool udspg_port_has_reset_latch;

extern void udspg_port_init(uds_port *port, uds_worker_id worker);

/* From now on should_stop is false until this many seconds have passed, and true after that. */
extern void udspg_port_set_deadline(uds_port *port, int seconds);
extern bool udspg_port_deadline_is_over(uds_port *port);

#endif
