/* SPDX-License-Identifier: MIT */
#include "vhd/footer.h"

#include <string.h>
#include <time.h>

#include "util/bytes.h"

/* Offsets of the fields. */
enum {
	F_COOKIE = 0,
	F_FEATURES = 8,
	F_VERSION = 12,
	F_DATA_OFF = 16,
	F_TIMESTAMP = 24,
	F_CREATOR_APP = 28,
	F_CREATOR_VERSION = 32,
	F_CREATOR_HOST = 36,
	F_ORIGINAL_SIZE = 40,
	F_CURRENT_SIZE = 48,
	F_GEOMETRY = 56,
	F_TYPE = 60,
	F_CHECKSUM = 64,
	F_UUID = 68,
	F_SAVED_STATE = 84,
};

#define FEATURE_RESERVED 2u /* always set, says the specification */

static const uint8_t cookie[8] = {'c', 'o', 'n', 'e', 'c', 't', 'i', 'x'};

uint32_t vhd_checksum(const uint8_t *bytes, uint32_t len_bytes, uint32_t field_off)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len_bytes; i++) {
		if (i - field_off >= 4)
			sum += bytes[i];
	}
	return ~sum;
}

bool footer_has_cookie(const uint8_t bytes[FOOTER_BYTES])
{
	return memcmp(bytes, cookie, sizeof(cookie)) == 0;
}

static enum err check_fields(const struct vhd_footer *f, uint64_t at_off, struct err_why *why)
{
	if (f->version >> 16 != 1)
		return err_set(why, ERR_UNSUPPORTED,
			       "footer at 0x%llx: version %u.%u, only 1.x is known",
			       (unsigned long long)at_off, f->version >> 16, f->version & 0xffff);
	if (f->type != VHD_FIXED && f->type != VHD_DYNAMIC && f->type != VHD_DIFFERENCING)
		return err_set(why, ERR_UNSUPPORTED,
			       "footer at 0x%llx: disk type %u, only 2 (fixed), 3 (dynamic) and 4 "
			       "(differencing) are known",
			       (unsigned long long)at_off, (unsigned)f->type);
	if (f->current_bytes == 0 || f->current_bytes % DISK_SECTOR ||
	    f->current_bytes > VHD_MAX_SIZE)
		return err_set(
		    why, ERR_CORRUPT,
		    "footer at 0x%llx: current size %llu at +48 is not a whole number of "
		    "sectors between 512 bytes and 2040 GiB",
		    (unsigned long long)at_off, (unsigned long long)f->current_bytes);
	if (f->saved_state > 1)
		return err_set(why, ERR_CORRUPT,
			       "footer at 0x%llx: saved state %u at +84 is neither 0 nor 1",
			       (unsigned long long)at_off, f->saved_state);
	return ERR_OK;
}

enum err footer_decode(const uint8_t bytes[FOOTER_BYTES], uint64_t at_off, struct vhd_footer *out,
		       struct err_why *why)
{
	uint32_t stored = get_be32(bytes + F_CHECKSUM);
	uint32_t computed = vhd_checksum(bytes, FOOTER_BYTES, F_CHECKSUM);
	struct vhd_footer f = {0};

	if (!footer_has_cookie(bytes))
		return err_set(why, ERR_CORRUPT,
			       "no footer at 0x%llx: the cookie is not \"conectix\"",
			       (unsigned long long)at_off);
	if (stored != computed)
		return err_set(why, ERR_CORRUPT,
			       "footer at 0x%llx: checksum at +64 is 0x%08x, should be 0x%08x",
			       (unsigned long long)at_off, stored, computed);

	memcpy(f.raw, bytes, FOOTER_BYTES);
	f.features = get_be32(bytes + F_FEATURES);
	f.version = get_be32(bytes + F_VERSION);
	f.data_off = get_be64(bytes + F_DATA_OFF);
	f.timestamp = get_be32(bytes + F_TIMESTAMP);
	memcpy(f.creator_app, bytes + F_CREATOR_APP, 4);
	f.creator_version = get_be32(bytes + F_CREATOR_VERSION);
	memcpy(f.creator_host, bytes + F_CREATOR_HOST, 4);
	f.original_bytes = get_be64(bytes + F_ORIGINAL_SIZE);
	f.current_bytes = get_be64(bytes + F_CURRENT_SIZE);
	f.cylinders = get_be16(bytes + F_GEOMETRY);
	f.heads = bytes[F_GEOMETRY + 2];
	f.sectors = bytes[F_GEOMETRY + 3];
	f.type = (enum vhd_type)get_be32(bytes + F_TYPE);
	memcpy(f.uuid.b, bytes + F_UUID, 16);
	f.saved_state = bytes[F_SAVED_STATE];

	enum err e = check_fields(&f, at_off, why);
	if (e)
		return e;
	*out = f;
	return ERR_OK;
}

void footer_encode(const struct vhd_footer *f, uint8_t bytes[FOOTER_BYTES])
{
	memcpy(bytes, f->raw, FOOTER_BYTES);
	memcpy(bytes + F_COOKIE, cookie, sizeof(cookie));
	put_be32(bytes + F_FEATURES, f->features);
	put_be32(bytes + F_VERSION, f->version);
	put_be64(bytes + F_DATA_OFF, f->data_off);
	put_be32(bytes + F_TIMESTAMP, f->timestamp);
	memcpy(bytes + F_CREATOR_APP, f->creator_app, 4);
	put_be32(bytes + F_CREATOR_VERSION, f->creator_version);
	memcpy(bytes + F_CREATOR_HOST, f->creator_host, 4);
	put_be64(bytes + F_ORIGINAL_SIZE, f->original_bytes);
	put_be64(bytes + F_CURRENT_SIZE, f->current_bytes);
	put_be16(bytes + F_GEOMETRY, f->cylinders);
	bytes[F_GEOMETRY + 2] = f->heads;
	bytes[F_GEOMETRY + 3] = f->sectors;
	put_be32(bytes + F_TYPE, (uint32_t)f->type);
	memcpy(bytes + F_UUID, f->uuid.b, 16);
	bytes[F_SAVED_STATE] = f->saved_state;
	put_be32(bytes + F_CHECKSUM, vhd_checksum(bytes, FOOTER_BYTES, F_CHECKSUM));
}

void vhd_geometry(uint64_t size_bytes, uint16_t *cylinders, uint8_t *heads, uint8_t *sectors)
{
	uint64_t total = min_u64(size_bytes / DISK_SECTOR, 65535ull * 16 * 255);
	uint64_t tracks, spt, h;

	if (total >= 65535ull * 16 * 63) {
		spt = 255;
		h = 16;
		tracks = total / spt;
	} else {
		spt = 17;
		tracks = total / spt;
		h = max_u64((tracks + 1023) / 1024, 4);
		if (tracks >= h * 1024 || h > 16) {
			spt = 31;
			h = 16;
			tracks = total / spt;
		}
		if (tracks >= h * 1024) {
			spt = 63;
			h = 16;
			tracks = total / spt;
		}
	}
	*cylinders = (uint16_t)(tracks / h);
	*heads = (uint8_t)h;
	*sectors = (uint8_t)spt;
}

void footer_set_size(struct vhd_footer *footer, uint64_t size_bytes)
{
	footer->current_bytes = size_bytes;
	vhd_geometry(size_bytes, &footer->cylinders, &footer->heads, &footer->sectors);
}

void footer_init(struct vhd_footer *footer, enum vhd_type type, uint64_t size_bytes)
{
	*footer = (struct vhd_footer){
	    .features = FEATURE_RESERVED,
	    .version = 0x00010000,
	    .data_off = type == VHD_FIXED ? UINT64_MAX : FOOTER_BYTES,
	    .timestamp = (uint32_t)(time(NULL) - VHD_EPOCH_UNIX),
	    .creator_app = {'w', 'i', 'n', ' '},
	    .creator_version = 0x000a0000,
	    .creator_host = {'W', 'i', '2', 'k'},
	    .original_bytes = size_bytes,
	    .type = type,
	    .uuid = guid_new(),
	};
	footer_set_size(footer, size_bytes);
}
