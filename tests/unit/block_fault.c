/* SPDX-License-Identifier: MIT */
/* Faults at named events, on both ways into a file (T3). */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "block/fault.h"
#include "block/file_mem.h"
#include "block/queue.h"
#include "util/bytes.h"

struct bench {
	struct mem_ns *mem;
	struct fault_ns *fault;
	struct file *file;
};

static struct bench setup(void)
{
	struct bench b = {.mem = mem_ns_new()};

	b.fault = fault_ns_new(mem_ns_base(b.mem));
	cr_assert_eq(file_ns_open(fault_ns_base(b.fault), "f", FILE_OPEN_CREATE, &b.file, NULL),
		     ERR_OK);
	return b;
}

static void teardown(struct bench *b)
{
	cr_expect_eq(file_close(b->file, NULL), ERR_OK);
	fault_ns_free(b->fault);
	mem_ns_free(b->mem);
}

static enum err put(struct bench *b, enum file_event event)
{
	return file_write(b->file, event, "x", 0, 1, NULL);
}

Test(block_fault, passes_everything_without_a_rule)
{
	struct bench b = setup();
	struct file_info info;
	char c;

	cr_expect_eq(put(&b, EV_DATA), ERR_OK);
	cr_expect_eq(file_read(b.file, EV_DATA, &c, 0, 1, NULL), ERR_OK);
	cr_expect_eq(c, 'x');
	cr_expect_eq(file_sync(b.file, NULL), ERR_OK);
	cr_expect_eq(file_get_info(b.file, &info, NULL), ERR_OK);
	cr_expect_eq(info.size_bytes, 1);
	cr_expect_eq(file_lock(b.file, FILE_LOCK_WRITE, NULL), ERR_OK);
	cr_expect_eq(fault_ns_matches(b.fault), 3, "all requests count");
	cr_expect(!fault_ns_fired(b.fault));
	teardown(&b);
}

Test(block_fault, names_are_passed_on)
{
	struct bench b = setup();
	struct file_ns *ns = fault_ns_base(b.fault);
	struct file *file;

	cr_expect_eq(file_ns_open(ns, "none", 0, &file, NULL), ERR_NOENT);
	cr_expect_null(file);
	cr_expect_eq(file_ns_rename(ns, "f", "g", NULL), ERR_OK);
	cr_expect_eq(mem_ns_size(b.mem, "g"), 0);
	cr_expect_eq(file_ns_sync_dir(ns, "g", NULL), ERR_OK);
	cr_expect_eq(file_ns_unlink(ns, "g", NULL), ERR_OK);
	cr_expect_eq(mem_ns_size(b.mem, "g"), UINT64_MAX);
	teardown(&b);
}

Test(block_fault, fails_only_the_nth_match)
{
	struct bench b = setup();
	struct fault_rule rule = {.op = FILE_WRITE, .event = EV_BAT, .nth = 2, .sys_errno = ENOSPC};
	struct err_why why;

	fault_ns_set(b.fault, &rule);
	cr_expect_eq(put(&b, EV_BAT), ERR_OK);
	cr_expect_eq(put(&b, EV_BITMAP), ERR_OK, "another event");
	cr_expect_eq(file_zero(b.file, EV_BAT, 0, 1, NULL), ERR_OK, "another operation");
	cr_expect(!fault_ns_fired(b.fault));
	cr_expect_eq(file_write(b.file, EV_BAT, "y", 0, 1, &why), ERR_NOSPC);
	cr_expect_eq(why.sys_errno, ENOSPC);
	cr_expect_str_eq(why.text, "f: writing 1 bytes of BAT at 0x0: No space left on device");
	cr_expect(fault_ns_fired(b.fault));
	cr_expect_eq(put(&b, EV_BAT), ERR_OK);
	cr_expect_eq(fault_ns_matches(b.fault), 3);
	teardown(&b);
}

Test(block_fault, sticky_rules_go_on_failing)
{
	struct bench b = setup();
	struct fault_rule rule = {
	    .op = FILE_SYNC, .event = FAULT_ANY, .nth = 2, .sticky = true, .sys_errno = EIO};

	fault_ns_set(b.fault, &rule);
	cr_expect_eq(file_sync(b.file, NULL), ERR_OK);
	cr_expect_eq(file_sync(b.file, NULL), ERR_IO);
	cr_expect_eq(file_sync(b.file, NULL), ERR_IO);
	fault_ns_set(b.fault, NULL);
	cr_expect_eq(file_sync(b.file, NULL), ERR_OK);
	cr_expect_eq(fault_ns_matches(b.fault), 1, "counted afresh");
	cr_expect(!fault_ns_fired(b.fault));
	teardown(&b);
}

Test(block_fault, a_failed_write_leaves_nothing)
{
	struct bench b = setup();
	struct fault_rule rule = {.op = FAULT_ANY, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO};

	fault_ns_set(b.fault, &rule);
	cr_expect_eq(put(&b, EV_DATA), ERR_IO);
	cr_expect_eq(mem_ns_size(b.mem, "f"), 0);
	teardown(&b);
}

static void mark_done(struct file_req *req)
{
	*(bool *)req->owner = true;
}

static enum err submit_and_wait(struct file *file, struct file_req *req)
{
	struct queue *queue;
	bool done = false;

	cr_assert_eq(queue_create(4, &queue, NULL), ERR_OK);
	req->done = mark_done;
	req->owner = &done;
	file_submit(file, queue, req);
	cr_expect(!done, "never from inside the submission");
	while (!done)
		cr_assert_gt(queue_wait(queue), 0);
	queue_destroy(queue);
	return req->result;
}

/* Whole sectors of the first half, across elements of the iovec. */
static void expect_half(bool async)
{
	struct bench b = setup();
	struct fault_rule rule = {
	    .op = FILE_WRITE, .event = EV_FOOTER, .nth = 1, .sys_errno = EIO, .partial = true};
	uint8_t data[2500], out[sizeof(data)];
	struct iovec iov[] = {{data, 300}, {data + 300, 500}, {data + 800, 1700}};
	struct file_req req = {.op = FILE_WRITE,
			       .event = EV_FOOTER,
			       .len_bytes = sizeof(data),
			       .iov = iov,
			       .iov_count = 3};

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 251 + 1);
	fault_ns_set(b.fault, &rule);
	cr_expect_eq(async ? submit_and_wait(b.file, &req)
			   : file_write(b.file, EV_FOOTER, data, 0, sizeof(data), NULL),
		     ERR_IO);
	cr_expect_eq(mem_ns_size(b.mem, "f"), 1024);
	mem_ns_get(b.mem, "f", 0, out, sizeof(out));
	cr_expect_arr_eq(out, data, 1024);
	cr_expect(bytes_are_zero(out + 1024, sizeof(out) - 1024));
	teardown(&b);
}

Test(block_fault, partial_writes_land_by_half)
{
	expect_half(false);
	expect_half(true);
}

Test(block_fault, a_single_sector_is_never_halved)
{
	struct bench b = setup();
	struct fault_rule rule = {
	    .op = FILE_WRITE, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO, .partial = true};
	char sector[512] = "x";

	fault_ns_set(b.fault, &rule);
	cr_expect_eq(file_write(b.file, EV_BAT, sector, 512, sizeof(sector), NULL), ERR_IO);
	cr_expect_eq(mem_ns_size(b.mem, "f"), 0);
	teardown(&b);
}

Test(block_fault, queued_requests_fail_through_the_queue)
{
	struct bench b = setup();
	struct fault_rule rule = {
	    .op = FILE_SYNC, .event = FAULT_ANY, .nth = 1, .sys_errno = EDQUOT};
	struct file_req sync = {.op = FILE_SYNC};

	fault_ns_set(b.fault, &rule);
	cr_expect_eq(submit_and_wait(b.file, &sync), ERR_NOSPC);
	cr_expect_eq(sync.sys_errno, EDQUOT);
	cr_expect_eq(submit_and_wait(b.file, &sync), ERR_OK);
	cr_expect_eq(sync.sys_errno, 0);
	teardown(&b);
}
