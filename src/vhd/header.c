/* SPDX-License-Identifier: MIT */
#include "vhd/header.h"

#include <string.h>

#include "util/bytes.h"

/* Offsets of the fields. */
enum {
	H_COOKIE = 0,
	H_DATA_OFF = 8,
	H_TABLE_OFF = 16,
	H_VERSION = 24,
	H_MAX_ENTRIES = 28,
	H_BLOCK_SIZE = 32,
	H_CHECKSUM = 36,
	H_PARENT_UUID = 40,
	H_PARENT_TIMESTAMP = 56,
	H_PARENT_NAME = 64,
	H_LOCATORS = 576,
	LOCATOR_ENTRY_BYTES = 24,
};

static const uint8_t cookie[8] = {'c', 'x', 's', 'p', 'a', 'r', 's', 'e'};

uint64_t vhd_block_count(uint64_t size_bytes, uint32_t block_bytes)
{
	return div_round_up(size_bytes, block_bytes);
}

uint64_t vhd_bat_bytes(uint64_t entries)
{
	return round_up(entries * 4, DISK_SECTOR);
}

uint32_t vhd_bitmap_bytes(uint32_t block_bytes)
{
	return (uint32_t)round_up(div_round_up(block_bytes / DISK_SECTOR, 8), DISK_SECTOR);
}

uint64_t locator_space_bytes(const struct vhd_locator_entry *entry)
{
	/* Windows stores bytes, the specification says sectors: a length tells which can be meant.
	 */
	if (entry->space % DISK_SECTOR == 0 && entry->space >= entry->len_bytes)
		return entry->space;
	if ((uint64_t)entry->space * DISK_SECTOR >= entry->len_bytes)
		return (uint64_t)entry->space * DISK_SECTOR;
	return 0;
}

static void decode_locators(const uint8_t *bytes, struct vhd_header *h)
{
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		const uint8_t *p = bytes + H_LOCATORS + (size_t)i * LOCATOR_ENTRY_BYTES;

		memcpy(h->locator[i].code, p, 4);
		h->locator[i].space = get_be32(p + 4);
		h->locator[i].len_bytes = get_be32(p + 8);
		h->locator[i].off_bytes = get_be64(p + 16);
	}
}

static enum err check_fields(const struct vhd_header *h, uint64_t at_off,
			     const struct vhd_footer *footer, struct err_why *why)
{
	unsigned long long at = at_off;

	if (h->block_bytes < VHD_MIN_BLOCK || h->block_bytes > VHD_MAX_BLOCK ||
	    !is_power_of_two(h->block_bytes))
		return err_set(
		    why, ERR_CORRUPT,
		    "dynamic header at 0x%llx: block size %u at +32 is not a power of two "
		    "between 64 KiB and 256 MiB",
		    at, h->block_bytes);
	uint64_t blocks = vhd_block_count(footer->current_bytes, h->block_bytes);
	if (h->max_entries < blocks)
		return err_set(
		    why, ERR_CORRUPT,
		    "dynamic header at 0x%llx: max table entries %u at +28, but the disk "
		    "has %llu blocks",
		    at, h->max_entries, (unsigned long long)blocks);
	if ((uint64_t)h->max_entries * 4 > BAT_MAX_BYTES)
		return err_set(
		    why, ERR_CORRUPT,
		    "dynamic header at 0x%llx: max table entries %u at +28 means a block "
		    "allocation table over 32 MiB",
		    at, h->max_entries);
	if (h->bat_off % DISK_SECTOR || h->bat_off < at_off + HEADER_BYTES)
		return err_set(
		    why, ERR_CORRUPT,
		    "dynamic header at 0x%llx: table offset 0x%llx at +16 is not a sector "
		    "after the header",
		    at, (unsigned long long)h->bat_off);
	return ERR_OK;
}

enum err header_decode(const uint8_t bytes[HEADER_BYTES], uint64_t at_off,
		       const struct vhd_footer *footer, struct vhd_header *out, struct err_why *why)
{
	uint32_t stored = get_be32(bytes + H_CHECKSUM);
	uint32_t computed = vhd_checksum(bytes, HEADER_BYTES, H_CHECKSUM);
	uint32_t version = get_be32(bytes + H_VERSION);
	struct vhd_header h = {0};

	if (memcmp(bytes, cookie, sizeof(cookie)) != 0)
		return err_set(why, ERR_CORRUPT,
			       "no dynamic header at 0x%llx: the cookie is not \"cxsparse\"",
			       (unsigned long long)at_off);
	if (stored != computed)
		return err_set(
		    why, ERR_CORRUPT,
		    "dynamic header at 0x%llx: checksum at +36 is 0x%08x, should be 0x%08x",
		    (unsigned long long)at_off, stored, computed);
	if (version >> 16 != 1)
		return err_set(why, ERR_UNSUPPORTED,
			       "dynamic header at 0x%llx: version %u.%u at +24, only 1.x is known",
			       (unsigned long long)at_off, version >> 16, version & 0xffff);

	memcpy(h.raw, bytes, HEADER_BYTES);
	h.bat_off = get_be64(bytes + H_TABLE_OFF);
	h.max_entries = get_be32(bytes + H_MAX_ENTRIES);
	h.block_bytes = get_be32(bytes + H_BLOCK_SIZE);
	memcpy(h.parent_uuid.b, bytes + H_PARENT_UUID, 16);
	h.parent_timestamp = get_be32(bytes + H_PARENT_TIMESTAMP);
	memcpy(h.parent_name, bytes + H_PARENT_NAME, PARENT_NAME_BYTES);
	decode_locators(bytes, &h);

	enum err e = check_fields(&h, at_off, footer, why);
	if (e)
		return e;
	*out = h;
	return ERR_OK;
}

void header_encode(const struct vhd_header *h, uint8_t bytes[HEADER_BYTES])
{
	memcpy(bytes, h->raw, HEADER_BYTES);
	memcpy(bytes + H_COOKIE, cookie, sizeof(cookie));
	put_be64(bytes + H_DATA_OFF, UINT64_MAX);
	put_be64(bytes + H_TABLE_OFF, h->bat_off);
	put_be32(bytes + H_VERSION, 0x00010000);
	put_be32(bytes + H_MAX_ENTRIES, h->max_entries);
	put_be32(bytes + H_BLOCK_SIZE, h->block_bytes);
	memcpy(bytes + H_PARENT_UUID, h->parent_uuid.b, 16);
	put_be32(bytes + H_PARENT_TIMESTAMP, h->parent_timestamp);
	memcpy(bytes + H_PARENT_NAME, h->parent_name, PARENT_NAME_BYTES);
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		uint8_t *p = bytes + H_LOCATORS + (size_t)i * LOCATOR_ENTRY_BYTES;

		memcpy(p, h->locator[i].code, 4);
		put_be32(p + 4, h->locator[i].space);
		put_be32(p + 8, h->locator[i].len_bytes);
		put_be32(p + 12, 0);
		put_be64(p + 16, h->locator[i].off_bytes);
	}
	put_be32(bytes + H_CHECKSUM, vhd_checksum(bytes, HEADER_BYTES, H_CHECKSUM));
}

void header_init(struct vhd_header *header, uint64_t bat_off, uint32_t block_bytes,
		 uint64_t size_bytes)
{
	*header = (struct vhd_header){
	    .bat_off = bat_off,
	    .block_bytes = block_bytes,
	    .max_entries = (uint32_t)vhd_block_count(size_bytes, block_bytes),
	};
}
