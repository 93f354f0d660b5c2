/* SPDX-License-Identifier: MIT */
#include "vmctl/show.h"

#include <stdio.h>

#include "cli/out.h"
#include "vmctl/call.h"
#include "vmctl/config.h"
#include "vmctl/node.h"
#include "vmctl/state.h"
#include "vmctl/verbs.h"

struct show_args {
	struct common common;
	const char *home;
};

static const struct opt show_opts[] = {
    VM_HOME(struct show_args),
    {0},
};

static void show_json(const struct vm *vm, const struct snap_tree *tree, const json_t *status)
{
	json_t *root = json_pack("{s:o, s:o, s:s, s:o, s:i, s:o}", "name", json_text(vm->name),
				 "path", json_text(vm->dir), "state", state_name(tree, status),
				 "current", id_json(current_id(tree)), "nodes", (int)tree->count,
				 "current_bytes", json_size(tree->current_bytes));

	config_add_json(root, &tree->config);
	json_object_set_new(root, "disks", disks_json(tree->current, tree->disk_count));
	json_object_set_new(root, "debt", debt_json(&tree->debt));
	json_object_set_new(root, "generation", json_size(tree->generation));
	state_add_json(root, status);
	json_emit(root);
}

static void print_disks(const struct snap_tree *tree, const json_t *status)
{
	char label[32];

	for (unsigned i = 0; i < tree->disk_count; i++) {
		const struct snap_disk *disk = &tree->current[i];

		if (!disk->path)
			continue;
		snprintf(label, sizeof(label), "disk %u", i);
		out_row(label, "%s", out_name(disk->path));
		out_row("", "%s, %u %s deep, the last one takes %s", out_size(disk->virtual_size),
			disk->depth, disk->depth == 1 ? "file" : "files",
			out_size(disk->unique_bytes));
		state_print_disk(status, i);
	}
}

static void show_text(const struct vm *vm, const struct snap_tree *tree, const json_t *status)
{
	const struct guid *id = current_id(tree);
	char short_id[SHORT_ID_BYTES];

	printf("%s\n", out_name(vm->name));
	out_row("folder", "%s", out_name(vm->dir));
	out_row("state", "%s", state_name(tree, status));
	state_print(status);
	config_print(&tree->config);
	print_disks(tree, status);
	out_row("snapshots", "%u", tree->count);
	if (id)
		out_row("stands on", "%s (%s)", out_name(tree->node[tree->current_idx].name),
			node_short_id(id, short_id));
	else
		out_row("stands on", "no snapshot");
	debt_print(&tree->debt);
}

int show_vm(const struct vm *vm, bool json)
{
	struct snap_tree tree;
	json_t *status;
	int rc = vm_tree(vm, SNAP_TREE_SIZES, &tree);

	if (rc)
		return rc;
	status = call_status(vm->dir);
	if (json)
		show_json(vm, &tree, status);
	else
		show_text(vm, &tree, status);
	json_decref(status);
	snap_tree_free(&tree);
	return 0;
}

int show_vm_named(const char *home, const char *name, bool json)
{
	struct vm vm;
	int rc = vm_open(home, name, SNAP_READONLY, &vm);

	if (rc)
		return rc;
	rc = show_vm(&vm, json);
	vm_close(&vm);
	return rc;
}

static int run(void *arg)
{
	struct show_args *args = arg;

	return show_vm_named(args->home, args->common.arg[0], args->common.json);
}

const struct verb verb_show = {
    .name = "show",
    .summary = "show a VM's configuration, disks and state",
    .usage = "NAME",
    .details = "Show where the VM is, its configuration, the disks it writes to now, the snapshot\n"
	       "it stands on, and what is waiting to be folded.",
    .opts = show_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct show_args),
    .run = run,
};
