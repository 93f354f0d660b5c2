/* SPDX-License-Identifier: MIT */

/* W16: new leaves complete and durable, then the catalogue that names them. */

#include "snapshot/take.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- names ---- */

static unsigned count_named(const struct catalogue *cat, const char *prefix)
{
	size_t len = strlen(prefix);
	unsigned count = 0;

	for (unsigned i = 0; i < cat->nodes; i++)
		count += !strncmp(cat->node[i].name, prefix, len);
	return count;
}

/* "2026-03-01 12:00:00", with " (2)" and so on when that is taken. UTC, as it is stored. */
static void name_from_time(const struct catalogue *cat, time_t now, char name[SNAP_NAME_MAX])
{
	char base[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(base, sizeof(base), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(name, SNAP_NAME_MAX, "%s", base);
	for (unsigned n = 1 + count_named(cat, base); cat_node_by_name(cat, name); n++)
		snprintf(name, SNAP_NAME_MAX, "%s (%u)", base, n);
}

enum err take_check_name(const struct catalogue *cat, const char *name, struct err_why *why)
{
	enum err e = snap_check_name(name, why);

	if (!e && cat_node_by_name(cat, name))
		e = err_set(why, ERR_EXIST, "there is a snapshot \"%s\" already", name);
	return e;
}

enum err take_check_note(const char *note, struct err_why *why)
{
	return note && strlen(note) > SNAP_NOTE_MAX
		   ? err_set(why, ERR_USAGE, "a note has at most %u bytes", SNAP_NOTE_MAX)
		   : ERR_OK;
}

/* ---- the old leaves ---- */

/* Its size is what it is now: it may have been expanded since it was made. */
static enum err seal_leaf(struct store *store, struct cat_layer *leaf, bool live,
			  struct err_why *why)
{
	char *path = store_layer_path(store->dir, leaf);
	struct layer_facts facts = {0};
	struct guid parent;
	enum err e = path ? ERR_OK : no_memory(why);

	if (!e && !live)
		e = stack_seal(store->ns, path, why);
	if (!e && !live)
		e = stack_look(store->ns, path, &facts, &parent, why);
	if (!e && !live && (!guid_equal(&facts.uuid, &leaf->uuid) || facts.type != leaf->type))
		e = err_set(why, ERR_PARENT,
			    "layer %s was changed behind our back: its UUID or type is not what it "
			    "was",
			    path);
	if (!e && !live)
		leaf->size_bytes = facts.size_bytes;
	free(path);
	return e ? e : layer_note_seal(store, leaf, why);
}

/* Of what was copied of a leaf nobody knows whether it was written to since; it begins again. */
static enum err end_leaf_fold(struct store *store, struct catalogue *cat, struct err_why *why)
{
	const struct cat_layer *upper = cat->fold.lower ? cat_layer(cat, cat->fold.upper) : NULL;

	if (!upper || !upper->is_leaf)
		return ERR_OK;
	if (cat->fold.phase == CAT_FOLD_SETTLE)
		return err_set(why, ERR_LOCKED, "%s: a layer is just being folded", store->dir);
	cat_call_off(cat);
	return ERR_OK;
}

enum err take_seal(struct store *store, struct catalogue *cat, bool live, struct err_why *why)
{
	enum err e = end_leaf_fold(store, cat, why);

	for (unsigned d = 0; d < cat->disks && !e; d++)
		if (cat->leaf[d])
			e = seal_leaf(store, cat_layer(cat, cat->leaf[d]), live, why);
	return e;
}

/* ---- the node ---- */

enum err take_add_node(struct catalogue *cat, const char *name, const char *note,
		       struct cat_node **out, struct err_why *why)
{
	char from_time[SNAP_NAME_MAX];
	time_t now = time(NULL);

	if (!name || !*name)
		name_from_time(cat, now, from_time);
	struct cat_node *node = cat_add_node(cat);
	if (!node)
		return no_memory(why);
	node->parent = cat->current;
	node->time = now;
	node->config = cat->current_config;
	node->name = strdup(name && *name ? name : from_time);
	node->note = strdup(note ? note : "");
	memcpy(node->layer, cat->leaf, cat->disks * sizeof(*node->layer));
	if (!node->name || !node->note)
		return no_memory(why);
	*out = node;
	return ERR_OK;
}

/* ---- the new leaves ---- */

enum err take_new_leaves(struct store *store, struct catalogue *cat, const uint64_t *parents,
			 bool no_lock, uint64_t *leaf, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned d = 0; d < cat->disks && !e; d++) {
		leaf[d] = 0;
		if (parents[d])
			e = layer_create(store, cat, parents[d], no_lock, &leaf[d], why);
	}
	if (!e && cat->disks) {
		char *path = store_name_path(store->dir, STORE_CATALOGUE);

		e = path ? file_ns_sync_dir(store->ns, path, why) : no_memory(why);
		store->unlinked &= e != ERR_OK;
		free(path);
	}
	return e;
}

void take_undo(struct store *store, uint64_t first_number, unsigned disks)
{
	if (store->uncertain)
		return;
	for (unsigned d = 0; d < disks; d++) {
		char *path = store_file_path(store->dir, first_number + d);

		if (path)
			file_ns_unlink(store->ns, path, NULL);
		free(path);
	}
}

/* ---- taking ---- */

/* All but the commit. A writer in this process is paused at the end, on success. */
static enum err prepare(struct store *store, struct catalogue *cat,
			const struct snap_take_opts *opts, struct guid *id, struct err_why *why)
{
	uint64_t leaf[SNAP_MAX_DISKS];
	struct cat_node *node;
	bool live = store->writer;
	enum err e = live ? ERR_OK : take_seal(store, cat, false, why);

	if (live)
		live_note_sizes(store, cat);
	if (!e)
		e = take_new_leaves(store, cat, cat->leaf, live, leaf, why);
	if (!e)
		e = take_add_node(cat, opts->name, opts->note, &node, why);
	if (!e && live)
		e = live_prepare(store, cat, leaf, why);
	if (e)
		return e;
	if (live)
		e = take_seal(store, cat, true, why);
	if (e) {
		live_drop(store);
		return e;
	}
	memcpy(cat->leaf, leaf, cat->disks * sizeof(*leaf));
	cat->current = node->number;
	*id = node->id;
	return ERR_OK;
}

static enum err take(struct store *store, struct catalogue *cat, const struct snap_take_opts *opts,
		     struct guid *id, struct err_why *why)
{
	uint64_t first = cat->next_number;
	unsigned disks = cat->disks;
	enum err e = opts->name ? take_check_name(cat, opts->name, why) : ERR_OK;

	if (!e)
		e = take_check_note(opts->note, why);
	if (!e)
		e = prepare(store, cat, opts, id, why);
	if (e) {
		take_undo(store, first, disks);
		cat_free(cat);
		return e;
	}
	struct err_why here = {0};
	e = store_commit(store, cat, &here);
	if (e)
		take_undo(store, first, disks);
	if (store->writer && e && store->uncertain)
		live_fail(store, &here);
	else if (store->writer && e)
		live_drop(store);
	else if (store->writer)
		live_push(store);
	if (e && why)
		*why = here;
	return e;
}

enum err snap_take(struct store *store, const struct snap_take_opts *opts, struct guid *id,
		   struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	if (!store->writer)
		e = store_check_no_writer(store, why);
	if (e)
		cat_free(cat);
	else
		e = take(store, cat, opts, id, why);
	store_end(store);
	return e;
}
