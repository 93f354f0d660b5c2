/* SPDX-License-Identifier: MIT */
#include "vhd/check_internal.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/bitmap.h"
#include "vhd/order.h"

#define DATA_ALIGN 4096u

static uint64_t span_bytes(const struct vhd_layer *layer)
{
	return (uint64_t)layer->bitmap_bytes + layer->block_bytes;
}

/* ---- the BAT ---- */

static bool entry_inside(const struct vhd_layer *layer, uint32_t entry)
{
	return layer_bitmap_off(entry) >= layer->meta_end &&
	       layer_bitmap_off(entry) + span_bytes(layer) <= layer->footer_off;
}

static void outside(struct check *check, uint32_t block)
{
	const struct vhd_layer *layer = &check->layer;
	unsigned long long from = layer_bitmap_off(check->bat[block]);
	unsigned long long end = from + span_bytes(layer);
	struct vhd_finding *finding =
	    check_add(check, FINDING_CORRUPT, layer_bat_entry_off(layer, block), "bat[%u]", block);

	check->entry_outside = true;
	check_rule(finding,
		   "block at 0x%llx..0x%llx must lie between the metadata (ends 0x%llx) and the "
		   "footer (0x%llx)",
		   from, end, (unsigned long long)layer->meta_end,
		   (unsigned long long)layer->footer_off);
}

/* Entries past the end of the disk are never followed, but a later growth would bring them back. */
static void find_surplus(struct check *check)
{
	const struct vhd_layer *layer = &check->layer;

	for (uint32_t i = layer->blocks; i < check->bat_entries; i++) {
		if (check->bat[i] == BAT_UNUSED)
			continue;
		struct vhd_finding *finding = check_add(
		    check, FINDING_REPAIRABLE, layer_bat_entry_off(layer, i), "bat[%u]", i);
		check_rule(finding, "the disk has %u blocks: entries past them must be unused",
			   layer->blocks);
		check_action(finding, "mark the entry unused");
		check->plan.clear_surplus = true;
	}
}

/* Pairwise disjoint. Keeps in `order` only blocks that overlap no earlier one. */
static void find_overlaps(struct check *check)
{
	const struct vhd_layer *layer = &check->layer;
	uint64_t span = span_bytes(layer);
	uint32_t kept = 0;

	for (uint32_t i = 0; i < check->used; i++) {
		uint32_t block = check->order[i];
		uint32_t before = kept ? check->order[kept - 1] : 0;
		uint64_t from = layer_bitmap_off(check->bat[block]);

		if (!kept || layer_bitmap_off(check->bat[before]) + span <= from) {
			check->order[kept++] = block;
			continue;
		}
		struct vhd_finding *finding = check_add(
		    check, FINDING_CORRUPT, layer_bat_entry_off(layer, block), "bat[%u]", block);
		check_rule(finding, "block at 0x%llx overlaps block %u at 0x%llx",
			   (unsigned long long)from, before,
			   (unsigned long long)layer_bitmap_off(check->bat[before]));
	}
	check->used = kept;
}

static void find_end(struct check *check)
{
	const struct vhd_layer *layer = &check->layer;

	check->blocks_end = layer_locators_end(layer);
	if (check->used) {
		uint32_t last = check->bat[check->order[check->used - 1]];

		check->blocks_end =
		    max_u64(check->blocks_end, layer_bitmap_off(last) + span_bytes(layer));
	}
}

enum err check_bat(struct check *check, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint32_t blocks = (uint32_t)min_u64(layer->blocks, check->bat_entries);
	uint32_t used = 0;

	check->bat = malloc((size_t)check->bat_entries * 4 + 4);
	if (!check->bat)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = layer_read_bat(layer, 0, check->bat_entries, check->bat, why);
	for (uint32_t i = 0; i < blocks && !e; i++) {
		if (check->bat[i] == BAT_UNUSED)
			continue;
		if (entry_inside(layer, check->bat[i]))
			used++;
		else
			outside(check, i);
	}
	check->order = malloc((size_t)used * 4 + 4);
	if (!check->order)
		return err_set(why, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < blocks && !e; i++) {
		if (check->bat[i] != BAT_UNUSED && entry_inside(layer, check->bat[i]))
			check->order[check->used++] = i;
	}
	if (e)
		return e;
	order_by_place(check->order, check->used, check->bat);
	find_overlaps(check);
	find_surplus(check);
	find_end(check);
	return ERR_OK;
}

uint32_t check_block_in(const struct check *check, uint64_t from, uint64_t to)
{
	uint64_t span = span_bytes(&check->layer);
	uint32_t low = 0, high = check->used;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (layer_bitmap_off(check->bat[check->order[mid]]) + span > from)
			high = mid;
		else
			low = mid + 1;
	}
	if (low < check->used && layer_bitmap_off(check->bat[check->order[low]]) < to)
		return check->order[low];
	return UINT32_MAX;
}

/* ---- bitmaps ---- */

/* A XenServer batmap: which blocks have all bits of their bitmap set (docs/FORMATS.md). */
enum {
	BATMAP_OFF = 8,
	BATMAP_SECTORS = 16,
	BATMAP_CHECKSUM = 24,
};

struct batmap {
	uint64_t at; /* of its header */
	uint8_t *map;
	uint64_t map_bytes;
	const char *fault; /* what is wrong with it */
};

static void fail_batmap(struct check *check, struct batmap *batmap, const char *fault)
{
	batmap->fault = fault;
	struct vhd_finding *finding = check_add(check, FINDING_REPAIRABLE, batmap->at, "batmap");
	check_rule(finding, "%s", fault);
	check_action(finding, "make the batmap invalid; it only serves speed");
	check->plan.drop_batmap = true;
}

static enum err read_map(struct check *check, struct batmap *batmap, uint64_t off, uint32_t stored,
			 struct err_why *why)
{
	batmap->map = malloc(batmap->map_bytes);
	if (!batmap->map)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e =
	    file_read(check->layer.file, EV_BATMAP, batmap->map, off, batmap->map_bytes, why);
	uint32_t len = (uint32_t)batmap->map_bytes;
	if (!e && vhd_checksum(batmap->map, len, len) != stored) /* with no field to leave out */
		fail_batmap(check, batmap, "the batmap's checksum does not match");
	return e;
}

static enum err load_batmap(struct check *check, struct batmap *batmap, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint8_t bytes[DISK_SECTOR];
	bool present;
	uint64_t end;

	*batmap = (struct batmap){.at = layer->meta_end};
	if (layer->meta_end + DISK_SECTOR > layer->footer_off)
		return ERR_OK;
	enum err e = layer_has_batmap(layer, check->bat, &present, why);
	if (!e && present)
		e = file_read(layer->file, EV_BATMAP, bytes, batmap->at, sizeof(bytes), why);
	if (e || !present)
		return e;
	uint64_t off = get_be64(bytes + BATMAP_OFF);
	batmap->map_bytes = (uint64_t)get_be32(bytes + BATMAP_SECTORS) * DISK_SECTOR;
	if (off < batmap->at + DISK_SECTOR || !checked_add(off, batmap->map_bytes, &end) ||
	    end > layer->footer_off || batmap->map_bytes > BAT_MAX_BYTES ||
	    batmap->map_bytes < div_round_up(layer->blocks, 8)) {
		fail_batmap(check, batmap,
			    "the batmap must lie in the file and have a bit for each block");
		return ERR_OK;
	}
	if (check_block_in(check, off, end) != UINT32_MAX) {
		fail_batmap(check, batmap, "the batmap overlaps a block");
		return ERR_OK;
	}
	check->blocks_end = max_u64(check->blocks_end, end);
	return read_map(check, batmap, off, get_be32(bytes + BATMAP_CHECKSUM), why);
}

static void compare_batmap(struct check *check, struct batmap *batmap, uint32_t block, bool full)
{
	if (batmap->map && !batmap->fault && !full && bitmap_test(batmap->map, block))
		fail_batmap(check, batmap, "the batmap calls a block full that is not");
}

/* What is unusual about many blocks is told once. */
struct tally {
	uint32_t partial, partial_first;
	uint32_t unaligned, unaligned_first;
};

static enum err look_at_block(struct check *check, uint32_t block, uint8_t *bitmap,
			      struct batmap *batmap, struct tally *tally, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint32_t entry = check->bat[block];
	uint64_t disk_sectors = layer->size_bytes / DISK_SECTOR;
	uint64_t first = (uint64_t)block * layer->block_sectors;
	uint32_t sectors = (uint32_t)min_u64(layer->block_sectors, disk_sectors - first);
	enum err e = layer_read_bitmap(layer, entry, bitmap, why);

	if (e)
		return e;
	bool full = bitmap_all(bitmap, 0, sectors);
	if (!full && !tally->partial++)
		tally->partial_first = block;
	if (layer_data_off(layer, entry) % DATA_ALIGN && !tally->unaligned++)
		tally->unaligned_first = block;
	compare_batmap(check, batmap, block, full);
	return ERR_OK;
}

static void tell_tally(struct check *check, const struct tally *tally)
{
	const struct vhd_layer *layer = &check->layer;
	struct vhd_finding *finding;

	if (tally->partial && layer->footer.type == VHD_DYNAMIC) {
		finding = check_add(check, FINDING_NOTE,
				    layer_bitmap_off(check->bat[tally->partial_first]),
				    "bitmap[%u]", tally->partial_first);
		check_rule(finding,
			   "in a dynamic disk all bits are usually set; in %u blocks some "
			   "are clear, and those sectors read as zero",
			   tally->partial);
	}
	if (tally->unaligned) {
		finding = check_add(check, FINDING_NOTE,
				    layer_bat_entry_off(layer, tally->unaligned_first), "bat[%u]",
				    tally->unaligned_first);
		check_rule(finding,
			   "the data of %u blocks does not begin on a 4 KiB boundary, which "
			   "costs speed",
			   tally->unaligned);
	}
}

/* Blocks without a place have no full bitmap either. */
static void compare_unused(struct check *check, struct batmap *batmap)
{
	uint32_t blocks = (uint32_t)min_u64(check->layer.blocks, check->bat_entries);

	for (uint32_t i = 0; batmap->map && !batmap->fault && i < blocks; i++) {
		if (check->bat[i] == BAT_UNUSED)
			compare_batmap(check, batmap, i, false);
	}
}

enum err check_bitmaps(struct check *check, struct err_why *why)
{
	struct vhd_layer *layer = &check->layer;
	uint8_t *bitmap = malloc(layer->bitmap_bytes);
	struct batmap batmap = {0};
	struct tally tally = {0};
	enum err e =
	    bitmap ? load_batmap(check, &batmap, why) : err_set(why, ERR_NOMEM, "out of memory");

	for (uint32_t i = 0; i < check->used && !e; i++) {
		e = look_at_block(check, check->order[i], bitmap, &batmap, &tally, why);
		if (!e && i % 1024 == 0 && !progress_report(check->progress, i, check->used))
			e = err_set(why, ERR_CANCELLED, "%s: check was stopped", layer->path);
	}
	if (!e) {
		compare_unused(check, &batmap);
		tell_tally(check, &tally);
	}
	free(batmap.map);
	free(bitmap);
	return e;
}

/* ---- the end of the file ---- */

void check_tail(struct check *check)
{
	const struct vhd_layer *layer = &check->layer;
	uint64_t tail = layer->footer_off - min_u64(check->blocks_end, layer->footer_off);

	if (layer->trailing_ok && tail >= span_bytes(layer)) {
		struct vhd_finding *finding =
		    check_add(check, FINDING_NOTE, check->blocks_end, "tail");

		check_rule(finding,
			   "%llu bytes between the last block and the footer are not used; "
			   "compact gives them back",
			   (unsigned long long)tail);
	}
}
