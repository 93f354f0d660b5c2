/* SPDX-License-Identifier: MIT */
#include "hv/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hv/memory.h"
#include "hv/synic.h"
#include "util/bytes.h"

#define TSS_ADDRESS      0xFFFBD000ul /* three pages, for processors that need them */
#define IDENTITY_ADDRESS 0xFFFBC000ull
#define ISA_IRQS         16u
#define IOAPIC_PINS      24u
#define FIRST_SINT_GSI   IOAPIC_PINS

static const struct {
	int cap;
	const char *name;
} needed[] = {
    {KVM_CAP_IRQCHIP, "in-kernel interrupt controllers"}, {KVM_CAP_IRQFD, "irqfd"},
    {KVM_CAP_IRQFD_RESAMPLE, "irqfd with resampling"},    {KVM_CAP_PIT2, "an in-kernel timer"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"},
};

static const struct {
	int cap;
	const char *name;
} needed_hyperv[] = {
    {KVM_CAP_HYPERV, "HYPERV"},
    {KVM_CAP_HYPERV_TIME, "HYPERV_TIME"},
    {KVM_CAP_HYPERV_SYNIC2, "HYPERV_SYNIC2"},
    {KVM_CAP_HYPERV_VP_INDEX, "HYPERV_VP_INDEX"},
    {KVM_CAP_HYPERV_EVENTFD, "HYPERV_EVENTFD"},
    {KVM_CAP_SYS_HYPERV_CPUID, "SYS_HYPERV_CPUID"},
};

static enum err check_caps(int kvm, struct err_why *why)
{
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return err_set(why, ERR_UNSUPPORTED, "/dev/kvm: an unknown version of KVM");
	for (unsigned i = 0; i < ARRAY_LEN(needed); i++)
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return err_set(why, ERR_UNSUPPORTED, "this KVM has no %s", needed[i].name);
	for (unsigned i = 0; i < ARRAY_LEN(needed_hyperv); i++)
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed_hyperv[i].cap) <= 0)
			return err_set(why, ERR_UNSUPPORTED,
				       "this KVM has no Hyper-V support (KVM_CAP_%s): its kernel "
				       "needs CONFIG_KVM_HYPERV and a processor with AMD-V or VT-x",
				       needed_hyperv[i].name);
	return ERR_OK;
}

enum err machine_open_kvm(int *kvm, struct err_why *why)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	enum err err;

	if (fd < 0 && errno == ENOENT)
		return err_set(why, ERR_UNSUPPORTED,
			       "there is no /dev/kvm: the modules kvm-amd or kvm-intel are not "
			       "loaded, or virtualisation is switched off in the firmware");
	if (fd < 0)
		return err_sys(why, errno, "/dev/kvm");
	err = check_caps(fd, why);
	if (err)
		close(fd);
	else
		*kvm = fd;
	return err;
}

static enum err set_slots(const struct machine *machine, const struct memory *memory,
			  struct err_why *why)
{
	struct memory_part part[2];
	unsigned count = memory_parts(memory, part);

	for (unsigned i = 0; i < count; i++) {
		struct kvm_userspace_memory_region region = {
		    .slot = i,
		    .guest_phys_addr = part[i].gpa,
		    .memory_size = part[i].size_bytes,
		    .userspace_addr = (uintptr_t)part[i].host,
		};

		if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region))
			return err_sys(why, errno, "KVM_SET_USER_MEMORY_REGION %u", i);
	}
	return ERR_OK;
}

static enum err set_up(struct machine *machine, const struct memory *memory, struct err_why *why)
{
	uint64_t identity = IDENTITY_ADDRESS;
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int bytes;

	if (ioctl(machine->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity))
		return err_sys(why, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(machine->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS))
		return err_sys(why, errno, "KVM_SET_TSS_ADDR");
	if (ioctl(machine->vm, KVM_CREATE_IRQCHIP))
		return err_sys(why, errno, "KVM_CREATE_IRQCHIP");
	if (ioctl(machine->vm, KVM_CREATE_PIT2, &pit))
		return err_sys(why, errno, "KVM_CREATE_PIT2");
	bytes = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(struct kvm_run))
		return err_sys(why, errno, "KVM_GET_VCPU_MMAP_SIZE");
	machine->run_bytes = (uint32_t)bytes;
	return set_slots(machine, memory, why);
}

enum err machine_create(int kvm, const struct memory *memory, struct machine *out,
			struct err_why *why)
{
	enum err err;

	*out = (struct machine){.kvm = kvm, .vm = -1};
	do
		out->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	while (out->vm < 0 && errno == EINTR);
	if (out->vm < 0)
		return err_sys(why, errno, "KVM_CREATE_VM");
	err = set_up(out, memory, why);
	if (err)
		machine_destroy(out);
	return err;
}

void machine_destroy(struct machine *machine)
{
	if (machine->vm >= 0)
		close(machine->vm);
	machine->vm = -1;
}

static void add_chip(struct kvm_irq_routing *table, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
	    .gsi = gsi,
	    .type = KVM_IRQ_ROUTING_IRQCHIP,
	    .u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

/* Setting routes replaces all of them: the ordinary ones are said again. */
static void add_ordinary(struct kvm_irq_routing *table)
{
	for (uint32_t irq = 0; irq < ISA_IRQS; irq++)
		add_chip(table, irq, irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
			 irq % 8);
	/* the MADT says that the timer, line 0, is at pin 2 of the I/O APIC */
	add_chip(table, 0, KVM_IRQCHIP_IOAPIC, 2);
	for (uint32_t irq = 1; irq < IOAPIC_PINS; irq++)
		if (irq != 2)
			add_chip(table, irq, KVM_IRQCHIP_IOAPIC, irq);
}

static enum err add_irqfd(const struct machine *machine, struct synic *synic, unsigned vp,
			  struct err_why *why)
{
	struct kvm_irqfd irqfd = {
	    .fd = (uint32_t)synic_interrupt_fd(synic, vp),
	    .gsi = FIRST_SINT_GSI + vp,
	    .flags = KVM_IRQFD_FLAG_RESAMPLE,
	    .resamplefd = (uint32_t)synic_message_end_fd(synic, vp),
	};

	if (ioctl(machine->vm, KVM_IRQFD, &irqfd))
		return err_sys(why, errno, "KVM_IRQFD for processor %u", vp);
	return ERR_OK;
}

enum err machine_route(struct machine *machine, struct synic *synic, unsigned vp_count,
		       struct err_why *why)
{
	size_t entries = ISA_IRQS + IOAPIC_PINS + vp_count;
	struct kvm_irq_routing *table =
	    calloc(1, sizeof(*table) + entries * sizeof(table->entries[0]));
	enum err err = ERR_OK;

	if (!table)
		return err_set(why, ERR_NOMEM, "no memory for interrupt routes");
	add_ordinary(table);
	for (uint32_t vp = 0; vp < vp_count; vp++)
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		    .gsi = FIRST_SINT_GSI + vp,
		    .type = KVM_IRQ_ROUTING_HV_SINT,
		    .u.hv_sint = {.vcpu = vp, .sint = SYNIC_SINT},
		};
	if (ioctl(machine->vm, KVM_SET_GSI_ROUTING, table))
		err = err_sys(why, errno, "KVM_SET_GSI_ROUTING");
	free(table);
	for (unsigned vp = 0; !err && vp < vp_count; vp++)
		err = add_irqfd(machine, synic, vp, why);
	return err;
}

void machine_irq(const struct machine *machine, unsigned irq, bool level)
{
	struct kvm_irq_level line = {.irq = irq, .level = level};

	/* fails only for lines that do not exist */
	(void)ioctl(machine->vm, KVM_IRQ_LINE, &line);
}

enum err machine_assign(const struct machine *machine, uint32_t connection, int fd,
			struct err_why *why)
{
	struct kvm_hyperv_eventfd event = {.conn_id = connection, .fd = fd};

	if (ioctl(machine->vm, KVM_HYPERV_EVENTFD, &event))
		return err_sys(why, errno, "KVM_HYPERV_EVENTFD for connection %u", connection);
	return ERR_OK;
}

void machine_release(const struct machine *machine, uint32_t connection, int fd)
{
	struct kvm_hyperv_eventfd event = {
	    .conn_id = connection, .fd = fd, .flags = KVM_HYPERV_EVENTFD_DEASSIGN};

	/* fails only when it was not assigned, which is what is wanted */
	(void)ioctl(machine->vm, KVM_HYPERV_EVENTFD, &event);
}

bool machine_clock(const struct machine *machine, uint64_t *ns)
{
	struct kvm_clock_data clock;

	if (ioctl(machine->vm, KVM_GET_CLOCK, &clock))
		return false;
	*ns = clock.clock;
	return true;
}
