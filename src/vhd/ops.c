/* SPDX-License-Identifier: MIT */

/*
 * From a disk request to requests on files, and back (image.h). A request is mapped block by block
 * under the lock; its parts are then in flight together; the last one to finish completes it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/iov.h"
#include "util/bytes.h"
#include "vhd/image.h"
#include "vhd/parking.h"

/* Bitmaps of blocks waiting to be published: beyond this a write waits for a flush (P6). */
#define MAX_BITMAPS_HELD (16u << 20)
#define MAX_DIRTY_BLOCKS 65536u

/* ---- delivering ---- */

static void free_op(struct op *op)
{
	for (unsigned i = 0; i < op->count; i++) {
		free(op->part[i].iov);
		if (op->part[i].layer)
			layer_release(op->part[i].layer);
	}
	if (op->part != op->inline_part)
		free(op->part);
	free(op);
}

static void set_result(struct op *op, enum err result, const struct err_why *why)
{
	op->req->result = result;
	if (result && op->req->why) {
		*op->req->why = *why;
		op->req->why->code = result;
	}
}

void op_deliver(struct op *op, enum err result, const struct err_why *why)
{
	struct disk_req *req = op->req;

	set_result(op, result, why);
	free_op(op);
	disk_done_later(req);
}

/* ---- what is in flight ---- */

static void link_op(struct image *image, struct op *op)
{
	op->seq = image->next_seq++;
	op->prev = image->newest;
	op->next = NULL;
	if (image->newest)
		image->newest->next = op;
	else
		image->oldest = op;
	image->newest = op;
}

static void unlink_op(struct image *image, struct op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		image->oldest = op->next;
	if (op->next)
		op->next->prev = op->prev;
	else
		image->newest = op->prev;
}

uint64_t image_oldest_seq(const struct image *image)
{
	return image->oldest ? image->oldest->seq : image->next_seq;
}

void image_poison(struct image *image, const struct err_why *why)
{
	if (image->poisoned)
		return;
	err_set(&image->poison, ERR_POISONED,
		"%s; the image takes no more writes until it is opened again", why->text);
	image->poisoned = true;
}

/* ---- parts ---- */

static bool joins(const struct part *last, enum file_op kind, const struct file *file,
		  uint64_t file_off, uint64_t disk_off)
{
	return kind == FILE_READ && last->req.op == FILE_READ && last->req.file == file &&
	       last->req.off_bytes + last->req.len_bytes == file_off &&
	       last->disk_off + last->req.len_bytes == disk_off;
}

struct part *op_add_part(struct op *op, enum file_op kind, struct vhd_layer *layer,
			 uint64_t file_off, uint64_t disk_off, uint64_t len_bytes)
{
	if (op->count && joins(&op->part[op->count - 1], kind, layer->file, file_off, disk_off)) {
		struct part *last = &op->part[op->count - 1];

		last->req.len_bytes += len_bytes;
		layer_release(layer);
		return last;
	}
	if (op->count == op->room) {
		unsigned room = op->room * 4 + OP_INLINE_PARTS;
		struct part *old = op->room > OP_INLINE_PARTS ? op->part : NULL;
		struct part *grown = realloc(old, room * sizeof(*grown));

		if (!grown) {
			layer_release(layer);
			return NULL;
		}
		if (!old)
			memcpy(grown, op->inline_part, op->count * sizeof(*grown));
		op->part = grown;
		op->room = room;
	}
	struct part *part = &op->part[op->count++];
	memset(part, 0, sizeof(*part));
	part->layer = layer->parking ? layer : NULL;
	part->req.op = kind;
	part->req.event = EV_DATA;
	part->req.file = layer->file;
	part->req.off_bytes = file_off;
	part->req.len_bytes = len_bytes;
	part->disk_off = disk_off;
	part->op = op;
	return part;
}

/* The caller's buffers for this part; without a copy where one element is enough. */
static enum err set_iov(struct op *op, struct part *part)
{
	const struct disk_req *req = op->req;
	uint64_t off = part->disk_off - req->off_bytes;

	if (part->req.op != FILE_READ && part->req.op != FILE_WRITE)
		return ERR_OK;
	if (part->req.len_bytes == req->len_bytes) {
		part->req.iov = req->iov;
		part->req.iov_count = req->iov_count;
		return ERR_OK;
	}
	if (req->iov_count == 1) {
		part->one = (struct iovec){(char *)req->iov[0].iov_base + off, part->req.len_bytes};
		part->req.iov = &part->one;
		part->req.iov_count = 1;
		return ERR_OK;
	}
	part->iov = malloc(req->iov_count * sizeof(struct iovec));
	if (!part->iov)
		return ERR_NOMEM;
	part->req.iov_count =
	    iov_slice(req->iov, req->iov_count, off, part->req.len_bytes, part->iov);
	part->req.iov = part->iov;
	return ERR_OK;
}

/* ---- mapping ---- */

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/*
 * Payload of an image with an intent record that is still to be replayed: rare and small enough to
 * be read here and now, with the record's bytes put over it.
 */
static enum err read_overlaid(struct op *op, struct vhd_layer *layer, uint64_t file_off,
			      uint64_t disk_off, uint64_t len, struct err_why *why)
{
	const struct disk_req *req = op->req;
	uint8_t *bytes = malloc(len);
	struct iovec *part = malloc(req->iov_count * sizeof(*part));
	enum err e = bytes && part ? ERR_OK : no_memory(why);

	if (!e)
		e = layer_read_meta(layer, EV_DATA, bytes, file_off, len, why);
	if (!e)
		iov_scatter(
		    part, iov_slice(req->iov, req->iov_count, disk_off - req->off_bytes, len, part),
		    bytes);
	free(part);
	free(bytes);
	return e;
}

static enum err read_layer(struct op *op, struct vhd_layer *layer, uint64_t file_off,
			   uint64_t disk_off, uint64_t len, struct err_why *why)
{
	enum err e = layer_hold(layer, why);

	if (e) {
		err_context(why, "%s", layer->path);
		return e;
	}
	if (layer->intent) {
		e = read_overlaid(op, layer, file_off, disk_off, len, why);
		layer_release(layer);
		return e;
	}
	return op_add_part(op, FILE_READ, layer, file_off, disk_off, len) ? ERR_OK : no_memory(why);
}

static enum err read_run(struct op *op, uint32_t layer, uint64_t file_off, uint64_t disk_off,
			 uint64_t len, struct err_why *why)
{
	const struct disk_req *req = op->req;

	if (layer == OWNER_NONE) {
		iov_zero_range(req->iov, req->iov_count, disk_off - req->off_bytes, len);
		return ERR_OK;
	}
	return read_layer(op, op->image->chain.layer[layer], file_off, disk_off, len, why);
}

static enum err read_block(struct op *op, uint32_t block, uint32_t first, uint32_t count,
			   struct err_why *why)
{
	struct owner_map *owner = &op->image->owner;
	uint64_t block_off = (uint64_t)block * owner->block_bytes;
	const struct owner_run *runs;
	uint32_t n;
	enum err e = owner_get(owner, block, &runs, &n, why);

	if (e)
		return e;
	for (uint32_t i = owner_find(runs, n, first); i < n && runs[i].first < first + count && !e;
	     i++) {
		uint32_t run_end = i + 1 < n ? runs[i + 1].first : owner->block_sectors;
		uint32_t from = runs[i].first > first ? runs[i].first : first;
		uint32_t to = run_end < first + count ? run_end : first + count;

		e = read_run(op, runs[i].layer,
			     runs[i].off_bytes + (uint64_t)(from - runs[i].first) * DISK_SECTOR,
			     block_off + (uint64_t)from * DISK_SECTOR,
			     (uint64_t)(to - from) * DISK_SECTOR, why);
	}
	return e;
}

/* Whether the leaf holds all of these sectors already. */
static bool leaf_owns(const struct image *image, const struct owner_run *runs, uint32_t n,
		      uint32_t first, uint32_t count)
{
	for (uint32_t i = owner_find(runs, n, first); i < n && runs[i].first < first + count; i++) {
		if (runs[i].layer != image->chain.count - 1)
			return false;
	}
	return true;
}

enum err op_add_leaf_part(struct op *op, enum file_op kind, uint32_t block, uint32_t first,
			  uint32_t count, bool owned, struct err_why *why)
{
	struct image *image = op->image;
	struct vhd_layer *layer = chain_leaf(&image->chain);
	struct pend *pend = NULL;
	uint32_t entry;

	if (owned) {
		const uint8_t *bitmap;
		bool full;

		leaf_lookup(image->leaf, block, &entry, &bitmap, &full);
	} else {
		enum err e = leaf_reserve(image->leaf, block, &pend, why);
		if (e)
			return e;
		entry = pend->entry;
	}
	uint64_t in_block = (uint64_t)first * DISK_SECTOR;
	struct part *part = op_add_part(op, kind, layer, layer_data_off(layer, entry) + in_block,
					(uint64_t)block * layer->block_bytes + in_block,
					(uint64_t)count * DISK_SECTOR);
	if (!part) {
		if (pend)
			leaf_give_up(image->leaf, pend);
		return no_memory(why);
	}
	part->pend = pend;
	part->block = block;
	part->first = first;
	part->count = count;
	return ERR_OK;
}

static enum err write_block(struct op *op, uint32_t block, uint32_t first, uint32_t count,
			    struct err_why *why)
{
	const struct owner_run *runs;
	uint32_t n;
	enum err e = owner_get(&op->image->owner, block, &runs, &n, why);

	if (e)
		return e;
	bool owned = leaf_owns(op->image, runs, n, first, count);
	return op_add_leaf_part(op, FILE_WRITE, block, first, count, owned, why);
}

static enum err map_fixed(struct op *op, struct err_why *why)
{
	const struct disk_req *req = op->req;
	struct vhd_layer *layer = chain_leaf(&op->image->chain);
	enum file_op kind = req->op == DISK_WRITE ? FILE_WRITE : FILE_ZERO;

	/* A fixed disk is preallocated and stays so: a trim is allowed to do nothing. */
	if (req->op == DISK_TRIM || !req->len_bytes)
		return ERR_OK;
	if (req->op == DISK_READ)
		return read_layer(op, layer, req->off_bytes, req->off_bytes, req->len_bytes, why);
	return op_add_part(op, kind, layer, req->off_bytes, req->off_bytes, req->len_bytes)
		   ? ERR_OK
		   : no_memory(why);
}

static enum err map_op(struct op *op, struct err_why *why)
{
	struct image *image = op->image;
	const struct disk_req *req = op->req;
	uint64_t end = req->off_bytes + req->len_bytes;
	enum err e = ERR_OK;

	if (!layer_is_sparse(chain_leaf(&image->chain)))
		return map_fixed(op, why);
	for (uint64_t at = req->off_bytes; at < end && !e;) {
		uint32_t block = (uint32_t)(at >> image->owner.block_shift);
		uint64_t in_block = at & (image->owner.block_bytes - 1);
		uint64_t len = min_u64(image->owner.block_bytes - in_block, end - at);
		uint32_t first = (uint32_t)(in_block / DISK_SECTOR);
		uint32_t count = (uint32_t)(len / DISK_SECTOR);

		if (req->op == DISK_READ)
			e = read_block(op, block, first, count, why);
		else if (req->op == DISK_WRITE)
			e = write_block(op, block, first, count, why);
		else
			e = zero_block(op, block, first, count, why);
		at += len;
	}
	return e;
}

/* ---- completing ---- */

/* What a finished part means for the leaf (W1). Lock held. */
static void settle_part(struct image *image, struct part *part, bool ok)
{
	struct vhd_layer *layer = chain_leaf(&image->chain);
	uint64_t data_off;
	bool whole;

	if (!part->pend)
		return;
	if (!ok) {
		leaf_give_up(image->leaf, part->pend);
		return;
	}
	data_off = layer_data_off(layer, part->pend->entry);
	leaf_written(image->leaf, part->pend, part->first, part->count, &whole);
	if (whole)
		owner_assign(&image->owner, part->block, 0, layer->block_sectors,
			     image->chain.count - 1, data_off);
	else
		owner_assign(&image->owner, part->block, part->first, part->count,
			     image->chain.count - 1,
			     data_off + (uint64_t)part->first * DISK_SECTOR);
}

static bool wants_flush(const struct image *image, const struct op *op)
{
	if (op->req->op != DISK_WRITE && op->req->op != DISK_ZERO)
		return false;
	if (op->req->flags & DISK_FUA)
		return true;
	return image->leaf && (image->leaf->bitmap_bytes_held > MAX_BITMAPS_HELD ||
			       image->leaf->dirty > MAX_DIRTY_BLOCKS);
}

static enum err part_error(const struct part *part, struct err_why *why)
{
	static const char *const verb[] = {[FILE_READ] = "read",
					   [FILE_WRITE] = "write",
					   [FILE_ZERO] = "zeroing",
					   [FILE_PUNCH] = "hole punching"};
	const struct file_req *req = &part->req;

	if (!req->sys_errno)
		return err_set(why, req->result, "%s: %s at 0x%llx: %s", req->file->path,
			       verb[req->op], (unsigned long long)req->off_bytes,
			       err_name(req->result));
	err_sys(why, req->sys_errno, "%s: %s of %llu bytes at 0x%llx", req->file->path,
		verb[req->op], (unsigned long long)req->len_bytes,
		(unsigned long long)req->off_bytes);
	if (why)
		why->code = req->result;
	return req->result;
}

/* What a finished request leaves to be done in a writable image; true when it waits for a flush. */
static bool settle(struct op *op, bool ok)
{
	struct image *image = op->image;

	pthread_mutex_lock(&image->lock);
	for (unsigned i = 0; i < op->count; i++)
		settle_part(image, &op->part[i], op->part[i].req.result == ERR_OK);
	unlink_op(image, op);
	image_tell_idle(image);
	bool flush = ok && wants_flush(image, op);
	if (flush)
		flush_enqueue(image, op->queue, op);
	pthread_mutex_unlock(&image->lock);
	return flush;
}

/* All parts are done; on the op's own thread. */
static void finish(struct op *op)
{
	enum err result = ERR_OK;
	struct err_why why;

	/* The text first: once the op is settled its files may go (stack_push). */
	for (unsigned i = 0; i < op->count && !result; i++) {
		if (op->part[i].req.result) {
			why = (struct err_why){0};
			result = part_error(&op->part[i], &why);
		}
	}
	if (op->image->writable && settle(op, !result))
		return;
	struct disk_req *req = op->req;
	if (result)
		set_result(op, result, &why);
	else
		req->result = ERR_OK;
	free_op(op);
	disk_done(req);
}

static void part_done(struct file_req *req)
{
	struct op *op = container_of(req, struct part, req)->op;

	if (--op->left == 0)
		finish(op);
}

/* Nothing to do on any file: complete through the queue all the same, never from inside submit. */
static void finish_later(struct queue_work *work)
{
	finish(container_of(work, struct op, work));
}

static void start_parts(struct op *op)
{
	struct queue *queue = op->queue;
	unsigned count = op->count;
	struct part *part = op->part;

	if (!count) {
		op->work.run = finish_later;
		queue_post(queue, &op->work);
		return;
	}
	op->left = count;
	for (unsigned i = 0; i < count; i++) {
		part[i].op = op;
		part[i].req.done = part_done;
		file_submit(part[i].req.file, queue, &part[i].req);
	}
}

static struct op *new_op(struct image *image, struct queue *queue, struct disk_req *req)
{
	struct op *op = malloc(sizeof(*op));

	if (!op)
		return NULL;
	op->image = image;
	op->req = req;
	op->queue = queue;
	op->prev = op->next = NULL;
	op->count = 0;
	op->room = OP_INLINE_PARTS;
	op->part = op->inline_part;
	return op;
}

/* Map under the lock; on an error everything the mapping reserved is given back. */
static enum err begin(struct image *image, struct op *op, struct err_why *why)
{
	enum err e = ERR_OK;

	if (op->req->op != DISK_READ && image->poisoned)
		return err_set(why, ERR_POISONED, "%s", image->poison.text);
	if (image->writable)
		link_op(image, op);
	e = map_op(op, why);
	for (unsigned i = 0; i < op->count && !e; i++)
		e = set_iov(op, &op->part[i]);
	if (e) {
		for (unsigned i = 0; i < op->count; i++)
			settle_part(image, &op->part[i], false);
		if (image->writable)
			unlink_op(image, op);
		if (e == ERR_POISONED)
			image_poison(image, why);
	}
	return e;
}

/* Lock held; leaves it. */
static void submit_locked(struct image *image, struct op *op)
{
	struct err_why why; /* too large to be cleared for every request */

	why.code = ERR_OK;
	why.text[0] = 0;
	if (op->req->op == DISK_FLUSH) {
		flush_enqueue(image, op->queue, op);
		pthread_mutex_unlock(&image->lock);
		return;
	}
	enum err e = begin(image, op, &why);
	pthread_mutex_unlock(&image->lock);
	if (e)
		op_deliver(op, e, &why);
	else
		start_parts(op);
}

static void keep_waiting(struct image *image, struct op *op)
{
	op->flush_next = NULL;
	if (image->paused_last)
		image->paused_last->flush_next = op;
	else
		image->paused_first = op;
	image->paused_last = op;
}

void image_restart(struct queue_work *work)
{
	struct op *op = container_of(work, struct op, work);

	pthread_mutex_lock(&op->image->lock);
	/* the next pause may have begun before this thread came to it */
	if (op->image->paused) {
		keep_waiting(op->image, op);
		pthread_mutex_unlock(&op->image->lock);
		return;
	}
	submit_locked(op->image, op);
}

void image_submit(struct disk *disk, struct queue *queue, struct disk_req *req)
{
	struct image *image = image_of(disk);
	struct op *op = new_op(image, queue, req);

	if (!op) {
		req->result = err_set(req->why, ERR_NOMEM, "out of memory");
		disk_done_later(req);
		return;
	}
	pthread_mutex_lock(&image->lock);
	if (image->paused) {
		keep_waiting(image, op);
		pthread_mutex_unlock(&image->lock);
		return;
	}
	submit_locked(image, op);
}
