/*
 * port.h: all that the engine asks of its host.
 *
 * The functions are declared here and defined once per program by the host: src/pg/port_pg.c in
 * the server, test/support/port_posix.c with threads, test/support/port_sim.c in the simulation.
 * uds_port is the host's own type; one object stands for one worker (process, thread or
 * coroutine).  It never lies in the shared block.
 *
 * No port function throws, jumps or exits.  Functions that can fail return a status and fill the
 * caller's uds_error.
 */
#ifndef UDS_PORT_H
#define UDS_PORT_H

#include <sys/types.h>

#include "status.h"

#pragma GCC visibility push(hidden)

typedef struct uds_port uds_port;

typedef enum uds_log_level
{
	UDS_LOG_DEBUG = 0,
	UDS_LOG_INFO = 1,   /* an event an operator cares about */
	UDS_LOG_WARNING = 2 /* a degraded state that needs an action */
} uds_log_level;

/* Write one line to the host's log.  Never called with a lock held. */
void uds_port_log(uds_port *port, uds_log_level level, const char *format, ...) UDS_PRINTF(3, 4);

/* Monotonic time in nanoseconds. */
uint64_t uds_port_now(uds_port *port);

/* Wall clock in microseconds since 1970-01-01 UTC: for people, never for decisions. */
int64_t uds_port_wall_clock(uds_port *port);

/* Strong random bytes; false when the system has none. */
UDS_MUST_CHECK bool uds_port_random(uds_port *port, void *bytes, size_t count);

/*
 * CRC-32C (Castagnoli) of data, continued from crc (start with 0), with the usual inversions
 * before and after: crc32c(0, "123456789") = 0xe3069283, and
 * crc32c(crc32c(0, a), b) = crc32c(0, a || b).
 */
UDS_MUST_CHECK uint32_t uds_port_crc32c(uint32_t crc, const void *data, size_t bytes);

/*
 * True when this worker has to stop.  In the server it also absorbs pending procsignal barriers,
 * so no engine call runs longer than 100 ms without asking.
 */
UDS_MUST_CHECK bool uds_port_should_stop(uds_port *port);

/* ---- workers ---------------------------------------------------------------------------- */

/*
 * A worker that can be woken: the chapter writer, UDS_WORKER_ZONE + number of the zone,
 * UDS_WORKER_READER + number of the reader, the triage worker.
 */
typedef uint32_t uds_worker_id;
#define UDS_WORKER_WRITER 0u
#define UDS_WORKER_ZONE   1u
#define UDS_WORKER_READER 17u
#define UDS_WORKER_TRIAGE 33u
#define UDS_WORKER_COUNT  34u

/* Wake a worker: its uds_port_wait, now or the next time, returns at once.  Never blocks. */
void uds_port_wake(uds_port *port, uds_worker_id worker);

/*
 * Wait until this worker is woken or timeout_ms (1..100) have passed: UDS_OK in both cases, so
 * the caller looks at its condition again.  UDS_STOPPED when uds_port_should_stop() is true.
 */
UDS_MUST_CHECK uds_status uds_port_wait(uds_port *port, uint32_t timeout_ms);

/* ---- mutexes in the shared block ---------------------------------------------------------- */

/* Storage of a mutex that all workers share: a pthread mutex, an LWLock, ... */
typedef struct uds_port_mutex
{
	_Alignas(UDS_CACHE_LINE) unsigned char storage[UDS_CACHE_LINE];
} uds_port_mutex;

void uds_port_mutex_init(uds_port_mutex *mutex);
void uds_port_mutex_lock(uds_port_mutex *mutex);
void uds_port_mutex_unlock(uds_port_mutex *mutex);

/* ---- files in the directory of the index ---------------------------------------------------- */

typedef struct uds_port_file uds_port_file;

/* Flags of uds_port_file_open. */
#define UDS_FILE_READ   0x0
#define UDS_FILE_WRITE  0x1 /* read and write */
#define UDS_FILE_CREATE 0x2 /* with WRITE: create if absent, mode 0600 */
#define UDS_FILE_TRUNC  0x4 /* with WRITE: empty it */

/*
 * Open a file of the index directory by its plain name.  The caller closes it.
 * UDS_NOT_FOUND when it does not exist (and CREATE is not given; no text in *error).
 */
UDS_MUST_CHECK uds_status uds_port_file_open(uds_port *port, const char *name, uint32_t flags,
                                             uds_port_file **file, uds_error *error);
void uds_port_file_close(uds_port *port, uds_port_file *file);

/*
 * Read exactly bytes at offset.  *read (may be NULL) gets what there was; a file that ends
 * earlier is UDS_NOT_FOUND, not an error.
 */
UDS_MUST_CHECK uds_status uds_port_file_read(uds_port *port, uds_port_file *file, void *buffer,
                                             size_t bytes, uint64_t offset, size_t *read,
                                             uds_error *error);
/*
 * Read exactly bytes at offset if the system has them in memory.  Never waits for a device.
 * UDS_OK, or UDS_PENDING: they are not in memory, the system cannot tell, the file ends earlier, or
 * they cannot be read.  uds_port_file_read tells.
 */
UDS_MUST_CHECK uds_status uds_port_file_read_cached(uds_port *port, uds_port_file *file,
                                                    void *buffer, size_t bytes, uint64_t offset);
/* Write all of bytes at offset, or fail; how much of it was written is then unknown. */
UDS_MUST_CHECK uds_status uds_port_file_write(uds_port *port, uds_port_file *file,
                                              const void *buffer, size_t bytes, uint64_t offset,
                                              uds_error *error);
/* Returns when everything written to the file, its size included, is durable. */
UDS_MUST_CHECK uds_status uds_port_file_sync(uds_port *port, uds_port_file *file, uds_error *error);
UDS_MUST_CHECK uds_status uds_port_file_size(uds_port *port, uds_port_file *file, uint64_t *bytes,
                                             uds_error *error);
UDS_MUST_CHECK uds_status uds_port_file_truncate(uds_port *port, uds_port_file *file,
                                                 uint64_t bytes, uds_error *error);
/*
 * Give the storage of bytes at offset back; the file keeps its length.  What is read there then is
 * zeros, or what was there.  UDS_ERR_IO where the file system cannot.
 */
UDS_MUST_CHECK uds_status uds_port_file_punch(uds_port *port, uds_port_file *file, uint64_t offset,
                                              uint64_t bytes, uds_error *error);
/* A hint that bytes at offset will be read soon. */
void uds_port_file_prefetch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes);

/*
 * Take an exclusive lock of the open file description, for as long as the file stays open.
 * UDS_ERR_IN_USE when somebody else holds it.
 */
UDS_MUST_CHECK uds_status uds_port_file_lock(uds_port *port, uds_port_file *file, uds_error *error);

/* Rename within the directory and make it durable: sync of the directory included. */
UDS_MUST_CHECK uds_status uds_port_file_rename(uds_port *port, const char *from, const char *to,
                                               uds_error *error);
/* Remove a file, durably; UDS_OK when it does not exist. */
UDS_MUST_CHECK uds_status uds_port_file_remove(uds_port *port, const char *name, uds_error *error);
/* Does a file exist?  UDS_OK, UDS_NOT_FOUND or an error. */
UDS_MUST_CHECK uds_status uds_port_file_exists(uds_port *port, const char *name, uds_error *error);
/* Create the directory of the index (mode 0700) if it is absent, durably. */
UDS_MUST_CHECK uds_status uds_port_directory_create(uds_port *port, uds_error *error);
/* Make created files of the directory durable. */
UDS_MUST_CHECK uds_status uds_port_directory_sync(uds_port *port, uds_error *error);

/* ---- another directory: for a move ----------------------------------------------------------- */

/* Bytes of a name that the engine keeps: an error text has room for it. */
#define UDS_DIRECTORY_NAME_MAX 223

/*
 * A second port, with which all functions for files above work in another directory, which need not
 * exist.  The host has one at a time; it is its own until it is closed.
 *
 * name  as a user would tell the host where the files are
 *
 * UDS_OK, UDS_ERR_ARGUMENT (the host cannot have a directory of this name)
 */
UDS_MUST_CHECK uds_status uds_port_directory_open(uds_port *port, const char *name,
                                                  uds_port **other, uds_error *error);
/* Files opened with it stay open. */
void uds_port_directory_close(uds_port *other);

/* Name of the directory that a port works in, cut to the room there is. */
void uds_port_directory_name(uds_port *port, char *name, size_t bytes);

/*
 * Does the directory hold nothing but perhaps one file (NULL: nothing at all)?
 * UDS_OK; UDS_NOT_FOUND: there is no directory; UDS_ERR_IO with ENOTEMPTY: it holds something.
 */
UDS_MUST_CHECK uds_status uds_port_directory_is_empty(uds_port *port, const char *but,
                                                      uds_error *error);

/* Remove the directory if it is empty; nobody relies on it. */
void uds_port_directory_remove(uds_port *port);

/*
 * Let the files of all workers be in the directory of other from now on, for as long as the host
 * lives; other gets the former one.  Open files stay open.  Caller: the writer.
 */
void uds_port_directory_exchange(uds_port *port, uds_port *other);

/* ---- identity and time of the host ---------------------------------------------------------- */

#define UDS_STAMP_BYTES 16

/* An opaque mark of the host's own history, ordered by the host alone. */
typedef struct uds_stamp
{
	uint8_t bytes[UDS_STAMP_BYTES];
} uds_stamp;

/* The host's present mark. */
uds_stamp uds_port_stamp(uds_port *port);
/* Does stamp lie in this host's past? */
UDS_MUST_CHECK bool uds_port_stamp_is_past(uds_port *port, const uds_stamp *stamp);
/*
 * Has this host's history gone on from a stamp of its past without a break, such as a promotion or
 * a recovery to a point in time?  Files of before a break are a copy of that time.
 */
UDS_MUST_CHECK bool uds_port_stamp_is_current(uds_port *port, const uds_stamp *stamp);
/*
 * Are such files opened nevertheless?  The same for files of a host with another identity, and for
 * what the system refuses to read.
 */
UDS_MUST_CHECK bool uds_port_accepts_stale(uds_port *port);
/* Identity of the host's data (the system identifier in the server). */
uint64_t uds_port_system_identifier(uds_port *port);

#pragma GCC visibility pop

#endif
