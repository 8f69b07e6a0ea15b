# Files outside of the data directory: a second server finds them in use, and later opens or refuses
# them as its identity and time say.  A copy of a suspended index opens with everything on another
# server of the same identity.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $place = PostgreSQL::Test::Utils::tempdir;
my $directory = "$place/files";

# Digests of a word that are known, and such with wrong metadata.
sub answers
{
	my ($node, $word, $count) = @_;

	return join(', ', uds_count_answers($node, $word, 1, $count));
}

sub is_in_use
{
	my ($node, $name) = @_;
	my $reason = qr/file "\Q$directory\E\/lock" is locked by another process/;

	uds_wait_for_state($node, 'offline');
	like(uds_state($node), qr/^offline: $reason/, "$name: in use");
	for my $call ("uds_peek(digest_of('kept', 1))", 'uds_resume()')
	{
		my $error = uds_error($node, $call);

		like($error, qr/ERROR:  55000: (uds is offline: )?$reason/, "$name: $call says so");
		like($error, qr/HINT:  Is another server running with the same "uds\.directory"\?/,
			"$name: $call has a hint");
	}
	like(uds_error($node, 'uds_reset()'), qr/ERROR:  55000: files of the index are not locked/,
		"$name: uds_reset() does not touch them");
}

# ---- two servers on one directory -----------------------------------------------------------

my $first = uds_cluster('first', "uds.directory = '$directory'");
$first->start;
uds_prepare($first);
uds_post_range($first, 'kept', 1, 2 * $chapter + 10);
$first->safe_psql('postgres', 'SELECT uds_checkpoint()');
my $stranger = uds_cluster('stranger', "uds.directory = '$directory'");
$stranger->start;
uds_prepare($stranger);
is_in_use($stranger, 'a server of its own');
is(uds_post_range($first, 'kept', 1, 2 * $chapter + 10), 2 * $chapter + 10,
	'the first server goes on');
$first->stop;
like(
	uds_error($stranger, 'uds_resume()'),
	qr/ERROR:  55000: files belong to another server\nDETAIL:  System identifier of the files is \d+, of/,
	'not in use any more: refused for their identity');
$stranger->stop;
$first->start;
uds_wait_for_state($first, 'online');
is(answers($first, 'kept', 2 * $chapter + 10), 2 * $chapter + 10 . ', 0', 'nothing has happened to them');

# ---- a base backup does not have them -------------------------------------------------------

$first->backup('base');
ok(!-e $first->backup_dir . '/base/uds', 'files outside of the data directory are not in a base backup');
uds_post_range($first, 'since', 1, 2 * $chapter);
$first->safe_psql('postgres', 'CREATE TABLE since (); SELECT pg_switch_wal()');
uds_post_range($first, 'since', 1, 2 * $chapter);
uds_post_range($first, 'beyond', 1, 3 * $chapter);
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($first, 'base');
$copy->start;
is_in_use($copy, 'a copy of the server');
is(answers($first, 'beyond', 3 * $chapter), 3 * $chapter . ', 0', 'the first server goes on');
$first->stop;
PostgreSQL::Test::RecursiveCopy::copypath($directory, "$place/of the first");
my $log_start = -s $copy->logfile;
$copy->safe_psql('postgres', 'SELECT uds_resume()');
is(uds_state($copy), 'online', 'not in use any more: the copy opens them');
like(slurp_file($copy->logfile, $log_start), qr/ [3-5] chapters are not in this server's past/,
	'without what is not of its past');
is(answers($copy, 'kept', 2 * $chapter), 2 * $chapter . ', 0', 'what was there at the backup is known');
is(answers($copy, 'beyond', 3 * $chapter), '0, 0', 'what came later is not');

# The log of the copy becomes longer than the first one's was, in the same timeline.
$copy->safe_psql('postgres',
	"SELECT pg_logical_emit_message(false, 'uds', repeat('x', 1000000)), pg_switch_wal()")
  for 1 .. 3;
for my $round ('crash', 'stop')
{
	$copy->stop($round eq 'crash' ? 'immediate' : 'fast');
	$copy->start;
	uds_wait_for_state($copy, 'online');
	is(answers($copy, 'beyond', 3 * $chapter), '0, 0',
		"it does not come back as the log grows past it, $round");
	is(answers($copy, 'kept', 2 * $chapter), 2 * $chapter . ', 0', "the rest stays, $round");
}
$copy->stop;
File::Path::rmtree($directory);
rename("$place/of the first", $directory) or die "could not put back the files: $!";

# ---- a copy of a suspended index ------------------------------------------------------------

$first->start;
uds_wait_for_state($first, 'online');
$first->safe_psql('postgres', 'SELECT uds_suspend()');
# As an administrator does.
system_or_bail('cp', '-a', $directory, "$place/suspended");
$first->safe_psql('postgres', 'SELECT uds_resume()');
uds_post_range($first, 'later', 1, $chapter);
$first->backup('later');
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init_from_backup($first, 'later');
$other->append_conf('postgresql.conf', "uds.directory = '$place/suspended'");
$other->start;
uds_wait_for_state($other, 'online');
is(answers($other, 'kept', 2 * $chapter + 10), 2 * $chapter + 10 . ', 0',
	'suspended copy: opens with everything');
is(answers($other, 'beyond', 3 * $chapter), 3 * $chapter . ', 0', 'suspended copy: also the newest');
is(answers($other, 'later', $chapter), '0, 0', 'suspended copy: and without what came later');
is($other->safe_psql('postgres', 'SELECT count(*) FROM uds_verify()'), 0, 'suspended copy: it is sound');
ok(!$other->log_contains('chapters are missing|cannot be used|is not used'),
	'suspended copy: nothing had to be repaired');
is(uds_post_range($other, 'own', 1, $chapter), 0, 'suspended copy: takes digests');
is(answers($first, 'later', $chapter), "$chapter, 0", 'the first server has its own');

for my $node ($first, $other)
{
	ok(!$node->log_contains('PANIC|TRAP|terminated by signal'), $node->name . ': the log is clean');
	$node->stop;
}
done_testing();
