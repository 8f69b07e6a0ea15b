/*
 * host_verifier.c: a session of the simulated server that verifies the volume, beside everything
 * else.
 */
#include "host.h"

/* One pass over the volume. */
static void
verify(host *host, uds_verifier *verifier)
{
	uds_problem problem;
	uint32_t count = 0;
	uds_status status;

	while ((status = uds_verifier_next(verifier, &problem, 1, &count)) == UDS_OK &&
	       !host->is_stopping)
	{
		host->totals.verified++;
		if (count > 0 && host->sim->read_faults == 0)
			sim_fail(host->sim,
			         "chapter %llu is bad: page %u %s",
			         (unsigned long long) problem.chapter,
			         problem.page,
			         problem.text);
	}
	if (uds_status_is_error(status) && host->sim->read_faults == 0)
		sim_fail(host->sim, "verifier returns %d", status);
}

void
host_verifier_main(void *argument)
{
	host *host = argument;
	uds_port port = { .sim = host->sim, .worker = HOST_VERIFIER };

	while (!host->is_stopping && host->clients_left > 0)
	{
		uds_verifier *verifier;
		uds_error error;
		void *memory;

		sim_sleep(host->sim, uds_random_below(host->random, 50000000));
		if (host->is_stopping || atomic_load(&host->index->epoch) == 0)
			continue;
		memory = host_allocate(host, uds_verifier_size(host->index));
		if (uds_verifier_open(memory, host->index, &port, &verifier, &error) != UDS_OK)
			continue;
		verify(host, verifier);
		uds_verifier_close(verifier);
	}
}
