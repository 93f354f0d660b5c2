/* SPDX-License-Identifier: MIT */
/* What was written since a node, and what was changed behind our back. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/snap_lab.h"

static struct slab lab;

static void start(void)
{
	store_lab_start(&lab, 2);
}

static void stop(void)
{
	store_lab_stop(&lab);
}

TestSuite(snap_changed, .init = start, .fini = stop);

static bool is_changed(struct store *store)
{
	struct err_why why = {0};
	bool changed = false;

	cr_assert_eq(snap_is_changed(store, &changed, &why), ERR_OK, "%s", why.text);
	return changed;
}

Test(snap_changed, written_since_the_node)
{
	store_lab_create(&lab, 2, true);
	struct store *store = store_lab_open(&lab, 0);

	cr_expect(is_changed(store), "there is no node");
	struct guid one = store_lab_take(store, "one");
	cr_expect_not(is_changed(store));
	store_lab_close_view(store_lab_view(store, NULL, true));
	cr_expect_not(is_changed(store), "a VM that ran and wrote nothing");
	store_lab_write(store, 1, 7, 5);
	cr_expect(is_changed(store), "the second disk");
	struct guid two = store_lab_take(store, "two"), kept;
	cr_expect_not(is_changed(store));
	cr_assert_eq(snap_revert(store, &one, NULL, &kept, NULL), ERR_OK);
	cr_expect_not(is_changed(store));
	cr_assert_eq(snap_revert(store, &two, NULL, &kept, NULL), ERR_OK);
	cr_expect_not(is_changed(store));
	store_lab_delete(store, &two);
	cr_expect(is_changed(store), "now it stands on one, with what two had");
	store_lab_fold(store);
	cr_expect(is_changed(store));
	store_lab_delete(store, &one);
	cr_expect(is_changed(store));
	snap_close(store);
}

Test(snap_changed, zeros_that_hide_something_are_a_change)
{
	store_lab_create(&lab, 2, true);
	struct store *store = store_lab_open(&lab, 0);
	store_lab_write(store, 0, 2, 9);
	store_lab_take(store, "one");
	struct snap_view *view = store_lab_view(store, NULL, true);
	vlab_zero(view->disk[0], 2 * SLAB_BLOCK, 4096);
	store_lab_close_view(view);
	cr_expect(is_changed(store));
	cr_expect_eq(store_lab_tag(store, NULL, 0, 2), 0);
	snap_close(store);
}

/* ---- behind our back ---- */

/* Bytes of the payload, so that no header and no length tells. */
static void spoil_payload(const char *path)
{
	struct vhd_layer *layer = vlab_layer(&lab.v, path);
	uint64_t at = (uint64_t)vlab_bat_entry(&lab.v, path, 0) * DISK_SECTOR + 512 + 8192;

	cr_assert_lt(at, layer->footer_off);
	layer_close(layer, NULL);
	vlab_put64(&lab.v, path, at, 0x1234);
}

Test(snap_changed, a_layer_that_was_written_to)
{
	struct snap_view *view;
	struct err_why why = {0};

	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	spoil_payload(tree.node[0].disk[1].path);

	cr_expect_eq(snap_view_open(store, &tree.node[0].id, NULL, &view, &why), ERR_PARENT);
	cr_expect(strstr(why.text, "changed behind our back: it was written to"), "%s", why.text);
	cr_expect(strstr(why.text, tree.node[0].disk[1].path), "%s", why.text);
	cr_expect_eq(snap_view_open(store, NULL, NULL, &view, NULL), ERR_PARENT);
	cr_expect_eq(
	    snap_view_open(store, NULL, &(struct snap_view_opts){.writable = true}, &view, NULL),
	    ERR_PARENT);
	snap_tree_free(&tree);
	snap_close(store);
	struct snap_report report = store_lab_check(&lab, false);
	cr_expect(store_lab_reports(&report, SNAP_REPAIRABLE, "of snapshot \"one\": was changed"));
	cr_expect_eq(report.count, 1);
	snap_report_free(&report);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	store = store_lab_open(&lab, 0);
	store_lab_check_line(store);
	snap_close(store);
}

Test(snap_changed, a_layer_of_another_length)
{
	struct snap_view *view;
	struct err_why why = {0};

	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	char *path = store_lab_layer_path(store, NULL, 0), *below;
	struct snap_tree tree = store_lab_tree(store);
	below = strdup(tree.node[1].disk[0].path);
	vlab_truncate(&lab.v, below, vlab_size(&lab.v, below) + 512);

	cr_expect_eq(snap_view_open(store, &tree.node[1].id, NULL, &view, &why), ERR_PARENT);
	cr_expect(strstr(why.text, "bytes instead of"), "%s", why.text);
	cr_expect_eq(store_lab_tag(store, &tree.node[0].id, 0, 0), 1, "what is below can be read");
	snap_tree_free(&tree);
	free(path);
	free(below);
	snap_close(store);
}

/* A leaf changes all the time, but it stays the same disk. */
Test(snap_changed, a_leaf_that_is_another_disk)
{
	struct snap_view_opts writable = {.writable = true};
	struct snap_view *view;
	struct err_why why = {0};
	struct guid id;

	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	char *leaf = store_lab_layer_path(store, NULL, 0);
	size_t len;
	uint8_t *other = store_lab_bytes(&lab, "/disks/0.vhd", &len);

	store_lab_put_bytes(&lab, leaf, other, len);
	cr_expect_eq(snap_view_open(store, NULL, &writable, &view, &why), ERR_PARENT);
	cr_expect(strstr(why.text, "its UUID or type is not what it was"), "%s", why.text);
	cr_expect_eq(snap_take(store, &(struct snap_take_opts){0}, &id, &why), ERR_PARENT);
	struct snap_tree tree = store_lab_tree(store);
	cr_expect_eq(tree.count, 2);
	snap_tree_free(&tree);
	snap_close(store);
	free(other);
	free(leaf);
}

/* While a view is open its files may be parked: what is opened again must be what it was. */
Test(snap_changed, a_layer_that_is_exchanged_under_a_view)
{
	uint8_t buf[DISK_SECTOR];
	struct err_why why = {0};

	store_lab_make_line(&lab);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	struct snap_view *view = store_lab_view(store, &tree.node[1].id, false);
	const char *path = tree.node[0].disk[0].path;
	size_t len;
	uint8_t *other = store_lab_bytes(&lab, tree.node[0].disk[1].path, &len);

	store_lab_put_bytes(&lab, path, other, len);
	cr_expect_eq(disk_read(view->disk[0], exercise_queue(), buf, SLAB_BLOCK, sizeof(buf), &why),
		     ERR_PARENT);
	cr_expect(strstr(why.text, "changed behind our back"), "%s", why.text);
	cr_expect_eq(vlab_tag(view->disk[1], SLAB_BLOCK), 11, "the other disk goes on");
	store_lab_close_view(view);
	snap_tree_free(&tree);
	free(other);
	snap_close(store);
}
