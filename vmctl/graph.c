/* SPDX-License-Identifier: MIT */
#include "vmctl/graph.h"

#include <stdlib.h>

/*
 * Entries 0 to count - 1 are the nodes; then comes current, then the trunk that everything grows
 * from, which gets no line.
 */
struct entry {
	unsigned size;            /* entries below it, and itself */
	int first, next, largest; /* children, by index; -1: none */
};

struct work {
	const struct snap_tree *tree;
	struct entry *entry;
	struct graph_line *line, *stack;
	unsigned line_count, stack_count;
};

static unsigned parent_of(const struct snap_tree *tree, unsigned idx)
{
	int parent = idx == tree->count ? tree->current_idx : tree->node[idx].parent_idx;

	return parent < 0 ? tree->count + 1 : (unsigned)parent;
}

/* Parents come before their children, so that from the end every size is known in time. */
static void grow(struct work *work)
{
	unsigned trunk = work->tree->count + 1;

	for (unsigned i = 0; i <= trunk; i++)
		work->entry[i] = (struct entry){.size = 1, .first = -1, .next = -1, .largest = -1};
	for (unsigned i = trunk; i-- > 0;) {
		struct entry *parent = &work->entry[parent_of(work->tree, i)];

		work->entry[i].next = parent->first;
		parent->first = (int)i;
		parent->size += work->entry[i].size;
		if (parent->largest < 0 || work->entry[i].size > work->entry[parent->largest].size)
			parent->largest = (int)i;
	}
}

static void push(struct work *work, int idx, unsigned column, bool branch)
{
	work->stack[work->stack_count++] = (struct graph_line){
	    .kind = (unsigned)idx == work->tree->count ? GRAPH_CURRENT : GRAPH_NODE,
	    .idx = (unsigned)idx,
	    .column = column,
	    .branch = branch,
	};
}

/* What is pushed last is drawn first: the largest child goes to the bottom. */
static void push_children(struct work *work, const struct entry *entry, unsigned column)
{
	unsigned from;

	if (entry->largest < 0)
		return;
	push(work, entry->largest, column, false);
	from = work->stack_count;
	for (int i = entry->first; i >= 0; i = work->entry[i].next)
		if (i != entry->largest)
			push(work, i, column + 1, true);
	for (unsigned to = work->stack_count; from + 1 < to; from++) {
		struct graph_line line = work->stack[from];

		work->stack[from] = work->stack[--to];
		work->stack[to] = line;
	}
}

static void lay_out(struct work *work)
{
	grow(work);
	push_children(work, &work->entry[work->tree->count + 1], 0);
	while (work->stack_count) {
		struct graph_line line = work->stack[--work->stack_count];

		work->line[work->line_count++] = line;
		push_children(work, &work->entry[line.idx], line.column);
	}
}

enum err graph_layout(const struct snap_tree *tree, struct graph_line **lines, unsigned *count,
		      struct err_why *why)
{
	size_t room = (size_t)tree->count + 2;
	struct entry *entry = calloc(room, sizeof(*entry));
	struct graph_line *line = calloc(room, sizeof(*line));
	struct graph_line *stack = calloc(room, sizeof(*stack));
	struct work work = {.tree = tree, .entry = entry, .line = line, .stack = stack};
	bool ok = entry && line && stack;

	if (ok)
		lay_out(&work);
	free(entry);
	free(stack);
	if (!ok) {
		free(line);
		return err_set(why, ERR_NOMEM, "no memory to draw %u snapshots", tree->count);
	}
	*lines = line;
	*count = work.line_count;
	return ERR_OK;
}
