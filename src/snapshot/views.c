/* SPDX-License-Identifier: MIT */

/*
 * Views. A reader takes no lock to read the catalogue; he holds the files it names and then looks
 * whether it is still the same. If it is, nothing he holds can be removed any more; if not, he
 * begins again.
 */

#include <stdlib.h>
#include <string.h>

#include "snapshot/view.h"

#define RETRIES      20u
#define REST_SECONDS 60u

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- freeing ---- */

static void release_gone(struct store *store, struct view_disk *of)
{
	for (unsigned i = 0; i < of->gone_count; i++)
		edge_release(store, of->gone[i].file, of->gone[i].upper);
	of->gone_count = 0;
}

static void free_of(struct store *store, struct view_disk *of)
{
	edges_release(store, of->file, of->count);
	release_gone(store, of);
	free(of->number);
	free(of->file);
	free(of->gone);
}

static enum err free_view(struct view *view, struct err_why *why)
{
	enum err first = ERR_OK;

	for (unsigned d = 0; d < view->base.disk_count; d++) {
		enum err e = disk_close(view->base.disk[d], first ? NULL : why);

		first = first ? first : e;
		free_of(view->store, &view->of[d]);
	}
	free(view->base.disk);
	free(view->of);
	free(view);
	return first;
}

/* ---- opening; lock held ---- */

static enum err open_disk(struct view *view, unsigned d, struct layers *layers,
			  const struct snap_view_opts *opts, struct err_why *why)
{
	struct store *store = view->store;
	struct view_disk *of = &view->of[d];
	struct stack_opts stack = {.ns = store->ns,
				   .writable = opts->writable,
				   .lock_leaf = view->reads_current,
				   .direct = opts->direct,
				   .map_budget_bytes = opts->map_budget_bytes};
	enum err e = edges_hold(store, layers->file, layers->count, why);

	if (e)
		return e;
	of->file = layers->file;
	of->number = layers->number;
	of->count = layers->count;
	layers->file = layers->number = NULL;
	return stack_open(layers->facts, layers->count, &stack, &view->base.disk[d], why);
}

static enum err open_top(struct view *view, const struct catalogue *cat, unsigned d, uint64_t top,
			 struct err_why *why)
{
	struct layers layers;
	enum err e = layers_of(view->store, cat, top, &layers, why);

	if (!e)
		e = open_disk(view, d, &layers, &view->opts, why);
	layers_free(&layers);
	return e;
}

static enum err open_disks(struct view *view, const uint64_t *top, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned d = 0; d < view->base.disk_count && !e; d++)
		if (top[d])
			e = open_top(view, view->store->cat, d, top[d], why);
	return e;
}

enum err view_open_slot(struct view *view, const struct catalogue *cat, unsigned d,
			struct err_why *why)
{
	enum err e = open_top(view, cat, d, cat->leaf[d], why);

	if (e) {
		free_of(view->store, &view->of[d]);
		view->of[d] = (struct view_disk){0};
		view->base.disk[d] = NULL;
	} else if (view->base.disk_count <= d) {
		view->base.disk_count = d + 1;
	}
	return e;
}

enum err view_close_slot(struct view *view, unsigned d, struct err_why *why)
{
	enum err e = disk_close(view->base.disk[d], why);

	free_of(view->store, &view->of[d]);
	view->of[d] = (struct view_disk){0};
	view->base.disk[d] = NULL;
	return e;
}

static struct view *new_view(struct store *store, const struct snap_view_opts *opts)
{
	struct view *view = calloc(1, sizeof(*view));

	if (!view)
		return NULL;
	view->base.disk = calloc(SNAP_MAX_DISKS, sizeof(struct disk *));
	view->of = calloc(SNAP_MAX_DISKS, sizeof(*view->of));
	if (!view->base.disk || !view->of) {
		free(view->base.disk);
		free(view->of);
		free(view);
		return NULL;
	}
	view->base.disk_count = store->cat->disks;
	view->store = store;
	view->writable = opts->writable;
	view->opts = *opts;
	return view;
}

static enum err find_top(const struct catalogue *cat, const struct guid *id, const uint64_t **top,
			 struct err_why *why)
{
	const struct cat_node *node = id ? cat_node_by_id(cat, id) : NULL;
	char text[GUID_TEXT_BYTES];

	if (id && !node)
		return err_set(why, ERR_NOENT, "there is no snapshot %s", guid_text(id, text));
	*top = id ? node->layer : cat->leaf;
	return ERR_OK;
}

static enum err open_view(struct store *store, const struct guid *id,
			  const struct snap_view_opts *opts, struct view **out, struct err_why *why)
{
	const uint64_t *top;
	enum err e = find_top(store->cat, id, &top, why);

	if (e)
		return e;
	struct view *view = new_view(store, opts);
	if (!view)
		return no_memory(why);
	view->reads_current = !id && !opts->writable;
	e = open_disks(view, top, why);
	if (e)
		free_view(view, NULL);
	else
		*out = view;
	return e;
}

static enum err read_view(struct store *store, const struct guid *id,
			  const struct snap_view_opts *opts, struct view **out, struct err_why *why)
{
	enum err e = ERR_LOCKED;

	for (unsigned i = 0; i < RETRIES; i++) {
		uint64_t generation = store->cat->generation, now;
		struct guid vm;

		e = open_view(store, id, opts, out, why);
		enum err looked = catalogue_peek(store->ns, store->dir, &vm, &now, why);
		if (!looked && now == generation)
			return e;
		if (!e)
			free_view(*out, NULL);
		store_unlock(store);
		e = store_look(store, why);
		if (e)
			pthread_mutex_lock(&store->lock); /* the caller gives it back */
		if (e || looked)
			return e ? e : looked;
		e = err_set(why, ERR_LOCKED, "%s changes all the time", store->dir);
	}
	return e;
}

static void link_view(struct store *store, struct view *view)
{
	view->link = store->views;
	store->views = view;
	if (view->writable)
		store->writer = view;
}

/* Somebody who writes to current would change it under a reader. */
static enum err open_reading(struct store *store, const struct guid *id,
			     const struct snap_view_opts *opts, struct view **out,
			     struct err_why *why)
{
	enum err e = id ? ERR_OK : store_add_reader(store, why);

	if (e)
		return e;
	e = read_view(store, id, opts, out, why);
	if (e && !id)
		store_remove_reader(store);
	if (e)
		return e;
	link_view(store, *out);
	return ERR_OK;
}

/* ---- writing ---- */

/*
 * A fold of the leaf's content downwards would miss what is written from now on: it is called off,
 * and its process will notice.
 */
static enum err call_off_fold(struct store *store, struct catalogue *cat, struct err_why *why)
{
	const struct cat_layer *upper = cat->fold.lower ? cat_layer(cat, cat->fold.upper) : NULL;

	if (!upper || !upper->is_leaf) {
		cat_free(cat);
		return ERR_OK;
	}
	if (cat->fold.phase == CAT_FOLD_SETTLE) {
		cat_free(cat);
		return err_set(why, ERR_LOCKED, "%s: a layer is just being folded", store->dir);
	}
	cat_call_off(cat);
	return store_commit(store, cat, why);
}

/* Somebody may still be copying to it, also for a fold that was called off before. */
static bool may_be_copied_to(const struct catalogue *cat)
{
	for (unsigned d = 0; d < cat->disks; d++) {
		const struct cat_layer *leaf = cat_layer(cat, cat->leaf[d]);
		const struct cat_layer *below = leaf ? cat_layer(cat, leaf->parent) : NULL;

		if (below && cat_is_debt(below))
			return true;
	}
	return false;
}

/* From here on nobody else writes to the leaves, and no fold of them begins. */
static enum err claim(struct store *store, bool *wait, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = store_claim_writer(store, why);
	if (e) {
		cat_free(cat);
	} else {
		*wait = may_be_copied_to(cat);
		e = call_off_fold(store, cat, why);
		if (e)
			store_unclaim_writer(store);
	}
	store_end(store);
	return e;
}

static enum err open_writing(struct store *store, const struct snap_view_opts *opts,
			     struct view **out, struct err_why *why)
{
	enum err e = store_look(store, why);

	if (e)
		return e;
	e = read_view(store, NULL, opts, out, why);
	if (!e)
		link_view(store, *out);
	store_unlock(store);
	return e;
}

static enum err write_view(struct store *store, const struct snap_view_opts *opts,
			   struct view **out, struct err_why *why)
{
	bool wait;
	enum err e = claim(store, &wait, why);

	if (e)
		return e;
	/*
	 * What a fold still copies must be published before the layers below the leaf are looked
	 * at: whether they hold a block decides whether the leaf may forget zeros there (W9).
	 */
	if (wait)
		e = store_rest(store, REST_SECONDS, why);
	if (wait && !e)
		store_end_rest(store);
	if (!e)
		e = open_writing(store, opts, out, why);
	if (e) {
		pthread_mutex_lock(&store->lock);
		store_unclaim_writer(store);
		pthread_mutex_unlock(&store->lock);
	}
	return e;
}

/* ---- the public face ---- */

enum err snap_view_open(struct store *store, const struct guid *id,
			const struct snap_view_opts *opts, struct snap_view **out,
			struct err_why *why)
{
	static const struct snap_view_opts defaults;
	struct view *view = NULL;
	enum err e;

	if (!opts)
		opts = &defaults;
	if (opts->writable && id)
		return err_set(why, ERR_USAGE, "only current can be written to");
	if (opts->writable) {
		e = write_view(store, opts, &view, why);
	} else {
		e = store_look(store, why);
		if (e)
			return e;
		e = open_reading(store, id, opts, &view, why);
		store_unlock(store);
	}
	if (!e)
		*out = &view->base;
	return e;
}

static void unlink_view(struct store *store, struct view *view)
{
	struct view **at = &store->views;

	while (*at != view)
		at = &(*at)->link;
	*at = view->link;
	if (store->writer == view)
		store->writer = NULL;
}

enum err snap_view_close(struct snap_view *base, struct err_why *why)
{
	if (!base)
		return ERR_OK;
	struct view *view = view_of(base);
	struct store *store = view->store;
	bool writable = view->writable, reads_current = view->reads_current;

	pthread_mutex_lock(&store->lock);
	unlink_view(store, view);
	enum err e = free_view(view, why);
	if (writable)
		store_unclaim_writer(store);
	if (reads_current)
		store_remove_reader(store);
	pthread_mutex_unlock(&store->lock);
	if (writable)
		fold_relink_pending(store);
	return e;
}

/* ---- folds ---- */

/* Where `lower` is with `upper` right above it; -1: nowhere. */
static int find_pair(const struct view_disk *of, uint64_t lower, uint64_t upper)
{
	for (unsigned i = 0; i + 1 < of->count; i++)
		if (of->number[i] == lower && of->number[i + 1] == upper)
			return (int)i;
	return -1;
}

/* Room for the edges that go; with it keeping them cannot fail. */
static bool make_room(struct view_disk *of, unsigned edges)
{
	struct edge *grown = realloc(of->gone, (of->gone_count + edges) * sizeof(*grown));

	if (grown)
		of->gone = grown;
	return grown;
}

static void keep_gone(struct view_disk *of, const uint64_t *file, unsigned count, unsigned first,
		      unsigned edges)
{
	for (unsigned i = first; i < first + edges; i++)
		of->gone[of->gone_count++] =
		    (struct edge){.file = file[i], .upper = i + 1 < count ? file[i + 1] : EDGE_TOP};
}

/* The chain without `lower`, `file` being what `upper` is in now. */
static void drop_lower(struct view_disk *of, unsigned at, uint64_t file)
{
	of->number[at] = of->number[at + 1];
	of->file[at] = file;
	memmove(&of->number[at + 1], &of->number[at + 2],
		(of->count - at - 2) * sizeof(*of->number));
	memmove(&of->file[at + 1], &of->file[at + 2], (of->count - at - 2) * sizeof(*of->file));
	of->count--;
}

/* Up to three edges change: to the lower layer, between the two, and from the upper one. */
static void follow(struct view *view, unsigned d, unsigned at, const struct cat_layer *upper,
		   const struct layer_facts *facts)
{
	struct view_disk *of = &view->of[d];
	struct store *store = view->store;
	unsigned first = at ? at - 1 : 0, edges = at + 2 - first;
	uint64_t above = at + 2 < of->count ? of->file[at + 2] : EDGE_TOP;

	/*
	 * A leaf that is in use does not change. Whatever fails here, the view goes on with the
	 * files it has, which say the same.
	 */
	if (((view->writable || view->reads_current) && at + 2 == of->count) ||
	    !make_room(of, edges) || edge_hold(store, upper->file, above, NULL))
		return;
	if (at && edge_hold(store, of->file[at - 1], upper->file, NULL)) {
		edge_release(store, upper->file, above);
		return;
	}
	if (stack_replace(view->base.disk[d], at, 2, facts, 1, NULL)) {
		edge_release(store, upper->file, above);
		if (at)
			edge_release(store, of->file[at - 1], upper->file);
		return;
	}
	keep_gone(of, of->file, of->count, first, edges);
	drop_lower(of, at, upper->file);
}

void views_follow_fold(struct store *store, const struct catalogue *cat, uint64_t lower,
		       uint64_t upper)
{
	const struct cat_layer *layer = cat_layer(cat, upper);
	struct layer_facts facts;

	if (!layer || !store->views || layer_facts_of(store, cat, layer, &facts, NULL))
		return;
	for (struct view *view = store->views; view; view = view->link) {
		for (unsigned d = 0; d < view->base.disk_count; d++) {
			int at = find_pair(&view->of[d], lower, upper);

			if (at >= 0)
				follow(view, d, (unsigned)at, layer, &facts);
		}
	}
	free((char *)facts.path);
	views_settle(store);
}

void views_settle(struct store *store)
{
	for (struct view *view = store->views; view; view = view->link) {
		for (unsigned d = 0; d < view->base.disk_count; d++) {
			struct view_disk *of = &view->of[d];

			if (!view->base.disk[d] || !of->gone_count ||
			    !stack_settle(view->base.disk[d]))
				continue;
			release_gone(store, of);
		}
	}
}
