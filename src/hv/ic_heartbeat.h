/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_IC_HEARTBEAT_H
#define STRATA_HV_IC_HEARTBEAT_H

/*
 * Heartbeat: a number every two seconds, which the guest's kernel answers with the next one. Lost
 * after three beats without a good answer; a guest that stands still is not sent more and more of
 * them.
 *
 * Threads: the bus's.
 */

#include "hv/ic.h"
#include "hv/integration.h"

#define HEARTBEAT_NS     2000000000ull
#define HEARTBEAT_MISSED 3u

struct ic_heartbeat {
	enum heartbeat state;
	uint64_t sequence; /* of the last beat */
	uint64_t next_ns;  /* when the next one is due */
	unsigned bad;      /* answers in a row that made no sense */
};

extern const struct ic_component ic_heartbeat;

#endif
