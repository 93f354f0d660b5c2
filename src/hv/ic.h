/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_IC_H
#define STRATA_HV_IC_H

/*
 * What all integration components share: framing, the agreement on versions, one request at a
 * time, and finding out which answer belongs to it. What one of them is beyond that is in a
 * struct ic_component: what it is offered as, and a few functions that make requests and take
 * answers. A new component is a file with such a struct, and a line in integration.c.
 *
 *            channel opened              versions agreed on
 *   CLOSED -----------------> NEGOTIATING -----------------> READY
 *      ^                           | none in common, or nonsense
 *      |  channel closed           +----------> REFUSED
 *      +------------------------------ any state
 *
 * A guest may be silent for ever in any state. What it sends that is no answer to the request in
 * flight is dropped and counted, and has no other effect (G4); a broken ring is left alone until
 * the channel is closed (G2). At most IC_PACKETS_PER_RUN packets are read for each run (G7).
 *
 * Threads: the bus's. No function blocks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/vmbus.h"
#include "util/err.h"
#include "util/guid.h"

#define IC_HEADER_BYTES    28u   /* in front of each body */
#define IC_BODY_MAX        2580u /* of a request of ours */
#define IC_READ_MAX        8192u /* a longer packet of a guest breaks its ring */
#define IC_PACKETS_PER_RUN 16u

/* The bytes of a GUID as it goes over the bus: the first three parts are little-endian. */
#define IC_GUID(a, b, c, d0, d1, d2, d3, d4, d5, d6, d7)                                           \
	{                                                                                          \
		{                                                                                  \
			(uint8_t)(a), (uint8_t)((a) >> 8), (uint8_t)((a) >> 16),                   \
			    (uint8_t)((a) >> 24), (uint8_t)(b), (uint8_t)((b) >> 8), (uint8_t)(c), \
			    (uint8_t)((c) >> 8), d0, d1, d2, d3, d4, d5, d6, d7                    \
		}                                                                                  \
	}

enum ic_type {
	IC_NEGOTIATE = 0,
	IC_HEARTBEAT = 1,
	IC_KVP = 2,
	IC_SHUTDOWN = 3,
	IC_TIMESYNC = 4,
	IC_VSS = 5,
};

#define IC_TRANSACTION 1u
#define IC_REQUEST     2u
#define IC_RESPONSE    4u

struct ic_version {
	uint16_t major, minor;
};

struct ic_message {
	struct ic_version framework, version;
	uint16_t type;
	uint32_t status; /* 0: success */
	uint8_t transaction, flags;
	const uint8_t *body;
	size_t body_bytes;
};

/* ---- codecs; pure ---- */

/* Writes header and body (which may be in place already); the bytes, 0 when there is no room. */
size_t ic_encode(const struct ic_message *message, uint8_t *out, size_t cap);
/* False when the payload of a packet is no such message. The body points into the payload. */
bool ic_decode(const uint8_t *payload, size_t len, struct ic_message *out);

struct ic_component;

/* The body of a negotiation. */
size_t ic_encode_offer(const struct ic_component *component, uint8_t *out, size_t cap);
/* The versions the guest has chosen; false when it has chosen none of those offered. */
bool ic_decode_choice(const struct ic_component *component, const struct ic_message *answer,
		      struct ic_version *framework, struct ic_version *version);

/* ---- components ---- */

/* `self` is the component's own state; all functions but `request` and `answer` may be NULL. */
struct ic_component {
	struct guid type, instance;
	uint16_t message_type; /* enum ic_type */
	const struct ic_version *frameworks, *versions;
	unsigned framework_count, version_count;
	uint64_t patience_ns; /* a request is given up after that long; 0: never */

	/* A driver is there. */
	void (*ready)(void *self);
	/* It is gone, and with it the request in flight. */
	void (*gone)(void *self);
	/* Write the body of the next request if one is due; its bytes, 0: none is. */
	size_t (*request)(void *self, struct ic_version version, uint64_t now_ns, uint8_t *body,
			  size_t cap);
	/*
	 * The answer to the last request; only its header has been checked. False: nonsense. Either
	 * way the request is over.
	 */
	bool (*answer)(void *self, const struct ic_message *answer);
	/* The request in flight has not been answered for so long now. */
	void (*waits)(void *self, uint64_t for_ns);
	/* It is given up. */
	void (*given_up)(void *self);
};

enum ic_state { IC_CLOSED, IC_NEGOTIATING, IC_READY, IC_REFUSED };

struct ic {
	const struct ic_component *component;
	void *self;
	struct channel *channel;
	enum ic_state state;
	struct ic_version framework, version; /* when IC_READY */
	bool broken;                          /* the ring is, until the channel is closed */
	uint64_t dropped;                     /* messages and answers that made no sense, ever */

	/* The request in flight, or on its way into a full ring. */
	bool in_flight, unsent;
	bool stood_still; /* since the last run */
	uint8_t transaction;
	uint64_t since_ns;
	uint8_t out[IC_HEADER_BYTES + IC_BODY_MAX];
	size_t out_bytes;
};

/* Offer it on the bus. `ic` must stay where it is until ic_destroy. */
enum err ic_create(struct ic *ic, struct vmbus *bus, const struct ic_component *component,
		   void *self, struct err_why *why);
/* Takes the channel back. Does nothing to an `ic` of zeroes. */
void ic_destroy(struct ic *ic);

/* Read what is there and send what is due. */
void ic_run(struct ic *ic, uint64_t now_ns);
/* The guest could not answer meanwhile: patience begins anew. */
void ic_stood_still(struct ic *ic);

#endif
