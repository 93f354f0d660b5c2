/* SPDX-License-Identifier: MIT */
#include "cli/out.h"
#include "vmctl/disk.h"
#include "vmctl/verbs.h"

struct disk_remove_args {
	struct common common;
	const char *home;
};

static const struct opt disk_remove_opts[] = {
    VM_HOME(struct disk_remove_args),
    {0},
};

static enum err remove_disk(struct store *store, void *slot, struct err_why *why)
{
	return snap_disk_remove(store, *(unsigned *)slot, why);
}

static int run(void *arg)
{
	struct disk_remove_args *args = arg;
	unsigned slot;
	int rc = disk_number("disk remove", args->common.arg[1], &slot);

	if (rc)
		return rc;
	return disk_change(args->home, args->common.arg[0], args->common.json,
			   json_pack("{s:s, s:i}", "do", "disk-detach", "disk", (int)slot),
			   remove_disk, &slot);
}

const struct verb verb_disk_remove = {
    .name = "disk remove",
    .summary = "take a disk from a VM",
    .usage = "NAME NUMBER",
    .details =
	"The VM has no disk of that number (see show) any more; snapshots keep theirs. What was\n"
	"written to it since the newest snapshot is gone with it, unless the file lies outside\n"
	"the VM's folder: then it stays as it is. The guest of a VM that runs loses it at once,\n"
	"so it should have unmounted it. Shows the VM.",
    .opts = disk_remove_opts,
    .groups = GROUP_JSON,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct disk_remove_args),
    .run = run,
};
