/* SPDX-License-Identifier: MIT */
#include "fuse/io.h"

#include <string.h>

#include "util/bytes.h"

void byte_disk_init(struct byte_disk *disk, struct disk *below)
{
	disk->disk = below;
	gate_init(&disk->gate);
}

void byte_disk_destroy(struct byte_disk *disk)
{
	gate_destroy(&disk->gate);
}

size_t byte_read_room(uint64_t off_bytes, uint64_t len_bytes)
{
	return (size_t)(round_up(off_bytes + len_bytes, DISK_SECTOR) -
			round_down(off_bytes, DISK_SECTOR));
}

/* ---- one request to the disk ---- */

static void below_submit(struct byte_req *req, enum disk_op op, void *buf, uint64_t off_bytes,
			 uint64_t len_bytes, void (*done)(struct disk_req *below))
{
	req->iov = (struct iovec){.iov_base = buf, .iov_len = len_bytes};
	req->below = (struct disk_req){
	    .op = op,
	    .flags = op == DISK_WRITE ? req->flags & DISK_FUA : 0,
	    .off_bytes = off_bytes,
	    .len_bytes = len_bytes,
	    .iov = buf ? &req->iov : NULL,
	    .iov_count = buf ? 1 : 0,
	    .done = done,
	    .owner = req,
	    .why = &req->why,
	};
	if (op == DISK_ZERO)
		req->below.flags = req->flags;
	disk_submit(req->disk->disk, req->queue, &req->below);
}

/* ---- reads and flushes ---- */

static void plain_done(struct disk_req *below)
{
	struct byte_req *req = below->owner;

	req->result = below->result;
	req->done(req);
}

static void read_start(struct byte_req *req)
{
	uint64_t start = round_down(req->off_bytes, DISK_SECTOR);

	req->data = req->buf + (req->off_bytes - start);
	below_submit(req, DISK_READ, req->buf, start,
		     byte_read_room(req->off_bytes, req->len_bytes), plain_done);
}

/* ---- changes: from at_bytes to end_bytes, a step at a time ---- */

static void change_next(struct byte_req *req);

static void change_finish(struct byte_req *req, enum err result)
{
	gate_leave(&req->disk->gate, req->waiter.mode);
	req->result = result;
	req->done(req);
}

static void step_done(struct disk_req *below)
{
	struct byte_req *req = below->owner;

	if (below->result) {
		change_finish(req, below->result);
		return;
	}
	req->at_bytes = min_u64(req->end_bytes, below->off_bytes + below->len_bytes);
	change_next(req);
}

static uint8_t *payload_at(const struct byte_req *req)
{
	return req->op == DISK_WRITE ? req->buf + (req->at_bytes - req->off_bytes) : NULL;
}

static void edge_read_done(struct disk_req *below)
{
	struct byte_req *req = below->owner;
	uint64_t sector = below->off_bytes;
	uint64_t end = min_u64(req->end_bytes, sector + DISK_SECTOR);
	uint8_t *patch = req->edge + (req->at_bytes - sector);
	size_t len = end - req->at_bytes;

	if (below->result) {
		change_finish(req, below->result);
		return;
	}
	if (req->op == DISK_WRITE)
		memcpy(patch, payload_at(req), len);
	else
		memset(patch, 0, len);
	below_submit(req, DISK_WRITE, req->edge, sector, DISK_SECTOR, step_done);
}

static void change_next(struct byte_req *req)
{
	uint64_t sector = round_down(req->at_bytes, DISK_SECTOR);
	uint64_t whole = round_down(req->end_bytes - req->at_bytes, DISK_SECTOR);

	if (req->at_bytes == req->end_bytes)
		change_finish(req, ERR_OK);
	else if (req->at_bytes == sector && whole)
		below_submit(req, req->op, payload_at(req), sector, whole, step_done);
	else
		below_submit(req, DISK_READ, req->edge, sector, DISK_SECTOR, edge_read_done);
}

static void change_admitted(struct queue_work *work)
{
	change_next(container_of(work, struct byte_req, waiter.work));
}

static void change_start(struct byte_req *req)
{
	bool whole = !((req->off_bytes | req->len_bytes) % DISK_SECTOR);

	req->at_bytes = req->off_bytes;
	req->end_bytes = req->off_bytes + req->len_bytes;
	req->waiter = (struct gate_waiter){
	    .work = {.run = change_admitted},
	    .queue = req->queue,
	    .mode = whole ? GATE_SHARED : GATE_EXCLUSIVE,
	};
	if (gate_enter(&req->disk->gate, &req->waiter))
		change_next(req);
}

void byte_submit(struct byte_disk *disk, struct queue *queue, struct byte_req *req)
{
	req->disk = disk;
	req->queue = queue;
	if (req->op == DISK_READ)
		read_start(req);
	else if (req->op == DISK_FLUSH)
		below_submit(req, DISK_FLUSH, NULL, 0, 0, plain_done);
	else
		change_start(req);
}
