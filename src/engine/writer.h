/*
 * writer.h: the chapter writer as a worker.
 *
 * Its calls are declared in index.h (uds_writer_*), where its host finds them.
 */
#ifndef UDS_WRITER_H
#define UDS_WRITER_H

#include "block.h"

#endif
