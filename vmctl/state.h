/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_STATE_H
#define STRATA_VMCTL_STATE_H

/*
 * What a VM is doing: what its worker says (call_status), and without one, what its store shows.
 * `status` is NULL when there is no worker.
 */

#include <jansson.h>

#include "snapshot/snapshot.h"

/* "off", "running", "paused" or "failed"; a fixed text. */
const char *state_name(const struct snap_tree *tree, const json_t *status);

/* Its members to those of the VM, and counters to its "disks"; all null when it is off. */
void state_add_json(json_t *root, const json_t *status);
/* Rows; nothing when it is off. */
void state_print(const json_t *status);
/* The row of one disk's counters. */
void state_print_disk(const json_t *status, unsigned disk);

#endif
