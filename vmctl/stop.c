/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "cli/out.h"
#include "vmctl/call.h"
#include "vmctl/verbs.h"
#include "worker/protocol.h"

/* Disks may have much to flush, and the guest's memory is given back. */
#define CLOSING_SECONDS 600u

struct stop_args {
	struct common common;
	const char *home;
	unsigned timeout;
	bool force;
};

static const struct opt stop_opts[] = {
    {"force", 'f', OPT_FLAG, NULL, offsetof(struct stop_args, force),
     "do not ask the guest: as if its power were cut"},
    {"timeout", 't', OPT_NUMBER, "SECONDS", offsetof(struct stop_args, timeout),
     "how long the guest may take; 60 by default"},
    VM_HOME(struct stop_args),
    {0},
};

static int stop(const struct stop_args *args, const char *name, int fd)
{
	unsigned seconds = args->timeout ? args->timeout : WORKER_STOP_SECONDS;
	struct err_why why = {0};
	json_t *request = json_pack("{s:s, s:b, s:i}", "do", "stop", "force", args->force,
				    "timeout", (int)seconds);

	if (call_ask(fd, request, seconds + CLOSING_SECONDS, NULL, &why))
		return out_fail(name, &why);
	call_wait_end(fd);
	return 0;
}

static int run(void *arg)
{
	struct stop_args *args = arg;
	const char *name = args->common.arg[0];
	int fd, rc;

	if (args->timeout > WORKER_STOP_SECONDS_MAX)
		return out_usage("stop", "--timeout is at most %d seconds",
				 WORKER_STOP_SECONDS_MAX);
	rc = call_vm_open(args->home, name, &fd);
	if (rc)
		return rc;
	rc = stop(args, name, fd);
	close(fd);
	if (!rc && args->common.json)
		json_emit(json_pack("{s:o, s:s}", "name", json_text(name), "state", "off"));
	return rc;
}

const struct verb verb_stop = {
    .name = "stop",
    .summary = "have a VM shut down",
    .usage = "NAME",
    .details =
	"Ask the guest to shut down, as its own shutdown command does, and wait until it is off\n"
	"and its disks are closed. An error says when it has no component that could be asked,\n"
	"refuses, or takes longer than --timeout. --force ends it at once: what it has not\n"
	"written yet is lost, as after a power cut.",
    .opts = stop_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct stop_args),
    .run = run,
};
