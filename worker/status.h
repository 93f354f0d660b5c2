/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_STATUS_H
#define STRATA_WORKER_STATUS_H

/* What the VM is doing, as the reply to "status". */

#include <jansson.h>

struct vm;

json_t *status_json(const struct vm *vm);

#endif
