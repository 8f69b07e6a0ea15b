-- Proves that wrong arguments are refused with their SQLSTATE, detail and hint, and change nothing.

-- lengths of digests
SELECT uds_post('');
\echo :LAST_ERROR_SQLSTATE
SELECT uds_post('\x01');
SELECT uds_post('\x000102030405060708090a0b0c0d0e');
SELECT uds_post(sha512('data') || '\x00');
\echo :LAST_ERROR_SQLSTATE
SELECT uds_post(convert_to(repeat('x', 100000), 'UTF8'));
SELECT uds_resolve('\x01', NULL);
SELECT uds_update('\x01', NULL);
SELECT uds_query('\x01');
SELECT uds_peek('\x01');
SELECT uds_delete('\x01');
SELECT uds_request('post', '\x01');

-- lengths of metadata
SELECT uds_post(sha256('data'), '\x0102030405060708090a0b0c0d0e0f1011');
\echo :LAST_ERROR_SQLSTATE
SELECT uds_resolve(sha256('data'), '\x0102030405060708090a0b0c0d0e0f1011');
SELECT uds_update(sha256('data'), '\x0102030405060708090a0b0c0d0e0f1011');
SELECT uds_request('post', sha256('data'), '\x0102030405060708090a0b0c0d0e0f1011');
-- also where it would not be stored
SELECT uds_request('peek', sha256('data'), '\x0102030405060708090a0b0c0d0e0f1011');
SELECT uds_peek(sha256('data')) IS NULL AS unchanged;

-- operations
SELECT uds_request('undo', sha256('data'));
\echo :LAST_ERROR_SQLSTATE
SELECT uds_request('', sha256('data'));

-- elements of arrays
SELECT uds_post_many(ARRAY[sha256('data'), '\x01']);
\echo :LAST_ERROR_SQLSTATE
SELECT uds_resolve_many(ARRAY['\x0102', sha256('data')], NULL);
SELECT uds_update_many(ARRAY[NULL, '']::bytea[], NULL);
SELECT uds_query_many(ARRAY[sha512('data') || '\x00']);
SELECT uds_peek_many(ARRAY[sha256('data'), sha256('data'), '\x01']);
SELECT uds_delete_many(ARRAY['\x01']::bytea[]);
SELECT * FROM uds_request_many('post', ARRAY['\x01']::bytea[]);
SELECT uds_post_many(ARRAY[sha256('data')], ARRAY['\x0102030405060708090a0b0c0d0e0f1011']::bytea[]);
\echo :LAST_ERROR_SQLSTATE

-- shapes of arrays
SELECT uds_post_many(ARRAY[[sha256('a')], [sha256('b')]]);
\echo :LAST_ERROR_SQLSTATE
SELECT uds_resolve_many(ARRAY[sha256('a'), sha256('b')], ARRAY[['1'], ['2']]::bytea[]);
SELECT uds_update_many(ARRAY[[sha256('a'), sha256('b')]], ARRAY[['1', '2']]::bytea[]);
SELECT uds_query_many(ARRAY[[sha256('a')]]);
SELECT uds_peek_many(ARRAY[[[sha256('a')]]]);
SELECT uds_delete_many(ARRAY[[sha256('a')]]);
SELECT * FROM uds_request_many('post', ARRAY[[sha256('a')]]);

-- lengths of arrays
SELECT uds_post_many(ARRAY[sha256('a'), sha256('b')], ARRAY['1']::bytea[]);
\echo :LAST_ERROR_SQLSTATE
SELECT uds_resolve_many(ARRAY[sha256('a')], ARRAY['1', '2']::bytea[]);
SELECT uds_update_many(ARRAY[sha256('a')], '{}');
SELECT uds_post_many('{}', ARRAY['1']::bytea[]);
SELECT * FROM uds_request_many('peek', ARRAY[sha256('a')], '{}');
SELECT uds_peek_many(ARRAY[sha256('a'), sha256('b'), sha256('data')]);

-- there is one function of each name, so other types are refused, not guessed
SELECT uds_post(1);
SELECT uds_post('text'::text);
SELECT uds_post(gen_random_uuid());
SELECT uds_resolve(sha256('data'));
SELECT uds_update(sha256('data'));

-- a value that somebody adds to the type has no meaning
BEGIN;
CREATE TYPE uds_test_operation AS ENUM ('upsert');
CREATE FUNCTION uds_test_request(op uds_test_operation, digest bytea, metadata bytea DEFAULT NULL,
                                 OUT found boolean, OUT metadata bytea, OUT region uds_region)
	AS '$libdir/uds', 'udspg_request' LANGUAGE C VOLATILE;
SELECT uds_test_request('upsert', sha256('data'));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
