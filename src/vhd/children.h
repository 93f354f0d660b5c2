/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_CHILDREN_H
#define STRATA_VHD_CHILDREN_H

/*
 * Which differencing images there are in some folders, and from which disk each was made: asked
 * before anything is done to an image that would break a child (W15, W17). A child that is
 * elsewhere is not known; that is why the UUID of a merged disk changes as well.
 *
 * Looking reads two sectors of each file; what does not open as an image is passed over.
 */

#include "util/guid.h"
#include "vhd/layer.h"

struct child {
	char *path;
	struct guid uuid, parent_uuid;
	dev_t dev;
	ino_t ino;
};

/* Start with a zeroed struct. */
struct children {
	struct child *item;
	unsigned count, room;
	char **folder; /* looked into already */
	unsigned folders;
};

/*
 * Add those beside an image, and those in opts->search; a folder is read once. Nothing counts as
 * beside a block device: nobody keeps images among device nodes, and opening those has effects.
 */
enum err children_beside(struct children *children, struct file_ns *ns,
			 const struct vhd_layer *layer, struct err_why *why);
enum err children_in_search(struct children *children, const struct vhd_open_opts *opts,
			    struct err_why *why);
void children_free(struct children *children);

/* W15: ERR_REFUSED when a child of `layer` is beside it or in opts->search; `verb` for the text. */
enum err children_refuse(const struct vhd_layer *layer, const struct vhd_open_opts *opts,
			 const char *verb, struct err_why *why);

#endif
