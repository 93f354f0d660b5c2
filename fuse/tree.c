/* SPDX-License-Identifier: MIT */
#include "fuse/tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct node *add(struct tree *tree, enum node_kind kind, uint64_t parent, const char *name)
{
	struct node *node = &tree->node[tree->count++];

	node->kind = kind;
	node->parent = parent;
	snprintf(node->name, sizeof(node->name), "%s", name);
	return node;
}

static void add_text(struct tree *tree, const char *name, const char *text)
{
	struct node *node = add(tree, NODE_TEXT, TREE_ROOT, name);

	node->text = text;
	node->size_bytes = strlen(text);
}

static void add_range(struct tree *tree, const char *name, struct byte_disk *disk,
		      uint64_t start_bytes, uint64_t size_bytes)
{
	struct node *node = add(tree, NODE_RANGE, TREE_ROOT, name);

	node->disk = disk;
	node->start_bytes = start_bytes;
	node->size_bytes = size_bytes;
}

enum err tree_build(struct tree *tree, const char *info, struct byte_disk *disk,
		    uint64_t size_bytes, const struct guestfs_table *table, struct err_why *why)
{
	const size_t fixed = 3; /* root, info.json, disk.img */

	tree->count = 0;
	tree->node = calloc(fixed + table->count, sizeof(*tree->node));
	if (!tree->node)
		return err_set(why, ERR_NOMEM, "no memory for %u partitions", table->count);
	add(tree, NODE_DIR, 0, "");
	add_text(tree, "info.json", info);
	add_range(tree, "disk.img", disk, 0, size_bytes);
	for (unsigned i = 0; i < table->count; i++) {
		const struct guestfs_partition *part = &table->partition[i];
		char name[TREE_NAME_BYTES];

		snprintf(name, sizeof(name), "p%u.img", part->number);
		add_range(tree, name, disk, part->start_bytes, part->len_bytes);
	}
	return ERR_OK;
}

void tree_free(struct tree *tree)
{
	free(tree->node);
	tree->node = NULL;
	tree->count = 0;
}

const struct node *tree_node(const struct tree *tree, uint64_t number)
{
	return number && number <= tree->count ? &tree->node[number - 1] : NULL;
}

uint64_t tree_next_child(const struct tree *tree, uint64_t parent, uint64_t after)
{
	for (size_t i = after; i < tree->count; i++) {
		if (tree->node[i].parent == parent)
			return i + 1;
	}
	return 0;
}

uint64_t tree_lookup(const struct tree *tree, uint64_t parent, const char *name)
{
	uint64_t number = 0;

	while ((number = tree_next_child(tree, parent, number))) {
		if (!strcmp(tree->node[number - 1].name, name))
			break;
	}
	return number;
}
