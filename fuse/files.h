/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_FILES_H
#define STRATA_FUSE_FILES_H

/* What the kernel asks of the files of a disk, from opening to closing: see ops.h. */

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "util/err.h"

void op_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t at, struct fuse_file_info *fi);
void op_write(fuse_req_t fuse, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_flush(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t fuse, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);

/* The errno for whoever wanted a disk that could not be opened; reports what is unusual. */
int unavailable_errno(const struct err_why *why);

#endif
