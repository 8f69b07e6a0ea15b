/*
 * verify.c: reads the volume and tells what is wrong with it.
 *
 * It works beside zones and writer, on what the slots say is there: a chapter that is overwritten
 * while it is read is looked at again and left out.  Of each chapter it checks the seal against the
 * slot, each page against its place, the pages together against the seal, the chapter index against
 * the records, and the page map against the index pages.
 */
#include "verify.h"

#include <stdarg.h>
#include <stdio.h>

struct uds_verifier
{
	uds_index *index;
	uds_geometry geometry; /* of that block */
	uds_volume volume;
	uint64_t epoch;    /* of the block that the chapters belong to */
	uint64_t moves;    /* of the files when the volume was opened */
	uint64_t chapter;  /* the next one */
	uint64_t end;      /* behind the last one */
	uds_problem *list; /* of the present call */
	uint32_t max;
	uint32_t count;
	uint8_t *image; /* pages_per_chapter */
};

static size_t
image_bytes(const uds_index *index)
{
	uds_geometry geometry;

	uds_block_geometry(index, &geometry);
	return (size_t) geometry.pages_per_chapter * geometry.parameters.page_bytes;
}

size_t
uds_verifier_size(const uds_index *index)
{
	return UDS_ALIGN(sizeof(uds_verifier), UDS_CACHE_LINE) + image_bytes(index);
}

/*
 * Do the slots say what is on the volume?  Not while the writer changes both, or where it has given
 * up.
 */
static bool
is_settled(const uds_index *index)
{
	switch (uds_index_state(index))
	{
		case UDS_STATE_RECOVERING:
		case UDS_STATE_OFFLINE:
		/* It may have failed while it was recovered or reset. */
		case UDS_STATE_FAILED:
			return false;
		case UDS_STATE_SUSPENDED:
			return atomic_load_explicit(&index->suspension, memory_order_relaxed) !=
			       UDS_SUSPENSION_RECOVERY;
		case UDS_STATE_NONE:
		case UDS_STATE_ONLINE:
		case UDS_STATE_READ_ONLY:
			break;
	}
	return true;
}

static bool
files_have_moved(const uds_verifier *verifier)
{
	return atomic_load_explicit(&verifier->index->moves, memory_order_acquire) != verifier->moves;
}

/* Open the volume where it is now. */
static uds_status
open_volume(uds_verifier *verifier, uds_error *error)
{
	uds_status status;

	uds_volume_close(&verifier->volume);
	do
	{
		verifier->moves = atomic_load_explicit(&verifier->index->moves, memory_order_acquire);
		status = uds_volume_open(&verifier->volume, UDS_FILE_READ, error);
	} while (status != UDS_OK && files_have_moved(verifier));
	if (status == UDS_NOT_FOUND)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume is missing");
	return status;
}

uds_status
uds_verifier_open(void *memory, uds_index *index, uds_port *port, uds_verifier **result,
                  uds_error *error)
{
	uds_verifier *verifier = memory;
	uint64_t newest = atomic_load_explicit(&index->chapters_written, memory_order_acquire);
	uds_status status;

	memset(verifier, 0, sizeof(*verifier));
	*result = NULL;
	verifier->index = index;
	verifier->epoch = atomic_load_explicit(&index->epoch, memory_order_acquire);
	if (verifier->epoch == 0)
		return uds_error_set(error, UDS_ERR_STATE, 0, "index was never opened");
	if (!is_settled(index))
		return uds_error_set(error, UDS_ERR_STATE, 0, "index is being recovered or offline");
	verifier->image = (uint8_t *) memory + UDS_ALIGN(sizeof(*verifier), UDS_CACHE_LINE);
	verifier->end = newest;
	uds_block_geometry(index, &verifier->geometry);
	verifier->chapter = uds_geometry_oldest(&verifier->geometry, newest);
	verifier->volume = (uds_volume){
		.port = port,
		.geometry = &verifier->geometry,
		.slots = index->slots,
		.nonce = &index->nonce,
		.bad_pages = &index->bad_pages,
	};
	status = open_volume(verifier, error);
	if (status == UDS_OK)
		*result = verifier;
	return status;
}

static void UDS_PRINTF(3, 4)
	add_problem(uds_verifier *verifier, uint32_t page, const char *format, ...)
{
	uds_problem *problem;
	va_list arguments;

	if (verifier->count++ >= verifier->max)
		return;
	problem = &verifier->list[verifier->count - 1];
	problem->chapter = verifier->chapter;
	problem->physical_chapter =
		uds_geometry_physical_chapter(&verifier->geometry, verifier->chapter);
	problem->page = page;
	va_start(arguments, format);
	vsnprintf(problem->text, sizeof(problem->text), format, arguments);
	va_end(arguments);
}

static const uint8_t *
page_of(const uds_verifier *verifier, uint32_t number)
{
	return verifier->image + (size_t) number * verifier->geometry.parameters.page_bytes;
}

/* Each page against its place, all together against the seal. */
static void
check_pages(uds_verifier *verifier, const uds_seal *seal, bool *are_sound)
{
	const uds_geometry *geometry = &verifier->geometry;
	uint32_t pages = geometry->index_pages + geometry->parameters.record_pages;
	uint32_t crc = 0;

	*are_sound = true;
	for (uint32_t i = 0; i < pages; i++)
	{
		uint32_t page_crc = uds_volume_page_crc(geometry, page_of(verifier, i), i);

		crc = uds_port_crc32c(crc, &page_crc, sizeof(page_crc));
		if (uds_volume_verify_page(&verifier->volume,
		                           page_of(verifier, i),
		                           seal->chapter,
		                           seal->generation,
		                           i) == UDS_OK)
			continue;
		*are_sound = false;
		add_problem(verifier,
		            i,
		            "%s page is damaged",
		            i < geometry->index_pages ? "index" : "record");
	}
	if (*are_sound && crc != seal->pages_crc)
	{
		*are_sound = false;
		add_problem(verifier, pages, "seal does not fit the pages");
	}
}

/* Does the chapter index lead to a record? */
static bool
is_indexed(const uds_verifier *verifier, const uds_name *name, uint32_t record_page)
{
	const uds_geometry *geometry = &verifier->geometry;
	uint32_t list = uds_geometry_chapter_list(geometry, uds_name_chapter_field(name));

	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		uint32_t first;
		uint32_t count;
		uint32_t found;

		uds_chapter_index_bounds(page_of(verifier, i), &first, &count);
		if (list < first || list >= first + count)
			continue;
		return uds_chapter_index_search(page_of(verifier, i), geometry, name, &found) == UDS_OK &&
		       found == record_page;
	}
	return false;
}

/* The records of sound pages against seal and chapter index. */
static void
check_records(uds_verifier *verifier, const uds_seal *seal)
{
	const uds_geometry *geometry = &verifier->geometry;
	uint32_t records = 0;
	uint32_t tombstones = 0;
	uint32_t unindexed = 0;

	for (uint32_t i = 0; i < geometry->parameters.record_pages; i++)
	{
		const uint8_t *page = page_of(verifier, geometry->index_pages + i);
		uint32_t count = uds_record_page_count(page);

		for (uint32_t j = 0; j < count; j++)
		{
			const uds_name *name = &uds_record_page_record(page, j)->name;

			tombstones += uds_record_page_is_tombstone(page, j);
			unindexed += !is_indexed(verifier, name, i);
			if (uds_record_page_search(page, name, NULL, NULL) != UDS_OK)
				add_problem(verifier, geometry->index_pages + i, "record %u is not found", j);
		}
		records += count;
	}
	if (records != seal->records || tombstones != seal->tombstones)
		add_problem(verifier,
		            geometry->pages_per_chapter - 1,
		            "seal counts %u records and %u tombstones, the pages hold %u and %u",
		            seal->records,
		            seal->tombstones,
		            records,
		            tombstones);
	if (unindexed != seal->unindexed)
		add_problem(verifier,
		            geometry->pages_per_chapter - 1,
		            "chapter index does not lead to %u records, the seal knows of %u",
		            unindexed,
		            seal->unindexed);
}

/* The rows of the page map against the index pages. */
static void
check_page_map(uds_verifier *verifier, uint32_t physical)
{
	const uds_geometry *geometry = &verifier->geometry;
	uint32_t entries;

	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		uint32_t first;
		uint32_t count;

		uds_chapter_index_bounds(page_of(verifier, i), &first, &count);
		if (count > 0 &&
		    (uds_page_map_find(verifier->index->page_map, physical, first) != i ||
		     uds_page_map_find(verifier->index->page_map, physical, first + count - 1) != i))
			add_problem(verifier,
			            i,
			            "page map leads elsewhere for lists %u to %u",
			            first,
			            first + count - 1);
		if (uds_chapter_index_walk(page_of(verifier, i), geometry, &entries, NULL) != UDS_OK)
			add_problem(verifier, i, "lists make no sense");
	}
}

/* One chapter that the slots say is there: UDS_OK (whatever is wrong with it) or UDS_STOPPED. */
static uds_status
check_chapter(uds_verifier *verifier, uint32_t physical)
{
	const uds_geometry *geometry = &verifier->geometry;
	uds_chapter_slot *slot = &verifier->index->slots[physical];
	uds_error error = { 0 };
	uds_seal seal;
	bool are_sound;
	uds_status status = uds_volume_read_seal(&verifier->volume, physical, &seal, &error);

	if (status == UDS_OK &&
	    (seal.chapter != verifier->chapter ||
	     seal.generation != atomic_load_explicit(&slot->generation, memory_order_relaxed)))
		status = UDS_NOT_FOUND;
	if (status == UDS_STOPPED)
		return status;
	if (status != UDS_OK)
	{
		add_problem(verifier,
		            geometry->pages_per_chapter - 1,
		            "%s",
		            status == UDS_NOT_FOUND ? "seal is missing" : error.message);
		return UDS_OK;
	}
	status = uds_volume_read_pages(&verifier->volume,
	                               physical,
	                               0,
	                               geometry->pages_per_chapter,
	                               verifier->image,
	                               &error);
	if (status == UDS_STOPPED)
		return status;
	if (status != UDS_OK)
	{
		add_problem(verifier, 0, "%s", error.message);
		return UDS_OK;
	}
	check_pages(verifier, &seal, &are_sound);
	if (are_sound)
	{
		check_records(verifier, &seal);
		check_page_map(verifier, physical);
	}
	return UDS_OK;
}

/* The same; what was read of files that have moved meanwhile may be of before. */
static uds_status
check_chapter_where_it_is(uds_verifier *verifier, uint32_t physical)
{
	uds_status status = UDS_OK;

	do
	{
		uds_error error = { 0 };

		verifier->count = 0;
		if ((verifier->volume.file == NULL || files_have_moved(verifier)) &&
		    open_volume(verifier, &error) != UDS_OK)
		{
			add_problem(verifier, 0, "%s", error.message);
			return UDS_OK;
		}
		status = check_chapter(verifier, physical);
	} while (status == UDS_OK && files_have_moved(verifier));
	return status;
}

uds_status
uds_verifier_next(uds_verifier *verifier, uds_problem *problems, uint32_t max, uint32_t *count)
{
	uds_index *index = verifier->index;
	uint32_t physical = uds_geometry_physical_chapter(&verifier->geometry, verifier->chapter);
	uds_chapter_slot *slot = &index->slots[physical];
	uds_status status = UDS_OK;
	uint64_t there;

	*count = 0;
	verifier->list = problems;
	verifier->max = max;
	verifier->count = 0;
	if (verifier->chapter >= verifier->end)
		return UDS_NOT_FOUND;
	there = atomic_load_explicit(&slot->chapter, memory_order_acquire);
	if (there == verifier->chapter)
		status = check_chapter_where_it_is(verifier, physical);
	else
		add_problem(verifier, 0, "chapter is missing");
	if (status != UDS_OK)
		return status;
	atomic_thread_fence(memory_order_acquire);
	/* In this order: what begins after the first look has spoilt nothing. */
	if (!is_settled(index) ||
	    atomic_load_explicit(&index->epoch, memory_order_acquire) != verifier->epoch)
		return UDS_PENDING;
	/* The window has moved over it. */
	if (atomic_load_explicit(&slot->chapter, memory_order_acquire) != there ||
	    uds_geometry_oldest(&verifier->geometry,
	                        atomic_load_explicit(&index->close_wanted, memory_order_acquire)) >
	        verifier->chapter)
		verifier->count = 0;
	*count = verifier->count;
	verifier->chapter++;
	return UDS_OK;
}

uint64_t
uds_verifier_left(const uds_verifier *verifier)
{
	return verifier->end - verifier->chapter;
}

void
uds_verifier_close(uds_verifier *verifier)
{
	uds_volume_close(&verifier->volume);
}

/* ---- what is on the volume ------------------------------------------------------------------------ */

bool
uds_index_chapter(const uds_index *index, uint32_t physical_chapter, uds_chapter_info *info)
{
	const uds_chapter_slot *slot;
	uds_geometry geometry;
	uint64_t newest;

	memset(info, 0, sizeof(*info));
	if (atomic_load_explicit(&index->epoch, memory_order_acquire) == 0)
		return false;
	uds_block_geometry(index, &geometry);
	if (physical_chapter >= geometry.parameters.chapters)
		return false;
	slot = &index->slots[physical_chapter];
	newest = atomic_load_explicit(&index->close_wanted, memory_order_acquire);
	info->chapter = atomic_load_explicit(&slot->chapter, memory_order_acquire);
	if (info->chapter == UDS_NO_CHAPTER)
		return false;
	info->generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	info->records = atomic_load_explicit(&slot->records, memory_order_relaxed);
	info->tombstones = atomic_load_explicit(&slot->tombstones, memory_order_relaxed);
	info->is_sparse =
		index->sparse_cache != NULL && info->chapter + geometry.dense_chapters <= newest;
	return atomic_load_explicit(&slot->chapter, memory_order_acquire) == info->chapter;
}
