/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_CONSOLE_H
#define STRATA_VMCTL_CONSOLE_H

#include <stdbool.h>

/*
 * Be on the console of a VM until it is off or the user leaves; `history`: what it has printed
 * since its start comes first. Errors are printed; returns 0 or the exit code.
 */
int console_join(const char *home, const char *name, bool history);

#endif
