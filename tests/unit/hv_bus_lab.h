/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_HV_BUS_LAB_H
#define STRATA_TESTS_HV_BUS_LAB_H

/* A bus, the guest that uses it, and devices that echo what they are sent. */

#include "tests/lib/guest_bus.h"

/* Packets come back as completions with the same payload. */
struct echo {
	struct channel *channel; /* NULL: gone */
	unsigned opened, closed, gone;
	bool refuse;             /* the next open */
	enum ring_result result; /* of the last read or write that was not good */
	unsigned served;
};

extern const struct channel_ops echo_ops;

/* Offer channel `sub_index` of the device `number` (0 to 255). */
enum err echo_offer(struct guest_bus *g, struct echo *echo, unsigned number, unsigned sub_index);
struct guid echo_instance(unsigned number);
/* What its thread would do when the descriptor is readable. */
void echo_serve(struct echo *echo);

/* Send a packet, have it served, and see it come back. */
bool echo_works(struct echo *echo, struct guest_channel *ch);

#endif
