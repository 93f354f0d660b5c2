/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_BLOCK_H
#define STRATA_BLOCK_BLOCK_H

/*
 * The disk contract: what a format provides and what the tools, the FUSE mount and the virtual
 * machine's storage use. Filters (stats, fault) stack on this side.
 *
 * Units: bytes; every offset and length is a multiple of 512 (DISK_SECTOR). The contract is
 * checked once, in disk_submit: range, alignment, iovec sum, capability, flags. What stands
 * behind it may trust that.
 *
 * Success of DISK_WRITE, DISK_ZERO and DISK_TRIM means "in the disk", not "on stable storage". A
 * DISK_FLUSH that completes makes everything that had completed before its submission durable
 * (P1); DISK_FUA does so for its own request. After a crash an unflushed write is, per sector,
 * old or new (P2).
 *
 * Ownership: request, iovec array and buffers stay the caller's and must live until `done`, which
 * runs exactly once for each submit, on the thread of the queue, from queue_wait/queue_poll,
 * never from inside disk_submit.
 *
 * Threads: a disk may be used from many queues, each with its own thread. Requests in flight
 * together are not ordered; overlapping ones give, per sector, one or the other. disk_map and
 * disk_get_info may be called from any thread. disk_close comes after the last `done`.
 *
 * Errors: the class in `result`, the sentence in `why`. A failed flush is final: the disk refuses
 * writes from then on (ERR_POISONED) and reading goes on.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/queue.h"
#include "util/err.h"

#define DISK_SECTOR 512u

struct disk;

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_ZERO, /* the range reads as zero afterwards */
	DISK_TRIM, /* the content no longer matters: reads old data or zeros, never a parent's */
};

enum disk_req_flags {
	DISK_FUA = 1,       /* WRITE, ZERO: durable before `done` */
	DISK_KEEP_SPACE = 2 /* ZERO: do not give space back */
};

struct disk_req {
	enum disk_op op;
	unsigned flags;
	uint64_t off_bytes;
	uint64_t len_bytes;
	const struct iovec *iov; /* READ and WRITE */
	unsigned iov_count;
	void (*done)(struct disk_req *req);
	void *owner; /* the caller's */

	struct err_why *why; /* may be NULL; filled on failure, valid in done */

	enum err result; /* valid in done */

	/* private to the implementation */
	struct disk_req *next;
	struct queue *queue; /* set by disk_submit */
	void *impl;
	struct queue_work work; /* disk_done_later's */
};

struct disk_info {
	uint64_t size_bytes;
	uint32_t optimal_bytes; /* preferred unit of allocation: a block */
	bool writable;
	bool can_trim;
	bool poisoned;
};

enum disk_extent_state { EXTENT_ZERO, EXTENT_DATA };

/* A run of the disk with one owner. `path` is valid until the disk or its stack changes. */
struct disk_extent {
	uint64_t start_bytes;
	uint64_t len_bytes;
	enum disk_extent_state state;
	unsigned depth;   /* 0: the leaf, 1: its parent, ... */
	const char *path; /* file that holds it; NULL for EXTENT_ZERO */
	uint64_t file_off_bytes;
};

struct disk_ops {
	const char *name;
	void (*submit)(struct disk *disk, struct queue *queue, struct disk_req *req);
	/* The extent that starts at off_bytes, cut to len_bytes; may read metadata. */
	enum err (*map)(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
			struct disk_extent *out, struct err_why *why);
	/* Cheap: disk_submit asks for every request. */
	void (*info)(struct disk *disk, struct disk_info *out);
	/* Flushes first when writable. The disk is gone whatever is returned. */
	enum err (*close)(struct disk *disk, struct err_why *why);
};

struct disk {
	const struct disk_ops *ops;
};

/*
 * How implementations complete a request whose `result` is set: at once, from a completion on the
 * request's own thread - or later, from its queue: from inside submit, or from another thread.
 */
void disk_done(struct disk_req *req);
void disk_done_later(struct disk_req *req);

void disk_submit(struct disk *disk, struct queue *queue, struct disk_req *req);
enum err disk_map(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
		  struct disk_extent *out, struct err_why *why);
void disk_get_info(struct disk *disk, struct disk_info *out);
/* NULL is allowed. */
enum err disk_close(struct disk *disk, struct err_why *why);

/* Synchronous wrappers: submit one request and run `queue` until it is done. */
enum err disk_read(struct disk *disk, struct queue *queue, void *buf, uint64_t off_bytes,
		   uint64_t len_bytes, struct err_why *why);
enum err disk_write(struct disk *disk, struct queue *queue, const void *buf, uint64_t off_bytes,
		    uint64_t len_bytes, struct err_why *why);
enum err disk_zero(struct disk *disk, struct queue *queue, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why);
enum err disk_trim(struct disk *disk, struct queue *queue, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why);
enum err disk_flush(struct disk *disk, struct queue *queue, struct err_why *why);

/*
 * A raw image or block device as a disk; takes over `file` (closed by disk_close, and on error
 * here too). A size that is not a whole number of sectors is rounded up; the rest reads as zero
 * and the file grows only when it is written.
 */
struct file;
enum err raw_disk_open(struct file *file, struct disk **out, struct err_why *why);

#endif
