# A standby and its promotion: every call says that the index is not there while views answer; after
# the promotion files from before it wait to be told, and of files from a time that never was here
# only the past is opened.
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

# Stop a server, and give it these files.
sub replace_files
{
	my ($node, $files) = @_;

	$node->stop;
	File::Path::rmtree(uds_directory($node));
	PostgreSQL::Test::RecursiveCopy::copypath($files, uds_directory($node));
}

# ---- files of a primary at three times ------------------------------------------------------

my $primary = uds_cluster('primary', 'uds.zones = 2');
$primary->start;
uds_prepare($primary);
$primary->safe_psql('postgres', 'CREATE TABLE written (number int)');
uds_post_range($primary, 'kept', 1, 3 * $chapter + 500);
$primary->safe_psql('postgres', 'SELECT uds_checkpoint()');
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $files = uds_files(uds_directory($standby));
$standby->start;

# ---- hot standby ----------------------------------------------------------------------------

is(uds_state($standby), 'offline: hot standby', 'uds_stats answers on a standby');
my $session = uds_session($standby);
for my $call (
	"uds_post(digest_of('kept', 1), 'data')",
	"uds_resolve(digest_of('kept', 1), 'data')",
	"uds_update(digest_of('kept', 1), 'data')",
	"uds_query(digest_of('kept', 1))",
	"uds_peek(digest_of('kept', 1))",
	"uds_delete(digest_of('kept', 1))",
	"uds_request('post', digest_of('kept', 1), 'data')",
	"uds_post_many(ARRAY[digest_of('kept', 1)])",
	"uds_resolve_many(ARRAY[digest_of('kept', 1)], ARRAY['data'::bytea])",
	"uds_update_many(ARRAY[digest_of('kept', 1)], ARRAY['data'::bytea])",
	"uds_query_many(ARRAY[digest_of('kept', 1)])",
	"uds_peek_many(ARRAY[digest_of('kept', 1)])",
	"uds_delete_many(ARRAY[digest_of('kept', 1)])",
	"uds_request_many('post', ARRAY[digest_of('kept', 1)])",
	'uds_checkpoint()',
	'uds_suspend()',
	'uds_suspend(false)',
	'uds_resume()',
	'uds_rebuild()',
	'uds_reset()',
	'uds_verify()')
{
	$session->query("\\set VERBOSITY verbose\nSELECT $call");
	like($session->{stderr}, qr/ERROR:  55000: uds is offline: hot standby\n/, "$call is refused");
	like($session->{stderr}, qr/HINT:  Ask the primary\. This server opens its own files when it is/,
		"$call: with a hint");
	$session->{stderr} = '';
}
is($standby->safe_psql('postgres', q{
		SELECT (SELECT count(*) FROM uds_zones), (SELECT count(pid) FROM uds_zones),
		       (SELECT count(*) FROM uds_sessions), (SELECT count(*) FROM uds_chapters),
		       (SELECT count(*) FROM uds_progress), (SELECT count(*) > 5 FROM uds_settings_check()),
		       (SELECT timeline IS NULL FROM uds_stats)}),
	'2|0|0|0|0|t|t', 'so do all other views');
$standby->safe_psql('postgres', 'SELECT uds_stats_reset()');
is($standby->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'uds%'"),
	0, 'no worker runs');
is_deeply(uds_files(uds_directory($standby)), $files, 'the files are left alone');

# ---- promotion: files of before -------------------------------------------------------------

uds_post_range($primary, 'later', 1, 1000);
$primary->safe_psql('postgres', 'INSERT INTO written VALUES (1)');
$primary->wait_for_catchup($standby);
$standby->promote;
uds_wait_for_state($standby, 'offline');
like(uds_state($standby), qr/^offline: files are a copy of another time/,
	'promoted: the files are older than that');
for my $call ("uds_post(digest_of('new', 1))", "uds_peek(digest_of('kept', 1))", 'uds_resume()')
{
	my $error = uds_error($standby, $call);

	like($error, qr/ERROR:  55000: .*files are a copy of another time/, "promoted: $call is refused");
	like($error, qr/HINT:  Set "uds\.accept_stale"/, "promoted: $call says how to go on");
}
is($standby->safe_psql('postgres', 'SELECT * FROM written'), 1, 'promoted: tables work');
uds_accept_stale($standby);
is(uds_state($standby), 'online', 'accepted: online');
is(answers($standby, 'kept', 3 * $chapter + 500),
	3 * $chapter + 500 . ', 0', 'accepted: what the copy holds is there');
is(answers($standby, 'later', 1000), '0, 0', 'accepted: what came later is not');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM uds_verify()'), 0, 'accepted: nothing is bad');
is($session->query_safe("SELECT uds_peek(digest_of('kept', 5)) = metadata_of(5)"),
	't', 'a session of the time as a standby goes on');
is($session->{stderr}, '', 'without an error');
$session->quit;
is(uds_post_range($standby, 'later', 1, $chapter), 0, 'accepted: it takes digests');
$standby->restart;
uds_wait_for_state($standby, 'online');
is(answers($standby, 'later', $chapter), "$chapter, 0", 'accepted once: online after a restart');
is(answers($primary, 'later', 1000), '1000, 0', 'the primary has not noticed anything');

# The same files once more: forget them.
replace_files($standby, $primary->backup_dir . '/base/uds');
$standby->start;
uds_wait_for_state($standby, 'offline');
like(uds_state($standby), qr/^offline: files are a copy of another time/, 'the same copy again');
$standby->safe_psql('postgres', 'SELECT uds_reset()');
is(uds_state($standby), 'online', 'forgotten: online');
is(answers($standby, 'kept', 3 * $chapter), '0, 0', 'forgotten: nothing is known');
is(uds_post_range($standby, 'kept', 1, 100), 0, 'forgotten: it takes digests');

# ---- promotion: files of a time that never was here -----------------------------------------

# The second standby stops where the primary goes on, and gets files of later.
my $behind = PostgreSQL::Test::Cluster->new('behind');
$behind->init_from_backup($primary, 'base', has_streaming => 1);
$behind->start;
uds_post_range($primary, 'common', 1, 3 * $chapter);
$primary->safe_psql('postgres', 'SELECT uds_checkpoint(); INSERT INTO written VALUES (2)');
$primary->wait_for_catchup($behind);
$behind->stop;
$primary->safe_psql('postgres', 'INSERT INTO written VALUES (3); SELECT pg_switch_wal()');
uds_post_range($primary, 'never', 1, 4 * $chapter);
$primary->safe_psql('postgres', 'SELECT uds_suspend()');
PostgreSQL::Test::RecursiveCopy::copypath(uds_directory($primary), "$kept/newer");
$primary->safe_psql('postgres', 'SELECT uds_resume()');
File::Path::rmtree(uds_directory($behind));
PostgreSQL::Test::RecursiveCopy::copypath("$kept/newer", uds_directory($behind));
$behind->append_conf('postgresql.conf', "primary_conninfo = ''");
$behind->start;
$behind->promote;
uds_wait_for_state($behind, 'online');
is($behind->safe_psql('postgres', 'SELECT max(number) FROM written'), 2, 'promoted behind the files');
my ($dropped) = slurp_file($behind->logfile) =~ / (\d+) chapters are not in this server's past/;
cmp_ok($dropped, '>=', 3, 'chapters that are not of its past are dropped, and counted');
is($behind->safe_psql('postgres', 'SELECT dropped_chapters FROM uds_stats'),
	$dropped, 'in uds_stats, too');
ok($behind->log_contains("save \\d+ is not in this server's past and is not used"),
	'the save is not used');
is(answers($behind, 'never', 4 * $chapter), '0, 0', 'nothing of that time is known');
is(answers($behind, 'common', 2 * $chapter),
	2 * $chapter . ', 0', 'what was sealed before the promotion is');
is(answers($behind, 'kept', 3 * $chapter), 3 * $chapter . ', 0', 'and so is what is older');
is(uds_post_range($behind, 'never', 1, 6 * $chapter), 0, 'it takes those digests');
$behind->restart;
uds_wait_for_state($behind, 'online');
is(answers($behind, 'never', 6 * $chapter), 6 * $chapter . ', 0', 'and keeps them');

for my $node ($primary, $standby, $behind)
{
	ok(!$node->log_contains('PANIC|TRAP|terminated by signal'), $node->name . ': the log is clean');
	$node->stop;
}
done_testing();
