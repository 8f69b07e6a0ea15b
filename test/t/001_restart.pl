# A clean restart keeps every fingerprint with its metadata, whatever the number of zones is then.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# More than three chapters of 8128 records, and a part of one.
my $count = 30_000;

my $node = uds_cluster('restart');
$node->start;
uds_prepare($node);

is(uds_post_range($node, 'kept', 1, $count), 0, 'new digests are new');
is(uds_post_range($node, 'kept', 1, $count), $count, 'posted again they are duplicates');

my $round = 0;
for my $mode ('fast', 'smart')
{
	$node->stop($mode);
	ok(!$node->log_contains('uds was not saved'), "$mode stop saves the index in time");
	$node->start;
	uds_wait_for_state($node, 'online');
	is(uds_count_known($node, 'kept', 1, $count), $count, "$mode stop keeps every digest");
	is(uds_count_wrong($node, 'kept', 1, $count), 0, "$mode stop keeps the metadata");
	$round++;
	is(uds_post_range($node, "round$round", 1, 1000), 0, "new digests are new after a $mode stop");
}

for my $zones (3, 2)
{
	$node->append_conf('postgresql.conf', "uds.zones = $zones");
	$node->restart;
	uds_wait_for_state($node, 'online');
	is(uds_count_known($node, 'kept', 1, $count), $count, "$zones zones find every digest");
	is(uds_count_wrong($node, 'kept', 1, $count), 0, "$zones zones find the metadata");
	is(uds_post_range($node, "zones$zones", 1, 20_000), 0, "$zones zones take new digests");
	is(uds_post_range($node, "zones$zones", 1, 20_000), 20_000, "$zones zones find them again");
}

# A stop under load: every answer that was given before it is remembered.
$node->safe_psql('postgres', q{
	CREATE TABLE progress (word text PRIMARY KEY, posted bigint NOT NULL);
	CREATE PROCEDURE work(my_word text) LANGUAGE plpgsql AS $$
	DECLARE
		n bigint := 0;
		seen bigint;
	BEGIN
		INSERT INTO progress VALUES (my_word, 0);
		LOOP
			seen := post_range(my_word, n + 1, n + 100);
			n := n + 100;
			UPDATE progress SET posted = n WHERE word = my_word;
			COMMIT;
		END LOOP;
	END $$;
});
my @words = map { "load$_" } 1 .. 4;
my @sessions = map { uds_session($node) } @words;
$sessions[$_]->query_until(qr/started/, "\\echo started\nCALL work('$words[$_]');\n") for 0 .. $#words;
$node->poll_query_until('postgres',
	'SELECT count(*) = 4 AND min(posted) > 2000 FROM progress')
  or die 'the load makes no progress';
$node->stop('fast');
$_->{run}->finish for @sessions;
ok(!$node->log_contains('uds was not saved'), 'a stop under load saves the index in time');
$node->start;
uds_wait_for_state($node, 'online');
for my $word (@words)
{
	my $posted =
	  $node->safe_psql('postgres', "SELECT posted FROM progress WHERE word = '$word'");

	is(uds_count_known($node, $word, 1, $posted), $posted, "all of $word is remembered");
	is(uds_count_wrong($node, $word, 1, $posted + 100), 0, "$word has no wrong metadata");
}

is($node->safe_psql('postgres', 'SELECT last_checkpoint IS NOT NULL FROM uds_stats'),
	't', 'the time of the last save is known');

$node->stop;
done_testing();
