/*
 * delta_blocks.c: memory of delta lists in blocks.
 *
 *     struct, starts[0..blocks] | pad to 64 | block 0 | block 1 | ... | 64 spare bytes
 *
 *     block:  descriptors (6 bytes each) | pad to 64 | list | gap | list | gap | ... list | gap
 *
 * Blocks have sizes of their own and leave nothing between them.  The spare bytes make 8-byte
 * accesses at the very end possible.  A block whose first descriptor has offset 0 has not been
 * laid out: its lists are empty.  So an index in fresh memory touches only what is used.
 *
 * Moves, of lists in a block and of blocks in a row, are done in two sweeps: what moves down from
 * left to right, then what moves up from right to left.  Neither meets anything unmoved: the
 * target of an object begins behind the target of its left neighbour, and a neighbour that has
 * yet to move up ends, where it is, before the end of its own target.
 */
#include "delta_blocks.h"

#include <string.h>

#define SPARE_BYTES 64
/* Below this many free bytes a block asks its neighbours before it spreads its own gaps. */
#define BLOCK_FREE_MIN (4 * UDS_DELTA_BLOCK_LISTS)

static uint32_t
lists_of_block(const uds_delta_blocks *blocks, uint32_t block)
{
	return UDS_MIN(blocks->lists - block * UDS_DELTA_BLOCK_LISTS, UDS_DELTA_BLOCK_LISTS);
}

static uint32_t
block_units(const uds_delta_blocks *blocks, uint32_t block)
{
	return blocks->starts[block + 1] - blocks->starts[block];
}

/* Header and lists of a block, without gaps. */
static uint32_t
block_used(const uds_delta_blocks *blocks, uint32_t block)
{
	const uds_delta_list *list = (uds_delta_list *) uds_delta_blocks_memory(blocks, block);
	uint32_t count = lists_of_block(blocks, block);
	uint32_t used = UDS_DELTA_BLOCK_HEADER;

	for (uint32_t i = 0; i < count; i++)
		used += uds_delta_blocks_bytes(list[i].bits);
	return used;
}

static uint32_t
count_blocks(uint32_t lists)
{
	return lists / UDS_DELTA_BLOCK_LISTS + (lists % UDS_DELTA_BLOCK_LISTS != 0);
}

/* Units of all blocks, headers included; 0 when out of range. */
static uint64_t
count_units(uint32_t lists, uint64_t list_bytes)
{
	uint64_t blocks = count_blocks(lists);
	uint64_t units;

	if (lists == 0 || list_bytes > (uint64_t) UINT32_MAX * UDS_DELTA_BLOCK_UNIT / 2)
		return 0;
	units = blocks * (UDS_DELTA_BLOCK_HEADER / UDS_DELTA_BLOCK_UNIT) +
	        (list_bytes + UDS_DELTA_BLOCK_UNIT - 1) / UDS_DELTA_BLOCK_UNIT;
	units = UDS_MIN(units, blocks * UDS_DELTA_UNITS_MAX);
	return units > UINT32_MAX ? 0 : units;
}

size_t
uds_delta_blocks_size(uint32_t lists, uint64_t list_bytes)
{
	uint64_t units = count_units(lists, list_bytes);

	if (units == 0)
		return 0;
	return UDS_ALIGN(sizeof(uds_delta_blocks) +
	                     ((size_t) count_blocks(lists) + 1) * sizeof(uint32_t),
	                 UDS_CACHE_LINE) +
	       units * UDS_DELTA_BLOCK_UNIT + SPARE_BYTES;
}

uds_status
uds_delta_blocks_init(uds_delta_blocks *blocks, uint32_t lists, uint64_t list_bytes, bool is_zeroed)
{
	uint64_t units = count_units(lists, list_bytes);

	if (units == 0)
		return UDS_ERR_ARGUMENT;
	memset(blocks, 0, sizeof(*blocks));
	blocks->lists = lists;
	blocks->blocks = count_blocks(lists);
	blocks->units = units;
	blocks->memory_offset =
		UDS_ALIGN(sizeof(uds_delta_blocks) + ((size_t) blocks->blocks + 1) * sizeof(uint32_t),
	              UDS_CACHE_LINE);
	for (uint64_t b = 0; b <= blocks->blocks; b++)
		blocks->starts[b] = (uint32_t) (units * b / blocks->blocks);
	if (!is_zeroed)
		uds_delta_blocks_reset(blocks);
	return UDS_OK;
}

void
uds_delta_blocks_reset(uds_delta_blocks *blocks)
{
	for (uint64_t b = 0; b <= blocks->blocks; b++)
		blocks->starts[b] = (uint32_t) (blocks->units * b / blocks->blocks);
	for (uint32_t b = 0; b < blocks->blocks; b++)
		memset(uds_delta_blocks_memory(blocks, b), 0, UDS_DELTA_BLOCK_HEADER);
	blocks->used_bytes = 0;
}

uint64_t
uds_delta_blocks_capacity(const uds_delta_blocks *blocks)
{
	return blocks->units * UDS_DELTA_BLOCK_UNIT -
	       (uint64_t) blocks->blocks * UDS_DELTA_BLOCK_HEADER;
}

/*
 * Spread the gaps of a block evenly over its first size bytes, with extra bytes of room behind
 * list grow.  header + lists + extra <= size.
 */
static void
spread(uds_delta_blocks *blocks, uint32_t block, uint32_t size, uint32_t grow, uint32_t extra)
{
	uint8_t *memory = uds_delta_blocks_memory(blocks, block);
	uds_delta_list *list = (uds_delta_list *) memory;
	uint32_t count = lists_of_block(blocks, block);
	uint32_t gap = (size - block_used(blocks, block) - extra) / count;
	uint32_t at = UDS_DELTA_BLOCK_HEADER;
	uint16_t place[UDS_DELTA_BLOCK_LISTS];

	for (uint32_t i = 0; i < count; i++)
	{
		place[i] = (uint16_t) at;
		at += uds_delta_blocks_bytes(list[i].bits) + gap + (i == grow ? extra : 0);
	}
	for (uint32_t i = 0; i < count; i++)
	{
		if (place[i] < list[i].offset && list[i].bits > 0)
			memmove(memory + place[i],
			        memory + list[i].offset,
			        uds_delta_blocks_bytes(list[i].bits));
	}
	for (uint32_t i = count; i-- > 0;)
	{
		if (place[i] > list[i].offset && list[i].bits > 0)
			memmove(memory + place[i],
			        memory + list[i].offset,
			        uds_delta_blocks_bytes(list[i].bits));
		list[i].offset = place[i];
	}
}

/* Do the descriptors of a block stay inside it, in order? */
static bool
block_is_sound(const uds_delta_blocks *blocks, uint32_t block)
{
	const uds_delta_list *list;
	uint64_t size;
	uint32_t count = lists_of_block(blocks, block);
	uint32_t at = UDS_DELTA_BLOCK_HEADER;

	if (blocks->starts[block] > blocks->starts[block + 1] ||
	    blocks->starts[block + 1] > blocks->units)
		return false;
	size = (uint64_t) block_units(blocks, block) * UDS_DELTA_BLOCK_UNIT;
	if (size < UDS_DELTA_BLOCK_HEADER || block_units(blocks, block) > UDS_DELTA_UNITS_MAX)
		return false;
	list = (uds_delta_list *) uds_delta_blocks_memory(blocks, block);
	for (uint32_t i = 0; i < count; i++)
	{
		if (list[0].offset == 0)
		{
			if (list[i].bits != 0 || list[i].offset != 0)
				return false;
			continue;
		}
		if (list[i].offset < at)
			return false;
		at = list[i].offset + uds_delta_blocks_bytes(list[i].bits);
	}
	return at <= size;
}

/* Bytes of a block up to the end of its last list. */
static uint32_t
block_extent(const uds_delta_blocks *blocks, uint32_t block)
{
	const uds_delta_list *list = (uds_delta_list *) uds_delta_blocks_memory(blocks, block);
	uint32_t last = lists_of_block(blocks, block) - 1;

	if (list[0].offset == 0)
		return UDS_DELTA_BLOCK_HEADER;
	return list[last].offset + uds_delta_blocks_bytes(list[last].bits);
}

/* Move count blocks from first on to new positions, count + 1 of which are given. */
static void
move_blocks(uds_delta_blocks *blocks, uint32_t first, uint32_t count, const uint32_t *starts)
{
	uint8_t *base = (uint8_t *) blocks + blocks->memory_offset;
	uint32_t extents[UDS_DELTA_BORROW_MAX];
	uint32_t olds[UDS_DELTA_BORROW_MAX];

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t size = (starts[i + 1] - starts[i]) * UDS_DELTA_BLOCK_UNIT;

		if (block_extent(blocks, first + i) > size)
			spread(blocks, first + i, size, 0, 0);
		extents[i] = block_extent(blocks, first + i);
		olds[i] = blocks->starts[first + i];
	}
	for (uint32_t i = 0; i < count; i++)
	{
		if (starts[i] < olds[i])
			memmove(base + (uint64_t) starts[i] * UDS_DELTA_BLOCK_UNIT,
			        base + (uint64_t) olds[i] * UDS_DELTA_BLOCK_UNIT,
			        extents[i]);
	}
	for (uint32_t i = count; i-- > 0;)
	{
		if (starts[i] > olds[i])
			memmove(base + (uint64_t) starts[i] * UDS_DELTA_BLOCK_UNIT,
			        base + (uint64_t) olds[i] * UDS_DELTA_BLOCK_UNIT,
			        extents[i]);
		blocks->starts[first + i] = starts[i];
	}
}

/*
 * Share out the units of count blocks from first on, so that block target gets extra bytes more
 * than it uses and all have equal free space.  False when that leaves less than free_units a
 * block, or target would grow too large.
 */
static bool
share_units(const uds_delta_blocks *blocks, uint32_t first, uint32_t count, uint32_t target,
            uint32_t extra, uint32_t free_units, uint32_t *starts)
{
	uint32_t sizes[UDS_DELTA_BORROW_MAX];
	uint32_t total = blocks->starts[first + count] - blocks->starts[first];
	uint32_t needed = 0;
	uint32_t left;

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t bytes = block_used(blocks, first + i) + (first + i == target ? extra : 0);

		sizes[i] = (bytes + UDS_DELTA_BLOCK_UNIT - 1) / UDS_DELTA_BLOCK_UNIT;
		if (sizes[i] > UDS_DELTA_UNITS_MAX)
			return false;
		needed += sizes[i];
	}
	if (needed > total || total - needed < free_units * count)
		return false;
	left = total - needed;
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t share = UDS_MIN(left / (count - i), UDS_DELTA_UNITS_MAX - sizes[i]);

		sizes[i] += share;
		left -= share;
	}
	for (uint32_t i = count; i-- > 0 && left > 0;)
	{
		uint32_t share = UDS_MIN(left, UDS_DELTA_UNITS_MAX - sizes[i]);

		sizes[i] += share;
		left -= share;
	}
	starts[0] = blocks->starts[first];
	for (uint32_t i = 0; i < count; i++)
		starts[i + 1] = starts[i] + sizes[i];
	return left == 0;
}

/*
 * Get space for a block from its neighbours: look at 2, 4, ... blocks around it until there is
 * enough; the fewer blocks, the more free space each must have left, so that the next call is far.
 */
static uds_status
borrow(uds_delta_blocks *blocks, uint32_t block, uint32_t extra)
{
	uint32_t starts[UDS_DELTA_BORROW_MAX + 1];
	uint32_t free_units = 6;

	for (uint32_t width = 2; width <= UDS_DELTA_BORROW_MAX; width *= 2)
	{
		uint32_t count = UDS_MIN(width, blocks->blocks);
		uint32_t first = block > width / 2 ? block - width / 2 : 0;

		first = UDS_MIN(first, blocks->blocks - count);
		for (uint32_t i = first; i < first + count; i++)
		{
			if (!block_is_sound(blocks, i))
				return UDS_ERR_CORRUPT;
		}
		if (share_units(blocks, first, count, block, extra, free_units, starts))
		{
			move_blocks(blocks, first, count, starts);
			return UDS_OK;
		}
		if (count == blocks->blocks)
			break;
		free_units = UDS_MAX(free_units - 1, 2u);
	}
	return UDS_OVERFLOW;
}

/* Make room for extra more bytes behind a list. */
static uds_status
make_room(uds_delta_blocks *blocks, uint32_t list, uint32_t extra)
{
	uint32_t block = list / UDS_DELTA_BLOCK_LISTS;
	uint32_t used;
	uint32_t size;
	uds_status status;

	if (!block_is_sound(blocks, block))
		return UDS_ERR_CORRUPT;
	used = block_used(blocks, block) + extra;
	if (used + BLOCK_FREE_MIN > block_units(blocks, block) * UDS_DELTA_BLOCK_UNIT)
	{
		status = borrow(blocks, block, extra);
		if (status == UDS_ERR_CORRUPT)
			return status;
	}
	size = block_units(blocks, block) * UDS_DELTA_BLOCK_UNIT;
	if (used > size)
		return UDS_OVERFLOW;
	spread(blocks, block, size, list % UDS_DELTA_BLOCK_LISTS, extra);
	return UDS_OK;
}

uds_status
uds_delta_blocks_resize(uds_delta_blocks *blocks, uint32_t list, uint32_t bits)
{
	uint32_t block = list / UDS_DELTA_BLOCK_LISTS;
	uint32_t number = list % UDS_DELTA_BLOCK_LISTS;
	uds_delta_list *entries = (uds_delta_list *) uds_delta_blocks_memory(blocks, block);
	uint32_t old_bytes = uds_delta_blocks_bytes(entries[number].bits);
	uint32_t bytes = uds_delta_blocks_bytes(bits);
	uint32_t end;
	uds_status status;

	if (bytes > old_bytes)
	{
		end = number + 1 < lists_of_block(blocks, block)
		          ? entries[number + 1].offset
		          : block_units(blocks, block) * UDS_DELTA_BLOCK_UNIT;
		if (entries[0].offset == 0 || entries[number].offset + bytes > end)
		{
			bool is_new = entries[0].offset == 0;

			status = make_room(blocks, list, bytes - old_bytes);
			if (status != UDS_OK)
				return status;
			blocks->rebalances += !is_new;
			entries = (uds_delta_list *) uds_delta_blocks_memory(blocks, block);
		}
	}
	entries[number].bits = (uint16_t) bits;
	blocks->used_bytes += bytes;
	blocks->used_bytes -= old_bytes;
	return UDS_OK;
}

uds_status
uds_delta_blocks_check(const uds_delta_blocks *blocks)
{
	uint64_t used = 0;

	if (blocks->blocks != count_blocks(blocks->lists) || blocks->starts[0] != 0 ||
	    blocks->starts[blocks->blocks] != blocks->units)
		return UDS_ERR_CORRUPT;
	for (uint32_t b = 0; b < blocks->blocks; b++)
	{
		if (!block_is_sound(blocks, b))
			return UDS_ERR_CORRUPT;
		used += block_used(blocks, b) - UDS_DELTA_BLOCK_HEADER;
	}
	return used == blocks->used_bytes ? UDS_OK : UDS_ERR_CORRUPT;
}
