# The server starts whatever the settings are, and the index says why it is offline.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $node = uds_cluster('startup');
my $post = "SELECT uds_post(digest_of('some', 1), metadata_of(1))";
my $stderr;

# Restart with one more line of configuration.
sub restart_with
{
	$node->append_conf('postgresql.conf', $_[0]);
	$node->restart;
}

# uds_post fails with this message.
sub post_fails_with
{
	my ($expected, $name) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $post);

	isnt($status, 0, "uds_post fails: $name");
	like($stderr, $expected, $name);
}

$node->start;
uds_prepare($node);
uds_post_range($node, 'kept', 1, 1000);

# ---- too few worker slots -------------------------------------------------------------------------

# The launcher of logical replication takes one, the writer the other.
restart_with('max_worker_processes = 2');
uds_wait_for_state($node, 'offline');
is(uds_state($node),
	'offline: 1 of 3 workers started, raise max_worker_processes to 4',
	'the writer misses zone and reader');
post_fails_with(qr/uds is offline: 1 of 3 workers started/, 'too few worker slots');

restart_with('max_worker_processes = 1');
uds_wait_for_state($node, 'offline');
like(uds_state($node), qr/^offline: the chapter writer was not started/, 'without a writer, too');
post_fails_with(qr/uds is offline: the chapter writer was not started/, 'no worker slot');

restart_with('max_worker_processes = 8');
uds_wait_for_state($node, 'online');
is(uds_count_known($node, 'kept', 1, 1000), 1000, 'nothing was lost by that');

# ---- too much memory --------------------------------------------------------------------------------

restart_with("uds.memory = '512GB'");
like(uds_state($node), qr/^offline: the index needs \d+ MB of shared memory, the machine has \d+ MB/,
	'a block larger than the machine is not requested');
post_fails_with(qr/uds is offline: the index needs/, 'too much memory');
is($node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'uds%'"),
	0, 'no worker runs without a block');
is($node->safe_psql('postgres', 'SELECT count(*), count(pid), count(requests) FROM uds_zones'),
	'1|0|0', 'uds_zones knows of no numbers');
is($node->safe_psql('postgres', 'SELECT count(*) FROM uds_sessions'), 0, 'uds_sessions is empty');

# ---- files of another geometry ---------------------------------------------------------------------

restart_with("uds.memory = '8MB'");
uds_wait_for_state($node, 'offline');
like(uds_state($node), qr/4.*8|8.*4/, 'the reason names both values');
post_fails_with(qr/uds is offline/, 'files of another geometry');
is($node->safe_psql('postgres', 'SELECT count(*) FROM uds_sessions'),
	0, 'nobody has a slot of an index that was never online');
ok( $node->poll_query_until('postgres',
		"SELECT string_agg(state, ' ') = 'idle idle idle' FROM pg_stat_activity "
		  . "WHERE backend_type LIKE 'uds %'"),
	'its workers are idle');

restart_with("uds.memory = '4MB'");
uds_wait_for_state($node, 'online');
is(uds_count_known($node, 'kept', 1, 1000), 1000, 'the way back is open');

# ---- single-user mode ---------------------------------------------------------------------------------

$node->stop;
my ($stdout);
IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
	'<', \"SELECT state, reason FROM uds_stats\n", '>', \$stdout, '2>', \$stderr);
like($stdout, qr/state = "offline"/, 'offline in single-user mode');
like($stdout, qr/single-user mode/, 'with the reason');
$node->start;
uds_wait_for_state($node, 'online');

# ---- preload missing ------------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
post_fails_with(qr/uds must be loaded via shared_preload_libraries/, 'preload missing');
(undef, undef, $stderr) = $node->psql('postgres', $post);
like($stderr, qr/shared_preload_libraries = 'uds'/, 'the hint shows the line to add');
for my $view ('uds_stats', 'uds_zones', 'uds_sessions')
{
	(undef, undef, $stderr) = $node->psql('postgres', "SELECT * FROM $view");
	like($stderr, qr/uds must be loaded via shared_preload_libraries/, "so says $view");
}
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION uds');
pass('CREATE EXTENSION works without the preload');

$node->stop;
done_testing();
