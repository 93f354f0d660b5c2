/* SPDX-License-Identifier: MIT */
#include "hv/rtc.h"

#include <string.h>
#include <time.h>

enum cmos {
	CMOS_SECOND = 0x00,
	CMOS_MINUTE = 0x02,
	CMOS_HOUR = 0x04,
	CMOS_WEEKDAY = 0x06,
	CMOS_DAY = 0x07,
	CMOS_MONTH = 0x08,
	CMOS_YEAR = 0x09,
	CMOS_A = 0x0A,
	CMOS_B = 0x0B,
	CMOS_C = 0x0C,
	CMOS_D = 0x0D,
	CMOS_CENTURY = 0x32,
};

#define A_UPDATING  0x80u
#define A_DEFAULT   0x26u /* 32768 Hz, 1024 Hz */
#define B_SET       0x80u
#define B_24H       0x02u /* and not binary */
#define D_VALID     0x80u
#define NS          1000000000ull
#define UPDATING_NS 244000ull /* this long before a second ends nobody should read */

static bool is_time(uint8_t index)
{
	switch (index) {
	case CMOS_SECOND:
	case CMOS_MINUTE:
	case CMOS_HOUR:
	case CMOS_WEEKDAY:
	case CMOS_DAY:
	case CMOS_MONTH:
	case CMOS_YEAR:
	case CMOS_CENTURY:
		return true;
	default:
		return false;
	}
}

static uint8_t to_bcd(int v)
{
	unsigned u = (unsigned)v % 100;

	return (uint8_t)(u / 10 << 4 | u % 10);
}

/* Any byte yields a number: a digit above 9 is the guest's own nonsense. */
static int from_bcd(uint8_t v)
{
	return (v >> 4) * 10 + (v & 0x0F);
}

static int64_t seconds(uint64_t utc_ns)
{
	return (int64_t)(utc_ns / NS);
}

static void time_to_ram(struct rtc *rtc, uint64_t utc_ns)
{
	time_t t = (time_t)(seconds(utc_ns) + rtc->ahead_s);
	struct tm tm;
	int year;

	if (!gmtime_r(&t, &tm))
		return;
	year = tm.tm_year + 1900 + 10000; /* a guest can set the last day of the year before 0 */
	rtc->ram[CMOS_SECOND] = to_bcd(tm.tm_sec);
	rtc->ram[CMOS_MINUTE] = to_bcd(tm.tm_min);
	rtc->ram[CMOS_HOUR] = to_bcd(tm.tm_hour);
	rtc->ram[CMOS_WEEKDAY] = to_bcd(tm.tm_wday + 1);
	rtc->ram[CMOS_DAY] = to_bcd(tm.tm_mday);
	rtc->ram[CMOS_MONTH] = to_bcd(tm.tm_mon + 1);
	rtc->ram[CMOS_YEAR] = to_bcd(year % 100);
	rtc->ram[CMOS_CENTURY] = to_bcd(year / 100);
}

static void ram_to_time(struct rtc *rtc, uint64_t utc_ns)
{
	struct tm tm = {
	    .tm_sec = from_bcd(rtc->ram[CMOS_SECOND]),
	    .tm_min = from_bcd(rtc->ram[CMOS_MINUTE]),
	    .tm_hour = from_bcd(rtc->ram[CMOS_HOUR]),
	    .tm_mday = from_bcd(rtc->ram[CMOS_DAY]),
	    .tm_mon = from_bcd(rtc->ram[CMOS_MONTH]) - 1,
	    .tm_year =
		from_bcd(rtc->ram[CMOS_CENTURY]) * 100 + from_bcd(rtc->ram[CMOS_YEAR]) - 1900,
	};

	rtc->ahead_s = (int64_t)timegm(&tm) - seconds(utc_ns);
}

static uint8_t read_a(const struct rtc *rtc, uint64_t utc_ns)
{
	bool updating = !rtc->set && utc_ns % NS >= NS - UPDATING_NS;

	return (uint8_t)(rtc->ram[CMOS_A] | (updating ? A_UPDATING : 0));
}

static void write_b(struct rtc *rtc, uint8_t value, uint64_t utc_ns)
{
	bool set = value & B_SET;

	if (set && !rtc->set)
		time_to_ram(rtc, utc_ns);
	if (!set && rtc->set)
		ram_to_time(rtc, utc_ns);
	rtc->set = set;
	rtc->ram[CMOS_B] = (uint8_t)(B_24H | (set ? B_SET : 0));
}

static void write_time(struct rtc *rtc, uint8_t value, uint64_t utc_ns)
{
	if (!rtc->set)
		time_to_ram(rtc, utc_ns);
	rtc->ram[rtc->index] = value;
	if (!rtc->set)
		ram_to_time(rtc, utc_ns);
}

uint8_t rtc_read(struct rtc *rtc, unsigned port, uint64_t utc_ns)
{
	if (port != RTC_PORT + 1)
		return 0xFF;
	if (rtc->index == CMOS_A)
		return read_a(rtc, utc_ns);
	if (is_time(rtc->index) && !rtc->set)
		time_to_ram(rtc, utc_ns);
	return rtc->ram[rtc->index];
}

void rtc_write(struct rtc *rtc, unsigned port, uint8_t value, uint64_t utc_ns)
{
	if (port == RTC_PORT) {
		rtc->index = value & 0x7F; /* bit 7 masks the NMI, which there is none of */
		return;
	}
	if (is_time(rtc->index))
		write_time(rtc, value, utc_ns);
	else if (rtc->index == CMOS_A)
		rtc->ram[CMOS_A] = value & (uint8_t)~A_UPDATING;
	else if (rtc->index == CMOS_B)
		write_b(rtc, value, utc_ns);
	else if (rtc->index != CMOS_C && rtc->index != CMOS_D)
		rtc->ram[rtc->index] = value;
}

void rtc_init(struct rtc *rtc)
{
	memset(rtc, 0, sizeof(*rtc));
	rtc->ram[CMOS_A] = A_DEFAULT;
	rtc->ram[CMOS_B] = B_24H;
	rtc->ram[CMOS_D] = D_VALID;
}
