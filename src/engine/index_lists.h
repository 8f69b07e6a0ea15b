/*
 * index_lists.h: the volume index in delta lists (specification 01, section 5), improved.  The
 * contract of every function is at the top of index_entry.h.
 *
 * Beyond it: a handle that a change of the window has overtaken is looked up again by put and
 * move, so its kind may change from HINT to NONE; move then puts the name as a hint.  A window
 * that leaps over everything stored empties the zone, which takes time in proportion to its
 * lists; every other call does bounded work.  load refuses a part whose newest chapter is below
 * the window of the index.
 */
#ifndef UDS_INDEX_LISTS_H
#define UDS_INDEX_LISTS_H

#include "index_entry.h"

typedef struct uds_index_lists uds_index_lists;

size_t uds_index_lists_size(const uds_index_parameters *parameters);
UDS_MUST_CHECK uds_status uds_index_lists_init(uds_index_lists *index,
                                               const uds_index_parameters *parameters);
uint32_t uds_index_lists_zone(const uds_index_lists *index, const uds_name *name);
uint64_t uds_index_lists_position(const uds_index_lists *index, const uds_name *name);
uint64_t uds_index_lists_zone_start(const uds_index_lists *index, uint32_t zone);
void uds_index_lists_prefetch(const uds_index_lists *index, const uds_name *name);
UDS_MUST_CHECK uds_status uds_index_lists_get(uds_index_lists *index, const uds_name *name,
                                              uds_index_entry *entry);
UDS_MUST_CHECK uds_status uds_index_lists_put(uds_index_lists *index, uds_index_entry *entry,
                                              uint64_t chapter);
UDS_MUST_CHECK uds_status uds_index_lists_move(uds_index_lists *index, uds_index_entry *entry,
                                               uint64_t chapter);
UDS_MUST_CHECK uds_status uds_index_lists_remove(uds_index_lists *index, uds_index_entry *entry);
UDS_MUST_CHECK uds_status uds_index_lists_set_window(uds_index_lists *index, uint32_t zone,
                                                     uint64_t oldest, uint64_t newest);
uint64_t uds_index_lists_oldest(const uds_index_lists *index, uint32_t zone);
void uds_index_lists_counters(const uds_index_lists *index, uint32_t zone,
                              uds_index_counters *counters);
UDS_MUST_CHECK uds_status uds_index_lists_save(const uds_index_lists *index, uint32_t zone,
                                               uds_stream *stream);
UDS_MUST_CHECK uds_status uds_index_lists_load(uds_index_lists *index, uds_stream *stream);
UDS_MUST_CHECK uds_status uds_index_lists_check(const uds_index_lists *index, uint32_t zone);

#endif
