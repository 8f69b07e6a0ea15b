/*
 * page.h: what a page of the volume is bound to.
 *
 * The checksum of every page starts from its identity, so a page that is stale, misplaced, half
 * overwritten or of another index fails its check like a rotten one.
 */
#ifndef UDS_PAGE_H
#define UDS_PAGE_H

#include "status.h"

#pragma GCC visibility push(hidden)

typedef struct uds_page_identity
{
	uint64_t nonce;         /* of the index */
	uint64_t physical_page; /* number of the page in the volume file; the header page is 0 */
	uint64_t chapter;       /* virtual chapter */
	uint32_t generation;    /* of the start of the index that wrote the page */
} uds_page_identity;

/*
 * Start value for the CRC of a page: CRC-32C over nonce, physical page, chapter (u64 each) and
 * generation (u32), little endian and without gaps.  The CRC of a page is
 * uds_port_crc32c(uds_page_seed(identity), bytes, ...).
 */
UDS_MUST_CHECK uint32_t uds_page_seed(const uds_page_identity *identity);

#pragma GCC visibility pop

#endif
