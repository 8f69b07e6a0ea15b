/* uds--1.0.sql: objects of the extension.  Nothing is granted to PUBLIC. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION uds" to load this file. \quit

-- ---- types ---------------------------------------------------------------------------------

CREATE TYPE uds_operation AS ENUM ('post', 'update', 'query', 'peek', 'delete');
COMMENT ON TYPE uds_operation IS 'what uds_request() does with a digest';

CREATE TYPE uds_region AS ENUM ('none', 'open', 'dense', 'sparse');
COMMENT ON TYPE uds_region IS 'where the index found a record';

-- ---- one fingerprint -----------------------------------------------------------------------

-- Those that store metadata are not strict: NULL metadata means 16 zero bytes.

CREATE FUNCTION uds_post(digest bytea, metadata bytea DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'udspg_post' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_post(bytea, bytea) IS 'true if the digest was seen before; otherwise it is remembered now, with this metadata';
REVOKE ALL ON FUNCTION uds_post(bytea, bytea) FROM PUBLIC;

CREATE FUNCTION uds_resolve(digest bytea, metadata bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'udspg_resolve' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_resolve(bytea, bytea) IS 'posts a digest and returns the metadata of its first poster';
REVOKE ALL ON FUNCTION uds_resolve(bytea, bytea) FROM PUBLIC;

CREATE FUNCTION uds_update(digest bytea, metadata bytea) RETURNS boolean
	AS 'MODULE_PATHNAME', 'udspg_update' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_update(bytea, bytea) IS 'sets the metadata of a digest, known or not; true if it was known';
REVOKE ALL ON FUNCTION uds_update(bytea, bytea) FROM PUBLIC;

CREATE FUNCTION uds_query(digest bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'udspg_query' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_query(bytea) IS 'metadata of a digest, or NULL; refreshes its recency';
REVOKE ALL ON FUNCTION uds_query(bytea) FROM PUBLIC;

CREATE FUNCTION uds_peek(digest bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'udspg_peek' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_peek(bytea) IS 'metadata of a digest, or NULL; changes nothing';
REVOKE ALL ON FUNCTION uds_peek(bytea) FROM PUBLIC;

CREATE FUNCTION uds_delete(digest bytea) RETURNS boolean
	AS 'MODULE_PATHNAME', 'udspg_delete' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_delete(bytea) IS 'forgets a digest; true if it was known';
REVOKE ALL ON FUNCTION uds_delete(bytea) FROM PUBLIC;

CREATE FUNCTION uds_request(op uds_operation, digest bytea, metadata bytea DEFAULT NULL,
                            OUT found boolean, OUT metadata bytea, OUT region uds_region)
	AS 'MODULE_PATHNAME', 'udspg_request' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_request(uds_operation, bytea, bytea) IS 'executes any operation and tells everything about its result';
REVOKE ALL ON FUNCTION uds_request(uds_operation, bytea, bytea) FROM PUBLIC;

-- ---- many fingerprints ---------------------------------------------------------------------

CREATE FUNCTION uds_post_many(digests bytea[], metadata bytea[] DEFAULT NULL) RETURNS boolean[]
	AS 'MODULE_PATHNAME', 'udspg_post_many' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_post_many(bytea[], bytea[]) IS 'uds_post() for every element, in order';
REVOKE ALL ON FUNCTION uds_post_many(bytea[], bytea[]) FROM PUBLIC;

CREATE FUNCTION uds_resolve_many(digests bytea[], metadata bytea[]) RETURNS bytea[]
	AS 'MODULE_PATHNAME', 'udspg_resolve_many' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_resolve_many(bytea[], bytea[]) IS 'uds_resolve() for every element, in order';
REVOKE ALL ON FUNCTION uds_resolve_many(bytea[], bytea[]) FROM PUBLIC;

CREATE FUNCTION uds_update_many(digests bytea[], metadata bytea[]) RETURNS boolean[]
	AS 'MODULE_PATHNAME', 'udspg_update_many' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_update_many(bytea[], bytea[]) IS 'uds_update() for every element, in order';
REVOKE ALL ON FUNCTION uds_update_many(bytea[], bytea[]) FROM PUBLIC;

CREATE FUNCTION uds_query_many(digests bytea[]) RETURNS bytea[]
	AS 'MODULE_PATHNAME', 'udspg_query_many' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_query_many(bytea[]) IS 'uds_query() for every element, in order';
REVOKE ALL ON FUNCTION uds_query_many(bytea[]) FROM PUBLIC;

CREATE FUNCTION uds_peek_many(digests bytea[]) RETURNS bytea[]
	AS 'MODULE_PATHNAME', 'udspg_peek_many' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_peek_many(bytea[]) IS 'uds_peek() for every element, in order';
REVOKE ALL ON FUNCTION uds_peek_many(bytea[]) FROM PUBLIC;

CREATE FUNCTION uds_delete_many(digests bytea[]) RETURNS boolean[]
	AS 'MODULE_PATHNAME', 'udspg_delete_many' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_delete_many(bytea[]) IS 'uds_delete() for every element, in order';
REVOKE ALL ON FUNCTION uds_delete_many(bytea[]) FROM PUBLIC;

CREATE FUNCTION uds_request_many(op uds_operation, digests bytea[], metadata bytea[] DEFAULT NULL)
	RETURNS TABLE (ordinality bigint, found boolean, metadata bytea, region uds_region)
	AS 'MODULE_PATHNAME', 'udspg_request_many' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000 ROWS 1000;
COMMENT ON FUNCTION uds_request_many(uds_operation, bytea[], bytea[]) IS 'uds_request() for every element, in order; a row for each';
REVOKE ALL ON FUNCTION uds_request_many(uds_operation, bytea[], bytea[]) FROM PUBLIC;

-- ---- watching ------------------------------------------------------------------------------

CREATE FUNCTION uds_stats(
	OUT state text,
	OUT reason text,
	OUT entries_indexed bigint,
	OUT tombstones bigint,
	OUT collisions bigint,
	OUT entries_discarded bigint,
	OUT entries_expired bigint,
	OUT overflows bigint,
	OUT posts_found bigint,
	OUT posts_not_found bigint,
	OUT in_memory_posts_found bigint,
	OUT dense_posts_found bigint,
	OUT sparse_posts_found bigint,
	OUT updates_found bigint,
	OUT updates_not_found bigint,
	OUT queries_found bigint,
	OUT queries_not_found bigint,
	OUT deletions_found bigint,
	OUT deletions_not_found bigint,
	OUT requests bigint,
	OUT window_size bigint,
	OUT oldest_chapter bigint,
	OUT newest_chapter bigint,
	OUT index_memory bigint,
	OUT cache_memory bigint,
	OUT queue_memory bigint,
	OUT volume_bytes bigint,
	OUT cache_hits bigint,
	OUT cache_misses bigint,
	OUT page_reads bigint,
	OUT bad_pages bigint,
	OUT dropped_chapters bigint,
	OUT sparse_chapters_cached bigint,
	OUT sparse_loads bigint,
	OUT sparse_load_failures bigint,
	OUT sparse_load_drops bigint,
	OUT last_checkpoint timestamptz,
	OUT last_recovery timestamptz,
	OUT generation bigint,
	OUT timeline integer,
	OUT started_at timestamptz,
	OUT stats_reset timestamptz)
	AS 'MODULE_PATHNAME', 'udspg_stats' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION uds_stats() IS 'state and counters of the index; see the view of this name';
REVOKE ALL ON FUNCTION uds_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION uds_stats() TO pg_monitor;

CREATE VIEW uds_stats AS SELECT * FROM uds_stats();
COMMENT ON VIEW uds_stats IS 'state and counters of the index, one row';
COMMENT ON COLUMN uds_stats.state IS 'recovering, online, suspended, read only, offline or failed';
COMMENT ON COLUMN uds_stats.reason IS 'why it is in this state, or NULL';
COMMENT ON COLUMN uds_stats.entries_indexed IS 'entries of the volume index now, tombstones and expired ones not yet purged included';
COMMENT ON COLUMN uds_stats.tombstones IS 'deleted digests that still hold a place in the window';
COMMENT ON COLUMN uds_stats.collisions IS 'entries of the volume index now that hold a whole name, since a short one was ambiguous';
COMMENT ON COLUMN uds_stats.entries_discarded IS 'entries removed from the volume index: expired ones, and valid ones for want of space';
COMMENT ON COLUMN uds_stats.entries_expired IS 'those of them whose chapter had left the window';
COMMENT ON COLUMN uds_stats.overflows IS 'digests that were not remembered because a list was full';
COMMENT ON COLUMN uds_stats.posts_found IS 'posts of digests seen before';
COMMENT ON COLUMN uds_stats.posts_not_found IS 'posts of new digests';
COMMENT ON COLUMN uds_stats.in_memory_posts_found IS 'posts found in the open chapter';
COMMENT ON COLUMN uds_stats.dense_posts_found IS 'posts found in other dense chapters';
COMMENT ON COLUMN uds_stats.sparse_posts_found IS 'posts found in sparse chapters';
COMMENT ON COLUMN uds_stats.updates_found IS 'updates of known digests';
COMMENT ON COLUMN uds_stats.updates_not_found IS 'updates of new digests';
COMMENT ON COLUMN uds_stats.queries_found IS 'queries and peeks that found the digest';
COMMENT ON COLUMN uds_stats.queries_not_found IS 'queries and peeks that did not';
COMMENT ON COLUMN uds_stats.deletions_found IS 'deletions of known digests';
COMMENT ON COLUMN uds_stats.deletions_not_found IS 'deletions of unknown digests';
COMMENT ON COLUMN uds_stats.requests IS 'requests answered, of all kinds';
COMMENT ON COLUMN uds_stats.window_size IS 'records that the index remembers before it forgets the oldest';
COMMENT ON COLUMN uds_stats.oldest_chapter IS 'number of the oldest chapter in the window';
COMMENT ON COLUMN uds_stats.newest_chapter IS 'number of the chapter that is being filled';
COMMENT ON COLUMN uds_stats.index_memory IS 'bytes of shared memory of the index, without its page cache';
COMMENT ON COLUMN uds_stats.cache_memory IS 'bytes of shared memory of the page cache';
COMMENT ON COLUMN uds_stats.queue_memory IS 'bytes of shared memory of the queues between sessions and zones';
COMMENT ON COLUMN uds_stats.volume_bytes IS 'bytes of the volume file now';
COMMENT ON COLUMN uds_stats.cache_hits IS 'pages found in the page cache';
COMMENT ON COLUMN uds_stats.cache_misses IS 'pages that were not in the page cache';
COMMENT ON COLUMN uds_stats.page_reads IS 'pages read from the volume';
COMMENT ON COLUMN uds_stats.bad_pages IS 'pages that failed their check; their records count as not found';
COMMENT ON COLUMN uds_stats.dropped_chapters IS 'chapters left out when the index was last opened: damaged, or not in this server''s past';
COMMENT ON COLUMN uds_stats.sparse_chapters_cached IS 'sparse chapters whose names can be searched now';
COMMENT ON COLUMN uds_stats.sparse_loads IS 'sparse chapters loaded because one of their hooks was met';
COMMENT ON COLUMN uds_stats.sparse_load_failures IS 'loads given up: their pages are damaged or could not be read';
COMMENT ON COLUMN uds_stats.sparse_load_drops IS 'loads not begun, since too many waited';
COMMENT ON COLUMN uds_stats.last_checkpoint IS 'when the index was last saved';
COMMENT ON COLUMN uds_stats.last_recovery IS 'when the index was last opened or recovered';
COMMENT ON COLUMN uds_stats.generation IS 'number of starts of the index, kept in its files';
COMMENT ON COLUMN uds_stats.timeline IS 'timeline of the server, which new chapters are stamped with; NULL on a standby';
COMMENT ON COLUMN uds_stats.started_at IS 'when its shared memory was created; counters begin then';
COMMENT ON COLUMN uds_stats.stats_reset IS 'when counters were last zeroed since, or NULL';
GRANT SELECT ON uds_stats TO pg_monitor;

CREATE FUNCTION uds_zones(
	OUT zone integer,
	OUT pid integer,
	OUT records bigint,
	OUT chapter bigint,
	OUT open_records bigint,
	OUT open_capacity bigint,
	OUT is_full boolean,
	OUT requests bigint,
	OUT parked bigint,
	OUT rebalances bigint,
	OUT longest_pause interval)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'udspg_zone_stats' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 4;
COMMENT ON FUNCTION uds_zones() IS 'the zones of the index; see the view of this name';
REVOKE ALL ON FUNCTION uds_zones() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION uds_zones() TO pg_monitor;

CREATE VIEW uds_zones AS SELECT * FROM uds_zones();
COMMENT ON VIEW uds_zones IS 'the zones of the index, a row for each';
COMMENT ON COLUMN uds_zones.zone IS 'number of the zone, from 0';
COMMENT ON COLUMN uds_zones.pid IS 'process that executes its requests, or NULL';
COMMENT ON COLUMN uds_zones.records IS 'entries in its part of the volume index';
COMMENT ON COLUMN uds_zones.chapter IS 'number of the chapter that it fills';
COMMENT ON COLUMN uds_zones.open_records IS 'records in its share of that chapter';
COMMENT ON COLUMN uds_zones.open_capacity IS 'records that its share can hold';
COMMENT ON COLUMN uds_zones.is_full IS 'waits for the chapter writer; what stores has to wait';
COMMENT ON COLUMN uds_zones.requests IS 'requests answered';
COMMENT ON COLUMN uds_zones.parked IS 'requests now that wait for a page or for room';
COMMENT ON COLUMN uds_zones.rebalances IS 'times that it moved lists of the volume index to make room';
COMMENT ON COLUMN uds_zones.longest_pause IS 'longest time that it stood still for the chapter writer, which saved the index';
GRANT SELECT ON uds_zones TO pg_monitor;

CREATE FUNCTION uds_sessions(
	OUT slot integer,
	OUT pid integer,
	OUT in_flight bigint,
	OUT requests bigint,
	OUT waits bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'udspg_session_stats' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION uds_sessions() IS 'the sessions that use the index; see the view of this name';
REVOKE ALL ON FUNCTION uds_sessions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION uds_sessions() TO pg_monitor;

CREATE VIEW uds_sessions AS SELECT * FROM uds_sessions();
COMMENT ON VIEW uds_sessions IS 'the sessions that use the index, a row for each';
COMMENT ON COLUMN uds_sessions.slot IS 'number of the session slot that it has claimed, from 0';
COMMENT ON COLUMN uds_sessions.pid IS 'process of the session';
COMMENT ON COLUMN uds_sessions.in_flight IS 'requests sent to the zones and not answered, those of cancelled statements included';
COMMENT ON COLUMN uds_sessions.requests IS 'requests sent since it has its slot';
COMMENT ON COLUMN uds_sessions.waits IS 'times that it slept for answers since it has its slot';
GRANT SELECT ON uds_sessions TO pg_monitor;

CREATE FUNCTION uds_chapters(
	OUT chapter bigint,
	OUT place integer,
	OUT generation bigint,
	OUT records bigint,
	OUT tombstones bigint,
	OUT sparse boolean)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'udspg_chapters' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 1000;
COMMENT ON FUNCTION uds_chapters() IS 'the chapters on the volume; see the view of this name';
REVOKE ALL ON FUNCTION uds_chapters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION uds_chapters() TO pg_monitor;

CREATE VIEW uds_chapters AS SELECT * FROM uds_chapters();
COMMENT ON VIEW uds_chapters IS 'the chapters on the volume, a row for each';
COMMENT ON COLUMN uds_chapters.chapter IS 'its number; they grow and never come back';
COMMENT ON COLUMN uds_chapters.place IS 'where it lies in the volume, from 0';
COMMENT ON COLUMN uds_chapters.generation IS 'of the start of the index that has written it';
COMMENT ON COLUMN uds_chapters.records IS 'records in it, tombstones included';
COMMENT ON COLUMN uds_chapters.tombstones IS 'deleted digests among them';
COMMENT ON COLUMN uds_chapters.sparse IS 'whether only a sample of it is indexed in memory';
GRANT SELECT ON uds_chapters TO pg_monitor;

CREATE FUNCTION uds_progress(
	OUT pid integer,
	OUT phase text,
	OUT unit text,
	OUT done bigint,
	OUT total bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'udspg_progress' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION uds_progress() IS 'what takes time now; see the view of this name';
REVOKE ALL ON FUNCTION uds_progress() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION uds_progress() TO pg_monitor;

CREATE VIEW uds_progress AS SELECT * FROM uds_progress();
COMMENT ON VIEW uds_progress IS 'how far recoveries, saves and verifications are that run now';
COMMENT ON COLUMN uds_progress.pid IS 'process that does it: the chapter writer, or the session that verifies';
COMMENT ON COLUMN uds_progress.phase IS 'what it is doing';
COMMENT ON COLUMN uds_progress.unit IS 'what done and total count';
COMMENT ON COLUMN uds_progress.done IS 'how much of the phase is done';
COMMENT ON COLUMN uds_progress.total IS 'how much there is to do, as far as it is known';
GRANT SELECT ON uds_progress TO pg_monitor;

CREATE FUNCTION uds_settings_check()
	RETURNS TABLE (item text, value bigint, unit text, size text, fits boolean, note text)
	AS 'MODULE_PATHNAME', 'udspg_settings_check' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 12;
COMMENT ON FUNCTION uds_settings_check() IS 'the sizes that the settings give, and whether they fit this server';
REVOKE ALL ON FUNCTION uds_settings_check() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION uds_settings_check() TO pg_monitor;

CREATE FUNCTION uds_stats_reset() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_stats_reset' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION uds_stats_reset() IS 'zeroes the counters; nothing is forgotten';
REVOKE ALL ON FUNCTION uds_stats_reset() FROM PUBLIC;

-- ---- running it ----------------------------------------------------------------------------

CREATE FUNCTION uds_checkpoint() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_checkpoint' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_checkpoint() IS 'saves the index now, so that a restart is quick and a crash loses less';
REVOKE ALL ON FUNCTION uds_checkpoint() FROM PUBLIC;

CREATE FUNCTION uds_suspend(save boolean DEFAULT true) RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_suspend' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_suspend(boolean) IS 'holds all requests; with a save, the files are complete and may be copied until uds_resume()';
REVOKE ALL ON FUNCTION uds_suspend(boolean) FROM PUBLIC;

CREATE FUNCTION uds_resume() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_resume' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_resume() IS 'goes on with a suspended index, and tries again what made it read only or offline';
REVOKE ALL ON FUNCTION uds_resume() FROM PUBLIC;

CREATE FUNCTION uds_move(directory text) RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_move' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_move(text) IS 'moves the files to another directory, which is absent or empty, and goes on there';
REVOKE ALL ON FUNCTION uds_move(text) FROM PUBLIC;

CREATE FUNCTION uds_rebuild() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_rebuild' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_rebuild() IS 'builds the index in memory again from its volume';
REVOKE ALL ON FUNCTION uds_rebuild() FROM PUBLIC;

CREATE FUNCTION uds_reduce() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_reduce' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_reduce() IS 'gives back the place of one chapter of a suspended index; the window gets one chapter shorter';
REVOKE ALL ON FUNCTION uds_reduce() FROM PUBLIC;

CREATE FUNCTION uds_convert() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_convert' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_convert() IS 'makes index files that do not fit the settings anew from the records in them';
REVOKE ALL ON FUNCTION uds_convert() FROM PUBLIC;

CREATE FUNCTION uds_verify()
	RETURNS TABLE (chapter bigint, place integer, page integer, problem text)
	AS 'MODULE_PATHNAME', 'udspg_verify' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 1;
COMMENT ON FUNCTION uds_verify() IS 'reads every chapter and checks every page; a row for each problem';
REVOKE ALL ON FUNCTION uds_verify() FROM PUBLIC;

CREATE FUNCTION uds_flush() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_flush' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_flush() IS 'waits for the journal; returns at once when the index has none';
REVOKE ALL ON FUNCTION uds_flush() FROM PUBLIC;

CREATE FUNCTION uds_reset() RETURNS void
	AS 'MODULE_PATHNAME', 'udspg_reset' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION uds_reset() IS 'forgets every digest of every database';
REVOKE ALL ON FUNCTION uds_reset() FROM PUBLIC;
