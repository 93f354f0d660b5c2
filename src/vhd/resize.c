/* SPDX-License-Identifier: MIT */
#include "vhd/resize.h"

#include <stdlib.h>

#include "block/queue.h"
#include "util/bytes.h"
#include "vhd/children.h"
#include "vhd/parent.h"

#define PIECE_BYTES (1u << 20)

/* ---- doing it ---- */

enum err resize_footers(struct vhd_layer *layer, uint64_t size_bytes, struct err_why *why)
{
	footer_set_size(&layer->footer, size_bytes);
	enum err e = layer_write_footer(layer, 0, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		e = layer_write_footer(layer, layer->footer_off, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		layer->size_bytes = size_bytes;
	return e;
}

enum err resize_edit(struct edit *edit, struct file_ns *ns, uint64_t size_bytes,
		     struct progress *progress, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;

	if (!layer_is_sparse(layer))
		return resize_fixed(layer, ns, size_bytes, why);
	if (size_bytes < layer->size_bytes)
		return shrink_sparse(edit, size_bytes, why);
	return expand_sparse(edit, ns, size_bytes, progress, why);
}

/* ---- whether it may be done ---- */

/* Where in [from, to) the disk first has a sector that is not zero; `to` when nowhere. */
static enum err find_data(struct disk *disk, struct queue *queue, uint8_t *buf, uint64_t from,
			  uint64_t to, struct edit_work *work, uint64_t *found, struct err_why *why)
{
	enum err e = ERR_OK;

	for (*found = from; *found < to && !e;) {
		struct disk_extent extent;

		e = disk_map(disk, *found, min_u64(to - *found, PIECE_BYTES), &extent, why);
		if (!e && extent.state == EXTENT_DATA)
			e = disk_read(disk, queue, buf, *found, extent.len_bytes, why);
		if (e)
			break;
		if (extent.state == EXTENT_DATA && !bytes_are_zero(buf, extent.len_bytes)) {
			for (; bytes_are_zero(buf, DISK_SECTOR); buf += DISK_SECTOR)
				*found += DISK_SECTOR;
			break;
		}
		*found += extent.len_bytes;
		if (!edit_work_done(work, extent.len_bytes))
			e = err_set(why, ERR_CANCELLED, "stopped before anything was changed");
	}
	return e;
}

/* As find_data, for the disk at `path`, which is not locked: the caller has done that. */
static enum err find_data_in(const char *path, const struct vhd_open_opts *open_opts, uint64_t from,
			     uint64_t to, struct progress *progress, uint64_t *found,
			     struct err_why *why)
{
	struct vhd_open_opts opts = *open_opts;
	struct edit_work work = {.to = progress, .total_bytes = to - from};
	struct queue *queue = NULL;
	struct disk *disk = NULL;
	uint8_t *buf = aligned_alloc(4096, PIECE_BYTES);
	enum err e = buf ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	opts.writable = false;
	opts.no_lock = true;
	if (!e)
		e = vhd_open(path, &opts, &disk, why);
	if (!e)
		e = queue_create(4, &queue, why);
	if (!e)
		e = find_data(disk, queue, buf, from, to, &work, found, why);
	queue_destroy(queue);
	disk_close(disk, NULL);
	free(buf);
	return e;
}

static enum err check_cut(const struct vhd_layer *layer, const struct vhd_open_opts *open_opts,
			  const struct vhd_resize_opts *opts, struct err_why *why)
{
	uint64_t found;
	enum err e = find_data_in(layer->path, open_opts, opts->size_bytes, layer->size_bytes,
				  opts->progress, &found, why);

	if (!e && found < layer->size_bytes)
		e = err_set(
		    why, ERR_REFUSED,
		    "%s has data at byte %llu of the disk, behind the new end; shrink what is "
		    "stored inside first",
		    layer->path, (unsigned long long)found);
	return e;
}

enum err resize_check_growth(struct edit *edit, const struct vhd_open_opts *opts,
			     uint64_t size_bytes, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer, *parent;
	struct vhd_open_opts parent_opts = *opts;
	uint64_t found, end;

	if (layer->footer.type != VHD_DIFFERENCING || size_bytes <= layer->size_bytes)
		return ERR_OK;
	enum err e = parent_open(layer, opts, true, 0, &parent, why);
	if (e)
		return e;
	parent_opts.parent = NULL;
	end = found = min_u64(size_bytes, parent->size_bytes);
	if (layer->size_bytes < end)
		e = find_data_in(parent->path, &parent_opts, layer->size_bytes, end, NULL, &found,
				 why);
	if (!e && found < end)
		e = err_set(
		    why, ERR_REFUSED,
		    "%s: its parent %s is larger and has data at byte %llu, which would show in "
		    "the new part",
		    layer->path, parent->path, (unsigned long long)found);
	layer_close(parent, NULL);
	return e;
}

static enum err check_size(const struct vhd_layer *layer, uint64_t size_bytes, struct err_why *why)
{
	if (size_bytes == 0 || size_bytes % DISK_SECTOR || size_bytes > VHD_MAX_SIZE)
		return err_set(
		    why, ERR_USAGE,
		    "size %llu is not a whole number of 512-byte sectors from 512 bytes to "
		    "2040 GiB",
		    (unsigned long long)size_bytes);
	if (layer_is_sparse(layer) &&
	    vhd_bat_bytes(vhd_block_count(size_bytes, layer->block_bytes)) > BAT_MAX_BYTES)
		return err_set(why, ERR_USAGE,
			       "%s: with blocks of %u bytes a disk of this size needs a block "
			       "allocation table over 32 MiB",
			       layer->path, layer->block_bytes);
	return ERR_OK;
}

static enum err resize(struct edit *edit, const struct vhd_open_opts *open_opts,
		       const struct vhd_resize_opts *opts, struct err_why *why)
{
	struct file_ns *ns = open_opts->ns ? open_opts->ns : &file_ns_posix;
	struct vhd_layer *layer = edit->layer;
	enum err e = check_size(layer, opts->size_bytes, why);

	if (e)
		return e;
	/* What a shrink that was interrupted after its footers has left. */
	if (opts->size_bytes == layer->size_bytes)
		return layer_is_sparse(layer) && !opts->dry_run
			   ? unlink_surplus(edit, layer->blocks, why)
			   : ERR_OK;
	e = children_refuse(layer, open_opts, "another size", why);
	if (!e && opts->size_bytes < layer->size_bytes)
		e = check_cut(layer, open_opts, opts, why);
	if (!e)
		e = resize_check_growth(edit, open_opts, opts->size_bytes, why);
	if (e || opts->dry_run)
		return e;
	return resize_edit(edit, ns, opts->size_bytes, opts->progress, why);
}

enum err vhd_resize(const char *path, const struct vhd_open_opts *open_opts,
		    const struct vhd_resize_opts *opts, struct err_why *why)
{
	static const struct vhd_open_opts defaults;
	struct edit *edit;

	if (!open_opts)
		open_opts = &defaults;
	enum err e = edit_open(path, open_opts, !opts->dry_run, &edit, why);
	if (e) {
		err_context(why, "%s", path);
		return e;
	}
	e = resize(edit, open_opts, opts, why);
	enum err closed = edit_close(edit, e ? NULL : why);
	return e ? e : closed;
}
