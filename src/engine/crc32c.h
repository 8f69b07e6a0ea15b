/*
 * crc32c.h: CRC-32C (Castagnoli) for hosts: three streams at once where the processor has the
 * instruction, which is about three times as fast as one.
 */
#ifndef UDS_CRC32C_H
#define UDS_CRC32C_H

#include "status.h"

#pragma GCC visibility push(hidden)

/* As uds_port_crc32c (port.h). */
UDS_MUST_CHECK uint32_t uds_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The same without special instructions; for tests. */
UDS_MUST_CHECK uint32_t uds_crc32c_portable(uint32_t crc, const void *data, size_t bytes);

#pragma GCC visibility pop

#endif
