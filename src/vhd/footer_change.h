/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_FOOTER_CHANGE_H
#define STRATA_VHD_FOOTER_CHANGE_H

#include "vhd/layer.h"

/*
 * Change the footer of an image in every place it has, all or nothing: with an intent record, for
 * the changes that W2 cannot order - another UUID, or a fixed image's only footer (W13).
 *
 * A fixed image is made to end right behind the footer's current size: its file grows or is cut,
 * and what is left of the old footer inside the disk is zeroed. On a block device the footer stays
 * where it is. The image is locked and open for writing; durable on return.
 */
enum err footer_change(struct vhd_layer *layer, struct file_ns *ns, const struct vhd_footer *footer,
		       struct err_why *why);

#endif
