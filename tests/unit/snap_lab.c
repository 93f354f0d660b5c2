/* SPDX-License-Identifier: MIT */
#include "tests/unit/snap_lab.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void disk_path(char out[32], unsigned disk)
{
	snprintf(out, 32, "/disks/%u.vhd", disk);
}

void store_lab_start(struct slab *lab, unsigned disks)
{
	char path[32];

	*lab = (struct slab){0};
	vlab_start(&lab->v);
	for (unsigned d = 0; d < disks; d++) {
		disk_path(path, d);
		vlab_create(&lab->v, path, VHD_DYNAMIC, SLAB_BYTES, NULL);
	}
	lab->names = names_ns_new(lab->v.ns);
	names_ns_tell_times(lab->names);
	lab->ns = names_ns_base(lab->names);
}

void store_lab_stop(struct slab *lab)
{
	names_ns_free(lab->names);
	vlab_stop(&lab->v);
}

enum err store_lab_try_create(struct slab *lab, const char *dir, unsigned disks, bool copy)
{
	char path[SNAP_MAX_DISKS + 1][32];
	const char *list[SNAP_MAX_DISKS + 1];
	struct snap_create_opts opts = {.ns = lab->ns,
					.config = {.memory_bytes = 64 * MIB, .cpus = 2},
					.disks = list,
					.disk_count = disks,
					.copy = copy};

	cr_assert_leq(disks, ARRAY_LEN(list));
	for (unsigned d = 0; d < disks; d++) {
		disk_path(path[d], d);
		list[d] = path[d];
	}
	lab->v.why = (struct err_why){0};
	return snap_create(dir, &opts, &lab->v.why);
}

void store_lab_create(struct slab *lab, unsigned disks, bool copy)
{
	cr_assert_eq(store_lab_try_create(lab, SLAB_DIR, disks, copy), ERR_OK, "create: %s",
		     lab->v.why.text);
}

enum err store_lab_try_open(struct slab *lab, unsigned flags, struct store **out)
{
	lab->v.why = (struct err_why){0};
	return snap_open(lab->ns, SLAB_DIR, flags, out, &lab->v.why);
}

struct store *store_lab_open_at(struct slab *lab, const char *dir, unsigned flags)
{
	struct store *store = NULL;

	cr_assert_eq(snap_open(lab->ns, dir, flags, &store, &lab->v.why), ERR_OK, "open %s: %s",
		     dir, lab->v.why.text);
	return store;
}

struct store *store_lab_open(struct slab *lab, unsigned flags)
{
	return store_lab_open_at(lab, SLAB_DIR, flags);
}

bool store_lab_said(const struct slab *lab, const char *part)
{
	return vlab_said(&lab->v, part);
}

/* ---- using a store ---- */

struct snap_view *store_lab_view(struct store *store, const struct guid *id, bool writable)
{
	struct snap_view_opts opts = {.writable = writable};
	struct snap_view *view = NULL;
	struct err_why why = {0};

	cr_assert_eq(snap_view_open(store, id, &opts, &view, &why), ERR_OK, "view: %s", why.text);
	return view;
}

void store_lab_close_view(struct snap_view *view)
{
	struct err_why why = {0};

	cr_assert_eq(snap_view_close(view, &why), ERR_OK, "closing a view: %s", why.text);
}

void store_lab_write(struct store *store, unsigned disk, unsigned block, uint64_t tag)
{
	struct snap_view *view = store_lab_view(store, NULL, true);

	vlab_write(view->disk[disk], (uint64_t)block * SLAB_BLOCK, 4096, tag);
	store_lab_close_view(view);
}

uint64_t store_lab_tag(struct store *store, const struct guid *id, unsigned disk, unsigned block)
{
	struct snap_view *view = store_lab_view(store, id, false);
	uint64_t tag = vlab_tag(view->disk[disk], (uint64_t)block * SLAB_BLOCK);

	store_lab_close_view(view);
	return tag;
}

struct guid store_lab_take(struct store *store, const char *name)
{
	struct snap_take_opts opts = {.name = name};
	struct err_why why = {0};
	struct guid id;

	cr_assert_eq(snap_take(store, &opts, &id, &why), ERR_OK, "take %s: %s", name, why.text);
	return id;
}

void store_lab_delete(struct store *store, const struct guid *id)
{
	struct err_why why = {0};
	unsigned deleted;

	cr_assert_eq(snap_delete(store, id, false, &deleted, &why), ERR_OK, "delete: %s", why.text);
	cr_assert_eq(deleted, 1);
}

void store_lab_fold(struct store *store)
{
	struct snap_fold_result result;
	struct err_why why = {0};

	cr_assert_eq(snap_fold(store, NULL, &result, &why), ERR_OK, "fold: %s", why.text);
	cr_assert_not(result.more);
}

struct snap_tree store_lab_tree(struct store *store)
{
	struct snap_tree tree;
	struct err_why why = {0};

	cr_assert_eq(snap_tree(store, SNAP_TREE_SIZES, &tree, &why), ERR_OK, "tree: %s", why.text);
	return tree;
}

char *store_lab_layer_path(struct store *store, const struct guid *id, unsigned disk)
{
	struct snap_tree tree = store_lab_tree(store);
	const struct snap_disk *disks = tree.current;

	for (unsigned i = 0; id && i < tree.count; i++)
		if (guid_equal(&tree.node[i].id, id))
			disks = tree.node[i].disk;
	char *path = strdup(disks[disk].path);
	snap_tree_free(&tree);
	cr_assert_not_null(path);
	return path;
}

static void write_both(struct store *store, unsigned block, uint64_t tag)
{
	store_lab_write(store, 0, block, tag);
	store_lab_write(store, 1, block, tag);
}

void store_lab_make_line(struct slab *lab)
{
	store_lab_create(lab, 2, true);
	struct store *store = store_lab_open(lab, 0);
	for (unsigned i = 1; i <= 2; i++) {
		write_both(store, 0, i);
		write_both(store, i, 10 + i);
		store_lab_take(store, i == 1 ? "one" : "two");
	}
	write_both(store, 0, 3);
	snap_close(store);
}

void store_lab_check_line(struct store *store)
{
	struct snap_tree tree = store_lab_tree(store);

	for (unsigned d = 0; d < 2; d++) {
		for (unsigned i = 0; i < tree.count; i++) {
			const struct guid *id = &tree.node[i].id;
			bool two = !strcmp(tree.node[i].name, "two");

			cr_expect_eq(store_lab_tag(store, id, d, 0), two ? 2 : 1);
			cr_expect_eq(store_lab_tag(store, id, d, 1), 11);
			cr_expect_eq(store_lab_tag(store, id, d, 2), two ? 12 : 0);
		}
		cr_expect_eq(store_lab_tag(store, NULL, d, 0), 3);
		cr_expect_eq(store_lab_tag(store, NULL, d, 1), 11);
		cr_expect_eq(store_lab_tag(store, NULL, d, 2), 12);
	}
	snap_tree_free(&tree);
}

/* ---- checking ---- */

struct snap_report store_lab_check(struct slab *lab, bool full)
{
	struct snap_report report;

	lab->v.why = (struct err_why){0};
	cr_assert_eq(snap_check(lab->ns, SLAB_DIR, full, NULL, &report, &lab->v.why), ERR_OK,
		     "check: %s", lab->v.why.text);
	return report;
}

enum err store_lab_verdict(struct slab *lab, bool full)
{
	struct snap_report report = store_lab_check(lab, full);
	enum err e = snap_report_result(&report);

	snap_report_free(&report);
	return e;
}

enum err store_lab_repair(struct slab *lab)
{
	struct snap_report report;

	lab->v.why = (struct err_why){0};
	enum err e = snap_repair(lab->ns, SLAB_DIR, &report, &lab->v.why);
	if (!e)
		snap_report_free(&report);
	return e;
}

bool store_lab_reports(const struct snap_report *report, enum snap_finding_kind kind,
		       const char *part)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->finding[i].kind == kind && strstr(report->finding[i].what, part))
			return true;
	return false;
}

/* ---- catalogues as bytes ---- */

uint8_t *store_lab_bytes(struct slab *lab, const char *path, size_t *len)
{
	uint64_t size = vlab_size(&lab->v, path);
	uint8_t *bytes;

	cr_assert_neq(size, UINT64_MAX, "%s is not there", path);
	*len = (size_t)size;
	bytes = malloc(*len + 1);
	cr_assert_not_null(bytes);
	vlab_get(&lab->v, path, 0, bytes, *len);
	return bytes;
}

void store_lab_put_bytes(struct slab *lab, const char *path, const uint8_t *bytes, size_t len)
{
	mem_ns_put(lab->v.mem, path, bytes, len);
}

void store_lab_seal(uint8_t *bytes, size_t len)
{
	put_le64(bytes + 144, XXH64(bytes + CAT_HEADER_BYTES, len - CAT_HEADER_BYTES, 0));
	put_le64(bytes + 152, XXH64(bytes, 152, 0));
}

void store_lab_set(uint8_t *bytes, size_t at, unsigned width, uint64_t value)
{
	uint8_t le[8];

	put_le64(le, value);
	memcpy(bytes + at, le, width);
}

struct catalogue *store_lab_read(struct slab *lab, const char *name)
{
	struct catalogue *cat = NULL;

	cr_assert_eq(catalogue_read(lab->ns, SLAB_DIR, name, &cat, &lab->v.why), ERR_OK, "%s: %s",
		     name, lab->v.why.text);
	return cat;
}

void store_lab_edit(struct slab *lab, void (*change)(struct catalogue *cat))
{
	struct catalogue *cat = store_lab_read(lab, STORE_CATALOGUE);
	uint8_t *bytes;
	size_t len;

	change(cat);
	cr_assert_eq(cat_encode(cat, &bytes, &len, NULL), ERR_OK);
	store_lab_put_bytes(lab, SLAB_CAT, bytes, len);
	free(bytes);
	cat_free(cat);
}

/* ---- all files ---- */

struct sum {
	struct slab *lab;
	const char *dir;
	uint64_t value;
};

static bool add_file(void *arg, const char *name)
{
	struct sum *sum = arg;
	char path[256];
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", sum->dir, name);
	uint8_t *bytes = store_lab_bytes(sum->lab, path, &len);
	sum->value += XXH64(bytes, len, XXH64(name, strlen(name), 0));
	free(bytes);
	return true;
}

uint64_t store_lab_hash(struct slab *lab, const char *dir)
{
	struct sum sum = {.lab = lab, .dir = dir};

	cr_assert_eq(file_ns_list(mem_ns_base(lab->v.mem), dir, add_file, &sum, NULL), ERR_OK);
	return sum.value;
}
