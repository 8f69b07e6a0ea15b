/*
 * move.c: moving the files of an index to another directory.
 *
 * The block stays as it is, all zones stand still, and only files are opened anew.  "Here" is the
 * directory of before, "there" the new one.  Order of writes:
 *
 *   here   chapters and a save, as far as they can be written
 *   there  lock, volume and save, synced, read back - control "arriving", which names here
 *   here   control "moved", which names there
 *   there  control as it was here: from now on the files are there
 *   there  chapters and a save, unless they were written before
 *   here   volume and saves removed; control and lock stay
 *
 * Whenever this ends, one of both directories opens (store.c).  Here: while control does not say
 * "moved", or the copy that it names says "arriving".  There: when control says neither, unless it
 * still names a directory, from which the same files have not moved; the next write of control
 * there names none.  So a copy is removed only when control here is known not to say "moved".
 */
#include "writer.h"

#include <errno.h>

#include "checkpoint.h"

#define PIECE_BYTES ((size_t) UDS_IMAGE_BYTES_MIN)

/* What is synced at once takes no time that a host would miss. */
#define SYNC_BYTES (16 * 1024 * 1024)

typedef struct move
{
	uds_writer *writer;
	uds_port *there;
	const char *name;
	bool is_new;           /* the directory was made for this */
	bool is_claimed;       /* it is empty, and ours: what is in it now is the copy */
	uds_port_file *lock;   /* of the other directory: there, and at last here */
	uds_port_file *volume; /* of the copy */
	uds_control arriving;  /* control of the copy */
	bool has_saved;        /* nothing is in memory that the files do not have */
	bool is_suspended;     /* and stays so */
} move;

/* ---- the new place -------------------------------------------------------------------------------- */

static uds_status
lock_there(move *move, uds_error *error)
{
	uds_port_file *lock;
	uds_status status = uds_port_file_open(move->there,
	                                       UDS_LOCK_FILE,
	                                       UDS_FILE_WRITE | UDS_FILE_CREATE,
	                                       &lock,
	                                       error);

	if (status != UDS_OK)
		return status;
	status = uds_port_file_lock(move->there, lock, error);
	if (status == UDS_OK)
	{
		move->lock = lock;
		return UDS_OK;
	}
	uds_port_file_close(move->there, lock);
	/* Somebody else's stays.  One that is left over does no harm. */
	if (status != UDS_ERR_IN_USE)
		(void) !uds_port_file_remove(move->there, UDS_LOCK_FILE, NULL);
	return status;
}

/* Make the directory if it is absent, and make sure that it is empty and nobody else's. */
static uds_status
claim(move *move, uds_error *error)
{
	uds_status status = uds_port_directory_is_empty(move->there, NULL, error);

	move->is_new = status == UDS_NOT_FOUND;
	if (status == UDS_NOT_FOUND)
		status = uds_port_directory_create(move->there, error);
	if (status == UDS_OK)
		status = lock_there(move, error);
	/* Somebody else may have had it, and left, between the first look and the lock. */
	if (status == UDS_OK)
		status = uds_port_directory_is_empty(move->there, UDS_LOCK_FILE, error);
	move->is_claimed = status == UDS_OK;
	if (status == UDS_ERR_IO && error->system_errno == ENOTEMPTY)
		uds_error_hint(error,
		               "Name a directory that is absent or empty, for example a new one in it.");
	return status;
}

/* Remove volume and saves: UDS_OK, or the first failure, after trying all. */
static uds_status
remove_data(uds_port *port, uds_error *error)
{
	const char *const names[] = { UDS_VOLUME_FILE,
		                          uds_checkpoint_file_name(0),
		                          uds_checkpoint_file_name(1) };
	uds_status result = UDS_OK;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		uds_error own = { 0 };
		uds_status status = uds_port_file_remove(port, names[i], &own);

		if (status != UDS_OK && result == UDS_OK)
		{
			result = status;
			*error = own;
		}
	}
	return result;
}

/* Leave the new place as it was.  Control goes first: without it there is nothing to open. */
static void
abandon(move *move)
{
	uds_error error = { 0 };
	uds_status status = UDS_OK;

	if (move->volume != NULL)
		uds_port_file_close(move->there, move->volume);
	if (move->is_claimed)
	{
		status = uds_port_file_remove(move->there, UDS_CONTROL_FILE, &error);
		if (status == UDS_OK)
			status = uds_port_file_remove(move->there, UDS_CONTROL_NEW_FILE, &error);
		if (status == UDS_OK)
			status = remove_data(move->there, &error);
		if (status == UDS_OK)
			status = uds_port_file_remove(move->there, UDS_LOCK_FILE, &error);
	}
	if (status != UDS_OK)
		uds_port_log(move->writer->port,
		             UDS_LOG_WARNING,
		             "copy in \"%s\" could not be removed: %s",
		             move->name,
		             error.message);
	if (move->lock != NULL)
		uds_port_file_close(move->there, move->lock);
	if (move->is_new)
		uds_port_directory_remove(move->there);
}

/* ---- copies --------------------------------------------------------------------------------------- */

static uds_status
read_piece(move *move, uds_port_file *file, uint64_t offset, size_t bytes, uds_error *error)
{
	uds_index *index = move->writer->index;
	uds_status status;

	if (uds_port_should_stop(move->writer->port))
		return UDS_STOPPED;
	status = uds_port_file_read(move->writer->port,
	                            file,
	                            index->writer_image,
	                            bytes,
	                            offset,
	                            NULL,
	                            error);
	if (status == UDS_NOT_FOUND)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "file is shorter than it was");
	if (status == UDS_OK)
		atomic_fetch_add_explicit(&index->progress_done, bytes, memory_order_relaxed);
	return status;
}

/* Copy the contents and sync them; crc: of what was read. */
static uds_status
copy_contents(move *move, uds_port_file *from, uds_port_file *to, uint64_t size, uint32_t *crc,
              uds_error *error)
{
	const uint8_t *piece = move->writer->index->writer_image;
	uds_status status = UDS_OK;

	*crc = 0;
	for (uint64_t done = 0, synced = 0; done < size && status == UDS_OK;)
	{
		size_t bytes = (size_t) UDS_MIN(size - done, (uint64_t) PIECE_BYTES);

		status = read_piece(move, from, done, bytes, error);
		if (status == UDS_OK)
			status = uds_port_file_write(move->there, to, piece, bytes, done, error);
		if (status != UDS_OK)
			return status;
		*crc = uds_port_crc32c(*crc, piece, bytes);
		done += bytes;
		if (done - synced >= SYNC_BYTES)
		{
			status = uds_port_file_sync(move->there, to, error);
			synced = done;
		}
	}
	return status == UDS_OK ? uds_port_file_sync(move->there, to, error) : status;
}

/* Is the copy what was read? */
static uds_status
check_contents(move *move, uds_port_file *copy, uint64_t size, uint32_t expected, const char *name,
               uds_error *error)
{
	uint32_t crc = 0;
	uint64_t found;
	uds_status status = uds_port_file_size(move->there, copy, &found, error);

	for (uint64_t done = 0; done < size && status == UDS_OK;)
	{
		size_t bytes = (size_t) UDS_MIN(size - done, (uint64_t) PIECE_BYTES);

		status = read_piece(move, copy, done, bytes, error);
		if (status == UDS_OK)
			crc = uds_port_crc32c(crc, move->writer->index->writer_image, bytes);
		done += bytes;
	}
	if (status == UDS_OK && (found != size || crc != expected))
		return uds_error_set(error,
		                     UDS_ERR_CORRUPT,
		                     0,
		                     "copy of file \"%s\" is not what was written",
		                     name);
	return status;
}

static uds_status
copy_file(move *move, uds_port_file *from, const char *name, uds_error *error)
{
	uint32_t flags = UDS_FILE_WRITE | UDS_FILE_CREATE | UDS_FILE_TRUNC;
	uds_port_file *to;
	uint64_t size;
	uint32_t crc;
	uds_status status = uds_port_file_size(move->writer->port, from, &size, error);

	if (status == UDS_OK)
		status = uds_port_file_open(move->there, name, flags, &to, error);
	if (status != UDS_OK)
		return status;
	status = copy_contents(move, from, to, size, &crc, error);
	if (status == UDS_OK)
		status = check_contents(move, to, size, crc, name, error);
	uds_port_file_close(move->there, to);
	return status;
}

/* The files to copy; one that is not there is NULL, its name too. */
typedef struct sources
{
	uds_port_file *files[2];
	const char *names[2];
} sources;

static void
close_sources(move *move, sources *sources)
{
	for (int i = 0; i < 2; i++)
	{
		if (sources->files[i] != NULL)
			uds_port_file_close(move->writer->port, sources->files[i]);
	}
}

/* Open volume and save; total: bytes of both, twice. */
static uds_status
open_sources(move *move, sources *sources, uint64_t *total, uds_error *error)
{
	const uds_control *control = &move->writer->store.control;
	uds_status status = UDS_OK;

	memset(sources, 0, sizeof(*sources));
	sources->names[0] = UDS_VOLUME_FILE;
	if (control->valid_save != UDS_NO_SAVE)
		sources->names[1] = uds_checkpoint_file_name(control->valid_save);
	*total = 0;
	for (int i = 0; i < 2 && status == UDS_OK && sources->names[i] != NULL; i++)
	{
		uint64_t size;

		status = uds_port_file_open(move->writer->port,
		                            sources->names[i],
		                            UDS_FILE_READ,
		                            &sources->files[i],
		                            error);
		/* A recovery does without a save that has disappeared. */
		if (status == UDS_NOT_FOUND && i == 1)
			return UDS_OK;
		if (status == UDS_NOT_FOUND)
			status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume has disappeared");
		if (status == UDS_OK)
			status = uds_port_file_size(move->writer->port, sources->files[i], &size, error);
		if (status == UDS_OK)
			*total += 2 * size;
	}
	return status;
}

static uds_status
copy_files(move *move, uds_error *error)
{
	uds_index *index = move->writer->index;
	sources sources;
	uint64_t total;
	uds_status status = open_sources(move, &sources, &total, error);

	uds_block_set_phase(index, UDS_PHASE_MOVING, total);
	for (int i = 0; i < 2 && status == UDS_OK; i++)
	{
		if (sources.files[i] != NULL)
			status = copy_file(move, sources.files[i], sources.names[i], error);
	}
	uds_block_set_phase(index, UDS_PHASE_NONE, 0);
	close_sources(move, &sources);
	return status;
}

/* Everything that comes before the files here say "moved". */
static uds_status
make_copy(move *move, uds_error *error)
{
	uds_writer *writer = move->writer;
	char here[UDS_CONTROL_NAME_BYTES + 1];
	uds_status status = copy_files(move, error);

	if (status == UDS_OK)
		status =
			uds_port_file_open(move->there, UDS_VOLUME_FILE, UDS_FILE_WRITE, &move->volume, error);
	if (status == UDS_NOT_FOUND)
		status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "copy has disappeared");
	if (status == UDS_OK)
		status = uds_port_directory_sync(move->there, error);
	if (status != UDS_OK)
		return status;
	move->arriving = writer->store.control;
	move->arriving.state = UDS_CONTROL_ARRIVING;
	/* One byte more than there is room for: a name that was cut is too long, and left out. */
	uds_port_directory_name(writer->port, here, sizeof(here));
	uds_control_set_elsewhere(&move->arriving, here);
	return uds_control_write(move->there, &move->arriving, error);
}

/* ---- from here to there --------------------------------------------------------------------------- */

/*
 * Let control here say "moved".  A disk without room for so much as that gets some: the save that
 * control does not name has none to lose.
 */
static uds_status
write_moved(move *move, uds_error *error)
{
	uds_store *store = &move->writer->store;
	uds_control moved = store->control;
	uds_status status;

	moved.state = UDS_CONTROL_MOVED;
	uds_control_set_elsewhere(&moved, move->name);
	status = uds_control_write(store->port, &moved, error);
	/* Where a write of control has failed before, the file may name the other one. */
	if (status != UDS_ERR_NO_SPACE || store->must_write_control)
		return status;
	for (uint32_t save = 0; save < 2; save++)
	{
		if (save != store->control.valid_save &&
		    uds_port_file_remove(store->port, uds_checkpoint_file_name(save), error) != UDS_OK)
			return status;
	}
	return uds_control_write(store->port, &moved, error);
}

/*
 * Control here may say "moved", but the files are to stay.
 *
 * may_count  control there may be another one than "arriving"
 */
static uds_status
take_back(move *move, bool may_count, uds_status status, uds_error *error)
{
	uds_writer *writer = move->writer;
	uds_control_state state = (uds_control_state) writer->store.control.state;
	uds_error own = { 0 };

	if (uds_store_write_control(&writer->store, state, &own) == UDS_OK)
		return status;
	/* Without the copy what is here would count as moved. */
	move->is_claimed = false;
	move->is_new = false;
	if (may_count && uds_control_write(move->there, &move->arriving, NULL) != UDS_OK)
		return uds_writer_go_offline(writer, status, error);
	uds_port_log(writer->port,
	             UDS_LOG_WARNING,
	             "the files in \"%s\" must stay until the index has been saved: %s",
	             move->name,
	             own.message);
	return status;
}

/* Let the copy count. */
static uds_status
hand_over(move *move, uds_error *error)
{
	uds_store *store = &move->writer->store;
	uds_control arrived = store->control;
	uds_status status = write_moved(move, error);

	if (status != UDS_OK)
		return take_back(move, false, status, error);
	uds_control_set_elsewhere(&arrived, move->arriving.elsewhere);
	status = uds_control_write(move->there, &arrived, error);
	if (status != UDS_OK)
		return take_back(move, true, status, error);
	uds_control_set_elsewhere(&arrived, NULL);
	store->control = arrived;
	store->must_write_control = false;
	return UDS_OK;
}

/* The files are there: work with them.  move->there gets the port to here. */
static void
switch_over(move *move)
{
	uds_writer *writer = move->writer;
	uds_store *store = &writer->store;
	uds_port_file *lock = store->lock;

	uds_volume_close(&store->volume);
	store->volume.file = move->volume;
	store->lock = move->lock;
	move->volume = NULL;
	move->lock = lock;
	uds_port_directory_exchange(writer->port, move->there);
	atomic_fetch_add_explicit(&writer->index->moves, 1, memory_order_release);
	uds_port_log(writer->port, UDS_LOG_INFO, "files were moved to \"%s\"", move->name);
}

/* ---- what is in memory ---------------------------------------------------------------------------- */

/* Write and save it.  On failure it stays in memory, and the index may be read only. */
static uds_status
save_memory(move *move, uds_error *error)
{
	uds_writer *writer = move->writer;
	uds_status status;

	if (move->has_saved)
		return UDS_OK;
	uds_writer_enter(writer);
	status = uds_writer_settle(writer, error);
	if (status == UDS_OK && uds_index_state(writer->index) == UDS_STATE_READ_ONLY)
		uds_block_set_state(writer->index, UDS_STATE_ONLINE, NULL);
	if (status == UDS_OK)
		status = uds_writer_save(writer, UDS_CONTROL_RUNNING, error);
	status = uds_writer_leave(writer, status, error);
	move->has_saved = status == UDS_OK;
	/* What could not be written makes a suspended index no other one. */
	if (move->is_suspended && uds_index_state(writer->index) == UDS_STATE_READ_ONLY)
		uds_block_set_state(writer->index, UDS_STATE_SUSPENDED, NULL);
	return status;
}

/* As far as possible where the files were. */
static uds_status
save_here(move *move, uds_error *error)
{
	uds_status status = save_memory(move, error);

	if (status == UDS_OK || status == UDS_STOPPED || status == UDS_ERR_INTERNAL)
		return status;
	uds_port_log(move->writer->port,
	             UDS_LOG_INFO,
	             "index is saved after its move, since it could not be saved before: %s",
	             error->message);
	memset(error, 0, sizeof(*error));
	return UDS_OK;
}

static void
save_there(move *move)
{
	uds_error error = { 0 };

	if (uds_status_is_error(save_memory(move, &error)))
		uds_port_log(move->writer->port,
		             UDS_LOG_WARNING,
		             "index could not be saved after its move: %s",
		             error.message);
}

/* ---- all of it ------------------------------------------------------------------------------------ */

/* Remove what is left here.  The index runs there already. */
static void
clean_up(move *move)
{
	uds_error error = { 0 };

	if (remove_data(move->there, &error) != UDS_OK)
		uds_port_log(move->writer->port,
		             UDS_LOG_WARNING,
		             "files could not be removed from their former place: %s",
		             error.message);
	uds_port_file_close(move->there, move->lock);
}

/* The zones stand still. */
static uds_status
move_files(move *move, uds_error *error)
{
	uds_status status = save_here(move, error);

	if (status == UDS_OK)
		status = make_copy(move, error);
	if (status == UDS_OK)
		status = hand_over(move, error);
	if (status != UDS_OK)
		return status;
	switch_over(move);
	save_there(move);
	return UDS_OK;
}

static uds_status
move_with_zones(move *move, uds_error *error)
{
	uds_status status = claim(move, error);

	if (status == UDS_OK && !move->is_suspended)
		status = uds_writer_take_good_zones(move->writer, error);
	if (status == UDS_OK)
		status = move_files(move, error);
	if (!move->is_suspended && move->writer->has_zones)
		uds_writer_give_zones(move->writer);
	if (status == UDS_OK)
		clean_up(move);
	else
		abandon(move);
	return status;
}

/* Is there an index in memory, with its files?  Sets what follows from its state. */
static bool
can_move(move *move)
{
	const uds_index *index = move->writer->index;
	uint32_t suspension = atomic_load_explicit(&index->suspension, memory_order_relaxed);

	switch (uds_index_state(index))
	{
		case UDS_STATE_ONLINE:
		case UDS_STATE_READ_ONLY:
			return true;
		case UDS_STATE_SUSPENDED:
			move->is_suspended = true;
			move->has_saved = suspension == UDS_SUSPENSION_SAVED;
			return suspension == UDS_SUSPENSION_HELD || suspension == UDS_SUSPENSION_SAVED;
		case UDS_STATE_NONE:
		case UDS_STATE_RECOVERING:
		case UDS_STATE_OFFLINE:
		case UDS_STATE_FAILED:
			break;
	}
	return false;
}

uds_status
uds_writer_move(uds_writer *writer, const char *directory, uds_error *error)
{
	move move = { .writer = writer, .name = directory };
	uds_status status;

	memset(error, 0, sizeof(*error));
	if (directory[0] == '\0')
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "name of the directory is empty");
	if (strlen(directory) >= UDS_CONTROL_NAME_BYTES)
		return uds_error_set(error,
		                     UDS_ERR_ARGUMENT,
		                     0,
		                     "name of the directory is longer than %d bytes",
		                     UDS_CONTROL_NAME_BYTES - 1);
	if (!can_move(&move))
		return uds_writer_refuse(writer, "index is not online", error);
	status = uds_port_directory_open(writer->port, directory, &move.there, error);
	if (status != UDS_OK)
		return status;
	status = move_with_zones(&move, error);
	uds_port_directory_close(move.there);
	return status;
}
