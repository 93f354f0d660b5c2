/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_MACHINE_H
#define STRATA_HV_MACHINE_H

/*
 * The KVM side of a partition: one virtual machine with its memory slots, in-kernel interrupt
 * controllers and timer, and the routes of the synthetic interrupts. A partition that resets gets
 * a new machine over the same memory: nothing of the old one is left then.
 *
 * Threads: one creates and wires it; machine_irq, machine_assign and machine_release may be
 * called from any.
 */

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct memory;
struct synic;
struct kvm_cpuid2;

struct machine {
	int kvm; /* /dev/kvm */
	int vm;
	uint32_t run_bytes; /* of each processor's shared structure */
};

/* ERR_UNSUPPORTED, ERR_PERM or ERR_NOENT: what is missing, in words for an administrator. */
enum err machine_open_kvm(int *kvm, struct err_why *why);

/* `kvm` stays the caller's. */
enum err machine_create(int kvm, const struct memory *memory, struct machine *out,
			struct err_why *why);
void machine_destroy(struct machine *machine);

/*
 * Route the synthetic interrupts of `vp_count` processors. After SynIC has been enabled on each of
 * them: routes that are set before never report the end of a message.
 */
enum err machine_route(struct machine *machine, struct synic *synic, unsigned vp_count,
		       struct err_why *why);

/* Set the level of an ISA interrupt line. */
void machine_irq(const struct machine *machine, unsigned irq, bool level);

/* HvSignalEvent for `connection` writes to `fd` without leaving the kernel. */
enum err machine_assign(const struct machine *machine, uint32_t connection, int fd,
			struct err_why *why);
void machine_release(const struct machine *machine, uint32_t connection, int fd);

/* Nanoseconds of the clock that TIME_REF_COUNT counts; false when it cannot be had. */
bool machine_clock(const struct machine *machine, uint64_t *ns);

#endif
