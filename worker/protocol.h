/* SPDX-License-Identifier: MIT */
#ifndef STRATA_WORKER_PROTOCOL_H
#define STRATA_WORKER_PROTOCOL_H

/*
 * What a worker and those who talk to it agree on.
 *
 * A worker listens on the Unix socket WORKER_SOCKET in the VM's folder. A request is a JSON object
 * on one line, {"do": "status", ...}; each gets one line: {"ok": true, ...} or {"ok": false,
 * "code": 1, "error": "a sentence"}, code being the exit code of a program that fails for that. A
 * connection may carry many requests, one after the other; after "console" it carries what the
 * guest prints and what is typed instead. The reply to "stop" comes when the disks are closed; the
 * connection ends when the worker is gone.
 *
 * The same kind of line tells how the start went, on the descriptor that --report names.
 */

#define WORKER_SOCKET      "control"
#define WORKER_LOG         "worker.log"
#define WORKER_LOG_OLD     "worker.log.1"
#define WORKER_CONSOLE     "console.log"
#define WORKER_CONSOLE_OLD "console.log.1"

/* Bytes of a line, without its end. */
#define WORKER_MAX_REQUEST (64u << 10)
#define WORKER_MAX_REPLY   (2u << 20)

/* Seconds a guest gets to power off when nothing else was said, and at most. */
#define WORKER_STOP_SECONDS     60
#define WORKER_STOP_SECONDS_MAX 86400

#endif
