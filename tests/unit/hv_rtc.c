/* SPDX-License-Identifier: MIT */
/* The clock of a PC: what time it tells, being set, and the RAM behind it. */
#include <criterion/criterion.h>
#include <time.h>

#include "hv/rtc.h"

#define NS 1000000000ull

static uint8_t look(struct rtc *rtc, uint8_t index, uint64_t utc_ns)
{
	rtc_write(rtc, 0x70, index, utc_ns);
	return rtc_read(rtc, 0x71, utc_ns);
}

static void put(struct rtc *rtc, uint8_t index, uint8_t value, uint64_t utc_ns)
{
	rtc_write(rtc, 0x70, index, utc_ns);
	rtc_write(rtc, 0x71, value, utc_ns);
}

/* A time in BCD as it is in the registers: century, year, month, day, weekday, h, m, s. */
struct reading {
	uint8_t v[8];
};

static const uint8_t registers[8] = {0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00};

static struct reading read_all(struct rtc *rtc, uint64_t utc_ns)
{
	struct reading r;

	for (unsigned i = 0; i < 8; i++)
		r.v[i] = look(rtc, registers[i], utc_ns);
	return r;
}

static void expect_reading(struct rtc *rtc, int64_t s, struct reading want)
{
	struct reading got = read_all(rtc, (uint64_t)s * NS);

	for (unsigned i = 0; i < 8; i++)
		cr_expect_eq(got.v[i], want.v[i], "register 0x%02x at %lld: %02x, not %02x",
			     registers[i], (long long)s, got.v[i], want.v[i]);
}

Test(hv_rtc, tells_the_time_in_bcd)
{
	struct rtc rtc;

	rtc_init(&rtc);
	expect_reading(&rtc, 0, (struct reading){{0x19, 0x70, 0x01, 0x01, 0x05, 0, 0, 0}});
	expect_reading(&rtc, 951782399,
		       (struct reading){{0x20, 0x00, 0x02, 0x28, 0x02, 0x23, 0x59, 0x59}});
	expect_reading(&rtc, 951782400,
		       (struct reading){{0x20, 0x00, 0x02, 0x29, 0x03, 0x00, 0x00, 0x00}});
	expect_reading(&rtc, 1767225599,
		       (struct reading){{0x20, 0x25, 0x12, 0x31, 0x04, 0x23, 0x59, 0x59}});
	expect_reading(&rtc, 4107542400,
		       (struct reading){{0x21, 0x00, 0x03, 0x01, 0x02, 0x00, 0x00, 0x00}});
}

Test(hv_rtc, says_what_it_is)
{
	struct rtc rtc;

	rtc_init(&rtc);
	cr_expect_eq(look(&rtc, 0x0A, 0), 0x26);
	cr_expect_eq(look(&rtc, 0x0B, 0), 0x02, "24 hours, BCD, no interrupt");
	cr_expect_eq(look(&rtc, 0x0C, 0), 0x00);
	cr_expect_eq(look(&rtc, 0x0D, 0), 0x80, "the battery is good");
	cr_expect_eq(rtc_read(&rtc, 0x70, 0), 0xFF);
}

Test(hv_rtc, is_updating_before_a_second_ends)
{
	struct rtc rtc;

	rtc_init(&rtc);
	cr_expect_eq(look(&rtc, 0x0A, 5 * NS), 0x26);
	cr_expect_eq(look(&rtc, 0x0A, 6 * NS - 244001), 0x26);
	cr_expect_eq(look(&rtc, 0x0A, 6 * NS - 244000), 0xA6);
	cr_expect_eq(look(&rtc, 0x0A, 6 * NS - 1), 0xA6);
	cr_expect_eq(look(&rtc, 0x0A, 6 * NS), 0x26);
	put(&rtc, 0x0A, 0xFF, 0);
	cr_expect_eq(look(&rtc, 0x0A, 0), 0x7F, "the bit is not the guest's");
}

Test(hv_rtc, is_set_and_goes_on_from_there)
{
	static const struct reading set = {{0x19, 0x99, 0x12, 0x31, 0x01, 0x23, 0x59, 0x58}};
	uint64_t now = 1700000000 * NS + 500;
	struct rtc rtc;

	rtc_init(&rtc);
	put(&rtc, 0x0B, 0x82, now);
	for (unsigned i = 0; i < 8; i++)
		put(&rtc, registers[i], set.v[i], now + i * NS);
	cr_expect_eq(look(&rtc, 0x00, now + 100 * NS), 0x58, "it stands still");
	cr_expect_eq(look(&rtc, 0x0A, 6 * NS - 1), 0x26, "and is not updating");
	now += 200 * NS;
	put(&rtc, 0x0B, 0x02, now);
	expect_reading(&rtc, 1700000200,
		       (struct reading){{0x19, 0x99, 0x12, 0x31, 0x06, 0x23, 0x59, 0x58}});
	expect_reading(&rtc, 1700000202,
		       (struct reading){{0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x00, 0x00}});
}

Test(hv_rtc, it_stands_still_at_the_time_it_was)
{
	uint64_t now = 951782399 * NS;
	struct rtc rtc;

	rtc_init(&rtc);
	put(&rtc, 0x0B, 0x82, now);
	cr_expect_eq(look(&rtc, 0x00, now + 7 * NS), 0x59);
	cr_expect_eq(look(&rtc, 0x08, now + 7 * NS), 0x02);
	put(&rtc, 0x0B, 0x02, now + 7 * NS);
	cr_expect_eq(look(&rtc, 0x00, now + 7 * NS), 0x59, "and goes on from there");
	cr_expect_eq(look(&rtc, 0x00, now + 8 * NS), 0x00);
}

Test(hv_rtc, one_register_can_be_set_while_it_runs)
{
	uint64_t now = 951782390 * NS; /* 23:59:50 */
	struct rtc rtc;

	rtc_init(&rtc);
	put(&rtc, 0x04, 0x07, now);
	cr_expect_eq(look(&rtc, 0x04, now + 11 * NS), 0x08);
	cr_expect_eq(look(&rtc, 0x02, now + 11 * NS), 0x00);
	cr_expect_eq(look(&rtc, 0x00, now + 11 * NS), 0x01);
}

Test(hv_rtc, interrupts_cannot_be_enabled)
{
	struct rtc rtc;

	rtc_init(&rtc);
	put(&rtc, 0x0B, 0x7D, 0);
	cr_expect_eq(look(&rtc, 0x0B, 0), 0x02);
	put(&rtc, 0x0C, 0xFF, 0);
	put(&rtc, 0x0D, 0x00, 0);
	cr_expect_eq(look(&rtc, 0x0C, 0), 0x00);
	cr_expect_eq(look(&rtc, 0x0D, 0), 0x80);
}

Test(hv_rtc, the_rest_is_ram_and_begins_empty)
{
	struct rtc rtc;

	rtc_init(&rtc);
	for (unsigned i = 0x0E; i < 0x80; i++)
		if (i != 0x32)
			cr_expect_eq(look(&rtc, (uint8_t)i, 0), 0, "0x%02x", i);
	for (unsigned i = 0x0E; i < 0x80; i++)
		if (i != 0x32)
			put(&rtc, (uint8_t)i, (uint8_t)~i, 0);
	for (unsigned i = 0x0E; i < 0x80; i++)
		if (i != 0x32)
			cr_expect_eq(look(&rtc, (uint8_t)(i | 0x80), 0), (uint8_t)~i,
				     "bit 7 of the index is the NMI's");
}

/* Whatever a guest writes, there is some time, and nothing overflows on the way to it. */
Test(hv_rtc, any_nonsense_is_some_time)
{
	uint64_t now = 1700000000 * NS;
	struct rtc rtc;

	for (unsigned fill = 0; fill < 256; fill++) {
		struct reading r;

		rtc_init(&rtc);
		put(&rtc, 0x0B, 0x82, now);
		for (unsigned i = 0; i < 8; i++)
			put(&rtc, registers[i], (uint8_t)fill, now);
		put(&rtc, 0x0B, 0x02, now);
		r = read_all(&rtc, now);
		for (unsigned i = 0; i < 8; i++)
			cr_expect(r.v[i] >> 4 <= 9 && (r.v[i] & 15) <= 9,
				  "0x%02x of 0x%02x is %02x", registers[i], fill, r.v[i]);
		cr_expect(r.v[2] >= 1 && r.v[2] <= 0x12);
		cr_expect(r.v[3] >= 1 && r.v[3] <= 0x31);
	}
}
