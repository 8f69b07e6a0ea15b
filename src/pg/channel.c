/*
 * channel.c: the two queues between a session and the worker of a lane.
 *
 * See channel.h for the states.  All changes of state are exchanges, which are full barriers.
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/memutils.h"

#include "channel.h"
#include "shared.h"

static bool
udspg_channel_change(udspg_channel *channel, udspg_channel_state from, udspg_channel_state to)
{
	uint32 expected = from;

	return pg_atomic_compare_exchange_u32(&channel->state, &expected, to);
}

udspg_channel_state
udspg_channel_read_state(udspg_channel *channel)
{
	return (udspg_channel_state) pg_atomic_read_u32(&channel->state);
}

/* Tell the worker of the lane to look at this slot. */
static void
udspg_channel_notify(uint32 slot, uint32 lane)
{
	pg_atomic_fetch_or_u64(&udspg_shared_work(lane)[slot / 64], UINT64CONST(1) << (slot % 64));
	udspg_shared_wake(udspg_shared_lane_worker(lane));
}

/* Detach both ends, as far as they are attached. */
static void
udspg_channel_detach(udspg_channel_ends *ends)
{
	if (ends->in != NULL)
		shm_mq_detach(ends->in);
	if (ends->out != NULL)
		shm_mq_detach(ends->out);
	ends->in = NULL;
	ends->out = NULL;
}

/* Handles, and what they allocate later, live as long as the process. */
static void
udspg_channel_attach(shm_mq *in, shm_mq *out, udspg_channel_ends *ends)
{
	MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

	ends->in = shm_mq_attach(in, NULL, NULL);
	ends->out = shm_mq_attach(out, NULL, NULL);
	MemoryContextSwitchTo(context);
}

/* ---- session -------------------------------------------------------------------------------- */

void
udspg_channel_offer(uint32 slot, uint32 lane, udspg_channel_ends *ends)
{
	udspg_channel *channel = udspg_shared_channel(slot, lane);
	Size bytes = udspg_shared_header->ring_bytes;
	shm_mq *request = shm_mq_create(udspg_shared_ring(slot, lane, false), bytes);
	shm_mq *reply = shm_mq_create(udspg_shared_ring(slot, lane, true), bytes);

	Assert(udspg_channel_read_state(channel) == UDSPG_CHANNEL_EMPTY);
	shm_mq_set_sender(request, MyProc);
	shm_mq_set_receiver(reply, MyProc);
	pg_atomic_write_u32(&channel->is_sending, 0);
	PG_TRY();
	{
		udspg_channel_attach(reply, request, ends);
	}
	PG_CATCH();
	{
		udspg_channel_detach(ends);
		PG_RE_THROW();
	}
	PG_END_TRY();
	(void) udspg_channel_change(channel, UDSPG_CHANNEL_EMPTY, UDSPG_CHANNEL_OFFERED);
	udspg_channel_notify(slot, lane);
}

void
udspg_channel_close(uint32 slot, uint32 lane, udspg_channel_ends *ends)
{
	udspg_channel *channel = udspg_shared_channel(slot, lane);

	/* An offer that nobody has taken is withdrawn before its queues go. */
	if (udspg_channel_change(channel, UDSPG_CHANNEL_OFFERED, UDSPG_CHANNEL_EMPTY))
	{
		udspg_channel_detach(ends);
		return;
	}
	udspg_channel_detach(ends);
	if (udspg_channel_change(channel, UDSPG_CHANNEL_ATTACHED, UDSPG_CHANNEL_CLOSING))
		udspg_channel_notify(slot, lane);
	else
		(void) udspg_channel_change(channel, UDSPG_CHANNEL_BROKEN, UDSPG_CHANNEL_EMPTY);
}

udspg_send_result
udspg_channel_send(uint32 slot, uint32 lane, udspg_channel_ends *ends, const void *message,
                   Size bytes)
{
	udspg_channel *channel = udspg_shared_channel(slot, lane);
	udspg_worker_cell *worker = &udspg_shared_header->workers[udspg_shared_lane_worker(lane)];
	udspg_send_result result;

	/* The exchange is a barrier: either the worker sees the word, or we see that it leaves. */
	(void) pg_atomic_exchange_u32(&channel->is_sending, 1);
	if (pg_atomic_read_u32(&worker->is_leaving) != 0)
		result = UDSPG_SEND_LEAVING;
	else if (udspg_channel_read_state(channel) == UDSPG_CHANNEL_BROKEN)
		result = UDSPG_SEND_BROKEN;
	else
	{
		/* With what the queue still has pending of this message, a DETACHED was never visible. */
		switch (shm_mq_send(ends->out, bytes, message, true, true))
		{
			case SHM_MQ_SUCCESS:
				result = UDSPG_SEND_DONE;
				break;
			case SHM_MQ_WOULD_BLOCK:
				/* The word stays set: a leaving worker goes on to empty the ring. */
				udspg_channel_notify(slot, lane);
				return UDSPG_SEND_AGAIN;
			default:
				result = UDSPG_SEND_BROKEN;
				break;
		}
	}
	pg_write_barrier();
	pg_atomic_write_u32(&channel->is_sending, 0);
	if (result == UDSPG_SEND_DONE)
		udspg_channel_notify(slot, lane);
	return result;
}

/* ---- worker ----------------------------------------------------------------------------------- */

bool
udspg_channel_take(uint32 slot, uint32 lane, udspg_channel_ends *ends)
{
	udspg_channel *channel = udspg_shared_channel(slot, lane);
	shm_mq *request = udspg_shared_ring(slot, lane, false);
	shm_mq *reply = udspg_shared_ring(slot, lane, true);

	if (!udspg_channel_change(channel, UDSPG_CHANNEL_OFFERED, UDSPG_CHANNEL_ATTACHED))
		return false;
	shm_mq_set_receiver(request, MyProc);
	shm_mq_set_sender(reply, MyProc);
	udspg_channel_attach(request, reply, ends);
	return true;
}

void
udspg_channel_drop(uint32 slot, uint32 lane, udspg_channel_ends *ends)
{
	udspg_channel *channel = udspg_shared_channel(slot, lane);

	udspg_channel_detach(ends);
	if (udspg_channel_change(channel, UDSPG_CHANNEL_ATTACHED, UDSPG_CHANNEL_BROKEN))
		return;
	(void) udspg_channel_change(channel, UDSPG_CHANNEL_CLOSING, UDSPG_CHANNEL_EMPTY);
}
