/* SPDX-License-Identifier: MIT */
#include "block/file.h"

#include <stdio.h>

#include "block/iov.h"
#include "block/queue.h"
#include "util/bytes.h"
#include "util/text.h"

/*
 * The boundary: requests and names are checked here, once, so that backends may trust them. What
 * needs no work - nothing to move - ends here too.
 */

#define OPEN_FLAGS (FILE_OPEN_RDWR | FILE_OPEN_CREATE | FILE_OPEN_DIRECT | FILE_OPEN_NOFOLLOW)

static const char *const op_names[] = {
    [FILE_READ] = "reading",
    [FILE_WRITE] = "writing",
    [FILE_SYNC] = "syncing",
    [FILE_ZERO] = "zeroing",
    [FILE_PUNCH] = "punching out",
    [FILE_ALLOCATE] = "reserving",
    [FILE_TRUNCATE] = "setting the size",
};

static const char *const event_names[EV_COUNT] = {
    [EV_DATA] = "data",
    [EV_FOOTER] = "footer",
    [EV_FOOTER_COPY] = "footer copy",
    [EV_HEADER] = "header",
    [EV_BAT] = "BAT",
    [EV_BITMAP] = "bitmap",
    [EV_LOCATOR] = "parent locator",
    [EV_BATMAP] = "batmap",
    [EV_SPACE] = "space",
    [EV_INTENT] = "intent record",
    [EV_MOVE] = "moved data",
    [EV_CATALOGUE] = "catalogue",
};

static bool is_transfer(const struct file_req *req)
{
	return req->op == FILE_READ || req->op == FILE_WRITE;
}

static bool is_empty(const struct file_req *req)
{
	return req->len_bytes == 0 && req->op != FILE_SYNC && req->op != FILE_TRUNCATE;
}

static enum err check(const struct file_req *req)
{
	uint64_t end, sum;

	if ((unsigned)req->op >= ARRAY_LEN(op_names) || (unsigned)req->event >= EV_COUNT)
		return ERR_USAGE;
	if (is_transfer(req)) {
		if (!iov_sum(req->iov, req->iov_count, &sum) || sum != req->len_bytes)
			return ERR_USAGE;
	} else if (req->op == FILE_SYNC) {
		return ERR_OK;
	}
	/* off_t is signed. */
	if (!checked_add(req->off_bytes, req->len_bytes, &end) || end > INT64_MAX)
		return ERR_RANGE;
	return ERR_OK;
}

/* Returns whether there is anything left to do; if not, the result is set. */
static bool prepare(struct file *file, struct file_req *req)
{
	req->file = file;
	req->next = NULL;
	req->fd = NULL;
	req->moved_bytes = 0;
	req->bounce = NULL;
	req->sys_errno = 0;
	req->result = check(req);
	return req->result == ERR_OK && !is_empty(req);
}

void file_submit(struct file *file, struct queue *queue, struct file_req *req)
{
	if (!prepare(file, req)) {
		queue_complete(queue, req);
	} else if (file->ops->submit) {
		file->ops->submit(file, queue, req);
	} else {
		file->ops->run(file, req);
		queue_complete(queue, req);
	}
}

/* ---- synchronous helpers ---- */

/* "writing 512 bytes of BAT at 0x600" */
static void describe(const struct file_req *req, char *out, size_t out_bytes)
{
	unsigned long long off = req->off_bytes, len = req->len_bytes;
	const char *op = op_names[req->op];

	if (req->op == FILE_SYNC)
		snprintf(out, out_bytes, "%s", op);
	else if (req->op == FILE_TRUNCATE)
		snprintf(out, out_bytes, "%s to %llu bytes", op, off);
	else
		snprintf(out, out_bytes, "%s %llu bytes of %s at 0x%llx", op, len,
			 req->event < EV_COUNT ? event_names[req->event] : "?", off);
}

enum err file_req_explain(const struct file_req *req, struct err_why *why)
{
	char path[200], what[100];

	if (!why)
		return req->result;
	text_escape(req->file->path, path, sizeof(path));
	describe(req, what, sizeof(what));
	if (req->sys_errno)
		err_sys(why, req->sys_errno, "%s: %s", path, what);
	else
		err_set(why, req->result, "%s: %s: %s", path, what, err_name(req->result));
	why->code = req->result;
	return req->result;
}

static enum err run(struct file *file, struct file_req *req, struct err_why *why)
{
	if (prepare(file, req))
		file->ops->run(file, req);
	return req->result == ERR_OK ? ERR_OK : file_req_explain(req, why);
}

static enum err run_transfer(struct file *file, enum file_op op, enum file_event event, void *buf,
			     uint64_t off_bytes, uint64_t len_bytes, struct err_why *why)
{
	struct iovec iov = {buf, (size_t)len_bytes};
	struct file_req req = {.op = op,
			       .event = event,
			       .off_bytes = off_bytes,
			       .len_bytes = len_bytes,
			       .iov = &iov,
			       .iov_count = 1};

	return run(file, &req, why);
}

static enum err run_range(struct file *file, enum file_op op, enum file_event event,
			  uint64_t off_bytes, uint64_t len_bytes, struct err_why *why)
{
	struct file_req req = {
	    .op = op, .event = event, .off_bytes = off_bytes, .len_bytes = len_bytes};

	return run(file, &req, why);
}

enum err file_read(struct file *file, enum file_event event, void *buf, uint64_t off_bytes,
		   uint64_t len_bytes, struct err_why *why)
{
	return run_transfer(file, FILE_READ, event, buf, off_bytes, len_bytes, why);
}

enum err file_write(struct file *file, enum file_event event, const void *buf, uint64_t off_bytes,
		    uint64_t len_bytes, struct err_why *why)
{
	/* An iovec serves both directions and so cannot say const; a write only reads from it. */
	return run_transfer(file, FILE_WRITE, event, (void *)buf, off_bytes, len_bytes, why);
}

enum err file_sync(struct file *file, struct err_why *why)
{
	return run_range(file, FILE_SYNC, EV_DATA, 0, 0, why);
}

enum err file_zero(struct file *file, enum file_event event, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why)
{
	return run_range(file, FILE_ZERO, event, off_bytes, len_bytes, why);
}

enum err file_punch(struct file *file, uint64_t off_bytes, uint64_t len_bytes, struct err_why *why)
{
	return run_range(file, FILE_PUNCH, EV_SPACE, off_bytes, len_bytes, why);
}

enum err file_allocate(struct file *file, uint64_t off_bytes, uint64_t len_bytes,
		       struct err_why *why)
{
	return run_range(file, FILE_ALLOCATE, EV_SPACE, off_bytes, len_bytes, why);
}

enum err file_truncate(struct file *file, uint64_t size_bytes, struct err_why *why)
{
	return run_range(file, FILE_TRUNCATE, EV_SPACE, size_bytes, 0, why);
}

/* ---- the rest of a file ---- */

enum err file_get_info(struct file *file, struct file_info *out, struct err_why *why)
{
	return file->ops->info(file, out, why);
}

enum err file_lock(struct file *file, enum file_lock mode, struct err_why *why)
{
	return file->ops->lock ? file->ops->lock(file, mode, why) : ERR_OK;
}

enum err file_sync_all(struct file *file, struct err_why *why)
{
	return file->ops->sync_all ? file->ops->sync_all(file, why) : file_sync(file, why);
}

enum err file_lock_range(struct file *file, uint64_t off_bytes, uint64_t len_bytes,
			 enum file_lock mode, struct err_why *why)
{
	if (!file->ops->lock_range)
		return ERR_OK;
	return file->ops->lock_range(file, off_bytes, len_bytes, mode, why);
}

enum err file_close(struct file *file, struct err_why *why)
{
	return file ? file->ops->close(file, why) : ERR_OK;
}

/* ---- names ---- */

static enum err check_path(const char *path, struct err_why *why)
{
	if (!path || !*path)
		return err_set(why, ERR_USAGE, "an empty file name");
	return ERR_OK;
}

enum err file_ns_open(struct file_ns *ns, const char *path, unsigned flags, struct file **out,
		      struct err_why *why)
{
	enum err err = check_path(path, why);

	*out = NULL;
	if (err)
		return err;
	if (flags & ~(unsigned)OPEN_FLAGS)
		return err_set(why, ERR_USAGE, "%s: unknown open flags 0x%x", path, flags);
	if (flags & FILE_OPEN_CREATE)
		flags |= FILE_OPEN_RDWR;
	return ns->ops->open(ns, path, flags, out, why);
}

enum err file_ns_unlink(struct file_ns *ns, const char *path, struct err_why *why)
{
	enum err err = check_path(path, why);

	return err ? err : ns->ops->unlink(ns, path, why);
}

enum err file_ns_rename(struct file_ns *ns, const char *from, const char *to, struct err_why *why)
{
	enum err err = check_path(from, why);

	if (!err)
		err = check_path(to, why);
	return err ? err : ns->ops->rename(ns, from, to, why);
}

enum err file_ns_sync_dir(struct file_ns *ns, const char *path, struct err_why *why)
{
	enum err err = check_path(path, why);

	return err ? err : ns->ops->sync_dir(ns, path, why);
}

enum err file_ns_list(struct file_ns *ns, const char *dir,
		      bool (*each)(void *arg, const char *name), void *arg, struct err_why *why)
{
	enum err err = check_path(dir, why);

	return err ? err : ns->ops->list(ns, dir, each, arg, why);
}

enum err file_ns_info(struct file_ns *ns, const char *path, struct file_info *out,
		      struct err_why *why)
{
	struct file *file;
	enum err err = check_path(path, why);

	if (err)
		return err;
	if (ns->ops->info)
		return ns->ops->info(ns, path, out, why);
	err = ns->ops->open(ns, path, FILE_OPEN_NOFOLLOW, &file, why);
	if (err)
		return err;
	err = file_get_info(file, out, why);
	file_close(file, NULL);
	return err;
}

enum err file_ns_mkdir(struct file_ns *ns, const char *path, struct err_why *why)
{
	enum err err = check_path(path, why);

	return err || !ns->ops->mkdir ? err : ns->ops->mkdir(ns, path, why);
}

enum err file_ns_rmdir(struct file_ns *ns, const char *path, struct err_why *why)
{
	enum err err = check_path(path, why);

	return err || !ns->ops->rmdir ? err : ns->ops->rmdir(ns, path, why);
}
