/*
 * delta_page.h: immutable pages of consecutive delta lists, searched in place (specification 01,
 * section 4).
 *
 * Writing: the caller knows the bits of each of its lists; uds_delta_page_fit says how many fit,
 * uds_delta_page_begin writes everything but the lists, and the caller encodes these straight into
 * the page, one behind the other (delta_code.h).
 *
 * Reading: every function is safe for any bytes in a page.  uds_delta_page_open checks the frame
 * completely; the others check what they use.  A page is byte-aligned memory of page_bytes
 * (UDS_DELTA_PAGE_BYTES_MIN..MAX); it is not changed, and there are no functions that change it.
 */
#ifndef UDS_DELTA_PAGE_H
#define UDS_DELTA_PAGE_H

#include "delta_code.h"

#pragma GCC visibility push(hidden)

#define UDS_DELTA_PAGE_BYTES_MIN 32
#define UDS_DELTA_PAGE_BYTES_MAX 65536

typedef struct uds_delta_page_header
{
	uint64_t nonce;
	uint64_t chapter;    /* virtual chapter */
	uint16_t first_list; /* number of the first list on the page */
	uint16_t list_count; /* lists on the page, may be 0 */
} uds_delta_page_header;

/* A walk through one list; process-local, lends the page. */
typedef struct uds_delta_page_cursor
{
	const uint8_t *page;
	uint64_t key;        /* sum of the deltas up to the current entry */
	uint32_t offset;     /* bit offset of the entry that next looks at */
	uint32_t end;        /* bit offset behind the list */
	uint32_t value;      /* of the current entry */
	uint32_t entry_bits; /* of the current entry; 0 before the first */
	bool is_first;       /* no entry has been passed */
	bool is_collision;   /* the current entry carries a name */
	uds_name name;       /* of a collision entry */
} uds_delta_page_cursor;

/* Bits that the longest list may have on an otherwise empty page, at most 65535. */
uint32_t uds_delta_page_list_bits_max(uint32_t page_bytes);

/* Lists that a page can hold when all of them are empty. */
uint32_t uds_delta_page_lists_max(uint32_t page_bytes);

/* How many of the lists with these sizes in bits, from the first on, fit on one page. */
uint32_t uds_delta_page_fit(uint32_t page_bytes, const uint16_t *list_bits, uint32_t list_count);

/*
 * Write header, offset table and guard, and zero the rest.
 *
 * page       [out] page_bytes
 * header           list_count must fit (uds_delta_page_fit)
 * list_bits        header->list_count sizes
 *
 * Returns the bit offset of the first list: 160 + 19 (list_count + 1).  The caller writes the lists
 * there without gaps.  As long as it stays within the announced sizes, uds_bits_set and the
 * functions of delta_code.h do not touch memory outside the page and leave the guard as it is.
 */
uint32_t uds_delta_page_begin(uint8_t *page, uint32_t page_bytes,
                              const uds_delta_page_header *header, const uint16_t *list_bits);

/*
 * Check the frame of a page: nonce, list count, offset table, guard.
 * UDS_OK and *header, or UDS_ERR_CORRUPT.
 */
UDS_MUST_CHECK uds_status uds_delta_page_open(const uint8_t *page, uint32_t page_bytes,
                                              uint64_t nonce, uds_delta_page_header *header);

/* Header fields of a page, unchecked. */
uds_delta_page_header uds_delta_page_read_header(const uint8_t *page);

/*
 * Stand before the first entry of a list.
 * UDS_NOT_FOUND: the list is not on the page.  UDS_ERR_CORRUPT: its offsets make no sense.
 */
UDS_MUST_CHECK uds_status uds_delta_page_begin_list(const uint8_t *page, uint32_t page_bytes,
                                                    uint32_t list, uds_delta_page_cursor *cursor);

/*
 * Go to the next entry.
 * UDS_OK: key, value, is_collision and name are set.  UDS_NOT_FOUND: the list ends here.
 * UDS_ERR_CORRUPT: the entry would end behind the list.
 */
UDS_MUST_CHECK uds_status uds_delta_page_next(const uds_delta_code *code,
                                              uds_delta_page_cursor *cursor);

/*
 * Find a name by its key: a collision entry of the key with exactly this name, else the plain
 * entry of the key, which may belong to another name.
 *
 * UDS_OK           *value is set
 * UDS_NOT_FOUND    no entry has the key, or the list is not on the page
 * UDS_ERR_CORRUPT  the list makes no sense up to the place of the key
 */
UDS_MUST_CHECK uds_status uds_delta_page_find(const uint8_t *page, uint32_t page_bytes,
                                              const uds_delta_code *code, uint32_t list,
                                              uint32_t key, const uds_name *name, uint32_t *value);

#pragma GCC visibility pop

#endif
