/* SPDX-License-Identifier: MIT */
/* expand, shrink and resize: one operation, and which directions are meant. */
#include <stdio.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "util/bytes.h"
#include "vhd/vhd.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct resize_args {
	struct common common;
	struct image_args image;
	struct opt_size size;
};

static const struct opt resize_opts[] = {
    {"size", 's', OPT_RESIZE, "SIZE", offsetof(struct resize_args, size),
     "the new size; +SIZE adds to what is there"},
    IMAGE_PARENT(struct resize_args),
    IMAGE_SEARCH(struct resize_args),
    {0},
};

/* The size asked for, given the present one. */
static enum err target_size(const struct resize_args *args, uint64_t present, uint64_t *out,
			    struct err_why *why)
{
	*out = args->size.bytes;
	if (args->size.relative && !checked_add(present, args->size.bytes, out))
		return err_set(why, ERR_USAGE, "--size: the sum is too large");
	if (!*out || *out % DISK_SECTOR)
		return err_set(why, ERR_USAGE, "--size must be a multiple of 512 bytes and not 0");
	return ERR_OK;
}

static void show(const struct resize_args *args, uint64_t before, uint64_t after)
{
	const char *path = args->common.arg[0];

	if (args->common.json)
		json_emit(json_pack("{s:o, s:o, s:o, s:b}", "path", json_text(path), "size_before",
				    json_size(before), "size_after", json_size(after), "dry_run",
				    args->common.dry_run));
	else if (before == after)
		printf("%s: has this size already: %s\n", out_name(path), out_size(after));
	else
		printf("%s: %s %s, was %s\n", out_name(path),
		       args->common.dry_run ? "would have" : "has now", out_size_exact(after),
		       out_size_exact(before));
}

static int resize(const struct resize_args *args, const char *verb, bool grow, bool shrink)
{
	const char *path = args->common.arg[0];
	struct vhd_open_opts open_opts = image_open_opts(&args->image);
	struct vhd_resize_opts opts = {.dry_run = args->common.dry_run};
	struct cli_progress progress;
	struct err_why why = {0};
	struct vhd_info info;
	uint64_t before;
	enum err err;

	if (!args->size.given)
		return out_usage(verb, "--size is wanted");
	if (args->size.relative && !grow)
		return out_usage(verb, "--size: give the new size, not one to add");
	if (vhd_inspect(path, &open_opts, &info, &why))
		return out_fail(path, &why);
	before = info.virtual_size;
	vhd_info_free(&info);
	if (target_size(args, before, &opts.size_bytes, &why))
		return out_fail(path, &why);
	if (opts.size_bytes < before && !shrink)
		return out_usage(
		    verb, "%s is larger than that already: 'vhdtool shrink' makes it smaller",
		    path);
	if (opts.size_bytes > before && !grow)
		return out_usage(verb, "%s is smaller than that: 'vhdtool expand' makes it larger",
				 path);

	/* Equal sizes go through too: that finishes an operation that was interrupted. */
	open_opts.writable = !opts.dry_run;
	opts.progress = progress_begin(&progress, args->common.progress, verb);
	err = vhd_resize(path, &open_opts, &opts, &why);
	progress_end(&progress);
	if (err)
		return out_fail(path, &why);
	show(args, before, opts.size_bytes);
	return 0;
}

static int run_expand(void *args)
{
	return resize(args, "expand", true, false);
}

static int run_shrink(void *args)
{
	return resize(args, "shrink", false, true);
}

static int run_resize(void *args)
{
	return resize(args, "resize", true, true);
}

#define RESIZE_DETAILS                                                                          \
	"In place, for every type of disk. An interrupted run is finished by the next one or "  \
	"when\n"                                                                                \
	"the disk is opened for writing. Refused when a child of the disk is in its folder or " \
	"in\n"                                                                                  \
	"one named with --search"

#define RESIZE_COMMON                                                                        \
	.usage = "FILE", .opts = resize_opts,                                                \
	.groups = GROUP_DRY_RUN | GROUP_JSON | GROUP_PROGRESS, .min_args = 1, .max_args = 1, \
	.args_bytes = sizeof(struct resize_args)

const struct verb verb_expand = {
    .name = "expand",
    .summary = "make a disk larger",
    .details = "Make a disk larger. " RESIZE_DETAILS ".",
    .run = run_expand,
    RESIZE_COMMON,
};

const struct verb verb_shrink = {
    .name = "shrink",
    .summary = "make a disk smaller",
    .details = "Make a disk smaller. " RESIZE_DETAILS
	       ", and when data would be cut off:\nshrink the file systems inside first.",
    .run = run_shrink,
    RESIZE_COMMON,
};

const struct verb verb_resize = {
    .name = "resize",
    .summary = "expand or shrink, whichever --size asks for",
    .details = "Make a disk larger or smaller. " RESIZE_DETAILS ", and when data would be cut off.",
    .run = run_resize,
    RESIZE_COMMON,
};
