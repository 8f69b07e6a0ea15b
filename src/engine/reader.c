/*
 * reader.c: the worker that performs the reads of the page cache and loads sparse chapters.
 *
 * A reader is a guest of the index (block.h): it enters, serves a piece of the queues and leaves.
 * It says that it is idle before it looks at the queues for the last time, so that what is queued
 * after that look wakes it.
 */
#include "reader.h"

#include <stdio.h>

struct uds_reader
{
	uds_index *index;
	uds_port *port;
	uint32_t number;
	uint64_t epoch; /* of the block that the volume was opened for */
	uint64_t moves; /* of its files then */
	uds_volume volume;
};

size_t
uds_reader_size(void)
{
	return sizeof(uds_reader);
}

uds_status
uds_reader_attach(void *memory, uds_index *index, uds_port *port, uint32_t number,
                  uds_reader **result, uds_error *error)
{
	uds_reader *reader = memory;
	char reason[64];

	memset(reader, 0, sizeof(*reader));
	reader->index = index;
	reader->port = port;
	reader->number = number;
	*result = reader;
	atomic_fetch_or(&index->readers_present, 1u << number);
	if (atomic_load(&index->guests[number].is_inside) == 0)
		return UDS_OK;
	snprintf(reason, sizeof(reason), "reader %u died inside a read", number);
	/* In this order: the writer waits until it has left. */
	uds_block_report_death(index, port, reason);
	uds_block_leave(index, port, number);
	return uds_error_set(error, UDS_ERR_INTERNAL, 0, "%s", reason);
}

/* Open the volume for the block as it is laid out now, and where it is now. */
static void
adopt_block(uds_reader *reader)
{
	uds_index *index = reader->index;
	uint64_t epoch = atomic_load_explicit(&index->epoch, memory_order_acquire);

	if (epoch == reader->epoch &&
	    atomic_load_explicit(&index->moves, memory_order_acquire) == reader->moves)
		return;
	reader->moves =
		uds_block_open_volume(index, reader->port, &reader->volume, "reader", reader->number);
	reader->epoch = epoch;
}

uds_status
uds_reader_work(uds_reader *reader)
{
	uds_index *index = reader->index;
	uds_status status;

	if (!uds_block_enter(index, reader->port, reader->number))
		return UDS_PENDING;
	adopt_block(reader);
	uds_page_cache_set_idle(index->page_cache, reader->number, false);
	status = uds_block_serve(index, &reader->volume);
	if (status == UDS_NOT_FOUND)
	{
		uds_page_cache_set_idle(index->page_cache, reader->number, true);
		status = uds_block_serve(index, &reader->volume);
		if (status == UDS_OK)
			uds_page_cache_set_idle(index->page_cache, reader->number, false);
	}
	uds_block_leave(index, reader->port, reader->number);
	return status;
}

void
uds_reader_detach(uds_reader *reader)
{
	uds_index *index = reader->index;

	if (reader->volume.port != NULL)
		uds_volume_close(&reader->volume);
	/* A wake-up that this one can no longer use goes to another reader. */
	if (atomic_load_explicit(&index->epoch, memory_order_acquire) != 0)
	{
		uds_page_cache_set_idle(index->page_cache, reader->number, false);
		uds_page_cache_wake_reader(index->page_cache, reader->port);
	}
	/* Zones read themselves when the last reader has gone, and one of them may be asleep. */
	atomic_fetch_and(&index->readers_present, ~(1u << reader->number));
	for (uint32_t i = 0; i < index->config.zone_count; i++)
		uds_port_wake(reader->port, UDS_WORKER_ZONE + i);
}
