/*
 * worker.h: what the workers share: start, signals, sleep, exit.
 *
 * A worker ends with proc_exit(1): the postmaster starts it again after a second.  Only a worker
 * that has nothing to do until the next start of the server ends with 0.
 */
#ifndef UDSPG_WORKER_H
#define UDSPG_WORKER_H

#include "postgres.h"

#include <signal.h>

#include "../engine/port.h"

/* SIGTERM has come. */
extern volatile sig_atomic_t udspg_worker_stop_requested;

/* Register all workers that the settings ask for.  From _PG_init only. */
extern void udspg_worker_register_all(void);

/*
 * To be called first in a worker: signals, connection, entry in the shared header.
 *
 * detach  called at exit, however it comes to that, while shared memory is still there; must
 *         neither wait nor throw
 */
extern void udspg_worker_start(uds_worker_id worker, void (*detach)(void));

/* Between two turns, outside of the engine: barriers, new settings, other interrupts.  May throw. */
extern void udspg_worker_process_interrupts(void);

/*
 * Sleep until the latch is set, or at most timeout_ms if that is not negative; resets the latch.
 * Returns at once when the engine has reset it before: to be called in a loop that looks at
 * everything.
 */
extern void udspg_worker_sleep(long timeout_ms);

/*
 * Sleep until the latch is set, with nothing to do: pg_stat_activity shows it.  True when it does
 * so still; a worker that begins to work then reports its activity.
 */
extern bool udspg_worker_sleep_idle(void);

/* What pg_stat_activity shows.  NULL: idle. */
extern void udspg_worker_report_activity(const char *activity);

/* Is the whole server on its way down, and not only this worker? */
extern bool udspg_worker_server_is_stopping(void);

extern PGDLLEXPORT void udspg_writer_worker_main(Datum argument);
extern PGDLLEXPORT void udspg_zone_worker_main(Datum argument);
extern PGDLLEXPORT void udspg_reader_worker_main(Datum argument);
extern PGDLLEXPORT void udspg_triage_worker_main(Datum argument);

#endif
