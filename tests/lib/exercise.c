/* SPDX-License-Identifier: MIT */
#include "tests/lib/exercise.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/queue.h"
#include "util/bytes.h"

#define READ_BYTES  (256u << 10)
#define EAGER_BYTES (4u << 20)

struct request {
	struct disk_req req;
	struct iovec iov;
	struct err_why why;
	struct exercise *exercise;
	struct model_op op;
	uint8_t *buf;
	struct request *next; /* in exercise->flying */
};

struct queue *exercise_queue(void)
{
	static struct queue *queue;
	static pid_t owner;
	struct err_why why;

	if (queue && owner == getpid())
		return queue;
	if (queue_create(64, &queue, &why))
		abort();
	owner = getpid();
	return queue;
}

static void mark(struct exercise *exercise, uint64_t number)
{
	if (exercise->marks)
		mem_ns_mark(exercise->marks, number);
}

static void fail(struct exercise *exercise, enum err err, const struct err_why *why)
{
	if (exercise->err)
		return;
	exercise->err = err;
	exercise->why = *why;
	exercise->why.code = err;
}

/* ---- one request ---- */

static void finished(struct request *request)
{
	struct exercise *exercise = request->exercise;
	const struct disk_req *req = &request->req;
	bool ok = req->result == ERR_OK;

	if (!ok)
		fail(exercise, req->result, &request->why);
	switch (req->op) {
	case DISK_READ:
		if (ok && !model_check_read(exercise->model, request->op.mark, req->off_bytes,
					    request->buf, req->len_bytes, &request->why))
			fail(exercise, ERR_CORRUPT, &request->why);
		break;
	case DISK_FLUSH:
		if (ok)
			mark(exercise, model_flushed(exercise->model, &request->op));
		break;
	default:
		model_done(exercise->model, &request->op, ok);
		if (ok && req->flags & DISK_FUA)
			mark(exercise, model_durable(exercise->model, &request->op));
	}
}

static void on_done(struct disk_req *req)
{
	struct request *request = req->owner;
	struct request **link = &request->exercise->flying;

	finished(request);
	while (*link != request)
		link = &(*link)->next;
	*link = request->next;
	request->exercise->in_flight--;
	free(request->buf);
	free(request);
}

static void begin(struct request *request)
{
	struct model *model = request->exercise->model;
	const struct disk_req *req = &request->req;

	switch (req->op) {
	case DISK_READ:
		request->op.mark = model_now(model);
		return;
	case DISK_WRITE:
		request->op =
		    model_write(model, req->off_bytes, req->len_bytes, request->iov.iov_base);
		break;
	case DISK_ZERO:
		request->op = model_zero(model, req->off_bytes, req->len_bytes);
		break;
	case DISK_TRIM:
		request->op = model_trim(model, req->off_bytes, req->len_bytes);
		break;
	case DISK_FLUSH:
		request->op = model_flush(model);
		break;
	}
	mark(request->exercise, request->op.mark);
}

void exercise_submit(struct exercise *exercise, enum disk_op op, unsigned flags, uint64_t off_bytes,
		     uint64_t len_bytes)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		abort();
	request->exercise = exercise;
	request->req = (struct disk_req){.op = op,
					 .flags = flags,
					 .off_bytes = off_bytes,
					 .len_bytes = len_bytes,
					 .done = on_done,
					 .owner = request,
					 .why = &request->why};
	if (op == DISK_READ || op == DISK_WRITE) {
		request->buf = malloc(len_bytes);
		if (!request->buf)
			abort();
		request->iov = (struct iovec){request->buf, len_bytes};
		request->req.iov = &request->iov;
		request->req.iov_count = 1;
	}
	begin(request);
	exercise->in_flight++;
	request->next = exercise->flying;
	exercise->flying = request;
	disk_submit(exercise->disk, exercise_queue(), &request->req);
}

static void wait_until(struct exercise *exercise, unsigned in_flight)
{
	while (exercise->in_flight > in_flight)
		if (!queue_wait(exercise_queue()) && exercise->in_flight)
			abort(); /* a request was lost */
}

enum err exercise_drain(struct exercise *exercise, struct err_why *why)
{
	enum err err;

	wait_until(exercise, 0);
	err = exercise->err;
	if (err && why)
		*why = exercise->why;
	exercise->err = ERR_OK;
	return err;
}

enum err exercise_do(struct exercise *exercise, enum disk_op op, unsigned flags, uint64_t off_bytes,
		     uint64_t len_bytes, struct err_why *why)
{
	exercise_submit(exercise, op, flags, off_bytes, len_bytes);
	return exercise_drain(exercise, why);
}

enum err exercise_put(struct exercise *exercise, uint64_t off_bytes, const void *buf,
		      uint64_t len_bytes, struct err_why *why)
{
	struct model_op op = model_put(exercise->model, off_bytes, len_bytes, buf);
	enum err err;

	mark(exercise, op.mark);
	err = disk_write(exercise->disk, exercise_queue(), buf, off_bytes, len_bytes, why);
	model_done(exercise->model, &op, !err);
	return err;
}

/* ---- random requests ---- */

struct range {
	uint64_t off_bytes, len_bytes;
};

/* A sector, a few, most of a block, or a whole one; often at or across a block's edge. */
static struct range choose_range(struct exercise *exercise, unsigned whole, uint64_t within_bytes)
{
	struct rng *rng = &exercise->rng;
	uint64_t grain = exercise->grain_bytes;
	uint64_t off = rng_below(rng, within_bytes / DISK_SECTOR) * DISK_SECTOR;
	uint64_t len = DISK_SECTOR;

	switch (rng_percent(rng, whole) ? 2 : rng_below(rng, 6)) {
	case 0:
		break;
	case 1:
		len = rng_between(rng, 1, grain / DISK_SECTOR) * DISK_SECTOR;
		break;
	case 2:
		off = off / grain * grain;
		len = grain;
		break;
	case 3:
		off = off / grain * grain;
		off -= min_u64(off, rng_below(rng, 5) * DISK_SECTOR);
		len = rng_between(rng, 1, 9) * DISK_SECTOR;
		break;
	default:
		len = rng_between(rng, 1, 16) * DISK_SECTOR;
	}
	return (struct range){off, min_u64(len, within_bytes - off)};
}

/* With a change that is in flight. */
static bool meets_change(const struct exercise *exercise, const struct range *range)
{
	for (const struct request *r = exercise->flying; r; r = r->next)
		if (r->req.op != DISK_READ && r->req.op != DISK_FLUSH &&
		    ranges_overlap(r->req.off_bytes, r->req.len_bytes, range->off_bytes,
				   range->len_bytes))
			return true;
	return false;
}

static enum disk_op choose_op(struct rng *rng, const struct exercise_mix *mix)
{
	unsigned roll = (unsigned)rng_below(rng, 100);

	if (roll < mix->write)
		return DISK_WRITE;
	roll -= mix->write;
	if (roll < mix->zero)
		return DISK_ZERO;
	roll -= mix->zero;
	if (roll < mix->trim)
		return DISK_TRIM;
	roll -= mix->trim;
	return roll < mix->flush ? DISK_FLUSH : DISK_READ;
}

/* When calm: what was changed since the last flush. */
#define MAX_CALM 64u

struct calm {
	struct range changed[MAX_CALM];
	unsigned count;
};

static bool calm_takes(struct calm *calm, const struct range *range)
{
	for (unsigned i = 0; i < calm->count; i++)
		if (ranges_overlap(calm->changed[i].off_bytes, calm->changed[i].len_bytes,
				   range->off_bytes, range->len_bytes))
			return false;
	if (calm->count == MAX_CALM)
		return false;
	calm->changed[calm->count++] = *range;
	return true;
}

/* A sector nothing was written to before: its loss shows, and so does its bit without its data. */
static void write_fresh(struct exercise *exercise)
{
	struct disk_info info;

	if (exercise->fresh_bytes == EXERCISE_FRESH)
		return;
	disk_get_info(exercise->disk, &info);
	exercise_submit(exercise, DISK_WRITE, 0,
			info.size_bytes - EXERCISE_FRESH + exercise->fresh_bytes, DISK_SECTOR);
	exercise->fresh_bytes += DISK_SECTOR;
	wait_until(exercise, 0);
}

/* False when this one would not do. */
static bool prepare_change(struct exercise *exercise, enum disk_op op, const struct range *range,
			   struct calm *calm)
{
	if (op == DISK_READ)
		return true;
	if (op != DISK_FLUSH)
		return exercise->calm ? calm_takes(calm, range) : !meets_change(exercise, range);
	if (!exercise->calm)
		return true;
	if (!calm->count)
		return false;
	write_fresh(exercise);
	calm->count = 0;
	return true;
}

static void submit_random(struct exercise *exercise, const struct exercise_mix *mix,
			  struct calm *calm, uint64_t within_bytes)
{
	struct rng *rng = &exercise->rng;
	enum disk_op op = choose_op(rng, mix);
	struct range range = choose_range(exercise, mix->whole, within_bytes);
	unsigned flags = 0;

	if (!prepare_change(exercise, op, &range, calm))
		return;
	if (op == DISK_FLUSH)
		range = (struct range){0};
	/* A calm one covers nothing else, and is not of zeros, which may be there already. */
	if (exercise->calm ? op == DISK_WRITE && calm->count <= 1
			   : op == DISK_WRITE || op == DISK_ZERO)
		flags = rng_percent(rng, mix->fua) ? DISK_FUA : 0;
	if (op == DISK_ZERO && rng_percent(rng, 25))
		flags |= DISK_KEEP_SPACE;
	exercise_submit(exercise, op, flags, range.off_bytes, range.len_bytes);
}

enum err exercise_random(struct exercise *exercise, const struct exercise_mix *mix, unsigned count,
			 unsigned depth, uint64_t within_bytes, struct err_why *why)
{
	struct calm calm = {.count = 0};
	struct disk_info info;

	disk_get_info(exercise->disk, &info);
	if (exercise->calm)
		within_bytes = min_u64(within_bytes, info.size_bytes - EXERCISE_FRESH);
	for (; count && !exercise->err; count--) {
		unsigned most = depth;

		if (exercise->calm)
			most = 1;
		else if (rng_percent(&exercise->rng, 10))
			most = (unsigned)rng_between(&exercise->rng, 1, depth);
		wait_until(exercise, most - 1);
		submit_random(exercise, mix, &calm, within_bytes);
		if (rng_percent(&exercise->rng, 30))
			queue_poll(exercise_queue());
	}
	return exercise_drain(exercise, why);
}

enum err exercise_flush(struct exercise *exercise, struct err_why *why)
{
	if (exercise->calm)
		write_fresh(exercise);
	return exercise_do(exercise, DISK_FLUSH, 0, 0, 0, why);
}

enum err exercise_fill(struct exercise *exercise, uint64_t within_bytes, struct err_why *why)
{
	enum err err = ERR_OK;

	for (uint64_t off = 0; off < within_bytes && !err; off += exercise->grain_bytes)
		err = exercise_do(exercise, DISK_WRITE, 0, off,
				  min_u64(exercise->grain_bytes, within_bytes - off), why);
	return err;
}

/* ---- the whole disk ---- */

struct check {
	struct disk *disk;
	struct model *model;
	bool live;
	uint64_t mark;
};

static bool check_bytes(const struct check *check, uint64_t off_bytes, const void *buf,
			uint64_t len_bytes, struct err_why *why)
{
	return check->live ? model_check_live(check->model, off_bytes, buf, len_bytes, why)
			   : model_check_after_cut(check->model, check->mark, off_bytes, buf,
						   len_bytes, why);
}

/* Everything below EAGER_BYTES is read; above, what the map calls zero is believed. */
static enum err check_next(const struct check *check, uint64_t off_bytes, uint64_t size_bytes,
			   uint64_t *len_bytes, struct err_why *why)
{
	static uint8_t buf[READ_BYTES];
	struct disk_extent extent = {.state = EXTENT_DATA};
	enum err err = ERR_OK;

	*len_bytes = min_u64(READ_BYTES, size_bytes - off_bytes);
	if (off_bytes >= EAGER_BYTES) {
		err = disk_map(check->disk, off_bytes, size_bytes - off_bytes, &extent, why);
		if (err)
			return err;
		if (extent.state == EXTENT_ZERO)
			*len_bytes = extent.len_bytes;
	}
	if (extent.state == EXTENT_DATA)
		err = disk_read(check->disk, exercise_queue(), buf, off_bytes, *len_bytes, why);
	if (err)
		return err;
	return check_bytes(check, off_bytes, extent.state == EXTENT_DATA ? buf : NULL, *len_bytes,
			   why)
		   ? ERR_OK
		   : ERR_CORRUPT;
}

static enum err check_all(const struct check *check, struct err_why *why)
{
	struct disk_info info;
	uint64_t len;

	disk_get_info(check->disk, &info);
	for (uint64_t off = 0; off < info.size_bytes; off += len) {
		enum err err = check_next(check, off, info.size_bytes, &len, why);

		if (err)
			return err;
	}
	return ERR_OK;
}

enum err exercise_check_live(struct exercise *exercise, struct err_why *why)
{
	struct disk_info info;

	disk_get_info(exercise->disk, &info);
	if (info.size_bytes != model_size(exercise->model))
		return err_set(why, ERR_CORRUPT, "the disk has %llu bytes instead of %llu",
			       (unsigned long long)info.size_bytes,
			       (unsigned long long)model_size(exercise->model));
	return check_all(
	    &(struct check){.disk = exercise->disk, .model = exercise->model, .live = true}, why);
}

enum err exercise_check_cut(struct disk *disk, struct model *model, uint64_t mark,
			    struct err_why *why)
{
	struct disk_info info;

	disk_get_info(disk, &info);
	if (!model_size_after_cut(model, mark, info.size_bytes))
		return err_set(why, ERR_CORRUPT, "the disk has %llu bytes after a cut at mark %llu",
			       (unsigned long long)info.size_bytes, (unsigned long long)mark);
	return check_all(&(struct check){.disk = disk, .model = model, .mark = mark}, why);
}
