/*
 * volume.h: the chapter file.
 *
 * Page 0 is a header.  Physical chapter k takes pages_per_chapter pages from page
 * 1 + k * pages_per_chapter on: index pages, record pages, the seal.  The seal makes a chapter
 * exist: it names the chapter and carries a checksum over the checksums of all other pages.  All
 * pages of a chapter, the seal included, are written and then synced once; a chapter is begun only
 * after the sync of its predecessor, so at most the newest seal can lie, and recovery verifies that
 * chapter as a whole.
 *
 * What chapter lies in which place is kept in the shared block (uds_chapter_slot), so a read asks
 * no file, and a page of a chapter that has expired meanwhile is told from damage.
 */
#ifndef UDS_VOLUME_H
#define UDS_VOLUME_H

#include <stdatomic.h>

#include "geometry.h"
#include "page.h"
#include "port.h"
#include "record.h"

#pragma GCC visibility push(hidden)

#define UDS_VOLUME_FILE    "volume"
#define UDS_VOLUME_MAGIC   UINT64_C(0x31454d554c4f5655) /* "UVOLUME1" */
#define UDS_SEAL_MAGIC     UINT64_C(0x314c414553534455) /* "UDSSEAL1" */
#define UDS_FORMAT_VERSION 1
#define UDS_NAME_KEY_BYTES 16

/* Page 0 of the volume, as stored; the rest of the page is zero. */
typedef struct uds_volume_header
{
	uint64_t magic;
	uint32_t format_version;
	uint32_t crc; /* CRC-32C of the page with this field zero */
	uint64_t nonce;
	uint8_t name_key[UDS_NAME_KEY_BYTES];
	uint32_t page_bytes;
	uint32_t index_page_bytes;
	uint32_t records_per_page;
	uint32_t record_pages;
	uint32_t chapters;
	uint32_t sparse_chapters;
	uint32_t is_reduced;
	uint32_t sample_rate; /* 0 = dense */
	uint64_t remapped_virtual;
	uint64_t remapped_physical;
} uds_volume_header;

_Static_assert(sizeof(uds_volume_header) == 88, "stored as raw bytes");
_Static_assert(offsetof(uds_volume_header, nonce) == 16, "stored as raw bytes");
_Static_assert(offsetof(uds_volume_header, page_bytes) == 40, "stored as raw bytes");
_Static_assert(offsetof(uds_volume_header, remapped_virtual) == 72, "stored as raw bytes");

/* Last page of a chapter, as stored; the rest of the page is zero. */
typedef struct uds_seal
{
	uint64_t magic;
	uint32_t format_version;
	uint32_t crc; /* CRC-32C of the page with this field zero, from uds_page_seed() */
	uint64_t nonce;
	uint64_t chapter; /* virtual */
	uint32_t generation;
	uint32_t records; /* tombstones included */
	uint32_t tombstones;
	uint32_t unindexed; /* records that the chapter index does not lead to */
	uds_stamp stamp;    /* the host's mark when the chapter was written */
	uint32_t pages_crc; /* CRC-32C of the checksums (u32) of all other pages in order */
	uint32_t reserved;
} uds_seal;

_Static_assert(sizeof(uds_seal) == 72, "stored as raw bytes");
_Static_assert(offsetof(uds_seal, generation) == 32, "stored as raw bytes");
_Static_assert(offsetof(uds_seal, stamp) == 48, "stored as raw bytes");
_Static_assert(offsetof(uds_seal, pages_crc) == 64, "stored as raw bytes");

/* What lies in a physical chapter.  In the shared block. */
typedef struct uds_chapter_slot
{
	/* atomic: UDS_NO_CHAPTER while nothing readable is there; release by the chapter writer after
	 * the other fields and the pages, acquire by readers */
	_Atomic uint64_t chapter;
	_Atomic uint32_t generation; /* atomic: published by chapter */
	_Atomic uint32_t records;    /* atomic: published by chapter */
	_Atomic uint32_t tombstones; /* atomic: published by chapter */
	_Atomic uint32_t damage;     /* atomic: relaxed; 1 = a bad page was logged already */
} uds_chapter_slot;

/* One worker's view of the volume.  Process-local. */
typedef struct uds_volume
{
	uds_port *port;
	uds_port_file *file; /* NULL while it is not open */
	const uds_geometry *geometry;
	uds_chapter_slot *slots;       /* in the block: one per physical chapter */
	const _Atomic uint64_t *nonce; /* in the block */
	_Atomic uint64_t *bad_pages;   /* in the block: statistics */
	int32_t read_errno;            /* of the last read of a page that has failed */
} uds_volume;

/* UDS_NOT_FOUND when there is no volume file. */
UDS_MUST_CHECK uds_status uds_volume_open(uds_volume *volume, uint32_t file_flags,
                                          uds_error *error);
void uds_volume_close(uds_volume *volume);

/* Write the header page; not synced. */
UDS_MUST_CHECK uds_status uds_volume_write_header(uds_volume *volume, const uint8_t *name_key,
                                                  uds_error *error);

/* UDS_OK when the header is this index's; UDS_ERR_CORRUPT when it has to be written again. */
UDS_MUST_CHECK uds_status uds_volume_check_header(uds_volume *volume, const uint8_t *name_key,
                                                  uds_error *error);

/* Identity of a page (0 .. pages_per_chapter - 1) of a chapter. */
uds_page_identity uds_volume_page_identity(const uds_volume *volume, uint64_t chapter,
                                           uint32_t generation, uint32_t page);

/* Make the checksum of an index or record page in memory anew, for what its number demands. */
void uds_volume_seal_page(const uds_volume *volume, uint8_t *page, uint64_t chapter,
                          uint32_t generation, uint32_t number);

/* Checksum that an index or record page carries, for the seal. */
uint32_t uds_volume_page_crc(const uds_geometry *geometry, const uint8_t *page, uint32_t number);

/* Make a seal page of page_bytes bytes from seal, whose crc is set here. */
void uds_volume_encode_seal(const uds_volume *volume, uds_seal *seal, uint8_t *page);

/*
 * Read the seal of a physical chapter.
 *
 * UDS_OK           seal is filled: a chapter of this index that belongs in this place
 * UDS_NOT_FOUND    the file ends before it, or the page holds no seal of this index (never
 *                  written, of an index that was reset), or one of a chapter that does not belong
 *                  here (left by a conversion that was not finished, or from before it)
 * UDS_ERR_CORRUPT  the page was a seal of this index, but is damaged
 * UDS_ERR_IO       it could not be read
 */
UDS_MUST_CHECK uds_status uds_volume_read_seal(uds_volume *volume, uint32_t physical_chapter,
                                               uds_seal *seal, uds_error *error);

/*
 * Read one index or record page of a chapter and verify it.
 *
 * page    number in the chapter, < index_pages + record_pages
 * buffer  [out] page_bytes
 *
 * UDS_OK           the page as it was written
 * UDS_NOT_FOUND    the chapter is not there (expired, or never was)
 * UDS_ERR_CORRUPT  the page is bad; counted, logged once for a chapter
 * UDS_ERR_IO       it could not be read; the same
 */
UDS_MUST_CHECK uds_status uds_volume_read_page(uds_volume *volume, uint64_t chapter, uint32_t page,
                                               uint8_t *buffer);

/*
 * The same, if the system has the page in memory.  UDS_PENDING: it has not, or cannot tell, and
 * nothing is known; uds_volume_read_page tells.
 */
UDS_MUST_CHECK uds_status uds_volume_read_cached_page(uds_volume *volume, uint64_t chapter,
                                                      uint32_t page, uint8_t *buffer);

/* A hint that a page will be read soon. */
void uds_volume_prefetch_page(uds_volume *volume, uint64_t chapter, uint32_t page);

/* Verify a page in memory against what its place and number demand. */
UDS_MUST_CHECK uds_status uds_volume_verify_page(const uds_volume *volume, const uint8_t *page,
                                                 uint64_t chapter, uint32_t generation,
                                                 uint32_t number);

/*
 * Read count pages of a chapter from page first on, unverified, in pieces with should_stop().
 * What lies behind the end of the file reads as zeros.
 */
UDS_MUST_CHECK uds_status uds_volume_read_pages(uds_volume *volume, uint32_t physical_chapter,
                                                uint32_t first, uint32_t count, uint8_t *buffer,
                                                uds_error *error);

/*
 * Read all index pages of a chapter and verify them, each by itself and that together they hold
 * each list once, in order.
 *
 * buffer  [out] index_pages pages of page_bytes, one behind the other
 *
 * UDS_OK           the pages as they were written
 * UDS_NOT_FOUND    the chapter is not there (expired, or never was)
 * UDS_STOPPED      the host asked to stop
 * UDS_ERR_CORRUPT  a page is bad; the first one is counted, logged once for a chapter
 * UDS_ERR_IO       they could not be read; the same
 */
UDS_MUST_CHECK uds_status uds_volume_read_index_pages(uds_volume *volume, uint64_t chapter,
                                                      uint8_t *buffer);

/*
 * Verify a sealed chapter as a whole.  image: pages_per_chapter pages of scratch memory.
 * UDS_OK, UDS_ERR_CORRUPT, UDS_ERR_IO, UDS_STOPPED.
 */
UDS_MUST_CHECK uds_status uds_volume_verify_chapter(uds_volume *volume, const uds_seal *seal,
                                                    uint8_t *image, uds_error *error);

/*
 * Write a whole chapter (image: pages_per_chapter pages, seal included) and sync it.  The caller
 * has marked the slot UDS_NO_CHAPTER before and publishes the new chapter after it.
 * UDS_OK: durable.  UDS_STOPPED or an error: nothing is known about the place.
 */
UDS_MUST_CHECK uds_status uds_volume_write_chapter(uds_volume *volume, uint64_t chapter,
                                                   const uint8_t *image, uds_error *error);

#pragma GCC visibility pop

#endif
