-- Proves that uds_stats, uds_zones and uds_sessions count every request once, and what uds_stats_reset() zeroes.

SELECT state, reason FROM uds_stats;
SELECT count(*) FROM uds_stats;

-- a session has a slot from its first request on
CREATE TEMP VIEW own_session AS SELECT * FROM uds_sessions WHERE pid = pg_backend_pid();
SELECT * FROM own_session;
SELECT uds_peek(sha256('first request'));
SELECT in_flight, requests, waits >= 0 AS waits FROM own_session;

CREATE TEMP TABLE snapshot AS SELECT * FROM uds_stats;
-- the counters that have changed since the snapshot; those that depend on chance or timing are left out
CREATE TEMP VIEW changed AS
	SELECT key AS counter, new.value::bigint - old.value::bigint AS change
	FROM uds_stats AS s, snapshot AS o, jsonb_each_text(to_jsonb(s)) AS new JOIN jsonb_each_text(to_jsonb(o)) AS old USING (key)
	WHERE key ~ 'found|requests|indexed|tombstones|overflows' AND new.value <> old.value
	ORDER BY key COLLATE "C";
SELECT * FROM changed;

-- eight requests for one name
SELECT uds_post(sha256('one name'), 'a') AS post, uds_post(sha256('one name'), 'b') AS post,
       uds_query(sha256('one name')) IS NOT NULL AS query, uds_update(sha256('one name'), 'c') AS update,
       uds_query(sha256('one name')) IS NOT NULL AS query, uds_delete(sha256('one name')) AS delete,
       uds_query(sha256('one name')) IS NOT NULL AS query, uds_delete(sha256('one name')) AS delete;
SELECT * FROM changed;

-- 101 new names, then 53 repeats
TRUNCATE snapshot;
INSERT INTO snapshot SELECT * FROM uds_stats;
SELECT count(*) FILTER (WHERE uds_post(sha256(convert_to('new ' || i, 'UTF8')))) AS found FROM generate_series(1, 101) AS i;
SELECT count(*) FILTER (WHERE uds_post(sha256(convert_to('new ' || i, 'UTF8')))) AS found FROM generate_series(1, 53) AS i;
SELECT * FROM changed;

-- peeks count as queries; NULLs and refused arguments do not count
TRUNCATE snapshot;
INSERT INTO snapshot SELECT * FROM uds_stats;
SELECT uds_peek(sha256('new 1')), uds_peek(sha256('not there')), uds_peek(NULL);
SELECT cardinality(uds_peek_many(ARRAY[sha256('new 1'), NULL, sha256('new 2'), sha256('not there')]));
SELECT uds_peek_many(ARRAY[sha256('new 1'), '\x00']);
SELECT uds_update(sha256('updated'), 'a');
SELECT cardinality(uds_delete_many(ARRAY[sha256('updated'), sha256('updated'), sha256('not there')]));
SELECT * FROM changed;

-- the same from the table form
TRUNCATE snapshot;
INSERT INTO snapshot SELECT * FROM uds_stats;
SELECT count(*) FROM unnest(enum_range(NULL::uds_operation)) AS op,
	LATERAL uds_request_many(op, ARRAY[sha256('table form'), sha256('table form')]);
SELECT * FROM changed;

-- when the chapter has been closed, a post finds its names in a dense chapter, and moves them
SELECT uds_post(sha256('moved'), 'place');
SELECT newest_chapter AS before FROM uds_stats \gset
SELECT 2 * sum(open_capacity) AS names FROM uds_zones \gset
SELECT bool_or(found) FROM (SELECT unnest(uds_post_many(array_agg(sha256(int4send(i)))))
	FROM generate_series(1, :names) AS i GROUP BY i / 1000) AS p (found);
SELECT newest_chapter > :before AS closed, oldest_chapter <= :before AS in_window FROM uds_stats;
TRUNCATE snapshot;
INSERT INTO snapshot SELECT * FROM uds_stats;
SELECT * FROM uds_request('peek', sha256('moved'));
SELECT * FROM uds_request('post', sha256('moved'), 'other');
SELECT * FROM uds_request('post', sha256('moved'), 'other');
SELECT * FROM changed;

-- the zones together have done what the index has
SELECT (SELECT sum(requests) FROM uds_zones) = requests AS requests,
       (SELECT sum(records) FROM uds_zones) = entries_indexed AS entries FROM uds_stats;
SELECT count(*) = current_setting('uds.zones')::int AS all, count(pid) = count(*) AS running,
       count(DISTINCT zone) = count(*) AS numbered, bool_and(open_records <= open_capacity) AS fill,
       bool_and(longest_pause >= '0') AS pauses
	FROM uds_zones;
SELECT bool_and(backend_type = 'uds zone ' || zone) FROM uds_zones JOIN pg_stat_activity USING (pid);

-- what a session sends: not NULLs, and nothing of a call with a wrong argument
SELECT requests AS sent FROM own_session \gset
SELECT count(uds_peek(sha256(int4send(-i)))) FROM generate_series(1, 7) AS i;
SELECT cardinality(uds_peek_many(array_agg(sha256(int4send(-i))) || NULL::bytea)) FROM generate_series(1, 1000) AS i;
SELECT uds_peek(NULL);
SELECT uds_peek_many(ARRAY[sha256('one'), '\x00']);
SELECT in_flight, requests - :sent AS requests FROM own_session;
SELECT bool_and(slot BETWEEN 0 AND s.value - 1) AS slots, count(DISTINCT slot) = count(*) AS apart,
       count(DISTINCT pid) = count(*) AS processes
	FROM uds_sessions, uds_settings_check() AS s WHERE s.item = 'session_slots';

-- sizes and times
SELECT window_size > 0 AS window_size, index_memory > 0 AS index_memory, cache_memory > 0 AS cache_memory,
       queue_memory > 0 AS queue_memory, volume_bytes > 0 AS volume_bytes, bad_pages, generation > 0 AS generation
	FROM uds_stats;
SELECT started_at >= pg_postmaster_start_time() - interval '1 minute' AS started,
       last_recovery BETWEEN started_at AND now() AS recovered FROM uds_stats;

-- a checkpoint makes the zones pause; one that answers has gone on
SELECT uds_checkpoint();
SELECT cardinality(uds_peek_many(array_agg(sha256(int4send(i))))) FROM generate_series(1, 1000) AS i;
SELECT bool_and(longest_pause > '0') AS pauses FROM uds_zones;

-- a reset zeroes counters and leaves what is remembered
TRUNCATE snapshot;
INSERT INTO snapshot SELECT * FROM uds_stats;
SELECT uds_stats_reset();
SELECT requests, posts_found, posts_not_found, in_memory_posts_found, dense_posts_found, sparse_posts_found
	FROM uds_stats;
SELECT updates_found, updates_not_found, queries_found, queries_not_found, deletions_found, deletions_not_found
	FROM uds_stats;
SELECT cache_hits, cache_misses, page_reads, overflows, entries_discarded, entries_expired FROM uds_stats;
SELECT s.entries_indexed = o.entries_indexed AS entries, s.tombstones = o.tombstones AS tombstones,
       s.newest_chapter = o.newest_chapter AS chapter, s.stats_reset > coalesce(o.stats_reset, o.started_at) AS stats_reset
	FROM uds_stats AS s, snapshot AS o;
SELECT count(*) FILTER (WHERE requests = 0 AND rebalances = 0 AND longest_pause = '0') = count(*) AS zones,
       bool_and(records > 0) AS records
	FROM uds_zones;
SELECT uds_peek(sha256('moved'));
-- those of a session go on
SELECT requests > :sent + 1000 AS requests FROM own_session;
