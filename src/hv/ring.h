/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_RING_H
#define STRATA_HV_RING_H

/*
 * A VMBus ring buffer in guest memory, seen from the host: one page of header, then data. The
 * guest writes anything anywhere at any time (G2): each index is read once and checked, our own
 * index lives here, a packet is copied out once and only the copy is looked at.
 *
 * Indices are byte offsets into the data, multiples of 8, below its size; the ring never becomes
 * exactly full. Each packet is a descriptor of 16 bytes, a body, and a trailer of 8.
 *
 * Threads: a ring belongs to one thread. Ownership: the pages are the GPADL's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/memory.h"

enum ring_result {
	RING_OK,
	RING_EMPTY,  /* nothing to read */
	RING_FULL,   /* no room to write */
	RING_BROKEN, /* the guest broke a rule; the ring is not used again */
};

/* Types of packets. */
enum packet_type {
	PACKET_INBAND = 6,
	PACKET_XFER_PAGES = 7,
	PACKET_GPADL = 8,
	PACKET_GPA_DIRECT = 9,
	PACKET_COMPLETION = 11,
};

#define PACKET_WANTS_COMPLETION 1u

struct ring {
	uint8_t *const *page; /* page[0] is the header */
	uint32_t size;        /* bytes of data */
	uint32_t index;     /* the one that is ours: read (guest to host), write (host to guest) */
	uint32_t published; /* what the other side has been told of `index` */
	bool waiting;       /* the guest has been asked for room (host to guest) */
	bool broken;
	const char *fault; /* what was wrong, when broken */
};

/* A packet that was copied out of the ring. Pointers are into the buffer it was copied to. */
struct packet {
	uint16_t type;
	uint16_t flags;
	uint64_t transaction;
	const uint8_t *head; /* behind the descriptor, up to the payload: ranges of GPA_DIRECT */
	uint32_t head_bytes;
	const uint8_t *payload;
	uint32_t payload_bytes;
};

/* `pages` >= 2. Takes over the index that is in the header; RING_BROKEN when it is not one. */
enum ring_result ring_init_in(struct ring *ring, uint8_t *const *page, uint32_t pages);
enum ring_result ring_init_out(struct ring *ring, uint8_t *const *page, uint32_t pages);

/* ---- guest to host ---- */

/*
 * Copy the next packet into `buf` and say what is in it. A packet longer than `cap` breaks the
 * ring. The space is given back at the next ring_publish_read.
 */
enum ring_result ring_read(struct ring *ring, void *buf, size_t cap, struct packet *out);
/* Tell the guest what was read; true when it waits for room and must be signalled. */
bool ring_publish_read(struct ring *ring);
/* Much was read that the guest has not been told of: it might want the space. */
bool ring_should_publish(const struct ring *ring);
/* Ask the guest (not) to signal each packet into an empty ring. */
void ring_mask(struct ring *ring, bool masked);
/* A packet is there; to be asked once more after unmasking. True for a broken ring, too. */
bool ring_readable(struct ring *ring);

/* ---- host to guest ---- */

/*
 * Write a packet with a body of `len` bytes; *signal: the guest must be signalled. RING_FULL
 * leaves a request for room with the guest, and it kicks the channel when there is.
 */
enum ring_result ring_write(struct ring *ring, enum packet_type type, uint16_t flags,
			    uint64_t transaction, const void *payload, size_t len, bool *signal);

#endif
