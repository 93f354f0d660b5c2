/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_PARTITION_PRIVATE_H
#define STRATA_HV_PARTITION_PRIVATE_H

/* A partition from inside src/hv. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "hv/cpuid.h"
#include "hv/hv.h"
#include "hv/machine.h"
#include "hv/ports.h"
#include "hv/vmbus.h"
#include "hv/vp.h"

struct partition {
	struct partition_opts opts; /* `cmdline` is our copy */
	char *cmdline;
	enum partition_state state;

	int kvm;
	struct memory *memory;
	struct synic *synic;
	struct vmbus *bus;
	struct storvsp *storage;
	struct integration *ic;
	struct ports ports;
	struct cpuid_table supported;
	struct machine machine; /* replaced at a reset */
	struct vps vps;

	int epoll;            /* of all that partition_run looks after */
	int event_fd;         /* written by partition_tell */
	int timer_fd;         /* each second */
	short console_events; /* what the console is watched for now */
	bool console_gone;

	/* told by the processors' threads */
	_Atomic int event; /* enum partition_event, the most severe one */
	pthread_mutex_t failure_lock;
	char failure[200]; /* guarded by failure_lock */
};

/* Something has happened that the partition's thread must see; processors stop. Any thread. */
void partition_tell(struct partition *partition, enum partition_event event);
/* PARTITION_FAILED with a sentence; the first one is kept. Any thread. */
void partition_fail(struct partition *partition, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
