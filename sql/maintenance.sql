-- Proves what the functions that run the index do, and that uds_settings_check() agrees with uds_stats.

-- a checkpoint saves, and changes no answer
SELECT uds_post(sha256('before the checkpoint'), 'a');
SELECT coalesce(last_checkpoint, '-infinity') AS before FROM uds_stats \gset
SELECT uds_checkpoint();
SELECT last_checkpoint > :'before' AS saved, state FROM uds_stats;
SELECT uds_peek(sha256('before the checkpoint'));
SELECT uds_checkpoint();

-- nothing to wait for
SELECT uds_flush();

-- everything is forgotten, and the index goes on
SELECT uds_post_many(ARRAY[sha256('forgotten 1'), sha256('forgotten 2')]);
SELECT uds_reset();
SELECT entries_indexed, tombstones, newest_chapter, state FROM uds_stats;
SELECT uds_peek_many(ARRAY[sha256('before the checkpoint'), sha256('forgotten 1'), sha256('forgotten 2')]);
SELECT uds_post(sha256('forgotten 1'), 'b'), uds_peek(sha256('forgotten 1'));
SELECT uds_reset(), uds_reset();
SELECT uds_post(sha256('forgotten 1'));

-- a suspended index holds requests, and goes on with everything
SELECT uds_suspend();
SELECT uds_suspend(save => false);
SELECT state, reason FROM uds_stats;
SET uds.wait_timeout = '100ms';
SELECT uds_peek(sha256('forgotten 1'));
RESET uds.wait_timeout;
SELECT uds_rebuild();
SELECT uds_resume(), uds_resume();
SELECT uds_suspend(NULL);
SELECT uds_peek(sha256('forgotten 1'));

-- a rebuild writes the open chapter and reads it back
SELECT count(*) AS chapters FROM uds_chapters;
SELECT uds_rebuild();
SELECT chapter, place, records, tombstones, sparse FROM uds_chapters;
SELECT uds_peek(sha256('forgotten 1'));
SELECT * FROM uds_verify();
SELECT * FROM uds_progress;

-- files that fit are not converted
SELECT uds_convert();
SELECT chapter, place, records FROM uds_chapters;
SELECT state, uds_peek(sha256('forgotten 1')) FROM uds_stats;

-- the sizes of the settings are those of the index
SELECT item, unit, size IS NOT NULL AS has_size, note IS NOT NULL AS has_note FROM uds_settings_check();
SELECT (SELECT value FROM uds_settings_check() WHERE item = 'window') = window_size AS window,
       (SELECT value FROM uds_settings_check() WHERE item = 'index_memory') = index_memory AS index,
       (SELECT value FROM uds_settings_check() WHERE item = 'cache_memory') = cache_memory AS cache,
       (SELECT value FROM uds_settings_check() WHERE item = 'queue_memory') = queue_memory AS queue,
       (SELECT value FROM uds_settings_check() WHERE item = 'volume_file') >= volume_bytes AS volume
	FROM uds_stats;
SELECT item, value - 1 = current_setting('uds.zones')::int + current_setting('uds.read_workers')::int AS agrees FROM uds_settings_check() WHERE item = 'workers';
SELECT max(value) FILTER (WHERE item = 'shared_memory') =
       sum(value) FILTER (WHERE item IN ('index_memory', 'cache_memory', 'queue_memory')) AS memory,
       max(value) FILTER (WHERE item = 'disk_space') =
       sum(value) FILTER (WHERE item IN ('volume_file', 'checkpoint_files')) AS disk,
       max(value) FILTER (WHERE item = 'largest_memory') >= pg_size_bytes(current_setting('uds.memory')) AS largest,
       bool_and(fits) AS fits
	FROM uds_settings_check();

-- they are all that was requested, but for the head that all processes share
SELECT allocated.size - (index_memory + cache_memory + queue_memory) BETWEEN 1 AND 65536 AS memory
	FROM uds_stats, pg_shmem_allocations AS allocated WHERE allocated.name = 'uds';
