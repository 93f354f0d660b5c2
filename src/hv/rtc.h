/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_RTC_H
#define STRATA_HV_RTC_H

/*
 * The clock of a PC (MC146818) and its 128 bytes of CMOS RAM, at ports 0x70 and 0x71. Time is
 * UTC, in BCD, 24 hours; the century is at 0x32. The guest may set it: what is kept is how far its
 * clock is from ours. The bytes that told a BIOS' findings (memory size, drives) are zero.
 *
 * There is no alarm and there are no periodic or update interrupts: the bits that would enable
 * them stay zero.
 *
 * Threads: no lock; the caller's port lock covers every call. No call blocks.
 */

#include <stdbool.h>
#include <stdint.h>

#define RTC_PORT  0x70u
#define RTC_PORTS 2u

#define RTC_RAM_BYTES 128u

struct rtc {
	uint8_t index;
	uint8_t ram[RTC_RAM_BYTES];
	int64_t ahead_s; /* the guest's clock minus ours */
	bool set;        /* the guest is setting it: the time stands still in `ram` */
};

void rtc_init(struct rtc *rtc);

/* `utc_ns`: CLOCK_REALTIME in nanoseconds. `port`: RTC_PORT or the next one. */
uint8_t rtc_read(struct rtc *rtc, unsigned port, uint64_t utc_ns);
void rtc_write(struct rtc *rtc, unsigned port, uint8_t value, uint64_t utc_ns);

#endif
