/*
 * sparse_host.h: a small sparse index, filled with names whose chapters are known.
 *
 * Name n is the counter name n.  With one zone, sparse_fill posts name n into chapter n / records.
 */
#ifndef UDS_SPARSE_HOST_H
#define UDS_SPARSE_HOST_H

#include "engine_host.h"

#define SPARSE_RECORD_PAGES 2
#define SPARSE_CHAPTERS     24
#define SPARSE_DENSE        8
#define SPARSE_RATE         4
#define SPARSE_RECORDS      (SPARSE_RECORD_PAGES * 127) /* of a chapter */

/* 24 chapters, of which 16 are sparse; one name in four is a hook; 3 chapters are cached. */
uds_config sparse_config(uint32_t zone_count, uds_index_structure structure);

bool sparse_is_hook(const uds_name *name);

/* Number of the nth hook, or nth other name, of those posted into a chapter. */
uint64_t sparse_hook(uint64_t chapter, uint32_t nth);
uint64_t sparse_other(uint64_t chapter, uint32_t nth);

/* Post names until the first chapters are full; aborts when one is found. */
void sparse_fill(engine *engine, uint32_t chapters);

/* Post count names from a number on, each with its metadata; returns how many were found. */
uint32_t sparse_post(engine *engine, uint64_t first, uint32_t count);

/* Execute a request for a name by its number. */
uds_request sparse_request(engine *engine, uds_operation operation, uint64_t number);

#endif
