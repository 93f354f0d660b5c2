/* SPDX-License-Identifier: MIT */
#include "hv/vp.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hv/cpuid.h"
#include "hv/exits.h"
#include "hv/machine.h"
#include "hv/partition_private.h"

#define KICK_SIGNAL SIGUSR1

/* ---- threads ---- */

/* Only there so that the signal interrupts KVM_RUN. */
static void kicked(int number)
{
	(void)number;
}

enum err vps_init(struct vps *set, struct partition *partition, unsigned count, struct err_why *why)
{
	struct sigaction action = {.sa_handler = kicked};

	*set = (struct vps){.partition = partition, .count = count};
	sigemptyset(&action.sa_mask);
	if (sigaction(KICK_SIGNAL, &action, NULL))
		return err_sys(why, errno, "sigaction");
	set->vp = calloc(count, sizeof(*set->vp));
	if (!set->vp)
		return err_set(why, ERR_NOMEM, "no memory for %u processors", count);
	for (unsigned i = 0; i < count; i++) {
		set->vp[i].set = set;
		set->vp[i].index = i;
		set->vp[i].fd = -1;
	}
	pthread_mutex_init(&set->lock, NULL);
	pthread_cond_init(&set->changed, NULL);
	return ERR_OK;
}

void vps_free(struct vps *set)
{
	if (!set->vp)
		return;
	free(set->vp);
	set->vp = NULL;
	pthread_cond_destroy(&set->changed);
	pthread_mutex_destroy(&set->lock);
}

/*
 * The kernel completes what the guest was doing (an I/O read, a hypercall) at the next KVM_RUN:
 * enter it once, to be thrown out at once, so that the registers are whole.
 */
static void settle(struct vp *vp)
{
	vp->run->immediate_exit = 1;
	while (ioctl(vp->fd, KVM_RUN, 0) == 0)
		exit_handle(vp); /* the rest of an instruction that repeats itself */
}

/* Wait to be wanted; false when the thread has to end. */
static bool wait_for_work(struct vp *vp)
{
	struct vps *set = vp->set;
	bool run;

	settle(vp);
	pthread_mutex_lock(&set->lock);
	set->parked++;
	pthread_cond_broadcast(&set->changed);
	while (set->goal == VPS_PARK)
		pthread_cond_wait(&set->changed, &set->lock);
	set->parked--;
	run = set->goal == VPS_RUN;
	/* under the lock: a request to park that comes later sets it again */
	vp->run->immediate_exit = 0;
	pthread_mutex_unlock(&set->lock);
	return run;
}

static void run_guest(struct vp *vp)
{
	struct vps *set = vp->set;

	while (set->goal == VPS_RUN) {
		if (ioctl(vp->fd, KVM_RUN, 0) == 0) {
			atomic_fetch_add_explicit(&vp->exits, 1, memory_order_relaxed);
			exit_handle(vp);
		} else if (errno != EINTR && errno != EAGAIN) {
			exit_failed(vp, errno);
		}
	}
}

static void *vp_thread(void *arg)
{
	struct vp *vp = arg;

	while (wait_for_work(vp))
		run_guest(vp);
	return NULL;
}

static void set_goal(struct vps *set, enum vps_goal goal)
{
	pthread_mutex_lock(&set->lock);
	/* who told that something has happened must not call back those who are to end */
	if (set->goal == VPS_QUIT) {
		pthread_mutex_unlock(&set->lock);
		return;
	}
	set->goal = goal;
	for (unsigned i = 0; goal != VPS_RUN && i < set->count; i++) {
		if (!set->vp[i].has_thread)
			continue;
		set->vp[i].run->immediate_exit = 1;
		pthread_kill(set->vp[i].thread, KICK_SIGNAL);
	}
	pthread_cond_broadcast(&set->changed);
	pthread_mutex_unlock(&set->lock);
}

void vps_run(struct vps *set)
{
	set_goal(set, VPS_RUN);
}

void vps_request_park(struct vps *set)
{
	set_goal(set, VPS_PARK);
}

void vps_park(struct vps *set)
{
	unsigned threads = 0;

	set_goal(set, VPS_PARK);
	for (unsigned i = 0; i < set->count; i++)
		threads += set->vp[i].has_thread;
	pthread_mutex_lock(&set->lock);
	while (set->parked < threads)
		pthread_cond_wait(&set->changed, &set->lock);
	pthread_mutex_unlock(&set->lock);
}

static uint64_t thread_cpu_ns(pthread_t thread)
{
	struct timespec now;
	clockid_t clock;

	if (pthread_getcpuclockid(thread, &clock) || clock_gettime(clock, &now))
		return 0;
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t vp_cpu_ns(const struct vp *vp)
{
	return vp->cpu_ns + (vp->has_thread ? thread_cpu_ns(vp->thread) : 0);
}

/* ---- creation ---- */

static enum err set_msr(struct vp *vp, uint32_t index, uint64_t value, struct err_why *why)
{
	_Alignas(struct kvm_msrs)
	    uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)] = {0};
	struct kvm_msrs *msrs = (struct kvm_msrs *)room;

	msrs->nmsrs = 1;
	msrs->entries[0] = (struct kvm_msr_entry){.index = index, .data = value};
	if (ioctl(vp->fd, KVM_SET_MSRS, msrs) != 1)
		return err_sys(why, errno, "KVM_SET_MSRS 0x%x", index);
	return ERR_OK;
}

static enum err set_features(struct vp *vp, const struct cpuid_table *supported,
			     struct err_why *why)
{
	enum { MTRR_DEFAULT_TYPE = 0x2FF, MTRR_ON_WRITE_BACK = 0xC06 };
	struct kvm_enable_cap synic = {.cap = KVM_CAP_HYPERV_SYNIC2};
	struct cpuid_table table;

	cpuid_for_vp(supported, vp->index, vp->set->count, &table);
	if (ioctl(vp->fd, KVM_SET_CPUID2, &table))
		return err_sys(why, errno, "KVM_SET_CPUID2 for processor %u", vp->index);
	if (ioctl(vp->fd, KVM_ENABLE_CAP, &synic))
		return err_sys(why, errno, "KVM_CAP_HYPERV_SYNIC2 for processor %u", vp->index);
	return set_msr(vp, MTRR_DEFAULT_TYPE, MTRR_ON_WRITE_BACK, why);
}

static enum err create_vp(struct vp *vp, const struct machine *machine,
			  const struct cpuid_table *supported, struct err_why *why)
{
	struct vps *set = vp->set;
	void *run;
	enum err err;
	int rc;

	vp->fd = ioctl(machine->vm, KVM_CREATE_VCPU, vp->index);
	if (vp->fd < 0)
		return err_sys(why, errno, "KVM_CREATE_VCPU %u", vp->index);
	run = mmap(NULL, set->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vp->fd, 0);
	if (run == MAP_FAILED)
		return err_sys(why, errno, "mapping processor %u", vp->index);
	vp->run = run;
	err = set_features(vp, supported, why);
	if (err)
		return err;
	rc = pthread_create(&vp->thread, NULL, vp_thread, vp);
	if (rc)
		return err_sys(why, rc, "starting the thread of processor %u", vp->index);
	vp->has_thread = true;
	return ERR_OK;
}

enum err vps_create(struct vps *set, const struct machine *machine,
		    const struct cpuid_table *supported, struct err_why *why)
{
	set->run_bytes = machine->run_bytes;
	set->goal = VPS_PARK;
	for (unsigned i = 0; i < set->count; i++) {
		enum err err = create_vp(&set->vp[i], machine, supported, why);

		if (err) {
			vps_destroy(set);
			return err;
		}
	}
	vps_park(set);
	return ERR_OK;
}

void vps_destroy(struct vps *set)
{
	/* parked, none of them uses another one's structure any more */
	vps_park(set);
	set_goal(set, VPS_QUIT);
	for (unsigned i = 0; i < set->count; i++) {
		struct vp *vp = &set->vp[i];

		if (vp->has_thread) {
			vp->cpu_ns += thread_cpu_ns(vp->thread);
			pthread_join(vp->thread, NULL);
		}
		vp->has_thread = false;
	}
	for (unsigned i = 0; i < set->count; i++) {
		struct vp *vp = &set->vp[i];

		if (vp->run)
			munmap(vp->run, set->run_bytes);
		vp->run = NULL;
		if (vp->fd >= 0)
			close(vp->fd);
		vp->fd = -1;
	}
	set->goal = VPS_PARK;
}

/* ---- where the first one begins ---- */

enum {
	CR0_PE = 1,
	CR0_ET = 1 << 4,
	CR0_NE = 1 << 5,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	RFLAGS_FIXED = 2,
};
#define CR0_PG (1ul << 31)

static struct kvm_segment flat_segment(uint16_t selector, bool code, bool long_mode)
{
	return (struct kvm_segment){
	    .limit = 0xFFFFFFFF,
	    .selector = selector,
	    .type = code ? 0xB : 0x3,
	    .present = 1,
	    .s = 1,
	    .g = 1,
	    .db = !(code && long_mode),
	    .l = code && long_mode,
	};
}

static void enter(struct kvm_sregs *sregs, const struct linux_entry *entry)
{
	struct kvm_segment data = flat_segment(LINUX_DATA_SELECTOR, false, entry->long_mode);

	sregs->cs = flat_segment(LINUX_CODE_SELECTOR, true, entry->long_mode);
	sregs->ds = sregs->es = sregs->ss = sregs->fs = sregs->gs = data;
	sregs->gdt.base = entry->gdt;
	sregs->gdt.limit = entry->gdt_limit;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
	sregs->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (!entry->long_mode)
		return;
	sregs->cr0 |= CR0_PG;
	sregs->cr3 = entry->page_table;
	sregs->cr4 = CR4_PAE;
	sregs->efer = EFER_LME | EFER_LMA;
}

enum err vps_set_entry(struct vps *set, const struct linux_entry *entry, struct err_why *why)
{
	struct kvm_regs regs = {
	    .rip = entry->ip,
	    .rsi = entry->params,
	    .rsp = entry->stack,
	    .rflags = RFLAGS_FIXED,
	};
	struct vp *vp = &set->vp[0];
	struct kvm_sregs sregs;

	if (ioctl(vp->fd, KVM_GET_SREGS, &sregs))
		return err_sys(why, errno, "KVM_GET_SREGS");
	enter(&sregs, entry);
	if (ioctl(vp->fd, KVM_SET_SREGS, &sregs))
		return err_sys(why, errno, "KVM_SET_SREGS");
	if (ioctl(vp->fd, KVM_SET_REGS, &regs))
		return err_sys(why, errno, "KVM_SET_REGS");
	return ERR_OK;
}
