/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_WORKER_H
#define STRATA_FUSE_WORKER_H

/*
 * The threads that serve a mount. Each has its own connection to the kernel, its own I/O queue and
 * its own buffers; a request stays on the thread that received it, so that nothing here is shared.
 * A thread never waits for one request: it hands it to the disk and takes the next one. What cannot
 * but wait is an errand, which a helper runs.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/queue.h"
#include "fuse/helpers.h"
#include "fuse/io.h"
#include "util/err.h"

struct fuse_req;
struct fuse_session;
struct buffer;
struct node;
struct shown;
struct worker;
struct workers;

/* A request that waits for the disk. */
struct request {
	struct byte_req io;
	struct fuse_req *fuse; /* to be answered once */
	struct shown *disk;
	const struct node *node;
	/* private */
	struct buffer *buffer;
	struct request *next;
};

/* Work on a request that may wait. */
struct errand {
	void (*run)(struct errand *errand);  /* on a helper; gives the answer */
	void (*done)(struct errand *errand); /* afterwards, on the thread it came from */
	/* private */
	struct worker *worker;
	struct job job;
	struct queue_work back;
};

/*
 * Start `count` threads, which serve `session` (mounted and initialised) until the kernel ends the
 * connection or workers_stop is called, and `helpers` (0: no errands). Each writes to `ended_fd`
 * (an eventfd) when the kernel has ended it.
 */
enum err workers_start(struct fuse_session *session, unsigned count, unsigned helpers, int ended_fd,
		       struct workers **out, struct err_why *why);
/* Finish the requests that are there, take no more, and free everything. NULL is allowed. */
void workers_stop(struct workers *workers);

/* ---- for the code that serves a request, on a worker's thread ---- */

/* A request with room for `room` bytes in io.buf, if not 0. NULL when memory is short. */
struct request *request_new(struct fuse_req *fuse, size_t room);
/*
 * The same, taking over the message that is being served, so that `payload`, which is part of it,
 * lives as long as the request. For at most one request a message.
 */
struct request *request_new_from_message(struct fuse_req *fuse, const void *payload);
void request_submit(struct request *req, struct byte_disk *disk);
void request_free(struct request *req);

void errand_send(struct errand *errand);

#endif
