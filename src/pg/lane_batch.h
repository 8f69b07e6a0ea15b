/*
 * lane_batch.h: batches of requests, from a message to its reply.
 *
 * The memory of a batch is kept for the next one: a worker allocates what it has needed at a time,
 * and no more after that.
 */
#ifndef UDSPG_LANE_BATCH_H
#define UDSPG_LANE_BATCH_H

#include "postgres.h"

#include "message.h"

typedef struct udspg_lane_channel udspg_lane_channel;
typedef struct udspg_lane_batch udspg_lane_batch;

struct udspg_lane_batch
{
	udspg_lane_batch *next;      /* among free ones, ready ones, or replies of a channel */
	udspg_lane_channel *channel; /* NULL: its session has gone */
	udspg_message_header *reply; /* behind the requests */
	uint64 batch_id;
	uint32 capacity;
	uint32 count;
	uint32 remaining; /* requests without an answer */
	uds_request requests[FLEXIBLE_ARRAY_MEMBER];
};

/* A batch for count requests without a channel, or NULL when there is no memory. */
extern udspg_lane_batch *udspg_lane_batch_claim(uint32 count);
extern void udspg_lane_batch_release(udspg_lane_batch *batch);

/* Write the reply of a batch whose requests are all answered. */
extern void udspg_lane_batch_write_reply(udspg_lane_batch *batch);

/* ---- batches in a row ---- */

typedef struct udspg_lane_queue
{
	udspg_lane_batch *first;
	udspg_lane_batch **last;
} udspg_lane_queue;

static inline void
udspg_lane_queue_init(udspg_lane_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static inline void
udspg_lane_queue_put(udspg_lane_queue *queue, udspg_lane_batch *batch)
{
	batch->next = NULL;
	*queue->last = batch;
	queue->last = &batch->next;
}

/* NULL when it is empty. */
static inline udspg_lane_batch *
udspg_lane_queue_take(udspg_lane_queue *queue)
{
	udspg_lane_batch *batch = queue->first;

	if (batch != NULL)
	{
		queue->first = batch->next;
		if (queue->first == NULL)
			queue->last = &queue->first;
	}
	return batch;
}

#endif
