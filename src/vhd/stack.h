/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_STACK_H
#define STRATA_VHD_STACK_H

/*
 * A disk from files somebody else keeps account of: which they are and in which order comes from
 * the caller, not from what their headers say of parents. Files below the leaf are opened when they
 * are first needed and may be closed in between (parking.h); what tells whether they changed, and
 * who may write to them, is the caller's business, as they are not locked. The leaf of a writable
 * disk is open all the time and has the writer's image lock.
 *
 * The stack of an open disk can change: a new leaf on top (a snapshot), or fewer files somewhere
 * (a fold), without what it reads as changing.
 */

#include "vhd/parking.h"
#include "vhd/vhd.h"

struct stack_opts {
	struct file_ns *ns;
	bool writable;  /* the last file */
	bool lock_leaf; /* read-only: the last file is locked for reading, and open all the time */
	bool direct;
	uint64_t map_budget_bytes; /* 0: 32 MiB */
};

/* What the headers of a file say; facts->path is `path`. Locks it for reading for that moment. */
enum err stack_look(struct file_ns *ns, const char *path, struct layer_facts *facts,
		    struct guid *parent, struct err_why *why);

/* `files`, base first. Nothing is opened but the last one, if it is to be written. */
enum err stack_open(const struct layer_facts *files, unsigned count, const struct stack_opts *opts,
		    struct disk **out, struct err_why *why);

/*
 * Have requests wait from now on, wait for those in flight, make all of it durable, and give back
 * space that was made ahead: the leaf's file is then as it will stay until stack_resume. Requests
 * of the calling thread's own queues must not be in flight. After an error the disk goes on, but is
 * poisoned where what is on the storage is not known any more.
 */
enum err stack_pause(struct disk *disk, struct err_why *why);
void stack_resume(struct disk *disk);
/* While paused: whether the leaf is still the leaf cannot be told. It takes no more writes. */
void stack_poison(struct disk *disk, const struct err_why *why);

/*
 * While paused: `leaf`, an empty child of the present leaf and of the same size, is to go on top
 * and take the writes. All that can fail is done by stack_prepare, which changes nothing; then
 * comes stack_push, or stack_drop if it is not to be.
 */
struct stack_next;
enum err stack_prepare(struct disk *disk, const struct layer_facts *leaf, struct stack_next **out,
		       struct err_why *why);
void stack_push(struct disk *disk, struct stack_next *next);
void stack_drop(struct stack_next *next);

/*
 * Make the file at `path`, which nobody writes to any more, what stack_pause leaves behind: mended
 * if a crash left something to mend, and durable with its time of change.
 */
enum err stack_seal(struct file_ns *ns, const char *path, struct err_why *why);

/*
 * The `old` files from number `first` (the base is 0) are the `count` ones of `files` from now on,
 * which together read as they do. A leaf that is locked cannot be among them. Reads go on
 * meanwhile. The old files may still be read from until stack_settle says no, or the disk is
 * closed.
 */
enum err stack_replace(struct disk *disk, unsigned first, unsigned old,
		       const struct layer_facts *files, unsigned count, struct err_why *why);
/* Let go of replaced files nobody reads any more. Whether that were all. */
bool stack_settle(struct disk *disk);

/*
 * Copy what one file holds to another one, for a fold: of the sectors that `from` (a child, or its
 * parent) holds, those that `into` is to hold after it.
 *  - up:   `lower` into `upper`: what `upper` does not hold itself;
 *  - down: `upper` into `lower`: all that `upper` holds.
 * Down, both disks have the same size. `below` are the files under `lower`, base first. What a
 * chain through both reads as changes at no moment, even if it is interrupted or done twice.
 */
struct stack_fold {
	struct file_ns *ns;
	const struct layer_facts *below;
	unsigned below_count;
	const struct layer_facts *lower, *upper;
	bool down;
	uint64_t from_off;     /* go on at this place of the disk */
	uint64_t budget_bytes; /* stop after about so much; 0: no limit */
	bool gentle;           /* leave most of the disk's time to others */
	struct progress *progress;
	uint64_t total_bytes; /* for progress */
	uint64_t done_bytes;  /* before this call; for progress */
};

/* How many bytes each way would copy; reads metadata alone. */
enum err stack_fold_cost(const struct stack_fold *fold, uint64_t *up_bytes, uint64_t *down_bytes,
			 struct err_why *why);
/*
 * *next_off is where to go on, the disk's size when all is done; what is before it is durable in
 * the target on return, also on errors. *moved_bytes is how much was copied.
 */
enum err stack_fold_copy(const struct stack_fold *fold, uint64_t *next_off, uint64_t *moved_bytes,
			 struct err_why *why);

/* The file gets this UUID, in all its footers or none. It is durable and closed on return. */
enum err stack_set_uuid(struct file_ns *ns, const char *path, const struct guid *uuid,
			struct err_why *why);

/*
 * The parent name, UUID and locators of `path` say `parent_path` from now on. Nothing happens when
 * they do already.
 */
enum err stack_relink(struct file_ns *ns, const char *path, const char *parent_path,
		      const struct guid *parent_uuid, struct err_why *why);

#endif
