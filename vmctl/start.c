/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/out.h"
#include "vmctl/admission.h"
#include "vmctl/call.h"
#include "vmctl/console.h"
#include "vmctl/spawn.h"
#include "vmctl/verbs.h"

#define REST_NS       50000000
#define DYING_SECONDS 4

struct start_args {
	struct common common;
	const char *home;
	struct opt_list allowed;
	bool console, overcommit;
};

static const struct opt start_opts[] = {
    {"console", 'c', OPT_FLAG, NULL, offsetof(struct start_args, console),
     "then stay on its console"},
    {"overcommit", 0, OPT_FLAG, NULL, offsetof(struct start_args, overcommit),
     "start it although memory may not be enough"},
    {"allow", 0, OPT_LIST, "DIR", offsetof(struct start_args, allowed),
     "disks may be added from this folder while it runs"},
    VM_HOME(struct start_args),
    {0},
};

/*
 * Whoever listens must also answer: a process that was just killed has its socket until the kernel
 * has cleaned up behind it.
 */
static enum err check_off(const struct vm *vm, struct err_why *why)
{
	const struct timespec rest = {.tv_nsec = REST_NS};
	time_t began = time(NULL);

	do {
		json_t *status;
		int fd;
		enum err err = call_open(vm->dir, &fd, why);

		if (err)
			return err == ERR_NOENT ? ERR_OK : err;
		close(fd);
		status = call_status(vm->dir);
		if (status) {
			json_decref(status);
			return err_set(why, ERR_EXIST, "it is running already");
		}
		nanosleep(&rest, NULL);
	} while (time(NULL) - began < DYING_SECONDS);
	return err_set(why, ERR_EXIST, "it is running already, but its worker does not answer");
}

static enum err start(const struct start_args *args, const struct vm *vm, uint64_t memory_bytes,
		      json_t **reply, struct err_why *why)
{
	enum err err = check_off(vm, why);
	int lock_fd = -1;

	if (!err && !args->overcommit) {
		err = admission_lock(vm->home, &lock_fd, why);
		if (!err)
			err = admission_check(vm->home, memory_bytes, why);
	}
	if (!err)
		err = spawn_worker(vm->dir, &args->allowed, reply, why);
	if (lock_fd >= 0)
		close(lock_fd);
	return err;
}

static void say_started(const struct vm *vm, const json_t *reply, bool json)
{
	json_int_t pid = json_integer_value(json_object_get(reply, "pid"));
	double ms = json_number_value(json_object_get(reply, "start_ms"));

	if (json) {
		json_emit(json_pack("{s:o, s:s, s:I, s:f}", "name", json_text(vm->name), "state",
				    "running", "pid", pid, "start_ms", ms));
	} else {
		printf("%s\n", out_name(vm->name));
		out_row("state", "running, as process %lld", (long long)pid);
		out_row("started in", "%.0f ms", ms);
	}
	fflush(stdout);
}

static int run(void *arg)
{
	struct start_args *args = arg;
	struct err_why why = {0};
	json_t *reply = NULL;
	struct snap_tree tree;
	struct vm vm;
	int rc;

	if (args->console && args->common.json)
		return out_usage("start", "--console and --json do not go together");
	rc = vm_open(args->home, args->common.arg[0], SNAP_READONLY, &vm);
	if (rc)
		return rc;
	rc = vm_tree(&vm, 0, &tree);
	if (!rc) {
		if (start(args, &vm, tree.config.memory_bytes, &reply, &why))
			rc = out_fail(vm.name, &why);
		snap_tree_free(&tree);
	}
	if (!rc && !args->console)
		say_started(&vm, reply, args->common.json);
	json_decref(reply);
	if (!rc && args->console)
		rc = console_join(args->home, vm.name, true);
	vm_close(&vm);
	return rc;
}

const struct verb verb_start = {
    .name = "start",
    .summary = "start a VM",
    .usage = "NAME",
    .details =
	"Start the kernel of the VM's configuration, in a process of its own that goes on when\n"
	"this one has ended. It runs when this returns, or nothing is left behind. The host\n"
	"must have the memory: 512 MiB for itself, and for each VM its memory and 32 MiB.\n"
	"--console stays and shows what the guest prints, from the first line on; see console.",
    .opts = start_opts,
    .groups = GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct start_args),
    .run = run,
};
