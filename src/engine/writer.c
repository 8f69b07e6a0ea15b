/*
 * writer.c: the chapter writer as a worker: life cycle of the index and its files.
 *
 * Order of writes:
 *
 *   create   control "creating" - volume with its header, synced - control "running"
 *   open     control with the next generation, "running" - everything else
 *   chapter  pages and seal - sync - published (chapter_writer.c)
 *   save     save file, synced - control that names it
 *   close    save - control "clean"
 *   reset    control "creating" with a new nonce (from here on nothing is remembered) - as create
 */
#include "writer.h"

#include <stdio.h>

#include "chapter_writer.h"
#include "checkpoint.h"
#include "recovery.h"
#include "saver.h"
#include "zone.h"

struct uds_writer
{
	uds_index *index;
	uds_port *port;
	uds_config config;
	uds_geometry geometry;
	uds_port_file *lock; /* NULL: the files are not ours */
	uds_volume volume;
	uds_control control;
	bool has_control;        /* control is what the file says */
	bool must_write_control; /* or the file may say something else: a write of it has failed */
	bool has_zones;          /* all zones belong to this writer */
	uint64_t rebuilt_from;   /* number + 1 of the save that the last rebuild began with, or 0 */
	bool is_clean;           /* the files that were opened had been closed in order */
};

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

static void
give_zones(uds_writer *writer)
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

/*
 * Take all zones; each worker lets go at its next request boundary.  No guest is inside then, and
 * none enters.  UDS_OK or UDS_STOPPED.
 */
static uds_status
take_zones(uds_writer *writer)
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
				give_zones(writer);
				return UDS_STOPPED;
			}
		}
	}
	for (uint32_t i = 0; i < UDS_GUESTS_MAX; i++)
	{
		if (wait_for_guest(writer, i) != UDS_OK)
		{
			give_zones(writer);
			return UDS_STOPPED;
		}
	}
	writer->has_zones = true;
	return UDS_OK;
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

static void
enter(uds_writer *writer)
{
	atomic_store_explicit(&writer->index->writer_inside, 1, memory_order_relaxed);
}

/*
 * Leave the engine with the status of a call that changed the block: a broken invariant marks the
 * index failed.
 */
static uds_status
leave(uds_writer *writer, uds_status status, uds_error *error)
{
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	if (status == UDS_ERR_INTERNAL)
		uds_block_fail(writer->index,
		               writer->port,
		               error->message[0] != '\0' ? error->message : "an invariant is broken");
	return status;
}

/* Take the index offline for a reason that is in *error. */
static uds_status
go_offline(uds_writer *writer, uds_status status, uds_error *error)
{
	char reason[2 * UDS_ERROR_TEXT_BYTES + 8];

	if (status == UDS_STOPPED)
		return status;
	if (status == UDS_ERR_CORRUPT && error->hint[0] == '\0')
		uds_error_hint(error, "Restore the files, or forget everything with uds_reset().");
	snprintf(reason,
	         sizeof(reason),
	         error->detail[0] != '\0' ? "%s (%s)" : "%s",
	         error->message,
	         error->detail);
	uds_block_set_state(writer->index, UDS_STATE_OFFLINE, reason);
	return status;
}

/* ---- control ---------------------------------------------------------------------------------- */

static void
set_parameters(uds_control *control, const uds_config *config)
{
	const uds_geometry_parameters *p = &config->geometry;

	control->memory_mb = config->memory_mb;
	control->structure = config->structure;
	control->page_bytes = p->page_bytes;
	control->index_page_bytes = p->index_page_bytes;
	control->records_per_page = p->records_per_page;
	control->record_pages = p->record_pages;
	control->extra_pages = p->extra_pages;
	control->chapters = p->chapters;
	control->sparse_chapters = p->sparse_chapters;
	control->is_reduced = p->is_reduced;
	control->remapped_virtual = p->remapped_virtual;
	control->remapped_physical = p->remapped_physical;
}

static const char *
structure_name(uint32_t structure)
{
	return structure == UDS_STRUCTURE_BUCKETS ? "buckets" : "lists";
}

/* Do the files belong to this server and fit the configuration? */
static uds_status
check_control(const uds_writer *writer, const uds_control *control, uds_error *error)
{
	uds_control wanted = *control;
	uint64_t system_identifier = uds_port_system_identifier(writer->port);

	if (control->system_identifier != system_identifier)
	{
		(void) uds_error_set(error, UDS_ERR_MISMATCH, 0, "files belong to another server");
		uds_error_detail(error,
		                 "System identifier of the files is %llu, of this server %llu.",
		                 (unsigned long long) control->system_identifier,
		                 (unsigned long long) system_identifier);
		uds_error_hint(
			error,
			"Set \"uds.directory\" to the files of this server, or forget everything that "
			"is in these with uds_reset().");
		return UDS_ERR_MISMATCH;
	}
	if (control->state == UDS_CONTROL_MOVED)
		return uds_error_set(error, UDS_ERR_MISMATCH, 0, "files were moved elsewhere");
	if (control->state < UDS_CONTROL_CLEAN || control->state > UDS_CONTROL_CREATING ||
	    (control->valid_save > 1 && control->valid_save != UDS_NO_SAVE))
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file makes no sense");
	set_parameters(&wanted, &writer->config);
	wanted.memory_mb = control->memory_mb;
	if (memcmp(&wanted, control, sizeof(wanted)) == 0)
		return UDS_OK;
	(void) uds_error_set(error, UDS_ERR_MISMATCH, 0, "files do not fit the settings");
	uds_error_detail(error,
	                 "Files: %u MB, %u chapters (%u sparse), index \"%s\"; settings: %u MB, %u "
	                 "chapters (%u sparse), index \"%s\".",
	                 control->memory_mb,
	                 control->chapters,
	                 control->sparse_chapters,
	                 structure_name(control->structure),
	                 writer->config.memory_mb,
	                 writer->config.geometry.chapters,
	                 writer->config.geometry.sparse_chapters,
	                 structure_name(writer->config.structure));
	uds_error_hint(error, "Set the settings back, or forget everything with uds_reset().");
	return UDS_ERR_MISMATCH;
}

static uds_status
write_control(uds_writer *writer, uds_control_state state, uds_error *error)
{
	uds_control control = writer->control;
	uds_status status;

	control.state = state;
	status = uds_control_write(writer->port, &control, error);
	/* The new version may be in place nevertheless. */
	writer->must_write_control = status != UDS_OK;
	if (status == UDS_OK)
		writer->control = control;
	return status;
}

/* ---- files ------------------------------------------------------------------------------------ */

static uds_status
lock_files(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_port_directory_create(writer->port, error);

	if (status == UDS_OK)
		status = uds_port_file_open(writer->port,
		                            UDS_LOCK_FILE,
		                            UDS_FILE_WRITE | UDS_FILE_CREATE,
		                            &writer->lock,
		                            error);
	if (status != UDS_OK)
		return status;
	status = uds_port_file_lock(writer->port, writer->lock, error);
	if (status != UDS_OK)
	{
		uds_port_file_close(writer->port, writer->lock);
		writer->lock = NULL;
	}
	return status;
}

/*
 * Make a volume without chapters under the identity that writer->control has, and a control file
 * that says so.
 */
static uds_status
create_files(uds_writer *writer, uds_error *error)
{
	uint32_t flags = UDS_FILE_WRITE | UDS_FILE_CREATE;
	uds_status status = write_control(writer, UDS_CONTROL_CREATING, error);

	/* Saves of the former identity would not be loaded, but take their space. */
	for (uint32_t save = 0; save < 2 && status == UDS_OK; save++)
		status = uds_port_file_remove(writer->port, uds_checkpoint_file_name(save), error);
	if (status == UDS_OK && writer->volume.file == NULL)
		status = uds_volume_open(&writer->volume, flags, error);
	if (status == UDS_OK)
		status = uds_port_file_truncate(writer->port, writer->volume.file, 0, error);
	if (status == UDS_OK)
		status = uds_volume_write_header(&writer->volume, writer->control.name_key, error);
	if (status == UDS_OK)
		status = uds_port_file_sync(writer->port, writer->volume.file, error);
	if (status == UDS_OK)
		status = uds_port_directory_sync(writer->port, error);
	if (status == UDS_OK)
		status = write_control(writer, UDS_CONTROL_RUNNING, error);
	if (status == UDS_OK)
		writer->has_control = true;
	return status;
}

/* A new identity; the name key stays when there is one. */
static uds_status
make_identity(uds_writer *writer, uds_error *error)
{
	uds_control *control = &writer->control;
	uint64_t generation = writer->has_control ? control->generation : 0;
	uint8_t key[UDS_NAME_KEY_BYTES];
	uint64_t nonce;

	if (!uds_port_random(writer->port, &nonce, sizeof(nonce)) ||
	    !uds_port_random(writer->port, key, sizeof(key)))
		return uds_error_set(error, UDS_ERR_IO, 0, "could not get random bytes");
	if (writer->has_control)
		memcpy(key, control->name_key, sizeof(key));
	else if (atomic_load_explicit(&writer->index->has_name_key, memory_order_relaxed) != 0)
		memcpy(key, writer->index->name_key, sizeof(key));
	memset(control, 0, sizeof(*control));
	control->nonce = nonce;
	memcpy(control->name_key, key, sizeof(key));
	control->system_identifier = uds_port_system_identifier(writer->port);
	control->generation = generation + 1;
	control->valid_save = UDS_NO_SAVE;
	set_parameters(control, &writer->config);
	atomic_store_explicit(&writer->index->nonce, nonce, memory_order_relaxed);
	atomic_store_explicit(&writer->index->generation, control->generation, memory_order_relaxed);
	return UDS_OK;
}

/* Do without the save.  The next one is not its successor, so that it never stands in for that. */
static void
forget_save(uds_control *control)
{
	control->valid_save = UDS_NO_SAVE;
	control->save_number++;
}

/*
 * A save of a time that this host does not know, or perhaps of one: control was written after it.
 * It would bring back records that never were, and lead to chapters that are dropped.
 */
static void
drop_future_save(uds_writer *writer)
{
	uds_control *control = &writer->control;

	if (control->valid_save == UDS_NO_SAVE || uds_port_stamp_is_past(writer->port, &control->stamp))
		return;
	uds_port_log(writer->port,
	             UDS_LOG_WARNING,
	             "save %llu is not in this server's past and is not used",
	             (unsigned long long) control->save_number);
	forget_save(control);
}

/* Open the files that control describes, under the next generation. */
static uds_status
open_files(uds_writer *writer, uds_error *error)
{
	uds_status status = UDS_OK;

	atomic_store_explicit(&writer->index->nonce, writer->control.nonce, memory_order_relaxed);
	if (writer->control.state == UDS_CONTROL_CREATING)
	{
		writer->control.generation++;
		atomic_store_explicit(&writer->index->generation,
		                      writer->control.generation,
		                      memory_order_relaxed);
		return create_files(writer, error);
	}
	if (writer->volume.file == NULL)
		status = uds_volume_open(&writer->volume, UDS_FILE_WRITE, error);
	if (status == UDS_NOT_FOUND)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume is missing");
	if (status != UDS_OK)
		return status;
	writer->is_clean = writer->control.state == UDS_CONTROL_CLEAN;
	drop_future_save(writer);
	writer->control.generation++;
	status = write_control(writer, UDS_CONTROL_RUNNING, error);
	if (status != UDS_OK)
		return status;
	atomic_store_explicit(&writer->index->generation,
	                      writer->control.generation,
	                      memory_order_relaxed);
	status = uds_volume_check_header(&writer->volume, writer->control.name_key, error);
	if (status != UDS_ERR_CORRUPT)
		return status;
	uds_port_log(writer->port, UDS_LOG_WARNING, "%s and is written anew", error->message);
	status = uds_volume_write_header(&writer->volume, writer->control.name_key, error);
	if (status == UDS_OK)
		status = uds_port_file_sync(writer->port, writer->volume.file, error);
	return status;
}

/* Read control and open what it describes, or create everything where there is nothing. */
static uds_status
open_or_create(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_control_read(writer->port, &writer->control, error);

	if (status == UDS_OK)
	{
		writer->has_control = true;
		status = check_control(writer, &writer->control, error);
		return status == UDS_OK ? open_files(writer, error) : status;
	}
	if (status != UDS_NOT_FOUND)
		return status;
	status = uds_port_file_exists(writer->port, UDS_VOLUME_FILE, error);
	if (status == UDS_OK)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file is missing beside a volume");
	if (status != UDS_NOT_FOUND)
		return status;
	status = make_identity(writer, error);
	return status == UDS_OK ? create_files(writer, error) : status;
}

static void
publish_name_key(uds_writer *writer)
{
	uds_index *index = writer->index;

	if (atomic_load_explicit(&index->has_name_key, memory_order_relaxed) != 0)
		return;
	memcpy(index->name_key, writer->control.name_key, sizeof(index->name_key));
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

		status = uds_chapter_writer_write(index, &writer->volume, chapter, count, error);
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
		uds_block_set_state(index, UDS_STATE_READ_ONLY, reason);
	}
	/* Zones that are full go on, or learn that they cannot. */
	wake_zones(writer);
	return status;
}

/*
 * Bring all zones, which belong to the writer, to the same open chapter, and write all chapters
 * before it.
 */
static uds_status
settle(uds_writer *writer, uds_error *error)
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

/* Save what stands still, over the save that control does not name, and let control name it. */
static uds_status
save_index(uds_writer *writer, uds_control_state state, uds_error *error)
{
	uds_index *index = writer->index;
	uds_control before;
	uint32_t save;
	uds_status status = UDS_OK;

	if (writer->must_write_control)
		status = write_control(writer, UDS_CONTROL_RUNNING, error);
	if (status != UDS_OK)
		return status;
	before = writer->control;
	save = before.valid_save == 0 ? 1 : 0;
	status = uds_saver_save(index, writer->port, save, before.save_number + 1, error);
	if (status != UDS_OK)
		return status;
	writer->control.valid_save = save;
	writer->control.save_number = before.save_number + 1;
	writer->control.save_time = uds_port_wall_clock(writer->port);
	status = write_control(writer, state, error);
	if (status != UDS_OK)
	{
		writer->control = before;
		return status;
	}
	atomic_store_explicit(&index->last_checkpoint, writer->control.save_time, memory_order_relaxed);
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

/* Lay out the block and fill it from the files. */
static uds_status
recover(uds_writer *writer, uds_error *error)
{
	uds_index *index = writer->index;
	uint64_t begin = uds_port_now(writer->port);
	bool is_zeroed = atomic_load_explicit(&index->epoch, memory_order_relaxed) == 0;
	uds_recovery_result result;
	uint64_t bytes;
	uds_status status = uds_block_lay_out(index, writer->port, &writer->config, is_zeroed);

	if (status == UDS_STOPPED)
		return status;
	if (status != UDS_OK)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "configuration is not valid");
	writer->volume.slots = index->slots;
	status = uds_recovery_run(index,
	                          &writer->volume,
	                          &writer->control,
	                          writer->is_clean,
	                          &result,
	                          error);
	writer->is_clean = false;
	if (status == UDS_OK)
		status = uds_port_file_size(writer->port, writer->volume.file, &bytes, error);
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
	if (result.has_save && result.save != writer->control.valid_save)
	{
		/* The damaged save is the one to be overwritten next. */
		writer->control.valid_save = result.save;
		writer->control.save_number--;
		writer->must_write_control = true;
	}
	/* So that the next start need not do the same again. */
	if (result.replayed_chapters > index->geometry.parameters.chapters / 8)
	{
		uds_error save_error = { 0 };

		status = save_index(writer, UDS_CONTROL_RUNNING, &save_error);
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

static void
set_online(uds_writer *writer)
{
	uds_index *index = writer->index;

	atomic_store_explicit(&index->opened_at,
	                      uds_port_wall_clock(writer->port),
	                      memory_order_relaxed);
	atomic_store_explicit(&index->last_checkpoint, writer->control.save_time, memory_order_relaxed);
	uds_block_set_state(index, UDS_STATE_ONLINE, NULL);
	give_zones(writer);
}

/* Go on with a block that a predecessor left in order: only the files have to be opened. */
static uds_status
take_over(uds_writer *writer, uds_error *error)
{
	uds_status status = uds_control_read(writer->port, &writer->control, error);

	if (status == UDS_NOT_FOUND)
		status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file has disappeared");
	if (status != UDS_OK)
		return status;
	writer->has_control = true;
	if (writer->control.nonce != atomic_load_explicit(&writer->index->nonce, memory_order_relaxed))
		return uds_error_set(error, UDS_ERR_MISMATCH, 0, "files were replaced while in use");
	writer->volume.slots = writer->index->slots;
	status = uds_volume_open(&writer->volume, UDS_FILE_WRITE, error);
	if (status == UDS_NOT_FOUND)
		status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume has disappeared");
	if (status == UDS_OK)
		give_zones(writer);
	return status;
}

/* Everything from the files to the state online; the lock is held. */
static uds_status
open_index(uds_writer *writer, uds_error *error)
{
	uds_status status = take_zones(writer);

	if (status == UDS_OK)
		status = open_or_create(writer, error);
	if (status == UDS_OK)
	{
		publish_name_key(writer);
		status = recover(writer, error);
	}
	if (status == UDS_OK)
		set_online(writer);
	return status;
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
	writer->volume.port = port;
	writer->volume.geometry = &writer->geometry;
	writer->volume.nonce = &block->nonce;
	writer->volume.bad_pages = &block->bad_pages;
	*result = writer;
	if (uds_geometry_init(&writer->geometry, &config->geometry) != UDS_OK ||
	    uds_index_size(config) == 0)
		status = uds_error_set(error, UDS_ERR_ARGUMENT, 0, "configuration is not valid");
	else
		status = lock_files(writer, error);
	if (status != UDS_OK)
		return go_offline(writer, status, error);
	if (is_laid_out && !is_inside && uds_state_executes(uds_index_state(block)))
	{
		status = take_over(writer, error);
		return status == UDS_OK ? UDS_OK : go_offline(writer, status, error);
	}
	uds_block_set_state(block, UDS_STATE_RECOVERING, NULL);
	enter(writer);
	status = open_index(writer, error);
	atomic_store_explicit(&block->writer_inside, 0, memory_order_relaxed);
	return status == UDS_OK ? UDS_OK : go_offline(writer, status, error);
}

/* ---- work ------------------------------------------------------------------------------------- */

/* Build the index again after an invariant was broken: memory is not trusted, files are. */
static uds_status
rebuild_failed(uds_writer *writer, uds_error *error)
{
	uds_status status = take_zones(writer);

	if (status != UDS_OK)
		return status;
	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	/* An index that fails again from the same save was wrong before it was saved. */
	if (writer->control.valid_save != UDS_NO_SAVE &&
	    writer->rebuilt_from == writer->control.save_number + 1)
	{
		uds_port_log(writer->port,
		             UDS_LOG_WARNING,
		             "save %llu is not used again",
		             (unsigned long long) writer->control.save_number);
		forget_save(&writer->control);
	}
	writer->rebuilt_from = writer->control.save_number + 1;
	status = open_files(writer, error);
	if (status == UDS_OK)
		status = recover(writer, error);
	if (status != UDS_OK)
		return go_offline(writer, status, error);
	set_online(writer);
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
	enter(writer);
	if (state == UDS_STATE_FAILED)
	{
		status = rebuild_failed(writer, error);
		atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
		return status;
	}
	status = write_next_chapter(writer, error);
	return leave(writer, status, error);
}

static const char *
state_name(uds_state state)
{
	static const char *const names[] = {
		[UDS_STATE_NONE] = "closed",         [UDS_STATE_RECOVERING] = "recovering",
		[UDS_STATE_ONLINE] = "online",       [UDS_STATE_SUSPENDED] = "suspended",
		[UDS_STATE_READ_ONLY] = "read only", [UDS_STATE_OFFLINE] = "offline",
		[UDS_STATE_FAILED] = "failed",
	};

	return names[state];
}

/* An error that tells the state, and why it is that. */
static uds_status
refuse_state(uds_writer *writer, uds_state state, uds_error *error)
{
	char reason[UDS_ERROR_TEXT_BYTES];

	(void) uds_error_set(error, UDS_ERR_STATE, 0, "index is not online");
	uds_index_reason(writer->index, reason, sizeof(reason));
	uds_error_detail(error,
	                 reason[0] != '\0' ? "It is %s: %s." : "It is %s.",
	                 state_name(state),
	                 reason);
	return UDS_ERR_STATE;
}

uds_status
uds_writer_checkpoint(uds_writer *writer, uds_error *error)
{
	uds_state state = uds_index_state(writer->index);
	uds_status status;

	memset(error, 0, sizeof(*error));
	if (!uds_state_executes(state))
		return refuse_state(writer, state, error);
	status = take_zones(writer);
	if (status != UDS_OK)
		return status;
	enter(writer);
	status = settle(writer, error);
	if (status == UDS_OK && state == UDS_STATE_READ_ONLY)
		uds_block_set_state(writer->index, UDS_STATE_ONLINE, NULL);
	if (status == UDS_OK)
		status = save_index(writer, UDS_CONTROL_RUNNING, error);
	status = leave(writer, status, error);
	give_zones(writer);
	return status;
}

uds_status
uds_writer_reset(uds_writer *writer, uds_error *error)
{
	uds_status status;

	memset(error, 0, sizeof(*error));
	if (writer->lock == NULL)
		return uds_error_set(error, UDS_ERR_STATE, 0, "files of the index are not locked");
	status = take_zones(writer);
	if (status != UDS_OK)
		return status;
	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	enter(writer);
	status = make_identity(writer, error);
	if (status == UDS_OK)
		status = create_files(writer, error);
	if (status == UDS_OK)
	{
		publish_name_key(writer);
		status = recover(writer, error);
	}
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	if (status != UDS_OK)
		return go_offline(writer, status, error);
	set_online(writer);
	return UDS_OK;
}

/* ---- end -------------------------------------------------------------------------------------- */

static void
close_files(uds_writer *writer)
{
	uds_volume_close(&writer->volume);
	if (writer->lock != NULL)
		uds_port_file_close(writer->port, writer->lock);
	writer->lock = NULL;
}

uds_status
uds_writer_close(uds_writer *writer, bool save, uds_error *error)
{
	uds_index *index = writer->index;
	bool executes = uds_state_executes(uds_index_state(index));
	uds_status status = UDS_OK;

	memset(error, 0, sizeof(*error));
	if (executes)
		status = take_zones(writer);
	enter(writer);
	if (executes && status == UDS_OK)
		status = settle(writer, error);
	if (executes && status == UDS_OK && save)
		status = save_index(writer, UDS_CONTROL_CLEAN, error);
	uds_block_set_state(index, UDS_STATE_NONE, NULL);
	atomic_store_explicit(&index->writer_inside, 0, memory_order_relaxed);
	if (writer->has_zones)
		give_zones(writer);
	close_files(writer);
	return status;
}

void
uds_writer_detach(uds_writer *writer)
{
	if (writer->has_zones && uds_state_executes(uds_index_state(writer->index)))
		give_zones(writer);
	close_files(writer);
}
