/* SPDX-License-Identifier: MIT */

/*
 * W9: zeroes and trims, one block at a time. What no layer has reads as zero and needs nothing. In
 * a differencing disk zeros over a parent's data are written like data, bit and all; a block
 * is dropped only where nothing lies below it, so that a parent's data can never come back.
 */

#include "util/bytes.h"
#include "vhd/image.h"

static bool may_drop(const struct disk_req *req)
{
	return req->op == DISK_TRIM || !(req->flags & DISK_KEEP_SPACE);
}

/* Drop the leaf's block as a whole when nothing below it would show. */
static enum err try_drop(struct op *op, uint32_t block, uint32_t sectors, bool *dropped,
			 struct err_why *why)
{
	struct image *image = op->image;
	bool below_is_zero = false;

	*dropped = false;
	if (!may_drop(op->req) || !leaf_can_drop(image->leaf, block))
		return ERR_OK;
	enum err e = owner_below_is_zero(&image->owner, block, &below_is_zero, why);
	if (e || !below_is_zero)
		return e;
	e = leaf_drop(image->leaf, block, op->seq, why);
	if (e)
		return e;
	owner_assign(&image->owner, block, 0, sectors, OWNER_NONE, 0);
	*dropped = true;
	return ERR_OK;
}

static enum err zero_run(struct op *op, uint32_t block, uint32_t layer, uint32_t first,
			 uint32_t count, struct err_why *why)
{
	const struct disk_req *req = op->req;
	bool owned = layer == op->image->chain.count - 1;
	enum file_op kind = req->flags & DISK_KEEP_SPACE ? FILE_ZERO : FILE_PUNCH;

	if (layer == OWNER_NONE || (req->op == DISK_TRIM && !owned))
		return ERR_OK;
	return op_add_leaf_part(op, kind, block, first, count, owned, why);
}

enum err zero_block(struct op *op, uint32_t block, uint32_t first, uint32_t count,
		    struct err_why *why)
{
	struct image *image = op->image;
	struct owner_map *owner = &image->owner;
	uint64_t block_off = (uint64_t)block * owner->block_bytes;
	uint32_t in_disk =
	    (uint32_t)(min_u64(owner->block_bytes, owner->size_bytes - block_off) / DISK_SECTOR);
	const struct owner_run *runs;
	uint32_t n;
	enum err e = owner_get(owner, block, &runs, &n, why);

	if (!e && first == 0 && count == in_disk && (n > 1 || runs[0].layer != OWNER_NONE)) {
		bool dropped;

		e = try_drop(op, block, owner->block_sectors, &dropped, why);
		if (e || dropped)
			return e;
		e = owner_get(owner, block, &runs, &n, why);
	}
	for (uint32_t i = 0; i < n && !e; i++) {
		uint32_t run_end = i + 1 < n ? runs[i + 1].first : owner->block_sectors;
		uint32_t from = runs[i].first > first ? runs[i].first : first;
		uint32_t to = run_end < first + count ? run_end : first + count;

		if (from < to)
			e = zero_run(op, block, runs[i].layer, from, to - from, why);
	}
	return e;
}
