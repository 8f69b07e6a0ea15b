/*
 * totals.c: see totals.h.
 */
#include "totals.h"

#include <stdio.h>

_Static_assert(sizeof(totals) % sizeof(uint64_t) == 0, "counters only");

#define N(counter) ((unsigned long long) (counter))

void
totals_sum(totals *sum, const totals *other)
{
	uint64_t counters[sizeof(totals) / sizeof(uint64_t)];
	uint64_t others[sizeof(totals) / sizeof(uint64_t)];

	memcpy(counters, sum, sizeof(counters));
	memcpy(others, other, sizeof(others));
	for (size_t i = 0; i < sizeof(totals) / sizeof(uint64_t); i++)
		counters[i] += others[i];
	memcpy(sum, counters, sizeof(counters));
}

static void
print_work(const host_totals *host)
{
	printf(
		"simulate: %llu found, %llu read only answers, %llu pages read; sparse chapters: %llu "
		"hooks found, %llu names beside them, %llu hooks triaged, %llu loads, %llu given up, %llu "
		"not queued\n",
		N(host->found),
		N(host->read_only_answers),
		N(host->reads),
		N(host->found_sparse),
		N(host->found_beside),
		N(host->triaged),
		N(host->loads),
		N(host->failed_loads),
		N(host->dropped_loads));
	printf(
		"simulate: %llu checkpoints, %llu rebuilds, %llu resets, %llu moves, %llu directories refused, "
		"%llu times suspended, %llu reduced, %llu chapters verified, %llu early stops; restarts of %llu zones and writers and %llu readers; "
		"%llu workers died, with %llu requests\n",
		N(host->checkpoints),
		N(host->rebuilds),
		N(host->resets),
		N(host->moves),
		N(host->refused_places),
		N(host->suspensions),
		N(host->reductions),
		N(host->verified),
		N(host->early_stops),
		N(host->restarts),
		N(host->reader_restarts),
		N(host->deaths),
		N(host->lost_requests));
}

static void
print_faults(const totals *totals)
{
	const sim_counts *counts = &totals->counts;
	const sim_losses *losses = &totals->losses;

	printf(
		"simulate: %llu faults: %llu opens, %llu reads, %llu writes, %llu for want of space, %llu "
		"syncs (%llu reverted), %llu of the directory; %llu short writes, %llu short reads, %llu "
		"delays, %llu stalls\n",
		N(totals->faults),
		N(counts->bad_opens),
		N(counts->bad_reads),
		N(counts->bad_writes),
		N(counts->no_space),
		N(counts->bad_syncs),
		N(losses->reverted_syncs),
		N(counts->bad_directory),
		N(counts->short_writes),
		N(counts->short_reads),
		N(counts->delays),
		N(counts->stalls));
	printf(
		"simulate: %llu power losses: %llu writes lost, %llu torn, %llu sectors torn, %llu files "
		"out of order, %llu changes of the directory lost\n",
		N(totals->power_losses),
		N(losses->lost_writes),
		N(losses->torn_writes),
		N(losses->torn_sectors),
		N(losses->reordered),
		N(losses->lost_renames));
}

void
totals_print(const totals *totals)
{
	print_work(&totals->host);
	print_faults(totals);
	printf(
		"simulate: %llu seeds (%llu with lost data), %llu points, %llu requests, %llu crashes, %llu "
		"recoveries, %llu failures\n",
		N(totals->seeds),
		N(totals->relaxed),
		N(totals->points),
		N(totals->host.answered),
		N(totals->crashes),
		N(totals->host.recoveries),
		N(totals->failures));
}
