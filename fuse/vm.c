/* SPDX-License-Identifier: MIT */
#include "fuse/vm.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/info.h"
#include "fuse/log.h"
#include "fuse/nodes.h"
#include "fuse/place.h"
#include "fuse/views.h"

#define REFRESH_MS  1000
#define DISK_PREFIX "disk"

struct vm {
	char *name;
	struct store *store;
	struct views views;
	pthread_mutex_t lock; /* guards what follows; taken before that of the views */
	struct nodes nodes;
	time_t changed;      /* of the list of nodes */
	uint64_t refresh_ms; /* when to look again; 0: nobody has looked yet */
	bool refreshing;     /* somebody does */
};

/* ---- what there is ---- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static json_t *facts_of(void *arg, uint64_t number)
{
	struct vm *vm = arg;
	const struct numbered *item = nodes_get(&vm->nodes, number);

	return item ? info_facts(vm->name, &vm->nodes.tree, item->node) : NULL;
}

/* Under the lock. Takes over `tree`. */
static enum err replace(struct vm *vm, struct snap_tree *tree, struct err_why *why)
{
	enum err err = ERR_OK;

	if (vm->refresh_ms && tree->generation == vm->nodes.tree.generation)
		goto out;
	if (!nodes_replace(&vm->nodes, tree)) {
		err = err_set(why, ERR_NOMEM, "no memory for %u snapshots", tree->count);
		goto out;
	}
	vm->changed = time(NULL);
	views_review(&vm->views, facts_of, vm);
out:
	snap_tree_free(tree);
	return err;
}

/* One thread looks what the store holds now; others go on with what is known. */
static enum err refresh(struct vm *vm, struct err_why *why)
{
	struct snap_tree tree;
	enum err err;
	bool due;

	pthread_mutex_lock(&vm->lock);
	due = !vm->refreshing && now_ms() >= vm->refresh_ms;
	vm->refreshing |= due;
	pthread_mutex_unlock(&vm->lock);
	if (!due)
		return ERR_OK;
	err = snap_tree(vm->store, 0, &tree, why);
	pthread_mutex_lock(&vm->lock);
	if (!err)
		err = replace(vm, &tree, why);
	vm->refresh_ms = now_ms() + REFRESH_MS;
	vm->refreshing = false;
	pthread_mutex_unlock(&vm->lock);
	views_tidy(&vm->views);
	return err;
}

/* Where that fails, what was known stays. */
static void refresh_or_log(struct vm *vm)
{
	struct err_why why = {0};

	if (refresh(vm, &why))
		log_failed_request("looking for new snapshots", &why);
}

/* ---- directories ---- */

bool vm_is_dir(uint64_t ino)
{
	return place_of(ino).entry == TREE_ROOT;
}

bool vm_is_above_disks(uint64_t ino)
{
	return !place_of(ino).disk;
}

static bool stat_dir(struct vm *vm, struct place at, struct vm_dir *out)
{
	const struct numbered *item = nodes_get(&vm->nodes, at.number);

	*out = (struct vm_dir){.changed = vm->changed};
	if (!at.number) {
		out->subdirs = vm->nodes.count;
		return true;
	}
	if (!item || (at.disk && !nodes_has_disk(&vm->nodes, item, at.disk - 1)))
		return false;
	if (!at.disk)
		out->subdirs = nodes_disk_count(&vm->nodes, item);
	if (item->node)
		out->changed = item->node->time;
	return true;
}

bool vm_stat_dir(struct vm *vm, uint64_t ino, struct vm_dir *out)
{
	bool there;

	pthread_mutex_lock(&vm->lock);
	there = stat_dir(vm, place_of(ino), out);
	pthread_mutex_unlock(&vm->lock);
	return there;
}

/* "disk0" is 1; 0 when it is no such name. */
static unsigned disk_by_name(const char *name)
{
	char expected[sizeof(DISK_PREFIX) + 4];

	for (unsigned disk = 1; disk <= SNAP_MAX_DISKS; disk++) {
		snprintf(expected, sizeof(expected), DISK_PREFIX "%u", disk - 1);
		if (!strcmp(name, expected))
			return disk;
	}
	return 0;
}

static uint64_t lookup(struct vm *vm, struct place at, const char *name)
{
	const struct numbered *item;

	if (!at.number) {
		item = nodes_find(&vm->nodes, name);
		at.number = item ? item->number : 0;
		return item ? place_ino(at) : 0;
	}
	item = nodes_get(&vm->nodes, at.number);
	at.disk = disk_by_name(name);
	if (!item || !at.disk || !nodes_has_disk(&vm->nodes, item, at.disk - 1))
		return 0;
	return place_ino(at);
}

uint64_t vm_lookup(struct vm *vm, uint64_t ino, const char *name)
{
	uint64_t found;

	refresh_or_log(vm);
	pthread_mutex_lock(&vm->lock);
	found = lookup(vm, place_of(ino), name);
	pthread_mutex_unlock(&vm->lock);
	return found;
}

static bool next_child(struct vm *vm, struct place at, uint64_t after, struct vm_child *out)
{
	const struct numbered *item;

	if (!at.number) {
		item = nodes_after(&vm->nodes, after);
		if (!item)
			return false;
		snprintf(out->name, sizeof(out->name), "%s", nodes_name(item));
		out->position = at.number = item->number;
	} else {
		item = nodes_get(&vm->nodes, at.number);
		while (item && after < nodes_disk_count(&vm->nodes, item) &&
		       !nodes_has_disk(&vm->nodes, item, (unsigned)after))
			after++;
		if (!item || after >= nodes_disk_count(&vm->nodes, item))
			return false;
		snprintf(out->name, sizeof(out->name), DISK_PREFIX "%u", (unsigned)after);
		at.disk = (unsigned)after + 1;
		out->position = at.disk;
	}
	out->ino = place_ino(at);
	return true;
}

bool vm_next_child(struct vm *vm, uint64_t ino, uint64_t after, struct vm_child *out)
{
	bool there;

	if (!after)
		refresh_or_log(vm);
	pthread_mutex_lock(&vm->lock);
	there = next_child(vm, place_of(ino), after, out);
	pthread_mutex_unlock(&vm->lock);
	return there;
}

/* ---- disks ---- */

static enum err find_origin(struct vm *vm, struct place at, struct view_origin *out,
			    struct err_why *why)
{
	const struct numbered *item = nodes_get(&vm->nodes, at.number);

	if (!item || (at.disk && !nodes_has_disk(&vm->nodes, item, at.disk - 1)))
		return err_set(why, ERR_NOENT, "the snapshot is gone");
	*out = (struct view_origin){
	    .number = at.number,
	    .current = !item->node,
	    .time = item->node ? item->node->time : vm->changed,
	    .disk_count = nodes_disk_count(&vm->nodes, item),
	    .facts = facts_of(vm, at.number),
	};
	if (!out->facts)
		return err_set(why, ERR_NOMEM, "no memory for info.json");
	if (item->node)
		out->id = item->node->id;
	snprintf(out->name, sizeof(out->name), "%s", nodes_name(item));
	return ERR_OK;
}

static enum err find_view(struct vm *vm, struct place at, struct view **out, struct err_why *why)
{
	struct view_origin origin;
	enum err err;

	*out = views_find(&vm->views, at.number);
	if (*out)
		return ERR_OK;
	pthread_mutex_lock(&vm->lock);
	err = find_origin(vm, at, &origin, why);
	pthread_mutex_unlock(&vm->lock);
	return err ? err : views_add(&vm->views, &origin, out, why);
}

static enum err enter_disk(struct vm *vm, struct view *view, struct place at, struct shown **out,
			   struct err_why *why)
{
	enum err err = views_disk(&vm->views, view, at.disk - 1, out, why);

	if (err)
		vm_leave(vm, view);
	return err;
}

enum err vm_enter(struct vm *vm, uint64_t ino, struct view **view, struct shown **out,
		  struct err_why *why)
{
	struct place at = place_of(ino);
	enum err err;

	refresh_or_log(vm);
	err = find_view(vm, at, view, why);
	return err ? err : enter_disk(vm, *view, at, out, why);
}

enum err vm_enter_for_attr(struct vm *vm, uint64_t ino, struct view **view, struct shown **out,
			   struct err_why *why)
{
	enum err err = vm_enter(vm, ino, view, out, why);

	if (!err)
		return ERR_OK;
	*view = views_find_outdated(&vm->views, place_of(ino).number);
	return *view ? enter_disk(vm, *view, place_of(ino), out, why) : err;
}

void vm_leave(struct vm *vm, struct view *view)
{
	views_leave(&vm->views, view);
}

void vm_keep(struct vm *vm, struct view *view)
{
	views_keep(&vm->views, view);
}

void vm_tidy(struct vm *vm)
{
	views_tidy(&vm->views);
}

/* ---- the whole ---- */

enum err vm_open(const struct options *options, struct vm **out, struct err_why *why)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	enum err err;

	if (!vm)
		return err_set(why, ERR_NOMEM, "no memory for a VM");
	vm->name = strdup(options->vm);
	if (!vm->name || !nodes_init(&vm->nodes)) {
		free(vm->name);
		free(vm);
		return err_set(why, ERR_NOMEM, "no memory for a VM");
	}
	pthread_mutex_init(&vm->lock, NULL);
	vm->changed = time(NULL);
	err = snap_open(NULL, options->file, SNAP_READONLY, &vm->store, why);
	views_init(&vm->views, vm->store, options->views, options->idle);
	if (!err)
		err = refresh(vm, why);
	if (err)
		vm_close(vm);
	else
		*out = vm;
	return err;
}

void vm_close(struct vm *vm)
{
	views_destroy(&vm->views);
	nodes_free(&vm->nodes);
	snap_close(vm->store);
	pthread_mutex_destroy(&vm->lock);
	free(vm->name);
	free(vm);
}
