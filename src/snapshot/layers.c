/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/store.h"
#include "util/text.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- names ---- */

char *store_name_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

void store_file_name(uint64_t file, char out[STORE_FILE_NAME_BYTES])
{
	snprintf(out, STORE_FILE_NAME_BYTES, "%012" PRIx64 ".vhd", file);
}

bool store_parse_file_name(const char *name, uint64_t *file)
{
	char again[STORE_FILE_NAME_BYTES];
	char *end;

	*file = strtoull(name, &end, 16);
	store_file_name(*file, again);
	return end != name && !strcmp(name, again);
}

char *store_file_path(const char *dir, uint64_t file)
{
	char name[STORE_FILE_NAME_BYTES];

	store_file_name(file, name);
	return store_name_path(dir, name);
}

char *store_layer_path(const char *dir, const struct cat_layer *layer)
{
	if (!layer->path)
		return store_file_path(dir, layer->file);
	return *layer->path == '/' ? strdup(layer->path) : store_name_path(dir, layer->path);
}

/* ---- identity ---- */

bool layer_is_changing(const struct catalogue *cat, const struct cat_layer *layer)
{
	return (layer->flags & CAT_RELINK) || layer == cat_fold_target(cat);
}

static enum err gone(const char *path, const struct err_why *how, struct err_why *why)
{
	return err_set(why, ERR_PARENT, "layer %s is missing or cannot be read: %s", path,
		       how->text);
}

/* Against its identity, which is its length and when it was last changed. */
static enum err check_seal(const struct catalogue *cat, const struct cat_layer *layer,
			   const char *path, const struct file_info *now, struct err_why *why)
{
	if (!layer->sealed_bytes || layer->is_leaf || layer_is_changing(cat, layer))
		return ERR_OK;
	if (now->size_bytes != layer->sealed_bytes)
		return err_set(why, ERR_PARENT,
			       "layer %s was changed behind our back: it has %llu bytes instead of "
			       "%llu",
			       path, (unsigned long long)now->size_bytes,
			       (unsigned long long)layer->sealed_bytes);
	if (layer->sealed_mtime_ns && now->mtime_ns && now->mtime_ns != layer->sealed_mtime_ns)
		return err_set(why, ERR_PARENT,
			       "layer %s was changed behind our back: it was written to after it "
			       "was sealed",
			       path);
	return ERR_OK;
}

enum err layer_facts_of(struct store *store, const struct catalogue *cat,
			const struct cat_layer *layer, struct layer_facts *facts,
			struct err_why *why)
{
	char *path = store_layer_path(store->dir, layer);
	struct file_info info = {0};
	struct err_why here = {0};

	if (!path)
		return no_memory(why);
	enum err e = file_ns_info(store->ns, path, &info, &here);
	if (e)
		e = gone(path, &here, why);
	if (!e)
		e = check_seal(cat, layer, path, &info, why);
	if (e) {
		free(path);
		return e;
	}
	*facts = (struct layer_facts){
	    .path = path,
	    .uuid = layer->uuid,
	    .type = layer->type,
	    .size_bytes = layer->size_bytes,
	    .block_bytes = layer->block_bytes,
	    .dev = info.dev,
	    .ino = info.ino,
	};
	return ERR_OK;
}

enum err layer_note_seal(struct store *store, struct cat_layer *layer, struct err_why *why)
{
	char *path = store_layer_path(store->dir, layer);
	struct file_info info;
	enum err e = path ? file_ns_info(store->ns, path, &info, why) : no_memory(why);

	if (!e) {
		layer->sealed_bytes = info.size_bytes;
		layer->sealed_mtime_ns = info.mtime_ns;
	}
	free(path);
	return e;
}

/* ---- chains ---- */

void layers_free(struct layers *layers)
{
	for (unsigned i = 0; layers->facts && i < layers->count; i++)
		free((char *)layers->facts[i].path);
	free(layers->facts);
	free(layers->number);
	free(layers->file);
	*layers = (struct layers){0};
}

enum err layers_of(struct store *store, const struct catalogue *cat, uint64_t top,
		   struct layers *out, struct err_why *why)
{
	const struct cat_layer *layer = cat_layer(cat, top);
	enum err e = ERR_OK;

	*out = (struct layers){0};
	if (!layer)
		return err_set(why, ERR_CORRUPT, "catalogue: there is no layer %llu",
			       (unsigned long long)top);
	unsigned count = layer->depth;
	out->facts = calloc(count, sizeof(*out->facts));
	out->number = calloc(count, sizeof(*out->number));
	out->file = calloc(count, sizeof(*out->file));
	if (!out->facts || !out->number || !out->file)
		e = no_memory(why);
	else
		out->count = count;
	for (unsigned i = out->count; i-- > 0 && !e; layer = cat_layer(cat, layer->parent)) {
		out->number[i] = layer->number;
		out->file[i] = layer->file;
		e = layer_facts_of(store, cat, layer, &out->facts[i], why);
	}
	if (e)
		layers_free(out);
	return e;
}

/* ---- new ones ---- */

/* Its number is free by the rule of store.h: what is there was left behind. */
static enum err remove_leftover(struct store *store, const char *path, struct err_why *why)
{
	struct err_why here = {0};
	enum err e = file_ns_unlink(store->ns, path, &here);

	if (e && e != ERR_NOENT) {
		if (why)
			*why = here;
		return e;
	}
	return ERR_OK;
}

enum err layer_create(struct store *store, struct catalogue *cat, uint64_t parent, bool no_lock,
		      uint64_t *number, struct err_why *why)
{
	struct guid uuid = guid_new();
	const struct cat_layer *below = cat_layer(cat, parent);
	char *parent_path = store_layer_path(store->dir, below);
	char *path = store_file_path(store->dir, cat->next_number);
	struct vhd_create_opts opts = {.ns = store->ns,
				       .type = VHD_DIFFERENCING,
				       .parent = parent_path,
				       .uuid = &uuid,
				       .no_lock = no_lock,
				       .unnamed = true};
	enum err e = path && parent_path ? ERR_OK : no_memory(why);

	if (!e && below->depth >= CAT_MAX_LAYER_DEPTH)
		e = err_set(why, ERR_REFUSED, "the chain of this snapshot has %u files already",
			    below->depth);
	if (!e)
		e = remove_leftover(store, path, why);
	if (!e)
		e = vhd_create(path, &opts, why);
	if (!e) {
		uint32_t block = below->type == VHD_FIXED ? VHD_DEFAULT_BLOCK : below->block_bytes;
		uint64_t size = below->size_bytes;
		struct cat_layer *layer = cat_add_layer(cat);

		if (!layer) {
			file_ns_unlink(store->ns, path, NULL);
			e = no_memory(why);
		} else {
			layer->parent = parent;
			layer->uuid = uuid;
			layer->type = VHD_DIFFERENCING;
			layer->block_bytes = block;
			layer->size_bytes = size;
			*number = layer->number;
		}
	}
	free(path);
	free(parent_path);
	return e;
}
