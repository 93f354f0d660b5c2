/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "block/fault.h"
#include "block/file.h"
#include "block/file_mem.h"
#include "util/bytes.h"

static struct mem_ns *mem;
static struct fault_ns *faults;
static struct queue *queue;

static void setup(void)
{
	mem = mem_ns_new();
	faults = fault_ns_new(mem_ns_base(mem));
	cr_assert_eq(queue_create(8, &queue, NULL), ERR_OK);
}

static void teardown(void)
{
	queue_destroy(queue);
	fault_ns_free(faults);
	mem_ns_free(mem);
}

TestSuite(block_raw, .init = setup, .fini = teardown, .timeout = 60);

static struct disk *open_disk(unsigned flags)
{
	struct err_why why;
	struct file *file;
	struct disk *disk;

	cr_assert_eq(file_ns_open(fault_ns_base(faults), "disk", flags, &file, &why), ERR_OK, "%s",
		     why.text);
	cr_assert_eq(raw_disk_open(file, &disk, &why), ERR_OK, "%s", why.text);
	return disk;
}

static struct disk *new_disk(uint64_t size)
{
	uint8_t *content = malloc(size);

	for (uint64_t i = 0; i < size; i++)
		content[i] = (uint8_t)(i % 251 + 1);
	mem_ns_put(mem, "disk", content, size);
	free(content);
	return open_disk(FILE_OPEN_RDWR);
}

/* How many syncs the file has seen. */
static unsigned count_syncs(void)
{
	size_t count;
	const struct mem_event *log = mem_ns_log(mem, &count);
	unsigned syncs = 0;

	for (size_t i = 0; i < count; i++)
		syncs += log[i].kind == MEM_SYNC;
	return syncs;
}

static void mark(struct disk_req *req)
{
	*(bool *)req->owner = true;
}

static enum err run(struct disk *disk, enum disk_op op, unsigned flags, void *buf, uint64_t off,
		    uint64_t len)
{
	struct iovec iov = {buf, len};
	bool done = false;
	struct disk_req req = {
	    .op = op,
	    .flags = flags,
	    .off_bytes = off,
	    .len_bytes = len,
	    .iov = buf ? &iov : NULL,
	    .iov_count = buf ? 1 : 0,
	    .done = mark,
	    .owner = &done,
	};

	disk_submit(disk, queue, &req);
	while (!done)
		queue_wait(queue);
	return req.result;
}

Test(block_raw, reads_what_it_wrote)
{
	struct disk *disk = new_disk(8192);
	uint8_t out[1024], in[2048];

	memset(out, 200, sizeof(out));
	cr_assert_eq(disk_write(disk, queue, out, 1024, sizeof(out), NULL), ERR_OK);
	cr_assert_eq(disk_read(disk, queue, in, 512, sizeof(in), NULL), ERR_OK);
	cr_assert_eq(in[511], (uint8_t)(1023 % 251 + 1));
	cr_assert_arr_eq(in + 512, out, sizeof(out));
	cr_assert_eq(in[1536], (uint8_t)(2048 % 251 + 1));
	cr_assert_eq(disk_close(disk, NULL), ERR_OK);
}

Test(block_raw, rounds_a_ragged_size_up)
{
	struct disk *disk = new_disk(1000);
	struct disk_info info;
	uint8_t in[512];

	disk_get_info(disk, &info);
	cr_assert_eq(info.size_bytes, 1024);
	cr_assert_eq(disk_read(disk, queue, in, 512, 512, NULL), ERR_OK);
	cr_assert_eq(in[487], (uint8_t)(999 % 251 + 1));
	cr_assert(bytes_are_zero(in + 488, 24));
	cr_assert_eq(mem_ns_size(mem, "disk"), 1000, "reading does not grow the file");
	cr_assert_eq(disk_write(disk, queue, in, 512, 512, NULL), ERR_OK);
	cr_assert_eq(mem_ns_size(mem, "disk"), 1024);
	disk_close(disk, NULL);
}

Test(block_raw, zeroes_and_trims)
{
	struct disk *disk = new_disk(65536);
	uint8_t in[65536];

	cr_assert_eq(run(disk, DISK_ZERO, 0, NULL, 4096, 4096), ERR_OK);
	cr_assert_eq(run(disk, DISK_ZERO, DISK_KEEP_SPACE, NULL, 512, 512), ERR_OK);
	cr_assert_eq(run(disk, DISK_TRIM, 0, NULL, 32768, 32768), ERR_OK);
	cr_assert_eq(disk_read(disk, queue, in, 0, sizeof(in), NULL), ERR_OK);
	cr_assert(bytes_are_zero(in + 4096, 4096));
	cr_assert(bytes_are_zero(in + 512, 512));
	cr_assert_neq(in[1024], 0);
	cr_assert_neq(in[8192], 0);
	cr_assert_eq(mem_ns_size(mem, "disk"), 65536);
	disk_close(disk, NULL);
}

/* P1: flush and FUA make durable, a plain write does not. */
Test(block_raw, syncs_for_flush_and_fua_only)
{
	struct disk *disk = new_disk(8192);
	uint8_t buf[512] = {0};

	mem_ns_log_start(mem);
	cr_assert_eq(run(disk, DISK_WRITE, 0, buf, 0, 512), ERR_OK);
	cr_assert_eq(count_syncs(), 0);
	cr_assert_eq(run(disk, DISK_WRITE, DISK_FUA, buf, 0, 512), ERR_OK);
	cr_assert_eq(count_syncs(), 1);
	cr_assert_eq(run(disk, DISK_ZERO, DISK_FUA, NULL, 0, 512), ERR_OK);
	cr_assert_eq(count_syncs(), 2);
	cr_assert_eq(run(disk, DISK_FLUSH, 0, NULL, 0, 0), ERR_OK);
	cr_assert_eq(count_syncs(), 3);
	cr_assert_eq(disk_close(disk, NULL), ERR_OK);
	cr_assert_eq(count_syncs(), 4, "closing flushes");
}

Test(block_raw, a_reader_never_syncs)
{
	struct disk *disk = new_disk(8192);

	disk_close(disk, NULL);
	disk = open_disk(0);
	mem_ns_log_start(mem);
	cr_assert_eq(disk_flush(disk, queue, NULL), ERR_OK);
	cr_assert_eq(disk_close(disk, NULL), ERR_OK);
	cr_assert_eq(count_syncs(), 0);
}

/* A failed sync is final: it is never retried into success. */
Test(block_raw, a_failed_sync_poisons)
{
	struct fault_rule rule = {.op = FILE_SYNC, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO};
	struct disk *disk = new_disk(8192);
	struct disk_info info;
	struct err_why why;
	uint8_t buf[512] = {0};

	cr_assert_eq(disk_write(disk, queue, buf, 0, 512, &why), ERR_OK);
	fault_ns_set(faults, &rule);
	cr_assert_eq(disk_flush(disk, queue, &why), ERR_IO);
	cr_assert(strstr(why.text, "sync"), "%s", why.text);
	fault_ns_set(faults, NULL);
	disk_get_info(disk, &info);
	cr_assert(info.poisoned);
	cr_assert_eq(disk_flush(disk, queue, &why), ERR_POISONED);
	cr_assert_eq(disk_write(disk, queue, buf, 0, 512, &why), ERR_POISONED);
	cr_assert_eq(disk_trim(disk, queue, 0, 512, &why), ERR_POISONED);
	cr_assert_eq(disk_read(disk, queue, buf, 512, 512, &why), ERR_OK, "reading goes on");
	cr_assert_eq(disk_close(disk, &why), ERR_POISONED);
}

Test(block_raw, a_full_disk_is_said_and_does_not_poison)
{
	struct fault_rule rule = {
	    .op = FILE_WRITE, .event = EV_DATA, .nth = 1, .sys_errno = ENOSPC};
	struct disk *disk = new_disk(8192);
	struct err_why why;
	uint8_t buf[512] = {0};

	fault_ns_set(faults, &rule);
	cr_assert_eq(disk_write(disk, queue, buf, 1024, 512, &why), ERR_NOSPC);
	cr_assert(strstr(why.text, "writing"), "%s", why.text);
	cr_assert_eq(disk_write(disk, queue, buf, 1024, 512, &why), ERR_OK);
	cr_assert_eq(disk_close(disk, &why), ERR_OK);
}

Test(block_raw, maps_data_where_nothing_is_known)
{
	struct disk *disk = new_disk(8192);
	struct disk_extent extent;

	cr_assert_eq(disk_map(disk, 512, 1024, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.state, EXTENT_DATA);
	cr_assert_eq(extent.start_bytes, 512);
	cr_assert_eq(extent.len_bytes, 1024);
	cr_assert_eq(extent.file_off_bytes, 512);
	cr_assert_str_eq(extent.path, "disk");
	disk_close(disk, NULL);
}

Test(block_raw, maps_the_holes_of_a_real_file)
{
	char path[] = "/tmp/strata-raw-XXXXXX", x[512] = {1};
	int fd = mkstemp(path);
	struct disk_extent extent;
	struct file *file;
	struct disk *disk;

	cr_assert_eq(ftruncate(fd, (4 << 20) + 100), 0);
	cr_assert_eq(pwrite(fd, x, sizeof(x), 1 << 20), (ssize_t)sizeof(x));
	close(fd);
	cr_assert_eq(file_ns_open(&file_ns_posix, path, 0, &file, NULL), ERR_OK);
	cr_assert_eq(raw_disk_open(file, &disk, NULL), ERR_OK);
	cr_assert_eq(disk_map(disk, 0, (4 << 20) + 512, &extent, NULL), ERR_OK);
	if (extent.state == EXTENT_DATA && extent.len_bytes > 2 << 20)
		cr_skip_test("the file system of /tmp has no holes");
	cr_assert_eq(extent.state, EXTENT_ZERO);
	cr_assert_eq(extent.len_bytes, 1 << 20);
	cr_assert_null(extent.path);
	cr_assert_eq(disk_map(disk, 1 << 20, 1 << 20, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.state, EXTENT_DATA);
	cr_assert_eq(extent.len_bytes % DISK_SECTOR, 0);
	cr_assert_eq(disk_map(disk, 2 << 20, (2 << 20) + 512, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.state, EXTENT_ZERO);
	cr_assert_eq(extent.len_bytes, (2 << 20) + 512, "the rounded-up end is a hole too");
	disk_close(disk, NULL);
	unlink(path);
}
