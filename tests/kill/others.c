/* SPDX-License-Identifier: MIT */

/* Who uses the store beside the VM: a thread in its process, and another process. */

#include <stdlib.h>

#include "tests/kill/actor.h"
#include "tests/kill/content.h"

static bool do_something(struct actor *actor)
{
	unsigned kind = (unsigned)rng_below(&actor->rng, 100);

	if (kind < 45)
		return actor_fold(actor);
	if (kind < 65)
		return actor_delete(actor);
	if (kind < 90)
		return actor_read(actor);
	return actor_look_at_tree(actor);
}

void folder_run(struct actor *actor, pthread_rwlock_t *gate, const _Atomic bool *stop)
{
	bool ok = actor_start(actor);

	while (ok && !atomic_load(stop)) {
		pthread_rwlock_rdlock(gate);
		ok = do_something(actor);
		pthread_rwlock_unlock(gate);
		actor_pause(&actor->rng, 20000);
	}
	actor_stop(actor);
}

/* ---- the other process ---- */

/*
 * Current can be read while nobody writes to it. Where it is meanwhile gone back to a node, what
 * was read is of no use.
 */
static bool read_current(struct actor *actor)
{
	struct log *log = actor->log;
	struct bounds *bounds = malloc(sizeof(*bounds));
	unsigned reverts = atomic_load(&log->reverts);
	struct err_why why = {0};
	struct snap_view *view;

	if (!bounds)
		abort();
	table_completed(log_table(log), bounds->low);
	enum err e = snap_view_open(actor->store, NULL, NULL, &view, &why);
	bool ok = !e || e == ERR_LOCKED || log_fail(log, "current, to read: %s", why.text);
	if (!e) {
		ok = content_of_view(view, actor->queue, actor->tags, &why);
		table_submitted(log_table(log), bounds->high);
		bool reverted = reverts % 2 || atomic_load(&log->reverts) != reverts;
		if (ok && !reverted)
			ok = content_fits(actor->tags, bounds->low, bounds->high, &why);
		if (!ok)
			log_fail(log, "current, which somebody else reads: %s", why.text);
		snap_view_close(view, NULL);
	}
	free(bounds);
	return ok;
}

/* What a killed one was deleting is there or not. */
static bool settle_deletes(struct actor *actor)
{
	struct err_why why = {0};
	struct snap_tree tree;
	unsigned mine = 1u << actor->id;

	if (snap_tree(actor->store, 0, &tree, &why))
		return log_fail(actor->log, "tree: %s", why.text);
	slots_release_all(actor->log, actor->id);
	for (int i = 0; i < (int)SLOTS; i++) {
		struct slot *slot = &actor->log->slot[i];
		bool there = false;

		for (unsigned n = 0; n < tree.count; n++)
			there |= guid_equal(&tree.node[n].id, &slot->id);
		if ((slot->deleting & mine) && there)
			slot_end_delete(actor->log, actor->id, i);
		else if (slot->deleting & mine)
			slot_deleted(actor->log, actor->id, i);
	}
	snap_tree_free(&tree);
	return true;
}

static bool reopen(struct actor *actor)
{
	struct err_why why = {0};

	snap_close(actor->store);
	actor->store = NULL;
	op_begin(actor->log, actor->id, OP_STORE);
	enum err e = actor_open(actor->log, actor->dir, &actor->store, &why);
	op_end(actor->log, actor->id);
	return !e || log_fail(actor->log, "opening the store beside the VM: %s", why.text);
}

static bool other_step(struct actor *actor)
{
	unsigned kind = (unsigned)rng_below(&actor->rng, 100);

	actor_pause(&actor->rng, 10000);
	if (kind < 4)
		return reopen(actor);
	return kind < 12 ? read_current(actor) : do_something(actor);
}

void other_run(struct log *log, const char *dir, uint64_t seed)
{
	struct actor actor;

	actor_init(&actor, ACTOR_OTHER, log, dir, seed);
	bool ok = actor_start(&actor) && reopen(&actor) && settle_deletes(&actor);
	while (ok && !atomic_load(&log->stop))
		ok = other_step(&actor);
	snap_close(actor.store);
	actor_stop(&actor);
	actor_free(&actor);
	exit(ok ? 0 : 1);
}
