/* SPDX-License-Identifier: MIT */
#include "vmctl/console.h"

#include <unistd.h>

#include "cli/out.h"
#include "vmctl/attach.h"
#include "vmctl/call.h"
#include "vmctl/verbs.h"

struct console_args {
	struct common common;
	const char *home;
	bool history;
};

static const struct opt console_opts[] = {
    {"history", 0, OPT_FLAG, NULL, offsetof(struct console_args, history),
     "begin with what it printed last"},
    VM_HOME(struct console_args),
    {0},
};

int console_join(const char *home, const char *name, bool history)
{
	struct err_why why = {0};
	bool off = false;
	int fd, rc = call_vm_open(home, name, &fd);

	if (rc)
		return rc;
	if (call_ask(fd, json_pack("{s:s, s:b}", "do", "console", "history", history), CALL_SECONDS,
		     NULL, &why))
		rc = out_fail(name, &why);
	if (!rc && isatty(STDIN_FILENO))
		out_note(name, "Ctrl-] leaves its console");
	if (!rc && attach_console(fd, &off, &why))
		rc = out_fail(name, &why);
	close(fd);
	if (!rc && isatty(STDIN_FILENO))
		out_note(name, off ? "is off" : "its console was left");
	return rc;
}

static int run(void *arg)
{
	struct console_args *args = arg;

	return console_join(args->home, args->common.arg[0], args->history);
}

const struct verb verb_console = {
    .name = "console",
    .summary = "be on a VM's serial console",
    .usage = "NAME",
    .details =
	"What is typed goes to the guest, what it prints comes here, until it is off. At a\n"
	"terminal Ctrl-] leaves, and so does ~. at the beginning of a line; the VM goes on.\n"
	"Without a terminal standard input and output are joined with it as they are.\n"
	"Several may be on a console at once.",
    .opts = console_opts,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct console_args),
    .run = run,
};
