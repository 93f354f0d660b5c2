/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_BITMAP_H
#define STRATA_VHD_BITMAP_H

/*
 * A block's sector bitmap: one bit a sector, most significant bit of the first byte first (proven
 * by data, docs/FORMATS.md). Every block has a whole number of 64-bit words of bits, because the
 * smallest block has 128 sectors; `word` gives sectors 64*i .. 64*i+63 with the first at bit 63.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "util/bytes.h"

static inline uint64_t bitmap_word(const uint8_t *bitmap, uint32_t word_idx)
{
	return get_be64(bitmap + (size_t)word_idx * 8);
}

static inline bool bitmap_test(const uint8_t *bitmap, uint32_t sector)
{
	return bitmap[sector >> 3] >> (7 - (sector & 7)) & 1;
}

/* Bits [first, first+count) within a word, first + count <= 64, count > 0. */
static inline uint64_t bitmap_word_mask(uint32_t first, uint32_t count)
{
	return (count == 64 ? ~0ull : (1ull << count) - 1) << (64 - first - count);
}

static inline void bitmap_set(uint8_t *bitmap, uint32_t first, uint32_t count)
{
	while (count) {
		uint32_t bit = first % 64;
		uint32_t n = count < 64 - bit ? count : 64 - bit;
		uint8_t *at = bitmap + (size_t)(first / 64) * 8;

		put_be64(at, get_be64(at) | bitmap_word_mask(bit, n));
		first += n;
		count -= n;
	}
}

/* Whether all bits of [first, first+count) are set. */
static inline bool bitmap_all(const uint8_t *bitmap, uint32_t first, uint32_t count)
{
	while (count) {
		uint32_t bit = first % 64;
		uint32_t n = count < 64 - bit ? count : 64 - bit;
		uint64_t mask = bitmap_word_mask(bit, n);

		if ((bitmap_word(bitmap, first / 64) & mask) != mask)
			return false;
		first += n;
		count -= n;
	}
	return true;
}

static inline uint32_t bitmap_count(const uint8_t *bitmap, uint32_t sectors)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sectors / 64; i++)
		count += (uint32_t)__builtin_popcountll(bitmap_word(bitmap, i));
	return count;
}

#endif
