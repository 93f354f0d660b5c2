/* SPDX-License-Identifier: MIT */
#include "fuse/pool.h"

#include <stdlib.h>

#define PAGE_BYTES ((size_t)4096)

/* Small: a random read. Large: the largest request there is, with its headers and both edges. */
static const size_t class_bytes[POOL_CLASSES] = {4 * PAGE_BYTES, 258 * PAGE_BYTES};
/* How many are kept for later. */
static const unsigned class_keep[POOL_CLASSES] = {256, 32};

size_t pool_max_room(void)
{
	return class_bytes[POOL_LARGE];
}

struct buffer *pool_get(struct pool *pool, size_t room)
{
	enum pool_class class = room <= class_bytes[POOL_SMALL] ? POOL_SMALL : POOL_LARGE;
	struct buffer *buffer = pool->free[class];

	if (buffer) {
		pool->free[class] = buffer->next;
		pool->kept[class]--;
		return buffer;
	}
	buffer = malloc(sizeof(*buffer));
	if (!buffer)
		return NULL;
	buffer->class = class;
	buffer->bytes = aligned_alloc(PAGE_BYTES, class_bytes[class]);
	if (!buffer->bytes) {
		free(buffer);
		return NULL;
	}
	return buffer;
}

static void buffer_free(struct buffer *buffer)
{
	free(buffer->bytes);
	free(buffer);
}

void pool_put(struct pool *pool, struct buffer *buffer)
{
	if (!buffer)
		return;
	if (pool->kept[buffer->class] == class_keep[buffer->class]) {
		buffer_free(buffer);
		return;
	}
	buffer->next = pool->free[buffer->class];
	pool->free[buffer->class] = buffer;
	pool->kept[buffer->class]++;
}

void pool_drain(struct pool *pool)
{
	for (unsigned i = 0; i < POOL_CLASSES; i++) {
		struct buffer *buffer;

		while ((buffer = pool->free[i])) {
			pool->free[i] = buffer->next;
			buffer_free(buffer);
		}
		pool->kept[i] = 0;
	}
}
