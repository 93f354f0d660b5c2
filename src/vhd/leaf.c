/* SPDX-License-Identifier: MIT */
#include "vhd/leaf.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/bitmap.h"

#define FIRST_BUCKETS 256u

/* ---- opening ---- */

static int by_entry(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Pairwise disjoint, in O(n log n): two blocks in one place would overwrite each other. */
static enum err check_disjoint(const struct vhd_layer *layer, const uint32_t *bat, uint32_t used,
			       uint64_t *end_off, struct err_why *why)
{
	uint32_t span = (layer->bitmap_bytes + layer->block_bytes) / DISK_SECTOR;
	uint32_t *sorted = malloc(((size_t)used + 1) * sizeof(uint32_t));
	uint32_t n = 0;
	enum err e = ERR_OK;

	if (!sorted)
		return err_set(why, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < layer->blocks; i++) {
		if (bat[i] != BAT_UNUSED)
			sorted[n++] = bat[i];
	}
	qsort(sorted, n, sizeof(uint32_t), by_entry);
	for (uint32_t i = 1; i < n && !e; i++) {
		if (sorted[i] - sorted[i - 1] < span)
			e = err_set(
			    why, ERR_CORRUPT,
			    "%s: two BAT entries name overlapping blocks at sectors %u and %u",
			    layer->path, sorted[i - 1], sorted[i]);
	}
	*end_off = layer_locators_end(layer);
	if (n)
		*end_off =
		    max_u64(*end_off, layer_data_off(layer, sorted[n - 1]) + layer->block_bytes);
	free(sorted);
	return e;
}

static enum err load_bat(struct leaf *leaf, uint64_t *end_off, struct err_why *why)
{
	struct vhd_layer *layer = leaf->layer;
	uint32_t used = 0;

	leaf->bat_entries = (uint32_t)(vhd_bat_bytes(layer->header.max_entries) / 4);
	leaf->bat = malloc((size_t)leaf->bat_entries * 4);
	if (!leaf->bat)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = layer_read_bat(layer, 0, leaf->bat_entries, leaf->bat, why);
	for (uint32_t i = 0; i < layer->blocks && !e; i++) {
		if (leaf->bat[i] == BAT_UNUSED)
			continue;
		used++;
		e = layer_check_entry(layer, i, leaf->bat[i], why);
	}
	leaf->allocated = used;
	return e ? e : check_disjoint(layer, leaf->bat, used, end_off, why);
}

enum err leaf_open(struct vhd_layer *layer, struct leaf **out, struct err_why *why)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));
	uint64_t end_off = 0;

	if (!leaf)
		return err_set(why, ERR_NOMEM, "out of memory");
	leaf->layer = layer;
	leaf->buckets = FIRST_BUCKETS;
	leaf->bucket = calloc(leaf->buckets, sizeof(struct pend *));
	enum err e =
	    leaf->bucket ? load_bat(leaf, &end_off, why) : err_set(why, ERR_NOMEM, "out of memory");
	if (!e)
		e = layer_has_batmap(layer, leaf->bat, &leaf->has_batmap, why);
	if (e) {
		leaf_free(leaf);
		return e;
	}
	space_init(&leaf->space, end_off);
	*out = leaf;
	return ERR_OK;
}

static void free_pend(struct leaf *leaf, struct pend *pend)
{
	if (pend->bitmap)
		leaf->bitmap_bytes_held -= leaf->layer->bitmap_bytes;
	free(pend->bitmap);
	free(pend);
	leaf->pending--;
}

void leaf_free(struct leaf *leaf)
{
	if (!leaf)
		return;
	for (uint32_t i = 0; leaf->bucket && i < leaf->buckets; i++) {
		while (leaf->bucket[i]) {
			struct pend *pend = leaf->bucket[i];

			leaf->bucket[i] = pend->hash_next;
			free_pend(leaf, pend);
		}
	}
	space_free(&leaf->space);
	free(leaf->bucket);
	free(leaf->bat);
	free(leaf);
}

/* ---- pending blocks ---- */

static uint32_t bucket_of(uint32_t block, uint32_t buckets)
{
	return (block * 2654435761u) >> 7 & (buckets - 1);
}

struct pend *leaf_find(const struct leaf *leaf, uint32_t block)
{
	struct pend *pend = leaf->bucket[bucket_of(block, leaf->buckets)];

	while (pend && pend->block != block)
		pend = pend->hash_next;
	return pend;
}

/* More buckets when they fill; without memory for them the old ones still work. */
static void maybe_rehash(struct leaf *leaf)
{
	uint32_t wider = leaf->buckets * 4;

	if (leaf->pending < leaf->buckets * 2)
		return;
	struct pend **fresh = calloc(wider, sizeof(struct pend *));
	if (!fresh)
		return;
	for (uint32_t i = 0; i < leaf->buckets; i++) {
		while (leaf->bucket[i]) {
			struct pend *pend = leaf->bucket[i];
			struct pend **to = &fresh[bucket_of(pend->block, wider)];

			leaf->bucket[i] = pend->hash_next;
			pend->hash_next = *to;
			*to = pend;
		}
	}
	free(leaf->bucket);
	leaf->bucket = fresh;
	leaf->buckets = wider;
}

static struct pend *add_pend(struct leaf *leaf, uint32_t block, struct err_why *why)
{
	struct pend *pend = calloc(1, sizeof(*pend));

	if (!pend) {
		err_set(why, ERR_NOMEM, "out of memory");
		return NULL;
	}
	maybe_rehash(leaf);
	struct pend **head = &leaf->bucket[bucket_of(block, leaf->buckets)];
	pend->block = block;
	pend->entry = leaf->bat[block];
	pend->live = true;
	pend->hash_next = *head;
	*head = pend;
	leaf->pending++;
	return pend;
}

void leaf_settle(struct leaf *leaf, struct pend *pend)
{
	struct pend **at = &leaf->bucket[bucket_of(pend->block, leaf->buckets)];

	if (pend->in_flight || pend->bat_dirty || pend->bitmap_dirty || pend->publishing)
		return;
	while (*at != pend)
		at = &(*at)->hash_next;
	*at = pend->hash_next;
	free_pend(leaf, pend);
}

void leaf_lookup(const struct leaf *leaf, uint32_t block, uint32_t *entry, const uint8_t **bitmap,
		 bool *full)
{
	const struct pend *pend = leaf_find(leaf, block);

	*bitmap = NULL;
	*full = false;
	*entry = leaf->bat[block];
	if (!pend)
		return;
	if (!pend->live) {
		*entry = BAT_UNUSED;
		return;
	}
	*entry = pend->entry;
	*bitmap = pend->bitmap;
	*full = !pend->bitmap;
}

/* ---- writing ---- */

static void mark(struct leaf *leaf, struct pend *pend, bool bat, bool bitmap)
{
	if (!pend->bat_dirty && !pend->bitmap_dirty && (bat || bitmap))
		leaf->dirty++;
	pend->bat_dirty |= bat;
	pend->bitmap_dirty |= bitmap;
}

static enum err hold_bitmap(struct leaf *leaf, struct pend *pend, struct err_why *why)
{
	pend->bitmap = calloc(1, leaf->layer->bitmap_bytes);
	if (!pend->bitmap)
		return err_set(why, ERR_NOMEM, "out of memory");
	leaf->bitmap_bytes_held += leaf->layer->bitmap_bytes;
	return ERR_OK;
}

/* A block that is on disk already and lacks sectors: work on a copy of its bitmap. */
static enum err load_bitmap(struct leaf *leaf, struct pend *pend, struct err_why *why)
{
	enum err e = hold_bitmap(leaf, pend, why);

	return e ? e : layer_read_bitmap(leaf->layer, pend->entry, pend->bitmap, why);
}

static enum err take_slot(struct leaf *leaf, struct pend *pend, struct err_why *why)
{
	uint32_t unallocated = leaf->layer->blocks - (uint32_t)leaf->allocated;
	uint32_t entry;
	enum err e = ERR_OK;

	if (leaf->layer->footer.type == VHD_DIFFERENCING)
		e = hold_bitmap(leaf, pend, why);
	if (!e)
		e = space_take(&leaf->space, leaf->layer, unallocated, &entry, why);
	if (e)
		return e;
	pend->entry = entry;
	pend->live = false;
	leaf->allocated++;
	leaf->taken++;
	return ERR_OK;
}

static void drop_bitmap(struct leaf *leaf, struct pend *pend)
{
	if (pend->bitmap)
		leaf->bitmap_bytes_held -= leaf->layer->bitmap_bytes;
	free(pend->bitmap);
	pend->bitmap = NULL;
}

enum err leaf_reserve(struct leaf *leaf, uint32_t block, struct pend **out, struct err_why *why)
{
	struct pend *pend = leaf_find(leaf, block);
	bool fresh = !pend;
	enum err e = ERR_OK;

	if (!pend && !(pend = add_pend(leaf, block, why)))
		return ERR_NOMEM;
	if (pend->entry == BAT_UNUSED)
		e = take_slot(leaf, pend, why);
	else if (fresh)
		e = load_bitmap(leaf, pend, why);
	if (e) {
		if (pend->entry == BAT_UNUSED || fresh)
			drop_bitmap(leaf, pend);
		leaf_settle(leaf, pend);
		return e;
	}
	pend->in_flight++;
	*out = pend;
	return ERR_OK;
}

void leaf_written(struct leaf *leaf, struct pend *pend, uint32_t first, uint32_t count, bool *whole)
{
	bool is_new = !pend->live;

	pend->in_flight--;
	pend->live = true;
	*whole = !pend->bitmap;
	if (pend->bitmap)
		bitmap_set(pend->bitmap, first, count);
	mark(leaf, pend, is_new, pend->bitmap != NULL);
}

void leaf_give_up(struct leaf *leaf, struct pend *pend)
{
	pend->in_flight--;
	if (!pend->live && !pend->in_flight) {
		/*
		 * Part of the data may have landed, so the slot is not durable-zero any more: it is
		 * left alone until the file is closed or compacted.
		 */
		leaf->allocated--;
		drop_bitmap(leaf, pend);
		pend->entry = BAT_UNUSED; /* as it was before leaf_reserve took a slot */
		pend->live = true;
	}
	leaf_settle(leaf, pend);
}

bool leaf_can_drop(const struct leaf *leaf, uint32_t block)
{
	const struct pend *pend = leaf_find(leaf, block);

	return !pend || !pend->in_flight;
}

enum err leaf_drop(struct leaf *leaf, uint32_t block, uint64_t op_seq, struct err_why *why)
{
	struct pend *pend = leaf_find(leaf, block);

	if (!pend && !(pend = add_pend(leaf, block, why)))
		return ERR_NOMEM;
	if (pend->entry == BAT_UNUSED) {
		leaf_settle(leaf, pend);
		return ERR_OK;
	}
	if (!space_release(&leaf->space, pend->entry, op_seq)) {
		leaf_settle(leaf, pend);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	drop_bitmap(leaf, pend);
	pend->entry = BAT_UNUSED;
	if (pend->bitmap_dirty && !pend->bat_dirty)
		leaf->dirty--;
	pend->bitmap_dirty = false;
	mark(leaf, pend, true, false);
	leaf->allocated--;
	return ERR_OK;
}
