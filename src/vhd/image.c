/* SPDX-License-Identifier: MIT */
#include "vhd/image.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/intent.h"
#include "vhd/merge_guard.h"
#include "vhd/recover.h"

#define DEFAULT_MAP_BUDGET (32ull << 20)

const char *vhd_type_name(enum vhd_type type)
{
	switch (type) {
	case VHD_FIXED:
		return "fixed";
	case VHD_DYNAMIC:
		return "dynamic";
	case VHD_DIFFERENCING:
		return "differencing";
	}
	return "unknown";
}

/* ---- the disk contract ---- */

static void extent_from_run(const struct image *image, const struct owner_run *run,
			    uint32_t at_sector, struct disk_extent *out)
{
	if (run->layer == OWNER_NONE) {
		out->state = EXTENT_ZERO;
		return;
	}
	out->state = EXTENT_DATA;
	out->depth = image->chain.count - 1 - run->layer;
	out->path = image->chain.layer[run->layer]->path;
	out->file_off_bytes = run->off_bytes + (uint64_t)(at_sector - run->first) * DISK_SECTOR;
}

/* The stretch of one block that starts at off_bytes and has one owner. */
static enum err map_in_block(struct image *image, uint64_t off_bytes, struct disk_extent *out,
			     struct err_why *why)
{
	struct owner_map *owner = &image->owner;
	uint32_t block = (uint32_t)(off_bytes / owner->block_bytes);
	uint32_t sector = (uint32_t)(off_bytes % owner->block_bytes / DISK_SECTOR);
	const struct owner_run *runs;
	uint32_t n;
	enum err e = owner_get(owner, block, &runs, &n, why);

	if (e)
		return e;
	uint32_t i = owner_find(runs, n, sector);
	uint32_t end = i + 1 < n ? runs[i + 1].first : owner->block_sectors;
	*out = (struct disk_extent){.start_bytes = off_bytes,
				    .len_bytes = (uint64_t)(end - sector) * DISK_SECTOR};
	extent_from_run(image, &runs[i], sector, out);
	return ERR_OK;
}

static bool continues(const struct disk_extent *a, const struct disk_extent *b)
{
	return a->state == b->state && a->depth == b->depth &&
	       (a->state == EXTENT_ZERO || a->file_off_bytes + a->len_bytes == b->file_off_bytes);
}

static enum err map_locked(struct image *image, uint64_t off_bytes, uint64_t len_bytes,
			   struct disk_extent *out, struct err_why *why)
{
	enum err e = map_in_block(image, off_bytes, out, why);

	while (!e && out->len_bytes < len_bytes) {
		struct disk_extent next;

		e = map_in_block(image, off_bytes + out->len_bytes, &next, why);
		if (e || !continues(out, &next))
			break;
		out->len_bytes += next.len_bytes;
	}
	out->len_bytes = min_u64(out->len_bytes, len_bytes);
	return e;
}

static enum err image_map(struct disk *disk, uint64_t off_bytes, uint64_t len_bytes,
			  struct disk_extent *out, struct err_why *why)
{
	struct image *image = image_of(disk);

	pthread_mutex_lock(&image->lock);
	struct vhd_layer *leaf = chain_leaf(&image->chain);
	if (!layer_is_sparse(leaf)) {
		*out = (struct disk_extent){.start_bytes = off_bytes,
					    .len_bytes = len_bytes,
					    .state = EXTENT_DATA,
					    .path = leaf->path,
					    .file_off_bytes = off_bytes};
		pthread_mutex_unlock(&image->lock);
		return ERR_OK;
	}
	enum err e = map_locked(image, off_bytes, len_bytes, out, why);
	pthread_mutex_unlock(&image->lock);
	return e;
}

/* Without the lock: it is asked for every request. */
static void image_info(struct disk *disk, struct disk_info *out)
{
	struct image *image = image_of(disk);

	*out = (struct disk_info){
	    .size_bytes = image->size_bytes,
	    .optimal_bytes = image->optimal_bytes,
	    .writable = image->writable,
	    .can_trim = image->writable && image->sparse,
	    .poisoned = image->poisoned,
	};
}

/* Close the files last: the leaf's state refers to its layer. */
static enum err free_image(struct image *image, struct err_why *why)
{
	owner_free(&image->owner);
	leaf_free(image->leaf);
	image_free_retired(image);
	enum err e = chain_close(&image->chain, why);
	pthread_cond_destroy(&image->idle);
	pthread_mutex_destroy(&image->lock);
	free(image);
	return e;
}

enum err image_trim_tail(struct image *image, struct err_why *why)
{
	struct leaf *leaf = image->leaf;
	uint64_t end = layer_locators_end(leaf->layer);

	for (uint32_t i = 0; i < leaf->layer->blocks; i++) {
		if (leaf->bat[i] != BAT_UNUSED)
			end = max_u64(end, layer_data_off(leaf->layer, leaf->bat[i]) +
					       leaf->layer->block_bytes);
	}
	return space_trim_tail(&leaf->space, leaf->layer, end, why);
}

static enum err image_close(struct disk *disk, struct err_why *why)
{
	struct image *image = image_of(disk);
	enum err first = ERR_OK;

	pthread_mutex_lock(&image->lock);
	if (image->writable)
		first = flush_now(image, why);
	if (!first && image->leaf)
		first = image_trim_tail(image, why);
	pthread_mutex_unlock(&image->lock);
	enum err e = free_image(image, first ? NULL : why);
	return first ? first : e;
}

static const struct disk_ops image_ops = {
    .name = "vhd",
    .submit = image_submit,
    .map = image_map,
    .info = image_info,
    .close = image_close,
};

/* ---- opening ---- */

/* The leaf: opened and locked; what an interrupted operation left is finished first. */
static enum err open_leaf(const char *path, const struct vhd_open_opts *opts,
			  struct vhd_layer **out, struct err_why *why)
{
	struct file_ns *ns = opts->ns ? opts->ns : &file_ns_posix;
	unsigned flags =
	    (opts->writable ? FILE_OPEN_RDWR : 0) | (opts->direct ? FILE_OPEN_DIRECT : 0);
	enum file_lock lock = opts->writable ? FILE_LOCK_WRITE : FILE_LOCK_READ;
	enum err e = opts->writable ? intent_replay(ns, path, why) : ERR_OK;

	if (!e)
		e = merge_settle(ns, path, opts->writable, why);
	if (!e)
		e = layer_open(ns, path, flags, opts->no_lock ? FILE_UNLOCKED : lock, out, why);
	if (e)
		err_context(why, "%s", path);
	return e;
}

static enum err set_up(struct image *image, struct err_why *why)
{
	struct vhd_layer *top = chain_leaf(&image->chain);
	enum err e = ERR_OK;

	if (layer_is_sparse(top))
		e = owner_init(&image->owner, &image->chain, image->map_budget_bytes, why);
	if (!e && layer_is_sparse(top) && image->writable)
		e = leaf_open(top, &image->leaf, why);
	image->owner.leaf = image->leaf;
	image->size_bytes = top->size_bytes;
	image->sparse = layer_is_sparse(top);
	image->optimal_bytes = layer_is_sparse(top) ? top->block_bytes : VHD_DEFAULT_BLOCK;
	/* Last, so that nothing is written to an image that does not open. */
	if (!e && image->writable)
		e = recover_layer(top, why);
	if (e)
		err_context(why, "%s", top->path);
	return e;
}

enum err image_new(struct vhd_chain *chain, bool writable, uint64_t map_budget_bytes,
		   struct disk **out, struct err_why *why)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image) {
		chain_close(chain, NULL);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	pthread_mutex_init(&image->lock, NULL);
	pthread_cond_init(&image->idle, NULL);
	image->base.ops = &image_ops;
	image->writable = writable;
	image->map_budget_bytes = map_budget_bytes ? map_budget_bytes : DEFAULT_MAP_BUDGET;
	image->chain = *chain;
	*chain = (struct vhd_chain){0};
	enum err e = set_up(image, why);
	if (e) {
		free_image(image, NULL);
		return e;
	}
	*out = &image->base;
	return ERR_OK;
}

enum err vhd_open(const char *path, const struct vhd_open_opts *opts, struct disk **out,
		  struct err_why *why)
{
	static const struct vhd_open_opts defaults;
	struct vhd_layer *leaf;
	struct vhd_chain chain;

	if (!opts)
		opts = &defaults;
	enum err e = open_leaf(path, opts, &leaf, why);
	if (!e)
		e = chain_open(leaf, opts, !opts->no_lock, &chain, why);
	if (e)
		return e;
	e = merge_check_parents(opts->ns ? opts->ns : &file_ns_posix, &chain, why);
	if (e) {
		chain_close(&chain, NULL);
		return e;
	}
	return image_new(&chain, opts->writable, opts->map_budget_bytes, out, why);
}

void vhd_get_usage(struct disk *disk, struct vhd_usage *out)
{
	struct image *image = image_of(disk);

	pthread_mutex_lock(&image->lock);
	*out = (struct vhd_usage){
	    .depth = image->chain.count,
	    .map_bytes = image->owner.used_bytes + image->chain.bat.bytes,
	    .map_budget_bytes = image->owner.budget_bytes + image->chain.bat.budget_bytes,
	    .syncs = image->syncs + (image->leaf ? image->leaf->space.syncs : 0),
	    .blocks_allocated = image->leaf ? image->leaf->taken : 0,
	    .flushes = image->flushes,
	};
	pthread_mutex_unlock(&image->lock);
}
