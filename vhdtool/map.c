/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include "cli/out.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct map_args {
	struct common common;
	struct image_args image;
	bool raw;
};

static const struct opt map_opts[] = {
    {"raw", 0, OPT_FLAG, NULL, offsetof(struct map_args, raw), "FILE is a raw image, not a VHD"},
    IMAGE_PARENT(struct map_args),
    IMAGE_SEARCH(struct map_args),
    IMAGE_NO_LOCK(struct map_args),
    {0},
};

/* True when `next` goes on where `run` ends, on the disk and in the file. */
static bool continues(const struct disk_extent *run, const struct disk_extent *next)
{
	if (run->state != next->state)
		return false;
	return run->state == EXTENT_ZERO ||
	       (run->depth == next->depth && run->path == next->path &&
		run->file_off_bytes + run->len_bytes == next->file_off_bytes);
}

static void print_json(const struct disk_extent *run, bool first)
{
	bool data = run->state == EXTENT_DATA;
	json_t *row = json_pack(
	    "{s:o, s:o, s:s, s:o, s:o, s:o}", "start", json_size(run->start_bytes), "length",
	    json_size(run->len_bytes), "state", data ? "data" : "zero", "depth",
	    data ? json_size(run->depth) : json_null(), "path", json_text(data ? run->path : NULL),
	    "offset", data ? json_size(run->file_off_bytes) : json_null());

	fputs(first ? "\n  " : ",\n  ", stdout);
	json_dumpf(row, stdout, 0);
	json_decref(row);
}

static void print_text(const struct disk_extent *run, bool first)
{
	if (first)
		printf("%16s %16s  %-5s %5s %16s  %s\n", "start", "length", "state", "depth",
		       "offset", "path");
	printf("%16" PRIu64 " %16" PRIu64 "  ", run->start_bytes, run->len_bytes);
	if (run->state == EXTENT_DATA)
		printf("%-5s %5u %16" PRIu64 "  %s\n", "data", run->depth, run->file_off_bytes,
		       out_name(run->path));
	else
		printf("%-5s %5s %16s  %s\n", "zero", "-", "-", "-");
}

/* One row for each maximal run; the disk is walked once and nothing is collected. */
static enum err walk(struct disk *disk, void (*print)(const struct disk_extent *, bool first),
		     struct err_why *why)
{
	uint64_t size = image_size(disk), off = 0;
	struct disk_extent run = {0}, next;
	bool first = true;
	enum err err;

	while (off < size && !ferror(stdout)) {
		err = disk_map(disk, off, size - off, &next, why);
		if (err)
			return err;
		off += next.len_bytes;
		if (run.len_bytes && continues(&run, &next)) {
			run.len_bytes += next.len_bytes;
			continue;
		}
		if (run.len_bytes) {
			print(&run, first);
			first = false;
		}
		run = next;
	}
	if (run.len_bytes)
		print(&run, first);
	return ERR_OK;
}

static int run(void *arg)
{
	struct map_args *args = arg;
	const char *path = args->common.arg[0];
	struct vhd_open_opts opts = image_open_opts(&args->image);
	struct err_why why = {0};
	struct disk *disk;
	enum err err;

	if (image_open(path, args->raw ? IMAGE_RAW : IMAGE_VHD, &opts, &disk, &why))
		return out_fail(path, &why);
	if (args->common.json)
		putchar('[');
	err = walk(disk, args->common.json ? print_json : print_text, &why);
	if (args->common.json)
		fputs("\n]\n", stdout);
	disk_close(disk, NULL);
	return err ? out_fail(path, &why) : 0;
}

const struct verb verb_map = {
    .name = "map",
    .summary = "list the extents of a disk and the file that holds each",
    .usage = "FILE",
    .details =
	"List every extent of the disk: where it starts, its length, whether it holds data or\n"
	"reads as zero without being stored, and for data the layer that owns it (depth 0 is\n"
	"FILE, 1 its parent, ...), that layer's path and the offset in it.",
    .opts = map_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct map_args),
    .run = run,
};
