/* SPDX-License-Identifier: MIT */

/*
 * W14: a dynamic or differencing image shrinks. What is cut off reads as zero, the caller has seen
 * to that.
 *
 *   footers (W2) -> blocks behind the new end are unlinked, B -> header, B -> footer at the end
 *   of what is left, B, truncate, B (W11)
 *
 * Unlinking comes after the footers: blocks of zeros may hide data of a parent, which must not
 * show at the old size. Behind the end nothing follows their BAT entries.
 */

#include <stdlib.h>

#include "util/bytes.h"
#include "vhd/resize.h"

enum err unlink_surplus(struct edit *edit, uint32_t first, struct err_why *why)
{
	uint32_t entries = edit->layer->header.max_entries, count = 0;

	for (uint32_t i = first; i < entries; i++)
		count += edit->bat[i] != BAT_UNUSED;
	if (!count)
		return ERR_OK;
	struct edit_change *change = calloc(count, sizeof(*change));
	if (!change)
		return err_set(why, ERR_NOMEM, "out of memory");
	count = 0;
	for (uint32_t i = first; i < entries; i++) {
		if (edit->bat[i] != BAT_UNUSED)
			change[count++] = (struct edit_change){i, BAT_UNUSED};
	}
	enum err e = edit_drop_batmap(edit, why);
	if (!e)
		e = edit_publish(edit, change, count, why);
	if (!e)
		e = file_sync(edit->layer->file, why);
	free(change);
	return e;
}

static enum err write_header(struct vhd_layer *layer, uint32_t entries, struct err_why *why)
{
	if (entries == layer->header.max_entries)
		return ERR_OK;
	layer->header.max_entries = entries;
	layer->meta_end = layer->header.bat_off + vhd_bat_bytes(entries);
	enum err e = layer_write_header(layer, why);
	return e ? e : file_sync(layer->file, why);
}

enum err shrink_sparse(struct edit *edit, uint64_t size_bytes, struct err_why *why)
{
	struct vhd_layer *layer = edit->layer;
	uint32_t blocks = (uint32_t)vhd_block_count(size_bytes, layer->block_bytes);
	enum err e = edit_drop_batmap(edit, why);

	if (!e)
		e = resize_footers(layer, size_bytes, why);
	if (!e)
		e = unlink_surplus(edit, blocks, why);
	layer->blocks = blocks;
	if (!e)
		e = write_header(layer, blocks, why);
	if (!e)
		e = edit_sort(edit, why);
	return e ? e : edit_cut(edit, edit_end(edit), why);
}
