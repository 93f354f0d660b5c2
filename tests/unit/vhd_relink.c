/* SPDX-License-Identifier: MIT */
/* Relinking: whom it finds, whom it refuses, and where the locators go. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/copy.h"
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

TestSuite(vhd_relink, .init = start, .fini = stop);

#define SIZE  (1 * MIB)
#define BASE  "/vm/base.vhd"
#define CHILD "/vm/child.vhd"

/* base: tag 1 in the first 256 KiB; child: tag 2 in the second 64 KiB of it. */
static void make_pair(void)
{
	struct disk *disk;

	vlab_create(&lab, BASE, VHD_DYNAMIC, SIZE, NULL);
	disk = vlab_open(&lab, BASE, true);
	vlab_write(disk, 0, 256 * KIB, 1);
	vlab_close(disk);
	vlab_create(&lab, CHILD, VHD_DIFFERENCING, 0, BASE);
	disk = vlab_open(&lab, CHILD, true);
	vlab_write(disk, 64 * KIB, 64 * KIB, 2);
	vlab_close(disk);
}

static void move(const char *from, const char *to)
{
	cr_assert_eq(file_ns_rename(lab.ns, from, to, NULL), ERR_OK);
}

static enum err relink_with(const char *child, struct vhd_open_opts open_opts,
			    struct vhd_relink_opts opts)
{
	char *parent = NULL;
	enum err err;

	open_opts.ns = lab.ns;
	lab.why = (struct err_why){0};
	err = vhd_relink(child, &open_opts, &opts, &parent, &lab.why);
	cr_assert_eq(err == ERR_OK, parent != NULL);
	free(parent);
	return err;
}

static enum err relink_to(const char *child, const char *parent)
{
	return relink_with(child, (struct vhd_open_opts){0},
			   (struct vhd_relink_opts){.parent = parent});
}

static void child_is_whole(const char *child)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct vhd_report report;
	struct disk *disk = vlab_open(&lab, child, false);

	cr_assert(vlab_holds(&lab, disk, 0, 64 * KIB, 1), "%s", lab.why.text);
	cr_assert(vlab_holds(&lab, disk, 64 * KIB, 64 * KIB, 2), "%s", lab.why.text);
	cr_assert(vlab_holds(&lab, disk, 128 * KIB, 128 * KIB, 1), "%s", lab.why.text);
	cr_assert(vlab_holds(&lab, disk, 256 * KIB, SIZE - 256 * KIB, 0), "%s", lab.why.text);
	vlab_close(disk);
	cr_assert_eq(vhd_check(child, &opts, NULL, &report, &lab.why), ERR_OK);
	cr_assert_eq(vhd_report_result(&report), ERR_OK, "%s",
		     report.count ? report.finding[0].rule : "");
	vhd_report_free(&report);
}

Test(vhd_relink, child_finds_a_parent_that_was_moved)
{
	make_pair();
	move(BASE, "/vm/below/other.vhd");
	cr_assert_eq(vlab_probe(&lab, CHILD, false), ERR_PARENT);
	cr_assert_eq(relink_to(CHILD, "/vm/below/other.vhd"), ERR_OK, "%s", lab.why.text);
	child_is_whole(CHILD);
}

Test(vhd_relink, what_it_writes_reads_back)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct vhd_info info;

	make_pair();
	move(BASE, "/vm/below/other.vhd");
	cr_assert_eq(relink_to(CHILD, "/vm/below/other.vhd"), ERR_OK);
	cr_assert_eq(vhd_inspect(CHILD, &opts, &info, &lab.why), ERR_OK);
	cr_assert_str_eq(info.parent_name, "other.vhd");
	cr_assert_str_eq(info.locator[0].code, "W2ku");
	cr_assert_str_eq(info.locator[0].path, "\\vm\\below\\other.vhd");
	cr_assert_str_eq(info.locator[1].code, "W2ru");
	cr_assert_str_eq(info.locator[1].path, ".\\below\\other.vhd");
	for (unsigned i = 2; i < VHD_LOCATORS; i++)
		cr_assert_str_eq(info.locator[i].code, "");
	vhd_info_free(&info);
}

Test(vhd_relink, looks_by_uuid_in_the_childs_folder)
{
	make_pair();
	move(BASE, "/vm/renamed.vhd");
	cr_assert_eq(relink_to(CHILD, NULL), ERR_OK, "%s", lab.why.text);
	child_is_whole(CHILD);
}

Test(vhd_relink, looks_by_uuid_in_the_search_folders)
{
	static const char *const search[] = {"/nothing", "/store"};

	make_pair();
	move(BASE, "/store/x.vhd");
	cr_assert_eq(relink_to(CHILD, NULL), ERR_PARENT);
	cr_assert_eq(relink_with(CHILD, (struct vhd_open_opts){.search = search, .search_count = 2},
				 (struct vhd_relink_opts){0}),
		     ERR_OK, "%s", lab.why.text);
}

Test(vhd_relink, refuses_another_disk_unless_told)
{
	struct vhd_relink_opts opts = {.parent = "/vm/stranger.vhd", .ignore_id_mismatch = true};

	make_pair();
	vlab_create(&lab, "/vm/stranger.vhd", VHD_DYNAMIC, SIZE, NULL);
	cr_assert_eq(relink_to(CHILD, "/vm/stranger.vhd"), ERR_PARENT);
	cr_assert(vlab_said(&lab, "UUID"));
	child_is_whole(CHILD);

	cr_assert_eq(relink_with(CHILD, (struct vhd_open_opts){0}, opts), ERR_OK, "%s",
		     lab.why.text);
	cr_assert_eq(vlab_tag_of(&lab, CHILD, 0), 0);
	cr_assert_eq(vlab_tag_of(&lab, CHILD, 64 * KIB), 2);
	opts.parent = NULL;
	cr_assert_eq(relink_with(CHILD, (struct vhd_open_opts){0}, opts), ERR_USAGE);
}

Test(vhd_relink, refuses_loops)
{
	struct vhd_relink_opts opts = {.parent = "/vm/grandchild.vhd", .ignore_id_mismatch = true};

	make_pair();
	vlab_create(&lab, "/vm/grandchild.vhd", VHD_DIFFERENCING, 0, CHILD);
	cr_assert_eq(relink_with(CHILD, (struct vhd_open_opts){0}, opts), ERR_REFUSED);
	cr_assert(vlab_said(&lab, "chain"));
	opts.parent = CHILD;
	cr_assert_eq(relink_with(CHILD, (struct vhd_open_opts){0}, opts), ERR_REFUSED);
	child_is_whole(CHILD);
}

Test(vhd_relink, only_children_have_parents)
{
	make_pair();
	cr_assert_eq(relink_to(BASE, CHILD), ERR_USAGE);
	cr_assert_eq(relink_to(CHILD, "/vm/nobody.vhd"), ERR_PARENT);
	cr_assert_eq(relink_to("/vm/nobody.vhd", BASE), ERR_NOENT);
}

Test(vhd_relink, refuses_a_parent_that_is_being_written)
{
	make_pair();
	struct disk *base = vlab_open(&lab, BASE, true);
	cr_assert_eq(relink_to(CHILD, BASE), ERR_LOCKED);
	vlab_close(base);
	struct disk *child = vlab_open(&lab, CHILD, false);
	cr_assert_eq(relink_to(CHILD, BASE), ERR_LOCKED);
	vlab_close(child);
}

Test(vhd_relink, dry_run_writes_nothing)
{
	size_t events;

	make_pair();
	move(BASE, "/vm/renamed.vhd");
	mem_ns_log_start(lab.mem);
	cr_assert_eq(relink_with(CHILD, (struct vhd_open_opts){0},
				 (struct vhd_relink_opts){.dry_run = true}),
		     ERR_OK);
	mem_ns_log(lab.mem, &events);
	mem_ns_log_stop(lab.mem);
	cr_assert_eq(events, 0);
	cr_assert_eq(vlab_probe(&lab, CHILD, false), ERR_PARENT);
}

/* A path of about `chars` characters, below /vm. */
static const char *long_path(char *out, size_t chars)
{
	size_t at = (size_t)sprintf(out, "/vm/");

	for (; at < chars; at++)
		out[at] = at % 100 == 99 ? '/' : 'a';
	strcpy(out + at, "x.vhd");
	return out;
}

Test(vhd_relink, a_long_path_gets_room_of_its_own)
{
	char path[4096];
	struct vhd_layer *layer;
	uint64_t before, footer_off;

	make_pair();
	before = vlab_size(&lab, CHILD);
	move(BASE, long_path(path, 3000));
	cr_assert_eq(relink_to(CHILD, path), ERR_OK, "%s", lab.why.text);
	cr_assert_gt(vlab_size(&lab, CHILD), before);
	child_is_whole(CHILD);

	layer = vlab_layer(&lab, CHILD);
	footer_off = layer->footer_off;
	for (unsigned i = 0; i < 2; i++)
		cr_assert_leq(layer->header.locator[i].off_bytes + layer->header.locator[i].space,
			      footer_off);
	layer_close(layer, NULL);

	/* What is written from now on does not land on the locators, and a short path comes back.
	 */
	struct disk *disk = vlab_open(&lab, CHILD, true);
	vlab_write(disk, 512 * KIB, 256 * KIB, 3);
	vlab_close(disk);
	cr_assert_eq(vlab_tag_of(&lab, CHILD, 600 * KIB), 3);
	move(path, BASE);
	before = vlab_size(&lab, CHILD);
	cr_assert_eq(relink_to(CHILD, BASE), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vlab_size(&lab, CHILD), before);
	cr_assert_eq(vlab_tag_of(&lab, CHILD, 600 * KIB), 3);
	cr_assert_eq(vlab_tag_of(&lab, CHILD, 0), 1);
}

/* Room that a locator claims but that belongs to a block stays the block's. */
Test(vhd_relink, does_not_believe_a_locator_that_claims_a_block)
{
	char path[4096];
	uint64_t block;

	make_pair();
	block = vlab_bat_entry(&lab, CHILD, 1) * 512ull;
	vlab_set_header(&lab, CHILD, 576 + 24 + 4, 4, 64 * KIB);
	vlab_set_header(&lab, CHILD, 576 + 24 + 8, 4, 20);
	vlab_set_header(&lab, CHILD, 576 + 24 + 16, 8, block - 1024);
	move(BASE, long_path(path, 3000));
	cr_assert_eq(relink_to(CHILD, path), ERR_OK, "%s", lab.why.text);
	child_is_whole(CHILD);
}

/* P5: whatever fails, the child has its old parent or its new one, and asking again helps. */
Test(vhd_relink, every_single_failure_is_harmless)
{
	char path[4096];
	bool fired = true;

	long_path(path, 3000);
	for (unsigned nth = 1; fired; nth++) {
		make_pair();
		move(BASE, path);
		fault_ns_set(lab.fault, &(struct fault_rule){.op = FAULT_ANY,
							     .event = FAULT_ANY,
							     .nth = nth,
							     .sys_errno = EIO});
		enum err err = relink_to(CHILD, path);
		fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		if (!fired)
			cr_assert_eq(err, ERR_OK, "%s", lab.why.text);
		cr_assert_eq(relink_to(CHILD, path), ERR_OK, "call %u failed: %s", nth,
			     lab.why.text);
		child_is_whole(CHILD);
		cr_assert_lt(nth, 1000);
		vlab_stop(&lab);
		vlab_start(&lab);
	}
}

Test(vhd_relink, windows_child_keeps_its_content)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct disk *before, *after;
	uint64_t found;

	vlab_fixture(&lab, "govhd-win8-chain/win8.vhd", "/vm/win8.vhd");
	vlab_fixture(&lab, "govhd-win8-chain/win8-child.vhd", "/vm/win8-child.vhd");
	vlab_fixture(&lab, "govhd-win8-chain/win8-child.vhd", "/vm/copy/win8-child.vhd");
	vlab_fixture(&lab, "govhd-win8-chain/win8.vhd", "/vm/copy/below/moved.vhd");
	cr_assert_eq(relink_to("/vm/copy/win8-child.vhd", "/vm/copy/below/moved.vhd"), ERR_OK, "%s",
		     lab.why.text);
	cr_assert_eq(vhd_open("/vm/win8-child.vhd", &opts, &before, &lab.why), ERR_OK, "%s",
		     lab.why.text);
	cr_assert_eq(vhd_open("/vm/copy/win8-child.vhd", &opts, &after, &lab.why), ERR_OK, "%s",
		     lab.why.text);
	cr_assert_eq(disk_first_difference(before, after, exercise_queue(), &found, NULL, &lab.why),
		     ERR_OK);
	cr_assert_eq(found, UINT64_MAX);
	vlab_close(before);
	vlab_close(after);
}
