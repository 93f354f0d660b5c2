/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_IC_TIMESYNC_H
#define STRATA_HV_IC_TIMESYNC_H

/*
 * Time synchronisation: the time of day once the driver is there and whenever the machine has
 * stood still ("set your clock"), and a sample every five seconds. Since version 4 each comes with
 * the reference counter at that moment, so that it may be read late.
 *
 * Threads: the bus's.
 */

#include "hv/ic.h"
#include "hv/integration.h"

#define TIMESYNC_NS     5000000000ull
#define TIMESYNC_SYNC   1u
#define TIMESYNC_SAMPLE 2u

struct ic_timesync {
	struct integration_opts clock;
	bool sync_due;
	uint64_t next_ns; /* when the next sample is due */
};

extern const struct ic_component ic_timesync;

struct timesync_body {
	uint64_t host_time; /* units of 100 ns since 1601, UTC */
	uint64_t reference; /* from version 4 on */
	uint8_t flags;      /* TIMESYNC_SYNC, TIMESYNC_SAMPLE */
};

/* Pure; the bytes, 0 when there is no room. */
size_t timesync_encode(const struct timesync_body *in, struct ic_version version, uint8_t *body,
		       size_t cap);
/* `s`, `ns`: a time since 1970. */
uint64_t timesync_host_time(int64_t s, long ns);

void timesync_ask(struct ic_timesync *timesync);

#endif
