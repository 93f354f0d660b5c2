/* SPDX-License-Identifier: MIT */
#include "vhd/edit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/bytes.h"
#include "vhd/intent.h"
#include "vhd/merge_guard.h"
#include "vhd/order.h"
#include "vhd/recover.h"

#define DATA_ALIGN        4096u
#define ENTRIES_IN_SECTOR (DISK_SECTOR / 4)
#define REPORT_NS         10000000u

/* ---- opening ---- */

static enum err check_entries(const struct edit *edit, struct err_why *why)
{
	const struct vhd_layer *layer = edit->layer;
	enum err e = ERR_OK;

	for (uint32_t i = 0; i < layer->blocks && !e; i++) {
		if (edit->bat[i] != BAT_UNUSED)
			e = layer_check_entry(layer, i, edit->bat[i], why);
	}
	return e;
}

static int by_start(const void *a, const void *b)
{
	const struct edit_range *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* Whoever rewrites a locator later may use all of its space. */
void edit_find_reserved(struct edit *edit)
{
	const struct vhd_layer *layer = edit->layer;

	edit->reserved_count = 0;
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator_entry *entry = &layer->header.locator[i];
		struct edit_range range = {.from = entry->off_bytes};

		if (!entry->len_bytes ||
		    !checked_add(range.from, max_u64(locator_space_bytes(entry), entry->len_bytes),
				 &range.to))
			continue;
		range.from = max_u64(range.from, layer->meta_end);
		range.to = min_u64(range.to, layer->footer_off);
		if (range.from < range.to)
			edit->reserved[edit->reserved_count++] = range;
	}
	qsort(edit->reserved, edit->reserved_count, sizeof(struct edit_range), by_start);
}

/* The first used block that ends after `off`, as an index into `order`. */
static uint32_t first_ending_after(const struct edit *edit, uint64_t off)
{
	uint64_t span = edit_span_bytes(edit->layer);
	uint32_t low = 0, high = edit->used;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (layer_bitmap_off(edit->bat[edit->order[mid]]) + span > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Only the bytes of a locator count here: unused room that reaches into a block is harmless. */
static enum err check_locators(const struct edit *edit, struct err_why *why)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator_entry *entry = &edit->layer->header.locator[i];
		uint32_t n = first_ending_after(edit, entry->off_bytes);
		uint64_t end;

		if (!entry->len_bytes || n == edit->used ||
		    !checked_add(entry->off_bytes, entry->len_bytes, &end))
			continue;
		uint32_t block = edit->order[n];
		if (layer_bitmap_off(edit->bat[block]) < end)
			return err_set(
			    why, ERR_CORRUPT,
			    "%s: block %u at sector %u overlaps parent locator %u at 0x%llx",
			    edit->layer->path, block, edit->bat[block], i,
			    (unsigned long long)entry->off_bytes);
	}
	return ERR_OK;
}

static enum err load_sparse(struct edit *edit, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;

	edit->bat_entries = (uint32_t)(vhd_bat_bytes(layer->header.max_entries) / 4);
	edit->bat = malloc((size_t)edit->bat_entries * 4 + 4);
	if (!edit->bat)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = layer_read_bat(layer, 0, edit->bat_entries, edit->bat, why);
	if (!e)
		e = check_entries(edit, why);
	if (!e)
		e = edit_sort(edit, why);
	edit_find_reserved(edit);
	if (!e)
		e = check_locators(edit, why);
	return e ? e : layer_has_batmap(edit->layer, edit->bat, &edit->has_batmap, why);
}

enum err edit_open(const char *path, const struct vhd_open_opts *opts, bool writable,
		   struct edit **out, struct err_why *why)
{
	struct file_ns *ns = opts->ns ? opts->ns : &file_ns_posix;
	enum err e = writable ? merge_settle(ns, path, true, why) : ERR_OK;

	return e ? e : edit_open_merging(path, opts, writable, out, why);
}

enum err edit_open_merging(const char *path, const struct vhd_open_opts *opts, bool writable,
			   struct edit **out, struct err_why *why)
{
	struct file_ns *ns = opts->ns ? opts->ns : &file_ns_posix;
	unsigned flags = (writable ? FILE_OPEN_RDWR : 0) | (opts->direct ? FILE_OPEN_DIRECT : 0);
	enum file_lock lock = writable ? FILE_LOCK_WRITE : FILE_LOCK_READ;
	struct edit *edit = calloc(1, sizeof(*edit));

	if (!edit)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = writable ? intent_replay(ns, path, why) : ERR_OK;
	if (!e)
		e = layer_open(ns, path, flags, opts->no_lock ? FILE_UNLOCKED : lock, &edit->layer,
			       why);
	if (!e && layer_is_sparse(edit->layer))
		e = load_sparse(edit, why);
	/* Last, so that nothing is written to an image that is not understood. */
	if (!e && writable)
		e = recover_layer(edit->layer, why);
	if (e) {
		edit_close(edit, NULL);
		return e;
	}
	*out = edit;
	return ERR_OK;
}

enum err edit_close(struct edit *edit, struct err_why *why)
{
	if (!edit)
		return ERR_OK;
	enum err e = layer_close(edit->layer, why);
	free(edit->bat);
	free(edit->order);
	free(edit);
	return e;
}

/* ---- what lies where ---- */

uint64_t edit_aligned_off(const struct vhd_layer *layer, uint64_t from)
{
	return round_up(from + layer->bitmap_bytes, DATA_ALIGN) - layer->bitmap_bytes;
}

uint64_t edit_aligned_stride(const struct vhd_layer *layer)
{
	return round_up(edit_span_bytes(layer), DATA_ALIGN);
}

uint64_t edit_end(const struct edit *edit)
{
	uint64_t end = edit->layer->meta_end;

	for (unsigned i = 0; i < edit->reserved_count; i++)
		end = max_u64(end, edit->reserved[i].to);
	if (edit->used)
		end = max_u64(end, layer_bitmap_off(edit->bat[edit->order[edit->used - 1]]) +
				       edit_span_bytes(edit->layer));
	return round_up(end, DISK_SECTOR);
}

enum err edit_sort(struct edit *edit, struct err_why *why)
{
	const struct vhd_layer *layer = edit->layer;
	uint64_t span = edit_span_bytes(layer) / DISK_SECTOR;
	uint32_t used = 0;

	for (uint32_t i = 0; i < layer->blocks; i++)
		used += edit->bat[i] != BAT_UNUSED;
	free(edit->order);
	edit->used = 0;
	edit->order = malloc((size_t)used * 4 + 4);
	if (!edit->order)
		return err_set(why, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < layer->blocks; i++) {
		if (edit->bat[i] != BAT_UNUSED)
			edit->order[edit->used++] = i;
	}
	order_by_place(edit->order, used, edit->bat);
	for (uint32_t i = 1; i < used; i++) {
		uint32_t a = edit->order[i - 1], b = edit->order[i];

		if (edit->bat[b] - edit->bat[a] < span)
			return err_set(why, ERR_CORRUPT,
				       "%s: blocks %u and %u overlap, at sectors %u and %u",
				       layer->path, a, b, edit->bat[a], edit->bat[b]);
	}
	return ERR_OK;
}

/* What lies at or after gap->at, and steps over it when it begins there already. */
bool edit_next_gap(const struct edit *edit, struct edit_gap *gap)
{
	uint64_t span = edit_span_bytes(edit->layer);
	uint64_t at = max_u64(gap->at, edit->layer->meta_end);

	for (;;) {
		struct edit_range next = {edit->layer->footer_off, UINT64_MAX};
		bool is_block = false;

		if (gap->locator < edit->reserved_count)
			next = edit->reserved[gap->locator];
		if (gap->block < edit->used) {
			uint64_t from = layer_bitmap_off(edit->bat[edit->order[gap->block]]);

			is_block = from < next.from;
			if (is_block)
				next = (struct edit_range){from, from + span};
		}
		if (next.from > at) {
			gap->free = (struct edit_range){at, next.from};
			gap->at = next.from;
			return true;
		}
		if (next.to == UINT64_MAX)
			return false;
		at = max_u64(at, next.to);
		gap->block += is_block;
		gap->locator += !is_block;
	}
}

/* ---- changes ---- */

enum err edit_drop_batmap(struct edit *edit, struct err_why *why)
{
	if (!edit->has_batmap)
		return ERR_OK;
	enum err e = layer_drop_batmap(edit->layer, why);
	if (!e)
		e = file_sync(edit->layer->file, why);
	if (!e)
		edit->has_batmap = false;
	return e;
}

static int by_block(const void *a, const void *b)
{
	const struct edit_change *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/*
 * Write the BAT sector of change[0], and those that follow it without a gap up to the room in
 * `buf`; returns how many changes that took care of.
 */
static uint32_t encode_run(const struct edit *edit, const struct edit_change *change,
			   uint32_t count, uint8_t *buf, uint32_t max_sectors, uint32_t *sectors)
{
	uint32_t first = change[0].block / ENTRIES_IN_SECTOR;
	uint32_t taken = 0;

	*sectors = 0;
	while (taken < count && change[taken].block / ENTRIES_IN_SECTOR <= first + *sectors &&
	       *sectors < max_sectors) {
		uint32_t entry = (first + *sectors) * ENTRIES_IN_SECTOR;
		uint8_t *out = buf + (size_t)*sectors * DISK_SECTOR;

		for (uint32_t i = 0; i < ENTRIES_IN_SECTOR; i++)
			put_be32(out + (size_t)i * 4, edit->bat[entry + i]);
		for (; taken < count && change[taken].block < entry + ENTRIES_IN_SECTOR; taken++)
			put_be32(out + (size_t)(change[taken].block - entry) * 4,
				 change[taken].place);
		++*sectors;
	}
	return taken;
}

#define PUBLISH_SECTORS 128u

static enum err write_entries(struct edit *edit, const struct edit_change *sorted, uint32_t count,
			      struct err_why *why)
{
	uint8_t *buf = malloc((size_t)PUBLISH_SECTORS * DISK_SECTOR);
	enum err e = buf ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	for (uint32_t i = 0; i < count && !e;) {
		uint32_t first = sorted[i].block / ENTRIES_IN_SECTOR * ENTRIES_IN_SECTOR;
		uint32_t sectors;

		i += encode_run(edit, sorted + i, count - i, buf, PUBLISH_SECTORS, &sectors);
		e = file_write(edit->layer->file, EV_BAT, buf,
			       layer_bat_entry_off(edit->layer, first),
			       (uint64_t)sectors * DISK_SECTOR, why);
	}
	free(buf);
	return e;
}

enum err edit_publish(struct edit *edit, const struct edit_change *change, uint32_t count,
		      struct err_why *why)
{
	if (!count)
		return ERR_OK;
	struct edit_change *sorted = malloc(count * sizeof(*sorted));
	if (!sorted)
		return err_set(why, ERR_NOMEM, "out of memory");
	memcpy(sorted, change, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), by_block);
	enum err e = write_entries(edit, sorted, count, why);
	free(sorted);
	if (!e)
		edit_assume(edit, change, count);
	return e;
}

void edit_assume(struct edit *edit, const struct edit_change *change, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		edit->bat[change[i].block] = change[i].place;
}

/* ---- the end of the file ---- */

static enum err extend(struct edit *edit, uint64_t footer_off, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	uint64_t old_end = layer->footer_off + FOOTER_BYTES;
	struct err_why here = {0}, undo = {0};
	enum err e =
	    file_allocate(layer->file, old_end, footer_off + FOOTER_BYTES - old_end, &here);

	if (!e)
		e = layer_write_footer(layer, footer_off, &here);
	if (e && file_truncate(layer->file, old_end, &undo))
		err_context(&here, "the file could not be cut back (%s)", undo.text);
	if (e && why)
		*why = here;
	return e;
}

enum err edit_grow(struct edit *edit, uint64_t footer_off, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	uint64_t old_off = layer->footer_off;

	if (layer->info.block_device)
		return err_set(why, ERR_NOSPC, "%s: a block device cannot grow", layer->path);
	if (footer_off < old_off + FOOTER_BYTES)
		return err_set(why, ERR_USAGE, "%s: the new end is not behind the footer",
			       layer->path);
	enum err e = extend(edit, footer_off, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		e = file_zero(layer->file, EV_SPACE, old_off, FOOTER_BYTES, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		layer->footer_off = footer_off;
	return e;
}

enum err edit_cut(struct edit *edit, uint64_t footer_off, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;

	if (layer->info.block_device || footer_off >= layer->footer_off)
		return ERR_OK;
	enum err e = layer_write_footer(layer, footer_off, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		e = file_truncate(layer->file, footer_off + FOOTER_BYTES, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		layer->footer_off = footer_off;
	return e;
}

/* ---- long work ---- */

bool edit_work_done(struct edit_work *work, uint64_t bytes)
{
	struct timespec now;

	work->done_bytes += bytes;
	if (!work->to)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (work->told_ns && ns - work->told_ns < REPORT_NS && work->done_bytes < work->total_bytes)
		return true;
	work->told_ns = ns;
	return progress_report(work->to, work->done_bytes,
			       max_u64(work->done_bytes, work->total_bytes));
}
