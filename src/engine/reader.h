/*
 * reader.h: the worker that performs the reads of the page cache and loads sparse chapters.
 *
 * Its calls are declared in index.h (uds_reader_*), where its host finds them.
 */
#ifndef UDS_READER_H
#define UDS_READER_H

#include "block.h"

#endif
