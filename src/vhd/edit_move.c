/* SPDX-License-Identifier: MIT */
#include "vhd/edit.h"

#include <stdlib.h>

#include "block/queue.h"
#include "util/bytes.h"

/*
 * Moving blocks (W10). The pieces of a batch are copied by a few carriers, each of which reads one
 * piece, writes it to its new place and takes the next. A barrier pair serves a whole batch.
 */
#define CARRIERS     8u
#define PIECE_BYTES  (1u << 20)
#define BATCH_BLOCKS 64u
#define BATCH_BYTES  (128u << 20)

struct batch {
	struct edit *edit;
	struct queue *queue;
	const struct edit_change *change;
	uint32_t count;
	uint32_t next_change; /* the next piece to be copied */
	uint64_t next_off;    /* in its span */
	unsigned busy;        /* carriers */
	enum err err;         /* the first one, with its text in `why` */
	struct err_why why;
};

struct carrier {
	struct file_req req;
	struct iovec iov;
	struct batch *batch;
	uint8_t *buf;
	uint64_t to_off;
};

static void fail(struct batch *batch, const struct file_req *req)
{
	if (!batch->err)
		batch->err = file_req_explain(req, &batch->why);
}

static void take_piece(struct carrier *carrier);

static void write_done(struct file_req *req)
{
	struct carrier *carrier = req->owner;

	carrier->batch->busy--;
	if (req->result)
		fail(carrier->batch, req);
	take_piece(carrier);
}

static void read_done(struct file_req *req)
{
	struct carrier *carrier = req->owner;
	struct batch *batch = carrier->batch;

	if (req->result || batch->err) {
		batch->busy--;
		if (req->result)
			fail(batch, req);
		return;
	}
	carrier->req.op = FILE_WRITE;
	carrier->req.off_bytes = carrier->to_off;
	carrier->req.done = write_done;
	file_submit(batch->edit->layer->file, batch->queue, &carrier->req);
}

static void take_piece(struct carrier *carrier)
{
	struct batch *batch = carrier->batch;
	uint64_t span = edit_span_bytes(batch->edit->layer);

	if (batch->err || batch->next_change == batch->count)
		return;
	const struct edit_change *change = &batch->change[batch->next_change];
	uint64_t len = min_u64(PIECE_BYTES, span - batch->next_off);
	uint64_t from = layer_bitmap_off(batch->edit->bat[change->block]) + batch->next_off;

	carrier->to_off = layer_bitmap_off(change->place) + batch->next_off;
	carrier->iov = (struct iovec){carrier->buf, (size_t)len};
	carrier->req = (struct file_req){.op = FILE_READ,
					 .event = EV_MOVE,
					 .off_bytes = from,
					 .len_bytes = len,
					 .iov = &carrier->iov,
					 .iov_count = 1,
					 .done = read_done,
					 .owner = carrier};
	batch->next_off += len;
	if (batch->next_off == span) {
		batch->next_off = 0;
		batch->next_change++;
	}
	batch->busy++;
	file_submit(batch->edit->layer->file, batch->queue, &carrier->req);
}

static enum err copy_batch(struct batch *batch, struct carrier *carriers, struct err_why *why)
{
	for (unsigned i = 0; i < CARRIERS; i++) {
		carriers[i].batch = batch;
		take_piece(&carriers[i]);
	}
	while (batch->busy)
		queue_wait(batch->queue);
	if (batch->err && why)
		*why = batch->why;
	return batch->err;
}

/* Copy, B, publish, B. */
static enum err move_batch(struct batch *batch, struct carrier *carriers, struct err_why *why)
{
	struct file *file = batch->edit->layer->file;
	enum err e = copy_batch(batch, carriers, why);

	if (!e)
		e = file_sync(file, why);
	if (!e)
		e = edit_publish(batch->edit, batch->change, batch->count, why);
	return e ? e : file_sync(file, why);
}

static enum err move_all(struct edit *edit, struct queue *queue, struct carrier *carriers,
			 const struct edit_change *change, uint32_t count, struct edit_work *work,
			 uint32_t *moved, struct err_why *why)
{
	uint64_t span = edit_span_bytes(edit->layer);
	uint32_t at_once = (uint32_t)max_u64(1, min_u64(BATCH_BLOCKS, BATCH_BYTES / span));

	for (*moved = 0; *moved < count;) {
		uint32_t n = (uint32_t)min_u64(at_once, count - *moved);
		struct batch batch = {
		    .edit = edit, .queue = queue, .change = change + *moved, .count = n};
		enum err e = move_batch(&batch, carriers, why);

		if (e)
			return e;
		*moved += n;
		if (!edit_work_done(work, n * span) && *moved < count)
			return err_set(why, ERR_CANCELLED, "%s: stopped while moving blocks",
				       edit->layer->path);
	}
	return ERR_OK;
}

enum err edit_move(struct edit *edit, const struct edit_change *change, uint32_t count,
		   struct edit_work *work, uint32_t *moved, struct err_why *why)
{
	struct carrier carriers[CARRIERS] = {0};
	struct queue *queue = NULL;
	uint32_t done = 0;
	enum err e = ERR_OK;

	if (count) {
		uint8_t *buf = aligned_alloc(4096, (size_t)CARRIERS * PIECE_BYTES);

		for (unsigned i = 0; i < CARRIERS && buf; i++)
			carriers[i].buf = buf + (size_t)i * PIECE_BYTES;
		e = buf ? queue_create(2 * CARRIERS, &queue, why)
			: err_set(why, ERR_NOMEM, "out of memory");
		if (!e)
			e = move_all(edit, queue, carriers, change, count, work, &done, why);
		queue_destroy(queue);
		free(buf);
	}
	if (moved)
		*moved = done;
	return e;
}
