/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_HANDMADE_H
#define STRATA_TESTS_HANDMADE_H

/*
 * VHD images made by hand, byte by byte from the specification and without the engine's encoders,
 * so that tests of malformed and foreign images do not rest on what they test. The layout is the
 * tight one of QEMU and VirtualBox: BAT right after the header, bitmap and data back to back,
 * footer right behind the last block.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDMADE_FOOTER 512u
#define HANDMADE_HEADER 1024u
#define HANDMADE_BAT    1536u /* offset of the BAT */

/* Offsets of fields in a footer and in a dynamic disk header. */
enum {
	FOOTER_FEATURES = 8,
	FOOTER_VERSION = 12,
	FOOTER_DATA_OFFSET = 16,
	FOOTER_TIMESTAMP = 24,
	FOOTER_CREATOR_VERSION = 32,
	FOOTER_ORIGINAL_SIZE = 40,
	FOOTER_CURRENT_SIZE = 48,
	FOOTER_GEOMETRY = 56,
	FOOTER_TYPE = 60,
	FOOTER_CHECKSUM = 64,
	FOOTER_UUID = 68,
	FOOTER_SAVED_STATE = 84,
	HEADER_DATA_OFFSET = 8,
	HEADER_TABLE_OFFSET = 16,
	HEADER_VERSION = 24,
	HEADER_MAX_ENTRIES = 28,
	HEADER_BLOCK_SIZE = 32,
	HEADER_CHECKSUM = 36,
	HEADER_PARENT_UUID = 40,
	HEADER_PARENT_TIMESTAMP = 56,
	HEADER_PARENT_NAME = 64,
	HEADER_LOCATOR = 576, /* eight of 24 bytes */
};

struct handmade {
	uint8_t *bytes;
	size_t len;
};

void handmade_free(struct handmade *image);
struct handmade handmade_copy(const struct handmade *image);

struct handmade handmade_fixed(uint64_t size_bytes);
/* `blocks` of the first blocks of the disk are allocated, in reverse order, each sector its number.
 */
struct handmade handmade_dynamic(uint64_t size_bytes, uint32_t block_size, uint32_t blocks);
/*
 * A child of `parent`, every third sector of its blocks present; the parent's name is `name` and
 * there is a W2ru locator for it.
 */
struct handmade handmade_child(const struct handmade *parent, const char *name, uint32_t block_size,
			       uint32_t blocks);

/* Where the trailing footer is; whether the image has a copy at 0 and a header. */
size_t handmade_footer_off(const struct handmade *image);
bool handmade_is_sparse(const struct handmade *image);

/* Recompute the checksum of the footer or header at `bytes`. */
void handmade_seal_footer(uint8_t *bytes);
void handmade_seal_header(uint8_t *bytes);
/* Cookie and checksum are right. */
bool handmade_footer_valid(const uint8_t *bytes);

#endif
