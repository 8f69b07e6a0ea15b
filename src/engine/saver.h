/*
 * saver.h: a save of the index in memory, and its way back.
 *
 * Sections of a save file (checkpoint.h), all integers little endian:
 *
 *   HEADER          uds_save_header
 *   VOLUME_INDEX z  one per zone of the save: boundary, position, sub-indexes (volume_index.h)
 *   PAGE_MAP        page map
 *   OPEN_CHAPTER z  one per zone of the save: count u64, then count uds_save_record
 *   END
 */
#ifndef UDS_SAVER_H
#define UDS_SAVER_H

#include "block.h"
#include "checkpoint.h"

#pragma GCC visibility push(hidden)

/* As stored. */
typedef struct uds_save_header
{
	uint64_t newest_chapter; /* the open one */
	uint32_t zone_count;
	uint32_t structure;  /* uds_index_structure */
	uint64_t generation; /* of the start that made the save */
	uint64_t reserved;
} uds_save_header;

_Static_assert(sizeof(uds_save_header) == 32, "stored as raw bytes");

/* As stored. */
typedef struct uds_save_record
{
	uds_record record;
	uint32_t is_tombstone;
	uint32_t reserved;
} uds_save_record;

_Static_assert(sizeof(uds_save_record) == 40, "stored as raw bytes");

/*
 * Write and sync a save file.  All zones stand still, with the same open chapter, and every chapter
 * before it is on the volume.  Caller: the writer.
 */
UDS_MUST_CHECK uds_status uds_saver_save(uds_index *index, uds_port *port, uint32_t save,
                                         uint64_t save_number, uds_error *error);

/*
 * Load a save file into a block that was just laid out.  The records of the open chapter go to the
 * shares of their zones; what finds no place there (another zone count) to the share of the next
 * chapter, see uds_saver_collect_open.
 *
 * newest       [out]  number of the open chapter of the save
 * has_surplus  [out]  some record is in the wrong share
 *
 * UDS_OK, UDS_STOPPED, UDS_NOT_FOUND (no such file), UDS_ERR_CORRUPT, UDS_ERR_IO; after a failure
 * the block has to be laid out again.
 */
UDS_MUST_CHECK uds_status uds_saver_load(uds_index *index, uds_port *port, uint32_t save,
                                         uint64_t save_number, uint64_t *newest, bool *has_surplus,
                                         uds_error *error);

/* Gets a record; anything but UDS_OK ends the reading. */
typedef uds_status (*uds_saver_take)(void *context, const uds_save_record *saved);

/*
 * Read the open chapter of a save file, be it of another configuration.  The whole file is checked,
 * but only when it has ended: who must not get records of a damaged save reads it once before.
 *
 * buffer, bytes  scratch memory: UDS_SAVER_READ_BYTES
 * newest         [out]  number of the open chapter
 * take, context  is called with each record; NULL: with none
 *
 * UDS_OK, what take has returned, UDS_STOPPED, UDS_NOT_FOUND (no such file), UDS_ERR_CORRUPT,
 * UDS_ERR_IO
 */
UDS_MUST_CHECK uds_status uds_saver_read_open(uds_port *port, uint32_t save, uint64_t nonce,
                                              uint64_t save_number, uint8_t *buffer, size_t bytes,
                                              uint64_t *newest, uds_saver_take take, void *context,
                                              uds_error *error);

#define UDS_SAVER_READ_BYTES (sizeof(uds_frame) + UDS_FRAME_DATA_MAX)

/* Is a name among the records of the open chapter that was loaded? */
bool uds_saver_is_loaded(const uds_index *index, uint64_t newest, const uds_name *name);

/* List the loaded records of the open chapter in index->writer_refs; returns how many. */
uint32_t uds_saver_collect_open(uds_index *index, uint64_t newest);

#pragma GCC visibility pop

#endif
