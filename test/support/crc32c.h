/*
 * crc32c.h: CRC-32C for hosts that have no library for it.
 */
#ifndef UDS_CRC32C_H
#define UDS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* As uds_port_crc32c (port.h). */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
