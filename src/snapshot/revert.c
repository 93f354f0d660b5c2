/* SPDX-License-Identifier: MIT */

/* W18: a new leaf on the target, B, catalogue, B. */

#include <stdlib.h>
#include <string.h>

#include "snapshot/take.h"

static enum err find_node(const struct catalogue *cat, const struct guid *id, uint64_t *number,
			  struct err_why *why)
{
	const struct cat_node *node = cat_node_by_id(cat, id);
	char text[GUID_TEXT_BYTES];

	if (!node)
		return err_set(why, ERR_NOENT, "there is no snapshot %s", guid_text(id, text));
	*number = node->number;
	return ERR_OK;
}

/* What is current becomes a node; its leaves stay as they are, so they are sealed. */
static enum err keep_current(struct store *store, struct catalogue *cat, const char *name,
			     struct guid *kept, struct err_why *why)
{
	struct cat_node *node;
	enum err e = *name ? take_check_name(cat, name, why) : ERR_OK;

	if (!e)
		e = take_seal(store, cat, false, why);
	if (!e)
		e = take_add_node(cat, name, NULL, &node, why);
	if (!e)
		*kept = node->id;
	return e;
}

/* Store locks tell of our own writers; image locks of a tool or of QEMU. */
static enum err check_unused(struct store *store, const struct catalogue *cat, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned d = 0; d < cat->disks && !e; d++) {
		if (!cat->leaf[d])
			continue;
		char *path = store_layer_path(store->dir, cat_layer(cat, cat->leaf[d]));
		struct layer_facts facts;
		struct guid parent;

		e = path ? stack_look(store->ns, path, &facts, &parent, why)
			 : err_set(why, ERR_NOMEM, "out of memory");
		/* a leaf that is gone or damaged is one more reason to go back */
		if (path && e != ERR_LOCKED)
			e = ERR_OK;
		free(path);
	}
	return e;
}

static enum err prepare(struct store *store, struct catalogue *cat, const struct guid *id,
			const char *keep, struct guid *kept, struct err_why *why)
{
	uint64_t leaf[SNAP_MAX_DISKS], number;
	enum err e = find_node(cat, id, &number, why);

	if (!e && !keep)
		e = check_unused(store, cat, why);
	/* first, because their files must have the first numbers (store.h) */
	if (!e)
		e = take_new_leaves(store, cat, cat_node(cat, number)->layer, true, leaf, why);
	if (!e && keep)
		e = keep_current(store, cat, keep, kept, why);
	if (e)
		return e;
	memcpy(cat->leaf, leaf, cat->disks * sizeof(*leaf));
	cat->current = number;
	cat->current_config = cat_node(cat, number)->config;
	e = cat_sweep(cat, why);
	if (!e)
		cat_sweep_configs(cat);
	return e;
}

static enum err revert(struct store *store, struct catalogue *cat, const struct guid *id,
		       const char *keep, struct guid *kept, struct err_why *why)
{
	uint64_t first = cat->next_number;
	unsigned disks = cat->disks;
	enum err e = prepare(store, cat, id, keep, kept, why);

	if (e)
		cat_free(cat);
	else
		e = store_commit(store, cat, why);
	if (e)
		take_undo(store, first, disks);
	return e;
}

enum err snap_revert(struct store *store, const struct guid *id, const char *keep,
		     struct guid *kept, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = store_check_no_writer(store, why);
	if (e)
		cat_free(cat);
	else
		e = revert(store, cat, id, keep, kept, why);
	store_end(store);
	return e;
}
