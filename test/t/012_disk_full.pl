# A full disk: the index becomes read only and answers on, or is offline if it cannot even be opened;
# what stores fails with a clear error, the server goes on.  With room again uds_checkpoint() or
# uds_resume() brings it online, and nothing was lost.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;

# Digests of a word from the first one on that are known, and such with wrong metadata.
sub answers
{
	my ($node, $word, $count) = @_;

	return join(', ', uds_count_answers($node, $word, 1, $count));
}

# Post batches of a word until the index is read only; how many have surely been answered.
sub fill
{
	my ($node, $word) = @_;
	my $answered = 0;

	for my $batch (0 .. 99)
	{
		my ($first, $last) = ($batch * 1000 + 1, $batch * 1000 + 1000);
		my ($status) =
		  $node->psql('postgres', "SELECT post_range('$word', $first, $last)");

		last if $status != 0;
		$answered = $last;
	}
	return $answered;
}

# What stores fails with this text and the rest of the story, what does not is answered.
sub is_read_only
{
	my ($node, $reason, $name) = @_;

	like(uds_state($node), qr/^read only: chapter \d+ could not be written: $reason/,
		"$name: read only with the reason");
	for my $call (
		"uds_post(sha256('new'), 'data')",
		"uds_update(sha256('new'), 'data')",
		"uds_resolve(sha256('new'), 'data')",
		"uds_delete(digest_of('kept', 1))",
		"uds_post_many(ARRAY[sha256('new')])")
	{
		my (undef, undef, $stderr) =
		  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT $call");

		like($stderr, qr/ERROR:  55000: uds is read only\n/, "$name: $call fails");
		like($stderr, qr/DETAIL:  chapter \d+ could not be written: $reason/,
			"$name: with the cause");
		like($stderr, qr/HINT:  When the cause is removed, uds_checkpoint\(\) tries to write/,
			"$name: and a hint");
	}
	is($node->safe_psql('postgres', "SELECT uds_peek(sha256('new')) IS NULL"),
		't', "$name: the failed post has stored nothing");
	is($node->safe_psql('postgres', "SELECT uds_post(digest_of('kept', 2))"),
		't', "$name: a post of a known digest is answered");
	is($node->safe_psql('postgres', "SELECT uds_query(digest_of('kept', 3)) = metadata_of(3)"),
		't', "$name: so is a query");
	is($node->safe_psql('postgres',
			'CREATE TABLE made_meanwhile AS SELECT generate_series(1, 1000); '
			  . 'SELECT count(*) FROM made_meanwhile; DROP TABLE made_meanwhile'),
		1000, "$name: the server goes on");
}

# The whole story.  full and room make the disk full and empty again, a function brings it online
# then.  Returns how many digests of the word "more" are known.
sub disk_gets_full
{
	my ($node, $name, $reason, $full, $room, $function) = @_;

	uds_post_range($node, 'kept', 1, 3 * $chapter);
	# All of them are in the volume now, which has to grow for the next chapter.
	$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
	$full->();
	my $answered = fill($node, 'more');
	cmp_ok($answered, '>', 0, "$name: $answered digests were answered before it was noticed");
	is_read_only($node, $reason, $name);
	is(answers($node, 'kept', 3 * $chapter), 3 * $chapter . ', 0', "$name: sealed ones are found");
	is(answers($node, 'more', $answered), "$answered, 0", "$name: and those in memory");

	# Still no room: it stays as it is.
	my (undef, undef, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT uds_checkpoint()");
	like($stderr, qr/ERROR:  \w+: $reason/, "$name: uds_checkpoint() fails");
	is_read_only($node, $reason, "$name, after uds_checkpoint()");
	is(answers($node, 'more', $answered), "$answered, 0", "$name: nothing was lost by that");

	# A writer that is started again takes it over as it is.
	my $pid = uds_worker_pid($node, 'uds chapter writer');
	kill 'TERM', $pid;
	uds_wait_for_other_pid($node, 'uds chapter writer', $pid);
	like(uds_state($node), qr/^read only/, "$name: still read only with another writer");

	$room->();
	$node->safe_psql('postgres', "SELECT $function");
	is(uds_state($node), 'online', "$name: $function brings it online when there is room");
	is(answers($node, 'kept', 3 * $chapter), 3 * $chapter . ', 0', "$name: everything is there");
	is(answers($node, 'more', $answered), "$answered, 0", "$name: also what was in memory");
	is(uds_post_range($node, 'later', 1, 3 * $chapter), 0, "$name: it takes new digests");
	return $answered;
}

# ---- a limit for the writer's files ---------------------------------------------------------

# Files of this process cannot grow beyond a size.
sub limit_file_size
{
	my ($pid, $limit) = @_;

	system_or_bail('prlimit', "--pid=$pid", "--fsize=$limit:");
}

my $node = uds_cluster('limit');
my $volume = uds_directory($node) . '/volume';
my $full = sub { limit_file_size(uds_worker_pid($node, 'uds chapter writer'), -s $volume) };
my $room =
  sub { limit_file_size(uds_worker_pid($node, 'uds chapter writer'), 'unlimited') };

$node->start;
uds_prepare($node);
my $answered = disk_gets_full($node, 'file size limit',
	'could not write file "[^"]*volume" at \d+: File too large', $full, $room, 'uds_checkpoint()');
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is(answers($node, 'kept', 3 * $chapter),
	3 * $chapter . ', 0', 'after a crash: everything is there');
is(answers($node, 'more', $answered), "$answered, 0", 'after a crash: also what was in memory');

# ---- room for chapters, but not for a save --------------------------------------------------

my $last = $node->safe_psql('postgres', 'SELECT last_checkpoint FROM uds_stats');
my ($saved) = sort { $b <=> $a } map { -s } glob(uds_directory($node) . '/checkpoint.*');
cmp_ok($saved, '>', -s $volume, 'a save is larger than the volume');
limit_file_size(uds_worker_pid($node, 'uds chapter writer'), $saved - 1000);
my (undef, undef, $stderr) =
  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT uds_checkpoint()");
like($stderr, qr/could not write file "[^"]*checkpoint\.[01]" at \d+: File too large/,
	'a save that fails says so');
is(uds_state($node), 'online', 'and the index stays online');
is($node->safe_psql('postgres', 'SELECT last_checkpoint FROM uds_stats'),
	$last, 'with the save it had');
is(uds_post_range($node, 'without a save', 1, 100), 0, 'it takes digests');
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is(answers($node, 'more', $answered), "$answered, 0", 'the save before is used after a crash');

# ---- stop while it is full ------------------------------------------------------------------

$full->();
fill($node, 'unsaved');
like(uds_state($node), qr/^read only/, 'full once more');
$node->stop('fast');
$node->start;
uds_wait_for_state($node, 'online');
is(answers($node, 'more', $answered),
	"$answered, 0", 'a stop while it is full keeps what is on disk');
is((uds_count_answers($node, 'unsaved', 1, 50_000))[1], 0, 'and gives no wrong metadata');
$node->stop;

# ---- a small file system --------------------------------------------------------------------

# Mounted in a user namespace of the server's own, where the system lets everybody make one.
sub start_with_small_disk
{
	my ($small, $where, $bytes) = @_;
	my $tools = PostgreSQL::Test::Utils::tempdir;
	my $pg_ctl = $small->config_data('--bindir') . '/pg_ctl';
	my ($user, $group) = ($<, (split / /, $()[0]);

	open(my $script, '>', "$tools/pg_ctl") or die "could not create $tools/pg_ctl: $!";
	print $script <<EOS;
#!/bin/sh
exec unshare --user --map-root-user --mount sh -c '
	mount -t tmpfs -o size=$bytes,mode=0700 uds "$where" &&
	exec unshare --user --map-user=$user --map-group=$group "$pg_ctl" "\$@"' sh "\$@"
EOS
	close($script);
	chmod 0755, "$tools/pg_ctl";
	local $ENV{PATH} = "$tools:$ENV{PATH}";
	$small->start;
}

SKIP:
{
	my $where = PostgreSQL::Test::Utils::tempdir;
	my ($out, $error);

	skip 'this user cannot make a user namespace, so there is no small file system', 1
	  unless IPC::Run::run(
		[ qw(unshare --user --map-root-user --mount mount -t tmpfs uds), $where ],
		'>', \$out, '2>', \$error);

	my $small = uds_cluster('small', "uds.directory = '$where/uds'");

	# Two saves of 4MB, and some chapters of 300 kB.
	start_with_small_disk($small, $where, 16 * 1024 * 1024);
	uds_prepare($small);
	disk_gets_full(
		$small,
		'small file system',
		'could not write file "[^"]*volume" at \d+: No space left on device',
		# The server's own programs see its file system.
		sub {
			$small->safe_psql('postgres',
				"COPY (SELECT) TO PROGRAM 'cat /dev/zero >$where/ballast 2>$where/error; true'");
		},
		sub {
			$small->safe_psql('postgres', "COPY (SELECT) TO PROGRAM 'rm $where/ballast'");
		},
		'uds_checkpoint()');
	$small->stop;
}

# ---- a small file system that outlives the server ---------------------------------------------

# Fill a file system but for some bytes.
sub fill_disk
{
	my ($where, $spare) = @_;

	open(my $ballast, '>:raw', "$where/ballast") or die "could not create $where/ballast: $!";
	$ballast->autoflush(1);
	1 while syswrite($ballast, "\0" x 65536);
	truncate($ballast, (-s $ballast) - $spare) or die "could not truncate $where/ballast: $!";
	close($ballast);
}

SKIP:
{
	# A tmpfs of about 24 MB that this user may write to: scripts/test mounts one.
	my $where = $ENV{UDS_TMPFS};

	skip 'UDS_TMPFS does not name a small file system', 1 unless $where;
	File::Path::rmtree([ "$where/uds", "$where/ballast" ]);
	my $full_text = 'No space left on device';
	my $tmpfs = uds_cluster('tmpfs', "uds.directory = '$where/uds'");

	# Not even a control file can be made.
	fill_disk($where, 0);
	$tmpfs->start;
	uds_prepare($tmpfs);
	uds_wait_for_state($tmpfs, 'offline');
	for my $call ("uds_post(sha256('new'))", "uds_peek(sha256('new'))")
	{
		like(uds_error($tmpfs, $call),
			qr/ERROR:  55000: uds is offline: could not write file "[^"]*control.new" at 0: $full_text\nHINT: .* uds_resume/,
			"creation: $call tells the reason and what to do");
	}
	like(uds_error($tmpfs, 'uds_resume()'),
		qr/ERROR:  53100: could not write file "[^"]*control\.new" at 0: $full_text/,
		'creation: uds_resume() fails');
	is($tmpfs->safe_psql('postgres', 'SELECT 1'), 1, 'creation: the server goes on');
	unlink "$where/ballast" or die "could not remove $where/ballast: $!";
	$tmpfs->safe_psql('postgres', 'SELECT uds_resume()');
	is(uds_state($tmpfs), 'online', 'creation: uds_resume() makes the files when there is room');

	# Room for a part of a chapter.
	my $answered = disk_gets_full(
		$tmpfs,
		'tmpfs',
		"could not write file \"[^\"]*volume\" at \\d+: $full_text",
		sub { fill_disk($where, 100_000) },
		sub { unlink "$where/ballast" or die "could not remove $where/ballast: $!" },
		'uds_resume()');

	# The server is stopped and started while it is full.
	$tmpfs->safe_psql('postgres', 'SELECT uds_checkpoint()');
	fill_disk($where, 100_000);
	fill($tmpfs, 'unsaved');
	like(uds_state($tmpfs), qr/^read only/, 'tmpfs: full once more');
	my $log_start = -s $tmpfs->logfile;
	$tmpfs->stop;
	like(slurp_file($tmpfs->logfile, $log_start), qr/WARNING:  could not write file .*: $full_text/,
		'tmpfs: what could not be saved at the stop is told');
	unlink "$where/ballast";
	fill_disk($where, 0);
	$tmpfs->start;
	uds_wait_for_state($tmpfs, 'offline');
	like(uds_state($tmpfs), qr/^offline: could not write file "[^"]*control\.new" at 0: $full_text/,
		'tmpfs: started while it is full: offline with the reason');
	is($tmpfs->safe_psql('postgres', 'SELECT 1'), 1, 'tmpfs: the server goes on');
	unlink "$where/ballast" or die "could not remove $where/ballast: $!";
	$tmpfs->safe_psql('postgres', 'SELECT uds_resume()');
	is(uds_state($tmpfs), 'online', 'tmpfs: uds_resume() opens it when there is room');
	is(answers($tmpfs, 'kept', 3 * $chapter), 3 * $chapter . ', 0', 'tmpfs: everything saved is there');
	is(answers($tmpfs, 'more', $answered), "$answered, 0", 'tmpfs: also what was posted when it was full');
	is(answers($tmpfs, 'later', 3 * $chapter), 3 * $chapter . ', 0', 'tmpfs: and after that');
	is((uds_count_answers($tmpfs, 'unsaved', 1, 50_000))[1], 0, 'tmpfs: nothing is wrong');
	is($tmpfs->safe_psql('postgres', 'SELECT count(*) FROM uds_verify()'), 0, 'tmpfs: nor in the file');
	ok(!$tmpfs->log_contains('PANIC|TRAP|terminated by signal'), 'tmpfs: the log is clean');
	$tmpfs->stop;
	File::Path::rmtree("$where/uds");
}

done_testing();
