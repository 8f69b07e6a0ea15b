/*
 * search.c: see search.h.
 *
 * The volume index leads to one chapter at most.  If it is in memory, or on the volume, it is
 * searched, and that ends it when the record is there, or when the entry holds the whole name (its
 * record was lost from the chapter: an older one would be wrong).  In a sparse index a name that is
 * no hook may then be in an old chapter: the chapters of the sparse cache are searched from the
 * newest to the oldest, and a page without the name leads on to the next chapter.
 *
 * A name that is not found while chapters are being loaded waits for these loads and is searched
 * once more; and once more when loads have ended since its search began.  It does not wait for
 * loads that are asked for later, so every search ends.
 *
 * Hooks wait like the others, those that are new and those whose chapter is being loaded.  Else
 * they would overtake their neighbours, and a chapter that closes just then would part them: no hook
 * would lead to the neighbours that come first in the next chapter.
 */
#include "search.h"

static void
bump(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter,
	                      atomic_load_explicit(counter, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
}

static uint64_t
newest_of(const uds_searcher *searcher)
{
	return atomic_load_explicit(&searcher->zone->newest, memory_order_relaxed);
}

static bool
is_sparse_index(const uds_searcher *searcher)
{
	return searcher->index->sparse_cache != NULL;
}

void
uds_search_enter(uds_searcher *searcher)
{
	if (is_sparse_index(searcher))
		uds_sparse_cache_enter(searcher->index->sparse_cache, searcher->number, &searcher->view);
}

void
uds_search_leave(uds_searcher *searcher)
{
	uds_index *index = searcher->index;

	if (!is_sparse_index(searcher) ||
	    !uds_sparse_cache_leave(index->sparse_cache, searcher->number, &searcher->view))
		return;
	uds_page_cache_wake_reader(index->page_cache, searcher->port);
	/* Without readers it is this zone that goes on with the load. */
	if (atomic_load(&index->readers_present) == 0)
		uds_port_wake(searcher->port, UDS_WORKER_ZONE + searcher->number);
}

void
uds_search_begin(uds_request *request)
{
	request->stage = UDS_SEARCH_START;
	request->page_slot = UDS_PAGE_SLOT_NONE;
	request->missed = UDS_NO_CHAPTER;
	request->ticket = 0;
	request->version = 0;
	request->is_repeated = false;
}

/* ---- pages -------------------------------------------------------------------------------------- */

static void
drop_page(uds_searcher *searcher, uds_request *request)
{
	if (request->page_slot != UDS_PAGE_SLOT_NONE)
		uds_page_cache_release(searcher->index->page_cache, searcher->port, request->page_slot);
	request->page_slot = UDS_PAGE_SLOT_NONE;
}

/*
 * Forget how far an earlier run got: the chapter that it asked for has expired, or a request for a
 * name with the same address has led the entry elsewhere.
 */
static void
forget_stage(uds_searcher *searcher, uds_request *request)
{
	drop_page(searcher, request);
	request->stage = UDS_SEARCH_START;
}

/*
 * Get a page of the volume for a request: UDS_OK and data (pinned by request->page_slot),
 * UDS_PENDING, or UDS_NOT_FOUND.
 */
static uds_status
get_page(uds_searcher *searcher, uds_request *request, uint32_t page, const uint8_t **data)
{
	uds_page_cache *cache = searcher->index->page_cache;
	uds_status status;

	if (request->page_slot != UDS_PAGE_SLOT_NONE)
		status = uds_page_cache_poll(cache, request->page_slot, data);
	else
	{
		uds_page found;

		status = uds_page_cache_get(cache,
		                            &searcher->volume,
		                            request->chapter,
		                            page,
		                            searcher->number,
		                            &found);
		request->page_slot = found.slot;
		*data = found.data;
		bump(found.was_there ? &searcher->zone->counters.cache_hits
		                     : &searcher->zone->counters.cache_misses);
	}
	if (status == UDS_NOT_FOUND)
		drop_page(searcher, request);
	/* All slots are in use: the same as waiting for a page, without one. */
	return status == UDS_OVERFLOW ? UDS_PENDING : status;
}

/* Find the record page of the request's name on the index page of its chapter. */
static uds_status
search_index_page(uds_searcher *searcher, uds_request *request)
{
	const uds_geometry *geometry = &searcher->index->geometry;
	uint32_t list = uds_geometry_chapter_list(geometry, uds_name_chapter_field(&request->name));
	uint32_t physical = uds_geometry_physical_chapter(geometry, request->chapter);
	const uint8_t *data;
	uds_status status = get_page(searcher,
	                             request,
	                             uds_page_map_find(searcher->index->page_map, physical, list),
	                             &data);

	if (status != UDS_OK)
		return status;
	status = uds_chapter_index_search(data, geometry, &request->name, &request->record_page);
	drop_page(searcher, request);
	if (status == UDS_ERR_CORRUPT)
		atomic_fetch_add_explicit(&searcher->index->bad_pages, 1, memory_order_relaxed);
	return status == UDS_OK ? UDS_OK : UDS_NOT_FOUND;
}

/* Find the record on the record page that is known: UDS_OK, UDS_NOT_FOUND, UDS_PENDING. */
static uds_status
search_record_page(uds_searcher *searcher, uds_request *request, uds_hit *hit)
{
	const uint8_t *data;
	bool is_tombstone;
	uds_status status = get_page(searcher,
	                             request,
	                             searcher->index->geometry.index_pages + request->record_page,
	                             &data);

	if (status != UDS_OK)
		return status;
	status = uds_record_page_search(data, &request->name, &hit->metadata, &is_tombstone);
	drop_page(searcher, request);
	if (status != UDS_OK)
		return UDS_NOT_FOUND;
	hit->kind = is_tombstone ? UDS_HIT_TOMBSTONE : UDS_HIT_RECORD;
	return UDS_OK;
}

/* ---- loads of sparse chapters ---------------------------------------------------------------------- */

/* See the sparse chapters that are there now. */
static void
see_present_chapters(uds_searcher *searcher)
{
	if (uds_sparse_cache_is_present(searcher->index->sparse_cache, searcher->view.version))
		return;
	uds_search_leave(searcher);
	uds_search_enter(searcher);
}

/*
 * Do loads keep a request waiting?  If so, the zone is woken when they have ended.  Nobody waits
 * for what nobody performs: a worker that is to stop performs none, and readers may have gone.
 */
static bool
is_waiting_for_loads(const uds_searcher *searcher, const uds_request *request)
{
	if (!uds_sparse_cache_wait(searcher->index->sparse_cache, searcher->number, request->ticket))
		return false;
	return atomic_load(&searcher->index->readers_present) != 0 ||
	       !uds_port_should_stop(searcher->port);
}

/* Should a search that has not found its name wait for loads under way?  Once at the most. */
static bool
must_wait_for_loads(uds_searcher *searcher, uds_request *request)
{
	if (request->ticket != 0)
		return false;
	request->ticket = uds_sparse_cache_pending(searcher->index->sparse_cache);
	if (request->ticket == 0 || !is_waiting_for_loads(searcher, request))
		return false;
	request->stage = UDS_SEARCH_LOADS;
	return true;
}

/* Begin anew after loads, when they have ended. */
static uds_status
wait_for_loads(uds_searcher *searcher, uds_request *request)
{
	if (is_waiting_for_loads(searcher, request))
		return UDS_PENDING;
	request->stage = UDS_SEARCH_START;
	see_present_chapters(searcher);
	return UDS_OK;
}

/* ---- the chapter that the volume index names ------------------------------------------------------ */

/* Begin with a chapter on the volume; its index page may be in the sparse cache. */
static uds_status
begin_chapter(uds_searcher *searcher, uds_request *request, uint64_t chapter)
{
	bool is_sparse = uds_block_is_sparse(searcher->index, newest_of(searcher), chapter);
	uds_status status = UDS_ERR_STATE;

	drop_page(searcher, request);
	request->stage = UDS_SEARCH_INDEX_PAGE;
	request->chapter = chapter;
	if (is_sparse)
		status = uds_sparse_cache_search_chapter(searcher->index->sparse_cache,
		                                         &searcher->view,
		                                         &request->name,
		                                         chapter,
		                                         &request->record_page);
	if (status == UDS_OK)
		request->stage = UDS_SEARCH_RECORD_PAGE;
	else if (is_sparse && status == UDS_ERR_STATE && must_wait_for_loads(searcher, request))
		return UDS_PENDING;
	return status == UDS_NOT_FOUND ? UDS_NOT_FOUND : UDS_OK;
}

/* Search a chapter on the volume: UDS_OK (hit or miss) or UDS_PENDING. */
static uds_status
search_volume(uds_searcher *searcher, uds_request *request, uint64_t chapter, uds_hit *hit)
{
	uds_status status = UDS_OK;

	if ((request->stage != UDS_SEARCH_INDEX_PAGE && request->stage != UDS_SEARCH_RECORD_PAGE) ||
	    request->chapter != chapter)
		status = begin_chapter(searcher, request, chapter);
	if (status == UDS_OK && request->stage == UDS_SEARCH_INDEX_PAGE)
	{
		status = search_index_page(searcher, request);
		if (status == UDS_OK)
			request->stage = UDS_SEARCH_RECORD_PAGE;
	}
	if (status == UDS_OK)
		status = search_record_page(searcher, request, hit);
	if (status == UDS_PENDING)
		return UDS_PENDING;
	if (status == UDS_OK && hit->region == UDS_REGION_SPARSE)
		uds_sparse_cache_hit(searcher->index->sparse_cache, chapter);
	request->stage = UDS_SEARCH_START;
	return UDS_OK;
}

/* Search the chapter that the volume index names: UDS_OK (hit or miss) or UDS_PENDING. */
static uds_status
search_chapter(uds_searcher *searcher, uds_request *request, uint64_t chapter, uds_hit *hit)
{
	uint64_t newest = newest_of(searcher);
	uds_open_chapter *share = searcher->zone->shares[chapter % UDS_CHAPTER_BUFFERS];

	hit->region = uds_block_is_sparse(searcher->index, newest, chapter) ? UDS_REGION_SPARSE
	                                                                    : UDS_REGION_DENSE;
	if (uds_open_chapter_number(share) != chapter)
		return search_volume(searcher, request, chapter, hit);
	forget_stage(searcher, request);
	hit->is_open = chapter == newest;
	if (hit->is_open)
		hit->region = UDS_REGION_OPEN;
	if (uds_open_chapter_search(share, &request->name, &hit->slot) == UDS_OK)
	{
		hit->kind =
			uds_open_chapter_is_tombstone(share, hit->slot) ? UDS_HIT_TOMBSTONE : UDS_HIT_RECORD;
		hit->metadata = uds_open_chapter_record(share, hit->slot)->metadata;
	}
	return UDS_OK;
}

/* ---- the sparse cache ----------------------------------------------------------------------------- */

/* Search the cached chapters: UDS_OK (hit or miss) or UDS_PENDING. */
static uds_status
search_cached_chapters(uds_searcher *searcher, uds_request *request, uds_hit *hit)
{
	uds_sparse_cache *cache = searcher->index->sparse_cache;
	uint64_t oldest = uds_geometry_oldest(&searcher->index->geometry, newest_of(searcher));
	uint64_t below = UINT64_MAX;

	if (request->stage != UDS_SEARCH_SPARSE_PAGE)
	{
		see_present_chapters(searcher);
		request->version = searcher->view.version;
	}
	else if (request->chapter < oldest)
	{
		/* It has expired while its page was read, and with it all older ones. */
		forget_stage(searcher, request);
		return UDS_OK;
	}
	for (;;)
	{
		uds_status status = UDS_OK;

		if (request->stage != UDS_SEARCH_SPARSE_PAGE)
			status = uds_sparse_cache_search(cache,
			                                 &searcher->view,
			                                 &request->name,
			                                 below,
			                                 oldest,
			                                 &request->chapter,
			                                 &request->record_page);
		if (status != UDS_OK)
			return UDS_OK;
		request->stage = UDS_SEARCH_SPARSE_PAGE;
		status = search_record_page(searcher, request, hit);
		if (status == UDS_PENDING)
			return UDS_PENDING;
		request->stage = UDS_SEARCH_START;
		if (status == UDS_OK)
		{
			uds_sparse_cache_hit(cache, request->chapter);
			hit->region = UDS_REGION_SPARSE;
			hit->is_unindexed = true;
			hit->is_open = false;
			return UDS_OK;
		}
		below = request->chapter;
	}
}

/* Search for a name to which the volume index does not lead. */
static uds_status
search_sparse(uds_searcher *searcher, uds_request *request, uds_hit *hit)
{
	/* A hook is in no old chapter then. */
	bool is_hook = uds_volume_index_is_hook(&searcher->index->volume_index, &request->name);
	uds_status status = is_hook ? UDS_OK : search_cached_chapters(searcher, request, hit);

	if (status != UDS_OK || hit->kind != UDS_HIT_NONE)
		return status;
	if (must_wait_for_loads(searcher, request))
		return UDS_PENDING;
	if (is_hook || request->is_repeated ||
	    uds_sparse_cache_is_present(searcher->index->sparse_cache, request->version))
		return UDS_OK;
	/* A load has ended since the search began. */
	request->is_repeated = true;
	return search_cached_chapters(searcher, request, hit);
}

/* ---- all ------------------------------------------------------------------------------------------- */

uds_status
uds_search_run(uds_searcher *searcher, uds_request *request, const uds_index_entry *entry,
               uds_hit *hit)
{
	uds_status status;

	*hit = (uds_hit){ .kind = UDS_HIT_NONE };
	if (request->stage == UDS_SEARCH_LOADS && wait_for_loads(searcher, request) == UDS_PENDING)
		return UDS_PENDING;
	if (entry->kind == UDS_ENTRY_NONE)
	{
		if (request->stage == UDS_SEARCH_INDEX_PAGE || request->stage == UDS_SEARCH_RECORD_PAGE)
			forget_stage(searcher, request);
	}
	else if (entry->chapter != request->missed)
	{
		if (request->stage == UDS_SEARCH_SPARSE_PAGE)
			forget_stage(searcher, request);
		status = search_chapter(searcher, request, entry->chapter, hit);
		if (status == UDS_PENDING)
			return UDS_PENDING;
		if (hit->kind != UDS_HIT_NONE || entry->kind == UDS_ENTRY_EXACT)
			return UDS_OK;
		/* Chapters lose no records and gain none of this name while this request is ahead of all
		 * others for it. */
		request->missed = entry->chapter;
	}
	else if (entry->kind == UDS_ENTRY_EXACT)
		return UDS_OK;
	if (!is_sparse_index(searcher))
		return UDS_OK;
	return search_sparse(searcher, request, hit);
}

bool
uds_search_is_stuck(const uds_searcher *searcher, const uds_request *request)
{
	const uint8_t *data;

	if (request->stage == UDS_SEARCH_LOADS)
		return is_waiting_for_loads(searcher, request);
	return request->page_slot != UDS_PAGE_SLOT_NONE &&
	       uds_page_cache_poll(searcher->index->page_cache, request->page_slot, &data) ==
	           UDS_PENDING;
}
