/*
 * chapter_index.h: the delta index of a closed chapter: name -> record page (specification 01,
 * section 6).
 *
 * The index pages of a chapter are built at once from all its records, outside the zones: records
 * are sorted by (list, address, order), then the lists are encoded straight into the pages.  The
 * result is what inserting the records one after the other into a mutable delta index gives.
 *
 * An index page is geometry.parameters.page_bytes long: a delta page in the first index_page_bytes,
 * zeros, and the CRC in the last 4 bytes.  A geometry with less than 4 bytes behind the delta page
 * has pages without CRC.
 *
 * Functions that read a page are safe for any bytes in it.
 */
#ifndef UDS_CHAPTER_INDEX_H
#define UDS_CHAPTER_INDEX_H

#include "delta_page.h"
#include "geometry.h"
#include "page.h"
#include "record_page.h"

#pragma GCC visibility push(hidden)

/* Bytes of scratch memory that a build needs, a multiple of 64: about 16.2 a record. */
size_t uds_chapter_index_size(const uds_geometry *geometry);

/*
 * Build all index pages of a chapter.  Record i lies on record page i / records_per_page.
 *
 * scratch            uds_chapter_index_size() bytes, 8-byte aligned; contents are lost
 * records            count records with distinct names, tombstones included; not kept
 * count              0..records_per_chapter
 * pages       [out]  index_pages pages of page_bytes, one behind the other; without CRC until
 *                    uds_chapter_index_seal_page()
 * last_lists  [out]  index_pages items: number of the last list on the page; a page without lists
 *                    repeats its predecessor's
 * dropped     [out]  records that the index does not lead to: their list would not have fit on one
 *                    index page, or all lists not on all pages.  None with uniform names.
 *
 * UDS_ERR_ARGUMENT  count is too large, or the index pages could not take the lists even if all were
 *                   empty (never with a geometry from uds_geometry_init); nothing was written
 */
UDS_MUST_CHECK uds_status uds_chapter_index_build(void *scratch, const uds_geometry *geometry,
                                                  const uds_record_ref *records, uint32_t count,
                                                  uint64_t nonce, uint64_t chapter, uint8_t *pages,
                                                  uint16_t *last_lists, uint32_t *dropped);

/* Set the CRC of one page for the place it is going to be written to. */
void uds_chapter_index_seal_page(uint8_t *page, const uds_geometry *geometry,
                                 const uds_page_identity *identity);

/*
 * Is this an index page that was written under this identity?  Checks CRC, nonce, chapter, frame
 * and list numbers, not the lists themselves.  UDS_OK or UDS_ERR_CORRUPT.
 */
UDS_MUST_CHECK uds_status uds_chapter_index_verify_page(const uint8_t *page,
                                                        const uds_geometry *geometry,
                                                        const uds_page_identity *identity);

/* Number of the first list on a page, and how many there are. */
void uds_chapter_index_bounds(const uint8_t *page, uint32_t *first_list, uint32_t *list_count);

/*
 * Find the record page of a name.
 *
 * UDS_OK           *record_page < record_pages; the record there may have another name
 * UDS_NOT_FOUND    no record of the chapter has the name, or its list is not on this page
 * UDS_ERR_CORRUPT  the list makes no sense
 */
UDS_MUST_CHECK uds_status uds_chapter_index_search(const uint8_t *page,
                                                   const uds_geometry *geometry,
                                                   const uds_name *name, uint32_t *record_page);

/*
 * Walk all lists of a page and check every entry: it ends within its list, its address and record
 * page are in range, its name, if it carries one, belongs there.
 *
 * entries, collisions  [out] numbers of entries and of those with a name; may be NULL; set on
 *                      UDS_OK only
 *
 * UDS_OK or UDS_ERR_CORRUPT
 */
UDS_MUST_CHECK uds_status uds_chapter_index_walk(const uint8_t *page, const uds_geometry *geometry,
                                                 uint32_t *entries, uint32_t *collisions);

#pragma GCC visibility pop

#endif
