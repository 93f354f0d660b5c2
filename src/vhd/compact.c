/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/compact_free.h"
#include "vhd/compact_plan.h"
#include "vhd/compact_scan.h"
#include "vhd/parent.h"

/*
 * Compaction in place. Every step begins and ends with a valid image that reads the same (but for
 * what the file systems call free), so that it may stop or die between any two:
 *
 *   look:  which blocks hold nothing, and in a child: below which nothing lies (W9)
 *   drop:  unlink them in the BAT, B
 *   move:  the last blocks into the holes (W10)
 *   cut:   the footer behind the last block, B, truncate, B (W11)
 */
struct compaction {
	const char *path;
	const struct vhd_open_opts *open_opts;
	const struct vhd_compact_opts *opts;
	struct vhd_compact_result *result;
	struct edit *edit;
	struct disk *parent; /* of a differencing image */
	struct queue *queue;
	struct free_map free;
	uint8_t *verdict; /* enum scan_verdict, by position in edit->order */
	struct edit_work work;
};

/* ---- look ---- */

/* The parents as a disk of their own, with the reader's locks held as long as it is open. */
static enum err open_parent(struct compaction *c, struct err_why *why)
{
	struct vhd_open_opts opts = *c->open_opts;
	struct vhd_layer *found;
	enum err e = parent_open(c->edit->layer, &opts, true, 0, &found, why);

	if (e)
		return e;
	char *path = strdup(found->path);
	layer_close(found, NULL);
	if (!path)
		return err_set(why, ERR_NOMEM, "out of memory");
	opts.writable = false;
	opts.parent = NULL;
	opts.ignore_parent_id = false;
	e = vhd_open(path, &opts, &c->parent, why);
	free(path);
	return e;
}

/* Ask the file systems through a view of the whole chain; our own lock is on the leaf already. */
static enum err ask_filesystems(struct compaction *c, struct err_why *why)
{
	struct vhd_open_opts opts = *c->open_opts;
	struct disk *disk;

	opts.writable = false;
	opts.no_lock = true;
	enum err e = vhd_open(c->path, &opts, &disk, why);
	if (e)
		return e;
	e = free_map_load(&c->free, disk, c->queue, why);
	enum err closed = disk_close(disk, e ? NULL : why);
	c->result->filesystems = c->free.filesystems;
	memcpy(c->result->note, c->free.note, sizeof(c->result->note));
	return e ? e : closed;
}

/* W9: a child's block stays where dropping it would uncover something. */
static enum err keep_covering(struct compaction *c, struct err_why *why)
{
	bool payload = c->opts->mode != COMPACT_QUICK;
	enum err e = ERR_OK;

	for (uint32_t i = 0; c->parent && i < c->edit->used && !e; i++) {
		bool zero = true;

		if (c->verdict[i] == SCAN_KEEP)
			continue;
		e = scan_below(c->edit, c->parent, c->queue, c->edit->order[i], payload, &zero,
			       why);
		if (!zero)
			c->verdict[i] = SCAN_KEEP;
		if (!e && !edit_work_done(&c->work, 0))
			e = err_set(why, ERR_CANCELLED, "%s: stopped while reading the parent",
				    c->path);
	}
	return e;
}

static enum err look(struct compaction *c, struct err_why *why)
{
	enum vhd_compact_mode mode = c->opts->mode;
	enum err e = ERR_OK;

	c->verdict = calloc(1, (size_t)c->edit->used + 1);
	if (!c->verdict)
		return err_set(why, ERR_NOMEM, "out of memory");
	if (c->edit->layer->footer.type == VHD_DIFFERENCING)
		e = open_parent(c, why);
	if (!e && mode != COMPACT_PREZEROED)
		e = ask_filesystems(c, why);
	if (e)
		return e;
	if (mode == COMPACT_QUICK)
		scan_by_map(c->edit, &c->free, c->verdict);
	else
		e = scan_blocks(c->edit, c->queue, mode == COMPACT_FULL ? &c->free : NULL,
				c->verdict, &c->work, why);
	return e ? e : keep_covering(c, why);
}

/* ---- drop ---- */

/* Entries past the end of the disk are nobody's, but a later growth would bring them back. */
static bool is_surplus(const struct edit *edit, uint32_t block)
{
	return block < edit->layer->header.max_entries && edit->bat[block] != BAT_UNUSED;
}

static enum err list_drops(struct compaction *c, struct edit_change **out, uint32_t *count,
			   struct err_why *why)
{
	const struct edit *edit = c->edit;
	uint32_t n = 0, i;

	for (i = 0; i < edit->used; i++) {
		c->result->blocks_zero += c->verdict[i] == SCAN_ZERO;
		c->result->blocks_free += c->verdict[i] == SCAN_FREE;
		n += c->verdict[i] != SCAN_KEEP;
	}
	for (i = edit->layer->blocks; i < edit->bat_entries; i++)
		n += is_surplus(edit, i);
	struct edit_change *change = malloc(((size_t)n + 1) * sizeof(*change));
	if (!change)
		return err_set(why, ERR_NOMEM, "out of memory");
	n = 0;
	for (i = 0; i < edit->used; i++) {
		if (c->verdict[i] != SCAN_KEEP)
			change[n++] = (struct edit_change){edit->order[i], BAT_UNUSED};
	}
	for (i = edit->layer->blocks; i < edit->bat_entries; i++) {
		if (is_surplus(edit, i))
			change[n++] = (struct edit_change){i, BAT_UNUSED};
	}
	*out = change;
	*count = n;
	return ERR_OK;
}

static enum err publish_drops(struct edit *edit, const struct edit_change *change, uint32_t count,
			      struct err_why *why)
{
	enum err e = edit_drop_batmap(edit, why);

	if (!e)
		e = edit_publish(edit, change, count, why);
	return e ? e : file_sync(edit->layer->file, why);
}

static enum err drop(struct compaction *c, struct err_why *why)
{
	struct edit_change *change;
	uint32_t count;
	enum err e = list_drops(c, &change, &count, why);

	if (e)
		return e;
	if (count && c->opts->dry_run)
		edit_assume(c->edit, change, count);
	else if (count)
		e = publish_drops(c->edit, change, count, why);
	free(change);
	return e ? e : edit_sort(c->edit, why);
}

/* ---- move, cut ---- */

static enum err carry_out(struct compaction *c, const struct compact_plan *plan,
			  struct err_why *why)
{
	struct edit *edit = c->edit;
	uint32_t moved = 0;
	enum err e = ERR_OK;

	c->work.total_bytes = c->work.done_bytes + plan->count * edit_span_bytes(edit->layer);
	if (plan->count || plan->end_off < edit->layer->footer_off)
		e = edit_drop_batmap(edit, why);
	if (!e)
		e = edit_move(edit, plan->move, plan->count, &c->work, &moved, why);
	c->result->blocks_moved = moved;
	return e ? e : edit_cut(edit, plan->end_off, why);
}

static enum err shorten(struct compaction *c, struct err_why *why)
{
	const struct vhd_layer *layer = c->edit->layer;
	struct compact_plan plan;
	enum err e = compact_plan_make(c->edit, &plan, why);

	if (e)
		return e;
	if (c->opts->dry_run)
		c->result->blocks_moved = plan.count;
	else
		e = carry_out(c, &plan, why);
	if (!e && !layer->info.block_device)
		c->result->file_after = min_u64(plan.end_off, layer->footer_off) + FOOTER_BYTES;
	compact_plan_free(&plan);
	return e;
}

/* ---- the whole ---- */

static enum err run(struct compaction *c, struct err_why *why)
{
	struct edit *edit = c->edit;
	uint64_t scan_bytes = (uint64_t)edit->used * edit->layer->block_bytes;

	*c->result = (struct vhd_compact_result){.blocks_before = edit->used,
						 .blocks_after = edit->used,
						 .file_before = edit->layer->info.size_bytes,
						 .file_after = edit->layer->info.size_bytes};
	if (!layer_is_sparse(edit->layer)) {
		snprintf(c->result->note, sizeof(c->result->note),
			 "a fixed disk has no blocks that could be dropped");
		return ERR_OK;
	}
	/* How much will be moved is not known yet: at most as much as is looked at. */
	c->work = (struct edit_work){.to = c->opts->progress,
				     .total_bytes = scan_bytes * (c->opts->dry_run ? 1 : 2)};
	enum err e = queue_create(32, &c->queue, why);
	if (!e)
		e = look(c, why);
	if (!e)
		e = drop(c, why);
	c->result->blocks_after = edit->used;
	return e ? e : shorten(c, why);
}

enum err vhd_compact(const char *path, const struct vhd_open_opts *open_opts,
		     const struct vhd_compact_opts *opts, struct vhd_compact_result *out,
		     struct err_why *why)
{
	static const struct vhd_open_opts defaults;
	struct compaction c = {.path = path,
			       .open_opts = open_opts ? open_opts : &defaults,
			       .opts = opts,
			       .result = out};

	*out = (struct vhd_compact_result){0};
	enum err e = edit_open(path, c.open_opts, !opts->dry_run, &c.edit, why);
	if (!e)
		e = run(&c, why);
	free_map_release(&c.free);
	free(c.verdict);
	enum err closed = disk_close(c.parent, e ? NULL : why);
	e = e ? e : closed;
	queue_destroy(c.queue);
	closed = edit_close(c.edit, e ? NULL : why);
	return e ? e : closed;
}
