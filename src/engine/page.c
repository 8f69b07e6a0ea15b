/*
 * page.c: what a page of the volume is bound to.
 */
#include "page.h"

#include <string.h>

#include "port.h"

#define SEED_BYTES 28

uint32_t
uds_page_seed(const uds_page_identity *identity)
{
	uint8_t bytes[SEED_BYTES];

	memcpy(bytes, &identity->nonce, 8);
	memcpy(bytes + 8, &identity->physical_page, 8);
	memcpy(bytes + 16, &identity->chapter, 8);
	memcpy(bytes + 24, &identity->generation, 4);
	return uds_port_crc32c(0, bytes, sizeof(bytes));
}
