/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_PARENT_H
#define STRATA_VHD_PARENT_H

/*
 * Finding the parent of a differencing image (robustness.md section 4, "Chain"). Followed unasked:
 * a relative locator that stays below the child's folder, and a file of the parent's name in the
 * child's folder. Absolute, UNC and ".." paths are only printed. `search` folders are looked
 * through by name first and then by UUID. A candidate counts only when its UUID matches.
 */

#include "util/err.h"
#include "vhd/layer.h"
#include "vhd/path.h"

/* `opts` gives ns, search, and for the leaf parent and ignore_parent_id; `is_leaf` says so. */
enum err parent_open(struct vhd_layer *child, const struct vhd_open_opts *opts, bool is_leaf,
		     unsigned flags, struct vhd_layer **out, struct err_why *why);

/*
 * Call `each` for every image in `dir` whose headers are readable (cheap: two sectors a file).
 * `each` may keep nothing of the layer; it returns false to stop.
 */
enum err layers_in_folder(struct file_ns *ns, const char *dir,
			  bool (*each)(void *arg, struct vhd_layer *layer), void *arg,
			  struct err_why *why);

#endif
