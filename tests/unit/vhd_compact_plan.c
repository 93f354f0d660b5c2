/* SPDX-License-Identifier: MIT */
/* Where compact moves blocks to, on random layouts; no image needed. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/random.h"
#include "util/bytes.h"
#include "vhd/compact_plan.h"
#include "vhd/order.h"

#define BLOCKS 64u

static char layout_name[] = "layout";

struct layout {
	struct vhd_layer layer;
	struct edit edit;
	uint32_t bat[BLOCKS];
};

static void start(struct layout *layout)
{
	*layout = (struct layout){.layer = {.path = layout_name,
					    .meta_end = 2048,
					    .block_bytes = VHD_MIN_BLOCK,
					    .bitmap_bytes = 512,
					    .blocks = BLOCKS}};
	memset(layout->bat, 0xff, sizeof(layout->bat));
	layout->edit =
	    (struct edit){.layer = &layout->layer, .bat = layout->bat, .bat_entries = BLOCKS};
}

static void stop(struct layout *layout)
{
	free(layout->edit.order);
}

static uint32_t span_sectors(const struct layout *layout)
{
	return (uint32_t)(edit_span_bytes(&layout->layer) / DISK_SECTOR);
}

static void sort(struct layout *layout)
{
	struct err_why why = {0};

	cr_assert_eq(edit_sort(&layout->edit, &why), ERR_OK, "%s", why.text);
}

/* Blocks in random order, mostly side by side, some with a gap of any size before them. */
static void scatter(struct layout *layout, struct rng *rng, uint32_t used)
{
	uint64_t at = layout->layer.meta_end / DISK_SECTOR;

	for (uint32_t i = 0; i < used; i++) {
		uint32_t block = (uint32_t)rng_below(rng, BLOCKS);

		while (layout->bat[block] != BAT_UNUSED)
			block = (block + 1) % BLOCKS;
		if (rng_percent(rng, 40))
			at += rng_below(rng, 5ull * span_sectors(layout));
		else if (rng_percent(rng, 50))
			at = edit_aligned_off(&layout->layer, at * DISK_SECTOR) / DISK_SECTOR;
		layout->bat[block] = (uint32_t)at;
		at += span_sectors(layout);
	}
	layout->layer.footer_off = at * DISK_SECTOR;
	if (rng_percent(rng, 30)) {
		uint64_t from = layout->layer.footer_off + DISK_SECTOR;

		layout->edit.reserved[layout->edit.reserved_count++] =
		    (struct edit_range){from, from + 700};
		layout->layer.footer_off += 4096;
	}
	sort(layout);
}

/* Each target is free now, and the plan brings all targets into the gaps without overlap. */
static void carry_out(struct layout *layout, const struct compact_plan *plan)
{
	uint32_t before[BLOCKS];
	uint32_t span = span_sectors(layout);

	memcpy(before, layout->bat, sizeof(before));
	for (uint32_t i = 0; i < plan->count; i++) {
		const struct edit_change *move = &plan->move[i];

		cr_assert_lt(move->place, before[move->block], "a move goes down");
		for (uint32_t b = 0; b < BLOCKS; b++)
			cr_assert(before[b] == BAT_UNUSED || move->place + span <= before[b] ||
				      before[b] + span <= move->place,
				  "a target is in use");
	}
	edit_assume(&layout->edit, plan->move, plan->count);
	sort(layout); /* fails on overlaps */
}

static uint64_t longest_gap(const struct layout *layout, uint64_t end_off)
{
	struct edit_gap gap = {0};
	uint64_t longest = 0;

	while (edit_next_gap(&layout->edit, &gap)) {
		if (gap.free.to < end_off)
			longest = max_u64(longest, gap.free.to - gap.free.from);
	}
	return longest;
}

Test(vhd_compact_plan, leaves_no_hole_for_a_block_and_nothing_to_do_again)
{
	for (uint64_t seed = 1; seed <= 500; seed++) {
		struct rng rng = rng_seed(seed);
		struct layout layout;
		struct compact_plan plan, again;

		start(&layout);
		scatter(&layout, &rng, 1 + (uint32_t)rng_below(&rng, BLOCKS));
		cr_assert_eq(compact_plan_make(&layout.edit, &plan, NULL), ERR_OK);
		carry_out(&layout, &plan);
		cr_assert_eq(edit_end(&layout.edit), plan.end_off);
		if (!layout.edit.reserved_count)
			cr_assert_lt(longest_gap(&layout, plan.end_off),
				     edit_span_bytes(&layout.layer), "seed %llu",
				     (unsigned long long)seed);
		cr_assert_eq(compact_plan_make(&layout.edit, &again, NULL), ERR_OK);
		cr_assert_eq(again.count, 0, "seed %llu", (unsigned long long)seed);
		cr_assert_eq(again.end_off, plan.end_off);
		compact_plan_free(&plan);
		compact_plan_free(&again);
		stop(&layout);
	}
}

Test(vhd_compact_plan, packs_a_foreign_layout_without_a_gap)
{
	struct layout layout;
	struct compact_plan plan;
	uint32_t span;

	/* side by side as other producers do, every other block gone */
	start(&layout);
	span = span_sectors(&layout);
	for (uint32_t i = 0; i < BLOCKS; i += 2)
		layout.bat[i] = 4 + i * span;
	layout.layer.footer_off = (4ull + (uint64_t)BLOCKS * span) * DISK_SECTOR;
	sort(&layout);
	cr_assert_eq(compact_plan_make(&layout.edit, &plan, NULL), ERR_OK);
	cr_assert_eq(plan.count, BLOCKS / 4);
	cr_assert_eq(plan.end_off, (4ull + (uint64_t)BLOCKS / 2 * span) * DISK_SECTOR);
	compact_plan_free(&plan);
	stop(&layout);
}

Test(vhd_compact_plan, keeps_data_aligned_where_it_costs_no_block)
{
	struct layout layout;
	struct compact_plan plan;

	/* four blocks far behind a hole for eight */
	start(&layout);
	for (uint32_t i = 0; i < 4; i++)
		layout.bat[i] = 4 + (8 + i) * span_sectors(&layout);
	layout.layer.footer_off = (4ull + 12 * span_sectors(&layout)) * DISK_SECTOR;
	sort(&layout);
	cr_assert_eq(compact_plan_make(&layout.edit, &plan, NULL), ERR_OK);
	cr_assert_eq(plan.count, 4);
	for (uint32_t i = 0; i < 4; i++)
		cr_assert_eq(layer_data_off(&layout.layer, plan.move[i].place) % 4096, 0);
	compact_plan_free(&plan);
	stop(&layout);
}

Test(vhd_compact_plan, never_puts_a_block_on_a_locator)
{
	struct layout layout;
	struct compact_plan plan;
	uint32_t span;

	start(&layout);
	span = span_sectors(&layout);
	layout.bat[0] = 4 + 3 * span;
	layout.layer.footer_off = (4ull + 4 * span) * DISK_SECTOR;
	layout.edit.reserved[0] = (struct edit_range){8192, 8192 + 4096};
	layout.edit.reserved_count = 1;
	sort(&layout);
	cr_assert_eq(compact_plan_make(&layout.edit, &plan, NULL), ERR_OK);
	cr_assert_eq(plan.count, 1);
	cr_assert_geq(layer_bitmap_off(plan.move[0].place), 8192 + 4096);
	compact_plan_free(&plan);
	stop(&layout);
}

Test(vhd_compact_plan, leaves_a_block_device_alone)
{
	struct layout layout;
	struct compact_plan plan;

	start(&layout);
	layout.layer.info.block_device = true;
	layout.bat[0] = 4 + 3 * span_sectors(&layout);
	layout.layer.footer_off = (4ull + 4 * span_sectors(&layout)) * DISK_SECTOR;
	sort(&layout);
	cr_assert_eq(compact_plan_make(&layout.edit, &plan, NULL), ERR_OK);
	cr_assert_eq(plan.count, 0);
	compact_plan_free(&plan);
	stop(&layout);
}

Test(vhd_compact_plan, sorts_blocks_by_place)
{
	const uint32_t count = 20000;
	uint32_t *bat = malloc(count * sizeof(*bat)), *order = malloc(count * sizeof(*order));
	static const uint32_t mask[] = {0xffffffff, 0xff, 0xff000000, 0x00ffff00, 0};

	cr_assert(bat && order);
	for (unsigned m = 0; m < ARRAY_LEN(mask); m++) {
		struct rng rng = rng_seed(m);
		uint64_t sum = 0;

		for (uint32_t i = 0; i < count; i++) {
			bat[i] = (uint32_t)rng_next(&rng) & mask[m];
			order[i] = i;
		}
		order_by_place(order, count, bat);
		for (uint32_t i = 0; i < count; i++) {
			sum += order[i];
			cr_assert(i == 0 || bat[order[i - 1]] <= bat[order[i]]);
		}
		cr_assert_eq(sum, (uint64_t)count * (count - 1) / 2);
	}
	free(bat);
	free(order);
}
