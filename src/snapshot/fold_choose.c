/* SPDX-License-Identifier: MIT */

/* Which layers to fold, and in which direction. */

#include <stdlib.h>

#include "snapshot/fold.h"
#include "util/bytes.h"

struct choice {
	struct store *store;
	const struct catalogue *cat;
	struct err_why *why;
	bool writing; /* somebody has current open for writing */
};

static void free_facts(struct layer_facts *facts)
{
	free((char *)facts->path);
}

/* What both directions would move. */
static enum err cost_of(const struct choice *c, const struct cat_layer *lower,
			const struct cat_layer *upper, uint64_t *up, uint64_t *down)
{
	struct layer_facts low, high;
	enum err e = layer_facts_of(c->store, c->cat, lower, &low, c->why);

	if (e)
		return e;
	e = layer_facts_of(c->store, c->cat, upper, &high, c->why);
	if (!e) {
		struct stack_fold fold = {.ns = c->store->ns, .lower = &low, .upper = &high};

		e = stack_fold_cost(&fold, up, down, c->why);
		free_facts(&high);
	}
	free_facts(&low);
	return e;
}

/* What lies below a smaller disk never shows through it: taken away, it would. */
static bool hides_nothing(const struct catalogue *cat, const struct cat_layer *lower,
			  const struct cat_layer *upper)
{
	const struct cat_layer *parent = cat_layer(cat, lower->parent);

	return lower->size_bytes >= min_u64(upper->size_bytes, parent->size_bytes);
}

static bool can_go_up(const struct catalogue *cat, const struct cat_layer *lower,
		      const struct cat_layer *upper)
{
	return lower->parent && !upper->is_leaf && hides_nothing(cat, lower, upper);
}

/*
 * Only between equals: to make the lower disk larger or smaller would move what its readers read.
 */
static bool can_go_down(const struct choice *c, const struct cat_layer *lower,
			const struct cat_layer *upper)
{
	return lower->size_bytes == upper->size_bytes && lower->children == 1 &&
	       !(upper->is_leaf && c->writing);
}

/* A leaf may have been made larger or smaller, and another program may be writing to it. */
static bool leaf_fits(const struct choice *c, const struct cat_layer *lower,
		      const struct cat_layer *leaf)
{
	char *path = store_layer_path(c->store->dir, leaf);
	struct layer_facts facts;
	struct guid parent;
	bool fits = path && !stack_look(c->store->ns, path, &facts, &parent, NULL) &&
		    facts.size_bytes == lower->size_bytes;

	free(path);
	return fits && facts.size_bytes == leaf->size_bytes;
}

/* The direction that moves fewer bytes; pick->lower stays 0 when there is none. */
static enum err choose_direction(const struct choice *c, const struct cat_layer *lower,
				 const struct cat_layer *upper, struct fold_pick *pick)
{
	bool up_ok = can_go_up(c->cat, lower, upper), down_ok = can_go_down(c, lower, upper);
	uint64_t up, down;

	if (down_ok && upper->is_leaf)
		down_ok = leaf_fits(c, lower, upper);
	if (!up_ok && !down_ok) {
		pick->busy++;
		return ERR_OK;
	}
	enum err e = cost_of(c, lower, upper, &up, &down);
	if (e)
		return e;
	pick->lower = lower->number;
	pick->upper = upper->number;
	pick->down = down_ok && (!up_ok || down < up);
	pick->bytes = pick->down ? down : up;
	return ERR_OK;
}

/*
 * A shared layer costs nothing but depth as long as it stays. Copied up into each of its children
 * it goes, which is worth it when they hide so much of it that less is copied than it takes.
 */
static enum err choose_shared(const struct choice *c, const struct cat_layer *lower,
			      struct fold_pick *pick)
{
	const struct cat_layer *first = NULL;
	uint64_t copies = 0, up, down, held = 0;

	if (!lower->parent)
		return ERR_OK;
	for (unsigned i = 0; i < c->cat->layers; i++) {
		const struct cat_layer *child = &c->cat->layer[i];

		if (child->parent != lower->number)
			continue;
		if (!can_go_up(c->cat, lower, child) || child->size_bytes != lower->size_bytes)
			return ERR_OK;
		enum err e = cost_of(c, lower, child, &up, &down);
		if (e)
			return e;
		first = first ? first : child;
		copies += up;
	}
	char *path = store_layer_path(c->store->dir, lower);
	struct file_info info;
	if (path && !file_ns_info(c->store->ns, path, &info, NULL))
		held = info.usage_bytes;
	free(path);
	if (copies > held / 2 || !first)
		return ERR_OK;
	pick->lower = lower->number;
	pick->upper = first->number;
	pick->down = false;
	pick->bytes = copies;
	return ERR_OK;
}

/* Of a layer with one child. */
static const struct cat_layer *only_child(const struct catalogue *cat,
					  const struct cat_layer *layer)
{
	for (unsigned i = (unsigned)(layer - cat->layer) + 1; i < cat->layers; i++)
		if (cat->layer[i].parent == layer->number)
			return &cat->layer[i];
	return NULL;
}

static bool is_among(uint64_t number, const uint64_t *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (list[i] == number)
			return true;
	return false;
}

enum err fold_choose(struct store *store, const struct catalogue *cat, const uint64_t *skipped,
		     unsigned skips, struct fold_pick *out, struct err_why *why)
{
	struct choice c = {.store = store, .cat = cat, .why = why};
	enum err e = ERR_OK;

	pthread_mutex_lock(&store->lock);
	c.writing = store_check_no_writer(store, NULL) == ERR_LOCKED;
	pthread_mutex_unlock(&store->lock);
	*out = (struct fold_pick){.busy = skips};
	for (unsigned i = cat->layers; i-- > 0 && !e && !out->lower;) {
		const struct cat_layer *layer = &cat->layer[i];

		if (!cat_is_debt(layer) || is_among(layer->number, skipped, skips))
			continue;
		e = layer->children > 1 ? choose_shared(&c, layer, out)
					: choose_direction(&c, layer, only_child(cat, layer), out);
		/* One that cannot be read keeps no other from being folded. */
		if (e == ERR_PARENT) {
			out->busy++;
			e = ERR_OK;
		}
	}
	return e;
}

bool fold_is_valid(const struct catalogue *cat, const struct fold_pick *pick)
{
	const struct cat_layer *lower = cat_layer(cat, pick->lower);
	const struct cat_layer *upper = cat_layer(cat, pick->upper);

	return lower && upper && upper->parent == lower->number && cat_is_debt(lower) &&
	       (!pick->down || (lower->children == 1 && lower->size_bytes == upper->size_bytes)) &&
	       (pick->down || can_go_up(cat, lower, upper));
}
