/* SPDX-License-Identifier: MIT */
/* Zeroes and trims (W9), and the way of a dropped block's space back into use (W7). */
#include <criterion/criterion.h>

#include "tests/unit/vhd_lab.h"

#define BLOCK      VHD_MIN_BLOCK
#define BAT_UNUSED 0xffffffffu

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_zero, .init = start, .fini = stop);

static struct vhd_usage usage_of(struct disk *disk)
{
	struct vhd_usage usage;

	vhd_get_usage(disk, &usage);
	return usage;
}

static bool is_leafs(struct disk *disk, uint64_t off)
{
	struct disk_extent extent;

	cr_assert_eq(disk_map(disk, off, 512, &extent, NULL), ERR_OK);
	return extent.state == EXTENT_DATA && extent.depth == 0;
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

/* ---- zeroes and trims (W9) ---- */

Test(vhd_zero, zeros_where_nothing_is_allocate_nothing)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	uint64_t size = vlab_size(&lab, "d");
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_zero(disk, 0, 8 * BLOCK);
	vlab_trim(disk, 512, 4 * BLOCK);
	vlab_flush(disk);
	cr_expect_eq(usage_of(disk).blocks_allocated, 0);
	cr_expect_eq(vlab_size(&lab, "d"), size);
	vlab_close(disk);
}

Test(vhd_zero, a_zeroed_block_of_a_dynamic_disk_is_dropped)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, 3 * BLOCK, 1);
	vlab_flush(disk);
	vlab_zero(disk, BLOCK, BLOCK);
	cr_expect(!is_leafs(disk, BLOCK));
	vlab_flush(disk);
	cr_expect_eq(vlab_bat_entry(&lab, "d", 1), BAT_UNUSED);
	cr_expect_neq(vlab_bat_entry(&lab, "d", 0), BAT_UNUSED);
	vlab_close(disk);
	disk = vlab_open(&lab, "d", false);
	cr_expect(vlab_holds(&lab, disk, 0, BLOCK, 1), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, BLOCK, BLOCK, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 2 * BLOCK, BLOCK, 1), "%s", lab.why.text);
	vlab_close(disk);
}

Test(vhd_zero, part_of_a_block_is_zeroed_in_place)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_zero(disk, 512, BLOCK - 1024);
	cr_expect(is_leafs(disk, 512));
	vlab_close(disk);
	disk = vlab_open(&lab, "d", false);
	cr_expect_eq(vlab_tag(disk, 0), 1);
	cr_expect(vlab_holds(&lab, disk, 512, BLOCK - 1024, 0), "%s", lab.why.text);
	cr_expect_eq(vlab_tag(disk, BLOCK - 512), 1);
	vlab_close(disk);
}

Test(vhd_zero, keep_space_keeps_the_block)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct exercise ex = {.model = model_new(8 * BLOCK), .grain_bytes = BLOCK};
	ex.disk = vlab_open(&lab, "d", true);
	vlab_write(ex.disk, 0, BLOCK, 1);
	cr_assert_eq(exercise_do(&ex, DISK_ZERO, DISK_KEEP_SPACE, 0, BLOCK, &lab.why), ERR_OK);
	cr_expect(is_leafs(ex.disk, 0));
	cr_expect(vlab_holds(&lab, ex.disk, 0, BLOCK, 0), "%s", lab.why.text);
	vlab_close(ex.disk);
	model_free(ex.model);
}

Test(vhd_zero, zeros_over_a_parents_data_set_the_bits)
{
	make_child();
	struct disk *disk = vlab_open(&lab, "leaf", true);
	vlab_zero(disk, 512, 1024);        /* a part */
	vlab_zero(disk, BLOCK, BLOCK);     /* the whole */
	vlab_zero(disk, 5 * BLOCK, BLOCK); /* nothing below */
	cr_expect(!is_leafs(disk, 5 * BLOCK));
	vlab_close(disk);
	disk = vlab_open(&lab, "leaf", false);
	cr_expect_eq(vlab_tag(disk, 0), 1);
	cr_expect(vlab_holds(&lab, disk, 512, 1024, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 1536, BLOCK - 1536, 1), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, BLOCK, BLOCK, 0), "%s", lab.why.text);
	cr_expect(vlab_holds(&lab, disk, 2 * BLOCK, 2 * BLOCK, 1), "%s", lab.why.text);
	vlab_close(disk);
	cr_expect_eq(vlab_bat_entry(&lab, "leaf", 5), BAT_UNUSED);
}

Test(vhd_zero, a_block_over_a_parents_data_is_never_dropped)
{
	static const struct {
		bool trim;
		const char *what;
	} ways[] = {{false, "zero"}, {true, "trim"}};

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		make_child();
		struct disk *disk = vlab_open(&lab, "leaf", true);
		vlab_write(disk, 0, BLOCK, 2);
		vlab_flush(disk);
		if (ways[i].trim)
			vlab_trim(disk, 0, BLOCK);
		else
			vlab_zero(disk, 0, BLOCK);
		for (uint64_t at = 0; at < BLOCK; at += 512) {
			uint64_t tag = vlab_tag(disk, at);

			cr_assert(tag == 0 || (ways[i].trim && tag == 2), "%s: %llu", ways[i].what,
				  (unsigned long long)tag);
		}
		vlab_close(disk);
		for (uint64_t at = 0; at < BLOCK; at += 4096)
			cr_assert_neq(vlab_tag_of(&lab, "leaf", at), 1, "%s", ways[i].what);
		file_ns_unlink(lab.ns, "leaf", NULL);
		file_ns_unlink(lab.ns, "base", NULL);
	}
}

Test(vhd_zero, a_trim_of_untouched_sectors_keeps_their_content)
{
	make_child();
	struct disk *disk = vlab_open(&lab, "leaf", true);
	vlab_write(disk, 0, 4096, 2);
	vlab_trim(disk, 0, BLOCK);
	for (uint64_t at = 0; at < BLOCK; at += 512) {
		uint64_t tag = vlab_tag(disk, at), old = at < 4096 ? 2 : 1;

		cr_assert(tag == old || tag == 0, "%llu at %llu", (unsigned long long)tag,
			  (unsigned long long)at);
	}
	vlab_close(disk);
}

Test(vhd_zero, a_block_over_nothing_is_dropped_from_a_child)
{
	make_child();
	struct disk *disk = vlab_open(&lab, "leaf", true);
	vlab_write(disk, 6 * BLOCK, BLOCK, 2);
	vlab_write(disk, 7 * BLOCK, 512, 2);
	vlab_flush(disk);
	cr_assert_neq(vlab_bat_entry(&lab, "leaf", 6), BAT_UNUSED);
	vlab_zero(disk, 6 * BLOCK, BLOCK);
	vlab_trim(disk, 7 * BLOCK, BLOCK);
	vlab_flush(disk);
	cr_expect_eq(vlab_bat_entry(&lab, "leaf", 6), BAT_UNUSED);
	cr_expect_eq(vlab_bat_entry(&lab, "leaf", 7), BAT_UNUSED);
	cr_expect(vlab_holds(&lab, disk, 6 * BLOCK, 2 * BLOCK, 0), "%s", lab.why.text);
	vlab_close(disk);
}

/* ---- reuse (W7) ---- */

Test(vhd_zero, the_space_of_a_dropped_block_is_not_used_before_the_drop_is_durable)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_flush(disk);
	uint64_t place = place_of(disk, 0);
	vlab_zero(disk, 0, BLOCK);
	for (unsigned i = 1; i < 30; i++) {
		vlab_write(disk, (uint64_t)i * BLOCK, BLOCK, 2);
		cr_assert_neq(place_of(disk, (uint64_t)i * BLOCK), place);
	}
	/* nothing of that was flushed: what was is there */
	struct vlab cut = vlab_snapshot(&lab);
	struct disk *after = vlab_open(&cut, "d", true);
	cr_expect(vlab_holds(&cut, after, 0, BLOCK, 1), "%s", cut.why.text);
	vlab_close(after);
	vlab_stop(&cut);
	vlab_close(disk);
}

Test(vhd_zero, the_space_of_dropped_blocks_comes_back_as_zeros)
{
	bool again = false;

	vlab_create(&lab, "d", VHD_DYNAMIC, 64 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_flush(disk);
	uint64_t place = place_of(disk, 0);
	vlab_zero(disk, 0, BLOCK);
	for (unsigned i = 1; i < 40 && !again; i++) {
		uint64_t off = (uint64_t)i * BLOCK;

		vlab_write(disk, off + 512, 512, 2);
		again = place_of(disk, off + 512) == place + 512;
		cr_expect_eq(vlab_tag(disk, off), 0);
		cr_expect(vlab_holds(&lab, disk, off + 1024, BLOCK - 1024, 0), "%s", lab.why.text);
		vlab_flush(disk);
	}
	cr_expect(again, "it was never used again");
	vlab_close(disk);
	disk = vlab_open(&lab, "d", false);
	cr_expect(vlab_holds(&lab, disk, 0, BLOCK + 512, 0), "%s", lab.why.text);
	vlab_close(disk);
}

Test(vhd_zero, a_block_dropped_and_written_again_before_a_flush)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, 8 * BLOCK, NULL);
	struct disk *disk = vlab_open(&lab, "d", true);
	vlab_write(disk, 0, BLOCK, 1);
	vlab_flush(disk);
	vlab_zero(disk, 0, BLOCK);
	vlab_write(disk, 512, 512, 2);
	vlab_zero(disk, 0, BLOCK);
	vlab_write(disk, 1024, 512, 3);
	vlab_close(disk);
	disk = vlab_open(&lab, "d", false);
	cr_expect(vlab_holds(&lab, disk, 0, 1024, 0), "%s", lab.why.text);
	cr_expect_eq(vlab_tag(disk, 1024), 3);
	cr_expect(vlab_holds(&lab, disk, 1536, BLOCK - 1536, 0), "%s", lab.why.text);
	vlab_close(disk);
}
