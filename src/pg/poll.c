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
#define UDSPG_POLL_EXPECTED    4  /* the same, when the other side is polling */
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

/* When polls do not pay: is it time for a try? */
static bool
udspg_poll_is_try(udspg_poll *poll, bool is_expected)
{
	if (poll->tries_left > 0)
	{
		poll->tries_left--;
		return true;
	}
	if (++poll->passed < (is_expected ? UDSPG_POLL_EXPECTED : UDSPG_POLL_TRY_EVERY))
		return false;
	poll->tries_left = poll->tries_in_row - 1;
	return true;
}

/*
 * Are more sessions at work than there are CPUs?  Then what is waited for comes when others have
 * had the CPU, not sooner.  Not all of them can be seen among the runnable ones: between two calls a
 * session does other things.
 */
static bool
udspg_poll_is_crowded(void)
{
	udspg_shared *header = udspg_shared_header;

	for (uint32 lane = 0; lane < header->lane_count; lane++)
		if (pg_atomic_read_u32(&header->workers[udspg_shared_lane_worker(lane)].crowd) >
		    (uint32) header->cpu_count)
			return true;
	return false;
}

bool
udspg_poll_begin(udspg_poll *poll, bool is_expected)
{
	udspg_shared *header = udspg_shared_header;

	if (udspg_spin_time <= 0.0 || header->cpu_count < 2 ||
	    pg_atomic_read_u32(&header->runnable) > (uint32) header->cpu_count ||
	    udspg_poll_is_crowded())
		return false;
	poll->limit_ms = udspg_spin_time;
	if (poll->balance < 0)
	{
		if (!udspg_poll_is_try(poll, is_expected))
			return false;
		poll->limit_ms *= poll->try_factor;
	}
	poll->passed = 0;
	poll->rounds = 0;
	INSTR_TIME_SET_CURRENT(poll->start);
	return true;
}

static double
udspg_poll_elapsed_ms(const udspg_poll *poll)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, poll->start);
	return INSTR_TIME_GET_MILLISEC(now);
}

bool
udspg_poll_goes_on(udspg_poll *poll)
{
	SPIN_DELAY();
	return ++poll->rounds % UDSPG_POLL_CLOCK_EVERY != 0 ||
	       udspg_poll_elapsed_ms(poll) < poll->limit_ms;
}

void
udspg_poll_end(udspg_poll *poll, bool has_come)
{
	bool is_in_time = udspg_poll_elapsed_ms(poll) < udspg_spin_time;

	if (has_come && is_in_time)
	{
		/* A try that has paid: poll again. */
		poll->balance = poll->balance < 0 ? 0 : Min(poll->balance + 1, UDSPG_POLL_BALANCE_MAX);
		poll->tries_left = 0;
		return;
	}
	/* In a try the other side may have been asleep at first. */
	if (has_come && poll->tries_left > 0)
		return;
	/* Late, it came while this process did not have the CPU: then sleeping is as good. */
	poll->balance = Max(poll->balance - UDSPG_POLL_LOSS, UDSPG_POLL_BALANCE_MIN);
	if (!has_come)
		poll->tries_left = 0;
}
