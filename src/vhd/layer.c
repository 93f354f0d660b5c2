/* SPDX-License-Identifier: MIT */
#include "vhd/layer.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/intent.h"
#include "vhd/parking.h"

static const char batmap_cookie[8] = {'t', 'd', 'b', 'a', 't', 'm', 'a', 'p'};
static const char vhdx_signature[8] = {'v', 'h', 'd', 'x', 'f', 'i', 'l', 'e'};

enum err layer_read_meta(struct vhd_layer *layer, enum file_event event, void *buf,
			 uint64_t off_bytes, uint64_t len_bytes, struct err_why *why)
{
	enum err e = file_read(layer->file, event, buf, off_bytes, len_bytes, why);

	if (!e && layer->intent)
		intent_overlay(layer->intent, off_bytes, buf, len_bytes);
	return e;
}

/* Try the two places a trailing footer can be: the last 512 bytes, or (legacy) the last 511. */
static enum err read_trailing(struct vhd_layer *layer, struct err_why *why)
{
	uint64_t size = layer->info.size_bytes;
	uint8_t buf[FOOTER_BYTES] = {0};
	struct err_why first = {0};

	if (size < FOOTER_LEGACY_BYTES)
		return err_set(why, ERR_CORRUPT, "file of %llu bytes is too short for a footer",
			       (unsigned long long)size);
	if (size >= FOOTER_BYTES) {
		enum err e =
		    layer_read_meta(layer, EV_FOOTER, buf, size - FOOTER_BYTES, FOOTER_BYTES, why);
		if (e)
			return e;
		layer->footer_off = size - FOOTER_BYTES;
		e = footer_decode(buf, layer->footer_off, &layer->footer, &first);
		if (!e || e == ERR_UNSUPPORTED) {
			if (e && why)
				*why = first;
			return e;
		}
	}
	memmove(buf, buf + 1, FOOTER_LEGACY_BYTES);
	buf[FOOTER_LEGACY_BYTES] = 0;
	if (size >= FOOTER_BYTES && footer_has_cookie(buf)) {
		layer->legacy_footer = true;
		layer->footer_off = size - FOOTER_LEGACY_BYTES;
		return footer_decode(buf, layer->footer_off, &layer->footer, why);
	}
	if (why)
		*why = first;
	return ERR_CORRUPT;
}

/*
 * The trailing footer is not there: a crash while the file grew, or damage. Only an image that
 * has a copy, so never a fixed one, may go by it (a fixed image's first sector is guest data).
 */
static enum err read_copy(struct vhd_layer *layer, const struct err_why *trailing_why,
			  struct err_why *why)
{
	uint8_t buf[FOOTER_BYTES];
	struct err_why copy_why = {0};
	enum err e = layer_read_meta(layer, EV_FOOTER_COPY, buf, 0, FOOTER_BYTES, why);

	if (e)
		return e;
	if (memcmp(buf, vhdx_signature, sizeof(vhdx_signature)) == 0)
		return err_set(why, ERR_UNSUPPORTED,
			       "VHDX image (signature \"vhdxfile\" at 0x0): only VHD is supported");
	if (!footer_has_cookie(buf)) {
		if (why)
			*why = *trailing_why;
		return ERR_CORRUPT;
	}
	e = footer_decode(buf, 0, &layer->footer, &copy_why);
	if (e)
		return err_set(why, e, "%s; and %s", trailing_why->text, copy_why.text);
	if (layer->footer.type == VHD_FIXED)
		return err_set(why, ERR_CORRUPT,
			       "%s; the footer copy at 0x0 is of a fixed disk, which has none",
			       trailing_why->text);
	layer->trailing_ok = false;
	layer->legacy_footer = false;
	layer->footer_off = round_down(layer->info.size_bytes, DISK_SECTOR);
	return ERR_OK;
}

/* A valid trailing footer whose copy is valid too but of another disk: which one is right? */
static enum err compare_copy(struct vhd_layer *layer, struct err_why *why)
{
	uint8_t buf[FOOTER_BYTES];
	struct vhd_footer copy;
	enum err e = layer_read_meta(layer, EV_FOOTER_COPY, buf, 0, FOOTER_BYTES, why);

	if (e)
		return e;
	layer->copy_ok = false;
	if (footer_decode(buf, 0, &copy, NULL))
		return ERR_OK; /* a damaged copy is mended by the next writer */
	if (copy.type != layer->footer.type || !guid_equal(&copy.uuid, &layer->footer.uuid))
		return err_set(why, ERR_CORRUPT,
			       "footer at 0x%llx and its copy at 0x0 are both valid but differ in "
			       "type or UUID",
			       (unsigned long long)layer->footer_off);
	layer->copy_ok = memcmp(buf, layer->footer.raw, FOOTER_BYTES) == 0;
	return ERR_OK;
}

static enum err read_footers(struct vhd_layer *layer, struct err_why *why)
{
	struct err_why trailing_why = {0};
	enum err e = read_trailing(layer, &trailing_why);

	layer->trailing_ok = true;
	layer->copy_ok = true;
	if (e == ERR_CORRUPT)
		e = read_copy(layer, &trailing_why, why);
	else if (e && why)
		*why = trailing_why;
	if (e)
		return e;

	layer->size_bytes = layer->footer.current_bytes;
	if (layer_is_sparse(layer))
		return layer->trailing_ok ? compare_copy(layer, why) : ERR_OK;
	if (layer->size_bytes > layer->footer_off)
		return err_set(why, ERR_CORRUPT,
			       "footer at 0x%llx: current size %llu at +48 is more than the %llu "
			       "bytes before the footer of a fixed disk",
			       (unsigned long long)layer->footer_off,
			       (unsigned long long)layer->size_bytes,
			       (unsigned long long)layer->footer_off);
	return ERR_OK;
}

static enum err read_header(struct vhd_layer *layer, struct err_why *why)
{
	uint64_t at = layer->footer.data_off;
	uint8_t buf[HEADER_BYTES];
	uint64_t end;

	/* Some writers stored 32 bits of "none" for a fixed disk; for a sparse one it is an error.
	 */
	if (at % DISK_SECTOR || at < FOOTER_BYTES || !checked_add(at, HEADER_BYTES, &end) ||
	    end > layer->footer_off)
		return err_set(why, ERR_CORRUPT,
			       "footer: data offset 0x%llx at +16 is not a sector between the "
			       "footers (file has 0x%llx bytes)",
			       (unsigned long long)at, (unsigned long long)layer->info.size_bytes);
	enum err e = layer_read_meta(layer, EV_HEADER, buf, at, HEADER_BYTES, why);
	if (!e)
		e = header_decode(buf, at, &layer->footer, &layer->header, why);
	if (e)
		return e;

	uint64_t bat_bytes = vhd_bat_bytes(layer->header.max_entries);
	if (!checked_add(layer->header.bat_off, bat_bytes, &end) || end > layer->footer_off)
		return err_set(
		    why, ERR_CORRUPT,
		    "dynamic header at 0x%llx: the block allocation table (0x%llx bytes at "
		    "0x%llx) does not end before the footer at 0x%llx",
		    (unsigned long long)at, (unsigned long long)bat_bytes,
		    (unsigned long long)layer->header.bat_off,
		    (unsigned long long)layer->footer_off);
	layer->meta_end = end;
	layer->block_bytes = layer->header.block_bytes;
	layer->block_shift = (unsigned)__builtin_ctz(layer->block_bytes);
	layer->block_sectors = layer->block_bytes / DISK_SECTOR;
	layer->bitmap_bytes = vhd_bitmap_bytes(layer->block_bytes);
	layer->blocks = (uint32_t)vhd_block_count(layer->size_bytes, layer->block_bytes);
	return ERR_OK;
}

static enum err find_intent(struct vhd_layer *layer, struct file_ns *ns, struct err_why *why)
{
	struct intent found;
	enum err e = intent_load(ns, layer->path, layer->file, &found, why);

	if (e == ERR_NOENT)
		return ERR_OK;
	if (e)
		return e;
	layer->intent = malloc(sizeof(found));
	if (!layer->intent) {
		intent_free(&found);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	*layer->intent = found;
	if (found.size_bytes)
		layer->info.size_bytes = found.size_bytes;
	return ERR_OK;
}

enum err layer_open(struct file_ns *ns, const char *path, unsigned flags, enum file_lock lock,
		    struct vhd_layer **out, struct err_why *why)
{
	struct vhd_layer *layer = calloc(1, sizeof(*layer));

	if (!layer || !(layer->path = strdup(path))) {
		free(layer);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	enum err e = file_ns_open(ns, path, flags, &layer->file, why);
	if (!e && lock != FILE_UNLOCKED)
		e = file_lock(layer->file, lock, why);
	if (!e)
		e = file_get_info(layer->file, &layer->info, why);
	if (!e)
		e = find_intent(layer, ns, why);
	if (!e)
		e = read_footers(layer, why);
	if (!e && layer_is_sparse(layer))
		e = read_header(layer, why);
	if (e) {
		layer_close(layer, NULL);
		return e;
	}
	*out = layer;
	return ERR_OK;
}

enum err layer_close(struct vhd_layer *layer, struct err_why *why)
{
	if (!layer)
		return ERR_OK;
	layer_forget(layer);
	enum err e = file_close(layer->file, why);
	if (layer->intent)
		intent_free(layer->intent);
	free(layer->intent);
	free(layer->path);
	free(layer);
	return e;
}

enum err layer_read_bat(struct vhd_layer *layer, uint64_t first, uint32_t count, uint32_t *entries,
			struct err_why *why)
{
	uint8_t *bytes = (uint8_t *)entries;
	enum err e = file_read(layer->file, EV_BAT, bytes, layer_bat_entry_off(layer, first),
			       (uint64_t)count * 4, why);

	if (e)
		return e;
	for (uint32_t i = 0; i < count; i++)
		entries[i] = get_be32(bytes + (size_t)i * 4);
	return ERR_OK;
}

enum err layer_check_entry(const struct vhd_layer *layer, uint64_t idx, uint32_t entry,
			   struct err_why *why)
{
	uint64_t start = layer_bitmap_off(entry);
	uint64_t end = layer_data_off(layer, entry) + layer->block_bytes;

	if (start >= layer->meta_end && end <= layer->footer_off)
		return ERR_OK;
	return err_set(why, ERR_CORRUPT,
		       "BAT entry %llu at 0x%llx: block 0x%llx..0x%llx is not between the metadata "
		       "(ends 0x%llx) and the footer (0x%llx)",
		       (unsigned long long)idx, (unsigned long long)layer_bat_entry_off(layer, idx),
		       (unsigned long long)start, (unsigned long long)end,
		       (unsigned long long)layer->meta_end, (unsigned long long)layer->footer_off);
}

enum err layer_read_bitmap(struct vhd_layer *layer, uint32_t entry, uint8_t *bitmap,
			   struct err_why *why)
{
	return file_read(layer->file, EV_BITMAP, bitmap, layer_bitmap_off(entry),
			 layer->bitmap_bytes, why);
}

uint64_t layer_locators_end(const struct vhd_layer *layer)
{
	uint64_t end = layer->meta_end;

	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator_entry *entry = &layer->header.locator[i];
		uint64_t entry_end;

		if (entry->len_bytes &&
		    checked_add(entry->off_bytes, locator_space_bytes(entry), &entry_end) &&
		    entry_end <= layer->footer_off)
			end = max_u64(end, entry_end);
	}
	return end;
}

enum err layer_write_footer(struct vhd_layer *layer, uint64_t off_bytes, struct err_why *why)
{
	uint8_t buf[FOOTER_BYTES];

	footer_encode(&layer->footer, buf);
	return file_write(layer->file, off_bytes ? EV_FOOTER : EV_FOOTER_COPY, buf, off_bytes,
			  FOOTER_BYTES, why);
}

enum err layer_write_header(struct vhd_layer *layer, struct err_why *why)
{
	uint8_t buf[HEADER_BYTES];

	header_encode(&layer->header, buf);
	return file_write(layer->file, EV_HEADER, buf, layer->footer.data_off, HEADER_BYTES, why);
}

static uint64_t batmap_off(const struct vhd_layer *layer)
{
	return layer->header.bat_off + vhd_bat_bytes(layer->header.max_entries);
}

enum err layer_has_batmap(struct vhd_layer *layer, const uint32_t *bat, bool *out,
			  struct err_why *why)
{
	char buf[sizeof(batmap_cookie)];
	uint64_t end = batmap_off(layer) + DISK_SECTOR;

	*out = false;
	for (uint32_t i = 0; i < layer->blocks; i++) {
		if (bat[i] != BAT_UNUSED && layer_bitmap_off(bat[i]) < end)
			return ERR_OK;
	}
	enum err e = file_read(layer->file, EV_BATMAP, buf, batmap_off(layer), sizeof(buf), why);

	if (!e)
		*out = memcmp(buf, batmap_cookie, sizeof(buf)) == 0;
	return e;
}

enum err layer_drop_batmap(struct vhd_layer *layer, struct err_why *why)
{
	static const uint8_t zero[DISK_SECTOR];

	return file_write(layer->file, EV_BATMAP, zero, batmap_off(layer), sizeof(zero), why);
}
