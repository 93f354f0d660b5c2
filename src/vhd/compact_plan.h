/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_COMPACT_PLAN_H
#define STRATA_VHD_COMPACT_PLAN_H

/*
 * Which blocks to move so that the file can end earlier: the highest ones into the lowest gaps,
 * each at most once, as many as fit. Pure: reads nothing but what `edit` has in memory.
 *
 * Moved blocks have their data on a 4 KiB boundary as long as that does not cost a gap a block.
 * Gaps in files of other producers are a multiple of a stride that is no multiple of 4 KiB; filling
 * them side by side is the only way to fill them whole.
 *
 * Planning again after the plan has been carried out gives no moves and the same end.
 */

#include "vhd/edit.h"

struct compact_plan {
	struct edit_change *move;
	uint32_t count;
	uint64_t end_off; /* where the footer can be afterwards */
};

/* `edit` is sorted and without the blocks that go. ERR_NOMEM only. */
enum err compact_plan_make(const struct edit *edit, struct compact_plan *out, struct err_why *why);
void compact_plan_free(struct compact_plan *plan);

#endif
