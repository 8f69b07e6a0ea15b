/*
 * lane_batch.c: batches of requests, from a message to its reply.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "lane_batch.h"
#include "shared.h"

/* Batches of few requests are most of them, and small. */
#define UDSPG_LANE_BATCH_SMALL 8

static udspg_lane_batch *free_small = NULL;
static udspg_lane_batch *free_large = NULL;

udspg_lane_batch *
udspg_lane_batch_claim(uint32 count)
{
	bool is_small = count <= UDSPG_LANE_BATCH_SMALL;
	udspg_lane_batch **list = is_small ? &free_small : &free_large;
	uint32 capacity = is_small ? UDSPG_LANE_BATCH_SMALL : udspg_shared_header->batch_max;
	Size requests = offsetof(udspg_lane_batch, requests) + capacity * sizeof(uds_request);
	udspg_lane_batch *batch = *list;

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
	batch->channel = NULL;
	batch->count = count;
	batch->remaining = count;
	return batch;
}

void
udspg_lane_batch_release(udspg_lane_batch *batch)
{
	udspg_lane_batch **list = batch->capacity == UDSPG_LANE_BATCH_SMALL ? &free_small : &free_large;

	batch->next = *list;
	*list = batch;
}

void
udspg_lane_batch_write_reply(udspg_lane_batch *batch)
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
