/*
 * recovery.h: from the files to an index in memory.
 *
 * Recovery = newest valid save + the chapters sealed since; without a save, every chapter of the
 * volume.  The open chapter of the save is used whenever its number is not sealed on the volume.
 */
#ifndef UDS_RECOVERY_H
#define UDS_RECOVERY_H

#include "block.h"

#pragma GCC visibility push(hidden)

typedef struct uds_recovery_result
{
	uint64_t newest;            /* number of the open chapter */
	uint64_t replayed_chapters; /* from the volume */
	uint64_t sealed_chapters;   /* found on the volume */
	uint64_t damaged_chapters;  /* seal or, of the newest, page */
	uint64_t future_chapters;   /* not in this host's past */
	uint64_t first_future;      /* lowest number among them */
	uint64_t damaged_pages;     /* record pages met in replay */
	bool has_save;              /* a save was loaded */
	uint32_t save;              /* file it was in: 0 or 1 */
	bool is_save_damaged;       /* control names one that could not be loaded */
} uds_recovery_result;

/*
 * Recover into a block that was just laid out (it is laid out again where a save turns out to be
 * damaged half way).  All zones belong to the caller, the writer; afterwards they can go on with
 * chapter result->newest open.
 *
 * control   valid_save, save_number, and what of the files is past
 * is_clean  the files were closed in order: everything in them is durable
 *
 * What cannot be read ends it: chapters would be lost for good that the next try may find.  Only a
 * host that accepts stale files goes on without, as with damage.
 *
 * UDS_OK, UDS_STOPPED (start over with a fresh block), UDS_ERR_IO, UDS_ERR_NO_SPACE,
 * UDS_ERR_INTERNAL
 */
UDS_MUST_CHECK uds_status uds_recovery_run(uds_index *index, uds_volume *volume,
                                           const uds_control *control, bool is_clean,
                                           uds_recovery_result *result, uds_error *error);

#pragma GCC visibility pop

#endif
