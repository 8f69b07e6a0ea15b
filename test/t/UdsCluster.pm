# UdsCluster.pm: a server with the extension, and what the TAP tests ask it.
#
# Digests are sha256 of a word and a number, metadata is the number: so every answer can be checked
# without having kept anything.
package UdsCluster;

use strict;
use warnings;

use Cwd qw(abs_path);
use Errno;
use Exporter 'import';
use File::Basename qw(basename dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  uds_cluster uds_prepare uds_post_range uds_count_known uds_count_wrong uds_state
  uds_wait_for_state uds_worker_pid uds_wait_for_other_pid uds_kill_and_start uds_session
  uds_directory uds_count_in_log uds_count_answers uds_wait_for_crash_restart
  uds_error uds_accept_stale uds_files
  uds_why_no_faults uds_with_faults uds_set_faults uds_bytes_read
);

# Of this file; the tests may change their directory.
my $here = dirname(abs_path(__FILE__));

# A server that is not started yet; further arguments are lines of its configuration.
sub uds_cluster
{
	my ($name, @lines) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf',
		join("\n", "shared_preload_libraries = 'uds'", "uds.memory = 4MB", @lines, ''));
	return $node;
}

# The extension, and functions that the tests of this directory use.
sub uds_prepare
{
	my ($node, $database) = @_;

	$node->safe_psql($database // 'postgres', q{
		CREATE EXTENSION uds;
		CREATE FUNCTION digest_of(word text, number bigint) RETURNS bytea IMMUTABLE
			RETURN sha256((word || ':' || number)::bytea);
		CREATE FUNCTION metadata_of(number bigint) RETURNS bytea IMMUTABLE
			RETURN int8send(number) || '\x0000000000000000'::bytea;
		CREATE FUNCTION post_range(word text, first bigint, last bigint) RETURNS bigint VOLATILE
			RETURN (SELECT sum((SELECT count(*) FILTER (WHERE seen) FROM unnest(answers) seen))
			        FROM (SELECT uds_post_many(array_agg(digest_of(word, number) ORDER BY number),
			                                   array_agg(metadata_of(number) ORDER BY number)) answers
			              FROM generate_series(first, last) number
			              GROUP BY number / 1000
			              ORDER BY number / 1000) batches);
		CREATE FUNCTION answers_of(word text, first bigint, last bigint,
		                           OUT number bigint, OUT metadata bytea) RETURNS SETOF record VOLATILE
			BEGIN ATOMIC
				SELECT n, uds_peek(digest_of(word, n)) FROM generate_series(first, last) n;
			END;
	});
}

# Post digests first..last of a word in batches; how many were seen before.
sub uds_post_range
{
	my ($node, $word, $first, $last) = @_;

	return $node->safe_psql('postgres', "SELECT post_range('$word', $first, $last)");
}

# How many of them are known, whatever the metadata.
sub uds_count_known
{
	my ($node, $word, $first, $last) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(metadata) FROM answers_of('$word', $first, $last)");
}

# How many of them are known with metadata that was never posted for them.
sub uds_count_wrong
{
	my ($node, $word, $first, $last) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FROM answers_of('$word', $first, $last) "
		  . "WHERE metadata IS NOT NULL AND metadata <> metadata_of(number)");
}

# Both at once, in batches: (known, known with wrong metadata).
sub uds_count_answers
{
	my ($node, $word, $first, $last) = @_;

	return split /\|/, $node->safe_psql('postgres', qq{
		SELECT count(metadata),
		       count(*) FILTER (WHERE metadata <> metadata_of($first + place - 1))
		FROM (SELECT uds_peek_many(array_agg(digest_of('$word', number) ORDER BY number)) answers
		      FROM generate_series($first, $last) number) asked,
		     unnest(answers) WITH ORDINALITY answer(metadata, place)});
}

# State and reason.
sub uds_state
{
	my ($node) = @_;

	return $node->safe_psql('postgres', "SELECT concat_ws(': ', state, reason) FROM uds_stats");
}

sub uds_wait_for_state
{
	my ($node, $state) = @_;

	$node->poll_query_until('postgres', "SELECT state = '$state' FROM uds_stats")
	  or die "uds does not become $state, but is " . uds_state($node);
}

# A session that goes on after errors; its time limit is that of a query.
sub uds_session
{
	my ($node) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->set_query_timer_restart;
	return $session;
}

# SIGKILL the postmaster and start the server again, as soon as the processes that it left are gone.
sub uds_kill_and_start
{
	my ($node) = @_;

	$node->kill9;
	for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		# It has taken the old process for the new one.
		$node->stop('immediate', fail_ok => 1);
		select(undef, undef, undef, 0.1);
	}
	die 'the server does not start after SIGKILL';
}

# After a process was killed: wait until the server has started its processes anew.  Asking it
# meanwhile would break the pipe to a client that gives up.
sub uds_wait_for_crash_restart
{
	my ($node, $log_offset) = @_;

	$node->wait_for_log(
		qr/all server processes terminated; reinitializing.*ready to accept connections/s,
		$log_offset);
}

# What a call fails with: the message with its SQLSTATE, detail and hint; empty when it does not.
sub uds_error
{
	my ($node, $call) = @_;
	my (undef, undef, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT $call");

	return $stderr =~ s/^psql:<stdin>:\d+: //mgr;
}

# Open files of another time or server, as an administrator does.
sub uds_accept_stale
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'ALTER SYSTEM SET uds.accept_stale = on');
	$node->reload;
	# New processes have the setting as soon as all have been told.
	$node->poll_query_until('postgres', "SELECT current_setting('uds.accept_stale') = 'on'")
	  or die 'the setting does not arrive';
	$node->safe_psql('postgres', 'SELECT uds_resume()');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET uds.accept_stale');
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('uds.accept_stale') = 'off'")
	  or die 'the setting does not go away';
}

# Names and contents of the files in a directory, to compare.
sub uds_files
{
	my ($directory) = @_;

	return { map { basename($_) => PostgreSQL::Test::Utils::slurp_file($_) } glob("$directory/*") };
}

# Where the files of the index are, unless uds.directory says otherwise.
sub uds_directory
{
	my ($node) = @_;

	return $node->data_dir . '/uds';
}

# How many lines of the server's log match, from an offset on.
sub uds_count_in_log
{
	my ($node, $pattern, $offset) = @_;
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset // 0);

	return scalar(() = $log =~ /$pattern/g);
}

# Process id of a worker by its name, empty when it does not run.
sub uds_worker_pid
{
	my ($node, $name) = @_;

	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = '$name'");
}

# Wait until a worker runs again, in another process than before.
sub uds_wait_for_other_pid
{
	my ($node, $name, $pid) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = '$name' AND pid <> $pid")
	  or die "worker $name was not started again";
}

# Bytes that a process has read from files, those that the system had in memory included.
sub uds_bytes_read
{
	my ($pid) = @_;
	my ($bytes) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/io") =~ /^rchar: (\d+)/m;

	return $bytes;
}

# ---- calls on files that fail -----------------------------------------------------------------

my $fault_library;

# Why faults are not possible here: then tests that need them are skipped.  Otherwise undefined.
sub uds_why_no_faults
{
	my $library = PostgreSQL::Test::Utils::tempdir . '/fault_preload.so';
	my $output = '';

	return if defined $fault_library;
	IPC::Run::run(
		[
			split(' ', $ENV{CC} // 'cc'), qw(-shared -fPIC -O2 -o), $library,
			"$here/fault_preload.c", '-ldl'
		],
		'>&', \$output)
	  or return "fault_preload.c cannot be compiled: $output";
	{
		local $ENV{LD_PRELOAD} = $library;
		IPC::Run::run([ $^X, '-e', 'exit 0' ], '>&', \$output)
		  or $output ||= 'perl does not start';
	}
	return "LD_PRELOAD does not work: $output" if $output ne '';
	$fault_library = $library;
	return;
}

# Let servers that the code starts have the faults of uds_set_faults.  They keep them when they
# start their processes anew.
sub uds_with_faults
{
	my ($node, $code) = @_;
	my $reason = uds_why_no_faults();

	die $reason if defined $reason;
	local $ENV{LD_PRELOAD} = $fault_library;
	local $ENV{UDS_FAULT_FILE} = $node->basedir . '/faults';
	$code->();
}

# The faults of a server from now on, each [operation, end of the path, name of an error or
# microseconds]: see fault_preload.c.  Without any, there are none.
sub uds_set_faults
{
	my ($node, @faults) = @_;
	my $file = $node->basedir . '/faults';

	open(my $handle, '>', "$file.new") or die "could not create $file.new: $!";
	for my $fault (@faults)
	{
		my ($operation, $suffix, $what) = @$fault;

		$what = Errno->can($what)->() if $what =~ /^E/;
		print $handle "$operation $suffix $what\n";
	}
	close($handle) or die "could not write $file.new: $!";
	rename("$file.new", $file) or die "could not rename $file.new: $!";
}

1;
