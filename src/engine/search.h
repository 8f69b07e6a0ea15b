/*
 * search.h: the search for the record of a name, in the chapters in memory, on the volume and in
 * the sparse cache.
 *
 * A search stops with UDS_PENDING before anything was changed, because a page has to be read (the
 * request then holds the slot of that page pinned) or because loads of sparse chapters are under
 * way that may hold the name.  The caller parks the request and runs the search again later; what
 * it has found out so far is in the request, for as long as the volume index still leads to the
 * same chapter.
 */
#ifndef UDS_SEARCH_H
#define UDS_SEARCH_H

#include "block.h"

#pragma GCC visibility push(hidden)

/* uds_request.stage: what is known from earlier runs. */
typedef enum uds_search_stage
{
	UDS_SEARCH_START = 0,
	UDS_SEARCH_INDEX_PAGE = 1,  /* page_slot (or nothing) is the index page of chapter */
	UDS_SEARCH_RECORD_PAGE = 2, /* record_page is known; page_slot (or nothing) is that page */
	UDS_SEARCH_SPARSE_PAGE = 3, /* the same, of a chapter that the sparse cache has named */
	UDS_SEARCH_LOADS = 4        /* waits for loads up to ticket */
} uds_search_stage;

/* What a search for a name has found. */
typedef enum uds_hit_kind
{
	UDS_HIT_NONE,
	UDS_HIT_RECORD,
	UDS_HIT_TOMBSTONE
} uds_hit_kind;

typedef struct uds_hit
{
	uds_hit_kind kind;
	bool is_open;      /* in the open chapter, in slot */
	bool is_unindexed; /* the volume index does not lead to it */
	uint32_t slot;
	uds_region region;
	uds_metadata metadata;
} uds_hit;

/* What the worker of a zone searches with.  Process-local. */
typedef struct uds_searcher
{
	uds_index *index;
	uds_zone *zone;
	uds_port *port;
	uint32_t number; /* of the zone */
	uds_volume volume;
	uds_sparse_view view;
} uds_searcher;

/* Enter and leave the engine: in between, the sparse chapters that are searched stay the same. */
void uds_search_enter(uds_searcher *searcher);
void uds_search_leave(uds_searcher *searcher);

/* Prepare a request for its first search. */
void uds_search_begin(uds_request *request);

/* Prepare a request of an earlier layout of the block: the pages that it held are gone. */
static inline void
uds_search_restart(uds_request *request)
{
	uds_search_begin(request);
}

/*
 * Search for the record of a request's name.  Between enter and leave.
 *
 * entry  of the name in the volume index, as it is now
 * hit    [out] with UDS_OK
 *
 * UDS_OK (found or not; the request holds no page any more) or UDS_PENDING
 */
UDS_MUST_CHECK uds_status uds_search_run(uds_searcher *searcher, uds_request *request,
                                         const uds_index_entry *entry, uds_hit *hit);

/* Would a search that has stopped stop at once again?  If so, the zone is woken when to ask again. */
bool uds_search_is_stuck(const uds_searcher *searcher, const uds_request *request);

#pragma GCC visibility pop

#endif
