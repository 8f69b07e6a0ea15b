/*
 * port_sim.c: see port_sim.h.
 */
#include "port_sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "sim_own.h"

/* How long an operation of a disk with latency takes, at most. */
#define DELAY_NS     1000000ull
#define STALL_NS     300000000ull
#define STALL_NS_MAX 5000000000ull

/* ---- time, workers, mutexes --------------------------------------------------------------- */

void
uds_port_log(uds_port *port, uds_log_level level, const char *format, ...)
{
	sim *sim = port->sim;
	char line[SIM_LOG_LINE_BYTES - 32];
	va_list args;

	(void) level;
	if (sim->own->current != NULL && sim->own->current->mutexes_held > 0)
		sim_fail(sim, "%s logs with a mutex locked", sim->own->current->name);
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	snprintf(sim->own->log[sim->own->log_count++ % SIM_LOG_LINES],
	         SIM_LOG_LINE_BYTES,
	         "%llu us: %s",
	         (unsigned long long) sim->time_ns / 1000,
	         line);
	sim_point(sim, "log");
}

uint64_t
uds_port_now(uds_port *port)
{
	sim_point(port->sim, "now");
	return port->sim->time_ns;
}

int64_t
uds_port_wall_clock(uds_port *port)
{
	return INT64_C(1700000000000000) + (int64_t) (port->sim->time_ns / 1000);
}

bool
uds_port_random(uds_port *port, void *bytes, size_t count)
{
	uds_random_bytes(&port->sim->random, bytes, count);
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
	sim_point(port->sim, "should_stop");
	return sim_must_stop(port->sim, port->worker) && !port->is_leaving;
}

void
uds_port_wake(uds_port *port, uds_worker_id worker)
{
	sim_point(port->sim, "wake");
	sim_wake(port->sim, worker);
}

uds_status
uds_port_wait(uds_port *port, uint32_t timeout_ms)
{
	sim *sim = port->sim;

	if (timeout_ms < 1 || timeout_ms > 100)
		sim_fail(sim, "wait of %u ms", timeout_ms);
	sim_wait_until(sim, "port_wait", sim->time_ns + timeout_ms * UINT64_C(1000000));
	return sim_must_stop(sim, port->worker) ? UDS_STOPPED : UDS_OK;
}

void
uds_port_mutex_init(uds_port_mutex *mutex)
{
	memset(mutex, 0, sizeof(*mutex));
}

void
uds_port_mutex_lock(uds_port_mutex *mutex)
{
	sim *sim = sim_running;
	sim_task *task;

	if (sim == NULL || sim->own->current == NULL)
		abort();
	task = sim->own->current;
	sim_point(sim, "mutex_lock");
	while (mutex->storage[0] != 0)
	{
		if (mutex->storage[0] == task - sim->own->tasks + 1)
			sim_fail(sim, "%s locks a mutex twice", task->name);
		task->mutex = mutex;
		task->state = SIM_TASK_LOCKED;
		sim_switch(sim);
	}
	mutex->storage[0] = (unsigned char) (task - sim->own->tasks + 1);
	task->mutexes_held++;
}

void
uds_port_mutex_unlock(uds_port_mutex *mutex)
{
	sim *sim = sim_running;
	sim_task *task = sim->own->current;

	if (mutex->storage[0] != task - sim->own->tasks + 1)
		sim_fail(sim, "%s unlocks a mutex that it does not hold", task->name);
	mutex->storage[0] = 0;
	task->mutexes_held--;
	sim_point(sim, "mutex_unlock");
}

/* ---- files ------------------------------------------------------------------------------------ */

/* Count a fault of one kind. */
static void
inject(sim *sim, uint64_t *count)
{
	sim->injected++;
	(*count)++;
}

static uds_status
io_error(uds_error *error, int number, const char *operation, const char *name)
{
	return uds_error_set(error,
	                     number == ENOSPC ? UDS_ERR_NO_SPACE : UDS_ERR_IO,
	                     number,
	                     "could not %s file \"%s\": %s",
	                     operation,
	                     name,
	                     number == ENOSPC ? "no space left" : "input/output error");
}

/* A point, and perhaps time. */
static void
begin_operation(uds_port *port, const char *what)
{
	sim *sim = port->sim;

	if (sim->own->current->mutexes_held > 0)
		sim_fail(sim, "%s does input or output with a mutex locked", sim->own->current->name);
	sim_point(sim, what);
	if (!sim->has_latency || !uds_random_one_in(&sim->random, 3))
		return;
	if (uds_random_one_in(&sim->random, 100))
	{
		uint64_t longest = uds_random_one_in(&sim->random, 10) ? STALL_NS_MAX : STALL_NS;

		sim->counts.stalls++;
		sim_sleep(sim, uds_random_below(&sim->random, longest));
	}
	else
	{
		sim->counts.delays++;
		sim_sleep(sim, uds_random_below(&sim->random, DELAY_NS));
	}
}

/* Does an operation of a kind, which fails once in so many times, fail now? */
static bool
is_faulty(sim *sim, uint32_t one_in, uint64_t *count)
{
	if (!uds_random_one_in(&sim->random, one_in))
		return false;
	inject(sim, count);
	return true;
}

/* Is there no room for bytes that end at a place of a file? */
static bool
is_full_for(const sim *sim, const sim_inode *inode, uint64_t end)
{
	switch (sim->faults.full)
	{
		case SIM_NOT_FULL:
			return false;
		case SIM_FULL_FOR_NEW:
			return inode == NULL || end > sim_inode_size(inode);
		case SIM_FULL:
			return true;
	}
	return true;
}

static uint32_t
place_of(const uds_port *port)
{
	return port->place != 0 ? port->place - 1 : port->sim->place;
}

/* Name of the directory, with its slash. */
static void
set_directory(const uds_port *port, char directory[SIM_FILE_NAME_BYTES])
{
	snprintf(directory, SIM_FILE_NAME_BYTES, "%u/", place_of(port));
}

static void
set_path(const uds_port *port, const char *name, char path[SIM_FILE_NAME_BYTES])
{
	snprintf(path, SIM_FILE_NAME_BYTES, "%u/%s", place_of(port), name);
}

/* Is a file about to be replaced?  Those that watch look at the server's own. */
static void
tell_watch(const uds_port *port, const char *name)
{
	sim *sim = port->sim;

	if (sim->watch != NULL && place_of(port) == sim->place)
		sim->watch(sim->context, name);
}

uds_status
uds_port_file_open(uds_port *port, const char *name, uint32_t flags, uds_port_file **file,
                   uds_error *error)
{
	sim *sim = port->sim;
	char path[SIM_FILE_NAME_BYTES];
	sim_inode *inode;

	begin_operation(port, "open");
	set_path(port, name, path);
	inode = sim_disk_find(sim->disk, path);
	if (inode == NULL && (flags & UDS_FILE_CREATE) == 0)
		return UDS_NOT_FOUND;
	if (is_faulty(sim, sim->faults.open, &sim->counts.bad_opens))
	{
		sim->read_faults++;
		return io_error(error, EIO, "open", name);
	}
	if (inode == NULL && is_full_for(sim, NULL, 0))
	{
		inject(sim, &sim->counts.no_space);
		return io_error(error, ENOSPC, "open", name);
	}
	if ((flags & UDS_FILE_TRUNC) != 0)
		tell_watch(port, name);
	if (inode == NULL)
		inode = sim_disk_create_file(sim->disk, path);
	else if ((flags & UDS_FILE_TRUNC) != 0)
		sim_inode_truncate(inode, 0);
	*file = calloc(1, sizeof(**file));
	(*file)->inode = inode;
	(*file)->is_writable = (flags & UDS_FILE_WRITE) != 0;
	(*file)->owner = port->worker;
	snprintf((*file)->name, sizeof((*file)->name), "%s", name);
	(*file)->next = sim->own->files;
	sim->own->files = *file;
	return UDS_OK;
}

void
uds_port_file_close(uds_port *port, uds_port_file *file)
{
	uds_port_file **link = &port->sim->own->files;

	sim_point(port->sim, "close");
	while (*link != file)
		link = &(*link)->next;
	*link = file->next;
	free(file);
}

uds_status
uds_port_file_read(uds_port *port, uds_port_file *file, void *buffer, size_t bytes, uint64_t offset,
                   size_t *read, uds_error *error)
{
	sim *sim = port->sim;
	size_t first = bytes;
	size_t done;

	if (read != NULL)
		*read = 0;
	begin_operation(port, "read");
	if (is_faulty(sim, sim->faults.read, &sim->counts.bad_reads))
	{
		sim->read_faults++;
		return io_error(error, EIO, "read", file->name);
	}
	/* Reads are not atomic against writes. */
	if (uds_random_one_in(&sim->random, 8))
		first = uds_random_below(&sim->random, bytes);
	done = sim_inode_read(file->inode, buffer, first, offset);
	if (done == first && first < bytes)
	{
		sim->counts.short_reads++;
		sim_point(sim, "read on");
		done += sim_inode_read(file->inode, (char *) buffer + first, bytes - first, offset + first);
	}
	if (read != NULL)
		*read = done;
	return done == bytes ? UDS_OK : UDS_NOT_FOUND;
}

/* What is in the memory of the simulated system changes with every look. */
uds_status
uds_port_file_read_cached(uds_port *port, uds_port_file *file, void *buffer, size_t bytes,
                          uint64_t offset)
{
	sim *sim = port->sim;

	sim_point(sim, "read from memory");
	if (!uds_random_one_in(&sim->random, 2))
		return UDS_PENDING;
	return sim_inode_read(file->inode, buffer, bytes, offset) == bytes ? UDS_OK : UDS_PENDING;
}

/* The system's write: takes some of the bytes, at least one, and says how many. */
static size_t
write_some(sim *sim, sim_inode *inode, const char *data, size_t bytes, uint64_t offset)
{
	size_t taken = bytes;

	if (uds_random_one_in(&sim->random, 4))
		taken = uds_random_range(&sim->random, 1, bytes);
	sim->counts.short_writes += taken < bytes;
	sim_inode_write(inode, data, taken, offset);
	return taken;
}

/* Does a write fail, with EIO or ENOSPC?  0: no. */
static int
choose_write_fault(sim *sim, const sim_inode *inode, uint64_t end)
{
	if (is_full_for(sim, inode, end))
	{
		inject(sim, &sim->counts.no_space);
		return ENOSPC;
	}
	if (!uds_random_one_in(&sim->random, sim->faults.write))
		return 0;
	if (uds_random_one_in(&sim->random, 2))
	{
		inject(sim, &sim->counts.no_space);
		return ENOSPC;
	}
	inject(sim, &sim->counts.bad_writes);
	return EIO;
}

uds_status
uds_port_file_write(uds_port *port, uds_port_file *file, const void *buffer, size_t bytes,
                    uint64_t offset, uds_error *error)
{
	sim *sim = port->sim;
	size_t todo = bytes;
	int fault;

	if (!file->is_writable)
		sim_fail(sim, "write to file \"%s\", which was opened for reading", file->name);
	begin_operation(port, "write");
	fault = choose_write_fault(sim, file->inode, offset + bytes);
	if (fault != 0)
		todo = uds_random_below(&sim->random, bytes + 1);
	for (size_t done = 0; done < todo;)
	{
		if (done > 0)
			sim_change_point(sim, "write on", file->name);
		done +=
			write_some(sim, file->inode, (const char *) buffer + done, todo - done, offset + done);
	}
	sim_change_point(sim, "written", file->name);
	return fault == 0 ? UDS_OK : io_error(error, fault, "write", file->name);
}

uds_status
uds_port_file_sync(uds_port *port, uds_port_file *file, uds_error *error)
{
	sim *sim = port->sim;

	begin_operation(port, "sync");
	if (is_faulty(sim, sim->faults.sync, &sim->counts.bad_syncs))
	{
		sim_disk_fail_sync(sim->disk, file->inode);
		return io_error(error, EIO, "sync", file->name);
	}
	sim_inode_sync(file->inode);
	sim_change_point(sim, "synced", file->name);
	return UDS_OK;
}

uds_status
uds_port_file_size(uds_port *port, uds_port_file *file, uint64_t *bytes, uds_error *error)
{
	(void) error;
	sim_point(port->sim, "size");
	*bytes = sim_inode_size(file->inode);
	return UDS_OK;
}

uds_status
uds_port_file_truncate(uds_port *port, uds_port_file *file, uint64_t bytes, uds_error *error)
{
	begin_operation(port, "truncate");
	if (is_faulty(port->sim, port->sim->faults.write, &port->sim->counts.bad_writes))
		return io_error(error, EIO, "truncate", file->name);
	sim_inode_truncate(file->inode, bytes);
	sim_change_point(port->sim, "truncated", file->name);
	return UDS_OK;
}

/* Whether it has happened, nobody knows before it is synced: as a write of zeros. */
uds_status
uds_port_file_punch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes,
                    uds_error *error)
{
	static const char zeros[4096];
	uint64_t end = UDS_MIN(offset + bytes, sim_inode_size(file->inode));

	begin_operation(port, "punch");
	if (is_faulty(port->sim, port->sim->faults.write, &port->sim->counts.bad_writes))
		return io_error(error, EIO, "punch", file->name);
	for (uint64_t at = offset; at < end; at += sizeof(zeros))
		sim_inode_write(file->inode, zeros, UDS_MIN(end - at, sizeof(zeros)), at);
	sim_change_point(port->sim, "punched", file->name);
	return UDS_OK;
}

void
uds_port_file_prefetch(uds_port *port, uds_port_file *file, uint64_t offset, uint64_t bytes)
{
	(void) file;
	(void) offset;
	(void) bytes;
	sim_point(port->sim, "prefetch");
}

uds_status
uds_port_file_lock(uds_port *port, uds_port_file *file, uds_error *error)
{
	sim_point(port->sim, "lock");
	for (uds_port_file *other = port->sim->own->files; other != NULL; other = other->next)
	{
		if (other->is_locked && other->inode == file->inode)
			return uds_error_set(error,
			                     UDS_ERR_IN_USE,
			                     EAGAIN,
			                     "files are in use (\"%s\" is locked)",
			                     file->name);
	}
	file->is_locked = true;
	return UDS_OK;
}

/* Does an operation on the directory fail now? */
static bool
is_directory_faulty(sim *sim)
{
	return is_faulty(sim, sim->faults.directory, &sim->counts.bad_directory);
}

uds_status
uds_port_directory_sync(uds_port *port, uds_error *error)
{
	char directory[SIM_FILE_NAME_BYTES];

	begin_operation(port, "directory_sync");
	if (is_directory_faulty(port->sim))
		return io_error(error, EIO, "sync", "directory");
	set_directory(port, directory);
	sim_disk_sync_directory(port->sim->disk, directory);
	sim_change_point(port->sim, "directory synced", NULL);
	return UDS_OK;
}

uds_status
uds_port_file_rename(uds_port *port, const char *from, const char *to, uds_error *error)
{
	sim *sim = port->sim;
	char old_path[SIM_FILE_NAME_BYTES];
	char new_path[SIM_FILE_NAME_BYTES];

	begin_operation(port, "rename");
	if (is_directory_faulty(sim))
		return io_error(error, EIO, "rename", to);
	tell_watch(port, to);
	set_path(port, from, old_path);
	set_path(port, to, new_path);
	if (!sim_disk_rename(sim->disk, old_path, new_path))
		return io_error(error, ENOENT, "rename", to);
	sim_change_point(sim, "renamed", to);
	return uds_port_directory_sync(port, error);
}

uds_status
uds_port_file_remove(uds_port *port, const char *name, uds_error *error)
{
	char path[SIM_FILE_NAME_BYTES];

	begin_operation(port, "remove");
	set_path(port, name, path);
	if (sim_disk_find(port->sim->disk, path) == NULL)
		return UDS_OK;
	if (is_directory_faulty(port->sim))
		return io_error(error, EIO, "remove", name);
	(void) sim_disk_remove(port->sim->disk, path);
	sim_change_point(port->sim, "removed", name);
	return uds_port_directory_sync(port, error);
}

uds_status
uds_port_file_exists(uds_port *port, const char *name, uds_error *error)
{
	char path[SIM_FILE_NAME_BYTES];

	begin_operation(port, "exists");
	set_path(port, name, path);
	if (is_directory_faulty(port->sim))
		return io_error(error, EIO, "look for", name);
	return sim_disk_find(port->sim->disk, path) != NULL ? UDS_OK : UDS_NOT_FOUND;
}

uds_status
uds_port_directory_create(uds_port *port, uds_error *error)
{
	begin_operation(port, "directory_create");
	if (is_directory_faulty(port->sim))
		return io_error(error, EIO, "create", "directory");
	return UDS_OK;
}

/* ---- another directory: its name is a number ---------------------------------------------------- */

uds_status
uds_port_directory_open(uds_port *port, const char *name, uds_port **other, uds_error *error)
{
	char *end;
	unsigned long place = strtoul(name, &end, 10);

	if (*end != '\0' || end == name || place > 1000)
		return uds_error_set(error, UDS_ERR_ARGUMENT, 0, "directory \"%s\" has no number", name);
	port->sim->own->other = *port;
	port->sim->own->other.place = (uint32_t) place + 1;
	*other = &port->sim->own->other;
	return UDS_OK;
}

void
uds_port_directory_close(uds_port *other)
{
	sim_point(other->sim, "directory_close");
}

void
uds_port_directory_name(uds_port *port, char *name, size_t bytes)
{
	snprintf(name, bytes, "%u", place_of(port));
}

uds_status
uds_port_directory_is_empty(uds_port *port, const char *but, uds_error *error)
{
	char directory[SIM_FILE_NAME_BYTES];

	begin_operation(port, "list");
	if (is_directory_faulty(port->sim))
		return io_error(error, EIO, "list", "directory");
	set_directory(port, directory);
	if (sim_disk_count_files(port->sim->disk, directory, but) > 0)
		return io_error(error, ENOTEMPTY, "use", "directory");
	return sim_disk_count_files(port->sim->disk, directory, NULL) == 0 ? UDS_NOT_FOUND : UDS_OK;
}

void
uds_port_directory_remove(uds_port *port)
{
	sim_point(port->sim, "directory_remove");
}

void
uds_port_directory_exchange(uds_port *port, uds_port *other)
{
	uint32_t former = port->sim->place;

	port->sim->place = other->place - 1;
	other->place = former + 1;
	sim_point(port->sim, "directory_exchange");
}

/* ---- identity and time of the host -------------------------------------------------------- */

uds_stamp
uds_port_stamp(uds_port *port)
{
	uint64_t value[2] = { 1, port->sim->own->stamp++ };
	uds_stamp stamp;

	memcpy(stamp.bytes, value, sizeof(value));
	return stamp;
}

bool
uds_port_stamp_is_past(uds_port *port, const uds_stamp *stamp)
{
	uint64_t value[2];

	memcpy(value, stamp->bytes, sizeof(value));
	return value[0] == 1 && value[1] < port->sim->own->stamp;
}

bool
uds_port_stamp_is_current(uds_port *port, const uds_stamp *stamp)
{
	return uds_port_stamp_is_past(port, stamp);
}

bool
uds_port_accepts_stale(uds_port *port)
{
	return port->sim->accepts_stale;
}

uint64_t
uds_port_system_identifier(uds_port *port)
{
	(void) port;
	return 77;
}
