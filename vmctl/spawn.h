/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_SPAWN_H
#define STRATA_VMCTL_SPAWN_H

/* Start the worker of a VM. */

#include <jansson.h>

#include "cli/args.h"
#include "util/err.h"

/*
 * A process of its own for the VM in `dir`, which goes on without us; init reaps it. On return the
 * guest runs and *reply says how that went, or there is no process.
 */
enum err spawn_worker(const char *dir, const struct opt_list *allowed, json_t **reply,
		      struct err_why *why);

#endif
