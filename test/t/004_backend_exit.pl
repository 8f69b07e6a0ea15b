# A session that is cancelled, times out or dies in the middle of a request harms neither itself
# nor others; slots come back, and more sessions than slots are refused.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $slots = 4;

my $node = uds_cluster('backends', "uds.max_sessions = $slots");
$node->start;
uds_prepare($node);
uds_post_range($node, 'known', 1, 1000);

# 500 known digests and 500 unknown ones, one request after the other.
my $wrong_answers = q{
	SELECT count(*) FROM (
		SELECT number, uds_peek(digest_of(CASE WHEN number % 2 = 0 THEN 'known' ELSE 'unknown' END,
		                                  number)) metadata
		FROM generate_series(1, 1000) number) answers
	WHERE metadata IS DISTINCT FROM CASE WHEN number % 2 = 0 THEN metadata_of(number) END};

# A stopped zone worker leaves every request unanswered.
my $zone = uds_worker_pid($node, 'uds zone 0');
my $is_waiting = q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE pid = %d AND state = 'active' AND wait_event_type = 'Extension'};

# ---- statement_timeout and cancel -----------------------------------------------------------

my $session = uds_session($node);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
is($session->query_safe("SELECT uds_peek(digest_of('known', 1)) = metadata_of(1)"),
	't', 'the session has its channel');

kill 'STOP', $zone;
# More than two: the third finds two of cancelled statements in flight.
for my $try (1 .. 4)
{
	my (undef, $failed) = $session->query(
		"SET statement_timeout = '200ms'; SELECT uds_post(digest_of('cancelled', $try))");
	like($session->{stderr}, qr/statement timeout/, "statement_timeout ends request $try");
	$session->{stderr} = '';
}
$session->query('RESET statement_timeout');
is( $node->safe_psql('postgres',
		"SELECT in_flight, requests, waits > 0 FROM uds_sessions WHERE pid = $pid"),
	'2|3|t', 'uds_sessions shows what cancelled statements have left in flight');
$session->query_until(qr/started/,
	"\\echo started\nSELECT post_range('cancelled', 1, 3000);\n");
$node->poll_query_until('postgres', sprintf($is_waiting, $pid));
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$session->query('SELECT 1');
like($session->{stderr}, qr/user request/, 'pg_cancel_backend ends a batch');
$session->{stderr} = '';

$session->query("SET uds.wait_timeout = '100ms'");
$session->query("SELECT uds_post(digest_of('cancelled', 9))");
like($session->{stderr}, qr/did not answer within "uds.wait_timeout"/,
	'uds.wait_timeout ends a request');
$session->{stderr} = '';
$session->query("RESET uds.wait_timeout");
kill 'CONT', $zone;

is($session->query_safe($wrong_answers), 0, '1000 right answers follow in the same session');
is($session->query_safe('SELECT in_flight FROM uds_sessions WHERE pid = pg_backend_pid()'),
	0, 'nothing is in flight then');
is($session->query_safe("SELECT post_range('later', 1, 3000)"), 0, 'and batches of new digests');
is($session->query_safe("SELECT post_range('later', 1, 3000)"), 3000, 'that are found again');

# Cancelled while the worker runs: at any moment of a request.
for my $try (1 .. 50)
{
	my $timeout = 1 + $try % 5;

	$session->query("SET statement_timeout = '${timeout}ms'; "
		  . "SELECT post_range('any$try', 1, 100000)");
	$session->query('RESET statement_timeout');
	$session->{stderr} = '';
	my $wrong = $session->query("SELECT count(*) FROM answers_of('any$try', 1, 100) "
		  . "WHERE metadata <> metadata_of(number)");
	$wrong eq '0' or fail("answers after cancel $try are wrong: $wrong");
}
is($session->query_safe($wrong_answers), 0, 'right answers after 50 cancelled batches');

# ---- backends that die --------------------------------------------------------------------------

for my $try (1 .. 3 * $slots)
{
	my $victim = uds_session($node);
	my $victim_pid = $victim->query_safe('SELECT pg_backend_pid()');

	$victim->query_safe("SELECT uds_peek(digest_of('known', 1))");
	$zone = uds_worker_pid($node, 'uds zone 0');
	kill 'STOP', $zone;
	$victim->query_until(qr/started/,
		"\\echo started\nSELECT post_range('victim$try', 1, 3000);\n");
	$node->poll_query_until('postgres', sprintf($is_waiting, $victim_pid));
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($victim_pid, 10000)") eq 't'
	  or fail("backend $try does not end in the middle of a request");
	kill 'CONT', $zone;
	$victim->{run}->finish;
}
pass((3 * $slots) . ' backends ended in the middle of a request');
is($session->query_safe($wrong_answers), 0, 'a session beside them goes on');
is($node->safe_psql('postgres', $wrong_answers), 0, 'a new session finds a slot');

# ---- more sessions than slots --------------------------------------------------------------------

my @others = map { uds_session($node) } 2 .. $slots;
is($_->query_safe("SELECT uds_peek(digest_of('known', 2)) = metadata_of(2)"), 't', 'a slot each')
  for @others;
is($node->safe_psql('postgres', 'SELECT count(*), min(slot), max(slot) FROM uds_sessions'),
	"$slots|0|" . ($slots - 1), 'uds_sessions shows all slots');
my ($status, undef, $stderr) =
  $node->psql('postgres', "SELECT uds_peek(digest_of('known', 2))");
like($stderr, qr/too many sessions use uds already/, 'one more session is refused');
like($stderr, qr/uds\.max_sessions/, 'with a hint');
is($node->safe_psql('postgres', 'SELECT state FROM uds_stats'),
	'online', 'statistics need no slot');
(pop @others)->quit;
$node->poll_query_until('postgres',
	"SELECT count(*) = $slots FROM pg_stat_activity "
	  . "WHERE backend_type = 'client backend'");
is($node->safe_psql('postgres', $wrong_answers), 0, 'a slot that was given back is used');

# Slots that wait for the worker to let go of them: the claim waits a moment, too.
$_->quit for @others;
$session->quit;
for my $try (1 .. 10 * $slots)
{
	my $answer = $node->safe_psql('postgres',
		"SELECT uds_peek(digest_of('known', $try)) = metadata_of($try)");
	$answer eq 't' or fail("session $try of many short ones has a wrong answer");
}
pass('many short sessions');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM uds_sessions'),
	'no slot is left behind');

ok(!$node->log_contains('PANIC|terminated by signal'), 'the log is clean');
$node->stop;
done_testing();
