/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VMCTL_CALL_H
#define STRATA_VMCTL_CALL_H

/*
 * Talk to the worker of a VM that runs (worker/protocol.h). What it says is checked as if a guest
 * had said it.
 */

#include <jansson.h>

#include "vmctl/vm.h"

/* ERR_NOENT: nobody listens, the VM is off. Close the descriptor. */
enum err call_open(const char *dir, int *fd, struct err_why *why);

/*
 * Send a request (which is freed) and wait for its reply, up to `seconds`. The error of a reply
 * that is one becomes ours. *reply may be NULL.
 */
enum err call_ask(int fd, json_t *request, unsigned seconds, json_t **reply, struct err_why *why);

/* Read one line as call_ask does, from whatever descriptor; ERR_IO at its end. */
enum err call_read(int fd, unsigned seconds, json_t **reply, struct err_why *why);

/* The other end is closed when the worker has ended, and holds nothing any more. */
void call_wait_end(int fd);

/* What the worker of the VM in `dir` says of it; NULL: nobody does. */
json_t *call_status(const char *dir);

/*
 * One request to the worker of the VM, which is looked for by its name in `home`. Errors, also that
 * it is off, are printed; returns 0 or the exit code. *reply may be NULL.
 */
int call_vm(const char *home, const char *name, json_t *request, unsigned seconds, json_t **reply);

/* The same, left open: *fd is -1 on an error. */
int call_vm_open(const char *home, const char *name, int *fd);

/* What most requests take at most. */
#define CALL_SECONDS 30

#endif
