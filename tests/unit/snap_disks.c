/* SPDX-License-Identifier: MIT */
/* As many disks as a VM may have, all of one moment; and none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/unit/snap_lab.h"

#define MOST SNAP_MAX_DISKS

static struct slab lab;

static void start(void)
{
	store_lab_start(&lab, MOST + 1);
}

static void stop(void)
{
	store_lab_stop(&lab);
}

TestSuite(snap_disks, .init = start, .fini = stop, .timeout = 60);

/* Block 0 of disk d has the tag `base` + d. */
static void write_all(struct store *store, uint64_t base)
{
	struct snap_view *view = store_lab_view(store, NULL, true);

	cr_assert_eq(view->disk_count, MOST);
	for (unsigned d = 0; d < MOST; d++)
		vlab_write(view->disk[d], 0, 4096, base + d);
	store_lab_close_view(view);
}

static void expect_all(struct store *store, const struct guid *id, uint64_t base)
{
	struct snap_view *view = store_lab_view(store, id, false);

	for (unsigned d = 0; d < MOST; d++)
		cr_expect_eq(vlab_tag(view->disk[d], 0), base + d, "disk %u", d);
	store_lab_close_view(view);
}

static unsigned count_files(void)
{
	struct snap_report report = store_lab_check(&lab, false);
	unsigned layers = report.layers;

	cr_expect_eq(report.count, 0, "%s", report.count ? report.finding[0].what : "");
	snap_report_free(&report);
	return layers;
}

Test(snap_disks, sixty_four)
{
	store_lab_create(&lab, MOST, true);
	struct store *store = store_lab_open(&lab, 0);
	write_all(store, 1000);
	struct guid one = store_lab_take(store, "one"), kept;
	write_all(store, 2000);
	struct guid two = store_lab_take(store, "two");
	write_all(store, 3000);
	expect_all(store, &one, 1000);
	expect_all(store, &two, 2000);
	expect_all(store, NULL, 3000);
	cr_expect_eq(count_files(), 3 * MOST);
	cr_assert_eq(snap_revert(store, &one, "kept", &kept, NULL), ERR_OK);
	expect_all(store, NULL, 1000);
	expect_all(store, &kept, 3000);
	store_lab_delete(store, &two);
	store_lab_fold(store);
	cr_expect_eq(count_files(), 3 * MOST, "one, kept and the leaves");
	expect_all(store, &kept, 3000);
	expect_all(store, &one, 1000);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
}

/* Written to while the snapshot is taken: the writer goes on over it, on all of them. */
Test(snap_disks, sixty_four_under_a_writer)
{
	store_lab_create(&lab, MOST, false);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_view *view = store_lab_view(store, NULL, true);
	for (unsigned d = 0; d < MOST; d++)
		vlab_write(view->disk[d], 0, 4096, 1000 + d);
	struct guid one = store_lab_take(store, "one");
	for (unsigned d = 0; d < MOST; d++)
		vlab_write(view->disk[d], 0, 4096, 2000 + d);
	expect_all(store, &one, 1000);
	store_lab_close_view(view);
	expect_all(store, NULL, 2000);
	snap_close(store);
}

Test(snap_disks, one_more_is_refused)
{
	cr_expect_eq(store_lab_try_create(&lab, SLAB_DIR, MOST + 1, true), ERR_USAGE);
	cr_expect(store_lab_said(&lab, "at most 64 disks"), "%s", lab.v.why.text);
	cr_expect_eq(vlab_size(&lab.v, SLAB_CAT), UINT64_MAX);
}

/* The fortieth leaf cannot be made: then none was. */
Test(snap_disks, all_of_them_or_none)
{
	struct names_rule full = {.calls = NAME_CREATE, .nth = 40, .sys_errno = ENOSPC};
	struct snap_take_opts opts = {.name = "one"};
	struct err_why why = {0};
	struct guid id;

	store_lab_create(&lab, MOST, true);
	struct store *store = store_lab_open(&lab, 0);
	write_all(store, 1000);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	for (unsigned live = 0; live < 2; live++) {
		struct snap_view *view = live ? store_lab_view(store, NULL, true) : NULL;

		names_ns_set(lab.names, &full);
		cr_expect_eq(snap_take(store, &opts, &id, &why), ERR_NOSPC, "%s", why.text);
		names_ns_set(lab.names, NULL);
		store_lab_close_view(view);
		cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
		expect_all(store, NULL, 1000);
	}
	store_lab_take(store, "one");
	expect_all(store, NULL, 1000);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
}

/* Two snapshots of nothing: a VM that has only its configuration. */
Test(snap_disks, none)
{
	struct snap_config config = {.memory_bytes = GIB, .cpus = 8}, first;
	struct guid kept;

	store_lab_create(&lab, 0, true);
	struct store *store = store_lab_open(&lab, 0);
	struct guid one = store_lab_take(store, "one");
	cr_assert_eq(snap_set_config(store, &config, NULL), ERR_OK);
	store_lab_take(store, "two");
	struct snap_tree tree = store_lab_tree(store);
	cr_assert_eq(tree.count, 2);
	first = tree.node[0].config;
	cr_expect_eq(first.cpus, 2);
	cr_expect_eq(tree.node[1].config.cpus, 8);
	snap_tree_free(&tree);
	store_lab_close_view(store_lab_view(store, &one, false));
	store_lab_close_view(store_lab_view(store, NULL, true));
	cr_assert_eq(snap_revert(store, &one, NULL, &kept, NULL), ERR_OK);
	tree = store_lab_tree(store);
	cr_expect_eq(tree.config.cpus, 2);
	snap_tree_free(&tree);
	store_lab_fold(store);
	store_lab_delete(store, &one);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
}
