/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_VP_H
#define STRATA_HV_VP_H

/*
 * The virtual processors of a partition: a set that is created, started, parked and destroyed as a
 * whole. Each has a thread, which runs the guest and handles what it leaves the guest for.
 *
 * A processor is *parked* when its thread waits outside KVM_RUN with nothing half done: its
 * registers may be read and written then.
 *
 * Threads: all functions belong to the partition's thread, except vps_request_park, which any
 * thread may call and which does not wait.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/linux_boot.h"
#include "util/err.h"

struct machine;
struct partition;
struct kvm_run;
struct cpuid_table;

struct vp {
	struct vps *set;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool has_thread;
	_Atomic uint64_t exits, hypercalls;
	_Atomic uint64_t cpu_ns; /* of threads that have ended */
};

enum vps_goal { VPS_PARK, VPS_RUN, VPS_QUIT };

struct vps {
	struct partition *partition;
	struct vp *vp;
	unsigned count;
	uint32_t run_bytes;

	pthread_mutex_t lock; /* guards goal and parked; whoever changes goal holds it */
	pthread_cond_t changed;
	_Atomic int goal; /* enum vps_goal */
	unsigned parked;
};

enum err vps_init(struct vps *set, struct partition *partition, unsigned count,
		  struct err_why *why);
void vps_free(struct vps *set);

/* Processors of `machine`, parked, SynIC enabled, as if switched on. */
enum err vps_create(struct vps *set, const struct machine *machine,
		    const struct cpuid_table *supported, struct err_why *why);
/* Their threads end and they are gone; counters stay. */
void vps_destroy(struct vps *set);

/* The first processor begins at `entry` when it is started. */
enum err vps_set_entry(struct vps *set, const struct linux_entry *entry, struct err_why *why);

void vps_run(struct vps *set);
void vps_request_park(struct vps *set);
/* Waits until all are parked. */
void vps_park(struct vps *set);

uint64_t vp_cpu_ns(const struct vp *vp);

#endif
