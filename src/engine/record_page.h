/*
 * record_page.h: pages of the volume that hold records, searched in place.
 *
 * A page is UDS_PAGE_BYTES long, in any alignment.  Reading functions are safe for any bytes; what
 * they say is right only for a page that passed uds_record_page_verify.
 */
#ifndef UDS_RECORD_PAGE_H
#define UDS_RECORD_PAGE_H

#include "geometry.h"
#include "page.h"
#include "record.h"

#pragma GCC visibility push(hidden)

/* One record of a chapter that is being written; lends the record from an open chapter. */
typedef struct uds_record_ref
{
	const uds_record *record;
	bool is_tombstone;
} uds_record_ref;

/* A record page as stored. */
typedef struct uds_record_page
{
	uint32_t crc; /* CRC-32C of all that follows, from uds_page_seed() */
	uint16_t record_count;
	uint16_t page_number;   /* among the record pages of the chapter, from 0 */
	uint64_t chapter;       /* virtual chapter */
	uint64_t tombstones[2]; /* bit i of the 128: record i is a tombstone */
	uds_record records[UDS_RECORDS_PER_PAGE];
} uds_record_page;

_Static_assert(sizeof(uds_record_page) == UDS_PAGE_BYTES, "stored as raw bytes");
_Static_assert(offsetof(uds_record_page, record_count) == 4, "stored as raw bytes");
_Static_assert(offsetof(uds_record_page, page_number) == 6, "stored as raw bytes");
_Static_assert(offsetof(uds_record_page, chapter) == 8, "stored as raw bytes");
_Static_assert(offsetof(uds_record_page, tombstones) == 16, "stored as raw bytes");
_Static_assert(offsetof(uds_record_page, records) == 32, "stored as raw bytes");
_Static_assert(UDS_RECORDS_PER_PAGE < 128, "one bit a record in the header");

/*
 * Place of each rank in a complete binary search tree in heap order: node 0 is the root, the
 * children of node m are 2m + 1 and 2m + 2, and the nodes in ascending order of their keys have
 * the ranks 0, 1, ... count - 1.
 *
 * positions  [out] count items: positions[rank] = node
 */
void uds_record_page_order(uint16_t *positions, uint32_t count);

/*
 * Write a page: sort the records by name (bytewise) and store them as a tree; what is left of the
 * page becomes zero.
 *
 * page         [out] UDS_PAGE_BYTES
 * records            count records with distinct names, in any order; not kept
 * count              0..UDS_RECORDS_PER_PAGE
 * page_number        among the record pages of the chapter
 */
void uds_record_page_encode(uint8_t *page, const uds_record_ref *records, uint32_t count,
                            uint16_t page_number, const uds_page_identity *identity);

/* Make the checksum of a page anew, for another identity of the same chapter. */
void uds_record_page_seal(uint8_t *page, const uds_page_identity *identity);

/*
 * Is this the page that was written under this number and identity?
 * UDS_OK, or UDS_ERR_CORRUPT.
 */
UDS_MUST_CHECK uds_status uds_record_page_verify(const uint8_t *page, uint16_t page_number,
                                                 const uds_page_identity *identity);

/*
 * Look for a name.
 *
 * metadata      [out] of the record, a tombstone's too; may be NULL
 * is_tombstone  [out] whether the record is a tombstone; may be NULL
 *
 * UDS_OK           found
 * UDS_NOT_FOUND    the name is not on the page; outputs are not set
 * UDS_ERR_CORRUPT  the page says that it holds more records than fit; outputs are not set
 */
UDS_MUST_CHECK uds_status uds_record_page_search(const uint8_t *page, const uds_name *name,
                                                 uds_metadata *metadata, bool *is_tombstone);

/* Records on the page, at most UDS_RECORDS_PER_PAGE whatever the page says. */
uint32_t uds_record_page_count(const uint8_t *page);

/* Record number i < uds_record_page_count(page), in the order of the page; lies in the page. */
const uds_record *uds_record_page_record(const uint8_t *page, uint32_t i);
bool uds_record_page_is_tombstone(const uint8_t *page, uint32_t i);

#pragma GCC visibility pop

#endif
