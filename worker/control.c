/* SPDX-License-Identifier: MIT */
#include "worker/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/protocol.h"
#include "worker/requests.h"
#include "worker/vm.h"

#define BACKLOG           16
#define MAX_CONSOLE_BYTES (256u << 10) /* that a slow console may be behind */
#define MAX_LINES         16u          /* of one client before others get their turn */

/* ---- the socket ---- */

/* A socket's address has 108 bytes, a folder's path may have 4096. */
static void socket_address(int dir_fd, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/" WORKER_SOCKET, dir_fd);
}

bool control_is_stale(int dir_fd)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	bool stale;

	if (fd < 0)
		return false;
	socket_address(dir_fd, &address);
	stale = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static enum err remove_stale(int dir_fd, struct err_why *why)
{
	struct stat st;

	if (fstatat(dir_fd, WORKER_SOCKET, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? ERR_OK : err_sys(why, errno, WORKER_SOCKET);
	if (!S_ISSOCK(st.st_mode))
		return err_set(why, ERR_EXIST, WORKER_SOCKET " is there and is no socket");
	if (unlinkat(dir_fd, WORKER_SOCKET, 0) < 0)
		return err_sys(why, errno, WORKER_SOCKET);
	return ERR_OK;
}

static enum err listen_at(int fd, int dir_fd, struct err_why *why)
{
	struct sockaddr_un address;
	mode_t mask = umask(0177);
	int rc;

	socket_address(dir_fd, &address);
	rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (rc < 0)
		return err_sys(why, errno, WORKER_SOCKET);
	if (listen(fd, BACKLOG) < 0) {
		rc = errno;
		unlinkat(dir_fd, WORKER_SOCKET, 0);
		return err_sys(why, rc, WORKER_SOCKET);
	}
	return ERR_OK;
}

enum err control_open(struct control *control, int dir_fd, struct err_why *why)
{
	enum err err = remove_stale(dir_fd, why);
	int fd;

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(why, errno, "no control socket");
	err = listen_at(fd, dir_fd, why);
	if (err) {
		close(fd);
		return err;
	}
	*control = (struct control){.dir_fd = dir_fd, .listener = fd};
	return ERR_OK;
}

void control_hide(struct control *control)
{
	if (control->listener < 0)
		return;
	unlinkat(control->dir_fd, WORKER_SOCKET, 0);
	close(control->listener);
	control->listener = -1;
}

/* ---- sending ---- */

static void flush_out(struct client *client)
{
	while (client->out_count) {
		ssize_t n =
		    send(client->fd, client->out, client->out_count, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			client->gone = true;
		if (n <= 0)
			return;
		client->out_count -= (size_t)n;
		memmove(client->out, client->out + n, client->out_count);
	}
}

bool client_send(struct client *client, const void *buf, size_t len)
{
	size_t want = client->out_count + len;
	size_t most = client->console ? MAX_CONSOLE_BYTES : WORKER_MAX_REPLY + 1;

	if (want > most)
		return false;
	if (want > client->out_room) {
		char *grown = realloc(client->out, want);

		if (!grown)
			return false;
		client->out = grown;
		client->out_room = want;
	}
	memcpy(client->out + client->out_count, buf, len);
	client->out_count = want;
	flush_out(client);
	return true;
}

static void send_reply(struct client *client, const json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (text)
		text[len] = '\n'; /* its end is not needed any more */
	/* A reply that is lost would leave the client waiting for ever. */
	if (!text || len > WORKER_MAX_REPLY || !client_send(client, text, len + 1))
		client->gone = true;
	free(text);
}

void control_print(struct control *control, const void *buf, size_t len)
{
	for (unsigned i = 0; i < control->count; i++)
		if (control->client[i].console)
			client_send(&control->client[i], buf, len);
}

/* ---- receiving ---- */

static void answer(struct vm *vm, struct client *client, const char *line, size_t len)
{
	json_t *reply = requests_answer(vm, client, line, len);

	if (client->wait || client->console)
		return;
	send_reply(client, reply);
	json_decref(reply);
}

static bool has_line(const struct client *client)
{
	return memchr(client->in, '\n', client->in_count);
}

static void take_lines(struct vm *vm, struct client *client)
{
	for (unsigned lines = 0; lines < MAX_LINES; lines++) {
		char *end = memchr(client->in, '\n', client->in_count);
		size_t len;

		if (client->console || client->wait || client->gone || !end)
			return;
		len = (size_t)(end - client->in);
		answer(vm, client, client->in, len);
		client->in_count -= len + 1;
		memmove(client->in, end + 1, client->in_count);
	}
}

static size_t in_room(const struct client *client, const struct vm *vm)
{
	return client->console ? console_room(&vm->console) : WORKER_MAX_REQUEST - client->in_count;
}

static void receive(struct vm *vm, struct client *client)
{
	size_t room = in_room(client, vm);
	ssize_t n = room ? recv(client->fd, client->in + client->in_count, room, MSG_DONTWAIT) : -1;

	if (n == 0)
		client->in_closed = true;
	else if (n < 0 && room && errno != EAGAIN && errno != EINTR)
		client->gone = true;
	if (n <= 0)
		return;
	if (client->console)
		console_type(&vm->console, client->in, (size_t)n);
	else
		client->in_count += (size_t)n;
}

/* What came behind the request for the console has been typed already. */
static void type_rest(struct vm *vm, struct client *client)
{
	size_t room = console_room(&vm->console);

	if (!client->console || !client->in_count)
		return;
	if (room > client->in_count)
		room = client->in_count;
	console_type(&vm->console, client->in, room);
	client->in_count -= room;
	memmove(client->in, client->in + room, client->in_count);
}

/* A line that does not end is no request. */
static void check_length(struct client *client)
{
	struct err_why why = {0};
	json_t *reply;

	if (client->console || client->wait || client->in_count < WORKER_MAX_REQUEST ||
	    has_line(client))
		return;
	err_set(&why, ERR_USAGE, "a request has at most %u bytes", WORKER_MAX_REQUEST);
	reply = reply_error(&why);
	send_reply(client, reply);
	json_decref(reply);
	client->gone = true;
}

/* ---- clients ---- */

static bool may_talk(int fd)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void accept_one(struct control *control, struct vm *vm)
{
	int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	char *in;

	if (fd < 0)
		return;
	in = may_talk(fd) ? malloc(WORKER_MAX_REQUEST) : NULL;
	if (!in) {
		log_guest(&vm->log, "a connection of another user was refused");
		close(fd);
		return;
	}
	control->client[control->count++] = (struct client){.fd = fd, .in = in};
}

static void drop(struct client *client)
{
	close(client->fd);
	free(client->in);
	free(client->out);
}

static void drop_gone(struct control *control)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < control->count; i++) {
		struct client *client = &control->client[i];

		if (client->in_closed && !client->wait && !client->out_count && !client->console)
			client->gone = true;
		if (client->gone)
			drop(client);
		else
			control->client[kept++] = *client;
	}
	control->count = kept;
}

static void check_wait(struct vm *vm, struct client *client)
{
	json_t *reply = client->wait ? client->wait(vm, client) : NULL;

	if (!reply)
		return;
	client->wait = NULL;
	send_reply(client, reply);
	json_decref(reply);
}

static void serve(struct vm *vm, struct client *client, short events)
{
	if (events & POLLIN && !client->in_closed && !(client->console && client->in_count))
		receive(vm, client);
	if (events & (POLLHUP | POLLERR) && !(events & POLLIN))
		client->gone = true;
	if (events & POLLOUT)
		flush_out(client);
	take_lines(vm, client);
	type_rest(vm, client);
	check_wait(vm, client);
	check_length(client);
}

unsigned control_poll(const struct control *control, const struct vm *vm, struct pollfd *out)
{
	unsigned n = 0;
	bool room = control->count < CONTROL_MAX_CLIENTS;

	out[n++] = (struct pollfd){.fd = room ? control->listener : -1, .events = POLLIN};
	for (unsigned i = 0; i < control->count; i++) {
		const struct client *client = &control->client[i];
		short events = client->out_count ? POLLOUT : 0;

		if (!client->in_closed && !client->wait && in_room(client, vm) &&
		    !(client->console && client->in_count))
			events |= POLLIN;
		out[n++] = (struct pollfd){.fd = client->fd, .events = events};
	}
	return n;
}

bool control_waits(const struct control *control)
{
	for (unsigned i = 0; i < control->count; i++)
		if (control->client[i].wait || has_line(&control->client[i]))
			return true;
	return false;
}

void control_serve(struct control *control, struct vm *vm, const struct pollfd *polled)
{
	for (unsigned i = 0; i < control->count; i++)
		serve(vm, &control->client[i], polled[i + 1].revents);
	if (polled[0].revents & POLLIN)
		accept_one(control, vm);
	drop_gone(control);
}

void control_close(struct control *control, const json_t *reply)
{
	control_hide(control);
	for (unsigned i = 0; i < control->count; i++) {
		if (control->client[i].wait)
			send_reply(&control->client[i], reply);
		drop(&control->client[i]);
	}
	control->count = 0;
}
