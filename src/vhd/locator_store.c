/* SPDX-License-Identifier: MIT */
#include "vhd/locator_store.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/intent.h"
#include "vhd/locator.h"

#define MIN_SPACE 4096u /* as new images have it: the next path fits too */

struct placing {
	struct edit *edit;
	uint64_t bat_end; /* nothing goes below */
	struct edit_range room[VHD_LOCATORS];
	unsigned rooms;
	struct vhd_header *header;
};

/* ---- the room of the present locators ---- */

static void clip(struct edit_range *range, uint64_t from, uint64_t to)
{
	if (range->from >= range->to || range->to <= from || range->from >= to)
		return;
	range->to = range->from < from ? from : range->from;
}

/* Room that reaches into something else is that thing's. */
static void clip_to_own(const struct placing *p, struct edit_range *range)
{
	const struct edit *edit = p->edit;
	const struct vhd_layer *layer = edit->layer;

	clip(range, 0, FOOTER_BYTES);
	clip(range, layer->footer.data_off, layer->footer.data_off + HEADER_BYTES);
	clip(range, layer->header.bat_off, p->bat_end);
	clip(range, layer->footer_off, UINT64_MAX);
	for (unsigned i = 0; i < p->rooms; i++)
		clip(range, p->room[i].from, p->room[i].to);
	for (uint32_t i = 0; i < edit->used; i++) {
		uint64_t from = layer_bitmap_off(edit->bat[edit->order[i]]);

		clip(range, from, from + edit_span_bytes(layer));
	}
}

static void find_rooms(struct placing *p)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator_entry *entry = &p->edit->layer->header.locator[i];
		struct edit_range range = {.from = entry->off_bytes};

		if (!entry->len_bytes || range.from % DISK_SECTOR ||
		    !checked_add(range.from, locator_space_bytes(entry), &range.to))
			continue;
		range.to = round_down(range.to, DISK_SECTOR);
		clip_to_own(p, &range);
		if (range.from < range.to)
			p->room[p->rooms++] = range;
	}
}

/* The smallest room that is large enough; it is taken whole. */
static bool take_room(struct placing *p, struct vhd_locator_entry *entry)
{
	struct edit_range *best = NULL;

	for (unsigned i = 0; i < p->rooms; i++) {
		struct edit_range *room = &p->room[i];
		uint64_t bytes = room->to - room->from;

		if (bytes >= round_up(entry->len_bytes, DISK_SECTOR) &&
		    (!best || bytes < best->to - best->from))
			best = room;
	}
	if (!best)
		return false;
	entry->off_bytes = best->from;
	entry->space = (uint32_t)min_u64(best->to - best->from, LOCATOR_MAX_BYTES);
	best->to = best->from;
	return true;
}

/* ---- new room ---- */

static bool find_gap(const struct placing *p, uint64_t bytes, uint64_t *at)
{
	struct edit_gap gap = {0};

	while (edit_next_gap(p->edit, &gap)) {
		uint64_t from = round_up(max_u64(gap.free.from, p->bat_end), DISK_SECTOR);

		if (from <= gap.free.to && gap.free.to - from >= bytes) {
			*at = from;
			return true;
		}
	}
	return false;
}

static enum err find_new_room(struct placing *p, uint64_t bytes, uint64_t *at, struct err_why *why)
{
	uint64_t footer_off = p->edit->layer->footer_off;
	enum err e = edit_drop_batmap(p->edit, why); /* it would not survive in a gap */

	if (e || find_gap(p, bytes, at))
		return e;
	*at = round_up(max_u64(edit_end(p->edit), p->bat_end), DISK_SECTOR);
	return edit_grow(p->edit, max_u64(*at + bytes, footer_off + FOOTER_BYTES), why);
}

static enum err place(struct placing *p, const struct locator_new *items, unsigned count,
		      struct err_why *why)
{
	struct vhd_locator_entry *homeless[VHD_LOCATORS];
	unsigned left = 0;
	uint64_t bytes = 0, at;

	memset(p->header->locator, 0, sizeof(p->header->locator));
	find_rooms(p);
	for (unsigned i = 0; i < count; i++) {
		struct vhd_locator_entry *entry = &p->header->locator[i];

		memcpy(entry->code, items[i].code, 4);
		entry->len_bytes = items[i].len_bytes;
		if (take_room(p, entry))
			continue;
		entry->space = (uint32_t)round_up(entry->len_bytes, MIN_SPACE);
		bytes += entry->space;
		homeless[left++] = entry;
	}
	enum err e = left ? find_new_room(p, bytes, &at, why) : ERR_OK;
	for (unsigned i = 0; i < left && !e; i++) {
		homeless[i]->off_bytes = at;
		at += homeless[i]->space;
	}
	return e;
}

/* ---- changing the image ---- */

/* Header and data as the writes of a record, in one buffer of whole sectors. */
static uint8_t *fill_intent(const struct placing *p, const struct locator_new *items,
			    unsigned count, struct intent *intent)
{
	size_t bytes = HEADER_BYTES;

	for (unsigned i = 0; i < count; i++)
		bytes += round_up(items[i].len_bytes, DISK_SECTOR);
	uint8_t *buf = calloc(1, bytes), *at = buf;
	if (!buf)
		return NULL;
	header_encode(p->header, at);
	intent->write[intent->count++] = (struct intent_write){
	    .off_bytes = p->edit->layer->footer.data_off, .len_bytes = HEADER_BYTES, .data = at};
	at += HEADER_BYTES;
	for (unsigned i = 0; i < count; i++) {
		uint32_t len = (uint32_t)round_up(items[i].len_bytes, DISK_SECTOR);

		memcpy(at, items[i].data, items[i].len_bytes);
		intent->write[intent->count++] = (struct intent_write){
		    .off_bytes = p->header->locator[i].off_bytes, .len_bytes = len, .data = at};
		at += len;
	}
	return buf;
}

enum err locators_store(struct edit *edit, struct file_ns *ns, const struct vhd_header *header,
			const struct locator_new *items, unsigned count, uint64_t clear_to,
			struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	struct vhd_header fresh = *header;
	struct placing p = {
	    .edit = edit, .bat_end = max_u64(layer->meta_end, clear_to), .header = &fresh};
	struct intent intent = {.uuid = layer->footer.uuid};
	enum err e = place(&p, items, count, why);

	if (e)
		return e;
	uint8_t *buf = fill_intent(&p, items, count, &intent);
	if (!buf)
		return err_set(why, ERR_NOMEM, "out of memory");
	e = intent_commit(ns, layer->path, layer->file, &intent, why);
	free(buf);
	if (e)
		return e;
	layer->header = fresh;
	edit_find_reserved(edit);
	return ERR_OK;
}

/* ---- moving what is there ---- */

static bool is_in_the_way(const struct vhd_layer *layer, uint64_t clear_to)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator_entry *entry = &layer->header.locator[i];

		if (entry->len_bytes && entry->off_bytes >= layer->meta_end &&
		    entry->off_bytes < clear_to)
			return true;
	}
	return false;
}

static enum err read_one(struct vhd_layer *layer, const struct vhd_locator_entry *entry,
			 struct locator_new *out, struct err_why *why)
{
	uint8_t *data = malloc(entry->len_bytes);

	if (!data)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e =
	    file_read(layer->file, EV_LOCATOR, data, entry->off_bytes, entry->len_bytes, why);
	if (e) {
		free(data);
		return e;
	}
	*out = (struct locator_new){.data = data, .len_bytes = entry->len_bytes};
	memcpy(out->code, entry->code, sizeof(out->code));
	return ERR_OK;
}

/* Every locator whose data is in the file, known or not, as it is. */
static enum err read_present(struct vhd_layer *layer, struct locator_new *items, unsigned *count,
			     struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < VHD_LOCATORS && !e; i++) {
		const struct vhd_locator_entry *entry = &layer->header.locator[i];
		uint64_t end;

		if (!entry->len_bytes || entry->len_bytes > LOCATOR_MAX_BYTES ||
		    !checked_add(entry->off_bytes, entry->len_bytes, &end) ||
		    end > layer->footer_off)
			continue;
		e = read_one(layer, entry, &items[*count], why);
		*count += !e;
	}
	return e;
}

enum err locators_clear(struct edit *edit, struct file_ns *ns, uint64_t clear_to,
			struct err_why *why)
{
	struct locator_new items[VHD_LOCATORS] = {0};
	unsigned count = 0;

	if (!is_in_the_way(edit->layer, clear_to))
		return ERR_OK;
	enum err e = read_present(edit->layer, items, &count, why);
	if (!e)
		e = locators_store(edit, ns, &edit->layer->header, items, count, clear_to, why);
	for (unsigned i = 0; i < count; i++)
		free(items[i].data);
	return e;
}
