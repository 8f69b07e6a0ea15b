/*
 * control.h: the control file: identity, parameters and state of the files of an index.
 *
 * It is written beside its name, synced and renamed, so it is always one of two complete versions.
 * A control file that is missing beside a volume, or damaged, is never made anew.
 */
#ifndef UDS_CONTROL_H
#define UDS_CONTROL_H

#include "volume.h"

#pragma GCC visibility push(hidden)

#define UDS_CONTROL_FILE     "control"
#define UDS_CONTROL_NEW_FILE "control.new"
#define UDS_LOCK_FILE        "lock"
#define UDS_CONTROL_MAGIC    UINT64_C(0x314c5254434c5355) /* "USLCTRL1" */
#define UDS_CONTROL_BYTES    512

typedef enum uds_control_state
{
	UDS_CONTROL_CLEAN = 1,
	UDS_CONTROL_RUNNING = 2,
	UDS_CONTROL_MOVED = 3,
	UDS_CONTROL_CREATING = 4, /* the volume is being made, or emptied: nothing is in it */
	UDS_CONTROL_ARRIVING = 5, /* a complete copy that a move has made: it does not count */
	UDS_CONTROL_REPLACING = 6 /* the volume is the new one: if there is a file of that name, it is
	                           * to be renamed */
} uds_control_state;

/* Of the name of another directory, with its end. */
#define UDS_CONTROL_NAME_BYTES (UDS_DIRECTORY_NAME_MAX + 1)

/* A conversion makes its volume under this name. */
#define UDS_VOLUME_NEW_FILE "volume.new"

#define UDS_NO_SAVE UINT32_MAX

/* As stored. */
typedef struct uds_control
{
	uint64_t magic;
	uint32_t format_version;
	uint32_t crc; /* CRC-32C of the file with this field zero */
	uint64_t nonce;
	uint8_t name_key[UDS_NAME_KEY_BYTES];
	uint64_t system_identifier;
	uint64_t generation; /* grows at each start, before the first write */
	uint32_t state;      /* uds_control_state */
	uint32_t valid_save; /* 0, 1 or UDS_NO_SAVE */
	uint64_t save_number;
	int64_t save_time; /* wall clock, microseconds since 1970 */
	uds_stamp stamp;   /* the host's mark of this write */
	/* parameters */
	uint32_t memory_mb;
	uint32_t structure; /* uds_index_structure */
	uint32_t page_bytes;
	uint32_t index_page_bytes;
	uint32_t records_per_page;
	uint32_t record_pages;
	uint32_t extra_pages;
	uint32_t chapters;
	uint32_t sparse_chapters;
	uint32_t is_reduced;
	uint64_t remapped_virtual;
	uint64_t remapped_physical;
	uint32_t sample_rate; /* 0 = dense */
	uint32_t unused;
	/* time: what of the files is past whatever its stamps, and what is not */
	uint64_t trusted_generation; /* of another server, up to this one; 0: none */
	uint64_t save_generation;    /* that the valid save was written in */
	uint64_t undone_chapter; /* chapters from this one on are not of this history, if they were */
	uint64_t undone_generation; /* written in a generation up to this one; 0: none */
	/* moved: to where; arriving, or arrived since the last write: from where; else empty.  Ended
	 * by a zero. */
	char elsewhere[UDS_CONTROL_NAME_BYTES];
	uint8_t reserved[UDS_CONTROL_BYTES - 192 - UDS_CONTROL_NAME_BYTES];
} uds_control;

_Static_assert(sizeof(uds_control) == UDS_CONTROL_BYTES, "stored as raw bytes");
_Static_assert(offsetof(uds_control, nonce) == 16, "stored as raw bytes");
_Static_assert(offsetof(uds_control, generation) == 48, "stored as raw bytes");
_Static_assert(offsetof(uds_control, stamp) == 80, "stored as raw bytes");
_Static_assert(offsetof(uds_control, memory_mb) == 96, "stored as raw bytes");
_Static_assert(offsetof(uds_control, remapped_virtual) == 136, "stored as raw bytes");
_Static_assert(offsetof(uds_control, sample_rate) == 152, "stored as raw bytes");
_Static_assert(offsetof(uds_control, trusted_generation) == 160, "stored as raw bytes");
_Static_assert(offsetof(uds_control, undone_generation) == 184, "stored as raw bytes");
_Static_assert(offsetof(uds_control, elsewhere) == 192, "stored as raw bytes");

/*
 * Read and check the file.
 *
 * UDS_OK, UDS_NOT_FOUND (there is none), UDS_ERR_CORRUPT, UDS_ERR_MISMATCH (another format
 * version), UDS_ERR_IO
 */
UDS_MUST_CHECK uds_status uds_control_read(uds_port *port, uds_control *control, uds_error *error);

/* The geometry that it describes, unchecked. */
void uds_control_geometry(const uds_control *control, uds_geometry_parameters *parameters);

/* Stamp and write the file, durably.  On failure the former version is still there. */
UDS_MUST_CHECK uds_status uds_control_write(uds_port *port, uds_control *control, uds_error *error);

/* Was a chapter dropped before, as not of this history?  That says nothing of the other files. */
UDS_MUST_CHECK bool uds_control_is_undone(const uds_control *control, const uds_seal *seal);

/*
 * Is a chapter of this host's past?  Stamps of another server's history say nothing here: what that
 * one has left is trusted as a whole.  What was dropped once stays dropped, however long this host's
 * history has become.
 */
UDS_MUST_CHECK bool uds_control_is_past(const uds_control *control, uds_port *port,
                                        const uds_seal *seal);
/* The same of the save that control names. */
UDS_MUST_CHECK bool uds_control_save_is_past(const uds_control *control, uds_port *port);

/* Set the name of another directory; NULL, or too long a one: none. */
void uds_control_set_elsewhere(uds_control *control, const char *name);

#pragma GCC visibility pop

#endif
