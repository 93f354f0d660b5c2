/* SPDX-License-Identifier: MIT */

/*
 * W8: carrying out a flush plan. One flush is in progress at a time; requests that arrive meanwhile
 * wait and share the next one. At most two syncs a flush.
 *
 *   idle --flush_enqueue--> [B] --> writes --> B --> commit --> idle, or the next one
 *                            \________\_________\--> poison: every waiter fails, writes refused
 */

#include <errno.h>
#include <stdlib.h>

#include "vhd/flush_plan.h"
#include "vhd/image.h"

struct flush_run {
	struct image *image;
	struct queue *queue;
	struct file *file;       /* the leaf's, which is the same until the flush is over */
	struct flush_plan *plan; /* NULL: a fixed disk, only the sync */
	struct op *waiters;
	struct file_req sync;
	struct file_req *write;
	struct iovec *iov;
	unsigned left;
	bool published; /* the writes have been done */
	struct err_why why;
};

static void start(struct image *image, struct queue *queue);
static void submit_sync(struct flush_run *run);

/* Lock held. */
static struct file *leaf_file(const struct image *image)
{
	return chain_leaf(&image->chain)->file;
}

static void deliver_all(struct op *waiters, enum err e, const struct err_why *why)
{
	while (waiters) {
		struct op *next = waiters->flush_next;

		op_deliver(waiters, e, why);
		waiters = next;
	}
}

static void free_run(struct flush_run *run)
{
	free(run->write);
	free(run->iov);
	free(run);
}

static uint64_t flush_requests(const struct op *waiters)
{
	uint64_t count = 0;

	for (; waiters; waiters = waiters->flush_next)
		count += waiters->req->op == DISK_FLUSH;
	return count;
}

static void start_on_own_queue(struct queue_work *work)
{
	struct op *op = container_of(work, struct op, work);
	struct image *image = op->image;
	struct queue *queue = op->queue;

	pthread_mutex_lock(&image->lock);
	start(image, queue);
	pthread_mutex_unlock(&image->lock);
}

static void finish(struct flush_run *run, enum err e)
{
	struct image *image = run->image;
	struct op *waiters = run->waiters;

	pthread_mutex_lock(&image->lock);
	if (e) {
		image_poison(image, &run->why);
		if (run->plan)
			plan_abandon(run->plan);
	} else {
		if (run->plan)
			plan_commit(image->leaf, run->plan);
		image->flushes += flush_requests(waiters);
	}
	image->flushing = NULL;
	/* The next flush runs on a queue of somebody who waits for it, so that it is not orphaned.
	 */
	struct op *next = image->flush_waiting;
	if (next && next->queue == run->queue) {
		start(image, run->queue);
	} else if (next) {
		image->flush_posted = true;
		next->work.run = start_on_own_queue;
		queue_post(next->queue, &next->work);
	}
	image_tell_idle(image);
	pthread_mutex_unlock(&image->lock);
	deliver_all(waiters, e, &run->why);
	free_run(run);
}

static enum err req_failed(struct flush_run *run, const struct file_req *req, const char *what)
{
	return err_sys(&run->why, req->sys_errno ? req->sys_errno : EIO, "%s: flush: %s",
		       run->file->path, what);
}

static void write_done(struct file_req *req)
{
	struct flush_run *run = req->owner;

	if (req->result && !run->why.code)
		req_failed(run, req, "writing metadata");
	if (--run->left)
		return;
	run->published = true;
	if (run->why.code)
		finish(run, run->why.code);
	else
		submit_sync(run);
}

static void submit_writes(struct flush_run *run)
{
	unsigned count = run->plan->writes;

	run->left = count;
	for (unsigned i = 0; i < count; i++) {
		const struct plan_write *w = &run->plan->write[i];

		run->iov[i] = (struct iovec){w->data, w->len_bytes};
		run->write[i] = (struct file_req){
		    .op = w->op,
		    .event = w->event,
		    .off_bytes = w->off_bytes,
		    .len_bytes = w->len_bytes,
		    .iov = w->data ? &run->iov[i] : NULL,
		    .iov_count = w->data ? 1 : 0,
		    .done = write_done,
		    .owner = run,
		};
	}
	struct queue *queue = run->queue;
	struct file *file = run->file;
	for (unsigned i = 0; i < count; i++)
		file_submit(file, queue, &run->write[i]);
}

static bool has_writes(const struct flush_run *run)
{
	return run->plan && run->plan->writes;
}

static void sync_done(struct file_req *req)
{
	struct flush_run *run = req->owner;

	if (req->result)
		finish(run, req_failed(run, req, "sync"));
	else if (has_writes(run) && !run->published)
		submit_writes(run);
	else
		finish(run, ERR_OK);
}

static void submit_sync(struct flush_run *run)
{
	run->image->syncs++;
	run->sync =
	    (struct file_req){.op = FILE_SYNC, .event = EV_DATA, .done = sync_done, .owner = run};
	file_submit(run->file, run->queue, &run->sync);
}

/* Snapshot and memory for the whole run, so that nothing can fail half way for want of it. */
static enum err prepare(struct image *image, struct flush_run **out, struct err_why *why)
{
	struct flush_run *run = calloc(1, sizeof(*run));
	enum err e = run ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	if (!e && image->leaf)
		e = plan_make(image->leaf, image_oldest_seq(image), &run->plan, why);
	if (!e && has_writes(run)) {
		run->write = calloc(run->plan->writes, sizeof(*run->write));
		run->iov = calloc(run->plan->writes, sizeof(*run->iov));
		if (!run->write || !run->iov) {
			plan_cancel(image->leaf, run->plan);
			e = err_set(why, ERR_NOMEM, "out of memory");
		}
	}
	if (e) {
		if (run)
			free_run(run);
		return e;
	}
	run->image = image;
	run->file = leaf_file(image);
	*out = run;
	return ERR_OK;
}

/* Take everybody who waits along. Lock held. */
static void start(struct image *image, struct queue *queue)
{
	struct op *waiters = image->flush_waiting;
	struct flush_run *run = NULL;
	struct err_why why = {0};
	enum err e = ERR_OK;

	image->flush_waiting = NULL;
	image->flush_last = NULL;
	image->flush_posted = false;
	if (image->poisoned) {
		why = image->poison;
		e = ERR_POISONED;
	}
	if (!e)
		e = prepare(image, &run, &why);
	if (e) {
		/* nothing has changed: P5 */
		deliver_all(waiters, e, &why);
		return;
	}
	run->queue = queue;
	run->waiters = waiters;
	image->flushing = run;
	if (has_writes(run) && !run->plan->needs_barrier)
		submit_writes(run);
	else
		submit_sync(run);
}

void flush_enqueue(struct image *image, struct queue *queue, struct op *op)
{
	op->flush_next = NULL;
	if (image->flush_last)
		image->flush_last->flush_next = op;
	else
		image->flush_waiting = op;
	image->flush_last = op;
	if (!image->flushing && !image->flush_posted)
		start(image, queue);
}

static enum err write_blocking(struct image *image, const struct flush_plan *plan,
			       struct err_why *why)
{
	struct file *file = leaf_file(image);
	enum err e = ERR_OK;

	for (unsigned i = 0; i < plan->writes && !e; i++) {
		const struct plan_write *w = &plan->write[i];

		e = w->op == FILE_PUNCH
			? file_punch(file, w->off_bytes, w->len_bytes, why)
			: file_write(file, w->event, w->data, w->off_bytes, w->len_bytes, why);
	}
	return e;
}

enum err flush_now(struct image *image, struct err_why *why)
{
	struct flush_plan *plan = NULL;
	struct err_why here = {0};
	enum err e = ERR_OK;

	if (image->poisoned)
		return err_set(why, ERR_POISONED, "%s", image->poison.text);
	if (image->leaf)
		e = plan_make(image->leaf, image_oldest_seq(image), &plan, why);
	if (e)
		return e;
	bool writes = plan && plan->writes;
	if (writes && plan->needs_barrier) {
		image->syncs++;
		e = file_sync(leaf_file(image), &here);
	}
	if (!e && writes)
		e = write_blocking(image, plan, &here);
	if (!e) {
		image->syncs++;
		e = file_sync(leaf_file(image), &here);
	}
	if (e) {
		image_poison(image, &here);
		if (plan)
			plan_abandon(plan);
		return err_set(why, e, "%s", here.text);
	}
	if (plan)
		plan_commit(image->leaf, plan);
	return ERR_OK;
}
