/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "vhd/vhd.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct compact_args {
	struct common common;
	struct image_args image;
	unsigned mode; /* 1 full, 2 quick, 3 prezeroed */
	bool estimate;
};

static const struct opt compact_opts[] = {
    {"mode", 'm', OPT_CHOICE, "full|quick|prezeroed", offsetof(struct compact_args, mode),
     "what to drop; full by default"},
    {"estimate", 'e', OPT_FLAG, NULL, offsetof(struct compact_args, estimate),
     "only say what would be gained, as --dry-run does"},
    IMAGE_PARENT(struct compact_args),
    IMAGE_SEARCH(struct compact_args),
    {0},
};

static void show_json(const char *path, const struct vhd_compact_result *result, bool estimate)
{
	json_emit(json_pack(
	    "{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o}", "path", json_text(path),
	    "estimate", estimate, "blocks_before", json_size(result->blocks_before), "blocks_after",
	    json_size(result->blocks_after), "blocks_zero", json_size(result->blocks_zero),
	    "blocks_free", json_size(result->blocks_free), "blocks_moved",
	    json_size(result->blocks_moved), "file_before", json_size(result->file_before),
	    "file_after", json_size(result->file_after), "filesystems", (int)result->filesystems,
	    "note", json_text(result->note[0] ? result->note : NULL)));
}

static void show_text(const char *path, const struct vhd_compact_result *result, bool estimate)
{
	printf("%s\n", out_name(path));
	out_row(estimate ? "would drop" : "dropped",
		"%" PRIu64 " blocks (%" PRIu64 " zero, %" PRIu64 " free) of %" PRIu64,
		result->blocks_before - result->blocks_after, result->blocks_zero,
		result->blocks_free, result->blocks_before);
	out_row(estimate ? "would move" : "moved", "%" PRIu64 " blocks", result->blocks_moved);
	out_row(estimate ? "size would be" : "file size", "%s, was %s",
		out_size(result->file_after), out_size(result->file_before));
	out_row("file systems", "%u asked", result->filesystems);
}

static int run(void *arg)
{
	static const enum vhd_compact_mode modes[] = {COMPACT_FULL, COMPACT_FULL, COMPACT_QUICK,
						      COMPACT_PREZEROED};
	struct compact_args *args = arg;
	const char *path = args->common.arg[0];
	struct vhd_open_opts open_opts = image_open_opts(&args->image);
	bool estimate = args->estimate || args->common.dry_run;
	struct vhd_compact_result result = {0};
	struct cli_progress progress;
	struct vhd_compact_opts opts;
	struct err_why why = {0};
	enum err err;

	open_opts.writable = !estimate;
	opts = (struct vhd_compact_opts){
	    .mode = modes[args->mode],
	    .dry_run = estimate,
	    .progress = progress_begin(&progress, args->common.progress, "compact"),
	};
	err = vhd_compact(path, &open_opts, &opts, &result, &why);
	progress_end(&progress);
	if (err)
		return out_fail(path, &why);
	if (args->common.json)
		show_json(path, &result, estimate);
	else
		show_text(path, &result, estimate);
	if (result.note[0])
		out_note(path, "%s", result.note);
	return 0;
}

const struct verb verb_compact = {
    .name = "compact",
    .summary = "give unused space back, in place",
    .usage = "FILE",
    .details = "Drop blocks that are not needed, move the last blocks into the holes and cut the\n"
	       "file, in place. 'prezeroed' drops blocks that read as zero; 'full' also asks the\n"
	       "clean file systems inside (ext2, ext3, ext4, NTFS, FAT) which clusters are free;\n"
	       "'quick' uses only what the file systems say and reads no data. In a differencing\n"
	       "disk a block is dropped only when its ancestors read as zero there. May be\n"
	       "interrupted at any time and asked for again.",
    .opts = compact_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct compact_args),
    .run = run,
};
