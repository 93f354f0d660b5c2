/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/out.h"
#include "vmctl/background.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"

struct delete_args {
	struct common common;
	const char *home;
	bool subtree, no_fold;
};

static const struct opt delete_opts[] = {
    {"subtree", 's', OPT_FLAG, NULL, offsetof(struct delete_args, subtree),
     "delete all snapshots below it too"},
    {"no-fold", 0, OPT_FLAG, NULL, offsetof(struct delete_args, no_fold),
     "do not fold in the background; see 'vmctl fold'"},
    VM_HOME(struct delete_args),
    {0},
};

struct outcome {
	unsigned deleted;
	struct snap_debt debt;
	bool folding;
};

static int delete_node(const struct delete_args *args, const struct vm *vm, struct outcome *out)
{
	struct err_why why = {0};
	struct snap_tree tree;
	struct guid id;
	unsigned idx;
	int rc = vm_tree(vm, 0, &tree);

	if (rc)
		return rc;
	rc = vm_find(vm, &tree, args->common.arg[1], &idx);
	if (!rc)
		id = tree.node[idx].id;
	snap_tree_free(&tree);
	if (rc)
		return rc;
	if (snap_delete(vm->store, &id, args->subtree, &out->deleted, &why))
		return out_fail(vm->name, &why);
	rc = vm_tree(vm, SNAP_TREE_SIZES, &tree);
	if (rc)
		return rc;
	out->debt = tree.debt;
	snap_tree_free(&tree);
	return 0;
}

static void fold(struct vm *vm, struct outcome *outcome)
{
	struct err_why why = {0};

	snap_close(vm->store);
	vm->store = NULL;
	if (background_fold(vm, &why))
		out_note(vm->name, "%s; 'vmctl fold' does what is left", why.text);
	else
		outcome->folding = true;
}

static void report(const struct vm *vm, const struct outcome *outcome, bool json)
{
	unsigned foldable = outcome->debt.layers - outcome->debt.shared;

	if (json) {
		json_emit(json_pack("{s:o, s:i, s:o, s:b}", "name", json_text(vm->name), "deleted",
				    (int)outcome->deleted, "debt", debt_json(&outcome->debt),
				    "folding", outcome->folding));
		return;
	}
	printf("deleted %u %s", outcome->deleted, outcome->deleted == 1 ? "snapshot" : "snapshots");
	if (foldable)
		printf("; %u %s to fold%s", foldable, foldable == 1 ? "layer" : "layers",
		       outcome->folding ? ", in the background" : "");
	putchar('\n');
}

static int run(void *arg)
{
	struct delete_args *args = arg;
	struct outcome outcome = {0};
	struct vm vm;
	int rc = vm_open(args->home, args->common.arg[0], 0, &vm);

	if (rc)
		return rc;
	rc = delete_node(args, &vm, &outcome);
	if (!rc && !args->no_fold && debt_is_foldable(&outcome.debt))
		fold(&vm, &outcome);
	if (!rc)
		report(&vm, &outcome, args->common.json);
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_delete = {
    .name = "snapshot delete",
    .summary = "delete a snapshot",
    .usage = "NAME NODE",
    .details =
	"Delete the snapshot NODE at once; those below it stay, and become children of its\n"
	"parent. What is current does not change. Blocks that others still need are then moved\n"
	"to where they are needed, with low priority, by a process in the background that may\n"
	"be killed at any time: 'vmctl fold' goes on where it was.",
    .opts = delete_opts,
    .groups = GROUP_JSON,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct delete_args),
    .run = run,
};
