/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_BACKGROUND_H
#define STRATA_VMCTL_BACKGROUND_H

/* Work that goes on after the program has ended, and leaves the machine to others. */

#include "vmctl/vm.h"

/*
 * Start `vmctl fold --background` for the VM, in a session of its own, without a terminal; init
 * reaps it. The store must be closed: nothing of this process stays open in it.
 */
enum err background_fold(const struct vm *vm, struct err_why *why);

/* Take the lowest priority, for the processor and for disks. */
void background_priority(void);

#endif
