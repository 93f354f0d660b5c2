/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_CALL_H
#define STRATA_FUSE_CALL_H

/*
 * A request about names, or to open a file. Of an image all is known; of a VM answering may wait
 * for storage, and then it is done beside the workers, so that I/O never waits for it.
 */

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <limits.h>

#include "fuse/worker.h"

struct call {
	void (*answer)(const struct call *call);
	fuse_req_t fuse; /* answered once, by `answer` */
	fuse_ino_t ino;
	/* as far as the request has them */
	int flags;
	size_t size;
	off_t off;
	char name[NAME_MAX + 1];

	struct errand errand; /* private */
};

/* Have it answered, now or later; `call` need not live longer than this. */
void call_serve(const struct call *call);

#endif
