/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/fault.h"
#include "block/file_mem.h"
#include "block/stats.h"

static struct mem_ns *mem;
static struct fault_ns *faults;
static struct queue *queue;
static struct disk *disk;

static void setup(void)
{
	static const uint8_t zeros[8192];
	struct file *file;
	struct disk *raw;

	mem = mem_ns_new();
	faults = fault_ns_new(mem_ns_base(mem));
	mem_ns_put(mem, "disk", zeros, sizeof(zeros));
	cr_assert_eq(queue_create(8, &queue, NULL), ERR_OK);
	cr_assert_eq(file_ns_open(fault_ns_base(faults), "disk", FILE_OPEN_RDWR, &file, NULL),
		     ERR_OK);
	cr_assert_eq(raw_disk_open(file, &raw, NULL), ERR_OK);
	cr_assert_eq(stats_disk_open(raw, &disk, NULL), ERR_OK);
}

static void teardown(void)
{
	disk_close(disk, NULL);
	queue_destroy(queue);
	fault_ns_free(faults);
	mem_ns_free(mem);
}

TestSuite(block_stats, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t bucket_sum(const struct stats_op *op)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		sum += op->bucket[i];
	return sum;
}

Test(block_stats, counts_each_kind_of_request)
{
	static struct stats stats;
	uint8_t buf[1024] = {7}, in[1024];

	cr_assert_eq(disk_write(disk, queue, buf, 0, 1024, NULL), ERR_OK);
	cr_assert_eq(disk_read(disk, queue, in, 0, 1024, NULL), ERR_OK);
	cr_assert_arr_eq(in, buf, sizeof(in));
	cr_assert_eq(disk_read(disk, queue, in, 512, 512, NULL), ERR_OK);
	cr_assert_eq(disk_flush(disk, queue, NULL), ERR_OK);
	stats_disk_get(disk, &stats);
	cr_assert_eq(stats.op[DISK_READ].count, 2);
	cr_assert_eq(stats.op[DISK_READ].bytes, 1536);
	cr_assert_eq(bucket_sum(&stats.op[DISK_READ]), 2);
	cr_assert_eq(stats.op[DISK_WRITE].count, 1);
	cr_assert_eq(stats.op[DISK_WRITE].bytes, 1024);
	cr_assert_eq(stats.op[DISK_FLUSH].count, 1);
	cr_assert_eq(stats.op[DISK_TRIM].count, 0);
	cr_assert_eq(stats.op[DISK_READ].errors, 0);
}

Test(block_stats, counts_errors_and_passes_them_on)
{
	struct fault_rule rule = {.op = FILE_READ, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO};
	static struct stats stats;
	struct err_why why;
	uint8_t in[512];

	fault_ns_set(faults, &rule);
	cr_assert_eq(disk_read(disk, queue, in, 0, 512, &why), ERR_IO);
	cr_assert_eq(why.code, ERR_IO);
	cr_assert(strstr(why.text, "reading"), "%s", why.text);
	stats_disk_get(disk, &stats);
	cr_assert_eq(stats.op[DISK_READ].count, 1);
	cr_assert_eq(stats.op[DISK_READ].errors, 1);
	cr_assert_eq(stats.op[DISK_READ].bytes, 0);
}

Test(block_stats, is_otherwise_the_disk_below)
{
	struct disk_extent extent;
	struct disk_info info;

	disk_get_info(disk, &info);
	cr_assert_eq(info.size_bytes, 8192);
	cr_assert(info.writable);
	cr_assert_eq(disk_map(disk, 512, 512, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.file_off_bytes, 512);
}

Test(block_stats, percentiles_bound_what_was_recorded)
{
	static struct stats_op op;

	cr_assert_eq(stats_percentile_ns(&op, 0.99), 0);
	for (uint64_t ns = 1; ns <= 1000; ns++)
		stats_record(&op, ns * 1000);
	for (unsigned percent = 10; percent <= 100; percent += 10) {
		uint64_t exact = percent * 10000u;
		uint64_t got = stats_percentile_ns(&op, percent / 100.0);

		cr_assert_geq(got, exact, "%u%%: %lu", percent, (unsigned long)got);
		cr_assert_leq(got, exact + exact / 8 + 1, "%u%%: %lu", percent, (unsigned long)got);
	}
}

Test(block_stats, every_latency_has_a_bucket_that_bounds_it)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int add = -1; add <= 1; add++) {
			static struct stats_op op;
			uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)add, got;

			memset(&op, 0, sizeof(op));
			stats_record(&op, ns);
			cr_assert_eq(bucket_sum(&op), 1);
			got = stats_percentile_ns(&op, 1);
			cr_assert(got > ns, "%lx in %lx", (unsigned long)ns, (unsigned long)got);
			cr_assert(got - ns <= ns / 8 + 1, "%lx", (unsigned long)ns);
		}
	}
}
