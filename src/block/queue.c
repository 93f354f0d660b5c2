/* SPDX-License-Identifier: MIT */
#include "block/queue.h"

#include <errno.h>
#include <limits.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/file.h"
#include "block/fixed_files.h"
#include "block/iov.h"
#include "block/queue_ring.h"
#include "block/queue_watch.h"
#include "util/bytes.h"

/*
 * A file request is in one of four places: the backlog (the ring is full), the ring, the finished
 * list (queue_complete), or its owner's hands. At most `depth` are in the ring and the ring has one
 * more entry than that, for the poll that wakes the queue, and some for watches: so the completion
 * ring, twice as large, does not overflow in any use we make of it.
 */
#define SPARE_ENTRIES 8
#define MAX_DEPTH     4096
/* The kernel moves a little less than 2 GiB at once; this keeps the rest aligned. */
#define MAX_TRANSFER (1u << 30)

struct req_list {
	struct file_req *head, **tail;
	unsigned count;
};

struct work_list {
	struct queue_work *head, **tail;
	unsigned count;
};

struct queue {
	struct io_uring ring;
	struct fixed_table files;
	unsigned depth;
	unsigned in_ring;
	unsigned pending;
	unsigned held;
	struct req_list backlog;
	struct req_list finished;
	struct work_list work; /* posted by this thread, or taken over from `posted` */
	struct watch_list watches;
	pthread_t owner;
	bool reserved; /* goes back to where it came from */
	struct queue *next_free;

	int wake_fd; /* eventfd, polled by the ring: written when `posted` stops being empty */
	pthread_mutex_t lock;
	struct work_list posted; /* guarded by lock */
};

static void req_list_init(struct req_list *list)
{
	*list = (struct req_list){.tail = &list->head};
}

static void req_list_add(struct req_list *list, struct file_req *req)
{
	req->next = NULL;
	*list->tail = req;
	list->tail = &req->next;
	list->count++;
}

static struct file_req *req_list_take(struct req_list *list)
{
	struct file_req *req = list->head;

	list->head = req->next;
	if (!list->head)
		list->tail = &list->head;
	list->count--;
	return req;
}

static void work_list_init(struct work_list *list)
{
	*list = (struct work_list){.tail = &list->head};
}

static void work_list_add(struct work_list *list, struct queue_work *work)
{
	work->next = NULL;
	*list->tail = work;
	list->tail = &work->next;
	list->count++;
}

static struct queue_work *work_list_take(struct work_list *list)
{
	struct queue_work *work = list->head;

	list->head = work->next;
	if (!list->head)
		list->tail = &list->head;
	list->count--;
	return work;
}

/* ---- the ring ---- */

/* Hand what is batched to the kernel, run its deferred work, wait for `wait_count` completions. */
static void enter(struct queue *queue, unsigned wait_count)
{
	int n = io_uring_submit_and_wait(&queue->ring, wait_count);

	/* Anything else means the ring itself is broken: no request could ever complete. */
	if (n < 0 && n != -EINTR && n != -EAGAIN && n != -EBUSY)
		abort();
}

static struct io_uring_sqe *get_sqe(struct queue *queue)
{
	struct io_uring_sqe *sqe;

	/* Entries are taken when the kernel has consumed them, not when they complete. */
	while (!(sqe = io_uring_get_sqe(&queue->ring)))
		enter(queue, 0);
	return sqe;
}

static void watch_wake_fd(struct queue *queue)
{
	struct io_uring_sqe *sqe = get_sqe(queue);

	io_uring_prep_poll_add(sqe, queue->wake_fd, POLLIN);
	io_uring_sqe_set_data(sqe, queue);
	enter(queue, 0);
}

static void wake(struct queue *queue)
{
	uint64_t one = 1;

	/* Can only fail when the counter is full, and then the queue is awake anyway. */
	while (write(queue->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void woken(struct queue *queue)
{
	uint64_t count;

	/* Empty the counter first: what is posted after the list was emptied wakes again. */
	while (read(queue->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&queue->lock);
	while (queue->posted.head)
		work_list_add(&queue->work, work_list_take(&queue->posted));
	pthread_mutex_unlock(&queue->lock);
	watch_wake_fd(queue);
}

static void arm(struct queue *queue, struct watch *watch)
{
	watch_prep(watch, get_sqe(queue));
}

/* Returns how many `work` ran. */
static unsigned watched(struct queue *queue, struct watch *watch)
{
	struct queue_work *work = watch->work;

	watch->armed = false;
	if (work)
		work->run(work);
	if (watch->work)
		arm(queue, watch);
	else
		watch_free(&queue->watches, watch);
	return work ? 1 : 0;
}

static void prep_transfer(struct io_uring_sqe *sqe, const struct file_req *req, int fd)
{
	uint64_t off = req->off_bytes + req->moved_bytes;
	struct iovec one = {req->bounce, (size_t)req->len_bytes};
	const struct iovec *iov = req->bounce ? &one : req->iov;
	unsigned count = req->bounce ? 1 : req->iov_count;
	size_t within = 0;

	if (req->moved_bytes || count > 1) {
		unsigned skip = iov_seek(iov, count, req->moved_bytes, &within);

		iov += skip;
		count -= skip;
	}
	if (count > 1 && !within) {
		unsigned n = count < IOV_MAX ? count : IOV_MAX;

		if (req->op == FILE_READ)
			io_uring_prep_readv(sqe, fd, iov, n, off);
		else
			io_uring_prep_writev(sqe, fd, iov, n, off);
	} else {
		/* In the middle of an element: finish it alone, so nothing has to be copied. */
		char *base = (char *)iov->iov_base + within;
		unsigned len = (unsigned)min_u64(iov->iov_len - within, MAX_TRANSFER);

		if (req->op == FILE_READ)
			io_uring_prep_read(sqe, fd, base, len, off);
		else
			io_uring_prep_write(sqe, fd, base, len, off);
	}
}

static int fallocate_mode(enum file_op op)
{
	switch (op) {
	case FILE_ZERO:
		return FALLOC_FL_ZERO_RANGE;
	case FILE_PUNCH:
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	default:
		return 0;
	}
}

/* Put `req` into the ring. */
static void issue(struct queue *queue, struct file_req *req)
{
	struct io_uring_sqe *sqe = get_sqe(queue);
	int slot = fixed_slot(&queue->files, req->fd);
	int fd = slot < 0 ? req->fd->fd : slot;

	switch (req->op) {
	case FILE_READ:
	case FILE_WRITE:
		prep_transfer(sqe, req, fd);
		break;
	case FILE_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	default:
		io_uring_prep_fallocate(sqe, fd, fallocate_mode(req->op), (off_t)req->off_bytes,
					(off_t)req->len_bytes);
		break;
	}
	if (slot >= 0)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, req);
	queue->in_ring++;
}

/* ---- results ---- */

static void fail(struct file_req *req, int sys_errno)
{
	req->result = err_from_errno(sys_errno);
	req->sys_errno = sys_errno;
}

static void drop_bounce(struct file_req *req)
{
	if (req->op == FILE_READ && req->result == ERR_OK)
		iov_scatter(req->iov, req->iov_count, req->bounce);
	free(req->bounce);
	req->bounce = NULL;
}

static void zero_rest(struct file_req *req)
{
	struct iovec one = {req->bounce, (size_t)req->len_bytes};

	if (req->bounce)
		iov_zero_from(&one, 1, req->moved_bytes);
	else
		iov_zero_from(req->iov, req->iov_count, req->moved_bytes);
}

/* Returns true when `req` is done, false when it has to go into the ring again. */
static bool settle_transfer(struct file_req *req, int res)
{
	if (res == -EINVAL && req->fd->rest != req->fd) {
		/* The file system takes less alignment than it said. */
		req->fd = req->fd->rest;
		return false;
	}
	if (res < 0) {
		fail(req, -res);
		return true;
	}
	req->moved_bytes += (unsigned)res;
	req->fd = req->fd->rest; /* what is left need not be aligned any more */
	if (req->moved_bytes < req->len_bytes && res)
		return false;
	if (req->moved_bytes == req->len_bytes) {
		req->result = ERR_OK;
	} else if (req->op == FILE_READ) {
		zero_rest(req);
		req->result = ERR_OK;
	} else {
		fail(req, EIO);
	}
	return true;
}

static bool is_transfer(const struct file_req *req)
{
	return req->op == FILE_READ || req->op == FILE_WRITE;
}

static bool settle(struct file_req *req, int res)
{
	if (res == -EINTR || res == -EAGAIN)
		return false;
	if (is_transfer(req))
		return settle_transfer(req, res);
	if (!res)
		req->result = ERR_OK;
	else if (req->op == FILE_SYNC)
		fail(req, -res);
	else
		/* Perhaps not a thing this file system can do: the backend has other ways. */
		req->file->ops->run(req->file, req);
	return true;
}

/* Returns how many `done` ran. */
static unsigned completed(struct queue *queue, struct file_req *req, int res)
{
	queue->in_ring--;
	if (res > 0 && (unsigned)res == req->len_bytes && is_transfer(req)) {
		req->result = ERR_OK;
	} else if (!settle(req, res)) {
		issue(queue, req);
		return 0;
	}
	if (queue->backlog.head)
		issue(queue, req_list_take(&queue->backlog));
	if (req->bounce)
		drop_bounce(req);
	queue->pending--;
	req->done(req);
	return 1;
}

/*
 * Run what is there at the start, not what that adds: so a caller gets its turn. One entry at a
 * time, because a `done` may wait on this queue for a request of its own.
 */
static unsigned run_completions(struct queue *queue)
{
	unsigned left = io_uring_cq_ready(&queue->ring);
	unsigned ran = 0;
	struct io_uring_cqe *cqe;

	while (left-- && io_uring_cq_ready(&queue->ring) &&
	       !io_uring_peek_cqe(&queue->ring, &cqe)) {
		void *data = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&queue->ring, cqe);
		if (data == queue)
			woken(queue);
		else if (watch_of(data))
			ran += watched(queue, watch_of(data));
		else if (data) /* NULL: a watch was cancelled */
			ran += completed(queue, data, res);
	}
	return ran;
}

static unsigned run_local(struct queue *queue)
{
	unsigned reqs = queue->finished.count;
	unsigned works = queue->work.count;
	unsigned ran = 0;

	for (; reqs && queue->finished.head; reqs--, ran++) {
		struct file_req *req = req_list_take(&queue->finished);

		queue->pending--;
		req->done(req);
	}
	for (; works && queue->work.head; works--, ran++) {
		struct queue_work *work = work_list_take(&queue->work);

		work->run(work);
	}
	return ran;
}

static unsigned run_all(struct queue *queue)
{
	unsigned ran = run_completions(queue);

	if (queue->finished.head || queue->work.head)
		ran += run_local(queue);
	return ran;
}

static bool has_work(struct queue *queue)
{
	return queue->finished.head || queue->work.head || io_uring_cq_ready(&queue->ring);
}

static bool is_idle(struct queue *queue)
{
	bool posted;

	if (queue->pending || queue->held || queue->work.head || queue->watches.count)
		return false;
	pthread_mutex_lock(&queue->lock);
	posted = queue->posted.head != NULL;
	pthread_mutex_unlock(&queue->lock);
	return !posted;
}

/* ---- the contract ---- */

static enum err make_queue(unsigned depth, struct queue **out, struct err_why *why)
{
	struct queue *queue = calloc(1, sizeof(*queue));
	enum err err;
	int rc;

	if (!queue)
		return err_set(why, ERR_NOMEM, "no memory for an I/O queue");
	queue->depth = depth < 1 ? 1 : depth > MAX_DEPTH ? MAX_DEPTH : depth;
	req_list_init(&queue->backlog);
	req_list_init(&queue->finished);
	work_list_init(&queue->work);
	work_list_init(&queue->posted);

	queue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->wake_fd < 0) {
		err = err_sys(why, errno, "cannot create an event descriptor");
		goto fail_free;
	}
	rc = ring_open(&queue->ring, queue->depth + SPARE_ENTRIES);
	if (rc == -ENOSYS || rc == -EPERM) {
		err = err_set(why, ERR_UNSUPPORTED,
			      "this system has no io_uring, or it is switched off");
		goto fail_fd;
	}
	if (rc < 0) {
		err = err_sys(why, -rc, "cannot create an io_uring of %u entries", queue->depth);
		goto fail_fd;
	}
	pthread_mutex_init(&queue->lock, NULL);
	fixed_table_open(&queue->files, queue->ring.ring_fd);
	watch_wake_fd(queue);
	*out = queue;
	return ERR_OK;

fail_fd:
	close(queue->wake_fd);
fail_free:
	free(queue);
	return err;
}

static void free_queue(struct queue *queue)
{
	fixed_table_close(&queue->files);
	io_uring_queue_exit(&queue->ring);
	watch_free_all(&queue->watches);
	close(queue->wake_fd);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

/*
 * Queues that were made ahead. One that is given back keeps its ring, and what the kernel has still
 * to say of ended watches is dealt with by its next owner.
 */
static struct {
	pthread_mutex_t lock; /* guards the rest */
	struct queue *free;
} reserve = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void put_reserved(struct queue *queue)
{
	pthread_mutex_lock(&reserve.lock);
	queue->next_free = reserve.free;
	reserve.free = queue;
	pthread_mutex_unlock(&reserve.lock);
}

/* NULL: none that is large enough. */
static struct queue *take_reserved(unsigned depth)
{
	struct queue **link = &reserve.free, *queue;

	pthread_mutex_lock(&reserve.lock);
	while (*link && (*link)->depth < depth)
		link = &(*link)->next_free;
	queue = *link;
	if (queue)
		*link = queue->next_free;
	pthread_mutex_unlock(&reserve.lock);
	return queue;
}

enum err queue_reserve(unsigned count, unsigned depth, struct err_why *why)
{
	for (unsigned i = 0; i < count; i++) {
		struct queue *queue;
		enum err err = make_queue(depth, &queue, why);

		if (err)
			return err;
		queue->reserved = true;
		put_reserved(queue);
	}
	return ERR_OK;
}

enum err queue_create(unsigned depth, struct queue **out, struct err_why *why)
{
	struct queue *queue = take_reserved(depth);
	enum err err = queue ? ERR_OK : make_queue(depth, &queue, why);

	if (err)
		return err;
	queue->owner = pthread_self();
	*out = queue;
	return ERR_OK;
}

void queue_destroy(struct queue *queue)
{
	if (!queue)
		return;
	if (queue->reserved)
		put_reserved(queue);
	else
		free_queue(queue);
}

void queue_flush(struct queue *queue)
{
	enter(queue, 0);
	/* What waits in user space does not show on the ring's descriptor. */
	if (queue->finished.head || queue->work.head)
		wake(queue);
}

unsigned queue_poll(struct queue *queue)
{
	enter(queue, 0);
	return run_all(queue);
}

unsigned queue_wait(struct queue *queue)
{
	for (;;) {
		unsigned ran;

		if (is_idle(queue))
			return 0;
		enter(queue, has_work(queue) ? 0 : 1);
		ran = run_all(queue);
		if (ran)
			return ran;
	}
}

unsigned queue_pending(const struct queue *queue)
{
	return queue->pending;
}

int queue_fd(const struct queue *queue)
{
	return queue->ring.ring_fd;
}

void queue_post(struct queue *queue, struct queue_work *work)
{
	bool was_empty;

	if (pthread_equal(queue->owner, pthread_self())) {
		work_list_add(&queue->work, work);
		return;
	}
	pthread_mutex_lock(&queue->lock);
	was_empty = !queue->posted.head;
	work_list_add(&queue->posted, work);
	/* Under the lock: once `work` may run, the queue may be destroyed. */
	if (was_empty)
		wake(queue);
	pthread_mutex_unlock(&queue->lock);
}

enum err queue_watch(struct queue *queue, int fd, struct queue_work *work, struct err_why *why)
{
	struct watch *watch;
	enum err err = watch_add(&queue->watches, fd, work, &watch, why);

	if (err == ERR_OK)
		arm(queue, watch);
	return err;
}

void queue_unwatch(struct queue *queue, struct queue_work *work)
{
	struct watch *watch = watch_find(&queue->watches, work);

	if (!watch)
		return;
	watch_end(&queue->watches, watch);
	if (!watch->armed)
		return; /* we are inside its work */
	watch_prep_cancel(watch, get_sqe(queue));
	enter(queue, 0); /* so that the kernel lets go of the descriptor */
}

void queue_hold(struct queue *queue)
{
	queue->held++;
}

void queue_release(struct queue *queue)
{
	queue->held--;
}

void queue_complete(struct queue *queue, struct file_req *req)
{
	queue->pending++;
	req_list_add(&queue->finished, req);
}

void queue_start(struct queue *queue, struct file_req *req)
{
	queue->pending++;
	if (queue->in_ring < queue->depth)
		issue(queue, req);
	else
		req_list_add(&queue->backlog, req);
}
