/* SPDX-License-Identifier: MIT */
#include "vhd/space.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define DATA_ALIGN     4096u
#define FIRST_GROW     8u /* blocks; doubles up to MAX_GROW, so syncs stay below 0.1 a block */
#define MAX_GROW       64u
#define MAX_GROW_BYTES (256u << 20)

void space_init(struct space *space, uint64_t used_end_off)
{
	*space = (struct space){.end_off = used_end_off, .next_grow = FIRST_GROW};
}

void space_free(struct space *space)
{
	while (space->freed) {
		struct freed *next = space->freed->next;

		free(space->freed);
		space->freed = next;
	}
	free(space->slot);
	space->slot = NULL;
}

/* Bitmap offset of the first slot whose bytes all lie at or after `from`. */
static uint64_t slot_at(const struct vhd_layer *layer, uint64_t from)
{
	return round_up(from + layer->bitmap_bytes, DATA_ALIGN) - layer->bitmap_bytes;
}

static uint64_t slot_stride(const struct vhd_layer *layer)
{
	return round_up((uint64_t)layer->bitmap_bytes + layer->block_bytes, DATA_ALIGN);
}

static uint64_t slots_end(const struct vhd_layer *layer, uint64_t first, uint32_t count)
{
	return first + (count - 1) * slot_stride(layer) + layer->bitmap_bytes + layer->block_bytes;
}

/* Zeros are right, but there must be room for what a flush will publish. */
static enum err reserve_bitmaps(struct vhd_layer *layer, uint64_t first, uint32_t count,
				struct err_why *why)
{
	enum err e = ERR_OK;

	for (uint32_t i = 0; i < count && !e && !layer->info.block_device; i++)
		e = file_allocate(layer->file, first + i * slot_stride(layer), layer->bitmap_bytes,
				  why);
	return e;
}

/* A new block of a dynamic disk has all bits set before the BAT can ever name it (I3). */
static enum err write_bitmaps(struct vhd_layer *layer, uint64_t first, uint32_t count,
			      struct err_why *why)
{
	if (layer->footer.type == VHD_DIFFERENCING)
		return reserve_bitmaps(layer, first, count, why);
	uint8_t *ones = malloc(layer->bitmap_bytes);
	if (!ones)
		return err_set(why, ERR_NOMEM, "out of memory");
	memset(ones, 0xff, layer->bitmap_bytes);
	enum err e = ERR_OK;
	for (uint32_t i = 0; i < count && !e; i++)
		e = file_write(layer->file, EV_BITMAP, ones, first + i * slot_stride(layer),
			       layer->bitmap_bytes, why);
	free(ones);
	return e;
}

static enum err make_slot_room(struct space *space, uint32_t count)
{
	if (space->slot_room < space->slots + count) {
		uint32_t *grown = realloc(space->slot, (space->slots + count) * sizeof(uint32_t));

		if (!grown)
			return ERR_NOMEM;
		space->slot = grown;
		space->slot_room = space->slots + count;
	}
	return ERR_OK;
}

static enum err keep_slots(struct space *space, struct vhd_layer *layer, uint64_t first,
			   uint32_t count, struct err_why *why)
{
	if (make_slot_room(space, count))
		return err_set(why, ERR_NOMEM, "out of memory");
	for (uint32_t i = count; i-- > 0;)
		space->slot[space->slots++] =
		    (uint32_t)((first + i * slot_stride(layer)) / DISK_SECTOR);
	space->end_off = slots_end(layer, first, count);
	return ERR_OK;
}

static enum err sync_file(struct space *space, struct vhd_layer *layer, struct err_why *why)
{
	struct err_why here = {0};

	space->syncs++;
	if (file_sync(layer->file, &here))
		return err_set(why, ERR_POISONED, "%s", here.text);
	return ERR_OK;
}

/* Zeros, which take space only where blocks are expected to fill up (make_longer). */
static enum err clear(struct vhd_layer *layer, uint64_t off, uint64_t len, struct err_why *why)
{
	if (layer->footer.type == VHD_DIFFERENCING && !layer->info.block_device)
		return file_punch(layer->file, off, len, why);
	return file_zero(layer->file, EV_SPACE, off, len, why);
}

/* Room there is already between the last block and the footer; its content is not known. */
static enum err use_gap(struct space *space, struct vhd_layer *layer, uint32_t want, uint32_t *made,
			struct err_why *why)
{
	uint64_t first = slot_at(layer, space->end_off);
	uint32_t count = 0;

	while (count < want && slots_end(layer, first, count + 1) <= layer->footer_off)
		count++;
	*made = count;
	if (!count)
		return ERR_OK;
	enum err e = clear(layer, first, slots_end(layer, first, count) - first, why);
	if (!e)
		e = write_bitmaps(layer, first, count, why);
	if (!e)
		e = sync_file(space, layer, why);
	return e ? e : keep_slots(space, layer, first, count, why);
}

/* A failed extension must leave the file as it was: the footer is at its end (P5). */
static enum err undo_extend(struct vhd_layer *layer, enum err e, struct err_why *why)
{
	struct err_why undo = {0};

	if (file_truncate(layer->file, layer->footer_off + FOOTER_BYTES, &undo))
		return err_set(why, ERR_POISONED, "%s; and the file could not be cut back: %s",
			       why ? why->text : err_name(e), undo.text);
	return e;
}

/*
 * A dynamic disk's blocks fill up, so their room is reserved. A differencing disk often holds a few
 * sectors of a block, and there may be hundreds of such disks: of its slots only the bitmaps are
 * reserved, so that a flush never lacks room for what it publishes.
 */
static enum err make_longer(struct vhd_layer *layer, uint64_t old_end, uint64_t new_end,
			    struct err_why *why)
{
	if (layer->footer.type == VHD_DIFFERENCING)
		return file_truncate(layer->file, new_end, why);
	return file_allocate(layer->file, old_end, new_end - old_end, why);
}

/* W3: longer file with a new trailing footer, B. */
static enum err extend(struct space *space, struct vhd_layer *layer, uint32_t count,
		       struct err_why *why)
{
	uint64_t first = slot_at(layer, max_u64(layer->footer_off + FOOTER_BYTES, space->end_off));
	uint64_t end = slots_end(layer, first, count);
	uint64_t old_end = layer->footer_off + FOOTER_BYTES;
	struct err_why here = {0};

	if (end / DISK_SECTOR >= BAT_UNUSED)
		return err_set(why, ERR_NOSPC, "%s: the file would pass the format's 2 TiB",
			       layer->path);
	enum err e = make_longer(layer, old_end, end + FOOTER_BYTES, &here);
	if (!e)
		e = write_bitmaps(layer, first, count, &here);
	if (!e)
		e = layer_write_footer(layer, end, &here);
	if (!e)
		e = keep_slots(space, layer, first, count, &here);
	if (e) {
		space->end_off = min_u64(space->end_off, old_end);
		e = undo_extend(layer, e, &here);
		if (why)
			*why = here;
		return e;
	}
	e = sync_file(space, layer, why);
	if (!e)
		layer->footer_off = end;
	return e;
}

static enum err grow(struct space *space, struct vhd_layer *layer, uint32_t unallocated,
		     struct err_why *why)
{
	uint32_t by_size = MAX_GROW_BYTES / layer->block_bytes;
	uint32_t want = space->next_grow;
	uint32_t made;

	want = (uint32_t)min_u64(want, max_u64(by_size, 1));
	want = (uint32_t)min_u64(want, unallocated);
	enum err e = use_gap(space, layer, want, &made, why);
	if (e || made)
		return e;
	if (layer->info.block_device)
		return err_set(why, ERR_NOSPC, "%s: no room for another block on the device",
			       layer->path);
	e = extend(space, layer, want, why);
	if (e == ERR_NOSPC && want > 1)
		e = extend(space, layer, 1, why);
	if (!e && space->next_grow < MAX_GROW)
		space->next_grow *= 2;
	return e;
}

enum err space_take(struct space *space, struct vhd_layer *layer, uint32_t unallocated,
		    uint32_t *entry, struct err_why *why)
{
	if (!space->slots) {
		enum err e = grow(space, layer, unallocated ? unallocated : 1, why);

		if (e)
			return e;
	}
	*entry = space->slot[--space->slots];
	return ERR_OK;
}

bool space_add(struct space *space, uint32_t entry)
{
	enum err e = make_slot_room(space, 1);

	if (!e)
		space->slot[space->slots++] = entry;
	return !e;
}

bool space_release(struct space *space, uint32_t entry, uint64_t op_seq)
{
	struct freed *freed = malloc(sizeof(*freed));

	if (!freed)
		return false;
	*freed = (struct freed){.entry = entry, .op_seq = op_seq, .next = space->freed};
	space->freed = freed;
	return true;
}

enum err space_trim_tail(struct space *space, struct vhd_layer *layer, uint64_t end_off,
			 struct err_why *why)
{
	uint64_t footer_off = round_up(end_off, DATA_ALIGN);

	if (layer->info.block_device || layer->footer_off < footer_off + layer->block_bytes)
		return ERR_OK;
	enum err e = layer_write_footer(layer, footer_off, why);
	if (!e)
		e = sync_file(space, layer, why);
	if (!e)
		e = file_truncate(layer->file, footer_off + FOOTER_BYTES, why);
	if (!e)
		e = sync_file(space, layer, why);
	if (!e)
		layer->footer_off = footer_off;
	return e;
}
