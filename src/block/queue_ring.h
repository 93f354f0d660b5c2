/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_QUEUE_RING_H
#define STRATA_BLOCK_QUEUE_RING_H

#include <liburing.h>

/* A ring that does what a queue needs and refuses the rest; a negative errno. */
int ring_open(struct io_uring *ring, unsigned entries);

#endif
