/* SPDX-License-Identifier: MIT */
#include "fuse/info.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "util/text.h"

/* Names come from the image: what is not valid UTF-8 is escaped. NULL gives null. */
static json_t *text_json(const char *text)
{
	char escaped[4096];
	json_t *value;

	if (!text)
		return json_null();
	value = json_string(text);
	return value ? value : json_string(text_escape(text, escaped, sizeof(escaped)));
}

static json_t *size_json(uint64_t size)
{
	return json_integer((json_int_t)size);
}

static json_t *time_json(int64_t seconds)
{
	time_t when = (time_t)seconds;
	char text[48];
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

static json_t *parent_json(const struct vhd_info *info)
{
	char uuid[GUID_TEXT_BYTES];

	if (info->type != VHD_DIFFERENCING)
		return json_null();
	return json_pack("{s:s, s:o, s:o}", "uuid", guid_text(&info->parent_uuid, uuid), "name",
			 text_json(info->parent_name), "path", text_json(info->parent_path));
}

static json_t *partitions_json(const struct guestfs_table *table)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < table->count; i++) {
		const struct guestfs_partition *part = &table->partition[i];
		char file[32];

		snprintf(file, sizeof(file), "p%u.img", part->number);
		json_array_append_new(
		    list,
		    json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "number",
			      (int)part->number, "file", file, "start",
			      size_json(part->start_bytes), "length", size_json(part->len_bytes),
			      "type", text_json(part->type), "name", text_json(part->name),
			      "filesystem", text_json(part->fs), "label", text_json(part->fs_label),
			      "filesystem_uuid", text_json(part->fs_uuid)));
	}
	return list;
}

static json_t *info_json(const struct vhd_info *info, const struct guestfs_table *table)
{
	char uuid[GUID_TEXT_BYTES], version[32];

	snprintf(version, sizeof(version), "%u.%u", info->creator_major, info->creator_minor);
	return json_pack(
	    "{s:o, s:s, s:o, s:o, s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "path",
	    text_json(info->path), "type", vhd_type_name(info->type), "virtual_size",
	    size_json(info->virtual_size), "file_size", size_json(info->file_size), "block_size",
	    size_json(info->block_size), "uuid", guid_text(&info->uuid, uuid), "creator_app",
	    text_json(info->creator_app), "creator_version", version, "timestamp",
	    time_json(info->timestamp), "allocated_blocks", size_json(info->allocated_blocks),
	    "total_blocks", size_json(info->total_blocks), "parent", parent_json(info),
	    "partitions", partitions_json(table));
}

/* Lets go of `root`, which may be NULL. */
static enum err dump(json_t *root, char **text, struct err_why *why)
{
	char *lines = json_dumps(root, JSON_INDENT(2));
	int rc = lines ? asprintf(text, "%s\n", lines) : -1;

	json_decref(root);
	free(lines);
	return rc < 0 ? err_set(why, ERR_NOMEM, "no memory for info.json") : ERR_OK;
}

enum err info_text(const char *path, const struct vhd_open_opts *opts,
		   const struct guestfs_table *table, char **text, struct err_why *why)
{
	struct vhd_info info;
	enum err err = vhd_inspect(path, opts, &info, why);
	json_t *root;

	if (err)
		return err;
	root = info_json(&info, table);
	vhd_info_free(&info);
	return dump(root, text, why);
}

/* ---- of a VM ---- */

static json_t *node_json(const struct snap_node *node)
{
	char id[GUID_TEXT_BYTES];

	if (!node)
		return json_null();
	return json_pack("{s:o, s:s}", "name", text_json(node->name), "id",
			 guid_text(&node->id, id));
}

static json_t *disks_json(const struct snap_disk *disk, unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list,
				      json_pack("{s:o, s:o, s:i}", "path", text_json(disk[i].path),
						"virtual_size", size_json(disk[i].virtual_size),
						"depth", (int)disk[i].depth));
	return list;
}

static json_t *current_facts(const char *vm, const struct snap_tree *tree)
{
	const struct snap_node *parent =
	    tree->current_idx < 0 ? NULL : &tree->node[tree->current_idx];

	return json_pack("{s:o, s:s, s:n, s:o, s:n, s:n, s:o}", "vm", text_json(vm), "name",
			 "current", "id", "parent", node_json(parent), "time", "note", "disks",
			 disks_json(tree->current, tree->disk_count));
}

json_t *info_facts(const char *vm, const struct snap_tree *tree, const struct snap_node *node)
{
	const struct snap_node *parent;
	char id[GUID_TEXT_BYTES];

	if (!node)
		return current_facts(vm, tree);
	parent = node->parent_idx < 0 ? NULL : &tree->node[node->parent_idx];
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "vm", text_json(vm), "name",
			 text_json(node->name), "id", guid_text(&node->id, id), "parent",
			 node_json(parent), "time", time_json(node->time), "note",
			 text_json(node->note), "disks", disks_json(node->disk, node->disk_count));
}

enum err info_facts_text(const json_t *facts, unsigned disk_idx, const struct guestfs_table *table,
			 char **text, struct err_why *why)
{
	json_t *root = json_copy((json_t *)facts);
	json_t *disks = json_object_get(facts, "disks");

	json_object_del(root, "disks");
	json_object_set_new(root, "disk", json_integer(disk_idx));
	json_object_update(root, json_array_get(disks, disk_idx));
	json_object_set_new(root, "partitions", partitions_json(table));
	return dump(root, text, why);
}
