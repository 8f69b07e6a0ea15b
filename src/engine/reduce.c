/*
 * reduce.c: the conversion of a volume to one chapter fewer.
 *
 * A volume of N + 1 chapters gives up its first place.  What lies there moves to the place that the
 * open chapter p = newest mod (N + 1) would have used next: nothing in it is valid any more.  All other
 * pages stay where they are; the numbers of their places go down by one.
 *
 *   before   | header | 0: chapter v | 1 | 2 | ... | p: expired | ... | N |
 *   after    | header | (unused)     | 0 | 1 | ... | p - 1: v   | ... | N - 1 |
 *
 * Order of writes: what is in memory, so that the volume alone holds everything; chapter v in its new
 * place, synced; control with the new geometry and no save.  Before that the volume is the old one,
 * in which the copy is no chapter, since it does not belong in its place; after it the new one.  The
 * index in memory is of the old one and given up: the suspension is RECOVERY from the moment when
 * control may have changed.
 */
#include "writer.h"

static void
set_suspension(uds_writer *writer, uds_suspension suspension)
{
	atomic_store_explicit(&writer->index->suspension, suspension, memory_order_relaxed);
}

/* Can this index be reduced now? */
static uds_status
check_reducible(uds_writer *writer, uds_error *error)
{
	uds_config config = writer->config;

	if (uds_index_state(writer->index) != UDS_STATE_SUSPENDED)
		return uds_writer_refuse(writer, "index is not suspended", error);
	if (!uds_writer_is_held(writer->index))
		return uds_writer_refuse(writer, "index is suspended without being in memory", error);
	config.geometry = writer->geometry.parameters;
	if (config.geometry.is_reduced)
		return uds_error_set(error, UDS_ERR_STATE, 0, "index is reduced already");
	if (config.geometry.chapters > 2)
		(void) uds_geometry_reduce(&config.geometry, 0);
	if (!config.geometry.is_reduced || uds_index_size(&config) == 0)
		return uds_error_set(error,
		                     UDS_ERR_STATE,
		                     0,
		                     "index has too few chapters to be reduced (%u, %u of them sparse)",
		                     writer->geometry.parameters.chapters,
		                     writer->geometry.parameters.sparse_chapters);
	return UDS_OK;
}

/* Let control say that there is something to recover. */
static uds_status
mark_running(uds_writer *writer, uds_error *error)
{
	uds_status status;

	if (atomic_load_explicit(&writer->index->suspension, memory_order_relaxed) !=
	    UDS_SUSPENSION_SAVED)
		return UDS_OK;
	status = uds_store_write_control(&writer->store, UDS_CONTROL_RUNNING, error);
	if (status == UDS_OK)
		set_suspension(writer, UDS_SUSPENSION_HELD);
	return status;
}

/* ---- the chapter that moves --------------------------------------------------------------------- */

/*
 * Make a page of the chapter in the first place one of the volume to, where the chapter goes.  A page
 * that is damaged stays so: its checksum is made for a generation that its chapter does not have,
 * which never fits.
 */
static void
take_page(const uds_volume *from, const uds_volume *to, const uds_seal *seal, uint32_t number,
          uint8_t *page, bool *is_damaged)
{
	*is_damaged =
		uds_volume_verify_page(from, page, seal->chapter, seal->generation, number) != UDS_OK;
	uds_volume_seal_page(to,
	                     page,
	                     seal->chapter,
	                     *is_damaged ? ~seal->generation : seal->generation,
	                     number);
}

/*
 * The image of the chapter in its new place; the seal keeps what it says but for the checksums.  A
 * page that cannot be read now may be read tomorrow: that ends the conversion.
 */
static uds_status
take_chapter(uds_writer *writer, const uds_volume *to, uds_seal *seal, uint32_t *damaged_pages,
             uds_error *error)
{
	const uds_geometry *geometry = to->geometry;
	uint32_t pages = geometry->pages_per_chapter - geometry->parameters.extra_pages;
	uint8_t *page = writer->index->writer_image;
	uds_status status = uds_volume_read_pages(&writer->store.volume, 0, 0, pages, page, error);

	if (status != UDS_OK)
		return status;
	*damaged_pages = 0;
	seal->pages_crc = 0;
	for (uint32_t i = 0; i < pages; i++)
	{
		bool is_damaged;
		uint32_t crc;

		take_page(&writer->store.volume, to, seal, i, page, &is_damaged);
		*damaged_pages += is_damaged;
		crc = uds_volume_page_crc(geometry, page, i);
		seal->pages_crc = uds_port_crc32c(seal->pages_crc, &crc, sizeof(crc));
		page += geometry->parameters.page_bytes;
	}
	uds_volume_encode_seal(to, seal, page);
	return UDS_OK;
}

/*
 * Read the seal of the chapter that moves.  UDS_NOT_FOUND: there is none, or it is damaged, which is
 * told: the chapter is lost.
 */
static uds_status
find_chapter(uds_writer *writer, uint64_t chapter, uds_seal *seal, uds_error *error)
{
	const uds_chapter_slot *slot = &writer->index->slots[0];
	uds_status status;

	/* Nobody has it since the index was opened, or what is there was not in this host's past. */
	if (atomic_load_explicit(&slot->chapter, memory_order_relaxed) != chapter)
		return UDS_NOT_FOUND;
	status = uds_volume_read_seal(&writer->store.volume, 0, seal, error);
	if (status != UDS_OK && status != UDS_NOT_FOUND && status != UDS_ERR_CORRUPT)
		return status;
	if (status == UDS_OK && seal->chapter == chapter &&
	    seal->generation == atomic_load_explicit(&slot->generation, memory_order_relaxed))
		return UDS_OK;
	uds_port_log(writer->port,
	             UDS_LOG_WARNING,
	             "chapter %llu is lost, it cannot be moved: %s",
	             (unsigned long long) chapter,
	             status == UDS_ERR_CORRUPT ? error->message : "its seal is missing");
	return UDS_NOT_FOUND;
}

/* Copy the chapter of the first place to where the reduced volume has it, durably. */
static uds_status
move_chapter(uds_writer *writer, const uds_geometry *reduced, uds_error *error)
{
	uint64_t chapter = reduced->parameters.remapped_virtual;
	uds_volume to = writer->store.volume;
	uint32_t place = (uint32_t) reduced->parameters.remapped_physical + 1;
	uint32_t damaged_pages;
	uds_seal seal;
	uds_status status = find_chapter(writer, chapter, &seal, error);

	if (status == UDS_NOT_FOUND)
		return UDS_OK;
	to.geometry = reduced;
	if (status == UDS_OK)
		status = take_chapter(writer, &to, &seal, &damaged_pages, error);
	if (status != UDS_OK)
		return status;
	if (damaged_pages > 0)
		uds_port_log(writer->port,
		             UDS_LOG_WARNING,
		             "%u pages of chapter %llu are damaged; their records are not found",
		             damaged_pages,
		             (unsigned long long) chapter);
	atomic_store(&writer->index->slots[place].chapter, UDS_NO_CHAPTER);
	return uds_volume_write_chapter(&to, chapter, writer->index->writer_image, error);
}

/* ---- commit --------------------------------------------------------------------------------------- */

/* Let control say it; what comes after a success is not needed. */
static uds_status
commit(uds_writer *writer, const uds_geometry *reduced, uds_error *error)
{
	uds_store *store = &writer->store;
	uds_error ignored = { 0 };
	uds_status status;

	set_suspension(writer, UDS_SUSPENSION_RECOVERY);
	/* Whatever comes next reads control again. */
	writer->is_open = false;
	status = uds_store_reduce(store, reduced, error);
	uds_block_set_state(writer->index,
	                    UDS_STATE_SUSPENDED,
	                    status == UDS_OK ? "it was reduced and is to be built again"
	                                     : "its files are to be opened again");
	if (status != UDS_OK)
		return status;
	uds_port_log(store->port,
	             UDS_LOG_INFO,
	             "volume was reduced to %u chapters",
	             reduced->parameters.chapters);
	/* Without it, the next one who opens the volume writes it. */
	if (uds_volume_write_header(&store->volume, store->control.name_key, &ignored) != UDS_OK)
		uds_port_log(store->port, UDS_LOG_WARNING, "%s", ignored.message);
	uds_store_punch(store, UDS_LOG_WARNING);
	return UDS_OK;
}

static uds_status
reduce(uds_writer *writer, uds_error *error)
{
	uds_geometry_parameters parameters = writer->geometry.parameters;
	uds_geometry reduced;
	bool must_move;
	uds_status status = uds_writer_write_everything(writer, error);

	if (status != UDS_OK)
		return status;
	must_move = uds_geometry_reduce(&parameters,
	                                atomic_load_explicit(&writer->index->chapters_written,
	                                                     memory_order_relaxed));
	if (uds_geometry_init(&reduced, &parameters) != UDS_OK)
		return uds_error_set(error,
		                     UDS_ERR_STATE,
		                     0,
		                     "chapter numbers are too great to be reduced");
	if (must_move)
		status = move_chapter(writer, &reduced, error);
	return status == UDS_OK ? commit(writer, &reduced, error) : status;
}

uds_status
uds_writer_reduce(uds_writer *writer, uds_error *error)
{
	uds_status status;

	memset(error, 0, sizeof(*error));
	status = check_reducible(writer, error);
	if (status == UDS_OK)
		status = mark_running(writer, error);
	if (status != UDS_OK)
		return status;
	uds_writer_enter(writer);
	status = reduce(writer, error);
	return uds_writer_leave(writer, status, error);
}
