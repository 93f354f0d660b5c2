/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "util/bytes.h"

/* A disk that counts what reaches it and completes it later with a chosen result. */
struct probe {
	struct disk base;
	struct disk_info info;
	unsigned submitted;
	struct disk_req last;
	enum err result;
	bool from_other_thread;
	bool closed;
};

static struct queue *queue;
static struct probe probe;
static unsigned done_count;

static void *complete_elsewhere(void *arg)
{
	disk_done_later(arg);
	return NULL;
}

static void probe_submit(struct disk *disk, struct queue *q, struct disk_req *req)
{
	struct probe *p = container_of(disk, struct probe, base);
	pthread_t thread;

	cr_assert_eq(req->queue, q);
	p->submitted++;
	p->last = *req;
	req->result = p->result;
	if (!p->from_other_thread) {
		disk_done_later(req);
		return;
	}
	pthread_create(&thread, NULL, complete_elsewhere, req);
	pthread_detach(thread);
}

static enum err probe_map(struct disk *disk, uint64_t off, uint64_t len, struct disk_extent *out,
			  struct err_why *why)
{
	(void)disk;
	(void)why;
	*out = (struct disk_extent){off, len, EXTENT_ZERO, 0, NULL, 0};
	return ERR_OK;
}

static void probe_info(struct disk *disk, struct disk_info *out)
{
	*out = container_of(disk, struct probe, base)->info;
}

static enum err probe_close(struct disk *disk, struct err_why *why)
{
	(void)why;
	container_of(disk, struct probe, base)->closed = true;
	return ERR_OK;
}

static const struct disk_ops probe_ops = {
    .name = "probe",
    .submit = probe_submit,
    .map = probe_map,
    .info = probe_info,
    .close = probe_close,
};

static void setup(void)
{
	cr_assert_eq(queue_create(8, &queue, NULL), ERR_OK);
	probe = (struct probe){
	    .base.ops = &probe_ops,
	    .info = {.size_bytes = 1 << 20, .writable = true, .can_trim = true},
	};
	done_count = 0;
}

static void teardown(void)
{
	queue_destroy(queue);
}

TestSuite(block_disk, .init = setup, .fini = teardown, .timeout = 60);

static void count_done(struct disk_req *req)
{
	(void)req;
	done_count++;
}

/* Submit and wait; fills in what the contract wants. */
static enum err run(struct disk_req *req)
{
	req->done = count_done;
	done_count = 0;
	disk_submit(&probe.base, queue, req);
	cr_assert_eq(done_count, 0, "done ran inside submit");
	while (!done_count)
		cr_assert_gt(queue_wait(queue), 0);
	cr_assert_eq(queue_wait(queue), 0);
	cr_assert_eq(done_count, 1);
	return req->result;
}

static enum err run_read(uint64_t off, uint64_t len, size_t buffer_len)
{
	static char buf[4096];
	struct iovec iov = {buf, buffer_len};
	struct disk_req req = {
	    .op = DISK_READ, .off_bytes = off, .len_bytes = len, .iov = &iov, .iov_count = 1};

	return run(&req);
}

Test(block_disk, passes_on_what_is_right)
{
	cr_assert_eq(run_read(512, 4096, 4096), ERR_OK);
	cr_assert_eq(probe.submitted, 1);
	cr_assert_eq(probe.last.off_bytes, 512);
	cr_assert_eq(run_read((1 << 20) - 512, 512, 512), ERR_OK);
	cr_assert_eq(probe.submitted, 2);
}

Test(block_disk, refuses_what_is_outside)
{
	cr_assert_eq(run_read((1 << 20) - 512, 1024, 1024), ERR_RANGE);
	cr_assert_eq(run_read(1 << 20, 512, 512), ERR_RANGE);
	cr_assert_eq(run_read(UINT64_MAX - 511, 1024, 1024), ERR_RANGE, "the sum overflows");
	cr_assert_eq(run_read(512, UINT64_MAX - 511, 512), ERR_RANGE);
	cr_assert_eq(probe.submitted, 0);
}

Test(block_disk, refuses_parts_of_sectors)
{
	cr_assert_eq(run_read(1, 512, 512), ERR_RANGE);
	cr_assert_eq(run_read(0, 513, 513), ERR_RANGE);
	cr_assert_eq(probe.submitted, 0);
}

Test(block_disk, refuses_buffers_of_another_length)
{
	struct iovec iov[] = {{NULL, SIZE_MAX}, {NULL, 513}};
	struct disk_req req = {.op = DISK_READ, .len_bytes = 512, .iov = iov, .iov_count = 2};

	cr_assert_eq(run_read(0, 1024, 512), ERR_USAGE);
	cr_assert_eq(run_read(0, 512, 1024), ERR_USAGE);
	cr_assert_eq(run(&req), ERR_USAGE, "the sum overflows to the right value");
	cr_assert_eq(probe.submitted, 0);
}

Test(block_disk, refuses_changes_to_a_read_only_disk)
{
	static char buf[512];

	probe.info.writable = false;
	cr_assert_eq(disk_write(&probe.base, queue, buf, 0, 512, NULL), ERR_READONLY);
	cr_assert_eq(disk_zero(&probe.base, queue, 0, 512, NULL), ERR_READONLY);
	cr_assert_eq(disk_trim(&probe.base, queue, 0, 512, NULL), ERR_READONLY);
	cr_assert_eq(probe.submitted, 0);
	cr_assert_eq(disk_read(&probe.base, queue, buf, 0, 512, NULL), ERR_OK);
	cr_assert_eq(disk_flush(&probe.base, queue, NULL), ERR_OK);
	cr_assert_eq(probe.submitted, 2);
}

Test(block_disk, refuses_flags_that_mean_nothing)
{
	struct disk_req trim = {.op = DISK_TRIM, .len_bytes = 512, .flags = DISK_FUA};
	struct disk_req zero = {
	    .op = DISK_ZERO, .len_bytes = 512, .flags = DISK_FUA | DISK_KEEP_SPACE};
	struct disk_req unknown = {.op = (enum disk_op)17};

	cr_assert_eq(run(&trim), ERR_USAGE);
	cr_assert_eq(run(&unknown), ERR_USAGE);
	cr_assert_eq(probe.submitted, 0);
	cr_assert_eq(run(&zero), ERR_OK);
	cr_assert_eq(probe.submitted, 1);
}

Test(block_disk, explains_with_numbers)
{
	struct err_why why;
	char buf[512];

	cr_assert_eq(disk_read(&probe.base, queue, buf, 1 << 20, 512, &why), ERR_RANGE);
	cr_assert_eq(why.code, ERR_RANGE);
	cr_assert(strstr(why.text, "1048576"), "%s", why.text);
}

Test(block_disk, empty_requests_succeed_without_the_disk)
{
	cr_assert_eq(run_read(0, 0, 0), ERR_OK);
	cr_assert_eq(run_read(1 << 20, 0, 0), ERR_OK);
	cr_assert_eq(probe.submitted, 0);
}

Test(block_disk, wrappers_pass_results_on)
{
	char buf[512];

	probe.result = ERR_IO;
	cr_assert_eq(disk_read(&probe.base, queue, buf, 0, 512, NULL), ERR_IO);
	cr_assert_eq(probe.last.op, DISK_READ);
	cr_assert_eq(disk_write(&probe.base, queue, buf, 0, 512, NULL), ERR_IO);
	cr_assert_eq(probe.last.op, DISK_WRITE);
	cr_assert_eq(disk_zero(&probe.base, queue, 512, 1024, NULL), ERR_IO);
	cr_assert_eq(probe.last.op, DISK_ZERO);
	cr_assert_eq(probe.last.off_bytes, 512);
	cr_assert_eq(probe.last.len_bytes, 1024);
	cr_assert_eq(disk_trim(&probe.base, queue, 0, 512, NULL), ERR_IO);
	cr_assert_eq(probe.last.op, DISK_TRIM);
	cr_assert_eq(disk_flush(&probe.base, queue, NULL), ERR_IO);
	cr_assert_eq(probe.last.op, DISK_FLUSH);
}

Test(block_disk, waits_for_a_completion_from_another_thread)
{
	char buf[512];

	probe.from_other_thread = true;
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(disk_read(&probe.base, queue, buf, 0, 512, NULL), ERR_OK);
	cr_assert_eq(queue_wait(queue), 0);
}

Test(block_disk, maps_only_ranges_of_the_disk)
{
	struct disk_extent extent;

	cr_assert_eq(disk_map(&probe.base, 512, 1024, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.start_bytes, 512);
	cr_assert_eq(disk_map(&probe.base, 1 << 20, 512, &extent, NULL), ERR_RANGE);
	cr_assert_eq(disk_map(&probe.base, 0, 100, &extent, NULL), ERR_RANGE);
	cr_assert_eq(disk_map(&probe.base, 0, 0, &extent, NULL), ERR_USAGE);
}

Test(block_disk, closing_nothing_is_allowed)
{
	cr_assert_eq(disk_close(NULL, NULL), ERR_OK);
	cr_assert_eq(disk_close(&probe.base, NULL), ERR_OK);
	cr_assert(probe.closed);
}
