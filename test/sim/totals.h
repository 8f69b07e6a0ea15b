/*
 * totals.h: what a search has met, summed over its runs.
 */
#ifndef UDS_SIM_TOTALS_H
#define UDS_SIM_TOTALS_H

#include "host.h"

/* Counters only. */
typedef struct totals
{
	uint64_t seeds, failures, crashes, power_losses, faults, points;
	uint64_t relaxed; /* runs in which data was lost in a way that the index may answer for */
	host_totals host;
	sim_counts counts;
	sim_losses losses;
} totals;

void totals_sum(totals *sum, const totals *other);
void totals_print(const totals *totals);

#endif
