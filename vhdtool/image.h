/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_IMAGE_H
#define STRATA_VHDTOOL_IMAGE_H

/*
 * Opening an image whose format the caller states, by an option or by the file's name. Nothing is
 * probed: what a guest can write must not decide how its disk is read.
 */

#include "block/block.h"
#include "cli/args.h"
#include "vhd/vhd.h"

/* In the order of the words "raw|vhd" of the options; 0 is what is not known. */
enum image_format { IMAGE_UNKNOWN, IMAGE_RAW, IMAGE_VHD };

#define IMAGE_FORMATS "raw|vhd"

/* By suffix: .vhd .avhd .vhdx .avhdx are VHD (VHDX is refused by name), .raw .img .bin .iso raw. */
enum image_format image_format_of_name(const char *path);

/* What verbs that open a chain have in their struct as `image`, and the options for it. */
struct image_args {
	const char *parent;
	struct opt_list search;
	bool no_lock;
};

/* clang-format off */
#define IMAGE_PARENT(type) \
	{"parent", 0, OPT_TEXT, "FILE", offsetof(type, image.parent), \
	 "where the parent of the disk is, instead of what the disk says"}
#define IMAGE_SEARCH(type) \
	{"search", 0, OPT_LIST, "DIR", offsetof(type, image.search), \
	 "look for parents in DIR too, by their UUID; may be repeated"}
#define IMAGE_NO_LOCK(type) \
	{"no-lock", 0, OPT_FLAG, NULL, offsetof(type, image.no_lock), \
	 "read even while another program writes; what is read may be torn"}
/* clang-format on */

/* What these options say about opening a chain. Borrows from `args`. */
struct vhd_open_opts image_open_opts(const struct image_args *args);

/* Open `path` in `format` (known); the result is closed with disk_close. */
enum err image_open(const char *path, enum image_format format, const struct vhd_open_opts *opts,
		    struct disk **out, struct err_why *why);

/* disk_close after something that gave `err`, which is kept with its text; else close's own. */
enum err image_close(struct disk *disk, enum err err, struct err_why *why);

uint64_t image_size(struct disk *disk);

#endif
