/* SPDX-License-Identifier: MIT */
/* UTF-16 of locators and parent names: whole characters or an error. */
#include <criterion/criterion.h>
#include <string.h>

#include "util/utf16.h"
#include "util/utf8.h"

/* "aé€" and U+1F4BE, which takes two units. */
#define TEXT "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe"
static const uint8_t be[] = {0x00, 0x61, 0x00, 0xe9, 0x20, 0xac, 0xd8, 0x3d, 0xdc, 0xbe};
static const uint8_t le[] = {0x61, 0x00, 0xe9, 0x00, 0xac, 0x20, 0x3d, 0xd8, 0xbe, 0xdc};

static bool decode(const uint8_t *in, size_t len, bool strict)
{
	char out[64];

	return utf16_to_utf8(in, len, UTF16_BE, strict, out, sizeof(out));
}

static bool encode(const char *in)
{
	uint8_t out[64];
	size_t len = sizeof(out);

	return utf8_to_utf16(in, UTF16_LE, out, &len);
}

Test(util_utf16, decodes_both_orders)
{
	char out[64];

	cr_expect(utf16_to_utf8(be, sizeof(be), UTF16_BE, true, out, sizeof(out)));
	cr_expect_str_eq(out, TEXT);
	cr_expect(utf16_to_utf8(le, sizeof(le), UTF16_LE, true, out, sizeof(out)));
	cr_expect_str_eq(out, TEXT);
}

Test(util_utf16, encodes_both_orders_without_terminator)
{
	uint8_t out[sizeof(be)];
	size_t len = sizeof(out);

	cr_expect(utf8_to_utf16(TEXT, UTF16_BE, out, &len));
	cr_expect_eq(len, sizeof(be));
	cr_expect_arr_eq(out, be, sizeof(be));
	cr_expect(utf8_to_utf16(TEXT, UTF16_LE, out, &len));
	cr_expect_arr_eq(out, le, sizeof(le));
}

Test(util_utf16, decoding_stops_at_nul)
{
	const uint8_t padded[] = {0, 'a', 0, 0, 0, 0};
	const uint8_t dirty[] = {0, 'a', 0, 0, 0, 'b'};

	cr_expect(decode(padded, sizeof(padded), true));
	cr_expect(decode(dirty, sizeof(dirty), false));
	cr_expect(!decode(dirty, sizeof(dirty), true), "hidden text after the terminator");
}

Test(util_utf16, refuses_broken_units)
{
	const uint8_t lone_high[] = {0xd8, 0x3d, 0, 'a'}, lone_low[] = {0xdc, 0xbe};

	cr_expect(!decode(lone_high, 4, false));
	cr_expect(!decode(lone_high, 2, false), "cut after the first half");
	cr_expect(!decode(lone_low, 2, false));
	cr_expect(!decode(be, 3, false), "odd length");
}

Test(util_utf16, needs_room_for_the_terminator)
{
	char out[sizeof(TEXT)];

	cr_expect(utf16_to_utf8(be, sizeof(be), UTF16_BE, true, out, sizeof(TEXT)));
	cr_expect(!utf16_to_utf8(be, sizeof(be), UTF16_BE, true, out, sizeof(TEXT) - 1));
	cr_expect(!utf16_to_utf8(be, 0, UTF16_BE, true, out, 0));
}

Test(util_utf16, encoding_needs_room)
{
	uint8_t out[sizeof(be)];
	size_t len = sizeof(be) - 1;

	cr_expect(!utf8_to_utf16(TEXT, UTF16_BE, out, &len));
}

Test(util_utf16, refuses_invalid_utf8)
{
	cr_expect(encode("\xed\x9f\xbf"), "the last before the surrogates");
	cr_expect(encode("\xf4\x8f\xbf\xbf"), "the last of all");
	cr_expect(!encode("\xed\xa0\x80"), "a surrogate");
	cr_expect(!encode("\xf4\x90\x80\x80"), "beyond U+10FFFF");
	cr_expect(!encode("\xc0\xaf"), "overlong");
	cr_expect(!encode("\xe0\x80\xaf"), "overlong");
	cr_expect(!encode("\xf0\x80\x80\xaf"), "overlong");
	cr_expect(!encode("\x80"), "no first byte");
	cr_expect(!encode("\xe2\x82"), "cut short");
	cr_expect(!encode("\xff"));
}

Test(util_utf16, every_character_survives_the_round_trip)
{
	for (uint32_t c = 1; c <= 0x10ffff; c += c < 0x3000 ? 1 : 251) {
		char text[UTF8_MAX_BYTES + 1] = "", back[UTF8_MAX_BYTES + 1];
		uint8_t units[4];
		size_t len = sizeof(units);
		uint32_t again;

		if (c >= 0xd800 && c < 0xe000)
			continue;
		utf8_encode(c, text);
		cr_assert_eq(utf8_decode(text, &again), strlen(text));
		cr_assert_eq(again, c);
		cr_assert(utf8_to_utf16(text, UTF16_LE, units, &len));
		cr_assert(utf16_to_utf8(units, len, UTF16_LE, true, back, sizeof(back)));
		cr_assert_str_eq(back, text);
	}
}
