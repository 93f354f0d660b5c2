/* SPDX-License-Identifier: MIT */

/*
 * W16: a new image. Everything but the footers is written first, B; then the footers, B; then the
 * folder is synced. A crash in between leaves a file without a valid footer, which nothing takes
 * for an image. A file that is nobody's before the caller says so needs no such order: one B.
 *
 * Layout of a sparse image: footer copy, header, parent locators, BAT, footer. The locators come
 * before the BAT so that it can grow without meeting them.
 */

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "vhd/layer.h"
#include "vhd/locator.h"
#include "vhd/merge_guard.h"
#include "vhd/path.h"

#define HEADER_OFF        512u
#define AFTER_HEADER_OFF  (HEADER_OFF + HEADER_BYTES)
#define LOCATOR_MIN_SPACE 4096u

struct new_image {
	struct file_ns *ns;
	const char *path;
	struct file *file;
	struct vhd_footer footer;
	struct vhd_header header;
	uint8_t *locator_data[VHD_LOCATORS];
	uint64_t footer_off;
};

/* ---- what is asked for ---- */

static enum err check_size(const struct vhd_create_opts *opts, uint64_t size, struct err_why *why)
{
	if (size == 0 || size % DISK_SECTOR || size > VHD_MAX_SIZE)
		return err_set(
		    why, ERR_USAGE,
		    "size %llu is not a whole number of 512-byte sectors from 512 bytes to "
		    "2040 GiB",
		    (unsigned long long)size);
	if (opts->azure && opts->type != VHD_FIXED)
		return err_set(why, ERR_USAGE, "Azure takes fixed disks only");
	return ERR_OK;
}

static enum err check_block(uint64_t size, uint32_t block, struct err_why *why)
{
	if (!is_power_of_two(block) || block < VHD_MIN_BLOCK || block > VHD_MAX_BLOCK)
		return err_set(why, ERR_USAGE,
			       "block size %u is not a power of two from 64 KiB to 256 MiB", block);
	if (vhd_block_count(size, block) * 4 > BAT_MAX_BYTES)
		return err_set(
		    why, ERR_USAGE,
		    "a disk of this size needs a larger block size: its block allocation "
		    "table would pass 32 MiB");
	return ERR_OK;
}

/* ---- the parent ---- */

static enum err set_locator(struct new_image *image, unsigned slot, const char *code,
			    const char *path, uint64_t *next_off, struct err_why *why)
{
	struct vhd_locator_entry *entry = &image->header.locator[slot];
	enum err e = locator_encode(path, &image->locator_data[slot], &entry->len_bytes, why);

	if (e)
		return e;
	memcpy(entry->code, code, 4);
	/* In bytes, as Windows writes it (docs/FORMATS.md). */
	entry->space = (uint32_t)round_up(entry->len_bytes, LOCATOR_MIN_SPACE);
	entry->off_bytes = *next_off;
	*next_off += entry->space;
	return ERR_OK;
}

static enum err set_parent(struct new_image *image, const struct vhd_layer *parent,
			   uint64_t *next_off, struct err_why *why)
{
	char *child_path = path_absolute(image->ns, image->path);
	char *parent_path = path_absolute(image->ns, parent->path);
	char *relative =
	    child_path && parent_path ? locator_relative_path(child_path, parent_path) : NULL;
	enum err e = ERR_OK;

	if (!relative)
		e = err_set(why, child_path && parent_path ? ERR_NOMEM : ERR_NOENT,
			    "%s: its folder does not exist", image->path);
	image->header.parent_uuid = parent->footer.uuid;
	image->header.parent_timestamp = parent->footer.timestamp;
	if (!e && !header_set_parent_name(&image->header, path_file(parent_path)))
		e = err_set(why, ERR_USAGE,
			    "the parent's file name is not UTF-8, or has a backslash");
	*next_off = round_up(*next_off, LOCATOR_MIN_SPACE);
	if (!e)
		e = set_locator(image, 0, "W2ku", parent_path, next_off, why);
	if (!e)
		e = set_locator(image, 1, "W2ru", relative, next_off, why);
	free(relative);
	free(parent_path);
	free(child_path);
	return e;
}

/* ---- writing ---- */

static enum err write_bat(struct new_image *image, struct err_why *why)
{
	uint64_t left = vhd_bat_bytes(image->header.max_entries);
	uint64_t at = image->header.bat_off;
	uint64_t piece = min_u64(left, 1u << 20);
	uint8_t *unused = malloc(piece);
	enum err e = ERR_OK;

	if (!unused)
		return err_set(why, ERR_NOMEM, "out of memory");
	memset(unused, 0xff, piece);
	for (; left && !e; left -= piece, at += piece) {
		piece = min_u64(piece, left);
		e = file_write(image->file, EV_BAT, unused, at, piece, why);
	}
	free(unused);
	return e;
}

static enum err write_locators(struct new_image *image, struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = 0; i < VHD_LOCATORS && !e; i++) {
		const struct vhd_locator_entry *entry = &image->header.locator[i];

		if (entry->len_bytes)
			e = file_write(image->file, EV_LOCATOR, image->locator_data[i],
				       entry->off_bytes, entry->len_bytes, why);
	}
	return e;
}

static enum err write_body(struct new_image *image, struct err_why *why)
{
	uint8_t header[HEADER_BYTES];

	if (image->footer.type == VHD_FIXED)
		return file_allocate(image->file, 0, image->footer_off + FOOTER_BYTES, why);
	header_encode(&image->header, header);
	enum err e = file_truncate(image->file, image->footer_off + FOOTER_BYTES, why);
	if (!e)
		e = file_write(image->file, EV_HEADER, header, HEADER_OFF, HEADER_BYTES, why);
	if (!e)
		e = write_bat(image, why);
	return e ? e : write_locators(image, why);
}

static enum err write_footers(struct new_image *image, struct err_why *why)
{
	uint8_t footer[FOOTER_BYTES];
	enum err e = ERR_OK;

	footer_encode(&image->footer, footer);
	if (image->footer.type != VHD_FIXED)
		e = file_write(image->file, EV_FOOTER_COPY, footer, 0, FOOTER_BYTES, why);
	return e ? e
		 : file_write(image->file, EV_FOOTER, footer, image->footer_off, FOOTER_BYTES, why);
}

static enum err write_image(struct new_image *image, bool unnamed, struct err_why *why)
{
	enum err e = file_ns_open(image->ns, image->path, FILE_OPEN_CREATE, &image->file, why);

	if (e)
		return e;
	e = write_body(image, why);
	if (!e && !unnamed)
		e = file_sync(image->file, why);
	if (!e)
		e = write_footers(image, why);
	if (!e)
		e = file_sync(image->file, why);
	enum err closed = file_close(image->file, e ? NULL : why);
	if (!e)
		e = closed;
	if (!e && !unnamed)
		e = file_ns_sync_dir(image->ns, image->path, why);
	if (e)
		file_ns_unlink(image->ns, image->path, NULL);
	return e;
}

/* ---- putting it together ---- */

static enum err lay_out(struct new_image *image, const struct vhd_create_opts *opts, uint64_t size,
			const struct vhd_layer *parent, struct err_why *why)
{
	uint64_t next_off = AFTER_HEADER_OFF;
	uint32_t block = opts->block_size;
	enum err e = ERR_OK;

	footer_init(&image->footer, opts->type, size);
	if (opts->uuid)
		image->footer.uuid = *opts->uuid;
	if (opts->type == VHD_FIXED) {
		image->footer_off = size;
		return ERR_OK;
	}
	if (!block)
		block = parent && layer_is_sparse(parent) ? parent->block_bytes : VHD_DEFAULT_BLOCK;
	e = check_block(size, block, why);
	if (e)
		return e;
	header_init(&image->header, 0, block, size);
	if (parent)
		e = set_parent(image, parent, &next_off, why);
	image->header.bat_off = next_off;
	image->footer_off = next_off + vhd_bat_bytes(image->header.max_entries);
	return e;
}

/* A writer of the parent would pull the ground from under the child: the lock finds him. */
static enum err open_parent(struct file_ns *ns, const struct vhd_create_opts *opts,
			    struct vhd_layer **parent, struct err_why *why)
{
	if (!opts->parent)
		return err_set(why, ERR_USAGE, "a differencing disk needs a parent");
	enum err e = merge_settle(ns, opts->parent, false, why);
	if (!e)
		e = layer_open(ns, opts->parent, 0, opts->no_lock ? FILE_UNLOCKED : FILE_LOCK_READ,
			       parent, why);
	if (e)
		err_context(why, "parent %s", opts->parent);
	return e;
}

enum err vhd_create(const char *path, const struct vhd_create_opts *opts, struct err_why *why)
{
	struct new_image image = {.ns = opts->ns ? opts->ns : &file_ns_posix, .path = path};
	struct vhd_layer *parent = NULL;
	uint64_t size = opts->size_bytes;
	enum err e = ERR_OK;

	if (opts->type != VHD_FIXED && opts->type != VHD_DYNAMIC && opts->type != VHD_DIFFERENCING)
		e = err_set(why, ERR_USAGE, "unknown disk type %u", (unsigned)opts->type);
	else if (opts->type == VHD_DIFFERENCING)
		e = open_parent(image.ns, opts, &parent, why);
	else if (opts->parent)
		e = err_set(why, ERR_USAGE, "only a differencing disk has a parent");
	if (!e && parent && !size)
		size = parent->size_bytes;
	if (!e && opts->azure && size <= VHD_MAX_SIZE)
		size = round_up(size, 1u << 20);
	if (!e)
		e = check_size(opts, size, why);
	if (!e)
		e = lay_out(&image, opts, size, parent, why);
	if (!e)
		e = write_image(&image, opts->unnamed, why);
	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		free(image.locator_data[i]);
	layer_close(parent, NULL);
	return e;
}
