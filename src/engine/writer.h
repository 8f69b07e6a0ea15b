/*
 * writer.h: the chapter writer as a worker: what its modules share.
 *
 * Its calls are declared in index.h (uds_writer_*), where its host finds them.
 */
#ifndef UDS_WRITER_H
#define UDS_WRITER_H

#include "block.h"
#include "store.h"

#pragma GCC visibility push(hidden)

struct uds_writer
{
	uds_index *index;
	uds_port *port;
	uds_config config; /* of the settings */
	uds_geometry
		geometry; /* of the files, where they are known: that of the settings, or reduced */
	uds_store store;
	bool has_zones;        /* all zones belong to this writer */
	bool is_open;          /* it knows the files: the index was online or suspended under it */
	uint64_t rebuilt_from; /* number + 1 of the save that the last broken index came from, or 0 */
};

/*
 * Take all zones; each worker lets go at its next request boundary.  No guest is inside then, and
 * none enters.  UDS_OK or UDS_STOPPED (they were given back).
 */
UDS_MUST_CHECK uds_status uds_writer_take_zones(uds_writer *writer);
/* The same, to save or write what is in memory; UDS_ERR_STATE when the index has failed while the
 * writer waited for them: memory is not trusted then, and the zones were given back. */
UDS_MUST_CHECK uds_status uds_writer_take_good_zones(uds_writer *writer, uds_error *error);
void uds_writer_give_zones(uds_writer *writer);

/* Between the two the writer changes the block: a successor does not trust it.  leave passes the
 * status on; a broken invariant marks the index failed. */
void uds_writer_enter(uds_writer *writer);
uds_status uds_writer_leave(uds_writer *writer, uds_status status, uds_error *error);

/* Is the index of a suspended block whole? */
bool uds_writer_is_held(const uds_index *index);

/* UDS_ERR_STATE, with a text, and the state and its reason as detail. */
uds_status uds_writer_refuse(uds_writer *writer, const char *what, uds_error *error);

/* Take the index offline for the reason in *error, unless the status is UDS_STOPPED; passes the
 * status on. */
uds_status uds_writer_go_offline(uds_writer *writer, uds_status status, uds_error *error);

/*
 * Bring all zones, which belong to the writer, to the same open chapter, and write all chapters
 * before it.  UDS_OK, UDS_STOPPED, or what a write has failed with (the index is read only then).
 */
UDS_MUST_CHECK uds_status uds_writer_settle(uds_writer *writer, uds_error *error);

/*
 * Close the open chapter of all zones, which belong to the writer, if it holds anything, and write
 * all chapters, so that the volume has everything.  As uds_writer_settle; UDS_ERR_INTERNAL when a
 * zone cannot close it.
 */
UDS_MUST_CHECK uds_status uds_writer_write_everything(uds_writer *writer, uds_error *error);

/* Save what stands still and is settled, over the save that control does not name, and let control
 * name it, with a state.  On failure the earlier save counts. */
UDS_MUST_CHECK uds_status uds_writer_save(uds_writer *writer, uds_control_state state,
                                          uds_error *error);

/* Lay out the block and fill it from the open files.  The zones belong to the writer. */
UDS_MUST_CHECK uds_status uds_writer_recover(uds_writer *writer, uds_error *error);

/* Announce a recovered index, and give the zones. */
void uds_writer_set_online(uds_writer *writer);

/* Everything from the locked files to the state online. */
UDS_MUST_CHECK uds_status uds_writer_open_index(uds_writer *writer, uds_error *error);

/* Start over what was interrupted, or could not be opened: lock the files if they are not. */
UDS_MUST_CHECK uds_status uds_writer_open_again(uds_writer *writer, uds_error *error);

#pragma GCC visibility pop

#endif
