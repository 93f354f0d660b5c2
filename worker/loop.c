/* SPDX-License-Identifier: MIT */
#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "worker/vm.h"

#define IDLE_MS 1000
/* While a client waits for the guest's answer. */
#define WAIT_MS 100
/* Of the console's output, before others get their turn. */
#define CONSOLE_READS 16

enum { POLL_PARTITION, POLL_SIGNALS, POLL_CONSOLE, POLL_CONTROL };

static bool pass_on(struct vm *vm)
{
	char buf[4096];
	size_t n = console_read(&vm->console, buf, sizeof(buf));

	if (n)
		control_print(&vm->control, buf, n);
	return n;
}

static void serve_console(struct vm *vm)
{
	for (unsigned i = 0; i < CONSOLE_READS && pass_on(vm); i++)
		;
	console_flush(&vm->console);
}

void loop_drain_console(struct vm *vm)
{
	while (pass_on(vm))
		;
}

static void serve_signals(struct vm *vm, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	log_line(&vm->log, "stopped by signal %u (%s)", info.ssi_signo,
		 strsignal((int)info.ssi_signo));
	vm->ends = true;
}

/* What a guest did that stopped a storage channel. */
static void note_faults(struct vm *vm)
{
	const char *fault = storvsp_fault(partition_storage(vm->partition));

	if (fault == vm->storage_fault)
		return;
	vm->storage_fault = fault;
	if (fault)
		log_guest(&vm->log, "the guest broke the storage protocol: %s", fault);
}

static void serve_partition(struct vm *vm)
{
	switch (partition_run(vm->partition)) {
	case PARTITION_OFF:
		log_line(&vm->log, "the guest has switched itself off");
		vm->ends = true;
		break;
	case PARTITION_RESET:
		vm_note_reset(vm);
		log_guest(&vm->log, "the guest has reset itself");
		break;
	case PARTITION_FAILED:
		if (!vm->failed)
			vm_fail(vm, partition_failure(vm->partition));
		break;
	case PARTITION_NOTHING:
		break;
	}
	note_faults(vm);
}

void loop_run(struct vm *vm, int signal_fd)
{
	struct pollfd fds[POLL_CONTROL + CONTROL_MAX_POLL];

	while (!vm->ends) {
		unsigned n = POLL_CONTROL;

		fds[POLL_PARTITION] =
		    (struct pollfd){.fd = partition_fd(vm->partition), .events = POLLIN};
		fds[POLL_SIGNALS] = (struct pollfd){.fd = signal_fd, .events = POLLIN};
		fds[POLL_CONSOLE] =
		    (struct pollfd){.fd = vm->console.ours, .events = console_events(&vm->console)};
		n += control_poll(&vm->control, vm, fds + POLL_CONTROL);
		if (poll(fds, n, control_waits(&vm->control) ? WAIT_MS : IDLE_MS) < 0) {
			if (errno == EINTR)
				continue;
			log_line(&vm->log, "poll: %s", strerror(errno));
			vm->ends = true;
			return;
		}
		serve_partition(vm);
		serve_console(vm);
		if (fds[POLL_SIGNALS].revents)
			serve_signals(vm, signal_fd);
		control_serve(&vm->control, vm, fds + POLL_CONTROL);
	}
}
