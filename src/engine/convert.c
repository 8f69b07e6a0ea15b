/*
 * convert.c: files of one geometry made into files of another.
 *
 * The chapters of the old volume are read from the oldest to the newest, with the open chapter of
 * the save in its place among them, and their records fill chapters of the new geometry, as if they
 * were stored once more: a later version of a name overwrites the earlier one in the same chapter,
 * tombstones are records like others.  Chapters that the new window has no room for are not read.
 * Each new chapter keeps the host's mark of the newest one that its records are from, so that the
 * history of the host still judges it.
 *
 * Only the volume is made.  It is built as "volume.new" under a nonce of its own; when it is complete
 * and durable, control is replaced by one that names it (store.c), and the index recovers from it as
 * from any volume without a save.
 *
 * A page that is damaged is passed over, as its records would not be found anyway.  A page that
 * cannot be read now may be read tomorrow: that ends the conversion, and the old files stay.
 */
#include "writer.h"

#include "chapter_writer.h"
#include "saver.h"

typedef struct conversion
{
	uds_writer *writer;
	uds_control control;   /* of the old files */
	uds_geometry geometry; /* theirs */
	_Atomic uint64_t nonce;
	_Atomic uint64_t bad_pages;
	uds_volume from;
	uds_volume to;
	uint8_t *buffer;
	size_t bytes;

	uint64_t oldest, newest;   /* of the old chapters, newest: one behind the last */
	uint64_t saved;            /* number of the open chapter of the save; UDS_NO_CHAPTER: none */
	uint32_t save;             /* the file that it is in */
	uint64_t save_number;      /* and its number */
	uint64_t damaged_chapters; /* old ones that are not there, or not of this host's past */
	uint64_t damaged_pages;

	uint64_t chapter; /* new one that is being filled */
	uint32_t count;   /* records in it */
	uds_stamp stamp;  /* for it */
	bool is_trusted;  /* the stamp is of another server's history: past whatever it says */
	bool has_saved;   /* some of them are of the save, whose mark is control's */
	bool is_begun;    /* the file of the new volume may be there */
} conversion;

/* ---- the new chapters --------------------------------------------------------------------------- */

static uds_open_chapter *
share_of(conversion *c, const uds_name *name)
{
	uds_index *index = c->writer->index;
	uint32_t zone = uds_volume_index_zone(&index->volume_index, name);

	return index->zones[zone].shares[c->chapter % UDS_CHAPTER_BUFFERS];
}

static void
begin_chapter(conversion *c, uint64_t chapter)
{
	uds_index *index = c->writer->index;

	c->chapter = chapter;
	c->count = 0;
	c->has_saved = false;
	for (uint32_t i = 0; i < index->config.zone_count; i++)
		uds_open_chapter_reset(index->zones[i].shares[chapter % UDS_CHAPTER_BUFFERS], chapter);
}

/* Records come from here on from a chapter or save with this mark, of this generation. */
static void
set_mark(conversion *c, const uds_stamp *stamp, uint64_t generation)
{
	c->stamp = *stamp;
	c->is_trusted =
		c->control.trusted_generation > 0 && generation <= c->control.trusted_generation;
}

/*
 * Write the chapter that is being filled, and begin the next one.  One that is trusted for its
 * generation stays so; no other has that one under the new nonce.
 */
static uds_status
finish_chapter(conversion *c, uds_error *error)
{
	uds_index *index = c->writer->index;
	uint32_t count = uds_chapter_writer_collect(index, c->chapter);
	uds_status status;

	atomic_store_explicit(&index->generation,
	                      c->is_trusted ? c->control.trusted_generation : c->control.generation + 1,
	                      memory_order_relaxed);
	status = uds_chapter_writer_write(index, &c->to, c->chapter, count, c->stamp, error);

	if (status == UDS_OK)
		begin_chapter(c, c->chapter + 1);
	return status;
}

/* Store a record; the version of its name that is in the chapter already is older. */
static uds_status
put_record(conversion *c, const uds_record *record, bool is_tombstone, uds_error *error)
{
	uds_open_chapter *share = share_of(c, &record->name);
	uint32_t slot;
	uds_status status;

	if (uds_open_chapter_search(share, &record->name, &slot) == UDS_OK)
	{
		uds_open_chapter_set(share, slot, &record->metadata, is_tombstone);
		return UDS_OK;
	}
	status = uds_open_chapter_put(share, &record->name, &record->metadata, is_tombstone);
	if (status == UDS_OVERFLOW)
	{
		/* The share of a zone is full before the chapter is. */
		status = finish_chapter(c, error);
		if (status != UDS_OK)
			return status;
		share = share_of(c, &record->name);
		status = uds_open_chapter_put(share, &record->name, &record->metadata, is_tombstone);
	}
	if (status != UDS_OK)
		return uds_error_set(error, UDS_ERR_INTERNAL, 0, "a record finds no place");
	if (++c->count < c->writer->geometry.records_per_chapter)
		return UDS_OK;
	return finish_chapter(c, error);
}

/* ---- the old save ------------------------------------------------------------------------------- */

typedef struct taker
{
	conversion *conversion;
	uds_error *error;
} taker;

static uds_status
take_saved(void *context, const uds_save_record *saved)
{
	taker *taker = context;

	taker->conversion->has_saved = true;
	return put_record(taker->conversion, &saved->record, saved->is_tombstone != 0, taker->error);
}

static uds_status
read_save(conversion *c, uds_saver_take take, void *context, uds_error *error)
{
	return uds_saver_read_open(c->writer->port,
	                           c->save,
	                           c->control.nonce,
	                           c->save_number,
	                           c->buffer,
	                           c->bytes,
	                           &c->saved,
	                           take,
	                           context,
	                           error);
}

/* Find the save that would be loaded: the one that control names, or else the one before. */
static uds_status
find_save(conversion *c, uds_error *error)
{
	const uds_control *control = &c->control;

	if (control->valid_save == UDS_NO_SAVE || !uds_control_save_is_past(control, c->writer->port))
		return UDS_OK;
	for (uint32_t i = 0; i < 2 && control->save_number > i; i++)
	{
		uds_status status;

		c->save = (control->valid_save + i) % 2;
		c->save_number = control->save_number - i;
		status = read_save(c, NULL, NULL, error);
		if (status == UDS_OK || status == UDS_STOPPED || status == UDS_ERR_IO)
			return status;
		uds_port_log(c->writer->port,
		             UDS_LOG_WARNING,
		             "save %llu cannot be used: %s",
		             (unsigned long long) c->save_number,
		             status == UDS_NOT_FOUND ? "file is missing" : error->message);
		c->saved = UDS_NO_CHAPTER;
	}
	return UDS_OK;
}

/* ---- the old chapters --------------------------------------------------------------------------- */

/* The seal of an old chapter: UDS_NOT_FOUND when there is none that counts. */
static uds_status
read_seal(conversion *c, uint32_t physical, uds_seal *seal, uds_error *error)
{
	uds_status status;

	if (uds_port_should_stop(c->writer->port))
		return UDS_STOPPED;
	status = uds_volume_read_seal(&c->from, physical, seal, error);
	if (status == UDS_OK && !uds_control_is_past(&c->control, c->writer->port, seal))
		status = UDS_NOT_FOUND;
	return status == UDS_ERR_CORRUPT ? UDS_NOT_FOUND : status;
}

/* Find the window of the old files. */
static uds_status
find_window(conversion *c, uds_error *error)
{
	uint32_t chapters = c->geometry.parameters.chapters;

	uds_block_set_phase(c->writer->index, UDS_PHASE_SEALS, chapters);
	for (uint32_t i = 0; i < chapters; i++)
	{
		uds_seal seal;
		uds_status status = read_seal(c, i, &seal, error);

		if (status == UDS_OK)
			c->newest = UDS_MAX(c->newest, seal.chapter + 1);
		else if (status != UDS_NOT_FOUND)
			return status;
		atomic_store_explicit(&c->writer->index->progress_done, i + 1, memory_order_relaxed);
	}
	if (c->saved != UDS_NO_CHAPTER)
		c->newest = UDS_MAX(c->newest, c->saved);
	c->oldest = uds_geometry_oldest(&c->geometry, c->newest);
	return UDS_OK;
}

/* Leave out the oldest chapters, for which the new window has no room. */
static uds_status
skip_what_expires(conversion *c, uds_error *error)
{
	const uds_geometry *geometry = &c->writer->geometry;
	uint64_t room =
		geometry->records_per_volume - geometry->records_per_chapter; /* the open one is empty */
	uint64_t records = 0;

	for (uint64_t chapter = c->newest; chapter > c->oldest; chapter--)
	{
		uds_seal seal;
		uint32_t physical = uds_geometry_physical_chapter(&c->geometry, chapter - 1);
		uds_status status = read_seal(c, physical, &seal, error);

		if (status == UDS_NOT_FOUND)
			continue;
		if (status != UDS_OK)
			return status;
		if (seal.chapter != chapter - 1)
			continue;
		records += seal.records;
		if (records >= room)
		{
			c->oldest = chapter - 1;
			break;
		}
	}
	return UDS_OK;
}

/* Store the records of the pages in the buffer. */
static uds_status
put_pages(conversion *c, const uds_seal *seal, uint32_t first, uint32_t count, uds_error *error)
{
	for (uint32_t i = 0; i < count; i++)
	{
		const uint8_t *page = c->buffer + (size_t) i * c->geometry.parameters.page_bytes;
		uint32_t records = uds_record_page_count(page);

		if (uds_volume_verify_page(&c->from, page, seal->chapter, seal->generation, first + i) !=
		    UDS_OK)
		{
			c->damaged_pages++;
			continue;
		}
		for (uint32_t j = 0; j < records; j++)
		{
			uds_status status = put_record(c,
			                               uds_record_page_record(page, j),
			                               uds_record_page_is_tombstone(page, j),
			                               error);

			if (status != UDS_OK)
				return status;
		}
	}
	return UDS_OK;
}

/* Store the records of an old chapter. */
static uds_status
put_chapter(conversion *c, uint64_t chapter, uds_error *error)
{
	uint32_t physical = uds_geometry_physical_chapter(&c->geometry, chapter);
	uint32_t end = c->geometry.index_pages + c->geometry.parameters.record_pages;
	uint32_t at_once = (uint32_t) (c->bytes / c->geometry.parameters.page_bytes);
	uds_seal seal;
	uds_status status = read_seal(c, physical, &seal, error);

	if (status == UDS_NOT_FOUND || (status == UDS_OK && seal.chapter != chapter))
	{
		/* The open chapter of the save stands for the one that it became. */
		if (chapter != c->saved)
			c->damaged_chapters++;
		return UDS_OK;
	}
	if (status == UDS_OK && !c->has_saved)
		set_mark(c, &seal.stamp, seal.generation);
	for (uint32_t page = c->geometry.index_pages; page < end && status == UDS_OK; page += at_once)
	{
		uint32_t count = UDS_MIN(end - page, at_once);

		status = uds_volume_read_pages(&c->from, physical, page, count, c->buffer, error);
		if (status == UDS_OK)
			status = put_pages(c, &seal, page, count, error);
	}
	return status;
}

/* Store everything, the oldest first. */
static uds_status
put_everything(conversion *c, uds_error *error)
{
	uds_index *index = c->writer->index;
	uds_status status = UDS_OK;

	uds_block_set_phase(index, UDS_PHASE_CONVERTING, c->newest - c->oldest);
	set_mark(c, &c->control.stamp, c->control.generation);
	for (uint64_t chapter = c->oldest; chapter <= c->newest && status == UDS_OK; chapter++)
	{
		/* What is sealed under its number is the same or newer. */
		if (chapter == c->saved)
		{
			taker taker = { .conversion = c, .error = error };

			set_mark(c, &c->control.stamp, c->control.save_generation);
			status = read_save(c, take_saved, &taker, error);
		}
		if (status == UDS_OK && chapter < c->newest)
			status = put_chapter(c, chapter, error);
		if (chapter < c->newest)
			atomic_fetch_add_explicit(&index->progress_done, 1, memory_order_relaxed);
	}
	if (status == UDS_OK && c->count > 0)
		status = finish_chapter(c, error);
	return status;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

/* Open the old volume, as far as the new pages are like its own. */
static uds_status
open_old(conversion *c, uds_error *error)
{
	uds_writer *writer = c->writer;
	const uds_geometry_parameters *wanted = &writer->config.geometry;
	uds_geometry_parameters parameters;
	uds_status status;

	uds_control_geometry(&c->control, &parameters);
	if (parameters.page_bytes != wanted->page_bytes ||
	    parameters.records_per_page != wanted->records_per_page ||
	    parameters.extra_pages != wanted->extra_pages ||
	    uds_geometry_init(&c->geometry, &parameters) != UDS_OK)
		return uds_error_set(error,
		                     UDS_ERR_MISMATCH,
		                     0,
		                     "files have pages or chapters that cannot be converted");
	atomic_store_explicit(&c->nonce, c->control.nonce, memory_order_relaxed);
	c->from = (uds_volume){
		.port = writer->port,
		.geometry = &c->geometry,
		.nonce = &c->nonce,
		.bad_pages = &c->bad_pages,
	};
	status = uds_volume_open(&c->from, UDS_FILE_READ, error);
	if (status == UDS_NOT_FOUND)
		status = uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume is missing");
	return status;
}

/* Lay out the block for the new geometry, and begin the new volume. */
static uds_status
begin_new(conversion *c, uint64_t nonce, uds_error *error)
{
	uds_writer *writer = c->writer;
	uds_index *index = writer->index;
	bool is_zeroed = atomic_load_explicit(&index->epoch, memory_order_relaxed) == 0;
	uds_status status = uds_block_lay_out(index, writer->port, &writer->config, is_zeroed);

	if (status == UDS_STOPPED)
		return status;
	if (status != UDS_OK)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "configuration is not valid");
	atomic_store_explicit(&index->nonce, nonce, memory_order_relaxed);
	c->to = (uds_volume){
		.port = writer->port,
		.geometry = &writer->geometry,
		.slots = index->slots,
		.nonce = &index->nonce,
		.bad_pages = &c->bad_pages,
	};
	begin_chapter(c, 0);
	c->is_begun = true;
	status = uds_port_file_open(writer->port,
	                            UDS_VOLUME_NEW_FILE,
	                            UDS_FILE_WRITE | UDS_FILE_CREATE | UDS_FILE_TRUNC,
	                            &c->to.file,
	                            error);
	if (status == UDS_OK)
		status = uds_volume_write_header(&c->to, c->control.name_key, error);
	return status;
}

/* Make the new volume, durably, and close both. */
static uds_status
make_volume(conversion *c, uint64_t nonce, uds_error *error)
{
	uds_status status = open_old(c, error);

	if (status == UDS_OK)
		status = find_save(c, error);
	if (status == UDS_OK)
		status = find_window(c, error);
	if (status == UDS_OK)
		status = skip_what_expires(c, error);
	if (status == UDS_OK)
		status = begin_new(c, nonce, error);
	if (status == UDS_OK)
		status = put_everything(c, error);
	if (status == UDS_OK)
		status = uds_port_file_sync(c->writer->port, c->to.file, error);
	if (status == UDS_OK)
		status = uds_port_directory_sync(c->writer->port, error);
	uds_volume_close(&c->from);
	uds_volume_close(&c->to);
	uds_block_set_phase(c->writer->index, UDS_PHASE_NONE, 0);
	return status;
}

static void
tell(const conversion *c)
{
	uds_port_log(c->writer->port,
	             c->damaged_chapters + c->damaged_pages > 0 ? UDS_LOG_WARNING : UDS_LOG_INFO,
	             "converted chapters %llu to %llu into %llu chapters of %u records; %llu chapters "
	             "and %llu pages are missing or damaged",
	             (unsigned long long) c->oldest,
	             (unsigned long long) c->newest,
	             (unsigned long long) c->chapter,
	             c->writer->geometry.records_per_chapter,
	             (unsigned long long) c->damaged_chapters,
	             (unsigned long long) c->damaged_pages);
}

/* Convert files that do not fit, which are this writer's. */
static uds_status
convert_files(uds_writer *writer, void *scratch, size_t bytes, uds_error *error)
{
	conversion c = { .writer = writer, .buffer = scratch, .bytes = bytes };
	uint64_t nonce;
	uds_status status;

	c.control = writer->store.control;
	c.saved = UDS_NO_CHAPTER;
	if (!uds_port_random(writer->port, &nonce, sizeof(nonce)))
		return uds_error_set(error, UDS_ERR_IO, 0, "could not get random bytes");
	status = make_volume(&c, nonce, error);
	if (status == UDS_OK)
	{
		tell(&c);
		return uds_store_replace(&writer->store, nonce, error);
	}
	if (c.is_begun && status != UDS_STOPPED)
	{
		uds_error remove_error = { 0 };

		if (uds_port_file_remove(writer->port, UDS_VOLUME_NEW_FILE, &remove_error) != UDS_OK)
			uds_port_log(writer->port, UDS_LOG_WARNING, "%s", remove_error.message);
	}
	return status;
}

/* Everything but the states. */
static uds_status
convert(uds_writer *writer, void *scratch, size_t bytes, uds_error *error)
{
	bool fits = false;
	uds_status status = UDS_OK;

	if (writer->store.lock == NULL)
		status = uds_store_lock(&writer->store, error);
	if (status == UDS_OK)
		status = uds_writer_take_zones(writer);
	if (status == UDS_OK)
		status = uds_store_inspect(&writer->store, &fits, error);
	if (status == UDS_OK && !fits)
		status = convert_files(writer, scratch, bytes, error);
	return status == UDS_OK ? uds_writer_open_index(writer, error) : status;
}

uds_status
uds_writer_convert(uds_writer *writer, void *scratch, size_t bytes, uds_error *error)
{
	uds_status status;

	memset(error, 0, sizeof(*error));
	if (bytes < UDS_SAVER_READ_BYTES || bytes < writer->config.geometry.page_bytes)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "too little memory for a conversion");
	/* In any other state the files fit. */
	if (uds_index_state(writer->index) != UDS_STATE_OFFLINE)
		return UDS_OK;
	uds_block_set_state(writer->index, UDS_STATE_RECOVERING, NULL);
	atomic_store_explicit(&writer->index->suspension, UDS_SUSPENSION_NONE, memory_order_relaxed);
	uds_writer_enter(writer);
	status = convert(writer, scratch, bytes, error);
	atomic_store_explicit(&writer->index->writer_inside, 0, memory_order_relaxed);
	return status == UDS_OK ? UDS_OK : uds_writer_go_offline(writer, status, error);
}
