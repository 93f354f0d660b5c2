/* SPDX-License-Identifier: MIT */
/* Merging (W17): content, who may still be opened when, and whom it refuses to break. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/powercut.h"
#include "tests/unit/vhd_lab.h"
#include "vhd/merge_note.h"

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_merge, .init = start, .fini = stop);

#define BLOCK (64 * KIB)
#define SIZE  (8 * BLOCK)
#define BASE  "/vm/base.vhd"
#define MID   "/vm/mid.vhd"
#define LEAF  "/vm/leaf.vhd"
#define TOP   "/vm/top.vhd"

static void write_tag(struct vlab *at, const char *path, uint64_t off, uint64_t len, uint64_t tag)
{
	struct disk *disk = vlab_open(at, path, true);

	vlab_write(disk, off, len, tag);
	vlab_close(disk);
}

/*
 * base <- mid <- leaf; what each writes, in blocks, is tagged 1, 2, 3:
 *   base 0..4, mid 1..2 and sector 3.0, leaf 2 and sectors 3.1, 5.7; zeros of mid in sector 0.9,
 *   zeros of leaf in sector 1.9
 */
static void make_chain_of(struct vlab *at, enum vhd_type base)
{
	struct disk *disk;

	vlab_create(at, BASE, base, SIZE, NULL);
	write_tag(at, BASE, 0, 5 * BLOCK, 1);
	vlab_create(at, MID, VHD_DIFFERENCING, 0, BASE);
	disk = vlab_open(at, MID, true);
	vlab_write(disk, BLOCK, 2 * BLOCK, 2);
	vlab_write(disk, 3 * BLOCK, 512, 2);
	vlab_zero(disk, 9 * 512, 512);
	vlab_close(disk);
	vlab_create(at, LEAF, VHD_DIFFERENCING, 0, MID);
	disk = vlab_open(at, LEAF, true);
	vlab_write(disk, 2 * BLOCK, BLOCK, 3);
	vlab_write(disk, 3 * BLOCK + 512, 512, 3);
	vlab_write(disk, 5 * BLOCK + 7 * 512, 512, 3);
	vlab_zero(disk, BLOCK + 9 * 512, 512);
	vlab_close(disk);
}

static void make_chain(enum vhd_type base)
{
	make_chain_of(&lab, base);
}

/* What the leaf shows of sector `n`. */
static uint64_t leaf_tag(uint64_t n)
{
	uint64_t block = n / 128, in = n % 128;

	if (block == 5)
		return in == 7 ? 3 : 0;
	if (block >= 5 || n == 9 || n == 128 + 9)
		return 0;
	if (block == 2 || n == 3 * 128 + 1)
		return 3;
	return block == 1 || n == 3 * 128 ? 2 : 1;
}

static bool shows_leaf_of(struct vlab *at, const char *path)
{
	struct disk *disk = vlab_open(at, path, false);
	bool ok = true;

	for (uint64_t n = 0; n < SIZE / 512 && ok; n++)
		ok = vlab_holds(at, disk, n * 512, 512, leaf_tag(n));
	vlab_close(disk);
	return ok;
}

static void shows_leaf(const char *path)
{
	cr_assert(shows_leaf_of(&lab, path), "%s", lab.why.text);
}

static enum err merge_with(struct vlab *at, const char *child, struct vhd_open_opts open_opts,
			   struct vhd_merge_opts opts, struct vhd_merge_result *result)
{
	struct vhd_merge_result here = {0};

	open_opts.ns = at->ns;
	at->why = (struct err_why){0};
	enum err err = vhd_merge(child, &open_opts, &opts, &here, &at->why);
	if (result)
		*result = here;
	else
		free(here.into);
	return err;
}

static enum err merge(const char *child, const char *into)
{
	return merge_with(&lab, child, (struct vhd_open_opts){0},
			  (struct vhd_merge_opts){.into = into}, NULL);
}

static bool is_there(const char *path)
{
	return vlab_size(&lab, path) != UINT64_MAX;
}

static struct guid uuid_of(const char *path)
{
	struct vhd_layer *layer = vlab_layer(&lab, path);
	struct guid uuid = layer->footer.uuid;

	layer_close(layer, NULL);
	return uuid;
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

/* ---- what it does ---- */

static void folds_all_into(enum vhd_type type)
{
	struct vhd_merge_result result;

	make_chain(type);
	struct guid leaf = uuid_of(LEAF);
	cr_assert_eq(merge_with(&lab, LEAF, (struct vhd_open_opts){0},
				(struct vhd_merge_opts){.into = BASE}, &result),
		     ERR_OK, "%s", lab.why.text);
	cr_assert_str_eq(result.into, BASE);
	cr_assert_eq(result.files_removed, 2);
	/* mid: two blocks, two sectors; leaf: one block of these, sector 3.1 and 5.7 and a zero */
	cr_assert_eq(result.copied_bytes, 2 * BLOCK + 4 * 512);
	free(result.into);
	cr_assert_not(is_there(LEAF));
	cr_assert_not(is_there(MID));
	cr_assert_not(is_there(BASE MERGE_NOTE_SUFFIX));
	shows_leaf(BASE);
	is_sound(BASE);
	struct guid base = uuid_of(BASE);
	cr_assert(guid_equal(&base, &leaf));
}

Test(vhd_merge, folds_a_span_into_a_dynamic_disk)
{
	folds_all_into(VHD_DYNAMIC);
}

Test(vhd_merge, folds_a_span_into_a_fixed_disk)
{
	folds_all_into(VHD_FIXED);
}

Test(vhd_merge, folds_a_child_into_its_differencing_parent)
{
	make_chain(VHD_DYNAMIC);
	cr_assert_eq(merge(LEAF, NULL), ERR_OK, "%s", lab.why.text);
	cr_assert_not(is_there(LEAF));
	shows_leaf(MID);
	is_sound(MID);
	/* Not more than was in the two: base still shows through. */
	cr_assert_eq(vlab_bat_entry(&lab, MID, 4), BAT_UNUSED);
}

Test(vhd_merge, ancestor_takes_the_childs_size)
{
	struct vhd_resize_opts opts = {.size_bytes = SIZE + 3 * BLOCK};
	struct vhd_open_opts open_opts = {.ns = lab.ns};
	struct disk_info info;

	make_chain(VHD_FIXED);
	cr_assert_eq(vhd_resize(LEAF, &open_opts, &opts, &lab.why), ERR_OK, "%s", lab.why.text);
	write_tag(&lab, LEAF, SIZE + BLOCK, BLOCK, 4);
	cr_assert_eq(merge(LEAF, BASE), ERR_OK, "%s", lab.why.text);
	shows_leaf(BASE);
	cr_assert_eq(vlab_tag_of(&lab, BASE, SIZE + BLOCK), 4);
	cr_assert_eq(vlab_tag_of(&lab, BASE, SIZE + 2 * BLOCK), 0);

	vlab_create(&lab, LEAF, VHD_DIFFERENCING, 6 * BLOCK, BASE);
	cr_assert_eq(merge(LEAF, NULL), ERR_OK, "%s", lab.why.text);
	struct disk *disk = vlab_open(&lab, BASE, false);
	disk_get_info(disk, &info);
	cr_assert_eq(info.size_bytes, 6 * BLOCK);
	vlab_close(disk);
	is_sound(BASE);
}

Test(vhd_merge, children_of_the_child_go_on_as_the_ancestors)
{
	static const char *const search[] = {"/store"};

	make_chain(VHD_DYNAMIC);
	vlab_create(&lab, TOP, VHD_DIFFERENCING, 0, LEAF);
	write_tag(&lab, TOP, 7 * BLOCK, BLOCK, 4);
	vlab_create(&lab, "/store/far.vhd", VHD_DIFFERENCING, 0, LEAF);
	cr_assert_eq(merge_with(&lab, LEAF,
				(struct vhd_open_opts){.search = search, .search_count = 1},
				(struct vhd_merge_opts){.into = BASE}, NULL),
		     ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vlab_tag_of(&lab, TOP, 7 * BLOCK), 4);
	cr_assert_eq(vlab_tag_of(&lab, TOP, 5 * BLOCK + 7 * 512), 3);
	cr_assert_eq(vlab_tag_of(&lab, TOP, 0), 1);
	is_sound(TOP);
	/* Its parent is not below its folder, so it has to be named; but it is the right one. */
	struct vhd_open_opts opts = {.ns = lab.ns, .parent = BASE};
	struct disk *disk;
	cr_assert_eq(vhd_open("/store/far.vhd", &opts, &disk, &lab.why), ERR_OK, "%s",
		     lab.why.text);
	vlab_close(disk);
}

Test(vhd_merge, dry_run_counts_and_writes_nothing)
{
	struct vhd_merge_result result;
	size_t events;

	make_chain(VHD_DYNAMIC);
	mem_ns_log_start(lab.mem);
	cr_assert_eq(merge_with(&lab, LEAF, (struct vhd_open_opts){0},
				(struct vhd_merge_opts){.into = BASE, .dry_run = true}, &result),
		     ERR_OK, "%s", lab.why.text);
	mem_ns_log(lab.mem, &events);
	mem_ns_log_stop(lab.mem);
	cr_assert_eq(events, 0);
	cr_assert_eq(result.files_removed, 2);
	cr_assert_eq(result.copied_bytes, 2 * BLOCK + 4 * 512);
	free(result.into);
}

/* ---- whom it refuses ---- */

Test(vhd_merge, refuses_to_break_another_child)
{
	make_chain(VHD_DYNAMIC);
	vlab_create(&lab, "/vm/other.vhd", VHD_DIFFERENCING, 0, MID);
	cr_assert_eq(merge(LEAF, BASE), ERR_REFUSED);
	cr_assert(vlab_said(&lab, "other.vhd"));
	cr_assert_eq(merge(LEAF, NULL), ERR_REFUSED);
	shows_leaf(LEAF);
}

Test(vhd_merge, refuses_to_break_a_copy_of_the_child)
{
	uint64_t bytes;

	make_chain(VHD_DYNAMIC);
	bytes = vlab_size(&lab, LEAF);
	uint8_t *copy = malloc(bytes);
	vlab_get(&lab, LEAF, 0, copy, bytes);
	mem_ns_put(lab.mem, "/vm/copy.vhd", copy, bytes);
	free(copy);
	cr_assert_eq(merge(LEAF, NULL), ERR_REFUSED);
	cr_assert(vlab_said(&lab, "copy.vhd"));
}

Test(vhd_merge, refuses_what_is_in_use)
{
	static const char *const paths[] = {BASE, MID, LEAF, TOP};

	make_chain(VHD_DYNAMIC);
	vlab_create(&lab, TOP, VHD_DIFFERENCING, 0, LEAF);
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
		struct disk *disk = vlab_open(&lab, paths[i], false);

		cr_assert_eq(merge(LEAF, BASE), ERR_LOCKED, "%s", paths[i]);
		vlab_close(disk);
		cr_assert_not(is_there(BASE MERGE_NOTE_SUFFIX), "%s", paths[i]);
	}
	shows_leaf(LEAF);
}

Test(vhd_merge, what_is_no_ancestor_is_usage)
{
	make_chain(VHD_DYNAMIC);
	vlab_create(&lab, "/vm/stranger.vhd", VHD_DYNAMIC, SIZE, NULL);
	cr_assert_eq(merge(LEAF, "/vm/stranger.vhd"), ERR_USAGE);
	cr_assert(vlab_said(&lab, "leaf.vhd"));
	cr_assert_eq(merge(LEAF, LEAF), ERR_USAGE);
	cr_assert_eq(merge(BASE, NULL), ERR_USAGE);
	cr_assert_eq(merge("/vm/nobody.vhd", NULL), ERR_NOENT);
	cr_assert_eq(merge(LEAF, "/vm/nobody.vhd"), ERR_NOENT);
}

/* ---- half done ---- */

static bool stop_at_once(struct progress *progress, uint64_t done, uint64_t total)
{
	(void)progress;
	return done == 0 || total == 0;
}

static void stop_half_way(void)
{
	struct progress progress = {.report = stop_at_once};

	make_chain(VHD_DYNAMIC);
	cr_assert_eq(merge_with(&lab, LEAF, (struct vhd_open_opts){0},
				(struct vhd_merge_opts){.into = BASE, .progress = &progress}, NULL),
		     ERR_CANCELLED, "%s", lab.why.text);
}

Test(vhd_merge, half_done_only_the_child_can_be_used)
{
	struct vhd_resize_opts resize = {.size_bytes = 2 * SIZE};
	struct vhd_open_opts opts = {.ns = lab.ns};

	stop_half_way();
	shows_leaf(LEAF);
	cr_assert_eq(vlab_probe(&lab, LEAF, true), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_REPAIRABLE);
	cr_assert(vlab_said(&lab, "merge"));
	cr_assert_eq(vlab_probe(&lab, BASE, true), ERR_REPAIRABLE);
	cr_assert_eq(vlab_probe(&lab, MID, false), ERR_REPAIRABLE);
	cr_assert_eq(vhd_resize(BASE, &opts, &resize, &lab.why), ERR_REPAIRABLE);
}

Test(vhd_merge, half_done_it_is_finished_by_asking_again)
{
	stop_half_way();
	/* In the meantime the child may be written to. */
	write_tag(&lab, LEAF, 3 * BLOCK + 512, 512, 3);
	cr_assert_eq(merge(LEAF, MID), ERR_REFUSED);
	cr_assert_eq(merge(LEAF, BASE), ERR_OK, "%s", lab.why.text);
	shows_leaf(BASE);
	is_sound(BASE);
}

/* The note says it all: the child is gone, so the ancestor is the disk. */
Test(vhd_merge, without_the_child_the_next_writer_finishes)
{
	struct guid leaf;

	stop_half_way();
	leaf = uuid_of(LEAF);
	cr_assert_eq(merge_note_mark(lab.ns, BASE, &lab.why), ERR_OK);
	cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_REPAIRABLE);
	cr_assert_eq(file_ns_unlink(lab.ns, LEAF, NULL), ERR_OK);
	cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_OK, "%s", lab.why.text);
	cr_assert(is_there(MID));
	cr_assert_eq(vlab_probe(&lab, BASE, true), ERR_OK, "%s", lab.why.text);
	cr_assert_not(is_there(MID));
	cr_assert_not(is_there(BASE MERGE_NOTE_SUFFIX));
	struct guid base = uuid_of(BASE);
	cr_assert(guid_equal(&base, &leaf));
}

Test(vhd_merge, a_child_that_is_lost_half_way_does_not_make_the_ancestor_whole)
{
	stop_half_way();
	cr_assert_eq(file_ns_unlink(lab.ns, LEAF, NULL), ERR_OK);
	cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_REPAIRABLE);
	cr_assert_eq(vlab_probe(&lab, BASE, true), ERR_REPAIRABLE);
}

/* P6: a note can have nothing removed but what it speaks of, in the ancestor's own folder. */
Test(vhd_merge, a_forged_note_removes_no_other_file)
{
	struct merge_note note = {.child = guid_new(), .child_bytes = SIZE};
	struct guid other;

	make_chain(VHD_DYNAMIC);
	note.ancestor = uuid_of(BASE);
	other = uuid_of(LEAF);
	vlab_create(&lab, "/elsewhere/victim.vhd", VHD_DYNAMIC, SIZE, NULL);
	cr_assert(merge_note_add(&note, lab.ns, BASE, "/vm/gone.vhd", &note.child));
	cr_assert(merge_note_add(&note, lab.ns, BASE, MID, &other));
	other = uuid_of("/elsewhere/victim.vhd");
	cr_assert(merge_note_add(&note, lab.ns, BASE, "/elsewhere/victim.vhd", &other));
	cr_assert_eq(merge_note_write(lab.ns, BASE, &note, &lab.why), ERR_OK);
	cr_assert_eq(merge_note_mark(lab.ns, BASE, &lab.why), ERR_OK);
	merge_note_free(&note);
	cr_assert_eq(vlab_probe(&lab, BASE, true), ERR_OK, "%s", lab.why.text);
	cr_assert(is_there(MID));
	cr_assert(is_there("/elsewhere/victim.vhd"));
}

Test(vhd_merge, a_note_of_another_disk_or_a_damaged_one_counts_as_none)
{
	struct merge_note note = {.ancestor = guid_new(), .child = guid_new(), .child_bytes = SIZE};
	uint8_t byte;

	make_chain(VHD_DYNAMIC);
	cr_assert(merge_note_add(&note, lab.ns, BASE, LEAF, &note.child));
	cr_assert_eq(merge_note_write(lab.ns, BASE, &note, &lab.why), ERR_OK);
	cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vlab_probe(&lab, MID, false), ERR_OK, "%s", lab.why.text);

	note.ancestor = uuid_of(BASE);
	cr_assert_eq(merge_note_write(lab.ns, BASE, &note, &lab.why), ERR_OK);
	cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_REPAIRABLE);
	for (uint64_t at = 0; at < vlab_size(&lab, BASE MERGE_NOTE_SUFFIX); at++) {
		vlab_get(&lab, BASE MERGE_NOTE_SUFFIX, at, &byte, 1);
		byte ^= 0x10;
		vlab_put(&lab, BASE MERGE_NOTE_SUFFIX, at, &byte, 1);
		cr_assert_eq(vlab_probe(&lab, BASE, false), ERR_OK, "byte %llu",
			     (unsigned long long)at);
		byte ^= 0x10;
		vlab_put(&lab, BASE MERGE_NOTE_SUFFIX, at, &byte, 1);
	}
	merge_note_free(&note);
}

/* ---- failures and power cuts ---- */

/* P5: the child opens as long as it is there, the ancestor when it is not; asking again helps. */
Test(vhd_merge, every_single_failure_is_harmless)
{
	bool fired = true;

	for (unsigned nth = 1; fired; nth++) {
		make_chain(VHD_DYNAMIC);
		fault_ns_set(lab.fault, &(struct fault_rule){.op = FAULT_ANY,
							     .event = FAULT_ANY,
							     .nth = nth,
							     .sys_errno = EIO,
							     .partial = true});
		enum err err = merge(LEAF, BASE);
		fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		if (!fired)
			cr_assert_eq(err, ERR_OK, "%s", lab.why.text);
		if (is_there(LEAF)) {
			shows_leaf(LEAF);
			cr_assert_eq(merge(LEAF, BASE), ERR_OK, "call %u failed: %s", nth,
				     lab.why.text);
		}
		cr_assert_eq(vlab_probe(&lab, BASE, true), ERR_OK, "call %u failed: %s", nth,
			     lab.why.text);
		shows_leaf(BASE);
		is_sound(BASE);
		cr_assert_not(is_there(MID), "call %u failed", nth);
		cr_assert_lt(nth, 1000);
		vlab_stop(&lab);
		vlab_start(&lab);
	}
}

/*
 * A merge in the middle of a chain, cut off anywhere: the disk on top shows the same at every
 * moment, and merging again ends with the same.
 */
static struct vlab lab_on(struct mem_ns *ns)
{
	return (struct vlab){.mem = ns, .ns = mem_ns_base(ns)};
}

static void *middle_begin(const void *config, uint64_t seed, bool calm)
{
	(void)config, (void)seed, (void)calm;
	return &lab;
}

static enum err middle_setup(void *run, struct mem_ns *ns, struct err_why *why)
{
	struct vlab at = lab_on(ns);

	(void)run, (void)why;
	make_chain_of(&at, VHD_DYNAMIC);
	vlab_create(&at, TOP, VHD_DIFFERENCING, 0, LEAF);
	return ERR_OK;
}

static enum err middle_merge(struct mem_ns *ns, struct err_why *why)
{
	struct vlab at = lab_on(ns);
	enum err err = merge_with(&at, LEAF, (struct vhd_open_opts){0},
				  (struct vhd_merge_opts){.into = BASE}, NULL);

	if (err)
		*why = at.why;
	return err;
}

static enum err middle_operate(void *run, struct mem_ns *ns, struct err_why *why)
{
	(void)run;
	return middle_merge(ns, why);
}

static enum err middle_recover(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns), .writable = true};
	struct disk *disk;
	enum err err = vhd_open(TOP, &opts, &disk, why);

	(void)run, (void)mark;
	return err ? err : disk_close(disk, why);
}

static enum err middle_verify(void *run, struct mem_ns *ns, uint64_t mark, struct err_why *why)
{
	struct vlab at = lab_on(ns);
	enum err err = ERR_OK;

	(void)run, (void)mark;
	if (!shows_leaf_of(&at, TOP))
		return err_set(why, ERR_CORRUPT, "%s", at.why.text);
	if (mem_ns_size(ns, LEAF) != UINT64_MAX)
		err = middle_merge(ns, why);
	if (!err)
		err = vlab_probe(&at, BASE, true);
	if (!err && (!shows_leaf_of(&at, TOP) || mem_ns_size(ns, MID) != UINT64_MAX))
		err = ERR_CORRUPT;
	if (err && !why->code)
		err_set(why, err, "after merging again: %s", at.why.text);
	return err;
}

static void middle_end(void *run)
{
	(void)run;
}

Test(vhd_merge, disk_on_top_survives_a_power_cut_anywhere)
{
	static const struct powercut_scenario scenario = {.name = "merge-middle",
							  .begin = middle_begin,
							  .setup = middle_setup,
							  .operate = middle_operate,
							  .recover = middle_recover,
							  .verify = middle_verify,
							  .end = middle_end};
	struct powercut_opts opts = {.without = POWERCUT_WHOLE, .budget_states = 600};
	struct powercut *powercut = powercut_record(&scenario, 1, false, &lab.why);
	struct powercut_result result;

	cr_assert_not_null(powercut, "%s", lab.why.text);
	powercut_explore(powercut, &opts, &result);
	cr_assert_not(result.failed, "%s", result.text);
	cr_assert_gt(result.states, 100);
	powercut_free(powercut);
}
