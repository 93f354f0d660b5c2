/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_LOG_H
#define STRATA_FUSE_LOG_H

/*
 * Where a mount says what went wrong: on stderr as long as somebody can be reading it, in the
 * system log once it is a daemon. Any thread may call.
 */

#include "util/err.h"

/* From now on, to the system log. */
void log_to_syslog(void);

void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "what: why". Of requests that fail only the first hundred are told: a guest may make many. */
void log_failed_request(const char *what, const struct err_why *why);

#endif
