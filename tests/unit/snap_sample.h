/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_SNAP_SAMPLE_H
#define STRATA_TESTS_SNAP_SAMPLE_H

/*
 * A catalogue made by hand with everything in it, and where its fields are. Two disks, each base <-
 * layer of both nodes <- leaf; the first base is being folded. None of its files exists.
 */

#include "tests/unit/snap_lab.h"

/* The tables are in docs/FORMATS.md. */
enum {
	LEAF = 160,
	CONFIG = LEAF + 2 * 8,
	LAYER = CONFIG + 2 * 40, /* 1 to 6 */
	NODE = LAYER + 6 * 88,   /* 7 and 8 */
	GARBAGE = NODE + 2 * 88, /* 9 and 10 */
	FOLD = GARBAGE + 2 * 8,
	TEXT = FOLD + 32,
	NEXT = 11,
};

#define LAYER_AT(number) (LAYER + ((number)-1) * 88)
#define NODE_AT(number)  (NODE + ((number)-7) * 88)

struct catalogue *sample_catalogue(void);
/* free() it. */
uint8_t *sample_bytes(size_t *len);
/* Appends one more layer; `parent` 0: a base. */
void sample_add_layer(struct catalogue *cat, uint64_t parent);
/* Whether bytes decode; what they decode to is freed. */
enum err sample_decode(const uint8_t *bytes, size_t len, struct err_why *why);

#endif
