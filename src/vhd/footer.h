/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_FOOTER_H
#define STRATA_VHD_FOOTER_H

/*
 * The hard disk footer (specification, "Hard Disk Footer Format"): the last sector of every image,
 * and the first one of dynamic and differencing images. Decoding copies the bytes into a struct of
 * our own and checks every rule that needs nothing but the footer; fields we do not know are kept
 * in `raw` and written back as they were.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"
#include "util/guid.h"
#include "vhd/vhd.h"

#define FOOTER_BYTES        512u
#define FOOTER_LEGACY_BYTES 511u      /* images made before Virtual PC 2004 */
#define VHD_EPOCH_UNIX      946684800 /* 2000-01-01 00:00:00 UTC, where VHD time stamps start */

struct vhd_footer {
	uint32_t features;
	uint32_t version;
	uint64_t data_off;  /* of the dynamic header; all ones for a fixed image */
	uint32_t timestamp; /* seconds since VHD_EPOCH_UNIX */
	uint8_t creator_app[4];
	uint32_t creator_version;
	uint8_t creator_host[4];
	uint64_t original_bytes;
	uint64_t current_bytes; /* the size of the disk */
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors;
	enum vhd_type type;
	struct guid uuid;
	uint8_t saved_state;
	uint8_t raw[FOOTER_BYTES];
};

/* One's complement of the sum of all bytes, those at `field_off` (4 of them) taken as zero. */
uint32_t vhd_checksum(const uint8_t *bytes, uint32_t len_bytes, uint32_t field_off);

/* Whether the cookie is there, whatever the rest is like. */
bool footer_has_cookie(const uint8_t bytes[FOOTER_BYTES]);

/*
 * Decode and validate (robustness.md section 4, "Footer"). `at_off` is where the bytes come from;
 * it only serves the error text. ERR_CORRUPT names the first field that breaks a rule.
 */
enum err footer_decode(const uint8_t bytes[FOOTER_BYTES], uint64_t at_off, struct vhd_footer *out,
		       struct err_why *why);

/* All fields and a fresh checksum into `bytes`; reserved bytes as in footer->raw. */
void footer_encode(const struct vhd_footer *footer, uint8_t bytes[FOOTER_BYTES]);

/*
 * A footer for a new image: geometry by the specification's appendix, the present time, a fresh
 * UUID. The creator is given as "win " 10.0, because QEMU takes the size of images by creators it
 * does not know from the geometry, which is smaller than the disk.
 */
void footer_init(struct vhd_footer *footer, enum vhd_type type, uint64_t size_bytes);

/* Set current size and the geometry that goes with it. */
void footer_set_size(struct vhd_footer *footer, uint64_t size_bytes);

/* The specification's CHS calculation, saturating at 65535 x 16 x 255. */
void vhd_geometry(uint64_t size_bytes, uint16_t *cylinders, uint8_t *heads, uint8_t *sectors);

#endif
