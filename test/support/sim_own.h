/*
 * sim_own.h: what sim.c and port_sim.c share: coroutines, workers, open files.
 */
#ifndef UDS_SIM_OWN_H
#define UDS_SIM_OWN_H

#include <ucontext.h>

#include "port_sim.h"

#define SIM_LOG_LINES      48
#define SIM_LOG_LINE_BYTES 200
#define SIM_FAILURE_BYTES  32768

typedef enum sim_task_state
{
	SIM_TASK_NONE = 0,
	SIM_TASK_READY,
	SIM_TASK_WAITING,  /* for its worker to be woken, until deadline */
	SIM_TASK_SLEEPING, /* until deadline */
	SIM_TASK_LOCKED    /* for a mutex */
} sim_task_state;

typedef struct sim_task
{
	sim_task_state state;
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
} sim_task;

typedef struct sim_worker
{
	bool is_woken;
	bool must_stop;
} sim_worker;

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
	sim_task tasks[SIM_TASKS_MAX];
	sim_worker workers[SIM_WORKERS_MAX];
	sim_task *current; /* NULL: the scheduler */
	ucontext_t scheduler;
	sim_end end;
	bool has_ended;         /* by crash or failure */
	bool is_telling;        /* what a failure looks like: no points meanwhile */
	uint64_t crash_points;  /* crash at this number of them; 0: not */
	uint64_t crash_changes; /* crash after so many more changes of the file; 0: not */
	const char *crash_file; /* NULL: any */
	uint64_t progress_ns;
	uint64_t progress_points;
	uint64_t slow_points;
	uint64_t stamp; /* of the host's history */
	uint32_t blocks_left;
	uds_port other; /* of uds_port_directory_open */
	uds_port_file *files;
	char log[SIM_LOG_LINES][SIM_LOG_LINE_BYTES];
	uint64_t log_count;
	char failure[SIM_FAILURE_BYTES];
	const void *scheduler_stack; /* for the address sanitizer */
	size_t scheduler_bytes;
};

/* The simulation that runs: for mutexes and basic blocks. */
extern sim *sim_running;

/* Leave the coroutine that runs; it goes on when its state lets it. */
void sim_switch(sim *sim);

/* Wait until the worker of this coroutine is woken or the time has come. */
void sim_wait_until(sim *sim, const char *what, uint64_t deadline);

#endif
