/*
 * demo_client.c: the client of scripts/demo, a deduplicating store without the store.
 *
 * It cuts real files into blocks of 4 kB and posts the SHA-256 of every block together with the
 * place of the block: number of the file in the list, offset in the file.  Whenever the index
 * says that a block has been seen before, it reads the place that the metadata names and compares
 * the bytes.  Files that change meanwhile are left out.
 *
 *   list LIST BYTES DIRECTORY...  write the list of files, about BYTES in all; prints their bytes
 *   post LIST TITLE               post every block
 *   again LIST TITLE              the same, when every block has to be found
 *   peek LIST TITLE               ask for every block, when every block has to be found
 *   half LIST TITLE NOTE          post blocks that begin in the middle of the others until the
 *                                 server goes away; creates NOTE.half half way, writes to NOTE the
 *                                 place of the last block that was answered
 *   check LIST TITLE NOTE RECORDS ask for these: all that were answered have to be found, but for
 *                                 those that the last RECORDS stored ones hold
 *   head                          print the head of the table
 *
 * post, again, peek, half and check print one row of the table.  Exit status: 0 all is right,
 * 1 it could not run, 2 an answer is wrong or a block was lost, 3 the server went away (half).
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>
#include <sodium.h>

#define BLOCK_BYTES    4096
#define DIGEST_BYTES   crypto_hash_sha256_BYTES
#define METADATA_BYTES 16
#define BATCH_BLOCKS   1000
#define OPEN_FILES     256

#define BYTEA_OID       17
#define BYTEA_ARRAY_OID 1001

#define EXIT_WRONG 2
#define EXIT_GONE  3

/* A file as it was when it was listed. */
typedef struct demo_file
{
	char *path;
	uint64_t bytes;
	uint64_t inode;
	int64_t modified; /* nanoseconds since 1970 */
} demo_file;

typedef struct demo_list
{
	demo_file *files;
	size_t count;
	size_t capacity;
	uint64_t bytes;
} demo_list;

/* 16 bytes -> a number; open addressing.  Keys are parts of digests, or device and inode. */
typedef struct demo_entry
{
	uint64_t key[2];
	uint64_t value;
	bool used;
} demo_entry;

typedef struct demo_table
{
	demo_entry *entries;
	size_t capacity; /* power of two */
	size_t count;
} demo_table;

/* Blocks that go to the server in one statement. */
typedef struct demo_batch
{
	uint32_t count;
	uint64_t bytes;
	uint32_t lengths[BATCH_BLOCKS];
	uint8_t digests[BATCH_BLOCKS][DIGEST_BYTES];
	uint8_t metadata[BATCH_BLOCKS][METADATA_BYTES];
	uint8_t blocks[BATCH_BLOCKS][BLOCK_BYTES];
} demo_batch;

typedef enum demo_mode
{
	DEMO_POST,
	DEMO_AGAIN,
	DEMO_PEEK,
	DEMO_HALF,
	DEMO_LEARN, /* first part of check: no request, only remember what was posted */
	DEMO_CHECK
} demo_mode;

/* One pass over the files. */
typedef struct demo_pass
{
	demo_mode mode;
	const demo_list *list;
	PGconn *connection;
	const char *note;   /* half: where to leave word */
	uint64_t last_file; /* half, check: place of the last block that was answered */
	uint64_t last_offset;
	uint64_t may_lose; /* check: digests that may be lost, counted from the last */
	demo_table *seen;  /* digests of this pass; check: place in the order of new digests */
	demo_batch *batch;
	uint8_t *message; /* arrays of a batch in PostgreSQL's binary format */
	int cached_descriptor[OPEN_FILES];
	size_t cached_file[OPEN_FILES];

	uint64_t block_count;
	uint64_t byte_count;
	uint64_t found_count;
	uint64_t found_bytes;
	uint64_t wrong_count;
	uint64_t lost_count;    /* not found, although it had to be */
	uint64_t excused_count; /* not found, and that is allowed */
	uint64_t unverified;    /* the place lies in a file that has changed */
	uint64_t skipped_files;
	double server_seconds;
	double start;
	double shown;
	bool is_half; /* half: word was left that the server may go */
	bool is_gone; /* half: the server went away */
} demo_pass;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void
fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "demo: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(EXIT_FAILURE);
}

static void *
allocate(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (memory == NULL)
		fail("out of memory");
	return memory;
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

/* ---- table ------------------------------------------------------------------------------ */

static demo_entry *
table_find(const demo_table *table, const uint64_t key[2])
{
	uint64_t i = (key[0] ^ (key[1] * 0x9e3779b97f4a7c15u)) & (table->capacity - 1);

	while (table->entries[i].used &&
	       (table->entries[i].key[0] != key[0] || table->entries[i].key[1] != key[1]))
		i = (i + 1) & (table->capacity - 1);
	return &table->entries[i];
}

/* The entry of key, new with value 0 unless it is there; *is_new says which. */
static demo_entry *
table_put(demo_table *table, const void *bytes, bool *is_new)
{
	uint64_t key[2];
	demo_entry *entry;

	if (table->count * 2 >= table->capacity)
	{
		demo_table grown = { .capacity = table->capacity ? table->capacity * 2 : 4096 };

		grown.entries = allocate(grown.capacity * sizeof(demo_entry));
		grown.count = table->count;
		for (size_t i = 0; i < table->capacity; i++)
		{
			if (table->entries[i].used)
				*table_find(&grown, table->entries[i].key) = table->entries[i];
		}
		free(table->entries);
		*table = grown;
	}
	memcpy(key, bytes, sizeof(key));
	entry = table_find(table, key);
	*is_new = !entry->used;
	if (*is_new)
	{
		*entry = (demo_entry){ .key = { key[0], key[1] }, .used = true };
		table->count++;
	}
	return entry;
}

/* ---- the list of files --------------------------------------------------------------------- */

static int64_t
modification_time(const struct stat *status)
{
	return (int64_t) status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

static void
list_add(demo_list *list, const demo_file *file)
{
	if (list->count == list->capacity)
	{
		list->capacity = list->capacity ? list->capacity * 2 : 4096;
		list->files = realloc(list->files, list->capacity * sizeof(demo_file));
		if (list->files == NULL)
			fail("out of memory");
	}
	list->files[list->count] = *file;
	list->files[list->count].path = strdup(file->path);
	if (list->files[list->count].path == NULL)
		fail("out of memory");
	list->count++;
	list->bytes += file->bytes;
}

static int
compare_names(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Add the regular files below directory, as long as they stay within limit bytes. */
static void
list_scan(demo_list *list, demo_table *inodes, char *directory, uint64_t limit)
{
	char *roots[] = { directory, NULL };
	uint64_t end = list->bytes + limit;
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, compare_names);
	FTSENT *entry;

	if (walk == NULL)
		fail("could not read directory \"%s\": %s", directory, strerror(errno));
	while (list->bytes < end && (entry = fts_read(walk)) != NULL)
	{
		const struct stat *status = entry->fts_statp;
		demo_file file = { .path = entry->fts_accpath };

		if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR)
		{
			if (entry->fts_level == FTS_ROOTLEVEL)
				fail("could not read \"%s\": %s", directory, strerror(entry->fts_errno));
			continue;
		}
		if (entry->fts_info != FTS_F || status->st_size == 0 || access(file.path, R_OK) != 0)
			continue;
		if (status->st_nlink > 1)
		{
			/* Another name of a file is no second copy of it. */
			uint64_t key[2] = { status->st_dev, status->st_ino };
			bool is_new;

			(void) table_put(inodes, key, &is_new);
			if (!is_new)
				continue;
		}
		file.bytes = (uint64_t) status->st_size;
		if (file.bytes > end - list->bytes)
			continue;
		file.inode = status->st_ino;
		file.modified = modification_time(status);
		list_add(list, &file);
	}
	fts_close(walk);
}

static void
list_write(const demo_list *list, const char *name)
{
	FILE *stream = fopen(name, "w");

	if (stream == NULL)
		fail("could not create \"%s\": %s", name, strerror(errno));
	/* A path may hold any byte but 0, which therefore ends it. */
	for (size_t i = 0; i < list->count; i++)
	{
		const demo_file *file = &list->files[i];

		fprintf(stream,
		        "%" PRIu64 " %" PRIu64 " %" PRId64 " %s%c",
		        file->bytes,
		        file->inode,
		        file->modified,
		        file->path,
		        0);
	}
	if (ferror(stream) || fclose(stream) != 0)
		fail("could not write \"%s\": %s", name, strerror(errno));
}

static void
list_read(demo_list *list, const char *name)
{
	FILE *stream = fopen(name, "r");
	char *line = NULL;
	size_t capacity = 0;

	if (stream == NULL)
		fail("could not open \"%s\": %s", name, strerror(errno));
	while (getdelim(&line, &capacity, 0, stream) > 0)
	{
		demo_file file;
		int length = 0;

		if (sscanf(line,
		           "%" SCNu64 " %" SCNu64 " %" SCNd64 "%n",
		           &file.bytes,
		           &file.inode,
		           &file.modified,
		           &length) != 3)
			fail("\"%s\" is not a list of files", name);
		file.path = line + length + 1;
		list_add(list, &file);
	}
	free(line);
	fclose(stream);
}

static int
run_list(const char *name, const char *limit_text, char **directories, int directory_count)
{
	demo_list list = { 0 };
	demo_table inodes = { 0 };
	uint64_t limit = strtoull(limit_text, NULL, 10);

	for (int i = 0; i < directory_count; i++)
	{
		/* What one directory leaves of its share goes to those that follow. */
		uint64_t share = (limit - list.bytes) / (uint64_t) (directory_count - i);

		list_scan(&list, &inodes, directories[i], share);
	}
	if (list.count == 0)
		fail("there are no files to read");
	list_write(&list, name);
	printf("%" PRIu64 " %zu\n", list.bytes, list.count);
	return EXIT_SUCCESS;
}

/* ---- reading blocks ------------------------------------------------------------------------- */

/* Open a file of the list; -1 when it is gone or not the one that was listed. */
static int
open_listed(const demo_file *file)
{
	struct stat status;
	int descriptor = open(file->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (descriptor < 0)
		return -1;
	if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) ||
	    (uint64_t) status.st_size != file->bytes || status.st_ino != file->inode ||
	    modification_time(&status) != file->modified)
	{
		close(descriptor);
		return -1;
	}
	return descriptor;
}

/* Read as much of length bytes as the file has. */
static ssize_t
read_at(int descriptor, void *buffer, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length)
	{
		ssize_t n =
			pread(descriptor, (char *) buffer + done, length - done, (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t) n;
	}
	return (ssize_t) done;
}

static void
put_u64(uint8_t *bytes, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t) (value >> (56 - 8 * i));
}

static uint64_t
get_u64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* Descriptors for comparing are kept open: duplicates of a file mostly lie close together. */
static int
descriptor_of(demo_pass *pass, size_t file_number)
{
	size_t slot = file_number % OPEN_FILES;

	if (pass->cached_descriptor[slot] < 0 || pass->cached_file[slot] != file_number)
	{
		if (pass->cached_descriptor[slot] >= 0)
			close(pass->cached_descriptor[slot]);
		pass->cached_descriptor[slot] = open_listed(&pass->list->files[file_number]);
		pass->cached_file[slot] = file_number;
	}
	return pass->cached_descriptor[slot];
}

/*
 * Compare a block with the place that metadata names.  A difference is a wrong answer only when
 * both files are still what they were.
 */
static void
verify(demo_pass *pass, uint32_t number, const uint8_t *metadata)
{
	const demo_batch *batch = pass->batch;
	uint64_t file_number = get_u64(metadata);
	uint64_t offset = get_u64(metadata + 8);
	uint32_t length = batch->lengths[number];
	uint8_t block[BLOCK_BYTES];
	const demo_file *file;
	uint64_t left;
	int descriptor;

	if (file_number >= pass->list->count || offset >= pass->list->files[file_number].bytes)
	{
		pass->wrong_count++;
		return;
	}
	file = &pass->list->files[file_number];
	left = file->bytes - offset;
	if ((left < BLOCK_BYTES ? left : BLOCK_BYTES) != length)
	{
		pass->wrong_count++;
		return;
	}
	descriptor = descriptor_of(pass, file_number);
	if (descriptor >= 0 && read_at(descriptor, block, length, offset) == (ssize_t) length &&
	    memcmp(block, batch->blocks[number], length) == 0)
		return;

	/* Look again: the file may have changed since its descriptor was opened. */
	descriptor = open_listed(file);
	if (descriptor < 0)
	{
		pass->unverified++;
		return;
	}
	close(descriptor);
	descriptor = open_listed(&pass->list->files[get_u64(batch->metadata[number])]);
	if (descriptor < 0)
	{
		pass->unverified++;
		return;
	}
	close(descriptor);
	pass->wrong_count++;
}

/* ---- requests -------------------------------------------------------------------------------- */

static uint8_t *
put_i32(uint8_t *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t) (value >> (24 - 8 * i));
	return out + 4;
}

/* A one-dimensional bytea[] of count items of item_bytes each; returns its end. */
static uint8_t *
put_array(uint8_t *out, const uint8_t *items, uint32_t item_bytes, uint32_t count)
{
	out = put_i32(out, 1); /* dimensions */
	out = put_i32(out, 0); /* no NULL */
	out = put_i32(out, BYTEA_OID);
	out = put_i32(out, count);
	out = put_i32(out, 1); /* lower bound */
	for (uint32_t i = 0; i < count; i++)
	{
		out = put_i32(out, item_bytes);
		memcpy(out, items + (size_t) i * item_bytes, item_bytes);
		out += item_bytes;
	}
	return out;
}

/* The last words of a server that is killed are no surprise. */
static void
ignore_notice(void *argument, const char *message)
{
	(void) argument;
	(void) message;
}

static void
prepare(demo_pass *pass)
{
	static const Oid types[] = { BYTEA_ARRAY_OID, BYTEA_ARRAY_OID };
	char query[200];
	PGresult *result;

	pass->connection = PQconnectdb("application_name=uds_demo");
	if (PQstatus(pass->connection) != CONNECTION_OK)
		fail("%s", PQerrorMessage(pass->connection));
	if (pass->mode == DEMO_HALF)
		PQsetNoticeProcessor(pass->connection, ignore_notice, NULL);
	snprintf(query,
	         sizeof(query),
	         "SELECT ordinality, found, metadata FROM uds_request_many('%s', $1, $2)",
	         pass->mode == DEMO_PEEK || pass->mode == DEMO_CHECK ? "peek" : "post");
	result = PQprepare(pass->connection, "batch", query, 2, types);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQerrorMessage(pass->connection));
	PQclear(result);
}

/* Run the batch's statement; NULL when the server has gone and the pass expects it to. */
static PGresult *
request(demo_pass *pass)
{
	const demo_batch *batch = pass->batch;
	uint8_t *second = put_array(pass->message, batch->digests[0], DIGEST_BYTES, batch->count);
	uint8_t *end = put_array(second, batch->metadata[0], METADATA_BYTES, batch->count);
	const char *values[] = { (const char *) pass->message, (const char *) second };
	int lengths[] = { (int) (second - pass->message), (int) (end - second) };
	int formats[] = { 1, 1 };
	double start = now();
	PGresult *result = PQexecPrepared(pass->connection, "batch", 2, values, lengths, formats, 1);

	pass->server_seconds += now() - start;
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		return result;
	if (pass->mode == DEMO_HALF && pass->is_half)
	{
		pass->is_gone = true;
		PQclear(result);
		return NULL;
	}
	fail("%s", PQerrorMessage(pass->connection));
}

/* A block that was not found: was it to be? */
static void
judge_absent(demo_pass *pass, uint32_t number, bool is_new)
{
	switch (pass->mode)
	{
		case DEMO_AGAIN:
		case DEMO_PEEK:
			pass->lost_count++;
			break;
		case DEMO_CHECK:
		{
			uint64_t key[2];
			const demo_entry *entry;

			/* new digests that were posted after this one's last post */
			memcpy(key, pass->batch->digests[number], sizeof(key));
			entry = table_find(pass->seen, key);
			if (entry->used && pass->seen->count - entry->value <= pass->may_lose)
				pass->excused_count++;
			else
				pass->lost_count++;
			break;
		}
		default:
			if (!is_new)
				pass->lost_count++;
			break;
	}
}

static void
take_answers(demo_pass *pass, const PGresult *result)
{
	const demo_batch *batch = pass->batch;

	if (PQntuples(result) != (int) batch->count || PQnfields(result) != 3)
		fail("%d answers to %u requests", PQntuples(result), batch->count);
	for (uint32_t i = 0; i < batch->count; i++)
	{
		bool is_new = false;

		if (PQgetlength(result, (int) i, 0) != 8 ||
		    get_u64((const uint8_t *) PQgetvalue(result, (int) i, 0)) != i + 1 ||
		    PQgetlength(result, (int) i, 1) != 1)
			fail("answer %u has another form than it should", i + 1);
		if (pass->mode == DEMO_POST || pass->mode == DEMO_HALF)
			(void) table_put(pass->seen, batch->digests[i], &is_new);
		if (*PQgetvalue(result, (int) i, 1) == 0)
		{
			judge_absent(pass, i, is_new);
			continue;
		}
		pass->found_count++;
		pass->found_bytes += batch->lengths[i];
		if (PQgetlength(result, (int) i, 2) != METADATA_BYTES)
			pass->wrong_count++;
		else
			verify(pass, i, (const uint8_t *) PQgetvalue(result, (int) i, 2));
	}
}

static void
show_progress(demo_pass *pass, bool is_last)
{
	bool is_terminal = isatty(STDERR_FILENO);
	double time = now();

	if (is_last)
	{
		if (is_terminal)
			fprintf(stderr, "\r\033[K");
		return;
	}
	if (time - pass->shown < (is_terminal ? 0.2 : 10))
		return;
	pass->shown = time;
	fprintf(stderr,
	        "%s  %5.1f %%  %.2f GB  %" PRIu64 " blocks  %.0f MB/s%s",
	        is_terminal ? "\r\033[K" : "",
	        100.0 * (double) pass->byte_count / (double) pass->list->bytes,
	        (double) pass->byte_count / 1e9,
	        pass->block_count,
	        (double) pass->byte_count / 1e6 / (time - pass->start),
	        is_terminal ? "" : "\n");
}

/* Leave word how far the server has answered. */
static void
write_note(const demo_pass *pass, const char *suffix)
{
	char name[4096];
	FILE *stream;

	snprintf(name, sizeof(name), "%s%s", pass->note, suffix);
	stream = fopen(name, "w");
	if (stream == NULL ||
	    fprintf(stream, "%" PRIu64 " %" PRIu64 "\n", pass->last_file, pass->last_offset) < 0 ||
	    fclose(stream) != 0)
		fail("could not write \"%s\": %s", name, strerror(errno));
}

static void
read_note(demo_pass *pass)
{
	FILE *stream = fopen(pass->note, "r");

	if (stream == NULL ||
	    fscanf(stream, "%" SCNu64 " %" SCNu64, &pass->last_file, &pass->last_offset) != 2)
		fail("could not read \"%s\"", pass->note);
	fclose(stream);
}

/* Send what the batch holds.  What the server did not answer does not count. */
static void
finish_batch(demo_pass *pass)
{
	demo_batch *batch = pass->batch;

	if (batch->count == 0)
		return;
	if (pass->mode == DEMO_LEARN)
	{
		for (uint32_t i = 0; i < batch->count; i++)
		{
			bool is_new;

			/* count is read after the new digest has been added: values are 1, 2, ... */
			demo_entry *entry = table_put(pass->seen, batch->digests[i], &is_new);

			entry->value = pass->seen->count;
		}
	}
	else
	{
		PGresult *result = request(pass);

		if (result == NULL)
		{
			batch->count = 0;
			return;
		}
		take_answers(pass, result);
		PQclear(result);
	}
	if (pass->mode == DEMO_HALF)
	{
		pass->last_file = get_u64(batch->metadata[batch->count - 1]);
		pass->last_offset = get_u64(batch->metadata[batch->count - 1] + 8);
	}
	pass->block_count += batch->count;
	pass->byte_count += batch->bytes;
	batch->count = 0;
	batch->bytes = 0;
	if (pass->mode == DEMO_HALF && !pass->is_half && pass->byte_count * 2 >= pass->list->bytes)
	{
		write_note(pass, ".half");
		pass->is_half = true;
	}
	show_progress(pass, false);
}

/* Does the pass end before this block? */
static bool
is_complete(const demo_pass *pass, uint64_t file_number, uint64_t offset)
{
	if (pass->mode == DEMO_LEARN || pass->mode == DEMO_CHECK)
		return file_number > pass->last_file ||
		       (file_number == pass->last_file && offset > pass->last_offset);
	return pass->is_gone;
}

static void
add_file(demo_pass *pass, size_t file_number, uint64_t first_offset)
{
	const demo_file *file = &pass->list->files[file_number];
	demo_batch *batch = pass->batch;
	int descriptor;

	if (first_offset >= file->bytes)
		return;
	descriptor = open_listed(file);
	if (descriptor < 0)
	{
		pass->skipped_files++;
		return;
	}
	for (uint64_t offset = first_offset;
	     offset < file->bytes && !is_complete(pass, file_number, offset);
	     offset += BLOCK_BYTES)
	{
		uint32_t i = batch->count;
		uint64_t left = file->bytes - offset;
		uint32_t length = left < BLOCK_BYTES ? (uint32_t) left : BLOCK_BYTES;

		if (read_at(descriptor, batch->blocks[i], length, offset) != (ssize_t) length)
		{
			pass->skipped_files++;
			break;
		}
		crypto_hash_sha256(batch->digests[i], batch->blocks[i], length);
		put_u64(batch->metadata[i], file_number);
		put_u64(batch->metadata[i] + 8, offset);
		batch->lengths[i] = length;
		batch->bytes += length;
		batch->count++;
		if (batch->count == BATCH_BLOCKS)
			finish_batch(pass);
	}
	close(descriptor);
}

static void
run_pass(demo_pass *pass)
{
	uint64_t first_offset = pass->mode >= DEMO_HALF ? BLOCK_BYTES / 2 : 0;

	for (size_t i = 0; i < OPEN_FILES; i++)
		pass->cached_descriptor[i] = -1;
	pass->batch = allocate(sizeof(demo_batch));
	pass->message =
		allocate(2 * 20 + (size_t) BATCH_BLOCKS * (DIGEST_BYTES + METADATA_BYTES + 2 * 4));
	if (pass->mode != DEMO_LEARN)
		prepare(pass);
	pass->start = now();
	pass->shown = pass->start;
	for (size_t i = 0; i < pass->list->count && !is_complete(pass, i, 0); i++)
		add_file(pass, i, first_offset);
	if (!pass->is_gone)
		finish_batch(pass);
	show_progress(pass, true);
	for (size_t i = 0; i < OPEN_FILES; i++)
	{
		if (pass->cached_descriptor[i] >= 0)
			close(pass->cached_descriptor[i]);
	}
	PQfinish(pass->connection);
	free(pass->message);
	free(pass->batch);
}

/* ---- the table on the screen -------------------------------------------------------------------- */

static void
print_head(void)
{
	printf("%-30s %10s %9s %10s %10s %7s %6s %6s %10s\n",
	       "",
	       "blocks",
	       "MB",
	       "unique",
	       "duplicates",
	       "saved",
	       "wrong",
	       "lost",
	       "per second");
}

static void
print_row(const demo_pass *pass, const char *title)
{
	printf("%-30s %10" PRIu64 " %9.1f %10" PRIu64 " %10" PRIu64 " %6.1f%% %6" PRIu64 " %6" PRIu64
	       " %10.0f\n",
	       title,
	       pass->block_count,
	       (double) pass->byte_count / 1e6,
	       pass->block_count - pass->found_count,
	       pass->found_count,
	       pass->byte_count ? 100.0 * (double) pass->found_bytes / (double) pass->byte_count : 0.0,
	       pass->wrong_count,
	       pass->lost_count,
	       pass->server_seconds > 0 ? (double) pass->block_count / pass->server_seconds : 0.0);
	if (pass->excused_count > 0)
		printf("  %" PRIu64 " of the blocks posted last had not been sealed and are forgotten\n",
		       pass->excused_count);
	if (pass->skipped_files > 0 || pass->unverified > 0)
		printf("  left out: %" PRIu64 " files and %" PRIu64
		       " duplicates, since files have changed meanwhile\n",
		       pass->skipped_files,
		       pass->unverified);
}

static int
run_requests(demo_mode mode, int count, char **arguments)
{
	demo_list list = { 0 };
	demo_table seen = { 0 };
	demo_pass pass = { .mode = mode, .list = &list, .seen = &seen };

	list_read(&list, arguments[0]);
	if (count > 2)
		pass.note = arguments[2];
	if (mode == DEMO_CHECK)
	{
		demo_pass learn = { .mode = DEMO_LEARN, .list = &list, .seen = &seen };

		read_note(&pass);
		learn.last_file = pass.last_file;
		learn.last_offset = pass.last_offset;
		run_pass(&learn);
		pass.may_lose = strtoull(arguments[3], NULL, 10);
	}
	run_pass(&pass);
	print_row(&pass, arguments[1]);
	if (mode == DEMO_HALF)
		write_note(&pass, "");
	if (pass.wrong_count > 0 || pass.lost_count > 0)
		return EXIT_WRONG;
	return pass.is_gone ? EXIT_GONE : EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	static const struct
	{
		const char *name;
		demo_mode mode;
		int arguments;
	} commands[] = {
		{ "post", DEMO_POST, 2 }, { "again", DEMO_AGAIN, 2 }, { "peek", DEMO_PEEK, 2 },
		{ "half", DEMO_HALF, 3 }, { "check", DEMO_CHECK, 4 },
	};
	const char *command = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (sodium_init() < 0)
		fail("libsodium does not work");
	if (strcmp(command, "head") == 0)
	{
		print_head();
		return EXIT_SUCCESS;
	}
	if (strcmp(command, "list") == 0 && argc > 4)
		return run_list(argv[2], argv[3], argv + 4, argc - 4);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		if (strcmp(command, commands[i].name) == 0 && argc == 2 + commands[i].arguments)
			return run_requests(commands[i].mode, argc - 2, argv + 2);
	}
	fail("unknown command \"%s\"", command);
}
