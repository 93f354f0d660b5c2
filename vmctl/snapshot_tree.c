/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "cli/out.h"
#include "vmctl/columns.h"
#include "vmctl/graph.h"
#include "vmctl/node.h"
#include "vmctl/verbs.h"
#include "vmctl/vm.h"

#define NAME_COLUMNS 48u

struct tree_args {
	struct common common;
	const char *home;
};

static const struct opt tree_opts[] = {
    VM_HOME(struct tree_args),
    {0},
};

/* Each two columns wide. */
struct signs {
	const char *line, *branch, *node;
};

static const struct signs utf8_signs = {"│ ", "├─", "○ "};
static const struct signs ascii_signs = {"| ", "|-", "o "};

/* Columns in front of the name. */
static unsigned indent(const struct graph_line *line)
{
	return 2 * line->column + 2;
}

static unsigned name_columns(const struct snap_tree *tree, const struct graph_line *lines,
			     unsigned count)
{
	unsigned columns = 0;

	for (unsigned i = 0; i < count; i++) {
		unsigned own;

		if (lines[i].kind != GRAPH_NODE)
			continue;
		own = indent(&lines[i]) + columns_of(out_name(tree->node[lines[i].idx].name));
		if (own > columns && own <= NAME_COLUMNS)
			columns = own;
	}
	return columns;
}

static void print_line(const struct snap_tree *tree, const struct graph_line *line,
		       const struct signs *signs, unsigned columns)
{
	const struct snap_node *node;
	char short_id[SHORT_ID_BYTES];

	for (unsigned i = 0; i < line->column; i++)
		fputs(line->branch && i + 1 == line->column ? signs->branch : signs->line, stdout);
	if (line->kind == GRAPH_CURRENT) {
		printf("* you are here (+%s)\n", out_size(tree->current_bytes));
		return;
	}
	node = &tree->node[line->idx];
	fputs(signs->node, stdout);
	columns_print(out_name(node->name), columns > indent(line) ? columns - indent(line) : 0);
	printf("  %s  %s  depth %-4u %10s\n", node_short_id(&node->id, short_id),
	       out_time(node->time), node->depth, out_size(node->unique_bytes));
}

static int print_tree(const struct vm *vm, const struct snap_tree *tree)
{
	const struct signs *signs = columns_begin() ? &utf8_signs : &ascii_signs;
	struct graph_line *lines;
	struct err_why why = {0};
	unsigned count, columns;

	if (graph_layout(tree, &lines, &count, &why))
		return out_fail(vm->name, &why);
	columns = name_columns(tree, lines, count);
	printf("%s\n", out_name(vm->name));
	for (unsigned i = 0; i < count; i++)
		print_line(tree, &lines[i], signs, columns);
	free(lines);
	return 0;
}

static int run(void *arg)
{
	struct tree_args *args = arg;
	struct snap_tree tree;
	struct vm vm;
	int rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);

	if (rc)
		return rc;
	rc = vm_tree(&vm, SNAP_TREE_SIZES, &tree);
	if (!rc) {
		if (args->common.json)
			json_emit(json_pack("{s:o, s:o, s:o, s:o}", "name", json_text(vm.name),
					    "current", id_json(current_id(&tree)), "current_bytes",
					    json_size(tree.current_bytes), "nodes",
					    nodes_json(&tree)));
		else
			rc = print_tree(&vm, &tree);
		snap_tree_free(&tree);
	}
	vm_close(&vm);
	return rc;
}

const struct verb verb_snapshot_tree = {
    .name = "snapshot tree",
    .summary = "draw the tree of a VM's snapshots",
    .usage = "NAME",
    .details =
	"Draw the tree: each snapshot stands below its parent, in the same column unless the\n"
	"parent has more children. Beside it are its id, its time, how deep in the tree it\n"
	"is, and how much space only it takes. '*' is where the VM is, with what it has\n"
	"written since.",
    .opts = tree_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct tree_args),
    .run = run,
};
