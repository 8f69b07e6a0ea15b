/*
 * store.h: the files of an index: lock, control and volume.
 *
 * Caller of everything: the chapter writer.
 */
#ifndef UDS_STORE_H
#define UDS_STORE_H

#include "block.h"

#pragma GCC visibility push(hidden)

/*
 * Process-local.  All zero but the first part, which the caller sets, and the volume's pointers, of
 * which geometry is the same.
 */
typedef struct uds_store
{
	uds_port *port;
	uds_index *index;         /* gets nonce and generation */
	const uds_config *config; /* of the settings */
	uds_geometry *geometry;   /* of the files, where they are known: that of config, or reduced */

	uds_port_file *lock; /* NULL: the files are not ours */
	uds_volume volume;
	uds_control control;
	bool has_control;        /* control is what the file says */
	bool must_write_control; /* or the file may say something else: a write of it has failed */
	bool is_clean;           /* the files that were opened had been closed in order */
} uds_store;

/* Create the directory if need be, and lock it: UDS_OK, UDS_ERR_IN_USE, UDS_ERR_IO. */
UDS_MUST_CHECK uds_status uds_store_lock(uds_store *store, uds_error *error);

/*
 * Read control and open what it describes under the next generation, or create everything where
 * there is nothing.
 *
 * UDS_ERR_MISMATCH, UDS_ERR_CORRUPT  the files do not fit the configuration, the host or each other
 */
UDS_MUST_CHECK uds_status uds_store_open(uds_store *store, uds_error *error);

/* The same with the control that has been read or written: under the next generation. */
UDS_MUST_CHECK uds_status uds_store_reopen(uds_store *store, uds_error *error);

/* Forget everything: new files with a new nonce; the name key stays when there is one. */
UDS_MUST_CHECK uds_status uds_store_create(uds_store *store, uds_error *error);

/*
 * Let control say that the files have a reduced geometry and no save: from then on they are reduced,
 * and geometry is taken over.  The chapters lie where it has them.  On failure it may be so, too:
 * control has to be read again.
 */
UDS_MUST_CHECK uds_status uds_store_reduce(uds_store *store, const uds_geometry *reduced,
                                           uds_error *error);

/* Give back the place that a reduced volume does not use; a failure is told on this level. */
void uds_store_punch(uds_store *store, uds_log_level level);

/*
 * Read control, and tell whose the files are and of when, as uds_store_open does, but not whether
 * they fit the configuration.  A conversion that was not completed is.  Takes over the geometry of
 * files that fit, and of the configuration for those that do not.
 *
 * fits  [out]  they fit the configuration, or there is no control
 *
 * UDS_OK, UDS_ERR_MISMATCH, UDS_ERR_CORRUPT, UDS_ERR_IO
 */
UDS_MUST_CHECK uds_status uds_store_inspect(uds_store *store, bool *fits, uds_error *error);

/*
 * Put the volume that was made for the configuration, UDS_VOLUME_NEW_FILE, durable and under this
 * nonce, in the place of that which control describes.  From here on only the new one counts; it is
 * renamed when the files are opened.
 */
UDS_MUST_CHECK uds_status uds_store_replace(uds_store *store, uint64_t nonce, uds_error *error);

/*
 * Does control, which was read, describe files that are here?  Those that have moved are, while the
 * copy does not count: the move was not completed.  Those that have arrived are not, when their
 * origin has taken them back.  UDS_OK: control says so now, or UDS_ERR_MISMATCH.
 */
UDS_MUST_CHECK uds_status uds_store_check_place(uds_store *store, uds_error *error);

/* Write control with a state.  On failure store->control is as before, the file may not be. */
UDS_MUST_CHECK uds_status uds_store_write_control(uds_store *store, uds_control_state state,
                                                  uds_error *error);

/* Do without the save.  The next one is not its successor, so that it never stands in for that. */
void uds_store_forget_save(uds_store *store);

/* Close the volume and give up the lock. */
void uds_store_close(uds_store *store);

#pragma GCC visibility pop

#endif
