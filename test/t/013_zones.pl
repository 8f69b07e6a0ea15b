# Several zones: requests of a call take effect in order, a digest that many sessions post at the
# same time has exactly one winner, also while workers come and go, and databases are apart.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $session_count = 8;
my $contested = 50_000;    # six chapters of uds.memory = 4MB

# A cache of 16 pages: most duplicates of older chapters have to be read.
my $node =
  uds_cluster('zones', 'uds.page_cache = 64kB', 'max_worker_processes = 16', 'uds.zones = 4');
$node->start;
uds_prepare($node);
$node->safe_psql('postgres', q{
	CREATE TABLE answer (word text, session int, number bigint, seen boolean);
	-- Posts digests 1 .. last in an order of its own, a third of them alone, when all are ready.
	CREATE PROCEDURE contest(contest text, session int, last bigint) LANGUAGE plpgsql AS $$
	DECLARE
		numbers bigint[];
	BEGIN
		PERFORM pg_advisory_lock_shared(1);
		FOR numbers IN
			SELECT array_agg(number ORDER BY random())
			FROM generate_series(1, last) number
			GROUP BY number / 300
			ORDER BY (number / 300 + session * last / 6000) % (last / 300)
		LOOP
			INSERT INTO answer
				SELECT contest, session, number, seen
				FROM (SELECT array_agg(number ORDER BY place) numbers,
				             uds_post_many(array_agg(digest_of(contest, number) ORDER BY place),
				                           array_agg(metadata_of(number) ORDER BY place)) answers
				      FROM unnest(numbers[101:]) WITH ORDINALITY one(number, place)) posted,
				     unnest(posted.numbers, posted.answers) answer(number, seen);
			INSERT INTO answer
				SELECT contest, session, number,
				       uds_post(digest_of(contest, number), metadata_of(number))
				FROM unnest(numbers[:100]) number;
		END LOOP;
		PERFORM pg_advisory_unlock_shared(1);
	END $$;
});

# Let all sessions post the same digests; meanwhile is called while they do.
sub contest
{
	my ($word, $last, $meanwhile) = @_;
	my $starter = $node->background_psql('postgres');
	my @sessions = map { uds_session($node) } 1 .. $session_count;

	$starter->query_safe('SELECT pg_advisory_lock(1)');
	for my $number (1 .. $session_count)
	{
		$sessions[ $number - 1 ]->query_until(qr/started/,
			"\\echo started\nCALL contest('$word', $number, $last);\n");
	}
	$node->poll_query_until('postgres',
		"SELECT count(*) = $session_count FROM pg_stat_activity WHERE wait_event = 'advisory'");
	$starter->query_safe('SELECT pg_advisory_unlock(1)');
	$meanwhile->() if defined $meanwhile;
	for my $session (@sessions)
	{
		$session->query('SELECT 1');
		is($session->{stderr}, '', "$word: a session has no error");
		$session->quit;
	}
	$starter->quit;

	is($node->safe_psql('postgres', "SELECT count(*) FROM answer WHERE word = '$word'"),
		$session_count * $last, "$word: every post was answered");
	is($node->safe_psql('postgres',
			"SELECT count(*) FROM (SELECT FROM answer WHERE word = '$word' GROUP BY number "
			  . "HAVING count(*) FILTER (WHERE NOT seen) <> 1) number"),
		0, "$word: every digest has exactly one winner");
	is($node->safe_psql('postgres',
			"SELECT count(DISTINCT session) > 1 FROM answer WHERE word = '$word' AND NOT seen"),
		't', "$word: it was a contest");
	is(join(', ', uds_count_answers($node, $word, 1, $last)),
		"$last, 0", "$word: all are found, with the right metadata");
}

# ---- order within a call --------------------------------------------------------------------

# 4000 requests for 1000 digests in one call; metadata is the place in the array.
$node->safe_psql('postgres', q{
	CREATE TABLE request AS
		SELECT row_number() OVER (ORDER BY random()) place, number
		FROM generate_series(1, 1000) number, generate_series(1, 4) repetition;
	CREATE FUNCTION digests(word text) RETURNS bytea[]
		RETURN (SELECT array_agg(digest_of(word, number) ORDER BY place) FROM request);
	CREATE FUNCTION places() RETURNS bytea[]
		RETURN (SELECT array_agg(metadata_of(place) ORDER BY place) FROM request);
});
is($node->safe_psql('postgres', q{
		SELECT count(*)
		FROM (SELECT number, place, min(place) OVER (PARTITION BY number) first
		      FROM request) request
		JOIN unnest(uds_post_many(digests('order'), places())) WITH ORDINALITY answer(seen, place)
			USING (place)
		WHERE seen <> (place <> first)}),
	0, 'the first of equal digests is new, the others are not');
is($node->safe_psql('postgres', q{
		SELECT count(*)
		FROM (SELECT number, place, min(place) OVER (PARTITION BY number) first
		      FROM request) request
		JOIN unnest(uds_resolve_many(digests('resolve'), places()))
			WITH ORDINALITY answer(metadata, place) USING (place)
		WHERE metadata <> metadata_of(first)}),
	0, 'the first one says what their metadata is');
$node->safe_psql('postgres', q{SELECT uds_update_many(digests('order'), places())});
is($node->safe_psql('postgres', q{
		SELECT count(*)
		FROM (SELECT number, max(place) last FROM request GROUP BY number) request
		WHERE uds_peek(digest_of('order', number)) <> metadata_of(last)}),
	0, 'the last update counts');
is($node->safe_psql('postgres', q{
		SELECT count(*) FILTER (WHERE known) FROM unnest(uds_delete_many(digests('order'))) known}),
	1000, 'only the first delete finds a digest');
is($node->safe_psql('postgres', q{
		SELECT count(*) FROM unnest(uds_peek_many(digests('order'))) metadata
		WHERE metadata IS NOT NULL}),
	0, 'deleted ones are not found');

# ---- one winner -----------------------------------------------------------------------------

contest('4 zones', $contested);
is($node->safe_psql('postgres',
		'SELECT count(*), count(DISTINCT pid), min(requests) > 1000, min(records) > 1000 '
		  . 'FROM uds_zones'),
	'4|4|t|t', 'four workers have shared the work');
is($node->safe_psql('postgres',
		'SELECT (SELECT sum(records) FROM uds_zones) = (SELECT entries_indexed FROM uds_stats)'),
	't', 'they hold all entries together');
cmp_ok($node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats'),
	'>=', 6, 'chapters were closed by all of them');

# Two of the four zones and the writer at the same time, then each alone.
my $rounds = $ENV{UDS_ZONE_ROUNDS} // 2;
my @workers = ((map { "uds zone $_" } 0 .. 3), 'uds chapter writer');
my $terminated = 0;
contest(
	'restarts',
	2 * $contested,
	sub {
		for my $round (1 .. $rounds)
		{
			for my $group ([ @workers[ 0, 2, 4 ] ], [ @workers[ 1, 3 ] ], map { [$_] } @workers)
			{
				my %pid = map { $_ => uds_worker_pid($node, $_) } @$group;

				kill 'TERM', values %pid;
				uds_wait_for_other_pid($node, $_, $pid{$_}) for @$group;
				$terminated += @$group;
			}
		}
		cmp_ok(
			$node->safe_psql('postgres',
				"SELECT count(*) FROM pg_stat_activity "
				  . "WHERE query LIKE 'CALL%' AND state = 'active'"),
			'>', 0, "$terminated workers were terminated while sessions posted");
	});
is(uds_state($node), 'online', 'online after that');

for my $zones (2, 3)
{
	$node->append_conf('postgresql.conf', "uds.zones = $zones");
	$node->restart;
	uds_wait_for_state($node, 'online');
	is(join(', ', uds_count_answers($node, 'restarts', 1, 2 * $contested)),
		2 * $contested . ', 0', "everything is there with $zones zones");
	contest("$zones zones", 20_000);
}

# ---- pgbench --------------------------------------------------------------------------------

# A wrong answer is a division by zero.
my $script = PostgreSQL::Test::Utils::tempdir . '/resolve.sql';
append_to_file($script, q{
\set number random(1, 30000)
SELECT 1 / (uds_resolve(digest_of('bench', :number), metadata_of(:number))
            = metadata_of(:number))::int;
SELECT 1 / (uds_peek(digest_of('bench', :number)) = metadata_of(:number))::int;
});
for my $mode ('simple', 'prepared')
{
	my ($stdout, $stderr);
	my $succeeded = IPC::Run::run(
		[
			'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', $session_count, '-j', 2,
			'-t', 1000, '-M', $mode, '-f', $script, 'postgres'
		],
		'>', \$stdout, '2>', \$stderr);

	ok($succeeded, "pgbench, $mode") or diag($stderr);
	like($stdout, qr/number of transactions actually processed: 8000\/8000/,
		"pgbench, $mode: all transactions");
}

# ---- two databases --------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE other');
uds_prepare($node, 'other');
my $post = q{
	SELECT count(*) FILTER (WHERE seen)
	FROM unnest(uds_post_many((SELECT array_agg(digest_of('both', number) ORDER BY number)
	                           FROM generate_series(1, 5000) number),
	                          (SELECT array_agg(metadata_of(%d * number) ORDER BY number)
	                           FROM generate_series(1, 5000) number))) seen};
my $right = q{SELECT count(*) FROM generate_series(1, 5000) number
	WHERE uds_peek(digest_of('both', number)) = metadata_of(%d * number)};
is($node->safe_psql('postgres', sprintf($post, 1)), 0, 'new in one database');
is($node->safe_psql('other', sprintf($post, 2)), 0, 'as new in the other');
is($node->safe_psql('postgres', sprintf($right, 1)), 5000, 'each has its own metadata');
is($node->safe_psql('other', sprintf($right, 2)), 5000, 'the other as well');
$node->safe_psql('other', q{
	SELECT uds_delete_many(array_agg(digest_of('both', number)))
	FROM generate_series(1, 5000) number});
is($node->safe_psql('other', sprintf($right, 2)), 0, 'deleted in one');
is($node->safe_psql('postgres', sprintf($right, 1)), 5000, 'not in the other');
is($node->safe_psql('other', sprintf($post, 3)), 0, 'posted again');
$node->safe_psql('postgres', 'ALTER DATABASE other RENAME TO renamed');
is($node->safe_psql('renamed', sprintf($right, 3)), 5000, 'a renamed database keeps its digests');
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE renamed');
is($node->safe_psql('copied', sprintf($post, 4)), 0, 'a copy of a database has none of them');
is($node->safe_psql('renamed', sprintf($right, 3)), 5000, 'and takes none away');

ok(!$node->log_contains('PANIC|terminated by signal|TRAP|may or may not'), 'the log is clean');
$node->stop;
done_testing();
