/* SPDX-License-Identifier: MIT */

/* A node goes with one change of the catalogue; what it leaves to be moved is fold.c's work. */

#include <stdlib.h>

#include "snapshot/store.h"

/* Nodes below a marked one are marked: parents come first. */
static void mark_subtree(const struct catalogue *cat, bool *gone)
{
	for (unsigned i = 0; i < cat->nodes; i++) {
		const struct cat_node *parent = cat_node(cat, cat->node[i].parent);

		if (parent && gone[parent - cat->node])
			gone[i] = true;
	}
}

/* The nearest ancestor that stays; 0: none. */
static uint64_t staying(const struct catalogue *cat, const bool *gone, uint64_t number)
{
	const struct cat_node *node = cat_node(cat, number);

	while (node && gone[node - cat->node])
		node = cat_node(cat, node->parent);
	return node ? node->number : 0;
}

/*
 * New parents of all, before any goes. In order, so that a parent that goes already names one that
 * stays.
 */
static void reparent(struct catalogue *cat, const bool *gone)
{
	for (unsigned i = 0; i < cat->nodes; i++) {
		const struct cat_node *parent = cat_node(cat, cat->node[i].parent);

		if (parent && gone[parent - cat->node])
			cat->node[i].parent = parent->parent;
	}
	cat->current = staying(cat, gone, cat->current);
}

static unsigned remove_marked(struct catalogue *cat, const bool *gone)
{
	unsigned removed = 0;

	for (unsigned i = cat->nodes; i-- > 0;) {
		if (gone[i]) {
			cat_remove_node(cat, &cat->node[i]);
			removed++;
		}
	}
	return removed;
}

static enum err change(struct catalogue *cat, const struct guid *id, bool subtree,
		       unsigned *deleted, struct err_why *why)
{
	const struct cat_node *node = cat_node_by_id(cat, id);
	char text[GUID_TEXT_BYTES];

	if (!node)
		return err_set(why, ERR_NOENT, "there is no snapshot %s", guid_text(id, text));
	bool *gone = calloc(cat->nodes, sizeof(*gone));
	if (!gone)
		return err_set(why, ERR_NOMEM, "out of memory");
	gone[node - cat->node] = true;
	if (subtree)
		mark_subtree(cat, gone);
	reparent(cat, gone);
	*deleted = remove_marked(cat, gone);
	free(gone);
	enum err e = cat_sweep(cat, why);
	if (!e)
		cat_sweep_configs(cat);
	return e;
}

enum err snap_delete(struct store *store, const struct guid *id, bool subtree, unsigned *deleted,
		     struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = change(cat, id, subtree, deleted, why);
	if (e)
		cat_free(cat);
	else
		e = store_commit(store, cat, why);
	store_end(store);
	return e;
}
