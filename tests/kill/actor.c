/* SPDX-License-Identifier: MIT */
#include "tests/kill/actor.h"

#include <stdlib.h>
#include <time.h>

#include "tests/kill/content.h"

#define MOST_TRIES 4000u /* of 5 ms */
#define FEW_NODES  4u

void actor_init(struct actor *actor, enum actor_id id, struct log *log, const char *dir,
		uint64_t seed)
{
	*actor = (struct actor){.id = id, .log = log, .dir = dir, .rng = rng_seed(seed)};
	actor->tags = calloc(PLACES, sizeof(*actor->tags));
	if (!actor->tags)
		abort();
}

bool actor_start(struct actor *actor)
{
	struct err_why why = {0};

	return !queue_create(16, &actor->queue, &why) ||
	       log_fail(actor->log, "no queue: %s", why.text);
}

void actor_stop(struct actor *actor)
{
	queue_destroy(actor->queue);
	actor->queue = NULL;
}

void actor_free(struct actor *actor)
{
	free(actor->tags);
}

bool actor_waits(struct log *log, enum err e, unsigned *tries)
{
	if (e != ERR_LOCKED || (*tries)++ == MOST_TRIES)
		return false;
	if (*tries == 1)
		atomic_fetch_add(&log->waited, 1);
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	return true;
}

void actor_pause(struct rng *rng, unsigned most_us)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)rng_below(rng, most_us) * 1000}, NULL);
}

enum err actor_open(struct log *log, const char *dir, struct store **out, struct err_why *why)
{
	unsigned tries = 0;
	enum err e;

	do
		e = snap_open(NULL, dir, 0, out, why);
	while (actor_waits(log, e, &tries));
	return e;
}

enum err actor_view(struct log *log, struct store *store, const struct guid *id,
		    const struct snap_view_opts *opts, struct snap_view **out, struct err_why *why)
{
	unsigned tries = 0;
	enum err e;

	do
		e = snap_view_open(store, id, opts, out, why);
	while (actor_waits(log, e, &tries));
	return e;
}

/* ---- deleting and folding ---- */

static bool confirm_delete(struct actor *actor, int slot, enum err e, unsigned deleted,
			   const struct err_why *why)
{
	if (!e) {
		slot_deleted(actor->log, actor->id, slot);
		return deleted == 1 || log_fail(actor->log, "one node was to go, %u went", deleted);
	}
	slot_end_delete(actor->log, actor->id, slot);
	return (e == ERR_NOENT && slot_may_be_gone(actor->log, slot)) ||
	       log_fail(actor->log, "delete of %s: %s", actor->log->slot[slot].name, why->text);
}

bool actor_delete(struct actor *actor)
{
	int slot = slot_use(actor->log, actor->id, &actor->rng, FEW_NODES);
	struct err_why why = {0};
	unsigned deleted;

	if (slot < 0)
		return true;
	struct guid id = actor->log->slot[slot].id;
	slot_begin_delete(actor->log, actor->id, slot);
	op_begin(actor->log, actor->id, OP_DELETE);
	enum err e = snap_delete(actor->store, &id, false, &deleted, &why);
	bool ok = confirm_delete(actor, slot, e, deleted, &why);
	op_end(actor->log, actor->id);
	slot_release(actor->log, actor->id, slot);
	return ok;
}

bool actor_fold(struct actor *actor)
{
	struct snap_fold_opts opts = {.budget_bytes = 1 + rng_below(&actor->rng, 256u << 10),
				      .background = rng_percent(&actor->rng, 30)};
	struct snap_fold_result result;
	struct err_why why = {0};

	if (rng_percent(&actor->rng, 25))
		opts.budget_bytes = 0;
	op_begin(actor->log, actor->id, OP_FOLD);
	enum err e = snap_fold(actor->store, &opts, &result, &why);
	op_end(actor->log, actor->id);
	return !e || e == ERR_LOCKED || log_fail(actor->log, "fold: %s", why.text);
}

bool actor_look_at_tree(struct actor *actor)
{
	struct snap_tree tree;
	struct err_why why = {0};

	if (snap_tree(actor->store, SNAP_TREE_SIZES, &tree, &why))
		return log_fail(actor->log, "tree: %s", why.text);
	snap_tree_free(&tree);
	return true;
}

/* ---- reading nodes ---- */

bool actor_open_node(struct actor *actor, struct snap_view **view, int *slot)
{
	struct snap_view_opts opts = {.direct = rng_percent(&actor->rng, 20)};
	struct err_why why = {0};

	*view = NULL;
	*slot = slot_use(actor->log, actor->id, &actor->rng, 0);
	if (*slot < 0)
		return true;
	struct guid id = actor->log->slot[*slot].id;
	enum err e = actor_view(actor->log, actor->store, &id, &opts, view, &why);
	if (!e)
		return true;
	bool gone = e == ERR_NOENT && slot_may_be_gone(actor->log, *slot);
	if (!gone)
		log_fail(actor->log, "%s cannot be opened: %s", actor->log->slot[*slot].name,
			 why.text);
	slot_release(actor->log, actor->id, *slot);
	*slot = -1;
	return gone;
}

/* What it reads as once it reads as for ever. */
static bool learn(struct actor *actor, struct slot *slot, struct err_why *why)
{
	log_lock(actor->log);
	bool ok = content_fits(actor->tags, slot->bounds.low, slot->bounds.high, why);
	if (ok && !slot->exact) {
		content_bounds(actor->tags, &slot->bounds);
		slot->exact = true;
	}
	log_unlock(actor->log);
	return ok;
}

bool actor_check_node(struct actor *actor, struct snap_view *view, int idx)
{
	struct slot *slot = &actor->log->slot[idx];
	struct err_why why = {0};

	if (!content_of_view(view, actor->queue, actor->tags, &why) || !learn(actor, slot, &why))
		return log_fail(actor->log, "%s%s: %s", slot->name,
				slot->exact ? ", which was read before" : "", why.text);
	atomic_fetch_add(&actor->log->checked_reads, 1);
	return true;
}

bool actor_read(struct actor *actor)
{
	struct snap_view *view;
	struct err_why why = {0};
	bool ok = true;
	int slot;

	op_begin(actor->log, actor->id, OP_READ);
	if (!actor_open_node(actor, &view, &slot))
		return false;
	if (view) {
		ok = actor_check_node(actor, view, slot);
		if (snap_view_close(view, &why))
			ok = log_fail(actor->log, "closing a node: %s", why.text);
		slot_release(actor->log, actor->id, slot);
	}
	op_end(actor->log, actor->id);
	return ok;
}
