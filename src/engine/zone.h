/*
 * zone.h: execution of the requests of a zone.
 *
 * The calls of a zone worker are declared in index.h (uds_zone_*), where its host finds them.
 */
#ifndef UDS_ZONE_H
#define UDS_ZONE_H

#include "block.h"

#pragma GCC visibility push(hidden)

/*
 * Close the open chapter of a zone and open the next one.  Caller: the owner of the zone.
 *
 * UDS_OK            done; other zones are asked to follow, the writer is woken
 * UDS_PENDING       the writer is UDS_CHAPTER_BUFFERS - 1 chapters behind; nothing was changed
 * UDS_ERR_INTERNAL  the window of the volume index could not be moved
 */
UDS_MUST_CHECK uds_status uds_zone_close_chapter(uds_index *index, uds_port *port, uint32_t number);

#pragma GCC visibility pop

#endif
