/*
 * zone_worker.c: the worker of a zone.
 *
 * One turn of its loop: look at the channels that have their bit set (take new ones, let go of
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
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "message.h"
#include "poll.h"
#include "port_pg.h"
#include "report.h"
#include "settings.h"
#include "shared.h"
#include "worker.h"

/* Batches of one channel that are not answered; a sound session never has more in flight. */
#define UDSPG_ZONE_BATCHES_MAX 2

/* Batches of few requests are most of them, and small. */
#define UDSPG_ZONE_BATCH_SMALL 8

/* Messages among which the sessions at work are counted. */
#define UDSPG_ZONE_CROWD_MESSAGES 64

/* A worker that leaves alone answers what it has within this time. */
#define UDSPG_ZONE_LEAVE_SECONDS 30
#define UDSPG_ZONE_LEAVE_LOOK_MS 1

typedef struct udspg_zone_channel udspg_zone_channel;
typedef struct udspg_zone_batch udspg_zone_batch;

struct udspg_zone_batch
{
	udspg_zone_batch *next;      /* among free ones, ready ones, or replies of a channel */
	udspg_zone_channel *channel; /* NULL: its session has gone */
	udspg_message_header *reply; /* behind the requests */
	uint64 batch_id;
	uint32 capacity;
	uint32 count;
	uint32 remaining; /* requests without an answer */
	uds_request requests[FLEXIBLE_ARRAY_MEMBER];
};

typedef struct udspg_zone_queue
{
	udspg_zone_batch *first;
	udspg_zone_batch **last;
} udspg_zone_queue;

struct udspg_zone_channel
{
	udspg_channel_ends ends;
	udspg_zone_batch *batches[UDSPG_ZONE_BATCHES_MAX]; /* from the message to the sent reply */
	udspg_zone_queue replies;                          /* that did not fit in the ring yet */
	bool is_full;                                      /* a message may wait for a place above */
	uint64 crowd_window;                               /* in which it was counted last */
};

/* What pg_stat_activity shows. */
typedef enum udspg_zone_activity
{
	UDSPG_ZONE_IDLE,
	UDSPG_ZONE_WAITING,
	UDSPG_ZONE_EXECUTING,
	UDSPG_ZONE_LEAVING
} udspg_zone_activity;

static struct
{
	uint32 number;
	uds_port port;
	udspg_zone_activity shown;
	uds_zone_worker *worker; /* NULL before and after it is attached */
	udspg_poll poll;
	uint64 crowd_window;   /* number of the present window of messages, from 1 */
	uint32 crowd_messages; /* of it so far */
	uint32 crowd_sessions; /* that they are from */
	bool is_expected;      /* the session that was answered last was polling for it */
	bool executes;         /* this turn the zone is ours */
	bool is_leaving;
	udspg_zone_channel *channels; /* by slot */
	udspg_zone_queue ready;       /* batches that are not executed yet */
	udspg_zone_batch *free_small;
	udspg_zone_batch *free_large;
	uint32 unsent_channels; /* with replies that wait for room */
	bool looks_again;       /* this turn has set bits of its own */
} zone;

/* ---- batches ------------------------------------------------------------------------------------ */

static void
udspg_zone_worker_queue_init(udspg_zone_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void
udspg_zone_worker_queue_put(udspg_zone_queue *queue, udspg_zone_batch *batch)
{
	batch->next = NULL;
	*queue->last = batch;
	queue->last = &batch->next;
}

static udspg_zone_batch *
udspg_zone_worker_queue_take(udspg_zone_queue *queue)
{
	udspg_zone_batch *batch = queue->first;

	if (batch != NULL)
	{
		queue->first = batch->next;
		if (queue->first == NULL)
			queue->last = &queue->first;
	}
	return batch;
}

/* A batch for count requests, or NULL when there is no memory. */
static udspg_zone_batch *
udspg_zone_worker_batch_claim(uint32 count)
{
	bool is_small = count <= UDSPG_ZONE_BATCH_SMALL;
	udspg_zone_batch **list = is_small ? &zone.free_small : &zone.free_large;
	uint32 capacity = is_small ? UDSPG_ZONE_BATCH_SMALL : udspg_shared_header->batch_max;
	Size requests = offsetof(udspg_zone_batch, requests) + capacity * sizeof(uds_request);
	udspg_zone_batch *batch = *list;

	if (batch != NULL)
		*list = batch->next;
	else
	{
		batch = MemoryContextAllocExtended(TopMemoryContext,
		                                   MAXALIGN(requests) + udspg_message_reply_bytes(capacity),
		                                   MCXT_ALLOC_NO_OOM);
		if (batch == NULL)
			return NULL;
		batch->capacity = capacity;
		batch->reply = (udspg_message_header *) ((char *) batch + MAXALIGN(requests));
	}
	batch->count = count;
	batch->remaining = count;
	return batch;
}

static void
udspg_zone_worker_batch_release(udspg_zone_batch *batch)
{
	udspg_zone_batch **list =
		batch->capacity == UDSPG_ZONE_BATCH_SMALL ? &zone.free_small : &zone.free_large;

	if (batch->channel != NULL)
		for (int i = 0; i < UDSPG_ZONE_BATCHES_MAX; i++)
			if (batch->channel->batches[i] == batch)
				batch->channel->batches[i] = NULL;
	batch->next = *list;
	*list = batch;
}

/* ---- channels ----------------------------------------------------------------------------------- */

static uint32
udspg_zone_worker_slot_of(const udspg_zone_channel *channel)
{
	return (uint32) (channel - zone.channels);
}

/* Have the next turn look at the channel again. */
static void
udspg_zone_worker_look_again(udspg_zone_channel *channel)
{
	uint32 slot = udspg_zone_worker_slot_of(channel);

	pg_atomic_fetch_or_u64(&udspg_shared_work(zone.number)[slot / 64],
	                       UINT64CONST(1) << (slot % 64));
	zone.looks_again = true;
}

/* Let go of a channel.  Its requests go on, but nobody gets their replies. */
static void
udspg_zone_worker_drop_channel(udspg_zone_channel *channel)
{
	udspg_zone_batch *batch;

	if (channel->replies.first != NULL)
		zone.unsent_channels--;
	/* Those are complete; the others are released when their last request is answered. */
	while ((batch = udspg_zone_worker_queue_take(&channel->replies)) != NULL)
		udspg_zone_worker_batch_release(batch);
	for (int i = 0; i < UDSPG_ZONE_BATCHES_MAX; i++)
	{
		if (channel->batches[i] != NULL)
			channel->batches[i]->channel = NULL;
		channel->batches[i] = NULL;
	}
	channel->is_full = false;
	udspg_channel_drop(udspg_zone_worker_slot_of(channel), zone.number, &channel->ends);
}

/* A channel that cannot be used: the session finds it broken. */
static void
udspg_zone_worker_break_channel(udspg_zone_channel *channel, const char *why)
{
	uint32 slot = udspg_zone_worker_slot_of(channel);

	ereport(LOG,
	        errcode(ERRCODE_PROTOCOL_VIOLATION),
	        errmsg("uds zone %u closes the channel of process %u: %s",
	               zone.number,
	               pg_atomic_read_u32(&udspg_shared_slot(slot)->pid),
	               why));
	udspg_zone_worker_drop_channel(channel);
}

/* Take an offered channel; what fails here concerns only its session. */
static void
udspg_zone_worker_take_channel(udspg_zone_channel *channel)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		(void) udspg_channel_take(udspg_zone_worker_slot_of(channel), zone.number, &channel->ends);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		udspg_zone_worker_drop_channel(channel);
	}
	PG_END_TRY();
}

/* The next message in the ring, lent until the next call; false when there is none. */
static bool
udspg_zone_worker_receive(udspg_zone_channel *channel, void **message, Size *bytes)
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
		udspg_zone_worker_break_channel(channel, "could not receive a message");
	}
	PG_END_TRY();

	/* A session that has detached says so by the state of the channel, too. */
	return result == SHM_MQ_SUCCESS;
}

/* Does a request belong here?  Before the index is laid out, none does. */
static bool
udspg_zone_worker_is_own(const uds_name *name)
{
	if (uds_index_state(udspg_index()) == UDS_STATE_NONE)
		return false;
	return udspg_shared_header->zone_count == 1 ||
	       uds_index_zone_of(udspg_index(), name) == zone.number;
}

/*
 * Copy a message into the requests of a batch; false when it is not sound.  What is checked is the
 * copy: the session can still write in the ring.
 */
static bool
udspg_zone_worker_copy_requests(udspg_zone_batch *batch, const udspg_request_item *items)
{
	for (uint32 i = 0; i < batch->count; i++)
	{
		uds_request *request = &batch->requests[i];
		udspg_request_item item = items[i];

		if (!udspg_message_item_is_sound(&item) || !udspg_zone_worker_is_own(&item.name))
			return false;
		request->operation = item.operation;
		request->name = item.name;
		request->metadata = item.metadata;
		request->owner = batch;
	}
	return true;
}

/* Count the sessions that messages come from; see poll.h. */
static void
udspg_zone_worker_count_crowd(udspg_zone_channel *channel)
{
	if (channel->crowd_window != zone.crowd_window)
		zone.crowd_sessions++;
	channel->crowd_window = zone.crowd_window;
	if (++zone.crowd_messages < UDSPG_ZONE_CROWD_MESSAGES)
		return;
	pg_atomic_write_u32(&udspg_shared_header->workers[UDS_WORKER_ZONE + zone.number].crowd,
	                    zone.crowd_sessions);
	zone.crowd_window++;
	zone.crowd_messages = 0;
	zone.crowd_sessions = 0;
}

/* Make a batch of a message, to be executed. */
static void
udspg_zone_worker_take_message(udspg_zone_channel *channel, int place, const void *message,
                               Size bytes)
{
	udspg_message_header header = { 0 };
	udspg_zone_batch *batch;

	memcpy(&header, message, Min(bytes, sizeof(header)));
	if (!udspg_message_request_is_sound(&header, bytes, udspg_shared_header->batch_max))
	{
		udspg_zone_worker_break_channel(channel, "malformed message");
		return;
	}
	batch = udspg_zone_worker_batch_claim(header.count);
	if (batch == NULL)
	{
		udspg_zone_worker_break_channel(channel, "out of memory");
		return;
	}
	batch->channel = channel;
	batch->batch_id = header.batch_id;
	if (!udspg_zone_worker_copy_requests(batch,
	                                     (const udspg_request_item *) ((const char *) message +
	                                                                   sizeof(header))))
	{
		udspg_zone_worker_batch_release(batch);
		udspg_zone_worker_break_channel(channel, "malformed request");
		return;
	}
	channel->batches[place] = batch;
	udspg_zone_worker_count_crowd(channel);
	udspg_zone_worker_queue_put(&zone.ready, batch);
}

/* Take the messages of a channel; true when there was one. */
static bool
udspg_zone_worker_take_messages(udspg_zone_channel *channel)
{
	bool has_progress = false;

	for (int place = 0; place < UDSPG_ZONE_BATCHES_MAX; place++)
	{
		void *message;
		Size bytes;

		if (channel->batches[place] != NULL)
			continue;
		if (!udspg_zone_worker_receive(channel, &message, &bytes))
			return has_progress;
		udspg_zone_worker_take_message(channel, place, message, bytes);
		has_progress = true;
		if (channel->ends.in == NULL)
			return has_progress; /* it was broken */
	}
	channel->is_full = true;
	return has_progress;
}

/* Look after one channel; true when something was done. */
static bool
udspg_zone_worker_serve(uint32 slot)
{
	udspg_zone_channel *channel = &zone.channels[slot];

	switch (udspg_channel_read_state(udspg_shared_channel(slot, zone.number)))
	{
		case UDSPG_CHANNEL_OFFERED:
			if (zone.is_leaving)
				return false; /* it is the successor's */
			udspg_zone_worker_take_channel(channel);
			if (channel->ends.in != NULL)
				(void) udspg_zone_worker_take_messages(channel);
			return true;
		case UDSPG_CHANNEL_ATTACHED:
			return udspg_zone_worker_take_messages(channel);
		case UDSPG_CHANNEL_CLOSING:
			udspg_zone_worker_drop_channel(channel);
			return true;
		case UDSPG_CHANNEL_EMPTY:
		case UDSPG_CHANNEL_BROKEN:
			break;
	}
	return false;
}

/* Look after the channels whose bit is set. */
static bool
udspg_zone_worker_serve_marked(void)
{
	pg_atomic_uint64 *work = udspg_shared_work(zone.number);
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
			if (udspg_zone_worker_serve(word * 64 + bit))
				has_progress = true;
		}
	}
	return has_progress;
}

/* ---- replies ------------------------------------------------------------------------------------ */

/* Send the replies of a channel, as far as there is room. */
static void
udspg_zone_worker_send_replies(udspg_zone_channel *channel)
{
	udspg_zone_batch *batch;

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
		udspg_zone_worker_batch_release(udspg_zone_worker_queue_take(&channel->replies));
	}
	if (channel->is_full)
	{
		channel->is_full = false;
		udspg_zone_worker_look_again(channel);
	}
}

static void
udspg_zone_worker_write_reply(udspg_zone_batch *batch)
{
	udspg_message_header *header = batch->reply;
	udspg_reply_item *results = (udspg_reply_item *) (header + 1);

	header->batch_id = batch->batch_id;
	header->count = (uint16) batch->count;
	header->version = UDSPG_MESSAGE_VERSION;
	header->reserved = 0;
	for (uint32 i = 0; i < batch->count; i++)
	{
		const uds_request *request = &batch->requests[i];

		results[i].status = request->status;
		results[i].found = request->found;
		results[i].region = request->region;
		results[i].reserved = 0;
		results[i].token = 0;
		if (request->found)
			results[i].metadata = request->found_metadata;
		else
			memset(&results[i].metadata, 0, sizeof(results[i].metadata));
	}
}

/* Some requests of a batch were answered: the last ones complete it. */
static void
udspg_zone_worker_batch_answered(udspg_zone_batch *batch, uint32 answered)
{
	udspg_zone_channel *channel = batch->channel;
	bool is_first;

	Assert(answered <= batch->remaining);
	batch->remaining -= answered;
	if (batch->remaining > 0)
		return;
	if (channel == NULL)
	{
		udspg_zone_worker_batch_release(batch);
		return;
	}
	udspg_zone_worker_write_reply(batch);
	zone.is_expected =
		pg_atomic_read_u32(
			&udspg_shared_channel(udspg_zone_worker_slot_of(channel), zone.number)->is_polling) !=
		0;
	is_first = channel->replies.first == NULL;
	udspg_zone_worker_queue_put(&channel->replies, batch);
	if (!is_first)
		return; /* there are earlier ones that wait for room */
	udspg_zone_worker_send_replies(channel);
	if (channel->replies.first != NULL)
		zone.unsent_channels++;
}

/* Try again what did not fit; sessions set the latch when they have made room. */
static void
udspg_zone_worker_send_waiting(void)
{
	for (uint32 slot = 0; slot < udspg_shared_header->slot_count && zone.unsent_channels > 0;
	     slot++)
	{
		udspg_zone_channel *channel = &zone.channels[slot];

		if (channel->replies.first == NULL)
			continue;
		udspg_zone_worker_send_replies(channel);
		if (channel->replies.first == NULL)
			zone.unsent_channels--;
	}
}

/* ---- a turn ------------------------------------------------------------------------------------- */

static void
udspg_zone_worker_execute_batch(udspg_zone_batch *batch)
{
	uint32 parked = 0;
	uds_status status;

	HOLD_INTERRUPTS();
	status = uds_zone_execute(zone.worker, batch->requests, batch->count, &parked);
	RESUME_INTERRUPTS();
	if (status == UDS_ERR_ARGUMENT)
		elog(ERROR, "uds zone %u refused a batch of %u requests", zone.number, batch->count);
	/* After an internal error the index is marked failed: parked requests go on afterwards. */
	udspg_zone_worker_batch_answered(batch, batch->count - parked);
}

/* Go on with parked requests; true when there may be more to do at once. */
static bool
udspg_zone_worker_advance(void)
{
	uds_request *finished = NULL;
	uds_status status;

	HOLD_INTERRUPTS();
	status = uds_zone_advance(zone.worker, &finished);
	RESUME_INTERRUPTS();
	while (finished != NULL)
	{
		uds_request *next = finished->next;

		udspg_zone_worker_batch_answered(finished->owner, 1);
		finished = next;
	}
	return status == UDS_OK;
}

static void
udspg_zone_worker_show_activity(udspg_zone_activity activity)
{
	static const char *const texts[] = {
		[UDSPG_ZONE_WAITING] = "waiting for the chapter writer",
		[UDSPG_ZONE_EXECUTING] = "executing requests",
		[UDSPG_ZONE_LEAVING] = "leaving",
	};

	if (activity == zone.shown)
		return;
	zone.shown = activity;
	udspg_worker_report_activity(texts[activity]);
}

/* Do what can be done now; true when there may be more to do at once. */
static bool
udspg_zone_worker_take_turn(void)
{
	bool has_progress;
	udspg_zone_batch *batch;

	zone.looks_again = false;
	has_progress = udspg_zone_worker_serve_marked();
	HOLD_INTERRUPTS();
	zone.executes = uds_zone_turn(zone.worker) == UDS_OK;
	RESUME_INTERRUPTS();
	if (zone.is_leaving)
		udspg_zone_worker_show_activity(UDSPG_ZONE_LEAVING);
	else
		udspg_zone_worker_show_activity(zone.executes ? UDSPG_ZONE_EXECUTING : UDSPG_ZONE_WAITING);
	if (zone.executes)
	{
		while ((batch = udspg_zone_worker_queue_take(&zone.ready)) != NULL)
		{
			udspg_zone_worker_execute_batch(batch);
			has_progress = true;
		}
		if (udspg_zone_worker_advance())
			has_progress = true;
	}
	if (zone.unsent_channels > 0)
		udspg_zone_worker_send_waiting();
	return has_progress || zone.looks_again;
}

/* ---- leaving and exit ------------------------------------------------------------------------- */

/* Has everything that was sent through this channel been answered, and will nothing more come? */
static bool
udspg_zone_worker_channel_is_quiet(uint32 slot)
{
	udspg_zone_channel *channel = &zone.channels[slot];
	udspg_channel *shared = udspg_shared_channel(slot, zone.number);
	bool is_sending;

	if (channel->ends.in == NULL)
		return true;
	/* Read before the ring is: a session that begins to send later sees that we leave. */
	is_sending = pg_atomic_read_u32(&shared->is_sending) != 0;
	pg_memory_barrier();
	if (udspg_zone_worker_serve(slot) || is_sending)
		return false;
	for (int i = 0; i < UDSPG_ZONE_BATCHES_MAX; i++)
		if (channel->batches[i] != NULL)
			return false;
	return channel->replies.first == NULL;
}

/*
 * The worker was asked to stop: take no more requests, answer those that are here, go.  Does not
 * return.
 */
static void
udspg_zone_worker_leave(void)
{
	udspg_worker_cell *cell = &udspg_shared_header->workers[UDS_WORKER_ZONE + zone.number];
	bool server_stops = udspg_worker_server_is_stopping();
	bool is_quiet = false;

	zone.is_leaving = true;
	(void) pg_atomic_exchange_u32(&cell->is_leaving, 1);
	udspg_port_set_deadline(&zone.port,
	                        server_stops ? udspg_shutdown_timeout : UDSPG_ZONE_LEAVE_SECONDS);
	while (!is_quiet && !udspg_port_deadline_is_over(&zone.port))
	{
		bool has_progress;

		udspg_worker_process_interrupts();
		has_progress = udspg_zone_worker_take_turn();
		is_quiet = uds_zone_parked(zone.worker) == 0 && zone.ready.first == NULL;
		for (uint32 slot = 0; slot < udspg_shared_header->slot_count; slot++)
			if (!udspg_zone_worker_channel_is_quiet(slot))
				is_quiet = false;
		/* Without an index that will execute them there is nothing to wait for. */
		if (server_stops && !zone.executes && !uds_state_executes(uds_index_state(udspg_index())))
			break;
		if (!is_quiet && !has_progress)
			udspg_worker_sleep(UDSPG_ZONE_LEAVE_LOOK_MS);
	}
	proc_exit(1);
}

/* At exit: sessions find their channels broken, and what is unanswered lost. */
static void
udspg_zone_worker_detach(void)
{
	udspg_poll_count_out();
	if (zone.worker != NULL)
		uds_zone_detach(zone.worker);
	zone.worker = NULL;
	if (zone.channels == NULL)
		return;
	for (uint32 slot = 0; slot < udspg_shared_header->slot_count; slot++)
		udspg_channel_drop(slot, zone.number, &zone.channels[slot].ends);
}

/* ---- start and loop --------------------------------------------------------------------------- */

/* End what a predecessor has left; from now on sessions may send. */
static void
udspg_zone_worker_take_over(void)
{
	udspg_worker_cell *cell = &udspg_shared_header->workers[UDS_WORKER_ZONE + zone.number];
	uint32 slots = udspg_shared_header->slot_count;

	zone.channels =
		MemoryContextAllocZero(TopMemoryContext, mul_size(slots, sizeof(udspg_zone_channel)));
	udspg_zone_worker_queue_init(&zone.ready);
	for (uint32 slot = 0; slot < slots; slot++)
	{
		udspg_zone_worker_queue_init(&zone.channels[slot].replies);
		udspg_channel_drop(slot, zone.number, &zone.channels[slot].ends);
	}
	pg_atomic_write_u32(&cell->is_leaving, 0);
	ConditionVariableBroadcast(&udspg_shared_header->changed);
	/* Offers whose bit the predecessor has cleared. */
	for (uint32 slot = 0; slot < slots; slot++)
		(void) udspg_zone_worker_serve(slot);
}

static void
udspg_zone_worker_attach(void)
{
	char *memory = MemoryContextAlloc(TopMemoryContext, uds_zone_worker_size() + 16);
	uds_error error;
	uds_status status;

	memset(&error, 0, sizeof(error));
	HOLD_INTERRUPTS();
	status = uds_zone_attach((void *) TYPEALIGN(16, memory),
	                         udspg_index(),
	                         &zone.port,
	                         zone.number,
	                         &zone.worker,
	                         &error);
	RESUME_INTERRUPTS();
	/* With UDS_ERR_INTERNAL it is attached nevertheless, and the writer rebuilds. */
	if (uds_status_is_error(status))
		udspg_report(zone.worker != NULL ? WARNING : ERROR, status, &error);
}

/* Poll for work for a while; true when there is some. */
static bool
udspg_zone_worker_poll(void)
{
	pg_atomic_uint64 *work = udspg_shared_work(zone.number);
	uint32 words = udspg_shared_header->bitmap_words;
	bool has_paid = false;

	if (!udspg_poll_begin(&zone.poll, zone.is_expected))
		return false;
	while (!has_paid && !InterruptPending && !udspg_worker_stop_requested &&
	       udspg_poll_goes_on(&zone.poll))
		for (uint32 word = 0; word < words; word++)
			if (pg_atomic_read_u64(&work[word]) != 0)
				has_paid = true;
	udspg_poll_end(&zone.poll, has_paid);
	return has_paid;
}

/* Sleep until there is something to do. */
static void
udspg_zone_worker_sleep(void)
{
	bool has_work =
		zone.ready.first != NULL || zone.unsent_channels > 0 || uds_zone_parked(zone.worker) > 0;

	udspg_poll_count_out();
	if (has_work)
		udspg_worker_sleep(-1);
	else if (udspg_worker_sleep_idle())
		zone.shown = UDSPG_ZONE_IDLE;
	udspg_poll_count_in();
}

void
udspg_zone_worker_main(Datum argument)
{
	bool has_polled = false;

	zone.number = (uint32) DatumGetInt32(argument);
	udspg_worker_start(UDS_WORKER_ZONE + zone.number, udspg_zone_worker_detach);
	udspg_port_init(&zone.port, UDS_WORKER_ZONE + zone.number);
	udspg_zone_worker_attach();
	udspg_zone_worker_take_over();
	zone.crowd_window = 1;
	zone.poll.tries_in_row = 1;
	zone.poll.try_factor = 1;
	udspg_poll_count_in();

	for (;;)
	{
		udspg_worker_process_interrupts();
		if (udspg_worker_stop_requested)
			udspg_zone_worker_leave();
		if (udspg_zone_worker_take_turn())
		{
			has_polled = false;
			continue;
		}
		if (!has_polled && zone.executes && udspg_zone_worker_poll())
			continue;
		has_polled = true;
		udspg_zone_worker_sleep();
	}
}
