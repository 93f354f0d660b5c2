/* SPDX-License-Identifier: MIT */
#include "cli/out.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct rename_args {
	struct common common;
	const char *home, *note;
};

static const struct opt rename_opts[] = {
    {"note", 0, OPT_TEXT, "TEXT", offsetof(struct rename_args, note), "its new note; '' for none"},
    VM_HOME(struct rename_args),
    {0},
};

static int rename_node(const struct rename_args *args, const struct vm *vm)
{
	const struct common *common = &args->common;
	struct err_why why = {0};
	struct snap_tree tree;
	struct guid id;
	unsigned idx;
	int rc = vm_tree(vm, 0, &tree);

	if (rc)
		return rc;
	rc = vm_find(vm, &tree, common->arg[1], &idx);
	if (!rc)
		id = tree.node[idx].id;
	snap_tree_free(&tree);
	if (rc)
		return rc;
	if (snap_rename(vm->store, &id, common->arg[2], args->note, &why))
		return out_fail(vm->name, &why);
	return common->json ? node_emit(vm, &id) : 0;
}

static int run(void *arg)
{
	struct rename_args *args = arg;
	struct vm vm;
	int rc;

	if (!args->common.arg[2] && !args->note)
		return out_usage("snapshot rename", "a new name or --note is wanted");
	rc = vm_open(args->home, args->common.arg[0], 0, &vm);
	if (rc)
		return rc;
	rc = rename_node(args, &vm);
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_rename = {
    .name = "snapshot rename",
    .summary = "give a snapshot another name or note",
    .usage = "NAME NODE [NEWNAME]",
    .details = "Change the name, the note or both. Ids stay.",
    .opts = rename_opts,
    .groups = GROUP_JSON,
    .min_args = 2,
    .max_args = 3,
    .args_bytes = sizeof(struct rename_args),
    .run = run,
};
