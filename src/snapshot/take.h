/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_TAKE_H
#define STRATA_SNAPSHOT_TAKE_H

/* The steps of taking a snapshot, which revert takes as well. All between begin and commit. */

#include "snapshot/store.h"

/* ERR_USAGE, or ERR_EXIST when a node has it. */
enum err take_check_name(const struct catalogue *cat, const char *name, struct err_why *why);
enum err take_check_note(const char *note, struct err_why *why);

/*
 * The leaves will not change any more: durable, and their identity noted. `live`: they are paused
 * disks of this process.
 */
enum err take_seal(struct store *store, struct catalogue *cat, bool live, struct err_why *why);

/* A node of the leaves as they are, on the current node. `name` NULL or "": made from the time. */
enum err take_add_node(struct catalogue *cat, const char *name, const char *note,
		       struct cat_node **out, struct err_why *why);

/*
 * An empty leaf for each disk, on `parents`, with the next numbers; durable with their names.
 * `no_lock`: nobody can write to the parents.
 */
enum err take_new_leaves(struct store *store, struct catalogue *cat, const uint64_t *parents,
			 bool no_lock, uint64_t *leaf, struct err_why *why);

/* The files of new leaves that were not to be; nothing when the catalogue may name them. */
void take_undo(struct store *store, uint64_t first_number, unsigned disks);

#endif
