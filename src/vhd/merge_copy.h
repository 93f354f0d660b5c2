/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_MERGE_COPY_H
#define STRATA_VHD_MERGE_COPY_H

/*
 * The payload pass of a merge: what a disk holds - not what it reads as: sectors nobody holds are
 * left alone - goes to the same place of another one, several pieces in flight. Pieces that are
 * all zeros are zeroed there, and so may give space back.
 *
 * Threads: one, one queue.
 */

#include "block/block.h"
#include "util/progress.h"

struct merge_copy {
	unsigned min_depth;    /* only what files this far below the leaf of `from` hold */
	uint64_t from_off;     /* begin here */
	uint64_t budget_bytes; /* stop after about so much; 0: no limit */
	bool gentle;           /* leave most of the disk's time to others */
	struct progress *progress;
	uint64_t total_bytes; /* for progress */
	uint64_t done_bytes;  /* for progress: before this call */
	/* results, also on errors */
	uint64_t next_off; /* all before it is copied */
	uint64_t moved_bytes;
};

/* How many bytes there are to copy; reads metadata alone. */
enum err merge_copy_bytes(struct disk *from, unsigned min_depth, uint64_t *bytes,
			  struct err_why *why);

/* Flushing `into` is the caller's. After an error a part is copied. */
enum err merge_copy(struct disk *from, struct disk *into, struct merge_copy *what,
		    struct err_why *why);

#endif
