/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_CONTROL_H
#define STRATA_WORKER_CONTROL_H

/*
 * The control socket: who is connected, lines in, lines out (worker/protocol.h). Only root and the
 * worker's own user are listened to, as the kernel names them when they connect. Nothing waits for
 * a client: what he does not take is kept up to a bound; then a console misses something, and
 * anybody else is dropped.
 */

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

#define CONTROL_MAX_CLIENTS 32u
#define CONTROL_MAX_POLL    (1 + CONTROL_MAX_CLIENTS)

struct vm;
struct client;

/* Asked each round: the reply, or NULL as long as there is none. */
typedef json_t *client_wait(struct vm *vm, struct client *client);

struct client {
	int fd;
	bool console;   /* its bytes are the console's */
	bool in_closed; /* it will send nothing more */
	bool gone;      /* to be closed */
	char *in, *out;
	size_t in_count, out_count, out_room;
	client_wait *wait; /* of the request that is not answered yet; NULL: none */
	uint64_t asked_ns, deadline_ns;
};

struct control {
	int dir_fd, listener; /* -1: not open */
	struct client client[CONTROL_MAX_CLIENTS];
	unsigned count;
};

/* Takes the place of a socket that nobody listens to any more: the VM must be locked. */
enum err control_open(struct control *control, int dir_fd, struct err_why *why);
/* Whether there is a socket nobody listens to: of a process that was killed. */
bool control_is_stale(int dir_fd);
/* The name is gone then; clients are still there. */
void control_hide(struct control *control);
/* Those who wait get `reply`; all are sent what is kept for them if they take it, and closed. */
void control_close(struct control *control, const json_t *reply);

/* What to poll; returns how many. */
unsigned control_poll(const struct control *control, const struct vm *vm, struct pollfd *out);
/* Whether somebody waits for an answer. */
bool control_waits(const struct control *control);
/* Requests are carried out; `polled` is what control_poll gave. */
void control_serve(struct control *control, struct vm *vm, const struct pollfd *polled);
/* The guest has printed that. */
void control_print(struct control *control, const void *buf, size_t len);

/* Bytes to a client, before its reply; false: there is no room for them. */
bool client_send(struct client *client, const void *buf, size_t len);

#endif
