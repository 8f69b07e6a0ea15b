-- Proves what each function for one fingerprint answers, and what it leaves behind.

-- an untyped literal resolves; the second post is a duplicate
SELECT uds_post('\x000102030405060708090a0b0c0d0e0f');
SELECT uds_post('\x000102030405060708090a0b0c0d0e0f');

-- digests of 16 to 64 bytes; one that begins with another is another
SELECT uds_post(decode(md5('data'), 'hex')) AS md5,
       uds_post(sha224('data')) AS sha224,
       uds_post(sha256('data')) AS sha256,
       uds_post(sha384('data')) AS sha384,
       uds_post(sha512('data')) AS sha512,
       uds_post(uuid_send('00112233-4455-6677-8899-aabbccddeeff')) AS uuid;
SELECT uds_post(substr(sha512('data'), 1, 63)) AS prefix,
       uds_post(sha512('data') ) AS same;
SELECT uds_post('\x00000000000000000000000000000000') AS zero_16,
       uds_post('\x0000000000000000000000000000000000') AS zero_17;

-- metadata comes back as 16 bytes, padded with zeros; NULL and none mean 16 zero bytes
SELECT uds_post(sha256('short'), 'abc'), uds_peek(sha256('short'));
SELECT uds_post(sha256('empty'), ''), uds_peek(sha256('empty'));
SELECT uds_post(sha256('null'), NULL), uds_peek(sha256('null'));
SELECT uds_post(sha256('none')), uds_peek(sha256('none'));
SELECT uds_post(sha256('full'), '\x0102030405060708090a0b0c0d0e0f10'), uds_peek(sha256('full'));

-- a duplicate keeps the metadata of the first post
SELECT uds_post(sha256('kept'), 'first') AS first, uds_post(sha256('kept'), 'second') AS second;
SELECT encode(uds_query(sha256('kept')), 'escape') AS query,
       encode(uds_peek(sha256('kept')), 'escape') AS peek;

-- resolve: mine when the digest is new, else that of the first poster
SELECT uds_resolve(sha256('resolve'), 'mine');
SELECT uds_resolve(sha256('resolve'), 'other');
SELECT uds_resolve(sha256('resolve'), NULL);
SELECT uds_resolve(sha256('resolve null'), NULL);
SELECT uds_resolve(sha256('resolve null'), 'late');

-- update sets it whether known or not
SELECT uds_update(sha256('update'), 'one'), uds_peek(sha256('update'));
SELECT uds_update(sha256('update'), 'two'), uds_peek(sha256('update'));
SELECT uds_update(sha256('update'), NULL), uds_peek(sha256('update'));
SELECT uds_resolve(sha256('update'), 'three');

-- unknown digests: nothing found, and nothing remembered by asking
SELECT uds_query(sha256('unknown')) AS query, uds_peek(sha256('unknown')) AS peek,
       uds_delete(sha256('unknown')) AS delete;
SELECT uds_post(sha256('unknown'));

-- a deleted digest is new again, with new metadata
SELECT uds_post(sha256('delete'), 'old'), uds_delete(sha256('delete')), uds_delete(sha256('delete'));
SELECT uds_query(sha256('delete')) AS query, uds_peek(sha256('delete')) AS peek;
SELECT uds_post(sha256('delete'), 'new'), encode(uds_peek(sha256('delete')), 'escape') AS peek;
SELECT uds_delete(sha256('delete')), uds_update(sha256('delete'), 'newer');
SELECT uds_resolve(sha256('delete'), 'newest');

-- uds_request tells everything; found metadata is what was there before
SELECT * FROM uds_request('peek', sha256('request'));
SELECT * FROM uds_request('post', sha256('request'), 'one');
SELECT * FROM uds_request('post', sha256('request'), 'two');
SELECT * FROM uds_request('update', sha256('request'), 'three');
SELECT * FROM uds_request('query', sha256('request'));
SELECT * FROM uds_request('peek', sha256('request'));
SELECT * FROM uds_request('delete', sha256('request'));
SELECT * FROM uds_request('delete', sha256('request'));
SELECT * FROM uds_request('query', sha256('request'));
SELECT * FROM uds_request('update', sha256('request'));
SELECT found, region FROM unnest(enum_range(NULL::uds_operation)) AS op,
	LATERAL uds_request(op, sha256('every operation')) ORDER BY op;

-- arguments have names
SELECT uds_post(digest => sha256('named'), metadata => 'm'), uds_resolve(digest => sha256('named'), metadata => NULL),
       uds_update(digest => sha256('named'), metadata => 'n'), uds_query(digest => sha256('named')),
       uds_peek(digest => sha256('named')), uds_delete(digest => sha256('named'));
SELECT * FROM uds_request(op => 'post', digest => sha256('named'), metadata => 'o');
SELECT * FROM uds_request(digest => sha256('named'), op => 'peek');

-- NULL digest or operation: NULL, and nothing is checked or sent
SELECT uds_post(NULL), uds_post(NULL, 'm'), uds_resolve(NULL, 'm'), uds_update(NULL, 'm'),
       uds_query(NULL), uds_peek(NULL), uds_delete(NULL);
SELECT uds_post(NULL, 'longer than 16 bytes') IS NULL AS is_null;
SELECT uds_request('post', NULL) IS NULL AS digest, uds_request(NULL, sha256('null operation')) IS NULL AS operation;
SELECT * FROM uds_request('post', NULL, 'm');
SELECT uds_peek(sha256('null operation'));

-- in a WHERE clause
CREATE TEMP TABLE block (id int, digest bytea);
INSERT INTO block SELECT i, CASE WHEN i <> 7 THEN sha256(convert_to('block ' || i % 5, 'UTF8')) END
	FROM generate_series(1, 10) AS i;
SELECT id FROM block WHERE NOT uds_post(digest) ORDER BY id;
SELECT id FROM block WHERE uds_delete(digest) ORDER BY id;
SELECT id FROM block WHERE uds_post(digest) IS NOT TRUE ORDER BY id;
-- the cheap condition runs first, so what it drops is not posted
SELECT id FROM block WHERE uds_delete(digest) ORDER BY id;
SELECT id FROM block WHERE NOT uds_post(digest) AND id > 100;
SELECT count(*) FROM block WHERE uds_peek(digest) IS NOT NULL;

-- a value that is stored out of line
CREATE TEMP TABLE toasted (digest bytea, padding text);
ALTER TABLE toasted ALTER digest SET STORAGE EXTERNAL, ALTER padding SET STORAGE PLAIN;
INSERT INTO toasted VALUES (sha512('toasted'), repeat('x', 4000));
SELECT pg_relation_size(reltoastrelid) > 0 AS out_of_line FROM pg_class WHERE oid = 'toasted'::regclass;
SELECT uds_post(digest) FROM toasted;
SELECT uds_post(sha512('toasted'));

-- a post does not roll back
BEGIN;
SELECT uds_post(sha256('rolled back'));
ROLLBACK;
SELECT uds_post(sha256('rolled back'));

-- prepared, and in PL/pgSQL
PREPARE post AS SELECT uds_post($1, $2);
EXECUTE post(sha256('prepared'), 'p');
EXECUTE post(sha256('prepared'), 'p');
DO $$
DECLARE
	result record;
BEGIN
	FOR i IN 1..3 LOOP
		SELECT * INTO result FROM uds_request('post', sha256('loop'), convert_to(i::text, 'UTF8'));
		RAISE NOTICE '% % %', result.found, encode(result.metadata, 'escape'), result.region;
	END LOOP;
END
$$;
