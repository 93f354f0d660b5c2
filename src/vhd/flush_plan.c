/* SPDX-License-Identifier: MIT */
#include "vhd/flush_plan.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define ENTRIES_PER_SECTOR (DISK_SECTOR / 4)

static void free_plan(struct flush_plan *plan)
{
	for (unsigned i = 0; i < plan->writes; i++)
		free(plan->write[i].data);
	free(plan->write);
	free(plan->block);
	free(plan);
}

/* Takes over `data`. */
static enum err add_write(struct flush_plan *plan, enum file_op op, enum file_event event,
			  uint64_t off, uint64_t len, uint8_t *data)
{
	if (plan->writes == plan->write_room) {
		unsigned room = plan->write_room ? plan->write_room * 2 : 16;
		struct plan_write *grown = realloc(plan->write, room * sizeof(*grown));

		if (!grown) {
			free(data);
			return ERR_NOMEM;
		}
		plan->write = grown;
		plan->write_room = room;
	}
	plan->write[plan->writes++] = (struct plan_write){op, event, off, len, data};
	return ERR_OK;
}

static enum err add_bytes(struct flush_plan *plan, enum file_event event, uint64_t off,
			  const void *bytes, uint64_t len)
{
	uint8_t *copy = malloc(len);

	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, bytes, len);
	return add_write(plan, FILE_WRITE, event, off, len, copy);
}

static int by_block(const void *a, const void *b)
{
	uint32_t x = ((const struct plan_block *)a)->pend->block;
	uint32_t y = ((const struct plan_block *)b)->pend->block;

	return x < y ? -1 : x > y;
}

/* All dirty blocks that reads already see, in order of their number. */
static enum err collect(struct leaf *leaf, struct flush_plan *plan)
{
	plan->block = malloc(((size_t)leaf->dirty + 1) * sizeof(struct plan_block));
	if (!plan->block)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < leaf->buckets; i++) {
		for (struct pend *p = leaf->bucket[i]; p; p = p->hash_next) {
			if (!p->bat_dirty && !p->bitmap_dirty)
				continue;
			/* a dropped block with a first write under way: the drop is what is
			 * published */
			uint32_t entry = p->live ? p->entry : BAT_UNUSED;

			plan->block[plan->blocks++] =
			    (struct plan_block){p, entry, p->bat_dirty, p->bitmap_dirty};
		}
	}
	qsort(plan->block, plan->blocks, sizeof(struct plan_block), by_block);
	return ERR_OK;
}

static enum err plan_bitmaps(struct leaf *leaf, struct flush_plan *plan)
{
	for (uint32_t i = 0; i < plan->blocks; i++) {
		const struct pend *p = plan->block[i].pend;

		if (!p->live || !p->bitmap_dirty)
			continue;
		enum err e = add_bytes(plan, EV_BITMAP, layer_bitmap_off(p->entry), p->bitmap,
				       leaf->layer->bitmap_bytes);
		if (e)
			return e;
		plan->needs_barrier = true;
	}
	return ERR_OK;
}

/* One BAT sector: what is published, with this plan's entries put in. */
static enum err plan_bat_sector(struct leaf *leaf, struct flush_plan *plan, uint32_t *i)
{
	uint32_t first = plan->block[*i].pend->block / ENTRIES_PER_SECTOR * ENTRIES_PER_SECTOR;
	uint8_t sector[DISK_SECTOR];

	for (uint32_t n = 0; n < ENTRIES_PER_SECTOR; n++)
		put_be32(sector + (size_t)n * 4, leaf->bat[first + n]);
	for (; *i < plan->blocks; (*i)++) {
		const struct plan_block *b = &plan->block[*i];

		if (b->pend->block >= first + ENTRIES_PER_SECTOR)
			break;
		if (b->bat)
			put_be32(sector + (size_t)(b->pend->block - first) * 4, b->entry);
	}
	return add_bytes(plan, EV_BAT, layer_bat_entry_off(leaf->layer, first), sector,
			 sizeof(sector));
}

static enum err plan_bat(struct leaf *leaf, struct flush_plan *plan)
{
	for (uint32_t i = 0; i < plan->blocks;) {
		if (!plan->block[i].bat) {
			i++;
			continue;
		}
		enum err e = plan_bat_sector(leaf, plan, &i);
		if (e)
			return e;
	}
	return ERR_OK;
}

static bool can_reuse(const struct leaf *leaf, const struct freed *freed, uint64_t safe_seq)
{
	/* only places whose data is aligned as that of our own slots; the rest waits for compact */
	return freed->state == FREED_UNLINKED && freed->op_seq < safe_seq &&
	       layer_data_off(leaf->layer, freed->entry) % 4096 == 0;
}

/* The next step of freed places: zeros for the data, a bitmap as a new block needs it. */
static enum err plan_freed(struct leaf *leaf, struct flush_plan *plan, uint64_t safe_seq)
{
	const struct vhd_layer *layer = leaf->layer;

	for (struct freed *f = leaf->space.freed; f; f = f->next) {
		if (!can_reuse(leaf, f, safe_seq))
			continue;
		uint8_t *bitmap = malloc(layer->bitmap_bytes);
		if (!bitmap)
			return ERR_NOMEM;
		memset(bitmap, layer->footer.type == VHD_DYNAMIC ? 0xff : 0, layer->bitmap_bytes);
		enum err e = add_write(plan, FILE_WRITE, EV_BITMAP, layer_bitmap_off(f->entry),
				       layer->bitmap_bytes, bitmap);
		if (!e)
			e = add_write(plan, FILE_PUNCH, EV_SPACE, layer_data_off(layer, f->entry),
				      layer->block_bytes, NULL);
		if (e)
			return e;
	}
	return ERR_OK;
}

/* A batmap is a second opinion on our bitmaps that we do not keep up: it goes first. */
static enum err plan_batmap(struct leaf *leaf, struct flush_plan *plan)
{
	static const uint8_t zero[DISK_SECTOR];
	const struct vhd_header *h = &leaf->layer->header;

	if (!leaf->has_batmap || !plan->blocks)
		return ERR_OK;
	plan->drops_batmap = true;
	return add_bytes(plan, EV_BATMAP, h->bat_off + vhd_bat_bytes(h->max_entries), zero,
			 sizeof(zero));
}

/* Nothing can fail any more: mark what is in the plan. */
static void take_snapshot(struct leaf *leaf, struct flush_plan *plan, uint64_t safe_seq)
{
	for (uint32_t i = 0; i < plan->blocks; i++) {
		struct pend *p = plan->block[i].pend;

		p->publishing = true;
		p->bat_dirty = false;
		p->bitmap_dirty = false;
		leaf->dirty--;
	}
	for (struct freed *f = leaf->space.freed; f; f = f->next) {
		if (can_reuse(leaf, f, safe_seq))
			f->state = FREED_ZEROING;
		else if (f->state == FREED_DROPPED)
			f->state = FREED_PUBLISHING;
	}
}

enum err plan_make(struct leaf *leaf, uint64_t safe_seq, struct flush_plan **out,
		   struct err_why *why)
{
	struct flush_plan *plan = calloc(1, sizeof(*plan));
	enum err e = plan ? ERR_OK : ERR_NOMEM;

	if (!e)
		e = collect(leaf, plan);
	if (!e)
		e = plan_batmap(leaf, plan);
	if (!e)
		e = plan_bitmaps(leaf, plan);
	if (!e)
		e = plan_bat(leaf, plan);
	if (!e)
		e = plan_freed(leaf, plan, safe_seq);
	if (e) {
		if (plan)
			free_plan(plan);
		return err_set(why, e, "out of memory");
	}
	take_snapshot(leaf, plan, safe_seq);
	*out = plan;
	return ERR_OK;
}

static void commit_freed(struct leaf *leaf)
{
	for (struct freed **at = &leaf->space.freed; *at;) {
		struct freed *f = *at;

		if (f->state == FREED_ZEROING && space_add(&leaf->space, f->entry)) {
			*at = f->next;
			free(f);
			continue;
		}
		/* without memory for a slot, zeroed space waits like any other unlinked one */
		if (f->state != FREED_DROPPED)
			f->state = FREED_UNLINKED;
		at = &f->next;
	}
}

void plan_commit(struct leaf *leaf, struct flush_plan *plan)
{
	for (uint32_t i = 0; i < plan->blocks; i++) {
		struct plan_block *b = &plan->block[i];

		if (b->bat)
			leaf->bat[b->pend->block] = b->entry;
		b->pend->publishing = false;
		leaf_settle(leaf, b->pend);
	}
	commit_freed(leaf);
	if (plan->drops_batmap)
		leaf->has_batmap = false;
	free_plan(plan);
}

void plan_cancel(struct leaf *leaf, struct flush_plan *plan)
{
	for (uint32_t i = 0; i < plan->blocks; i++) {
		struct plan_block *b = &plan->block[i];

		b->pend->publishing = false;
		b->pend->bat_dirty = b->bat;
		b->pend->bitmap_dirty = b->bitmap;
		leaf->dirty++;
	}
	for (struct freed *f = leaf->space.freed; f; f = f->next) {
		if (f->state == FREED_ZEROING)
			f->state = FREED_UNLINKED;
		else if (f->state == FREED_PUBLISHING)
			f->state = FREED_DROPPED;
	}
	free_plan(plan);
}

void plan_abandon(struct flush_plan *plan)
{
	free_plan(plan);
}
