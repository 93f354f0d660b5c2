/* SPDX-License-Identifier: MIT */

/*
 * Acting on a survey. Layers are mended one by one; then one new catalogue makes of the rest what
 * can be made of it. No file that holds data is removed: what leaves the tree stays in the folder.
 */

#include <stdlib.h>
#include <string.h>

#include "snapshot/survey.h"
#include "snapshot/take.h"

#define GENERATION_GAP (UINT64_C(1) << 20)

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- the catalogue from its second copy ---- */

/* Leaves the copy does not know become current; what it has as current becomes a node. */
static enum err add_newer(struct store *store, const struct survey *s, struct catalogue *cat,
			  struct err_why *why)
{
	uint64_t leaf[SNAP_MAX_DISKS];
	struct cat_node *node;
	enum err e = ERR_OK;

	for (unsigned d = 0; d < cat->disks && !e; d++) {
		leaf[d] = 0;
		if (!s->newer[d]) /* an empty slot (survey.c) */
			continue;
		struct layer_facts facts;
		struct guid parent;
		char *path = store_file_path(store->dir, s->newer[d]);

		e = path ? stack_look(store->ns, path, &facts, &parent, why) : no_memory(why);
		free(path);
		if (e)
			break;
		struct cat_layer *layer = cat_add_layer(cat);
		if (!layer)
			return no_memory(why);
		layer->file = s->newer[d];
		layer->uuid = facts.uuid;
		layer->type = facts.type;
		layer->size_bytes = facts.size_bytes;
		layer->block_bytes = facts.block_bytes;
		for (unsigned i = 0; i + 1 < cat->layers; i++)
			if (guid_equal(&cat->layer[i].uuid, &parent))
				layer->parent = cat->layer[i].number;
		leaf[d] = layer->number;
	}
	if (!e && !s->leaf_is_dead)
		e = take_add_node(cat, cat_node_by_name(cat, "recovered") ? NULL : "recovered",
				  NULL, &node, why);
	if (e)
		return e;
	memcpy(cat->leaf, leaf, cat->disks * sizeof(*leaf));
	cat->current = s->leaf_is_dead ? s->back_to : node->number;
	return ERR_OK;
}

/* ---- layers ---- */

static enum err mend_file(struct store *store, const struct cat_layer *layer, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = store->ns};
	struct vhd_report report;
	char *path = store_layer_path(store->dir, layer);
	enum err e = path ? vhd_repair(path, &opts, &report, why) : no_memory(why);

	if (!e)
		vhd_report_free(&report);
	free(path);
	return e;
}

static enum err reseal(struct store *store, struct cat_layer *layer, struct err_why *why)
{
	char *path = store_layer_path(store->dir, layer);
	enum err e = path ? ERR_OK : no_memory(why);

	if (!e && !layer->is_leaf)
		e = stack_seal(store->ns, path, why);
	free(path);
	return e || layer->is_leaf ? e : layer_note_seal(store, layer, why);
}

static enum err mend_layers(struct store *store, const struct survey *s, struct catalogue *cat,
			    struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < s->cat->layers && !e; i++) {
		struct cat_layer *layer = cat_layer(cat, s->cat->layer[i].number);
		enum layer_state state = s->layer[i].state;

		if (!layer || s->layer[i].dead)
			continue;
		if (state == LAYER_MENDABLE)
			e = mend_file(store, layer, why);
		if (!e && (state == LAYER_MENDABLE || state == LAYER_TOUCHED))
			e = reseal(store, layer, why);
		if (!e && state == LAYER_UNLINKED)
			layer->flags |= CAT_RELINK;
	}
	return e;
}

/* ---- what is gone ---- */

static bool is_dead(const struct survey *s, uint64_t number)
{
	const struct cat_layer *layer = cat_layer(s->cat, number);

	return layer && s->layer[layer - s->cat->layer].dead;
}

static void drop_nodes(const struct survey *s, struct catalogue *cat)
{
	for (unsigned i = 0; i < cat->nodes; i++) {
		const struct cat_node *parent = cat_node(cat, cat->node[i].parent);
		bool gone = false;

		for (unsigned d = 0; parent && d < cat->disks; d++)
			gone |= is_dead(s, parent->layer[d]);
		if (gone)
			cat->node[i].parent = parent->parent;
	}
	for (unsigned i = cat->nodes; i-- > 0;) {
		bool gone = false;

		for (unsigned d = 0; d < cat->disks; d++)
			gone |= is_dead(s, cat->node[i].layer[d]);
		if (gone)
			cat_remove_node(cat, &cat->node[i]);
	}
}

/* Records only: the files stay, and are no garbage. */
static void drop_layers(const struct survey *s, struct catalogue *cat)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cat->layers; i++) {
		if (is_dead(s, cat->layer[i].number))
			free(cat->layer[i].path);
		else
			cat->layer[kept++] = cat->layer[i];
	}
	cat->layers = kept;
	if (!cat_layer(cat, cat->fold.lower) || !cat_layer(cat, cat->fold.upper))
		cat_call_off(cat);
}

static enum err go_back(struct store *store, const struct survey *s, struct catalogue *cat,
			struct err_why *why)
{
	uint64_t leaf[SNAP_MAX_DISKS];
	const struct cat_node *node = cat_node(cat, s->back_to);
	enum err e = take_new_leaves(store, cat, node->layer, true, leaf, why);

	if (e)
		return e;
	memcpy(cat->leaf, leaf, cat->disks * sizeof(*leaf));
	cat->current = s->back_to;
	cat->current_config = node->config;
	return ERR_OK;
}

static enum err drop_dead(struct store *store, const struct survey *s, struct catalogue *cat,
			  struct err_why *why)
{
	enum err e = ERR_OK;

	bool newer = s->from_copy && s->has_newer; /* then current is another one already */

	if (!s->dead_nodes && !s->leaf_is_dead)
		return ERR_OK;
	if (s->leaf_is_dead && !newer && !s->back_to)
		return err_set(why, ERR_REFUSED,
			       "%s: nothing can be repaired as long as the missing layers are not "
			       "back",
			       store->dir);
	if (s->leaf_is_dead && !newer)
		e = go_back(store, s, cat, why);
	if (e)
		return e;
	drop_nodes(s, cat);
	drop_layers(s, cat);
	return ERR_OK;
}

/* ---- all of it ---- */

static enum err change(struct store *store, const struct survey *s, struct catalogue *cat,
		       struct err_why *why)
{
	enum err e = mend_layers(store, s, cat, why);

	if (!e && s->from_copy && s->has_newer)
		e = add_newer(store, s, cat, why);
	if (!e)
		e = drop_dead(store, s, cat, why);
	if (!e)
		e = cat_derive(cat, why);
	if (e) {
		cat_free(cat);
		return e;
	}
	cat_sweep_configs(cat);
	return store_commit(store, cat, why);
}

static enum err relink(struct store *store, struct err_why *why)
{
	struct catalogue *cat;
	bool more = true;
	enum err e = ERR_OK;

	while (more && !e) {
		e = store_begin(store, &cat, why);
		if (e)
			return e;
		e = fold_relink(store, &cat, 64, &more, why);
		cat_free(cat);
		store_end(store);
	}
	return e;
}

/* The survey is of this very catalogue, and nobody writes, folds or begins to. */
static enum err act(struct store *store, const struct survey *s, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	if (cat->generation != s->cat->generation) {
		cat_free(cat);
		e = err_set(why, ERR_LOCKED, "%s was changed meanwhile; nothing was repaired",
			    store->dir);
	} else {
		e = change(store, s, cat, why);
	}
	store_end(store);
	return e;
}

/* Everybody else is kept out as long as it takes: what is looked at must be what is acted on. */
static enum err survey_and_act(struct store *store, struct snap_report *out, struct err_why *why)
{
	struct survey survey = {0};
	enum err e = survey_make(store->ns, store->dir, true, NULL, &survey, why);

	if (!e && !survey_report(&survey, out))
		e = no_memory(why);
	if (!e && snap_report_result(out))
		e = act(store, &survey, why);
	survey_free(&survey);
	return e;
}

static enum err repair_open(struct store *store, struct snap_report *out, struct err_why *why)
{
	enum err e = store_rest(store, 0, why);

	if (e)
		return e;
	pthread_mutex_lock(&store->lock);
	e = store_claim_writer(store, why);
	pthread_mutex_unlock(&store->lock);
	if (!e) {
		e = survey_and_act(store, out, why);
		pthread_mutex_lock(&store->lock);
		store_unclaim_writer(store);
		pthread_mutex_unlock(&store->lock);
		if (!e)
			e = relink(store, why);
	}
	store_end_rest(store);
	return e;
}

/*
 * On the locks alone, as there is no catalogue to be opened: the second copy becomes the catalogue
 * with all that is to be changed about it, at once.
 */
static enum err act_on_copy(struct store *store, const struct survey *s, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_lock_byte(store, LOCK_CHANGE, 1, why);

	if (!e)
		e = store_claim_writer(store, why);
	if (!e)
		e = cat_clone(s->cat, &cat, why);
	if (e)
		return e;
	/* higher than any the lost one can have had: whoever remembers that one must notice */
	cat->generation += GENERATION_GAP;
	return change(store, s, cat, why);
}

static enum err repair_from_copy(const struct survey *s, struct err_why *why)
{
	struct store *store;
	enum err e = store_open_bare(s->ns, s->dir, &store, why);

	if (e)
		return e;
	e = store_rest(store, 1, why);
	if (!e)
		e = act_on_copy(store, s, why);
	snap_close(store);
	if (e)
		return e;
	e = snap_open(s->ns, s->dir, 0, &store, why);
	if (!e)
		e = relink(store, why);
	snap_close(store);
	return e;
}

static enum err repair_copy(struct file_ns *ns, const char *dir, struct snap_report *out,
			    struct err_why *why)
{
	struct survey survey;
	enum err e = survey_make(ns, dir, true, NULL, &survey, why);

	if (e)
		return e;
	e = survey_report(&survey, out) ? ERR_OK : no_memory(why);
	if (!e && survey.from_copy)
		e = repair_from_copy(&survey, why);
	survey_free(&survey);
	return e;
}

enum err snap_repair(struct file_ns *ns, const char *dir, struct snap_report *out,
		     struct err_why *why)
{
	struct store *store;
	enum err e;

	ns = ns ? ns : &file_ns_posix;
	*out = (struct snap_report){0};
	e = snap_open(ns, dir, 0, &store, why);
	if (!e) {
		e = repair_open(store, out, why);
		snap_close(store);
	} else if (e == ERR_CORRUPT || e == ERR_REPAIRABLE) {
		e = repair_copy(ns, dir, out, why);
	}
	if (e)
		snap_report_free(out);
	return e;
}
