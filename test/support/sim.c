/*
 * sim.c: see sim.h.
 *
 * The scheduler runs on the stack of sim_run.  A coroutine goes back to it at points, in waits and
 * when it ends; the scheduler chooses the next one among those that can go on.  When none can, time
 * jumps to the first deadline; when there is none either, the run hangs.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim_own.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES       (512 * 1024)
#define GUARD_BYTES       4096
#define HANG_NS           UINT64_C(60000000000)
#define HANG_POINTS       UINT64_C(4000000)
#define SLOW_TASKS_POINTS 2000 /* points between two choices of tasks that are slow */

sim *sim_running;

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

void
sim_switch(sim *sim)
{
	struct sim_private *own = sim->own;
	sim_task *task = own->current;

	own->current = NULL;
	announce_switch(own->scheduler_stack, own->scheduler_bytes);
	swapcontext(&task->context, &own->scheduler);
	finish_switch(sim);
}

static void
switch_to_task(sim *sim, sim_task *task)
{
	sim->own->current = task;
	announce_switch(task->stack + GUARD_BYTES, STACK_BYTES);
	swapcontext(&sim->own->scheduler, &task->context);
	finish_switch(sim);
}

static void
task_main(void)
{
	sim *sim = sim_running;
	sim_task *task = sim->own->current;

	finish_switch(sim);
	task->function(task->argument);
	if (task->mutexes_held > 0)
		sim_fail(sim, "%s ends with a mutex locked", task->name);
	for (uds_port_file *file = sim->own->files; file != NULL; file = file->next)
	{
		if (file->owner == task->worker)
			sim_fail(sim, "%s ends with file \"%s\" open", task->name, file->name);
	}
	task->state = SIM_TASK_NONE;
	sim_switch(sim);
	abort();
}

/* ---- coroutines --------------------------------------------------------------------------------- */

void
sim_spawn(sim *sim, const char *name, uds_worker_id worker, void (*function)(void *),
          void *argument)
{
	sim_task *task = sim->own->tasks;

	while (task->state != SIM_TASK_NONE)
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
	task->state = SIM_TASK_READY;
	task->doing = "begin";
	task->mutexes_held = 0;
	task->is_slow = false;
	getcontext(&task->context);
	task->context.uc_stack.ss_sp = task->stack + GUARD_BYTES;
	task->context.uc_stack.ss_size = STACK_BYTES;
	task->context.uc_link = NULL;
	makecontext(&task->context, task_main, 0);
}

void
sim_close_files(sim *sim, uds_worker_id worker)
{
	uds_port_file **link = &sim->own->files;

	while (*link != NULL)
	{
		uds_port_file *file = *link;

		if (file->owner != worker)
		{
			link = &file->next;
			continue;
		}
		*link = file->next;
		free(file);
	}
}

bool
sim_kill(sim *sim, uds_worker_id worker, bool closes_files)
{
	sim_task *task = sim->own->tasks;

	while (task < sim->own->tasks + SIM_TASKS_MAX &&
	       (task->state == SIM_TASK_NONE || task->worker != worker))
		task++;
	if (task == sim->own->tasks + SIM_TASKS_MAX || task == sim->own->current ||
	    task->mutexes_held > 0)
		return false;
	task->state = SIM_TASK_NONE;
	sim->own->workers[worker] = (sim_worker){ 0 };
	if (closes_files)
		sim_close_files(sim, worker);
	return true;
}

static bool
can_run(const sim *sim, const sim_task *task)
{
	switch (task->state)
	{
		case SIM_TASK_NONE:
			return false;
		case SIM_TASK_READY:
			return true;
		case SIM_TASK_WAITING:
			return sim->own->workers[task->worker].is_woken || task->deadline <= sim->time_ns;
		case SIM_TASK_SLEEPING:
			return task->deadline <= sim->time_ns;
		case SIM_TASK_LOCKED:
			return task->mutex->storage[0] == 0;
	}
	return false;
}

/* Choose among the tasks that can go on; slow ones rarely.  NULL: none can. */
static sim_task *
choose_task(sim *sim)
{
	sim_task *able[SIM_TASKS_MAX];
	uint32_t count = 0;
	uint32_t fast = 0;

	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		sim_task *task = &sim->own->tasks[i];

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
		const sim_task *task = &sim->own->tasks[i];

		if ((task->state == SIM_TASK_WAITING || task->state == SIM_TASK_SLEEPING) &&
		    task->deadline < first)
			first = task->deadline;
	}
	return first;
}

static bool
has_tasks(const sim *sim)
{
	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		if (sim->own->tasks[i].state != SIM_TASK_NONE)
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

	sim_running = sim;
	own->has_ended = false;
	sim_progress(sim);
	while (!own->has_ended && has_tasks(sim))
	{
		sim_task *task;

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
			task->state = SIM_TASK_READY;
			switch_to_task(sim, task);
		}
		if (!own->has_ended && (sim->time_ns > own->progress_ns + HANG_NS ||
		                        sim->points > own->progress_points + HANG_POINTS))
			sim_fail(sim, "hangs: no progress");
	}
	sim_running = NULL;
	return own->has_ended ? own->end : SIM_ENDED;
}

void
sim_crash_after(sim *sim, uint64_t points, uint64_t changes, const char *file)
{
	sim->own->crash_points = points == 0 ? 0 : sim->points + points;
	sim->own->crash_changes = changes;
	sim->own->crash_file = file;
}

void
sim_forget_tasks(sim *sim)
{
	uds_port_file *next;

	for (int i = 0; i < SIM_TASKS_MAX; i++)
		sim->own->tasks[i].state = SIM_TASK_NONE;
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
	sim_switch(sim);
	abort();
}

/* ---- points ------------------------------------------------------------------------------------- */

static void
record_point(sim *sim, const char *what)
{
	const sim_task *task = sim->own->current;

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
	sim_task *task = sim->own->current;

	if (task == NULL)
		return;
	record_point(sim, what);
	task->doing = what;
	if (sim->own->crash_points != 0 && sim->points >= sim->own->crash_points)
	{
		sim_crash_after(sim, 0, 0, NULL);
		end_run(sim, SIM_CRASHED);
	}
	if (uds_random_one_in(&sim->random, sim->switch_one_in))
		sim_switch(sim);
}

void
sim_change_point(sim *sim, const char *what, const char *file)
{
	struct sim_private *own = sim->own;

	if (own->crash_changes > 0 &&
	    (own->crash_file == NULL || (file != NULL && strcmp(file, own->crash_file) == 0)) &&
	    --own->crash_changes == 0)
		own->crash_points = sim->points;
	sim_point(sim, what);
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
	sim *sim = sim_running;

	if (sim == NULL || sim->block_mean == 0 || sim->own->current == NULL || sim->own->is_telling)
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
	sim->own->current->state = SIM_TASK_SLEEPING;
	sim_switch(sim);
}

void
sim_wait_until(sim *sim, const char *what, uint64_t deadline)
{
	sim_task *task = sim->own->current;
	sim_worker *worker = &sim->own->workers[task->worker];

	if (task->mutexes_held > 0)
		sim_fail(sim, "%s waits with a mutex locked", task->name);
	sim_point(sim, what);
	task->doing = what;
	task->deadline = deadline;
	task->state = SIM_TASK_WAITING;
	sim_switch(sim);
	worker->is_woken = false;
}

void
sim_wait(sim *sim, const char *what)
{
	sim_wait_until(sim, what, UINT64_MAX);
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

void
sim_tell(sim *sim, const char *format, ...)
{
	size_t used = strlen(sim->own->failure);
	va_list args;

	va_start(args, format);
	vsnprintf(sim->own->failure + used, SIM_FAILURE_BYTES - used, format, args);
	va_end(args);
}

/* What a coroutine does or waits for. */
static void
tell_task(sim *sim, const sim_task *task)
{
	static const char *const states[] = { "", "ready", "waiting", "sleeping", "locked" };
	const sim_worker *worker = &sim->own->workers[task->worker];

	sim_tell(sim, "    %-12s %-8s in \"%s\"", task->name, states[task->state], task->doing);
	if (task->state == SIM_TASK_WAITING && task->deadline == UINT64_MAX)
		sim_tell(sim, ", no timeout");
	else if (task->state == SIM_TASK_WAITING || task->state == SIM_TASK_SLEEPING)
		sim_tell(sim,
		         ", %lld us left",
		         ((long long) task->deadline - (long long) sim->time_ns) / 1000);
	if (task->state == SIM_TASK_LOCKED)
		sim_tell(sim, ", mutex of %s", sim->own->tasks[task->mutex->storage[0] - 1].name);
	if (task->mutexes_held > 0)
		sim_tell(sim, ", holds %u mutexes", task->mutexes_held);
	sim_tell(sim,
	         "%s%s%s\n",
	         worker->is_woken ? ", woken" : "",
	         worker->must_stop ? ", to stop" : "",
	         task->is_slow ? ", slow" : "");
}

static void
tell_files(sim *sim)
{
	for (const uds_port_file *file = sim->own->files; file != NULL; file = file->next)
		sim_tell(sim,
		         "    worker %u has \"%s\" open%s\n",
		         file->owner,
		         file->name,
		         file->is_locked ? ", locked" : "");
}

static void
tell_log(sim *sim)
{
	uint64_t count = sim->own->log_count;

	for (uint64_t i = count > SIM_LOG_LINES ? count - SIM_LOG_LINES : 0; i < count; i++)
		sim_tell(sim, "    log: %s\n", sim->own->log[i % SIM_LOG_LINES]);
}

void
sim_fail(sim *sim, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sim->own->failure, SIM_FAILURE_BYTES, format, args);
	va_end(args);
	sim_tell(sim,
	         "\n    at point %llu, %llu us, in %s; last progress at point %llu, %llu us\n",
	         (unsigned long long) sim->points,
	         (unsigned long long) sim->time_ns / 1000,
	         sim->own->current == NULL ? "nobody" : sim->own->current->name,
	         (unsigned long long) sim->own->progress_points,
	         (unsigned long long) sim->own->progress_ns / 1000);
	for (int i = 0; i < SIM_TASKS_MAX; i++)
	{
		if (sim->own->tasks[i].state != SIM_TASK_NONE)
			tell_task(sim, &sim->own->tasks[i]);
	}
	sim->own->is_telling = true;
	if (sim->describe != NULL)
		sim->describe(sim->context);
	sim->own->is_telling = false;
	tell_files(sim);
	tell_log(sim);
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
