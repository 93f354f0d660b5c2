/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_LOOP_H
#define STRATA_WORKER_LOOP_H

struct vm;

/* Serve the partition, the console, signals and clients until vm->ends. */
void loop_run(struct vm *vm, int signal_fd);
/* Everything the guest has printed goes where it belongs. */
void loop_drain_console(struct vm *vm);

#endif
