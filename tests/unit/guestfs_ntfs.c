/* SPDX-License-Identifier: MIT */
/* Free clusters of NTFS, against mkntfs, ntfscp and ntfscluster, and on volumes made by Windows. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/unit/guestfs_lab.h"
#include "util/bytes.h"

TestSuite(guestfs_ntfs, .init = lab_start, .fini = lab_stop);

struct kind {
	char size[8];
	char options[32];
};

static const struct kind kinds[] = {
    {"8M", ""}, {"300M", ""}, {"300M", "-c 512"}, {"999999K", "-c 65536"}, {"64M", "-s 4096"},
};

static void make(const struct kind *kind)
{
	lab_need("mkntfs");
	lab_sh("truncate -s %s image && mkntfs -F -q %s image", kind->size, kind->options);
}

static uint64_t free_bytes(const char *name)
{
	return lab_number("ntfscluster -i %s | awk '/^bytes of free space/ {print $6}'", name);
}

ParameterizedTestParameters(guestfs_ntfs, agrees_with_ntfscluster)
{
	return cr_make_param_array(struct kind, (struct kind *)kinds, ARRAY_LEN(kinds));
}

ParameterizedTest(struct kind *kind, guestfs_ntfs, agrees_with_ntfscluster)
{
	make(kind);
	lab_make_pattern("gone", 2, 1000);
	lab_make_pattern("kept", 1, 3001);
	lab_sh(
	    "ntfscp -f image gone gone && ntfscp -f image kept kept && ntfscp -f image /dev/null "
	    "gone");
	struct lab_free found = lab_free("image", "ntfs");

	cr_assert_eq(found.err, ERR_OK, "%s: %s", kind->options, found.why.text);
	cr_assert_eq(found.bytes, free_bytes("image"), "%s", kind->options);
	lab_check_pattern("image", &found, 1, 3001, false);
}

/* Every cluster of every file of a volume that Windows made, as ntfscluster sees it. */
static void check_windows(const char *fixture)
{
	lab_need("ntfscluster");
	lab_unpack(fixture, "image");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 1);
	cr_assert_str_eq(table->partition[0].fs, "ntfs");
	cr_assert_str_eq(table->partition[0].type, "0x07");
	struct lab_free found = lab_free_in("image", &table->partition[0]);

	cr_assert_eq(found.err, ERR_OK, "%s", found.why.text);
	lab_sh("dd if=image of=part bs=512 skip=%llu",
	       (unsigned long long)(table->partition[0].start_bytes / 512));
	cr_assert_eq(found.bytes, free_bytes("part"));
}

Test(guestfs_ntfs, agrees_on_a_volume_of_windows)
{
	check_windows("dfirorc-ntfs.vhd");
}

Test(guestfs_ntfs, agrees_on_a_volume_of_windows_10)
{
	check_windows("dissect-fixed.vhd");
}

/* ---- refused ---- */

static uint64_t record_off(unsigned number)
{
	uint8_t boot[512];

	lab_read("image", 0, boot, sizeof(boot));
	return get_le64(boot + 48) * boot[13] * get_le16(boot + 11) + number * 1024ull;
}

/* Offset in the image of the first attribute `type` of a record. */
static uint64_t attribute_off(unsigned number, uint32_t type)
{
	uint8_t record[1024];
	uint32_t off;

	lab_read("image", record_off(number), record, sizeof(record));
	for (off = get_le16(record + 20); get_le32(record + off) != type;
	     off += get_le32(record + off + 4))
		cr_assert_lt(off, 900u);
	return record_off(number) + off;
}

static void set_bytes(uint64_t off, uint64_t v, unsigned bytes)
{
	uint8_t le[8];

	put_le64(le, v);
	lab_write("image", off, le, bytes);
}

static void make_plain(void)
{
	make(&kinds[0]);
}

/* The one partition of a fixture, as an image by itself. */
static void make_windows(void)
{
	lab_unpack("dissect-fixed.vhd", "whole");
	lab_sh("dd if=whole of=image bs=512 skip=128 count=14336");
	cr_assert_eq(lab_free("image", "ntfs").err, ERR_OK);
}

Test(guestfs_ntfs, refuses_a_dirty_volume)
{
	make_plain();
	set_bytes(attribute_off(3, 0x70) + 24 + 10, 1, 2);
	lab_refused("image", "ntfs", "dirty");
}

/* Where the content of a record's unnamed data begins: clusters are of 4 KiB here. */
static uint64_t data_off(unsigned number)
{
	uint64_t attribute = attribute_off(number, 0x80);
	uint8_t run[16] = {0};
	uint64_t lcn = 0;

	lab_read("image", attribute + 64, run, sizeof(run));
	for (unsigned i = run[0] >> 4; i > 0; i--)
		lcn = lcn << 8 | run[(run[0] & 15) + i];
	return lcn * 4096;
}

static uint64_t log_off(void)
{
	return data_off(2);
}

Test(guestfs_ntfs, refuses_a_log_that_was_not_closed)
{
	make_windows();
	set_bytes(log_off() + 48 + 14, 0, 2);
	set_bytes(log_off() + 4096 + 48 + 14, 0, 2);
	lab_refused("image", "ntfs", "$LogFile was not closed");
}

Test(guestfs_ntfs, takes_the_restart_page_that_was_written_last)
{
	make_windows();
	set_bytes(log_off() + 4096 + 48, UINT32_MAX, 8);
	set_bytes(log_off() + 4096 + 48 + 14, 0, 2);
	lab_refused("image", "ntfs", "$LogFile was not closed");
}

Test(guestfs_ntfs, refuses_a_log_of_fast_start)
{
	make_windows();
	set_bytes(log_off() + 28, 2, 2);
	set_bytes(log_off() + 4096 + 28, 2, 2);
	lab_refused("image", "ntfs", "version 2");
}

Test(guestfs_ntfs, refuses_a_log_without_restart_page)
{
	make_windows();
	set_bytes(log_off(), 0, 4);
	lab_refused("image", "ntfs", "$LogFile");
}

Test(guestfs_ntfs, refuses_shadow_copies)
{
	static const uint8_t guid[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e,
					 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};

	make_plain();
	lab_write("image", 0x1e00, guid, sizeof(guid));
	cr_assert_eq(lab_free("image", "ntfs").err, ERR_OK);
	set_bytes(0x1e00 + 48, 0x4000, 8);
	lab_refused("image", "ntfs", "shadow copies");
}

Test(guestfs_ntfs, refuses_a_torn_record)
{
	make_plain();
	set_bytes(record_off(6) + 510, 0xabcd, 2);
	lab_refused("image", "ntfs", "MFT record 6");
}

Test(guestfs_ntfs, refuses_a_bitmap_that_calls_its_own_clusters_free)
{
	static const uint8_t zeros[512];

	make_plain();
	lab_write("image", data_off(6), zeros, sizeof(zeros));
	lab_refused("image", "ntfs", "$Bitmap");
}

Test(guestfs_ntfs, refuses_run_lists_that_break_a_rule)
{
	static const struct {
		uint8_t bytes[9];
		const char *what;
	} lists[] = {
	    {{0x01, 0x01}, "a hole"},
	    {{0x10, 0x05}, "no length"},
	    {{0x11, 0x00, 0x05}, "an empty run"},
	    {{0x11, 0x01, 0xff}, "before the volume"},
	    {{0x21, 0x01, 0xff, 0x7f}, "behind the volume"},
	    {{0x12, 0xff, 0xff, 0x05}, "too long"},
	    {{0xff, 0x01}, "numbers of 15 bytes"},
	};

	make_plain();
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		lab_write("image", attribute_off(6, 0x80) + 64, lists[i].bytes, 8);
		lab_refused("image", "ntfs", "MFT record 6");
	}
}

Test(guestfs_ntfs, refuses_an_mft_that_is_elsewhere)
{
	make_plain();
	set_bytes(attribute_off(0, 0x80) + 64 + 2, 0x30, 1);
	lab_refused("image", "ntfs", "MFT");
}

Test(guestfs_ntfs, refuses_a_volume_longer_than_its_partition)
{
	make_plain();
	lab_sh("truncate -s -4096 image");
	lab_refused("image", "ntfs", "do not fit");
}

/* The second and third cluster of $Bitmap moved elsewhere: two runs that fill the attribute. */
Test(guestfs_ntfs, reads_a_bitmap_in_pieces)
{
	uint8_t bitmap[3 * 4096], list[8] = {0x21, 1, 0, 0, 0x21, 2, 0, 0};
	uint64_t old, moved;

	make(&kinds[1]);
	struct lab_free before = lab_free("image", "ntfs");

	old = data_off(6) / 4096;
	moved = round_down(old + 16000, 8);
	cr_assert(lab_is_free(&before, moved * 4096) && lab_is_free(&before, (moved + 1) * 4096));
	lab_read("image", old * 4096, bitmap, sizeof(bitmap));
	bitmap[moved / 8] |= 3;
	lab_write("image", old * 4096, bitmap, 4096);
	lab_write("image", moved * 4096, bitmap + 4096, 2 * 4096);
	memset(bitmap, 0, sizeof(bitmap)); /* what the old place has now must not be read */
	lab_write("image", (old + 1) * 4096, bitmap, 2 * 4096);
	put_le16(list + 2, (uint16_t)old);
	put_le16(list + 6, (uint16_t)(moved - old));
	cr_assert_lt(old, 32768u);
	lab_write("image", attribute_off(6, 0x80) + 64, list, sizeof(list));
	struct lab_free after = lab_free("image", "ntfs");

	cr_assert_eq(after.err, ERR_OK, "%s", after.why.text);
	cr_assert_eq(before.bytes - after.bytes, 2 * 4096);
	cr_assert(!lab_is_free(&after, moved * 4096));
	cr_assert(!lab_is_free(&after, (moved + 1) * 4096));
}

/* $Bitmap shorter than the volume: what it does not reach is in use. */
Test(guestfs_ntfs, counts_clusters_beyond_the_bitmap_as_used)
{
	make_plain();
	struct lab_free before = lab_free("image", "ntfs");
	set_bytes(attribute_off(6, 0x80) + 56, 200, 8); /* initialized: 1600 clusters of 2047 */
	struct lab_free after = lab_free("image", "ntfs");

	cr_assert_eq(before.err, ERR_OK);
	cr_assert_eq(after.err, ERR_OK, "%s", after.why.text);
	cr_assert_lt(after.bytes, before.bytes);
	cr_assert(!lab_is_free(&after, 1600 * 4096ull));
	cr_assert(lab_is_free(&before, 1600 * 4096ull));
}
