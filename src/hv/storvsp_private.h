/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_STORVSP_PRIVATE_H
#define STRATA_HV_STORVSP_PRIVATE_H

/*
 * What the parts of the storage VSP share: storvsp.c (the adapter and its units), storvsp_reset.c,
 * storvsp_channel.c (the thread of a channel: packets in, completions out) and storvsp_srb.c (one
 * SCSI command from packet to disk and back).
 *
 * A request is in one of three places: the channel's free list; busy, from the packet that was read
 * until vsp_complete; or waiting for room in the guest's ring. When there is none free the ring is
 * not read.
 */

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "hv/memory.h"
#include "hv/scsi.h"
#include "hv/storvsp.h"
#include "hv/vstor.h"

/* One range of the largest transfer touches so many pages. */
#define VSP_MAX_IOV (STORVSP_MAX_TRANSFER / GUEST_PAGE + 1)

struct vsp_stats {
	_Atomic uint64_t read_ops, read_bytes, write_ops, write_bytes, flush_ops, unmap_ops, errors;
};

/*
 * A place for a unit. A command counts itself among `users`, then looks whether the unit is
 * `present`; storvsp_detach makes it not so, then waits for the users. `what` changes only while it
 * is not present and has no users.
 */
struct vsp_unit {
	atomic_bool present;
	atomic_bool resized; /* to be reported once, as a unit attention */
	atomic_bool ghost;   /* detached, but the guest has not asked for it since */
	atomic_uint users;
	struct storvsp_unit what;
	struct vsp_stats stats;
};

struct vsp_channel;

struct vsp_request {
	struct vsp_request *next; /* in the free list, among those waiting, or of resets */
	struct vsp_channel *ch;
	uint64_t transaction;
	uint8_t packet[VSTOR_BYTES]; /* the request, then the answer to it */
	unsigned sub_channels;       /* to be offered once this is answered */

	/* a SCSI command */
	struct vsp_unit *unit; /* held */
	unsigned phase;        /* see vsp_channel.outstanding */
	struct scsi_command command;
	uint32_t moved_bytes;
	bool overrun; /* the guest's buffer is shorter than what the command says */
	struct disk_req disk;
	unsigned range_count, range_next;
	union {
		struct iovec iov[VSP_MAX_IOV];
		struct scsi_range range[SCSI_UNMAP_RANGES];
	};

	struct queue_work work; /* a reset that is over */
};

enum vsp_state { VSP_NEW, VSP_BEGUN, VSP_VERSION_KNOWN, VSP_PROPERTIES_KNOWN, VSP_READY };

/* A channel that is open. All but what is marked belongs to its thread. */
struct vsp_channel {
	struct storvsp *adapter;
	struct channel *channel;
	struct vsp_channel *next; /* the adapter's lock */
	pthread_t thread;
	struct queue *queue;
	struct queue_work kicked, timer_ran;
	int timer_fd;
	bool primary;
	bool deaf;      /* the guest broke the protocol: nothing is read any more */
	bool interrupt; /* is due */
	bool mute;      /* it broke the ring: nothing is written either */
	enum vsp_state state;

	struct vsp_request *pool, *free;
	unsigned busy;
	struct vsp_request *waiting, **waiting_tail;

	/* Commands of each phase at the disks; written by the thread, read by whoever resets. */
	atomic_uint outstanding[2];

	atomic_bool reading;  /* packets; looks at adapter->held before it begins to */
	atomic_bool stop;     /* set by the bus's thread */
	atomic_bool announce; /* the same: tell the guest to look for units */

	sem_t started;
	enum err start_err;
	struct err_why start_why;

	uint8_t packet[4096]; /* larger ones break the ring */
};

struct storvsp {
	struct vmbus *bus;
	struct memory *memory;
	struct storvsp_opts opts;
	struct channel *primary;
	struct vsp_unit unit[STORVSP_MAX_LUNS];
	int event_fd;
	atomic_uint wanted; /* sub-channels to offer */
	atomic_bool subs;   /* they were asked for since the primary was opened */
	atomic_bool held;   /* no packets are read; written by the bus's thread */
	_Atomic uint64_t faults;
	_Atomic(const char *) fault; /* the last one */

	pthread_mutex_t lock;
	/* a unit that is not present, or held, has lost its last user; reading has stopped */
	pthread_cond_t unit_idle;
	struct vsp_channel *channels;

	/*
	 * A reset is answered when the commands that were at the disks are back. Each belongs to
	 * one of two phases; a reset begins a new one and waits for the other to become empty.
	 */
	atomic_uint phase;
	atomic_bool resetting;      /* written with the lock held */
	struct vsp_request *resets; /* the lock; the first is the one under way */
};

/* ---- units ---- */

/* NULL: there is none. Give it back with vsp_unit_put. */
struct vsp_unit *vsp_unit_take(struct storvsp *adapter, unsigned lun);
void vsp_unit_put(struct storvsp *adapter, struct vsp_unit *unit);
/* Whoever waits on unit_idle looks again. */
void vsp_tell_idle(struct storvsp *adapter);
/* Bit n: there is a unit n. */
uint64_t vsp_units(const struct storvsp *adapter);

/* ---- resets ---- */

void vsp_reset_begin(struct storvsp *adapter, struct vsp_request *req);
/* A channel's last command of a phase is back, or a channel is gone. */
void vsp_reset_check(struct storvsp *adapter);

/* ---- channels ---- */

enum err vsp_channel_open(struct storvsp *adapter, struct channel *channel,
			  struct vsp_channel **out, struct err_why *why);
/* Waits for its I/O in flight; its thread is gone then. */
void vsp_channel_stop(struct vsp_channel *ch);
void vsp_channel_free(struct vsp_channel *ch);
/* Send the answer in req->packet, now or when there is room; the request is not the caller's. */
void vsp_complete(struct vsp_request *req);

/* ---- SCSI commands ---- */

/* Carry out the command in req->packet, whose buffer is in `packet`; ends in vsp_complete. */
void vsp_srb_start(struct vsp_request *req, const struct packet *packet);

#endif
