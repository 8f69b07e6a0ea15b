/*
 * volume_index.c: chooses the structure; sub-indexes; parts of saves.
 *
 * Part of a zone in a save: the boundary (u64), then for each sub-index, non-hooks first, the first
 * position of its part (u64) and the part of the structure.
 */
#include "volume_index.h"

#define SAMPLE_RATE_MAX 65536 /* values of the sampling field */

/* ---- sub-indexes -------------------------------------------------------------------------------- */

/* Parameters of the sub-indexes; returns how many there are, 0 when they are out of range. */
static uint32_t
sub_parameters(const uds_geometry *geometry, uint32_t zone_count, bool is_zeroed,
               uds_index_parameters parameters[UDS_SUB_INDEXES_MAX])
{
	const uds_geometry_parameters *p = &geometry->parameters;
	/* A conversion, which takes a chapter away, leaves every name in its place. */
	uint32_t converted = p->is_reduced ? 1 : 0;
	uint32_t hooks;

	parameters[0] = (uds_index_parameters){
		.records_per_chapter = geometry->records_per_chapter,
		.chapters = p->chapters + converted,
		.zone_count = zone_count,
		.mean_delta = UDS_VOLUME_INDEX_MEAN_DELTA,
		.is_zeroed = is_zeroed,
	};
	if (p->sparse_chapters == 0)
		return 1;
	if (p->sample_rate < 2 || p->sample_rate > SAMPLE_RATE_MAX)
		return 0;
	hooks = geometry->records_per_chapter / p->sample_rate;
	parameters[UDS_SUB_INDEX_HOOKS] = parameters[0];
	parameters[UDS_SUB_INDEX_HOOKS].records_per_chapter = hooks;
	parameters[0].records_per_chapter -= hooks;
	parameters[0].chapters = geometry->dense_chapters + converted;
	return 2;
}

static size_t
sub_size(uds_index_structure structure, const uds_index_parameters *parameters)
{
	if (structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_size(parameters);
	return uds_index_lists_size(parameters);
}

/* Make a sub-index empty. */
static uds_status
init_sub(uds_volume_index *index, uint32_t sub, bool is_zeroed)
{
	uds_index_parameters parameters = index->parameters[sub];

	parameters.is_zeroed = is_zeroed;
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_init(index->subs[sub].buckets, &parameters);
	return uds_index_lists_init(index->subs[sub].lists, &parameters);
}

size_t
uds_volume_index_size(const uds_geometry *geometry, uds_index_structure structure,
                      uint32_t zone_count)
{
	uds_index_parameters parameters[UDS_SUB_INDEXES_MAX];
	uint32_t count = sub_parameters(geometry, zone_count, false, parameters);
	size_t total = 0;

	for (uint32_t sub = 0; sub < count; sub++)
	{
		size_t bytes = sub_size(structure, &parameters[sub]);

		if (bytes == 0)
			return 0;
		total += bytes;
	}
	return total;
}

uds_status
uds_volume_index_init(uds_volume_index *index, void *memory, const uds_geometry *geometry,
                      uds_index_structure structure, uint32_t zone_count, bool is_zeroed)
{
	uint8_t *next = memory;

	memset(index, 0, sizeof(*index));
	if (uds_volume_index_size(geometry, structure, zone_count) == 0)
		return UDS_ERR_ARGUMENT;
	index->structure = structure;
	index->zone_count = zone_count;
	index->sub_count = sub_parameters(geometry, zone_count, is_zeroed, index->parameters);
	index->sample_rate = geometry->parameters.sample_rate;
	index->dense_chapters = geometry->dense_chapters;
	for (uint32_t sub = 0; sub < index->sub_count; sub++)
	{
		uds_status status;

		if (structure == UDS_STRUCTURE_BUCKETS)
			index->subs[sub].buckets = (uds_index_buckets *) (void *) next;
		else
			index->subs[sub].lists = (uds_index_lists *) (void *) next;
		status = init_sub(index, sub, is_zeroed);
		if (status != UDS_OK)
			return status;
		next += sub_size(structure, &index->parameters[sub]);
	}
	return UDS_OK;
}

/* ---- windows, counters, check ------------------------------------------------------------------- */

static uds_status
set_sub_window(uds_volume_index *index, uint32_t sub, uint32_t zone, uint64_t oldest,
               uint64_t newest)
{
	uds_sub_index at = index->subs[sub];

	if (index->structure == UDS_STRUCTURE_BUCKETS)
	{
		oldest = UDS_MAX(oldest, uds_index_buckets_oldest(at.buckets, zone));
		return uds_index_buckets_set_window(at.buckets, zone, oldest, newest);
	}
	oldest = UDS_MAX(oldest, uds_index_lists_oldest(at.lists, zone));
	return uds_index_lists_set_window(at.lists, zone, oldest, newest);
}

uds_status
uds_volume_index_set_window(uds_volume_index *index, uint32_t zone, uint64_t oldest,
                            uint64_t newest)
{
	uint64_t dense = index->dense_chapters;
	uds_status status;

	if (zone >= index->zone_count)
		return UDS_ERR_ARGUMENT;
	if (index->sub_count == 1)
		return set_sub_window(index, 0, zone, oldest, newest);
	/* Hooks first: theirs is the window that the caller means, and it is refused before anything
	 * has changed. */
	status = set_sub_window(index, UDS_SUB_INDEX_HOOKS, zone, oldest, newest);
	if (status != UDS_OK)
		return status;
	oldest = UDS_MAX(oldest, newest >= dense ? newest - dense + 1 : 0);
	return set_sub_window(index, 0, zone, oldest, newest);
}

static void
sub_counters(const uds_volume_index *index, uint32_t sub, uint32_t zone,
             uds_index_counters *counters)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		uds_index_buckets_counters(index->subs[sub].buckets, zone, counters);
	else
		uds_index_lists_counters(index->subs[sub].lists, zone, counters);
}

void
uds_volume_index_counters(const uds_volume_index *index, uint32_t zone,
                          uds_index_counters *counters)
{
	uds_index_counters hooks;

	sub_counters(index, 0, zone, counters);
	if (index->sub_count == 1)
		return;
	sub_counters(index, UDS_SUB_INDEX_HOOKS, zone, &hooks);
	counters->records += hooks.records;
	counters->collisions += hooks.collisions;
	counters->discards += hooks.discards;
	counters->expired += hooks.expired;
	counters->lost += hooks.lost;
	counters->overflows += hooks.overflows;
	counters->rebalances += hooks.rebalances;
	counters->early_flushes += hooks.early_flushes;
	counters->bytes_used += hooks.bytes_used;
}

uds_status
uds_volume_index_check(const uds_volume_index *index, uint32_t zone)
{
	uds_status status = UDS_OK;

	for (uint32_t sub = 0; sub < index->sub_count && status == UDS_OK; sub++)
	{
		if (index->structure == UDS_STRUCTURE_BUCKETS)
			status = uds_index_buckets_check(index->subs[sub].buckets, zone);
		else
			status = uds_index_lists_check(index->subs[sub].lists, zone);
	}
	return status;
}

/* ---- save and load ------------------------------------------------------------------------------ */

static uint64_t
zone_start(const uds_volume_index *index, uint32_t sub, uint32_t zone)
{
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_zone_start(index->subs[sub].buckets, zone);
	return uds_index_lists_zone_start(index->subs[sub].lists, zone);
}

static uds_status
save_sub(const uds_volume_index *index, uint32_t sub, uint32_t zone, uds_stream *stream)
{
	uint64_t start = zone_start(index, sub, zone);
	uds_status status = uds_stream_write(stream, &start, sizeof(start));

	if (status != UDS_OK)
		return status;
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_save(index->subs[sub].buckets, zone, stream);
	return uds_index_lists_save(index->subs[sub].lists, zone, stream);
}

uds_status
uds_volume_index_save(const uds_volume_index *index, uint32_t zone, uint64_t boundary,
                      uds_stream *stream)
{
	uds_status status;

	if (zone >= index->zone_count)
		return UDS_ERR_ARGUMENT;
	status = uds_stream_write(stream, &boundary, sizeof(boundary));
	for (uint32_t sub = 0; sub < index->sub_count && status == UDS_OK; sub++)
		status = save_sub(index, sub, zone, stream);
	return status;
}

static uds_status
load_sub(uds_volume_index *index, uint32_t sub, uds_stream *stream)
{
	const uint64_t *starts = index->part_start[sub];
	uint32_t part = index->part_count;
	uint64_t start;
	uds_status status = uds_stream_read(stream, &start, sizeof(start));

	if (status != UDS_OK)
		return status;
	if (part == 0 ? start != 0 : start <= starts[part - 1])
		return UDS_ERR_CORRUPT;
	index->part_start[sub][part] = start;
	if (index->structure == UDS_STRUCTURE_BUCKETS)
		return uds_index_buckets_load(index->subs[sub].buckets, stream);
	return uds_index_lists_load(index->subs[sub].lists, stream);
}

uds_status
uds_volume_index_load(uds_volume_index *index, uds_stream *stream)
{
	uint32_t part = index->part_count;
	uint32_t loaded = 0;
	uint64_t boundary;
	uds_status status = UDS_ERR_CORRUPT;

	if (part < UDS_ZONES_MAX)
		status = uds_stream_read(stream, &boundary, sizeof(boundary));
	while (status == UDS_OK && loaded < index->sub_count)
	{
		status = load_sub(index, loaded, stream);
		loaded += status == UDS_OK;
	}
	if (status == UDS_OK)
	{
		index->part_boundary[part] = boundary;
		index->part_count = part + 1;
		return UDS_OK;
	}
	/* The one that failed has emptied itself, if it had begun. */
	index->part_count = 0;
	for (uint32_t sub = 0; sub < index->sub_count; sub++)
	{
		if ((part > 0 || sub < loaded) && init_sub(index, sub, false) != UDS_OK)
			return UDS_ERR_INTERNAL;
	}
	return status;
}

uint64_t
uds_volume_index_boundary(const uds_volume_index *index, const uds_name *name)
{
	uint32_t sub = uds_volume_index_is_hook(index, name);
	uint64_t position;

	if (index->structure == UDS_STRUCTURE_BUCKETS)
		position = uds_index_buckets_position(index->subs[sub].buckets, name);
	else
		position = uds_index_lists_position(index->subs[sub].lists, name);
	for (uint32_t part = index->part_count; part-- > 0;)
	{
		if (position >= index->part_start[sub][part])
			return index->part_boundary[part];
	}
	return 0;
}
