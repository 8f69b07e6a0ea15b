/*
 * poll.c: polling for a short time before a process sleeps.
 */
#include "postgres.h"

#include "storage/s_lock.h"

#include "poll.h"
#include "settings.h"
#include "shared.h"

#define UDSPG_POLL_BALANCE_MAX 16
#define UDSPG_POLL_BALANCE_MIN (-16)
#define UDSPG_POLL_LOSS        2  /* of a poll that did not pay, against 1 of one that did */
#define UDSPG_POLL_TRY_EVERY   64 /* waits, when polls do not pay */
#define UDSPG_POLL_CLOCK_EVERY 8  /* rounds; reading the clock takes as long as some of them */

static bool is_counted = false;

void
udspg_poll_count_in(void)
{
	if (!is_counted)
	{
		pg_atomic_fetch_add_u32(&udspg_shared_header->runnable, 1);
		is_counted = true;
	}
}

void
udspg_poll_count_out(void)
{
	if (is_counted)
	{
		pg_atomic_fetch_sub_u32(&udspg_shared_header->runnable, 1);
		is_counted = false;
	}
}

bool
udspg_poll_begin(udspg_poll *poll)
{
	udspg_shared *header = udspg_shared_header;

	if (udspg_spin_time <= 0.0 || header->cpu_count < 2 ||
	    pg_atomic_read_u32(&header->runnable) > (uint32) header->cpu_count)
		return false;
	if (poll->balance < 0 && ++poll->passed < UDSPG_POLL_TRY_EVERY)
		return false;
	poll->passed = 0;
	poll->rounds = 0;
	INSTR_TIME_SET_CURRENT(poll->start);
	return true;
}

bool
udspg_poll_goes_on(udspg_poll *poll)
{
	instr_time now;

	SPIN_DELAY();
	if (++poll->rounds % UDSPG_POLL_CLOCK_EVERY != 0)
		return true;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, poll->start);
	return INSTR_TIME_GET_MILLISEC(now) < udspg_spin_time;
}

void
udspg_poll_end(udspg_poll *poll, bool has_paid)
{
	if (!has_paid)
		poll->balance = Max(poll->balance - UDSPG_POLL_LOSS, UDSPG_POLL_BALANCE_MIN);
	else if (poll->balance < 0)
		poll->balance = 0; /* a try has paid: poll again */
	else
		poll->balance = Min(poll->balance + 1, UDSPG_POLL_BALANCE_MAX);
}
