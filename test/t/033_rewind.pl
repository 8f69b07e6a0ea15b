# pg_rewind of an old primary: its index files are replaced by those of the new one while that one
# writes them.  Promoted later, it says that they are a copy, and opens them when it is told to; files
# of its own that pg_rewind has not seen keep what both servers have in common.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $kept = PostgreSQL::Test::Utils::tempdir;

# Digests of a word that are known, and such with wrong metadata.
sub answers
{
	my ($node, $word, $count) = @_;

	return join(', ', uds_count_answers($node, $word, 1, $count));
}

# ---- two servers that part ------------------------------------------------------------------

my $old = uds_cluster('old', "wal_keep_size = '1GB'");
$old->start;
uds_prepare($old);
$old->safe_psql('postgres', 'CREATE TABLE written (word text)');
uds_post_range($old, 'common', 1, 3 * $chapter + 100);
$old->safe_psql('postgres', 'SELECT uds_checkpoint()');
$old->backup('base');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;
uds_post_range($old, 'common since', 1, 2 * $chapter);
$old->safe_psql('postgres', "SELECT uds_checkpoint(); INSERT INTO written VALUES ('common')");
$old->wait_for_catchup($new);
$new->promote;
uds_wait_for_state($new, 'offline');
uds_accept_stale($new);
# The old one goes on.
$old->safe_psql('postgres',
	"INSERT INTO written VALUES ('old'); SELECT pg_switch_wal()");
uds_post_range($old, 'of the old', 1, 3 * $chapter);
$old->safe_psql('postgres', q{SELECT uds_update(digest_of('common', 7), 'changed by the'),
	uds_delete(digest_of('common', 8)), uds_checkpoint()});
$old->stop;
PostgreSQL::Test::RecursiveCopy::copypath(uds_directory($old), "$kept/old");
$new->safe_psql('postgres', "INSERT INTO written VALUES ('new')");
uds_post_range($new, 'of the new', 1, 3 * $chapter);
$new->safe_psql('postgres', 'SELECT uds_checkpoint()');

# ---- pg_rewind, while the new one is busy ---------------------------------------------------

my $config = slurp_file($old->data_dir . '/postgresql.conf');
my $load = uds_session($new);
$load->query_until(qr/started/, "\\echo started\nSELECT post_range('busy', 1, 50 * $chapter);\n");
command_ok(
	[
		'pg_rewind', '--source-server=' . $new->connstr('postgres'),
		'--target-pgdata=' . $old->data_dir, '--no-sync'
	],
	'pg_rewind');
$load->query('SELECT 1');
is($load->{stderr}, '', 'the new primary has not noticed it');
$load->quit;
open(my $file, '>', $old->data_dir . '/postgresql.conf') or die $!;
print $file $config;
close($file);
$old->enable_streaming($new);
$old->set_standby_mode;
$old->start;
is(uds_state($old), 'offline: hot standby', 'the old primary is a standby');
$new->safe_psql('postgres', "INSERT INTO written VALUES ('new again')");
$new->wait_for_catchup($old);
is($old->safe_psql('postgres', "SELECT string_agg(word, ', ' ORDER BY word) FROM written"),
	'common, new, new again', 'with the data of the new one');
is(unpack('Q', substr(slurp_file(uds_directory($old) . '/control'), 16, 8)),
	unpack('Q', substr(slurp_file(uds_directory($new) . '/control'), 16, 8)),
	'and its index files');

# ---- its promotion --------------------------------------------------------------------------

$new->stop;
$old->promote;
uds_wait_for_state($old, 'offline');
like(uds_state($old), qr/^offline: files are a copy of another time/, 'promoted: a copy');
uds_accept_stale($old);
is(uds_state($old), 'online', 'accepted: online');
is(answers($old, 'of the new', 3 * $chapter),
	3 * $chapter . ', 0', 'what the new one had saved before is there');
is(answers($old, 'common', 3 * $chapter + 100), 3 * $chapter + 100 . ', 0', 'and what was common');
is(answers($old, 'of the old', 3 * $chapter), '0, 0', 'nothing of the time that was undone');
my ($known, $wrong) = uds_count_answers($old, 'busy', 1, 50 * $chapter);
is($wrong, 0, "none of $known digests posted meanwhile has wrong metadata");
note($old->safe_psql('postgres', 'SELECT * FROM uds_verify()'));
is($old->safe_psql('postgres', 'SELECT count(*) FROM uds_verify() WHERE chapter < 6'),
	0, 'chapters from before pg_rewind are sound');
is(uds_post_range($old, 'after', 1, 3 * $chapter), 0, 'it takes digests');
$old->restart;
uds_wait_for_state($old, 'online');
is(answers($old, 'after', 3 * $chapter), 3 * $chapter . ', 0', 'and keeps them');
$old->stop;

# ---- files that were not rewound ------------------------------------------------------------

# As if they had lain outside of the data directory.
File::Path::rmtree(uds_directory($old));
PostgreSQL::Test::RecursiveCopy::copypath("$kept/old", uds_directory($old));
my $log_start = -s $old->logfile;
$old->start;
uds_wait_for_state($old, 'online');
like(slurp_file($old->logfile, $log_start), qr/ [3-5] chapters are not in this server's past/,
	'not rewound: what the old primary wrote after they had parted is dropped');
is(answers($old, 'of the old', 3 * $chapter), '0, 0', 'not rewound: and not known');
is(answers($old, 'common', 3 * $chapter), 3 * $chapter . ', 0', 'not rewound: what was common is');
($known, $wrong) = uds_count_answers($old, 'common since', 1, 2 * $chapter);
cmp_ok($known, '>=', $chapter, 'not rewound: also what was posted between the backup and then');
is($wrong, 0, 'not rewound: with the right metadata');
is(answers($old, 'of the new', 3 * $chapter), '0, 0', 'not rewound: nothing of the new one');
ok(!$old->log_contains('PANIC|TRAP|terminated by signal'), 'the log is clean');
$old->stop;
done_testing();
