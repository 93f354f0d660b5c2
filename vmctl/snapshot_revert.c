/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/out.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

struct revert_args {
	struct common common;
	const char *home;
	struct opt_maybe keep;
	bool discard;
};

static const struct opt revert_opts[] = {
    {"keep", 'k', OPT_MAYBE, "KEEPNAME", offsetof(struct revert_args, keep),
     "make a snapshot of what is current first"},
    {"discard", 0, OPT_FLAG, NULL, offsetof(struct revert_args, discard),
     "lose what was written since the last snapshot"},
    VM_HOME(struct revert_args),
    {0},
};

/* Where to go, and whether what is current is kept. */
struct plan {
	struct guid id;
	const char *keep; /* as of snap_revert */
};

static int check_options(const struct revert_args *args)
{
	const char *name = args->common.arg[2];

	if (args->keep.given && args->discard)
		return out_usage("snapshot revert", "--keep and --discard exclude each other");
	if (name && !args->keep.given)
		return out_usage("snapshot revert", "'%s' is one operand too many without --keep",
				 out_name(name));
	if (name && args->keep.text)
		return out_usage("snapshot revert", "a name to keep was given twice");
	return 0;
}

/* What is current has changed, and nobody said what is to become of it. */
static int ask_user(const struct vm *vm, const struct snap_tree *tree, struct plan *plan)
{
	const char *base =
	    tree->current_idx < 0 ? NULL : out_name(tree->node[tree->current_idx].name);
	char question[1024], line[16], since[512] = "";

	if (base)
		snprintf(since, sizeof(since), " since the snapshot %s", base);
	snprintf(question, sizeof(question),
		 "%s has changed%s. Type keep to make a snapshot of it first, or discard: ",
		 out_name(vm->name), since);
	if (ask_line(question, line, sizeof(line)) == ANSWER_NOBODY)
		return out_usage("snapshot revert",
				 "%s has changed%s: say --keep to make a snapshot of it first, or "
				 "--discard to lose that",
				 out_name(vm->name), since);
	if (!strcmp(line, "keep")) {
		plan->keep = "";
		return 0;
	}
	if (!strcmp(line, "discard"))
		return 0;
	out_note(vm->name, "nothing was changed");
	return 1;
}

static int make_plan(const struct revert_args *args, const struct vm *vm,
		     const struct snap_tree *tree, struct plan *plan)
{
	struct err_why why = {0};
	bool changed;
	unsigned idx;
	int rc = vm_find(vm, tree, args->common.arg[1], &idx);

	if (rc)
		return rc;
	*plan = (struct plan){.id = tree->node[idx].id};
	if (args->keep.given)
		plan->keep = args->keep.text       ? args->keep.text
			     : args->common.arg[2] ? args->common.arg[2]
						   : "";
	if (args->keep.given || args->discard)
		return 0;
	if (snap_is_changed(vm->store, &changed, &why))
		return out_fail(vm->name, &why);
	return changed ? ask_user(vm, tree, plan) : 0;
}

static int report(const struct vm *vm, const struct plan *plan, const struct guid *kept, bool json)
{
	const struct snap_node *node;
	struct snap_tree tree;
	int rc;

	if (json) {
		json_emit(json_pack("{s:o, s:o, s:o}", "name", json_text(vm->name), "current",
				    id_json(&plan->id), "kept", id_json(kept)));
		return 0;
	}
	if (guid_is_zero(kept))
		return 0;
	rc = vm_tree(vm, 0, &tree);
	if (rc)
		return rc;
	node = vm_node(&tree, kept);
	if (node)
		printf("what was current is kept as %s\n", out_name(node->name));
	snap_tree_free(&tree);
	return 0;
}

static int revert(const struct revert_args *args, const struct vm *vm)
{
	struct err_why why = {0};
	struct guid kept = {0};
	struct snap_tree tree;
	struct plan plan;
	int rc = vm_tree(vm, 0, &tree);

	if (rc)
		return rc;
	rc = make_plan(args, vm, &tree, &plan);
	snap_tree_free(&tree);
	if (rc)
		return rc;
	if (snap_revert(vm->store, &plan.id, plan.keep, &kept, &why))
		return out_fail(vm->name, &why);
	return report(vm, &plan, &kept, args->common.json);
}

static int run(void *arg)
{
	struct revert_args *args = arg;
	struct vm vm;
	int rc = check_options(args);

	if (rc)
		return rc;
	rc = vm_open(args->home, args->common.arg[0], 0, &vm);
	if (rc)
		return rc;
	rc = revert(args, &vm);
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_revert = {
    .name = "snapshot revert",
    .summary = "go back to a snapshot",
    .usage = "NAME NODE [KEEPNAME]",
    .details =
	"Make the disks and the configuration what they were in the snapshot NODE; all\n"
	"snapshots stay. What was written since the last snapshot is kept as a new one, called\n"
	"KEEPNAME if given, with --keep, and lost with --discard. Without either it asks at a\n"
	"terminal and is refused elsewhere, unless nothing was written.",
    .opts = revert_opts,
    .groups = GROUP_JSON,
    .min_args = 2,
    .max_args = 3,
    .args_bytes = sizeof(struct revert_args),
    .run = run,
};
