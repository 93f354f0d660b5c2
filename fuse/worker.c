/* SPDX-License-Identifier: MIT */
#include "fuse/worker.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "block/queue.h"
#include "fuse/channel.h"
#include "fuse/pool.h"
#include "util/bytes.h"

#define QUEUE_DEPTH 128
/*
 * Requests read before the disk gets its turn: enough to submit many small ones at once, and few
 * enough that large ones are left for the other threads.
 */
#define BATCH         32
#define BATCH_BYTES   (256u << 10)
#define REQUESTS_KEPT 128
/* How long to look out for a request, and how soon after the last one it must have come. */
#define SPIN_NS  50000u
#define QUICK_NS 100000u

struct worker {
	struct workers *set;
	pthread_t thread;
	int fd; /* the connection */
	int epoll_fd;
	struct queue *queue;
	struct pool pool;
	struct buffer *message; /* that is being served, or will be next */
	struct request *free_requests;
	unsigned requests_kept;
	unsigned live;       /* requests that are not freed, and errands that are not done */
	bool one_by_one;     /* how requests have come of late */
	size_t batch_bytes;  /* of the buffers and messages of the batch being received */
	bool ended;          /* the kernel has ended the connection, or workers_stop was called */
	struct err_why *why; /* of workers_start, while it waits */
};

struct workers {
	struct fuse_session *session;
	struct helpers *helpers;
	int stop_fd; /* eventfd; never read: all threads see it */
	int ended_fd;
	atomic_bool spinning; /* one of the threads is */
	sem_t started;        /* posted by each thread once it serves, or has failed */
	unsigned count;
	struct worker worker[];
};

static _Thread_local struct worker *self;

/* ---- requests ---- */

static struct request *request_alloc(struct fuse_req *fuse)
{
	struct request *req = self->free_requests;

	if (req) {
		self->free_requests = req->next;
		self->requests_kept--;
	} else {
		req = malloc(sizeof(*req));
		if (!req)
			return NULL;
	}
	self->live++;
	req->fuse = fuse;
	req->buffer = NULL;
	req->io.flags = 0;
	return req;
}

struct request *request_new(struct fuse_req *fuse, size_t room)
{
	struct request *req = request_alloc(fuse);

	if (!req || !room)
		return req;
	self->batch_bytes += room;
	req->buffer = pool_get(&self->pool, room);
	if (!req->buffer) {
		request_free(req);
		return NULL;
	}
	req->io.buf = req->buffer->bytes;
	return req;
}

struct request *request_new_from_message(struct fuse_req *fuse, const void *payload)
{
	struct request *req = request_alloc(fuse);
	/* The thread must not be left without one. */
	struct buffer *next = req ? pool_get(&self->pool, pool_max_room()) : NULL;

	if (!next) {
		request_free(req);
		return NULL;
	}
	req->buffer = self->message;
	self->message = next;
	req->io.buf = req->buffer->bytes + ((const uint8_t *)payload - req->buffer->bytes);
	return req;
}

void request_submit(struct request *req, struct byte_disk *disk)
{
	byte_submit(disk, self->queue, &req->io);
}

void request_free(struct request *req)
{
	if (!req)
		return;
	self->live--;
	pool_put(&self->pool, req->buffer);
	if (self->requests_kept == REQUESTS_KEPT) {
		free(req);
		return;
	}
	req->next = self->free_requests;
	self->free_requests = req;
	self->requests_kept++;
}

/* ---- errands ---- */

static void errand_back(struct queue_work *work)
{
	struct errand *errand = container_of(work, struct errand, back);

	self->live--;
	errand->done(errand);
}

static void errand_run(struct job *job)
{
	struct errand *errand = container_of(job, struct errand, job);

	channel_use(errand->worker->fd);
	errand->run(errand);
	queue_post(errand->worker->queue, &errand->back);
}

void errand_send(struct errand *errand)
{
	self->live++;
	errand->worker = self;
	errand->job.run = errand_run;
	errand->back.run = errand_back;
	helpers_add(self->set->helpers, &errand->job);
}

/* ---- serving ---- */

/* Where a message is read to, so that the payload of a write lies on a page. */
static uint8_t *message_start(const struct buffer *buffer)
{
	const size_t headers = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in);

	return buffer->bytes + 4096 - headers;
}

static void end(struct worker *w)
{
	w->ended = true;
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->set->stop_fd, NULL);
}

static void disconnected(struct worker *w)
{
	uint64_t one = 1;

	fuse_session_exit(w->set->session);
	end(w);
	/* Cannot fail: the counter is far from full. */
	if (write(w->set->ended_fd, &one, sizeof(one)) < 0)
		abort();
}

static void receive(struct worker *w)
{
	unsigned count = 0;

	w->batch_bytes = 0;
	while (count < BATCH && w->batch_bytes < BATCH_BYTES) {
		struct fuse_buf buf = {.mem = message_start(w->message)};
		ssize_t n = channel_read(w->fd, buf.mem);

		if (n < 0)
			disconnected(w);
		if (n <= 0)
			break;
		count++;
		buf.size = (size_t)n;
		w->batch_bytes += buf.size;
		fuse_session_process_buf(w->set->session, &buf);
	}
	if (count > 1)
		w->one_by_one = false;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * Who waits for each answer before asking again has the next request ready sooner than a CPU can be
 * woken. So while requests come one by one and quickly, one thread looks out for the next for a
 * moment before it sleeps.
 */
static int wait_for_events(struct worker *w, struct epoll_event *events, int room)
{
	uint64_t start = now_ns();
	int n = 0;

	if (w->one_by_one && !atomic_exchange(&w->set->spinning, true)) {
		do
			n = epoll_wait(w->epoll_fd, events, room, 0);
		while (!n && now_ns() - start < SPIN_NS);
		atomic_store(&w->set->spinning, false);
	}
	if (!n)
		n = epoll_wait(w->epoll_fd, events, room, -1);
	w->one_by_one = now_ns() - start < QUICK_NS;
	return n;
}

static void serve(struct worker *w)
{
	while (!w->ended || w->live) {
		struct epoll_event events[3];
		int n = wait_for_events(w, events, ARRAY_LEN(events));

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == w->set->stop_fd)
				end(w);
			else if (events[i].data.fd == w->fd && !w->ended)
				receive(w);
		}
		/* Also submits what was just received. */
		while (queue_poll(w->queue))
			;
	}
}

/* ---- starting and stopping ---- */

static enum err watch(struct worker *w, int fd, uint32_t events, struct err_why *why)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return err_sys(why, errno, "cannot watch a descriptor");
	return ERR_OK;
}

static enum err prepare(struct worker *w, struct err_why *why)
{
	enum err err = channel_clone(fuse_session_fd(w->set->session), &w->fd, why);

	if (!err)
		err = queue_create(QUEUE_DEPTH, &w->queue, why);
	if (err)
		return err;
	w->message = pool_get(&w->pool, pool_max_room());
	if (!w->message)
		return err_set(why, ERR_NOMEM, "no memory for a request");
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		return err_sys(why, errno, "cannot create an epoll descriptor");
	channel_use(w->fd);
	/* Exclusive: a request wakes one thread, not all. */
	err = watch(w, w->fd, EPOLLIN | EPOLLEXCLUSIVE, why);
	if (!err)
		err = watch(w, queue_fd(w->queue), EPOLLIN, why);
	if (!err)
		err = watch(w, w->set->stop_fd, EPOLLIN, why);
	return err;
}

static void clean_up(struct worker *w)
{
	struct request *req;

	pool_put(&w->pool, w->message);
	pool_drain(&w->pool);
	while ((req = w->free_requests)) {
		w->free_requests = req->next;
		free(req);
	}
	queue_destroy(w->queue);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->fd >= 0)
		close(w->fd);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	enum err err;

	self = w;
	err = prepare(w, w->why);
	sem_post(&w->set->started);
	if (!err)
		serve(w);
	clean_up(w);
	return NULL;
}

static enum err start_one(struct workers *set, struct err_why *why)
{
	struct worker *w = &set->worker[set->count];
	struct err_why result = {0};
	int rc;

	*w = (struct worker){.set = set, .fd = -1, .epoll_fd = -1, .why = &result};
	rc = pthread_create(&w->thread, NULL, worker_main, w);
	if (rc)
		return err_sys(why, rc, "cannot start a thread");
	set->count++;
	while (sem_wait(&set->started))
		;
	if (result.code && why)
		*why = result;
	return result.code;
}

enum err workers_start(struct fuse_session *session, unsigned count, unsigned helpers, int ended_fd,
		       struct workers **out, struct err_why *why)
{
	struct workers *set = calloc(1, sizeof(*set) + count * sizeof(set->worker[0]));
	enum err err = ERR_OK;

	if (!set)
		return err_set(why, ERR_NOMEM, "no memory for %u threads", count);
	set->session = session;
	set->ended_fd = ended_fd;
	sem_init(&set->started, 0, 0);
	set->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (set->stop_fd < 0)
		err = err_sys(why, errno, "cannot create an event descriptor");
	if (!err && helpers)
		err = helpers_start(helpers, &set->helpers, why);
	while (!err && set->count < count)
		err = start_one(set, why);
	if (err) {
		workers_stop(set);
		return err;
	}
	*out = set;
	return ERR_OK;
}

void workers_stop(struct workers *workers)
{
	uint64_t one = 1;

	if (!workers)
		return;
	if (workers->count && write(workers->stop_fd, &one, sizeof(one)) < 0)
		abort();
	for (unsigned i = 0; i < workers->count; i++)
		pthread_join(workers->worker[i].thread, NULL);
	helpers_stop(workers->helpers);
	if (workers->stop_fd >= 0)
		close(workers->stop_fd);
	sem_destroy(&workers->started);
	free(workers);
}
