/* SPDX-License-Identifier: MIT */
#include "worker/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/text.h"
#include "worker/protocol.h"

#define MAX_BYTES     (256u << 10)
#define WINDOW_S      60
#define GUEST_LINES   20u
#define MESSAGE_BYTES 1024

enum err log_open(struct log *log, int dir_fd, struct err_why *why)
{
	*log = (struct log){
	    .file = {.name = WORKER_LOG, .old_name = WORKER_LOG_OLD, .max_bytes = MAX_BYTES}};
	return bounded_open(&log->file, dir_fd, why);
}

void log_close(struct log *log)
{
	bounded_close(&log->file);
}

static void point_stderr(const struct log *log)
{
	if (log->takes_stderr && log->file.fd >= 0)
		dup2(log->file.fd, STDERR_FILENO);
}

void log_take_stderr(struct log *log)
{
	log->takes_stderr = true;
	point_stderr(log);
}

static void write_line(struct log *log, const char *text)
{
	char shown[MESSAGE_BYTES * 2], line[sizeof(shown) + 64], when[32];
	time_t now = time(NULL);
	struct tm tm;
	int fd = log->file.fd, n;

	if (!gmtime_r(&now, &tm) || !strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return;
	n = snprintf(line, sizeof(line), "%s %s\n", when, text_escape(text, shown, sizeof(shown)));
	bounded_write(&log->file, line, (size_t)n);
	if (log->file.fd != fd)
		point_stderr(log);
}

void log_line(struct log *log, const char *fmt, ...)
{
	char text[MESSAGE_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	write_line(log, text);
}

/* Whether there is room for one more in this minute. */
static bool admit(struct log *log)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!log->lines || now.tv_sec - log->second >= WINDOW_S) {
		if (log->dropped)
			log_line(log, "%u more such lines were left out", log->dropped);
		log->second = now.tv_sec;
		log->lines = log->dropped = 0;
	}
	if (log->lines == GUEST_LINES) {
		log->dropped++;
		return false;
	}
	log->lines++;
	return true;
}

void log_guest(struct log *log, const char *fmt, ...)
{
	char text[MESSAGE_BYTES];
	va_list args;

	if (!admit(log))
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	write_line(log, text);
}
