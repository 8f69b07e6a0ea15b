/*
 * bucket_parts.c: saved parts of an index of buckets.
 *
 * Format of a part (the range of one zone), little endian, without padding:
 *
 *   8     "UDSBKT01"
 *   u64   records per chapter     u32 chapters       u32 mean delta
 *   u32   slots of a bucket       u32 step bits      u64 buckets of all zones
 *   u64   first bucket of the part                   u64 buckets of the part
 *   u64   oldest chapter          u64 newest chapter
 *   u64   side entries            u64 exact entries
 *   192   each bucket, as bucket.h draws it
 *   16    each side entry: u32 bucket of all zones, u32 address, u64 chapter
 *   24    each exact entry: name, u64 chapter
 *   8     "UDSBKTED"
 *
 * Side and exact entries are of the window.  The flags of saved buckets mean nothing: a loader
 * sets them as it inserts the side and exact entries.
 */
#include "bucket_parts.h"

#include "bucket_zones.h"

#define LOAD_BUCKETS      256 /* at a time */
#define SAVE_BUFFER_BYTES 6144

/* ---- save ------------------------------------------------------------------------------- */

typedef struct part_header
{
	char magic[8];
	uint64_t records_per_chapter;
	uint32_t chapters;
	uint32_t mean_delta;
	uint32_t slots;
	uint32_t step_bits;
	uint64_t bucket_count;
	uint64_t first_bucket;
	uint64_t part_buckets;
	uint64_t oldest;
	uint64_t newest;
	uint64_t side_count;
	uint64_t exact_count;
} part_header;

typedef struct saved_side
{
	uint32_t bucket;
	uint32_t address;
	uint64_t chapter;
} saved_side;

typedef struct saved_exact
{
	uds_name name;
	uint64_t chapter;
} saved_exact;

_Static_assert(sizeof(part_header) == 88, "stored as raw bytes");
_Static_assert(sizeof(saved_side) == 16, "stored as raw bytes");
_Static_assert(sizeof(saved_exact) == 24, "stored as raw bytes");

static const char part_magic[8] = "UDSBKT01";
static const char end_magic[8] = "UDSBKTED";

/* Entries on their way to or from a stream. */
typedef struct buffer
{
	uds_stream *stream;
	size_t used;
	unsigned char bytes[SAVE_BUFFER_BYTES];
} buffer;

_Static_assert(SAVE_BUFFER_BYTES % sizeof(saved_side) == 0, "whole entries");
_Static_assert(SAVE_BUFFER_BYTES % sizeof(saved_exact) == 0, "whole entries");

static uds_status
buffer_flush(buffer *out)
{
	size_t used = out->used;

	out->used = 0;
	return used == 0 ? UDS_OK : uds_stream_write(out->stream, out->bytes, used);
}

static uds_status
buffer_add(buffer *out, const void *data, size_t bytes)
{
	uds_status status = UDS_OK;

	if (out->used + bytes > sizeof(out->bytes))
		status = buffer_flush(out);
	memcpy(out->bytes + out->used, data, bytes);
	out->used += bytes;
	return status;
}

/* Valid entry of a slot of the side table, as it is saved; false if there is none. */
static bool
get_saved_side(const uds_bucket_zone *zone, uint64_t slot, saved_side *saved)
{
	uds_bucket_side_entry entry;

	if (!uds_bucket_side_entry_at(&zone->side, slot, zone->newest, &entry) ||
	    entry.chapter < zone->oldest || entry.chapter > zone->newest)
		return false;
	saved->bucket = (uint32_t) (zone->first_bucket + entry.bucket);
	saved->address = entry.address;
	saved->chapter = entry.chapter;
	return true;
}

/* The same for the exact table. */
static bool
get_saved_exact(const uds_bucket_zone *zone, uint64_t slot, saved_exact *saved)
{
	if (!uds_bucket_exact_is_used(&zone->exact, slot))
		return false;
	saved->name = *uds_bucket_exact_name(&zone->exact, slot);
	saved->chapter = *uds_bucket_exact_chapter(&zone->exact, slot);
	return saved->chapter >= zone->oldest;
}

/* Write the valid entries of both tables, or only count them when out is NULL. */
static uds_status
save_tables(const uds_bucket_zone *zone, buffer *out, uint64_t *side_count, uint64_t *exact_count)
{
	saved_side side;
	saved_exact exact;
	uds_status status;

	*side_count = 0;
	*exact_count = 0;
	for (uint64_t slot = 0; slot < uds_bucket_side_slots(&zone->side); slot++)
	{
		if (!get_saved_side(zone, slot, &side))
			continue;
		*side_count += 1;
		status = out != NULL ? buffer_add(out, &side, sizeof(side)) : UDS_OK;
		if (status != UDS_OK)
			return status;
	}
	/* Entries of one kind fill the buffer evenly, so a flush here keeps both kinds whole. */
	status = out != NULL ? buffer_flush(out) : UDS_OK;
	if (status != UDS_OK)
		return status;
	for (uint64_t slot = 0; slot < uds_bucket_exact_slots(&zone->exact); slot++)
	{
		if (!get_saved_exact(zone, slot, &exact))
			continue;
		*exact_count += 1;
		status = out != NULL ? buffer_add(out, &exact, sizeof(exact)) : UDS_OK;
		if (status != UDS_OK)
			return status;
	}
	return out != NULL ? buffer_flush(out) : UDS_OK;
}

uds_status
uds_bucket_parts_save(const uds_index_buckets *index, uint32_t zone_number, uds_stream *stream)
{
	const uds_bucket_zone *zone;
	buffer out = { .stream = stream };
	part_header header;
	uds_status status;

	if (zone_number >= index->parameters.zone_count)
		return UDS_ERR_ARGUMENT;
	zone = index->zones + zone_number;
	header = (part_header){ .records_per_chapter = index->parameters.records_per_chapter,
		                    .chapters = index->parameters.chapters,
		                    .mean_delta = index->parameters.mean_delta,
		                    .slots = index->shape.slots,
		                    .step_bits = index->shape.step_bits,
		                    .bucket_count = index->bucket_count,
		                    .first_bucket = zone->first_bucket,
		                    .part_buckets = zone->bucket_count,
		                    .oldest = zone->oldest,
		                    .newest = zone->newest };
	memcpy(header.magic, part_magic, sizeof(header.magic));
	status = save_tables(zone, NULL, &header.side_count, &header.exact_count);
	if (status == UDS_OK)
		status = uds_stream_write(stream, &header, sizeof(header));
	for (uint64_t i = 0; i < zone->bucket_count && status == UDS_OK; i += LOAD_BUCKETS)
	{
		status =
			uds_stream_write(stream,
		                     index->buckets + zone->first_bucket + i,
		                     UDS_MIN(LOAD_BUCKETS, zone->bucket_count - i) * sizeof(uds_bucket));
	}
	if (status == UDS_OK)
		status = save_tables(zone, &out, &header.side_count, &header.exact_count);
	return status == UDS_OK ? uds_stream_write(stream, end_magic, sizeof(end_magic)) : status;
}

/* ---- load ------------------------------------------------------------------------------- */

static uds_status
check_part(const uds_index_buckets *index, const part_header *header)
{
	const uds_index_parameters *parameters = &index->parameters;

	if (memcmp(header->magic, part_magic, sizeof(header->magic)) != 0 ||
	    header->records_per_chapter != parameters->records_per_chapter ||
	    header->chapters != parameters->chapters || header->mean_delta != parameters->mean_delta ||
	    header->slots != index->shape.slots || header->step_bits != index->shape.step_bits ||
	    header->bucket_count != index->bucket_count ||
	    header->first_bucket >= header->bucket_count ||
	    header->part_buckets > header->bucket_count - header->first_bucket ||
	    header->oldest > header->newest || header->newest == UDS_NO_CHAPTER ||
	    header->newest - header->oldest >= header->chapters)
		return UDS_ERR_CORRUPT;
	for (uint32_t i = 0; i < parameters->zone_count; i++)
	{
		const uds_bucket_zone *zone = index->zones + i;

		if (index->parts > 0 ? zone->newest != header->newest : zone->newest > header->newest)
			return UDS_ERR_CORRUPT;
	}
	return UDS_OK;
}

/* Count the entries of a bucket that was read, and bring it into the order that changes need. */
static uds_status
adopt_bucket(uds_index_buckets *index, uint64_t number)
{
	uds_bucket_zone *zone = index->zones + uds_bucket_zones_zone(index, number);
	uds_bucket *bucket = index->buckets + number;
	uint32_t header = uds_bucket_header(bucket);

	if (!uds_bucket_is_sound(&index->shape, bucket, zone->newest))
		return UDS_ERR_CORRUPT;
	header &= ~(UDS_BUCKET_HAS_SIDE | UDS_BUCKET_HAS_EXACT);
	uds_bucket_set_header(bucket, header);
	zone->ring_records += uds_bucket_count(header);
	return uds_bucket_zones_expire(index, zone, bucket);
}

static uds_status
load_buckets(uds_index_buckets *index, const part_header *header, uds_stream *stream)
{
	uint64_t end = header->first_bucket + header->part_buckets;

	for (uint64_t first = header->first_bucket; first < end; first += LOAD_BUCKETS)
	{
		uint64_t count = UDS_MIN(LOAD_BUCKETS, end - first);
		uds_status status;

		/* Positions that another part has filled. */
		for (uint64_t i = first; i < first + count; i++)
		{
			if (uds_bucket_count(uds_bucket_header(index->buckets + i)) != 0)
				return UDS_ERR_CORRUPT;
		}
		status = uds_stream_read(stream, index->buckets + first, count * sizeof(uds_bucket));
		for (uint64_t i = first; i < first + count && status == UDS_OK; i++)
			status = adopt_bucket(index, i);
		if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

static bool
is_in_part(const part_header *header, uint64_t bucket, uint64_t chapter)
{
	return bucket >= header->first_bucket && bucket - header->first_bucket < header->part_buckets &&
	       chapter >= header->oldest && chapter <= header->newest;
}

static uds_status
adopt_side(uds_index_buckets *index, const part_header *header, const saved_side *saved)
{
	uds_bucket_zone *zone;
	uds_bucket *bucket;
	uds_bucket_side_entry entry;

	if (!is_in_part(header, saved->bucket, saved->chapter) ||
	    saved->address > UDS_BUCKET_ADDRESS_MASK)
		return UDS_ERR_CORRUPT;
	zone = index->zones + uds_bucket_zones_zone(index, saved->bucket);
	bucket = index->buckets + saved->bucket;
	entry = (uds_bucket_side_entry){ .bucket = saved->bucket - zone->first_bucket,
		                             .address = saved->address,
		                             .chapter = saved->chapter };
	if (entry.chapter < zone->oldest)
		zone->expired++;
	else if (uds_bucket_side_insert(&zone->side,
	                                &entry,
	                                zone->oldest,
	                                zone->newest,
	                                &zone->expired))
		uds_bucket_set_header(bucket, uds_bucket_header(bucket) | UDS_BUCKET_HAS_SIDE);
	else
		zone->lost++;
	return UDS_OK;
}

static uds_status
adopt_exact(uds_index_buckets *index, const part_header *header, const saved_exact *saved)
{
	uds_bucket_target at = uds_bucket_zones_target(index, &saved->name);
	uint64_t chapter;
	uint64_t slot;

	if (!is_in_part(header, at.number, saved->chapter) ||
	    uds_bucket_exact_find(&at.zone->exact, &saved->name, 0, &chapter) != UDS_BUCKET_EXACT_NONE)
		return UDS_ERR_CORRUPT;
	slot = uds_bucket_exact_free_slot(&at.zone->exact, &saved->name);
	if (saved->chapter < at.zone->oldest)
		at.zone->expired++;
	else if (slot == UDS_BUCKET_EXACT_NONE)
		at.zone->lost++;
	else
	{
		uds_bucket_exact_insert(&at.zone->exact, slot, &saved->name, saved->chapter);
		uds_bucket_set_header(at.bucket, uds_bucket_header(at.bucket) | UDS_BUCKET_HAS_EXACT);
	}
	return UDS_OK;
}

/* Read and insert count entries of one kind. */
static uds_status
load_table(uds_index_buckets *index, const part_header *header, uds_stream *stream, uint64_t count,
           bool is_exact)
{
	buffer in = { .stream = stream };
	size_t bytes = is_exact ? sizeof(saved_exact) : sizeof(saved_side);

	while (count > 0)
	{
		uint64_t n = UDS_MIN(count, sizeof(in.bytes) / bytes);
		uds_status status = uds_stream_read(in.stream, in.bytes, n * bytes);

		for (uint64_t i = 0; i < n && status == UDS_OK; i++)
		{
			saved_side side;
			saved_exact exact;

			if (is_exact)
			{
				memcpy(&exact, in.bytes + i * bytes, bytes);
				status = adopt_exact(index, header, &exact);
			}
			else
			{
				memcpy(&side, in.bytes + i * bytes, bytes);
				status = adopt_side(index, header, &side);
			}
		}
		if (status != UDS_OK)
			return status;
		count -= n;
	}
	return UDS_OK;
}

static uds_status
load_part(uds_index_buckets *index, uds_stream *stream)
{
	part_header header;
	char end[sizeof(end_magic)];
	uds_status status = uds_stream_read(stream, &header, sizeof(header));

	if (status == UDS_OK)
		status = check_part(index, &header);
	if (status != UDS_OK)
		return status;
	for (uint32_t i = 0; i < index->parameters.zone_count; i++)
	{
		index->zones[i].oldest = UDS_MAX(index->zones[i].oldest, header.oldest);
		index->zones[i].newest = header.newest;
	}
	status = load_buckets(index, &header, stream);
	if (status == UDS_OK)
		status = load_table(index, &header, stream, header.side_count, false);
	if (status == UDS_OK)
		status = load_table(index, &header, stream, header.exact_count, true);
	if (status == UDS_OK)
		status = uds_stream_read(stream, end, sizeof(end));
	if (status == UDS_OK && memcmp(end, end_magic, sizeof(end)) != 0)
		status = UDS_ERR_CORRUPT;
	index->parts++;
	return status;
}

uds_status
uds_bucket_parts_load(uds_index_buckets *index, uds_stream *stream)
{
	uds_status status = load_part(index, stream);

	if (status != UDS_OK)
	{
		uds_index_parameters parameters = index->parameters;
		uds_status reset;

		parameters.is_zeroed = false;
		reset = uds_bucket_zones_init(index, &parameters);
		return reset == UDS_OK ? status : reset;
	}
	return UDS_OK;
}
