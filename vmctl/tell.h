/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_TELL_H
#define STRATA_VMCTL_TELL_H

#include <stdbool.h>

/*
 * A request without arguments, after which the VM is in `state`. Errors are printed; returns 0 or
 * the exit code.
 */
int tell_vm(const char *home, const char *name, const char *request, const char *state, bool json);

#endif
