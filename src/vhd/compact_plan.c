/* SPDX-License-Identifier: MIT */
#include "vhd/compact_plan.h"

#include <stdlib.h>

#include "util/bytes.h"

/* Places for blocks in one gap, `stride` apart. */
struct row {
	uint64_t first;
	uint64_t stride;
	uint64_t count;
};

static struct row row_in(uint64_t first, uint64_t stride, uint64_t span, uint64_t end)
{
	struct row row = {first, stride, 0};

	if (first < end && end - first >= span)
		row.count = (end - first - span) / stride + 1;
	return row;
}

/* The best row for up to `wanted` blocks. */
static struct row choose_row(const struct vhd_layer *layer, const struct edit_range *gap,
			     uint64_t wanted)
{
	uint64_t span = edit_span_bytes(layer);
	uint64_t from = div_round_up(gap->from, DISK_SECTOR) * DISK_SECTOR;
	struct row dense = row_in(from, span, span, gap->to);
	struct row aligned =
	    row_in(edit_aligned_off(layer, from), edit_aligned_stride(layer), span, gap->to);
	struct row row = aligned.count >= min_u64(wanted, dense.count) ? aligned : dense;

	row.count = min_u64(row.count, wanted);
	return row;
}

static bool reserve(struct compact_plan *plan, uint32_t *room, uint64_t more)
{
	if (plan->count + more <= *room)
		return true;
	uint64_t grown_room = max_u64(plan->count + more, 2ull * *room);
	struct edit_change *grown = realloc(plan->move, grown_room * sizeof(*grown));

	if (!grown)
		return false;
	plan->move = grown;
	*room = (uint32_t)grown_room;
	return true;
}

static uint64_t block_end(const struct edit *edit, uint32_t place)
{
	return layer_bitmap_off(place) + edit_span_bytes(edit->layer);
}

/* Metadata, the blocks that stay (the first `staying` of the order) and those that have moved. */
static uint64_t find_end(const struct edit *edit, const struct compact_plan *plan, uint32_t staying)
{
	uint64_t end = edit->layer->meta_end;

	for (unsigned i = 0; i < edit->reserved_count; i++)
		end = max_u64(end, edit->reserved[i].to);
	if (staying)
		end = max_u64(end, block_end(edit, edit->bat[edit->order[staying - 1]]));
	if (plan->count)
		end = max_u64(end, block_end(edit, plan->move[plan->count - 1].place));
	return round_up(end, DISK_SECTOR);
}

enum err compact_plan_make(const struct edit *edit, struct compact_plan *out, struct err_why *why)
{
	uint32_t staying = edit->used;
	uint32_t room = 0;
	struct edit_gap gap = {0};

	*out = (struct compact_plan){0};
	/* A device cannot end earlier. */
	while (!edit->layer->info.block_device && edit_next_gap(edit, &gap)) {
		/* gap.block is the first block above the gap */
		if (staying <= gap.block)
			break;
		struct row row = choose_row(edit->layer, &gap.free, staying - gap.block);
		if (!reserve(out, &room, row.count)) {
			compact_plan_free(out);
			return err_set(why, ERR_NOMEM, "out of memory");
		}
		for (uint64_t i = 0; i < row.count; i++)
			out->move[out->count++] = (struct edit_change){
			    .block = edit->order[--staying],
			    .place = (uint32_t)((row.first + i * row.stride) / DISK_SECTOR)};
	}
	out->end_off = find_end(edit, out, staying);
	return ERR_OK;
}

void compact_plan_free(struct compact_plan *plan)
{
	free(plan->move);
	*plan = (struct compact_plan){0};
}
