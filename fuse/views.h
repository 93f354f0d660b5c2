/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_VIEWS_H
#define STRATA_FUSE_VIEWS_H

/*
 * The views of a VM that are open. There are at most so many: for another one the one that nobody
 * has used for the longest time is closed. What nobody uses for some time is closed anyhow, so that
 * folding can let go of its files, and a VM can start.
 *
 * A view is used from views_find or views_add until views_leave. Opening one waits for storage, and
 * whoever wants the same one waits with it; nobody else does. Any thread may call.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "fuse/shown.h"
#include "snapshot/snapshot.h"

struct json_t;
struct view;

struct views {
	struct store *store;
	unsigned max;
	uint64_t idle_ms;
	uint64_t map_budget_bytes; /* for each disk */
	pthread_mutex_t lock;      /* guards what follows */
	pthread_cond_t room;       /* signalled when one becomes idle, or is closed */
	struct view *first;
	unsigned count; /* with those that are being closed */
};

/* What a view is to be of. */
struct view_origin {
	uint64_t number; /* nodes.h */
	bool current;
	struct guid id; /* unless current */
	char name[SNAP_NAME_MAX + 1];
	time_t time;
	unsigned disk_count;
	struct json_t *facts; /* info.h */
};

void views_init(struct views *views, struct store *store, unsigned max, unsigned idle_s);
/* Closes all, used or not: no request may be in flight. */
void views_destroy(struct views *views);

/* The view of a node, to be used; NULL when it is not open. */
struct view *views_find(struct views *views, uint64_t number);
/* The same, though the node has changed or is gone meanwhile. */
struct view *views_find_outdated(struct views *views, uint64_t number);
/*
 * The view, to be used, new if it must be. If all there may be are in use it waits for a moment;
 * then it fails, and `sys_errno` is ENFILE. Takes over origin->facts.
 */
enum err views_add(struct views *views, struct view_origin *origin, struct view **out,
		   struct err_why *why);
/* One of its disks, as long as the view is used. Opens what is not open yet. */
enum err views_disk(struct views *views, struct view *view, unsigned disk_idx, struct shown **out,
		    struct err_why *why);
/* A disk that views_disk gave. */
struct shown *view_disk(struct view *view, unsigned disk_idx);
/* Use it once more. */
void views_keep(struct views *views, struct view *view);
void views_leave(struct views *views, struct view *view);

/*
 * `facts` says what is now true of the node with that number (NULL: it is gone); whoever asks for a
 * view of which something else is true gets a new one. The facts are let go here.
 */
void views_review(struct views *views, struct json_t *(*facts)(void *arg, uint64_t number),
		  void *arg);
/* Close what has been idle for long enough. */
void views_tidy(struct views *views);

#endif
