/* SPDX-License-Identifier: MIT */
#include "tests/lib/powercut.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/atoms.h"
#include "tests/lib/random.h"

#define EXHAUSTIVE_ATOMS 16u
#define EXHAUSTIVE_MAX   (1u << EXHAUSTIVE_ATOMS)
#define SHOWN_ATOMS      40u
#define CLASSES          (EV_COUNT + 1u)
#define TEAR_SPECIALS    6u /* both ways to tear, the rest lost, landed, or only sizes landed */

struct powercut {
	const struct powercut_scenario *scenario;
	uint64_t seed;
	void *run;
	struct mem_ns *ns;
	const struct mem_event *event;
	size_t count;
	size_t start; /* index of the first event of operate */
	struct world *base;
	size_t *barrier; /* indices into event */
	size_t barriers;
};

/* One exploration of one log: the scenario's (level 1), or that of a recovery (level 2). */
struct explore {
	const struct powercut *powercut;
	const struct powercut_opts *opts;
	struct powercut_result *result;
	struct rng rng;
	uint64_t *size; /* states each cut would take; then its allowance */
	size_t cuts, room;
	size_t cut; /* index of the cut at hand */
	/* Level 2: the state that is being recovered. */
	struct explore *outer;
	const struct walk *outer_walk;
	const uint8_t *outer_fate;
};

static void *grow(void *array, size_t count, size_t each)
{
	array = reallocarray(array, count, each);
	if (!array)
		abort();
	return array;
}

/* ---- recording ---- */

static bool find_start(struct powercut *powercut)
{
	for (size_t i = 0; i < powercut->count; i++) {
		if (powercut->event[i].kind != MEM_MARK ||
		    powercut->event[i].off_bytes != POWERCUT_START_MARK)
			continue;
		powercut->start = i + 1;
		return true;
	}
	return false;
}

static void find_barriers(struct powercut *powercut)
{
	powercut->barrier = grow(NULL, powercut->count + 1, sizeof(*powercut->barrier));
	for (size_t i = powercut->start; i < powercut->count; i++)
		if (event_is_barrier(&powercut->event[i]))
			powercut->barrier[powercut->barriers++] = i;
}

struct powercut *powercut_record(const struct powercut_scenario *scenario, uint64_t seed, bool calm,
				 struct err_why *why)
{
	struct powercut *powercut = calloc(1, sizeof(*powercut));
	enum err err;

	if (!powercut)
		abort();
	powercut->scenario = scenario;
	powercut->seed = seed;
	powercut->run = scenario->begin(scenario->config, seed, calm);
	powercut->ns = mem_ns_new();
	mem_ns_log_start(powercut->ns);
	err = scenario->setup(powercut->run, powercut->ns, why);
	if (err)
		err_context(why, "setup");
	if (!err) {
		mem_ns_mark(powercut->ns, POWERCUT_START_MARK);
		err = scenario->operate(powercut->run, powercut->ns, why);
		if (err)
			err_context(why, "operate");
	}
	mem_ns_log_stop(powercut->ns);
	powercut->event = mem_ns_log(powercut->ns, &powercut->count);
	if (!err && !find_start(powercut))
		err = err_set(why, ERR_USAGE, "the log does not hold the start of operate");
	if (err) {
		powercut_free(powercut);
		return NULL;
	}
	powercut->base = world_new();
	atoms_apply_all(powercut->base, powercut->event, powercut->start);
	find_barriers(powercut);
	return powercut;
}

void powercut_free(struct powercut *powercut)
{
	if (!powercut)
		return;
	world_free(powercut->base);
	mem_ns_free(powercut->ns);
	powercut->scenario->end(powercut->run);
	free(powercut->barrier);
	free(powercut);
}

size_t powercut_barriers(const struct powercut *powercut)
{
	return powercut->barriers;
}

static bool is_change(const struct mem_event *event)
{
	return event->kind <= MEM_TRUNCATE;
}

/* What the barrier at index `at` makes durable that was not there before. */
static unsigned events_before(const struct powercut *powercut, size_t at)
{
	const struct mem_event *barrier = &powercut->event[at];
	struct world *world = world_copy(powercut->base);
	uint64_t previous = 0;
	unsigned before = 0;

	for (size_t i = 0; i < at; i++)
		if (barrier_same_scope(&powercut->event[i], barrier))
			previous = powercut->event[i].begun;
	for (size_t i = powercut->start; i < at; i++) {
		const struct mem_event *event = &powercut->event[i];

		if (is_change(event) && event->file_id == barrier->file_id &&
		    event->ended < barrier->begun && event->ended >= previous &&
		    world_would_change(world, event))
			before |= 1u << event->what;
		atoms_apply_all(world, event, 1);
	}
	world_free(world);
	return before;
}

static unsigned names_before(const struct powercut *powercut, size_t at)
{
	const struct mem_event *barrier = &powercut->event[at];
	unsigned before = 0;

	while (at-- > powercut->start && !barrier_same_scope(&powercut->event[at], barrier))
		if (event_names(&powercut->event[at]))
			before |= 1u << powercut->event[at].kind;
	return before;
}

static uint64_t mark_before(const struct powercut *powercut, size_t at)
{
	while (at-- > powercut->start)
		if (powercut->event[at].kind == MEM_MARK)
			return powercut->event[at].off_bytes;
	return 0;
}

void powercut_describe(const struct powercut *powercut, size_t idx, struct powercut_barrier *out)
{
	size_t at = powercut->barrier[idx];
	const struct mem_event *barrier = &powercut->event[at];

	*out = (struct powercut_barrier){.names = barrier->kind == MEM_SYNC_DIR,
					 .path = barrier->path,
					 .mark = mark_before(powercut, at)};
	if (out->names) {
		out->before = names_before(powercut, at);
		return;
	}
	out->before = events_before(powercut, at);
	for (size_t i = 0; i < at; i++) {
		const struct mem_event *event = &powercut->event[i];

		if (event->kind == MEM_CREATE && event->file_id == barrier->file_id)
			out->path = event->path;
		if (event->kind == MEM_RENAME && event->file_id == barrier->file_id)
			out->path = event->path2;
	}
	for (size_t i = at + 1; i < powercut->count; i++) {
		const struct mem_event *event = &powercut->event[i];

		if (barrier_same_scope(event, barrier)) {
			out->again = i == at + 1;
			break;
		}
		if (is_change(event) && event->file_id == barrier->file_id)
			out->after |= 1u << event->what;
	}
}

/* ---- reporting ---- */

static void print_event(FILE *out, const struct atom *atom)
{
	static const char *const what[] = {"data",  "footer", "footer copy", "header",
					   "bat",   "bitmap", "locator",     "batmap",
					   "space", "intent", "move",        "catalogue"};
	_Static_assert(sizeof(what) / sizeof(what[0]) == EV_COUNT, "an event has no name");
	const struct mem_event *event = atom->event;

	switch (atom->kind) {
	case ATOM_SIZE:
		fprintf(out, "file %u size becomes %#llx", event->file_id,
			(unsigned long long)atom->off_bytes);
		break;
	case ATOM_DATA:
		fprintf(out, "file %u %s %s [%#llx, +%#llx)", event->file_id,
			event->kind == MEM_ZERO ? "zero" : "write",
			event->what < EV_COUNT ? what[event->what] : "?",
			(unsigned long long)atom->off_bytes, (unsigned long long)atom->len_bytes);
		break;
	case ATOM_NAME:
		fprintf(out, "file %u %s %s%s%s", event->file_id,
			event->kind == MEM_CREATE   ? "create"
			: event->kind == MEM_UNLINK ? "unlink"
						    : "rename",
			event->path, event->path2 ? " -> " : "", event->path2 ? event->path2 : "");
		break;
	}
}

static void print_state(FILE *out, const struct explore *explore, const struct walk *walk,
			const uint8_t *fate)
{
	static const char *const fates[] = {"lost  ", "landed", "torn  ", "torn 2"};

	if (explore->outer)
		print_state(out, explore->outer, explore->outer_walk, explore->outer_fate);
	fprintf(out, "  power cut %s event %zu of %zu, after mark %llu; pending:\n",
		explore->outer ? "in the recovery, before its" : "before", walk->at, walk->count,
		(unsigned long long)walk->mark);
	for (size_t i = 0; i < walk->atoms && i < SHOWN_ATOMS; i++) {
		fprintf(out, "    %s ", fates[fate[i]]);
		print_event(out, &walk->atom[i]);
		fprintf(out, "\n");
	}
	if (walk->atoms > SHOWN_ATOMS)
		fprintf(out, "    ... and %zu more\n", walk->atoms - SHOWN_ATOMS);
}

static void report(struct explore *explore, const struct walk *walk, const uint8_t *fate,
		   const char *step, const struct err_why *why)
{
	struct powercut_result *result = explore->result;
	FILE *out = fmemopen(result->text, sizeof(result->text), "w");

	result->failed = true;
	if (!out)
		abort();
	fprintf(out, "%s: %s (%s)\n", step, why->text, err_name(why->code));
	print_state(out, explore, walk, fate);
	fclose(out);
}

/* ---- one state ---- */

static void explore_log(struct explore *explore, const struct world *base,
			const struct mem_event *event, size_t first, size_t count, size_t skip,
			uint64_t mark, uint64_t budget);

static void explore_recovery(struct explore *outer, const struct walk *walk, const uint8_t *fate,
			     const struct world *base, struct mem_ns *ns, uint64_t seed)
{
	struct powercut_result *result = outer->result;
	struct explore inner = {.powercut = outer->powercut,
				.opts = outer->opts,
				.result = result,
				.rng = rng_seed(seed),
				.outer = outer,
				.outer_walk = walk,
				.outer_fate = fate};
	size_t count;
	const struct mem_event *event = mem_ns_log(ns, &count);
	uint64_t before = result->states;

	if (!count)
		return;
	explore_log(&inner, base, event, 0, count, WALK_NOTHING, walk->mark,
		    outer->opts->recovery_cuts);
	result->recovery_states += result->states - before;
}

/* Recoveries are cut for at most half of all states. */
static bool recovery_wanted(const struct explore *explore)
{
	const struct powercut_result *result = explore->result;

	return !explore->outer && explore->opts->recovery_cuts &&
	       result->recovery_states <= result->states / 2;
}

static bool try_state(struct explore *explore, const struct walk *walk, const uint8_t *fate)
{
	const struct powercut_scenario *scenario = explore->powercut->scenario;
	void *run = explore->powercut->run;
	uint64_t tear = rng_next(&explore->rng);
	struct world *world = world_copy(walk->durable);
	const char *step = "recovery";
	struct err_why why = {0};
	struct mem_ns *ns;
	enum err err;

	for (size_t i = 0; i < walk->atoms; i++)
		atom_apply(&walk->atom[i], world, (enum fate)fate[i], tear);
	world_finish(world);
	ns = mem_ns_clone(world_ns(world));
	mem_ns_log_start(ns);
	err = scenario->recover(run, ns, walk->mark, &why);
	mem_ns_log_stop(ns);
	explore->result->states++;
	if (!err && recovery_wanted(explore))
		explore_recovery(explore, walk, fate, world, ns, tear);
	if (!err && !explore->result->failed) {
		step = "verification";
		err = scenario->verify(run, ns, walk->mark, &why);
	}
	if (err)
		report(explore, walk, fate, step, &why);
	mem_ns_free(ns);
	world_free(world);
	return !explore->result->failed;
}

/* ---- choosing states ---- */

/* The first 2 + 2n always: none, all, each alone, each missing. Then the likely mistakes. */
static size_t special_count(size_t atoms)
{
	return 2 + 3 * atoms + 2 * CLASSES + TEAR_SPECIALS;
}

static void special(const struct walk *walk, size_t idx, uint8_t *fate)
{
	size_t n = walk->atoms;

	memset(fate, LOST, n);
	if (idx < 2) {
		memset(fate, idx ? LANDED : LOST, n);
		return;
	}
	idx -= 2;
	if (idx < 2 * n) {
		memset(fate, idx < n ? LOST : LANDED, n);
		fate[idx % n] = idx < n ? LANDED : LOST;
		return;
	}
	idx -= 2 * n;
	if (idx < 2 * CLASSES) {
		for (size_t i = 0; i < n; i++)
			fate[i] = (atom_class(&walk->atom[i]) == idx / 2) == (idx % 2 == 0);
		return;
	}
	idx -= 2 * CLASSES;
	if (idx < n) {
		memset(fate, LANDED, idx);
		return;
	}
	idx -= n;
	for (size_t i = 0; i < n; i++)
		if (atom_can_tear(&walk->atom[i]))
			fate[i] = idx % 2 ? TORN : TORN_LATE;
		else if (idx / 2 == 1 || (idx / 2 == 2 && walk->atom[i].kind == ATOM_SIZE))
			fate[i] = LANDED;
}

static void choose_by_class(struct rng *rng, const struct walk *walk, uint8_t *fate)
{
	uint64_t lands = rng_next(rng);

	for (size_t i = 0; i < walk->atoms; i++) {
		const struct atom *atom = &walk->atom[i];
		unsigned bit = (atom_class(atom) * 5 + atom->event->file_id * 13) % 64;

		fate[i] = lands >> bit & 1;
		if (rng_percent(rng, 5))
			fate[i] = !fate[i];
	}
}

static void choose(struct rng *rng, const struct walk *walk, uint8_t *fate)
{
	size_t n = walk->atoms;
	unsigned percent = (unsigned)rng_between(rng, 5, 95);
	size_t prefix = rng_below(rng, n + 1);

	switch (rng_below(rng, 4)) {
	case 0:
		choose_by_class(rng, walk, fate);
		break;
	case 1: /* in order up to a point, with a few exceptions */
		for (size_t i = 0; i < n; i++)
			fate[i] = (i < prefix) != rng_percent(rng, 10);
		break;
	default:
		for (size_t i = 0; i < n; i++)
			fate[i] = rng_percent(rng, percent);
	}
	for (size_t i = 0; i < n; i++)
		if (fate[i] && atom_can_tear(&walk->atom[i]) && rng_percent(rng, 20))
			fate[i] = rng_percent(rng, 50) ? TORN : TORN_LATE;
}

static bool can_tear(const struct walk *walk)
{
	for (size_t i = 0; i < walk->atoms; i++)
		if (atom_can_tear(&walk->atom[i]))
			return true;
	return false;
}

/* How many states the cut takes to be exhausted: all subsets, and some with torn writes. */
static uint64_t cut_size(const struct walk *walk)
{
	uint64_t subsets;

	if (walk->atoms > EXHAUSTIVE_ATOMS)
		return EXHAUSTIVE_MAX;
	subsets = 1ull << walk->atoms;
	return can_tear(walk) ? subsets + subsets / 4 + TEAR_SPECIALS : subsets;
}

static void explore_subsets(struct explore *explore, const struct walk *walk, uint8_t *fate)
{
	for (uint64_t subset = 0; subset < 1ull << walk->atoms; subset++) {
		for (size_t i = 0; i < walk->atoms; i++)
			fate[i] = subset >> i & 1;
		if (!try_state(explore, walk, fate))
			return;
	}
	for (uint64_t i = cut_size(walk) - (1ull << walk->atoms); i; i--) {
		if (i <= TEAR_SPECIALS)
			special(walk, special_count(walk->atoms) - i, fate);
		else
			choose(&explore->rng, walk, fate);
		if (!try_state(explore, walk, fate))
			return;
	}
}

static void explore_samples(struct explore *explore, const struct walk *walk, uint8_t *fate,
			    uint64_t allowance)
{
	size_t specials = special_count(walk->atoms);
	uint64_t always = 2 + 2 * walk->atoms;

	if (allowance < always)
		allowance = always;
	for (uint64_t i = 0; i < allowance; i++) {
		if (i < specials)
			special(walk, i, fate);
		else
			choose(&explore->rng, walk, fate);
		if (!try_state(explore, walk, fate))
			return;
	}
}

/* A handful, for the log of a recovery, or in a hurry. */
static void explore_few(struct explore *explore, const struct walk *walk, uint8_t *fate,
			uint64_t allowance)
{
	size_t specials = special_count(walk->atoms);

	for (uint64_t i = 0; i < allowance; i++) {
		if (rng_percent(&explore->rng, 60))
			special(walk, rng_below(&explore->rng, specials), fate);
		else
			choose(&explore->rng, walk, fate);
		if (!try_state(explore, walk, fate))
			return;
	}
}

static bool explore_cut(struct walk *walk)
{
	struct explore *explore = walk->owner;
	uint64_t allowance = explore->size[explore->cut++];
	uint8_t *fate = grow(NULL, walk->atoms + 1, 1);

	if (walk->atoms <= EXHAUSTIVE_ATOMS && cut_size(walk) <= allowance)
		explore_subsets(explore, walk, fate);
	else if (explore->outer || explore->opts->sparse)
		explore_few(explore, walk, fate, allowance);
	else
		explore_samples(explore, walk, fate, allowance);
	free(fate);
	return !explore->result->failed;
}

/* ---- the budget ---- */

static bool measure_cut(struct walk *walk)
{
	struct explore *explore = walk->owner;

	if (explore->cuts == explore->room) {
		explore->room = explore->room ? explore->room * 2 : 64;
		explore->size = grow(explore->size, explore->room, sizeof(*explore->size));
	}
	explore->size[explore->cuts++] = cut_size(walk);
	return true;
}

/* Cut all sizes to one level so that their sum is the budget, or just below. */
static void share_budget(struct explore *explore, uint64_t budget)
{
	uint64_t low = 1;
	uint64_t high = EXHAUSTIVE_MAX * 2;

	while (low < high) {
		uint64_t level = (low + high + 1) / 2;
		uint64_t sum = 0;

		for (size_t i = 0; i < explore->cuts; i++)
			sum += explore->size[i] < level ? explore->size[i] : level;
		if (sum <= budget)
			low = level;
		else
			high = level - 1;
	}
	for (size_t i = 0; i < explore->cuts; i++)
		if (explore->size[i] > low)
			explore->size[i] = low;
}

static void explore_log(struct explore *explore, const struct world *base,
			const struct mem_event *event, size_t first, size_t count, size_t skip,
			uint64_t mark, uint64_t budget)
{
	struct walk walk = {.event = event,
			    .first = first,
			    .count = count,
			    .skip = skip,
			    .base = base,
			    .mark = mark,
			    .owner = explore,
			    .cut = measure_cut};

	walk_run(&walk);
	share_budget(explore, budget);
	walk.mark = mark;
	walk.cut = explore_cut;
	walk_run(&walk);
	free(explore->size);
}

void powercut_explore(struct powercut *powercut, const struct powercut_opts *opts,
		      struct powercut_result *result)
{
	bool whole = opts->without == POWERCUT_WHOLE;
	struct explore explore = {.powercut = powercut,
				  .opts = opts,
				  .result = result,
				  .rng = rng_seed(powercut->seed ^ rng_mix(opts->without))};

	*result = (struct powercut_result){0};
	explore_log(&explore, powercut->base, powercut->event, powercut->start, powercut->count,
		    whole ? WALK_NOTHING : powercut->barrier[opts->without], 0,
		    opts->budget_states);
}
