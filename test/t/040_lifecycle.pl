# An administrator can suspend, resume, rebuild and verify the index in every state; requests wait
# meanwhile, can be cancelled, and are answered in the end; a copy of the files of a suspended index
# opens with everything.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;

my $node = uds_cluster('lifecycle', 'uds.zones = 2', 'uds.page_cache = 64kB');
my $directory = uds_directory($node);
$node->start;
uds_prepare($node);
my $posted = 3 * $chapter + 500;
uds_post_range($node, 'kept', 1, $posted);

sub is_kept
{
	my ($name) = @_;

	is(join(', ', uds_count_answers($node, 'kept', 1, $posted)), "$posted, 0", $name);
}

sub run_fails_with
{
	my ($statement, $expected, $name) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $statement);

	isnt($status, 0, "$name: fails");
	like($stderr, $expected, $name);
}

sub command
{
	my ($statement) = @_;

	return $node->safe_psql('postgres', "SELECT $statement");
}

# ---- online and suspended -----------------------------------------------------------------------

for my $save ('true', 'false')
{
	command("uds_suspend($save)");
	is(uds_state($node), 'suspended', "suspended, save $save");
	command("uds_suspend($save)");
	is(uds_state($node), 'suspended', 'suspending it again changes nothing');

	run_fails_with("SET statement_timeout = '200ms'; SELECT uds_peek(digest_of('kept', 1))",
		qr/canceling statement due to statement timeout/, 'a request waits, until its timeout');
	run_fails_with("SET uds.wait_timeout = '200ms'; SELECT uds_peek(digest_of('kept', 1))",
		qr/uds did not answer within "uds.wait_timeout"/, 'and until uds.wait_timeout');
	run_fails_with('SELECT uds_rebuild()', qr/index is suspended/, 'a suspended index is not rebuilt');
	is(command('count(*) FROM uds_verify()'), 0, 'but verified');
	is(command('count(*) > 0 FROM uds_chapters'), 't', 'and its chapters are listed');

	my $session = uds_session($node);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	for my $end ("pg_cancel_backend($pid)", 'uds_resume()')
	{
		$session->query_until(qr/asking/, "\\echo asking\nSELECT uds_peek(digest_of('kept', 7));\n");
		$node->poll_query_until('postgres',
			"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
		  or die 'the request does not wait';
		command($end);
		next if $end eq 'uds_resume()';
		$session->query('SELECT 1');
		like($session->{stderr}, qr/canceling statement due to user request/, 'or until it is cancelled');
		$session->{stderr} = '';
	}
	like($session->query_safe('SELECT 1'), qr/^\\x0000000000000007/m,
		'a waiting request is answered after the resume');
	$session->quit;
	is(uds_state($node), 'online', 'resumed');
	is_kept("nothing is lost, save $save");
}
command('uds_resume()');
is(uds_state($node), 'online', 'resuming an index that runs changes nothing');

# Requests in flight while it is suspended and resumed many times.
my $session = uds_session($node);
$session->query_until(qr/started/,
	"\\echo started\nSELECT 'seen ' || post_range('busy', 1, 200000);\n");
for my $round (1 .. 20)
{
	command('uds_suspend(' . ($round % 2 ? 'true' : 'false') . ')');
	command('uds_resume()');
}
like($session->query_safe('SELECT 1'), qr/^seen 0$/m, 'a load goes on through suspensions');
$session->quit;
is(join(', ', uds_count_answers($node, 'busy', 1, 200000)), '200000, 0', 'all of it is there');
is(command('count(*) FROM uds_verify()'), 0, 'and nothing is wrong on the volume');

# ---- a worker that restarts while it is suspended ---------------------------------------------------

command('uds_suspend()');
for my $worker ('uds chapter writer', 'uds zone 0', 'uds reader 0')
{
	my $pid = uds_worker_pid($node, $worker);

	kill 'TERM', $pid;
	uds_wait_for_other_pid($node, $worker, $pid);
	is(uds_state($node), 'suspended', "still suspended after a restart of $worker");
}
command('uds_resume()');
is_kept('resumed by another writer');

# ---- a copy of the files ------------------------------------------------------------------------------

command('uds_suspend()');
my $copy = $node->data_dir . '/../uds_copy';
PostgreSQL::Test::RecursiveCopy::copypath($directory, $copy);
command('uds_resume()');
uds_post_range($node, 'later', 1, 100);
$node->stop;
rename($directory, "$directory.original") or die $!;
rename($copy, $directory) or die $!;
$node->start;
uds_wait_for_state($node, 'online');
is_kept('the copy opens with everything');
is(uds_count_known($node, 'later', 1, 100), 0, 'and without what came later');
is(command('count(*) FROM uds_verify()'), 0, 'the copy is sound');

# ---- server stop while it is suspended -----------------------------------------------------------------

for my $save ('true', 'false')
{
	# in no save yet
	uds_post_range($node, "stop $save", 1, 300);
	command("uds_suspend($save)");
	$node->restart;
	uds_wait_for_state($node, 'online');
	is_kept("a suspended index is saved at the stop, save $save");
	is(join(', ', uds_count_answers($node, "stop $save", 1, 300)),
		'300, 0', "with what was stored last, save $save");
}
command('uds_suspend()');
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is_kept('a crash of a suspended and saved index loses nothing');

# ---- rebuild ---------------------------------------------------------------------------------------------

command('uds_rebuild()');
is(uds_state($node), 'online', 'rebuilt');
is_kept('a rebuild loses nothing');
$session = uds_session($node);
$session->query_until(qr/started/,
	"\\echo started\nSELECT 'seen ' || post_range('rebuilt', 1, 100000);\n");
command('uds_rebuild()') for 1 .. 5;
like($session->query_safe('SELECT 1'), qr/^seen 0$/m, 'a load goes on through rebuilds');
$session->quit;
is(join(', ', uds_count_answers($node, 'rebuilt', 1, 100000)), '100000, 0', 'all of it is there');

# ---- recovery ----------------------------------------------------------------------------------------------

# The writer is asked to suspend while it opens the index: whichever comes first, it ends suspended.
for my $round (1 .. 5)
{
	uds_kill_and_start($node);
	command('uds_suspend()');
	like(uds_state($node), qr/^suspended/, 'suspended right after a crash');
	command('uds_resume()');
	is(uds_state($node), 'online', 'and recovered when it is resumed');
}
is(join(', ', uds_count_answers($node, 'busy', 1, 150000)), '150000, 0', 'sealed chapters are there');

# ---- verify ----------------------------------------------------------------------------------------------------

my ($number, $place) = split /\|/,
  $node->safe_psql('postgres', 'SELECT chapter, place FROM uds_chapters ORDER BY chapter LIMIT 1');
my $pages = $node->safe_psql('postgres', q{
	SELECT ((pg_stat_file('uds/volume')).size / 4096 - 1) / (max(place) + 1) FROM uds_chapters});
open(my $file, '+<:raw', "$directory/volume") or die $!;
seek($file, (1 + $place * $pages + 9) * 4096 + 200, 0) or die $!;
print $file 'damage' or die $!;
close($file) or die $!;
is($node->safe_psql('postgres', 'SELECT chapter, place, page, problem FROM uds_verify()'),
	"$number|$place|9|record page is damaged", 'a damaged page is named');
$session = uds_session($node);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
is($node->safe_psql('postgres', "SET statement_timeout = '60s'; SELECT count(*) FROM uds_verify()"),
	1, 'verifying is a statement like others');
$session->quit;

# ---- offline -----------------------------------------------------------------------------------------------------

$node->stop;
rename("$directory/control", "$directory/control.away") or die $!;
$node->start;
uds_wait_for_state($node, 'offline');
run_fails_with('SELECT uds_suspend()', qr/index is offline/, 'suspend while it is offline');
run_fails_with('SELECT uds_rebuild()', qr/index is offline/, 'rebuild while it is offline');
run_fails_with('SELECT uds_resume()', qr/control file is missing/, 'resume tries to open it again');
is(command('count(*) FROM uds_chapters'), 0, 'no chapters are known');
rename("$directory/control.away", "$directory/control") or die $!;
command('uds_resume()');
is(uds_state($node), 'online', 'with its files back it is online without a restart');
is(join(', ', uds_count_answers($node, 'busy', 1, 150000)), '150000, 0', 'and everything is there');

$node->stop;
done_testing();
