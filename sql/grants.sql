-- Proves that nothing is granted to PUBLIC, that grants work, and that pg_monitor reads the views.

CREATE ROLE regress_uds_app;
CREATE ROLE regress_uds_admin;
CREATE ROLE regress_uds_monitor IN ROLE pg_monitor;

-- nobody but a superuser
SET ROLE regress_uds_app;
SELECT uds_post(sha256('grants'));
SELECT uds_resolve(sha256('grants'), NULL);
SELECT uds_update(sha256('grants'), NULL);
SELECT uds_query(sha256('grants'));
SELECT uds_peek(sha256('grants'));
SELECT uds_delete(sha256('grants'));
SELECT uds_request('post', sha256('grants'));
SELECT uds_post_many(ARRAY[sha256('grants')]);
SELECT uds_resolve_many(ARRAY[sha256('grants')], NULL);
SELECT uds_update_many(ARRAY[sha256('grants')], NULL);
SELECT uds_query_many(ARRAY[sha256('grants')]);
SELECT uds_peek_many(ARRAY[sha256('grants')]);
SELECT uds_delete_many(ARRAY[sha256('grants')]);
SELECT * FROM uds_request_many('post', ARRAY[sha256('grants')]);
SELECT uds_checkpoint();
SELECT uds_flush();
SELECT uds_reset();
SELECT uds_suspend();
SELECT uds_resume();
SELECT uds_move('moved');
SELECT uds_rebuild();
SELECT uds_reduce();
SELECT uds_convert();
SELECT * FROM uds_verify();
SELECT uds_stats_reset();
SELECT * FROM uds_settings_check();
SELECT * FROM uds_stats;
SELECT * FROM uds_stats();
SELECT * FROM uds_zones;
SELECT * FROM uds_zones();
SELECT * FROM uds_sessions;
SELECT * FROM uds_sessions();
SELECT * FROM uds_chapters;
SELECT * FROM uds_chapters();
SELECT * FROM uds_progress;
SELECT * FROM uds_progress();
RESET ROLE;
SELECT uds_peek(sha256('grants'));

-- each function can be granted, also those that run the index
GRANT EXECUTE ON FUNCTION uds_post(bytea, bytea), uds_peek(bytea) TO regress_uds_app;
GRANT EXECUTE ON FUNCTION uds_checkpoint(), uds_flush(), uds_reset(), uds_stats_reset() TO regress_uds_admin;
GRANT EXECUTE ON FUNCTION uds_move(text) TO regress_uds_admin;
SET ROLE regress_uds_app;
SELECT uds_post(sha256('grants'), 'app'), uds_peek(sha256('grants'));
SELECT uds_query(sha256('grants'));
SET ROLE regress_uds_admin;
SELECT uds_move('moved');
SELECT uds_flush(), uds_stats_reset();
SELECT uds_checkpoint();
SELECT uds_reset();
SELECT uds_post(sha256('grants'));
RESET ROLE;
SELECT uds_peek(sha256('grants'));

-- files of the server move with the grant and that role only
GRANT pg_write_server_files TO regress_uds_admin;
SET ROLE regress_uds_admin;
SELECT uds_move('');
RESET ROLE;

-- members of pg_monitor watch, and no more
SET ROLE regress_uds_monitor;
SELECT state FROM uds_stats;
SELECT count(*) > 0 AS zones FROM uds_zones;
SELECT count(*) > 0 AS sessions FROM uds_sessions;
SELECT count(*) >= 0 AS chapters FROM uds_chapters;
SELECT count(*) >= 0 AS progress FROM uds_progress;
SELECT count(*) > 0 AS settings FROM uds_settings_check();
SELECT uds_peek(sha256('grants'));
SELECT uds_stats_reset();
RESET ROLE;

REVOKE ALL ON FUNCTION uds_post(bytea, bytea), uds_peek(bytea) FROM regress_uds_app;
REVOKE ALL ON FUNCTION uds_checkpoint(), uds_flush(), uds_reset(), uds_stats_reset() FROM regress_uds_admin;
REVOKE ALL ON FUNCTION uds_move(text) FROM regress_uds_admin;
DROP ROLE regress_uds_app, regress_uds_admin, regress_uds_monitor;
