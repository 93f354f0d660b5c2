/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_PLACES_H
#define STRATA_WORKER_PLACES_H

/* Which files a VM needs, beside its folder. */

#include "worker/sandbox.h"

/*
 * Fill `out`, whose `dir`, `dir_fd` and `allowed` are set, from the VM's catalogue. What is wrong
 * with that is found, and told, when the VM is opened: then nothing is added.
 */
enum err places_find(struct places *out, struct err_why *why);
void places_free(struct places *places);

#endif
