/* SPDX-License-Identifier: MIT */
#include "vmctl/call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/out.h"
#include "worker/protocol.h"

#define STATUS_SECONDS 5

/* ---- the connection ---- */

static enum err connect_at(int fd, int dir_fd, struct err_why *why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	/* A socket's address has 108 bytes, a folder's path may have 4096. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" WORKER_SOCKET,
		 dir_fd);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return ERR_OK;
	/* A worker that was killed leaves its socket behind. */
	if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTSOCK)
		return err_set(why, ERR_NOENT, "it is off");
	return err_sys(why, errno, "its worker cannot be reached");
}

enum err call_open(const char *dir, int *fd, struct err_why *why)
{
	int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	enum err err;

	*fd = -1;
	if (dir_fd < 0)
		return err_sys(why, errno, "the VM's folder");
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		err = err_sys(why, errno, "no socket");
	else
		err = connect_at(*fd, dir_fd, why);
	if (err && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	close(dir_fd);
	return err;
}

/* ---- lines ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* False: it is not readable until then. */
static bool wait_readable(int fd, int64_t until_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int64_t left = until_ms - now_ms();
	int rc;

	if (left < 0)
		return false;
	rc = poll(&poll_fd, 1, left > INT_MAX ? INT_MAX : (int)left);
	return rc > 0 || (rc < 0 && errno == EINTR);
}

/*
 * Byte by byte behind the first look, as what follows a line may be a console's; but a line is
 * small, and most of it is there at once.
 */
static ssize_t read_up_to_line_end(int fd, char *to, size_t room)
{
	ssize_t n = recv(fd, to, room, MSG_PEEK);
	const char *end;

	if (n < 0 && errno == ENOTSOCK)
		return read(fd, to, 1);
	if (n <= 0)
		return n;
	end = memchr(to, '\n', (size_t)n);
	return recv(fd, to, end ? (size_t)(end - to) + 1 : (size_t)n, 0);
}

static enum err read_line(int fd, unsigned seconds, char *line, size_t room, size_t *len,
			  struct err_why *why)
{
	int64_t until = now_ms() + (int64_t)seconds * 1000;

	*len = 0;
	while (*len < room) {
		ssize_t n;

		if (!wait_readable(fd, until))
			return err_set(why, ERR_IO, "its worker does not answer");
		n = read_up_to_line_end(fd, line + *len, room - *len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(why, errno, "its worker cannot be heard");
		if (n == 0)
			return err_set(why, ERR_IO, "its worker ended without an answer; see %s",
				       WORKER_LOG);
		*len += (size_t)n;
		if (line[*len - 1] == '\n')
			return ERR_OK;
	}
	return err_set(why, ERR_IO, "its worker's answer is too long");
}

/* ---- replies ---- */

static enum err code_of(json_int_t exit_code)
{
	switch (exit_code) {
	case 2:
		return ERR_CORRUPT;
	case 3:
		return ERR_REPAIRABLE;
	case 63:
		return ERR_UNSUPPORTED;
	case 64:
		return ERR_USAGE;
	case 75:
		return ERR_LOCKED;
	default:
		return ERR_REFUSED;
	}
}

static enum err check_reply(const json_t *reply, struct err_why *why)
{
	const char *text = json_string_value(json_object_get(reply, "error"));

	if (json_is_true(json_object_get(reply, "ok")))
		return ERR_OK;
	if (!text)
		return err_set(why, ERR_IO, "its worker's answer makes no sense");
	return err_set(why, code_of(json_integer_value(json_object_get(reply, "code"))), "%s",
		       out_name(text));
}

enum err call_read(int fd, unsigned seconds, json_t **reply, struct err_why *why)
{
	char *line = malloc(WORKER_MAX_REPLY + 1);
	json_t *root = NULL;
	enum err err;
	size_t len;

	if (!line)
		return err_set(why, ERR_NOMEM, "no memory for an answer");
	err = read_line(fd, seconds, line, WORKER_MAX_REPLY + 1, &len, why);
	if (!err) {
		root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
		err = check_reply(root, why);
	}
	free(line);
	if (err || !reply)
		json_decref(root);
	else
		*reply = root;
	return err;
}

static enum err send_request(int fd, json_t *request, struct err_why *why)
{
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	enum err err = ERR_OK;

	json_decref(request);
	if (!text)
		return err_set(why, ERR_NOMEM, "no memory for a request");
	text[len++] = '\n'; /* its end is not needed any more */
	for (size_t done = 0; !err && done < len;) {
		ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			err = err_sys(why, errno, "its worker cannot be asked");
	}
	free(text);
	return err;
}

enum err call_ask(int fd, json_t *request, unsigned seconds, json_t **reply, struct err_why *why)
{
	enum err err = send_request(fd, request, why);

	return err ? err : call_read(fd, seconds, reply, why);
}

void call_wait_end(int fd)
{
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n > 0 || (n < 0 && errno == EINTR));
}

json_t *call_status(const char *dir)
{
	json_t *reply = NULL;
	int fd;

	if (call_open(dir, &fd, NULL))
		return NULL;
	if (call_ask(fd, json_pack("{s:s}", "do", "status"), STATUS_SECONDS, &reply, NULL))
		reply = NULL;
	close(fd);
	return reply;
}

/* ---- by name ---- */

/* Nobody listens: is there such a VM at all? */
static int explain_silence(const char *home, const char *name, const struct err_why *why)
{
	struct vm vm;
	int rc = vm_open(home, name, SNAP_READONLY, &vm);

	if (rc)
		return rc;
	vm_close(&vm);
	return out_fail(name, why);
}

int call_vm_open(const char *home, const char *name, int *fd)
{
	struct err_why why = {0};
	struct vm vm;
	int rc = vm_locate(home, name, &vm);

	*fd = -1;
	if (rc)
		return rc;
	if (call_open(vm.dir, fd, &why))
		rc = why.code == ERR_NOENT ? explain_silence(home, name, &why)
					   : out_fail(name, &why);
	vm_close(&vm);
	return rc;
}

int call_vm(const char *home, const char *name, json_t *request, unsigned seconds, json_t **reply)
{
	struct err_why why = {0};
	int fd, rc = call_vm_open(home, name, &fd);

	if (rc) {
		json_decref(request);
		return rc;
	}
	if (call_ask(fd, request, seconds, reply, &why))
		rc = out_fail(name, &why);
	close(fd);
	return rc;
}
