/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_POWER_H
#define STRATA_HV_POWER_H

/*
 * What turns a PC off and on: the fixed ACPI registers (PM1a event and control, PM timer), the
 * reset port, and as much of a keyboard controller as its reset needs. And the two ports that say
 * that there is no PCI.
 *
 * Nothing here interrupts: no event is ever pending, neither a button nor a carry of the timer.
 *
 * Threads: no lock; the caller's port lock covers every call. No call blocks.
 */

#include <stdbool.h>
#include <stdint.h>

#define POWER_PM1_EVENT   0x600u /* status u16, enable u16 */
#define POWER_PM1_CONTROL 0x604u /* u16 */
#define POWER_PM_TIMER    0x608u /* u32, 3579545 Hz */
#define POWER_PM_PORTS    12u    /* from POWER_PM1_EVENT */
#define POWER_KBD_DATA    0x60u
#define POWER_KBD_COMMAND 0x64u
#define POWER_PCI         0xCF8u
#define POWER_PCI_PORTS   8u
#define POWER_RESET_PORT  0xCF9u
#define POWER_RESET_VALUE 0x06u
#define POWER_SLEEP_OFF   5u /* SLP_TYP of S5 */

enum power_event {
	POWER_NONE,
	POWER_OFF,
	POWER_RESET,
};

struct power {
	uint16_t enable;  /* PM1_EN */
	uint16_t control; /* PM1_CNT without the bits that are always as they are */
	uint8_t reset;    /* the reset port, as it reads */
	uint8_t kbd_answer;
	bool kbd_full; /* kbd_answer has not been read */
};

void power_init(struct power *power);

/*
 * The guest reads or writes `bytes` (1, 2, 4) at a port of those above; others read as all ones.
 * `now_ns`: any clock that goes on evenly.
 */
uint32_t power_read(struct power *power, unsigned port, unsigned bytes, uint64_t now_ns);
enum power_event power_write(struct power *power, unsigned port, unsigned bytes, uint32_t value);

#endif
