/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_HV_H
#define STRATA_HV_HV_H

/*
 * A partition: a virtual machine on KVM that looks to its guest like one of Hyper-V's. It has
 * memory, virtual processors, in-kernel interrupt controllers, a serial console, a clock, power and
 * reset, and VMBus with a storage adapter and the integration components. It starts a Linux kernel
 * directly; firmware may come later.
 *
 * What it does not do: open disks, know of files but for the two it is given, talk to users.
 *
 * Threads: each virtual processor has one, each storage channel has one; everything else happens on
 * the caller's, which owns the partition: it waits for partition_fd and calls partition_run. All
 * functions here belong to that thread.
 *
 * Robustness: the guest is hostile (G1 to G8). What it does wrong ends, at worst, in its own reset
 * or in PARTITION_FAILED; nothing here aborts on what a guest does.
 */

#include <stdbool.h>
#include <stdint.h>

#include "hv/integration.h"
#include "hv/storvsp.h"
#include "util/err.h"
#include "util/guid.h"

#define PARTITION_MAX_VPS 64u

struct partition;

struct partition_opts {
	uint64_t memory_bytes;
	unsigned vp_count;
	struct guid id; /* of the VM; stable */

	/* bzImage, and what it is given; the caller's, must stay open. initrd_fd -1: none */
	int kernel_fd, initrd_fd;
	const char *cmdline;

	/*
	 * The serial console: a non-blocking stream socket or the like, whose other end somebody
	 * reads; what arrives from it is typed. The caller's. -1: none.
	 */
	int console_fd;
};

/* What has happened since partition_run was called last. */
enum partition_event {
	PARTITION_NOTHING,
	PARTITION_OFF,    /* the guest has switched itself off */
	PARTITION_RESET,  /* it has reset itself and starts anew */
	PARTITION_FAILED, /* it cannot go on: partition_failure */
};

enum partition_state { PARTITION_STOPPED, PARTITION_RUNNING, PARTITION_PAUSED };

struct partition_vp_stats {
	uint64_t cpu_ns;     /* time on a processor, the guest's and ours */
	uint64_t exits;      /* returns to us */
	uint64_t hypercalls; /* of these */
};

/* Whether this machine can run partitions. The error says what is missing. */
enum err partition_check_host(struct err_why *why);

/*
 * Everything but running: ERR_UNSUPPORTED without a KVM that has what is needed, ERR_CORRUPT for a
 * kernel that is none, ERR_NOMEM, ERR_RANGE when kernel and initrd do not fit.
 */
enum err partition_create(const struct partition_opts *opts, struct partition **out,
			  struct err_why *why);
/* Stops it. Disks of the storage adapter are not touched any more. NULL is allowed. */
void partition_destroy(struct partition *partition);

/* Also from PARTITION_PAUSED. */
enum err partition_start(struct partition *partition, struct err_why *why);
/* On return no virtual processor runs. Disk I/O in flight goes on. */
void partition_pause(struct partition *partition);
/* As the reset button does; it is running afterwards. */
enum err partition_reset(struct partition *partition, struct err_why *why);
enum partition_state partition_state(const struct partition *partition);

/* Readable when partition_run has something to do. */
int partition_fd(const struct partition *partition);
enum partition_event partition_run(struct partition *partition);
/* The sentence that goes with PARTITION_FAILED; "" before. */
const char *partition_failure(const struct partition *partition);

struct storvsp *partition_storage(struct partition *partition);
struct integration *partition_integration(struct partition *partition);
/* Version of VMBus the guest speaks (VMBUS_VERSION); 0: none yet. */
uint32_t partition_vmbus_version(const struct partition *partition);
/* False: there is no such processor. */
bool partition_vp_stats(const struct partition *partition, unsigned vp,
			struct partition_vp_stats *out);

#endif
