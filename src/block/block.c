/* SPDX-License-Identifier: MIT */
#include "block/block.h"

#include "block/iov.h"
#include "util/bytes.h"

static const char *op_name(enum disk_op op)
{
	static const char *const names[] = {
	    [DISK_READ] = "read",    [DISK_WRITE] = "write", [DISK_FLUSH] = "flush",
	    [DISK_ZERO] = "zeroing", [DISK_TRIM] = "trim",
	};

	return names[op];
}

/* ---- completing ---- */

void disk_done(struct disk_req *req)
{
	queue_release(req->queue);
	req->done(req);
}

static void run_done(struct queue_work *work)
{
	disk_done(container_of(work, struct disk_req, work));
}

void disk_done_later(struct disk_req *req)
{
	req->work.run = run_done;
	queue_post(req->queue, &req->work);
}

/* ---- the contract, checked ---- */

static enum err check_range(const struct disk_info *info, uint64_t off_bytes, uint64_t len_bytes,
			    const char *what, struct err_why *why)
{
	uint64_t end;

	if ((off_bytes | len_bytes) % DISK_SECTOR)
		return err_set(why, ERR_RANGE,
			       "%s of %llu bytes at offset %llu: not whole sectors of 512 bytes",
			       what, (unsigned long long)len_bytes, (unsigned long long)off_bytes);
	if (!checked_add(off_bytes, len_bytes, &end) || end > info->size_bytes)
		return err_set(why, ERR_RANGE,
			       "%s of %llu bytes at offset %llu goes beyond the disk's end at %llu",
			       what, (unsigned long long)len_bytes, (unsigned long long)off_bytes,
			       (unsigned long long)info->size_bytes);
	return ERR_OK;
}

static enum err check_iov(const struct disk_req *req)
{
	uint64_t sum;

	if (!iov_sum(req->iov, req->iov_count, &sum) || sum != req->len_bytes)
		return err_set(req->why, ERR_USAGE,
			       "%s of %llu bytes at offset %llu: the buffers have another length",
			       op_name(req->op), (unsigned long long)req->len_bytes,
			       (unsigned long long)req->off_bytes);
	return ERR_OK;
}

static unsigned allowed_flags(enum disk_op op)
{
	if (op == DISK_WRITE)
		return DISK_FUA;
	return op == DISK_ZERO ? DISK_FUA | DISK_KEEP_SPACE : 0;
}

static enum err check(struct disk *disk, const struct disk_req *req)
{
	struct disk_info info;
	enum err err;

	if ((unsigned)req->op > DISK_TRIM)
		return err_set(req->why, ERR_USAGE, "unknown disk operation %u", (unsigned)req->op);
	if (req->flags & ~allowed_flags(req->op))
		return err_set(req->why, ERR_USAGE, "flags %#x mean nothing for a %s", req->flags,
			       op_name(req->op));
	if (req->op == DISK_FLUSH)
		return ERR_OK;
	disk->ops->info(disk, &info);
	if (req->op != DISK_READ && !info.writable)
		return err_set(req->why, ERR_READONLY, "%s: the disk is read-only",
			       op_name(req->op));
	err = check_range(&info, req->off_bytes, req->len_bytes, op_name(req->op), req->why);
	if (err == ERR_OK && (req->op == DISK_READ || req->op == DISK_WRITE))
		err = check_iov(req);
	return err;
}

void disk_submit(struct disk *disk, struct queue *queue, struct disk_req *req)
{
	bool empty = !req->len_bytes && req->op != DISK_FLUSH;

	req->queue = queue;
	queue_hold(queue);
	req->result = check(disk, req);
	if (req->result == ERR_OK && !empty)
		disk->ops->submit(disk, queue, req);
	else
		disk_done_later(req);
}

enum err disk_map(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
		  struct disk_extent *out, struct err_why *why)
{
	struct disk_info info;
	enum err err;

	disk->ops->info(disk, &info);
	err = check_range(&info, off_bytes, len_bytes, "map", why);
	if (err != ERR_OK)
		return err;
	if (!len_bytes)
		return err_set(why, ERR_USAGE, "map of an empty range at offset %llu",
			       (unsigned long long)off_bytes);
	return disk->ops->map(disk, off_bytes, len_bytes, out, why);
}

void disk_get_info(struct disk *disk, struct disk_info *out)
{
	disk->ops->info(disk, out);
}

enum err disk_close(struct disk *disk, struct err_why *why)
{
	return disk ? disk->ops->close(disk, why) : ERR_OK;
}

/* ---- synchronous wrappers ---- */

static void mark_done(struct disk_req *req)
{
	*(bool *)req->owner = true;
}

static enum err run(struct disk *disk, struct queue *queue, enum disk_op op,
		    const struct iovec *iov, uint64_t off_bytes, uint64_t len_bytes,
		    struct err_why *why)
{
	bool done = false;
	struct disk_req req = {
	    .op = op,
	    .off_bytes = off_bytes,
	    .len_bytes = len_bytes,
	    .iov = iov,
	    .iov_count = iov ? 1 : 0,
	    .done = mark_done,
	    .owner = &done,
	    .why = why,
	};

	disk_submit(disk, queue, &req);
	while (!done)
		queue_wait(queue);
	return req.result;
}

enum err disk_read(struct disk *disk, struct queue *queue, void *buf, uint64_t off_bytes,
		   uint64_t len_bytes, struct err_why *why)
{
	struct iovec iov = {buf, (size_t)len_bytes};

	return run(disk, queue, DISK_READ, &iov, off_bytes, len_bytes, why);
}

enum err disk_write(struct disk *disk, struct queue *queue, const void *buf, uint64_t off_bytes,
		    uint64_t len_bytes, struct err_why *why)
{
	struct iovec iov = {(void *)(uintptr_t)buf, (size_t)len_bytes};

	return run(disk, queue, DISK_WRITE, &iov, off_bytes, len_bytes, why);
}

enum err disk_zero(struct disk *disk, struct queue *queue, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why)
{
	return run(disk, queue, DISK_ZERO, NULL, off_bytes, len_bytes, why);
}

enum err disk_trim(struct disk *disk, struct queue *queue, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why)
{
	return run(disk, queue, DISK_TRIM, NULL, off_bytes, len_bytes, why);
}

enum err disk_flush(struct disk *disk, struct queue *queue, struct err_why *why)
{
	return run(disk, queue, DISK_FLUSH, NULL, 0, 0, why);
}
