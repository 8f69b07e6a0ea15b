/*
 * zone.c: execution of requests (DESIGN section 5), parking, closing of chapters in a zone.
 *
 * A request runs from the lookup in the volume index to its answer in one go, or stops with
 * UDS_PENDING before anything was changed: because the search for its record has to wait
 * (search.h), or because what it stores has no room (the zone is full: the chapter writer is three
 * chapters behind).  A stopped request is parked and later runs again from the start.
 *
 * Requests for the name of a parked request queue up behind it, so those for one name take effect
 * in their order.
 */
#include "zone.h"

#include <stdio.h>

#include "search.h"
#include "triage.h"

#define PARKED_HEADS    4096 /* hash chains of parked requests; a power of two */
#define PREFETCH_AHEAD  10   /* requests between the prefetch for a name and its lookup */
#define BESIDE_AHEAD    4    /* the same for what is found through the first lines */
#define SERVES_PER_TURN 32   /* pieces of the read queue that one uds_zone_advance serves */

typedef struct request_list
{
	uds_request *first;
	uds_request *last;
} request_list;

struct uds_zone_worker
{
	uds_index *index;
	uds_zone *zone;
	uds_port *port;
	uint32_t number;
	uint32_t parked;       /* requests, those that wait behind others included */
	bool is_holding;       /* this worker owns the zone */
	uint64_t epoch;        /* of the block that parked requests and the volume belong to */
	uint64_t moves;        /* of the files when the volume was opened */
	uint64_t paused_since; /* 0 while the zone is held */
	uds_searcher searcher;
	request_list reading; /* wait for a page, or for loads of sparse chapters */
	request_list waiting; /* wait for room */
	request_list finished;
	uds_request *heads[PARKED_HEADS]; /* parked requests that others may wait for, by next_hash */
};

static void
bump(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter,
	                      atomic_load_explicit(counter, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
}

static uint64_t
newest_of(const uds_zone *zone)
{
	return atomic_load_explicit(&zone->newest, memory_order_relaxed);
}

static uds_open_chapter *
open_share(const uds_zone *zone)
{
	return zone->shares[newest_of(zone) % UDS_CHAPTER_BUFFERS];
}

/* ---- closing ---------------------------------------------------------------------------------- */

static void
wake_other_zones(uds_index *index, uds_port *port, uint32_t own_zone)
{
	for (uint32_t i = 0; i < index->config.zone_count; i++)
	{
		if (i != own_zone)
			uds_port_wake(port, UDS_WORKER_ZONE + i);
	}
}

/* Ask all zones to close chapters below wanted. */
static void
want_close(uds_index *index, uds_port *port, uint32_t own_zone, uint64_t wanted)
{
	uint64_t old = atomic_load_explicit(&index->close_wanted, memory_order_relaxed);

	while (old < wanted)
	{
		if (!atomic_compare_exchange_weak_explicit(&index->close_wanted,
		                                           &old,
		                                           wanted,
		                                           memory_order_release,
		                                           memory_order_relaxed))
			continue;
		wake_other_zones(index, port, own_zone);
		return;
	}
}

uds_status
uds_zone_close_chapter(uds_index *index, uds_port *port, uint32_t number)
{
	uds_zone *zone = &index->zones[number];
	uint64_t next = newest_of(zone) + 1;
	uint64_t written = atomic_load_explicit(&index->chapters_written, memory_order_acquire);
	uds_status status;

	if (next >= written + UDS_CHAPTER_BUFFERS)
	{
		atomic_store_explicit(&zone->is_full, 1, memory_order_relaxed);
		return UDS_PENDING;
	}
	uds_port_mutex_lock(&zone->hook_mutex);
	status = uds_volume_index_set_window(&index->volume_index,
	                                     number,
	                                     uds_geometry_oldest(&index->geometry, next),
	                                     next);
	uds_port_mutex_unlock(&zone->hook_mutex);
	if (status != UDS_OK)
		return UDS_ERR_INTERNAL;
	uds_open_chapter_reset(zone->shares[next % UDS_CHAPTER_BUFFERS], next);
	zone->granted = 0;
	atomic_store_explicit(&zone->is_full, 0, memory_order_relaxed);
	atomic_store_explicit(&zone->newest, next, memory_order_release);
	want_close(index, port, number, next);
	uds_port_wake(port, UDS_WORKER_WRITER);
	return UDS_OK;
}

static uds_status
close_chapter(uds_zone_worker *worker)
{
	return uds_zone_close_chapter(worker->index, worker->port, worker->number);
}

/* Close what other zones have asked for, as far as possible now. */
static uds_status
close_as_wanted(uds_zone_worker *worker)
{
	while (newest_of(worker->zone) <
	       atomic_load_explicit(&worker->index->close_wanted, memory_order_acquire))
	{
		uds_status status = close_chapter(worker);

		if (status == UDS_PENDING)
			return UDS_OK;
		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

/* Is there a position for one more record in the open chapter? */
static bool
has_position(uds_zone_worker *worker)
{
	uds_zone *zone = worker->zone;

	if (uds_open_chapter_count(open_share(zone)) >= zone->share_capacity)
		return false;
	if (zone->granted == 0)
		zone->granted = uds_block_claim(worker->index, newest_of(zone));
	return zone->granted > 0;
}

/*
 * Make room for one record, in the open chapter or in the next one.
 *
 * UDS_OK             the open chapter (perhaps another one than before) has a position
 * UDS_PENDING        the zone is full
 * UDS_ERR_READ_ONLY  nothing can be stored
 */
static uds_status
make_room(uds_zone_worker *worker)
{
	if (uds_index_state(worker->index) == UDS_STATE_READ_ONLY)
		return UDS_ERR_READ_ONLY;
	/* Others may have filled the next chapter already; the writer bounds how often. */
	while (!has_position(worker))
	{
		uds_status status = close_chapter(worker);

		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

/* ---- volume index ----------------------------------------------------------------------------- */

/* Hooks are looked up by the triage worker, too. */
static bool
lock_hook(uds_zone_worker *worker, const uds_name *name)
{
	if (!uds_volume_index_is_hook(&worker->index->volume_index, name))
		return false;
	uds_port_mutex_lock(&worker->zone->hook_mutex);
	return true;
}

static void
unlock_hook(uds_zone_worker *worker, bool is_locked)
{
	if (is_locked)
		uds_port_mutex_unlock(&worker->zone->hook_mutex);
}

static uds_status
look_up(uds_zone_worker *worker, const uds_name *name, uds_index_entry *entry)
{
	bool is_locked = lock_hook(worker, name);
	uds_status status = uds_volume_index_get(&worker->index->volume_index, name, entry);

	unlock_hook(worker, is_locked);
	return status == UDS_OK ? UDS_OK : UDS_ERR_INTERNAL;
}

/* Lead the volume index to a name of the open chapter. */
static uds_status
lead_to(uds_zone_worker *worker, uds_index_entry *entry, bool is_own_entry, uint64_t newest)
{
	uds_volume_index *volume_index = &worker->index->volume_index;
	bool is_locked = lock_hook(worker, &entry->name);
	uds_status status;

	if (is_own_entry)
		status = uds_volume_index_move(volume_index, entry, newest);
	else
		status = uds_volume_index_put(volume_index, entry, newest);
	unlock_hook(worker, is_locked);
	return status;
}

/* ---- execution -------------------------------------------------------------------------------- */

/*
 * Append a record for the request's name to the open chapter and lead the volume index to it.
 *
 * UDS_OK             stored
 * UDS_OVERFLOW       the volume index has no room for the name; nothing was stored
 * UDS_PENDING        the zone is full
 * UDS_ERR_READ_ONLY  nothing can be stored
 */
static uds_status
store(uds_zone_worker *worker, uds_request *request, uds_index_entry *entry, bool is_own_entry,
      const uds_metadata *metadata, bool is_tombstone)
{
	uds_zone *zone = worker->zone;
	uint64_t before = newest_of(zone);
	uint64_t chapter = entry->chapter;
	uds_status status = make_room(worker);
	uint64_t newest = newest_of(zone);

	if (status != UDS_OK)
		return status;
	if (newest != before)
	{
		/* The window has moved: the entry may have expired, and another name's be found now. */
		status = look_up(worker, &request->name, entry);
		if (status != UDS_OK)
			return status;
		if (entry->kind == UDS_ENTRY_NONE ||
		    (entry->kind == UDS_ENTRY_HINT && entry->chapter != chapter))
			is_own_entry = false;
	}
	status = lead_to(worker, entry, is_own_entry, newest);
	if (status == UDS_OVERFLOW)
		return UDS_OVERFLOW;
	if (status != UDS_OK)
		return UDS_ERR_INTERNAL;
	status = uds_open_chapter_put(open_share(zone), &request->name, metadata, is_tombstone);
	if (status != UDS_OK)
		return UDS_ERR_INTERNAL;
	zone->granted--;
	if (!has_position(worker))
	{
		/* Full or not, the next request that stores tries again. */
		status = close_chapter(worker);
		if (status != UDS_OK && status != UDS_PENDING)
			return status;
	}
	return UDS_OK;
}

/* Overwrite the slot of the open chapter in which the name was found. */
static uds_status
store_in_place(uds_zone_worker *worker, const uds_hit *result, const uds_metadata *metadata,
               bool is_tombstone)
{
	if (uds_index_state(worker->index) == UDS_STATE_READ_ONLY)
		return UDS_ERR_READ_ONLY;
	uds_open_chapter_set(open_share(worker->zone), result->slot, metadata, is_tombstone);
	return UDS_OK;
}

/* What a request does to the index once it is known what was found.  Statuses as of store(). */
static uds_status
apply(uds_zone_worker *worker, uds_request *request, uds_index_entry *entry, const uds_hit *result)
{
	static const uds_metadata no_metadata = { { 0 } };
	bool is_found = result->kind == UDS_HIT_RECORD;
	bool is_miss = result->kind == UDS_HIT_NONE;
	/* The entry is this name's: proven by what was found through it, or by the full name in it. */
	bool is_own = (!is_miss && !result->is_unindexed) || entry->kind == UDS_ENTRY_EXACT;

	switch ((uds_operation) request->operation)
	{
		case UDS_PEEK:
			return UDS_OK;
		case UDS_QUERY:
			if (!is_found || result->is_open)
				return UDS_OK;
			return store(worker, request, entry, is_own, &result->metadata, false);
		case UDS_POST:
			if (is_found && result->is_open)
				return UDS_OK;
			if (is_found)
				return store(worker, request, entry, is_own, &result->metadata, false);
			break;
		case UDS_UPDATE:
			if (is_found && result->is_open)
				return store_in_place(worker, result, &request->metadata, false);
			break;
		case UDS_DELETE:
			if (is_miss && entry->kind == UDS_ENTRY_EXACT)
				return store(worker, request, entry, is_own, &no_metadata, true);
			if (!is_found)
				return UDS_OK;
			if (result->is_open)
				return store_in_place(worker, result, &no_metadata, true);
			return store(worker, request, entry, is_own, &no_metadata, true);
		case UDS_UNDO:
			return UDS_ERR_ARGUMENT;
	}
	/* POST of a new name, UPDATE */
	if (result->kind == UDS_HIT_TOMBSTONE && result->is_open)
		return store_in_place(worker, result, &request->metadata, false);
	return store(worker, request, entry, is_own, &request->metadata, false);
}

static void
count_request(uds_zone_counters *counters, const uds_request *request)
{
	bool found = request->found != 0;

	bump(&counters->requests);
	switch ((uds_operation) request->operation)
	{
		case UDS_POST:
			bump(found ? &counters->posts_found : &counters->posts_not_found);
			if (request->region == UDS_REGION_OPEN)
				bump(&counters->in_memory_posts_found);
			else if (request->region == UDS_REGION_DENSE)
				bump(&counters->dense_posts_found);
			else if (request->region == UDS_REGION_SPARSE)
				bump(&counters->sparse_posts_found);
			break;
		case UDS_UPDATE:
			bump(found ? &counters->updates_found : &counters->updates_not_found);
			break;
		case UDS_QUERY:
		case UDS_PEEK:
			bump(found ? &counters->queries_found : &counters->queries_not_found);
			break;
		case UDS_DELETE:
			bump(found ? &counters->deletions_found : &counters->deletions_not_found);
			break;
		case UDS_UNDO:
			break;
	}
}

static void
answer(uds_zone_worker *worker, uds_request *request, const uds_hit *result, uds_status status)
{
	bool is_found = result->kind == UDS_HIT_RECORD;

	request->status = (uint8_t) status;
	request->found = is_found;
	request->region = (uint8_t) (is_found ? result->region : UDS_REGION_NONE);
	if (is_found)
		request->found_metadata = result->metadata;
	if (status == UDS_OK)
		count_request(&worker->zone->counters, request);
}

/*
 * Run a request.
 *
 * UDS_OK            it is answered
 * UDS_PENDING       it has to be parked: for its search when request->stage is not UDS_SEARCH_START, else
 *                   for room
 * UDS_ERR_INTERNAL  an invariant is broken; it is not answered
 */
static uds_status
run_request(uds_zone_worker *worker, uds_request *request)
{
	uds_index_entry entry;
	uds_hit result = { .kind = UDS_HIT_NONE };
	uds_status status;

	if (request->operation >= UDS_OPERATION_COUNT)
	{
		answer(worker, request, &result, UDS_ERR_ARGUMENT);
		return UDS_OK;
	}
	status = look_up(worker, &request->name, &entry);
	if (status != UDS_OK)
		return status;
	status = uds_search_run(&worker->searcher, request, &entry, &result);
	if (status == UDS_PENDING)
		return UDS_PENDING;
	status = apply(worker, request, &entry, &result);
	if (status == UDS_PENDING || status == UDS_ERR_INTERNAL)
		return status;
	/* A name that finds no room in the volume index is forgotten, and counted there.  A hit is a
	 * hit even when it cannot be moved. */
	if (status == UDS_OVERFLOW && request->operation != UDS_DELETE)
		status = UDS_OK;
	if (status == UDS_ERR_READ_ONLY && result.kind == UDS_HIT_RECORD &&
	    (request->operation == UDS_QUERY || request->operation == UDS_POST))
		status = UDS_OK;
	answer(worker, request, &result, status);
	return UDS_OK;
}

/* ---- parking ---------------------------------------------------------------------------------- */

static void
list_append(request_list *list, uds_request *request)
{
	request->next = NULL;
	if (list->first == NULL)
		list->first = request;
	else
		list->last->next = request;
	list->last = request;
}

static uds_request **
parked_head(uds_zone_worker *worker, const uds_name *name)
{
	return &worker->heads[uds_name_hash(name) % PARKED_HEADS];
}

static uds_request *
find_parked(uds_zone_worker *worker, const uds_name *name)
{
	uds_request *request = *parked_head(worker, name);

	while (request != NULL && !uds_name_equals(&request->name, name))
		request = request->next_hash;
	return request;
}

/* Put a request that has stopped where it is run again from. */
static void
list_parked(uds_zone_worker *worker, uds_request *request)
{
	list_append(request->stage == UDS_SEARCH_START ? &worker->waiting : &worker->reading, request);
}

/* Make a request the one that others of its name wait for. */
static void
add_head(uds_zone_worker *worker, uds_request *request)
{
	uds_request **head = parked_head(worker, &request->name);

	request->next_hash = *head;
	*head = request;
	list_parked(worker, request);
}

static void
remove_head(uds_zone_worker *worker, uds_request *request)
{
	uds_request **link = parked_head(worker, &request->name);

	while (*link != request)
		link = &(*link)->next_hash;
	*link = request->next_hash;
}

/* Let a request wait behind a parked one for the same name. */
static void
wait_behind(uds_request *head, uds_request *request)
{
	request->next_same = NULL;
	if (head->next_same == NULL)
		head->next_same = request;
	else
		head->last_same->next_same = request;
	head->last_same = request;
}

/*
 * Run a parked request again, and after it those that wait behind it, until one stops.
 *
 * has_progress  set when a request was answered, or waits for another page than before
 * is_full       set when one stopped for want of room
 */
static uds_status
run_parked(uds_zone_worker *worker, uds_request *request, bool *has_progress, bool *is_full)
{
	uint32_t stage = request->stage;
	uint32_t slot = request->page_slot;
	uds_status status = run_request(worker, request);

	if (status != UDS_OK)
	{
		list_parked(worker, request);
		if (request->stage != stage || request->page_slot != slot)
			*has_progress = true;
	}
	else
		remove_head(worker, request);
	while (status == UDS_OK)
	{
		uds_request *next = request->next_same;

		*has_progress = true;
		worker->parked--;
		list_append(&worker->finished, request);
		if (next == NULL)
			return UDS_OK;
		next->last_same = request->last_same;
		request = next;
		status = run_request(worker, request);
		if (status != UDS_OK)
			add_head(worker, request);
	}
	if (status == UDS_PENDING && request->stage == UDS_SEARCH_START)
		*is_full = true;
	return status == UDS_PENDING ? UDS_OK : status;
}

static void
begin_request(uds_request *request)
{
	uds_search_begin(request);
	request->next_same = NULL;
	request->last_same = NULL;
	request->status = UDS_PENDING;
}

/* Execute a new request, or park it. */
static uds_status
execute_request(uds_zone_worker *worker, uds_request *request)
{
	uds_status status;

	begin_request(request);
	if (worker->parked > 0)
	{
		uds_request *head = find_parked(worker, &request->name);

		if (head != NULL)
		{
			wait_behind(head, request);
			worker->parked++;
			return UDS_OK;
		}
	}
	status = run_request(worker, request);
	if (status != UDS_OK)
	{
		add_head(worker, request);
		worker->parked++;
	}
	return status == UDS_PENDING ? UDS_OK : status;
}

/* ---- worker ----------------------------------------------------------------------------------- */

static void
enter(uds_zone_worker *worker)
{
	atomic_store_explicit(&worker->zone->inside, 1, memory_order_relaxed);
	uds_search_enter(&worker->searcher);
}

/* Leave the engine; a broken invariant marks the index failed. */
static uds_status
leave(uds_zone_worker *worker, uds_status status)
{
	uds_block_publish_counters(worker->index, worker->number);
	atomic_store_explicit(&worker->zone->parked, worker->parked, memory_order_relaxed);
	uds_search_leave(&worker->searcher);
	atomic_store_explicit(&worker->zone->inside, 0, memory_order_relaxed);
	if (status != UDS_ERR_INTERNAL)
		return status;
	uds_block_fail(worker->index, worker->port, "an invariant of a zone is broken");
	return status;
}

size_t
uds_zone_worker_size(void)
{
	return sizeof(uds_zone_worker);
}

/* Take the zone from a predecessor that did not detach. */
static void
disown(uds_zone *zone)
{
	uint32_t expected = UDS_OWNER_WORKER;

	(void) atomic_compare_exchange_strong_explicit(&zone->owner,
	                                               &expected,
	                                               UDS_OWNER_NONE,
	                                               memory_order_release,
	                                               memory_order_relaxed);
}

uds_status
uds_zone_attach(void *memory, uds_index *index, uds_port *port, uint32_t number,
                uds_zone_worker **result, uds_error *error)
{
	uds_zone_worker *worker = memory;
	uds_zone *zone = &index->zones[number];

	memset(worker, 0, sizeof(*worker));
	worker->index = index;
	worker->zone = zone;
	worker->port = port;
	worker->number = number;
	worker->searcher.index = index;
	worker->searcher.zone = zone;
	worker->searcher.port = port;
	worker->searcher.number = number;
	*result = worker;
	/* A predecessor that died inside the engine has left the zone as it was just then; one that
	 * left requests parked has left pages of the cache pinned. */
	if (atomic_load_explicit(&zone->inside, memory_order_relaxed) != 0 ||
	    atomic_load_explicit(&zone->parked, memory_order_relaxed) != 0)
	{
		char reason[64];

		snprintf(reason, sizeof(reason), "worker of zone %u died inside a request", number);
		uds_block_report_death(index, port, reason);
		atomic_store_explicit(&zone->inside, 0, memory_order_relaxed);
		atomic_store_explicit(&zone->parked, 0, memory_order_relaxed);
		disown(zone);
		return uds_error_set(error, UDS_ERR_INTERNAL, 0, "%s", reason);
	}
	disown(zone);
	return UDS_OK;
}

static void
let_go(uds_zone_worker *worker)
{
	worker->is_holding = false;
	worker->paused_since = uds_port_now(worker->port);
	atomic_store_explicit(&worker->zone->owner, UDS_OWNER_NONE, memory_order_release);
	uds_port_wake(worker->port, UDS_WORKER_WRITER);
}

/* Parked requests of an earlier block begin anew: the pages they held are gone. */
static void
restart_parked(uds_zone_worker *worker)
{
	request_list lists[2] = { worker->reading, worker->waiting };

	memset(&worker->reading, 0, sizeof(worker->reading));
	memset(&worker->waiting, 0, sizeof(worker->waiting));
	for (int i = 0; i < 2; i++)
	{
		for (uds_request *request = lists[i].first, *next; request != NULL; request = next)
		{
			next = request->next;
			uds_search_begin(request);
			list_append(&worker->waiting, request);
		}
	}
}

static void
open_volume(uds_zone_worker *worker)
{
	worker->moves = uds_block_open_volume(worker->index,
	                                      worker->port,
	                                      &worker->searcher.volume,
	                                      "zone",
	                                      worker->number);
}

/* Get ready for the block as it is now, after it was laid out. */
static void
adopt_block(uds_zone_worker *worker, uint64_t epoch)
{
	restart_parked(worker);
	open_volume(worker);
	memset(&worker->searcher.view, 0, sizeof(worker->searcher.view));
	worker->epoch = epoch;
}

uds_status
uds_zone_turn(uds_zone_worker *worker)
{
	uds_index *index = worker->index;
	uds_zone *zone = worker->zone;
	uint32_t expected = UDS_OWNER_NONE;
	uint64_t epoch;

	if (atomic_load_explicit(&index->zones_wanted, memory_order_acquire) != 0 ||
	    !uds_state_executes(uds_index_state(index)))
	{
		if (worker->is_holding)
			let_go(worker);
		return UDS_PENDING;
	}
	if (worker->is_holding)
		return UDS_OK;
	if (!atomic_compare_exchange_strong(&zone->owner, &expected, UDS_OWNER_WORKER))
		return UDS_PENDING;
	/* The writer asks first and takes then; one of both sees the other. */
	if (atomic_load(&index->zones_wanted) != 0 || !uds_state_executes(uds_index_state(index)))
	{
		let_go(worker);
		return UDS_PENDING;
	}
	worker->is_holding = true;
	epoch = atomic_load_explicit(&index->epoch, memory_order_acquire);
	if (epoch == worker->epoch &&
	    atomic_load_explicit(&index->moves, memory_order_acquire) != worker->moves)
		open_volume(worker);
	if (epoch != worker->epoch)
		adopt_block(worker, epoch);
	else if (worker->paused_since != 0)
	{
		uint64_t pause = uds_port_now(worker->port) - worker->paused_since;

		if (pause > atomic_load_explicit(&zone->longest_pause_ns, memory_order_relaxed))
			atomic_store_explicit(&zone->longest_pause_ns, pause, memory_order_relaxed);
	}
	worker->paused_since = 0;
	return UDS_OK;
}

static void
prefetch(uds_zone_worker *worker, const uds_request *request)
{
	uds_volume_index_prefetch(&worker->index->volume_index, &request->name);
	uds_open_chapter_prefetch(open_share(worker->zone), &request->name);
}

/* Show the hooks of a batch to triage, before their neighbours are searched. */
static uds_status
ask_for_chapters(uds_zone_worker *worker, const uds_request *requests, uint32_t count)
{
	uds_volume_index *volume_index = &worker->index->volume_index;
	uds_status status = UDS_OK;

	for (uint32_t i = 0; i < count; i++)
	{
		if (uds_volume_index_is_hook(volume_index, &requests[i].name))
			uds_volume_index_prefetch(volume_index, &requests[i].name);
	}
	for (uint32_t i = 0; i < count && status == UDS_OK; i++)
	{
		if (uds_volume_index_is_hook(volume_index, &requests[i].name))
			status = uds_triage_ask(worker->index, worker->port, &requests[i].name);
	}
	return status;
}

uds_status
uds_zone_execute(uds_zone_worker *worker, uds_request *requests, uint32_t count, uint32_t *parked)
{
	uint32_t before = worker->parked;
	uds_status status;

	*parked = 0;
	if (count == 0 || count > UDS_BATCH_MAX || !worker->is_holding)
		return UDS_ERR_ARGUMENT;
	enter(worker);
	status = close_as_wanted(worker);
	if (status == UDS_OK && worker->index->sparse_cache != NULL)
		status = ask_for_chapters(worker, requests, count);
	for (uint32_t i = 0; i < UDS_MIN(count, PREFETCH_AHEAD); i++)
		prefetch(worker, &requests[i]);
	for (uint32_t i = 0; i < count; i++)
	{
		if (i + PREFETCH_AHEAD < count)
			prefetch(worker, &requests[i + PREFETCH_AHEAD]);
		if (i + BESIDE_AHEAD < count)
			uds_volume_index_prefetch_beside(&worker->index->volume_index,
			                                 &requests[i + BESIDE_AHEAD].name);
		if (status == UDS_OK)
			status = execute_request(worker, &requests[i]);
		else
		{
			/* The index has failed: what is left goes on after the rebuild, in its order. */
			uds_request *head = find_parked(worker, &requests[i].name);

			begin_request(&requests[i]);
			if (head != NULL)
				wait_behind(head, &requests[i]);
			else
				add_head(worker, &requests[i]);
			worker->parked++;
		}
	}
	*parked = worker->parked - before;
	return leave(worker, status);
}

/* Put what is left of a list behind what was appended to it meanwhile. */
static void
list_append_rest(request_list *list, uds_request *rest)
{
	uds_request *next;

	for (; rest != NULL; rest = next)
	{
		next = rest->next;
		list_append(list, rest);
	}
}

/* Run again the requests that wait for pages. */
static uds_status
run_reading(uds_zone_worker *worker, bool *has_progress)
{
	request_list todo = worker->reading;
	uds_request *next;
	bool is_full = false;

	memset(&worker->reading, 0, sizeof(worker->reading));
	for (uds_request *request = todo.first; request != NULL; request = next)
	{
		uds_status status;

		next = request->next;
		if (next != NULL && next->next != NULL)
			uds_volume_index_prefetch(&worker->index->volume_index, &next->next->name);
		/* Most of what is waited for is still on its way. */
		if (uds_search_is_stuck(&worker->searcher, request))
		{
			list_append(&worker->reading, request);
			continue;
		}
		status = run_parked(worker, request, has_progress, &is_full);
		if (status != UDS_OK)
		{
			list_append_rest(&worker->reading, next);
			return status;
		}
	}
	return UDS_OK;
}

/* Run again the requests that wait for room, until one finds none. */
static uds_status
run_waiting(uds_zone_worker *worker, bool *has_progress)
{
	request_list todo = worker->waiting;
	uds_status status = UDS_OK;
	uds_request *next = todo.first;
	bool is_full = false;

	memset(&worker->waiting, 0, sizeof(worker->waiting));
	while (next != NULL && !is_full && status == UDS_OK)
	{
		uds_request *request = next;

		next = request->next;
		status = run_parked(worker, request, has_progress, &is_full);
	}
	list_append_rest(&worker->waiting, next);
	return status;
}

/* Read for the zones while no reader is there; true when something was read. */
static bool
serve_reads(uds_zone_worker *worker)
{
	uds_status status = UDS_OK;
	bool has_progress = false;

	if (atomic_load_explicit(&worker->index->readers_present, memory_order_relaxed) != 0)
		return false;
	for (int i = 0; i < SERVES_PER_TURN && status == UDS_OK; i++)
	{
		status = uds_block_serve(worker->index, &worker->searcher.volume);
		has_progress = has_progress || status == UDS_OK;
	}
	/* A worker that is to stop leaves loads to others, who may sleep and wait for them. */
	if (status == UDS_STOPPED)
		wake_other_zones(worker->index, worker->port, worker->number);
	return has_progress;
}

uds_status
uds_zone_advance(uds_zone_worker *worker, uds_request **finished)
{
	bool has_progress = false;
	uds_status status;

	*finished = NULL;
	if (!worker->is_holding)
		return worker->parked > 0 ? UDS_PENDING : UDS_NOT_FOUND;
	enter(worker);
	status = close_as_wanted(worker);
	if (status == UDS_OK && serve_reads(worker))
		has_progress = true;
	if (status == UDS_OK && worker->reading.first != NULL)
		status = run_reading(worker, &has_progress);
	if (status == UDS_OK && worker->waiting.first != NULL)
		status = run_waiting(worker, &has_progress);
	*finished = worker->finished.first;
	memset(&worker->finished, 0, sizeof(worker->finished));
	status = leave(worker, status);
	if (status != UDS_OK)
		return status;
	if (has_progress)
		return UDS_OK;
	return worker->parked > 0 ? UDS_PENDING : UDS_NOT_FOUND;
}

uint32_t
uds_zone_parked(const uds_zone_worker *worker)
{
	return worker->parked;
}

void
uds_zone_detach(uds_zone_worker *worker)
{
	uds_volume_close(&worker->searcher.volume);
	if (worker->is_holding && worker->parked == 0)
		let_go(worker);
	worker->is_holding = false;
}
