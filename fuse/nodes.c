/* SPDX-License-Identifier: MIT */
#include "fuse/nodes.h"

#include <stdlib.h>
#include <string.h>

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = ((const struct numbered *)a)->number, y = ((const struct numbered *)b)->number;

	return (x > y) - (x < y);
}

static int compare_names(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return strcmp(x->node->name, y->node->name);
}

static int compare_ids(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return memcmp(&x->node->id, &y->node->id, sizeof(x->node->id));
}

/* ---- filling ---- */

static void free_orders(struct nodes *nodes)
{
	free(nodes->by_number);
	free(nodes->by_name);
	free(nodes->by_id);
}

static const struct numbered *find_id(const struct nodes *nodes, const struct guid *id)
{
	const struct snap_node wanted = {.id = *id};
	const struct numbered key = {.node = &wanted};

	return bsearch(&key, nodes->by_id, nodes->count - 1, sizeof(key), compare_ids);
}

/* The orders of `nodes`, whose tree is set; numbers that are known come from `old`. */
static bool sort_out(struct nodes *nodes, const struct nodes *old)
{
	unsigned count = nodes->tree.count;

	nodes->count = count + 1;
	nodes->by_number = calloc(count + 1, sizeof(*nodes->by_number));
	nodes->by_name = calloc(count + 1, sizeof(*nodes->by_name));
	nodes->by_id = calloc(count + 1, sizeof(*nodes->by_id));
	if (!nodes->by_number || !nodes->by_name || !nodes->by_id) {
		free_orders(nodes);
		return false;
	}
	nodes->by_number[0].number = NODES_CURRENT;
	for (unsigned i = 0; i < count; i++) {
		const struct snap_node *node = &nodes->tree.node[i];
		const struct numbered *known = old ? find_id(old, &node->id) : NULL;
		struct numbered item = {
		    .number = known ? known->number : nodes->next_number++,
		    .node = node,
		};

		nodes->by_number[i + 1] = nodes->by_name[i] = nodes->by_id[i] = item;
	}
	qsort(nodes->by_number, count + 1, sizeof(*nodes->by_number), compare_numbers);
	qsort(nodes->by_name, count, sizeof(*nodes->by_name), compare_names);
	qsort(nodes->by_id, count, sizeof(*nodes->by_id), compare_ids);
	return true;
}

bool nodes_init(struct nodes *nodes)
{
	*nodes = (struct nodes){.next_number = NODES_CURRENT + 1};
	return sort_out(nodes, NULL);
}

void nodes_free(struct nodes *nodes)
{
	free_orders(nodes);
	snap_tree_free(&nodes->tree);
}

bool nodes_replace(struct nodes *nodes, struct snap_tree *tree)
{
	struct nodes fresh = {.tree = *tree, .next_number = nodes->next_number};

	if (!sort_out(&fresh, nodes))
		return false;
	nodes_free(nodes);
	*nodes = fresh;
	*tree = (struct snap_tree){0};
	return true;
}

/* ---- looking up ---- */

const struct numbered *nodes_get(const struct nodes *nodes, uint64_t number)
{
	const struct numbered key = {.number = number};

	return bsearch(&key, nodes->by_number, nodes->count, sizeof(key), compare_numbers);
}

const struct numbered *nodes_after(const struct nodes *nodes, uint64_t number)
{
	unsigned low = 0, high = nodes->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (nodes->by_number[middle].number <= number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < nodes->count ? &nodes->by_number[low] : NULL;
}

const struct numbered *nodes_find(const struct nodes *nodes, const char *text)
{
	struct snap_node wanted = {.name = (char *)text};
	const struct numbered key = {.node = &wanted};
	const struct numbered *found;

	if (!strcmp(text, NODES_CURRENT_NAME))
		return &nodes->by_number[0];
	found = bsearch(&key, nodes->by_name, nodes->count - 1, sizeof(key), compare_names);
	if (!found && guid_parse(text, &wanted.id))
		found = find_id(nodes, &wanted.id);
	return found;
}

const char *nodes_name(const struct numbered *item)
{
	return item->node ? item->node->name : NODES_CURRENT_NAME;
}

unsigned nodes_disk_count(const struct nodes *nodes, const struct numbered *item)
{
	return item->node ? item->node->disk_count : nodes->tree.disk_count;
}

bool nodes_has_disk(const struct nodes *nodes, const struct numbered *item, unsigned slot)
{
	const struct snap_disk *disk = item->node ? item->node->disk : nodes->tree.current;

	return slot < nodes_disk_count(nodes, item) && disk[slot].path;
}
