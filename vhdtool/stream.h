/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_STREAM_H
#define STRATA_VHDTOOL_STREAM_H

/*
 * Raw content through a descriptor that cannot seek: a pipe, a socket, a tape. Blocking; the
 * caller's signal handlers stop it through `progress` (ERR_CANCELLED).
 */

#include "block/block.h"
#include "util/progress.h"

/* Write the whole disk to `fd`, reading ahead. */
enum err stream_out(struct disk *disk, struct queue *queue, int fd, struct progress *progress,
		    struct err_why *why);

/*
 * Fill `disk`, which reads as zero, with exactly `size_bytes` from `fd`; zeros are not written.
 * A stream that is shorter or longer is an error. Ends with a flush.
 */
enum err stream_in(struct disk *disk, struct queue *queue, int fd, uint64_t size_bytes,
		   struct progress *progress, struct err_why *why);

#endif
