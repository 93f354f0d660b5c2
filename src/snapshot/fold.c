/* SPDX-License-Identifier: MIT */
#include "snapshot/fold.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/bytes.h"

#define SLICE_BYTES            (256ull << 20)
#define BACKGROUND_SLICE_BYTES (32ull << 20)
#define RELINKS_AT_A_TIME      16u
#define WAIT_SECONDS           60u

/* One slice of copying: all it needs, so that no lock is held meanwhile. */
struct slice {
	struct fold_pick pick;
	struct layers below;
	struct layer_facts lower, upper;
	uint64_t file[2]; /* of lower and upper */
	bool is_held;
	uint64_t from_off;
};

/*
 * The files stay as long as the slice takes. Who reads the lower one in a way in which what is
 * folded down would show - by a node that was deleted while he had it open - comes first.
 */
static bool hold(struct store *store, struct slice *slice)
{
	const uint64_t *file = slice->file;
	const struct layers *below = &slice->below;

	if (slice->pick.down && !edges_close(store, file[0], file[1]))
		return false;
	bool lower = slice->pick.down || !edge_hold(store, file[0], EDGE_FOLD, NULL);
	bool upper = lower && !edge_hold(store, file[1], EDGE_FOLD, NULL);
	slice->is_held =
	    upper && !edges_hold_all(store, below->file, below->count, EDGE_FOLD, NULL);
	if (slice->is_held)
		return true;
	if (upper)
		edge_release(store, file[1], EDGE_FOLD);
	if (slice->pick.down)
		edges_open(store, file[0], file[1]);
	else if (lower)
		edge_release(store, file[0], EDGE_FOLD);
	return false;
}

static void let_go(struct store *store, struct slice *slice)
{
	if (!slice->is_held)
		return;
	edges_release_all(store, slice->below.file, slice->below.count, EDGE_FOLD);
	edge_release(store, slice->file[1], EDGE_FOLD);
	if (slice->pick.down)
		edges_open(store, slice->file[0], slice->file[1]);
	else
		edge_release(store, slice->file[0], EDGE_FOLD);
	slice->is_held = false;
}

static void free_slice(struct slice *slice)
{
	layers_free(&slice->below);
	free((char *)slice->lower.path);
	free((char *)slice->upper.path);
}

/* ---- beginning ---- */

/* A leaf is not sealed; while it is folded nobody may write to it, as its identity tells. */
static enum err watch_leaf(struct store *store, struct cat_layer *upper, struct err_why *why)
{
	struct layer_facts facts;
	struct guid parent;
	char *path = store_layer_path(store->dir, upper);
	enum err e = path ? stack_look(store->ns, path, &facts, &parent, why)
			  : err_set(why, ERR_NOMEM, "out of memory");

	free(path);
	return e ? e : layer_note_seal(store, upper, why);
}

/* Whether a leaf that is being folded is as it was when that began. */
static bool leaf_is_same(struct store *store, const struct cat_layer *upper)
{
	struct cat_layer now = *upper;

	return !upper->is_leaf ||
	       (!watch_leaf(store, &now, NULL) && now.sealed_bytes == upper->sealed_bytes &&
		now.sealed_mtime_ns == upper->sealed_mtime_ns);
}

static enum err record_fold(struct store *store, struct catalogue *cat,
			    const struct fold_pick *pick, struct err_why *why)
{
	struct cat_layer *upper = cat_layer(cat, pick->upper);
	struct cat_layer *target = pick->down ? cat_layer(cat, pick->lower) : upper;
	enum err e = upper->is_leaf ? watch_leaf(store, upper, why) : ERR_OK;

	if (e) {
		cat_free(cat);
		return e;
	}
	target->sealed_bytes = 0;
	target->sealed_mtime_ns = 0;
	cat->fold = (struct cat_fold){
	    .lower = pick->lower, .upper = pick->upper, .down = pick->down, .phase = CAT_FOLD_COPY};
	return store_commit(store, cat, why);
}

/* One that cannot go on would be chosen again and again. */
static enum err forget_fold(struct store *store, struct catalogue *cat, struct err_why *why)
{
	if (cat->fold.phase == CAT_FOLD_SETTLE) {
		cat_free(cat);
		return err_set(why, ERR_CORRUPT, "%s: a fold can neither go on nor be called off",
			       store->dir);
	}
	cat_call_off(cat);
	return store_commit(store, cat, why);
}

/* From the catalogue as it is now; lock held. *busy: somebody reads what would be written to. */
static enum err fill_slice(struct store *store, const struct catalogue *cat, struct slice *slice,
			   bool *busy, struct err_why *why)
{
	const struct cat_layer *lower = cat_layer(cat, slice->pick.lower);
	const struct cat_layer *upper = cat_layer(cat, slice->pick.upper);
	enum err e = layer_facts_of(store, cat, lower, &slice->lower, why);

	if (!e)
		e = layer_facts_of(store, cat, upper, &slice->upper, why);
	if (!e && lower->parent)
		e = layers_of(store, cat, lower->parent, &slice->below, why);
	if (e)
		return e;
	slice->file[0] = lower->file;
	slice->file[1] = upper->file;
	slice->from_off = cat->fold.next_off;
	*busy = !hold(store, slice);
	return ERR_OK;
}

/* A leaf whose VM has started since it was chosen. */
static bool is_written(struct store *store, const struct catalogue *cat,
		       const struct fold_pick *pick)
{
	return cat_layer(cat, pick->upper)->is_leaf &&
	       store_check_no_writer(store, NULL) == ERR_LOCKED;
}

/* What was begun before goes on; else what fold_choose says, if that still holds. */
static enum err begin_slice(struct store *store, struct slice *slice, bool *stale, bool *busy,
			    struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	bool begun = cat->fold.lower;
	if (begun) {
		slice->pick.lower = cat->fold.lower;
		slice->pick.upper = cat->fold.upper;
		slice->pick.down = cat->fold.down;
	}
	*stale = !fold_is_valid(cat, &slice->pick);
	*busy = false;
	if (!*stale && is_written(store, cat, &slice->pick))
		*busy = true;
	else if (!*stale)
		e = fill_slice(store, cat, slice, busy, why);
	if (e || *busy || begun != *stale)
		cat_free(cat);
	else if (begun)
		e = forget_fold(store, cat, why);
	else
		e = record_fold(store, cat, &slice->pick, why);
	if (e)
		let_go(store, slice);
	if (e == ERR_LOCKED) { /* another program has the leaf */
		*busy = true;
		e = ERR_OK;
	}
	store_end(store);
	return e;
}

/* ---- ending ---- */

static bool is_same_fold(const struct catalogue *cat, const struct slice *slice)
{
	return cat->fold.lower == slice->pick.lower && cat->fold.upper == slice->pick.upper &&
	       cat->fold.down == slice->pick.down && cat->fold.phase == CAT_FOLD_COPY;
}

/* All is copied: the target takes over. */
static enum err settle(struct store *store, struct catalogue **cat, struct err_why *why)
{
	enum err e = fold_lock_leaf(store, *cat, why);

	if (!e && (*cat)->fold.down) {
		(*cat)->fold.phase = CAT_FOLD_SETTLE;
		e = store_commit(store, *cat, why);
		*cat = NULL;
		if (!e)
			e = cat_clone(store->cat, cat, why);
	}
	return e ? e : fold_settle(store, cat, why);
}

/* How far it got is told by the catalogue; one that was called off meanwhile is forgotten. */
static enum err end_slice(struct store *store, const struct slice *slice, uint64_t next_off,
			  bool *settled, bool *stuck, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	*settled = *stuck = false;
	if (is_same_fold(cat, slice)) {
		const struct cat_layer *upper = cat_layer(cat, slice->pick.upper);
		bool commit = true;

		cat->fold.next_off = next_off;
		if (!leaf_is_same(store, upper)) {
			cat_call_off(cat);
		} else if (next_off >= upper->size_bytes) {
			e = settle(store, &cat, why);
			*settled = !e && !cat_layer(cat, slice->pick.lower);
			*stuck = e == ERR_LOCKED; /* later, or whoever comes next finishes it */
			commit = false;
		}
		if (!e && commit) {
			e = store_commit(store, cat, why);
			cat = NULL;
		}
	}
	cat_free(cat);
	store_end(store);
	return *stuck ? ERR_OK : e;
}

/* ---- the work ---- */

struct work {
	struct store *store;
	const struct snap_fold_opts *opts;
	struct snap_fold_result *out;
	uint64_t total_bytes;
	uint64_t *skipped; /* layers that were busy */
	unsigned skips;
};

static uint64_t slice_budget(const struct work *w)
{
	uint64_t most = w->opts->background ? BACKGROUND_SLICE_BYTES : SLICE_BYTES;

	if (!w->opts->budget_bytes)
		return most;
	return min_u64(most, w->opts->budget_bytes - w->out->moved_bytes);
}

static enum err copy_slice(struct work *w, const struct slice *slice, uint64_t *next_off,
			   struct err_why *why)
{
	struct stack_fold fold = {.ns = w->store->ns,
				  .below = slice->below.facts,
				  .below_count = slice->below.count,
				  .lower = &slice->lower,
				  .upper = &slice->upper,
				  .down = slice->pick.down,
				  .from_off = slice->from_off,
				  .budget_bytes = slice_budget(w),
				  .gentle = w->opts->background,
				  .progress = w->opts->progress,
				  .total_bytes = w->total_bytes,
				  .done_bytes = w->out->moved_bytes};
	uint64_t moved;
	enum err e = stack_fold_copy(&fold, next_off, &moved, why);

	w->out->moved_bytes += moved;
	return e;
}

/* Not again in this run: who reads it may do so for long. */
static enum err skip(struct work *w, uint64_t layer, struct err_why *why)
{
	uint64_t *grown = realloc(w->skipped, (w->skips + 1) * sizeof(*grown));

	if (!grown)
		return err_set(why, ERR_NOMEM, "out of memory");
	w->skipped = grown;
	grown[w->skips++] = layer;
	return ERR_OK;
}

static enum err do_slice(struct work *w, struct slice *slice, struct err_why *why)
{
	bool stale, busy, stuck = false, settled = false;
	uint64_t next_off;
	enum err e = begin_slice(w->store, slice, &stale, &busy, why);

	if (e || stale)
		return e;
	if (busy)
		return skip(w, slice->pick.lower, why);
	e = copy_slice(w, slice, &next_off, why);
	pthread_mutex_lock(&w->store->lock);
	let_go(w->store, slice);
	pthread_mutex_unlock(&w->store->lock);
	if (e == ERR_LOCKED) /* another program reads what would be written to */
		return skip(w, slice->pick.lower, why);
	if (!e)
		e = end_slice(w->store, slice, next_off, &settled, &stuck, why);
	w->out->folded += settled;
	return !e && stuck ? skip(w, slice->pick.lower, why) : e;
}

/* The headers of what was folded so far. */
static enum err relink_some(struct store *store, bool *more, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = fold_relink(store, &cat, RELINKS_AT_A_TIME, more, why);
	cat_free(cat);
	store_end(store);
	return e;
}

static bool is_skipped(const struct work *w, uint64_t layer)
{
	for (unsigned i = 0; i < w->skips; i++)
		if (w->skipped[i] == layer)
			return true;
	return false;
}

/* A fold that was begun goes on, or if somebody is in its way nothing does. */
static enum err choose(struct work *w, struct fold_pick *pick, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_look(w->store, why);

	if (e)
		return e;
	e = cat_clone(w->store->cat, &cat, why);
	store_unlock(w->store);
	if (e)
		return e;
	*pick = (struct fold_pick){
	    .lower = cat->fold.lower, .upper = cat->fold.upper, .down = cat->fold.down};
	if (!cat->fold.lower)
		e = fold_choose(w->store, cat, w->skipped, w->skips, pick, why);
	else if (is_skipped(w, cat->fold.lower))
		*pick = (struct fold_pick){.busy = 1};
	cat_free(cat);
	return e;
}

/* One slice, under the fold's lock: others that need layers to be at rest get their turn between.
 */
static enum err step(struct work *w, unsigned wait_seconds, bool *done, struct err_why *why)
{
	struct slice slice = {0};
	bool more = false;
	enum err e = store_rest(w->store, wait_seconds, why);

	if (e)
		return e;
	e = relink_some(w->store, &more, why);
	if (!e)
		e = choose(w, &slice.pick, why);
	*done = !slice.pick.lower && !more;
	w->out->busy = slice.pick.busy;
	if (!e && slice.pick.lower) {
		w->total_bytes = max_u64(w->total_bytes, w->out->moved_bytes + slice.pick.bytes);
		e = do_slice(w, &slice, why);
	}
	free_slice(&slice);
	store_end_rest(w->store);
	return e;
}

static bool is_spent(const struct snap_fold_opts *opts, const struct snap_fold_result *out)
{
	return opts->budget_bytes && out->moved_bytes >= opts->budget_bytes;
}

enum err snap_fold(struct store *store, const struct snap_fold_opts *opts,
		   struct snap_fold_result *out, struct err_why *why)
{
	static const struct snap_fold_opts defaults;
	struct work w = {.store = store, .opts = opts ? opts : &defaults, .out = out};
	const struct timespec turn = {.tv_nsec = 12000000}; /* those who wait look every 5 ms */
	bool done = false;
	enum err e;

	*out = (struct snap_fold_result){0};
	e = step(&w, 0, &done, why);
	while (!e && !done && !is_spent(w.opts, out)) {
		nanosleep(&turn, NULL);
		e = step(&w, WAIT_SECONDS, &done, why);
	}
	out->more = !done;
	free(w.skipped);
	return e;
}
