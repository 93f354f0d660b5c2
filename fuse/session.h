/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_SESSION_H
#define STRATA_FUSE_SESSION_H

/*
 * A mount as the kernel sees it: mounted, served by threads, unmounted. The kernel may end it at
 * any time (umount, fusermount3 -u); then session_ended_fd becomes readable.
 */

#include "fuse/mount.h"
#include "fuse/options.h"

struct session;

/* Mount `mount`, which must outlive the session, on options->dir and serve it. */
enum err session_start(const struct options *options, struct vhd_mount *mount, struct session **out,
		       struct err_why *why);
int session_ended_fd(const struct session *session);
/*
 * Take the mount out of the name space. Who has a file of it open is served on; when nobody has,
 * the session ends.
 */
void session_detach(struct session *session);
/* Answer what was asked, serve no more, unmount if need be, and free `session`. */
void session_stop(struct session *session);

#endif
