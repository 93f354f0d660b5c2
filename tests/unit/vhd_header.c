/* SPDX-License-Identifier: MIT */
/* The dynamic header and the block allocation table: codec and validation. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/unit/vhd_lab.h"
#include "vhd/header.h"

#define H_CHECKSUM  36
#define AT_OFF      512u
#define BLOCK       VHD_MIN_BLOCK
#define SPAN        (512 + BLOCK) /* bitmap and data */
#define ENTRY_BYTES 4

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_header, .init = start, .fini = stop);

static const struct vhd_footer disk_of_64_mib = {.current_bytes = 64 * MIB};

static void mend(uint8_t bytes[HEADER_BYTES])
{
	put_be32(bytes + H_CHECKSUM, vhd_checksum(bytes, HEADER_BYTES, H_CHECKSUM));
}

static void valid(uint8_t bytes[HEADER_BYTES])
{
	struct vhd_header header;

	header_init(&header, 1536, VHD_DEFAULT_BLOCK, 64 * MIB);
	header_encode(&header, bytes);
}

static enum err decode_with(unsigned at, unsigned width, uint64_t value, struct err_why *why)
{
	uint8_t bytes[HEADER_BYTES], be[8];
	struct vhd_header header;

	valid(bytes);
	put_be64(be, value);
	memcpy(bytes + at, be + 8 - width, width);
	mend(bytes);
	return header_decode(bytes, AT_OFF, &disk_of_64_mib, &header, why);
}

/* ---- the codec ---- */

Test(vhd_header, decoded_bytes_encode_to_themselves)
{
	struct rng rng = rng_seed(1);

	for (unsigned round = 0; round < 500; round++) {
		uint8_t in[HEADER_BYTES], out[HEADER_BYTES];
		struct vhd_header header;
		struct err_why why = {0};

		rng_fill(&rng, in, sizeof(in));
		memcpy(in, "cxsparse", 8);
		put_be64(in + 8, UINT64_MAX);
		put_be64(in + 16, rng_between(&rng, 3, 1u << 20) * 512);
		put_be32(in + 24, 0x00010000);
		put_be32(in + 28, (uint32_t)rng_between(&rng, 1024, BAT_MAX_BYTES / 4));
		put_be32(in + 32, VHD_MIN_BLOCK << rng_below(&rng, 13));
		for (unsigned i = 0; i < VHD_LOCATORS; i++)
			put_be32(in + 576 + i * 24 + 12, 0); /* reserved */
		mend(in);
		cr_assert_eq(header_decode(in, AT_OFF, &disk_of_64_mib, &header, &why), ERR_OK,
			     "%s", why.text);
		header_encode(&header, out);
		cr_assert_arr_eq(in, out, sizeof(in), "reserved bytes are kept, too");
	}
}

Test(vhd_header, encoded_fields_decode_to_themselves)
{
	struct vhd_header in, out;
	uint8_t bytes[HEADER_BYTES];

	header_init(&in, 0x2000, 4 * MIB, 64 * MIB);
	cr_expect_eq(in.max_entries, 16);
	in.parent_uuid = guid_new();
	in.parent_timestamp = 77;
	memset(in.parent_name, 0x41, sizeof(in.parent_name));
	for (unsigned i = 0; i < VHD_LOCATORS; i++) {
		memcpy(in.locator[i].code, "W2ku", 4);
		in.locator[i].space = 4096 * (i + 1);
		in.locator[i].len_bytes = 10 + i;
		in.locator[i].off_bytes = 0x100000000ull + 512ull * i;
	}
	header_encode(&in, bytes);
	cr_assert_eq(header_decode(bytes, AT_OFF, &disk_of_64_mib, &out, NULL), ERR_OK);
	cr_expect_eq(out.bat_off, in.bat_off);
	cr_expect_eq(out.max_entries, in.max_entries);
	cr_expect_eq(out.block_bytes, in.block_bytes);
	cr_expect(guid_equal(&out.parent_uuid, &in.parent_uuid));
	cr_expect_eq(out.parent_timestamp, 77);
	cr_expect_arr_eq(out.parent_name, in.parent_name, PARENT_NAME_BYTES);
	cr_expect_arr_eq(out.locator, in.locator, sizeof(in.locator));
}

Test(vhd_header, sizes_that_follow_from_the_block_size)
{
	cr_expect_eq(vhd_bitmap_bytes(VHD_MIN_BLOCK), 512);
	cr_expect_eq(vhd_bitmap_bytes(VHD_DEFAULT_BLOCK), 512);
	cr_expect_eq(vhd_bitmap_bytes(4 * MIB), 1024);
	cr_expect_eq(vhd_bitmap_bytes(VHD_MAX_BLOCK), 64 * KIB);
	cr_expect_eq(vhd_block_count(512, VHD_DEFAULT_BLOCK), 1);
	cr_expect_eq(vhd_block_count(VHD_DEFAULT_BLOCK + 512, VHD_DEFAULT_BLOCK), 2);
	cr_expect_eq(vhd_block_count(VHD_MAX_SIZE, VHD_DEFAULT_BLOCK), 1044480);
	cr_expect_eq(vhd_bat_bytes(1), 512);
	cr_expect_eq(vhd_bat_bytes(128), 512);
	cr_expect_eq(vhd_bat_bytes(129), 1024);
}

/* ---- rules (robustness.md section 4, Header) ---- */

Test(vhd_header, refuses_another_cookie)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(7, 1, 'x', &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "cxsparse"), "%s", why.text);
}

Test(vhd_header, refuses_a_bad_checksum)
{
	uint8_t bytes[HEADER_BYTES];
	struct vhd_header header;

	for (unsigned at = 0; at < HEADER_BYTES; at++) {
		struct err_why why = {0};

		valid(bytes);
		bytes[at] ^= 1;
		cr_assert_eq(header_decode(bytes, AT_OFF, &disk_of_64_mib, &header, &why),
			     ERR_CORRUPT, "byte %u", at);
		cr_assert(strstr(why.text, at < 8 ? "cookie" : "checksum at +36"), "%s", why.text);
	}
}

Test(vhd_header, knows_version_1_only)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(24, 4, 0x00010001, NULL), ERR_OK);
	cr_expect_eq(decode_with(24, 4, 0x00020000, &why), ERR_UNSUPPORTED);
	cr_expect(strstr(why.text, "version 2.0 at +24"), "%s", why.text);
}

Test(vhd_header, block_size_is_a_power_of_two_in_range)
{
	static const uint32_t bad[] = {0,
				       1,
				       512,
				       VHD_MIN_BLOCK / 2,
				       VHD_MIN_BLOCK + 512,
				       3 * VHD_MIN_BLOCK,
				       VHD_MAX_BLOCK * 2,
				       0x80000000u,
				       0xffffffffu};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err_why why = {0};

		cr_expect_eq(decode_with(32, 4, bad[i], &why), ERR_CORRUPT, "%u", bad[i]);
		cr_expect(strstr(why.text, "block size") && strstr(why.text, "+32"), "%s",
			  why.text);
	}
	cr_expect_eq(decode_with(32, 4, VHD_MAX_BLOCK, NULL), ERR_OK);
}

Test(vhd_header, the_table_must_cover_the_disk)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(28, 4, 31, &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "max table entries 31 at +28"), "%s", why.text);
	cr_expect_eq(decode_with(28, 4, 0, NULL), ERR_CORRUPT);
	cr_expect_eq(decode_with(28, 4, 33, NULL), ERR_OK, "a surplus is legal");
	/* smaller blocks need more entries */
	cr_expect_eq(decode_with(32, 4, VHD_DEFAULT_BLOCK / 2, NULL), ERR_CORRUPT);
}

Test(vhd_header, the_table_is_at_most_32_mib)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(28, 4, BAT_MAX_BYTES / 4, NULL), ERR_OK);
	cr_expect_eq(decode_with(28, 4, BAT_MAX_BYTES / 4 + 1, &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "32 MiB"), "%s", why.text);
	cr_expect_eq(decode_with(28, 4, 0xffffffff, NULL), ERR_CORRUPT);
	cr_expect_eq(decode_with(28, 4, 0x40000001, NULL), ERR_CORRUPT);
}

Test(vhd_header, the_table_is_aligned_and_after_the_header)
{
	static const uint64_t bad[] = {0, 512, 1024, 1535, 1537, 2047, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err_why why = {0};

		cr_expect_eq(decode_with(16, 8, bad[i], &why), ERR_CORRUPT, "%llx",
			     (unsigned long long)bad[i]);
		cr_expect(strstr(why.text, "+16"), "%s", why.text);
	}
	cr_expect_eq(decode_with(16, 8, 1536, NULL), ERR_OK);
}

/* ---- the header and the file ---- */

Test(vhd_header, the_table_must_end_before_the_footer)
{
	static const uint64_t bad[] = {1ull << 40, UINT64_MAX - 511, UINT64_MAX - 1023,
				       INT64_MAX - 511};

	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	uint64_t footer = vlab_size(&lab, "d") - FOOTER_BYTES;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		vlab_set_header(&lab, "d", 16, 8, bad[i] & ~511ull);
		cr_expect_eq(vlab_probe(&lab, "d", true), ERR_CORRUPT, "%llx",
			     (unsigned long long)bad[i]);
		cr_expect(vlab_said(&lab, "block allocation table"), "%s", lab.why.text);
	}
	vlab_set_header(&lab, "d", 16, 8, footer);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_CORRUPT);
	vlab_set_header(&lab, "d", 16, 8, footer - 512);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_OK, "%s", lab.why.text);
}

Test(vhd_header, a_long_table_in_a_short_file_is_refused)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_set_header(&lab, "d", 28, 4, BAT_MAX_BYTES / 4);
	cr_expect_eq(vlab_probe(&lab, "d", true), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "block allocation table"), "%s", lab.why.text);
}

/* ---- BAT entries ---- */

#define BAT_OFF 1536u

/* A disk of 16 blocks, of which the first two are in use. */
static void two_blocks(const char *path)
{
	vlab_create(&lab, path, VHD_DYNAMIC, 16 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, path, true);
	vlab_write(disk, 0, 2 * BLOCK, 3);
	vlab_close(disk);
}

static enum err read_block(const char *path, uint32_t idx)
{
	struct disk *disk = vlab_open(&lab, path, false);
	uint8_t buf[512];

	lab.why = (struct err_why){0};
	enum err err = disk_read(disk, exercise_queue(), buf, (uint64_t)idx * BLOCK, 512, &lab.why);
	vlab_close(disk);
	return err;
}

Test(vhd_header, a_bat_entry_outside_the_file_is_refused)
{
	two_blocks("d");
	uint64_t footer = vlab_size(&lab, "d") - FOOTER_BYTES;
	const uint32_t bad[] = {0,
				1,
				BAT_OFF / 512,
				(uint32_t)((footer - SPAN) / 512 + 1),
				(uint32_t)(footer / 512),
				0x7fffffffu,
				0xfffffffeu};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct mem_ns *before = mem_ns_clone(lab.mem);
		vlab_put32(&lab, "d", BAT_OFF + 5 * ENTRY_BYTES, bad[i]);
		/* a writer looks at all entries, a reader at those it uses */
		cr_expect_eq(vlab_probe(&lab, "d", true), ERR_CORRUPT, "entry 0x%x", bad[i]);
		cr_expect(vlab_said(&lab, "BAT entry 5 at 0x614"), "%s", lab.why.text);
		cr_expect_eq(read_block("d", 5), ERR_CORRUPT, "entry 0x%x", bad[i]);
		cr_expect(vlab_said(&lab, "BAT entry 5"), "%s", lab.why.text);
		cr_expect_eq(read_block("d", 0), ERR_OK, "%s", lab.why.text);
		cr_expect_eq(mem_ns_size(before, "d"), vlab_size(&lab, "d"));
		mem_ns_free(before);
	}
}

Test(vhd_header, overlapping_blocks_are_refused_for_writing)
{
	two_blocks("d");
	uint32_t first = vlab_bat_entry(&lab, "d", 0), second = vlab_bat_entry(&lab, "d", 1);
	cr_assert_lt(first, second);
	const uint32_t bad[] = {first, first + 1, second, second - 1,
				second - (uint32_t)(SPAN / 512) + 1};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		vlab_put32(&lab, "d", BAT_OFF + 9 * ENTRY_BYTES, bad[i]);
		cr_expect_eq(vlab_probe(&lab, "d", true), ERR_CORRUPT, "entry %u", bad[i]);
		cr_expect(vlab_said(&lab, "overlap"), "%s", lab.why.text);
	}
}

/* 20 blocks of room in the table, 16 in the disk: whatever the rest says, nobody goes there. */
Test(vhd_header, entries_past_the_disks_end_are_never_followed)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 20 * BLOCK, NULL);
	vlab_set_footers(&lab, "d", 48, 8, 16 * BLOCK);
	for (unsigned i = 16; i < 128; i++)
		vlab_put32(&lab, "d", BAT_OFF + i * ENTRY_BYTES, i * 7);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 15ull * BLOCK, BLOCK, 4);
	vlab_flush(disk);
	cr_expect(vlab_holds(&lab, disk, 0, 15ull * BLOCK, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 15ull * BLOCK, BLOCK, 4), "%s", lab.why.text);
	vlab_close(disk);
	for (unsigned i = 16; i < 128; i++) {
		uint8_t entry[4];

		vlab_get(&lab, "d", BAT_OFF + i * ENTRY_BYTES, entry, 4);
		cr_assert_eq(get_be32(entry), i * 7, "and it stays as it was");
	}
}

/* The last block is stored in full, also when the disk ends inside it. */
Test(vhd_header, a_disk_may_end_inside_a_block)
{
	static const uint64_t sizes[] = {512, 4096 + 512, BLOCK - 512, 3 * BLOCK + 512};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t size = sizes[i];
		char path[8] = {(char)('a' + i)};
		struct disk_info info;

		vlab_create(&lab, path, VHD_DYNAMIC, size, NULL);
		struct disk *disk = vlab_open(&lab, path, true);
		disk_get_info(disk, &info);
		cr_expect_eq(info.size_bytes, size);
		vlab_write(disk, 0, size, 8);
		cr_expect(vlab_holds(&lab, disk, 0, size, 8), "%s", lab.why.text);
		cr_expect_eq(vlab_try_write(&lab, disk, size, 512, 8), ERR_RANGE);
		vlab_close(disk);
		disk = vlab_open(&lab, path, false);
		cr_expect(vlab_holds(&lab, disk, 0, size, 8), "%s", lab.why.text);
		vlab_close(disk);
		cr_expect_geq(vlab_size(&lab, path),
			      1536 + 512 + vhd_block_count(size, BLOCK) * SPAN + 512);
	}
}

Test(vhd_header, every_legal_block_size_works)
{
	for (uint64_t block = VHD_MIN_BLOCK; block <= VHD_MAX_BLOCK; block *= 2) {
		struct vhd_create_opts opts = {.type = VHD_DYNAMIC,
					       .size_bytes = 3 * block - 512,
					       .block_size = (uint32_t)block};
		char path[20];

		snprintf(path, sizeof(path), "b%llu", (unsigned long long)block);
		cr_assert_eq(vlab_try_create(&lab, path, opts), ERR_OK, "%s", lab.why.text);
		struct disk *disk = vlab_open(&lab, path, true);
		vlab_write(disk, block - 4096, 8192, 5);
		vlab_write(disk, 3 * block - 1024, 512, 6);
		vlab_close(disk);
		disk = vlab_open(&lab, path, false);
		cr_expect(vlab_holds(&lab, disk, block - 4096, 8192, 5), "%s", lab.why.text);
		cr_expect(vlab_holds(&lab, disk, 3 * block - 1024, 512, 6), "%s", lab.why.text);
		cr_expect(vlab_holds(&lab, disk, block + 4096, 65536 - 8192, 0), "%s",
			  lab.why.text);
		vlab_close(disk);
	}
}
