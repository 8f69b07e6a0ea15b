/*
 * checkpoint.h: the stream of a save file: frames with checksums, in sections.
 *
 * A file is a sequence of frames.  Each has a header (uds_frame) and up to the size of the buffer
 * of data.  The checksum of a frame starts from the nonce and the number of the save, and covers
 * header and data, so frames of another save, or in another order, do not pass.  A section is a
 * run of frames of one kind and index.  The last frame is of the kind UDS_SECTION_END; without it
 * the save does not exist.
 */
#ifndef UDS_CHECKPOINT_H
#define UDS_CHECKPOINT_H

#include <stdatomic.h>

#include "port.h"
#include "stream.h"

#pragma GCC visibility push(hidden)

typedef enum uds_section
{
	UDS_SECTION_HEADER = 1,
	UDS_SECTION_VOLUME_INDEX = 2, /* index: zone */
	UDS_SECTION_PAGE_MAP = 3,
	UDS_SECTION_OPEN_CHAPTER = 4, /* index: zone */
	UDS_SECTION_END = 5
} uds_section;

/* Header of a frame, as stored. */
typedef struct uds_frame
{
	uint32_t crc;      /* CRC-32C of nonce, save number, the rest of the header and the data */
	uint32_t length;   /* bytes of data behind the header */
	uint32_t sequence; /* number of the frame in the file, from 0 */
	uint16_t section;  /* uds_section */
	uint16_t index;    /* within the section's kind */
} uds_frame;

_Static_assert(sizeof(uds_frame) == 16, "stored as raw bytes");
_Static_assert(offsetof(uds_frame, section) == 12, "stored as raw bytes");

#define UDS_FRAME_DATA_MAX (1u << 20)

/* One file that is being written or read.  Process-local. */
typedef struct uds_checkpoint
{
	uds_stream stream; /* of the section that was begun */
	uds_port *port;
	uds_port_file *file;
	uint64_t nonce;
	uint64_t save_number;
	uint64_t offset; /* in the file, of the next frame */
	uint32_t sequence;
	uint16_t section;
	uint16_t index;
	uint8_t *buffer; /* header and data of one frame */
	uint32_t capacity;
	uint32_t used;     /* bytes of data in the buffer */
	uint32_t position; /* reading: bytes of them consumed */
	bool is_writing;
	bool has_frame;         /* writing: the section has a frame already */
	_Atomic uint64_t *done; /* may be set after begin: gets the offset, for those who watch */
	uds_error *error;
} uds_checkpoint;

/* Name of save file 0 or 1. */
const char *uds_checkpoint_file_name(uint32_t save);

/*
 * Begin to write a save file.
 *
 * buffer, bytes  scratch memory, at least 4096 bytes, until finish or abandon; a file is read with
 *                a buffer no smaller than the one it was written with
 * error          gets the text of any failure until then
 */
UDS_MUST_CHECK uds_status uds_checkpoint_create(uds_checkpoint *checkpoint, uds_port *port,
                                                uint32_t save, uint64_t nonce, uint64_t save_number,
                                                uint8_t *buffer, size_t bytes, uds_error *error);

/* Open a save file for reading: the same arguments.  UDS_NOT_FOUND when there is none. */
UDS_MUST_CHECK uds_status uds_checkpoint_open(uds_checkpoint *checkpoint, uds_port *port,
                                              uint32_t save, uint64_t nonce, uint64_t save_number,
                                              uint8_t *buffer, size_t bytes, uds_error *error);

/*
 * Begin the next section, whose data goes through checkpoint->stream.  When reading,
 * UDS_ERR_CORRUPT if another section comes next or data of the former one is left.
 */
UDS_MUST_CHECK uds_status uds_checkpoint_begin(uds_checkpoint *checkpoint, uds_section section,
                                               uint16_t index);

/*
 * When reading: begin a section, going past all that comes before it.  What is passed is checked
 * all the same.  UDS_ERR_CORRUPT if the section does not come.
 */
UDS_MUST_CHECK uds_status uds_checkpoint_skip_to(uds_checkpoint *checkpoint, uds_section section,
                                                 uint16_t index);

/* Write the end and make the file durable; when reading, check that the end is there.  Closes. */
UDS_MUST_CHECK uds_status uds_checkpoint_finish(uds_checkpoint *checkpoint);

/* Close the file of a save or load that has failed. */
void uds_checkpoint_abandon(uds_checkpoint *checkpoint);

#pragma GCC visibility pop

#endif
