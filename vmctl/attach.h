/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_ATTACH_H
#define STRATA_VMCTL_ATTACH_H

#include <stdbool.h>

#include "util/err.h"

/*
 * Join the terminal, or the pipes, of this process with the console behind `fd`, until the VM is
 * off or the user leaves: with Ctrl-], or ~. at the beginning of a line. *off: it was the VM.
 */
enum err attach_console(int fd, bool *off, struct err_why *why);

#endif
