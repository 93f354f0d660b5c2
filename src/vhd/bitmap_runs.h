/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_BITMAP_RUNS_H
#define STRATA_VHD_BITMAP_RUNS_H

/* Walking the runs of a sector bitmap (bitmap.h), and taking sectors out of one. */

#include "vhd/bitmap.h"

/* The first sector of [from, limit) whose bit is `set`, or limit. */
static inline uint32_t bitmap_next(const uint8_t *bitmap, uint32_t from, uint32_t limit, bool set)
{
	while (from < limit) {
		uint64_t word = bitmap_word(bitmap, from / 64);

		word = (set ? word : ~word) << from % 64;
		if (word) {
			from += (uint32_t)__builtin_clzll(word);
			return from < limit ? from : limit;
		}
		from = (from / 64 + 1) * 64;
	}
	return limit;
}

static inline void bitmap_clear(uint8_t *bitmap, uint32_t first, uint32_t count)
{
	while (count) {
		uint32_t bit = first % 64;
		uint32_t n = count < 64 - bit ? count : 64 - bit;
		uint8_t *at = bitmap + (size_t)(first / 64) * 8;

		put_be64(at, get_be64(at) & ~bitmap_word_mask(bit, n));
		first += n;
		count -= n;
	}
}

#endif
