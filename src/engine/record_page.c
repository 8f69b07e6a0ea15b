/*
 * record_page.c: pages of the volume that hold records, searched in place.
 *
 *   byte 0   crc u32 | record count u16 | page number u16 | chapter u64 | tombstone bits 128
 *   byte 32  records of 32 bytes: a complete binary search tree in heap order
 *
 * Sorting takes the first 57 bits of a name and its index in one 64-bit key: one pass by the top 7
 * bits leaves about one record a digit, an insertion sort does the rest.  Names that agree in 57
 * bits are put in order by comparing them as a whole.
 */
#include "record_page.h"

#include "port.h"
#include "radix_sort.h"

#define INDEX_BITS     7 /* of a record among those of a page */
#define INDEX_MASK     ((UINT64_C(1) << INDEX_BITS) - 1)
#define DIGIT_BITS     7
#define RECORDS_OFFSET offsetof(uds_record_page, records)

static inline uint32_t
read_count(const uint8_t *page)
{
	uint16_t count;

	memcpy(&count, page + offsetof(uds_record_page, record_count), sizeof(count));
	return count;
}

static uint32_t
page_crc(const uint8_t *page, const uds_page_identity *identity)
{
	const size_t start = offsetof(uds_record_page, record_count);

	return uds_port_crc32c(uds_page_seed(identity), page + start, UDS_PAGE_BYTES - start);
}

static inline uint64_t
load_big_endian(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return __builtin_bswap64(word);
}

/*
 * In a perfect tree of n levels the node of rank r = p - 1, p = odd * 2^z, lies on level n - 1 - z
 * and is number p / 2^(z + 1) there.  A complete tree lacks the right part of the lowest level,
 * which is every second rank of the perfect tree from some rank on.
 */
void
uds_record_page_order(uint16_t *positions, uint32_t count)
{
	uint32_t levels = uds_geometry_bits(count);
	uint32_t leaves = count - ((1u << (levels - 1)) - 1); /* on the lowest level */

	for (uint32_t rank = 0; rank < count; rank++)
	{
		uint32_t p = 1 + (rank < 2 * leaves ? rank : 2 * (rank - leaves) + 1);
		uint32_t zeros = (uint32_t) __builtin_ctz(p);

		positions[rank] = (uint16_t) ((1u << (levels - 1 - zeros)) - 1 + (p >> (zeros + 1)));
	}
}

/* Does the name of record a come before that of record b? */
static bool
name_precedes(const uds_record_ref *records, uint64_t a, uint64_t b)
{
	const uds_name *name_a = &records[a & INDEX_MASK].record->name;
	const uds_name *name_b = &records[b & INDEX_MASK].record->name;

	return memcmp(name_a, name_b, sizeof(uds_name)) < 0;
}

/* Set the low INDEX_BITS of keys[rank] to the index of the record that has this rank. */
static void
sort_records(uint64_t *keys, const uds_record_ref *records, uint32_t count)
{
	uint64_t spare[UDS_RECORDS_PER_PAGE];

	for (uint32_t i = 0; i < count; i++)
		keys[i] = (load_big_endian(records[i].record->name.bytes) & ~INDEX_MASK) | i;
	uds_radix_sort_keys(keys, spare, count, 64 - DIGIT_BITS, DIGIT_BITS);
	for (uint32_t i = 1; i < count; i++)
	{
		uint64_t key = keys[i];
		uint32_t place = i;

		for (; place > 0; place--)
		{
			uint64_t before = keys[place - 1];
			bool is_tie = (before ^ key) <= INDEX_MASK;

			if (UDS_UNLIKELY(is_tie) ? !name_precedes(records, key, before) : before < key)
				break;
			keys[place] = before;
		}
		keys[place] = key;
	}
}

void
uds_record_page_encode(uint8_t *page, const uds_record_ref *records, uint32_t count,
                       uint16_t page_number, const uds_page_identity *identity)
{
	uint64_t keys[UDS_RECORDS_PER_PAGE];
	uint16_t positions[UDS_RECORDS_PER_PAGE];
	uint64_t tombstones[2] = { 0, 0 };
	uint16_t record_count = (uint16_t) count;

	UDS_ASSERT(count <= UDS_RECORDS_PER_PAGE);
	sort_records(keys, records, count);
	uds_record_page_order(positions, count);
	for (uint32_t rank = 0; rank < count; rank++)
	{
		const uds_record_ref *ref = &records[keys[rank] & INDEX_MASK];
		uint32_t position = positions[rank];

		memcpy(page + RECORDS_OFFSET + position * sizeof(uds_record),
		       ref->record,
		       sizeof(uds_record));
		tombstones[position / 64] |= (uint64_t) ref->is_tombstone << (position % 64);
	}
	memset(page + RECORDS_OFFSET + count * sizeof(uds_record),
	       0,
	       (UDS_RECORDS_PER_PAGE - count) * sizeof(uds_record));
	memcpy(page + offsetof(uds_record_page, record_count), &record_count, sizeof(record_count));
	memcpy(page + offsetof(uds_record_page, page_number), &page_number, sizeof(page_number));
	memcpy(page + offsetof(uds_record_page, chapter),
	       &identity->chapter,
	       sizeof(identity->chapter));
	memcpy(page + offsetof(uds_record_page, tombstones), tombstones, sizeof(tombstones));
	uds_record_page_seal(page, identity);
}

void
uds_record_page_seal(uint8_t *page, const uds_page_identity *identity)
{
	uint32_t crc = page_crc(page, identity);

	memcpy(page, &crc, sizeof(crc));
}

uds_status
uds_record_page_verify(const uint8_t *page, uint16_t page_number, const uds_page_identity *identity)
{
	uint32_t crc;
	uint16_t number;
	uint64_t chapter;

	memcpy(&crc, page, sizeof(crc));
	memcpy(&number, page + offsetof(uds_record_page, page_number), sizeof(number));
	memcpy(&chapter, page + offsetof(uds_record_page, chapter), sizeof(chapter));
	if (chapter != identity->chapter || number != page_number ||
	    read_count(page) > UDS_RECORDS_PER_PAGE || crc != page_crc(page, identity))
		return UDS_ERR_CORRUPT;
	return UDS_OK;
}

/* The grandchildren of a node are four records in two cache lines of an aligned page. */
static inline void
prefetch_grandchildren(const uint8_t *page, uint32_t node)
{
	const uint32_t first = 4 * node + 3;

	if (first + 3 >= UDS_RECORDS_PER_PAGE)
		return;
	__builtin_prefetch(page + RECORDS_OFFSET + first * sizeof(uds_record));
	__builtin_prefetch(page + RECORDS_OFFSET + (first + 2) * sizeof(uds_record));
}

uds_status
uds_record_page_search(const uint8_t *page, const uds_name *name, uds_metadata *metadata,
                       bool *is_tombstone)
{
	uint64_t high = load_big_endian(name->bytes);
	uint64_t low = load_big_endian(name->bytes + 8);
	uint32_t count = read_count(page);
	uint32_t node = 0;

	if (count > UDS_RECORDS_PER_PAGE)
		return UDS_ERR_CORRUPT;
	while (node < count)
	{
		const uint8_t *record = page + RECORDS_OFFSET + node * sizeof(uds_record);
		uint64_t record_high = load_big_endian(record);
		uint64_t record_low = load_big_endian(record + 8);
		bool is_larger;

		if (((high ^ record_high) | (low ^ record_low)) == 0)
		{
			if (metadata != NULL)
				memcpy(metadata, record + UDS_NAME_BYTES, sizeof(*metadata));
			if (is_tombstone != NULL)
				*is_tombstone = uds_record_page_is_tombstone(page, node);
			return UDS_OK;
		}
		prefetch_grandchildren(page, node);
		is_larger = (high > record_high) | ((high == record_high) & (low > record_low));
		node = 2 * node + 1 + is_larger;
	}
	return UDS_NOT_FOUND;
}

uint32_t
uds_record_page_count(const uint8_t *page)
{
	return UDS_MIN(read_count(page), (uint32_t) UDS_RECORDS_PER_PAGE);
}

const uds_record *
uds_record_page_record(const uint8_t *page, uint32_t i)
{
	UDS_ASSERT(i < UDS_RECORDS_PER_PAGE);
	return (const uds_record *) (page + RECORDS_OFFSET) + i;
}

bool
uds_record_page_is_tombstone(const uint8_t *page, uint32_t i)
{
	UDS_ASSERT(i < UDS_RECORDS_PER_PAGE);
	return page[offsetof(uds_record_page, tombstones) + i / 8] >> (i % 8) & 1;
}
