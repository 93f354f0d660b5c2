/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_MOUNT_H
#define STRATA_FUSE_MOUNT_H

/*
 * What is mounted: the disk of an image, or all of a VM's. Nothing here changes between mount_open
 * and mount_close but what says so itself.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fuse/options.h"
#include "fuse/shown.h"

struct view;
struct vm;

struct vhd_mount {
	struct shown image; /* if `vm` is NULL */
	struct vm *vm;
	bool writable;
	bool cached; /* the kernel may keep what it has read */
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* Open what `options` name, and read what is inside. */
enum err mount_open(const struct options *options, struct vhd_mount *out, struct err_why *why);
/* Flushes. No request may be in flight. An error is a lost write. */
enum err mount_close(struct vhd_mount *mount, struct err_why *why);

/* Milliseconds after which mount_tidy should be called, again and again; -1: not at all. */
int mount_tidy_ms(const struct vhd_mount *mount);
/* Close what nobody uses any more. */
void mount_tidy(struct vhd_mount *mount);

/* The disk that a file or directory belongs to, while it is used. */
struct use {
	struct shown *disk;
	struct view *view; /* NULL: the image */
};

/* `ino` is not one of the directories of vm_is_dir, unless it is that of a disk. */
enum err mount_enter(struct vhd_mount *mount, uint64_t ino, struct use *out, struct err_why *why);
/* The same for its attributes alone (vm.h). */
enum err mount_enter_for_attr(struct vhd_mount *mount, uint64_t ino, struct use *out,
			      struct err_why *why);
void mount_leave(struct vhd_mount *mount, const struct use *use);

#endif
