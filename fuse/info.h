/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_INFO_H
#define STRATA_FUSE_INFO_H

/*
 * The text of info.json. Of an image: what `vhdtool inspect --json` says in its main keys, and the
 * partitions. Of a VM's disk: the snapshot, the disk in it, and the partitions.
 */

#include "snapshot/snapshot.h"
#include "vhd/guestfs.h"
#include "vhd/vhd.h"

/*
 * Reads the headers of the image at `path`; `opts` says where parents are. *text is the caller's to
 * free().
 */
enum err info_text(const char *path, const struct vhd_open_opts *opts,
		   const struct guestfs_table *table, char **text, struct err_why *why);

struct json_t;

/*
 * What the store says of a node (NULL: of current) and its disks, to be compared by json_equal and
 * let go by json_decref. NULL when memory is short.
 */
struct json_t *info_facts(const char *vm, const struct snap_tree *tree,
			  const struct snap_node *node);
/* *text is the caller's to free(). */
enum err info_facts_text(const struct json_t *facts, unsigned disk_idx,
			 const struct guestfs_table *table, char **text, struct err_why *why);

#endif
