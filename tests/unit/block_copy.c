/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/copy.h"
#include "util/bytes.h"

#define MIB (1u << 20)

/*
 * A disk in memory with a map of its own: one state for each unit, so that extents are as ragged
 * as a test wants, and counts of what was asked of it.
 */
struct fake {
	struct disk base;
	uint8_t *data;
	uint8_t *state; /* enum disk_extent_state of each unit */
	uint64_t unit_bytes;
	uint64_t size_bytes;
	const char *path;
	uint64_t read_bytes, written_bytes, zeroed_bytes;
	unsigned writes, flushes;
	uint64_t fail_off; /* requests that touch this byte fail; UINT64_MAX: none */
	enum disk_op fail_op;
};

static struct queue *queue;
static struct err_why why;

static void setup(void)
{
	cr_assert_eq(queue_create(8, &queue, NULL), ERR_OK);
}

static void teardown(void)
{
	queue_destroy(queue);
}

TestSuite(block_copy, .init = setup, .fini = teardown, .timeout = 120);

static void scatter(const struct disk_req *req, const uint8_t *from)
{
	for (unsigned i = 0; i < req->iov_count; i++) {
		memcpy(req->iov[i].iov_base, from, req->iov[i].iov_len);
		from += req->iov[i].iov_len;
	}
}

static void gather(const struct disk_req *req, uint8_t *to)
{
	for (unsigned i = 0; i < req->iov_count; i++) {
		memcpy(to, req->iov[i].iov_base, req->iov[i].iov_len);
		to += req->iov[i].iov_len;
	}
}

static enum err fake_run(struct fake *fake, struct disk_req *req)
{
	uint8_t *at = fake->data + req->off_bytes;

	if (req->op == fake->fail_op && fake->fail_off >= req->off_bytes &&
	    fake->fail_off - req->off_bytes < req->len_bytes)
		return err_set(req->why, ERR_IO, "broken at %llu",
			       (unsigned long long)fake->fail_off);
	switch (req->op) {
	case DISK_READ:
		fake->read_bytes += req->len_bytes;
		scatter(req, at);
		break;
	case DISK_WRITE:
		fake->writes++;
		fake->written_bytes += req->len_bytes;
		gather(req, at);
		break;
	case DISK_FLUSH:
		fake->flushes++;
		break;
	default:
		fake->zeroed_bytes += req->len_bytes;
		memset(at, 0, req->len_bytes);
		break;
	}
	return ERR_OK;
}

static void fake_submit(struct disk *disk, struct queue *q, struct disk_req *req)
{
	(void)q;
	req->result = fake_run(container_of(disk, struct fake, base), req);
	disk_done_later(req);
}

static enum err fake_map(struct disk *disk, uint64_t off, uint64_t len, struct disk_extent *out,
			 struct err_why *unused)
{
	struct fake *fake = container_of(disk, struct fake, base);
	uint64_t unit = off / fake->unit_bytes;
	uint64_t end = (unit + 1) * fake->unit_bytes;

	(void)unused;
	*out = (struct disk_extent){
	    .start_bytes = off,
	    .len_bytes = min_u64(end - off, len),
	    .state = fake->state[unit],
	    .path = fake->state[unit] == EXTENT_DATA ? fake->path : NULL,
	    .file_off_bytes = off,
	};
	return ERR_OK;
}

static void fake_info(struct disk *disk, struct disk_info *out)
{
	*out = (struct disk_info){.size_bytes = container_of(disk, struct fake, base)->size_bytes,
				  .writable = true};
}

static enum err fake_close(struct disk *disk, struct err_why *unused)
{
	struct fake *fake = container_of(disk, struct fake, base);

	(void)unused;
	free(fake->data);
	free(fake->state);
	free(fake);
	return ERR_OK;
}

static const struct disk_ops fake_ops = {
    .name = "fake",
    .submit = fake_submit,
    .map = fake_map,
    .info = fake_info,
    .close = fake_close,
};

static struct fake *new_fake(uint64_t size, uint64_t unit, const char *path)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	fake->base.ops = &fake_ops;
	fake->data = calloc(1, size);
	fake->unit_bytes = unit;
	fake->state = calloc(1, size / unit + 1); /* EXTENT_ZERO */
	fake->size_bytes = size;
	fake->path = path;
	fake->fail_off = UINT64_MAX;
	return fake;
}

static void fill(struct fake *fake, uint64_t off, uint64_t len, uint8_t value)
{
	memset(fake->data + off, value, len);
	for (uint64_t u = off / fake->unit_bytes; u <= (off + len - 1) / fake->unit_bytes; u++)
		fake->state[u] = EXTENT_DATA;
}

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % limit;
}

static void fill_randomly(struct fake *fake, unsigned runs, uint64_t longest)
{
	while (runs--) {
		uint64_t off = random_below(fake->size_bytes / DISK_SECTOR) * DISK_SECTOR;
		uint64_t len = (1 + random_below(longest / DISK_SECTOR)) * DISK_SECTOR;

		fill(fake, off, min_u64(len, fake->size_bytes - off), (uint8_t)random_below(256));
	}
}

static void close_fake(struct fake *fake)
{
	disk_close(&fake->base, NULL);
}

static enum err copy(struct fake *src, struct fake *dst, bool dst_is_zero)
{
	return disk_copy(&src->base, &dst->base, dst_is_zero, queue, NULL, &why);
}

/* ---- copying ---- */

Test(block_copy, target_equals_source)
{
	for (unsigned seed = 0; seed < 20; seed++) {
		uint64_t size = 5 * MIB + seed * 3 * DISK_SECTOR;
		struct fake *src = new_fake(size, seed % 2 ? 1536 : 65536, "src");
		struct fake *dst = new_fake(size + 4096, 65536, "dst");
		bool dst_is_zero = seed % 4 < 2;

		random_state = seed;
		fill_randomly(src, 30, seed % 3 ? 512 << 10 : 8192);
		memset(dst->data, dst_is_zero ? 0 : 0xee, size + 4096);
		cr_assert_eq(copy(src, dst, dst_is_zero), ERR_OK, "%s", why.text);
		cr_assert(!memcmp(src->data, dst->data, size), "seed %u", seed);
		cr_assert_eq(dst->data[size], dst_is_zero ? 0 : 0xee, "the rest stays");
		cr_assert_eq(dst->flushes, 1);
		cr_assert_eq(queue_wait(queue), 0, "nothing is left in flight");
		close_fake(src);
		close_fake(dst);
	}
}

Test(block_copy, reads_no_holes_and_writes_no_zeros)
{
	struct fake *src = new_fake(64 * MIB, 65536, "src");
	struct fake *dst = new_fake(64 * MIB, 65536, "dst");

	fill(src, 10 * MIB, 4096, 1);
	fill(src, 20 * MIB, MIB, 0); /* stored zeros */
	fill(src, 30 * MIB + 4096, 8192, 1);
	cr_assert_eq(copy(src, dst, true), ERR_OK);
	cr_assert_eq(src->read_bytes, 65536 + MIB + 65536);
	cr_assert_eq(dst->written_bytes, 4096 + 8192);
	cr_assert_eq(dst->zeroed_bytes, 0);
	close_fake(src);
	close_fake(dst);
}

Test(block_copy, zeroes_a_target_that_is_not_zero)
{
	struct fake *src = new_fake(64 * MIB, 65536, "src");
	struct fake *dst = new_fake(64 * MIB, 65536, "dst");

	memset(dst->data, 0xee, 64 * MIB);
	fill(src, 10 * MIB, MIB, 1);
	cr_assert_eq(copy(src, dst, false), ERR_OK);
	cr_assert(!memcmp(src->data, dst->data, 64 * MIB));
	cr_assert_eq(dst->zeroed_bytes, 63 * MIB);
	cr_assert_eq(dst->written_bytes, MIB);
	close_fake(src);
	close_fake(dst);
}

Test(block_copy, refuses_a_target_that_is_too_small)
{
	struct fake *src = new_fake(MIB, 65536, "src");
	struct fake *dst = new_fake(MIB - 512, 65536, "dst");

	fill(src, 0, 4096, 1);
	cr_assert_eq(copy(src, dst, true), ERR_USAGE);
	cr_assert_eq(dst->writes, 0);
	close_fake(src);
	close_fake(dst);
}

static void check_failure(enum disk_op op, struct fake *src, struct fake *dst, struct fake *broken)
{
	broken->fail_op = op;
	broken->fail_off = 7 * MIB + 12345;
	cr_assert_eq(copy(src, dst, true), ERR_IO);
	cr_assert_eq(why.code, ERR_IO);
	cr_assert(strstr(why.text, "broken at"), "%s", why.text);
	cr_assert_eq(dst->flushes, 0, "a failed copy is not finished");
	cr_assert_eq(queue_wait(queue), 0, "nothing is left in flight");
}

Test(block_copy, stops_at_errors)
{
	struct fake *src = new_fake(20 * MIB, 65536, "src");
	struct fake *dst = new_fake(20 * MIB, 65536, "dst");

	fill(src, 0, 20 * MIB, 1);
	check_failure(DISK_READ, src, dst, src);
	src->fail_off = UINT64_MAX;
	check_failure(DISK_WRITE, src, dst, dst);
	close_fake(src);
	close_fake(dst);
}

struct watcher {
	struct progress progress;
	uint64_t last, total;
	unsigned calls, stop_after;
};

static bool watch(struct progress *progress, uint64_t done, uint64_t total)
{
	struct watcher *w = container_of(progress, struct watcher, progress);

	cr_assert_geq(done, w->last);
	w->last = done;
	w->total = total;
	return ++w->calls != w->stop_after;
}

Test(block_copy, reports_progress_to_the_end)
{
	struct fake *src = new_fake(20 * MIB, 65536, "src");
	struct fake *dst = new_fake(20 * MIB, 65536, "dst");
	struct watcher w = {.progress.report = watch};

	fill(src, 0, 20 * MIB, 1);
	cr_assert_eq(disk_copy(&src->base, &dst->base, true, queue, &w.progress, &why), ERR_OK);
	cr_assert_geq(w.calls, 2);
	cr_assert_eq(w.last, 20 * MIB);
	cr_assert_eq(w.total, 20 * MIB);
	close_fake(src);
	close_fake(dst);
}

Test(block_copy, stops_on_request)
{
	struct fake *src = new_fake(20 * MIB, 65536, "src");
	struct fake *dst = new_fake(20 * MIB, 65536, "dst");
	struct watcher w = {.progress.report = watch, .stop_after = 1};

	fill(src, 0, 20 * MIB, 1);
	cr_assert_eq(disk_copy(&src->base, &dst->base, true, queue, &w.progress, &why),
		     ERR_CANCELLED);
	cr_assert_eq(why.code, ERR_CANCELLED);
	cr_assert_eq(dst->flushes, 0);
	cr_assert_eq(queue_wait(queue), 0, "nothing is left in flight");
	close_fake(src);
	close_fake(dst);
}

/* ---- comparing ---- */

enum { MAX_RUNS = 4096 };

struct found {
	struct disk_difference run[MAX_RUNS];
	unsigned count, stop_after;
};

static bool find(void *arg, const struct disk_difference *difference)
{
	struct found *found = arg;

	cr_assert_lt(found->count, MAX_RUNS);
	found->run[found->count++] = *difference;
	return found->count != found->stop_after;
}

static enum err compare(struct fake *a, struct fake *b, struct found *found)
{
	return disk_differences(&a->base, &b->base, queue, find, found, NULL, &why);
}

static uint8_t byte_at(const struct fake *fake, uint64_t off)
{
	return off < fake->size_bytes ? fake->data[off] : 0;
}

static bool sector_differs(const struct fake *a, const struct fake *b, uint64_t off)
{
	for (unsigned i = 0; i < DISK_SECTOR; i++)
		if (byte_at(a, off + i) != byte_at(b, off + i))
			return true;
	return false;
}

static void compare_slowly(const struct fake *a, const struct fake *b, struct found *found)
{
	uint64_t size = max_u64(a->size_bytes, b->size_bytes);
	struct disk_difference *last = NULL;

	for (uint64_t off = 0; off < size; off += DISK_SECTOR) {
		if (!sector_differs(a, b, off)) {
			last = NULL;
		} else if (last) {
			last->len_bytes += DISK_SECTOR;
		} else {
			last = &found->run[found->count++];
			*last = (struct disk_difference){off, DISK_SECTOR};
		}
	}
}

Test(block_copy, finds_exactly_the_differing_runs)
{
	static struct found found, expected;

	for (unsigned seed = 0; seed < 20; seed++) {
		struct fake *a = new_fake(3 * MIB + seed * 1024, 65536, "a");
		struct fake *b = new_fake(4 * MIB, seed % 2 ? 512 : 65536, "b");

		random_state = seed;
		fill_randomly(a, 20, 100 << 10);
		memcpy(b->data, a->data, a->size_bytes);
		memset(b->state, EXTENT_DATA, 4 * MIB / b->unit_bytes);
		fill_randomly(seed % 3 ? a : b, 20, seed % 4 ? 4096 : 2 * MIB);
		found.count = expected.count = 0;
		compare_slowly(a, b, &expected);
		cr_assert_eq(compare(a, b, &found), ERR_OK, "%s", why.text);
		cr_assert_eq(found.count, expected.count, "seed %u", seed);
		cr_assert_arr_eq(found.run, expected.run, found.count * sizeof(found.run[0]),
				 "seed %u", seed);
		close_fake(a);
		close_fake(b);
	}
}

Test(block_copy, equal_disks_have_no_differences)
{
	static struct found found;
	struct fake *a = new_fake(3 * MIB, 65536, "a");
	struct fake *b = new_fake(9 * MIB, 512, "b");
	uint64_t first;

	fill(a, MIB - 512, 2048, 9);
	fill(b, MIB - 512, 2048, 9);
	fill(b, 5 * MIB, MIB, 0); /* stored zeros beyond the end of the other */
	cr_assert_eq(compare(a, b, &found), ERR_OK);
	cr_assert_eq(found.count, 0);
	cr_assert_eq(disk_first_difference(&a->base, &b->base, queue, &first, NULL, &why), ERR_OK);
	cr_assert_eq(first, UINT64_MAX);
	close_fake(a);
	close_fake(b);
}

Test(block_copy, what_both_have_from_one_place_is_not_read)
{
	static struct found found;
	struct fake *a = new_fake(8 * MIB, 65536, "shared");
	struct fake *b = new_fake(8 * MIB, 65536, "shared");

	/* They do differ: only so can be seen that they are not compared. */
	fill(a, 0, 8 * MIB, 1);
	fill(b, 0, 8 * MIB, 2);
	cr_assert_eq(compare(a, b, &found), ERR_OK);
	cr_assert_eq(found.count, 0);
	cr_assert_eq(a->read_bytes + b->read_bytes, 0);
	b->path = "other";
	cr_assert_eq(compare(a, b, &found), ERR_OK);
	cr_assert_eq(found.count, 1);
	cr_assert_eq(found.run[0].len_bytes, 8 * MIB);
	close_fake(a);
	close_fake(b);
}

Test(block_copy, comparing_stops_when_asked)
{
	static struct found found = {.stop_after = 2};
	struct fake *a = new_fake(8 * MIB, 65536, "a");
	struct fake *b = new_fake(8 * MIB, 65536, "b");

	for (unsigned i = 0; i < 5; i++)
		fill(a, i * MIB, 512, 1);
	cr_assert_eq(compare(a, b, &found), ERR_OK);
	cr_assert_eq(found.count, 2);
	cr_assert_eq(found.run[1].start_bytes, MIB);
	close_fake(a);
	close_fake(b);
}

Test(block_copy, the_first_difference_is_found_without_the_rest)
{
	struct fake *a = new_fake(64 * MIB, 65536, "a");
	struct fake *b = new_fake(64 * MIB, 65536, "b");
	uint64_t first;

	fill(a, 0, 64 * MIB, 1);
	fill(b, 0, 64 * MIB, 1);
	memset(b->data + 2 * MIB + 1024, 2, 62 * MIB - 1024);
	cr_assert_eq(disk_first_difference(&a->base, &b->base, queue, &first, NULL, &why), ERR_OK);
	cr_assert_eq(first, 2 * MIB + 1024);
	cr_assert_lt(a->read_bytes, 32 * MIB);
	close_fake(a);
	close_fake(b);
}

Test(block_copy, comparing_reports_errors)
{
	static struct found found;
	struct fake *a = new_fake(8 * MIB, 65536, "a");
	struct fake *b = new_fake(8 * MIB, 65536, "b");

	fill(a, 0, 8 * MIB, 1);
	fill(b, 0, 8 * MIB, 1);
	b->fail_op = DISK_READ;
	b->fail_off = 3 * MIB;
	cr_assert_eq(compare(a, b, &found), ERR_IO);
	cr_assert(strstr(why.text, "broken at 3145728"), "%s", why.text);
	cr_assert_eq(queue_wait(queue), 0, "nothing is left in flight");
	close_fake(a);
	close_fake(b);
}
