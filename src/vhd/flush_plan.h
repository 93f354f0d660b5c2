/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_FLUSH_PLAN_H
#define STRATA_VHD_FLUSH_PLAN_H

/*
 * What one flush has to write, taken as a snapshot of the leaf's pending blocks: sectors of the
 * BAT, bitmaps, and places to be made durable-zero. The plan knows nothing of how it is carried
 * out; flush.c does that with or without a queue:
 *
 *    needs_barrier? B  ->  writes, in any order  ->  B  ->  plan_commit
 *
 * The first B (W5, W6) is there so that no bit or BAT entry can be on disk before the data it
 * stands for. New blocks of a dynamic disk do not need it (W4). Ordering of an unlink (W7): it is
 * one of the writes, and the place is zeroed by a later flush and used by a later one still.
 *
 * Threads: needs the image's lock, but for reading `write` while carrying it out.
 */

#include <stdbool.h>
#include <stdint.h>

#include "vhd/leaf.h"

struct plan_write {
	enum file_op op; /* FILE_WRITE or FILE_PUNCH */
	enum file_event event;
	uint64_t off_bytes;
	uint64_t len_bytes;
	uint8_t *data;
};

struct plan_block {
	struct pend *pend;
	uint32_t entry; /* to be published */
	bool bat;       /* what was dirty */
	bool bitmap;
};

struct flush_plan {
	struct plan_write *write;
	unsigned writes, write_room;
	struct plan_block *block;
	uint32_t blocks;
	bool needs_barrier;
	bool drops_batmap;
};

/*
 * Take the snapshot; blocks in it are `publishing` until plan_commit. `safe_seq`: all requests with
 * a lower number are done. On ERR_NOMEM nothing has changed.
 */
enum err plan_make(struct leaf *leaf, uint64_t safe_seq, struct flush_plan **out,
		   struct err_why *why);
/* All of it is durable: bring the leaf's published state up to date. Frees the plan. */
void plan_commit(struct leaf *leaf, struct flush_plan *plan);
/* It was never begun: pending blocks are as they were. Frees the plan. */
void plan_cancel(struct leaf *leaf, struct flush_plan *plan);
/* It failed: the image is poisoned, memory stays as it is. Frees the plan. */
void plan_abandon(struct flush_plan *plan);

#endif
