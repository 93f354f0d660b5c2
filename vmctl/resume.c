/* SPDX-License-Identifier: MIT */
#include "vmctl/tell.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct resume_args {
	struct common common;
	const char *home;
};

static const struct opt resume_opts[] = {
    VM_HOME(struct resume_args),
    {0},
};

static int run(void *arg)
{
	struct resume_args *args = arg;

	return tell_vm(args->home, args->common.arg[0], "resume", "running", args->common.json);
}

const struct verb verb_resume = {
    .name = "resume",
    .summary = "have a paused VM go on",
    .usage = "NAME",
    .details = "It goes on where it stood still, and its clock is set. A VM that runs goes on.",
    .opts = resume_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct resume_args),
    .run = run,
};
