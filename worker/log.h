/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_LOG_H
#define STRATA_WORKER_LOG_H

/*
 * worker.log in the VM's folder: when the VM was started, stopped, reset, and what went wrong. A
 * line each, with the time in UTC; escaped, as some of it is the guest's doing; bounded in size.
 */

#include <stdbool.h>
#include <stdint.h>

#include "worker/bounded.h"

struct log {
	struct bounded file;
	bool takes_stderr;
	/* of what the guest causes, as often as it likes */
	int64_t second;
	unsigned lines, dropped;
};

enum err log_open(struct log *log, int dir_fd, struct err_why *why);
void log_close(struct log *log);
/* What a program that dies prints on stderr goes to the log too. */
void log_take_stderr(struct log *log);

void log_line(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for what a guest can cause: so many lines in a minute, then only their number. */
void log_guest(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
