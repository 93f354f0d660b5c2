/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "vmctl/show.h"
#include "vmctl/verbs.h"

struct import_args {
	struct common common;
	const char *home, *name;
};

static const struct opt import_opts[] = {
    {"name", 'N', OPT_TEXT, "NEWNAME", offsetof(struct import_args, name),
     "what the VM is called; by default as DIR is"},
    VM_HOME(struct import_args),
    {0},
};

static int import(const struct import_args *args, const char *from, struct vm *vm)
{
	struct cli_progress progress;
	struct err_why why = {0};
	enum err err;

	err = snap_import(&file_ns_posix, from, vm->dir,
			  progress_begin(&progress, args->common.progress, "import"), &why);
	progress_end(&progress);
	return err ? out_fail(args->common.arg[0], &why) : 0;
}

static int run(void *arg)
{
	struct import_args *args = arg;
	char *from = realpath(args->common.arg[0], NULL);
	struct err_why why = {0};
	struct vm vm;
	int rc;

	if (!from) {
		err_sys(&why, errno, "cannot be found");
		return out_fail(args->common.arg[0], &why);
	}
	rc = vm_locate(args->home, args->name ? args->name : strrchr(from, '/') + 1, &vm);
	if (!rc) {
		rc = import(args, from, &vm);
		if (!rc)
			rc = vm_open_store(&vm, SNAP_READONLY);
		if (!rc)
			rc = show_vm(&vm, args->common.json);
		vm_close(&vm);
	}
	free(from);
	return rc;
}

const struct verb verb_import = {
    .name = "import",
    .summary = "make a VM from what 'export' wrote",
    .usage = "DIR",
    .details =
	"Make a new VM with the disks, the configuration and the snapshots that are in DIR,\n"
	"and show it. They are copied, by reflink where the file system can. All or nothing.",
    .opts = import_opts,
    .groups = GROUP_JSON | GROUP_PROGRESS,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct import_args),
    .run = run,
};
