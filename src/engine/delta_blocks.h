/*
 * delta_blocks.h: the memory of the delta lists of one zone: where each list lies, and how it gets
 * room to grow.
 *
 * Lists are byte strings with a length in bits.  UDS_DELTA_BLOCK_LISTS neighbouring lists share a
 * block, which holds their descriptors and their bytes, in order, with gaps between them.  A list
 * that has used up its gap makes its block spread its gaps anew; a block that is short of space
 * takes some from at most UDS_DELTA_BORROW_MAX neighbouring blocks.  So the work of one call is
 * bounded whatever the size of the zone.
 *
 * One thread at a time.  The memory belongs to the caller and holds no pointers.
 */
#ifndef UDS_DELTA_BLOCKS_H
#define UDS_DELTA_BLOCKS_H

#include "status.h"

#define UDS_DELTA_BLOCK_LISTS 32
#define UDS_DELTA_BLOCK_UNIT  64   /* bytes; sizes and positions of blocks are multiples */
#define UDS_DELTA_UNITS_MAX   1023 /* of a block: offsets of lists are 16 bits */
#define UDS_DELTA_BORROW_MAX  64   /* blocks */

/* Descriptor of a list. */
typedef struct uds_delta_list
{
	uint16_t offset; /* of its first byte in the block; without meaning when bits is 0 and the
	                  * block has not been laid out */
	uint16_t bits;
	uint16_t mark; /* the user's */
} uds_delta_list;

_Static_assert(sizeof(uds_delta_list) == 6, "the memory of a record depends on it");

#define UDS_DELTA_BLOCK_HEADER \
	((uint32_t) UDS_ALIGN(UDS_DELTA_BLOCK_LISTS * sizeof(uds_delta_list), UDS_DELTA_BLOCK_UNIT))

typedef struct uds_delta_blocks
{
	uint32_t lists;
	uint32_t blocks;
	uint64_t units;         /* of all blocks */
	uint64_t memory_offset; /* of the first block, from this struct on */
	uint64_t used_bytes;    /* of all lists: a running total */
	uint64_t rebalances;    /* times that lists were moved to make room for another */
	uint32_t starts[];      /* blocks + 1 positions in units */
} uds_delta_blocks;

/*
 * Bytes for lists (at least 1) with list_bytes bytes of lists in all, gaps included; a multiple
 * of 64, or 0 when that is out of range.
 */
size_t uds_delta_blocks_size(uint32_t lists, uint64_t list_bytes);

/*
 * Lay out empty lists in memory of that size, 64-byte aligned.  is_zeroed: it holds zeros, and
 * most of it need not be touched.
 */
UDS_MUST_CHECK uds_status uds_delta_blocks_init(uds_delta_blocks *blocks, uint32_t lists,
                                                uint64_t list_bytes, bool is_zeroed);

/* Make all lists empty. */
void uds_delta_blocks_reset(uds_delta_blocks *blocks);

/* Bytes that all lists together can have. */
uint64_t uds_delta_blocks_capacity(const uds_delta_blocks *blocks);

static inline uint8_t *
uds_delta_blocks_memory(const uds_delta_blocks *blocks, uint32_t block)
{
	/* by way of an integer: the compiler must not take the struct for the whole object */
	return (uint8_t *) ((uintptr_t) blocks + blocks->memory_offset +
	                    (uint64_t) blocks->starts[block] * UDS_DELTA_BLOCK_UNIT);
}

/* Descriptor of a list, 0..lists - 1. */
static inline uds_delta_list *
uds_delta_blocks_list(const uds_delta_blocks *blocks, uint32_t list)
{
	return (uds_delta_list *) uds_delta_blocks_memory(blocks, list / UDS_DELTA_BLOCK_LISTS) +
	       list % UDS_DELTA_BLOCK_LISTS;
}

static inline uint32_t
uds_delta_blocks_bytes(uint32_t bits)
{
	return (bits + 7) / 8;
}

/*
 * First byte of a list that is not empty, or NULL when its descriptor leads out of its block.
 * At least 8 bytes behind the list can be read, and written back unchanged.
 */
static inline uint8_t *
uds_delta_blocks_data(const uds_delta_blocks *blocks, uint32_t list)
{
	uint32_t block = list / UDS_DELTA_BLOCK_LISTS;
	uint8_t *memory = uds_delta_blocks_memory(blocks, block);
	const uds_delta_list *entry = (uds_delta_list *) memory + list % UDS_DELTA_BLOCK_LISTS;
	uint32_t units = blocks->starts[block + 1] - blocks->starts[block];

	if (blocks->starts[block + 1] > blocks->units ||
	    blocks->starts[block + 1] < blocks->starts[block] ||
	    entry->offset < UDS_DELTA_BLOCK_HEADER ||
	    entry->offset + uds_delta_blocks_bytes(entry->bits) > units * UDS_DELTA_BLOCK_UNIT)
		return NULL;
	return memory + entry->offset;
}

/*
 * Give a list the length bits, 0..65535.  Its first min(old, new) bits are kept; the list may be
 * somewhere else afterwards, other lists too.  UDS_OVERFLOW when there is no room within reach;
 * then nothing has changed but places.  UDS_ERR_CORRUPT when the memory makes no sense.
 */
UDS_MUST_CHECK uds_status uds_delta_blocks_resize(uds_delta_blocks *blocks, uint32_t list,
                                                  uint32_t bits);

/* Check order, bounds and totals of all lists: UDS_OK or UDS_ERR_CORRUPT. */
UDS_MUST_CHECK uds_status uds_delta_blocks_check(const uds_delta_blocks *blocks);

#endif
