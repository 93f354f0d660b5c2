/* SPDX-License-Identifier: MIT */
/* Sizes as people write them, and names that may be hostile. */
#include <criterion/criterion.h>
#include <string.h>

#include "util/text.h"

static uint64_t parsed(const char *text)
{
	struct size_arg arg;

	cr_assert(size_parse(text, &arg), "%s", text);
	return arg.bytes;
}

Test(util_text, sizes_with_units)
{
	cr_expect_eq(parsed("4096"), 4096);
	cr_expect_eq(parsed("0"), 0);
	cr_expect_eq(parsed("10G"), 10ull << 30);
	cr_expect_eq(parsed("3k"), 3ull << 10);
	cr_expect_eq(parsed("3KiB"), 3ull << 10);
	cr_expect_eq(parsed("3mB"), 3ull << 20);
	cr_expect_eq(parsed("2040G"), 2040ull << 30);
	cr_expect_eq(parsed("512B"), 512);
}

Test(util_text, sizes_with_fractions)
{
	cr_expect_eq(parsed("1.5T"), 3ull << 39);
	cr_expect_eq(parsed("0.5k"), 512);
	cr_expect_eq(parsed("1.0"), 1);
	cr_expect_eq(parsed("1.500000000000000000000000000K"), 1536);
	cr_expect_eq(parsed("0.0009765625M"), 1024);
}

Test(util_text, a_plus_makes_it_relative)
{
	struct size_arg arg;

	cr_expect(size_parse("+512M", &arg));
	cr_expect(arg.relative);
	cr_expect_eq(arg.bytes, 512ull << 20);
	cr_expect(size_parse("512M", &arg));
	cr_expect(!arg.relative);
}

Test(util_text, anything_else_is_refused)
{
	static const char *const bad[] = {"",          "+",
					  "G",         "-1",
					  "+-1",       " 1",
					  "1 ",        "1 G",
					  "1.",        ".5G",
					  "1.5",       "0.3K",
					  "1GG",       "1Gi",
					  "1iB",       "1X",
					  "0x1",       "1e3",
					  "1.2.3",     "++1",
					  "1KBB",      "1P",
					  "1.5.G",     "18446744073709551616",
					  "16777216T", "0.0000000000000000001T"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct size_arg arg = {.bytes = 77};

		cr_expect(!size_parse(bad[i], &arg), "%s", bad[i]);
		cr_expect_eq(arg.bytes, 77);
	}
	cr_expect_eq(parsed("18446744073709551615"), UINT64_MAX);
}

static const char *shown(uint64_t bytes)
{
	static char out[32];

	return size_text(bytes, out, sizeof(out));
}

Test(util_text, sizes_are_shown_in_their_largest_unit)
{
	cr_expect_str_eq(shown(0), "0 B");
	cr_expect_str_eq(shown(1023), "1023 B");
	cr_expect_str_eq(shown(1024), "1 KiB");
	cr_expect_str_eq(shown(3ull << 29), "1.5 GiB");
	cr_expect_str_eq(shown(2040ull << 30), "2 TiB");
	cr_expect_str_eq(shown(1900ull << 30), "1.9 TiB");
	cr_expect_str_eq(shown((1ull << 20) - 1), "1 MiB");
	cr_expect_str_eq(shown(UINT64_MAX), "16 EiB");
}

static const char *escaped(const char *in)
{
	static char out[64];

	return text_escape(in, out, sizeof(out));
}

Test(util_text, escaping_leaves_ordinary_names_alone)
{
	cr_expect_str_eq(escaped("disk 1.vhd"), "disk 1.vhd");
	cr_expect_str_eq(escaped("\xc3\xa9\xe2\x82\xac"), "\xc3\xa9\xe2\x82\xac");
}

Test(util_text, escaping_shows_what_a_terminal_would_obey)
{
	cr_expect_str_eq(escaped("a\x1b[2J\n"), "a\\x1b[2J\\x0a");
	cr_expect_str_eq(escaped("\x7f"), "\\x7f");
	cr_expect_str_eq(escaped("\xc2\x9b"), "\\xc2\\x9b", "CSI as one character");
	cr_expect_str_eq(escaped("C:\\x"), "C:\\\\x");
}

Test(util_text, escaping_shows_invalid_bytes)
{
	cr_expect_str_eq(escaped("a\xff"
				 "b\xc3"),
			 "a\\xffb\\xc3");
	cr_expect_str_eq(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

Test(util_text, long_names_are_cut_between_characters)
{
	char out[8];

	cr_expect_str_eq(text_escape("1234567", out, sizeof(out)), "1234567");
	cr_expect_str_eq(text_escape("12345678", out, sizeof(out)), "1234...");
	cr_expect_str_eq(text_escape("123\xc3\xa9xyz", out, sizeof(out)), "123...");
	cr_expect_str_eq(text_escape("1\n\n\n", out, sizeof(out)), "1...");
	cr_expect_str_eq(text_escape("123456", out, 3), "..");
	cr_expect_str_eq(text_escape("123456", out, 1), "");
}
