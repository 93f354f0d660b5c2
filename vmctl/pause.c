/* SPDX-License-Identifier: MIT */
#include "vmctl/tell.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct pause_args {
	struct common common;
	const char *home;
};

static const struct opt pause_opts[] = {
    VM_HOME(struct pause_args),
    {0},
};

static int run(void *arg)
{
	struct pause_args *args = arg;

	return tell_vm(args->home, args->common.arg[0], "pause", "paused", args->common.json);
}

const struct verb verb_pause = {
    .name = "pause",
    .summary = "have a VM stand still",
    .usage = "NAME",
    .details = "Its processors stop where they are; disk I/O that is under way ends. Its memory "
	       "stays\ntaken. A VM that is paused already stays so.",
    .opts = pause_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct pause_args),
    .run = run,
};
