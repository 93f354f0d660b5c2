/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_ACPI_H
#define STRATA_HV_ACPI_H

/*
 * The ACPI tables of the virtual machine: RSDP, XSDT, FADT, FACS, MADT, DSDT. A pure function: it
 * writes what the guest will find, and the caller puts it where the guest will look.
 *
 * The machine they tell of: processors with APIC ids from 0, one I/O APIC and the two PICs of a
 * PC, the fixed registers of power.h, a VMBus, COM1, the clock of rtc.h; no keyboard controller,
 * no VGA, no power button.
 */

#include <stddef.h>
#include <stdint.h>

#define ACPI_BASE    0xE0000ull /* a guest without a firmware looks from here to 0xFFFFF */
#define ACPI_MAX_VPS 240u
#define ACPI_BYTES   4096u /* what acpi_build needs at most */
#define ACPI_LAPIC   0xFEE00000u
#define ACPI_IOAPIC  0xFEC00000u
#define ACPI_SCI_IRQ 9u

struct acpi_config {
	unsigned vp_count; /* 1 to ACPI_MAX_VPS */
	uint64_t base;     /* where `buf` will be; a multiple of 64 below 4 GiB */
};

/* The RSDP is at the start. Returns the bytes used; 0 when `config` breaks a rule or `cap` does. */
size_t acpi_build(const struct acpi_config *config, uint8_t *buf, size_t cap);

#endif
