-- Proves what the functions for arrays answer: order, NULLs, bounds, and all or nothing for bad elements.

-- in order: the second of two equal digests is a duplicate of the first
SELECT uds_post_many(ARRAY[sha256('a'), sha256('b'), sha256('a'), sha256('c')]);
SELECT uds_post_many(ARRAY[sha256('a'), sha256('d')]);

-- metadata; NULL, and NULL for one element, mean 16 zero bytes
SELECT uds_post_many(ARRAY[sha256('e'), sha256('f'), sha256('e')], ARRAY['1', NULL, '2']::bytea[]);
SELECT uds_peek_many(ARRAY[sha256('a'), sha256('e'), sha256('f')]);
SELECT uds_resolve_many(ARRAY[sha256('e'), sha256('g'), sha256('g'), sha256('h')],
                        ARRAY['3', '4', '5', NULL]::bytea[]);
SELECT uds_resolve_many(ARRAY[sha256('e'), sha256('i')], NULL);
SELECT uds_update_many(ARRAY[sha256('e'), sha256('j'), sha256('j')], ARRAY['6', '7', '8']::bytea[]);
SELECT uds_query_many(ARRAY[sha256('e'), sha256('j'), sha256('unknown')]);
SELECT uds_update_many(ARRAY[sha256('e'), sha256('k')], NULL);
SELECT uds_peek_many(ARRAY[sha256('e'), sha256('k')]);
SELECT uds_delete_many(ARRAY[sha256('a'), sha256('unknown'), sha256('a'), sha256('b')]);
SELECT uds_peek_many(ARRAY[sha256('a'), sha256('b'), sha256('c')]);

-- NULL array: NULL; empty: empty; NULL element: NULL in its place
SELECT uds_post_many(NULL), uds_post_many(NULL, NULL), uds_resolve_many(NULL, NULL),
       uds_update_many(NULL, NULL), uds_query_many(NULL), uds_peek_many(NULL), uds_delete_many(NULL);
SELECT uds_post_many('{}'), uds_post_many('{}', '{}'), uds_resolve_many('{}', '{}'),
       uds_update_many('{}', '{}'), uds_query_many('{}'), uds_peek_many('{}'), uds_delete_many('{}');
SELECT uds_post_many(ARRAY[NULL, sha256('l'), NULL, sha256('l')], ARRAY['1', '2', '3', '4']::bytea[]);
SELECT uds_resolve_many(ARRAY[NULL, sha256('l'), NULL, sha256('m')], ARRAY['1', '2', '3', '4']::bytea[]);
SELECT uds_update_many(ARRAY[NULL, sha256('l')], ARRAY['1', '5']::bytea[]);
SELECT uds_query_many(ARRAY[NULL, sha256('l'), sha256('unknown'), sha256('m')]);
SELECT uds_peek_many(ARRAY[sha256('l'), NULL]), uds_delete_many(ARRAY[NULL, sha256('l')]);
SELECT uds_post_many('{NULL,NULL}'), uds_query_many('{NULL}');

-- metadata for a NULL digest is not looked at
SELECT uds_post_many(ARRAY[NULL]::bytea[], ARRAY['longer than 16 bytes']::bytea[]);

-- lower bound 1, whatever the bounds of the input
SELECT uds_post_many(('[5:6]={"\\x' || repeat('01', 16) || '","\\x' || repeat('02', 16) || '"}')::bytea[],
                     '[-3:-2]={"\\x01","\\x02"}');
SELECT uds_peek_many(('[5:7]={"\\x' || repeat('01', 16) || '",NULL,"\\x' || repeat('02', 16) || '"}')::bytea[]);

-- table form
SELECT * FROM uds_request_many('post', ARRAY[sha256('n'), NULL, sha256('n'), sha256('o')],
                               ARRAY['1', '2', '3', '4']::bytea[]);
SELECT * FROM uds_request_many('update', ARRAY[sha256('n'), sha256('p')], ARRAY['5', '6']::bytea[]);
SELECT * FROM uds_request_many('query', ARRAY[sha256('n'), sha256('unknown')]);
SELECT * FROM uds_request_many('peek', ARRAY[sha256('n'), sha256('unknown')], NULL);
SELECT * FROM uds_request_many('delete', ARRAY[sha256('n'), sha256('n'), NULL]);
SELECT * FROM uds_request_many('post', NULL);
SELECT * FROM uds_request_many(NULL, ARRAY[sha256('n')]);
SELECT * FROM uds_request_many('post', '{}');
SELECT * FROM uds_request_many('post', '{}', '{}');
SELECT op, r.* FROM unnest(enum_range(NULL::uds_operation)) WITH ORDINALITY AS o (op, position),
	LATERAL uds_request_many(op, ARRAY[sha256('q')]) AS r ORDER BY position;

-- arguments have names
SELECT uds_post_many(digests => ARRAY[sha256('r')], metadata => ARRAY['1']::bytea[]),
       uds_resolve_many(digests => ARRAY[sha256('r')], metadata => NULL),
       uds_update_many(digests => ARRAY[sha256('r')], metadata => ARRAY['2']::bytea[]),
       uds_query_many(digests => ARRAY[sha256('r')]),
       uds_peek_many(digests => ARRAY[sha256('r')]),
       uds_delete_many(digests => ARRAY[sha256('r')]);
SELECT * FROM uds_request_many(op => 'post', digests => ARRAY[sha256('r')], metadata => ARRAY['3']::bytea[]);

-- a bad element: nothing is sent, not even what stands before it
SELECT uds_post_many(ARRAY[sha256('s'), '\x01', sha256('t')]);
SELECT uds_post_many(ARRAY[sha256('s'), sha256('t')], ARRAY['1', 'longer than 16 bytes']::bytea[]);
SELECT * FROM uds_request_many('post', ARRAY[sha256('s'), NULL, '']);
SELECT uds_peek_many(ARRAY[sha256('s'), sha256('t')]);

-- far more than fits the queues or a piece of work: 100000 digests, every third unknown, every tenth NULL
CREATE TEMP TABLE many AS
	SELECT i, CASE WHEN i % 10 <> 0 THEN sha256(int4send(i)) END AS digest, int4send(i) AS metadata
	FROM generate_series(1, 100000) AS i;
SELECT cardinality(result), count(*) FILTER (WHERE NOT found) AS new, count(*) FILTER (WHERE found) AS found,
       count(*) FILTER (WHERE found IS NULL) AS unknown
	FROM (SELECT uds_post_many(array_agg(digest ORDER BY i), array_agg(metadata ORDER BY i)) AS result
	      FROM many WHERE i % 3 <> 0) AS p, unnest(result) AS found GROUP BY 1;
SELECT count(*) AS wrong
	FROM (SELECT uds_peek_many(array_agg(digest ORDER BY i)) AS result FROM many) AS p,
	     unnest(result) WITH ORDINALITY AS r (metadata, i) JOIN many USING (i)
	WHERE r.metadata IS DISTINCT FROM
	      CASE WHEN i % 3 <> 0 AND digest IS NOT NULL THEN many.metadata || '\x000000000000000000000000' END;
SELECT count(*), count(found), count(*) FILTER (WHERE found) AS found, min(ordinality), max(ordinality)
	FROM uds_request_many('query', (SELECT array_agg(digest ORDER BY i) FROM many));
SELECT bool_and(result IS NOT DISTINCT FROM CASE WHEN digest IS NOT NULL THEN i % 3 <> 0 END) AS right
	FROM (SELECT uds_delete_many(array_agg(digest ORDER BY i)) AS results FROM many) AS d,
	     unnest(results) WITH ORDINALITY AS r (result, i) JOIN many USING (i);
SELECT count(*) FROM (SELECT uds_peek_many(array_agg(digest)) AS result FROM many) AS p, unnest(result) AS m
	WHERE m IS NOT NULL;
