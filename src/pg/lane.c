/*
 * lane.c: a worker's end of a lane.
 *
 * One turn of the loop: look at the channels that have their bit set (take new ones, let go of
 * closed ones, copy messages out of the rings into batches), execute the batches, go on with parked
 * requests, send replies.  A batch is answered when all its requests are; until then it stays where
 * it is, because parked requests belong to the engine.
 *
 * Bits are set after the message is in the ring and before the latch is set.  So a worker that has
 * reset its latch and then finds neither bits nor anything to do may sleep.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "lane.h"
#include "lane_batch.h"
#include "poll.h"
#include "port_pg.h"
#include "settings.h"
#include "shared.h"
#include "worker.h"

/* Batches of one channel that are not answered; a sound session never has more in flight. */
#define UDSPG_LANE_BATCHES_MAX 2

/* Messages among which the sessions at work are counted. */
#define UDSPG_LANE_CROWD_MESSAGES 64

/* A worker that leaves alone answers what it has within this time. */
#define UDSPG_LANE_LEAVE_SECONDS 30
#define UDSPG_LANE_LEAVE_LOOK_MS 1

struct udspg_lane_channel
{
	udspg_channel_ends ends;
	udspg_lane_batch *batches[UDSPG_LANE_BATCHES_MAX]; /* from the message to the sent reply */
	udspg_lane_queue replies;                          /* that did not fit in the ring yet */
	bool is_full;                                      /* a message may wait for a place above */
	uint64 crowd_window;                               /* in which it was counted last */
};

/* What pg_stat_activity shows. */
typedef enum udspg_lane_activity
{
	UDSPG_LANE_IDLE,
	UDSPG_LANE_WAITING,
	UDSPG_LANE_EXECUTING,
	UDSPG_LANE_LEAVING
} udspg_lane_activity;

static struct
{
	uint32 number;
	const udspg_lane_work *work; /* what its worker does with requests */
	udspg_worker_cell *cell;     /* of its worker */
	uds_port port;
	udspg_poll poll;
	uint64 crowd_window;   /* number of the present window of messages, from 1 */
	uint32 crowd_messages; /* of it so far */
	uint32 crowd_sessions; /* that they are from */
	bool is_expected;      /* the session that was answered last was polling for it */
	bool executes;         /* this turn requests can be executed */
	bool is_leaving;
	udspg_lane_activity shown;
	udspg_lane_channel *channels; /* by slot */
	udspg_lane_queue ready;       /* batches that are not executed yet */
	uint32 unsent_channels;       /* with replies that wait for room */
	bool looks_again;             /* this turn has set bits of its own */
} lane;

/* ---- channels ----------------------------------------------------------------------------------- */

static uint32
udspg_lane_slot_of(const udspg_lane_channel *channel)
{
	return (uint32) (channel - lane.channels);
}

/* Done with a batch, whether it was answered or not. */
static void
udspg_lane_release(udspg_lane_batch *batch)
{
	if (batch->channel != NULL)
		for (int i = 0; i < UDSPG_LANE_BATCHES_MAX; i++)
			if (batch->channel->batches[i] == batch)
				batch->channel->batches[i] = NULL;
	udspg_lane_batch_release(batch);
}

/* Have the next turn look at the channel again. */
static void
udspg_lane_look_again(udspg_lane_channel *channel)
{
	uint32 slot = udspg_lane_slot_of(channel);

	pg_atomic_fetch_or_u64(&udspg_shared_work(lane.number)[slot / 64],
	                       UINT64CONST(1) << (slot % 64));
	lane.looks_again = true;
}

/* Let go of a channel.  Its requests go on, but nobody gets their replies. */
static void
udspg_lane_drop_channel(udspg_lane_channel *channel)
{
	udspg_lane_batch *batch;

	if (channel->replies.first != NULL)
		lane.unsent_channels--;
	/* Those are complete; the others are released when their last request is answered. */
	while ((batch = udspg_lane_queue_take(&channel->replies)) != NULL)
		udspg_lane_release(batch);
	for (int i = 0; i < UDSPG_LANE_BATCHES_MAX; i++)
	{
		if (channel->batches[i] != NULL)
			channel->batches[i]->channel = NULL;
		channel->batches[i] = NULL;
	}
	channel->is_full = false;
	udspg_channel_drop(udspg_lane_slot_of(channel), lane.number, &channel->ends);
}

/* A channel that cannot be used: the session finds it broken. */
static void
udspg_lane_break_channel(udspg_lane_channel *channel, const char *why)
{
	uint32 slot = udspg_lane_slot_of(channel);

	ereport(LOG,
	        errcode(ERRCODE_PROTOCOL_VIOLATION),
	        errmsg("%s closes the channel of process %u: %s",
	               MyBgworkerEntry->bgw_name,
	               pg_atomic_read_u32(&udspg_shared_slot(slot)->pid),
	               why));
	udspg_lane_drop_channel(channel);
}

/* Take an offered channel; what fails here concerns only its session. */
static void
udspg_lane_take_channel(udspg_lane_channel *channel)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		(void) udspg_channel_take(udspg_lane_slot_of(channel), lane.number, &channel->ends);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		udspg_lane_drop_channel(channel);
	}
	PG_END_TRY();
}

/* The next message in the ring, lent until the next call; false when there is none. */
static bool
udspg_lane_receive(udspg_lane_channel *channel, void **message, Size *bytes)
{
	MemoryContext context = CurrentMemoryContext;
	volatile shm_mq_result result = SHM_MQ_DETACHED;

	PG_TRY();
	{
		result = shm_mq_receive(channel->ends.in, bytes, message, true);
	}
	PG_CATCH();
	{
		/* A length that cannot be true, or no memory for it. */
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		udspg_lane_break_channel(channel, "could not receive a message");
	}
	PG_END_TRY();

	/* A session that has detached says so by the state of the channel, too. */
	return result == SHM_MQ_SUCCESS;
}

/*
 * Copy a message into the requests of a batch; false when it is not sound.  What is checked is the
 * copy: the session can still write in the ring.
 */
static bool
udspg_lane_copy_requests(udspg_lane_batch *batch, const udspg_request_item *items)
{
	for (uint32 i = 0; i < batch->count; i++)
	{
		uds_request *request = &batch->requests[i];
		udspg_request_item item = items[i];

		if (!udspg_message_item_is_sound(&item))
			return false;
		request->operation = item.operation;
		request->name = item.name;
		request->metadata = item.metadata;
		request->owner = batch;
	}
	/* Before the index is laid out, none belongs here. */
	return uds_index_state(udspg_index()) != UDS_STATE_NONE &&
	       lane.work->are_own(batch->requests, batch->count);
}

/* Count the sessions that messages come from; see poll.h. */
static void
udspg_lane_count_crowd(udspg_lane_channel *channel)
{
	if (channel->crowd_window != lane.crowd_window)
		lane.crowd_sessions++;
	channel->crowd_window = lane.crowd_window;
	if (++lane.crowd_messages < UDSPG_LANE_CROWD_MESSAGES)
		return;
	pg_atomic_write_u32(&lane.cell->crowd, lane.crowd_sessions);
	lane.crowd_window++;
	lane.crowd_messages = 0;
	lane.crowd_sessions = 0;
}

/* Make a batch of a message, to be executed. */
static void
udspg_lane_take_message(udspg_lane_channel *channel, int place, const void *message, Size bytes)
{
	udspg_message_header header = { 0 };
	udspg_lane_batch *batch;

	memcpy(&header, message, Min(bytes, sizeof(header)));
	if (!udspg_message_request_is_sound(&header, bytes, udspg_shared_header->batch_max))
	{
		udspg_lane_break_channel(channel, "malformed message");
		return;
	}
	batch = udspg_lane_batch_claim(header.count);
	if (batch == NULL)
	{
		udspg_lane_break_channel(channel, "out of memory");
		return;
	}
	batch->channel = channel;
	batch->batch_id = header.batch_id;
	if (!udspg_lane_copy_requests(batch,
	                              (const udspg_request_item *) ((const char *) message +
	                                                            sizeof(header))))
	{
		udspg_lane_release(batch);
		udspg_lane_break_channel(channel, "malformed request");
		return;
	}
	channel->batches[place] = batch;
	udspg_lane_count_crowd(channel);
	udspg_lane_queue_put(&lane.ready, batch);
}

/* Take the messages of a channel; true when there was one. */
static bool
udspg_lane_take_messages(udspg_lane_channel *channel)
{
	bool has_progress = false;

	for (int place = 0; place < UDSPG_LANE_BATCHES_MAX; place++)
	{
		void *message;
		Size bytes;

		if (channel->batches[place] != NULL)
			continue;
		if (!udspg_lane_receive(channel, &message, &bytes))
			return has_progress;
		udspg_lane_take_message(channel, place, message, bytes);
		has_progress = true;
		if (channel->ends.in == NULL)
			return has_progress; /* it was broken */
	}
	channel->is_full = true;
	return has_progress;
}

/* Look after one channel; true when something was done. */
static bool
udspg_lane_serve(uint32 slot)
{
	udspg_lane_channel *channel = &lane.channels[slot];

	switch (udspg_channel_read_state(udspg_shared_channel(slot, lane.number)))
	{
		case UDSPG_CHANNEL_OFFERED:
			if (lane.is_leaving)
				return false; /* it is the successor's */
			udspg_lane_take_channel(channel);
			if (channel->ends.in != NULL)
				(void) udspg_lane_take_messages(channel);
			return true;
		case UDSPG_CHANNEL_ATTACHED:
			return udspg_lane_take_messages(channel);
		case UDSPG_CHANNEL_CLOSING:
			udspg_lane_drop_channel(channel);
			return true;
		case UDSPG_CHANNEL_EMPTY:
		case UDSPG_CHANNEL_BROKEN:
			break;
	}
	return false;
}

/* Look after the channels whose bit is set. */
static bool
udspg_lane_serve_marked(void)
{
	pg_atomic_uint64 *work = udspg_shared_work(lane.number);
	bool has_progress = false;

	for (uint32 word = 0; word < udspg_shared_header->bitmap_words; word++)
	{
		uint64 bits = pg_atomic_read_u64(&work[word]);

		if (bits == 0)
			continue;
		bits = pg_atomic_exchange_u64(&work[word], 0);
		while (bits != 0)
		{
			uint32 bit = pg_rightmost_one_pos64(bits);

			bits &= bits - 1;
			if (udspg_lane_serve(word * 64 + bit))
				has_progress = true;
		}
	}
	return has_progress;
}

/* ---- replies ------------------------------------------------------------------------------------ */

/* Send the replies of a channel, as far as there is room. */
static void
udspg_lane_send_replies(udspg_lane_channel *channel)
{
	udspg_lane_batch *batch;

	while ((batch = channel->replies.first) != NULL)
	{
		shm_mq_result result = shm_mq_send(channel->ends.out,
		                                   udspg_message_reply_bytes(batch->count),
		                                   batch->reply,
		                                   true,
		                                   true);

		/* A part of it may be in the ring: the same bytes go first the next time. */
		if (result == SHM_MQ_WOULD_BLOCK)
			return;
		/* Nobody waits for it when the session has detached. */
		udspg_lane_release(udspg_lane_queue_take(&channel->replies));
	}
	if (channel->is_full)
	{
		channel->is_full = false;
		udspg_lane_look_again(channel);
	}
}

/* Some requests of a batch were answered: the last ones complete it. */
static void
udspg_lane_answered(udspg_lane_batch *batch, uint32 answered)
{
	udspg_lane_channel *channel = batch->channel;
	bool is_first;

	Assert(answered <= batch->remaining);
	batch->remaining -= answered;
	if (batch->remaining > 0)
		return;
	if (channel == NULL)
	{
		udspg_lane_release(batch);
		return;
	}
	udspg_lane_batch_write_reply(batch);
	lane.is_expected =
		pg_atomic_read_u32(
			&udspg_shared_channel(udspg_lane_slot_of(channel), lane.number)->is_polling) != 0;
	is_first = channel->replies.first == NULL;
	udspg_lane_queue_put(&channel->replies, batch);
	if (!is_first)
		return; /* there are earlier ones that wait for room */
	udspg_lane_send_replies(channel);
	if (channel->replies.first != NULL)
		lane.unsent_channels++;
}

/* Try again what did not fit; sessions set the latch when they have made room. */
static void
udspg_lane_send_waiting(void)
{
	for (uint32 slot = 0; slot < udspg_shared_header->slot_count && lane.unsent_channels > 0;
	     slot++)
	{
		udspg_lane_channel *channel = &lane.channels[slot];

		if (channel->replies.first == NULL)
			continue;
		udspg_lane_send_replies(channel);
		if (channel->replies.first == NULL)
			lane.unsent_channels--;
	}
}

/* ---- a turn ------------------------------------------------------------------------------------- */

/* Execute what is ready; true when something was done. */
static bool
udspg_lane_execute(void)
{
	bool has_progress = false;
	udspg_lane_batch *batch;

	while ((batch = lane.ready.first) != NULL)
	{
		uint32 parked = 0;

		if (!lane.work->execute(batch->requests, batch->count, &parked))
		{
			lane.executes = false;
			break;
		}
		(void) udspg_lane_queue_take(&lane.ready);
		udspg_lane_answered(batch, batch->count - parked);
		has_progress = true;
	}
	return has_progress;
}

/* Go on with parked requests; true when there may be more to do at once. */
static bool
udspg_lane_advance(void)
{
	uds_request *finished = NULL;
	bool has_more;

	if (lane.work->advance == NULL)
		return false;
	has_more = lane.work->advance(&finished);
	while (finished != NULL)
	{
		uds_request *next = finished->next;

		udspg_lane_answered(finished->owner, 1);
		finished = next;
	}
	return has_more;
}

static void
udspg_lane_show_activity(udspg_lane_activity activity)
{
	static const char *const texts[] = {
		[UDSPG_LANE_WAITING] = "waiting for the chapter writer",
		[UDSPG_LANE_EXECUTING] = "executing requests",
		[UDSPG_LANE_LEAVING] = "leaving",
	};

	if (activity == lane.shown)
		return;
	lane.shown = activity;
	udspg_worker_report_activity(texts[activity]);
}

/* Do what can be done now; true when there may be more to do at once. */
static bool
udspg_lane_take_turn(void)
{
	bool has_progress;

	lane.looks_again = false;
	has_progress = udspg_lane_serve_marked();
	lane.executes = lane.work->turn();
	if (lane.is_leaving)
		udspg_lane_show_activity(UDSPG_LANE_LEAVING);
	else
		udspg_lane_show_activity(lane.executes ? UDSPG_LANE_EXECUTING : UDSPG_LANE_WAITING);
	if (lane.executes)
	{
		if (udspg_lane_execute())
			has_progress = true;
		if (udspg_lane_advance())
			has_progress = true;
	}
	if (lane.unsent_channels > 0)
		udspg_lane_send_waiting();
	return has_progress || lane.looks_again;
}

/* ---- leaving and exit ------------------------------------------------------------------------- */

/* Has everything that was sent through this channel been answered, and will nothing more come? */
static bool
udspg_lane_channel_is_quiet(uint32 slot)
{
	udspg_lane_channel *channel = &lane.channels[slot];
	udspg_channel *shared = udspg_shared_channel(slot, lane.number);
	bool is_sending;

	if (channel->ends.in == NULL)
		return true;
	/* Read before the ring is: a session that begins to send later sees that we leave. */
	is_sending = pg_atomic_read_u32(&shared->is_sending) != 0;
	pg_memory_barrier();
	if (udspg_lane_serve(slot) || is_sending)
		return false;
	for (int i = 0; i < UDSPG_LANE_BATCHES_MAX; i++)
		if (channel->batches[i] != NULL)
			return false;
	return channel->replies.first == NULL;
}

/*
 * The worker was asked to stop: take no more requests, answer those that are here, go.  Does not
 * return.
 */
static void
udspg_lane_leave(void)
{
	bool server_stops = udspg_worker_server_is_stopping();
	bool is_quiet = false;

	lane.is_leaving = true;
	(void) pg_atomic_exchange_u32(&lane.cell->is_leaving, 1);
	udspg_port_set_deadline(&lane.port,
	                        server_stops ? udspg_shutdown_timeout : UDSPG_LANE_LEAVE_SECONDS);
	while (!is_quiet && !udspg_port_deadline_is_over(&lane.port))
	{
		bool has_progress;

		udspg_worker_process_interrupts();
		has_progress = udspg_lane_take_turn();
		is_quiet =
			lane.ready.first == NULL && (lane.work->parked == NULL || lane.work->parked() == 0);
		for (uint32 slot = 0; slot < udspg_shared_header->slot_count; slot++)
			if (!udspg_lane_channel_is_quiet(slot))
				is_quiet = false;
		/* Without an index that will execute them there is nothing to wait for. */
		if (server_stops && !lane.executes && !uds_state_executes(uds_index_state(udspg_index())))
			break;
		if (!is_quiet && !has_progress)
			udspg_worker_sleep(UDSPG_LANE_LEAVE_LOOK_MS);
	}
	proc_exit(1);
}

/* At exit: sessions find their channels broken, and what is unanswered lost. */
static void
udspg_lane_detach(void)
{
	udspg_poll_count_out();
	lane.work->detach();
	if (lane.channels == NULL)
		return;
	for (uint32 slot = 0; slot < udspg_shared_header->slot_count; slot++)
		udspg_channel_drop(slot, lane.number, &lane.channels[slot].ends);
}

/* ---- start and loop --------------------------------------------------------------------------- */

/* End what a predecessor has left; from now on sessions may send. */
static void
udspg_lane_take_over(void)
{
	uint32 slots = udspg_shared_header->slot_count;

	lane.channels =
		MemoryContextAllocZero(TopMemoryContext, mul_size(slots, sizeof(udspg_lane_channel)));
	udspg_lane_queue_init(&lane.ready);
	for (uint32 slot = 0; slot < slots; slot++)
	{
		udspg_lane_queue_init(&lane.channels[slot].replies);
		udspg_channel_drop(slot, lane.number, &lane.channels[slot].ends);
	}
	pg_atomic_write_u32(&lane.cell->is_leaving, 0);
	ConditionVariableBroadcast(&udspg_shared_header->changed);
	/* Offers whose bit the predecessor has cleared. */
	for (uint32 slot = 0; slot < slots; slot++)
		(void) udspg_lane_serve(slot);
}

/* Poll for work for a while; true when there is some. */
static bool
udspg_lane_poll(void)
{
	pg_atomic_uint64 *work = udspg_shared_work(lane.number);
	uint32 words = udspg_shared_header->bitmap_words;
	bool has_paid = false;

	if (!udspg_poll_begin(&lane.poll, lane.is_expected))
		return false;
	while (!has_paid && !InterruptPending && !udspg_worker_stop_requested &&
	       udspg_poll_goes_on(&lane.poll))
		for (uint32 word = 0; word < words; word++)
			if (pg_atomic_read_u64(&work[word]) != 0)
				has_paid = true;
	udspg_poll_end(&lane.poll, has_paid);
	return has_paid;
}

/* Sleep until there is something to do. */
static void
udspg_lane_sleep(void)
{
	bool has_work = lane.ready.first != NULL || lane.unsent_channels > 0 ||
	                (lane.work->parked != NULL && lane.work->parked() > 0);

	udspg_poll_count_out();
	if (has_work)
		udspg_worker_sleep(-1);
	else if (udspg_worker_sleep_idle())
		lane.shown = UDSPG_LANE_IDLE;
	udspg_poll_count_in();
}

void
udspg_lane_run(uint32 number, const udspg_lane_work *work)
{
	uds_worker_id worker = udspg_shared_lane_worker(number);
	bool has_polled = false;

	lane.number = number;
	lane.work = work;
	udspg_worker_start(worker, udspg_lane_detach);
	lane.cell = &udspg_shared_header->workers[worker];
	udspg_port_init(&lane.port, worker);
	work->attach(&lane.port);
	udspg_lane_take_over();
	lane.crowd_window = 1;
	lane.poll.tries_in_row = 1;
	lane.poll.try_factor = 1;
	udspg_poll_count_in();

	for (;;)
	{
		udspg_worker_process_interrupts();
		if (udspg_worker_stop_requested)
			udspg_lane_leave();
		if (udspg_lane_take_turn())
		{
			has_polled = false;
			continue;
		}
		if (!has_polled && lane.executes && udspg_lane_poll())
			continue;
		has_polled = true;
		udspg_lane_sleep();
	}
}
