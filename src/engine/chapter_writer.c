/*
 * chapter_writer.c: see chapter_writer.h.
 */
#include "chapter_writer.h"

bool
uds_chapter_writer_is_closed(const uds_index *index, uint64_t chapter)
{
	for (uint32_t i = 0; i < index->config.zone_count; i++)
	{
		if (atomic_load_explicit(&index->zones[i].newest, memory_order_acquire) <= chapter)
			return false;
	}
	return true;
}

uint32_t
uds_chapter_writer_collect(uds_index *index, uint64_t chapter)
{
	uint32_t zone_count = index->config.zone_count;
	uint32_t longest = 0;
	uint32_t count = 0;
	const uds_open_chapter *shares[UDS_ZONES_MAX];
	uint32_t sizes[UDS_ZONES_MAX];

	for (uint32_t i = 0; i < zone_count; i++)
	{
		shares[i] = index->zones[i].shares[chapter % UDS_CHAPTER_BUFFERS];
		sizes[i] =
			uds_open_chapter_number(shares[i]) == chapter ? uds_open_chapter_count(shares[i]) : 0;
		longest = UDS_MAX(longest, sizes[i]);
	}
	for (uint32_t position = 0; position < longest; position++)
	{
		for (uint32_t i = 0; i < zone_count; i++)
		{
			if (position >= sizes[i])
				continue;
			index->writer_refs[count].record = uds_open_chapter_record(shares[i], position);
			index->writer_refs[count].is_tombstone =
				uds_open_chapter_is_tombstone(shares[i], position);
			count++;
		}
	}
	return count;
}

/* Encode index pages, record pages and seal into index->writer_image. */
static uds_status
encode_chapter(uds_index *index, uds_volume *volume, uint64_t chapter, uint32_t generation,
               uint32_t count, uds_seal *seal)
{
	const uds_geometry *geometry = &index->geometry;
	size_t page_bytes = geometry->parameters.page_bytes;
	uint32_t per_page = geometry->parameters.records_per_page;
	uint8_t *page = index->writer_image;
	uds_status status = uds_chapter_index_build(index->writer_scratch,
	                                            geometry,
	                                            index->writer_refs,
	                                            count,
	                                            seal->nonce,
	                                            chapter,
	                                            page,
	                                            index->writer_last_lists,
	                                            &seal->unindexed);

	if (status != UDS_OK)
		return status;
	for (uint32_t i = 0; i < geometry->index_pages + geometry->parameters.record_pages; i++)
	{
		uds_page_identity identity = uds_volume_page_identity(volume, chapter, generation, i);
		uint32_t crc;

		if (i < geometry->index_pages)
			uds_chapter_index_seal_page(page, geometry, &identity);
		else
		{
			uint32_t number = i - geometry->index_pages;
			uint32_t first = UDS_MIN(count, number * per_page);

			uds_record_page_encode(page,
			                       index->writer_refs + first,
			                       UDS_MIN(count - first, per_page),
			                       (uint16_t) number,
			                       &identity);
		}
		crc = uds_volume_page_crc(geometry, page, i);
		seal->pages_crc = uds_port_crc32c(seal->pages_crc, &crc, sizeof(crc));
		page += page_bytes;
	}
	for (uint32_t i = 0; i < count; i++)
		seal->tombstones += index->writer_refs[i].is_tombstone;
	uds_volume_encode_seal(volume, seal, page);
	return UDS_OK;
}

/* Make a durable chapter visible to readers. */
static void
publish_chapter(uds_index *index, uint32_t physical, const uds_seal *seal)
{
	uds_chapter_slot *slot = &index->slots[physical];

	for (uint32_t i = 0; i < index->geometry.index_pages; i++)
		uds_page_map_update(index->page_map, physical, i, index->writer_last_lists[i]);
	atomic_store_explicit(&slot->generation, seal->generation, memory_order_relaxed);
	atomic_store_explicit(&slot->records, seal->records, memory_order_relaxed);
	atomic_store_explicit(&slot->tombstones, seal->tombstones, memory_order_relaxed);
	atomic_store_explicit(&slot->damage, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->chapter, seal->chapter, memory_order_release);
}

uds_status
uds_chapter_writer_write(uds_index *index, uds_volume *volume, uint64_t chapter, uint32_t count,
                         uds_stamp stamp, uds_error *error)
{
	const uds_geometry *geometry = &index->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);
	uint64_t end = (uds_geometry_chapter_page(geometry, physical) + geometry->pages_per_chapter) *
	               geometry->parameters.page_bytes;
	uds_seal seal = {
		.magic = UDS_SEAL_MAGIC,
		.format_version = UDS_FORMAT_VERSION,
		.nonce = atomic_load_explicit(&index->nonce, memory_order_relaxed),
		.chapter = chapter,
		.generation = (uint32_t) atomic_load_explicit(&index->generation, memory_order_relaxed),
		.records = count,
		.stamp = stamp,
	};
	uds_status status;

	/* Readers of the expired chapter in this place take a failed check for what it is. */
	atomic_store(&index->slots[physical].chapter, UDS_NO_CHAPTER);
	status = encode_chapter(index, volume, chapter, seal.generation, count, &seal);
	if (status != UDS_OK)
		return uds_error_set(error,
		                     UDS_ERR_INTERNAL,
		                     0,
		                     "could not build the index of chapter %llu",
		                     (unsigned long long) chapter);
	status = uds_volume_write_chapter(volume, chapter, index->writer_image, error);
	if (status != UDS_OK)
		return status;
	publish_chapter(index, physical, &seal);
	atomic_fetch_add_explicit(&index->unindexed_records, seal.unindexed, memory_order_relaxed);
	atomic_fetch_add_explicit(&index->chapters_written_count, 1, memory_order_relaxed);
	if (atomic_load_explicit(&index->volume_bytes, memory_order_relaxed) < end)
		atomic_store_explicit(&index->volume_bytes, end, memory_order_relaxed);
	return UDS_OK;
}
