/* SPDX-License-Identifier: MIT */
#include "snapshot/make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- folders ---- */

/* Those above, as far as they are missing. */
static enum err make_parents(struct file_ns *ns, const char *dir, struct err_why *why)
{
	char *path = strdup(dir);
	enum err e = path ? ERR_OK : no_memory(why);

	for (char *slash = path ? strchr(path + 1, '/') : NULL; slash && !e;
	     slash = strchr(slash + 1, '/')) {
		struct err_why here = {0};

		*slash = 0;
		e = file_ns_mkdir(ns, path, &here);
		if (!e)
			e = file_ns_sync_dir(ns, path, &here);
		if (e == ERR_EXIST)
			e = ERR_OK;
		else if (e && why)
			*why = here;
		*slash = '/';
	}
	free(path);
	return e;
}

bool make_is_store(struct file_ns *ns, const char *dir)
{
	char *path = store_name_path(dir, STORE_CATALOGUE);
	char *copy = store_name_path(dir, CATALOGUE_COPY);
	struct file_info info;
	bool found = path && !file_ns_info(ns, path, &info, NULL);

	found |= copy && !file_ns_info(ns, copy, &info, NULL);
	free(copy);
	free(path);
	return found;
}

struct leftovers {
	struct file_ns *ns;
	const char *dir;
	bool foreign; /* something that is none of ours */
	enum err err;
	struct err_why *why;
};

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);

	return len > end && !strcmp(name + len - end, suffix);
}

/* "00000000002a.vhd", and the record of a change of it. */
static bool is_layer_name(const char *name)
{
	char base[STORE_FILE_NAME_BYTES] = "";
	uint64_t file;

	if (store_parse_file_name(name, &file))
		return true;
	if (!has_suffix(name, ".strata-intent"))
		return false;
	size_t len = strlen(name) - strlen(".strata-intent");
	if (len >= sizeof(base))
		return false;
	memcpy(base, name, len);
	return store_parse_file_name(base, &file);
}

bool make_is_ours(const char *name)
{
	/* the last five are what the VM's process leaves there */
	static const char *const others[] = {STORE_LOCK,    CATALOGUE_NEW,  CATALOGUE_COPY,
					     "control",     "worker.log",   "worker.log.1",
					     "console.log", "console.log.1"};

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (!strcmp(name, others[i]))
			return true;
	return is_layer_name(name);
}

static bool remove_one(void *arg, const char *name)
{
	struct leftovers *l = arg;

	if (!make_is_ours(name)) {
		l->foreign = true;
		return true;
	}
	char *path = store_name_path(l->dir, name);
	l->err = path ? file_ns_unlink(l->ns, path, l->why) : no_memory(l->why);
	free(path);
	return !l->err;
}

enum err make_clear(struct file_ns *ns, const char *dir, bool *foreign, struct err_why *why)
{
	struct leftovers l = {.ns = ns, .dir = dir, .why = why};
	enum err e = file_ns_list(ns, dir, remove_one, &l, why);

	*foreign = l.foreign;
	return e ? e : l.err;
}

static enum err unlink_if_there(struct file_ns *ns, const char *path, struct err_why *why)
{
	struct err_why here = {0};
	enum err e = file_ns_unlink(ns, path, &here);

	if (e && e != ERR_NOENT && why)
		*why = here;
	return e == ERR_NOENT ? ERR_OK : e;
}

enum err make_remove_named(struct file_ns *ns, const char *dir, const struct catalogue *cat,
			   struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; cat && i < cat->layers && !e; i++) {
		const char *name = cat->layer[i].path;
		char *path, *record = NULL; /* of a change of it that was cut off */

		if (!name || *name == '/')
			continue;
		path = store_name_path(dir, name);
		if (!path || asprintf(&record, "%s.strata-intent", path) < 0)
			e = no_memory(why);
		if (!e)
			e = unlink_if_there(ns, path, why);
		if (!e)
			e = unlink_if_there(ns, record, why);
		free(record);
		free(path);
	}
	return e;
}

static bool is_anything(void *arg, const char *name)
{
	(void)name;
	*(bool *)arg = true;
	return false;
}

/* What an attempt that died left behind may be somebody's data as well: it is not ours to remove.
 */
static enum err check_empty(struct file_ns *ns, const char *dir, struct err_why *why)
{
	bool found = false;
	enum err e = file_ns_list(ns, dir, is_anything, &found, why);

	if (!e && found)
		e = err_set(why, ERR_EXIST, "%s is there already and is not empty", dir);
	return e;
}

enum err make_folder(struct file_ns *ns, const char *dir, bool parents, struct err_why *why)
{
	struct err_why here = {0};
	enum err e = parents ? make_parents(ns, dir, why) : ERR_OK;

	if (e)
		return e;
	if (make_is_store(ns, dir))
		return err_set(why, ERR_EXIST, "%s: there is such a VM already", dir);
	e = file_ns_mkdir(ns, dir, &here);
	if (e == ERR_EXIST)
		return check_empty(ns, dir, why);
	if (e && why)
		*why = here;
	return e;
}

enum err make_disown(struct file_ns *ns, const char *dir, struct err_why *why)
{
	static const char *const names[] = {CATALOGUE_COPY, STORE_CATALOGUE};
	enum err e = ERR_OK;

	for (unsigned i = 0; i < 2 && !e; i++) {
		char *path = store_name_path(dir, names[i]);
		struct err_why here = {0};

		e = path ? file_ns_unlink(ns, path, &here) : no_memory(&here);
		if (!e)
			e = file_ns_sync_dir(ns, path, &here);
		if (e == ERR_NOENT)
			e = ERR_OK;
		else if (e && why)
			*why = here;
		free(path);
	}
	return e;
}

void make_undo(struct file_ns *ns, const char *dir)
{
	bool foreign;

	if (make_disown(ns, dir, NULL))
		return; /* it is a VM for all we know, and has to stay a whole one */
	make_clear(ns, dir, &foreign, NULL);
	file_ns_rmdir(ns, dir, NULL);
}

/* Every store has one from the beginning, so that readers find it too. */
static enum err make_lock_file(struct file_ns *ns, const char *path, struct err_why *why)
{
	struct file *file;
	enum err e = file_ns_open(ns, path, FILE_OPEN_CREATE, &file, why);

	return e ? e : file_close(file, why);
}

enum err make_finish(struct file_ns *ns, const char *dir, const struct catalogue *cat,
		     struct err_why *why)
{
	bool renamed;
	char *path = store_name_path(dir, STORE_LOCK);
	enum err e = path ? make_lock_file(ns, path, why) : no_memory(why);

	/* A catalogue must not be there before the files it names. */
	if (!e)
		e = file_ns_sync_dir(ns, path, why);
	if (!e)
		e = catalogue_replace(ns, dir, cat, &renamed, why);
	free(path);
	return e ? e : file_ns_sync_dir(ns, dir, why);
}

/* ---- layers ---- */

static enum err look(struct file_ns *ns, const char *path, struct cat_layer *layer,
		     struct guid *parent, struct err_why *why)
{
	struct layer_facts facts;
	enum err e = stack_look(ns, path, &facts, parent, why);

	if (e)
		return e;
	layer->uuid = facts.uuid;
	layer->type = facts.type;
	layer->size_bytes = facts.size_bytes;
	layer->block_bytes = facts.block_bytes;
	return ERR_OK;
}

enum err make_layer(struct file_ns *ns, struct catalogue *cat, const char *path, uint64_t parent,
		    uint64_t *number, struct err_why *why)
{
	struct cat_layer layer = {0};
	struct file_info info;
	struct guid parent_uuid;
	enum err e = look(ns, path, &layer, &parent_uuid, why);

	if (!e)
		e = file_ns_info(ns, path, &info, why);
	if (e)
		return e;
	struct cat_layer *added = cat_add_layer(cat);
	if (!added)
		return no_memory(why);
	layer.number = added->number;
	layer.file = added->file;
	layer.parent = parent;
	layer.sealed_bytes = info.size_bytes;
	layer.sealed_mtime_ns = info.mtime_ns;
	*added = layer;
	*number = layer.number;
	return ERR_OK;
}

static enum err relink_layer(struct file_ns *ns, const char *dir, const struct catalogue *cat,
			     struct cat_layer *layer, struct err_why *why)
{
	const struct cat_layer *parent = cat_layer(cat, layer->parent);
	char *path = store_layer_path(dir, layer);
	char *parent_path = parent ? store_layer_path(dir, parent) : NULL;
	struct file_info info = {0};
	enum err e = path && (parent_path || !parent) ? ERR_OK : no_memory(why);

	if (!e && parent)
		e = stack_relink(ns, path, parent_path, &parent->uuid, why);
	if (!e)
		e = stack_seal(ns, path, why);
	if (!e)
		e = file_ns_info(ns, path, &info, why);
	if (!e) {
		layer->sealed_bytes = layer->is_leaf ? 0 : info.size_bytes;
		layer->sealed_mtime_ns = layer->is_leaf ? 0 : info.mtime_ns;
		layer->flags = 0;
	}
	free(path);
	free(parent_path);
	return e;
}

/* A disk that stays where it is stays as it is. */
enum err make_relink(struct file_ns *ns, const char *dir, struct catalogue *cat,
		     struct err_why *why)
{
	enum err e = cat_derive(cat, why);

	for (unsigned i = 0; i < cat->layers && !e; i++)
		if (!cat->layer[i].path || *cat->layer[i].path != '/')
			e = relink_layer(ns, dir, cat, &cat->layer[i], why);
	return e;
}

/* ---- catalogues ---- */

enum err make_catalogue(unsigned disks, const struct snap_config *config, struct catalogue **out,
			struct err_why *why)
{
	struct catalogue *cat = calloc(1, sizeof(*cat));
	uint32_t idx;

	if (!cat)
		return no_memory(why);
	cat->vm = guid_new();
	cat->generation = 1;
	cat->next_number = 1;
	cat->disks = disks;
	cat->leaf = calloc(disks + 1, sizeof(*cat->leaf));
	if (!cat->leaf || !cat_add_config(cat, config, &idx)) {
		cat_free(cat);
		return no_memory(why);
	}
	*out = cat;
	return ERR_OK;
}
