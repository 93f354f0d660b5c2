/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_COMPACT_SCAN_H
#define STRATA_VHD_COMPACT_SCAN_H

/*
 * Which allocated blocks of an image hold nothing: every sector that is present (bit set, on the
 * disk) reads zero or is free in `free`. Several blocks are read at once, in the order of the file,
 * each a little at first and only as far as its first byte that is not zero.
 */

#include "block/queue.h"
#include "vhd/compact_free.h"
#include "vhd/edit.h"

enum scan_verdict {
	SCAN_KEEP, /* holds data */
	SCAN_ZERO, /* what is present and not free reads zero */
	SCAN_FREE, /* all that is present is free */
};

/*
 * verdict[i], zeroed by the caller, is about block edit->order[i]. `free` may be NULL. Counts the
 * block's bytes in `work`; ERR_CANCELLED when that says so.
 */
enum err scan_blocks(struct edit *edit, struct queue *queue, const struct free_map *free,
		     uint8_t *verdict, struct edit_work *work, struct err_why *why);

/* Only by `free`, reading nothing: all sectors of the block that are on the disk are. */
void scan_by_map(const struct edit *edit, const struct free_map *free, uint8_t *verdict);

/*
 * Whether `parent` reads zero wherever the sectors of `block` are present, so that the block can go
 * without uncovering anything (W9). Without `payload` only what nobody has counts as zero, and all
 * of the block counts as present.
 */
enum err scan_below(struct edit *edit, struct disk *parent, struct queue *queue, uint32_t block,
		    bool payload, bool *out, struct err_why *why);

#endif
