/*
 * saver.c: see saver.h.
 */
#include "saver.h"

static uds_status
save_open_chapter(const uds_open_chapter *share, uds_stream *stream)
{
	uint64_t count = uds_open_chapter_count(share);
	uds_status status = uds_stream_write(stream, &count, sizeof(count));

	for (uint32_t i = 0; i < count && status == UDS_OK; i++)
	{
		uds_save_record saved = {
			.record = *uds_open_chapter_record(share, i),
			.is_tombstone = uds_open_chapter_is_tombstone(share, i),
		};

		status = uds_stream_write(stream, &saved, sizeof(saved));
	}
	return status;
}

static uds_status
save_sections(uds_index *index, uds_checkpoint *checkpoint)
{
	uint32_t zone_count = index->config.zone_count;
	uint64_t newest = atomic_load_explicit(&index->zones[0].newest, memory_order_relaxed);
	uds_save_header header = {
		.newest_chapter = newest,
		.zone_count = zone_count,
		.structure = index->config.structure,
		.generation = atomic_load_explicit(&index->generation, memory_order_relaxed),
	};
	uds_stream *stream = &checkpoint->stream;
	uds_status status = uds_checkpoint_begin(checkpoint, UDS_SECTION_HEADER, 0);

	if (status == UDS_OK)
		status = uds_stream_write(stream, &header, sizeof(header));
	for (uint32_t i = 0; i < zone_count && status == UDS_OK; i++)
	{
		status = uds_checkpoint_begin(checkpoint, UDS_SECTION_VOLUME_INDEX, (uint16_t) i);
		if (status == UDS_OK)
			status = uds_volume_index_save(&index->volume_index, i, newest, stream);
	}
	if (status == UDS_OK)
		status = uds_checkpoint_begin(checkpoint, UDS_SECTION_PAGE_MAP, 0);
	if (status == UDS_OK)
		status = uds_page_map_save(index->page_map, stream);
	for (uint32_t i = 0; i < zone_count && status == UDS_OK; i++)
	{
		status = uds_checkpoint_begin(checkpoint, UDS_SECTION_OPEN_CHAPTER, (uint16_t) i);
		if (status == UDS_OK)
			status =
				save_open_chapter(index->zones[i].shares[newest % UDS_CHAPTER_BUFFERS], stream);
	}
	return status;
}

/* About the size of a save file. */
static uint64_t
expected_bytes(const uds_index *index)
{
	uds_sizes sizes;

	return uds_config_sizes(&index->config, &sizes) == UDS_OK ? sizes.checkpoint_bytes : 0;
}

uds_status
uds_saver_save(uds_index *index, uds_port *port, uint32_t save, uint64_t save_number,
               uds_error *error)
{
	uds_checkpoint checkpoint;
	uds_status status =
		uds_checkpoint_create(&checkpoint,
	                          port,
	                          save,
	                          atomic_load_explicit(&index->nonce, memory_order_relaxed),
	                          save_number,
	                          index->writer_image,
	                          index->image_bytes,
	                          error);

	if (status != UDS_OK)
		return status;
	uds_block_set_phase(index, UDS_PHASE_SAVING, expected_bytes(index));
	checkpoint.done = &index->progress_done;
	status = save_sections(index, &checkpoint);
	if (status == UDS_OK)
		status = uds_checkpoint_finish(&checkpoint);
	else
		uds_checkpoint_abandon(&checkpoint);
	uds_block_set_phase(index, UDS_PHASE_NONE, 0);
	return status;
}

/* Share that takes the surplus of a zone: the one of the next chapter, empty until then. */
static uds_open_chapter *
surplus_share(const uds_zone *zone, uint64_t newest)
{
	return zone->shares[(newest + 1) % UDS_CHAPTER_BUFFERS];
}

/* Put one saved record where it belongs. */
static uds_status
load_record(uds_index *index, uint64_t newest, const uds_save_record *saved, bool *has_surplus,
            uint64_t *lost)
{
	const uds_name *name = &saved->record.name;
	uds_zone *zone = &index->zones[uds_volume_index_zone(&index->volume_index, name)];
	uds_open_chapter *share = zone->shares[newest % UDS_CHAPTER_BUFFERS];
	uint32_t slot;

	if (saved->is_tombstone > 1 || uds_saver_is_loaded(index, newest, name))
		return UDS_ERR_CORRUPT;
	if (uds_open_chapter_put(share, name, &saved->record.metadata, saved->is_tombstone != 0) ==
	    UDS_OK)
		return UDS_OK;
	*has_surplus = true;
	share = surplus_share(zone, newest);
	if (uds_open_chapter_search(share, name, &slot) == UDS_NOT_FOUND &&
	    uds_open_chapter_put(share, name, &saved->record.metadata, saved->is_tombstone != 0) !=
	        UDS_OK)
		(*lost)++;
	return UDS_OK;
}

static uds_status
load_open_chapter(uds_index *index, uint64_t newest, uds_stream *stream, uint64_t *total,
                  bool *has_surplus, uint64_t *lost)
{
	uint64_t count;
	uds_status status = uds_stream_read(stream, &count, sizeof(count));

	if (status != UDS_OK)
		return status;
	*total += count;
	if (count > index->geometry.records_per_chapter || *total > index->geometry.records_per_chapter)
		return UDS_ERR_CORRUPT;
	for (uint64_t i = 0; i < count; i++)
	{
		uds_save_record saved;

		status = uds_stream_read(stream, &saved, sizeof(saved));
		if (status == UDS_OK)
			status = load_record(index, newest, &saved, has_surplus, lost);
		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

/* Give the loaded records their positions in the open chapter. */
static void
claim_loaded(uds_index *index, uint64_t newest, uint64_t total)
{
	atomic_store_explicit(&index->claims[newest % UDS_CHAPTER_BUFFERS],
	                      newest << UDS_CLAIM_COUNT_BITS | total,
	                      memory_order_relaxed);
}

/* Is it the header of a save that an index may have made? */
static bool
is_plausible(const uds_save_header *header)
{
	return header->zone_count > 0 && header->zone_count <= UDS_ZONES_MAX &&
	       header->newest_chapter < UINT64_C(1) << 40;
}

static uds_status
load_sections(uds_index *index, uds_checkpoint *checkpoint, uint64_t *newest, bool *has_surplus,
              uint64_t *lost)
{
	uds_stream *stream = &checkpoint->stream;
	uint64_t total = 0;
	uds_save_header header;
	uds_status status = uds_checkpoint_begin(checkpoint, UDS_SECTION_HEADER, 0);

	if (status == UDS_OK)
		status = uds_stream_read(stream, &header, sizeof(header));
	if (status != UDS_OK)
		return status;
	if (!is_plausible(&header) || header.structure != (uint32_t) index->config.structure)
		return UDS_ERR_CORRUPT;
	for (uint32_t i = 0; i < header.zone_count && status == UDS_OK; i++)
	{
		status = uds_checkpoint_begin(checkpoint, UDS_SECTION_VOLUME_INDEX, (uint16_t) i);
		if (status == UDS_OK)
			status = uds_volume_index_load(&index->volume_index, stream);
	}
	if (status == UDS_OK)
		status = uds_checkpoint_begin(checkpoint, UDS_SECTION_PAGE_MAP, 0);
	if (status == UDS_OK)
		status = uds_page_map_load(index->page_map, stream);
	if (status == UDS_OK)
		status = uds_block_begin_chapter(index, header.newest_chapter);
	for (uint32_t i = 0; i < header.zone_count && status == UDS_OK; i++)
	{
		status = uds_checkpoint_begin(checkpoint, UDS_SECTION_OPEN_CHAPTER, (uint16_t) i);
		if (status == UDS_OK)
			status =
				load_open_chapter(index, header.newest_chapter, stream, &total, has_surplus, lost);
	}
	claim_loaded(index, header.newest_chapter, total);
	*newest = header.newest_chapter;
	return status;
}

uds_status
uds_saver_load(uds_index *index, uds_port *port, uint32_t save, uint64_t save_number,
               uint64_t *newest, bool *has_surplus, uds_error *error)
{
	uds_checkpoint checkpoint;
	uint64_t lost = 0;
	uds_status status =
		uds_checkpoint_open(&checkpoint,
	                        port,
	                        save,
	                        atomic_load_explicit(&index->nonce, memory_order_relaxed),
	                        save_number,
	                        index->writer_image,
	                        index->image_bytes,
	                        error);

	*has_surplus = false;
	if (status != UDS_OK)
		return status;
	error->message[0] = '\0';
	uds_block_set_phase(index, UDS_PHASE_LOADING, expected_bytes(index));
	checkpoint.done = &index->progress_done;
	status = load_sections(index, &checkpoint, newest, has_surplus, &lost);
	if (status == UDS_OK)
		status = uds_checkpoint_finish(&checkpoint);
	else
		uds_checkpoint_abandon(&checkpoint);
	if (status == UDS_ERR_ARGUMENT)
		status = UDS_ERR_CORRUPT;
	if (status == UDS_ERR_CORRUPT && error->message[0] == '\0')
		(void) uds_error_set(error, UDS_ERR_CORRUPT, 0, "contents of the save make no sense");
	if (status == UDS_OK && lost > 0)
		uds_port_log(port,
		             UDS_LOG_WARNING,
		             "%llu records of the open chapter found no place and are forgotten",
		             (unsigned long long) lost);
	return status;
}

/* ---- the open chapter alone --------------------------------------------------------------------- */

static uds_status
read_records(uds_checkpoint *checkpoint, uds_saver_take take, void *context)
{
	uds_stream *stream = &checkpoint->stream;
	uint64_t count;
	uds_status status = uds_stream_read(stream, &count, sizeof(count));

	for (uint64_t i = 0; i < count && status == UDS_OK; i++)
	{
		uds_save_record saved;

		status = uds_stream_read(stream, &saved, sizeof(saved));
		if (status == UDS_OK && saved.is_tombstone > 1)
			status = UDS_ERR_CORRUPT;
		if (status == UDS_OK && take != NULL)
			status = take(context, &saved);
	}
	return status;
}

uds_status
uds_saver_read_open(uds_port *port, uint32_t save, uint64_t nonce, uint64_t save_number,
                    uint8_t *buffer, size_t bytes, uint64_t *newest, uds_saver_take take,
                    void *context, uds_error *error)
{
	uds_checkpoint checkpoint;
	uds_save_header header;
	uds_status status =
		uds_checkpoint_open(&checkpoint, port, save, nonce, save_number, buffer, bytes, error);

	if (status != UDS_OK)
		return status;
	error->message[0] = '\0';
	status = uds_checkpoint_begin(&checkpoint, UDS_SECTION_HEADER, 0);
	if (status == UDS_OK)
		status = uds_stream_read(&checkpoint.stream, &header, sizeof(header));
	if (status == UDS_OK && !is_plausible(&header))
		status = UDS_ERR_CORRUPT;
	for (uint32_t i = 0; status == UDS_OK && i < header.zone_count; i++)
	{
		status = uds_checkpoint_skip_to(&checkpoint, UDS_SECTION_OPEN_CHAPTER, (uint16_t) i);
		if (status == UDS_OK)
			status = read_records(&checkpoint, take, context);
	}
	if (status == UDS_OK)
		status = uds_checkpoint_finish(&checkpoint);
	else
		uds_checkpoint_abandon(&checkpoint);
	if (status == UDS_ERR_CORRUPT && error->message[0] == '\0')
		(void) uds_error_set(error, UDS_ERR_CORRUPT, 0, "contents of the save make no sense");
	if (status == UDS_OK)
		*newest = header.newest_chapter;
	return status;
}

bool
uds_saver_is_loaded(const uds_index *index, uint64_t newest, const uds_name *name)
{
	const uds_zone *zone = &index->zones[uds_volume_index_zone(&index->volume_index, name)];
	uint32_t slot;

	return uds_open_chapter_search(zone->shares[newest % UDS_CHAPTER_BUFFERS], name, &slot) ==
	           UDS_OK ||
	       uds_open_chapter_search(surplus_share(zone, newest), name, &slot) == UDS_OK;
}

uint32_t
uds_saver_collect_open(uds_index *index, uint64_t newest)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < index->config.zone_count; i++)
	{
		const uds_zone *zone = &index->zones[i];
		const uds_open_chapter *shares[2] = { zone->shares[newest % UDS_CHAPTER_BUFFERS],
			                                  surplus_share(zone, newest) };

		for (int j = 0; j < 2; j++)
		{
			for (uint32_t slot = 0; slot < uds_open_chapter_count(shares[j]); slot++)
			{
				index->writer_refs[count].record = uds_open_chapter_record(shares[j], slot);
				index->writer_refs[count].is_tombstone =
					uds_open_chapter_is_tombstone(shares[j], slot);
				count++;
			}
		}
	}
	return count;
}
