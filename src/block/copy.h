/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_COPY_H
#define STRATA_BLOCK_COPY_H

/*
 * Reading a whole disk fast, and what is built on it: copying and comparing. Reads are pipelined
 * on one queue; extents that are known to be zero (disk_map) are never read.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "util/progress.h"

/*
 * Copy src to dst, which is at least as large and reads as zero everywhere if `dst_is_zero`; runs
 * of zeros (4 KiB grain) are then skipped, else long ones are written with DISK_ZERO. What dst has
 * beyond the end of src stays. Ends with a flush. After an error dst holds a part of src.
 */
enum err disk_copy(struct disk *src, struct disk *dst, bool dst_is_zero, struct queue *queue,
		   struct progress *progress, struct err_why *why);

struct disk_difference {
	uint64_t start_bytes;
	uint64_t len_bytes;
};

/*
 * Call `each` with every maximal run of sectors in which a and b differ, in order; a shorter disk
 * counts as zeros to the longer one's size. `each` returns false to stop early (not an error).
 * Ranges owned by the same place of the same file in both are equal without being read; a file is
 * known by its path, so both disks come from the same namespace. `each` may use the queue.
 */
enum err disk_differences(struct disk *a, struct disk *b, struct queue *queue,
			  bool (*each)(void *arg, const struct disk_difference *difference),
			  void *arg, struct progress *progress, struct err_why *why);

/* Where the first sector is in which they differ, or UINT64_MAX; reads no further than that. */
enum err disk_first_difference(struct disk *a, struct disk *b, struct queue *queue,
			       uint64_t *off_bytes, struct progress *progress, struct err_why *why);

#endif
