# Calls on files that fail, each file and each call of the chapter writer: the index becomes read only or
# offline with the reason, or a command fails with it; the server goes on, and when the calls work
# again, everything that was answered before is there.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UdsCluster;

my $no_faults = uds_why_no_faults();
plan skip_all => $no_faults if defined $no_faults;

# Of uds.memory = 4MB.
my $chapter = 8128;
my $error_text = 'Input\/output error';

# Syncs are made only with fsync.
my $node = uds_cluster('faulty', 'fsync = on', 'uds.zones = 2', 'uds.page_cache = 64kB');
my $directory = uds_directory($node);
uds_set_faults($node);
uds_with_faults($node, sub { $node->start });
uds_prepare($node);
$node->safe_psql('postgres', 'CREATE TABLE other_table AS SELECT generate_series(1, 1000) number');

# Everything that was answered: word and number of its digests.
my %answered;

sub post
{
	my ($word, $count) = @_;

	is(uds_post_range($node, $word, 1, $count), 0, "$word: takes digests");
	$answered{$word} = $count;
}

sub everything_is_there
{
	my ($name) = @_;

	is(uds_state($node), 'online', "$name: online");
	is( join(' ', map { join(',', uds_count_answers($node, $_, 1, $answered{$_})) } sort keys %answered),
		join(' ', map { "$answered{$_},0" } sort keys %answered),
		"$name: everything is there");
}

sub server_goes_on
{
	my ($name) = @_;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM other_table'), 1000,
		"$name: the server goes on");
}

# What the writer does with the files of saves and control.  Which save is written changes.
my @save_faults = (
	[ 'open',   '/checkpoint.0', '/checkpoint.1', 'could not open file "[^"]*checkpoint\.[01]"' ],
	[ 'write',  '/checkpoint.0', '/checkpoint.1', 'could not write file "[^"]*checkpoint\.[01]"' ],
	[ 'sync',   '/checkpoint.0', '/checkpoint.1', 'could not sync file "[^"]*checkpoint\.[01]"' ]);
my @control_faults = (
	[ 'open',   '/control.new', 'could not open file "[^"]*control\.new"' ],
	[ 'write',  '/control.new', 'could not write file "[^"]*control\.new"' ],
	[ 'sync',   '/control.new', 'could not sync file "[^"]*control\.new"' ],
	[ 'rename', '/control', 'could not rename file "[^"]*control\.new" to "[^"]*control"' ],
	[ 'sync',   '/uds', 'could not sync directory "uds"' ]);

# Let one of them fail while code runs, with the reason.
sub with_fault
{
	my ($fault, $code) = @_;
	my ($operation, @files) = @$fault;
	my $reason = pop @files;

	uds_set_faults($node, map { [ $operation, $_, 'EIO' ] } @files);
	$code->("$operation $files[0]", qr/$reason[^:]*: $error_text/);
	uds_set_faults($node);
}

sub fails_with
{
	my ($call, $reason, $name) = @_;

	like(uds_error($node, $call), qr/ERROR:  58030: $reason/, "$name: $call fails with the reason");
}

# ---- checkpoint and suspend -----------------------------------------------------------------

post('first', 3 * $chapter);
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
post('unsaved', 500);
for my $fault (@save_faults, @control_faults)
{
	with_fault(
		$fault,
		sub {
			my ($name, $reason) = @_;

			fails_with('uds_checkpoint()', $reason, $name);
			fails_with('uds_suspend()', $reason, $name);
			is(uds_state($node), 'online', "$name: it stays online");
			post("while $name", 100);
			$node->safe_psql('postgres', 'SELECT uds_suspend(false)');
			is(uds_state($node), 'suspended', "$name: it can be suspended without a save");
			$node->safe_psql('postgres', 'SELECT uds_resume()');
			server_goes_on($name);
		});
}
everything_is_there('failed saves');
$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
uds_with_faults($node, sub { uds_kill_and_start($node) });
uds_wait_for_state($node, 'online');
everything_is_there('the save after them');

# ---- resume ---------------------------------------------------------------------------------

$node->safe_psql('postgres', 'SELECT uds_suspend()');
for my $fault (@control_faults)
{
	with_fault(
		$fault,
		sub {
			my ($name, $reason) = @_;

			fails_with('uds_resume()', $reason, "suspended, $name");
			is(uds_state($node), 'suspended', "suspended, $name: it stays suspended");
		});
}
$node->safe_psql('postgres', 'SELECT uds_resume()');
everything_is_there('resumed');

# ---- chapters -------------------------------------------------------------------------------

for my $fault (
	[ 'write', '/volume', 'could not write file "[^"]*volume"' ],
	[ 'sync',  '/volume', 'could not sync file "[^"]*volume"' ])
{
	with_fault(
		$fault,
		sub {
			my ($name, $reason) = @_;

			for my $batch (0 .. 99)
			{
				my ($first, $last) = ($batch * 1000 + 1, $batch * 1000 + 1000);
				my ($status) = $node->psql('postgres', "SELECT post_range('more $name', $first, $last)");

				last if $status != 0;
				$answered{"more $name"} = $last;
			}
			like(uds_state($node), qr/^read only: chapter \d+ could not be written: $reason/,
				"$name: read only with the reason");
			my $error = uds_error($node, "uds_post(sha256('new'))");
			like($error, qr/ERROR:  55000: uds is read only\n.*DETAIL: .*$reason/s,
				"$name: a post fails with it");
			for my $call ('uds_resume()', 'uds_checkpoint()', 'uds_suspend()', 'uds_rebuild()')
			{
				fails_with($call, $reason, $name);
			}
			like(uds_state($node), qr/^read only/, "$name: it stays read only");
			server_goes_on($name);
			is(join(' ', map { (uds_count_answers($node, $_, 1, $answered{$_}))[0] - $answered{$_} }
					  sort keys %answered),
				join(' ', map { 0 } keys %answered),
				"$name: everything is found");
		});
	$node->safe_psql('postgres', 'SELECT uds_resume()');
	everything_is_there("$fault->[0] of chapters, resumed");
	post("after $fault->[0]", 1000);
	$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
	uds_with_faults($node, sub { uds_kill_and_start($node) });
	uds_wait_for_state($node, 'online');
	everything_is_there("$fault->[0] of chapters, crash after that");
}

# ---- rebuild --------------------------------------------------------------------------------

with_fault(
	$control_faults[2],
	sub {
		my ($name, $reason) = @_;

		fails_with('uds_rebuild()', $reason, "rebuild, $name");
		like(uds_state($node), qr/^offline: $reason/, "rebuild, $name: offline with the reason");
		like(uds_error($node, "uds_peek(digest_of('first', 1))"),
			qr/ERROR:  55000: uds is offline: $reason/, "rebuild, $name: so says a query");
	});
$node->safe_psql('postgres', 'SELECT uds_resume()');
everything_is_there('rebuild, opened again');

# ---- a zone and a reader that start while they cannot open the volume -------------------------

uds_set_faults($node, [ 'open', '/volume', 'EIO' ]);
for my $worker ('uds zone 0', 'uds zone 1', 'uds reader 0')
{
	my $pid = uds_worker_pid($node, $worker);

	kill 'TERM', $pid;
	uds_wait_for_other_pid($node, $worker, $pid);
}
is((uds_count_answers($node, 'first', 1, 3 * $chapter))[1], 0, 'no volume: nothing is wrong');
ok($node->log_contains("zone [01] cannot open the volume, .*: $error_text"), 'no volume: told');
uds_set_faults($node);
everything_is_there('a volume that can be opened again');

# ---- stop of the server -----------------------------------------------------------------------

for my $fault ($save_faults[1], $control_faults[3])
{
	# What is not sealed is lost if it cannot be saved.
	$node->safe_psql('postgres', 'SELECT uds_checkpoint()');
	my $log_start = -s $node->logfile;
	with_fault(
		$fault,
		sub {
			my ($name, $reason) = @_;

			$node->stop;
			like(slurp_file($node->logfile, $log_start), qr/WARNING:  $reason/, "stop, $name: told");
		});
	uds_with_faults($node, sub { $node->start });
	uds_wait_for_state($node, 'online');
	everything_is_there("stop, $fault->[0]");
}

# ---- open -----------------------------------------------------------------------------------

# After a crash with chapters since the save, so that everything has to be read and the newest chapter
# is written again.  One start: from then on uds_resume() tries, with the next fault.
post('sealed', 4 * $chapter);
post('to be sealed', 1);
$node->safe_psql('postgres', 'SELECT uds_rebuild()');
post('since', 3 * $chapter);
my $in_file = $answered{since} - 2 * $chapter;
delete $answered{since};
$node->stop('immediate');
my $is_first = 1;
for my $fault (
	[ 'open',  '/lock',         'could not open file "[^"]*lock"' ],
	[ 'open',  '/control',      'could not open file "[^"]*control"' ],
	[ 'read',  '/control',      'could not read file "[^"]*control"' ],
	[ 'open',  '/volume',       'could not open file "[^"]*volume"' ],
	@control_faults,
	[ 'read',  '/volume',       'could not read file "[^"]*volume"' ],
	[ 'write', '/volume',       'could not write file "[^"]*volume"' ],
	[ 'sync',  '/volume',       'could not sync file "[^"]*volume"' ])
{
	with_fault(
		$fault,
		sub {
			my ($name, $reason) = @_;

			uds_with_faults($node, sub { $node->start }) if $is_first;
			uds_wait_for_state($node, 'offline') if $is_first;
			fails_with('uds_resume()', $reason, "open, $name");
			like(uds_state($node), qr/^offline: $reason/, "open, $name: offline with the reason");
			my $error = uds_error($node, "uds_post(digest_of('first', 1))");
			like($error, qr/ERROR:  55000: uds is offline: $reason/, "open, $name: so says a post");
			like($error, qr/HINT: .* uds_resume\(\)/, "open, $name: with a hint");
			server_goes_on("open, $name");
			$is_first = 0;
		});
}
$node->safe_psql('postgres', 'SELECT uds_resume()');
everything_is_there('open');
cmp_ok((uds_count_answers($node, 'since', 1, $in_file))[0], '>=', $in_file - 300,
	'open: also what was sealed since the save');

# The same for saves, which are only read if there are some.
post('saved', 100);
$node->restart;
uds_set_faults($node);
uds_wait_for_state($node, 'online');
$node->stop;
for my $operation ('open', 'read')
{
	with_fault(
		[ $operation, '/checkpoint.0', '/checkpoint.1', "could not $operation file \"[^\"]*checkpoint" ],
		sub {
			my ($name, $reason) = @_;

			uds_with_faults($node, sub { $node->start }) if $operation eq 'open';
			uds_wait_for_state($node, 'offline');
			fails_with('uds_resume()', $reason, "open, $name");
			like(uds_state($node), qr/^offline: $reason/, "open, $name: offline with the reason");
		});
}
$node->safe_psql('postgres', 'SELECT uds_resume()');
everything_is_there('open, saves');

# ---- what cannot be read for good -----------------------------------------------------------

$node->stop('immediate');
uds_set_faults($node, map { [ 'read', "/checkpoint.$_", 'EIO' ] } 0, 1);
uds_with_faults($node, sub { $node->start });
uds_wait_for_state($node, 'offline');
like(uds_error($node, 'uds_resume()'), qr/HINT: .* set "uds\.accept_stale" before\./,
	'unreadable: the hint says how to do without');
uds_accept_stale($node);
is(uds_state($node), 'online', 'unreadable: accepted');
is(join(',', uds_count_answers($node, 'first', 1, 3 * $chapter)),
	3 * $chapter . ',0', 'unreadable: the volume is enough for what was sealed');
uds_set_faults($node);

# ---- reset ----------------------------------------------------------------------------------

$node->safe_psql('postgres', 'SELECT uds_checkpoint()') for 1 .. 2;
with_fault(
	[ 'unlink', '/checkpoint.0', '/checkpoint.1', 'could not remove file "[^"]*checkpoint\.[01]"' ],
	sub {
		my ($name, $reason) = @_;

		fails_with('uds_reset()', $reason, "reset, $name");
		like(uds_state($node), qr/^offline: $reason/, "reset, $name: offline with the reason");
	});
$node->safe_psql('postgres', 'SELECT uds_resume()');
is(uds_state($node), 'online', 'reset: uds_resume() completes it');
is((uds_count_answers($node, 'first', 1, 3 * $chapter))[0], 0, 'reset: everything is forgotten');
%answered = ();
post('first', 2 * $chapter);
$node->restart;
uds_wait_for_state($node, 'online');
everything_is_there('reset, restart');

ok(!$node->log_contains('PANIC|TRAP|terminated by signal'), 'the log is clean');
$node->stop;
done_testing();
