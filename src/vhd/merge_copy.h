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

/* How many bytes that is; reads metadata alone. */
enum err merge_copy_bytes(struct disk *from, uint64_t *bytes, struct err_why *why);

/* `total_bytes` is for `progress`. Flushing `into` is the caller's. After an error a part is
 * copied. */
enum err merge_copy(struct disk *from, struct disk *into, uint64_t total_bytes,
		    struct progress *progress, struct err_why *why);

#endif
