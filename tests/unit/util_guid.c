/* SPDX-License-Identifier: MIT */
/* Identifiers: text in storage order, both ways. */
#include <criterion/criterion.h>

#include "util/guid.h"

static const struct guid sample = {{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x01, 0x23,
				    0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}};
#define SAMPLE_TEXT "12345678-9abc-def0-0123-456789abcdef"

Test(util_guid, text_shows_bytes_in_storage_order)
{
	char text[GUID_TEXT_BYTES];

	cr_expect_str_eq(guid_text(&sample, text), SAMPLE_TEXT);
}

Test(util_guid, parse_takes_either_case)
{
	struct guid g;

	cr_expect(guid_parse(SAMPLE_TEXT, &g));
	cr_expect(guid_equal(&g, &sample));
	cr_expect(guid_parse("12345678-9ABC-DEF0-0123-456789ABCDEF", &g));
	cr_expect(guid_equal(&g, &sample));
}

Test(util_guid, parse_refuses_other_forms)
{
	struct guid g = sample;

	cr_expect(!guid_parse("", &g));
	cr_expect(!guid_parse("123456789abcdef00123456789abcdef", &g));
	cr_expect(!guid_parse(SAMPLE_TEXT "0", &g));
	cr_expect(!guid_parse("1234567g-9abc-def0-0123-456789abcdef", &g));
	cr_expect(guid_equal(&g, &sample), "left alone");
}

Test(util_guid, fresh_ones_differ_and_are_version_4)
{
	struct guid a = guid_new(), b = guid_new(), zero = {{0}};

	cr_expect(!guid_equal(&a, &b));
	cr_expect_eq(a.b[6] >> 4, 4);
	cr_expect(!guid_is_zero(&a));
	cr_expect(guid_is_zero(&zero));
}
