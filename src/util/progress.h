/* SPDX-License-Identifier: MIT */
#ifndef STRATA_UTIL_PROGRESS_H
#define STRATA_UTIL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How long work reports to whoever asked for it. Embedded in the caller's own struct
 * (container_of). Called at most some hundred times a second on the working thread. Returning false
 * asks the work to stop at the next point where everything is consistent; it then fails with
 * ERR_CANCELLED.
 */
struct progress {
	bool (*report)(struct progress *progress, uint64_t done_bytes, uint64_t total_bytes);
};

/* NULL-safe: true means go on. */
static inline bool progress_report(struct progress *progress, uint64_t done_bytes,
				   uint64_t total_bytes)
{
	return !progress || progress->report(progress, done_bytes, total_bytes);
}

#endif
