/* SPDX-License-Identifier: MIT */

/* A new VM from a store that an export made. The source is hostile until its catalogue is read. */

#include <stdlib.h>

#include "snapshot/make.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* An export has all its files beside its catalogue; what leads elsewhere is not taken along. */
static enum err check_inside(const struct catalogue *cat, const char *from, struct err_why *why)
{
	for (unsigned i = 0; i < cat->layers; i++)
		if (cat->layer[i].path && *cat->layer[i].path == '/')
			return err_set(why, ERR_UNSUPPORTED,
				       "%s is a VM with disks elsewhere, not an export", from);
	return cat->fold.phase == CAT_FOLD_SETTLE
		   ? err_set(why, ERR_LOCKED, "%s: a fold has to be finished first", from)
		   : ERR_OK;
}

static enum err bring_layer(struct store *source, const char *dir, struct cat_layer *layer,
			    struct progress *progress, struct err_why *why)
{
	struct layer_facts facts, now;
	struct guid parent;
	char *to = store_file_path(dir, layer->file);
	enum err e = to ? layer_facts_of(source, source->cat, layer, &facts, why) : no_memory(why);

	if (!e) {
		e = file_ns_copy(source->ns, facts.path, to, progress, why);
		free((char *)facts.path);
	}
	/* Looked at once more: its headers are to be what the catalogue says they are. */
	if (!e)
		e = stack_look(source->ns, to, &now, &parent, why);
	if (!e && (!guid_equal(&now.uuid, &layer->uuid) || now.type != layer->type ||
		   (!layer->is_leaf && now.size_bytes != layer->size_bytes)))
		e = err_set(why, ERR_PARENT, "%s: the layer is not the one the catalogue names",
			    to);
	free(to);
	free(layer->path);
	layer->path = NULL;
	return e;
}

static enum err fill(struct store *source, const char *dir, struct catalogue *cat,
		     struct progress *progress, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < cat->layers && !e; i++)
		e = bring_layer(source, dir, &cat->layer[i], progress, why);
	if (e)
		return e;
	cat->vm = guid_new();
	cat->garbage_count = 0;
	cat->fold = (struct cat_fold){0};
	e = make_relink(source->ns, dir, cat, why);
	return e ? e : make_finish(source->ns, dir, cat, why);
}

static enum err import(struct store *source, const char *from, const char *dir,
		       struct progress *progress, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = check_inside(source->cat, from, why);

	if (!e)
		e = cat_clone(source->cat, &cat, why);
	if (e)
		return e;
	e = make_folder(source->ns, dir, true, why);
	if (!e) {
		e = fill(source, dir, cat, progress, why);
		if (e)
			make_undo(source->ns, dir);
	}
	cat_free(cat);
	return e;
}

enum err snap_import(struct file_ns *ns, const char *from, const char *dir,
		     struct progress *progress, struct err_why *why)
{
	struct store *source;

	ns = ns ? ns : &file_ns_posix;
	if (!make_is_store(ns, from))
		return err_set(why, ERR_NOENT, "%s: there is no export in it", from);
	enum err e = snap_open(ns, from, SNAP_READONLY, &source, why);
	if (e)
		return e;
	e = store_rest(source, 0, why);
	if (!e) {
		e = import(source, from, dir, progress, why);
		store_end_rest(source);
	}
	snap_close(source);
	return e;
}
