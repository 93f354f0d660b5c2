/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_STORVSP_H
#define STRATA_HV_STORVSP_H

/*
 * The storage VSP: one synthetic SCSI adapter on VMBus, whose logical units are disks.
 *
 * Each channel the guest opens (the primary and its sub-channels) has a thread of its own with a
 * queue of its own; packets are decoded and checked there (vstor.h), commands are executed by
 * scsi.h, and payload goes between the guest's pages and the disk's files without a copy. Every
 * request of the guest ends in exactly one completion, also when the disk fails, is detached, or
 * the bus is reset; storvsc never times out.
 *
 * Units are LUN 0 to 63 of path 0, target 0. There the absence of a unit is told so that guests
 * forget it; anywhere else it is told so that nothing happens to the units that are there.
 *
 * Sub-channels are offered after the guest has asked for them: watch storvsp_fd.
 *
 * A guest that breaks the protocol has its requests refused where the protocol has an answer; else
 * the channel is not listened to any more until it is opened anew (G4), and storvsp_fault says why.
 *
 * Durability: the units say that they have a write cache; SYNCHRONIZE CACHE and FUA complete when
 * the data is durable (P1).
 *
 * Threads: the bus's thread calls these. Ownership: a disk stays the caller's; it must live until
 * storvsp_detach or storvsp_destroy has returned.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "hv/vmbus.h"
#include "util/err.h"

#define STORVSP_MAX_LUNS         64u
#define STORVSP_MAX_SUB_CHANNELS 64u
#define STORVSP_MAX_TRANSFER     (256u << 10) /* bytes a command may move */
#define STORVSP_MAX_PENDING      256u         /* commands in flight for each channel */

struct storvsp;

struct storvsp_opts {
	struct guid instance;      /* stable */
	unsigned max_sub_channels; /* 0: the primary only; at most STORVSP_MAX_SUB_CHANNELS */
};

/* What identifies a unit to the guest, over restarts. */
struct storvsp_unit {
	struct disk *disk;
	struct guid id; /* VPD pages 0x80 and 0x83 are made from it */
	bool readonly;
};

struct storvsp_stats {
	uint64_t read_ops, read_bytes;
	uint64_t write_ops, write_bytes;
	uint64_t flush_ops;
	uint64_t unmap_ops;
	uint64_t errors; /* commands that ended with a medium or hardware error */
};

enum err storvsp_create(struct vmbus *bus, struct memory *memory, const struct storvsp_opts *opts,
			struct storvsp **out, struct err_why *why);
/* Waits for I/O in flight. Before vmbus_destroy. NULL is allowed. */
void storvsp_destroy(struct storvsp *adapter);

/*
 * ERR_EXIST: the unit is there; ERR_RANGE: no such number; ERR_LOCKED: the guest has not noticed
 * yet that a former unit of that number is gone, and would take this one for it. The guest is told
 * to look.
 */
enum err storvsp_attach(struct storvsp *adapter, unsigned lun, const struct storvsp_unit *unit,
			struct err_why *why);
/* Waits for its I/O in flight; then its commands fail, and the guest is told to look. */
enum err storvsp_detach(struct storvsp *adapter, unsigned lun, struct err_why *why);
/* The disk behind the unit has another size now; the guest is told. */
enum err storvsp_resized(struct storvsp *adapter, unsigned lun, struct err_why *why);
/*
 * Nothing new is begun on any unit until storvsp_release; on return nothing is in flight on this
 * one. Commands wait meanwhile, they do not fail.
 */
enum err storvsp_hold(struct storvsp *adapter, unsigned lun, struct err_why *why);
/* Go on, with another disk behind the unit; NULL: it is detached. */
void storvsp_release(struct storvsp *adapter, unsigned lun, struct disk *disk);

/* False: no such unit. */
bool storvsp_get_stats(const struct storvsp *adapter, unsigned lun, struct storvsp_stats *out);

/* Readable when storvsp_run has something to do. */
int storvsp_fd(const struct storvsp *adapter);
void storvsp_run(struct storvsp *adapter);

/* What a guest did, last, that stopped a channel: a fixed text. NULL: nothing. Any thread. */
const char *storvsp_fault(const struct storvsp *adapter);
/* How often it has done such things. */
uint64_t storvsp_fault_count(const struct storvsp *adapter);

#endif
