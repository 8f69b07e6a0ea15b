/*
 * stream.h: a sequential byte stream that structures save themselves to and load from.
 *
 * The implementation behind it (checkpoint.c; a memory buffer in tests) checks what it reads, so
 * that only bytes that were written reach a loader in the right order.  Loaders check them
 * nevertheless: nothing that comes from a file is trusted.
 */
#ifndef UDS_STREAM_H
#define UDS_STREAM_H

#include "status.h"

typedef struct uds_stream uds_stream;

/* Process-local: never lies in the shared block. */
struct uds_stream
{
	/* Append bytes.  Any error of the device, or UDS_STOPPED. */
	uds_status (*write)(uds_stream *stream, const void *data, size_t bytes);
	/* Read exactly bytes.  UDS_ERR_CORRUPT when the stream ends earlier or fails its check. */
	uds_status (*read)(uds_stream *stream, void *data, size_t bytes);
};

UDS_MUST_CHECK static inline uds_status
uds_stream_write(uds_stream *stream, const void *data, size_t bytes)
{
	return stream->write(stream, data, bytes);
}

UDS_MUST_CHECK static inline uds_status
uds_stream_read(uds_stream *stream, void *data, size_t bytes)
{
	return stream->read(stream, data, bytes);
}

#endif
