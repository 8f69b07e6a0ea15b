/*
 * port_pg.c: the engine's port in a PostgreSQL process.
 *
 * The engine runs with interrupts held, and nothing may unwind through its frames.  What PostgreSQL
 * could throw at us is caught here, reported, and answered with a status; errfinish() resets the
 * counters of held interrupts on its way, so that they are put back.
 *
 * Files are kept open for the life of the worker, outside of the server's virtual descriptors, and
 * a failed sync is a status: fd.c's own functions for that would panic.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "access/timeline.h"
#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/pmsignal.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"

#include "../engine/crc32c.h"
#include "compat.h"
#include "directory.h"
#include "port_pg.h"
#include "settings.h"
#include "shared.h"
#include "worker.h"

#define UDSPG_PORT_FILES_MAX 32
#define UDSPG_PORT_FILE_MODE 0600
#define UDSPG_PORT_DIR_MODE  0700

/* A file that is open in this process. */
struct uds_port_file
{
	bool is_open;
	int fd;
	char path[MAXPGPATH]; /* when it was opened */
};

static uds_port_file files[UDSPG_PORT_FILES_MAX];

bool udspg_port_has_reset_latch = false;

/* What an error changes on its way to PG_CATCH. */
typedef struct udspg_port_guard
{
	MemoryContext context;
	uint32 interrupt_holdoff;
	uint32 cancel_holdoff;
} udspg_port_guard;

static udspg_port_guard
udspg_port_guard_enter(void)
{
	udspg_port_guard guard = {
		.context = CurrentMemoryContext,
		.interrupt_holdoff = InterruptHoldoffCount,
		.cancel_holdoff = QueryCancelHoldoffCount,
	};

	return guard;
}

/* In PG_CATCH: log the error, and be as before. */
static void
udspg_port_guard_caught(const udspg_port_guard *guard)
{
	MemoryContextSwitchTo(guard->context);
	EmitErrorReport();
	FlushErrorState();
	InterruptHoldoffCount = guard->interrupt_holdoff;
	QueryCancelHoldoffCount = guard->cancel_holdoff;
}

void
udspg_port_init(uds_port *port, uds_worker_id worker)
{
	memset(port, 0, sizeof(*port));
	port->worker = worker;
}

void
udspg_port_set_deadline(uds_port *port, int seconds)
{
	port->deadline_ns = uds_port_now(port) + (uint64) seconds * UINT64CONST(1000000000);
	port->has_deadline = true;
}

bool
udspg_port_deadline_is_over(uds_port *port)
{
	return port->has_deadline && uds_port_now(port) >= port->deadline_ns;
}

/* ---- log, time, random bytes, checksum ------------------------------------------------------ */

void
uds_port_log(uds_port *port, uds_log_level level, const char *format, ...)
{
	static const int levels[] = { DEBUG1, LOG, WARNING };
	udspg_port_guard guard = udspg_port_guard_enter();
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);

	PG_TRY();
	{
		ereport(levels[level], errmsg_internal("%s", text));
	}
	PG_CATCH();
	{
		udspg_port_guard_caught(&guard);
	}
	PG_END_TRY();
}

uint64_t
uds_port_now(uds_port *port)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * UINT64CONST(1000000000) + (uint64) now.tv_nsec;
}

int64_t
uds_port_wall_clock(uds_port *port)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64) now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

bool
uds_port_random(uds_port *port, void *bytes, size_t count)
{
	return pg_strong_random(bytes, count);
}

uint32_t
uds_port_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	/* The server's own computes one stream and takes three times as long for a page. */
	return uds_crc32c(crc, data, bytes);
}

/* ---- stop and barriers ------------------------------------------------------------------------ */

/* DROP DATABASE and others wait until every process has done this. */
static void
udspg_port_absorb_barrier(void)
{
	udspg_port_guard guard = udspg_port_guard_enter();

	PG_TRY();
	{
		ProcessProcSignalBarrier();
	}
	PG_CATCH();
	{
		udspg_port_guard_caught(&guard);
	}
	PG_END_TRY();
}

bool
uds_port_should_stop(uds_port *port)
{
	if (unlikely(ProcSignalBarrierPending))
		udspg_port_absorb_barrier();
	if (unlikely(port->has_deadline))
		return udspg_port_deadline_is_over(port) || !PostmasterIsAlive();
	if (unlikely(port->obeys_commands) && udspg_command_interrupts())
		return true;
	if (unlikely(port->command != 0) && udspg_command_is_cancelled(port->command))
		return true;
	return udspg_worker_stop_requested;
}

/* ---- workers ------------------------------------------------------------------------------- */

void
uds_port_wake(uds_port *port, uds_worker_id worker)
{
	udspg_shared_wake(worker);
}

uds_status
uds_port_wait(uds_port *port, uint32_t timeout_ms)
{
	udspg_port_guard guard = udspg_port_guard_enter();
	volatile int events = 0;

	if (uds_port_should_stop(port))
		return UDS_STOPPED;
	PG_TRY();
	{
		events = WaitLatch(MyLatch,
		                   WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH,
		                   timeout_ms,
		                   udspg_compat_wait_event(UDSPG_WAIT_WORKER_WORK));
	}
	PG_CATCH();
	{
		udspg_port_guard_caught(&guard);
		/* The caller looks at its condition and comes back: not at full speed. */
		pg_usleep(1000L);
	}
	PG_END_TRY();

	ResetLatch(MyLatch);
	udspg_port_has_reset_latch = true;
	if (events & WL_POSTMASTER_DEATH)
		udspg_worker_stop_requested = true;
	if ((events & WL_POSTMASTER_DEATH) || uds_port_should_stop(port))
		return UDS_STOPPED;
	return UDS_OK;
}

/* ---- mutexes ------------------------------------------------------------------------------- */

_Static_assert(sizeof(LWLock) <= sizeof(uds_port_mutex), "an LWLock is kept in an uds_port_mutex");

void
uds_port_mutex_init(uds_port_mutex *mutex)
{
	LWLockInitialize((LWLock *) mutex->storage, udspg_shared_header->tranche_id);
}

void
uds_port_mutex_lock(uds_port_mutex *mutex)
{
	LWLockAcquire((LWLock *) mutex->storage, LW_EXCLUSIVE);
}

void
uds_port_mutex_unlock(uds_port_mutex *mutex)
{
	LWLockRelease((LWLock *) mutex->storage);
}

/* ---- files --------------------------------------------------------------------------------- */

/* An I/O error of this process, from errno. */
static uds_status pg_attribute_printf(3, 4)
	udspg_port_fail(uds_error *error, int system_errno, const char *format, ...)
{
	char text[UDS_ERROR_TEXT_BYTES];
	bool is_full = system_errno == ENOSPC || system_errno == EDQUOT;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return uds_error_set(error,
	                     is_full ? UDS_ERR_NO_SPACE : UDS_ERR_IO,
	                     system_errno,
	                     "%s: %s",
	                     text,
	                     strerror(system_errno));
}

static void
udspg_port_directory(const uds_port *port, char name[MAXPGPATH])
{
	if (port->directory != NULL)
		strlcpy(name, port->directory, MAXPGPATH);
	else
		udspg_directory_get(name);
}

static bool
udspg_port_path(const uds_port *port, const char *name, char path[MAXPGPATH])
{
	char directory[MAXPGPATH];

	udspg_port_directory(port, directory);
	return snprintf(path, MAXPGPATH, "%s/%s", directory, name) < MAXPGPATH;
}

/* open() that gives back a virtual descriptor's place when there are too many; -1 and errno. */
static int
udspg_port_open_fd(const char *path, int flags)
{
	udspg_port_guard guard = udspg_port_guard_enter();
	volatile int fd = -1;
	volatile int saved_errno = ENFILE;

	PG_TRY();
	{
		ReserveExternalFD();
		fd = BasicOpenFilePerm(path, flags | O_CLOEXEC, UDSPG_PORT_FILE_MODE);
		saved_errno = errno;
	}
	PG_CATCH();
	{
		udspg_port_guard_caught(&guard);
	}
	PG_END_TRY();

	if (fd < 0)
		ReleaseExternalFD();
	errno = saved_errno;
	return fd;
}

uds_status
uds_port_file_open(uds_port *port, const char *name, uint32_t flags, uds_port_file **file,
                   uds_error *error)
{
	char path[MAXPGPATH];
	int open_flags = PG_BINARY | ((flags & UDS_FILE_WRITE) ? O_RDWR : O_RDONLY);
	uds_port_file *place = NULL;

	if (flags & UDS_FILE_CREATE)
		open_flags |= O_CREAT;
	if (flags & UDS_FILE_TRUNC)
		open_flags |= O_TRUNC;

	for (int i = 0; i < UDSPG_PORT_FILES_MAX && place == NULL; i++)
		if (!files[i].is_open)
			place = &files[i];
	if (place == NULL)
		return udspg_port_fail(error, EMFILE, "could not open file \"%s\"", name);
	if (!udspg_port_path(port, name, path))
		return udspg_port_fail(error, ENAMETOOLONG, "could not open file \"%s\"", name);

	place->fd = udspg_port_open_fd(path, open_flags);
	if (place->fd < 0)
	{
		if (errno == ENOENT && !(flags & UDS_FILE_CREATE))
			return UDS_NOT_FOUND;
		return udspg_port_fail(error, errno, "could not open file \"%s\"", path);
	}
	strlcpy(place->path, path, sizeof(place->path));
	place->is_open = true;
	*file = place;
	return UDS_OK;
}

void
uds_port_file_close(uds_port *port, uds_port_file *file)
{
	/* What has to be durable was synced before, so a failure tells nothing. */
	(void) close(file->fd);
	ReleaseExternalFD();
	file->is_open = false;
}

uds_status
uds_port_file_read(uds_port *port, uds_port_file *file, void *buffer, size_t bytes, uint64_t offset,
                   size_t *read, uds_error *error)
{
	size_t done = 0;

	while (done < bytes)
	{
		ssize_t n = pg_pread(file->fd, (char *) buffer + done, bytes - done, offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return udspg_port_fail(error,
			                       errno,
			                       "could not read file \"%s\" at %llu",
			                       file->path,
			                       (unsigned long long) (offset + done));
		if (n == 0)
			break;
		done += (size_t) n;
	}
	if (read != NULL)
		*read = done;
	return done == bytes ? UDS_OK : UDS_NOT_FOUND;
}

uds_status
uds_port_file_read_cached(uds_port *port, uds_port_file *file, void *buffer, size_t bytes,
                          uint64_t offset)
{
	struct iovec vector = { .iov_base = buffer, .iov_len = bytes };

	/* A file system that does not know the flag fails each time: as if nothing were in memory. */
	return preadv2(file->fd, &vector, 1, (off_t) offset, RWF_NOWAIT) == (ssize_t) bytes
	           ? UDS_OK
	           : UDS_PENDING;
}

uds_status
uds_port_file_write(uds_port *port, uds_port_file *file, const void *buffer, size_t bytes,
                    uint64_t offset, uds_error *error)
{
	size_t done = 0;

	while (done < bytes)
	{
		ssize_t n;

		errno = 0;
		n = pg_pwrite(file->fd, (const char *) buffer + done, bytes - done, offset + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return udspg_port_fail(error,
			                       errno != 0 ? errno : ENOSPC,
			                       "could not write file \"%s\" at %llu",
			                       file->path,
			                       (unsigned long long) (offset + done));
		done += (size_t) n;
	}
	return UDS_OK;
}

uds_status
uds_port_file_sync(uds_port *port, uds_port_file *file, uds_error *error)
{
	if (pg_fdatasync(file->fd) != 0)
		return udspg_port_fail(error, errno, "could not sync file \"%s\"", file->path);
	return UDS_OK;
}

uds_status
uds_port_file_size(uds_port *port, uds_port_file *file, uint64_t *bytes, uds_error *error)
{
	struct stat status;

	if (fstat(file->fd, &status) != 0)
		return udspg_port_fail(error, errno, "could not read the size of file \"%s\"", file->path);
	*bytes = (uint64) status.st_size;
	return UDS_OK;
}

uds_status
uds_port_file_truncate(uds_port *port, uds_port_file *file, uint64_t bytes, uds_error *error)
{
	int result;

	do
		result = ftruncate(file->fd, (off_t) bytes);
	while (result != 0 && errno == EINTR);
	if (result != 0)
		return udspg_port_fail(error, errno, "could not truncate file \"%s\"", file->path);
	return UDS_OK;
}

uds_status
uds_port_file_punch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes,
                    uds_error *error)
{
	int result;

	do
		result = fallocate(file->fd,
		                   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		                   (off_t) offset,
		                   (off_t) bytes);
	while (result != 0 && errno == EINTR);
	if (result != 0)
		return udspg_port_fail(error,
		                       errno,
		                       "could not give back space of file \"%s\"",
		                       file->path);
	return UDS_OK;
}

void
uds_port_file_prefetch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes)
{
	/* Only a hint: a refusal changes nothing. */
	(void) posix_fadvise(file->fd, (off_t) offset, (off_t) bytes, POSIX_FADV_WILLNEED);
}

uds_status
uds_port_file_lock(uds_port *port, uds_port_file *file, uds_error *error)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0)
		return UDS_OK;
	if (errno == EAGAIN || errno == EACCES)
	{
		(void) uds_error_set(error,
		                     UDS_ERR_IN_USE,
		                     errno,
		                     "file \"%s\" is locked by another process",
		                     file->path);
		uds_error_hint(error, "Is another server running with the same \"uds.directory\"?");
		return UDS_ERR_IN_USE;
	}
	return udspg_port_fail(error, errno, "could not lock file \"%s\"", file->path);
}

/* Make the entries of a directory durable. */
static uds_status
udspg_port_sync_directory(const char *path, uds_error *error)
{
	int fd = udspg_port_open_fd(path, O_RDONLY | O_DIRECTORY);
	int failed = 0;

	if (fd < 0)
		return udspg_port_fail(error, errno, "could not open directory \"%s\"", path);
	if (pg_fsync(fd) != 0 && errno != EINVAL && errno != EBADF)
		failed = errno; /* some file systems cannot sync directories, and need not */
	(void) close(fd);
	ReleaseExternalFD();
	if (failed != 0)
		return udspg_port_fail(error, failed, "could not sync directory \"%s\"", path);
	return UDS_OK;
}

uds_status
uds_port_file_rename(uds_port *port, const char *from, const char *to, uds_error *error)
{
	char from_path[MAXPGPATH];
	char to_path[MAXPGPATH];

	if (!udspg_port_path(port, from, from_path) || !udspg_port_path(port, to, to_path))
		return udspg_port_fail(error, ENAMETOOLONG, "could not rename file \"%s\"", from);
	if (rename(from_path, to_path) != 0)
		return udspg_port_fail(error,
		                       errno,
		                       "could not rename file \"%s\" to \"%s\"",
		                       from_path,
		                       to_path);
	return uds_port_directory_sync(port, error);
}

uds_status
uds_port_file_remove(uds_port *port, const char *name, uds_error *error)
{
	char path[MAXPGPATH];

	if (!udspg_port_path(port, name, path))
		return udspg_port_fail(error, ENAMETOOLONG, "could not remove file \"%s\"", name);
	if (unlink(path) != 0)
	{
		if (errno == ENOENT)
			return UDS_OK;
		return udspg_port_fail(error, errno, "could not remove file \"%s\"", path);
	}
	return uds_port_directory_sync(port, error);
}

uds_status
uds_port_file_exists(uds_port *port, const char *name, uds_error *error)
{
	char path[MAXPGPATH];
	struct stat status;

	if (!udspg_port_path(port, name, path))
		return udspg_port_fail(error, ENAMETOOLONG, "could not look up file \"%s\"", name);
	if (stat(path, &status) == 0)
		return UDS_OK;
	if (errno == ENOENT)
		return UDS_NOT_FOUND;
	return udspg_port_fail(error, errno, "could not look up file \"%s\"", path);
}

uds_status
uds_port_directory_create(uds_port *port, uds_error *error)
{
	char directory[MAXPGPATH];

	udspg_port_directory(port, directory);
	if (mkdir(directory, UDSPG_PORT_DIR_MODE) != 0)
	{
		if (errno == EEXIST)
			return UDS_OK;
		return udspg_port_fail(error, errno, "could not create directory \"%s\"", directory);
	}
	get_parent_directory(directory);
	return udspg_port_sync_directory(directory[0] != '\0' ? directory : ".", error);
}

uds_status
uds_port_directory_sync(uds_port *port, uds_error *error)
{
	char directory[MAXPGPATH];

	udspg_port_directory(port, directory);
	return udspg_port_sync_directory(directory, error);
}

/* ---- another directory ------------------------------------------------------------------------ */

/* The one that is open in this process. */
static uds_port other_port;
static char other_directory[MAXPGPATH];

uds_status
uds_port_directory_open(uds_port *port, const char *name, uds_port **other, uds_error *error)
{
	Assert(other_port.directory == NULL);
	if (strlen(name) >= sizeof(other_directory))
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "name of the directory is too long");
	strlcpy(other_directory, name, sizeof(other_directory));
	canonicalize_path(other_directory);
	other_port = *port;
	other_port.directory = other_directory;
	*other = &other_port;
	return UDS_OK;
}

void
uds_port_directory_close(uds_port *other)
{
	other->directory = NULL;
}

void
uds_port_directory_name(uds_port *port, char *name, size_t bytes)
{
	char directory[MAXPGPATH];

	udspg_port_directory(port, directory);
	strlcpy(name, directory, bytes);
}

/* Is there anything but "but" in a directory?  -1 and errno when it cannot be read. */
static int
udspg_port_count_others(int fd, const char *but)
{
	DIR *stream = fdopendir(fd);
	struct dirent *entry;
	int others = 0;
	int failed;

	if (stream == NULL)
	{
		failed = errno;
		(void) close(fd);
		errno = failed;
		return -1;
	}
	errno = 0;
	while ((entry = readdir(stream)) != NULL)
	{
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    (but == NULL || strcmp(entry->d_name, but) != 0))
			others++;
	}
	failed = errno;
	(void) closedir(stream);
	errno = failed;
	return failed != 0 ? -1 : others;
}

uds_status
uds_port_directory_is_empty(uds_port *port, const char *but, uds_error *error)
{
	char directory[MAXPGPATH];
	int others;
	int fd;

	udspg_port_directory(port, directory);
	fd = udspg_port_open_fd(directory, O_RDONLY | O_DIRECTORY);
	if (fd < 0 && errno == ENOENT)
		return UDS_NOT_FOUND;
	if (fd < 0)
		return udspg_port_fail(error, errno, "could not open directory \"%s\"", directory);
	others = udspg_port_count_others(fd, but);
	ReleaseExternalFD();
	if (others < 0)
		return udspg_port_fail(error, errno, "could not read directory \"%s\"", directory);
	if (others > 0)
		return uds_error_set(error,
		                     UDS_ERR_IO,
		                     ENOTEMPTY,
		                     "directory \"%s\" is not empty",
		                     directory);
	return UDS_OK;
}

void
uds_port_directory_remove(uds_port *port)
{
	char directory[MAXPGPATH];

	udspg_port_directory(port, directory);
	(void) rmdir(directory);
}

void
uds_port_directory_exchange(uds_port *port, uds_port *other)
{
	char former[MAXPGPATH];

	udspg_directory_get(former);
	udspg_directory_set(other->directory);
	strlcpy(other_directory, former, sizeof(other_directory));
}

/* ---- identity and time of the host ------------------------------------------------------------ */

/* A stamp: position in the WAL and its timeline. */
typedef struct udspg_port_mark
{
	uint64 lsn;
	uint32 timeline;
	uint32 reserved;
} udspg_port_mark;

_Static_assert(sizeof(udspg_port_mark) == UDS_STAMP_BYTES, "stored as a stamp");

/*
 * The position up to which the WAL is durable, not the one up to which it is written: after a crash
 * of the machine the server's history may end between the two, and what carries a later stamp would
 * count as another server's future.
 */
uds_stamp
uds_port_stamp(uds_port *port)
{
	udspg_port_mark mark = { 0 };
	TimeLineID timeline;
	uds_stamp stamp;

	mark.lsn = GetFlushRecPtr(&timeline);
	mark.timeline = timeline;
	memcpy(stamp.bytes, &mark, sizeof(mark));
	return stamp;
}

/*
 * Timelines of this server, the present one first; read once, since it does not change while the
 * server runs.  When it cannot be read, the past is empty, and the next call tries again.
 */
static List *
udspg_port_history(void)
{
	static List *volatile history = NIL;
	udspg_port_guard guard = udspg_port_guard_enter();

	if (history != NIL)
		return history;
	PG_TRY();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		history = readTimeLineHistory(GetWALInsertionTimeLine());
		MemoryContextSwitchTo(guard.context);
	}
	PG_CATCH();
	{
		udspg_port_guard_caught(&guard);
	}
	PG_END_TRY();
	return history;
}

bool
uds_port_stamp_is_past(uds_port *port, const uds_stamp *stamp)
{
	udspg_port_mark mark;

	ListCell *cell;

	memcpy(&mark, stamp->bytes, sizeof(mark));
	foreach(cell, udspg_port_history())
	{
		const TimeLineHistoryEntry *entry = lfirst(cell);

		if (entry->tli != mark.timeline)
			continue;
		/* A position is the end of what had been written. */
		return mark.lsn <= (entry->end != InvalidXLogRecPtr ? entry->end : GetXLogInsertRecPtr());
	}
	return false;
}

bool
uds_port_stamp_is_current(uds_port *port, const uds_stamp *stamp)
{
	udspg_port_mark mark;

	memcpy(&mark, stamp->bytes, sizeof(mark));
	return mark.timeline == GetWALInsertionTimeLine();
}

bool
uds_port_accepts_stale(uds_port *port)
{
	return udspg_accept_stale;
}

uint64_t
uds_port_system_identifier(uds_port *port)
{
	return GetSystemIdentifier();
}
