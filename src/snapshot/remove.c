/* SPDX-License-Identifier: MIT */

/*
 * The end of a VM. Its catalogue goes first: what a crash leaves then is no VM, and asking again
 * removes it.
 */

#include <stdlib.h>
#include <string.h>

#include "snapshot/make.h"

#define ALL_EDGES (UINT64_C(1) << 62)

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* Another program - a tool, a mount, QEMU - has a file open that is about to go. */
static enum err check_layers_unused(struct store *store, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; store->cat && i < store->cat->layers && !e; i++) {
		const struct cat_layer *layer = &store->cat->layer[i];
		char *path = store_layer_path(store->dir, layer);
		struct file *file;

		if (!path)
			e = no_memory(why);
		else if ((!layer->path || *layer->path != '/') &&
			 !file_ns_open(store->ns, path, FILE_OPEN_RDWR, &file, NULL)) {
			e = file_lock(file, FILE_LOCK_WRITE, why);
			file_close(file, NULL);
		}
		free(path);
	}
	return e;
}

static bool is_damage(enum err e)
{
	return e == ERR_CORRUPT || e == ERR_REPAIRABLE || e == ERR_UNSUPPORTED || e == ERR_PARENT ||
	       e == ERR_NOENT;
}

/* Nobody may be using it, however damaged its catalogue. */
static enum err claim(struct file_ns *ns, const char *dir, struct store **store,
		      struct err_why *why)
{
	enum err e = snap_open(ns, dir, 0, store, why);

	if (is_damage(e))
		e = store_open_bare(ns, dir, store, why);
	if (e)
		return e;
	e = store_rest(*store, 0, why);
	if (!e)
		e = store_lock_byte(*store, LOCK_CHANGE, 1, why);
	if (!e)
		e = store_lock_byte(*store, LOCK_WRITER, 1, why);
	if (!e)
		e = file_lock_range((*store)->lock_file, EDGES_OF_A_FILE, ALL_EDGES,
				    FILE_LOCK_WRITE, why);
	return e ? e : check_layers_unused(*store, why);
}

static bool is_trace(void *arg, const char *name)
{
	*(bool *)arg |= make_is_ours(name);
	return true;
}

/* Or what was to become one, or what is left of one. */
static bool is_vm(struct file_ns *ns, const char *dir)
{
	bool found = make_is_store(ns, dir);

	if (!found)
		file_ns_list(ns, dir, is_trace, &found, NULL);
	return found;
}

enum err snap_remove(struct file_ns *ns, const char *dir, struct err_why *why)
{
	struct catalogue *cat = NULL;
	struct store *store = NULL;
	bool foreign = false;

	ns = ns ? ns : &file_ns_posix;
	if (!is_vm(ns, dir))
		return err_set(why, ERR_NOENT, "%s: there is no such VM", dir);
	enum err e = claim(ns, dir, &store, why);
	if (!e)
		catalogue_read(ns, dir, STORE_CATALOGUE, &cat, NULL);
	if (!e)
		e = make_disown(ns, dir, why);
	if (!e)
		e = make_remove_named(ns, dir, cat, why);
	if (!e)
		e = make_clear(ns, dir, &foreign, why);
	snap_close(store);
	cat_free(cat);
	if (!e && !foreign)
		e = file_ns_rmdir(ns, dir, why);
	if (!e && !foreign)
		e = file_ns_sync_dir(ns, dir, why);
	return e;
}
