/*
 * simulate.c: seeded runs of a whole index on a faulty disk, with crashes at any point, against a
 * reference.
 *
 * A seed is a run: a small geometry, then several lives of a server.  Most lives end in a crash,
 * some of them with a loss of power.  Every answer is checked; the last life peeks at every name.
 *
 *   simulate [--seeds N] [--first S] [--seconds T] [--hours H] [--jobs J] [--stop] [--trace]
 *            [--verbose] [--name N]
 *
 *   --seconds, --hours   as many seeds as fit in
 *   --jobs J             in so many processes; each takes every J-th seed
 *   --stop               end with the first failure
 *   --trace              print a hash of everything that happened in a run
 *   --verbose            print every point
 *   --name N             print the answers for that name
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "totals.h"

#define COLLIDING_GROUPS 12 /* names 0..2 of every 64, so many times */
#define JOBS_MAX         64
#define TELL_SECONDS     10

typedef struct options
{
	uint64_t seeds;
	uint64_t first;
	double seconds;
	uint32_t jobs;
	bool must_stop;  /* after the first failure */
	bool is_traced;  /* print the hash of each run */
	bool is_verbose; /* print each point */
	uint32_t name;   /* print the answers for this one */
} options;

/* What the processes share. */
typedef struct shared
{
	volatile bool must_end; /* one has failed */
	totals totals[JOBS_MAX];
} shared;

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

/* What a server may be given anew at each start. */
static void
choose_workers(run *run)
{
	uds_config *config = &run->host.config;
	uds_random *random = &run->random;

	config->zone_count = (uint32_t) uds_random_range(random, 1, HOST_ZONES_MAX);
	config->reader_count =
		uds_random_one_in(random, 3) ? 0 : (uint32_t) uds_random_range(random, 1, HOST_READERS_MAX);
	config->page_cache_bytes =
		(uds_random_one_in(random, 2) ? UDS_PAGE_CACHE_PAGES_MIN
	                                  : uds_random_range(random, UDS_PAGE_CACHE_PAGES_MIN, 64)) *
		UDS_PAGE_BYTES;
}

static void
choose_sparse_geometry(run *run)
{
	uds_config *config = &run->host.config;
	uds_geometry_parameters *geometry = &config->geometry;
	uds_random *random = &run->random;
	uint32_t dense = (uint32_t) uds_random_range(random, UDS_CHAPTER_BUFFERS + 1, 8);

	geometry->record_pages = (uint32_t) uds_random_range(random, 1, 2);
	geometry->sparse_chapters = (uint32_t) uds_random_range(random, 1, 20);
	geometry->chapters = geometry->sparse_chapters + dense;
	geometry->sample_rate = (uint32_t) uds_random_range(random, 2, 16);
	config->sparse_cache_chapters = (uint32_t) uds_random_range(random, 1, 6);
}

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
		              .chapters = (uint32_t)
		                  uds_random_range(random, 4, uds_random_one_in(random, 3) ? 7 : 16) },
		.structure = uds_random_one_in(random, 2) ? UDS_STRUCTURE_BUCKETS : UDS_STRUCTURE_LISTS,
	};
	if (uds_random_one_in(random, 2))
		choose_sparse_geometry(run);
	choose_workers(run);
}

/* Does the reference know what a reduced volume of this geometry may answer? */
static bool
can_be_reduced(const run *run)
{
	const uds_geometry_parameters *geometry = &run->host.config.geometry;

	return geometry->chapters > 4 && geometry->sparse_chapters != 1;
}

/*
 * A volume that was reduced, as if all its chapters had been lost; the window soon moves over the
 * moved chapter, and is never shorter than by one.
 */
static void
choose_reduced_geometry(run *run)
{
	uds_geometry_parameters *geometry = &run->host.config.geometry;
	uds_random *random = &run->random;

	geometry->is_reduced = true;
	geometry->remapped_virtual = uds_random_below(random, geometry->chapters - 1);
	geometry->remapped_physical =
		uds_random_below(random, geometry->chapters - 1 - geometry->remapped_virtual);
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
		run->reference.names[i].is_hook =
			uds_geometry_is_hook(run->host.config.geometry.sample_rate,
		                         uds_name_sampling_field(&name));
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
	if (uds_random_one_in(random, 3))
		faults->full = uds_random_one_in(random, 2) ? SIM_FULL : SIM_FULL_FOR_NEW;
	if (run->seed % 12 == 1)
	{
		run->sim->accepts_stale = uds_random_one_in(random, 2);
		faults->read = (uint32_t) uds_random_below(random, 60);
		faults->open = (uint32_t) uds_random_below(random, 30);
	}
}

static void
choose_trouble(run *run, host_plan *plan)
{
	uds_random *random = &run->random;

	if (uds_random_one_in(random, 6))
		plan->stop_ns =
			uds_random_range(random, 1, uds_random_one_in(random, 2) ? 5000000 : 200000000);
	if (uds_random_one_in(random, 4))
		return;
	plan->is_patient = uds_random_one_in(random, 2);
	plan->troubles = plan->is_patient ? UINT32_MAX : (uint32_t) uds_random_range(random, 1, 400);
	plan->trouble_ns = run->is_hasty ? 500000 : 2000000;
	plan->has_reductions = can_be_reduced(run) && run->seed % 2 == 0;
	plan->has_resets = uds_random_one_in(random, 4);
	plan->reset_chapter = uds_random_below(random, 12);
	plan->has_deaths = uds_random_one_in(random, 3);
	plan->has_late_faults = uds_random_one_in(random, 2);
	choose_faults(run, &plan->faults);
}

/* Where a life ends with a crash: at some point, or where files are changed. */
static void
choose_crash(run *run)
{
	static const uint32_t points[] = { 300, 3000, 20000, 60000 };
	static const uint32_t changes[] = { 0, 0, 100, 20 };
	static const char *const files[] = { NULL, NULL, NULL, UDS_VOLUME_FILE };
	uds_random *random = &run->random;
	uint64_t kind = uds_random_below(random, 4);
	uint32_t range = run->is_hasty ? 2 : 4;

	sim_crash_after(run->sim,
	                uds_random_range(random, 1, points[uds_random_below(random, range)]),
	                changes[kind] == 0 ? 0 : uds_random_range(random, 1, changes[kind]),
	                files[kind]);
}

static void
choose_life(run *run, bool is_last)
{
	uds_random *random = &run->random;
	host_plan *plan = &run->host.plan;
	static const uint32_t sizes[] = { 10, 300, 2000, 6000 };
	uint32_t range = run->is_hasty ? 2 : 4;

	memset(plan, 0, sizeof(*plan));
	plan->clients = (uint32_t) uds_random_range(random, 1, 4);
	plan->requests =
		(uint32_t) uds_random_below(random, sizes[uds_random_below(random, range)]) + 1;
	plan->batch_max = uds_random_one_in(random, 4) ? 200 : 16;
	plan->streams = (uint32_t) uds_random_below(random, 5);
	plan->hot_names = (uint32_t) uds_random_range(random, 1, 64);
	for (uint32_t i = 0; i < UDS_OPERATION_COUNT; i++)
		plan->shares[i] = (uint32_t) uds_random_below(random, 4);
	plan->shares[UDS_POST] += 1 + (uint32_t) uds_random_below(random, 8);
	plan->has_checker = is_last || uds_random_one_in(random, 4);
	plan->has_verifier = uds_random_one_in(random, 8);
	if (!is_last)
		choose_trouble(run, plan);
	plan->must_save = is_last || !uds_random_one_in(random, 4);
	if (!is_last && !uds_random_one_in(random, 6))
		choose_crash(run);
	if (run->lives > 0 && uds_random_one_in(random, 3))
	{
		uint32_t zones = run->host.config.zone_count;

		choose_workers(run);
		if (zones != run->host.config.zone_count)
			run->reference.slack = UDS_MAX(run->reference.slack, 1u);
	}
}

/* One life of the server; false: the run has failed. */
static bool
live(run *run, bool is_last)
{
	sim_end end;

	choose_life(run, is_last);
	if (run->host.shown_name != UINT32_MAX)
		printf("life %u, %u zones, %u readers\n",
		       run->lives,
		       run->host.config.zone_count,
		       run->host.config.reader_count);
	host_begin(&run->host);
	end = sim_run(run->sim);
	if (run->host.shown_name != UINT32_MAX)
		printf("life %u ends %s\n",
		       run->lives,
		       end == SIM_CRASHED   ? "with a crash"
		       : end == SIM_FAILED  ? "with a failure"
		       : run->host.is_saved ? "saved"
		                            : "without a save");
	sim_crash_after(run->sim, 0, 0, NULL);
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
	const uds_geometry_parameters *geometry = &run->host.config.geometry;
	uint32_t lives;
	uint64_t window;

	memset(run, 0, sizeof(*run));
	run->seed = seed;
	uds_random_init(&run->random, seed * UINT64_C(0x9e3779b97f4a7c15) + 1);
	run->sim = sim_create(seed);
	run->sim->is_traced = options->is_verbose;
	choose_config(run);
	choose_schedule(run);
	window = (uint64_t) geometry->record_pages * UDS_RECORDS_PER_PAGE * geometry->chapters;
	reference_init(&run->reference,
	               (uint32_t) (window / 4 + uds_random_below(&run->random, 2 * window)),
	               geometry->chapters,
	               geometry->chapters - geometry->sparse_chapters);
	if (can_be_reduced(run) && run->seed % 5 == 2)
	{
		choose_reduced_geometry(run);
		reference_reduced(&run->reference);
		run->host.was_reduced = true;
	}
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
add_run(totals *sum, const run *run)
{
	totals own = {
		.seeds = 1,
		.failures = run->has_failed,
		.crashes = run->crashes,
		.power_losses = run->power_losses,
		.faults = run->sim->injected,
		.relaxed = run->reference.is_relaxed,
		.points = run->sim->points,
		.host = run->host.totals,
		.counts = run->sim->counts,
		.losses = *sim_disk_losses(run->sim->disk),
	};

	totals_sum(sum, &own);
}

static void
print_failure(const run *run)
{
	const uds_config *config = &run->host.config;

	printf(
		"seed %llu FAILED: life %u, %u record pages, %u chapters, %u zones, %u readers, %u cached "
		"pages, %s, %llu crashes\n    %s\n",
		(unsigned long long) run->seed,
		run->lives,
		config->geometry.record_pages,
		config->geometry.chapters,
		config->zone_count,
		config->reader_count,
		(uint32_t) (config->page_cache_bytes / UDS_PAGE_BYTES),
		config->structure == UDS_STRUCTURE_BUCKETS ? "buckets" : "lists",
		(unsigned long long) run->crashes,
		sim_failure(run->sim));
}

static void
print_progress(const shared *shared, uint64_t seed)
{
	totals sum = { 0 };

	for (uint32_t i = 0; i < JOBS_MAX; i++)
		totals_sum(&sum, &shared->totals[i]);
	printf("... seed %llu, %llu requests, %llu crashes, %llu failures\n",
	       (unsigned long long) seed,
	       (unsigned long long) sum.host.answered,
	       (unsigned long long) sum.crashes,
	       (unsigned long long) sum.failures);
	fflush(stdout);
}

/* Run every jobs-th seed from first + job on. */
static void
run_job(const options *options, shared *shared, uint32_t job)
{
	time_t start = time(NULL);
	time_t told = start;

	for (uint64_t i = job; !shared->must_end; i += options->jobs)
	{
		run run;
		time_t now = time(NULL);

		/* With a time given, the number of seeds does not count. */
		if (options->seconds > 0 ? difftime(now, start) >= options->seconds : i >= options->seeds)
			break;
		current_seed = options->first + i;
		run_seed(&run, options, options->first + i);
		add_run(&shared->totals[job], &run);
		if (run.has_failed)
			print_failure(&run);
		if (options->is_traced)
			printf("seed %llu: hash %016llx\n",
			       (unsigned long long) run.seed,
			       (unsigned long long) run.sim->hash);
		if (run.has_failed || options->is_traced)
			fflush(stdout);
		if (job == 0 && now - told >= TELL_SECONDS)
		{
			print_progress(shared, run.seed);
			told = now;
		}
		end_seed(&run);
		if (run.has_failed && options->must_stop)
			shared->must_end = true;
	}
}

/* Run all jobs, one of them here; number of those that ended in another way than by their end. */
static uint32_t
run_jobs(const options *options, shared *shared)
{
	pid_t children[JOBS_MAX];
	uint32_t broken = 0;

	for (uint32_t job = 1; job < options->jobs; job++)
	{
		children[job] = fork();
		if (children[job] == 0)
		{
			run_job(options, shared, job);
			fflush(stdout);
			_exit(0);
		}
	}
	run_job(options, shared, 0);
	for (uint32_t job = 1; job < options->jobs; job++)
	{
		int status = 0;

		if (children[job] < 0 || waitpid(children[job], &status, 0) < 0 || status != 0)
			broken++;
	}
	return broken;
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
		else if (strcmp(name, "--seconds") == 0)
			options->seconds = strtod(arguments[++i], NULL);
		else if (strcmp(name, "--hours") == 0)
			options->seconds = strtod(arguments[++i], NULL) * 3600;
		else if (strcmp(name, "--jobs") == 0)
			options->jobs = (uint32_t) strtoul(arguments[++i], NULL, 10);
		else
			return false;
	}
	return options->jobs >= 1 && options->jobs <= JOBS_MAX;
}

int
main(int count, char **arguments)
{
	options options = { .seeds = 100, .first = 1, .jobs = 1, .name = UINT32_MAX };
	totals sum = { 0 };
	shared *shared;
	uint32_t broken;

	if (!parse_options(count, arguments, &options))
	{
		fprintf(stderr,
		        "usage: %s [--seeds N] [--first S] [--seconds T] [--hours H] [--jobs J] [--stop] "
		        "[--trace] [--verbose] [--name N]\n",
		        arguments[0]);
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	signal(SIGABRT, tell_seed);
	/* Several processes write whole messages. */
	setvbuf(stdout, NULL, options.jobs > 1 ? _IOFBF : _IOLBF, 1 << 16);
	broken = run_jobs(&options, shared);
	for (uint32_t i = 0; i < options.jobs; i++)
		totals_sum(&sum, &shared->totals[i]);
	totals_print(&sum);
	if (broken > 0)
		printf("simulate: %u processes broke off\n", broken);
	return sum.failures == 0 && broken == 0 ? 0 : 1;
}
