/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_EXERCISE_H
#define STRATA_TESTS_EXERCISE_H

/*
 * Drives a disk and its model together: every request goes to both, with the marks a crash test
 * needs placed in the log, and every read is compared. Many requests may be in flight; those that
 * change something must not overlap. The first failure of a request is kept and given back by
 * exercise_drain.
 *
 * Threads: none; one queue for the whole process.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "block/file_mem.h"
#include "tests/lib/model.h"
#include "tests/lib/random.h"

#define EXERCISE_FRESH (32u << 10)

struct request;

struct exercise {
	struct rng rng;
	struct model *model;
	struct disk *disk;
	struct mem_ns *marks; /* where marks are logged, or NULL */
	uint64_t grain_bytes; /* lengths are chosen around this: the block size */
	/*
	 * For barrier mutation: random requests one by one, disjoint until a flush, which comes
	 * only if needed and always covers the first write of some sector: those of the last
	 * EXERCISE_FRESH bytes are kept for that.
	 */
	bool calm;
	/* private */
	unsigned in_flight;
	struct request *flying; /* those in flight */
	uint64_t fresh_bytes;   /* used up of EXERCISE_FRESH */
	enum err err;
	struct err_why why;
};

/* The queue of this process, made on first use (again in a forked child). */
struct queue *exercise_queue(void);

/* Submit without waiting. Offsets and lengths as in block.h. */
void exercise_submit(struct exercise *exercise, enum disk_op op, unsigned flags, uint64_t off_bytes,
		     uint64_t len_bytes);
/* Wait for everything in flight; the first failure since the last drain. */
enum err exercise_drain(struct exercise *exercise, struct err_why *why);
/* Both. */
enum err exercise_do(struct exercise *exercise, enum disk_op op, unsigned flags, uint64_t off_bytes,
		     uint64_t len_bytes, struct err_why *why);

/* Write this very content, and wait. */
enum err exercise_put(struct exercise *exercise, uint64_t off_bytes, const void *buf,
		      uint64_t len_bytes, struct err_why *why);

/* How often a random request is what; in percent, the rest are reads. */
struct exercise_mix {
	unsigned write, zero, trim, flush, fua;
	unsigned whole; /* ranges that are one whole block, beyond those that happen to be */
};

/*
 * `count` random requests inside [0, within_bytes) of the disk, with up to `depth` of them in
 * flight together at any time. Stops after the first failure.
 */
enum err exercise_random(struct exercise *exercise, const struct exercise_mix *mix, unsigned count,
			 unsigned depth, uint64_t within_bytes, struct err_why *why);

/* Flush and wait; when calm, with the first write of a sector before it. */
enum err exercise_flush(struct exercise *exercise, struct err_why *why);

/* Write every sector below within_bytes, in pieces of grain_bytes. */
enum err exercise_fill(struct exercise *exercise, uint64_t within_bytes, struct err_why *why);

/* Read the whole disk and compare with what it must show now. */
enum err exercise_check_live(struct exercise *exercise, struct err_why *why);
/* Size and whole content, against what `disk` may hold after a cut at `mark`. */
enum err exercise_check_cut(struct disk *disk, struct model *model, uint64_t mark,
			    struct err_why *why);

#endif
