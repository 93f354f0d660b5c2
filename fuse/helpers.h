/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_HELPERS_H
#define STRATA_FUSE_HELPERS_H

/* Threads for work that waits, for those that must not. */

#include "util/err.h"

struct helpers;

struct job {
	void (*run)(struct job *job); /* the job is its own master from here on */
	struct job *next;             /* private */
};

enum err helpers_start(unsigned count, struct helpers **out, struct err_why *why);
/* Any thread may call. */
void helpers_add(struct helpers *helpers, struct job *job);
/* Runs what is there and ends the threads. NULL is allowed. */
void helpers_stop(struct helpers *helpers);

#endif
