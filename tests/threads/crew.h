/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_CREW_H
#define STRATA_TESTS_CREW_H

/*
 * Several threads, each with a queue of its own, on one disk. Every thread owns some of the disk's
 * units of eight sectors: it alone writes them, and so knows what each of its sectors holds; what
 * it reads is compared. Anybody may read anything.
 *
 * Threads: a worker is used by its thread only; `shadow` of a sector by the owner of its unit, and
 * by the main thread when nobody runs. The first failure of a crew is kept in `failed`.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "tests/lib/random.h"

#define UNIT_SECTORS 8u
#define UNIT_BYTES   (UNIT_SECTORS * DISK_SECTOR)
#define CREW_MAX     8u
#define CREW_DEPTH   8u

/* What a sector holds: 0 is zeros. After a trim it may be zeros as well. */
struct shadow {
	uint64_t tag;
	bool maybe_zero;
};

struct crew {
	struct disk *disk;
	uint64_t sectors;
	struct shadow *shadow;
	unsigned count;
	unsigned rounds;     /* requests for each worker */
	bool quiet_failures; /* requests may fail: the test looks at `refused` */
	atomic_uint_fast64_t refused;
	atomic_bool failed;
	char text[600];
	pthread_mutex_t lock; /* guards text and what a test keeps */
	pthread_barrier_t start;
};

struct worker {
	struct crew *crew;
	unsigned idx;
	struct queue *queue;
	struct rng rng;
	uint64_t next_tag;
};

/* `size_bytes` is a multiple of a unit. */
void crew_init(struct crew *crew, uint64_t size_bytes, unsigned count);
void crew_free(struct crew *crew);

/* Keep the first failure; the test ends as failed. */
void crew_fail(struct crew *crew, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Run `work` in `count` threads that begin together, and wait for all; false when one failed. */
bool crew_run(struct crew *crew, struct disk *disk, void (*work)(struct worker *worker));

void sector_fill(uint8_t *sector, uint64_t tag, uint64_t number);
bool sector_is(const uint8_t *sector, uint64_t tag, uint64_t number);
uint64_t worker_tag(struct worker *worker);

/* One request, waited for; contents are checked and remembered. All in sectors. */
void worker_write(struct worker *worker, uint64_t first, uint64_t count);
void worker_zero(struct worker *worker, enum disk_op op, uint64_t first, uint64_t count);
void worker_check(struct worker *worker, uint64_t first, uint64_t count);
void worker_flush(struct worker *worker);

/* crew->rounds random requests on the worker's own units, up to CREW_DEPTH in flight. */
void worker_mixed(struct worker *worker);

/* Compare the whole disk with the shadows, on a queue of the calling thread. */
bool crew_check(struct crew *crew, struct disk *disk);

#endif
