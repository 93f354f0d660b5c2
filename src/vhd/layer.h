/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_LAYER_H
#define STRATA_VHD_LAYER_H

/*
 * One image file of a chain: its decoded and validated structures and where things are in it.
 * A layer answers questions about its own file only; parents are chain.h's business.
 *
 * BAT pages are read on demand (chains of 512 disks open in milliseconds) and validated entry by
 * entry at use; only a writable open and check look at the whole table.
 *
 * Threads: immutable after layer_open but for what recovery and the structural operations change,
 * which have the layer to themselves. Reading functions may be called from any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/file.h"
#include "vhd/footer.h"
#include "vhd/header.h"

struct intent;
struct layer_parking;

struct vhd_layer {
	struct file *file;
	struct layer_parking *parking; /* NULL: `file` is always open (parking.h) */
	struct intent *intent; /* of an interrupted operation, overlaid in memory; usually NULL */
	char *path;
	struct vhd_footer footer;
	struct vhd_header header; /* dynamic and differencing */
	struct file_info info;    /* as of layer_open */
	uint64_t size_bytes;      /* of the disk */
	uint64_t footer_off;      /* of the trailing footer, where blocks must end */
	uint64_t meta_end;        /* first byte that may belong to a block */
	bool trailing_ok;         /* false: the copy at 0 was used, footer_off is the file's end */
	bool copy_ok;       /* the copy at 0 equals the trailing footer; a fixed disk has none */
	bool legacy_footer; /* 511 bytes */
	/* dynamic and differencing */
	uint32_t block_bytes;
	unsigned block_shift;
	uint32_t block_sectors;
	uint32_t bitmap_bytes;
	uint32_t blocks; /* of the disk; the BAT may have more */
};

/*
 * Open, lock, then read and validate footer and header; changes nothing. `flags` as for
 * file_ns_open. The lock comes first, so that what is read is what the lock protects. On error
 * nothing stays open.
 */
enum err layer_open(struct file_ns *ns, const char *path, unsigned flags, enum file_lock lock,
		    struct vhd_layer **out, struct err_why *why);
/* NULL is allowed. */
enum err layer_close(struct vhd_layer *layer, struct err_why *why);

/* Read metadata: the file's bytes, or what an intent record says they are to be. */
enum err layer_read_meta(struct vhd_layer *layer, enum file_event event, void *buf,
			 uint64_t off_bytes, uint64_t len_bytes, struct err_why *why);

/* Read and decode BAT entries [first, first+count), without judging them. */
enum err layer_read_bat(struct vhd_layer *layer, uint64_t first, uint32_t count, uint32_t *entries,
			struct err_why *why);

/* The rule for a used BAT entry: bitmap and block between the metadata and the trailing footer. */
enum err layer_check_entry(const struct vhd_layer *layer, uint64_t idx, uint32_t entry,
			   struct err_why *why);

/* Read the whole bitmap (layer->bitmap_bytes) of the block at `entry`. */
enum err layer_read_bitmap(struct vhd_layer *layer, uint32_t entry, uint8_t *bitmap,
			   struct err_why *why);

/* File offsets of a block's bitmap and data. */
static inline uint64_t layer_bitmap_off(uint32_t entry)
{
	return (uint64_t)entry * DISK_SECTOR;
}

static inline uint64_t layer_data_off(const struct vhd_layer *layer, uint32_t entry)
{
	return (uint64_t)entry * DISK_SECTOR + layer->bitmap_bytes;
}

static inline uint64_t layer_bat_entry_off(const struct vhd_layer *layer, uint64_t idx)
{
	return layer->header.bat_off + idx * 4;
}

static inline bool layer_is_sparse(const struct vhd_layer *layer)
{
	return layer->footer.type != VHD_FIXED;
}

/* First byte after the BAT and every parent locator that lies inside the file. */
uint64_t layer_locators_end(const struct vhd_layer *layer);

/* Write the footer as it is in memory to the given place, or the header to its own. No sync. */
enum err layer_write_footer(struct vhd_layer *layer, uint64_t off_bytes, struct err_why *why);
enum err layer_write_header(struct vhd_layer *layer, struct err_why *why);

/*
 * Whether a XenServer batmap stands after the BAT (docs/FORMATS.md), and how to make it invalid. A
 * block of `bat` (the disk's entries) may stand in its place: the bitmap of one, which a guest can
 * write, is never taken for a batmap.
 */
enum err layer_has_batmap(struct vhd_layer *layer, const uint32_t *bat, bool *out,
			  struct err_why *why);
enum err layer_drop_batmap(struct vhd_layer *layer, struct err_why *why);

#endif
