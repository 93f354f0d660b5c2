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
	struct snap_view_opts opts;
	struct view_disk *of; /* one for each slot there may be, as base.disk */
	struct view *link;
};

/*
 * The writer's disk in slot `d`, as `cat` has it, is opened; or closed. Lock held. An error of
 * closing is a lost write.
 */
enum err view_open_slot(struct view *view, const struct catalogue *cat, unsigned d,
			struct err_why *why);
enum err view_close_slot(struct view *view, unsigned d, struct err_why *why);

static inline struct view *view_of(struct snap_view *view)
{
	return (struct view *)view; /* `base` is its first member */
}

#endif
