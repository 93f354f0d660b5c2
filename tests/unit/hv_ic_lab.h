/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_HV_IC_LAB_H
#define STRATA_TESTS_HV_IC_LAB_H

/*
 * Integration components and a guest for them: it opens their channels, reads requests, and
 * answers them as Linux does, in the request's own buffer.
 */

#include <stdbool.h>
#include <stdint.h>

#include "hv/ic.h"
#include "hv/integration.h"
#include "tests/lib/guest_bus.h"

#define IC_LAB_RING_PAGES 4

struct ic_lab {
	struct guest_bus g;
	/* Either all components, or the one under the microscope. */
	struct integration *all;
	struct ic one;
	uint64_t now_ns;
	bool has_reference; /* what the host's reference counter says */
	uint64_t reference;
};

/* A channel in the guest, and the request it has read last. */
struct ic_guest {
	struct ic_lab *lab;
	struct guest_channel channel;
	struct guest_packet p;
};

/* The host with all components, and a connected guest. */
struct ic_lab *ic_lab_new(void);
/* The same with one component. */
struct ic_lab *ic_lab_new_one(const struct ic_component *component, void *self);
void ic_lab_free(struct ic_lab *lab);

/* Let `ms` pass, in steps of at most a second, and do whatever is to be done on the host. */
void ic_lab_run(struct ic_lab *lab, uint64_t ms);

/* Open the channel of a component. */
void ic_guest_open(struct ic_lab *lab, const struct ic_component *component, unsigned ring_pages,
		   struct ic_guest *out);
/* Read the next request; false: there is none. */
bool ic_guest_request(struct ic_guest *guest);
/* Send it back as the answer. */
void ic_guest_reply(struct ic_guest *guest);
/* Answer a negotiation: framework 3.0, and this version of messages. */
void ic_guest_agree(struct ic_guest *guest, uint16_t major, uint16_t minor);
/* All from opening up to an agreement on the newest version. */
void ic_guest_up(struct ic_lab *lab, const struct ic_component *component, struct ic_guest *out);

#endif
