/*
 * recovery.c: see recovery.h.
 *
 * 1. All seals are read: one page per chapter tells what lies where.  Chapters that are not in this
 *    host's past are dropped.  The newest sealed chapter may be torn (its pages and its seal are
 *    synced together), so it is verified as a whole; older ones were synced before it was begun.
 *    It is then written again: what was read may have come from the system's memory, after a kill
 *    between write and sync or a sync that failed, and nothing may build on it before it is durable.
 * 2. The save is loaded, the other save if that one is damaged.
 * 3. Chapters since the save are replayed in order.  A name without entry gets a hint, as when it
 *    was posted.  A hint of another chapter may be this name's older version or another name's: the
 *    chapter it leads to is searched, and tells.  Of chapters that are sparse in the end only hooks
 *    are replayed: other entries would be gone by then.
 *
 * What is damaged is left out, and told.  What the system refuses to read ends the recovery instead:
 * it may be there at the next try, but not after its number and its place were used again.
 */
#include "recovery.h"

#include "chapter_writer.h"
#include "saver.h"

#define NAMES_AHEAD 8 /* prefetch distance in replay */

/* What a replay works with. */
typedef struct replay
{
	uds_index *index;
	uds_volume *volume;
	uint64_t chapter; /* being replayed */
	uint64_t oldest;  /* of the final window */
	uint64_t loaded;  /* number of the open chapter of the save, or UDS_NO_CHAPTER */
	bool is_sparse;   /* the chapter will be sparse: its hooks are all that counts */
	uds_recovery_result *result;
	uds_error *error;
} replay;

/* Does a failed read end the recovery?  Then tell how to go on. */
static bool
must_end(const uds_volume *volume, uds_status status, uds_error *error)
{
	if (status != UDS_ERR_IO || uds_port_accepts_stale(volume->port))
		return false;
	uds_error_hint(error,
	               "When it can be read, call uds_resume(). To do without what cannot be read, set "
	               "\"uds.accept_stale\" before.");
	return true;
}

/* ---- seals ------------------------------------------------------------------------------------ */

static void
set_slot(uds_index *index, uint32_t physical, const uds_seal *seal)
{
	uds_chapter_slot *slot = &index->slots[physical];

	atomic_store_explicit(&slot->generation, seal->generation, memory_order_relaxed);
	atomic_store_explicit(&slot->records, seal->records, memory_order_relaxed);
	atomic_store_explicit(&slot->tombstones, seal->tombstones, memory_order_relaxed);
	atomic_store_explicit(&slot->damage, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->chapter, seal->chapter, memory_order_release);
}

static uint64_t
chapter_in(const uds_index *index, uint32_t physical)
{
	return atomic_load_explicit(&index->slots[physical].chapter, memory_order_relaxed);
}

static void
clear_slot(uds_index *index, uint32_t physical)
{
	atomic_store_explicit(&index->slots[physical].chapter, UDS_NO_CHAPTER, memory_order_relaxed);
}

/* Is a chapter on the volume? */
static bool
is_sealed(const uds_index *index, uint64_t chapter)
{
	return chapter_in(index, uds_geometry_physical_chapter(&index->geometry, chapter)) == chapter;
}

static void
note_future(uds_recovery_result *result, const uds_seal *seal)
{
	if (result->future_chapters == 0 || seal->chapter < result->first_future)
		result->first_future = seal->chapter;
	result->future_chapters++;
}

/* Read all seals into the slots. */
static uds_status
scan_seals(uds_index *index, uds_volume *volume, const uds_control *control,
           uds_recovery_result *result, uds_error *error)
{
	uds_block_set_phase(index, UDS_PHASE_SEALS, index->geometry.parameters.chapters);
	for (uint32_t i = 0; i < index->geometry.parameters.chapters; i++)
	{
		uds_seal seal;
		uds_status status;

		if (uds_port_should_stop(volume->port))
			return UDS_STOPPED;
		clear_slot(index, i);
		atomic_store_explicit(&index->progress_done, i, memory_order_relaxed);
		status = uds_volume_read_seal(volume, i, &seal, error);
		if (status == UDS_NOT_FOUND)
			continue;
		if (status == UDS_STOPPED || must_end(volume, status, error))
			return status;
		if (status != UDS_OK)
		{
			uds_port_log(volume->port, UDS_LOG_WARNING, "a chapter is lost: %s", error->message);
			result->damaged_chapters++;
		}
		else if (!uds_control_is_past(control, volume->port, &seal))
			note_future(result, &seal);
		else
		{
			set_slot(index, i, &seal);
			result->sealed_chapters++;
		}
	}
	return UDS_OK;
}

/* Newest chapter among the slots, or UDS_NO_CHAPTER. */
static uint64_t
newest_sealed(const uds_index *index)
{
	uint64_t newest = UDS_NO_CHAPTER;

	for (uint32_t i = 0; i < index->geometry.parameters.chapters; i++)
	{
		uint64_t chapter = chapter_in(index, i);

		if (chapter != UDS_NO_CHAPTER && (newest == UDS_NO_CHAPTER || chapter > newest))
			newest = chapter;
	}
	return newest;
}

/* Drop newest chapters until one verifies as a whole. */
static uds_status
verify_newest(uds_index *index, uds_volume *volume, uds_recovery_result *result, uds_error *error)
{
	for (;;)
	{
		uint64_t newest = newest_sealed(index);
		uint32_t physical;
		uds_seal seal;
		uds_status status;

		if (newest == UDS_NO_CHAPTER)
			return UDS_OK;
		error->message[0] = '\0';
		physical = uds_geometry_physical_chapter(&index->geometry, newest);
		status = uds_volume_read_seal(volume, physical, &seal, error);
		if (status == UDS_OK)
			status = uds_volume_verify_chapter(volume, &seal, index->writer_image, error);
		if (status == UDS_OK || status == UDS_STOPPED || must_end(volume, status, error))
			return status;
		/* Gone between two reads, torn, accepted to be lost: in each case it does not exist. */
		uds_port_log(volume->port,
		             UDS_LOG_WARNING,
		             "the newest chapter %llu is incomplete and dropped: %s",
		             (unsigned long long) newest,
		             error->message[0] != '\0' ? error->message : "no seal");
		clear_slot(index, physical);
		result->damaged_chapters++;
		result->sealed_chapters--;
	}
}

/* Make the newest chapter durable by writing it completely; a sync alone would not do. */
static uds_status
rewrite_newest(uds_index *index, uds_volume *volume, uds_error *error)
{
	uint64_t newest = newest_sealed(index);
	uds_status status;

	if (newest == UDS_NO_CHAPTER)
		return UDS_OK;
	status = uds_volume_read_pages(volume,
	                               uds_geometry_physical_chapter(&index->geometry, newest),
	                               0,
	                               index->geometry.pages_per_chapter,
	                               index->writer_image,
	                               error);
	if (status != UDS_OK)
		return status;
	return uds_volume_write_chapter(volume, newest, index->writer_image, error);
}

/* ---- replay ----------------------------------------------------------------------------------- */

/* Get a page through the page cache, reading it here and now. */
static uds_status
fetch_page(replay *state, uint64_t chapter, uint32_t page, uint32_t *slot, const uint8_t **data)
{
	uds_page_cache *cache = state->index->page_cache;
	uds_page found;
	uds_status status;

	state->volume->read_errno = 0;
	status = uds_page_cache_get(cache, state->volume, chapter, page, 0, &found);

	*slot = found.slot;
	*data = found.data;
	while (status == UDS_PENDING)
	{
		if (uds_page_cache_serve(cache, state->volume) != UDS_OK)
			return UDS_ERR_INTERNAL;
		status = uds_page_cache_poll(cache, *slot, data);
	}
	if (status == UDS_NOT_FOUND && *slot != UDS_PAGE_SLOT_NONE)
		uds_page_cache_release(cache, state->volume->port, *slot);
	if (status == UDS_NOT_FOUND && state->volume->read_errno != 0)
	{
		uds_status refusal = uds_error_set(state->error,
		                                   UDS_ERR_IO,
		                                   state->volume->read_errno,
		                                   "page %u of chapter %llu could not be read",
		                                   page,
		                                   (unsigned long long) chapter);

		if (must_end(state->volume, refusal, state->error))
			return refusal;
	}
	return status == UDS_OVERFLOW ? UDS_ERR_INTERNAL : status;
}

/* Does a chapter of the volume hold a name?  UDS_OK, UDS_NOT_FOUND, UDS_ERR_IO, UDS_ERR_INTERNAL. */
static uds_status
search_chapter(replay *state, uint64_t chapter, const uds_name *name)
{
	const uds_geometry *geometry = &state->index->geometry;
	uds_port *port = state->volume->port;
	uint32_t list = uds_geometry_chapter_list(geometry, uds_name_chapter_field(name));
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);
	uint32_t page = uds_page_map_find(state->index->page_map, physical, list);
	uint32_t record_page;
	const uint8_t *data;
	uint32_t slot;
	uds_status status;

	if (chapter < state->oldest || !is_sealed(state->index, chapter))
		return UDS_NOT_FOUND;
	status = fetch_page(state, chapter, page, &slot, &data);
	if (status != UDS_OK)
		return status;
	status = uds_chapter_index_search(data, geometry, name, &record_page);
	uds_page_cache_release(state->index->page_cache, port, slot);
	if (status != UDS_OK)
		return UDS_NOT_FOUND;
	status = fetch_page(state, chapter, geometry->index_pages + record_page, &slot, &data);
	if (status != UDS_OK)
		return status;
	status = uds_record_page_search(data, name, NULL, NULL);
	uds_page_cache_release(state->index->page_cache, port, slot);
	return status == UDS_OK ? UDS_OK : UDS_NOT_FOUND;
}

/*
 * Lead the volume index to a name of the chapter that is replayed.  One that the chapter's index has
 * dropped cannot be found there: it gets no entry of its own, but takes over the one that it has, or
 * the older version that it replaces would answer again.
 */
static uds_status
replay_name(replay *state, const uds_name *name, bool is_indexed)
{
	uds_volume_index *volume_index = &state->index->volume_index;
	uint64_t chapter = state->chapter;
	uds_index_entry entry;
	uds_status status;

	if (uds_volume_index_boundary(volume_index, name) > chapter)
		return UDS_OK;
	if (chapter == state->loaded && uds_saver_is_loaded(state->index, chapter, name))
		return UDS_OK;
	status = uds_volume_index_get(volume_index, name, &entry);
	if (status != UDS_OK)
		return UDS_ERR_INTERNAL;
	if (entry.kind == UDS_ENTRY_EXACT)
	{
		if (entry.chapter == chapter)
			return UDS_OK;
		status = uds_volume_index_move(volume_index, &entry, chapter);
	}
	else
	{
		/* Names are unique within a chapter: a hint to this one is another name's. */
		bool is_own = false;

		if (entry.kind == UDS_ENTRY_HINT && entry.chapter != chapter)
		{
			status = search_chapter(state, entry.chapter, name);
			if (uds_status_is_error(status))
				return status;
			is_own = status == UDS_OK;
		}
		if (is_own)
			status = uds_volume_index_move(volume_index, &entry, chapter);
		else if (!is_indexed)
			return UDS_OK;
		else
			status = uds_volume_index_put(volume_index, &entry, chapter);
	}
	/* A name without room is forgotten, and counted by the volume index. */
	return status == UDS_OK || status == UDS_OVERFLOW ? UDS_OK : UDS_ERR_INTERNAL;
}

/* Does the chapter index lead to this record?  Asked only of chapters that dropped some. */
static bool
is_indexed(replay *state, uint32_t record_page, const uds_name *name)
{
	const uds_geometry *geometry = &state->index->geometry;
	uint32_t list = uds_geometry_chapter_list(geometry, uds_name_chapter_field(name));
	uint32_t physical = uds_geometry_physical_chapter(geometry, state->chapter);
	uint32_t page = uds_page_map_find(state->index->page_map, physical, list);
	uint32_t found;

	return uds_chapter_index_search(state->index->writer_image +
	                                    (size_t) page * geometry->parameters.page_bytes,
	                                geometry,
	                                name,
	                                &found) == UDS_OK &&
	       found == record_page;
}

static uds_status
replay_record_page(replay *state, const uint8_t *page, uint32_t number, bool has_dropped)
{
	uint32_t count = uds_record_page_count(page);
	uds_status status = UDS_OK;

	for (uint32_t i = 0; i < UDS_MIN(count, (uint32_t) NAMES_AHEAD); i++)
		uds_volume_index_prefetch(&state->index->volume_index,
		                          &uds_record_page_record(page, i)->name);
	for (uint32_t i = 0; i < count && status == UDS_OK; i++)
	{
		const uds_name *name = &uds_record_page_record(page, i)->name;

		if (i + NAMES_AHEAD < count)
			uds_volume_index_prefetch(&state->index->volume_index,
			                          &uds_record_page_record(page, i + NAMES_AHEAD)->name);
		if (state->is_sparse && !uds_volume_index_is_hook(&state->index->volume_index, name))
			continue;
		status = replay_name(state, name, !has_dropped || is_indexed(state, number, name));
	}
	return status;
}

/* Set the row of the page map from the index pages in the image; damaged ones hold no list. */
static void
replay_page_map(replay *state, uint32_t generation)
{
	const uds_geometry *geometry = &state->index->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, state->chapter);
	uint32_t last = 0;

	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		const uint8_t *page =
			state->index->writer_image + (size_t) i * geometry->parameters.page_bytes;
		uint32_t first;
		uint32_t count;

		if (uds_volume_verify_page(state->volume, page, state->chapter, generation, i) == UDS_OK)
		{
			uds_chapter_index_bounds(page, &first, &count);
			if (count > 0 && first + count - 1 >= last &&
			    first + count <= geometry->lists_per_chapter)
				last = first + count - 1;
		}
		else
			state->result->damaged_pages++;
		uds_page_map_update(state->index->page_map, physical, i, (uint16_t) last);
	}
}

static uds_status
set_windows(replay *state, uint64_t newest)
{
	for (uint32_t i = 0; i < state->index->config.zone_count; i++)
	{
		uds_status status = uds_volume_index_set_window(&state->index->volume_index,
		                                                i,
		                                                UDS_MIN(state->oldest, newest),
		                                                newest);

		if (status != UDS_OK)
			return UDS_ERR_INTERNAL;
	}
	return UDS_OK;
}

/* Replay one chapter of the volume. */
static uds_status
replay_chapter(replay *state)
{
	uds_index *index = state->index;
	const uds_geometry *geometry = &index->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, state->chapter);
	uds_chapter_slot *slot = &index->slots[physical];
	uint32_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	size_t page_bytes = geometry->parameters.page_bytes;
	uds_seal seal;
	uds_status status = uds_volume_read_pages(state->volume,
	                                          physical,
	                                          0,
	                                          geometry->pages_per_chapter,
	                                          index->writer_image,
	                                          state->error);

	if (status != UDS_OK)
		return status;
	memcpy(&seal,
	       index->writer_image + (geometry->pages_per_chapter - 1) * page_bytes,
	       sizeof(seal));
	replay_page_map(state, generation);
	for (uint32_t i = 0; i < geometry->parameters.record_pages; i++)
	{
		uint32_t number = geometry->index_pages + i;
		const uint8_t *page = index->writer_image + number * page_bytes;

		if (uds_port_should_stop(state->volume->port))
			return UDS_STOPPED;
		if (uds_volume_verify_page(state->volume, page, state->chapter, generation, number) !=
		    UDS_OK)
		{
			state->result->damaged_pages++;
			continue;
		}
		status = replay_record_page(state, page, i, seal.unindexed > 0);
		if (status != UDS_OK)
			return status;
	}
	state->result->replayed_chapters++;
	return UDS_OK;
}

/* Replay chapters first .. newest - 1; one that is accepted to be lost is skipped and told. */
static uds_status
replay_chapters(replay *state, uint64_t first)
{
	uds_index *index = state->index;
	uint64_t newest = state->result->newest;

	uds_block_set_phase(index, UDS_PHASE_REPLAYING, newest - first);
	for (uint64_t chapter = first; chapter < newest; chapter++)
	{
		uds_status status = set_windows(state, chapter);

		state->chapter = chapter;
		state->is_sparse = uds_geometry_is_sparse(&index->geometry, state->oldest, newest, chapter);
		if (status != UDS_OK)
			return status;
		if (is_sealed(index, chapter))
		{
			status = replay_chapter(state);
			if (status != UDS_OK &&
			    (status != UDS_ERR_IO || must_end(state->volume, status, state->error)))
				return status;
			if (status != UDS_OK)
				uds_port_log(state->volume->port,
				             UDS_LOG_WARNING,
				             "chapter %llu cannot be read and is not replayed: %s",
				             (unsigned long long) chapter,
				             state->error->message);
		}
		atomic_fetch_add_explicit(&index->progress_done, 1, memory_order_relaxed);
	}
	return UDS_OK;
}

/* ---- save ------------------------------------------------------------------------------------- */

/* Copy what is known of the volume over a new layout of the block. */
static uds_status
lay_out_again(uds_index *index, uds_volume *volume, const uds_control *control, uds_error *error)
{
	uds_config config = index->config;
	uds_recovery_result ignored = { 0 };
	uds_status status;

	config.geometry = index->geometry.parameters;
	status = uds_block_lay_out(index, volume->port, &config, false);
	if (status != UDS_OK)
		return status == UDS_STOPPED ? UDS_STOPPED : UDS_ERR_INTERNAL;
	status = scan_seals(index, volume, control, &ignored, error);
	return status == UDS_OK ? verify_newest(index, volume, &ignored, error) : status;
}

/*
 * Load the save that control names, or else the one before.  *loaded becomes the number of its
 * open chapter; UDS_NO_CHAPTER when there is none that can be used.
 */
static uds_status
load_save(uds_index *index, uds_volume *volume, const uds_control *control, uint64_t *loaded,
          bool *has_surplus, uds_recovery_result *result, uds_error *error)
{
	*loaded = UDS_NO_CHAPTER;
	for (uint32_t i = 0; i < 2 && control->valid_save != UDS_NO_SAVE; i++)
	{
		uint32_t save = (control->valid_save + i) % 2;
		uds_status status;

		if (control->save_number < i + 1)
			break;
		status = uds_saver_load(index,
		                        volume->port,
		                        save,
		                        control->save_number - i,
		                        loaded,
		                        has_surplus,
		                        error);
		if (status == UDS_OK)
		{
			result->has_save = true;
			result->save = save;
			return UDS_OK;
		}
		*loaded = UDS_NO_CHAPTER;
		*has_surplus = false;
		if (status == UDS_STOPPED || status == UDS_ERR_INTERNAL || must_end(volume, status, error))
			return status;
		if (i == 0)
		{
			result->is_save_damaged = true;
			uds_port_log(volume->port,
			             UDS_LOG_WARNING,
			             "save %llu cannot be used: %s",
			             (unsigned long long) control->save_number,
			             status == UDS_NOT_FOUND ? "file is missing" : error->message);
		}
		status = lay_out_again(index, volume, control, error);
		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

/* Write the loaded open chapter to the volume, where nothing newer lies in its place. */
static uds_status
write_loaded(uds_index *index, uds_volume *volume, uint64_t loaded, uds_error *error)
{
	uint32_t physical = uds_geometry_physical_chapter(&index->geometry, loaded);
	uint64_t there = chapter_in(index, physical);
	uint32_t count = uds_saver_collect_open(index, loaded);

	if (count == 0 || (there != UDS_NO_CHAPTER && there > loaded))
		return UDS_OK;
	return uds_chapter_writer_write(index,
	                                volume,
	                                loaded,
	                                count,
	                                uds_port_stamp(volume->port),
	                                error);
}

/* Forget what the slots say about chapters that are not in the window. */
static void
drop_expired(uds_index *index, uint64_t newest, uds_recovery_result *result)
{
	uint64_t oldest = uds_geometry_oldest(&index->geometry, newest);

	for (uint32_t i = 0; i < index->geometry.parameters.chapters; i++)
	{
		uint64_t chapter = chapter_in(index, i);

		if (chapter != UDS_NO_CHAPTER && (chapter < oldest || chapter >= newest))
		{
			clear_slot(index, i);
			result->sealed_chapters--;
		}
	}
}

/* Tell of chapters of the window that are not on the volume; a save's open one will be. */
static void
tell_missing(const replay *state)
{
	uint64_t newest = state->result->newest;
	uint64_t missing = 0;

	for (uint64_t chapter = state->oldest; chapter < newest; chapter++)
	{
		if (!is_sealed(state->index, chapter) &&
		    !(state->result->has_save && chapter == state->loaded))
			missing++;
	}
	if (missing > 0)
		uds_port_log(state->volume->port,
		             UDS_LOG_WARNING,
		             "%llu of %llu chapters are missing; their records are not found",
		             (unsigned long long) missing,
		             (unsigned long long) (newest - state->oldest));
}

uds_status
uds_recovery_run(uds_index *index, uds_volume *volume, const uds_control *control, bool is_clean,
                 uds_recovery_result *result, uds_error *error)
{
	replay state = { .index = index, .volume = volume, .result = result, .error = error };
	bool has_surplus = false;
	uint64_t sealed;
	uint64_t first;
	uds_status status;

	memset(result, 0, sizeof(*result));
	status = scan_seals(index, volume, control, result, error);
	if (status == UDS_OK)
		status = verify_newest(index, volume, result, error);
	if (status == UDS_OK && !is_clean)
		status = rewrite_newest(index, volume, error);
	if (status == UDS_OK)
		status = load_save(index, volume, control, &state.loaded, &has_surplus, result, error);
	if (status != UDS_OK)
		return status;
	sealed = newest_sealed(index);
	result->newest = sealed == UDS_NO_CHAPTER ? 0 : sealed + 1;
	if (result->has_save)
		result->newest = UDS_MAX(result->newest, state.loaded + (has_surplus ? 1 : 0));
	state.oldest = uds_geometry_oldest(&index->geometry, result->newest);
	drop_expired(index, result->newest, result);
	tell_missing(&state);
	if (result->has_save && state.loaded == result->newest)
		return UDS_OK;
	if (result->has_save && state.loaded >= state.oldest && !is_sealed(index, state.loaded))
	{
		status = write_loaded(index, volume, state.loaded, error);
		if (status != UDS_OK)
			return status;
	}
	first = result->has_save ? UDS_MAX(state.loaded, state.oldest) : state.oldest;
	status = replay_chapters(&state, first);
	if (status != UDS_OK)
		return status;
	return uds_block_begin_chapter(index, result->newest) == UDS_OK ? UDS_OK : UDS_ERR_INTERNAL;
}
