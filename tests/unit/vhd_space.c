/* SPDX-License-Identifier: MIT */
/* Where new blocks come from: growth (W3, W4), its failures (P5), what a crash leaves of it (P3).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/vhd_lab.h"

#define BLOCK VHD_MIN_BLOCK

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_space, .init = start, .fini = stop);

static struct vhd_usage usage_of(struct disk *disk)
{
	struct vhd_usage usage;

	vhd_get_usage(disk, &usage);
	return usage;
}

static uint64_t place_of(struct disk *disk, uint64_t off)
{
	struct disk_extent extent;

	cr_assert_eq(disk_map(disk, off, 512, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.state, EXTENT_DATA);
	return extent.file_off_bytes;
}

/* base full of tag 1; a child of it */
static void make_child(void)
{
	vlab_create(&lab, "base", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "base", true);
	vlab_write(disk, 0, 4 * BLOCK, 1);
	vlab_close(disk);
	vlab_create(&lab, "leaf", VHD_DIFFERENCING, 0, "base");
}

/* ---- growth ---- */

Test(vhd_space, data_of_new_blocks_is_on_a_4_kib_boundary)
{
	for (uint64_t block = VHD_MIN_BLOCK; block <= 16 * MIB; block *= 4) {
		struct vhd_create_opts opts = {
		    .type = VHD_DYNAMIC, .size_bytes = 20 * block, .block_size = (uint32_t)block};

		cr_assert_eq(vlab_try_create(&lab, "d", opts), ERR_OK, "%s", lab.why.text);
		struct disk *disk = vlab_open(&lab, "d", true);
		for (unsigned i = 0; i < 20; i++) {
			uint64_t off = (i * 7 % 20) * block;

			vlab_write(disk, off, 512, 2);
			cr_assert_eq(place_of(disk, off) % 4096, 0);
		}
		vlab_close(disk);
		file_ns_unlink(lab.ns, "d", NULL);
	}
}

Test(vhd_space, new_blocks_in_an_image_of_another_product_are_aligned_too)
{
	vlab_fixture(&lab, "dfvfs-ext2.vhd", "d");
	struct disk *disk = vlab_open(&lab, "d", true);
	struct disk_extent extent;
	cr_assert_eq(disk_map(disk, 2 * MIB, 512, &extent, NULL), ERR_OK);
	cr_assert_eq(extent.state, EXTENT_ZERO);
	vlab_write(disk, 2 * MIB, 4096, 2);
	cr_expect_eq(place_of(disk, 2 * MIB) % 4096, 0);
	vlab_close(disk);
	cr_expect_eq(vlab_tag_of(&lab, "d", 2 * MIB), 2);
}

Test(vhd_space, allocation_costs_less_than_a_tenth_of_a_sync)
{
	static const enum vhd_type types[] = {VHD_DYNAMIC, VHD_DIFFERENCING};

	vlab_create(&lab, "base", VHD_DYNAMIC, 256 * BLOCK, NULL);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const char *path = i ? "diff" : "dyn";

		vlab_create(&lab, path, types[i], i ? 0 : 256 * BLOCK, i ? "base" : NULL);
		struct disk *disk = vlab_open(&lab, path, true);
		struct vhd_usage before = usage_of(disk);
		for (unsigned n = 0; n < 250; n++)
			vlab_write(disk, (uint64_t)(n * 37 % 256) * BLOCK, 4096, 2);
		struct vhd_usage after = usage_of(disk);
		cr_expect_eq(after.blocks_allocated - before.blocks_allocated, 250);
		cr_expect_leq((after.syncs - before.syncs) * 10, 250, "%u syncs",
			      (unsigned)(after.syncs - before.syncs));
		vlab_close(disk);
	}
}

Test(vhd_space, allocated_blocks_are_counted_since_the_disk_was_opened)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, 3 * BLOCK, 1);
	vlab_zero(disk, 0, BLOCK);
	cr_expect_eq(usage_of(disk).blocks_allocated, 3);
	vlab_close(disk);
	disk = vlab_open(&lab, "d", true);
	cr_expect_eq(usage_of(disk).blocks_allocated, 0);
	vlab_write(disk, 0, 512, 1);
	cr_expect_eq(usage_of(disk).blocks_allocated, 1);
	vlab_close(disk);
}

/* I3: no BAT entry is written while the bitmap it leads to is not on stable storage. */
Test(vhd_space, bitmaps_are_durable_before_the_table_names_them)
{
	size_t count;
	uint64_t bitmap_ended = 0, synced_since = 0;

	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	mem_ns_log_start(lab.mem);
	for (unsigned i = 0; i < 40; i++) {
		vlab_write(disk, (uint64_t)i * BLOCK, 512, 1);
		if (i % 3 == 0)
			vlab_flush(disk);
	}
	vlab_flush(disk);
	const struct mem_event *event = mem_ns_log(lab.mem, &count);
	for (size_t i = 0; i < count; i++) {
		if (event[i].kind == MEM_WRITE && event[i].what == EV_BITMAP)
			bitmap_ended = event[i].ended;
		if (event[i].kind == MEM_SYNC && event[i].begun > bitmap_ended)
			synced_since = event[i].ended;
		if (event[i].kind == MEM_WRITE && event[i].what == EV_BAT)
			cr_assert(bitmap_ended && synced_since > bitmap_ended &&
				  synced_since < event[i].begun);
	}
	vlab_close(disk);
}

Test(vhd_space, the_file_ends_behind_its_last_block_after_closing)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	uint64_t empty = vlab_size(&lab, "d");
	vlab_close(vlab_open(&lab, "d", true));
	cr_expect_eq(vlab_size(&lab, "d"), empty, "opening for writing leaves nothing behind");
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, 512, 1);
	cr_expect_geq(vlab_size(&lab, "d"), 3 * BLOCK, "space is made ahead");
	uint64_t end = place_of(disk, 0) + BLOCK;
	vlab_close(disk);
	cr_expect_leq(vlab_size(&lab, "d"), round_up(end, 4096) + 512);
	struct vhd_layer *layer = vlab_layer(&lab, "d");
	cr_expect(layer->trailing_ok);
	layer_close(layer, NULL);
	cr_expect_eq(vlab_tag_of(&lab, "d", 0), 1);
}

/* Put the second locator of a child where its footer is, and the footer further back. */
static void move_locator_behind_table(const char *path)
{
	uint8_t footer[FOOTER_BYTES];
	uint64_t end = vlab_size(&lab, path) - FOOTER_BYTES;

	vlab_get(&lab, path, end, footer, sizeof(footer));
	vlab_put(&lab, path, end, ".\0\\\0b\0a\0s\0e\0", 12);
	vlab_put(&lab, path, end + 4096, footer, sizeof(footer));
	vlab_set_header(&lab, path, 576 + 24 + 16, 8, end);
}

static void expect_locator(const char *path)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	struct vhd_info info;

	cr_assert_eq(vhd_inspect(path, &opts, &info, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_expect_str_eq(info.locator[1].path, ".\\base");
	vhd_info_free(&info);
}

/* As Windows 10 places them. */
Test(vhd_space, locators_behind_the_table_are_neither_overwritten_nor_cut_off)
{
	vlab_create(&lab, "base", VHD_DYNAMIC, 64 * BLOCK, NULL);
	vlab_create(&lab, "leaf", VHD_DIFFERENCING, 0, "base");
	move_locator_behind_table("leaf");
	expect_locator("leaf");
	struct disk *disk = vlab_open(&lab, "leaf", true);
	vlab_write(disk, 0, 10 * BLOCK, 1);
	vlab_flush(disk);
	expect_locator("leaf");
	vlab_zero(disk, 0, 10 * BLOCK);
	vlab_close(disk);
	expect_locator("leaf");
	/* a crash while the file grew */
	uint64_t size = vlab_size(&lab, "leaf");
	vlab_put(&lab, "leaf", size - FOOTER_BYTES, (uint8_t[512]){0}, 512);
	vlab_truncate(&lab, "leaf", size + 3 * BLOCK);
	cr_expect_eq(vlab_probe(&lab, "leaf", true), ERR_OK, "%s", lab.why.text);
	expect_locator("leaf");
}

/* Room in front of the footer is used, whatever was in it. */
Test(vhd_space, a_gap_before_the_footer_is_cleaned_and_used)
{
	uint8_t noise[FOOTER_BYTES], footer[FOOTER_BYTES];

	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	uint64_t end = vlab_size(&lab, "d") - FOOTER_BYTES;
	vlab_get(&lab, "d", end, footer, sizeof(footer));
	memset(noise, 0x5a, sizeof(noise));
	for (uint64_t at = end; at < end + 3 * BLOCK; at += 512)
		vlab_put(&lab, "d", at, noise, sizeof(noise));
	vlab_put(&lab, "d", end + 3 * BLOCK, footer, sizeof(footer));
	uint64_t size = vlab_size(&lab, "d");
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 4096, 512, 1);
	vlab_write(disk, BLOCK, 512, 1);
	cr_expect_eq(vlab_size(&lab, "d"), size, "no growth was needed");
	cr_expect(vlab_holds(&lab, disk, 0, 4096, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 4096 + 512, BLOCK - 4608, 0), "%s", lab.why.text);
	vlab_close(disk);
	disk = vlab_open(&lab, "d", false);
	cr_expect(vlab_holds(&lab, disk, BLOCK + 512, 7 * BLOCK - 512, 0), "%s", lab.why.text);
	vlab_close(disk);
}

/* ---- errors (P5, W1) ---- */

struct space_fault {
	enum file_op op;
	enum file_event event;
	int sys_errno;
	enum err want;
};

Test(vhd_space, a_failed_growth_changes_nothing)
{
	static const struct space_fault faults[] = {
	    {FILE_ALLOCATE, EV_SPACE, EIO, ERR_IO},     {FILE_WRITE, EV_BITMAP, EIO, ERR_IO},
	    {FILE_WRITE, EV_BITMAP, ENOSPC, ERR_NOSPC}, {FILE_WRITE, EV_FOOTER, EIO, ERR_IO},
	    {FILE_WRITE, EV_FOOTER, EDQUOT, ERR_NOSPC},
	};

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		struct fault_rule rule = {.op = faults[i].op,
					  .event = (int)faults[i].event,
					  .nth = 1,
					  .sticky = true,
					  .partial = true,
					  .sys_errno = faults[i].sys_errno};
		struct disk_info info;

		vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
		uint64_t size = vlab_size(&lab, "d");
		struct disk *disk = vlab_open(&lab, "d", true);
		fault_ns_set(lab.fault, &rule);
		cr_expect_eq(vlab_try_write(&lab, disk, BLOCK, 512, 1), faults[i].want, "%zu: %s",
			     i, lab.why.text);
		cr_expect(vlab_said(&lab, "d") && fault_ns_fired(lab.fault));
		cr_expect_eq(vlab_size(&lab, "d"), size, "%zu", i);
		cr_expect_eq(vlab_tag(disk, BLOCK), 0);
		disk_get_info(disk, &info);
		cr_expect(!info.poisoned, "%zu", i);
		struct vlab cut = vlab_snapshot(&lab);
		cr_expect_eq(vlab_probe(&cut, "d", true), ERR_OK, "%zu: %s", i, cut.why.text);
		vlab_stop(&cut);

		fault_ns_set(lab.fault, NULL);
		vlab_write(disk, BLOCK, 512, 2);
		vlab_close(disk);
		cr_expect_eq(vlab_tag_of(&lab, "d", BLOCK), 2);
		file_ns_unlink(lab.ns, "d", NULL);
	}
}

Test(vhd_space, a_nearly_full_device_still_gives_one_block)
{
	struct fault_rule rule = {
	    .op = FILE_ALLOCATE, .event = FAULT_ANY, .nth = 1, .sys_errno = ENOSPC};

	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	fault_ns_set(lab.fault, &rule);
	vlab_write(disk, 0, 512, 1);
	cr_expect(fault_ns_fired(lab.fault));
	cr_expect_leq(vlab_size(&lab, "d"), 2 * BLOCK);
	vlab_close(disk);
	cr_expect_eq(vlab_tag_of(&lab, "d", 0), 1);
}

Test(vhd_space, a_failed_sync_of_new_space_is_final)
{
	struct fault_rule rule = {.op = FILE_SYNC, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO};
	struct disk_info info;

	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	fault_ns_set(lab.fault, &rule);
	cr_expect_eq(vlab_try_write(&lab, disk, 0, 512, 1), ERR_POISONED);
	fault_ns_set(lab.fault, NULL);
	cr_expect_eq(vlab_try_write(&lab, disk, 0, 512, 1), ERR_POISONED, "also without a fault");
	disk_get_info(disk, &info);
	cr_expect(info.poisoned);
	cr_expect_eq(vlab_tag(disk, 0), 0, "reading goes on");
	cr_expect_neq(disk_close(disk, &lab.why), ERR_OK);
	cr_expect_eq(vlab_probe(&lab, "d", true), ERR_OK, "%s", lab.why.text);
}

/* W1: a block whose data could not be written is not there. */
Test(vhd_space, a_failed_data_write_leaves_the_old_content)
{
	static const enum vhd_type types[] = {VHD_DYNAMIC, VHD_DIFFERENCING};

	make_child();
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct fault_rule rule = {.op = FILE_WRITE,
					  .event = EV_DATA,
					  .nth = 1,
					  .partial = true,
					  .sys_errno = EIO};
		const char *path = i ? "leaf" : "dyn";

		if (!i)
			vlab_create(&lab, path, VHD_DYNAMIC, 8 * BLOCK, NULL);
		struct disk *disk = vlab_open(&lab, path, true);
		fault_ns_set(lab.fault, &rule);
		cr_expect_eq(vlab_try_write(&lab, disk, 4096, 8192, 2), ERR_IO);
		cr_expect(vlab_said(&lab, path), "%s", lab.why.text);
		fault_ns_set(lab.fault, NULL);
		cr_expect(vlab_holds(&lab, disk, 0, BLOCK, i), "%s", lab.why.text);
		vlab_flush(disk);
		cr_expect(vlab_holds(&lab, disk, 0, BLOCK, i), "%s", lab.why.text);
		vlab_write(disk, 4096, 512, 3);
		cr_expect_eq(vlab_tag(disk, 4096), 3);
		cr_expect_eq(vlab_tag(disk, 4096 + 512), i);
		vlab_close(disk);
		cr_expect_eq(vlab_tag_of(&lab, path, 4096), 3);
		/* nothing of the write that failed shows in what it touched */
		disk = vlab_open(&lab, path, false);
		cr_expect(vlab_holds(&lab, disk, 4096 + 512, BLOCK - 4608, i), "%s", lab.why.text);
		vlab_close(disk);
	}
}

/* The same where the block was dropped and the drop is not published yet. */
Test(vhd_space, a_failed_write_to_a_dropped_block_leaves_zeros)
{
	struct fault_rule rule = {
	    .op = FILE_WRITE, .event = EV_DATA, .nth = 1, .partial = true, .sys_errno = EIO};

	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_flush(disk);
	vlab_zero(disk, 0, BLOCK);
	fault_ns_set(lab.fault, &rule);
	cr_expect_eq(vlab_try_write(&lab, disk, 4096, 8192, 2), ERR_IO);
	fault_ns_set(lab.fault, NULL);
	cr_expect(vlab_holds(&lab, disk, 0, BLOCK, 0), "%s", lab.why.text);
	vlab_write(disk, BLOCK - 512, 512, 3);
	cr_expect(vlab_holds(&lab, disk, 0, BLOCK - 512, 0), "%s", lab.why.text);
	vlab_close(disk);
	disk = vlab_open(&lab, "d", false);
	cr_expect(vlab_holds(&lab, disk, 0, BLOCK - 512, 0), "%s", lab.why.text);
	cr_expect_eq(vlab_tag(disk, BLOCK - 512), 3);
	vlab_close(disk);
}

/* ---- what a crash leaves behind (P3) ---- */

/* A power cut while the file grew: longer, and without a footer at its end. */
Test(vhd_space, a_missing_trailing_footer_is_written_again)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_close(disk);
	uint64_t size = vlab_size(&lab, "d");
	for (int extra = -1; extra < 3; extra++) {
		uint64_t end = extra < 0 ? size - FOOTER_BYTES : size + (uint64_t)extra * BLOCK;

		vlab_put(&lab, "d", size - FOOTER_BYTES, (uint8_t[512]){0}, 512);
		vlab_truncate(&lab, "d", end);
		cr_expect_eq(vlab_tag_of(&lab, "d", 0), 1, "readers go by the copy");
		cr_expect_eq(vlab_size(&lab, "d"), end, "and change nothing");
		cr_expect_eq(vlab_probe(&lab, "d", true), ERR_OK, "%s", lab.why.text);
		struct vhd_layer *layer = vlab_layer(&lab, "d");
		cr_expect(layer->trailing_ok);
		layer_close(layer, NULL);
		cr_expect_leq(vlab_size(&lab, "d"), size);
		cr_expect_eq(vlab_tag_of(&lab, "d", 0), 1);
	}
}

Test(vhd_space, an_interrupted_recovery_is_done_again)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_close(disk);
	uint64_t size = vlab_size(&lab, "d");
	for (uint64_t nth = 1;; nth++) {
		struct fault_rule rule = {
		    .op = FAULT_ANY, .event = FAULT_ANY, .nth = nth, .sys_errno = EIO};

		vlab_put(&lab, "d", size - FOOTER_BYTES, (uint8_t[512]){0}, 512);
		vlab_truncate(&lab, "d", size + 2 * BLOCK);
		fault_ns_set(lab.fault, &rule);
		enum err err = vlab_probe(&lab, "d", true);
		bool fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		if (!fired)
			break;
		cr_expect_neq(err, ERR_OK, "request %u", (unsigned)nth);
		cr_expect_eq(vlab_probe(&lab, "d", true), ERR_OK, "%s", lab.why.text);
		cr_expect_eq(vlab_tag_of(&lab, "d", 0), 1);
		cr_assert_lt(nth, 1000);
	}
}

/* ---- another writer just before us ---- */

/*
 * A namespace whose files let somebody else have a turn when they are asked for the writer's lock:
 * the moment at which another program may have changed the image since we first looked at it.
 */
struct turn_ns {
	struct file_ns base;
	struct file_ns *below;
	void (*turn)(void);
};

struct turn_file {
	struct file base;
	struct file *below;
	struct turn_ns *ns;
};

static struct turn_file *turn_of(struct file *file)
{
	return container_of(file, struct turn_file, base);
}

static enum err turn_run(struct file *file, struct file_req *req)
{
	req->file = turn_of(file)->below;
	return req->file->ops->run(req->file, req);
}

static enum err turn_info(struct file *file, struct file_info *out, struct err_why *why)
{
	return file_get_info(turn_of(file)->below, out, why);
}

static enum err turn_lock(struct file *base, int mode, struct err_why *why)
{
	struct turn_file *file = turn_of(base);
	void (*turn)(void) = file->ns->turn;

	if (mode == FILE_LOCK_WRITE && turn) {
		file->ns->turn = NULL;
		turn();
	}
	return file_lock(file->below, (enum file_lock)mode, why);
}

static enum err turn_close(struct file *base, struct err_why *why)
{
	struct turn_file *file = turn_of(base);
	enum err err = file_close(file->below, why);

	free(file);
	return err;
}

static const struct file_ops turn_file_ops = {
    .name = "turn",
    .run = turn_run,
    .info = turn_info,
    .lock = turn_lock,
    .close = turn_close,
};

static enum err turn_open(struct file_ns *base, const char *path, unsigned flags, struct file **out,
			  struct err_why *why)
{
	struct turn_ns *ns = container_of(base, struct turn_ns, base);
	struct turn_file *file = calloc(1, sizeof(*file));

	cr_assert_not_null(file);
	enum err err = file_ns_open(ns->below, path, flags, &file->below, why);
	if (err) {
		free(file);
		return err;
	}
	file->base = (struct file){.ops = &turn_file_ops, .path = file->below->path};
	file->ns = ns;
	*out = &file->base;
	return ERR_OK;
}

static const struct file_ns_ops turn_ns_ops = {.open = turn_open};

static void other_writer_grows(void)
{
	struct disk *disk = vlab_open(&lab, "d", true);

	vlab_write(disk, 0, 20 * BLOCK, 7);
	vlab_close(disk);
}

static void other_writer_cuts(void)
{
	struct disk *disk = vlab_open(&lab, "d", true);

	vlab_zero(disk, BLOCK, 19 * BLOCK);
	vlab_close(disk);
}

static void write_after(void (*turn)(void), uint64_t off)
{
	struct turn_ns ns = {.base = {.ops = &turn_ns_ops}, .below = lab.ns, .turn = turn};
	struct vhd_open_opts opts = {.ns = &ns.base, .writable = true};
	struct disk *disk;

	lab.why = (struct err_why){0};
	cr_assert_eq(vhd_open("d", &opts, &disk, &lab.why), ERR_OK, "%s", lab.why.text);
	cr_expect_null(ns.turn, "the lock was asked for");
	vlab_write(disk, off, 4 * BLOCK, 8);
	vlab_close(disk);
	struct vhd_layer *layer = vlab_layer(&lab, "d");
	cr_expect(layer->trailing_ok, "the footer is at the end of the file");
	layer_close(layer, NULL);
}

/* What was read before we had the lock may be old by then. */
Test(vhd_space, a_writer_looks_at_the_image_after_it_has_the_lock)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	write_after(other_writer_grows, 30 * BLOCK);
	write_after(other_writer_cuts, 40 * BLOCK);
	struct disk *disk = vlab_open(&lab, "d", false);
	cr_expect(vlab_holds(&lab, disk, 0, BLOCK, 7), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, BLOCK, 29 * BLOCK, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 30 * BLOCK, 4 * BLOCK, 8), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 40 * BLOCK, 4 * BLOCK, 8), "%s", lab.why.text);
	vlab_close(disk);
}
