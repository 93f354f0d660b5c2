/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_RESIZE_H
#define STRATA_VHD_RESIZE_H

/*
 * Another size for one image, in place (W12 to W14). vhd_resize asks whether that is all right;
 * what is here does it. After a crash anywhere the image has the old or the new size and the same
 * content, and asking again completes it.
 */

#include "vhd/edit.h"

/*
 * Grow or shrink; content that is cut off must read zero, and a differencing image must not grow
 * over data of its parents (resize_check_growth). Afterwards, whatever is returned, the edit is
 * good for edit_close alone.
 */
enum err resize_edit(struct edit *edit, struct file_ns *ns, uint64_t size_bytes,
		     struct progress *progress, struct err_why *why);

/* ERR_REFUSED when a differencing image of this size would show what its parents have there. */
enum err resize_check_growth(struct edit *edit, const struct vhd_open_opts *opts,
			     uint64_t size_bytes, struct err_why *why);

/* ---- by type and direction ---- */

/* The size is more than the present one and the BAT for it is within the limit. */
enum err expand_sparse(struct edit *edit, struct file_ns *ns, uint64_t size_bytes,
		       struct progress *progress, struct err_why *why);
enum err shrink_sparse(struct edit *edit, uint64_t size_bytes, struct err_why *why);
/* BAT entries from `first` on, past the disk's end: "unused", B. Nothing when they are already. */
enum err unlink_surplus(struct edit *edit, uint32_t first, struct err_why *why);
/* Both ways (W13). */
enum err resize_fixed(struct vhd_layer *layer, struct file_ns *ns, uint64_t size_bytes,
		      struct err_why *why);

/* W2: the footer with this size; the copy at 0, B, the trailing one, B. */
enum err resize_footers(struct vhd_layer *layer, uint64_t size_bytes, struct err_why *why);

#endif
