/* SPDX-License-Identifier: MIT */
#include "snapshot/catalogue.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- configurations ---- */

static bool copy_text(const char *from, char **out)
{
	*out = from ? strdup(from) : NULL;
	return !from || *out;
}

void snap_config_free(struct snap_config *config)
{
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	*config = (struct snap_config){0};
}

bool snap_config_copy(const struct snap_config *from, struct snap_config *out)
{
	*out = (struct snap_config){.memory_bytes = from->memory_bytes, .cpus = from->cpus};
	if (copy_text(from->kernel, &out->kernel) && copy_text(from->initrd, &out->initrd) &&
	    copy_text(from->cmdline, &out->cmdline))
		return true;
	snap_config_free(out);
	return false;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_config(const struct snap_config *a, const struct snap_config *b)
{
	return a->memory_bytes == b->memory_bytes && a->cpus == b->cpus &&
	       same_text(a->kernel, b->kernel) && same_text(a->initrd, b->initrd) &&
	       same_text(a->cmdline, b->cmdline);
}

/* ---- whole catalogues ---- */

static void free_node(struct cat_node *node)
{
	free(node->name);
	free(node->note);
	free(node->layer);
}

void cat_free(struct catalogue *cat)
{
	if (!cat)
		return;
	for (unsigned i = 0; i < cat->layers; i++)
		free(cat->layer[i].path);
	for (unsigned i = 0; i < cat->nodes; i++)
		free_node(&cat->node[i]);
	for (unsigned i = 0; i < cat->configs; i++)
		snap_config_free(&cat->config[i]);
	free(cat->leaf);
	free(cat->layer);
	free(cat->node);
	free(cat->config);
	free(cat->garbage);
	free(cat);
}

static void *copy_array(const void *from, size_t count, size_t item)
{
	void *to = calloc(count + 1, item);

	if (to && count)
		memcpy(to, from, count * item);
	return to;
}

static bool clone_node(const struct cat_node *from, unsigned disks, struct cat_node *to)
{
	*to = *from;
	to->name = strdup(from->name);
	to->note = strdup(from->note);
	to->layer = copy_array(from->layer, disks, sizeof(*to->layer));
	return to->name && to->note && to->layer;
}

/* Counts say how much of `to` there is to be freed, also half way. */
static bool clone_into(const struct catalogue *from, struct catalogue *to)
{
	*to = *from;
	to->layers = to->nodes = to->configs = 0;
	to->leaf = copy_array(from->leaf, from->disks, sizeof(*to->leaf));
	to->garbage = copy_array(from->garbage, from->garbage_count, sizeof(*to->garbage));
	to->config = calloc(from->configs + 1, sizeof(*to->config));
	to->layer = copy_array(from->layer, from->layers, sizeof(*to->layer));
	to->node = calloc(from->nodes + 1, sizeof(*to->node));
	if (!to->leaf || !to->garbage || !to->config || !to->layer || !to->node)
		return false;
	for (; to->configs < from->configs; to->configs++)
		if (!snap_config_copy(&from->config[to->configs], &to->config[to->configs]))
			return false;
	for (; to->layers < from->layers; to->layers++)
		if (!copy_text(from->layer[to->layers].path, &to->layer[to->layers].path))
			return false;
	while (to->nodes < from->nodes) {
		unsigned i = to->nodes++;

		if (!clone_node(&from->node[i], from->disks, &to->node[i]))
			return false;
	}
	return true;
}

enum err cat_clone(const struct catalogue *cat, struct catalogue **out, struct err_why *why)
{
	struct catalogue *clone = calloc(1, sizeof(*clone));

	if (!clone)
		return no_memory(why);
	if (!clone_into(cat, clone)) {
		cat_free(clone);
		return no_memory(why);
	}
	*out = clone;
	return ERR_OK;
}

/* ---- finding ---- */

struct cat_layer *cat_layer(const struct catalogue *cat, uint64_t number)
{
	unsigned low = 0, high = cat->layers;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (cat->layer[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < cat->layers && cat->layer[low].number == number ? &cat->layer[low] : NULL;
}

struct cat_node *cat_node(const struct catalogue *cat, uint64_t number)
{
	unsigned low = 0, high = cat->nodes;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (cat->node[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < cat->nodes && cat->node[low].number == number ? &cat->node[low] : NULL;
}

struct cat_node *cat_node_by_id(const struct catalogue *cat, const struct guid *id)
{
	for (unsigned i = 0; i < cat->nodes; i++)
		if (guid_equal(&cat->node[i].id, id))
			return &cat->node[i];
	return NULL;
}

struct cat_node *cat_node_by_name(const struct catalogue *cat, const char *name)
{
	for (unsigned i = 0; i < cat->nodes; i++)
		if (!strcmp(cat->node[i].name, name))
			return &cat->node[i];
	return NULL;
}

/* ---- changing ---- */

struct cat_layer *cat_add_layer(struct catalogue *cat)
{
	struct cat_layer *grown = realloc(cat->layer, (cat->layers + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	cat->layer = grown;
	struct cat_layer *layer = &grown[cat->layers++];
	*layer = (struct cat_layer){.number = cat->next_number, .file = cat->next_number};
	cat->next_number++;
	return layer;
}

struct cat_node *cat_add_node(struct catalogue *cat)
{
	struct cat_node *grown = realloc(cat->node, (cat->nodes + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	cat->node = grown;
	struct cat_node *node = &grown[cat->nodes];
	*node = (struct cat_node){.number = cat->next_number, .id = guid_new()};
	node->layer = calloc(cat->disks + 1, sizeof(*node->layer));
	if (!node->layer)
		return NULL;
	cat->nodes++;
	cat->next_number++;
	return node;
}

bool cat_add_config(struct catalogue *cat, const struct snap_config *config, uint32_t *idx)
{
	for (unsigned i = 0; i < cat->configs; i++) {
		if (same_config(&cat->config[i], config)) {
			*idx = i;
			return true;
		}
	}
	struct snap_config *grown = realloc(cat->config, (cat->configs + 1) * sizeof(*grown));
	if (!grown)
		return false;
	cat->config = grown;
	if (!snap_config_copy(config, &grown[cat->configs]))
		return false;
	*idx = cat->configs++;
	return true;
}

void cat_sweep_configs(struct catalogue *cat)
{
	for (unsigned i = cat->configs; i-- > 0;) {
		bool used = cat->current_config == i;

		for (unsigned n = 0; n < cat->nodes && !used; n++)
			used = cat->node[n].config == i;
		if (used)
			continue;
		snap_config_free(&cat->config[i]);
		memmove(&cat->config[i], &cat->config[i + 1],
			(cat->configs - i - 1) * sizeof(*cat->config));
		cat->configs--;
		cat->current_config -= cat->current_config > i;
		for (unsigned n = 0; n < cat->nodes; n++)
			cat->node[n].config -= cat->node[n].config > i;
	}
}

void cat_remove_node(struct catalogue *cat, struct cat_node *node)
{
	size_t idx = (size_t)(node - cat->node);

	free_node(node);
	memmove(node, node + 1, (cat->nodes - idx - 1) * sizeof(*node));
	cat->nodes--;
}

bool cat_add_garbage(struct catalogue *cat, uint64_t file)
{
	uint64_t *grown = realloc(cat->garbage, (cat->garbage_count + 1) * sizeof(*grown));

	if (!grown)
		return false;
	cat->garbage = grown;
	grown[cat->garbage_count++] = file;
	return true;
}

/* ---- what follows ---- */

static enum err bad(struct err_why *why, const char *what, uint64_t number, const char *rule)
{
	return err_set(why, ERR_CORRUPT, "catalogue: %s %llu %s", what, (unsigned long long)number,
		       rule);
}

static enum err derive_layer(struct catalogue *cat, unsigned i, struct err_why *why)
{
	struct cat_layer *layer = &cat->layer[i];
	struct cat_layer *parent = NULL;

	if (!layer->number || layer->number >= cat->next_number ||
	    layer->file >= cat->next_number || (i && layer->number <= layer[-1].number))
		return bad(why, "layer", layer->number, "is out of order");
	layer->depth = 1;
	layer->children = layer->names = 0;
	layer->is_leaf = false;
	if (layer->parent) {
		parent = layer->parent < layer->number ? cat_layer(cat, layer->parent) : NULL;
		if (!parent)
			return bad(why, "layer", layer->number, "has a parent that is not there");
		parent->children++;
		layer->depth = parent->depth + 1;
	}
	if (layer->depth > CAT_MAX_LAYER_DEPTH)
		return bad(why, "layer", layer->number, "is too deep");
	if ((layer->type == VHD_DIFFERENCING) != (parent != NULL))
		return bad(why, "layer", layer->number, "is of a type that does not fit its place");
	return ERR_OK;
}

static enum err derive_node(struct catalogue *cat, unsigned i, struct err_why *why)
{
	struct cat_node *node = &cat->node[i];
	const struct cat_node *parent = NULL;

	if (!node->number || node->number >= cat->next_number ||
	    (i && node->number <= node[-1].number))
		return bad(why, "node", node->number, "is out of order");
	if (node->parent) {
		parent = node->parent < node->number ? cat_node(cat, node->parent) : NULL;
		if (!parent)
			return bad(why, "node", node->number, "has a parent that is not there");
	}
	node->depth = parent ? parent->depth + 1 : 1;
	if (node->config >= cat->configs)
		return bad(why, "node", node->number, "has no configuration");
	for (unsigned d = 0; d < cat->disks; d++) {
		struct cat_layer *layer = cat_layer(cat, node->layer[d]);

		if (!node->layer[d])
			continue;
		if (!layer || layer->is_leaf)
			return bad(why, "node", node->number, "has no layer for a disk");
		layer->names++;
	}
	return ERR_OK;
}

static enum err derive_leaves(struct catalogue *cat, struct err_why *why)
{
	for (unsigned d = 0; d < cat->disks; d++) {
		struct cat_layer *leaf = cat_layer(cat, cat->leaf[d]);

		if (!cat->leaf[d])
			continue;
		if (!leaf || leaf->is_leaf || leaf->children)
			return bad(why, "disk", d, "has no leaf of its own");
		leaf->is_leaf = true;
		leaf->names++;
	}
	return ERR_OK;
}

static enum err derive_fold(struct catalogue *cat, struct err_why *why)
{
	const struct cat_fold *fold = &cat->fold;
	const struct cat_layer *upper = fold->lower ? cat_layer(cat, fold->upper) : NULL;

	if (fold->lower && (!upper || upper->parent != fold->lower))
		return bad(why, "fold of layer", fold->lower, "is not into its child");
	return ERR_OK;
}

enum err cat_derive(struct catalogue *cat, struct err_why *why)
{
	enum err e = ERR_OK;

	if (cat->next_number > CAT_MAX_NUMBER)
		return err_set(why, ERR_UNSUPPORTED, "catalogue: all numbers have been given");
	for (unsigned i = 0; i < cat->layers && !e; i++)
		e = derive_layer(cat, i, why);
	if (!e)
		e = derive_leaves(cat, why);
	for (unsigned i = 0; i < cat->nodes && !e; i++)
		e = derive_node(cat, i, why);
	if (!e && cat->current && !cat_node(cat, cat->current))
		e = bad(why, "current node", cat->current, "is not there");
	if (!e && cat->current_config >= cat->configs)
		e = bad(why, "configuration", cat->current_config, "is not there");
	return e ? e : derive_fold(cat, why);
}

/* From the highest number down: when a layer goes its parent, which is lower, may follow. */
static bool sweep_layer(struct catalogue *cat, struct cat_layer *layer)
{
	struct cat_layer *parent = cat_layer(cat, layer->parent);

	if (parent)
		parent->children--;
	if (!layer->path && !cat_add_garbage(cat, layer->file))
		return false;
	layer->depth = 0;
	return true;
}

/* Those of no depth go; order stays. */
static void close_gaps(struct catalogue *cat)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cat->layers; i++) {
		if (cat->layer[i].depth)
			cat->layer[kept++] = cat->layer[i];
		else
			free(cat->layer[i].path);
	}
	cat->layers = kept;
}

struct cat_layer *cat_fold_target(const struct catalogue *cat)
{
	if (!cat->fold.lower)
		return NULL;
	return cat_layer(cat, cat->fold.down ? cat->fold.lower : cat->fold.upper);
}

static void forget_seal(struct cat_layer *layer)
{
	layer->sealed_bytes = 0;
	layer->sealed_mtime_ns = 0;
}

void cat_call_off(struct catalogue *cat)
{
	struct cat_layer *target = cat_fold_target(cat);
	struct cat_layer *upper = cat_layer(cat, cat->fold.upper);

	if (target)
		forget_seal(target);
	if (upper && upper->is_leaf) /* it was only watched */
		forget_seal(upper);
	cat->fold = (struct cat_fold){0};
}

/* A fold whose layers are gone, or no longer parent and child, is called off. */
static void sweep_fold(struct catalogue *cat)
{
	const struct cat_layer *lower = cat_layer(cat, cat->fold.lower);
	const struct cat_layer *upper = cat_layer(cat, cat->fold.upper);

	if (!lower || !upper || upper->parent != lower->number)
		cat_call_off(cat);
}

enum err cat_sweep(struct catalogue *cat, struct err_why *why)
{
	enum err e = cat_derive(cat, why);

	if (e)
		return e;
	bool ok = true;
	for (unsigned i = cat->layers; i-- > 0 && ok;) {
		struct cat_layer *layer = &cat->layer[i];

		if (!layer->names && !layer->children)
			ok = sweep_layer(cat, layer);
	}
	if (!ok)
		return no_memory(why);
	close_gaps(cat);
	sweep_fold(cat);
	return cat_derive(cat, why);
}
