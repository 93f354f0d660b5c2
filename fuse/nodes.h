/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_NODES_H
#define STRATA_FUSE_NODES_H

/*
 * What a VM's store held when it was last looked at: its nodes, and current, each with a number
 * that stays its own. Node is meant as in snapshot.h here. Opens no file and locks nothing: that is
 * the owner's business.
 */

#include <stdbool.h>
#include <stdint.h>

#include "snapshot/snapshot.h"

#define NODES_CURRENT      1u /* the number of what is current */
#define NODES_CURRENT_NAME "current"

struct numbered {
	uint64_t number;
	const struct snap_node *node; /* NULL: current */
};

struct nodes {
	struct snap_tree tree;
	unsigned count; /* tree.count, and current */
	/* The same, in three orders; current is in the first only. */
	struct numbered *by_number;
	struct numbered *by_name;
	struct numbered *by_id;
	uint64_t next_number;
};

/* Holding nothing but an empty current. False without memory. */
bool nodes_init(struct nodes *nodes);
void nodes_free(struct nodes *nodes);
/*
 * Take over what the store holds now; nodes that were there keep their numbers. False without
 * memory; then nothing has changed, and `tree` is still the caller's.
 */
bool nodes_replace(struct nodes *nodes, struct snap_tree *tree);

/* NULL when there is none. */
const struct numbered *nodes_get(const struct nodes *nodes, uint64_t number);
/* The one with the next higher number. */
const struct numbered *nodes_after(const struct nodes *nodes, uint64_t number);
/* By name or id. */
const struct numbered *nodes_find(const struct nodes *nodes, const char *text);

const char *nodes_name(const struct numbered *item);
unsigned nodes_disk_count(const struct nodes *nodes, const struct numbered *item);
/* Whether there is a disk in that slot, below the count. */
bool nodes_has_disk(const struct nodes *nodes, const struct numbered *item, unsigned slot);

#endif
