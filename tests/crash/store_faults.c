/* SPDX-License-Identifier: MIT */
#include "tests/crash/store_faults.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/store_run.h"

#define MOST_CALLS 5000u /* an operation that takes more does not end */

#define CHANGES_NAMES (NAME_CREATE | NAME_UNLINK | NAME_RENAME | NAME_SYNC_DIR)
#define ALL_NAMES     (CHANGES_NAMES | NAME_OPEN | NAME_LIST | NAME_INFO)

static const struct kind {
	const char *name;
	struct fault_rule file;
	struct names_rule names;
} kinds[STORE_FAULT_KINDS] = {
    {"EIO once", {.op = FAULT_ANY, .event = FAULT_ANY, .sys_errno = EIO}, {0}},
    {"EIO from then on",
     {.op = FAULT_ANY, .event = FAULT_ANY, .sys_errno = EIO, .sticky = true},
     {0}},
    {"EIO on a write, half of it lands",
     {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = EIO, .partial = true},
     {0}},
    {"ENOSPC on writes from then on, half lands",
     {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = ENOSPC, .sticky = true, .partial = true},
     {0}},
    {"EDQUOT on a write once", {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = EDQUOT}, {0}},
    {"ENOSPC where files get longer, from then on",
     {.op = FILE_TRUNCATE, .event = FAULT_ANY, .sys_errno = ENOSPC, .sticky = true},
     {0}},
    {"EIO on a sync once", {.op = FILE_SYNC, .event = FAULT_ANY, .sys_errno = EIO}, {0}},
    {"EIO on syncs from then on",
     {.op = FILE_SYNC, .event = FAULT_ANY, .sys_errno = EIO, .sticky = true},
     {0}},
    {"EIO on a name once", {.event = FAULT_ANY}, {.calls = ALL_NAMES, .sys_errno = EIO}},
    {"EIO on names from then on",
     {.event = FAULT_ANY},
     {.calls = ALL_NAMES, .sys_errno = EIO, .sticky = true}},
    {"ENOSPC on new names from then on",
     {.event = FAULT_ANY},
     {.calls = NAME_CREATE | NAME_RENAME, .sys_errno = ENOSPC, .sticky = true}},
    {"EIO on changes of names from then on",
     {.event = FAULT_ANY},
     {.calls = CHANGES_NAMES, .sys_errno = EIO, .sticky = true}},
    {"EIO when names are made durable, once",
     {.event = FAULT_ANY},
     {.calls = NAME_SYNC_DIR, .sys_errno = EIO}},
};

struct trial {
	const struct powercut_scenario *scenario;
	struct store_run *run;
	struct mem_ns *mem;
	struct fault_rule file;
	struct names_rule names;
	enum err result; /* of the operation */
	bool fired;
	bool went_on; /* the store that met the fault did something more */
};

bool store_faults_wanted(const struct powercut_scenario *scenario)
{
	return scenario->begin == srun_begin;
}

static void free_trial(struct trial *trial)
{
	srun_stop(trial->run, NULL);
	trial->scenario->end(trial->run);
	mem_ns_free(trial->mem);
}

static enum err operate(struct trial *trial, uint64_t seed, struct err_why *why)
{
	struct store_run *run = trial->scenario->begin(trial->scenario->config, seed, false);
	enum err e;

	trial->run = run;
	trial->mem = mem_ns_new();
	e = trial->scenario->setup(run, trial->mem, why);
	if (e)
		return e;
	run->file_rule = trial->names.calls ? NULL : &trial->file;
	run->name_rule = trial->names.calls ? &trial->names : NULL;
	run->leave_open = true;
	trial->result = trial->scenario->operate(run, trial->mem, why);
	run->op_failed = trial->result;
	trial->fired = run->fault ? fault_ns_fired(run->fault) : names_ns_fired(run->names);
	if (run->fault)
		fault_ns_set(run->fault, NULL);
	names_ns_set(run->names, NULL);
	return ERR_OK;
}

static enum err without_text(struct err_why *why)
{
	return err_set(why, ERR_CORRUPT, "an error without a text");
}

/*
 * With the store that met the fault: what it says of itself is right, if it says anything, and what
 * it agrees to do is done. Who cannot know whether the catalogue is durable must refuse both.
 */
static enum err go_on(struct trial *trial, struct err_why *why)
{
	struct store_run *run = trial->run;
	struct err_why here = {0};
	struct snap_tree tree;
	unsigned idx;
	enum err e;

	if (!run->store)
		return ERR_OK;
	e = snap_tree(run->store, 0, &tree, &here);
	if (e == ERR_POISONED) {
		e = srun_set_memory(run, 8ull * SRUN_MEMORY, &here);
		run->shapes--;
		return e == ERR_POISONED && *here.text
			   ? ERR_OK
			   : err_set(why, ERR_CORRUPT, "a change was possible all the same");
	}
	if (e)
		return err_set(why, e, "told nothing of itself any more: %s", here.text);
	snap_tree_free(&tree);
	/* What it shows now is what comes first from now on. */
	if (run->writer)
		srun_close_writer(run, NULL);
	e = srun_match(run, run->store, run->mark, &idx, why);
	if (e)
		return err_context(why, "the store that met it"), e;
	run->shape[0] = run->shape[idx];
	run->shape[0].begun = run->shape[0].done = 0;
	run->shapes = 1;
	memcpy(run->disk, run->shape[0].disk, sizeof(run->disk));
	e = srun_set_memory(run, 8ull * SRUN_MEMORY, &here);
	trial->went_on = !e;
	return e && !*here.text ? without_text(why) : ERR_OK;
}

static enum err judge(struct trial *trial, struct err_why *why)
{
	struct store_run *run = trial->run;
	enum err e;

	if (!trial->fired)
		return trial->result;
	if (trial->result && !*why->text)
		return without_text(why);
	*why = (struct err_why){0};
	e = go_on(trial, why);
	srun_stop(run, NULL);
	if (!e)
		e = trial->scenario->recover(run, trial->mem, run->mark, why);
	return e ? e : trial->scenario->verify(run, trial->mem, run->mark, why);
}

void store_faults_run(const struct powercut_scenario *scenario, uint64_t seed, unsigned kind,
		      unsigned stride, struct fault_result *result)
{
	bool fired = true;

	*result = (struct fault_result){0};
	for (uint64_t n = 1 + seed % stride; fired && !result->failed; n += stride) {
		struct trial trial = {
		    .scenario = scenario, .file = kinds[kind].file, .names = kinds[kind].names};
		struct err_why why = {0};
		enum err e;

		trial.file.nth = trial.names.nth = n;
		e = operate(&trial, seed, &why);
		if (!e)
			e = judge(&trial, &why);
		fired = trial.fired && n < MOST_CALLS;
		result->runs += trial.fired;
		result->quiet += trial.fired && !trial.result;
		if (e || n >= MOST_CALLS) {
			result->failed = true;
			snprintf(result->text, sizeof(result->text),
				 "%s at call %llu (the operation said %s): %s (%s)",
				 kinds[kind].name, (unsigned long long)n, err_name(trial.result),
				 why.text, err_name(e));
		}
		free_trial(&trial);
	}
}
