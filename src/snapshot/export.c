/* SPDX-License-Identifier: MIT */

/*
 * Out of a store, into a new one: flat disks, the files of a chain, or everything. Layers are
 * copied as files, so folds rest meanwhile.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/copy.h"
#include "snapshot/make.h"
#include "snapshot/view.h"

#define REST_SECONDS 60u
#define QUEUE_DEPTH  64u

struct export
{
	struct store *store;
	const struct guid *id;
	const char *to;
	struct progress *progress;
	struct catalogue *cat; /* of what comes out */
};

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* "disk0.vhd" for a top, "disk0.1.vhd" and so on below it. */
static char *disk_name(unsigned d, unsigned below)
{
	char *name;
	int len =
	    below ? asprintf(&name, "disk%u.%u.vhd", d, below) : asprintf(&name, "disk%u.vhd", d);

	return len < 0 ? NULL : name;
}

/* A record for the file of that name in the new folder, or it goes; takes over `name`. */
static enum err add_named(struct export *x, char *name, uint64_t parent, uint64_t *number,
			  struct err_why *why)
{
	char *path = store_name_path(x->to, name);
	enum err e =
	    path ? make_layer(x->store->ns, x->cat, path, parent, number, why) : no_memory(why);

	if (e && path) /* undo does not know of it */
		file_ns_unlink(x->store->ns, path, NULL);
	free(path);
	if (e)
		free(name);
	else
		x->cat->layer[x->cat->layers - 1].path = name;
	return e;
}

static void open_leaf(struct catalogue *cat, unsigned d, uint64_t number)
{
	struct cat_layer *leaf = cat_layer(cat, number);

	cat->leaf[d] = number;
	leaf->sealed_bytes = 0;
	leaf->sealed_mtime_ns = 0;
}

/* The configuration of the node, or the current one; lock held. */
static const struct snap_config *config_of(const struct catalogue *cat, const struct guid *id)
{
	const struct cat_node *node = id ? cat_node_by_id(cat, id) : NULL;

	return &cat->config[node ? node->config : cat->current_config];
}

static enum err begin_catalogue(struct export *x, struct err_why *why)
{
	enum err e = store_look(x->store, why);

	if (e)
		return e;
	const struct catalogue *cat = x->store->cat;
	char text[GUID_TEXT_BYTES];
	if (x->id && !cat_node_by_id(cat, x->id))
		e = err_set(why, ERR_NOENT, "there is no snapshot %s", guid_text(x->id, text));
	else
		e = make_catalogue(cat->disks, config_of(cat, x->id), &x->cat, why);
	store_unlock(x->store);
	return e;
}

/* ---- flat ---- */

static enum err copy_content(struct export *x, struct disk *from, const char *path,
			     struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = x->store->ns, .writable = true};
	struct queue *queue;
	struct disk *to;
	enum err e = vhd_open(path, &opts, &to, why);

	if (e)
		return e;
	e = queue_create(QUEUE_DEPTH, &queue, why);
	if (!e) {
		e = disk_copy(from, to, true, queue, x->progress, why);
		queue_destroy(queue);
	}
	enum err closed = disk_close(to, e ? NULL : why);
	return e ? e : closed;
}

static enum err flatten(struct export *x, unsigned d, struct disk *from, struct err_why *why)
{
	struct disk_info info;
	char *name = disk_name(d, 0);
	char *path = name ? store_name_path(x->to, name) : NULL;
	uint64_t number;

	disk_get_info(from, &info);
	struct vhd_create_opts opts = {.ns = x->store->ns,
				       .type = VHD_DYNAMIC,
				       .size_bytes = info.size_bytes,
				       .block_size = info.optimal_bytes};
	enum err e = path ? vhd_create(path, &opts, why) : no_memory(why);
	if (!e)
		e = copy_content(x, from, path, why);
	if (!e) {
		e = add_named(x, name, 0, &number, why);
		name = NULL;
	} else if (path) {
		file_ns_unlink(x->store->ns, path, NULL);
	}
	if (!e)
		open_leaf(x->cat, d, number);
	free(path);
	free(name);
	return e;
}

static enum err export_flat(struct export *x, struct err_why *why)
{
	struct snap_view *view;
	enum err e = snap_view_open(x->store, x->id, NULL, &view, why);

	if (e)
		return e;
	for (unsigned d = 0; d < view->disk_count && !e; d++)
		if (view->disk[d])
			e = flatten(x, d, view->disk[d], why);
	snap_view_close(view, NULL);
	return e;
}

/* ---- chains ---- */

static enum err copy_file(struct export *x, const char *from, const char *name, struct err_why *why)
{
	char *path = store_name_path(x->to, name);
	enum err e =
	    path ? file_ns_copy(x->store->ns, from, path, x->progress, why) : no_memory(why);

	free(path);
	return e;
}

static enum err copy_chain(struct export *x, unsigned d, const struct layers *layers,
			   struct err_why *why)
{
	uint64_t number = 0;
	enum err e = ERR_OK;

	for (unsigned i = 0; i < layers->count && !e; i++) {
		char *name = disk_name(d, layers->count - 1 - i);

		e = name ? copy_file(x, layers->facts[i].path, name, why) : no_memory(why);
		if (e)
			free(name);
		else
			e = add_named(x, name, number, &number, why);
	}
	if (!e)
		open_leaf(x->cat, d, number);
	return e;
}

/* Which files: those of the view, which holds them. */
static enum err export_chain(struct export *x, struct err_why *why)
{
	struct snap_view *view;
	enum err e = snap_view_open(x->store, x->id, NULL, &view, why);

	if (e)
		return e;
	for (unsigned d = 0; d < view->disk_count && !e; d++) {
		const struct view_disk *of = &view_of(view)->of[d];
		struct layers layers = {0};

		if (!view->disk[d])
			continue;
		e = store_look(x->store, why);
		if (!e) {
			e = layers_of(x->store, x->store->cat, of->number[of->count - 1], &layers,
				      why);
			store_unlock(x->store);
		}
		if (!e)
			e = copy_chain(x, d, &layers, why);
		layers_free(&layers);
	}
	snap_view_close(view, NULL);
	return e ? e : make_relink(x->store->ns, x->to, x->cat, why);
}

/* ---- everything ---- */

static enum err copy_layer(struct export *x, struct cat_layer *layer, struct err_why *why)
{
	char name[STORE_FILE_NAME_BYTES];
	struct layer_facts facts;
	enum err e = layer_facts_of(x->store, x->cat, layer, &facts, why);

	store_file_name(layer->file, name);
	if (!e) {
		e = copy_file(x, facts.path, name, why);
		free((char *)facts.path);
	}
	free(layer->path);
	layer->path = NULL;
	return e;
}

/* A fold that only has to be settled is, by whoever changes the catalogue next: here and now. */
static enum err settle_folds(struct store *store, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store->readonly ? ERR_OK : store_begin(store, &cat, why);

	if (!e && !store->readonly) {
		cat_free(cat);
		store_end(store);
	}
	return e;
}

static uint64_t *files_of(const struct catalogue *cat)
{
	uint64_t *file = calloc(cat->layers + 1, sizeof(*file));

	for (unsigned i = 0; file && i < cat->layers; i++)
		file[i] = cat->layer[i].file;
	return file;
}

/* The catalogue as it is, and a hold on all its files; nobody writes to the leaves. */
static enum err begin_all(struct export *x, uint64_t **file, struct err_why *why)
{
	struct store *store = x->store;
	enum err e = store_look(store, why);

	if (e)
		return e;
	e = cat_clone(store->cat, &x->cat, why);
	if (!e && x->cat->fold.phase == CAT_FOLD_SETTLE)
		e = err_set(why, ERR_LOCKED, "%s: a fold has to be finished first", store->dir);
	if (!e)
		e = store_add_reader(store, why);
	if (!e) {
		*file = files_of(x->cat);
		e = *file ? edges_hold_all(store, *file, x->cat->layers, EDGE_COPY, why)
			  : no_memory(why);
		if (e)
			store_remove_reader(store);
	}
	store_unlock(store);
	if (e) {
		free(*file);
		*file = NULL;
	}
	return e;
}

static void end_all(struct export *x, uint64_t *file)
{
	pthread_mutex_lock(&x->store->lock);
	edges_release_all(x->store, file, x->cat->layers, EDGE_COPY);
	store_remove_reader(x->store);
	pthread_mutex_unlock(&x->store->lock);
	free(file);
}

static enum err export_all(struct export *x, struct err_why *why)
{
	uint64_t *file = NULL;
	enum err e = settle_folds(x->store, why);

	if (!e)
		e = begin_all(x, &file, why);
	for (unsigned i = 0; !e && i < x->cat->layers; i++)
		e = copy_layer(x, &x->cat->layer[i], why);
	if (file)
		end_all(x, file);
	if (!e) {
		x->cat->vm = guid_new();
		x->cat->garbage_count = 0;
		x->cat->fold = (struct cat_fold){0};
		e = make_relink(x->store->ns, x->to, x->cat, why);
	}
	return e;
}

/* ---- the operation ---- */

static enum err run(struct export *x, enum snap_export_kind kind, struct err_why *why)
{
	enum err e = kind == SNAP_EXPORT_VM ? ERR_OK : begin_catalogue(x, why);

	if (e)
		return e;
	if (kind == SNAP_EXPORT_VM)
		e = export_all(x, why);
	else if (kind == SNAP_EXPORT_FLAT)
		e = export_flat(x, why);
	else
		e = export_chain(x, why);
	if (!e)
		e = cat_derive(x->cat, why);
	/* An export travels, and times of change do not always travel with it. */
	for (unsigned i = 0; !e && i < x->cat->layers; i++)
		x->cat->layer[i].sealed_mtime_ns = 0;
	return e ? e : make_finish(x->store->ns, x->to, x->cat, why);
}

/* What ends up in the folder beside what make_undo knows: named disks. */
static void undo(const struct export *x)
{
	if (make_disown(x->store->ns, x->to, NULL))
		return;
	/* the catalogue may be the source's still: what lies elsewhere is not ours to remove */
	make_remove_named(x->store->ns, x->to, x->cat, NULL);
	make_undo(x->store->ns, x->to);
}

enum err snap_export(struct store *store, const struct guid *id, enum snap_export_kind kind,
		     const char *to, struct progress *progress, struct err_why *why)
{
	struct export x = {.store = store, .id = id, .to = to, .progress = progress};
	enum err e = id && kind == SNAP_EXPORT_VM
			 ? err_set(why, ERR_USAGE, "a whole VM has no snapshot to be named")
			 : store_rest(store, REST_SECONDS, why);

	if (e)
		return e;
	e = make_folder(store->ns, to, false, why);
	if (!e) {
		e = run(&x, kind, why);
		if (e)
			undo(&x);
	}
	store_end_rest(store);
	cat_free(x.cat);
	return e;
}
