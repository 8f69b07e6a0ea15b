/*
 * engine_host.c: a whole index in one thread.
 */
#define _GNU_SOURCE
#include "engine_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files.h"

uds_config
engine_config(uint32_t record_pages, uint32_t chapters, uint32_t zone_count,
              uds_index_structure structure)
{
	return (uds_config){
		.memory_mb = 0,
		.geometry = { .page_bytes = UDS_PAGE_BYTES,
		              .index_page_bytes = UDS_INDEX_PAGE_BYTES,
		              .records_per_page = UDS_RECORDS_PER_PAGE,
		              .record_pages = record_pages,
		              .extra_pages = UDS_SEAL_PAGES,
		              .chapters = chapters },
		.structure = structure,
		.zone_count = zone_count,
		.page_cache_bytes = 64 * UDS_PAGE_BYTES,
		.sparse_cache_chapters = 3,
	};
}

static void
die(const char *what, const uds_error *error)
{
	fprintf(stderr, "%s: %s\n", what, error->message);
	abort();
}

void
engine_init(engine *engine, const uds_config *config)
{
	char *directory = files_make_directory();

	memset(engine, 0, sizeof(*engine));
	posix_host_init(&engine->host, directory);
	free(directory);
	engine->host.is_quiet = true;
	engine->config = *config;
}

void
engine_destroy(engine *engine)
{
	engine_crash(engine);
	posix_remove_directory(engine->host.directory);
	posix_host_destroy(&engine->host);
}

static void
attach_zones(engine *engine)
{
	for (uint32_t i = 0; i < engine->config.zone_count; i++)
	{
		uds_status status = uds_zone_attach(engine->zone_memory[i],
		                                    engine->index,
		                                    &engine->zone_ports[i],
		                                    i,
		                                    &engine->zones[i],
		                                    &engine->error);

		if (status != UDS_OK)
			die("zone did not attach", &engine->error);
	}
}

static void
detach_zones(engine *engine)
{
	for (uint32_t i = 0; i < engine->config.zone_count; i++)
		uds_zone_detach(engine->zones[i]);
}

uds_status
engine_open(engine *engine)
{
	size_t bytes = uds_index_size(&engine->config);
	uds_status status;

	if (bytes == 0)
		return UDS_ERR_ARGUMENT;
	/* Like fresh shared memory: zero, and not touched yet. */
	engine->index = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (engine->index == MAP_FAILED)
		abort();
	engine->writer_memory = calloc(1, uds_writer_size());
	engine->writer_port = posix_port(&engine->host, UDS_WORKER_WRITER);
	for (uint32_t i = 0; i < engine->config.zone_count; i++)
	{
		engine->zone_memory[i] = calloc(1, uds_zone_worker_size());
		engine->zone_ports[i] = posix_port(&engine->host, UDS_WORKER_ZONE + i);
	}
	status = uds_writer_open(engine->writer_memory,
	                         engine->index,
	                         &engine->writer_port,
	                         &engine->config,
	                         &engine->writer,
	                         &engine->error);
	attach_zones(engine);
	return status;
}

void
engine_must_open(engine *engine)
{
	if (engine_open(engine) != UDS_OK)
		die("index did not open", &engine->error);
}

static void
forget_memory(engine *engine)
{
	munmap(engine->index, uds_index_size(&engine->config));
	free(engine->writer_memory);
	for (uint32_t i = 0; i < engine->config.zone_count; i++)
		free(engine->zone_memory[i]);
	engine->index = NULL;
}

uds_status
engine_close(engine *engine)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_close(engine->writer, true, &engine->error);
	forget_memory(engine);
	return status;
}

void
engine_crash(engine *engine)
{
	if (engine->index == NULL)
		return;
	detach_zones(engine);
	uds_writer_detach(engine->writer);
	forget_memory(engine);
}

uds_status
engine_checkpoint(engine *engine)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_checkpoint(engine->writer, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_reset(engine *engine)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_reset(engine->writer, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_suspend(engine *engine, bool save)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_suspend(engine->writer, save, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_resume(engine *engine)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_resume(engine->writer, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_rebuild(engine *engine)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_rebuild(engine->writer, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_reduce(engine *engine)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_reduce(engine->writer, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_move(engine *engine, const char *directory)
{
	uds_status status;

	detach_zones(engine);
	status = uds_writer_move(engine->writer, directory, &engine->error);
	attach_zones(engine);
	return status;
}

uds_status
engine_convert(engine *engine)
{
	void *scratch = malloc(UDS_CONVERT_BYTES);
	uds_status status;

	detach_zones(engine);
	status = uds_writer_convert(engine->writer, scratch, UDS_CONVERT_BYTES, &engine->error);
	attach_zones(engine);
	free(scratch);
	return status;
}

/* One turn of every worker; true when anything was done. */
static bool
turn(engine *engine, uint32_t *answered)
{
	bool has_progress = false;

	for (uint32_t i = 0; i < engine->config.zone_count; i++)
	{
		uds_request *finished;
		uds_status status = uds_zone_turn(engine->zones[i]);

		if (status != UDS_OK)
			continue;
		if (uds_zone_advance(engine->zones[i], &finished) == UDS_OK)
			has_progress = true;
		for (; finished != NULL; finished = finished->next)
		{
			has_progress = true;
			(*answered)++;
		}
	}
	if (!engine->must_not_write && uds_writer_work(engine->writer, &engine->error) == UDS_OK)
		has_progress = true;
	return has_progress;
}

void
engine_settle(engine *engine)
{
	uint32_t answered = 0;

	while (turn(engine, &answered))
		;
}

uds_status
engine_run(engine *engine, uds_request *requests, uint32_t count)
{
	uint32_t answered = 0;

	for (uint32_t i = 0; i < count;)
	{
		uint32_t zone = uds_index_zone_of(engine->index, &requests[i].name);
		uint32_t run = 1;
		uint32_t parked;
		uds_status status;

		while (i + run < count && run < UDS_BATCH_MAX &&
		       uds_index_zone_of(engine->index, &requests[i + run].name) == zone)
			run++;
		status = uds_zone_turn(engine->zones[zone]);
		if (status != UDS_OK)
			return status;
		status = uds_zone_execute(engine->zones[zone], &requests[i], run, &parked);
		if (status != UDS_OK)
			return status;
		answered += run - parked;
		i += run;
		while (turn(engine, &answered))
			;
	}
	while (answered < count && turn(engine, &answered))
		;
	if (answered < count)
		return UDS_PENDING;
	for (uint32_t i = 0; i < count; i++)
	{
		if (requests[i].status != UDS_OK)
			return (uds_status) requests[i].status;
	}
	return UDS_OK;
}

uds_request
engine_request(engine *engine, uds_operation operation, const uds_name *name,
               const uds_metadata *metadata)
{
	uds_request request = { .name = *name, .operation = (uint8_t) operation };
	uds_status status;

	if (metadata != NULL)
		request.metadata = *metadata;
	status = engine_run(engine, &request, 1);
	if (status != UDS_OK)
	{
		fprintf(stderr, "request ended with status %d\n", status);
		abort();
	}
	return request;
}

uds_statistics
engine_statistics(engine *engine)
{
	uds_statistics statistics;

	uds_index_statistics(engine->index, &statistics);
	return statistics;
}
