/* SPDX-License-Identifier: MIT */

/* The process that has current open: its writers write while it changes the tree below them. */

#include <stdlib.h>
#include <unistd.h>

#include "tests/kill/actor.h"
#include "tests/kill/content.h"
#include "tests/kill/writers.h"
#include "vhd/parking.h"

#define MANY_NODES 18u
#define MUCH_DEBT  50u
#define KEPT       2u

struct kept {
	struct snap_view *view;
	int slot;
};

struct vm {
	struct actor me, folder;
	struct log *log;
	struct snap_view *view;
	struct writers *writers;
	struct kept kept[KEPT];
	pthread_rwlock_t gate; /* of `store`, for the folder */
	pthread_t thread;
	_Atomic bool stop;
};

static bool percent(struct vm *vm, unsigned percent)
{
	return rng_percent(&vm->me.rng, percent);
}

/* ---- current ---- */

static bool start(struct vm *vm)
{
	struct snap_view_opts opts = {.writable = true,
				      .direct = percent(vm, 20),
				      .map_budget_bytes = percent(vm, 30) ? 65536 : 0};
	struct err_why why = {0};

	if (actor_view(vm->log, vm->me.store, NULL, &opts, &vm->view, &why))
		return log_fail(vm->log, "current, to write: %s", why.text);
	vm->writers = writers_start(vm->log, vm->view, &vm->me.rng);
	return true;
}

/* What was completed before it was closed is durable. */
static bool stop(struct vm *vm)
{
	struct snap_view *view = vm->view;
	struct err_why why = {0};

	writers_stop(vm->writers);
	vm->writers = NULL;
	vm->view = NULL;
	table_completed(log_table(vm->log), vm->me.tags);
	if (snap_view_close(view, &why))
		return log_fail(vm->log, "closing current: %s", why.text);
	table_raise_durable(log_table(vm->log), 0, PLACES, vm->me.tags);
	return true;
}

/* ---- taking ---- */

/* Another process may be reading current, which excludes a snapshot that is not under a writer. */
static enum err take(struct vm *vm, const char *name, struct guid *id, struct err_why *why)
{
	struct snap_take_opts opts = {.name = name};
	unsigned tries = 0;
	enum err e;

	do
		e = snap_take(vm->me.store, &opts, id, why);
	while (!vm->view && actor_waits(vm->log, e, &tries));
	return e;
}

static bool vm_take(struct vm *vm)
{
	struct log *log = vm->log;
	int idx = slots_there(log) < MANY_NODES ? slot_new(log) : -1;
	struct err_why why = {0};
	struct guid id;

	if (idx < 0)
		return actor_delete(&vm->me);
	struct slot *slot = &log->slot[idx];
	table_completed(log_table(log), slot->bounds.low);
	log_lock(log);
	log->base = -1;
	log_unlock(log);
	slot_begin(log, idx, false);
	op_begin(log, ACTOR_VM, OP_TAKE);
	if (take(vm, slot->name, &id, &why))
		return log_fail(log, "take: %s", why.text);
	table_submitted(log_table(log), slot->bounds.high);
	slot_confirm(log, idx, &id);
	slot_set_base(log, idx);
	/* the node is, and current is more than that */
	table_raise_durable(log_table(log), 0, PLACES, slot->bounds.low);
	op_end(log, ACTOR_VM);
	return true;
}

/* ---- going back ---- */

/* What is current, when nobody writes to it. */
static int keep_current(struct vm *vm)
{
	int idx = slots_there(vm->log) < MANY_NODES && percent(vm, 50) ? slot_new(vm->log) : -1;

	if (idx >= 0) {
		table_completed(log_table(vm->log), vm->log->slot[idx].bounds.low);
		table_submitted(log_table(vm->log), vm->log->slot[idx].bounds.high);
		slot_begin(vm->log, idx, true);
	}
	return idx;
}

/* The other table rules from one moment to the next, so that a kill finds one of them whole. */
static void went_back(struct vm *vm, int target, int keep, const struct guid *kept)
{
	struct log *log = vm->log;
	unsigned other = !atomic_load(&log->which);

	log_lock(log);
	table_set(&log->table[other], &log->slot[target].bounds);
	log_unlock(log);
	atomic_store(&log->which, other);
	if (keep >= 0)
		slot_confirm(log, keep, kept);
	slot_set_base(log, target);
}

static enum err revert(struct vm *vm, const struct guid *id, const char *name, struct guid *kept,
		       struct err_why *why)
{
	unsigned tries = 0;
	enum err e;

	do
		e = snap_revert(vm->me.store, id, name, kept, why);
	while (actor_waits(vm->log, e, &tries));
	return e;
}

static bool vm_revert(struct vm *vm)
{
	struct log *log = vm->log;
	int target = slot_use(log, ACTOR_VM, &vm->me.rng, 0);
	struct err_why why = {0};
	struct guid kept;

	if (target < 0)
		return true;
	int keep = keep_current(vm);
	struct guid id = log->slot[target].id;
	const char *name = keep >= 0 ? log->slot[keep].name : NULL;
	log_lock(log);
	log->base = -1;
	log->target = target;
	log->keep = keep;
	log_unlock(log);
	atomic_store(&log->reverting, true);
	atomic_fetch_add(&log->reverts, 1);
	op_begin(log, ACTOR_VM, OP_REVERT);
	enum err e = revert(vm, &id, name, &kept, &why);
	if (!e)
		went_back(vm, target, keep, &kept);
	else if (keep >= 0)
		slot_forget(log, keep);
	op_end(log, ACTOR_VM);
	atomic_fetch_add(&log->reverts, 1);
	atomic_store(&log->reverting, false);
	bool ok = !e || (e == ERR_NOENT && slot_may_be_gone(log, target)) ||
		  log_fail(log, "revert to %s: %s", log->slot[target].name, why.text);
	slot_release(log, ACTOR_VM, target);
	return ok;
}

/* ---- deleting a subtree ---- */

/* Ours from now on, as far as we know them. */
static unsigned mark_subtree(struct vm *vm, const struct snap_tree *tree, const struct guid *id,
			     int *slots)
{
	bool *below = calloc(tree->count + 1, sizeof(*below));
	unsigned count = 0;

	for (unsigned i = 0; below && i < tree->count; i++) {
		const struct snap_node *node = &tree->node[i];

		below[i] =
		    guid_equal(&node->id, id) || (node->parent_idx >= 0 && below[node->parent_idx]);
		int slot = below[i] ? slot_of_id(vm->log, &node->id) : -1;
		if (slot < 0)
			continue;
		slot_begin_delete(vm->log, ACTOR_VM, slot);
		slots[count++] = slot;
	}
	free(below);
	return count;
}

static bool delete_marked(struct vm *vm, const struct guid *id, int root, const int *slots,
			  unsigned count)
{
	struct err_why why = {0};
	unsigned deleted;

	atomic_store(&vm->log->actor[ACTOR_VM].root, (unsigned)root);
	op_begin(vm->log, ACTOR_VM, OP_SUBTREE);
	enum err e = snap_delete(vm->me.store, id, true, &deleted, &why);
	for (unsigned i = 0; i < count; i++) {
		if (e)
			slot_end_delete(vm->log, ACTOR_VM, slots[i]);
		else
			slot_deleted(vm->log, ACTOR_VM, slots[i]);
	}
	op_end(vm->log, ACTOR_VM);
	if (!e && deleted > count)
		return log_fail(vm->log, "%u nodes went with a subtree of %u", deleted, count);
	return !e || (e == ERR_NOENT && slot_may_be_gone(vm->log, root)) ||
	       log_fail(vm->log, "delete of a subtree: %s", why.text);
}

static bool vm_delete_subtree(struct vm *vm)
{
	int root = slot_use(vm->log, ACTOR_VM, &vm->me.rng, MANY_NODES / 2);
	struct err_why why = {0};
	struct snap_tree tree;
	int slots[SLOTS];

	if (root < 0)
		return true;
	struct guid id = vm->log->slot[root].id;
	bool ok =
	    !snap_tree(vm->me.store, 0, &tree, &why) || log_fail(vm->log, "tree: %s", why.text);
	if (ok) {
		unsigned count = mark_subtree(vm, &tree, &id, slots);

		ok = delete_marked(vm, &id, root, slots, count);
		snap_tree_free(&tree);
	}
	slot_release(vm->log, ACTOR_VM, root);
	return ok;
}

/* ---- views that stay open ---- */

static bool drop_kept(struct vm *vm, struct kept *kept)
{
	struct err_why why = {0};

	if (!kept->view)
		return true;
	bool ok = actor_check_node(&vm->me, kept->view, kept->slot);
	if (snap_view_close(kept->view, &why))
		ok = log_fail(vm->log, "closing a node: %s", why.text);
	slot_release(vm->log, ACTOR_VM, kept->slot);
	*kept = (struct kept){0};
	return ok;
}

static bool vm_keep_view(struct vm *vm)
{
	struct kept *kept = &vm->kept[rng_below(&vm->me.rng, KEPT)];

	return drop_kept(vm, kept) && actor_open_node(&vm->me, &kept->view, &kept->slot);
}

static bool drop_all_kept(struct vm *vm)
{
	bool ok = true;

	for (unsigned i = 0; i < KEPT; i++)
		ok &= drop_kept(vm, &vm->kept[i]);
	return ok;
}

/* ---- closing and opening ---- */

static bool vm_reopen_view(struct vm *vm)
{
	op_begin(vm->log, ACTOR_VM, OP_VIEW);
	bool ok = stop(vm);
	op_end(vm->log, ACTOR_VM);
	if (ok && percent(vm, 40))
		actor_pause(&vm->me.rng, 30000);
	if (ok && percent(vm, 30))
		ok = vm_take(vm);
	if (ok && percent(vm, 50))
		ok = vm_revert(vm);
	return ok && start(vm);
}

static bool vm_reopen_store(struct vm *vm)
{
	struct err_why why = {0};

	pthread_rwlock_wrlock(&vm->gate);
	op_begin(vm->log, ACTOR_VM, OP_STORE);
	bool ok = stop(vm) && drop_all_kept(vm);
	snap_close(vm->me.store);
	vm->me.store = NULL;
	if (ok && actor_open(vm->log, vm->me.dir, &vm->me.store, &why))
		ok = log_fail(vm->log, "opening the store again: %s", why.text);
	vm->folder.store = vm->me.store;
	op_end(vm->log, ACTOR_VM);
	pthread_rwlock_unlock(&vm->gate);
	return ok && start(vm);
}

static bool pay_debt(struct vm *vm)
{
	struct snap_fold_result result;
	struct err_why why = {0};
	struct snap_tree tree;

	if (snap_tree(vm->me.store, 0, &tree, &why))
		return log_fail(vm->log, "tree: %s", why.text);
	unsigned debt = tree.debt.layers - tree.debt.shared;
	snap_tree_free(&tree);
	if (debt < MUCH_DEBT)
		return true;
	op_begin(vm->log, ACTOR_VM, OP_FOLD);
	enum err e = snap_fold(vm->me.store, NULL, &result, &why);
	op_end(vm->log, ACTOR_VM);
	return !e || e == ERR_LOCKED || log_fail(vm->log, "fold: %s", why.text);
}

/* ---- the VM ---- */

static bool step(struct vm *vm)
{
	unsigned kind = (unsigned)rng_below(&vm->me.rng, 100);

	if (kind < 34)
		return pay_debt(vm) && vm_take(vm);
	if (kind < 44)
		return actor_delete(&vm->me);
	if (kind < 48)
		return vm_delete_subtree(vm);
	if (kind < 56)
		return actor_fold(&vm->me);
	if (kind < 64)
		return actor_read(&vm->me);
	if (kind < 74)
		return vm_keep_view(vm);
	if (kind < 88)
		return vm_reopen_view(vm);
	if (kind < 91)
		return vm_reopen_store(vm);
	actor_pause(&vm->me.rng, 10000);
	return true;
}

static void *run_folder(void *arg)
{
	struct vm *vm = arg;

	folder_run(&vm->folder, &vm->gate, &vm->stop);
	return NULL;
}

static bool vm_open(struct vm *vm)
{
	struct err_why why = {0};

	if (percent(vm, 50))
		parking_limit(24 + (unsigned)rng_below(&vm->me.rng, 100));
	if (!actor_start(&vm->me))
		return false;
	if (actor_open(vm->log, vm->me.dir, &vm->me.store, &why))
		return log_fail(vm->log, "opening the store: %s", why.text);
	vm->folder.store = vm->me.store;
	return start(vm);
}

static bool vm_close(struct vm *vm)
{
	atomic_store(&vm->stop, true);
	pthread_join(vm->thread, NULL);
	bool ok = stop(vm) && drop_all_kept(vm);
	snap_close(vm->me.store);
	actor_stop(&vm->me);
	actor_free(&vm->me);
	actor_free(&vm->folder);
	return ok;
}

void vm_run(struct log *log, const char *dir, uint64_t seed)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm || pthread_rwlock_init(&vm->gate, NULL))
		abort();
	vm->log = log;
	actor_init(&vm->me, ACTOR_VM, log, dir, seed);
	actor_init(&vm->folder, ACTOR_FOLDER, log, dir, rng_next(&vm->me.rng));
	bool ok = vm_open(vm);
	if (ok && pthread_create(&vm->thread, NULL, run_folder, vm))
		abort();
	while (ok && !atomic_load(&log->stop))
		ok = step(vm);
	/* Others are still at work; the parent ends it all. */
	if (!ok)
		_exit(1);
	ok = vm_close(vm);
	pthread_rwlock_destroy(&vm->gate);
	free(vm);
	exit(ok ? 0 : 1);
}
