/* SPDX-License-Identifier: MIT */
/*
 * crash: power-cut replay, barrier mutation and fault rows over every scenario.
 *
 * Each scenario gets its share of the states and runs in rounds, each with a seed of its own, so
 * that the share is spent on many different histories instead of one. The barriers of the first
 * rounds are removed one by one. Work is divided among processes, which report through shared
 * memory; a process that dies is a failure of the scenario it was in.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/crash/faults.h"
#include "tests/crash/scenarios.h"
#include "tests/crash/store_faults.h"
#include "util/bytes.h"

#define DEFAULT_STATES    1000000ull
#define DEFAULT_SEED      1ull
#define DEFAULT_JOBS      2u
#define MAX_JOBS          64u
#define ROUND_STATES      3000u
#define MUTATION_STATES   6000u
#define MUTATION_ROUNDS   3u
#define RECOVERY_CUTS     6u
#define MOST_SMALL_ROUNDS 40u     /* of one process, at first */
#define FAULTS_ALL_FROM   500000u /* states; a shorter run fails only some of the requests */
#define FAULT_STRIDE      5u
#define LEAST_STATES      100u /* of a round */
#define QUICK_STRIDE      13u
#define EXIT_USAGE        64

struct options {
	uint64_t states;
	uint64_t seed;
	unsigned jobs;
	const char *only;
	const char *family;  /* only names that begin like this */
	const char *without; /* no names that begin like this */
	bool quick;          /* barriers of one history only, and few faults */
};

/* What one process found out about one scenario. */
struct tally {
	bool started, finished;
	uint64_t states, recovery_states;
	unsigned rounds;
	unsigned mutations, detected, redundant, idle;
	unsigned fault_runs, fault_rows, fault_failures;
	unsigned failures;    /* of any kind */
	unsigned lost_rounds; /* with a state that was not recovered */
	char reason[200];     /* why the redundant barriers are */
	char text[6000];      /* of the first failure */
};

/* ---- the work of one process ---- */

static void note_failure(struct tally *tally, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void note_failure(struct tally *tally, const char *fmt, ...)
{
	va_list args;

	if (tally->failures++)
		return;
	va_start(args, fmt);
	vsnprintf(tally->text, sizeof(tally->text), fmt, args);
	va_end(args);
}

static struct powercut *record(const struct powercut_scenario *scenario, uint64_t seed, bool calm,
			       struct tally *tally)
{
	struct err_why why = {0};
	struct powercut *powercut = powercut_record(scenario, seed, calm, &why);

	if (!powercut)
		note_failure(tally, "seed %llu: %s (%s)", (unsigned long long)seed, why.text,
			     err_name(why.code));
	return powercut;
}

/* As many states of one history; false when one of them is not as it should be. */
static bool explore(struct powercut *powercut, uint64_t seed, uint64_t states, bool sparse,
		    struct tally *tally)
{
	struct powercut_opts opts = {.without = POWERCUT_WHOLE,
				     .budget_states = states,
				     .sparse = sparse,
				     .recovery_cuts = RECOVERY_CUTS};
	struct powercut_result result;

	powercut_explore(powercut, &opts, &result);
	tally->states += result.states;
	tally->recovery_states += result.recovery_states;
	if (result.failed) {
		tally->lost_rounds++;
		note_failure(tally, "seed %llu: %s", (unsigned long long)seed, result.text);
	}
	return !result.failed;
}

static void run_round(const struct powercut_scenario *scenario, uint64_t seed, uint64_t states,
		      bool sparse, struct tally *tally)
{
	struct powercut *powercut = record(scenario, seed, false, tally);

	tally->rounds++;
	if (powercut)
		explore(powercut, seed, states, sparse, tally);
	else
		tally->lost_rounds++;
	powercut_free(powercut);
}

static void run_mutation(struct powercut *powercut, const struct powercut_scenario *scenario,
			 uint64_t seed, size_t idx, struct tally *tally)
{
	struct powercut_barrier barrier;
	struct powercut_result result;
	const char *reason;

	powercut_describe(powercut, idx, &barrier);
	if (!barrier.before) {
		tally->idle++;
		return;
	}
	reason = scenario->redundant ? scenario->redundant(&barrier) : NULL;
	if (reason) {
		tally->redundant++;
		snprintf(tally->reason, sizeof(tally->reason), "%s", reason);
		return;
	}
	powercut_explore(powercut,
			 &(struct powercut_opts){.without = idx, .budget_states = MUTATION_STATES},
			 &result);
	tally->mutations++;
	tally->states += result.states;
	if (result.failed)
		tally->detected++;
	else
		note_failure(tally,
			     "seed %llu: nobody notices that barrier %zu is missing: %s of %s, "
			     "events %#x before, %#x after",
			     (unsigned long long)seed, idx, barrier.names ? "names" : "sync",
			     barrier.path ? barrier.path : "?", barrier.before, barrier.after);
}

static void run_faults(const struct powercut_scenario *scenario, const struct options *options,
		       unsigned job, struct tally *tally)
{
	unsigned stride = options->quick                      ? QUICK_STRIDE
			  : options->states < FAULTS_ALL_FROM ? FAULT_STRIDE
							      : 1;
	bool store = store_faults_wanted(scenario);
	unsigned kinds = store ? STORE_FAULT_KINDS : FAULT_KINDS;

	for (unsigned kind = job; kind < kinds; kind += options->jobs) {
		struct fault_result result;

		(store ? store_faults_run : faults_run)(scenario, options->seed, kind, stride,
							&result);
		tally->fault_runs += result.runs;
		tally->fault_rows++;
		if (!result.failed)
			continue;
		tally->fault_failures++;
		note_failure(tally, "seed %llu: %s", (unsigned long long)options->seed,
			     result.text);
	}
}

/* With all its barriers a history must pass, or the loss of one would prove nothing. */
static void run_mutations(const struct powercut_scenario *scenario, const struct options *options,
			  unsigned job, struct tally *tally)
{
	unsigned rounds = options->quick ? 1 : MUTATION_ROUNDS;

	for (unsigned round = 0; round < rounds; round++) {
		uint64_t seed = options->seed + round;
		struct powercut *powercut = record(scenario, seed, true, tally);
		bool sound = powercut && (round % options->jobs != job ||
					  explore(powercut, seed, LEAST_STATES, true, tally));

		for (size_t i = job; sound && i < powercut_barriers(powercut); i += options->jobs)
			run_mutation(powercut, scenario, seed, i, tally);
		powercut_free(powercut);
	}
}

/*
 * Rounds, each with another history, until there are `share` states; one at least, at most `most`.
 */
static void run_rounds(const struct powercut_scenario *scenario, const struct options *options,
		       uint64_t share, unsigned most, unsigned job, struct tally *tally)
{
	uint64_t states = min_u64(ROUND_STATES, max_u64(share, LEAST_STATES));

	while ((tally->states < share || !tally->rounds) && tally->rounds < most &&
	       !tally->lost_rounds)
		run_round(scenario, options->seed + job + (uint64_t)tally->rounds * options->jobs,
			  states, options->quick, tally);
}

static bool selected(const struct options *options, const struct powercut_scenario *scenario)
{
	const char *family = options->family, *without = options->without;

	return (!options->only || !strcmp(options->only, scenario->name)) &&
	       (!family || !strncmp(scenario->name, family, strlen(family))) &&
	       (!without || strncmp(scenario->name, without, strlen(without)) != 0);
}

/*
 * A scenario whose rounds are small would only repeat itself: what it leaves of its share goes to
 * those whose rounds have more states than can be tried (or to all, when none has).
 */
static void spend_the_rest(const struct options *options, unsigned job, uint64_t rest,
			   struct tally *tally)
{
	size_t count = crash_scenario_count();
	unsigned small = 0, heirs = 0;

	for (size_t i = 0; i < count; i++) {
		small += tally[i].finished && tally[i].rounds == MOST_SMALL_ROUNDS;
		heirs += tally[i].finished;
	}
	if (heirs > small)
		heirs -= small;
	else
		small = 0;
	for (size_t i = 0; i < count; i++) {
		struct tally *one = &tally[i];

		if (!one->finished || (small && one->rounds == MOST_SMALL_ROUNDS))
			continue;
		one->finished = false;
		run_rounds(crash_scenario(i), options, one->states + rest / heirs + 1, UINT32_MAX,
			   job, one);
		one->finished = true;
	}
}

static void run_job(const struct options *options, unsigned job, struct tally *tally)
{
	size_t count = crash_scenario_count();
	uint64_t all = options->states / options->jobs + 1;
	uint64_t done = 0;
	unsigned chosen = 0;

	for (size_t i = 0; i < count; i++)
		chosen += selected(options, crash_scenario(i));
	for (size_t i = 0; i < count; i++) {
		const struct powercut_scenario *scenario = crash_scenario(i);

		if (!selected(options, scenario))
			continue;
		tally[i].started = true;
		run_mutations(scenario, options, job, &tally[i]);
		run_rounds(scenario, options, all / chosen + 1, MOST_SMALL_ROUNDS, job, &tally[i]);
		run_faults(scenario, options, job, &tally[i]);
		tally[i].finished = true;
		done += tally[i].states;
	}
	if (done < all)
		spend_the_rest(options, job, all - done, tally);
}

/* ---- putting it together ---- */

struct sum {
	unsigned passed, failed;
	uint64_t states;
};

static void print_failure(const struct powercut_scenario *scenario, const struct options *options,
			  const struct tally *tally)
{
	const char *text = tally->finished ? tally->text : "the process died";

	if (!tally->finished && tally->failures)
		text = tally->text;
	printf("  FAILED %s: %s\n", scenario->name, text);
	printf("  again: crash --scenario %s --seed %llu --states %llu --jobs %u "
	       "%s(or with the seed above)\n",
	       scenario->name, (unsigned long long)options->seed,
	       (unsigned long long)options->states, options->jobs,
	       options->quick ? "--quick " : "");
}

/* The processes' tallies for scenario `idx`, added up into the first. */
static void print_scenario(const struct options *options, struct tally *tally, size_t idx,
			   struct sum *sum)
{
	const struct powercut_scenario *scenario = crash_scenario(idx);
	size_t count = crash_scenario_count();
	struct tally all = {0};
	unsigned undetected;

	for (unsigned job = 0; job < options->jobs; job++) {
		const struct tally *one = &tally[job * count + idx];

		all.states += one->states;
		all.recovery_states += one->recovery_states;
		all.mutations += one->mutations;
		all.detected += one->detected;
		all.redundant += one->redundant;
		all.idle += one->idle;
		all.fault_runs += one->fault_runs;
		all.fault_rows += one->fault_rows;
		all.fault_failures += one->fault_failures;
		all.lost_rounds += one->lost_rounds + (one->started && !one->finished);
		if (one->reason[0])
			memcpy(all.reason, one->reason, sizeof(all.reason));
	}
	undetected = all.mutations - all.detected;
	printf("%s: %llu states (%llu of interrupted recoveries), %u mutations detected of %u",
	       scenario->name, (unsigned long long)all.states,
	       (unsigned long long)all.recovery_states, all.detected, all.mutations);
	if (all.redundant)
		printf(", %u redundant (%s)", all.redundant, all.reason);
	if (all.idle)
		printf(", %u with nothing to wait for", all.idle);
	printf("; %u faults\n", all.fault_runs);
	for (unsigned job = 0; job < options->jobs; job++) {
		const struct tally *one = &tally[job * count + idx];

		if (one->failures || (one->started && !one->finished))
			print_failure(scenario, options, one);
	}
	sum->states += all.states;
	sum->passed += all.detected + (all.fault_rows - all.fault_failures) + !all.lost_rounds;
	sum->failed += undetected + all.fault_failures + !!all.lost_rounds;
}

static pid_t start_job(const struct options *options, unsigned job, struct tally *tally)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	run_job(options, job, &tally[job * crash_scenario_count()]);
	_exit(0);
}

static int run_all(const struct options *options)
{
	size_t count = crash_scenario_count();
	size_t bytes = options->jobs * count * sizeof(struct tally);
	struct tally *tally =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct sum sum = {0};

	if (tally == MAP_FAILED) {
		perror("crash: mmap");
		return 1;
	}
	fflush(stdout);
	for (unsigned job = 0; job < options->jobs; job++) {
		if (start_job(options, job, tally) < 0) {
			perror("crash: fork");
			return 1;
		}
	}
	for (unsigned job = 0; job < options->jobs; job++)
		while (wait(NULL) < 0 && errno == EINTR)
			;
	for (size_t i = 0; i < count; i++)
		if (selected(options, crash_scenario(i)))
			print_scenario(options, tally, i, &sum);
	munmap(tally, bytes);
	printf("%llu crash states, seed %llu\n", (unsigned long long)sum.states,
	       (unsigned long long)options->seed);
	printf("%u passed, %u failed, 0 skipped\n", sum.passed, sum.failed);
	return sum.failed || !sum.passed;
}

/* ---- the command line ---- */

static int list(void)
{
	for (size_t i = 0; i < crash_scenario_count(); i++)
		printf("%-22s %s\n", crash_scenario(i)->name, crash_scenario(i)->about);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: crash [--states N] [--scenario NAME] [--family PREFIX] "
			"[--without PREFIX] [--seed S] [--jobs N] [--quick] "
			"[--list]\n");
	return EXIT_USAGE;
}

static bool parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && end != text && !*end && *out >= low && *out <= high;
}

static bool known(const char *name)
{
	for (size_t i = 0; i < crash_scenario_count(); i++)
		if (!strcmp(crash_scenario(i)->name, name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {{"states", required_argument, NULL, 'n'},
						     {"scenario", required_argument, NULL, 'c'},
						     {"seed", required_argument, NULL, 's'},
						     {"jobs", required_argument, NULL, 'j'},
						     {"family", required_argument, NULL, 'f'},
						     {"without", required_argument, NULL, 'w'},
						     {"list", no_argument, NULL, 'l'},
						     {"quick", no_argument, NULL, 'q'},
						     {0}};
	struct options options = {
	    .states = DEFAULT_STATES, .seed = DEFAULT_SEED, .jobs = DEFAULT_JOBS};
	uint64_t number;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'l')
			return list();
		if (option == 'c' && known(optarg))
			options.only = optarg;
		else if (option == 'q')
			options.quick = true;
		else if (option == 'f')
			options.family = optarg;
		else if (option == 'w')
			options.without = optarg;
		else if (option == 'n' && parse_number(optarg, 1, UINT32_MAX, &number))
			options.states = number;
		else if (option == 's' && parse_number(optarg, 0, UINT64_MAX, &number))
			options.seed = number;
		else if (option == 'j' && parse_number(optarg, 1, MAX_JOBS, &number))
			options.jobs = (unsigned)number;
		else
			return usage();
	}
	return optind == argc ? run_all(&options) : usage();
}
