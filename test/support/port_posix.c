/*
 * port_posix.c: host of the engine with POSIX threads.
 */
#define _GNU_SOURCE
#include "port_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"

struct uds_port_file
{
	int descriptor;
	char name[64];
	char directory[POSIX_NAME_BYTES];
};

void
posix_host_init(posix_host *host, const char *directory)
{
	memset(host, 0, sizeof(*host));
	snprintf(host->directory, sizeof(host->directory), "%s", directory);
	pthread_mutex_init(&host->mutex, NULL);
	for (int i = 0; i < POSIX_WORKERS_MAX; i++)
	{
		pthread_condattr_t attributes;

		pthread_mutex_init(&host->workers[i].mutex, NULL);
		pthread_condattr_init(&attributes);
		pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
		pthread_cond_init(&host->workers[i].condition, &attributes);
		pthread_condattr_destroy(&attributes);
	}
	atomic_store(&host->history, 1);
	host->timeline = 1;
	host->system_identifier = 77;
}

void
posix_host_destroy(posix_host *host)
{
	pthread_mutex_destroy(&host->mutex);
	for (int i = 0; i < POSIX_WORKERS_MAX; i++)
	{
		pthread_cond_destroy(&host->workers[i].condition);
		pthread_mutex_destroy(&host->workers[i].mutex);
	}
}

uds_port
posix_port(posix_host *host, uds_worker_id worker)
{
	return (uds_port){ .host = host, .worker = worker };
}

void
posix_host_stop(posix_host *host, uds_worker_id worker)
{
	uds_port port = posix_port(host, worker);

	atomic_store(&host->workers[worker].must_stop, true);
	uds_port_wake(&port, worker);
}

void
posix_host_clear_stop(posix_host *host, uds_worker_id worker)
{
	atomic_store(&host->workers[worker].must_stop, false);
}

void
posix_remove_directory(const char *directory)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
	rmdir(directory);
}

void
uds_port_log(uds_port *port, uds_log_level level, const char *format, ...)
{
	va_list args;

	if (level == UDS_LOG_WARNING)
		atomic_fetch_add(&port->host->warnings, 1);
	if (port->host->is_quiet || level == UDS_LOG_DEBUG)
		return;
	fprintf(stderr, "[%s] ", level == UDS_LOG_WARNING ? "warning" : "log");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t) now.tv_sec * UINT64_C(1000000000) + (uint64_t) now.tv_nsec;
}

uint64_t
uds_port_now(uds_port *port)
{
	(void) port;
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t
uds_port_wall_clock(uds_port *port)
{
	return (int64_t) (clock_ns(CLOCK_REALTIME) / 1000) + port->host->clock_shift;
}

bool
uds_port_random(uds_port *port, void *bytes, size_t count)
{
	uint8_t *out = bytes;

	if (port->host->random_seed == 0)
		return getrandom(bytes, count, 0) == (ssize_t) count;
	for (size_t i = 0; i < count; i++)
	{
		uint64_t x = atomic_fetch_add(&port->host->random_state, 1) + 1;

		x = (x + (uint64_t) port->host->random_seed) * UINT64_C(0x9e3779b97f4a7c15);
		out[i] = (uint8_t) (x >> 40);
	}
	return true;
}

uint32_t
uds_port_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	return uds_crc32c(crc, data, bytes);
}

bool
uds_port_should_stop(uds_port *port)
{
	return atomic_load(&port->host->workers[port->worker].must_stop);
}

void
uds_port_wake(uds_port *port, uds_worker_id id)
{
	posix_worker *worker = &port->host->workers[id];

	pthread_mutex_lock(&worker->mutex);
	worker->is_woken = true;
	pthread_cond_signal(&worker->condition);
	pthread_mutex_unlock(&worker->mutex);
}

uds_status
uds_port_wait(uds_port *port, uint32_t timeout_ms)
{
	posix_worker *worker = &port->host->workers[port->worker];
	uint64_t until = clock_ns(CLOCK_MONOTONIC) + timeout_ms * UINT64_C(1000000);
	struct timespec limit = { .tv_sec = (time_t) (until / 1000000000),
		                      .tv_nsec = (long) (until % 1000000000) };
	int result = 0;

	pthread_mutex_lock(&worker->mutex);
	while (!worker->is_woken && result == 0)
		result = pthread_cond_timedwait(&worker->condition, &worker->mutex, &limit);
	worker->is_woken = false;
	pthread_mutex_unlock(&worker->mutex);
	return uds_port_should_stop(port) ? UDS_STOPPED : UDS_OK;
}

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(uds_port_mutex), "fits the storage");

void
uds_port_mutex_init(uds_port_mutex *mutex)
{
	pthread_mutex_init((pthread_mutex_t *) mutex->storage, NULL);
}

void
uds_port_mutex_lock(uds_port_mutex *mutex)
{
	pthread_mutex_lock((pthread_mutex_t *) mutex->storage);
}

void
uds_port_mutex_unlock(uds_port_mutex *mutex)
{
	pthread_mutex_unlock((pthread_mutex_t *) mutex->storage);
}

/* ---- files ------------------------------------------------------------------------------------ */

void
posix_host_directory(posix_host *host, char name[POSIX_NAME_BYTES])
{
	pthread_mutex_lock(&host->mutex);
	strcpy(name, host->moved[0] != '\0' ? host->moved : host->directory);
	pthread_mutex_unlock(&host->mutex);
}

static void
directory_of(uds_port *port, char name[POSIX_NAME_BYTES])
{
	if (port->directory != NULL)
		strcpy(name, port->directory);
	else
		posix_host_directory(port->host, name);
}

static void
path_of(uds_port *port, const char *name, char *path, size_t bytes)
{
	char directory[POSIX_NAME_BYTES];

	directory_of(port, directory);
	snprintf(path, bytes, "%s/%s", directory, name);
}

static uds_status
io_error(uds_error *error, int number, const char *operation, const char *name)
{
	uds_status status = number == ENOSPC || number == EDQUOT ? UDS_ERR_NO_SPACE : UDS_ERR_IO;

	return uds_error_set(error,
	                     status,
	                     number,
	                     "could not %s file \"%s\": %s",
	                     operation,
	                     name,
	                     strerror(number));
}

/* Ask the test's fault hook; 0 when the operation may go on. */
static int
ask_for_fault(uds_port *port, const char *operation, const char *name, bool is_there)
{
	char there[80];

	if (port->host->fault == NULL)
		return 0;
	snprintf(there, sizeof(there), "there/%s", name);
	return port->host->fault(port->host->fault_context, operation, is_there ? there : name);
}

static bool
is_there(uds_port *port)
{
	char directory[POSIX_NAME_BYTES];

	directory_of(port, directory);
	return strcmp(directory, port->host->directory) != 0;
}

static int
fault_of(uds_port *port, const char *operation, const char *name)
{
	return ask_for_fault(port, operation, name, is_there(port));
}

/* The same for what a test is asked only in the other directory. */
static int
fault_there(uds_port *port, const char *operation, const char *name)
{
	return is_there(port) ? fault_of(port, operation, name) : 0;
}

/* The same for an open file. */
static int
fault_of_file(uds_port *port, const char *operation, const uds_port_file *file)
{
	return ask_for_fault(port,
	                     operation,
	                     file->name,
	                     strcmp(file->directory, port->host->directory) != 0);
}

uds_status
uds_port_file_open(uds_port *port, const char *name, uint32_t flags, uds_port_file **file,
                   uds_error *error)
{
	char path[640];
	int mode = (flags & UDS_FILE_WRITE) != 0 ? O_RDWR : O_RDONLY;
	int descriptor;
	int fault = fault_there(port, "open", name);

	if ((flags & UDS_FILE_CREATE) != 0)
		mode |= O_CREAT;
	if ((flags & UDS_FILE_TRUNC) != 0)
		mode |= O_TRUNC;
	if (fault != 0)
		return io_error(error, fault, "open", name);
	path_of(port, name, path, sizeof(path));
	descriptor = open(path, mode | O_CLOEXEC, 0600);
	if (descriptor < 0 && errno == ENOENT && (flags & UDS_FILE_CREATE) == 0)
		return UDS_NOT_FOUND;
	if (descriptor < 0)
		return io_error(error, errno, "open", name);
	*file = malloc(sizeof(**file));
	(*file)->descriptor = descriptor;
	snprintf((*file)->name, sizeof((*file)->name), "%s", name);
	directory_of(port, (*file)->directory);
	return UDS_OK;
}

void
uds_port_file_close(uds_port *port, uds_port_file *file)
{
	(void) port;
	close(file->descriptor);
	free(file);
}

uds_status
uds_port_file_read(uds_port *port, uds_port_file *file, void *buffer, size_t bytes, uint64_t offset,
                   size_t *read, uds_error *error)
{
	size_t done = 0;
	int fault = fault_of_file(port, "read", file);

	if (read != NULL)
		*read = 0;
	if (fault != 0)
		return io_error(error, fault, "read", file->name);
	while (done < bytes)
	{
		ssize_t n =
			pread(file->descriptor, (char *) buffer + done, bytes - done, (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return io_error(error, errno, "read", file->name);
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
	ssize_t read = -1;

	if (port->host->memory == POSIX_MEMORY_FULL)
		read = pread(file->descriptor, buffer, bytes, (off_t) offset);
	else if (port->host->memory == POSIX_MEMORY_SYSTEM)
		read = preadv2(file->descriptor, &vector, 1, (off_t) offset, RWF_NOWAIT);
	return read == (ssize_t) bytes ? UDS_OK : UDS_PENDING;
}

uds_status
uds_port_file_write(uds_port *port, uds_port_file *file, const void *buffer, size_t bytes,
                    uint64_t offset, uds_error *error)
{
	size_t done = 0;
	int fault = fault_of_file(port, "write", file);

	if (fault != 0)
		return io_error(error, fault, "write", file->name);
	while (done < bytes)
	{
		ssize_t n = pwrite(file->descriptor,
		                   (const char *) buffer + done,
		                   bytes - done,
		                   (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return io_error(error, n == 0 ? ENOSPC : errno, "write", file->name);
		done += (size_t) n;
	}
	return UDS_OK;
}

uds_status
uds_port_file_sync(uds_port *port, uds_port_file *file, uds_error *error)
{
	int fault = fault_of_file(port, "sync", file);

	if (fault != 0)
		return io_error(error, fault, "sync", file->name);
	if (fdatasync(file->descriptor) != 0)
		return io_error(error, errno, "sync", file->name);
	return UDS_OK;
}

uds_status
uds_port_file_size(uds_port *port, uds_port_file *file, uint64_t *bytes, uds_error *error)
{
	struct stat status;

	(void) port;
	if (fstat(file->descriptor, &status) != 0)
		return io_error(error, errno, "stat", file->name);
	*bytes = (uint64_t) status.st_size;
	return UDS_OK;
}

uds_status
uds_port_file_truncate(uds_port *port, uds_port_file *file, uint64_t bytes, uds_error *error)
{
	int fault = fault_of_file(port, "truncate", file);

	if (fault != 0)
		return io_error(error, fault, "truncate", file->name);
	if (ftruncate(file->descriptor, (off_t) bytes) != 0)
		return io_error(error, errno, "truncate", file->name);
	return UDS_OK;
}

uds_status
uds_port_file_punch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes,
                    uds_error *error)
{
	int fault = fault_of(port, "punch", file->name);

	if (fault != 0)
		return io_error(error, fault, "punch", file->name);
	if (fallocate(file->descriptor,
	              FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	              (off_t) offset,
	              (off_t) bytes) != 0)
		return io_error(error, errno, "punch", file->name);
	return UDS_OK;
}

void
uds_port_file_prefetch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes)
{
	(void) port;
	(void) posix_fadvise(file->descriptor, (off_t) offset, (off_t) bytes, POSIX_FADV_WILLNEED);
}

uds_status
uds_port_file_lock(uds_port *port, uds_port_file *file, uds_error *error)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	int fault = fault_there(port, "lock", file->name);

	if (fault != 0)
		return io_error(error, fault, "lock", file->name);
	if (fcntl(file->descriptor, F_OFD_SETLK, &lock) == 0)
		return UDS_OK;
	if (errno == EAGAIN || errno == EACCES)
		return uds_error_set(error,
		                     UDS_ERR_IN_USE,
		                     errno,
		                     "files are in use by another server (\"%s\" is locked)",
		                     file->name);
	return io_error(error, errno, "lock", file->name);
}

static uds_status
sync_directory(uds_port *port, uds_error *error)
{
	char directory[POSIX_NAME_BYTES];
	int fault = fault_of(port, "sync directory", "");
	int descriptor;
	uds_status status = UDS_OK;

	directory_of(port, directory);
	if (fault != 0)
		return io_error(error, fault, "sync", directory);
	descriptor = open(directory, O_RDONLY | O_DIRECTORY);
	if (descriptor < 0)
		return io_error(error, errno, "open", directory);
	if (fsync(descriptor) != 0)
		status = io_error(error, errno, "sync", directory);
	close(descriptor);
	return status;
}

uds_status
uds_port_directory_sync(uds_port *port, uds_error *error)
{
	int fault = fault_of(port, "sync", "directory");

	if (fault != 0)
		return io_error(error, fault, "sync", port->host->directory);
	return sync_directory(port, error);
}

uds_status
uds_port_file_rename(uds_port *port, const char *from, const char *to, uds_error *error)
{
	char old_path[640];
	char new_path[640];
	int fault = fault_of(port, "rename", to);

	if (fault != 0)
		return io_error(error, fault, "rename", to);
	path_of(port, from, old_path, sizeof(old_path));
	path_of(port, to, new_path, sizeof(new_path));
	if (rename(old_path, new_path) != 0)
		return io_error(error, errno, "rename", to);
	return sync_directory(port, error);
}

uds_status
uds_port_file_remove(uds_port *port, const char *name, uds_error *error)
{
	char path[640];
	int fault = fault_of(port, "remove", name);

	if (fault != 0)
		return io_error(error, fault, "remove", name);
	path_of(port, name, path, sizeof(path));
	if (unlink(path) != 0)
		return errno == ENOENT ? UDS_OK : io_error(error, errno, "remove", name);
	return sync_directory(port, error);
}

uds_status
uds_port_file_exists(uds_port *port, const char *name, uds_error *error)
{
	char path[640];

	path_of(port, name, path, sizeof(path));
	if (access(path, F_OK) == 0)
		return UDS_OK;
	return errno == ENOENT ? UDS_NOT_FOUND : io_error(error, errno, "access", name);
}

uds_status
uds_port_directory_create(uds_port *port, uds_error *error)
{
	char directory[POSIX_NAME_BYTES];
	int fault = fault_there(port, "create directory", "");

	directory_of(port, directory);
	if (fault == 0 && (mkdir(directory, 0700) == 0 || errno == EEXIST))
		return UDS_OK;
	return io_error(error, fault != 0 ? fault : errno, "create directory", directory);
}

/* ---- another directory ------------------------------------------------------------------------ */

uds_status
uds_port_directory_open(uds_port *port, const char *name, uds_port **other, uds_error *error)
{
	posix_host *host = port->host;

	if (strlen(name) >= POSIX_NAME_BYTES)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "name of the directory is too long");
	if (host->has_other)
		abort();
	host->has_other = true;
	host->other = *port;
	host->other.directory = host->other_directory;
	strcpy(host->other_directory, name);
	*other = &host->other;
	return UDS_OK;
}

void
uds_port_directory_close(uds_port *other)
{
	other->host->has_other = false;
}

void
uds_port_directory_name(uds_port *port, char *name, size_t bytes)
{
	char directory[POSIX_NAME_BYTES];

	directory_of(port, directory);
	snprintf(name, bytes, "%s", directory);
}

uds_status
uds_port_directory_is_empty(uds_port *port, const char *but, uds_error *error)
{
	char directory[POSIX_NAME_BYTES];
	int fault = fault_there(port, "list", "");
	struct dirent *entry;
	bool is_empty = true;
	DIR *dir;

	directory_of(port, directory);
	if (fault != 0)
		return io_error(error, fault, "list", directory);
	dir = opendir(directory);
	if (dir == NULL && errno == ENOENT)
		return UDS_NOT_FOUND;
	if (dir == NULL)
		return io_error(error, errno, "list", directory);
	while ((entry = readdir(dir)) != NULL)
	{
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    (but == NULL || strcmp(entry->d_name, but) != 0))
			is_empty = false;
	}
	closedir(dir);
	return is_empty ? UDS_OK : io_error(error, ENOTEMPTY, "use directory", directory);
}

void
uds_port_directory_remove(uds_port *port)
{
	char directory[POSIX_NAME_BYTES];

	directory_of(port, directory);
	(void) rmdir(directory);
}

void
uds_port_directory_exchange(uds_port *port, uds_port *other)
{
	posix_host *host = port->host;
	char former[POSIX_NAME_BYTES];

	posix_host_directory(host, former);
	pthread_mutex_lock(&host->mutex);
	strcpy(host->moved, host->other_directory);
	pthread_mutex_unlock(&host->mutex);
	strcpy(host->other_directory, former);
	(void) other;
}

/* ---- identity and time ------------------------------------------------------------------------ */

uds_stamp
uds_port_stamp(uds_port *port)
{
	uint64_t value[2] = { port->host->timeline, atomic_fetch_add(&port->host->history, 1) };
	uds_stamp stamp;

	memcpy(stamp.bytes, value, sizeof(value));
	return stamp;
}

bool
uds_port_stamp_is_past(uds_port *port, const uds_stamp *stamp)
{
	uint64_t value[2];

	memcpy(value, stamp->bytes, sizeof(value));
	return value[0] <= port->host->timeline && value[1] < atomic_load(&port->host->history);
}

bool
uds_port_stamp_is_current(uds_port *port, const uds_stamp *stamp)
{
	uint64_t value[2];

	memcpy(value, stamp->bytes, sizeof(value));
	return value[0] == port->host->timeline;
}

bool
uds_port_accepts_stale(uds_port *port)
{
	return port->host->accepts_stale;
}

uint64_t
uds_port_system_identifier(uds_port *port)
{
	return port->host->system_identifier;
}
