/*
 * lifecycle.c: suspending and resuming an index, and building it again on request.
 *
 * A suspended index belongs to the writer: it keeps all zones, and their workers keep what is
 * parked.  uds_index.suspension says what there is to go on with, also for a successor of the writer:
 *
 *   HELD      the index in memory; the files are those of a crash
 *   SAVED     the same, and the files are complete: control says "clean", and has to say "running"
 *             before anything is written
 *   RECOVERY  nothing: a recovery was interrupted, or the index had failed, or was reduced; it
 *             starts over
 */
#include "writer.h"

#include "zone.h"

static uds_suspension
suspension_of(const uds_writer *writer)
{
	return (uds_suspension) atomic_load_explicit(&writer->index->suspension, memory_order_relaxed);
}

static void
set_suspension(uds_writer *writer, uds_suspension suspension)
{
	atomic_store_explicit(&writer->index->suspension, suspension, memory_order_relaxed);
}

/* ---- suspend ------------------------------------------------------------------------------------ */

/* Write what is closed and, if asked for, save and mark the files clean.  The zones stand still. */
static uds_status
save_suspended(uds_writer *writer, bool save, uds_error *error)
{
	uds_status status;

	uds_writer_enter(writer);
	status = uds_writer_settle(writer, error);
	/* What cannot be written stays in memory; without a save nobody relies on the files. */
	if (!save && status != UDS_OK && status != UDS_STOPPED && status != UDS_ERR_INTERNAL)
		status = UDS_OK;
	if (save && status == UDS_OK)
		status = uds_writer_save(writer, UDS_CONTROL_CLEAN, error);
	return uds_writer_leave(writer, status, error);
}

static uds_status
suspend_running(uds_writer *writer, bool save, uds_error *error)
{
	uds_status status = uds_writer_take_good_zones(writer, error);

	if (status != UDS_OK)
		return status;
	status = save_suspended(writer, save, error);
	if (status != UDS_OK)
	{
		uds_writer_give_zones(writer);
		return status;
	}
	set_suspension(writer, save ? UDS_SUSPENSION_SAVED : UDS_SUSPENSION_HELD);
	uds_block_set_state(writer->index, UDS_STATE_SUSPENDED, NULL);
	return UDS_OK;
}

/* Suspend an index that is not there yet, or not any more. */
static uds_status
suspend_recovery(uds_writer *writer)
{
	uds_status status = uds_writer_take_zones(writer);

	if (status != UDS_OK)
		return status;
	set_suspension(writer, UDS_SUSPENSION_RECOVERY);
	uds_block_set_state(writer->index, UDS_STATE_SUSPENDED, "its recovery is to start over");
	return UDS_OK;
}

uds_status
uds_writer_suspend(uds_writer *writer, bool save, uds_error *error)
{
	uds_status status = UDS_OK;

	memset(error, 0, sizeof(*error));
	switch (uds_index_state(writer->index))
	{
		case UDS_STATE_ONLINE:
		case UDS_STATE_READ_ONLY:
			return suspend_running(writer, save, error);
		case UDS_STATE_SUSPENDED:
			if (!save || suspension_of(writer) != UDS_SUSPENSION_HELD)
				return UDS_OK;
			status = save_suspended(writer, true, error);
			if (status == UDS_OK)
				set_suspension(writer, UDS_SUSPENSION_SAVED);
			return status;
		case UDS_STATE_NONE:
		case UDS_STATE_RECOVERING:
		case UDS_STATE_FAILED:
			return suspend_recovery(writer);
		case UDS_STATE_OFFLINE:
			break;
	}
	return uds_writer_refuse(writer, "index is offline", error);
}

/* ---- resume ------------------------------------------------------------------------------------- */

/* Is the newest chapter of the index on the volume that is open? */
static bool
has_newest_chapter(uds_writer *writer)
{
	const uds_index *index = writer->index;
	uint64_t written = atomic_load_explicit(&index->chapters_written, memory_order_relaxed);
	uds_error ignored = { 0 };
	const uds_chapter_slot *slot;
	uint32_t physical;
	uds_seal seal;

	if (written == 0)
		return true;
	physical = uds_geometry_physical_chapter(&writer->geometry, written - 1);
	slot = &index->slots[physical];
	/* It was lost before. */
	if (atomic_load_explicit(&slot->chapter, memory_order_relaxed) != written - 1)
		return true;
	return uds_volume_read_seal(&writer->store.volume, physical, &seal, &ignored) == UDS_OK &&
	       seal.chapter == written - 1 &&
	       seal.generation == atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

/* Is a control file the one that was left?  After a move it may still name where it came from. */
static bool
is_same_control(const uds_store *store, const uds_control *control)
{
	uds_control plain = *control;

	uds_control_set_elsewhere(&plain, NULL);
	plain.crc = store->control.crc;
	return memcmp(&plain, &store->control, sizeof(plain)) == 0;
}

/*
 * Open the files of a saved index by their names once more: while it was suspended, others may have
 * been put in their place.  False: they are not those that were left, or cannot be read.
 */
static bool
are_files_unchanged(uds_writer *writer)
{
	uds_store *store = &writer->store;
	uds_error ignored = { 0 };
	uds_control control;

	uds_store_close(store);
	if (uds_store_lock(store, &ignored) != UDS_OK ||
	    uds_control_read(writer->port, &control, &ignored) != UDS_OK ||
	    !is_same_control(store, &control) ||
	    uds_volume_open(&store->volume, UDS_FILE_WRITE, &ignored) != UDS_OK ||
	    uds_volume_check_header(&store->volume, control.name_key, &ignored) != UDS_OK ||
	    !has_newest_chapter(writer))
		return false;
	/* Whoever reads them opens them again, too. */
	atomic_fetch_add_explicit(&writer->index->moves, 1, memory_order_release);
	return true;
}

static uds_status
resume_suspended(uds_writer *writer, uds_error *error)
{
	uds_status status;

	if (suspension_of(writer) == UDS_SUSPENSION_RECOVERY)
		return uds_writer_open_again(writer, error);
	if (suspension_of(writer) == UDS_SUSPENSION_SAVED)
	{
		if (!are_files_unchanged(writer))
		{
			uds_port_log(writer->port,
			             UDS_LOG_WARNING,
			             "files of the suspended index have changed and are opened anew");
			uds_volume_close(&writer->store.volume);
			return uds_writer_open_again(writer, error);
		}
		status = uds_store_write_control(&writer->store, UDS_CONTROL_RUNNING, error);
		if (status != UDS_OK)
			return status;
	}
	set_suspension(writer, UDS_SUSPENSION_NONE);
	uds_block_set_state(writer->index, UDS_STATE_ONLINE, NULL);
	uds_writer_give_zones(writer);
	return UDS_OK;
}

/* Try again to write what could not be written. */
static uds_status
resume_read_only(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_writer_take_good_zones(writer, error);

	if (status != UDS_OK)
		return status;
	uds_writer_enter(writer);
	status = uds_writer_settle(writer, error);
	if (status == UDS_OK)
		uds_block_set_state(writer->index, UDS_STATE_ONLINE, NULL);
	status = uds_writer_leave(writer, status, error);
	uds_writer_give_zones(writer);
	return status;
}

uds_status
uds_writer_resume(uds_writer *writer, uds_error *error)
{
	memset(error, 0, sizeof(*error));
	switch (uds_index_state(writer->index))
	{
		case UDS_STATE_SUSPENDED:
			return resume_suspended(writer, error);
		case UDS_STATE_READ_ONLY:
			return resume_read_only(writer, error);
		case UDS_STATE_OFFLINE:
			return uds_writer_open_again(writer, error);
		case UDS_STATE_NONE:
		case UDS_STATE_RECOVERING:
		case UDS_STATE_ONLINE:
		case UDS_STATE_FAILED:
			break;
	}
	return UDS_OK;
}

/* ---- rebuild ------------------------------------------------------------------------------------ */

uds_status
uds_writer_write_everything(uds_writer *writer, uds_error *error)
{
	uds_index *index = writer->index;
	uint64_t newest = 0;
	uint32_t records = 0;
	uds_status status = uds_writer_settle(writer, error);

	if (status != UDS_OK)
		return status;
	for (uint32_t i = 0; i < writer->config.zone_count; i++)
	{
		uds_zone *zone = &index->zones[i];

		newest = atomic_load_explicit(&zone->newest, memory_order_relaxed);
		records += uds_open_chapter_count(zone->shares[newest % UDS_CHAPTER_BUFFERS]);
	}
	if (records == 0)
		return UDS_OK;
	for (uint32_t i = 0; i < writer->config.zone_count; i++)
	{
		status = uds_zone_close_chapter(index, writer->port, i);
		if (status != UDS_OK)
			return UDS_ERR_INTERNAL;
	}
	return uds_writer_settle(writer, error);
}

static uds_status
rebuild_running(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_writer_take_good_zones(writer, error);

	if (status != UDS_OK)
		return status;
	uds_writer_enter(writer);
	status = uds_writer_write_everything(writer, error);
	status = uds_writer_leave(writer, status, error);
	if (status != UDS_OK)
	{
		uds_writer_give_zones(writer);
		return status;
	}
	uds_store_forget_save(&writer->store);
	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	uds_writer_enter(writer);
	status = uds_store_write_control(&writer->store, UDS_CONTROL_RUNNING, error);
	if (status == UDS_OK)
		status = uds_writer_recover(writer, error);
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	if (status != UDS_OK)
		return uds_writer_go_offline(writer, status, error);
	uds_writer_set_online(writer);
	return UDS_OK;
}

uds_status
uds_writer_rebuild(uds_writer *writer, uds_error *error)
{
	memset(error, 0, sizeof(*error));
	switch (uds_index_state(writer->index))
	{
		case UDS_STATE_ONLINE:
		case UDS_STATE_READ_ONLY:
			return rebuild_running(writer, error);
		case UDS_STATE_SUSPENDED:
			return uds_writer_refuse(writer, "index is suspended", error);
		case UDS_STATE_OFFLINE:
			return uds_writer_refuse(writer, "index is offline", error);
		case UDS_STATE_NONE:
		case UDS_STATE_RECOVERING:
		case UDS_STATE_FAILED:
			break;
	}
	/* It is going to be built from the files anyway. */
	return UDS_OK;
}
