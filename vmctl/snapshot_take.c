/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/out.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct take_args {
	struct common common;
	const char *home, *name, *note;
};

static const struct opt take_opts[] = {
    {"name", 'N', OPT_TEXT, "SNAPSHOT", offsetof(struct take_args, name),
     "what it is called; by default a name is made from the time"},
    {"note", 0, OPT_TEXT, "TEXT", offsetof(struct take_args, note), "a note to keep with it"},
    VM_HOME(struct take_args),
    {0},
};

static int print_taken(const struct vm *vm, const struct guid *id)
{
	char text[GUID_TEXT_BYTES];
	const struct snap_node *node;
	struct snap_tree tree;
	int rc = vm_tree(vm, 0, &tree);

	if (rc)
		return rc;
	node = vm_node(&tree, id);
	if (node) /* else it was deleted meanwhile */
		printf("took %s of %s, id %s\n", out_name(node->name), out_name(vm->name),
		       guid_text(id, text));
	snap_tree_free(&tree);
	return 0;
}

static int run(void *arg)
{
	struct take_args *args = arg;
	const char *operand = args->common.arg[1];
	struct snap_take_opts opts = {.name = operand ? operand : args->name, .note = args->note};
	struct err_why why = {0};
	struct guid id;
	struct vm vm;
	int rc;

	if (operand && args->name)
		return out_usage("snapshot take", "a name was given twice");
	rc = vm_open(args->home, args->common.arg[0], 0, &vm);
	if (rc)
		return rc;
	if (snap_take(vm.store, &opts, &id, &why))
		rc = out_fail(vm.name, &why);
	else
		rc = args->common.json ? node_emit(&vm, &id) : print_taken(&vm, &id);
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_take = {
    .name = "snapshot take",
    .summary = "take a snapshot",
    .usage = "NAME [SNAPSHOT]",
    .details =
	"Keep the disks and the configuration as they are now. Takes a moment and no space,\n"
	"whatever the size of the disks and the number of snapshots; what is written from\n"
	"then on goes to new files.",
    .opts = take_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 2,
    .args_bytes = sizeof(struct take_args),
    .run = run,
};
