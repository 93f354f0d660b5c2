/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_SHOW_H
#define STRATA_VMCTL_SHOW_H

#include "vmctl/vm.h"

/* Print what `vmctl show` does. Errors are printed; returns 0 or the exit code. */
int show_vm(const struct vm *vm, bool json);
/* The same for a VM that is not open. */
int show_vm_named(const char *home, const char *name, bool json);

#endif
