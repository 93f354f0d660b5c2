/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/queue.h"
#include "cli/out.h"
#include "vhd/guestfs.h"
#include "vhd/vhd.h"
#include "vhdtool/image.h"
#include "vhdtool/info.h"
#include "vhdtool/verbs.h"

struct inspect_args {
	struct common common;
	struct image_args image;
	bool chain;
};

static const struct opt inspect_opts[] = {
    {"chain", 'c', OPT_FLAG, NULL, offsetof(struct inspect_args, chain),
     "show the disk's ancestors too; all must be there"},
    IMAGE_PARENT(struct inspect_args),
    IMAGE_SEARCH(struct inspect_args),
    {0},
};

/* What lies inside the disk, or why that could not be read. */
struct content {
	struct guestfs_table *table; /* NULL: not read, for `err` */
	enum err err;
	struct err_why why;
};

static void probe(const char *path, struct vhd_open_opts opts, struct content *out)
{
	struct disk *disk = NULL;
	struct queue *queue = NULL;

	opts.no_lock = true; /* a disk in use can be inspected */
	out->table = malloc(sizeof(*out->table));
	if (!out->table) {
		out->err = err_set(&out->why, ERR_NOMEM, "no memory for a partition table");
		return;
	}
	out->err = queue_create(16, &queue, &out->why);
	if (!out->err)
		out->err = vhd_open(path, &opts, &disk, &out->why);
	if (!out->err)
		out->err = guestfs_probe(disk, queue, out->table, &out->why);
	disk_close(disk, NULL); /* read-only */
	queue_destroy(queue);
	if (out->err) {
		free(out->table);
		out->table = NULL;
	}
}

static json_t *partition_json(const struct guestfs_partition *partition)
{
	return json_pack(
	    "{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "number", (int)partition->number, "start",
	    json_size(partition->start_bytes), "length", json_size(partition->len_bytes), "type",
	    json_text(partition->type), "name", json_text(partition->name), "filesystem",
	    json_text(partition->fs), "label", json_text(partition->fs_label), "filesystem_uuid",
	    json_text(partition->fs_uuid));
}

static json_t *content_json(const struct content *content)
{
	const struct guestfs_table *table = content->table;
	json_t *list;

	if (!table)
		return json_null();
	list = json_array();
	for (unsigned i = 0; i < table->count; i++)
		json_array_append_new(list, partition_json(&table->partition[i]));
	return json_pack("{s:o, s:o, s:o}", "scheme", json_text(table->scheme), "partitions", list,
			 "whole_disk",
			 table->whole.fs[0] ? partition_json(&table->whole) : json_null());
}

static void print_filesystem(const char *label, const struct guestfs_partition *partition)
{
	out_row(label, "%s at %" PRIu64 ", type %s, %s %s%s", out_size(partition->len_bytes),
		partition->start_bytes, partition->type[0] ? out_name(partition->type) : "-",
		partition->fs[0] ? out_name(partition->fs) : "no known file system",
		partition->fs_label[0] ? "label " : "",
		partition->fs_label[0] ? out_name(partition->fs_label) : "");
}

static void print_content(const struct content *content)
{
	const struct guestfs_table *table = content->table;
	char label[32];

	if (!table) {
		out_row("content", "not readable: %s", content->why.text);
		return;
	}
	out_row("partition table", "%s", table->scheme[0] ? out_name(table->scheme) : "none");
	if (table->whole.fs[0])
		out_row("whole disk", "%s %s", out_name(table->whole.fs),
			out_name(table->whole.fs_label));
	for (unsigned i = 0; i < table->count; i++) {
		snprintf(label, sizeof(label), "partition %u", table->partition[i].number);
		print_filesystem(label, &table->partition[i]);
	}
}

static json_t *chain_json(const struct vhd_info *info, unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, info_json(&info[i]));
	return list;
}

static void show_json(const struct vhd_info *info, unsigned count, bool chain,
		      const struct content *content)
{
	json_t *root = info_json(&info[0]);

	if (chain)
		json_object_set_new(root, "chain", chain_json(info, count));
	json_object_set_new(root, "content", content_json(content));
	json_object_set_new(root, "content_error",
			    json_text(content->err ? content->why.text : NULL));
	json_emit(root);
}

static void show_text(const struct vhd_info *info, unsigned count, const struct content *content)
{
	info_print(&info[0]);
	print_content(content);
	for (unsigned i = 1; i < count; i++) {
		putchar('\n');
		info_print(&info[i]);
	}
}

static int run(void *arg)
{
	struct inspect_args *args = arg;
	const char *path = args->common.arg[0];
	struct vhd_open_opts opts = image_open_opts(&args->image);
	struct content content = {0};
	struct vhd_info one, *info = &one;
	struct err_why why = {0};
	unsigned count = 1;
	int rc = 0;

	if (args->chain ? vhd_inspect_chain(path, &opts, &info, &count, &why)
			: vhd_inspect(path, &opts, &one, &why))
		return out_fail(path, &why);
	probe(path, opts, &content);
	if (args->common.json)
		show_json(info, count, args->chain, &content);
	else
		show_text(info, count, &content);
	/* The file's own headers are told in full without its parent; anything else is an error. */
	if (content.err == ERR_PARENT)
		out_note(path, "its content was not read: %s", content.why.text);
	else if (content.err)
		rc = out_fail(path, &content.why);

	for (unsigned i = 0; i < count; i++)
		vhd_info_free(&info[i]);
	if (args->chain)
		free(info);
	free(content.table);
	return rc;
}

const struct verb verb_inspect = {
    .name = "inspect",
    .alias = "info",
    .summary = "show everything the headers say, and what is inside",
    .usage = "FILE",
    .details =
	"Show what the footer and the headers of FILE say, how much of it is allocated and\n"
	"how fragmented it is, and the partitions and file systems inside. Works on a disk in\n"
	"use. When the parent of a differencing disk is missing, the file's own headers are\n"
	"shown all the same; with --chain that is an error.",
    .opts = inspect_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct inspect_args),
    .run = run,
};
