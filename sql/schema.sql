-- Proves that the extension lives in any schema, and that a session that has used it goes on after it was moved.

DROP EXTENSION uds;
CREATE SCHEMA uds_first;
CREATE SCHEMA uds_second;
CREATE EXTENSION uds SCHEMA uds_first;

SELECT uds_first.uds_post(sha256('schema'), 'a');
SELECT * FROM uds_first.uds_request_many('peek', ARRAY[sha256('schema')]);
SELECT state FROM uds_first.uds_stats;
SELECT uds_post(sha256('schema'));

-- a type of the same name in the search path is another type
CREATE TYPE uds_region AS ENUM ('somewhere');
SELECT * FROM uds_first.uds_request('peek', sha256('schema'));

ALTER EXTENSION uds SET SCHEMA uds_second;
SELECT uds_second.uds_post(sha256('schema'), 'b');
SELECT * FROM uds_second.uds_request('post', sha256('schema'));
SELECT * FROM uds_second.uds_request_many('delete', ARRAY[sha256('schema')]);
SELECT state FROM uds_second.uds_stats;
SELECT count(*) > 0 AS zones FROM uds_second.uds_zones;
SELECT count(*) > 0 AS sessions FROM uds_second.uds_sessions;
SELECT n.nspname, count(*) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
	WHERE p.proname LIKE 'uds\_%' GROUP BY 1;

DROP TYPE uds_region;
DROP EXTENSION uds;
DROP SCHEMA uds_first, uds_second;
CREATE EXTENSION uds;
SELECT uds_query(sha256('schema'));
SELECT uds_post(sha256('schema'));
