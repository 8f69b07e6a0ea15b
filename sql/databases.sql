-- Proves that two databases do not see each other's digests, though they share one index.

\set here :DBNAME
CREATE DATABASE regress_uds_other TEMPLATE template0;
SELECT uds_post(sha256('shared'), 'here'), uds_post(sha256('only here'), 'here');

\c regress_uds_other
CREATE EXTENSION uds;
SELECT uds_peek_many(ARRAY[sha256('shared'), sha256('only here')]);
SELECT uds_post(sha256('shared'), 'there');
SELECT uds_update(sha256('only here'), 'there');
SELECT encode(uds_peek(sha256('shared')), 'escape');
SELECT uds_delete(sha256('only here'));

\c :here
SELECT encode(m, 'escape') FROM unnest(uds_peek_many(ARRAY[sha256('shared'), sha256('only here')])) AS m;

-- a copy of a database does not carry its digests; a new name does not lose them
\c regress_uds_other
SELECT uds_delete(sha256('shared'));
SELECT uds_post(sha256('renamed'), 'kept');
\c :here
ALTER DATABASE regress_uds_other RENAME TO regress_uds_renamed;
CREATE DATABASE regress_uds_copy TEMPLATE regress_uds_renamed;
\c regress_uds_copy
SELECT uds_peek(sha256('renamed'));
\c regress_uds_renamed
SELECT encode(uds_peek(sha256('renamed')), 'escape');
\c :here
DROP DATABASE regress_uds_copy;
DROP DATABASE regress_uds_renamed;
