/* SPDX-License-Identifier: MIT */
#include "vhd/merge_copy.h"

#include <stdlib.h>
#include <time.h>

#include "block/queue.h"
#include "util/bytes.h"
#include "vhd/edit.h"

#define CARRIERS    8u
#define PIECE_BYTES (1u << 20)
#define BUF_ALIGN   4096u

/* A gentle copy has one small piece in flight and rests this many times as long as it took. */
#define GENTLE_PIECE_BYTES (256u << 10)
#define GENTLE_REST        4u

struct copy {
	struct disk *from, *into;
	struct merge_copy *what;
	struct queue *queue;
	struct edit_work work;
	uint64_t at_off, size_bytes;
	uint64_t taken_bytes; /* for copying, so far */
	uint64_t piece_bytes;
	struct disk_extent held; /* what is still to be copied of the extent at at_off */
	unsigned busy;           /* carriers */
	enum err err;            /* the first one, with its text in `why` */
	struct err_why why;
};

/* Reads one piece, writes it to its place, takes the next. */
struct carrier {
	struct disk_req req;
	struct iovec iov;
	struct copy *copy;
	struct err_why why;
	uint8_t *buf;
	uint64_t begun_ns; /* of its piece, for a gentle copy */
};

/* The next extent somebody holds, from *off on; one of no length at the end. */
static enum err next_held(struct disk *disk, unsigned min_depth, uint64_t off, uint64_t size_bytes,
			  struct disk_extent *out, struct err_why *why)
{
	*out = (struct disk_extent){.start_bytes = size_bytes};
	while (off < size_bytes) {
		struct disk_extent extent;
		enum err e = disk_map(disk, off, size_bytes - off, &extent, why);

		if (e)
			return e;
		if (extent.state == EXTENT_DATA && extent.depth >= min_depth) {
			*out = extent;
			return ERR_OK;
		}
		off = extent.start_bytes + extent.len_bytes;
	}
	return ERR_OK;
}

enum err merge_copy_bytes(struct disk *from, unsigned min_depth, uint64_t *bytes,
			  struct err_why *why)
{
	struct disk_extent extent = {0};
	struct disk_info info;

	disk_get_info(from, &info);
	*bytes = 0;
	for (uint64_t off = 0; off < info.size_bytes;) {
		enum err e = next_held(from, min_depth, off, info.size_bytes, &extent, why);

		if (e)
			return e;
		*bytes += extent.len_bytes;
		off = extent.start_bytes + extent.len_bytes;
	}
	return ERR_OK;
}

static void fail(struct copy *copy, enum err e, const struct err_why *why)
{
	if (copy->err)
		return;
	copy->err = e;
	copy->why = *why;
}

static void take_piece(struct carrier *carrier);

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void rest(const struct carrier *carrier)
{
	uint64_t ns = min_u64((now_ns() - carrier->begun_ns) * GENTLE_REST, 999999999u);
	struct timespec pause = {.tv_nsec = (long)ns};

	nanosleep(&pause, NULL);
}

static void write_done(struct disk_req *req)
{
	struct carrier *carrier = req->owner;
	struct copy *copy = carrier->copy;

	copy->busy--;
	if (req->result)
		fail(copy, req->result, &carrier->why);
	else if (!edit_work_done(&copy->work, req->len_bytes) && !copy->err)
		copy->err = err_set(&copy->why, ERR_CANCELLED, "stopped while copying");
	if (copy->what->gentle)
		rest(carrier);
	take_piece(carrier);
}

static void read_done(struct disk_req *req)
{
	struct carrier *carrier = req->owner;
	struct copy *copy = carrier->copy;
	bool zero;

	if (req->result || copy->err) {
		copy->busy--;
		if (req->result)
			fail(copy, req->result, &carrier->why);
		return;
	}
	zero = bytes_are_zero(carrier->buf, req->len_bytes);
	carrier->req = (struct disk_req){.op = zero ? DISK_ZERO : DISK_WRITE,
					 .off_bytes = req->off_bytes,
					 .len_bytes = req->len_bytes,
					 .iov = zero ? NULL : &carrier->iov,
					 .iov_count = zero ? 0 : 1,
					 .done = write_done,
					 .owner = carrier,
					 .why = &carrier->why};
	disk_submit(copy->into, copy->queue, &carrier->req);
}

static void take_piece(struct carrier *carrier)
{
	struct copy *copy = carrier->copy;
	struct disk_extent *held = &copy->held;

	uint64_t budget = copy->what->budget_bytes;
	if (copy->err || (budget && copy->taken_bytes >= budget))
		return;
	if (!held->len_bytes) {
		copy->err = next_held(copy->from, copy->what->min_depth, copy->at_off,
				      copy->size_bytes, held, &copy->why);
		copy->at_off = held->start_bytes;
	}
	if (copy->err || !held->len_bytes)
		return;
	uint64_t len = min_u64(held->len_bytes, copy->piece_bytes);

	if (copy->what->gentle)
		carrier->begun_ns = now_ns();
	copy->taken_bytes += len;

	carrier->iov = (struct iovec){carrier->buf, (size_t)len};
	carrier->req = (struct disk_req){.op = DISK_READ,
					 .off_bytes = held->start_bytes,
					 .len_bytes = len,
					 .iov = &carrier->iov,
					 .iov_count = 1,
					 .done = read_done,
					 .owner = carrier,
					 .why = &carrier->why};
	held->start_bytes += len;
	held->len_bytes -= len;
	copy->at_off = held->start_bytes;
	copy->busy++;
	disk_submit(copy->from, copy->queue, &carrier->req);
}

static enum err copy_all(struct copy *copy, struct carrier *carriers, struct err_why *why)
{
	for (unsigned i = 0; i < (copy->what->gentle ? 1 : CARRIERS); i++)
		take_piece(&carriers[i]);
	while (copy->busy)
		queue_wait(copy->queue);
	if (copy->err && why)
		*why = copy->why;
	return copy->err;
}

enum err merge_copy(struct disk *from, struct disk *into, struct merge_copy *what,
		    struct err_why *why)
{
	struct copy copy = {.from = from,
			    .into = into,
			    .what = what,
			    .at_off = what->from_off,
			    .piece_bytes = what->gentle ? GENTLE_PIECE_BYTES : PIECE_BYTES,
			    .work = {.to = what->progress,
				     .total_bytes = what->total_bytes,
				     .done_bytes = what->done_bytes}};
	struct carrier carriers[CARRIERS] = {0};
	uint8_t *buf = aligned_alloc(BUF_ALIGN, (size_t)CARRIERS * PIECE_BYTES);
	struct disk_info info;

	what->next_off = what->from_off;
	what->moved_bytes = 0;
	if (!buf)
		return err_set(why, ERR_NOMEM, "out of memory");
	disk_get_info(from, &info);
	copy.size_bytes = info.size_bytes;
	for (unsigned i = 0; i < CARRIERS; i++) {
		carriers[i].copy = &copy;
		carriers[i].buf = buf + (size_t)i * PIECE_BYTES;
	}
	enum err e = queue_create(4 * CARRIERS, &copy.queue, why);
	if (!e)
		e = copy_all(&copy, carriers, why);
	queue_destroy(copy.queue);
	free(buf);
	if (!e)
		what->next_off = copy.at_off;
	what->moved_bytes = copy.taken_bytes;
	return e;
}
