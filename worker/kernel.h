/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_KERNEL_H
#define STRATA_WORKER_KERNEL_H

/* The files a guest is started from. */

#include "util/err.h"

/* Open a regular file for reading; `what` is what to call it in errors. */
enum err boot_file_open(const char *what, const char *path, int *out, struct err_why *why);
/* The same, and at first sight it is a Linux kernel. */
enum err kernel_open(const char *path, int *out, struct err_why *why);

#endif
