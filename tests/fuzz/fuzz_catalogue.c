/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a VM's catalogue, with checksums made right so that the fuzzer gets behind them.
 * What decodes encodes to itself; as the catalogue of a store whose layers are there it can be
 * looked at without anything being changed, and worked with without anything crashing.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "snapshot/catalogue.h"
#include "snapshot/snapshot.h"
#include "tests/lib/exercise.h"
#include "tests/lib/fuzz_image.h"
#include "util/bytes.h"

#define HOME  "/f"
#define DIR   HOME "/vm"
#define DISKS 2u

/* What to do, in the first byte: most inputs are only decoded, as that is fast. */
enum how {
	HOW_LOOK = 0x01,
	HOW_WORK = 0x06, /* none of these, and look: work with it, too */
	HOW_FOLD = 0x08,
	HOW_NO_COPY = 0x10,
	HOW_COPY = 0x20,   /* it is the second copy; the first one is missing */
	HOW_BROKEN = 0x40, /* checksums are left as they are */
	HOW_RAW = 0x80,    /* the input is the catalogue */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the store all begin with ---- */

static void write_leaves(struct store *store, unsigned block, uint8_t value)
{
	static uint8_t buf[4096];
	struct snap_view_opts opts = {.writable = true};
	struct snap_view *view;

	memset(buf, value, sizeof(buf));
	must(!snap_view_open(store, NULL, &opts, &view, NULL));
	for (unsigned d = 0; d < view->disk_count; d++)
		must(!disk_write(view->disk[d], exercise_queue(), buf, (uint64_t)block * FUZZ_BLOCK,
				 sizeof(buf), NULL));
	must(!snap_view_close(view, NULL));
}

static struct guid take(struct store *store, const char *name)
{
	struct snap_take_opts opts = {.name = name, .note = "a note"};
	struct guid id;

	must(!snap_take(store, &opts, &id, NULL));
	return id;
}

static void make_store(struct file_ns *ns)
{
	static const char *const disks[DISKS] = {"/d/0.vhd", "/d/1.vhd"};
	struct snap_create_opts opts = {
	    .ns = ns,
	    .config = {.memory_bytes = 1u << 30, .cpus = 1, .kernel = (char *)"/boot/k"},
	    .disks = disks,
	    .disk_count = DISKS};

	for (unsigned d = 0; d < DISKS; d++) {
		struct vhd_create_opts disk = {.ns = ns,
					       .type = d ? VHD_FIXED : VHD_DYNAMIC,
					       .size_bytes = FUZZ_DISK,
					       .block_size = d ? 0 : FUZZ_BLOCK};

		must(!vhd_create(disks[d], &disk, NULL));
	}
	must(!snap_create(DIR, &opts, NULL));
}

/* Three nodes, one of them on a branch; a layer that is debt, of which some is folded. */
static struct mem_ns *template(void)
{
	static struct mem_ns *made;
	struct snap_fold_opts little = {.budget_bytes = 512};
	struct snap_fold_result result;
	struct store *store;
	struct guid one, two;
	unsigned deleted;

	if (made)
		return made;
	made = mem_ns_new();
	struct file_ns *ns = mem_ns_base(made);
	make_store(ns);
	must(!snap_open(ns, DIR, 0, &store, NULL));
	write_leaves(store, 0, 1);
	one = take(store, "one");
	write_leaves(store, 1, 2);
	two = take(store, "two");
	write_leaves(store, 0, 3);
	take(store, "three");
	must(!snap_revert(store, &one, "kept", &(struct guid){0}, NULL));
	write_leaves(store, 2, 4);
	must(!snap_delete(store, &two, false, &deleted, NULL));
	must(!snap_fold(store, &little, &result, NULL));
	snap_close(store);
	return made;
}

/* ---- from input to bytes ---- */

static void seal(struct handmade *cat)
{
	if (cat->len < CAT_HEADER_BYTES)
		return;
	put_le64(cat->bytes + 32, cat->len);
	put_le64(cat->bytes + 144,
		 XXH64(cat->bytes + CAT_HEADER_BYTES, cat->len - CAT_HEADER_BYTES, 0));
	put_le64(cat->bytes + 152, XXH64(cat->bytes, 152, 0));
}

static struct handmade good_bytes(void)
{
	size_t len = (size_t)mem_ns_size(template(), DIR "/catalogue");
	struct handmade cat = {.bytes = malloc(len + 1), .len = len};

	must(cat.bytes);
	mem_ns_get(template(), DIR "/catalogue", 0, cat.bytes, len);
	return cat;
}

/* A number, small or any, in some field; all of them are multiples of four. */
static void patch(struct handmade *cat, struct fuzz_input *input)
{
	uint32_t where = (uint32_t)fuzz_u8(input) << 8 | fuzz_u8(input);
	uint8_t kind = fuzz_u8(input);
	size_t at = where % (cat->len / 4) * 4;
	uint32_t value = kind & 1 ? fuzz_u32(input) : fuzz_u8(input);

	if (kind & 2)
		value = get_le32(cat->bytes + at) + (kind & 4 ? 1 : UINT32_MAX);
	if (kind & 8)
		cat->bytes[where % cat->len] = (uint8_t)value;
	else
		put_le32(cat->bytes + at, value);
}

static struct handmade make_bytes(struct fuzz_input *input, uint8_t how)
{
	struct handmade raw = {.bytes = (uint8_t *)input->data, .len = input->len};
	struct handmade cat = how & HOW_RAW ? handmade_copy(&raw) : good_bytes();

	for (unsigned left = 64; !(how & HOW_RAW) && left && input->len; left--)
		patch(&cat, input);
	if (!(how & HOW_BROKEN))
		seal(&cat);
	return cat;
}

/* ---- what must hold ---- */

static void check_stable(const struct handmade *cat)
{
	struct catalogue *first, *second;
	uint8_t *bytes, *again;
	size_t len, again_len;

	if (cat_decode(cat->bytes, cat->len, &first, NULL))
		return;
	must(!cat_encode(first, &bytes, &len, NULL));
	must(!cat_decode(bytes, len, &second, NULL));
	must(!cat_encode(second, &again, &again_len, NULL));
	must(len == again_len && !memcmp(bytes, again, len));
	cat_free(first);
	cat_free(second);
	free(bytes);
	free(again);
}

static void read_view(struct store *store, const struct guid *id)
{
	static uint8_t buf[4096];
	struct snap_view *view;

	if (snap_view_open(store, id, NULL, &view, NULL))
		return;
	for (unsigned d = 0; d < view->disk_count; d++)
		for (unsigned block = 0; block < 3; block++)
			disk_read(view->disk[d], exercise_queue(), buf,
				  (uint64_t)block * FUZZ_BLOCK, sizeof(buf), NULL);
	snap_view_close(view, NULL);
}

static enum err verdict(struct file_ns *ns)
{
	struct snap_report report;
	enum err e = snap_check(ns, DIR, true, NULL, &report, NULL);

	if (!e) {
		e = snap_report_result(&report);
		snap_report_free(&report);
	}
	return e;
}

static void look(struct mem_ns *mem)
{
	struct file_ns *ns = mem_ns_base(mem);
	struct store *store;
	struct snap_tree tree;
	unsigned idx;
	size_t events;
	bool changed;

	mem_ns_log_start(mem);
	verdict(ns);
	if (!snap_open(ns, DIR, SNAP_READONLY, &store, NULL)) {
		must(!snap_tree(store, SNAP_TREE_SIZES, &tree, NULL));
		for (unsigned i = 0; i < tree.count; i++) {
			must(tree.node[i].parent_idx < (int)i && tree.node[i].depth);
			must(!snap_find(&tree, tree.node[i].name, &idx, NULL) && idx <= i);
			if (i < 4)
				read_view(store, &tree.node[i].id);
		}
		read_view(store, NULL);
		snap_is_changed(store, &changed, NULL);
		snap_tree_free(&tree);
		snap_close(store);
	}
	mem_ns_log(mem, &events);
	must(!events); /* nobody has written anything */
	mem_ns_log_stop(mem);
}

/* Some may be refused: its layers need not be what the catalogue says. */
static void work(struct file_ns *ns, uint8_t how)
{
	struct snap_fold_opts little = {.budget_bytes = 1u << 20};
	struct snap_fold_result result;
	struct store *store;
	struct snap_tree tree;
	struct guid id;
	unsigned deleted;

	if (snap_open(ns, DIR, 0, &store, NULL))
		return;
	snap_take(store, &(struct snap_take_opts){.name = "new"}, &id, NULL);
	if (!snap_tree(store, 0, &tree, NULL)) {
		if (tree.count) {
			snap_revert(store, &tree.node[tree.count - 1].id, "", &id, NULL);
			snap_delete(store, &tree.node[0].id, false, &deleted, NULL);
		}
		snap_tree_free(&tree);
	}
	if (how & HOW_FOLD)
		snap_fold(store, &little, &result, NULL);
	read_view(store, NULL);
	snap_export(store, NULL, SNAP_EXPORT_VM, HOME "/out", NULL, NULL);
	snap_close(store);
	snap_remove(ns, HOME "/out", NULL);
}

/* What is called repairable is sound after the repair, or the repair says why not. */
static void repair(struct file_ns *ns)
{
	struct snap_report report;
	enum err before = verdict(ns);

	if (snap_repair(ns, DIR, &report, NULL))
		return;
	snap_report_free(&report);
	must(before != ERR_REPAIRABLE || !verdict(ns));
}

static void use(const struct handmade *cat, uint8_t how)
{
	struct mem_ns *mem = mem_ns_clone(template());
	struct file_ns *ns = mem_ns_base(mem);

	if (how & (HOW_NO_COPY | HOW_COPY))
		file_ns_unlink(ns, DIR "/catalogue.copy", NULL);
	if (how & HOW_COPY)
		file_ns_unlink(ns, DIR "/catalogue", NULL);
	mem_ns_put(mem, how & HOW_COPY ? DIR "/catalogue.copy" : DIR "/catalogue", cat->bytes,
		   cat->len);
	look(mem);
	if (!(how & HOW_WORK)) {
		work(ns, how);
		repair(ns);
		snap_remove(ns, DIR, NULL);
	}
	mem_ns_free(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t how = fuzz_u8(&input);
	struct handmade cat = make_bytes(&input, how);

	check_stable(&cat);
	if (how & HOW_LOOK)
		use(&cat, how);
	handmade_free(&cat);
	return 0;
}
