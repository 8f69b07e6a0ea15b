/*
 * page_map.h: which list of a chapter index lies on which index page, for every chapter of the
 * volume.
 *
 * One u16 for every index page of a physical chapter but the last: the number of the last list on
 * that page.  (The last page ends with the last list of the chapter.)  A page without lists repeats
 * the number of its predecessor.
 *
 * A map lies in memory of the caller and holds no pointer.  The chapter writer updates the row of
 * a chapter while zones read it; they may see a mixture of the old and the new row, so what find
 * says is always a page number, but a right one only for a chapter that stays.
 */
#ifndef UDS_PAGE_MAP_H
#define UDS_PAGE_MAP_H

#include <stdatomic.h>

#include "geometry.h"
#include "stream.h"

#pragma GCC visibility push(hidden)

typedef struct uds_page_map
{
	uint32_t chapters;       /* const: physical chapters */
	uint32_t boundaries;     /* const: entries of a chapter, index pages - 1 */
	uint32_t lists;          /* const: lists of a chapter */
	uint32_t reserved;       /* const: 0 */
	_Atomic uint16_t rows[]; /* atomic: relaxed; chapters x boundaries; one writer */
} uds_page_map;

_Static_assert(ATOMIC_SHORT_LOCK_FREE == 2, "used across processes");

/* Bytes needed, a multiple of 64. */
size_t uds_page_map_size(const uds_geometry *geometry);

/* Lay out a map of that size, 64-byte aligned; all rows are zero, as of chapters never written. */
void uds_page_map_init(uds_page_map *map, const uds_geometry *geometry);

/*
 * Set the last list of a page; nothing happens for the last page of a chapter.
 * Caller: the one that writes the chapter.
 *
 * physical_chapter  < chapters
 * page              index page of the chapter, < index pages
 * last_list         < lists
 */
void uds_page_map_update(uds_page_map *map, uint32_t physical_chapter, uint32_t page,
                         uint16_t last_list);

/* Index page (0 .. index pages - 1) of a physical chapter that holds a list (< lists). */
uint32_t uds_page_map_find(const uds_page_map *map, uint32_t physical_chapter, uint32_t list);

/* First and last list of a page; lowest = highest + 1 when the page has no lists. */
void uds_page_map_bounds(const uds_page_map *map, uint32_t physical_chapter, uint32_t page,
                         uint32_t *lowest, uint32_t *highest);

/* Write the whole map.  UDS_OK or the status of the stream. */
UDS_MUST_CHECK uds_status uds_page_map_save(const uds_page_map *map, uds_stream *stream);

/*
 * Read a map that was saved with the same geometry.
 *
 * UDS_ERR_CORRUPT  another geometry, or a row that decreases or names a list that does not exist
 * others           status of the stream
 * After a failure all rows are zero.
 */
UDS_MUST_CHECK uds_status uds_page_map_load(uds_page_map *map, uds_stream *stream);

#pragma GCC visibility pop

#endif
