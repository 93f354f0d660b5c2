/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_EDIT_H
#define STRATA_VHD_EDIT_H

/*
 * One image opened alone for a structural change: compact, expand, shrink. It holds the whole BAT
 * and knows what lies where in the file; it can link and unlink blocks, move them, and move the
 * end of the file. What to change, and in which order, is the caller's.
 *
 * Not for payload of the disk, and no parents: those are vhd_open's.
 *
 * Units: a *place* is a sector number in the file, as in a BAT entry: a block at place p has its
 * bitmap at p * 512 and its data right behind (edit_span_bytes in all). Everything else is bytes.
 *
 * Durability: B is file_sync of the layer's file. Each function says whether it ends with one.
 * Errors: after a failed write or sync what is on disk is one of the states the rules allow, but
 * not known here: close and, if wanted, open again. Memory (bat) changes only after the write has
 * succeeded (W1).
 * Threads: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/progress.h"
#include "vhd/layer.h"

/* [from, to) in the file. */
struct edit_range {
	uint64_t from, to;
};

struct edit {
	struct vhd_layer *layer; /* validated; its footer and header may be changed and written */
	bool has_batmap;
	/* The rest is for dynamic and differencing images; empty for a fixed one. */
	uint32_t *bat;        /* as on disk: whole sectors, so with surplus and padding entries */
	uint32_t bat_entries; /* in `bat`; only the first layer->blocks are validated and used */
	uint32_t *order;      /* the used blocks by place, lowest first, as of edit_sort */
	uint32_t used;
	struct edit_range reserved[VHD_LOCATORS]; /* parent locators after the BAT, ascending */
	unsigned reserved_count;
};

/* Block `block` is to be at `place`; BAT_UNUSED: nowhere. */
struct edit_change {
	uint32_t block;
	uint32_t place;
};

/*
 * Open the image at `path`; uses opts->ns and opts->direct.
 * `writable`: an intent record is carried out, the writer's lock taken, and what a crash left of
 * the footers mended (durable on return). Not writable: the reader's lock, nothing is changed; a
 * missing trailing footer shows as layer->trailing_ok == false.
 * ERR_REPAIRABLE for a writable open of an image a half done merge goes into (merge_guard.h).
 * ERR_CORRUPT for BAT entries that overlap each other, the metadata, a locator or the footer.
 */
enum err edit_open(const char *path, const struct vhd_open_opts *opts, bool writable,
		   struct edit **out, struct err_why *why);
/* The same for a merge, which alone may change an image that is being merged into (M1). */
enum err edit_open_merging(const char *path, const struct vhd_open_opts *opts, bool writable,
			   struct edit **out, struct err_why *why);
/* NULL is allowed. */
enum err edit_close(struct edit *edit, struct err_why *why);

/* ---- what lies where ---- */

/* Bytes a block takes in the file, bitmap included. */
static inline uint64_t edit_span_bytes(const struct vhd_layer *layer)
{
	return (uint64_t)layer->bitmap_bytes + layer->block_bytes;
}

/* The lowest offset at or after `from` where a block can be so that its data is 4 KiB aligned. */
uint64_t edit_aligned_off(const struct vhd_layer *layer, uint64_t from);
/* From one such block to the next. */
uint64_t edit_aligned_stride(const struct vhd_layer *layer);

/* End of the last block, locator or table, whichever is highest: where the footer could be. */
uint64_t edit_end(const struct edit *edit);

/* Bring `order` and `used` up to date with `bat`; ERR_CORRUPT when blocks overlap. */
enum err edit_sort(struct edit *edit, struct err_why *why);

/* Bring `reserved` up to date with the header. */
void edit_find_reserved(struct edit *edit);

/*
 * Free ranges between the BAT and the trailing footer, ascending, from `order` and `reserved`.
 * Start with a zeroed struct; false at the end.
 */
struct edit_gap {
	struct edit_range free;
	/* private */
	uint64_t at;
	uint32_t block;
	unsigned locator;
};
bool edit_next_gap(const struct edit *edit, struct edit_gap *gap);

/* ---- changes ---- */

/* Make a XenServer batmap invalid, B; nothing when there is none. Before the first edit_publish. */
enum err edit_drop_batmap(struct edit *edit, struct err_why *why);

/* Publish these BAT entries in place. No B. `bat` is changed, `order` is not. */
enum err edit_publish(struct edit *edit, const struct edit_change *change, uint32_t count,
		      struct err_why *why);
/* The same in memory alone, for a dry run. */
void edit_assume(struct edit *edit, const struct edit_change *change, uint32_t count);

/*
 * Make the file end with a footer at `footer_off`, behind the present one: space allocated and
 * footer written, B (W3). What is between is zero but for the old footer's sector, which is free
 * space from then on; B again after zeroing it. ERR_NOSPC, or any error before the first B, leaves
 * the file as it was (P5). Refused on a block device.
 */
enum err edit_grow(struct edit *edit, uint64_t footer_off, struct err_why *why);

/*
 * Make the file end with a footer at `footer_off`, before the present one: footer written, B,
 * truncate, B (W11). Nothing of use may be behind. Does nothing on a block device, and when the
 * footer is there already.
 */
enum err edit_cut(struct edit *edit, uint64_t footer_off, struct err_why *why);

/* ---- long work ---- */

/* Progress over several steps of one operation; zero but for `to` and `total_bytes`. */
struct edit_work {
	struct progress *to; /* may be NULL */
	uint64_t total_bytes;
	uint64_t done_bytes;
	uint64_t told_ns;
};

/* That many bytes more are done; false: stop at the next consistent point. */
bool edit_work_done(struct edit_work *work, uint64_t bytes);

/*
 * Move blocks (W10), in batches: copy, B, publish, B. Every target is free in the file as it is on
 * stable storage now, and no target overlaps another or a block that moves. Durable on return.
 * Counts span bytes in `work`; cancelled between two batches, with those before moved for good.
 * *moved (may be NULL): how many of the changes are durable, also on errors. `order` is not
 * changed.
 */
enum err edit_move(struct edit *edit, const struct edit_change *change, uint32_t count,
		   struct edit_work *work, uint32_t *moved, struct err_why *why);

#endif
