/*
 * delta_index.h: the mutable delta lists of one zone (specification 01, section 3): a sorted
 * multimap from (list, key) to small values, where names tell entries of one key apart.
 *
 * The first entry of a key is a plain one and holds no name.  Further entries of that key are
 * collision entries with their full name, newest first.  When the plain entry goes, the first
 * collision entry takes its place and its name is given up: from then on it stands for any name
 * of that key, as plain entries do.
 *
 * One thread at a time.  The memory belongs to the caller and holds no pointers.
 */
#ifndef UDS_DELTA_INDEX_H
#define UDS_DELTA_INDEX_H

#include "delta_blocks.h"
#include "delta_code.h"

typedef struct uds_delta_parameters
{
	uint32_t lists; /* at least 1 */
	uint32_t mean_delta;
	uint32_t value_bits; /* 1..25 */
	uint64_t list_bytes; /* for all lists, gaps included */
	bool is_zeroed;      /* the memory given to init holds zeros */
} uds_delta_parameters;

typedef struct uds_delta_index
{
	uds_delta_code code;
	uint64_t records;
	uint64_t collisions;                              /* collision entries among them */
	uint64_t discards;                                /* entries removed */
	uint64_t overflows;                               /* entries refused */
	_Alignas(UDS_CACHE_LINE) uds_delta_blocks blocks; /* last: the memory follows */
} uds_delta_index;

/*
 * A position in a list: before the first entry (bits 0), on an entry, or at the end.  Good until
 * an entry of its list is added or removed by other means than through it; changed values and
 * other lists do not matter.
 */
typedef struct uds_delta_cursor
{
	uint32_t list;
	uint32_t offset; /* of the entry in the list; at the end, the length of the list */
	uint32_t bits;   /* of the entry; 0 at the end and before the first entry */
	uint32_t key;    /* of the entry; at the end, of the last entry, or 0 */
	uint32_t delta;  /* to the key before */
	uint32_t value;
	bool is_end;
	bool is_collision;
} uds_delta_cursor;

/* Which entries have expired: those whose value v has (v - base) mod 2^value_bits < limit. */
typedef struct uds_delta_expiry
{
	uint32_t base;
	uint32_t limit;         /* 0..2^value_bits */
	uint32_t lowest;        /* [out] lowest (v - base) mod 2^value_bits of what is left; UINT32_MAX
	                    * when nothing is */
	uint32_t early;         /* entries from here to limit count as early */
	uint64_t dropped;       /* [in,out] grows by the number of entries removed, early ones too */
	uint64_t dropped_early; /* [in,out] grows by the number of early ones */
} uds_delta_expiry;

/* Bytes needed, a multiple of 64; 0 when the parameters are out of range. */
size_t uds_delta_index_size(const uds_delta_parameters *parameters);

/* Lay out empty lists in memory of that size, 64-byte aligned.  UDS_ERR_ARGUMENT. */
UDS_MUST_CHECK uds_status uds_delta_index_init(uds_delta_index *index,
                                               const uds_delta_parameters *parameters);

/* Make all lists empty.  What was in them counts as discarded. */
void uds_delta_index_reset(uds_delta_index *index);

/* Ask for the memory that a search in a list touches first. */
void uds_delta_index_prefetch(const uds_delta_index *index, uint32_t list);

/* Length of a list in bits. */
static inline uint32_t
uds_delta_index_list_bits(const uds_delta_index *index, uint32_t list)
{
	return uds_delta_blocks_list(&index->blocks, list)->bits;
}

/* 16 bits with each list that belong to the caller. */
static inline uint16_t *
uds_delta_index_mark(uds_delta_index *index, uint32_t list)
{
	return &uds_delta_blocks_list(&index->blocks, list)->mark;
}

/*
 * Stand before the first entry of a list.  UDS_ERR_ARGUMENT when there is no such list.
 */
UDS_MUST_CHECK uds_status uds_delta_index_begin(const uds_delta_index *index, uint32_t list,
                                                uds_delta_cursor *cursor);

/*
 * Step to the next entry, or to the end.  UDS_ERR_BAD_STATE at the end; UDS_ERR_CORRUPT when the
 * bits make no sense.
 */
UDS_MUST_CHECK uds_status uds_delta_index_next(const uds_delta_index *index,
                                               uds_delta_cursor *cursor);

/*
 * Stand on the first entry whose key is not below key, or at the end.  When the key is equal and
 * a collision entry of it carries name (may be NULL), stand on that.  UDS_ERR_ARGUMENT,
 * UDS_ERR_CORRUPT.
 */
UDS_MUST_CHECK uds_status uds_delta_index_find(const uds_delta_index *index, uint32_t list,
                                               uint32_t key, const uds_name *name,
                                               uds_delta_cursor *cursor);

/*
 * Remove the expired entries of a list and stand where find stands.  After UDS_ERR_CORRUPT
 * nothing has changed.
 */
UDS_MUST_CHECK uds_status uds_delta_index_expire(uds_delta_index *index, uint32_t list,
                                                 uint32_t key, const uds_name *name,
                                                 uds_delta_expiry *expiry,
                                                 uds_delta_cursor *cursor);

/*
 * Add an entry where find for (key, name) stands.  name is given exactly when the key is there.
 * On UDS_OK the cursor stands on the new entry; else nothing has changed.
 *
 * UDS_DUPLICATE      the cursor is on a collision entry
 * UDS_OVERFLOW       the list or the memory is full; counted
 * UDS_ERR_ARGUMENT   cursor, key and name do not fit each other, or the value is too wide
 * UDS_ERR_CORRUPT    the memory makes no sense
 */
UDS_MUST_CHECK uds_status uds_delta_index_put(uds_delta_index *index, uds_delta_cursor *cursor,
                                              uint32_t key, uint32_t value, const uds_name *name);

/* Change the value of an entry.  UDS_ERR_BAD_STATE without one, UDS_ERR_ARGUMENT, CORRUPT. */
UDS_MUST_CHECK uds_status uds_delta_index_set_value(uds_delta_index *index,
                                                    uds_delta_cursor *cursor, uint32_t value);

/*
 * Remove an entry and stand on its successor.  UDS_ERR_BAD_STATE without an entry.
 */
UDS_MUST_CHECK uds_status uds_delta_index_remove(uds_delta_index *index, uds_delta_cursor *cursor);

/* Name of a collision entry; UDS_ERR_BAD_STATE when it is not one. */
UDS_MUST_CHECK uds_status uds_delta_index_name(const uds_delta_index *index,
                                               const uds_delta_cursor *cursor, uds_name *name);

/* Copy the bytes of a list, up to 8192; bits behind its end are zero.  UDS_ERR_CORRUPT. */
UDS_MUST_CHECK uds_status uds_delta_index_copy_out(const uds_delta_index *index, uint32_t list,
                                                   uint8_t *bytes);

/*
 * Give an empty list bits bits of content, which come from outside: keys must be below
 * 2^key_bits, and base and highest bound the values: (v - base) mod 2^value_bits <= highest.
 * UDS_ERR_CORRUPT when the content makes no sense or does not fit, or the list is not empty; then
 * nothing has changed but places.
 */
UDS_MUST_CHECK uds_status uds_delta_index_copy_in(uds_delta_index *index, uint32_t list,
                                                  const uint8_t *bytes, uint32_t bits,
                                                  uint32_t key_bits, uint32_t base,
                                                  uint32_t highest);

/*
 * Walk a list and check that its entries decode, with keys below 2^key_bits and values bounded as
 * in copy_in; count them.  UDS_ERR_CORRUPT.
 */
UDS_MUST_CHECK uds_status uds_delta_index_check_list(const uds_delta_index *index, uint32_t list,
                                                     uint32_t key_bits, uint32_t base,
                                                     uint32_t highest, uint32_t *records,
                                                     uint32_t *collisions);

#endif
