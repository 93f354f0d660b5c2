/* SPDX-License-Identifier: MIT */
#include "cli/out.h"
#include "util/bytes.h"
#include "util/text.h"
#include "vhd/vhd.h"
#include "vmctl/disk.h"
#include "vmctl/verbs.h"

struct disk_resize_args {
	struct common common;
	const char *home;
};

static const struct opt disk_resize_opts[] = {
    VM_HOME(struct disk_resize_args),
    {0},
};

struct change {
	unsigned slot;
	uint64_t bytes;
};

static enum err resize(struct store *store, void *arg, struct err_why *why)
{
	const struct change *change = arg;

	return snap_disk_resize(store, change->slot, change->bytes, why);
}

/* The size the disk has now. */
static int size_now(const struct disk_resize_args *args, unsigned slot, uint64_t *out)
{
	struct err_why why = {0};
	struct vhd_info info;
	struct snap_tree tree;
	struct vm vm;
	int rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);

	if (rc)
		return rc;
	rc = vm_tree(&vm, 0, &tree);
	if (!rc && (slot >= tree.disk_count || !tree.current[slot].path))
		err_set(&why, ERR_NOENT, "there is no disk %u", slot);
	else if (!rc && !vhd_inspect(tree.current[slot].path, NULL, &info, &why)) {
		*out = info.virtual_size;
		vhd_info_free(&info);
	}
	if (why.code)
		rc = out_fail(vm.name, &why);
	snap_tree_free(&tree);
	vm_close(&vm);
	return rc;
}

static int find_size(const struct disk_resize_args *args, struct change *change)
{
	const char *text = args->common.arg[2];
	struct size_arg size;
	uint64_t now = 0;
	int rc = 0;

	if (!size_parse(text, &size))
		return out_usage("disk resize", "'%s' is not a size such as 40G or +10G",
				 out_name(text));
	if (size.relative)
		rc = size_now(args, change->slot, &now);
	if (!rc && !checked_add(now, size.bytes, &change->bytes))
		rc = out_usage("disk resize", "'%s' is too much", out_name(text));
	return rc;
}

static int run(void *arg)
{
	struct disk_resize_args *args = arg;
	struct change change;
	int rc = disk_number("disk resize", args->common.arg[1], &change.slot);

	if (!rc)
		rc = find_size(args, &change);
	if (rc)
		return rc;
	return disk_change(args->home, args->common.arg[0], args->common.json,
			   json_pack("{s:s, s:i, s:o}", "do", "disk-resize", "disk",
				     (int)change.slot, "size", json_size(change.bytes)),
			   resize, &change);
}

const struct verb verb_disk_resize = {
    .name = "disk resize",
    .summary = "change the size of a VM's disk",
    .usage = "NAME NUMBER SIZE",
    .details = "The disk of that number (see show) gets another size, +10G being that much more,\n"
	       "by the rules of 'vhdtool resize'; snapshots keep theirs. The guest of a VM that\n"
	       "runs is told. Shows the VM.",
    .opts = disk_resize_opts,
    .groups = GROUP_JSON,
    .min_args = 3,
    .max_args = 3,
    .args_bytes = sizeof(struct disk_resize_args),
    .run = run,
};
