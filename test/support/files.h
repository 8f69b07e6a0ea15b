/*
 * files.h: files of an index seen and changed from outside: copies, damage.
 *
 * All functions abort the test program when the system refuses; directory is the directory of a
 * host, name a plain file name in it.
 */
#ifndef UDS_TEST_FILES_H
#define UDS_TEST_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool files_exists(const char *directory, const char *name);
size_t files_size(const char *directory, const char *name);

/* The whole file, to be freed by the caller. */
uint8_t *files_read(const char *directory, const char *name, size_t *bytes);
/* Replace or create a file. */
void files_write(const char *directory, const char *name, const void *data, size_t bytes);
/* Overwrite a piece of a file; the file grows where it is too short. */
void files_overwrite(const char *directory, const char *name, size_t offset, const void *data,
                     size_t bytes);
void files_fill(const char *directory, const char *name, size_t offset, size_t bytes,
                uint8_t value);
void files_flip_bit(const char *directory, const char *name, size_t byte, uint32_t bit);
/* Shorten or lengthen (with zeros) a file. */
void files_resize(const char *directory, const char *name, size_t bytes);
void files_remove(const char *directory, const char *name);
void files_rename(const char *directory, const char *from, const char *to);

/* Make the files of one directory equal to those of another. */
void files_copy_all(const char *from, const char *to);

/*
 * A new directory, in memory where the system has such a place: tests sync thousands of times, and
 * what a disk does with that is not what they are about.  TMPDIR decides when it is set.  The path
 * is to be freed by the caller.
 */
char *files_make_directory(void);

#endif
