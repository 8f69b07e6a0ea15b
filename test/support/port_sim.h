/*
 * port_sim.h: the engine's port to a simulated machine.
 */
#ifndef UDS_PORT_SIM_H
#define UDS_PORT_SIM_H

#include "sim.h"

struct uds_port
{
	sim *sim;
	uds_worker_id worker;
	bool is_leaving; /* it knows that it has to stop, and ends its work first */
	uint32_t place;  /* number of the directory + 1; 0: that of the server */
};

#endif
