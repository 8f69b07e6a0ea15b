# A sparse index with 1, 2 and 4 zones: dense records are all found, old ones through the hooks that
# were posted with them, always with their own metadata; workers come and go, also the triage worker,
# and no statement fails; restarts, a crash and a wrong setting lose nothing that hooks lead to.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

# 4MB: 1280 chapters of 8128 records, 64 of them dense.
my $chapter = 8128;
my $posted = 700_000;
my $stretch = 40_000; # about 5 chapters
my $rounds = $ENV{UDS_SPARSE_ROUNDS} // 20;
my $session_count = 4;

my $node = uds_cluster('sparse', 'uds.sparse = on', 'max_worker_processes = 12');

# Restart with more lines of configuration.
sub restart_with
{
	$node->append_conf('postgresql.conf', join("\n", @_));
	$node->restart;
	$node->poll_query_until('postgres', "SELECT state <> 'recovering' FROM uds_stats")
	  or die 'recovery does not end';
}

# Digests of a range: how many are found, with metadata that was not posted for them, in a sparse
# chapter.
sub request
{
	my ($operation, $word, $first, $last) = @_;

	return split /\|/, $node->safe_psql('postgres',
		"SELECT * FROM request_range('$operation', '$word', $first, $last)");
}

sub statistic
{
	return $node->safe_psql('postgres', "SELECT $_[0] FROM uds_stats");
}

# Digests that were never posted are not found.
sub knows_no_strangers
{
	my ($name) = @_;
	my ($found) = request('peek', "stranger $name", 0, 49_999);

	is($found, 0, "$name: digests that were never posted are not found");
}

# Post an old stretch again, in its order: most of it is found, in sparse chapters.
sub finds_old_stretch
{
	my ($name, $first) = @_;
	my $before = statistic('sparse_posts_found');
	my ($found, $wrong, $sparse) = request('post', 'old', $first, $first + $stretch - 1);

	note("$name: $found of $stretch found, $sparse of them in sparse chapters");
	cmp_ok($found, '>=', 0.95 * $stretch, "$name: most of an old stretch is found");
	cmp_ok($sparse, '>=', 0.95 * $stretch, "$name: in sparse chapters");
	is($wrong, 0, "$name: with the right metadata");
	is(statistic('sparse_posts_found') - $before, $sparse, "$name: sparse_posts_found tells");
	is(join(', ', (request('peek', 'old', $first, $first + $stretch - 1))[ 0, 1 ]),
		"$stretch, 0", "$name: all of it is known again");
}

# Look into old chapters at many places, with few digests in a call and no chapter twice in a row: of
# the zones that share a call some get no hook, and find theirs through the hooks of the others only.
sub finds_places
{
	my ($name) = @_;
	my ($asked, $found) = split /\|/, $node->safe_psql('postgres', qq{
		SELECT 300 * 150, sum((SELECT count(metadata) FROM unnest(answers) metadata))
		FROM (SELECT uds_peek_many(array_agg(
		                 digest_of('old', place % 16 * $chapter + place / 16 * 200 + number))) answers
		      FROM generate_series(0, 299) place, generate_series(0, 149) number
		      GROUP BY place
		      ORDER BY place) places});

	note("$name: $found of $asked found at many places");
	cmp_ok($found, '>=', 0.95 * $asked, "$name: a hook in a call is enough for all of it");
}

sub finds_all
{
	my ($name, $word, $first, $last) = @_;
	my ($found, $wrong) = request('peek', $word, $first, $last);

	is("$found, $wrong", $last - $first + 1 . ', 0', $name);
}

$node->start;
uds_prepare($node);

# Batches of 5000 begin at multiples of 5000.
$node->safe_psql('postgres', q{
	CREATE FUNCTION request_range(op uds_operation, word text, first bigint, last bigint,
	                              OUT found bigint, OUT wrong bigint, OUT sparse bigint)
		LANGUAGE sql VOLATILE
	BEGIN ATOMIC
		SELECT count(*) FILTER (WHERE answer.found),
		       count(*) FILTER (WHERE answer.found
		                          AND answer.metadata <> metadata_of(batch.first + ordinality - 1)),
		       count(*) FILTER (WHERE answer.region = 'sparse')
		FROM (SELECT min(number) first, array_agg(digest_of(word, number) ORDER BY number) digests,
		             array_agg(metadata_of(number) ORDER BY number) metadata
		      FROM generate_series(first, last) number
		      GROUP BY number / 5000
		      ORDER BY number / 5000) batch,
		     LATERAL uds_request_many(op, batch.digests, batch.metadata) answer;
	END;

	CREATE TABLE stop (at timestamptz);

	-- New digests and old ones in turn, alone and in batches, until it is told to stop.
	CREATE PROCEDURE work(word text, old bigint, INOUT posted bigint) LANGUAGE plpgsql AS $$
	DECLARE
		answer record;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM stop) LOOP
			FOR i IN 1 .. 5 LOOP
				IF uds_post(digest_of(word, posted), metadata_of(posted)) THEN
					RAISE EXCEPTION 'digest % of % was never posted, but seen', posted, word;
				END IF;
				posted := posted + 1;
			END LOOP;
			answer := request_range('post', word, posted, posted + 99);
			IF answer.found > 0 THEN
				RAISE EXCEPTION '% of digests %.. of % were never posted, but seen',
					answer.found, posted, word;
			END IF;
			posted := posted + 100;
			answer := request_range('post', 'old', old, old + 49);
			IF answer.wrong > 0 THEN
				RAISE EXCEPTION '% wrong answers for old digests %..', answer.wrong, old;
			END IF;
			old := CASE WHEN old < 172000 THEN old + 50 ELSE 140000 END;
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
});

# Sessions post while every worker but the writer is terminated, many times.
sub works_while_workers_leave
{
	my ($name, @workers) = @_;
	my @sessions;

	$node->safe_psql('postgres', 'DELETE FROM stop');
	for my $number (1 .. $session_count)
	{
		my $session = uds_session($node);

		$session->query_until(qr/started/,
			"\\echo started\nCALL work('$name, session $number', "
			  . (132_000 + 8_000 * $number)
			  . ", 0);\n");
		push @sessions, $session;
	}
	for my $round (1 .. (@workers > 2 ? $rounds : ($rounds + 3) / 4))
	{
		my %pid = map { $_ => uds_worker_pid($node, $_) } @workers;

		kill 'TERM', $pid{$_} for $round % 2 ? @workers : reverse @workers;
		uds_wait_for_other_pid($node, $_, $pid{$_}) for @workers;
	}
	$node->safe_psql('postgres', 'INSERT INTO stop VALUES (now())');
	for my $number (1 .. $session_count)
	{
		my $session = $sessions[ $number - 1 ];
		my ($posted) = $session->query("SELECT 'done'") =~ /^(\d+)$/m;

		is($session->{stderr}, '', "$name: session $number has no error");
		ok(defined $posted && $posted > 0, "$name: session $number has posted");
		$session->quit;
		finds_all("$name: nothing of session $number is lost",
			"$name, session $number", 0, $posted - 1);
	}
	is(uds_state($node), 'online', "$name: online after that");
}

# Digests of a call that has hooks with right answers, in a session.
sub asks_in
{
	my ($session, $name) = @_;

	is($session->query("SELECT wrong, found > 0 FROM request_range('peek', 'old', 0, 4999)"),
		'0|t', $name);
	is($session->{stderr}, '', "$name: no error");
}

# A triage worker that does not answer, and one that is not there.
sub goes_on_without_triage
{
	my ($name) = @_;
	my $session = uds_session($node);
	my $triage = uds_worker_pid($node, 'uds triage');
	my $ask = "SELECT * FROM request_range('peek', 'old', 0, 4999)";

	asks_in($session, "$name: the session has its channels");
	kill 'STOP', $triage;
	# More than two: the third finds two of cancelled statements in flight.
	for my $try (1 .. 4)
	{
		$session->query("SET statement_timeout = '100ms'; $ask");
		like($session->{stderr}, qr/statement timeout/, "$name: statement_timeout ends call $try");
		$session->{stderr} = '';
	}
	$session->query("RESET statement_timeout; SET uds.wait_timeout = '100ms'; $ask");
	like($session->{stderr}, qr/did not answer within "uds\.wait_timeout"/,
		"$name: uds.wait_timeout ends a call");
	$session->{stderr} = '';
	$session->query('RESET uds.wait_timeout');
	kill 'CONT', $triage;
	asks_in($session, "$name: right answers when triage goes on");

	# It is started again after a second: a call that ends before has not waited for it.
	my $has_ended = 0;
	for my $try (1 .. 20)
	{
		$triage = uds_worker_pid($node, 'uds triage');
		kill 'TERM', $triage;
		$node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $triage");
		asks_in($session, "$name: right answers without triage");
		$has_ended = uds_worker_pid($node, 'uds triage') eq '';
		uds_wait_for_other_pid($node, 'uds triage', $triage);
		last if $has_ended;
	}
	ok($has_ended, "$name: a call ends while there is no triage worker");
	asks_in($session, "$name: right answers with its successor");
	$session->quit;
}

# ---- 1, 2 and 4 zones -----------------------------------------------------------------------

for my $zones (1, 2, 4)
{
	my $name = "$zones zones";
	my @workers = ((map { "uds zone $_" } 0 .. $zones - 1), 'uds reader 0');
	my ($found, $wrong, $sparse);

	push @workers, 'uds triage' if $zones > 1;
	restart_with("uds.zones = $zones");
	$node->safe_psql('postgres', 'SELECT uds_reset(), uds_stats_reset()');
	is(uds_state($node), 'online', "$name: online");
	is(uds_worker_pid($node, 'uds triage') ne '',
		$zones > 1, "$name: a triage worker with several zones only");

	($found) = request('post', 'old', 0, $posted - 1);
	is($found, 0, "$name: $posted new digests");
	cmp_ok(statistic('newest_chapter'), '>=', 64 + 20, "$name: chapters have become sparse");
	is(statistic('sparse_posts_found'), 0, "$name: nothing was found in them yet");
	finds_all("$name: all of the newest 60 chapters are known",
		'old', $posted - 60 * $chapter, $posted - 1);
	finds_places($name);
	finds_old_stretch($name, 10_000);
	knows_no_strangers($name);

	goes_on_without_triage($name) if $zones > 1;
	works_while_workers_leave($name, @workers);

	# The newest digests are those of the sessions; of the stretches, the next is still sparse.
	restart_with();
	finds_all("$name: known after a restart", "$name, session 1", 0, 999);
	finds_old_stretch("$name, restart", 60_000);

	$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
	request('post', "$name, after", 0, 2 * $chapter - 1);
	uds_kill_and_start($node);
	uds_wait_for_state($node, 'online');
	finds_all("$name: known after SIGKILL", 'old', 60_000, 60_000 + $stretch - 1);
	finds_old_stretch("$name, SIGKILL", 100_000);
	($found, $wrong) = request('peek', "$name, after", 0, 2 * $chapter - 1);
	is($wrong, 0, "$name: right metadata for what was posted before SIGKILL");
	knows_no_strangers("$name, SIGKILL");
}

# ---- settings -------------------------------------------------------------------------------

restart_with('uds.zones = 2');
is($node->safe_psql('postgres',
		"SELECT value, fits, note ~ ', triage and readers' FROM uds_settings_check() "
		  . "WHERE item = 'workers'"),
	'5|t|t', 'uds_settings_check() counts the triage worker');
is($node->safe_psql('postgres',
		"SELECT value, note FROM uds_settings_check() WHERE item = 'window'"),
	1280 * $chapter . '|1280 chapters of 8128 records, 1216 of them sparse',
	'uds_settings_check() shows the window');
my (undef, undef, $stderr) = $node->psql('postgres', "ALTER SYSTEM SET uds.sparse = 'rare'");
like($stderr, qr/parameter "uds\.sparse" requires a Boolean value/, 'a wrong value is refused');
(undef, undef, $stderr) = $node->psql('postgres', 'SET uds.sparse = off');
like($stderr, qr/cannot be changed without restarting the server/, 'it needs a restart');

restart_with('uds.sparse = off');
like(uds_state($node),
	qr/^offline: .*Files: 4 MB, 1280 chapters \(1216 sparse\).*settings: 4 MB, 128 chapters \(0 sparse\)/,
	'off: offline, naming both values');
is($node->safe_psql('postgres',
		"SELECT value FROM uds_settings_check() WHERE item = 'workers'"),
	4, 'off: no triage worker');
restart_with('uds.sparse = on');
finds_all('back on: nothing was lost', 'old', 100_000, 100_000 + $stretch - 1);

# The launcher of logical replication takes one, and nothing is left for the last worker.
restart_with('max_worker_processes = 5');
uds_wait_for_state($node, 'offline');
is(uds_state($node),
	'offline: 4 of 5 workers started, raise max_worker_processes to 6',
	'too few workers: offline');
(undef, undef, $stderr) = $node->psql('postgres', "SELECT uds_post(digest_of('some', 1))");
like($stderr, qr/HINT:  .*the triage worker of "uds\.sparse"/, 'too few workers: the hint tells');
restart_with('max_worker_processes = 6');
uds_wait_for_state($node, 'online');
finds_all('enough workers: nothing was lost', 'old', 100_000, 100_000 + $stretch - 1);

ok(!$node->log_contains('PANIC|terminated by signal|TRAP|went away before|closes the channel'),
	'the log is clean');
$node->stop;
done_testing();
