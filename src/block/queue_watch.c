/* SPDX-License-Identifier: MIT */
#include "block/queue_watch.h"

#include <poll.h>
#include <stdlib.h>

enum err watch_add(struct watch_list *list, int fd, struct queue_work *work, struct watch **out,
		   struct err_why *why)
{
	struct watch *watch = malloc(sizeof(*watch));

	if (!watch)
		return err_set(why, ERR_NOMEM, "no memory to watch a descriptor");
	*watch = (struct watch){.fd = fd, .work = work, .next = list->head};
	list->head = watch;
	list->count++;
	*out = watch;
	return ERR_OK;
}

struct watch *watch_find(const struct watch_list *list, const struct queue_work *work)
{
	struct watch *watch = list->head;

	while (watch && watch->work != work)
		watch = watch->next;
	return watch;
}

void watch_end(struct watch_list *list, struct watch *watch)
{
	watch->work = NULL;
	list->count--;
}

void watch_free(struct watch_list *list, struct watch *watch)
{
	struct watch **link = &list->head;

	while (*link != watch)
		link = &(*link)->next;
	*link = watch->next;
	free(watch);
}

void watch_free_all(struct watch_list *list)
{
	while (list->head)
		watch_free(list, list->head);
}

static void *tagged(const struct watch *watch)
{
	return (void *)((uintptr_t)watch | 1);
}

void watch_prep(struct watch *watch, struct io_uring_sqe *sqe)
{
	io_uring_prep_poll_add(sqe, watch->fd, POLLIN);
	io_uring_sqe_set_data(sqe, tagged(watch));
	watch->armed = true;
}

void watch_prep_cancel(struct watch *watch, struct io_uring_sqe *sqe)
{
	io_uring_prep_poll_remove(sqe, (uintptr_t)tagged(watch));
	io_uring_sqe_set_data(sqe, NULL);
}
