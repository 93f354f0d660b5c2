/* SPDX-License-Identifier: MIT */
#include "tests/lib/handmade.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define SECTOR      512u
#define TYPE_FIXED  2u
#define TYPE_SPARSE 3u
#define TYPE_CHILD  4u
#define LOCATOR_OFF 2048u /* of a child: one sector after the BAT */

static struct handmade allocate(size_t len)
{
	struct handmade image = {.bytes = calloc(1, len), .len = len};

	if (!image.bytes)
		abort();
	return image;
}

void handmade_free(struct handmade *image)
{
	free(image->bytes);
	*image = (struct handmade){0};
}

struct handmade handmade_copy(const struct handmade *image)
{
	struct handmade copy = allocate(image->len);

	memcpy(copy.bytes, image->bytes, image->len);
	return copy;
}

/* One's complement of the sum of all bytes, the checksum field counted as zero. */
static uint32_t checksum(const uint8_t *bytes, size_t len, size_t field_off)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < field_off || i >= field_off + 4)
			sum += bytes[i];
	return ~sum;
}

void handmade_seal_footer(uint8_t *bytes)
{
	put_be32(bytes + FOOTER_CHECKSUM, checksum(bytes, HANDMADE_FOOTER, FOOTER_CHECKSUM));
}

void handmade_seal_header(uint8_t *bytes)
{
	put_be32(bytes + HEADER_CHECKSUM, checksum(bytes, HANDMADE_HEADER, HEADER_CHECKSUM));
}

bool handmade_footer_valid(const uint8_t *bytes)
{
	return !memcmp(bytes, "conectix", 8) &&
	       get_be32(bytes + FOOTER_CHECKSUM) ==
		   checksum(bytes, HANDMADE_FOOTER, FOOTER_CHECKSUM);
}

size_t handmade_footer_off(const struct handmade *image)
{
	return image->len - HANDMADE_FOOTER;
}

bool handmade_is_sparse(const struct handmade *image)
{
	return get_be32(image->bytes + handmade_footer_off(image) + FOOTER_TYPE) != TYPE_FIXED;
}

static void put_footer(uint8_t *at, uint64_t size_bytes, uint32_t type, uint8_t id)
{
	memset(at, 0, HANDMADE_FOOTER);
	memcpy(at, "conectix", 8);
	put_be32(at + FOOTER_FEATURES, 2);
	put_be32(at + FOOTER_VERSION, 0x00010000);
	put_be64(at + FOOTER_DATA_OFFSET, type == TYPE_FIXED ? UINT64_MAX : HANDMADE_FOOTER);
	put_be32(at + FOOTER_TIMESTAMP, 0x20000000);
	memcpy(at + 28, "hand", 4);
	put_be32(at + FOOTER_CREATOR_VERSION, 0x00010000);
	memcpy(at + 36, "Wi2k", 4);
	put_be64(at + FOOTER_ORIGINAL_SIZE, size_bytes);
	put_be64(at + FOOTER_CURRENT_SIZE, size_bytes);
	put_be16(at + FOOTER_GEOMETRY, (uint16_t)(size_bytes / SECTOR / (4 * 17)));
	at[FOOTER_GEOMETRY + 2] = 4;
	at[FOOTER_GEOMETRY + 3] = 17;
	put_be32(at + FOOTER_TYPE, type);
	memset(at + FOOTER_UUID, id, 16);
	handmade_seal_footer(at);
}

static void put_header(uint8_t *at, uint32_t entries, uint32_t block_size)
{
	memset(at, 0, HANDMADE_HEADER);
	memcpy(at, "cxsparse", 8);
	put_be64(at + HEADER_DATA_OFFSET, UINT64_MAX);
	put_be64(at + HEADER_TABLE_OFFSET, HANDMADE_BAT);
	put_be32(at + HEADER_VERSION, 0x00010000);
	put_be32(at + HEADER_MAX_ENTRIES, entries);
	put_be32(at + HEADER_BLOCK_SIZE, block_size);
	handmade_seal_header(at);
}

struct handmade handmade_fixed(uint64_t size_bytes)
{
	struct handmade image = allocate(size_bytes + HANDMADE_FOOTER);

	for (uint64_t off = 0; off < size_bytes; off += SECTOR)
		put_be64(image.bytes + off, off / SECTOR);
	put_footer(image.bytes + size_bytes, size_bytes, TYPE_FIXED, 0xf1);
	return image;
}

/* `step`: each how many sectors of the blocks are present. */
static struct handmade sparse(uint64_t size_bytes, uint32_t block_size, uint32_t blocks,
			      uint32_t type, uint32_t step)
{
	uint32_t entries = (uint32_t)div_round_up(size_bytes, block_size);
	uint32_t sectors = block_size / SECTOR;
	size_t bitmap = round_up(sectors / 8, SECTOR);
	size_t first = HANDMADE_BAT + round_up((uint64_t)entries * 4, SECTOR) +
		       (type == TYPE_CHILD ? SECTOR : 0);
	struct handmade image = allocate(first + blocks * (bitmap + block_size) + HANDMADE_FOOTER);
	uint8_t *bat = image.bytes + HANDMADE_BAT;

	memset(bat, 0xff, round_up((uint64_t)entries * 4, SECTOR));
	put_header(image.bytes + HANDMADE_FOOTER, entries, block_size);
	for (uint32_t block = 0; block < blocks; block++) {
		size_t at = first + (blocks - 1 - block) * (bitmap + block_size);

		put_be32(bat + (size_t)block * 4, (uint32_t)(at / SECTOR));
		for (uint32_t s = 0; s < sectors; s += step) {
			image.bytes[at + s / 8] |= (uint8_t)(0x80 >> s % 8);
			put_be64(image.bytes + at + bitmap + (size_t)s * SECTOR,
				 (uint64_t)type << 56 | ((uint64_t)block * sectors + s));
		}
	}
	put_footer(image.bytes, size_bytes, type, type == TYPE_CHILD ? 0xc1 : 0xd1);
	put_footer(image.bytes + handmade_footer_off(&image), size_bytes, type,
		   type == TYPE_CHILD ? 0xc1 : 0xd1);
	return image;
}

struct handmade handmade_dynamic(uint64_t size_bytes, uint32_t block_size, uint32_t blocks)
{
	return sparse(size_bytes, block_size, blocks, TYPE_SPARSE, 1);
}

struct handmade handmade_child(const struct handmade *parent, const char *name, uint32_t block_size,
			       uint32_t blocks)
{
	const uint8_t *parent_footer = parent->bytes + handmade_footer_off(parent);
	struct handmade image = sparse(get_be64(parent_footer + FOOTER_CURRENT_SIZE), block_size,
				       blocks, TYPE_CHILD, 3);
	uint8_t *header = image.bytes + HANDMADE_FOOTER;
	uint8_t *locator = header + HEADER_LOCATOR;
	size_t len = strlen(name);

	memcpy(header + HEADER_PARENT_UUID, parent_footer + FOOTER_UUID, 16);
	for (size_t i = 0; i < len; i++)
		header[HEADER_PARENT_NAME + 2 * i + 1] = (uint8_t)name[i];
	memcpy(locator, "W2ru", 4);
	put_be32(locator + 4, SECTOR);
	put_be32(locator + 8, (uint32_t)(2 * (len + 2)));
	put_be64(locator + 16, LOCATOR_OFF);
	image.bytes[LOCATOR_OFF] = '.';
	image.bytes[LOCATOR_OFF + 2] = '\\';
	for (size_t i = 0; i < len; i++)
		image.bytes[LOCATOR_OFF + 4 + 2 * i] = (uint8_t)name[i];
	handmade_seal_header(header);
	return image;
}
