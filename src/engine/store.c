/*
 * store.c: the files of an index: lock, control and volume.
 *
 * Order of writes:
 *
 *   create   control "creating" - volume with its header, synced - control "running"
 *   open     control with the next generation, "running" - everything else
 *   reset    control "creating" with a new nonce (from here on nothing is remembered) - as create
 *   reduce   the moved chapter, synced - control with the reduced geometry - header; the place that
 *            is not used any more is given back
 *   convert  volume.new, synced - control "replacing" with its nonce (from here on only that one
 *            counts) - renamed - as open
 */
#include "store.h"

#include "checkpoint.h"

/* ---- control ---------------------------------------------------------------------------------- */

static void
set_parameters(uds_control *control, const uds_config *config, const uds_geometry_parameters *p)
{
	control->memory_mb = config->memory_mb;
	control->structure = config->structure;
	control->page_bytes = p->page_bytes;
	control->index_page_bytes = p->index_page_bytes;
	control->records_per_page = p->records_per_page;
	control->record_pages = p->record_pages;
	control->extra_pages = p->extra_pages;
	control->chapters = p->chapters;
	control->sparse_chapters = p->sparse_chapters;
	control->is_reduced = p->is_reduced;
	control->remapped_virtual = p->remapped_virtual;
	control->remapped_physical = p->remapped_physical;
	control->sample_rate = p->sample_rate;
}

static const char *
structure_name(uint32_t structure)
{
	return structure == UDS_STRUCTURE_BUCKETS ? "buckets" : "lists";
}

/* The geometry of the settings, reduced if the files are. */
static uds_geometry_parameters
expected_geometry(const uds_store *store, const uds_control *control)
{
	uds_geometry_parameters parameters = store->config->geometry;

	if (control->is_reduced != 0 && !parameters.is_reduced)
	{
		parameters.chapters--;
		parameters.is_reduced = true;
		parameters.remapped_virtual = control->remapped_virtual;
		parameters.remapped_physical = control->remapped_physical;
	}
	return parameters;
}

/* Take over a geometry: that of the settings, or of files that fit them otherwise. */
static uds_status
adopt_geometry(uds_store *store, const uds_geometry_parameters *parameters, uds_error *error)
{
	uds_config config = *store->config;

	config.geometry = *parameters;
	if (uds_index_size(&config) == 0 || uds_geometry_init(store->geometry, parameters) != UDS_OK)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file makes no sense");
	return UDS_OK;
}

/* Read the control file of the same index in the directory that control names; false: there is none. */
static bool
read_counterpart(const uds_store *store, uds_control *counterpart)
{
	uds_port *other;
	uds_status status;

	if (uds_port_directory_open(store->port, store->control.elsewhere, &other, NULL) != UDS_OK)
		return false;
	status = uds_control_read(other, counterpart, NULL);
	uds_port_directory_close(other);
	return status == UDS_OK && counterpart->nonce == store->control.nonce;
}

static uds_status
refuse_copy(const uds_control *control, uds_error *error)
{
	(void) uds_error_set(error,
	                     UDS_ERR_MISMATCH,
	                     0,
	                     "files are the copy of a move that was not completed");
	if (control->elsewhere[0] != '\0')
		uds_error_hint(error, "Set \"uds.directory\" to \"%s\".", control->elsewhere);
	return UDS_ERR_MISMATCH;
}

static uds_status
refuse_moved(const uds_control *control, uds_error *error)
{
	if (control->elsewhere[0] == '\0')
		return uds_error_set(error, UDS_ERR_MISMATCH, 0, "files were moved elsewhere");
	(void)
		uds_error_set(error, UDS_ERR_MISMATCH, 0, "files were moved to \"%s\"", control->elsewhere);
	uds_error_hint(error, "Set \"uds.directory\" to \"%s\".", control->elsewhere);
	return UDS_ERR_MISMATCH;
}

uds_status
uds_store_check_place(uds_store *store, uds_error *error)
{
	uds_control *control = &store->control;
	uds_control counterpart;
	bool has_counterpart = control->elsewhere[0] != '\0' && read_counterpart(store, &counterpart);

	if (control->state == UDS_CONTROL_ARRIVING)
		return refuse_copy(control, error);
	if (control->state == UDS_CONTROL_MOVED)
	{
		if (!has_counterpart || counterpart.state != UDS_CONTROL_ARRIVING)
			return refuse_moved(control, error);
		uds_port_log(store->port,
		             UDS_LOG_WARNING,
		             "move to \"%s\" was not completed, the index goes on where it was; the files "
		             "there can be removed",
		             control->elsewhere);
		control->state = UDS_CONTROL_RUNNING;
	}
	/* A copy by hand may name itself. */
	else if (has_counterpart && counterpart.state != UDS_CONTROL_MOVED &&
	         memcmp(&counterpart, control, sizeof(counterpart)) != 0)
		return refuse_copy(control, error);
	uds_control_set_elsewhere(control, NULL);
	return UDS_OK;
}

/* Do the files belong to this server, or are they given to it? */
static uds_status
check_identity(const uds_store *store, const uds_control *control, uds_error *error)
{
	uint64_t system_identifier = uds_port_system_identifier(store->port);

	if (control->system_identifier == system_identifier || uds_port_accepts_stale(store->port))
		return UDS_OK;
	(void) uds_error_set(error, UDS_ERR_MISMATCH, 0, "files belong to another server");
	uds_error_detail(error,
	                 "System identifier of the files is %llu, of this server %llu.",
	                 (unsigned long long) control->system_identifier,
	                 (unsigned long long) system_identifier);
	uds_error_hint(
		error,
		"Set \"uds.directory\" to the files of this server. If these belong to its data, "
		"such as after pg_upgrade, set \"uds.accept_stale\" and call uds_resume() to take "
		"them over; or forget what is in them with uds_reset().");
	return UDS_ERR_MISMATCH;
}

/*
 * Do names have the same key as in the files that were opened before?  Whoever makes names got that
 * one, for as long as the block lives.
 */
static uds_status
check_name_key(const uds_store *store, uds_error *error)
{
	const uds_index *index = store->index;

	if (atomic_load_explicit(&index->has_name_key, memory_order_relaxed) == 0 ||
	    memcmp(index->name_key, store->control.name_key, sizeof(index->name_key)) == 0)
		return UDS_OK;
	(void) uds_error_set(error, UDS_ERR_MISMATCH, 0, "files are those of another index");
	uds_error_detail(error, "Its names have another key than those of the index that was open.");
	uds_error_hint(error, "Restart the server to open them, or put the former files back.");
	return UDS_ERR_MISMATCH;
}

/* May this server have the files, are they here, and do they make sense? */
static uds_status
check_owner(uds_store *store, uds_error *error)
{
	const uds_control *control = &store->control;
	uds_status status = check_identity(store, control, error);

	if (status == UDS_OK)
		status = uds_store_check_place(store, error);
	if (status != UDS_OK)
		return status;
	if (control->state < UDS_CONTROL_CLEAN || control->state > UDS_CONTROL_REPLACING ||
	    (control->valid_save > 1 && control->valid_save != UDS_NO_SAVE) ||
	    control->trusted_generation > control->generation ||
	    control->undone_generation > control->generation)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file makes no sense");
	return check_name_key(store, error);
}

/*
 * Do the files fit the configuration, reduced or not?  What "wanted" would be in control, and the
 * geometry of files that fit.
 */
static bool
fits_configuration(const uds_store *store, const uds_control *control, uds_control *wanted,
                   uds_geometry_parameters *geometry)
{
	*wanted = *control;
	*geometry = expected_geometry(store, control);
	set_parameters(wanted, store->config, geometry);
	/* It is a name for the rest. */
	wanted->memory_mb = control->memory_mb;
	return memcmp(wanted, control, sizeof(*wanted)) == 0;
}

/* Takes over the geometry of the files. */
static uds_status
check_parameters(uds_store *store, const uds_control *control, uds_error *error)
{
	uds_geometry_parameters geometry;
	uds_control wanted;

	if (fits_configuration(store, control, &wanted, &geometry))
		return adopt_geometry(store, &geometry, error);
	(void) uds_error_set(error, UDS_ERR_MISMATCH, 0, "files do not fit the settings");
	uds_error_detail(error,
	                 "Files: %u MB, %u chapters (%u sparse), index \"%s\"; settings: %u MB, %u "
	                 "chapters (%u sparse), index \"%s\".",
	                 control->memory_mb,
	                 control->chapters,
	                 control->sparse_chapters,
	                 structure_name(control->structure),
	                 store->config->memory_mb,
	                 store->config->geometry.chapters,
	                 store->config->geometry.sparse_chapters,
	                 structure_name(store->config->structure));
	if (control->sparse_chapters == wanted.sparse_chapters &&
	    control->sample_rate != wanted.sample_rate)
		uds_error_detail(error,
		                 "One name in %u is a hook in the files, one in %u with the settings.",
		                 control->sample_rate,
		                 wanted.sample_rate);
	uds_error_hint(error,
	               "Set the settings back, or convert the files with uds_convert(), or forget "
	               "everything with uds_reset().");
	return UDS_ERR_MISMATCH;
}

uds_status
uds_store_write_control(uds_store *store, uds_control_state state, uds_error *error)
{
	uds_control control = store->control;
	uds_status status;

	control.state = state;
	status = uds_control_write(store->port, &control, error);
	/* The new version may be in place nevertheless. */
	store->must_write_control = status != UDS_OK;
	if (status == UDS_OK)
		store->control = control;
	return status;
}

/* ---- files ------------------------------------------------------------------------------------ */

uds_status
uds_store_lock(uds_store *store, uds_error *error)
{
	uds_status status = uds_port_directory_create(store->port, error);

	if (status == UDS_OK)
		status = uds_port_file_open(store->port,
		                            UDS_LOCK_FILE,
		                            UDS_FILE_WRITE | UDS_FILE_CREATE,
		                            &store->lock,
		                            error);
	if (status != UDS_OK)
		return status;
	status = uds_port_file_lock(store->port, store->lock, error);
	if (status != UDS_OK)
	{
		uds_port_file_close(store->port, store->lock);
		store->lock = NULL;
	}
	return status;
}

/*
 * Make a volume without chapters under the identity that store->control has, and a control file
 * that says so.
 */
static uds_status
create_files(uds_store *store, uds_error *error)
{
	uint32_t flags = UDS_FILE_WRITE | UDS_FILE_CREATE;
	uds_status status = uds_store_write_control(store, UDS_CONTROL_CREATING, error);

	/* These files of the former identity would not be used, but take their space. */
	if (status == UDS_OK)
		status = uds_port_file_remove(store->port, UDS_VOLUME_NEW_FILE, error);
	for (uint32_t save = 0; save < 2 && status == UDS_OK; save++)
		status = uds_port_file_remove(store->port, uds_checkpoint_file_name(save), error);
	if (status == UDS_OK && store->volume.file == NULL)
		status = uds_volume_open(&store->volume, flags, error);
	if (status == UDS_OK)
		status = uds_port_file_truncate(store->port, store->volume.file, 0, error);
	if (status == UDS_OK)
		status = uds_volume_write_header(&store->volume, store->control.name_key, error);
	if (status == UDS_OK)
		status = uds_port_file_sync(store->port, store->volume.file, error);
	if (status == UDS_OK)
		status = uds_port_directory_sync(store->port, error);
	if (status == UDS_OK)
		status = uds_store_write_control(store, UDS_CONTROL_RUNNING, error);
	if (status == UDS_OK)
		store->has_control = true;
	return status;
}

/* A new identity; the name key stays when there is one. */
static uds_status
make_identity(uds_store *store, uds_error *error)
{
	uds_control *control = &store->control;
	uint64_t generation = store->has_control ? control->generation : 0;
	uint8_t key[UDS_NAME_KEY_BYTES];
	uint64_t nonce;

	if (!uds_port_random(store->port, &nonce, sizeof(nonce)) ||
	    !uds_port_random(store->port, key, sizeof(key)))
		return uds_error_set(error, UDS_ERR_IO, 0, "could not get random bytes");
	if (atomic_load_explicit(&store->index->has_name_key, memory_order_relaxed) != 0)
		memcpy(key, store->index->name_key, sizeof(key));
	else if (store->has_control)
		memcpy(key, control->name_key, sizeof(key));
	memset(control, 0, sizeof(*control));
	control->nonce = nonce;
	memcpy(control->name_key, key, sizeof(key));
	control->system_identifier = uds_port_system_identifier(store->port);
	control->generation = generation + 1;
	control->valid_save = UDS_NO_SAVE;
	set_parameters(control, store->config, &store->config->geometry);
	if (uds_geometry_init(store->geometry, &store->config->geometry) != UDS_OK)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "configuration is not valid");
	atomic_store_explicit(&store->index->nonce, nonce, memory_order_relaxed);
	atomic_store_explicit(&store->index->generation, control->generation, memory_order_relaxed);
	return UDS_OK;
}

void
uds_store_forget_save(uds_store *store)
{
	store->control.valid_save = UDS_NO_SAVE;
	store->control.save_number++;
}

uds_status
uds_store_reduce(uds_store *store, const uds_geometry *reduced, uds_error *error)
{
	uds_control before = store->control;
	uds_status status;

	set_parameters(&store->control, store->config, &reduced->parameters);
	uds_store_forget_save(store);
	status = uds_store_write_control(store, UDS_CONTROL_RUNNING, error);
	if (status == UDS_OK)
		*store->geometry = *reduced;
	else
		store->control = before;
	return status;
}

/*
 * A save of a time that this host does not know, or perhaps of one: control was written after it.
 * It would bring back records that never were, and lead to chapters that are dropped.
 */
static void
drop_future_save(uds_store *store)
{
	uds_control *control = &store->control;

	if (control->valid_save == UDS_NO_SAVE || uds_control_save_is_past(control, store->port))
		return;
	uds_port_log(store->port,
	             UDS_LOG_WARNING,
	             "save %llu is not in this server's past and is not used",
	             (unsigned long long) control->save_number);
	uds_store_forget_save(store);
}

/* Is a file a volume of this nonce?  UDS_NOT_FOUND: there is none, or it is another one's. */
static uds_status
find_volume(uds_store *store, const char *name, uds_error *error)
{
	uds_volume_header header;
	uds_port_file *file;
	uds_status status = uds_port_file_open(store->port, name, UDS_FILE_READ, &file, error);

	if (status != UDS_OK)
		return status;
	status = uds_port_file_read(store->port, file, &header, sizeof(header), 0, NULL, error);
	uds_port_file_close(store->port, file);
	if (status == UDS_OK &&
	    (header.magic != UDS_VOLUME_MAGIC || header.nonce != store->control.nonce))
		return UDS_NOT_FOUND;
	return status;
}

/* Complete a conversion: the new volume in its place, nothing of the old one. */
static uds_status
complete_replacement(uds_store *store, uds_error *error)
{
	uds_status status = find_volume(store, UDS_VOLUME_NEW_FILE, error);

	if (status == UDS_NOT_FOUND)
	{
		/* It was renamed already. */
		status = find_volume(store, UDS_VOLUME_FILE, error);
		if (status == UDS_NOT_FOUND)
			return uds_error_set(error, UDS_ERR_CORRUPT, 0, "the converted volume is missing");
		return status;
	}
	uds_volume_close(&store->volume);
	/* The control that was read may be of a write that failed, and not be durable. */
	if (status == UDS_OK)
		status = uds_store_write_control(store, UDS_CONTROL_REPLACING, error);
	for (uint32_t save = 0; save < 2 && status == UDS_OK; save++)
		status = uds_port_file_remove(store->port, uds_checkpoint_file_name(save), error);
	if (status == UDS_OK)
		status = uds_port_file_rename(store->port, UDS_VOLUME_NEW_FILE, UDS_VOLUME_FILE, error);
	return status;
}

/* What a conversion that did not succeed has left behind takes space, and nothing else. */
static void
remove_leftover(uds_store *store)
{
	uds_error error = { 0 };

	if (uds_port_file_remove(store->port, UDS_VOLUME_NEW_FILE, &error) != UDS_OK)
		uds_port_log(store->port, UDS_LOG_WARNING, "%s", error.message);
}

void
uds_store_punch(uds_store *store, uds_log_level level)
{
	uds_error error = { 0 };

	if (uds_port_file_punch(store->port,
	                        store->volume.file,
	                        store->geometry->parameters.page_bytes,
	                        uds_geometry_unused_bytes(store->geometry),
	                        &error) != UDS_OK)
		uds_port_log(store->port,
		             level,
		             "the place of a chapter is not given back: %s",
		             error.message);
}

/* Open the files that control describes, under the next generation. */
uds_status
uds_store_reopen(uds_store *store, uds_error *error)
{
	uds_status status = UDS_OK;

	atomic_store_explicit(&store->index->nonce, store->control.nonce, memory_order_relaxed);
	if (store->control.state == UDS_CONTROL_CREATING)
	{
		store->control.generation++;
		atomic_store_explicit(&store->index->generation,
		                      store->control.generation,
		                      memory_order_relaxed);
		return create_files(store, error);
	}
	if (store->control.state == UDS_CONTROL_REPLACING)
		status = complete_replacement(store, error);
	else
		remove_leftover(store);
	if (status == UDS_OK && store->volume.file == NULL)
		status = uds_volume_open(&store->volume, UDS_FILE_WRITE, error);
	if (status == UDS_NOT_FOUND)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "volume is missing");
	if (status != UDS_OK)
		return status;
	store->is_clean =
		store->control.state == UDS_CONTROL_CLEAN || store->control.state == UDS_CONTROL_REPLACING;
	drop_future_save(store);
	store->control.generation++;
	status = uds_store_write_control(store, UDS_CONTROL_RUNNING, error);
	if (status != UDS_OK)
		return status;
	atomic_store_explicit(&store->index->generation,
	                      store->control.generation,
	                      memory_order_relaxed);
	/* The server may have ended before it was done. */
	if (store->geometry->parameters.is_reduced)
		uds_store_punch(store, UDS_LOG_DEBUG);
	status = uds_volume_check_header(&store->volume, store->control.name_key, error);
	if (status != UDS_ERR_CORRUPT)
		return status;
	uds_port_log(store->port, UDS_LOG_WARNING, "%s and is written anew", error->message);
	status = uds_volume_write_header(&store->volume, store->control.name_key, error);
	if (status == UDS_OK)
		status = uds_port_file_sync(store->port, store->volume.file, error);
	return status;
}

/*
 * Is there a chapter that does not lie in this host's past, and was not known for that before?  Opens
 * the volume.
 */
static bool
has_future_chapter(uds_store *store)
{
	uds_error error = { 0 };
	uds_seal seal;

	atomic_store_explicit(&store->index->nonce, store->control.nonce, memory_order_relaxed);
	if (store->volume.file == NULL &&
	    uds_volume_open(&store->volume, UDS_FILE_WRITE, &error) != UDS_OK)
		return false;
	for (uint32_t i = 0; i < store->geometry->parameters.chapters; i++)
	{
		if (uds_port_should_stop(store->port))
			return false;
		if (uds_volume_read_seal(&store->volume, i, &seal, &error) == UDS_OK &&
		    !uds_control_is_past(&store->control, store->port, &seal) &&
		    !uds_control_is_undone(&store->control, &seal))
			return true;
	}
	return false;
}

/*
 * Are the files of this host's present, or accepted as what they are?  Those of a time that was
 * undone are: what does not lie in the past is dropped chapter by chapter, and nothing is missing.
 */
static uds_status
check_time(uds_store *store, uds_error *error)
{
	const uds_stamp *stamp = &store->control.stamp;

	if (!uds_port_stamp_is_past(store->port, stamp) ||
	    uds_port_stamp_is_current(store->port, stamp) || uds_port_accepts_stale(store->port) ||
	    has_future_chapter(store))
		return UDS_OK;
	(void) uds_error_set(error, UDS_ERR_MISMATCH, 0, "files are a copy of another time");
	uds_error_detail(
		error,
		"They were last written before this server was promoted or recovered to a point "
		"in time, and may lack what was stored until then.");
	uds_error_hint(error,
	               "Set \"uds.accept_stale\" to open them nevertheless, and call uds_resume(); or "
	               "forget everything with uds_reset().");
	return UDS_ERR_MISMATCH;
}

/*
 * Take over files of another server.  Its history is not this host's, so that no stamp in them can
 * be judged: all that is there now is past.  Durable with the next write of control.
 */
static void
adopt_files(uds_store *store)
{
	uds_control *control = &store->control;
	uint64_t system_identifier = uds_port_system_identifier(store->port);

	if (control->system_identifier == system_identifier)
		return;
	uds_port_log(store->port,
	             UDS_LOG_INFO,
	             "files of the server with the system identifier %llu are taken over",
	             (unsigned long long) control->system_identifier);
	control->system_identifier = system_identifier;
	control->trusted_generation = control->generation;
}

/* Read control and open what it describes, or create everything where there is nothing. */
uds_status
uds_store_open(uds_store *store, uds_error *error)
{
	uds_status status = uds_control_read(store->port, &store->control, error);

	if (status == UDS_OK)
	{
		store->has_control = true;
		status = check_owner(store, error);
		if (status == UDS_OK)
			status = check_parameters(store, &store->control, error);
		if (status == UDS_OK)
			status = check_time(store, error);
		if (status != UDS_OK)
			return status;
		adopt_files(store);
		return uds_store_reopen(store, error);
	}
	if (status != UDS_NOT_FOUND)
		return status;
	status = uds_port_file_exists(store->port, UDS_VOLUME_FILE, error);
	if (status == UDS_OK)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file is missing beside a volume");
	if (status != UDS_NOT_FOUND)
		return status;
	return uds_store_create(store, error);
}

uds_status
uds_store_inspect(uds_store *store, bool *fits, uds_error *error)
{
	uds_geometry_parameters geometry;
	uds_control wanted;
	uds_status status = uds_control_read(store->port, &store->control, error);

	*fits = status == UDS_NOT_FOUND;
	if (status != UDS_OK)
		return status == UDS_NOT_FOUND ? UDS_OK : status;
	store->has_control = true;
	atomic_store_explicit(&store->index->nonce, store->control.nonce, memory_order_relaxed);
	*fits = fits_configuration(store, &store->control, &wanted, &geometry);
	status = check_owner(store, error);
	if (status == UDS_OK)
		status = adopt_geometry(store, *fits ? &geometry : &store->config->geometry, error);
	if (status == UDS_OK)
		status = check_time(store, error);
	uds_volume_close(&store->volume);
	if (status == UDS_OK)
		adopt_files(store);
	/* Another file under the name of the new volume must not be taken for it. */
	if (status == UDS_OK && store->control.state == UDS_CONTROL_REPLACING)
	{
		status = complete_replacement(store, error);
		if (status == UDS_OK)
			status = uds_store_write_control(store, UDS_CONTROL_CLEAN, error);
	}
	return status;
}

uds_status
uds_store_replace(uds_store *store, uint64_t nonce, uds_error *error)
{
	uds_control *control = &store->control;

	control->nonce = nonce;
	control->generation++;
	control->valid_save = UDS_NO_SAVE;
	/* What was undone is not in the new volume, whose numbers begin anew. */
	control->undone_chapter = 0;
	control->undone_generation = 0;
	set_parameters(control, store->config, &store->config->geometry);
	return uds_store_write_control(store, UDS_CONTROL_REPLACING, error);
}

uds_status
uds_store_create(uds_store *store, uds_error *error)
{
	uds_status status = make_identity(store, error);

	return status == UDS_OK ? create_files(store, error) : status;
}

void
uds_store_close(uds_store *store)
{
	uds_volume_close(&store->volume);
	if (store->lock != NULL)
		uds_port_file_close(store->port, store->lock);
	store->lock = NULL;
}
