/* SPDX-License-Identifier: MIT */

/* What a store holds, for those who show it: a copy that later changes do not touch. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "snapshot/store.h"
#include "util/text.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

static void free_disks(struct snap_disk *disk, unsigned count)
{
	for (unsigned d = 0; disk && d < count; d++)
		free(disk[d].path);
	free(disk);
}

void snap_tree_free(struct snap_tree *tree)
{
	for (unsigned i = 0; i < tree->count; i++) {
		free(tree->node[i].name);
		free(tree->node[i].note);
		snap_config_free(&tree->node[i].config);
		free_disks(tree->node[i].disk, tree->node[i].disk_count);
	}
	free(tree->node);
	free_disks(tree->current, tree->disk_count);
	snap_config_free(&tree->config);
	*tree = (struct snap_tree){0};
}

/* ---- one thing each ---- */

static uint64_t usage_of(const struct store *store, const char *path)
{
	struct file_info info;

	/* One that is missing takes nothing; telling so is snap_check's business. */
	return file_ns_info(store->ns, path, &info, NULL) ? 0 : info.usage_bytes;
}

static bool fill_disk(const struct store *store, uint64_t number, unsigned flags,
		      struct snap_disk *out)
{
	const struct cat_layer *layer = cat_layer(store->cat, number);

	out->path = store_layer_path(store->dir, layer);
	if (!out->path)
		return false;
	out->virtual_size = layer->size_bytes;
	out->depth = layer->depth;
	if (flags & SNAP_TREE_SIZES)
		out->unique_bytes = usage_of(store, out->path);
	return true;
}

static bool fill_disks(const struct store *store, const uint64_t *layers, unsigned flags,
		       struct snap_disk **out, uint64_t *bytes)
{
	unsigned count = store->cat->disks;
	bool ok = true;

	*out = calloc(count + 1, sizeof(**out));
	*bytes = 0;
	for (unsigned d = 0; *out && ok && d < count; d++) {
		if (!layers[d])
			continue;
		ok = fill_disk(store, layers[d], flags, &(*out)[d]);
		*bytes += (*out)[d].unique_bytes;
	}
	return *out && ok;
}

static int place_of(const struct catalogue *cat, uint64_t number)
{
	const struct cat_node *node = number ? cat_node(cat, number) : NULL;

	return node ? (int)(node - cat->node) : -1;
}

static bool fill_node(const struct store *store, unsigned i, unsigned flags, struct snap_node *out)
{
	const struct cat_node *node = &store->cat->node[i];

	out->disk_count = store->cat->disks;
	out->id = node->id;
	out->time = node->time;
	out->depth = node->depth;
	out->has_memory = node->state != 0;
	out->parent_idx = place_of(store->cat, node->parent);
	if (out->parent_idx >= 0)
		out->parent = store->cat->node[out->parent_idx].id;
	out->name = strdup(node->name);
	out->note = strdup(node->note);
	return out->name && out->note &&
	       snap_config_copy(&store->cat->config[node->config], &out->config) &&
	       fill_disks(store, node->layer, flags, &out->disk, &out->unique_bytes);
}

/* The list is put right with the next change; what counts is what is still there. */
static bool count_garbage(const struct store *store, unsigned *out)
{
	struct file_info info;

	for (unsigned i = 0; i < store->cat->garbage_count; i++) {
		char *path = store_file_path(store->dir, store->cat->garbage[i]);

		if (!path)
			return false;
		*out += !file_ns_info(store->ns, path, &info, NULL);
		free(path);
	}
	return true;
}

static bool fill_debt(const struct store *store, unsigned flags, struct snap_debt *debt)
{
	const struct catalogue *cat = store->cat;

	if (!count_garbage(store, &debt->garbage))
		return false;
	for (unsigned i = 0; i < cat->layers; i++) {
		const struct cat_layer *layer = &cat->layer[i];

		if (!cat_is_debt(layer))
			continue;
		debt->layers++;
		debt->shared += layer->children > 1;
		if (!(flags & SNAP_TREE_SIZES) || layer->children > 1)
			continue;
		char *path = store_layer_path(store->dir, layer);
		if (!path)
			return false;
		debt->bytes += usage_of(store, path);
		free(path);
	}
	return true;
}

static bool fill(struct store *store, unsigned flags, struct snap_tree *out)
{
	const struct catalogue *cat = store->cat;

	out->generation = cat->generation;
	out->vm = cat->vm;
	out->disk_count = cat->disks;
	out->current_idx = place_of(cat, cat->current);
	out->running = store_check_no_writer(store, NULL) == ERR_LOCKED;
	out->node = calloc(cat->nodes + 1, sizeof(*out->node));
	if (!out->node || !snap_config_copy(&cat->config[cat->current_config], &out->config) ||
	    !fill_disks(store, cat->leaf, flags, &out->current, &out->current_bytes) ||
	    !fill_debt(store, flags, &out->debt))
		return false;
	for (unsigned i = 0; i < cat->nodes; i++) {
		out->count++;
		if (!fill_node(store, i, flags, &out->node[i]))
			return false;
	}
	return true;
}

enum err snap_tree(struct store *store, unsigned flags, struct snap_tree *out, struct err_why *why)
{
	*out = (struct snap_tree){0};
	enum err e = store_look(store, why);
	if (e)
		return e;
	if (!fill(store, flags, out))
		e = no_memory(why);
	store_unlock(store);
	if (e)
		snap_tree_free(out);
	return e;
}

/* ---- finding ---- */

#define ID_PREFIX_MIN 8u

static bool matches(const struct snap_node *node, const char *text, size_t len)
{
	char id[GUID_TEXT_BYTES];

	guid_text(&node->id, id);
	return len >= ID_PREFIX_MIN && len < GUID_TEXT_BYTES && !strncasecmp(id, text, len);
}

enum err snap_find(const struct snap_tree *tree, const char *text, unsigned *idx,
		   struct err_why *why)
{
	size_t len = strlen(text);
	unsigned found = 0;
	char shown[80];

	for (unsigned i = 0; i < tree->count; i++) {
		if (!strcmp(tree->node[i].name, text)) {
			*idx = i;
			return ERR_OK;
		}
	}
	for (unsigned i = 0; i < tree->count; i++) {
		if (matches(&tree->node[i], text, len)) {
			*idx = i;
			found++;
		}
	}
	text_escape(text, shown, sizeof(shown));
	if (!found)
		return err_set(why, ERR_NOENT, "there is no snapshot \"%s\"", shown);
	return found == 1
		   ? ERR_OK
		   : err_set(why, ERR_USAGE, "the id \"%s\" is that of %u snapshots", shown, found);
}

enum err snap_files(struct store *store, char ***paths, unsigned *count, struct err_why *why)
{
	enum err e = store_look(store, why);

	if (e)
		return e;
	const struct catalogue *cat = store->cat;
	char **all = calloc(cat->layers + 1, sizeof(*all));
	unsigned n = 0;
	bool ok = all;

	while (ok && n < cat->layers) {
		all[n] = store_layer_path(store->dir, &cat->layer[n]);
		ok = all[n];
		n += ok;
	}
	store_unlock(store);
	if (ok) {
		*paths = all;
		*count = n;
		return ERR_OK;
	}
	while (n)
		free(all[--n]);
	free(all);
	return no_memory(why);
}
