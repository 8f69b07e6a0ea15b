/*
 * session.c: a backend's ends of its lanes.
 *
 * Items are sorted by zone, in their order, and sent in messages of at most a quarter of a ring,
 * at most two of which are in flight in a channel.  What a cancelled statement has left in flight
 * counts as well; its replies are skipped by their batch ids, which grow for the life of the slot.
 *
 * A request is sent once.  When a worker goes away with a request of the running statement in its
 * hands, the statement fails; one that leaves in order has answered everything before, so that the
 * session only offers its channel anew and waits for the successor.
 *
 * With a triage worker, items are worked through in pieces: the hooks of a piece are shown to it
 * before the piece is sent to the zones.  Without its answers neighbours of the hooks may not be
 * found, which is all: a session waits for them as long as the worker is there, and goes on without
 * them when it is not.
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
#define UDSPG_SESSION_PIECE_MAX     4096 /* items between two calls of triage */

/* A message that is not answered yet. */
typedef struct udspg_sent
{
	uint64 batch_id;
	uint32 first; /* its items are order[first .. first + count - 1] */
	uint32 count;
	bool is_stale; /* of a statement that has ended: nobody wants the reply */
} udspg_sent;

/* The end of one lane. */
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
	udspg_session_channel channels[UDSPG_LANES_MAX];
} session = { .poll = { .tries_in_row = 8, .try_factor = 5 } };

/* A running call of udspg_session_execute. */
typedef struct udspg_call
{
	bool is_prepared;        /* to sleep on udspg_shared.changed */
	TimestampTz waits_since; /* 0 = it has not slept yet */

	/* what is executed now */
	udspg_item *items;
	uint32 count;
	uint32 *order; /* positions of the items, by zone; NULL = as they are */
	uint32 answered;
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
	for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
		udspg_channel_close(session.slot, lane, &session.channels[lane].ends);
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
	for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
		if (udspg_channel_read_state(udspg_shared_channel(slot, lane)) != UDSPG_CHANNEL_EMPTY)
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
		for (uint32 lane = 0; lane < header->lane_count; lane++)
			udspg_shared_wake(udspg_shared_lane_worker(lane));
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

	for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
		for (uint32 i = 0; i < session.channels[lane].sent_count; i++)
			count += session.channels[lane].sent[i].count;
	pg_atomic_write_u32(&udspg_shared_slot(session.slot)->in_flight, count);
}

/* End a channel, with all that is in flight in it. */
static void
udspg_session_close_channel(uint32 lane)
{
	udspg_session_channel *channel = &session.channels[lane];

	udspg_channel_close(session.slot, lane, &channel->ends);
	channel->sent_count = 0;
	channel->is_half_sent = false;
}

/* Go on without the triage worker: what it has not answered counts as answered. */
static void
udspg_session_give_up_triage(udspg_call *call)
{
	udspg_session_channel *channel = &session.channels[udspg_shared_triage_lane()];

	call->answered += channel->end - channel->next;
	channel->next = channel->end;
	for (uint32 i = 0; i < channel->sent_count; i++)
	{
		if (!channel->sent[i].is_stale)
			call->answered += channel->sent[i].count;
		channel->sent[i].is_stale = true;
	}
}

/*
 * The worker has gone.  An error unless everything in flight is of earlier statements, or nobody
 * needs the answers.
 */
static void
udspg_session_lose_channel(udspg_call *call, uint32 lane)
{
	udspg_session_channel *channel = &session.channels[lane];
	uint32 lost = 0;

	if (lane == udspg_shared_triage_lane())
		udspg_session_give_up_triage(call);
	for (uint32 i = 0; i < channel->sent_count; i++)
		if (!channel->sent[i].is_stale)
			lost += channel->sent[i].count;
	udspg_session_close_channel(lane);
	if (lost > 0)
		ereport(ERROR,
		        errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN),
		        errmsg("worker of uds zone %u went away before it answered", lane),
		        lost == 1
		            ? errdetail("The request may or may not have been executed.")
		            : errdetail("Up to %u requests may or may not have been executed.", lost));
}

static void
udspg_session_throw_malformed(uint32 lane)
{
	udspg_session_close_channel(lane);
	ereport(ERROR,
	        errcode(ERRCODE_PROTOCOL_VIOLATION),
	        lane == udspg_shared_triage_lane()
	            ? errmsg("uds triage worker has sent a malformed reply")
	            : errmsg("worker of uds zone %u has sent a malformed reply", lane));
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
udspg_session_take_reply(udspg_call *call, uint32 lane, const udspg_message_header *reply,
                         Size bytes)
{
	udspg_session_channel *channel = &session.channels[lane];
	uint32 i = 0;

	if (!udspg_message_reply_is_sound(reply, bytes, udspg_shared_header->batch_max))
		udspg_session_throw_malformed(lane);
	while (i < channel->sent_count && channel->sent[i].batch_id != reply->batch_id)
		i++;
	if (i == channel->sent_count || channel->sent[i].count != reply->count)
		udspg_session_throw_malformed(lane);

	if (!channel->sent[i].is_stale)
		udspg_session_take_results(call, &channel->sent[i], (const udspg_reply_item *) (reply + 1));
	channel->sent[i] = channel->sent[--channel->sent_count];
}

/* Take what has come through a lane; true when something has. */
static bool
udspg_session_receive(udspg_call *call, uint32 lane)
{
	udspg_session_channel *channel = &session.channels[lane];
	bool has_progress = false;
	bool is_broken = false;

	while (channel->sent_count > 0)
	{
		Size bytes;
		void *data;

		switch (shm_mq_receive(channel->ends.in, &bytes, &data, true))
		{
			case SHM_MQ_SUCCESS:
				udspg_session_take_reply(call, lane, data, bytes);
				has_progress = true;
				break;
			case SHM_MQ_WOULD_BLOCK:
				/* What the worker sent before it went away is still there: look once more. */
				if (is_broken)
					udspg_session_lose_channel(call, lane);
				else if (udspg_channel_read_state(udspg_shared_channel(session.slot, lane)) !=
				         UDSPG_CHANNEL_BROKEN)
					return has_progress;
				is_broken = true;
				pg_read_barrier();
				break;
			case SHM_MQ_DETACHED:
				udspg_session_lose_channel(call, lane);
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
	for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
		pg_atomic_write_u32(&udspg_shared_channel(session.slot, lane)->is_polling, is_polling);
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
		for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
			if (udspg_session_receive(call, lane))
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

/*
 * Will the worker of a lane, or its successor, take an offered channel soon enough to wait for it?
 * A zone's successor always will: nobody else can execute the requests.
 */
static bool
udspg_session_takes_offers(uint32 lane)
{
	uds_worker_id worker = udspg_shared_lane_worker(lane);

	if (pg_atomic_read_u32(&udspg_shared_header->workers[worker].is_leaving) != 0)
		return false;
	return worker != UDS_WORKER_TRIAGE || udspg_worker_pid(worker) != 0;
}

/* Have a channel that can be sent to; false when its worker leaves or has just left. */
static bool
udspg_session_prepare_channel(uint32 lane)
{
	udspg_session_channel *channel = &session.channels[lane];
	udspg_channel_state state = udspg_channel_read_state(udspg_shared_channel(session.slot, lane));

	if (state == UDSPG_CHANNEL_BROKEN)
	{
		/* What is in flight in it ends first, in udspg_session_receive. */
		if (channel->sent_count > 0)
			return false;
		udspg_session_close_channel(lane);
		state = UDSPG_CHANNEL_EMPTY;
	}
	if (state == UDSPG_CHANNEL_EMPTY)
	{
		if (!udspg_session_takes_offers(lane))
			return false;
		udspg_channel_offer(session.slot, lane, &channel->ends);
	}
	return true;
}

/* Write the next message of a lane; its number of items. */
static uint32
udspg_session_write_message(udspg_call *call, uint32 lane)
{
	udspg_session_channel *channel = &session.channels[lane];
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

/* Send one message through a lane; false when it cannot be sent now. */
static bool
udspg_session_send(udspg_call *call, uint32 lane)
{
	udspg_session_channel *channel = &session.channels[lane];
	udspg_slot *slot = udspg_shared_slot(session.slot);
	udspg_send_result result;
	uint32 count;

	if (!udspg_session_prepare_channel(lane))
		return false;
	count = udspg_session_write_message(call, lane);
	for (;;)
	{
		result = udspg_channel_send(session.slot,
		                            lane,
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
	/* What is shown to triage is a request of this call, too: it counts when its zone gets it. */
	if (lane != udspg_shared_triage_lane())
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

/*
 * Send and receive through a lane what can be now; true when something was done.
 * is_blocked  [out]  set when its worker leaves or there is none
 */
static bool
udspg_session_serve(udspg_call *call, uint32 lane, bool *is_blocked)
{
	udspg_session_channel *channel = &session.channels[lane];
	bool has_progress = udspg_session_receive(call, lane);

	while (channel->next < channel->end && channel->sent_count < UDSPG_SESSION_IN_FLIGHT_MAX)
	{
		if (!udspg_session_send(call, lane))
		{
			*is_blocked = true;
			break;
		}
		has_progress = true;
	}
	return has_progress;
}

/*
 * The same for the lane of the triage worker.  When that goes away, nothing is waited for.
 * is_blocked  [out]  set when it may go away without a word, before it has taken the channel
 */
static bool
udspg_session_serve_triage(udspg_call *call, bool *is_blocked)
{
	uint32 lane = udspg_shared_triage_lane();
	udspg_session_channel *channel = &session.channels[lane];
	bool is_leaving = false;
	bool has_progress = udspg_session_serve(call, lane, &is_leaving);

	if (is_leaving)
	{
		udspg_session_give_up_triage(call);
		return true;
	}
	if (channel->sent_count == 0 ||
	    udspg_channel_read_state(udspg_shared_channel(session.slot, lane)) != UDSPG_CHANNEL_OFFERED)
		return has_progress;
	if (udspg_session_takes_offers(lane))
	{
		*is_blocked = true;
		return has_progress;
	}
	udspg_session_lose_channel(call, lane);
	return true;
}

/* Execute what is to be sent through the lanes. */
static void
udspg_session_run(udspg_call *call)
{
	uint32 zones = udspg_shared_header->zone_count;
	bool has_triage = udspg_shared_has_triage();

	while (call->answered < call->count)
	{
		bool has_progress = false;
		bool is_blocked = false;

		CHECK_FOR_INTERRUPTS();
		for (uint32 zone = 0; zone < zones; zone++)
			if (udspg_session_serve(call, zone, &is_blocked))
				has_progress = true;
		if (has_triage && udspg_session_serve_triage(call, &is_blocked))
			has_progress = true;
		udspg_session_update_in_flight();
		if (!has_progress)
			udspg_session_wait(call, is_blocked);
	}
	udspg_session_update_in_flight();
	if (call->is_prepared)
		ConditionVariableCancelSleep();
	call->is_prepared = false;
}

/* Begin with other items; nothing has to be sent yet. */
static void
udspg_session_begin(udspg_call *call, udspg_item *items, uint32 count)
{
	call->items = items;
	call->count = count;
	call->order = NULL;
	call->answered = 0;
	/* A statement that has failed may have left something to be sent. */
	for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
		session.channels[lane].next = session.channels[lane].end = 0;
}

/* Have the zones execute items. */
static void
udspg_session_run_zones(udspg_call *call, udspg_item *items, uint32 count)
{
	udspg_session_begin(call, items, count);
	udspg_session_distribute(call);
	udspg_session_run(call);
	if (call->order != NULL)
		pfree(call->order);
}

/* Show the hooks of items to the triage worker. */
static void
udspg_session_run_triage(udspg_call *call, const udspg_item *items, uint32 count)
{
	const uds_index *index = udspg_index();
	uint32 hook_count = 0;
	udspg_item *hooks;

	for (uint32 i = 0; i < count; i++)
		if (uds_index_needs_triage(index, &items[i].name))
			hook_count++;
	if (hook_count == 0)
		return;

	hooks = palloc0(mul_size(hook_count, sizeof(udspg_item)));
	hook_count = 0;
	for (uint32 i = 0; i < count; i++)
		if (uds_index_needs_triage(index, &items[i].name))
		{
			hooks[hook_count].name = items[i].name;
			hooks[hook_count].operation = UDS_PEEK;
			hook_count++;
		}
	udspg_session_begin(call, hooks, hook_count);
	session.channels[udspg_shared_triage_lane()].end = hook_count;
	udspg_session_run(call);
	pfree(hooks);
}

/* Execute all items. */
static void
udspg_session_run_pieces(udspg_call *call, udspg_item *items, uint32 count)
{
	uint32 piece = count;

	for (uint32 first = 0; first < count; first += piece)
	{
		if (udspg_shared_has_triage())
		{
			piece = Min(count - first, UDSPG_SESSION_PIECE_MAX);
			udspg_session_run_triage(call, items + first, piece);
		}
		udspg_session_run_zones(call, items + first, piece);
	}
}

/* After an error: what is in flight belongs to nobody. */
static void
udspg_session_abandon(void)
{
	udspg_poll_count_out();
	for (uint32 lane = 0; lane < udspg_shared_header->lane_count; lane++)
	{
		udspg_session_channel *channel = &session.channels[lane];

		if (channel->is_half_sent)
			udspg_session_close_channel(lane);
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
	udspg_call call = { .is_prepared = false };

	udspg_require_loaded();
	if (count == 0)
		return;
	udspg_session_wait_until_ready();
	if (!session.is_claimed)
		udspg_session_claim();

	udspg_poll_count_in();
	PG_TRY();
	{
		udspg_session_run_pieces(&call, items, (uint32) count);
	}
	PG_CATCH();
	{
		udspg_session_abandon();
		PG_RE_THROW();
	}
	PG_END_TRY();
	udspg_poll_count_out();
	udspg_session_check_results(items, count);
}
