/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_ADMISSION_H
#define STRATA_VMCTL_ADMISSION_H

/*
 * Whether the host has the memory for one more VM: what it keeps for itself, and for each VM its
 * memory and some for its worker, must fit, with what other programs use now.
 */

#include <stdint.h>

#include "util/err.h"

#define ADMISSION_HOST_BYTES (UINT64_C(512) << 20)
#define ADMISSION_VM_BYTES   (UINT64_C(32) << 20)

/*
 * One start at a time decides in a home: hold the lock from before admission_check until the new VM
 * runs, so that it is counted. -1: none; close it.
 */
enum err admission_lock(const char *home, int *fd, struct err_why *why);

/* ERR_NOMEM: it does not fit. */
enum err admission_check(const char *home, uint64_t memory_bytes, struct err_why *why);

#endif
