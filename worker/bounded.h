/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_BOUNDED_H
#define STRATA_WORKER_BOUNDED_H

/*
 * A file that is only appended to and does not grow without end: when it has its size, it becomes
 * the old one, whose place it takes, and a new one begins. What cannot be written is lost: a full
 * disk must not stop a VM.
 */

#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

struct bounded {
	int dir_fd; /* the caller's */
	const char *name, *old_name;
	uint64_t max_bytes; /* of one; there are two */
	uint64_t bytes;
	int fd; /* -1: nothing can be written */
};

/* `name`, `old_name` and `max_bytes` are set; goes on with a file that is there. */
enum err bounded_open(struct bounded *file, int dir_fd, struct err_why *why);
void bounded_close(struct bounded *file);
void bounded_write(struct bounded *file, const void *buf, size_t len);
/* Begin a new one, if anything is in this one. */
void bounded_rotate(struct bounded *file);

#endif
