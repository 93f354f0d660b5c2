/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_MOUNT_H
#define STRATA_FUSE_MOUNT_H

/*
 * The disk that is mounted, and what is shown of it. Nothing here changes between mount_open and
 * mount_close but for the atomic field.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "fuse/io.h"
#include "fuse/options.h"
#include "fuse/tree.h"

struct vhd_mount {
	struct byte_disk disk;
	char *info;
	struct tree tree;
	bool writable;
	bool cached; /* the kernel may keep what it has read */
	uid_t uid;
	gid_t gid;
	mode_t umask;
	time_t opened;          /* the time stamp of what has no other */
	_Atomic time_t changed; /* of the last write, or of the image before that */
};

/* Open the image that `options` name, with its chain, and read what is inside. */
enum err mount_open(const struct options *options, struct vhd_mount *out, struct err_why *why);
/* Flushes. No request may be in flight. An error is a lost write. */
enum err mount_close(struct vhd_mount *mount, struct err_why *why);

#endif
