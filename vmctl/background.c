/* SPDX-License-Identifier: MIT */
#include "vmctl/background.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOWEST_PRIORITY 19

/* The process that becomes the fold. */
static void become_fold(const struct vm *vm)
{
	const char *const argv[] = {"vmctl",  "fold", "--background", "--home",
				    vm->home, "--",   vm->name,       NULL};
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || chdir("/") || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
		_exit(1);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	signal(SIGHUP, SIG_IGN);
	execv("/proc/self/exe", (char *const *)argv);
	_exit(1);
}

enum err background_fold(const struct vm *vm, struct err_why *why)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return err_sys(why, errno, "no process for the fold");
	if (!child) {
		/* Its child is nobody's: never a zombie of ours, nor the leader of the session. */
		setsid();
		child = fork();
		if (!child)
			become_fold(vm);
		_exit(child < 0);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(why, errno, "the fold cannot be waited for");
	return status ? err_set(why, ERR_NOMEM, "no process for the fold") : ERR_OK;
}

void background_priority(void)
{
	/* Without these it is only less polite. */
	if (nice(LOWEST_PRIORITY) == -1)
		errno = 0;
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}
