/* SPDX-License-Identifier: MIT */

/*
 * W12: a dynamic or differencing image grows.
 *
 *   what the BAT will need is cleared: locators (W19), the file's end (W3), blocks (W10)
 *   -> the end of the last block is made to read as zero, new BAT entries are "unused", B
 *   -> header, B -> footers (W2)
 *
 * Up to the footers the image has its old size; what has changed cannot be seen at that size.
 */

#include <stdlib.h>

#include "util/bytes.h"
#include "vhd/bitmap.h"
#include "vhd/locator_store.h"
#include "vhd/resize.h"

#define ENTRIES_IN_SECTOR (DISK_SECTOR / 4)
#define WRITE_ENTRIES     (256u << 10)

/* ---- room for the BAT ---- */

/* How many blocks, lowest first, lie at least partly below `bat_end`. */
static uint32_t blocks_in_the_way(const struct edit *edit, uint64_t bat_end)
{
	uint32_t n = 0;

	while (n < edit->used && layer_bitmap_off(edit->bat[edit->order[n]]) < bat_end)
		n++;
	return n;
}

/* Places for the first `count` blocks: gaps, then the end. *end is where the last one ends. */
static void plan_moves(const struct edit *edit, uint64_t bat_end, struct edit_change *change,
		       uint32_t count, uint64_t *end)
{
	const struct vhd_layer *layer = edit->layer;
	uint64_t span = edit_span_bytes(layer), last = edit_end(edit);
	struct edit_gap gap = {0};
	uint32_t n = 0;

	while (n < count && edit_next_gap(edit, &gap) && gap.free.to < last) {
		uint64_t at = edit_aligned_off(layer, max_u64(gap.free.from, bat_end));

		for (; n < count && at + span <= gap.free.to; at += edit_aligned_stride(layer))
			change[n++].place = (uint32_t)(at / DISK_SECTOR);
	}
	*end = max_u64(last, bat_end);
	for (; n < count; *end += span) {
		*end = edit_aligned_off(layer, *end);
		change[n++].place = (uint32_t)(*end / DISK_SECTOR);
	}
	for (n = 0; n < count; n++)
		change[n].block = edit->order[n];
}

static enum err move_blocks(struct edit *edit, uint64_t bat_end, struct progress *progress,
			    struct err_why *why)
{
	uint32_t count = blocks_in_the_way(edit, bat_end);
	struct edit_work work = {.to = progress,
				 .total_bytes = count * edit_span_bytes(edit->layer)};
	struct edit_change *change = calloc((size_t)count + 1, sizeof(*change));
	uint64_t footer_off = edit->layer->footer_off, end;
	enum err e = ERR_OK;

	if (!change)
		return err_set(why, ERR_NOMEM, "out of memory");
	plan_moves(edit, bat_end, change, count, &end);
	if (end / DISK_SECTOR >= BAT_UNUSED)
		e = err_set(why, ERR_NOSPC, "%s: the file would pass the format's 2 TiB",
			    edit->layer->path);
	if (!e && end > footer_off)
		e = edit_grow(edit, max_u64(end, footer_off + FOOTER_BYTES), why);
	if (!e)
		e = edit_move(edit, change, count, &work, NULL, why);
	if (!e)
		e = edit_sort(edit, why);
	free(change);
	return e;
}

static enum err make_room(struct edit *edit, struct file_ns *ns, uint64_t bat_end,
			  struct progress *progress, struct err_why *why)
{
	if (bat_end <= edit->layer->meta_end)
		return ERR_OK;
	enum err e = locators_clear(edit, ns, bat_end, why);
	return e ? e : move_blocks(edit, bat_end, progress, why);
}

/* ---- what the new part of the disk will show ---- */

/* A bit that is clear makes the parent show, as it does for the blocks behind. */
static enum err clear_tail_bits(struct vhd_layer *layer, uint32_t entry, uint32_t first,
				struct err_why *why)
{
	uint8_t *bitmap = malloc(layer->bitmap_bytes);
	enum err e = bitmap ? layer_read_bitmap(layer, entry, bitmap, why)
			    : err_set(why, ERR_NOMEM, "out of memory");

	for (uint32_t i = first; i < layer->block_sectors && !e; i++)
		bitmap[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	if (!e)
		e = file_write(layer->file, EV_BITMAP, bitmap, layer_bitmap_off(entry),
			       layer->bitmap_bytes, why);
	free(bitmap);
	return e;
}

/* The last block is stored whole; behind the disk's end there may be anything. */
static enum err clear_tail(struct edit *edit, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	uint32_t used = (uint32_t)(layer->size_bytes % layer->block_bytes);
	uint32_t entry = edit->bat[layer->blocks - 1];

	if (!used || entry == BAT_UNUSED)
		return ERR_OK;
	if (layer->footer.type == VHD_DIFFERENCING)
		return clear_tail_bits(layer, entry, used / DISK_SECTOR, why);
	return file_zero(layer->file, EV_DATA, layer_data_off(layer, entry) + used,
			 layer->block_bytes - used, why);
}

static void encode_entries(const struct edit *edit, uint64_t at, uint64_t first, uint32_t count,
			   uint8_t *out)
{
	for (uint32_t i = 0; i < count; i++)
		put_be32(out + (size_t)i * 4, at + i < first ? edit->bat[at + i] : BAT_UNUSED);
}

/* Entries from `first` to the end of the sector that holds the one before `end` are "unused". */
static enum err clear_entries(struct edit *edit, uint64_t first, uint64_t end, struct err_why *why)
{
	uint8_t *buf = malloc((size_t)WRITE_ENTRIES * 4);
	uint64_t at = round_down(first, ENTRIES_IN_SECTOR);
	enum err e = buf ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	end = round_up(end, ENTRIES_IN_SECTOR);
	while (at < end && !e) {
		uint32_t n = (uint32_t)min_u64(end - at, WRITE_ENTRIES);

		encode_entries(edit, at, first, n, buf);
		e = file_write(edit->layer->file, EV_BAT, buf, layer_bat_entry_off(edit->layer, at),
			       (uint64_t)n * 4, why);
		at += n;
	}
	free(buf);
	return e;
}

/* ---- the operation ---- */

static enum err write_header(struct vhd_layer *layer, uint32_t entries, struct err_why *why)
{
	if (entries <= layer->header.max_entries)
		return ERR_OK;
	layer->header.max_entries = entries;
	enum err e = layer_write_header(layer, why);
	return e ? e : file_sync(layer->file, why);
}

enum err expand_sparse(struct edit *edit, struct file_ns *ns, uint64_t size_bytes,
		       struct progress *progress, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	uint32_t blocks = (uint32_t)vhd_block_count(size_bytes, layer->block_bytes);
	uint64_t bat_end = layer->header.bat_off + vhd_bat_bytes(blocks);
	enum err e = edit_drop_batmap(edit, why);

	if (!e)
		e = make_room(edit, ns, bat_end, progress, why);
	if (!e)
		e = clear_tail(edit, why);
	if (!e && blocks > layer->blocks)
		e = clear_entries(edit, layer->blocks, blocks, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		e = write_header(layer, blocks, why);
	return e ? e : resize_footers(layer, size_bytes, why);
}
