/* SPDX-License-Identifier: MIT */
/* Free blocks of ext2/3/4, against mke2fs, debugfs and dumpe2fs. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/unit/guestfs_lab.h"
#include "util/bytes.h"

#define KEPT_SECTORS 3001u

TestSuite(guestfs_ext, .init = lab_start, .fini = lab_stop);

struct kind {
	char size[8];
	char options[64];
	char fs[8];
};

static const struct kind kinds[] = {
    {"40M", "-t ext2 -b 1024", "ext2"},
    {"40M", "-t ext2 -b 4096", "ext2"},
    {"64M", "-t ext3 -b 1024", "ext3"},
    {"300M", "-t ext4 -b 4096", "ext4"},
    {"300M", "-t ext4 -b 1024 -O ^64bit", "ext4"},
    {"300M", "-t ext4 -b 1024 -O ^flex_bg,^64bit", "ext4"},
    {"300M", "-t ext4 -b 1024 -O meta_bg,^resize_inode", "ext4"},
    {"300M", "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg", "ext4"},
    {"300M", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "ext4"},
    {"300M", "-t ext4 -b 4096 -O sparse_super2", "ext4"},
    {"300M", "-t ext4 -O bigalloc -C 65536", "ext4"},
    {"99999K", "-t ext4 -b 1024 -O bigalloc -C 8192", "ext4"},
    {"20481K", "-t ext4 -b 2048 -g 1024", "ext4"},
};

/* An image with one file kept and one deleted, both with patterns. */
static void make(const char *name, const struct kind *kind)
{
	lab_need("mke2fs");
	lab_need("debugfs");
	lab_make_pattern("kept", 1, KEPT_SECTORS);
	lab_make_pattern("gone", 2, 4000);
	lab_sh("truncate -s %s %s && mke2fs -q -F %s %s", kind->size, name, kind->options, name);
	lab_sh("printf 'write gone gone\\nwrite kept kept\\nrm gone\\n' >commands && "
	       "debugfs -w -f commands %s",
	       name);
}

static uint64_t free_bytes(const char *name)
{
	return lab_number("dumpe2fs -h %s | awk '/^Free blocks:/ {f = $3} /^Block size:/ {b = $3} "
			  "END {printf \"%%.0f\\n\", f * b}'",
			  name);
}

ParameterizedTestParameters(guestfs_ext, agrees_with_dumpe2fs)
{
	return cr_make_param_array(struct kind, (struct kind *)kinds, ARRAY_LEN(kinds));
}

ParameterizedTest(struct kind *kind, guestfs_ext, agrees_with_dumpe2fs)
{
	make("image", kind);
	struct lab_free found = lab_free("image", kind->fs);

	cr_assert_eq(found.err, ERR_OK, "%s: %s", kind->options, found.why.text);
	cr_assert_eq(found.bytes, free_bytes("image"), "%s", kind->options);
	lab_check_pattern("image", &found, 1, KEPT_SECTORS, false);
	lab_check_pattern("image", &found, 2, 4000, true);
}

/* A fuller file system: many runs, and e2fsck must find nothing changed by what is reported. */
Test(guestfs_ext, zeroing_free_space_leaves_it_whole)
{
	struct kind kind = {"64M", "-t ext4 -b 1024", "ext4"};
	static uint8_t zeros[1 << 20];

	make("image", &kind);
	lab_sh("mkdir tree && for i in $(seq 1 400); do head -c $((i * 97)) /dev/urandom >tree/$i; "
	       "done && for i in $(seq 1 400); do echo write tree/$i $i; done >c1 && "
	       "debugfs -w -f c1 image && "
	       "for i in $(seq 1 3 400); do echo rm $i; done >c2 && debugfs -w -f c2 image");
	struct lab_free found = lab_free("image", "ext4");

	cr_assert_eq(found.err, ERR_OK, "%s", found.why.text);
	cr_assert_eq(found.bytes, free_bytes("image"));
	cr_assert_gt(found.count, 50);
	for (size_t i = 0; i < found.count; i++) {
		for (uint64_t at = 0; at < found.range[i].len_bytes; at += sizeof(zeros))
			lab_write("image", found.range[i].off_bytes + at, zeros,
				  min_u64(sizeof(zeros), found.range[i].len_bytes - at));
	}
	lab_sh("e2fsck -fn image");
	lab_sh("for i in $(seq 2 3 400); do debugfs -R \"dump $i out\" image && cmp out tree/$i; "
	       "done");
	lab_sh("debugfs -R 'dump kept out' image && cmp out kept");
}

Test(guestfs_ext, stays_inside_a_file_system_shorter_than_its_partition)
{
	lab_need("mke2fs");
	lab_sh("truncate -s 64M image && mke2fs -q -F -t ext4 -b 1024 image 20001");
	struct lab_free found = lab_free("image", "ext4");

	cr_assert_eq(found.err, ERR_OK, "%s", found.why.text);
	cr_assert_eq(found.bytes, free_bytes("image"));
	cr_assert(!lab_is_free(&found, 20001 * 1024ull));
}

Test(guestfs_ext, offsets_are_those_of_the_disk)
{
	struct kind kind = {"32M", "-t ext4 -b 4096", "ext4"};

	lab_need("sfdisk");
	make("part", &kind);
	lab_sh("truncate -s 40M image && "
	       "echo 'start=2048, size=65536, type=83' | sfdisk -q image && "
	       "dd if=part of=image bs=1M seek=1 conv=notrunc");
	const struct guestfs_table *table = lab_probe("image");

	cr_assert_eq(table->count, 1);
	struct lab_free found = lab_free_in("image", &table->partition[0]);

	cr_assert_eq(found.err, ERR_OK, "%s", found.why.text);
	cr_assert_eq(found.bytes, free_bytes("part"));
	lab_check_pattern("image", &found, 1, KEPT_SECTORS, false);
	lab_check_pattern("image", &found, 2, 4000, true);
}

/* ---- refused ---- */

static void make_plain(void)
{
	struct kind kind = {"40M", "-t ext2 -b 1024", "ext2"};

	make("image", &kind);
}

/* 16 bits of the super block, which has no checksum here. */
static void set_super(unsigned off, uint16_t v)
{
	uint8_t bytes[2];

	put_le16(bytes, v);
	lab_write("image", 1024 + off, bytes, sizeof(bytes));
}

Test(guestfs_ext, refuses_what_was_not_unmounted)
{
	make_plain();
	set_super(58, 0);
	lab_refused("image", "ext2", "s_state");
}

Test(guestfs_ext, refuses_recorded_errors)
{
	make_plain();
	set_super(58, 3);
	lab_refused("image", "ext2", "s_state");
}

Test(guestfs_ext, refuses_a_journal_that_needs_recovery)
{
	struct kind kind = {"64M", "-t ext4 -b 4096", "ext4"};

	make("image", &kind);
	lab_sh("debugfs -w -R 'feature +needs_recovery' image");
	lab_refused("image", "ext4", "journal");
}

Test(guestfs_ext, refuses_unknown_features)
{
	make_plain();
	set_super(98, 0x8000);
	lab_refused("image", "ext2", "super block");
	set_super(98, 0);
	set_super(102, 0x4000);
	lab_refused("image", "ext2", "s_feature_ro_compat");
}

Test(guestfs_ext, refuses_a_file_system_longer_than_its_partition)
{
	make_plain();
	lab_sh("truncate -s -1024 image");
	lab_refused("image", "ext2", "do not fit");
}

/* The library would read these as an empty bitmap: everything free. */
Test(guestfs_ext, refuses_bitmaps_that_are_nowhere)
{
	static const uint32_t nowhere[] = {0, 1, 40960, 0xffffffff};

	make_plain();
	for (size_t i = 0; i < ARRAY_LEN(nowhere); i++) {
		uint8_t bytes[4];

		put_le32(bytes, nowhere[i]);
		lab_write("image", 2048 + 32, bytes, sizeof(bytes));
		lab_refused("image", "ext2", "group 1");
	}
}

Test(guestfs_ext, refuses_a_bitmap_that_disagrees_with_its_group)
{
	uint8_t desc[32], byte;

	make_plain();
	lab_read("image", 2048, desc, sizeof(desc));
	lab_read("image", get_le32(desc) * 1024ull + 100, &byte, 1);
	byte ^= 0x10;
	lab_write("image", get_le32(desc) * 1024ull + 100, &byte, 1);
	lab_refused("image", "ext2", "group 0");
}

Test(guestfs_ext, refuses_wrong_checksums)
{
	struct kind kind = {"64M", "-t ext4 -b 4096 -O metadata_csum", "ext4"};
	uint8_t byte;

	make("image", &kind);
	lab_read("image", 4096 + 13, &byte, 1); /* a count in group descriptor 0 */
	byte ^= 1;
	lab_write("image", 4096 + 13, &byte, 1);
	lab_refused("image", "ext4", "checksum");
}

Test(guestfs_ext, refuses_an_external_journal)
{
	lab_need("mke2fs");
	lab_sh("truncate -s 16M image && mke2fs -q -F -O journal_dev image");
	lab_refused("image", "ext4", "super block");
}
