/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_VMBUS_H
#define STRATA_HV_VMBUS_H

/*
 * VMBus: the connection with the guest's bus driver, and the channels devices are offered on.
 *
 * The guest posts messages (HvPostMessage); they wait in a small queue until vmbus_run handles
 * them, so that no virtual processor ever waits for the host. Answers go through the SynIC. A
 * device is told when the guest opens and closes its channel, and in between reads and writes
 * packets. Versions 3.0 to 5.3 are spoken.
 *
 * States of a channel, and the functions that make the transition (G4):
 *
 *    vmbus_offer           REQUESTOFFERS          OPENCHANNEL
 *   ------------> WAITING --------------> OFFERED ----------> OPEN
 *                    ^                     |  ^ CLOSECHANNEL    |
 *                    |   a new connection  |  +-----------------+
 *                    +---------------------+        any state: vmbus_rescind
 *                                          RESCINDED --------------------> gone
 *                                                    RELID_RELEASED or reset
 *
 * A message that does not fit the state is ignored or refused as Hyper-V does where the protocol
 * has an answer for it; anything malformed closes the channel it names, never the bus.
 *
 * Limits (G3, G7): VMBUS_MAX_CHANNELS channels, VMBUS_MAX_GPADLS address lists with together
 * VMBUS_MAX_GPADL_PAGES pages, VMBUS_POST_QUEUE posts waiting, a bounded number of messages for
 * each vmbus_run.
 *
 * Threads: one thread, the bus's, calls everything here but vmbus_post and vmbus_signal, which any
 * thread may call, and the functions of an open channel, which belong to one thread of the
 * device's choice between open and close.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/ring.h"
#include "util/err.h"
#include "util/guid.h"

#define VMBUS_MAX_CHANNELS    512u
#define VMBUS_MAX_GPADLS      1024u
#define VMBUS_MAX_GPADL_PAGES (1u << 18)
#define VMBUS_POST_QUEUE      256u

/* Results of the hypercalls (TLFS, "Hypercall Status Codes"). */
enum hv_status {
	HV_SUCCESS = 0,
	HV_INVALID_CODE = 2,
	HV_INVALID_INPUT = 3,
	HV_INVALID_ALIGNMENT = 4,
	HV_INVALID_PARAMETER = 5,
	HV_INVALID_CONNECTION = 18,
	HV_INSUFFICIENT_BUFFERS = 19,
};

#define VMBUS_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

struct memory;
struct synic;
struct vmbus;
struct channel;

/*
 * How signals of the guest reach a channel's eventfd without leaving the kernel; all NULL in
 * tests: then vmbus_signal is the only way.
 */
struct vmbus_wiring {
	void *arg;
	enum err (*assign)(void *arg, uint32_t connection, int fd, struct err_why *why);
	void (*release)(void *arg, uint32_t connection, int fd);
};

/* What a device does with its channels. All run on the bus's thread. */
struct channel_ops {
	/*
	 * The guest has opened it; its rings are there. An error refuses the open. It must not
	 * take the channel back from in here.
	 */
	enum err (*open)(void *device, struct channel *channel, struct err_why *why);
	/*
	 * It is no longer open, whoever closed it. On return nothing of the device touches the
	 * channel or guest memory on its behalf any more (G6); may wait for I/O in flight.
	 */
	void (*close)(void *device, struct channel *channel);
	/* A rescinded channel is about to be freed; NULL: nothing to do. */
	void (*gone)(void *device, struct channel *channel);
};

struct channel_offer {
	struct guid type;     /* both as on the wire: the first three fields little-endian */
	struct guid instance; /* stable: the guest names devices by it */
	uint16_t sub_index;   /* 0: primary */
	bool pipe;            /* a named pipe in message mode: integration components */
	const struct channel_ops *ops;
	void *device;
};

enum err vmbus_create(struct memory *memory, struct synic *synic, unsigned vp_count,
		      const struct vmbus_wiring *wiring, struct vmbus **out, struct err_why *why);
/* Closes what is open, frees all channels. NULL is allowed. */
void vmbus_destroy(struct vmbus *bus);
/* Speak nothing newer than `version` (VMBUS_VERSION); for tests of older guests' ways. */
void vmbus_cap_version(struct vmbus *bus, uint32_t version);

/* HvPostMessage with `len` bytes of payload. Any thread; never blocks. */
enum hv_status vmbus_post(struct vmbus *bus, uint32_t connection, uint32_t type,
			  const void *payload, size_t len);
/* HvSignalEvent. Any thread; never blocks. */
enum hv_status vmbus_signal(struct vmbus *bus, uint32_t connection, uint32_t flag);

/* Readable when vmbus_run has something to do. */
int vmbus_fd(const struct vmbus *bus);
void vmbus_run(struct vmbus *bus);

/*
 * The guest is gone (reset): close everything and start anew; offers stay, sub-channels go. Where
 * the SynIC's pages were is for synic_reset to forget.
 */
void vmbus_reset(struct vmbus *bus);

/* A guest has connected, and what version it speaks (0: none). */
uint32_t vmbus_version(const struct vmbus *bus);

/*
 * How often the guest broke a rule of the protocol, and the last rule (a fixed text, or NULL).
 * Nothing of it is printed here: a guest can do it as often as it likes (G7).
 */
uint64_t vmbus_faults(const struct vmbus *bus, const char **last);

/*
 * Something to be done on the bus's thread, embedded in the struct of whoever wants it; zeroed
 * before the first use. Deferring one that waits already changes nothing; `run` may defer it again.
 */
struct vmbus_work {
	void (*run)(struct vmbus_work *work);
	struct vmbus_work *next;
	bool waiting;
};

/* Have `work` run by the next vmbus_run. Any thread. */
void vmbus_defer(struct vmbus *bus, struct vmbus_work *work);
/* It does not wait any more. The bus's thread. */
void vmbus_cancel(struct vmbus *bus, struct vmbus_work *work);

/* ---- for devices ---- */

/*
 * Offer a channel, now if a guest is connected, else as soon as one is; but not before the guest
 * has let go of a rescinded one of the same name. A sub-channel comes after its primary is open;
 * the bus rescinds it when the primary is closed. ERR_EXIST: it is offered already; ERR_REFUSED: a
 * sub-channel without an open primary, or VMBUS_MAX_CHANNELS are there.
 */
enum err vmbus_offer(struct vmbus *bus, const struct channel_offer *offer, struct channel **out,
		     struct err_why *why);
/*
 * Take it back, and its sub-channels with it. It is closed now (`close` has run), and freed once
 * the guest has let go (`gone` runs before): that may be at once, and it may be never.
 */
void vmbus_rescind(struct channel *channel);
/* As vmbus_rescind, for a device that is about to be freed: `gone` will not run. */
void vmbus_retire(struct channel *channel);

/* Becomes readable when the guest has signalled; non-blocking. Valid while the channel exists. */
int channel_fd(const struct channel *channel);
/* Write to that descriptor: makes the channel's thread look. Any thread. */
void channel_kick(struct channel *channel);

bool channel_is_open(const struct channel *channel);
unsigned channel_sub_index(const struct channel *channel);
/* The virtual processor the guest wants to be interrupted at. */
unsigned channel_vp(const struct channel *channel);

/* ---- an open channel; its one thread ---- */

/*
 * The next packet, copied to `buf`. RING_BROKEN: ask the guest's bus nothing more of it. Space is
 * given back now and then, and by channel_rest.
 */
enum ring_result channel_read(struct channel *channel, void *buf, size_t cap, struct packet *out);
/*
 * Nothing was left to read: give the space back and let the guest signal. True when a packet has
 * come meanwhile: go on reading, do not sleep.
 */
bool channel_rest(struct channel *channel);
/* Awake: empties channel_fd; the guest need not signal. Look at what channel_kick is for after it.
 */
void channel_wake(struct channel *channel);
/*
 * Write a packet; the guest is interrupted where it wants to be. RING_FULL: try again after
 * channel_fd has become readable.
 */
enum ring_result channel_write(struct channel *channel, enum packet_type type, uint16_t flags,
			       uint64_t transaction, const void *payload, size_t len);
/*
 * The same without the interrupt: *interrupt is set when one is due, and left alone when not. So
 * many packets can be written before channel_interrupt, which must not be forgotten.
 */
enum ring_result channel_write_quietly(struct channel *channel, enum packet_type type,
				       uint16_t flags, uint64_t transaction, const void *payload,
				       size_t len, bool *interrupt);
void channel_interrupt(struct channel *channel);
/* What broke the ring; NULL when it is whole. */
const char *channel_fault(const struct channel *channel);

#endif
