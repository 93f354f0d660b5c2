/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_HEADER_H
#define STRATA_VHD_HEADER_H

/*
 * The dynamic disk header (specification, "Dynamic Disk Header Format") of dynamic and
 * differencing images, with its eight parent locator entries. Decoding checks every rule that
 * needs the header and the footer alone; the layer checks it against the file.
 */

#include <stdint.h>

#include "util/err.h"
#include "util/guid.h"
#include "vhd/footer.h"

#define HEADER_BYTES      1024u
#define PARENT_NAME_BYTES 512u
#define BAT_MAX_BYTES     (32u << 20)
#define BAT_UNUSED        0xffffffffu

struct vhd_locator_entry {
	uint8_t code[4]; /* all zero: an empty slot */
	uint32_t space;  /* room for the data: sectors by the specification, bytes from Windows */
	uint32_t len_bytes;
	uint64_t off_bytes;
};

struct vhd_header {
	uint64_t bat_off;
	uint32_t max_entries;
	uint32_t block_bytes;
	struct guid parent_uuid;
	uint32_t parent_timestamp;
	uint8_t parent_name[PARENT_NAME_BYTES]; /* UTF-16, big-endian, NUL-padded */
	struct vhd_locator_entry locator[VHD_LOCATORS];
	uint8_t raw[HEADER_BYTES];
};

/* `footer` has been validated; `at_off` serves the error text. */
enum err header_decode(const uint8_t bytes[HEADER_BYTES], uint64_t at_off,
		       const struct vhd_footer *footer, struct vhd_header *out,
		       struct err_why *why);
void header_encode(const struct vhd_header *header, uint8_t bytes[HEADER_BYTES]);

/* A header for a new image; no parent, no locators. */
void header_init(struct vhd_header *header, uint64_t bat_off, uint32_t block_bytes,
		 uint64_t size_bytes);

/* How many blocks a disk of this size has, and the bytes of its BAT in whole sectors. */
uint64_t vhd_block_count(uint64_t size_bytes, uint32_t block_bytes);
uint64_t vhd_bat_bytes(uint64_t entries);
/* Bytes of a block's sector bitmap, padded to whole sectors. */
uint32_t vhd_bitmap_bytes(uint32_t block_bytes);

/* Room of a locator in bytes, whichever unit it was stored in; 0 when its length cannot fit. */
uint64_t locator_space_bytes(const struct vhd_locator_entry *entry);

#endif
