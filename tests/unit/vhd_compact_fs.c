/* SPDX-License-Identifier: MIT */
/* Compact with a file system inside: what it calls free goes, its files stay as they are. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/guestfs_lab.h"

#include "vhd/vhd.h"

#define PIECE (1u << 20)

TestSuite(vhd_compact_fs, .init = lab_start, .fini = lab_stop);

static struct vhd_compact_result result;

static char *path_of(const char *name)
{
	char *path = strdup(lab_path(name));

	cr_assert_not_null(path);
	return path;
}

static void create(const char *name, enum vhd_type type, uint64_t size, const char *parent)
{
	char *path = path_of(name), *below = parent ? path_of(parent) : NULL;
	struct vhd_create_opts opts = {
	    .type = type, .size_bytes = size, .parent = below, .block_size = VHD_MIN_BLOCK};
	struct err_why why = {0};

	cr_assert_eq(vhd_create(path, &opts, &why), ERR_OK, "%s", why.text);
	free(path);
	free(below);
}

static struct disk *open_vhd(const char *name, bool writable)
{
	struct vhd_open_opts opts = {.writable = writable};
	struct err_why why = {0};
	struct disk *disk = NULL;

	cr_assert_eq(vhd_open(lab_path(name), &opts, &disk, &why), ERR_OK, "%s", why.text);
	return disk;
}

/* All of raw image `raw` into a VHD, zeros included, so that every block is allocated. */
static void fill(const char *raw, const char *name, uint64_t size)
{
	struct disk *disk = open_vhd(name, true);
	uint8_t *buf = malloc(PIECE);

	cr_assert_not_null(buf);
	for (uint64_t at = 0; at < size; at += PIECE) {
		lab_read(raw, at, buf, PIECE);
		cr_assert_eq(disk_write(disk, lab_queue(), buf, at, PIECE, NULL), ERR_OK);
	}
	free(buf);
	cr_assert_eq(disk_close(disk, NULL), ERR_OK);
}

static void flatten(const char *name, const char *raw, uint64_t size)
{
	struct disk *disk = open_vhd(name, false);
	uint8_t *buf = malloc(PIECE);

	cr_assert_not_null(buf);
	lab_sh("rm -f %s && truncate -s %llu %s", raw, (unsigned long long)size, raw);
	for (uint64_t at = 0; at < size; at += PIECE) {
		cr_assert_eq(disk_read(disk, lab_queue(), buf, at, PIECE, NULL), ERR_OK);
		lab_write(raw, at, buf, PIECE);
	}
	free(buf);
	cr_assert_eq(disk_close(disk, NULL), ERR_OK);
}

static void compact(const char *name, enum vhd_compact_mode mode)
{
	struct vhd_compact_opts opts = {.mode = mode};
	struct vhd_report report;
	struct err_why why = {0};
	char *path = path_of(name);

	cr_assert_eq(vhd_compact(path, NULL, &opts, &result, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(vhd_check(path, NULL, NULL, &report, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(vhd_report_result(&report), ERR_OK, "%s", report.finding[0].rule);
	vhd_report_free(&report);
	free(path);
}

/* An ext4 with a file to keep and, if `with_gone`, a large one written and removed. */
#define FS_BYTES (48ull << 20)

static void make_ext4(void)
{
	lab_need("mke2fs");
	lab_need("debugfs");
	lab_sh("truncate -s %llu raw && mke2fs -q -t ext4 raw", FS_BYTES);
	lab_sh("head -c 3000000 /dev/urandom > keep && head -c 20000000 /dev/urandom > gone");
	lab_sh("debugfs -w -R 'write gone gone' raw && debugfs -w -R 'write keep keep' raw && "
	       "debugfs -w -R 'rm gone' raw");
}

static void expect_ext4(const char *name)
{
	flatten(name, "out", FS_BYTES);
	lab_sh("e2fsck -fn out && rm -f kept && debugfs -R 'dump keep kept' out && cmp keep kept");
}

static void drops_a_removed_file(enum vhd_compact_mode mode)
{
	make_ext4();
	create("disk", VHD_DYNAMIC, FS_BYTES, NULL);
	fill("raw", "disk", FS_BYTES);
	compact("disk", mode);
	cr_assert_eq(result.filesystems, 1, "%s", result.note);
	cr_assert_eq(*result.note, 0);
	cr_assert_gt(result.blocks_free, 300);
	cr_assert_leq(result.file_after + result.blocks_free * VHD_MIN_BLOCK, result.file_before);
	expect_ext4("disk");
}

Test(vhd_compact_fs, drops_a_removed_file_quickly)
{
	drops_a_removed_file(COMPACT_QUICK);
	cr_assert_eq(result.blocks_zero, 0);
}

Test(vhd_compact_fs, drops_a_removed_file_and_zeros)
{
	drops_a_removed_file(COMPACT_FULL);
}

Test(vhd_compact_fs, believes_no_file_system_that_is_not_clean)
{
	make_ext4();
	lab_sh("debugfs -w -R 'ssv state 0' raw");
	create("disk", VHD_DYNAMIC, FS_BYTES, NULL);
	fill("raw", "disk", FS_BYTES);
	uint64_t filled = FS_BYTES / VHD_MIN_BLOCK;
	compact("disk", COMPACT_QUICK);
	cr_assert_eq(result.filesystems, 0);
	cr_assert_neq(*result.note, 0);
	cr_assert_eq(result.blocks_free, 0);
	cr_assert_eq(result.blocks_after, result.blocks_before);
	cr_assert_leq(result.blocks_before, filled);
}

/* The removed file is in the parent: what the child has over it must hide it for ever (W9). */
static void keeps_a_parents_data_hidden(enum vhd_compact_mode mode)
{
	make_ext4();
	create("base", VHD_DYNAMIC, FS_BYTES, NULL);
	lab_sh("head -c %llu /dev/urandom > noise", FS_BYTES);
	fill("noise", "base", FS_BYTES);
	create("leaf", VHD_DIFFERENCING, 0, "base");
	fill("raw", "leaf", FS_BYTES);
	flatten("leaf", "before", FS_BYTES);
	compact("leaf", mode);
	cr_assert_eq(result.filesystems, 1, "%s", result.note);
	cr_assert_eq(result.blocks_after, result.blocks_before);
	flatten("leaf", "out", FS_BYTES);
	lab_sh("cmp before out");
}

Test(vhd_compact_fs, keeps_a_parents_data_hidden_quickly)
{
	keeps_a_parents_data_hidden(COMPACT_QUICK);
}

Test(vhd_compact_fs, keeps_a_parents_data_hidden)
{
	keeps_a_parents_data_hidden(COMPACT_FULL);
}

Test(vhd_compact_fs, drops_a_childs_free_blocks_over_nothing)
{
	make_ext4();
	create("base", VHD_DYNAMIC, FS_BYTES, NULL);
	create("leaf", VHD_DIFFERENCING, 0, "base");
	fill("raw", "leaf", FS_BYTES);
	compact("leaf", COMPACT_FULL);
	cr_assert_gt(result.blocks_free, 300);
	expect_ext4("leaf");
}
