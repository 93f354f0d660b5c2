/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_VM_H
#define STRATA_WORKER_VM_H

/*
 * The VM of this process: its folder, its disks, its partition, and those who talk to it.
 *
 * Threads: all of it belongs to the main thread. The partition has threads of its own, for
 * processors and storage, which know nothing of this.
 */

#include <stdbool.h>
#include <stdint.h>

#include "hv/hv.h"
#include "snapshot/snapshot.h"
#include "worker/console.h"
#include "worker/control.h"
#include "worker/log.h"

struct vm {
	const char *dir, *name; /* the caller's */
	int dir_fd;
	int statm_fd; /* /proc/self/statm, for how much memory is in use */
	struct log log;
	struct store *store;
	struct snap_view *view;
	struct snap_config config; /* as it was at the start */
	struct guid id;
	int kernel_fd, initrd_fd;
	struct console console;
	struct control control;
	struct partition *partition;
	uint64_t started_ns;       /* CLOCK_MONOTONIC */
	uint64_t booted_ns;        /* the same, of the last reset */
	bool failed;               /* PARTITION_FAILED, or it could not be reset */
	char failure[200];         /* why */
	bool ends;                 /* the process is to end */
	const char *storage_fault; /* that was logged last */
};

/* Empty, with its folder; a log is the next thing it needs. */
enum err vm_init(struct vm *vm, const char *dir, struct err_why *why);
void vm_free(struct vm *vm);

/* The configuration, kernel and initrd, the disks for writing, the console. Locks the VM. */
enum err vm_open(struct vm *vm, struct err_why *why);
/* The partition, with the disks in it, not running. */
enum err vm_build(struct vm *vm, struct err_why *why);
enum err vm_run(struct vm *vm, struct err_why *why);
/* Processors stop, disks are flushed and closed. An error is a lost write. */
enum err vm_close(struct vm *vm, struct err_why *why);

/* "running", "paused" or "failed" */
const char *vm_state(const struct vm *vm);
/* The guest begins anew. */
void vm_note_reset(struct vm *vm);
/* From now on it is "failed"; logged. */
void vm_fail(struct vm *vm, const char *text);

/* The disk in `slot` of the view becomes a unit of the storage adapter. */
enum err vm_attach(struct vm *vm, unsigned slot, struct err_why *why);

uint64_t monotonic_ns(void);

#endif
