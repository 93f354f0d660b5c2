/* SPDX-License-Identifier: MIT */
/* The log of files in memory, from which power cuts are replayed (T1). */
#include <criterion/criterion.h>
#include <string.h>

#include "block/file_mem.h"
#include "block/queue.h"
#include "util/bytes.h"

static struct file *create(struct mem_ns *ns, const char *path)
{
	struct file *file;

	cr_assert_eq(file_ns_open(mem_ns_base(ns), path, FILE_OPEN_CREATE, &file, NULL), ERR_OK);
	return file;
}

static const struct mem_event *expect_event(const struct mem_event *event, enum mem_event_kind kind,
					    uint64_t off, uint64_t len)
{
	cr_expect_eq(event->kind, kind);
	cr_expect_eq(event->off_bytes, off);
	cr_expect_eq(event->len_bytes, len);
	return event;
}

Test(block_mem_log, events_are_recorded_in_order_with_their_data)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = create(ns, "a");
	const struct mem_event *log;
	size_t count;

	file_write(file, EV_DATA, "not recorded", 0, 12, NULL);
	mem_ns_log_start(ns);
	file_write(file, EV_BAT, "bat", 7, 3, NULL);
	file_punch(file, 1, 2, NULL);
	file_zero(file, EV_BITMAP, 10, 10, NULL);
	file_allocate(file, 0, 50, NULL);
	file_truncate(file, 20, NULL);
	file_sync(file, NULL);
	mem_ns_mark(ns, 99);
	file_ns_rename(mem_ns_base(ns), "a", "d/b", NULL);
	file_ns_sync_dir(mem_ns_base(ns), "d/b", NULL);
	mem_ns_log_stop(ns);
	file_write(file, EV_DATA, "not recorded", 0, 12, NULL);

	log = mem_ns_log(ns, &count);
	cr_assert_eq(count, 10);
	expect_event(&log[0], MEM_WRITE, 7, 3);
	cr_expect_eq(log[0].what, EV_BAT);
	cr_expect_eq(memcmp(log[0].data, "bat", 3), 0);
	expect_event(&log[1], MEM_ZERO, 1, 2);
	expect_event(&log[2], MEM_ZERO, 10, 10);
	cr_expect_eq(log[2].what, EV_BITMAP);
	expect_event(&log[3], MEM_ALLOCATE, 10, 10); /* the zeros went past the end */
	expect_event(&log[4], MEM_ALLOCATE, 0, 50);
	expect_event(&log[5], MEM_TRUNCATE, 20, 0);
	expect_event(&log[6], MEM_SYNC, 0, 0);
	expect_event(&log[7], MEM_MARK, 99, 0);
	cr_expect_eq(log[8].kind, MEM_RENAME);
	cr_expect_str_eq(log[8].path, "a");
	cr_expect_str_eq(log[8].path2, "d/b");
	cr_expect_eq(log[9].kind, MEM_SYNC_DIR);
	cr_expect_str_eq(log[9].path, "d/b");
	for (size_t i = 0; i < 6; i++)
		cr_expect_lt(log[i].ended, log[6].begun, "the sync covers event %zu", i);
	mem_ns_log_start(ns);
	mem_ns_log(ns, &count);
	cr_expect_eq(count, 0, "a fresh start");
	file_close(file, NULL);
	mem_ns_free(ns);
}

Test(block_mem_log, torn_writes_land_by_sector)
{
	struct mem_ns *ns = mem_ns_new();
	uint8_t data[3 * 512 + 100], out[sizeof(data) + 1];
	struct mem_event event = {
	    .kind = MEM_WRITE, .off_bytes = 512, .len_bytes = sizeof(data), .data = data};
	const uint64_t second_and_last = 1 << 1 | 1 << 3, none = 0;

	memset(data, 'd', sizeof(data));
	mem_ns_put(ns, "f", "", 0);
	mem_ns_apply_torn(ns, &event, &none);
	cr_expect_eq(mem_ns_size(ns, "f"), 0);
	mem_ns_apply_torn(ns, &event, &second_and_last);
	cr_expect_eq(mem_ns_size(ns, "f"), 512 + sizeof(data));
	mem_ns_get(ns, "f", 512, out, sizeof(out));
	cr_expect(bytes_are_zero(out, 512));
	cr_expect_arr_eq(out + 512, data, 512);
	cr_expect(bytes_are_zero(out + 1024, 512));
	cr_expect_arr_eq(out + 1536, data, 100);
	cr_expect_eq(out[1636], 0);
	mem_ns_free(ns);
}

Test(block_mem_log, events_of_files_that_never_appeared_are_void)
{
	struct mem_ns *ns = mem_ns_new();
	char a[] = "a", b[] = "b";
	struct mem_event write = {
	    .kind = MEM_WRITE, .file_id = 5, .len_bytes = 1, .data = (uint8_t *)a};
	struct mem_event create = {.kind = MEM_CREATE, .file_id = 5, .path = a};
	struct mem_event unlink_b = {.kind = MEM_UNLINK, .file_id = 5, .path = b};

	mem_ns_apply(ns, &write);
	cr_expect_eq(mem_ns_size(ns, "a"), UINT64_MAX);
	mem_ns_apply(ns, &create);
	mem_ns_apply(ns, &write);
	cr_expect_eq(mem_ns_size(ns, "a"), 1);
	mem_ns_apply(ns, &unlink_b);
	cr_expect_eq(mem_ns_size(ns, "a"), 1, "it does not have that name here");
	mem_ns_free(ns);
}

/* ---- on a queue ---- */

struct counted_req {
	struct file_req req;
	struct iovec iov[2];
	unsigned done;
};

static void count_done(struct file_req *req)
{
	container_of(req, struct counted_req, req)->done++;
}

static struct counted_req write_req(void *a, size_t a_len, void *b, size_t b_len, uint64_t off)
{
	return (struct counted_req){.req = {.op = FILE_WRITE,
					    .off_bytes = off,
					    .len_bytes = a_len + b_len,
					    .iov_count = 2,
					    .done = count_done},
				    .iov = {{a, a_len}, {b, b_len}}};
}

static void start(struct file *file, struct queue *queue, struct counted_req *req)
{
	req->req.iov = req->iov;
	file_submit(file, queue, &req->req);
}

Test(block_mem_log, done_runs_once_and_from_the_queue)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = create(ns, "a");
	char one[] = "one", two[] = "two", back[6];
	struct counted_req good = write_req(one, 3, two, 3, 2), bad = good, empty = good;
	struct queue *queue;

	bad.req.len_bytes = 5; /* not the sum of the iovec */
	empty.req = (struct file_req){.op = FILE_PUNCH, .done = count_done};
	cr_assert_eq(queue_create(8, &queue, NULL), ERR_OK);
	start(file, queue, &good);
	start(file, queue, &bad);
	start(file, queue, &empty);
	cr_expect_eq(good.done + bad.done + empty.done, 0);
	cr_expect_eq(queue_pending(queue), 3);
	while (queue_pending(queue))
		queue_wait(queue);
	cr_expect(good.done == 1 && bad.done == 1 && empty.done == 1);
	cr_expect_eq(good.req.result, ERR_OK);
	cr_expect_eq(bad.req.result, ERR_USAGE);
	cr_expect_eq(empty.req.result, ERR_OK);
	mem_ns_get(ns, "a", 2, back, sizeof(back));
	cr_expect_arr_eq(back, "onetwo", 6);
	cr_expect_eq(mem_ns_size(ns, "a"), 8);
	queue_destroy(queue);
	file_close(file, NULL);
	mem_ns_free(ns);
}

/* What was in flight when a sync was submitted is not made durable by it. */
Test(block_mem_log, a_sync_covers_only_what_had_completed)
{
	struct mem_ns *ns = mem_ns_new();
	struct file *file = create(ns, "a");
	char text[] = "x";
	struct counted_req before = write_req(text, 1, NULL, 0, 0), during = before;
	struct counted_req sync = {.req = {.op = FILE_SYNC, .done = count_done}};
	const struct mem_event *log;
	struct queue *queue;
	size_t count;

	cr_assert_eq(queue_create(8, &queue, NULL), ERR_OK);
	mem_ns_log_start(ns);
	start(file, queue, &before);
	while (!before.done)
		queue_wait(queue);
	start(file, queue, &during);
	start(file, queue, &sync);
	while (queue_pending(queue))
		queue_wait(queue);
	log = mem_ns_log(ns, &count);
	cr_assert_eq(count, 3);
	cr_expect_eq(log[2].kind, MEM_SYNC);
	cr_expect_lt(log[0].ended, log[2].begun);
	cr_expect_gt(log[1].ended, log[2].begun);
	queue_destroy(queue);
	file_close(file, NULL);
	mem_ns_free(ns);
}
