/* SPDX-License-Identifier: MIT */

/*
 * W13, W14: a fixed image has one footer, at the end, and nothing that says where that is. So it
 * moves by an intent record, together with the file's size.
 */

#include "util/bytes.h"
#include "vhd/footer_change.h"
#include "vhd/resize.h"

/* Between the disk's end and the footer there may be anything; it is to read as zero. */
static enum err clear_slack(struct vhd_layer *layer, uint64_t size_bytes, struct err_why *why)
{
	uint64_t from = layer->size_bytes, to = min_u64(size_bytes, layer->footer_off);

	if (from >= to)
		return ERR_OK;
	enum err e = file_zero(layer->file, EV_DATA, from, to - from, why);
	return e ? e : file_sync(layer->file, why);
}

/* A fixed disk has all its space; without it the disk stays as it was (P5). */
static enum err reserve(struct vhd_layer *layer, struct file_ns *ns, uint64_t from,
			const struct vhd_footer *before, struct err_why *why)
{
	struct err_why undo = {0};
	enum err e = file_allocate(layer->file, from, layer->footer_off - from, why);

	if (e && footer_change(layer, ns, before, &undo))
		err_context(why, "the old size could not be restored (%s)", undo.text);
	return e;
}

enum err resize_fixed(struct vhd_layer *layer, struct file_ns *ns, uint64_t size_bytes,
		      struct err_why *why)
{
	struct vhd_footer before = layer->footer, after = layer->footer;
	uint64_t old_end = layer->footer_off;

	if (layer->info.block_device && size_bytes > layer->footer_off)
		return err_set(why, ERR_NOSPC, "%s: the device has room for %llu bytes",
			       layer->path, (unsigned long long)layer->footer_off);
	enum err e = clear_slack(layer, size_bytes, why);
	footer_set_size(&after, size_bytes);
	if (!e)
		e = footer_change(layer, ns, &after, why);
	if (!e && !layer->info.block_device && old_end < size_bytes)
		e = reserve(layer, ns, old_end, &before, why);
	return e;
}
