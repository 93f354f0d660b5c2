/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_CPUID_H
#define STRATA_HV_CPUID_H

/*
 * What a virtual processor says of itself: the host's features as KVM supports them, a flat
 * topology, and the Hyper-V leaves 0x40000000 to 0x40000005 (TLFS, "Feature and Interface
 * Discovery"). KVM's own leaves are left out: a guest that sees both would be a guest of KVM.
 */

#include <linux/kvm.h>
#include <stdint.h>

#include "util/err.h"

/* Room for a processor's table. */
#define CPUID_MAX 256u

struct cpuid_table {
	uint32_t nent, padding;
	struct kvm_cpuid_entry2 entry[CPUID_MAX];
};

/* Ask KVM what it supports and add Hyper-V's leaves, no more of them than this KVM has. */
enum err cpuid_supported(int kvm, struct cpuid_table *out, struct err_why *why);

/* The table of one processor. */
void cpuid_for_vp(const struct cpuid_table *supported, unsigned vp, unsigned vp_count,
		  struct cpuid_table *out);

#endif
