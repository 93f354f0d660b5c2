/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_IO_H
#define STRATA_FUSE_IO_H

/*
 * Requests of any offset and length on a disk that knows whole sectors only.
 *
 * Reads are widened. Of a write or zero the whole sectors go straight to the disk; a sector it
 * covers in part is read, patched and written back with no other change to the disk under way, so
 * that neighbours in one sector do not lose each other's bytes. Requests on whole sectors do not
 * wait for each other.
 *
 * Ownership: request and buffer stay the caller's until `done`, which runs exactly once, on the
 * thread of the queue and never from inside byte_submit. Durability and errors are the disk's
 * (block/block.h); a change that fails half way has changed any part of its range.
 */

#include "block/block.h"
#include "block/queue.h"
#include "fuse/gate.h"

/* A disk, and what orders the changes to parts of its sectors. */
struct byte_disk {
	struct disk *disk;
	struct gate gate;
};

struct byte_req {
	enum disk_op op; /* READ, WRITE, ZERO or FLUSH */
	unsigned flags;  /* enum disk_req_flags */
	uint64_t off_bytes;
	uint64_t len_bytes; /* not 0, but for FLUSH; the range is inside the disk */
	/* WRITE: the bytes. READ: room for byte_read_room(); they will be at `data`. */
	uint8_t *buf;
	void (*done)(struct byte_req *req);

	/* valid in done */
	enum err result;
	struct err_why why; /* on failure */
	uint8_t *data;

	/* private */
	struct byte_disk *disk;
	struct queue *queue;
	struct disk_req below;
	struct iovec iov;
	struct gate_waiter waiter;
	uint64_t at_bytes; /* changes: what is before it is done */
	uint64_t end_bytes;
	uint8_t edge[DISK_SECTOR];
};

void byte_disk_init(struct byte_disk *disk, struct disk *below);
/* Does not close what is below. Nothing may be in flight. */
void byte_disk_destroy(struct byte_disk *disk);

/* Bytes that `buf` of a read needs. */
size_t byte_read_room(uint64_t off_bytes, uint64_t len_bytes);

void byte_submit(struct byte_disk *disk, struct queue *queue, struct byte_req *req);

#endif
