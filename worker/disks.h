/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_DISKS_H
#define STRATA_WORKER_DISKS_H

/* Disks that come, go and change their size while the VM runs. */

#include <stdint.h>

#include "util/err.h"

struct vm;

/* The VHD at `path` becomes a disk of the VM, and the guest is told; *slot is its number. */
enum err disks_attach(struct vm *vm, const char *path, unsigned *slot, struct err_why *why);
/* The guest loses the disk as it is; then it is no disk of the VM any more. */
enum err disks_detach(struct vm *vm, unsigned slot, struct err_why *why);
enum err disks_resize(struct vm *vm, unsigned slot, uint64_t size_bytes, struct err_why *why);

#endif
