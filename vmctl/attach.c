/* SPDX-License-Identifier: MIT */
#include "vmctl/attach.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "util/bytes.h"

#define LEAVE_KEY 0x1d /* Ctrl-] */

struct session {
	int fd;
	bool terminal;
	bool in_open, leave, off;
	enum { PLAIN, LINE_START, TILDE } keys;
	char typed[1024];
	size_t typed_count;
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
	(void)number;
	stop_asked = 1;
}

/* ---- what is typed ---- */

static void put_key(struct session *s, char key)
{
	s->typed[s->typed_count++] = key;
}

/* "~." leaves, "~~" is a tilde. */
static void take_key(struct session *s, char key)
{
	if (!s->terminal) {
		put_key(s, key);
		return;
	}
	if (key == LEAVE_KEY || (s->keys == TILDE && key == '.')) {
		s->leave = true;
		return;
	}
	if (s->keys == LINE_START && key == '~') {
		s->keys = TILDE;
		return;
	}
	if (s->keys == TILDE && key != '~')
		put_key(s, '~');
	s->keys = key == '\r' || key == '\n' ? LINE_START : PLAIN;
	put_key(s, key);
}

static void read_keys(struct session *s)
{
	char keys[sizeof(s->typed) / 2]; /* one may become two */
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		s->in_open = false;
		return;
	}
	for (ssize_t i = 0; i < n && !s->leave; i++)
		take_key(s, keys[i]);
}

static void send_keys(struct session *s)
{
	ssize_t n = send(s->fd, s->typed, s->typed_count, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0) {
		s->typed_count -= (size_t)n;
		memmove(s->typed, s->typed + n, s->typed_count);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		s->off = true;
	}
	if (!s->in_open && !s->typed_count)
		shutdown(s->fd, SHUT_WR);
}

/* ---- what is printed ---- */

static enum err print_all(const char *buf, size_t len, struct err_why *why)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, buf, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&out, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return err_sys(why, errno, "standard output");
		} else if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
		if (stop_asked)
			return ERR_OK;
	}
	return ERR_OK;
}

static enum err print_console(struct session *s, struct err_why *why)
{
	char buf[4096];
	ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return ERR_OK;
	if (n <= 0) {
		s->off = true;
		return ERR_OK;
	}
	return print_all(buf, (size_t)n, why);
}

/* ---- the session ---- */

static enum err serve(struct session *s, struct err_why *why)
{
	struct pollfd fds[2] = {
	    {.fd = s->in_open && !s->typed_count ? STDIN_FILENO : -1, .events = POLLIN},
	    {.fd = s->fd, .events = s->typed_count ? POLLIN | POLLOUT : POLLIN},
	};
	enum err err = ERR_OK;

	if (poll(fds, ARRAY_LEN(fds), -1) < 0)
		return errno == EINTR ? ERR_OK : err_sys(why, errno, "poll");
	if (fds[1].revents & (POLLIN | POLLHUP | POLLERR))
		err = print_console(s, why);
	if (fds[0].revents)
		read_keys(s);
	if (fds[0].revents || fds[1].revents & POLLOUT)
		send_keys(s);
	return err;
}

static bool make_raw(struct termios *before)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, before) < 0)
		return false;
	raw = *before;
	cfmakeraw(&raw);
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

/* A terminal must not stay raw, whatever ends us. */
static void watch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_handler = on_signal};

	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &action, NULL);
}

enum err attach_console(int fd, bool *off, struct err_why *why)
{
	struct session s = {.fd = fd, .in_open = true, .keys = LINE_START};
	struct termios before;
	enum err err = ERR_OK;

	watch_signals();
	s.terminal = make_raw(&before);
	while (!err && !s.leave && !s.off && !stop_asked)
		err = serve(&s, why);
	if (s.terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	*off = s.off;
	return err;
}
