/* SPDX-License-Identifier: MIT */
#include "vmctl/tell.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct reset_args {
	struct common common;
	const char *home;
};

static const struct opt reset_opts[] = {
    VM_HOME(struct reset_args),
    {0},
};

static int run(void *arg)
{
	struct reset_args *args = arg;

	return tell_vm(args->home, args->common.arg[0], "reset", "running", args->common.json);
}

const struct verb verb_reset = {
    .name = "reset",
    .summary = "restart a VM at once",
    .usage = "NAME",
    .details = "As the reset button does: the guest is not asked, and what it has not written yet "
	       "is\nlost. It starts with the kernel and the command line it was started with.",
    .opts = reset_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct reset_args),
    .run = run,
};
