/* SPDX-License-Identifier: MIT */
#include "vhd/recover.h"

#include <stdlib.h>

#include "util/bytes.h"

/* End of the highest block the BAT names; entries outside the file are check's business. */
static enum err blocks_end(struct vhd_layer *layer, uint64_t *out, struct err_why *why)
{
	uint32_t *bat = malloc((size_t)layer->blocks * 4 + 4);
	uint64_t end = layer_locators_end(layer);

	if (!bat)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = layer_read_bat(layer, 0, layer->blocks, bat, why);
	for (uint32_t i = 0; i < layer->blocks && !e; i++) {
		if (bat[i] == BAT_UNUSED)
			continue;
		e = layer_check_entry(layer, i, bat[i], why);
		end = max_u64(end, layer_data_off(layer, bat[i]) + layer->block_bytes);
	}
	free(bat);
	*out = round_up(end, DISK_SECTOR);
	return e;
}

/* The footer again behind the last block, B, cut what is behind it, B (W11). */
static enum err restore_trailing(struct vhd_layer *layer, struct err_why *why)
{
	uint64_t end = 0;
	enum err e = blocks_end(layer, &end, why);

	if (!e && layer->info.block_device)
		end = round_down(layer->info.size_bytes, DISK_SECTOR) - FOOTER_BYTES;
	if (!e)
		e = layer_write_footer(layer, end, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (!e && !layer->info.block_device)
		e = file_truncate(layer->file, end + FOOTER_BYTES, why);
	if (!e)
		e = file_sync(layer->file, why);
	if (e)
		return e;
	layer->footer_off = end;
	layer->trailing_ok = true;
	return ERR_OK;
}

static enum err widen_legacy(struct vhd_layer *layer, struct err_why *why)
{
	enum err e = layer_write_footer(layer, layer->footer_off, why);

	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		layer->legacy_footer = false;
	return e;
}

static enum err restore_copy(struct vhd_layer *layer, struct err_why *why)
{
	enum err e = layer_write_footer(layer, 0, why);

	if (!e)
		e = file_sync(layer->file, why);
	if (!e)
		layer->copy_ok = true;
	return e;
}

enum err recover_layer(struct vhd_layer *layer, struct err_why *why)
{
	enum err e = ERR_OK;

	if (!layer->trailing_ok)
		return restore_trailing(layer, why);
	if (layer->legacy_footer)
		e = widen_legacy(layer, why);
	if (!e && !layer->copy_ok)
		e = restore_copy(layer, why);
	return e;
}
