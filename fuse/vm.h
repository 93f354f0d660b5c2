/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_VM_H
#define STRATA_FUSE_VM_H

/*
 * A VM as directories: the root holds one for each node and `current`, each of these one for each
 * disk, and that what shown.h makes of a disk. What is in the store is looked up at most once a
 * second; a disk is opened when somebody looks into its directory (views.h).
 *
 * Any thread may call. Inode numbers are those of place.h.
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "fuse/options.h"
#include "fuse/shown.h"
#include "snapshot/snapshot.h"

struct vm;
struct view;

enum err vm_open(const struct options *options, struct vm **out, struct err_why *why);
/* No request may be in flight; files may be open. */
void vm_close(struct vm *vm);

/* ---- directories ---- */

/* Whether `ino` is a directory down to those of disks, about which no disk needs to be asked. */
bool vm_is_dir(uint64_t ino);
/* Whether its children are such directories too. */
bool vm_is_above_disks(uint64_t ino);

struct vm_dir {
	unsigned subdirs;
	time_t changed;
};

/* False: it is gone, or never was. */
bool vm_stat_dir(struct vm *vm, uint64_t ino, struct vm_dir *out);

struct vm_child {
	uint64_t ino;
	uint64_t position; /* of vm_next_child; does not change when others come or go */
	char name[SNAP_NAME_MAX + 1];
};

/* The inode number of a directory in a directory above the disks; 0 when there is none. */
uint64_t vm_lookup(struct vm *vm, uint64_t ino, const char *name);
/* The first child of a directory above the disks whose position is above `after`. */
bool vm_next_child(struct vm *vm, uint64_t ino, uint64_t after, struct vm_child *out);

/* ---- disks ---- */

/*
 * The disk that `ino`, a directory of a disk or a file there, belongs to, until vm_leave. Waits for
 * storage when it was not open. ERR_LOCKED: current is being written.
 */
enum err vm_enter(struct vm *vm, uint64_t ino, struct view **view, struct shown **out,
		  struct err_why *why);
/* The same for its attributes alone: of a node that is gone as long as a file of it is open. */
enum err vm_enter_for_attr(struct vm *vm, uint64_t ino, struct view **view, struct shown **out,
			   struct err_why *why);
/* Use it once more, as long as a file is open. */
void vm_keep(struct vm *vm, struct view *view);
void vm_leave(struct vm *vm, struct view *view);

/* To be called about each second: close what has been idle for long enough. */
void vm_tidy(struct vm *vm);

#endif
