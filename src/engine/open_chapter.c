/*
 * open_chapter.c: the share of one zone in a chapter that is being filled or closed.
 *
 *   memory:  records (32 bytes x capacity) | tombstone bits (u64) | cells (u32)
 *
 * A cell is 0 when empty, else slot number + 1 in its low bits, as many as it takes to count the
 * cells, and bits of the name's hash above them, so that most records of other names need not be looked at.  Probing is linear:
 * the table is at most half full and the hash covers the whole name, so a search ends after two or
 * three cells on average, mostly of one cache line, whatever fields of the names are constant.
 * Cells are never emptied but by a reset.
 */
#include "open_chapter.h"

#define TOMBSTONES_PER_WORD 64

static inline size_t
records_bytes(uint32_t capacity)
{
	return UDS_ALIGN((size_t) capacity * sizeof(uds_record), UDS_CACHE_LINE);
}

static inline uint32_t
tombstone_words(uint32_t capacity)
{
	return (capacity + TOMBSTONES_PER_WORD - 1) / TOMBSTONES_PER_WORD;
}

static inline size_t
tombstones_bytes(uint32_t capacity)
{
	return UDS_ALIGN((size_t) tombstone_words(capacity) * sizeof(uint64_t), UDS_CACHE_LINE);
}

/* Smallest power of two that leaves at least half of the cells empty. */
static uint32_t
cells_for(uint32_t capacity)
{
	uint32_t cells = 2;

	while (cells < 2 * capacity)
		cells *= 2;
	return cells;
}

static inline uds_record *
records_of(const uds_open_chapter *share)
{
	return (uds_record *) share->memory;
}

static inline _Atomic uint64_t *
tombstones_of(const uds_open_chapter *share)
{
	return (_Atomic uint64_t *) (share->memory + records_bytes(share->capacity));
}

static inline uint32_t *
cells_of(const uds_open_chapter *share)
{
	return (uint32_t *) (share->memory + records_bytes(share->capacity) +
	                     tombstones_bytes(share->capacity));
}

/* Bits of a number of a cell; the number of a slot + 1 is smaller than that of the cells. */
static inline uint32_t
cell_mask(const uds_open_chapter *share)
{
	return share->cell_count - 1;
}

/* First cell to look at, from the low half of a hash. */
static inline uint32_t
home_cell(const uds_open_chapter *share, uint64_t hash)
{
	return (uint32_t) hash & cell_mask(share);
}

/* Bits of a hash that a cell keeps, from its high half. */
static inline uint32_t
cell_tag(const uds_open_chapter *share, uint64_t hash)
{
	return (uint32_t) (hash >> 32) & ~cell_mask(share);
}

size_t
uds_open_chapter_size(uint32_t capacity)
{
	size_t cells_bytes;

	if (capacity == 0 || capacity > UDS_OPEN_CHAPTER_CAPACITY_MAX)
		return 0;
	cells_bytes = (size_t) cells_for(capacity) * sizeof(uint32_t);
	return sizeof(uds_open_chapter) + records_bytes(capacity) + tombstones_bytes(capacity) +
	       UDS_ALIGN(cells_bytes, UDS_CACHE_LINE);
}

void
uds_open_chapter_init(uds_open_chapter *share, uint32_t capacity)
{
	UDS_ASSERT(capacity > 0 && capacity <= UDS_OPEN_CHAPTER_CAPACITY_MAX);
	share->capacity = capacity;
	share->cell_count = cells_for(capacity);
	uds_open_chapter_reset(share, UDS_NO_CHAPTER);
}

void
uds_open_chapter_reset(uds_open_chapter *share, uint64_t chapter)
{
	_Atomic uint64_t *words = tombstones_of(share);

	atomic_store_explicit(&share->count, 0, memory_order_release);
	atomic_store_explicit(&share->chapter, chapter, memory_order_relaxed);
	atomic_store_explicit(&share->tombstones, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < tombstone_words(share->capacity); i++)
		atomic_store_explicit(&words[i], 0, memory_order_relaxed);
	memset(cells_of(share), 0, (size_t) share->cell_count * sizeof(uint32_t));
}

void
uds_open_chapter_prefetch(const uds_open_chapter *share, const uds_name *name)
{
	__builtin_prefetch(&cells_of(share)[home_cell(share, uds_name_hash(name))]);
}

uds_status
uds_open_chapter_search(const uds_open_chapter *share, const uds_name *name, uint32_t *slot)
{
	const uds_record *records = records_of(share);
	const uint32_t *cells = cells_of(share);
	uint64_t hash = uds_name_hash(name);
	uint32_t tag = cell_tag(share, hash);
	uint32_t place = home_cell(share, hash);

	for (;; place = (place + 1) & cell_mask(share))
	{
		uint32_t cell = cells[place];
		uint32_t found = (cell & cell_mask(share)) - 1;

		if (cell == 0)
			return UDS_NOT_FOUND;
		if ((cell & ~cell_mask(share)) == tag && uds_name_equals(&records[found].name, name))
		{
			*slot = found;
			return UDS_OK;
		}
	}
}

/* Set the kind of a slot and count tombstones. */
static void
set_tombstone(uds_open_chapter *share, uint32_t slot, bool is_tombstone)
{
	_Atomic uint64_t *word = &tombstones_of(share)[slot / TOMBSTONES_PER_WORD];
	uint64_t bit = UINT64_C(1) << (slot % TOMBSTONES_PER_WORD);
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t count;

	if (((old & bit) != 0) == is_tombstone)
		return;
	/* There is one writer, so load and store need not be one operation. */
	atomic_store_explicit(word, old ^ bit, memory_order_relaxed);
	count = atomic_load_explicit(&share->tombstones, memory_order_relaxed);
	count = is_tombstone ? count + 1 : count - 1;
	atomic_store_explicit(&share->tombstones, count, memory_order_relaxed);
}

uds_status
uds_open_chapter_put(uds_open_chapter *share, const uds_name *name, const uds_metadata *metadata,
                     bool is_tombstone)
{
	uint32_t *cells = cells_of(share);
	uint64_t hash = uds_name_hash(name);
	uint32_t place = home_cell(share, hash);
	uint32_t slot = atomic_load_explicit(&share->count, memory_order_relaxed);
	uds_record *record = &records_of(share)[slot];

	if (slot == share->capacity)
		return UDS_OVERFLOW;
	while (cells[place] != 0)
		place = (place + 1) & cell_mask(share);
	cells[place] = cell_tag(share, hash) | (slot + 1);
	record->name = *name;
	record->metadata = *metadata;
	set_tombstone(share, slot, is_tombstone);
	atomic_store_explicit(&share->count, slot + 1, memory_order_release);
	return UDS_OK;
}

void
uds_open_chapter_set(uds_open_chapter *share, uint32_t slot, const uds_metadata *metadata,
                     bool is_tombstone)
{
	UDS_ASSERT(slot < uds_open_chapter_count(share));
	records_of(share)[slot].metadata = *metadata;
	set_tombstone(share, slot, is_tombstone);
}

const uds_record *
uds_open_chapter_record(const uds_open_chapter *share, uint32_t slot)
{
	UDS_ASSERT(slot < share->capacity);
	return &records_of(share)[slot];
}

bool
uds_open_chapter_is_tombstone(const uds_open_chapter *share, uint32_t slot)
{
	UDS_ASSERT(slot < share->capacity);
	return atomic_load_explicit(&tombstones_of(share)[slot / TOMBSTONES_PER_WORD],
	                            memory_order_relaxed) >>
	           (slot % TOMBSTONES_PER_WORD) &
	       1;
}

uint32_t
uds_open_chapter_count(const uds_open_chapter *share)
{
	return atomic_load_explicit(&share->count, memory_order_acquire);
}

uint32_t
uds_open_chapter_tombstones(const uds_open_chapter *share)
{
	return atomic_load_explicit(&share->tombstones, memory_order_relaxed);
}

uint64_t
uds_open_chapter_number(const uds_open_chapter *share)
{
	return atomic_load_explicit(&share->chapter, memory_order_relaxed);
}
