/*
 * verify.h: reads the volume and tells what is wrong with it.
 *
 * Its calls are declared in index.h (uds_verifier_*), where its host finds them.
 */
#ifndef UDS_VERIFY_H
#define UDS_VERIFY_H

#include "block.h"

#endif
