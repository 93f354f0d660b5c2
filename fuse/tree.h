/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_TREE_H
#define STRATA_FUSE_TREE_H

/*
 * What the mount shows: directories, texts, and files that are ranges of a disk. Knows names and
 * numbers; neither FUSE nor I/O.
 *
 * A node's number is its place in the tree plus one, the root's is 1; what inode number that makes
 * says place.h. Nodes are added while the tree is built and never change afterwards, so that any
 * thread may read it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"
#include "vhd/guestfs.h"

#define TREE_ROOT       1u
#define TREE_NAME_BYTES 32
/* The root, info.json, disk.img, and the partitions. */
#define TREE_MAX_ENTRIES (3 + GUESTFS_MAX_PARTITIONS)

struct byte_disk;

enum node_kind { NODE_DIR, NODE_TEXT, NODE_RANGE };

struct node {
	enum node_kind kind;
	uint64_t parent; /* its number */
	char name[TREE_NAME_BYTES];
	uint64_t size_bytes; /* 0 for directories */
	/* NODE_TEXT; not owned */
	const char *text;
	/* NODE_RANGE */
	struct byte_disk *disk; /* not owned */
	uint64_t start_bytes;
};

struct tree {
	struct node *node;
	size_t count;
};

/*
 * info.json with the text `info`, disk.img, and a pN.img for each partition. `info` and `disk` must
 * outlive the tree. Freed by tree_free.
 */
enum err tree_build(struct tree *tree, const char *info, struct byte_disk *disk,
		    uint64_t size_bytes, const struct guestfs_table *table, struct err_why *why);
void tree_free(struct tree *tree);

/* NULL when there is no such node. */
const struct node *tree_node(const struct tree *tree, uint64_t number);
/* The number of `name` in the directory `parent`; 0 when there is none. */
uint64_t tree_lookup(const struct tree *tree, uint64_t parent, const char *name);
/* The first child of `parent` with a number above `after`; 0 when there is none. */
uint64_t tree_next_child(const struct tree *tree, uint64_t parent, uint64_t after);

#endif
