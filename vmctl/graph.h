/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_GRAPH_H
#define STRATA_VMCTL_GRAPH_H

/*
 * How a tree of snapshots is laid out in lines. The child with most below it stays in its parent's
 * column and comes last, the others begin a column of their own: a line without branches is not
 * indented at all, and n nodes never need more than log2(n) columns.
 */

#include "snapshot/snapshot.h"

enum graph_kind {
	GRAPH_NODE,
	GRAPH_CURRENT, /* where the VM is: a child of the node it stands on */
};

struct graph_line {
	enum graph_kind kind;
	unsigned idx;    /* GRAPH_NODE: in tree->node */
	unsigned column; /* from 0 */
	bool branch;     /* it begins its column */
};

/* One line for each node and one for current, in time and memory linear in them; free() it. */
enum err graph_layout(const struct snap_tree *tree, struct graph_line **lines, unsigned *count,
		      struct err_why *why);

#endif
