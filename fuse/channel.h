/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_CHANNEL_H
#define STRATA_FUSE_CHANNEL_H

/*
 * Connections to the kernel's side of the mount, one for each thread. The kernel wants an answer
 * on the connection that its request came from, so that is where the answers of a thread go.
 */

#include <stddef.h>
#include <sys/types.h>

#include "util/err.h"

struct fuse_session;

/* The largest payload of a request, and room for a request with its headers. */
#define CHANNEL_MAX_IO   (1u << 20)
#define CHANNEL_MSG_ROOM (CHANNEL_MAX_IO + 4096u)

/* Let `session`, which is mounted, answer on the channel of the calling thread. */
enum err channel_attach(struct fuse_session *session, struct err_why *why);

/*
 * A further, non-blocking connection like `fd`. Where the system grants none the result shares
 * the one that there is, which is slower but works. Close it with close().
 */
enum err channel_clone(int fd, int *out, struct err_why *why);

/* From now on answers of this thread go to `fd`. */
void channel_use(int fd);

/*
 * Read one request into `buf` of CHANNEL_MSG_ROOM bytes. Its size; 0: there is none now; -1: the
 * kernel has ended the connection.
 */
ssize_t channel_read(int fd, void *buf);

#endif
