/* SPDX-License-Identifier: MIT */
/*
 * vhdmount: start, tell whoever asked how it went, wait for the end. All threads, queues and locks
 * are made in the process that serves: a fork would leave them behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/log.h"
#include "fuse/mount.h"
#include "fuse/options.h"
#include "fuse/session.h"

static int fail(const char *what, const struct err_why *why)
{
	log_line("%s%s%s", what ? what : "", what ? ": " : "", why->text);
	return err_exit_code(why->code);
}

/* ---- becoming a daemon ---- */

/* In the parent: the exit code that the daemon reports, once it has one. */
static int wait_for_daemon(int fd, pid_t child)
{
	unsigned char code;
	ssize_t n;

	while ((n = read(fd, &code, 1)) < 0 && errno == EINTR)
		;
	if (n == 1 && !code)
		return 0;
	/* What it held is free again when we are gone. */
	waitpid(child, NULL, 0);
	if (n == 1)
		return code;
	log_line("the daemon has died");
	return 1;
}

/*
 * Go on in a child. Its *ready_fd awaits the exit code of the parent, -1 in the foreground. Returns
 * false in the parent, whose exit code is *rc.
 */
static bool fork_daemon(bool foreground, int *ready_fd, int *rc)
{
	int fd[2];
	pid_t child;

	*ready_fd = -1;
	if (foreground)
		return true;
	if (pipe2(fd, O_CLOEXEC) || (child = fork()) < 0) {
		log_line("cannot start a daemon: %m");
		*rc = 1;
		return false;
	}
	if (child) {
		close(fd[1]);
		*rc = wait_for_daemon(fd[0], child);
		return false;
	}
	close(fd[0]);
	setsid();
	*ready_fd = fd[1];
	return true;
}

/* Nobody may wait for our output, or for a folder that we are in, any more. */
static void leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog();
	if (chdir("/"))
		log_line("cannot change to /: %m");
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

static void report_ready(int ready_fd, int code)
{
	unsigned char byte = (unsigned char)code;

	if (ready_fd < 0)
		return;
	if (!code)
		leave_terminal();
	/* Without a reader there is nobody to tell. */
	if (write(ready_fd, &byte, 1) < 0)
		log_line("cannot report to the parent process: %m");
	close(ready_fd);
}

/* ---- serving until the end ---- */

/* Block the signals that end us, in all threads, and take them from a descriptor. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/*
 * The first signal unmounts: whoever has a file open is served until it is closed, and nothing is
 * lost. A second one does not wait for that.
 */
static void wait_for_end(struct session *session, struct vhd_mount *mount, int signal_fd)
{
	struct pollfd fds[] = {
	    {.fd = session_ended_fd(session), .events = POLLIN},
	    {.fd = signal_fd, .events = POLLIN},
	};
	struct signalfd_siginfo info;

	for (unsigned signals = 0; signals < 2;) {
		int ready = poll(fds, 2, mount_tidy_ms(mount));

		if (ready == 0)
			mount_tidy(mount);
		if (ready <= 0)
			continue;
		if (fds[0].revents)
			break;
		if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
			continue;
		if (!signals++)
			session_detach(session);
	}
}

/* A chain has hundreds of files, and a VM many chains. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int serve(const struct options *options, int ready_fd)
{
	int signal_fd = open_signals(), rc = 0;
	struct err_why why = {0};
	struct session *session;
	struct vhd_mount mount;

	raise_file_limit();
	if (mount_open(options, &mount, &why)) {
		rc = fail(options->file, &why);
		report_ready(ready_fd, rc);
		return rc;
	}
	if (session_start(options, &mount, &session, &why)) {
		rc = fail(NULL, &why);
	} else {
		report_ready(ready_fd, 0);
		ready_fd = -1;
		wait_for_end(session, &mount, signal_fd);
		session_stop(session);
	}
	why = (struct err_why){0};
	if (mount_close(&mount, &why))
		rc = fail(options->file, &why);
	report_ready(ready_fd, rc);
	return rc;
}

int main(int argc, char **argv)
{
	struct options options;
	struct err_why why = {0};
	int ready_fd, rc = 0;

	if (options_parse(argc, argv, &options, &why)) {
		rc = fail(NULL, &why);
		if (why.code == ERR_USAGE)
			fputs("Try 'vhdmount --help'.\n", stderr);
	} else if (options.help) {
		options_help(stdout);
	} else if (!options.fake && fork_daemon(options.foreground, &ready_fd, &rc)) {
		rc = serve(&options, ready_fd);
	}
	options_free(&options);
	return rc;
}
