# Readers read the pages that zones wait for: answers are right with any number of them, while they
# come, go and die, and when what they read cannot be read.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $no_faults = uds_why_no_faults();
plan skip_all => $no_faults if defined $no_faults;

# Of uds.memory = 4MB: a chapter takes 300 kB of the volume, and the cache holds 16 pages.
my $chapter = 8128;
my $count = 60_000;
my $session_count = 4;

# Nothing is in the memory of the system, so that readers have to read it; which may take a while.
my @cold = ([ 'cold', '/volume', 'EAGAIN' ]);
my @slow = (@cold, [ 'slow', '/volume', 200 ]);

my $node = uds_cluster('readers', 'uds.page_cache = 64kB', 'uds.zones = 2',
	'uds.read_workers = 4', 'max_worker_processes = 16', 'restart_after_crash = on');
uds_set_faults($node, @cold);
uds_with_faults($node, sub { $node->start });
uds_prepare($node);
$node->safe_psql('postgres', q{
	-- Wrong answers for the digests 1 .. last of a word and as many unknown ones, asked for in any
	-- order, most in batches and some alone.
	CREATE FUNCTION wrong_answers(word text, last bigint) RETURNS bigint VOLATILE LANGUAGE plpgsql AS $$
	DECLARE
		numbers bigint[];
		wrong bigint := 0;
	BEGIN
		FOR numbers IN
			SELECT array_agg(number ORDER BY place)
			FROM (SELECT number, row_number() OVER (ORDER BY random()) place
			      FROM generate_series(1 - last, last) number) shuffled
			GROUP BY place / 2000
		LOOP
			wrong := wrong + (
				SELECT count(*)
				FROM unnest(numbers,
				            uds_peek_many((SELECT array_agg(digest_of(word, number) ORDER BY place)
				                           FROM unnest(numbers) WITH ORDINALITY one(number, place))))
					answer(number, metadata)
				WHERE metadata IS DISTINCT FROM CASE WHEN number > 0 THEN metadata_of(number) END);
			wrong := wrong + (
				SELECT count(*)
				FROM unnest(numbers[:20]) number
				WHERE uds_peek(digest_of(word, number)) IS DISTINCT FROM
				      CASE WHEN number > 0 THEN metadata_of(number) END);
		END LOOP;
		RETURN wrong;
	END $$;
	-- Asks for known digests and posts new ones, until it is told to stop.
	CREATE TABLE stop (word text);
	CREATE PROCEDURE work(word text, known text, last bigint, INOUT posted bigint)
	LANGUAGE plpgsql AS $$
	DECLARE
		numbers bigint[];
		wrong bigint;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM stop) LOOP
			numbers := array(SELECT (random() * (last - 1))::bigint + 1 FROM generate_series(1, 200));
			wrong := (
				SELECT count(*)
				FROM unnest(numbers,
				            uds_peek_many((SELECT array_agg(digest_of(known, number) ORDER BY place)
				                           FROM unnest(numbers) WITH ORDINALITY one(number, place))))
					answer(number, metadata)
				WHERE metadata IS DISTINCT FROM metadata_of(number));
			IF wrong > 0 THEN
				RAISE EXCEPTION '% of 200 answers are wrong', wrong;
			END IF;
			IF post_range(word, posted + 1, posted + 20) > 0 THEN
				RAISE EXCEPTION 'digests %.. of % were never posted, but seen', posted + 1, word;
			END IF;
			posted := posted + 20;
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
});
is(uds_post_range($node, 'kept', 1, $count), 0, 'new digests');
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');

sub reader_pids
{
	my ($readers) = @_;

	return map { uds_worker_pid($node, "uds reader $_") } 0 .. $readers - 1;
}

# Let several sessions ask for everything at the same time.
sub all_answers_are_right
{
	my ($name) = @_;
	my @sessions = map { uds_session($node) } 1 .. $session_count;

	$_->query_until(qr/started/, "\\echo started\nSELECT wrong_answers('kept', $count);\n")
	  for @sessions;
	# The result of the first query comes before that of the next one.
	is( join(' ', map { $_->query("SELECT 'done'") . $_->{stderr} } @sessions),
		join(' ', ("0\ndone") x $session_count), $name);
	$_->quit for @sessions;
}

# Sessions that work until they are stopped.
sub start_load
{
	my ($word) = @_;
	my @sessions = map { { psql => uds_session($node) } } 1 .. $session_count;

	$node->safe_psql('postgres', 'TRUNCATE stop');
	for my $number (1 .. $session_count)
	{
		my $session = $sessions[ $number - 1 ];

		$session->{pid} = $session->{psql}->query_safe('SELECT pg_backend_pid()');
		$session->{psql}->query_until(qr/started/,
			"\\echo started\nCALL work('$word $number', 'kept', $count, 0);\n");
	}
	return @sessions;
}

# ---- one reader and several -----------------------------------------------------------------

for my $readers (4, 1)
{
	if ($readers != 4)
	{
		$node->append_conf('postgresql.conf', "uds.read_workers = $readers");
		uds_with_faults($node, sub { $node->restart });
		uds_wait_for_state($node, 'online');
	}
	my @pids = reader_pids($readers);
	my @before = map { uds_bytes_read($_) } @pids;
	my $page_reads = $node->safe_psql('postgres', 'SELECT page_reads FROM uds_stats');

	is(scalar(grep { $_ ne '' } @pids), $readers, "uds.read_workers = $readers: all run");
	all_answers_are_right("uds.read_workers = $readers: all answers are right");
	$page_reads = $node->safe_psql('postgres', "SELECT page_reads - $page_reads FROM uds_stats");
	my @read = map { uds_bytes_read($pids[$_]) - $before[$_] } 0 .. $#pids;
	note("$page_reads pages, bytes by reader: @read");
	cmp_ok($page_reads, '>', $count, "uds.read_workers = $readers: most pages were read");
	cmp_ok((sort { $a <=> $b } @read)[0],
		'>', 1_000_000, "uds.read_workers = $readers: each has read");
}

# Workers without work say so; while a reader stands still, who waits for it has work.
my $activity = q{SELECT string_agg(concat_ws(' ', backend_type, state, nullif(query, '')), ', '
	                               ORDER BY backend_type COLLATE "C")
	FROM pg_stat_activity WHERE backend_type ~ '^uds (zone|reader)'};
my $all_idle = 'uds reader 0 idle, uds zone 0 idle, uds zone 1 idle';
ok($node->poll_query_until('postgres', "SELECT ($activity) = '$all_idle'"),
	'workers without work are idle');
my $waiting = uds_session($node);
my ($reader) = reader_pids(1);
kill 'STOP', $reader;
$waiting->query_until(qr/started/, "\\echo started\nSELECT wrong_answers('kept', 1000);\n");
$node->poll_query_until('postgres', 'SELECT min(parked) > 0 FROM uds_zones')
  or die 'no request waits for a page';
like( $node->safe_psql('postgres', $activity),
	qr/uds zone 0 active executing requests, uds zone 1 active executing requests$/,
	'zones with requests that wait for a page are not');
kill 'CONT', $reader;
is($waiting->query("SELECT 'done'"), "0\ndone", 'which get their answers then');
$waiting->quit;
ok($node->poll_query_until('postgres', "SELECT ($activity) = '$all_idle'"), 'and all are idle again');

# What the system has in memory needs no reader.
uds_set_faults($node);
all_answers_are_right('pages in the memory of the system: all answers are right');

# ---- SIGTERM --------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'uds.read_workers = 4');
uds_with_faults($node, sub { $node->restart });
uds_wait_for_state($node, 'online');
uds_set_faults($node, @slow);
my $rounds = $ENV{UDS_READER_ROUNDS} // 10;
my $terminated = 0;
my @load = start_load('term');
for my $round (1 .. $rounds)
{
	my %pid = map { $_ => uds_worker_pid($node, "uds reader $_") } 0 .. 3;
	my @victims = $round % 2 ? ($round % 4, ($round + 1) % 4) : (0 .. 3);

	$terminated += kill 'TERM', map { $pid{$_} } @victims;
	uds_wait_for_other_pid($node, "uds reader $_", $pid{$_}) for @victims;
}
$node->safe_psql('postgres', "INSERT INTO stop VALUES ('now')");
my $total = 0;
for my $number (1 .. $session_count)
{
	my $session = $load[ $number - 1 ];
	my $output = $session->{psql}->query_safe("SELECT 'pid ' || pg_backend_pid()");
	my ($posted) = $output =~ /^(\d+)$/m;

	is($session->{psql}->{stderr}, '', "SIGTERM of readers: session $number has no error");
	like($output, qr/^pid $session->{pid}$/m, "SIGTERM of readers: it was not reconnected");
	$posted //= 0;
	cmp_ok($posted, '>', 0, "SIGTERM of readers: it has worked");
	is( join(', ', uds_count_answers($node, "term $number", 1, $posted)),
		"$posted, 0",
		"SIGTERM of readers: none of its requests was lost");
	$total += $posted;
	$session->{psql}->quit;
}
is($terminated, 3 * $rounds, "$terminated readers were terminated while $total digests were posted");

# While the postmaster stands still, it starts no successors.
uds_set_faults($node, @cold);
my $session = uds_session($node);
$session->query_safe("SELECT wrong_answers('kept', 10)");
my @pids = reader_pids(4);
my $zone = uds_worker_pid($node, 'uds zone 0');
my $stopped = $node->{_pid};
END { kill 'CONT', $stopped if defined $stopped }
kill 'STOP', $stopped;
kill 'TERM', @pids;
my $readers_left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'uds reader%'";
for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if $session->query_safe($readers_left) eq '0';
	select(undef, undef, undef, 0.1);
}
my $zone_has_read = uds_bytes_read($zone);
is($session->query_safe("SELECT wrong_answers('kept', $count)"),
	0, 'without a reader: all answers are right');
is($session->query_safe($readers_left), 0, 'without a reader: none was there');
cmp_ok(uds_bytes_read($zone) - $zone_has_read,
	'>', 10_000_000, 'without a reader: a zone has read itself');
kill 'CONT', $stopped;
uds_wait_for_other_pid($node, "uds reader $_", $pids[$_]) for 0 .. 3;
my $reader_has_read = uds_bytes_read(uds_worker_pid($node, 'uds reader 0'));
is($session->query_safe("SELECT wrong_answers('kept', $count)"),
	0, 'readers are back: all answers are right');
cmp_ok(uds_bytes_read(uds_worker_pid($node, 'uds reader 0')) - $reader_has_read,
	'>', 1_000_000, 'readers are back: they have read');
is($session->{stderr}, '', 'the session has seen nothing of that');
$session->quit;
ok(!$node->log_contains('PANIC|TRAP|terminated by signal|may or may not'), 'the log is clean');

# ---- SIGKILL --------------------------------------------------------------------------------

$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
for my $reader (0, 3)
{
	uds_set_faults($node, @slow);
	@load = start_load("kill $reader");
	my $log_start = -s $node->logfile;
	my $pid = uds_worker_pid($node, "uds reader $reader");
	my $has_read = uds_bytes_read($pid);

	$node->poll_query_until('postgres',
		"SELECT count(*) = $session_count FROM uds_sessions WHERE requests > 1000")
	  or die 'the load makes no progress';
	cmp_ok(uds_bytes_read($pid), '>', $has_read, "SIGKILL of reader $reader: it has read");
	kill 'KILL', $pid;
	uds_wait_for_crash_restart($node, $log_start);
	$_->{psql}->{run}->finish for @load;
	uds_wait_for_state($node, 'online');
	uds_set_faults($node, @cold);
	ok( $node->log_contains(
			qq(worker "uds reader $reader" \\(PID $pid\\) was terminated by signal 9), $log_start),
		"SIGKILL of reader $reader: the server has started anew for that");
	is(join(', ', uds_count_answers($node, 'kept', 1, $count)),
		"$count, 0", "SIGKILL of reader $reader: all that was sealed is found");
	is( join(', ', map { (uds_count_answers($node, "kill $reader $_", 1, 20_000))[1] }
			  1 .. $session_count),
		join(', ', (0) x $session_count),
		"SIGKILL of reader $reader: no wrong metadata");
	is(uds_post_range($node, "after kill $reader", 1, 1000), 0,
		"SIGKILL of reader $reader: it takes digests");
}

# ---- too few worker slots -------------------------------------------------------------------

# The launcher of logical replication takes one.
$node->append_conf('postgresql.conf', 'max_worker_processes = 5');
uds_with_faults($node, sub { $node->restart });
uds_wait_for_state($node, 'offline');
is(uds_state($node),
	'offline: 4 of 7 workers started, raise max_worker_processes to 8',
	'too few worker slots for the readers: the reason names the number');
my (undef, undef, $stderr) =
  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT uds_peek(digest_of('kept', 1))");
like($stderr, qr/55000: uds is offline: 4 of 7 workers started/, 'so says the error');
like($stderr, qr/HINT: .*"uds\.read_workers"/, 'the hint names the setting');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
uds_with_faults($node, sub { $node->restart });
uds_wait_for_state($node, 'online');
is(join(', ', uds_count_answers($node, 'kept', 1, $count)),
	"$count, 0", 'with that number everything is there');
$node->stop;

# ---- a volume that cannot be read -----------------------------------------------------------

$node = uds_cluster('unreadable', 'uds.page_cache = 64kB', 'uds.read_workers = 2',
	"log_line_prefix = '%m [%p] %b '");
uds_set_faults($node, @cold);
uds_with_faults($node, sub { $node->start });
uds_prepare($node);
uds_post_range($node, 'kept', 1, $count);
# A start leaves the open chapter in memory, and no other.
uds_with_faults($node, sub { $node->restart });
uds_wait_for_state($node, 'online');
my $sealed = int($count / $chapter);
my $in_memory = $count - $sealed * $chapter;
my $log_start = -s $node->logfile;
is($node->safe_psql('postgres', 'SELECT newest_chapter FROM uds_stats'),
	$sealed, "$sealed chapters are sealed");
uds_set_faults($node, @cold, [ 'read', '/volume', 'EIO' ]);
for my $try ('once', 'again')
{
	my $bad_pages = $node->safe_psql('postgres', 'SELECT bad_pages FROM uds_stats');

	is(join(', ', uds_count_answers($node, 'kept', 1, $count)),
		"$in_memory, 0", "EIO, $try: only what is in memory is found");
	cmp_ok($node->safe_psql('postgres', "SELECT bad_pages - $bad_pages FROM uds_stats"),
		'>', $sealed, "EIO, $try: pages are counted as bad");
}
my $log = slurp_file($node->logfile, $log_start);
my @told = $log =~
  /uds reader \d WARNING:  page \d+ of chapter (\d+) cannot be used \(could not read file "uds\/volume" at \d+: Input\/output error\)/g;
is(join(' ', sort @told), join(' ', 0 .. $sealed - 1), 'EIO: a reader tells once of each chapter');
is(scalar(() = $log =~ /WARNING/g), scalar(@told), 'EIO: and there is no other warning');
is(uds_state($node), 'online', 'EIO: the index stays online');
is(uds_post_range($node, 'meanwhile', 1, $chapter), 0, 'EIO: it takes digests');
is(uds_post_range($node, 'meanwhile', 1, $chapter), $chapter, 'EIO: and finds them');

uds_set_faults($node, @cold);
my $bad_pages = $node->safe_psql('postgres', 'SELECT bad_pages FROM uds_stats');
is(join(', ', uds_count_answers($node, 'kept', 1, $count)),
	"$count, 0", 'readable again: everything is found');
is(join(', ', uds_count_answers($node, 'meanwhile', 1, $chapter)),
	"$chapter, 0", 'readable again: also what was posted meanwhile');
is($node->safe_psql('postgres', 'SELECT bad_pages FROM uds_stats'),
	$bad_pages, 'readable again: no more bad pages');
is(join(' ', uds_worker_pid($node, 'uds reader 0') ne '', uds_state($node)),
	'1 online', 'readable again: nothing was disabled');
ok(!$node->log_contains('PANIC|TRAP|terminated by signal', $log_start), 'the log is clean');

$node->stop;
done_testing();
