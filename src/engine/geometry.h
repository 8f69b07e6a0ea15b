/*
 * geometry.h: every size that follows from the parameters of an index, and the arithmetic of
 * chapters.  Source: specification 01, section 2, with page sizes as parameters, so that the
 * original's vectors (32 kB pages) and the product (4 kB pages with checksums) use one code.
 */
#ifndef UDS_GEOMETRY_H
#define UDS_GEOMETRY_H

#include "status.h"

/* The product's pages. */
#define UDS_PAGE_BYTES       4096
#define UDS_INDEX_PAGE_BYTES 4092 /* of an index page, without its checksum */
#define UDS_RECORDS_PER_PAGE 127  /* a perfect search tree of 7 levels */
#define UDS_SEAL_PAGES       1

/* Of a sparse index, one name in so many is a hook: it stays indexed when its chapter is sparse. */
#define UDS_SAMPLE_RATE 32

#define UDS_MEMORY_MB_MIN 4
#define UDS_MEMORY_MB_MAX (1024 * 1024)
/* Records of a chapter that a zone must have for itself. */
#define UDS_RECORDS_PER_ZONE_MIN 500

typedef struct uds_geometry_parameters
{
	uint32_t page_bytes;       /* whole page, 1024..65536 */
	uint32_t index_page_bytes; /* the part that holds delta lists, <= page_bytes */
	uint32_t records_per_page;
	uint32_t record_pages;    /* per chapter, >= 1 */
	uint32_t extra_pages;     /* per chapter: the seal */
	uint32_t chapters;        /* per volume, >= 2 */
	uint32_t sparse_chapters; /* per volume, < chapters; 0 = dense */
	uint32_t sample_rate;     /* one name in so many is a hook; 0 in a dense index, where none is */
	bool is_reduced;          /* converted: one chapter fewer */
	uint64_t remapped_virtual;
	uint64_t remapped_physical;
} uds_geometry_parameters;

/* Constant after uds_geometry_init. */
typedef struct uds_geometry
{
	uds_geometry_parameters parameters;
	uint32_t dense_chapters;
	uint32_t records_per_chapter;
	uint64_t records_per_volume;
	uint32_t chapter_mean_delta;   /* 65536 */
	uint32_t chapter_payload_bits; /* of a record page number */
	uint32_t chapter_list_bits;
	uint32_t lists_per_chapter;
	uint32_t chapter_address_bits;
	uint32_t index_pages;       /* per chapter */
	uint32_t pages_per_chapter; /* index, record and extra pages */
	uint64_t pages_per_volume;  /* without the header page */
	uint64_t bytes_per_volume;  /* with it */
} uds_geometry;

/* bits(n) of the specification: length of the binary representation, bits(0) = 1. */
static inline uint32_t
uds_geometry_bits(uint64_t n)
{
	return n == 0 ? 1 : 64 - (uint32_t) __builtin_clzll(n);
}

/*
 * Derive everything.  UDS_ERR_ARGUMENT when a parameter is out of its range or a result does not
 * fit its width (19-bit page offsets, 16-bit list and page numbers).  Nothing follows from the
 * sample rate here: that a sparse index has one is for the volume index to check.
 */
UDS_MUST_CHECK uds_status uds_geometry_init(uds_geometry *geometry,
                                            const uds_geometry_parameters *parameters);

/*
 * Parameters of the product for uds.memory in MB (UDS_MEMORY_MB_MIN..MAX, else UDS_ERR_ARGUMENT):
 * record_pages = clamp(2 M, 64, 2048), chapters = 2048 M / record_pages, ten times as many when
 * sparse, of which 95 % are sparse; one name in UDS_SAMPLE_RATE is a hook then.
 */
UDS_MUST_CHECK uds_status uds_geometry_parameters_for_memory(uds_geometry_parameters *parameters,
                                                             uint32_t memory_mb, bool is_sparse);

/* Place of a chapter in the ring: spec 01 section 2.4. */
uint32_t uds_geometry_physical_chapter(const uds_geometry *geometry, uint64_t virtual_chapter);

/* Number of chapters (0..2) that expire when newest becomes the open chapter. */
uint32_t uds_geometry_expire(const uds_geometry *geometry, uint64_t newest);

/*
 * Oldest valid chapter when newest is the open one, of an index that has had no conversion
 * (newest - chapters + 1, or 0).
 */
uint64_t uds_geometry_oldest(const uds_geometry *geometry, uint64_t newest);

/* Spec 01 section 2.5. */
bool uds_geometry_has_sparse(const uds_geometry *geometry, uint64_t oldest, uint64_t newest);
bool uds_geometry_is_sparse(const uds_geometry *geometry, uint64_t oldest, uint64_t newest,
                            uint64_t chapter);

/* First page of a physical chapter in the volume: page 0 is the header. */
static inline uint64_t
uds_geometry_chapter_page(const uds_geometry *geometry, uint32_t physical_chapter)
{
	return 1 + (uint64_t) geometry->pages_per_chapter * physical_chapter;
}

/* Is a name with this sampling field a hook? */
static inline bool
uds_geometry_is_hook(uint32_t sample_rate, uint32_t sampling_field)
{
	return sample_rate != 0 && sampling_field % sample_rate == 0;
}

/* Fields of a name in the chapter index (spec 01 section 1). */
static inline uint32_t
uds_geometry_chapter_address(const uds_geometry *geometry, uint64_t chapter_field)
{
	return (uint32_t) (chapter_field & ((UINT64_C(1) << geometry->chapter_address_bits) - 1));
}

static inline uint32_t
uds_geometry_chapter_list(const uds_geometry *geometry, uint64_t chapter_field)
{
	return (uint32_t) (chapter_field >> geometry->chapter_address_bits) &
	       (geometry->lists_per_chapter - 1);
}

#endif
