/*
 * writer.c: the chapter writer as a worker: life cycle of the index and its files.
 *
 * Order of writes (those of the files as a whole are in store.c):
 *
 *   chapter  pages and seal - sync - published (chapter_writer.c)
 *   save     save file, synced - control that names it
 *   close    save - control "clean"
 */
#include "writer.h"

#include <stdio.h>

#include "chapter_writer.h"
#include "checkpoint.h"
#include "recovery.h"
#include "saver.h"
#include "zone.h"

#define WAIT_MS 20

size_t
uds_writer_size(void)
{
	return sizeof(uds_writer);
}

/* ---- zones ------------------------------------------------------------------------------------ */

static void
wake_zones(uds_writer *writer)
{
	for (uint32_t i = 0; i < writer->config.zone_count; i++)
		uds_port_wake(writer->port, UDS_WORKER_ZONE + i);
}

static void
wake_guests(uds_writer *writer)
{
	for (uint32_t i = 0; i < writer->config.reader_count; i++)
		uds_port_wake(writer->port, UDS_WORKER_READER + i);
	uds_port_wake(writer->port, UDS_WORKER_TRIAGE);
}

void
uds_writer_give_zones(uds_writer *writer)
{
	uds_index *index = writer->index;

	for (uint32_t i = 0; i < writer->config.zone_count; i++)
	{
		uint32_t expected = UDS_OWNER_WRITER;

		(void) atomic_compare_exchange_strong_explicit(&index->zones[i].owner,
		                                               &expected,
		                                               UDS_OWNER_NONE,
		                                               memory_order_release,
		                                               memory_order_relaxed);
	}
	atomic_store(&index->zones_wanted, 0);
	writer->has_zones = false;
	wake_zones(writer);
	wake_guests(writer);
}

/* Wait until a guest has left, or its successor has found what it left behind. */
static uds_status
wait_for_guest(uds_writer *writer, uint32_t guest)
{
	while (atomic_load(&writer->index->guests[guest].is_inside) != 0)
	{
		if (uds_port_wait(writer->port, WAIT_MS) != UDS_OK)
			return UDS_STOPPED;
	}
	return UDS_OK;
}

uds_status
uds_writer_take_zones(uds_writer *writer)
{
	uds_index *index = writer->index;

	if (writer->has_zones)
		return UDS_OK;
	atomic_store(&index->zones_wanted, 1);
	wake_zones(writer);
	for (uint32_t i = 0; i < writer->config.zone_count; i++)
	{
		uint32_t expected = UDS_OWNER_NONE;

		while (
			!atomic_compare_exchange_strong(&index->zones[i].owner, &expected, UDS_OWNER_WRITER) &&
			expected != UDS_OWNER_WRITER)
		{
			expected = UDS_OWNER_NONE;
			if (uds_port_wait(writer->port, WAIT_MS) != UDS_OK)
			{
				uds_writer_give_zones(writer);
				return UDS_STOPPED;
			}
		}
	}
	for (uint32_t i = 0; i < UDS_GUESTS_MAX; i++)
	{
		if (wait_for_guest(writer, i) != UDS_OK)
		{
			uds_writer_give_zones(writer);
			return UDS_STOPPED;
		}
	}
	writer->has_zones = true;
	return UDS_OK;
}

uds_status
uds_writer_take_good_zones(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_writer_take_zones(writer);

	if (status != UDS_OK || uds_index_state(writer->index) != UDS_STATE_FAILED)
		return status;
	uds_writer_give_zones(writer);
	return uds_error_set(error, UDS_ERR_STATE, 0, "index has failed");
}

bool
uds_writer_zones_have_left(const uds_writer *writer)
{
	for (uint32_t i = 0; i < writer->config.zone_count; i++)
	{
		if (atomic_load_explicit(&writer->index->zones[i].owner, memory_order_acquire) ==
		    UDS_OWNER_WORKER)
			return false;
	}
	return true;
}

/* ---- state ------------------------------------------------------------------------------------ */

void
uds_writer_enter(uds_writer *writer)
{
	atomic_store_explicit(&writer->index->writer_inside, 1, memory_order_relaxed);
}

uds_status
uds_writer_leave(uds_writer *writer, uds_status status, uds_error *error)
{
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	if (status == UDS_ERR_INTERNAL)
		uds_block_fail(writer->index,
		               writer->port,
		               error->message[0] != '\0' ? error->message : "an invariant is broken");
	return status;
}

uds_status
uds_writer_go_offline(uds_writer *writer, uds_status status, uds_error *error)
{
	char reason[2 * UDS_ERROR_TEXT_BYTES + 8];

	if (status == UDS_STOPPED)
		return status;
	writer->is_open = false;
	if (status == UDS_ERR_CORRUPT && error->hint[0] == '\0')
		uds_error_hint(error, "Restore the files, or forget everything with uds_reset().");
	if ((status == UDS_ERR_IO || status == UDS_ERR_NO_SPACE) && error->hint[0] == '\0')
		uds_error_hint(error, "When the cause is removed, call uds_resume().");
	snprintf(reason,
	         sizeof(reason),
	         error->detail[0] != '\0' ? "%s (%s)" : "%s",
	         error->message,
	         error->detail);
	uds_block_set_state(writer->index, UDS_STATE_OFFLINE, reason);
	return status;
}

/* ---- names ------------------------------------------------------------------------------------ */

static void
publish_name_key(uds_writer *writer)
{
	uds_index *index = writer->index;

	if (atomic_load_explicit(&index->has_name_key, memory_order_relaxed) != 0)
		return;
	memcpy(index->name_key, writer->store.control.name_key, sizeof(index->name_key));
	atomic_store_explicit(&index->has_name_key, 1, memory_order_release);
}

/* ---- chapters and saves ----------------------------------------------------------------------- */

/*
 * Write the oldest closed chapter, twice at the most.
 *
 * UDS_OK         written
 * UDS_NOT_FOUND  there is none
 * UDS_STOPPED    it stays closed in memory
 * an error       the same; the index is read only
 */
static uds_status
write_next_chapter(uds_writer *writer, uds_error *error)
{
	uds_index *index = writer->index;
	uint64_t chapter = atomic_load_explicit(&index->chapters_written, memory_order_relaxed);
	uds_status status = UDS_OK;
	char reason[2 * UDS_ERROR_TEXT_BYTES];

	if (!uds_chapter_writer_is_closed(index, chapter))
		return UDS_NOT_FOUND;
	for (int tries = 0; tries < 2; tries++)
	{
		uint32_t count = uds_chapter_writer_collect(index, chapter);

		status = uds_chapter_writer_write(index,
		                                  &writer->store.volume,
		                                  chapter,
		                                  count,
		                                  uds_port_stamp(writer->port),
		                                  error);
		if (status == UDS_OK || status == UDS_STOPPED || status == UDS_ERR_INTERNAL)
			break;
		uds_port_log(writer->port,
		             UDS_LOG_WARNING,
		             "chapter %llu could not be written: %s",
		             (unsigned long long) chapter,
		             error->message);
	}
	if (status == UDS_OK)
		atomic_store_explicit(&index->chapters_written, chapter + 1, memory_order_release);
	else if (status != UDS_STOPPED && status != UDS_ERR_INTERNAL)
	{
		snprintf(reason,
		         sizeof(reason),
		         "chapter %llu could not be written: %s",
		         (unsigned long long) chapter,
		         error->message);
		/* A zone may have marked it failed meanwhile; a suspended one stays suspended. */
		if (uds_state_executes(uds_index_state(index)))
			uds_block_set_state(index, UDS_STATE_READ_ONLY, reason);
	}
	/* Zones that are full go on, or learn that they cannot. */
	wake_zones(writer);
	return status;
}

uds_status
uds_writer_settle(uds_writer *writer, uds_error *error)
{
	uds_index *index = writer->index;

	for (;;)
	{
		uint64_t target = atomic_load_explicit(&index->close_wanted, memory_order_acquire);
		uds_status status;

		for (uint32_t i = 0; i < writer->config.zone_count; i++)
		{
			while (atomic_load_explicit(&index->zones[i].newest, memory_order_relaxed) < target)
			{
				status = uds_zone_close_chapter(index, writer->port, i);
				if (status == UDS_PENDING)
					break;
				if (status != UDS_OK)
					return status;
			}
		}
		status = write_next_chapter(writer, error);
		if (status == UDS_NOT_FOUND)
			return UDS_OK;
		if (status != UDS_OK)
			return status;
	}
}

uds_status
uds_writer_save(uds_writer *writer, uds_control_state state, uds_error *error)
{
	uds_index *index = writer->index;
	uds_control before;
	uint32_t save;
	uds_status status = UDS_OK;

	if (writer->store.must_write_control)
		status = uds_store_write_control(&writer->store, UDS_CONTROL_RUNNING, error);
	if (status != UDS_OK)
		return status;
	before = writer->store.control;
	save = before.valid_save == 0 ? 1 : 0;
	status = uds_saver_save(index, writer->port, save, before.save_number + 1, error);
	if (status != UDS_OK)
		return status;
	writer->store.control.valid_save = save;
	writer->store.control.save_number = before.save_number + 1;
	writer->store.control.save_generation = before.generation;
	writer->store.control.save_time = uds_port_wall_clock(writer->port);
	status = uds_store_write_control(&writer->store, state, error);
	if (status != UDS_OK)
	{
		writer->store.control = before;
		return status;
	}
	atomic_store_explicit(&index->last_checkpoint,
	                      writer->store.control.save_time,
	                      memory_order_relaxed);
	return UDS_OK;
}

/* ---- open ------------------------------------------------------------------------------------- */

static void
log_recovery(uds_writer *writer, const uds_recovery_result *result)
{
	uds_port_log(writer->port,
	             result->damaged_pages + result->damaged_chapters > 0 ? UDS_LOG_WARNING
	                                                                  : UDS_LOG_INFO,
	             "recovered %llu chapters, %llu of them replayed%s; %llu chapters and %llu pages "
	             "are damaged, %llu chapters are not in this server's past",
	             (unsigned long long) result->sealed_chapters,
	             (unsigned long long) result->replayed_chapters,
	             result->has_save ? " after the last save" : ", without a save",
	             (unsigned long long) result->damaged_chapters,
	             (unsigned long long) result->damaged_pages,
	             (unsigned long long) result->future_chapters);
}

/*
 * Note durably from where on the chapters that are in the file now are not of this history: as this
 * host's log grows past their stamps, or when another server takes the files over, nothing else
 * would tell.
 */
static void
note_undone(uds_writer *writer, const uds_recovery_result *result)
{
	uds_control *control = &writer->store.control;
	uds_error error = { 0 };

	if (result->future_chapters == 0)
		return;
	control->undone_chapter = UDS_MAX(result->first_future, result->newest);
	control->undone_generation = control->generation - 1;
	if (uds_store_write_control(&writer->store, UDS_CONTROL_RUNNING, &error) != UDS_OK)
		uds_port_log(writer->port,
		             UDS_LOG_WARNING,
		             "chapters that are not in this server's past could not be noted: %s",
		             error.message);
}

uds_status
uds_writer_recover(uds_writer *writer, uds_error *error)
{
	uds_index *index = writer->index;
	uint64_t begin = uds_port_now(writer->port);
	bool is_zeroed = atomic_load_explicit(&index->epoch, memory_order_relaxed) == 0;
	uds_config config = writer->config;
	uds_recovery_result result;
	uint64_t bytes;
	uds_status status;

	config.geometry = writer->geometry.parameters;
	status = uds_block_lay_out(index, writer->port, &config, is_zeroed);
	if (status == UDS_STOPPED)
		return status;
	if (status != UDS_OK)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "configuration is not valid");
	writer->store.volume.slots = index->slots;
	status = uds_recovery_run(index,
	                          &writer->store.volume,
	                          &writer->store.control,
	                          writer->store.is_clean,
	                          &result,
	                          error);
	writer->store.is_clean = false;
	uds_block_set_phase(index, UDS_PHASE_NONE, 0);
	if (status == UDS_OK)
		status = uds_port_file_size(writer->port, writer->store.volume.file, &bytes, error);
	if (status != UDS_OK)
		return status;
	atomic_store_explicit(&index->volume_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&index->dropped_chapters,
	                      result.damaged_chapters + result.future_chapters,
	                      memory_order_relaxed);
	atomic_store_explicit(&index->recovery_chapters,
	                      result.replayed_chapters,
	                      memory_order_relaxed);
	atomic_store_explicit(&index->recovery_duration_ns,
	                      uds_port_now(writer->port) - begin,
	                      memory_order_relaxed);
	log_recovery(writer, &result);
	if (result.has_save && result.save != writer->store.control.valid_save)
	{
		/* The damaged save is the one to be overwritten next. */
		writer->store.control.valid_save = result.save;
		writer->store.control.save_number--;
		writer->store.must_write_control = true;
	}
	note_undone(writer, &result);
	/* So that the next start need not do the same again. */
	if (result.replayed_chapters > index->geometry.parameters.chapters / 8)
	{
		uds_error save_error = { 0 };

		status = uds_writer_save(writer, UDS_CONTROL_RUNNING, &save_error);
		if (status == UDS_STOPPED)
			return status;
		if (status != UDS_OK)
			uds_port_log(writer->port,
			             UDS_LOG_WARNING,
			             "index could not be saved after its recovery: %s",
			             save_error.message);
	}
	return UDS_OK;
}

void
uds_writer_set_online(uds_writer *writer)
{
	uds_index *index = writer->index;

	writer->is_open = true;
	atomic_store_explicit(&index->opened_at,
	                      uds_port_wall_clock(writer->port),
	                      memory_order_relaxed);
	atomic_store_explicit(&index->last_checkpoint,
	                      writer->store.control.save_time,
	                      memory_order_relaxed);
	/* Whoever looks at once does not see what was before. */
	for (uint32_t i = 0; i < writer->config.zone_count; i++)
		uds_block_publish_counters(index, i);
	uds_block_set_state(index, UDS_STATE_ONLINE, NULL);
	uds_writer_give_zones(writer);
}

/* Is the volume that control describes as much reduced as the block? */
static bool
has_geometry_of(const uds_control *control, const uds_geometry_parameters *parameters)
{
	return control->chapters == parameters->chapters &&
	       control->is_reduced == (uint32_t) parameters->is_reduced &&
	       control->remapped_virtual == parameters->remapped_virtual &&
	       control->remapped_physical == parameters->remapped_physical;
}

/*
 * The predecessor may have ended while it moved the files: they are here, or nobody was told that
 * they are not any more.
 */
static uds_status
take_place_over(uds_writer *writer, uds_error *error)
{
	uds_store *store = &writer->store;
	bool has_moved = store->control.state == UDS_CONTROL_MOVED;
	uds_status status = uds_store_check_place(store, error);

	if (status != UDS_OK)
		return status;
	atomic_fetch_add_explicit(&writer->index->moves, 1, memory_order_release);
	/* While it cannot be written, the copy that does not count says that this one does. */
	if (has_moved && uds_store_write_control(store, UDS_CONTROL_RUNNING, error) != UDS_OK)
		uds_port_log(writer->port,
		             UDS_LOG_WARNING,
		             "they must stay until the index has been saved: %s",
		             error->message);
	return UDS_OK;
}

/* Go on with a block that a predecessor left in order: only the files have to be opened. */
static uds_status
take_over(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_control_read(writer->port, &writer->store.control, error);

	if (status == UDS_NOT_FOUND)
		status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file has disappeared");
	if (status != UDS_OK)
		return status;
	writer->store.has_control = true;
	/* What was read may be of a write that failed and is not durable: nothing that an older version
	 * names may be overwritten before this one is. */
	writer->store.must_write_control = true;
	if (writer->store.control.nonce !=
	        atomic_load_explicit(&writer->index->nonce, memory_order_relaxed) ||
	    !has_geometry_of(&writer->store.control, &writer->index->geometry.parameters))
		return uds_error_set(error, UDS_ERR_MISMATCH, 0, "files were replaced while in use");
	writer->geometry = writer->index->geometry;
	status = take_place_over(writer, error);
	if (status != UDS_OK)
		return status;
	writer->store.volume.slots = writer->index->slots;
	status = uds_volume_open(&writer->store.volume, UDS_FILE_WRITE, error);
	if (status == UDS_NOT_FOUND)
		status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume has disappeared");
	writer->is_open = status == UDS_OK;
	if (status == UDS_OK && uds_index_state(writer->index) == UDS_STATE_SUSPENDED)
		return uds_writer_take_zones(writer);
	if (status == UDS_OK)
		uds_writer_give_zones(writer);
	return status;
}

uds_status
uds_writer_open_index(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_writer_take_zones(writer);

	if (status == UDS_OK)
		status = uds_store_open(&writer->store, error);
	if (status == UDS_OK)
	{
		publish_name_key(writer);
		status = uds_writer_recover(writer, error);
	}
	if (status == UDS_OK)
		uds_writer_set_online(writer);
	return status;
}

bool
uds_writer_is_held(const uds_index *index)
{
	uint32_t suspension = atomic_load_explicit(&index->suspension, memory_order_relaxed);

	return suspension == UDS_SUSPENSION_HELD || suspension == UDS_SUSPENSION_SAVED;
}

uds_status
uds_writer_open_again(uds_writer *writer, uds_error *error)
{
	uds_status status = UDS_OK;

	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	atomic_store_explicit(&writer->index->suspension, UDS_SUSPENSION_NONE, memory_order_relaxed);
	if (writer->store.lock == NULL)
		status = uds_store_lock(&writer->store, error);
	uds_writer_enter(writer);
	if (status == UDS_OK)
		status = uds_writer_open_index(writer, error);
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	return status == UDS_OK ? UDS_OK : uds_writer_go_offline(writer, status, error);
}

uds_status
uds_writer_open(void *memory, uds_index *block, uds_port *port, const uds_config *config,
                uds_writer **result, uds_error *error)
{
	uds_writer *writer = memory;
	bool is_inside = atomic_load_explicit(&block->writer_inside, memory_order_relaxed) != 0;
	bool is_laid_out = atomic_load_explicit(&block->epoch, memory_order_relaxed) != 0;
	uds_status status;

	memset(writer, 0, sizeof(*writer));
	memset(error, 0, sizeof(*error));
	writer->index = block;
	writer->port = port;
	writer->config = *config;
	writer->store.port = port;
	writer->store.index = block;
	writer->store.config = &writer->config;
	writer->store.geometry = &writer->geometry;
	writer->store.volume.port = port;
	writer->store.volume.geometry = &writer->geometry;
	writer->store.volume.nonce = &block->nonce;
	writer->store.volume.bad_pages = &block->bad_pages;
	*result = writer;
	if (uds_geometry_init(&writer->geometry, &config->geometry) != UDS_OK ||
	    uds_index_size(config) == 0)
		status = uds_error_set(error, UDS_ERR_ARGUMENT, 0, "configuration is not valid");
	else
		status = uds_store_lock(&writer->store, error);
	if (status != UDS_OK)
		return uds_writer_go_offline(writer, status, error);
	if (uds_index_state(block) == UDS_STATE_SUSPENDED && !uds_writer_is_held(block))
	{
		/* A recovery that was interrupted: uds_writer_resume starts it over. */
		return uds_writer_take_zones(writer);
	}
	if (is_laid_out && !is_inside &&
	    (uds_state_executes(uds_index_state(block)) ||
	     uds_index_state(block) == UDS_STATE_SUSPENDED))
	{
		status = take_over(writer, error);
		return status == UDS_OK ? UDS_OK : uds_writer_go_offline(writer, status, error);
	}
	uds_block_set_state(block, UDS_STATE_RECOVERING, NULL);
	uds_writer_enter(writer);
	status = uds_writer_open_index(writer, error);
	atomic_store_explicit(&block->writer_inside, 0, memory_order_relaxed);
	return status == UDS_OK ? UDS_OK : uds_writer_go_offline(writer, status, error);
}

/* ---- work ------------------------------------------------------------------------------------- */

/* Build the index again after an invariant was broken: memory is not trusted, files are. */
static uds_status
rebuild_failed(uds_writer *writer, uds_error *error)
{
	uds_status status;
	bool is_suspect;

	/* A worker that is found dead makes an index failed that was offline or suspended: this writer
	 * may not know the files, or they may not be its own. */
	if (!writer->is_open)
		return uds_writer_open_again(writer, error);
	status = uds_writer_take_zones(writer);
	if (status != UDS_OK)
		return status;
	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	/* An index that is broken again from the same save was wrong before it was saved. */
	is_suspect = atomic_exchange_explicit(&writer->index->is_suspect, 0, memory_order_relaxed) != 0;
	if (is_suspect && writer->store.control.valid_save != UDS_NO_SAVE &&
	    writer->rebuilt_from == writer->store.control.save_number + 1)
	{
		uds_port_log(writer->port,
		             UDS_LOG_WARNING,
		             "save %llu is not used again",
		             (unsigned long long) writer->store.control.save_number);
		uds_store_forget_save(&writer->store);
	}
	if (is_suspect)
		writer->rebuilt_from = writer->store.control.save_number + 1;
	status = uds_store_reopen(&writer->store, error);
	if (status == UDS_OK)
		status = uds_writer_recover(writer, error);
	if (status != UDS_OK)
		return uds_writer_go_offline(writer, status, error);
	uds_writer_set_online(writer);
	return UDS_OK;
}

uds_status
uds_writer_work(uds_writer *writer, uds_error *error)
{
	uds_state state = uds_index_state(writer->index);
	uds_status status = UDS_NOT_FOUND;

	memset(error, 0, sizeof(*error));
	if (state != UDS_STATE_ONLINE && state != UDS_STATE_FAILED)
		return UDS_NOT_FOUND;
	uds_writer_enter(writer);
	if (state == UDS_STATE_FAILED)
	{
		status = rebuild_failed(writer, error);
		atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
		return status;
	}
	status = write_next_chapter(writer, error);
	return uds_writer_leave(writer, status, error);
}

uds_status
uds_writer_refuse(uds_writer *writer, const char *what, uds_error *error)
{
	static const char *const names[] = {
		[UDS_STATE_NONE] = "closed",         [UDS_STATE_RECOVERING] = "recovering",
		[UDS_STATE_ONLINE] = "online",       [UDS_STATE_SUSPENDED] = "suspended",
		[UDS_STATE_READ_ONLY] = "read only", [UDS_STATE_OFFLINE] = "offline",
		[UDS_STATE_FAILED] = "failed",
	};
	char reason[UDS_ERROR_TEXT_BYTES];

	(void) uds_error_set(error, UDS_ERR_STATE, 0, "%s", what);
	uds_index_reason(writer->index, reason, sizeof(reason));
	uds_error_detail(error,
	                 reason[0] != '\0' ? "It is %s: %s." : "It is %s.",
	                 names[uds_index_state(writer->index)],
	                 reason);
	return UDS_ERR_STATE;
}

uds_status
uds_writer_checkpoint(uds_writer *writer, uds_error *error)
{
	uds_state state = uds_index_state(writer->index);
	uds_status status;

	memset(error, 0, sizeof(*error));
	if (state == UDS_STATE_SUSPENDED && uds_writer_is_held(writer->index))
		return uds_writer_suspend(writer, true, error);
	if (!uds_state_executes(state))
		return uds_writer_refuse(writer, "index is not online", error);
	status = uds_writer_take_good_zones(writer, error);
	if (status != UDS_OK)
		return status;
	uds_writer_enter(writer);
	status = uds_writer_settle(writer, error);
	if (status == UDS_OK && state == UDS_STATE_READ_ONLY)
		uds_block_set_state(writer->index, UDS_STATE_ONLINE, NULL);
	if (status == UDS_OK)
		status = uds_writer_save(writer, UDS_CONTROL_RUNNING, error);
	status = uds_writer_leave(writer, status, error);
	uds_writer_give_zones(writer);
	return status;
}

uds_status
uds_writer_reset(uds_writer *writer, uds_error *error)
{
	uds_status status;

	memset(error, 0, sizeof(*error));
	if (writer->store.lock == NULL)
		return uds_error_set(error, UDS_ERR_STATE, 0, "files of the index are not locked");
	status = uds_writer_take_zones(writer);
	if (status != UDS_OK)
		return status;
	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	atomic_store_explicit(&writer->index->suspension, UDS_SUSPENSION_NONE, memory_order_relaxed);
	uds_writer_enter(writer);
	status = uds_store_create(&writer->store, error);
	if (status == UDS_OK)
	{
		publish_name_key(writer);
		status = uds_writer_recover(writer, error);
	}
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	if (status != UDS_OK)
		return uds_writer_go_offline(writer, status, error);
	uds_writer_set_online(writer);
	return UDS_OK;
}

/* ---- end -------------------------------------------------------------------------------------- */

uds_status
uds_writer_close(uds_writer *writer, bool save, uds_error *error)
{
	uds_index *index = writer->index;
	uds_state state = uds_index_state(index);
	/* A suspended index that was saved has nothing to add. */
	bool must_write =
		uds_state_executes(state) ||
		(state == UDS_STATE_SUSPENDED &&
	     atomic_load_explicit(&index->suspension, memory_order_relaxed) == UDS_SUSPENSION_HELD);
	uds_status status = UDS_OK;

	memset(error, 0, sizeof(*error));
	if (must_write)
		status = uds_writer_take_good_zones(writer, error);
	uds_writer_enter(writer);
	if (must_write && status == UDS_OK)
		status = uds_writer_settle(writer, error);
	if (must_write && status == UDS_OK && save)
		status = uds_writer_save(writer, UDS_CONTROL_CLEAN, error);
	uds_block_set_state(index, UDS_STATE_NONE, NULL);
	atomic_store_explicit(&index->suspension, UDS_SUSPENSION_NONE, memory_order_relaxed);
	atomic_store_explicit(&index->writer_inside, 0, memory_order_relaxed);
	if (writer->has_zones)
		uds_writer_give_zones(writer);
	uds_store_close(&writer->store);
	return status;
}

void
uds_writer_detach(uds_writer *writer)
{
	if (writer->has_zones && uds_state_executes(uds_index_state(writer->index)))
		uds_writer_give_zones(writer);
	uds_store_close(&writer->store);
}
