/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "block/iov.h"
#include "block/mem_ns.h"
#include "block/queue.h"
#include "util/bytes.h"

/* An open file. */
struct handle {
	struct file base;
	struct mem_ns *ns;
	struct mem_inode *inode;
	enum file_lock held;
	bool writable;
};

static struct handle *handle_of(struct file *file)
{
	return container_of(file, struct handle, base);
}

/* ---- requests ---- */

static enum mem_event_kind kind_of(enum file_op op)
{
	switch (op) {
	case FILE_WRITE:
		return MEM_WRITE;
	case FILE_ALLOCATE:
		return MEM_ALLOCATE;
	case FILE_TRUNCATE:
		return MEM_TRUNCATE;
	default:
		return MEM_ZERO;
	}
}

static void read_content(const struct mem_inode *inode, const struct file_req *req)
{
	uint64_t off = req->off_bytes;

	for (unsigned i = 0; i < req->iov_count; i++) {
		pages_read(&inode->pages, off, req->iov[i].iov_base, req->iov[i].iov_len);
		off += req->iov[i].iov_len;
	}
}

/* Change the file and record how; what is recorded has not ended yet. */
static enum err change_content(struct handle *handle, const struct file_req *req)
{
	struct mem_log *log = &handle->ns->log;
	struct mem_inode *inode = handle->inode;
	struct mem_event event = {.kind = kind_of(req->op),
				  .what = req->event,
				  .file_id = inode->id,
				  .off_bytes = req->off_bytes,
				  .len_bytes = req->len_bytes,
				  .begun = log->clock++,
				  .ended = UINT64_MAX};

	if (!handle->writable)
		return ERR_READONLY;
	if (!mem_log_reserve(log, 2))
		return ERR_NOMEM;
	if (req->op == FILE_WRITE) {
		event.data = malloc(req->len_bytes);
		if (!event.data)
			return ERR_NOMEM;
		iov_gather(req->iov, req->iov_count, event.data);
	}
	if (!mem_inode_apply(inode, &event)) {
		mem_event_release(&event);
		return ERR_NOMEM;
	}
	mem_log_add(log, event);
	if (req->op == FILE_ZERO && req->off_bytes + req->len_bytes > inode->size_bytes) {
		event.kind = MEM_ALLOCATE;
		mem_inode_apply(inode, &event);
		mem_log_add(log, event);
	}
	return ERR_OK;
}

/*
 * A request takes effect when it begins, because from then on it may be on the disk; it counts as
 * complete for a sync only when its owner is told. Between the two, `moved_bytes` holds when a
 * sync began, or where in the log the events of another request start.
 */
#define NOT_LOGGED UINT64_MAX

static void begin(struct handle *handle, struct file_req *req)
{
	struct mem_log *log = &handle->ns->log;
	size_t first = log->count;

	req->moved_bytes = NOT_LOGGED;
	switch (req->op) {
	case FILE_READ:
		read_content(handle->inode, req);
		break;
	case FILE_SYNC:
		req->moved_bytes = log->clock++;
		break;
	default:
		req->result = change_content(handle, req);
		if (log->count > first)
			req->moved_bytes = first;
		break;
	}
}

static enum err log_sync(struct handle *handle, const struct file_req *req)
{
	struct mem_log *log = &handle->ns->log;

	if (!mem_log_reserve(log, 1))
		return ERR_NOMEM;
	mem_log_add(log, (struct mem_event){.kind = MEM_SYNC,
					    .what = req->event,
					    .file_id = handle->inode->id,
					    .begun = req->moved_bytes,
					    .ended = log->clock++});
	return ERR_OK;
}

static void end(struct handle *handle, struct file_req *req)
{
	struct mem_log *log = &handle->ns->log;

	if (req->op == FILE_SYNC) {
		req->result = log_sync(handle, req);
	} else if (req->moved_bytes < log->count) {
		struct mem_event *event = &log->event[req->moved_bytes];
		struct mem_event *past = log->event + log->count;
		uint64_t begun = event->begun, now = log->clock++;

		for (; event < past && event->begun == begun; event++)
			event->ended = now;
	}
}

static enum err mem_run(struct file *file, struct file_req *req)
{
	struct handle *handle = handle_of(file);

	pthread_mutex_lock(&handle->ns->lock);
	begin(handle, req);
	end(handle, req);
	pthread_mutex_unlock(&handle->ns->lock);
	return req->result;
}

static void deliver(struct file_req *req)
{
	struct handle *handle = handle_of(req->file);

	pthread_mutex_lock(&handle->ns->lock);
	end(handle, req);
	pthread_mutex_unlock(&handle->ns->lock);
	req->done = (void (*)(struct file_req *))req->bounce;
	req->bounce = NULL;
	req->done(req);
}

static void mem_submit(struct file *file, struct queue *queue, struct file_req *req)
{
	struct handle *handle = handle_of(file);

	pthread_mutex_lock(&handle->ns->lock);
	begin(handle, req);
	pthread_mutex_unlock(&handle->ns->lock);
	/* POSIX lets a data pointer carry the address of a function. */
	req->bounce = (void *)req->done;
	req->done = deliver;
	queue_complete(queue, req);
}

/* ---- the rest of a file ---- */

static enum err mem_info(struct file *file, struct file_info *out, struct err_why *why)
{
	struct handle *handle = handle_of(file);

	(void)why;
	pthread_mutex_lock(&handle->ns->lock);
	*out = (struct file_info){.size_bytes = handle->inode->size_bytes,
				  .dev = 1,
				  .ino = (ino_t)handle->inode->id + 1,
				  .writable = handle->writable,
				  .can_punch = true,
				  .align_off_bytes = 1,
				  .align_mem_bytes = 1};
	pthread_mutex_unlock(&handle->ns->lock);
	return ERR_OK;
}

static enum err mem_map_data(struct file *file, uint64_t off_bytes, bool *is_data,
			     uint64_t *end_bytes, struct err_why *why)
{
	struct handle *handle = handle_of(file);

	(void)why;
	pthread_mutex_lock(&handle->ns->lock);
	*is_data = pages_has_data(&handle->inode->pages, off_bytes, end_bytes);
	pthread_mutex_unlock(&handle->ns->lock);
	return ERR_OK;
}

static void drop_lock(struct handle *handle)
{
	if (handle->held == FILE_LOCK_READ)
		handle->inode->readers--;
	if (handle->held == FILE_LOCK_WRITE)
		handle->inode->writer = false;
	handle->held = FILE_UNLOCKED;
}

static enum err mem_lock(struct file *file, int mode, struct err_why *why)
{
	struct handle *handle = handle_of(file);
	struct mem_inode *inode = handle->inode;
	bool other_writer, other_readers;
	enum err err = ERR_OK;

	pthread_mutex_lock(&handle->ns->lock);
	other_writer = inode->writer && handle->held != FILE_LOCK_WRITE;
	other_readers = inode->readers > (handle->held == FILE_LOCK_READ);
	if ((mode != FILE_UNLOCKED && other_writer) || (mode == FILE_LOCK_WRITE && other_readers)) {
		err = err_set(why, ERR_LOCKED, "%s is open elsewhere", file->path);
	} else {
		drop_lock(handle);
		inode->readers += mode == FILE_LOCK_READ;
		inode->writer |= mode == FILE_LOCK_WRITE;
		handle->held = (enum file_lock)mode;
	}
	pthread_mutex_unlock(&handle->ns->lock);
	return err;
}

static enum err mem_close(struct file *file, struct err_why *why)
{
	struct handle *handle = handle_of(file);
	struct mem_ns *ns = handle->ns;

	(void)why;
	pthread_mutex_lock(&ns->lock);
	drop_lock(handle);
	handle->inode->handles--;
	mem_inode_settle(ns, handle->inode);
	pthread_mutex_unlock(&ns->lock);
	mem_file_free(file);
	return ERR_OK;
}

static const struct file_ops file_ops = {
    .name = "memory",
    .run = mem_run,
    .submit = mem_submit,
    .info = mem_info,
    .lock = mem_lock,
    .map_data = mem_map_data,
    .close = mem_close,
};

struct file *mem_file_new(struct mem_ns *ns, const char *path, bool writable)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	handle->base = (struct file){.ops = &file_ops, .path = strdup(path)};
	handle->ns = ns;
	handle->writable = writable;
	if (!handle->base.path) {
		free(handle);
		return NULL;
	}
	return &handle->base;
}

void mem_file_free(struct file *file)
{
	free(file->path);
	free(handle_of(file));
}

void mem_file_attach(struct file *file, struct mem_inode *inode)
{
	handle_of(file)->inode = inode;
	inode->handles++;
}
