/* SPDX-License-Identifier: MIT */
#include "vhd/stack.h"

#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "vhd/intent.h"

/* ---- looking ---- */

static void facts_of(const struct vhd_layer *layer, struct layer_facts *facts)
{
	*facts = (struct layer_facts){
	    .uuid = layer->footer.uuid,
	    .type = layer->footer.type,
	    .size_bytes = layer->size_bytes,
	    .block_bytes = layer_is_sparse(layer) ? layer->block_bytes : 0,
	    .dev = layer->info.dev,
	    .ino = layer->info.ino,
	};
}

enum err stack_look(struct file_ns *ns, const char *path, struct layer_facts *facts,
		    struct guid *parent, struct err_why *why)
{
	struct vhd_layer *layer;
	enum err e = layer_open(ns, path, FILE_OPEN_NOFOLLOW, FILE_LOCK_READ, &layer, why);

	if (e)
		return err_context(why, "%s", path), e;
	facts_of(layer, facts);
	facts->path = path;
	*parent =
	    layer->footer.type == VHD_DIFFERENCING ? layer->header.parent_uuid : (struct guid){0};
	return layer_close(layer, why);
}

/* ---- opening ---- */

/* The leaf's size is its own business; who it is is not. */
static enum err open_leaf(const struct layer_facts *facts, const struct stack_opts *opts,
			  struct vhd_layer **out, struct err_why *why)
{
	bool writable = opts->writable;
	unsigned flags = FILE_OPEN_NOFOLLOW | (writable ? FILE_OPEN_RDWR : 0) |
			 (opts->direct ? FILE_OPEN_DIRECT : 0);
	enum err e = writable ? intent_replay(opts->ns, facts->path, why) : ERR_OK;

	if (!e)
		e = layer_open(opts->ns, facts->path, flags,
			       writable ? FILE_LOCK_WRITE : FILE_LOCK_READ, out, why);
	if (e == ERR_NOENT && why)
		why->code = ERR_PARENT;
	if (e)
		return err_context(why, "%s", facts->path), e == ERR_NOENT ? ERR_PARENT : e;
	if (guid_equal(&(*out)->footer.uuid, &facts->uuid) && (*out)->footer.type == facts->type)
		return ERR_OK;
	layer_close(*out, NULL);
	*out = NULL;
	return err_set(why, ERR_PARENT,
		       "%s was changed behind our back: its UUID or type is not what it was",
		       facts->path);
}

static enum err open_file(const struct layer_facts *facts, bool is_leaf,
			  const struct stack_opts *opts, struct vhd_layer **out,
			  struct err_why *why)
{
	unsigned flags = FILE_OPEN_NOFOLLOW | (opts->direct ? FILE_OPEN_DIRECT : 0);

	return is_leaf && (opts->writable || opts->lock_leaf)
		   ? open_leaf(facts, opts, out, why)
		   : layer_new_parked(opts->ns, facts, flags, out, why);
}

enum err stack_open(const struct layer_facts *files, unsigned count, const struct stack_opts *opts,
		    struct disk **out, struct err_why *why)
{
	struct vhd_layer **layers = calloc(count, sizeof(struct vhd_layer *));
	struct vhd_chain chain;
	enum err e = layers ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	for (unsigned i = 0; i < count && !e; i++)
		e = open_file(&files[i], i + 1 == count, opts, &layers[i], why);
	if (e) {
		for (unsigned i = 0; layers && i < count; i++)
			layer_close(layers[i], NULL);
		free(layers);
		return e;
	}
	e = chain_of(layers, count, &chain, why);
	if (!e)
		e = image_new(&chain, opts->writable, opts->map_budget_bytes, out, why);
	if (!e) {
		image_of(*out)->ns = opts->ns;
		image_of(*out)->direct = opts->direct;
	}
	return e;
}

/* ---- pausing ---- */

static bool is_idle(const struct image *image)
{
	return !image->oldest && !image->flushing && !image->flush_waiting && !image->flush_posted;
}

void image_tell_idle(struct image *image)
{
	if (image->paused && is_idle(image))
		pthread_cond_broadcast(&image->idle);
}

/* What the leaf has in memory is what its file says; space made ahead is gone. */
static enum err reload_leaf(struct image *image, struct err_why *why)
{
	struct leaf *fresh;
	enum err e = leaf_open(chain_leaf(&image->chain), &fresh, why);

	if (e)
		return e;
	leaf_free(image->leaf);
	image->leaf = image->owner.leaf = fresh;
	return ERR_OK;
}

/* Lock held, nothing in flight. */
static enum err settle_leaf(struct image *image, struct err_why *why)
{
	enum err e = flush_now(image, why); /* poisons by itself where it has to */

	if (e)
		return e;
	if (image->leaf)
		e = image_trim_tail(image, why);
	if (!e && image->leaf)
		e = reload_leaf(image, why);
	if (!e)
		e = file_sync_all(chain_leaf(&image->chain)->file, why);
	if (e)
		image_poison(image, why);
	return e;
}

enum err stack_pause(struct disk *disk, struct err_why *why)
{
	struct image *image = image_of(disk);
	struct err_why here = {0};

	pthread_mutex_lock(&image->lock);
	image->paused = true;
	while (!is_idle(image))
		pthread_cond_wait(&image->idle, &image->lock);
	enum err e = settle_leaf(image, &here);
	pthread_mutex_unlock(&image->lock);
	if (e) {
		stack_resume(disk);
		if (why)
			*why = here;
	}
	return e;
}

void stack_resume(struct disk *disk)
{
	struct image *image = image_of(disk);

	pthread_mutex_lock(&image->lock);
	struct op *op = image->paused_first;
	image->paused_first = image->paused_last = NULL;
	image->paused = false;
	while (op) {
		struct op *next = op->flush_next;

		op->work.run = image_restart;
		queue_post(op->queue, &op->work);
		op = next;
	}
	pthread_mutex_unlock(&image->lock);
}

void stack_poison(struct disk *disk, const struct err_why *why)
{
	struct image *image = image_of(disk);

	pthread_mutex_lock(&image->lock);
	image_poison(image, why);
	pthread_mutex_unlock(&image->lock);
}

/* ---- a new leaf ---- */

/* The old leaf as the layer below that it becomes. */
static enum err as_parked(const struct image *image, struct vhd_layer **out, struct err_why *why)
{
	const struct vhd_layer *old = chain_leaf(&image->chain);
	unsigned flags = FILE_OPEN_NOFOLLOW | (image->direct ? FILE_OPEN_DIRECT : 0);
	struct layer_facts facts;

	facts_of(old, &facts);
	facts.path = old->path;
	return layer_new_parked(image->ns, &facts, flags, out, why);
}

struct stack_next {
	struct vhd_layer *top;
	struct vhd_layer *below; /* the present leaf, as it will be */
	struct leaf *leaf;
	struct owner_map owner; /* when there is none yet: the present leaf is a fixed disk */
	bool needs_owner;
};

/* A map needs a chain whose leaf is a sparse one only to take its measures from. */
static enum err prepare_owner(struct image *image, struct stack_next *next, struct err_why *why)
{
	struct vhd_chain top = {.layer = &next->top, .count = 1};
	enum err e = owner_init(&next->owner, &top, image->map_budget_bytes, why);

	next->owner.chain = &image->chain;
	return e;
}

enum err stack_prepare(struct disk *disk, const struct layer_facts *facts, struct stack_next **out,
		       struct err_why *why)
{
	struct image *image = image_of(disk);
	struct stack_opts opts = {.ns = image->ns, .writable = true, .direct = image->direct};
	struct stack_next *next = calloc(1, sizeof(*next));
	enum err e = next ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	if (!e)
		e = open_leaf(facts, &opts, &next->top, why);
	if (!e)
		e = leaf_open(next->top, &next->leaf, why);
	if (!e)
		e = as_parked(image, &next->below, why);
	if (!e) {
		pthread_mutex_lock(&image->lock);
		next->needs_owner = !layer_is_sparse(chain_leaf(&image->chain));
		e = chain_reserve(&image->chain, why);
		pthread_mutex_unlock(&image->lock);
	}
	if (!e && next->needs_owner)
		e = prepare_owner(image, next, why);
	if (e)
		stack_drop(next);
	else
		*out = next;
	return e;
}

void stack_push(struct disk *disk, struct stack_next *next)
{
	struct image *image = image_of(disk);

	pthread_mutex_lock(&image->lock);
	struct vhd_layer *old = chain_leaf(&image->chain);
	image->chain.layer[image->chain.count - 1] = next->below;
	chain_push(&image->chain, next->top);
	if (next->needs_owner)
		image->owner = next->owner;
	leaf_free(image->leaf);
	image->leaf = image->owner.leaf = next->leaf;
	image->sparse = true;
	pthread_mutex_unlock(&image->lock);
	layer_close(old, NULL); /* synced when the disk was paused */
	free(next);
}

void stack_drop(struct stack_next *next)
{
	if (!next)
		return;
	owner_free(&next->owner);
	leaf_free(next->leaf);
	layer_close(next->below, NULL);
	layer_close(next->top, NULL);
	free(next);
}

/* ---- sealing ---- */

static bool is_clean(const struct vhd_layer *layer)
{
	return layer->trailing_ok && layer->copy_ok && !layer->legacy_footer && !layer->intent;
}

/* Opening it for writing does it all (P3). */
static enum err mend(struct file_ns *ns, const char *path, struct err_why *why)
{
	struct layer_facts facts;
	struct guid parent;
	struct disk *disk;
	struct stack_opts opts = {.ns = ns, .writable = true};
	enum err e = stack_look(ns, path, &facts, &parent, why);

	if (!e)
		e = stack_open(&facts, 1, &opts, &disk, why);
	return e ? e : disk_close(disk, why);
}

/* *clean: it was, and is durable now. */
static enum err sync_if_clean(struct file_ns *ns, const char *path, bool *clean,
			      struct err_why *why)
{
	struct vhd_layer *layer;
	enum err e = layer_open(ns, path, FILE_OPEN_NOFOLLOW, FILE_LOCK_READ, &layer, why);

	if (e)
		return err_context(why, "%s", path), e;
	*clean = is_clean(layer);
	if (*clean)
		e = file_sync_all(layer->file, why);
	enum err closed = layer_close(layer, e ? NULL : why);
	return e ? e : closed;
}

enum err stack_seal(struct file_ns *ns, const char *path, struct err_why *why)
{
	bool clean;
	enum err e = sync_if_clean(ns, path, &clean, why);

	if (e || clean)
		return e;
	e = mend(ns, path, why);
	if (!e)
		e = sync_if_clean(ns, path, &clean, why);
	if (!e && !clean)
		e = err_set(why, ERR_CORRUPT, "%s cannot be mended by opening it", path);
	return e;
}

/* ---- fewer files ---- */

static void free_layers(struct vhd_layer **layers, unsigned count)
{
	for (unsigned i = 0; layers && i < count; i++)
		layer_close(layers[i], NULL);
	free(layers);
}

/* Close those that nobody holds. Lock held: nobody can come to hold one. */
static void settle_retired(struct image *image)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < image->retired_count; i++) {
		if (layer_is_held(image->retired[i]))
			image->retired[kept++] = image->retired[i];
		else
			layer_close(image->retired[i], NULL);
	}
	image->retired_count = kept;
}

void image_free_retired(struct image *image)
{
	free_layers(image->retired, image->retired_count);
	image->retired = NULL;
	image->retired_count = 0;
}

static enum err make_parked(struct image *image, const struct layer_facts *files, unsigned count,
			    struct vhd_layer ***out, struct err_why *why)
{
	unsigned flags = FILE_OPEN_NOFOLLOW | (image->direct ? FILE_OPEN_DIRECT : 0);
	struct vhd_layer **layers = calloc(count + 1, sizeof(struct vhd_layer *));
	enum err e = layers ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	for (unsigned i = 0; i < count && !e; i++)
		e = layer_new_parked(image->ns, &files[i], flags, &layers[i], why);
	if (e)
		free_layers(layers, count);
	else
		*out = layers;
	return e;
}

static enum err check_replace(const struct image *image, unsigned first, unsigned old,
			      unsigned count, struct err_why *why)
{
	unsigned fixed_in_place = chain_leaf(&image->chain)->parking ? 0 : 1;

	if (count > old || !old || first + old + fixed_in_place > image->chain.count ||
	    image->chain.count - old + count == 0)
		return err_set(why, ERR_USAGE, "files %u to %u of %u cannot become %u", first,
			       first + old, image->chain.count, count);
	return ERR_OK;
}

/* Lock held. */
static enum err replace_locked(struct image *image, unsigned first, unsigned old,
			       struct vhd_layer *const *layers, unsigned count, struct err_why *why)
{
	enum err e = check_replace(image, first, old, count, why);

	if (e)
		return e;
	struct vhd_layer **room =
	    realloc(image->retired, (image->retired_count + old) * sizeof(struct vhd_layer *));
	if (!room)
		return err_set(why, ERR_NOMEM, "out of memory");
	image->retired = room;
	chain_replace(&image->chain, first, old, layers, count, room + image->retired_count);
	image->retired_count += old;
	if (image->owner.chain)
		owner_renumber(&image->owner, first, old, count);
	settle_retired(image);
	return ERR_OK;
}

enum err stack_replace(struct disk *disk, unsigned first, unsigned old,
		       const struct layer_facts *files, unsigned count, struct err_why *why)
{
	struct image *image = image_of(disk);
	struct vhd_layer **layers;
	enum err e = make_parked(image, files, count, &layers, why);

	if (e)
		return e;
	pthread_mutex_lock(&image->lock);
	e = replace_locked(image, first, old, layers, count, why);
	pthread_mutex_unlock(&image->lock);
	if (e)
		free_layers(layers, count);
	else
		free(layers);
	return e;
}

bool stack_settle(struct disk *disk)
{
	struct image *image = image_of(disk);

	pthread_mutex_lock(&image->lock);
	settle_retired(image);
	bool all = image->retired_count == 0;
	pthread_mutex_unlock(&image->lock);
	return all;
}
