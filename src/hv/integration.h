/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_INTEGRATION_H
#define STRATA_HV_INTEGRATION_H

/*
 * The integration components: heartbeat, shutdown, time synchronisation, key-value exchange. Each
 * is a channel that carries one request at a time; all of them live on the bus's thread and none
 * ever waits for the guest. VSS is a further component: see ic.h for what one is made of.
 *
 * Times: `now_ns` is CLOCK_MONOTONIC. Guests that do not have a driver or a daemon never answer:
 * that is a state, not an error.
 */

#include <stdbool.h>
#include <stdint.h>

#include "hv/vmbus.h"
#include "util/err.h"

struct integration;

struct integration_opts {
	/* TIME_REF_COUNT as the guest reads it, in units of 100 ns; false: cannot be had now */
	bool (*reference_time)(void *arg, uint64_t *out);
	void *arg;
};

enum heartbeat {
	HEARTBEAT_NONE, /* the guest has not answered yet */
	HEARTBEAT_OK,
	HEARTBEAT_LOST, /* three beats in a row were not answered, or its driver has gone */
};

enum shutdown_state {
	SHUTDOWN_NONE,     /* never asked */
	SHUTDOWN_NO_GUEST, /* asked, but the guest has no driver for it: sent as soon as it has */
	SHUTDOWN_ASKED,
	SHUTDOWN_ACCEPTED,
	SHUTDOWN_REFUSED,
};

struct kvp_item {
	char *key, *value; /* UTF-8; anything a guest may send: escape before printing */
};

struct kvp_list {
	struct kvp_item *item;
	unsigned count;
};

enum err integration_create(struct vmbus *bus, const struct integration_opts *opts,
			    struct integration **out, struct err_why *why);
/* Before vmbus_destroy. NULL is allowed. */
void integration_destroy(struct integration *ic);

/* Readable when a component has something to read. */
int integration_fd(const struct integration *ic);
/* Read what is there, send what is due. Call it when the descriptor says so and once a second. */
void integration_run(struct integration *ic, uint64_t now_ns);

enum heartbeat integration_heartbeat(const struct integration *ic);

/* Ask for an orderly power off, or a restart. What became of it: integration_shutdown_state. */
void integration_shutdown(struct integration *ic, bool reboot);
enum shutdown_state integration_shutdown_state(const struct integration *ic);

/* The virtual machine has stood still (paused, restored): set the guest's clock. */
void integration_sync_time(struct integration *ic);

/*
 * Begin to read the guest's own facts (pool 2: names, versions, addresses); done when
 * integration_kvp_ready. False: no daemon has answered yet. A reading that gets no answer for a
 * minute is given up; it is not ready then, and may be begun again.
 */
bool integration_kvp_refresh(struct integration *ic);
bool integration_kvp_ready(const struct integration *ic);
/* What the last complete reading gave; valid until the next one completes. */
const struct kvp_list *integration_kvp(const struct integration *ic);

/* The guest is gone (reset); what was asked is forgotten. */
void integration_reset(struct integration *ic);

#endif
