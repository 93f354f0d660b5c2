/* SPDX-License-Identifier: MIT */

/*
 * Whether current is anything but the node it stands on: a leaf that holds a block was written to,
 * and one that is not right on the node's layer has what deleted nodes had.
 */

#include <stdlib.h>

#include "snapshot/store.h"

static enum err holds_anything(struct store *store, uint64_t number, bool *out, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = store->ns};
	struct vhd_info info;
	char *path = store_layer_path(store->dir, cat_layer(store->cat, number));
	enum err e =
	    path ? vhd_inspect(path, &opts, &info, why) : err_set(why, ERR_NOMEM, "out of memory");

	if (!e) {
		*out = info.type != VHD_DIFFERENCING || info.allocated_blocks > 0;
		vhd_info_free(&info);
	}
	free(path);
	return e;
}

enum err snap_is_changed(struct store *store, bool *out, struct err_why *why)
{
	enum err e = store_look(store, why);

	if (e)
		return e;
	const struct catalogue *cat = store->cat;
	const struct cat_node *node = cat_node(cat, cat->current);
	*out = !node;
	for (unsigned d = 0; d < cat->disks && !*out && !e; d++) {
		const struct cat_layer *leaf = cat_layer(cat, cat->leaf[d]);

		*out = (leaf ? leaf->parent : 0) != node->layer[d];
		if (leaf && !*out)
			e = holds_anything(store, cat->leaf[d], out, why);
	}
	store_unlock(store);
	return e;
}
