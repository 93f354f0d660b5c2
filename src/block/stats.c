/* SPDX-License-Identifier: MIT */
#include "block/stats.h"

#include <stdlib.h>
#include <time.h>

#include "util/bytes.h"

/*
 * Bucket of a latency: its own below 8 ns; above, the three bits after the leading one choose among
 * 8 steps of each power of two. 64 bits need (63 - 2) * 8 + 8 = 496 of them.
 */
#define STEP_BITS 3
#define STEPS     (1u << STEP_BITS)

struct stats_disk {
	struct disk base;
	struct disk *below;
	struct stats stats; /* every counter is accessed atomically */
};

/* The request below, in place of the caller's. */
struct stats_req {
	struct disk_req below;
	struct disk_req *above;
	struct stats_disk *disk;
	uint64_t start_ns;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned top;

	if (ns < STEPS)
		return (unsigned)ns;
	top = 63 - (unsigned)__builtin_clzll(ns);
	return (top - STEP_BITS + 1) * STEPS + (unsigned)(ns >> (top - STEP_BITS)) % STEPS;
}

/* The smallest latency that is beyond bucket `i`. */
static uint64_t bucket_end(unsigned i)
{
	unsigned shift = i / STEPS ? i / STEPS - 1 : 0;
	uint64_t last = i < STEPS ? i : (STEPS + i % STEPS);

	/* The end of the very last bucket does not fit: stay just below it. */
	return shift + STEP_BITS == 63 && i % STEPS == STEPS - 1 ? UINT64_MAX : (last + 1) << shift;
}

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void stats_record(struct stats_op *op, uint64_t latency_ns)
{
	add(&op->count, 1);
	add(&op->bucket[bucket_of(latency_ns)], 1);
}

uint64_t stats_percentile_ns(const struct stats_op *op, double fraction)
{
	double wanted = fraction * (double)op->count;
	uint64_t seen = 0;

	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		seen += op->bucket[i];
		if (seen && (double)seen >= wanted)
			return bucket_end(i);
	}
	return 0;
}

static void below_done(struct disk_req *below)
{
	struct stats_req *req = container_of(below, struct stats_req, below);
	struct disk_req *above = req->above;
	struct stats_op *op = &req->disk->stats.op[below->op];

	stats_record(op, now_ns() - req->start_ns);
	if (below->result == ERR_OK)
		add(&op->bytes, below->len_bytes);
	else
		add(&op->errors, 1);
	above->result = below->result;
	free(req);
	disk_done(above);
}

static void stats_submit(struct disk *base, struct queue *queue, struct disk_req *above)
{
	struct stats_disk *disk = container_of(base, struct stats_disk, base);
	struct stats_req *req = malloc(sizeof(*req));

	if (!req) {
		above->result = err_set(above->why, ERR_NOMEM, "no memory for a request");
		disk_done_later(above);
		return;
	}
	req->above = above;
	req->disk = disk;
	req->start_ns = now_ns();
	req->below = (struct disk_req){
	    .op = above->op,
	    .flags = above->flags,
	    .off_bytes = above->off_bytes,
	    .len_bytes = above->len_bytes,
	    .iov = above->iov,
	    .iov_count = above->iov_count,
	    .done = below_done,
	    .why = above->why,
	};
	disk_submit(disk->below, queue, &req->below);
}

static enum err stats_map(struct disk *base, uint64_t off_bytes, uint64_t len_bytes,
			  struct disk_extent *out, struct err_why *why)
{
	struct stats_disk *disk = container_of(base, struct stats_disk, base);

	return disk_map(disk->below, off_bytes, len_bytes, out, why);
}

static void stats_info(struct disk *base, struct disk_info *out)
{
	disk_get_info(container_of(base, struct stats_disk, base)->below, out);
}

static enum err stats_close(struct disk *base, struct err_why *why)
{
	struct stats_disk *disk = container_of(base, struct stats_disk, base);
	enum err err = disk_close(disk->below, why);

	free(disk);
	return err;
}

static const struct disk_ops stats_ops = {
    .name = "stats",
    .submit = stats_submit,
    .map = stats_map,
    .info = stats_info,
    .close = stats_close,
};

enum err stats_disk_open(struct disk *below, struct disk **out, struct err_why *why)
{
	struct stats_disk *disk = calloc(1, sizeof(*disk));

	if (!disk)
		return err_set(why, ERR_NOMEM, "no memory for counters");
	disk->base.ops = &stats_ops;
	disk->below = below;
	*out = &disk->base;
	return ERR_OK;
}

void stats_disk_get(struct disk *base, struct stats *out)
{
	struct stats_disk *disk = container_of(base, struct stats_disk, base);

	for (unsigned i = 0; i < ARRAY_LEN(out->op); i++) {
		struct stats_op *from = &disk->stats.op[i], *to = &out->op[i];

		to->count = __atomic_load_n(&from->count, __ATOMIC_RELAXED);
		to->bytes = __atomic_load_n(&from->bytes, __ATOMIC_RELAXED);
		to->errors = __atomic_load_n(&from->errors, __ATOMIC_RELAXED);
		for (unsigned b = 0; b < STATS_BUCKETS; b++)
			to->bucket[b] = __atomic_load_n(&from->bucket[b], __ATOMIC_RELAXED);
	}
}
