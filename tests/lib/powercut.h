/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_POWERCUT_H
#define STRATA_TESTS_POWERCUT_H

/*
 * Power-cut replay (T1) and barrier mutation (T2) over the log of a recorded namespace.
 *
 * A scenario is run once, from an empty namespace, with every event recorded. From the log the lab
 * then builds the states in which a power cut may leave the disk, and lets the scenario recover
 * and verify each of them. It knows nothing of any disk format.
 *
 * The storage model (robustness.md section 2). Since the last barrier of a file (MEM_SYNC) any
 * subset of its events may have landed: each 512-byte sector of a write, and separately each
 * change of the size. Data without the size that holds it is lost; size without data reads zero.
 * Names (create, unlink, rename) are durable after MEM_SYNC_DIR of their folder, before it each
 * one may have landed or not; a file whose name did not land is lost. Landing "in any order" needs
 * no orders to be tried: sectors are atomic, so an order matters only between writes to the same
 * sector, and the last one to land is what a subset without the later ones gives. In addition the
 * single sectors that carry a checksum (footers, intent records) may be torn inside.
 *
 * Where to cut. It is enough to cut right before each barrier and at the end: a subset of what was
 * pending earlier in the same epoch is also a subset of what is pending there, and is judged there
 * by the strictest acknowledgement, while values from operations that had not begun cannot appear.
 *
 * How many. What is pending is divided into atoms (a sector, or half of a long write, or a change
 * of size, or a name). All 2^k subsets are tried when there are at most 2^16 and the allowance of
 * the cut reaches; otherwise none, all, each alone, each missing, each kind of event alone and
 * missing, and random ones. Long writes are also torn at random sectors.
 *
 * Recovery is recorded and cut as well, by the same rules, sampled.
 *
 * A barrier mutation removes one MEM_SYNC or MEM_SYNC_DIR from the log, acknowledgements stay. At
 * least one state must then fail; a barrier whose loss nobody notices is either not needed or not
 * tested.
 *
 * Threads: none; several processes may explore parts of the same budget.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/file_mem.h"
#include "util/err.h"

/* The mark a scenario must not use: the lab sets it between setup and operate. */
#define POWERCUT_START_MARK UINT64_MAX

struct powercut_barrier {
	bool names;       /* MEM_SYNC_DIR */
	const char *path; /* of the file (its name at that moment) or in the folder */
	/*
	 * Sets of events, 1u << enum file_event: those this barrier makes durable, without those
	 * that change nothing, and those of the same file until its next barrier. For names: what
	 * happened to names in the folder since its last barrier, 1u << enum mem_event_kind; 0.
	 */
	unsigned before;
	unsigned after;
	bool again;    /* the next barrier of the same scope comes with nothing between */
	uint64_t mark; /* the last one before it */
};

/*
 * `run` is what `begin` returned. `calm` asks for one request after the other and no flush without
 * need: then no barrier takes over the work of another one by chance, as mutation wants it. setup's
 * result counts as durable. operate places marks (mem_ns_mark); recover and verify get the last one
 * before the cut, 0 when there is none. recover does what the first user after a power cut does; it
 * may be interrupted and repeated. verify judges and may change `ns`. `redundant` gives a reason
 * why the loss of a barrier cannot be noticed, or NULL; it may itself be NULL. An error from any of
 * them is a failure.
 */
struct powercut_scenario {
	const char *name;
	const char *about;
	const void *config; /* the scenario's own, handed to begin */
	void *(*begin)(const void *config, uint64_t seed, bool calm);
	enum err (*setup)(void *run, struct mem_ns *ns, struct err_why *why);
	enum err (*operate)(void *run, struct mem_ns *ns, struct err_why *why);
	enum err (*recover)(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why);
	enum err (*verify)(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why);
	void (*end)(void *run);
	const char *(*redundant)(const struct powercut_barrier *barrier);
};

struct powercut;

/* Run setup and operate. NULL, with the reason, when they fail. Free with powercut_free. */
struct powercut *powercut_record(const struct powercut_scenario *scenario, uint64_t seed, bool calm,
				 struct err_why *why);
void powercut_free(struct powercut *powercut);

/* Barriers inside operate. */
size_t powercut_barriers(const struct powercut *powercut);
void powercut_describe(const struct powercut *powercut, size_t idx, struct powercut_barrier *out);

#define POWERCUT_WHOLE SIZE_MAX

struct powercut_opts {
	size_t without;         /* index of the barrier to remove, or POWERCUT_WHOLE */
	uint64_t budget_states; /* about how many states to try; the smallest set is always tried */
	bool sparse;            /* that set only in part, too */
	unsigned
	    recovery_cuts; /* states to try in the log of each recovery that changed something */
};

struct powercut_result {
	uint64_t states;          /* tried, including those of interrupted recoveries */
	uint64_t recovery_states; /* of these: of interrupted recoveries */
	bool failed;              /* exploration stops at the first failure */
	char text[4096];          /* the state that failed, event by event */
};

void powercut_explore(struct powercut *powercut, const struct powercut_opts *opts,
		      struct powercut_result *result);

#endif
