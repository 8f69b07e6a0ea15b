# Other settings: another number of zones opens the files and loses nothing; with another uds.memory,
# uds.sparse or uds.index the index is offline and says why, and uds_convert() makes the files anew
# with everything in them; it can be cancelled, and the server may be killed meanwhile.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $posted = 12 * $chapter + 500;

my $node = uds_cluster('convert', 'uds.zones = 2', 'uds.page_cache = 64kB',
	'uds.sparse = off', 'uds.index = buckets');
my $directory = uds_directory($node);
$node->start;
uds_prepare($node);
uds_post_range($node, 'kept', 1, $posted);

# One in ten is changed, and as many are deleted.
$node->safe_psql('postgres', qq{
	SELECT count(uds_update(digest_of('kept', n), 'changed')), count(uds_delete(digest_of('kept', n + 1)))
	FROM generate_series(10, $posted - 10, 10) n});
my $known = $posted - int(($posted - 10) / 10);
my $changed = int(($posted - 10) / 10);

sub is_kept
{
	my ($name) = @_;

	is( join(', ', uds_count_answers($node, 'kept', 1, $posted)),
		"$known, $changed", $name);
}

sub set_and_restart
{
	my (@settings) = @_;

	$node->adjust_conf('postgresql.conf', "uds.$_->[0]", $_->[1]) for @settings;
	$node->restart;
}

# What a statement that fails says.
sub stderr_of
{
	my ($statement) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', $statement);

	return $stderr;
}

# The index is offline and says what does not fit.
sub is_unfit
{
	my ($expected, $name) = @_;

	like(uds_state($node), qr/^offline: files do not fit the settings \($expected\)$/,
		"$name: offline with both values");
	my $stderr = stderr_of("SELECT uds_peek(sha256('x'))");
	like($stderr, qr/ERROR:  uds is offline/, "$name: a request fails");
	like($stderr, qr/HINT:  Set the settings back, or convert the files with uds_convert\(\)/,
		"$name: and the hint says what to do");
}

sub convert
{
	my ($name) = @_;

	$node->safe_psql('postgres', 'SELECT uds_convert()');
	is(uds_state($node), 'online', "$name: online after the conversion");
	is_kept("$name: everything is there");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM uds_verify()'),
		0, "$name: nothing is wrong on the volume");
	ok(!-e "$directory/volume.new", "$name: nothing is left behind");
}

is_kept('before');

# ---- zones ----------------------------------------------------------------------------------------

for my $zones (1, 4, 2)
{
	set_and_restart([ 'zones', $zones ]);
	is(uds_state($node), 'online', "$zones zones: online");
	is_kept("$zones zones: everything is there");
}

# ---- memory, structure, sparse --------------------------------------------------------------------

set_and_restart([ 'memory', '8MB' ]);
is_unfit(
	'Files: 4 MB, 128 chapters \(0 sparse\), index "buckets"; settings: 8 MB, 256 chapters \(0 sparse\), index "buckets".',
	'more memory');
set_and_restart([ 'memory', '4MB' ]);
is(uds_state($node), 'online', 'with the settings set back it is online');
is_kept('and everything is there');
set_and_restart([ 'memory', '8MB' ]);
convert('more memory');
is($node->safe_psql('postgres', 'SELECT count(*) FROM uds_progress'), 0, 'nothing is under way');

$node->safe_psql('postgres', 'SELECT uds_convert()');
is_kept('converting files that fit changes nothing');

set_and_restart([ 'memory', '4MB' ], [ 'sparse', 'on' ]);
is_unfit(
	'Files: 8 MB, 256 chapters \(0 sparse\), index "buckets"; settings: 4 MB, 1280 chapters \(1216 sparse\), index "buckets".',
	'sparse');
convert('sparse');
is($node->safe_psql('postgres', 'SELECT window_size > 10000000 FROM uds_stats'),
	't', 'the window is that of a sparse index');

set_and_restart([ 'sparse', 'off' ], [ 'index', 'lists' ], [ 'zones', 1 ]);
convert('dense again, and lists');
set_and_restart([ 'index', 'buckets' ]);
is_unfit(
	'Files: 4 MB, 128 chapters \(0 sparse\), index "lists"; settings: 4 MB, 128 chapters \(0 sparse\), index "buckets".',
	'another structure');

# ---- interrupted ------------------------------------------------------------------------------------

# The writer stands still until its command is cancelled.
my $writer = uds_worker_pid($node, 'uds chapter writer');
my $session = uds_session($node);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
kill 'STOP', $writer;
$session->query_until(qr/asking/, "\\echo asking\nSELECT uds_convert();\n");
$node->poll_query_until('postgres',
	"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the session does not wait';
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$node->poll_query_until('postgres', "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the session does not end its statement';
kill 'CONT', $writer;
$node->poll_query_until('postgres',
	"SELECT state = 'offline' AND reason ~ 'do not fit' FROM uds_stats")
  or die 'the conversion is not interrupted';
$session->quit;
set_and_restart([ 'index', 'lists' ]);
is(uds_state($node), 'online', 'after a conversion that was cancelled the old files open');
is_kept('with everything');
ok(!-e "$directory/volume.new", 'and nothing is left behind');

# The server is killed at some point of it.
for my $memory ('16MB', '8MB', '4MB')
{
	$node->adjust_conf('postgresql.conf', 'uds.memory', $memory);
	$node->restart;
	$session = uds_session($node);
	$session->query_until(qr/asking/, "\\echo asking\nSELECT uds_convert();\n");
	$node->poll_query_until('postgres', q{
		SELECT EXISTS (SELECT FROM uds_progress WHERE phase = 'converting chapters')
		       OR state = 'online' FROM uds_stats})
	  or die 'nothing is converted';
	uds_kill_and_start($node);
	eval { $session->quit };
	$node->poll_query_until('postgres', "SELECT state IN ('online', 'offline') FROM uds_stats")
	  or die 'it does not come back';
	convert("killed on the way to $memory");
}

# Stopped in order, it goes on from the beginning when it is asked to.
set_and_restart([ 'memory', '16MB' ]);
$session = uds_session($node);
$session->query_until(qr/asking/, "\\echo asking\nSELECT uds_convert();\n");
$node->stop('fast');
eval { $session->quit };
$node->start;
$node->poll_query_until('postgres', "SELECT state IN ('online', 'offline') FROM uds_stats")
  or die 'it does not come back';
convert('stopped');

# What cannot be converted is told, and stays.
$node->stop;
rename "$directory/volume", "$directory/aside" or die $!;
set_and_restart_later();
like(stderr_of('SELECT uds_convert()'), qr/ERROR:  volume is missing/, 'no volume: a clear error');
$node->stop;
rename "$directory/aside", "$directory/volume" or die $!;
$node->start;
convert('with its volume again');
$node->stop;

done_testing();

sub set_and_restart_later
{
	$node->adjust_conf('postgresql.conf', 'uds.memory', '8MB');
	$node->start;
	return;
}
