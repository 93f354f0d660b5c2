/* SPDX-License-Identifier: MIT */
#include "hv/exits.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>

#include "hv/machine.h"
#include "hv/memory.h"
#include "hv/partition_private.h"
#include "hv/synic.h"
#include "util/bytes.h"

/* TLFS, "Hypercall Interface": the input value. */
#define CALL_CODE(input) ((uint16_t)(input))
#define CALL_FAST        (1ull << 16)

#define POST_MESSAGE 0x5Cu
#define SIGNAL_EVENT 0x5Du

/* The input of HvPostMessage. */
enum {
	POST_CONNECTION = 0,
	POST_TYPE = 8,
	POST_SIZE = 12,
	POST_PAYLOAD = 16,
	POST_BYTES = POST_PAYLOAD + SYNIC_MESSAGE_MAX,
};

static enum hv_status post_message(struct partition *partition, uint64_t input, uint64_t gpa)
{
	uint8_t copy[POST_BYTES];
	uint32_t size;

	if (input & CALL_FAST)
		return HV_INVALID_INPUT;
	if (gpa % 8)
		return HV_INVALID_ALIGNMENT;
	if (!memory_read(partition->memory, gpa, copy, sizeof(copy)))
		return HV_INVALID_PARAMETER;
	size = get_le32(copy + POST_SIZE);
	if (size > SYNIC_MESSAGE_MAX)
		return HV_INVALID_PARAMETER;
	return vmbus_post(partition->bus, get_le32(copy + POST_CONNECTION),
			  get_le32(copy + POST_TYPE), copy + POST_PAYLOAD, size);
}

/* KVM has read a slow call's parameter already: fast or not, it is the value. */
static enum hv_status signal_event(struct partition *partition, uint64_t value)
{
	return vmbus_signal(partition->bus, (uint32_t)value, (uint16_t)(value >> 32));
}

static void handle_hyperv(struct vp *vp, struct kvm_hyperv_exit *exit)
{
	struct partition *partition = vp->set->partition;
	enum hv_status status = HV_INVALID_CODE;

	if (exit->type == KVM_EXIT_HYPERV_SYNIC) {
		synic_set_pages(partition->synic, vp->index, exit->u.synic.msg_page,
				exit->u.synic.evt_page);
		return;
	}
	if (exit->type != KVM_EXIT_HYPERV_HCALL)
		return;
	atomic_fetch_add_explicit(&vp->hypercalls, 1, memory_order_relaxed);
	if (CALL_CODE(exit->u.hcall.input) == POST_MESSAGE)
		status = post_message(partition, exit->u.hcall.input, exit->u.hcall.params[0]);
	else if (CALL_CODE(exit->u.hcall.input) == SIGNAL_EVENT)
		status = signal_event(partition, exit->u.hcall.params[0]);
	exit->u.hcall.result = status;
}

static void handle_io(struct vp *vp)
{
	struct partition *partition = vp->set->partition;
	struct kvm_run *run = vp->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	enum power_event event;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		ports_in(&partition->ports, &partition->machine, run->io.port, run->io.size,
			 run->io.count, data);
		return;
	}
	event = ports_out(&partition->ports, &partition->machine, run->io.port, run->io.size,
			  run->io.count, data);
	if (event == POWER_OFF)
		partition_tell(partition, PARTITION_OFF);
	else if (event == POWER_RESET)
		partition_tell(partition, PARTITION_RESET);
}

static void handle_system_event(struct vp *vp)
{
	struct partition *partition = vp->set->partition;

	switch (vp->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		partition_tell(partition, PARTITION_OFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		partition_tell(partition, PARTITION_RESET);
		break;
	case KVM_SYSTEM_EVENT_CRASH: /* it goes on to reset itself, or stands still */
		break;
	default:
		partition_fail(partition, "processor %u: an unknown system event %u", vp->index,
			       vp->run->system_event.type);
		break;
	}
}

void exit_handle(struct vp *vp)
{
	struct partition *partition = vp->set->partition;
	struct kvm_run *run = vp->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vp);
		break;
	case KVM_EXIT_HYPERV:
		handle_hyperv(vp, &run->hyperv);
		break;
	case KVM_EXIT_MMIO: /* nothing is there */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xFF, sizeof(run->mmio.data));
		break;
	case KVM_EXIT_SHUTDOWN: /* a triple fault is how PCs reset */
		partition_tell(partition, PARTITION_RESET);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vp);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_FAIL_ENTRY:
		partition_fail(partition, "processor %u cannot enter the guest (reason 0x%llx)",
			       vp->index,
			       (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		partition_fail(partition,
			       "processor %u: the guest did what KVM cannot emulate (suberror %u)",
			       vp->index, run->internal.suberror);
		break;
	default:
		partition_fail(partition, "processor %u: an unknown exit %u", vp->index,
			       run->exit_reason);
		break;
	}
}

void exit_failed(struct vp *vp, int sys_errno)
{
	partition_fail(vp->set->partition, "processor %u: KVM_RUN: %s", vp->index,
		       strerror(sys_errno));
}
