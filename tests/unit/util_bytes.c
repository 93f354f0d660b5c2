/* SPDX-License-Identifier: MIT */
/* Integers in buffers, checked arithmetic, and the search for zeros. */
#include <criterion/criterion.h>
#include <string.h>

#include "util/bytes.h"

Test(util_bytes, getters_read_their_byte_order_at_any_alignment)
{
	const uint8_t b[] = {0xff, 0x01, 0x82, 0x03, 0x84, 0x05, 0x86, 0x07, 0x88};

	cr_expect_eq(get_be16(b + 1), 0x0182);
	cr_expect_eq(get_le16(b + 1), 0x8201);
	cr_expect_eq(get_be32(b + 1), 0x01820384u);
	cr_expect_eq(get_le32(b + 1), 0x84038201u);
	cr_expect_eq(get_be64(b + 1), 0x0182038405860788ull);
	cr_expect_eq(get_le64(b + 1), 0x8807860584038201ull);
}

Test(util_bytes, putters_undo_getters)
{
	uint8_t b[8];

	put_be16(b, 0xfedc);
	cr_expect_eq(get_be16(b), 0xfedc);
	put_le16(b, 0xfedc);
	cr_expect_eq(get_le16(b), 0xfedc);
	put_be32(b, 0xfedcba98u);
	cr_expect_eq(get_be32(b), 0xfedcba98u);
	put_le32(b, 0xfedcba98u);
	cr_expect_eq(get_le32(b), 0xfedcba98u);
	put_be64(b, 0xfedcba9876543210ull);
	cr_expect_eq(get_be64(b), 0xfedcba9876543210ull);
	put_le64(b, 0xfedcba9876543210ull);
	cr_expect_eq(get_le64(b), 0xfedcba9876543210ull);
}

Test(util_bytes, checked_arithmetic_refuses_what_does_not_fit)
{
	uint64_t out = 7;

	cr_expect(!checked_add(UINT64_MAX, 1, &out));
	cr_expect(!checked_mul(1ull << 32, 1ull << 32, &out));
	cr_expect_eq(out, 7, "left alone");
	cr_expect(checked_add(UINT64_MAX - 1, 1, &out));
	cr_expect_eq(out, UINT64_MAX);
	cr_expect(checked_mul(1ull << 32, (1ull << 32) - 1, &out));
	cr_expect_eq(out, 0xffffffff00000000ull);
}

Test(util_bytes, rounding)
{
	cr_expect_eq(round_down(1023, 512), 512);
	cr_expect_eq(round_up(513, 512), 1024);
	cr_expect_eq(round_up(1024, 512), 1024);
	cr_expect_eq(div_round_up(UINT64_MAX, 2), 1ull << 63);
	cr_expect(is_power_of_two(1ull << 63));
	cr_expect(!is_power_of_two(0));
	cr_expect(!is_power_of_two(96));
}

Test(util_bytes, touching_ranges_do_not_overlap)
{
	cr_expect(!ranges_overlap(0, 10, 10, 10));
	cr_expect(ranges_overlap(0, 11, 10, 10));
	cr_expect(ranges_overlap(10, 1, 0, 20));
}

Test(util_bytes, one_byte_anywhere_is_not_zero)
{
	static uint8_t buf[1100];

	for (size_t start = 0; start < 3; start++) {
		for (size_t len = 0; len < 1030; len += len < 600 ? 1 : 61) {
			cr_assert(bytes_are_zero(buf + start, len));
			for (size_t i = 0; i < len; i += 1 + i % 7) {
				buf[start + i] = 0x80;
				cr_assert(!bytes_are_zero(buf + start, len), "len %zu byte %zu",
					  len, i);
				buf[start + i] = 0;
			}
		}
	}
}

Test(util_bytes, neighbours_are_not_looked_at)
{
	uint8_t buf[768];

	memset(buf, 0xff, sizeof(buf));
	for (size_t len = 0; len <= 600; len++) {
		memset(buf + 64, 0, len);
		cr_assert(bytes_are_zero(buf + 64, len), "len %zu", len);
	}
}
