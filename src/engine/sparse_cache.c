/*
 * sparse_cache.c: see sparse_cache.h.
 *
 * Life of an entry (sparse_entry.state, changed under the mutex):
 *
 *   FREE --load--> LOADING --published--> LIVE --dropped--> RETIRED --seen by no zone--> FREE
 *                         \--given up--> FREE
 *
 * Snapshots.  Version v lies in snapshots[v mod SNAPSHOTS].  Each zone has a word with the version
 * that it is inside, 0 when it is outside.  Who enters stores the present version in its word and
 * then looks whether it is still the present one; who publishes stores the present version and
 * later looks at the words.  All four are sequentially consistent: either the zone notices that it
 * is late, and tries again without having touched the snapshot, or its word is seen.  So what
 * version v has dropped is used by nobody when each word is 0 or at least v.  That stays so: nobody
 * can enter an older version any more, and a word that names one belongs to a zone that is about to
 * try again.  Hence a load makes sure of the place of its snapshot when it begins, and finds it
 * still free when it ends.
 *
 * Wake-ups.  Both sides of a pair store first and look afterwards, sequentially consistent, so at
 * least one of them sees the other:
 *
 *   zone:   sets its bit in waiters     then looks at oldest_pending
 *   loader: moves oldest_pending        then takes the bits of waiters
 *
 *   loader: sets starved                then looks at the words of the zones
 *   zone:   clears its word             then takes starved, when no other word is in the way
 *
 * starved says from which version on nobody is in the way of the load that waits.  A zone that leaves
 * while another one is in the way lets the mark be: the other one finds it.
 *
 * The mutex is never held while a file is read or a zone is woken.
 */
#include "sparse_cache.h"

/* Loads that end while a zone stays inside one snapshot, and those under way, are fewer than it. */
#define SNAPSHOTS 8
/* Chapters that could not be loaded and are not tried again for the time being. */
#define FAILURES_MAX 8
#define NONE         UINT32_MAX

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "used across processes");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "used across processes");

typedef enum entry_state
{
	ENTRY_FREE = 0,
	ENTRY_LOADING,
	ENTRY_LIVE,
	ENTRY_RETIRED
} entry_state;

/* The pages of an entry are written by the one that loads it and read by zones in a snapshot. */
typedef struct sparse_entry
{
	_Alignas(UDS_CACHE_LINE) _Atomic uint64_t last_used; /* atomic: relaxed; clock at that time */
	_Atomic uint32_t uses;       /* atomic: relaxed; grows with each use and each load */
	_Atomic uint32_t skipped_at; /* atomic: relaxed; uses when a zone began to skip it: it is
								  * skipped by somebody while both are equal */
	uint32_t state;              /* lock: entry_state */
	uint64_t retired_at;         /* lock: of a retired one: the first version without it */
} sparse_entry;

/* Written under the mutex when nobody is inside, then published by uds_sparse_cache.current. */
typedef struct sparse_snapshot
{
	uint64_t version;
	uint32_t count;
	uint32_t entries[UDS_SPARSE_CHAPTERS_MAX];
	uint64_t chapters[UDS_SPARSE_CHAPTERS_MAX]; /* newest first */
} sparse_snapshot;

typedef struct sparse_load
{
	uint64_t sequence; /* 0 = unused; order of the requests, from 1 on */
	bool is_under_way;
} sparse_load;

typedef struct sparse_zone
{
	/* atomic: version that the zone is inside, 0 = outside; stored by the zone, seq_cst */
	_Alignas(UDS_CACHE_LINE) _Atomic uint64_t version;
} sparse_zone;

struct uds_sparse_cache
{
	const uds_geometry *geometry; /* const: in the block */
	uint8_t *memory;         /* const: pages and list ends of the entries, behind this struct */
	size_t entry_bytes;      /* const: of one entry there */
	uint32_t capacity;       /* const: chapters of a snapshot, at most */
	uint32_t entry_count;    /* const */
	uint32_t zone_count;     /* const */
	uint32_t skip_threshold; /* const */

	/* Read at every request. */
	_Alignas(UDS_CACHE_LINE) _Atomic uint64_t current; /* atomic: version of the present snapshot,
														* which it publishes; seq_cst, under lock */
	_Atomic uint64_t last_sequence;  /* atomic: of the loads asked for; release, under lock */
	_Atomic uint64_t oldest_pending; /* atomic: lowest sequence that is queued or under way, else
									  * last_sequence + 1; seq_cst, under lock */
	_Atomic uint32_t waiters;        /* atomic: bit for each zone to be woken; seq_cst */
	_Atomic uint64_t starved;        /* atomic: a load found no entry, and finds one when all words
									  * are 0 or at least this version; 0 = none waits; seq_cst */
	/* Chapters, or UDS_NO_CHAPTER; atomic: release, under lock, so what is seen may be old.  A live
	 * chapter appears after current has changed: who sees it and then enters has it in its view.
	 * One that is to be loaded appears after last_sequence. */
	_Atomic uint64_t live[UDS_SPARSE_ENTRIES_MAX];  /* of entries */
	_Atomic uint64_t failed[FAILURES_MAX];          /* the last ones */
	_Atomic uint64_t pending[UDS_SPARSE_LOADS_MAX]; /* of loads */

	/* Written at every use. */
	_Alignas(UDS_CACHE_LINE) _Atomic uint64_t clock; /* atomic: relaxed; stamp of the newest use */

	/* atomic: relaxed, statistics */
	_Alignas(UDS_CACHE_LINE) _Atomic uint64_t live_count;
	_Atomic uint64_t loaded, failures, expired, drops;

	uds_port_mutex mutex;
	uint32_t loading;                        /* lock: loads under way */
	uint32_t next_failed;                    /* lock: in failed */
	sparse_load loads[UDS_SPARSE_LOADS_MAX]; /* lock */
	sparse_snapshot snapshots[SNAPSHOTS];    /* see there */
	sparse_entry entries[UDS_SPARSE_ENTRIES_MAX];
	sparse_zone zones[UDS_ZONES_MAX];
};

/* ---- layout ------------------------------------------------------------------------------------- */

static size_t
pages_bytes(const uds_geometry *geometry)
{
	return UDS_ALIGN((size_t) geometry->index_pages * geometry->parameters.page_bytes,
	                 UDS_CACHE_LINE);
}

static size_t
entry_bytes(const uds_geometry *geometry)
{
	return pages_bytes(geometry) +
	       UDS_ALIGN(geometry->index_pages * sizeof(uint16_t), UDS_CACHE_LINE);
}

static uint8_t *
pages_of(const uds_sparse_cache *cache, uint32_t entry)
{
	return cache->memory + entry * cache->entry_bytes;
}

static const uint8_t *
page_of(const uds_sparse_cache *cache, uint32_t entry, uint32_t page)
{
	return pages_of(cache, entry) + (size_t) page * cache->geometry->parameters.page_bytes;
}

/* Number of the list behind the last one, for each index page. */
static uint16_t *
list_ends_of(const uds_sparse_cache *cache, uint32_t entry)
{
	return (uint16_t *) (pages_of(cache, entry) + pages_bytes(cache->geometry));
}

size_t
uds_sparse_cache_size(const uds_geometry *geometry, uint32_t chapters)
{
	if (chapters == 0 || chapters > UDS_SPARSE_CHAPTERS_MAX)
		return 0;
	return UDS_ALIGN(sizeof(uds_sparse_cache), UDS_CACHE_LINE) +
	       (chapters + UDS_SPARSE_SPARES) * entry_bytes(geometry);
}

/* Field by field: anybody may read statistics meanwhile. */
static void
init_atomics(uds_sparse_cache *cache)
{
	atomic_store_explicit(&cache->live_count, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->loaded, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->failures, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->expired, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->drops, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->current, 1, memory_order_relaxed);
	atomic_store_explicit(&cache->last_sequence, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->oldest_pending, 1, memory_order_relaxed);
	atomic_store_explicit(&cache->waiters, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->starved, 0, memory_order_relaxed);
	/* Entries that were never used are older than anything that was. */
	atomic_store_explicit(&cache->clock, 1, memory_order_relaxed);
	for (uint32_t i = 0; i < FAILURES_MAX; i++)
		atomic_store_explicit(&cache->failed[i], UDS_NO_CHAPTER, memory_order_relaxed);
	for (uint32_t i = 0; i < UDS_SPARSE_LOADS_MAX; i++)
		atomic_store_explicit(&cache->pending[i], UDS_NO_CHAPTER, memory_order_relaxed);
	for (uint32_t i = 0; i < UDS_ZONES_MAX; i++)
		atomic_store_explicit(&cache->zones[i].version, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < UDS_SPARSE_ENTRIES_MAX; i++)
	{
		atomic_store_explicit(&cache->live[i], UDS_NO_CHAPTER, memory_order_relaxed);
		atomic_store_explicit(&cache->entries[i].last_used, 0, memory_order_relaxed);
		atomic_store_explicit(&cache->entries[i].uses, 0, memory_order_relaxed);
		atomic_store_explicit(&cache->entries[i].skipped_at, UINT32_MAX, memory_order_relaxed);
	}
}

void
uds_sparse_cache_init(uds_sparse_cache *cache, const uds_geometry *geometry, uint32_t chapters,
                      uint32_t zone_count, uint32_t skip_threshold)
{
	UDS_ASSERT(chapters >= 1 && chapters <= UDS_SPARSE_CHAPTERS_MAX);
	UDS_ASSERT(zone_count >= 1 && zone_count <= UDS_ZONES_MAX);
	cache->geometry = geometry;
	cache->memory = (uint8_t *) cache + UDS_ALIGN(sizeof(uds_sparse_cache), UDS_CACHE_LINE);
	cache->entry_bytes = entry_bytes(geometry);
	cache->capacity = chapters;
	cache->entry_count = chapters + UDS_SPARSE_SPARES;
	cache->zone_count = zone_count;
	cache->skip_threshold = skip_threshold;
	init_atomics(cache);
	uds_port_mutex_init(&cache->mutex);
	cache->loading = 0;
	cache->next_failed = 0;
	memset(cache->loads, 0, sizeof(cache->loads));
	memset(cache->snapshots, 0, sizeof(cache->snapshots));
	cache->snapshots[1].version = 1;
	for (uint32_t i = 0; i < UDS_SPARSE_ENTRIES_MAX; i++)
	{
		cache->entries[i].state = ENTRY_FREE;
		cache->entries[i].retired_at = 0;
	}
}

/* ---- use ------------------------------------------------------------------------------------------ */

/* Place of a chapter among some; NONE when it is not there. */
static uint32_t
find_chapter(const _Atomic uint64_t *chapters, uint32_t count, uint64_t chapter)
{
	for (uint32_t i = 0; i < count; i++)
	{
		if (atomic_load_explicit(&chapters[i], memory_order_acquire) == chapter)
			return i;
	}
	return NONE;
}

/* Entry of a chapter that can be searched, or none. */
static uint32_t
find_live(const uds_sparse_cache *cache, uint64_t chapter)
{
	return find_chapter(cache->live, cache->entry_count, chapter);
}

/* An entry is used.  It may go to another chapter meanwhile: then that has good luck. */
static void
touch(uds_sparse_cache *cache, uint32_t number)
{
	sparse_entry *entry = &cache->entries[number];
	uint64_t now = atomic_load_explicit(&cache->clock, memory_order_relaxed);

	atomic_fetch_add_explicit(&entry->uses, 1, memory_order_relaxed);
	if (atomic_load_explicit(&entry->last_used, memory_order_relaxed) == now)
		return;
	now = atomic_fetch_add_explicit(&cache->clock, 1, memory_order_relaxed) + 1;
	atomic_store_explicit(&entry->last_used, now, memory_order_relaxed);
}

void
uds_sparse_cache_hit(uds_sparse_cache *cache, uint64_t chapter)
{
	uint32_t entry = find_live(cache, chapter);

	if (entry != NONE)
		touch(cache, entry);
}

/* ---- requests --------------------------------------------------------------------------------------- */

/* What is known of a chapter: where it is is in *entry; UDS_DUPLICATE: nobody has asked for it. */
static uds_status
look_up(const uds_sparse_cache *cache, uint64_t chapter, uint32_t *entry)
{
	*entry = find_live(cache, chapter);
	if (*entry != NONE)
		return UDS_OK;
	if (find_chapter(cache->failed, FAILURES_MAX, chapter) != NONE)
		return UDS_NOT_FOUND;
	if (find_chapter(cache->pending, UDS_SPARSE_LOADS_MAX, chapter) != NONE)
		return UDS_PENDING;
	return UDS_DUPLICATE;
}

/* Caller holds the mutex. */
static uds_status
queue_load(uds_sparse_cache *cache, uint64_t chapter)
{
	uint64_t sequence = atomic_load_explicit(&cache->last_sequence, memory_order_relaxed) + 1;
	uint32_t unused = find_chapter(cache->pending, UDS_SPARSE_LOADS_MAX, UDS_NO_CHAPTER);

	if (unused == NONE)
	{
		atomic_fetch_add_explicit(&cache->drops, 1, memory_order_relaxed);
		return UDS_OVERFLOW;
	}
	cache->loads[unused].sequence = sequence;
	/* oldest_pending is right already: it was this sequence when nothing else is pending. */
	atomic_store_explicit(&cache->last_sequence, sequence, memory_order_release);
	atomic_store_explicit(&cache->pending[unused], chapter, memory_order_release);
	return UDS_DUPLICATE;
}

uds_status
uds_sparse_cache_request(uds_sparse_cache *cache, uint64_t chapter, uint64_t oldest)
{
	uint32_t entry;
	uds_status status;

	/* What is unused carries UDS_NO_CHAPTER. */
	if (chapter < oldest || chapter == UDS_NO_CHAPTER)
		return UDS_NOT_FOUND;
	status = look_up(cache, chapter, &entry);
	if (status == UDS_DUPLICATE)
	{
		uds_port_mutex_lock(&cache->mutex);
		/* It may have been asked for, or loaded, since. */
		status = look_up(cache, chapter, &entry);
		if (status == UDS_DUPLICATE)
			status = queue_load(cache, chapter);
		uds_port_mutex_unlock(&cache->mutex);
	}
	if (status == UDS_OK)
		touch(cache, entry);
	return status;
}

uint64_t
uds_sparse_cache_pending(const uds_sparse_cache *cache)
{
	uint64_t oldest = atomic_load_explicit(&cache->oldest_pending, memory_order_acquire);
	uint64_t last = atomic_load_explicit(&cache->last_sequence, memory_order_acquire);

	return oldest <= last ? last : 0;
}

bool
uds_sparse_cache_is_done(const uds_sparse_cache *cache, uint64_t ticket)
{
	return atomic_load_explicit(&cache->oldest_pending, memory_order_seq_cst) > ticket;
}

bool
uds_sparse_cache_wait(uds_sparse_cache *cache, uint32_t zone, uint64_t ticket)
{
	UDS_ASSERT(zone < cache->zone_count);
	if (uds_sparse_cache_is_done(cache, ticket))
		return false;
	atomic_fetch_or_explicit(&cache->waiters, 1u << zone, memory_order_seq_cst);
	/* The bit stays: the zone may have set it for another ticket before. */
	return !uds_sparse_cache_is_done(cache, ticket);
}

/* ---- views and search ------------------------------------------------------------------------------- */

static sparse_snapshot *
snapshot_of(uds_sparse_cache *cache, uint64_t version)
{
	return &cache->snapshots[version % SNAPSHOTS];
}

void
uds_sparse_cache_enter(uds_sparse_cache *cache, uint32_t zone, uds_sparse_view *view)
{
	_Atomic uint64_t *word = &cache->zones[zone].version;
	uint64_t present = atomic_load_explicit(&cache->current, memory_order_seq_cst);
	const sparse_snapshot *snapshot;
	uint64_t version;

	UDS_ASSERT(zone < cache->zone_count && view->version == 0);
	do
	{
		version = present;
		atomic_store_explicit(word, version, memory_order_seq_cst);
		present = atomic_load_explicit(&cache->current, memory_order_seq_cst);
	} while (present != version);
	snapshot = snapshot_of(cache, version);
	UDS_ASSERT(snapshot->version == version);
	view->version = version;
	view->count = snapshot->count;
	memcpy(view->chapters, snapshot->chapters, view->count * sizeof(view->chapters[0]));
	memcpy(view->entries, snapshot->entries, view->count * sizeof(view->entries[0]));
}

/* Oldest version that a zone is inside; UINT64_MAX when all are outside. */
static uint64_t
oldest_entered(const uds_sparse_cache *cache)
{
	uint64_t oldest = UINT64_MAX;

	for (uint32_t i = 0; i < cache->zone_count; i++)
	{
		uint64_t version = atomic_load_explicit(&cache->zones[i].version, memory_order_seq_cst);

		if (version != 0)
			oldest = UDS_MIN(oldest, version);
	}
	return oldest;
}

bool
uds_sparse_cache_is_present(const uds_sparse_cache *cache, uint64_t version)
{
	return atomic_load_explicit(&cache->current, memory_order_acquire) == version;
}

bool
uds_sparse_cache_leave(uds_sparse_cache *cache, uint32_t zone, uds_sparse_view *view)
{
	uint64_t starved;

	UDS_ASSERT(view->version != 0);
	view->version = 0;
	view->count = 0;
	atomic_store_explicit(&cache->zones[zone].version, 0, memory_order_seq_cst);
	starved = atomic_load_explicit(&cache->starved, memory_order_seq_cst);
	return starved != 0 && oldest_entered(cache) >= starved &&
	       atomic_exchange_explicit(&cache->starved, 0, memory_order_seq_cst) != 0;
}

/* Index page of an entry that holds a list. */
static const uint8_t *
find_page(const uds_sparse_cache *cache, uint32_t entry, uint32_t list)
{
	const uds_geometry *geometry = cache->geometry;
	const uint16_t *ends = list_ends_of(cache, entry);
	/* Lists are about equally long: it is hardly ever far from where this says. */
	uint32_t page =
		(uint32_t) ((uint64_t) list * geometry->index_pages / geometry->lists_per_chapter);

	while (page > 0 && ends[page - 1] > list)
		page--;
	while (page + 1 < geometry->index_pages && ends[page] <= list)
		page++;
	return page_of(cache, entry, page);
}

static uds_status
search_entry(const uds_sparse_cache *cache, uint32_t entry, const uds_name *name,
             uint32_t *record_page)
{
	const uds_geometry *geometry = cache->geometry;
	uint32_t list = uds_geometry_chapter_list(geometry, uds_name_chapter_field(name));
	const uint8_t *page = find_page(cache, entry, list);

	return uds_chapter_index_search(page, geometry, name, record_page) == UDS_OK ? UDS_OK
	                                                                             : UDS_NOT_FOUND;
}

/* Does this zone skip an entry?  Its misses begin anew when the entry has been used. */
static bool
is_skipped(const uds_sparse_cache *cache, uds_sparse_view *view, uint32_t entry)
{
	uint32_t uses = atomic_load_explicit(&cache->entries[entry].uses, memory_order_relaxed);

	if (view->uses[entry] != uses)
	{
		view->uses[entry] = uses;
		view->misses[entry] = 0;
	}
	return view->misses[entry] > cache->skip_threshold;
}

static void
count_miss(uds_sparse_cache *cache, uds_sparse_view *view, uint32_t entry)
{
	view->misses[entry]++;
	if (view->misses[entry] > cache->skip_threshold)
		atomic_store_explicit(&cache->entries[entry].skipped_at,
		                      view->uses[entry],
		                      memory_order_relaxed);
}

uds_status
uds_sparse_cache_search(uds_sparse_cache *cache, uds_sparse_view *view, const uds_name *name,
                        uint64_t below, uint64_t oldest, uint64_t *chapter, uint32_t *record_page)
{
	UDS_ASSERT(view->version != 0);
	for (uint32_t i = 0; i < view->count && view->chapters[i] >= oldest; i++)
	{
		uint32_t entry = view->entries[i];

		if (view->chapters[i] >= below || is_skipped(cache, view, entry))
			continue;
		if (search_entry(cache, entry, name, record_page) == UDS_OK)
		{
			*chapter = view->chapters[i];
			return UDS_OK;
		}
		count_miss(cache, view, entry);
	}
	return UDS_NOT_FOUND;
}

uds_status
uds_sparse_cache_search_chapter(uds_sparse_cache *cache, uds_sparse_view *view,
                                const uds_name *name, uint64_t chapter, uint32_t *record_page)
{
	UDS_ASSERT(view->version != 0);
	for (uint32_t i = 0; i < view->count; i++)
	{
		if (view->chapters[i] == chapter)
			return search_entry(cache, view->entries[i], name, record_page);
	}
	return UDS_ERR_STATE;
}

/* ---- loads ------------------------------------------------------------------------------------------- */

/* The load that was asked for first and is not under way; none when there is none. */
static uint32_t
next_load(const uds_sparse_cache *cache)
{
	uint32_t first = NONE;

	for (uint32_t i = 0; i < UDS_SPARSE_LOADS_MAX; i++)
	{
		const sparse_load *load = &cache->loads[i];

		if (load->sequence != 0 && !load->is_under_way &&
		    (first == NONE || load->sequence < cache->loads[first].sequence))
			first = i;
	}
	return first;
}

/* Lowest sequence that is queued or under way, else the next one. */
static uint64_t
lowest_sequence(const uds_sparse_cache *cache)
{
	uint64_t lowest = atomic_load_explicit(&cache->last_sequence, memory_order_relaxed) + 1;

	for (uint32_t i = 0; i < UDS_SPARSE_LOADS_MAX; i++)
	{
		if (cache->loads[i].sequence != 0)
			lowest = UDS_MIN(lowest, cache->loads[i].sequence);
	}
	return lowest;
}

/* A load has ended.  True when zones may wait for that.  Caller holds the mutex. */
static bool
end_load(uds_sparse_cache *cache, uint32_t load)
{
	uint64_t before = atomic_load_explicit(&cache->oldest_pending, memory_order_relaxed);
	uint64_t lowest;

	cache->loads[load].sequence = 0;
	cache->loads[load].is_under_way = false;
	lowest = lowest_sequence(cache);
	atomic_store_explicit(&cache->oldest_pending, lowest, memory_order_seq_cst);
	atomic_store_explicit(&cache->pending[load], UDS_NO_CHAPTER, memory_order_release);
	return lowest != before;
}

static void
wake_waiters(uds_sparse_cache *cache, uds_port *port)
{
	uint32_t zones = atomic_exchange_explicit(&cache->waiters, 0, memory_order_seq_cst);

	for (uint32_t zone = 0; zones != 0; zone++, zones >>= 1)
	{
		if ((zones & 1) != 0)
			uds_port_wake(port, UDS_WORKER_ZONE + zone);
	}
}

/*
 * Take an entry to be filled, and with it the place of a further snapshot: all loads under way may
 * end with one.  The one that lies in that place was dropped by its successor.  Caller holds the
 * mutex.
 */
static uint32_t
claim_entry(uds_sparse_cache *cache)
{
	uint64_t entered = oldest_entered(cache);
	uint64_t version =
		atomic_load_explicit(&cache->current, memory_order_relaxed) + cache->loading + 1;

	if (cache->loading + 2 > SNAPSHOTS || (entered < version && version - entered >= SNAPSHOTS))
		return NONE;
	for (uint32_t i = 0; i < cache->entry_count; i++)
	{
		sparse_entry *entry = &cache->entries[i];

		if (entry->state == ENTRY_FREE ||
		    (entry->state == ENTRY_RETIRED && entry->retired_at <= entered))
		{
			entry->state = ENTRY_LOADING;
			cache->loading++;
			return i;
		}
	}
	return NONE;
}

/*
 * No entry can be claimed: the version that all zones inside must have, so that one can.  0: other
 * loads are in the way, and who performs them goes on with this one.  Caller holds the mutex.
 */
static uint64_t
version_needed(const uds_sparse_cache *cache)
{
	uint64_t version =
		atomic_load_explicit(&cache->current, memory_order_relaxed) + cache->loading + 1;
	uint64_t place = version < SNAPSHOTS ? 1 : version - SNAPSHOTS + 1;
	uint64_t retired = UINT64_MAX;

	for (uint32_t i = 0; i < cache->entry_count; i++)
	{
		const sparse_entry *entry = &cache->entries[i];

		if (entry->state == ENTRY_FREE)
			return place;
		if (entry->state == ENTRY_RETIRED)
			retired = UDS_MIN(retired, entry->retired_at);
	}
	return retired == UINT64_MAX ? 0 : UDS_MAX(place, retired);
}

/* Read a chapter into an entry that only the caller uses. */
static uds_status
fill_entry(uds_sparse_cache *cache, uds_volume *volume, uint32_t entry, uint64_t chapter)
{
	uint16_t *ends = list_ends_of(cache, entry);
	uds_status status = uds_volume_read_index_pages(volume, chapter, pages_of(cache, entry));

	if (status != UDS_OK)
		return status;
	for (uint32_t i = 0; i < cache->geometry->index_pages; i++)
	{
		uint32_t first;
		uint32_t count;

		uds_chapter_index_bounds(page_of(cache, entry, i), &first, &count);
		ends[i] = (uint16_t) ((i > 0 ? ends[i - 1] : 0) + count);
	}
	return UDS_OK;
}

/* Is the use of one entry worth less than that of another? */
static bool
is_worse(const sparse_entry *a, const sparse_entry *b)
{
	bool a_skipped = atomic_load_explicit(&a->skipped_at, memory_order_relaxed) ==
	                 atomic_load_explicit(&a->uses, memory_order_relaxed);
	bool b_skipped = atomic_load_explicit(&b->skipped_at, memory_order_relaxed) ==
	                 atomic_load_explicit(&b->uses, memory_order_relaxed);

	if (a_skipped != b_skipped)
		return a_skipped;
	return atomic_load_explicit(&a->last_used, memory_order_relaxed) <
	       atomic_load_explicit(&b->last_used, memory_order_relaxed);
}

/* The entry that has to go for a new one; none when the others leave room without it. */
static uint32_t
find_victim(const uds_sparse_cache *cache, const sparse_snapshot *snapshot, uint64_t oldest)
{
	uint32_t victim = NONE;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->count && snapshot->chapters[i] >= oldest; i++)
	{
		uint32_t entry = snapshot->entries[i];

		kept++;
		if (victim == NONE || is_worse(&cache->entries[entry], &cache->entries[victim]))
			victim = entry;
	}
	return kept < cache->capacity ? NONE : victim;
}

static void
append(sparse_snapshot *snapshot, uint64_t chapter, uint32_t entry)
{
	snapshot->chapters[snapshot->count] = chapter;
	snapshot->entries[snapshot->count] = entry;
	snapshot->count++;
}

static void
retire(uds_sparse_cache *cache, uint32_t entry, uint64_t version)
{
	cache->entries[entry].state = ENTRY_RETIRED;
	cache->entries[entry].retired_at = version;
	atomic_store_explicit(&cache->live[entry], UDS_NO_CHAPTER, memory_order_release);
}

/* Put a chapter, or none, in the place of the oldest one that failed.  Caller holds the mutex. */
static void
remember_failure(uds_sparse_cache *cache, uint64_t chapter)
{
	atomic_store_explicit(&cache->failed[cache->next_failed], chapter, memory_order_release);
	cache->next_failed = (cache->next_failed + 1) % FAILURES_MAX;
}

/*
 * Make the next snapshot the present one: with a filled entry, without what has expired and what
 * had to go.  Caller holds the mutex.
 */
static void
publish(uds_sparse_cache *cache, uint32_t entry, uint64_t chapter, uint64_t oldest)
{
	uint64_t version = atomic_load_explicit(&cache->current, memory_order_relaxed) + 1;
	const sparse_snapshot *present = snapshot_of(cache, version - 1);
	sparse_snapshot *next = snapshot_of(cache, version);
	uint32_t victim = find_victim(cache, present, oldest);
	bool is_placed = false;

	UDS_ASSERT(find_live(cache, chapter) == NONE);
	next->version = version;
	next->count = 0;
	for (uint32_t i = 0; i < present->count; i++)
	{
		if (!is_placed && present->chapters[i] < chapter)
		{
			append(next, chapter, entry);
			is_placed = true;
		}
		if (present->chapters[i] < oldest || present->entries[i] == victim)
			retire(cache, present->entries[i], version);
		else
			append(next, present->chapters[i], present->entries[i]);
	}
	if (!is_placed)
		append(next, chapter, entry);
	/* Before it is published: no zone goes on with the misses of the chapter that was there. */
	touch(cache, entry);
	cache->entries[entry].state = ENTRY_LIVE;
	atomic_store_explicit(&cache->current, version, memory_order_seq_cst);
	atomic_store_explicit(&cache->live[entry], chapter, memory_order_release);
	atomic_store_explicit(&cache->live_count, next->count, memory_order_relaxed);
	/* What failed may have been a passing error: it is tried again some time. */
	remember_failure(cache, UDS_NO_CHAPTER);
	atomic_fetch_add_explicit(&cache->loaded, 1, memory_order_relaxed);
}

/* Caller holds the mutex. */
static void
give_up(uds_sparse_cache *cache, uint32_t entry, uint64_t chapter)
{
	cache->entries[entry].state = ENTRY_FREE;
	remember_failure(cache, chapter);
	atomic_fetch_add_explicit(&cache->failures, 1, memory_order_relaxed);
}

static uint64_t
chapter_of(const uds_sparse_cache *cache, uint32_t load)
{
	return atomic_load_explicit(&cache->pending[load], memory_order_relaxed);
}

/*
 * Take the next load.  UDS_OK: *load and *entry are the caller's; *entry is none when the load has
 * ended already, since its chapter has expired.  UDS_NOT_FOUND: see uds_sparse_cache_load.
 */
static uds_status
begin_load(uds_sparse_cache *cache, uds_volume *volume, uint64_t oldest, uint32_t *load,
           uint32_t *entry)
{
	bool has_waiters = false;

	*entry = NONE;
	uds_port_mutex_lock(&cache->mutex);
	*load = next_load(cache);
	if (*load != NONE && chapter_of(cache, *load) < oldest)
	{
		atomic_fetch_add_explicit(&cache->expired, 1, memory_order_relaxed);
		has_waiters = end_load(cache, *load);
	}
	else if (*load != NONE)
	{
		*entry = claim_entry(cache);
		if (*entry == NONE)
		{
			/* A zone that leaves from now on sees the mark; one that has left is seen. */
			atomic_store_explicit(&cache->starved, version_needed(cache), memory_order_seq_cst);
			*entry = claim_entry(cache);
		}
		if (*entry != NONE)
			cache->loads[*load].is_under_way = true;
		else
			*load = NONE;
	}
	uds_port_mutex_unlock(&cache->mutex);
	if (has_waiters)
		wake_waiters(cache, volume->port);
	return *load != NONE ? UDS_OK : UDS_NOT_FOUND;
}

uds_status
uds_sparse_cache_load(uds_sparse_cache *cache, uds_volume *volume, uint64_t oldest)
{
	bool has_waiters = false;
	uint32_t load;
	uint32_t entry;
	uint64_t chapter;
	uds_status status = begin_load(cache, volume, oldest, &load, &entry);

	if (status != UDS_OK || entry == NONE)
		return status;
	chapter = chapter_of(cache, load);
	status = fill_entry(cache, volume, entry, chapter);
	uds_port_mutex_lock(&cache->mutex);
	cache->loading--;
	if (status == UDS_STOPPED)
	{
		cache->entries[entry].state = ENTRY_FREE;
		cache->loads[load].is_under_way = false;
	}
	else
	{
		if (status == UDS_OK)
			publish(cache, entry, chapter, oldest);
		else
			give_up(cache, entry, chapter);
		has_waiters = end_load(cache, load);
	}
	uds_port_mutex_unlock(&cache->mutex);
	if (has_waiters)
		wake_waiters(cache, volume->port);
	return status == UDS_STOPPED ? UDS_STOPPED : UDS_OK;
}

/* ---- statistics -------------------------------------------------------------------------------------- */

void
uds_sparse_cache_statistics(const uds_sparse_cache *cache, uds_sparse_statistics *statistics)
{
	statistics->chapters = atomic_load_explicit(&cache->live_count, memory_order_relaxed);
	statistics->loads = atomic_load_explicit(&cache->loaded, memory_order_relaxed);
	statistics->failures = atomic_load_explicit(&cache->failures, memory_order_relaxed);
	statistics->expired = atomic_load_explicit(&cache->expired, memory_order_relaxed);
	statistics->drops = atomic_load_explicit(&cache->drops, memory_order_relaxed);
}

/* Are the pages of an entry those of a chapter, as its list ends say? */
static bool
pages_are_valid(const uds_sparse_cache *cache, uint32_t entry, uint64_t chapter)
{
	const uds_geometry *geometry = cache->geometry;
	const uint16_t *ends = list_ends_of(cache, entry);
	uint32_t end = 0;

	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		const uint8_t *page = page_of(cache, entry, i);
		uds_delta_page_header header = uds_delta_page_read_header(page);

		if (header.chapter != chapter || (header.list_count > 0 && header.first_list != end))
			return false;
		end += header.list_count;
		if (ends[i] != end || uds_chapter_index_walk(page, geometry, NULL, NULL) != UDS_OK)
			return false;
	}
	return end == geometry->lists_per_chapter;
}

static bool
snapshot_is_valid(const uds_sparse_cache *cache)
{
	uint64_t version = atomic_load_explicit(&cache->current, memory_order_relaxed);
	const sparse_snapshot *snapshot = &cache->snapshots[version % SNAPSHOTS];

	if (snapshot->version != version || snapshot->count > cache->capacity ||
	    snapshot->count != atomic_load_explicit(&cache->live_count, memory_order_relaxed))
		return false;
	for (uint32_t i = 0; i < snapshot->count; i++)
	{
		uint32_t entry = snapshot->entries[i];
		uint64_t chapter = snapshot->chapters[i];

		/* Of two items with one entry, one would have another chapter than the entry. */
		if ((i > 0 && chapter >= snapshot->chapters[i - 1]) || entry >= cache->entry_count ||
		    atomic_load_explicit(&cache->live[entry], memory_order_relaxed) != chapter ||
		    cache->entries[entry].state != ENTRY_LIVE || !pages_are_valid(cache, entry, chapter))
			return false;
	}
	for (uint32_t i = 0; i < cache->zone_count; i++)
	{
		if (atomic_load_explicit(&cache->zones[i].version, memory_order_relaxed) > version)
			return false;
	}
	return true;
}

static bool
entries_are_valid(const uds_sparse_cache *cache)
{
	uint64_t version = atomic_load_explicit(&cache->current, memory_order_relaxed);
	uint64_t live = 0;

	for (uint32_t i = 0; i < cache->entry_count; i++)
	{
		const sparse_entry *entry = &cache->entries[i];
		uint64_t chapter = atomic_load_explicit(&cache->live[i], memory_order_relaxed);

		live += entry->state == ENTRY_LIVE;
		if ((entry->state == ENTRY_LIVE) != (chapter != UDS_NO_CHAPTER) ||
		    entry->state == ENTRY_LOADING || entry->state > ENTRY_RETIRED ||
		    (entry->state == ENTRY_RETIRED && entry->retired_at > version) ||
		    atomic_load_explicit(&entry->last_used, memory_order_relaxed) >
		        atomic_load_explicit(&cache->clock, memory_order_relaxed))
			return false;
	}
	return cache->loading == 0 &&
	       live == atomic_load_explicit(&cache->live_count, memory_order_relaxed);
}

static bool
loads_are_valid(const uds_sparse_cache *cache)
{
	uint64_t last = atomic_load_explicit(&cache->last_sequence, memory_order_relaxed);

	for (uint32_t i = 0; i < UDS_SPARSE_LOADS_MAX; i++)
	{
		const sparse_load *load = &cache->loads[i];
		uint64_t chapter = chapter_of(cache, i);

		if (load->is_under_way || load->sequence > last ||
		    (load->sequence == 0) != (chapter == UDS_NO_CHAPTER))
			return false;
		/* No chapter is wanted twice, or wanted although it is there. */
		if (load->sequence != 0 &&
		    (find_live(cache, chapter) != NONE || find_chapter(cache->pending, i, chapter) != NONE))
			return false;
		for (uint32_t j = 0; j < i; j++)
		{
			if (load->sequence != 0 && cache->loads[j].sequence == load->sequence)
				return false;
		}
	}
	return lowest_sequence(cache) ==
	       atomic_load_explicit(&cache->oldest_pending, memory_order_relaxed);
}

uds_status
uds_sparse_cache_check(const uds_sparse_cache *cache)
{
	if (!snapshot_is_valid(cache) || !entries_are_valid(cache) || !loads_are_valid(cache))
		return UDS_ERR_CORRUPT;
	return UDS_OK;
}
