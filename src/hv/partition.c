/* SPDX-License-Identifier: MIT */
#include "hv/hv.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "hv/acpi.h"
#include "hv/linux_boot.h"
#include "hv/memory.h"
#include "hv/partition_private.h"
#include "hv/synic.h"

#define TICK_S       1
#define MAX_EVENTS   8
#define SUB_CHANNELS 16u /* at most; one for each further processor */

/* What the epoll descriptor watches; the number is the event's data. */
enum source {
	SOURCE_EVENT,
	SOURCE_TIMER,
	SOURCE_SYNIC,
	SOURCE_BUS,
	SOURCE_IC,
	SOURCE_STORAGE,
	SOURCE_CONSOLE
};

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- told by the processors' threads ---- */

void partition_tell(struct partition *partition, enum partition_event event)
{
	const uint64_t one = 1;
	int before = partition->event;

	while (before < (int)event &&
	       !atomic_compare_exchange_weak(&partition->event, &before, (int)event))
		;
	vps_request_park(&partition->vps);
	/* fails only when it is readable already */
	if (write(partition->event_fd, &one, sizeof(one)) < 0)
		return;
}

void partition_fail(struct partition *partition, const char *fmt, ...)
{
	va_list args;

	pthread_mutex_lock(&partition->failure_lock);
	if (!*partition->failure) {
		va_start(args, fmt);
		vsnprintf(partition->failure, sizeof(partition->failure), fmt, args);
		va_end(args);
	}
	pthread_mutex_unlock(&partition->failure_lock);
	partition_tell(partition, PARTITION_FAILED);
}

/* ---- creation ---- */

static enum err watch(struct partition *partition, int fd, uint32_t events, enum source source,
		      struct err_why *why)
{
	struct epoll_event event = {.events = events, .data.u32 = source};

	if (epoll_ctl(partition->epoll, EPOLL_CTL_ADD, fd, &event))
		return err_sys(why, errno, "epoll_ctl");
	return ERR_OK;
}

static enum err make_descriptors(struct partition *partition, struct err_why *why)
{
	const struct itimerspec tick = {{TICK_S, 0}, {TICK_S, 0}};

	partition->epoll = epoll_create1(EPOLL_CLOEXEC);
	partition->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	partition->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (partition->epoll < 0 || partition->event_fd < 0 || partition->timer_fd < 0 ||
	    timerfd_settime(partition->timer_fd, 0, &tick, NULL))
		return err_sys(why, errno, "descriptors of the partition");
	return ERR_OK;
}

static enum err assign(void *arg, uint32_t connection, int fd, struct err_why *why)
{
	return machine_assign(&((struct partition *)arg)->machine, connection, fd, why);
}

static void release(void *arg, uint32_t connection, int fd)
{
	machine_release(&((struct partition *)arg)->machine, connection, fd);
}

static bool reference_time(void *arg, uint64_t *out)
{
	uint64_t ns;

	if (!machine_clock(&((struct partition *)arg)->machine, &ns))
		return false;
	*out = ns / 100;
	return true;
}

static enum err make_devices(struct partition *partition, struct err_why *why)
{
	const struct partition_opts *opts = &partition->opts;
	const struct vmbus_wiring wiring = {partition, assign, release};
	const struct integration_opts ic = {reference_time, partition};
	struct storvsp_opts storage = {
	    .instance = opts->id,
	    .max_sub_channels =
		opts->vp_count - 1 < SUB_CHANNELS ? opts->vp_count - 1 : SUB_CHANNELS,
	};
	enum err err;

	err = ports_init(&partition->ports, opts->console_fd, why);
	if (!err)
		err = synic_create(partition->memory, opts->vp_count, &partition->synic, why);
	if (!err)
		err = vmbus_create(partition->memory, partition->synic, opts->vp_count, &wiring,
				   &partition->bus, why);
	if (!err)
		err = integration_create(partition->bus, &ic, &partition->ic, why);
	if (!err)
		err = storvsp_create(partition->bus, partition->memory, &storage,
				     &partition->storage, why);
	return err;
}

static enum err watch_all(struct partition *partition, struct err_why *why)
{
	const struct {
		int fd;
		enum source source;
	} all[] = {
	    {partition->event_fd, SOURCE_EVENT},
	    {partition->timer_fd, SOURCE_TIMER},
	    {synic_fd(partition->synic), SOURCE_SYNIC},
	    {vmbus_fd(partition->bus), SOURCE_BUS},
	    {integration_fd(partition->ic), SOURCE_IC},
	    {storvsp_fd(partition->storage), SOURCE_STORAGE},
	};
	enum err err = ERR_OK;

	for (unsigned i = 0; !err && i < sizeof(all) / sizeof(all[0]); i++)
		err = watch(partition, all[i].fd, EPOLLIN, all[i].source, why);
	if (!err && partition->opts.console_fd >= 0)
		err = watch(partition, partition->opts.console_fd, 0, SOURCE_CONSOLE, why);
	return err;
}

/* Kernel and tables into memory, and a machine to run them. */
static enum err build_machine(struct partition *partition, struct err_why *why)
{
	const struct partition_opts *opts = &partition->opts;
	const struct acpi_config acpi = {opts->vp_count, LINUX_ACPI_AREA};
	uint8_t tables[ACPI_BYTES];
	struct linux_entry entry;
	size_t bytes = acpi_build(&acpi, tables, sizeof(tables));
	enum err err;

	if (!bytes || !memory_write(partition->memory, acpi.base, tables, bytes))
		return err_set(why, ERR_RANGE, "the ACPI tables do not fit");
	err = linux_boot_load(partition->memory, opts->kernel_fd, opts->initrd_fd,
			      partition->cmdline, &entry, why);
	if (!err)
		err = machine_create(partition->kvm, partition->memory, &partition->machine, why);
	if (!err)
		err = vps_create(&partition->vps, &partition->machine, &partition->supported, why);
	if (!err)
		err = machine_route(&partition->machine, partition->synic, opts->vp_count, why);
	if (!err)
		err = vps_set_entry(&partition->vps, &entry, why);
	return err;
}

static enum err check_opts(const struct partition_opts *opts, struct err_why *why)
{
	if (opts->vp_count < 1 || opts->vp_count > PARTITION_MAX_VPS)
		return err_set(why, ERR_USAGE, "%u processors: 1 to %u are possible",
			       opts->vp_count, PARTITION_MAX_VPS);
	if (opts->kernel_fd < 0)
		return err_set(why, ERR_USAGE, "there is no kernel to start");
	return ERR_OK;
}

static enum err set_up(struct partition *partition, struct err_why *why)
{
	const struct partition_opts *opts = &partition->opts;
	enum err err = make_descriptors(partition, why);

	partition->cmdline = strdup(opts->cmdline ? opts->cmdline : "");
	if (!err && !partition->cmdline)
		err = err_set(why, ERR_NOMEM, "no memory for the command line");
	if (!err)
		err = machine_open_kvm(&partition->kvm, why);
	if (!err)
		err = cpuid_supported(partition->kvm, &partition->supported, why);
	if (!err)
		err = memory_create(opts->memory_bytes, &partition->memory, why);
	if (!err)
		err = vps_init(&partition->vps, partition, opts->vp_count, why);
	if (!err)
		err = make_devices(partition, why);
	if (!err)
		err = watch_all(partition, why);
	if (!err)
		err = build_machine(partition, why);
	return err;
}

enum err partition_create(const struct partition_opts *opts, struct partition **out,
			  struct err_why *why)
{
	struct partition *partition;
	enum err err = check_opts(opts, why);

	if (err)
		return err;
	partition = calloc(1, sizeof(*partition));
	if (!partition)
		return err_set(why, ERR_NOMEM, "no memory for a partition");
	partition->opts = *opts;
	partition->kvm = partition->epoll = partition->event_fd = partition->timer_fd = -1;
	partition->machine.vm = -1;
	pthread_mutex_init(&partition->failure_lock, NULL);
	err = set_up(partition, why);
	if (err)
		partition_destroy(partition);
	else
		*out = partition;
	return err;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void partition_destroy(struct partition *partition)
{
	if (!partition)
		return;
	if (partition->vps.vp)
		vps_destroy(&partition->vps);
	storvsp_destroy(partition->storage);
	integration_destroy(partition->ic);
	vmbus_destroy(partition->bus);
	synic_destroy(partition->synic);
	machine_destroy(&partition->machine);
	ports_free(&partition->ports);
	vps_free(&partition->vps);
	memory_destroy(partition->memory);
	close_fd(partition->kvm);
	close_fd(partition->timer_fd);
	close_fd(partition->event_fd);
	close_fd(partition->epoll);
	pthread_mutex_destroy(&partition->failure_lock);
	free(partition->cmdline);
	free(partition);
}

enum err partition_check_host(struct err_why *why)
{
	int kvm;
	enum err err = machine_open_kvm(&kvm, why);

	if (!err)
		close(kvm);
	return err;
}

/* ---- running ---- */

enum err partition_start(struct partition *partition, struct err_why *why)
{
	if (*partition->failure)
		return err_set(why, ERR_REFUSED, "%s", partition->failure);
	if (partition->state == PARTITION_PAUSED)
		integration_sync_time(partition->ic);
	partition->state = PARTITION_RUNNING;
	vps_run(&partition->vps);
	return ERR_OK;
}

void partition_pause(struct partition *partition)
{
	vps_park(&partition->vps);
	if (partition->state == PARTITION_RUNNING)
		partition->state = PARTITION_PAUSED;
}

enum err partition_reset(struct partition *partition, struct err_why *why)
{
	enum err err;

	vps_destroy(&partition->vps);
	vmbus_reset(partition->bus);
	integration_reset(partition->ic);
	synic_reset(partition->synic, true);
	ports_reset(&partition->ports);
	machine_destroy(&partition->machine);
	memory_clear(partition->memory);
	partition->event = PARTITION_NOTHING;
	err = build_machine(partition, why);
	if (err) {
		partition->state = PARTITION_STOPPED;
		return err;
	}
	return partition_start(partition, why);
}

enum partition_state partition_state(const struct partition *partition)
{
	return partition->state;
}

int partition_fd(const struct partition *partition)
{
	return partition->epoll;
}

static void drain(int fd)
{
	uint64_t count;

	/* non-blocking: nothing there is as good */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
}

static void serve_console(struct partition *partition)
{
	if (!ports_console(&partition->ports, &partition->machine, partition->opts.console_fd))
		partition->console_gone = true;
}

static void watch_console(struct partition *partition)
{
	struct epoll_event event = {.data.u32 = SOURCE_CONSOLE};
	int fd = partition->opts.console_fd;

	if (fd < 0)
		return;
	event.events =
	    partition->console_gone ? 0 : (uint32_t)ports_console_events(&partition->ports);
	if ((short)event.events == partition->console_events)
		return;
	partition->console_events = (short)event.events;
	if (partition->console_gone)
		epoll_ctl(partition->epoll, EPOLL_CTL_DEL, fd, NULL);
	else
		epoll_ctl(partition->epoll, EPOLL_CTL_MOD, fd, &event);
}

static void serve(struct partition *partition, enum source source)
{
	switch (source) {
	case SOURCE_EVENT:
		drain(partition->event_fd);
		break;
	case SOURCE_TIMER:
		drain(partition->timer_fd);
		/* a guest that stands still cannot answer: that is not its fault */
		if (partition->state == PARTITION_RUNNING)
			integration_run(partition->ic, monotonic_ns());
		break;
	case SOURCE_SYNIC:
		synic_run(partition->synic);
		break;
	case SOURCE_BUS:
		vmbus_run(partition->bus);
		break;
	case SOURCE_IC:
		integration_run(partition->ic, monotonic_ns());
		break;
	case SOURCE_STORAGE:
		storvsp_run(partition->storage);
		break;
	case SOURCE_CONSOLE:
		serve_console(partition);
		break;
	}
}

/* What the processors have told, and what follows from it. */
static enum partition_event take_event(struct partition *partition)
{
	enum partition_event event =
	    (enum partition_event)atomic_exchange(&partition->event, PARTITION_NOTHING);
	struct err_why why = {0};

	if (event == PARTITION_NOTHING)
		return event;
	vps_park(&partition->vps);
	partition->state = PARTITION_STOPPED;
	if (event == PARTITION_RESET && partition_reset(partition, &why)) {
		partition_fail(partition, "the guest's reset failed: %s", why.text);
		return PARTITION_FAILED;
	}
	return event;
}

enum partition_event partition_run(struct partition *partition)
{
	struct epoll_event events[MAX_EVENTS];
	int n = epoll_wait(partition->epoll, events, MAX_EVENTS, 0);

	for (int i = 0; i < n; i++)
		serve(partition, (enum source)events[i].data.u32);
	/* what was written since may wait for room, what was read may have made some */
	watch_console(partition);
	return take_event(partition);
}

const char *partition_failure(const struct partition *partition)
{
	return partition->failure;
}

struct storvsp *partition_storage(struct partition *partition)
{
	return partition->storage;
}

struct integration *partition_integration(struct partition *partition)
{
	return partition->ic;
}

uint32_t partition_vmbus_version(const struct partition *partition)
{
	return vmbus_version(partition->bus);
}

bool partition_vp_stats(const struct partition *partition, unsigned vp,
			struct partition_vp_stats *out)
{
	const struct vp *from;

	if (vp >= partition->vps.count)
		return false;
	from = &partition->vps.vp[vp];
	*out = (struct partition_vp_stats){vp_cpu_ns(from), from->exits, from->hypercalls};
	return true;
}
