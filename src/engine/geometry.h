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
	bool is_reduced;          /* one chapter fewer: the place before the first one is not used */
	uint64_t remapped_virtual;  /* of a reduced volume: the chapter that was moved, < 2^39 */
	uint64_t remapped_physical; /* and where to, < chapters - 1 */
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
	uint64_t pages_per_volume;  /* without the header page and a place that is not used */
	uint64_t bytes_per_volume;  /* with the header page */
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

/*
 * Parameters of the volume that is left when the first place of another is given up, while chapter
 * newest is open in it and empty, and all before it lie on it: spec 01 section 2.4.
 *
 * parameters  [in,out] of a volume that is not reduced, with >= 3 chapters
 * newest      < 2^39
 *
 * Returns whether a chapter has to be moved: it is parameters->remapped_virtual, which lies in the
 * first place, and goes to the one that the open chapter would have used.
 */
bool uds_geometry_reduce(uds_geometry_parameters *parameters, uint64_t newest);

/* Parameters of the volume that a reduced one was made of; others are returned as they are. */
uds_geometry_parameters uds_geometry_whole(const uds_geometry_parameters *parameters);

/*
 * Place of a chapter in the ring: spec 01 section 2.4.  Chapters that are older than the moved one by
 * a window or more have places, too, so that numbers may begin anew after a loss.
 */
uint32_t uds_geometry_physical_chapter(const uds_geometry *geometry, uint64_t virtual_chapter);

/*
 * Number of chapters (0..2) that expire when newest becomes the open chapter; of a reduced volume,
 * from the conversion on.
 */
uint32_t uds_geometry_expire(const uds_geometry *geometry, uint64_t newest);

/*
 * Oldest valid chapter when newest is the open one: newest - chapters + 1, or 0.  In a reduced volume
 * it is one more from the time when the moved chapter leaves to when its place is used again.  No two
 * of the chapters oldest..newest share a place, also while newest is below what it was at the
 * conversion, because chapters were lost: up to there the window is shorter.
 */
uint64_t uds_geometry_oldest(const uds_geometry *geometry, uint64_t newest);

/* Spec 01 section 2.5. */
bool uds_geometry_has_sparse(const uds_geometry *geometry, uint64_t oldest, uint64_t newest);
bool uds_geometry_is_sparse(const uds_geometry *geometry, uint64_t oldest, uint64_t newest,
                            uint64_t chapter);

/*
 * First page of a physical chapter in the volume file: page 0 is the header.  In a reduced volume the
 * pages of one chapter behind it are not used: all others stay where they were.
 */
static inline uint64_t
uds_geometry_chapter_page(const uds_geometry *geometry, uint32_t physical_chapter)
{
	uint64_t place = (uint64_t) physical_chapter + (geometry->parameters.is_reduced ? 1 : 0);

	return 1 + geometry->pages_per_chapter * place;
}

/* Bytes of the volume file that are not used. */
static inline uint64_t
uds_geometry_unused_bytes(const uds_geometry *geometry)
{
	return geometry->parameters.is_reduced
	           ? (uint64_t) geometry->pages_per_chapter * geometry->parameters.page_bytes
	           : 0;
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
