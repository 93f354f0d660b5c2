/* SPDX-License-Identifier: MIT */
/* The stack of an open disk: a new leaf on top, fewer files below, with reads going on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/unit/vhd_lab.h"
#include "vhd/stack.h"

#define BLOCK VHD_MIN_BLOCK
#define BYTES (8ull * BLOCK)

static struct vlab lab;
static struct layer_facts facts[8];
static const char *const names[] = {"/s/0", "/s/1", "/s/2", "/s/3", "/s/4"};

static void look(unsigned i)
{
	struct guid parent;

	cr_assert_eq(stack_look(lab.ns, names[i], &facts[i], &parent, &lab.why), ERR_OK, "%s",
		     lab.why.text);
}

static struct disk *open_stack(unsigned count, bool writable)
{
	struct stack_opts opts = {.ns = lab.ns, .writable = writable};
	struct disk *disk = NULL;

	cr_assert_eq(stack_open(facts, count, &opts, &disk, &lab.why), ERR_OK, "%s", lab.why.text);
	return disk;
}

/* Layer i is on i - 1, and has tag 10 + i in block i and tag i + 1 in block 7. */
static void make(unsigned count, enum vhd_type base)
{
	for (unsigned i = 0; i < count; i++) {
		vlab_create(&lab, names[i], i ? VHD_DIFFERENCING : base, i ? 0 : BYTES,
			    i ? names[i - 1] : NULL);
		look(i);
		struct disk *disk = open_stack(i + 1, true);
		vlab_write(disk, i * BLOCK, 4096, 10 + i);
		vlab_write(disk, 7 * BLOCK, 4096, 1 + i);
		vlab_close(disk);
		look(i);
	}
}

static void expect(struct disk *disk, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_expect_eq(vlab_tag(disk, i * BLOCK), 10 + i, "layer %u", i);
	cr_expect_eq(vlab_tag(disk, 7 * BLOCK), count);
	cr_expect_eq(vlab_tag(disk, 6 * BLOCK), 0);
}

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(snap_stack, .init = start, .fini = stop, .timeout = 30);

static void pause_disk(struct disk *disk)
{
	struct err_why why = {0};

	cr_assert_eq(stack_pause(disk, &why), ERR_OK, "%s", why.text);
}

/* An empty leaf `to` on the leaf that is there, which is paused. */
static struct stack_next *prepare(struct disk *disk, unsigned to)
{
	struct vhd_create_opts opts = {
	    .type = VHD_DIFFERENCING, .parent = names[to - 1], .no_lock = true};
	struct stack_next *next = NULL;

	cr_assert_eq(vlab_try_create(&lab, names[to], opts), ERR_OK, "%s", lab.why.text);
	look(to);
	cr_assert_eq(stack_prepare(disk, &facts[to], &next, &lab.why), ERR_OK, "%s", lab.why.text);
	return next;
}

/* ---- opening ---- */

Test(snap_stack, what_headers_say_of_parents_does_not_count)
{
	make(3, VHD_DYNAMIC);
	for (unsigned i = 1; i < 3; i++) {
		vlab_set_header(&lab, names[i], 40, 8, 0x1234567812345678);
		vlab_set_header(&lab, names[i], 64, 8, 0x002f0065002f0065);
	}
	struct disk *disk = open_stack(3, true);
	expect(disk, 3);
	vlab_close(disk);
}

Test(snap_stack, a_writable_leaf_is_locked_and_what_it_was)
{
	struct stack_opts opts = {.ns = lab.ns, .writable = true};
	struct disk *disk;

	make(2, VHD_DYNAMIC);
	facts[1].uuid.b[4] ^= 1;
	cr_expect_eq(stack_open(facts, 2, &opts, &disk, &lab.why), ERR_PARENT);
	cr_expect(vlab_said(&lab, "its UUID or type is not what it was"), "%s", lab.why.text);
	facts[1].path = "/s/nothing";
	cr_expect_eq(stack_open(facts, 2, &opts, &disk, &lab.why), ERR_PARENT);
	cr_expect_eq(lab.why.code, ERR_PARENT);
}

/* ---- a new leaf ---- */

static void push_on(enum vhd_type base)
{
	make(1, base);
	struct disk *disk = open_stack(1, true);
	for (unsigned i = 1; i < 5; i++) {
		uint64_t below;

		pause_disk(disk);
		below = vlab_size(&lab, names[i - 1]);
		struct stack_next *next = prepare(disk, i);
		stack_push(disk, next);
		stack_resume(disk);
		expect(disk, i);
		vlab_write(disk, i * BLOCK, 4096, 10 + i);
		vlab_write(disk, 7 * BLOCK, 4096, 1 + i);
		vlab_flush(disk);
		expect(disk, i + 1);
		cr_expect_eq(vlab_size(&lab, names[i - 1]), below, "what was the leaf stays");
	}
	vlab_close(disk);
	for (unsigned i = 0; i < 5; i++) {
		struct vhd_report report;
		struct vhd_open_opts opts = {.ns = lab.ns};

		look(i);
		cr_assert_eq(vhd_check(names[i], &opts, NULL, &report, NULL), ERR_OK);
		cr_expect_eq(vhd_report_result(&report), ERR_OK, "%s", names[i]);
		vhd_report_free(&report);
		disk = open_stack(i + 1, false);
		expect(disk, i + 1);
		vlab_close(disk);
	}
}

Test(snap_stack, leaves_are_pushed_on_a_dynamic_disk)
{
	push_on(VHD_DYNAMIC);
}

Test(snap_stack, leaves_are_pushed_on_a_fixed_disk)
{
	push_on(VHD_FIXED);
}

Test(snap_stack, a_leaf_that_is_dropped_was_never_there)
{
	make(2, VHD_DYNAMIC);
	struct disk *disk = open_stack(2, true);
	pause_disk(disk);
	struct stack_next *next = prepare(disk, 2);
	stack_drop(next);
	stack_resume(disk);
	stack_drop(NULL);
	vlab_write(disk, 3 * BLOCK, 4096, 33);
	vlab_close(disk);
	disk = open_stack(2, false);
	expect(disk, 2);
	cr_expect_eq(vlab_tag(disk, 3 * BLOCK), 33);
	vlab_close(disk);
}

/* Whatever fails on the way: the disk goes on with the leaf it has (P5). */
Test(snap_stack, a_leaf_that_cannot_be_prepared)
{
	struct vhd_create_opts opts = {
	    .type = VHD_DIFFERENCING, .parent = names[1], .no_lock = true};
	uint64_t nth = 1;
	bool fired = true;

	make(2, VHD_DYNAMIC);
	struct disk *disk = open_stack(2, true);
	pause_disk(disk);
	cr_assert_eq(vlab_try_create(&lab, names[2], opts), ERR_OK, "%s", lab.why.text);
	look(2);
	for (; fired; nth++) {
		struct fault_rule rule = {
		    .op = FAULT_ANY, .event = FAULT_ANY, .nth = nth, .sys_errno = EIO};
		struct stack_next *next = NULL;

		fault_ns_set(lab.fault, &rule);
		enum err e = stack_prepare(disk, &facts[2], &next, &lab.why);
		fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		cr_assert(!fired || e == ERR_IO || !e, "%d", e);
		if (!e)
			stack_drop(next);
	}
	cr_expect_gt(nth, 3);
	stack_resume(disk);
	expect(disk, 2);
	vlab_write(disk, 3 * BLOCK, 4096, 33);
	vlab_close(disk);
}

/* ---- pausing ---- */

static _Atomic bool resumed;
static bool was_resumed; /* when the write was done */

static void *write_one(void *arg)
{
	static uint8_t sector[DISK_SECTOR];
	struct queue *queue;

	if (queue_create(4, &queue, NULL))
		return NULL;
	bool ok = !disk_write(arg, queue, sector, 5 * BLOCK, sizeof(sector), NULL);
	was_resumed = resumed;
	queue_destroy(queue);
	return ok ? arg : NULL;
}

Test(snap_stack, requests_wait_while_it_is_paused)
{
	pthread_t thread;
	void *done;

	make(2, VHD_DYNAMIC);
	struct disk *disk = open_stack(2, true);
	pause_disk(disk);
	cr_assert_eq(pthread_create(&thread, NULL, write_one, disk), 0);
	stack_push(disk, prepare(disk, 2));
	resumed = true;
	stack_resume(disk);
	cr_assert_eq(pthread_join(thread, &done), 0);
	cr_expect(done && was_resumed);
	vlab_close(disk);
	struct vhd_layer *old = vlab_layer(&lab, names[1]), *leaf = vlab_layer(&lab, names[2]);
	uint32_t below, top;
	cr_assert_eq(layer_read_bat(old, 5, 1, &below, NULL), ERR_OK);
	cr_assert_eq(layer_read_bat(leaf, 5, 1, &top, NULL), ERR_OK);
	cr_expect_eq(below, UINT32_MAX, "what came meanwhile is in the new leaf");
	cr_expect_neq(top, UINT32_MAX);
	layer_close(old, NULL);
	layer_close(leaf, NULL);
}

Test(snap_stack, a_pause_makes_durable_and_gives_space_back)
{
	struct fault_rule sync = {
	    .op = FILE_SYNC, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO, .sticky = true};

	make(2, VHD_DYNAMIC);
	struct disk *disk = open_stack(2, true);
	vlab_write(disk, 4 * BLOCK, 4096, 44);
	pause_disk(disk);
	struct vlab now = vlab_snapshot(&lab);
	struct vhd_layer *leaf = vlab_layer(&now, names[1]);
	cr_expect(leaf->trailing_ok && leaf->copy_ok && !leaf->intent);
	layer_close(leaf, NULL);
	vlab_stop(&now);
	stack_resume(disk);
	vlab_write(disk, 4 * BLOCK, 4096, 45);
	fault_ns_set(lab.fault, &sync);
	cr_expect_eq(stack_pause(disk, &lab.why), ERR_IO);
	fault_ns_set(lab.fault, NULL);
	cr_expect_eq(vlab_try_write(&lab, disk, 0, 512, 1), ERR_POISONED,
		     "nobody knows what is "
		     "there");
	cr_expect_eq(vlab_tag(disk, 4 * BLOCK), 45);
	disk_close(disk, NULL);
}

Test(snap_stack, a_poisoned_disk_takes_no_more_writes)
{
	struct err_why lost = {.code = ERR_IO, .text = "the catalogue was lost"};

	make(2, VHD_DYNAMIC);
	struct disk *disk = open_stack(2, true);
	pause_disk(disk);
	stack_poison(disk, &lost);
	stack_resume(disk);
	cr_expect_eq(vlab_try_write(&lab, disk, 0, 512, 1), ERR_POISONED);
	expect(disk, 2);
	disk_close(disk, NULL);
}

/* ---- fewer files ---- */

/* Copies what layer `lower` has and `upper` has not up into it, as a fold does. */
static void fold_up(unsigned lower, unsigned upper)
{
	struct stack_fold fold = {.ns = lab.ns,
				  .below = facts,
				  .below_count = lower,
				  .lower = &facts[lower],
				  .upper = &facts[upper]};
	uint64_t next, moved, up, down;

	cr_assert_eq(stack_fold_cost(&fold, &up, &down, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(stack_fold_copy(&fold, &next, &moved, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(next, BYTES);
	cr_expect_eq(moved, up, "as it was told before");
}

static enum err replace(struct disk *disk, unsigned first, unsigned old, unsigned with,
			unsigned count)
{
	lab.why = (struct err_why){0};
	return stack_replace(disk, first, old, &facts[with], count, &lab.why);
}

Test(snap_stack, two_files_become_one)
{
	make(5, VHD_DYNAMIC);
	struct disk *reader = open_stack(4, false), *writer = open_stack(5, true);
	expect(reader, 4);
	vlab_write(writer, 7 * BLOCK, 4096, 5);
	fold_up(1, 2);
	cr_expect_eq(replace(reader, 1, 2, 2, 1), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(replace(writer, 1, 2, 2, 1), ERR_OK, "%s", lab.why.text);
	cr_expect(stack_settle(reader) && stack_settle(writer));
	cr_assert_eq(file_ns_unlink(lab.ns, names[1], NULL), ERR_OK);
	expect(reader, 4);
	expect(writer, 5);
	vlab_write(writer, BLOCK, 4096, 99);
	cr_expect_eq(vlab_tag(writer, BLOCK), 99);
	vlab_close(writer);
	vlab_close(reader);
	facts[1] = facts[2];
	facts[2] = facts[3];
	facts[3] = facts[4];
	reader = open_stack(4, false);
	cr_expect_eq(vlab_tag(reader, BLOCK), 99);
	cr_expect_eq(vlab_tag(reader, 2 * BLOCK), 12);
	cr_expect_eq(vlab_tag(reader, 4 * BLOCK), 14);
	vlab_close(reader);
}

Test(snap_stack, what_cannot_be_replaced)
{
	make(4, VHD_DYNAMIC);
	struct disk *writer = open_stack(4, true), *reader = open_stack(4, false);

	cr_expect_eq(replace(writer, 2, 2, 3, 1), ERR_USAGE, "not the leaf that is open");
	cr_expect(vlab_said(&lab, "files 2 to 4 of 4 cannot become 1"), "%s", lab.why.text);
	cr_expect_eq(replace(writer, 1, 0, 1, 0), ERR_USAGE);
	cr_expect_eq(replace(writer, 1, 1, 1, 2), ERR_USAGE, "nor more than there were");
	cr_expect_eq(replace(reader, 3, 2, 3, 1), ERR_USAGE);
	cr_expect_eq(replace(reader, 4, 1, 3, 1), ERR_USAGE);
	cr_expect_eq(replace(reader, 0, 4, 0, 0), ERR_USAGE);
	facts[2].size_bytes = 0;
	cr_expect_eq(replace(reader, 1, 2, 2, 1), ERR_CORRUPT);
	expect(writer, 4);
	expect(reader, 4);
	vlab_close(writer);
	vlab_close(reader);
}

/* ---- headers ---- */

Test(snap_stack, a_new_uuid_is_in_every_footer)
{
	struct guid uuid = guid_new(), parent;
	struct layer_facts now;

	make(2, VHD_DYNAMIC);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t copy[FOOTER_BYTES], trailing[FOOTER_BYTES];

		cr_assert_eq(stack_set_uuid(lab.ns, names[i], &uuid, &lab.why), ERR_OK, "%s",
			     lab.why.text);
		cr_assert_eq(stack_look(lab.ns, names[i], &now, &parent, NULL), ERR_OK);
		cr_expect(guid_equal(&now.uuid, &uuid));
		vlab_get(&lab, names[i], 0, copy, sizeof(copy));
		vlab_get(&lab, names[i], vlab_size(&lab, names[i]) - FOOTER_BYTES, trailing,
			 sizeof(trailing));
		cr_expect_arr_eq(copy, trailing, sizeof(copy));
		look(i);
	}
	struct disk *disk = open_stack(2, false);
	expect(disk, 2);
	vlab_close(disk);
}

Test(snap_stack, relinking_what_is_right_writes_nothing)
{
	size_t events;
	struct guid parent;
	struct layer_facts now;

	make(3, VHD_DYNAMIC);
	cr_assert_eq(stack_relink(lab.ns, names[2], names[0], &facts[0].uuid, &lab.why), ERR_OK,
		     "%s", lab.why.text);
	cr_assert_eq(stack_look(lab.ns, names[2], &now, &parent, NULL), ERR_OK);
	cr_expect(guid_equal(&parent, &facts[0].uuid));
	mem_ns_log_start(lab.mem);
	cr_assert_eq(stack_relink(lab.ns, names[2], names[0], &facts[0].uuid, NULL), ERR_OK);
	mem_ns_log(lab.mem, &events);
	cr_expect_eq(events, 0);
	cr_assert_eq(stack_seal(lab.ns, names[2], &lab.why), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(vlab_probe(&lab, names[2], false), ERR_OK, "%s", lab.why.text);
}

Test(snap_stack, sealing_mends_what_a_crash_left)
{
	make(2, VHD_DYNAMIC);
	vlab_truncate(&lab, names[1], vlab_size(&lab, names[1]) + 8192);
	struct vhd_layer *layer = vlab_layer(&lab, names[1]);
	cr_assert_not(layer->trailing_ok);
	layer_close(layer, NULL);
	cr_assert_eq(stack_seal(lab.ns, names[1], &lab.why), ERR_OK, "%s", lab.why.text);
	layer = vlab_layer(&lab, names[1]);
	cr_expect(layer->trailing_ok && layer->copy_ok);
	layer_close(layer, NULL);
	look(1);
	struct disk *disk = open_stack(2, false);
	expect(disk, 2);
	vlab_close(disk);
}
