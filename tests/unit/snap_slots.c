/* SPDX-License-Identifier: MIT */
/* Disks that come, go and change their size; current and nodes each have their own. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/snap_lab.h"

#define SPARE "/disks/2.vhd"

static struct slab lab;
static struct err_why why;

/* A VM of two disks; a third one is there for it. */
static void start(void)
{
	store_lab_start(&lab, 3);
	store_lab_create(&lab, 2, true);
}

static void stop(void)
{
	store_lab_stop(&lab);
}

TestSuite(snap_slots, .init = start, .fini = stop, .timeout = 30);

static void expect_clean(void)
{
	struct snap_report report = store_lab_check(&lab, true);

	cr_expect_eq(report.count, 0, "%s", report.count ? report.finding[0].what : "");
	snap_report_free(&report);
}

static unsigned add(struct store *store)
{
	unsigned slot = 99;

	cr_assert_eq(snap_disk_add(store, SPARE, &slot, &why), ERR_OK, "%s", why.text);
	return slot;
}

static void remove_disk(struct store *store, unsigned slot)
{
	cr_assert_eq(snap_disk_remove(store, slot, &why), ERR_OK, "%s", why.text);
}

/* Bit n: there is a disk in slot n. */
static unsigned slots_of(struct store *store, const struct guid *id)
{
	struct snap_view *view = store_lab_view(store, id, false);
	unsigned slots = 0;

	for (unsigned d = 0; d < view->disk_count; d++)
		slots |= view->disk[d] ? 1u << d : 0;
	store_lab_close_view(view);
	return slots;
}

Test(snap_slots, nodes_keep_the_disks_they_had)
{
	struct store *store = store_lab_open(&lab, 0);
	struct guid two = store_lab_take(store, "two"), three, kept;

	cr_expect_eq(add(store), 2);
	store_lab_write(store, 2, 1, 77);
	three = store_lab_take(store, "three");
	remove_disk(store, 0);
	cr_expect_eq(slots_of(store, NULL), 6);
	cr_expect_eq(slots_of(store, &three), 7);
	cr_expect_eq(slots_of(store, &two), 3);
	snap_close(store);
	store = store_lab_open(&lab, 0);
	cr_expect_eq(slots_of(store, NULL), 6, "after opening it again");
	cr_expect_eq(store_lab_tag(store, &three, 2, 1), 77);
	cr_assert_eq(snap_revert(store, &two, NULL, &kept, &why), ERR_OK, "%s", why.text);
	cr_expect_eq(slots_of(store, NULL), 3);
	cr_assert_eq(snap_revert(store, &three, NULL, &kept, &why), ERR_OK, "%s", why.text);
	cr_expect_eq(slots_of(store, NULL), 7);
	cr_expect_eq(store_lab_tag(store, NULL, 2, 1), 77);
	snap_close(store);
	expect_clean();
}

Test(snap_slots, an_empty_slot_is_used_again)
{
	struct store *store = store_lab_open(&lab, 0);

	remove_disk(store, 0);
	cr_expect_eq(add(store), 0);
	cr_expect_eq(slots_of(store, NULL), 3);
	snap_close(store);
	expect_clean();
}

Test(snap_slots, a_writer_has_a_new_disk_at_once_and_a_live_snapshot_of_it)
{
	struct store *store = store_lab_open(&lab, 0);
	struct snap_view *view = store_lab_view(store, NULL, true);
	unsigned slot = add(store);
	struct guid node;

	cr_assert_eq(view->disk_count, 3);
	vlab_write(view->disk[slot], 0, 4096, 5);
	node = store_lab_take(store, "live");
	vlab_write(view->disk[slot], 0, 4096, 6);
	remove_disk(store, 1);
	cr_expect_null(view->disk[1]);
	store_lab_take(store, "without");
	vlab_write(view->disk[slot], 0, 4096, 7);
	store_lab_close_view(view);
	cr_expect_eq(store_lab_tag(store, &node, slot, 0), 5);
	cr_expect_eq(store_lab_tag(store, NULL, slot, 0), 7);
	cr_expect_eq(slots_of(store, &node), 7);
	cr_expect_eq(slots_of(store, NULL), 5);
	snap_close(store);
	expect_clean();
}

Test(snap_slots, deleting_the_only_node_with_a_disk_leaves_nothing_of_it)
{
	struct store *store = store_lab_open(&lab, 0);
	struct guid node = store_lab_take(store, "node");

	remove_disk(store, 1);
	store_lab_delete(store, &node);
	store_lab_fold(store);
	cr_expect_eq(slots_of(store, NULL), 1);
	snap_close(store);
	expect_clean();
}

static uint64_t size_of(struct store *store, unsigned slot)
{
	struct snap_tree tree = store_lab_tree(store);
	uint64_t size = tree.current[slot].virtual_size;

	snap_tree_free(&tree);
	return size;
}

Test(snap_slots, a_disk_grows_while_off_and_under_a_writer)
{
	struct store *store = store_lab_open(&lab, 0);
	struct snap_view *view;
	struct disk_info info;

	store_lab_write(store, 0, 1, 3);
	store_lab_take(store, "small");
	cr_assert_eq(snap_disk_resize(store, 0, 2ull * SLAB_BYTES, &why), ERR_OK, "%s", why.text);
	cr_expect_eq(size_of(store, 0), 2ull * SLAB_BYTES);
	view = store_lab_view(store, NULL, true);
	vlab_write(view->disk[0], 2ull * SLAB_BYTES - 4096, 4096, 9);
	cr_assert_eq(snap_disk_resize(store, 0, 3ull * SLAB_BYTES, &why), ERR_OK, "%s", why.text);
	disk_get_info(view->disk[0], &info);
	cr_expect_eq(info.size_bytes, 3ull * SLAB_BYTES);
	cr_expect_eq(vlab_tag(view->disk[0], 2ull * SLAB_BYTES - 4096), 9);
	cr_expect_eq(vlab_tag(view->disk[0], 3ull * SLAB_BYTES - 4096), 0);
	store_lab_take(store, "large");
	vlab_write(view->disk[0], 3ull * SLAB_BYTES - 4096, 4096, 10);
	store_lab_close_view(view);
	cr_expect_eq(store_lab_tag(store, NULL, 0, 1), 3);
	snap_close(store);
	expect_clean();
}

Test(snap_slots, what_is_refused)
{
	struct store *store = store_lab_open(&lab, 0);
	unsigned slot;

	cr_expect_eq(snap_disk_remove(store, 2, &why), ERR_NOENT);
	cr_expect_eq(snap_disk_resize(store, 2, SLAB_BYTES, &why), ERR_NOENT);
	cr_expect_eq(snap_disk_add(store, "/disks/none.vhd", &slot, &why), ERR_NOENT);
	add(store);
	cr_expect_eq(snap_disk_add(store, SPARE, &slot, &why), ERR_EXIST, "%s", why.text);
	snap_close(store);
	expect_clean();
}
