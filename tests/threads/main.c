/* SPDX-License-Identifier: MIT */

/*
 * The engine with several threads, each with a queue of its own, on one disk (block.h, "Threads").
 * A plain program, so that it runs under ThreadSanitizer, where Criterion does not start.
 *
 * Every test runs on files in memory and on real ones, on each type of disk. Prints "ok NAME",
 * "not ok NAME: why" or "skip NAME: why" for each, and the sum in the last line. Arguments name
 * tests (by a part of their name) to run alone.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/fault.h"
#include "block/file_mem.h"
#include "block/queue.h"
#include "tests/threads/crew.h"
#include "util/bytes.h"
#include "vhd/vhd.h"

#define BLOCK         VHD_MIN_BLOCK
#define BLOCKS        96u
#define SIZE          ((uint64_t)BLOCKS * BLOCK)
#define BLOCK_SECTORS (BLOCK / DISK_SECTOR)
#define PARENT_TAG    7u

struct setting {
	const char *name;
	bool real_files;
	enum vhd_type type;
};

static const struct setting settings[] = {
    {"memory_fixed", false, VHD_FIXED},       {"memory_dynamic", false, VHD_DYNAMIC},
    {"memory_diff", false, VHD_DIFFERENCING}, {"file_fixed", true, VHD_FIXED},
    {"file_dynamic", true, VHD_DYNAMIC},      {"file_diff", true, VHD_DIFFERENCING},
};

/* A fresh disk, with a parent full of PARENT_TAG when it is a differencing one. */
struct bench {
	const struct setting *setting;
	struct mem_ns *mem;
	struct fault_ns *fault;
	struct file_ns *ns;
	char dir[64];
	char parent[80], path[80];
	struct crew crew;
	struct disk *disk;
	uint64_t map_budget_bytes;
};

static bool failed(struct bench *b, const char *what, const struct err_why *why)
{
	crew_fail(&b->crew, "%s: %s", what, why->text);
	return false;
}

static bool open_disk(struct bench *b)
{
	struct vhd_open_opts opts = {
	    .ns = b->ns, .writable = true, .map_budget_bytes = b->map_budget_bytes};
	struct err_why why = {0};

	if (vhd_open(b->path, &opts, &b->disk, &why)) {
		b->disk = NULL;
		return failed(b, "open", &why);
	}
	return true;
}

static bool close_disk(struct bench *b)
{
	struct disk *disk = b->disk;
	struct err_why why = {0};

	b->disk = NULL;
	return !disk_close(disk, &why) || failed(b, "close", &why);
}

/* What has been acknowledged is there after the disk was opened again. */
static bool check_and_reopen(struct bench *b)
{
	return crew_check(&b->crew, b->disk) && close_disk(b) && open_disk(b) &&
	       crew_check(&b->crew, b->disk);
}

static void write_parent(struct worker *worker)
{
	uint8_t *buf = malloc(BLOCK);
	struct err_why why = {0};

	if (!buf)
		abort();
	/* every second block, so that there is something and nothing to shine through */
	for (uint64_t at = 0; at < worker->crew->sectors; at += (uint64_t)BLOCK_SECTORS * 2) {
		for (uint64_t i = 0; i < BLOCK_SECTORS; i++) {
			sector_fill(buf + i * DISK_SECTOR, PARENT_TAG, at + i);
			worker->crew->shadow[at + i].tag = PARENT_TAG;
		}
		if (disk_write(worker->crew->disk, worker->queue, buf, at * DISK_SECTOR, BLOCK,
			       &why))
			crew_fail(worker->crew, "parent: %s", why.text);
	}
	free(buf);
}

static bool make_parent(struct bench *b)
{
	struct vhd_create_opts opts = {
	    .ns = b->ns, .type = VHD_DYNAMIC, .size_bytes = SIZE, .block_size = BLOCK};
	struct vhd_open_opts open_opts = {.ns = b->ns, .writable = true};
	unsigned count = b->crew.count;
	struct err_why why = {0};
	struct disk *disk;

	if (vhd_create(b->parent, &opts, &why) || vhd_open(b->parent, &open_opts, &disk, &why))
		return failed(b, "parent", &why);
	b->crew.count = 1;
	crew_run(&b->crew, disk, write_parent);
	b->crew.count = count;
	if (disk_close(disk, &why))
		return failed(b, "parent", &why);
	return !atomic_load(&b->crew.failed);
}

static bool set_up(struct bench *b)
{
	struct vhd_create_opts opts = {.type = b->setting->type, .size_bytes = SIZE};
	struct file_ns *below = &file_ns_posix;
	struct err_why why = {0};

	if (b->setting->real_files) {
		const char *tmp = getenv("TMPDIR");

		snprintf(b->dir, sizeof(b->dir), "%.40s/strata-thr.XXXXXX", tmp ? tmp : "/tmp");
		if (!mkdtemp(b->dir)) {
			crew_fail(&b->crew, "no folder for the test");
			return false;
		}
	} else {
		b->mem = mem_ns_new();
		below = mem_ns_base(b->mem);
		strcpy(b->dir, "dir");
	}
	snprintf(b->parent, sizeof(b->parent), "%s/parent.vhd", b->dir);
	snprintf(b->path, sizeof(b->path), "%s/disk.vhd", b->dir);
	b->fault = fault_ns_new(below);
	b->ns = b->setting->real_files ? &file_ns_posix : fault_ns_base(b->fault);
	opts.ns = b->ns;
	if (opts.type != VHD_FIXED)
		opts.block_size = BLOCK;
	if (opts.type == VHD_DIFFERENCING) {
		if (!make_parent(b))
			return false;
		opts.parent = b->parent;
	}
	if (vhd_create(b->path, &opts, &why))
		return failed(b, "create", &why);
	return open_disk(b);
}

static void tear_down(struct bench *b)
{
	if (b->disk)
		disk_close(b->disk, NULL);
	if (b->setting->real_files) {
		unlink(b->path);
		unlink(b->parent);
		rmdir(b->dir);
	}
	fault_ns_free(b->fault);
	if (b->mem)
		mem_ns_free(b->mem);
}

/* ---- the tests ---- */

static void disjoint_requests(struct bench *b)
{
	b->crew.rounds = 1500;
	if (crew_run(&b->crew, b->disk, worker_mixed))
		check_and_reopen(b);
}

/* The owner map forgets all the time, under everybody's feet. */
static void tiny_map(struct bench *b)
{
	b->map_budget_bytes = 1;
	b->crew.rounds = 600;
	if (close_disk(b) && open_disk(b) && crew_run(&b->crew, b->disk, worker_mixed))
		check_and_reopen(b);
}

static void fill_own_blocks(struct worker *worker)
{
	for (uint64_t i = worker->idx; i < BLOCKS; i += worker->crew->count)
		worker_write(worker, i * BLOCK_SECTORS, BLOCK_SECTORS);
}

static void read_all(struct worker *worker)
{
	for (unsigned i = 0; i < 400; i++)
		worker_check(worker, rng_below(&worker->rng, BLOCKS * BLOCK_SECTORS - 64),
			     rng_between(&worker->rng, 1, 64));
	worker_flush(worker);
}

static void shared_reads(struct bench *b)
{
	if (crew_run(&b->crew, b->disk, fill_own_blocks))
		crew_run(&b->crew, b->disk, read_all);
}

/* Everybody writes its part of the same new block at the same time: one place for all. */
static void race_for_blocks(struct worker *worker)
{
	uint64_t share = BLOCK_SECTORS / worker->crew->count;

	for (uint64_t block = 0; block < BLOCKS; block++) {
		pthread_barrier_wait(&worker->crew->start);
		worker_write(worker, block * BLOCK_SECTORS + worker->idx * share, share);
	}
}

static void allocation_race(struct bench *b)
{
	struct vhd_usage usage;

	if (!crew_run(&b->crew, b->disk, race_for_blocks) || !check_and_reopen(b))
		return;
	vhd_get_usage(b->disk, &usage);
	if (b->setting->type == VHD_FIXED)
		return;
	for (uint64_t i = 0; i < BLOCKS; i++) {
		struct disk_extent extent;
		struct err_why why = {0};

		if (disk_map(b->disk, i * BLOCK, BLOCK, &extent, &why))
			crew_fail(&b->crew, "map: %s", why.text);
		else if (extent.state != EXTENT_DATA || extent.depth || extent.len_bytes != BLOCK)
			crew_fail(&b->crew, "block %u is not one piece of the leaf", (unsigned)i);
	}
}

static void write_and_flush(struct worker *worker)
{
	for (unsigned i = 0; i < 40; i++) {
		uint64_t unit = (uint64_t)i * worker->crew->count + worker->idx;

		worker_write(worker, unit * UNIT_SECTORS, UNIT_SECTORS);
		worker_flush(worker);
	}
}

/* W8: concurrent flushes share their syncs; at most two for each in any case. */
static void flushes_coalesce(struct bench *b)
{
	struct vhd_usage before, after;
	uint64_t asked = 40ull * b->crew.count;

	vhd_get_usage(b->disk, &before);
	if (!crew_run(&b->crew, b->disk, write_and_flush))
		return;
	vhd_get_usage(b->disk, &after);
	/* 160 units are 10 blocks: two growths at most */
	if (after.syncs - before.syncs > asked * 2 + 2)
		crew_fail(&b->crew, "%llu syncs for %llu flushes",
			  (unsigned long long)(after.syncs - before.syncs),
			  (unsigned long long)asked);
	check_and_reopen(b);
}

/* Worker 0 looks on through everything that any thread may call. */
static void look_or_write(struct worker *worker)
{
	struct crew *crew = worker->crew;
	struct disk_extent extent;
	struct disk_info info;
	struct vhd_usage usage;
	struct err_why why = {0};

	if (worker->idx) {
		worker_mixed(worker);
		return;
	}
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t at = rng_below(&worker->rng, crew->sectors) * DISK_SECTOR;

		if (disk_map(crew->disk, at, SIZE - at, &extent, &why))
			crew_fail(crew, "map: %s", why.text);
		else if (extent.start_bytes != at || !extent.len_bytes)
			crew_fail(crew, "map of %llx gives %llx", (unsigned long long)at,
				  (unsigned long long)extent.start_bytes);
		disk_get_info(crew->disk, &info);
		if (info.size_bytes != SIZE || info.poisoned)
			crew_fail(crew, "info is wrong");
		vhd_get_usage(crew->disk, &usage);
	}
}

static void map_and_info(struct bench *b)
{
	b->crew.rounds = 800;
	if (crew_run(&b->crew, b->disk, look_or_write))
		check_and_reopen(b);
}

/* W7, W9: blocks come and go, and their places are used again by others. */
static void drop_and_write(struct worker *worker)
{
	for (unsigned i = 0; i < 150; i++) {
		uint64_t block =
		    rng_below(&worker->rng, BLOCKS / worker->crew->count) * worker->crew->count +
		    worker->idx;
		uint64_t first = block * BLOCK_SECTORS;

		switch (rng_below(&worker->rng, 5)) {
		case 0:
			worker_zero(worker, DISK_ZERO, first, BLOCK_SECTORS);
			break;
		case 1:
			worker_zero(worker, DISK_TRIM, first, BLOCK_SECTORS);
			break;
		case 2:
			worker_write(worker, first, BLOCK_SECTORS);
			break;
		case 3:
			worker_write(worker, first + rng_below(&worker->rng, 120), 8);
			break;
		default:
			worker_flush(worker);
		}
		worker_check(worker, first, BLOCK_SECTORS);
	}
}

static void blocks_come_and_go(struct bench *b)
{
	if (crew_run(&b->crew, b->disk, drop_and_write))
		check_and_reopen(b);
}

/* The same sectors from everybody: each ends up as somebody's last write. */
static void overlap(struct worker *worker)
{
	uint8_t buf[UNIT_BYTES];
	struct err_why why = {0};

	for (unsigned i = 0; i < 200; i++) {
		for (unsigned s = 0; s < UNIT_SECTORS; s++)
			sector_fill(buf + s * DISK_SECTOR, worker->idx + 1, s);
		if (disk_write(worker->crew->disk, worker->queue, buf, 0, sizeof(buf), &why))
			crew_fail(worker->crew, "write: %s", why.text);
		if (i % 16 == 0)
			worker_flush(worker);
	}
}

static void look_at_overlap(struct worker *worker)
{
	uint8_t buf[UNIT_BYTES];
	struct err_why why = {0};

	if (disk_read(worker->crew->disk, worker->queue, buf, 0, sizeof(buf), &why))
		crew_fail(worker->crew, "read: %s", why.text);
	for (unsigned s = 0; s < UNIT_SECTORS; s++) {
		bool known = false;

		for (unsigned n = 1; n <= CREW_MAX; n++)
			known |= sector_is(buf + s * DISK_SECTOR, n, s);
		if (!known)
			crew_fail(worker->crew, "sector %u is nobody's write", s);
	}
}

static void overlapping_writes(struct bench *b)
{
	if (crew_run(&b->crew, b->disk, overlap) && close_disk(b) && open_disk(b))
		crew_run(&b->crew, b->disk, look_at_overlap);
}

static void closed_after_last_done(struct bench *b)
{
	b->crew.rounds = 60;
	for (unsigned i = 0; i < 12 && !atomic_load(&b->crew.failed); i++) {
		crew_run(&b->crew, b->disk, worker_mixed);
		if (!close_disk(b) || !open_disk(b))
			return;
	}
	crew_check(&b->crew, b->disk);
}

/* A failed sync is final for everybody; nobody hangs, and reading goes on. */
static void poison_reaches_all(struct bench *b)
{
	struct fault_rule rule = {
	    .op = FILE_SYNC, .event = FAULT_ANY, .nth = 20, .sticky = true, .sys_errno = EIO};
	struct disk_info info;

	if (b->setting->real_files)
		return;
	fault_ns_set(b->fault, &rule);
	b->crew.quiet_failures = true;
	crew_run(&b->crew, b->disk, write_and_flush);
	disk_get_info(b->disk, &info);
	if (!info.poisoned || !atomic_load(&b->crew.refused))
		crew_fail(&b->crew, "a failed sync did not poison the disk");
	b->crew.quiet_failures = false;
	crew_check(&b->crew, b->disk);
	if (!disk_close(b->disk, NULL))
		crew_fail(&b->crew, "closing a poisoned disk says that all is well");
	b->disk = NULL;
}

struct test {
	const char *name;
	unsigned threads;
	void (*run)(struct bench *bench);
};

static const struct test tests[] = {
    {"disjoint_requests", 4, disjoint_requests},
    {"tiny_map", 3, tiny_map},
    {"shared_reads", 4, shared_reads},
    {"allocation_race", 2, allocation_race},
    {"flushes_coalesce", 4, flushes_coalesce},
    {"map_and_info", 3, map_and_info},
    {"blocks_come_and_go", 3, blocks_come_and_go},
    {"overlapping_writes", 3, overlapping_writes},
    {"closed_after_last_done", 3, closed_after_last_done},
    {"poison_reaches_all", 3, poison_reaches_all},
};

static bool run_test(const struct test *test, const struct setting *setting)
{
	struct bench bench = {.setting = setting};

	crew_init(&bench.crew, SIZE, test->threads);
	if (set_up(&bench))
		test->run(&bench);
	tear_down(&bench);
	bool ok = !atomic_load(&bench.crew.failed);
	if (ok)
		printf("ok %s/%s\n", test->name, setting->name);
	else
		printf("not ok %s/%s: %s\n", test->name, setting->name, bench.crew.text);
	fflush(stdout);
	crew_free(&bench.crew);
	return ok;
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strstr(name, argv[i]))
			return true;
	}
	return argc < 2;
}

int main(int argc, char **argv)
{
	unsigned passed = 0, wrong = 0, skipped = 0;
	struct queue *queue;
	struct err_why why = {0};
	bool can = !queue_create(8, &queue, &why);

	if (can)
		queue_destroy(queue);
	for (size_t i = 0; i < ARRAY_LEN(tests) * ARRAY_LEN(settings); i++) {
		const struct test *test = &tests[i / ARRAY_LEN(settings)];
		const struct setting *setting = &settings[i % ARRAY_LEN(settings)];
		char name[100];

		snprintf(name, sizeof(name), "%s/%s", test->name, setting->name);
		if (!wanted(name, argc, argv) ||
		    (test->run == poison_reaches_all && setting->real_files))
			continue;
		if (!can) {
			printf("skip %s: %s\n", name, why.text);
			skipped++;
		} else if (run_test(test, setting)) {
			passed++;
		} else {
			wrong++;
		}
	}
	printf("%u passed, %u failed, %u skipped\n", passed, wrong, skipped);
	return wrong != 0;
}
