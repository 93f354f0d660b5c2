/* SPDX-License-Identifier: MIT */
/* What the headers say of one file and of a chain, also of files in use, damaged or without parent.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/vhd_lab.h"

#define BLOCK VHD_MIN_BLOCK

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_inspect, .init = start, .fini = stop);

static enum err try_inspect(const char *path, struct vhd_info *info)
{
	struct vhd_open_opts opts = {.ns = lab.ns};

	lab.why = (struct err_why){0};
	return vhd_inspect(path, &opts, info, &lab.why);
}

static struct vhd_info inspect(const char *path)
{
	struct vhd_info info = {0};

	cr_assert_eq(try_inspect(path, &info), ERR_OK, "%s", lab.why.text);
	return info;
}

/* ---- one file ---- */

Test(vhd_inspect, a_fixed_disk)
{
	vlab_create(&lab, "f", VHD_FIXED, 3 * MIB, NULL);
	struct vhd_info info = inspect("f");
	cr_expect_str_eq(info.path, "f");
	cr_expect_eq(info.type, VHD_FIXED);
	cr_expect_eq(info.virtual_size, 3 * MIB);
	cr_expect_eq(info.original_size, 3 * MIB);
	cr_expect_eq(info.file_size, 3 * MIB + 512);
	cr_expect_eq(info.cylinders, 90);
	cr_expect_eq(info.heads, 4);
	cr_expect_eq(info.sectors, 17);
	cr_expect(!guid_is_zero(&info.uuid));
	cr_expect(info.trailing_footer_ok);
	cr_expect(!info.saved_state);
	cr_expect_eq(info.block_size, 0);
	cr_expect_eq(info.total_blocks, 0);
	cr_expect_gt(info.timestamp, VHD_EPOCH_UNIX);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_dynamic_disk_and_its_blocks)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 16 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, 3 * BLOCK, 1);
	vlab_write(disk, 8 * BLOCK, 2 * BLOCK, 1);
	vlab_close(disk);
	struct vhd_info info = inspect("d");
	cr_expect_eq(info.type, VHD_DYNAMIC);
	cr_expect_eq(info.block_size, BLOCK);
	cr_expect_eq(info.bat_off, 1536);
	cr_expect_eq(info.total_blocks, 16);
	cr_expect_eq(info.allocated_blocks, 5);
	cr_expect_eq(info.partial_blocks, 0);
	cr_expect(info.data_aligned);
	cr_expect(!info.has_batmap);
	cr_expect_geq(info.fragments, 1);
	cr_expect_leq(info.fragments, 2);
	cr_expect(guid_is_zero(&info.parent_uuid));
	cr_expect_null(info.parent_name);
	vhd_info_free(&info);
}

Test(vhd_inspect, scattered_blocks_are_fragments)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 16 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	for (unsigned i = 0; i < 16; i++)
		vlab_write(disk, (uint64_t)(i * 7 % 16) * BLOCK, BLOCK, 1);
	vlab_close(disk);
	struct vhd_info info = inspect("d");
	cr_expect_gt(info.fragments, 10);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_differencing_disk_and_its_parent)
{
	vlab_create(&lab, "v/base", VHD_DYNAMIC, 8 * BLOCK, NULL);
	vlab_create(&lab, "v/leaf", VHD_DIFFERENCING, 0, "v/base");
	struct disk *disk = vlab_open(&lab, "v/leaf", true);
	vlab_write(disk, 0, 512, 1);
	vlab_write(disk, BLOCK, BLOCK, 1);
	vlab_close(disk);
	struct vhd_info base = inspect("v/base"), info = inspect("v/leaf");
	cr_expect_eq(info.type, VHD_DIFFERENCING);
	cr_expect_eq(info.allocated_blocks, 2);
	cr_expect_eq(info.partial_blocks, 1);
	cr_expect(guid_equal(&info.parent_uuid, &base.uuid));
	cr_expect_eq(info.parent_timestamp, base.timestamp);
	cr_expect_str_eq(info.parent_name, "base");
	cr_expect_str_eq(info.parent_path, "v/base");
	cr_expect_eq(info.parent_why.code, ERR_OK);
	cr_expect_str_eq(info.locator[0].code, "W2ku");
	cr_expect_str_eq(info.locator[1].code, "W2ru");
	cr_expect_str_eq(info.locator[1].path, ".\\base");
	cr_expect_gt(info.locator[1].len_bytes, 0);
	cr_expect_str_eq(info.locator[2].code, "");
	vhd_info_free(&info);
	vhd_info_free(&base);
}

Test(vhd_inspect, a_child_without_its_parent_is_described_all_the_same)
{
	vlab_create(&lab, "v/base", VHD_DYNAMIC, 8 * BLOCK, NULL);
	vlab_create(&lab, "v/leaf", VHD_DIFFERENCING, 0, "v/base");
	file_ns_unlink(lab.ns, "v/base", NULL);
	struct vhd_info info = inspect("v/leaf");
	cr_expect_null(info.parent_path);
	cr_expect_eq(info.parent_why.code, ERR_PARENT);
	cr_expect(strstr(info.parent_why.text, "base"), "%s", info.parent_why.text);
	cr_expect_str_eq(info.parent_name, "base");
	vhd_info_free(&info);
}

Test(vhd_inspect, works_on_a_disk_in_use)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 16 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_flush(disk);
	struct vhd_info info = inspect("d");
	cr_expect_eq(info.allocated_blocks, 1);
	vhd_info_free(&info);
	vlab_write(disk, BLOCK, BLOCK, 1);
	vlab_close(disk);
}

Test(vhd_inspect, changes_nothing)
{
	size_t count;

	vlab_create(&lab, "d", VHD_DYNAMIC, 16 * BLOCK, NULL);
	vlab_truncate(&lab, "d", vlab_size(&lab, "d") - 512);
	mem_ns_log_start(lab.mem);
	struct vhd_info info = inspect("d");
	cr_expect(!info.trailing_footer_ok);
	vhd_info_free(&info);
	mem_ns_log(lab.mem, &count);
	cr_expect_eq(count, 0);
}

Test(vhd_inspect, saved_state_and_sizes_are_as_stored)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 16 * BLOCK, NULL);
	vlab_set_footers(&lab, "d", 84, 1, 1);
	vlab_set_footers(&lab, "d", 40, 8, 12345 * 512);
	vlab_set_footers(&lab, "d", 24, 4, 0);
	struct vhd_info info = inspect("d");
	cr_expect(info.saved_state);
	cr_expect_eq(info.original_size, 12345 * 512);
	cr_expect_eq(info.virtual_size, 16 * BLOCK);
	cr_expect_eq(info.timestamp, VHD_EPOCH_UNIX);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_wrong_bat_entry_is_left_to_check)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 16 * BLOCK, NULL);
	vlab_put32(&lab, "d", 1536 + 8, 0x7fffffff);
	struct vhd_info info = inspect("d");
	cr_expect_eq(info.allocated_blocks, 1);
	vhd_info_free(&info);
}

Test(vhd_inspect, what_is_no_image_is_an_error_with_its_name)
{
	struct vhd_info info;

	cr_expect_eq(try_inspect("none", &info), ERR_NOENT);
	cr_expect(vlab_said(&lab, "none"), "%s", lab.why.text);
	mem_ns_put(lab.mem, "noise", "noise", 5);
	cr_expect_eq(try_inspect("noise", &info), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "noise: "), "%s", lab.why.text);
}

/* ---- chains ---- */

static enum err try_chain(const char *path, struct vhd_info **info, unsigned *count)
{
	struct vhd_open_opts opts = {.ns = lab.ns};

	lab.why = (struct err_why){0};
	return vhd_inspect_chain(path, &opts, info, count, &lab.why);
}

Test(vhd_inspect, a_chain_is_told_from_the_leaf_down)
{
	struct vhd_info *info;
	unsigned count;

	vlab_create(&lab, "a", VHD_FIXED, MIB, NULL);
	vlab_create(&lab, "b", VHD_DIFFERENCING, 0, "a");
	vlab_create(&lab, "c", VHD_DIFFERENCING, 0, "b");
	struct disk *busy = vlab_open(&lab, "c", true);
	cr_assert_eq(try_chain("c", &info, &count), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(count, 3);
	cr_expect_str_eq(info[0].path, "c");
	cr_expect_str_eq(info[0].parent_path, "b");
	cr_expect_str_eq(info[1].path, "b");
	cr_expect_str_eq(info[1].parent_path, "a");
	cr_expect_eq(info[2].type, VHD_FIXED);
	cr_expect_null(info[2].parent_path);
	for (unsigned i = 0; i < count; i++)
		vhd_info_free(&info[i]);
	free(info);
	vlab_close(busy);
}

Test(vhd_inspect, a_chain_with_a_missing_link_is_an_error)
{
	struct vhd_info *info;
	unsigned count;

	vlab_create(&lab, "a", VHD_DYNAMIC, MIB, NULL);
	vlab_create(&lab, "b", VHD_DIFFERENCING, 0, "a");
	vlab_create(&lab, "c", VHD_DIFFERENCING, 0, "b");
	file_ns_unlink(lab.ns, "a", NULL);
	cr_expect_eq(try_chain("c", &info, &count), ERR_PARENT);
	cr_expect(vlab_said(&lab, "b: "), "%s", lab.why.text);
}

/* ---- images of other products ---- */

static struct vhd_info fixture(const char *name)
{
	vlab_fixture(&lab, name, "fixture");
	return inspect("fixture");
}

Test(vhd_inspect, a_windows_8_image)
{
	struct vhd_info info = fixture("govhd-win8-chain/win8.vhd");

	cr_expect_str_eq(info.creator_app, "win ");
	cr_expect_eq(info.creator_major, 6);
	cr_expect_eq(info.creator_minor, 3);
	cr_expect_str_eq(info.creator_host, "Wi2k");
	cr_expect_eq(info.virtual_size, 41943040);
	cr_expect_eq(info.block_size, 2097152);
	cr_expect_eq(info.bat_off, 0x600);
	cr_expect_eq(info.allocated_blocks, 0);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_windows_10_image_with_blocks)
{
	struct vhd_info info = fixture("dissect-dynamic.vhd");

	cr_expect_eq(info.virtual_size, 10485760);
	cr_expect_eq(info.file_size, 6311936);
	cr_expect_eq(info.total_blocks, 5);
	cr_expect_eq(info.allocated_blocks, 3);
	cr_expect_eq(info.partial_blocks, 0);
	cr_expect(info.data_aligned);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_qemu_image_with_unaligned_blocks)
{
	struct vhd_info info = fixture("dfvfs-ext2.vhd");

	cr_expect_str_eq(info.creator_app, "qemu");
	cr_expect_eq(info.virtual_size, 4212736);
	cr_expect_eq(info.allocated_blocks, 1);
	cr_expect(!info.data_aligned);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_xenserver_image_with_a_batmap)
{
	struct vhd_info info = fixture("govhd-xapi.vhd");

	cr_expect(info.has_batmap);
	cr_expect_arr_eq(info.creator_app, "tap\0", 4);
	cr_expect_eq(info.allocated_blocks, 0);
	vhd_info_free(&info);
}

Test(vhd_inspect, a_virtual_pc_image_whose_size_is_not_its_geometry)
{
	struct vhd_info info = fixture("qemu-virtualpc-dynamic.vhd");

	cr_expect_eq(info.virtual_size, 136365211648);
	cr_expect_eq(info.cylinders, 65278);
	cr_expect_eq(info.total_blocks, 65024);
	vhd_info_free(&info);
}

Test(vhd_inspect, original_size_is_not_the_size)
{
	struct vhd_info info = fixture("vhdforensic-original-size-mismatch.vhd");

	cr_expect_eq(info.original_size, 1061888);
	cr_expect_eq(info.virtual_size, 2123776);
	vhd_info_free(&info);
}

Test(vhd_inspect, every_vhdx_is_refused_by_name)
{
	struct vhd_info info;

	vlab_fixture(&lab, "dissect-dynamic.vhdx", "x");
	cr_expect_eq(try_inspect("x", &info), ERR_UNSUPPORTED);
	cr_expect(vlab_said(&lab, "VHDX"), "%s", lab.why.text);
}
