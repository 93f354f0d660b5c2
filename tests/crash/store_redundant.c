/* SPDX-License-Identifier: MIT */

/* Which barriers of a store nobody can miss, and why. */

#include <stdlib.h>
#include <string.h>

#include "snapshot/store.h"
#include "tests/crash/store_run.h"
#include "tests/crash/vhd_run.h"

static bool is_same_layer(const struct cat_layer *a, const struct cat_layer *b)
{
	return a->number == b->number && a->parent == b->parent && a->file == b->file &&
	       guid_equal(&a->uuid, &b->uuid) && a->type == b->type &&
	       a->size_bytes == b->size_bytes;
}

/* The seal of a layer whose header is still to be rewritten is not looked at. */
static bool is_minor_layer(const struct cat_layer *old, const struct cat_layer *new)
{
	bool sealed =
	    old->sealed_bytes == new->sealed_bytes && old->sealed_mtime_ns == new->sealed_mtime_ns;

	return is_same_layer(old, new) && (old->flags & CAT_RELINK || sealed) &&
	       !(new->flags & ~old->flags);
}

static bool is_same_fold(const struct cat_fold *a, const struct cat_fold *b)
{
	return a->lower == b->lower && a->upper == b->upper && a->down == b->down &&
	       a->phase == b->phase;
}

/* Into a layer that has no identity any more, since an earlier fold into it was called off. */
static bool is_begun_again(const struct catalogue *old, const struct catalogue *new)
{
	const struct cat_fold *fold = &new->fold;
	const struct cat_layer *target = cat_layer(old, fold->down ? fold->lower : fold->upper);

	return !old->fold.lower && fold->phase == CAT_FOLD_COPY && target && !target->is_leaf &&
	       !target->sealed_bytes;
}

/* What the fold says of how far it is may differ, and what is said of headers. */
static bool is_minor(const struct catalogue *old, const struct catalogue *new)
{
	bool same = old->layers == new->layers && old->nodes == new->nodes &&
		    old->current == new->current && old->current_config == new->current_config &&
		    old->next_number == new->next_number &&
		    (is_same_fold(&old->fold, &new->fold) || is_begun_again(old, new)) &&
		    !memcmp(old->leaf, new->leaf, old->disks * sizeof(*old->leaf));

	for (unsigned i = 0; i < old->layers && same; i++)
		same = is_minor_layer(&old->layer[i], &new->layer[i]);
	for (unsigned i = 0; i < old->nodes && same; i++)
		same = !strcmp(old->node[i].name, new->node[i].name) &&
		       !strcmp(old->node[i].note, new->node[i].note);
	return same;
}

static size_t parent_name_bytes(const struct catalogue *cat, uint64_t number)
{
	const struct cat_layer *layer = cat_layer(cat, number);
	const struct cat_layer *parent = layer ? cat_layer(cat, layer->parent) : NULL;
	char *path = parent ? store_layer_path(SRUN_DIR, parent) : NULL;
	size_t len = path ? strlen(path) : 0;

	free(path);
	return len;
}

static bool is_one_sector(const struct catalogue *old, const struct catalogue *new)
{
	bool any = false;

	for (unsigned i = 0; i < new->layers; i++) {
		uint64_t number = new->layer[i].number;

		if (!(new->layer[i].flags &CAT_RELINK))
			continue;
		any = true;
		if (parent_name_bytes(old, number) != parent_name_bytes(new, number))
			return false;
	}
	return any;
}

/* From a layer that stays, for its other children: read through it or not, it is the same. */
static bool is_copied_up(const struct catalogue *old, const struct catalogue *new)
{
	const struct cat_fold *fold = &old->fold;
	const struct cat_layer *lower = cat_layer(new, fold->lower);
	const struct cat_layer *upper = cat_layer(new, fold->upper);

	return lower && upper && !fold->down && !new->fold.lower && upper->parent != lower->number;
}

/* What is copied of a leaf is worth nothing once it was written to. */
static bool is_called_off(const struct catalogue *old, const struct catalogue *new)
{
	const struct cat_layer *upper = cat_layer(old, old->fold.upper);

	return upper && upper->is_leaf && old->layers == new->layers && !new->fold.lower;
}

static uint64_t flags_of(const struct catalogue *old, const struct catalogue *new)
{
	bool down = new->fold.lower &&new->fold.down &&new->fold.phase == CAT_FOLD_COPY;

	return (is_minor(old, new) ? SRUN_MINOR : 0) | (down ? SRUN_DOWN : 0) |
	       (is_copied_up(old, new) ? SRUN_COPIED_UP : 0) |
	       (is_called_off(old, new) ? SRUN_CALLED_OFF : 0) |
	       (is_one_sector(old, new) ? SRUN_ONE_SECTOR : 0);
}

static void renaming(void *arg, const char *from, const char *to)
{
	struct store_run *run = arg;
	struct file_ns *mem = mem_ns_base(run->mem);
	struct catalogue *old = NULL, *new = NULL;

	(void)from;
	if (strcmp(to, SRUN_DIR "/" STORE_CATALOGUE) != 0)
		return;
	if (!catalogue_read(mem, SRUN_DIR, STORE_CATALOGUE, &old, NULL) &&
	    !catalogue_read(mem, SRUN_DIR, CATALOGUE_NEW, &new, NULL))
		srun_mark(run, flags_of(old, new));
	cat_free(old);
	cat_free(new);
}

void srun_watch(struct store_run *run)
{
	names_ns_watch(run->names, renaming, run);
}

#define EVENT(name) (1u << EV_##name)

static bool ends_with(const char *path, const char *name)
{
	size_t len = strlen(path), tail = strlen(name);

	return len > tail && !strcmp(path + len - tail, name);
}

/* Of a VM, or of what is exported. */
static bool is_folder(const char *path)
{
	size_t home = strlen(SRUN_HOME "/");

	return !strncmp(path, SRUN_HOME "/", home) && !strchr(path + home, '/');
}

/* The files of a VM that is being made. */
static const char *unnamed_redundant(const struct powercut_barrier *barrier)
{
	if (barrier->names && ends_with(barrier->path, "/" STORE_LOCK)) {
		if (barrier->mark & SRUN_OLD_NAMES)
			return "of the lock's name alone, which whoever comes makes again";
		return NULL;
	}
	if (barrier->names && !ends_with(barrier->path, "/" STORE_CATALOGUE))
		return "of names in a folder that is no VM before its catalogue has a name";
	if (!barrier->names && !ends_with(barrier->path, "/" CATALOGUE_NEW))
		return "of a file nobody names before it is synced once more";
	return NULL;
}

const char *srun_redundant(const struct powercut_barrier *barrier)
{
	bool intent = ends_with(barrier->path, ".strata-intent");

	if (barrier->names && is_folder(barrier->path))
		return "of a folder's own name, which folders in memory do not have";
	if (barrier->mark & SRUN_UNNAMED)
		return unnamed_redundant(barrier);

	if (barrier->names && barrier->mark & SRUN_MINOR)
		return "after a change that says only how far a fold is, that it goes on, or that "
		       "headers are right";
	if (barrier->names && barrier->mark & SRUN_COPIED_UP)
		return "after a fold up from a layer that stays: with or without it the sectors "
		       "are the same";
	if (barrier->names && barrier->mark & SRUN_CALLED_OFF)
		return "after a leaf's fold was called off: its time of change says so too";
	if (!barrier->names && barrier->mark & SRUN_DOWN && barrier->before == EVENT(DATA) &&
	    barrier->after == EVENT(BITMAP))
		return "between data and bits of what is folded down: nobody reads it there yet";
	if (!barrier->names && intent && barrier->mark & SRUN_ONE_SECTOR &&
	    barrier->before == EVENT(INTENT))
		return "of a record of one sector, which is written again until the catalogue "
		       "knows";
	return run_redundant(barrier);
}
