# Processes that die at any point: the server starts anew and the index with it, what was sealed or
# saved is there.  Whoever waits for the index meanwhile can be cancelled, and is answered in the
# end.
use strict;
use warnings;

use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;

my $node = uds_cluster('failed', 'restart_after_crash = on',
	'uds.zones = 2', 'uds.page_cache = 64kB');
my $directory = uds_directory($node);
$node->start;
uds_prepare($node);
$node->safe_psql('postgres', q{
	-- Posts and asks for old digests, until the server goes away.
	CREATE PROCEDURE work(word text, base bigint) LANGUAGE plpgsql AS $$
	BEGIN
		FOR round IN 0 .. 1000000 LOOP
			PERFORM post_range(word, base + round * 50, base + round * 50 + 49);
			PERFORM count(metadata)
				FROM answers_of('saved', (round * 100) % 20000 + 1, (round * 100) % 20000 + 100);
			COMMIT;
		END LOOP;
	END $$;
});

# As many are known as expected, with the right metadata.
sub are_there
{
	my ($word, $expected, $name) = @_;

	is(join(', ', uds_count_answers($node, $word, 1, $expected)), "$expected, 0", $name);
}

# ---- SIGKILL under load ---------------------------------------------------------------------

uds_post_range($node, 'saved', 1, 3 * $chapter);
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
my $round = 0;
for my $victim ('uds zone 0', 'uds zone 1', 'uds chapter writer', 'a backend')
{
	my $word = 'round ' . ++$round;
	my @sessions = map { uds_session($node) } 1 .. 4;
	my $first_chapter = $node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats');
	my $log_start = -s $node->logfile;
	my $pid = $victim eq 'a backend'
	  ? $sessions[0]->query_safe('SELECT pg_backend_pid()')
	  : uds_worker_pid($node, $victim);

	for my $number (0 .. 3)
	{
		$sessions[$number]->query_until(qr/started/,
			"\\echo started\nCALL work('$word', " . (1 + 1_000_000 * $number) . ");\n");
	}
	$node->poll_query_until('postgres',
		"SELECT newest_chapter >= $first_chapter + 2 FROM uds_stats");
	kill 'KILL', $pid;
	uds_wait_for_crash_restart($node, $log_start);
	$_->{run}->finish for @sessions;
	uds_wait_for_state($node, 'online');
	are_there('saved', 3 * $chapter, "SIGKILL of $victim: what was saved is there");
	is( join(', ', map { (uds_count_answers($node, $word, 1 + 1_000_000 * $_,
					1_000_000 * $_ + 50_000))[1] } 0 .. 3),
		'0, 0, 0, 0', "SIGKILL of $victim: no wrong metadata");
	cmp_ok($node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats'),
		'>', $first_chapter, "SIGKILL of $victim: chapters sealed meanwhile are used");
	is(uds_post_range($node, "after $word", 1, 1000), 0, "SIGKILL of $victim: it takes digests");
	is(uds_post_range($node, "after $word", 1, 1000), 1000, "SIGKILL of $victim: and finds them");
}

# ---- a worker that has to go without an answer ----------------------------------------------

# With a stopped writer the zones get full.  A zone worker that is told to go waits for it some time
# and then leaves its requests: the index is failed, and is built anew from its files.
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
my $writer = uds_worker_pid($node, 'uds chapter writer');
my $zone = uds_worker_pid($node, 'uds zone 0');
my $lost = uds_session($node);
my $log_start = -s $node->logfile;
kill 'STOP', $writer;
$lost->query_until(qr/started/, "\\echo started\nSELECT post_range('lost', 1, 60000);\n");
$node->poll_query_until('postgres', 'SELECT bool_and(is_full) FROM uds_zones');
is($node->safe_psql('postgres', "SELECT uds_peek(digest_of('saved', 1)) = metadata_of(1)"),
	't', 'full zones answer what stores nothing');
kill 'TERM', $zone;

# ---- waiting for recovery: another server ---------------------------------------------------

# The save is a pipe that nobody writes to, so the index recovers until somebody does; a pipe cannot be
# read as a save is, and it has to do without.
my $slow = uds_cluster('slow', 'uds.accept_stale = on');
my $slow_directory = uds_directory($slow);
$slow->start;
uds_prepare($slow);
uds_post_range($slow, 'saved', 1, 3 * $chapter + 100);
$slow->stop;
my $control = slurp_file("$slow_directory/control");
my $save = "$slow_directory/checkpoint." . unpack('V', substr($control, 60, 4));
unlink $save or die "could not remove $save: $!";
POSIX::mkfifo($save, 0600) or die "could not create $save: $!";
$slow->start;

my $session = uds_session($slow);
my $waiting = uds_session($slow);
like(uds_state($slow), qr/^recovering/, 'recovering');
for my $call (
	"uds_post(digest_of('new', 1), metadata_of(1))",
	"uds_peek(digest_of('new', 1))",
	"post_range('new', 1, 1000)",
	'uds_checkpoint()')
{
	$session->query("SET statement_timeout = '100ms'; SELECT $call");
	like($session->{stderr}, qr/canceling statement due to statement timeout/,
		"statement_timeout ends $call");
	$session->{stderr} = '';
}
$session->query("RESET statement_timeout; SET uds.wait_timeout = '100ms'");
$session->query("\\set VERBOSITY verbose\nSELECT uds_post(digest_of('new', 1), metadata_of(1))");
like($session->{stderr}, qr/ERROR:  55P03: uds did not answer within "uds\.wait_timeout"/,
	'uds.wait_timeout ends a request');
like($session->{stderr}, qr/DETAIL:  Its state is recovering\.$/m,
	'and tells the state, not that it may have been executed');
$session->{stderr} = '';
$session->query('RESET uds.wait_timeout');
is($slow->safe_psql('postgres', 'SELECT count(*) FROM uds_zones'), 1, 'views answer');

# One is cancelled, one waits until the end.
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $is_waiting = "SELECT count(*) = %d FROM pg_stat_activity "
  . "WHERE state = 'active' AND wait_event_type = 'Extension' AND backend_type = 'client backend'";
$session->query_until(qr/started/, "\\echo started\nSELECT uds_post(digest_of('new', 2));\n");
$waiting->query_until(qr/started/,
	"\\echo started\nSELECT uds_post(digest_of('saved', 3 * $chapter - 5), metadata_of(0));\n");
$slow->poll_query_until('postgres', sprintf($is_waiting, 2));
$slow->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$session->query('SELECT 1');
like($session->{stderr}, qr/canceling statement due to user request/, 'a waiting post is cancelled');
$session->{stderr} = '';

# Workers that are terminated meanwhile come back, and the index does as well.
$zone = uds_worker_pid($slow, 'uds zone 0');
kill 'TERM', $zone;
uds_wait_for_other_pid($slow, 'uds zone 0', $zone);
like(uds_state($slow), qr/^recovering/, 'still recovering');

open(my $pipe, '>', $save) or die "could not open $save: $!";
close($pipe);
like($waiting->query('SELECT 2'), qr/^t$/m, 'who has waited is answered: it is known');
uds_wait_for_state($slow, 'online');
is(join(', ', uds_count_answers($slow, 'saved', 1, 3 * $chapter)),
	3 * $chapter . ', 0', 'sealed digests are there without the save');
is($slow->safe_psql('postgres',
		"SELECT count(metadata) FROM answers_of('new', 1, 1000)"),
	0, 'posts that were not sent have stored nothing');
is($session->query_safe("SELECT post_range('new', 1, 1000)"), 0, 'their sessions go on');
$_->quit for $session, $waiting;
$slow->stop;

# ---- back to the zone worker that left ------------------------------------------------------

$node->wait_for_log(
	qr/uds failed and is going to be rebuilt: worker of zone 0 died inside a request/, $log_start);
like(uds_state($node), qr/^failed: worker of zone 0 died inside a request/, 'failed, with a reason');
kill 'CONT', $writer;
uds_wait_for_state($node, 'online');
$lost->query('SELECT 1');
like($lost->{stderr}, qr/worker of uds zone 0 went away before it answered/,
	'its session learns that it may not be answered');
like($lost->{stderr}, qr/requests may or may not have been executed/, 'with that detail');
$lost->{stderr} = '';
are_there('saved', 3 * $chapter, 'rebuilt from its files: what was saved is there');
is((uds_count_answers($node, 'lost', 1, 60_000))[1], 0, 'and nothing has wrong metadata');
is($lost->query_safe("SELECT post_range('later', 1, 20000)"), 0, 'the session goes on');
is($lost->query_safe("SELECT post_range('later', 1, 20000)"), 20_000, 'with right answers');
is(uds_worker_pid($node, 'uds chapter writer'),
	$writer, 'the server was not started anew for that');
$lost->quit;
$node->stop;
done_testing();
