/* SPDX-License-Identifier: MIT */
/* Chains: which parent is taken, which never is, and chains of all shapes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/vhd_lab.h"
#include "vhd/locator.h"

#define BLOCK    VHD_MIN_BLOCK
#define LOCATORS (512u + 576u) /* in the file */

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_chain, .init = start, .fini = stop);

/* An image with one tagged sector, so that one can tell which parent was taken. */
static void make(const char *path, const char *parent, uint64_t tag)
{
	vlab_create(&lab, path, parent ? VHD_DIFFERENCING : VHD_DYNAMIC, parent ? 0 : MIB, parent);
	struct disk *disk = vlab_open(&lab, path, true);
	if (tag)
		vlab_write(disk, 0, 512, tag);
	vlab_close(disk);
}

/* Replace the locators by this one alone (NULL: none) and forget the parent name. */
static void relocate(const char *path, const char *code, const char *stored)
{
	static const uint8_t none[8 * 24];
	static const uint8_t no_name[PARENT_NAME_BYTES];

	vlab_put(&lab, path, LOCATORS, none, sizeof(none));
	vlab_put(&lab, path, 512 + 64, no_name, sizeof(no_name));
	if (code) {
		uint8_t *data;
		uint32_t len;

		cr_assert_eq(locator_encode(stored, &data, &len, NULL), ERR_OK);
		vlab_put(&lab, path, LOCATORS, code, 4);
		vlab_put32(&lab, path, LOCATORS + 4, 4096);
		vlab_put32(&lab, path, LOCATORS + 8, len);
		vlab_put64(&lab, path, LOCATORS + 16, 4096);
		vlab_put(&lab, path, 4096, data, len);
		free(data);
	}
	vlab_mend(&lab, path, 512, true);
}

static void rename_file(const char *from, const char *to)
{
	cr_assert_eq(file_ns_rename(lab.ns, from, to, NULL), ERR_OK);
}

static void copy_file(const char *from, const char *to)
{
	size_t size = vlab_size(&lab, from);
	uint8_t *bytes = malloc(size);

	cr_assert_not_null(bytes);
	vlab_get(&lab, from, 0, bytes, size);
	mem_ns_put(lab.mem, to, bytes, size);
	free(bytes);
}

static enum err open_with(const char *path, struct vhd_open_opts opts, uint64_t *tag)
{
	struct disk *disk;

	opts.ns = lab.ns;
	lab.why = (struct err_why){0};
	enum err err = vhd_open(path, &opts, &disk, &lab.why);
	if (err)
		return err;
	*tag = vlab_tag(disk, 0);
	vlab_close(disk);
	return ERR_OK;
}

static void expect_tag(const char *path, uint64_t want)
{
	uint64_t tag = 0;

	cr_expect_eq(open_with(path, (struct vhd_open_opts){0}, &tag), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(tag, want);
}

static void expect_no_parent(const char *path, const char *said)
{
	cr_expect_eq(vlab_probe(&lab, path, false), ERR_PARENT, "%s", lab.why.text);
	cr_expect(vlab_said(&lab, said), "\"%s\" is not in: %s", said, lab.why.text);
}

/* ---- followed unasked ---- */

Test(vhd_chain, a_relative_locator_is_followed)
{
	make("v/sub/base", NULL, 5);
	make("v/leaf", "v/sub/base", 0);
	expect_tag("v/leaf", 5);
	relocate("v/leaf", "W2ru", ".\\sub\\base");
	expect_tag("v/leaf", 5);
	relocate("v/leaf", "W2ru", "sub\\base");
	expect_tag("v/leaf", 5);
}

Test(vhd_chain, a_parent_of_that_name_beside_the_child_is_found)
{
	make("v/base.vhd", NULL, 5);
	make("v/leaf", "v/base.vhd", 0);
	relocate("v/leaf", "W2ku", "C:\\vm\\base.vhd");
	expect_tag("v/leaf", 5);
	relocate("v/leaf", "W2ku", "\\\\server\\share\\base.vhd");
	expect_tag("v/leaf", 5);
	relocate("v/leaf", "W2ru", "..\\elsewhere\\base.vhd");
	expect_tag("v/leaf", 5);
}

Test(vhd_chain, the_parent_name_alone_is_enough)
{
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	vlab_put(&lab, "v/leaf", LOCATORS, (uint8_t[8 * 24]){0}, 8 * 24);
	vlab_mend(&lab, "v/leaf", 512, true);
	expect_tag("v/leaf", 5);
}

Test(vhd_chain, upper_and_lower_case_are_the_same)
{
	make("v/base.vhd", NULL, 5);
	make("v/leaf", "v/base.vhd", 0);
	relocate("v/leaf", "W2ru", ".\\Base.VHD");
	expect_tag("v/leaf", 5);
}

Test(vhd_chain, moved_together_they_still_find_each_other)
{
	make("old/base", NULL, 5);
	make("old/leaf", "old/base", 0);
	rename_file("old/base", "new/base");
	rename_file("old/leaf", "new/leaf");
	expect_tag("new/leaf", 5);
}

/* ---- never followed ---- */

Test(vhd_chain, absolute_and_escaping_paths_are_only_printed)
{
	static const struct {
		const char *code, *stored;
	} paths[] = {
	    {"W2ku", "/other/base"},     {"W2ku", "C:\\other\\base"},
	    {"W2ru", "..\\other\\base"}, {"W2ru", "sub\\..\\..\\other\\base"},
	    {"W2ru", "/other/base"},     {"W2ru", "\\\\srv\\other\\base"},
	    {"W2ru", "C:\\other\\base"},
	};

	make("other/base", NULL, 5);
	vlab_create(&lab, "v/leaf", VHD_DIFFERENCING, 0, "other/base");
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		relocate("v/leaf", paths[i].code, paths[i].stored);
		expect_no_parent("v/leaf", "base");
		expect_no_parent("v/leaf", "--search");
	}
}

/* Where ".." means something: create stores it, and opening does not follow it. */
Test(vhd_chain, a_relative_locator_does_not_lead_out_of_the_childs_folder)
{
	char dir[] = "/tmp/strata-chain.XXXXXX";
	char base[64], leaf[64], folder[64];
	struct disk *disk;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(folder, sizeof(folder), "%s/v", dir);
	cr_assert_eq(mkdir(folder, 0700), 0);
	snprintf(base, sizeof(base), "%s/base", dir);
	snprintf(leaf, sizeof(leaf), "%s/v/leaf", dir);
	struct vhd_create_opts opts = {.type = VHD_DYNAMIC, .size_bytes = MIB};
	cr_assert_eq(vhd_create(base, &opts, &lab.why), ERR_OK, "%s", lab.why.text);
	opts = (struct vhd_create_opts){.type = VHD_DIFFERENCING, .parent = base};
	cr_assert_eq(vhd_create(leaf, &opts, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(vhd_open(leaf, NULL, &disk, &lab.why), ERR_PARENT);
	cr_expect(vlab_said(&lab, "--parent"), "%s", lab.why.text);
	struct vhd_open_opts named = {.parent = base};
	cr_assert_eq(vhd_open(leaf, &named, &disk, &lab.why), ERR_OK, "%s", lab.why.text);
	vlab_close(disk);
	unlink(base);
	unlink(leaf);
	rmdir(folder);
	rmdir(dir);
}

Test(vhd_chain, a_missing_parent_is_an_error_never_zeros)
{
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	cr_assert_eq(file_ns_unlink(lab.ns, "v/base", NULL), ERR_OK);
	expect_no_parent("v/leaf", "parent not found");
	relocate("v/leaf", NULL, NULL);
	expect_no_parent("v/leaf", "parent not found");
}

Test(vhd_chain, a_parent_with_another_uuid_is_refused)
{
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	cr_assert_eq(file_ns_unlink(lab.ns, "v/base", NULL), ERR_OK);
	make("v/base", NULL, 6);
	expect_no_parent("v/leaf", "has UUID");
}

Test(vhd_chain, a_damaged_parent_is_an_error_that_names_it)
{
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	vlab_put32(&lab, "v/base", 100, 1);
	vlab_put32(&lab, "v/base", vlab_size(&lab, "v/base") - 412, 1);
	expect_no_parent("v/leaf", "v/base");
	expect_no_parent("v/leaf", "checksum");
}

Test(vhd_chain, a_raw_file_is_no_parent)
{
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	mem_ns_put(lab.mem, "v/base", (uint8_t[8192]){1}, 8192);
	expect_no_parent("v/leaf", "v/base");
}

Test(vhd_chain, the_parents_time_stamp_is_only_a_hint)
{
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	vlab_set_header(&lab, "v/leaf", 56, 4, 12345);
	expect_tag("v/leaf", 5);
}

/* ---- asked for ---- */

Test(vhd_chain, the_caller_may_name_the_parent)
{
	uint64_t tag = 0;

	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	rename_file("v/base", "far/away");
	cr_expect_eq(open_with("v/leaf", (struct vhd_open_opts){.parent = "far/away"}, &tag),
		     ERR_OK, "%s", lab.why.text);
	cr_expect_eq(tag, 5);
	cr_expect_eq(open_with("v/leaf", (struct vhd_open_opts){.parent = "far/none"}, &tag),
		     ERR_PARENT);
	cr_expect(vlab_said(&lab, "far/none"), "%s", lab.why.text);
}

Test(vhd_chain, a_named_parent_is_checked_unless_told_not_to)
{
	uint64_t tag = 0;

	make("v/base", NULL, 5);
	make("v/other", NULL, 6);
	make("v/leaf", "v/base", 0);
	cr_expect_eq(open_with("v/leaf", (struct vhd_open_opts){.parent = "v/other"}, &tag),
		     ERR_PARENT);
	cr_expect(vlab_said(&lab, "UUID"), "%s", lab.why.text);
	cr_expect_eq(
	    open_with("v/leaf",
		      (struct vhd_open_opts){.parent = "v/other", .ignore_parent_id = true}, &tag),
	    ERR_OK, "%s", lab.why.text);
	cr_expect_eq(tag, 6);
	expect_tag("v/leaf", 5);
}

Test(vhd_chain, a_named_parent_is_the_leafs_alone)
{
	uint64_t tag = 0;

	make("v/base", NULL, 5);
	make("v/mid", "v/base", 0);
	make("v/leaf", "v/mid", 0);
	rename_file("v/mid", "far/mid");
	rename_file("v/base", "far/base");
	cr_expect_eq(open_with("v/leaf", (struct vhd_open_opts){.parent = "far/mid"}, &tag), ERR_OK,
		     "%s", lab.why.text);
	cr_expect_eq(tag, 5);
	rename_file("far/base", "else/base");
	cr_expect_eq(
	    open_with("v/leaf",
		      (struct vhd_open_opts){.parent = "far/mid", .ignore_parent_id = true}, &tag),
	    ERR_PARENT);
}

Test(vhd_chain, search_folders_are_looked_through_by_name_and_by_uuid)
{
	static const char *const folders[] = {"empty", "store"};
	struct vhd_open_opts opts = {.search = folders, .search_count = 2};
	uint64_t tag = 0;

	make("empty/unrelated", NULL, 9);
	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	rename_file("v/base", "store/base");
	cr_expect_eq(open_with("v/leaf", opts, &tag), ERR_OK, "by name: %s", lab.why.text);
	cr_expect_eq(tag, 5);
	rename_file("store/base", "store/renamed");
	tag = 0;
	cr_expect_eq(open_with("v/leaf", opts, &tag), ERR_OK, "by UUID: %s", lab.why.text);
	cr_expect_eq(tag, 5);
	opts.search_count = 1;
	cr_expect_eq(open_with("v/leaf", opts, &tag), ERR_PARENT);
}

Test(vhd_chain, a_search_goes_on_past_a_wrong_disk_of_the_right_name)
{
	static const char *const folders[] = {"store"};
	struct vhd_open_opts opts = {.search = folders, .search_count = 1};
	uint64_t tag = 0;

	make("v/base", NULL, 5);
	make("v/leaf", "v/base", 0);
	rename_file("v/base", "store/right");
	make("v/base", NULL, 6);
	make("store/base", NULL, 7);
	mem_ns_put(lab.mem, "store/noise", "x", 1);
	cr_expect_eq(open_with("v/leaf", opts, &tag), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(tag, 5);
}

Test(vhd_chain, parents_of_parents_are_searched_for_too)
{
	static const char *const folders[] = {"store"};
	struct vhd_open_opts opts = {.search = folders, .search_count = 1};
	uint64_t tag = 0;

	make("v/base", NULL, 5);
	make("v/mid", "v/base", 0);
	make("v/leaf", "v/mid", 0);
	rename_file("v/mid", "store/1");
	rename_file("v/base", "store/2");
	cr_expect_eq(open_with("v/leaf", opts, &tag), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(tag, 5);
}

/* ---- loops and depth ---- */

Test(vhd_chain, an_image_that_is_its_own_parent_is_refused)
{
	struct guid uuid = guid_new();
	uint64_t tag;

	make("v/base", NULL, 0);
	make("v/leaf", "v/base", 0);
	vlab_put(&lab, "v/leaf", 512 + 40, uuid.b, 16);
	vlab_mend(&lab, "v/leaf", 512, true);
	vlab_set_footers(&lab, "v/leaf", 68, 8, get_be64(uuid.b));
	vlab_set_footers(&lab, "v/leaf", 76, 8, get_be64(uuid.b + 8));
	relocate("v/leaf", "W2ru", ".\\leaf");
	cr_expect_eq(open_with("v/leaf", (struct vhd_open_opts){0}, &tag), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "loop"), "%s", lab.why.text);
	cr_expect_eq(open_with("v/leaf", (struct vhd_open_opts){.writable = true}, &tag),
		     ERR_CORRUPT);
}

/* a -> b -> a: the parent's UUIDs are made to match. */
Test(vhd_chain, a_loop_of_files_is_refused)
{
	struct vhd_layer *layer;

	make("v/base", NULL, 0);
	make("v/a", "v/base", 0);
	make("v/b", "v/a", 0);
	layer = vlab_layer(&lab, "v/b");
	vlab_put(&lab, "v/a", 512 + 40, layer->footer.uuid.b, 16);
	layer_close(layer, NULL);
	relocate("v/a", "W2ru", ".\\b");
	cr_expect_eq(vlab_probe(&lab, "v/a", false), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "loop") && vlab_said(&lab, "file"), "%s", lab.why.text);
}

Test(vhd_chain, a_chain_that_meets_a_uuid_twice_is_refused)
{
	struct vhd_layer *layer;

	make("v/base", NULL, 0);
	make("v/a", "v/base", 0);
	make("v/b", "v/a", 0);
	layer = vlab_layer(&lab, "v/b");
	copy_file("v/b", "v/copy"); /* another file, the same disk */
	vlab_put(&lab, "v/a", 512 + 40, layer->footer.uuid.b, 16);
	layer_close(layer, NULL);
	relocate("v/a", "W2ru", ".\\copy");
	cr_expect_eq(vlab_probe(&lab, "v/b", false), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "loop") && vlab_said(&lab, "UUID"), "%s", lab.why.text);
}

/* Images of one kind, quickly: the first child is copied and its UUIDs changed. */
static void make_deep(unsigned depth)
{
	char name[16], parent[32];
	struct vhd_layer *layer;
	struct guid uuid;

	make("0000", NULL, 5);
	layer = vlab_layer(&lab, "0000");
	uuid = layer->footer.uuid;
	layer_close(layer, NULL);
	make("0001", "0000", 0);
	for (unsigned i = depth - 1; i >= 1; i--) {
		snprintf(name, sizeof(name), "%04u", i);
		if (i > 1)
			copy_file("0001", name);
	}
	for (unsigned i = 1; i < depth; i++) {
		uint8_t *data;
		uint32_t len;

		snprintf(name, sizeof(name), "%04u", i);
		snprintf(parent, sizeof(parent), ".\\%04u", i - 1);
		vlab_put(&lab, name, 512 + 40, uuid.b, 16);
		cr_assert_eq(locator_encode(parent, &data, &len, NULL), ERR_OK);
		vlab_put(&lab, name, LOCATORS, (uint8_t[24]){0}, 24); /* only W2ru */
		vlab_put32(&lab, name, LOCATORS + 24 + 8, len);
		vlab_put(&lab, name, 8192, data, len);
		free(data);
		vlab_mend(&lab, name, 512, true);
		put_be32(uuid.b, i);
		put_be32(uuid.b + 4, 0x5ca1ab1e);
		vlab_set_footers(&lab, name, 68, 8, get_be64(uuid.b));
		vlab_set_footers(&lab, name, 76, 8, get_be64(uuid.b + 8));
	}
}

Test(vhd_chain, a_chain_of_512_files_reads_and_writes)
{
	struct vhd_usage usage;

	make_deep(512);
	struct disk *disk = vlab_open(&lab, "0511", true);
	vhd_get_usage(disk, &usage);
	cr_expect_eq(usage.depth, 512);
	cr_expect(vlab_holds(&lab, disk, 0, 512, 5), "%s", lab.why.text);
	vlab_write(disk, 512, 512, 6);
	cr_expect_eq(vlab_tag(disk, 512), 6);
	vlab_close(disk);
	cr_expect_eq(vlab_tag_of(&lab, "0511", 512), 6);
	cr_expect_eq(vlab_tag_of(&lab, "0511", 0), 5);
	cr_expect_eq(vlab_tag_of(&lab, "0510", 512), 0);
}

Test(vhd_chain, depth_4096_opens_and_4097_does_not)
{
	struct vhd_usage usage;

	make_deep(VHD_MAX_DEPTH + 1);
	struct disk *disk = vlab_open(&lab, "4095", false);
	vhd_get_usage(disk, &usage);
	cr_expect_eq(usage.depth, VHD_MAX_DEPTH);
	cr_expect_eq(vlab_tag(disk, 0), 5);
	vlab_close(disk);
	cr_expect_eq(vlab_probe(&lab, "4096", false), ERR_UNSUPPORTED);
	cr_expect(vlab_said(&lab, "4096"), "%s", lab.why.text);
}

/* ---- shapes ---- */

static void make_child(const char *path, const char *parent, uint64_t size, uint32_t block)
{
	struct vhd_create_opts opts = {
	    .type = VHD_DIFFERENCING, .size_bytes = size, .block_size = block, .parent = parent};

	cr_assert_eq(vlab_try_create(&lab, path, opts), ERR_OK, "%s", lab.why.text);
}

static void fill(const char *path, uint64_t off, uint64_t len, uint64_t tag)
{
	struct disk *disk = vlab_open(&lab, path, true);

	vlab_write(disk, off, len, tag);
	vlab_close(disk);
}

Test(vhd_chain, a_larger_child_reads_zeros_behind_its_parent)
{
	vlab_create(&lab, "base", VHD_DYNAMIC, MIB + 512, NULL);
	fill("base", 0, MIB + 512, 5);
	make_child("leaf", "base", 2 * MIB, 0);
	struct disk *disk = vlab_open(&lab, "leaf", true);
	cr_expect(vlab_holds(&lab, disk, 0, MIB + 512, 5), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, MIB + 512, MIB - 512, 0), "%s", lab.why.text);
	vlab_write(disk, MIB + 1024, 512, 6);
	cr_expect(vlab_holds(&lab, disk, MIB, 1 * 512, 5), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, MIB + 512, 512, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, MIB + 1024, 512, 6), "%s", lab.why.text);
	vlab_close(disk);
}

Test(vhd_chain, a_smaller_child_hides_its_parents_rest)
{
	struct disk_info info;

	vlab_create(&lab, "base", VHD_DYNAMIC, 2 * MIB, NULL);
	fill("base", 0, 2 * MIB, 5);
	make_child("small", "base", MIB - 1024, 0);
	make_child("leaf", "small", 2 * MIB, 0);
	struct disk *disk = vlab_open(&lab, "small", true);
	disk_get_info(disk, &info);
	cr_expect_eq(info.size_bytes, MIB - 1024);
	cr_expect(vlab_holds(&lab, disk, 0, MIB - 1024, 5), "%s", lab.why.text);
	vlab_write(disk, MIB - 1536, 512, 6);
	vlab_close(disk);
	disk = vlab_open(&lab, "leaf", false);
	cr_expect(vlab_holds(&lab, disk, 0, MIB - 1536, 5), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, MIB - 1536, 512, 6), "%s", lab.why.text);
	/*
	 * What was cut off by a smaller disk in between is not of that disk: it must not come back
	 * when a larger one is put on top.
	 */
	cr_expect(vlab_holds(&lab, disk, MIB - 1024, MIB + 1024, 0), "%s", lab.why.text);
	vlab_close(disk);
}

Test(vhd_chain, blocks_of_different_sizes_fit_together)
{
	vlab_create(&lab, "base", VHD_DYNAMIC, 4 * MIB, NULL);
	fill("base", 0, 4 * MIB, 1);
	make_child("big", "base", 0, 2 * MIB);
	fill("big", 3 * MIB + 512, 1024, 2);
	fill("big", 64 * KIB - 512, 1024, 2);
	make_child("mid", "big", 0, 512 * KIB);
	fill("mid", 3 * MIB, 1024, 3);
	make_child("leaf", "mid", 0, 64 * KIB);
	fill("leaf", 64 * KIB, 512, 4);
	struct disk *disk = vlab_open(&lab, "leaf", false);
	cr_expect(vlab_holds(&lab, disk, 0, 64 * KIB - 512, 1), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 64 * KIB - 512, 512, 2), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 64 * KIB, 512, 4), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 64 * KIB + 512, 3 * MIB - 64 * KIB - 512, 1), "%s",
		  lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 3 * MIB, 1024, 3), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 3 * MIB + 1024, 512, 2), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 3 * MIB + 1536, MIB - 1536, 1), "%s", lab.why.text);
	vlab_close(disk);
}

Test(vhd_chain, the_base_may_be_fixed)
{
	struct disk_extent extent;

	vlab_create(&lab, "base", VHD_FIXED, MIB, NULL);
	fill("base", 0, MIB, 5);
	make_child("leaf", "base", 0, 0);
	struct disk *disk = vlab_open(&lab, "leaf", true);
	cr_expect_eq(vlab_tag(disk, 4096), 5);
	vlab_write(disk, 4096, 512, 6);
	vlab_zero(disk, 8192, 512);
	cr_assert_eq(disk_map(disk, 4096 + 512, MIB - 4608, &extent, NULL), ERR_OK);
	cr_expect_eq(extent.depth, 1);
	cr_expect_eq(extent.len_bytes, 8192 - 4608);
	cr_expect_eq(extent.file_off_bytes, 4608);
	cr_expect_str_eq(extent.path, "base");
	vlab_close(disk);
	cr_expect_eq(vlab_tag_of(&lab, "leaf", 4096), 6);
	cr_expect_eq(vlab_tag_of(&lab, "leaf", 8192), 0);
	cr_expect_eq(vlab_tag_of(&lab, "base", 8192), 5);
}

/* ---- locks ---- */

Test(vhd_chain, one_writer_or_many_readers)
{
	struct disk *reader, *writer, *other;

	make("base", NULL, 5);
	make("leaf", "base", 0);
	writer = vlab_open(&lab, "leaf", true);
	cr_expect_eq(vlab_try_open(&lab, "leaf", true, &other), ERR_LOCKED);
	cr_expect_eq(vlab_try_open(&lab, "leaf", false, &other), ERR_LOCKED);
	cr_expect_eq(vlab_try_open(&lab, "base", true, &other), ERR_LOCKED, "it is a parent");
	reader = vlab_open(&lab, "base", false);
	vlab_close(reader);
	struct vhd_open_opts opts = {.ns = lab.ns, .no_lock = true};
	cr_assert_eq(vhd_open("leaf", &opts, &other, NULL), ERR_OK);
	vlab_close(other);
	vlab_close(writer);
	reader = vlab_open(&lab, "leaf", false);
	other = vlab_open(&lab, "leaf", false);
	vlab_close(other);
	cr_expect_eq(vlab_try_open(&lab, "base", true, &writer), ERR_LOCKED);
	vlab_close(reader);
	writer = vlab_open(&lab, "base", true);
	cr_expect_eq(vlab_try_open(&lab, "leaf", false, &other), ERR_LOCKED, "a parent that moves");
	vlab_close(writer);
}

/* ---- images of other products ---- */

Test(vhd_chain, a_windows_10_child_finds_its_parent)
{
	struct vhd_usage usage;

	vlab_fixture(&lab, "govhd-win8-chain/win8.vhd", "v/win8.vhd");
	vlab_fixture(&lab, "govhd-win8-chain/win8-child.vhd", "v/win8-child.vhd");
	struct disk *disk = vlab_open(&lab, "v/win8-child.vhd", true);
	vhd_get_usage(disk, &usage);
	cr_expect_eq(usage.depth, 2);
	cr_expect(vlab_holds(&lab, disk, 0, 4 * MIB, 0), "%s", lab.why.text);
	vlab_write(disk, 41943040 - 4096, 4096, 3);
	vlab_close(disk);
	cr_expect_eq(vlab_tag_of(&lab, "v/win8-child.vhd", 41943040 - 4096), 3);
}
