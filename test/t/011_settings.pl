# Settings: other sizes are refused and change nothing, other zones lose nothing, wrong values say
# so, files can be elsewhere but never belong to two servers; save, reset and statistics.
use strict;
use warnings;

use Digest::SHA;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $count = 20_000;

my $node = uds_cluster('settings', 'max_worker_processes = 30', 'restart_after_crash = on');
my $directory = uds_directory($node);
my $post = "SELECT uds_post(digest_of('some', 1), metadata_of(1))";

# Restart with more lines of configuration.
sub restart_with
{
	$node->append_conf('postgresql.conf', join("\n", @_));
	$node->restart;
	$node->poll_query_until('postgres', "SELECT state <> 'recovering' FROM uds_stats")
	  or die 'recovery does not end';
}

# Checksum over the files of an index.
sub checksum_of
{
	my ($where) = @_;
	my $sum = Digest::SHA->new(256);

	$sum->addfile("$where/$_", 'b')
	  for grep { -e "$where/$_" } qw(control volume checkpoint.0 checkpoint.1);
	return $sum->hexdigest . ' ' . join(' ', map { s,.*/,,r } sort glob("$where/*"));
}

# All digests of a word are known, with their own metadata.
sub everything_is_there
{
	my ($word, $expected, $name) = @_;

	is(uds_state($node), 'online', "$name: online");
	is(join(', ', uds_count_answers($node, $word, 1, $expected)),
		"$expected, 0", "$name: all are found, with the right metadata");
}

# Does a worker without work sleep until somebody wakes it?  Others may do so now and then.
sub sleeps_without_a_timer
{
	my ($name) = @_;
	my $status = '/proc/' . uds_worker_pid($node, $name) . '/status';

	for (1 .. 50)
	{
		my ($before) = slurp_file($status) =~ /^voluntary_ctxt_switches:\s+(\d+)/m;

		$node->safe_psql('postgres', 'SELECT pg_sleep(0.2)');
		return 1 if slurp_file($status) =~ /^voluntary_ctxt_switches:\s+$before$/m;
	}
	return 0;
}

$node->start;
uds_prepare($node);
uds_post_range($node, 'kept', 1, $count);

# ---- sizes that the files do not have -------------------------------------------------------

for my $case (
	[ "uds.memory = '8MB'", "uds.memory = '4MB'", 'Files: 4 MB,.*settings: 8 MB' ],
	[
		"uds.index = 'lists'",
		"uds.index = 'buckets'",
		'Files:.*index "buckets"; settings:.*index "lists"'
	])
{
	my ($setting, $back, $values) = @$case;

	$node->stop;
	my $before = checksum_of($directory);
	restart_with($setting);
	my (undef, undef, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$post");
	like($stderr, qr/55000: uds is offline: files do not fit the settings .*$values/,
		"$setting: offline, naming both values");
	like($stderr, qr/HINT:  Set the settings back, or convert .*, or forget everything with uds_reset\(\)\./,
		"$setting: with a hint");
	(undef, undef, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT uds_checkpoint()");
	like($stderr, qr/ERROR:  55000: index is not online/, "$setting: nothing can be saved");
	like($stderr, qr/DETAIL:  It is offline: files do not fit the settings .*$values/,
		"$setting: with the reason");
	$node->stop;
	is(checksum_of($directory), $before, "$setting: nothing was written");
	restart_with($back);
	everything_is_there('kept', $count, $back);
}

# ---- wrong values ---------------------------------------------------------------------------

for my $case (
	[ 'uds.memory', '3MB', '3 MB is outside the valid range' ],
	[ 'uds.memory', '2TB', 'is outside the valid range' ],
	[ 'uds.zones', '0', '0 is outside the valid range for parameter "uds.zones" \(1 .. 16\)' ],
	[ 'uds.zones', '17', '17 is outside the valid range' ],
	[ 'uds.index', 'trees', 'invalid value for parameter "uds.index": "trees"' ],
	[ 'uds.max_sessions', '0', 'invalid value for parameter "uds.max_sessions": 0' ],
	[ 'uds.queue_size', '1kB', '1 kB is outside the valid range' ],
	[ 'uds.page_cache', '1kB', '1 kB is outside the valid range' ],
	[ 'uds.directory', '', 'invalid value for parameter "uds.directory": ""' ],
	[ 'uds.shutdown_timeout', '-1', '-1 s is outside the valid range' ],
	[ 'uds.spin_time', '2ms', '2 ms is outside the valid range' ],
	[ 'uds.wait_timeout', '-1', '-1 ms is outside the valid range' ],
	[ 'uds.zone', '1', 'invalid configuration parameter name "uds.zone"|unrecognized' ])
{
	my ($name, $value, $expected) = @$case;
	my (undef, undef, $stderr) = $node->psql('postgres', "ALTER SYSTEM SET $name = '$value'");

	like($stderr, qr/ERROR: .*$expected/, "$name = '$value' is refused");
}

# In the file it is told, and the default counts: which these files do not fit.
my $log_start = -s $node->logfile;
restart_with("uds.memory = '3MB'", "uds.zone = 1");
ok( $node->log_contains(
		'WARNING:  3 MB is outside the valid range for parameter "uds.memory"', $log_start),
	'a wrong value in postgresql.conf is told');
ok($node->log_contains('invalid configuration parameter name "uds.zone"', $log_start),
	'a wrong name in postgresql.conf is told');
like(uds_state($node), qr/^offline: .*Files: 4 MB,.*settings: 64 MB/, 'the default does not fit');
restart_with("uds.memory = '4MB'");
everything_is_there('kept', $count, 'wrong value removed');

# ---- zones ----------------------------------------------------------------------------------

# The smallest index has room for the largest number of zones.
restart_with('uds.zones = 16');
everything_is_there('kept', $count, '16 zones with 4MB');
is($node->safe_psql('postgres', 'SELECT count(pid) FROM uds_zones'), 16, '16 workers');
restart_with('uds.zones = 1');
everything_is_there('kept', $count, '1 zone with 4MB');

# An absolute name, outside of the data directory.
my $elsewhere = PostgreSQL::Test::Utils::tempdir . '/uds files';
restart_with("uds.directory = '$elsewhere'", "uds.memory = '64MB'");
is(uds_state($node), 'online', 'files are created elsewhere');
is((stat $elsewhere)[2] & 07777, 0700, 'their directory has mode 0700');
is(join(' ', map { sprintf '%o', (stat "$elsewhere/$_")[2] & 07777 } qw(control volume lock)),
	'600 600 600', 'the files have mode 0600');
is((uds_count_answers($node, 'kept', 1, $count))[0], 0, 'another index');

my $posted = 100_000;
is(uds_post_range($node, 'zones', 1, $posted), 0, 'new digests with 1 zone');
for my $zones (3, 2, 16, 1)
{
	# In turn after a save and after a crash with a save.
	$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
	$node->stop($zones % 2 ? 'fast' : 'immediate');
	$node->append_conf('postgresql.conf', "uds.zones = $zones");
	$node->start;
	uds_wait_for_state($node, 'online');
	everything_is_there('zones', $posted, "$zones zones");
	is(uds_post_range($node, 'zones', $posted + 1, $posted + 10_000), 0, "$zones zones: new ones");
	$posted += 10_000;
	everything_is_there('zones', $posted, "$zones zones, with those");
}

restart_with("uds.directory = 'uds'", "uds.memory = '4MB'");
everything_is_there('kept', $count, 'the files in the data directory');

# ---- two servers on one directory -----------------------------------------------------------

my $other = uds_cluster('other', "uds.directory = '$directory'");
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
my $before = checksum_of($directory);
$other->start;
$other->safe_psql('postgres', 'CREATE EXTENSION uds');
uds_wait_for_state($other, 'offline');
like(uds_state($other), qr/^offline: file "[^"]*lock" is locked by another process/, 'in use');
my (undef, undef, $stderr) = $other->psql('postgres', "SELECT uds_post(sha256('x'))");
like($stderr, qr/uds is offline: file "[^"]*lock" is locked by another process/,
	'in use: so says the error of a post');
like($stderr, qr/HINT:  Is another server running with the same "uds\.directory"\?/,
	'in use: with a hint');
for my $function ('uds_reset', 'uds_checkpoint')
{
	isnt($other->psql('postgres', "SELECT $function()"), 0, "in use: $function() is refused");
}
$other->stop;
is(checksum_of($directory), $before, 'in use: nothing was written');
everything_is_there('kept', $count, 'the server that uses the files');

# Not in use any more, they are still another server's.
$node->stop;
$before = checksum_of($directory);
$other->start;
uds_wait_for_state($other, 'offline');
like(
	uds_state($other),
	qr/^offline: files belong to another server .*of the files is \d+, of this server \d+\.\)/,
	'files of another server');
(undef, undef, $stderr) = $other->psql('postgres', "SELECT uds_post(sha256('x'))");
like($stderr, qr/HINT:  Set "uds\.directory" to the files of this server\. .*uds_reset\(\)\./,
	'files of another server: with a hint');
$other->stop;
is(checksum_of($directory), $before, 'files of another server: nothing was written');
$node->start;
uds_wait_for_state($node, 'online');
everything_is_there('kept', $count, 'back at its server');

# ---- save, kill, reset ----------------------------------------------------------------------

is(uds_post_range($node, 'saved', 1, 12_345), 0, 'posted before a save');
my $last = $node->safe_psql('postgres', 'SELECT last_checkpoint FROM uds_stats');
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
$log_start = -s $node->logfile;
kill 'KILL', uds_worker_pid($node, 'uds chapter writer');
uds_wait_for_crash_restart($node, $log_start);
uds_wait_for_state($node, 'online');
everything_is_there('saved', 12_345, 'SIGKILL right after a save');
is($node->safe_psql('postgres', "SELECT last_checkpoint > '$last' FROM uds_stats"),
	't', 'last_checkpoint is the time of the save');

is($node->safe_psql('postgres', 'SELECT requests > 0 AND queries_found > 0 FROM uds_stats'),
	't', 'requests are counted');
my $entries = $node->safe_psql('postgres', 'SELECT entries_indexed FROM uds_stats');
$node->safe_psql('postgres', 'SELECT uds_stats_reset()');
is( $node->safe_psql('postgres',
		'SELECT requests, queries_found, posts_found, cache_hits, bad_pages, '
		  . 'stats_reset IS NOT NULL FROM uds_stats'),
	'0|0|0|0|0|t',
	'uds_stats_reset() zeroes counters');
is($node->safe_psql('postgres', 'SELECT entries_indexed FROM uds_stats'),
	$entries, 'uds_stats_reset() forgets no digest');

my $generation = $node->safe_psql('postgres', 'SELECT generation FROM uds_stats');
$node->safe_psql('postgres', 'SELECT uds_reset()');
is((uds_count_answers($node, 'saved', 1, 12_345))[0]
	  + (uds_count_answers($node, 'kept', 1, $count))[0],
	0, 'uds_reset() forgets everything');
is($node->safe_psql('postgres', 'SELECT entries_indexed, newest_chapter FROM uds_stats'),
	'0|0', 'uds_reset() begins with the first chapter');
is($node->safe_psql('postgres', "SELECT generation > $generation FROM uds_stats"),
	't', 'uds_reset() keeps the generation growing');
is(uds_post_range($node, 'kept', 1, $count), 0, 'what was forgotten is new');
$node->restart;
uds_wait_for_state($node, 'online');
everything_is_there('kept', $count, 'posted after uds_reset()');

# ---- reload ---------------------------------------------------------------------------------

for my $value ('0', '50us')
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET uds.spin_time = '$value'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	$node->poll_query_until('postgres',
		"SELECT setting::float8 = extract(milliseconds FROM '$value'::interval) "
		  . "FROM pg_settings WHERE name = 'uds.spin_time'")
	  or die 'the setting does not change';
	everything_is_there('kept', 1000, "uds.spin_time = $value");
}

# Nobody polls: a single request wakes the worker, and its answer the session.  A session that waited
# for a timer would take a second for each, five minutes in all.
$node->safe_psql('postgres', "ALTER SYSTEM SET uds.spin_time = '0'");
$node->reload;
$node->poll_query_until('postgres', "SELECT setting::float8 = 0 FROM pg_settings WHERE name = 'uds.spin_time'")
  or die 'the setting does not change';
ok(sleeps_without_a_timer($_), "$_ sleeps without a timer")
  for 'uds zone 0', 'uds reader 0', 'uds chapter writer';
is( $node->safe_psql('postgres', q{
		SET statement_timeout = '60s';
		SELECT count(*) FILTER (WHERE uds_post(digest_of('kept', n))) FROM generate_series(1, 300) n}),
	300, 'single requests between processes that sleep');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET uds.spin_time');
(undef, undef, $stderr) = $node->psql('postgres', "SET uds.spin_time = '1us'");
like($stderr, qr/cannot be changed now/, 'spin_time is no setting of a session');
(undef, undef, $stderr) = $node->psql('postgres', "SET uds.memory = '8MB'");
like($stderr, qr/cannot be changed without restarting the server/, 'memory needs a restart');

ok(!$node->log_contains('PANIC|TRAP'), 'no process has crashed by itself');
$node->stop;
done_testing();
