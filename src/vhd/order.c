/* SPDX-License-Identifier: MIT */
#include "vhd/order.h"

#include <stdbool.h>

#define DIGIT_BITS 8u
#define DIGITS     (1u << DIGIT_BITS)
#define FEW        32u /* below this an insertion sort is faster */

static bool in_order(const uint32_t *blocks, uint32_t count, const uint32_t *bat)
{
	for (uint32_t i = 1; i < count; i++) {
		if (bat[blocks[i - 1]] > bat[blocks[i]])
			return false;
	}
	return true;
}

static void sort_few(uint32_t *blocks, uint32_t count, const uint32_t *bat)
{
	for (uint32_t i = 1; i < count; i++) {
		uint32_t block = blocks[i], at = i;

		for (; at > 0 && bat[blocks[at - 1]] > bat[block]; at--)
			blocks[at] = blocks[at - 1];
		blocks[at] = block;
	}
}

/* Put every block in the range of its digit: [start, end) of each digit is what is still wrong. */
static void distribute(uint32_t *blocks, const uint32_t *bat, unsigned shift,
		       uint32_t start[DIGITS], const uint32_t end[DIGITS])
{
	for (unsigned digit = 0; digit < DIGITS; digit++) {
		while (start[digit] < end[digit]) {
			uint32_t block = blocks[start[digit]];
			unsigned to = bat[block] >> shift & (DIGITS - 1);

			blocks[start[digit]] = blocks[start[to]];
			blocks[start[to]++] = block;
		}
	}
}

/* One digit, most significant first; calls itself for the next one, so four deep at most. */
static void sort_digit(uint32_t *blocks, uint32_t count, const uint32_t *bat, unsigned shift)
{
	uint32_t start[DIGITS] = {0}, end[DIGITS];
	uint32_t sum = 0;

	if (count < FEW) {
		sort_few(blocks, count, bat);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		start[bat[blocks[i]] >> shift & (DIGITS - 1)]++;
	for (unsigned digit = 0; digit < DIGITS; digit++) {
		end[digit] = sum + start[digit];
		start[digit] = sum;
		sum = end[digit];
	}
	distribute(blocks, bat, shift, start, end);
	if (!shift)
		return;
	for (unsigned digit = 0; digit < DIGITS; digit++) {
		uint32_t from = digit ? end[digit - 1] : 0;

		sort_digit(blocks + from, end[digit] - from, bat, shift - DIGIT_BITS);
	}
}

void order_by_place(uint32_t *blocks, uint32_t count, const uint32_t *bat)
{
	if (!in_order(blocks, count, bat))
		sort_digit(blocks, count, bat, 32 - DIGIT_BITS);
}
