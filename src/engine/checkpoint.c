/*
 * checkpoint.c: see checkpoint.h.
 */
#include "checkpoint.h"

#include <string.h>

const char *
uds_checkpoint_file_name(uint32_t save)
{
	return save == 0 ? "checkpoint.0" : "checkpoint.1";
}

/* Checksum of the frame in the buffer. */
static uint32_t
frame_crc(const uds_checkpoint *checkpoint, uint32_t data_bytes)
{
	uint64_t seed[2] = { checkpoint->nonce, checkpoint->save_number };
	uint32_t crc = uds_port_crc32c(0, seed, sizeof(seed));

	return uds_port_crc32c(crc,
	                       checkpoint->buffer + sizeof(uint32_t),
	                       sizeof(uds_frame) - sizeof(uint32_t) + data_bytes);
}

/* A frame is done. */
static void
advance(uds_checkpoint *checkpoint, size_t bytes)
{
	checkpoint->offset += bytes;
	checkpoint->sequence++;
	if (checkpoint->done != NULL)
		atomic_store_explicit(checkpoint->done, checkpoint->offset, memory_order_relaxed);
}

/* Write out what the buffer holds as a frame. */
static uds_status
flush_frame(uds_checkpoint *checkpoint)
{
	uds_frame frame = {
		.length = checkpoint->used,
		.sequence = checkpoint->sequence,
		.section = checkpoint->section,
		.index = checkpoint->index,
	};
	size_t bytes = sizeof(frame) + checkpoint->used;
	uds_status status;

	if (uds_port_should_stop(checkpoint->port))
		return UDS_STOPPED;
	memcpy(checkpoint->buffer, &frame, sizeof(frame));
	frame.crc = frame_crc(checkpoint, checkpoint->used);
	memcpy(checkpoint->buffer, &frame, sizeof(frame));
	status = uds_port_file_write(checkpoint->port,
	                             checkpoint->file,
	                             checkpoint->buffer,
	                             bytes,
	                             checkpoint->offset,
	                             checkpoint->error);
	if (status != UDS_OK)
		return status;
	advance(checkpoint, bytes);
	checkpoint->used = 0;
	checkpoint->has_frame = true;
	return UDS_OK;
}

static uds_status
stream_write(uds_stream *stream, const void *data, size_t bytes)
{
	uds_checkpoint *checkpoint = (uds_checkpoint *) stream;
	const uint8_t *from = data;

	while (bytes > 0)
	{
		size_t part = UDS_MIN(bytes, (size_t) (checkpoint->capacity - checkpoint->used));

		memcpy(checkpoint->buffer + sizeof(uds_frame) + checkpoint->used, from, part);
		checkpoint->used += (uint32_t) part;
		from += part;
		bytes -= part;
		if (checkpoint->used == checkpoint->capacity)
		{
			uds_status status = flush_frame(checkpoint);

			if (status != UDS_OK)
				return status;
		}
	}
	return UDS_OK;
}

static uds_status
damaged(uds_checkpoint *checkpoint)
{
	return uds_error_set(checkpoint->error,
	                     UDS_ERR_CORRUPT,
	                     0,
	                     "save %llu is damaged at byte %llu",
	                     (unsigned long long) checkpoint->save_number,
	                     (unsigned long long) checkpoint->offset);
}

/* Read the next frame into the buffer. */
static uds_status
load_frame(uds_checkpoint *checkpoint, uds_frame *frame)
{
	uint8_t *buffer = checkpoint->buffer;
	uds_status status;

	if (uds_port_should_stop(checkpoint->port))
		return UDS_STOPPED;
	status = uds_port_file_read(checkpoint->port,
	                            checkpoint->file,
	                            buffer,
	                            sizeof(*frame),
	                            checkpoint->offset,
	                            NULL,
	                            checkpoint->error);
	if (status == UDS_OK)
	{
		memcpy(frame, buffer, sizeof(*frame));
		if (frame->length > checkpoint->capacity || frame->sequence != checkpoint->sequence)
			return damaged(checkpoint);
		status = uds_port_file_read(checkpoint->port,
		                            checkpoint->file,
		                            buffer + sizeof(*frame),
		                            frame->length,
		                            checkpoint->offset + sizeof(*frame),
		                            NULL,
		                            checkpoint->error);
	}
	if (status == UDS_NOT_FOUND)
		return damaged(checkpoint);
	if (status != UDS_OK)
		return status;
	if (frame_crc(checkpoint, frame->length) != frame->crc)
		return damaged(checkpoint);
	advance(checkpoint, sizeof(*frame) + frame->length);
	checkpoint->used = frame->length;
	checkpoint->position = 0;
	return UDS_OK;
}

static uds_status
stream_read(uds_stream *stream, void *data, size_t bytes)
{
	uds_checkpoint *checkpoint = (uds_checkpoint *) stream;
	uint8_t *to = data;

	while (bytes > 0)
	{
		size_t part = UDS_MIN(bytes, (size_t) (checkpoint->used - checkpoint->position));

		memcpy(to, checkpoint->buffer + sizeof(uds_frame) + checkpoint->position, part);
		checkpoint->position += (uint32_t) part;
		to += part;
		bytes -= part;
		if (bytes > 0)
		{
			uds_frame frame;
			uds_status status = load_frame(checkpoint, &frame);

			if (status != UDS_OK)
				return status;
			if (frame.section != checkpoint->section || frame.index != checkpoint->index ||
			    frame.length == 0)
				return damaged(checkpoint);
		}
	}
	return UDS_OK;
}

static void
prepare(uds_checkpoint *checkpoint, uds_port *port, uint64_t nonce, uint64_t save_number,
        uint8_t *buffer, size_t bytes, uds_error *error)
{
	memset(checkpoint, 0, sizeof(*checkpoint));
	checkpoint->stream.write = stream_write;
	checkpoint->stream.read = stream_read;
	checkpoint->port = port;
	checkpoint->nonce = nonce;
	checkpoint->save_number = save_number;
	checkpoint->buffer = buffer;
	checkpoint->capacity =
		(uint32_t) UDS_MIN(bytes - sizeof(uds_frame), (size_t) UDS_FRAME_DATA_MAX);
	checkpoint->error = error;
}

uds_status
uds_checkpoint_create(uds_checkpoint *checkpoint, uds_port *port, uint32_t save, uint64_t nonce,
                      uint64_t save_number, uint8_t *buffer, size_t bytes, uds_error *error)
{
	uint32_t flags = UDS_FILE_WRITE | UDS_FILE_CREATE | UDS_FILE_TRUNC;

	prepare(checkpoint, port, nonce, save_number, buffer, bytes, error);
	checkpoint->is_writing = true;
	return uds_port_file_open(port,
	                          uds_checkpoint_file_name(save),
	                          flags,
	                          &checkpoint->file,
	                          error);
}

uds_status
uds_checkpoint_open(uds_checkpoint *checkpoint, uds_port *port, uint32_t save, uint64_t nonce,
                    uint64_t save_number, uint8_t *buffer, size_t bytes, uds_error *error)
{
	prepare(checkpoint, port, nonce, save_number, buffer, bytes, error);
	return uds_port_file_open(port,
	                          uds_checkpoint_file_name(save),
	                          UDS_FILE_READ,
	                          &checkpoint->file,
	                          error);
}

static uds_status
begin_reading(uds_checkpoint *checkpoint, uint16_t section, uint16_t index)
{
	uds_frame frame;
	uds_status status;

	if (checkpoint->position != checkpoint->used)
		return damaged(checkpoint);
	status = load_frame(checkpoint, &frame);
	if (status != UDS_OK)
		return status;
	if (frame.section != section || frame.index != index)
		return damaged(checkpoint);
	checkpoint->section = section;
	checkpoint->index = index;
	return UDS_OK;
}

uds_status
uds_checkpoint_skip_to(uds_checkpoint *checkpoint, uds_section section, uint16_t index)
{
	uds_frame frame;

	do
	{
		uds_status status = load_frame(checkpoint, &frame);

		if (status != UDS_OK)
			return status;
		if (frame.section == UDS_SECTION_END)
			return damaged(checkpoint);
	} while (frame.section != (uint16_t) section || frame.index != index);
	checkpoint->section = frame.section;
	checkpoint->index = frame.index;
	return UDS_OK;
}

/* Write what is left of the section; each section has at least one frame. */
static uds_status
end_section(uds_checkpoint *checkpoint)
{
	if (checkpoint->section == 0 || (checkpoint->used == 0 && checkpoint->has_frame))
		return UDS_OK;
	return flush_frame(checkpoint);
}

uds_status
uds_checkpoint_begin(uds_checkpoint *checkpoint, uds_section section, uint16_t index)
{
	uds_status status;

	if (!checkpoint->is_writing)
		return begin_reading(checkpoint, (uint16_t) section, index);
	status = end_section(checkpoint);
	if (status != UDS_OK)
		return status;
	checkpoint->section = (uint16_t) section;
	checkpoint->index = index;
	checkpoint->has_frame = false;
	return UDS_OK;
}

uds_status
uds_checkpoint_finish(uds_checkpoint *checkpoint)
{
	uds_status status = uds_checkpoint_begin(checkpoint, UDS_SECTION_END, 0);

	if (status == UDS_OK && checkpoint->is_writing)
		status = end_section(checkpoint);
	if (status == UDS_OK && checkpoint->is_writing)
		status = uds_port_file_sync(checkpoint->port, checkpoint->file, checkpoint->error);
	if (status == UDS_OK && checkpoint->is_writing)
		status = uds_port_directory_sync(checkpoint->port, checkpoint->error);
	uds_checkpoint_abandon(checkpoint);
	return status;
}

void
uds_checkpoint_abandon(uds_checkpoint *checkpoint)
{
	if (checkpoint->file != NULL)
		uds_port_file_close(checkpoint->port, checkpoint->file);
	checkpoint->file = NULL;
}
