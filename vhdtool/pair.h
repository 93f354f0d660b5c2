/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHDTOOL_PAIR_H
#define STRATA_VHDTOOL_PAIR_H

/* Two disks side by side, as compare and diff need them. */

#include "block/block.h"
#include "block/queue.h"
#include "cli/args.h"
#include "vhdtool/image.h"

struct pair_args {
	struct common common;
	struct image_args image;
	unsigned format_a, format_b; /* enum image_format */
	bool strict;                 /* compare only */
};

struct pair {
	struct disk *a, *b;
	struct queue *queue;
	uint64_t size_a, size_b;
};

/* Open both. Errors are printed; returns 0 or the exit code, and then nothing is open. */
int pair_open(const struct pair_args *args, const char *verb, struct pair *out);
void pair_close(struct pair *pair);

#endif
