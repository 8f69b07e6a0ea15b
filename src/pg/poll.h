/*
 * poll.h: polling for a short time before a process sleeps.
 *
 * A wake-up across CPUs takes tens of microseconds, an answer often less than one.  But a process
 * that polls takes the CPU from the one that it waits for when there are not enough CPUs, so that
 * it gives way: it does not poll when more processes of this extension could run, or more sessions
 * are at work, than there are CPUs, and when polls did not pay it only tries now and then.
 *
 * Polling pays only when both sides do it: a worker that sleeps answers too late for a session
 * that polls, and a session that sleeps asks too late for a worker that polls.  So that a disturbance
 * does not leave both asleep for good, a session tries several times in a row, and long enough for
 * the worker to wake up; and it says so (udspg_channel.is_polling), upon which the worker tries more
 * often.
 */
#ifndef UDSPG_POLL_H
#define UDSPG_POLL_H

#include "postgres.h"

#include "portability/instr_time.h"

/* One kind of wait of one process.  Starts as zeros, but for the first two. */
typedef struct udspg_poll
{
	uint32 tries_in_row; /* const: polls of one try, when polls do not pay; at least 1 */
	uint32 try_factor;   /* const: how many times longer than uds.spin_time those are */
	int balance;         /* grows when polls pay, shrinks when they do not */
	uint32 passed;       /* waits since the last poll */
	uint32 tries_left;   /* of the present try */
	uint32 rounds;       /* of the present poll */
	double limit_ms;     /* of the present poll */
	instr_time start;
} udspg_poll;

/*
 * Count this process among the runnable ones, or not: before and after it sleeps, and when it
 * begins and ends to work for the extension.  Calls have no effect when nothing changes.
 */
extern void udspg_poll_count_in(void);
extern void udspg_poll_count_out(void);

/* Is a poll worth while now?  is_expected: the other side is polling, too. */
extern bool udspg_poll_begin(udspg_poll *poll, bool is_expected);

/* Relax the CPU for a moment; false when the time is over. */
extern bool udspg_poll_goes_on(udspg_poll *poll);

/* The poll has ended: did what it waited for come? */
extern void udspg_poll_end(udspg_poll *poll, bool has_come);

#endif
