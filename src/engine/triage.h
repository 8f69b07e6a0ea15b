/*
 * triage.h: decides which sparse chapters are cached, before requests reach their zones.
 *
 * The calls of the triage worker are declared in index.h (uds_triage_*), where its host finds them.
 */
#ifndef UDS_TRIAGE_H
#define UDS_TRIAGE_H

#include "block.h"

#pragma GCC visibility push(hidden)

/*
 * Ask for the sparse chapter, if any, that the volume index names for a hook, and wake a reader.
 * Caller: the triage worker or the owner of any zone, of a sparse index.
 *
 * UDS_OK            whether there was anything to ask for or not
 * UDS_ERR_INTERNAL  the volume index makes no sense
 */
UDS_MUST_CHECK uds_status uds_triage_ask(uds_index *index, uds_port *port, const uds_name *name);

#pragma GCC visibility pop

#endif
