/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_HV_HOSTILE_STORAGE_H
#define STRATA_TESTS_HV_HOSTILE_STORAGE_H

/*
 * What the tests of hostile guests of the storage VSP share: how a case may end, and that the host
 * goes on serving after it. Uses the bench of hv_storage_lab.h.
 */

#include "tests/unit/hv_storage_lab.h"

enum outcome {
	STOPPED, /* the channel is not listened to any more */
	STATUS,  /* the packet is refused: a, a status */
	SRB,     /* the command is refused: a, an SRB status */
	SENSE,   /* check condition: a, b, c */
	GOOD,    /* nothing wrong: a bytes are moved */
	SHORT,   /* the same, less than the command wanted */
};

struct end {
	enum outcome outcome;
	uint32_t a, b, c;
};

/* Insides of a struct end. */
#define STOP            .outcome = STOPPED
#define REFUSED(status) .outcome = STATUS, .a = (status)
#define MOVED(bytes)    .outcome = GOOD, .a = (bytes)
#define ONLY(bytes)     .outcome = SHORT, .a = (bytes)
#define INVALID         .outcome = SRB, .a = SRB_INVALID_REQUEST

#define OK_FLAG PACKET_WANTS_COMPLETION

/* What came last. */
extern struct guest_packet hostile_got;

/* The bench, with a canary in memory. */
void hostile_start(void);
/* All is as before: the memory that was nobody's business, and the service. */
void hostile_serves(const char *name);
/* The channel has been stopped, for the first time since the last call; opens it anew. */
void hostile_stops(const char *name);
/* What was sent as `id` ends so, and once. */
void hostile_ends(const char *name, uint64_t id, const struct end *end);

#endif
