# A mixed load of all operations, each answer of it checked, while workers are restarted, the index is
# suspended, moved, rebuilt, verified and saved, and statistics are zeroed: nothing is lost, nothing is
# wrong, nobody gets an error.
#
# UDS_SOAK_SECONDS is how long, UDS_SOAK_CLIENTS by how many clients; "make soak" takes ten minutes
# and eight.  Each client has names of its own, and a table that says what the index must know of
# them.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use UdsCluster;

my $seconds = $ENV{UDS_SOAK_SECONDS} || 15;
my $clients = $ENV{UDS_SOAK_CLIENTS} || 8;
my $moves = 0;
my $seed = $ENV{UDS_SOAK_SEED} || int(time);

srand($seed);
diag("seed $seed, $seconds s, $clients clients");

my $node = uds_cluster(
	'soak',
	'uds.zones = 2',
	'uds.read_workers = 2',
	'uds.page_cache = 1MB',
	'max_worker_processes = 16',
	'max_wal_size = 4GB',
	'synchronous_commit = off');
$node->start;
uds_prepare($node);

# ---- the clients ------------------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	-- number: of the name; version: of its metadata, if it is not deleted; first, last: chapters between
	-- which it was stored
	CREATE UNLOGGED TABLE model (client int, number bigint, version int, is_deleted boolean,
	                             first bigint, last bigint, PRIMARY KEY (client, number)) WITH (fillfactor = 60);
	CREATE UNLOGGED TABLE client_total (client int PRIMARY KEY, rounds bigint, requests bigint,
	                                    expired bigint);

	CREATE FUNCTION word_of(client int) RETURNS text IMMUTABLE RETURN 'client ' || client;
	CREATE FUNCTION version_of(number bigint, version int) RETURNS bytea IMMUTABLE
		RETURN int8send(number) || int4send(version) || '\x00000000'::bytea;
	-- While the index is built again it has no number.
	CREATE FUNCTION newest() RETURNS bigint VOLATILE LANGUAGE plpgsql AS $$
	DECLARE
		seen CONSTANT bigint := coalesce(nullif(current_setting('soak.newest', true), '')::bigint, 0);
		newest bigint;
	BEGIN
		LOOP
			SELECT newest_chapter INTO newest FROM uds_stats WHERE state IN ('online', 'suspended');
			EXIT WHEN newest >= seen;
			PERFORM pg_sleep(0.001);
		END LOOP;
		PERFORM set_config('soak.newest', newest::text, false);
		RETURN newest;
	END $$;

	-- Fail unless an answer is right: found must say whether it was there, data its metadata, if that
	-- was told.  What was stored in a chapter that may have left the window may be found or not; zones
	-- are up to three chapters apart.
	CREATE FUNCTION is_right(m model, found boolean, data bytea, before bigint, after bigint, has_data boolean)
	RETURNS boolean IMMUTABLE
		RETURN CASE
			WHEN found IS NULL THEN false
			WHEN found THEN NOT m.is_deleted AND before - m.last < 128 + 4
			                AND (NOT has_data OR data = version_of(m.number, m.version))
			ELSE m.is_deleted OR after - m.first > 128 - 4 END;

	-- Ask for names of the model by one operation, in one way of calling it, and check all answers.
	CREATE FUNCTION ask(me int, operation text, way int, numbers bigint[]) RETURNS bigint VOLATILE
	LANGUAGE plpgsql AS $$
	DECLARE
		rows model[] := (SELECT array_agg(m ORDER BY number) FROM model m
		                 WHERE client = me AND number = ANY (numbers));
		digests bytea[] := (SELECT array_agg(digest_of(word_of(me), r.number) ORDER BY r.number)
		                    FROM unnest(rows) r);
		-- what it would be stored with
		data bytea[] := (SELECT array_agg(version_of(r.number, r.version + 1) ORDER BY r.number)
		                 FROM unnest(rows) r);
		before bigint := newest();
		after bigint;
		known boolean[];
		answers bytea[];
		has_data boolean := operation IN ('query', 'peek');
		wrong record;
	BEGIN
		IF rows IS NULL THEN
			RETURN 0;
		END IF;
		IF way = 0 OR operation = 'resolve' THEN
			CASE operation
				WHEN 'post' THEN known := uds_post_many(digests, data);
				WHEN 'update' THEN known := uds_update_many(digests, data);
				WHEN 'delete' THEN known := uds_delete_many(digests);
				WHEN 'query' THEN answers := uds_query_many(digests);
				WHEN 'peek' THEN answers := uds_peek_many(digests);
				ELSE answers := uds_resolve_many(digests, data);
			END CASE;
			IF has_data THEN
				known := (SELECT array_agg(a IS NOT NULL ORDER BY o) FROM unnest(answers) WITH ORDINALITY u(a, o));
			ELSIF operation = 'resolve' THEN
				known := (SELECT array_agg(a <> d ORDER BY o) FROM unnest(answers, data) WITH ORDINALITY u(a, d, o));
				has_data := true;
			END IF;
		ELSIF way = 1 THEN
			SELECT array_agg(r.found ORDER BY ordinality), array_agg(r.metadata ORDER BY ordinality)
			INTO known, answers
			FROM uds_request_many(operation::uds_operation, digests,
			                      CASE WHEN operation IN ('post', 'update') THEN data END) r;
			has_data := true;
		ELSE
			SELECT array_agg((r).found ORDER BY o), array_agg((r).metadata ORDER BY o)
			INTO known, answers
			FROM (SELECT o, uds_request(operation::uds_operation, d,
			                            CASE WHEN operation IN ('post', 'update') THEN m END) r
			      FROM unnest(digests, data) WITH ORDINALITY u(d, m, o)) s;
			has_data := true;
		END IF;
		after := newest();
		SELECT r.number, r.version, r.is_deleted, r.first, r.last, f, a INTO wrong
		FROM unnest(rows) WITH ORDINALITY r(client, number, version, is_deleted, first, last, o)
		     JOIN unnest(known) WITH ORDINALITY g(f, o) USING (o)
		     LEFT JOIN unnest(answers) WITH ORDINALITY b(a, o) USING (o)
		WHERE NOT is_right(ROW(client, number, version, is_deleted, first, last)::model, f, a, before, after, has_data)
		LIMIT 1;
		IF FOUND OR cardinality(known) <> cardinality(rows) THEN
			RAISE EXCEPTION 'wrong answer of % (way %) to client %: %, chapters % to %',
				operation, way, me, wrong, before, after;
		END IF;
		IF operation = 'peek' THEN
			RETURN cardinality(rows);
		END IF;
		UPDATE model m SET
			version = CASE WHEN operation = 'update' OR (operation IN ('post', 'resolve') AND NOT f)
			               THEN m.version + 1 ELSE m.version END,
			is_deleted = CASE WHEN operation IN ('post', 'resolve', 'update') THEN false
			                  WHEN operation = 'delete' THEN true ELSE m.is_deleted END,
			first = CASE WHEN f OR operation IN ('post', 'resolve', 'update') THEN before ELSE m.first END,
			last = CASE WHEN f OR operation IN ('post', 'resolve', 'update') THEN after ELSE m.last END
		FROM unnest(rows) WITH ORDINALITY r(client, number, version, is_deleted, first, last, o)
		     JOIN unnest(known) WITH ORDINALITY g(f, o) USING (o)
		WHERE m.client = me AND m.number = r.number;
		UPDATE client_total SET expired = expired +
			(SELECT count(*) FROM unnest(rows) WITH ORDINALITY r(client, number, version, is_deleted, first, last, o)
			                      JOIN unnest(known) WITH ORDINALITY g(f, o) USING (o)
			 WHERE NOT f AND NOT r.is_deleted)
		WHERE client = me;
		RETURN cardinality(rows);
	END $$;

	-- Store count new names and check that they are told to be new.
	CREATE FUNCTION store(me int, first bigint, count int, way int) RETURNS bigint VOLATILE
	LANGUAGE plpgsql AS $$
	DECLARE
		digests bytea[] := (SELECT array_agg(digest_of(word_of(me), n) ORDER BY n)
		                    FROM generate_series(first, first + count - 1) n);
		data bytea[] := (SELECT array_agg(version_of(n, 1) ORDER BY n)
		                 FROM generate_series(first, first + count - 1) n);
		before bigint := newest();
		is_new boolean;
	BEGIN
		CASE way
			WHEN 0 THEN is_new := NOT true = ANY (uds_post_many(digests, data));
			WHEN 1 THEN is_new := uds_resolve_many(digests, data) = data;
			WHEN 2 THEN is_new := NOT true = ANY (uds_update_many(digests, data));
			WHEN 3 THEN is_new := (SELECT bool_and(NOT r.found AND r.region = 'none')
			                       FROM uds_request_many('post', digests, data) r);
			ELSE is_new := (SELECT bool_and(NOT uds_post(d, m)) FROM unnest(digests, data) u(d, m));
		END CASE;
		IF is_new IS NOT TRUE THEN
			RAISE EXCEPTION 'a new name of client % from % on is told to be known', me, first;
		END IF;
		INSERT INTO model SELECT me, n, 1, false, before, newest() FROM generate_series(first, first + count - 1) n;
		RETURN count;
	END $$;

	-- Names of a client: some of the latest ones, some from anywhere.
	CREATE FUNCTION some_names(next bigint, kept bigint, count int) RETURNS bigint[] VOLATILE
		RETURN (SELECT array_agg(DISTINCT n)
		        FROM (SELECT next - 1 - floor(random() * least(next, CASE WHEN i % 3 = 0 THEN 2000 ELSE kept END))::bigint AS n
		              FROM generate_series(1, count) i) s);

	CREATE PROCEDURE be_client(me int, seconds int) LANGUAGE plpgsql AS $$
	DECLARE
		kept CONSTANT bigint := 150000;
		until timestamptz := clock_timestamp() + make_interval(secs => seconds);
		next bigint := 0;
		asked bigint := 0;
		turns bigint := 0;
		way int;
	BEGIN
		INSERT INTO client_total VALUES (me, 0, 0, 0);
		WHILE clock_timestamp() < until LOOP
			way := floor(random() * 10);
			asked := asked + store(me, next, CASE WHEN way >= 4 AND way < 7 THEN 30 ELSE 400 END, way % 5);
			next := next + CASE WHEN way >= 4 AND way < 7 THEN 30 ELSE 400 END;
			way := floor(random() * 3);
			asked := asked + ask(me, 'query', way, some_names(next, kept, 60));
			asked := asked + ask(me, 'peek', (way + 1) % 3, some_names(next, kept, 60));
			asked := asked + ask(me, 'post', (way + 2) % 3, some_names(next, kept, 40));
			asked := asked + ask(me, 'update', way, some_names(next, kept, 30));
			asked := asked + ask(me, 'delete', way, some_names(next, kept, 20));
			asked := asked + ask(me, 'resolve', 0, some_names(next, kept, 20));
			-- names that nobody has stored
			IF (SELECT bool_or(a IS NOT NULL)
			    FROM unnest(uds_peek_many((SELECT array_agg(digest_of(word_of(me), next + 1000000000 + i))
			                               FROM generate_series(1, 50) i))) a) THEN
				RAISE EXCEPTION 'a name of client % is known that was never stored', me;
			END IF;
			asked := asked + 50;
			turns := turns + 1;
			IF turns % 64 = 0 THEN
				DELETE FROM model WHERE client = me AND number < next - kept;
			END IF;
			UPDATE client_total t SET rounds = turns, requests = asked WHERE client = me;
			COMMIT;
		END LOOP;
	END $$;
});

my @sessions;
for my $client (1 .. $clients)
{
	my ($in, $out, $err) = ('', '', '');
	my $session = {
		client => $client,
		in => \$in,
		out => \$out,
		err => \$err,
	};

	$session->{run} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
			$node->connstr('postgres'), '-c', "CALL be_client($client, $seconds)"
		],
		'<', \$in, '>', \$out, '2>', \$err);
	push @sessions, $session;
}

# ---- the trouble ------------------------------------------------------------------------------------

my %count;
my $elsewhere = PostgreSQL::Test::Utils::tempdir;
my $directory = uds_directory($node);

sub command
{
	my ($statement) = @_;

	return $node->safe_psql('postgres', "SELECT $statement");
}

sub restart_worker
{
	my @workers = split /\n/, $node->safe_psql('postgres',
		"SELECT backend_type || '|' || pid FROM pg_stat_activity WHERE backend_type LIKE 'uds %'");
	my ($name, $pid) = split /\|/, $workers[ int(rand(@workers)) ];

	kill 'TERM', $pid;
	uds_wait_for_other_pid($node, $name, $pid);
	return;
}

my %trouble = (
	restart => [ 6, \&restart_worker ],
	suspend => [
		3,
		sub {
			command('uds_suspend(' . (int(rand(2)) ? 'true' : 'false') . ')');
			command('uds_resume()');
		}
	],
	checkpoint => [ 3, sub { command('uds_checkpoint()') } ],
	reset => [ 3, sub { command('uds_stats_reset()') } ],
	move => [
		1,
		sub {
			$directory = "$elsewhere/files" . ++$moves;
			command("uds_move('$directory')");
		}
	],
	rebuild => [ 1, sub { command('uds_rebuild()') } ],
	verify => [
		1,
		sub {
			my $problems = command('count(*) FROM uds_verify()');
			is($problems, 0, 'nothing is wrong on the volume') if $problems ne '0';
		}
	],
	look => [
		2,
		sub {
			command("count(*) FROM $_")
			  for qw(uds_stats uds_zones uds_sessions uds_chapters uds_progress uds_settings_check());
		}
	],
	spin => [
		1,
		sub {
			$node->safe_psql('postgres',
				'ALTER SYSTEM SET uds.spin_time = ' . (int(rand(2)) ? "'20us'" : '0'));
			$node->reload;
		}
	],
);
my @choices = map { ($_) x $trouble{$_}[0] } sort keys %trouble;
my $end = time + $seconds;
my $failed = '';

while (time < $end && $failed eq '')
{
	my $choice = $choices[ int(rand(@choices)) ];

	# A verification may meet a rebuild of the same script only in its own turn, so none may fail.
	eval { $trouble{$choice}[1]->(); $count{$choice}++; 1 } or $failed = "$choice: $@";
	for my $session (@sessions)
	{
		$session->{run}->pump_nb;
		$failed = "client $session->{client}: ${$session->{err}}" if ${ $session->{err} } ne '';
	}
}
is($failed, '', 'no command and no client fails');

# ---- the end ----------------------------------------------------------------------------------------

for my $session (@sessions)
{
	$session->{run}->finish;
	is(${ $session->{err} }, '', "client $session->{client}: every answer was right");
}
my ($rounds, $requests, $expired) = split /\|/,
  $node->safe_psql('postgres', 'SELECT sum(rounds), sum(requests), sum(expired) FROM client_total');
cmp_ok($rounds, '>', 0, 'rounds were made');
diag("$rounds rounds, $requests requests, $expired names had expired; "
	  . join(', ', map { "$count{$_} times $_" } sort keys %count));

is(uds_state($node), 'online', 'online in the end');
is(command('count(*) FROM uds_verify()'), 0, 'nothing is wrong on the volume');

# What was known is known after a restart, too.
sub check_model
{
	my ($name) = @_;

	is( $node->safe_psql('postgres', q{
		SELECT count(*)
		FROM (SELECT client, array_agg(number ORDER BY number) AS numbers,
		             uds_peek_many(array_agg(digest_of(word_of(client), number) ORDER BY number)) AS answers
		      FROM model GROUP BY client, number / 1000) b
		     CROSS JOIN LATERAL unnest(numbers, answers) u(number, answer)
		     JOIN model m USING (client, number)
		     CROSS JOIN (SELECT newest() AS newest) n
		WHERE NOT is_right(m, answer IS NOT NULL, answer, newest, newest, true)}),
		0,
		$name);
	return;
}
check_model('all names are as they should be');
$node->append_conf('postgresql.conf', "uds.directory = '$directory'");
$node->restart;
uds_wait_for_state($node, 'online');
check_model('after a restart, too');
$node->stop;

done_testing();
