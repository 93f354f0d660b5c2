/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_DISK_H
#define STRATA_VMCTL_DISK_H

/* What the verbs that change a VM's disks share. */

#include <jansson.h>

#include "vmctl/vm.h"

/* The number of a disk on the command line of `verb`; returns 0 or the exit code. */
int disk_number(const char *verb, const char *text, unsigned *out);

/*
 * Make a change of the store: `request` (which is freed) by the worker of a VM that runs, `change`
 * on one that is off. Then show the VM. Errors are printed; returns 0 or the exit code.
 */
int disk_change(const char *home, const char *name, bool json, json_t *request,
		enum err (*change)(struct store *store, void *arg, struct err_why *why), void *arg);

#endif
