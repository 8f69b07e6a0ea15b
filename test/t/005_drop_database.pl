# Workers answer the server's barriers: DROP DATABASE does not wait for a busy or recovering index.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use UdsCluster;

# It takes some milliseconds when nobody holds it up.  A worker that does not answer holds it up
# until its work is done, some seconds here; slow machines get more than the goal of a second.
my $patience = 1.0 * ($ENV{UDS_TIME_FACTOR} // 3);
my $digests = $ENV{UDS_RECOVERY_DIGESTS} // 4_000_000;
my $databases = 30;

my $node = uds_cluster('drop', 'uds.memory = 64MB', 'max_wal_size = 4GB');
$node->start;
uds_prepare($node);
$node->safe_psql('postgres', join('', map { "CREATE DATABASE victim$_;\n" } 1 .. $databases + 3));

sub drop_seconds
{
	my ($database) = @_;
	my $start = time();

	$node->safe_psql('postgres', "DROP DATABASE $database");
	return time() - $start;
}

# ---- under load -----------------------------------------------------------------------------------

my $session = uds_session($node);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $step = $digests / 4;
for my $part (0 .. 3)
{
	$session->query_until(qr/started/, sprintf("\\echo started\nSELECT post_range('load', %d, %d);\n",
			1 + $part * $step, ($part + 1) * $step));
	if ($part < 3)
	{
		my $seconds = drop_seconds('victim' . ($databases + 1 + $part));
		cmp_ok($seconds, '<', $patience, "DROP DATABASE under load takes $seconds s");
		is($node->safe_psql('postgres', "SELECT state FROM pg_stat_activity WHERE pid = $pid"),
			'active', 'and the load was still there');
	}
	$session->query_safe('SELECT 1');
}
$session->quit;

# ---- during recovery --------------------------------------------------------------------------------

$node->safe_psql('postgres', 'CHECKPOINT');
uds_kill_and_start($node);
my $during = 0;
my $longest = 0;
for my $number (1 .. $databases)
{
	my $seconds = drop_seconds("victim$number");

	# Still recovering after it: so it was all the time.
	last if uds_state($node) !~ /^recovering/;
	$during++;
	$longest = $seconds if $seconds > $longest;
}
cmp_ok($during, '>', 0, "$during databases were dropped during recovery");
cmp_ok($longest, '<', $patience, "DROP DATABASE during recovery takes $longest s at most");
uds_wait_for_state($node, 'online');
is(uds_count_wrong($node, 'load', 1, 10_000), 0, 'the index has recovered');
cmp_ok(uds_count_known($node, 'load', 1, 10_000), '==', 10_000, 'and knows what was posted');

$node->stop;
done_testing();
