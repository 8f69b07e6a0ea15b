# Workers that are terminated come back, while sessions go on without an error, a lost request, or
# an answer "seen before" for a digest that nobody has posted.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $rounds = $ENV{UDS_RESTART_ROUNDS} // 100;
my $session_count = 8;

my $node = uds_cluster('workers', 'uds.memory = 32MB', 'uds.zones = 2');
$node->start;
uds_prepare($node);

# Posts distinct digests, alone and in batches, until it is told to stop; then checks them all.
$node->safe_psql('postgres', q{
	CREATE TABLE stop (at timestamptz);
	CREATE PROCEDURE work(word text, INOUT posted bigint) LANGUAGE plpgsql AS $$
	DECLARE
		seen bigint;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM stop) LOOP
			FOR i IN 1 .. 5 LOOP
				posted := posted + 1;
				IF uds_post(digest_of(word, posted), metadata_of(posted)) THEN
					RAISE EXCEPTION 'digest % of % was never posted, but seen', posted, word;
				END IF;
			END LOOP;
			seen := post_range(word, posted + 1, posted + 40);
			IF seen > 0 THEN
				RAISE EXCEPTION '% of digests %.. of % were never posted, but seen',
					seen, posted + 1, word;
			END IF;
			posted := posted + 40;
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
});

my @sessions;
for my $number (1 .. $session_count)
{
	my $session = uds_session($node);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_until(qr/started/, "\\echo started\nCALL work('session$number', 0);\n");
	push @sessions, { psql => $session, pid => $pid };
}

my @workers = ('uds zone 0', 'uds zone 1', 'uds chapter writer', 'uds reader 0');
for my $round (1 .. $rounds)
{
	my %pid = map { $_ => uds_worker_pid($node, $_) } @workers;

	# One after the other in all orders, and both at the same time.
	for my $worker ($round % 2 ? @workers : reverse @workers)
	{
		kill 'TERM', $pid{$worker};
		uds_wait_for_other_pid($node, $worker, $pid{$worker}) if $round % 10 == 0;
	}
	uds_wait_for_other_pid($node, $_, $pid{$_}) for @workers;
}

$node->safe_psql('postgres', 'INSERT INTO stop VALUES (now())');
my $total = 0;
for my $number (1 .. $session_count)
{
	my $session = $sessions[$number - 1];

	# The result of CALL comes before that of the next query.
	my $output = $session->{psql}->query_safe("SELECT 'pid ' || pg_backend_pid()");
	my ($posted) = $output =~ /^(\d+)$/m;
	like($output, qr/^pid $session->{pid}$/m, "session $number was not reconnected");
	ok(defined $posted && $posted > 0, "session $number has posted without an error");
	$posted //= 0;
	is(uds_count_known($node, "session$number", 1, $posted),
		$posted, "none of the requests of session $number was lost");
	is(uds_count_wrong($node, "session$number", 1, $posted),
		0, "session $number has no wrong metadata");
	$total += $posted;
	$session->{psql}->quit;
}
note("$total digests posted in $rounds rounds");

ok(!$node->log_contains('PANIC|terminated by signal|may or may not'), 'the log is clean');
$node->stop;
done_testing();
