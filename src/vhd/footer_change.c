/* SPDX-License-Identifier: MIT */
#include "vhd/footer_change.h"

#include "util/bytes.h"
#include "vhd/intent.h"

static void add_write(struct intent *intent, uint64_t off, uint64_t len, const uint8_t *data)
{
	intent->write[intent->count++] =
	    (struct intent_write){.off_bytes = off, .len_bytes = (uint32_t)len, .data = data};
}

/* The only footer: where it is to be, and zeros where it was when that is part of the disk now. */
static void fill_fixed(const struct vhd_layer *layer, uint64_t footer_off, const uint8_t *footer,
		       struct intent *intent)
{
	static const uint8_t zero[2 * DISK_SECTOR];
	uint64_t old_from = round_down(layer->footer_off, DISK_SECTOR);
	uint64_t old_to = round_up(layer->footer_off + FOOTER_BYTES, DISK_SECTOR);

	if (!layer->info.block_device)
		intent->size_bytes = footer_off + FOOTER_BYTES;
	add_write(intent, footer_off, FOOTER_BYTES, footer);
	old_to = min_u64(old_to, footer_off);
	if (old_from < old_to)
		add_write(intent, old_from, old_to - old_from, zero);
}

enum err footer_change(struct vhd_layer *layer, struct file_ns *ns, const struct vhd_footer *footer,
		       struct err_why *why)
{
	bool moves = !layer_is_sparse(layer) && !layer->info.block_device;
	uint64_t footer_off = moves ? footer->current_bytes : layer->footer_off;
	struct intent intent = {.uuid = layer->footer.uuid};
	uint8_t buf[FOOTER_BYTES];

	if (footer_off % DISK_SECTOR || footer->current_bytes > VHD_MAX_SIZE)
		return err_set(why, ERR_UNSUPPORTED, "%s: the footer at 0x%llx is not on a sector",
			       layer->path, (unsigned long long)footer_off);
	footer_encode(footer, buf);
	if (layer_is_sparse(layer)) {
		add_write(&intent, 0, FOOTER_BYTES, buf);
		add_write(&intent, footer_off, FOOTER_BYTES, buf);
	} else {
		fill_fixed(layer, footer_off, buf, &intent);
	}
	enum err e = intent_commit(ns, layer->path, layer->file, &intent, why);
	if (e)
		return e;
	layer->footer = *footer;
	layer->footer_off = footer_off;
	layer->size_bytes = footer->current_bytes;
	return ERR_OK;
}
