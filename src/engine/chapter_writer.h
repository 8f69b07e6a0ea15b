/*
 * chapter_writer.h: from closed shares in memory to a sealed chapter on the volume.
 *
 * All functions are for the chapter writer alone; they use the block's scratch memory.
 */
#ifndef UDS_CHAPTER_WRITER_H
#define UDS_CHAPTER_WRITER_H

#include "block.h"

#pragma GCC visibility push(hidden)

/* Has every zone closed this chapter? */
bool uds_chapter_writer_is_closed(const uds_index *index, uint64_t chapter);

/*
 * List the records of a chapter that all zones have closed, in index->writer_refs: those at the
 * same position of their zones' shares stand together, as they came about together.  Returns how
 * many.
 */
uint32_t uds_chapter_writer_collect(uds_index *index, uint64_t chapter);

/*
 * Write count records of index->writer_refs as a chapter: pages, seal, one sync; then publish it
 * in the page map and the chapter slots.  chapters_written is left to the caller.
 *
 * stamp  the host's mark of a time when all the records were there: now, or earlier
 *
 * UDS_OK               durable and published
 * UDS_STOPPED, UDS_ERR_IO, UDS_ERR_NO_SPACE
 *                      the place in the volume holds nothing; the call may be repeated
 * UDS_ERR_INTERNAL     the chapter index could not be built
 */
UDS_MUST_CHECK uds_status uds_chapter_writer_write(uds_index *index, uds_volume *volume,
                                                   uint64_t chapter, uint32_t count,
                                                   uds_stamp stamp, uds_error *error);

#pragma GCC visibility pop

#endif
