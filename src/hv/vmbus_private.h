/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_VMBUS_PRIVATE_H
#define STRATA_HV_VMBUS_PRIVATE_H

/*
 * What the parts of VMBus share:
 *
 *    vmbus.c            the bus: posts, signals, deferred work, and who handles which message
 *    vmbus_connect.c    contact, versions, offers, unload, reset
 *    vmbus_channel.c    a channel's life: offer, open, close, rescind, release
 *    vmbus_gpadl.c      address lists of channels: create, tear down
 *    channel_io.c       an open channel, as its device sees it
 *
 * Where nothing is said, a field belongs to the bus's thread.
 */

#include <pthread.h>

#include "hv/gpadl.h"
#include "hv/ring.h"
#include "hv/synic.h"
#include "hv/vmbus.h"
#include "hv/vmbus_message.h"

#define RELIDS              SYNIC_EVENT_FLAGS  /* 0 is not one */
#define CONNECTION_CHANNELS (SYNIC_SINT << 12) /* a channel's connection: this, and its relid */
#define CONNECTION_MESSAGES 1u
#define CONNECTION_CONTACT  4u /* INITIATE_CONTACT from version 5.0 on */

enum channel_state {
	CHANNEL_WAITING, /* the guest does not know it yet */
	CHANNEL_OFFERED,
	CHANNEL_OPEN,
	CHANNEL_RESCINDED, /* the guest has not let go yet */
};

struct channel {
	struct vmbus *bus;
	struct channel_offer offer;
	uint32_t relid;
	uint32_t connection;
	enum channel_state state; /* written by the bus's thread, read by any: atomic */
	bool retired;             /* the device is told nothing any more */
	int fd;

	pthread_mutex_t vp_lock; /* held while the guest is interrupted; guards vp */
	unsigned vp;

	/* From open to close: */
	struct gpadl *gpadl;
	struct ring in;  /* the device's thread */
	struct ring out; /* the same */
};

struct post {
	uint16_t len;
	uint8_t bytes[MESSAGE_MAX];
};

struct vmbus {
	struct memory *memory;
	struct synic *synic;
	struct vmbus_wiring wiring;
	unsigned vp_count;
	uint32_t version_cap; /* atomic */
	int fd;

	pthread_mutex_t queue_lock; /* guards posts and work */
	struct post post[VMBUS_POST_QUEUE];
	unsigned post_first, post_count;
	struct vmbus_work *work, **work_tail;
	unsigned work_count;

	pthread_mutex_t signal_lock; /* guards signal_fd */
	int signal_fd[RELIDS];       /* of open channels; else -1 */

	uint32_t version;      /* 0: not connected */
	unsigned vp;           /* where messages go */
	bool offers_requested; /* new offers are sent at once */
	struct channel *channel[RELIDS];
	unsigned channel_count;
	uint32_t last_relid;
	struct gpadls gpadls;
	uint64_t faults;
	const char *fault;
};

/* vmbus.c */
void vmbus_send(struct vmbus *bus, const uint8_t *message, size_t len);
/* The guest broke a rule; `text` must be a constant (G7). */
void vmbus_fault(struct vmbus *bus, const char *text);
void vmbus_drop_posts(struct vmbus *bus);
/* `fd` < 0: signals of this channel have no effect any more. */
void vmbus_set_signal(struct vmbus *bus, uint32_t relid, int fd);

/* vmbus_connect.c */
void vmbus_contact(struct vmbus *bus, const struct message_contact *contact);
void vmbus_request_offers(struct vmbus *bus);
void vmbus_unload(struct vmbus *bus);

/* vmbus_channel.c */
/* The channel of this number, if the guest knows it; else NULL. */
struct channel *channel_of(struct vmbus *bus, uint32_t relid);
/* Offer what waits for it and may be offered. */
void channel_offer_waiting(struct vmbus *bus);
/* Close it, and rescind its sub-channels. */
void channel_close(struct channel *channel);
/* The guest does not know any channel any more: primaries wait, all others are freed. */
void channel_forget_all(struct vmbus *bus);
void channel_free_all(struct vmbus *bus);
void vmbus_open(struct vmbus *bus, const struct message_open *message);
void vmbus_close(struct vmbus *bus, uint32_t relid);
void vmbus_modify(struct vmbus *bus, const struct message_modify *message);
void vmbus_released(struct vmbus *bus, uint32_t relid);

/* vmbus_gpadl.c */
void vmbus_gpadl_header(struct vmbus *bus, const struct message_gpadl_header *header);
void vmbus_gpadl_body(struct vmbus *bus, const struct message_gpadl_body *body);
void vmbus_gpadl_teardown(struct vmbus *bus, const struct message_gpadl_teardown *teardown);

#endif
