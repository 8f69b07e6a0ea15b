/*
 * fuzz_message.c: a queue message that is taken for sound lies within its bytes, and its items are
 * ones that the engine takes.
 */
/* First, since the server's headers replace functions of the C library. */
#include "fuzz.h"

#include "postgres.h"

#include "../../src/pg/message.h"

static void
read_request(const void *message, size_t bytes, uint32 count_max)
{
	const udspg_message_header *header = message;
	const udspg_request_item *items = (const udspg_request_item *) (header + 1);

	if (!udspg_message_request_is_sound(header, bytes, count_max))
		return;
	FUZZ_REQUIRE(header->count >= 1 && header->count <= count_max && header->batch_id != 0);
	for (uint32 i = 0; i < header->count; i++)
	{
		uds_request request;

		if (!udspg_message_item_is_sound(&items[i]))
			continue;
		request.operation = items[i].operation;
		request.name = items[i].name;
		request.metadata = items[i].metadata;
		FUZZ_REQUIRE(request.operation < UDS_OPERATION_COUNT);
	}
}

static void
read_reply(const void *message, size_t bytes, uint32 count_max)
{
	const udspg_message_header *header = message;
	const udspg_reply_item *items = (const udspg_reply_item *) (header + 1);
	uint32 sum = 0;

	if (!udspg_message_reply_is_sound(header, bytes, count_max))
		return;
	FUZZ_REQUIRE(header->count >= 1 && header->count <= count_max);
	for (uint32 i = 0; i < header->count; i++)
		sum += items[i].status + items[i].metadata.bytes[UDS_METADATA_BYTES - 1];
	/* Each is at most 2 * 255: read them, and use what was read. */
	FUZZ_REQUIRE(sum <= 510 * (uint32) header->count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_input input = { data, bytes };
	uint8_t mode = fuzz_take_u8(&input);
	uint32 count_max = 1 + fuzz_take_u16(&input) % UDS_BATCH_MAX;
	size_t length = input.bytes;
	udspg_message_header *message;

	/* Exactly as long as it is, so that nothing behind it can be read unnoticed. */
	message = malloc(length > 0 ? length : 1);
	fuzz_take(&input, message, length);
	if (length >= sizeof(*message) && (mode & 1) != 0)
	{
		message->version = UDSPG_MESSAGE_VERSION;
		message->reserved = 0;
		if ((mode & 2) != 0)
			message->count = (uint16) ((length - sizeof(*message)) /
			                           ((mode & 4) != 0 ? sizeof(udspg_request_item)
			                                            : sizeof(udspg_reply_item)));
	}
	read_request(message, length, count_max);
	read_reply(message, length, count_max);
	free(message);
	return 0;
}
