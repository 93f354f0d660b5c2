/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/bitmap.h"
#include "vhd/chain.h"
#include "vhd/locator.h"
#include "vhd/parent.h"

static void from_footer(const struct vhd_layer *layer, struct vhd_info *out)
{
	const struct vhd_footer *f = &layer->footer;

	out->type = f->type;
	out->virtual_size = f->current_bytes;
	out->original_size = f->original_bytes;
	out->file_size = layer->info.size_bytes;
	out->disk_usage = layer->info.usage_bytes;
	out->uuid = f->uuid;
	memcpy(out->creator_app, f->creator_app, 4);
	out->creator_major = f->creator_version >> 16;
	out->creator_minor = f->creator_version & 0xffff;
	memcpy(out->creator_host, f->creator_host, 4);
	out->timestamp = (int64_t)f->timestamp + VHD_EPOCH_UNIX;
	out->cylinders = f->cylinders;
	out->heads = f->heads;
	out->sectors = f->sectors;
	out->features = f->features;
	out->saved_state = f->saved_state;
	out->trailing_footer_ok = layer->trailing_ok;
}

/* Counts over the BAT and the bitmaps; entries that break a rule are left to check. */
static enum err count_blocks(struct vhd_layer *layer, const uint32_t *bat, uint8_t *bitmap,
			     struct vhd_info *out, struct err_why *why)
{
	uint32_t stride = (layer->bitmap_bytes + layer->block_bytes) / DISK_SECTOR;
	uint32_t padded = (uint32_t)round_up((uint64_t)stride * DISK_SECTOR, 4096) / DISK_SECTOR;
	uint32_t last = BAT_UNUSED;

	out->data_aligned = true;
	for (uint32_t i = 0; i < layer->blocks; i++) {
		uint32_t entry = bat[i];

		if (entry == BAT_UNUSED)
			continue;
		out->allocated_blocks++;
		if (last == BAT_UNUSED || (entry - last != stride && entry - last != padded))
			out->fragments++;
		last = entry;
		out->data_aligned &= layer_data_off(layer, entry) % 4096 == 0;
		if (layer_check_entry(layer, i, entry, NULL))
			continue;
		enum err e = layer_read_bitmap(layer, entry, bitmap, why);
		if (e)
			return e;
		out->partial_blocks += !bitmap_all(bitmap, 0, layer->block_sectors);
	}
	return ERR_OK;
}

static enum err from_table(struct vhd_layer *layer, struct vhd_info *out, struct err_why *why)
{
	uint32_t *bat = malloc((size_t)layer->blocks * 4);
	uint8_t *bitmap = malloc(layer->bitmap_bytes);
	enum err e = bat && bitmap ? ERR_OK : err_set(why, ERR_NOMEM, "out of memory");

	out->block_size = layer->block_bytes;
	out->bat_off = layer->header.bat_off;
	out->total_blocks = layer->blocks;
	if (!e)
		e = layer_read_bat(layer, 0, layer->blocks, bat, why);
	if (!e)
		e = layer_has_batmap(layer, bat, &out->has_batmap, why);
	if (!e)
		e = count_blocks(layer, bat, bitmap, out, why);
	free(bat);
	free(bitmap);
	return e;
}

static void from_parent_fields(struct vhd_layer *layer, struct vhd_info *out)
{
	const struct vhd_header *h = &layer->header;

	out->parent_uuid = h->parent_uuid;
	if (h->parent_timestamp)
		out->parent_timestamp = (int64_t)h->parent_timestamp + VHD_EPOCH_UNIX;
	out->parent_name = header_parent_name(h);
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		struct vhd_locator *l = &out->locator[i];

		memcpy(l->code, h->locator[i].code, 4);
		l->off_bytes = h->locator[i].off_bytes;
		l->space = h->locator[i].space;
		l->len_bytes = h->locator[i].len_bytes;
		if (locator_read(layer, i, &l->path, NULL))
			l->path = NULL;
	}
}

static enum err describe(struct vhd_layer *layer, struct vhd_info *out, struct err_why *why)
{
	enum err e = ERR_OK;

	*out = (struct vhd_info){.path = strdup(layer->path)};
	if (!out->path)
		return err_set(why, ERR_NOMEM, "out of memory");
	from_footer(layer, out);
	if (layer_is_sparse(layer))
		e = from_table(layer, out, why);
	if (!e && out->type == VHD_DIFFERENCING)
		from_parent_fields(layer, out);
	if (e)
		vhd_info_free(out);
	return e;
}

static const struct vhd_open_opts *or_default(const struct vhd_open_opts *opts)
{
	static const struct vhd_open_opts defaults;

	return opts ? opts : &defaults;
}

enum err vhd_inspect(const char *path, const struct vhd_open_opts *opts, struct vhd_info *out,
		     struct err_why *why)
{
	struct vhd_layer *layer, *parent;

	opts = or_default(opts);
	enum err e =
	    layer_open(opts->ns ? opts->ns : &file_ns_posix, path, 0, FILE_UNLOCKED, &layer, why);
	if (!e) {
		e = describe(layer, out, why);
		if (!e && out->type == VHD_DIFFERENCING &&
		    !parent_open(layer, opts, true, 0, &parent, &out->parent_why)) {
			out->parent_path = strdup(parent->path);
			layer_close(parent, NULL);
		}
		layer_close(layer, NULL);
	}
	if (e)
		err_context(why, "%s", path);
	return e;
}

void vhd_info_free(struct vhd_info *info)
{
	free(info->path);
	free(info->parent_name);
	free(info->parent_path);
	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		free(info->locator[i].path);
	*info = (struct vhd_info){0};
}

static enum err describe_chain(struct vhd_chain *chain, struct vhd_info *infos, struct err_why *why)
{
	for (unsigned i = 0; i < chain->count; i++) {
		unsigned n = chain->count - 1 - i; /* the leaf comes first */
		enum err e = describe(chain->layer[n], &infos[i], why);

		if (!e && n > 0 && !(infos[i].parent_path = strdup(chain->layer[n - 1]->path)))
			e = err_set(why, ERR_NOMEM, "out of memory");
		if (e)
			return e;
	}
	return ERR_OK;
}

enum err vhd_inspect_chain(const char *path, const struct vhd_open_opts *opts,
			   struct vhd_info **out, unsigned *count, struct err_why *why)
{
	struct vhd_layer *leaf;
	struct vhd_chain chain;

	opts = or_default(opts);
	enum err e =
	    layer_open(opts->ns ? opts->ns : &file_ns_posix, path, 0, FILE_UNLOCKED, &leaf, why);
	if (e) {
		err_context(why, "%s", path);
		return e;
	}
	e = chain_open(leaf, opts, false, &chain, why);
	if (e)
		return e;
	struct vhd_info *infos = calloc(chain.count, sizeof(*infos));
	e = infos ? describe_chain(&chain, infos, why) : err_set(why, ERR_NOMEM, "out of memory");
	if (e) {
		for (unsigned i = 0; infos && i < chain.count; i++)
			vhd_info_free(&infos[i]);
		free(infos);
	} else {
		*out = infos;
		*count = chain.count;
	}
	chain_close(&chain, NULL);
	return e;
}
