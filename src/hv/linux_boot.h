/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_LINUX_BOOT_H
#define STRATA_HV_LINUX_BOOT_H

/*
 * Puts a Linux kernel (bzImage) into guest memory, with its initial RAM disk, command line, memory
 * map and the few tables the processor needs to enter it, as Documentation/x86/boot.rst says. A
 * kernel with a 64-bit entry is entered there, others in 32-bit mode.
 *
 * The file is not trusted: every field of its header is checked before it is used.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct memory;

/* How the first processor begins. Segments are flat; interrupts are off. */
struct linux_entry {
	bool long_mode; /* else 32-bit protected mode without paging */
	uint64_t ip;
	uint64_t params; /* in RSI (ESI) */
	uint64_t stack;
	uint64_t page_table; /* CR3; long mode only */
	uint64_t gdt;
	uint16_t gdt_limit;
};

#define LINUX_CODE_SELECTOR 0x10
#define LINUX_DATA_SELECTOR 0x18

/* Where ACPI tables may be put, before or after: the memory map says that it is theirs. */
#define LINUX_ACPI_AREA       0xE0000u
#define LINUX_ACPI_AREA_BYTES 0x10000u

/*
 * `initrd_fd` may be -1, `cmdline` NULL. ERR_CORRUPT: not a kernel; ERR_UNSUPPORTED: one too old;
 * ERR_RANGE: memory too small, or the command line too long.
 */
enum err linux_boot_load(struct memory *memory, int kernel_fd, int initrd_fd, const char *cmdline,
			 struct linux_entry *out, struct err_why *why);

#endif
