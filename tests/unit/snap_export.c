/* SPDX-License-Identifier: MIT */
/* Export and import that fail: nothing is left behind, and nothing else has changed (P5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/unit/snap_lab.h"

#define OUT      "/home/out"
#define MOST     2000u /* an operation that takes more calls does not end */
#define EXPECTED (sizeof(kinds) / sizeof(kinds[0]))

static struct slab lab;

/* A VM whose disks stay where they are, with a snapshot "one". */
static void start(void)
{
	store_lab_start(&lab, 2);
	store_lab_create(&lab, 2, false);
	struct store *store = store_lab_open(&lab, 0);
	store_lab_write(store, 0, 0, 1);
	store_lab_write(store, 1, 5, 2);
	store_lab_take(store, "one");
	store_lab_write(store, 0, 0, 3);
	snap_close(store);
}

static void stop(void)
{
	store_lab_stop(&lab);
}

TestSuite(snap_export, .init = start, .fini = stop, .timeout = 60);

static bool is_there(void *arg, const char *name)
{
	(void)name;
	*(bool *)arg = true;
	return false;
}

static bool has_files(const char *dir)
{
	bool found = false;

	file_ns_list(mem_ns_base(lab.v.mem), dir, is_there, &found, NULL);
	return found;
}

struct kind {
	const char *name;
	struct fault_rule file;
	struct names_rule names;
};

static const struct kind kinds[] = {
    {"EIO on a write", {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = EIO}, {0}},
    {"ENOSPC from then on",
     {.op = FILE_WRITE, .event = FAULT_ANY, .sys_errno = ENOSPC, .sticky = true, .partial = true},
     {0}},
    {"EIO on a read", {.op = FILE_READ, .event = FAULT_ANY, .sys_errno = EIO}, {0}},
    {"EIO on a sync", {.op = FILE_SYNC, .event = FAULT_ANY, .sys_errno = EIO}, {0}},
    {"ENOSPC on a new name", {0}, {.calls = NAME_CREATE | NAME_RENAME, .sys_errno = ENOSPC}},
    {"EIO on a folder", {0}, {.calls = NAME_SYNC_DIR | NAME_INFO, .sys_errno = EIO}},
};

/* Have the nth call fail; false when it takes fewer. */
static bool with_fault(const struct kind *kind, uint64_t nth, enum err (*run)(struct err_why *why),
		       enum err *result)
{
	struct fault_rule file = kind->file;
	struct names_rule names = kind->names;
	struct err_why why = {0};
	bool fired;

	file.nth = names.nth = nth;
	fault_ns_set(lab.v.fault, names.calls ? NULL : &file);
	names_ns_set(lab.names, names.calls ? &names : NULL);
	*result = run(&why);
	fired = names.calls ? names_ns_fired(lab.names) : fault_ns_fired(lab.v.fault);
	fault_ns_set(lab.v.fault, NULL);
	names_ns_set(lab.names, NULL);
	cr_assert(!*result || *why.text);
	return fired;
}

static struct store *source;
static enum snap_export_kind export_kind;

static enum err export_it(struct err_why *why)
{
	return snap_export(source, NULL, export_kind, OUT, NULL, why);
}

static enum err import_it(struct err_why *why)
{
	return snap_import(lab.ns, OUT, "/home/again", NULL, why);
}

/* For every call in turn; how many there were. */
static uint64_t fail_each(const struct kind *kind, enum err (*run)(struct err_why *why),
			  const char *made)
{
	uint64_t disks = store_lab_hash(&lab, "/disks"), store = store_lab_hash(&lab, SLAB_DIR);
	uint64_t out = store_lab_hash(&lab, OUT), nth = 1;
	enum err e;

	while (nth < MOST && with_fault(kind, nth, run, &e)) {
		cr_assert_eq(store_lab_hash(&lab, "/disks"), disks, "%s, call %llu", kind->name,
			     (unsigned long long)nth);
		cr_assert_eq(store_lab_hash(&lab, SLAB_DIR), store, "%s, call %llu", kind->name,
			     (unsigned long long)nth);
		if (e) {
			cr_assert_not(has_files(made), "%s, call %llu", kind->name,
				      (unsigned long long)nth);
			cr_assert(!strcmp(made, OUT) || store_lab_hash(&lab, OUT) == out);
		} else {
			cr_assert_eq(snap_remove(lab.ns, made, NULL), ERR_OK);
		}
		nth++;
	}
	cr_assert_eq(e, ERR_OK, "%s: without a fault it works", kind->name);
	cr_assert_lt(nth, MOST);
	return nth - 1;
}

static void fail_exports(enum snap_export_kind how)
{
	struct snap_tree tree;

	export_kind = how;
	source = store_lab_open(&lab, 0);
	for (unsigned i = 0; i < EXPECTED; i++) {
		cr_expect_geq(fail_each(&kinds[i], export_it, OUT), 3, "%s", kinds[i].name);
		struct store *made = store_lab_open_at(&lab, OUT, 0);
		cr_expect_eq(store_lab_tag(made, NULL, 0, 0), 3);
		cr_expect_eq(store_lab_tag(made, NULL, 1, 5), 2);
		snap_close(made);
		cr_assert_eq(snap_remove(lab.ns, OUT, NULL), ERR_OK);
		cr_expect_not(has_files(OUT));
	}
	tree = store_lab_tree(source);
	cr_expect_eq(store_lab_tag(source, &tree.node[0].id, 0, 0), 1);
	cr_expect_eq(store_lab_tag(source, NULL, 0, 0), 3);
	snap_tree_free(&tree);
	store_lab_take(source, "two");
	snap_close(source);
	cr_expect_eq(store_lab_verdict(&lab, true), ERR_OK);
}

Test(snap_export, flat_disks_that_fail)
{
	fail_exports(SNAP_EXPORT_FLAT);
}

Test(snap_export, chains_that_fail)
{
	fail_exports(SNAP_EXPORT_CHAIN);
}

Test(snap_export, whole_vms_that_fail)
{
	fail_exports(SNAP_EXPORT_VM);
}

Test(snap_export, imports_that_fail)
{
	struct err_why why = {0};

	source = store_lab_open(&lab, 0);
	export_kind = SNAP_EXPORT_VM;
	cr_assert_eq(export_it(&why), ERR_OK, "%s", why.text);
	snap_close(source);
	for (unsigned i = 0; i < EXPECTED; i++) {
		cr_expect_geq(fail_each(&kinds[i], import_it, "/home/again"), 3, "%s",
			      kinds[i].name);
		struct store *made = store_lab_open_at(&lab, "/home/again", 0);
		cr_expect_eq(store_lab_tag(made, NULL, 0, 0), 3);
		snap_close(made);
		cr_assert_eq(snap_remove(lab.ns, "/home/again", NULL), ERR_OK);
	}
}

/* What an export says of itself is not believed. */
Test(snap_export, an_import_takes_nothing_from_elsewhere)
{
	struct err_why why = {0};

	cr_expect_eq(snap_import(lab.ns, SLAB_DIR, "/home/again", NULL, &why), ERR_UNSUPPORTED);
	cr_expect(strstr(why.text, "disks elsewhere"), "%s", why.text);
	cr_expect_not(has_files("/home/again"));
	cr_expect_eq(snap_import(lab.ns, "/disks", "/home/again", NULL, &why), ERR_NOENT);
}

Test(snap_export, what_is_there_is_not_overwritten)
{
	struct guid none = guid_new();

	source = store_lab_open(&lab, 0);
	uint64_t before = store_lab_hash(&lab, SLAB_DIR);
	for (unsigned i = SNAP_EXPORT_FLAT; i <= SNAP_EXPORT_VM; i++) {
		export_kind = (enum snap_export_kind)i;
		cr_expect_eq(snap_export(source, NULL, export_kind, SLAB_DIR, NULL, NULL),
			     ERR_EXIST);
	}
	cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before, "not even by itself");
	cr_expect_eq(snap_export(source, &none, SNAP_EXPORT_FLAT, OUT, NULL, NULL), ERR_NOENT);
	cr_expect_eq(snap_export(source, &none, SNAP_EXPORT_VM, OUT, NULL, NULL), ERR_USAGE);
	cr_expect_not(has_files(OUT));
	snap_close(source);
}
