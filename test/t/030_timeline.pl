# Recovery to a point in time with index files that are newer than the data: what was posted after
# the point is not known, neither at first nor when the server's log has grown past it or the index
# was opened again; what was sealed before the point is.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;

# Outside of the data directory, so that they are not part of its backups.
my $directory = PostgreSQL::Test::Utils::tempdir . '/files';
my $kept = PostgreSQL::Test::Utils::tempdir;

# ---- the time that is going to be undone ----------------------------------------------------

my $origin = uds_cluster('origin', "uds.directory = '$directory'");
$origin->enable_archiving;
$origin->start;
uds_prepare($origin);
uds_post_range($origin, 'base', 1, 3 * $chapter);
$origin->safe_psql('postgres', 'SELECT uds_checkpoint()');
$origin->backup('base');

# Chapters 3 and 4, and a part of chapter 5.
uds_post_range($origin, 'before', 1, 2 * $chapter);
uds_post_range($origin, 'open', 1, 100);
$origin->safe_psql('postgres', 'SELECT uds_checkpoint()');
$origin->safe_psql('postgres',
	q{CREATE TABLE mark AS SELECT 'before the point'; SELECT pg_create_restore_point('the point')});
$origin->safe_psql('postgres', 'DROP TABLE mark');

# Chapters 5 to 8, and a part of chapter 9.  Some digests of the base move there, are changed and are
# deleted.
uds_post_range($origin, 'after', 1, 4 * $chapter);
$origin->safe_psql('postgres', q{
	SELECT count(uds_query(digest_of('base', n))), count(uds_update(digest_of('base', n + 100), 'changed')),
	       count(uds_delete(digest_of('base', n + 200)))
	FROM generate_series(1, 100) n});
is( $origin->safe_psql('postgres',
		'SELECT newest_chapter, pg_walfile_name(pg_current_wal_lsn()) LIKE \'00000001%\' FROM uds_stats'),
	'9|t', 'nine chapters, all of the first timeline');
$origin->poll_query_until('postgres', "SELECT volume_bytes > 9 * 72 * 4096 FROM uds_stats")
  or die 'the chapters are not written';
$origin->stop('immediate');
PostgreSQL::Test::RecursiveCopy::copypath($directory, "$kept/crashed");

# The same with saves of that time, and with the files marked clean.
$origin->start;
uds_wait_for_state($origin, 'online');
uds_post_range($origin, 'late', 1, 100);
$origin->safe_psql('postgres', 'SELECT uds_checkpoint()');
uds_post_range($origin, 'late', 101, 200);
$origin->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $end = $origin->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$origin->stop;
PostgreSQL::Test::RecursiveCopy::copypath($directory, "$kept/saved");

# ---- recovery to the point ------------------------------------------------------------------

# A server that has recovered to the point, with files of the time after it.
sub recover
{
	my ($files) = @_;
	my $node = PostgreSQL::Test::Cluster->new($files);

	rename($directory, "$kept/before $files") or die "could not rename $directory: $!";
	PostgreSQL::Test::RecursiveCopy::copypath("$kept/$files", $directory);
	$node->init_from_backup($origin, 'base', has_restoring => 1, standby => 0);
	$node->append_conf('postgresql.conf', qq{
		archive_mode = off
		recovery_target_name = 'the point'
		recovery_target_action = promote
		restart_after_crash = on});
	$node->start;
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
	  or die 'recovery does not end';
	uds_wait_for_state($node, 'online');
	return $node;
}

# Digests of a word that are known, and such with wrong metadata.
sub answers
{
	my ($node, $word, $count) = @_;

	return join(', ', uds_count_answers($node, $word, 1, $count));
}

# How many digests of the time after the point are known.
sub count_undone
{
	my ($node) = @_;

	return (uds_count_answers($node, 'after', 1, 4 * $chapter))[0]
	  + (uds_count_answers($node, 'late', 1, 200))[0];
}

sub time_is_undone
{
	my ($node, $open, $name) = @_;

	is(uds_state($node), 'online', "$name: online");
	is(count_undone($node), 0, "$name: what was posted after the point is not known");
	is(answers($node, 'base', 3 * $chapter), 3 * $chapter . ', 0',
		"$name: what was in the backup is, as it was");
	is(answers($node, 'before', 2 * $chapter), 2 * $chapter . ', 0',
		"$name: and so is what was sealed before the point");
	is(answers($node, 'open', 100), "$open, 0", "$name: chapter that was open at the point");
}

sub write_past_the_end
{
	my ($node) = @_;

	until ($node->safe_psql('postgres', "SELECT pg_current_wal_lsn() > '$end'::pg_lsn + 1000000") eq 't')
	{
		$node->safe_psql('postgres',
			q{SELECT pg_logical_emit_message(false, 'uds', repeat('x', 1000000)), pg_switch_wal()});
	}
}

# open: how many digests of the chapter that was open at the point are known.
sub stays_undone
{
	my ($files, $open) = @_;
	my $node = recover($files);
	my $name = "$files files";

	is($node->safe_psql('postgres', 'SELECT timeline FROM uds_stats'), 2, "$name: another timeline");
	is($node->safe_psql('postgres', "SELECT * FROM mark"), 'before the point',
		"$name: the data are of the point");
	cmp_ok($node->safe_psql('postgres', "SELECT '$end'::pg_lsn - pg_current_wal_lsn()"),
		'>', 0, "$name: whose log has not the length that it had");
	like(slurp_file($node->logfile), qr/ 4 chapters are not in this server's past/,
		"$name: the log tells of the chapters");
	is($node->safe_psql('postgres', 'SELECT dropped_chapters FROM uds_stats'),
		4, "$name: and uds_stats counts them");
	time_is_undone($node, $open, $name);

	# A save of the new time, and a little in the open chapter: the others still lie in the file.
	is(uds_post_range($node, 'lost', 1, 1000), 0, "$name: it takes digests");
	$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
	write_past_the_end($node);
	time_is_undone($node, $open, "$name, longer log");

	# That save is lost: the one before it is of this server's past, or none at all.
	$node->stop('immediate');
	my $save = unpack('V', substr(slurp_file("$directory/control"), 60, 4));
	truncate("$directory/checkpoint.$save", 4096) or die "could not truncate save $save: $!";
	$node->start;
	uds_wait_for_state($node, 'online');
	ok($node->log_contains('save \d+ cannot be used'), "$name: the save is damaged");
	time_is_undone($node, $open, "$name, longer log, damaged save");

	is(uds_post_range($node, 'new', 1, 1000), 0, "$name: it takes digests then");
	$node->restart;
	uds_wait_for_state($node, 'online');
	time_is_undone($node, $open, "$name, longer log, restart");
	uds_kill_and_start($node);
	uds_wait_for_state($node, 'online');
	time_is_undone($node, $open, "$name, longer log, crash");
	is(answers($node, 'new', 1000), '1000, 0', "$name: new digests are there after both");

	# Over the undone chapters.
	is(uds_post_range($node, 'after', 1, 4 * $chapter), 0, "$name: what was undone is new");
	is(uds_post_range($node, 'newer', 1, 4 * $chapter), 0, "$name: it takes more digests");
	$node->restart;
	uds_wait_for_state($node, 'online');
	for my $word ('after', 'newer')
	{
		is(answers($node, $word, 4 * $chapter), 4 * $chapter . ', 0', "$name: '$word' is kept");
	}
	is(answers($node, 'before', 2 * $chapter), 2 * $chapter . ', 0', "$name: 'before' as well");
	ok(!$node->log_contains('PANIC|TRAP|terminated by signal'), "$name: the log is clean");
	$node->stop;
}

# The save is of before the point, and has the open chapter of that time.
stays_undone('crashed', 100);
# The save is of after it, and the chapter with those digests was sealed after it.
stays_undone('saved', 0);

done_testing();
