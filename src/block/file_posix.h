/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_FILE_POSIX_H
#define STRATA_BLOCK_FILE_POSIX_H

/* What the parts of the backend on real files share. Everybody else uses file.h. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/file.h"
#include "block/fixed_files.h"

struct posix_file {
	struct file base;
	struct fixed_file plain;
	struct fixed_file direct; /* O_DIRECT; fd -1 when there is none */
	dev_t dev;
	ino_t ino;
	bool block_device;
	bool writable;
	uint32_t align_off_bytes;
	uint32_t align_mem_bytes;
	int lock_mode; /* enum file_lock; guarded by the caller: taken at open, dropped at close */
	atomic_bool no_punch; /* the file system has refused once */
};

/* Room for a name in a message: it may come from an image. */
#define POSIX_SHOWN_BYTES 256

/* file_posix.c; posix_fail: "path: what: the system's reason" */
enum err posix_fail(struct err_why *why, int sys_errno, const char *path, const char *what);
enum err posix_open(struct file_ns *ns, const char *path, unsigned flags, struct file **out,
		    struct err_why *why);

/* file_run.c: one operation with plain system calls, whatever else it takes. */
enum err posix_run(struct file *file, struct file_req *req);

/* file_lock.c: `held` is the mode the descriptor has now. */
enum err posix_lock(int fd, const char *path, enum file_lock held, enum file_lock wanted,
		    struct err_why *why);

#endif
