/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_KILL_WRITERS_H
#define STRATA_TESTS_KILL_WRITERS_H

/*
 * Threads that write to current, each with its own queue and several requests under way, and check
 * what they read. What they ask for and what is confirmed goes to the log.
 */

#include "snapshot/snapshot.h"
#include "tests/kill/log.h"

struct writers;

/* On a view that is open for writing; they stop before it is closed. */
struct writers *writers_start(struct log *log, struct snap_view *view, struct rng *rng);
/* Lets what is under way end. */
void writers_stop(struct writers *writers);

#endif
