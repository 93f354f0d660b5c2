/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_KILL_ACTOR_H
#define STRATA_TESTS_KILL_ACTOR_H

/*
 * Those who do things to the store, and what all of them can do. Each operation returns false when
 * it went wrong, and has told the log.
 */

#include "block/queue.h"
#include "snapshot/snapshot.h"
#include "tests/kill/log.h"

struct actor {
	enum actor_id id;
	struct log *log;
	const char *dir;
	struct store *store;
	struct queue *queue;
	struct rng rng;
	uint32_t *tags; /* room for all places */
};

void actor_init(struct actor *actor, enum actor_id id, struct log *log, const char *dir,
		uint64_t seed);
/* Its queue, on the thread that uses it. */
bool actor_start(struct actor *actor);
void actor_stop(struct actor *actor);
void actor_free(struct actor *actor);

/*
 * Others hold what is needed, for a moment: false when `e` is something else, or it lasts too long.
 * `tries` begins at 0.
 */
bool actor_waits(struct log *log, enum err e, unsigned *tries);
void actor_pause(struct rng *rng, unsigned most_us);

/* snap_open and snap_view_open, waiting so. */
enum err actor_open(struct log *log, const char *dir, struct store **out, struct err_why *why);
enum err actor_view(struct log *log, struct store *store, const struct guid *id,
		    const struct snap_view_opts *opts, struct snap_view **out, struct err_why *why);

bool actor_delete(struct actor *actor);
bool actor_fold(struct actor *actor);
/* A node at random, as a whole, against its bounds. */
bool actor_read(struct actor *actor);
/* *view is NULL when the node is gone; *slot is in use by the actor as long as it is open. */
bool actor_open_node(struct actor *actor, struct snap_view **view, int *slot);
bool actor_check_node(struct actor *actor, struct snap_view *view, int slot);
bool actor_look_at_tree(struct actor *actor);

/* The VM with its writers and a thread that folds, until it is killed or told to stop. */
void vm_run(struct log *log, const char *dir, uint64_t seed);
/* A thread beside the VM; `gate` is held for reading while it uses actor->store. */
void folder_run(struct actor *actor, pthread_rwlock_t *gate, const _Atomic bool *stop);
/* Another process that folds, deletes and reads, until it is killed or told to stop. */
void other_run(struct log *log, const char *dir, uint64_t seed);

#endif
