/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_QUEUE_H
#define STRATA_BLOCK_QUEUE_H

/*
 * One io_uring per thread. A queue belongs to the thread that created it: only that thread may
 * submit to it, wait on it or destroy it. The single exception is queue_post.
 *
 * Submissions are batched: they reach the kernel at the next queue_wait, queue_poll or
 * queue_flush, or when the ring is full. Short transfers, EINTR, EAGAIN and a full ring are
 * handled here. Descriptors of open files are registered with the ring on first use and
 * unregistered by file_close, whichever thread calls it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct queue;
struct file_req;

/* Work handed to a queue, possibly from another thread. The caller owns it until `run`. */
struct queue_work {
	void (*run)(struct queue_work *work);
	struct queue_work *next; /* private */
};

/*
 * `depth`: how many requests may be with the kernel at once; more are kept waiting in user space,
 * without limit. ERR_UNSUPPORTED where the system has no io_uring.
 */
enum err queue_create(unsigned depth, struct queue **out, struct err_why *why);
/*
 * Make `count` queues of that depth ahead, for a process that will not be allowed to: later
 * queue_create takes one of them while there are any, and queue_destroy gives it back. They are
 * never freed.
 */
enum err queue_reserve(unsigned count, unsigned depth, struct err_why *why);
/* Everything submitted must have completed. NULL is allowed. */
void queue_destroy(struct queue *queue);

/* Hand what is batched to the kernel without waiting. */
void queue_flush(struct queue *queue);
/* Run completions that are there; returns how many ran. Never blocks. */
unsigned queue_poll(struct queue *queue);
/*
 * Wait until at least one completion, posted work or work of a watch ran. Returns how many ran; 0,
 * at once, only when nothing is pending, held, posted or watched.
 */
unsigned queue_wait(struct queue *queue);
/* Requests submitted whose `done` has not run yet (posted work and watches are not counted). */
unsigned queue_pending(const struct queue *queue);
/*
 * Readable when queue_poll has something to do: for event loops. Sleep on it only after
 * queue_flush, or after a queue_poll that returned 0. Valid as long as the queue.
 */
int queue_fd(const struct queue *queue);

/*
 * Run `work` on the queue's own thread, from queue_wait or queue_poll. Any thread may call; from
 * the queue's own thread it costs neither a lock nor a system call.
 */
void queue_post(struct queue *queue, struct queue_work *work);

/*
 * Run `work` on the queue's thread whenever `fd` is readable, so that one sleep serves both: what
 * the descriptor announces, and completions. It runs again until there is nothing left to read. Any
 * wait on this queue may run it, one inside a disk as well: so let it do little more than read
 * the descriptor and make a note. The descriptor and `work` stay the caller's and must live until
 * queue_unwatch, after which `work` is not run any more. The queue's thread only.
 */
enum err queue_watch(struct queue *queue, int fd, struct queue_work *work, struct err_why *why);
/* From anywhere on the queue's thread, `work` itself too. */
void queue_unwatch(struct queue *queue, struct queue_work *work);

/*
 * Count, and stop counting, something queue_wait should sleep for although the queue does not know
 * it: a disk request that its format keeps until another thread posts. The queue's thread only.
 */
void queue_hold(struct queue *queue);
void queue_release(struct queue *queue);

/* ---- for file backends only ---- */

/* Deliver `req`, whose result is set, as a completion of this queue. */
void queue_complete(struct queue *queue, struct file_req *req);

/* Carry out `req` on its `fd` through the ring: any operation but FILE_TRUNCATE, not empty. */
void queue_start(struct queue *queue, struct file_req *req);

#endif
