# A base backup that is taken while sessions post holds index files that were copied while they were
# written.  A server that is made of it opens them: what was sealed or saved before the backup is
# there, and nothing is answered wrong.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $window = 128 * $chapter;
my $session_count = 3;

my $node = uds_cluster('origin', 'uds.zones = 2');
$node->start;
uds_prepare($node);
$node->safe_psql('postgres', q{
	-- Posts digests of a word, until it is told to stop or before all together fill half a window.
	CREATE TABLE stop (word text);
	CREATE TABLE progress (word text PRIMARY KEY, posted bigint);
	CREATE PROCEDURE work(word text) LANGUAGE plpgsql AS $$
	DECLARE
		last bigint := 0;
	BEGIN
		WHILE last < 150000 AND NOT EXISTS (SELECT FROM stop) LOOP
			IF post_range(word, last + 1, last + 500) > 0 THEN
				RAISE EXCEPTION 'digests of % were never posted, but seen', word;
			END IF;
			last := last + 500;
			INSERT INTO progress VALUES (word, last)
				ON CONFLICT ON CONSTRAINT progress_pkey DO UPDATE SET posted = excluded.posted;
			COMMIT;
			-- A load that lasts as long as the backup does.
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
});

# Digests of a word that are known, and such with wrong metadata.
sub answers
{
	my ($server, $word, $count) = @_;

	return join(', ', uds_count_answers($server, $word, 1, $count));
}

sub progress_of
{
	my ($server) = @_;

	return split /\|/, $server->safe_psql('postgres',
		"SELECT string_agg(posted::text, '|' ORDER BY word) FROM progress");
}

# Take a backup while sessions post; what each of them had posted when it began.
sub back_up
{
	my ($name) = @_;
	my @sessions;

	$node->safe_psql('postgres', 'TRUNCATE stop; TRUNCATE progress');
	for my $number (1 .. $session_count)
	{
		my $session = uds_session($node);

		$session->query_until(qr/started/, "\\echo started\nCALL work('$name $number');\n");
		push @sessions, $session;
	}
	$node->poll_query_until('postgres',
		"SELECT count(*) = $session_count AND min(posted) >= $chapter FROM progress")
	  or die 'the sessions make no progress';
	my @before = progress_of($node);
	my $first_chapter = $node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats');
	# Slowly, so that many chapters are written meanwhile.
	$node->backup($name, backup_options => ['--max-rate=24M']);
	my $written = $node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats') - $first_chapter;
	cmp_ok($written, '>=', 3, "$name: $written chapters were closed while it was taken");
	$node->safe_psql('postgres', "INSERT INTO stop VALUES ('now')");
	for my $session (@sessions)
	{
		$session->query('SELECT 1');
		is($session->{stderr}, '', "$name: a session has not noticed it");
		$session->quit;
	}
	return @before;
}

# Start a server of its own from a backup.
sub start_copy
{
	my ($name) = @_;
	my $copy = PostgreSQL::Test::Cluster->new("copy of $name" =~ tr/ /_/r);

	ok(-s $node->backup_dir . "/$name/uds/volume", "$name: it has the files of the index");
	$copy->init_from_backup($node, $name);
	$copy->start;
	uds_wait_for_state($copy, 'online');
	is(uds_state($copy), 'online', "$name: the copy opens");
	return $copy;
}

# No answer of the copy is wrong, for what was posted before, during and after the backup.
sub nothing_is_wrong
{
	my ($copy, $name) = @_;
	my @posted = progress_of($node);
	my $strange = (uds_count_answers($copy, 'never posted', 1, 5000))[0];

	for my $number (1 .. $session_count)
	{
		my ($known, $wrong) =
		  uds_count_answers($copy, "$name $number", 1, $posted[ $number - 1 ]);

		is($wrong, 0, "$name: session $number: none of $known known digests has wrong metadata");
	}
	is($strange, 0, "$name: what was never posted is not known");
}

# A chapter that was written while it was copied may have old pages in the copy, which are misses; its
# number is not below the one that was open when the backup began.  The chapter that had its place
# before, the oldest of the window, may be missing.  Nothing else may be wrong.
sub verify_finds_only_torn_chapters
{
	my ($copy, $first_chapter, $name) = @_;

	note($copy->safe_psql('postgres', 'SELECT * FROM uds_verify()'));
	is( $copy->safe_psql('postgres',
			'SELECT count(*) FROM uds_verify() '
			  . "WHERE chapter < $first_chapter AND NOT (problem = 'chapter is missing' AND "
			  . "chapter BETWEEN $first_chapter - 128 AND (SELECT newest_chapter FROM uds_stats) - 120)"),
		0, "$name: chapters from before the backup are sound");
}

sub copy_works
{
	my ($copy, $name) = @_;

	is(uds_post_range($copy, "new in $name", 1, 3 * $chapter), 0, "$name: the copy takes digests");
	uds_kill_and_start($copy);
	uds_wait_for_state($copy, 'online');
	my ($known, $wrong) = uds_count_answers($copy, "new in $name", 1, 3 * $chapter);
	cmp_ok($known, '>=', 2 * $chapter - 500, "$name: and keeps what it has sealed");
	is($wrong, 0, "$name: with the right metadata");
	ok(!$copy->log_contains('PANIC|TRAP|terminated by signal'), "$name: the log is clean");
	$copy->stop;
}

# ---- a window with room ---------------------------------------------------------------------

my $saved = 5 * $chapter + 300;
uds_post_range($node, 'saved', 1, $saved);
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
uds_post_range($node, 'sealed', 1, 4 * $chapter);
my $first_chapter = $node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats');
my @before = back_up('room');
cmp_ok((uds_count_answers($node, 'saved', 1, $saved))[0], '==', $saved, 'room: nothing has expired');
my $copy = start_copy('room');
is(answers($copy, 'saved', $saved), "$saved, 0", 'room: what was saved before is there');
my ($known, $wrong) = uds_count_answers($copy, 'sealed', 1, 4 * $chapter);
cmp_ok($known, '>=', 3 * $chapter, "room: and so is what was sealed ($known)");
is($wrong, 0, 'room: with the right metadata');
for my $number (1 .. $session_count)
{
	# Each session has its share of the chapters that were open or not written yet.
	my $surely = $before[ $number - 1 ] - 4 * $chapter;

	($known, $wrong) = $surely > 0 ? uds_count_answers($copy, "room $number", 1, $surely) : (0, 0);
	cmp_ok($known, '>=', $surely, "room: session $number: what was sealed when it began");
}
nothing_is_wrong($copy, 'room');
verify_finds_only_torn_chapters($copy, $first_chapter, 'room');
copy_works($copy, 'room');

# ---- a full window, whose oldest chapters are overwritten while they are copied ---------------

uds_post_range($node, 'filling', 1, $window);
$first_chapter = $node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats');
cmp_ok($first_chapter, '>', 128, 'full: the window is full');
back_up('full');
$copy = start_copy('full');
nothing_is_wrong($copy, 'full');
# The oldest of these are overwritten, the newest were sealed before.
my $young = $window / 2;
($known, $wrong) = uds_count_answers($copy, 'filling', $young + 1, $window - 4 * $chapter);
is($known, $window - 4 * $chapter - $young, 'full: what was sealed before and did not expire is there');
is($wrong, 0, 'full: with the right metadata');
verify_finds_only_torn_chapters($copy, $first_chapter, 'full');
copy_works($copy, 'full');

ok(!$node->log_contains('PANIC|TRAP|terminated by signal'), 'the log is clean');
$node->stop;
done_testing();
