/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_GATE_DISK_H
#define STRATA_TESTS_GATE_DISK_H

/*
 * A filter on a disk that keeps requests back while it is shut: to see what happens while some are
 * in flight. It can also let all that come fail with an error of the test's choice.
 *
 * Threads: any; each request goes on to the disk below on the thread of its own queue.
 */

#include "block/block.h"

/* Closing the result closes `below` too. It is open, and lets all pass. */
struct disk *gate_disk_new(struct disk *below);
void gate_shut(struct disk *gate);
/* Let go of what waits, and let pass what comes. */
void gate_open(struct disk *gate);
/* How many wait at the gate. */
unsigned gate_waiting(struct disk *gate);
/* Everything that comes fails like this; ERR_OK: no longer. */
void gate_fail(struct disk *gate, enum err err);

#endif
