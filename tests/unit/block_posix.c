/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file.h"
#include "block/queue.h"
#include "util/bytes.h"

static char dir[64];
static char path[96];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/strata-posix-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/image", dir);
}

static void teardown(void)
{
	unlink(path);
	rmdir(dir);
}

TestSuite(block_posix, .init = setup, .fini = teardown, .timeout = 60);

static struct file *open_file(unsigned flags)
{
	struct err_why why;
	struct file *f;

	cr_assert_eq(file_ns_open(&file_ns_posix, path, flags, &f, &why), ERR_OK, "%s", why.text);
	return f;
}

static enum err open_error(const char *name, unsigned flags, struct err_why *why)
{
	struct file *f;

	return file_ns_open(&file_ns_posix, name, flags, &f, why);
}

Test(block_posix, opens_only_regular_files_and_block_devices)
{
	struct err_why why;

	cr_assert_eq(open_error(dir, 0, &why), ERR_UNSUPPORTED);
	cr_assert(strstr(why.text, "a folder"), "%s", why.text);
	cr_assert_eq(open_error("/dev/null", FILE_OPEN_RDWR, &why), ERR_UNSUPPORTED);
	cr_assert(strstr(why.text, "a character device"), "%s", why.text);
	/* A pipe without a writer must not hang us. */
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(open_error(path, 0, &why), ERR_UNSUPPORTED);
	cr_assert(strstr(why.text, "a pipe"), "%s", why.text);
}

Test(block_posix, says_what_is_missing)
{
	struct err_why why;

	cr_assert_eq(open_error(path, 0, &why), ERR_NOENT);
	cr_assert(strstr(why.text, path), "%s", why.text);
}

Test(block_posix, escapes_names_in_messages)
{
	struct err_why why;

	cr_assert_eq(open_error("/nonexistent/\033[31m", 0, &why), ERR_NOENT);
	cr_assert_null(strchr(why.text, '\033'));
}

Test(block_posix, creates_only_what_is_not_there)
{
	struct err_why why;

	file_close(open_file(FILE_OPEN_CREATE), NULL);
	cr_assert_eq(open_error(path, FILE_OPEN_CREATE, &why), ERR_EXIST);
}

Test(block_posix, a_reader_cannot_write)
{
	char text[] = "old";
	struct file *f = open_file(FILE_OPEN_CREATE);
	struct file_info info;

	cr_assert_eq(file_write(f, EV_DATA, text, 0, 3, NULL), ERR_OK);
	cr_assert_eq(file_close(f, NULL), ERR_OK);
	f = open_file(0);
	cr_assert_eq(file_get_info(f, &info, NULL), ERR_OK);
	cr_assert_not(info.writable);
	cr_assert_not(info.can_punch);
	cr_assert_eq(file_write(f, EV_DATA, "new", 0, 3, NULL), ERR_READONLY);
	cr_assert_eq(file_truncate(f, 0, NULL), ERR_READONLY);
	cr_assert_eq(file_read(f, EV_DATA, text, 0, 3, NULL), ERR_OK);
	cr_assert_str_eq(text, "old");
	file_close(f, NULL);
}

Test(block_posix, tells_facts_about_the_file)
{
	struct file *f = open_file(FILE_OPEN_CREATE);
	struct file_info info;
	struct stat st;

	cr_assert_eq(file_truncate(f, 12345, NULL), ERR_OK);
	cr_assert_eq(file_get_info(f, &info, NULL), ERR_OK);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(info.size_bytes, 12345);
	cr_assert_eq(info.dev, st.st_dev);
	cr_assert_eq(info.ino, st.st_ino);
	cr_assert(info.writable);
	cr_assert_not(info.block_device);
	cr_assert_not(info.direct);
	cr_assert_eq(info.align_off_bytes, 1);
	file_close(f, NULL);
}

Test(block_posix, zeroes_and_punches_without_a_queue)
{
	enum { LEN = 3 << 20 };
	struct file *f = open_file(FILE_OPEN_CREATE);
	uint8_t *ones = malloc(LEN), *in = malloc(LEN);
	struct file_info info;

	memset(ones, 1, LEN);
	cr_assert_eq(file_write(f, EV_DATA, ones, 0, LEN, NULL), ERR_OK);
	cr_assert_eq(file_zero(f, EV_DATA, 100, 2 << 20, NULL), ERR_OK);
	cr_assert_eq(file_punch(f, LEN - 5000, 1 << 20, NULL), ERR_OK);
	cr_assert_eq(file_read(f, EV_DATA, in, 0, LEN, NULL), ERR_OK);
	cr_assert_arr_eq(in, ones, 100);
	cr_assert(bytes_are_zero(in + 100, 2 << 20));
	cr_assert_arr_eq(in + 100 + (2 << 20), ones, LEN - 5000 - 100 - (2 << 20));
	cr_assert(bytes_are_zero(in + LEN - 5000, 5000));
	cr_assert_eq(file_get_info(f, &info, NULL), ERR_OK);
	cr_assert_eq(info.size_bytes, LEN, "punching does not move the end");
	file_close(f, NULL);
	free(ones);
	free(in);
}

Test(block_posix, knows_where_the_holes_are)
{
	struct file *f = open_file(FILE_OPEN_CREATE);
	uint64_t end = 0;
	bool is_data;

	cr_assert_eq(file_write(f, EV_DATA, "x", 1 << 20, 1, NULL), ERR_OK);
	cr_assert_eq(file_truncate(f, 4 << 20, NULL), ERR_OK);
	cr_assert_eq(f->ops->map_data(f, 4096, &is_data, &end, NULL), ERR_OK);
	if (is_data)
		cr_skip_test("the file system of /tmp has no holes");
	cr_assert_eq(end, 1 << 20);
	cr_assert_eq(f->ops->map_data(f, 1 << 20, &is_data, &end, NULL), ERR_OK);
	cr_assert(is_data);
	cr_assert_gt(end, 1 << 20);
	cr_assert_lt(end, 4 << 20);
	cr_assert_eq(f->ops->map_data(f, end, &is_data, &end, NULL), ERR_OK);
	cr_assert_not(is_data);
	cr_assert_eq(f->ops->map_data(f, 9 << 20, &is_data, &end, NULL), ERR_OK);
	cr_assert_not(is_data);
	cr_assert_eq(end, UINT64_MAX);
	file_close(f, NULL);
}

/* ---- O_DIRECT ---- */

enum { DISK_LEN = 256 << 10 };

struct direct_case {
	uint64_t off, len;
	unsigned memory_off;
};

static void keep_done(struct file_req *req)
{
	*(bool *)req->owner = true;
}

static void transfer(struct file *f, struct queue *q, enum file_op op, uint8_t *buf,
		     const struct direct_case *c)
{
	size_t half = c->len / 2 & ~(size_t)511;
	struct iovec iov[] = {{buf, half}, {buf + half, c->len - half}};
	bool done = false;
	struct file_req req = {
	    .op = op,
	    .event = EV_DATA,
	    .off_bytes = c->off,
	    .len_bytes = c->len,
	    .iov = iov,
	    .iov_count = 2,
	    .done = keep_done,
	    .owner = &done,
	};

	file_submit(f, q, &req);
	while (!done)
		queue_wait(q);
	cr_assert_eq(req.result, ERR_OK);
}

Test(block_posix, direct_takes_any_alignment)
{
	static const struct direct_case cases[] = {
	    {0, 4096, 0},       {4096, 65536, 0}, {8192, 4096, 512}, {512, 512, 0},
	    {512, 1024, 7},     {100, 5000, 0},   {65536, 8192, 1},  {131072, 3, 0},
	    {200000, 40000, 3}, {0, DISK_LEN, 0}, {0, DISK_LEN, 1},  {DISK_LEN - 512, 512, 5},
	};
	static uint8_t model[DISK_LEN];
	uint8_t *memory = aligned_alloc(4096, DISK_LEN + 4096);
	struct file *f = open_file(FILE_OPEN_CREATE | FILE_OPEN_DIRECT);
	struct queue *q;

	cr_assert_eq(queue_create(8, &q, NULL), ERR_OK);
	cr_assert_eq(file_truncate(f, DISK_LEN, NULL), ERR_OK);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		const struct direct_case *c = &cases[i];
		uint8_t *buf = memory + c->memory_off;

		for (uint64_t b = 0; b < c->len; b++)
			model[c->off + b] = buf[b] = (uint8_t)(b * 31 + i);
		transfer(f, q, FILE_WRITE, buf, c);
		memset(buf, 0, c->len);
		transfer(f, q, FILE_READ, buf, c);
		cr_assert_arr_eq(buf, model + c->off, c->len, "case %u", i);
	}
	file_close(f, NULL);
	f = open_file(0);
	cr_assert_eq(file_read(f, EV_DATA, memory, 0, DISK_LEN, NULL), ERR_OK);
	cr_assert_arr_eq(memory, model, DISK_LEN);
	file_close(f, NULL);
	queue_destroy(q);
	free(memory);
}

Test(block_posix, direct_reads_a_ragged_end)
{
	const struct direct_case c = {0, 16384, 0};
	uint8_t *memory = aligned_alloc(4096, 16384);
	struct file *f = open_file(FILE_OPEN_CREATE | FILE_OPEN_DIRECT);
	struct queue *q;

	memset(memory, 5, 16384);
	cr_assert_eq(queue_create(8, &q, NULL), ERR_OK);
	cr_assert_eq(file_write(f, EV_DATA, memory, 0, 5001, NULL), ERR_OK);
	transfer(f, q, FILE_READ, memory, &c);
	cr_assert_eq(memory[5000], 5);
	cr_assert(bytes_are_zero(memory + 5001, 16384 - 5001));
	file_close(f, NULL);
	queue_destroy(q);
	free(memory);
}

/* ---- names ---- */

static bool find_image(void *arg, const char *name)
{
	cr_assert_neq(name[0], '.');
	*(bool *)arg |= !strcmp(name, "image");
	return true;
}

Test(block_posix, names_are_changed_listed_and_synced)
{
	struct file_ns *ns = &file_ns_posix;
	char other[128];
	bool found = false;

	snprintf(other, sizeof(other), "%s/other", dir);
	file_close(open_file(FILE_OPEN_CREATE), NULL);
	cr_assert_eq(file_ns_sync_dir(ns, path, NULL), ERR_OK);
	cr_assert_eq(file_ns_list(ns, dir, find_image, &found, NULL), ERR_OK);
	cr_assert(found);
	cr_assert_eq(file_ns_rename(ns, path, other, NULL), ERR_OK);
	found = false;
	cr_assert_eq(file_ns_list(ns, dir, find_image, &found, NULL), ERR_OK);
	cr_assert_not(found);
	cr_assert_eq(file_ns_unlink(ns, other, NULL), ERR_OK);
	cr_assert_eq(file_ns_unlink(ns, other, NULL), ERR_NOENT);
	cr_assert_eq(file_ns_list(ns, "/nonexistent", find_image, &found, NULL), ERR_NOENT);
}

Test(block_posix, syncs_the_folder_of_a_bare_name)
{
	cr_assert_eq(chdir(dir), 0);
	cr_assert_eq(file_ns_sync_dir(&file_ns_posix, "image", NULL), ERR_OK);
	cr_assert_eq(file_ns_sync_dir(&file_ns_posix, "/image", NULL), ERR_OK);
}
