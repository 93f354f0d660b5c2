/* SPDX-License-Identifier: MIT */
/* Compact: what it drops (W9), what it moves (W10), and what it must leave as it was. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/unit/vhd_lab.h"
#include "vhd/header.h"

#define BLOCK     ((uint64_t)VHD_MIN_BLOCK)
#define BLOCKS    16u
#define SIZE      (BLOCKS * BLOCK)
#define SPAN      (DISK_SECTOR + BLOCK)
#define F_CURRENT 48u

static struct vlab lab;
static struct vhd_compact_result result;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_compact, .init = start, .fini = stop);

/* ---- helpers ---- */

static enum err try_compact(const char *path, enum vhd_compact_mode mode, bool dry_run)
{
	struct vhd_open_opts open_opts = {.ns = lab.ns};
	struct vhd_compact_opts opts = {.mode = mode, .dry_run = dry_run};

	lab.why = (struct err_why){0};
	return vhd_compact(path, &open_opts, &opts, &result, &lab.why);
}

static void expect_sound(const char *path)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct vhd_report report;

	cr_assert_eq(vhd_check(path, &opts, NULL, &report, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(vhd_report_result(&report), ERR_OK, "%s", report.finding[0].rule);
	vhd_report_free(&report);
}

static uint8_t *read_all(const char *path, uint64_t *size)
{
	struct disk *disk = vlab_open(&lab, path, false);
	struct disk_info info;
	struct err_why why = {0};

	disk_get_info(disk, &info);
	uint8_t *bytes = malloc(info.size_bytes);
	cr_assert_not_null(bytes);
	cr_assert_eq(disk_read(disk, exercise_queue(), bytes, 0, info.size_bytes, &why), ERR_OK,
		     "%s", why.text);
	vlab_close(disk);
	*size = info.size_bytes;
	return bytes;
}

/* Compact; the content must stay, and asking again must change nothing. */
static void compact(const char *path)
{
	uint64_t size, size_after;
	uint8_t *before = read_all(path, &size);

	cr_assert_eq(try_compact(path, COMPACT_PREZEROED, false), ERR_OK, "%s", lab.why.text);
	struct vhd_compact_result first = result;
	uint8_t *after = read_all(path, &size_after);
	cr_assert(size == size_after && memcmp(before, after, size) == 0, "the content changed");
	cr_assert_eq(vlab_size(&lab, path), result.file_after);
	expect_sound(path);
	cr_assert_eq(try_compact(path, COMPACT_PREZEROED, false), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(result.file_after, first.file_after, "compact twice shrinks twice");
	cr_assert_eq(result.blocks_moved, 0);
	result = first;
	free(before);
	free(after);
}

static void make(const char *path, uint64_t size, const char *parent)
{
	vlab_create(&lab, path, parent ? VHD_DIFFERENCING : VHD_DYNAMIC, size, parent);
}

static void write_block(const char *path, uint32_t block, uint64_t tag)
{
	struct disk *disk = vlab_open(&lab, path, true);

	vlab_write(disk, block * BLOCK, BLOCK, tag);
	vlab_close(disk);
}

/* Blocks 0..BLOCKS-1 in order, each with data when its bit in `mask` is set, else with zeros. */
static void make_striped(const char *path, uint32_t mask)
{
	make(path, SIZE, NULL);
	struct disk *disk = vlab_open(&lab, path, true);
	for (uint32_t i = 0; i < BLOCKS; i++)
		vlab_write(disk, i * BLOCK, BLOCK, mask >> i & 1 ? i + 1 : 0);
	vlab_close(disk);
}

/* The same as other producers lay it out: the blocks side by side, the footer right behind. */
static void make_dense(const char *path, uint32_t mask)
{
	static uint8_t block[DISK_SECTOR + VHD_MIN_BLOCK];
	uint8_t footer[FOOTER_BYTES];

	make(path, SIZE, NULL);
	struct vhd_layer *layer = vlab_layer(&lab, path);
	uint64_t bat = layer->header.bat_off, at = layer->meta_end;
	layer_close(layer, NULL);
	vlab_get(&lab, path, 0, footer, sizeof(footer));
	memset(block, 0xff, DISK_SECTOR);
	for (uint32_t i = 0; i < BLOCKS; i++, at += SPAN) {
		memset(block + DISK_SECTOR, mask >> i & 1 ? (int)i + 1 : 0, BLOCK);
		vlab_put(&lab, path, at, block, sizeof(block));
		vlab_put32(&lab, path, bat + i * 4ull, (uint32_t)(at / DISK_SECTOR));
	}
	vlab_put(&lab, path, at, footer, sizeof(footer));
}

/* ---- dynamic disks ---- */

Test(vhd_compact, drops_zero_blocks_and_moves_the_tail_into_the_holes)
{
	make_striped("disk", 0xff5a);
	compact("disk");
	cr_assert_eq(result.blocks_before, 16);
	cr_assert_eq(result.blocks_zero, 4);
	cr_assert_eq(result.blocks_free, 0);
	cr_assert_eq(result.blocks_after, 12);
	cr_assert_eq(result.blocks_moved, 4);
	cr_assert_leq(result.file_after + 4 * SPAN, result.file_before);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint32_t entry = vlab_bat_entry(&lab, "disk", i);

		cr_assert_eq(entry == BAT_UNUSED, !(0xff5a >> i & 1));
		if (entry != BAT_UNUSED)
			cr_assert_eq((entry * 512ull + DISK_SECTOR) % 4096, 0, "data is aligned");
	}
}

Test(vhd_compact, packs_a_foreign_image_without_a_gap)
{
	make_dense("disk", 0x7bdf);
	compact("disk");
	cr_assert_eq(result.blocks_zero, 3);
	cr_assert_eq(result.file_after, result.file_before - 3 * SPAN);
}

Test(vhd_compact, empties_an_image_of_zeros)
{
	make_striped("disk", 0);
	compact("disk");
	cr_assert_eq(result.blocks_after, 0);
	cr_assert_lt(result.file_after, 64 * KIB);
}

Test(vhd_compact, sees_the_last_byte_of_a_block)
{
	make_striped("disk", 0);
	uint32_t entry = vlab_bat_entry(&lab, "disk", 5);
	vlab_put(&lab, "disk", entry * 512ull + SPAN - 1, "x", 1);
	compact("disk");
	cr_assert_eq(result.blocks_after, 1);
}

Test(vhd_compact, takes_clear_bits_and_what_is_past_the_disk_for_nothing)
{
	static const uint8_t none[DISK_SECTOR];

	make("disk", 3 * BLOCK + 512, NULL);
	struct disk *disk = vlab_open(&lab, "disk", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_write(disk, 3 * BLOCK, 512, 0);
	vlab_close(disk);
	/* block 0 has data but no bit that says so; block 3 has some behind the end of the disk */
	vlab_put(&lab, "disk", vlab_bat_entry(&lab, "disk", 0) * 512ull, none, sizeof(none));
	vlab_put(&lab, "disk", vlab_bat_entry(&lab, "disk", 3) * 512ull + 1024, "x", 1);
	compact("disk");
	cr_assert_eq(result.blocks_zero, 2);
	cr_assert_eq(result.blocks_after, 0);
}

Test(vhd_compact, clears_entries_past_the_end_of_the_disk)
{
	make_striped("disk", 0xffff);
	vlab_set_footers(&lab, "disk", F_CURRENT, 8, 8 * BLOCK);
	cr_assert_eq(try_compact("disk", COMPACT_PREZEROED, false), ERR_OK, "%s", lab.why.text);
	cr_assert_eq(result.blocks_before, 8);
	cr_assert_eq(result.blocks_after, 8);
	cr_assert_eq(vlab_bat_entry(&lab, "disk", 12), BAT_UNUSED);
	cr_assert_leq(result.file_after + 8 * SPAN, result.file_before);
	expect_sound("disk");
}

Test(vhd_compact, invalidates_a_batmap_before_it_changes_anything)
{
	uint8_t cookie[8];

	vlab_fixture(&lab, "govhd-xapi.vhd", "xapi");
	vlab_get(&lab, "xapi", 0x800, cookie, 8);
	cr_assert_arr_eq(cookie, "tdbatmap", 8);
	compact("xapi");
	vlab_get(&lab, "xapi", 0x800, cookie, 8);
	cr_assert(memcmp(cookie, "tdbatmap", 8) != 0);
}

Test(vhd_compact, keeps_the_content_of_real_images)
{
	static const char *const name[] = {"dissect-dynamic.vhd", "nodevhd-dynamic-512M.vhd",
					   "dfvfs-ext2.vhd", "govhd-win8-chain/win8.vhd"};

	for (unsigned i = 0; i < ARRAY_LEN(name); i++) {
		vlab_fixture(&lab, name[i], "real");
		compact("real");
	}
}

Test(vhd_compact, only_counts_in_a_dry_run)
{
	make_striped("disk", 0x00f3);
	struct vlab before = vlab_snapshot(&lab);
	cr_assert_eq(try_compact("disk", COMPACT_PREZEROED, true), ERR_OK, "%s", lab.why.text);
	struct vhd_compact_result estimate = result;
	uint64_t len = vlab_size(&lab, "disk");
	cr_assert_eq(len, vlab_size(&before, "disk"));
	for (uint64_t at = 0; at < len; at += DISK_SECTOR) {
		uint8_t a[DISK_SECTOR], b[DISK_SECTOR];

		vlab_get(&lab, "disk", at, a, sizeof(a));
		vlab_get(&before, "disk", at, b, sizeof(b));
		cr_assert_arr_eq(a, b, sizeof(a));
	}
	vlab_stop(&before);
	compact("disk");
	cr_assert_eq(estimate.blocks_before, result.blocks_before);
	cr_assert_eq(estimate.blocks_after, result.blocks_after);
	cr_assert_eq(estimate.blocks_zero, result.blocks_zero);
	cr_assert_eq(estimate.blocks_moved, result.blocks_moved);
	cr_assert_eq(estimate.file_before, result.file_before);
	cr_assert_eq(estimate.file_after, result.file_after);
}

/* ---- differencing disks (W9) ---- */

Test(vhd_compact, never_brings_back_a_parents_data)
{
	make("base", SIZE, NULL);
	write_block("base", 0, 7);
	write_block("base", 1, 0); /* allocated, but zero */
	make("leaf", 0, "base");
	struct disk *disk = vlab_open(&lab, "leaf", true);
	for (uint32_t i = 0; i < 4; i++)
		vlab_write(disk, i * BLOCK, BLOCK, 0);
	vlab_close(disk);
	uint32_t before = 0;
	for (uint32_t i = 0; i < 4; i++)
		before += vlab_bat_entry(&lab, "leaf", i) != BAT_UNUSED;
	compact("leaf");
	cr_assert_eq(result.blocks_before, before);
	cr_assert_eq(result.blocks_after, 1, "only the block over data stays");
	cr_assert_neq(vlab_bat_entry(&lab, "leaf", 0), BAT_UNUSED);
	cr_assert_eq(vlab_tag_of(&lab, "leaf", 0), 0);
}

Test(vhd_compact, looks_through_all_ancestors)
{
	make("base", SIZE, NULL);
	write_block("base", 3, 7);
	make("middle", 0, "base");
	make("leaf", 0, "middle");
	write_block("leaf", 3, 0);
	compact("leaf");
	cr_assert_eq(result.blocks_after, 1);
	cr_assert_eq(vlab_tag_of(&lab, "leaf", 3 * BLOCK), 0);
}

Test(vhd_compact, judges_a_childs_block_by_the_sectors_it_has)
{
	make("base", SIZE, NULL);
	struct disk *disk = vlab_open(&lab, "base", true);
	vlab_write(disk, 32 * KIB, 4096, 7); /* not where the leaf writes */
	vlab_close(disk);
	make("leaf", 0, "base");
	/* zeros where the base has something, then make the base lose it: only the bits are left */
	disk = vlab_open(&lab, "leaf", true);
	vlab_write(disk, 0, 4096, 5);
	vlab_close(disk);
	static const uint8_t zeros[4096];
	uint32_t entry = vlab_bat_entry(&lab, "leaf", 0);
	vlab_put(&lab, "leaf", entry * 512ull + DISK_SECTOR, zeros, sizeof(zeros));
	compact("leaf");
	cr_assert_eq(result.blocks_after, 0);
	cr_assert_eq(vlab_tag_of(&lab, "leaf", 32 * KIB), 7);
}

Test(vhd_compact, needs_the_parent_of_a_child)
{
	make("base", SIZE, NULL);
	make("leaf", 0, "base");
	write_block("leaf", 0, 1);
	cr_assert_eq(file_ns_unlink(lab.ns, "base", NULL), ERR_OK);
	cr_assert_eq(try_compact("leaf", COMPACT_PREZEROED, false), ERR_PARENT);
}

Test(vhd_compact, keeps_random_chains_as_they_read)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct rng rng = rng_seed(seed);
		static const char *const path[] = {"base", "middle", "leaf"};

		for (unsigned n = 0; n < 3; n++) {
			make(path[n], n ? 0 : SIZE, n ? path[n - 1] : NULL);
			struct disk *disk = vlab_open(&lab, path[n], true);
			for (unsigned i = 0; i < 25; i++) {
				uint64_t len = DISK_SECTOR * (1 + rng_below(&rng, 200));
				uint64_t off = DISK_SECTOR * rng_below(&rng, (SIZE - len) / 512);

				if (rng_percent(&rng, 50))
					vlab_write(disk, off, len,
						   rng_percent(&rng, 50) ? n + 1 : 0);
				else
					vlab_zero(disk, off, len);
			}
			vlab_close(disk);
			compact(path[n]);
		}
		for (unsigned n = 0; n < 3; n++)
			cr_assert_eq(file_ns_unlink(lab.ns, path[n], NULL), ERR_OK);
	}
}

/* ---- refusals, stops and errors ---- */

Test(vhd_compact, refuses_a_damaged_image_and_leaves_it)
{
	make_striped("disk", 0x00ff);
	struct vhd_layer *layer = vlab_layer(&lab, "disk");
	uint64_t entry = layer_bat_entry_off(layer, 3);
	layer_close(layer, NULL);
	vlab_put32(&lab, "disk", entry, vlab_bat_entry(&lab, "disk", 4) + 1);
	mem_ns_log_start(lab.mem);
	cr_assert_eq(try_compact("disk", COMPACT_PREZEROED, false), ERR_CORRUPT);
	size_t events;
	const struct mem_event *log = mem_ns_log(lab.mem, &events);
	for (size_t i = 0; i < events; i++)
		cr_assert_eq(log[i].kind, MEM_SYNC, "something was written");
}

Test(vhd_compact, leaves_a_fixed_disk_alone)
{
	vlab_create(&lab, "fixed", VHD_FIXED, MIB, NULL);
	cr_assert_eq(try_compact("fixed", COMPACT_FULL, false), ERR_OK);
	cr_assert_eq(result.file_after, MIB + 512);
	cr_assert(*result.note);
}

Test(vhd_compact, waits_for_no_writer)
{
	make_striped("disk", 1);
	struct disk *disk = vlab_open(&lab, "disk", true);
	cr_assert_eq(try_compact("disk", COMPACT_PREZEROED, false), ERR_LOCKED);
	vlab_close(disk);
}

static bool stop_at_once(struct progress *progress, uint64_t done, uint64_t total)
{
	(void)progress;
	cr_assert_leq(done, total);
	return false;
}

Test(vhd_compact, can_be_stopped_and_asked_again)
{
	struct progress progress = {stop_at_once};
	struct vhd_open_opts open_opts = {.ns = lab.ns};
	struct vhd_compact_opts opts = {.mode = COMPACT_PREZEROED, .progress = &progress};

	make_striped("disk", 0x0ff0);
	cr_assert_eq(vhd_compact("disk", &open_opts, &opts, &result, NULL), ERR_CANCELLED);
	expect_sound("disk");
	compact("disk");
	cr_assert_eq(result.blocks_after, 8);
}

/* T3: whatever fails, the image reads as before and can be compacted afterwards (P5). */
static void fail_each(int op, int sys_errno, bool partial)
{
	struct fault_rule rule = {
	    .op = op, .event = FAULT_ANY, .sys_errno = sys_errno, .partial = partial};
	bool fired = true;

	for (rule.nth = 1; fired; rule.nth++) {
		make_striped("disk", 0x9a5d);
		fault_ns_set(lab.fault, &rule);
		enum err err = try_compact("disk", COMPACT_PREZEROED, false);
		fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		cr_assert_eq(err != ERR_OK, fired, "%s %llu: %s", "fault",
			     (unsigned long long)rule.nth, lab.why.text);
		cr_assert_eq(vlab_probe(&lab, "disk", true), ERR_OK, "%s", lab.why.text);
		for (uint32_t i = 0; i < BLOCKS; i++)
			cr_assert_eq(vlab_tag_of(&lab, "disk", i * BLOCK),
				     0x9a5d >> i & 1 ? i + 1 : 0);
		compact("disk");
		cr_assert_eq(result.blocks_after, 9);
		cr_assert_eq(file_ns_unlink(lab.ns, "disk", NULL), ERR_OK);
	}
	cr_assert_gt(rule.nth, 2);
}

Test(vhd_compact, survives_read_errors)
{
	fail_each(FILE_READ, EIO, false);
}

Test(vhd_compact, survives_write_errors)
{
	fail_each(FILE_WRITE, ENOSPC, false);
	fail_each(FILE_WRITE, EIO, true);
}

Test(vhd_compact, survives_failed_syncs)
{
	fail_each(FILE_SYNC, EIO, false);
}

Test(vhd_compact, survives_a_failed_truncate)
{
	fail_each(FILE_TRUNCATE, EIO, false);
}
