/* SPDX-License-Identifier: MIT */
#include "vhdtool/info.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/out.h"

static const char *version_text(const struct vhd_info *info, char out[32])
{
	snprintf(out, 32, "%u.%u", info->creator_major, info->creator_minor);
	return out;
}

static json_t *parent_json(const struct vhd_info *info)
{
	char guid[GUID_TEXT_BYTES];

	if (info->type != VHD_DIFFERENCING)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:s, s:o}", "uuid", guid_text(&info->parent_uuid, guid),
			 "name", json_text(info->parent_name), "path", json_text(info->parent_path),
			 "timestamp", out_time(info->parent_timestamp), "error",
			 json_text(info->parent_path ? NULL : info->parent_why.text));
}

static json_t *locators_json(const struct vhd_info *info)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &info->locator[i];

		if (!locator->code[0])
			continue;
		json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:o, s:o, s:o}", "slot",
						      (int)i, "code", json_text(locator->code),
						      "offset", json_size(locator->off_bytes),
						      "space", json_size(locator->space), "length",
						      json_size(locator->len_bytes), "path",
						      json_text(locator->path)));
	}
	return list;
}

static void add_dynamic_json(json_t *root, const struct vhd_info *info)
{
	bool dynamic = info->type != VHD_FIXED;

	json_object_set_new(root, "block_size", json_size(info->block_size));
	json_object_set_new(root, "total_blocks", json_size(info->total_blocks));
	json_object_set_new(root, "allocated_blocks", json_size(info->allocated_blocks));
	json_object_set_new(root, "partial_blocks", json_size(info->partial_blocks));
	json_object_set_new(root, "fragments", json_size(info->fragments));
	json_object_set_new(root, "bat_offset", dynamic ? json_size(info->bat_off) : json_null());
	json_object_set_new(root, "data_aligned", json_boolean(info->data_aligned));
	json_object_set_new(root, "has_batmap", json_boolean(info->has_batmap));
}

json_t *info_json(const struct vhd_info *info)
{
	char guid[GUID_TEXT_BYTES], version[32];
	json_t *root = json_pack(
	    "{s:o, s:s, s:o, s:o, s:o, s:o, s:s, s:o, s:s, s:o, s:s, s:I}", "path",
	    json_text(info->path), "type", vhd_type_name(info->type), "virtual_size",
	    json_size(info->virtual_size), "original_size", json_size(info->original_size),
	    "file_size", json_size(info->file_size), "disk_usage", json_size(info->disk_usage),
	    "uuid", guid_text(&info->uuid, guid), "creator_app", json_text(info->creator_app),
	    "creator_version", version_text(info, version), "creator_host",
	    json_text(info->creator_host), "timestamp", out_time(info->timestamp), "timestamp_unix",
	    (json_int_t)info->timestamp);

	json_object_set_new(root, "geometry",
			    json_pack("{s:i, s:i, s:i}", "cylinders", (int)info->cylinders, "heads",
				      (int)info->heads, "sectors", (int)info->sectors));
	json_object_set_new(root, "features", json_size(info->features));
	json_object_set_new(root, "saved_state", json_boolean(info->saved_state));
	json_object_set_new(root, "trailing_footer_ok", json_boolean(info->trailing_footer_ok));
	add_dynamic_json(root, info);
	json_object_set_new(root, "parent", parent_json(info));
	json_object_set_new(root, "locators", locators_json(info));
	return root;
}

static void print_dynamic(const struct vhd_info *info)
{
	double percent = info->total_blocks
			     ? 100.0 * (double)info->allocated_blocks / (double)info->total_blocks
			     : 0;

	out_row("block size", "%s", out_size(info->block_size));
	out_row("blocks", "%" PRIu64 " of %" PRIu64 " allocated (%.1f %%), %" PRIu64 " partly",
		info->allocated_blocks, info->total_blocks, percent, info->partial_blocks);
	out_row("fragments", "%" PRIu64, info->fragments);
	out_row("data on 4 KiB", "%s", info->data_aligned ? "yes" : "no");
	out_row("BAT at", "0x%" PRIx64 "%s", info->bat_off,
		info->has_batmap ? ", followed by a batmap" : "");
}

static void print_parent(const struct vhd_info *info)
{
	char guid[GUID_TEXT_BYTES], label[32];

	out_row("parent", "%s", out_name(info->parent_path));
	if (!info->parent_path)
		out_row("parent problem", "%s", info->parent_why.text);
	out_row("parent uuid", "%s", guid_text(&info->parent_uuid, guid));
	out_row("parent name", "%s", out_name(info->parent_name));
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		if (!info->locator[i].code[0])
			continue;
		snprintf(label, sizeof(label), "locator %u %s", i, out_name(info->locator[i].code));
		out_row(label, "%s", out_name(info->locator[i].path));
	}
}

void info_print(const struct vhd_info *info)
{
	char guid[GUID_TEXT_BYTES], version[32];

	printf("%s\n", out_name(info->path));
	out_row("type", "%s", vhd_type_name(info->type));
	out_row("virtual size", "%s", out_size_exact(info->virtual_size));
	if (info->original_size != info->virtual_size)
		out_row("original size", "%s", out_size_exact(info->original_size));
	out_row("file size", "%s, %s on disk", out_size_exact(info->file_size),
		out_size(info->disk_usage));
	out_row("uuid", "%s", guid_text(&info->uuid, guid));
	out_row("created by", "'%s' %s on '%s', %s", out_name(info->creator_app),
		version_text(info, version), out_name(info->creator_host),
		out_time(info->timestamp));
	out_row("geometry", "%u/%u/%u", info->cylinders, info->heads, info->sectors);
	if (info->saved_state)
		out_row("saved state", "yes");
	if (!info->trailing_footer_ok)
		out_row("trailing footer", "damaged; the copy at offset 0 was used");
	if (info->type != VHD_FIXED)
		print_dynamic(info);
	if (info->type == VHD_DIFFERENCING)
		print_parent(info);
}
