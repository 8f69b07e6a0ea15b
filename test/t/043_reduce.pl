# An administrator can give the space of one chapter back: a suspended index is reduced, and goes on
# with all that its window holds, through restarts, crashes and the next windows.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $chapters = 128;
my $chapter_bytes = (7 + 64 + 1) * 4096;

my $node = uds_cluster('reduce', 'uds.zones = 1', 'uds.page_cache = 1MB');
my $volume = uds_directory($node) . '/volume';
$node->start;
uds_prepare($node);

sub value
{
	my ($statement) = @_;

	return $node->safe_psql('postgres', "SELECT $statement");
}

sub run_fails_with
{
	my ($statement, $expected, $name) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $statement);

	isnt($status, 0, "$name: fails");
	like($stderr, $expected, $name);
}

# Chapters that were begun short, and the first number posted into each: the last one counts.
my @starts = ([ 0, 1 ]);

sub chapter_of
{
	my ($number) = @_;
	my ($start) = grep { $_->[1] <= $number } reverse @starts;

	return $start->[0] + int(($number - $start->[1]) / $chapter);
}

# All of the window is known, and nothing of the chapter before it.
sub is_window_known
{
	my ($last, $name) = @_;
	my ($oldest, $newest) = split /\|/, value('oldest_chapter, newest_chapter FROM uds_stats');
	my $first = 1;
	my $before;

	$first++ while chapter_of($first) < $oldest;
	$before = $first;
	$before-- while $before > 1 && chapter_of($before - 1) >= $oldest - 1;
	is(join(', ', uds_count_answers($node, 'kept', $first, $last)),
		($last - $first + 1) . ', 0', "$name: chapters $oldest to $newest are there");
	is(uds_count_known($node, 'kept', $before, $first - 1), 0, "$name: those before are not")
	  if $before < $first;
}

sub space_of_volume
{
	return (stat($volume))[12] * 512;
}

# ---- a full volume ------------------------------------------------------------------------------

my $posted = ($chapters + 70) * $chapter + 500;
uds_post_range($node, 'kept', 1, $posted);
is_window_known($posted, 'before');
run_fails_with('SELECT uds_reduce()', qr/index is not suspended/, 'while it is online');
like(uds_state($node), qr/^online$/, 'which changes nothing');

my $session = uds_session($node);
value('uds_suspend()');
$session->query_until(qr/asking/,
	"\\echo asking\nSELECT uds_peek(digest_of('kept', $posted)) = metadata_of($posted);\n");
my $space = space_of_volume();
my $size = -s $volume;
value('uds_reduce()');
is(uds_state($node), 'suspended: it was reduced and is to be built again', 'reduced');
run_fails_with('SELECT uds_reduce()', qr/index is suspended without being in memory/, 'again at once');
is($size - -s $volume, 0, 'the file is as long as before');
is($space - space_of_volume(), $chapter_bytes, 'but takes the space of a chapter less');
value('uds_resume()');
like($session->query_safe('SELECT 1'), qr/^t$/m, 'a request that waited is answered');
$session->quit;

is(uds_state($node), 'online', 'resumed');
push @starts, [ value('newest_chapter FROM uds_stats'), $posted + 1 ];
is($starts[1][0], $chapters + 71, 'the open chapter was closed');
is_window_known($posted, 'reduced');
is(value('window_size FROM uds_stats'), ($chapters - 1) * $chapter, 'the window is shorter');
is(value('newest_chapter - oldest_chapter FROM uds_stats'), $chapters - 2, 'by one chapter');
is(value(q{value FROM uds_settings_check() WHERE item = 'window'}),
	($chapters - 1) * $chapter, 'the settings say so');
is(value('count(*) FROM uds_verify()'), 0, 'nothing is wrong on the volume');
is(value('count(*), count(DISTINCT place), max(place) FROM uds_chapters'),
	join('|', ($chapters - 2) x 3), 'every place but that of the open chapter is used');

value('uds_suspend(false)');
run_fails_with('SELECT uds_reduce()', qr/index is reduced already/, 'a second time');
value('uds_resume()');
is_window_known($posted, 'refused');

# ---- what comes after -------------------------------------------------------------------------------

$node->restart;
uds_wait_for_state($node, 'online');
is_window_known($posted, 'restarted');
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is_window_known($posted, 'after a crash');

# Over the chapter that was moved, and once more.
for my $round (1 .. 5)
{
	uds_post_range($node, 'kept', $posted + 1, $posted + 57 * $chapter);
	$posted += 57 * $chapter;
	$node->restart if $round % 2 == 0;
	uds_wait_for_state($node, 'online');
	is_window_known($posted, "round $round");
}
value('uds_rebuild()');
is(value('count(*) FROM uds_verify()'), 0, 'nothing is wrong after some windows');
cmp_ok(space_of_volume(), '<=', $space - $chapter_bytes, 'nor is the space taken again');

# A writer that was started anew knows what the files are.
my $writer = uds_worker_pid($node, 'uds chapter writer');
kill 'TERM', $writer;
uds_wait_for_other_pid($node, 'uds chapter writer', $writer);
uds_post_range($node, 'other', 1, 3 * $chapter);
is(uds_count_known($node, 'other', 1, 3 * $chapter), 3 * $chapter, 'another writer goes on');
is(value('count(*) FROM uds_verify()'), 0, 'in the right places');

value('uds_reset()');
is(value('window_size FROM uds_stats'), $chapters * $chapter, 'a reset gives the chapter back');
is(value(q{value FROM uds_settings_check() WHERE item = 'window'}),
	$chapters * $chapter, 'also for the settings');

# ---- a volume that is not full --------------------------------------------------------------------

@starts = ([ 0, 1 ]);
$posted = 3 * $chapter + 10;
uds_post_range($node, 'kept', 1, $posted);
value('uds_suspend(false)');
value('uds_reduce()');
uds_kill_and_start($node);
uds_wait_for_state($node, 'online');
is_window_known($posted, 'young, crashed before it was resumed');
is(value('count(*) FROM uds_chapters'), 4, 'nothing was lost');
is(value('window_size FROM uds_stats'), ($chapters - 1) * $chapter, 'and it is reduced');
is(value('count(*) FROM uds_verify()'), 0, 'and sound');

$node->stop;
done_testing();
