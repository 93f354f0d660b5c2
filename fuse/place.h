/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_PLACE_H
#define STRATA_FUSE_PLACE_H

/*
 * What an inode number says. In the mount of an image it is the entry alone (tree.h). In that of a
 * VM a node has a number, from 1, which no other node ever gets while the mount lasts, and a disk
 * its index plus one. Where a part is 0, what is meant is above it: {0, 0, 1} is the root,
 * {7, 0, 1} the directory of a node, {7, 1, 1} that of its first disk, {7, 1, 3} a file there.
 */

#include <stdint.h>

#include "fuse/tree.h"
#include "snapshot/snapshot.h"

#define PLACE_ENTRY_BITS 9
#define PLACE_DISK_BITS  7

_Static_assert(TREE_MAX_ENTRIES < 1u << PLACE_ENTRY_BITS, "entries do not fit");
_Static_assert(SNAP_MAX_DISKS < 1u << PLACE_DISK_BITS, "disks do not fit");

struct place {
	uint64_t number; /* of the node */
	unsigned disk;   /* index + 1 */
	unsigned entry;  /* TREE_ROOT: the directory itself */
};

static inline uint64_t place_ino(struct place at)
{
	return (at.number << PLACE_DISK_BITS | at.disk) << PLACE_ENTRY_BITS | at.entry;
}

static inline struct place place_of(uint64_t ino)
{
	return (struct place){
	    .number = ino >> (PLACE_ENTRY_BITS + PLACE_DISK_BITS),
	    .disk = (unsigned)(ino >> PLACE_ENTRY_BITS) & ((1u << PLACE_DISK_BITS) - 1),
	    .entry = (unsigned)ino & ((1u << PLACE_ENTRY_BITS) - 1),
	};
}

#endif
