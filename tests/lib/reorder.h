/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_REORDER_H
#define STRATA_TESTS_REORDER_H

/*
 * A namespace whose asynchronous requests run late and in a random order, some of them very late,
 * as on a real device. Files in memory run a request at the moment it is submitted, always in the
 * same order; with this in between a test also sees the code above with everything mixed up.
 *
 * Synchronous calls pass through at once. Threads: one, one queue at a time.
 */

#include <stdint.h>

#include "block/file.h"

struct reorder_ns;

/* Wraps `below`, which must outlive it. */
struct reorder_ns *reorder_ns_new(struct file_ns *below, uint64_t seed);
void reorder_ns_free(struct reorder_ns *ns);
struct file_ns *reorder_ns_base(struct reorder_ns *ns);

#endif
