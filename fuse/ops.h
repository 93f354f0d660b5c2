/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_OPS_H
#define STRATA_FUSE_OPS_H

/*
 * What the kernel asks of the mount, answered from the tree and the disk. Each request is answered
 * exactly once, at once or from a completion on the same thread. The session's user data is the
 * struct vhd_mount.
 */

struct fuse_lowlevel_ops;

extern const struct fuse_lowlevel_ops vhd_mount_ops;

#endif
