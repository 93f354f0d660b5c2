/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_CONSOLE_H
#define STRATA_WORKER_CONSOLE_H

/*
 * The guest's serial console: what it prints goes to console.log, which begins anew with each start
 * of the VM and is bounded in size, and to whoever watches; what those type goes to the guest.
 * Nothing here waits: what a guest does not take is kept up to a bound, and until then nothing more
 * is taken from those who type.
 */

#include <stdbool.h>
#include <stddef.h>

#include "worker/bounded.h"

#define CONSOLE_INPUT_BYTES   4096u
#define CONSOLE_HISTORY_BYTES (64u << 10)

struct console {
	int ours, guests; /* the two ends */
	struct bounded file;
	/* the newest of what was printed; a ring once it is full */
	char history[CONSOLE_HISTORY_BYTES];
	size_t history_end;
	bool history_full;
	/* typed, and not taken yet */
	char input[CONSOLE_INPUT_BYTES];
	size_t input_count;
};

enum err console_open(struct console *console, int dir_fd, struct err_why *why);
void console_close(struct console *console);

/* What our end is to be polled for. */
short console_events(const struct console *console);
/* Read what the guest has printed: at most `cap` bytes, 0 when there is nothing now. */
size_t console_read(struct console *console, void *buf, size_t cap);
/* Hand on what was typed and not taken. */
void console_flush(struct console *console);

/* How much may be typed now. */
size_t console_room(const struct console *console);
/* At most console_room bytes. */
void console_type(struct console *console, const void *buf, size_t len);

/* Copy the newest of what was printed, CONSOLE_HISTORY_BYTES at most; returns how much. */
size_t console_history(const struct console *console, char *out);

#endif
