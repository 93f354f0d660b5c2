/* SPDX-License-Identifier: MIT */
/* Ways to switch a PC off or to start it anew, and the registers around them. */
#include <criterion/criterion.h>

#include "hv/power.h"

#define NS 1000000000ull

static struct power fresh(void)
{
	struct power power;

	power_init(&power);
	return power;
}

struct row {
	const char *name;
	unsigned port, bytes;
	uint32_t value;
	enum power_event event;
};

static const struct row rows[] = {
    {"S5", 0x604, 2, 0x3401, POWER_OFF},
    {"S5 without SCI_EN", 0x604, 2, 0x3400, POWER_OFF},
    {"S5 as a double word", 0x604, 4, 0xFFFF3401, POWER_OFF},
    {"S5 by its high byte", 0x605, 1, 0x34, POWER_OFF},
    {"S5 behind the enable register", 0x602, 4, 0x34010000, POWER_OFF},
    {"the type of S5 alone", 0x604, 2, 0x1401, POWER_NONE},
    {"SLP_EN with the type of S0", 0x604, 2, 0x2001, POWER_NONE},
    {"SLP_EN with the type of S3", 0x604, 2, 0x2C01, POWER_NONE},
    {"SLP_EN with type 7", 0x604, 2, 0x3C01, POWER_NONE},
    {"S5 into the event register", 0x600, 2, 0x3401, POWER_NONE},
    {"S5 into the timer", 0x608, 2, 0x3401, POWER_NONE},
    {"reset port, 6", 0xCF9, 1, 0x06, POWER_RESET},
    {"reset port, 14", 0xCF9, 1, 0x0E, POWER_RESET},
    {"reset port, 2", 0xCF9, 1, 0x02, POWER_NONE},
    {"reset port, 10", 0xCF9, 1, 0x0A, POWER_NONE},
    {"PCI address over the reset port", 0xCF8, 4, 0x80000600, POWER_NONE},
    {"keyboard's reset", 0x64, 1, 0xFE, POWER_RESET},
    {"keyboard's self-test", 0x64, 1, 0xAA, POWER_NONE},
    {"reset as data for the keyboard", 0x60, 1, 0xFE, POWER_NONE},
};

Test(hv_power, only_the_right_value_at_the_right_port)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct power power = fresh();

		cr_expect_eq(power_write(&power, rows[i].port, rows[i].bytes, rows[i].value),
			     rows[i].event, "%s", rows[i].name);
	}
}

Test(hv_power, s5_in_two_writes)
{
	struct power power = fresh();

	cr_expect_eq(power_write(&power, 0x604, 2, 0x1400), POWER_NONE);
	cr_expect_eq(power_read(&power, 0x604, 2, 0), 0x1401, "the type is kept");
	cr_expect_eq(power_write(&power, 0x604, 2, 0x3400), POWER_OFF);
	cr_expect_eq(power_read(&power, 0x604, 2, 0), 0x1401, "SLP_EN is not");
}

Test(hv_power, fixed_registers)
{
	struct power power = fresh();

	cr_expect_eq(power_read(&power, 0x600, 2, 0), 0);
	cr_expect_eq(power_read(&power, 0x604, 2, 0), 0x0001, "ACPI mode from the start");
	power_write(&power, 0x602, 2, 0x0721);
	cr_expect_eq(power_read(&power, 0x602, 2, 0), 0x0721);
	cr_expect_eq(power_read(&power, 0x600, 4, 0), 0x07210000);
	cr_expect_eq(power_read(&power, 0x603, 1, 0), 0x07);
	power_write(&power, 0x600, 2, 0xFFFF);
	cr_expect_eq(power_read(&power, 0x600, 4, 0), 0x07210000, "nothing is ever pending");
	power_write(&power, 0x604, 2, 0x0000);
	cr_expect_eq(power_read(&power, 0x604, 2, 0), 0x0001);
	cr_expect_eq(power_read(&power, 0x606, 2, 0), 0xFFFF, "no register");
	cr_expect_eq(power_read(&power, 0x60A, 4, 0) >> 16, 0xFFFF, "beyond the last one");
}

Test(hv_power, the_timer_counts_at_its_rate)
{
	struct power power = fresh();

	cr_expect_eq(power_read(&power, 0x608, 4, 0), 0);
	cr_expect_eq(power_read(&power, 0x608, 4, NS), 3579545);
	cr_expect_eq(power_read(&power, 0x608, 4, 1200 * NS), 3579545u * 1200u,
		     "it wraps at 32 bits");
	cr_expect_eq(power_read(&power, 0x608, 4, 500000000 * NS),
		     (uint32_t)(3579545ull * 500000000ull), "after years, too");
	power_write(&power, 0x608, 4, 0);
	cr_expect_eq(power_read(&power, 0x608, 4, NS), 3579545);
}

Test(hv_power, there_is_no_pci)
{
	struct power power = fresh();

	power_write(&power, 0xCFB, 1, 0x01);
	power_write(&power, 0xCF8, 4, 0x80000000);
	cr_expect_neq(power_read(&power, 0xCF8, 4, 0), 0x80000000);
	cr_expect_eq(power_read(&power, 0xCFC, 4, 0), UINT32_MAX);
	cr_expect_eq(power_read(&power, 0xCFC, 2, 0), 0xFFFF);
	power_write(&power, 0xCF8, 1, 0);
	power_write(&power, 0xCFA, 1, 0);
	cr_expect_eq(power_read(&power, 0xCF8, 1, 0), 0xFF);
	cr_expect_eq(power_read(&power, 0xCFA, 1, 0), 0xFF);
}

Test(hv_power, the_reset_port_reads_back_what_kind)
{
	struct power power = fresh();

	cr_expect_eq(power_read(&power, 0xCF9, 1, 0), 0);
	power_write(&power, 0xCF9, 1, 0x02);
	cr_expect_eq(power_read(&power, 0xCF9, 1, 0), 0x02);
}

Test(hv_power, the_keyboard_controller_passes_its_test)
{
	struct power power = fresh();

	cr_expect_eq(power_read(&power, 0x64, 1, 0) & 0x03, 0, "ready for a command");
	power_write(&power, 0x64, 1, 0xAA);
	cr_expect_eq(power_read(&power, 0x64, 1, 0) & 0x01, 0x01);
	cr_expect_eq(power_read(&power, 0x60, 1, 0), 0x55);
	cr_expect_eq(power_read(&power, 0x64, 1, 0) & 0x01, 0);
}

Test(hv_power, other_ports_are_not_there)
{
	struct power power = fresh();

	cr_expect_eq(power_read(&power, 0x61, 1, 0), 0xFF);
	cr_expect_eq(power_write(&power, 0x61, 1, 0xFE), POWER_NONE);
	cr_expect_eq(power_read(&power, 0x60C, 2, 0), 0xFFFF);
}
