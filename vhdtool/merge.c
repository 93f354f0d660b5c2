/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "vhd/vhd.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct merge_args {
	struct common common;
	struct image_args image;
	const char *into;
};

static const struct opt merge_opts[] = {
    {"into", 'i', OPT_TEXT, "FILE", offsetof(struct merge_args, into),
     "ancestor that takes the content; the parent by default"},
    IMAGE_PARENT(struct merge_args),
    IMAGE_SEARCH(struct merge_args),
    {0},
};

static void show(const struct merge_args *args, const struct vhd_merge_result *result)
{
	const char *child = args->common.arg[0];
	bool dry_run = args->common.dry_run;

	if (args->common.json)
		json_emit(json_pack("{s:o, s:o, s:o, s:i, s:b}", "child", json_text(child), "into",
				    json_text(result->into), "copied_bytes",
				    json_size(result->copied_bytes), "files_removed",
				    (int)result->files_removed, "dry_run", dry_run));
	else
		printf("%s %s into %s: %s copied, %u files removed\n",
		       dry_run ? "would merge" : "merged", out_name(child), out_name(result->into),
		       out_size(result->copied_bytes), result->files_removed);
}

static int run(void *arg)
{
	struct merge_args *args = arg;
	const char *child = args->common.arg[0];
	struct vhd_open_opts open_opts = image_open_opts(&args->image);
	struct vhd_merge_opts opts = {.into = args->into, .dry_run = args->common.dry_run};
	struct vhd_merge_result result = {0};
	struct cli_progress progress;
	struct err_why why = {0};
	enum err err;

	open_opts.writable = !opts.dry_run;
	opts.progress = progress_begin(&progress, args->common.progress, "merge");
	err = vhd_merge(child, &open_opts, &opts, &result, &why);
	progress_end(&progress);
	if (err)
		return out_fail(child, &why);
	show(args, &result);
	free(result.into);
	return 0;
}

const struct verb verb_merge = {
    .name = "merge",
    .summary = "fold a child into its parent or another ancestor",
    .usage = "CHILD",
    .details =
	"Write what CHILD and the disks between it and the ancestor hold into that ancestor,\n"
	"in one pass, and remove the folded files. Refused when another child of one of them\n"
	"is known and would break. The ancestor takes CHILD's identifier: children of CHILD\n"
	"need 'vhdtool relink' only. An interrupted run is finished by asking for it again;\n"
	"until then CHILD reads as before.",
    .opts = merge_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct merge_args),
    .run = run,
};
