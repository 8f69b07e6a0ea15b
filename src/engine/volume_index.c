/*
 * volume_index.c: chooses the structure; parts of saves.
 *
 * Part of a zone in a save: the boundary (u64), then the part of each sub-index.
 */
#include "volume_index.h"

/* Parameters of the sub-index of a dense index: all names, all chapters. */
static uds_index_parameters
dense_parameters(const uds_geometry *geometry, uint32_t zone_count, bool is_zeroed)
{
	return (uds_index_parameters){
		.records_per_chapter = geometry->records_per_chapter,
		.chapters = geometry->parameters.chapters + (geometry->parameters.is_reduced ? 1 : 0),
		.zone_count = zone_count,
		.mean_delta = UDS_VOLUME_INDEX_MEAN_DELTA,
		.is_zeroed = is_zeroed,
	};
}

size_t
uds_volume_index_size(const uds_geometry *geometry, uds_index_structure structure,
                      uint32_t zone_count)
{
	uds_index_parameters parameters = dense_parameters(geometry, zone_count, false);

	if (structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_size(&parameters);
	return uds_index_lists_size(&parameters);
}

uds_status
uds_volume_index_init(uds_volume_index *index, void *memory, const uds_geometry *geometry,
                      uds_index_structure structure, uint32_t zone_count, bool is_zeroed)
{
	uds_index_parameters parameters = dense_parameters(geometry, zone_count, is_zeroed);

	memset(index, 0, sizeof(*index));
	index->structure = structure;
	index->zone_count = zone_count;
	if (structure == UDS_STRUCTURE_BUCKETS)
	{
		index->dense.buckets = memory;
		return uds_index_buckets_init(index->dense.buckets, &parameters);
	}
	index->dense.lists = memory;
	return uds_index_lists_init(index->dense.lists, &parameters);
}

uds_status
uds_volume_index_set_window(uds_volume_index *index, uint32_t zone, uint64_t oldest,
                            uint64_t newest)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_set_window(index->dense.buckets, zone, oldest, newest);
	return uds_index_lists_set_window(index->dense.lists, zone, oldest, newest);
}

void
uds_volume_index_counters(const uds_volume_index *index, uint32_t zone,
                          uds_index_counters *counters)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		uds_index_buckets_counters(index->dense.buckets, zone, counters);
	else
		uds_index_lists_counters(index->dense.lists, zone, counters);
}

uds_status
uds_volume_index_check(const uds_volume_index *index, uint32_t zone)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_check(index->dense.buckets, zone);
	return uds_index_lists_check(index->dense.lists, zone);
}

static uint64_t
position_of(const uds_volume_index *index, const uds_name *name)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_position(index->dense.buckets, name);
	return uds_index_lists_position(index->dense.lists, name);
}

static uint64_t
zone_start(const uds_volume_index *index, uint32_t zone)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_zone_start(index->dense.buckets, zone);
	return uds_index_lists_zone_start(index->dense.lists, zone);
}

uds_status
uds_volume_index_save(const uds_volume_index *index, uint32_t zone, uint64_t boundary,
                      uds_stream *stream)
{
	uint64_t head[2] = { boundary, zone_start(index, zone) };
	uds_status status = uds_stream_write(stream, head, sizeof(head));

	if (status != UDS_OK)
		return status;
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_save(index->dense.buckets, zone, stream);
	return uds_index_lists_save(index->dense.lists, zone, stream);
}

uds_status
uds_volume_index_load(uds_volume_index *index, uds_stream *stream)
{
	uint32_t part = index->part_count;
	uint64_t head[2];
	uds_status status = uds_stream_read(stream, head, sizeof(head));

	if (status != UDS_OK)
		return status;
	if (part == UDS_ZONES_MAX ||
	    (part == 0 ? head[1] != 0 : head[1] <= index->part_start[part - 1]))
		return UDS_ERR_CORRUPT;
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		status = uds_index_buckets_load(index->dense.buckets, stream);
	else
		status = uds_index_lists_load(index->dense.lists, stream);
	if (status != UDS_OK)
	{
		index->part_count = 0;
		return status;
	}
	index->part_boundary[part] = head[0];
	index->part_start[part] = head[1];
	index->part_count = part + 1;
	return UDS_OK;
}

uint64_t
uds_volume_index_boundary(const uds_volume_index *index, const uds_name *name)
{
	uint64_t position = position_of(index, name);

	for (uint32_t part = index->part_count; part-- > 0;)
	{
		if (position >= index->part_start[part])
			return index->part_boundary[part];
	}
	return 0;
}
