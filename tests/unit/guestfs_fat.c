/* SPDX-License-Identifier: MIT */
/* Free clusters of FAT, against mkfs.fat, mtools and fsck.fat. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/unit/guestfs_lab.h"
#include "util/bytes.h"

TestSuite(guestfs_fat, .init = lab_start, .fini = lab_stop);

struct kind {
	char size[8];
	char options[32];
};

static const struct kind kinds[] = {
    {"4M", "-F12"},        {"1440K", "-F12 -f 1"},
    {"30M", "-F16"},       {"60M", "-F16 -s 8 -S 1024"},
    {"100M", "-F32 -s 1"}, {"300M", "-F32 -s 2 -f 1"},
};

static void make(const struct kind *kind)
{
	lab_need("mkfs.fat");
	lab_sh("truncate -s %s image && mkfs.fat %s image", kind->size, kind->options);
}

/* fsck.fat tells used and total clusters, and the bytes of one. */
static uint64_t free_bytes(void)
{
	return lab_number("fsck.fat -n -v image | awk '/bytes per cluster/ {b = $1} "
			  "/files, .* clusters/ {split($4, n, \"/\"); f = n[2] - n[1]} "
			  "END {printf \"%%.0f\\n\", f * b}'");
}

ParameterizedTestParameters(guestfs_fat, agrees_with_fsck)
{
	return cr_make_param_array(struct kind, (struct kind *)kinds, ARRAY_LEN(kinds));
}

ParameterizedTest(struct kind *kind, guestfs_fat, agrees_with_fsck)
{
	make(kind);
	struct lab_free found = lab_free("image", "vfat");

	cr_assert_eq(found.err, ERR_OK, "%s: %s", kind->options, found.why.text);
	cr_assert_eq(found.bytes, free_bytes(), "%s", kind->options);
}

ParameterizedTestParameters(guestfs_fat, never_reports_a_file)
{
	return cr_make_param_array(struct kind, (struct kind *)kinds, ARRAY_LEN(kinds));
}

ParameterizedTest(struct kind *kind, guestfs_fat, never_reports_a_file)
{
	lab_need("mcopy");
	make(kind);
	lab_make_pattern("gone", 2, 1000);
	lab_make_pattern("kept", 1, 777);
	lab_sh("mcopy -i image gone ::gone && mcopy -i image kept ::kept && mdel -i image ::gone");
	struct lab_free found = lab_free("image", "vfat");

	cr_assert_eq(found.err, ERR_OK, "%s: %s", kind->options, found.why.text);
	cr_assert_eq(found.bytes, free_bytes(), "%s", kind->options);
	lab_check_pattern("image", &found, 1, 777, false);
	lab_check_pattern("image", &found, 2, 1000, true);
}

static void make_16(void)
{
	make(&(struct kind){"30M", "-F16"});
}

static void make_32(void)
{
	make(&(struct kind){"100M", "-F32 -s 1"});
}

/* Where the first table starts. */
static uint64_t table_off(void)
{
	uint8_t boot[512];

	lab_read("image", 0, boot, sizeof(boot));
	return (uint64_t)get_le16(boot + 14) * get_le16(boot + 11);
}

static void set_byte(uint64_t off, uint8_t v)
{
	lab_write("image", off, &v, 1);
}

static uint8_t byte_at(uint64_t off)
{
	uint8_t v;

	lab_read("image", off, &v, 1);
	return v;
}

Test(guestfs_fat, refuses_a_dirty_boot_sector)
{
	make_16();
	set_byte(37, 1);
	lab_refused("image", "vfat", "not unmounted cleanly");
	make_32();
	set_byte(65, 1);
	lab_refused("image", "vfat", "not unmounted cleanly");
	make(&(struct kind){"4M", "-F12"});
	set_byte(37, 1);
	lab_refused("image", "vfat", "not unmounted cleanly");
}

Test(guestfs_fat, refuses_a_dirty_table)
{
	make_16();
	set_byte(table_off() + 3, 0x7f);
	lab_refused("image", "vfat", "FAT[1]");
	set_byte(table_off() + 3, 0xbf);
	lab_refused("image", "vfat", "FAT[1]");
	make_32();
	set_byte(table_off() + 7, 0x07);
	lab_refused("image", "vfat", "FAT[1]");
	set_byte(table_off() + 7, 0x0b);
	lab_refused("image", "vfat", "FAT[1]");
}

Test(guestfs_fat, needs_both_tables_to_call_a_cluster_free)
{
	uint8_t boot[512];
	uint64_t table;

	make_16();
	struct lab_free before = lab_free("image", "vfat");
	lab_read("image", 0, boot, sizeof(boot));
	table = get_le16(boot + 22) * 512ull;

	set_byte(table_off() + 2 * 100, 0xff);         /* cluster 100 in the first table */
	set_byte(table_off() + table + 2 * 200, 0xff); /* cluster 200 in the second */
	struct lab_free after = lab_free("image", "vfat");

	cr_assert_eq(after.err, ERR_OK, "%s", after.why.text);
	cr_assert_eq(before.bytes - after.bytes, 2ull * boot[13] * 512);
}

Test(guestfs_fat, refuses_tables_that_are_not_mirrored)
{
	make_32();
	set_byte(40, 0x81);
	lab_refused("image", "vfat", "not mirrored");
}

Test(guestfs_fat, refuses_a_type_that_is_ambiguous)
{
	lab_need("mkfs.fat");
	lab_sh("truncate -s 20M image && mkfs.fat -F32 -s 1 image");
	lab_refused("image", "vfat", "is it FAT");
}

Test(guestfs_fat, refuses_a_volume_longer_than_its_partition)
{
	make_16();
	lab_sh("truncate -s -512 image");
	lab_refused("image", "vfat", "do not fit");
}

Test(guestfs_fat, refuses_a_table_too_short_for_its_clusters)
{
	make_16();
	set_byte(22, byte_at(22) / 2);
	set_byte(23, 0);
	lab_refused("image", "vfat", "too short");
}

Test(guestfs_fat, refuses_a_table_with_another_media_byte)
{
	make_16();
	set_byte(table_off(), 0x00);
	lab_refused("image", "vfat", "media byte");
}
