/* SPDX-License-Identifier: MIT */

/*
 * Disks that come, go and change their size. A slot that has been given stays: what nodes have in
 * it is theirs.
 */

#include <stdlib.h>
#include <string.h>

#include "snapshot/bring.h"
#include "snapshot/view.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

static enum err check_slot(const struct catalogue *cat, unsigned slot, struct err_why *why)
{
	if (slot >= cat->disks || !cat->leaf[slot])
		return err_set(why, ERR_NOENT, "there is no disk %u", slot);
	return ERR_OK;
}

/* ---- adding ---- */

static bool grow(uint64_t **layer, unsigned disks)
{
	uint64_t *grown = realloc(*layer, (disks + 2) * sizeof(*grown));

	if (!grown)
		return false;
	*layer = grown;
	grown[disks] = 0;
	return true;
}

/* One more slot, empty everywhere. */
static enum err add_slot(struct catalogue *cat, struct err_why *why)
{
	if (cat->disks == SNAP_MAX_DISKS)
		return err_set(why, ERR_REFUSED, "a VM has at most %u disks", SNAP_MAX_DISKS);
	if (!grow(&cat->leaf, cat->disks))
		return no_memory(why);
	for (unsigned i = 0; i < cat->nodes; i++)
		if (!grow(&cat->node[i].layer, cat->disks))
			return no_memory(why);
	cat->disks++;
	return ERR_OK;
}

static enum err find_slot(struct catalogue *cat, unsigned *slot, struct err_why *why)
{
	for (*slot = 0; *slot < cat->disks; (*slot)++)
		if (!cat->leaf[*slot])
			return ERR_OK;
	return add_slot(cat, why);
}

static enum err add(struct store *store, struct catalogue *cat, const char *path, unsigned *slot,
		    struct err_why *why)
{
	static const struct bring_opts in_place;
	enum err e = bring_check_new(store->ns, cat, path, why);

	if (!e && !store->writer)
		e = store_check_no_writer(store, why);
	if (!e)
		e = find_slot(cat, slot, why);
	if (!e)
		e = bring_disk(store->ns, store->dir, cat, *slot, path, &in_place, why);
	if (!e)
		e = cat_derive(cat, why);
	if (!e && store->writer)
		e = view_open_slot(store->writer, cat, *slot, why);
	if (e) {
		cat_free(cat);
		return e;
	}
	e = store_commit(store, cat, why);
	if (e && store->writer)
		view_close_slot(store->writer, *slot, NULL);
	return e;
}

enum err snap_disk_check_owner(struct file_ns *ns, const char *dir, const char *path,
			       struct err_why *why)
{
	return bring_check_owner(ns, dir, path, why);
}

enum err snap_disk_add(struct store *store, const char *path, unsigned *slot, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = ERR_OK;

	if (!store->writer)
		e = bring_check_owner(store->ns, store->dir, path, why);
	if (!e)
		e = store_begin(store, &cat, why);
	if (e)
		return e;
	e = add(store, cat, path, slot, why);
	store_end(store);
	return e;
}

/* ---- removing ---- */

static enum err forget(struct store *store, struct catalogue *cat, unsigned slot,
		       struct err_why *why)
{
	enum err e = check_slot(cat, slot, why);

	if (!e && !store->writer)
		e = store_check_no_writer(store, why);
	if (!e) {
		cat->leaf[slot] = 0;
		e = cat_sweep(cat, why);
	}
	if (e) {
		cat_free(cat);
		return e;
	}
	struct err_why here = {0};
	e = store_commit(store, cat, &here);
	/* what the guest went on writing might be to a file nobody names any more */
	if (e && store->uncertain && store->writer)
		stack_poison(store->writer->base.disk[slot], &here);
	if (e && why)
		*why = here;
	return e;
}

enum err snap_disk_remove(struct store *store, unsigned slot, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = forget(store, cat, slot, why);
	if (!e && store->writer)
		e = view_close_slot(store->writer, slot, why);
	store_end(store);
	return e;
}

/* ---- another size ---- */

/* The leaf's file, which nobody has open now, and what the catalogue says of it. Takes over `cat`.
 */
static enum err resize_leaf(struct store *store, struct catalogue *cat, unsigned slot,
			    uint64_t size_bytes, struct err_why *why)
{
	const struct vhd_open_opts open = {.ns = store->ns};
	const struct vhd_resize_opts opts = {.size_bytes = size_bytes};
	struct layers layers;
	enum err e = layers_of(store, cat, cat->leaf[slot], &layers, why);

	if (!e)
		e = vhd_resize(layers.facts[layers.count - 1].path, &open, &opts, why);
	layers_free(&layers);
	if (e) {
		cat_free(cat);
		return e;
	}
	cat_layer(cat, cat->leaf[slot])->size_bytes = size_bytes;
	return store_commit(store, cat, why);
}

static enum err check_resize(struct store *store, const struct catalogue *cat, unsigned slot,
			     struct err_why *why)
{
	enum err e = check_slot(cat, slot, why);

	return e || store->writer ? e : store_check_no_writer(store, why);
}

/* Takes over `cat`. */
static enum err resize(struct store *store, struct catalogue *cat, unsigned slot,
		       uint64_t size_bytes, struct err_why *why)
{
	enum err e = check_resize(store, cat, slot, why), again = ERR_OK;

	if (!e && store->writer)
		e = view_close_slot(store->writer, slot, why);
	if (e) {
		cat_free(cat);
		return e;
	}
	e = resize_leaf(store, cat, slot, size_bytes, why);
	if (store->writer)
		again = view_open_slot(store->writer, store->cat, slot, e ? NULL : why);
	return e ? e : again;
}

enum err snap_disk_resize(struct store *store, unsigned slot, uint64_t size_bytes,
			  struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = resize(store, cat, slot, size_bytes, why);
	store_end(store);
	return e;
}
