# Damaged files: the server starts and everything else works whatever is in them.  Answers are right
# or "not found", damage is counted and told, an index that cannot be used is offline with a reason
# and comes back with uds_reset().
use strict;
use warnings;

use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# ---- what is in the files -------------------------------------------------------------------

# Of uds.memory = 4MB: 7 index pages, 64 record pages and the seal.
my $chapter = 8128;
my $page = 4096;
my $index_pages = 7;
my $pages = 72;

# In this order: digests that will be deleted, digests, a save, the deletes, digests.
my $gone = 2000;
my $before_save = 30_000;
my $golden = 50_000;
my $sealed = 6;    # chapters; the seventh is open
my @files = qw(control volume checkpoint.0 checkpoint.1 lock);

# Chapter of a digest: one zone fills chapters in the order of the posts.
sub chapter_of
{
	my ($number) = @_;
	my $place = $gone + $number - 1;

	$place += $gone if $number > $before_save;
	return int($place / $chapter);
}

# Digests in a set of chapters.
sub count_in
{
	my %wanted = map { $_ => 1 } @_;

	return scalar grep { $wanted{ chapter_of($_) } } 1 .. $golden;
}

# Digests in all chapters but some.
sub count_without
{
	my %unwanted = map { $_ => 1 } @_;

	return count_in(grep { !$unwanted{$_} } 0 .. $sealed);
}

sub page_offset
{
	my ($chapter_number, $page_number) = @_;

	return (1 + $chapter_number * $pages + $page_number) * $page;
}

# ---- tools ----------------------------------------------------------------------------------

my $node = uds_cluster('damage');
my $directory = uds_directory($node);
my $kept = PostgreSQL::Test::Utils::tempdir;

# Keep a copy of the files under a name.
sub keep_files
{
	my ($name) = @_;

	mkdir "$kept/$name" or die "could not create $kept/$name: $!";
	for my $file (@files)
	{
		copy("$directory/$file", "$kept/$name/$file") or die "could not copy $file: $!";
	}
}

# Stop the server, and put back the copy of that name.
sub restore_files
{
	my ($name) = @_;

	$node->stop('immediate', fail_ok => 1);
	for my $file (glob("$directory/*"))
	{
		-d $file ? rmdir $file : unlink $file or die "could not remove $file: $!";
	}
	for my $file (@files)
	{
		copy("$kept/$name/$file", "$directory/$file") or die "could not copy $file: $!";
	}
}

sub read_bytes
{
	my ($file, $offset, $bytes) = @_;
	my $data;

	open(my $handle, '<:raw', "$directory/$file") or die "could not open $file: $!";
	sysseek($handle, $offset, 0);
	defined(sysread($handle, $data, $bytes)) or die "could not read $file: $!";
	close($handle);
	return $data;
}

sub write_bytes
{
	my ($file, $offset, $data) = @_;

	open(my $handle, '+<:raw', "$directory/$file") or die "could not open $file: $!";
	sysseek($handle, $offset, 0);
	syswrite($handle, $data) == length($data) or die "could not write $file: $!";
	close($handle);
}

# Flip a bit of a byte.
sub flip
{
	my ($file, $offset, $bit) = @_;

	write_bytes($file, $offset,
		chr(ord(read_bytes($file, $offset, 1)) ^ 1 << ($bit // 0)));
}

sub size_of
{
	return -s "$directory/$_[0]";
}

my $log_start = 0;

sub start_server
{
	$log_start = -s $node->logfile // 0;
	$node->start;
	$node->poll_query_until('postgres', "SELECT state <> 'recovering' FROM uds_stats")
	  or die 'recovery does not end';
}

sub count_in_log
{
	return uds_count_in_log($node, $_[0], $log_start);
}

# Known digests, and such with metadata that is not theirs.
sub count_answers
{
	my ($word, $count) = @_;

	return uds_count_answers($node, $word, 1, $count);
}

# As many digests are known as expected, none has wrong metadata, deleted ones are not found unless
# their tombstones are lost.
sub answers_are
{
	my ($name, $expected, $deleted_come_back) = @_;
	my ($known, $wrong) = count_answers('golden', $golden);
	my ($gone_known, $gone_wrong) = count_answers('gone', $gone);

	is($node->safe_psql('postgres', "SELECT state FROM uds_stats"), 'online', "$name: online");
	is($known, $expected, "$name: digests found");
	is($wrong + $gone_wrong, 0, "$name: no wrong metadata");
	is($gone_known, 0, "$name: deleted digests are not found") unless $deleted_come_back;
}

# The index takes new digests, over several chapters, and finds them.
sub index_works
{
	my ($name) = @_;

	is(uds_post_range($node, $name, 1, 20_000), 0, "$name: takes new digests");
	is(uds_post_range($node, $name, 1, 20_000), 20_000, "$name: finds them again");
}

sub is_offline
{
	my ($name, $reason, $is_of_system) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT uds_post(digest_of('golden', 1))");

	like(uds_state($node), qr/^offline: $reason/, "$name: offline with the reason");
	like($stderr, qr/55000: uds is offline: $reason/, "$name: so says the error of a post");
	like($stderr, qr/HINT: .*uds_reset\(\)/, "$name: with a hint") unless $is_of_system;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM other_table'),
		1000, "$name: tables work");
}

sub reset_works
{
	my ($name) = @_;

	$node->safe_psql('postgres', 'SELECT uds_reset()');
	is(uds_state($node), 'online', "$name: uds_reset() brings it online");
	is((count_answers('golden', $golden))[0], 0, "$name: with everything forgotten");
	is(uds_post_range($node, "$name", 1, 10_000), 0, "$name: it takes digests");
	$node->restart;
	uds_wait_for_state($node, 'online');
	is((count_answers($name, 10_000))[0], 10_000, "$name: and keeps them");
}

# ---- files ----------------------------------------------------------------------------------

$node->start;
uds_prepare($node);
$node->safe_psql('postgres', q{
	CREATE TABLE other_table AS SELECT generate_series(1, 1000) number;
});
uds_post_range($node, 'gone', 1, $gone);
uds_post_range($node, 'golden', 1, $before_save);
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
is($node->safe_psql('postgres',
		"SELECT count(*) FILTER (WHERE known) FROM unnest((SELECT uds_delete_many("
		  . "array_agg(digest_of('gone', number))) FROM generate_series(1, $gone) number)) known"),
	$gone, 'deleted');
uds_post_range($node, 'golden', $before_save + 1, $golden);
is($node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats'),
	$sealed, 'as many chapters as planned');

# Both saves: the one above, and that of the stop.
$node->stop;
keep_files('clean');
ok(-s "$kept/clean/checkpoint.0" && -s "$kept/clean/checkpoint.1", 'two saves');
# control names the newer one.
my $newer = unpack('V', read_bytes('control', 60, 4));
my $older = 1 - $newer;

start_server();
answers_are('undamaged', $golden);
$node->stop('immediate');
keep_files('crashed');

# ---- control --------------------------------------------------------------------------------

restore_files('clean');
unlink "$directory/control";
my $size = size_of('volume');
start_server();
is_offline('control missing', 'control file is missing beside a volume');
$node->stop;
ok(!-e "$directory/control", 'control missing: it is not created anew');
is(size_of('volume'), $size, 'control missing: the volume stays as it is');
copy("$kept/clean/control", "$directory/control");
start_server();
answers_are('control put back', $golden);

restore_files('clean');
flip('control', 100);
start_server();
is_offline('control bad', 'control file is damaged');
reset_works('control bad');

restore_files('clean');
truncate "$directory/control", 100;
start_server();
is_offline('control truncated', 'control file is too short');
$node->stop;
is(size_of('control'), 100, 'control truncated: it stays as it is');

# ---- volume ---------------------------------------------------------------------------------

restore_files('clean');
my $header = read_bytes('volume', 0, $page);
flip('volume', 20, 3);
flip('volume', 1000);
start_server();
answers_are('header bad', $golden);
is(count_in_log('header of the volume is damaged and is written anew'),
	1, 'header bad: told');
ok(read_bytes('volume', 0, $page) eq $header, 'header bad: written from control');
index_works('header bad');

restore_files('clean');
unlink "$directory/volume";
start_server();
is_offline('volume missing', 'volume is missing');
ok(!-e "$directory/volume", 'volume missing: it is not created anew');
reset_works('volume missing');

restore_files('clean');
truncate "$directory/volume", page_offset(3, 40);
start_server();
answers_are('volume truncated', count_without(3, 4, 5), 'tombstones are lost');
is(count_in_log('3 of 6 chapters are missing'), 1, 'volume truncated: told');
index_works('volume truncated');

restore_files('clean');
truncate "$directory/volume", 0;
start_server();
answers_are('volume empty', count_in(6), 'tombstones are lost');
index_works('volume empty');

# ---- pages ----------------------------------------------------------------------------------

# Two record pages of a chapter, an index page of another one.
sub damage_pages
{
	flip('volume', page_offset(1, $index_pages + 5) + 700, 7);
	write_bytes('volume', page_offset(1, $index_pages + 9), "\0" x $page);
	flip('volume', page_offset(2, 3) + 30);
}

# What an index page leads to, within some tolerance.
sub pages_are_missed
{
	my ($name) = @_;
	my ($known, $wrong) = count_answers('golden', $golden);
	my $share = $chapter / $index_pages;

	is($wrong, 0, "$name: no wrong metadata");
	cmp_ok(abs($golden - 2 * 127 - $share - $known),
		'<', $share / 5, "$name: records of damaged pages are not found, all others are ($known)");
}

restore_files('clean');
damage_pages();
start_server();
pages_are_missed('bad pages');
cmp_ok($node->safe_psql('postgres', 'SELECT bad_pages FROM uds_stats'), '>=', 3,
	'bad pages: counted');
pages_are_missed('bad pages again');
is(count_in_log('page \d+ of chapter 1 cannot be used'), 1, 'bad pages: told once a chapter');
is(count_in_log('page \d+ of chapter 2 cannot be used'), 1, 'bad pages: of the other, too');
is(count_in_log('page \d+ of chapter \d+ cannot be used'), 2, 'bad pages: of no other');
index_works('bad pages');

# The same without a save: found while all chapters are read.
restore_files('clean');
unlink "$directory/checkpoint.0", "$directory/checkpoint.1";
damage_pages();
start_server();
my ($known, $wrong) = count_answers('golden', $golden);
is($wrong, 0, 'bad pages without a save: no wrong metadata');
cmp_ok(count_without(6) - $known, '>=', 2 * 127, 'bad pages without a save: not found');
is(count_in_log('0 chapters and 3 pages are damaged'), 1, 'bad pages without a save: told');

# In a running server.
restore_files('clean');
start_server();
damage_pages();
pages_are_missed('pages go bad');
cmp_ok($node->safe_psql('postgres', 'SELECT bad_pages FROM uds_stats'), '>=', 3,
	'pages go bad: counted');
restore_files('clean');
start_server();
truncate "$directory/volume", page_offset(4, 20);
($known, $wrong) = count_answers('golden', $golden);
is($wrong, 0, 'volume gets shorter: no wrong metadata');
cmp_ok($known, '>=', count_without(4, 5), 'volume gets shorter: the other chapters are found');
cmp_ok($known, '<', count_without(5), 'volume gets shorter: what is behind its end is not');
cmp_ok(count_in_log('file is too short'), '>=', 1, 'volume gets shorter: told');
index_works('volume gets shorter');

# A page of another place or time is no page of this one.
restore_files('clean');
write_bytes('volume', page_offset(1, $index_pages),
	read_bytes('volume', page_offset(2, $index_pages), $page));
write_bytes('volume', page_offset(3, $index_pages),
	read_bytes('volume', page_offset(3, $index_pages + 1), $page));
start_server();
answers_are('misplaced pages', $golden - 2 * 127, 'tombstones may be lost');

# ---- seals ----------------------------------------------------------------------------------

restore_files('clean');
flip('volume', page_offset(2, $pages - 1) + 40);
start_server();
answers_are('seal bad', count_without(2));
is(count_in_log('a chapter is lost: seal of physical chapter 2 is damaged'), 1, 'seal bad: told');
index_works('seal bad');

# Not even a seal.
restore_files('clean');
write_bytes('volume', page_offset(2, $pages - 1), "\0" x $page);
start_server();
answers_are('seal missing', count_without(2));
is(count_in_log('1 of 6 chapters are missing'), 1, 'seal missing: told');

# The newest chapter is verified as a whole.
restore_files('crashed');
flip('volume', page_offset(5, 50) + 99);
start_server();
answers_are('newest chapter torn', count_without(5));
is(count_in_log('the newest chapter 5 is incomplete and dropped'), 1, 'newest chapter torn: told');
index_works('newest chapter torn');

# ---- saves ----------------------------------------------------------------------------------

restore_files('clean');
flip("checkpoint.$newer", 5000);
start_server();
answers_are('newer save bad', count_without(6));
is(count_in_log('save \d+ cannot be used: save \d+ is damaged'), 1, 'newer save bad: told');
is(count_in_log('recovered 6 chapters, 3 of them replayed after the last save'),
	1, 'newer save bad: the other one is used');
index_works('newer save bad');

restore_files('clean');
truncate "$directory/checkpoint.$newer", size_of("checkpoint.$newer") - 10;
write_bytes("checkpoint.$older", 0, "\0" x $page);
start_server();
answers_are('both saves bad', count_without(6));
is(count_in_log('recovered 6 chapters, 6 of them replayed, without a save'),
	1, 'both saves bad: the volume is used');
index_works('both saves bad');

restore_files('clean');
unlink "$directory/checkpoint.$newer", "$directory/checkpoint.$older";
start_server();
answers_are('saves missing', count_without(6));
is(count_in_log('save \d+ cannot be used: file is missing'), 1, 'saves missing: told');

# ---- what is not a file ---------------------------------------------------------------------

restore_files('clean');
chmod 0, "$directory/volume";
start_server();
is_offline('volume unreadable', 'could not open file "[^"]*volume": Permission denied',
	'an error of the system');
$node->stop;
chmod 0600, "$directory/volume";
start_server();
answers_are('volume readable again', $golden);

restore_files('clean');
unlink "$directory/control";
mkdir "$directory/control";
start_server();
is_offline('control is a directory', 'could not read file "[^"]*control" at 0: Is a directory',
	'an error of the system');

restore_files('clean');
unlink "$directory/lock";
write_bytes_of_new_file('control.new', 'left by a crash');
start_server();
answers_are('no lock, rest of a control file', $golden);

sub write_bytes_of_new_file
{
	my ($file, $data) = @_;

	open(my $handle, '>:raw', "$directory/$file") or die "could not create $file: $!";
	print $handle $data;
	close($handle);
}

# ---- random damage --------------------------------------------------------------------------

my $seed = $ENV{UDS_SEED} // time() ^ $$ << 8;
my $rounds = $ENV{UDS_DAMAGE_ROUNDS} // 30;
srand($seed);

# Damage a file in some way; returns what was done.
sub damage
{
	my ($file) = @_;
	my $bytes = size_of($file);
	my $kind = int(rand(5));

	return "$file is empty" if $bytes == 0;
	if ($kind == 0)
	{
		my $count = 1 + int(rand(20));

		flip($file, int(rand($bytes)), int(rand(8))) for 1 .. $count;
		return "$count bits of $file flipped";
	}
	if ($kind == 1)
	{
		my $length = int(rand($bytes));

		truncate "$directory/$file", $length;
		return "$file truncated to $length";
	}
	my $offset = $page * int(rand($bytes / $page));
	my $length = $bytes - $offset < $page ? $bytes - $offset : $page;
	if ($kind == 2)
	{
		write_bytes($file, $offset, "\0" x $length);
		return "$file zeroed at $offset";
	}
	if ($kind == 3)
	{
		write_bytes($file, $offset, join('', map { chr(int(rand(256))) } 1 .. $length));
		return "$file overwritten at $offset";
	}
	my $from = $page * int(rand($bytes / $page));
	write_bytes($file, $offset, substr(read_bytes($file, $from, $page), 0, $length));
	return "$file at $offset overwritten with $from";
}

note("seed $seed (UDS_SEED), $rounds rounds (UDS_DAMAGE_ROUNDS)");
my %states;
for my $round (1 .. $rounds)
{
	my $copy = $round % 2 ? 'clean' : 'crashed';
	my @damage;

	restore_files($copy);
	# Each file in turn, then several of the larger ones together.
	if ($round <= 2 * 4)
	{
		push @damage, damage($files[ ($round - 1) / 2 ]);
	}
	else
	{
		push @damage, damage($files[ 1 + int(rand(3)) ]) for 0 .. int(rand(4));
	}
	my $name = "round $round, seed $seed: $copy, " . join('; ', @damage);
	start_server();
	my ($state) = uds_state($node) =~ /^(\w+)/;
	$states{$state}++;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM other_table'), 1000, $name)
	  or last;
	if ($state eq 'offline')
	{
		my $reason = uds_state($node);
		like($reason, qr/^offline: \w+/, "$name: has a reason") or last;
		$node->safe_psql('postgres', 'SELECT uds_reset()');
	}
	my ($known, $wrong) = count_answers('golden', $golden);
	my (undef, $gone_wrong) = count_answers('gone', $gone);
	my ($strange) = count_answers('never posted', 5000);
	my $new = uds_post_range($node, "round $round", 1, 10_000);
	my $found = uds_post_range($node, "round $round", 1, 10_000);
	ok($wrong == 0 && $gone_wrong == 0 && $strange == 0 && $new == 0 && $found == 10_000,
		"round $round: right answers")
	  or diag("$name: $known known, $wrong and $gone_wrong wrong, $strange never posted, "
		  . "$new new ones seen, $found found again");
	is(uds_state($node), 'online', "round $round: online");
}
note(join(', ', map { "$states{$_} times $_" } sort keys %states));

ok(!$node->log_contains('PANIC|terminated by signal|TRAP'), 'no process has crashed');
$node->stop('immediate');
done_testing();
