/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_LEAF_H
#define STRATA_VHD_LEAF_H

/*
 * The state of a dynamic or differencing leaf that is open for writing: its BAT as published on
 * disk, the blocks that changed since (pending), and the space new blocks come from (space.h).
 *
 * Invariants (numbers as in docs/INVARIANTS.md):
 *  I1  `bat` holds exactly what is on stable storage, or what the flush in progress is writing.
 *  I2  A pending block rules reads as soon as it is live, and becomes live only after data of it
 *      has been written (W1). What is pending is published by a flush and by nothing else (W8).
 *  I3  A BAT entry on disk never points at a block whose bitmap region was not durable before:
 *      new blocks come from durable-zero space, whose bitmaps are written when it is made (W3).
 *  I4  Space of an unlinked block is not used again before the unlink is durable, no request that
 *      could still touch it is in flight, and it reads as zero durably (W7).
 *
 *            leaf_reserve           leaf_written            flush
 *   unused ---------------> reserved ------------> live ------------> published
 *      ^  leaf_give_up         |                    |  leaf_drop          |
 *      +-----------------------+                    +------> unlinked <---+  (-> space, by W7)
 *
 * Threads: everything needs the image's lock.
 */

#include <stdbool.h>
#include <stdint.h>

#include "vhd/layer.h"
#include "vhd/space.h"

struct pend {
	uint32_t block;
	uint32_t entry; /* where the block is; BAT_UNUSED when it was dropped */
	bool live;      /* reads see it */
	bool bat_dirty; /* entry differs from what is published */
	bool bitmap_dirty;
	bool publishing;    /* part of the flush in progress */
	unsigned in_flight; /* first writes under way to it */
	uint8_t *bitmap;    /* NULL: all ones, on disk too */
	struct pend *hash_next;
};

struct leaf {
	struct vhd_layer *layer;
	uint32_t *bat;        /* whole sectors' worth of entries, padding included */
	uint32_t bat_entries; /* with padding */
	struct pend **bucket;
	uint32_t buckets; /* power of two */
	uint32_t pending;
	uint32_t dirty; /* pending blocks with bat_dirty or bitmap_dirty */
	uint64_t bitmap_bytes_held;
	bool has_batmap; /* to be made invalid by the first publish */
	struct space space;
	uint64_t allocated; /* blocks there are */
	uint64_t taken;     /* blocks allocated since open */
};

/* Read and check the whole BAT (entries inside the file, disjoint), set up the rest. */
enum err leaf_open(struct vhd_layer *layer, struct leaf **out, struct err_why *why);
void leaf_free(struct leaf *leaf);

/*
 * The leaf's view of a block: its entry (BAT_UNUSED for none) and its bitmap when that is in
 * memory; *full says that all bits are known to be set. Neither: read it from the file.
 */
void leaf_lookup(const struct leaf *leaf, uint32_t block, uint32_t *entry, const uint8_t **bitmap,
		 bool *full);

/*
 * Make ready to write sectors the leaf does not hold yet: reserves space when the block has none.
 * Must be answered by leaf_written or leaf_give_up. ERR_NOSPC and the like change nothing (P5).
 */
enum err leaf_reserve(struct leaf *leaf, uint32_t block, struct pend **out, struct err_why *why);

/*
 * Data for [first, first+count) is in the file. *whole is set when the leaf now owns all of the
 * block (a new block of a dynamic disk), else it owns those sectors.
 */
void leaf_written(struct leaf *leaf, struct pend *pend, uint32_t first, uint32_t count,
		  bool *whole);
void leaf_give_up(struct leaf *leaf, struct pend *pend);

/* Whether leaf_drop may be called: no first write to the block is under way. */
bool leaf_can_drop(const struct leaf *leaf, uint32_t block);
/* The block reads as zero from now on; op_seq: requests up to this number may still touch it. */
enum err leaf_drop(struct leaf *leaf, uint32_t block, uint64_t op_seq, struct err_why *why);

struct pend *leaf_find(const struct leaf *leaf, uint32_t block);
/* Forget a pending block that has nothing left to publish. */
void leaf_settle(struct leaf *leaf, struct pend *pend);

#endif
