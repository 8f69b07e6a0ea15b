-- Proves the facts of the catalog: exactly these objects, their types, labels, comments and grants.

\unset ECHO
\pset format unaligned
\pset tuples_only true
\pset pager off

BEGIN;
SELECT no_plan();

-- What the extension owns; types of rows and arrays belong to their relation or element.
CREATE TEMP VIEW owned AS
	SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'uds';
CREATE TEMP VIEW owned_function AS
	SELECT p.*, p.oid::regprocedure::text AS signature FROM pg_proc AS p JOIN owned AS o ON o.objid = p.oid AND o.classid = 'pg_proc'::regclass;
CREATE TEMP VIEW owned_view AS
	SELECT c.* FROM pg_class AS c JOIN owned AS o ON o.objid = c.oid AND o.classid = 'pg_class'::regclass;

SELECT has_extension('uds');
SELECT is(extversion, '1.0', 'version') FROM pg_extension WHERE extname = 'uds';
SELECT ok(extrelocatable, 'relocatable') FROM pg_extension WHERE extname = 'uds';
SELECT ok(superuser AND NOT trusted, 'only a superuser creates it') FROM pg_available_extension_versions
	WHERE name = 'uds' AND version = '1.0';

-- ---- the list of objects --------------------------------------------------------------------

SELECT set_eq('SELECT signature FROM owned_function', ARRAY[
	'uds_post(bytea,bytea)',
	'uds_resolve(bytea,bytea)',
	'uds_update(bytea,bytea)',
	'uds_query(bytea)',
	'uds_peek(bytea)',
	'uds_delete(bytea)',
	'uds_request(uds_operation,bytea,bytea)',
	'uds_post_many(bytea[],bytea[])',
	'uds_resolve_many(bytea[],bytea[])',
	'uds_update_many(bytea[],bytea[])',
	'uds_query_many(bytea[])',
	'uds_peek_many(bytea[])',
	'uds_delete_many(bytea[])',
	'uds_request_many(uds_operation,bytea[],bytea[])',
	'uds_stats()',
	'uds_zones()',
	'uds_sessions()',
	'uds_chapters()',
	'uds_progress()',
	'uds_settings_check()',
	'uds_stats_reset()',
	'uds_checkpoint()',
	'uds_suspend(boolean)',
	'uds_resume()',
	'uds_move(text)',
	'uds_rebuild()',
	'uds_reduce()',
	'uds_convert()',
	'uds_verify()',
	'uds_flush()',
	'uds_reset()'
], 'functions');
SELECT set_eq('SELECT relname::text FROM owned_view', ARRAY['uds_stats', 'uds_zones', 'uds_sessions', 'uds_chapters', 'uds_progress'],
	'relations');
SELECT set_eq($$SELECT objid::regtype::text FROM owned WHERE classid = 'pg_type'::regclass$$,
	ARRAY['uds_operation', 'uds_region'], 'types');
SELECT is_empty($$SELECT classid::regclass, objid FROM owned
	WHERE classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
	AND NOT (classid = 'pg_rewrite'::regclass)$$, 'nothing else');
SELECT is_empty($$SELECT proname FROM owned_function GROUP BY proname HAVING count(*) > 1$$, 'no overloads');

SELECT enum_has_labels('uds_operation', ARRAY['post', 'update', 'query', 'peek', 'delete']);
SELECT enum_has_labels('uds_region', ARRAY['none', 'open', 'dense', 'sparse']);

-- ---- arguments and results ------------------------------------------------------------------

CREATE TEMP TABLE expected (signature text, arguments text, result text);
INSERT INTO expected VALUES
	('uds_post(bytea,bytea)', 'digest bytea, metadata bytea DEFAULT NULL::bytea', 'boolean'),
	('uds_resolve(bytea,bytea)', 'digest bytea, metadata bytea', 'bytea'),
	('uds_update(bytea,bytea)', 'digest bytea, metadata bytea', 'boolean'),
	('uds_query(bytea)', 'digest bytea', 'bytea'),
	('uds_peek(bytea)', 'digest bytea', 'bytea'),
	('uds_delete(bytea)', 'digest bytea', 'boolean'),
	('uds_request(uds_operation,bytea,bytea)',
	 'op uds_operation, digest bytea, metadata bytea DEFAULT NULL::bytea, OUT found boolean, OUT metadata bytea, OUT region uds_region',
	 'record'),
	('uds_post_many(bytea[],bytea[])', 'digests bytea[], metadata bytea[] DEFAULT NULL::bytea[]', 'boolean[]'),
	('uds_resolve_many(bytea[],bytea[])', 'digests bytea[], metadata bytea[]', 'bytea[]'),
	('uds_update_many(bytea[],bytea[])', 'digests bytea[], metadata bytea[]', 'boolean[]'),
	('uds_query_many(bytea[])', 'digests bytea[]', 'bytea[]'),
	('uds_peek_many(bytea[])', 'digests bytea[]', 'bytea[]'),
	('uds_delete_many(bytea[])', 'digests bytea[]', 'boolean[]'),
	('uds_request_many(uds_operation,bytea[],bytea[])',
	 'op uds_operation, digests bytea[], metadata bytea[] DEFAULT NULL::bytea[]',
	 'TABLE(ordinality bigint, found boolean, metadata bytea, region uds_region)'),
	('uds_settings_check()', '',
	 'TABLE(item text, value bigint, unit text, size text, fits boolean, note text)'),
	('uds_stats_reset()', '', 'void'),
	('uds_checkpoint()', '', 'void'),
	('uds_suspend(boolean)', 'save boolean DEFAULT true', 'void'),
	('uds_resume()', '', 'void'),
	('uds_move(text)', 'directory text', 'void'),
	('uds_rebuild()', '', 'void'),
	('uds_reduce()', '', 'void'),
	('uds_convert()', '', 'void'),
	('uds_verify()', '', 'TABLE(chapter bigint, place integer, page integer, problem text)'),
	('uds_flush()', '', 'void'),
	('uds_reset()', '', 'void');
SELECT is(pg_get_function_arguments(signature::regprocedure), arguments, signature || ' arguments') FROM expected;
SELECT is(pg_get_function_result(signature::regprocedure), result, signature || ' result') FROM expected;

-- ---- labels ---------------------------------------------------------------------------------

SELECT is(l.lanname, 'c', signature || ' is in C') FROM owned_function AS p JOIN pg_language AS l ON l.oid = p.prolang;
SELECT is(probin, '$libdir/uds', signature || ' library') FROM owned_function;
SELECT is(left(prosrc, 6), 'udspg_', signature || ' symbol') FROM owned_function;
SELECT is(provolatile, 'v', signature || ' is volatile') FROM owned_function;
SELECT ok(NOT prosecdef, signature || ' is security invoker') FROM owned_function;
SELECT ok(NOT proleakproof, signature || ' is not leakproof') FROM owned_function;
SELECT is(proparallel::text,
          CASE WHEN proname IN ('uds_stats', 'uds_zones', 'uds_sessions', 'uds_chapters', 'uds_progress', 'uds_settings_check') THEN 's' ELSE 'r' END,
          signature || ' parallel label') FROM owned_function;
SELECT is(procost,
          CASE WHEN proname IN ('uds_stats', 'uds_zones', 'uds_sessions', 'uds_chapters', 'uds_progress', 'uds_settings_check', 'uds_stats_reset') THEN 1 ELSE 10000 END::real,
          signature || ' cost') FROM owned_function;
-- those that take metadata are called with NULL, which means 16 zero bytes
SELECT is(proisstrict, NOT coalesce('metadata' = ANY (proargnames[1:pronargs]), false), signature || ' strictness')
	FROM owned_function;
SELECT is(proretset, proname IN ('uds_request_many', 'uds_zones', 'uds_sessions', 'uds_chapters', 'uds_progress', 'uds_settings_check', 'uds_verify'), signature || ' set')
	FROM owned_function;
SELECT ok(pronargs = 0 OR cardinality(array_remove(proargnames[1:pronargs], '')) = pronargs, signature || ' arguments have names')
	FROM owned_function;

-- ---- comments -------------------------------------------------------------------------------

-- a phrase in lower case without period; names may be in upper case
SELECT matches(coalesce(obj_description(oid, 'pg_proc'), ''), '^([a-z]|NULL).*[^.]$', signature || ' comment') FROM owned_function;
SELECT matches(coalesce(obj_description(oid, 'pg_class'), ''), '^[a-z].*[^.]$', relname || ' comment') FROM owned_view;
SELECT matches(coalesce(obj_description(objid, 'pg_type'), ''), '^[a-z].*[^.]$', objid::regtype || ' comment')
	FROM owned WHERE classid = 'pg_type'::regclass;
SELECT matches(coalesce(col_description(c.oid, a.attnum), ''), '^[a-z].*[^.]$', c.relname || '.' || a.attname || ' comment')
	FROM owned_view AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0;
SELECT matches(coalesce(obj_description(oid, 'pg_extension'), ''), '^[a-z].*[^.]$', 'extension comment') FROM pg_extension
	WHERE extname = 'uds';

-- ---- grants ---------------------------------------------------------------------------------

CREATE ROLE uds_pgtap_nobody;
CREATE ROLE uds_pgtap_monitor IN ROLE pg_monitor;

SELECT ok(NOT has_function_privilege('uds_pgtap_nobody', oid, 'EXECUTE'), signature || ' is not for PUBLIC') FROM owned_function;
SELECT ok(NOT has_table_privilege('uds_pgtap_nobody', oid, 'SELECT'), relname || ' is not for PUBLIC') FROM owned_view;
SELECT is(has_function_privilege('uds_pgtap_monitor', oid, 'EXECUTE'),
          proname IN ('uds_stats', 'uds_zones', 'uds_sessions', 'uds_chapters', 'uds_progress', 'uds_settings_check'), signature || ' for pg_monitor') FROM owned_function;
SELECT ok(has_table_privilege('uds_pgtap_monitor', oid, 'SELECT'), relname || ' for pg_monitor') FROM owned_view;
SELECT ok(NOT has_table_privilege('uds_pgtap_monitor', oid, 'INSERT, UPDATE, DELETE, TRUNCATE'), relname || ' is only read')
	FROM owned_view;
-- a dump keeps what is granted later, and nothing that the script has granted
SELECT is((SELECT count(*) FROM pg_init_privs AS i JOIN owned AS o ON o.classid = i.classoid AND o.objid = i.objoid),
          (SELECT count(*) FROM owned_function) + (SELECT count(*) FROM owned_view), 'initial privileges');

-- ---- views ----------------------------------------------------------------------------------

SELECT columns_are('uds_stats', ARRAY['state', 'reason', 'entries_indexed', 'tombstones', 'collisions',
	'entries_discarded', 'entries_expired', 'overflows', 'posts_found', 'posts_not_found', 'in_memory_posts_found',
	'dense_posts_found', 'sparse_posts_found', 'updates_found', 'updates_not_found', 'queries_found',
	'queries_not_found', 'deletions_found', 'deletions_not_found', 'requests', 'window_size', 'oldest_chapter',
	'newest_chapter', 'index_memory', 'cache_memory', 'queue_memory', 'volume_bytes', 'cache_hits', 'cache_misses',
	'page_reads', 'bad_pages', 'dropped_chapters', 'sparse_chapters_cached', 'sparse_loads', 'sparse_load_failures', 'sparse_load_drops',
	'last_checkpoint', 'last_recovery', 'generation', 'timeline', 'started_at', 'stats_reset']);
SELECT columns_are('uds_zones', ARRAY['zone', 'pid', 'records', 'chapter', 'open_records', 'open_capacity',
	'is_full', 'requests', 'parked', 'rebalances', 'longest_pause']);
SELECT columns_are('uds_sessions', ARRAY['slot', 'pid', 'in_flight', 'requests', 'waits']);
SELECT col_type_is('uds_stats', attname, CASE
	WHEN attname IN ('state', 'reason') THEN 'text'
	WHEN attname IN ('last_checkpoint', 'last_recovery', 'started_at', 'stats_reset') THEN 'timestamp with time zone'
	WHEN attname = 'timeline' THEN 'integer'
	ELSE 'bigint' END, 'uds_stats.' || attname || ' type')
	FROM pg_attribute WHERE attrelid = 'uds_stats'::regclass AND attnum > 0;
SELECT col_type_is('uds_zones', attname, CASE
	WHEN attname IN ('zone', 'pid') THEN 'integer'
	WHEN attname = 'is_full' THEN 'boolean'
	WHEN attname = 'longest_pause' THEN 'interval'
	ELSE 'bigint' END, 'uds_zones.' || attname || ' type')
	FROM pg_attribute WHERE attrelid = 'uds_zones'::regclass AND attnum > 0;
SELECT col_type_is('uds_sessions', attname, CASE WHEN attname IN ('slot', 'pid') THEN 'integer' ELSE 'bigint' END,
		'uds_sessions.' || attname || ' type')
	FROM pg_attribute WHERE attrelid = 'uds_sessions'::regclass AND attnum > 0;
SELECT columns_are('uds_chapters', ARRAY['chapter', 'place', 'generation', 'records', 'tombstones', 'sparse']);
SELECT columns_are('uds_progress', ARRAY['pid', 'phase', 'unit', 'done', 'total']);
SELECT results_eq('SELECT * FROM uds_stats() WHERE false', 'SELECT * FROM uds_stats WHERE false', 'view and function');
SELECT results_eq('SELECT count(*) FROM uds_stats', 'SELECT 1::bigint', 'one row');

SELECT * FROM finish();
ROLLBACK;
