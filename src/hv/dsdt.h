/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_DSDT_H
#define STRATA_HV_DSDT_H

/*
 * The body of the DSDT, as the ACPI compiler would have made it but for one thing: it refuses
 * "VMBUS", which is no ACPI or PNP id, and which guests look for all the same.
 */

#include <stdint.h>

/* clang-format off */
static const uint8_t dsdt_body[] = {
	/* Scope (\_SB) */
	0x10, 0x48, 0x06, '_', 'S', 'B', '_',

	/* Device (VMB0): guests want a _CRS; on x86 the interrupt in it is not used */
	0x5B, 0x82, 0x2C, 'V', 'M', 'B', '0',
	0x08, '_', 'H', 'I', 'D', 0x0D, 'V', 'M', 'B', 'U', 'S', 0x00,
	0x08, '_', 'U', 'I', 'D', 0x00,
	0x08, '_', 'S', 'T', 'A', 0x0A, 0x0F,
	0x08, '_', 'C', 'R', 'S', 0x11, 0x08, 0x0A, 0x05,
	0x22, 0x80, 0x00,                               /* IRQ 7 */
	0x79, 0x00,                                     /* end */

	/* Device (COM1) */
	0x5B, 0x82, 0x32, 'C', 'O', 'M', '1',
	0x08, '_', 'H', 'I', 'D', 0x0C, 0x41, 0xD0, 0x05, 0x01, /* PNP0501 */
	0x08, '_', 'U', 'I', 'D', 0x01,
	0x08, '_', 'S', 'T', 'A', 0x0A, 0x0F,
	0x08, '_', 'C', 'R', 'S', 0x11, 0x10, 0x0A, 0x0D,
	0x47, 0x01, 0xF8, 0x03, 0xF8, 0x03, 0x01, 0x08, /* ports 0x3F8 to 0x3FF */
	0x22, 0x10, 0x00,                               /* IRQ 4 */
	0x79, 0x00,                                     /* end */

	/* Name (\_S5, Package {5, 5, 0, 0}): POWER_SLEEP_OFF */
	0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0A, 0x05, 0x0A, 0x05, 0x00, 0x00,
};
/* clang-format on */

#endif
