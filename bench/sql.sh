#!/bin/bash
# Speed of the extension from SQL, on a server of its own; tables in Markdown, no pass or fail.
#
#   bench/sql.sh [OPTION...] [PART...]
#
# Parts, in this order; all of them if none is named:
#   many      uds_post_many() in batches of 1000
#   scan      uds_post() and uds_peek() once per row of a table scan
#   pgbench   single prepared statements of 1 to 16 clients, beside a table with a unique key
#   idle      CPU time of the workers when nobody asks
#   load      a bulk load that drops duplicates, beside ON CONFLICT DO NOTHING
#   reads     known digests all over a full window, with 1, 2 and 4 readers and page caches of 1, 10
#             and 100 % of the volume, the file in the system's memory and (as root) not, beside
#             probes of a unique index with as many keys; only when named
#
# Options:
#   -m MB         uds.memory (256)
#   -s STRUCTURE  uds.index (buckets)
#   -z ZONES      uds.zones (1)
#   -r RUNS       runs of which the median is taken (5)
#   -n ROWS       rows of a run of many and load, and of the tables of pgbench (1000000)
#   -l ROWS       rows of a run of scan (200000); a tenth of them without polling
#   -t SECONDS    length of one run of pgbench (3)
#   -c CLIENTS    numbers of clients for pgbench ("1 2 4 16")
#   -q DIGESTS    digests of a run of reads (100000); a tenth of them when the file is not in memory
#   -d DIRECTORY  where the server lives (/tmp)
#   -i            measure the extension that is installed; do not build and install this one
#
# All parts but reads take about 8 minutes; reads takes 10 with -m 64.  The environment variable QUICK=1 chooses small defaults, which
# show that everything runs and measure nothing.  A figure is a median, with the least and the
# greatest of the runs behind it.  The runs of what is compared alternate, so that a disturbance
# meets all of them.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
. scripts/server

parts=(many scan pgbench idle load reads)
unnamed="many scan pgbench idle load"
batch=1000

memory=256
structure=buckets
zones=1
runs=5
rows=1000000
scan_rows=200000
seconds=3
clients=(1 2 4 16)
directory=/tmp
probes=100000
idle_seconds=10
must_install=1
if [ "${QUICK:-0}" != 0 ]; then
	memory=16
	runs=2
	rows=20000
	scan_rows=2000
	seconds=1
	clients=(1 4)
	idle_seconds=2
	probes=2000
fi

usage()
{
	sed -n '/^# Speed/,/^set/s/^# \{0,1\}//p' bench/sql.sh >&2
	exit 2
}

while getopts m:s:z:r:n:l:t:c:q:d:i option; do
	case $option in
		m) memory=$OPTARG ;;
		s) structure=$OPTARG ;;
		z) zones=$OPTARG ;;
		r) runs=$OPTARG ;;
		n) rows=$OPTARG ;;
		l) scan_rows=$OPTARG ;;
		t) seconds=$OPTARG ;;
		c) read -r -a clients <<<"$OPTARG" ;;
		q) probes=$OPTARG ;;
		d) directory=$OPTARG ;;
		i) must_install=0 ;;
		*) usage ;;
	esac
done
shift $((OPTIND - 1))
for number in "$memory" "$zones" "$runs" "$rows" "$scan_rows" "$seconds" "$probes" "${clients[@]}"; do
	[[ $number =~ ^[1-9][0-9]*$ ]] || usage
done
[[ $structure =~ ^(buckets|lists)$ ]] || usage
for part in "$@"; do
	[[ " ${parts[*]} " == *" $part "* ]] || usage
done
wanted=" ${*:-$unnamed} "
rows=$(((rows + batch - 1) / batch * batch))
[ "$rows" -ge "$scan_rows" ] || scan_rows=$rows
still_rows=$((scan_rows < 10 ? scan_rows : scan_rows / 10))

is_wanted()
{
	[[ $wanted == *" $1 "* ]]
}

work=
cleanup()
{
	status=$?
	if [ "$status" -ne 0 ] && [ -n "$work" ] && [ -f "$work/server/log" ]; then
		echo "---- end of the server's log" >&2
		tail -n 20 "$work/server/log" >&2
	fi
	server_remove
	[ -z "$work" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- helpers ----------------------------------------------------------------------------------

value()
{
	server_psql -At -c "$1"
}

# Returns when the index answers.
wait_online()
{
	local state
	while true; do
		state=$(value 'SELECT state FROM uds_stats')
		case $state in
			online) return ;;
			recovering) sleep 0.05 ;;
			*)
				server_psql -x -c 'SELECT state, reason FROM uds_stats' >&2
				return 1
				;;
		esac
	done
}

# An empty index again: the same digests are new once more.
forget()
{
	server_psql -c 'SELECT uds_reset()' -c 'SELECT uds_stats_reset()' >/dev/null
	wait_online
}

# usage: set_spin_time default|MILLISECONDS
set_spin_time()
{
	local wish=$1
	if [ "$wish" = default ]; then
		server_psql -c 'ALTER SYSTEM RESET uds.spin_time'
	else
		server_psql -c "ALTER SYSTEM SET uds.spin_time = $wish"
	fi
	server_psql -c 'SELECT pg_reload_conf()' >/dev/null
	# The postmaster tells its workers before it starts a session that has the new value.
	until [ "$(value "SELECT setting::float8 = CASE '$wish' WHEN 'default' THEN boot_val
			ELSE '$wish' END::float8 FROM pg_settings WHERE name = 'uds.spin_time'")" = t ]; do
		sleep 0.05
	done
}

# Milliseconds of statements, in one session.  Standard input has a line "LABEL|STATEMENT" for each;
# one without a label is not timed.  Appends "LABEL MILLISECONDS OPERATIONS" to the figures.
#
# usage: measure OPERATIONS
measure()
{
	local label statement labels=() times=() i
	{
		echo '\o /dev/null'
		echo 'SET max_parallel_workers_per_gather = 0; SET jit = off;'
		while IFS='|' read -r label statement; do
			if [ -n "$label" ]; then
				echo "$label" >&3
				printf '\\timing on\n%s;\n\\timing off\n' "$statement"
			else
				echo "$statement;"
			fi
		done
	} >"$work/statements" 3>"$work/labels"
	server_psql -f "$work/statements" >"$work/times"
	mapfile -t labels <"$work/labels"
	mapfile -t times < <(sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$work/times")
	if [ "${#labels[@]}" -ne "${#times[@]}" ]; then
		echo "psql gave ${#times[@]} times for ${#labels[@]} statements" >&2
		return 1
	fi
	for i in "${!labels[@]}"; do
		echo "${labels[i]} ${times[i]} $1" >>"$figures"
	done
}

# Median of the figures of LABEL, with the least and the greatest behind it.
#
# usage: figure LABEL FORMAT EXPRESSION [LESS]
#
# EXPRESSION  awk, of v: the figure, less the median of the figures of LESS; and n: operations
figure()
{
	local less=0
	[ -z "${4:-}" ] || less=$(figure "$4" %.6f v | cut -d ' ' -f 1)
	awk -v label="$1" -v less="$less" \
		'$1 == label { v = $2 - less; n = $3; print '"$3"' }' "$figures" | sort -g |
		awk -v format="$2" '
			{ value[NR] = $1 }
			END {
				if (NR == 0) { print "none"; exit }
				printf format, (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
				if (NR > 1) printf " (" format ".." format ")", value[1], value[NR]
				print ""
			}'
}

million_a_second='n / v / 1000'
microseconds_each='v * 1000 / n'

# A row of a table: the figures of LABEL-default and LABEL-0, which are uds.spin_time.
#
# usage: print_spins TEXT LABEL FORMAT EXPRESSION [LESS]
print_spins()
{
	local spin
	printf '| %s |' "$1"
	for spin in default 0; do
		printf ' %s |' "$(figure "$2-$spin" "$3" "$4" "${5:+$5-$spin}")"
	done
	echo
}

# usage: start_part TITLE
start_part()
{
	: >"$figures"
	printf '\n## %s\n\n' "$1"
}

# What the index answered since it was emptied: shows that what was measured is what it says.
#
# usage: print_answers WHICH
print_answers()
{
	echo
	value "SELECT format('Answers %s: %s posts of new digests, %s of known ones, %s queries of '
			'unknown digests, %s of known ones; the window holds %s records.', '$1',
			posts_not_found, posts_found, queries_not_found, queries_found, window_size)
		FROM uds_stats"
}

# ---- set-up -----------------------------------------------------------------------------------

# Digests are made before anything is measured: table digests, with a row for each, and the same as
# arrays in batches.  The index is emptied before they are posted again as new ones.
create_digests()
{
	server_psql <<-SQL
		CREATE UNLOGGED TABLE digests AS
			SELECT sha256(int8send(number)) AS digest FROM generate_series(1, $rows) AS number;
		CREATE UNLOGGED TABLE batches (digests bytea[]);
		ALTER TABLE batches ALTER digests SET STORAGE EXTERNAL;
		INSERT INTO batches
			SELECT array_agg(digest)
			FROM (SELECT digest, (row_number() OVER () - 1) / $batch AS number
			      FROM digests) AS numbered
			GROUP BY number;
		CREATE UNLOGGED TABLE twice AS
			WITH half AS MATERIALIZED (SELECT digest FROM digests LIMIT $rows / 2)
			SELECT digest FROM half UNION ALL SELECT digest FROM half;
		VACUUM ANALYZE digests, batches, twice;
		CHECKPOINT;
	SQL
}

print_conditions()
{
	echo '## Conditions'
	echo
	scripts/conditions | sed 's/^/    /'
	echo "    directory  $directory, $(df --output=fstype,source "$directory" | tail -n 1)"
	[ "$must_install" -eq 1 ] || echo '    extension  as installed, maybe of another source'
	echo "    runs       $runs, alternating; a figure is median (least..greatest)"
	server_psql -At -F ' = ' -c "
		SELECT '    ' || rpad(name, 30), current_setting(name)
		FROM pg_settings
		WHERE name LIKE 'uds.%'
		   OR name IN ('shared_buffers', 'fsync', 'synchronous_commit', 'full_page_writes',
		               'wal_level', 'wal_sync_method', 'max_wal_size', 'checkpoint_timeout',
		               'autovacuum', 'huge_pages', 'shared_preload_libraries')
		ORDER BY name"
	server_psql -At -c "
		SELECT format('    index memory %s, window %s records, queues %s',
		              pg_size_pretty(index_memory), window_size, pg_size_pretty(queue_memory))
		FROM uds_stats"
}

# ---- many -------------------------------------------------------------------------------------

part_many()
{
	local spin run
	start_part "uds_post_many, batches of $batch, $rows digests a run, one session"
	for ((run = 1; run <= runs; run++)); do
		for spin in default 0; do
			set_spin_time "$spin"
			forget
			measure "$rows" <<-LIST
				|SELECT sum(cardinality(digests)) FROM batches
				|SELECT uds_peek(sha256(''))
				read-$spin|SELECT sum(cardinality(digests)) FROM batches
				new-$spin|SELECT count(uds_post_many(digests)) FROM batches
				known-$spin|SELECT count(uds_post_many(digests)) FROM batches
			LIST
		done
	done
	echo 'Statement: `SELECT count(uds_post_many(digests)) FROM batches`, where a row holds an array of'
	echo "$batch SHA-256 digests that was made before.  To read the arrays is part of the time; what"
	echo 'that takes alone is the time of `SELECT sum(cardinality(digests)) FROM batches`.  The index is'
	echo 'emptied before each run.'
	echo
	echo '| | uds.spin_time default | uds.spin_time = 0 |'
	echo '| --- | --- | --- |'
	print_spins 'new digests, million posts/s' new %.3f "$million_a_second"
	print_spins 'known digests, million posts/s' known %.3f "$million_a_second"
	print_spins 'new, µs a post' new %.3f "$microseconds_each"
	print_spins 'known, µs a post' known %.3f "$microseconds_each"
	print_spins 'reading the arrays, µs a digest' read %.3f "$microseconds_each"
	print_answers 'of the last run'
}

# ---- scan -------------------------------------------------------------------------------------

part_scan()
{
	local spin run count
	start_part 'One call per row of a table scan, one session'
	for ((run = 1; run <= runs; run++)); do
		for spin in default 0; do
			count=$scan_rows
			[ "$spin" = default ] || count=$still_rows
			set_spin_time "$spin"
			forget
			sed "s/FROM digests/FROM (SELECT digest FROM digests LIMIT $count) AS digests/" \
				<<-LIST | measure "$count"
					|SELECT count(length(digest)) FROM digests
					|SELECT uds_peek(sha256(''))
					scan-$spin|SELECT count(length(digest)) FROM digests
					peek-unknown-$spin|SELECT count(uds_peek(digest)) FROM digests
					post-new-$spin|SELECT count(uds_post(digest)) FROM digests
					post-known-$spin|SELECT count(uds_post(digest)) FROM digests
					peek-known-$spin|SELECT count(uds_peek(digest)) FROM digests
				LIST
		done
	done
	echo "µs a row, less the scan's own time: that of the same statement with \`length(digest)\`, in"
	echo "the last row.  $scan_rows rows a run, and $still_rows without polling.  The index is emptied"
	echo "before each run."
	echo
	echo '| | uds.spin_time default | uds.spin_time = 0 |'
	echo '| --- | --- | --- |'
	print_spins '`uds_post`, new digests' post-new %.3f "$microseconds_each" scan
	print_spins '`uds_post`, known digests' post-known %.3f "$microseconds_each" scan
	print_spins '`uds_peek`, unknown digests' peek-unknown %.3f "$microseconds_each" scan
	print_spins '`uds_peek`, known digests' peek-known %.3f "$microseconds_each" scan
	print_spins '`length`, the scan itself' scan %.3f "$microseconds_each"
	print_answers 'of the last run'
}

# ---- pgbench ----------------------------------------------------------------------------------

# The peers: label, uds.spin_time, synchronous_commit, statement, title.  All make the digest of a
# random value in SQL.
peers()
{
	cat <<-'LIST'
		one|default|on|SELECT 1 WHERE sha256(int8send(:x)) IS NOT NULL|`SELECT 1`
		post|default|on|SELECT uds_post(sha256(int8send(:x)))|`uds_post`
		still|0|on|SELECT uds_post(sha256(int8send(:x)))|`uds_post`, uds.spin_time = 0
		lookup|default|on|SELECT 1 FROM lookup_keys WHERE digest = sha256(int8send(:x))|unique index lookup
		insert|default|on|INSERT INTO insert_keys VALUES (sha256(int8send(:x))) ON CONFLICT DO NOTHING|`INSERT ... ON CONFLICT DO NOTHING`
		lazy|default|off|INSERT INTO insert_keys VALUES (sha256(int8send(:x))) ON CONFLICT DO NOTHING|the same, synchronous_commit = off
	LIST
}

# usage: run_pgbench LABEL SPIN COMMIT CLIENTS
run_pgbench()
{
	local threads tps
	threads=$(nproc)
	[ "$threads" -le "$4" ] || threads=$4
	set_spin_time "$2"
	PGOPTIONS="-c synchronous_commit=$3 -c plan_cache_mode=force_generic_plan" \
		"$server_bin/pgbench" -n -M prepared -c "$4" -j "$threads" -T "$seconds" \
		-f "$work/$1.sql" >"$work/pgbench.log" 2>&1 || {
		cat "$work/pgbench.log" >&2
		return 1
	}
	tps=$(sed -n 's/^tps = \([0-9.]*\) .*/\1/p' "$work/pgbench.log")
	echo "$1-$4 $tps 1" >>"$figures"
}

part_pgbench()
{
	local run label spin commit statement title count
	start_part "pgbench -M prepared, thousand transactions/s, $seconds s a run"
	forget
	server_psql <<-SQL
		CREATE TABLE lookup_keys (digest bytea PRIMARY KEY);
		CREATE TABLE insert_keys (digest bytea PRIMARY KEY);
		INSERT INTO lookup_keys SELECT digest FROM digests;
		INSERT INTO insert_keys SELECT digest FROM digests;
		VACUUM ANALYZE lookup_keys, insert_keys;
		SELECT count(uds_post(digest)) FROM digests \g /dev/null
		CHECKPOINT;
	SQL
	while IFS='|' read -r label spin commit statement title; do
		printf '\\set x random(1, 1000000000000)\n%s;\n' "$statement" >"$work/$label.sql"
	done < <(peers)
	for ((run = 1; run <= runs; run++)); do
		for count in "${clients[@]}"; do
			while IFS='|' read -r label spin commit statement title; do
				run_pgbench "$label" "$spin" "$commit" "$count" </dev/null
			done < <(peers)
		done
	done
	set_spin_time default

	echo "One statement a transaction, on a digest of a random value that nearly always is new:"
	echo '`sha256(int8send(:x))`, computed in every statement, also in `SELECT 1`.  The tables and the'
	echo "index hold $rows digests before the first run; what a statement stores stays.  Generic"
	echo "plans; pgbench shares the CPUs with the server and runs at most $(nproc) threads."
	echo
	printf '| clients |'
	printf ' %s |' "${clients[@]}"
	printf '\n| --- |'
	printf ' --- |%.0s' "${clients[@]}"
	echo
	while IFS='|' read -r label spin commit statement title; do
		printf '| %s |' "$title"
		for count in "${clients[@]}"; do
			printf ' %s |' "$(figure "$label-$count" %.2f 'v / 1000')"
		done
		echo
	done < <(peers)
	print_answers 'of all runs and of the posts before them'
}

# ---- idle -------------------------------------------------------------------------------------

# CPU time of the workers so far: "ticks nanoseconds", the former utime + stime, the latter as the
# scheduler counts it.
workers_cpu_time()
{
	local pid stat fields ticks=0 nanoseconds=0 run
	for pid in $workers; do
		stat=$(<"/proc/$pid/stat")
		# The command stands in parentheses; utime and stime are the 12th and 13th after it.
		read -r -a fields <<<"${stat##*) }"
		ticks=$((ticks + fields[11] + fields[12]))
		read -r run _ <"/proc/$pid/schedstat" || run=0
		nanoseconds=$((nanoseconds + run))
	done
	echo "$ticks $nanoseconds"
}

part_idle()
{
	local run ticks_start ticks_before ns_before ticks ns client_process input
	start_part "CPU time of the workers while $idle_seconds s pass after a load"
	set_spin_time default
	workers=$(value "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'uds %'")
	echo '| run | utime + stime, ticks of 1/'"$(getconf CLK_TCK)"' s | CPU time, µs | ticks of the load |'
	echo '| --- | --- | --- | --- |'
	for run in 1 2; do
		forget
		read -r ticks_start _ < <(workers_cpu_time)
		# The session that makes the load stays, and is idle as well.
		coproc client { server_psql -At; }
		client_process=$!
		echo "SELECT count(uds_post(digest)) FROM digests;" >&"${client[1]}"
		read -r _ <&"${client[0]}"
		sleep 1 # the last chapter is being written
		read -r ticks_before ns_before < <(workers_cpu_time)
		sleep "$idle_seconds"
		read -r ticks ns < <(workers_cpu_time)
		echo "| $run | $((ticks - ticks_before)) | $(((ns - ns_before) / 1000)) |" \
			"$((ticks_before - ticks_start)) |"
		input=${client[1]}
		exec {input}>&-
		wait "$client_process"
	done
	echo
	echo "Processes: $(value "SELECT string_agg(backend_type, ', ' ORDER BY backend_type)
		FROM pg_stat_activity WHERE backend_type LIKE 'uds %'").  A session that has posted $rows"
	echo 'digests one by one is connected and idle.'
}

# ---- load -------------------------------------------------------------------------------------

part_load()
{
	local run label title
	start_part "INSERT ... SELECT of $rows rows, every digest twice, one session"
	set_spin_time default
	server_psql -c 'CREATE TABLE heap (digest bytea)' -c 'CREATE TABLE keyed (digest bytea PRIMARY KEY)'
	: >"$work/kept"
	for ((run = 1; run <= runs; run++)); do
		forget
		measure "$rows" <<-LIST
			|TRUNCATE heap, keyed
			|SELECT count(*) FROM twice
			|SELECT uds_peek(sha256(''))
			plain|INSERT INTO heap SELECT digest FROM twice
			|TRUNCATE heap
			post|INSERT INTO heap SELECT digest FROM twice WHERE NOT uds_post(digest)
			conflict|INSERT INTO keyed SELECT digest FROM twice ON CONFLICT DO NOTHING
		LIST
		value "SELECT format('%s with uds_post, %s with the unique key',
			(SELECT count(*) FROM heap), (SELECT count(*) FROM keyed))" >>"$work/kept"
	done
	echo 'Thousand rows of the source a second, commit included.  The second half of the rows repeats'
	echo 'the first.  Index and tables are empty before each run.'
	echo
	echo '| | thousand rows/s | µs a row |'
	echo '| --- | --- | --- |'
	while IFS='|' read -r label title; do
		printf '| %s | %s | %s |\n' "$title" "$(figure "$label" %.0f 'n / v')" \
			"$(figure "$label" %.3f "$microseconds_each")"
	done <<-'LIST'
		plain|all rows, no index
		post|`WHERE NOT uds_post(digest)`, no index
		conflict|`ON CONFLICT DO NOTHING`, unique key
	LIST
	echo
	echo "Rows kept: $(sort -u "$work/kept" | paste -s -d ';')."
}

# ---- reads ------------------------------------------------------------------------------------

# Nothing of any file is in the system's memory.
drop_caches()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

# usage: restart_with PAGE_CACHE_KB READERS
restart_with()
{
	server_psql -c "ALTER SYSTEM SET uds.page_cache = '$1kB'" \
		-c "ALTER SYSTEM SET uds.read_workers = $2"
	server_stop
	server_start
	wait_online
}

# Fill the window with digests of numbers, and a table with the same; draw numbers of both.  The
# newest eighth of the numbers is left out: those are in memory.
create_window()
{
	window=$(value 'SELECT window_size FROM uds_stats')
	server_psql <<-SQL
		SELECT count(uds_post_many(digests))
			FROM (SELECT array_agg(sha256(int8send(number))) AS digests
			      FROM generate_series(1, $window) AS number GROUP BY number / $batch
			      ORDER BY number / $batch) AS batches \g /dev/null
		SELECT uds_checkpoint() \g /dev/null
		CREATE UNLOGGED TABLE keys AS
			SELECT sha256(int8send(number)) AS digest FROM generate_series(1, $window) AS number;
		SET maintenance_work_mem = '1GB';
		CREATE UNIQUE INDEX ON keys (digest);
		CREATE TABLE probes AS
			SELECT run, position, sha256(int8send(1 + (random() * 0.87 * $window)::bigint)) AS digest
			FROM generate_series(1, $((runs + 1))) AS run, generate_series(1, $probes) AS position;
		CREATE TABLE probe_batches (run int, is_first bool, digests bytea[]);
		ALTER TABLE probe_batches ALTER digests SET STORAGE EXTERNAL;
		INSERT INTO probe_batches
			SELECT run, min(position) <= $probes / 10, array_agg(digest)
			FROM probes GROUP BY run, (position - 1) / $batch;
		VACUUM ANALYZE keys, probes, probe_batches;
		CHECKPOINT;
	SQL
}

# A run of each, or of the first tenth of each.  usage: ask LABEL RUN warm|cold
ask()
{
	local condition='' operations=$probes
	if [ "$3" = cold ]; then
		condition=' AND is_first'
		operations=$((probes / 10))
	fi
	measure "$operations" <<-LIST
		|SELECT sum(cardinality(digests)) FROM probe_batches WHERE run = $2
		|SELECT uds_peek(sha256(''))
		$1|SELECT count(uds_peek_many(digests)) FROM probe_batches WHERE run = $2$condition
	LIST
}

# The same of the unique index: one nested loop, an index probe for each digest.
probe()
{
	local condition='' operations=$probes
	if [ "$3" = cold ]; then
		condition=" AND position <= $probes / 10"
		operations=$((probes / 10))
	fi
	measure "$operations" <<-LIST
		|SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = on
		|SELECT count(*) FROM probes WHERE run = $2
		$1|SELECT count(*) FROM (SELECT digest FROM probes WHERE run = $2$condition OFFSET 0) AS p JOIN keys USING (digest)
	LIST
}

part_reads()
{
	local percent readers run window volume_kb cold=1
	[ -w /proc/sys/vm/drop_caches ] || cold=0
	start_part "Known digests all over a full window, batches of $batch, one session"
	forget
	create_window
	volume_kb=$(value 'SELECT volume_bytes / 1024 FROM uds_stats')
	for percent in 1 10 100; do
		for readers in 1 2 4; do
			restart_with "$((volume_kb * percent / 100))" "$readers"
			ask warm-up "$((runs + 1))" warm
			for ((run = 1; run <= runs; run++)); do
				ask "warm-$percent-$readers" "$run" warm
			done
			for ((run = 1; run <= runs && cold; run++)); do
				restart_with "$((volume_kb * percent / 100))" "$readers"
				drop_caches
				ask "cold-$percent-$readers" "$run" cold
			done
		done
	done
	probe warm-up "$((runs + 1))" warm
	for ((run = 1; run <= runs; run++)); do
		probe index-warm "$run" warm
	done
	for ((run = 1; run <= runs && cold; run++)); do
		server_stop
		drop_caches
		server_start
		probe index-cold "$run" cold
	done

	echo "µs a digest of \`uds_peek_many\`; $probes digests a run drawn from the older seven eighths of"
	echo "$window, $((probes / 10)) when the file is not in the system's memory.  Page cache in percent of"
	echo "the volume, which has $((volume_kb / 1024)) MB; it is empty after a start.  Below, the probes of a unique index in a"
	echo "nested loop, shared_buffers = 1GB; index and table have" \
		"$(value "SELECT pg_size_pretty(pg_relation_size('keys_digest_idx')) || ' and ' || pg_size_pretty(pg_relation_size('keys'))")."
	echo
	echo '| page cache | file | 1 reader | 2 readers | 4 readers |'
	echo '| --- | --- | --- | --- | --- |'
	for percent in 1 10 100; do
		for state in warm cold; do
			printf '| %s %% | %s |' "$percent" "$([ $state = warm ] && echo 'in memory' || echo 'on disk')"
			for readers in 1 2 4; do
				printf ' %s |' "$(figure "$state-$percent-$readers" %.2f "$microseconds_each")"
			done
			echo
		done
	done
	echo "| unique index | in memory | $(figure index-warm %.2f "$microseconds_each") | | |"
	echo "| unique index | on disk | $(figure index-cold %.2f "$microseconds_each") | | |"
	echo
	value "SELECT format('Bad pages: %s.', bad_pages) FROM uds_stats"
}

# -----------------------------------------------------------------------------------------------

if [ "$must_install" -eq 1 ]; then
	make -s --no-print-directory "PG_CONFIG=$PG_CONFIG" all >&2
	install_extension >&2
fi
work=$(mktemp -d "$directory/uds-bench.XXXXXX")
chmod 755 "$work"
figures=$work/figures
server_create "$work/server" \
	"uds.memory = '${memory}MB'" "uds.index = $structure" "uds.zones = $zones" \
	"shared_buffers = '1GB'" "max_wal_size = '16GB'" "checkpoint_timeout = '1h'" \
	"autovacuum = off" "max_connections = 50" "max_worker_processes = 32"
server_start
server_psql -c 'CREATE EXTENSION uds'
wait_online

print_conditions
create_digests
for part in "${parts[@]}"; do
	if is_wanted "$part"; then
		"part_$part"
	fi
done
printf '\n%d seconds\n' "$SECONDS"
