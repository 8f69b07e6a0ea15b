/*
 * sim.h: deterministic simulation of a machine: one thread, workers as coroutines, virtual time, a
 * disk with faults.
 *
 * Each call of the port (port_sim.h) is a point: another coroutine may go on there, chosen at
 * random, and the simulation may stop there for good (a crash).  When the engine is compiled with
 * -fsanitize-coverage=trace-pc each of its basic blocks may be such a point too.  The same seed
 * gives the same run of the same program.
 *
 * There is one simulation at a time: mutexes of the port do not know who locks them.
 */
#ifndef UDS_SIM_H
#define UDS_SIM_H

#include "../../src/engine/port.h"
#include "generate.h"
#include "sim_disk.h"

#define SIM_WORKERS_MAX 48 /* ids of the engine, then those of the host's own coroutines */
#define SIM_TASKS_MAX   48

typedef enum sim_full
{
	SIM_NOT_FULL,
	SIM_FULL_FOR_NEW, /* what is there can be written over, no file can grow or be made */
	SIM_FULL          /* no write succeeds */
} sim_full;

/* One in so many operations of a kind fails; 0 is never. */
typedef struct sim_faults
{
	uint32_t open;
	uint32_t read;
	uint32_t write; /* and truncations */
	uint32_t sync;
	uint32_t directory; /* renames, removals, syncs of the directory; the change may be seen */
	sim_full full;
} sim_faults;

/* What has happened to operations, to see that a search meets everything. */
typedef struct sim_counts
{
	uint64_t bad_opens, bad_reads, bad_writes, no_space, bad_syncs, bad_directory;
	uint64_t short_writes, short_reads; /* the port goes on with the rest */
	uint64_t delays, stalls;            /* up to 1 ms; up to seconds */
} sim_counts;

typedef enum sim_end
{
	SIM_ENDED, /* all tasks have returned */
	SIM_CRASHED,
	SIM_FAILED /* sim_failure says why */
} sim_end;

typedef struct sim sim;

struct sim
{
	uds_random random;
	sim_disk *disk;
	sim_faults faults;
	sim_counts counts;
	uint32_t place; /* number of the directory of the server; its name is that number */
	uint64_t time_ns;
	uint64_t points;
	uint64_t hash;          /* of everything that has happened */
	uint64_t injected;      /* faults so far */
	uint64_t read_faults;   /* of these, reads and opens */
	uint32_t switch_one_in; /* points between two switches, on average */
	uint32_t block_mean;    /* basic blocks of the engine between two points, on average; 0: none */
	bool has_latency;       /* file operations take time */
	bool accepts_stale;     /* what cannot be read at an open is done without */
	bool is_traced;         /* print each point */
	/* Called before a file is opened empty or renamed over; may be NULL. */
	void (*watch)(void *context, const char *file);
	/* Called for the text of a failure: adds to it with sim_tell; may be NULL. */
	void (*describe)(void *context);
	void *context; /* of both */
	struct sim_private *own;
};

sim *sim_create(uint64_t seed);
void sim_destroy(sim *sim);

/* Begin a coroutine that runs function(argument), as worker; a worker has one coroutine. */
void sim_spawn(sim *sim, const char *name, uds_worker_id worker, void (*function)(void *),
               void *argument);

/*
 * End the coroutine of a worker where it is, as if its process had died; another may be spawned in
 * its place.  closes_files: its files are closed.  False: it cannot die now, since it holds a mutex,
 * is the one that runs, or is not there.
 */
bool sim_kill(sim *sim, uds_worker_id worker, bool closes_files);

/* Close all files of a worker, as the end of its process does. */
void sim_close_files(sim *sim, uds_worker_id worker);

/*
 * Crash after so many points, or changes of a file, from now; 0: not for their sake.
 * file  its name, which stays; NULL: changes of the disk, whatever they are
 */
void sim_crash_after(sim *sim, uint64_t points, uint64_t changes, const char *file);

/* Run until all coroutines have returned, or until a crash or failure. */
sim_end sim_run(sim *sim);

/* After a crash or failure: end all coroutines where they are, with their files and wishes. */
void sim_forget_tasks(sim *sim);

/* Text of the failure, with who waits for what and the last lines of the engine's log. */
const char *sim_failure(const sim *sim);

/* ---- for coroutines ----------------------------------------------------------------------- */

/* Another coroutine may go on here. */
void sim_point(sim *sim, const char *what);

/* The same; a file (NULL: the directory) has been changed, or is going to be. */
void sim_change_point(sim *sim, const char *what, const char *file);

/* Let virtual time pass. */
void sim_sleep(sim *sim, uint64_t ns);

/* Wait until the worker of this coroutine is woken (uds_port_wake); there is no timeout. */
void sim_wait(sim *sim, const char *what);
void sim_wake(sim *sim, uds_worker_id worker);

/* What the run is for has come nearer: without it for long, the run hangs and fails. */
void sim_progress(sim *sim);

/* End the simulation as failed; does not return when called in a coroutine. */
void sim_fail(sim *sim, const char *format, ...) UDS_PRINTF(2, 3);

/* Add to the text of the failure; only from sim.describe. */
void sim_tell(sim *sim, const char *format, ...) UDS_PRINTF(2, 3);

/* The wish that a worker stops: what uds_port_should_stop says; wakes it. */
void sim_set_stop(sim *sim, uds_worker_id worker, bool must_stop);
bool sim_must_stop(const sim *sim, uds_worker_id worker);

#endif
