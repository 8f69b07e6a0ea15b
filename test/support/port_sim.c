/*
 * port_sim.c: see port_sim.h.
 *
 * The scheduler runs on the stack of sim_run.  A coroutine goes back to it at points, in waits and
 * when it ends; the scheduler chooses the next one among those that can go on.  When none can, time
 * jumps to the first deadline; when there is none either, the run hangs.
 */
#define _GNU_SOURCE
#include "port_sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "crc32c.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES       (512 * 1024)
#define GUARD_BYTES       4096
#define LOG_LINES         48
#define LOG_LINE_BYTES    200
#define FAILURE_BYTES     16384
#define HANG_NS           UINT64_C(60000000000)
#define HANG_POINTS       UINT64_C(4000000)
#define SLOW_TASKS_POINTS 2000 /* points between two choices of tasks that are slow */

typedef enum task_state
{
	TASK_NONE = 0,
	TASK_READY,
	TASK_WAITING,  /* for its worker to be woken, until deadline */
	TASK_SLEEPING, /* until deadline */
	TASK_LOCKED    /* for a mutex */
} task_state;

typedef struct task
{
	task_state state;
	bool is_slow;
	uds_worker_id worker;
	char name[24];
	const char *doing;
	uint64_t deadline;
	uint32_t mutexes_held;
	uds_port_mutex *mutex;
	void (*function)(void *);
	void *argument;
	uint8_t *stack; /* with the guard below it */
	ucontext_t context;
} task;

typedef struct worker_state
{
	bool is_woken;
	bool must_stop;
} worker_state;

struct uds_port_file
{
	sim_inode *inode;
	bool is_writable;
	bool is_locked;
	char name[SIM_FILE_NAME_BYTES];
	uds_port_file *next; /* of all open files */
	uds_worker_id owner;
};

struct sim_private
{
	task tasks[SIM_TASKS_MAX];
	worker_state workers[SIM_WORKERS_MAX];
	task *current; /* NULL: the scheduler */
	ucontext_t scheduler;
	sim_end end;
	bool has_ended; /* by crash or failure */
	uint64_t crash_points;
	uint64_t progress_ns;
	uint64_t progress_points;
	uint64_t slow_points;
	uint64_t stamp;
	uint32_t blocks_left;
	uds_port_file *files;
	char log[LOG_LINES][LOG_LINE_BYTES];
	uint64_t log_count;
	char failure[FAILURE_BYTES];
#ifdef __SANITIZE_ADDRESS__
	const void *scheduler_stack;
	size_t scheduler_bytes;
#endif
};

/* The simulation that runs: for mutexes and basic blocks. */
static sim *running;

void __sanitizer_cov_trace_pc(void);

/* ---- switching ---------------------------------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
/* Fake stacks would outlive the coroutines that a crash ends. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "detect_stack_use_after_return=0";
}

static void
announce_switch(const void *stack, size_t bytes)
{
	__sanitizer_start_switch_fiber(NULL, stack, bytes);
}

static void
finish_switch(sim *sim)
{
	if (sim->own->current != NULL)
		__sanitizer_finish_switch_fiber(NULL,
		                                &sim->own->scheduler_stack,
		                                &sim->own->scheduler_bytes);
	else
		__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
}
#else
static void
announce_switch(const void *stack, size_t bytes)
{
	(void) stack;
	(void) bytes;
}

static void
finish_switch(sim *sim)
{
	(void) sim;
}
#endif

static void
switch_to_scheduler(sim *sim)
{
	struct sim_private *own = sim->own;
	task *task = own->current;

	own->current = NULL;
#ifdef __SANITIZE_ADDRESS__
	announce_switch(own->scheduler_stack, own->scheduler_bytes);
#else
	announce_switch(NULL, 0);
#endif
	swapcontext(&task->context, &own->scheduler);
	finish_switch(sim);
}

static void
switch_to_task(sim *sim, task *task)
{
	sim->own->current = task;
	announce_switch(task->stack + GUARD_BYTES, STACK_BYTES);
	swapcontext(&sim->own->scheduler, &task->context);
	finish_switch(sim);
}

static void
task_main(void)
{
	sim *sim = running;
	task *task = sim->own->current;

	finish_switch(sim);
	task->function(task->argument);
	if (task->mutexes_held > 0)
		sim_fail(sim, "%s ends with a mutex locked", task->name);
	for (uds_port_file *file = sim->own->files; file != NULL; file = file->next)
	{
		if (file->owner == task->worker)
			sim_fail(sim, "%s ends with file \"%s\" open", task->name, file->name);
	}
	task->state = TASK_NONE;
	switch_to_scheduler(sim);
	abort();
}

/* ---- coroutines --------------------------------------------------------------------------------- */

void
sim_spawn(sim *sim, const char *name, uds_worker_id worker, void (*function)(void *),
          void *argument)
{
	task *task = sim->own->tasks;

	while (task->state != TASK_NONE)
		task++;
	if (task >= sim->own->tasks + SIM_TASKS_MAX || worker >= SIM_WORKERS_MAX)
		abort();
	if (task->stack == NULL)
	{
		task->stack = mmap(NULL,
		                   GUARD_BYTES + STACK_BYTES,
		                   PROT_READ | PROT_WRITE,
		                   MAP_PRIVATE | MAP_ANONYMOUS,
		                   -1,
		                   0);
		if (task->stack == MAP_FAILED || mprotect(task->stack, GUARD_BYTES, PROT_NONE) != 0)
			abort();
	}
#ifdef __SANITIZE_ADDRESS__
	__asan_unpoison_memory_region(task->stack + GUARD_BYTES, STACK_BYTES);
#endif
	snprintf(task->name, sizeof(task->name), "%s", name);
	task->worker = worker;
	task->function = function;
	task->argument = argument;
	task->state = TASK_READY;
	task->doing = "begin";
	task->mutexes_held = 0;
	task->is_slow = false;
	getcontext(&task->context);
	task->context.uc_stack.ss_sp = task->stack + GUARD_BYTES;
	task->context.uc_stack.ss_size = STACK_BYTES;
	task->context.uc_link = NULL;
	makecontext(&task->context, task_main, 0);
}

static bool
can_run(const sim *sim, const task *task)
{
	switch (task->state)
	{
		case TASK_NONE:
			return false;
		case TASK_READY:
			return true;
		case TASK_WAITING:
			return sim->own->workers[task->worker].is_woken || task->deadline <= sim->time_ns;
		case TASK_SLEEPING:
			return task->deadline <= sim->time_ns;
		case TASK_LOCKED:
			return task->mutex->storage[0] == 0;
	}
	return false;
}

/* Choose among the tasks that can go on; slow ones rarely.  NULL: none can. */
static task *
choose_task(sim *sim)
{
	task *able[SIM_TASKS_MAX];
	uint32_t count = 0;
	uint32_t fast = 0;

	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		task *task = &sim->own->tasks[i];

		if (!can_run(sim, task))
			continue;
		able[count] = task;
		if (!task->is_slow)
		{
			/* The fast ones come first. */
			able[count] = able[fast];
			able[fast++] = task;
		}
		count++;
	}
	if (count == 0)
		return NULL;
	if (fast > 0 && !uds_random_one_in(&sim->random, 32))
		count = fast;
	return able[uds_random_below(&sim->random, count)];
}

static uint64_t
first_deadline(const sim *sim)
{
	uint64_t first = UINT64_MAX;

	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		const task *task = &sim->own->tasks[i];

		if ((task->state == TASK_WAITING || task->state == TASK_SLEEPING) && task->deadline < first)
			first = task->deadline;
	}
	return first;
}

static bool
has_tasks(const sim *sim)
{
	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		if (sim->own->tasks[i].state != TASK_NONE)
			return true;
	}
	return false;
}

static void
choose_slow_tasks(sim *sim)
{
	if (sim->points < sim->own->slow_points)
		return;
	sim->own->slow_points = sim->points + uds_random_range(&sim->random, 1, 2 * SLOW_TASKS_POINTS);
	for (int i = 0; i < SIM_TASKS_MAX; i++)
		sim->own->tasks[i].is_slow = uds_random_one_in(&sim->random, 4);
}

sim_end
sim_run(sim *sim)
{
	struct sim_private *own = sim->own;

	running = sim;
	own->has_ended = false;
	sim_progress(sim);
	while (!own->has_ended && has_tasks(sim))
	{
		task *task;

		choose_slow_tasks(sim);
		task = choose_task(sim);
		if (task == NULL)
		{
			uint64_t deadline = first_deadline(sim);

			if (deadline == UINT64_MAX)
				sim_fail(sim, "hangs: nobody can go on");
			else
				sim->time_ns = deadline;
		}
		else
		{
			task->state = TASK_READY;
			switch_to_task(sim, task);
		}
		if (!own->has_ended && (sim->time_ns > own->progress_ns + HANG_NS ||
		                        sim->points > own->progress_points + HANG_POINTS))
			sim_fail(sim, "hangs: no progress");
	}
	running = NULL;
	return own->has_ended ? own->end : SIM_ENDED;
}

void
sim_crash_after(sim *sim, uint64_t points)
{
	sim->own->crash_points = points == 0 ? 0 : sim->points + points;
}

void
sim_forget_tasks(sim *sim)
{
	uds_port_file *next;

	for (int i = 0; i < SIM_TASKS_MAX; i++)
		sim->own->tasks[i].state = TASK_NONE;
	for (uds_port_file *file = sim->own->files; file != NULL; file = next)
	{
		next = file->next;
		free(file);
	}
	sim->own->files = NULL;
	memset(sim->own->workers, 0, sizeof(sim->own->workers));
}

static void
end_run(sim *sim, sim_end end)
{
	sim->own->end = end;
	sim->own->has_ended = true;
	if (sim->own->current == NULL)
		return;
	switch_to_scheduler(sim);
	abort();
}

/* ---- points ------------------------------------------------------------------------------------- */

static void
record_point(sim *sim, const char *what)
{
	const task *task = sim->own->current;

	sim->points++;
	sim->time_ns += 100 + uds_random_below(&sim->random, 1000);
	for (const char *c = what; *c != '\0'; c++)
		sim->hash = (sim->hash ^ (uint8_t) *c) * UINT64_C(0x100000001b3);
	sim->hash =
		(sim->hash ^ sim->time_ns ^ (uint64_t) task->worker << 56) * UINT64_C(0x100000001b3);
	if (sim->is_traced)
		printf("%12llu %-10s %s\n", (unsigned long long) sim->time_ns, task->name, what);
}

void
sim_point(sim *sim, const char *what)
{
	task *task = sim->own->current;

	if (task == NULL)
		return;
	record_point(sim, what);
	task->doing = what;
	if (sim->own->crash_points != 0 && sim->points >= sim->own->crash_points)
	{
		sim->own->crash_points = 0;
		end_run(sim, SIM_CRASHED);
	}
	if (uds_random_one_in(&sim->random, sim->switch_one_in))
		switch_to_scheduler(sim);
}

static uint32_t
draw_blocks(sim *sim)
{
	return (uint32_t) uds_random_range(&sim->random, 1, 2 * (uint64_t) sim->block_mean);
}

/* Called by the compiler's instrumentation at the start of each basic block of the engine. */
void
__sanitizer_cov_trace_pc(void)
{
	sim *sim = running;

	if (sim == NULL || sim->block_mean == 0 || sim->own->current == NULL)
		return;
	if (sim->own->blocks_left == 0)
		sim->own->blocks_left = draw_blocks(sim);
	if (--sim->own->blocks_left == 0)
		sim_point(sim, "block");
}

void
sim_sleep(sim *sim, uint64_t ns)
{
	sim->own->current->deadline = sim->time_ns + ns;
	sim->own->current->state = TASK_SLEEPING;
	switch_to_scheduler(sim);
}

/* Wait to be woken; false: the time is over. */
static void
wait_until(sim *sim, const char *what, uint64_t deadline)
{
	task *task = sim->own->current;
	worker_state *worker = &sim->own->workers[task->worker];

	if (task->mutexes_held > 0)
		sim_fail(sim, "%s waits with a mutex locked", task->name);
	sim_point(sim, what);
	task->doing = what;
	task->deadline = deadline;
	task->state = TASK_WAITING;
	switch_to_scheduler(sim);
	worker->is_woken = false;
}

void
sim_wait(sim *sim, const char *what)
{
	wait_until(sim, what, UINT64_MAX);
}

void
sim_wake(sim *sim, uds_worker_id worker)
{
	sim->own->workers[worker].is_woken = true;
}

void
sim_progress(sim *sim)
{
	sim->own->progress_ns = sim->time_ns;
	sim->own->progress_points = sim->points;
}

void
sim_set_stop(sim *sim, uds_worker_id worker, bool must_stop)
{
	sim->own->workers[worker].must_stop = must_stop;
	sim->own->workers[worker].is_woken = true;
}

bool
sim_must_stop(const sim *sim, uds_worker_id worker)
{
	return sim->own->workers[worker].must_stop;
}

/* ---- failure ------------------------------------------------------------------------------------ */

static void append_failure(sim *sim, const char *format, ...) UDS_PRINTF(2, 3);

static void
append_failure(sim *sim, const char *format, ...)
{
	size_t used = strlen(sim->own->failure);
	va_list args;

	va_start(args, format);
	vsnprintf(sim->own->failure + used, FAILURE_BYTES - used, format, args);
	va_end(args);
}

static void
dump_tasks(sim *sim)
{
	static const char *const states[] = { "", "ready", "waiting", "sleeping", "locked" };

	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		const task *task = &sim->own->tasks[i];

		if (task->state == TASK_NONE)
			continue;
		append_failure(sim,
		               "    %-12s %-8s in \"%s\"",
		               task->name,
		               states[task->state],
		               task->doing);
		if (task->state == TASK_WAITING || task->state == TASK_SLEEPING)
			append_failure(sim,
			               task->deadline == UINT64_MAX ? ", no timeout" : ", %llu us left",
			               (unsigned long long) (task->deadline - sim->time_ns) / 1000);
		if (task->state == TASK_LOCKED)
			append_failure(sim, ", mutex of %s", sim->own->tasks[task->mutex->storage[0] - 1].name);
		append_failure(sim, "%s\n", sim->own->workers[task->worker].must_stop ? ", to stop" : "");
	}
	for (uint64_t i = sim->own->log_count > LOG_LINES ? sim->own->log_count - LOG_LINES : 0;
	     i < sim->own->log_count;
	     i++)
		append_failure(sim, "    log: %s\n", sim->own->log[i % LOG_LINES]);
}

void
sim_fail(sim *sim, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sim->own->failure, FAILURE_BYTES, format, args);
	va_end(args);
	append_failure(sim,
	               "\n    at point %llu, %llu us, in %s\n",
	               (unsigned long long) sim->points,
	               (unsigned long long) sim->time_ns / 1000,
	               sim->own->current == NULL ? "nobody" : sim->own->current->name);
	dump_tasks(sim);
	end_run(sim, SIM_FAILED);
}

const char *
sim_failure(const sim *sim)
{
	return sim->own->failure;
}

/* ---- life --------------------------------------------------------------------------------------- */

sim *
sim_create(uint64_t seed)
{
	sim *sim = calloc(1, sizeof(*sim));

	uds_random_init(&sim->random, seed);
	sim->own = calloc(1, sizeof(*sim->own));
	sim->disk = sim_disk_create(&sim->random);
	sim->hash = UINT64_C(0xcbf29ce484222325);
	sim->switch_one_in = 1;
	sim->own->stamp = 1;
	return sim;
}

void
sim_destroy(sim *sim)
{
	sim_forget_tasks(sim);
	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		if (sim->own->tasks[i].stack != NULL)
			munmap(sim->own->tasks[i].stack, GUARD_BYTES + STACK_BYTES);
	}
	sim_disk_destroy(sim->disk);
	free(sim->own);
	free(sim);
}

/* ---- port: time, workers, mutexes --------------------------------------------------------------- */

void
uds_port_log(uds_port *port, uds_log_level level, const char *format, ...)
{
	sim *sim = port->sim;
	char line[LOG_LINE_BYTES - 32];
	va_list args;

	(void) level;
	if (sim->own->current != NULL && sim->own->current->mutexes_held > 0)
		sim_fail(sim, "%s logs with a mutex locked", sim->own->current->name);
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	snprintf(sim->own->log[sim->own->log_count++ % LOG_LINES],
	         LOG_LINE_BYTES,
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
	return sim_must_stop(port->sim, port->worker);
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
	wait_until(sim, "port_wait", sim->time_ns + timeout_ms * UINT64_C(1000000));
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
	sim *sim = running;
	task *task;

	if (sim == NULL || sim->own->current == NULL)
		abort();
	task = sim->own->current;
	sim_point(sim, "mutex_lock");
	while (mutex->storage[0] != 0)
	{
		if (mutex->storage[0] == task - sim->own->tasks + 1)
			sim_fail(sim, "%s locks a mutex twice", task->name);
		task->mutex = mutex;
		task->state = TASK_LOCKED;
		switch_to_scheduler(sim);
	}
	mutex->storage[0] = (unsigned char) (task - sim->own->tasks + 1);
	task->mutexes_held++;
}

void
uds_port_mutex_unlock(uds_port_mutex *mutex)
{
	sim *sim = running;
	task *task = sim->own->current;

	if (mutex->storage[0] != task - sim->own->tasks + 1)
		sim_fail(sim, "%s unlocks a mutex that it does not hold", task->name);
	mutex->storage[0] = 0;
	task->mutexes_held--;
	sim_point(sim, "mutex_unlock");
}

/* ---- port: files ------------------------------------------------------------------------------------ */

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
		sim_sleep(sim, uds_random_below(&sim->random, 300000000));
	else
		sim_sleep(sim, uds_random_below(&sim->random, 1000000));
}

static bool
is_faulty(sim *sim, uint32_t one_in)
{
	if (!uds_random_one_in(&sim->random, one_in))
		return false;
	sim->injected++;
	return true;
}

uds_status
uds_port_file_open(uds_port *port, const char *name, uint32_t flags, uds_port_file **file,
                   uds_error *error)
{
	sim *sim = port->sim;
	sim_inode *inode;

	begin_operation(port, "open");
	inode = sim_disk_find(sim->disk, name);
	if (inode == NULL && (flags & UDS_FILE_CREATE) == 0)
		return UDS_NOT_FOUND;
	if (is_faulty(sim, sim->faults.open))
	{
		sim->read_faults++;
		return io_error(error, EIO, "open", name);
	}
	if (inode == NULL && sim->faults.is_full)
	{
		sim->injected++;
		return io_error(error, ENOSPC, "open", name);
	}
	if ((flags & UDS_FILE_TRUNC) != 0 && sim->watch != NULL)
		sim->watch(sim->watch_context, name);
	if (inode == NULL)
		inode = sim_disk_create_file(sim->disk, name);
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
	if (is_faulty(sim, sim->faults.read))
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

uds_status
uds_port_file_write(uds_port *port, uds_port_file *file, const void *buffer, size_t bytes,
                    uint64_t offset, uds_error *error)
{
	sim *sim = port->sim;
	size_t todo = bytes;
	int fault = 0;

	if (!file->is_writable)
		sim_fail(sim, "write to file \"%s\", which was opened for reading", file->name);
	begin_operation(port, "write");
	if (sim->faults.is_full)
	{
		sim->injected++;
		fault = ENOSPC;
	}
	else if (is_faulty(sim, sim->faults.write))
		fault = uds_random_one_in(&sim->random, 2) ? ENOSPC : EIO;
	if (fault != 0)
		todo = uds_random_below(&sim->random, bytes + 1);
	for (size_t done = 0, part; done < todo; done += part)
	{
		part = todo - done;
		if (uds_random_one_in(&sim->random, 4))
			part = uds_random_range(&sim->random, 1, part);
		if (done > 0)
			sim_point(sim, "write on");
		sim_inode_write(file->inode, (const char *) buffer + done, part, offset + done);
	}
	sim_point(sim, "written");
	return fault == 0 ? UDS_OK : io_error(error, fault, "write", file->name);
}

uds_status
uds_port_file_sync(uds_port *port, uds_port_file *file, uds_error *error)
{
	sim *sim = port->sim;

	begin_operation(port, "sync");
	if (is_faulty(sim, sim->faults.sync))
	{
		sim_disk_fail_sync(sim->disk, file->inode);
		return io_error(error, EIO, "sync", file->name);
	}
	sim_inode_sync(file->inode);
	sim_point(sim, "synced");
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
	if (is_faulty(port->sim, port->sim->faults.write))
		return io_error(error, EIO, "truncate", file->name);
	sim_inode_truncate(file->inode, bytes);
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

uds_status
uds_port_directory_sync(uds_port *port, uds_error *error)
{
	begin_operation(port, "directory_sync");
	if (is_faulty(port->sim, port->sim->faults.directory))
		return io_error(error, EIO, "sync", "directory");
	sim_disk_sync_directory(port->sim->disk);
	sim_point(port->sim, "directory synced");
	return UDS_OK;
}

uds_status
uds_port_file_rename(uds_port *port, const char *from, const char *to, uds_error *error)
{
	sim *sim = port->sim;

	begin_operation(port, "rename");
	if (is_faulty(sim, sim->faults.directory))
		return io_error(error, EIO, "rename", to);
	if (sim->watch != NULL)
		sim->watch(sim->watch_context, to);
	if (!sim_disk_rename(sim->disk, from, to))
		return io_error(error, ENOENT, "rename", to);
	return uds_port_directory_sync(port, error);
}

uds_status
uds_port_file_remove(uds_port *port, const char *name, uds_error *error)
{
	begin_operation(port, "remove");
	if (!sim_disk_remove(port->sim->disk, name))
		return UDS_OK;
	return uds_port_directory_sync(port, error);
}

uds_status
uds_port_file_exists(uds_port *port, const char *name, uds_error *error)
{
	(void) error;
	sim_point(port->sim, "exists");
	return sim_disk_find(port->sim->disk, name) != NULL ? UDS_OK : UDS_NOT_FOUND;
}

uds_status
uds_port_directory_create(uds_port *port, uds_error *error)
{
	(void) error;
	sim_point(port->sim, "directory_create");
	return UDS_OK;
}

/* ---- port: identity and time of the host -------------------------------------------------------- */

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
	(void) port;
	return false;
}

uint64_t
uds_port_system_identifier(uds_port *port)
{
	(void) port;
	return 77;
}
