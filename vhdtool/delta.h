/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_DELTA_H
#define STRATA_VHDTOOL_DELTA_H

/* Making a disk equal to another one by writing only what differs. */

#include "block/block.h"
#include "util/progress.h"

/*
 * Write to `dst` what `src` reads differently; what dst has beyond the end of src stays. Ends with
 * a flush. Stopped or failed: dst holds a part of it.
 */
enum err delta_copy(struct disk *src, struct disk *dst, struct queue *queue,
		    struct progress *progress, struct err_why *why);

#endif
