/*
 * host.h: a simulated server around the index: its workers and clients as coroutines.
 *
 * host.c           a life of the server, from begin to end; stop; trouble
 * host_client.c    clients: what is asked, in which order
 * host_zone.c      zone workers; answers go to the reference from here
 * host_reader.c    readers
 * host_triage.c    the triage worker
 * host_writer.c    the chapter writer
 * host_command.c   the commands that it is given
 * host_death.c     workers that die where they are
 * host_verifier.c  a session that verifies the volume
 * host_describe.c  who waits for what, for the text of a failure
 */
#ifndef UDS_SIM_HOST_H
#define UDS_SIM_HOST_H

#include "../../src/engine/block.h"
#include "../support/port_sim.h"
#include "reference.h"

#define HOST_ZONES_MAX   4
#define HOST_READERS_MAX 4
#define HOST_CLIENTS_MAX 6
#define HOST_BATCH_MAX   256
#define HOST_CLIENT      UDS_WORKER_COUNT /* worker id of the first client */
#define HOST_SUPERVISOR  (HOST_CLIENT + HOST_CLIENTS_MAX)
#define HOST_TROUBLE     (HOST_SUPERVISOR + 1)
#define HOST_VERIFIER    (HOST_TROUBLE + 1)

/* A request of a client, on its way to a zone and back. */
typedef struct host_request
{
	uint32_t name;
	uds_operation operation;
	uint64_t version;
	uint32_t client;
	enum
	{
		HOST_QUEUED,
		HOST_EXECUTING,
		HOST_ANSWERED
	} state;
	uint32_t zone;
	uint64_t newest_before;
	uint64_t read_only_marks;
	uds_request *engine;       /* while it is executed */
	struct host_request *next; /* in the queue of its zone */
} host_request;

typedef struct host host;

typedef struct host_zone
{
	host *host;
	uint32_t number;
	uds_port port;
	void *memory;
	uds_zone_worker *worker; /* NULL while it is away */
	bool has_died;           /* a worker since the last one that attached */
	host_request *first;     /* queue of requests */
	host_request *last;
} host_zone;

typedef struct host_reader
{
	host *host;
	uint32_t number;
	uds_port port;
	void *memory;
	uds_reader *reader; /* NULL while it is away */
	bool has_died;
} host_reader;

/* Names that a client wants the triage worker to look at, before it sends requests for them. */
typedef struct host_look
{
	const uds_name *names;
	uint32_t count;
	uint32_t client;
	bool is_done;
	struct host_look *next;
} host_look;

typedef struct host_triage
{
	host *host;
	uds_port port;
	void *memory;
	uds_triage *triage; /* NULL while it is away */
	bool has_died;
	host_look *first; /* queue */
} host_triage;

typedef struct host_client
{
	host *host;
	uint32_t number;
	uint32_t unanswered;
	bool is_checker; /* peeks at every name once */
} host_client;

typedef enum host_command
{
	HOST_NO_COMMAND,
	HOST_CHECKPOINT,
	HOST_RESET,
	HOST_REBUILD,
	HOST_SUSPEND, /* and resume after some time */
	HOST_SUSPEND_SAVED,
	HOST_REDUCE, /* when suspended */
	HOST_RESUME,
	HOST_MOVE
} host_command;

/* What a life of the server is like. */
typedef struct host_plan
{
	uint32_t clients;
	uint32_t requests;                    /* of all clients */
	uint32_t batch_max;                   /* <= HOST_BATCH_MAX */
	uint32_t hot_names;                   /* one in four requests is for one of these */
	uint32_t streams;                     /* one in so many batches is of names in a row; 0: none */
	uint32_t shares[UDS_OPERATION_COUNT]; /* weights of the operations */
	bool has_checker;
	uint32_t troubles;   /* checkpoints, restarts of workers, faults: so many */
	uint64_t trouble_ns; /* between two of them, mostly less */
	bool is_patient;     /* no trouble before a request was answered since the last one, so that
						  * it wakes nobody whose wake-up was lost */
	bool has_reductions;
	bool has_resets;
	uint64_t reset_chapter; /* no reset before this one is open */
	bool has_verifier;
	bool has_deaths;
	bool has_late_faults; /* also while the server stops */
	uint64_t stop_ns;     /* the server stops then, whatever clients do; 0: when they are done */
	bool must_save;       /* at the orderly end */
	sim_faults faults;    /* while there are any */
} host_plan;

/* Of a whole run. */
typedef struct host_totals
{
	uint64_t answered, found, read_only_answers;
	uint64_t found_sparse,
		found_beside; /* of these, by the volume index, and by the sparse cache */
	uint64_t triaged, loads, failed_loads, dropped_loads;
	uint64_t recoveries, checkpoints, resets, rebuilds, suspensions, reductions, early_stops;
	uint64_t moves, refused_places;
	uint64_t verified; /* chapters */
	uint64_t restarts, reader_restarts, reads;
	uint64_t deaths, lost_requests;
} host_totals;

struct host
{
	sim *sim;
	reference *reference;
	uds_random *random;
	uds_config config;
	uds_index *index; /* the block */
	void *block_memory;
	host_plan plan;

	/* writer */
	uds_port writer_port;
	void *writer_memory;
	uds_writer *writer;
	host_command command;
	uint64_t save_sequence;  /* last store of the reference when a save was begun */
	uint64_t reset_sequence; /* the same, when a reset has begun to change files */
	bool is_resetting;
	bool is_rebuilding;
	bool is_written;  /* suspended, and the volume has everything */
	bool was_reduced; /* or it was tried, in this run */
	bool has_writer_died;
	uint64_t deaths;    /* in this life */
	uint64_t retry_at;  /* when read only */
	uint64_t resume_at; /* when suspended */
	uint64_t read_only_marks;

	host_zone zones[HOST_ZONES_MAX];
	host_reader readers[HOST_READERS_MAX];
	uint64_t reader_absence_ns; /* of those that stop now, at most */
	host_triage triage;
	host_client clients[HOST_CLIENTS_MAX];
	uint32_t client_count;
	uint32_t clients_left;
	uint32_t requests_left;
	bool is_stopping; /* the server stops */
	bool is_overdue;  /* it has waited long enough for what a dead worker has left */
	bool is_closed;   /* in order */
	bool is_saved;    /* with a save */

	host_request **requests; /* of this life, in the order they were sent */
	size_t request_count;
	size_t request_capacity;
	void **allocations; /* to be freed after this life */
	size_t allocation_count;
	size_t allocation_capacity;

	/* For the whole run: directories of the last move, done or not; the files are in one of them. */
	uint32_t from, to;
	uint32_t places; /* directories but the first */

	uint64_t next_version;   /* for the whole run */
	uint64_t *last_answered; /* of each name: version of the last request that was answered */
	uint32_t shown_name;     /* print the answers for it */
	host_totals totals;
};

/* Begin a life with a fresh block: memory and coroutines; then sim_run. */
void host_begin(host *host);

/*
 * The simulation has stopped: tell the reference what is known of the files and of what was going
 * on, and forget all memory.
 */
void host_end(host *host, bool is_crash);

/* ---- between the parts of the host --------------------------------------------------------- */

/* Zeroed memory until the end of this life. */
void *host_allocate(host *host, size_t bytes);

/* State of the index. */
uds_state host_state(const host *host);

/* May a call fail with this status, given the faults until now? */
bool host_is_excused(const host *host, uds_status status, uint64_t injected_before);

/* Chapters that the engine has published are durable. */
void host_note_durable(host *host);

/* Control file in a directory, as it is seen; false: there is none, or it is damaged. */
bool host_read_control(const host *host, uint32_t place, uds_control *control);

/* Number of the open chapter of a zone. */
uint64_t host_zone_newest(const host_zone *zone);

/* Begin the coroutine of a worker; its predecessor may have died. */
void host_spawn_zone(host_zone *zone);
void host_spawn_reader(host_reader *reader);
void host_spawn_triage(host_triage *triage);
void host_spawn_writer(host *host);

/* Let a worker die where it is, and begin its successor. */
void host_death_at_random(host *host);

/* Do what the writer is told to; called by its coroutine. */
void host_command_run(host *host, host_command command);

/* Coroutines; the argument is the host_zone, host_reader, host_triage, host_client or host. */
void host_zone_main(void *argument);
void host_reader_main(void *argument);
void host_triage_main(void *argument);
void host_client_main(void *argument);
void host_writer_main(void *argument);
void host_verifier_main(void *argument);

/* Does the server have a triage worker? */
bool host_has_triage(const host *host);

/*
 * Have the triage worker look at names, which stay until it has; called by the coroutine of a
 * client.  False: the server stops.
 */
bool host_triage_look(host *host, uint32_t client, const uds_name *names, uint32_t count);

/* What sim.watch and sim.describe call; context is the host. */
void host_writer_watch(void *context, const char *file);
void host_describe(void *context);

/* Name of an operation. */
const char *host_operation_name(uds_operation operation);

#endif
