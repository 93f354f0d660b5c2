/* SPDX-License-Identifier: MIT */
#include "worker/console.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/protocol.h"

#define MAX_BYTES (1u << 20)

enum err console_open(struct console *console, int dir_fd, struct err_why *why)
{
	int pair[2];
	enum err err;

	*console = (struct console){
	    .ours = -1,
	    .guests = -1,
	    .file = {.name = WORKER_CONSOLE,
		     .old_name = WORKER_CONSOLE_OLD,
		     .max_bytes = MAX_BYTES},
	};
	err = bounded_open(&console->file, dir_fd, why);
	if (err)
		return err;
	bounded_rotate(&console->file);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		err = err_sys(why, errno, "no socket for the console");
		bounded_close(&console->file);
		return err;
	}
	console->ours = pair[0];
	console->guests = pair[1];
	return ERR_OK;
}

void console_close(struct console *console)
{
	if (console->ours >= 0) {
		close(console->ours);
		close(console->guests);
	}
	console->ours = console->guests = -1;
	bounded_close(&console->file);
}

short console_events(const struct console *console)
{
	return console->input_count ? POLLIN | POLLOUT : POLLIN;
}

static void remember(struct console *console, const char *buf, size_t len)
{
	while (len) {
		size_t part = CONSOLE_HISTORY_BYTES - console->history_end;

		if (part > len)
			part = len;
		memcpy(console->history + console->history_end, buf, part);
		console->history_end += part;
		buf += part;
		len -= part;
		if (console->history_end == CONSOLE_HISTORY_BYTES) {
			console->history_end = 0;
			console->history_full = true;
		}
	}
}

size_t console_read(struct console *console, void *buf, size_t cap)
{
	ssize_t n;

	do
		n = read(console->ours, buf, cap);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	bounded_write(&console->file, buf, (size_t)n);
	remember(console, buf, (size_t)n);
	return (size_t)n;
}

void console_flush(struct console *console)
{
	ssize_t n;

	if (!console->input_count)
		return;
	n = write(console->ours, console->input, console->input_count);
	if (n <= 0)
		return; /* no room now; we are told when there is */
	console->input_count -= (size_t)n;
	memmove(console->input, console->input + n, console->input_count);
}

size_t console_room(const struct console *console)
{
	return CONSOLE_INPUT_BYTES - console->input_count;
}

void console_type(struct console *console, const void *buf, size_t len)
{
	memcpy(console->input + console->input_count, buf, len);
	console->input_count += len;
	console_flush(console);
}

size_t console_history(const struct console *console, char *out)
{
	size_t old = console->history_full ? CONSOLE_HISTORY_BYTES - console->history_end : 0;

	memcpy(out, console->history + console->history_end, old);
	memcpy(out + old, console->history, console->history_end);
	return old + console->history_end;
}
