/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_IMAGE_H
#define STRATA_VHD_IMAGE_H

/*
 * An open VHD disk: the chain, the owner map, the leaf's write state, and what is in flight.
 *
 * A request becomes an `op` with one `part` for each stretch of a file it touches. The mapping is
 * done under the image's lock; the parts then go from the caller's buffers to the files without
 * passing through here; completing them under the lock makes what was written visible (W1).
 *
 * Threads: `lock` guards everything but the fields marked otherwise. Metadata of blocks touched
 * for the first time is read, and space is grown, while it is held.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "block/queue.h"
#include "util/bytes.h"
#include "vhd/chain.h"
#include "vhd/leaf.h"
#include "vhd/owner.h"

struct op;
struct flush_run;

struct part {
	struct file_req req;
	struct op *op;
	struct vhd_layer *layer; /* held until the op is freed; NULL: needs no holding */
	struct pend *pend;       /* first write to sectors of the leaf; NULL otherwise */
	uint32_t block;          /* with pend: which sectors of which block */
	uint32_t first, count;
	uint64_t disk_off; /* where the part begins in the request's range, bytes */
	struct iovec one;  /* its iovec when one entry is enough */
	struct iovec *iov; /* when not */
};

#define OP_INLINE_PARTS 2

struct op {
	struct image *image;
	struct disk_req *req;
	struct queue *queue;
	uint64_t seq;
	unsigned left; /* parts in flight; touched on the queue's thread only */
	unsigned count, room;
	struct part *part;
	struct part inline_part[OP_INLINE_PARTS];
	struct queue_work work;
	struct op *prev, *next; /* all ops in flight, oldest first; of writable images */
	struct op *flush_next;  /* also: the next one that waits for stack_resume */
};

struct image {
	struct disk base;
	pthread_mutex_t lock;
	struct vhd_chain chain;
	struct owner_map owner; /* unused when the only file is fixed */
	struct leaf *leaf;      /* writable sparse leaf; NULL otherwise */
	bool writable;          /* as opened */
	/* what stack.c opens further files with */
	struct file_ns *ns;
	bool direct;
	uint64_t map_budget_bytes;
	/* what info says, also while the stack changes */
	uint64_t size_bytes;
	uint32_t optimal_bytes;
	_Atomic bool sparse;

	_Atomic bool poisoned;
	struct err_why poison;

	uint64_t next_seq;
	struct op *oldest, *newest;

	struct flush_run *flushing;            /* the flush in progress */
	struct op *flush_waiting, *flush_last; /* for the next one, oldest first */
	bool flush_posted;                     /* which is on its way to another queue */

	bool paused;                           /* by stack_pause */
	pthread_cond_t idle;                   /* nothing is in flight, while paused */
	struct op *paused_first, *paused_last; /* requests that wait, oldest first */

	struct vhd_layer **retired; /* replaced, but perhaps still being read */
	unsigned retired_count;

	_Atomic uint64_t syncs; /* by flushes */
	uint64_t flushes;
};

static inline struct image *image_of(struct disk *disk)
{
	return container_of(disk, struct image, base);
}

/* ---- image.c ---- */
/*
 * A disk from the files of `chain`, which it takes over whatever happens. A writable leaf is open
 * for writing and locked. A chain that ends early is a disk of what its files hold by themselves.
 */
enum err image_new(struct vhd_chain *chain, bool writable, uint64_t map_budget_bytes,
		   struct disk **out, struct err_why *why);

/* Space made ahead and not used goes back; what the BAT names is the end of the file. */
enum err image_trim_tail(struct image *image, struct err_why *why);

/* ---- stack.c: called where something in flight has ended. Lock held. ---- */
void image_tell_idle(struct image *image);
/* Closes what stack_replace left. */
void image_free_retired(struct image *image);

/* ---- ops.c ---- */
/* Start a request that image_submit had to keep waiting; on the op's own thread. */
void image_restart(struct queue_work *work);
void image_submit(struct disk *disk, struct queue *queue, struct disk_req *req);
/* Add a part for `len_bytes` at disk_off (absolute) of the op's request; joins with the last one
 * where both are reads of neighbouring bytes. Takes over the caller's hold on the layer. NULL: out
 * of memory. */
struct part *op_add_part(struct op *op, enum file_op kind, struct vhd_layer *layer,
			 uint64_t file_off, uint64_t disk_off, uint64_t len_bytes);
/*
 * A part that writes or zeroes sectors of one block in the leaf: in place when it owns them all
 * already, else reserving what a first write needs.
 */
enum err op_add_leaf_part(struct op *op, enum file_op kind, uint32_t block, uint32_t first,
			  uint32_t count, bool owned, struct err_why *why);
/*
 * Have the result delivered on the op's own queue, then free the op. Any thread, lock held or not:
 * `done` runs later.
 */
void op_deliver(struct op *op, enum err result, const struct err_why *why);

/* ---- zero.c: DISK_ZERO and DISK_TRIM, one block's worth ---- */
enum err zero_block(struct op *op, uint32_t block, uint32_t first, uint32_t count,
		    struct err_why *why);

/* ---- flush.c ---- */
/* Make durable what has completed, then deliver `op`. `queue` is the calling thread's. Lock held.
 */
void flush_enqueue(struct image *image, struct queue *queue, struct op *op);
/* The same, blocking, for closing. Nothing may be in flight. Lock held. */
enum err flush_now(struct image *image, struct err_why *why);

/* Refuse writes from now on. Lock held. */
void image_poison(struct image *image, const struct err_why *why);
/* Lowest sequence number in flight, or next_seq. Lock held. */
uint64_t image_oldest_seq(const struct image *image);

#endif
