/*
 * control.c: see control.h.
 */
#include "control.h"

static uint32_t
control_crc(const uds_control *control)
{
	uds_control zeroed = *control;

	zeroed.crc = 0;
	return uds_port_crc32c(0, &zeroed, sizeof(zeroed));
}

uds_status
uds_control_read(uds_port *port, uds_control *control, uds_error *error)
{
	uds_port_file *file;
	uds_status status = uds_port_file_open(port, UDS_CONTROL_FILE, UDS_FILE_READ, &file, error);

	if (status != UDS_OK)
		return status;
	status = uds_port_file_read(port, file, control, sizeof(*control), 0, NULL, error);
	uds_port_file_close(port, file);
	if (status == UDS_NOT_FOUND)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file is too short");
	if (status != UDS_OK)
		return status;
	if (control->magic != UDS_CONTROL_MAGIC || control->crc != control_crc(control))
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file is damaged");
	if (control->format_version != UDS_FORMAT_VERSION)
		return uds_error_set(error,
		                     UDS_ERR_MISMATCH,
		                     0,
		                     "control file has format version %u, this library reads %d",
		                     control->format_version,
		                     UDS_FORMAT_VERSION);
	if (memchr(control->elsewhere, '\0', sizeof(control->elsewhere)) == NULL)
		return uds_error_set(error, UDS_ERR_CORRUPT, 0, "control file makes no sense");
	return UDS_OK;
}

void
uds_control_set_elsewhere(uds_control *control, const char *name)
{
	memset(control->elsewhere, 0, sizeof(control->elsewhere));
	if (name != NULL && strlen(name) < sizeof(control->elsewhere))
		memcpy(control->elsewhere, name, strlen(name));
}

void
uds_control_geometry(const uds_control *control, uds_geometry_parameters *parameters)
{
	*parameters = (uds_geometry_parameters){
		.page_bytes = control->page_bytes,
		.index_page_bytes = control->index_page_bytes,
		.records_per_page = control->records_per_page,
		.record_pages = control->record_pages,
		.extra_pages = control->extra_pages,
		.chapters = control->chapters,
		.sparse_chapters = control->sparse_chapters,
		.sample_rate = control->sample_rate,
		.is_reduced = control->is_reduced != 0,
		.remapped_virtual = control->remapped_virtual,
		.remapped_physical = control->remapped_physical,
	};
}

uds_status
uds_control_write(uds_port *port, uds_control *control, uds_error *error)
{
	uint32_t flags = UDS_FILE_WRITE | UDS_FILE_CREATE | UDS_FILE_TRUNC;
	uds_port_file *file;
	uds_status status = uds_port_file_open(port, UDS_CONTROL_NEW_FILE, flags, &file, error);

	if (status != UDS_OK)
		return status;
	control->magic = UDS_CONTROL_MAGIC;
	control->format_version = UDS_FORMAT_VERSION;
	control->stamp = uds_port_stamp(port);
	control->crc = control_crc(control);
	status = uds_port_file_write(port, file, control, sizeof(*control), 0, error);
	if (status == UDS_OK)
		status = uds_port_file_sync(port, file, error);
	uds_port_file_close(port, file);
	if (status == UDS_OK)
		status = uds_port_file_rename(port, UDS_CONTROL_NEW_FILE, UDS_CONTROL_FILE, error);
	return status;
}

bool
uds_control_is_undone(const uds_control *control, const uds_seal *seal)
{
	return seal->chapter >= control->undone_chapter &&
	       seal->generation <= control->undone_generation;
}

bool
uds_control_is_past(const uds_control *control, uds_port *port, const uds_seal *seal)
{
	if (uds_control_is_undone(control, seal))
		return false;
	return seal->generation <= control->trusted_generation ||
	       uds_port_stamp_is_past(port, &seal->stamp);
}

bool
uds_control_save_is_past(const uds_control *control, uds_port *port)
{
	/* Control was written after it, so the stamp of control is the later one. */
	return uds_port_stamp_is_past(port, &control->stamp) ||
	       (control->trusted_generation > 0 &&
	        control->save_generation <= control->trusted_generation);
}
