/*
 * session.c: a backend's way to the zones.
 *
 * Items are sorted by zone, in their order, and sent in messages of at most a quarter of a ring,
 * at most two of which are in flight in a channel.  What a cancelled statement has left in flight
 * counts as well; its replies are skipped by their batch ids, which grow for the life of the slot.
 *
 * A request is sent once.  When a worker goes away with a request of the running statement in its
 * hands, the statement fails; one that leaves in order has answered everything before, so that the
 * session only offers its channel anew and waits for the successor.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "message.h"
#include "poll.h"
#include "report.h"
#include "session.h"
#include "settings.h"
#include "shared.h"

#define UDSPG_SESSION_IN_FLIGHT_MAX 2
#define UDSPG_SESSION_CLAIM_MS      1000 /* to wait for slots that are being closed */
#define UDSPG_SESSION_CLAIM_LOOK_MS 10
#define UDSPG_SESSION_LOOK_MS       1000 /* looks in between whether the index is still there */

/* A message that is not answered yet. */
typedef struct udspg_sent
{
	uint64 batch_id;
	uint32 first; /* its items are order[first .. first + count - 1] */
	uint32 count;
	bool is_stale; /* of a statement that has ended: nobody wants the reply */
} udspg_sent;

/* The way to one zone. */
typedef struct udspg_session_channel
{
	udspg_channel_ends ends;
	udspg_sent sent[UDSPG_SESSION_IN_FLIGHT_MAX];
	uint32 sent_count;
	bool is_half_sent; /* the ring has a part of a message */

	/* of the running statement: order[next .. end - 1] has to be sent */
	uint32 next;
	uint32 end;
} udspg_session_channel;

/* This backend's session: claimed at first use. */
static struct
{
	bool is_claimed;
	bool has_callback;
	uint32 slot;
	bool is_polling;               /* the channels say so */
	udspg_message_header *message; /* room for the largest one */
	udspg_poll poll;
	udspg_session_channel channels[UDS_ZONES_MAX];
} session = { .poll = { .tries_in_row = 8, .try_factor = 5 } };

/* A running call of udspg_session_execute. */
typedef struct udspg_call
{
	udspg_item *items;
	uint32 count;
	uint32 *order; /* positions of the items, by zone; NULL = as they are */
	uint32 answered;
	bool is_prepared;        /* to sleep on udspg_shared.changed */
	TimestampTz waits_since; /* 0 = it has not slept yet */
} udspg_call;

void
udspg_require_loaded(void)
{
	if (udspg_shared_header == NULL)
		ereport(ERROR,
		        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		        errmsg("uds must be loaded via shared_preload_libraries"),
		        errhint("Add shared_preload_libraries = 'uds' to postgresql.conf and restart the "
		                "server."));
}

/* ---- claim of a slot ---------------------------------------------------------------------------- */

/* before_shmem_exit: give everything back; never waits, never throws. */
static void
udspg_session_at_exit(int code, Datum argument)
{
	udspg_poll_count_out();
	if (!session.is_claimed)
		return;
	for (uint32 zone = 0; zone < udspg_shared_header->zone_count; zone++)
		udspg_channel_close(session.slot, zone, &session.channels[zone].ends);
	session.is_claimed = false;
	pg_write_barrier();
	pg_atomic_write_u32(&udspg_shared_slot(session.slot)->pid, 0);
}

/* Can the slot be claimed?  A free one may still be waiting for a worker to let go of it. */
static bool
udspg_session_slot_is_free(uint32 slot, bool *is_closing)
{
	if (pg_atomic_read_u32(&udspg_shared_slot(slot)->pid) != 0)
		return false;
	for (uint32 zone = 0; zone < udspg_shared_header->zone_count; zone++)
		if (udspg_channel_read_state(udspg_shared_channel(slot, zone)) != UDSPG_CHANNEL_EMPTY)
		{
			*is_closing = true;
			return false;
		}
	return true;
}

/* Claim a slot; false when none is free, *is_closing when one will soon be. */
static bool
udspg_session_try_claim(bool *is_closing)
{
	udspg_shared *header = udspg_shared_header;
	bool found = false;

	*is_closing = false;
	LWLockAcquire(header->lock, LW_EXCLUSIVE);
	for (uint32 slot = 0; slot < header->slot_count && !found; slot++)
		if (udspg_session_slot_is_free(slot, is_closing))
		{
			udspg_slot *shared = udspg_shared_slot(slot);

			session.slot = slot;
			session.is_claimed = true;
			/* Before the slot shows up in uds_sessions. */
			pg_atomic_write_u32(&shared->in_flight, 0);
			pg_atomic_write_u64(&shared->requests, 0);
			pg_atomic_write_u64(&shared->waits, 0);
			pg_write_barrier();
			pg_atomic_write_u32(&shared->pid, (uint32) MyProcPid);
			found = true;
		}
	LWLockRelease(header->lock);
	return found;
}

static void
udspg_session_claim(void)
{
	udspg_shared *header = udspg_shared_header;
	TimestampTz start = 0;
	bool is_closing;

	if (!session.has_callback)
	{
		before_shmem_exit(udspg_session_at_exit, (Datum) 0);
		session.has_callback = true;
	}
	if (session.message == NULL)
		session.message =
			MemoryContextAlloc(TopMemoryContext, udspg_message_request_bytes(header->batch_max));

	while (!udspg_session_try_claim(&is_closing))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (start == 0)
			start = now;
		if (!is_closing || TimestampDifferenceExceeds(start, now, UDSPG_SESSION_CLAIM_MS))
			ereport(ERROR,
			        errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			        errmsg("too many sessions use uds already"),
			        errdetail("There are slots for %u sessions.", header->slot_count),
			        errhint("Raise \"uds.max_sessions\"."));
		for (uint32 zone = 0; zone < header->zone_count; zone++)
			udspg_shared_wake(UDS_WORKER_ZONE + zone);
		(void) WaitLatch(MyLatch,
		                 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
		                 UDSPG_SESSION_CLAIM_LOOK_MS,
		                 udspg_compat_wait_event(UDSPG_WAIT_READY));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}

	memset(session.channels, 0, sizeof(session.channels));
}

/* ---- waiting ------------------------------------------------------------------------------------ */

/* Milliseconds that this wait may still last, at most UDSPG_SESSION_LOOK_MS. */
static long
udspg_session_time_left(TimestampTz *since)
{
	TimestampTz now = GetCurrentTimestamp();
	long left;

	if (*since == 0)
		*since = now;
	if (udspg_wait_timeout == 0)
		return UDSPG_SESSION_LOOK_MS;
	left = udspg_wait_timeout - TimestampDifferenceMilliseconds(*since, now);
	return Min(Max(left, 0), UDSPG_SESSION_LOOK_MS);
}

static void
udspg_session_throw_timeout(bool is_in_flight)
{
	char reason[UDS_ERROR_TEXT_BYTES];
	uds_state state = udspg_state(reason);

	ereport(ERROR,
	        errcode(ERRCODE_LOCK_NOT_AVAILABLE),
	        errmsg("uds did not answer within \"uds.wait_timeout\""),
	        errdetail("Its state is %s%s%s.%s",
	                  udspg_state_name(state),
	                  reason[0] != '\0' ? ": " : "",
	                  reason,
	                  is_in_flight ? "  The request may or may not have been executed." : ""));
}

static bool
udspg_session_index_is_ready(void)
{
	return udspg_index() != NULL && pg_atomic_read_u32(&udspg_shared_header->is_offline) == 0 &&
	       uds_state_executes(uds_index_state(udspg_index()));
}

void
udspg_session_wait_until_ready(void)
{
	TimestampTz since = 0;

	while (!udspg_session_index_is_ready())
	{
		long left;

		ConditionVariablePrepareToSleep(&udspg_shared_header->changed);
		if (udspg_session_index_is_ready())
			break;
		/* Between the two looks it may have become ready; all other states wait or throw. */
		if (udspg_state(NULL) == UDS_STATE_OFFLINE)
			udspg_report_state(UDS_STATE_OFFLINE);
		left = udspg_session_time_left(&since);
		if (left == 0)
			udspg_session_throw_timeout(false);
		(void) ConditionVariableTimedSleep(&udspg_shared_header->changed,
		                                   left,
		                                   udspg_compat_wait_event(UDSPG_WAIT_READY));
		ConditionVariableCancelSleep();
	}
	ConditionVariableCancelSleep();
}

/* ---- replies ------------------------------------------------------------------------------------ */

static void
udspg_session_update_in_flight(void)
{
	uint32 count = 0;

	for (uint32 zone = 0; zone < udspg_shared_header->zone_count; zone++)
		for (uint32 i = 0; i < session.channels[zone].sent_count; i++)
			count += session.channels[zone].sent[i].count;
	pg_atomic_write_u32(&udspg_shared_slot(session.slot)->in_flight, count);
}

/* End a channel, with all that is in flight in it. */
static void
udspg_session_close_channel(uint32 zone)
{
	udspg_session_channel *channel = &session.channels[zone];

	udspg_channel_close(session.slot, zone, &channel->ends);
	channel->sent_count = 0;
	channel->is_half_sent = false;
}

/* The worker has gone.  An error unless everything in flight is of earlier statements. */
static void
udspg_session_lose_channel(uint32 zone)
{
	udspg_session_channel *channel = &session.channels[zone];
	uint32 lost = 0;

	for (uint32 i = 0; i < channel->sent_count; i++)
		if (!channel->sent[i].is_stale)
			lost += channel->sent[i].count;
	udspg_session_close_channel(zone);
	if (lost > 0)
		ereport(ERROR,
		        errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN),
		        errmsg("worker of uds zone %u went away before it answered", zone),
		        lost == 1
		            ? errdetail("The request may or may not have been executed.")
		            : errdetail("Up to %u requests may or may not have been executed.", lost));
}

static void
udspg_session_throw_malformed(uint32 zone)
{
	udspg_session_close_channel(zone);
	ereport(ERROR,
	        errcode(ERRCODE_PROTOCOL_VIOLATION),
	        errmsg("worker of uds zone %u has sent a malformed reply", zone));
}

/* Hand the results of a reply to their items. */
static void
udspg_session_take_results(udspg_call *call, const udspg_sent *sent,
                           const udspg_reply_item *results)
{
	for (uint32 i = 0; i < sent->count; i++)
	{
		uint32 position = sent->first + i;
		udspg_item *item = &call->items[call->order != NULL ? call->order[position] : position];

		item->status = results[i].status;
		item->found = results[i].found;
		item->region = results[i].region;
		item->found_metadata = results[i].metadata;
	}
	call->answered += sent->count;
}

static void
udspg_session_take_reply(udspg_call *call, uint32 zone, const udspg_message_header *reply,
                         Size bytes)
{
	udspg_session_channel *channel = &session.channels[zone];
	uint32 i = 0;

	if (!udspg_message_reply_is_sound(reply, bytes, udspg_shared_header->batch_max))
		udspg_session_throw_malformed(zone);
	while (i < channel->sent_count && channel->sent[i].batch_id != reply->batch_id)
		i++;
	if (i == channel->sent_count || channel->sent[i].count != reply->count)
		udspg_session_throw_malformed(zone);

	if (!channel->sent[i].is_stale)
		udspg_session_take_results(call, &channel->sent[i], (const udspg_reply_item *) (reply + 1));
	channel->sent[i] = channel->sent[--channel->sent_count];
}

/* Take what has come from a zone; true when something has. */
static bool
udspg_session_receive(udspg_call *call, uint32 zone)
{
	udspg_session_channel *channel = &session.channels[zone];
	bool has_progress = false;
	bool is_broken = false;

	while (channel->sent_count > 0)
	{
		Size bytes;
		void *data;

		switch (shm_mq_receive(channel->ends.in, &bytes, &data, true))
		{
			case SHM_MQ_SUCCESS:
				udspg_session_take_reply(call, zone, data, bytes);
				has_progress = true;
				break;
			case SHM_MQ_WOULD_BLOCK:
				/* What the worker sent before it went away is still there: look once more. */
				if (is_broken)
					udspg_session_lose_channel(zone);
				else if (udspg_channel_read_state(udspg_shared_channel(session.slot, zone)) !=
				         UDSPG_CHANNEL_BROKEN)
					return has_progress;
				is_broken = true;
				pg_read_barrier();
				break;
			case SHM_MQ_DETACHED:
				udspg_session_lose_channel(zone);
				return true;
		}
	}
	return has_progress;
}

/* ---- requests ----------------------------------------------------------------------------------- */

/* Tell the workers whether this session polls for replies or sleeps; rarely a change. */
static void
udspg_session_tell_polling(bool is_polling)
{
	if (session.is_polling == is_polling)
		return;
	session.is_polling = is_polling;
	for (uint32 zone = 0; zone < udspg_shared_header->zone_count; zone++)
		pg_atomic_write_u32(&udspg_shared_channel(session.slot, zone)->is_polling, is_polling);
}

static void
udspg_session_sleep(udspg_call *call)
{
	long left = udspg_session_time_left(&call->waits_since);
	udspg_slot *slot = udspg_shared_slot(session.slot);
	int events;

	if (left == 0)
		udspg_session_throw_timeout(true);
	pg_atomic_write_u64(&slot->waits, pg_atomic_read_u64(&slot->waits) + 1);
	udspg_session_tell_polling(false);
	udspg_poll_count_out();
	events = WaitLatch(MyLatch,
	                   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
	                   left,
	                   udspg_compat_wait_event(UDSPG_WAIT_ANSWER));
	udspg_poll_count_in();
	if (call->is_prepared)
		ConditionVariableCancelSleep();
	call->is_prepared = false;
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if ((events & WL_TIMEOUT) && udspg_state(NULL) == UDS_STATE_OFFLINE)
		udspg_report_state(UDS_STATE_OFFLINE);
}

/* Poll for replies; true when one has come. */
static bool
udspg_session_poll(udspg_call *call)
{
	bool has_paid = false;

	if (!udspg_poll_begin(&session.poll, false))
		return false;
	udspg_session_tell_polling(true);
	while (!has_paid && udspg_poll_goes_on(&session.poll))
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 zone = 0; zone < udspg_shared_header->zone_count; zone++)
			if (udspg_session_receive(call, zone))
				has_paid = true;
	}
	udspg_poll_end(&session.poll, has_paid);
	return has_paid;
}

/*
 * Nothing can be sent or received now: wait.  is_blocked: a worker leaves or there is none, so that
 * its successor's start is waited for as well.
 */
static void
udspg_session_wait(udspg_call *call, bool is_blocked)
{
	if (is_blocked && !call->is_prepared)
	{
		/* Look once more before the first sleep: the start may have been a moment ago. */
		ConditionVariablePrepareToSleep(&udspg_shared_header->changed);
		call->is_prepared = true;
		return;
	}
	if (!is_blocked && udspg_session_poll(call))
		return;
	udspg_session_sleep(call);
}

/* Have a channel that can be sent to; false when its worker leaves or has just left. */
static bool
udspg_session_prepare_channel(uint32 zone)
{
	udspg_session_channel *channel = &session.channels[zone];
	udspg_channel_state state = udspg_channel_read_state(udspg_shared_channel(session.slot, zone));

	if (state == UDSPG_CHANNEL_BROKEN)
	{
		/* What is in flight in it ends first, in udspg_session_receive. */
		if (channel->sent_count > 0)
			return false;
		udspg_session_close_channel(zone);
		state = UDSPG_CHANNEL_EMPTY;
	}
	if (state == UDSPG_CHANNEL_EMPTY)
	{
		if (pg_atomic_read_u32(&udspg_shared_header->workers[UDS_WORKER_ZONE + zone].is_leaving) !=
		    0)
			return false;
		udspg_channel_offer(session.slot, zone, &channel->ends);
	}
	return true;
}

/* Write the next message of a zone; its number of items. */
static uint32
udspg_session_write_message(udspg_call *call, uint32 zone)
{
	udspg_session_channel *channel = &session.channels[zone];
	uint32 count = Min(channel->end - channel->next, udspg_shared_header->batch_max);
	udspg_message_header *header = session.message;
	udspg_request_item *requests = (udspg_request_item *) (header + 1);

	header->batch_id = ++udspg_shared_slot(session.slot)->next_batch_id;
	header->count = (uint16) count;
	header->version = UDSPG_MESSAGE_VERSION;
	header->reserved = 0;
	for (uint32 i = 0; i < count; i++)
	{
		uint32 position = channel->next + i;
		const udspg_item *item =
			&call->items[call->order != NULL ? call->order[position] : position];

		requests[i].operation = item->operation;
		requests[i].flags = 0;
		requests[i].reserved = 0;
		requests[i].token = 0;
		requests[i].name = item->name;
		requests[i].metadata = item->metadata;
	}
	return count;
}

/* Send one message to a zone; false when it cannot be sent now. */
static bool
udspg_session_send(udspg_call *call, uint32 zone)
{
	udspg_session_channel *channel = &session.channels[zone];
	udspg_slot *slot = udspg_shared_slot(session.slot);
	udspg_send_result result;
	uint32 count;

	if (!udspg_session_prepare_channel(zone))
		return false;
	count = udspg_session_write_message(call, zone);
	for (;;)
	{
		result = udspg_channel_send(session.slot,
		                            zone,
		                            &channel->ends,
		                            session.message,
		                            udspg_message_request_bytes(count));
		if (result != UDSPG_SEND_AGAIN)
			break;
		/* Room in the ring for all that may be in flight makes this rare, if not impossible. */
		channel->is_half_sent = true;
		udspg_session_sleep(call);
	}
	channel->is_half_sent = false;
	if (result != UDSPG_SEND_DONE)
		return false;

	channel->sent[channel->sent_count++] = (udspg_sent){
		.batch_id = session.message->batch_id,
		.first = channel->next,
		.count = count,
		.is_stale = false,
	};
	channel->next += count;
	pg_atomic_write_u64(&slot->requests, pg_atomic_read_u64(&slot->requests) + count);
	return true;
}

/* ---- a call ------------------------------------------------------------------------------------- */

/* Sort the items by zone, those of a zone in their order. */
static void
udspg_session_distribute(udspg_call *call)
{
	uint32 zones = udspg_shared_header->zone_count;
	uint32 starts[UDS_ZONES_MAX] = { 0 };
	uint8 *zone_of;
	uint32 sum = 0;

	if (zones == 1)
	{
		session.channels[0].next = 0;
		session.channels[0].end = call->count;
		return;
	}

	zone_of = palloc(call->count);
	call->order = palloc(mul_size(call->count, sizeof(uint32)));
	for (uint32 i = 0; i < call->count; i++)
	{
		zone_of[i] = (uint8) uds_index_zone_of(udspg_index(), &call->items[i].name);
		starts[zone_of[i]]++;
	}
	for (uint32 zone = 0; zone < zones; zone++)
	{
		session.channels[zone].next = sum;
		sum += starts[zone];
		starts[zone] = session.channels[zone].next;
		session.channels[zone].end = sum;
	}
	for (uint32 i = 0; i < call->count; i++)
		call->order[starts[zone_of[i]]++] = i;
	pfree(zone_of);
}

static void
udspg_session_run(udspg_call *call)
{
	uint32 zones = udspg_shared_header->zone_count;

	while (call->answered < call->count)
	{
		bool has_progress = false;
		bool is_blocked = false;

		CHECK_FOR_INTERRUPTS();
		for (uint32 zone = 0; zone < zones; zone++)
		{
			udspg_session_channel *channel = &session.channels[zone];

			if (udspg_session_receive(call, zone))
				has_progress = true;
			while (channel->next < channel->end &&
			       channel->sent_count < UDSPG_SESSION_IN_FLIGHT_MAX)
			{
				if (!udspg_session_send(call, zone))
				{
					is_blocked = true;
					break;
				}
				has_progress = true;
			}
		}
		udspg_session_update_in_flight();
		if (!has_progress)
			udspg_session_wait(call, is_blocked);
	}
	udspg_session_update_in_flight();
	if (call->is_prepared)
		ConditionVariableCancelSleep();
}

/* After an error: what is in flight belongs to nobody. */
static void
udspg_session_abandon(void)
{
	udspg_poll_count_out();
	for (uint32 zone = 0; zone < udspg_shared_header->zone_count; zone++)
	{
		udspg_session_channel *channel = &session.channels[zone];

		if (channel->is_half_sent)
			udspg_session_close_channel(zone);
		for (uint32 i = 0; i < channel->sent_count; i++)
			channel->sent[i].is_stale = true;
	}
	udspg_session_update_in_flight();
}

/* Throw for the first item that was answered with an error. */
static void
udspg_session_check_results(const udspg_item *items, int count)
{
	for (int i = 0; i < count; i++)
	{
		uds_status status = (uds_status) items[i].status;
		char reason[UDS_ERROR_TEXT_BYTES];

		if (likely(status == UDS_OK))
			continue;
		if (status == UDS_ERR_READ_ONLY)
		{
			(void) udspg_state(reason);
			ereport(ERROR,
			        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			        errmsg("uds is read only"),
			        reason[0] != '\0' ? errdetail_internal("%s", reason) : 0,
			        errhint("When the cause is removed, uds_checkpoint() tries to write again."));
		}
		udspg_report(ERROR, status, NULL);
	}
}

void
udspg_session_execute(udspg_item *items, int count)
{
	udspg_call call = { .items = items, .count = (uint32) count };

	udspg_require_loaded();
	if (count == 0)
		return;
	udspg_session_wait_until_ready();
	if (!session.is_claimed)
		udspg_session_claim();

	udspg_session_distribute(&call);
	udspg_poll_count_in();
	PG_TRY();
	{
		udspg_session_run(&call);
	}
	PG_CATCH();
	{
		udspg_session_abandon();
		PG_RE_THROW();
	}
	PG_END_TRY();
	udspg_poll_count_out();
	if (call.order != NULL)
		pfree(call.order);
	udspg_session_check_results(items, count);
}
