/* SPDX-License-Identifier: MIT */
/* What a check finds in a store that is not as it should be, and what repair makes of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/snap_lab.h"
#include "vhd/header.h"

static struct slab lab;

static void start(void)
{
	store_lab_start(&lab, 2);
	store_lab_make_line(&lab);
}

static void stop(void)
{
	store_lab_stop(&lab);
}

TestSuite(snap_check, .init = start, .fini = stop);

static void expect_line(unsigned nodes)
{
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);

	cr_expect_eq(tree.count, nodes);
	snap_tree_free(&tree);
	store_lab_check_line(store);
	store_lab_take(store, "after");
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
}

/* Of "one" or "two"; NULL: the leaf. free() it. */
static char *layer_of(const char *name, unsigned disk)
{
	struct store *store = store_lab_open(&lab, SNAP_READONLY);
	struct snap_tree tree = store_lab_tree(store);
	struct guid id = {0};

	for (unsigned i = 0; name && i < tree.count; i++)
		if (!strcmp(tree.node[i].name, name))
			id = tree.node[i].id;
	char *path = store_lab_layer_path(store, name ? &id : NULL, disk);
	snap_tree_free(&tree);
	snap_close(store);
	return path;
}

static void remove_layer(const char *name, unsigned disk)
{
	char *path = layer_of(name, disk);

	cr_assert_eq(file_ns_unlink(lab.ns, path, NULL), ERR_OK);
	free(path);
}

static bool offers(const struct snap_report *report, const char *part)
{
	for (size_t i = 0; i < report->count; i++)
		if (strstr(report->finding[i].action, part))
			return true;
	return false;
}

/* ---- the catalogue ---- */

static void tear(const char *path, size_t at)
{
	uint8_t zeros[64] = {0xee};

	vlab_put(&lab.v, path, at, zeros, sizeof(zeros));
}

Test(snap_check, a_torn_catalogue_is_had_from_its_copy)
{
	size_t len;
	uint8_t *good = store_lab_bytes(&lab, SLAB_CAT, &len);
	struct store *store;

	for (size_t at = 0; at + 64 <= len; at += 200) {
		tear(SLAB_CAT, at);
		uint64_t before = store_lab_hash(&lab, SLAB_DIR);
		cr_expect_eq(store_lab_try_open(&lab, 0, &store), ERR_CORRUPT, "at %zu", at);
		struct snap_report report = store_lab_check(&lab, true);
		cr_expect_eq(report.count, 1);
		cr_expect(store_lab_reports(&report, SNAP_REPAIRABLE, "catalogue: "));
		cr_expect(offers(&report, "put the second copy (2 snapshots) in its place"));
		snap_report_free(&report);
		cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before, "looking changes nothing");
		cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
		store = store_lab_open(&lab, 0);
		store_lab_check_line(store);
		snap_close(store);
		cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	}
	struct catalogue *cat = store_lab_read(&lab, STORE_CATALOGUE);
	cr_expect_gt(cat->generation, get_le64(good + 40), "whoever remembers the old one sees it");
	cat_free(cat);
	free(good);
	expect_line(2);
}

Test(snap_check, a_missing_catalogue_is_had_from_its_copy)
{
	struct store *store;

	cr_assert_eq(file_ns_unlink(lab.ns, SLAB_CAT, NULL), ERR_OK);
	cr_expect_eq(store_lab_try_open(&lab, 0, &store), ERR_REPAIRABLE);
	cr_expect(store_lab_said(&lab, "check --repair can bring it back"), "%s", lab.v.why.text);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_REPAIRABLE);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
	expect_line(2);
}

Test(snap_check, a_damaged_copy_is_no_harm_and_is_renewed)
{
	struct store *store = store_lab_open(&lab, 0);

	tear(SLAB_COPY, 8);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	store_lab_take(store, "three");
	snap_close(store);
	struct catalogue *copy = store_lab_read(&lab, CATALOGUE_COPY);
	struct catalogue *cat = store_lab_read(&lab, STORE_CATALOGUE);
	cr_expect_eq(copy->generation, cat->generation);
	cr_expect_eq(copy->nodes, 3);
	cat_free(copy);
	cat_free(cat);
}

Test(snap_check, without_both_nothing_is_touched)
{
	struct store *store;

	tear(SLAB_CAT, 8);
	tear(SLAB_COPY, 200);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	struct snap_report report = store_lab_check(&lab, true);
	cr_expect(store_lab_reports(&report, SNAP_LOST, "its second copy cannot be read either"));
	snap_report_free(&report);
	store_lab_repair(&lab);
	cr_expect_eq(store_lab_try_open(&lab, 0, &store), ERR_CORRUPT);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
	cr_expect_eq(snap_remove(lab.ns, SLAB_DIR, NULL), ERR_OK, "but it can be removed");
}

/* The copy is written without a barrier: after a crash it may be the one of the change before. */
Test(snap_check, an_older_copy_with_newer_leaves)
{
	size_t len;
	uint8_t *old = store_lab_bytes(&lab, SLAB_COPY, &len);
	struct store *store = store_lab_open(&lab, 0);

	store_lab_take(store, "three");
	store_lab_write(store, 0, 0, 4);
	store_lab_write(store, 1, 0, 4);
	snap_close(store);
	store_lab_put_bytes(&lab, SLAB_COPY, old, len);
	tear(SLAB_CAT, 8);
	struct snap_report report = store_lab_check(&lab, true);
	cr_expect(offers(&report, "with the newer disks on top"));
	snap_report_free(&report);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);

	store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	cr_assert_eq(tree.count, 3);
	cr_expect_str_eq(tree.node[2].name, "recovered");
	cr_expect_eq(tree.current_idx, 2);
	for (unsigned d = 0; d < 2; d++) {
		cr_expect_eq(store_lab_tag(store, &tree.node[2].id, d, 0), 3);
		cr_expect_eq(store_lab_tag(store, NULL, d, 0), 4,
			     "nothing that was written is lost");
		cr_expect_eq(store_lab_tag(store, NULL, d, 1), 11);
	}
	snap_tree_free(&tree);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	free(old);
}

/* ---- layers ---- */

Test(snap_check, a_missing_layer_takes_along_what_needs_it)
{
	remove_layer("two", 1);
	struct snap_report report = store_lab_check(&lab, false);
	cr_expect(store_lab_reports(&report, SNAP_LOST, "of snapshot \"two\": "));
	cr_expect(
	    store_lab_reports(&report, SNAP_LOST, "1 of 2 snapshots need layers that are gone"));
	cr_expect(store_lab_reports(&report, SNAP_LOST, "the current state needs a layer"));
	cr_expect(offers(&report, "go back to snapshot \"one\"; the files stay"));
	cr_expect_eq(report.nodes, 2);
	cr_expect_eq(report.layers, 6);
	snap_report_free(&report);
	char *kept = layer_of("two", 0);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
	cr_expect_neq(vlab_size(&lab.v, kept), UINT64_MAX, "what holds data stays");
	free(kept);
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);
	cr_assert_eq(tree.count, 1);
	cr_expect_eq(tree.current_idx, 0);
	cr_expect_eq(store_lab_tag(store, &tree.node[0].id, 0, 0), 1);
	cr_expect_eq(store_lab_tag(store, NULL, 1, 0), 1);
	cr_expect_eq(store_lab_tag(store, NULL, 1, 2), 0);
	snap_tree_free(&tree);
	snap_close(store);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
}

Test(snap_check, a_missing_leaf_alone_costs_what_was_written_to_it)
{
	remove_layer(NULL, 0);
	struct snap_report report = store_lab_check(&lab, false);
	cr_expect_not(store_lab_reports(&report, SNAP_LOST, "snapshots need layers"));
	cr_expect(offers(&report, "go back to snapshot \"two\""));
	snap_report_free(&report);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
	struct store *store = store_lab_open(&lab, 0);
	cr_expect_eq(store_lab_tag(store, NULL, 0, 0), 2);
	cr_expect_eq(store_lab_tag(store, NULL, 1, 0), 2, "both disks are of one moment");
	snap_close(store);
}

Test(snap_check, a_missing_base_is_waited_for)
{
	char *path = layer_of("one", 0);

	cr_assert_eq(file_ns_rename(lab.ns, path, "/aside.vhd", NULL), ERR_OK);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	struct snap_report report = store_lab_check(&lab, false);
	cr_expect(store_lab_reports(&report, SNAP_LOST, "nothing can be done until it is back"));
	snap_report_free(&report);
	cr_expect_eq(store_lab_repair(&lab), ERR_REFUSED);
	cr_expect(store_lab_said(&lab, "as long as the missing layers are not back"), "%s",
		  lab.v.why.text);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
	cr_assert_eq(file_ns_rename(lab.ns, "/aside.vhd", path, NULL), ERR_OK);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	free(path);
	expect_line(2);
}

static void expect_lost(const char *says)
{
	struct snap_report report = store_lab_check(&lab, false);

	cr_expect(store_lab_reports(&report, SNAP_LOST, says), "%s", says);
	snap_report_free(&report);
}

Test(snap_check, a_layer_that_is_another_disk)
{
	char *path = layer_of("two", 0), *other = layer_of("two", 1);
	size_t len;
	uint8_t *good = store_lab_bytes(&lab, path, &len),
		*bytes = store_lab_bytes(&lab, other, &len);

	store_lab_put_bytes(&lab, path, bytes, len);
	expect_lost("is another disk: its UUID is not the one it had");
	store_lab_put_bytes(&lab, path, good, 0);
	expect_lost("of snapshot \"two\": ");
	free(good);
	free(bytes);
	free(path);
	free(other);
}

static void shrink_in_catalogue(struct catalogue *cat)
{
	cat->layer[0].size_bytes -= SLAB_BLOCK;
	cat->layer[1].uuid.b[3] ^= 1;
}

Test(snap_check, a_layer_that_the_catalogue_knows_otherwise)
{
	store_lab_edit(&lab, shrink_in_catalogue);
	expect_lost("is a disk of another size");
	expect_lost("is another disk");
}

Test(snap_check, a_header_that_names_another_parent_is_rewritten)
{
	char *path = layer_of("two", 0);
	uint8_t header[HEADER_BYTES], uuid[16];

	vlab_get(&lab.v, path, 512, header, sizeof(header));
	memset(header + 40, 0x77, 16);
	vlab_put(&lab.v, path, 512, header, sizeof(header));
	vlab_mend(&lab.v, path, 512, true);
	struct snap_report report = store_lab_check(&lab, false);
	cr_expect(
	    store_lab_reports(&report, SNAP_REPAIRABLE, "names another parent in its header"));
	cr_expect(offers(&report, "rewrite its header"));
	snap_report_free(&report);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
	vlab_get(&lab.v, path, 512 + 40, uuid, sizeof(uuid));
	cr_expect_neq(uuid[0], 0x77);
	free(path);
	expect_line(2);
}

Test(snap_check, a_damaged_layer_is_told_of_and_left_alone)
{
	char *path = layer_of("one", 0);
	struct vhd_layer *layer = vlab_layer(&lab.v, path);
	uint64_t bat = layer->header.bat_off;
	size_t len;

	layer_close(layer, NULL);
	vlab_put32(&lab.v, path, bat + 12, 0x7fffff00);
	uint8_t *before = store_lab_bytes(&lab, path, &len);
	struct snap_report report = store_lab_check(&lab, true);
	cr_expect_eq(report.count, 1);
	cr_expect(store_lab_reports(&report, SNAP_LOST, "of snapshot \"one\": bat[3]"), "%s",
		  report.finding[0].what);
	cr_expect_str_eq(report.finding[0].action, "");
	snap_report_free(&report);
	store_lab_repair(&lab);
	uint8_t *after = store_lab_bytes(&lab, path, &len);
	cr_expect_arr_eq(after, before, len);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_CORRUPT);
	free(after);
	free(before);
	free(path);
}

Test(snap_check, strays_are_a_note)
{
	struct snap_report report;

	store_lab_put_bytes(&lab, SLAB_DIR "/00000000ffff.vhd", (const uint8_t *)"data", 4);
	store_lab_put_bytes(&lab, SLAB_DIR "/0000000000ff.vhd", (const uint8_t *)"data", 4);
	store_lab_put_bytes(&lab, SLAB_DIR "/notes.txt", (const uint8_t *)"mine", 4);
	report = store_lab_check(&lab, true);
	cr_expect(store_lab_reports(&report, SNAP_NOTE, "2 layer files are not in the catalogue"));
	cr_expect_eq(snap_report_result(&report), ERR_OK);
	snap_report_free(&report);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before, "it may be somebody's data");
	expect_line(2);
	cr_expect_neq(vlab_size(&lab.v, SLAB_DIR "/0000000000ff.vhd"), UINT64_MAX);
}

/* ---- folds ---- */

/* A fold that was cut off when some was copied; the path of the file it writes to. */
static char *interrupt_fold(void)
{
	struct snap_fold_opts little = {.budget_bytes = 512};
	struct snap_fold_result result;
	struct store *store = store_lab_open(&lab, 0);
	struct snap_tree tree = store_lab_tree(store);

	store_lab_delete(store, &tree.node[0].id);
	snap_tree_free(&tree);
	cr_assert_eq(snap_fold(store, &little, &result, NULL), ERR_OK);
	snap_close(store);
	struct catalogue *cat = store_lab_read(&lab, STORE_CATALOGUE);
	cr_assert(cat->fold.lower && cat->fold.phase == CAT_FOLD_COPY, "it is under way");
	char *path = store_layer_path(SLAB_DIR, cat_fold_target(cat));
	cat_free(cat);
	return path;
}

Test(snap_check, what_an_interrupted_fold_left_is_a_note)
{
	char *path = interrupt_fold();
	uint64_t size = vlab_size(&lab.v, path);

	/* as a crash while the file was growing leaves it */
	vlab_truncate(&lab.v, path, size + 65536);
	cr_expect_eq(store_lab_verdict(&lab, false), ERR_OK);
	struct snap_report report = store_lab_check(&lab, true);
	cr_expect_eq(snap_report_result(&report), ERR_OK, "%s", report.finding[0].what);
	cr_expect(store_lab_reports(&report, SNAP_NOTE, "the next fold mends it: "));
	cr_expect_not(offers(&report, "repair it"));
	snap_report_free(&report);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK);
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before, "there is nothing to repair");

	struct store *store = store_lab_open(&lab, 0);
	store_lab_check_line(store);
	store_lab_fold(store);
	store_lab_check_line(store);
	snap_close(store);
	report = store_lab_check(&lab, true);
	cr_expect_eq(report.count, 0, "%s", report.count ? report.finding[0].what : "");
	snap_report_free(&report);
	free(path);
}

/* That a fold is under way is no excuse for the other layers. */
Test(snap_check, other_layers_are_judged_during_a_fold_too)
{
	char *path = interrupt_fold(), *leaf = layer_of(NULL, 1);

	vlab_truncate(&lab.v, leaf, vlab_size(&lab.v, leaf) + 65536);
	struct snap_report report = store_lab_check(&lab, true);
	cr_expect(store_lab_reports(&report, SNAP_REPAIRABLE, "of the current state: "));
	snap_report_free(&report);
	cr_expect_eq(store_lab_repair(&lab), ERR_OK, "%s", lab.v.why.text);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
	struct store *store = store_lab_open(&lab, 0);
	store_lab_fold(store);
	store_lab_check_line(store);
	snap_close(store);
	free(leaf);
	free(path);
}

static void make_foreign(struct catalogue *cat)
{
	cat_layer(cat, cat->fold.lower)->flags |= CAT_FOREIGN;
}

/* Its lower layer may not go any more: the fold is called off, and not tried for ever. */
Test(snap_check, a_fold_that_cannot_go_on_is_called_off, .timeout = 20)
{
	free(interrupt_fold());
	store_lab_edit(&lab, make_foreign);
	struct store *store = store_lab_open(&lab, 0);
	store_lab_fold(store);
	store_lab_check_line(store);
	snap_close(store);
	struct catalogue *cat = store_lab_read(&lab, STORE_CATALOGUE);
	cr_expect_eq(cat->fold.lower, 0);
	cat_free(cat);
}

/* ---- faults ---- */

Test(snap_check, what_cannot_be_looked_at_is_an_error)
{
	struct fault_rule rule = {
	    .op = FILE_READ, .event = EV_CATALOGUE, .nth = 1, .sys_errno = EIO, .sticky = true};
	struct names_rule list = {.calls = NAME_LIST, .nth = 1, .sys_errno = EIO};
	struct snap_report report;
	struct err_why why = {0};

	fault_ns_set(lab.v.fault, &rule);
	cr_expect_eq(snap_check(lab.ns, SLAB_DIR, true, NULL, &report, &why), ERR_IO);
	cr_expect_eq(report.count, 0);
	cr_expect_eq(snap_repair(lab.ns, SLAB_DIR, &report, &why), ERR_IO);
	fault_ns_set(lab.v.fault, NULL);
	names_ns_set(lab.names, &list);
	cr_expect_eq(snap_check(lab.ns, SLAB_DIR, true, NULL, &report, &why), ERR_IO);
	names_ns_set(lab.names, NULL);
	cr_expect_eq(snap_check(lab.ns, "/home/nobody", true, NULL, &report, &why), ERR_NOENT);
	cr_expect(strstr(why.text, "there is no such VM"), "%s", why.text);
	expect_line(2);
}
