/* SPDX-License-Identifier: MIT */
/* Flush and FUA: what is durable when (P1, P2), in which order (W4 to W8), and what a failure means
 * (P5). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/unit/vhd_lab.h"

#define BLOCK VHD_MIN_BLOCK
#define SIZE  (16ull * BLOCK)

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_flush, .init = start, .fini = stop);

static const enum vhd_type all_types[] = {VHD_FIXED, VHD_DYNAMIC, VHD_DIFFERENCING};

/* An open disk of this type that is called "disk" and has nothing pending. */
static struct disk *make(enum vhd_type type)
{
	file_ns_unlink(lab.ns, "disk", NULL);
	file_ns_unlink(lab.ns, "base", NULL);
	if (type == VHD_DIFFERENCING)
		vlab_create(&lab, "base", VHD_DYNAMIC, SIZE, NULL);
	vlab_create(&lab, "disk", type, type == VHD_DIFFERENCING ? 0 : SIZE,
		    type == VHD_DIFFERENCING ? "base" : NULL);
	return vlab_open(&lab, "disk", true);
}

static uint64_t syncs(struct disk *disk)
{
	struct vhd_usage usage;

	vhd_get_usage(disk, &usage);
	return usage.syncs;
}

/* What a reader finds when the power goes now and everything written has landed. */
static uint64_t tag_after_cut(uint64_t off)
{
	struct vlab cut = vlab_snapshot(&lab);
	struct disk *disk = vlab_open(&cut, "disk", true);
	uint64_t tag = vlab_tag(disk, off);

	vlab_close(disk);
	vlab_stop(&cut);
	return tag;
}

/* ---- what is published when ---- */

Test(vhd_flush, new_blocks_are_published_by_a_flush_and_by_nothing_else)
{
	for (size_t i = 1; i < ARRAY_LEN(all_types); i++) {
		struct disk *disk = make(all_types[i]);

		vlab_write(disk, BLOCK, 512, 1);
		cr_expect_eq(vlab_tag(disk, BLOCK), 1, "readers see it");
		cr_expect_eq(tag_after_cut(BLOCK), 0, "a crash does not");
		vlab_flush(disk);
		cr_expect_eq(tag_after_cut(BLOCK), 1);
		vlab_close(disk);
	}
}

Test(vhd_flush, first_writes_to_sectors_of_a_child_are_published_by_a_flush)
{
	struct disk *disk = make(VHD_DIFFERENCING);

	vlab_write(disk, BLOCK, 512, 1);
	vlab_flush(disk);
	vlab_write(disk, BLOCK + 512, 512, 2);
	vlab_write(disk, BLOCK, 512, 3);
	cr_expect_eq(vlab_tag(disk, BLOCK + 512), 2);
	cr_expect_eq(tag_after_cut(BLOCK + 512), 0);
	cr_expect_eq(tag_after_cut(BLOCK), 3, "in place");
	vlab_flush(disk);
	cr_expect_eq(tag_after_cut(BLOCK + 512), 2);
	vlab_close(disk);
}

Test(vhd_flush, fua_makes_its_own_request_durable)
{
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		struct exercise ex = {.model = model_new(SIZE), .disk = make(all_types[i])};
		uint64_t before = syncs(ex.disk);

		cr_assert_eq(exercise_do(&ex, DISK_WRITE, DISK_FUA, BLOCK, 512, &lab.why), ERR_OK,
			     "%s", lab.why.text);
		cr_expect_gt(syncs(ex.disk), before);
		cr_expect_neq(tag_after_cut(BLOCK), 0);
		cr_assert_eq(exercise_do(&ex, DISK_ZERO, DISK_FUA, BLOCK, 512, &lab.why), ERR_OK);
		cr_expect_eq(tag_after_cut(BLOCK), 0);
		vlab_close(ex.disk);
		model_free(ex.model);
	}
}

Test(vhd_flush, closing_flushes)
{
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		struct disk *disk = make(all_types[i]);

		vlab_write(disk, 3 * BLOCK - 512, 1024, 1);
		vlab_close(disk);
		cr_expect_eq(tag_after_cut(3 * BLOCK - 512), 1);
		cr_expect_eq(tag_after_cut(3 * BLOCK), 1);
	}
}

/* ---- how many syncs (W8) ---- */

Test(vhd_flush, at_most_two_syncs_and_one_where_one_does)
{
	static const uint64_t most[] = {1, 1, 2};

	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		struct disk *disk = make(all_types[i]);

		vlab_write(disk, 0, 512, 1); /* the growth is paid for here */
		vlab_flush(disk);
		for (unsigned n = 0; n < 6; n++) {
			vlab_write(disk, n * BLOCK, 4096, 2);
			vlab_write(disk, n * BLOCK + 8192, 4096, 2);
			uint64_t before = syncs(disk);
			vlab_flush(disk);
			cr_expect_leq(syncs(disk) - before, most[i], "%s",
				      vhd_type_name(all_types[i]));
			cr_expect_geq(syncs(disk) - before, 1);
		}
		vlab_write(disk, 0, 512, 3);
		uint64_t before = syncs(disk);
		vlab_flush(disk);
		cr_expect_eq(syncs(disk) - before, 1, "nothing to publish");
		vlab_close(disk);
	}
}

static void count_done(struct disk_req *req)
{
	unsigned *done = req->owner;

	cr_assert_eq(req->result, ERR_OK);
	(*done)++;
}

Test(vhd_flush, flushes_that_meet_share_their_syncs)
{
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		struct disk *disk = make(all_types[i]);
		struct disk_req req[20];
		struct vhd_usage before, after;
		unsigned done = 0;

		vlab_write(disk, 0, 512, 1);
		vhd_get_usage(disk, &before);
		for (size_t n = 0; n < ARRAY_LEN(req); n++) {
			req[n] =
			    (struct disk_req){.op = DISK_FLUSH, .done = count_done, .owner = &done};
			disk_submit(disk, exercise_queue(), &req[n]);
		}
		cr_expect_eq(done, 0, "never from inside disk_submit");
		while (done < ARRAY_LEN(req))
			cr_assert(queue_wait(exercise_queue()));
		vhd_get_usage(disk, &after);
		cr_expect_leq(after.syncs - before.syncs, 4, "the first alone, the others at once");
		cr_expect_eq(after.flushes - before.flushes, ARRAY_LEN(req));
		vlab_close(disk);
	}
}

/* What is written while a flush runs is not its business, and not lost either. */
Test(vhd_flush, writes_during_a_flush_wait_for_the_next_one)
{
	struct disk *disk = make(VHD_DIFFERENCING);
	unsigned done = 0;
	struct disk_req req = {.op = DISK_FLUSH, .done = count_done, .owner = &done};

	vlab_write(disk, 0, 512, 1);
	disk_submit(disk, exercise_queue(), &req);
	vlab_write(disk, 512, 512, 2);
	vlab_write(disk, 4 * BLOCK, 512, 2);
	vlab_zero(disk, 0, BLOCK);
	while (!done)
		cr_assert(queue_wait(exercise_queue()));
	cr_expect_eq(vlab_tag(disk, 0), 0);
	vlab_flush(disk);
	cr_expect_eq(tag_after_cut(0), 0);
	cr_expect_eq(tag_after_cut(512), 0);
	cr_expect_eq(tag_after_cut(4 * BLOCK), 2);
	vlab_close(disk);
}

/* ---- order ---- */

/* W5, W6: data, B, then bits and table, B. */
Test(vhd_flush, a_childs_data_is_durable_before_its_bits_and_table)
{
	uint64_t data_ended = 0, synced = 0;
	unsigned published = 0;
	size_t count;

	struct disk *disk = make(VHD_DIFFERENCING);
	vlab_write(disk, 0, 512, 1);
	vlab_flush(disk);
	mem_ns_log_start(lab.mem);
	vlab_write(disk, 1024, 512, 1);  /* W6 */
	vlab_write(disk, BLOCK, 512, 1); /* W5 */
	vlab_flush(disk);
	const struct mem_event *event = mem_ns_log(lab.mem, &count);
	for (size_t i = 0; i < count; i++) {
		bool meta = event[i].what == EV_BAT || event[i].what == EV_BITMAP;

		if (event[i].kind == MEM_WRITE && event[i].what == EV_DATA)
			data_ended = event[i].ended;
		else if (event[i].kind == MEM_SYNC && data_ended && event[i].begun > data_ended)
			synced = event[i].ended;
		else if (event[i].kind == MEM_WRITE && meta && data_ended) {
			cr_assert(synced > data_ended && event[i].begun > synced);
			published++;
		}
	}
	cr_expect_geq(published, 3, "two bitmaps and a sector of the table");
	cr_assert(event[count - 1].kind == MEM_SYNC, "and B at the end");
	vlab_close(disk);
}

/* Memory for bitmaps that wait is bounded (P6): a write may have to wait for a flush. */
Test(vhd_flush, too_many_pending_bitmaps_are_flushed_unasked)
{
	struct vhd_create_opts opts = {
	    .type = VHD_DYNAMIC, .size_bytes = 100 * GIB, .block_size = VHD_MAX_BLOCK};
	struct vlab cut;

	cr_assert_eq(vlab_try_create(&lab, "base", opts), ERR_OK);
	opts = (struct vhd_create_opts){.type = VHD_DIFFERENCING, .parent = "base"};
	cr_assert_eq(vlab_try_create(&lab, "disk", opts), ERR_OK);
	struct disk *disk = vlab_open(&lab, "disk", true);
	for (uint64_t i = 0; i < 300; i++)
		vlab_write(disk, i * VHD_MAX_BLOCK, 512, 1);
	cut = vlab_snapshot(&lab);
	cr_expect_neq(vlab_bat_entry(&cut, "disk", 0), 0xffffffffu);
	vlab_stop(&cut);
	vlab_close(disk);
}

/* ---- the batmap of XenServer ---- */

#define BATMAP_OFF 0x800u

static bool has_batmap(const char *path)
{
	char cookie[8];

	vlab_get(&lab, path, BATMAP_OFF, cookie, sizeof(cookie));
	return memcmp(cookie, "tdbatmap", 8) == 0;
}

Test(vhd_flush, the_batmap_is_dropped_with_the_first_publish)
{
	vlab_fixture(&lab, "govhd-xapi.vhd", "disk");
	cr_assert(has_batmap("disk"));
	vlab_close(vlab_open(&lab, "disk", true));
	cr_expect(has_batmap("disk"), "nothing was published");
	struct disk *disk = vlab_open(&lab, "disk", true);
	vlab_write(disk, 4 * MIB, 512, 1);
	cr_expect(has_batmap("disk"));
	vlab_flush(disk);
	cr_expect(!has_batmap("disk"));
	vlab_write(disk, 8 * MIB, 512, 2);
	vlab_close(disk);
	cr_expect_eq(vlab_tag_of(&lab, "disk", 4 * MIB), 1);
	cr_expect_eq(vlab_tag_of(&lab, "disk", 8 * MIB), 2);
}

/* The map itself lies behind the table: blocks must not be put there while it is. */
Test(vhd_flush, a_crash_before_the_first_publish_keeps_the_batmap_whole)
{
	uint8_t before[1024], after[1024];

	vlab_fixture(&lab, "govhd-xapi.vhd", "disk");
	vlab_get(&lab, "disk", BATMAP_OFF, before, sizeof(before));
	struct disk *disk = vlab_open(&lab, "disk", true);
	vlab_write(disk, 4 * MIB, 512, 1);
	vlab_get(&lab, "disk", BATMAP_OFF, after, sizeof(after));
	cr_expect_arr_eq(before, after, sizeof(before));
	vlab_close(disk);
}

/* ---- saved state ---- */

Test(vhd_flush, a_disk_in_saved_state_is_written_and_says_so_still)
{
	struct disk *disk = make(VHD_DYNAMIC);
	vlab_close(disk);
	vlab_set_footers(&lab, "disk", 84, 1, 1);
	disk = vlab_open(&lab, "disk", true);
	vlab_write(disk, 0, 512, 1);
	vlab_close(disk);
	struct vhd_layer *layer = vlab_layer(&lab, "disk");
	cr_expect_eq(layer->footer.saved_state, 1);
	layer_close(layer, NULL);
	cr_expect_eq(vlab_tag_of(&lab, "disk", 0), 1);
}

/* ---- failures ---- */

/* A failed flush is final; what an earlier one acknowledged is there, reading goes on. */
static void fail_flush(enum vhd_type type, int op, int event, uint64_t nth)
{
	struct fault_rule rule = {.op = op, .event = event, .nth = nth, .sys_errno = EIO};
	struct disk *disk = make(type);
	struct disk_info info;

	vlab_write(disk, 0, 512, 1);
	vlab_flush(disk);
	vlab_write(disk, 512, 512, 2);
	vlab_write(disk, 2 * BLOCK, 512, 2);
	fault_ns_set(lab.fault, &rule);
	enum err err = vlab_try_flush(&lab, disk);
	cr_assert(fault_ns_fired(lab.fault));
	cr_expect_neq(err, ERR_OK);
	cr_expect(vlab_said(&lab, "disk"), "%s", lab.why.text);
	fault_ns_set(lab.fault, NULL);
	disk_get_info(disk, &info);
	cr_expect(info.poisoned);
	cr_expect_eq(vlab_try_write(&lab, disk, 0, 512, 3), ERR_POISONED);
	cr_expect(*lab.why.text);
	cr_expect_eq(vlab_try_flush(&lab, disk), ERR_POISONED, "never retried into success");
	cr_expect_eq(disk_trim(disk, exercise_queue(), 0, BLOCK, NULL), ERR_POISONED);
	cr_expect_eq(vlab_tag(disk, 0), 1);
	cr_expect_eq(vlab_tag(disk, 512), 2);
	cr_expect_neq(disk_close(disk, NULL), ERR_OK);
	disk = vlab_open(&lab, "disk", true);
	cr_expect_eq(vlab_tag(disk, 0), 1);
	uint64_t tag = vlab_tag(disk, 512);
	cr_expect(tag == 0 || tag == 2);
	vlab_close(disk);
}

Test(vhd_flush, a_failed_sync_is_final)
{
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++)
		fail_flush(all_types[i], FILE_SYNC, FAULT_ANY, 1);
	fail_flush(VHD_DIFFERENCING, FILE_SYNC, FAULT_ANY, 2);
}

Test(vhd_flush, a_failed_metadata_write_is_final)
{
	fail_flush(VHD_DYNAMIC, FILE_WRITE, EV_BAT, 1);
	fail_flush(VHD_DIFFERENCING, FILE_WRITE, EV_BAT, 1);
	fail_flush(VHD_DIFFERENCING, FILE_WRITE, EV_BITMAP, 1);
}

Test(vhd_flush, everybody_who_waits_for_a_failed_flush_is_told)
{
	struct fault_rule rule = {
	    .op = FILE_SYNC, .event = FAULT_ANY, .nth = 1, .sticky = true, .sys_errno = EIO};
	struct exercise ex = {.model = model_new(SIZE), .disk = make(VHD_DYNAMIC)};

	vlab_write(ex.disk, 0, 512, 1);
	fault_ns_set(lab.fault, &rule);
	for (unsigned i = 0; i < 5; i++) {
		exercise_submit(&ex, DISK_FLUSH, 0, 0, 0);
		exercise_submit(&ex, DISK_WRITE, DISK_FUA, i * 4096, 4096);
	}
	cr_expect_neq(exercise_drain(&ex, &lab.why), ERR_OK);
	cr_expect_neq(disk_close(ex.disk, NULL), ERR_OK);
	model_free(ex.model);
}

/*
 * T3: one request to the files fails, whichever; whatever the disk then says, nothing that was
 * acknowledged is lost, the image opens, and it can be used on.
 */
static bool fail_nth(enum vhd_type type, uint64_t seed, const struct fault_rule *rule)
{
	static const struct exercise_mix mix = {
	    .write = 60, .zero = 15, .trim = 8, .flush = 10, .fua = 10};
	struct exercise ex = {
	    .rng = rng_seed(seed), .model = model_new(SIZE), .grain_bytes = BLOCK};
	struct err_why ignored;
	bool fired;

	ex.disk = make(type);
	fault_ns_set(lab.fault, rule);
	for (unsigned i = 0; i < 12; i++) /* goes on after a failure */
		exercise_random(&ex, &mix, 5, 4, SIZE, &ignored);
	fired = fault_ns_fired(lab.fault);
	fault_ns_set(lab.fault, NULL);
	cr_assert_eq(exercise_check_live(&ex, &lab.why), ERR_OK, "%s, request %llu: %s",
		     vhd_type_name(type), (unsigned long long)rule->nth, lab.why.text);
	struct model_op flush = model_flush(ex.model);
	if (disk_close(ex.disk, NULL) == ERR_OK)
		model_flushed(ex.model, &flush);

	struct disk *disk = vlab_open(&lab, "disk", true);
	cr_assert_eq(exercise_check_cut(disk, ex.model, model_now(ex.model), &lab.why), ERR_OK,
		     "%s, request %llu, reopened: %s", vhd_type_name(type),
		     (unsigned long long)rule->nth, lab.why.text);
	vlab_write(disk, 0, SIZE, 77);
	vlab_close(disk);
	cr_assert_eq(vlab_tag_of(&lab, "disk", SIZE - 512), 77);
	model_free(ex.model);
	return fired;
}

static void fail_each(enum vhd_type type, int sys_errno, bool sticky)
{
	uint64_t nth = 1;

	for (;; nth += 1 + nth / 40) {
		struct fault_rule rule = {.op = FAULT_ANY,
					  .event = FAULT_ANY,
					  .nth = nth,
					  .sticky = sticky,
					  .partial = nth % 2,
					  .sys_errno = sys_errno};

		if (!fail_nth(type, nth % 5, &rule))
			break;
	}
	cr_expect_gt(nth, 40);
}

Test(vhd_flush, no_failed_request_loses_what_was_acknowledged)
{
	fail_each(VHD_FIXED, EIO, false);
	fail_each(VHD_DYNAMIC, EIO, false);
	fail_each(VHD_DIFFERENCING, EIO, false);
}

Test(vhd_flush, a_device_that_stays_full_loses_nothing)
{
	fail_each(VHD_DYNAMIC, ENOSPC, true);
	fail_each(VHD_DIFFERENCING, EDQUOT, true);
}

/* ---- the contract ---- */

Test(vhd_flush, a_read_only_disk_refuses_writes_and_is_not_touched)
{
	struct disk *disk = make(VHD_DIFFERENCING);
	vlab_write(disk, 0, 512, 1);
	vlab_close(disk);
	disk = vlab_open(&lab, "disk", false);
	mem_ns_log_start(lab.mem);
	cr_expect_eq(vlab_try_write(&lab, disk, 0, 512, 2), ERR_READONLY);
	cr_expect_eq(disk_zero(disk, exercise_queue(), 0, 512, NULL), ERR_READONLY);
	cr_expect_eq(vlab_tag(disk, 0), 1);
	disk_flush(disk, exercise_queue(), NULL);
	vlab_close(disk);
	size_t count;
	const struct mem_event *event = mem_ns_log(lab.mem, &count);
	for (size_t i = 0; i < count; i++)
		cr_expect_eq(event[i].kind, MEM_SYNC);
}
