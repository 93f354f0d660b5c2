/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_OWNER_H
#define STRATA_VHD_OWNER_H

/*
 * The owner map: for each block of the leaf, which file of the chain holds which sectors, and
 * where. It is what makes a chain of 512 files read like one: a block is resolved on first touch
 * by walking the layers from the leaf down, and kept, because layers below the leaf never change
 * and the leaf changes only through owner_assign.
 *
 * Memory is bounded by a budget; what is over it is forgotten and resolved again when needed.
 * Layers are numbered from the base (chain.h), so a new leaf on top leaves the map valid.
 *
 * Threads: everything here needs the image's lock. Pointers handed out are valid until the next
 * call.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"
#include "vhd/chain.h"

#define OWNER_NONE UINT32_MAX /* no layer has it: reads as zero */

/* Sectors from `first` (in the block) to the next run's first, or the block's end. */
struct owner_run {
	uint32_t first;
	uint32_t layer;
	uint64_t off_bytes; /* in the layer's file, of sector `first` */
};

struct owner_chunk;

/* The leaf while it is being written: its state in memory rules over what its file says. */
struct leaf;

struct owner_map {
	struct vhd_chain *chain;
	struct leaf *leaf; /* NULL: read the leaf like any other layer */
	uint64_t size_bytes;
	uint32_t block_bytes; /* these three as of owner_init, whatever becomes the leaf later */
	unsigned block_shift;
	uint32_t block_sectors;
	uint32_t blocks;
	struct owner_chunk **chunk;
	uint32_t chunks;
	uint32_t hand; /* next chunk to be forgotten */
	uint64_t used_bytes;
	uint64_t budget_bytes;
	/* working space of one resolution */
	uint64_t *undecided;
	uint32_t *sector_layer;
	uint64_t *sector_off;
	uint8_t *bitmap;
	size_t bitmap_room;
};

enum err owner_init(struct owner_map *map, struct vhd_chain *chain, uint64_t budget_bytes,
		    struct err_why *why);
void owner_free(struct owner_map *map);

/* The runs of a block, in order and covering it; the block's tail past the disk reads as zero. */
enum err owner_get(struct owner_map *map, uint32_t block, const struct owner_run **runs,
		   uint32_t *count, struct err_why *why);

/* Index of the run that holds `sector`. */
uint32_t owner_find(const struct owner_run *runs, uint32_t count, uint32_t sector);

/* Sectors [first, first+count) of a block now belong to `layer` at off_bytes, or to nobody. */
void owner_assign(struct owner_map *map, uint32_t block, uint32_t first, uint32_t count,
		  uint32_t layer, uint64_t off_bytes);

/*
 * The `old` layers from `first` have become `count` others: what they owned is resolved again when
 * it is next needed, and the numbers of those above change.
 */
void owner_renumber(struct owner_map *map, uint32_t first, uint32_t old, uint32_t count);

/* Whether no layer below the leaf holds any sector of this block (W9). */
enum err owner_below_is_zero(struct owner_map *map, uint32_t block, bool *out, struct err_why *why);

#endif
