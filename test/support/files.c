/*
 * files.c: see files.h.
 */
#define _GNU_SOURCE
#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
die(const char *what, const char *name)
{
	fprintf(stderr, "%s \"%s\" failed: %m\n", what, name);
	abort();
}

static int
open_file(const char *directory, const char *name, int flags)
{
	char path[1024];
	int descriptor;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	descriptor = open(path, flags | O_CLOEXEC, 0600);
	if (descriptor < 0)
		die("open", path);
	return descriptor;
}

bool
files_exists(const char *directory, const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

size_t
files_size(const char *directory, const char *name)
{
	int descriptor = open_file(directory, name, O_RDONLY);
	struct stat status;

	if (fstat(descriptor, &status) != 0)
		die("stat", name);
	close(descriptor);
	return (size_t) status.st_size;
}

uint8_t *
files_read(const char *directory, const char *name, size_t *bytes)
{
	int descriptor = open_file(directory, name, O_RDONLY);
	uint8_t *data;

	*bytes = files_size(directory, name);
	data = malloc(*bytes + 1);
	if (pread(descriptor, data, *bytes, 0) != (ssize_t) *bytes)
		die("read", name);
	close(descriptor);
	return data;
}

void
files_write(const char *directory, const char *name, const void *data, size_t bytes)
{
	close(open_file(directory, name, O_RDWR | O_CREAT | O_TRUNC));
	files_overwrite(directory, name, 0, data, bytes);
}

void
files_overwrite(const char *directory, const char *name, size_t offset, const void *data,
                size_t bytes)
{
	int descriptor = open_file(directory, name, O_RDWR);

	if (pwrite(descriptor, data, bytes, (off_t) offset) != (ssize_t) bytes)
		die("write", name);
	close(descriptor);
}

void
files_fill(const char *directory, const char *name, size_t offset, size_t bytes, uint8_t value)
{
	uint8_t *data = malloc(bytes);

	memset(data, value, bytes);
	files_overwrite(directory, name, offset, data, bytes);
	free(data);
}

void
files_flip_bit(const char *directory, const char *name, size_t byte, uint32_t bit)
{
	int descriptor = open_file(directory, name, O_RDWR);
	uint8_t value;

	if (pread(descriptor, &value, 1, (off_t) byte) != 1)
		die("read", name);
	value ^= (uint8_t) (1u << bit);
	if (pwrite(descriptor, &value, 1, (off_t) byte) != 1)
		die("write", name);
	close(descriptor);
}

void
files_resize(const char *directory, const char *name, size_t bytes)
{
	int descriptor = open_file(directory, name, O_RDWR);

	if (ftruncate(descriptor, (off_t) bytes) != 0)
		die("truncate", name);
	close(descriptor);
}

void
files_remove(const char *directory, const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (unlink(path) != 0)
		die("remove", path);
}

void
files_rename(const char *directory, const char *from, const char *to)
{
	char from_path[1024];
	char to_path[1024];

	snprintf(from_path, sizeof(from_path), "%s/%s", directory, from);
	snprintf(to_path, sizeof(to_path), "%s/%s", directory, to);
	if (rename(from_path, to_path) != 0)
		die("rename", from_path);
}

/* Call something for each file of a directory. */
static void
for_each_file(const char *directory, void (*call)(const char *, const char *, const char *),
              const char *argument)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	if (dir == NULL)
		die("open", directory);
	while ((entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] != '.')
			call(directory, entry->d_name, argument);
	}
	closedir(dir);
}

static void
remove_one(const char *directory, const char *name, const char *argument)
{
	(void) argument;
	files_remove(directory, name);
}

static void
copy_one(const char *directory, const char *name, const char *argument)
{
	size_t bytes;
	uint8_t *data = files_read(directory, name, &bytes);

	files_write(argument, name, data, bytes);
	free(data);
}

void
files_copy_all(const char *from, const char *to)
{
	for_each_file(to, remove_one, NULL);
	for_each_file(from, copy_one, to);
}

char *
files_make_directory(void)
{
	const char *base = getenv("TMPDIR");
	char directory[256];

	if (base == NULL || base[0] == '\0')
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(directory, sizeof(directory), "%s/uds-test-XXXXXX", base);
	if (mkdtemp(directory) == NULL)
		die("make directory", directory);
	return strdup(directory);
}
