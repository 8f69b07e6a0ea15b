/*
 * block.c: layout of the shared block, its state, positions of the open chapter.
 */
#include "block.h"

#define CLEAR_BYTES (16u << 20) /* between two questions whether to stop */

/* Of so many pieces of work one begins with the loads of sparse chapters, so that reads of pages,
 * however many there are, do not keep them waiting for ever. */
#define PIECES_PER_LOAD 8

/*
 * Chapters of the product's sparse cache, and searches in vain after which all zones together skip
 * one.  Each stream that repeats old data needs a chapter, or two for a while.  A name that is new is
 * searched in all that are not skipped, so one that was of use to a short run only is to be skipped
 * soon; but later than a stream pauses while others have their turn.  See docs/sparse.md.
 */
#define SPARSE_CACHE_CHAPTERS 16
#define SPARSE_SKIP_THRESHOLD 2000

/* Offsets of the parts behind the head: the same before and after a conversion. */
typedef struct block_layout
{
	uds_geometry geometry; /* of before a conversion */
	size_t volume_index;
	size_t page_map;
	size_t slots;
	size_t shares;
	size_t share_bytes;
	size_t page_cache;
	size_t sparse_cache;
	size_t refs;
	size_t scratch;
	size_t image;
	size_t image_bytes;
	size_t last_lists;
	size_t total;
	size_t cache_bytes; /* of both */
	uint32_t cache_pages;
} block_layout;

static size_t
append(size_t *total, size_t bytes)
{
	size_t offset = *total;

	*total += UDS_ALIGN(bytes, UDS_CACHE_LINE);
	return offset;
}

uint32_t
uds_block_share_capacity(const uds_geometry *geometry, uint32_t zone_count)
{
	uint32_t records = geometry->records_per_chapter;
	uint32_t fair = records / zone_count;

	if (zone_count == 1)
		return records;
	/* Uniform names differ by a few standard deviations; an eighth more than the fair share is
	 * never the reason to close a chapter early. */
	return UDS_MIN(records, fair + fair / 8 + 8 * UDS_CLAIM_RUN);
}

static uds_status
plan(const uds_config *config, block_layout *layout)
{
	const uds_geometry *geometry = &layout->geometry;
	uds_geometry_parameters whole = uds_geometry_whole(&config->geometry);
	uint64_t cache_pages;
	uint32_t records;
	size_t volume_index;
	uds_status status;

	memset(layout, 0, sizeof(*layout));
	status = uds_geometry_init(&layout->geometry, &whole);
	if (status != UDS_OK)
		return status;
	records = geometry->records_per_chapter;
	cache_pages = config->page_cache_bytes / geometry->parameters.page_bytes;
	volume_index = uds_volume_index_size(geometry, config->structure, config->zone_count);
	if (volume_index == 0)
		return UDS_ERR_ARGUMENT;
	layout->cache_pages =
		(uint32_t) UDS_MIN(UDS_MAX(cache_pages, UDS_PAGE_CACHE_PAGES_MIN), UINT32_MAX / 2);
	layout->share_bytes =
		uds_open_chapter_size(uds_block_share_capacity(geometry, config->zone_count));
	layout->image_bytes =
		UDS_MAX((size_t) geometry->pages_per_chapter * geometry->parameters.page_bytes,
	            (size_t) UDS_IMAGE_BYTES_MIN);
	append(&layout->total, sizeof(uds_index));
	layout->volume_index = append(&layout->total, volume_index);
	layout->page_map = append(&layout->total, uds_page_map_size(geometry));
	layout->slots =
		append(&layout->total, geometry->parameters.chapters * sizeof(uds_chapter_slot));
	layout->shares =
		append(&layout->total, layout->share_bytes * UDS_CHAPTER_BUFFERS * config->zone_count);
	layout->refs = append(&layout->total, records * sizeof(uds_record_ref));
	layout->scratch = append(&layout->total, uds_chapter_index_size(geometry));
	layout->image = append(&layout->total, layout->image_bytes);
	layout->last_lists = append(&layout->total, geometry->index_pages * sizeof(uint16_t));
	layout->page_cache =
		append(&layout->total,
	           uds_page_cache_size(layout->cache_pages, geometry->parameters.page_bytes));
	layout->sparse_cache = layout->total;
	if (geometry->parameters.sparse_chapters > 0)
		layout->sparse_cache =
			append(&layout->total, uds_sparse_cache_size(geometry, config->sparse_cache_chapters));
	layout->cache_bytes = layout->total - layout->page_cache;
	return UDS_OK;
}

static uds_status
check_config(const uds_config *config, uds_geometry *geometry)
{
	uds_status status = uds_geometry_init(geometry, &config->geometry);

	if (status != UDS_OK)
		return status;
	if (config->zone_count == 0 || config->zone_count > UDS_ZONES_MAX ||
	    config->reader_count > UDS_READERS_MAX)
		return UDS_ERR_ARGUMENT;
	if (geometry->parameters.sparse_chapters > 0 &&
	    uds_sparse_cache_size(geometry, config->sparse_cache_chapters) == 0)
		return UDS_ERR_ARGUMENT;
	/* A chapter number and a count of records share a word of the claims. */
	if (geometry->records_per_chapter >= 1u << UDS_CLAIM_COUNT_BITS ||
	    uds_open_chapter_size(geometry->records_per_chapter) == 0)
		return UDS_ERR_ARGUMENT;
	/* Chapters in memory are dense. */
	if (geometry->parameters.sparse_chapters > 0 && geometry->dense_chapters <= UDS_CHAPTER_BUFFERS)
		return UDS_ERR_ARGUMENT;
	return UDS_OK;
}

size_t
uds_index_size(const uds_config *config)
{
	uds_geometry geometry;
	block_layout layout;

	if (check_config(config, &geometry) != UDS_OK || plan(config, &layout) != UDS_OK)
		return 0;
	return layout.total;
}

uds_status
uds_config_sizes(const uds_config *config, uds_sizes *sizes)
{
	uds_geometry geometry;
	block_layout layout;

	memset(sizes, 0, sizeof(*sizes));
	if (check_config(config, &geometry) != UDS_OK || plan(config, &layout) != UDS_OK)
		return UDS_ERR_ARGUMENT;
	sizes->window = geometry.records_per_volume;
	sizes->chapters = geometry.parameters.chapters;
	sizes->records_per_chapter = geometry.records_per_chapter;
	sizes->index_memory = layout.total - layout.cache_bytes;
	sizes->cache_memory = layout.cache_bytes;
	sizes->volume_bytes = geometry.bytes_per_volume;
	sizes->checkpoint_bytes = layout.slots - layout.volume_index +
	                          (size_t) geometry.records_per_chapter * (UDS_RECORD_BYTES + 8);
	return UDS_OK;
}

uds_status
uds_config_init(uds_config *config, uint32_t memory_mb, uds_index_structure structure,
                bool is_sparse, uint32_t zone_count, uint64_t page_cache_bytes, uds_error *error)
{
	uds_geometry geometry;

	memset(config, 0, sizeof(*config));
	config->memory_mb = memory_mb;
	config->structure = structure;
	config->zone_count = zone_count;
	config->page_cache_bytes = page_cache_bytes;
	config->sparse_cache_chapters = is_sparse ? SPARSE_CACHE_CHAPTERS : 0;
	if (uds_geometry_parameters_for_memory(&config->geometry, memory_mb, is_sparse) != UDS_OK)
		return uds_error_set(error,
		                     UDS_ERR_ARGUMENT,
		                     0,
		                     "memory of %u MB is not between %d and %d MB",
		                     memory_mb,
		                     UDS_MEMORY_MB_MIN,
		                     UDS_MEMORY_MB_MAX);
	if (check_config(config, &geometry) != UDS_OK)
		return uds_error_set(error,
		                     UDS_ERR_ARGUMENT,
		                     0,
		                     "%u zones with %u MB are not a valid configuration",
		                     zone_count,
		                     memory_mb);
	if (zone_count > geometry.records_per_chapter / UDS_RECORDS_PER_ZONE_MIN)
	{
		(void) uds_error_set(error,
		                     UDS_ERR_ARGUMENT,
		                     0,
		                     "%u zones are too many for %u MB",
		                     zone_count,
		                     memory_mb);
		uds_error_hint(error,
		               "At most %u zones are possible with this memory.",
		               geometry.records_per_chapter / UDS_RECORDS_PER_ZONE_MIN);
		return UDS_ERR_ARGUMENT;
	}
	return UDS_OK;
}

static void
lay_out_zone(uds_index *index, uint32_t number)
{
	uds_zone *zone = &index->zones[number];

	zone->granted = 0;
	uds_port_mutex_init(&zone->hook_mutex);
	for (uint32_t i = 0; i < UDS_CHAPTER_BUFFERS; i++)
		uds_open_chapter_init(zone->shares[i], zone->share_capacity);
	atomic_store_explicit(&zone->is_full, 0, memory_order_relaxed);
	atomic_store_explicit(&zone->newest, 0, memory_order_relaxed);
}

/* What stays for the life of the block, however often it is laid out: others read it meanwhile. */
static void
set_constants(uds_index *index, const uds_config *config, const block_layout *layout)
{
	const uds_geometry *geometry = &layout->geometry;
	uint8_t *base = (uint8_t *) index;

	index->config = *config;
	index->config.geometry = geometry->parameters;
	index->block_bytes = layout->total;
	index->cache_bytes = layout->cache_bytes;
	index->cache_pages = layout->cache_pages;
	index->page_map = (uds_page_map *) (base + layout->page_map);
	index->slots = (uds_chapter_slot *) (base + layout->slots);
	index->page_cache = (uds_page_cache *) (base + layout->page_cache);
	if (geometry->parameters.sparse_chapters > 0)
		index->sparse_cache = (uds_sparse_cache *) (base + layout->sparse_cache);
	index->writer_refs = (uds_record_ref *) (base + layout->refs);
	index->writer_scratch = base + layout->scratch;
	index->writer_image = base + layout->image;
	index->image_bytes = layout->image_bytes;
	index->writer_last_lists = (uint16_t *) (base + layout->last_lists);
	for (uint32_t i = 0; i < config->zone_count; i++)
	{
		uds_zone *zone = &index->zones[i];
		uint8_t *shares = base + layout->shares + i * UDS_CHAPTER_BUFFERS * layout->share_bytes;

		zone->share_capacity = uds_block_share_capacity(geometry, config->zone_count);
		for (uint32_t j = 0; j < UDS_CHAPTER_BUFFERS; j++)
			zone->shares[j] = (uds_open_chapter *) (shares + j * layout->share_bytes);
	}
}

/* What a conversion changes, and a reset. */
static void
set_geometry(uds_index *index, const uds_geometry *geometry)
{
	const uds_geometry_parameters *p = &geometry->parameters;

	index->geometry = *geometry;
	atomic_store_explicit(&index->remapped_place,
	                      p->is_reduced ? p->remapped_physical + 1 : 0,
	                      memory_order_relaxed);
	atomic_store_explicit(&index->remapped_chapter, p->remapped_virtual, memory_order_relaxed);
}

void
uds_block_geometry(const uds_index *index, uds_geometry *geometry)
{
	uds_geometry_parameters parameters = index->config.geometry;
	uint64_t place = atomic_load_explicit(&index->remapped_place, memory_order_relaxed);

	if (place != 0)
	{
		parameters.chapters--;
		parameters.is_reduced = true;
		parameters.remapped_physical = place - 1;
		parameters.remapped_virtual =
			atomic_load_explicit(&index->remapped_chapter, memory_order_relaxed);
	}
	/* Even halves of two conversions, with a reset in between, are valid with each other. */
	if (uds_geometry_init(geometry, &parameters) != UDS_OK)
		memset(geometry, 0, sizeof(*geometry));
}

void
uds_index_configuration(const uds_index *index, uds_config *config)
{
	uds_geometry geometry;

	if (atomic_load_explicit(&index->epoch, memory_order_acquire) == 0)
		return;
	uds_block_geometry(index, &geometry);
	config->geometry = geometry.parameters;
}

/*
 * Zones are ranges of positions, and positions grow with the volume index field of a name.
 * sampling_byte: last byte of names of the sub-index.
 */
static void
set_zone_limits(const uds_index *index, uint8_t sampling_byte, uint64_t limits[UDS_ZONES_MAX])
{
	for (uint32_t zone = 1; zone < index->config.zone_count; zone++)
	{
		uint64_t low = limits[zone - 1];
		uint64_t high = UINT64_MAX;

		while (low < high)
		{
			uint64_t middle = low + (high - low) / 2;
			uds_name name = { { 0 } };
			uint64_t raw = __builtin_bswap64(middle);

			memcpy(name.bytes, &raw, sizeof(raw));
			name.bytes[UDS_NAME_BYTES - 1] = sampling_byte;
			if (uds_volume_index_zone(&index->volume_index, &name) >= zone)
				high = middle;
			else
				low = middle + 1;
		}
		limits[zone] = low;
	}
}

/* Clear memory, asking in between whether to stop: there may be gigabytes of it. */
static uds_status
clear_memory(uds_port *port, uint8_t *memory, size_t bytes)
{
	for (size_t done = 0; done < bytes; done += CLEAR_BYTES)
	{
		if (uds_port_should_stop(port))
			return UDS_STOPPED;
		memset(memory + done, 0, UDS_MIN(bytes - done, (size_t) CLEAR_BYTES));
	}
	return UDS_OK;
}

uds_status
uds_block_lay_out(uds_index *index, uds_port *port, const uds_config *config, bool is_zeroed)
{
	uint8_t *base = (uint8_t *) index;
	block_layout layout;
	uds_geometry geometry;
	uds_status status = check_config(config, &geometry);

	if (status == UDS_OK)
		status = plan(config, &layout);
	if (status != UDS_OK)
		return status;
	if (atomic_load_explicit(&index->epoch, memory_order_relaxed) == 0)
		set_constants(index, config, &layout);
	set_geometry(index, &geometry);
	if (!is_zeroed)
		status =
			clear_memory(port, base + layout.volume_index, layout.page_map - layout.volume_index);
	if (status != UDS_OK)
		return status;
	status = uds_volume_index_init(&index->volume_index,
	                               base + layout.volume_index,
	                               &geometry,
	                               config->structure,
	                               config->zone_count,
	                               true);
	if (status != UDS_OK)
		return status;
	if (atomic_load_explicit(&index->epoch, memory_order_relaxed) == 0)
	{
		/* A sampling field of 1 is no hook's, of 0 one's where there are any. */
		set_zone_limits(index, 1, index->zone_limits[0]);
		set_zone_limits(index, 0, index->zone_limits[UDS_SUB_INDEX_HOOKS]);
	}
	uds_page_map_init(index->page_map, &layout.geometry);
	for (uint32_t i = 0; i < layout.geometry.parameters.chapters; i++)
	{
		uds_chapter_slot *slot = &index->slots[i];

		/* Statistics may be read meanwhile. */
		atomic_store_explicit(&slot->chapter, UDS_NO_CHAPTER, memory_order_relaxed);
		atomic_store_explicit(&slot->generation, 0, memory_order_relaxed);
		atomic_store_explicit(&slot->records, 0, memory_order_relaxed);
		atomic_store_explicit(&slot->tombstones, 0, memory_order_relaxed);
		atomic_store_explicit(&slot->damage, 0, memory_order_relaxed);
	}
	for (uint32_t i = 0; i < config->zone_count; i++)
		lay_out_zone(index, i);
	uds_page_cache_init(index->page_cache,
	                    layout.cache_pages,
	                    config->geometry.page_bytes,
	                    config->reader_count);
	if (index->sparse_cache != NULL)
		uds_sparse_cache_init(index->sparse_cache,
		                      &index->geometry,
		                      config->sparse_cache_chapters,
		                      config->zone_count,
		                      SPARSE_SKIP_THRESHOLD / config->zone_count);
	atomic_store_explicit(&index->bad_pages, 0, memory_order_relaxed);
	atomic_store_explicit(&index->bad_pages_baseline, 0, memory_order_relaxed);
	atomic_store_explicit(&index->reads_baseline, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&index->epoch, 1, memory_order_release);
	return UDS_OK;
}

uds_status
uds_block_begin_chapter(uds_index *index, uint64_t newest)
{
	uint64_t oldest = uds_geometry_oldest(&index->geometry, newest);

	atomic_store_explicit(&index->chapters_written, newest, memory_order_relaxed);
	atomic_store_explicit(&index->close_wanted, newest, memory_order_relaxed);
	for (uint32_t i = 0; i < UDS_CHAPTER_BUFFERS; i++)
		atomic_store_explicit(&index->claims[i], 0, memory_order_relaxed);
	for (uint32_t i = 0; i < index->config.zone_count; i++)
	{
		uds_zone *zone = &index->zones[i];
		uds_status status = uds_volume_index_set_window(&index->volume_index, i, oldest, newest);

		if (status != UDS_OK)
			return status;
		for (uint32_t j = 0; j < UDS_CHAPTER_BUFFERS; j++)
			uds_open_chapter_reset(zone->shares[j], UDS_NO_CHAPTER);
		uds_open_chapter_reset(zone->shares[newest % UDS_CHAPTER_BUFFERS], newest);
		zone->granted = 0;
		atomic_store_explicit(&zone->newest, newest, memory_order_release);
	}
	return UDS_OK;
}

void
uds_block_set_state(uds_index *index, uds_state state, const char *reason)
{
	uint64_t words[UDS_REASON_WORDS] = { 0 };
	uint32_t sequence;
	uint32_t tries = 0;

	if (reason != NULL)
	{
		size_t bytes = UDS_MIN(strlen(reason), sizeof(words) - 1);

		memcpy(words, reason, bytes);
	}
	/* The lock of somebody who died with it is taken over after some tries. */
	do
	{
		sequence = atomic_load_explicit(&index->reason_sequence, memory_order_relaxed);
		if (++tries < 1000000)
			sequence &= ~1u;
	} while (!atomic_compare_exchange_weak_explicit(&index->reason_sequence,
	                                                &sequence,
	                                                sequence | 1,
	                                                memory_order_acquire,
	                                                memory_order_relaxed));
	sequence &= ~1u;
	atomic_thread_fence(memory_order_release);
	for (uint32_t i = 0; i < UDS_REASON_WORDS; i++)
		atomic_store_explicit(&index->reason[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&index->state, state, memory_order_release);
	atomic_store_explicit(&index->reason_sequence, sequence + 2, memory_order_release);
}

uds_state
uds_index_state(const uds_index *index)
{
	return (uds_state) atomic_load_explicit(&index->state, memory_order_acquire);
}

void
uds_index_reason(uds_index *index, char *reason, size_t bytes)
{
	uint64_t words[UDS_REASON_WORDS];

	/* A writer that died while writing leaves the sequence odd: after some tries, take what is
	 * there; the last word always ends the text. */
	for (uint32_t tries = 0; tries < 1000; tries++)
	{
		uint32_t before = atomic_load_explicit(&index->reason_sequence, memory_order_acquire);

		for (uint32_t i = 0; i < UDS_REASON_WORDS; i++)
			words[i] = atomic_load_explicit(&index->reason[i], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if ((before & 1) == 0 &&
		    atomic_load_explicit(&index->reason_sequence, memory_order_relaxed) == before)
			break;
	}
	if (bytes == 0)
		return;
	bytes = UDS_MIN(bytes, sizeof(words)) - 1;
	memcpy(reason, words, bytes);
	reason[bytes] = '\0';
}

void
uds_block_set_phase(uds_index *index, uds_phase phase, uint64_t total)
{
	atomic_store_explicit(&index->progress_done, 0, memory_order_relaxed);
	atomic_store_explicit(&index->progress_total, total, memory_order_relaxed);
	atomic_store_explicit(&index->phase, phase, memory_order_relaxed);
}

void
uds_block_publish_counters(uds_index *index, uint32_t number)
{
	uds_zone *zone = &index->zones[number];
	uds_zone_counters *counters = &zone->counters;
	uds_index_counters own;

	/* Lookups by the triage worker may change those of lists. */
	if (index->sparse_cache != NULL)
		uds_port_mutex_lock(&zone->hook_mutex);
	uds_volume_index_counters(&index->volume_index, number, &own);
	if (index->sparse_cache != NULL)
		uds_port_mutex_unlock(&zone->hook_mutex);
	atomic_store_explicit(&counters->entries, own.records, memory_order_relaxed);
	atomic_store_explicit(&counters->collisions, own.collisions, memory_order_relaxed);
	atomic_store_explicit(&counters->discards, own.discards, memory_order_relaxed);
	atomic_store_explicit(&counters->expired, own.expired, memory_order_relaxed);
	atomic_store_explicit(&counters->lost, own.lost, memory_order_relaxed);
	atomic_store_explicit(&counters->overflows, own.overflows, memory_order_relaxed);
	atomic_store_explicit(&counters->rebalances, own.rebalances, memory_order_relaxed);
	atomic_store_explicit(&counters->bytes_used, own.bytes_used, memory_order_relaxed);
}

void
uds_block_fail(uds_index *index, uds_port *port, const char *reason)
{
	atomic_store_explicit(&index->is_suspect, 1, memory_order_relaxed);
	uds_block_report_death(index, port, reason);
}

void
uds_block_report_death(uds_index *index, uds_port *port, const char *reason)
{
	uds_block_set_state(index, UDS_STATE_FAILED, reason);
	uds_port_log(port, UDS_LOG_WARNING, "uds failed and is going to be rebuilt: %s", reason);
	uds_port_wake(port, UDS_WORKER_WRITER);
}

uint64_t
uds_block_open_volume(uds_index *index, uds_port *port, uds_volume *volume, const char *worker,
                      uint32_t number)
{
	uint64_t moves = atomic_load_explicit(&index->moves, memory_order_acquire);
	uds_error error = { 0 };
	uds_status status;

	if (volume->port != NULL)
		uds_volume_close(volume);
	*volume = (uds_volume){
		.port = port,
		.geometry = &index->geometry,
		.slots = index->slots,
		.nonce = &index->nonce,
		.bad_pages = &index->bad_pages,
	};
	status = uds_volume_open(volume, UDS_FILE_READ, &error);
	if (status != UDS_OK)
		uds_port_log(port,
		             UDS_LOG_WARNING,
		             "%s %u cannot open the volume, until it can records in it are not found: %s",
		             worker,
		             number,
		             status == UDS_NOT_FOUND ? "there is no such file" : error.message);
	return moves;
}

static uds_status
load_chapter(uds_index *index, uds_volume *volume)
{
	uint64_t newest = atomic_load_explicit(&index->close_wanted, memory_order_acquire);

	return uds_sparse_cache_load(index->sparse_cache,
	                             volume,
	                             uds_geometry_oldest(&index->geometry, newest));
}

uds_status
uds_block_serve(uds_index *index, uds_volume *volume)
{
	uds_status status = UDS_NOT_FOUND;

	if (index->sparse_cache == NULL)
		return uds_page_cache_serve(index->page_cache, volume);
	if (atomic_fetch_add_explicit(&index->pieces, 1, memory_order_relaxed) % PIECES_PER_LOAD == 0)
		status = load_chapter(index, volume);
	if (status == UDS_NOT_FOUND)
		status = uds_page_cache_serve(index->page_cache, volume);
	if (status == UDS_NOT_FOUND)
		status = load_chapter(index, volume);
	return status;
}

void
uds_block_leave(uds_index *index, uds_port *port, uint32_t number)
{
	atomic_store(&index->guests[number].is_inside, 0);
	if (atomic_load(&index->zones_wanted) != 0)
		uds_port_wake(port, UDS_WORKER_WRITER);
}

bool
uds_block_enter(uds_index *index, uds_port *port, uint32_t number)
{
	uds_guest *guest = &index->guests[number];

	atomic_store(&guest->is_inside, 1);
	/* The writer asks first and looks then; one of both sees the other. */
	if (atomic_load(&index->zones_wanted) == 0 && uds_state_executes(uds_index_state(index)))
		return true;
	uds_block_leave(index, port, number);
	return false;
}

uint32_t
uds_block_claim(uds_index *index, uint64_t chapter)
{
	_Atomic uint64_t *word = &index->claims[chapter % UDS_CHAPTER_BUFFERS];
	uint32_t records = index->geometry.records_per_chapter;
	uint32_t run = index->config.zone_count == 1 ? records : UDS_CLAIM_RUN;
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t used;
	uint32_t granted;

	do
	{
		used = old >> UDS_CLAIM_COUNT_BITS == chapter
		           ? (uint32_t) (old & ((1u << UDS_CLAIM_COUNT_BITS) - 1))
		           : 0;
		granted = UDS_MIN(run, records - used);
		if (granted == 0)
			return 0;
	} while (
		!atomic_compare_exchange_weak_explicit(word,
	                                           &old,
	                                           chapter << UDS_CLAIM_COUNT_BITS | (used + granted),
	                                           memory_order_relaxed,
	                                           memory_order_relaxed));
	return granted;
}

uint32_t
uds_index_zone_of(const uds_index *index, const uds_name *name)
{
	bool is_hook =
		uds_geometry_is_hook(index->config.geometry.sample_rate, uds_name_sampling_field(name));
	const uint64_t *limits = index->zone_limits[is_hook];
	uint64_t field = uds_name_volume_field(name);
	uint32_t zone = 0;

	while (zone + 1 < index->config.zone_count && field >= limits[zone + 1])
		zone++;
	return zone;
}

bool
uds_index_needs_triage(const uds_index *index, const uds_name *name)
{
	return index->config.zone_count > 1 &&
	       uds_geometry_is_hook(index->config.geometry.sample_rate, uds_name_sampling_field(name));
}

uds_status
uds_index_name_key(const uds_index *index, uint8_t key[16])
{
	if (atomic_load_explicit(&index->has_name_key, memory_order_acquire) == 0)
		return UDS_ERR_STATE;
	memcpy(key, index->name_key, UDS_NAME_KEY_BYTES);
	return UDS_OK;
}
