/* SPDX-License-Identifier: MIT */
#include "hv/cpuid.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "util/bytes.h"

#define HV_BASE 0x40000000u
#define HV_END  0x4FFFFFFFu

/* Leaf 1 */
#define ECX_MONITOR      (1u << 3)
#define ECX_VMX          (1u << 5)
#define ECX_X2APIC       (1u << 21)
#define ECX_TSC_DEADLINE (1u << 24)
#define ECX_HYPERVISOR   (1u << 31)
#define EDX_HTT          (1u << 28)
/* Leaf 0x80000001 */
#define ECX_CMP_LEGACY (1u << 1)
#define ECX_SVM        (1u << 2)
#define ECX_TOPOEXT    (1u << 22)

/*
 * TLFS, "Feature and Interface Discovery". 0x40000003 EAX: all synthetic MSRs but statistics,
 * guest idle and invariant TSC; EBX: PostMessages, SignalEvents (never AccessPartitionId: Linux
 * stops when the hypercall that goes with it fails); EDX: frequency MSRs, crash MSRs, direct-mode
 * timers. 0x40000004: relaxed timing, no AutoEOI, never notify of spinning.
 */
static const struct kvm_cpuid_entry2 hyperv[] = {
    {.function = 0x40000000,
     .eax = 0x40000005,
     .ebx = 0x7263694D,
     .ecx = 0x666F736F,
     .edx = 0x76482074},
    {.function = 0x40000001, .eax = 0x31237648},
    {.function = 0x40000002, .eax = 0x3839, .ebx = 0x000A0000},
    {.function = 0x40000003, .eax = 0x00000AFF, .ebx = 0x00000030, .edx = 0x00080500},
    {.function = 0x40000004, .eax = 0x00000220, .ebx = 0xFFFFFFFF},
    {.function = 0x40000005, .eax = 64, .ebx = 64},
};

#define HV_FEATURES 0x40000003u

static bool add(struct cpuid_table *table, const struct kvm_cpuid_entry2 *entry)
{
	if (table->nent == CPUID_MAX)
		return false;
	table->entry[table->nent++] = *entry;
	return true;
}

static enum err add_hyperv(int kvm, struct cpuid_table *table, struct err_why *why)
{
	struct cpuid_table have = {.nent = CPUID_MAX};

	if (ioctl(kvm, KVM_GET_SUPPORTED_HV_CPUID, &have))
		return err_sys(why, errno, "KVM_GET_SUPPORTED_HV_CPUID");
	for (unsigned i = 0; i < ARRAY_LEN(hyperv); i++) {
		struct kvm_cpuid_entry2 entry = hyperv[i];

		for (unsigned j = 0; entry.function == HV_FEATURES && j < have.nent; j++) {
			if (have.entry[j].function != HV_FEATURES)
				continue;
			entry.eax &= have.entry[j].eax;
			entry.ebx &= have.entry[j].ebx;
			entry.edx &= have.entry[j].edx;
			break;
		}
		if (!add(table, &entry))
			return err_set(why, ERR_UNSUPPORTED, "too many CPUID leaves");
	}
	return ERR_OK;
}

enum err cpuid_supported(int kvm, struct cpuid_table *out, struct err_why *why)
{
	struct cpuid_table all = {.nent = CPUID_MAX};

	*out = (struct cpuid_table){0};
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &all))
		return err_sys(why, errno, "KVM_GET_SUPPORTED_CPUID");
	for (unsigned i = 0; i < all.nent; i++)
		if (all.entry[i].function < HV_BASE || all.entry[i].function > HV_END)
			add(out, &all.entry[i]);
	return add_hyperv(kvm, out, why);
}

static unsigned bits_for(unsigned count)
{
	unsigned bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

/* Extended topology: one thread a core, all cores in one package. */
static void set_topology(struct kvm_cpuid_entry2 *entry, unsigned vp, unsigned vp_count)
{
	enum { SMT = 1, CORE = 2 };

	entry->eax = entry->ebx = 0;
	entry->ecx = entry->index;
	entry->edx = vp;
	if (entry->index == 0) {
		entry->ebx = 1;
		entry->ecx |= SMT << 8;
	} else if (entry->index == 1) {
		entry->eax = bits_for(vp_count);
		entry->ebx = vp_count;
		entry->ecx |= CORE << 8;
	}
}

static void fit(struct kvm_cpuid_entry2 *entry, unsigned vp, unsigned vp_count)
{
	switch (entry->function) {
	case 1:
		entry->ebx = (entry->ebx & 0xFF00) | vp << 24 | vp_count << 16;
		entry->ecx &= ~(ECX_MONITOR | ECX_VMX);
		entry->ecx |= ECX_X2APIC | ECX_TSC_DEADLINE | ECX_HYPERVISOR;
		entry->edx &= ~EDX_HTT;
		entry->edx |= vp_count > 1 ? EDX_HTT : 0;
		break;
	case 4: /* caches belong to one core each */
		entry->eax &= 0x3FFF;
		entry->eax |= (vp_count - 1) << 26;
		break;
	case 0xB:
	case 0x1F:
		set_topology(entry, vp, vp_count);
		break;
	case 0x80000001:
		entry->ecx &= ~(ECX_SVM | ECX_TOPOEXT | ECX_CMP_LEGACY);
		entry->ecx |= vp_count > 1 ? ECX_CMP_LEGACY : 0;
		break;
	case 0x80000008:
		entry->ecx = (vp_count - 1) | bits_for(vp_count) << 12;
		break;
	default:
		break;
	}
}

/* AMD's extended topology, nested paging and the like: none of them. */
static bool left_out(uint32_t function)
{
	return function == 0x8000000A || function == 0x8000001D || function == 0x8000001E ||
	       function == 0x8000001F;
}

void cpuid_for_vp(const struct cpuid_table *supported, unsigned vp, unsigned vp_count,
		  struct cpuid_table *out)
{
	struct kvm_cpuid_entry2 topology = {.function = 0xB, .flags = 1};
	bool has_topology = false;

	*out = (struct cpuid_table){0};
	for (unsigned i = 0; i < supported->nent; i++) {
		struct kvm_cpuid_entry2 entry = supported->entry[i];

		if (left_out(entry.function) || entry.function == 0xB || entry.function == 0x1F) {
			has_topology |= entry.function == 0xB;
			continue;
		}
		fit(&entry, vp, vp_count);
		add(out, &entry);
	}
	for (unsigned i = 0; has_topology && i < 3; i++) {
		topology.index = i;
		fit(&topology, vp, vp_count);
		add(out, &topology);
	}
}
