/*
 * engine_host.h: a whole index in one thread: writer and zone workers take turns.
 */
#ifndef UDS_ENGINE_HOST_H
#define UDS_ENGINE_HOST_H

#include "../../src/engine/index.h"
#include "port_posix.h"

typedef struct engine
{
	posix_host host;
	uds_config config;
	uds_index *index; /* the block */
	uds_port writer_port;
	uds_port zone_ports[UDS_ZONES_MAX];
	uds_writer *writer;
	uds_zone_worker *zones[UDS_ZONES_MAX];
	void *writer_memory;
	void *zone_memory[UDS_ZONES_MAX];
	uds_error error;     /* of the last call that failed */
	bool must_not_write; /* engine_run does not let the writer work */
} engine;

/* Small geometry of the product's pages; should it be made sparse, 3 chapters are cached. */
uds_config engine_config(uint32_t record_pages, uint32_t chapters, uint32_t zone_count,
                         uds_index_structure structure);

/* Set up in a directory of its own (files_make_directory); nothing is opened. */
void engine_init(engine *engine, const uds_config *config);
/* Remove the directory and everything else. */
void engine_destroy(engine *engine);

/* Open with a fresh block: the status of uds_writer_open. */
uds_status engine_open(engine *engine);
/* As engine_open, and abort with the error when it fails. */
void engine_must_open(engine *engine);
/* Orderly end, with a save. */
uds_status engine_close(engine *engine);
/* Everything in memory disappears. */
void engine_crash(engine *engine);
uds_status engine_checkpoint(engine *engine);
uds_status engine_reset(engine *engine);
uds_status engine_suspend(engine *engine, bool save);
uds_status engine_resume(engine *engine);
uds_status engine_rebuild(engine *engine);
uds_status engine_reduce(engine *engine);
/* The files stay where they are moved to: the caller removes them. */
uds_status engine_move(engine *engine, const char *directory);
uds_status engine_convert(engine *engine);

/* Let the writer write what is closed, and zones go on with what is parked, until nothing moves. */
void engine_settle(engine *engine);

/*
 * Execute requests of any zones, in their order for one zone, until all are answered.  Returns the
 * first status that is not UDS_OK, of a request or of the engine.
 */
uds_status engine_run(engine *engine, uds_request *requests, uint32_t count);

/* One request; aborts when it is not answered with UDS_OK. */
uds_request engine_request(engine *engine, uds_operation operation, const uds_name *name,
                           const uds_metadata *metadata);

uds_statistics engine_statistics(engine *engine);

#endif
