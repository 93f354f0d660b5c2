/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_VIEW_H
#define STRATA_SNAPSHOT_VIEW_H

/* An open view: which layers and files its disks are made of, so that they are not removed. */

#include "snapshot/store.h"

struct view_disk {
	uint64_t *number; /* layers, base first */
	uint64_t *file;   /* its edges are held */
	unsigned count;
	struct edge *gone; /* edges a fold has replaced, held until nobody reads through them */
	unsigned gone_count;
	struct stack_next *next; /* while a snapshot is being taken */
	uint64_t next_number;
};

struct view {
	struct snap_view base;
	struct store *store;
	bool writable;
	bool reads_current;
	struct view_disk *of; /* one for each disk */
	struct view *link;
};

static inline struct view *view_of(struct snap_view *view)
{
	return (struct view *)view; /* `base` is its first member */
}

#endif
