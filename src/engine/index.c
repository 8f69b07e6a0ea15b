/*
 * index.c: statistics of an index.
 */
#include "index.h"

#include "block.h"

/* Sum of a request counter over the zones, since the last reset. */
#define COUNTER_NUMBER(field) (offsetof(uds_zone_counters, field) / sizeof(_Atomic uint64_t))

static uint64_t
counter_of(uds_index *index, uint32_t zone, size_t number)
{
	const _Atomic uint64_t *counters = (const _Atomic uint64_t *) &index->zones[zone].counters;

	return atomic_load_explicit(&counters[number], memory_order_relaxed);
}

static uint64_t
sum_absolute(uds_index *index, size_t number)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < UDS_ZONES_MAX; i++)
		sum += counter_of(index, i, number);
	return sum;
}

static uint64_t
since_reset(uds_index *index, uint32_t zone, size_t number)
{
	uint64_t now = counter_of(index, zone, number);
	uint64_t base = atomic_load_explicit(&index->zone_baseline[zone][number], memory_order_relaxed);

	/* A rebuild begins the counters of the volume index anew. */
	return now >= base ? now - base : now;
}

static uint64_t
sum_since_reset(uds_index *index, size_t number)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < UDS_ZONES_MAX; i++)
		sum += since_reset(index, i, number);
	return sum;
}

#define ABSOLUTE(field)    sum_absolute(index, COUNTER_NUMBER(field))
#define SINCE_RESET(field) sum_since_reset(index, COUNTER_NUMBER(field))

static uint64_t
load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

/* Has the block been laid out?  What it holds then may be read. */
static bool
is_laid_out(const uds_index *index)
{
	return atomic_load_explicit(&index->epoch, memory_order_acquire) != 0;
}

static void
count_requests(uds_index *index, uds_statistics *statistics)
{
	statistics->requests = SINCE_RESET(requests);
	statistics->posts_found = SINCE_RESET(posts_found);
	statistics->posts_not_found = SINCE_RESET(posts_not_found);
	statistics->in_memory_posts_found = SINCE_RESET(in_memory_posts_found);
	statistics->dense_posts_found = SINCE_RESET(dense_posts_found);
	statistics->sparse_posts_found = SINCE_RESET(sparse_posts_found);
	statistics->updates_found = SINCE_RESET(updates_found);
	statistics->updates_not_found = SINCE_RESET(updates_not_found);
	statistics->queries_found = SINCE_RESET(queries_found);
	statistics->queries_not_found = SINCE_RESET(queries_not_found);
	statistics->deletions_found = SINCE_RESET(deletions_found);
	statistics->deletions_not_found = SINCE_RESET(deletions_not_found);
}

static void
describe_window(uds_index *index, const uds_geometry *geometry, uds_statistics *statistics)
{
	uint64_t newest = 0;
	uint64_t oldest;

	for (uint32_t i = 0; i < index->config.zone_count; i++)
		newest = UDS_MAX(newest, load(&index->zones[i].newest));
	oldest = uds_geometry_oldest(geometry, newest);
	statistics->newest_chapter = newest;
	statistics->oldest_chapter = oldest;
	statistics->window_size = geometry->records_per_volume;
	for (uint32_t i = 0; i < geometry->parameters.chapters; i++)
	{
		uint64_t chapter = load(&index->slots[i].chapter);

		if (chapter != UDS_NO_CHAPTER && chapter >= oldest)
			statistics->tombstones +=
				atomic_load_explicit(&index->slots[i].tombstones, memory_order_relaxed);
	}
	for (uint32_t i = 0; i < index->config.zone_count; i++)
	{
		for (uint32_t j = 0; j < UDS_CHAPTER_BUFFERS; j++)
		{
			const uds_open_chapter *share = index->zones[i].shares[j];
			uint64_t chapter = uds_open_chapter_number(share);

			/* Those that are written were counted on the volume. */
			if (chapter != UDS_NO_CHAPTER && chapter >= load(&index->chapters_written))
				statistics->tombstones += uds_open_chapter_tombstones(share);
		}
	}
}

static void
count_sparse_cache(uds_index *index, uds_statistics *statistics)
{
	uds_sparse_statistics counts;

	uds_sparse_cache_statistics(index->sparse_cache, &counts);
	statistics->sparse_chapters = counts.chapters;
	statistics->sparse_loads = counts.loads;
	statistics->sparse_failures = counts.failures;
	statistics->sparse_drops = counts.drops;
}

void
uds_index_statistics(uds_index *index, uds_statistics *statistics)
{
	uds_geometry geometry;

	memset(statistics, 0, sizeof(*statistics));
	statistics->state = uds_index_state(index);
	statistics->generation = load(&index->generation);
	statistics->phase = (uds_phase) atomic_load_explicit(&index->phase, memory_order_relaxed);
	statistics->progress_done = load(&index->progress_done);
	statistics->progress_total = load(&index->progress_total);
	if (!is_laid_out(index))
		return;
	count_requests(index, statistics);
	statistics->entries_indexed = ABSOLUTE(entries);
	statistics->collisions = ABSOLUTE(collisions);
	statistics->index_bytes_used = ABSOLUTE(bytes_used);
	statistics->entries_discarded = SINCE_RESET(discards);
	statistics->entries_expired = SINCE_RESET(expired);
	statistics->entries_lost = SINCE_RESET(lost);
	statistics->overflows = SINCE_RESET(overflows) + load(&index->unindexed_records);
	uds_block_geometry(index, &geometry);
	describe_window(index, &geometry, statistics);
	statistics->chapters_written = load(&index->chapters_written_count);
	statistics->index_memory = index->block_bytes - index->cache_bytes;
	statistics->cache_memory = index->cache_bytes;
	statistics->volume_bytes = load(&index->volume_bytes);
	statistics->volume_bytes -=
		UDS_MIN(statistics->volume_bytes, uds_geometry_unused_bytes(&geometry));
	statistics->cache_hits = SINCE_RESET(cache_hits);
	statistics->cache_misses = SINCE_RESET(cache_misses);
	statistics->page_reads = uds_page_cache_reads(index->page_cache) - load(&index->reads_baseline);
	statistics->bad_pages = load(&index->bad_pages) - load(&index->bad_pages_baseline);
	if (index->sparse_cache != NULL)
		count_sparse_cache(index, statistics);
	statistics->last_checkpoint =
		atomic_load_explicit(&index->last_checkpoint, memory_order_relaxed);
	statistics->opened_at = atomic_load_explicit(&index->opened_at, memory_order_relaxed);
	statistics->recovery_duration_ns = load(&index->recovery_duration_ns);
	statistics->recovery_chapters = load(&index->recovery_chapters);
	statistics->dropped_chapters = load(&index->dropped_chapters);
}

void
uds_index_reset_statistics(uds_index *index)
{
	if (!is_laid_out(index))
		return;
	for (uint32_t i = 0; i < UDS_ZONES_MAX; i++)
	{
		for (size_t j = 0; j < UDS_ZONE_COUNTER_COUNT; j++)
			atomic_store_explicit(&index->zone_baseline[i][j],
			                      counter_of(index, i, j),
			                      memory_order_relaxed);
		atomic_store_explicit(&index->zones[i].longest_pause_ns, 0, memory_order_relaxed);
	}
	atomic_store_explicit(&index->unindexed_records, 0, memory_order_relaxed);
	atomic_store_explicit(&index->bad_pages_baseline,
	                      load(&index->bad_pages),
	                      memory_order_relaxed);
	atomic_store_explicit(&index->reads_baseline,
	                      uds_page_cache_reads(index->page_cache),
	                      memory_order_relaxed);
}

void
uds_index_zone_statistics(uds_index *index, uint32_t zone_number, uds_zone_statistics *statistics)
{
	const uds_zone *zone = &index->zones[zone_number];
	const uds_open_chapter *share;

	memset(statistics, 0, sizeof(*statistics));
	if (!is_laid_out(index) || zone_number >= index->config.zone_count)
		return;
	statistics->newest_chapter = load(&zone->newest);
	share = zone->shares[statistics->newest_chapter % UDS_CHAPTER_BUFFERS];
	statistics->requests = since_reset(index, zone_number, COUNTER_NUMBER(requests));
	statistics->records = load(&zone->counters.entries);
	statistics->rebalances = since_reset(index, zone_number, COUNTER_NUMBER(rebalances));
	statistics->open_records = uds_open_chapter_count(share);
	statistics->open_capacity = zone->share_capacity;
	statistics->longest_pause_ns = load(&zone->longest_pause_ns);
	statistics->parked = atomic_load_explicit(&zone->parked, memory_order_relaxed);
	/* The zone clears its mark when it stores again; the writer may have made room before. */
	statistics->is_full =
		atomic_load_explicit(&zone->is_full, memory_order_relaxed) != 0 &&
		statistics->newest_chapter + 1 >= load(&index->chapters_written) + UDS_CHAPTER_BUFFERS;
}
