# After a crash what was saved or sealed is found, and no metadata is ever wrong.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;

my $node = uds_cluster('crash', 'restart_after_crash = on');
$node->start;
uds_prepare($node);

# What a checkpoint has saved is there, the open chapter included.
uds_post_range($node, 'saved', 1, 3 * $chapter + 1000);
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is(uds_count_known($node, 'saved', 1, 3 * $chapter + 1000),
	3 * $chapter + 1000, 'SIGKILL of the postmaster loses nothing that was saved');
is(uds_count_wrong($node, 'saved', 1, 3 * $chapter + 1000), 0, 'with the right metadata');

# Beyond a save: what is sealed is there.  Everything below the newest four chapters is.
my $posted = 10 * $chapter;
uds_post_range($node, 'sealed', 1, $posted);
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is(uds_count_known($node, 'sealed', 1, $posted - 4 * $chapter),
	$posted - 4 * $chapter, 'sealed chapters are found without a save');
is(uds_count_wrong($node, 'sealed', 1, $posted), 0, 'nothing has wrong metadata');
is(uds_count_known($node, 'saved', 1, 3 * $chapter + 1000),
	3 * $chapter + 1000, 'what was saved before is still there');

# What was lost is new again, once.
my $known = uds_count_known($node, 'sealed', 1, $posted);
is(uds_post_range($node, 'sealed', 1, $posted), $known, 'what was found is a duplicate');
is(uds_post_range($node, 'sealed', 1, $posted), $posted, 'all are after they were posted again');

# A crashed backend takes shared memory with it: the index recovers in the same way.
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
my $session = uds_session($node);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $writer = uds_worker_pid($node, 'uds chapter writer');
kill 'KILL', $pid;
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity "
	  . "WHERE backend_type = 'uds chapter writer' AND pid <> $writer");
uds_wait_for_state($node, 'online');
is(uds_count_known($node, 'sealed', 1, $posted), $posted, 'SIGKILL of a backend loses nothing saved');
is(uds_count_wrong($node, 'sealed', 1, $posted), 0, 'and gives no wrong metadata');

$node->stop;
done_testing();
