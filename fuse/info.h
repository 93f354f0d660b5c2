/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_INFO_H
#define STRATA_FUSE_INFO_H

/* The text of info.json: what `vhdtool inspect --json` says in its main keys, and the partitions.
 */

#include "vhd/guestfs.h"
#include "vhd/vhd.h"

/*
 * Reads the headers of the image at `path`; `opts` says where parents are. *text is the caller's to
 * free().
 */
enum err info_text(const char *path, const struct vhd_open_opts *opts,
		   const struct guestfs_table *table, char **text, struct err_why *why);

#endif
