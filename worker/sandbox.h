/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_SANDBOX_H
#define STRATA_WORKER_SANDBOX_H

/*
 * What a guest that has taken over the worker could do is little: the worker has no privileges,
 * can use nothing but its folder and its disks, and has no system calls but those it needs.
 *
 *   1. sandbox_drop: no capabilities, no new privileges; started by root, it becomes the owner of
 *      the VM's folder, if he can do all of it.
 *   2. sandbox_confine: Landlock, where the kernel has it. The threads that come later inherit it.
 *   3. sandbox_filter: seccomp, for all threads. It knows nothing of what goes through io_uring;
 *      what rings may do is restricted where they are made.
 */

#include <stdbool.h>

#include "util/err.h"

struct log;

/* What the worker needs of the file system. */
struct places {
	const char *dir;
	int dir_fd;
	/* files outside `dir`: what is read at the start, layers of the disks, disks */
	char **boots, **reads, **writes;
	unsigned boot_count, read_count, write_count;
	char *const *allowed; /* folders the user has named, for disks that come later */
	unsigned allowed_count;
};

/* *became: the name of who we are, in words for the log; a fixed text or in `places`. */
enum err sandbox_drop(const struct places *places, const char **became, struct err_why *why);

/* *confined: false where the kernel cannot. */
enum err sandbox_confine(const struct places *places, bool *confined, struct err_why *why);

/* *filtered: false in builds whose instruments need what is forbidden. */
enum err sandbox_filter(bool *filtered, struct err_why *why);

/* Try what is forbidden, in processes of their own, and print it. Returns the exit code. */
int sandbox_check(const struct places *places);

#endif
