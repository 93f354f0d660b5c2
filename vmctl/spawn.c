/* SPDX-License-Identifier: MIT */
#include "vmctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmctl/call.h"

#define REPORT_FD 3
/* Opening a store may wait for a fold; nothing else takes long. */
#define START_SECONDS 180

/* Beside this program, or where it is installed. */
static const char *const places[] = {"vmworker", "../libexec/vmworker"};

static enum err find_worker(char out[PATH_MAX], struct err_why *why)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return err_sys(why, errno, "/proc/self/exe");
	self[n] = 0;
	slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int len = snprintf(out, PATH_MAX, "%s/%s", self, places[i]);

		if (len < PATH_MAX && access(out, X_OK) == 0)
			return ERR_OK;
	}
	return err_set(why, ERR_NOENT, "there is no program vmworker beside this one");
}

/* The process that becomes the worker. */
static void become_worker(const char *program, const char *dir, const struct opt_list *allowed,
			  int report_fd)
{
	const char *argv[2 * OPT_LIST_MAX + 8] = {"vmworker", "--report", "3"};
	unsigned n = 3;
	int null = open("/dev/null", O_RDWR);
	/* out of the way of what it becomes, and without its close-on-exec */
	int high = fcntl(report_fd, F_DUPFD, REPORT_FD + 1);

	for (unsigned i = 0; i < allowed->count; i++) {
		argv[n++] = "--allow";
		argv[n++] = allowed->item[i];
	}
	argv[n++] = "--";
	argv[n++] = dir;
	argv[n] = NULL;
	if (null < 0 || high < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || dup2(high, REPORT_FD) < 0)
		_exit(1);
	close_range(REPORT_FD + 1, ~0u, 0);
	execv(program, (char *const *)argv);
	_exit(1);
}

static enum err launch(const char *program, const char *dir, const struct opt_list *allowed,
		       int report_fd, struct err_why *why)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return err_sys(why, errno, "no process for the VM");
	if (!child) {
		/* Its child is nobody's: never a zombie of ours, nor the leader of the session. */
		setsid();
		child = fork();
		if (!child)
			become_worker(program, dir, allowed, report_fd);
		_exit(child < 0);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(why, errno, "the VM's process cannot be waited for");
	return status ? err_set(why, ERR_NOMEM, "no process for the VM") : ERR_OK;
}

enum err spawn_worker(const char *dir, const struct opt_list *allowed, json_t **reply,
		      struct err_why *why)
{
	char program[PATH_MAX];
	int report[2];
	enum err err = find_worker(program, why);

	if (err)
		return err;
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(why, errno, "no pipe for the VM's process");
	err = launch(program, dir, allowed, report[1], why);
	close(report[1]);
	if (!err) {
		err = call_read(report[0], START_SECONDS, reply, why);
		if (err)
			call_wait_end(report[0]);
	}
	close(report[0]);
	return err;
}
