/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_GUEST_BUS_H
#define STRATA_TESTS_GUEST_BUS_H

/*
 * A guest made of nothing but its memory: it plays the guest's side of the SynIC and of VMBus as
 * Linux does (messages, event flags, address lists, rings), against the real host side. No kernel
 * and no KVM.
 *
 *	struct guest_bus g;
 *	struct guest_channel ch;
 *
 *	guest_init(&g, &(struct guest_opts){0});
 *	... storvsp_create(g.bus, g.memory, ...) ...
 *	guest_connect(&g);                                  version, offers
 *	guest_open(&g, guest_offer_of(&g, &guid, 0), 32, 0, &ch);
 *	guest_send(&ch, PACKET_INBAND, PACKET_WANTS_COMPLETION, 7, NULL, 0, payload, 64);
 *	if (guest_receive(&ch, &packet, 5000)) ...
 *	guest_close(&ch);
 *	... storvsp_destroy ...
 *	guest_fini(&g);
 *
 * Whatever a friendly guest may take for granted aborts with a sentence when it is not so; hostile
 * ones are made of the raw functions (guest_post, guest_at, the ring's words).
 *
 * Threads: one, which is the bus's thread, too: everything here that waits runs the bus meanwhile.
 * Devices may have threads of their own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/memory.h"
#include "hv/ring.h"
#include "hv/synic.h"
#include "hv/vmbus.h"
#include "util/guid.h"

#define GUEST_MAX_OFFERS 600
#define GUEST_MAX_VPS    8

/* Numbers of messages. */
enum guest_message_type {
	MSG_OFFER = 1,
	MSG_RESCIND = 2,
	MSG_REQUEST_OFFERS = 3,
	MSG_ALL_OFFERS = 4,
	MSG_OPEN = 5,
	MSG_OPEN_RESULT = 6,
	MSG_CLOSE = 7,
	MSG_GPADL_HEADER = 8,
	MSG_GPADL_BODY = 9,
	MSG_GPADL_CREATED = 10,
	MSG_GPADL_TEARDOWN = 11,
	MSG_GPADL_TORNDOWN = 12,
	MSG_RELID_RELEASED = 13,
	MSG_CONTACT = 14,
	MSG_VERSION = 15,
	MSG_UNLOAD = 16,
	MSG_UNLOADED = 17,
	MSG_MODIFY = 22,
	MSG_MODIFIED = 24,
};

struct guest_message {
	unsigned vp;
	uint32_t type; /* of the VMBus message */
	size_t len;
	uint8_t b[SYNIC_MESSAGE_MAX];
};

struct guest_offer {
	struct guid type, instance;
	uint16_t flags, sub_index;
	uint32_t relid, connection;
	uint8_t user[120];
	bool rescinded; /* the host has taken it back; guest_release lets go of it */
};

struct guest_bus {
	struct memory *memory;
	struct synic *synic;
	struct vmbus *bus;
	unsigned vp_count;
	uint32_t version;    /* to connect with */
	unsigned message_vp; /* where the host's messages go */
	uint64_t next_page;  /* guest_alloc */
	uint32_t next_gpadl; /* the next handle */
	uint64_t synic_page; /* two pages for each processor */
	uint64_t messages;   /* received */
	uint64_t slot_waits; /* times the host had to ask for the end of a message */
	struct guest_offer offer[GUEST_MAX_OFFERS]; /* all since the last contact, in order */
	unsigned offer_count;
	bool keep_rescinded; /* do not answer RESCIND with RELID_RELEASED */
};

struct guest_opts {
	uint64_t memory_bytes;             /* 0: 64 MiB */
	unsigned vp_count;                 /* 0: 1 */
	uint32_t version;                  /* 0: 5.3 */
	const struct vmbus_wiring *wiring; /* NULL: signals go through vmbus_signal */
};

void guest_init(struct guest_bus *g, const struct guest_opts *opts);
void guest_fini(struct guest_bus *g);

/* ---- memory ---- */

/* Address of `pages` fresh pages of zeroes. Nothing is ever given back. */
uint64_t guest_alloc(struct guest_bus *g, unsigned pages);
/* Aborts where there is no RAM. */
void *guest_at(struct guest_bus *g, uint64_t gpa, uint64_t len);

/* ---- messages ---- */

/* Post to connection 1; what does not fit into the host's queue is tried again. */
void guest_post(struct guest_bus *g, const void *message, size_t len);
/* A message of a header and `count` words behind it. */
void guest_post_words(struct guest_bus *g, uint32_t type, const uint32_t *word, unsigned count);
/* Let the bus do all it has to do now. */
void guest_run(struct guest_bus *g);
/* The next message out of any slot, after the bus had its turn. Offers and rescinds are noted. */
bool guest_message(struct guest_bus *g, struct guest_message *out);
/* Skip to the next message of this type; false when there is none (any more). */
bool guest_message_of(struct guest_bus *g, uint32_t type, struct guest_message *out);
/* As guest_message_of, but waits for it: for what threads of a device cause. */
bool guest_await(struct guest_bus *g, uint32_t type, struct guest_message *out,
		 unsigned timeout_ms);
/* Sleep until an interrupt, something for the bus to do, or for `ms` milliseconds. */
void guest_sleep(struct guest_bus *g, unsigned ms);
/* Read all messages there are; how many they were. */
unsigned guest_drain(struct guest_bus *g);

/* ---- the connection ---- */

/* One INITIATE_CONTACT; whether the host speaks that version. Forgets all offers. */
bool guest_contact(struct guest_bus *g, uint32_t version);
/* SynIC pages, g->version, REQUESTOFFERS, and all offers there are. */
void guest_connect(struct guest_bus *g);
/* As a kernel that is unloaded, or crashes. */
void guest_unload(struct guest_bus *g);

/* An offer that is not rescinded, or NULL. `instance` NULL: any. */
const struct guest_offer *guest_offer_of(struct guest_bus *g, const struct guid *instance,
					 unsigned sub_index);
const struct guest_offer *guest_offer_relid(struct guest_bus *g, uint32_t relid);
/* RELID_RELEASED. */
void guest_release(struct guest_bus *g, uint32_t relid);

/* ---- address lists ---- */

/* Announce `count` page numbers as a new GPADL; its handle in *gpadl; the host's status. */
uint32_t guest_gpadl_new(struct guest_bus *g, uint32_t relid, const uint64_t *pfn, unsigned count,
			 uint32_t *gpadl);
/* GPADL_TEARDOWN, and the answer to it. */
void guest_gpadl_drop(struct guest_bus *g, uint32_t relid, uint32_t gpadl);

/* ---- channels ---- */

/* One of a channel's rings, in guest memory that lies in one piece. */
struct guest_ring {
	uint8_t *header;
	uint8_t *data;
	uint32_t size;
	uint32_t index; /* ours */
};

struct guest_channel {
	struct guest_bus *g;
	uint32_t relid, connection, gpadl;
	unsigned vp;
	uint64_t gpa;          /* of both rings */
	unsigned ring_pages;   /* of each, with its header */
	struct guest_ring out; /* guest to host */
	struct guest_ring in;  /* host to guest */
};

struct guest_packet {
	uint16_t type, flags;
	uint64_t transaction;
	uint32_t len;
	uint8_t b[16384]; /* payload; the rest of a longer one is lost */
};

/* Rings of `ring_pages` pages each (with the header); the host's status, 0 when it is open. */
uint32_t guest_open(struct guest_bus *g, const struct guest_offer *offer, unsigned ring_pages,
		    unsigned vp, struct guest_channel *out);
/* CLOSECHANNEL, then the teardown of its rings. */
void guest_close(struct guest_channel *ch);

/*
 * Put a packet into the ring and signal as Linux does; false when there is no room. `head` lies
 * between the descriptor and the payload: the ranges of PACKET_GPA_DIRECT.
 */
bool guest_send(struct guest_channel *ch, enum packet_type type, uint16_t flags,
		uint64_t transaction, const void *head, size_t head_len, const void *payload,
		size_t len);
/* The same with one range of guest memory [gpa, gpa + range_len), and a completion wanted. */
bool guest_send_direct(struct guest_channel *ch, uint64_t transaction, uint64_t gpa,
		       uint32_t range_len, const void *payload, size_t len);
/* HvSignalEvent, whatever the ring says. */
void guest_kick(struct guest_channel *ch);

/*
 * The next packet; waits up to `timeout_ms` for it (0: looks once), running the bus meanwhile. It
 * sleeps until the channel's event flag is set, so a host that forgets to signal is found out.
 */
bool guest_receive(struct guest_channel *ch, struct guest_packet *out, unsigned timeout_ms);
/* Is the event flag of the channel set? Clears it. */
bool guest_flag(struct guest_channel *ch);

#endif
