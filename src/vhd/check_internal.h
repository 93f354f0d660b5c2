/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_CHECK_INTERNAL_H
#define STRATA_VHD_CHECK_INTERNAL_H

/*
 * What the parts of check share: check.c (findings and the whole walk), check_head.c (footers,
 * header, locators, parent), check_blocks.c (BAT, bitmaps, batmap) and repair.c.
 *
 * The walk goes as far as what it has found allows: a bad checksum is a finding, and the fields
 * behind it are looked at all the same as long as they make sense. The functions return an error
 * only when looking was not possible (I/O, memory, cancelled).
 */

#include "util/progress.h"
#include "vhd/layer.h"
#include "vhd/vhd.h"

/* What repair is to do, in this order, a B after each. */
struct check_plan {
	bool settle_intent;  /* carry out the intent record, or remove a stale one; check again */
	bool write_trailing; /* from the copy, behind the last block */
	bool write_copy;     /* from the trailing footer */
	bool drop_batmap;
	bool clear_surplus; /* BAT entries past the end of the disk */
};

struct check {
	struct file_ns *ns;
	const struct vhd_open_opts *opts;
	struct progress *progress;
	struct vhd_report *report;
	struct check_plan plan;
	size_t found[FINDING_CORRUPT + 1]; /* findings by kind, suppressed ones included */
	/*
	 * What could be made out, filled in as far as the has_* say; not checked as layer_open
	 * would, so that only functions of layer.h may be used which take offsets as they come.
	 */
	struct vhd_layer layer;
	bool has_footer;                /* a footer that can be gone by */
	struct vhd_finding no_trailing; /* why the copy is gone by; field "": it is not */
	bool has_header;
	uint32_t bat_entries; /* of max_entries, those inside the file */
	uint32_t *bat;
	uint32_t *order; /* blocks inside the file, by place */
	uint32_t used;
	uint64_t blocks_end; /* end of the highest block, table or locator */
	bool entry_outside;  /* a BAT entry leads out of the file */
};

/*
 * A new finding, or NULL when there are too many of its kind already or no memory; the functions
 * that fill it in accept NULL. `field` is a format.
 */
struct vhd_finding *check_add(struct check *check, enum vhd_finding_kind kind, uint64_t off_bytes,
			      const char *field, ...) __attribute__((format(printf, 4, 5)));
void check_rule(struct vhd_finding *finding, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void check_action(struct vhd_finding *finding, const char *text);

/* Open `path` with `flags` and the lock that goes with them; check_end releases all of it. */
enum err check_begin(struct check *check, const char *path, const struct vhd_open_opts *opts,
		     unsigned flags, struct vhd_report *report, struct err_why *why);
/* Everything there is to look at, into the report and the plan. */
enum err check_walk(struct check *check, struct err_why *why);
enum err check_end(struct check *check, struct err_why *why);

/* ---- check_head.c ---- */
enum err check_footers(struct check *check, struct err_why *why);
/* Needs has_footer and a sparse type. */
enum err check_header(struct check *check, struct err_why *why);
/* Needs has_header and the order of the blocks. */
enum err check_locators(struct check *check, struct err_why *why);
enum err check_parent(struct check *check, struct err_why *why);

/* ---- check_blocks.c ---- */
/* Need has_header. */
enum err check_bat(struct check *check, struct err_why *why);
enum err check_bitmaps(struct check *check, struct err_why *why);
void check_tail(struct check *check);
/* The used block that covers a byte of [from, to), or UINT32_MAX. */
uint32_t check_block_in(const struct check *check, uint64_t from, uint64_t to);

#endif
