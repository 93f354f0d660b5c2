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

enum err info_text(const char *path, const struct vhd_open_opts *opts,
		   const struct guestfs_table *table, char **text, struct err_why *why)
{
	struct vhd_info info;
	enum err err = vhd_inspect(path, opts, &info, why);
	json_t *root;
	char *dump;
	int rc;

	if (err)
		return err;
	root = info_json(&info, table);
	vhd_info_free(&info);
	dump = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	rc = dump ? asprintf(text, "%s\n", dump) : -1;
	free(dump);
	return rc < 0 ? err_set(why, ERR_NOMEM, "no memory for info.json") : ERR_OK;
}
