/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_REQUESTS_H
#define STRATA_WORKER_REQUESTS_H

/* What can be asked of a worker: one table of requests. */

#include <jansson.h>
#include <stddef.h>

#include "util/err.h"
#include "worker/control.h"

/* The reply to a line, or NULL when client->wait will give it. */
json_t *requests_answer(struct vm *vm, struct client *client, const char *line, size_t len);

/* {"ok": false, ...} and {"ok": true} */
json_t *reply_error(const struct err_why *why);
json_t *reply_ok(void);

#endif
