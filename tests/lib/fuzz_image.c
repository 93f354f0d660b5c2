/* SPDX-License-Identifier: MIT */
#include "tests/lib/fuzz_image.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/exercise.h"
#include "util/bytes.h"

#define PIECE       (64u << 10)
#define MAX_PIECES  32u
#define MAX_EXTENTS 2000u

uint8_t fuzz_u8(struct fuzz_input *input)
{
	if (!input->len)
		return 0;
	input->len--;
	return *input->data++;
}

uint32_t fuzz_u32(struct fuzz_input *input)
{
	uint32_t value = fuzz_u8(input);

	for (int i = 0; i < 3; i++)
		value = value << 8 | fuzz_u8(input);
	return value;
}

struct handmade fuzz_base_image(enum fuzz_base base)
{
	struct handmade parent, child;

	if (base == FUZZ_FIXED)
		return handmade_fixed(FUZZ_DISK);
	parent = handmade_dynamic(FUZZ_DISK, FUZZ_BLOCK, 2);
	if (base == FUZZ_DYNAMIC)
		return parent;
	child = handmade_child(&parent, "parent.vhd", FUZZ_BLOCK, 2);
	handmade_free(&parent);
	return child;
}

/* Metadata is at both ends: an offset counts from the start or, with its top bit, from the end. */
static void patch(struct handmade *image, struct fuzz_input *input)
{
	uint32_t where = (uint32_t)fuzz_u8(input) << 8 | fuzz_u8(input);
	size_t off =
	    where & 0x8000 ? image->len - 1 - (where & 0x7fff) % image->len : where % image->len;
	unsigned len = fuzz_u8(input) % 17;

	for (unsigned i = 0; i < len && off + i < image->len; i++)
		image->bytes[off + i] = fuzz_u8(input);
}

struct handmade fuzz_patched(struct fuzz_input *input, enum fuzz_base base, unsigned patches)
{
	struct handmade image = fuzz_base_image(base);
	uint8_t how = fuzz_u8(input);

	if (how & 0x40) /* cut */
		image.len -= min_u64(image.len - HANDMADE_FOOTER, fuzz_u32(input) % image.len);
	for (; patches && input->len; patches--)
		patch(&image, input);
	if (how & 1)
		return image;
	handmade_seal_footer(image.bytes + image.len - HANDMADE_FOOTER);
	if (base != FUZZ_FIXED && image.len >= HANDMADE_BAT) {
		handmade_seal_footer(image.bytes);
		handmade_seal_header(image.bytes + HANDMADE_FOOTER);
	}
	return image;
}

static void walk_map(struct disk *disk, uint64_t size_bytes)
{
	struct disk_extent extent;
	unsigned left = MAX_EXTENTS;

	for (uint64_t off = 0; off < size_bytes && left; off += extent.len_bytes, left--) {
		if (disk_map(disk, off, size_bytes - off, &extent, NULL))
			return;
		if (extent.start_bytes != off || !extent.len_bytes ||
		    extent.len_bytes > size_bytes - off || extent.len_bytes % DISK_SECTOR ||
		    (extent.state == EXTENT_DATA && !extent.path))
			abort();
	}
}

void fuzz_walk(struct disk *disk)
{
	static uint8_t buf[PIECE];
	struct disk_info info;
	uint64_t step;

	disk_get_info(disk, &info);
	if (!info.size_bytes || info.size_bytes % DISK_SECTOR)
		abort();
	walk_map(disk, info.size_bytes);
	step = max_u64(PIECE, round_up(info.size_bytes / MAX_PIECES, PIECE));
	for (uint64_t off = 0; off < info.size_bytes; off += step)
		disk_read(disk, exercise_queue(), buf, off, min_u64(PIECE, info.size_bytes - off),
			  NULL);
	disk_read(disk, exercise_queue(), buf, info.size_bytes - DISK_SECTOR, DISK_SECTOR, NULL);
}
