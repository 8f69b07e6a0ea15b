/*
 * delta_page.c: immutable pages of consecutive delta lists.
 *
 *   byte 0    nonce u64 | chapter u64 | first list u16 | list count u16
 *   bit 160   list_count + 1 offsets of 19 bits, in bits from the start of the page
 *             lists, without gaps
 *             zeros
 *   the last 7 bytes: all ones
 *
 * The guard at the end makes it possible to load 8 bytes wherever a list may have a bit.  An entry
 * is decoded from one load: value, code and at least 7 bits of the tail lie in it, at the widths of
 * a chapter index 30.
 */
#include "delta_page.h"

#define NONCE_OFFSET      0
#define CHAPTER_OFFSET    8
#define FIRST_LIST_OFFSET 16
#define LIST_COUNT_OFFSET 18
#define HEADER_BITS       160
#define OFFSET_BITS       19
#define GUARD_BYTES       7
#define SCAN_BITS         56 /* usable bits of a load at any phase */

_Static_assert(UDS_DELTA_PAGE_BYTES_MAX * 8 <= 1 << OFFSET_BITS, "offsets reach the page's end");

/* Bit offset of the guard: no list ends behind it. */
static inline uint32_t
guard_offset(uint32_t page_bytes)
{
	return 8 * (page_bytes - GUARD_BYTES);
}

/* Bit offset of the first list of a page with this many lists. */
static inline uint32_t
first_offset(uint32_t list_count)
{
	return HEADER_BITS + OFFSET_BITS * (list_count + 1);
}

static inline uint32_t
read_offset(const uint8_t *page, uint32_t i)
{
	return (uint32_t) uds_bits_get(page, HEADER_BITS + OFFSET_BITS * i, OFFSET_BITS);
}

/* Free bits of a page without lists. */
static inline uint32_t
free_bits(uint32_t page_bytes)
{
	UDS_ASSERT(page_bytes >= UDS_DELTA_PAGE_BYTES_MIN && page_bytes <= UDS_DELTA_PAGE_BYTES_MAX);
	return guard_offset(page_bytes) - first_offset(0);
}

uint32_t
uds_delta_page_list_bits_max(uint32_t page_bytes)
{
	return UDS_MIN(free_bits(page_bytes) - OFFSET_BITS, (uint32_t) UDS_DELTA_LIST_BITS_MAX);
}

uint32_t
uds_delta_page_lists_max(uint32_t page_bytes)
{
	return free_bits(page_bytes) / OFFSET_BITS;
}

uint32_t
uds_delta_page_fit(uint32_t page_bytes, const uint16_t *list_bits, uint32_t list_count)
{
	uint32_t room = free_bits(page_bytes);
	uint32_t fitting = 0;

	while (fitting < list_count && room >= OFFSET_BITS + (uint32_t) list_bits[fitting])
	{
		room -= OFFSET_BITS + (uint32_t) list_bits[fitting];
		fitting++;
	}
	return fitting;
}

uint32_t
uds_delta_page_begin(uint8_t *page, uint32_t page_bytes, const uds_delta_page_header *header,
                     const uint16_t *list_bits)
{
	uint32_t start = first_offset(header->list_count);
	uint32_t offset = start;

	UDS_ASSERT(start <= guard_offset(page_bytes));
	memset(page, 0, page_bytes - GUARD_BYTES);
	memset(page + page_bytes - GUARD_BYTES, 0xff, GUARD_BYTES);
	memcpy(page + NONCE_OFFSET, &header->nonce, sizeof(header->nonce));
	memcpy(page + CHAPTER_OFFSET, &header->chapter, sizeof(header->chapter));
	memcpy(page + FIRST_LIST_OFFSET, &header->first_list, sizeof(header->first_list));
	memcpy(page + LIST_COUNT_OFFSET, &header->list_count, sizeof(header->list_count));
	for (uint32_t i = 0; i <= header->list_count; i++)
	{
		uds_bits_set(page, HEADER_BITS + OFFSET_BITS * i, OFFSET_BITS, offset);
		if (i < header->list_count)
			offset += list_bits[i];
	}
	UDS_ASSERT(offset <= guard_offset(page_bytes));
	return start;
}

uds_delta_page_header
uds_delta_page_read_header(const uint8_t *page)
{
	uds_delta_page_header header;

	memcpy(&header.nonce, page + NONCE_OFFSET, sizeof(header.nonce));
	memcpy(&header.chapter, page + CHAPTER_OFFSET, sizeof(header.chapter));
	memcpy(&header.first_list, page + FIRST_LIST_OFFSET, sizeof(header.first_list));
	memcpy(&header.list_count, page + LIST_COUNT_OFFSET, sizeof(header.list_count));
	return header;
}

uds_status
uds_delta_page_open(const uint8_t *page, uint32_t page_bytes, uint64_t nonce,
                    uds_delta_page_header *header)
{
	static const uint8_t guard[GUARD_BYTES] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uds_delta_page_header found;
	uint32_t previous;

	if (page_bytes < UDS_DELTA_PAGE_BYTES_MIN || page_bytes > UDS_DELTA_PAGE_BYTES_MAX)
		return UDS_ERR_CORRUPT;
	found = uds_delta_page_read_header(page);
	previous = first_offset(found.list_count);
	if (found.nonce != nonce || previous > guard_offset(page_bytes) ||
	    read_offset(page, 0) != previous ||
	    memcmp(page + page_bytes - GUARD_BYTES, guard, GUARD_BYTES) != 0)
		return UDS_ERR_CORRUPT;
	for (uint32_t i = 1; i <= found.list_count; i++)
	{
		uint32_t offset = read_offset(page, i);

		if (offset < previous || offset - previous > UDS_DELTA_LIST_BITS_MAX)
			return UDS_ERR_CORRUPT;
		previous = offset;
	}
	if (previous > guard_offset(page_bytes))
		return UDS_ERR_CORRUPT;
	*header = found;
	return UDS_OK;
}

uds_status
uds_delta_page_begin_list(const uint8_t *page, uint32_t page_bytes, uint32_t list,
                          uds_delta_page_cursor *cursor)
{
	uds_delta_page_header header = uds_delta_page_read_header(page);
	uint32_t i = list - header.first_list;
	uint32_t start;
	uint32_t end;

	if (list < header.first_list || i >= header.list_count)
		return UDS_NOT_FOUND;
	if (first_offset(header.list_count) > guard_offset(page_bytes))
		return UDS_ERR_CORRUPT;
	start = read_offset(page, i);
	end = read_offset(page, i + 1);
	if (start < HEADER_BITS || start > end || end > guard_offset(page_bytes))
		return UDS_ERR_CORRUPT;
	cursor->page = page;
	cursor->key = 0;
	cursor->offset = start;
	cursor->end = end;
	cursor->entry_bits = 0;
	cursor->is_first = true;
	cursor->is_collision = false;
	return UDS_OK;
}

/* Zero bits from an offset up to the first one bit, or to the end of the list if there is none. */
static uint32_t
count_zeros(const uint8_t *page, uint32_t offset, uint32_t end)
{
	uint32_t start = offset;

	for (; offset < end; offset += SCAN_BITS)
	{
		uint64_t word = uds_bits_load(page, offset);

		if (word != 0)
			return offset - start + (uint32_t) __builtin_ctzll(word);
	}
	return end - start;
}

/*
 * Decode the plain part of the entry at an offset < end.  Returns its bits, or 0 when it ends
 * behind the list.
 */
static inline uint32_t
decode_entry(const uds_delta_code *code, const uint8_t *page, uint32_t offset, uint32_t end,
             uint32_t *value, uint64_t *delta)
{
	uint32_t bits = code->value_bits + code->code_bits;
	uint64_t word;
	uint32_t base;
	uint32_t zeros;

	if (UDS_UNLIKELY(end - offset < bits))
		return 0;
	word = uds_bits_load(page, offset);
	*value = (uint32_t) word & ((1u << code->value_bits) - 1);
	word >>= code->value_bits;
	base = (uint32_t) word & ((1u << code->code_bits) - 1);
	*delta = base;
	if (base < code->short_count)
		return bits;
	word >>= code->code_bits;
	if (UDS_LIKELY(word != 0))
		zeros = (uint32_t) __builtin_ctzll(word);
	else
		zeros = count_zeros(page, offset + bits, end);
	*delta += (uint64_t) zeros * code->step;
	bits += zeros + 1;
	return UDS_LIKELY(bits <= end - offset) ? bits : 0;
}

/* Does the collision entry whose plain part has these bits lie within the list? */
static inline bool
collision_fits(uint32_t offset, uint32_t bits, uint32_t end)
{
	return end - offset - bits >= UDS_DELTA_NAME_BITS;
}

static inline void
read_name(const uint8_t *page, uint32_t offset, uds_name *name)
{
	uds_bits_move(name->bytes, 0, page, offset, UDS_DELTA_NAME_BITS);
}

uds_status
uds_delta_page_next(const uds_delta_code *code, uds_delta_page_cursor *cursor)
{
	uint64_t delta;
	uint32_t bits;

	if (cursor->offset >= cursor->end)
		return UDS_NOT_FOUND;
	bits = decode_entry(code, cursor->page, cursor->offset, cursor->end, &cursor->value, &delta);
	if (bits == 0)
		return UDS_ERR_CORRUPT;
	cursor->is_collision = delta == 0 && !cursor->is_first;
	if (cursor->is_collision)
	{
		if (!collision_fits(cursor->offset, bits, cursor->end))
			return UDS_ERR_CORRUPT;
		read_name(cursor->page, cursor->offset + bits, &cursor->name);
		bits += UDS_DELTA_NAME_BITS;
	}
	cursor->is_first = false;
	cursor->key += delta;
	cursor->entry_bits = bits;
	cursor->offset += bits;
	return UDS_OK;
}

/* Look at the collision entries from an offset on for a name; UDS_NOT_FOUND: none has it. */
static uds_status
find_collision(const uint8_t *page, const uds_delta_code *code, uint32_t offset, uint32_t end,
               const uds_name *name, uint32_t *value)
{
	while (offset < end)
	{
		uint64_t delta;
		uint32_t entry_value;
		uds_name entry_name;
		uint32_t bits = decode_entry(code, page, offset, end, &entry_value, &delta);

		if (bits == 0)
			return UDS_ERR_CORRUPT;
		if (delta != 0)
			break;
		if (!collision_fits(offset, bits, end))
			return UDS_ERR_CORRUPT;
		read_name(page, offset + bits, &entry_name);
		if (uds_name_equals(&entry_name, name))
		{
			*value = entry_value;
			return UDS_OK;
		}
		offset += bits + UDS_DELTA_NAME_BITS;
	}
	return UDS_NOT_FOUND;
}

/*
 * A pass over one list by the deltas alone.  Where an entry starts is known only when the one
 * before it is decoded, so the time of a pass is that of a chain of dependent steps.  To keep the
 * load out of this chain, the word of the next entry is loaded from where that starts at the
 * earliest, while the present entry is still being decoded.
 */
typedef struct list_scan
{
	const uint8_t *page;
	uint32_t last_byte; /* where a load may start at most */
	uint32_t end;
	uint32_t offset; /* of the present entry */
	uint32_t byte;   /* where word comes from: at or before the present entry */
	uint64_t word;
} list_scan;

static inline void
scan_load(list_scan *scan, uint32_t offset)
{
	scan->byte = UDS_MIN(offset / 8, scan->last_byte);
	scan->word = uds_bits_load(scan->page, 8 * (uint64_t) scan->byte);
}

/* Bits of the plain part of the present entry (scan->offset < scan->end), or 0: see decode_entry. */
static inline uint32_t
scan_entry(const uds_delta_code *code, list_scan *scan, uint64_t *delta)
{
	const uint32_t least_bits = code->value_bits + code->code_bits;
	const uint32_t shift = scan->offset - 8 * scan->byte;
	const uint64_t word = scan->word;
	uint64_t has_tail;
	uint64_t tail;
	uint32_t base;
	uint32_t zeros;
	uint32_t bits;

	scan_load(scan, scan->offset + least_bits);
	tail = shift + least_bits < 64 ? word >> (shift + least_bits) : 0;
	if (UDS_UNLIKELY(tail == 0))
	{
		uint32_t value;

		return decode_entry(code, scan->page, scan->offset, scan->end, &value, delta);
	}
	base = (uint32_t) (word >> (shift + code->value_bits)) & ((1u << code->code_bits) - 1);
	/* Every fourth code is a short one, at random: a branch would be guessed wrong too often. */
	has_tail = -(uint64_t) (base >= code->short_count);
	zeros = (uint32_t) __builtin_ctzll(tail);
	*delta = base + ((uint64_t) zeros * code->step & has_tail);
	bits = least_bits + ((zeros + 1) & (uint32_t) has_tail);
	return UDS_LIKELY(bits <= scan->end - scan->offset) ? bits : 0;
}

uds_status
uds_delta_page_find(const uint8_t *page, uint32_t page_bytes, const uds_delta_code *code,
                    uint32_t list, uint32_t key, const uds_name *name, uint32_t *value)
{
	const uds_delta_code constants = *code;
	uds_delta_page_cursor cursor;
	uds_status status = uds_delta_page_begin_list(page, page_bytes, list, &cursor);
	list_scan scan = { .page = page, .last_byte = page_bytes - sizeof(uint64_t) };
	uint64_t sum = 0;
	bool is_first = true;

	if (status != UDS_OK)
		return status;
	scan.end = cursor.end;
	scan.offset = cursor.offset;
	scan_load(&scan, scan.offset);
	while (scan.offset < scan.end)
	{
		const uint32_t start = scan.offset;
		uint64_t delta;
		uint32_t bits = scan_entry(&constants, &scan, &delta);

		if (UDS_UNLIKELY(bits == 0))
			return UDS_ERR_CORRUPT;
		if (UDS_UNLIKELY(delta == 0) && !is_first)
		{
			if (!collision_fits(start, bits, scan.end))
				return UDS_ERR_CORRUPT;
			bits += UDS_DELTA_NAME_BITS;
			scan_load(&scan, start + bits);
		}
		scan.offset = start + bits;
		sum += delta;
		is_first = false;
		if (sum < key)
			continue;
		if (sum > key)
			return UDS_NOT_FOUND;
		status = find_collision(page, code, scan.offset, scan.end, name, value);
		if (status != UDS_NOT_FOUND)
			return status;
		*value = (uint32_t) uds_bits_get(page, start, code->value_bits);
		return UDS_OK;
	}
	return UDS_NOT_FOUND;
}
