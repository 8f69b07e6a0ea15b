/*
 * channel.h: the two queues between a session and the worker of a lane.
 *
 * A queue (shm_mq) lies in main shared memory and is one-shot: its sender and its receiver are set
 * once, and it may only be created anew when both handles are detached.  So a channel has a state:
 *
 *   EMPTY ──offer──> OFFERED ──take──> ATTACHED ──close──> CLOSING ──drop──> EMPTY
 *     ^                │ close            │ drop
 *     └────────────────┴─ close ─ BROKEN <┘
 *
 *   offer, close   by the session
 *   take, drop     by the worker of the lane; by its successor for what it has left behind
 *
 * Who ends a channel first detaches its own handles and then changes the state; the other one finds
 * CLOSING or BROKEN, detaches and sets EMPTY.
 *
 * is_sending closes a race with a worker that leaves.  A session sets it, looks whether the worker
 * is leaving, sends or not, and clears it; a leaving worker announces that first, then waits until
 * it has seen the word clear, and then empties the ring.  So no request is left in the ring of an
 * orderly leaving worker.
 */
#ifndef UDSPG_CHANNEL_H
#define UDSPG_CHANNEL_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/shm_mq.h"

typedef enum udspg_channel_state
{
	UDSPG_CHANNEL_EMPTY = 0,
	UDSPG_CHANNEL_OFFERED = 1,
	UDSPG_CHANNEL_ATTACHED = 2,
	UDSPG_CHANNEL_CLOSING = 3,
	UDSPG_CHANNEL_BROKEN = 4
} udspg_channel_state;

/* In shared memory, in a cache line of its own. */
typedef struct udspg_channel
{
	/* atomic: udspg_channel_state; exchanges are full barriers */
	pg_attribute_aligned(64) pg_atomic_uint32 state;
	pg_atomic_uint32 is_sending; /* atomic: by the session, see above */
	pg_atomic_uint32 is_polling; /* atomic: by the session, it polls before it sleeps; a hint */
} udspg_channel;

/* One process's ends of a channel. */
typedef struct udspg_channel_ends
{
	shm_mq_handle *in; /* NULL = not attached */
	shm_mq_handle *out;
} udspg_channel_ends;

extern udspg_channel_state udspg_channel_read_state(udspg_channel *channel);

/* ---- session ---- */

/*
 * Create the queues of an EMPTY channel, attach to them and offer them to the worker.  Allocates
 * in TopMemoryContext and may throw; the channel is EMPTY then.
 */
extern void udspg_channel_offer(uint32 slot, uint32 lane, udspg_channel_ends *ends);

/* End the channel from the session's side, in any state.  Never waits, never throws. */
extern void udspg_channel_close(uint32 slot, uint32 lane, udspg_channel_ends *ends);

typedef enum udspg_send_result
{
	UDSPG_SEND_DONE,
	UDSPG_SEND_AGAIN,   /* the ring is full: call again with the same bytes, or close the channel */
	UDSPG_SEND_LEAVING, /* the worker leaves: nothing was sent */
	UDSPG_SEND_BROKEN   /* there is no receiver any more: nothing was sent */
} udspg_send_result;

/* Send a message and tell the worker.  Never waits. */
extern udspg_send_result udspg_channel_send(uint32 slot, uint32 lane, udspg_channel_ends *ends,
                                            const void *message, Size bytes);

/* ---- worker ---- */

/*
 * Take an OFFERED channel.  False when the session has withdrawn it.  May throw; the channel has
 * to be dropped then.
 */
extern bool udspg_channel_take(uint32 slot, uint32 lane, udspg_channel_ends *ends);

/* End the channel from the worker's side: a CLOSING one becomes EMPTY, an ATTACHED one BROKEN. */
extern void udspg_channel_drop(uint32 slot, uint32 lane, udspg_channel_ends *ends);

#endif
