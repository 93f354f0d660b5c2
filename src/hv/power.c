/* SPDX-License-Identifier: MIT */
#include "hv/power.h"

#include <string.h>

#include "util/bytes.h"

#define CONTROL_SCI_EN     0x0001u
#define CONTROL_KEPT       0x1C02u /* SLP_TYP, BM_RLD; the rest is write-only or reserved */
#define CONTROL_SLEEP      0x2000u
#define CONTROL_SLEEP_TYPE 10

#define RESET_NOW  0x04u
#define RESET_KEPT 0x0Au

#define KBD_FULL      0x01u
#define KBD_IDLE      0x14u /* has passed its test, is not locked */
#define KBD_SELF_TEST 0xAAu
#define KBD_TEST_GOOD 0x55u
#define KBD_RESET     0xFEu

#define TIMER_HZ 3579545u
#define NS       1000000000u

void power_init(struct power *power)
{
	memset(power, 0, sizeof(*power));
}

/* ---- fixed ACPI registers ---- */

static void pm_image(const struct power *power, uint64_t now_ns, uint8_t out[POWER_PM_PORTS])
{
	unsigned __int128 ticks = (unsigned __int128)now_ns * TIMER_HZ / NS;

	memset(out, 0xFF, POWER_PM_PORTS);
	put_le16(out, 0);
	put_le16(out + 2, power->enable);
	put_le16(out + 4, power->control | CONTROL_SCI_EN);
	put_le32(out + 8, (uint32_t)ticks);
}

static uint32_t pm_read(const struct power *power, unsigned offset, unsigned bytes, uint64_t now_ns)
{
	uint8_t image[POWER_PM_PORTS];
	uint32_t value = UINT32_MAX;

	pm_image(power, now_ns, image);
	for (unsigned i = 0; i < bytes && offset + i < POWER_PM_PORTS; i++) {
		value &= ~(0xFFu << 8 * i);
		value |= (uint32_t)image[offset + i] << 8 * i;
	}
	return value;
}

static enum power_event control_write(struct power *power, uint16_t value)
{
	unsigned type = value >> CONTROL_SLEEP_TYPE & 7;

	power->control = value & CONTROL_KEPT;
	return value & CONTROL_SLEEP && type == POWER_SLEEP_OFF ? POWER_OFF : POWER_NONE;
}

static enum power_event pm_write(struct power *power, unsigned offset, unsigned bytes,
				 uint32_t value)
{
	uint8_t image[POWER_PM_PORTS];
	bool control = false;

	pm_image(power, 0, image);
	for (unsigned i = 0; i < bytes && offset + i < POWER_PM_PORTS; i++) {
		image[offset + i] = (uint8_t)(value >> 8 * i);
		control |= (offset + i) / 2 == (POWER_PM1_CONTROL - POWER_PM1_EVENT) / 2;
	}
	power->enable = get_le16(image + 2);
	return control ? control_write(power, get_le16(image + 4)) : POWER_NONE;
}

/* ---- the rest ---- */

static uint8_t kbd_read(struct power *power, unsigned port)
{
	if (port == POWER_KBD_COMMAND)
		return (uint8_t)(KBD_IDLE | (power->kbd_full ? KBD_FULL : 0));
	power->kbd_full = false;
	return power->kbd_answer;
}

static enum power_event kbd_command(struct power *power, uint8_t command)
{
	if (command == KBD_RESET)
		return POWER_RESET;
	if (command == KBD_SELF_TEST) {
		power->kbd_answer = KBD_TEST_GOOD;
		power->kbd_full = true;
	}
	return POWER_NONE;
}

static bool is_pm(unsigned port)
{
	return port >= POWER_PM1_EVENT && port < POWER_PM1_EVENT + POWER_PM_PORTS;
}

static uint32_t read_any(struct power *power, unsigned port, unsigned bytes, uint64_t now_ns)
{
	if (is_pm(port))
		return pm_read(power, port - POWER_PM1_EVENT, bytes, now_ns);
	if (bytes == 1 && (port == POWER_KBD_DATA || port == POWER_KBD_COMMAND))
		return kbd_read(power, port);
	if (bytes == 1 && port == POWER_RESET_PORT)
		return power->reset;
	return UINT32_MAX; /* whoever probes PCI wants to read back what was written */
}

uint32_t power_read(struct power *power, unsigned port, unsigned bytes, uint64_t now_ns)
{
	uint32_t value = read_any(power, port, bytes, now_ns);

	return bytes < 4 ? value & ((1u << 8 * bytes) - 1) : value;
}

enum power_event power_write(struct power *power, unsigned port, unsigned bytes, uint32_t value)
{
	if (is_pm(port))
		return pm_write(power, port - POWER_PM1_EVENT, bytes, value);
	if (bytes == 1 && port == POWER_KBD_COMMAND)
		return kbd_command(power, (uint8_t)value);
	if (bytes == 1 && port == POWER_RESET_PORT) {
		power->reset = value & RESET_KEPT;
		return value & RESET_NOW ? POWER_RESET : POWER_NONE;
	}
	return POWER_NONE;
}
