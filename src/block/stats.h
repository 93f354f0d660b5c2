/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_STATS_H
#define STRATA_BLOCK_STATS_H

/*
 * A disk filter that counts. Operations, bytes, errors and a latency histogram for each kind of
 * request. Counters are atomic: read them at any time from any thread.
 */

#include <stdint.h>

#include "block/block.h"

#define STATS_BUCKETS 512 /* log-linear: 8 steps to each power of two of nanoseconds */

struct stats_op {
	uint64_t count;
	uint64_t bytes;
	uint64_t errors;
	uint64_t bucket[STATS_BUCKETS];
};

struct stats {
	struct stats_op op[DISK_TRIM + 1];
};

/* Stack on `below`; disk_close of the result closes `below` too. */
enum err stats_disk_open(struct disk *below, struct disk **out, struct err_why *why);
/* `disk` must come from stats_disk_open. */
void stats_disk_get(struct disk *disk, struct stats *out);
/* Latency in nanoseconds below which `fraction` (0..1) of the requests stayed; 0 with none. */
uint64_t stats_percentile_ns(const struct stats_op *op, double fraction);
void stats_record(struct stats_op *op, uint64_t latency_ns);

#endif
