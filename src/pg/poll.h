/*
 * poll.h: polling for a short time before a process sleeps.
 *
 * A wake-up across CPUs takes tens of microseconds, an answer often less than one.  But a process
 * that polls takes the CPU from the one that it waits for when there are not enough CPUs, so that
 * it gives way: it does not poll when more processes of this extension could run than there are
 * CPUs, and it stops to poll, but for a try now and then, when polls did not pay.
 */
#ifndef UDSPG_POLL_H
#define UDSPG_POLL_H

#include "postgres.h"

#include "portability/instr_time.h"

/* One kind of wait of one process.  Starts as zeros. */
typedef struct udspg_poll
{
	int balance;   /* grows when polls pay, shrinks when they do not */
	uint32 passed; /* waits since the last poll */
	uint32 rounds; /* of the present poll */
	instr_time start;
} udspg_poll;

/*
 * Count this process among the runnable ones, or not: before and after it sleeps, and when it
 * begins and ends to work for the extension.  Calls have no effect when nothing changes.
 */
extern void udspg_poll_count_in(void);
extern void udspg_poll_count_out(void);

/* Is a poll worth while now? */
extern bool udspg_poll_begin(udspg_poll *poll);

/* Relax the CPU for a moment; false when the time is over. */
extern bool udspg_poll_goes_on(udspg_poll *poll);

/* The poll has ended: did what it waited for come? */
extern void udspg_poll_end(udspg_poll *poll, bool has_paid);

#endif
