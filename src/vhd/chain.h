/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_CHAIN_H
#define STRATA_VHD_CHAIN_H

/*
 * The files of a disk, from the base (index 0, a fixed or dynamic image) to the leaf (index
 * count - 1). Indexes count from the base so that a new leaf on top changes none of them.
 *
 * Opening is iterative, at most VHD_MAX_DEPTH files, and refuses a chain that meets a file or a
 * UUID twice. BAT pages of all layers share one bounded cache.
 *
 * Threads: everything but opening and closing needs the disk's lock.
 */

#include "vhd/layer.h"

#define BAT_PAGE_ENTRIES 1024u

struct bat_cache {
	/* page[layer][n]: NULL not read yet, bat_page_empty, or a page of our own */
	uint32_t ***page;
	uint64_t bytes;
	uint64_t budget_bytes;
	unsigned hand_layer;
	uint32_t hand_page;
};

struct vhd_chain {
	struct vhd_layer **layer;
	unsigned count;
	struct bat_cache bat;
};

/*
 * Put `leaf` (already open) and its parents in `chain`, which takes over the leaf whatever
 * happens. With `lock`, parents get a reader's lock.
 */
enum err chain_open(struct vhd_layer *leaf, const struct vhd_open_opts *opts, bool lock,
		    struct vhd_chain *chain, struct err_why *why);
/*
 * The same from layers that are open, base first, with nothing below them; takes over the layers
 * and the array.
 */
enum err chain_of(struct vhd_layer **layers, unsigned count, struct vhd_chain *chain,
		  struct err_why *why);
/* Returns the first error of closing a file. */
enum err chain_close(struct vhd_chain *chain, struct err_why *why);

/* Make room for one more layer, then chain_push cannot fail: `layer` goes on top. */
enum err chain_reserve(struct vhd_chain *chain, struct err_why *why);
void chain_push(struct vhd_chain *chain, struct vhd_layer *layer);
/*
 * The `old` layers from `first` are replaced by the `count` ones of `layers`; `removed` gets them.
 * count <= old, so nothing can fail.
 */
void chain_replace(struct vhd_chain *chain, unsigned first, unsigned old,
		   struct vhd_layer *const *layers, unsigned count, struct vhd_layer **removed);

static inline struct vhd_layer *chain_leaf(const struct vhd_chain *chain)
{
	return chain->layer[chain->count - 1];
}

/*
 * BAT entry of block `idx` of layer `n`, through the cache, validated: BAT_UNUSED or a place
 * inside the file.
 */
enum err chain_bat_entry(struct vhd_chain *chain, unsigned n, uint32_t idx, uint32_t *entry,
			 struct err_why *why);

#endif
