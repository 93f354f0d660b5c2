/* SPDX-License-Identifier: MIT */
#include "cli/out.h"
#include "vmctl/export.h"
#include "vmctl/verbs.h"

struct snapshot_export_args {
	struct common common;
	const char *home;
	bool flat, chain;
};

static const struct opt snapshot_export_opts[] = {
    EXPORT_OPTS(struct snapshot_export_args, "one VHD for each disk; the default",
		"as a chain of VHDs, as it is stored"),
    VM_HOME(struct snapshot_export_args),
    {0},
};

static int run(void *arg)
{
	struct snapshot_export_args *args = arg;
	enum snap_export_kind kind = args->chain ? SNAP_EXPORT_CHAIN : SNAP_EXPORT_FLAT;
	const struct guid *id;
	struct snap_tree tree;
	struct vm vm;
	int rc;

	if (args->flat && args->chain)
		return out_usage("snapshot export", "--flat and --chain exclude each other");
	rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);
	if (rc)
		return rc;
	rc = vm_tree(&vm, 0, &tree);
	if (!rc) {
		rc = vm_find_place(&vm, &tree, args->common.arg[1], &id);
		if (!rc)
			rc = export_place(&vm, id, kind, args->common.arg[2], &args->common);
		snap_tree_free(&tree);
	}
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_export = {
    .name = "snapshot export",
    .summary = "copy what a snapshot holds to a folder",
    .usage = "NAME NODE DIR",
    .details =
	"Copy the disks and the configuration of a snapshot, or of 'current', to DIR, which\n"
	"must not exist: disk0.vhd, disk1.vhd, ..., plain VHDs that other programs open. With\n"
	"--chain each is a differencing disk on disk0.1.vhd, and so on. 'vmctl import' makes\n"
	"a VM of it. When it fails or is stopped nothing is left behind.",
    .opts = snapshot_export_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 3,
    .max_args = 3,
    .args_bytes = sizeof(struct snapshot_export_args),
    .run = run,
};
