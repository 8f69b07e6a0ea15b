/*
 * fault_preload.c: calls on files that fail when a test says so.
 *
 * Loaded into a server with LD_PRELOAD: see uds_with_faults in UdsCluster.pm.  The file that
 * UDS_FAULT_FILE names has a line for each fault,
 *
 *   OPERATION SUFFIX NUMBER
 *
 * and is read at each call, so that a test can change it while the server runs, by a rename.  A
 * fault concerns files whose path ends in SUFFIX:
 *
 *   read    pread and preadv2 fail with errno NUMBER
 *   cold    preadv2 with RWF_NOWAIT fails with errno NUMBER, EAGAIN: it is not in memory
 *   slow    pread, and preadv2 without RWF_NOWAIT, take NUMBER microseconds longer
 *   write   pwrite fails with errno NUMBER
 *   sync    fsync and fdatasync fail with errno NUMBER; a server with fsync = off calls neither
 *   open    open fails with errno NUMBER
 *   rename  rename fails with errno NUMBER; the path is the new one
 *   unlink  unlink fails with errno NUMBER
 *
 * Without the variable, the file or such a line a call does what it does otherwise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONTROL_BYTES_MAX 4096
#define WORD_BYTES        256

/* Call the function that this one stands before. */
#define REAL(function) ((__typeof__(&function)) dlsym(RTLD_NEXT, #function))

/* ---- what the test says ----------------------------------------------------------------------- */

/* Read a whole file as a string; false when that is not possible. */
static bool
read_control(char text[CONTROL_BYTES_MAX])
{
	const char *name = getenv("UDS_FAULT_FILE");
	int fd = name == NULL ? -1 : REAL(open)(name, O_RDONLY | O_CLOEXEC);
	ssize_t bytes;

	if (fd < 0)
		return false;
	bytes = read(fd, text, CONTROL_BYTES_MAX - 1);
	close(fd);
	text[bytes > 0 ? bytes : 0] = '\0';
	return bytes > 0;
}

/* Path of a descriptor; false when it has none. */
static bool
find_path(int fd, char path[PATH_MAX])
{
	char link[64];
	ssize_t bytes;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	bytes = readlink(link, path, PATH_MAX - 1);
	path[bytes > 0 ? bytes : 0] = '\0';
	return bytes > 0;
}

static bool
ends_in(const char *path, const char *suffix)
{
	size_t path_bytes = strlen(path);
	size_t suffix_bytes = strlen(suffix);

	return path_bytes >= suffix_bytes && strcmp(path + path_bytes - suffix_bytes, suffix) == 0;
}

/* Number of the first fault of an operation on a path; 0 when there is none.  Keeps errno. */
static int
fault_of_path(const char *operation, const char *path)
{
	char control[CONTROL_BYTES_MAX];
	char *rest = control;
	char *line;
	int saved_errno = errno;
	int found = 0;

	if (read_control(control))
		while (found == 0 && (line = strsep(&rest, "\n")) != NULL)
		{
			char word[WORD_BYTES];
			char suffix[WORD_BYTES];
			int number;

			if (sscanf(line, "%255s %255s %d", word, suffix, &number) == 3 &&
			    strcmp(word, operation) == 0 && ends_in(path, suffix))
				found = number;
		}
	errno = saved_errno;
	return found;
}

/* The same on an open file. */
static int
fault_of(const char *operation, int fd)
{
	char path[PATH_MAX];
	int saved_errno = errno;
	int found = find_path(fd, path) ? fault_of_path(operation, path) : 0;

	errno = saved_errno;
	return found;
}

/* Does a call fail?  Then errno is set. */
static bool
fails(const char *operation, int fd)
{
	int fault = fault_of(operation, fd);

	if (fault != 0)
		errno = fault;
	return fault != 0;
}

static bool
path_fails(const char *operation, const char *path)
{
	int fault = fault_of_path(operation, path);

	if (fault != 0)
		errno = fault;
	return fault != 0;
}

static bool
read_fails(int fd)
{
	int delay = fault_of("slow", fd);

	if (delay > 0)
		usleep((useconds_t) delay);
	return fails("read", fd);
}

static bool
vector_read_fails(int fd, int flags)
{
	if (flags & RWF_NOWAIT)
		return fails("cold", fd) || fails("read", fd);
	return read_fails(fd);
}

/* ---- in the place of the C library's -------------------------------------------------------- */

ssize_t
pread(int fd, void *buffer, size_t bytes, off_t offset)
{
	return read_fails(fd) ? -1 : REAL(pread)(fd, buffer, bytes, offset);
}

ssize_t
pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
	return read_fails(fd) ? -1 : REAL(pread64)(fd, buffer, bytes, offset);
}

ssize_t
preadv2(int fd, const struct iovec *vectors, int count, off_t offset, int flags)
{
	return vector_read_fails(fd, flags) ? -1 : REAL(preadv2)(fd, vectors, count, offset, flags);
}

ssize_t
preadv64v2(int fd, const struct iovec *vectors, int count, off64_t offset, int flags)
{
	return vector_read_fails(fd, flags) ? -1 : REAL(preadv64v2)(fd, vectors, count, offset, flags);
}

ssize_t
pwrite(int fd, const void *buffer, size_t bytes, off_t offset)
{
	return fails("write", fd) ? -1 : REAL(pwrite)(fd, buffer, bytes, offset);
}

ssize_t
pwrite64(int fd, const void *buffer, size_t bytes, off64_t offset)
{
	return fails("write", fd) ? -1 : REAL(pwrite64)(fd, buffer, bytes, offset);
}

int
fsync(int fd)
{
	return fails("sync", fd) ? -1 : REAL(fsync)(fd);
}

int
fdatasync(int fd)
{
	return fails("sync", fd) ? -1 : REAL(fdatasync)(fd);
}

/* The mode is there with O_CREAT and O_TMPFILE only; passed on otherwise, nobody reads it. */
static mode_t
mode_of(va_list arguments, int flags)
{
	return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t)
	                                                                  : 0;
}

int
open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(arguments, flags);
	va_end(arguments);
	return path_fails("open", path) ? -1 : REAL(open)(path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(arguments, flags);
	va_end(arguments);
	return path_fails("open", path) ? -1 : REAL(open64)(path, flags, mode);
}

int
rename(const char *from, const char *to)
{
	return path_fails("rename", to) ? -1 : REAL(rename)(from, to);
}

int
unlink(const char *path)
{
	return path_fails("unlink", path) ? -1 : REAL(unlink)(path);
}
