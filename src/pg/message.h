/*
 * message.h: what goes through the queues between a session and the worker of a lane.
 *
 * request   header, then count request items        (backend -> worker)
 * reply     header, then count reply items          (worker -> backend), in the same order
 *
 *   header         batch_id u64 | count u16 | version u16 | reserved u32
 *   request item   operation u8 | flags u8 | reserved u16 | token u32 | name 16 | metadata 16
 *   reply item     status u8 | found u8 | region u8 | reserved u8 | token u32 | metadata 16
 *
 * Operation UNDO and the token (which will name the post that an undo takes back) are reserved;
 * flags, reserved fields and tokens are zero.
 */
#ifndef UDSPG_MESSAGE_H
#define UDSPG_MESSAGE_H

#include "postgres.h"

#include "../engine/request.h"

#define UDSPG_MESSAGE_VERSION 1

typedef struct udspg_message_header
{
	uint64 batch_id; /* grows for the life of a session slot, never 0 */
	uint16 count;    /* 1..UDS_BATCH_MAX */
	uint16 version;  /* UDSPG_MESSAGE_VERSION */
	uint32 reserved;
} udspg_message_header;

typedef struct udspg_request_item
{
	uint8 operation; /* uds_operation */
	uint8 flags;
	uint16 reserved;
	uint32 token;
	uds_name name;
	uds_metadata metadata;
} udspg_request_item;

typedef struct udspg_reply_item
{
	uint8 status; /* uds_status */
	uint8 found;
	uint8 region; /* uds_region */
	uint8 reserved;
	uint32 token;
	uds_metadata metadata; /* zero unless found */
} udspg_reply_item;

_Static_assert(sizeof(udspg_message_header) == 16, "message layout");
_Static_assert(offsetof(udspg_message_header, count) == 8, "message layout");
_Static_assert(offsetof(udspg_message_header, version) == 10, "message layout");
_Static_assert(offsetof(udspg_message_header, reserved) == 12, "message layout");
_Static_assert(sizeof(udspg_request_item) == 40, "message layout");
_Static_assert(offsetof(udspg_request_item, token) == 4, "message layout");
_Static_assert(offsetof(udspg_request_item, name) == 8, "message layout");
_Static_assert(offsetof(udspg_request_item, metadata) == 24, "message layout");
_Static_assert(sizeof(udspg_reply_item) == 24, "message layout");
_Static_assert(offsetof(udspg_reply_item, token) == 4, "message layout");
_Static_assert(offsetof(udspg_reply_item, metadata) == 8, "message layout");

/* Bytes of a request or reply of count items. */
static inline Size
udspg_message_request_bytes(uint32 count)
{
	return sizeof(udspg_message_header) + (Size) count * sizeof(udspg_request_item);
}

static inline Size
udspg_message_reply_bytes(uint32 count)
{
	return sizeof(udspg_message_header) + (Size) count * sizeof(udspg_reply_item);
}

/*
 * Check a request message of bytes bytes that holds at most count_max items, before anything in
 * it is used.  The items are checked one by one, when they are taken over.
 */
static inline bool
udspg_message_request_is_sound(const udspg_message_header *header, Size bytes, uint32 count_max)
{
	return bytes >= sizeof(*header) && header->version == UDSPG_MESSAGE_VERSION &&
	       header->reserved == 0 && header->batch_id != 0 && header->count >= 1 &&
	       header->count <= count_max && bytes == udspg_message_request_bytes(header->count);
}

static inline bool
udspg_message_reply_is_sound(const udspg_message_header *header, Size bytes, uint32 count_max)
{
	return bytes >= sizeof(*header) && header->version == UDSPG_MESSAGE_VERSION &&
	       header->reserved == 0 && header->batch_id != 0 && header->count >= 1 &&
	       header->count <= count_max && bytes == udspg_message_reply_bytes(header->count);
}

static inline bool
udspg_message_item_is_sound(const udspg_request_item *item)
{
	return item->operation < UDS_OPERATION_COUNT && item->flags == 0 && item->reserved == 0 &&
	       item->token == 0;
}

#endif
