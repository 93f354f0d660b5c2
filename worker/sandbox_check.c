/* SPDX-License-Identifier: MIT */

/*
 * The sandbox, tried out: a process takes it on and does what an intruder would. Whoever installs
 * the program sees what his kernel gives him.
 */

#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/out.h"
#include "util/bytes.h"

#define PROBE_NAME "sandbox.probe"

/* Each returns 0 when it was done, else errno. */

static int write_inside(const struct places *places)
{
	int fd = openat(places->dir_fd, PROBE_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno;
	close(fd);
	return unlinkat(places->dir_fd, PROBE_NAME, 0) < 0 ? errno : 0;
}

static int write_outside(const struct places *places)
{
	char path[] = "/tmp/strata-probe.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	(void)places;
	if (fd < 0)
		return errno;
	close(fd);
	unlink(path);
	return 0;
}

static int read_outside(const struct places *places)
{
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

	(void)places;
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int start_program(const struct places *places)
{
	static char name[] = "true";
	char *const argv[] = {name, NULL};

	(void)places;
	execv("/bin/true", argv);
	return errno;
}

static int make_process(const struct places *places)
{
	pid_t child = (pid_t)syscall(SYS_fork);

	(void)places;
	if (child < 0)
		return errno;
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	return 0;
}

static int make_socket(const struct places *places)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)places;
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int make_code(const struct places *places)
{
	const int prot = PROT_READ | PROT_WRITE | PROT_EXEC;

	(void)places;
	return mmap(NULL, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int read_other_process(const struct places *places)
{
	(void)places;
	return syscall(SYS_ptrace, 0x4206 /* PTRACE_SEIZE */, getppid(), 0, 0) < 0 ? errno : 0;
}

static int unknown_call(const struct places *places)
{
	(void)places;
	return syscall(SYS_personality, 0xffffffffu) < 0 ? errno : 0;
}

enum needs { NEEDS_NOTHING, NEEDS_CONFINED, NEEDS_FILTERED };

static const struct probe {
	const char *what;
	int (*run)(const struct places *places);
	bool refused;
	enum needs needs;
} probes[] = {
    {"writing a file in the VM's folder", write_inside, false, NEEDS_NOTHING},
    {"writing a file elsewhere", write_outside, true, NEEDS_CONFINED},
    {"reading a file elsewhere", read_outside, true, NEEDS_CONFINED},
    {"starting a program", start_program, true, NEEDS_FILTERED},
    {"making a process", make_process, true, NEEDS_FILTERED},
    {"making a network socket", make_socket, true, NEEDS_FILTERED},
    {"making memory for code", make_code, true, NEEDS_FILTERED},
    {"looking into another process", read_other_process, true, NEEDS_FILTERED},
    {"a system call that is not needed", unknown_call, true, NEEDS_FILTERED},
};

enum outcome { DONE, REFUSED, MISSING, BROKEN };

static int try_in_child(const struct places *places, const struct probe *probe)
{
	bool confined = false, filtered = false;
	const char *became;
	struct err_why why = {0};

	if (sandbox_drop(places, &became, &why) || sandbox_confine(places, &confined, &why) ||
	    sandbox_filter(&filtered, &why)) {
		out_fail(NULL, &why);
		return BROKEN;
	}
	if ((probe->needs == NEEDS_CONFINED && !confined) ||
	    (probe->needs == NEEDS_FILTERED && !filtered))
		return MISSING;
	return probe->run(places) ? REFUSED : DONE;
}

static enum outcome try(const struct places *places, const struct probe *probe)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return BROKEN;
	if (!child)
		_exit(try_in_child(places, probe));
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return BROKEN;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? REFUSED : BROKEN;
	return (enum outcome)WEXITSTATUS(status);
}

int sandbox_check(const struct places *places)
{
	static const char *const words[] = {"allowed", "refused", "not restricted here", "failed"};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
		enum outcome want = probes[i].refused ? REFUSED : DONE;
		enum outcome got = try(places, &probes[i]);

		if (got > BROKEN)
			got = BROKEN;
		printf("%s: %s%s\n", probes[i].what, words[got],
		       got == want || got == MISSING ? "" : " (wrong)");
		fflush(stdout);
		if (got != want && got != MISSING)
			rc = 1;
	}
	return rc;
}
