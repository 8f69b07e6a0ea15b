/*
 * simulate.c: seeded runs of a whole index on a faulty disk, with crashes at any point, against a
 * reference.
 *
 * A seed is a run: a small geometry, then several lives of a server.  Most lives end in a crash,
 * some of them with a loss of power.  Every answer is checked; the last life peeks at every name.
 *
 *   simulate [--seeds N] [--first S] [--hours H] [--stop] [--trace] [--verbose] [--name N]
 *
 *   --hours H   as many seeds as fit in
 *   --stop      end with the first failure
 *   --trace     print a hash of everything that happened in a run
 *   --verbose   print every point
 *   --name N    print the answers for that name
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

#define COLLIDING_GROUPS 12 /* names 0..2 of every 64, so many times */

typedef struct options
{
	uint64_t seeds;
	uint64_t first;
	double hours;
	bool must_stop;  /* after the first failure */
	bool is_traced;  /* print the hash of each run */
	bool is_verbose; /* print each point */
	uint32_t name;   /* print the answers for this one */
} options;

typedef struct totals
{
	uint64_t seeds, requests, found, crashes, power_losses, recoveries, checkpoints, restarts;
	uint64_t resets, faults, read_only_answers, relaxed, failures, points;
} totals;

typedef struct run
{
	uint64_t seed;
	uds_random random;
	sim *sim;
	reference reference;
	host host;
	uint32_t lives;
	uint64_t crashes;
	uint64_t power_losses;
	bool is_hasty; /* many short lives, with much trouble */
	bool has_failed;
} run;

/* For the handler of signals. */
static volatile uint64_t current_seed;

static void
tell_seed(int signal_number)
{
	char text[80];
	int bytes = snprintf(text,
	                     sizeof(text),
	                     "\nsimulate: seed %llu ended by signal %d\n",
	                     (unsigned long long) current_seed,
	                     signal_number);

	(void) !write(STDERR_FILENO, text, (size_t) bytes);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* ---- one run ------------------------------------------------------------------------------------ */

static void
choose_config(run *run)
{
	uds_random *random = &run->random;

	run->host.config = (uds_config){
		.geometry = { .page_bytes = UDS_PAGE_BYTES,
		              .index_page_bytes = UDS_INDEX_PAGE_BYTES,
		              .records_per_page = UDS_RECORDS_PER_PAGE,
		              .record_pages = (uint32_t) uds_random_range(random, 1, 4),
		              .extra_pages = UDS_SEAL_PAGES,
		              .chapters = (uint32_t) uds_random_range(random, 4, 16) },
		.structure = uds_random_one_in(random, 2) ? UDS_STRUCTURE_BUCKETS : UDS_STRUCTURE_LISTS,
		.zone_count = (uint32_t) uds_random_range(random, 1, 3),
		.page_cache_bytes = uds_random_range(random, 16, 64) * UDS_PAGE_BYTES,
	};
}

/*
 * Names of a run; some agree in the fields that the volume index or the chapter index looks at, few
 * enough for the exact entries that an index of this size has room for.
 */
static void
choose_names(run *run)
{
	uint64_t base = run->seed << 24;

	for (uint32_t i = 0; i < run->reference.name_count; i++)
	{
		uds_name name = uds_generate_counter_name(base + i);
		uint32_t place = i < 64 * COLLIDING_GROUPS ? i % 64 : 0;

		if (place == 1 || place == 2)
		{
			uds_name other = uds_generate_counter_name(base + i - place);

			uds_generate_set_volume_field(&name, uds_name_volume_field(&other));
		}
		else if (place == 3)
		{
			uds_name other = uds_generate_counter_name(base + i - place);

			uds_generate_set_chapter_field(&name, uds_name_chapter_field(&other));
		}
		run->reference.names[i].name = name;
	}
}

static void
choose_schedule(run *run)
{
	static const uint32_t switches[] = { 1, 1, 2, 4, 16 };
	static const uint32_t blocks[] = { 0, 0, 5000, 500, 50 };

	run->sim->switch_one_in = switches[uds_random_below(&run->random, 5)];
	run->sim->block_mean = blocks[uds_random_below(&run->random, 5)];
	run->sim->has_latency = uds_random_one_in(&run->random, 2);
}

static void
choose_faults(run *run, sim_faults *faults)
{
	uds_random *random = &run->random;

	memset(faults, 0, sizeof(*faults));
	if (run->seed % 3 == 0)
		return;
	faults->write = (uint32_t) uds_random_below(random, 30);
	faults->sync = (uint32_t) uds_random_below(random, run->is_hasty ? 5 : 12);
	faults->directory = (uint32_t) uds_random_below(random, run->is_hasty ? 4 : 8);
	faults->is_full = uds_random_one_in(random, 3);
	if (run->seed % 12 == 1)
	{
		faults->read = (uint32_t) uds_random_below(random, 60);
		faults->open = (uint32_t) uds_random_below(random, 30);
	}
}

static void
choose_life(run *run, bool is_last)
{
	uds_random *random = &run->random;
	host_plan *plan = &run->host.plan;
	static const uint32_t sizes[] = { 10, 300, 2000, 6000 };
	static const uint32_t points[] = { 300, 3000, 20000, 60000 };
	uint32_t range = run->is_hasty ? 2 : 4;

	memset(plan, 0, sizeof(*plan));
	plan->clients = (uint32_t) uds_random_range(random, 1, 4);
	plan->requests =
		(uint32_t) uds_random_below(random, sizes[uds_random_below(random, range)]) + 1;
	plan->batch_max = uds_random_one_in(random, 4) ? 200 : 16;
	plan->hot_names = (uint32_t) uds_random_range(random, 1, 64);
	for (uint32_t i = 0; i < UDS_OPERATION_COUNT; i++)
		plan->shares[i] = (uint32_t) uds_random_below(random, 4);
	plan->shares[UDS_POST] += 1 + (uint32_t) uds_random_below(random, 8);
	plan->has_checker = is_last || uds_random_one_in(random, 4);
	plan->has_trouble = !is_last && !uds_random_one_in(random, 4);
	plan->trouble_ns = run->is_hasty ? 500000 : 2000000;
	plan->has_resets = uds_random_one_in(random, 16);
	plan->must_save = is_last || !uds_random_one_in(random, 4);
	choose_faults(run, &plan->faults);
	if (!is_last && !uds_random_one_in(random, 6))
		sim_crash_after(run->sim,
		                uds_random_range(random, 1, points[uds_random_below(random, range)]));
	if (run->lives > 0 && uds_random_one_in(random, 3))
	{
		uint32_t zones = (uint32_t) uds_random_range(random, 1, 3);

		if (zones != run->host.config.zone_count)
			run->reference.slack = 1;
		run->host.config.zone_count = zones;
	}
}

/* One life of the server; false: the run has failed. */
static bool
live(run *run, bool is_last)
{
	sim_end end;

	choose_life(run, is_last);
	if (run->host.shown_name != UINT32_MAX)
		printf("life %u, %u zones\n", run->lives, run->host.config.zone_count);
	host_begin(&run->host);
	end = sim_run(run->sim);
	sim_crash_after(run->sim, 0);
	host_end(&run->host, end != SIM_ENDED);
	sim_forget_tasks(run->sim);
	run->lives++;
	if (end == SIM_FAILED)
		return false;
	if (end != SIM_CRASHED)
		return true;
	run->crashes++;
	if (uds_random_one_in(&run->random, 3))
		return true;
	run->power_losses++;
	sim_disk_lose_power(run->sim->disk);
	return true;
}

static void
run_seed(run *run, const options *options, uint64_t seed)
{
	uint32_t lives;
	uint64_t window;

	memset(run, 0, sizeof(*run));
	run->seed = seed;
	uds_random_init(&run->random, seed * UINT64_C(0x9e3779b97f4a7c15) + 1);
	run->sim = sim_create(seed);
	run->sim->is_traced = options->is_verbose;
	choose_config(run);
	choose_schedule(run);
	window = (uint64_t) run->host.config.geometry.record_pages * UDS_RECORDS_PER_PAGE *
	         run->host.config.geometry.chapters;
	reference_init(&run->reference,
	               (uint32_t) (window / 4 + uds_random_below(&run->random, 2 * window)),
	               run->host.config.geometry.chapters);
	choose_names(run);
	run->host.sim = run->sim;
	run->host.reference = &run->reference;
	run->host.random = &run->random;
	run->host.last_answered = calloc(run->reference.name_count, sizeof(uint64_t));
	run->host.shown_name = options->name;
	run->is_hasty = uds_random_one_in(&run->random, 2);
	lives = (uint32_t) uds_random_range(&run->random, 2, run->is_hasty ? 24 : 8);
	for (uint32_t i = 0; i < lives && !run->has_failed; i++)
		run->has_failed = !live(run, i == lives - 1);
	/* What an orderly end has saved is all there. */
	if (!run->has_failed)
		run->has_failed = !live(run, true);
}

static void
end_seed(run *run)
{
	free(run->host.last_answered);
	free(run->host.requests);
	free(run->host.allocations);
	reference_destroy(&run->reference);
	sim_destroy(run->sim);
}

/* ---- program ------------------------------------------------------------------------------------ */

static void
add_totals(totals *totals, const run *run)
{
	totals->seeds++;
	totals->requests += run->host.answered;
	totals->found += run->host.found;
	totals->crashes += run->crashes;
	totals->power_losses += run->power_losses;
	totals->recoveries += run->host.recoveries;
	totals->checkpoints += run->host.checkpoints;
	totals->restarts += run->host.restarts;
	totals->resets += run->host.resets;
	totals->faults += run->sim->injected;
	totals->read_only_answers += run->host.read_only_answers;
	totals->relaxed += run->reference.is_relaxed ? 1 : 0;
	totals->failures += run->has_failed ? 1 : 0;
	totals->points += run->sim->points;
}

static void
print_failure(const run *run)
{
	const uds_config *config = &run->host.config;

	printf("seed %llu FAILED: life %u, %u record pages, %u chapters, %u zones, %s, %llu crashes\n"
	       "    %s\n",
	       (unsigned long long) run->seed,
	       run->lives,
	       config->geometry.record_pages,
	       config->geometry.chapters,
	       config->zone_count,
	       config->structure == UDS_STRUCTURE_BUCKETS ? "buckets" : "lists",
	       (unsigned long long) run->crashes,
	       sim_failure(run->sim));
}

static void
print_totals(const totals *totals)
{
	printf("simulate: %llu found, %llu power losses, %llu checkpoints, %llu restarts of workers, "
	       "%llu resets, %llu faults, %llu read only answers, %llu runs with lost data, %llu "
	       "points\n",
	       (unsigned long long) totals->found,
	       (unsigned long long) totals->power_losses,
	       (unsigned long long) totals->checkpoints,
	       (unsigned long long) totals->restarts,
	       (unsigned long long) totals->resets,
	       (unsigned long long) totals->faults,
	       (unsigned long long) totals->read_only_answers,
	       (unsigned long long) totals->relaxed,
	       (unsigned long long) totals->points);
	printf("simulate: %llu seeds, %llu requests, %llu crashes, %llu recoveries, %llu failures\n",
	       (unsigned long long) totals->seeds,
	       (unsigned long long) totals->requests,
	       (unsigned long long) totals->crashes,
	       (unsigned long long) totals->recoveries,
	       (unsigned long long) totals->failures);
}

static bool
parse_options(int count, char **arguments, options *options)
{
	for (int i = 1; i < count; i++)
	{
		const char *name = arguments[i];

		if (strcmp(name, "--trace") == 0)
			options->is_traced = true;
		else if (strcmp(name, "--stop") == 0)
			options->must_stop = true;
		else if (strcmp(name, "--verbose") == 0)
			options->is_verbose = true;
		else if (i + 1 == count)
			return false;
		else if (strcmp(name, "--seeds") == 0)
			options->seeds = strtoull(arguments[++i], NULL, 10);
		else if (strcmp(name, "--first") == 0)
			options->first = strtoull(arguments[++i], NULL, 10);
		else if (strcmp(name, "--name") == 0)
			options->name = (uint32_t) strtoul(arguments[++i], NULL, 10);
		else if (strcmp(name, "--hours") == 0)
			options->hours = strtod(arguments[++i], NULL);
		else
			return false;
	}
	return true;
}

int
main(int count, char **arguments)
{
	options options = { .seeds = 100, .first = 1, .name = UINT32_MAX };
	totals totals = { 0 };
	time_t start = time(NULL);
	time_t told = start;

	if (!parse_options(count, arguments, &options))
	{
		fprintf(stderr,
		        "usage: %s [--seeds N] [--first S] [--hours H] [--stop] [--trace] "
		        "[--verbose] [--name N]\n",
		        arguments[0]);
		return 2;
	}
	signal(SIGABRT, tell_seed);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t i = 0;; i++)
	{
		run run;
		time_t now = time(NULL);

		/* With a time given, the number of seeds does not count. */
		if (options.hours > 0 ? difftime(now, start) >= options.hours * 3600 : i == options.seeds)
			break;
		current_seed = options.first + i;
		run_seed(&run, &options, options.first + i);
		add_totals(&totals, &run);
		if (run.has_failed)
			print_failure(&run);
		if (options.is_traced)
			printf("seed %llu: hash %016llx\n",
			       (unsigned long long) run.seed,
			       (unsigned long long) run.sim->hash);
		if (now - told >= 10)
		{
			printf("... seed %llu, %llu requests, %llu crashes, %llu failures\n",
			       (unsigned long long) run.seed,
			       (unsigned long long) totals.requests,
			       (unsigned long long) totals.crashes,
			       (unsigned long long) totals.failures);
			told = now;
		}
		end_seed(&run);
		if (run.has_failed && options.must_stop)
			break;
	}
	print_totals(&totals);
	return totals.failures == 0 ? 0 : 1;
}
