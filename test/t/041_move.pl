# uds_move() takes the files of a running index to another directory, under load and in each state:
# every answer stays right, a crash goes on in the new place, and the next start refuses the old
# one with the setting that it needs.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;

my $node = uds_cluster('move', 'uds.zones = 2', 'uds.read_workers = 2', 'uds.page_cache = 64kB',
	'restart_after_crash = on');
my $first = uds_directory($node);
my $base = PostgreSQL::Test::Utils::tempdir;
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

# What the caller is told, when it succeeds.
sub move_to
{
	my ($directory) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', "SELECT uds_move('$directory')");

	is($status, 0, "moved to $directory") or diag($stderr);
	return $stderr;
}

# Plain names of the files in a directory.
sub files_of
{
	my ($directory) = @_;

	return join(' ', sort(grep { !/^\./ } PostgreSQL::Test::Utils::slurp_dir($directory)));
}

sub set_directory
{
	my ($directory) = @_;

	$node->append_conf('postgresql.conf', "uds.directory = '$directory'");
}

# ---- names and places that are refused ----------------------------------------------------------

mkdir("$base/full") or die $!;
PostgreSQL::Test::Utils::append_to_file("$base/full/somebody", "else's");
run_fails_with("SELECT uds_move('$base/full')",
	qr/directory "\Q$base\E\/full" is not empty\nHINT:  Name a directory that is absent or empty/,
	'a directory that is not empty');
is(files_of("$base/full"), 'somebody', 'it is left as it was');
run_fails_with("SELECT uds_move('$base/absent/below')",
	qr/could not create directory "\Q$base\E\/absent\/below": No such file or directory/,
	'one without a parent');
mkdir("$base/closed") or die $!;
chmod(0500, "$base/closed") or die $!;
SKIP:
{
	skip 'root may write everywhere', 3 if $> == 0;
	run_fails_with("SELECT uds_move('$base/closed')",
		qr/could not open file "\Q$base\E\/closed\/lock": Permission denied/, 'one without permission');
	is(files_of("$base/closed"), '', 'nothing is in it');
}
run_fails_with("SELECT uds_move('')", qr/name of the directory is empty/, 'no name');
run_fails_with("SELECT uds_move('" . 'x' x 224 . "')",
	qr/name of the directory is longer than 223 bytes/, 'too long a name');
run_fails_with("SELECT uds_move('uds')", qr/directory "uds" is not empty/, 'where the files are');
is($node->psql('postgres', 'SELECT uds_move(NULL)'), 0, 'NULL is no directory');
is(uds_state($node), 'online', 'still online');
is_kept('and everything is where it was');

# ---- privileges -----------------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	CREATE ROLE mover;
	CREATE ROLE writer IN ROLE pg_write_server_files;
	GRANT EXECUTE ON FUNCTION uds_move(text) TO mover;});
run_fails_with("SET ROLE writer; SELECT uds_move('moved')",
	qr/permission denied for function uds_move/, 'a role without the grant');
run_fails_with("SET ROLE mover; SELECT uds_move('moved')",
	qr/privileges of the pg_write_server_files role/, 'a role that may not write files');
$node->safe_psql('postgres', 'GRANT pg_write_server_files TO mover');

# ---- under load ---------------------------------------------------------------------------------------

my @sessions = map { uds_session($node) } 0 .. 2;
for my $i (0 .. 2)
{
	$sessions[$i]->query_until(qr/started/,
		"\\echo started\nSELECT 'seen ' || post_range('load$i', 1, 40000);\n");
}
my ($status, undef, $stderr) =
  $node->psql('postgres', "SET ROLE mover; SELECT uds_move('moved/')");
is($status, 0, 'a role with both may move');
like($stderr, qr/WARNING:  the server was started with "uds.directory" = "uds"/,
	'it is told of the setting');
like($stderr, qr/HINT:  Set "uds.directory" to "moved" before its next start/, 'and what to do');
is(files_of($first), 'control lock', 'control and lock stay behind');
my $second = $node->data_dir . '/moved';
like(files_of($second), qr/^checkpoint\.\d control lock volume$/, 'the rest is in the new place');
is((stat($second))[2] & 07777, 0700, 'which nobody else can read');
is(uds_state($node), 'online', 'online');
# Away and on again, with a verification beside it.
my $verifier = uds_session($node);
for my $round (1 .. 4)
{
	my $directory = "$base/round$round";

	$verifier->query_until(qr/verifying/,
		"\\echo verifying\nSELECT 'problems ' || count(*) FROM uds_verify();\n");
	move_to($directory);
	like($verifier->query_safe('SELECT 1'), qr/^problems 0$/m, 'verified while it moves');
}
$verifier->quit;
for my $i (0 .. 2)
{
	like($sessions[$i]->query_safe('SELECT 1'), qr/^seen 0$/m, 'a load goes on through moves');
	$sessions[$i]->quit;
	is(join(', ', uds_count_answers($node, "load$i", 1, 40000)), '40000, 0', 'all of it is there');
}
is_kept('and what was there before');
is(command('count(*) FROM uds_verify()'), 0, 'nothing is wrong on the volume');
is(command('bad_pages FROM uds_stats'), 0, 'no page was bad');
is(files_of($second), 'control lock', 'the places on the way are left');
is(command(q{bool_and(fits) FROM uds_settings_check() WHERE item = 'disk_space'}), 't',
	'the check looks at the new place');
my $present = "$base/round4";

# ---- workers and crashes afterwards ------------------------------------------------------------------

for my $worker ('uds chapter writer', 'uds zone 1', 'uds reader 0')
{
	my $pid = uds_worker_pid($node, $worker);

	kill 'TERM', $pid;
	uds_wait_for_other_pid($node, $worker, $pid);
	is_kept("after a restart of $worker");
}
command('uds_checkpoint()');
my $victim = uds_session($node);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
my $offset = -s $node->logfile;
kill 'KILL', $pid;
uds_wait_for_crash_restart($node, $offset);
$victim->{run}->finish;
uds_wait_for_state($node, 'online');
is_kept('a crash of a process goes on in the new place');
is(files_of($first), 'control lock', 'and not in the old one');

# ---- restarts -------------------------------------------------------------------------------------------

$node->restart;
uds_wait_for_state($node, 'offline');
is(uds_state($node), 'offline: files were moved to "moved"',
	'without the setting the next start says where they are');
run_fails_with("SELECT uds_peek(digest_of('kept', 1))",
	qr/files were moved to "moved"\nHINT:  Set "uds.directory" to "moved"/, 'so do requests');
run_fails_with('SELECT uds_move(\'elsewhere\')', qr/index is not online\nDETAIL:  It is offline/,
	'what is offline is not moved');
# Each place leads to the next one.
set_directory('moved');
$node->restart;
uds_wait_for_state($node, 'offline');
is(uds_state($node), "offline: files were moved to \"$base/round1\"", 'the way goes on');
set_directory($present);
$node->restart;
uds_wait_for_state($node, 'online');
is_kept('with the setting everything is there');
is(join(', ', uds_count_answers($node, 'load1', 1, 40000)), '40000, 0', 'all of it');
# ---- suspended --------------------------------------------------------------------------------------------

for my $save ('true', 'false')
{
	command("uds_suspend($save)");
	my $waiting = uds_session($node);
	my $waiting_pid = $waiting->query_safe('SELECT pg_backend_pid()');
	$waiting->query_until(qr/asking/, "\\echo asking\nSELECT uds_peek(digest_of('kept', 7));\n");
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $waiting_pid")
	  or die 'the request does not wait';
	move_to("$base/suspended_$save");
	is(uds_state($node), 'suspended', "still suspended, save $save");
	run_fails_with("SET uds.wait_timeout = '200ms'; SELECT uds_peek(digest_of('kept', 1))",
		qr/uds did not answer within "uds.wait_timeout"/, 'requests still wait');
	command('uds_resume()');
	like($waiting->query_safe('SELECT 1'), qr/^\\x0000000000000007/m, 'and go on in the new place');
	$waiting->quit;
	is_kept("nothing is lost, save $save");
	$present = "$base/suspended_$save";
}

# Back to where the setting says: there is nothing to tell.
$node->stop;
set_directory($present);
$node->start;
uds_wait_for_state($node, 'online');
move_to("$base/away");
unlink("$present/control", "$present/lock");
is(move_to($present), '', 'back in the place of the setting nothing needs to be told');

# ---- another server, another index --------------------------------------------------------------------------

# A copy of the control file does not make the old place usable.
my $other = uds_cluster('other', "uds.directory = '$present'");
$other->start;
uds_prepare($other);
uds_wait_for_state($other, 'offline');
like(uds_state($other), qr/locked by another process/, 'the new place is in use');
$other->stop;
$other->append_conf('postgresql.conf', "uds.directory = '$base/away'");
$other->start;
uds_wait_for_state($other, 'offline');
like(uds_state($other), qr/files belong to another server/, 'the old one is not theirs');
$other->stop;
is_kept('the first server has not noticed');

# ---- kill -9 of the whole server right after it -----------------------------------------------------------------

uds_post_range($node, 'late', 1, 5000);
move_to("$base/late");
set_directory("$base/late");
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is(join(', ', uds_count_answers($node, 'late', 1, 5000)), '5000, 0',
	'what was posted before a move survives a crash after it');

$node->stop;

# ---- a full disk -------------------------------------------------------------------------------------------------

SKIP:
{
	my $reason = uds_why_no_faults();
	skip $reason, 14 if defined $reason;

	my $full = uds_cluster('full', 'uds.page_cache = 64kB');
	uds_set_faults($full);
	uds_with_faults($full, sub { $full->start });
	uds_prepare($full);
	uds_post_range($full, 'kept', 1, 5 * $chapter);

	# One that takes long is undone when its caller gives up.
	uds_set_faults($full, [ 'slow', 'pgdata/uds/volume', 1_000_000 ]);
	my (undef, undef, $cancelled) = $full->psql('postgres',
		"SET statement_timeout = '300ms'; SELECT uds_move('$base/given_up')");
	like($cancelled, qr/canceling statement due to statement timeout/, 'a move can be cancelled');
	ok($full->poll_query_until('postgres', q{
		SELECT query <> 'moving the files' FROM pg_stat_activity
		WHERE backend_type = 'uds chapter writer'}), 'and ends');
	ok(!-e "$base/given_up", 'without a trace');

	# Else it is seen, holds requests, and ends with the server.
	my $mover = uds_session($full);
	$mover->query_until(qr/moving/, "\\echo moving\nSELECT uds_move('$base/slow');\n");
	ok($full->poll_query_until('postgres', q{
		SELECT count(*) = 1 FROM uds_progress
		WHERE phase = 'moving files' AND unit = 'bytes' AND done > 0 AND done < total}),
		'a move is seen in uds_progress');
	is($full->safe_psql('postgres',
		"SELECT query FROM pg_stat_activity WHERE backend_type = 'uds chapter writer'"),
		'moving the files', 'and in pg_stat_activity');
	my ($waited, undef, $told) = $full->psql('postgres',
		"SET uds.wait_timeout = '10ms'; SELECT uds_peek(digest_of('kept', 1))");
	like($told, qr/uds did not answer within "uds.wait_timeout"/, 'requests wait meanwhile');
	$full->stop('fast');
	$mover->{run}->finish;
	ok(!-e "$base/slow", 'a move that a stop has ended leaves no trace');
	uds_set_faults($full);
	uds_with_faults($full, sub { $full->start });
	uds_wait_for_state($full, 'online');
	is(join(', ', uds_count_answers($full, 'kept', 1, 5 * $chapter)), 5 * $chapter . ', 0',
		'nothing is lost');
	uds_set_faults($full, [ 'write', 'pgdata/uds/volume', 'ENOSPC' ],
		[ 'write', 'pgdata/uds/checkpoint.0', 'ENOSPC' ],
		[ 'write', 'pgdata/uds/checkpoint.1', 'ENOSPC' ]);
	my ($result) = $full->psql('postgres', "SELECT post_range('more', 1, 20 * $chapter)");
	isnt($result, 0, 'posts fail when the disk is full');
	like(uds_state($full), qr/^read only/, 'read only');
	my ($known) = uds_count_answers($full, 'more', 1, 20 * $chapter);
	is($full->psql('postgres', "SELECT uds_move('$base/roomy')"), 0, 'the files can be moved off it');
	is(uds_state($full), 'online', 'online again');
	is(join(', ', uds_count_answers($full, 'more', 1, 20 * $chapter)), "$known, 0",
		'what could not be written is there');
	uds_post_range($full, 'after', 1, 2 * $chapter);
	$full->append_conf('postgresql.conf', "uds.directory = '$base/roomy'");
	uds_with_faults($full, sub { $full->restart });
	uds_wait_for_state($full, 'online');
	is(join(', ', uds_count_answers($full, 'after', 1, 2 * $chapter)), 2 * $chapter . ', 0',
		'and it goes on there');
	$full->stop;
}

done_testing();
