/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "cli/out.h"
#include "vhd/vhd.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct relink_args {
	struct common common;
	struct image_args image;
	bool ignore_id_mismatch;
};

static const struct opt relink_opts[] = {
    {"parent", 'p', OPT_TEXT, "FILE", offsetof(struct relink_args, image.parent),
     "the parent; by default it is looked for by its UUID"},
    {"ignore-id-mismatch", 0, OPT_FLAG, NULL, offsetof(struct relink_args, ignore_id_mismatch),
     "take a parent of another UUID; wrong data if it is another disk"},
    IMAGE_SEARCH(struct relink_args),
    {0},
};

static int run(void *arg)
{
	struct relink_args *args = arg;
	const char *child = args->common.arg[0];
	struct vhd_open_opts open_opts = image_open_opts(&args->image);
	struct vhd_relink_opts opts = {.parent = args->image.parent,
				       .ignore_id_mismatch = args->ignore_id_mismatch,
				       .dry_run = args->common.dry_run};
	struct err_why why = {0};
	char *parent = NULL;

	if (args->ignore_id_mismatch && !args->image.parent)
		return out_usage("relink", "--ignore-id-mismatch needs --parent");
	open_opts.writable = !opts.dry_run;
	if (vhd_relink(child, &open_opts, &opts, &parent, &why))
		return out_fail(child, &why);
	if (args->common.json)
		json_emit(json_pack("{s:o, s:o, s:b}", "child", json_text(child), "parent",
				    json_text(parent), "dry_run", opts.dry_run));
	else
		printf("%s: parent %s %s\n", out_name(child), opts.dry_run ? "would be" : "is now",
		       out_name(parent));
	free(parent);
	return 0;
}

const struct verb verb_relink = {
    .name = "relink",
    .alias = "rebase",
    .summary = "tell a child where its parent is now",
    .usage = "CHILD",
    .details =
	"Rewrite the parent name and the locators of CHILD. Without --parent the parent is\n"
	"looked for by its UUID in CHILD's folder and in those named with --search. No data\n"
	"is copied: a parent with another UUID is refused.",
    .opts = relink_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct relink_args),
    .run = run,
};
