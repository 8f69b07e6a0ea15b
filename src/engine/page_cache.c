/*
 * page_cache.c: see page_cache.h.
 *
 * Life of a slot:
 *
 *   EMPTY --get--> READING --> VALID --replaced--> EMPTY
 *                  |    ^  \--> BAD   --last pin--> EMPTY (by the next look)
 *                  v    |
 *                  QUEUED
 *
 * A slot that is pinned, queued or being read is never replaced.  chapter, page and next are
 * changed under the shard's mutex while the slot is in no use.  The state of a slot in READING is
 * changed by one alone: the zone that asked for the page first, until it queues the read; then the
 * one that takes it from the queue.
 */
#include "page_cache.h"

#define SHARDS_MAX          16
#define SLOTS_PER_SHARD_MIN 16
#define SERVES_MAX          8 /* reads of one call; the system is told of all of them at first */

typedef enum page_state
{
	PAGE_EMPTY = 0,
	PAGE_QUEUED,
	PAGE_READING,
	PAGE_VALID,
	PAGE_BAD
} page_state;

typedef struct page_slot
{
	uint64_t chapter;               /* lock: shard; stable while pinned */
	uint32_t page;                  /* lock: shard; stable while pinned */
	uint32_t next;                  /* lock: shard; in its chain */
	uint32_t queue_next;            /* lock: queue */
	_Atomic uint32_t state;         /* atomic: page_state; VALID and BAD by release */
	_Atomic uint32_t pins;          /* atomic: grows under the shard's mutex, or by the one that
									* serves while the slot is queued */
	_Atomic uint32_t waiters;       /* atomic: bit for each zone to be woken */
	_Atomic uint32_t is_referenced; /* atomic: relaxed */
	uint32_t reserved;
} page_slot;

typedef struct page_shard
{
	uds_port_mutex mutex;
	uint32_t first_slot; /* const */
	uint32_t slot_count; /* const */
	uint32_t hand;       /* lock: shard */
	uint32_t first_head; /* const: in heads */
} page_shard;

struct uds_page_cache
{
	uint32_t page_count;  /* const */
	uint32_t page_bytes;  /* const */
	uint32_t shard_count; /* const: a power of two */
	uint32_t head_mask;   /* const: heads of a shard - 1 */
	uint32_t readers;     /* const: that may serve */
	_Atomic uint64_t reads;
	_Atomic uint32_t starved; /* atomic: bit for each zone that found no slot */
	_Atomic uint32_t idle;    /* atomic: seqcst; bit for each reader that sleeps or is going to */
	uds_port_mutex queue_mutex;
	uint32_t queue_first;         /* lock: queue */
	uint32_t queue_last;          /* lock: queue */
	_Atomic uint32_t queue_count; /* lock: queue; read by anybody, relaxed */
	page_shard shards[SHARDS_MAX];
	page_slot *slots; /* const: inside the block, like the next two */
	uint32_t *heads;  /* lock: shard */
	uint8_t *pages;
};

static uint32_t
shards_for(uint32_t pages)
{
	uint32_t shards = 1;

	while (shards < SHARDS_MAX && pages / (shards * 2) >= SLOTS_PER_SHARD_MIN)
		shards *= 2;
	return shards;
}

static uint32_t
heads_for(uint32_t pages, uint32_t shards)
{
	uint32_t heads = 1;

	while (heads < pages / shards + 1)
		heads *= 2;
	return heads;
}

size_t
uds_page_cache_size(uint32_t pages, uint32_t page_bytes)
{
	uint32_t shards = shards_for(pages);
	size_t heads = (size_t) heads_for(pages, shards) * shards;

	return UDS_ALIGN(sizeof(uds_page_cache), UDS_CACHE_LINE) +
	       UDS_ALIGN(pages * sizeof(page_slot), UDS_CACHE_LINE) +
	       UDS_ALIGN(heads * sizeof(uint32_t), UDS_CACHE_LINE) + (size_t) pages * page_bytes;
}

void
uds_page_cache_init(uds_page_cache *cache, uint32_t pages, uint32_t page_bytes, uint32_t readers)
{
	uint8_t *memory = (uint8_t *) cache;
	uint32_t shards = shards_for(pages);
	uint32_t heads = heads_for(pages, shards);

	/* Field by field: anybody may read the number of reads meanwhile. */
	atomic_store_explicit(&cache->reads, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->starved, 0, memory_order_relaxed);
	atomic_store_explicit(&cache->idle, 0, memory_order_relaxed);
	cache->readers = readers;
	cache->page_count = pages;
	cache->page_bytes = page_bytes;
	cache->shard_count = shards;
	cache->head_mask = heads - 1;
	cache->queue_first = UDS_PAGE_SLOT_NONE;
	cache->queue_last = UDS_PAGE_SLOT_NONE;
	atomic_store_explicit(&cache->queue_count, 0, memory_order_relaxed);
	uds_port_mutex_init(&cache->queue_mutex);
	memory += UDS_ALIGN(sizeof(uds_page_cache), UDS_CACHE_LINE);
	cache->slots = (page_slot *) memory;
	memory += UDS_ALIGN(pages * sizeof(page_slot), UDS_CACHE_LINE);
	cache->heads = (uint32_t *) memory;
	memory += UDS_ALIGN((size_t) heads * shards * sizeof(uint32_t), UDS_CACHE_LINE);
	cache->pages = memory;
	memset(cache->slots, 0, pages * sizeof(page_slot));
	memset(cache->heads, 0xff, (size_t) heads * shards * sizeof(uint32_t));
	for (uint32_t i = 0; i < shards; i++)
	{
		page_shard *shard = &cache->shards[i];

		uds_port_mutex_init(&shard->mutex);
		shard->hand = 0;
		shard->first_slot = (uint32_t) ((uint64_t) pages * i / shards);
		shard->slot_count = (uint32_t) ((uint64_t) pages * (i + 1) / shards) - shard->first_slot;
		shard->first_head = heads * i;
	}
}

static uint64_t
hash_of(uint64_t chapter, uint32_t page)
{
	uint64_t hash = (chapter * UINT64_C(0x9e3779b97f4a7c15) + page) * UINT64_C(0xbf58476d1ce4e5b9);

	return hash ^ hash >> 32;
}

static uint32_t *
head_of(uds_page_cache *cache, page_shard *shard, uint64_t hash)
{
	return &cache->heads[shard->first_head + ((hash >> 8) & cache->head_mask)];
}

static uint8_t *
data_of(uds_page_cache *cache, uint32_t slot)
{
	return cache->pages + (size_t) slot * cache->page_bytes;
}

static void
wake_zones(uds_port *port, uint32_t zones)
{
	for (uint32_t zone = 0; zones != 0; zone++, zones >>= 1)
	{
		if ((zones & 1) != 0)
			uds_port_wake(port, UDS_WORKER_ZONE + zone);
	}
}

/* ---- readers ---------------------------------------------------------------------------------- */

void
uds_page_cache_set_idle(uds_page_cache *cache, uint32_t reader, bool is_idle)
{
	uint32_t bit = 1u << reader;

	if (is_idle)
		atomic_fetch_or(&cache->idle, bit);
	else if ((atomic_load_explicit(&cache->idle, memory_order_relaxed) & bit) != 0)
		atomic_fetch_and(&cache->idle, ~bit);
}

void
uds_page_cache_wake_reader(uds_page_cache *cache, uds_port *port)
{
	uint32_t idle = atomic_load(&cache->idle);

	while (idle != 0)
	{
		uint32_t bit = idle & -idle;

		if ((atomic_fetch_and(&cache->idle, ~bit) & bit) != 0)
		{
			uds_port_wake(port, UDS_WORKER_READER + (uint32_t) __builtin_ctz(bit));
			return;
		}
		idle = atomic_load(&cache->idle);
	}
}

static void
push_read(uds_page_cache *cache, uint32_t number)
{
	page_slot *slot = &cache->slots[number];

	uds_port_mutex_lock(&cache->queue_mutex);
	atomic_store_explicit(&slot->state, PAGE_QUEUED, memory_order_relaxed);
	slot->queue_next = UDS_PAGE_SLOT_NONE;
	if (cache->queue_first == UDS_PAGE_SLOT_NONE)
		cache->queue_first = number;
	else
		cache->slots[cache->queue_last].queue_next = number;
	cache->queue_last = number;
	atomic_fetch_add_explicit(&cache->queue_count, 1, memory_order_relaxed);
	uds_port_mutex_unlock(&cache->queue_mutex);
}

/* Take a fair part of the queue: the slots, then in READING and pinned once more. */
static uint32_t
pop_reads(uds_page_cache *cache, uint32_t numbers[SERVES_MAX])
{
	uint32_t count = 0;
	uint32_t fair;

	uds_port_mutex_lock(&cache->queue_mutex);
	fair = uds_page_cache_queued(cache) / UDS_MAX(cache->readers, 1u);
	fair = UDS_MIN(UDS_MAX(fair, 1u), (uint32_t) SERVES_MAX);
	while (count < fair && cache->queue_first != UDS_PAGE_SLOT_NONE)
	{
		page_slot *slot = &cache->slots[cache->queue_first];

		numbers[count++] = cache->queue_first;
		cache->queue_first = slot->queue_next;
		atomic_fetch_sub_explicit(&cache->queue_count, 1, memory_order_relaxed);
		/* Pinned until the waiters are taken: a slot that went to another page in between would
		 * lose those of that page. */
		atomic_fetch_add(&slot->pins, 1);
		atomic_store_explicit(&slot->state, PAGE_READING, memory_order_relaxed);
	}
	uds_port_mutex_unlock(&cache->queue_mutex);
	return count;
}

/* ---- slots ------------------------------------------------------------------------------------ */

/* Take a slot out of its chain.  Caller holds the shard's mutex. */
static void
unlink_slot(uds_page_cache *cache, page_shard *shard, uint32_t number)
{
	page_slot *slot = &cache->slots[number];
	uint32_t *link = head_of(cache, shard, hash_of(slot->chapter, slot->page));

	while (*link != number)
		link = &cache->slots[*link].next;
	*link = slot->next;
	atomic_store_explicit(&slot->state, PAGE_EMPTY, memory_order_relaxed);
}

/* Find a slot to be filled: empty, bad or not used lately.  Caller holds the shard's mutex. */
static uint32_t
find_victim(uds_page_cache *cache, page_shard *shard)
{
	for (uint32_t tries = 0; tries < 2 * shard->slot_count; tries++)
	{
		uint32_t number = shard->first_slot + shard->hand;
		page_slot *slot = &cache->slots[number];
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

		shard->hand = shard->hand + 1 == shard->slot_count ? 0 : shard->hand + 1;
		if (state == PAGE_QUEUED || state == PAGE_READING || atomic_load(&slot->pins) != 0)
			continue;
		if (state == PAGE_VALID &&
		    atomic_exchange_explicit(&slot->is_referenced, 0, memory_order_relaxed) != 0)
			continue;
		if (state != PAGE_EMPTY)
			unlink_slot(cache, shard, number);
		return number;
	}
	return UDS_PAGE_SLOT_NONE;
}

/*
 * Take a free slot for a page: UDS_OK, and the slot is in READING; or UDS_OVERFLOW.  Caller holds
 * the shard's mutex.
 */
static uds_status
claim_slot(uds_page_cache *cache, page_shard *shard, uint64_t chapter, uint32_t page, uint32_t zone,
           uint32_t *found)
{
	uint32_t number = find_victim(cache, shard);
	page_slot *slot;
	uint32_t *head;

	if (number == UDS_PAGE_SLOT_NONE)
	{
		/* Whoever gives back a slot from now on sees the bit; one given back before is found. */
		atomic_fetch_or(&cache->starved, 1u << zone);
		number = find_victim(cache, shard);
		if (number == UDS_PAGE_SLOT_NONE)
			return UDS_OVERFLOW;
	}
	slot = &cache->slots[number];
	head = head_of(cache, shard, hash_of(chapter, page));
	slot->chapter = chapter;
	slot->page = page;
	slot->next = *head;
	*head = number;
	atomic_store_explicit(&slot->waiters, 1u << zone, memory_order_relaxed);
	atomic_store_explicit(&slot->pins, 1, memory_order_relaxed);
	atomic_store_explicit(&slot->is_referenced, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->state, PAGE_READING, memory_order_relaxed);
	*found = number;
	return UDS_OK;
}

/* Join a slot that has the page already.  Caller holds the shard's mutex. */
static uds_status
join_slot(uds_page_cache *cache, page_shard *shard, uint32_t number, uint32_t zone,
          uds_page *result)
{
	page_slot *slot = &cache->slots[number];
	uint32_t state;

	/* Seen by the one that serves, or seeing its result: both are sequentially consistent. */
	atomic_fetch_or(&slot->waiters, 1u << zone);
	state = atomic_load(&slot->state);
	if (state == PAGE_BAD)
	{
		if (atomic_load_explicit(&slot->pins, memory_order_acquire) == 0)
			unlink_slot(cache, shard, number);
		return UDS_NOT_FOUND;
	}
	atomic_fetch_add_explicit(&slot->pins, 1, memory_order_relaxed);
	result->slot = number;
	if (state != PAGE_VALID)
		return UDS_PENDING;
	atomic_store_explicit(&slot->is_referenced, 1, memory_order_relaxed);
	result->data = data_of(cache, number);
	result->was_there = true;
	return UDS_OK;
}

/* ---- reads ------------------------------------------------------------------------------------ */

/* The read of a slot in READING has ended: tell who waits for it, except own_zones. */
static void
end_read(uds_page_cache *cache, uds_port *port, uint32_t number, uds_status status,
         uint32_t own_zones)
{
	page_slot *slot = &cache->slots[number];

	atomic_fetch_add_explicit(&cache->reads, 1, memory_order_relaxed);
	atomic_store(&slot->state, status == UDS_OK ? PAGE_VALID : PAGE_BAD);
	wake_zones(port, atomic_exchange(&slot->waiters, 0) & ~own_zones);
}

/* Read a page into the claimed slot if the system has it in memory, else queue the read. */
static uds_status
read_or_queue(uds_page_cache *cache, uds_volume *volume, uint32_t zone, uds_page *result)
{
	page_slot *slot = &cache->slots[result->slot];
	uint8_t *data = data_of(cache, result->slot);
	uds_status status = UDS_PENDING;

	if (volume != NULL)
		status = uds_volume_read_cached_page(volume, slot->chapter, slot->page, data);
	if (status == UDS_PENDING)
	{
		push_read(cache, result->slot);
		if (volume != NULL)
			uds_page_cache_wake_reader(cache, volume->port);
		return UDS_PENDING;
	}
	end_read(cache, volume->port, result->slot, status, 1u << zone);
	if (status == UDS_OK)
	{
		result->data = data;
		return UDS_OK;
	}
	uds_page_cache_release(cache, volume->port, result->slot);
	result->slot = UDS_PAGE_SLOT_NONE;
	return UDS_NOT_FOUND;
}

uds_status
uds_page_cache_get(uds_page_cache *cache, uds_volume *volume, uint64_t chapter, uint32_t page,
                   uint32_t zone, uds_page *result)
{
	uint64_t hash = hash_of(chapter, page);
	page_shard *shard = &cache->shards[hash & (cache->shard_count - 1)];
	bool is_new;
	uds_status status;
	uint32_t number;

	*result = (uds_page){ .slot = UDS_PAGE_SLOT_NONE };
	uds_port_mutex_lock(&shard->mutex);
	number = *head_of(cache, shard, hash);
	while (number != UDS_PAGE_SLOT_NONE &&
	       (cache->slots[number].chapter != chapter || cache->slots[number].page != page))
		number = cache->slots[number].next;
	is_new = number == UDS_PAGE_SLOT_NONE;
	if (is_new)
		status = claim_slot(cache, shard, chapter, page, zone, &result->slot);
	else
		status = join_slot(cache, shard, number, zone, result);
	uds_port_mutex_unlock(&shard->mutex);
	if (is_new && status == UDS_OK)
		return read_or_queue(cache, volume, zone, result);
	return status;
}

uds_status
uds_page_cache_poll(uds_page_cache *cache, uint32_t number, const uint8_t **data)
{
	page_slot *slot = &cache->slots[number];
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

	if (state == PAGE_BAD)
		return UDS_NOT_FOUND;
	if (state != PAGE_VALID)
		return UDS_PENDING;
	*data = data_of(cache, number);
	return UDS_OK;
}

void
uds_page_cache_release(uds_page_cache *cache, uds_port *port, uint32_t number)
{
	atomic_fetch_sub(&cache->slots[number].pins, 1);
	if (atomic_load(&cache->starved) != 0)
		wake_zones(port, atomic_exchange(&cache->starved, 0));
}

uds_status
uds_page_cache_serve(uds_page_cache *cache, uds_volume *volume)
{
	uint32_t numbers[SERVES_MAX];
	uint32_t count = pop_reads(cache, numbers);

	if (count == 0)
		return UDS_NOT_FOUND;
	for (uint32_t i = 0; i < count && count > 1; i++)
		uds_volume_prefetch_page(volume,
		                         cache->slots[numbers[i]].chapter,
		                         cache->slots[numbers[i]].page);
	for (uint32_t i = 0; i < count; i++)
	{
		page_slot *slot = &cache->slots[numbers[i]];
		uds_status status =
			uds_volume_read_page(volume, slot->chapter, slot->page, data_of(cache, numbers[i]));

		end_read(cache, volume->port, numbers[i], status, 0);
		/* Who waited may have given up: then it is this that makes the slot free. */
		uds_page_cache_release(cache, volume->port, numbers[i]);
	}
	return UDS_OK;
}

uint64_t
uds_page_cache_reads(const uds_page_cache *cache)
{
	return atomic_load_explicit(&cache->reads, memory_order_relaxed);
}

uint32_t
uds_page_cache_queued(const uds_page_cache *cache)
{
	return atomic_load_explicit(&cache->queue_count, memory_order_relaxed);
}
