/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_POOL_H
#define STRATA_FUSE_POOL_H

/*
 * Buffers that are used again, the last freed first because it is still in the CPU's cache. A pool
 * belongs to one thread. Memory of a buffer that was never touched costs nothing.
 */

#include <stddef.h>
#include <stdint.h>

enum pool_class { POOL_SMALL, POOL_LARGE, POOL_CLASSES };

struct buffer {
	struct buffer *next;
	enum pool_class class;
	uint8_t *bytes; /* page-aligned */
};

struct pool {
	struct buffer *free[POOL_CLASSES];
	unsigned kept[POOL_CLASSES];
};

/* At least `room` bytes, which is at most pool_max_room(). NULL when memory is short. */
struct buffer *pool_get(struct pool *pool, size_t room);
size_t pool_max_room(void);
/* NULL is allowed. */
void pool_put(struct pool *pool, struct buffer *buffer);
/* Frees what is kept. */
void pool_drain(struct pool *pool);

#endif
