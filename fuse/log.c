/* SPDX-License-Identifier: MIT */
#include "fuse/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>

#define MAX_FAILURES 100u

static atomic_bool use_syslog;
static atomic_uint failures;

void log_to_syslog(void)
{
	openlog("vhdmount", LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

void log_line(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (atomic_load(&use_syslog)) {
		vsyslog(LOG_ERR, fmt, args);
	} else {
		flockfile(stderr);
		fputs("vhdmount: ", stderr);
		vfprintf(stderr, fmt, args);
		fputc('\n', stderr);
		funlockfile(stderr);
	}
	va_end(args);
}

void log_failed_request(const char *what, const struct err_why *why)
{
	unsigned count = atomic_fetch_add(&failures, 1);

	if (count < MAX_FAILURES)
		log_line("%s: %s", what, why->text);
	else if (count == MAX_FAILURES)
		log_line("more requests fail; they are not reported");
}
