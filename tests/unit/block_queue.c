/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/file.h"
#include "block/queue.h"
#include "util/bytes.h"

static char path[64];
static struct queue *queue;
static struct file *file;
static unsigned done_count;

static void count_done(struct file_req *req)
{
	cr_assert_eq(req->result, ERR_OK);
	done_count++;
}

static struct file *open_file(unsigned flags)
{
	struct err_why why;
	struct file *f;

	cr_assert_eq(file_ns_open(&file_ns_posix, path, flags, &f, &why), ERR_OK, "%s", why.text);
	return f;
}

static struct queue *new_queue(unsigned depth)
{
	struct err_why why;
	struct queue *q;

	cr_assert_eq(queue_create(depth, &q, &why), ERR_OK, "%s", why.text);
	return q;
}

static void setup(void)
{
	snprintf(path, sizeof(path), "/tmp/strata-queue-XXXXXX");
	close(mkstemp(path));
	queue = new_queue(4);
	file = open_file(FILE_OPEN_RDWR);
	done_count = 0;
}

static void teardown(void)
{
	file_close(file, NULL);
	queue_destroy(queue);
	unlink(path);
}

TestSuite(block_queue, .init = setup, .fini = teardown, .timeout = 60);

static void run_all(void)
{
	while (queue_pending(queue))
		cr_assert_gt(queue_wait(queue), 0);
}

static void submit(struct file_req *req, enum file_op op, uint64_t off, uint64_t len,
		   const struct iovec *iov, unsigned iov_count)
{
	*req = (struct file_req){
	    .op = op,
	    .event = EV_DATA,
	    .off_bytes = off,
	    .len_bytes = len,
	    .iov = iov,
	    .iov_count = iov_count,
	    .done = count_done,
	};
	file_submit(file, queue, req);
}

static void run_one(enum file_op op, uint64_t off, uint64_t len, void *buf)
{
	struct iovec iov = {buf, len};
	struct file_req req;

	submit(&req, op, off, len, &iov, buf ? 1 : 0);
	run_all();
}

Test(block_queue, takes_more_requests_than_its_depth)
{
	enum { COUNT = 300, LEN = 512 };
	static uint8_t out[COUNT][LEN], in[COUNT][LEN];
	static struct file_req req[COUNT];
	static struct iovec iov[COUNT];

	for (unsigned i = 0; i < COUNT; i++) {
		memset(out[i], (int)i, LEN);
		iov[i] = (struct iovec){out[i], LEN};
		submit(&req[i], FILE_WRITE, (uint64_t)i * LEN, LEN, &iov[i], 1);
	}
	cr_assert_eq(done_count, 0, "done ran inside submit");
	cr_assert_eq(queue_pending(queue), COUNT);
	run_all();
	cr_assert_eq(done_count, COUNT);

	for (unsigned i = 0; i < COUNT; i++) {
		iov[i] = (struct iovec){in[i], LEN};
		submit(&req[i], FILE_READ, (uint64_t)i * LEN, LEN, &iov[i], 1);
	}
	run_all();
	cr_assert_arr_eq(in, out, sizeof(in));
}

Test(block_queue, finishes_vectors_longer_than_the_systems_limit)
{
	enum { COUNT = 2500, LEN = 24 };
	static uint8_t out[COUNT * LEN], in[COUNT * LEN];
	static struct iovec iov[COUNT];
	struct file_req req;

	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	for (unsigned i = 0; i < COUNT; i++)
		iov[i] = (struct iovec){out + i * LEN, LEN};
	submit(&req, FILE_WRITE, 5, sizeof(out), iov, COUNT);
	run_all();
	for (unsigned i = 0; i < COUNT; i++)
		iov[i].iov_base = in + i * LEN;
	submit(&req, FILE_READ, 5, sizeof(in), iov, COUNT);
	run_all();
	cr_assert_arr_eq(in, out, sizeof(in));
}

Test(block_queue, reads_zeros_past_the_end)
{
	uint8_t a[100], b[200], zeros[200] = {0}, text[150];
	struct iovec iov[] = {{a, sizeof(a)}, {NULL, 0}, {b, sizeof(b)}};
	struct file_req req;

	memset(text, 'x', sizeof(text));
	run_one(FILE_WRITE, 0, sizeof(text), text);
	memset(a, 1, sizeof(a));
	memset(b, 1, sizeof(b));
	submit(&req, FILE_READ, 0, sizeof(a) + sizeof(b), iov, 3);
	run_all();
	cr_assert_arr_eq(a, text, sizeof(a));
	cr_assert_arr_eq(b, text, 50);
	cr_assert_arr_eq(b + 50, zeros, 150);

	memset(b, 1, sizeof(b));
	run_one(FILE_READ, 1 << 20, sizeof(b), b);
	cr_assert_arr_eq(b, zeros, sizeof(b));
}

Test(block_queue, carries_out_every_operation)
{
	struct file_info info;
	uint8_t ones[8192], in[8192], zeros[8192] = {0};

	memset(ones, 1, sizeof(ones));
	run_one(FILE_WRITE, 0, sizeof(ones), ones);
	run_one(FILE_SYNC, 0, 0, NULL);
	run_one(FILE_ZERO, 512, 512, NULL);
	run_one(FILE_PUNCH, 4096, 4096, NULL);
	run_one(FILE_READ, 0, sizeof(in), in);
	cr_assert_arr_eq(in, ones, 512);
	cr_assert_arr_eq(in + 512, zeros, 512);
	cr_assert_arr_eq(in + 1024, ones, 3072);
	cr_assert_arr_eq(in + 4096, zeros, 4096);

	run_one(FILE_ALLOCATE, 8192, 100000, NULL);
	cr_assert_eq(file_get_info(file, &info, NULL), ERR_OK);
	cr_assert_eq(info.size_bytes, 108192);
	run_one(FILE_TRUNCATE, 700, 0, NULL);
	cr_assert_eq(file_get_info(file, &info, NULL), ERR_OK);
	cr_assert_eq(info.size_bytes, 700);
	cr_assert_eq(done_count, 7);
}

static void keep_result(struct file_req *req)
{
	*(enum err *)req->owner = req->result;
}

Test(block_queue, reports_what_the_system_refuses)
{
	enum err result = ERR_OK;
	struct iovec iov = {(void *)8, 4096}; /* no memory there */
	struct file_req req = {
	    .op = FILE_WRITE,
	    .len_bytes = 4096,
	    .iov = &iov,
	    .iov_count = 1,
	    .done = keep_result,
	    .owner = &result,
	};

	file_submit(file, queue, &req);
	run_all();
	cr_assert_eq(result, ERR_IO);
	cr_assert_neq(req.sys_errno, 0);
}

/* ---- a file's place in the ring ---- */

Test(block_queue, keeps_files_apart_that_use_the_same_place)
{
	char first = 0, other_path[80];

	run_one(FILE_WRITE, 0, 1, (char[]){'a'});
	snprintf(other_path, sizeof(other_path), "%s.other", path);
	for (unsigned i = 0; i < 50; i++) {
		struct err_why why;

		file_close(file, NULL);
		cr_assert_eq(
		    file_ns_open(&file_ns_posix, other_path, FILE_OPEN_CREATE, &file, &why), ERR_OK,
		    "%s", why.text);
		run_one(FILE_WRITE, 0, 1, (char[]){'b'});
		unlink(other_path);
		file_close(file, NULL);
		file = open_file(FILE_OPEN_RDWR);
		run_one(FILE_READ, 0, 1, &first);
		cr_assert_eq(first, 'a');
	}
}

static void *close_elsewhere(void *arg)
{
	return (void *)(uintptr_t)file_close(arg, NULL);
}

Test(block_queue, lets_another_thread_close_a_file)
{
	struct file *old = file;
	pthread_t thread;
	void *result;
	char c = 0;

	run_one(FILE_WRITE, 0, 1, (char[]){'a'});
	pthread_create(&thread, NULL, close_elsewhere, old);
	pthread_join(thread, &result);
	cr_assert_null(result);
	file = open_file(FILE_OPEN_RDWR);
	run_one(FILE_READ, 0, 1, &c);
	cr_assert_eq(c, 'a');
}

static void *use_own_queue(void *arg)
{
	uint8_t number = *(uint8_t *)arg, in;
	struct queue *own = new_queue(8);
	unsigned wrong = 0;

	for (unsigned i = 0; i < 500; i++) {
		struct iovec iov = {i % 2 ? &in : &number, 1};
		struct file_req req = {
		    .op = i % 2 ? FILE_READ : FILE_WRITE,
		    .off_bytes = number,
		    .len_bytes = 1,
		    .iov = &iov,
		    .iov_count = 1,
		    .done = keep_result,
		    .owner = &(enum err){ERR_OK},
		};

		file_submit(file, own, &req);
		while (queue_pending(own))
			queue_wait(own);
		wrong += req.result != ERR_OK || (i % 2 && in != number);
	}
	queue_destroy(own);
	return (void *)(uintptr_t)wrong;
}

Test(block_queue, serves_one_file_from_many_threads)
{
	pthread_t thread[4];
	uint8_t number[] = {1, 2, 3, 4};
	void *wrong;

	for (unsigned i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, use_own_queue, &number[i]);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(thread[i], &wrong);
		cr_assert_null(wrong);
	}
}

/* ---- waiting, posting ---- */

struct note {
	struct queue_work work;
	atomic_uint runs;
	pthread_t ran_on;
};

static void take_note(struct queue_work *work)
{
	struct note *note = container_of(work, struct note, work);

	note->ran_on = pthread_self();
	note->runs++;
}

static void *post_it(void *arg)
{
	queue_post(queue, arg);
	return NULL;
}

Test(block_queue, does_not_wait_for_nothing)
{
	cr_assert_eq(queue_wait(queue), 0);
	cr_assert_eq(queue_poll(queue), 0);
}

Test(block_queue, work_from_another_thread_runs_on_its_own)
{
	struct note note = {.work.run = take_note};
	pthread_t thread;

	queue_hold(queue); /* as for a request that only the other thread can finish */
	pthread_create(&thread, NULL, post_it, &note.work);
	while (!note.runs)
		queue_wait(queue);
	queue_release(queue);
	pthread_join(thread, NULL);
	cr_assert_eq(note.runs, 1);
	cr_assert(pthread_equal(note.ran_on, pthread_self()));
	cr_assert_eq(queue_wait(queue), 0);
}

Test(block_queue, work_posted_by_itself_runs_later)
{
	struct note note = {.work.run = take_note};

	queue_post(queue, &note.work);
	cr_assert_eq(note.runs, 0);
	cr_assert_eq(queue_pending(queue), 0);
	cr_assert_eq(queue_wait(queue), 1);
	cr_assert_eq(note.runs, 1);
}

Test(block_queue, nothing_posted_is_lost)
{
	enum { COUNT = 2000 };
	static struct note note[COUNT];
	pthread_t thread[4];
	unsigned ran = 0;

	for (unsigned i = 0; i < COUNT; i += 4) {
		for (unsigned t = 0; t < 4; t++) {
			note[i + t].work.run = take_note;
			pthread_create(&thread[t], NULL, post_it, &note[i + t].work);
		}
		queue_hold(queue);
		while (ran < i + 4)
			ran += queue_wait(queue);
		queue_release(queue);
		for (unsigned t = 0; t < 4; t++)
			pthread_join(thread[t], NULL);
	}
	for (unsigned i = 0; i < COUNT; i++)
		cr_assert_eq(note[i].runs, 1);
}

static bool fd_is_readable(void)
{
	struct pollfd pfd = {queue_fd(queue), POLLIN, 0};

	return poll(&pfd, 1, 5000) == 1;
}

Test(block_queue, its_descriptor_shows_completions_and_work)
{
	struct note note = {.work.run = take_note};
	struct file_req req;
	pthread_t thread;

	submit(&req, FILE_SYNC, 0, 0, NULL, 0);
	queue_flush(queue);
	while (!done_count) {
		cr_assert(fd_is_readable(), "a completion of the ring");
		queue_poll(queue);
	}
	submit(&req, FILE_READ, 0, 0, NULL, 0); /* empty: completes without the ring */
	queue_flush(queue);
	cr_assert(fd_is_readable(), "a completion from a backend");
	while (queue_poll(queue))
		;
	cr_assert_eq(done_count, 2);

	pthread_create(&thread, NULL, post_it, &note.work);
	while (!note.runs) {
		cr_assert(fd_is_readable(), "posted work");
		queue_poll(queue);
	}
	pthread_join(thread, NULL);
}

static void wait_inside(struct file_req *req)
{
	char c = 0;

	count_done(req);
	run_one(FILE_READ, 0, 1, &c);
	cr_assert_eq(c, 'q');
}

Test(block_queue, may_be_waited_on_from_a_completion)
{
	struct file_req req[3];
	struct iovec iov = {(char[]){'q'}, 1};

	for (unsigned i = 0; i < 3; i++) {
		req[i] = (struct file_req){
		    .op = FILE_WRITE,
		    .len_bytes = 1,
		    .iov = &iov,
		    .iov_count = 1,
		    .done = i ? count_done : wait_inside,
		};
		file_submit(file, queue, &req[i]);
	}
	while (done_count < 4)
		queue_wait(queue);
}

/* ---- watching ---- */

struct bell {
	struct queue_work work;
	int fd;
	unsigned rings;
	uint64_t heard;
	unsigned enough; /* unwatch from inside after so many; 0: never */
	bool lazy;       /* does not read */
};

static void ring(const struct bell *bell)
{
	cr_assert_eq(eventfd_write(bell->fd, 1), 0);
}

static void on_ring(struct queue_work *work)
{
	struct bell *bell = container_of(work, struct bell, work);
	uint64_t count = 0;

	if (!bell->lazy && read(bell->fd, &count, sizeof(count)) < 0)
		cr_assert_fail("rang without a reason");
	bell->heard += count;
	if (++bell->rings == bell->enough)
		queue_unwatch(queue, work);
}

static struct bell bell_new(void)
{
	return (struct bell){.work.run = on_ring, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
}

static void watch(struct bell *bell)
{
	cr_assert_eq(queue_watch(queue, bell->fd, &bell->work, NULL), ERR_OK);
}

static void *ring_often(void *arg)
{
	for (unsigned i = 0; i < 5000; i++)
		ring(arg);
	return NULL;
}

Test(block_queue, wakes_when_a_watched_descriptor_is_readable)
{
	struct bell bell = bell_new();
	pthread_t thread;

	watch(&bell);
	cr_assert_eq(queue_pending(queue), 0);
	cr_assert_eq(queue_poll(queue), 0);
	pthread_create(&thread, NULL, ring_often, &bell);
	while (bell.heard < 5000)
		cr_assert_gt(queue_wait(queue), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(bell.heard, 5000);
	cr_assert_eq(queue_poll(queue), 0);
	queue_unwatch(queue, &bell.work);
	cr_assert_eq(queue_wait(queue), 0, "nothing is watched any more");
	close(bell.fd);
}

Test(block_queue, a_watch_rings_until_all_is_read)
{
	struct bell bell = bell_new();

	bell.lazy = true;
	ring(&bell);
	watch(&bell);
	while (bell.rings < 3)
		cr_assert_gt(queue_wait(queue), 0);
	queue_unwatch(queue, &bell.work);
	close(bell.fd);
}

Test(block_queue, what_is_no_longer_watched_does_not_ring)
{
	struct bell bell[3] = {bell_new(), bell_new(), bell_new()};

	for (unsigned i = 0; i < 3; i++)
		watch(&bell[i]);
	queue_poll(queue);
	queue_unwatch(queue, &bell[1].work);
	queue_unwatch(queue, &bell[1].work);
	ring(&bell[1]);
	ring(&bell[2]);
	while (!bell[2].rings)
		queue_wait(queue);
	cr_assert_eq(bell[1].rings, 0);
	cr_assert_eq(bell[0].rings, 0);

	watch(&bell[1]); /* it may be watched again */
	while (!bell[1].rings)
		queue_wait(queue);
	cr_assert_eq(bell[1].heard, 1);
	for (unsigned i = 0; i < 3; i++) {
		queue_unwatch(queue, &bell[i].work);
		close(bell[i].fd);
	}
}

Test(block_queue, a_watch_may_end_itself)
{
	struct bell bell = bell_new();

	bell.enough = 2;
	watch(&bell);
	for (unsigned i = 0; i < 2; i++) {
		ring(&bell);
		cr_assert_gt(queue_wait(queue), 0);
	}
	ring(&bell);
	cr_assert_eq(queue_wait(queue), 0);
	cr_assert_eq(bell.rings, 2);
	close(bell.fd);
}

Test(block_queue, one_sleep_serves_watches_and_completions)
{
	struct bell bell = bell_new();
	struct iovec iov = {(char[]){'w'}, 1};
	struct file_req req;

	watch(&bell);
	submit(&req, FILE_WRITE, 0, 1, &iov, 1);
	ring(&bell);
	while (!bell.rings || !done_count)
		cr_assert_gt(queue_wait(queue), 0);
	cr_assert_eq(queue_pending(queue), 0);
	close(bell.fd); /* the queue may be destroyed with a watch that nobody ended */
}
