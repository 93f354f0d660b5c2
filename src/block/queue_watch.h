/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_QUEUE_WATCH_H
#define STRATA_BLOCK_QUEUE_WATCH_H

/*
 * What a queue remembers about each descriptor it watches. A watch is known to the kernel (armed)
 * or not; one that was ended lives on until the kernel has let go of it.
 *
 * In the ring a watch is told from a request by the lowest bit of what comes back with a
 * completion, which is free in all pointers.
 */

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct queue_work;

struct watch {
	int fd;
	bool armed;
	struct queue_work *work; /* NULL: ended */
	struct watch *next;
};

struct watch_list {
	struct watch *head;
	unsigned count; /* of those not ended */
};

enum err watch_add(struct watch_list *list, int fd, struct queue_work *work, struct watch **out,
		   struct err_why *why);
struct watch *watch_find(const struct watch_list *list, const struct queue_work *work);
/* No more `work` for it; free it with watch_free when it is not armed. */
void watch_end(struct watch_list *list, struct watch *watch);
void watch_free(struct watch_list *list, struct watch *watch);
void watch_free_all(struct watch_list *list);

void watch_prep(struct watch *watch, struct io_uring_sqe *sqe);
/* The watch itself comes back too, as cancelled. */
void watch_prep_cancel(struct watch *watch, struct io_uring_sqe *sqe);

/* The watch a completion is about, or NULL: of something else. */
static inline struct watch *watch_of(void *data)
{
	return (uintptr_t)data & 1 ? (struct watch *)((uintptr_t)data - 1) : NULL;
}

#endif
