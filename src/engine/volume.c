/*
 * volume.c: addresses, reads, checks and writes of the chapter file.
 */
#include "volume.h"

#include "chapter_index.h"
#include "record_page.h"

/* Pages of one write or read call: the host is asked between two whether to stop. */
#define PAGES_PER_CALL 256

static uint32_t
seal_page_number(const uds_geometry *geometry)
{
	return geometry->index_pages + geometry->parameters.record_pages;
}

static uint64_t
page_offset(const uds_geometry *geometry, uint32_t physical_chapter, uint32_t page)
{
	return (uds_geometry_chapter_page(geometry, physical_chapter) + page) *
	       geometry->parameters.page_bytes;
}

uds_status
uds_volume_open(uds_volume *volume, uint32_t file_flags, uds_error *error)
{
	return uds_port_file_open(volume->port, UDS_VOLUME_FILE, file_flags, &volume->file, error);
}

/* A worker that could not open the volume tries again whenever it needs it. */
static uds_status
open_if_closed(uds_volume *volume, uds_error *error)
{
	uds_status status;

	if (volume->file != NULL)
		return UDS_OK;
	status = uds_volume_open(volume, UDS_FILE_READ, error);
	return status == UDS_NOT_FOUND ? uds_error_set(error, UDS_ERR_IO, 0, "volume is missing")
	                               : status;
}

void
uds_volume_close(uds_volume *volume)
{
	if (volume->file != NULL)
		uds_port_file_close(volume->port, volume->file);
	volume->file = NULL;
}

/* Fill a header page; the smallest page is 1024 bytes. */
static void
encode_header(const uds_volume *volume, const uint8_t *name_key, uint8_t page[1024])
{
	const uds_geometry_parameters *p = &volume->geometry->parameters;
	uds_volume_header header = {
		.magic = UDS_VOLUME_MAGIC,
		.format_version = UDS_FORMAT_VERSION,
		.nonce = atomic_load_explicit(volume->nonce, memory_order_relaxed),
		.page_bytes = p->page_bytes,
		.index_page_bytes = p->index_page_bytes,
		.records_per_page = p->records_per_page,
		.record_pages = p->record_pages,
		.chapters = p->chapters,
		.sparse_chapters = p->sparse_chapters,
		.is_reduced = p->is_reduced,
		.sample_rate = p->sample_rate,
		.remapped_virtual = p->remapped_virtual,
		.remapped_physical = p->remapped_physical,
	};

	memcpy(header.name_key, name_key, sizeof(header.name_key));
	memset(page, 0, 1024);
	memcpy(page, &header, sizeof(header));
	header.crc = uds_port_crc32c(0, page, 1024);
	memcpy(page, &header, sizeof(header));
}

uds_status
uds_volume_write_header(uds_volume *volume, const uint8_t *name_key, uds_error *error)
{
	uint8_t page[1024];

	encode_header(volume, name_key, page);
	return uds_port_file_write(volume->port, volume->file, page, sizeof(page), 0, error);
}

uds_status
uds_volume_check_header(uds_volume *volume, const uint8_t *name_key, uds_error *error)
{
	uint8_t expected[1024];
	uint8_t page[1024];
	uds_status status =
		uds_port_file_read(volume->port, volume->file, page, sizeof(page), 0, NULL, error);

	if (status == UDS_NOT_FOUND)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume ends before its header does");
	if (status != UDS_OK)
		return status;
	encode_header(volume, name_key, expected);
	if (memcmp(page, expected, sizeof(page)) != 0)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "header of the volume is damaged");
	return UDS_OK;
}

uds_page_identity
uds_volume_page_identity(const uds_volume *volume, uint64_t chapter, uint32_t generation,
                         uint32_t page)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);

	return (uds_page_identity){
		.nonce = atomic_load_explicit(volume->nonce, memory_order_relaxed),
		.physical_page = uds_geometry_chapter_page(geometry, physical) + page,
		.chapter = chapter,
		.generation = generation,
	};
}

void
uds_volume_seal_page(const uds_volume *volume, uint8_t *page, uint64_t chapter, uint32_t generation,
                     uint32_t number)
{
	const uds_geometry *geometry = volume->geometry;
	uds_page_identity identity = uds_volume_page_identity(volume, chapter, generation, number);

	if (number < geometry->index_pages)
		uds_chapter_index_seal_page(page, geometry, &identity);
	else
		uds_record_page_seal(page, &identity);
}

uint32_t
uds_volume_page_crc(const uds_geometry *geometry, const uint8_t *page, uint32_t number)
{
	uint32_t crc;

	if (number < geometry->index_pages)
		page += geometry->parameters.page_bytes - sizeof(crc);
	memcpy(&crc, page, sizeof(crc));
	return crc;
}

void
uds_volume_encode_seal(const uds_volume *volume, uds_seal *seal, uint8_t *page)
{
	uint32_t page_bytes = volume->geometry->parameters.page_bytes;
	uds_page_identity identity = uds_volume_page_identity(volume,
	                                                      seal->chapter,
	                                                      seal->generation,
	                                                      seal_page_number(volume->geometry));

	seal->crc = 0;
	memset(page, 0, page_bytes);
	memcpy(page, seal, sizeof(*seal));
	seal->crc = uds_port_crc32c(uds_page_seed(&identity), page, page_bytes);
	memcpy(page, seal, sizeof(*seal));
}

/* Is the page a seal that was written for this place? */
static uds_status
check_seal(uds_volume *volume, uint32_t physical_chapter, uint8_t *page, uds_seal *seal,
           uds_error *error)
{
	const uds_geometry *geometry = volume->geometry;
	uds_page_identity identity;
	uds_seal zeroed;

	memcpy(seal, page, sizeof(*seal));
	if (seal->magic != UDS_SEAL_MAGIC ||
	    seal->nonce != atomic_load_explicit(volume->nonce, memory_order_relaxed))
		return UDS_NOT_FOUND;
	zeroed = *seal;
	zeroed.crc = 0;
	memcpy(page, &zeroed, sizeof(zeroed));
	identity = (uds_page_identity){
		.nonce = seal->nonce,
		.physical_page =
			uds_geometry_chapter_page(geometry, physical_chapter) + seal_page_number(geometry),
		.chapter = seal->chapter,
		.generation = seal->generation,
	};
	if (uds_port_crc32c(uds_page_seed(&identity), page, geometry->parameters.page_bytes) !=
	        seal->crc ||
	    seal->format_version != UDS_FORMAT_VERSION ||
	    seal->records > geometry->records_per_chapter || seal->tombstones > seal->records ||
	    seal->unindexed > seal->records)
		return uds_error_set(error,
		                     UDS_ERR_CORRUPT,
		                     0,
		                     "seal of physical chapter %u is damaged",
		                     physical_chapter);
	if (uds_geometry_physical_chapter(geometry, seal->chapter) != physical_chapter)
		return UDS_NOT_FOUND;
	return UDS_OK;
}

uds_status
uds_volume_read_seal(uds_volume *volume, uint32_t physical_chapter, uds_seal *seal,
                     uds_error *error)
{
	_Alignas(UDS_CACHE_LINE) uint8_t page[65536];
	const uds_geometry *geometry = volume->geometry;
	uds_status status =
		uds_port_file_read(volume->port,
	                       volume->file,
	                       page,
	                       geometry->parameters.page_bytes,
	                       page_offset(geometry, physical_chapter, seal_page_number(geometry)),
	                       NULL,
	                       error);

	if (status != UDS_OK)
		return status;
	return check_seal(volume, physical_chapter, page, seal, error);
}

uds_status
uds_volume_verify_page(const uds_volume *volume, const uint8_t *page, uint64_t chapter,
                       uint32_t generation, uint32_t number)
{
	const uds_geometry *geometry = volume->geometry;
	uds_page_identity identity = uds_volume_page_identity(volume, chapter, generation, number);

	if (number < geometry->index_pages)
		return uds_chapter_index_verify_page(page, geometry, &identity);
	return uds_record_page_verify(page, (uint16_t) (number - geometry->index_pages), &identity);
}

/*
 * What to say of a page that could not be read or is bad.  Counts it and tells of the first one of
 * a chapter, unless the chapter has expired meanwhile: a page that is being overwritten is not
 * damage.
 */
static uds_status
explain_bad_page(uds_volume *volume, uds_chapter_slot *slot, uint64_t chapter, uint32_t page,
                 uds_status status, const uds_error *error)
{
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&slot->chapter, memory_order_acquire) != chapter)
		return UDS_NOT_FOUND;
	atomic_fetch_add_explicit(volume->bad_pages, 1, memory_order_relaxed);
	if (atomic_exchange_explicit(&slot->damage, 1, memory_order_relaxed) == 0)
		uds_port_log(volume->port,
		             UDS_LOG_WARNING,
		             "page %u of chapter %llu cannot be used (%s); its records are not found",
		             page,
		             (unsigned long long) chapter,
		             error->message[0] != '\0' ? error->message : "checksum or structure is wrong");
	return status;
}

/*
 * Judge the page in buffer, which was read with a status while the slot is said to have held its
 * chapter in a generation.
 */
static uds_status
check_page(uds_volume *volume, uint64_t chapter, uint32_t generation, uint32_t page,
           const uint8_t *buffer, uds_status status, const uds_error *error)
{
	uint32_t physical = uds_geometry_physical_chapter(volume->geometry, chapter);

	if (status == UDS_OK)
		status = uds_volume_verify_page(volume, buffer, chapter, generation, page);
	if (status == UDS_OK)
		return UDS_OK;
	return explain_bad_page(volume, &volume->slots[physical], chapter, page, status, error);
}

uds_status
uds_volume_read_page(uds_volume *volume, uint64_t chapter, uint32_t page, uint8_t *buffer)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);
	uds_chapter_slot *slot = &volume->slots[physical];
	uint32_t generation;
	uds_status status;
	uds_error error;

	if (atomic_load_explicit(&slot->chapter, memory_order_acquire) != chapter)
		return UDS_NOT_FOUND;
	generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	error.message[0] = '\0';
	status = open_if_closed(volume, &error);
	if (status == UDS_OK)
		status = uds_port_file_read(volume->port,
		                            volume->file,
		                            buffer,
		                            geometry->parameters.page_bytes,
		                            page_offset(geometry, physical, page),
		                            NULL,
		                            &error);
	if (status == UDS_NOT_FOUND)
		status = uds_error_set(&error, UDS_ERR_CORRUPT, 0, "file is too short");
	if (status == UDS_ERR_IO)
		volume->read_errno = error.system_errno;
	return check_page(volume, chapter, generation, page, buffer, status, &error);
}

uds_status
uds_volume_read_cached_page(uds_volume *volume, uint64_t chapter, uint32_t page, uint8_t *buffer)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);
	uds_chapter_slot *slot = &volume->slots[physical];
	uint32_t generation;
	uds_error error;

	if (atomic_load_explicit(&slot->chapter, memory_order_acquire) != chapter)
		return UDS_NOT_FOUND;
	generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	error.message[0] = '\0';
	if (volume->file == NULL ||
	    uds_port_file_read_cached(volume->port,
	                              volume->file,
	                              buffer,
	                              geometry->parameters.page_bytes,
	                              page_offset(geometry, physical, page)) != UDS_OK)
		return UDS_PENDING;
	return check_page(volume, chapter, generation, page, buffer, UDS_OK, &error);
}

void
uds_volume_prefetch_page(uds_volume *volume, uint64_t chapter, uint32_t page)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);

	if (volume->file != NULL)
		uds_port_file_prefetch(volume->port,
		                       volume->file,
		                       page_offset(geometry, physical, page),
		                       geometry->parameters.page_bytes);
}

uds_status
uds_volume_read_pages(uds_volume *volume, uint32_t physical_chapter, uint32_t first, uint32_t count,
                      uint8_t *buffer, uds_error *error)
{
	const uds_geometry *geometry = volume->geometry;
	size_t page_bytes = geometry->parameters.page_bytes;

	for (uint32_t done = 0; done < count; done += PAGES_PER_CALL)
	{
		uint32_t pages = UDS_MIN(count - done, (uint32_t) PAGES_PER_CALL);
		uint8_t *target = buffer + done * page_bytes;
		size_t read = 0;
		uds_status status;

		if (uds_port_should_stop(volume->port))
			return UDS_STOPPED;
		status = uds_port_file_read(volume->port,
		                            volume->file,
		                            target,
		                            pages * page_bytes,
		                            page_offset(geometry, physical_chapter, first + done),
		                            &read,
		                            error);
		if (status == UDS_NOT_FOUND)
			memset(target + read, 0, pages * page_bytes - read);
		else if (status != UDS_OK)
			return status;
	}
	return UDS_OK;
}

/* Verify index pages in memory.  *page: the first bad one. */
static uds_status
verify_index_pages(const uds_volume *volume, const uint8_t *pages, uint64_t chapter,
                   uint32_t generation, uint32_t *page)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t end = 0;

	for (uint32_t i = 0; i < geometry->index_pages; i++)
	{
		const uint8_t *data = pages + (size_t) i * geometry->parameters.page_bytes;
		uint32_t first;
		uint32_t count;

		*page = i;
		if (uds_volume_verify_page(volume, data, chapter, generation, i) != UDS_OK)
			return UDS_ERR_CORRUPT;
		uds_chapter_index_bounds(data, &first, &count);
		if (count > 0 && first != end)
			return UDS_ERR_CORRUPT;
		end += count;
	}
	return end == geometry->lists_per_chapter ? UDS_OK : UDS_ERR_CORRUPT;
}

uds_status
uds_volume_read_index_pages(uds_volume *volume, uint64_t chapter, uint8_t *buffer)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);
	uds_chapter_slot *slot = &volume->slots[physical];
	uint32_t generation;
	uint32_t page = 0;
	uds_status status;
	uds_error error = { 0 };

	if (atomic_load_explicit(&slot->chapter, memory_order_acquire) != chapter)
		return UDS_NOT_FOUND;
	generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	status = open_if_closed(volume, &error);
	if (status == UDS_OK)
		status = uds_volume_read_pages(volume, physical, 0, geometry->index_pages, buffer, &error);
	if (status == UDS_STOPPED)
		return UDS_STOPPED;
	if (status == UDS_OK)
		status = verify_index_pages(volume, buffer, chapter, generation, &page);
	if (status == UDS_OK)
		return UDS_OK;
	return explain_bad_page(volume, slot, chapter, page, status, &error);
}

uds_status
uds_volume_verify_chapter(uds_volume *volume, const uds_seal *seal, uint8_t *image,
                          uds_error *error)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, seal->chapter);
	uint32_t pages = seal_page_number(geometry);
	uint32_t pages_crc = 0;
	uds_status status = uds_volume_read_pages(volume, physical, 0, pages, image, error);

	if (status != UDS_OK)
		return status;
	for (uint32_t i = 0; i < pages; i++)
	{
		const uint8_t *page = image + (size_t) i * geometry->parameters.page_bytes;
		uint32_t crc = uds_volume_page_crc(geometry, page, i);

		if (uds_volume_verify_page(volume, page, seal->chapter, seal->generation, i) != UDS_OK)
			return uds_error_set(error,
			                     UDS_ERR_CORRUPT,
			                     0,
			                     "page %u of chapter %llu is damaged",
			                     i,
			                     (unsigned long long) seal->chapter);
		pages_crc = uds_port_crc32c(pages_crc, &crc, sizeof(crc));
	}
	if (pages_crc != seal->pages_crc)
		return uds_error_set(error,
		                     UDS_ERR_CORRUPT,
		                     0,
		                     "seal of chapter %llu does not fit its pages",
		                     (unsigned long long) seal->chapter);
	return UDS_OK;
}

uds_status
uds_volume_write_chapter(uds_volume *volume, uint64_t chapter, const uint8_t *image,
                         uds_error *error)
{
	const uds_geometry *geometry = volume->geometry;
	uint32_t physical = uds_geometry_physical_chapter(geometry, chapter);
	size_t page_bytes = geometry->parameters.page_bytes;
	uint32_t count = geometry->pages_per_chapter;

	for (uint32_t done = 0; done < count; done += PAGES_PER_CALL)
	{
		uint32_t pages = UDS_MIN(count - done, (uint32_t) PAGES_PER_CALL);
		uds_status status;

		if (uds_port_should_stop(volume->port))
			return UDS_STOPPED;
		status = uds_port_file_write(volume->port,
		                             volume->file,
		                             image + done * page_bytes,
		                             pages * page_bytes,
		                             page_offset(geometry, physical, done),
		                             error);
		if (status != UDS_OK)
			return status;
	}
	return uds_port_file_sync(volume->port, volume->file, error);
}
