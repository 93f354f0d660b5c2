/* SPDX-License-Identifier: MIT */

/* The end of a fold, when all payload is where it belongs (fold.h). */

#include <stdlib.h>

#include "snapshot/fold.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* Commit, and go on with a copy of what was committed. */
static enum err commit(struct store *store, struct catalogue **cat, struct err_why *why)
{
	enum err e = store_commit(store, *cat, why);

	*cat = NULL;
	return e ? e : cat_clone(store->cat, cat, why);
}

/* Durable, and its identity is what it is now. A leaf has none. */
static enum err seal(struct store *store, struct cat_layer *layer, struct err_why *why)
{
	char *path = store_layer_path(store->dir, layer);
	enum err e = path ? ERR_OK : no_memory(why);

	layer->sealed_bytes = 0;
	layer->sealed_mtime_ns = 0;
	if (!e && !layer->is_leaf)
		e = stack_seal(store->ns, path, why);
	if (!e && !layer->is_leaf)
		e = layer_note_seal(store, layer, why);
	free(path);
	return e;
}

static enum err settle_up(struct store *store, struct catalogue *cat, struct err_why *why)
{
	const struct cat_layer *lower = cat_layer(cat, cat->fold.lower);
	struct cat_layer *upper = cat_layer(cat, cat->fold.upper);

	upper->parent = lower->parent;
	upper->flags |= CAT_RELINK;
	return seal(store, upper, why);
}

/* The lower file under the upper layer's name; the other one goes with the lower layer. */
static void exchange_files(struct cat_layer *lower, struct cat_layer *upper)
{
	uint64_t file = lower->file;
	char *path = lower->path;

	lower->file = upper->file;
	lower->path = upper->path;
	upper->file = file;
	upper->path = path;
}

static enum err set_uuid(struct store *store, const struct cat_layer *layer,
			 const struct guid *uuid, struct err_why *why)
{
	char *path = store_layer_path(store->dir, layer);
	enum err e = path ? stack_set_uuid(store->ns, path, uuid, why) : no_memory(why);

	free(path);
	return e;
}

/*
 * A leaf is a plain VHD that any program may open: from here on until it is removed nobody can
 * write to it. *same: nobody has since the fold began.
 */
static enum err lock_leaf(struct store *store, const struct cat_layer *leaf, bool *same,
			  struct err_why *why)
{
	char *path = store_layer_path(store->dir, leaf);
	struct file_info now;
	enum err e = path ? ERR_OK : no_memory(why);

	file_close(store->settled, NULL);
	store->settled = NULL;
	if (!e)
		e = file_ns_open(store->ns, path, FILE_OPEN_RDWR | FILE_OPEN_NOFOLLOW,
				 &store->settled, why);
	if (!e)
		e = file_lock(store->settled, FILE_LOCK_WRITE, why);
	if (!e)
		e = file_get_info(store->settled, &now, why);
	if (!e)
		*same =
		    now.size_bytes == leaf->sealed_bytes && now.mtime_ns == leaf->sealed_mtime_ns;
	free(path);
	return e;
}

enum err fold_lock_leaf(struct store *store, const struct catalogue *cat, struct err_why *why)
{
	const struct cat_layer *upper = cat_layer(cat, cat->fold.upper);
	bool same;

	return cat->fold.down && upper->is_leaf ? lock_leaf(store, upper, &same, why) : ERR_OK;
}

static void move_down(struct catalogue *cat, struct cat_layer *lower, struct cat_layer *upper)
{
	exchange_files(lower, upper);
	upper->type = lower->type;
	upper->block_bytes = lower->block_bytes;
	upper->parent = lower->parent;
	upper->flags = lower->flags;
	for (unsigned i = 0; i < cat->layers; i++)
		if (cat->layer[i].parent == upper->number)
			cat->layer[i].flags |= CAT_RELINK;
}

static enum err settle_down(struct store *store, struct catalogue *cat, struct err_why *why)
{
	struct cat_layer *lower = cat_layer(cat, cat->fold.lower);
	struct cat_layer *upper = cat_layer(cat, cat->fold.upper);
	bool same = true;
	enum err e = upper->is_leaf ? lock_leaf(store, upper, &same, why) : ERR_OK;

	if (e)
		return e;
	e = set_uuid(store, lower, same ? &upper->uuid : &lower->uuid, why);
	if (e)
		return e;
	if (!same) {
		/* the leaf hides what was copied, so nothing has happened */
		cat_call_off(cat);
		return ERR_OK;
	}
	move_down(cat, lower, upper);
	return seal(store, upper, why);
}

enum err fold_settle(struct store *store, struct catalogue **cat, struct err_why *why)
{
	struct cat_fold fold = (*cat)->fold;
	enum err e = fold.down ? settle_down(store, *cat, why) : settle_up(store, *cat, why);

	if (e)
		return e;
	(*cat)->fold = (struct cat_fold){0};
	e = cat_sweep(*cat, why);
	if (!e)
		e = commit(store, cat, why);
	if (!e)
		views_follow_fold(store, *cat, fold.lower, fold.upper);
	return e;
}

/* ---- headers ---- */

static enum err relink(struct store *store, const struct catalogue *cat, struct cat_layer *layer,
		       struct err_why *why)
{
	const struct cat_layer *parent = cat_layer(cat, layer->parent);
	char *path = store_layer_path(store->dir, layer);
	char *parent_path = parent ? store_layer_path(store->dir, parent) : NULL;
	enum err e = path && (parent_path || !parent) ? ERR_OK : no_memory(why);

	if (!e && parent)
		e = stack_relink(store->ns, path, parent_path, &parent->uuid, why);
	free(path);
	free(parent_path);
	if (!e) {
		layer->flags &= ~(uint32_t)CAT_RELINK;
		e = seal(store, layer, why);
	}
	if (!e && layer == cat_fold_target(cat)) {
		layer->sealed_bytes = 0; /* it goes on changing */
		layer->sealed_mtime_ns = 0;
	}
	return e;
}

/* Nobody has current open; waiting for its locks would keep everybody else waiting too. */
static bool leaves_are_free(struct store *store)
{
	if (store->writing || store->readers || store_lock_byte(store, LOCK_WRITER, 0, NULL))
		return false;
	store_unlock_byte(store, LOCK_WRITER);
	return true;
}

static bool wants_relink(struct store *store, const struct cat_layer *layer)
{
	return (layer->flags & CAT_RELINK) && (!layer->is_leaf || leaves_are_free(store));
}

enum err fold_relink(struct store *store, struct catalogue **cat, unsigned max, bool *more,
		     struct err_why *why)
{
	unsigned tried = 0, done = 0;
	enum err e = ERR_OK;

	*more = false;
	for (unsigned i = 0; i < (*cat)->layers && !e; i++) {
		struct cat_layer *layer = &(*cat)->layer[i];

		if (!wants_relink(store, layer))
			continue;
		if (tried++ == max) {
			*more = done > 0;
			break;
		}
		e = relink(store, *cat, layer, why);
		done += !e;
		if (e == ERR_LOCKED)
			e = ERR_OK; /* another program uses it: it can wait */
	}
	return e || !done ? e : commit(store, cat, why);
}

#define PENDING_AT_A_TIME 16u

static bool is_pending(const struct store *store)
{
	for (unsigned i = 0; store->cat && i < store->cat->layers; i++)
		if (store->cat->layer[i].flags & CAT_RELINK)
			return true;
	return false;
}

void fold_relink_pending(struct store *store)
{
	struct catalogue *cat;
	bool more;

	pthread_mutex_lock(&store->lock);
	bool pending = !store->readonly && is_pending(store);
	pthread_mutex_unlock(&store->lock);
	if (!pending || store_rest(store, 0, NULL))
		return;
	if (!store_begin(store, &cat, NULL)) {
		fold_relink(store, &cat, PENDING_AT_A_TIME, &more, NULL);
		cat_free(cat);
		store_end(store);
	}
	store_end_rest(store);
}
