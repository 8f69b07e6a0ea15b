# pg_upgrade: it leaves the index files alone, and the new server has another identity.  Put into the
# new data directory they are refused until it is told to take them over; then everything is there,
# in each database, and the files are the new server's alone.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $posted = 3 * $chapter + 200;
my $kept = PostgreSQL::Test::Utils::tempdir;

# Digests of a word that are known, and such with wrong metadata.
sub answers
{
	my ($node, $word, $count) = @_;

	return join(', ', uds_count_answers($node, $word, 1, $count));
}

sub system_identifier
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');
}

# Everything that was posted is known, and what was deleted is not.
sub everything_is_there
{
	my ($node, $name) = @_;

	is(uds_state($node), 'online', "$name: online");
	is(answers($node, 'kept', $posted), "$posted, 0", "$name: all digests are there");
	is(answers($node, 'open', 50), '50, 0', "$name: also those of the open chapter");
	is(answers($node, 'deleted', 50), '0, 0', "$name: deleted ones are not");
	is($node->safe_psql('other', "SELECT uds_peek(digest_of('other', 1)) = metadata_of(1)"),
		't', "$name: another database has its own");
	is($node->safe_psql('other', "SELECT uds_peek(digest_of('kept', 1)) IS NULL"),
		't', "$name: and no others");
}

# ---- the old server -------------------------------------------------------------------------

my $old = uds_cluster('old');
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE gone');
$old->safe_psql('postgres', 'CREATE DATABASE other');
$old->safe_psql('postgres', 'DROP DATABASE gone');
uds_prepare($old);
uds_prepare($old, 'other');
uds_post_range($old, 'deleted', 1, 50);
uds_post_range($old, 'kept', 1, $posted);
$old->safe_psql('other', "SELECT uds_post(digest_of('other', 1), metadata_of(1))");
$old->safe_psql('postgres', "SELECT count(uds_delete(digest_of('deleted', n))) FROM generate_series(1, 50) n");
uds_post_range($old, 'open', 1, 50);
my $old_identifier = system_identifier($old);
$old->stop;
my $files = uds_files(uds_directory($old));

# ---- pg_upgrade -----------------------------------------------------------------------------

my $new = uds_cluster('new');
my @command = (
	'pg_upgrade', '--no-sync',
	'--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
	'--old-bindir', $old->config_data('--bindir'), '--new-bindir', $new->config_data('--bindir'),
	'--socketdir', $new->host, '--old-port', $old->port, '--new-port', $new->port);

# It needs the library, but not the preload.
$new->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
command_ok([ @command, '--check' ], 'pg_upgrade --check without the preload');
$new->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'uds'");
chdir $kept or die "could not change to $kept: $!";
command_ok(\@command, 'pg_upgrade with the preload in both servers');
is_deeply(uds_files(uds_directory($old)), $files, 'it has left the files alone');
ok(!-e uds_directory($new), 'and made no others');

# ---- files in the place of the new server ---------------------------------------------------

rename(uds_directory($old), uds_directory($new)) or die "could not move the files: $!";
$new->start;
my $new_identifier = system_identifier($new);
isnt($new_identifier, $old_identifier, 'the new server has another identity');
uds_wait_for_state($new, 'offline');
is( uds_state($new),
	"offline: files belong to another server (System identifier of the files is $old_identifier, "
	  . "of this server $new_identifier.)",
	'the files are refused, with both identifiers');
for my $call ("uds_post(digest_of('new', 1))", 'uds_resume()')
{
	my $error = uds_error($new, $call);

	like($error, qr/ERROR:  55000: .*files belong to another server/, "$call says so");
	like($error, qr/HINT: .*after pg_upgrade, set "uds\.accept_stale" and call uds_resume\(\)/,
		"$call says how to go on");
}
PostgreSQL::Test::RecursiveCopy::copypath(uds_directory($new), "$kept/refused");
is_deeply(
	{ %{ uds_files("$kept/refused") }, lock => '' },
	{ %$files, lock => '' },
	'refused files are as they were');
uds_accept_stale($new);
everything_is_there($new, 'taken over');
ok($new->log_contains("system identifier $old_identifier are taken over"), 'the log tells of it');
is($new->safe_psql('postgres', 'SELECT count(*) FROM uds_verify()'), 0, 'nothing is wrong with them');
is(uds_post_range($new, 'new', 1, 2 * $chapter), 0, 'they take digests');
uds_kill_and_start($new);
uds_wait_for_state($new, 'online');
everything_is_there($new, 'after a crash');
is(answers($new, 'new', $chapter), "$chapter, 0", 'after a crash: what was sealed since is there, too');
$new->restart;
uds_wait_for_state($new, 'online');
everything_is_there($new, 'after a restart');
$new->stop;

# ---- the way back ---------------------------------------------------------------------------

# The old server does not get them back by accident.
PostgreSQL::Test::RecursiveCopy::copypath(uds_directory($new), uds_directory($old));
$old->start;
uds_wait_for_state($old, 'offline');
like(uds_state($old), qr/System identifier of the files is $new_identifier, of this server $old_identifier/,
	'the old server refuses them now');
$old->stop;

# ---- a start with the setting ---------------------------------------------------------------

File::Path::rmtree(uds_directory($new));
PostgreSQL::Test::RecursiveCopy::copypath("$kept/refused", uds_directory($new));
$new->append_conf('postgresql.conf', 'uds.accept_stale = on');
$new->start;
uds_wait_for_state($new, 'online');
everything_is_there($new, 'taken over at the start');
$new->append_conf('postgresql.conf', 'uds.accept_stale = off');
$new->restart;
uds_wait_for_state($new, 'online');
everything_is_there($new, 'and kept');

for my $node ($old, $new)
{
	ok(!$node->log_contains('PANIC|TRAP|terminated by signal'), $node->name . ': the log is clean');
}
$new->stop;
done_testing();
