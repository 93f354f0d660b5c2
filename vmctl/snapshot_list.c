/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "cli/out.h"
#include "vmctl/columns.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

#define NAME_COLUMNS 40u

struct list_args {
	struct common common;
	const char *home;
};

static const struct opt list_opts[] = {
    VM_HOME(struct list_args),
    {0},
};

static void print_nodes(const struct snap_tree *tree)
{
	char short_id[SHORT_ID_BYTES];
	unsigned columns = 4;

	columns_begin();
	for (unsigned i = 0; i < tree->count; i++) {
		unsigned own = columns_of(out_name(tree->node[i].name));

		if (own > columns && own <= NAME_COLUMNS)
			columns = own;
	}
	if (tree->count)
		printf("  %-*s  %-8s  %-20s  %5s  %10s  %s\n", (int)columns, "NAME", "ID", "TIME",
		       "DEPTH", "UNIQUE", "NOTE");
	for (unsigned i = 0; i < tree->count; i++) {
		const struct snap_node *node = &tree->node[i];

		fputs(tree->current_idx == (int)i ? "* " : "  ", stdout);
		columns_print(out_name(node->name), columns);
		printf("  %s  %s  %5u  %10s  %s\n", node_short_id(&node->id, short_id),
		       out_time(node->time), node->depth, out_size(node->unique_bytes),
		       out_name(node->note));
	}
}

static int run(void *arg)
{
	struct list_args *args = arg;
	struct snap_tree tree;
	struct vm vm;
	int rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);

	if (rc)
		return rc;
	rc = vm_tree(&vm, SNAP_TREE_SIZES, &tree);
	if (!rc) {
		if (args->common.json)
			json_emit(nodes_json(&tree));
		else
			print_nodes(&tree);
		snap_tree_free(&tree);
	}
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_list = {
    .name = "snapshot list",
    .summary = "list a VM's snapshots",
    .usage = "NAME",
    .details = "List the snapshots, parents before children, with how deep in the tree they are\n"
	       "and how much space only they take. '*' is the one the VM stands on.",
    .opts = list_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct list_args),
    .run = run,
};
