/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_IMAGE_H
#define STRATA_VHDTOOL_IMAGE_H

/*
 * Opening an image whose format the caller states, by an option or by the file's name. Nothing is
 * probed: what a guest can write must not decide how its disk is read.
 */

#include "block/block.h"
#include "vhd/vhd.h"
#include "vhdtool/args.h"

/* In the order of the words "raw|vhd" of the options; 0 is what is not known. */
enum image_format { IMAGE_UNKNOWN, IMAGE_RAW, IMAGE_VHD };

#define IMAGE_FORMATS "raw|vhd"

/* By suffix: .vhd .avhd .vhdx .avhdx are VHD (VHDX is refused by name), .raw .img .bin .iso raw. */
enum image_format image_format_of_name(const char *path);

/* What the shared options say about opening a chain. Borrows from `common`. */
struct vhd_open_opts image_open_opts(const struct common *common);

/* Open `path` in `format` (known); the result is closed with disk_close. */
enum err image_open(const char *path, enum image_format format, const struct vhd_open_opts *opts,
		    struct disk **out, struct err_why *why);

/* disk_close after something that gave `err`, which is kept with its text; else close's own. */
enum err image_close(struct disk *disk, enum err err, struct err_why *why);

uint64_t image_size(struct disk *disk);

#endif
