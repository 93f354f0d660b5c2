/* SPDX-License-Identifier: MIT */
/* New images (W16): what is in them, what is refused, and what a failure leaves behind. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/vhd_lab.h"
#include "vhd/locator.h"

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_create, .init = start, .fini = stop);

static enum err try_create(const char *path, struct vhd_create_opts opts)
{
	enum err err = vlab_try_create(&lab, path, opts);

	if (err)
		cr_expect(*lab.why.text, "an error without a text");
	return err;
}

static void expect_refused(struct vhd_create_opts opts, const char *said)
{
	cr_expect_eq(try_create("x", opts), ERR_USAGE, "%s", lab.why.text);
	cr_expect(vlab_said(&lab, said), "\"%s\" is not in: %s", said, lab.why.text);
	cr_expect_eq(vlab_size(&lab, "x"), UINT64_MAX, "nothing is left behind");
}

/* ---- what is asked for ---- */

Test(vhd_create, sizes_are_whole_sectors_up_to_2040_gib)
{
	static const uint64_t bad[] = {
	    0, 1, 511, 513, VHD_MAX_SIZE + 512, UINT64_MAX, UINT64_MAX - 511};
	static const enum vhd_type types[] = {VHD_FIXED, VHD_DYNAMIC};

	for (size_t i = 0; i < ARRAY_LEN(bad) * 2; i++)
		expect_refused(
		    (struct vhd_create_opts){.type = types[i % 2], .size_bytes = bad[i / 2]},
		    "size");
	cr_expect_eq(
	    try_create("small", (struct vhd_create_opts){.type = VHD_DYNAMIC, .size_bytes = 512}),
	    ERR_OK);
	cr_expect_eq(try_create("large", (struct vhd_create_opts){.type = VHD_DYNAMIC,
								  .size_bytes = VHD_MAX_SIZE}),
		     ERR_OK, "%s", lab.why.text);
	cr_expect_eq(vlab_probe(&lab, "large", true), ERR_OK, "%s", lab.why.text);
}

Test(vhd_create, block_sizes_are_powers_of_two_in_range)
{
	static const uint32_t bad[] = {512, 32768, 3 << 20, 512u << 20, 0xffffffffu};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_refused((struct vhd_create_opts){.type = VHD_DYNAMIC,
							.size_bytes = MIB,
							.block_size = bad[i]},
			       "block size");
	/* 2040 GiB in blocks of 64 KiB is a table of 127 MiB */
	expect_refused((struct vhd_create_opts){.type = VHD_DYNAMIC,
						.size_bytes = VHD_MAX_SIZE,
						.block_size = VHD_MIN_BLOCK},
		       "32 MiB");
}

Test(vhd_create, type_and_parent_go_together)
{
	vlab_create(&lab, "base", VHD_DYNAMIC, MIB, NULL);
	expect_refused((struct vhd_create_opts){.type = VHD_DIFFERENCING}, "parent");
	expect_refused(
	    (struct vhd_create_opts){.type = VHD_DYNAMIC, .size_bytes = MIB, .parent = "base"},
	    "parent");
	expect_refused(
	    (struct vhd_create_opts){.type = VHD_FIXED, .size_bytes = MIB, .parent = "base"},
	    "parent");
}

Test(vhd_create, an_unknown_type_is_refused)
{
	cr_expect_eq(try_create("x", (struct vhd_create_opts){.size_bytes = MIB}), ERR_USAGE);
	cr_expect_eq(
	    try_create("x", (struct vhd_create_opts){.type = (enum vhd_type)5, .size_bytes = MIB}),
	    ERR_USAGE);
	cr_expect_eq(vlab_size(&lab, "x"), UINT64_MAX);
}

Test(vhd_create, azure_takes_fixed_disks_of_whole_mib)
{
	struct vhd_layer *layer;

	expect_refused(
	    (struct vhd_create_opts){.type = VHD_DYNAMIC, .size_bytes = MIB, .azure = true},
	    "Azure");
	cr_assert_eq(try_create("a", (struct vhd_create_opts){.type = VHD_FIXED,
							      .size_bytes = MIB + 512,
							      .azure = true}),
		     ERR_OK, "%s", lab.why.text);
	layer = vlab_layer(&lab, "a");
	cr_expect_eq(layer->size_bytes, 2 * MIB);
	cr_expect_eq(vlab_size(&lab, "a"), 2 * MIB + 512);
	layer_close(layer, NULL);
}

Test(vhd_create, never_overwrites)
{
	mem_ns_put(lab.mem, "x", "precious", 8);
	cr_expect_eq(
	    try_create("x", (struct vhd_create_opts){.type = VHD_FIXED, .size_bytes = MIB}),
	    ERR_EXIST);
	cr_expect_eq(vlab_size(&lab, "x"), 8, "and leaves it alone");
}

Test(vhd_create, a_missing_or_locked_parent_is_an_error)
{
	struct vhd_create_opts opts = {.type = VHD_DIFFERENCING, .parent = "base"};
	enum err err = try_create("x", opts);

	cr_expect(err == ERR_PARENT || err == ERR_NOENT);
	cr_expect(vlab_said(&lab, "base"), "%s", lab.why.text);
	vlab_create(&lab, "base", VHD_DYNAMIC, MIB, NULL);
	struct disk *writer = vlab_open(&lab, "base", true);
	cr_expect_eq(try_create("x", opts), ERR_LOCKED);
	vlab_close(writer);
	cr_expect_eq(vlab_size(&lab, "x"), UINT64_MAX);
	cr_expect_eq(try_create("x", opts), ERR_OK, "%s", lab.why.text);
}

Test(vhd_create, a_path_that_would_be_its_own_parent_is_refused)
{
	vlab_create(&lab, "base", VHD_DYNAMIC, MIB, NULL);
	cr_expect_eq(try_create("base", (struct vhd_create_opts){.type = VHD_DIFFERENCING,
								 .parent = "base"}),
		     ERR_EXIST);
	cr_expect_eq(vlab_probe(&lab, "base", true), ERR_OK);
}

/* ---- what is in them ---- */

Test(vhd_create, a_fixed_image_is_preallocated_zeros_and_one_footer)
{
	vlab_create(&lab, "f", VHD_FIXED, MIB, NULL);
	cr_expect_eq(vlab_size(&lab, "f"), MIB + FOOTER_BYTES);
	struct disk *disk = vlab_open(&lab, "f", false);
	cr_expect(vlab_holds(&lab, disk, 0, MIB, 0), "%s", lab.why.text);
	vlab_close(disk);
}

Test(vhd_create, a_fixed_image_is_preallocated_on_the_real_file_system)
{
	char dir[] = "/tmp/strata-create.XXXXXX";
	char path[64];
	struct vhd_info info;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f.vhd", dir);
	struct vhd_create_opts opts = {.type = VHD_FIXED, .size_bytes = 4 * MIB};
	cr_expect_eq(vhd_create(path, &opts, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vhd_inspect(path, NULL, &info, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(info.file_size, 4 * MIB + 512);
	cr_expect_geq(info.disk_usage, 4 * MIB);
	vhd_info_free(&info);
	unlink(path);
	rmdir(dir);
}

Test(vhd_create, a_dynamic_image_is_laid_out_as_the_specification_says)
{
	uint8_t copy[FOOTER_BYTES], trailing[FOOTER_BYTES], entry[4];
	struct vhd_layer *layer;

	cr_assert_eq(
	    try_create("d", (struct vhd_create_opts){.type = VHD_DYNAMIC, .size_bytes = 10 * GIB}),
	    ERR_OK);
	layer = vlab_layer(&lab, "d");
	cr_expect_eq(layer->footer.type, VHD_DYNAMIC);
	cr_expect_eq(layer->footer.features, 2);
	cr_expect_eq(layer->footer.data_off, 512);
	cr_expect_eq(layer->footer.original_bytes, 10 * GIB);
	cr_expect_eq(layer->footer.current_bytes, 10 * GIB);
	cr_expect_eq(layer->footer.saved_state, 0);
	cr_expect_arr_eq(layer->footer.creator_host, "Wi2k", 4);
	cr_expect_eq(layer->block_bytes, VHD_DEFAULT_BLOCK);
	cr_expect_eq(layer->header.max_entries, 5120);
	cr_expect(guid_is_zero(&layer->header.parent_uuid));
	cr_expect_eq(layer->footer_off, layer->header.bat_off + 5120 * 4);
	vlab_get(&lab, "d", 0, copy, sizeof(copy));
	vlab_get(&lab, "d", layer->footer_off, trailing, sizeof(trailing));
	cr_expect_arr_eq(copy, trailing, sizeof(copy));
	for (unsigned i = 0; i < 5120; i++) {
		vlab_get(&lab, "d", layer->header.bat_off + i * 4, entry, 4);
		cr_assert_eq(get_be32(entry), BAT_UNUSED);
	}
	layer_close(layer, NULL);
}

Test(vhd_create, the_uuid_can_be_given)
{
	struct guid uuid = guid_new();

	cr_assert_eq(try_create("d", (struct vhd_create_opts){.type = VHD_DYNAMIC,
							      .size_bytes = MIB,
							      .uuid = &uuid}),
		     ERR_OK);
	struct vhd_layer *layer = vlab_layer(&lab, "d");
	cr_expect(guid_equal(&layer->footer.uuid, &uuid));
	layer_close(layer, NULL);
}

Test(vhd_create, a_child_says_where_its_parent_is)
{
	struct vhd_layer *parent, *child;
	char *path;

	cr_assert_eq(try_create("v/base.vhd", (struct vhd_create_opts){.type = VHD_DYNAMIC,
								       .size_bytes = 3 * MIB,
								       .block_size = 512 * KIB}),
		     ERR_OK);
	cr_assert_eq(try_create("v/sub/leaf.vhd", (struct vhd_create_opts){.type = VHD_DIFFERENCING,
									   .parent = "v/base.vhd"}),
		     ERR_OK, "%s", lab.why.text);
	parent = vlab_layer(&lab, "v/base.vhd");
	child = vlab_layer(&lab, "v/sub/leaf.vhd");
	cr_expect_eq(child->footer.type, VHD_DIFFERENCING);
	cr_expect_eq(child->size_bytes, 3 * MIB);
	cr_expect_eq(child->block_bytes, 512 * KIB);
	cr_expect(guid_equal(&child->header.parent_uuid, &parent->footer.uuid));
	cr_expect(!guid_equal(&child->footer.uuid, &parent->footer.uuid));
	cr_expect_eq(child->header.parent_timestamp, parent->footer.timestamp);
	char *name = header_parent_name(&child->header);
	cr_assert_not_null(name);
	cr_expect_str_eq(name, "base.vhd");
	free(name);
	for (unsigned slot = 0; slot < VHD_LOCATORS; slot++) {
		const struct vhd_locator_entry *entry = &child->header.locator[slot];

		if (locator_read(child, slot, &path, NULL))
			continue;
		bool relative = memcmp(entry->code, "W2ru", 4) == 0;
		cr_expect_str_eq(path, relative ? "..\\base.vhd" : "v\\base.vhd");
		cr_expect_geq(locator_space_bytes(entry), entry->len_bytes);
		cr_expect(entry->off_bytes + locator_space_bytes(entry) <= child->header.bat_off ||
			  entry->off_bytes >= child->meta_end);
		free(path);
	}
	layer_close(child, NULL);
	layer_close(parent, NULL);
}

Test(vhd_create, a_child_of_a_fixed_disk_gets_the_default_block)
{
	vlab_create(&lab, "base", VHD_FIXED, MIB, NULL);
	cr_assert_eq(try_create("leaf", (struct vhd_create_opts){.type = VHD_DIFFERENCING,
								 .parent = "base"}),
		     ERR_OK);
	struct vhd_layer *layer = vlab_layer(&lab, "leaf");
	cr_expect_eq(layer->block_bytes, VHD_DEFAULT_BLOCK);
	cr_expect_eq(layer->size_bytes, MIB);
	layer_close(layer, NULL);
}

Test(vhd_create, a_childs_locators_are_absolute_on_the_real_file_system)
{
	char dir[] = "/tmp/strata-create.XXXXXX";
	char base[64], leaf[64], want[80], back[1100];
	struct vhd_info info;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(base, sizeof(base), "%s/base.vhd", dir);
	snprintf(leaf, sizeof(leaf), "%s/leaf.vhd", dir);
	struct vhd_create_opts opts = {.type = VHD_DYNAMIC, .size_bytes = MIB};
	cr_assert_eq(vhd_create(base, &opts, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_assert_not_null(getcwd(back, sizeof(back)));
	cr_assert_eq(chdir(dir), 0);
	opts = (struct vhd_create_opts){.type = VHD_DIFFERENCING, .parent = "base.vhd"};
	cr_expect_eq(vhd_create("leaf.vhd", &opts, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(chdir(back), 0);
	cr_assert_eq(vhd_inspect(leaf, NULL, &info, &lab.why), ERR_OK, "%s", lab.why.text);
	snprintf(want, sizeof(want), "\\tmp\\%s\\base.vhd", dir + 5);
	cr_expect_str_eq(info.locator[0].path, want);
	cr_expect_str_eq(info.locator[1].path, ".\\base.vhd");
	cr_expect_str_eq(info.parent_path, base);
	vhd_info_free(&info);
	unlink(base);
	unlink(leaf);
	rmdir(dir);
}

/* ---- order and failure ---- */

/* W16: everything but the footers, B; the footers, B; then the name. */
Test(vhd_create, footers_are_written_after_the_rest_is_durable)
{
	size_t count, last_body = 0, first_footer = 0, sync = 0, last_sync = 0, sync_dir = 0;

	mem_ns_log_start(lab.mem);
	vlab_create(&lab, "v/d", VHD_DYNAMIC, MIB, NULL);
	const struct mem_event *event = mem_ns_log(lab.mem, &count);
	for (size_t i = 1; i < count; i++) {
		bool footer = event[i].what == EV_FOOTER || event[i].what == EV_FOOTER_COPY;

		if (event[i].kind == MEM_WRITE && footer && !first_footer)
			first_footer = i;
		else if (event[i].kind == MEM_WRITE && !footer)
			last_body = i;
		else if (event[i].kind == MEM_SYNC && !first_footer)
			sync = i;
		else if (event[i].kind == MEM_SYNC)
			last_sync = i;
		else if (event[i].kind == MEM_SYNC_DIR)
			sync_dir = i;
	}
	cr_expect(last_body < sync && sync < first_footer && first_footer < last_sync &&
		  last_sync < sync_dir);
	mem_ns_log_stop(lab.mem);
}

/* T3: whichever request fails, and however, no file is left. */
Test(vhd_create, a_failure_anywhere_leaves_nothing_behind)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT};

	vlab_create(&lab, "base", VHD_DYNAMIC, MIB, NULL);
	struct vhd_create_opts opts[] = {
	    {.type = VHD_FIXED, .size_bytes = MIB},
	    {.type = VHD_DYNAMIC, .size_bytes = MIB},
	    {.type = VHD_DIFFERENCING, .parent = "base"},
	};

	for (size_t i = 0; i < ARRAY_LEN(opts) * ARRAY_LEN(errors); i++) {
		unsigned failures = 0;

		for (uint64_t nth = 1;; nth++, failures++) {
			struct fault_rule rule = {.op = FAULT_ANY,
						  .event = FAULT_ANY,
						  .nth = nth,
						  .sys_errno = errors[i % 3],
						  .partial = nth % 2};

			fault_ns_set(lab.fault, &rule);
			enum err err = try_create("x", opts[i / 3]);
			bool fired = fault_ns_fired(lab.fault);
			fault_ns_set(lab.fault, NULL);
			if (!fired) {
				cr_assert_eq(err, ERR_OK);
				break;
			}
			cr_expect_eq(err, err_from_errno(errors[i % 3]), "request %u: %s",
				     (unsigned)nth, lab.why.text);
			cr_expect_eq(vlab_size(&lab, "x"), UINT64_MAX, "request %u", (unsigned)nth);
		}
		cr_expect_geq(failures, 4);
		cr_assert_eq(vlab_probe(&lab, "x", true), ERR_OK, "%s", lab.why.text);
		file_ns_unlink(lab.ns, "x", NULL);
	}
	cr_expect_eq(vlab_probe(&lab, "base", true), ERR_OK, "the parent is as it was");
}
