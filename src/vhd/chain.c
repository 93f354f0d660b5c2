/* SPDX-License-Identifier: MIT */
#include "vhd/chain.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/parent.h"
#include "vhd/parking.h"

#define BAT_CACHE_BYTES (16u << 20)

/* Stands for every page in which no block is allocated: most pages of most layers. */
static uint32_t bat_page_empty[BAT_PAGE_ENTRIES];

static enum err append(struct vhd_chain *chain, struct vhd_layer *layer, struct err_why *why)
{
	struct vhd_layer **grown =
	    realloc(chain->layer, (chain->count + 1) * sizeof(struct vhd_layer *));

	if (!grown) {
		layer_close(layer, NULL);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	chain->layer = grown;
	chain->layer[chain->count++] = layer;
	return ERR_OK;
}

/* A chain that meets itself would never end; one that is too deep is refused before it hurts. */
static enum err check_new(const struct vhd_chain *chain, const struct vhd_layer *layer,
			  struct err_why *why)
{
	if (chain->count >= VHD_MAX_DEPTH)
		return err_set(why, ERR_UNSUPPORTED, "chain of more than %u files", VHD_MAX_DEPTH);
	for (unsigned i = 0; i < chain->count; i++) {
		const struct vhd_layer *have = chain->layer[i];
		bool same_file =
		    have->info.dev == layer->info.dev && have->info.ino == layer->info.ino;

		if (same_file || guid_equal(&have->footer.uuid, &layer->footer.uuid))
			return err_set(why, ERR_CORRUPT,
				       "chain has a loop: %s and %s are the same %s", have->path,
				       layer->path, same_file ? "file" : "disk (same UUID)");
	}
	return ERR_OK;
}

static void reverse(struct vhd_chain *chain)
{
	for (unsigned i = 0, j = chain->count - 1; i < j; i++, j--) {
		struct vhd_layer *swap = chain->layer[i];

		chain->layer[i] = chain->layer[j];
		chain->layer[j] = swap;
	}
}

/*
 * Only now, when it is known not to be a file of the chain (our own lock would exclude us). Who
 * wrote to it since we read it has changed its size, or nothing a reader keeps.
 */
static enum err lock_parent(struct vhd_layer *parent, struct err_why *why)
{
	struct file_info now;
	enum err e = file_lock(parent->file, FILE_LOCK_READ, why);

	if (!e)
		e = file_get_info(parent->file, &now, why);
	if (!e && now.size_bytes != parent->info.size_bytes && !parent->intent)
		e = err_set(why, ERR_LOCKED, "%s: it was being written while it was opened",
			    parent->path);
	return e;
}

static enum err open_parents(struct vhd_chain *chain, const struct vhd_open_opts *opts, bool lock,
			     struct err_why *why)
{
	unsigned flags = opts->direct ? FILE_OPEN_DIRECT : 0;

	for (;;) {
		struct vhd_layer *child = chain->layer[chain->count - 1];
		struct vhd_layer *parent;

		if (child->footer.type != VHD_DIFFERENCING)
			return ERR_OK;
		enum err e = parent_open(child, opts, chain->count == 1, flags, &parent, why);
		if (e) {
			err_context(why, "%s", child->path);
			return e;
		}
		e = check_new(chain, parent, why);
		if (!e && lock)
			e = lock_parent(parent, why);
		if (e) {
			layer_close(parent, NULL);
			return e;
		}
		e = append(chain, parent, why);
		if (e)
			return e;
	}
}

static enum err cache_init(struct vhd_chain *chain, struct err_why *why)
{
	struct bat_cache *bat = &chain->bat;

	bat->budget_bytes = BAT_CACHE_BYTES;
	bat->page = calloc(chain->count, sizeof(uint32_t **));
	return bat->page ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");
}

enum err chain_open(struct vhd_layer *leaf, const struct vhd_open_opts *opts, bool lock,
		    struct vhd_chain *chain, struct err_why *why)
{
	*chain = (struct vhd_chain){0};
	enum err e = append(chain, leaf, why);

	if (!e)
		e = open_parents(chain, opts, lock, why);
	if (!e) {
		reverse(chain);
		e = cache_init(chain, why);
	}
	if (e)
		chain_close(chain, NULL);
	return e;
}

enum err chain_of(struct vhd_layer **layers, unsigned count, struct vhd_chain *chain,
		  struct err_why *why)
{
	*chain = (struct vhd_chain){.layer = layers, .count = count};
	enum err e = cache_init(chain, why);

	if (e)
		chain_close(chain, NULL);
	return e;
}

static uint32_t page_count(const struct vhd_layer *layer)
{
	return (uint32_t)div_round_up(layer->blocks, BAT_PAGE_ENTRIES);
}

static void free_page(uint32_t *page)
{
	if (page != bat_page_empty)
		free(page);
}

static void drop_pages(struct vhd_chain *chain, unsigned n)
{
	uint32_t **pages = chain->bat.page[n];

	for (uint32_t i = 0; pages && i < page_count(chain->layer[n]); i++) {
		if (pages[i] && pages[i] != bat_page_empty)
			chain->bat.bytes -= sizeof(bat_page_empty);
		free_page(pages[i]);
	}
	free(pages);
	chain->bat.page[n] = NULL;
}

enum err chain_reserve(struct vhd_chain *chain, struct err_why *why)
{
	size_t count = chain->count + 1;
	struct vhd_layer **layers = realloc(chain->layer, count * sizeof(struct vhd_layer *));

	if (layers)
		chain->layer = layers;
	uint32_t ***pages = layers ? realloc(chain->bat.page, count * sizeof(uint32_t **)) : NULL;
	if (!pages)
		return err_set(why, ERR_NOMEM, "out of memory");
	chain->bat.page = pages;
	return ERR_OK;
}

void chain_push(struct vhd_chain *chain, struct vhd_layer *layer)
{
	chain->bat.page[chain->count] = NULL;
	chain->layer[chain->count] = layer;
	chain->count++;
}

void chain_replace(struct vhd_chain *chain, unsigned first, unsigned old,
		   struct vhd_layer *const *layers, unsigned count, struct vhd_layer **removed)
{
	unsigned after = chain->count - first - old;

	for (unsigned i = 0; i < old; i++) {
		drop_pages(chain, first + i);
		removed[i] = chain->layer[first + i];
	}
	for (unsigned i = 0; i < count; i++)
		chain->layer[first + i] = layers[i];
	memmove(&chain->layer[first + count], &chain->layer[first + old],
		after * sizeof(struct vhd_layer *));
	memmove(&chain->bat.page[first + count], &chain->bat.page[first + old],
		after * sizeof(uint32_t **));
	chain->count -= old - count;
	chain->bat.hand_layer = 0;
	chain->bat.hand_page = 0;
}

enum err chain_close(struct vhd_chain *chain, struct err_why *why)
{
	enum err first = ERR_OK;

	for (unsigned n = 0; chain->bat.page && n < chain->count; n++)
		drop_pages(chain, n);
	for (unsigned n = 0; n < chain->count; n++) {
		enum err e = layer_close(chain->layer[n], first ? NULL : why);

		if (e && !first)
			first = e;
	}
	free(chain->bat.page);
	free(chain->layer);
	*chain = (struct vhd_chain){0};
	return first;
}

/* Give back pages, going round the layers, until a new one fits the budget. */
static void make_room(struct vhd_chain *chain)
{
	struct bat_cache *bat = &chain->bat;

	while (bat->bytes + sizeof(bat_page_empty) > bat->budget_bytes) {
		uint32_t **pages = bat->page[bat->hand_layer];

		if (!pages || bat->hand_page >= page_count(chain->layer[bat->hand_layer])) {
			bat->hand_page = 0;
			bat->hand_layer = (bat->hand_layer + 1) % chain->count;
			continue;
		}
		uint32_t *page = pages[bat->hand_page];
		if (page && page != bat_page_empty) {
			free(page);
			pages[bat->hand_page] = NULL;
			bat->bytes -= sizeof(bat_page_empty);
		}
		bat->hand_page++;
	}
}

static enum err load_page(struct vhd_chain *chain, unsigned n, uint32_t page_idx,
			  struct err_why *why)
{
	struct vhd_layer *layer = chain->layer[n];
	uint64_t first = (uint64_t)page_idx * BAT_PAGE_ENTRIES;
	uint32_t count = (uint32_t)min_u64(BAT_PAGE_ENTRIES, layer->blocks - first);
	uint32_t *page = malloc(sizeof(bat_page_empty));
	bool empty = true;

	if (!page)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = layer_hold(layer, why);
	if (!e) {
		e = layer_read_bat(layer, first, count, page, why);
		layer_release(layer);
	}
	if (e) {
		free(page);
		return e;
	}
	for (uint32_t i = 0; i < count && empty; i++)
		empty = page[i] == BAT_UNUSED;
	if (empty) {
		free(page);
		chain->bat.page[n][page_idx] = bat_page_empty;
		return ERR_OK;
	}
	chain->bat.page[n][page_idx] = page;
	chain->bat.bytes += sizeof(bat_page_empty);
	return ERR_OK;
}

/* A file that a fold writes to may have grown since its end was looked at. */
static enum err check_entry(struct vhd_layer *layer, uint32_t idx, uint32_t entry,
			    struct err_why *why)
{
	struct err_why first = {0};
	enum err e = layer_check_entry(layer, idx, entry, &first);

	if (!e)
		return ERR_OK;
	if (!layer->parking) {
		if (why)
			*why = first;
		return e;
	}
	e = layer_hold(layer, why);
	if (e)
		return e;
	e = layer_refresh(layer, why);
	if (!e)
		e = layer_check_entry(layer, idx, entry, why);
	layer_release(layer);
	return e;
}

enum err chain_bat_entry(struct vhd_chain *chain, unsigned n, uint32_t idx, uint32_t *entry,
			 struct err_why *why)
{
	struct vhd_layer *layer = chain->layer[n];
	uint32_t page_idx = idx / BAT_PAGE_ENTRIES;

	if (!chain->bat.page[n]) {
		chain->bat.page[n] = calloc(page_count(layer), sizeof(uint32_t *));
		if (!chain->bat.page[n])
			return err_set(why, ERR_NOMEM, "out of memory");
	}
	if (!chain->bat.page[n][page_idx]) {
		make_room(chain);
		enum err e = load_page(chain, n, page_idx, why);
		if (e) {
			err_context(why, "%s", layer->path);
			return e;
		}
	}
	const uint32_t *page = chain->bat.page[n][page_idx];
	*entry = page == bat_page_empty ? BAT_UNUSED : page[idx % BAT_PAGE_ENTRIES];
	if (*entry == BAT_UNUSED)
		return ERR_OK;
	enum err e = check_entry(layer, idx, *entry, why);
	if (e)
		err_context(why, "%s", layer->path);
	return e;
}
