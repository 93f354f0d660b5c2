/* SPDX-License-Identifier: MIT */
#include "tests/crash/faults.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/crash/vhd_run.h"

#define MOST_REQUESTS 5000u /* an operation that takes more does not end */

static const struct kind {
	const char *name;
	struct fault_rule rule;
} kinds[FAULT_KINDS] = {
    {"EIO once", {.op = FAULT_ANY, .event = FAULT_ANY, .sys_errno = EIO}},
    {"EIO from then on", {.op = FAULT_ANY, .event = FAULT_ANY, .sys_errno = EIO, .sticky = true}},
    {"EIO on a write, half of it lands",
     {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = EIO, .partial = true}},
    {"ENOSPC on writes from then on, half lands",
     {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = ENOSPC, .sticky = true, .partial = true}},
    {"EDQUOT on allocation once", {.op = FILE_ALLOCATE, .event = FAULT_ANY, .sys_errno = EDQUOT}},
    {"EIO on a sync once", {.op = FILE_SYNC, .event = FAULT_ANY, .sys_errno = EIO}},
};

struct trial {
	const struct powercut_scenario *scenario;
	struct vhd_run *run;
	struct mem_ns *ns;
	enum err result; /* of the operation */
	bool fired;
};

static void free_trial(struct trial *trial)
{
	trial->scenario->end(trial->run);
	mem_ns_free(trial->ns);
}

/* Setup without, operate with the fault; a disk left open is closed under it too. */
static enum err operate(struct trial *trial, uint64_t seed, const struct fault_rule *rule,
			struct err_why *why)
{
	struct vhd_run *run = trial->scenario->begin(trial->scenario->config, seed, false);
	enum err err;

	trial->run = run;
	trial->ns = mem_ns_new();
	err = trial->scenario->setup(run, trial->ns, why);
	if (err)
		return err;
	run->fault = fault_ns_new(mem_ns_base(trial->ns));
	fault_ns_set(run->fault, rule);
	trial->result = trial->scenario->operate(run, trial->ns, why);
	disk_close(run->ex.disk, NULL);
	run->ex.disk = NULL;
	trial->fired = fault_ns_fired(run->fault);
	reorder_ns_free(run->reorder);
	run->reorder = NULL;
	fault_ns_free(run->fault);
	run->fault = NULL;
	return ERR_OK;
}

static enum err judge(struct trial *trial, struct err_why *why)
{
	uint64_t mark = model_now(trial->run->ex.model);
	enum err err;

	if (!trial->fired)
		return trial->result;
	if (trial->result && !why->text[0])
		return err_set(why, ERR_CORRUPT, "an error without a text");
	err = trial->scenario->recover(trial->run, trial->ns, mark, why);
	return err ? err : trial->scenario->verify(trial->run, trial->ns, mark, why);
}

void faults_run(const struct powercut_scenario *scenario, uint64_t seed, unsigned kind,
		unsigned stride, struct fault_result *result)
{
	bool fired = true;

	*result = (struct fault_result){0};
	for (uint64_t n = 1 + seed % stride; fired && !result->failed; n += stride) {
		struct trial trial = {.scenario = scenario};
		struct fault_rule rule = kinds[kind].rule;
		struct err_why why = {0};
		enum err err;

		rule.nth = n;
		err = operate(&trial, seed, &rule, &why);
		if (!err)
			err = judge(&trial, &why);
		fired = trial.fired && n < MOST_REQUESTS;
		result->runs += trial.fired;
		result->quiet += trial.fired && !trial.result;
		if (err || n >= MOST_REQUESTS) {
			result->failed = true;
			snprintf(result->text, sizeof(result->text),
				 "%s at request %llu (the operation said %s): %s (%s)",
				 kinds[kind].name, (unsigned long long)n, err_name(trial.result),
				 why.text, err_name(err));
		}
		free_trial(&trial);
	}
}
