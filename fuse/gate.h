/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_GATE_H
#define STRATA_FUSE_GATE_H

/*
 * A shared/exclusive lock for requests instead of threads: who cannot enter is not blocked but
 * called back on its own queue. First come, first served, so nobody starves.
 *
 * Who entered leaves exactly once, on any thread. A waiter belongs to its owner and must live
 * until its work has run.
 */

#include <pthread.h>
#include <stdbool.h>

#include "block/queue.h"

enum gate_mode { GATE_SHARED, GATE_EXCLUSIVE };

struct gate_waiter {
	struct queue_work work; /* `run` is set by the owner */
	struct queue *queue;    /* where it runs */
	enum gate_mode mode;
	struct gate_waiter *next; /* private */
};

struct gate {
	pthread_mutex_t lock; /* guards what follows */
	unsigned shared;
	bool exclusive;
	struct gate_waiter *first;
	struct gate_waiter **last;
};

void gate_init(struct gate *gate);
/* Nobody may be inside or waiting. */
void gate_destroy(struct gate *gate);
/* True: entered. False: `waiter->work` will run once it has entered. */
bool gate_enter(struct gate *gate, struct gate_waiter *waiter);
void gate_leave(struct gate *gate, enum gate_mode mode);

#endif
