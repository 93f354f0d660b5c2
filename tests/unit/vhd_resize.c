/* SPDX-License-Identifier: MIT */
/* Growing and shrinking (W12 to W15): sizes, content, foreign images, and what is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/copy.h"
#include "tests/lib/powercut.h"
#include "tests/unit/vhd_lab.h"

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_resize, .init = start, .fini = stop);

#define DISK  "/vm/disk.vhd"
#define BASE  "/vm/base.vhd"
#define BLOCK (64 * KIB)

static enum err resize_with(const char *path, uint64_t size_bytes, struct vhd_open_opts open_opts,
			    bool dry_run)
{
	struct vhd_resize_opts opts = {.size_bytes = size_bytes, .dry_run = dry_run};

	open_opts.ns = lab.ns;
	lab.why = (struct err_why){0};
	return vhd_resize(path, &open_opts, &opts, &lab.why);
}

static enum err resize(const char *path, uint64_t size_bytes)
{
	return resize_with(path, size_bytes, (struct vhd_open_opts){0}, false);
}

static void must_resize(const char *path, uint64_t size_bytes)
{
	cr_assert_eq(resize(path, size_bytes), ERR_OK, "%s", lab.why.text);
}

static uint64_t disk_size(const char *path)
{
	struct disk *disk = vlab_open(&lab, path, false);
	struct disk_info info;

	disk_get_info(disk, &info);
	vlab_close(disk);
	return info.size_bytes;
}

static void write_tag(const char *path, uint64_t off, uint64_t len, uint64_t tag)
{
	struct disk *disk = vlab_open(&lab, path, true);

	vlab_write(disk, off, len, tag);
	vlab_close(disk);
}

static void holds(const char *path, uint64_t off, uint64_t len, uint64_t tag)
{
	struct disk *disk = vlab_open(&lab, path, false);

	cr_assert(vlab_holds(&lab, disk, off, len, tag), "%s", lab.why.text);
	vlab_close(disk);
}

static void is_sound(const char *path)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct vhd_report report;

	cr_assert_eq(vhd_check(path, &opts, NULL, &report, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vhd_report_result(&report), ERR_OK, "%s: %s",
		     report.count ? report.finding[0].field : "",
		     report.count ? report.finding[0].rule : "");
	vhd_report_free(&report);
}

/* A disk of three blocks and some, with tag 7 in all of it. */
#define ODD_SIZE (3 * BLOCK + 10 * KIB)

static void make_full(enum vhd_type type)
{
	vlab_create(&lab, DISK, type, ODD_SIZE, NULL);
	write_tag(DISK, 0, ODD_SIZE, 7);
}

static void grows(uint64_t to)
{
	must_resize(DISK, to);
	cr_assert_eq(disk_size(DISK), to);
	holds(DISK, 0, ODD_SIZE, 7);
	holds(DISK, ODD_SIZE, 4 * BLOCK - ODD_SIZE, 0);
	holds(DISK, to - BLOCK, BLOCK, 0);
	is_sound(DISK);
	write_tag(DISK, to - 2 * BLOCK, 2 * BLOCK, 8);
	holds(DISK, to - 2 * BLOCK, 2 * BLOCK, 8);
	holds(DISK, 0, ODD_SIZE, 7);
	is_sound(DISK);
}

Test(vhd_resize, fixed_grows)
{
	make_full(VHD_FIXED);
	grows(20 * BLOCK);
	cr_assert_eq(vlab_size(&lab, DISK), 20 * BLOCK + 512);
}

Test(vhd_resize, dynamic_grows_within_its_table)
{
	make_full(VHD_DYNAMIC);
	grows(20 * BLOCK);
}

Test(vhd_resize, dynamic_grows_over_its_first_blocks)
{
	make_full(VHD_DYNAMIC);
	uint32_t first = vlab_bat_entry(&lab, DISK, 0);
	grows(40000 * BLOCK);
	cr_assert_neq(vlab_bat_entry(&lab, DISK, 0), first);
}

Test(vhd_resize, an_empty_disk_grows)
{
	vlab_create(&lab, DISK, VHD_DYNAMIC, 512, NULL);
	must_resize(DISK, 100 * GIB);
	cr_assert_eq(disk_size(DISK), 100 * GIB);
	holds(DISK, 100 * GIB - BLOCK, BLOCK, 0);
	is_sound(DISK);
}

Test(vhd_resize, grows_to_the_limit_of_the_format)
{
	struct vhd_create_opts opts = {.type = VHD_DYNAMIC, .size_bytes = MIB};

	cr_assert_eq(vlab_try_create(&lab, DISK, opts), ERR_OK);
	write_tag(DISK, 0, MIB, 7);
	must_resize(DISK, VHD_MAX_SIZE);
	cr_assert_eq(disk_size(DISK), VHD_MAX_SIZE);
	holds(DISK, 0, MIB, 7);
	is_sound(DISK);
	write_tag(DISK, VHD_MAX_SIZE - MIB, MIB, 8);
	holds(DISK, VHD_MAX_SIZE - MIB, MIB, 8);
}

Test(vhd_resize, child_grows_and_its_locators_stay)
{
	vlab_create(&lab, BASE, VHD_DYNAMIC, ODD_SIZE, NULL);
	write_tag(BASE, 0, ODD_SIZE, 7);
	vlab_create(&lab, DISK, VHD_DIFFERENCING, 0, BASE);
	write_tag(DISK, BLOCK, BLOCK, 7);
	write_tag(DISK, 3 * BLOCK, 1 * KIB, 7);
	grows(40000 * BLOCK);
}

/* What no request could reach shows when the disk grows: it has to be cleared. */
Test(vhd_resize, what_lies_behind_the_end_does_not_show)
{
	make_full(VHD_DYNAMIC);
	struct vhd_layer *layer = vlab_layer(&lab, DISK);
	uint64_t data = layer_data_off(layer, vlab_bat_entry(&lab, DISK, 3));
	uint64_t entry = layer_bat_entry_off(layer, 5);
	layer_close(layer, NULL);

	vlab_put64(&lab, DISK, data + 10 * KIB, 0x1122334455667788);
	vlab_put32(&lab, DISK, entry, vlab_bat_entry(&lab, DISK, 0));
	must_resize(DISK, 8 * BLOCK);
	holds(DISK, ODD_SIZE, 8 * BLOCK - ODD_SIZE, 0);
	is_sound(DISK);
}

Test(vhd_resize, fixed_disk_with_room_before_its_footer_grows_into_zeros)
{
	make_full(VHD_FIXED);
	vlab_set_footers(&lab, DISK, 48, 8, 2 * BLOCK);
	must_resize(DISK, 3 * BLOCK);
	holds(DISK, 0, 2 * BLOCK, 7);
	holds(DISK, 2 * BLOCK, BLOCK, 0);
	must_resize(DISK, 5 * BLOCK);
	holds(DISK, 2 * BLOCK, 3 * BLOCK, 0);
	cr_assert_eq(vlab_size(&lab, DISK), 5 * BLOCK + 512);
}

Test(vhd_resize, child_does_not_grow_over_its_parents_data)
{
	vlab_create(&lab, BASE, VHD_DYNAMIC, 8 * BLOCK, NULL);
	write_tag(BASE, 6 * BLOCK, BLOCK, 7);
	vlab_create(&lab, DISK, VHD_DIFFERENCING, 4 * BLOCK, BASE);
	cr_assert_eq(resize(DISK, 8 * BLOCK), ERR_REFUSED);
	must_resize(DISK, 6 * BLOCK);
	cr_assert_eq(resize(DISK, 6 * BLOCK + 512), ERR_REFUSED);
	holds(DISK, 4 * BLOCK, 2 * BLOCK, 0);
}

static void shrinks(enum vhd_type type)
{
	vlab_create(&lab, DISK, type, 16 * BLOCK, NULL);
	write_tag(DISK, 0, 4 * BLOCK, 7);
	write_tag(DISK, 10 * BLOCK, 3 * BLOCK, 8);
	struct disk *disk = vlab_open(&lab, DISK, true);
	uint8_t *zeros = calloc(1, 3 * BLOCK);
	cr_assert_eq(disk_write(disk, exercise_queue(), zeros, 10 * BLOCK, 3 * BLOCK, NULL),
		     ERR_OK);
	free(zeros);
	vlab_close(disk);

	uint64_t before = vlab_size(&lab, DISK);
	cr_assert_eq(resize(DISK, 4 * BLOCK - 512), ERR_REFUSED);
	cr_assert_eq(disk_size(DISK), 16 * BLOCK);
	must_resize(DISK, 4 * BLOCK + 512);
	cr_assert_eq(disk_size(DISK), 4 * BLOCK + 512);
	cr_assert_lt(vlab_size(&lab, DISK), before - 2 * BLOCK);
	holds(DISK, 0, 4 * BLOCK, 7);
	holds(DISK, 4 * BLOCK, 512, 0);
	is_sound(DISK);
	must_resize(DISK, 16 * BLOCK);
	holds(DISK, 4 * BLOCK, 12 * BLOCK, 0);
	is_sound(DISK);
}

Test(vhd_resize, fixed_shrinks_over_zeros)
{
	shrinks(VHD_FIXED);
}

Test(vhd_resize, dynamic_shrinks_over_zeros)
{
	shrinks(VHD_DYNAMIC);
}

/* W9: zeros that hide a parent's data read as zero before and after. */
Test(vhd_resize, child_shrinks_over_zeros_that_hide_its_parent)
{
	vlab_create(&lab, BASE, VHD_DYNAMIC, 8 * BLOCK, NULL);
	write_tag(BASE, 0, 8 * BLOCK, 7);
	vlab_create(&lab, DISK, VHD_DIFFERENCING, 0, BASE);
	cr_assert_eq(resize(DISK, 6 * BLOCK), ERR_REFUSED);
	struct disk *disk = vlab_open(&lab, DISK, true);
	vlab_zero(disk, 5 * BLOCK, 3 * BLOCK);
	vlab_close(disk);
	must_resize(DISK, 5 * BLOCK + 512);
	holds(DISK, 0, 5 * BLOCK, 7);
	holds(DISK, 5 * BLOCK, 512, 0);
	is_sound(DISK);
	cr_assert_eq(resize(DISK, 8 * BLOCK), ERR_REFUSED);
}

Test(vhd_resize, disks_with_children_keep_their_size)
{
	static const char *const search[] = {"/elsewhere"};

	make_full(VHD_DYNAMIC);
	vlab_create(&lab, "/vm/child.vhd", VHD_DIFFERENCING, 0, DISK);
	cr_assert_eq(resize(DISK, 20 * BLOCK), ERR_REFUSED);
	cr_assert(vlab_said(&lab, "child.vhd"));
	cr_assert_eq(file_ns_rename(lab.ns, "/vm/child.vhd", "/elsewhere/child.vhd", NULL), ERR_OK);
	cr_assert_eq(resize_with(DISK, 20 * BLOCK,
				 (struct vhd_open_opts){.search = search, .search_count = 1},
				 false),
		     ERR_REFUSED);
	must_resize(DISK, 20 * BLOCK);
}

Test(vhd_resize, sizes_that_cannot_be_are_usage)
{
	make_full(VHD_DYNAMIC);
	cr_assert_eq(resize(DISK, 0), ERR_USAGE);
	cr_assert_eq(resize(DISK, 20 * BLOCK + 1), ERR_USAGE);
	cr_assert_eq(resize(DISK, VHD_MAX_SIZE + 512), ERR_USAGE);
	/* 64 KiB blocks: a table of 32 MiB is for 512 GiB. */
	cr_assert_eq(resize(DISK, 512 * GIB + 512), ERR_USAGE);
	must_resize(DISK, 512 * GIB);
	holds(DISK, 0, ODD_SIZE, 7);
}

Test(vhd_resize, dry_run_and_the_same_size_write_nothing)
{
	size_t events;

	make_full(VHD_DYNAMIC);
	mem_ns_log_start(lab.mem);
	cr_assert_eq(resize_with(DISK, 40000 * BLOCK, (struct vhd_open_opts){0}, true), ERR_OK);
	cr_assert_eq(resize_with(DISK, BLOCK, (struct vhd_open_opts){0}, true), ERR_REFUSED);
	must_resize(DISK, ODD_SIZE);
	mem_ns_log(lab.mem, &events);
	mem_ns_log_stop(lab.mem);
	cr_assert_eq(events, 0);
	cr_assert_eq(disk_size(DISK), ODD_SIZE);
}

Test(vhd_resize, an_open_disk_is_locked)
{
	make_full(VHD_DYNAMIC);
	struct disk *disk = vlab_open(&lab, DISK, false);
	cr_assert_eq(resize(DISK, 20 * BLOCK), ERR_LOCKED);
	vlab_close(disk);
}

/* P5: old size or new size, the same content, and asking again helps. */
static void survives_failures(enum vhd_type type, uint64_t from, uint64_t to)
{
	bool fired = true;

	for (unsigned nth = 1; fired; nth++) {
		vlab_create(&lab, DISK, type, from, NULL);
		write_tag(DISK, 0, 2 * BLOCK, 7);
		fault_ns_set(lab.fault, &(struct fault_rule){.op = FAULT_ANY,
							     .event = FAULT_ANY,
							     .nth = nth,
							     .sys_errno = ENOSPC,
							     .partial = true});
		enum err err = resize(DISK, to);
		fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		if (!fired)
			cr_assert_eq(err, ERR_OK, "%s", lab.why.text);
		uint64_t now = disk_size(DISK);
		cr_assert(now == from || now == to);
		holds(DISK, 0, 2 * BLOCK, 7);
		must_resize(DISK, to);
		cr_assert_eq(disk_size(DISK), to, "call %u failed", nth);
		holds(DISK, 0, 2 * BLOCK, 7);
		holds(DISK, 2 * BLOCK, min_u64(to, 16 * BLOCK) - 2 * BLOCK, 0);
		is_sound(DISK);
		cr_assert_lt(nth, 1000);
		vlab_stop(&lab);
		vlab_start(&lab);
	}
}

Test(vhd_resize, every_single_failure_while_growing_is_harmless)
{
	survives_failures(VHD_DYNAMIC, 4 * BLOCK, 4000 * BLOCK);
	survives_failures(VHD_FIXED, 4 * BLOCK, 16 * BLOCK);
}

Test(vhd_resize, every_single_failure_while_shrinking_is_harmless)
{
	survives_failures(VHD_DYNAMIC, 4000 * BLOCK, 4 * BLOCK);
	survives_failures(VHD_FIXED, 16 * BLOCK, 4 * BLOCK);
}

/* ---- images of other programs ---- */

static void fixture_grows(const char *fixture, uint64_t to)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct disk *before, *after;
	uint64_t found;

	vlab_fixture(&lab, fixture, "/vm/before.vhd");
	vlab_fixture(&lab, fixture, DISK);
	must_resize(DISK, to);
	cr_assert_eq(disk_size(DISK), to);
	is_sound(DISK);
	cr_assert_eq(vhd_open("/vm/before.vhd", &opts, &before, &lab.why), ERR_OK);
	cr_assert_eq(vhd_open(DISK, &opts, &after, &lab.why), ERR_OK);
	cr_assert_eq(disk_first_difference(before, after, exercise_queue(), &found, NULL, &lab.why),
		     ERR_OK, "%s", lab.why.text);
	cr_assert_eq(found, UINT64_MAX);
	vlab_close(before);
	vlab_close(after);
}

Test(vhd_resize, images_of_qemu_and_virtualbox_grow)
{
	fixture_grows("govhd-qemu.vhd", 40 * GIB);
	fixture_grows("govhd-vbox.vhd", 40 * GIB);
}

Test(vhd_resize, image_with_a_batmap_grows)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct vhd_info info;

	fixture_grows("govhd-xapi.vhd", 40 * GIB);
	cr_assert_eq(vhd_inspect("/vm/before.vhd", &opts, &info, NULL), ERR_OK);
	cr_assert(info.has_batmap);
	vhd_info_free(&info);
	cr_assert_eq(vhd_inspect(DISK, &opts, &info, NULL), ERR_OK);
	cr_assert_not(info.has_batmap);
	vhd_info_free(&info);
}

/* Its locators lie on both sides of the table, one of them in the way. */
Test(vhd_resize, windows_child_grows_and_finds_its_parent)
{
	static const char *const child = "/vm/win8-child.vhd";
	uint8_t before[4096], after[4096];

	vlab_fixture(&lab, "govhd-win8-chain/win8.vhd", "/vm/win8.vhd");
	vlab_fixture(&lab, "govhd-win8-chain/win8-child.vhd", child);
	struct disk *disk = vlab_open(&lab, child, false);
	cr_assert_eq(disk_read(disk, exercise_queue(), before, 0, sizeof(before), NULL), ERR_OK);
	vlab_close(disk);

	must_resize(child, 2040 * GIB);
	is_sound(child);
	disk = vlab_open(&lab, child, false);
	cr_assert_eq(disk_read(disk, exercise_queue(), after, 0, sizeof(after), NULL), ERR_OK);
	cr_assert_arr_eq(before, after, sizeof(before));
	vlab_close(disk);
}

/* ---- power cuts ---- */

/*
 * A child whose block and whose locators, for a long path, are where its table has to grow:
 * cut off anywhere it opens, finds its parent, has one of the two sizes and its content, and
 * asking again finishes it.
 */
#define GROWN (40000 * BLOCK)

static char far_base[4096];

static void *grow_begin(const void *config, uint64_t seed, bool calm)
{
	size_t at = (size_t)snprintf(far_base, sizeof(far_base), "/vm/");

	(void)config, (void)seed, (void)calm;
	for (; at < 3000; at++)
		far_base[at] = at % 100 == 99 ? '/' : 'a';
	memcpy(far_base + at, "x.vhd", 6);
	return &lab;
}

static enum err grow_setup(void *run, struct mem_ns *ns, struct err_why *why)
{
	struct vlab at = {.mem = ns, .ns = mem_ns_base(ns)};
	struct vhd_open_opts open_opts = {.ns = at.ns};
	struct vhd_relink_opts opts = {.parent = far_base};
	char *parent = NULL;

	(void)run;
	vlab_create(&at, BASE, VHD_DYNAMIC, 4 * BLOCK, NULL);
	struct disk *disk = vlab_open(&at, BASE, true);
	vlab_write(disk, 0, BLOCK, 7);
	vlab_close(disk);
	vlab_create(&at, DISK, VHD_DIFFERENCING, 0, BASE);
	disk = vlab_open(&at, DISK, true);
	vlab_write(disk, BLOCK, BLOCK, 8);
	vlab_close(disk);
	enum err err = file_ns_rename(at.ns, BASE, far_base, why);
	if (!err)
		err = vhd_relink(DISK, &open_opts, &opts, &parent, why);
	free(parent);
	return err;
}

static enum err grow_run(struct mem_ns *ns, struct err_why *why)
{
	struct vhd_resize_opts opts = {.size_bytes = GROWN};
	struct vhd_open_opts open_opts = {.ns = mem_ns_base(ns)};

	return vhd_resize(DISK, &open_opts, &opts, why);
}

static enum err grow_operate(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return grow_run(ns, why);
}

static enum err grow_recover(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};
	struct disk *disk;
	enum err err = vhd_open(DISK, &opts, &disk, why);

	(void)run, (void)mark;
	return err ? err : disk_close(disk, why);
}

static enum err grow_look(struct mem_ns *ns, uint64_t *size_bytes, struct err_why *why)
{
	struct vlab at = {.mem = ns, .ns = mem_ns_base(ns)};
	struct disk *disk = vlab_open(&at, DISK, false);
	struct disk_info info;

	disk_get_info(disk, &info);
	*size_bytes = info.size_bytes;
	bool ok = vlab_holds(&at, disk, 0, BLOCK, 7) && vlab_holds(&at, disk, BLOCK, BLOCK, 8) &&
		  vlab_holds(&at, disk, 2 * BLOCK, 2 * BLOCK, 0) &&
		  vlab_holds(&at, disk, *size_bytes - BLOCK, BLOCK, 0);
	vlab_close(disk);
	return ok ? ERR_OK : err_set(why, ERR_CORRUPT, "%s", at.why.text);
}

static enum err grow_verify(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	uint64_t size_bytes;
	enum err err = grow_look(ns, &size_bytes, why);

	(void)run, (void)mark;
	if (!err && size_bytes != 4 * BLOCK && size_bytes != GROWN)
		return err_set(why, ERR_CORRUPT, "size %llu", (unsigned long long)size_bytes);
	if (!err)
		err = grow_run(ns, why);
	if (!err)
		err = grow_look(ns, &size_bytes, why);
	return err || size_bytes == GROWN ? err : err_set(why, ERR_CORRUPT, "did not grow");
}

static void grow_end(void *run)
{
	(void)run;
}

Test(vhd_resize, power_cut_while_locators_and_blocks_move_away)
{
	static const struct powercut_scenario scenario = {.name = "expand-locators",
							  .begin = grow_begin,
							  .setup = grow_setup,
							  .operate = grow_operate,
							  .recover = grow_recover,
							  .verify = grow_verify,
							  .end = grow_end};
	struct powercut_opts opts = {.without = POWERCUT_WHOLE, .budget_states = 400};
	struct powercut *powercut = powercut_record(&scenario, 1, false, &lab.why);
	struct powercut_result result;

	cr_assert_not_null(powercut, "%s", lab.why.text);
	powercut_explore(powercut, &opts, &result);
	cr_assert_not(result.failed, "%s", result.text);
	cr_assert_gt(result.states, 30, "%llu", (unsigned long long)result.states);
	powercut_free(powercut);
}
