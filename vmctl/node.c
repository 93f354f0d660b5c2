/* SPDX-License-Identifier: MIT */
#include "vmctl/node.h"

#include <stdio.h>

#include "cli/out.h"
#include "vmctl/config.h"

const char *node_short_id(const struct guid *id, char out[SHORT_ID_BYTES])
{
	char text[GUID_TEXT_BYTES];

	snprintf(out, SHORT_ID_BYTES, "%.*s", SHORT_ID_BYTES - 1, guid_text(id, text));
	return out;
}

json_t *id_json(const struct guid *id)
{
	char text[GUID_TEXT_BYTES];

	return id && !guid_is_zero(id) ? json_string(guid_text(id, text)) : json_null();
}

json_t *disks_json(const struct snap_disk *disk, unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++) {
		if (!disk[i].path)
			continue;
		json_array_append_new(
		    list, json_pack("{s:i, s:o, s:o, s:o, s:i}", "number", (int)i, "path",
				    json_text(disk[i].path), "virtual_size",
				    json_size(disk[i].virtual_size), "unique_bytes",
				    json_size(disk[i].unique_bytes), "depth", (int)disk[i].depth));
	}
	return list;
}

json_t *node_json(const struct snap_tree *tree, unsigned idx)
{
	const struct snap_node *node = &tree->node[idx];
	json_t *root =
	    json_pack("{s:o, s:o, s:o, s:o, s:s, s:i, s:b, s:b, s:o}", "id", id_json(&node->id),
		      "name", json_text(node->name), "note", json_text(node->note), "parent",
		      id_json(&node->parent), "time", out_time(node->time), "depth",
		      (int)node->depth, "is_current", tree->current_idx == (int)idx, "has_memory",
		      node->has_memory, "unique_bytes", json_size(node->unique_bytes));

	json_object_set_new(root, "disks", disks_json(node->disk, node->disk_count));
	config_add_json(root, &node->config);
	return root;
}

json_t *nodes_json(const struct snap_tree *tree)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < tree->count; i++)
		json_array_append_new(list, node_json(tree, i));
	return list;
}

int node_emit(const struct vm *vm, const struct guid *id)
{
	const struct snap_node *node;
	struct snap_tree tree;
	int rc = vm_tree(vm, SNAP_TREE_SIZES, &tree);

	if (rc)
		return rc;
	node = vm_node(&tree, id);
	if (node)
		json_emit(node_json(&tree, (unsigned)(node - tree.node)));
	snap_tree_free(&tree);
	return 0;
}

json_t *debt_json(const struct snap_debt *debt)
{
	return json_pack("{s:i, s:i, s:o, s:i}", "layers", (int)debt->layers, "shared",
			 (int)debt->shared, "bytes", json_size(debt->bytes), "garbage",
			 (int)debt->garbage);
}

const struct guid *current_id(const struct snap_tree *tree)
{
	return tree->current_idx < 0 ? NULL : &tree->node[tree->current_idx].id;
}

bool debt_is_foldable(const struct snap_debt *debt)
{
	return debt->layers > debt->shared;
}

void debt_print(const struct snap_debt *debt)
{
	char shared[48] = "";

	if (debt->shared)
		snprintf(shared, sizeof(shared), ", %u of them shared", debt->shared);
	if (debt->layers)
		out_row("waiting to fold", "%u %s, %s%s", debt->layers,
			debt->layers == 1 ? "layer" : "layers", out_size(debt->bytes), shared);
	else
		out_row("waiting to fold", "nothing");
	if (debt->garbage)
		out_row("still read", "%u deleted %s", debt->garbage,
			debt->garbage == 1 ? "file" : "files");
}
